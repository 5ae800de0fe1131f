"""Many multilevel fits at once: parts of the same effects, other effects, or another rho."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from alliance_meta.models.multilevel import (
    HOPELESS,
    NEGLIGIBLE,
    START_SHARES,
    UNSETTLED_SHARE,
    Structure,
)

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# elements of one work array: the few dozen that a step needs stay near the processor
CHUNK_ELEMENTS = 2**16
# steps by average information; then by the observed information, which squares the error
AVERAGE_STEPS = 6
SEARCH_STEPS = 4
MAXIMUM_STEPS = 60
# where effects hardly differ the information vanishes and a step has no length of its own
LONGEST_STEP = 10.0
STEP_TOLERANCE = 1e-9
# a design that keeps less than this share of a direction has lost it
LOST_DIRECTION = 1e-9


@dataclass(frozen=True)
class MultilevelBatch:
    """Multilevel fits with one variance between and one within studies, one fit per row.

    Attributes
    ----------
    theta
        Variances between and within studies, shape (B, 2).
    free
        Which of them were estimated, shape (B, 2); the others are zero.
    coefficients, bread
        Generalised least squares and ``(X'Σ⁻¹X)⁻¹``, shapes (B, p) and (B, p, p).
    log_likelihood
        Without constants, shape (B,).
    Q, typical_variance
        Generalised residual heterogeneity and ``(k − p) / tr(P)``, shape (B,).
    failed
        Fits without an answer: a design that lost a column, no more studies than
        coefficients, or variances that did not settle; their numbers are NaN. Shape (B,).
    """

    theta: Array
    free: Mask
    coefficients: Array
    bread: Array
    log_likelihood: Array
    Q: Array
    typical_variance: Array
    failed: Mask


@dataclass(frozen=True)
class _Inverse:
    """What Σ⁻¹ needs, as in ``Covariance``: arrays of effects, samples and blocks, (…, B).

    ``one`` is ``M⁻¹1``, M the covariance without the variance between studies.
    """

    diagonal: Array
    sample_factor: Array
    one: Array
    precision: Array
    core: Array


@dataclass(frozen=True)
class _Point:
    """The likelihoods at some variances, and what their slopes need."""

    log_likelihood: Array
    coefficients: Array
    bread: Array
    projected: Array
    inverse_design: Array
    inverse: _Inverse


class _Likelihoods:
    """Likelihoods of B fits; effects lie along the first axis, fits along the last."""

    def __init__(
        self,
        structure: Structure,
        y: Array,
        v: Array,
        X: Array,
        keep: Array,
        rho: Array,
        *,
        restricted: bool,
    ):
        self.structure, self.rho, self.restricted = structure, rho, restricted
        self.y, self.v, self.X, self.keep = y * keep, v, X, keep
        self.root = np.sqrt(v)
        self.correlated = bool(rho.any())
        # a sparse product sums ten times as fast as reduceat along this axis
        self.sum_samples = _summing(structure.sample)
        self.sum_blocks = _summing(structure.block)

    def select(self, active: NDArray[np.intp]) -> "_Likelihoods":
        """Return the likelihoods of some fits."""
        other = object.__new__(_Likelihoods)
        other.structure, other.restricted, other.X = self.structure, self.restricted, self.X
        other.correlated = self.correlated
        other.sum_samples, other.sum_blocks = self.sum_samples, self.sum_blocks
        other.rho = self.rho[active]
        # take, unlike indexing, keeps fits next to each other in memory
        other.y, other.v, other.keep, other.root = (
            np.take(a, active, axis=1) for a in (self.y, self.v, self.keep, self.root)
        )
        return other

    def spread(self) -> Array:
        """Return a scale for the variances: the spread of the effects, shape (B,)."""
        n = self.keep.sum(axis=0)
        mean = self.y.sum(axis=0) / n
        spread = ((self.y - mean) ** 2 * self.keep).sum(axis=0) / n
        return np.maximum(spread, 1e-3 * (self.v * self.keep).sum(axis=0) / n)

    def _solve_sampling(self, values: Array, inverse: Array, factor: Array) -> Array:
        scaled = values * inverse
        if not self.correlated:
            return scaled
        s = self.structure
        shared = (self.sum_samples @ (self.root * scaled)) * factor
        scaled -= (self.root * inverse) * shared[s.sample]
        return scaled

    def _blocks(self, values: Array) -> Array:
        sums: Array = self.sum_blocks @ values
        return sums

    def _solve(self, values: Array, by: _Inverse) -> Array:
        result = self._solve_sampling(values, by.diagonal, by.sample_factor)
        pull = by.core * self._blocks(result)
        result -= by.one * pull[self.structure.block]
        return result

    def evaluate(self, theta: Array) -> _Point:
        """Return the likelihoods at variances of shape (2, B)."""
        p = self.X.shape[1]
        diagonal = (1 - self.rho) * self.v + theta[1]
        inverse = self.keep / diagonal
        logs = np.where(self.keep > 0, np.log(diagonal), 0.0).sum(axis=0)
        shares = self.sum_samples @ (self.v * inverse)
        factor = self.rho / (1 + self.rho * shares)
        logs += np.log1p(self.rho * shares).sum(axis=0)
        one = self._solve_sampling(self.keep, inverse, factor)
        precision = self._blocks(one)
        logs += np.log1p(theta[0] * precision).sum(axis=0)
        core = theta[0] / (1 + theta[0] * precision)
        by = _Inverse(inverse, factor, one, precision, core)
        inverse_design = np.stack([self._solve(self.X[:, [c]] * self.keep, by) for c in range(p)])
        projected = self._solve(self.y, by)
        information = np.einsum("kp,qkb->bpq", self.X, inverse_design)
        right = np.einsum("qkb,kb->bq", inverse_design, self.y)
        bread = np.linalg.inv(information)
        coefficients = (bread @ right[:, :, None])[:, :, 0]
        projected -= np.einsum("qkb,bq->kb", inverse_design, coefficients)
        value = -0.5 * (logs + (self.y * projected).sum(axis=0))
        if self.restricted:
            value -= 0.5 * np.linalg.slogdet(information)[1]
        return _Point(value, coefficients, bread, projected, inverse_design, by)

    def inverse_diagonal(self, by: _Inverse) -> Array:
        """Return the diagonals of Σ⁻¹, shape (k, B)."""
        s = self.structure
        result = by.diagonal - by.core[s.block] * by.one**2
        if self.correlated:
            result -= by.sample_factor[s.sample] * self.v * by.diagonal**2
        return result

    def slope(self, at: _Point) -> tuple[Array, Array]:
        """Return scores, shape (2, B), and average information, shape (B, 2, 2)."""
        s, by = self.structure, at.inverse
        pulls = self._blocks(at.projected)
        traces = np.stack(
            [
                (by.precision - by.core * by.precision**2).sum(axis=0),
                self.inverse_diagonal(by).sum(axis=0),
            ]
        )
        if self.restricted:
            root = np.linalg.cholesky(at.bread)
            turned = np.einsum("qkb,bqr->rkb", at.inverse_design, root)
            traces[0] -= sum((self._blocks(column) ** 2).sum(axis=0) for column in turned)
            traces[1] -= (turned**2).sum(axis=(0, 1))
        quadratics = np.stack([(pulls**2).sum(axis=0), (at.projected**2).sum(axis=0)])
        working = [self.keep * pulls[s.block], at.projected]
        solved = [self._solve(column, by) for column in working]
        information = np.empty((at.projected.shape[1], 2, 2))
        cross = [np.einsum("qkb,kb->bq", at.inverse_design, column) for column in working]
        for i in range(2):
            for j in range(i, 2):
                value = (working[i] * solved[j]).sum(axis=0)
                value = value - np.einsum("bq,bqr,br->b", cross[i], at.bread, cross[j])
                information[:, i, j] = information[:, j, i] = value
        return 0.5 * (quadratics - traces), 0.5 * information

    def observe(self, theta: Array, score: Array, average: Array, moving: Mask) -> Array:
        """Return observed information by differences of the score where it is positive."""
        step = 1e-6 * (theta + 0.01 * self.spread())
        columns = np.empty_like(average)
        for i in range(2):
            shifted = theta.copy()
            shifted[i] += step[i]
            columns[:, :, i] = ((score - self.slope(self.evaluate(shifted))[0]) / step[i]).T
        observed = (columns + columns.transpose(0, 2, 1)) / 2
        inner = _confine(observed, moving)
        positive = np.linalg.eigvalsh(inner)[:, 0] > 0
        return np.where(positive[:, None, None], observed, average)

    def maximise(self, theta: Array, free: Mask, *, steps: int) -> tuple[Array, Mask]:
        """Climb from some variances; return where each climb ends and whether it settled.

        Parameters
        ----------
        theta, free
            Shape (2, B).
        steps
            Climbs stop after this many steps.
        """
        theta = theta.copy()
        settled = np.zeros(theta.shape[1], dtype=bool)
        active = np.arange(theta.shape[1])
        part, current = self, theta.copy()
        floor = NEGLIGIBLE * (self.v * self.keep).sum(axis=0) / self.keep.sum(axis=0)
        last = np.zeros(theta.shape[1])
        for count in range(steps):
            at = part.evaluate(current)
            value = at.log_likelihood
            score, information = part.slope(at)
            moving = free[:, active] & ((current > 0) | (score > 0))
            if count >= AVERAGE_STEPS:
                information = part.observe(current, score, information, moving)
            limit = LONGEST_STEP * (current + part.spread())
            step = np.clip(_newton(score, information, moving), -limit, limit)
            new, moved = part._advance(current, value, step, floor[active])
            theta[:, active] = new
            scale = new.max(axis=0) + floor[active]
            last[active] = moved / scale
            done = moved <= STEP_TOLERANCE * scale
            settled[active] = done
            if done.all():
                break
            stay = np.flatnonzero(~done)
            active, part, current = active[stay], part.select(stay), new[:, stay]
        return theta, settled | (last <= UNSETTLED_SHARE)

    def _advance(
        self, theta: Array, value: Array, step: Array, floor: Array
    ) -> tuple[Array, Array]:
        """Take the longest part of each step that does not lower its likelihood."""
        slack = 1e-11 * (1 + np.abs(value))
        result, moved = theta.copy(), np.zeros(theta.shape[1])
        open_fits, part = np.arange(theta.shape[1]), self
        for halving in range(40):
            new = np.maximum(theta[:, open_fits] + step[:, open_fits] / 2**halving, 0.0)
            new[(new < floor[open_fits]) & (step[:, open_fits] < 0)] = 0.0
            good = part.evaluate(new).log_likelihood >= value[open_fits] - slack[open_fits]
            result[:, open_fits[good]] = new[:, good]
            moved[open_fits[good]] = np.abs(new - theta[:, open_fits]).max(axis=0)[good]
            if good.all():
                break
            part, open_fits = part.select(np.flatnonzero(~good)), open_fits[~good]
        return result, moved

    def search(self, free: Mask) -> Array:
        """Return where the best of some short climbs on and off the boundary ends, (2, B)."""
        scale = self.spread()
        column = np.arange(len(scale))
        # without, between only, within only, and both from either side, as in ``Likelihood``
        best_value = np.full((5, len(scale)), -np.inf)
        best_start = np.zeros((5, 2, len(scale)))
        for between in START_SHARES:
            for within in START_SHARES:
                theta = np.stack([between * scale, within * scale])
                theta[~free] = 0.0
                value = self.evaluate(theta).log_likelihood
                kind = (theta[0] > 0) + 2 * (theta[1] > 0)
                kind[(kind == 3) & (between < within)] = 4
                better = value > best_value[kind, column]
                a, c = kind[better], column[better]
                best_value[a, c] = value[better]
                best_start[a, :, c] = theta[:, better].T
        top = best_value.max(axis=0)
        found_value = np.full(len(scale), -np.inf)
        found = np.zeros((2, len(scale)))
        for value, start in zip(best_value, best_start, strict=True):
            chosen = np.flatnonzero(value > top - HOPELESS)
            if not len(chosen):
                continue
            part = self.select(chosen)
            theta, _ = part.maximise(
                np.take(start, chosen, axis=1), free[:, chosen], steps=SEARCH_STEPS
            )
            reached = part.evaluate(theta).log_likelihood
            better = reached > found_value[chosen]
            found_value[chosen[better]] = reached[better]
            found[:, chosen[better]] = theta[:, better]
        return found


def _summing(codes: NDArray[np.intp]) -> sparse.csr_array:
    """Return the matrix that sums sorted rows by code, shape (codes, k)."""
    k = len(codes)
    return sparse.csr_array((np.ones(k), (codes, np.arange(k))), shape=(int(codes[-1]) + 1, k))


def _confine(matrices: Array, moving: Mask) -> Array:
    """Return matrices with the rows and columns that stay replaced by those of the identity."""
    both = moving.T[:, :, None] & moving.T[:, None, :]
    result: Array = np.where(both, matrices, np.eye(2))
    return result


def _newton(score: Array, information: Array, moving: Mask) -> Array:
    """Return Newton steps of the variances that move, shape (2, B)."""
    inner = _confine(information, moving)
    trace = np.trace(inner, axis1=1, axis2=2)
    inner += (1e-12 * trace + np.finfo(float).tiny)[:, None, None] * np.eye(2)
    pull = np.where(moving, score, 0.0).T
    # Cramer's rule: a singular matrix of one fit must not stop the others
    determinant = inner[:, 0, 0] * inner[:, 1, 1] - inner[:, 0, 1] ** 2
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        step = np.stack(
            [
                inner[:, 1, 1] * pull[:, 0] - inner[:, 0, 1] * pull[:, 1],
                inner[:, 0, 0] * pull[:, 1] - inner[:, 0, 1] * pull[:, 0],
            ]
        )
        step /= determinant
    return np.where(moving & ~np.isnan(step), step, np.where(moving, score, 0.0))


def fit_multilevel_batch(
    y: Array,
    v: Array,
    X: Array,
    structure: Structure,
    keep: Mask,
    *,
    rho: Array | float,
    restricted: bool,
    start: Array | None = None,
    advance: Callable[[int], None] = lambda n: None,
) -> MultilevelBatch:
    """Fit the model of ``fit_multilevel`` to many parts of the same rows.

    Parameters
    ----------
    y, v
        Effects and sampling variances, shape (k,), or (B, k) where they differ between fits.
    X
        Orthonormal basis of the design, shape (k, p).
    structure
        Studies and samples of all rows, with one random intercept a block.
    keep
        Which rows enter each fit, shape (B, k).
    rho
        Correlation of the sampling errors of one sample, or one for each fit, shape (B,).
    restricted
        REML if true, else ML.
    start
        Variances to climb from, shape (2,): those of all rows. Without them each fit searches
        on and off the boundary for the highest maximum, as ``fit_multilevel`` does.
    advance
        Told how many fits have been finished.

    Raises
    ------
    ValueError
        If a block of the structure has several random intercepts.
    """
    if structure.intercept_group.shape[1] != 1 or structure.n_groups != 1:
        raise ValueError("only one random intercept a block can be fitted in a batch")
    n_fits, k = keep.shape
    order = structure.order
    rhos = np.broadcast_to(np.asarray(rho, dtype=float), n_fits)
    parts = []
    for rows in _chunks(n_fits, k):
        part = [np.broadcast_to(a, keep.shape)[rows][:, order].T for a in (y, v)]
        parts.append(
            _fit_chunk(
                structure,
                np.ascontiguousarray(part[0]),
                np.ascontiguousarray(part[1]),
                X[order],
                np.ascontiguousarray(keep[rows][:, order].T),
                rhos[rows],
                restricted=restricted,
                start=start,
            )
        )
        advance(rows.stop - rows.start)
    return MultilevelBatch(
        **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(parts[0])}
    )


def _chunks(n_fits: int, k: int) -> Iterator[slice]:
    size = max(CHUNK_ELEMENTS // k, 8)
    for start in range(0, n_fits, size):
        yield slice(start, min(start + size, n_fits))


def _fit_chunk(
    structure: Structure,
    y: Array,
    v: Array,
    X: Array,
    keep: Mask,
    rho: Array,
    *,
    restricted: bool,
    start: Array | None,
) -> MultilevelBatch:
    n_fits, p = keep.shape[1], X.shape[1]
    counts = np.add.reduceat(keep.astype(np.intp), structure.block_starts, axis=0)
    n_studies = (counts > 0).sum(axis=0)
    gram = np.einsum("kp,kb,kq->bpq", X, keep.astype(float), X)
    failed = (np.linalg.eigvalsh(gram)[:, 0] < LOST_DIRECTION) | (n_studies <= p)
    free = np.stack([n_studies > 1, (counts > 1).any(axis=0)]) & ~failed
    result = MultilevelBatch(
        np.full((n_fits, 2), np.nan),
        free.T.copy(),
        np.full((n_fits, p), np.nan),
        np.full((n_fits, p, p), np.nan),
        np.full(n_fits, np.nan),
        np.full(n_fits, np.nan),
        np.full(n_fits, np.nan),
        failed,
    )
    good = np.flatnonzero(~failed)
    if not len(good):
        return result
    kept = np.take(keep, good, axis=1).astype(float)
    # the mean of what enters costs digits otherwise; it is added again below
    offset = np.linalg.lstsq(X, y.mean(axis=1), rcond=None)[0]
    centred = np.take(y, good, axis=1) - (X @ offset)[:, None]
    variances = np.take(v, good, axis=1)
    likelihoods = _Likelihoods(
        structure, centred, variances, X, kept, rho[good], restricted=restricted
    )
    free = free[:, good]
    if start is None:
        theta = likelihoods.search(free)
    else:
        theta = np.where(free, np.asarray(start)[:, None], 0.0)
    theta, settled = likelihoods.maximise(theta, free, steps=MAXIMUM_STEPS)
    at = likelihoods.evaluate(theta)
    plain = likelihoods.evaluate(np.zeros_like(theta))
    turned = np.einsum("qkb,bqr->rkb", plain.inverse_design, np.linalg.cholesky(plain.bread))
    trace = likelihoods.inverse_diagonal(plain.inverse).sum(axis=0) - (turned**2).sum(axis=(0, 1))
    n_rows = kept.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        typical = np.where(n_rows > p, (n_rows - p) / trace, np.nan)
    failed[good[~settled]] = True
    good = good[settled]
    result.theta[good] = theta.T[settled]
    result.coefficients[good] = (at.coefficients + offset)[settled]
    result.bread[good] = (at.bread + at.bread.transpose(0, 2, 1))[settled] / 2
    result.log_likelihood[good] = at.log_likelihood[settled]
    result.Q[good] = (likelihoods.y * plain.projected).sum(axis=0)[settled]
    result.typical_variance[good] = typical[settled]
    return result
