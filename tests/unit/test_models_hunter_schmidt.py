"""Psychometric meta-analysis against metafor and the book's formulas, and its limits."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alliance_meta.effect_sizes import correct_attenuation
from alliance_meta.models.hunter_schmidt import (
    describe_hunter_schmidt,
    hunter_schmidt,
    per_sample,
    tabulate_moments,
)
from alliance_meta.models.specification import InestimableError

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "hunter_schmidt.json").read_text(encoding="utf-8")
)
# closed forms: sums of at most 160 doubles; a variance that is 0 up to rounding needs the floor
CLOSED_FORM = {"rel": 1e-10, "abs": 1e-14}
RESULTS = REFERENCE["results"]


def run(case):
    data = REFERENCE["sets"][case["set"]]
    return hunter_schmidt(
        data["r"],
        data["n"],
        rxx=data["rxx"],
        ryy=data["ryy"],
        ci_level=case["ci_level"],
        credibility_level=case["credibility_level"],
    )


@pytest.mark.parametrize("case", RESULTS, ids=lambda case: f"{case['set']} {case['ci_level']}")
def test_moments_agree_with_r(case):
    result = run(case)
    assert (result.k, result.n_total) == (case["k"], case["n_total"])
    for part in ("bare_bones", "corrected"):
        moments = getattr(result, part)
        for name, value in case[part].items():
            assert getattr(moments, name) == pytest.approx(value, **CLOSED_FORM), (part, name)


@pytest.mark.parametrize("case", RESULTS[::2], ids=lambda case: case["set"])
def test_bare_bones_agree_with_metafor(case):
    moments = run(case).bare_bones
    for name, value in case["metafor"].items():
        assert getattr(moments, name) == pytest.approx(value, **CLOSED_FORM), name


def test_a_side_without_reliabilities_counts_as_perfect():
    r, n = [0.2, 0.3, 0.5], [50, 60, 70]
    alone = hunter_schmidt(r, n, rxx=0.8)
    assert alone.corrected == hunter_schmidt(r, n, rxx=[0.8] * 3, ryy=1.0).corrected
    assert alone.corrected.mean == pytest.approx(alone.bare_bones.mean / math.sqrt(0.8), rel=1e-12)
    perfect = hunter_schmidt(r, n, ryy=1)
    assert hunter_schmidt(r, n).corrected is None
    # the corrected error variance averages over samples what bare bones take at the mean n
    assert perfect.corrected.var_observed == perfect.bare_bones.var_observed


def test_one_sample_gives_a_mean_without_precision():
    result = hunter_schmidt([0.3], [40], rxx=0.81)
    assert result.bare_bones.mean == 0.3
    assert result.corrected.mean == pytest.approx(0.3 / 0.9)
    for moments in (result.bare_bones, result.corrected):
        for name in ("se", "ci_low", "var_observed", "sd_residual", "credibility_high"):
            assert math.isnan(getattr(moments, name)), name
    assert result.notes == ("With a single sample the precision of the mean cannot be told.",)
    assert describe_hunter_schmidt(result)[0].endswith(
        "of 1 sample (N = 40), the mean observed correlation was .30."
    )


def test_equal_correlations_are_not_taken_for_certainty():
    moments = hunter_schmidt([0.3] * 6, [40, 50, 60, 70, 80, 90]).bare_bones
    assert math.isnan(moments.se)
    assert math.isnan(moments.ci_low)
    assert (moments.var_observed, moments.sd_residual) == (0, 0)
    assert math.isnan(moments.percent_error)


def test_no_residual_variance_is_said():
    case = next(c for c in RESULTS if c["set"] == "homogeneous")
    result = run(case)
    assert result.bare_bones.sd_residual == 0
    assert result.bare_bones.percent_error > 100
    assert result.notes == (
        "The correlations differ no more than sampling error lets expect; their residual "
        "variance is set to 0.",
        "The corrected correlations differ no more than sampling error lets expect; their "
        "residual variance is set to 0.",
    )


def test_corrected_correlations_beyond_one_are_kept_and_said():
    result = hunter_schmidt([0.9, 0.2, 0.3, 0.1, 0.4], [20, 90, 80, 70, 60], rxx=0.8, ryy=0.7)
    assert result.notes == (
        "1 corrected correlation is 1 or more in size; the method keeps such values, as they "
        "come from sampling error.",
    )


def test_few_samples_are_said_to_give_narrow_intervals():
    result = hunter_schmidt([0.1, 0.5], [90, 90])
    assert result.notes == ("With 2 samples the confidence interval of this method is too narrow.",)


@pytest.mark.parametrize(
    ("r", "n", "more", "message"),
    [
        ([0.1, 0.2], [10], {}, "same length"),
        ([[0.1]], [[10]], {}, "one-dimensional"),
        ([1.1], [10], {}, "between -1 and 1"),
        ([np.nan], [10], {}, "between -1 and 1"),
        ([0.1], [1], {}, "at least 2 persons"),
        ([0.1], [np.nan], {}, "at least 2 persons"),
        ([0.1], [np.inf], {}, "at least 2 persons"),
        ([0.1], [10], {"rxx": [0.9, 0.9]}, "rxx must be one number"),
        ([0.1], [10], {"rxx": 0.0}, "every rxx"),
        ([0.1], [10], {"ryy": [np.nan]}, "every ryy"),
        ([0.1], [10], {"ryy": 1.2}, "every ryy"),
        ([0.1], [10], {"ci_level": 95}, "ci_level is 95"),
        ([0.1], [10], {"credibility_level": 0}, "credibility_level is 0"),
    ],
)
def test_impossible_input_is_refused(r, n, more, message):
    with pytest.raises(ValueError, match=message):
        hunter_schmidt(r, n, **more)


def test_no_sample_is_inestimable():
    with pytest.raises(InestimableError, match="no sample"):
        hunter_schmidt([], [])


def test_table_and_sentences_tell_the_same():
    result = run(RESULTS[0])
    table = tabulate_moments(result).set_index("parameter")
    assert list(table.columns) == ["bare_bones", "corrected"]
    assert table.loc["k", "corrected"] == 16
    assert table.loc["mean", "bare_bones"] == result.bare_bones.mean
    assert describe_hunter_schmidt(result) == [
        "In a psychometric meta-analysis (Hunter & Schmidt, 2004) of 16 samples (N = 3,509), the "
        "mean observed correlation was .12, 95 % CI [.07, .17], SD of the residuals .08, 80 % "
        "credibility interval [.02, .22], with 42 % of the variance due to sampling error.",
        "Corrected for unreliability sample by sample, the mean correlation was .15, 95 % CI "
        "[.09, .21], SD of ρ .10, 80 % credibility interval [.02, .28], with 41 % of the variance "
        "due to sampling error.",
    ]
    bare = tabulate_moments(hunter_schmidt([0.1, 0.2], [20, 30]))
    assert bare["corrected"].isna().all()


# ---------------------------------------------------------------- one correlation per sample


@pytest.fixture
def effects(make_effects):
    return make_effects(
        [0.2, 0.4, 0.1, 0.3, 0.5, 0.6],
        [0.01] * 6,
        ["a", "a", "b", "c", "d", "e"],
        n=[50.0, 60.0, np.nan, 80.0, 90.0, 70.0],
        conversion=["r", "r", "r", "r", "r", "generic"],
        exclude_reason=[None, None, None, None, "overlap", None],
        reliability_alliance=[0.9, 0.8, 0.7, np.nan, 0.9, 0.9],
    )


def test_effects_of_a_sample_are_averaged(effects):
    samples = per_sample(effects)
    expected = pd.DataFrame(
        {
            "sample_id": ["a", "c"],
            "study_id": ["a", "c"],
            "k_effects": [2, 1],
            "r": [0.3, 0.3],
            "n": [60.0, 80.0],
            "rxx": [0.85, np.nan],
            "ryy": [np.nan, np.nan],
        }
    ).astype({"sample_id": "str", "study_id": "str"})
    # means of two doubles
    pd.testing.assert_frame_equal(samples.table, expected, rtol=1e-14)
    assert samples.left_out.to_dict("records") == [
        {
            "effect_id": "e2",
            "study_id": "b",
            "reason": "no size of the sample, by which correlations are weighted",
        }
    ]


def test_a_size_coded_for_one_effect_serves_its_sample(effects):
    effects.loc[1, "n"] = np.nan
    samples = per_sample(effects)
    assert list(samples.table["n"]) == [50.0, 80.0]
    assert list(samples.table["k_effects"]) == [2, 1]


def test_imputed_reliabilities_are_averaged_too(effects):
    attenuation = correct_attenuation(effects, assumed={"outcome": 0.8})
    samples = per_sample(effects, attenuation.reliabilities).table
    # the mean over studies a (.85) and b (.70); excluded d does not serve, generic e does
    assert list(samples["rxx"]) == pytest.approx([0.85, (0.85 + 0.7 + 0.9) / 3], rel=1e-12)
    assert list(samples["ryy"]) == [0.8, 0.8]
    result = hunter_schmidt(samples["r"], samples["n"], rxx=samples["rxx"], ryy=samples["ryy"])
    assert result.k == 2


def test_a_table_without_reliability_columns_is_fine(effects):
    bare = effects.drop(columns=["reliability_alliance", "reliability_outcome"])
    assert per_sample(bare).table["rxx"].isna().all()


def test_an_effect_with_two_reliabilities_is_refused(effects):
    twice = correct_attenuation(effects).reliabilities.iloc[[0, 0, 1, 2, 3]]
    with pytest.raises(ValueError, match="not a one-to-one"):
        per_sample(effects, twice)
