"""The contour-enhanced funnel plot: effects against their standard errors.

Zones of two-sided significance around zero: Peters et al. (2008),
doi:10.1016/j.jclinepi.2007.11.010.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from alliance_meta.figures.lettering import measure, wrap
from alliance_meta.figures.panels import (
    FOOT_ROOM,
    Array,
    Box,
    KeyEntry,
    add_axes,
    choose_correlation_ticks,
    draw_key,
    key_height,
    label_effects,
    mark_x,
    mark_y,
    open_page,
    pad_range,
    tick_room,
    write_below,
    write_beside,
)
from alliance_meta.figures.sheet import LINE, MARGIN, check_metric
from alliance_meta.figures.theme import (
    EFFECT,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PAGE_WIDTH,
    POOLED,
    VERMILION,
    style,
)

PLOT_HEIGHT = 3.7  # inches
# bounds of two-sided p between zones, from the innermost outwards, and the zones' tints
BOUNDS = (0.10, 0.05, 0.01)
TINTS = ("#bcc7cf", "#d9e0e5", "#eef2f4")
ZONES = ("p ≥ .10", ".05 ≤ p < .10", ".01 ≤ p < .05", "p < .01")
# shape and colour of up to four levels
LOOKS = (("o", EFFECT), ("^", ORANGE), ("s", GREEN), ("D", VERMILION))
SIDE_LABEL = "Standard error (smaller = more precise)"
RESIDUAL_LABELS = {
    "fisher_z": "Residual (Fisher's z): effect minus what its moderators predict",
    "r": "Residual: effect minus what its moderators predict",
    "generic": "Residual: effect minus what its moderators predict",
}


def _area(count: int) -> float:
    """Return the area of a dot, points squared: many effects need small ones."""
    return float(np.clip(420 / math.sqrt(count), 9, 34))


def _draw_zones(axes: Axes, bottom: float) -> None:
    """Tint the zones from the widest down, so that each covers the middle of the one before."""
    low, high = axes.get_xlim()
    axes.axvspan(low, high, facecolor=TINTS[-1], linewidth=0, zorder=0.1)
    for bound, tint in zip(BOUNDS[::-1], (*TINTS[-2::-1], "white"), strict=True):
        reach = float(stats.norm.isf(bound / 2)) * bottom
        axes.fill(
            [0, -reach, reach],
            [0, bottom, bottom],
            facecolor=tint,
            linewidth=0,
            zorder=0.2 + bound,
            gid=f"zone-{bound:g}",
        )


def _draw_dots(
    axes: Axes, x: Array, se: Array, marker: str, colour: str, size: float, gid: str
) -> None:
    axes.scatter(
        x,
        se,
        s=size,
        marker=marker,
        facecolor=colour,
        edgecolor="white",
        linewidths=0.5,
        alpha=0.8,
        clip_on=False,
        zorder=3,
        gid=gid,
    )


def draw_funnel(
    table: pd.DataFrame,
    *,
    title: str,
    estimate: float,
    metric: str = "fisher_z",
    ci_level: float = 0.95,
    residual: bool = False,
    filled: pd.DataFrame | None = None,
    levels: Sequence[str] | None = None,
) -> Figure:
    """Draw effects against their standard errors, with zones of significance.

    Parameters
    ----------
    table
        x, se and, for ``residual``, residual, on the analysis metric; rows without both
        numbers are not drawn.
    title
        Heading of the figure.
    estimate
        Pooled estimate on the analysis metric; not a number for none.
    metric
        fisher_z (ticks are correlations), r or generic.
    ci_level
        Level of the pseudo-interval.
    residual
        Draw residuals around zero, as after moderators; without zones, which belong to p-values
        of effects.
    filled
        x and se of effects that trim-and-fill adds, drawn as open dots.
    levels
        Level of each row of ``table``; up to four are told apart.

    Returns
    -------
    matplotlib.figure.Figure
        One page, 7.5 inches wide.

    Raises
    ------
    ValueError
        If the metric is unknown or no effect has both numbers.
    """
    check_metric(metric)
    x = table["residual" if residual else "x"].to_numpy(dtype=float)
    se = table["se"].to_numpy(dtype=float)
    known = np.isfinite(x) & np.isfinite(se)
    if not known.any():
        raise ValueError("there is no effect to draw")
    names = np.array(["" if levels is None else str(level) for level in (levels or [""] * len(x))])
    x, se, names = x[known], se[known], names[known]
    kinds = list(dict.fromkeys(names))
    if len(kinds) > len(LOOKS):
        kinds, names = [""], np.full(len(x), "")
    extra = pd.DataFrame({"x": [], "se": []}) if filled is None else filled[["x", "se"]].dropna()
    centre = 0.0 if residual else estimate
    bottom = 1.06 * max(float(se.max()), float(extra["se"].max()) if len(extra) else 0.0, 1e-6)
    factor = float(stats.norm.isf((1 - ci_level) / 2))
    ends = [centre - factor * bottom, centre + factor * bottom] if math.isfinite(centre) else []
    low, high = pad_range([*x, *extra["x"], 0.0], 0.05)
    span = high - low
    if ends:
        low, high = min(low, max(ends[0], low - span)), max(high, min(ends[1], high + span))
    percent = f"{100 * ci_level:g} %"
    kind = "funnel plot of residuals" if residual else "funnel plot"
    key = [
        KeyEntry(level, LOOKS[i][1], LOOKS[i][1], LOOKS[i][0])
        for i, level in enumerate(kinds)
        if level
    ]
    if len(extra):
        key.append(KeyEntry("Added by trim-and-fill", "white", INK))
    if not residual:
        tints = ("white", *TINTS)
        key += [KeyEntry(z, t, MUTED, "box") for z, t in zip(ZONES, tints, strict=True)]
    note = "Each dot is one effect."
    if ends:
        line = "Line at zero" if residual else "Line: the pooled estimate"
        note += f" {line}; dashed: where {percent} of effects would lie if only chance spread them."
    if not residual:
        note += " Tinted: p-values of single effects against zero."
    with style():
        parts = (RESIDUAL_LABELS[metric],) if residual else label_effects(metric)
        below = [text for part in parts for text in wrap(part, PAGE_WIDTH - 1.6)]
        body = key_height(key) + PLOT_HEIGHT + FOOT_ROOM + LINE * len(below) + 0.06
        sheet, top = open_page(f"{title}: {kind}", body, note)
        top = draw_key(sheet, top, key) + 0.06
        left = MARGIN + LINE + 0.45
        box = Box(left, top, PAGE_WIDTH - MARGIN - 0.1 - left, PLOT_HEIGHT)
        axes = add_axes(sheet, box, (low, high), (bottom, 0.0))
        if metric == "fisher_z" and not residual:
            axes.set_xticks(*choose_correlation_ticks(low, high, box.width, measure))
        else:
            mark_x(axes, box, "generic" if residual else metric)
        mark_y(axes, box)
        if not residual:
            _draw_zones(axes, bottom)
            axes.axvline(0, color=MUTED, linewidth=0.7, zorder=1, gid="zero")
        if ends:
            axes.axvline(centre, color=POOLED, linewidth=1.2, zorder=2, gid="pooled")
            axes.plot(
                [ends[0], centre, ends[1]],
                [bottom, 0, bottom],
                color=POOLED,
                linewidth=1.0,
                linestyle=(0, (4, 2.5)),
                zorder=2,
                gid="pseudo-interval",
            )
        size = _area(len(x))
        for index, level in enumerate(kinds):
            marker, colour = LOOKS[index]
            chosen = names == level
            _draw_dots(axes, x[chosen], se[chosen], marker, colour, size, f"effects-{index}")
        if len(extra):
            axes.scatter(
                extra["x"],
                extra["se"],
                s=size,
                marker="o",
                facecolor="white",
                edgecolor=INK,
                linewidths=0.9,
                clip_on=False,
                zorder=3.5,
                gid="filled",
            )
        write_below(sheet, box, parts)
        write_beside(sheet, box, [SIDE_LABEL], tick_room(axes))
    return sheet.figure
