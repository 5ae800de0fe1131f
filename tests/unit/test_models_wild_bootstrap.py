"""The cluster wild bootstrap against plain loops that refit every replicate."""

from itertools import product

import numpy as np
import pytest

from alliance_meta.models.robust import ClusterRobust
from alliance_meta.models.specification import InestimableError
from alliance_meta.models.wild_bootstrap import wild_cluster_bootstrap


def plain_robust(X, clusters, phi):
    """Compute bread, blocks and designs of CR2 cluster by cluster, with a full Φ."""
    weighted = np.linalg.solve(phi, X)
    bread = np.linalg.inv(X.T @ weighted)
    adjusted = np.empty_like(X)
    m = clusters.max() + 1
    design_blocks = np.empty((m, X.shape[1], X.shape[1]))
    for j in range(m):
        rows = np.flatnonzero(clusters == j)
        block = phi[np.ix_(rows, rows)]
        root = np.linalg.cholesky(block).T
        B = root @ (block - X[rows] @ bread @ X[rows].T) @ root.T
        values, vectors = np.linalg.eigh(B)
        power = [1 / np.sqrt(value) if value > 1e-10 * values.max() else 0 for value in values]
        A = root.T @ (vectors * power) @ vectors.T @ root
        adjusted[rows] = A @ weighted[rows]
        design_blocks[j] = X[rows].T @ adjusted[rows]
    zeros = np.zeros_like(bread)
    return ClusterRobust(
        zeros, bread, np.zeros_like(design_blocks), design_blocks, weighted, adjusted
    )


def simulate(sizes, seed, effect=0.0):
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    k = len(clusters)
    X = np.column_stack([np.ones(k), rng.integers(0, 2, k), rng.normal(size=k)])
    y = effect * X[:, 1] + rng.normal(0, 0.2, len(sizes))[clusters] + rng.normal(0, 0.2, k)
    same = clusters[:, None] == clusters
    phi = 0.03 * same + np.diag(rng.uniform(0.01, 0.1, k))
    return y, X, clusters, phi


def statistic(y, X, clusters, robust, contrasts):
    """Return t, or Wald / q, of one data set."""
    b = robust.bread @ robust.weighted_design.T @ y
    scores = robust.adjusted_design * (y - X @ b)[:, None]
    sums = np.array([scores[clusters == j].sum(axis=0) for j in range(clusters.max() + 1)])
    covariance = robust.bread @ sums.T @ sums @ robust.bread
    value, spread = contrasts @ b, contrasts @ covariance @ contrasts.T
    if len(contrasts) == 1:
        return value[0] / np.sqrt(spread[0, 0])
    return value @ np.linalg.solve(spread, value) / len(contrasts)


def restricted_fit(y, X, phi, contrasts):
    """Fit by GLS with ``C b = 0`` on the columns that this leaves free."""
    free = np.linalg.svd(contrasts)[2][len(contrasts) :].T
    Z = X @ free
    weighted = np.linalg.solve(phi, Z)
    return Z @ np.linalg.solve(Z.T @ weighted, weighted.T @ y)


SETS = [
    np.eye(3)[:1],
    np.eye(3)[1:2],
    np.array([[1.0, 0.5, -2.0]]),
    np.eye(3)[1:],
]


def test_all_sign_patterns_agree_with_a_plain_loop():
    y, X, clusters, phi = simulate([1, 3, 2, 4, 2, 3, 1], seed=1, effect=0.3)
    robust = plain_robust(X, clusters, phi)
    result = wild_cluster_bootstrap(y, X, robust, clusters, SETS, replications=128, seed=1)
    assert result.exact
    assert result.permutations == 128
    assert result.method == "wild_bootstrap"
    for number, contrasts in enumerate(SETS):
        observed = statistic(y, X, clusters, robust, contrasts)
        # the same sums in another order
        np.testing.assert_allclose(result.statistics[number], observed, rtol=1e-9)
        null = restricted_fit(y, X, phi, contrasts)
        replicates = [
            statistic(null + np.array(signs)[clusters] * (y - null), X, clusters, robust, contrasts)
            for signs in product([1, -1], repeat=7)
        ]
        # ties differ by rounding
        extreme = np.abs(replicates) >= abs(observed) - 1e-8
        assert result.p_values[number] == extreme.mean()


