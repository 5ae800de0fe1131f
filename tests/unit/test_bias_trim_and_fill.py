"""Trim and fill against metafor, on independent and on dependent effects."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alliance_meta.bias.trim_and_fill import assess_trim_and_fill, trim_and_fill
from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.models.rows import model_rows
from alliance_meta.models.specification import InestimableError

FILE = Path(__file__).parents[1] / "reference" / "bias.json"
REFERENCE = json.loads(FILE.read_text(encoding="utf-8"))
UNIVARIATE, DEPENDENT = REFERENCE["univariate"], REFERENCE["dependent"]
INFERENCES = {"z": "z", "knha": "knapp_hartung"}
# both ends solve the likelihoods to rounding
TOLERANCE = {"rtol": 1e-8, "atol": 1e-10}


def as_floats(values):
    return np.array(values, dtype=float)


@pytest.fixture
def rows_of(make_effects):
    def make(y, v, study=None, *, columns=None, **settings):
        study = range(len(y)) if study is None else study
        effects = make_effects(y, v, study, **(columns or {}))
        return model_rows(analyse(effects, ModelSpecification(**settings)))

    return make


@pytest.mark.parametrize("name", UNIVARIATE)
@pytest.mark.parametrize("index", range(3))
def test_univariate_analyses_are_those_of_metafor(name, index, rows_of):
    data = UNIVARIATE[name]
    expected = data["trim_and_fill"][index]
    method = expected["method"]
    rows = rows_of(
        data["y"],
        data["v"],
        model="common_effect" if method == "FE" else "random_effects",
        tau2=None if method == "FE" else method,
        inference=INFERENCES[expected["test"]],
    )
    tables = assess_trim_and_fill(rows).tables
    table = tables["bias_trim_and_fill"]
    assert list(table["k0"]) == [row["k0"] for row in expected["rows"]]
    assert set(table.loc[table["chosen"], "side"]) == {expected["auto"]}
    for ours, theirs in zip(table.itertuples(), expected["rows"], strict=True):
        assert (ours.estimator, ours.side) == (theirs["estimator"], theirs["side"])
        np.testing.assert_allclose(
            [ours.k0_se, ours.k0_p, ours.estimate, ours.se, ours.ci_low, ours.ci_high, ours.tau2],
            as_floats(
                [theirs[key] for key in ("k0_se", "k0_p", "estimate", "se")]
                + [*theirs["ci"], theirs["tau2"]]
            ),
            **TOLERANCE,
        )
        np.testing.assert_allclose(ours.p_value, theirs["p"], **TOLERANCE)
        filled = tables["bias_trim_and_fill_effects"].query(
            f"estimator == '{ours.estimator}' and side == '{ours.side}'"
        )
        np.testing.assert_allclose(
            np.sort(filled["x"].to_numpy(float)), np.sort(as_floats(theirs["y"])), **TOLERANCE
        )


@pytest.mark.parametrize("name", DEPENDENT)
def test_dependent_effects_are_trimmed_as_composites_and_refitted(name, rows_of):
    data = DEPENDENT[name]
    model = "che" if data["rho"] else "three_level"
    rows = rows_of(data["y"], data["v"], data["study"], model=model, inference="cr2", rho=0.6)
    found = assess_trim_and_fill(rows)
    for ours, theirs in zip(
        found.tables["bias_trim_and_fill"].itertuples(), data["trim_and_fill"], strict=True
    ):
        fit = theirs["fit"]
        np.testing.assert_allclose(
            [ours.k0, ours.k0_se, ours.estimate, ours.se, ours.ci_low, ours.ci_high, ours.tau2],
            [theirs["k0"], theirs["k0_se"], fit["b"], fit["se"], *fit["ci"], theirs["tau2"]],
            **TOLERANCE,
        )
    assert any("one composite per study" in sentence for sentence in found.sentences)


def test_added_effects_mirror_named_ones(rows_of):
    data = UNIVARIATE["adherence"]
    rows = rows_of(data["y"], data["v"])
    tables = assess_trim_and_fill(rows, side="left").tables
    filled = tables["bias_trim_and_fill_effects"].query("estimator == 'L0' and side == 'left'")
    mirrored = rows.data.set_index("effect_id").loc[filled["effect_id"]]
    np.testing.assert_allclose(filled["se"], np.sqrt(mirrored["vi"]))
    centres = (filled["x"].to_numpy() + mirrored["yi"].to_numpy()) / 2
    # one centre for all, to rounding
    np.testing.assert_allclose(centres, centres[0], rtol=1e-12)


def test_sides_are_mirror_images(rows_of):
    data = UNIVARIATE["expectancy"]
    y, v = np.array(data["y"]), data["v"]
    table, mirror = (
        assess_trim_and_fill(rows_of(values, v))
        .tables["bias_trim_and_fill"]
        .set_index(["estimator", "side"])
        for values in (y, -y)
    )
    for estimator in ("L0", "R0", "Q0"):
        one, other = table.loc[(estimator, "left")], mirror.loc[(estimator, "right")]
        assert one["k0"] == other["k0"]
        assert one["chosen"] == other["chosen"]
        assert one["estimate"] == pytest.approx(-other["estimate"], rel=1e-9)


def test_the_side_asked_for_is_marked(rows_of):
    data = UNIVARIATE["adherence"]
    table = assess_trim_and_fill(rows_of(data["y"], data["v"]), side="right").tables[
        "bias_trim_and_fill"
    ]
    assert list(table["chosen"]) == [False, True] * 3


def test_equal_standard_errors_leave_the_side_to_the_mean(rows_of):
    y = np.array([0.1, 0.2, 0.25, 0.5, 0.9])
    for values, side in ((y, "left"), (-y, "right")):
        table = assess_trim_and_fill(rows_of(values, [0.02] * 5)).tables["bias_trim_and_fill"]
        assert set(table.loc[table["chosen"], "side"]) == {side}


def test_a_side_that_does_not_exist_is_named(rows_of):
    with pytest.raises(ValueError, match="'up' is not a side of the funnel"):
        assess_trim_and_fill(rows_of([0.1, 0.3, 0.2], [0.01, 0.02, 0.05]), side="up")


def test_what_cannot_be_computed_is_said(rows_of):
    equal = assess_trim_and_fill(rows_of([0.3] * 5, [0.01, 0.02, 0.03, 0.04, 0.05]))
    assert equal.tables["bias_trim_and_fill"].empty
    assert "do not differ" in equal.sentences[0]
    line = assess_trim_and_fill(rows_of([0.1, 0.2, 0.3], [0.01, 0.02, 0.05]))
    assert any("Q0 on the left could not be computed" in s for s in line.sentences)
    columns = {"rater": ["client", "client", "therapist", "therapist"]}
    moderated = assess_trim_and_fill(
        rows_of([0.1, 0.2, 0.3, 0.5], [0.01, 0.02, 0.05, 0.03], moderators="rater", columns=columns)
    )
    assert all(table.empty for table in moderated.tables.values())
    assert "not defined" in moderated.sentences[0]


def test_trimming_everything_is_refused(rows_of):
    spec = replace(ModelSpecification().resolve(dependent=False), inference="z")
    with pytest.raises(InestimableError):
        # all effects on one value: every rank is a tie at the centre
        trim_and_fill(np.full(4, 0.5), np.full(4, 0.01), spec, side="left", estimator="R0")
