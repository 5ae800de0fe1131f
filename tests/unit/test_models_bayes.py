"""The Bayesian read-out against numerical integration in R, and properties any posterior has."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from alliance_meta.models.bayes import MuPrior, TauPrior, read_posterior
from alliance_meta.models.specification import InestimableError, SpecificationError

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "bayes.json").read_text(encoding="utf-8")
)
# R's nested quadrature, each layer to 1e-12 of its own integral, and ends by root finding
QUADRATURE = {"rtol": 1e-10, "atol": 1e-11}
# R finds the mode by golden section, which stops near the root of machine precision
GOLDEN_SECTION = {"rtol": 1e-6, "atol": 1e-6}
HALF_NORMAL = TauPrior("half_normal", 0.3)


def columns(marginal):
    return np.array(dataclasses.astuple(marginal))


def finite(values):
    """R's list without what does not exist, and where that is."""
    kept = np.array([value is not None for value in values])
    return np.array([value for value in values if value is not None]), kept


@pytest.mark.parametrize("fit", REFERENCE["fits"], ids=lambda fit: fit["name"])
def test_posterior_agrees_with_quadrature_in_r(fit):
    data = REFERENCE["sets"][fit["set"]]
    prior = TauPrior(fit["family"], fit["scale"])
    mu_prior = MuPrior() if fit["mu_sd"] is None else MuPrior(0.0, fit["mu_sd"])
    result = read_posterior(
        data["y"], data["v"], prior, thresholds=fit["thresholds"], mu_prior=mu_prior
    )
    for name, marginal in (
        ("mu", result.mu),
        ("tau", result.tau),
        ("prediction", result.prediction),
        ("first", result.studies[0]),
    ):
        expected, kept = finite(fit[name])
        np.testing.assert_allclose(
            columns(marginal)[: len(kept)][kept], expected, err_msg=name, **QUADRATURE
        )
        assert not np.isfinite(columns(marginal)[: len(kept)][~kept]).any()
    np.testing.assert_allclose(result.tau_mode, fit["tau_mode"], **GOLDEN_SECTION)
    np.testing.assert_allclose(result.mu_above, fit["mu_above"], **QUADRATURE)
    np.testing.assert_allclose(result.prediction_above, fit["prediction_above"], **QUADRATURE)


@pytest.mark.parametrize("fit", REFERENCE["fits"], ids=lambda fit: fit["name"])
def test_densities_for_plots_agree_with_quadrature_in_r(fit):
    data = REFERENCE["sets"][fit["set"]]
    prior = TauPrior(fit["family"], fit["scale"])
    mu_prior = MuPrior() if fit["mu_sd"] is None else MuPrior(0.0, fit["mu_sd"])
    result = read_posterior(data["y"], data["v"], prior, mu_prior=mu_prior)
    # linear interpolation between 201 points, relative to the highest
    for name in ("mu", "tau"):
        grid, density = getattr(result, f"{name}_grid"), getattr(result, f"{name}_density")
        at, expected = np.array(fit[f"{name}_at"]), np.array(fit[f"{name}_density"])
        shown = at <= grid[-1]
        assert (expected[~shown] < 0.005 * density.max()).all()
        drawn = np.interp(at[shown], grid, density)
        np.testing.assert_allclose(drawn, expected[shown], atol=1e-3 * density.max())


@st.composite
def problems(draw):
    k = draw(st.integers(1, 9))
    y = draw(st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=k, max_size=k))
    n = draw(st.lists(st.integers(8, 2000), min_size=k, max_size=k))
    family = draw(st.sampled_from(["half_normal", "half_cauchy", "uniform"][: 2 if k < 3 else 3]))
    return np.array(y), 1 / (np.array(n) - 3.0), TauPrior(family, draw(st.floats(0.01, 2)))


