"""Likelihoods of effects that were selected by their p-values, many fits at once."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special

from alliance_meta.formatting import format_count

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = NDArray[np.intp]

# elements of one work array: the dozens that an iteration needs stay near the processor
CHUNK_ELEMENTS = 2**14
MAXIMUM_ITERATIONS = 200
# Newton's method squares its error: after a step below this the parameters are exact
LAST_STEP = 1e-6
# longest step in a mean (in standard deviations of an effect) and in a logarithm
LONGEST_STEP = 2.0
# a step is shortened by this factor until the likelihood rises
SHORTENING = 0.25
# rounding of the log-likelihood, relative
ROUNDING = 1e-12
# the parameters are scaled to units of about 1: less information than this is none
LEAST_INFORMATION = 1e-6
# bound of metafor's selmodel as well
LARGEST_WEIGHT = 100.0
# metafor's bound of the weights of steps is 0, of which there is no logarithm
SMALLEST_WEIGHT = 1e-100
# τ² beyond this many times the variance of the effects is no estimate
LARGEST_TAU2 = 1e4
# a mean further than this many standard deviations from every effect is no estimate
FURTHEST_MEAN = 30.0
ROOT_TWO_PI = math.sqrt(2 * math.pi)


@dataclass(frozen=True)
class Normaliser:
    """Probability A that an effect is published, and its derivatives as shares of A.

    By the heat equation a derivative in the variance is half the second derivative in the mean,
    so that those in the mean are enough.

    Attributes
    ----------
    log
        ``log A``, shape (B, k).
    means
        First to fourth derivative in the mean, over A, each of shape (B, k).
    shapes
        For each shape parameter the derivative of A, and of its first and second derivative in
        the mean, over A: shape (J, 3, B, k).
    pairs
        Second derivatives in two shape parameters, over A, shape (J, J, B, k).
    """

    log: Array
    means: tuple[Array, Array, Array, Array]
    shapes: Array
    pairs: Array


class WeightFunction(Protocol):
    """Relative probability of publication, as a function of an effect over its standard error.

    Shape parameters are logarithms.
    """

    @property
    def n_shapes(self) -> int:
        """Number of shape parameters J."""
        ...

    @property
    def smallest(self) -> float:
        """Lower bound of what the shape parameters are logarithms of."""
        ...

    def log_weights(self, shapes: Array) -> tuple[Array, Array, Array]:
        """Return log weights (B, k), first and (diagonal) second derivatives (J, B or 1, k)."""
        ...

    def normalise(self, mu: Array, total: Array, shapes: Array) -> Normaliser:
        """Return A for means (B, k), total variances (B, k) and shapes (B, J)."""
        ...


class StepWeights:
    """Constant weights between cut points of the p-value.

    Parameters
    ----------
    z, sigma
        Effects over their standard errors, and standard errors, shape (k,).
    steps
        Increasing cut points of the p-value in (0, 1), shape (J,).
    two_sided
        Whether the p-values are two-sided; otherwise small for large effects.
    fixed
        The weights of all J + 1 intervals, where they are given and not estimated.
    """

    smallest = SMALLEST_WEIGHT

    def __init__(
        self,
        z: Array,
        sigma: Array,
        steps: Array,
        *,
        two_sided: bool,
        fixed: Array | None = None,
    ) -> None:
        upper = -special.ndtri(steps / 2 if two_sided else steps)
        n = len(steps)
        inward = np.arange(n + 1)
        # boundaries on the scale of z, ascending, and the interval before and after each
        self.boundaries = np.concatenate([-upper, upper[::-1]]) if two_sided else upper[::-1]
        self.regions = np.concatenate([inward, inward[-2::-1]]) if two_sided else inward[::-1]
        self.sigma = sigma
        p = 2 * special.ndtr(-np.abs(z)) if two_sided else special.ndtr(-z)
        # an interval contains its upper end
        self.interval: Index = np.searchsorted(steps, p, side="left").astype(np.intp)
        self.counts: Index = np.bincount(self.interval, minlength=n + 1).astype(np.intp)
        self.fixed = fixed
        self.one_hot = (self.interval == np.arange(1, n + 1)[:, None]).astype(float)

    @property
    def n_shapes(self) -> int:
        """Number of estimated weights: of the intervals after the first, whose weight is 1."""
        return len(self.one_hot) if self.fixed is None else 0

    def log_weights(self, shapes: Array) -> tuple[Array, Array, Array]:
        """Return log weights of the effects and their derivatives."""
        if self.fixed is not None:
            none = np.zeros((0, 1, len(self.sigma)))
            own = np.log(self.fixed[self.interval])
            return np.broadcast_to(own, (len(shapes), len(own))), none, none
        first = self.one_hot[:, None, :]
        return shapes @ self.one_hot, first, np.zeros_like(first)

    def normalise(self, mu: Array, total: Array, shapes: Array) -> Normaliser:
        """Return A, a sum over the intervals."""
        J = self.n_shapes
        if self.fixed is None:
            delta = np.concatenate([np.ones((1, len(shapes))), np.exp(shapes.T)])[:, :, None]
        else:
            delta = self.fixed[:, None, None]
        scale = np.sqrt(total)
        A = np.zeros_like(mu)
        means = np.zeros((4, *mu.shape))
        # probability of each interval, and its first two derivatives in the mean
        parts = np.zeros((J + 1, 3, *mu.shape))
        tail, positive = np.zeros_like(mu), np.zeros(mu.shape, dtype=bool)
        for m, boundary in enumerate([*self.boundaries, np.inf]):
            left = self.regions[m]
            tail_before, positive_before = tail, positive
            if m < len(self.boundaries):
                u = (boundary * self.sigma - mu) / scale
                positive = u > 0
                # the smaller tail keeps its digits
                tail = special.ndtr(-np.abs(u))
            else:
                positive, tail = np.ones(mu.shape, dtype=bool), np.zeros_like(mu)
            inner = np.where(
                positive == positive_before,
                np.where(positive, tail_before - tail, tail - tail_before),
                1 - tail - tail_before,
            )
            A += delta[left] * inner
            if J:
                parts[left, 0] += inner
            if m == len(self.boundaries):
                break
            right = self.regions[m + 1]
            density = np.exp(-0.5 * u * u) / (ROOT_TWO_PI * scale)
            slope = u * density / scale
            drop = delta[right] - delta[left]
            means[0] += drop * density
            means[1] += drop * slope
            means[2] += drop * (u * u - 1) * density / total
            means[3] += drop * (u * u - 3) * slope / total
            if J:
                parts[left, 1] -= density
                parts[right, 1] += density
                parts[left, 2] -= slope
                parts[right, 2] += slope
        means /= A
        parts = parts[1:] * (delta[1:] / A)[:, None] if J else np.zeros((0, 3, *mu.shape))
        pairs = np.zeros((J, J, *mu.shape))
        pairs[np.arange(J), np.arange(J)] = parts[:, 0]
        return Normaliser(np.log(A), (means[0], means[1], means[2], means[3]), parts, pairs)


class TruncatedWeights:
    """Each effect given that it is significant, or given that it is not (p-uniform*).

    Parameters
    ----------
    z, sigma
        Effects over their standard errors, and standard errors, shape (k,).
    step
        One-sided p-value below which an effect is significant.
    """

    n_shapes = 0
    smallest = SMALLEST_WEIGHT

    def __init__(self, z: Array, sigma: Array, step: float) -> None:
        self.critical = -float(special.ndtri(step)) * sigma
        self.significant: Mask = special.ndtr(-z) <= step
        self.sign = np.where(self.significant, 1.0, -1.0)

    def log_weights(self, shapes: Array) -> tuple[Array, Array, Array]:
        """Return zeros: nothing is compared between the two kinds."""
        none = np.zeros((0, 1, len(self.sign)))
        return np.zeros((len(shapes), len(self.sign))), none, none

    def normalise(self, mu: Array, total: Array, shapes: Array) -> Normaliser:
        """Return the probability of the side on which the effect fell."""
        scale = np.sqrt(total)
        u = (self.critical - mu) / scale
        log_a = special.log_ndtr(-self.sign * u)
        ratio = np.exp(-0.5 * u * u - log_a) / ROOT_TWO_PI * self.sign
        means = (
            ratio / scale,
            u * ratio / total,
            (u * u - 1) * ratio / (total * scale),
            (u * u - 3) * u * ratio / total**2,
        )
        return Normaliser(log_a, means, np.zeros((0, 3, *mu.shape)), np.zeros((0, 0, *mu.shape)))


@dataclass(frozen=True)
class SelectionFits:
    """Fits, one per row of weights (or start).

    Attributes
    ----------
    beta
        Coefficients, shape (B, p).
    tau2
        Between-study variances, shape (B,).
    shapes
        Shape parameters (logarithms), shape (B, J).
    value
        Log-likelihoods, shape (B,).
    failed
        Whether no maximum was found, shape (B,).
    unfinished
        Which of those were still climbing at a finite mean when the steps ran out, shape (B,).
    """

    beta: Array
    tau2: Array
    shapes: Array
    value: Array
    failed: Mask
    unfinished: Mask

    @property
    def why_none(self) -> str:
        """Why no maximum was found, where none was."""
        if self.unfinished.any():
            return (
                f"the search was still climbing after {format_count(MAXIMUM_ITERATIONS, 'step')} "
                "without having found the maximum of the likelihood"
            )
        return "the likelihood has no maximum at a finite mean"


class SelectionLikelihood:
    """The log-likelihood of effects that were selected by a weight function.

    Parameters
    ----------
    y, v
        Effects and sampling variances, shape (k,).
    X
        Design of full column rank, shape (k, p).
    weights
        The weight function of these effects.

    Notes
    -----
    Hedges (1992, Statistical Science 7, 246–255); Vevea & Hedges (1995, Psychometrika 60,
    419–435): ``y`` has density ``w(p) N(y; Xb, v + τ²) / A`` with ``A = E w(p)``. The search is
    in ``log(τ² + v₀)`` with a typical variance v₀, so that τ² = 0 is a bound like any other.
    """

    def __init__(self, y: Array, v: Array, X: Array, weights: WeightFunction) -> None:
        self.unit = math.sqrt(len(v) / float((1 / v).sum()))
        self.y, self.v, self.X = y, v, X
        Q, R = np.linalg.qr(X)
        # columns of mean square 1 and effects in standard errors: all parameters are of one size
        size = math.sqrt(len(y)) * self.unit
        self.Q, self.basis = Q * size, R / size
        self.weights = weights
        self.p, self.J = X.shape[1], weights.n_shapes
        self.v0 = self.unit**2
        rows, columns = np.triu_indices(self.p)
        self.products = self.Q[:, rows] * self.Q[:, columns]
        self.upper = rows, columns
        q = self.p + 1 + self.J
        self.lower = np.full(q, -np.inf)
        self.higher = np.full(q, np.inf)
        self.lower[self.p] = np.log(self.v0)
        self.higher[self.p] = np.log((self.v0 + float(np.var(y))) * LARGEST_TAU2)
        self.lower[self.p + 1 :] = np.log(weights.smallest)
        self.higher[self.p + 1 :] = np.log(LARGEST_WEIGHT)

    def pack(self, beta: Array, tau2: Array, shapes: Array) -> Array:
        """Return parameters of the search, shape (B, q)."""
        gamma = beta @ self.basis.T
        t = np.where(tau2 > 0, np.log(tau2 + self.v0), self.lower[self.p])
        return np.column_stack([gamma, t, shapes])

    def tau2(self, parameters: Array) -> Array:
        """Return τ² of parameters of the search, shape (B,); exactly 0 at its bound."""
        t = parameters[:, self.p]
        return np.where(t <= self.lower[self.p], 0.0, np.expm1(t - self.lower[self.p]) * self.v0)

    def evaluate(self, parameters: Array, counts: Array) -> tuple[Array, Array, Array]:
        """Return log-likelihoods (B,), gradients (B, q) and Hessians (B, q, q) in natural τ².

        Parameters
        ----------
        parameters
            Shape (B, q).
        counts
            How often each effect counts, shape (B, k).
        """
        p, J = self.p, self.J
        shapes = parameters[:, p + 1 :]
        mu = parameters[:, :p] @ self.Q.T
        total = self.v + self.tau2(parameters)[:, None]
        n = self.weights.normalise(mu, total, shapes)
        log_w, w_first, w_second = self.weights.log_weights(shapes)
        r = self.y - mu
        m1, m2, m3, m4 = n.means
        rs = r / total
        value = (counts * (log_w - n.log - 0.5 * (np.log(total) + r * rs))).sum(axis=1)
        value -= 0.5 * math.log(2 * math.pi) * counts.sum(axis=1)
        q = p + 1 + J
        gradient = np.empty((len(mu), q))
        hessian = np.empty((len(mu), q, q))
        gradient[:, :p] = (counts * (rs - m1)) @ self.Q
        gradient[:, p] = (counts * 0.5 * (rs * rs - 1 / total - m2)).sum(axis=1)
        packed = (counts * (m1 * m1 - m2 - 1 / total)) @ self.products
        rows, columns = self.upper
        hessian[:, rows, columns] = packed
        hessian[:, columns, rows] = packed
        cross = (counts * (0.5 * (m1 * m2 - m3) - rs / total)) @ self.Q
        hessian[:, :p, p] = hessian[:, p, :p] = cross
        hessian[:, p, p] = (counts * ((0.5 / total - rs * rs) / total + 0.25 * (m2 * m2 - m4))).sum(
            axis=1
        )
        for j in range(J):
            d0, d1, d2 = n.shapes[j]
            at = p + 1 + j
            gradient[:, at] = (counts * (w_first[j] - d0)).sum(axis=1)
            cross = (counts * (d0 * m1 - d1)) @ self.Q
            hessian[:, :p, at] = hessian[:, at, :p] = cross
            hessian[:, p, at] = hessian[:, at, p] = (counts * 0.5 * (d0 * m2 - d2)).sum(axis=1)
            for i in range(j + 1):
                pair = d0 * n.shapes[i, 0] - n.pairs[i, j]
                if i == j:
                    pair = pair + w_second[j]
                other = p + 1 + i
                hessian[:, at, other] = hessian[:, other, at] = (counts * pair).sum(axis=1)
        return value, gradient, hessian

    def maximise(
        self,
        start: Array,
        counts: Array,
        free: Mask,
        *,
        advance: Callable[[int], None] = lambda n: None,
    ) -> SelectionFits:
        """Climb from each start with its counts.

        Parameters
        ----------
        start
            Parameters of the search, shape (B, q).
        counts
            Shape (B, k).
        free
            Which parameters move, shape (q,).
        advance
            Called with the number of finished fits.
        """
        size = max(CHUNK_ELEMENTS // len(self.y), 8)
        ends, values, failures, unfinished = [], [], [], []
        for first in range(0, len(start), size):
            part = slice(first, first + size)
            end, value, failed, going = self._climb(start[part], counts[part], free)
            ends.append(end)
            values.append(value)
            failures.append(failed)
            unfinished.append(going)
            advance(len(end))
        parameters = np.concatenate(ends)
        beta = np.linalg.solve(self.basis, parameters[:, : self.p].T).T
        return SelectionFits(
            np.asarray(beta, dtype=np.float64),
            self.tau2(parameters),
            parameters[:, self.p + 1 :],
            np.concatenate(values),
            np.concatenate(failures),
            np.concatenate(unfinished),
        )

    def _climb(self, start: Array, counts: Array, free: Mask) -> tuple[Array, Array, Mask, Mask]:
        """Return where Newton's method with bounds ends, the value there, failures and why."""
        x = np.clip(start, self.lower, self.higher)
        failed = np.ones(len(x), dtype=bool)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            value, gradient, hessian = self._search_derivatives(x, counts)
            step = self._step(x, gradient, hessian, free)
            finals = value.copy()
            places = x.copy()
            active = np.flatnonzero(np.isfinite(value))
            x, value, step, counts = x[active], value[active], step[active], counts[active]
            for _ in range(MAXIMUM_ITERATIONS):
                if not len(active):
                    break
                trial = np.clip(x + step, self.lower, self.higher)
                last = (np.abs(trial - x) < LAST_STEP * self._scale(x)).all(axis=1)
                new, gradient, hessian = self._search_derivatives(trial, counts)
                better = new >= value - ROUNDING * (1 + np.abs(value))
                longer = self._step(trial, gradient, hessian, free)
                x = np.where(better[:, None], trial, x)
                value = np.where(better, new, value)
                step = np.where(better[:, None], longer, step * SHORTENING)
                places[active], finals[active] = x, value
                failed[active[last]] = False
                going = ~last
                active, x, value = active[going], x[going], value[going]
                step, counts = step[going], counts[going]
            unfinished = np.zeros(len(failed), dtype=bool)
            unfinished[active] = True
            sane = self._is_sane(places)
        return places, finals, failed | ~sane, unfinished & sane

    def _is_sane(self, x: Array) -> Mask:
        """Return whether the parameters are an estimate rather than on the way to infinity."""
        mu = x[:, : self.p] @ self.Q.T
        reach = FURTHEST_MEAN * np.sqrt(self.v.max() + self.tau2(x))
        near = (mu >= self.y.min() - reach[:, None]) & (mu <= self.y.max() + reach[:, None])
        result: Mask = near.all(axis=1) & (x[:, self.p] < self.higher[self.p] - 1)
        return result

    def _search_derivatives(self, x: Array, counts: Array) -> tuple[Array, Array, Array]:
        """Return value, gradient and Hessian in the parameters of the search."""
        value, gradient, hessian = self.evaluate(x, counts)
        p = self.p
        chain = np.exp(x[:, p])
        hessian[:, p, :] *= chain[:, None]
        hessian[:, :, p] *= chain[:, None]
        gradient[:, p] *= chain
        hessian[:, p, p] += gradient[:, p]
        return value, gradient, hessian

    def _step(self, x: Array, gradient: Array, hessian: Array, free: Mask) -> Array:
        """Return Newton steps that climb and are not too long, 0 where a bound holds."""
        held: Mask = np.broadcast_to(~free, x.shape).copy()
        held |= (x <= self.lower) & (gradient < 0)
        held |= (x >= self.higher) & (gradient > 0)
        gradient = np.where(held, 0.0, gradient)
        both = np.logical_or(held[:, :, None], held[:, None, :])
        information = np.where(both, 0.0, -hessian)
        index = np.arange(x.shape[1])
        information[:, index, index] += held
        finite = np.isfinite(gradient).all(axis=1) & np.isfinite(information).all(axis=(1, 2))
        sound: Mask = np.asarray(finite, dtype=bool)
        information[~sound] = np.eye(x.shape[1])
        gradient = np.where(sound[:, None], gradient, 0.0)
        # a mean is measured in standard deviations of an effect
        scale = self._scale(x)
        gradient = gradient * scale
        information = information * scale[:, :, None] * scale[:, None, :]
        values, axes = np.linalg.eigh(information)
        # where the surface is not concave, its curvature still sets the scale of the step
        values = np.maximum(np.abs(values), LEAST_INFORMATION)
        along = np.matmul(np.swapaxes(axes, 1, 2), gradient[:, :, None]) / values[:, :, None]
        step = np.matmul(axes, along)[:, :, 0]
        longest = np.maximum(np.abs(step).max(axis=1), LONGEST_STEP)
        shortened = step * scale * (LONGEST_STEP / longest)[:, None]
        # rounding of the axes would move what is held
        result: Array = np.where(held, 0.0, shortened)
        return result

    def _scale(self, x: Array) -> Array:
        """Return the unit of each parameter, shape (B, q)."""
        scale = np.ones_like(x)
        scale[:, : self.p] = np.exp(0.5 * (x[:, [self.p]] - self.lower[self.p]))
        return scale
