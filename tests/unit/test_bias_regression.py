"""Egger's test, the rank test and PET-PEESE against R, and where they are not defined."""

import json
from pathlib import Path

import numpy as np
import pytest

from alliance_meta.bias.egger import assess_egger, regress_least_squares
from alliance_meta.bias.henmi_copas import assess_henmi_copas, pool_large_studies
from alliance_meta.bias.pet_peese import assess_pet_peese
from alliance_meta.bias.rank_test import assess_rank_test, correlate_ranks
from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.models.rows import model_rows
from alliance_meta.models.specification import InestimableError

FILE = Path(__file__).parents[1] / "reference" / "bias.json"
REFERENCE = json.loads(FILE.read_text(encoding="utf-8"))
UNIVARIATE, DEPENDENT = REFERENCE["univariate"], REFERENCE["dependent"]
# both ends solve to rounding: metafor's likelihoods with a threshold of 1e-14, its variance
# components polished
TOLERANCE = {"rtol": 1e-8, "atol": 1e-10}
INFERENCES = {"z": "z", "knha": "knapp_hartung"}


@pytest.fixture
def rows_of(make_effects):
    def make(y, v, study=None, *, columns=None, **settings):
        study = range(len(y)) if study is None else study
        effects = make_effects(y, v, study, **(columns or {}))
        return model_rows(analyse(effects, ModelSpecification(**settings)))

    return make


def own_rows(rows_of, data, fit):
    model = "common_effect" if fit["method"] == "FE" else "random_effects"
    tau2 = None if fit["method"] == "FE" else fit["method"]
    inference = INFERENCES[fit["test"]]
    return rows_of(data["y"], data["v"], model=model, tau2=tau2, inference=inference)


def dependent_rows(rows_of, data):
    model = "che" if data["rho"] else "three_level"
    return rows_of(data["y"], data["v"], data["study"], model=model, inference="cr2", rho=0.6)


@pytest.mark.parametrize("name", UNIVARIATE)
def test_least_squares_egger_is_that_of_r(name):
    data = UNIVARIATE[name]
    y, v, expected = np.array(data["y"]), np.array(data["v"]), data["lm"]
    found = regress_least_squares(y, v, np.ones((len(y), 1)), np.sqrt(v), 0.95)
    slope, limit = found.slope, found.limit
    np.testing.assert_allclose(
        [slope.value, slope.se, slope.statistic, slope.df, slope.p_value],
        [expected[key] for key in ("slope", "se", "statistic", "df", "p")],
        **TOLERANCE,
    )
    np.testing.assert_allclose(
        [limit.value, limit.ci_low, limit.ci_high], expected["limit"], **TOLERANCE
    )


@pytest.mark.parametrize("name", UNIVARIATE)
@pytest.mark.parametrize("index", range(4))
def test_regressions_of_univariate_analyses_are_those_of_r(name, index, rows_of):
    data = UNIVARIATE[name]
    expected = data["regressions"][index]
    rows = own_rows(rows_of, data, expected)
    egger = assess_egger(rows).tables["bias_egger"].set_index("variant").loc["random_effects"]
    if expected["method"] != "FE":
        np.testing.assert_allclose(
            [egger["slope"], egger["se"], egger["statistic"], egger["p_value"]],
            [expected["slope"]["b"], expected["slope"]["se"], expected["statistic"], expected["p"]],
            **TOLERANCE,
        )
        limits = egger[["limit_estimate", "limit_ci_low", "limit_ci_high"]].to_numpy(float)
        np.testing.assert_allclose(limits, expected["limit"], **TOLERANCE)
    table = assess_pet_peese(rows).tables["bias_pet_peese"].set_index("variant")
    for variant, key, slope in (("pet", "intercept", "slope"), ("peese", "peese", "peese_slope")):
        row, theirs = table.loc[variant], expected[key]
        np.testing.assert_allclose(
            [
                row[c]
                for c in ("estimate", "se", "p_value", "ci_low", "ci_high", "slope", "slope_p")
            ],
            [theirs[key] for key in ("b", "se", "p")]
            + theirs["ci"]
            + [expected[slope][key] for key in ("b", "p")],
            **TOLERANCE,
        )


