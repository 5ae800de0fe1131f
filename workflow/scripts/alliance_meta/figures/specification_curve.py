"""The specification curve: every defensible analysis, sorted, above the choices it made.

Simonsohn, Simmons & Nelson (2020), doi:10.1038/s41562-020-0912-z.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from numpy.typing import ArrayLike, NDArray

from alliance_meta.figures.lettering import measure, shorten
from alliance_meta.figures.panels import (
    Array,
    Box,
    KeyEntry,
    add_axes,
    draw_key,
    key_height,
    label_effects,
    line_path,
    mark_y,
    open_page,
    read_flag,
    tick_room,
    write_beside,
)
from alliance_meta.figures.sheet import LINE, MARGIN, check_metric
from alliance_meta.figures.strips import Reference, find_limits
from alliance_meta.figures.theme import (
    EFFECT,
    INK,
    MUTED,
    ORANGE,
    PAGE_WIDTH,
    POOLED,
    STRIPE,
    style,
)
from alliance_meta.figures.wording import clean
from alliance_meta.formatting import format_count, format_number

MOST_SHOWN = 1000
MOST_DOTS = 120  # more specifications than this are short lines, each as wide as its place
CURVE_HEIGHT = 2.1  # inches
OPTION_ROW = 0.14  # inches
GROUP_GAP = 0.07  # inches
INDENT = 0.1  # inches
LABEL_WIDTH = 2.1  # inches
FIRST, LAST = "specification", "k_studies"  # columns around those of the choices
Mask = NDArray[np.bool_]

# outcome of a test: name, colour, fill of its dot, words for the key
OUTCOMES = (
    ("yes", EFFECT, EFFECT, "Significant"),
    ("no", ORANGE, "white", "Not significant"),
    ("not tested", MUTED, STRIPE, "Not tested"),
)
MARK = "#3d4a55"


# choices that are named as a setting of the model
CHOICE_WORDS = {"tau2": "Estimator of τ²", "choice_tau2": "Estimator of τ²", "rho": "ρ"}


def list_choices(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return choice -> its options, in the table's order; only choices with several options.

    Parameters
    ----------
    table
        Columns of choices stand between ``specification`` and ``k_studies``.
    """
    names = [str(column) for column in table.columns]
    choices = names[names.index(FIRST) + 1 : names.index(LAST)]
    options = {name: list(dict.fromkeys(map(clean, table[name]))) for name in choices}
    return {name: values for name, values in options.items() if len(values) > 1}


def name_outcome(cell: Any) -> str:
    """Return the outcome of a test: yes, no, or not tested."""
    return ("yes" if read_flag(cell) else "no") if clean(cell) else "not tested"


def _print(option: str) -> str:
    return option.replace("_", " ") or "none"


def _head(choice: str) -> str:
    if choice in CHOICE_WORDS:
        return CHOICE_WORDS[choice]
    text = choice.removeprefix("choice_").replace("_", " ")
    return text[:1].upper() + text[1:]


def _add_lines(
    axes: Axes,
    x0: ArrayLike,
    y0: ArrayLike,
    x1: ArrayLike,
    y1: ArrayLike,
    width: float,
    colour: str,
    gid: str,
) -> None:
    if np.size(x0):
        patch = PathPatch(
            line_path(x0, y0, x1, y1),
            facecolor="none",
            edgecolor=colour,
            linewidth=width,
            capstyle="butt",
            gid=gid,
        )
        axes.add_patch(patch)


def _draw_curve(
    axes: Axes, values: Array, low: Array, high: Array, outcome: NDArray[np.str_]
) -> None:
    place = np.arange(len(values), dtype=float)
    few = len(values) <= MOST_DOTS
    bottom, top = axes.get_ylim()
    ends = np.clip(low, bottom, top), np.clip(high, bottom, top)
    for name, colour, fill, _ in OUTCOMES:
        chosen = outcome == name
        known = chosen & np.isfinite(low) & np.isfinite(high)
        x = place[known]
        width = 0.9 if few else 0.4
        _add_lines(
            axes,
            x,
            ends[0][known],
            x,
            ends[1][known],
            width,
            colour,
            f"ci-{name.replace(' ', '-')}",
        )
        if few:
            axes.scatter(
                place[chosen],
                values[chosen],
                s=13.0,
                facecolor=fill,
                edgecolor=colour,
                linewidths=0.9,
                zorder=3,
                gid=f"dots-{name.replace(' ', '-')}",
            )
    if not few:
        _add_lines(axes, place - 0.5, values, place + 0.5, values, 1.6, INK, "estimates")


def _draw_dashes(axes: Axes, chosen: Mask, y: float, merge: bool, gid: str) -> None:
    """Draw where an option was taken; neighbours become one line where there are many."""
    if merge:
        change = np.diff(np.pad(chosen.astype(int), 1))
        start = np.flatnonzero(change == 1) - 0.5
        end = np.flatnonzero(change == -1) - 0.5
    else:
        start = np.flatnonzero(chosen) - 0.36
        end = start + 0.72
    level = np.full(len(start), y)
    _add_lines(axes, start, level, end, level, 4.0, MARK, gid)


