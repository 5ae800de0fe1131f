"""Permutation tests against metafor::permutest, plain loops, and what any test must do."""

import json
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from alliance_meta.models.batched import BatchDesign, estimate_tau2
from alliance_meta.models.permutation import flip_signs, permute_clusters, permute_moderators
from alliance_meta.models.pooling import fit_pooled
from alliance_meta.models.specification import (
    INFERENCES,
    TAU2_ESTIMATORS,
    InestimableError,
    ModelSpecification,
    SpecificationError,
)

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "permutation.json").read_text(encoding="utf-8")
)
UNIVARIATE = [name for name in INFERENCES if name != "cr2"]
# p-values are counts over a total; only the division rounds
COUNT = {"rtol": 0, "atol": 1e-14}


def specification(tau2="REML", inference="knapp_hartung"):
    return ModelSpecification(model="random_effects", tau2=tau2, inference=inference)


def simulate(k, seed, tau2=0.03):
    rng = np.random.default_rng(seed)
    v = 1 / rng.integers(10, 200, k)
    y = 0.3 + rng.normal(size=k) * np.sqrt(v + tau2)
    X = np.column_stack([np.ones(k), np.arange(k) % 3 == 0, rng.integers(1985, 2020, k)])
    return y, v, X.astype(float)


def permute(y, v, X, spec, n=10_000, seed=1, **options):
    """Test all coefficients but the intercept, and jointly."""
    tested = np.arange(X.shape[1]) > 0
    contrasts = np.eye(X.shape[1])[1:]
    return permute_moderators(
        y, v, X, spec, tested, contrasts, permutations=n, seed=seed, **options
    )


def design_of(data, moderators):
    columns = [np.ones(len(data["y"]))]
    if "level" in moderators:
        level = np.array(data["level"])
        columns += [level == value for value in np.unique(level)[1:]]
    if "x" in moderators:
        columns.append(np.array(data["x"]))
    return np.column_stack(columns).astype(float)


@pytest.mark.parametrize(
    "test",
    REFERENCE["tests"],
    ids=lambda t: " ".join([t["set"], t["moderators"], t["tau2"], t["inference"]]),
)
def test_exact_tests_agree_with_metafor(test):
    data = REFERENCE["sets"][test["set"]]
    y, v = np.array(data["y"]), np.array(data["v"])
    common = test["tau2"] == "FE"
    spec = ModelSpecification(
        model="common_effect" if common else "random_effects",
        tau2=None if common else test["tau2"],
        inference=test["inference"],
    )
    X = design_of(data, test["moderators"])
    if test["moderators"]:
        p = X.shape[1]
        result = permute_moderators(
            y, v, X, spec, np.ones(p, bool), np.eye(p)[1:], permutations=10_000, seed=1
        )
        statistics, p_values = [*test["statistic"], test["QM"]], [*test["p"], test["QM_p"]]
    else:
        result = flip_signs(y, v, spec, permutations=10_000, seed=1)
        statistics, p_values = test["statistic"], test["p"]
    assert result.exact
    assert result.permutations == test["permutations"]
    # metafor iterates τ² to a change of 1e-12
    np.testing.assert_allclose(result.statistics, statistics, rtol=1e-8)
    np.testing.assert_allclose(result.p_values, p_values, **COUNT)


@pytest.mark.parametrize("tau2", TAU2_ESTIMATORS)
@pytest.mark.parametrize("inference", UNIVARIATE)
def test_observed_statistics_are_those_of_the_fit(tau2, inference):
    spec = specification(tau2, inference)
    y, v, X = simulate(40, seed=3)
    result = permute(y, v, X, spec, n=10)
    fit = fit_pooled(y, v, X, np.arange(40), spec)
    expected = [fit.contrast(row).statistic for row in np.eye(3)[1:]]
    # both solve for τ² to about 1e-10
    np.testing.assert_allclose(result.statistics[:2], expected, rtol=1e-9)
    joint = fit.test(np.eye(3)[1:]).statistic
    np.testing.assert_allclose(result.statistics[2], joint, rtol=1e-9)


