"""Every plausibility rule: a row that passes and a row that is told what is wrong."""

import math
from dataclasses import replace

import pandas as pd
import pytest
from openpyxl import Workbook

from alliance_meta.codebook import load_codebook
from alliance_meta.effect_sizes import check_effects
from alliance_meta.extraction import check_sheets


def check_one(metric="fisher_z", codebook=None, **cells):
    row = {
        **{"effect_id": "e1", "study_id": "s1", "sample_id": "s1"},
        **{"source_file": "data/raw/effects.xlsx", "source_sheet": "effects", "source_row": 7},
        **cells,
    }
    return check_effects(pd.DataFrame([row]), metric=metric, codebook=codebook)


def r(value=0.31, n=84.0, **more):
    return {"effect_type": "r", "effect_value": value, "n": n, **more}


def z(value=0.31, n=84.0, **more):
    return {"effect_type": "fisher_z", "effect_value": value, "n": n, **more}


def d(value=0.5, **more):
    return {"effect_type": "d", "effect_value": value, "n1": 40.0, "n2": 44.0, **more}


# what an honest sheet holds: correct, rounded, adjusted or bounded
HONEST = {
    "r": r(),
    "r with its se": r(se=0.10),
    "r with its variance": r(variance=0.0098),
    "r with a variance of two digits": r(variance=0.01),
    "r with se and variance, both rounded": r(se=0.08, variance=0.01, n=130.0),
    "r with the se of its regression": r(se=0.105),
    "r with a cluster-adjusted se": r(se=0.14),
    "r with Fisher's interval": r(ci_low=0.10, ci_high=0.49),
    "r with a symmetric interval": r(ci_low=0.12, ci_high=0.50),
    "large r with Fisher's interval": r(0.85, ci_low=0.78, ci_high=0.90),
    "large r with a symmetric interval": r(0.85, ci_low=0.79, ci_high=0.91),
    "large r with a bootstrapped interval": r(0.85, ci_low=0.74, ci_high=0.90),
    "r with a 90 % interval": r(ci_low=0.14, ci_high=0.46),
    "r with a 99 % interval": r(ci_low=0.03, ci_high=0.54),
    "symmetric interval cut off at 1": r(0.508, 5.0, ci_low=-0.218, ci_high=1.0, se=0.371),
    "beta of entangled predictors": {"effect_type": "beta", "effect_value": 0.3, "n": 84.0}
    | {"n_covariates": 2.0, "se": 0.25},
    "tiny study with its interval": r(0.3, 8.0, ci_low=-0.52, ci_high=0.83),
    "large r of a small sample": r(0.95, 19.0),
    "large r": r(0.9),
    "large d": d(3.0),
    "n of a register": r(n=1e4),
    "p that rounding of r explains": r(0.02, 9000.0, p_value=0.8),
    "r with an adjusted p": r(0.2, 100.0, p_value=0.2),
    "negative r": r(-0.31, ci_low=-0.49, ci_high=-0.10),
    "r with its p": r(p_value=0.004),
    "r with p < .05": r(p_value=0.05),
    "strong r with p < .05": r(0.5, p_value=0.05),
    "se and variance of rounded inputs": {"effect_type": "beta", "effect_value": 0.3, "n": 90.0}
    | {"n_covariates": 2.0, "se": 0.1, "variance": 0.012},
    "r with p < .001": r(0.5, p_value=0.001),
    "r with an unrelated quote": r(quote="r = .28, r = .31, p < .01; β = .40"),
    "r with its sign": r(effect_sign="positive"),
    "z": z(),
    "z with its se": z(se=0.111),
    "z with its interval": z(ci_low=0.09, ci_high=0.53),
    "z with its variance": z(variance=0.0123),
    "large z with its interval": z(1.2, ci_low=0.98, ci_high=1.42),
    "z with its quote": z(quote="z = .31"),
    "z with its p": z(p_value=0.005),
    "spearman with its se": {"effect_type": "spearman_rho", "effect_value": 0.6, "n": 60.0}
    | {"se": 0.09},
    "partial with its se": {"effect_type": "partial_r", "effect_value": 0.3, "n": 60.0}
    | {"n_covariates": 4.0, "se": 0.12},
    "d with its se": d(se=0.22),
    "d with its interval": d(ci_low=0.07, ci_high=0.93),
    "d with its variance": d(variance=0.049),
    "odds ratio": {"effect_type": "odds_ratio", "effect_value": 2.1, "n": 90.0}
    | {"ci_low": 1.1, "ci_high": 4.0, "se": 0.33},
    "odds ratio without effect": {"effect_type": "odds_ratio", "effect_value": 1.0, "se": 0.3}
    | {"effect_sign": "positive"},
    "log odds ratio": {"effect_type": "log_odds_ratio", "effect_value": -0.4, "se": 0.2}
    | {"ci_low": -0.79, "ci_high": -0.01},
    "beta with its interval": {"effect_type": "beta", "effect_value": 0.3, "n_covariates": 2.0}
    | {"n": 90.0, "ci_low": 0.1, "ci_high": 0.5, "se": 0.10},
    "t with the interval of a difference": {"effect_type": "t", "effect_value": 2.4, "df": 82.0}
    | {"n": 84.0, "ci_low": 1.0, "ci_high": 9.0},
    "t with covariates": {"effect_type": "t", "effect_value": 2.4, "df": 79.0, "n": 84.0},
    "groups add up": r(n1=40.0, n2=44.0),
    "zero covariates": r(n_covariates=0.0),
    "n from its own interval": r(n=float("nan"), ci_low=0.10, ci_high=0.49),
    "symptom measure, turned": r(outcome_measure="BDI", outcome_direction="higher_is_worse"),
    "functioning, direction empty": r(outcome_measure="GAF"),
    "measure without a code": r(outcome_measure="sleep diary"),
    "excluded": r(1.3, ci_low=0.5, ci_high=0.1, exclude_reason="same sample as smith2008"),
}


