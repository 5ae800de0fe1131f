"""Cluster-robust (CR2) inference with Satterthwaite and HTZ degrees of freedom."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]


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
    """

    covariance: Array
    bread: Array
    variance_blocks: Array
    design_blocks: Array

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
        f = np.einsum("ps,mpr,rt->mst", c, self.variance_blocks, c)
        root = np.linalg.cholesky(self.bread)
        beta = np.einsum("pa,mpr,rs->msa", root, self.design_blocks, c)
        dots = np.einsum("msa,mta->mst", beta, beta)
        expectation = (f - dots).sum(axis=0)

        cross = np.einsum("msa,mtb->stab", beta, beta)
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
        omega = contrasts @ self.bread @ contrasts.T
        values, vectors = np.linalg.eigh(omega)
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
    X: Array, residuals: Array, clusters: Sequence[NDArray[np.intp]], working: Sequence[Array]
) -> ClusterRobust:
    """Compute the CR2 sandwich of a fit with weights ``W = Φ⁻¹``.

    Parameters
    ----------
    X
        Design, shape (k, p), of full column rank.
    residuals
        ``y − Xb``, shape (k,).
    clusters
        Row indices of each cluster; together they hold every row once.
    working
        Working covariance Φ of each cluster: shape (k_j, k_j), or (k_j,) if diagonal.

    Returns
    -------
    ClusterRobust

    Notes
    -----
    Pustejovsky & Tipton (2018): ``A = D' B^{+1/2} D`` with ``Φ = D'D`` and
    ``B = D (Φ − X M X') D'``. Directions that the cluster fits perfectly get weight 0.
    """
    p = X.shape[1]
    inverse_products = []
    for rows, phi in zip(clusters, working, strict=True):
        Xj = X[rows]
        inverse_products.append(Xj / phi[:, None] if phi.ndim == 1 else np.linalg.solve(phi, Xj))
    information = np.zeros((p, p))
    for rows, WX in zip(clusters, inverse_products, strict=True):
        information += X[rows].T @ WX
    bread = np.linalg.inv(information)
    bread = (bread + bread.T) / 2

    variance_blocks = np.empty((len(clusters), p, p))
    design_blocks = np.empty_like(variance_blocks)
    meat = np.zeros((p, p))
    for j, (rows, phi, WX) in enumerate(zip(clusters, working, inverse_products, strict=True)):
        Xj = X[rows]
        full = np.diag(phi) if phi.ndim == 1 else phi
        root = np.linalg.cholesky(full).T
        B = root @ (full - Xj @ bread @ Xj.T) @ root.T
        A = root.T @ _inverse_root(B, scale=float(np.abs(root @ full @ root.T).max())) @ root
        E = A @ WX
        variance_blocks[j] = E.T @ full @ E
        design_blocks[j] = Xj.T @ E
        score = E.T @ residuals[rows]
        meat += np.outer(score, score)
    return ClusterRobust(bread @ meat @ bread, bread, variance_blocks, design_blocks)


def _inverse_root(matrix: Array, scale: float) -> Array:
    """Return the symmetric pseudo-inverse square root, shape (k, k)."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    # what is zero but for rounding of Φ − XMX' is a direction without information
    keep = values > 1e-10 * scale
    powers = np.where(keep, 1 / np.sqrt(np.where(keep, values, 1.0)), 0.0)
    result: Array = (vectors * powers) @ vectors.T
    return result
