"""P-values that the studies cannot carry are withheld, and a test by resampling is offered."""

import numpy as np
import pytest

from alliance_meta.models import ModelSpecification, analyse, describe_analysis
from alliance_meta.models.resampling import resample_tests


def spec(**settings):
    return ModelSpecification(**{"metric": "r", **settings})


@pytest.fixture
def effects(make_effects):
    rng = np.random.default_rng(12)
    study = np.repeat([f"s{i:02}" for i in range(30)], [1, 2, 3] * 10)
    k = len(study)
    return make_effects(
        rng.normal(0.3, 0.15, k),
        rng.uniform(0.005, 0.03, k),
        study,
        rater=["client", "therapist", "client", "client", "therapist", "observer"] * 10,
        setting=np.where(np.isin(study, ["s03", "s17", "s20"]), "inpatient", "outpatient"),
        year=rng.integers(1990, 2020, k).astype(float),
        n=rng.integers(30, 200, k).astype(float),
    )


def test_nothing_is_withheld_from_many_studies(effects):
    result = analyse(effects, spec(moderators="rater"))
    assert result.withheld == {}
    assert result.coefficients["p_value"].notna().all()
    assert "withheld" not in " ".join(describe_analysis(result))


def test_few_robust_df_withhold_the_p_value_alone(effects):
    result = analyse(effects, spec(moderators="setting"))
    row = result.coefficients.set_index("term").loc["setting[T.inpatient]"]
    assert row["df"] < 4
    assert np.isnan(row["p_value"])
    assert np.isfinite([row["estimate"], row["se"], row["statistic"], row["ci_low"]]).all()
    assert "degrees of freedom" in result.withheld["setting[T.inpatient]"]
    assert np.isfinite(result.coefficients.set_index("term").loc["Intercept", "p_value"])
    values = result.heterogeneity.set_index("parameter")["estimate"]
    assert np.isnan(values["QM_p"])
    assert np.isfinite(values["QM"])
    assert result.comparisons[["p_value", "p_holm"]].isna().all(axis=None)


@pytest.mark.parametrize("n_studies", [19, 20])
def test_ten_studies_are_asked_for_each_coefficient(effects, n_studies):
    few = effects.loc[effects["study_id"] < f"s{n_studies:02}"]
    # studies count, not effects or composites
    for model in ("random_effects", "aggregated"):
        result = analyse(few, spec(moderators="year + n", model=model, inference="t"))
        if n_studies == 20:
            assert result.withheld == {}
        else:
            assert set(result.withheld) == {"year", "n", "omnibus"}
            assert "9.5 studies stand behind each of 2" in result.withheld["year"]
            assert result.coefficients.set_index("term")["p_value"].notna()["Intercept"]


@pytest.mark.parametrize("model", ["che", "random_effects"])
@pytest.mark.parametrize("formula", ["rating", "center(rating)", "I(rating + 10)"])
def test_gate_sees_one_study_through_any_coding(effects, model, formula):
    effects["rating"] = np.where(effects["study_id"] == "s05", 1.0, 0.0)
    result = analyse(effects, spec(moderators=formula, model=model))
    assert set(result.withheld) >= {formula.replace("+", "+"), "omnibus"}
    assert np.isnan(result.coefficients["p_value"].iloc[1])
    values = result.heterogeneity.set_index("parameter")["estimate"]
    assert np.isnan(values["QM_p"])


def test_lone_level_withholds_the_joint_test_but_not_other_pairs(effects):
    effects["rater"] = effects["rater"].where(effects["study_id"] != "s05", "parent")
    effects.loc[effects["study_id"] == "s05", "r"] = 0.9
    result = analyse(effects, spec(moderators="rater"))
    assert set(result.withheld) == {"rater[T.parent]", "omnibus"}
    pairs = result.comparisons.set_index(["level_a", "level_b"])
    shown = pairs["p_value"].notna()
    assert all(("parent" in pair) != known for pair, known in shown.items())
    # the family of Holm's adjustment are the comparisons that are tested
    others = analyse(effects, spec(moderators="rater", rare_levels="set_apart")).comparisons
    assert len(others) == shown.sum()
    smallest = pairs.loc[shown].nsmallest(1, "p_value").iloc[0]
    assert smallest["p_holm"] == pytest.approx(min(1, smallest["p_value"] * shown.sum()))
    assert "cannot be judged" in " ".join(describe_analysis(result))