@pytest.mark.parametrize("cells", HONEST.values(), ids=HONEST.keys())
def test_honest_row_passes(cells):
    assert check_one(**cells) == []


DISHONEST = {
    "interval_reversed": (
        r(ci_low=0.49, ci_high=0.10),
        ("ci_low", "0.49", "error"),
        "The lower confidence limit (0.49) is above the upper one (0.1).",
        "Swap ci_low and ci_high, or check their signs.",
    ),
    "interval_out_of_range (r)": (
        r(0.9, ci_low=0.70, ci_high=1.10, n=90.0),
        ("ci_high", "1.1", "error"),
        "A confidence limit of 1.1 is not possible for a correlation.",
        "If value and limits are Fisher's z, code effect_type fisher_z; otherwise check the limit.",
    ),
    "interval_out_of_range (odds ratio)": (
        {"effect_type": "odds_ratio", "effect_value": 2.1, "ci_low": -0.1, "ci_high": 1.3}
        | {"se": 0.3},
        ("ci_low", "-0.1", "error"),
        "A confidence limit of -0.1 is not possible for an odds ratio, which is above 0.",
        "Enter the limits of the odds ratio itself, not of its logarithm; if the value is a "
        "logarithm too, code effect_type log_odds_ratio.",
    ),
    "value_outside_interval": (
        r(0.31, ci_low=0.33, ci_high=0.66),
        ("effect_value", "0.31", "error"),
        "0.31 lies outside its confidence interval, 0.33 to 0.66.",
        "Check that value and limits are of the same statistic, and their decimal points.",
    ),
    "value_outside_interval (sign)": (
        r(-0.31, ci_low=0.10, ci_high=0.49),
        ("effect_value", "-0.31", "error"),
        "-0.31 lies outside its confidence interval, 0.1 to 0.49.",
        "Check the signs: with the other sign the value would lie inside.",
    ),
    "value_outside_interval (inverse)": (
        {"effect_type": "odds_ratio", "effect_value": 0.5, "ci_low": 1.1, "ci_high": 3.64},
        ("effect_value", "0.5", "error"),
        "0.5 lies outside its confidence interval, 1.1 to 3.64.",
        "The inverse would lie inside: enter value and limits in the same direction.",
    ),
    "variance_is_se (se)": (
        {"effect_type": "generic", "effect_value": 3.0, "se": 0.4, "variance": 0.4},
        ("variance", "0.4", "error"),
        "0.4 seems to be a standard error, not a variance: it is as large as the se column.",
        "Move it to se, or enter its square (0.16).",
    ),
    "variance_is_se (interval)": (
        {"effect_type": "generic", "effect_value": 3.0, "variance": 0.255}
        | {"ci_low": 2.5, "ci_high": 3.5},
        ("variance", "0.255", "error"),
        "0.255 seems to be a standard error, not a variance: it is as large as the confidence "
        "interval implies.",
        "Move it to se, or enter its square (0.06502).",
    ),
    "variance_is_se (n of r)": (
        r(variance=0.1),
        ("variance", "0.1", "error"),
        "0.1 seems to be a standard error, not a variance: it is as large as 84 persons imply.",
        "Move it to se, or enter its square (0.01).",
    ),
    "variance_is_se (n of z)": (
        z(variance=0.111),
        ("variance", "0.111", "error"),
        "0.111 seems to be a standard error, not a variance: it is as large as 84 persons imply.",
        "Move it to se, or enter its square (0.01232).",
    ),
    "variance_is_se (n of d)": (
        d(variance=0.222),
        ("variance", "0.222", "error"),
        "0.222 seems to be a standard error, not a variance: it is as large as 84 persons imply.",
        "Move it to se, or enter its square (0.04928).",
    ),
    "variance_is_se (n of beta)": (
        {"effect_type": "beta", "effect_value": 0.3, "n": 84.0, "n_covariates": 2.0}
        | {"variance": 0.11},
        ("variance", "0.11", "error"),
        "0.11 seems to be a standard error, not a variance: it is as large as 84 persons imply.",
        "Move it to se, or enter its square (0.0121).",
    ),
    "se_variance_mismatch": (
        {"effect_type": "generic", "effect_value": 3.0, "se": 0.4, "variance": 0.3},
        ("variance", "0.3", "error"),
        "variance is 0.3 but se is 0.4, whose square is 0.16.",
        "Enter only the one that is printed, or correct the other.",
    ),
    "interval_mismatch": (
        {"effect_type": "beta", "effect_value": 0.3, "n_covariates": 2.0, "n": 90.0}
        | {"ci_low": 0.1, "ci_high": 0.5, "se": 0.2},
        ("se", "0.2", "error"),
        "se is 0.2, but the confidence interval implies a standard error of about 0.102.",
        "Check ci_low, ci_high and se.",
    ),
    "interval_mismatch (se is variance)": (
        {"effect_type": "beta", "effect_value": 0.3, "n_covariates": 2.0, "n": 90.0}
        | {"ci_low": -0.09, "ci_high": 0.69, "se": 0.04},
        ("se", "0.04", "error"),
        "se is 0.04, but the confidence interval implies a standard error of about 0.199.",
        "It fits the variance: move it to the variance column.",
    ),
    "interval_mismatch (variance)": (
        {"effect_type": "generic", "effect_value": 3.0, "variance": 1.0}
        | {"ci_low": 2.0, "ci_high": 4.0},
        ("variance", "1", "error"),
        "variance is 1, but the confidence interval implies a variance of about 0.26.",
        "Check ci_low, ci_high and variance.",
    ),
    "interval_mismatch (odds ratio)": (
        {"effect_type": "odds_ratio", "effect_value": 4.0, "se": 2.0}
        | {"ci_low": 1.5, "ci_high": 10.7},
        ("se", "2", "error"),
        "se is 2, but the confidence interval implies a standard error of the log odds ratio of "
        "about 0.501.",
        "Enter the standard error of the log odds ratio, or only the confidence limits.",
    ),
    "precision_contradicts_n (too small)": (
        r(se=0.03),
        ("se", "0.03", "error"),
        "The standard error fits about 909 persons, but n is 84.",
        "Check n (persons, not sessions) and this cell.",
    ),
    "precision_contradicts_n (se is variance)": (
        z(se=0.0123),
        ("se", "0.0123", "error"),
        "The standard error fits about 6,613 persons, but n is 84.",
        "It fits the variance: move it to the variance column.",
    ),
    "precision_contradicts_n (too large)": (
        z(variance=0.09),
        ("variance", "0.09", "error"),
        "The variance fits about 14 persons, but n is 84.",
        "Check n and this cell. If the analysis was adjusted (clusters, covariates), say so in "
        "notes.",
    ),
    "precision_contradicts_n (large)": (
        z(se=0.18),
        ("se", "0.18", "note"),
        "The standard error fits about 34 persons, but n is 84.",
        "Check n and this cell. If the analysis was adjusted (clusters, covariates), say so in "
        "notes.",
    ),
    "precision_contradicts_n (interval)": (
        r(n=840.0, ci_low=0.10, ci_high=0.49),
        ("ci_low", "0.1", "error"),
        "The confidence interval fits about 84 persons, but n is 840.",
        "Check n and this cell. If the analysis was adjusted (clusters, covariates), say so in "
        "notes.",
    ),
    "precision_contradicts_n (d)": (
        d(se=0.08),
        ("se", "0.08", "error"),
        "The standard error fits about 646 persons, but n is 84.",
        "Check n (persons, not sessions) and this cell.",
    ),
    "interval_of_z": (
        r(0.6, ci_low=0.475, ci_high=0.911, n=84.0),
        ("ci_low", "0.475", "error"),
        "The confidence interval (0.475 to 0.911) is that of Fisher's z (0.693), not of r.",
        "Enter the limits of r, or leave them empty.",
    ),
    "r_seems_fisher_z": (
        r(0.6, ci_low=0.382, ci_high=0.818, n=84.0),
        ("effect_value", "0.6", "error"),
        "Value and confidence interval fit Fisher's z and not a correlation.",
        "If the study prints Fisher's z, code effect_type fisher_z.",
    ),
    "precision_of_z": (
        r(0.7, se=0.111),
        ("se", "0.111", "note"),
        "The standard error is that of Fisher's z and not that of a correlation.",
        "If effect_value is Fisher's z, code effect_type fisher_z; if it is r, this is harmless: n "
        "is used.",
    ),
    "fisher_z_too_large": (
        z(3.1),
        ("effect_value", "3.1", "error"),
        "3.1 is hardly possible for Fisher's z: the correlation would be 0.9959.",
        "If this is the z of a significance test, code its p-value (effect_type p); if the decimal "
        "point was lost, enter it.",
    ),
    "interval_of_r": (
        z(0.693, ci_low=0.442, ci_high=0.721, n=84.0),
        ("ci_low", "0.442", "error"),
        "The confidence interval (0.442 to 0.721) is that of the correlation (0.600), not of "
        "Fisher's z.",
        "Enter the limits of Fisher's z, or leave them empty.",
    ),
    "fisher_z_seems_r": (
        z(0.6, ci_low=0.442, ci_high=0.721, n=84.0),
        ("effect_value", "0.6", "error"),
        "Value and confidence interval fit a correlation and not Fisher's z.",
        "If the study prints r, code effect_type r.",
    ),
    "quote_contradicts_type": (
        z(quote="They correlated, r(82) = .31, p < .01"),
        ("effect_type", "fisher_z", "note"),
        'The quote prints this number as a correlation ("r(82) = .31"), but effect_type is '
        "fisher_z.",
        "If the quote is right, code effect_type r.",
    ),
    "quote_contradicts_type (z)": (
        r(-0.31, quote="Fisher z=−0,31"),
        ("effect_type", "r", "note"),
        'The quote prints this number as Fisher\'s z ("z=−0,31"), but effect_type is r.',
        "If the quote is right, code effect_type fisher_z.",
    ),
    "quote_contradicts_type (beta)": (
        r(quote="β = .31"),
        ("effect_type", "r", "note"),
        'The quote prints this number as a standardised coefficient ("β = .31"), but effect_type '
        "is r.",
        "If the quote is right, code effect_type beta.",
    ),
    "p_value_contradicts": (
        r(p_value=0.4),
        ("p_value", "0.4", "note"),
        "With 0.31 and n = 84 the p-value would be 0.0041, not 0.4.",
        "Check the value, n and the p-value; an adjusted analysis may explain it.",
    ),
    "p_value_contradicts (small)": (
        r(0.05, p_value=0.001),
        ("p_value", "0.001", "note"),
        "With 0.05 and n = 84 the p-value would be 0.65, not 0.001.",
        "Check the value, n and the p-value; an adjusted analysis may explain it.",
    ),
    "p_value_contradicts (large, borderline)": (
        r(0.2, 100.0, p_value=0.9),
        ("p_value", "0.9", "note"),
        "With 0.2 and n = 100 the p-value would be 0.046, not 0.9.",
        "Check the value, n and the p-value; an adjusted analysis may explain it.",
    ),
    "p_value_contradicts (small, borderline)": (
        r(0.01, 100.0, p_value=0.05),
        ("p_value", "0.05", "note"),
        "With 0.01 and n = 100 the p-value would be 0.92, not 0.05.",
        "Check the value, n and the p-value; an adjusted analysis may explain it.",
    ),
    "correlation_rare": (
        r(-0.91, 20.0),
        ("effect_value", "-0.91", "note"),
        "A correlation this high (-0.91) is rare between the alliance and an outcome.",
        "Check the printed value, its decimal point and that it is no reliability.",
    ),
    "correlation_rare (z)": (
        z(1.6),
        ("effect_value", "1.6", "note"),
        "A correlation this high (0.92) is rare between the alliance and an outcome.",
        "Check the printed value, its decimal point and that it is no reliability.",
    ),
    "difference_rare": (
        d(-3.1),
        ("effect_value", "-3.1", "note"),
        "A standardised difference of -3.1 is rare.",
        "Check the printed value, its decimal point and that it is standardised.",
    ),
    "difference_rare (g)": (
        {"effect_type": "g", "effect_value": 4.0, "n": 84.0},
        ("effect_value", "4", "note"),
        "A standardised difference of 4 is rare.",
        "Check the printed value, its decimal point and that it is standardised.",
    ),
    "n_rare": (
        r(n=10001.0),
        ("n", "10001", "note"),
        "An n of 10001 is rare.",
        "Check that it counts persons, not sessions or items, and that no digit is doubled.",
    ),
    "group_sizes_differ": (
        r(n1=40.0, n2=40.0),
        ("n", "84", "note"),
        "n is 84, but n1 and n2 add up to 80.",
        "Check which persons are behind this effect.",
    ),
    "df_below_n": (
        {"effect_type": "t", "effect_value": 1.4, "df": 12.0, "n": 84.0},
        ("df", "12", "note"),
        "df is 12, far below what 84 persons give (82).",
        "Check n and df; enter the second (denominator) degrees of freedom.",
    ),
    "covariates_with_zero_order": (
        r(n_covariates=3.0),
        ("n_covariates", "3", "note"),
        "A statistic of type r is taken as zero-order, but n_covariates is 3.",
        "If other variables were held constant, code effect_type partial_r or semipartial_r; "
        "otherwise enter 0.",
    ),
    "direction_empty": (
        r(outcome_measure="BDI"),
        ("outcome_direction", "", "note"),
        "A higher score on the BDI is worse, but outcome_direction is empty, so the value is taken "
        "as already turned.",
        "Enter higher_is_worse if the value is as printed, higher_is_better if positive already "
        "means the better outcome.",
    ),
    "direction_contradicts_codebook": (
        r(outcome_measure="GAF", outcome_direction="higher_is_worse"),
        ("outcome_direction", "higher_is_worse", "note"),
        "A higher score on the GAF is better, but outcome_direction is higher_is_worse.",
        "That is right if the score is a change or was reversed; otherwise enter higher_is_better.",
    ),
    "beta_outside_range": (
        {"effect_type": "beta", "effect_value": 0.7, "n": 84.0, "n_covariates": 1.0},
        ("effect_value", "0.7", "note"),
        "A beta of 0.7 is outside the range of -.5 to .5 for which the conversion of Peterson and "
        "Brown (2005) was made.",
        "Prefer the zero-order correlation if the study reports it; check that the coefficient is "
        "standardised.",
    ),
    "correlation_out_of_range": (
        r(1.3),
        ("effect_value", "1.3", "error"),
        "1.3 is not possible for a correlation, which lies between -1 and 1.",
        "If this is Fisher's z, code effect_type fisher_z; if it is another statistic, code its "
        "type; if the decimal point was lost, enter it.",
    ),
    "sign_contradiction": (
        r(effect_sign="negative"),
        ("effect_sign", "negative", "error"),
        "effect_sign is negative, but effect_value is 0.31.",
        "Leave effect_sign empty for statistics with a sign of their own, and enter the value with "
        "its printed sign.",
    ),
    "metric_mismatch": (
        {"effect_type": "generic", "effect_value": 3.0, "se": 0.4},
        ("effect_type", "generic", "error"),
        "An effect of type generic stands on its own scale and cannot be pooled with correlations "
        "(metric: fisher_z).",
        "Set metric: generic in the configuration, code the statistic from which a correlation "
        "follows, or fill exclude_reason.",
    ),
}