def draw_specification_curve(
    table: pd.DataFrame,
    reference: Reference | None = None,
    *,
    title: str,
    metric: str = "fisher_z",
    ci_level: float = 0.95,
) -> Figure:
    """Draw the estimates of all specifications, sorted, and below which choices made each.

    Parameters
    ----------
    table
        specification, a column per choice, k_studies, k_effects, estimate, ci_low, ci_high
        (reporting scale), significant; specifications without an estimate are only counted.
        Of more than 1,000, evenly spaced ones are shown.
    reference
        The analysis itself, drawn as a dashed line with a band.
    title
        Heading of the figure.
    metric
        fisher_z or r (correlations are shown), or generic.
    ci_level
        Level of the intervals.

    Returns
    -------
    matplotlib.figure.Figure
        One page, 7.5 inches wide, as high as its options need.

    Raises
    ------
    ValueError
        If no specification has an estimate or the metric is unknown.
    """
    check_metric(metric)
    known = np.isfinite(table["estimate"].to_numpy(dtype=float))
    rows = table.loc[known].sort_values("estimate", kind="stable", ignore_index=True)
    if rows.empty:
        raise ValueError("there is no specification to draw")
    total = len(rows)
    if total > MOST_SHOWN:
        rows = rows.iloc[np.linspace(0, total - 1, MOST_SHOWN).round().astype(int)]
    values, low, high = (
        rows[name].to_numpy(dtype=float) for name in ("estimate", "ci_low", "ci_high")
    )
    outcome = np.array([name_outcome(cell) for cell in rows["significant"]])
    found = [name for name, *_ in OUTCOMES if (outcome == name).any()]
    groups: list[tuple[str, list[tuple[str, Mask]]]] = []
    if len(found) > 1:
        groups.append(("Significant", [(name, outcome == name) for name in found]))
    for name, values_of in list_choices(table).items():
        taken = np.array([clean(cell) for cell in rows[name]])
        groups.append((_head(name), [(option, taken == option) for option in values_of]))
    percent = f"{100 * ci_level:g} %"
    alpha = format_number(1 - ci_level, 2, leading_zero=False)
    key = [
        KeyEntry(f"{words} (p < {alpha})" if name == "yes" else words, fill, colour)
        for name, colour, fill, words in OUTCOMES
        if name in found
    ]
    note = f"Above: estimates from the lowest to the highest, each with its {percent} CI. "
    note += "Below: the choices behind each. "
    if reference is not None and math.isfinite(reference.estimate):
        note += "Dashed line and band: the analysis itself with its confidence interval. "
    if total > len(rows):
        note += f"{format_count(len(rows), 'specification')} shown of {total:,}, evenly chosen. "
    if missing := len(table) - total:
        note += f"{format_count(missing, 'specification')} could not be estimated."
    with style():
        length = sum(OPTION_ROW * (len(options) + 1) + GROUP_GAP for _, options in groups)
        body = key_height(key) + 0.06 + CURVE_HEIGHT + 0.1 + length
        sheet, top = open_page(f"{title}: specification curve", body, note.strip())
        top = draw_key(sheet, top, key) + 0.06
        widest = max(
            (INDENT + measure(_print(option)) for _, options in groups for option, _ in options),
            default=0.0,
        )
        widest = max([widest, *(measure(name, weight="bold") for name, _ in groups)])
        parts = label_effects(metric)
        # whole points, and places that are multiples of 1/20 point, keep the file's numbers short
        left = (
            math.ceil(72 * max(MARGIN + min(widest, LABEL_WIDTH) + 0.1, MARGIN + 3 * LINE + 0.4))
            / 72
        )
        room = 72 * (PAGE_WIDTH - MARGIN - 0.05 - left)
        step = room / len(rows)
        step = math.floor(20 * step) / 20 if step >= 0.05 else step
        box = Box(left, top, step * len(rows) / 72, CURVE_HEIGHT)
        edges = (-0.5, len(rows) - 0.5)
        limits = find_limits(values, low, high, reference, metric, whole=True)
        axes = add_axes(sheet, box, edges, limits)
        axes.spines["bottom"].set_visible(False)
        mark_y(axes, box, metric)
        axes.axhline(0, color=MUTED, linewidth=0.8, zorder=1, gid="zero")
        if reference is not None and math.isfinite(reference.estimate):
            if math.isfinite(reference.low) and math.isfinite(reference.high):
                axes.axhspan(
                    reference.low,
                    reference.high,
                    facecolor=POOLED,
                    alpha=0.1,
                    linewidth=0,
                    zorder=0.5,
                )
            axes.axhline(
                reference.estimate,
                color=POOLED,
                linewidth=0.9,
                linestyle=(0, (4, 2.5)),
                zorder=4,
                gid="reference",
            )
        _draw_curve(axes, values, low, high, outcome)
        write_beside(sheet, box, parts, tick_room(axes))
        if groups:
            start = box.bottom + 0.1
            below = Box(left, start, box.width, length)
            lower = add_axes(sheet, below, edges, (start + length, start))
            lower.set_axis_off()
            y = start
            number = 0
            for name, options in groups:
                y += GROUP_GAP
                label = shorten(name, LABEL_WIDTH, weight="bold")
                sheet.write(
                    MARGIN, y + OPTION_ROW / 2, label, weight="bold", gid=f"choice-{number}"
                )
                y += OPTION_ROW
                for option, chosen in options:
                    centre = y + OPTION_ROW / 2
                    lower.axhspan(
                        y + 0.015, y + OPTION_ROW - 0.015, facecolor=STRIPE, linewidth=0, zorder=0
                    )
                    _draw_dashes(lower, chosen, centre, len(rows) > MOST_DOTS, f"option-{number}")
                    text = shorten(_print(option), LABEL_WIDTH - INDENT)
                    sheet.write(MARGIN + INDENT, centre, text, gid=f"option-{number}-label")
                    y += OPTION_ROW
                    number += 1
    return sheet.figure