def test_single_study_in_a_cell_is_seen_whatever_the_reference(effects):
    effects["timing"] = "early"
    effects.loc[(effects["rater"] == "client") & (effects["year"] > 2005), "timing"] = "late"
    cell = (effects["rater"] == "therapist") & (effects["study_id"] == "s01")
    effects.loc[cell, "timing"] = "late"
    effects = effects.loc[effects["rater"] != "observer"]
    for reference in ({}, {"rater": "therapist", "timing": "late"}):
        result = analyse(effects, spec(moderators="rater * timing", reference=reference))
        interaction = [t for t in result.coefficients["term"] if ":" in t]
        assert set(interaction) <= set(result.withheld)
        assert "omnibus" in result.withheld


def test_test_that_cannot_reach_five_percent_gives_no_verdict(effects):
    few = effects.loc[effects["study_id"] < "s05"]
    few = few.assign(setting=np.where(few["study_id"] < "s02", "inpatient", "outpatient"))
    result = analyse(few, spec(moderators="setting"))
    resampling = resample_tests(result, permutations=1000, seed=1)
    assert resampling.smallest_p("omnibus") == pytest.approx(1 / 10)
    text = " ".join(describe_analysis(result, resampling=resampling))
    assert "cannot be judged here" in text
    assert "too few for any p below .100" in text


def test_sentence_gives_the_reason_and_the_test_by_resampling(effects):
    result = analyse(effects, spec(moderators="setting"))
    resampling = resample_tests(result, permutations=500, seed=1)
    text = " ".join(describe_analysis(result, resampling=resampling))
    p_value = resampling.permutation.set_index("term").loc["omnibus", "p_value"]
    assert "p withheld because it rests on only" in text
    assert f"permutation p = {p_value:.3f}".replace("0.", ".") in text
    assert "(500 permutations)" in text
    alone = " ".join(describe_analysis(result))
    assert "cannot be judged here" in alone


def test_verdict_follows_the_test_by_resampling(effects):
    effects.loc[effects["setting"] == "inpatient", "r"] += 2
    result = analyse(effects, spec(moderators="setting"))
    resampling = resample_tests(result, permutations=2000, seed=1)
    assert resampling.p_value("omnibus") < 0.05
    text = " ".join(describe_analysis(result, resampling=resampling))
    assert "Judged by resampling, the size of the association varied with setting" in text


def test_lone_study_behind_a_reference_withholds_everything(effects):
    effects["setting"] = np.where(effects["study_id"] == "s03", "inpatient", "outpatient")
    result = analyse(effects, spec(moderators="setting", reference={"setting": "inpatient"}))
    assert set(result.withheld) >= {"Intercept", "setting[T.outpatient]"}
    assert result.coefficients["p_value"].isna().all()


def test_study_level_moderators_are_permuted_and_others_bootstrapped(effects):
    between = resample_tests(analyse(effects, spec(moderators="setting")), permutations=99, seed=1)
    assert list(between.permutation["term"]) == ["setting[T.inpatient]", "omnibus"]
    assert between.bootstrap.empty
    within = resample_tests(analyse(effects, spec(moderators="rater")), permutations=99, seed=1)
    assert within.permutation.empty
    assert list(within.bootstrap["term"]) == [
        "rater[T.therapist]",
        "rater[T.observer]",
        "omnibus",
    ]
    assert (within.bootstrap["replications"] == 99).all()
    mean = resample_tests(analyse(effects, spec()), permutations=99, seed=1)
    assert list(mean.bootstrap["term"]) == ["Intercept"]


def test_observed_statistic_of_the_bootstrap_is_the_one_of_the_table(effects):
    result = analyse(effects, spec(moderators="rater"))
    found = resample_tests(result, permutations=50, seed=1).bootstrap.set_index("term")
    table = result.coefficients.set_index("term")
    for term in ("rater[T.therapist]", "rater[T.observer]"):
        assert found.loc[term, "statistic"] == pytest.approx(table.loc[term, "statistic"], rel=1e-7)


