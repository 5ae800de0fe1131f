"""Selection models: the mean that remains if publication depends on the p-value."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from alliance_meta.assessments import Assessment
from alliance_meta.bias.beta_selection import BetaWeights
from alliance_meta.bias.cluster_bootstrap import (
    MINIMUM_DIFFERENT,
    MINIMUM_REPLICATIONS,
    MINIMUM_STUDIES,
    BootstrapSummary,
    draw_counts,
    summarise_draws,
)
from alliance_meta.bias.selection_likelihood import (
    LARGEST_WEIGHT,
    LEAST_INFORMATION,
    SelectionFits,
    SelectionLikelihood,
    StepWeights,
    WeightFunction,
)
from alliance_meta.bias.vevea_woods import CUT_POINTS, PATTERN_LABELS, PATTERNS, TWO_TAILED
from alliance_meta.formatting import (
    format_count,
    format_effect,
    format_interval,
    format_number,
    format_p,
    join_words,
)
from alliance_meta.models.result_tables import reporting_scale
from alliance_meta.models.rows import ModelRows
from alliance_meta.models.specification import InestimableError, SpecificationError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

ALTERNATIVES = ("greater", "less", "two.sided")
SELECTION_MODELS = ("3psm", "4psm", "steps", "beta", "vevea_woods")
SELECTION_COLUMNS = [
    "model",
    "term",
    "estimate",
    "se",
    "ci_low",
    "ci_high",
    "p_value",
    "method",
    "k_intervals",
    "df",
    "log_likelihood",
    "replications",
]
SIGNIFICANT_STEP = 0.025
SIGN_STEP = 0.5
# fewer effects in an interval carry its weight poorly
FEW_EFFECTS = 4
# with fewer independent studies a bootstrap of them is too sure
FEW_STUDIES = 10
# starts of the search: weights, τ² in typical sampling variances, shares of the mean
START_WEIGHTS = (0.2, 1.0, 4.0)
START_TAU2 = (0.0, 0.3, 3.0)
START_MEANS = (0.0, 1.0)
# two climbs to values closer than this ended on the same maximum
SAME_VALUE = 1e-6
# a replication that misses a direction of the design cannot be fitted
LEAST_SPREAD = 1e-8
# more failed replications than this share are remarked upon
MANY_FAILED = 0.2
# a weight this near to 0 supposes that almost nothing of its interval was published
NEGLIGIBLE_WEIGHT = 1e-4
MODEL_LABELS = {
    "3psm": "three-parameter selection model",
    "4psm": "four-parameter selection model",
    "steps": "step-function selection model",
    "beta": "beta selection model",
}


@dataclass(frozen=True)
class Selection:
    """How publication depends on the p-value.

    Attributes
    ----------
    steps
        Increasing cut points of the p-value in (0, 1); empty for the beta model.
    weights
        Prescribed weights of the intervals; None where they are estimated.
    alternative
        Whose p-value: "greater" and "less" are one-sided, "two.sided".
    """

    steps: tuple[float, ...] = ()
    weights: Array | None = None
    alternative: str = "greater"

    def __post_init__(self) -> None:
        if self.alternative not in ALTERNATIVES:
            raise SpecificationError(
                f"'{self.alternative}' is not a direction of selection; use one of: "
                f"{', '.join(ALTERNATIVES)}",
                setting="alternative",
            )
        if any(not 0 < step < 1 for step in self.steps) or list(self.steps) != sorted(
            set(self.steps)
        ):
            raise SpecificationError(
                "cut points of the p-value must increase and lie between 0 and 1", setting="steps"
            )

    @property
    def two_sided(self) -> bool:
        """Whether the p-values are two-sided."""
        return self.alternative == "two.sided"

    def weight_function(self, z: Array, sigma: Array) -> WeightFunction:
        """Return the weight function of effects whose large values are favoured."""
        if not self.steps:
            return BetaWeights(z, sigma, two_sided=self.two_sided)
        steps = np.array(self.steps)
        return StepWeights(z, sigma, steps, two_sided=self.two_sided, fixed=self.weights)


@dataclass(frozen=True)
class SelectionFit:
    """A fitted selection model.

    Attributes
    ----------
    beta, beta_se
        Coefficients and standard errors, shape (p,).
    tau2, tau2_se
        Between-study variance; the standard error is missing at 0 and without random effects.
    delta, delta_se
        Estimated weights of the intervals after the first, or both shapes of the beta model,
        shape (J,).
    log_likelihood
        At the maximum.
    lrt, lrt_df, lrt_p
        Likelihood-ratio test that all weights are 1; missing if they are prescribed.
    tau2_p
        Likelihood-ratio test of τ² = 0 (chi-squared with 1 df, as metafor).
    counts
        Effects in each interval; empty for the beta model.
    notes
        What a reader must know, in sentences.
    search
        The search, for fits of resampled studies.
    """

    beta: Array
    beta_se: Array
    tau2: float
    tau2_se: float
    delta: Array
    delta_se: Array
    log_likelihood: float
    lrt: float
    lrt_df: int
    lrt_p: float
    tau2_p: float
    counts: tuple[int, ...]
    notes: tuple[str, ...]
    search: "_Search" = field(repr=False)


def fit_selection(
    y: Array, v: Array, X: Array, selection: Selection, *, random: bool = True
) -> SelectionFit:
    """Fit a selection model by maximum likelihood.

    Parameters
    ----------
    y, v
        Effects and sampling variances, shape (k,), taken as independent.
    X
        Design of full column rank, shape (k, p).
    selection
        The weight function.
    random
        Whether true effects vary (τ² by maximum likelihood) or not (τ² = 0).

    Returns
    -------
    SelectionFit

    Raises
    ------
    InestimableError
        If an interval between cut points holds no effect, there are too few effects, or the
        likelihood has no maximum.

    Notes
    -----
    Hedges (1992), Vevea & Hedges (1995), Citkowicz & Vevea (2017), Vevea & Woods (2005). As
    metafor's ``selmodel`` on a model fitted by ML; standard errors are from the observed
    information in β, τ² and δ. The likelihood may have several maxima: Newton's method climbs
    from a grid of starts and the highest is taken.
    """
    y, v = np.asarray(y, dtype=np.float64), np.asarray(v, dtype=np.float64)
    if not (np.isfinite(y).all() and np.isfinite(v).all() and (v > 0).all()):
        raise InestimableError("every effect needs a finite value and a positive sampling variance")
    # selection for small effects is selection for large ones of the opposite sign
    sign = -1.0 if selection.alternative == "less" else 1.0
    weights = selection.weight_function(sign * y / np.sqrt(v), np.sqrt(v))
    counts: tuple[int, ...] = ()
    if isinstance(weights, StepWeights):
        counts = tuple(int(n) for n in weights.counts)
        if selection.weights is None:
            _refuse_empty(selection, counts)
    n_parameters = X.shape[1] + random + weights.n_shapes
    if len(y) < n_parameters:
        raise InestimableError(
            f"{format_count(len(y), 'effect')} cannot carry the {n_parameters} parameters of the "
            "model"
        )
    search = _Search(SelectionLikelihood(sign * y, v, sign * X, weights), random)
    best, notes = search.best()
    return _summarise(search, best, counts, tuple(notes))


def _refuse_empty(selection: Selection, counts: Sequence[int]) -> None:
    empty = [j for j, n in enumerate(counts) if n == 0]
    if not empty:
        return
    ends = [0.0, *selection.steps, 1.0]
    side = "two-sided" if selection.two_sided else "one-sided"
    places = [f"between {_print_p(ends[j])} and {_print_p(ends[j + 1])}" for j in empty]
    cuts = join_words([_print_p(step) for step in selection.steps])
    noun = "cut point" if len(selection.steps) == 1 else "cut points"
    raise InestimableError(
        f"no effect has a {side} p-value {join_words(places, 'or')}, so that the weights of the "
        f"intervals made by the {noun} {cuts} are not identified"
    )


class _Search:
    """The search for the maximum of one likelihood, from a grid of starts."""

    def __init__(self, likelihood: SelectionLikelihood, random: bool) -> None:
        self.likelihood, self.random = likelihood, random
        p, J = likelihood.p, likelihood.J
        self.free: Mask = np.array([True] * p + [random] + [True] * J)

    def climb(self, start: Array, free: Mask, counts: Array | None = None) -> SelectionFits:
        """Climb from starts, shape (B, q), each with all effects unless counts are given."""
        if counts is None:
            counts = np.ones((len(start), len(self.likelihood.y)))
        return self.likelihood.maximise(start, counts, free)

    def null(self) -> tuple[Array, float, float]:
        """Return coefficients (p,), τ² and log-likelihood without any selection."""
        fits = self.climb(self._null_starts(), self._unselected())
        best = _highest(fits)
        return fits.beta[best], float(fits.tau2[best]), float(fits.value[best])

    def without_heterogeneity(self, beta: Array, shapes: Array) -> float:
        """Return the log-likelihood at τ² = 0 of the model with its selection."""
        start = self._pack([(beta, 0.0, shapes), (beta, 0.0, 0 * shapes)])
        free = self.free.copy()
        free[self.likelihood.p] = False
        fits = self.climb(start, free)
        return float(np.where(fits.failed, -np.inf, fits.value).max())

    def best(self) -> tuple[SelectionFits, list[str]]:
        """Return the highest maximum as a batch of one, and remarks on the search."""
        J = self.likelihood.J
        null_beta, null_tau2, _ = self._null_or_zero()
        tau2 = [null_tau2]
        if self.random:
            tau2 += [share * self.likelihood.v0 for share in START_TAU2]
        combinations = product(START_MEANS, tau2, START_WEIGHTS if J else (1.0,))
        starts = [
            (share * null_beta, t, np.full(J, math.log(weight)))
            for share, t, weight in combinations
        ]
        # a weight of its own for the last interval: results of the wrong sign
        starts += [
            (null_beta, null_tau2, np.linspace(0.0, math.log(weight), J + 1)[1:])
            for weight in START_WEIGHTS[:1]
        ]
        fits = self.climb(self._pack(starts), self.free)
        if fits.failed.all():
            untold = ": these effects do not tell selection from the size of the effects"
            raise InestimableError(fits.why_none + untold * (not fits.unfinished.any()))
        best = _highest(fits)
        found = np.where(np.isfinite(fits.value), fits.value, -np.inf)
        notes = []
        if float(found.max()) > fits.value[best] + SAME_VALUE * (1 + abs(fits.value[best])):
            notes.append(
                "The likelihood is higher still towards means beyond all effects; the estimate is "
                "its highest maximum."
            )
        one = slice(best, best + 1)
        return (
            SelectionFits(
                fits.beta[one],
                fits.tau2[one],
                fits.shapes[one],
                fits.value[one],
                fits.failed[one],
                fits.unfinished[one],
            ),
            notes,
        )

    def _pack(self, starts: Sequence[tuple[Array, float, Array]]) -> Array:
        beta, tau2, shapes = zip(*starts, strict=True)
        return self.likelihood.pack(np.stack(beta), np.array(tau2), np.stack(shapes))

    def _unselected(self) -> Mask:
        free = self.free.copy()
        free[self.likelihood.p + 1 :] = False
        return free

    def _null_starts(self) -> Array:
        y, v, X = self.likelihood.y, self.likelihood.v, self.likelihood.X
        root = 1 / np.sqrt(v)
        beta: Array = np.asarray(np.linalg.lstsq(root[:, None] * X, root * y, rcond=None)[0], float)
        plain = np.linalg.lstsq(X, y, rcond=None)[0]
        spread = float(np.mean((y - X @ plain) ** 2))
        values = [0.0, self.likelihood.v0, spread] if self.random else [0.0]
        none: Array = np.zeros(self.likelihood.J)
        return self._pack([(beta, value, none) for value in values])

    def _null_or_zero(self) -> tuple[Array, float, float]:
        """Return the model without selection as a start, whatever the weights are."""
        if self.likelihood.J:
            return self.null()
        start = self._null_starts()
        beta = np.linalg.solve(self.likelihood.basis, start[-1, : self.likelihood.p])
        return np.asarray(beta, dtype=np.float64), float(self.likelihood.tau2(start)[-1]), np.nan


def _highest(fits: SelectionFits) -> int:
    return int(np.argmax(np.where(fits.failed, -np.inf, fits.value)))


def _summarise(
    search: _Search, fits: SelectionFits, counts: tuple[int, ...], notes: tuple[str, ...]
) -> SelectionFit:
    likelihood = search.likelihood
    p, J = likelihood.p, likelihood.J
    beta, tau2, delta = fits.beta[0], float(fits.tau2[0]), np.exp(fits.shapes[0])
    value = float(fits.value[0])
    covariance, extra = _covariance(search, fits)
    se = np.sqrt(np.diag(covariance))
    lrt = lrt_p = tau2_p = np.nan
    if J:
        # the larger model is never worse; rounding may say so
        lrt = max(0.0, 2 * (value - search.null()[2]))
        lrt_p = float(stats.chi2.sf(lrt, J))
    if search.random:
        ratio = max(0.0, 2 * (value - search.without_heterogeneity(beta, fits.shapes[0])))
        tau2_p = float(stats.chi2.sf(ratio, 1))
    return SelectionFit(
        beta,
        se[:p],
        tau2,
        float(se[p]),
        delta,
        se[p + 1 :],
        value,
        lrt,
        J,
        lrt_p,
        tau2_p,
        counts,
        (*notes, *extra),
        search,
    )


def _covariance(search: _Search, fits: SelectionFits) -> tuple[Array, list[str]]:
    """Return the covariance of β, τ² and δ (NaN for what stands at a bound), shape (q, q)."""
    likelihood = search.likelihood
    p = likelihood.p
    x = likelihood.pack(fits.beta, fits.tau2, fits.shapes)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        _, gradient, hessian = likelihood.evaluate(x, np.ones((1, len(likelihood.y))))
    if not (np.isfinite(gradient).all() and np.isfinite(hessian).all()):
        raise InestimableError(
            "the curvature of the likelihood cannot be computed at its maximum: some effects lie "
            "too far from the others"
        )
    delta = np.exp(fits.shapes[0])
    chain = np.concatenate([np.ones(p + 1), 1 / delta])
    information = -hessian[0] * np.outer(chain, chain)
    shape = np.arange(p + 1, len(chain))
    information[shape, shape] += gradient[0, p + 1 :] / delta**2
    at_bound = (x[0] <= likelihood.lower) | (x[0] >= likelihood.higher)
    estimated = search.free & ~at_bound
    notes = []
    is_steps = isinstance(likelihood.weights, StepWeights)
    if at_bound[p + 1 :].any():
        smallest = "0" if is_steps else f"{likelihood.weights.smallest:.5f}"
        notes.append(
            f"A {'weight' if is_steps else 'shape'} ran to a bound of the search ({smallest} or "
            f"{format_number(LARGEST_WEIGHT, 0)}): these effects do not tell how large it is."
        )
    if is_steps and ((delta < NEGLIGIBLE_WEIGHT) & ~at_bound[p + 1 :]).any():
        notes.append(
            "A weight is almost 0, as if next to nothing of its interval had been published; the "
            "estimate is an extrapolation."
        )
    size = np.sqrt(np.abs(np.diag(information)))
    size = np.where(size > 0, size, 1.0)
    scaled = (information / np.outer(size, size))[np.ix_(estimated, estimated)]
    covariance = np.full(information.shape, np.nan)
    if float(np.linalg.eigvalsh(scaled).min()) < LEAST_INFORMATION:
        raise InestimableError(
            "the likelihood is flat at its maximum: these effects do not tell selection from the "
            "size of the effects"
        )
    used = size[estimated]
    covariance[np.ix_(estimated, estimated)] = np.linalg.inv(scaled) / np.outer(used, used)
    back = np.linalg.inv(likelihood.basis)
    covariance[:p, :p] = back @ covariance[:p, :p] @ back.T
    return covariance, notes


def bootstrap_selection(
    fit: SelectionFit,
    counts: Array,
    *,
    ci_level: float = 0.95,
    advance: Callable[[int], None] = lambda n: None,
) -> BootstrapSummary:
    """Return intervals from refits of resampled studies, started at the estimate.

    Parameters
    ----------
    fit
        The fit of all effects.
    counts
        How often each effect counts in each replication, shape (replications, k).
    ci_level
        Confidence level, in (0, 1).
    advance
        Called with the number of finished replications.

    Returns
    -------
    BootstrapSummary
        Of β, τ² and δ, in this order; replications with an empty interval, a design that is
        not of full rank or no maximum are left out.
    """
    search = fit.search
    likelihood = search.likelihood
    usable = _identified(likelihood, counts)
    advance(int((~usable).sum()))
    chosen = counts[usable]
    null = np.concatenate([np.zeros(likelihood.p), [np.nan], np.ones(likelihood.J)])
    draws = np.zeros((0, len(null)))
    if len(chosen):
        start = likelihood.pack(fit.beta[None], np.array([fit.tau2]), np.log(fit.delta)[None, :])
        starts = np.repeat(start, len(chosen), axis=0)
        fits = likelihood.maximise(starts, chosen, search.free, advance=advance)
        draws = np.column_stack([fits.beta, fits.tau2, np.exp(fits.shapes)])[~fits.failed]
    return summarise_draws(draws, null, requested=len(counts), ci_level=ci_level)


def _identified(likelihood: SelectionLikelihood, counts: Array) -> Mask:
    """Return which replications carry all parameters, shape (replications,)."""
    Q = np.linalg.qr(likelihood.X)[0]
    gram = np.einsum("bk,kp,kq->bpq", counts, Q, Q)
    usable: Mask = np.linalg.eigvalsh(gram)[:, 0] > LEAST_SPREAD
    weights = likelihood.weights
    if isinstance(weights, StepWeights) and weights.n_shapes:
        later = counts @ weights.one_hot.T
        first = counts.sum(axis=1) - later.sum(axis=1)
        usable &= (later > 0).all(axis=1) & (first > 0)
    return usable


class _Plan(NamedTuple):
    """One model of the table, or why it cannot be fitted."""

    name: str
    label: str
    selection: Selection | None
    reason: str = ""


def assess_selection(
    rows: ModelRows,
    *,
    steps: Sequence[float] = (SIGNIFICANT_STEP,),
    alternative: str = "greater",
    models: Sequence[str] = ("3psm", "4psm", "beta", "vevea_woods"),
    bootstrap: int = 500,
    seed: int = 1,
    advance: Callable[[int], None] = lambda n: None,
) -> Assessment:
    """Fit selection models to the rows of an analysis.

    Parameters
    ----------
    rows
        Rows of the model; a common-effect model stays one, any other gets a random effect.
    steps
        Cut points of the p-value of the model "steps", which is also fitted where they differ
        from those of "3psm".
    alternative
        Direction that selection favours: "greater", "less", "two.sided", or "auto" for the
        direction of the pooled estimate.
    models
        Some of ``SELECTION_MODELS``.
    bootstrap
        Replications of the cluster bootstrap, where rows are dependent.
    seed
        Of the bootstrap.
    advance
        Called with the number of finished replications.

    Returns
    -------
    Assessment
        "selection" with the table ``bias_selection``. ``k_intervals`` counts the effects from
        the smallest p-values to the largest. The row ``lrt`` has the statistic as its estimate.

    Raises
    ------
    SpecificationError
        If a model, direction or cut point does not exist.
    """
    if not len(steps):
        raise SpecificationError("give one cut point of the p-value at least", setting="steps")
    unknown = [model for model in models if model not in SELECTION_MODELS]
    if unknown:
        raise SpecificationError(
            f"'{unknown[0]}' is not a selection model; use some of: {', '.join(SELECTION_MODELS)}",
            setting="models",
        )
    pooled = float(np.average(rows.y, weights=rows.fit.weights))
    direction = alternative
    if alternative == "auto":
        direction = "less" if pooled < 0 else "greater"
    plans = _plans(models, tuple(float(step) for step in steps), direction)
    sentences = _opening(rows, pooled, direction)
    counts = None
    if rows.dependent and bootstrap and rows.n_studies >= MINIMUM_STUDIES:
        counts = draw_counts(rows.independent, bootstrap, seed)
    summaries = dict[str, BootstrapSummary]()
    table: list[dict[str, object]] = []
    random = rows.spec.model != "common_effect"
    terms = rows.terms if rows.has_moderators else ("mu",)
    for plan in plans:
        if plan.selection is None:
            sentences.append(f"The {plan.label} was not fitted: {plan.reason}.")
            continue
        try:
            fit = fit_selection(rows.y, rows.v, rows.X, plan.selection, random=random)
        except InestimableError as error:
            reason = "; ".join(error.problems)
            sentences.append(f"The {plan.label} could not be fitted: {reason}.")
            table.append({"model": plan.name, "term": terms[0], "method": "not estimable"})
            continue
        summary = None
        if counts is not None:
            summary = bootstrap_selection(fit, counts, ci_level=rows.spec.ci_level, advance=advance)
            summaries[plan.label] = summary
        lines = _lines(plan, fit, terms, rows, summary)
        table += lines
        sentences += _describe(plan, fit, lines, rows)
    if any(line["method"] != "not estimable" for line in table):
        sentences += [*_count_failed(summaries, bootstrap), *_closing(rows, bootstrap)]
    frame = pd.DataFrame(table, columns=SELECTION_COLUMNS)
    text = ("model", "term", "method", "k_intervals")
    frame = frame.astype({c: "str" if c in text else float for c in SELECTION_COLUMNS})
    frame["k_intervals"] = frame["k_intervals"].fillna("")
    return Assessment("selection", {"bias_selection": frame}, tuple(sentences))


def _plans(models: Sequence[str], steps: tuple[float, ...], direction: str) -> list[_Plan]:
    two_sided = direction == "two.sided"
    significant = 2 * SIGNIFICANT_STEP if two_sided else SIGNIFICANT_STEP
    plans = []
    for model in models:
        label = MODEL_LABELS.get(model, "")
        if model == "3psm":
            plans.append(_Plan(model, label, Selection((significant,), None, direction)))
        elif model == "4psm" and two_sided:
            reason = "its second cut point is the sign of the effect, and selection is two-sided"
            plans.append(_Plan(model, label, None, reason))
        elif model == "4psm":
            plans.append(_Plan(model, label, Selection((significant, SIGN_STEP), None, direction)))
        elif model == "beta":
            plans.append(_Plan(model, label, Selection((), None, direction)))
        elif model == "vevea_woods":
            # the table of weights is of one-sided p-values; the two-tailed ones are symmetric
            side = "greater" if two_sided else direction
            plans += [
                _Plan(
                    f"vevea_woods_{name}",
                    f"model of {PATTERN_LABELS[name]} with prescribed weights",
                    Selection(tuple(float(c) for c in CUT_POINTS), weights, side),
                )
                for name, weights in PATTERNS.items()
                if name in TWO_TAILED or not two_sided
            ]
    if "steps" in models or steps != (SIGNIFICANT_STEP,):
        plans.append(_Plan("steps", MODEL_LABELS["steps"], Selection(steps, None, direction)))
    return plans


def _lines(
    plan: _Plan,
    fit: SelectionFit,
    terms: Sequence[str],
    rows: ModelRows,
    summary: BootstrapSummary | None,
) -> list[dict[str, object]]:
    """Return the rows of one model."""
    first = 2 if plan.selection is not None and plan.selection.steps else 1
    names = [*terms, "tau2", *(f"delta_{j + first}" for j in range(len(fit.delta)))]
    values = np.concatenate([fit.beta, [fit.tau2], fit.delta])
    null = np.concatenate([np.zeros(len(terms)), [np.nan], np.ones(len(fit.delta))])
    lowest = np.concatenate([np.full(len(terms), -np.inf), np.zeros(1 + len(fit.delta))])
    if rows.dependent:
        missing = np.full(len(values), np.nan)
        se, low, high, p_value = (
            (summary.se, summary.ci_low, summary.ci_high, summary.p_value)
            if summary is not None
            else (missing, missing, missing, missing)
        )
        method, replications = "cluster_bootstrap", summary.replications if summary else 0
    else:
        se = np.concatenate([fit.beta_se, [fit.tau2_se], fit.delta_se])
        half = float(stats.norm.isf((1 - rows.spec.ci_level) / 2)) * se
        low, high = np.maximum(values - half, lowest), values + half
        with np.errstate(invalid="ignore", divide="ignore"):
            p_value = 2 * stats.norm.sf(np.abs(values - null) / se)
        p_value[len(terms)] = fit.tau2_p
        method, replications = "hessian", 0
    intervals = "/".join(str(n) for n in fit.counts)
    shared = {"model": plan.name, "k_intervals": intervals, "log_likelihood": fit.log_likelihood}
    kept = [name for name in names if rows.spec.model != "common_effect" or name != "tau2"]
    lines: list[dict[str, object]] = []
    for i, name in enumerate(names):
        if name not in kept:
            continue
        lines.append(
            {
                "term": name,
                "estimate": values[i],
                "se": se[i],
                "ci_low": low[i],
                "ci_high": high[i],
                "p_value": p_value[i],
                "method": method,
                "replications": replications or np.nan,
                **shared,
            }
        )
    if fit.lrt_df:
        lines.append(
            {
                "term": "lrt",
                "estimate": fit.lrt,
                # the chi-squared distribution is of independent effects
                "p_value": np.nan if rows.dependent else fit.lrt_p,
                "method": "likelihood_ratio",
                "df": fit.lrt_df,
                **shared,
            }
        )
    return lines


def _opening(rows: ModelRows, pooled: float, direction: str) -> list[str]:
    words = {
        "greater": "one-sided, favouring significant positive effects",
        "less": "one-sided, favouring significant negative effects",
        "two.sided": "two-sided, favouring significance in either direction",
    }
    if direction not in words:
        raise SpecificationError(
            f"'{direction}' is not a direction of selection; use one of: "
            f"{', '.join((*ALTERNATIVES, 'auto'))}",
            setting="alternative",
        )
    sentences = [f"Selection was modelled as {words[direction]}."]
    opposite = pooled < 0 if direction == "greater" else pooled > 0
    if direction != "two.sided" and opposite:
        sentences.append(
            f"The pooled effect is {'negative' if pooled < 0 else 'positive'}, so that selection "
            "looks as if it went in the opposite direction."
        )
    return sentences


def _closing(rows: ModelRows, bootstrap: int) -> list[str]:
    if not rows.dependent:
        return []
    studies = format_count(rows.n_studies, "independent study", "independent studies")
    few = []
    if not bootstrap:
        intervals = "without a bootstrap there are no intervals"
    elif rows.n_studies < MINIMUM_STUDIES:
        intervals = f"{studies} cannot carry a bootstrap, so that there are no intervals"
    else:
        intervals = "the intervals are percentiles of a bootstrap that draws whole studies"
        if rows.n_studies < FEW_STUDIES:
            few = [f"With {studies} such a bootstrap tends to make intervals too narrow."]
    return [
        "The point estimates of the selection models take all effects as independent, which they "
        f"are not; {intervals}, and the likelihood-ratio tests have no p-value.",
        *few,
    ]


def _count_failed(summaries: Mapping[str, BootstrapSummary], bootstrap: int) -> list[str]:
    """Return how many replications of each model could not be fitted, and what follows."""
    labels, alike = dict[int, list[str]](), list[str]()
    for label, summary in summaries.items():
        if summary.replications < bootstrap:
            labels.setdefault(summary.replications, []).append(f"the {label}")
        missing = bool(np.isnan(summary.ci_low).all())
        if missing and summary.different < MINIMUM_DIFFERENT and summary.replications:
            alike.append(f"the {label}")
    parts = []
    for replications, names in labels.items():
        failed = bootstrap - replications
        tail = ""
        if replications < max(MINIMUM_REPLICATIONS, bootstrap / 2):
            tail = ", too many for an interval"
        elif failed / bootstrap > MANY_FAILED:
            tail = ", so many that the intervals are not trustworthy"
        parts.append(f"{failed} in {join_words(names)}{tail}")
    sentences = []
    if parts:
        sentences.append(
            f"Some of the {bootstrap} replications of the bootstrap could not be fitted: "
            f"{'; '.join(parts)}."
        )
    if alike:
        sentences.append(
            f"The replications of {join_words(alike)} differ too little among each other for an "
            "interval."
        )
    return sentences


def _describe(
    plan: _Plan, fit: SelectionFit, lines: Sequence[dict[str, object]], rows: ModelRows
) -> list[str]:
    """Return the sentences of one model, numbers from its lines."""
    metric = rows.spec.metric
    by_term = {str(line["term"]): line for line in lines}
    first = lines[0]
    values = [float(first[key]) for key in ("estimate", "ci_low", "ci_high")]  # type: ignore[arg-type]
    if rows.has_moderators:
        text = f"The {plan.label} was fitted with the moderators of the analysis"
        metric = "generic"
    else:
        value, low, high = (float(x) for x in reporting_scale(np.array(values), metric))
        interval = format_interval(low, high, metric)
        level = f"{100 * rows.spec.ci_level:g} % CI {interval}" if interval else "no interval"
        text = f"In the {plan.label} the mean effect is {format_effect(value, metric)} ({level})"
    parts = []
    for name, line in by_term.items():
        if name.startswith("delta_"):
            parts.append(
                f"{name.replace('delta_', 'δ')} = {format_number(float(line['estimate']))}"  # type: ignore[arg-type]
            )
    if parts:
        text += f", with {join_words(parts)}"
    if "lrt" in by_term:
        test = by_term["lrt"]
        p_value = float(test["p_value"])  # type: ignore[arg-type]
        p_words = "" if math.isnan(p_value) else f", p {format_p(p_value)}"
        statistic = format_number(float(test["estimate"]))  # type: ignore[arg-type]
        text += f"; test of no selection: χ²({fit.lrt_df}) = {statistic}{p_words}"
    sentences = [text + "."]
    prefix = f"{plan.label[0].upper()}{plan.label[1:]}: "
    sentences += [prefix + note[0].lower() + note[1:] for note in fit.notes]
    few = [n for n in fit.counts if n < FEW_EFFECTS]
    if few and len(fit.delta):
        n_few = format_count(len(few), "interval")
        hold = "holds" if len(few) == 1 else "hold"
        sentences.append(
            f"{prefix}{n_few} of p-values {hold} fewer than {FEW_EFFECTS} effects "
            f"({'/'.join(str(n) for n in fit.counts)} from the smallest p-values to the largest); "
            "the estimate rests on few results."
        )
    return sentences


def _print_p(value: float) -> str:
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    return text[1:] if text.startswith("0.") else text
