"""Many univariate fits at once: every row a rearrangement of the same effects."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alliance_meta.models.pooling import NEGLIGIBLE_TAU2

Array = NDArray[np.float64]

# elements of one work array: the dozen that a fit needs stay in the cache
CHUNK_ELEMENTS = 2**14
# Newton's method squares its error: a last step below this leaves less than 1e-10
LAST_STEP = 1e-5
# no τ² is resolved below this share of the mean sampling variance
RESOLUTION = 1e-14
# neighbouring points of the likelihood search differ by this factor of v + τ² at most
SEARCH_RATIO = 2.0
MAXIMUM_ITERATIONS = 200


def chunk_slices(rows: int, columns: int) -> Iterator[slice]:
    """Yield consecutive slices of ``rows`` whose work arrays stay in the cache."""
    size = max(CHUNK_ELEMENTS // columns, 16)
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


class BatchDesign:
    """A design shared by all fits of a batch.

    Attributes
    ----------
    basis
        Orthonormal basis Q of the design, shape (k, p).
    """

    def __init__(self, basis: Array) -> None:
        rows, columns = np.triu_indices(basis.shape[1])
        self.basis = basis
        self.columns = np.ascontiguousarray(basis.T)
        self.products = np.ascontiguousarray(basis[:, rows] * basis[:, columns])
        self.product_rows = np.ascontiguousarray(self.products.T)
        # off-diagonal products count twice in a quadratic form
        self.multiplicity = np.where(rows == columns, 1.0, 2.0)
        self.upper = (rows, columns)
        self.place = np.zeros((basis.shape[1],) * 2, dtype=np.intp)
        self.place[rows, columns] = self.place[columns, rows] = np.arange(len(rows))

    def gram(self, weights: Array) -> Array:
        """Return ``Q' diag(w) Q`` for each row of weights, shape (B, p, p)."""
        gram: Array = np.take(weights @ self.products, self.place, axis=1)
        return gram

    def quadratic_forms(self, matrices: Array) -> Array:
        """Return ``q_i' M q_i`` of each symmetric matrix and each row of Q, shape (B, k)."""
        packed = matrices[:, self.upper[0], self.upper[1]] * self.multiplicity
        forms: Array = packed @ self.product_rows
        return forms


@dataclass(frozen=True)
class BatchFit:
    """Weighted least-squares fits, one per row.

    Attributes
    ----------
    inverse
        ``(Q'WQ)⁻¹``, shape (B, p, p).
    coefficients
        Shape (B, p).
    residuals
        Shape (B, k).
    weighted
        Residuals times weights, shape (B, k).
    """

    inverse: Array
    coefficients: Array
    residuals: Array
    weighted: Array

    @property
    def rss(self) -> Array:
        """Weighted residual sum of squares ``y'Py``, shape (B,)."""
        rss: Array = np.vecdot(self.weighted, self.residuals)
        return rss


def fit_weighted(Y: Array, weights: Array, design: BatchDesign) -> BatchFit:
    """Fit each row of effects with its row of weights.

    Parameters
    ----------
    Y, weights
        Shape (B, k).
    design
        Design of every fit.
    """
    inverse = np.asarray(np.linalg.inv(design.gram(weights)), dtype=np.float64)
    right = (weights * Y) @ design.basis
    coefficients = np.matmul(inverse, right[:, :, None])[:, :, 0]
    residuals = coefficients @ design.columns
    np.subtract(Y, residuals, out=residuals)
    return BatchFit(inverse, coefficients, residuals, weights * residuals)


def estimate_tau2(Y: Array, V: Array, design: BatchDesign, method: str | None) -> Array:
    """Return the between-study variance of each row.

    Parameters
    ----------
    Y, V
        Effects and sampling variances, shape (B, k). Every row of V holds the same
        variances, in any order.
    design
        Design of every fit.
    method
        An estimator of ``TAU2_ESTIMATORS``, or None for the common-effect model.

    Returns
    -------
    ndarray
        Shape (B,).

    Notes
    -----
    The same estimates as ``fit_pooled``'s (Viechtbauer et al. 2015), to rounding.
    """
    if method is None:
        return np.zeros(len(Y))
    if method in ("ML", "REML"):
        return _likelihood(Y, V, design, restricted=method == "REML")
    return _MOMENTS[method](Y, V, design)


