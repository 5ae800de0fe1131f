"""Composites against metafor's aggregate() and their refusals."""

import json
from pathlib import Path

import numpy as np
import pytest

from alliance_meta.effect_sizes import aggregate_effects

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "effect_sizes.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("case", REFERENCE["composites"], ids=lambda case: f"rho={case['rho']}")
def test_composites_agree_with_metafor(case):
    given = REFERENCE["composites_input"]
    y, v, first_index = aggregate_effects(given["y"], given["v"], given["groups"], case["rho"])
    # sums of at most three doubles
    assert y == pytest.approx(case["y"], rel=1e-12)
    assert v == pytest.approx(case["v"], rel=1e-12)
    assert [given["groups"][i] for i in first_index] == ["b", "a", "c", "d"]


def test_single_effects_stay_as_they_are():
    y, v, first_index = aggregate_effects([0.3, 0.1], [0.01, 0.02], ["x", "y"], 0.6)
    assert (list(y), list(v), list(first_index)) == ([0.3, 0.1], [0.01, 0.02], [0, 1])


def test_one_and_the_same_error_gains_nothing():
    composite = aggregate_effects([0.2, 0.4], [0.01, 0.01], [7, 7], 1.0)
    assert composite.v == pytest.approx([0.01], rel=1e-12)
    assert composite.y == pytest.approx([0.3], rel=1e-12)


def test_cost_grows_with_effects_not_with_pairs():
    k = 200_000
    # one sample of 200,000 effects has 2e10 pairs: only a linear sum comes back
    composite = aggregate_effects(np.zeros(k), np.full(k, 0.04), np.zeros(k, dtype=int), 0.5)
    assert composite.v == pytest.approx([0.5 * 0.04 / k + 0.5 * 0.04], rel=1e-9)


@pytest.mark.parametrize(
    ("y", "v", "groups", "rho", "message"),
    [
        ([0.1, 0.2], [0.01], ["a", "a"], 0.5, "same length"),
        ([[0.1]], [[0.01]], [["a"]], 0.5, "one-dimensional"),
        ([0.1], [0.0], ["a"], 0.5, "above 0"),
        ([np.nan], [0.01], ["a"], 0.5, "missing or infinite"),
        ([0.1], [np.inf], ["a"], 0.5, "missing or infinite"),
        ([0.1], [0.01], [None], 0.5, "groups must not"),
        ([0.1], [0.01], ["a"], 1.2, "rho must lie"),
        ([0.1], [0.01], ["a"], float("nan"), "rho must lie"),
    ],
)
def test_refusals(y, v, groups, rho, message):
    with pytest.raises(ValueError, match=message):
        aggregate_effects(y, v, groups, rho)
