"""Univariate models of many subsets of the same effects at once."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from alliance_meta.models.batched import (
    LAST_STEP,
    MAXIMUM_ITERATIONS,
    RESOLUTION,
    SEARCH_RATIO,
    BatchDesign,
)
from alliance_meta.models.pooling import NEGLIGIBLE_TAU2
from alliance_meta.models.specification import TAU2_ESTIMATORS

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = NDArray[np.intp]

INFERENCES = ("z", "t", "knapp_hartung", "knapp_hartung_conservative")
# elements of one work array: the few that a step needs stay in the cache
CHUNK_ELEMENTS = 2**16
# an eigenvalue of a masked Gram matrix below this share of the largest is rounding
LARGEST_ROUNDING = 1e-13
# below this share a subset gets an orthonormal basis of its own, lest digits are lost
SMALL_EIGENVALUE = 1e-6
# a mean of the design's rows so close to 1 is an intercept
CONSTANT = 1e-9
# squares about a line below this share of squares about zero are computed from residuals
CANCELLATION = 1e-4
# weighted squares beyond these cost the heights of the likelihood their seventh decimal
LARGEST_SQUARES = 1e8


@dataclass(frozen=True)
class SubsetFits:
    """Fits of subsets, one a row; NaN where ``failed``.

    Attributes
    ----------
    coefficients, se, ci_low, ci_high
        Shape (B, p).
    covariance
        Shape (B, p, p).
    df
        Degrees of freedom of the intervals, infinite for a normal reference, shape (B,).
    tau2
        Between-study variance, 0 for the common-effect model, shape (B,).
    I2
        In percent, from τ² and the typical sampling variance (Higgins & Thompson 2002); from Q
        (Higgins et al. 2003) for the common-effect model; 0 for a single effect. Shape (B,).
    Q
        Weighted residual sum of squares with weights ``1/v``, shape (B,).
    k
        Number of effects in the subset, shape (B,).
    failed
        Whether the subset cannot carry the model: too few effects, moderators that are not
        distinct in it, or effects without a positive variance. Shape (B,).
    """

    coefficients: Array
    covariance: Array
    se: Array
    df: Array
    ci_low: Array
    ci_high: Array
    tau2: Array
    I2: Array
    Q: Array
    k: Index
    failed: Mask


def fit_subsets(
    y: Array,
    v: Array,
    X: Array,
    keep: Mask,
    *,
    tau2: str | None,
    inference: str = "z",
    ci_level: float = 0.95,
) -> SubsetFits:
    """Fit a univariate model to each of many subsets.

    Parameters
    ----------
    y, v
        Effects and sampling variances, shape (k,), or (B, k) where they differ between subsets.
    X
        Design of full column rank, shape (k, p).
    keep
        Which effects are in each subset, shape (B, k).
    tau2
        An estimator of ``TAU2_ESTIMATORS``, or None for the common-effect model.
    inference
        "z", "t", "knapp_hartung" or "knapp_hartung_conservative".
    ci_level
        Confidence level.

    Returns
    -------
    SubsetFits

    Raises
    ------
    ValueError
        If the estimator or the inference does not exist here.

    Notes
    -----
    The same fits as ``fit_pooled``'s of the rows of the subset, to rounding; ML and REML go to
    the highest of several peaks. A single effect is its own mean with τ² = 0 and normal
    inference, as in metafor; any other subset needs more effects than coefficients.
    """
    if tau2 is not None and tau2 not in TAU2_ESTIMATORS:
        raise ValueError(f"'{tau2}' is not a tau2 estimator; use one of {TAU2_ESTIMATORS} or None")
    if inference not in INFERENCES:
        raise ValueError(f"'{inference}' is not an inference for subsets; use one of {INFERENCES}")
    keep, X = np.asarray(keep, dtype=bool), np.asarray(X, dtype=np.float64)
    Y, V, failed = _usable(_shared(y), _shared(v), keep)
    k = np.count_nonzero(keep, axis=1)
    failed |= k < (1 if X.shape[1] == 1 else X.shape[1] + 1)
    method = _Method(tau2, inference)
    fits = _Estimates.empty(len(keep), X.shape[1])
    _fit_on_basis(Y, V, X, keep, failed, method, fits)
    df = np.full(len(keep), np.inf)
    if inference != "z":
        df[k > 1] = k[k > 1] - X.shape[1]
    se = np.sqrt(np.einsum("bii->bi", fits.covariance))
    df[failed] = np.nan
    half = _quantiles((1 - ci_level) / 2, df)[:, None] * se
    # as of a single fit: no interval without a standard error
    half[~(se > 0)] = np.nan
    return SubsetFits(
        fits.coefficients,
        fits.covariance,
        se,
        df,
        fits.coefficients - half,
        fits.coefficients + half,
        fits.tau2,
        fits.I2,
        fits.Q,
        k,
        failed,
    )


@dataclass(frozen=True)
class _Method:
    """Estimator of τ² and inference."""

    tau2: str | None
    inference: str


@dataclass(frozen=True)
class _Estimates:
    """The arrays of ``SubsetFits`` that chunks fill in."""

    coefficients: Array
    covariance: Array
    tau2: Array
    I2: Array
    Q: Array

    @classmethod
    def empty(cls, rows: int, columns: int) -> "_Estimates":
        return cls(
            np.full((rows, columns), np.nan),
            np.full((rows, columns, columns), np.nan),
            *(np.full(rows, np.nan) for _ in range(3)),
        )

    def put(self, rows: Index | slice, other: "_Estimates") -> None:
        for name in self.__dataclass_fields__:
            getattr(self, name)[rows] = getattr(other, name)


@dataclass(frozen=True)
class _Sums:
    """Sums over the effects of each subset with some weights.

    Attributes
    ----------
    gram, right, squares, total
        Of products of the basis with itself (B, p, p), with the effects (B, p), of squared
        effects (B,) and of the weights alone (B,).
    """

    gram: Array
    right: Array
    squares: Array
    total: Array

    def about(self, coefficients: Array) -> tuple[Array, Array]:
        """Return the sums of squared residuals and of basis times residuals, (B,) and (B, p)."""
        fitted = _multiply(self.gram, coefficients)
        squares = self.squares - np.vecdot(coefficients, 2 * self.right - fitted)
        return squares, self.right - fitted


@dataclass(frozen=True)
class _Fit:
    """Weighted least squares of each subset: ``(Q'WQ)⁻¹``, coefficients and ``y'Py``."""

    inverse: Array
    coefficients: Array
    rss: Array


@dataclass(frozen=True)
class _Batch:
    """Subsets of one chunk.

    Attributes
    ----------
    Y
        Effects, shape (B, k), or (1, k) where all subsets share them.
    V
        Sampling variances, infinite for effects that are left out, shape (B, k).
    inside
        1 for effects in the subset, 0 for others, shape (B, k).
    v
        Shared sampling variances, shape (k,), else None.
    terms
        What is summed, if the effects are shared: products of the basis, its products with the
        effects, squared effects, ones; shape (k, ·). Else None.
    """

    Y: Array
    V: Array
    inside: Array
    k: Array
    design: BatchDesign
    v: Array | None
    terms: Array | None

    @classmethod
    def build(
        cls, Y: Array, V: Array, keep: Mask, rows: Index | slice, design: BatchDesign
    ) -> "_Batch":
        inside = keep[rows].astype(np.float64)
        terms = None
        if len(Y) == 1:
            one = np.ones(len(Y[0]))
            terms = np.column_stack([design.products, design.basis * Y.T, Y[0] ** 2, one])
        # v/0 is infinite: no weight
        with np.errstate(divide="ignore"):
            variances = (V if len(V) == 1 else V[rows]) / inside
        return cls(
            Y if len(Y) == 1 else Y[rows] * inside,
            variances,
            inside,
            np.count_nonzero(keep[rows], axis=1).astype(np.float64),
            design,
            V[0] if len(V) == 1 else None,
            terms,
        )

    @property
    def df(self) -> Array:
        """Residual degrees of freedom, shape (B,)."""
        return self.k - len(self.design.columns)

    def take(self, rows: Mask) -> "_Batch":
        """Return some of the subsets."""
        return replace(
            self,
            Y=self.Y if self.terms is not None else self.Y[rows],
            V=self.V[rows],
            inside=self.inside[rows],
            k=self.k[rows],
        )

    def residual(self, coefficients: Array) -> "_Batch":
        """Return the same subsets of the residuals of a fit."""
        residuals = (self.Y - coefficients @ self.design.columns) * self.inside
        return replace(self, Y=residuals, terms=None)

    def weights(self, tau2: Array) -> Array:
        """Return ``1 / (v + τ²)``, 0 for effects that are left out, shape (B, k)."""
        W = self.V + tau2[:, None]
        return np.divide(1.0, W, out=W)

    def sums(self, W: Array) -> _Sums:
        """Return the sums with weights that are 0 for effects that are left out."""
        if self.terms is not None:
            return self.unpack(W @ self.terms)
        WY = W * self.Y
        right = WY @ self.design.basis
        return _Sums(self.design.gram(W), right, np.vecdot(WY, self.Y), _row_sums(W))

    def power_sums(self, power: int) -> _Sums:
        """Return the sums with the variances to some power for weights."""
        if self.v is None:
            return self.sums(np.where(self.inside > 0, self.V, 1.0) ** power * self.inside)
        if self.terms is None:
            return self.sums(self.v**power * self.inside)
        return self.unpack(self.inside @ (self.terms * (self.v**power)[:, None]))

    def unpack(self, sums: Array) -> _Sums:
        """Return the sums of ``terms``, shape (B, ·), under their names."""
        n, p = self.design.products.shape[1], len(self.design.columns)
        gram = sums[:, :1, None] if p == 1 else np.take(sums, self.design.place, axis=1)
        return _Sums(gram, sums[:, n : n + p], sums[:, -2], sums[:, -1])

    def fit(self, tau2: Array | None = None) -> _Fit:
        """Fit each subset with weights ``1 / (v + τ²)``, by default ``1 / v``."""
        W = None if tau2 is None else self.weights(tau2)
        sums = self.power_sums(-1) if W is None else self.sums(W)
        inverse = _invert(sums.gram)
        coefficients = _multiply(inverse, sums.right)
        rss = sums.squares - np.vecdot(coefficients, sums.right)
        lost = rss < CANCELLATION * sums.squares
        if self.terms is not None and lost.any():
            rest = self.take(lost).residual(coefficients[lost])
            fit = rest.fit(None if tau2 is None else tau2[lost])
            coefficients[lost] += fit.coefficients
            rss[lost] = fit.rss
        return _Fit(inverse, coefficients, np.maximum(rss, 0.0))


def _shared(values: Array) -> Array:
    """Return effects or variances with one row if all subsets share them, shape (B or 1, k)."""
    rows = np.atleast_2d(np.asarray(values, dtype=np.float64))
    return rows[:1] if len(rows) > 1 and bool((rows == rows[0]).all()) else rows


def _usable(y: Array, v: Array, keep: Mask) -> tuple[Array, Array, Mask]:
    """Return effects and variances without holes, and which subsets would hold one."""
    unusable = ~(np.isfinite(y) & np.isfinite(v) & (v > 0))
    if not unusable.any():
        return y, v, np.zeros(len(keep), dtype=bool)
    failed: Mask = np.any(keep & unusable, axis=1)
    return np.where(unusable, 0.0, y), np.where(unusable, 1.0, v), failed


def _fit_on_basis(
    Y: Array, V: Array, X: Array, keep: Mask, failed: Mask, method: _Method, fits: _Estimates
) -> None:
    """Fit the subsets on an orthonormal basis of the design, and mark those that fail."""
    basis, triangle = np.linalg.qr(X)
    design = BatchDesign(basis)
    level = basis.sum(axis=0)
    centres = np.zeros((len(Y), 1))
    if np.abs(basis @ level - 1).max() < CONSTANT:
        # effects near zero keep their digits in sums of squares
        if len(Y) == 1:
            centres = np.median(Y, axis=1, keepdims=True)
        else:
            kept = np.maximum(np.count_nonzero(keep, axis=1), 1)
            centres = (np.vecdot(Y, keep) / kept)[:, None]
    deficient, poor = _conditions(keep, design)
    failed |= deficient
    rows = np.flatnonzero(~(failed | poor))
    size = max(CHUNK_ELEMENTS // keep.shape[1], 1)
    for start in range(0, len(rows), size):
        # consecutive rows need not be copied
        whole = len(rows) == len(keep)
        chosen = slice(start, start + size) if whole else rows[start : start + size]
        fits.put(chosen, _fit_batch(_Batch.build(Y - centres, V, keep, chosen, design), method))
    inverse = np.asarray(np.linalg.inv(triangle), dtype=np.float64)
    fits.coefficients[:] = (fits.coefficients + centres * level) @ inverse.T
    fits.covariance[:] = inverse @ fits.covariance @ inverse.T
    for row in np.flatnonzero(poor & ~failed):
        inside = keep[row]
        own = X[inside]
        failed[row] = np.linalg.matrix_rank(own / np.linalg.norm(own, axis=0)) < X.shape[1]
        if failed[row]:
            continue
        one_y, one_v = (A[row if len(A) > 1 else 0, inside][None] for A in (Y, V))
        fit = _Estimates.empty(1, X.shape[1])
        everything = np.ones((1, len(own)), dtype=bool)
        _fit_on_basis(one_y, one_v, own, everything, np.zeros(1, dtype=bool), method, fit)
        fits.put(np.array([row]), fit)


def _conditions(keep: Mask, design: BatchDesign) -> tuple[Mask, Mask]:
    """Return which subsets lack the rank of the design, and which are near that, (B,) each."""
    if len(design.columns) == 1:
        deficient = ~(keep & (design.columns != 0)).any(axis=1)
        return deficient, np.zeros_like(deficient)
    eigenvalues = np.linalg.eigvalsh(design.gram(keep.astype(np.float64)))
    smallest, largest = eigenvalues[:, 0], eigenvalues[:, -1]
    deficient = smallest <= LARGEST_ROUNDING * largest
    return deficient, ~deficient & (smallest < SMALL_EIGENVALUE * largest)


def _fit_batch(batch: _Batch, method: _Method) -> _Estimates:
    """Fit subsets that are known to carry the design; coefficients are of its basis."""
    df = batch.df
    several = df > 0
    fit = batch.fit()
    # rounding, where a single effect is its own mean
    Q = np.where(several, fit.rss, 0.0)
    tau2 = np.zeros(len(Q))
    if method.tau2 is None:
        excess = np.maximum(Q - df, 0.0)
        I2 = 100 * np.divide(excess, Q, out=np.zeros_like(Q), where=Q > 0)
    else:
        trace = batch.power_sums(-1).total - _trace(fit.inverse, batch.power_sums(-2).gram)
        estimate = _ESTIMATORS[method.tau2]
        if several.all():
            tau2 = estimate(batch, Q, trace)
        elif several.any():
            tau2[several] = estimate(batch.take(several), Q[several], trace[several])
        fit = batch.fit(tau2)
        typical = np.divide(df, trace, out=np.ones_like(Q), where=several)
        I2 = 100 * tau2 / (tau2 + typical)
    covariance = fit.inverse
    if method.inference.startswith("knapp_hartung"):
        scale = np.divide(fit.rss, df, out=np.ones_like(Q), where=several)
        if method.inference == "knapp_hartung_conservative":
            scale = np.maximum(scale, 1.0)
        covariance = covariance * scale[:, None, None]
    return _Estimates(fit.coefficients, covariance, tau2, I2, Q)


def _dersimonian_laird(batch: _Batch, Q: Array, trace: Array) -> Array:
    return np.maximum((Q - batch.df) / trace, 0.0)


def _hedges(batch: _Batch, _Q: Array, _trace_of_P: Array) -> Array:
    equal, variances = batch.power_sums(0), batch.power_sums(1)
    inverse = _invert(equal.gram)
    rest = batch.residual(_multiply(inverse, equal.right))
    expected = variances.total - _trace(inverse, variances.gram)
    return np.maximum((np.vecdot(rest.Y, rest.Y) - expected) / batch.df, 0.0)


def _hunter_schmidt(batch: _Batch, Q: Array, _trace_of_P: Array) -> Array:
    return np.maximum((Q - batch.k) / batch.power_sums(-1).total, 0.0)


def _sidik_jonkman(batch: _Batch, _Q: Array, _trace_of_P: Array) -> Array:
    means = np.vecdot(batch.inside, batch.Y) / batch.k
    crude = np.vecdot(batch.inside, (batch.Y - means[:, None]) ** 2) / batch.k
    return crude * batch.fit(crude).rss / batch.df


def _paule_mandel(batch: _Batch, Q: Array, trace: Array) -> Array:
    """Solve ``RSS(τ²) = k − p`` by Newton's method on 1/RSS.

    1/RSS is a harmonic mean in τ², so concave and nearly straight: from any start the first
    step lands below the root and the others rise to it.
    """
    tau2 = _hedges(batch, Q, trace)
    smallest = RESOLUTION * batch.power_sums(1).total / batch.k
    active = np.arange(len(tau2))
    for _ in range(MAXIMUM_ITERATIONS):
        old = tau2[active]
        rss, square = _residual_squares(batch, old)
        with np.errstate(invalid="ignore", divide="ignore"):
            step = rss * (rss / batch.df - 1) / square
        # all effects on the line: nothing to explain
        new = np.where(np.isfinite(step), np.maximum(old + step, 0.0), 0.0)
        tau2[active] = new
        moving = np.abs(new - old) > LAST_STEP * new + smallest[active]
        if not moving.any():
            break
        if not moving.all():
            active, batch = active[moving], batch.take(moving)
    return tau2


def _residual_squares(batch: _Batch, tau2: Array) -> tuple[Array, Array]:
    """Return ``y'Py`` and ``y'PPy``, shape (B,) each."""
    W = batch.weights(tau2)
    first = batch.sums(W)
    coefficients = _multiply(_invert(first.gram), first.right)
    second = batch.sums(np.multiply(W, W, out=W))
    rss, square = first.about(coefficients)[0], second.about(coefficients)[0]
    lost = _lost(rss, first) | _lost(square, second)
    if batch.terms is not None and lost.any():
        rest = batch.take(lost).residual(coefficients[lost])
        rss[lost], square[lost] = _residual_squares(rest, tau2[lost])
    return rss, square


def _maximum_likelihood(batch: _Batch, _Q: Array, _trace_of_P: Array) -> Array:
    return _likelihood(batch, restricted=False)


def _restricted_likelihood(batch: _Batch, _Q: Array, _trace_of_P: Array) -> Array:
    return _likelihood(batch, restricted=True)


def _likelihood(batch: _Batch, *, restricted: bool) -> Array:
    """Maximise the (restricted) likelihood: a search for the highest peak, then Newton.

    As ``batched.estimate_tau2``: Newton's method solves ``tr(P) / y'PPy = 1`` (ML:
    ``tr(W) / y'PPy = 1``) between the two neighbours of the best point of the search.
    """
    grid, smallest = _search_grid(batch)
    heights = _heights(batch, grid, restricted=restricted)
    best = np.argmax(heights, axis=0)
    low, high = grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, len(grid) - 1)]
    tau2 = _parabola_peaks(grid, heights, best, smallest)
    means = batch.power_sums(1).total / batch.k
    active = np.arange(len(tau2))
    for _ in range(MAXIMUM_ITERATIONS):
        old = tau2[active]
        new, rising = _newton_step(batch, old, restricted=restricted)
        low, high = np.where(rising, old, low), np.where(rising, high, old)
        new = np.where((new >= low) & (new <= high), new, (low + high) / 2)
        tau2[active] = new
        moving = np.abs(new - old) > LAST_STEP * new + RESOLUTION * means[active]
        if not moving.any():
            break
        if not moving.all():
            active, batch = active[moving], batch.take(moving)
            low, high = low[moving], high[moving]
    tau2[tau2 < NEGLIGIBLE_TAU2 * means] = 0.0
    return tau2


def _search_grid(batch: _Batch) -> tuple[Array, float]:
    """Return values of τ² from 0 to beyond every stationary point, and the smallest variance.

    With S the unweighted residual sum of squares, n = k − p and variances within [a, b],
    ``y'PPy ≤ S / (a + τ²)²`` and ``tr(P) ≥ n / (b + τ²)``: beyond the root of
    ``n (a + τ²)² = S (b + τ²)`` every likelihood falls. Squares about any line are at least S.
    """
    mean_square = float((batch.power_sums(0).squares / batch.df).max())
    used = batch.V if batch.v is None else batch.v
    a, b = float(used.min()), float(used.max(initial=0.0, where=np.isfinite(used)))
    last = (mean_square + math.sqrt(mean_square**2 + 4 * mean_square * (b - a))) / 2
    # three points at least
    share = max(last / a, SEARCH_RATIO**2)
    grid: Array = a * share ** np.linspace(0, 1, math.ceil(math.log(share, SEARCH_RATIO)) + 1) - a
    grid[0] = 0.0
    return grid, a


def _heights(batch: _Batch, grid: Array, *, restricted: bool) -> Array:
    """Return twice the profile log-likelihoods without constants, shape (points, B)."""
    if batch.terms is None or batch.v is None:
        return _careful_heights(batch, grid, restricted=restricted)
    products = np.empty((len(grid), len(batch.k), batch.terms.shape[1] + 1))
    for point, tau2 in enumerate(grid):
        w = 1 / (batch.v + tau2)
        # small products: larger ones would wait for a second thread
        products[point] = batch.inside @ np.column_stack([w[:, None] * batch.terms, np.log(w)])
    sums = batch.unpack(products[:, :, :-1].reshape(-1, batch.terms.shape[1]))
    inverse = _invert(sums.gram)
    heights = products[:, :, -1].ravel() - sums.squares
    heights += np.vecdot(_multiply(inverse, sums.right), sums.right)
    if restricted:
        heights += _log_determinants(inverse)
    heights = heights.reshape(len(grid), -1)
    coarse = sums.squares[: len(batch.k)] > LARGEST_SQUARES
    if coarse.any():
        heights[:, coarse] = _careful_heights(batch.take(coarse), grid, restricted=restricted)
    return heights


def _careful_heights(batch: _Batch, grid: Array, *, restricted: bool) -> Array:
    """Return the same, point by point, for effects of any size."""
    heights = np.empty((len(grid), len(batch.k)))
    for point, tau2 in enumerate(grid):
        everywhere = np.full(len(batch.k), tau2)
        W = batch.weights(everywhere)
        fit = batch.fit(everywhere)
        logs = np.log(W, out=np.zeros_like(W), where=W > 0)
        heights[point] = _row_sums(logs) - fit.rss
        if restricted:
            heights[point] += _log_determinants(fit.inverse)
    return heights


def _parabola_peaks(grid: Array, heights: Array, best: Index, smallest: float) -> Array:
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


def _newton_step(batch: _Batch, tau2: Array, *, restricted: bool) -> tuple[Array, Mask]:
    """Return the next τ² and whether the likelihood rises at this one, shape (B,) each."""
    W = batch.weights(tau2)
    W2 = W * W
    first, second = batch.sums(W), batch.sums(W2)
    third = batch.sums(np.multiply(W2, W, out=W2))
    inverse = _invert(first.gram)
    coefficients = _multiply(inverse, first.right)
    square, projected = second.about(coefficients)
    lost = _lost(square, second)
    # y'PPPy
    cube = third.about(coefficients)[0] - np.vecdot(projected, _multiply(inverse, projected))
    trace, trace_square = first.total, second.total
    if restricted:
        hat = inverse @ second.gram
        trace = trace - np.einsum("bii->b", hat)
        trace_square = (
            trace_square - 2 * _trace(inverse, third.gram) + np.einsum("bij,bji->b", hat, hat)
        )
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        slope = (2 * trace * cube / square - trace_square) / square
        new = tau2 + (1 - trace / square) / slope
    rising = square > trace
    if batch.terms is not None and lost.any():
        rest = batch.take(lost).residual(coefficients[lost])
        new[lost], rising[lost] = _newton_step(rest, tau2[lost], restricted=restricted)
    return new, rising


def _lost(squares: Array, sums: _Sums) -> Mask:
    """Return where squares about a line have lost digits to the squares about zero, (B,)."""
    return squares < CANCELLATION * sums.squares


def _invert(matrices: Array) -> Array:
    """Return the inverses of symmetric matrices, shape (B, p, p)."""
    if matrices.shape[1] == 1:
        return 1 / matrices
    return np.asarray(np.linalg.inv(matrices), dtype=np.float64)


def _multiply(matrices: Array, vectors: Array) -> Array:
    """Return the product of each matrix and its vector, shape (B, p)."""
    if vectors.shape[1] == 1:
        return matrices[:, 0] * vectors
    product: Array = np.matmul(matrices, vectors[:, :, None])[:, :, 0]
    return product


def _log_determinants(matrices: Array) -> Array:
    """Return the log determinants of positive definite matrices, shape (B,)."""
    if matrices.shape[1] == 1:
        return np.log(matrices[:, 0, 0])
    return np.asarray(np.linalg.slogdet(matrices)[1], dtype=np.float64)


def _row_sums(values: Array) -> Array:
    """Return sums over the effects, shape (B,)."""
    # a matrix product sums faster
    sums: Array = values @ np.ones(values.shape[1])
    return sums


def _trace(one: Array, two: Array) -> Array:
    """Return the traces of products of symmetric matrices, shape (B,)."""
    trace: Array = np.einsum("bij,bij->b", one, two)
    return trace


def _quantiles(tail: float, df: Array) -> Array:
    """Return upper quantiles of t distributions, shape (B,)."""
    values, place = np.unique(df, return_inverse=True)
    normal = np.isinf(values)
    quantiles = np.asarray(-special.stdtrit(np.where(normal, 1.0, values), tail), np.float64)
    quantiles[normal] = -special.ndtri(tail)
    result: Array = quantiles[place]
    return result


_ESTIMATORS: dict[str, Callable[[_Batch, Array, Array], Array]] = {
    "DL": _dersimonian_laird,
    "HE": _hedges,
    "HS": _hunter_schmidt,
    "SJ": _sidik_jonkman,
    "PM": _paule_mandel,
    "EB": _paule_mandel,
    "ML": _maximum_likelihood,
    "REML": _restricted_likelihood,
}
