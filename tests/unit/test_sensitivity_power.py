"""Precision now and with more studies, and the differences that would be found."""

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.models.pooling import fit_pooled
from alliance_meta.models.rows import model_rows
from alliance_meta.sensitivity.power import (
    TABLES,
    Precision,
    analysis_difference,
    assess_power,
    power_of_t,
    reported_difference,
    smallest_detectable,
    studies_needed,
)


@pytest.fixture
def effects(make_effects):
    rng = np.random.default_rng(21)
    study = np.repeat([f"s{i:02}" for i in range(20)], [1, 2, 3, 2] * 5)
    k = len(study)
    year = 2001.0 + pd.factorize(study)[0]
    rater = np.array(["client", "therapist"] * k)[:k]
    return make_effects(
        rng.normal(0.3, 0.15, k), rng.uniform(0.005, 0.03, k), study, rater=rater, year=year
    )


def assess(effects, settings=None, **asked):
    result = analyse(effects, ModelSpecification(**(settings or {})))
    rows = model_rows(result)
    found = assess_power(result, rows, **asked)
    assert {name: list(table.columns) for name, table in found.tables.items()} == TABLES
    return found, rows, result


def quadrature_power(shift, df, ci_level):
    """Power from the definition: a normal over the root of a chi-squared."""
    critical = stats.t.isf((1 - ci_level) / 2, df)

    def given_root(root):
        crossed = stats.norm.sf(critical * root - shift) + stats.norm.cdf(-critical * root - shift)
        # density of √(χ²/df)
        return crossed * stats.chi2.pdf(df * root**2, df) * 2 * df * root

    # the root lies around 1, with a standard deviation near 1/√(2 df)
    reach = 20 / np.sqrt(2 * df)
    ends = (max(0.0, 1 - reach), 1 + reach)
    return integrate.quad(given_root, *ends, epsabs=1e-12, epsrel=1e-12, limit=400)[0]


@pytest.mark.parametrize("df", [2.5, 4.0, 17.3, 400.0])
@pytest.mark.parametrize("shift", [0.0, 0.7, 2.8, 7.0])
def test_power_is_that_of_the_definition(shift, df):
    # the far tail is left out from a shift of 6 on, where it is below 1e-9
    expected = quadrature_power(shift, df, 0.95)
    assert power_of_t(0.1 * shift, 0.1, df, 0.95) == pytest.approx(expected, abs=2e-9)


def test_power_without_a_difference_is_the_level():
    assert power_of_t(0.0, 0.2, 6.0, 0.9) == pytest.approx(0.1)
    assert power_of_t(0.0, 0.2, np.inf, 0.95) == pytest.approx(0.05)


def test_normal_case_is_the_closed_form():
    # the other tail adds less than 1e-5 at 80 % power
    expected = 0.04 * (stats.norm.ppf(0.975) + stats.norm.ppf(0.8))
    assert smallest_detectable(0.04, np.inf, 0.95, 0.8) == pytest.approx(expected, rel=1e-5)
    # very many degrees of freedom are the normal
    assert power_of_t(0.1, 0.04, 9e5, 0.95) == pytest.approx(
        power_of_t(0.1, 0.04, np.inf, 0.95), abs=1e-5
    )


@pytest.mark.parametrize("df", [1.0, 3.2, 12.0, 5e4, np.inf])
def test_smallest_detectable_difference_has_the_power_asked_for(df):
    smallest = smallest_detectable(0.05, df, 0.95, 0.8)
    assert power_of_t(smallest, 0.05, df, 0.95) == pytest.approx(0.8)


@pytest.mark.parametrize("power", [0.99, 0.9999])
@pytest.mark.parametrize("df", [30.0, 100.0, 1e4])
def test_strict_levels_and_high_power_have_a_number(df, power):
    # scipy's series for the far tail ends without a number on the way
    smallest = smallest_detectable(0.05, df, 0.999, power)
    # the far tail is below 1e-9, the quadrature to 1e-12
    assert quadrature_power(smallest / 0.05, df, 0.999) == pytest.approx(power, abs=2e-9)


@pytest.mark.parametrize("df", [4.0, np.inf])
@pytest.mark.parametrize("power", [0.01, 0.05])
def test_a_power_without_any_difference_has_no_smallest_difference(df, power):
    assert np.isnan(smallest_detectable(0.05, df, 0.95, power))


