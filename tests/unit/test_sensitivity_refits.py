"""Leave one out, leave a class out, cumulative, rho, other weights."""

import numpy as np
import pytest

from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.models.refits import Refitter
from alliance_meta.models.rows import model_rows
from alliance_meta.models.specification import SpecificationError
from alliance_meta.sensitivity.cumulative import assess_cumulative
from alliance_meta.sensitivity.leave_class_out import assess_leave_class_out
from alliance_meta.sensitivity.leave_one_out import assess_leave_one_out
from alliance_meta.sensitivity.rho_sweep import assess_rho
from alliance_meta.sensitivity.weighting import assess_weights

# searches of variances stop when a step is below 1e-9 of the larger one
CLOSE = {"rtol": 1e-6, "atol": 1e-8}


@pytest.fixture
def review(make_effects):
    rng = np.random.default_rng(4)
    study = np.repeat(np.arange(14), rng.integers(1, 5, 14))
    k = len(study)
    v = 1 / rng.integers(20, 150, k).astype(float)
    y = 0.3 + rng.normal(0, 0.15, 14)[study] + rng.normal(0, np.sqrt(v))
    rater = np.where(rng.random(k) < 0.5, "client", "therapist")
    names = [f"S{s:02d}" for s in study]
    return make_effects(y, v, names, rater=rater, year=2000.0 + study)


def fitted(effects, **settings):
    rows = model_rows(analyse(effects, ModelSpecification(**settings)))
    return rows, Refitter(rows)


def pooled(effects, **settings):
    table = analyse(effects.reset_index(drop=True), ModelSpecification(**settings)).coefficients
    return table.iloc[0]


@pytest.mark.parametrize("model", ["che", "aggregated", "random_effects"])
def test_each_study_and_each_effect_is_left_out(review, model):
    rows, refitter = fitted(review, model=model)
    table = assess_leave_one_out(rows, refitter).tables["sensitivity_leave_one_out"]
    studies = table.loc[table["unit"] == "study"].set_index("left_out")
    effects = table.loc[table["unit"] == "effect"].set_index("left_out")
    assert list(studies.index) == list(review["study_id"].unique())
    assert list(effects.index) == list(review["effect_id"])
    for study in ("S00", "S07"):
        other = pooled(review.loc[review["study_id"] != study], model=model)
        np.testing.assert_allclose(studies.loc[study, "estimate"], other["estimate"], **CLOSE)
        np.testing.assert_allclose(studies.loc[study, "se"], other["se"], **CLOSE)
    for effect in ("e0", "e9"):
        other = pooled(review.loc[review["effect_id"] != effect], model=model)
        np.testing.assert_allclose(effects.loc[effect, "estimate"], other["estimate"], **CLOSE)
        np.testing.assert_allclose(effects.loc[effect, "ci_low"], other["ci_low"], **CLOSE)


def test_a_study_that_carries_the_result_is_named(make_effects):
    y = [0.05, -0.04, 0.03, 0.02, -0.05, 0.9]
    effects = make_effects(y, [0.01] * 5 + [0.0005], list("abcdef"))
    rows, refitter = fitted(effects, model="common_effect")
    assessment = assess_leave_one_out(rows, refitter)
    table = assessment.tables["sensitivity_leave_one_out"]
    changed = table.loc[(table["unit"] == "study") & (table["changes"] != "")]
    assert list(changed["left_out"]) == ["f"]
    assert list(changed["changes"]) == ["significance"]
    assert "What is concluded about the mean changes without f (significance)." in (
        assessment.sentences
    )
    withheld = assess_leave_one_out(rows, refitter, withheld=["Intercept"])
    assert not (withheld.tables["sensitivity_leave_one_out"]["changes"] != "").any()


def test_a_lone_level_is_named_as_one_that_cannot_be_left_out(review):
    review.loc[review["study_id"] == "S03", "rater"] = "observer"
    rows, refitter = fitted(review, moderators="rater")
    assessment = assess_leave_one_out(rows, refitter)
    table = assessment.tables["sensitivity_leave_one_out"]
    part = table.loc[(table["unit"] == "study") & (table["left_out"] == "S03")]
    assert part["estimate"].isna().all()
    assert any("cannot be fitted without S03" in text for text in assessment.sentences)