def _dersimonian_laird(Y: Array, V: Array, design: BatchDesign) -> Array:
    w = 1 / V
    fit = fit_weighted(Y, w, design)
    trace = w.sum(axis=1) - _trace(fit.inverse, design.gram(w * w))
    return np.maximum((fit.rss - _df(design)) / trace, 0.0)


def _hedges(Y: Array, V: Array, design: BatchDesign) -> Array:
    residuals = _unweighted_residuals(Y, design)
    leverages = (design.basis**2).sum(axis=1)
    trace = V @ (1 - leverages)
    return np.maximum((np.vecdot(residuals, residuals) - trace) / _df(design), 0.0)


def _hunter_schmidt(Y: Array, V: Array, design: BatchDesign) -> Array:
    w = 1 / V
    return np.maximum((fit_weighted(Y, w, design).rss - Y.shape[1]) / w.sum(axis=1), 0.0)


def _sidik_jonkman(Y: Array, V: Array, design: BatchDesign) -> Array:
    crude = Y.var(axis=1)
    return crude * fit_weighted(Y, 1 / (V + crude[:, None]), design).rss / _df(design)


def _paule_mandel(Y: Array, V: Array, design: BatchDesign) -> Array:
    """Solve ``RSS(τ²) = k − p`` by Newton's method on 1/RSS.

    1/RSS is a harmonic mean in τ², so concave and nearly straight: from any start the first
    step lands below the root and the others rise to it.
    """
    df = _df(design)

    def improve(tau2: Array, Y: Array, V: Array) -> Array:
        fit = fit_weighted(Y, 1 / (V + tau2[:, None]), design)
        rss = fit.rss
        with np.errstate(invalid="ignore", divide="ignore"):
            step = rss * (rss / df - 1) / np.vecdot(fit.weighted, fit.weighted)
        # all effects on the line: nothing to explain
        return np.where(np.isfinite(step), np.maximum(tau2 + step, 0.0), 0.0)

    tau2 = _hedges(Y, V, design)
    smallest = RESOLUTION * V[0].mean()
    active = np.arange(len(Y))
    for _ in range(MAXIMUM_ITERATIONS):
        old = tau2[active]
        new = improve(old, Y, V)
        tau2[active] = new
        moving = np.abs(new - old) > LAST_STEP * new + smallest
        if not moving.any():
            break
        active, Y, V = active[moving], Y[moving], V[moving]
    return tau2


def _likelihood(Y: Array, V: Array, design: BatchDesign, *, restricted: bool) -> Array:
    """Maximise the (restricted) likelihood: a search for the highest peak, then Newton.

    Newton's method solves ``tr(P) / y'PPy = 1`` (ML: ``tr(W) / y'PPy = 1``), in which τ² is
    nearly straight, between the two neighbours of the best point of the search.
    """
    grid = _search_grid(Y, V, design)
    heights = np.stack([_profile(Y, V, design, t, restricted=restricted) for t in grid])
    best = np.argmax(heights, axis=0)
    low, high = grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, len(grid) - 1)]
    tau2 = _parabola_peaks(grid, heights, best, smallest=float(V[0].min()))
    mean_v = V[0].mean()
    active = np.arange(len(Y))
    for _ in range(MAXIMUM_ITERATIONS):
        old = tau2[active]
        new, rising = _newton_step(old, Y, V, design, restricted=restricted)
        low, high = np.where(rising, old, low), np.where(rising, high, old)
        new = np.where((new >= low) & (new <= high), new, (low + high) / 2)
        tau2[active] = new
        moving = np.abs(new - old) > LAST_STEP * new + RESOLUTION * mean_v
        if not moving.any():
            break
        active, Y, V, low, high = active[moving], Y[moving], V[moving], low[moving], high[moving]
    tau2[tau2 < NEGLIGIBLE_TAU2 * mean_v] = 0.0
    return tau2


def _search_grid(Y: Array, V: Array, design: BatchDesign) -> Array:
    """Return values of τ² from 0 to beyond every stationary point of the likelihoods.

    With S the unweighted residual sum of squares, n = k − p and variances within [a, b],
    ``y'PPy ≤ S / (a + τ²)²`` and ``tr(P) ≥ n / (b + τ²)``: beyond the root of
    ``n (a + τ²)² = S (b + τ²)`` every likelihood falls.
    """
    residuals = _unweighted_residuals(Y, design)
    mean_square = float(np.vecdot(residuals, residuals).max()) / _df(design)
    a, b = float(V[0].min()), float(V[0].max())
    last = (mean_square + math.sqrt(mean_square**2 + 4 * mean_square * (b - a))) / 2
    # three points at least
    share = max(last / a, SEARCH_RATIO**2)
    grid: Array = a * np.geomspace(1.0, share, math.ceil(math.log(share, SEARCH_RATIO)) + 1) - a
    grid[0] = 0.0
    return grid


