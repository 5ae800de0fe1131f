"""How strong selection would have to be to explain a result away, and the worst case."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, stats

from alliance_meta.assessments import Assessment
from alliance_meta.formatting import (
    format_count,
    format_effect,
    format_interval,
    format_number,
)
from alliance_meta.models.pooling import fit_pooled
from alliance_meta.models.result_tables import reporting_scale
from alliance_meta.models.rows import ModelRows
from alliance_meta.models.specification import InestimableError, ModelSpecification

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

WORST_CASE_COLUMNS = ["quantity", "estimate", "ci_low", "ci_high", "p_value", "se", "df", "k"]
RATIOS = (1.0, 2.0, 4.0, 5.0, 10.0, 20.0, 50.0, 100.0)
COMMON = "_common_effect"
# two-sided level at which an effect of the favoured sign counts as affirmative
AFFIRMATIVE_LEVEL = 0.05
# a direction that a study fits perfectly, as a share of its sampling variance
PERFECT_FIT = 1e-10
# beyond this the nonaffirmative effects have all the weight
LARGEST_RATIO = 1e8


@dataclass(frozen=True)
class WeightedMean:
    """A weighted mean with its standard error, degrees of freedom, interval and p-value."""

    value: float
    se: float
    df: float
    ci_low: float
    ci_high: float
    p_value: float


def find_affirmative(y: Array, v: Array, alternative: str) -> Mask:
    """Return which effects are significant in the favoured direction, shape (k,)."""
    z = y / np.sqrt(v)
    significant = 2 * stats.norm.sf(np.abs(z)) < AFFIRMATIVE_LEVEL
    if alternative == "two.sided":
        return np.asarray(significant, dtype=bool)
    return np.asarray(significant & ((z < 0) if alternative == "less" else (z > 0)), dtype=bool)


def robust_mean(
    y: Array, v: Array, weights: Array, clusters: Index, ci_level: float = 0.95
) -> WeightedMean:
    """Return a weighted mean with a robust standard error for any weights.

    Parameters
    ----------
    y, v
        Effects and sampling variances, shape (k,).
    weights
        Shape (k,), above 0.
    clusters
        Number of each effect's independent study, shape (k,); gaps are allowed.
    ci_level
        Confidence level, in (0, 1).

    Notes
    -----
    Tipton (2015, Psychological Methods 20, 375–393) for weights that are not inverse variances,
    as robumeta computes it: the working covariance has the mean sampling variance of each study
    in the adjustment and is the identity in the degrees of freedom.
    """
    numbers = np.unique(clusters, return_inverse=True)[1].ravel()
    sizes = np.bincount(numbers)
    m, total = len(sizes), float(weights.sum())
    mean = float(weights @ y) / total
    if m < 2:
        return WeightedMean(mean, *[np.nan] * 5)
    typical = (np.bincount(numbers, v) / sizes)[numbers]
    share = weights / total
    residuals = y - mean
    cross = share * typical
    spread = float(share @ cross)
    order = np.argsort(numbers, kind="stable")
    starts = np.cumsum(sizes) - sizes
    adjusted = np.empty(len(y))
    for size in np.unique(sizes):
        members = order[starts[sizes == size][:, None] + np.arange(size)]
        own = typical[members[:, 0]]
        covariance = own[:, None, None] * np.eye(size) + spread
        covariance = covariance - cross[members][:, :, None] - cross[members][:, None, :]
        values, vectors = np.linalg.eigh(covariance)
        lost = values < PERFECT_FIT * own[:, None]
        powers = np.where(lost, 0.0, 1 / np.sqrt(np.where(lost, 1.0, values)))
        root = (vectors * powers[:, None, :]) @ np.swapaxes(vectors, 1, 2)
        adjusted[members] = np.sqrt(own)[:, None] * np.einsum("mij,mj->mi", root, share[members])
    se = math.sqrt(float((np.bincount(numbers, adjusted * residuals) ** 2).sum()))
    sums = np.bincount(numbers, adjusted)
    along = np.bincount(numbers, adjusted * share)
    gram = float(share @ share) * np.outer(sums, sums) - np.outer(sums, along)
    gram = gram - np.outer(along, sums) + np.diag(np.bincount(numbers, adjusted**2))
    df = float(np.trace(gram)) ** 2 / float((gram**2).sum())
    return _inference(mean, se, df, ci_level)


def common_mean(y: Array, v: Array, weights: Array, ci_level: float = 0.95) -> WeightedMean:
    """Return a weighted mean of effects that share one true effect, with t inference."""
    share = weights / weights.sum()
    se = math.sqrt(float(share**2 @ v))
    return _inference(float(share @ y), se, len(y) - 1.0, ci_level)


def _inference(mean: float, se: float, df: float, ci_level: float) -> WeightedMean:
    if not (se > 0 and df > 0):
        return WeightedMean(mean, se, df, np.nan, np.nan, np.nan)
    half = float(stats.t.isf((1 - ci_level) / 2, df)) * se
    return WeightedMean(
        mean, se, df, mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / se, df))
    )


@dataclass(frozen=True)
class SelectionRatio:
    """Means corrected for a ratio by which affirmative effects are more likely published.

    Attributes
    ----------
    y, v
        Effects, large ones favoured, and sampling variances, shape (k,).
    affirmative
        Shape (k,).
    weights
        Inverse-variance weights without any correction, shape (k,).
    clusters
        Number of each effect's independent study, shape (k,); None for a common effect.
    ci_level
        Confidence level.

    Notes
    -----
    Mathur & VanderWeele (2020, Journal of the Royal Statistical Society C 69, 1091–1119): the
    weights of nonaffirmative effects are multiplied by the ratio η. The weights are those of
    their package: τ² is that of all effects without correction.
    """

    y: Array
    v: Array
    affirmative: Mask
    weights: Array
    clusters: Index | None
    ci_level: float = 0.95

    def correct(self, ratio: float) -> WeightedMean:
        """Return the mean corrected for a ratio; infinite: the nonaffirmative effects only."""
        used = np.ones(len(self.y), dtype=bool)
        weights = np.where(self.affirmative, 1.0, ratio) * self.weights
        if math.isinf(ratio):
            used, weights = ~self.affirmative, self.weights
        y, v, weights = self.y[used], self.v[used], weights[used]
        if self.clusters is None:
            return common_mean(y, v, weights, self.ci_level)
        return robust_mean(y, v, weights, self.clusters[used], self.ci_level)

    def s_value(self) -> float:
        """Return the ratio that moves the mean to 0: 1 if it is there, infinite if none does."""
        favourable = float((self.weights * self.y)[self.affirmative].sum())
        rest = float((self.weights * self.y)[~self.affirmative].sum())
        if favourable + rest <= 0:
            return 1.0
        return -favourable / rest if rest < 0 else math.inf

    def s_value_interval(self) -> float:
        """Return the same for the lower limit of the mean; NaN if no limit can be computed."""

        def limit(log_ratio: float) -> float:
            return self.correct(math.exp(log_ratio)).ci_low

        if math.isnan(limit(0.0)):
            return math.nan
        if limit(0.0) <= 0:
            return 1.0
        furthest = self.correct(math.inf).ci_low
        if furthest > 0:
            return math.inf
        # the first crossing: the limit need not fall steadily
        grid = np.linspace(0.0, math.log(LARGEST_RATIO), 60)
        below = 0.0
        for point in grid[1:]:
            if limit(point) <= 0:
                root = optimize.brentq(limit, below, point, xtol=1e-13, rtol=1e-13)
                return math.exp(float(root))
            below = float(point)
        return math.inf


def assess_worst_case(
    rows: ModelRows, *, ratios: Sequence[float] = RATIOS, alternative: str = "greater"
) -> Assessment:
    """Return the result under selection ratios, in the worst case, and the S-values.

    Parameters
    ----------
    rows
        Rows of the model; robust standard errors are by independent study.
    ratios
        How many times more likely an affirmative effect is published, at least 1.
    alternative
        Favoured direction: "greater", "less", "two.sided", or "auto" for the direction of the
        pooled estimate.

    Returns
    -------
    Assessment
        "worst_case" with the table ``bias_worst_case``: ``worst_case`` is the random-effects
        mean (REML, CR2) of the nonaffirmative effects alone, ``corrected_eta_<x>`` the means
        under the ratios (``corrected_eta_inf`` is their limit), ``s_value_estimate`` and
        ``s_value_interval`` the ratios that move the mean and its interval to 0 (infinite if
        none does); names that end in ``_common_effect`` take all effects as one.
    """
    pooled = float(np.average(rows.y, weights=rows.fit.weights))
    if alternative == "auto":
        alternative = "less" if pooled < 0 else "greater"
    affirmative = find_affirmative(rows.y, rows.v, alternative)
    k, n_affirmative = len(rows.y), int(affirmative.sum())
    sentences = []
    if rows.has_moderators:
        sentences.append(
            "The worst case of selection was computed for the overall mean, without moderators."
        )
    both = alternative == "two.sided"
    problem = ""
    if n_affirmative == 0:
        problem = f"no effect is significant in {'either' if both else 'the favoured'} direction"
    elif n_affirmative == k:
        where = "one direction or the other" if both else "the favoured direction"
        problem = f"every effect is significant in {where}"
    elif rows.n_studies == 1:
        problem = "all effects come from one independent study"
    if problem:
        sentences.append(f"No worst case of selection was computed: {problem}.")
        empty = pd.DataFrame(columns=WORST_CASE_COLUMNS)
        return Assessment("worst_case", {"bias_worst_case": empty}, tuple(sentences))

    flipped = alternative == "less" or (alternative == "two.sided" and pooled < 0)
    sign = -1.0 if flipped else 1.0
    y, level = sign * rows.y, rows.spec.ci_level
    tau2 = _pool(rows, np.ones(k, dtype=bool), y).tau2
    robust = SelectionRatio(y, rows.v, affirmative, 1 / (rows.v + tau2), rows.independent, level)
    common = SelectionRatio(y, rows.v, affirmative, 1 / rows.v, None, level)
    worst = _worst_case(rows, ~affirmative, y)
    table = [_line("worst_case", worst, k - n_affirmative, sign)]
    for suffix, model in (("", robust), (COMMON, common)):
        if suffix:
            name = "worst_case" + COMMON
            table.append(_line(name, model.correct(math.inf), k - n_affirmative, sign))
        for ratio in (*ratios, math.inf):
            n_used = k - n_affirmative if math.isinf(ratio) else k
            name = f"corrected_eta_{ratio:g}{suffix}"
            table.append(_line(name, model.correct(ratio), n_used, sign))
        table.append(_ratio_line(f"s_value_estimate{suffix}", model.s_value(), k))
        table.append(_ratio_line(f"s_value_interval{suffix}", model.s_value_interval(), k))
    frame = pd.DataFrame(table, columns=WORST_CASE_COLUMNS)
    sentences += _describe(
        frame.set_index("quantity"), rows, n_affirmative, sign * pooled, both=both
    )
    return Assessment("worst_case", {"bias_worst_case": frame}, tuple(sentences))


def _pool(rows: ModelRows, used: Mask, y: Array) -> "_Pooled":
    """Return the random-effects mean of some rows, robust where two studies or more allow it."""
    clusters = np.unique(rows.independent[used], return_inverse=True)[1].ravel()
    n_clusters = int(clusters.max()) + 1
    inference = "cr2" if n_clusters > 1 else "z"
    random = rows.spec.model != "common_effect" and int(used.sum()) > 1
    spec = ModelSpecification(
        model="random_effects" if random else "common_effect",
        tau2="REML" if random else None,
        inference=inference,
        metric=rows.spec.metric,
        ci_level=rows.spec.ci_level,
    ).resolve(dependent=False)
    n = int(used.sum())
    fit = fit_pooled(y[used], rows.v[used], np.ones((n, 1)), clusters, spec)
    estimate = fit.contrast(np.ones(1))
    mean = WeightedMean(
        estimate.value,
        estimate.se,
        estimate.df,
        estimate.ci_low,
        estimate.ci_high,
        estimate.p_value,
    )
    return _Pooled(mean, fit.tau2)


@dataclass(frozen=True)
class _Pooled:
    """A pooled mean and its τ²."""

    mean: WeightedMean
    tau2: float


def _worst_case(rows: ModelRows, used: Mask, y: Array) -> WeightedMean:
    """Return the mean of the nonaffirmative effects; without an interval if it has none."""
    try:
        return _pool(rows, used, y).mean
    except InestimableError:
        return WeightedMean(float(np.average(y[used], weights=1 / rows.v[used])), *[np.nan] * 5)


def _line(name: str, mean: WeightedMean, k: int, sign: float) -> tuple[object, ...]:
    low, high = sorted((sign * mean.ci_low, sign * mean.ci_high))
    return name, sign * mean.value, low, high, mean.p_value, mean.se, mean.df, k


def _ratio_line(name: str, ratio: float, k: int) -> tuple[object, ...]:
    return name, ratio, np.nan, np.nan, np.nan, np.nan, np.nan, k


def _describe(
    table: pd.DataFrame, rows: ModelRows, n_affirmative: int, favoured: float, *, both: bool
) -> list[str]:
    metric, k = rows.spec.metric, len(rows.y)
    worst = table.loc["worst_case", ["estimate", "ci_low", "ci_high"]].to_numpy(float)
    value, low, high = (float(x) for x in reporting_scale(worst, metric))
    level = f"{100 * rows.spec.ci_level:g} % CI"
    interval = format_interval(low, high, metric)
    noun = "effect" if k - n_affirmative == 1 else "effects"
    sentences = [
        f"{n_affirmative} of {format_count(k, 'effect')} "
        f"{'is' if n_affirmative == 1 else 'are'} affirmative (significant in "
        f"{'either' if both else 'the favoured'} direction). The mean of the nonaffirmative "
        f"{noun} alone, the worst case of selection, is {format_effect(value, metric)}"
        f"{f', {level} {interval}' if interval else ' (no interval can be computed)'}."
    ]
    if favoured <= 0:
        sentences.append(
            "The pooled effect is 0, so that there is nothing for selection to explain."
            if both
            else "The pooled effect does not lie in the favoured direction, so that such selection "
            "cannot explain it."
        )
        return sentences
    estimate, limit = table.loc[["s_value_estimate", "s_value_interval"], "estimate"].astype(float)
    if math.isinf(estimate):
        sentences.append("No selection of this kind, however strong, moves the pooled effect to 0.")
    else:
        sentences.append(
            "Affirmative effects would have to be "
            f"{_print_ratio(estimate)} times as likely to be published as the others to move "
            "the pooled effect to 0."
        )
    if limit == 1:
        sentences.append("Its confidence interval includes 0 without any selection.")
    elif math.isinf(limit):
        sentences.append("No selection of this kind moves its confidence interval to 0.")
    elif not math.isnan(limit):
        sentences.append(
            f"A ratio of {_print_ratio(limit)} moves the limit of its confidence interval to 0."
        )
    if rows.dependent:
        sentences.append(
            "The robust standard errors are by independent study; the versions for a common "
            "effect take all effects as independent."
        )
    return sentences


def _print_ratio(ratio: float) -> str:
    return format_number(ratio, 2 if ratio < 10 else 1)
