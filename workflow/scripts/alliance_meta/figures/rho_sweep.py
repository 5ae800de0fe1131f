"""The result over the assumed correlation of effects of one sample."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alliance_meta.figures.lettering import shorten
from alliance_meta.figures.panels import (
    FOOT_ROOM,
    Box,
    add_axes,
    mark_x,
    mark_y,
    open_page,
    pad_range,
)
from alliance_meta.figures.sheet import LINE, MARGIN, check_metric
from alliance_meta.figures.strips import draw_ribbon
from alliance_meta.figures.theme import EFFECT, INK, MUTED, PAGE_WIDTH, style
from alliance_meta.formatting import format_number

ACROSS = 3  # small plots beside each other
MOST_TERMS = 12
TERM_HEIGHT = 1.05  # inches
TERM_GAP = 0.1  # inches


def draw_rho_sweep(
    table: pd.DataFrame,
    *,
    rho: float,
    title: str,
    metric: str = "fisher_z",
    ci_level: float = 0.95,
) -> Figure:
    """Draw the estimate with its interval over rho.

    Parameters
    ----------
    table
        rho, estimate, ci_low, ci_high on the reporting scale, one row per rho.
    rho
        The analysis's own value, marked; not a number for none.
    title
        Heading of the figure.
    metric
        fisher_z or r (correlations are shown), or generic.
    ci_level
        Level of the band, for the note.

    Returns
    -------
    matplotlib.figure.Figure
        One page, 7.5 inches wide.

    Raises
    ------
    ValueError
        If there is no estimate or the metric is unknown.
    """
    rows = table.sort_values("rho", kind="stable")
    note = f"Line: the estimate; band: its {100 * ci_level:g} % confidence interval."
    if math.isfinite(rho):
        value = format_number(rho, 2, leading_zero=False)
        note += f" Diamond and dotted line: the analysis itself, ρ = {value}."
    spread = rows["rho"].to_numpy(dtype=float)
    return draw_ribbon(
        spread,
        rows["estimate"],
        rows["ci_low"],
        rows["ci_high"],
        title=f"{title}: the result over the assumed correlation ρ",
        x_label="Assumed correlation ρ of the sampling errors of effects from the same sample",
        note=note,
        reference=None,
        metric=metric,
        upright=rho,
        limits=(min(0.0, float(np.nanmin(spread))), max(1.0, float(np.nanmax(spread)))),
    )


def draw_rho_terms(
    table: pd.DataFrame,
    *,
    rho: float,
    title: str,
    metric: str = "fisher_z",
    ci_level: float = 0.95,
) -> Figure:
    """Draw every coefficient with its interval over rho, one small plot each.

    Parameters
    ----------
    table
        rho, name (words for the coefficient), estimate, ci_low, ci_high on the analysis metric.
        The first twelve coefficients are drawn.
    rho, title, metric, ci_level
        As in `draw_rho_sweep`.

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
    known = table.loc[np.isfinite(table[["rho", "estimate"]].to_numpy(dtype=float)).all(axis=1)]
    if known.empty:
        raise ValueError("there is no estimate to draw")
    parts = [part.sort_values("rho") for _, part in known.groupby("name", sort=False)]
    scale = "coefficient on Fisher's z" if metric == "fisher_z" else "coefficient"
    note = f"Line: the {scale}; band: its {100 * ci_level:g} % confidence interval."
    if math.isfinite(rho):
        note += f" Dotted line: the analysis itself, ρ = {format_number(rho, leading_zero=False)}."
    if len(parts) > MOST_TERMS:
        note += f" {MOST_TERMS} of {len(parts)} coefficients are shown."
        parts = parts[:MOST_TERMS]
    n_rows = math.ceil(len(parts) / ACROSS)
    cell = TERM_HEIGHT + FOOT_ROOM + LINE + TERM_GAP
    with style():
        body = cell * n_rows + LINE
        heading = f"{title}: coefficients over the assumed correlation ρ"
        sheet, top = open_page(heading, body, note)
        step = (PAGE_WIDTH - 2 * MARGIN) / ACROSS
        for number, part in enumerate(parts):
            row, column = divmod(number, ACROSS)
            left = MARGIN + step * column
            y = top + cell * row
            words = shorten(str(part["name"].iloc[0]), step - 0.15, weight="bold")
            sheet.write(left, y + LINE / 2, words, weight="bold", gid=f"term-{number}")
            box = Box(left + 0.48, y + LINE + 0.04, step - 0.48 - 0.16, TERM_HEIGHT)
            low, high = (part[name].to_numpy(dtype=float) for name in ("ci_low", "ci_high"))
            value, place = (part[name].to_numpy(dtype=float) for name in ("estimate", "rho"))
            axes = add_axes(sheet, box, (0.0, 1.0), pad_range([*value, *low, *high, 0.0]))
            mark_x(axes, box, "r")
            mark_y(axes, box)
            axes.axhline(0, color=MUTED, linewidth=0.6, zorder=1)
            axes.fill_between(
                place, low, high, color=EFFECT, alpha=0.2, linewidth=0, gid=f"band-{number}"
            )
            axes.plot(place, value, color=EFFECT, linewidth=1.4, gid=f"line-{number}")
            if math.isfinite(rho):
                axes.axvline(rho, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
        sheet.write(
            PAGE_WIDTH / 2,
            top + body - LINE / 2,
            "Assumed correlation ρ",
            align="center",
            gid="axis-label-0",
        )
    return sheet.figure
