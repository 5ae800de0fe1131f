"""Random intercepts for study and effect, with correlated sampling errors (three-level, CHE)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, sparse, stats

from alliance_meta.models.specification import InestimableError

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# a step of this share of a variance component ends the search: its square is rounding
STEP_TOLERANCE = 1e-10
# enough along a profile, where the likelihood is flat in the components that move
PROFILE_STEP_TOLERANCE = 1e-6
MAXIMUM_STEPS = 200
# steps by average information, which mostly suffice; then by the observed information
AVERAGE_STEPS = 6
# enough to tell which of several climbs leads highest
SEARCH_STEP_TOLERANCE = 1e-3
# a start this much below a maximum in log-likelihood leads to none that is higher
HOPELESS = 10.0
# a search that still moves by more than this share has not settled
UNSETTLED_SHARE = 1e-5
# below this share of the typical sampling variance a component is the boundary, zero
NEGLIGIBLE = 1e-9
# starting values: shares of the spread of the effects, zero among them
START_SHARES = (0.0, 0.03, 0.2, 0.8)
# a profile interval that reaches this many times the spread of the effects has no upper end
LARGEST_SHARE = 1e4


@dataclass(frozen=True)
class Structure:
    """Who shares what: effects within samples within blocks, and their random intercepts.

    Rows are sorted so that blocks, and samples within them, are contiguous. A block holds all
    studies that are tied by common samples: mostly one study.

    Attributes
    ----------
    order
        Positions of the sorted rows in the data, shape (k,).
    sample, block
        Number of each sorted row's sample and block, shape (k,).
    sample_starts, block_starts
        First sorted row of each.
    place
        Which of its block's random intercepts each sorted row has, shape (k,).
    intercept_group
        Variance group of each block's intercepts, shape (blocks, places); −1 pads.
    group
        Variance group of each sorted row, shape (k,).
    n_groups
        Number of variance groups: one, unless variances differ between levels.
    """

    order: Index
    sample: Index
    block: Index
    sample_starts: Index
    block_starts: Index
    place: Index
    intercept_group: Index
    intercept_study: Index
    group: Index
    n_groups: int

    @cached_property
    def indicator(self) -> Array:
        """Return which random intercept each sorted row has, shape (k, places)."""
        places = self.intercept_group.shape[1]
        return (self.place[:, None] == np.arange(places)).astype(float)

    def block_of_rows(self) -> Index:
        """Return the block of each row in the order of the data, shape (k,)."""
        result = np.empty_like(self.block)
        result[self.order] = self.block
        return result


def build_structure(
    studies: Index,
    samples: Index,
    groups: Index | None = None,
    cells: Index | None = None,
) -> Structure:
    """Sort effects into blocks that are independent of each other.

    Parameters
    ----------
    studies, samples
        Numbers (0, 1, … without gaps) of each effect's study and sample, shape (k,).
    groups
        Variance group of each effect, shape (k,); default: one group.
    cells
        Effects of one study share a random intercept within a cell only, shape (k,); default:
        the variance groups. A cell belongs to one group.

    Notes
    -----
    A sample coded in two studies makes one block of both.
    """
    k = len(studies)
    if groups is None:
        groups = np.zeros(k, dtype=np.intp)
    cells = groups if cells is None else cells
    n_studies, n_samples = int(studies.max()) + 1, int(samples.max()) + 1
    ties = sparse.coo_array(
        (np.ones(k), (studies, samples + n_studies)), shape=(n_studies + n_samples,) * 2
    )
    block_of_study = sparse.csgraph.connected_components(ties, directed=False)[1][:n_studies]
    block = _renumber(block_of_study.astype(np.intp)[studies])
    order = np.lexsort((np.arange(k), samples, block))
    block, sample, study, group = block[order], samples[order], studies[order], groups[order]

    sample_starts = np.flatnonzero(np.r_[True, (np.diff(sample) != 0) | (np.diff(block) != 0)])
    block_starts = np.flatnonzero(np.r_[True, np.diff(block) != 0])
    # random intercepts: one for each study and variance group in it
    intercepts, intercept = np.unique(
        np.column_stack([block, study, cells[order], group]), axis=0, return_inverse=True
    )
    first = np.searchsorted(intercepts[:, 0], np.arange(block[-1] + 1))
    local = np.arange(len(intercepts)) - first[intercepts[:, 0]]
    intercept_group = np.full((block[-1] + 1, int(local.max()) + 1), -1, dtype=np.intp)
    intercept_group[intercepts[:, 0], local] = intercepts[:, 3]
    intercept_study = np.full_like(intercept_group, -1)
    intercept_study[intercepts[:, 0], local] = intercepts[:, 1]
    lengths = np.diff(np.r_[sample_starts, k])
    return Structure(
        order,
        np.repeat(np.arange(len(sample_starts)), lengths),
        block,
        sample_starts,
        block_starts,
        local[intercept.ravel()],
        intercept_group,
        intercept_study,
        group,
        int(groups.max()) + 1,
    )


def _renumber(codes: Index) -> Index:
    """Return codes numbered by first appearance, so that order does not depend on names."""
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.intp)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse.ravel()]


class Covariance:
    """The marginal covariance Σ of the sorted effects, and its inverse by low-rank updates.

    Σ of a block is ``M + U T U'``: M holds the sampling errors and the within-study variance
    (a diagonal plus rank one for each sample), U which effects share a random intercept, T
    the variances of the intercepts. Everything costs time and memory linear in the effects.
    """

    def __init__(self, structure: Structure, v: Array, rho: float, between: Array, within: Array):
        s = structure
        self.structure, self.v, self.rho = s, v, rho
        self.between, self.within = between, within
        self.diagonal = (1 - rho) * v + within[s.group]
        self.root = np.sqrt(v)
        share = np.add.reduceat(v / self.diagonal, s.sample_starts)
        self.sample_factor = rho / (1 + rho * share)
        self.log_determinant = float(np.log(self.diagonal).sum() + np.log1p(rho * share).sum())

        padded = np.where(s.intercept_group >= 0, between[s.intercept_group], 0.0)
        self.spread = padded
        self.inverse_indicator = self._solve_sampling(s.indicator)
        self.gram = self._gather(self.inverse_indicator)
        scale = np.sqrt(padded)
        inner = np.eye(padded.shape[1]) + scale[:, :, None] * self.gram * scale[:, None, :]
        if padded.shape[1] == 1:
            self.log_determinant += float(np.log(inner).sum())
            self.core = padded[:, :, None] / inner
        else:
            self.log_determinant += float(np.linalg.slogdet(inner)[1].sum())
            self.core = scale[:, :, None] * np.linalg.inv(inner) * scale[:, None, :]

    def _solve_sampling(self, values: Array) -> Array:
        """Return ``M⁻¹ values`` of sorted rows, shape (k, q)."""
        scaled = values / self.diagonal[:, None]
        if self.rho == 0:
            return scaled
        s = self.structure
        shared = np.add.reduceat(self.root[:, None] * scaled, s.sample_starts, axis=0)
        shared *= self.sample_factor[:, None]
        scaled -= (self.root / self.diagonal)[:, None] * shared[s.sample]
        return scaled

    def _gather(self, values: Array) -> Array:
        """Return ``U' values`` of each block, shape (blocks, places, q)."""
        s = self.structure
        if s.intercept_group.shape[1] == 1:
            return np.add.reduceat(values, s.block_starts, axis=0)[:, None, :]
        products = s.indicator[:, :, None] * values[:, None, :]
        return np.add.reduceat(products, s.block_starts, axis=0)

    def solve(self, values: Array) -> Array:
        """Return ``Σ⁻¹ values`` of sorted rows, shape (k, q)."""
        result = self._solve_sampling(values)
        shared = self.core @ self._gather(result)
        if shared.shape[1] == 1:
            result -= self.inverse_indicator * shared[:, 0][self.structure.block]
        else:
            block = self.structure.block
            result -= np.einsum("kl,klq->kq", self.inverse_indicator, shared[block])
        return result

    def inverse_diagonal(self) -> Array:
        """Return the diagonal of Σ⁻¹, shape (k,)."""
        s = self.structure
        sampling = 1 / self.diagonal
        sampling -= self.sample_factor[s.sample] * self.v / self.diagonal**2
        if self.core.shape[1] == 1:
            return sampling - self.core[:, 0, 0][s.block] * self.inverse_indicator[:, 0] ** 2
        return sampling - np.einsum(
            "kl,klm,km->k", self.inverse_indicator, self.core[s.block], self.inverse_indicator
        )

    def intercept_precision(self) -> Array:
        """Return ``u'Σ⁻¹u`` for each random intercept's rows u, shape (blocks, places)."""
        inner = self.gram - self.gram @ self.core @ self.gram
        return np.einsum("bll->bl", inner)

    def intercept_sums(self, values: Array) -> Array:
        """Return ``u'values`` for each random intercept, shape (blocks, places, q)."""
        return self._gather(values)

    def dense(self, rows: Index) -> Array:
        """Return Σ among some sorted rows, one block each, shape (m, n, n).

        Parameters
        ----------
        rows
            Shape (m, n): n sorted rows of each of m blocks.
        """
        s = self.structure
        same_sample = s.sample[rows][:, :, None] == s.sample[rows][:, None, :]
        same_place = s.place[rows][:, :, None] == s.place[rows][:, None, :]
        root = self.root[rows]
        result: Array = self.rho * same_sample * root[:, :, None] * root[:, None, :]
        spread = np.take_along_axis(self.spread[s.block[rows[:, 0]]], s.place[rows], axis=1)
        result += same_place * spread[:, :, None]
        n = rows.shape[1]
        result[:, np.arange(n), np.arange(n)] += self.diagonal[rows]
        return result