@pytest.mark.parametrize(("code", "case"), DISHONEST.items(), ids=DISHONEST.keys())
def test_contradiction_is_told(code, case):
    cells, (column, value, severity), problem, suggestion = case
    metric = "generic" if cells["effect_type"] == "generic" and code != "metric_mismatch" else None
    (found,) = check_one(metric or "fisher_z", **cells)
    assert (found.column, found.value, found.severity) == (column, value, severity)
    assert (found.problem, found.suggestion) == (problem, suggestion)
    assert found.code == code.partition(" ")[0]
    assert (found.file, found.sheet, found.row) == ("data/raw/effects.xlsx", "effects", 7)


def test_a_value_at_the_limit_of_its_interval_after_rounding_is_none_outside_it():
    found = check_one(**r(0.3, 1e5, ci_low=0.3, ci_high=0.31))
    assert [p.code for p in found] == ["n_rare"]


def test_se_of_z_beside_the_variance_of_r_is_harmless():
    found = check_one(**r(0.5, 41.0, se=0.16, variance=0.014))
    assert [(p.code, p.severity) for p in found] == [("precision_of_z", "note")]


def test_correlations_do_not_fit_the_generic_metric():
    (found,) = check_one("generic", **r())
    assert found.problem == (
        "An effect of type r is not on the scale of the generic effects (metric: generic)."
    )
    assert found.suggestion.startswith("Set metric: fisher_z or r")


