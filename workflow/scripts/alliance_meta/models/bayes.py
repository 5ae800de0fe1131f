"""Bayesian read-out of the random-effects model by deterministic integration over τ."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray
from scipy import optimize, special

from alliance_meta.models.specification import InestimableError, SpecificationError

Array = NDArray[np.float64]

PRIORS = ("half_normal", "half_cauchy", "uniform")

# Gauss–Legendre nodes per panel
ORDER = 16
NODES, WEIGHTS = legendre.leggauss(ORDER)
# projection of values at the nodes on the two highest Legendre polynomials they determine
HIGHEST = ((legendre.legvander(NODES, ORDER - 1) * WEIGHTS[:, None]) * (np.arange(ORDER) + 0.5))[
    :, -2:
]
# a panel is fine enough when those coefficients are below this share of the whole: the error of
# the rule is of the order of their square
FINE_SHARE = 1e-6
MAX_ROUNDS = 60
# initial panels end at these quantiles of τ, read off a coarse grid
COARSE_QUANTILES = (1e-6, 1e-3, 0.02, 0.15, 0.5, 0.85, 0.98, 0.999, 1 - 1e-6)
COARSE_POINTS = 240
# functions whose mean is watched: distribution functions at so many standard deviations
WATCHED = (-1.5, 0.5, 2.0)
# nodes of less weight move no probability that is reported
NEGLIGIBLE_WEIGHT = 1e-17
ROOT_TOLERANCE = 1e-13
MAX_ROOT_STEPS = 100
GRID_POINTS = 201
# densities are drawn where they are above this share of their highest
VISIBLE_SHARE = 0.005
# half-widths of the central interval among which to look for that end
REACHES = np.geomspace(0.02, 200.0, 400)
# steps of the scan for several modes, and of the search for the shortest interval then
SCAN_POINTS = 41
SHARES = np.linspace(0.0, 1.0, SCAN_POINTS, endpoint=False)


@dataclass(frozen=True)
class TauPrior:
    """Prior of the between-study standard deviation τ.

    Attributes
    ----------
    family
        "half_normal", "half_cauchy" or "uniform" (improper, on all τ ≥ 0).
    scale
        Scale of the half-normal or half-Cauchy on the analysis metric; not of the uniform.
    """

    family: str
    scale: float = math.nan

    def __post_init__(self) -> None:
        if self.family not in PRIORS:
            raise SpecificationError(
                f"'{self.family}' is not a prior of tau; use one of: {', '.join(PRIORS)}"
            )
        if self.family != "uniform" and not (math.isfinite(self.scale) and self.scale > 0):
            raise SpecificationError(f"the scale of the {self.family} prior must be positive")

    def log_density(self, tau: Array) -> Array:
        """Return the log density at τ ≥ 0, same shape; 0 for the improper uniform."""
        if self.family == "uniform":
            return np.zeros_like(tau)
        ratio = tau / self.scale
        if self.family == "half_normal":
            return np.asarray(math.log(math.sqrt(2 / math.pi) / self.scale) - 0.5 * ratio**2)
        return np.asarray(math.log(2 / (math.pi * self.scale)) - np.log1p(ratio**2))

    def slope(self, tau: float) -> float:
        """Return the derivative of the log density."""
        if self.family == "uniform":
            return 0.0
        if self.family == "half_normal":
            return -tau / self.scale**2
        return -2 * tau / (self.scale**2 + tau**2)

    @property
    def tail_power(self) -> float:
        """Power a with which the density falls as ``tau ** -a``."""
        return {"uniform": 0.0, "half_cauchy": 2.0, "half_normal": math.inf}[self.family]


@dataclass(frozen=True)
class MuPrior:
    """Normal prior of the mean μ; infinite sd is the improper uniform."""

    mean: float = 0.0
    sd: float = math.inf

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and self.sd > 0):
            raise SpecificationError("the prior of mu needs a finite mean and a positive sd")


@dataclass(frozen=True)
class Marginal:
    """Posterior of one quantity.

    Attributes
    ----------
    mean, sd
        NaN and infinite where the posterior's tails are too heavy for them to exist.
    median
        Posterior median.
    central_low, central_high
        Equal-tailed interval.
    shortest_low, shortest_high
        Shortest interval, which for a posterior of one mode is that of highest density.
    """

    mean: float
    sd: float
    median: float
    central_low: float
    central_high: float
    shortest_low: float
    shortest_high: float


@dataclass(frozen=True)
class Posterior:
    """Posterior of the normal–normal model of k studies.

    Attributes
    ----------
    tau_prior, mu_prior, ci_level
        As asked for.
    mu, tau, prediction
        Mean, between-study standard deviation, and true effect of a new study.
    tau_mode
        Mode of τ.
    studies
        True effect of each study, length k.
    shrinkage
        Expected share of the mean in each study's true effect, in [0, 1], shape (k,).
    thresholds
        Ascending or not, as given, shape (t,).
    mu_above, prediction_above
        Probability of exceeding each threshold, shape (t,).
    mu_grid, mu_density, tau_grid, tau_density
        Posterior densities for plots, shape (201,) each.
    """

    tau_prior: TauPrior
    mu_prior: MuPrior
    ci_level: float
    mu: Marginal
    tau: Marginal
    tau_mode: float
    prediction: Marginal
    studies: tuple[Marginal, ...]
    shrinkage: Array
    thresholds: Array
    mu_above: Array
    prediction_above: Array
    mu_grid: Array
    mu_density: Array
    tau_grid: Array
    tau_density: Array


def read_posterior(
    y: Array,
    v: Array,
    prior: TauPrior,
    *,
    ci_level: float = 0.95,
    thresholds: Sequence[float] | Array = (),
    mu_prior: MuPrior | None = None,
) -> Posterior:
    """Return the posterior of ``y_i ~ N(theta_i, v_i)``, ``theta_i ~ N(mu, tau²)``.

    Parameters
    ----------
    y, v
        Effects, one per study, and their sampling variances, shape (k,).
    prior
        Prior of τ, on the scale of ``y``.
    ci_level
        Probability of the intervals, in (0, 1).
    thresholds
        Values of μ and of a new study's effect to give the probability of exceeding.
    mu_prior
        Prior of μ; None for the improper uniform.

    Returns
    -------
    Posterior

    Raises
    ------
    InestimableError
        If the uniform prior of τ leaves no proper posterior (fewer than 3 studies, or 2 with
        a proper prior of μ), or a variance is not positive.

    Notes
    -----
    Röver (2020, J. Stat. Softw. 93(6)): given τ all is normal, so that every posterior but
    that of τ is a mixture of normals over τ. The mixture is taken at Gauss–Legendre nodes on
    panels of ``tau / (tau + s)`` that are halved until the integrals are exact to about
    1e-11; no random numbers are drawn.
    """
    mu_prior = mu_prior or MuPrior()
    y, v = np.asarray(y, dtype=np.float64), np.asarray(v, dtype=np.float64)
    limits = np.asarray(thresholds, dtype=np.float64)
    k = len(y)
    if k == 0 or not (np.isfinite(y).all() and np.isfinite(v).all() and (v > 0).all()):
        raise InestimableError("every effect needs a finite value and a positive sampling variance")
    # at large τ the likelihood falls by one power per study, a flat mean taking one of them
    proper = math.isfinite(mu_prior.sd)
    power = prior.tail_power + k - (0 if proper else 1)
    if power <= 1:
        raise InestimableError(
            f"{k} {'study' if k == 1 else 'studies'} with a uniform prior of tau "
            f"leave{'s' if k == 1 else ''} no proper posterior; use a half-normal or half-Cauchy "
            f"prior, or at least {2 if proper else 3} studies"
        )
    model = _Model(y, v, prior, mu_prior)
    panels = _lay_panels(model, power)
    tau, weight = panels.tau.ravel(), panels.weight.ravel()
    tau_marginal, tau_mode = _read_tau(panels, power, ci_level)

    kept = weight > NEGLIGIBLE_WEIGHT
    mixture = _Mixture.of(model, tau, weight)
    # the mean and the new effect inherit the tails of τ, unless the mean has its own prior
    exists = np.array([power if not proper else math.inf, power] + [math.inf] * k)
    centred = _read_mixture(mixture.restrict(kept), mixture.moments(exists), ci_level)
    marginals = [_shift(marginal, model.origin) for marginal in centred]

    mu_part = mixture.only([0, 1])
    above = mu_part.above(np.repeat(limits[:, None] - model.origin, 2, axis=1))
    mu_only = mixture.only([0]).restrict(kept)
    half = (centred[0].central_high - centred[0].central_low) / 2
    low, high = (
        _see(lambda x: mu_only.density(x[:, None])[:, 0], centred[0].median, side * half)
        for side in (-1, 1)
    )
    centred_grid = np.linspace(low, high, GRID_POINTS)
    tau_end = _see(panels.density, 0.0, tau_marginal.central_high)
    tau_grid = np.linspace(0.0, tau_end, GRID_POINTS)
    return Posterior(
        tau_prior=prior,
        mu_prior=mu_prior,
        ci_level=ci_level,
        mu=marginals[0],
        tau=tau_marginal,
        tau_mode=tau_mode,
        prediction=marginals[1],
        studies=tuple(marginals[2:]),
        shrinkage=np.asarray((v[:, None] / (v[:, None] + tau**2)) @ weight),
        thresholds=limits,
        mu_above=above[:, 0],
        prediction_above=above[:, 1],
        mu_grid=centred_grid + model.origin,
        mu_density=mu_only.density(centred_grid[:, None])[:, 0],
        tau_grid=tau_grid,
        tau_density=panels.density(tau_grid),
    )


class _Model:
    """The posterior of τ up to a constant, and the normal posterior of μ given τ."""

    def __init__(self, y: Array, v: Array, prior: TauPrior, mu_prior: MuPrior) -> None:
        self.y, self.v, self.prior, self.mu_prior = y, v, prior, mu_prior
        self.precision = 0.0 if math.isinf(mu_prior.sd) else mu_prior.sd**-2
        # where to count effects from, so that their level costs no digits
        self.origin = float(y @ (1 / v) / (1 / v).sum())
        self.centred = y - self.origin
        self.prior_mean = mu_prior.mean - self.origin if self.precision else 0.0

    def log_density(self, tau: Array) -> tuple[Array, Array, Array]:
        """Return the log posterior density of τ but for a constant, and mean and variance of μ.

        Parameters
        ----------
        tau
            Shape (n,).

        Returns
        -------
        log_density, mean, variance
            Shape (n,) each; the mean is counted from ``origin``.
        """
        total = self.v[:, None] + tau**2
        w = 1 / total
        variance = 1 / (w.sum(axis=0) + self.precision)
        mean = (self.centred @ w + self.precision * self.prior_mean) * variance
        misfit = (w * (self.centred[:, None] - mean) ** 2).sum(axis=0)
        misfit += self.precision * (self.prior_mean - mean) ** 2
        value = self.prior.log_density(tau) - 0.5 * (np.log(total).sum(axis=0) + misfit)
        return value + 0.5 * np.log(variance), mean, variance

    def slope(self, tau: float) -> float:
        """Return the derivative of the log posterior density of τ."""
        w = 1 / (self.v + tau**2)
        variance = 1 / (w.sum() + self.precision)
        mean = (self.centred @ w + self.precision * self.prior_mean) * variance
        score = (w**2 * (self.centred - mean) ** 2).sum() - w.sum() + (w**2).sum() * variance
        return self.prior.slope(tau) + tau * float(score)


@dataclass(frozen=True)
class _Panels:
    """Gauss–Legendre panels on ``x = tau / (tau + unit)``; weights sum to 1.

    ``edges`` (n + 1,), ``tau`` and ``weight`` (n, ORDER); ``log_constant`` normalises the
    density of τ.
    """

    model: _Model
    unit: float
    edges: Array
    tau: Array
    weight: Array
    log_constant: float

    def density(self, tau: Array) -> Array:
        """Return the posterior density of τ, same shape."""
        return np.asarray(np.exp(self.model.log_density(tau)[0] - self.log_constant))

    def cumulate(self, tau: float) -> float:
        """Return the probability that τ is at most ``tau``."""
        x = tau / (tau + self.unit)
        panel = min(int(np.searchsorted(self.edges, x, side="right")) - 1, len(self.tau) - 1)
        half = (x - self.edges[panel]) / 2
        nodes = self.edges[panel] + half * (1 + NODES)
        jacobian = self.unit / (1 - nodes) ** 2
        part = self.density(self.unit * nodes / (1 - nodes)) * jacobian
        return float(self.weight[:panel].sum() + half * (WEIGHTS @ part))

    def quantile(self, probability: float) -> float:
        """Return the quantile of τ."""
        cumulative = np.concatenate([[0.0], np.cumsum(self.weight.sum(axis=1))])
        last = len(self.tau) - 1
        panel = min(int(np.searchsorted(cumulative, probability, side="right")) - 1, last)
        low, high = float(self.edges[panel]), float(self.edges[panel + 1])
        if probability <= 0:
            return 0.0
        tau = float(self.guess(np.array([probability]))[0])
        x = tau / (tau + self.unit)
        for _ in range(MAX_ROOT_STEPS):
            if not low < x < high:
                x = (low + high) / 2
            tau = self.unit * x / (1 - x)
            excess = self.cumulate(tau) - probability
            low, high = (low, x) if excess >= 0 else (x, high)
            slope = float(self.density(np.array([tau]))[0]) * self.unit / (1 - x) ** 2
            step = excess / slope if slope > 0 else math.inf
            x -= step
            if abs(step) <= ROOT_TOLERANCE * x or high - low <= 1e-16:
                break
        return self.unit * x / (1 - x)

    def guess(self, probability: Array) -> Array:
        """Return rough quantiles of τ, from the weights alone, same shape."""
        weight = self.weight.ravel()
        return np.interp(probability, np.cumsum(weight) - weight / 2, self.tau.ravel())


def _lay_panels(model: _Model, power: float) -> _Panels:
    """Return panels fine enough for every posterior that is read off them."""
    coarse, mass = _scan_tau(model)
    cumulative = np.cumsum(mass) / mass.sum()
    quantiles = np.interp((*COARSE_QUANTILES,), cumulative, coarse)
    unit = float(quantiles[COARSE_QUANTILES.index(0.5)])
    edges = np.unique(np.concatenate([[0.0], quantiles / (quantiles + unit), [1.0]]))
    points = _watch_points(model, coarse, mass)
    top = float(model.log_density(np.array([coarse[int(np.argmax(mass))]]))[0][0])

    done: list[tuple[Array, Array, Array]] = []
    low, high = edges[:-1], edges[1:]
    total = np.zeros(0)
    for _ in range(MAX_ROUNDS):
        half = (high - low) / 2
        x = low[:, None] + half[:, None] * (1 + NODES)
        tau = unit * x / (1 - x)
        log_density, mean, variance = model.log_density(tau.ravel())
        scaled = np.exp(log_density - top).reshape(x.shape) * unit / (1 - x) ** 2 * half[:, None]
        functions = _watched(model, points, tau.ravel(), mean, variance, power)
        values = functions.reshape(-1, *x.shape) * scaled
        sums = (values @ WEIGHTS).sum(axis=1)
        if not len(total):
            total = np.zeros_like(sums)
        rough = np.abs(values @ HIGHEST).sum(axis=-1)
        whole = total + sums
        fine = (rough <= FINE_SHARE * whole[:, None]).all(axis=0)
        fine |= half < np.finfo(float).eps
        done.append((low[fine], high[fine], scaled[fine]))
        total = total + (values[:, fine] @ WEIGHTS).sum(axis=1)
        low, high = low[~fine], high[~fine]
        if not len(low):
            break
        middle = (low + high) / 2
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
    else:
        raise InestimableError("the integration over tau did not converge")
    low, high, scaled = (np.concatenate([part[i] for part in done]) for i in range(3))
    order = np.argsort(low)
    low, high, scaled = low[order], high[order], scaled[order]
    x = low[:, None] + (high - low)[:, None] / 2 * (1 + NODES)
    weight = scaled * WEIGHTS
    constant = float(weight.sum())
    return _Panels(
        model,
        unit,
        np.append(low, high[-1]),
        unit * x / (1 - x),
        weight / constant,
        top + math.log(constant),
    )


def _scan_tau(model: _Model) -> tuple[Array, Array]:
    """Return τ on a wide logarithmic grid and the posterior mass about each point."""
    scales = [math.sqrt(float(model.v.min())), math.sqrt(float(model.v.max()))]
    scales.append(float(np.abs(model.centred).max()))
    if model.prior.family != "uniform":
        scales.append(model.prior.scale)
    scales = [scale for scale in scales if scale > 0]
    tau = np.geomspace(1e-5 * min(scales), 1e5 * max(scales), COARSE_POINTS)
    log_mass = model.log_density(tau)[0] + np.log(tau)
    mass = np.exp(log_mass - log_mass.max())
    # once more where the mass is
    kept = np.flatnonzero(mass > 1e-12)
    low, high = max(kept[0] - 1, 0), min(kept[-1] + 1, len(tau) - 1)
    tau = np.geomspace(tau[low], tau[high], COARSE_POINTS)
    log_mass = model.log_density(tau)[0] + np.log(tau)
    return tau, np.asarray(np.exp(log_mass - log_mass.max()))


def _watch_points(model: _Model, tau: Array, mass: Array) -> Array:
    """Return values at which distribution functions are watched, shape (3, k + 2)."""
    middle = np.array([tau[int(np.searchsorted(np.cumsum(mass), mass.sum() / 2))]])
    _, mean, variance = model.log_density(middle)
    means, sds = _components(model, middle, mean, variance)
    return np.asarray(means.T + np.array(WATCHED)[:, None] * sds.T)


def _watched(
    model: _Model, points: Array, tau: Array, mean: Array, variance: Array, power: float
) -> Array:
    """Return positive functions of τ whose posterior means must be exact, shape (m, n)."""
    means, sds = _components(model, tau, mean, variance)
    distribution = special.ndtr((points[:, :, None] - means) / sds)
    rows = [np.ones_like(tau)]
    if power > 2:
        rows.append(tau)
    if power > 3:
        rows.append(tau**2)
    return np.concatenate([np.array(rows), distribution.reshape(-1, len(tau))])


def _components(model: _Model, tau: Array, mean: Array, variance: Array) -> tuple[Array, Array]:
    """Return mean and sd given τ of μ, a new effect and each study's, shape (k + 2, n).

    Röver (2020), section 2; a study's effect is ``(1 − B) y + B mu`` with ``B = v / (v + τ²)``.
    """
    square = tau**2
    share = model.v[:, None] / (model.v[:, None] + square)
    means = np.concatenate(
        [mean[None, :], mean[None, :], share * mean + (1 - share) * model.centred[:, None]]
    )
    spread = np.concatenate(
        [variance[None, :], (variance + square)[None, :], share * square + share**2 * variance]
    )
    return means, np.sqrt(spread)


@dataclass(frozen=True)
class _Mixture:
    """M mixtures of n normals with common weights; ``means`` and ``sds`` have shape (M, n).

    Everything is counted from the origin of the model.
    """

    means: Array
    sds: Array
    weight: Array

    @classmethod
    def of(cls, model: _Model, tau: Array, weight: Array) -> "_Mixture":
        _, mean, variance = model.log_density(tau)
        return cls(*_components(model, tau, mean, variance), weight)

    def only(self, rows: list[int] | NDArray[np.intp]) -> "_Mixture":
        """Return some of the mixtures."""
        return _Mixture(self.means[rows], self.sds[rows], self.weight)

    def restrict(self, kept: NDArray[np.bool_]) -> "_Mixture":
        """Return the mixtures of some components, weights summing to 1."""
        weight = self.weight[kept]
        return _Mixture(self.means[:, kept], self.sds[:, kept], weight / weight.sum())

    def moments(self, power: Array) -> tuple[Array, Array]:
        """Return means and sds, shape (M,), where tails ``tau ** -power`` let them exist."""
        mean = self.means @ self.weight
        spread = self.sds**2 + (self.means - mean[:, None]) ** 2
        sd = np.where(power > 3, np.sqrt(spread @ self.weight), np.inf)
        return np.where(power > 2, mean, np.nan), sd

    def _standardise(self, x: Array) -> Array:
        return (x[..., None] - self.means) / self.sds

    def cumulate(self, x: Array) -> Array:
        """Return distribution functions at x, shape (..., M)."""
        return np.asarray(special.ndtr(self._standardise(x)) @ self.weight)

    def above(self, x: Array) -> Array:
        """Return probabilities of exceeding x, shape (..., M)."""
        return np.asarray(special.ndtr(-self._standardise(x)) @ self.weight)

    def density(self, x: Array) -> Array:
        """Return densities at x, shape (..., M)."""
        return self._density_and_slope(x)[0]

    def _density_and_slope(self, x: Array) -> tuple[Array, Array]:
        z = self._standardise(x)
        part = np.exp(-0.5 * z**2) / (self.sds * math.sqrt(2 * math.pi))
        return np.asarray(part @ self.weight), np.asarray((-part * z / self.sds) @ self.weight)

    def quantiles(self, probability: float | Array) -> Array:
        """Return quantiles, shape (M,), by Newton steps inside shrinking brackets."""
        target = np.broadcast_to(np.asarray(probability, dtype=float), self.means.shape[:1])
        ends = self.means + special.ndtri(target)[:, None] * self.sds
        # the quantile lies between those of the components
        low, high = ends.min(axis=1), ends.max(axis=1)
        x = ends @ self.weight
        x = np.where((x >= low) & (x <= high), x, (low + high) / 2)
        todo = np.arange(len(x))
        for _ in range(MAX_ROOT_STEPS):
            part = self.only(todo)
            here = x[todo]
            excess = part.cumulate(here) - target[todo]
            low[todo] = np.where(excess <= 0, here, low[todo])
            high[todo] = np.where(excess >= 0, here, high[todo])
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                trial = here - excess / part.density(here)
            inside = (trial > low[todo]) & (trial < high[todo])
            moved = np.where(inside, trial, (low[todo] + high[todo]) / 2)
            x[todo] = moved
            typical = part.sds @ part.weight
            todo = todo[
                (np.abs(moved - here) > ROOT_TOLERANCE * (np.abs(moved) + typical)) & (excess != 0)
            ]
            if not len(todo):
                break
        return x

    def shortest(self, level: float, low: Array, high: Array) -> tuple[Array, Array]:
        """Return the shortest intervals of a probability, shape (M,) each.

        Newton's method on equal densities at both ends and the probability between them, from
        the central interval; where a density has several modes, a search over the lower tail.
        """
        a, b = low.copy(), high.copy()
        typical = (high - low) / 2
        solved = np.zeros(len(a), dtype=bool)
        for _ in range(MAX_ROOT_STEPS):
            todo = np.flatnonzero(~solved)
            if not len(todo):
                break
            part = self.only(todo)
            lack = part.cumulate(b[todo]) - part.cumulate(a[todo]) - level
            fa, sa = part._density_and_slope(a[todo])
            fb, sb = part._density_and_slope(b[todo])
            determinant = -fa * sb + fb * sa
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                step_a = (fb * (fb - fa) - lack * sb) / determinant
                step_b = (fa * (fb - fa) - lack * sa) / determinant
            limit = 0.5 * typical[todo]
            step_a = np.clip(np.nan_to_num(step_a), -limit, limit)
            step_b = np.clip(np.nan_to_num(step_b), -limit, limit)
            a[todo] += step_a
            b[todo] += step_b
            largest = np.maximum(np.abs(step_a), np.abs(step_b))
            solved[todo] = largest < 1e-11 * typical[todo]
        margin = typical
        scan = np.linspace(low - margin, high + margin, SCAN_POINTS)
        # in slices: the scan of all at once would not fit the cache
        densities = np.array([self.density(row) for row in scan])
        turns = (np.diff(np.sign(np.diff(densities, axis=0)), axis=0) < 0).sum(axis=0)
        inside = self.cumulate(b) - self.cumulate(a)
        trusted = solved & (turns <= 1) & (np.abs(inside - level) < 1e-10) & (a < b)
        for row in np.flatnonzero(~trusted).tolist():
            a[row], b[row] = self.only([row])._search_shortest(level)
        return a, b

    def _search_shortest(self, level: float) -> tuple[float, float]:
        """Return the shortest interval of the only mixture, whatever its modes."""

        def quantile(probability: float) -> float:
            return float(self.quantiles(probability)[0])

        def density(x: float) -> float:
            return float(self.density(np.array([x]))[0])

        # the whole line has no ends
        below = (1 - level) * SHARES[1:]
        copies = self.only([0] * len(below))
        lengths = copies.quantiles(below + level) - copies.quantiles(below)
        return _search_shortest(quantile, density, level, below, lengths)


def _read_mixture(
    mixture: _Mixture, moments: tuple[Array, Array], ci_level: float
) -> list[Marginal]:
    """Return the marginals of all mixtures."""
    tail = (1 - ci_level) / 2
    median = mixture.quantiles(0.5)
    low, high = mixture.quantiles(tail), mixture.quantiles(1 - tail)
    shortest = mixture.shortest(ci_level, low, high)
    columns = (*moments, median, low, high, *shortest)
    return [Marginal(*map(float, row)) for row in zip(*columns, strict=True)]


def _shift(marginal: Marginal, origin: float) -> Marginal:
    """Return the marginal of a quantity counted from zero rather than from ``origin``."""
    shifted = {name: value + origin for name, value in asdict(marginal).items() if name != "sd"}
    return replace(marginal, **shifted)


def _read_tau(panels: _Panels, power: float, ci_level: float) -> tuple[Marginal, float]:
    """Return the marginal of τ and its mode."""
    tau, weight = panels.tau.ravel(), panels.weight.ravel()
    # tails that have a mean or a variance fall faster than the square or the cube
    mean = float(tau @ weight) if power > 2 else math.inf
    sd = math.sqrt(float((tau - mean) ** 2 @ weight)) if power > 3 else math.inf
    tail = (1 - ci_level) / 2
    quantile = panels.quantile
    central = quantile(tail), quantile(1 - tail)
    mode = _find_mode(panels, tau)
    below = (1 - ci_level) * SHARES
    shortest = _search_shortest(
        quantile,
        lambda x: float(panels.density(np.array([x]))[0]),
        ci_level,
        below,
        panels.guess(below + ci_level) - panels.guess(below),
    )
    return Marginal(mean, sd, quantile(0.5), *central, *shortest), mode


def _see(density: Callable[[Array], Array], start: float, unit: float) -> float:
    """Return the farthest point on one side of ``start`` where a density is visible."""
    points = start + unit * REACHES
    values = density(points)
    return float(points[np.flatnonzero(values >= VISIBLE_SHARE * values.max())[-1]])


def _find_mode(panels: _Panels, tau: Array) -> float:
    """Return the τ of highest posterior density."""
    tau = np.concatenate([[0.0], tau])
    top = int(np.argmax(panels.model.log_density(tau)[0]))
    low, high = float(tau[max(top - 1, 0)]), float(tau[min(top + 1, len(tau) - 1)])
    slope = panels.model.slope
    # at zero itself the slope is that of the prior; just beyond it tells which way it goes
    low = max(low, 1e-9 * high)
    if slope(low) <= 0:
        return 0.0 if top <= 1 else low
    if slope(high) >= 0:
        return high
    return float(optimize.brentq(slope, low, high, xtol=1e-300, rtol=1e-14))


def _search_shortest(
    quantile: Callable[[float], float],
    density: Callable[[float], float],
    level: float,
    below: Array,
    lengths: Array,
) -> tuple[float, float]:
    """Return the shortest interval of a probability by a search over the tail below it.

    ``below`` are ascending tail probabilities and ``lengths`` the intervals' lengths there,
    rough ones will do: they tell where to look.
    """

    def ends(tail: float) -> tuple[float, float]:
        return quantile(tail), quantile(tail + level)

    def lengthening(tail: float) -> float:
        # the derivative of the length, times both densities
        low, high = ends(tail)
        return density(low) - density(high)

    best, last = int(np.argmin(lengths)), len(below) - 1
    left, right = max(best - 1, 0), min(best + 1, last)
    while (at_left := lengthening(float(below[left]))) > 0 and left > 0:
        left -= 1
    if at_left >= 0:
        return ends(float(below[left]))
    while (at_right := lengthening(float(below[right]))) < 0 and right < last:
        right += 1
    if at_right <= 0:
        return ends(float(below[right]))
    tail = optimize.brentq(lengthening, below[left], below[right], xtol=1e-17, rtol=1e-13)
    return ends(float(tail))
