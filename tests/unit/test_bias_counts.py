"""Excess significance and fail-safe numbers against metafor."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats

from alliance_meta.bias.excess_significance import (
    assess_excess_significance,
    compare_counts,
    compute_power,
    find_limit,
)
from alliance_meta.bias.fail_safe import (
    assess_fail_safe,
    count_orwin,
    count_rosenberg,
    count_rosenthal,
)
from alliance_meta.bias.units import effect_units, independent_units
from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.models.rows import model_rows

FILE = Path(__file__).parents[1] / "reference" / "bias.json"
REFERENCE = json.loads(FILE.read_text(encoding="utf-8"))
UNIVARIATE, DEPENDENT = REFERENCE["univariate"], REFERENCE["dependent"]


@pytest.fixture
def rows_of(make_effects):
    def make(y, v, study=None, *, columns=None, **settings):
        study = range(len(y)) if study is None else study
        effects = make_effects(y, v, study, **(columns or {}))
        return model_rows(analyse(effects, ModelSpecification(**settings)))

    return make


def arrays(name):
    data = UNIVARIATE[name]
    return np.array(data["y"]), np.array(data["v"]), data


@pytest.mark.parametrize("name", UNIVARIATE)
@pytest.mark.parametrize("index", range(2))
def test_excess_significance_is_that_of_metafor(name, index):
    y, v, data = arrays(name)
    expected = data["excess"][index]
    found = compare_counts(y, v, expected["theta"], expected["tau2"])
    assert found.observed == expected["observed"]
    # metafor's adaptive integration; without heterogeneity nothing is integrated
    loss = 1e-8 if expected["tau2"] else 1e-12
    np.testing.assert_allclose(found.power, expected["power"], atol=loss)
    np.testing.assert_allclose(found.expected, expected["expected"], atol=len(y) * loss)
    tests = {"chi2": found.p_chi2, "binom": found.p_binomial, "exact": found.p_exact}
    for test, p_value in expected["tests"].items():
        # p falls with the expected count by its density, at most 0.4 where counts spread by 1
        assert tests[test] == pytest.approx(p_value, abs=0.4 * len(y) * loss), test


@pytest.mark.parametrize("name", UNIVARIATE)
@pytest.mark.parametrize("index", range(2))
def test_limit_is_that_of_metafor_where_it_takes_the_chi_squared_test(name, index, monkeypatch):
    monkeypatch.setattr("alliance_meta.bias.excess_significance.MAXIMUM_SUBSETS", 0)
    y, v, data = arrays(name)
    expected = data["excess"][index]
    limit = find_limit(y, v, expected["theta"], expected["tau2"])
    if expected["limit"] is None:
        assert np.isnan(limit)
        return
    # the same error of expected results, over their slope on the true mean
    above, below = (compute_power(v, limit + h, expected["tau2"]).sum() for h in (1e-5, -1e-5))
    loss = len(y) * (1e-8 if expected["tau2"] else 1e-12)
    assert limit == pytest.approx(expected["limit"], abs=loss / (abs(above - below) / 2e-5) + 1e-10)


def test_power_is_the_mean_over_true_effects():
    v, theta, tau2 = 0.02, 0.2, 0.03

    def integrand(effect):
        return compute_power(np.array([v]), effect, 0.0)[0] * stats.norm.pdf(
            effect, theta, np.sqrt(tau2)
        )

    reach = 5 * np.sqrt(tau2)
    area, _ = integrate.quad(integrand, theta - reach, theta + reach, epsabs=1e-12)
    assert compute_power(np.array([v]), theta, tau2)[0] == pytest.approx(area, abs=1e-9)


def test_exact_test_goes_through_all_sets_of_results():
    y, v = np.array([0.5, 0.1, 0.4, 0.02]), np.array([0.01, 0.02, 0.05, 0.03])
    found = compare_counts(y, v, 0.2, 0.0)
    chance = 0.0
    for results in product([0, 1], repeat=4):
        if sum(results) >= found.observed:
            chance += np.prod(np.where(results, found.power, 1 - found.power))
    assert found.p_exact == pytest.approx(chance, rel=1e-12)
    assert (found.test, found.p_value) == ("exact", found.p_exact)


def test_limit_lies_where_the_test_reaches_its_level():
    y, v, _ = arrays("adherence")
    limit = find_limit(y, v, 0.15, 0.0)
    assert compare_counts(y, v, limit, 0.0).p_value == pytest.approx(0.1, abs=1e-9)
    assert find_limit(-y, v, -0.15, 0.0) == pytest.approx(-limit, rel=1e-9)
    assert np.isnan(find_limit(y / 100, v, 0.0015, 0.0))


def test_many_results_take_the_chi_squared_test():
    y, v, _ = arrays("interviews")
    found = compare_counts(y, v, 0.2, 0.02)
    assert (found.test, found.p_value) == ("chi2", found.p_chi2)


def test_dependent_effects_are_counted_by_study_and_by_effect(rows_of):
    data = DEPENDENT["delinquency"]
    rows = rows_of(data["y"], data["v"], data["study"], model="che", rho=0.6)
    found = assess_excess_significance(rows)
    table = found.tables["bias_excess_significance"].set_index("unit")
    assert list(table["k"]) == [len(set(data["study"])), len(data["y"])]
    z = np.array(data["y"]) / np.sqrt(data["v"])
    assert table.loc["effect", "observed"] == (np.abs(z) >= 1.959964).sum()
    power = found.tables["bias_excess_significance_power"]
    for unit, rows_of_unit in power.groupby("unit"):
        assert rows_of_unit["power"].sum() == pytest.approx(table.loc[unit, "expected"])
    assert "too sure of itself" in found.sentences[-1]


def test_composites_keep_the_share_of_a_mean_of_the_variance_within_studies(rows_of):
    data = DEPENDENT["delinquency"]
    rows = rows_of(data["y"], data["v"], data["study"], model="che", rho=0.6)
    components = rows.fit.components
    units = independent_units(rows)
    sizes = np.unique(data["study"], return_counts=True)[1]
    # studies are in order of appearance, which is that of their numbers
    expected = components.between[0] + components.within[0] / sizes
    np.testing.assert_allclose(units.tau2, expected, rtol=1e-12)


def test_each_level_has_its_own_variance(rows_of):
    rng = np.random.default_rng(6)
    level = np.tile(["client", "therapist"], 20)
    v = rng.uniform(0.01, 0.02, 40)
    y = rng.normal(0.3, np.where(level == "client", 0.05, 0.6))
    rows = rows_of(
        y,
        v,
        np.repeat(range(20), 2),
        columns={"rater": list(level)},
        model="che",
        moderators="rater",
        separate_tau2=True,
    )
    single, composites = effect_units(rows), independent_units(rows)
    own = rows.fit.components.between + rows.fit.components.within
    for i, name in enumerate(("client", "therapist")):
        np.testing.assert_allclose(single.tau2[level == name], own[i], atol=1e-12)
    # one effect of each level, whose deviations are independent
    np.testing.assert_allclose(composites.tau2, own.sum() / 4, rtol=1e-12)


def test_moderators_give_each_result_its_own_power(rows_of):
    columns = {"rater": ["client", "client", "client", "therapist", "therapist", "therapist"]}
    y, v = [0.1, 0.2, 0.12, 0.5, 0.6, 0.55], [0.01] * 6
    rows = rows_of(y, v, moderators="rater", columns=columns)
    power = assess_excess_significance(rows).tables["bias_excess_significance_power"]["power"]
    assert power[:3].max() < 0.5 < power[3:].min()


@pytest.mark.parametrize("name", UNIVARIATE)
def test_fail_safe_numbers_are_those_of_metafor(name):
    y, v, data = arrays(name)
    assert {
        "rosenthal": count_rosenthal(y, v),
        "orwin": count_orwin(y, 0.1),
        "orwin_weighted": count_orwin(y, 0.1, 1 / v),
        "orwin_half": count_orwin(y, float(y.mean()) / 2),
        "rosenberg": count_rosenberg(y, v),
    } == data["fail_safe"]


def test_fail_safe_target_is_on_the_reporting_scale(rows_of):
    y, v, _ = arrays("adherence")
    table = assess_fail_safe(rows_of(y, v), target=0.05).tables["bias_fail_safe"]
    table = table.set_index("method")
    assert table.loc["orwin", "target"] == pytest.approx(np.arctanh(0.05))
    assert table.loc["orwin", "n_studies"] == count_orwin(y, np.arctanh(0.05))
    assert table["note"].str.startswith("weak").all()


@pytest.mark.parametrize("sign", [1, -1])
def test_fail_safe_target_has_the_sign_of_the_mean(sign, rows_of):
    y, v = sign * np.array([0.3, 0.5, 0.45, 0.2]), [0.02, 0.03, 0.01, 0.015]
    found = assess_fail_safe(rows_of(y, v))
    table = found.tables["bias_fail_safe"].set_index("method")
    for method in ("orwin", "orwin_weighted"):
        assert table.loc[method, "target"] == pytest.approx(sign * np.arctanh(0.1))
        assert table.loc[method, "n_studies"] > 0
    target = "r = .10" if sign > 0 else "r = −.10"
    assert f"be no further from zero than {target} (Orwin)" in found.sentences[0]


@pytest.mark.parametrize("target", [0.0, 1.0, -1.5])
def test_impossible_targets_leave_orwin_out(target, rows_of):
    y, v, _ = arrays("adherence")
    found = assess_fail_safe(rows_of(y, v), target=target)
    assert list(found.tables["bias_fail_safe"]["method"]) == ["rosenthal", "rosenberg"]
    assert any("not defined" in sentence for sentence in found.sentences)


def test_without_significance_nothing_is_needed(rows_of):
    found = assess_fail_safe(rows_of([0.02, -0.01, 0.03], [0.1, 0.2, 0.15]))
    assert set(found.tables["bias_fail_safe"]["n_studies"]) == {0}
    assert "even with none added" in found.sentences[0]