def test_random_signs_approach_all_patterns():
    y, X, clusters, phi = simulate([2, 3, 2, 4, 2, 3, 1, 2, 2, 3], seed=2, effect=0.1)
    robust = plain_robust(X, clusters, phi)
    exact = wild_cluster_bootstrap(y, X, robust, clusters, SETS, replications=1024, seed=1)
    calls = []
    some = wild_cluster_bootstrap(
        y,
        X,
        robust,
        clusters,
        SETS,
        replications=1000,
        seed=1,
        progress=lambda *call: calls.append(call),
    )
    assert exact.exact
    assert not some.exact
    assert calls[-1] == (1000, 1000)
    # standard error √(p(1 − p)/1000) is at most 0.016
    np.testing.assert_allclose(some.p_values, exact.p_values, atol=0.06)
    again = wild_cluster_bootstrap(y, X, robust, clusters, SETS, replications=1000, seed=1)
    np.testing.assert_array_equal(again.p_values, some.p_values)


def test_a_single_contrast_may_be_a_plain_row_and_its_scale_is_irrelevant():
    y, X, clusters, phi = simulate([2, 3, 2, 4, 2, 3], seed=3)
    robust = plain_robust(X, clusters, phi)
    sets = [np.eye(3)[1], 1000 * np.eye(3)[1:2]]
    result = wild_cluster_bootstrap(y, X, robust, clusters, sets, replications=64, seed=1)
    assert result.statistics[0] == pytest.approx(result.statistics[1], rel=1e-12)
    assert result.p_values[0] == result.p_values[1]


def test_p_values_of_random_signs_are_never_zero():
    y, X, clusters, phi = simulate([3] * 25, seed=4, effect=5.0)
    robust = plain_robust(X, clusters, phi)
    result = wild_cluster_bootstrap(y, X, robust, clusters, [np.eye(3)[1]], replications=99, seed=1)
    assert result.p_values[0] == 1 / 100


def test_more_contrasts_than_studies_give_no_statistic():
    y, X, clusters, phi = simulate([4, 5], seed=5)
    robust = plain_robust(X, clusters, phi)
    result = wild_cluster_bootstrap(y, X, robust, clusters, [np.eye(3)], replications=4, seed=1)
    assert np.isnan(result.statistics[0])
    assert np.isnan(result.p_values[0])


def test_too_few_studies_or_effects_are_refused():
    y, X, clusters, phi = simulate([6], seed=6)
    robust = plain_robust(X, clusters, phi)
    with pytest.raises(InestimableError, match="two studies"):
        wild_cluster_bootstrap(y, X, robust, clusters, SETS, replications=9, seed=1)
    y, X, clusters, phi = simulate([1, 1, 1], seed=7)
    X = np.vander(np.arange(3.0))
    robust = plain_robust(X, clusters, phi)
    with pytest.raises(InestimableError, match="3 effects cannot test 3"):
        wild_cluster_bootstrap(y, X, robust, clusters, SETS, replications=9, seed=1)


def test_effects_without_residuals_are_refused():
    _, X, clusters, phi = simulate([2, 3, 2, 4], seed=8)
    robust = plain_robust(X, clusters, phi)
    for y in (np.full(len(X), 0.3), X @ [0.2, -0.1, 0.4], np.zeros(len(X))):
        with pytest.raises(InestimableError, match="perfectly"):
            wild_cluster_bootstrap(y, X, robust, clusters, SETS, replications=9, seed=1)


def test_moderators_without_effect_are_rarely_significant():
    p_values = []
    for seed in range(200):
        y, X, clusters, phi = simulate([2, 3, 2, 4, 2, 3, 1, 2], seed=seed)
        robust = plain_robust(X, clusters, phi)
        sets = [np.eye(3)[1], np.eye(3)[1:]]
        result = wild_cluster_bootstrap(y, X, robust, clusters, sets, replications=256, seed=1)
        p_values.append(result.p_values)
    # of 200, a share of 0.05 with standard error 0.015
    rejected = (np.array(p_values) <= 0.05).mean(axis=0)
    assert (rejected < 0.1).all()
    assert (rejected > 0.005).all()