def _profile(Y: Array, V: Array, design: BatchDesign, tau2: float, *, restricted: bool) -> Array:
    """Return twice the profile log-likelihood at one τ², without constants, shape (B,)."""
    w = _weights(V, tau2)
    constant = np.log(w[0]).sum()
    root = np.linalg.cholesky(design.gram(w))
    w *= Y
    rss = np.vecdot(w, Y)
    right = w @ design.basis
    # forward substitution: the squares sum to the part of y'Wy that the design explains
    for i in range(right.shape[1]):
        right[:, i] -= np.vecdot(root[:, i, :i], right[:, :i])
        right[:, i] /= root[:, i, i]
        rss -= right[:, i] ** 2
    if not restricted:
        return constant - rss
    return constant - rss - 2 * np.log(np.einsum("bii->bi", root)).sum(axis=1)


def _weights(V: Array, tau2: Array | float) -> Array:
    """Return ``1 / (v + τ²)`` without a second work array, shape (B, k)."""
    w = V + tau2
    return np.divide(1.0, w, out=w)


def _parabola_peaks(
    grid: Array, heights: Array, best: NDArray[np.intp], *, smallest: float
) -> Array:
    """Return the peaks of parabolas through the best points and their neighbours, shape (B,).

    In ``log(a + τ²)`` with the smallest variance a, where the points are evenly spaced; the
    best point itself where it has no two neighbours.
    """
    inner = (best > 0) & (best < len(grid) - 1)
    middle = np.where(inner, best, 1)
    column = np.arange(len(best))
    left, top, right = (heights[middle + shift, column] for shift in (-1, 0, 1))
    bend = left - 2 * top + right
    shift = np.divide(left - right, 2 * bend, out=np.zeros_like(bend), where=inner & (bend < 0))
    spacing = np.log((grid[-1] + smallest) / smallest) / (len(grid) - 1)
    peaks: Array = (grid[best] + smallest) * np.exp(shift * spacing) - smallest
    return np.where(inner, peaks, grid[best])


def _newton_step(
    tau2: Array, Y: Array, V: Array, design: BatchDesign, *, restricted: bool
) -> tuple[Array, NDArray[np.bool_]]:
    """Return the next τ² and whether the likelihood rises at this one, shape (B,) each."""
    w = _weights(V, tau2[:, None])
    fit = fit_weighted(Y, w, design)
    u = fit.weighted
    square = np.vecdot(u, u)
    wu = w * u
    projected = wu @ design.basis
    # y'PPPy
    cube = np.vecdot(wu, u) - np.vecdot(
        projected, np.matmul(fit.inverse, projected[:, :, None])[:, :, 0]
    )
    w2 = w * w
    trace, trace_square = w.sum(axis=1), w2.sum(axis=1)
    if restricted:
        hat = np.matmul(fit.inverse, design.gram(w2))
        trace = trace - np.einsum("bii->b", hat)
        trace_square = (
            trace_square
            - 2 * _trace(fit.inverse, design.gram(np.multiply(w2, w, out=w)))
            + np.einsum("bij,bji->b", hat, hat)
        )
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        slope = (2 * trace * cube / square - trace_square) / square
        step = (1 - trace / square) / slope
    return tau2 + step, square > trace


def _unweighted_residuals(Y: Array, design: BatchDesign) -> Array:
    residuals: Array = Y - (Y @ design.basis) @ design.columns
    return residuals


def _df(design: BatchDesign) -> int:
    k, p = design.basis.shape
    return k - p


def _trace(one: Array, two: Array) -> Array:
    """Return the traces of products of symmetric matrices, shape (B,)."""
    trace: Array = np.einsum("bij,bij->b", one, two)
    return trace


_MOMENTS: dict[str, Callable[[Array, Array, BatchDesign], Array]] = {
    "DL": _dersimonian_laird,
    "HE": _hedges,
    "HS": _hunter_schmidt,
    "SJ": _sidik_jonkman,
    "PM": _paule_mandel,
    "EB": _paule_mandel,
}
