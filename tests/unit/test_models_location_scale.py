"""The location–scale model against metafor's likelihood, and where it has no estimate."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alliance_meta.models.location_scale import _Likelihood, fit_location_scale
from alliance_meta.models.specification import InestimableError, SpecificationError

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "location_scale.json").read_text(encoding="utf-8")
)
TESTS = {
    "z": "z",
    "t": "t",
    "knha": "knapp_hartung",
    "adhoc": "knapp_hartung_conservative",
}
# R inverts X'WX of uncentred years, which costs its coefficients about five digits
CLOSED_FORM = {"rtol": 1e-7, "atol": 1e-10}
# Newton on differences leaves alpha to rounding of the likelihood over a step of 0.1 or less,
# and second differences leave the standard errors to about 1e-9
SCALE = {"rtol": 1e-6, "atol": 1e-8}
# where metafor's own search stops
METAFOR_SEARCH = {"rtol": 2e-5, "atol": 1e-6}


def load(name):
    data = REFERENCE["sets"][name]
    y, v = np.array(data["y"]), np.array(data["v"])
    return y, v, *(np.array(data[m]).reshape(len(y), int(data[n])) for m, n in ("Xp", "Zq"))


def fit_reference(fit):
    return fit_location_scale(
        *load(fit["set"]),
        restricted=fit["method"] == "REML",
        inference=TESTS[fit["test"]],
        ci_level=0.95,
    )


@pytest.mark.parametrize("fit", REFERENCE["fits"], ids=lambda fit: fit["name"])
def test_location_part_agrees_with_metafor(fit):
    result = fit_reference(fit)
    estimates = result.location.estimates()
    np.testing.assert_allclose(result.beta, fit["b"], **CLOSED_FORM)
    np.testing.assert_allclose([e.se for e in estimates], fit["se"], **CLOSED_FORM)
    np.testing.assert_allclose([e.statistic for e in estimates], fit["statistic"], **CLOSED_FORM)
    np.testing.assert_allclose([e.p_value for e in estimates], fit["p"], rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose([e.ci_low for e in estimates], fit["ci_low"], **CLOSED_FORM)
    np.testing.assert_allclose([e.ci_high for e in estimates], fit["ci_high"], **CLOSED_FORM)
    np.testing.assert_allclose(result.covariance.ravel(), fit["covariance"], rtol=1e-6, atol=1e-9)
    if len(fit["b"]) > 1:
        test = result.test(np.eye(len(fit["b"]))[1:])
        np.testing.assert_allclose([test.statistic, test.p_value], [fit["QM"], fit["QM_p"]], 1e-6)
    if fit["pi"][0] is not None:
        _, _, X, Z = load(fit["set"])
        row = result.contrast(X[0], Z[0])
        np.testing.assert_allclose([row.pi_low, row.pi_high], fit["pi"], **CLOSED_FORM)


@pytest.mark.parametrize("fit", REFERENCE["fits"], ids=lambda fit: fit["name"])
def test_scale_part_agrees_with_metafor(fit):
    result = fit_reference(fit)
    estimates = result.scale.estimates()
    np.testing.assert_allclose(result.alpha, fit["alpha"], **SCALE)
    np.testing.assert_allclose(result.alpha, fit["alpha_metafor"], **METAFOR_SEARCH)
    np.testing.assert_allclose(result.tau2, fit["tau2"], **SCALE)
    np.testing.assert_allclose([e.se for e in estimates], fit["alpha_se"], **SCALE)
    np.testing.assert_allclose(result.alpha_covariance.ravel(), fit["alpha_covariance"], **SCALE)
    np.testing.assert_allclose([e.statistic for e in estimates], fit["alpha_statistic"], **SCALE)
    np.testing.assert_allclose([e.p_value for e in estimates], fit["alpha_p"], rtol=1e-5)
    np.testing.assert_allclose([e.ci_low for e in estimates], fit["alpha_ci_low"], **SCALE)
    np.testing.assert_allclose([e.ci_high for e in estimates], fit["alpha_ci_high"], **SCALE)
    # without an intercept metafor tests that all alpha are zero, we that they are equal
    if fit["QS"] is not None and fit["set"] != "bangert_cells":
        test = result.scale_test
        np.testing.assert_allclose([test.statistic, test.p_value], [fit["QS"], fit["QS_p"]], 1e-6)


@pytest.mark.parametrize("fit", REFERENCE["fits"], ids=lambda fit: fit["name"])
def test_likelihood_and_tests_agree_with_metafor(fit):
    result = fit_reference(fit)
    # the likelihood is flat at its maximum: rounding is all that differs
    np.testing.assert_allclose(result.log_likelihood, fit["log_likelihood"], rtol=1e-10)
    np.testing.assert_allclose(result.aic, fit["aic"], rtol=1e-10)
    np.testing.assert_allclose([result.Q, result.Q_p], [fit["Q"], fit["Q_p"]], rtol=1e-8)
    if len(fit["alpha"]) == 1:
        assert np.isnan(result.likelihood_ratio.p_value)
        assert result.tau2_constant == pytest.approx(result.tau2[0], rel=1e-9)
    else:
        # a difference of two log-likelihoods of about 30, each to its rounding
        ratio = result.likelihood_ratio
        assert ratio.statistic == pytest.approx(fit["lrt"], rel=1e-8, abs=1e-11)
        assert ratio.p_value == pytest.approx(fit["lrt_p"], rel=1e-6)


def test_small_sample_aic_counts_as_metafor_does():
    data = load("bcg_ablat")
    fits = [fit_location_scale(*data, restricted=restricted) for restricted in (False, True)]
    for fit, size in zip(fits, (13, 11), strict=True):
        # closed form
        assert fit.aicc == pytest.approx(-2 * fit.log_likelihood + 8 * size / (size - 5), rel=1e-12)


def test_levels_as_cells_are_the_same_model_as_levels_as_contrasts():
    cells, contrasts = (fit_location_scale(*load(f"bangert_{n}")) for n in ("cells", "meta"))
    # the search ends within rounding of the same maximum
    np.testing.assert_allclose(cells.tau2, contrasts.tau2, rtol=1e-8)
    np.testing.assert_allclose(cells.scale_test, contrasts.scale_test, rtol=1e-7)
    np.testing.assert_allclose(cells.likelihood_ratio, contrasts.likelihood_ratio, rtol=1e-8)


@pytest.mark.parametrize("restricted", [False, True])
def test_derivatives_are_those_of_the_likelihood(restricted):
    y, v, X, Z = load("bangert_two")
    Q = np.linalg.qr(X)[0]
    B = np.linalg.qr(Z)[0] * np.sqrt(len(y))
    likelihood = _Likelihood(y, v, Q, B, restricted)
    gamma, h = np.array([-1.0, 0.3, -0.5]), 1e-5
    _, gradient, hessian = likelihood.derivatives(gamma)
    for j, axis in enumerate(np.eye(3)):
        up, down = (likelihood.derivatives(gamma + s * h * axis) for s in (1, -1))
        # central differences: truncation of order h², rounding of order 1e-16 / h
        assert gradient[j] == pytest.approx((up[0] - down[0]) / (2 * h), abs=1e-8)
        np.testing.assert_allclose(hessian[j], (up[1] - down[1]) / (2 * h), atol=1e-8)


@settings(max_examples=10, deadline=None)
@given(
    shift=st.floats(-3000, 3000),
    scale=st.floats(1e-3, 1e3),
    unit=st.floats(1e-2, 1e2),
    move=st.floats(-2, 2),
)
def test_fit_follows_the_units_of_moderators_and_effects(shift, scale, unit, move):
    y, v, X, Z = load("simulated_all")
    moved = Z.copy()
    moved[:, 1] = shift + scale * (Z[:, 1] - 2000)
    one = fit_location_scale(y, v, X, Z)
    two = fit_location_scale(unit * y + move, unit**2 * v, X, moved)
    # an uncentred moderator costs digits in proportion to its mean over its spread
    np.testing.assert_allclose(two.tau2, unit**2 * one.tau2, rtol=1e-6)
    assert two.alpha[1] * scale == pytest.approx(one.alpha[1], rel=1e-6)
    assert two.likelihood_ratio.statistic == pytest.approx(one.likelihood_ratio.statistic, rel=1e-6)
    np.testing.assert_allclose(two.scale_test, one.scale_test, rtol=1e-5)
    assert two.beta[0] == pytest.approx(unit * one.beta[0] + move, rel=1e-6, abs=1e-5 * unit)


def test_order_of_studies_does_not_matter():
    y, v, X, Z = load("bangert_ni")
    order = np.random.default_rng(1).permutation(len(y))
    one, two = fit_location_scale(y, v, X, Z), fit_location_scale(*(a[order] for a in (y, v, X, Z)))
    # sums in another order
    np.testing.assert_allclose(one.tau2[order], two.tau2, rtol=1e-9)


def make(k, seed=0, tau=0.3):
    rng = np.random.default_rng(seed)
    v = 1 / rng.integers(20, 200, k)
    ones = np.ones((k, 1))
    return 0.3 + rng.normal(0, np.sqrt(v + tau**2)), v, ones, rng


def test_equal_effects_have_no_heterogeneity_to_explain():
    _, v, X, rng = make(20)
    with pytest.raises(InestimableError, match="zero for all studies"):
        fit_location_scale(np.full(20, 0.3), v, X, np.column_stack([X, rng.normal(size=20)]))


def test_level_without_heterogeneity_is_refused():
    y, v, X, _ = make(20)
    level = np.repeat([0.0, 1.0], 10)
    y[10:] = 0.3
    with pytest.raises(InestimableError, match="runs to zero for 10 of the 20 studies"):
        fit_location_scale(y, v, X, np.column_stack([X, level]))


def test_single_study_of_a_level_that_has_its_own_mean_is_refused():
    y, v, X, _ = make(12)
    alone = np.eye(12)[:, :1]
    X = np.column_stack([X, alone])
    with pytest.raises(InestimableError, match=r"flat|runs to zero"):
        fit_location_scale(y, v, X, X)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_few_effects_are_refused(k):
    y, v, X, _ = make(k)
    with pytest.raises(InestimableError):
        fit_location_scale(y, v, X, np.column_stack([X, np.arange(k), np.arange(k) ** 2]))


@pytest.mark.parametrize("column", [0.0, 1.0, 7.0])
@pytest.mark.parametrize("part", ["mean", "heterogeneity"])
def test_aliased_moderators_are_refused(part, column):
    y, v, X, _ = make(15)
    aliased = np.column_stack([X, np.full(15, column)])
    designs = (aliased, X) if part == "mean" else (X, aliased)
    with pytest.raises(InestimableError, match=f"moderators of the {part}"):
        fit_location_scale(y, v, *designs)


def test_impossible_variances_and_inference_are_refused():
    y, v, X, _ = make(15)
    with pytest.raises(InestimableError, match="positive sampling variance"):
        fit_location_scale(y, v * 0, X, X)
    with pytest.raises(SpecificationError, match="'cr2' is not available"):
        fit_location_scale(y, v, X, X, inference="cr2")


def test_dominating_study_is_fitted():
    y, v, X, rng = make(25)
    v[3] = 1e-10
    fit = fit_location_scale(y, v, X, np.column_stack([X, rng.normal(size=25)]))
    assert np.isfinite(fit.alpha).all()
    assert (fit.tau2 > 0).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(4, 14), tau=st.sampled_from([0.0, 0.05, 0.3, 2]))
def test_small_samples_are_fitted_or_refused_in_words(seed, k, tau):
    y, v, X, rng = make(k, seed, tau)
    Z = np.column_stack([X, rng.normal(size=k)])
    try:
        fit = fit_location_scale(y, v, X, Z)
    except InestimableError:
        return
    assert np.isfinite(fit.alpha).all()
    assert (np.linalg.eigvalsh(fit.alpha_covariance) > 0).all()
    # the larger model holds the smaller; rounding only
    assert fit.log_likelihood >= fit.log_likelihood_constant - 1e-9