def test_several_mistakes_of_one_row_are_told_at_once():
    found = check_one(
        **r(1.3, n1=40.0, n2=41.0, ci_low=0.5, ci_high=0.1, effect_sign="negative"),
        outcome_measure="BDI",
    )
    assert {p.code for p in found} == {
        *("correlation_out_of_range", "sign_contradiction", "interval_reversed"),
        *("group_sizes_differ", "direction_empty"),
    }


def test_added_terms_of_a_review_count():
    codebook = load_codebook().extended({"outcome_measure": {"XYZ": {"higher": "worse"}}})
    assert check_one(**r(outcome_measure="XYZ")) == []
    (found,) = check_one(codebook=codebook, **r(outcome_measure="XYZ"))
    assert found.code == "direction_empty"


@pytest.mark.parametrize("n", [6, 12, 30, 84, 300, 3000])
@pytest.mark.parametrize("value", [-0.95, -0.6, -0.31, 0.0, 0.05, 0.31, 0.6, 0.8, 0.95])
def test_consistent_rows_of_any_size_raise_no_error(value, n):
    # everything a correct paper prints with two digits, in turn as r and as z
    half = 1.959963984540054 / math.sqrt(n - 3)
    of_z = math.atanh(value)
    as_r = r(value, float(n), ci_low=round(math.tanh(of_z - half), 2))
    as_r |= {"ci_high": round(math.tanh(of_z + half), 2)}
    as_r |= {"se": max(round((1 - value**2) / math.sqrt(n - 1), 2), 0.001)}
    as_z = z(round(of_z, 2), float(n), ci_low=round(of_z - half, 2), ci_high=round(of_z + half, 2))
    as_z |= {"se": round(half / 1.959963984540054, 2), "variance": round(1 / (n - 3), 4)}
    for cells in (as_r, as_z):
        assert [p for p in check_one(**cells) if p.severity == "error"] == []


