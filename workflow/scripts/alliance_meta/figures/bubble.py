"""The bubble plot: effects against a number that may explain them."""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator

from alliance_meta.figures.lettering import choose_families, wrap
from alliance_meta.figures.scale import choose_limits, choose_ticks
from alliance_meta.figures.sheet import (
    AXIS_LABELS,
    LINE,
    MARGIN,
    TITLE_LINE,
    Sheet,
    check_metric,
    find_heaviest,
)
from alliance_meta.figures.theme import (
    EFFECT,
    INK,
    PAGE_WIDTH,
    POOLED,
    RULE,
    TEXT_SIZE,
    TITLE_SIZE,
    style,
)

PLOT_HEIGHT = 3.6  # inches
LABEL_ROOM = 0.42  # inches for tick labels beside the axis
NOTE = "Each circle is one effect; its area is proportional to the weight in the model."


def _largest(count: int) -> float:
    """Return the area of the largest bubble, points squared: many effects need small ones."""
    return float(np.clip(1700 / math.sqrt(count), 70, 320))


def draw_bubble(
    effects: pd.DataFrame,
    moderator: str,
    line: pd.DataFrame,
    *,
    title: str,
    moderator_label: str,
    metric: str = "fisher_z",
    ci_level: float = 0.95,
) -> Figure:
    """Draw effects against a continuous moderator with the fitted line and its band.

    Parameters
    ----------
    effects
        Table of included effects with estimate, weight, ci_low, ci_high and ``moderator``;
        rows without a moderator or estimate are not drawn.
    moderator
        Column of the moderator.
    line
        Fitted values on the reporting scale: x, estimate, ci_low, ci_high; may be empty.
    title
        Heading of the figure.
    moderator_label
        Label of the x axis.
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
        If the metric is unknown or no effect has both numbers.
    """
    check_metric(metric)
    known = np.isfinite(effects[moderator].to_numpy(dtype=float))
    known &= np.isfinite(effects["estimate"].to_numpy(dtype=float))
    if not known.any():
        raise ValueError(f"no effect has a value of {moderator}")
    shown = effects.loc[known]
    x, estimate = shown[moderator].to_numpy(dtype=float), shown["estimate"].to_numpy(dtype=float)
    weight = shown["weight"].to_numpy(dtype=float)
    fitted = line.dropna(subset=["x", "estimate"]).sort_values("x")
    with style():
        heading = wrap(title, PAGE_WIDTH - 2 * MARGIN, TITLE_SIZE, "bold")
        percent = f"{100 * ci_level:g} %"
        note = NOTE if fitted.empty else f"{NOTE} Line: fitted values with their {percent} CI."
        notes = wrap(note, PAGE_WIDTH - 2 * MARGIN)
        side = [part for text in AXIS_LABELS[metric] for part in wrap(text, PLOT_HEIGHT)]
        top = MARGIN + TITLE_LINE * len(heading) + 0.12
        bottom = top + PLOT_HEIGHT
        below = wrap(moderator_label, PAGE_WIDTH - 1.5)
        height = bottom + 0.24 + LINE * (len(below) + len(notes)) + 0.08 + MARGIN
        sheet = Sheet(height)
        sheet.write_title(heading)
        left = MARGIN + LINE * len(side) + LABEL_ROOM
        width = PAGE_WIDTH - MARGIN - 0.1 - left
        box = (
            left / PAGE_WIDTH,
            1 - bottom / height,
            width / PAGE_WIDTH,
            PLOT_HEIGHT / height,
        )
        axes = sheet.figure.add_axes(box)
        axes.spines[["top", "right"]].set_visible(False)
        nothing = np.full(len(shown), np.nan)
        low, high = choose_limits(
            estimate,
            nothing,
            nothing,
            weight,
            intervals=fitted[["ci_low", "ci_high"]].to_numpy(dtype=float).ravel().tolist(),
            bounded=metric != "generic",
        )
        span = float(x.max() - x.min()) or max(abs(float(x[0])) * 0.1, 1.0)
        edges = (float(x.min()) - 0.05 * span, float(x.max()) + 0.05 * span)
        axes.set_xlim(*edges)
        axes.set_ylim(low, high)
        axes.set_autoscale_on(False)
        whole = bool(np.all(x == np.round(x)))
        marks = MaxNLocator(8, steps=[1, 2, 2.5, 5, 10], integer=whole).tick_values(*edges)
        marks = [float(m) for m in marks if edges[0] <= m <= edges[1]]
        axes.xaxis.set_major_locator(FixedLocator(marks))
        axes.xaxis.set_major_formatter(FixedFormatter([f"{m:.10g}" for m in marks]))
        values, labels = choose_ticks(
            low, high, PLOT_HEIGHT, lambda _: TEXT_SIZE / 72, leading_zero=metric == "generic"
        )
        axes.set_yticks(values, labels)
        axes.axhline(0, color=RULE, linewidth=0.8, zorder=1, gid="zero")
        if not fitted.empty:
            along = fitted["x"].to_numpy(dtype=float)
            axes.fill_between(
                along,
                fitted["ci_low"].to_numpy(dtype=float),
                fitted["ci_high"].to_numpy(dtype=float),
                color=POOLED,
                alpha=0.18,
                linewidth=0,
                zorder=1.5,
                gid="band",
            )
            axes.plot(
                along, fitted["estimate"], color=POOLED, linewidth=1.6, zorder=3.5, gid="line"
            )
        # the heaviest first, so that light effects lie on top of them
        order = np.argsort(-weight, kind="stable")
        order = order[np.isfinite(weight[order])]
        axes.scatter(
            x[order],
            estimate[order],
            s=_largest(len(shown)) * np.clip(weight[order], 0, None) / find_heaviest(weight),
            facecolor=EFFECT,
            edgecolor="white",
            linewidths=0.6,
            alpha=0.6,
            clip_on=False,
            zorder=3,
            gid="bubbles",
        )
        y = bottom + 0.24
        for index, text in enumerate(below):
            centre = left + width / 2
            sheet.write(centre, y + LINE / 2, text, align="center", gid=f"axis-label-{index}")
            y += LINE
        for index, text in enumerate(side):
            sheet.figure.text(
                (MARGIN + LINE * (index + 0.75)) / PAGE_WIDTH,
                1 - (top + PLOT_HEIGHT / 2) / height,
                text,
                rotation=90,
                rotation_mode="anchor",
                ha="center",
                va="baseline",
                fontsize=TEXT_SIZE,
                color=INK,
                fontfamily=choose_families(text),
                gid=f"side-label-{index}",
            )
        sheet.write_notes(notes, y + 0.08)
    return sheet.figure
