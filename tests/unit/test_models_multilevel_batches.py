"""Batches of multilevel fits equal the fits one by one."""

import numpy as np
import pytest

from alliance_meta.models.multilevel import build_structure, fit_multilevel, generalised_residual
from alliance_meta.models.multilevel_batches import fit_multilevel_batch
from alliance_meta.models.pooling import estimable_components


def make(seed, m=25, tau=0.15, omega=0.1, p=1):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, m)
    studies = np.repeat(np.arange(m), sizes)
    k = len(studies)
    samples = 2 * studies + (rng.random(k) < 0.3)
    samples = np.unique(samples, return_inverse=True)[1]
    v = 1 / rng.integers(20, 200, k).astype(float)
    y = 0.3 + rng.normal(0, tau, m)[studies] + rng.normal(0, omega, k) + rng.normal(0, np.sqrt(v))
    X = np.column_stack([np.ones(k), *(rng.normal(size=k) for _ in range(p - 1))])
    return y, v, np.linalg.qr(X)[0], studies, samples


def alone(y, v, X, studies, samples, keep, rho, restricted):
    y, v, X = y[keep], v[keep], X[keep]
    studies, samples = (np.unique(c[keep], return_inverse=True)[1] for c in (studies, samples))
    structure = build_structure(studies, samples)
    free = estimable_components(studies, np.zeros(len(y), dtype=np.intp))
    fit = fit_multilevel(y, v, X, structure, rho=rho, restricted=restricted, free=free)
    return fit, generalised_residual(y, v, X, structure, rho)


@pytest.mark.parametrize("restricted", [True, False])
@pytest.mark.parametrize(("rho", "p"), [(0.0, 1), (0.6, 1), (0.6, 3)])
@pytest.mark.parametrize(("tau", "omega"), [(0.15, 0.1), (0.0, 0.1), (0.2, 0.0), (0.0, 0.0)])
def test_batch_equals_single_fits(restricted, rho, p, tau, omega):
    y, v, X, studies, samples = make(7, tau=tau, omega=omega, p=p)
    keep = np.random.default_rng(3).random((12, len(y))) < 0.7
    keep[0] = True
    structure = build_structure(studies, samples)
    batch = fit_multilevel_batch(y, v, X, structure, keep, rho=rho, restricted=restricted)
    assert not batch.failed.any()
    for b, rows in enumerate(keep):
        fit, (Q, typical) = alone(y, v, X, studies, samples, rows, rho, restricted)
        # both searches stop when a step is below 1e-9 of the larger variance
        np.testing.assert_allclose(batch.theta[b], fit.theta, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(batch.coefficients[b], fit.coefficients, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(batch.bread[b], fit.bread, rtol=1e-6, atol=1e-11)
        # closed forms: rounding only
        np.testing.assert_allclose(batch.Q[b], Q, rtol=1e-9)
        np.testing.assert_allclose(batch.typical_variance[b], typical, rtol=1e-9)


def test_effects_variances_and_rho_may_differ_between_fits():
    y, v, X, studies, samples = make(11)
    rng = np.random.default_rng(5)
    Y, V = y + rng.normal(0, 0.05, (6, len(y))), v * rng.uniform(0.5, 2, (6, len(y)))
    rho = np.linspace(0, 0.9, 6)
    keep = np.ones(Y.shape, dtype=bool)
    structure = build_structure(studies, samples)
    batch = fit_multilevel_batch(Y, V, X, structure, keep, rho=rho, restricted=True)
    for b in range(6):
        fit, _ = alone(Y[b], V[b], X, studies, samples, keep[b], rho[b], True)
        # as above
        np.testing.assert_allclose(batch.theta[b], fit.theta, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(batch.coefficients[b], fit.coefficients, rtol=1e-7)


def test_climbing_from_all_rows_finds_the_same_maximum():
    y, v, X, studies, samples = make(2)
    structure = build_structure(studies, samples)
    keep = studies[None, :] != np.arange(studies.max() + 1)[:, None]
    searched = fit_multilevel_batch(y, v, X, structure, keep, rho=0.6, restricted=True)
    start = searched.theta.mean(axis=0)
    warm = fit_multilevel_batch(y, v, X, structure, keep, rho=0.6, restricted=True, start=start)
    # two searches that each stop at a step of 1e-9
    np.testing.assert_allclose(warm.theta, searched.theta, rtol=1e-6, atol=1e-9)


def test_parts_that_cannot_be_fitted_are_marked():
    y, v, _, studies, samples = make(4)
    group = (studies == 0).astype(float)
    X = np.linalg.qr(np.column_stack([np.ones(len(y)), group]))[0]
    structure = build_structure(studies, samples)
    keep = np.array([studies != 0, studies < 2, studies >= 0])
    batch = fit_multilevel_batch(y, v, X, structure, keep, rho=0.6, restricted=True)
    assert batch.failed.tolist() == [True, True, False]
    assert np.isnan(batch.coefficients[:2]).all()
    assert np.isfinite(batch.coefficients[2]).all()


def test_variances_that_a_part_cannot_tell_apart_are_not_free():
    y, v, X, studies, samples = make(4)
    first = np.unique(studies, return_index=True)[1]
    keep = np.zeros((1, len(y)), dtype=bool)
    keep[0, first] = True
    structure = build_structure(studies, samples)
    batch = fit_multilevel_batch(y, v, X, structure, keep, rho=0.6, restricted=True)
    assert batch.free.tolist() == [[True, False]]
    assert batch.theta[0, 1] == 0


def test_several_intercepts_in_a_block_are_refused():
    y, v, X, studies, _ = make(4)
    structure = build_structure(studies, np.zeros(len(y), dtype=np.intp))
    keep = np.ones((1, len(y)), dtype=bool)
    with pytest.raises(ValueError, match="one random intercept"):
        fit_multilevel_batch(y, v, X, structure, keep, rho=0.6, restricted=True)
