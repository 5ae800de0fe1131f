"""Cluster wild bootstrap tests of coefficients with dependent effects."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alliance_meta.models.permutation import (
    Progress,
    ResamplingTest,
    compare_signs,
    wald_statistics,
)
from alliance_meta.models.robust import ClusterRobust
from alliance_meta.models.specification import InestimableError

Array = NDArray[np.float64]

# residuals below this share of the largest effect are rounding only
NO_RESIDUAL = 1e-13


@dataclass(frozen=True)
class _NullFit:
    """What replicates under one null hypothesis need, for contrasts C of q rows.

    Attributes
    ----------
    steps
        ``(WX)_j'e_j`` of the restricted residuals e, shape (m, p): replicates move the
        coefficients by M times the signed sum.
    rows
        ``C M``, shape (q, p).
    scores
        ``C M E_j'e_j``, shape (m, q).
    leverages
        ``C M (X_j'E_j)' M``, shape (m, q, p).
    """

    steps: Array
    rows: Array
    scores: Array
    leverages: Array

    def statistics(self, signs: Array) -> Array:
        """Return t of one contrast or Wald / q of several, shape (B,), for signs (B, m)."""
        moved = signs @ self.steps
        values = moved @ self.rows.T
        m, q, p = self.leverages.shape
        scores = signs[:, :, None] * self.scores
        scores -= (moved @ self.leverages.reshape(m * q, p).T).reshape(-1, m, q)
        if q == 1:
            scores = scores[:, :, 0]
            variances = np.vecdot(scores, scores)
            single: Array = values[:, 0] / np.sqrt(np.where(variances > 0, variances, np.nan))
            return single
        return wald_statistics(values, scores.swapaxes(1, 2) @ scores) / q


def wild_cluster_bootstrap(
    y: Array,
    X: Array,
    robust: ClusterRobust,
    clusters: NDArray[np.intp],
    contrasts: Iterable[Array],
    *,
    replications: int,
    seed: int,
    progress: Progress | None = None,
) -> ResamplingTest:
    """Test contrasts by flipping the signs of whole studies' residuals.

    Parameters
    ----------
    y
        Effects, shape (k,).
    X
        Design of the fit, shape (k, p); the contrasts are of its coefficients.
    robust
        CR2 inference of the fit, with its bread, blocks and designs.
    clusters
        Cluster number of each effect (0, 1, … without gaps), shape (k,).
    contrasts
        Sets of contrasts, each tested for itself: shapes (p,) or (q, p), of full row rank.
    replications
        Number of random sign patterns; if no more than these exist, each is taken once and
        the test is exact up to the estimation of the residuals.
    seed, progress
        As for ``permute_moderators``.

    Returns
    -------
    ResamplingTest
        One statistic a set, in their order.

    Raises
    ------
    InestimableError
        With a single cluster, no more effects than coefficients, or no residuals.

    Notes
    -----
    Cameron, Gelbach & Miller (2008), Joshi, Pustejovsky & Beretvas (2022): residuals of the
    fit under the null hypothesis, one Rademacher sign per study, and in each replicate the
    CR2 statistic, with the working weights W and adjustments A of the fit. With
    ``E = A W X``, ``M = (X'WX)⁻¹`` and b₀ the coefficients under the null, the replicate
    ``y* = X b₀ + η e₀`` has ``b* = b₀ + M Σ η_j (WX)_j'e_j`` and in study j the score
    ``η_j E_j'e_j − (X_j'E_j)'(b* − b₀)``.
    """
    k, p = X.shape
    m = robust.n_clusters
    if m < 2:
        raise InestimableError("a bootstrap of whole studies needs at least two studies")
    if k <= p:
        raise InestimableError(f"{k} effects cannot test {p} coefficients by a bootstrap")
    fitted = robust.bread @ (robust.weighted_design.T @ y)
    if np.abs(y - X @ fitted).max() <= NO_RESIDUAL * np.abs(y).max():
        raise InestimableError(
            "the coefficients fit every effect perfectly, which leaves no standard error"
        )
    nulls = [
        _fit_null(y, X, robust, clusters, fitted, np.atleast_2d(contrast)) for contrast in contrasts
    ]

    def evaluate(signs: Array) -> Array:
        return np.column_stack([null.statistics(signs) for null in nulls])

    return compare_signs(evaluate, m, replications, seed, progress, method="wild_bootstrap")


def _fit_null(
    y: Array,
    X: Array,
    robust: ClusterRobust,
    clusters: NDArray[np.intp],
    fitted: Array,
    contrasts: Array,
) -> _NullFit:
    """Fit under ``C b = 0`` and prepare its replicates."""
    bread = robust.bread
    # a test is the same for any basis of its contrasts; an orthonormal one keeps digits
    scaled = contrasts / np.linalg.norm(contrasts, axis=1, keepdims=True)
    if len(scaled) > 1:
        scaled = np.linalg.qr(scaled.T)[0].T
    rows = scaled @ bread
    null = fitted - rows.T @ np.linalg.solve(rows @ scaled.T, scaled @ fitted)
    residuals = y - X @ null
    steps = _sum_by_cluster(robust.weighted_design * residuals[:, None], clusters)
    scores = _sum_by_cluster(robust.adjusted_design * residuals[:, None], clusters)
    leverages = rows @ robust.design_blocks.swapaxes(1, 2) @ bread
    return _NullFit(steps, rows, scores @ rows.T, leverages)


def _sum_by_cluster(values: Array, clusters: NDArray[np.intp]) -> Array:
    """Return the sums of rows of each cluster, shape (m, p)."""
    return np.column_stack([np.bincount(clusters, column) for column in values.T])
