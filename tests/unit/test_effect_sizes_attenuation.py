"""Correction for unreliability: numbers, imputation rules and what is said of both."""

import math
from types import GeneratorType

import numpy as np
import pandas as pd
import pytest

from alliance_meta.effect_sizes import convert_effects, correct_attenuation, sweep_assumed
from alliance_meta.models.selection import select_rows
from alliance_meta.models.specification import ModelSpecification

# a handful of roundings
CLOSE = 1e-12

CODED = [
    "instrument",
    "instrument_version",
    "component",
    "rater",
    "outcome_measure",
    "outcome_domain",
    "outcome_rater",
    "exclude_reason",
]


def make_table(*rows, metric="fisher_z"):
    """Convert rows of (study, cells); each is a correlation of .30 in 103 persons by default."""
    cells = []
    for i, (study, given) in enumerate(rows, start=1):
        names = {"effect_id": f"e{i}", "study_id": study, "sample_id": study}
        effect = {"effect_type": "r", "effect_value": 0.3, "n": 103.0}
        places = {"source_file": "data/raw/effects.csv", "source_row": i + 1}
        cells.append(names | effect | places | given)
    table = pd.DataFrame(cells)
    for name in CODED:
        values = table[name] if name in table else pd.Series([None] * len(table))
        table[name] = values.astype("str")
    for name in ("reliability_alliance", "reliability_outcome", "variance", "n_covariates"):
        if name not in table:
            table[name] = np.nan
    return convert_effects(table, metric=metric).table


def rules(attenuation, side="alliance"):
    return list(attenuation.reliabilities[f"rule_{side}"])


def values(attenuation, side="alliance"):
    return list(attenuation.reliabilities[f"reliability_{side}"])


# ---------------------------------------------------------------- numbers


def test_numbers_by_hand():
    table = make_table(("s", {"reliability_alliance": 0.9, "reliability_outcome": 0.8}))
    row = correct_attenuation(table).effects.iloc[0]
    r = 0.3 / math.sqrt(0.72)
    assert row["r"] == pytest.approx(r, rel=CLOSE)
    assert row["vr"] == pytest.approx((1 - 0.09) ** 2 / 102 / 0.72, rel=CLOSE)
    assert row["z"] == pytest.approx(math.atanh(r), rel=CLOSE)
    on_r = 1 / 100 * (1 - 0.09) ** 2 / 0.72
    assert row["vz"] == pytest.approx(on_r / (1 - r**2) ** 2, rel=CLOSE)
    assert row["flags"] == "corrected_for_unreliability"


