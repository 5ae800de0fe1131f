"""p-uniform*: effects compared with others on the same side of significance only."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, stats

from alliance_meta.assessments import Assessment
from alliance_meta.bias.selection_likelihood import (
    SelectionFits,
    SelectionLikelihood,
    TruncatedWeights,
)
from alliance_meta.effect_sizes import aggregate_effects
from alliance_meta.formatting import (
    format_count,
    format_effect,
    format_interval,
    format_number,
    format_p,
)
from alliance_meta.models.result_tables import reporting_scale
from alliance_meta.models.rows import ModelRows
from alliance_meta.models.specification import InestimableError, SpecificationError
from alliance_meta.models.variance import paule_mandel

Array = NDArray[np.float64]

P_UNIFORM_COLUMNS = [
    "method",
    "estimate",
    "ci_low",
    "ci_high",
    "p_value",
    "tau2",
    "tau2_low",
    "tau2_high",
    "k_significant",
    "k",
    "lrt_effect",
    "lrt_tau2",
    "p_tau2",
    "lrt_bias",
    "p_bias",
    "log_likelihood",
]
# one-sided p-value of a two-sided test at .05 in the direction of selection
SIGNIFICANT_STEP = 0.025
# starts of the search: τ² in typical sampling variances, shares of the mean
START_TAU2 = (0.0, 0.1, 1.0, 10.0)
START_MEANS = (0.0, 0.5, 1.0)
# an end of an interval further away than this many doublings of a standard error does not exist
DOUBLINGS = 14


@dataclass(frozen=True)
class PUniformFit:
    """The estimate of p-uniform*.

    Attributes
    ----------
    estimate, ci
        Mean and its profile-likelihood interval; an infinite end was not found.
    tau2, tau2_ci
        Between-study variance and its profile-likelihood interval (NaN for a common effect).
    log_likelihood
        At the maximum.
    lrt_effect, p_effect
        Likelihood-ratio test of a zero mean (1 df).
    lrt_tau2, p_tau2
        Of τ² = 0; half a chi-squared with 1 df, as the null is a boundary.
    lrt_bias, p_bias
        Of publication bias: against the random-effects estimate (Paule–Mandel), 2 df (1 df
        against the common-effect estimate).
    k_significant, k
        Effects significant in the direction of selection, and all effects.
    """

    estimate: float
    ci: tuple[float, float]
    tau2: float
    tau2_ci: tuple[float, float]
    log_likelihood: float
    lrt_effect: float
    p_effect: float
    lrt_tau2: float
    p_tau2: float
    lrt_bias: float
    p_bias: float
    k_significant: int
    k: int


def fit_p_uniform(
    y: Array, v: Array, *, alternative: str = "greater", random: bool = True, ci_level: float = 0.95
) -> PUniformFit:
    """Estimate the mean by p-uniform*.

    Parameters
    ----------
    y, v
        Independent effects and sampling variances, shape (k,).
    alternative
        Direction that selection favours, "greater" or "less".
    random
        Whether true effects vary.
    ci_level
        Confidence level, in (0, 1).

    Returns
    -------
    PUniformFit

    Raises
    ------
    SpecificationError
        If the direction is neither.
    InestimableError
        If there are too few effects or the likelihood has no maximum.

    Notes
    -----
    van Aert & van Assen (2018, 2025): maximum likelihood of densities truncated at the critical
    value, significant effects from below and the others from above, so that the probabilities of
    publication of the two kinds cancel.
    """
    if alternative not in ("greater", "less"):
        raise SpecificationError(
            f"p-uniform* needs selection in one direction, not '{alternative}'",
            setting="alternative",
        )
    if len(y) < 1 + random:
        raise InestimableError(
            f"p-uniform* needs {format_count(1 + random, 'independent effect')} at least"
        )
    sign = -1.0 if alternative == "less" else 1.0
    profile = _Profile(sign * np.asarray(y, dtype=float), np.asarray(v, dtype=float), random)
    estimate, tau2, top = profile.mean, profile.tau2, profile.top
    reach = float(stats.chi2.isf(1 - ci_level, 1)) / 2
    low = _end(profile.at_mean, estimate, -profile.unit, top - reach)
    high = _end(profile.at_mean, estimate, profile.unit, top - reach)
    lrt_effect = max(0.0, 2 * (top - profile.at_mean(0.0)))
    tau2_ci, lrt_tau2 = (np.nan, np.nan), np.nan
    ones = np.ones((len(profile.y), 1))
    naive_tau2 = 0.0
    if random:
        at_zero = profile.at_tau2(0.0)
        lrt_tau2 = max(0.0, 2 * (top - at_zero))
        below = 0.0
        if at_zero < top - reach:
            below = _root(profile.at_tau2, 0.0, tau2, top - reach)
        tau2_ci = (below, _end(profile.at_tau2, tau2, profile.unit**2, top - reach))
        naive_tau2 = paule_mandel(profile.y, profile.v, ones / math.sqrt(len(ones)))
    naive = float(np.average(profile.y, weights=1 / (profile.v + naive_tau2)))
    lrt_bias = max(0.0, 2 * (top - profile.value(naive, naive_tau2)))
    ends = sorted((sign * low, sign * high))
    return PUniformFit(
        sign * estimate,
        (ends[0], ends[1]),
        tau2,
        tau2_ci,
        top,
        lrt_effect,
        float(stats.chi2.sf(lrt_effect, 1)),
        lrt_tau2,
        float(stats.chi2.sf(lrt_tau2, 1)) / 2,
        lrt_bias,
        float(stats.chi2.sf(lrt_bias, 1 + random)),
        profile.k_significant,
        len(profile.y),
    )


class _Profile:
    """The likelihood of one set of effects, its maximum, and its profiles."""

    def __init__(self, y: Array, v: Array, random: bool) -> None:
        weights = TruncatedWeights(y / np.sqrt(v), np.sqrt(v), SIGNIFICANT_STEP)
        self.y, self.v, self.random = y, v, random
        self.k_significant = int(weights.significant.sum())
        self.likelihood = SelectionLikelihood(y, v, np.ones((len(y), 1)), weights)
        naive = float(np.average(y, weights=1 / v))
        means = [share * naive for share in START_MEANS]
        tau2 = [t * self.likelihood.v0 for t in START_TAU2] if random else [0.0]
        starts = [(mean, t) for mean in means for t in tau2]
        fits = self._maximise(starts, np.array([True, random]))
        if fits.failed.all():
            close = (
                ": the effects lie so close to the bounds of significance that they do not tell "
                "how large they would be without selection"
            )
            raise InestimableError(fits.why_none + close * (not fits.unfinished.any()))
        self.mean, self.tau2, self.top = _highest(fits)
        self.unit = math.sqrt(self.likelihood.v0 + self.tau2)

    def _maximise(
        self, starts: list[tuple[float, float]], free: NDArray[np.bool_]
    ) -> SelectionFits:
        mean, tau2 = np.array(starts).T
        start = self.likelihood.pack(mean[:, None], tau2, np.zeros((len(starts), 0)))
        return self.likelihood.maximise(start, np.ones((len(starts), len(self.y))), free)

    def _climb(
        self, starts: list[tuple[float, float]], free: NDArray[np.bool_]
    ) -> tuple[float, float, float]:
        """Return mean, τ² and log-likelihood of the highest maximum; −∞ where there is none."""
        return _highest(self._maximise(starts, free))

    def value(self, mean: float, tau2: float) -> float:
        """Return the log-likelihood of a mean and a τ²; −∞ where it is beyond computing."""
        x = self.likelihood.pack(np.array([[mean]]), np.array([tau2]), np.zeros((1, 0)))
        # derivatives far from all effects overflow where the value may still be known
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            value = float(self.likelihood.evaluate(x, np.ones((1, len(self.y))))[0][0])
        return value if math.isfinite(value) else -math.inf

    def at_mean(self, mean: float) -> float:
        """Return the profile log-likelihood of a mean."""
        if not self.random:
            return self.value(mean, 0.0)
        tau2 = {self.tau2, *(t * self.likelihood.v0 for t in START_TAU2)}
        return self._climb([(mean, t) for t in sorted(tau2)], np.array([False, True]))[2]

    def at_tau2(self, tau2: float) -> float:
        """Return the profile log-likelihood of a τ²."""
        starts = [(share * self.mean, tau2) for share in START_MEANS]
        return self._climb(starts, np.array([True, False]))[2]


def _highest(fits: SelectionFits) -> tuple[float, float, float]:
    value = np.where(fits.failed, -np.inf, fits.value)
    best = int(np.argmax(value))
    return float(fits.beta[best, 0]), float(fits.tau2[best]), float(value[best])


def _end(profile: Callable[[float], float], inner: float, step: float, level: float) -> float:
    """Return where a profile falls to a level in the direction of the step; infinite if never."""
    outer = inner
    for _ in range(DOUBLINGS):
        outer, last, step = outer + step, outer, 2 * step
        if profile(outer) < level:
            return _root(profile, last, outer, level)
    return math.copysign(math.inf, step)


def _root(profile: Callable[[float], float], one: float, two: float, level: float) -> float:
    def excess(x: float) -> float:
        # beyond all effects there may be no maximum: far below any level
        return max(profile(x) - level, -1e6)

    return float(optimize.brentq(excess, one, two, xtol=1e-12, rtol=1e-12))


def assess_p_uniform(rows: ModelRows, *, alternative: str = "greater") -> Assessment:
    """Estimate the mean of an analysis by p-uniform*.

    Parameters
    ----------
    rows
        Rows of the model; where they are dependent, each independent study enters as one
        composite.
    alternative
        Direction that selection favours: "greater", "less", or "auto" (also taken for
        "two.sided") for the direction of the pooled estimate.

    Returns
    -------
    Assessment
        "p_uniform" with the table ``bias_p_uniform``.
    """
    y, v, sentences = rows.y, rows.v, []
    pooled = float(np.average(rows.y, weights=rows.fit.weights))
    if alternative in ("auto", "two.sided"):
        alternative = "less" if pooled < 0 else "greater"
    elif pooled != 0 and (pooled < 0) == (alternative == "greater"):
        sentences.append(
            f"The pooled effect is {'negative' if pooled < 0 else 'positive'}, so that selection "
            "looks as if it went in the direction opposite to the one p-uniform* takes."
        )
    if rows.dependent:
        composites = aggregate_effects(y, v, rows.independent, rows.spec.rho)
        y, v = composites.y, composites.v
        sentences.append(
            "p-uniform* takes effects as independent; each independent study entered it as one "
            f"composite (ρ = {format_number(rows.spec.rho, leading_zero=False)})."
        )
    if rows.has_moderators:
        sentences.append("p-uniform* was applied to the overall mean, without moderators.")
    random = rows.spec.model != "common_effect"
    try:
        fit = fit_p_uniform(
            y, v, alternative=alternative, random=random, ci_level=rows.spec.ci_level
        )
    except InestimableError as error:
        sentences.append(f"No estimate by p-uniform*: {'; '.join(error.problems)}.")
        empty = pd.DataFrame(columns=P_UNIFORM_COLUMNS)
        return Assessment("p_uniform", {"bias_p_uniform": empty}, tuple(sentences))
    line = (
        "p_uniform_star",
        fit.estimate,
        *fit.ci,
        fit.p_effect,
        fit.tau2 if random else np.nan,
        *fit.tau2_ci,
        fit.k_significant,
        fit.k,
        fit.lrt_effect,
        fit.lrt_tau2,
        fit.p_tau2,
        fit.lrt_bias,
        fit.p_bias,
        fit.log_likelihood,
    )
    table = pd.DataFrame([line], columns=P_UNIFORM_COLUMNS)
    sentences += _describe(fit, rows)
    return Assessment("p_uniform", {"bias_p_uniform": table}, tuple(sentences))


def _describe(fit: PUniformFit, rows: ModelRows) -> list[str]:
    metric = rows.spec.metric
    value, low, high = (
        float(x) for x in reporting_scale(np.array([fit.estimate, *fit.ci]), metric)
    )
    sentences = [
        f"By p-uniform* ({fit.k_significant} of {format_count(fit.k, 'effect')} significant in the "
        f"direction of selection) the mean effect is {format_effect(value, metric)}, "
        f"{100 * rows.spec.ci_level:g} % CI {format_interval(low, high, metric)}, "
        f"p {format_p(fit.p_effect)}; its test of publication bias has p {format_p(fit.p_bias)}."
    ]
    if not all(math.isfinite(end) for end in fit.ci):
        sentences.append(
            "An end of its interval is infinite: the likelihood never falls far enough on that "
            "side."
        )
    if fit.k_significant == 0:
        sentences.append(
            "No effect is significant in the direction of selection, so that p-uniform* rests on "
            "nonsignificant effects only."
        )
    if fit.k_significant == fit.k:
        sentences.append(
            "All effects are significant, so that p-uniform* rests on how far they lie beyond "
            "significance."
        )
    return sentences