def percentages(values, **columns):
    n = len(values)
    table = {"effect_id": [f"e{i}" for i in range(n)], "study_id": "s", "sample_id": "s"}
    table |= {"effect_type": "r", "effect_value": 0.3, "n": 84.0, "percent_female": values}
    table |= {"source_file": "a.csv", "source_sheet": "", "source_row": range(2, n + 2)}
    found = check_effects(pd.DataFrame(table | columns))
    return [(p.file, p.row, p.column, p.value) for p in found]


def test_a_fraction_among_percentages_is_noted():
    nan = float("nan")
    assert percentages([0.62, 55.0, nan, 1.0, 0.0]) == [
        ("a.csv", 2, "percent_female", "0.62"),
        ("a.csv", 5, "percent_female", "1"),
    ]
    # a sheet of fractions only cannot be told from a sheet of small shares
    assert percentages([0.62, 0.5, nan]) == []
    assert percentages([0.62, 55.0], source_file=["a.csv", "b.csv"]) == []
    assert percentages([0.62, 55.0], exclude_reason=["overlaps", ""]) == []


def test_the_note_on_a_fraction_says_what_to_write():
    table = {"effect_id": ["a", "b"], "study_id": "s", "sample_id": "s", "effect_type": "r"}
    table |= {"effect_value": 0.3, "n": 84.0, "percent_minority": [0.07, 20.0]}
    table |= {"source_file": "a.csv", "source_sheet": "x", "source_row": [2, 3]}
    (found,) = check_effects(pd.DataFrame(table))
    assert str(found) == (
        "a.csv sheet x row 2, column percent_minority: Note: percent_minority is 0.07, but the "
        "column counts in percent, and other rows of this sheet do. If this is a fraction, write 7."
    )


