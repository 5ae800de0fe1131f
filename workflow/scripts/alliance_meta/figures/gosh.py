"""The GOSH plot: the result of very many subsets of the studies.

Olkin, Dahabreh & Trikalinos (2012), doi:10.1002/jrsm.1053.
"""

import math
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from numpy.typing import NDArray

from alliance_meta.figures.lettering import wrap
from alliance_meta.figures.panels import (
    FOOT_ROOM,
    Array,
    Box,
    KeyEntry,
    add_axes,
    box_path,
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
from alliance_meta.figures.theme import PAGE_WIDTH, POOLED, RULE, style

PLOT_HEIGHT = 3.1  # inches
SIDE = 0.6  # inches, the histograms
SIDE_GAP = 0.08  # inches
COLUMNS, ROWS = 54, 34
# from few to many subsets in a cell; lightness falls steadily, so that print in grey works
TINTS = ("#d3e5ef", "#9cc7e0", "#5aa3cd", "#1f78b0", "#0b4a7a", "#062a4a")
Y_LABEL = "Heterogeneity I², %"


def _choose_steps(most: float) -> list[int]:
    """Return the smallest counts of the tints, about evenly spaced on a logarithmic scale."""
    steps = [1]
    for index in range(1, len(TINTS)):
        wanted = math.exp(math.log(max(most, 1.0)) * index / len(TINTS))
        steps.append(max(steps[-1] + 1, round(wanted)))
    return [step for step in steps if step <= most] or [1]


def _name_steps(steps: list[int]) -> list[str]:
    texts = [
        f"{step:,}" if following == step + 1 else f"{step:,}–{following - 1:,}"
        for step, following in pairwise(steps)
    ]
    return [*texts, *(f"{step:,} or more" for step in steps[-1:])]


def _merge_cells(mask: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """Return row, first and last column of every run of cells along a row."""
    padded = np.pad(mask.astype(int), ((0, 0), (1, 1)))
    change = np.diff(padded, axis=1)
    row, first = np.nonzero(change == 1)
    _, last = np.nonzero(change == -1)
    return row.astype(float), first.astype(float), last.astype(float)


def draw_gosh(
    table: pd.DataFrame,
    *,
    title: str,
    estimate: float,
    metric: str = "fisher_z",
) -> Figure:
    """Draw how many subsets have which estimate and which heterogeneity.

    Parameters
    ----------
    table
        estimate (reporting scale) and I2 (percent), one row a subset; rows without an
        estimate are not drawn, and without any I2 only the estimates' histogram is.
    title
        Heading of the figure.
    estimate
        Estimate of all studies, drawn as a dashed line; not a number for none.
    metric
        fisher_z or r (correlations are shown), or generic.

    Returns
    -------
    matplotlib.figure.Figure
        One page, 7.5 inches wide.

    Raises
    ------
    ValueError
        If there is no estimate or the metric is unknown.
    """
    check_metric(metric)
    values = table["estimate"].to_numpy(dtype=float)
    i2 = table["I2"].to_numpy(dtype=float)
    if not np.isfinite(values).any():
        raise ValueError("there is no subset to draw")
    flat = not np.isfinite(i2[np.isfinite(values)]).any()
    known = np.isfinite(values) & (np.isfinite(i2) | flat)
    values, i2 = values[known], i2[known]
    xlim = pad_range([*values, *([estimate] if math.isfinite(estimate) else [])], 0.03)
    across = np.linspace(*xlim, COLUMNS + 1)
    up = np.linspace(0.0, 100.0, ROWS + 1)
    by_estimate, _ = np.histogram(values, across)
    counts = np.zeros((ROWS, COLUMNS))
    if not flat:
        counts, _, _ = np.histogram2d(np.clip(i2, 0, 100), values, [up, across])
    steps = _choose_steps(counts.max()) if not flat else []
    key = [
        KeyEntry(text if index else f"Subsets in a cell: {text}", TINTS[index], TINTS[index], "box")
        for index, text in enumerate(_name_steps(steps))
    ]
    height = SIDE if flat else PLOT_HEIGHT
    note = "Bars: how the subsets spread."
    if not flat:
        note = "The darker a cell, the more subsets have this estimate and this heterogeneity. "
        note += "Bars at the edges: how the subsets spread over each."
    if math.isfinite(estimate):
        note += " Dashed line: the estimate of all studies."
    with style():
        parts = label_effects(metric)
        below = sum(len(wrap(part, PAGE_WIDTH - 2.2)) for part in parts)
        top_bars = 0.0 if flat else SIDE + SIDE_GAP
        body = key_height(key) + 0.06 + top_bars + height + FOOT_ROOM + LINE * below
        sheet, top = open_page(f"{title}: subsets of the studies (GOSH)", body, note)
        top = draw_key(sheet, top, key) + 0.06
        left = MARGIN + LINE + 0.42
        right = PAGE_WIDTH - MARGIN - (0.06 if flat else SIDE + SIDE_GAP)
        box = Box(left, top + top_bars, right - left, height)
        bars = box if flat else Box(left, top, box.width, SIDE)
        upper = add_axes(sheet, bars, xlim, (0, 1.05 * by_estimate.max()))
        upper.stairs(by_estimate, across, fill=True, color=RULE, linewidth=0, gid="bars-estimate")
        upper.spines["left"].set_visible(False)
        plots = [upper]
        if flat:
            mark_x(upper, box, metric)
        else:
            upper.spines["bottom"].set_color(RULE)
            axes = add_axes(sheet, box, xlim, (0, 100))
            plots.append(axes)
            mark_x(axes, box, metric)
            mark_y(axes, box)
            for index, (step, following) in enumerate(
                zip(steps, [*steps[1:], math.inf], strict=True)
            ):
                row, first, last = _merge_cells((counts >= step) & (counts < following))
                if not len(row):
                    continue
                cells = row.astype(int)
                outline = box_path(
                    across[first.astype(int)], up[cells], across[last.astype(int)], up[cells + 1]
                )
                patch = PathPatch(
                    outline,
                    facecolor=TINTS[index],
                    # hides the hairlines between neighbours
                    edgecolor=TINTS[index],
                    linewidth=0.2,
                    gid=f"cells-{index}",
                )
                axes.add_patch(patch)
            by_i2, _ = np.histogram(np.clip(i2, 0, 100), up)
            side = add_axes(
                sheet,
                Box(box.right + SIDE_GAP, box.top, SIDE, box.height),
                (0, 1.05 * by_i2.max()),
                (0, 100),
            )
            side.stairs(
                by_i2,
                up,
                orientation="horizontal",
                fill=True,
                color=RULE,
                linewidth=0,
                gid="bars-i2",
            )
            side.spines["bottom"].set_visible(False)
            side.spines["left"].set_color(RULE)
            write_beside(sheet, box, [Y_LABEL], tick_room(axes))
        if math.isfinite(estimate):
            for plot in plots:
                plot.axvline(
                    estimate,
                    color=POOLED,
                    linewidth=1.0,
                    linestyle=(0, (4, 2.5)),
                    zorder=4,
                    gid="pooled",
                )
        write_below(sheet, box, parts)
    return sheet.figure