def test_a_power_without_any_difference_is_said(effects):
    found, _, _ = assess(effects, power=0.01)
    assert found.tables["sensitivity_power"]["smallest_detectable"].isna().all()
    assert found.tables["sensitivity_power"]["half_width"].notna().all()
    assert found.sentences[0] == (
        "No smallest difference can be given: at the level of 0.05 a test has a power of 1 % even "
        "where there is no difference at all."
    )


@pytest.mark.parametrize("large", [0.5, 5.0, 50.0, 5e3])
@pytest.mark.parametrize("df", [1.0, 8.0, 1e5])
def test_power_of_huge_differences_is_defined(large, df):
    assert 0 < power_of_t(large, 0.05, df, 0.95) <= 1


@pytest.mark.parametrize("model", ["common_effect", "che"])
def test_twice_the_studies_give_the_standard_error_of_doubled_data(effects, model):
    """Information doubles exactly where the variances are given."""
    settings = {"model": model, "inference": "z"}
    found, rows, _ = assess(effects, settings, studies=[20])
    table = found.tables["sensitivity_power"].set_index("new_studies")
    y, v, X = (np.concatenate([a, a]) for a in (rows.y, rows.v, rows.X))
    clusters = np.concatenate([rows.clusters, rows.clusters + 20])
    if model == "common_effect":
        expected = fit_pooled(y, v, X, clusters, rows.spec).contrast(np.ones(1)).se
    else:
        # at the variances of the fit: the doubled data would estimate others
        working = rows.fit.components.working_covariance()
        information = 0.0
        for j in range(20):
            members = np.flatnonzero(rows.clusters == j)
            information += np.linalg.inv(working(members[None])[0]).sum()
        expected = 1 / np.sqrt(2 * information)
    assert table.loc[20, "se"] == pytest.approx(expected, rel=1e-9)
    assert table.loc[20, "information_share"] == pytest.approx(50)


def test_degrees_of_freedom_grow_with_the_studies(effects):
    found, rows, _ = assess(effects, studies=[10])
    robust = rows.fit.contrast(np.ones(1))
    row = found.tables["sensitivity_power"].set_index("new_studies").loc[10]
    assert row["df"] == pytest.approx(robust.df * 30 / 20)
    half = stats.t.isf(0.025, row["df"]) * robust.se * np.sqrt(20 / 30)
    assert row["half_width"] == pytest.approx(half)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx(
        (robust.value - half, robust.value + half)
    )
    single = effects.drop_duplicates("study_id")
    found, rows, _ = assess(single, studies=[10])
    row = found.tables["sensitivity_power"].set_index("new_studies").loc[10]
    assert row["df"] == pytest.approx(20 + 10 - 1)


def test_every_pair_of_levels_has_a_row(effects):
    found, rows, result = assess(effects, {"moderators": "rater"})
    table = found.tables["sensitivity_detectable"].set_index("comparison")
    pair = table.loc["rater=client minus rater=therapist"]
    assert list(table["kind"]) == ["mean", "term", "level pair"]
    levels = {level.value: level.contrast for level in result.fitted.design.levels}
    contrast = rows.fit.contrast(levels["client"] - levels["therapist"])
    assert pair["se"] == pytest.approx(contrast.se)
    assert pair["df"] == pytest.approx(contrast.df)
    # with two levels the coefficient is the same difference
    assert table.loc["rater[T.therapist]", "smallest_detectable"] == pytest.approx(
        pair["smallest_detectable"]
    )
    # the studies needed are the fewest with the power
    needed = int(pair["studies_needed"])
    precision = Precision(contrast.value, contrast.se, contrast.df, 20, True, len(rows.y))
    enough, short = (
        power_of_t(pair["difference"], *precision.after(n), 0.95) for n in (needed, needed - 1)
    )
    assert enough >= 0.8 > short
    assert any(s.startswith("For client minus therapist (rater)") for s in found.sentences)


def test_numeric_moderators_count_by_standard_deviation(effects):
    single = effects.drop_duplicates("study_id")
    settings = {"moderators": "year", "metric": "r"}
    found, rows, _ = assess(single, settings)
    row = found.tables["sensitivity_detectable"].set_index("comparison").loc["year"]
    assert row["difference"] == pytest.approx(0.1 / np.std(rows.X[:, 1], ddof=1))