# --- what checking the sheets has told is not told again ------------------------------------

HEAD = "study_id,effect_type,effect_value,n,df,n1,n2,se,p_value,effect_sign,outcome_measure"
HEAD += ",outcome_direction,n_covariates,exclude_reason\n"


def findings(tmp_path, text):
    """Return codes of what is reported, and of what the numbers add with and without it."""
    path = tmp_path / "effects.csv"
    path.write_text(text, encoding="utf-8")
    extraction = check_sheets([("effects.csv", path)], [], codebook=load_codebook())
    told = [p.code for p in extraction.problems if p.severity == "error"]
    alone = [p.code for p in check_effects(extraction.effects)]
    added = [p.code for p in check_effects(extraction.effects, reported=extraction.problems)]
    return told, alone, added


ECHOES = {
    "ns as value": ("A,r,ns,84", "value_missing"),
    "stars": ("A,r,.28*,84", "value_missing"),
    "no n": ("A,r,.28,n/a", "n_missing"),
    "thousand": ("A,r,.28,1.234", "n_missing"),
    "about": ("A,r,.28,~60", "n_missing"),
    "unknown type": ("A,tau,.28,60", "unknown_effect_type"),
    "no type": ("A,,.28,60", "unknown_effect_type"),
    "no value": ("A,r,,60", "value_missing"),
    "df beside no n": ("A,t,2.1,,8 2", "n_missing"),
    "group size": ("A,d,.4,,,forty,44", "n_missing"),
    "se of odds ratio": ("A,odds_ratio,2.1,,,,,.3*", "variance_missing"),
    "p of odds ratio": ("A,odds_ratio,2.1,,,,,,<.01", "variance_missing"),
    "sign": ("A,F,4.1,84,82,,,,,upwards", "sign_missing"),
    "direction": ("A,r,.3,84,,,,,,,BDI,upwards", "direction_empty"),
    "covariates": ("A,t,2.1,84,12,,,,,,,,~65", "df_below_n"),
}