def test_resampling_repeats_with_its_seed_and_can_be_switched_off(effects):
    result = analyse(effects, spec(moderators="rater"))
    one, two, other = (resample_tests(result, permutations=200, seed=s) for s in (1, 1, 2))
    assert one.bootstrap.equals(two.bootstrap)
    assert not one.bootstrap.equals(other.bootstrap)
    none = resample_tests(result, permutations=0, seed=1)
    assert none.permutation.empty
    assert none.bootstrap.empty


def test_cell_means_are_tested_together_only(effects):
    result = analyse(effects, spec(moderators="0 + setting"))
    found = resample_tests(result, permutations=99, seed=1)
    assert list(found.permutation["term"]) == ["omnibus"]
    same = resample_tests(analyse(effects, spec(moderators="setting")), permutations=99, seed=1)
    assert found.permutation["statistic"].iloc[0] == pytest.approx(
        same.permutation["statistic"].iloc[-1], rel=1e-7
    )


def test_level_of_one_shared_sample_rests_on_one_study(effects):
    effects.loc[effects["study_id"].isin(["s07", "s22"]), ["rater", "sample_id"]] = ["parent", "Z"]
    result = analyse(effects, spec(moderators="rater", model="che"))
    assert {"rater[T.parent]", "omnibus"} <= set(result.withheld)
    row = result.summary.set_index("level").loc["rater=parent"]
    assert row[["ci_low", "ci_high"]].isna().all()


def test_lone_level_of_one_moderator_leaves_means_of_another_alone(effects):
    effects["timing"] = np.where(effects["study_id"] == "s03", "late", "early")
    result = analyse(effects, spec(moderators="rater + timing"))
    rows = result.summary.set_index("level")
    assert rows.loc["rater=client", ["ci_low", "ci_high"]].notna().all()
    assert rows.loc["timing=late", ["ci_low", "ci_high"]].isna().all()
    assert result.set_apart == ("timing=late",)
    assert "Intercept" not in result.withheld


@pytest.mark.parametrize(("year", "withheld"), [(20180.0, True), (2030.0, False)])
def test_mistyped_year_decides_the_slope_and_withholds_it(effects, year, withheld):
    single = effects.drop_duplicates("study_id").copy()
    single["year"] = np.linspace(1990, 2018, len(single))
    single.loc[single.index[4], "year"] = year
    result = analyse(single, spec(moderators="year", model="random_effects"))
    assert ("year" in result.withheld) == withheld


def test_balanced_studies_are_not_withheld_by_rounding(effects):
    five = effects.drop_duplicates("study_id").head(5).assign(vr=0.02)
    for model in ("rve", "che"):
        result = analyse(five, spec(model=model, inference="cr2"))
        assert result.coefficients["df"].iloc[0] == pytest.approx(4)
        assert "Intercept" not in result.withheld


def test_effects_that_levels_explain_completely_have_no_joint_test(effects):
    effects["r"] = np.where(effects["rater"] == "client", 0.3, 0.5)
    result = analyse(effects, spec(moderators="rater", model="che"))
    values = result.heterogeneity.set_index("parameter")["estimate"]
    assert np.isnan(values["QM"])
    assert "varied with" not in " ".join(describe_analysis(result))


def test_dependent_effects_are_not_shuffled_as_independent(effects):
    result = analyse(effects, spec(moderators="rater", model="random_effects"))
    assert any("as if they were independent" in w for w in result.warnings)
    found = resample_tests(result, permutations=99, seed=1)
    assert found.permutation.empty
    assert "use the model che" in found.notes[0]


def test_levels_of_one_size_swap_names_in_the_smallest_p(effects):
    six = effects.drop_duplicates("study_id").head(6).copy()
    six["setting"] = ["inpatient", "outpatient", "community"] * 2
    result = analyse(six, spec(moderators="setting", model="random_effects"))
    found = resample_tests(result, permutations=1000, seed=1)
    assert found.permutation["permutations"].iloc[0] == 90
    assert found.smallest_p("omnibus") == pytest.approx(6 / 90)


def test_one_degree_of_freedom_is_singular(effects):
    two = effects.drop_duplicates("study_id").head(2).assign(vr=0.02)
    result = analyse(two, spec(inference="cr2"))
    assert "only 1 degree of freedom, and 4" in result.withheld["Intercept"]