@pytest.mark.parametrize("k", [2, 3])
def test_few_studies_get_a_sentence(make_effects, k):
    effects = make_effects([0.2, 0.3, 0.5][:k], [0.01] * k, list("abc")[:k])
    rows, refitter = fitted(effects)
    for assess in (assess_leave_one_out, assess_cumulative, assess_rho, assess_leave_class_out):
        assert assess(rows, refitter).sentences
    assert assess_weights(rows).sentences


def test_equal_effects_do_not_stop_anything(make_effects):
    effects = make_effects([0.3] * 6, [0.02] * 6, ["a", "a", "b", "b", "c", "d"])
    for settings in ({}, {"model": "aggregated"}, {"model": "random_effects", "tau2": "DL"}):
        rows, refitter = fitted(effects, **settings)
        for assess in (assess_leave_one_out, assess_cumulative, assess_rho):
            assessment = assess(rows, refitter)
            for table in assessment.tables.values():
                # all estimates are the common value, to rounding
                known = table["estimate"].dropna().astype(float)
                np.testing.assert_allclose(known, 0.3, rtol=1e-9)
                # the first study alone may bring several dependent effects
                assert len(known) >= len(table) - 1


def test_studies_are_added_in_order(review):
    rows, refitter = fitted(review)
    assessment = assess_cumulative(rows, refitter, by=["year", "precision"])
    table = assessment.tables["sensitivity_cumulative"]
    by_year = table.loc[table["by"] == "year"].reset_index(drop=True)
    assert list(by_year["added"]) == sorted(review["study_id"].unique())
    assert list(by_year["k_studies"]) == list(range(1, 15))
    part = review.loc[review["study_id"] <= "S05"]
    other = pooled(part)
    np.testing.assert_allclose(by_year.loc[5, "estimate"], other["estimate"], **CLOSE)
    np.testing.assert_allclose(by_year.loc[5, "ci_high"], other["ci_high"], **CLOSE)
    precise = table.loc[table["by"] == "precision", "value"].to_numpy(float)
    assert (np.diff(precise) >= 0).all()
    last = table.groupby("by")["estimate"].last()
    np.testing.assert_allclose(last, pooled(review)["estimate"], **CLOSE)


def test_studies_without_a_value_are_not_added(review):
    review.loc[review["study_id"] == "S02", "year"] = np.nan
    rows, refitter = fitted(review)
    assessment = assess_cumulative(rows, refitter, by=["year"])
    assert "S02" not in set(assessment.tables["sensitivity_cumulative"]["added"])
    assert "1 study without a value for year was not added." in assessment.sentences
    review["year"] = np.nan
    rows, refitter = fitted(review)
    assessment = assess_cumulative(rows, refitter, by=["year"])
    assert assessment.tables["sensitivity_cumulative"].empty
    assert assessment.sentences == ("No study has a value for year, so none was added by it.",)


def test_unknown_columns_are_refused(review):
    rows, refitter = fitted(review)
    with pytest.raises(SpecificationError, match="no column 'colour'"):
        assess_cumulative(rows, refitter, by=["colour"])
    with pytest.raises(SpecificationError, match="no column 'colour'"):
        assess_leave_class_out(rows, refitter, by=["colour"])


@pytest.mark.parametrize("model", ["che", "aggregated", "rve"])
def test_rho_is_varied(review, model):
    rows, refitter = fitted(review, model=model)
    table = assess_rho(rows, refitter, values=[0.0, 0.3, 0.95]).tables["sensitivity_rho"]
    assert list(table["rho"]) == [0.0, 0.3, 0.95]
    for rho, estimate, se in zip(table["rho"], table["estimate"], table["se"], strict=True):
        other = pooled(review, model=model, rho=rho)
        np.testing.assert_allclose(estimate, other["estimate"], **CLOSE)
        np.testing.assert_allclose(se, other["se"], **CLOSE)


def test_rho_is_not_varied_where_it_plays_no_part(review):
    for settings, text in (
        ({"model": "three_level"}, "assumes no correlation"),
        ({"where": "effect_id in ['e0', 'e5', 'e9', 'e12', 'e16']", "model": "che"}, "No sample"),
    ):
        rows, refitter = fitted(review, **settings)
        assessment = assess_rho(rows, refitter)
        assert assessment.tables["sensitivity_rho"].empty
        assert text in assessment.sentences[0]