@dataclass(frozen=True)
class Evaluation:
    """The likelihood at some variance components, and what comes with it.

    Attributes
    ----------
    log_likelihood
        With all constants, as metafor's ``logLik``.
    coefficients
        Generalised least squares, shape (p,).
    information
        ``X'Σ⁻¹X``, shape (p, p).
    projected
        ``Py = Σ⁻¹(y − Xb)``, sorted rows, shape (k,).
    """

    covariance: Covariance
    log_likelihood: float
    coefficients: Array
    information: Array
    projected: Array
    inverse_design: Array


class Likelihood:
    """(Restricted) likelihood of the variance components.

    Components are ordered: between-study variance of each group, then within-study variance
    of each group. REML after Harville (1977); scores and average information after Gilmour,
    Thompson & Cullis (1995).
    """

    def __init__(
        self, y: Array, v: Array, X: Array, structure: Structure, rho: float, *, restricted: bool
    ):
        order = structure.order
        self.structure, self.rho, self.restricted = structure, rho, restricted
        self.X, self.v = X[order], v[order]
        # residuals of ordinary least squares keep the digits that a large mean would cost
        self.offset = np.linalg.lstsq(X, y, rcond=None)[0]
        self.y = y[order] - self.X @ self.offset
        k, p = X.shape
        count = k - p if restricted else k
        self.constant = -0.5 * count * np.log(2 * np.pi)
        if restricted:
            self.constant += 0.5 * float(np.linalg.slogdet(X.T @ X)[1])

    @property
    def n_components(self) -> int:
        """Number of variance components."""
        return 2 * self.structure.n_groups

    def evaluate(self, theta: Array) -> Evaluation:
        """Return the likelihood at variance components, shape (2 × groups,)."""
        G = self.structure.n_groups
        covariance = Covariance(self.structure, self.v, self.rho, theta[:G], theta[G:])
        solved = covariance.solve(np.column_stack([self.X, self.y]))
        inverse_design = solved[:, :-1]
        information = self.X.T @ inverse_design
        coefficients = np.asarray(np.linalg.solve(information, inverse_design.T @ self.y), float)
        projected = solved[:, -1] - inverse_design @ coefficients
        value = -0.5 * (covariance.log_determinant + float(self.y @ projected))
        if self.restricted:
            value -= 0.5 * float(np.linalg.slogdet(information)[1])
        return Evaluation(
            covariance,
            value + self.constant,
            coefficients,
            information,
            projected,
            inverse_design,
        )

    def slope(self, at: Evaluation) -> tuple[Array, Array]:
        """Return score and average information of the components, shapes (c,), (c, c)."""
        s, covariance, G = self.structure, at.covariance, self.structure.n_groups
        p = self.X.shape[1]
        sums = covariance.intercept_sums(np.column_stack([at.projected, at.inverse_design]))
        present = s.intercept_group >= 0
        owner = s.intercept_group[present]
        pulls = sums[:, :, 0]

        traces = np.concatenate(
            [
                np.bincount(owner, covariance.intercept_precision()[present], G),
                np.bincount(s.group, covariance.inverse_diagonal(), G),
            ]
        )
        if self.restricted:
            root = np.linalg.cholesky(np.linalg.inv(at.information))
            between = ((sums[:, :, 1:] @ root) ** 2).sum(axis=2)
            within = ((at.inverse_design @ root) ** 2).sum(axis=1)
            traces[:G] -= np.bincount(owner, between[present], G)
            traces[G:] -= np.bincount(s.group, within, G)
        quadratics = np.concatenate(
            [
                np.bincount(owner, pulls[present] ** 2, G),
                np.bincount(s.group, at.projected**2, G),
            ]
        )
        score = 0.5 * (quadratics - traces)

        spread_out = np.take_along_axis(pulls[s.block], s.place[:, None], axis=1)[:, 0]
        # derivatives of Σ times Py, one column for each component
        working = np.zeros((len(self.y), 2 * G))
        rows = np.arange(len(self.y))
        working[rows, s.group] = spread_out
        working[rows, G + s.group] = at.projected
        solved = covariance.solve(working)
        cross = at.inverse_design.T @ working
        information = working.T @ solved
        if p:
            information -= cross.T @ np.linalg.solve(at.information, cross)
        return score, 0.5 * information

    def spread(self) -> float:
        """Return the variance of the effects around the design, the scale of the search."""
        k, p = self.X.shape
        return float(self.y @ self.y) / max(k - p, 1)

    def maximise(
        self, start: Array, free: NDArray[np.bool_], tolerance: float = STEP_TOLERANCE
    ) -> tuple[Array, Evaluation]:
        """Climb to the maximum over the free components, all at least zero.

        Parameters
        ----------
        start
            Starting values, shape (c,); components that are not free keep theirs.
        free
            Which components may move, shape (c,).
        tolerance
            Length of the step that ends the climb, as a share of the largest component.

        Raises
        ------
        InestimableError
            If the search does not settle.
        """
        theta = start.astype(float).copy()
        at = self.evaluate(theta)
        floor = NEGLIGIBLE * float(self.v.mean())
        moved = 0.0
        for count in range(MAXIMUM_STEPS):
            score, information = self.slope(at)
            moving = free & ((theta > 0) | (score > 0))
            if not moving.any():
                return theta, at
            if count >= AVERAGE_STEPS:
                information = self._observe(theta, score, information, moving)
            step = np.zeros_like(theta)
            inner = information[np.ix_(moving, moving)]
            # the average information can be singular where two components nearly coincide
            ridge = 1e-12 * np.trace(inner) * np.eye(len(inner))
            step[moving] = np.linalg.solve(inner + ridge, score[moving])
            theta, at, moved = self._advance(theta, at, step, floor)
            if moved <= tolerance * (theta.max() + floor):
                return theta, at
        if moved <= UNSETTLED_SHARE * (theta.max() + floor):
            return theta, at
        raise InestimableError("the variance components did not settle; use another model")

    def _observe(
        self, theta: Array, score: Array, average: Array, moving: NDArray[np.bool_]
    ) -> Array:
        """Return the observed information by differences of the score, if it is positive.

        Near the maximum its steps converge faster than those of the average information, which
        is the return value elsewhere.
        """
        step = 1e-6 * (theta + 0.01 * self.spread())
        columns = np.zeros_like(average)
        for i in np.flatnonzero(moving):
            shifted = theta.copy()
            shifted[i] += step[i]
            columns[:, i] = (score - self.slope(self.evaluate(shifted))[0]) / step[i]
        observed = (columns + columns.T) / 2
        inner = observed[np.ix_(moving, moving)]
        return observed if np.linalg.eigvalsh(inner)[0] > 0 else average

    def _advance(
        self, theta: Array, at: Evaluation, step: Array, floor: float
    ) -> tuple[Array, Evaluation, float]:
        """Take the longest part of a step that does not lower the likelihood."""
        slack = 1e-11 * (1 + abs(at.log_likelihood))
        for halving in range(40):
            new = np.maximum(theta + step / 2**halving, 0.0)
            new[(new < floor) & (step < 0)] = 0.0
            candidate = self.evaluate(new)
            if candidate.log_likelihood >= at.log_likelihood - slack:
                return new, candidate, float(np.abs(new - theta).max())
        return theta, at, 0.0

    def search(self, free: NDArray[np.bool_]) -> tuple[Array, Evaluation]:
        """Find the maximum from the best points of a grid, on and off the boundary.

        The likelihood can have a maximum without variance between studies, another without
        variance within them, and one with both, which is sought from more than one side: a
        climb may end on the boundary although there is a higher point inside.
        """
        G, scale = self.structure.n_groups, self.spread()
        starts: dict[tuple[bool, bool, bool], tuple[float, Array]] = {}
        for between in START_SHARES:
            for within in START_SHARES:
                theta = np.repeat([between * scale, within * scale], G)
                theta[~free] = 0.0
                value = self.evaluate(theta).log_likelihood
                kind = (bool(theta[:G].any()), bool(theta[G:].any()), between >= within)
                if kind not in starts or value > starts[kind][0]:
                    starts[kind] = (value, theta)
        best: tuple[float, Array] | None = None
        for value, theta in sorted(starts.values(), key=lambda start: -start[0]):
            if best is not None and value < best[0] - HOPELESS:
                continue
            try:
                theta, at = self.maximise(theta, free, SEARCH_STEP_TOLERANCE)
            except InestimableError:
                continue
            if best is None or at.log_likelihood > best[0]:
                best = (at.log_likelihood, theta)
        if best is None:
            raise InestimableError("the variance components did not settle; use another model")
        return self.maximise(best[1], free)


