"""Cluster-robust (CR2) inference with Satterthwaite and HTZ degrees of freedom."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

# a cluster that leaves less than this share of a direction fits it perfectly
PERFECT_FIT = 1e-9


class WaldTest(NamedTuple):
    """A test of several coefficients: F statistic, its two df, p-value."""

    statistic: float
    df1: float
    df2: float
    p_value: float


@dataclass(frozen=True)
class ClusterRobust:
    """CR2 covariance of a weighted least-squares fit, ready for any contrast.

    Attributes
    ----------
    covariance
        CR2 covariance of the coefficients, shape (p, p).
    bread
        Model-based covariance ``(X'WX)⁻¹``, shape (p, p).
    variance_blocks, design_blocks
        Per cluster ``E'ΦE`` and ``X'E`` with ``E = A W X``, shape (m, p, p). All that
        the degrees of freedom need, so their cost grows linearly in the clusters.
    weighted_design, adjusted_design
        ``W X`` and ``E``, rows in the order of the data, shape (k, p).
    """

    covariance: Array
    bread: Array
    variance_blocks: Array
    design_blocks: Array
    weighted_design: Array
    adjusted_design: Array

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return int(self.variance_blocks.shape[0])

    def moments(self, contrasts: Array) -> tuple[Array, Array]:
        """Return mean and variance of the robust covariance of some contrasts.

        Both are taken under the working model, in which the residual covariance is Φ.

        Parameters
        ----------
        contrasts
            Shape (q, p).

        Returns
        -------
        expectation, variance
            Shape (q, q) each: moments of every element of ``C V C'``.
        """
        c = self.bread @ contrasts.T
        f = c.T @ self.variance_blocks @ c
        root = np.linalg.cholesky(self.bread)
        beta = np.swapaxes(root.T @ (self.design_blocks @ c), 1, 2)
        dots = beta @ np.swapaxes(beta, 1, 2)
        expectation = (f - dots).sum(axis=0)

        cross = np.tensordot(beta, beta, axes=(0, 0)).transpose(0, 2, 1, 3)
        f_diagonal = np.einsum("mss->ms", f)
        dot_diagonal = np.einsum("mss->ms", dots)
        variance = (
            f_diagonal.T @ f_diagonal
            - f_diagonal.T @ dot_diagonal
            - dot_diagonal.T @ f_diagonal
            + np.einsum("stab,stab->st", cross, cross)
            + np.einsum("mst,mst->st", f, f)
            - 2 * np.einsum("mst,mst->st", f, dots)
            + np.einsum("stab,tsab->st", cross, cross)
        )
        return expectation, variance

    def standard_error(self, contrast: Array) -> float:
        """Return the standard error of one contrast, shape (p,)."""
        return math.sqrt(max(float(contrast @ self.covariance @ contrast), 0.0))

    def degrees_of_freedom(self, contrast: Array) -> float:
        """Return the Satterthwaite degrees of freedom of one contrast.

        Notes
        -----
        Bell & McCaffrey (2002); Tipton (2015).
        """
        expectation, variance = self.moments(np.atleast_2d(contrast))
        return float(2 * expectation[0, 0] ** 2 / variance[0, 0])

    def wald_test(self, estimates: Array, contrasts: Array) -> WaldTest:
        """Test that all contrasts are zero by approximate Hotelling's T² (HTZ).

        Parameters
        ----------
        estimates
            Contrast estimates ``C b``, shape (q,).
        contrasts
            ``C``, shape (q, p), of full row rank.

        Notes
        -----
        Tipton & Pustejovsky (2015); the degrees of freedom match the total variance of
        the standardised robust covariance (their "HTZ").
        """
        q = contrasts.shape[0]
        # the model-based covariance, but where a cluster is fitted perfectly
        omega, _ = self.moments(contrasts)
        values, vectors = np.linalg.eigh(omega)
        if values[0] <= 1e-12 * values[-1]:
            return WaldTest(np.nan, float(q), np.nan, np.nan)
        standardised = (vectors / np.sqrt(values)) @ vectors.T @ contrasts
        _, variance = self.moments(standardised)
        eta = q * (q + 1) / variance.sum()
        wald = float(
            estimates @ np.linalg.solve(contrasts @ self.covariance @ contrasts.T, estimates)
        )
        df2 = eta - q + 1
        if df2 <= 0:
            return WaldTest(np.nan, float(q), float(df2), np.nan)
        statistic = (eta - q + 1) / (eta * q) * wald
        return WaldTest(statistic, float(q), float(df2), float(stats.f.sf(statistic, q, df2)))


def cluster_robust(
    X: Array,
    residuals: Array,
    clusters: NDArray[np.intp],
    working: Callable[[NDArray[np.intp]], Array],
) -> ClusterRobust:
    """Compute the CR2 sandwich of a fit with weights ``W = Φ⁻¹``.

    Parameters
    ----------
    X
        Design, shape (k, p), of full column rank.
    residuals
        ``y − Xb``, shape (k,).
    clusters
        Cluster number of each row (0, 1, … without gaps), shape (k,).
    working
        Gives the working covariance Φ among some rows: takes rows of shape (m, n), n rows of
        each of m clusters, and returns shape (m, n, n).

    Returns
    -------
    ClusterRobust

    Notes
    -----
    Pustejovsky & Tipton (2018): ``A = D' B^{+1/2} D`` with ``Φ = D'D`` and
    ``B = D (Φ − X M X') D'``. Directions that the cluster fits perfectly get weight 0.
    Clusters of one size are computed together.
    """
    p = X.shape[1]
    groups = _group_by_size(clusters)
    covariances = [working(rows) for _, rows in groups]
    weighted = np.empty_like(X)
    information = np.zeros((p, p))
    for (_, rows), phi in zip(groups, covariances, strict=True):
        weighted[rows] = np.linalg.solve(phi, X[rows])
        flat = rows.ravel()
        information += X[flat].T @ weighted[flat]
    bread = np.linalg.inv(information)
    bread = (bread + bread.T) / 2

    n_clusters = int(clusters.max()) + 1
    variance_blocks = np.empty((n_clusters, p, p))
    design_blocks = np.empty_like(variance_blocks)
    adjusted = np.empty_like(X)
    scores = np.empty((n_clusters, p))
    for (numbers, rows), phi in zip(groups, covariances, strict=True):
        Xj = X[rows]
        root = np.swapaxes(np.linalg.cholesky(phi), 1, 2)
        turned = np.swapaxes(root, 1, 2)
        B = root @ (phi - Xj @ bread @ np.swapaxes(Xj, 1, 2)) @ turned
        # Φ − XMX' seen from Φ: what it leaves of each direction, whatever the variances
        left = np.linalg.solve(turned, Xj)
        remaining = np.eye(rows.shape[1]) - left @ bread @ np.swapaxes(left, 1, 2)
        n_lost = (np.linalg.eigvalsh(remaining) < PERFECT_FIT).sum(axis=1)
        E = turned @ (_inverse_root(B, n_lost) @ (root @ weighted[rows]))
        adjusted[rows] = E
        variance_blocks[numbers] = np.swapaxes(E, 1, 2) @ phi @ E
        design_blocks[numbers] = np.swapaxes(Xj, 1, 2) @ E
        scores[numbers] = np.einsum("mnp,mn->mp", E, residuals[rows])
    return ClusterRobust(
        bread @ (scores.T @ scores) @ bread,
        bread,
        variance_blocks,
        design_blocks,
        weighted,
        adjusted,
    )


def _group_by_size(
    clusters: NDArray[np.intp],
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Return, for each size, the numbers of its clusters (m,) and their rows (m, size)."""
    order = np.argsort(clusters, kind="stable")
    counts = np.bincount(clusters)
    starts = np.cumsum(counts) - counts
    groups = []
    for size in np.unique(counts):
        numbers = np.flatnonzero(counts == size)
        groups.append((numbers, order[starts[numbers][:, None] + np.arange(size)]))
    return groups


def _inverse_root(matrices: Array, n_lost: NDArray[np.intp]) -> Array:
    """Return the symmetric pseudo-inverse square roots, shape (m, n, n).

    Parameters
    ----------
    matrices
        Positive semi-definite, shape (m, n, n).
    n_lost
        How many of the smallest eigenvalues of each are zero but for rounding, shape (m,).
    """
    values, vectors = np.linalg.eigh((matrices + np.swapaxes(matrices, 1, 2)) / 2)
    keep = (np.arange(values.shape[1]) >= n_lost[:, None]) & (values > 0)
    powers = np.where(keep, 1 / np.sqrt(np.where(keep, values, 1.0)), 0.0)
    result: Array = (vectors * powers[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    return result
