"""Intervals that respect dependence: whole studies are drawn with replacement."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# fewer usable replications than this, or than half of them, carry no percentile interval
MINIMUM_REPLICATIONS = 50
# four studies can be drawn in 35 different ways, five in 126
MINIMUM_STUDIES = 5
MINIMUM_DIFFERENT = 40
# two replications closer than this share of the largest have found the same
SAME_DRAW = 1e-6


@dataclass(frozen=True)
class BootstrapSummary:
    """What the replications say about some estimates.

    Attributes
    ----------
    se, ci_low, ci_high, p_value
        Standard deviations, percentile intervals and p-values, shape (q,); NaN where too few
        replications are usable or differ, and for an estimate that is the same in all.
    replications
        Number of usable replications.
    different
        Number of different ones among them.
    """

    se: Array
    ci_low: Array
    ci_high: Array
    p_value: Array
    replications: int
    different: int


def draw_counts(clusters: Index, replications: int, seed: int) -> Array:
    """Return how often each row counts in each replication, shape (replications, k).

    Parameters
    ----------
    clusters
        Number of each row's independent study (0, 1, … without gaps), shape (k,).
    replications
        Number of replications.
    seed
        Of the random draws.

    Notes
    -----
    As many studies as there are, drawn with replacement, is a multinomial count of each.
    """
    m = int(clusters.max()) + 1
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(m, np.full(m, 1 / m), size=replications)
    result: Array = counts[:, clusters].astype(np.float64)
    return result


def summarise_draws(
    draws: Array, null: Array, *, requested: int, ci_level: float
) -> BootstrapSummary:
    """Return standard errors, percentile intervals and two-sided p-values.

    Parameters
    ----------
    draws
        Estimates of the usable replications, shape (replications, q).
    null
        Values to test, shape (q,); NaN for no test.
    requested
        Number of replications drawn.
    ci_level
        Confidence level, in (0, 1).

    Notes
    -----
    Efron & Tibshirani (1993, ch. 13 and 15): the p-value is the level at which the percentile
    interval just reaches the null, with one added to both counts.
    """
    usable = len(draws)
    size = np.abs(draws).max(axis=0, initial=0.0)
    rounded = np.round(draws / np.where(size > 0, size, 1.0) / SAME_DRAW)
    different = len(np.unique(rounded, axis=0))
    if usable < max(MINIMUM_REPLICATIONS, requested / 2) or different < MINIMUM_DIFFERENT:
        missing = np.full(len(null), np.nan)
        return BootstrapSummary(missing, missing, missing, missing, usable, different)
    varies = np.ptp(rounded, axis=0) > 0
    tail = (1 - ci_level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    below = (draws <= null).sum(axis=0)
    above = (draws >= null).sum(axis=0)
    p_value = np.minimum(1.0, 2 * (np.minimum(below, above) + 1) / (usable + 1))
    se, low, high, p_value = (
        np.where(varies, values, np.nan)
        for values in (draws.std(axis=0, ddof=1), low, high, p_value)
    )
    p_value = np.where(np.isnan(null), np.nan, p_value)
    return BootstrapSummary(se, low, high, p_value, usable, different)