def test_differences_of_correlations_lie_around_the_mean():
    z = analysis_difference(0.1, 0.4, "fisher_z", "level pair")
    assert z == pytest.approx(np.arctanh(0.45) - np.arctanh(0.35))
    assert analysis_difference(0.1, 0.4, "fisher_z", "mean") == pytest.approx(np.arctanh(0.1))
    assert analysis_difference(0.1, 0.4, "r", "level pair") == 0.1
    assert np.isnan(analysis_difference(0.1, 0.97, "fisher_z", "level pair"))
    back = reported_difference(np.arctanh(0.1), 0.4, "fisher_z", "mean")
    assert back == pytest.approx(0.1)
    # around zero both ways are the same
    z = analysis_difference(0.1, 0.0, "fisher_z", "level pair")
    assert reported_difference(z, 0.0, "fisher_z", "level pair") == pytest.approx(0.1)


def test_studies_needed_ends_where_no_number_is_enough():
    vague = Precision(0.0, 5.0, 6.0, 8, True, 8)
    assert np.isnan(studies_needed(vague, 0.1, 0.95, 0.8))
    assert studies_needed(Precision(0.0, 0.01, np.inf, 8, False, 8), 0.1, 0.95, 0.8) == 0
    untestable = Precision(0.0, 0.0, np.nan, 8, True, 8)
    assert np.isnan(studies_needed(untestable, 0.1, 0.95, 0.8))


def test_update_is_counted_in_years_of_the_review(effects):
    found, _, _ = assess(effects, update=5)
    row = found.tables["sensitivity_power"].set_index("new_studies").loc[5]
    # a study a year from 2001 to 2020
    assert row["years"] == pytest.approx(5)
    assert row["information_share"] == pytest.approx(20)
    (sentence,) = [s for s in found.sentences if s.startswith("An update with 5 new studies")]
    assert "add 25 % to what is known" in sentence
    assert "about 5 years at the rate of the last 10 years of the studies (1.0 a year)" in sentence
    found, _, _ = assess(effects.assign(year=np.nan), update=5)
    assert found.tables["sensitivity_power"]["years"].isna().all()


def test_few_degrees_of_freedom_are_said(effects):
    few = effects.loc[effects["study_id"].isin([f"s{i:02}" for i in range(4)])]
    found, rows, _ = assess(few)
    assert rows.fit.contrast(np.ones(1)).df < 4
    assert "fewer than 4 degrees of freedom" in " ".join(found.sentences)


def test_withheld_tests_stay_withheld(effects):
    found, _, result = assess(effects.drop_duplicates("study_id").iloc[:8], {"moderators": "rater"})
    assert "rater[T.therapist]" in result.withheld
    assert "A test that the analysis withholds stays withheld, whatever its power." in (
        found.sentences
    )


def test_equal_effects_have_no_power_under_knapp_hartung(make_effects):
    effects = make_effects([0.3] * 5, [0.01, 0.02, 0.03, 0.01, 0.02], "abcde")
    settings = {"model": "random_effects", "inference": "knapp_hartung"}
    found, _, _ = assess(effects, settings)
    assert found.tables["sensitivity_power"]["se"].isna().all()
    assert found.tables["sensitivity_detectable"]["power_small"].isna().all()
    assert found.sentences[0] == (
        "Nothing can be said of power, because no coefficient has a test."
    )


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("metric", ["fisher_z", "generic"])
def test_few_effects(make_effects, k, metric):
    effects = make_effects([0.1, 0.12, 0.11][:k], [1e-8, 0.02, 0.03][:k], "abc"[:k])
    if metric == "generic":
        effects["conversion"] = "generic"
    result = analyse(effects, ModelSpecification(metric=metric))
    if result.fitted is None:
        assert k == 1
        return
    found = assess_power(result, model_rows(result))
    assert len(found.tables["sensitivity_power"]) == (6 if k == 3 else 0)
    assert found.sentences


def test_two_studies_do_not_tell_what_more_would_add(make_effects):
    effects = make_effects([0.1, 0.3, 0.2], [0.01, 0.02, 0.03], ["a", "a", "b"])
    found, _, _ = assess(effects, {"model": "random_effects"})
    assert all(table.empty for table in found.tables.values())
    assert found.sentences == (
        "With 2 independent studies there is too little to say what further ones would add.",
    )