@pytest.mark.parametrize("tau2", TAU2_ESTIMATORS)
@pytest.mark.parametrize("between", [0.0, 1e-3, 0.2])
def test_batched_tau2_is_that_of_single_fits(tau2, between):
    y, v, X = simulate(25, seed=4, tau2=between)
    rng = np.random.default_rng(5)
    orders = np.array([rng.permutation(25) for _ in range(30)])
    design = BatchDesign(np.linalg.qr(X)[0])
    batch = estimate_tau2(y[orders], v[orders], design, tau2)
    single = [fit_pooled(y[o], v[o], X, np.arange(25), specification(tau2)).tau2 for o in orders]
    # Newton's last step leaves a relative error of less than 1e-10
    np.testing.assert_allclose(batch, single, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("restricted", [True, False])
def test_likelihood_estimate_is_the_highest_of_several_peaks(restricted):
    # two precise effects agree, three imprecise ones lie far apart: a peak for either story
    y = np.array([0.0, 0.02, 3.0, -3.0, 2.5, -2.0])
    v = np.array([1e-4, 1e-4, 0.6, 0.6, 0.5, 0.5])
    Q = np.full((6, 1), 6**-0.5)
    found = estimate_tau2(y[None], v[None], BatchDesign(Q), "REML" if restricted else "ML")[0]

    def likelihood(tau2):
        w = 1 / (v + tau2)
        mean = (w @ y) / w.sum()
        return np.log(w).sum() - w @ (y - mean) ** 2 - restricted * np.log(w.sum())

    grid = np.concatenate([[0], np.geomspace(1e-8, 1e3, 20_000)])
    assert likelihood(found) >= max(likelihood(t) for t in grid) - 1e-12


@pytest.mark.parametrize("inference", UNIVARIATE)
def test_permutations_agree_with_a_plain_loop(inference):
    y, v, X = simulate(6, seed=6)
    # two studies share their row of X: arrangements come twice each, and count once
    X[:, 2] = [1990, 1994, 2001, 2003, 2010, 2018]
    X[1] = X[4]
    spec = specification("PM", inference)
    result = permute(y, v, X, spec)
    arrangements = {tuple(map(tuple, X[list(order)])) for order in permutations(range(6))}
    statistics = []
    for arrangement in arrangements:
        fit = fit_pooled(y, v, np.array(arrangement), np.arange(6), spec)
        single = [fit.contrast(row).statistic for row in np.eye(3)[1:]]
        statistics.append([*single, fit.test(np.eye(3)[1:]).statistic])
    # ties differ by rounding
    extreme = np.abs(statistics) >= np.abs(result.statistics) - 1e-8
    assert result.permutations == len(arrangements) == 360
    np.testing.assert_allclose(result.p_values, extreme.mean(axis=0), **COUNT)


def test_sign_flips_agree_with_a_plain_loop():
    y, v, _ = simulate(7, seed=7)
    y -= 0.2
    spec = specification("REML", "knapp_hartung_conservative")
    result = flip_signs(y, v, spec, permutations=128, seed=1)
    statistics = [
        fit_pooled(np.array(signs) * y, v, np.ones((7, 1)), np.arange(7), spec)
        .contrast(np.ones(1))
        .statistic
        for signs in product([1, -1], repeat=7)
    ]
    extreme = np.abs(statistics) >= abs(result.statistics[0]) - 1e-8
    assert result.exact
    assert result.method == "sign_flipping"
    np.testing.assert_allclose(result.p_values[0], extreme.mean(), **COUNT)


def plain_hc2(y, w, X):
    """Return b, and the HC2 covariance of a weighted fit, one effect a cluster."""
    bread = np.linalg.inv(X.T @ np.diag(w) @ X)
    b = bread @ X.T @ (w * y)
    hat = w * np.einsum("ij,jk,ik->i", X, bread, X)
    meat = (X.T * (w * (y - X @ b)) ** 2 / (1 - hat)) @ X
    return b, bread @ meat @ bread


def test_cluster_permutations_agree_with_a_plain_loop():
    y, v, X = simulate(6, seed=8)
    w = 1 / (v + 0.02)
    X[:, 2] -= 2000
    result = permute_clusters(
        y, w, X, np.array([False, True, True]), np.eye(3)[1:], permutations=720, seed=1
    )
    statistics = []
    for arrangement in {tuple(map(tuple, X[list(order)])) for order in permutations(range(6))}:
        b, covariance = plain_hc2(y, w, np.array(arrangement))
        wald = b[1:] @ np.linalg.solve(covariance[1:, 1:], b[1:])
        statistics.append([*(b / np.sqrt(np.diag(covariance)))[1:], wald / 2])
    b, covariance = plain_hc2(y, w, X)
    observed = (b / np.sqrt(np.diag(covariance)))[1:]
    np.testing.assert_allclose(result.statistics[:2], observed, rtol=1e-9)
    extreme = np.abs(statistics) >= np.abs(result.statistics) - 1e-8
    assert result.exact
    np.testing.assert_allclose(result.p_values, extreme.mean(axis=0), **COUNT)


def test_cluster_statistic_is_that_of_the_robust_fit():
    y, v, X = simulate(15, seed=9)
    spec = ModelSpecification(model="common_effect", inference="cr2")
    fit = fit_pooled(y, v, X, np.arange(15), spec)
    result = permute_clusters(
        y, 1 / v, X, np.array([True, True, True]), None, permutations=5, seed=1
    )
    expected = [fit.contrast(row).statistic for row in np.eye(3)]
    # the year's intercept is 2000 years away from the data
    np.testing.assert_allclose(result.statistics, expected, rtol=1e-9)


def test_a_study_alone_in_its_group_is_fitted_perfectly_and_has_no_residual():
    y, v, _ = simulate(8, seed=10)
    X = np.column_stack([np.ones(8), np.arange(8) == 3]).astype(float)
    result = permute_clusters(
        y, 1 / v, X, np.array([False, True]), np.eye(2)[1:], permutations=8, seed=1
    )
    assert result.permutations == 8
    assert np.isfinite(result.statistics).all()
    assert (result.p_values * 8 == np.round(result.p_values * 8)).all()


def test_random_permutations_approach_the_exact_p_value():
    y, v, X = simulate(8, seed=11)
    X = X[:, :2]
    exact = permute(y, v, X, specification(), n=56)
    few = permute(y, v, X, specification(), n=55)
    assert exact.exact
    assert not few.exact
    assert few.permutations == 55
    # the same test with 55 random ones: standard error √(p(1 − p)/55) is at most 0.07
    np.testing.assert_allclose(few.p_values, exact.p_values, atol=0.25)


def test_random_p_values_are_never_zero():
    k = 30
    X = np.column_stack([np.ones(k), np.arange(k)]).astype(float)
    y = np.arange(k) + np.random.default_rng(1).normal(size=k) / 100
    result = permute(y, np.full(k, 1e-4), X, specification(), n=99)
    np.testing.assert_allclose(result.p_values, 1 / 100, **COUNT)


def test_the_same_seed_gives_the_same_test_and_progress_reaches_the_end():
    y, v, X = simulate(300, seed=12)
    calls = []
    one = permute(y, v, X, specification("DL"), n=250, progress=lambda *c: calls.append(c))
    two = permute(y, v, X, specification("DL"), n=250)
    other = permute(y, v, X, specification("DL"), n=250, seed=2)
    np.testing.assert_array_equal(one.p_values, two.p_values)
    assert (one.p_values != other.p_values).any()
    assert calls[-1] == (250, 250)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_tests_do_not_depend_on_where_years_start():
    y, v, X = simulate(20, seed=13)
    moved = X - [0, 0, 1990]
    one = permute(y, v, X, specification(), n=200)
    two = permute(y, v, moved, specification(), n=200)
    # orthonormal bases of the same columns: rounding, and the last step for τ²
    np.testing.assert_allclose(two.statistics, one.statistics, rtol=1e-9)
    np.testing.assert_array_equal(two.p_values, one.p_values)


def test_equal_effects_have_no_knapp_hartung_test_and_no_normal_evidence():
    _, v, X = simulate(9, seed=14)
    y = np.full(9, 1000.3)
    undefined = permute(y, v, X, specification(inference="knapp_hartung"), n=50)
    assert np.isnan(undefined.statistics).all()
    assert np.isnan(undefined.p_values).all()
    normal = permute(y, v, X, specification(inference="z"), n=50)
    # nothing but rounding: every permutation ties
    np.testing.assert_allclose(normal.statistics, 0, atol=1e-9)
    np.testing.assert_array_equal(normal.p_values, 1)


def test_effects_far_from_zero_give_the_same_test():
    y, v, X = simulate(8, seed=19)
    X = X[:, :2]
    one, two = (permute(shift + y, v, X, specification()) for shift in (0.0, 1e6))
    # 1e6 takes six of the sixteen digits of the effects themselves
    np.testing.assert_allclose(two.statistics, one.statistics, rtol=1e-7)
    np.testing.assert_array_equal(two.p_values, one.p_values)


def test_designs_without_an_intercept_are_fitted_as_they_are():
    y, v, X = simulate(20, seed=21)
    X = X[:, 1:] - [0, 1990]
    spec = specification()
    fit = fit_pooled(y, v, X, np.arange(20), spec)
    result = permute_moderators(y, v, X, spec, np.ones(2, bool), None, permutations=9, seed=1)
    expected = [fit.contrast(row).statistic for row in np.eye(2)]
    # both solve for τ² to about 1e-10
    np.testing.assert_allclose(result.statistics, expected, rtol=1e-9)


def test_the_intercept_is_tested_where_asked():
    y, v, X = simulate(20, seed=22)
    spec = specification()
    fit = fit_pooled(y, v, X, np.arange(20), spec)
    result = permute_moderators(y, v, X, spec, np.ones(3, bool), np.eye(3), permutations=9, seed=1)
    expected = [fit.contrast(row).statistic for row in np.eye(3)]
    # the intercept lies 2000 years from the data
    np.testing.assert_allclose(result.statistics[:3], expected, rtol=1e-8)
    np.testing.assert_allclose(result.statistics[3], fit.test(np.eye(3)).statistic, rtol=1e-9)


def test_equal_effects_have_no_robust_test():
    _, v, X = simulate(9, seed=20)
    result = permute_clusters(
        np.full(9, 0.3), 1 / v, X, np.ones(3, bool), np.eye(3)[1:], permutations=50, seed=1
    )
    assert np.isnan(result.statistics).all()
    assert np.isnan(result.p_values).all()


def test_perfectly_explained_effects_have_no_knapp_hartung_test():
    _, v, X = simulate(9, seed=15)
    y = 0.25 + X[:, 1] / 2
    result = permute(y, v, X[:, :2], specification("PM"), n=84)
    assert np.isnan(result.p_values).all()
    normal = permute(y, v, X[:, :2], specification("PM", "z"), n=84)
    # the observed arrangement separates the effects, and no other does
    np.testing.assert_allclose(normal.p_values, 1 / 84, **COUNT)


def test_one_dominating_study_is_no_obstacle():
    y, v, X = simulate(12, seed=16)
    v[0] = 1e-12
    for tau2 in TAU2_ESTIMATORS:
        result = permute(y, v, X, specification(tau2), n=40)
        assert ((result.p_values > 0) & (result.p_values <= 1)).all()


@pytest.mark.parametrize(
    ("X", "reason"),
    [
        (np.ones((5, 1)), "do not vary"),
        (np.ones((2, 2)), "2 independent units cannot test 2 coefficients"),
        (np.column_stack([np.ones(5), np.arange(5), 2 * np.arange(5)]), "overlap"),
    ],
)
def test_designs_that_cannot_be_permuted_are_refused(X, reason):
    k, p = X.shape
    tested = np.ones(p, bool)
    with pytest.raises(InestimableError, match=reason):
        permute_moderators(
            np.arange(k) / 10, np.ones(k), X, specification(), tested, None, permutations=9, seed=1
        )
    with pytest.raises(InestimableError, match=reason):
        permute_clusters(np.arange(k) / 10, np.ones(k), X, tested, None, permutations=9, seed=1)


def test_a_single_effect_and_robust_inference_are_refused():
    y, v, X = simulate(6, seed=17)
    with pytest.raises(InestimableError, match="two effects"):
        flip_signs(y[:1], v[:1], specification(), permutations=9, seed=1)
    spec = specification(inference="cr2")
    with pytest.raises(SpecificationError, match="inference"):
        flip_signs(y, v, spec, permutations=9, seed=1)
    with pytest.raises(SpecificationError, match="inference"):
        permute(y, v, X, spec, n=9)


def test_random_effects_without_a_moderator_effect_are_rarely_significant():
    rng = np.random.default_rng(18)
    X = np.column_stack([np.ones(9), np.arange(9) < 3]).astype(float)
    p_values = []
    for _ in range(400):
        v = 1 / rng.integers(10, 200, 9)
        y = rng.normal(size=9) * np.sqrt(v + 0.03)
        p_values.append(permute(y, v, X, specification("DL"), n=84).p_values[0])
    # an exact test at 0.05: of 400, a share of 0.05 with standard error 0.011
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.085