@pytest.mark.parametrize("name", UNIVARIATE)
def test_pet_peese_by_least_squares_is_that_of_r(name, rows_of):
    data = UNIVARIATE[name]
    rows = rows_of(data["y"], data["v"])
    table = assess_pet_peese(rows).tables["bias_pet_peese"].set_index("variant")
    lm = data["lm"]
    for variant, estimate in (
        ("pet_wls", [lm["limit"][0], lm["limit_se"], lm["limit_p"], lm["slope"], lm["p"]]),
        ("peese_wls", [*np.array(lm["peese"])[[0, 1, 3]], *np.array(lm["peese_slope"])[[0, 3]]]),
    ):
        columns = ["estimate", "se", "p_value", "slope", "slope_p"]
        np.testing.assert_allclose(
            table.loc[variant, columns].to_numpy(float), estimate, **TOLERANCE
        )


@pytest.mark.parametrize("name", DEPENDENT)
def test_regressions_of_dependent_effects_are_those_of_r(name, rows_of):
    data = DEPENDENT[name]
    rows = dependent_rows(rows_of, data)
    egger = assess_egger(rows).tables["bias_egger"].set_index("variant").loc["multilevel_cr2"]
    np.testing.assert_allclose(
        [egger["slope"], egger["se"], egger["df"], egger["p_value"]],
        [data["slope"][key] for key in ("b", "se", "df", "p")],
        **TOLERANCE,
    )
    table = assess_pet_peese(rows).tables["bias_pet_peese"].set_index("variant")
    for variant, key in (("pet", "intercept"), ("peese", "peese")):
        row, theirs = table.loc[variant], data[key]
        np.testing.assert_allclose(
            [row[c] for c in ("estimate", "se", "df", "p_value", "ci_low", "ci_high")],
            [theirs["b"], theirs["se"], theirs["df"], theirs["p"], *theirs["ci"]],
            **TOLERANCE,
        )


def test_moderators_stay_in_the_regression(rows_of):
    data, expected = UNIVARIATE["expectancy"], REFERENCE["moderated"]
    columns = {"session": expected["weeks"]}
    rows = rows_of(data["y"], data["v"], moderators="session", columns=columns)
    found = assess_egger(rows)
    table = found.tables["bias_egger"].set_index("variant")
    np.testing.assert_allclose(
        [table.loc["random_effects", c] for c in ("slope", "se", "p_value")]
        + [table.loc["lm", c] for c in ("slope", "p_value")],
        [expected[key] for key in ("slope", "se", "p", "lm_slope", "lm_p")],
        **TOLERANCE,
    )
    assert table["limit_estimate"].isna().all()
    assert any("no single effect" in sentence for sentence in found.sentences)
    assert assess_pet_peese(rows).tables["bias_pet_peese"].empty


def test_multilevel_variant_without_dependence_clusters_on_each_study(rows_of):
    data = UNIVARIATE["adherence"]
    table = assess_egger(rows_of(data["y"], data["v"])).tables["bias_egger"]
    assert list(table["variant"]) == ["lm", "random_effects", "multilevel_cr2"]
    # the same weights, so the same slope as the random-effects regression by REML
    np.testing.assert_allclose(table["slope"][2], table["slope"][1], rtol=1e-7)
    assert table["df"][2] < len(data["y"]) - 2


@pytest.mark.parametrize("name", UNIVARIATE)
def test_rank_test_is_that_of_r(name):
    data = UNIVARIATE[name]
    found = correlate_ranks(np.array(data["y"]), np.array(data["v"]))
    expected = data["rank"]
    # counts, and sums of counts
    np.testing.assert_allclose(
        [found.kendall_tau, found.p_value], [expected["tau"], expected["p"]], rtol=1e-12
    )
    assert found.exact == (name == "bcg")


@pytest.mark.parametrize("name", DEPENDENT)
def test_rank_test_of_dependent_effects_is_of_one_composite_per_study(name, rows_of):
    data = DEPENDENT[name]
    found = assess_rank_test(dependent_rows(rows_of, data))
    row, expected = found.tables["bias_rank"].iloc[0], data["composite_rank"]
    np.testing.assert_allclose(
        [row["kendall_tau"], row["p_value"]], [expected["tau"], expected["p"]], rtol=1e-12
    )
    assert (row["unit"], row["k"]) == ("study", len(set(data["study"])))
    assert "one composite for each" in found.sentences[0]