@pytest.mark.parametrize(("row", "echo"), ECHOES.values(), ids=ECHOES.keys())
def test_one_mistake_is_told_once(tmp_path, row, echo):
    told, alone, added = findings(tmp_path, f"{HEAD}{row}{',' * (13 - row.count(','))}\n")
    assert len(told) == 1
    assert alone == [echo]
    assert added == []


def test_a_formula_without_result_is_told_once(tmp_path):
    book = Workbook()
    for row in (["study_id", "effect_type", "effect_value", "n"], ["A", "r", "=1/3", 84]):
        book.worksheets[0].append(row)
    book.save(tmp_path / "effects.xlsx")
    sheets = [("effects.xlsx", tmp_path / "effects.xlsx")]
    extraction = check_sheets(sheets, [], codebook=load_codebook())
    assert [p.code for p in extraction.problems] == ["formula_without_result"]
    assert check_effects(extraction.effects, reported=extraction.problems) == []


@pytest.mark.parametrize("column", ["effect_type", "effect_value"])
@pytest.mark.parametrize("written", ["type", "value", "something"])
def test_a_missing_column_is_told_once(tmp_path, column, written):
    text = "study_id,effect_type,effect_value,n\nA,r,0.3,84\nB,r,0.2,40\n"
    told, alone, added = findings(tmp_path, text.replace(column, written))
    assert told == ["column_missing"]
    assert len(alone) == 2
    assert added == []


