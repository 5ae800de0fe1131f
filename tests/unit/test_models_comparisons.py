"""Pairwise comparisons of levels against metafor and clubSandwich, and Holm's adjustment."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alliance_meta.models.comparisons import (
    COMPARISON_COLUMNS,
    adjust_holm,
    compare_levels,
    describe_comparisons,
)
from alliance_meta.models.design import Level, build_design
from alliance_meta.models.pooling import Estimate, fit_pooled
from alliance_meta.models.specification import ModelSpecification

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "moderators.json").read_text(encoding="utf-8")
)
REFERENCES = {"level": "client", "group": "rct"}


def floats(values):
    return np.array([np.nan if v is None else v for v in values], dtype=float)


def estimate(value, p_value, df=np.inf):
    return Estimate(value, 0.1, value / 0.1, df, p_value, value - 0.2, value + 0.2, np.nan, np.nan)


def make_levels(moderator, names, offset=0):
    size = 4
    return [Level(moderator, name, np.eye(size)[offset + i]) for i, name in enumerate(names)]


@pytest.mark.parametrize(
    "case",
    REFERENCE["comparisons"],
    ids=lambda c: f"{c['set']} {c['moderators']} {c['moderator']} {c['inference']}",
)
def test_comparisons_agree_with_r(case):
    data = pd.DataFrame(REFERENCE["sets"][case["set"]])
    design = build_design(data, case["moderators"], REFERENCES)
    spec = ModelSpecification(
        model="random_effects",
        tau2="REML",
        inference=case["inference"],
        metric="r",
        moderators=case["moderators"],
    )
    clusters = pd.factorize(data["study"])[0]
    y, v = data["y"].to_numpy(), data["v"].to_numpy()
    fit = fit_pooled(y, v, design.X, clusters, spec)
    table = compare_levels(design.levels, fit.contrast)
    table = table.loc[table["moderator"] == case["moderator"]].set_index(["level_a", "level_b"])
    for i, (a, b) in enumerate(zip(case["level_a"], case["level_b"], strict=True)):
        # levels stand in the order of their frequency here and of the factor there
        sign, key = (1, (a, b)) if (a, b) in table.index else (-1, (b, a))
        row = table.loc[key]
        # tau² solved here, iterated to 1e-14 there; years uncentred there
        tight = {"rel": 1e-7, "abs": 1e-11}
        assert row["difference"] == pytest.approx(sign * case["difference"][i], **tight)
        assert row["se"] == pytest.approx(case["se"][i], **tight)
        assert row["statistic"] == pytest.approx(sign * case["statistic"][i], **tight)
        ends = (case["ci_low"][i], case["ci_high"][i])
        low, high = ends if sign == 1 else (-ends[1], -ends[0])
        # robust df rest on pseudo-inverses of nearly singular blocks
        robust = {"rel": 1e-5, "abs": 1e-8}
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high), **robust)
        assert row["p_value"] == pytest.approx(case["p_value"][i], **robust)
        assert row["p_holm"] == pytest.approx(case["p_holm"][i], **robust)
        if case["df"][i] is None:
            assert np.isnan(row["df"])
        else:
            assert row["df"] == pytest.approx(case["df"][i], rel=1e-5)
    assert len(table) == len(case["level_a"])


@pytest.mark.parametrize("case", REFERENCE["holm"], ids=lambda c: str(c["p"]))
def test_holm_agrees_with_r(case):
    # a product and a maximum: rounding only
    np.testing.assert_allclose(adjust_holm(floats(case["p"])), floats(case["adjusted"]), rtol=1e-14)


def test_each_moderator_is_a_family_of_its_own():
    levels = make_levels("rater", ["client", "observer"])
    levels += make_levels("timing", ["early", "late"], offset=2)
    table = compare_levels(levels, lambda row: estimate(float(row[0] + row[2]), 0.03))
    assert table.columns.tolist() == COMPARISON_COLUMNS
    assert table["moderator"].tolist() == ["rater", "timing"]
    assert table["p_holm"].tolist() == [0.03, 0.03]


def test_difference_is_first_minus_second():
    levels = make_levels("rater", ["client", "observer", "parent"])
    means = np.array([0.5, 0.2, 0.1, 0.0])
    table = compare_levels(levels, lambda row: estimate(float(row @ means), 0.5))
    assert table["difference"].tolist() == pytest.approx([0.3, 0.4, 0.1])
    assert table["level_a"].tolist() == ["client", "client", "observer"]
    assert table["df"].isna().all()


def test_comparisons_that_cannot_be_tested_do_not_count():
    levels = make_levels("rater", ["client", "observer", "parent"])
    p_values = iter([np.nan, 0.01, 0.04])
    table = compare_levels(levels, lambda row: estimate(0.3, next(p_values), 7.5))
    assert np.isnan(table.loc[0, "p_holm"])
    assert table["p_holm"].tolist()[1:] == [0.02, 0.04]
    (sentence,) = describe_comparisons(table, metric="r")
    assert sentence == (
        "Of 2 pairwise comparisons of the levels of rater (differences in r), 2 were significant "
        "after Holm's adjustment: client minus parent = 0.30, t(7.5) = 3.00, adjusted p = .020; "
        "observer minus parent = 0.30, t(7.5) = 3.00, adjusted p = .040; 1 could not be tested."
    )


@pytest.mark.parametrize("names", [[], ["client"]])
def test_a_single_level_has_no_comparison(names):
    table = compare_levels(make_levels("rater", names), lambda row: estimate(0, 1))
    assert table.empty
    assert table.columns.tolist() == COMPARISON_COLUMNS
    assert describe_comparisons(table) == []


def test_sentence_without_clear_differences():
    levels = make_levels("outcome_domain", ["a", "b", "c"])
    (sentence,) = describe_comparisons(compare_levels(levels, lambda row: estimate(0.1, 0.5)))
    words = "None of 3 pairwise comparisons of the levels of outcome domain was significant"
    assert sentence.startswith(words)


def test_nothing_is_said_of_comparisons_that_were_not_tested():
    levels = make_levels("outcome_domain", ["a", "b", "c"])
    table = compare_levels(levels, lambda row: estimate(0.1, np.nan))
    assert describe_comparisons(table) == []
    table.loc[1, ["p_value", "p_holm"]] = 0.4
    (sentence,) = describe_comparisons(table)
    assert "only one could be tested; it was not significant" in sentence


def test_two_levels_need_no_sentence_of_their_own():
    table = compare_levels(make_levels("rater", ["a", "b"]), lambda row: estimate(0.3, 0.001))
    assert len(table) == 1
    assert describe_comparisons(table) == []
