"""Where an axis begins and ends, and its ticks."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alliance_meta.formatting import format_number

TICK_GAP = 0.07  # inches between tick labels


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=float).ravel()
    return array[np.isfinite(array)]


def choose_limits(
    estimates: ArrayLike,
    lows: ArrayLike,
    highs: ArrayLike,
    weights: ArrayLike,
    *,
    intervals: Sequence[float] = (),
    bounded: bool = True,
) -> tuple[float, float]:
    """Choose axis limits that show every estimate and most of every interval.

    Estimates and zero are always inside. Interval ends count up to their 5th and 95th
    percentile, and no further than four typical half-widths beyond the estimates (typical:
    averaged by weight), so that one tiny study cannot squeeze all others.

    Parameters
    ----------
    estimates, lows, highs, weights
        Effects with their intervals and weights, shape (k,); NaN where missing.
    intervals
        Ends of pooled and prediction intervals.
    bounded
        Whether the values are correlations, which keep within [-1, 1].

    Returns
    -------
    tuple of float
        Lower and upper limit.
    """
    points = np.append(_finite(estimates), 0.0)
    low, high = float(points.min()), float(points.max())
    half = (np.asarray(highs, dtype=float) - np.asarray(lows, dtype=float)) / 2
    weight = np.asarray(weights, dtype=float)
    known = np.isfinite(half) & np.isfinite(weight) & (weight > 0)
    typical = float(np.average(half[known], weights=weight[known])) if known.any() else 0.0
    reach = max(4 * typical, high - low)
    wanted_low, wanted_high = [low], [high]
    if _finite(lows).size:
        wanted_low.append(float(np.quantile(_finite(lows), 0.05)))
    if _finite(highs).size:
        wanted_high.append(float(np.quantile(_finite(highs), 0.95)))
    ends = _finite(intervals)
    if ends.size:
        wanted_low.append(float(np.min(ends)))
        wanted_high.append(float(np.max(ends)))
    low = max(min(wanted_low), low - reach)
    high = min(max(wanted_high), high + reach)
    if high <= low:
        low, high = low - 0.2, high + 0.2
    # room for a square, and beside it for the arrow of an interval that is cut
    span = high - low
    low = min(low - 0.04 * span, float(points.min()) - 0.1 * span)
    high = max(high + 0.04 * span, float(points.max()) + 0.1 * span)
    if bounded:
        low, high = max(low, -1.0), min(high, 1.0)
    return low, high


def _ticks(low: float, high: float, count: int) -> tuple[list[float], int]:
    """Return at most ``count`` + 1 round values and the decimals they need."""
    raw = (high - low) / count
    power = math.floor(math.log10(raw))
    step, digits = 10.0 ** (power + 1), -(power + 1)
    for factor, extra in ((1.0, 0), (2.0, 0), (2.5, 1), (5.0, 0)):
        if factor * 10.0**power >= raw * (1 - 1e-9):
            step, digits = factor * 10.0**power, extra - power
            break
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)], max(digits, 0)


def choose_ticks(
    low: float,
    high: float,
    width: float,
    measure: Callable[[str], float],
    *,
    leading_zero: bool,
) -> tuple[list[float], list[str]]:
    """Choose round ticks whose labels have room.

    Parameters
    ----------
    low, high
        Axis limits.
    width
        Length of the axis, inches.
    measure
        Width of a label, inches.
    leading_zero
        Whether ``0.5`` keeps its zero.

    Returns
    -------
    tuple
        Values and labels.
    """
    values: list[float] = [0.0]
    labels = ["0"]
    for count in range(7, 1, -1):
        values, digits = _ticks(low, high, count)
        labels = [
            "0" if abs(v) < 1e-12 else format_number(v, digits, leading_zero=leading_zero)
            for v in values
        ]
        gap = width * (values[1] - values[0]) / (high - low) if len(values) > 1 else width
        if max(map(measure, labels), default=0.0) + TICK_GAP <= gap:
            break
    return values, labels
