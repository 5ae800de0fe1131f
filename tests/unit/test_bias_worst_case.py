"""The worst case of selection and S-values: robumeta's numbers and the paper's equations."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from alliance_meta.bias.worst_case import (
    WORST_CASE_COLUMNS,
    SelectionRatio,
    assess_worst_case,
    common_mean,
    find_affirmative,
    robust_mean,
)
from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.models.rows import model_rows

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "selection.json").read_text(encoding="utf-8")
)


def published(case):
    data = REFERENCE["data"][case["set"]]
    y, v = np.array(data["y"], float), np.array(data["v"], float)
    study = np.array(data["study"]) if case["clustered"] else np.arange(len(y))
    return y, v, study


def name(case):
    return f"{case['set']} {'clustered' if case['clustered'] else ''}"


@pytest.mark.parametrize("case", REFERENCE["worst_case"], ids=name)
def test_corrected_means_agree_with_robumeta(case):
    y, v, study = published(case)
    affirmative = find_affirmative(y, v, "greater")
    assert affirmative.sum() == case["k_affirmative"]
    robust = SelectionRatio(y, v, affirmative, 1 / (v + case["tau2"]), study)
    common = SelectionRatio(y, v, affirmative, 1 / v, None)
    # closed forms
    close = {"rel": 1e-10, "abs": 1e-14}
    for i, ratio in enumerate(case["ratios"]):
        mean = robust.correct(ratio)
        assert mean.value == pytest.approx(case["estimate"][i], **close)
        assert mean.se == pytest.approx(case["se"][i], **close)
        assert mean.df == pytest.approx(case["df"][i], **close)
        assert mean.ci_low == pytest.approx(case["ci_low"][i], **close)
        assert mean.ci_high == pytest.approx(case["ci_high"][i], **close)
        assert common.correct(ratio).value == pytest.approx(case["common"][i], **close)
        assert common.correct(ratio).se == pytest.approx(case["common_se"][i], **close)
    limit = robust.correct(math.inf)
    found = [limit.value, limit.se, limit.df, limit.ci_low, limit.ci_high]
    assert found == pytest.approx(case["limit"], **close)
    # uniroot's tolerance on the logarithm
    expected = math.inf if case["s_estimate"] is None else case["s_estimate"]
    assert robust.s_value() == pytest.approx(expected, rel=1e-9)
    expected = math.inf if case["s_interval"] is None else case["s_interval"]
    assert robust.s_value_interval() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("case", REFERENCE["worst_case"], ids=name)
def test_s_values_do_what_they_say(case):
    y, v, study = published(case)
    # lower, so that selection can explain more of it away
    y = y - 0.1
    affirmative = find_affirmative(y, v, "greater")
    for clusters, weights in ((None, 1 / v), (study, 1 / (v + case["tau2"]))):
        model = SelectionRatio(y, v, affirmative, weights, clusters)
        s_value, s_interval = model.s_value(), model.s_value_interval()
        assert s_interval <= s_value
        if 1 < s_value < math.inf:
            # rounding of the weighted sums
            assert model.correct(s_value).value == pytest.approx(0, abs=1e-12)
        if 1 < s_interval < math.inf:
            assert model.correct(s_interval).ci_low == pytest.approx(0, abs=1e-10)
        if s_value == math.inf:
            assert model.correct(math.inf).value > 0


def test_common_effect_s_value_is_the_papers_equation():
    # Mathur & VanderWeele (2020): the nonaffirmative sum against the affirmative one
    y, v = np.array([0.5, 0.6, -0.2, 0.05]), np.array([0.01, 0.04, 0.02, 0.01])
    affirmative = find_affirmative(y, v, "greater")
    assert list(affirmative) == [True, True, False, False]
    model = SelectionRatio(y, v, affirmative, 1 / v, None)
    assert model.s_value() == pytest.approx((50 + 15) / (10 - 5))
    plain = common_mean(y, v, 1 / v)
    assert plain.se == pytest.approx(1 / math.sqrt((1 / v).sum()))
    assert model.correct(1).value == pytest.approx(plain.value)


def test_affirmative_by_direction():
    y, v = np.array([0.5, -0.5, 0.01, 0.0]), np.full(4, 0.01)
    assert list(find_affirmative(y, v, "greater")) == [True, False, False, False]
    assert list(find_affirmative(y, v, "less")) == [False, True, False, False]
    assert list(find_affirmative(y, v, "two.sided")) == [True, True, False, False]


def test_robust_mean_does_not_depend_on_the_order_of_rows():
    rng = np.random.default_rng(1)
    study = np.repeat([3, 7, 9, 11, 20], [1, 4, 2, 3, 2])
    y, v, w = rng.normal(size=12), rng.uniform(0.1, 1, 12), rng.uniform(1, 5, 12)
    order = rng.permutation(12)
    one = robust_mean(y, v, w, study)
    other = robust_mean(y[order], v[order], w[order], study[order])
    # rounding
    assert [one.se, one.df] == pytest.approx([other.se, other.df], rel=1e-12)
    small = robust_mean(1e-4 * y, 1e-8 * v, w, study)
    assert [small.se, small.df] == pytest.approx([1e-4 * one.se, one.df], rel=1e-10)
    alone = robust_mean(y, v, w, np.zeros(12, dtype=int))
    assert math.isnan(alone.se)


def make_rows(make_effects, y, v, study=None, **settings):
    study = [f"s{i}" for i in range(len(y))] if study is None else study
    table = make_effects(np.asarray(y, float), np.broadcast_to(v, len(y)).copy(), study)
    spec = ModelSpecification(**{"metric": "fisher_z", **settings})
    return model_rows(analyse(table, spec))


def test_table(make_effects):
    y, v, _ = published(next(c for c in REFERENCE["worst_case"] if c["set"] == "writing"))
    rows = make_rows(make_effects, y, v)
    found = assess_worst_case(rows, ratios=(1, 2.5))
    table = found.tables["bias_worst_case"]
    assert list(table.columns) == WORST_CASE_COLUMNS
    robust = ["corrected_eta_1", "corrected_eta_2.5", "corrected_eta_inf"]
    robust += ["s_value_estimate", "s_value_interval"]
    common = ["worst_case", *robust]
    assert list(table["quantity"]) == [
        "worst_case",
        *robust,
        *(f"{quantity}_common_effect" for quantity in common),
    ]
    values = table.set_index("quantity")
    # the same weights and τ² as the random-effects model of all effects
    assert values.loc["corrected_eta_1", "estimate"] == pytest.approx(
        analyse_mean(make_effects, y, v), rel=1e-6
    )
    worst = ~find_affirmative(y, v, "greater")
    alone = analyse_mean(make_effects, y[worst], v[worst])
    assert values.loc["worst_case", "estimate"] == pytest.approx(alone, rel=1e-6)
    assert values.loc["worst_case", "k"] == worst.sum()
    assert "moves the pooled effect to 0" in " ".join(found.sentences)


def analyse_mean(make_effects, y, v):
    rows = make_rows(make_effects, y, v, model="random_effects")
    return float(np.average(y, weights=rows.fit.weights))


def test_mirrored_effects_mirror_the_table(make_effects):
    rng = np.random.default_rng(2)
    y = rng.normal(0.25, 0.2, 30)
    study = np.repeat([f"s{i:02}" for i in range(15)], 2)
    plain = assess_worst_case(make_rows(make_effects, y, 0.02, study))
    mirror = assess_worst_case(make_rows(make_effects, -y, 0.02, study), alternative="auto")
    one, other = (a.tables["bias_worst_case"].set_index("quantity") for a in (plain, mirror))
    means = ~one.index.str.startswith("s_value")
    assert other.loc[means, "estimate"].to_numpy() == pytest.approx(-one.loc[means, "estimate"])
    assert other.loc[means, "ci_low"].to_numpy() == pytest.approx(-one.loc[means, "ci_high"])
    ratios = one.loc[~means, "estimate"]
    assert other.loc[~means, "estimate"].to_numpy() == pytest.approx(ratios)
    assert "by independent study" in plain.sentences[-1]


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([0.5, -0.4, 0.1, 0.05, -0.02], "2 of 5 effects are affirmative (significant in either "),
        ([0.01, -0.02, 0.03], "no effect is significant in either direction"),
        ([0.9, -0.9, 0.8], "every effect is significant in one direction or the other"),
    ],
)
def test_selection_in_both_directions_favours_neither(y, words, make_effects):
    rows = make_rows(make_effects, y, 0.01)
    text = " ".join(assess_worst_case(rows, alternative="two.sided").sentences)
    assert words in text
    assert "favoured" not in text
    assert "favoured direction" in " ".join(assess_worst_case(rows).sentences)


@pytest.mark.parametrize(
    ("y", "v", "words"),
    [
        ([0.9] * 6, 0.01, "every effect is significant"),
        ([0.01, -0.02, 0.03], 0.01, "no effect is significant"),
        ([0.4, 0.1], 0.01, "nonaffirmative effect alone"),
        ([0.5, 0.4, 0.1], 0.01, "nonaffirmative effect alone"),
        ([0.5, 0.4, 0.1, 0.1, 0.1], 0.01, "no interval can be computed"),
        ([0.5, -0.4, -0.3, -0.5], 0.01, "does not lie in the favoured direction"),
        ([50.0, 0.0, 0.1, -0.1], 1e-2, "includes 0 without any selection"),
        ([0.3, 0.0, -1e-7], 1e-12, "affirmative"),
    ],
)
def test_awkward_data_give_sentences(y, v, words, make_effects):
    found = assess_worst_case(make_rows(make_effects, y, v))
    assert words in " ".join(found.sentences)