@settings(max_examples=15, deadline=None)
@given(problem=problems(), shift=st.floats(-5, 5), scale=st.floats(0.01, 100))
def test_posterior_follows_shift_and_unit_of_the_effects(problem, shift, scale):
    y, v, prior = problem
    one = read_posterior(y, v, prior, thresholds=[0.1])
    moved = TauPrior(prior.family, prior.scale * scale)
    limit = scale * 0.1 + shift
    two = read_posterior(scale * y + shift, scale**2 * v, moved, thresholds=[limit])
    # the panels differ, the integrals are exact to about 1e-11
    close = {"rtol": 1e-7, "atol": 1e-8 * (scale + abs(shift))}
    shifts = np.array([shift, 0, shift, shift, shift, shift, shift])
    for a, b in (
        (one.mu, two.mu),
        (one.prediction, two.prediction),
        (one.studies[0], two.studies[0]),
    ):
        np.testing.assert_allclose(columns(b), scale * columns(a) + shifts, **close)
    np.testing.assert_allclose(columns(two.tau), scale * columns(one.tau), rtol=1e-7)
    np.testing.assert_allclose(two.mu_above, one.mu_above, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(problem=problems(), level=st.floats(0.5, 0.98))
def test_intervals_are_nested_and_the_shortest_is_shortest(problem, level):
    y, v, prior = problem
    inner = read_posterior(y, v, prior, ci_level=level)
    outer = read_posterior(y, v, prior, ci_level=level + 0.015)
    for a, b in zip(
        (inner.mu, inner.tau, inner.prediction, *inner.studies),
        (outer.mu, outer.tau, outer.prediction, *outer.studies),
        strict=True,
    ):
        assert b.central_low < a.central_low < a.median < a.central_high < b.central_high
        # one mode or not, more probability needs more room
        assert b.shortest_high - b.shortest_low > a.shortest_high - a.shortest_low
        length = a.central_high - a.central_low
        assert a.shortest_high - a.shortest_low <= length * (1 + 1e-9)  # root finding


@settings(max_examples=15, deadline=None)
@given(problem=problems())
def test_probabilities_fall_in_the_threshold_and_match_the_intervals(problem):
    y, v, prior = problem
    first = read_posterior(y, v, prior)
    limits = np.array([-50, -1, first.mu.central_low, first.mu.median, first.mu.central_high, 50])
    limits.sort()
    result = read_posterior(y, v, prior, thresholds=limits)
    assert (np.diff(result.mu_above) <= 1e-12).all()
    assert (np.diff(result.prediction_above) <= 1e-12).all()
    at = dict(zip(limits, result.mu_above, strict=True))
    # root finding in the mixture
    assert at[first.mu.median] == pytest.approx(0.5, abs=1e-9)
    assert at[first.mu.central_low] - at[first.mu.central_high] == pytest.approx(0.95, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(problem=problems())
def test_studies_shrink_towards_the_mean(problem):
    y, v, prior = problem
    result = read_posterior(y, v, prior)
    assert ((result.shrinkage >= 0) & (result.shrinkage <= 1)).all()
    assert (result.tau_density >= 0).all()
    for grid, density in (
        (result.tau_grid, result.tau_density),
        (result.mu_grid, result.mu_density),
    ):
        assert (density[[0, -1]] <= density.max()).all()
        # heavy tails leave some hundredths beyond what is visible; 201 points
        assert 0.85 < np.trapezoid(density, grid) < 1.01


@pytest.mark.parametrize("family", ["half_normal", "half_cauchy"])
def test_vanishing_prior_of_tau_gives_the_common_effect(family):
    y, v = np.array([0.2, 0.5, 0.1, 0.4]), np.array([0.01, 0.03, 0.02, 0.05])
    w = 1 / v
    common, se = w @ y / w.sum(), w.sum() ** -0.5
    result = read_posterior(y, v, TauPrior(family, 1e-9))
    # the half-Cauchy keeps a tail of weight 1e-9 / se beyond
    assert result.mu.median == pytest.approx(common, abs=1e-7)
    assert result.mu.central_low == pytest.approx(common - stats.norm.isf(0.025) * se, rel=1e-6)
    assert result.studies[1].central_high == pytest.approx(
        common + stats.norm.isf(0.025) * se, rel=1e-6
    )
    assert result.shrinkage == pytest.approx(np.ones(4), abs=1e-7)


def test_one_study_returns_the_prior_of_tau():
    result = read_posterior([0.4], [0.01], HALF_NORMAL)
    prior = stats.halfnorm(scale=0.3)
    # quadrature and root finding
    assert result.tau.mean == pytest.approx(prior.mean(), rel=1e-10)
    assert result.tau.sd == pytest.approx(prior.std(), rel=1e-10)
    assert result.tau.central_high == pytest.approx(prior.ppf(0.975), rel=1e-10)
    assert (result.tau.shortest_low, result.tau_mode) == (0, 0)
    assert result.tau.shortest_high == pytest.approx(prior.ppf(0.95), rel=1e-10)
    assert result.studies[0].sd == pytest.approx(0.1, rel=1e-10)
    assert result.mu.sd == pytest.approx(np.sqrt(0.01 + 0.09), rel=1e-10)


def test_moments_that_do_not_exist_are_not_reported():
    y, v = [0.1, 0.5, 0.2, 0.9, 0.4], [0.01] * 5
    one = read_posterior(y[:1], v[:1], TauPrior("half_cauchy", 0.3))
    assert np.isnan(one.mu.mean)
    assert one.tau.mean == one.mu.sd == np.inf
    two = read_posterior(y[:2], v[:2], TauPrior("half_cauchy", 0.3))
    assert np.isfinite(two.tau.mean)
    assert two.tau.sd == two.prediction.sd == np.inf
    three, four, five = (read_posterior(y[:k], v[:k], TauPrior("uniform")) for k in (3, 4, 5))
    assert three.tau.mean == np.inf
    assert np.isfinite(three.mu.central_high)
    assert np.isfinite(four.tau.mean)
    assert four.tau.sd == np.inf
    assert np.isfinite(five.tau.sd)


@pytest.mark.parametrize("k", [1, 2])
def test_uniform_prior_needs_three_studies(k):
    with pytest.raises(InestimableError, match="at least 3 studies"):
        read_posterior([0.1, 0.3][:k], [0.01, 0.02][:k], TauPrior("uniform"))


def test_uniform_prior_needs_two_studies_if_the_mean_has_a_prior():
    proper = MuPrior(0.0, 1.0)
    with pytest.raises(InestimableError, match="at least 2 studies"):
        read_posterior([0.1], [0.01], TauPrior("uniform"), mu_prior=proper)
    result = read_posterior([0.1, 0.3], [0.01, 0.02], TauPrior("uniform"), mu_prior=proper)
    assert np.isfinite(result.mu.sd)
    assert result.tau.mean == np.inf


def test_tight_prior_of_the_mean_wins():
    result = read_posterior([0.4, 0.6], [0.01, 0.02], HALF_NORMAL, mu_prior=MuPrior(0.1, 1e-6))
    # the prior is some 1e5 times as precise as the data
    assert result.mu.median == pytest.approx(0.1, abs=1e-8)


@pytest.mark.parametrize("family", ["half_normal", "half_cauchy", "uniform"])
def test_equal_effects(family):
    result = read_posterior(np.full(6, 0.3), np.full(6, 0.02), TauPrior(family, 0.3))
    # symmetric about the common value
    assert result.mu.median == pytest.approx(0.3, abs=1e-12)
    assert result.mu.mean == pytest.approx(0.3, abs=1e-12)
    assert result.tau_mode == 0
    for study in result.studies:
        assert study.shortest_low + study.shortest_high == pytest.approx(0.6, abs=1e-9)


def test_awkward_variances_are_integrated_exactly():
    # one study dominates, one is an outlier by 40 of its own standard errors
    y, v = np.array([0.1, 0.3, 0.9, 0.2]), np.array([1e-8, 0.04, 4e-4, 0.09])
    result = read_posterior(y, v, TauPrior("half_normal", 0.2))

    def density(tau):
        total = v + tau**2
        w = 1 / total
        mean = w @ y / w.sum()
        return np.exp(
            -0.5 * (np.log(total).sum() + np.log(w.sum()) + w @ (y - mean) ** 2 + tau**2 / 0.04)
        )

    options = {"epsabs": 0, "epsrel": 1e-11, "limit": 500, "points": [1e-4, 0.05, 0.2, 0.4, 1]}
    total = integrate.quad(density, 0, 3, **options)[0]
    mean = integrate.quad(lambda tau: tau * density(tau), 0, 3, **options)[0] / total
    # quad's own tolerance
    assert result.tau.mean == pytest.approx(mean, rel=1e-9)
    below = integrate.quad(density, 0, result.tau.median, epsabs=0, epsrel=1e-11, limit=500)[0]
    assert below / total == pytest.approx(0.5, abs=1e-8)


def test_shortest_interval_of_a_posterior_with_two_modes():
    # the prior of tau puts the study either with the others or by itself
    y = np.array([0.0] * 12 + [1.1])
    v = np.array([1e-3] * 12 + [0.05])
    result = read_posterior(y, v, TauPrior("half_cauchy", 0.02), ci_level=0.8)
    for marginal in (result.studies[-1], result.mu, result.tau):
        assert marginal.shortest_low < marginal.shortest_high
        width = marginal.central_high - marginal.central_low
        assert marginal.shortest_high - marginal.shortest_low <= width


def test_impossible_input_is_refused():
    with pytest.raises(InestimableError, match="positive sampling variance"):
        read_posterior([0.1, 0.2], [0.01, 0.0], HALF_NORMAL)
    with pytest.raises(InestimableError, match="positive sampling variance"):
        read_posterior([], [], HALF_NORMAL)
    with pytest.raises(SpecificationError, match="not a prior of tau"):
        TauPrior("gamma", 1.0)
    for scale in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(SpecificationError, match="must be positive"):
            TauPrior("half_cauchy", scale)
    with pytest.raises(SpecificationError, match="positive sd"):
        MuPrior(0.0, 0.0)