@pytest.mark.parametrize("model", ["che", "aggregated"])
def test_each_class_of_effects_is_left_out(review, model):
    review.loc[[0, 1], "rater"] = None
    rows, refitter = fitted(review, model=model)
    table = assess_leave_class_out(rows, refitter, by=["rater"]).tables[
        "sensitivity_leave_class_out"
    ]
    assert list(table["left_out"]) == ["(not coded)", "client", "therapist"]
    without = review.loc[review["rater"] != "client"]
    row = table.set_index("left_out").loc["client"]
    assert (row["k_studies"], row["k_effects"]) == (without["study_id"].nunique(), len(without))
    other = pooled(without, model=model)
    np.testing.assert_allclose(row["estimate"], other["estimate"], **CLOSE)


def test_a_single_class_is_said(review):
    rows, refitter = fitted(review)
    assessment = assess_leave_class_out(rows, refitter, by=["conversion"])
    assert assessment.tables["sensitivity_leave_class_out"].empty
    assert assessment.sentences == ("All effects have the same conversion route, r.",)


def test_fixed_and_equal_weights(make_effects):
    rng = np.random.default_rng(1)
    v = rng.uniform(0.005, 0.08, 12)
    y = 0.2 + rng.normal(0, 0.2, 12)
    effects = make_effects(y, v, [f"s{i}" for i in range(12)])
    rows, _ = fitted(effects)
    table = assess_weights(rows).tables["sensitivity_weights"].set_index("weights")
    # closed forms: rounding only
    assert table.loc["fixed", "estimate"] == pytest.approx(np.average(y, weights=1 / v), rel=1e-12)
    assert table.loc["equal", "estimate"] == pytest.approx(y.mean(), rel=1e-12)
    # with equal weights CR2 is the ordinary standard error of a mean
    assert table.loc["equal", "se"] == pytest.approx(y.std(ddof=1) / np.sqrt(12), rel=1e-12)
    assert table.loc["equal", "df"] == pytest.approx(11, rel=1e-9)
    assert table.loc["estimated", "estimate"] == pooled(effects)["estimate"]


def test_weights_that_leave_no_error_have_no_test(make_effects):
    rows, _ = fitted(make_effects([0.3] * 6, [0.02, 0.03, 0.01, 0.02, 0.05, 0.02], list("abcdef")))
    table = assess_weights(rows).tables["sensitivity_weights"]
    assert table["p_value"].isna().all()
    assert table.loc[table["weights"] != "estimated", "ci_low"].isna().all()


def test_tests_that_are_withheld_stay_withheld_under_other_weights(make_effects):
    rows, _ = fitted(make_effects([0.3, 0.32, 0.2, 0.31], [0.02] * 4, list("aabc")))
    table = assess_weights(rows).tables["sensitivity_weights"]
    assert (table["df"] < 4).all()
    assert table["p_value"].isna().all()


def test_a_row_left_alone_changes_no_significance(make_effects):
    rows, refitter = fitted(make_effects([0.3, 0.4], [0.001, 0.001], ["a", "b"]))
    assessment = assess_leave_one_out(rows, refitter)
    assert (assessment.tables["sensitivity_leave_one_out"]["changes"] == "").all()


def test_an_intercept_at_year_zero_is_not_spoken_of(review):
    rows, refitter = fitted(review, moderators="year")
    for assess in (assess_leave_one_out, assess_rho, assess_leave_class_out):
        assert "Intercept" not in " ".join(assess(rows, refitter).sentences)


def test_equal_results_are_not_told_as_a_range(make_effects):
    rows, refitter = fitted(make_effects([0.3] * 5, [0.02] * 5, list("abcde")))
    sentences = assess_leave_one_out(rows, refitter).sentences
    assert "leaves the pooled correlation at .291 throughout." in sentences[0]


def test_text_and_equal_values_give_no_order(review):
    rows, refitter = fitted(review)
    with pytest.raises(SpecificationError, match="holds text"):
        assess_cumulative(rows, refitter, by=["rater"])
    review["year"] = 2000.0
    rows, refitter = fitted(review)
    assessment = assess_cumulative(rows, refitter, by=["year"])
    assert assessment.tables["sensitivity_cumulative"].empty
    assert assessment.sentences == ("All studies have the same year, which gives them no order.",)