@dataclass(frozen=True)
class MultilevelFit:
    """A fitted three-level or correlated and hierarchical effects model.

    Attributes
    ----------
    theta
        Variance components: between studies for each group, then within, shape (2 × groups,).
    free
        Which components were estimated; the others are zero by design.
    coefficients, bread
        Generalised least squares and ``(X'Σ⁻¹X)⁻¹``, shapes (p,) and (p, p).
    residuals
        ``y − Xb`` in the order of the data, shape (k,).
    weights
        Row sums of Σ⁻¹ in the order of the data, shape (k,); they can be negative.
    """

    likelihood: Likelihood
    theta: Array
    free: NDArray[np.bool_]
    evaluation: Evaluation
    coefficients: Array
    bread: Array
    residuals: Array
    weights: Array

    @property
    def between(self) -> Array:
        """Between-study variance of each group."""
        return self.theta[: self.likelihood.structure.n_groups]

    @property
    def within(self) -> Array:
        """Within-study variance of each group."""
        return self.theta[self.likelihood.structure.n_groups :]

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood with all constants."""
        return self.evaluation.log_likelihood

    def working_covariance(self) -> Callable[[Index], Array]:
        """Return the maker of Σ among rows (in the order of the data), shape (m, n, n)."""
        position = np.empty_like(self.likelihood.structure.order)
        position[self.likelihood.structure.order] = np.arange(len(position))
        return lambda rows: self.evaluation.covariance.dense(position[rows])

    def profile_interval(self, component: int, ci_level: float) -> tuple[float, float]:
        """Return the profile-likelihood interval of a variance component.

        Notes
        -----
        All values that a likelihood-ratio test with one degree of freedom does not reject; the
        other components are estimated anew at each. NaN where the end lies beyond any data or
        the others do not settle.
        """
        if not self.free[component]:
            return np.nan, np.nan
        lik, estimate = self.likelihood, float(self.theta[component])
        limit = math.sqrt(float(stats.chi2.ppf(ci_level, 1)))
        others = self.free.copy()
        others[component] = False
        warm = self.theta.copy()

        def excess(value: float) -> float:
            nonlocal warm
            start = warm.copy()
            start[component] = value
            warm, at = lik.maximise(start, others, PROFILE_STEP_TOLERANCE)
            # the root of the ratio is nearly a line, which the search for its zero likes
            ratio = max(2 * (self.log_likelihood - at.log_likelihood), 0.0)
            return math.sqrt(ratio) - limit

        scale = lik.spread() + float(lik.v.mean())

        def root(inner: float, outer: float) -> float:
            return float(optimize.brentq(excess, inner, outer, xtol=1e-9 * scale, rtol=1e-7))

        try:
            low = root(0.0, estimate) if estimate > 0 and excess(0.0) > 0 else 0.0
            warm = self.theta.copy()
            step = max(estimate, 0.1 * lik.spread(), float(lik.v.min()))
            while excess(estimate + step) < 0:
                step *= 2
                if step > LARGEST_SHARE * scale:
                    return low, np.nan
            return low, root(estimate, estimate + step)
        # ValueError: where the other components stall, the ratio need not change its sign
        except (InestimableError, np.linalg.LinAlgError, ValueError):
            return np.nan, np.nan

    def study_estimates(self) -> tuple[Index, Index, Array, Array]:
        """Return the true mean effect of each study: best linear unbiased prediction.

        Returns
        -------
        study, group
            Numbers of study and variance group of each random intercept, shape (m,).
        estimate, se
            ``x̄'b + u`` with x̄ the study's mean design row, and the standard error of its
            prediction, which takes the uncertainty of b into account (Henderson 1975).
        """
        lik, s = self.likelihood, self.likelihood.structure
        covariance = self.evaluation.covariance
        present = s.intercept_group >= 0
        sizes = covariance.intercept_sums(np.ones((len(s.order), 1)))[:, :, 0][present]
        means = covariance.intercept_sums(lik.X)[present] / sizes[:, None]
        pull = covariance.intercept_sums(self.evaluation.projected[:, None])[:, :, 0][present]
        spread = self.between[s.intercept_group[present]]
        estimate = means @ self.coefficients + spread * pull
        precision = covariance.intercept_precision()[present]
        sums = covariance.intercept_sums(self.evaluation.inverse_design)[present]
        gap = means - spread[:, None] * sums
        variance = spread - spread**2 * precision
        variance = variance + np.einsum("mp,pq,mq->m", gap, self.bread, gap)
        return (
            s.intercept_study[present],
            s.intercept_group[present],
            estimate,
            np.sqrt(np.maximum(variance, 0.0)),
        )


def fit_multilevel(
    y: Array,
    v: Array,
    X: Array,
    structure: Structure,
    *,
    rho: float,
    restricted: bool,
    free: NDArray[np.bool_],
) -> MultilevelFit:
    """Fit random intercepts for study and effect with correlated sampling errors.

    Parameters
    ----------
    y, v
        Effects and sampling variances, shape (k,).
    X
        Design of full column rank, shape (k, p).
    structure
        Studies, samples and variance groups of the effects.
    rho
        Correlation of the sampling errors of one sample, in [0, 1).
    restricted
        REML if true, else ML.
    free
        Which variance components are estimated (between studies for each group, then within),
        shape (2 × groups,); the others are zero.

    Raises
    ------
    InestimableError
        If the search does not settle.

    Notes
    -----
    Konstantopoulos (2011); Van den Noortgate et al. (2013); with correlated sampling errors
    Pustejovsky & Tipton (2022).
    """
    likelihood = Likelihood(y, v, X, structure, rho, restricted=restricted)
    try:
        theta, at = likelihood.search(free)
    except np.linalg.LinAlgError as error:
        raise InestimableError("the variance components cannot be told apart") from error
    bread = np.linalg.inv(at.information)
    coefficients = at.coefficients + likelihood.offset
    weights = np.empty(len(y))
    weights[structure.order] = at.covariance.solve(np.ones((len(y), 1)))[:, 0]
    return MultilevelFit(
        likelihood,
        theta,
        free,
        at,
        coefficients,
        (bread + bread.T) / 2,
        y - X @ coefficients,
        weights,
    )


def generalised_residual(
    y: Array, v: Array, X: Array, structure: Structure, rho: float
) -> tuple[float, float]:
    """Return Q with correlated sampling errors, and the typical sampling variance.

    Parameters
    ----------
    y, v, X, structure, rho
        As for ``fit_multilevel``.

    Returns
    -------
    Q
        ``y'Py`` with P made from V⁻¹, V the covariance of the sampling errors.
    typical
        ``(k − p) / tr(P)`` (Higgins & Thompson 2002, generalised to dependent effects).
    """
    likelihood = Likelihood(y, v, X, structure, rho, restricted=False)
    at = likelihood.evaluate(np.zeros(likelihood.n_components))
    k, p = X.shape
    if k <= p:
        return np.nan, np.nan
    root = np.linalg.cholesky(np.linalg.inv(at.information))
    trace = at.covariance.inverse_diagonal().sum() - ((at.inverse_design @ root) ** 2).sum()
    return float(likelihood.y @ at.projected), float((k - p) / trace)