def test_independent_findings_of_the_same_row_stay(tmp_path):
    rows = [
        # n cannot be read; the direction of F is missing all the same
        "A,F,4.1,n/a,82,,,,,,,,,",
        # the p-value cannot be read; the groups do not add up, the direction is empty
        "B,r,.3,84,,40,40,,<.05,,BDI,,,",
        # the sign cannot be read; n is missing
        "C,chi2,4.1,,,,,,,upwards,,,,",
        # the standard error cannot be read; the value is impossible
        "D,r,1.3,84,,,,.1*,,,,,,",
        # nothing was reported of this row
        "E,r,.3,,,,,,,,,,,",
    ]
    _, _, added = findings(tmp_path, HEAD + "\n".join(rows) + "\n")
    assert added == [
        *("sign_missing", "group_sizes_differ", "direction_empty"),
        *("n_missing", "correlation_out_of_range", "n_missing"),
    ]


def test_notes_and_other_rows_explain_nothing(tmp_path):
    path = tmp_path / "effects.csv"
    path.write_text("study_id,effect_type,effect_value,n\nA,r,.3,\nB,r,.3,x\n")
    extraction = check_sheets([("effects.csv", path)], [], codebook=load_codebook())
    found = check_effects(extraction.effects, reported=extraction.problems)
    assert [(p.code, p.row) for p in found] == [("n_missing", 2)]
    notes = [replace(p, severity="note") for p in extraction.problems]
    assert len(check_effects(extraction.effects, reported=notes)) == 2
    elsewhere = [replace(p, file="other.csv") for p in extraction.problems]
    assert len(check_effects(extraction.effects, reported=elsewhere)) == 2