@pytest.mark.parametrize("name", UNIVARIATE)
def test_henmi_copas_interval_is_that_of_r(name):
    data = UNIVARIATE[name]
    found = pool_large_studies(np.array(data["y"]), np.array(data["v"]), 0.95)
    expected = data["henmi_copas"]
    np.testing.assert_allclose(
        [found.estimate, found.se, found.tau2],
        [expected[key] for key in ("estimate", "se", "tau2")],
        rtol=1e-12,
        atol=1e-14,
    )
    # metafor integrates to about 1e-10
    np.testing.assert_allclose([found.ci_low, found.ci_high], expected["ci"], atol=1e-8)


def test_conditional_estimator_takes_peese_only_where_pet_finds_the_reviews_effect(rows_of):
    rng = np.random.default_rng(4)
    v = rng.uniform(0.001, 0.05, 40)
    strong = rng.normal(0.5, np.sqrt(v))
    for y, chosen in ((strong, "peese"), (-strong, "peese"), (3 * np.sqrt(v) * 0.9, "pet")):
        noisy = y + rng.normal(0, 0.02, 40)
        table = assess_pet_peese(rows_of(noisy, v)).tables["bias_pet_peese"].set_index("variant")
        assert table.loc["conditional", "chosen"] == chosen
        assert table.loc["conditional", "estimate"] == table.loc[chosen, "estimate"]
        assert table.loc["conditional_wls", "chosen"] == chosen


def test_equal_standard_errors_give_a_sentence(rows_of):
    rows = rows_of([0.1, 0.4, 0.2, 0.3], [0.02] * 4)
    egger, ranks, pet = assess_egger(rows), assess_rank_test(rows), assess_pet_peese(rows)
    for found in (egger, ranks, pet):
        assert all(table.empty for table in found.tables.values())
        assert found.sentences[0].endswith(
            "could not be computed: the standard errors do not differ."
        )


def test_equal_effects_have_no_rounding_for_a_result(rows_of):
    rows = rows_of([0.3] * 6, [0.01, 0.02, 0.03, 0.05, 0.07, 0.09])
    assert assess_rank_test(rows).tables["bias_rank"].empty
    egger = assess_egger(rows).tables["bias_egger"].set_index("variant")
    assert "lm" not in egger.index
    assert np.isnan(egger.loc["multilevel_cr2", "p_value"])
    pet = assess_pet_peese(rows)
    assert "no test possible" in pet.sentences[0]


def test_a_study_that_outweighs_all_others_cannot_be_ranked():
    with pytest.raises(InestimableError, match="outweighs"):
        correlate_ranks(np.array([0.1, 0.2, 0.3]), np.array([1e-20, 0.1, 0.2]))


@pytest.mark.parametrize("k", [2, 3])
def test_few_studies_give_sentences(k, rows_of):
    rows = rows_of([0.1, 0.4, 0.2][:k], [0.01, 0.02, 0.05][:k])
    egger, pet = assess_egger(rows), assess_pet_peese(rows)
    if k == 2:
        assert "cannot support" in egger.sentences[0]
        assert "cannot support" in pet.sentences[0]
    else:
        assert any("little power" in sentence for sentence in egger.sentences)
    assert "95 % CI" in assess_henmi_copas(rows).sentences[0]


@pytest.mark.parametrize("slope", [0.0, 3.0])
def test_a_clear_trend_is_not_called_silent(slope, rows_of):
    v = np.linspace(0.005, 0.08, 8)
    y = 0.2 + slope * np.sqrt(v) + 0.03 * np.tile([1, -1], 4)
    found = assess_egger(rows_of(y, v))
    text = " ".join(found.sentences)
    assert (found.tables["bias_egger"]["p_value"].iloc[-1] < 0.05) == bool(slope)
    assert "With 8 studies the test has little power" in text
    assert ("silence" in text) != bool(slope)


def test_on_the_metric_r_the_reader_is_warned(rows_of):
    rows = rows_of([0.1, 0.4, 0.2, 0.3], [0.01, 0.02, 0.05, 0.03], metric="r")
    for assess in (assess_egger, assess_rank_test, assess_pet_peese):
        assert any("correlation itself" in sentence for sentence in assess(rows).sentences)