def test_variance_of_z_is_that_of_simulated_corrected_correlations():
    rng = np.random.default_rng(20181)
    n, rho, product = 400, 0.5, 0.7
    observed = rho * math.sqrt(product)
    x = rng.standard_normal((4000, n))
    y = observed * x + math.sqrt(1 - observed**2) * rng.standard_normal((4000, n))
    x -= x.mean(axis=1, keepdims=True)
    y -= y.mean(axis=1, keepdims=True)
    r = (x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    spread = np.arctanh(r / math.sqrt(product)).var()
    cells = {"effect_value": observed, "n": float(n), "reliability_outcome": product}
    row = correct_attenuation(make_table(("s", cells))).effects.iloc[0]
    # a variance of 4,000 draws has a relative SE of 2.2 %
    assert row["vz"] == pytest.approx(spread, rel=0.07)


def test_perfect_reliabilities_change_nothing():
    cells = {"reliability_alliance": 1.0, "reliability_outcome": 1.0}
    table = make_table(("s1", cells), ("s2", cells | {"effect_value": -0.7, "n": 12.0}))
    result = correct_attenuation(table)
    pd.testing.assert_frame_equal(result.effects, table)
    assert result.n_corrected == 0


def test_one_known_side_is_corrected_alone():
    result = correct_attenuation(make_table(("s", {"reliability_alliance": 0.81})))
    assert result.effects["r"].iloc[0] == pytest.approx(0.3 / 0.9, rel=CLOSE)
    assert rules(result, "outcome") == ["none"]
    assert values(result, "outcome") == [1.0]
    assert "outcome measure was unknown for 1 effect, not corrected" in " ".join(result.sentences)


@pytest.mark.parametrize(("metric", "y", "v"), [("fisher_z", "z", "vz"), ("r", "r", "vr")])
def test_yi_and_vi_follow_the_metric_of_the_table(metric, y, v):
    table = make_table(
        ("s1", {"reliability_alliance": 0.8}),
        ("s2", {"effect_value": 0.0, "reliability_alliance": 0.8}),
        metric=metric,
    )
    effects = correct_attenuation(table).effects
    assert list(effects["yi"]) == list(effects[y])
    assert list(effects["vi"]) == list(effects[v])
    assert (effects["vi"] > table["vi"]).all()


def test_the_table_given_is_left_alone():
    table = make_table(("s", {"reliability_alliance": 0.8}))
    before = table.copy()
    correct_attenuation(table)
    pd.testing.assert_frame_equal(table, before)


# ---------------------------------------------------------------- rules

WAI = {"instrument": "WAI", "rater": "client"}


def test_every_rule_serves_in_its_turn():
    short = WAI | {"instrument_version": "WAI-SR"}
    table = make_table(
        ("a", short | {"reliability_alliance": 0.90}),
        ("a", short),
        ("b", short),
        ("b", WAI | {"instrument_version": "WAI-S"}),
        ("b", WAI),
        ("b", {"instrument": "WAI", "rater": "therapist"}),
        ("b", {"instrument": "WAI"}),
        ("b", {"instrument": "CALPAS", "rater": "client"}),
        ("b", {"instrument": "HAq", "rater": "observer"}),
        ("b", {}),
        ("c", {"instrument": "HAq", "rater": "therapist", "reliability_alliance": 0.80}),
    )
    result = correct_attenuation(table, assumed={"outcome": 0.7})
    assert rules(result) == [
        "coded",
        "same_study",
        "version_rater",
        "measure_rater",
        "measure_rater",
        "measure",
        "measure",
        "rater",
        "measure",
        "overall",
        "coded",
    ]
    expected = [0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.8, 0.85, 0.8]
    assert values(result) == pytest.approx(expected, rel=CLOSE)
    assert list(result.reliabilities["studies_alliance"]) == [1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1]
    assert set(rules(result, "outcome")) == {"assumed"}
    assert set(values(result, "outcome")) == {0.7}


def test_outcome_measures_have_the_same_rules():
    bdi = {"outcome_measure": "BDI", "outcome_rater": "client"}
    table = make_table(
        ("a", bdi | {"reliability_outcome": 0.90}),
        ("a", bdi | {"outcome_domain": "wellbeing"}),
        ("b", {"outcome_measure": "BDI", "outcome_rater": "observer"}),
        ("b", {"outcome_measure": "my own scale", "outcome_rater": "client"}),
    )
    result = correct_attenuation(table)
    assert rules(result, "outcome") == ["coded", "measure_rater", "measure", "rater"]


def test_means_are_over_studies_not_rows():
    table = make_table(
        *[("big", WAI | {"reliability_alliance": x}) for x in (0.94, 0.96, 0.95, 0.95)],
        ("small", WAI | {"reliability_alliance": 0.75}),
        ("empty", WAI),
    )
    result = correct_attenuation(table)
    assert values(result)[-1] == pytest.approx(0.85, rel=CLOSE)
    assert result.reliabilities["studies_alliance"].iloc[-1] == 2


def test_versions_are_kept_apart_where_a_value_of_the_version_exists():
    long, short = ({"instrument_version": name} for name in ("WAI-O", "WAI-SR"))
    table = make_table(
        ("a", WAI | long | {"reliability_alliance": 0.95}),
        ("b", WAI | short | {"reliability_alliance": 0.85}),
        ("c", WAI | short),
        ("d", WAI),
    )
    result = correct_attenuation(table)
    assert values(result)[2:] == pytest.approx([0.85, 0.90], rel=CLOSE)
    assert rules(result)[2:] == ["version_rater", "measure_rater"]


@pytest.mark.parametrize("name", ["other", "core_measure", "Other"])
def test_remainders_are_no_common_measure(name):
    table = make_table(
        ("a", {"instrument": name, "reliability_alliance": 0.9}),
        ("a", {"instrument": name}),
        ("b", {"instrument": name, "rater": "other"}),
    )
    assert rules(correct_attenuation(table))[1:] == ["overall", "overall"]


def test_a_subscale_does_not_take_the_value_of_the_total_as_its_own():
    table = make_table(
        ("a", WAI | {"component": "total", "reliability_alliance": 0.95}),
        ("a", WAI | {"component": "bond"}),
        ("b", WAI | {"component": "bond", "reliability_alliance": 0.85}),
    )
    result = correct_attenuation(table)
    assert rules(result)[1] == "measure_rater"
    assert values(result)[1] == pytest.approx(0.90, rel=CLOSE)


def test_excluded_rows_neither_serve_nor_change():
    table = make_table(
        ("a", WAI | {"reliability_alliance": 0.5, "exclude_reason": "same sample as b"}),
        ("b", WAI),
    )
    result = correct_attenuation(table)
    pd.testing.assert_frame_equal(result.effects, table)
    assert list(result.reliabilities["effect_id"]) == ["e2"]
    assert rules(result) == ["none"]
    assert "No reliability is coded or assumed" in result.sentences[0]


def test_absent_columns_count_as_empty():
    table = make_table(("a", {}), ("b", {}))[["effect_id", "study_id", "r", "vr", "z", "vz"]]
    result = correct_attenuation(table, assumed={"alliance": 0.8})
    assert rules(result) == ["assumed", "assumed"]
    assert list(result.effects["r"]) == pytest.approx([0.3 / math.sqrt(0.8)] * 2, rel=CLOSE)


def test_an_empty_table_has_nothing_to_correct():
    result = correct_attenuation(make_table(("a", {})).iloc[:0])
    assert len(result.effects) == len(result.reliabilities) == len(result.counts) == 0
    assert result.sentences == (
        "There is no correlation that could be corrected for unreliable measurement.",
    )


# ---------------------------------------------------------------- what is said


def test_counts_and_sentences_say_which_rule_served_how_many():
    table = make_table(
        ("a", WAI | {"reliability_alliance": 0.90, "reliability_outcome": 0.8}),
        ("b", WAI | {"reliability_alliance": 0.94}),
        ("c", WAI),
        ("c", WAI),
        ("d", {"instrument": "HAq", "rater": "observer"}),
    )
    result = correct_attenuation(table)
    counts = result.counts.set_index(["side", "rule"])
    assert list(counts.index) == [
        ("alliance", "coded"),
        ("alliance", "measure_rater"),
        ("alliance", "overall"),
        ("outcome", "coded"),
        ("outcome", "overall"),
    ]
    served = counts.loc[("alliance", "measure_rater")]
    assert (served["k_effects"], served["k_studies"], served["source_studies_max"]) == (2, 1, 2)
    assert counts.loc[("outcome", "overall"), "k_single_source"] == 4
    assert result.sentences[1:] == (
        "The reliability of the alliance measure (mean .92, range .90 to .94) was as coded for "
        "2 effects; the mean of the same measure and rater for 2 effects (from 2 studies); the "
        "mean of all coded values for 1 effect (from 2 studies).",
        "The reliability of the outcome measure (.80) was as coded for 1 effect; the mean of all "
        "coded values for 4 effects (from 1 study).",
        "Means are over studies, after averaging within each study; the imputed reliability of "
        "the outcome measure rests on a single study for 4 effects.",
    )
    assert result.n_corrected == 5


def test_among_restricts_what_is_said_to_the_effects_of_an_analysis():
    table = make_table(
        ("a", WAI | {"reliability_alliance": 0.90}),
        ("b", WAI),
        ("c", {"effect_value": 0.97, "reliability_outcome": 0.5}),
    )
    result = correct_attenuation(table)
    assert len(result.left_out) == 1
    chosen = result.among(["e2"])
    assert list(chosen.effects["effect_id"]) == ["e2"]
    assert list(chosen.reliabilities["rule_alliance"]) == ["measure_rater"]
    assert chosen.counts["k_effects"].sum() == 2
    assert len(chosen.left_out) == len(chosen.problems) == 0
    assert chosen.n_corrected == 1
    assert not any("left out" in sentence for sentence in chosen.sentences)


def test_effects_with_covariates_are_said_to_be_approximate():
    cells = {"effect_type": "partial_r", "n_covariates": 2.0, "reliability_alliance": 0.9}
    result = correct_attenuation(make_table(("a", cells), ("b", {})))
    assert (
        "1 effect holds covariates constant, for which the correction is an approximation."
        in result.sentences
    )


def test_corrected_correlations_of_one_or_more_are_reported_and_left_out():
    strong = {"effect_value": -0.9, "reliability_alliance": 0.8, "reliability_outcome": 0.7}
    table = make_table(("Smith 2010", strong), ("Jones 2011", {}))
    result = correct_attenuation(table)
    row = result.effects.iloc[0]
    assert row[["r", "vr", "z", "vz", "yi", "vi"]].isna().all()
    assert row["exclude_reason"] == (
        "corrected for unreliability the correlation −.90 would be −1.203 (divided by "
        "√(.80 × .70)), which no correlation can be"
    )
    assert result.reliabilities["r_corrected"].iloc[0] == pytest.approx(-0.9 / math.sqrt(0.56))
    assert list(result.left_out["effect_id"]) == ["e1"]
    assert list(result.left_out["study_id"]) == ["Smith 2010"]
    (problem,) = result.problems
    assert str(problem) == (
        "data/raw/effects.csv row 2: Note: Effect e1 of study Smith 2010 is left out of the "
        "corrected analyses: corrected for unreliability the correlation −.90 would be −1.203 "
        "(divided by √(.80 × .70)), which no correlation can be. Check the correlation and the "
        "reliabilities (alliance .80, coded; outcome .70, coded)."
    )
    assert result.sentences[-1] == (
        "1 effect was left out of the corrected analysis, because no correlation can reach 1: "
        "Smith 2010 (e1, r = −.90, reliabilities .80 and .70, corrected −1.203). As these are "
        "among the strongest correlations, the corrected estimate leans towards zero."
    )
    # the other effect takes the coded values of the first, whose correlation alone is at fault
    assert rules(result)[1] == "overall"


def test_models_take_the_corrected_rows_and_no_impossible_ones():
    strong = {"effect_value": 0.9, "reliability_alliance": 0.8, "reliability_outcome": 0.7}
    result = correct_attenuation(make_table(("a", strong), ("b", {}), ("c", {})))
    for metric, y, v in (("fisher_z", "z", "vz"), ("r", "r", "vr")):
        data = select_rows(result.effects, ModelSpecification(metric=metric), []).data
        assert list(data["effect_id"]) == ["e2", "e3"]
        assert list(data["yi"]) == list(result.effects[y].iloc[1:])
        assert list(data["vi"]) == list(result.effects[v].iloc[1:])


def test_long_lists_of_impossible_rows_are_cut_in_the_sentence_only():
    strong = {"effect_value": 0.9, "reliability_alliance": 0.5}
    result = correct_attenuation(make_table(*[(f"s{i}", strong) for i in range(5)]))
    assert len(result.left_out) == len(result.problems) == 5
    assert result.sentences[-1].count(" and 2 more. ") == 1


def test_generic_effects_are_left_as_they_are():
    generic = {"effect_type": "generic", "effect_value": 1.4, "variance": 0.2}
    table = make_table(("a", generic | {"reliability_alliance": 0.8}), ("b", {}))
    result = correct_attenuation(table)
    pd.testing.assert_series_equal(result.effects.iloc[0], table.iloc[0])
    assert list(result.reliabilities["effect_id"]) == ["e2"]
    assert result.sentences[-1] == ("1 generic effect is no correlation and was left as reported.")


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("value", [0.0, -0.2, 1.01, math.inf])
def test_impossible_reliabilities_are_refused(value):
    table = make_table(("a", {"reliability_outcome": value}))
    with pytest.raises(ValueError, match="reliability_outcome of effect e1"):
        correct_attenuation(table)
    with pytest.raises(ValueError, match="assumed reliability of the outcome measure"):
        correct_attenuation(make_table(("a", {})), assumed={"outcome": value})


def test_an_unknown_measure_is_refused():
    with pytest.raises(ValueError, match="alliance and outcome, not 'therapist'"):
        correct_attenuation(make_table(("a", {})), assumed={"therapist": 0.9})


def test_a_table_is_not_corrected_twice():
    once = correct_attenuation(make_table(("a", {"reliability_alliance": 0.9})))
    with pytest.raises(ValueError, match="already"):
        correct_attenuation(once.effects)


def test_missing_columns_are_named():
    with pytest.raises(ValueError, match=r"column\(s\) vr, vz"):
        correct_attenuation(make_table(("a", {})).drop(columns=["vr", "vz"]))


# ---------------------------------------------------------------- sweep


def test_sweep_keeps_coded_values_and_assumes_all_others():
    table = make_table(("a", WAI | {"reliability_alliance": 0.9}), ("a", WAI), ("b", WAI))
    steps = sweep_assumed(table, [0.6, 0.8], [0.5, 0.7])
    assert isinstance(steps, GeneratorType)
    steps = list(steps)
    pairs = [(0.6, 0.5), (0.6, 0.7), (0.8, 0.5), (0.8, 0.7)]
    assert [(step.alliance, step.outcome) for step in steps] == pairs
    for alliance, outcome, attenuation in steps:
        assert values(attenuation) == [0.9, alliance, alliance]
        assert values(attenuation, "outcome") == [outcome] * 3
        assert attenuation.effects["r"].iloc[2] == pytest.approx(
            0.3 / math.sqrt(alliance * outcome), rel=CLOSE
        )


def test_sweep_refuses_at_once():
    with pytest.raises(ValueError, match=r"alliance measure is 1\.2"):
        sweep_assumed(make_table(("a", {})), [0.8, 1.2], [0.8])
