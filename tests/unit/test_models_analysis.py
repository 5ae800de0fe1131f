"""From effect sizes to the contract's tables, by behaviour."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from alliance_meta.effect_sizes import aggregate_effects
from alliance_meta.models import (
    ModelSpecification,
    SpecificationError,
    analyse,
    describe_analysis,
    model_label,
)
from alliance_meta.models.checks import check_analyses


def spec(**settings):
    return ModelSpecification(**{"metric": "r", **settings})


@pytest.fixture
def effects(make_effects):
    rng = np.random.default_rng(7)
    study = np.repeat([f"s{i:02}" for i in range(14)], [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2])
    k = len(study)
    return make_effects(
        rng.normal(0.3, 0.15, k),
        rng.uniform(0.005, 0.03, k),
        study,
        rater=["client", "client", "therapist"] * 9,
        year=rng.integers(1990, 2020, k).astype(float),
        n=rng.integers(30, 200, k).astype(float),
    )


def test_columns_are_those_of_the_contract(effects):
    result = analyse(effects, spec(moderators="rater"))
    assert list(result.coefficients.columns) == (
        ["term", "estimate", "se", "statistic", "df", "p_value", "ci_low", "ci_high"]
    )
    assert list(result.summary.columns) == (
        [
            "level",
            "k_studies",
            "k_samples",
            "k_effects",
            "n_total",
            "estimate",
            "ci_low",
            "ci_high",
            "pi_low",
            "pi_high",
        ]
    )
    assert list(result.heterogeneity.columns) == ["parameter", "estimate", "ci_low", "ci_high"]
    assert list(result.coefficients["term"]) == ["Intercept", "rater[T.therapist]"]
    assert list(result.summary["level"]) == ["overall", "rater=client", "rater=therapist"]


def test_defaults_follow_dependence(effects):
    dependent = analyse(effects, spec()).spec
    assert (dependent.model, dependent.inference) == ("che", "cr2")
    independent = analyse(effects.drop_duplicates("study_id"), spec()).spec
    assert (independent.model, independent.tau2, independent.inference) == (
        "random_effects",
        "REML",
        "knapp_hartung",
    )


@pytest.mark.parametrize(
    ("model", "inference"),
    [
        *product(
            ["random_effects", "aggregated", "common_effect"], ["z", "t", "knapp_hartung", "cr2"]
        ),
        ("rve", "cr2"),
    ],
)
def test_level_means_equal_the_cell_means_fit(effects, model, inference):
    with_intercept = analyse(effects, spec(moderators="rater", model=model, inference=inference))
    cells = analyse(effects, spec(moderators="rater - 1", model=model, inference=inference))
    levels = with_intercept.summary.iloc[1:]
    for part in ("estimate", "ci_low", "ci_high"):
        # two parametrisations of one model differ by rounding only
        np.testing.assert_allclose(levels[part], cells.coefficients[part], rtol=1e-7, atol=1e-10)


def test_reference_level_changes_terms_but_not_levels(effects):
    one = analyse(effects, spec(moderators="rater", reference={"rater": "client"}))
    two = analyse(effects, spec(moderators="rater", reference={"rater": "therapist"}))
    assert list(two.coefficients["term"]) == ["Intercept", "rater[T.client]"]
    a = one.summary.set_index("level").drop("overall")
    b = two.summary.set_index("level").drop("overall")
    np.testing.assert_allclose(a.astype(float), b.loc[a.index].astype(float), rtol=1e-8)


def test_order_of_rows_does_not_matter(effects):
    shuffled = effects.sample(frac=1, random_state=3).reset_index(drop=True)
    one = analyse(effects, spec(moderators="rater + year"))
    two = analyse(shuffled, spec(moderators="rater + year"))
    pd.testing.assert_frame_equal(one.coefficients, two.coefficients, rtol=1e-9)
    pd.testing.assert_frame_equal(one.summary, two.summary, rtol=1e-9)


def test_uncentred_and_centred_years_give_the_same_slope(effects):
    effects["decade"] = (effects["year"] - 2005) / 10
    raw = analyse(effects, spec(moderators="year")).coefficients.set_index("term")
    centred = analyse(effects, spec(moderators="decade")).coefficients.set_index("term")
    parts = ["statistic", "df", "p_value"]
    np.testing.assert_allclose(
        raw.loc["year", parts].astype(float), centred.loc["decade", parts].astype(float), rtol=1e-8
    )


def test_fisher_z_is_reported_as_r(effects):
    on_z = analyse(effects, spec(metric="fisher_z"))
    row, coefficient = on_z.summary.iloc[0], on_z.coefficients.iloc[0]
    assert row["estimate"] == pytest.approx(np.tanh(coefficient["estimate"]))
    assert row["ci_high"] == pytest.approx(np.tanh(coefficient["ci_high"]))


def test_counts(effects):
    effects["sample_id"] = effects["study_id"] + "a"
    row = analyse(effects, spec()).summary.iloc[0]
    n_total = effects.groupby("sample_id")["n"].max().sum()
    assert (row["k_studies"], row["k_samples"], row["k_effects"], row["n_total"]) == (
        14,
        14,
        27,
        n_total,
    )


def test_excluded_rows_never_enter(effects):
    excluded = effects.copy()
    excluded.loc[3, "exclude_reason"] = "no sample size reported"
    excluded.loc[3, ["yi", "z", "r"]] = 50.0
    result = analyse(excluded, spec())
    expected = analyse(effects.drop(index=3), spec())
    pd.testing.assert_frame_equal(result.summary, expected.summary)


def test_rows_without_the_moderator_are_named(effects):
    effects.loc[[2, 5], "rater"] = np.nan
    result = analyse(effects, spec(moderators="rater"))
    assert list(result.left_out["effect_id"]) == ["e2", "e5"]
    assert set(result.left_out["reason"]) == {"no value for rater"}
    assert "2 effects have no value for rater and did not enter." in result.warnings
    assert result.summary.iloc[0]["k_effects"] == 25


def test_level_of_one_study_is_shown_but_not_tested(effects):
    effects.loc[effects["study_id"] == "s02", "rater"] = "observer"
    result = analyse(effects, spec(moderators="rater", rare_levels="set_apart"))
    row = result.summary.set_index("level").loc["rater=observer"]
    members = effects.loc[effects["study_id"] == "s02"]
    mean = aggregate_effects(members["yi"], members["vi"], np.zeros(len(members)), 0.6)
    assert row["estimate"] == pytest.approx(mean.y[0])
    assert row[["ci_low", "ci_high", "pi_low", "pi_high"]].isna().all()
    assert not result.coefficients["term"].str.contains("observer").any()
    assert any("observer" in s and "not tested" in s for s in describe_analysis(result))
    shown = result.included.loc[result.included["level"] == "rater=observer"]
    assert shown["weight"].isna().all()
    assert len(shown) == len(members)


def test_level_of_one_study_stays_in_the_model_without_a_test(effects):
    effects.loc[effects["study_id"] == "s02", "rater"] = "observer"
    result = analyse(effects, spec(moderators="rater"))
    row = result.coefficients.set_index("term").loc["rater[T.observer]"]
    assert np.isfinite(row["estimate"])
    assert np.isfinite(row["se"])
    assert np.isnan(row["p_value"])
    assert result.withheld["rater[T.observer]"] == "a single study decides it"
    level = result.summary.set_index("level").loc["rater=observer"]
    assert np.isfinite(level["estimate"])
    assert level[["ci_low", "ci_high", "pi_low", "pi_high"]].isna().all()
    assert result.included["weight"].notna().all()
    pairs = result.comparisons
    lone = (pairs["level_a"] == "observer") | (pairs["level_b"] == "observer")
    assert pairs.loc[lone, "p_holm"].isna().all()


def test_rare_level_is_counted_under_its_wider_one(effects):
    effects["instrument"] = ["WAI", "CALPAS", "WAI"] * 9
    effects.loc[effects["study_id"] == "s02", "instrument"] = "TASC"
    kept = analyse(effects, spec(moderators="instrument"))
    assert "instrument=TASC" in set(kept.summary["level"])
    pooled = analyse(effects, spec(moderators="instrument", rare_levels="pool"))
    assert "instrument=TASC" not in set(pooled.summary["level"])
    assert any("(1 study)" in w and "counted under" in w for w in pooled.warnings)
    assert pooled.summary["k_effects"].iloc[1:].sum() == 27


def test_empty_moderator_can_be_a_level(effects):
    effects.loc[effects["study_id"].isin(["s03", "s05"]), "rater"] = np.nan
    left_out = analyse(effects, spec(moderators="rater"))
    assert len(left_out.left_out) == (effects["rater"].isna()).sum()
    named = analyse(effects, spec(moderators="rater", missing_moderators="level"))
    assert named.left_out.empty
    assert "rater=not reported" in set(named.summary["level"])
    assert any("not reported" in w for w in named.warnings)


def test_weights_sum_to_one_hundred(effects):
    for model in ("random_effects", "aggregated", "rve", "three_level", "che"):
        included = analyse(effects, spec(model=model)).included
        assert included["weight"].sum() == pytest.approx(100)


def test_aggregated_model_pools_composites(effects):
    result = analyse(effects, spec(model="aggregated", rho=0.4))
    assert len(result.included) == 14
    several = result.included.set_index("study_id").loc["s02"]
    members = effects.loc[effects["study_id"] == "s02"]
    composite = aggregate_effects(members["yi"], members["vi"], np.zeros(3), 0.4)
    assert several["yi"] == pytest.approx(composite.y[0])
    assert several["vi"] == pytest.approx(composite.v[0])
    assert several["effect_id"] == "s02 (3 effects)"
    assert several["n"] == members["n"].max()
    assert several["rater"] == "several"


def test_aggregated_model_says_when_composites_share_a_sample(effects):
    result = analyse(effects, spec(model="aggregated", moderators="rater"))
    assert any("takes those composites as independent" in w for w in result.warnings)


def test_hts_prediction_interval_uses_one_df_less(effects):
    from scipy import stats

    default = analyse(effects, spec(model="aggregated")).summary.iloc[0]
    hts = analyse(effects, spec(model="aggregated", prediction="hts")).summary.iloc[0]
    ratio = (hts["pi_high"] - hts["estimate"]) / (default["pi_high"] - default["estimate"])
    assert ratio == pytest.approx(stats.t.isf(0.025, 12) / stats.t.isf(0.025, 13))


def test_single_effect_is_shown_with_its_own_interval(effects):
    result = analyse(effects.iloc[[0]], spec())
    row = result.summary.iloc[0]
    half = 1.959963984540054 * np.sqrt(effects.loc[0, "vi"])
    assert row["estimate"] == pytest.approx(effects.loc[0, "yi"])
    assert row["ci_high"] - row["estimate"] == pytest.approx(half)
    assert any("nothing was pooled" in w for w in result.warnings)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("equal", [True, False])
def test_few_or_equal_effects_give_sentences(effects, k, equal):
    few = effects.drop_duplicates("study_id").head(k).copy()
    if equal:
        few[["yi", "r", "z"]] = 0.25
    result = analyse(few, spec())
    assert result.summary.iloc[0]["k_effects"] == k
    if equal:
        assert result.summary.iloc[0]["estimate"] == pytest.approx(0.25)
        assert result.heterogeneity.set_index("parameter").loc["tau2", "estimate"] == 0
    assert describe_analysis(result)[0].startswith("The pooled correlation over")


def test_nothing_to_pool_is_said(effects):
    result = analyse(effects, spec(where="year > 2500"))
    assert describe_analysis(result) == ["No estimate: No effect satisfies this analysis."]
    assert result.coefficients.empty


def test_too_few_studies_for_the_coefficients_is_said(effects):
    result = analyse(effects.head(4), spec(moderators="year + n + vi"))
    assert "cannot support" in result.failure


def test_low_robust_df_are_said(effects):
    effects["rater"] = np.where(effects["study_id"].isin(["s01", "s04"]), "observer", "client")
    result = analyse(effects, spec(moderators="rater"))
    assert any("degrees of freedom for rater[T.observer]" in w for w in result.warnings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "che", "inference": "knapp_hartung"}, "goes with inference 'cr2'"),
        ({"model": "che", "tau2": "DL"}, "fitted by 'REML' or 'ML'"),
        ({"model": "rve", "separate_tau2": True, "moderators": "rater"}, "no separate tau2"),
        ({"separate_tau2": True}, "needs a categorical moderator"),
        ({"model": "che", "scale": "year"}, "scale needs model"),
        ({"minimum_studies": 1}, "two studies or more"),
        ({"reliability": {"outcome": 1.2}}, "above 0"),
        ({"reliability": {"therapist": 0.8}}, "has no reliability"),
        ({"tau2": "XX"}, "is not a tau2 estimator"),
        ({"model": "bayes"}, "is not a model"),
        ({"rho": 1.0}, "rho is 1.0"),
        ({"ci_level": 95}, "ci_level is 95"),
        ({"model": "rve", "inference": "z"}, "'cr2' only"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(SpecificationError, match=message):
        spec(**settings)


@pytest.mark.parametrize("formula", ["0 + rater", "rater - 1"])
def test_formula_without_intercept_tests_the_same_hypothesis(effects, formula):
    with_intercept = analyse(effects, spec(moderators="rater")).heterogeneity
    without = analyse(effects, spec(moderators=formula)).heterogeneity
    a, b = (t.set_index("parameter")["estimate"] for t in (with_intercept, without))
    for part in ("QM", "QM_df1", "QM_df2", "QM_p", "R2"):
        assert a[part] == pytest.approx(b[part], rel=1e-7)


def test_line_through_the_origin_is_refused(effects):
    with pytest.raises(SpecificationError, match="has no intercept"):
        analyse(effects, spec(moderators="year - 1"))


def test_cubic_of_uncentred_years_is_tested_as_well_as_a_polynomial(effects):
    raw = analyse(effects, spec(moderators="year + I(year**2)")).heterogeneity
    basis = analyse(effects, spec(moderators="poly(year, 2)")).heterogeneity
    a, b = (t.set_index("parameter")["estimate"] for t in (raw, basis))
    # the raw powers are nearly collinear, which costs digits
    assert a["QM"] == pytest.approx(b["QM"], rel=1e-4)
    assert a["QM_df2"] == pytest.approx(b["QM_df2"], rel=1e-4)


def test_scale_of_a_moderator_does_not_change_its_test(effects):
    effects["large"] = effects["year"] * 1e9
    a = analyse(effects, spec(moderators="rater + year")).heterogeneity
    b = analyse(effects, spec(moderators="rater + large")).heterogeneity
    assert a["estimate"].iloc[-4] == pytest.approx(b["estimate"].iloc[-4], rel=1e-6)


def test_close_numbers_stay_different_categories(effects):
    effects["region"] = [1234560.0, 1234561.0, 0.1234567] * 9
    levels = analyse(effects, spec(moderators="C(region)")).summary["level"][1:]
    assert set(levels) == {"region=1234560", "region=1234561", "region=0.1234567"}


def test_reference_level_is_not_claimed_where_the_formula_sets_another(effects):
    formula = "C(rater, contr.treatment(base='therapist')) + year"
    assert analyse(effects, spec(moderators=formula)).references == {}
    assert analyse(effects, spec(moderators="0 + rater")).references == {}
    assert analyse(effects, spec(moderators="rater")).references == {"rater": "client"}


def test_level_that_falls_with_another_is_told_apart_from_a_rare_one(effects):
    effects["timing"] = "early"
    effects.loc[effects["study_id"].isin(["s01", "s02", "s03"]), "timing"] = "mid"
    effects.loc[effects["study_id"].isin(["s12", "s13"]), "timing"] = "late"
    effects.loc[effects["study_id"] == "s13", "rater"] = "observer"
    result = analyse(effects, spec(moderators="rater + timing", rare_levels="set_apart"))
    assert result.set_apart == ("rater=observer", "timing=late")
    assert any("timing=late" in w and "left beside the other" in w for w in result.warnings)
    assert any(
        "Late (2 studies" in s or "late (2 studies" in s.lower() for s in describe_analysis(result)
    )


@pytest.mark.parametrize(
    "formula", ["bs(year, 3)", "poly(year, 2)", "center(year)", "log(n)", "sqrt(n)"]
)
def test_transformed_moderators_enter(effects, formula):
    result = analyse(effects, spec(moderators=formula))
    assert len(result.coefficients) > 1
    assert result.line["x"].nunique() == 61
    assert result.line["estimate"].between(-1, 1).all()
    assert result.heterogeneity["parameter"].eq("QM").any()


def test_spline_of_a_column_with_gaps_leaves_rows_out(effects):
    effects.loc[[1, 2], "year"] = np.nan
    result = analyse(effects, spec(moderators="rater + bs(year, 3)"))
    assert list(result.left_out["effect_id"]) == ["e1", "e2"]


def test_number_inside_c_is_a_category(effects):
    effects["session"] = [1.0, 2.0, 5.0] * 9
    result = analyse(effects, spec(moderators="C(session)", reference={"session": "1"}))
    terms = list(result.coefficients["term"])
    assert terms[0] == "Intercept"
    assert set(terms[1:]) == {"C(session)[T.2]", "C(session)[T.5]"}
    assert result.summary["level"][1] == "session=1"
    assert result.line.empty
    cells = analyse(effects, spec(moderators="C(session) - 1"))
    assert sorted(result.summary["estimate"][1:]) == pytest.approx(
        sorted(cells.coefficients["estimate"])
    )


def test_sample_shared_by_studies_is_one_composite(effects):
    effects["sample_id"] = "shared"
    effects.loc[6:, "sample_id"] = effects.loc[6:, "study_id"]
    result = analyse(effects, spec(model="aggregated"))
    assert len(result.included) == effects["sample_id"].nunique()
    assert result.summary.iloc[0]["k_samples"] == effects["sample_id"].nunique()


def test_untested_reference_level_is_said(effects):
    effects.loc[effects["study_id"] == "s02", "rater"] = "observer"
    result = analyse(
        effects,
        spec(moderators="rater", reference={"rater": "observer"}, rare_levels="set_apart"),
    )
    assert any("asked for, observer, is not tested; client takes" in w for w in result.warnings)


def test_every_level_in_one_study_shows_levels_only(effects):
    result = analyse(effects, spec(moderators="study_id"))
    assert result.failure.startswith("No level has effects from two studies")
    assert len(result.summary) == 15
    assert result.summary["estimate"][1:].notna().all()


def test_equal_effects_with_a_moderator_cannot_be_tested(effects):
    effects[["yi", "z", "r"]] = 0.3
    effects["vr"] = 0.01
    result = analyse(
        effects, spec(moderators="rater", model="random_effects", inference="knapp_hartung")
    )
    assert "could not be tested" in " ".join(describe_analysis(result))
    assert any("standard errors are zero" in w for w in result.warnings)


def test_values_that_no_effect_has_are_noted(effects):
    analyses = {
        "typo": {"metric": "r", "where": "rater in ['client', 'terapist']"},
        "synonym": {"metric": "r", "where": "rater == 'patient' or year > 1900"},
        "fine": {"metric": "r", "where": "rater != 'therapist' and year > 1900"},
    }
    problems = check_analyses(effects, analyses, file="c")
    assert [(p.column, p.severity) for p in problems] == [
        ("analyses.typo.where", "note"),
        ("analyses.synonym.where", "note"),
    ]
    assert "No effect has rater 'terapist'; there are: client, therapist." in problems[0].problem


@pytest.mark.parametrize(
    "setting",
    [
        {"where": "year.to_csv('stolen.csv') == 1"},
        {"where": "rater.__class__ == 1"},
        {"where": "[x for x in year] == 1"},
        {"moderators": "I(year.to_csv('stolen.csv'))"},
        {"moderators": "open('stolen.csv', 'w')"},
        {"moderators": "exec('x')"},
        {"moderators": "year[0]"},
        {"moderators": "rater | year"},
        {"moderators": "lag(year)"},
        {"moderators": "class"},
        {"moderators": "C(year + 1)"},
        {"moderators": "1"},
    ],
)
def test_expressions_see_columns_and_values_only(effects, setting, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecificationError, match="cannot be read"):
        analyse(effects, spec(**setting))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"moderators": "ratter"}, "no column 'ratter'"),
        ({"moderators": "rater +"}, "cannot be read"),
        ({"moderators": "rater, year"}, r"join moderators with \+"),
        ({"where": "rater = client"}, "write == to compare"),
        ({"moderators": "-year"}, "leaves no moderator"),
        ({"moderators": "class"}, "put the column in backticks: `class`"),
        ({"moderators": "Treatment(rater)"}, "by the setting reference"),
        ({"moderators": "yi ~ rater"}, "without '~'"),
        ({"where": "ratter == 'client'"}, "ratter"),
        ({"where": "year"}, "must compare columns"),
        ({"where": "__import__('os')"}, "cannot be read"),
        ({"where": "year >"}, "cannot be read"),
        ({"metric": "generic"}, "of another scale"),
    ],
)
def test_impossible_analyses_are_refused(effects, settings, message):
    with pytest.raises(SpecificationError, match=message):
        analyse(effects, spec(**settings))


def test_aliased_moderators_are_said(effects):
    effects["who"] = effects["rater"].map({"client": "patient", "therapist": "clinician"})
    result = analyse(effects, spec(moderators="rater + who"))
    assert "who[T.clinician] cannot be told apart" in result.failure
    assert result.coefficients.empty
    assert describe_analysis(result)[0].startswith("No estimate: 'rater + who'")
    problems = check_analyses(effects, {"a": {"metric": "r", "moderators": "rater + who"}}, file="")
    assert [p.severity for p in problems] == ["note"]


@pytest.mark.parametrize("model", ["random_effects", "rve", "common_effect", "aggregated"])
def test_a_single_level_leaves_nothing_to_compare(effects, model):
    effects["rater"] = "client"
    effects.loc[effects["study_id"] == "s02", "rater"] = "observer"
    result = analyse(effects, spec(moderators="rater", model=model, rare_levels="set_apart"))
    assert "With a single level there was nothing to compare." in describe_analysis(result)
    assert "QM" not in set(result.heterogeneity["parameter"])
    assert list(result.summary["level"]) == ["overall", "rater=client", "rater=observer"]


def test_few_residual_df_are_said(effects):
    few = effects.drop_duplicates("study_id").head(6)
    result = analyse(few, spec(moderators="year + n + vi", inference="knapp_hartung"))
    assert any("Fewer than 4 degrees of freedom for Intercept" in w for w in result.warnings)


def test_r2_is_reported_with_its_baseline(effects):
    values = analyse(effects, spec(moderators="rater")).heterogeneity.set_index("parameter")
    estimate = values["estimate"]
    null = analyse(effects, spec()).heterogeneity.set_index("parameter").loc["tau", "estimate"] ** 2
    assert estimate["tau2_without_moderators"] == pytest.approx(null)
    assert estimate["R2"] == pytest.approx(max(0, 100 * (1 - estimate["tau"] ** 2 / null)))


def test_numeric_moderator_beside_levels_has_its_slope_in_words(effects):
    text = " ".join(describe_analysis(analyse(effects, spec(moderators="rater + year"))))
    assert "by level at the mean of year" in text
    assert "year b = " in text


def test_effects_of_a_study_stand_together(effects):
    mixed = effects.iloc[[1, 3, 2, 4, 0, *range(5, 27)]]
    studies = analyse(mixed, spec()).included["study_id"]
    assert (studies != studies.shift()).sum() == studies.nunique()
    assert studies.iloc[0] == "s01"


def test_check_lists_all_problems_of_all_analyses(effects):
    analyses = {
        "good": {"metric": "r", "moderators": "rater"},
        "model": {"metric": "r", "model": "che", "tau2": "XX"},
        "formula": {"metric": "r", "moderators": "ratter"},
        "level": {"metric": "r", "moderators": "rater", "reference": {"rater": "observer"}},
        "file": {"metric": "r", "effects": ["data/raw/other.csv"]},
    }
    problems = check_analyses(effects, analyses, file="config/config.yaml")
    errors = [p for p in problems if p.severity == "error"]
    assert {p.column.split(".")[1] for p in errors} == {"model", "formula", "level", "file"}
    assert sum(p.column == "analyses.model" for p in errors) == 2
    assert any("there are: client, therapist" in p.problem for p in errors)


def test_files_select_rows(effects):
    effects.loc[:5, "source_file"] = "data/raw/new.csv"
    result = analyse(effects, spec(), files=["data/raw/new.csv"])
    assert result.summary.iloc[0]["k_effects"] == 6


def test_two_factors_give_equally_weighted_level_means(effects):
    effects["timing"] = ["early", "late"] * 13 + ["early"]
    result = analyse(effects, spec(moderators="rater + timing", model="random_effects"))
    b = result.coefficients.set_index("term")["estimate"]
    expected = b["Intercept"] + b["timing[T.late]"] / 2
    level = result.summary.set_index("level").loc["rater=client", "estimate"]
    assert level == pytest.approx(expected)


def test_line_follows_the_coefficients(effects):
    result = analyse(effects, spec(moderators="year"))
    b = result.coefficients.set_index("term")["estimate"]
    line = result.line
    np.testing.assert_allclose(line["estimate"], b["Intercept"] + b["year"] * line["x"], rtol=1e-9)
    assert (line["ci_low"] < line["estimate"]).all()


def test_sentences_carry_the_numbers_of_the_tables(effects):
    result = analyse(effects, spec(moderators="rater"))
    text = " ".join(describe_analysis(result))
    row = result.summary.iloc[1]
    assert f"client .{round(row['estimate'] * 100):02d} [" in text
    assert "14 studies" in text
    for causal in ("effect of", "leads to", "causes", "improves", "impact"):
        assert causal not in text


def test_model_label_names_model_and_inference(effects):
    label = model_label(analyse(effects, spec(model="aggregated", tau2="DL")))
    assert label == (
        "random-effects model of one composite per sample, ρ = .60, DL estimate of τ², "
        "Knapp–Hartung inference"
    )
