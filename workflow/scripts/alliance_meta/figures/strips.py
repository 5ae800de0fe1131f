"""Estimates with intervals in rows, or, where there are many, as a line with a band."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from alliance_meta.figures.lettering import measure, wrap
from alliance_meta.figures.panels import (
    FOOT_ROOM,
    ROOM,
    Box,
    KeyEntry,
    add_axes,
    draw_key,
    key_height,
    label_effects,
    mark_x,
    mark_y,
    open_page,
    tick_room,
    write_below,
    write_beside,
)
from alliance_meta.figures.scale import choose_limits
from alliance_meta.figures.sheet import (
    AXIS_ROOM,
    LINE,
    MARGIN,
    ROW,
    Layout,
    Sheet,
    check_metric,
    lay_out,
)
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
from alliance_meta.figures.wording import describe_percent
from alliance_meta.formatting import format_effect, format_interval

RIBBON_HEIGHT = 2.9  # inches
REMARK_LINE = 0.13  # inches
REFERENCE_GAP = 0.05  # inches below the row of the full result


@dataclass(frozen=True)
class Look:
    """How a row's estimate is drawn; looks differ in shape as well as in colour."""

    marker: str
    fill: str
    edge: str
    size: float = 20.0


LOOKS = {
    "plain": Look("o", EFFECT, EFFECT),
    "changed": Look("D", "white", VERMILION, 22.0),
    "reference": Look("D", POOLED, POOLED, 26.0),
    "holds": Look("o", GREEN, GREEN, 26.0),
    "fails": Look("X", VERMILION, VERMILION, 34.0),
    "unclear": Look("s", "white", ORANGE, 24.0),
}


def key_of(look: str, text: str) -> KeyEntry:
    """Return the entry of a key for a look."""
    return KeyEntry(text, LOOKS[look].fill, LOOKS[look].edge, LOOKS[look].marker)


@dataclass(frozen=True)
class Reference:
    """The result that others are compared with, on the reporting scale."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Strip:
    """One row: words, an estimate with its interval, and cells before and after the plot."""

    label: str
    estimate: float
    low: float
    high: float
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    remark: str = ""
    look: str = "plain"

    @property
    def weight(self) -> str:
        """Weight of the row's letters."""
        return "bold" if self.look in ("changed", "reference") else "normal"


def find_limits(
    estimates: ArrayLike,
    lows: ArrayLike,
    highs: ArrayLike,
    reference: Reference | None,
    metric: str,
    *,
    whole: bool,
) -> tuple[float, float]:
    """Return axis limits for estimates of about equal importance and the full result.

    With ``whole`` every interval is shown, unless it is many times as wide as the others.
    """
    ends = [reference.estimate, reference.low, reference.high] if reference else []
    lower, upper = np.asarray(lows, dtype=float), np.asarray(highs, dtype=float)
    paired = np.isfinite(lower) & np.isfinite(upper)
    return choose_limits(
        np.append(np.asarray(estimates, dtype=float), ends[:1]),
        lower[paired],
        upper[paired],
        np.ones(int(paired.sum())),
        intervals=[*ends, *lower[paired], *upper[paired]] if whole else ends,
        bounded=metric != "generic",
    )


def _draw_reference(axes: Axes, reference: Reference | None, *, across: bool) -> None:
    """Draw the full result as a dashed line with a band, across or up the plot."""
    if reference is None or not math.isfinite(reference.estimate):
        return
    line, band = (axes.axhline, axes.axhspan) if across else (axes.axvline, axes.axvspan)
    if math.isfinite(reference.low) and math.isfinite(reference.high):
        band(
            reference.low,
            reference.high,
            facecolor=POOLED,
            alpha=0.1,
            linewidth=0,
            zorder=0.6,
            gid="reference-band",
        )
    line(
        reference.estimate,
        color=POOLED,
        linewidth=0.9,
        linestyle=(0, (4, 2.5)),
        zorder=1.5,
        gid="reference",
    )


def _plan(
    strips: Sequence[Strip], headers: Sequence[str], after: Sequence[str], effect: str, digits: int
) -> Layout:
    def cells(name: str, index: int) -> float:
        return max(measure(getattr(s, name)[index], weight="bold") for s in strips)

    label = max(measure(s.label, weight=s.weight) for s in strips)
    remarks = max(measure(s.remark) for s in strips)
    return lay_out(
        max(label, min(remarks, 2.6)),
        headers[0],
        [(f"before-{i}", h, "right", cells("before", i)) for i, h in enumerate(headers[1:])],
        [
            (
                "effect",
                effect,
                "right",
                max(measure(_describe(s, "generic", digits), weight="bold") for s in strips),
            ),
            *((f"after-{i}", h, "left", cells("after", i)) for i, h in enumerate(after)),
        ],
    )


def _describe(strip: Strip, metric: str, digits: int) -> str:
    if not math.isfinite(strip.estimate):
        return ""
    interval = format_interval(strip.low, strip.high, metric, digits)
    return f"{format_effect(strip.estimate, metric, digits)} {interval}".strip()


def _draw_estimate(
    axes: Axes, strip: Strip, y: float, limits: tuple[float, float], gid: str
) -> None:
    look = LOOKS[strip.look]
    if math.isfinite(strip.low) and math.isfinite(strip.high):
        ends = [min(max(end, limits[0]), limits[1]) for end in (strip.low, strip.high)]
        axes.plot(ends, [y, y], color=look.edge, linewidth=1.3, zorder=2, gid=f"{gid}-ci")
        for side, edge, cut in (
            ("<", limits[0], strip.low < limits[0]),
            (">", limits[1], strip.high > limits[1]),
        ):
            if cut:
                axes.scatter(
                    [edge],
                    [y],
                    s=14.0,
                    marker=side,
                    color=INK,
                    linewidths=0,
                    clip_on=False,
                    zorder=4,
                )
    if math.isfinite(strip.estimate):
        inside = limits[0] <= strip.estimate <= limits[1]
        axes.scatter(
            [strip.estimate] if inside else [],
            [y] if inside else [],
            s=look.size,
            marker=look.marker,
            facecolor=look.fill,
            edgecolor=look.edge if look.fill == "white" else "white",
            linewidths=1.1 if look.fill == "white" else 0.6,
            clip_on=False,
            zorder=3,
            gid=f"{gid}-dot",
        )


def draw_strips(
    strips: Sequence[Strip],
    *,
    title: str,
    headers: Sequence[str],
    after: Sequence[str] = (),
    note: str,
    reference: Reference | None,
    metric: str,
    ci_level: float,
    key: Sequence[KeyEntry] = (),
    row: float = ROW,
    digits: int = 2,
    whole: bool = True,
) -> Figure:
    """Draw estimates under each other, with words at their left and numbers at their right.

    Parameters
    ----------
    strips
        The rows, from top; all with the same number of cells.
    title
        Heading of the figure.
    headers
        Headers of the label column and of the cells before the plot.
    after
        Headers of the cells after the estimates in numbers.
    note
        Text at the foot.
    reference
        The full result, drawn as a dashed line with a band.
    metric
        fisher_z or r (correlations are shown), or generic.
    ci_level
        Level of the intervals, for the header.
    key
        What the shapes mean.
    row
        Height of a row, inches.
    digits
        Decimals of the numbers.
    whole
        Whether the axis reaches to the end of every interval.

    Returns
    -------
    matplotlib.figure.Figure
        One page, 7.5 inches wide, as high as its rows need.

    Raises
    ------
    ValueError
        If there is no row or the metric is unknown.
    """
    check_metric(metric)
    if not strips:
        raise ValueError("there is no estimate to draw")
    with style():
        name = "Effect" if metric == "generic" else "r"
        layout = _plan(strips, headers, after, f"{name} [{describe_percent(ci_level)} CI]", digits)
        limits = find_limits(
            [s.estimate for s in strips],
            [s.low for s in strips],
            [s.high for s in strips],
            reference,
            metric,
            whole=whole,
        )
        room = layout["label"].width
        labels = [wrap(s.label, room, weight=s.weight) or [""] for s in strips]
        remarks = [wrap(s.remark, room) for s in strips]
        heights = [
            row
            + LINE * (len(label) - 1)
            + REMARK_LINE * len(remark)
            + (0.05 if remark else 0.0)
            + (REFERENCE_GAP if s.look == "reference" else 0.0)
            for s, label, remark in zip(strips, labels, remarks, strict=True)
        ]
        length = sum(heights) + 0.04
        axis = AXIS_ROOM + Sheet.axis_label_height(layout, metric)
        sheet, top = open_page(title, key_height(key) + 0.24 + length + axis, note)
        start = sheet.write_header(layout, draw_key(sheet, top, key))
        axes = sheet.add_plot(layout, start, start + length, limits, metric)
        _draw_reference(axes, reference, across=False)
        y = start
        for number, (strip, label, remark, height) in enumerate(
            zip(strips, labels, remarks, heights, strict=True)
        ):
            gid = f"strip-{number}"
            centre = y + row / 2
            x = layout["label"].left
            for index, text in enumerate(label):
                at = centre + LINE * index
                sheet.write(x, at, text, weight=strip.weight, gid=f"{gid}-label-{index}")
            for index, text in enumerate(remark):
                at = centre + LINE * len(label) + REMARK_LINE * index
                sheet.write(x, at, text, colour=MUTED, gid=f"{gid}-remark-{index}")
            cells = {f"before-{i}": text for i, text in enumerate(strip.before)}
            cells |= {f"after-{i}": text for i, text in enumerate(strip.after)}
            cells["effect"] = _describe(strip, metric, digits)
            for column in layout.columns[1:]:
                text = cells[column.name]
                sheet.write_cell(
                    column, centre, text, weight=strip.weight, gid=f"{gid}-{column.name}"
                )
            _draw_estimate(axes, strip, centre, limits, gid)
            y += height
        sheet.write_axis_label(layout, start + length + AXIS_ROOM, metric)
    return sheet.figure


def draw_ribbon(
    x: ArrayLike,
    estimate: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    title: str,
    x_label: str,
    note: str,
    reference: Reference | None,
    metric: str,
    marks: Sequence[int] = (),
    key: Sequence[KeyEntry] = (),
    upright: float = math.nan,
    limits: tuple[float, float] | None = None,
    whole: bool = True,
) -> Figure:
    """Draw estimates along a number as a line, their intervals as a band.

    Parameters
    ----------
    x, estimate, low, high
        Positions, estimates and interval ends, shape (k,); not-a-number is left out.
    title, note, reference, metric, key
        As in `draw_strips`.
    x_label
        Label of the horizontal axis.
    marks
        Positions in the arrays of estimates to mark as changed.
    upright
        Where a dotted vertical line is drawn; none if not a number.
    limits
        Limits of the horizontal axis; those of ``x`` if not given.
    whole
        As in `draw_strips`, of the vertical axis.

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
    columns = [np.asarray(values, dtype=float) for values in (x, estimate, low, high)]
    place, value, lower, upper = columns
    known = np.isfinite(place) & np.isfinite(value)
    if not known.any():
        raise ValueError("there is no estimate to draw")
    with style():
        parts = label_effects(metric)
        body = key_height(key) + RIBBON_HEIGHT + FOOT_ROOM + LINE * len(wrap(x_label, ROOM - 1.2))
        sheet, top = open_page(title, body + 0.06, note)
        top = draw_key(sheet, top, key) + 0.06
        sides = [line for part in parts for line in wrap(part, RIBBON_HEIGHT)]
        left = MARGIN + LINE * len(sides) + 0.42
        box = Box(left, top, PAGE_WIDTH - MARGIN - 0.1 - left, RIBBON_HEIGHT)
        first, last = limits or (float(place[known].min()), float(place[known].max()))
        if last <= first:
            first, last = first - 0.5, last + 0.5
        span = find_limits(value, lower, upper, reference, metric, whole=whole)
        axes = add_axes(sheet, box, (first, last), span)
        mark_x(axes, box, "generic")
        mark_y(axes, box, metric)
        axes.axhline(0, color=INK, linewidth=0.5, alpha=0.5, zorder=1, gid="zero")
        _draw_reference(axes, reference, across=True)
        axes.fill_between(
            place, lower, upper, color=EFFECT, alpha=0.2, linewidth=0, zorder=1.6, gid="band"
        )
        axes.plot(place, value, color=EFFECT, linewidth=1.5, zorder=3, gid="line")
        if known.sum() == 1:
            axes.scatter(place[known], value[known], s=20.0, color=EFFECT, zorder=3)
        if len(marks):
            look = LOOKS["changed"]
            axes.scatter(
                place[list(marks)],
                value[list(marks)],
                s=look.size,
                marker=look.marker,
                facecolor=look.fill,
                edgecolor=look.edge,
                linewidths=1.0,
                clip_on=False,
                zorder=4,
                gid="marks",
            )
        if math.isfinite(upright):
            axes.axvline(
                upright, color=INK, linewidth=0.9, linestyle=(0, (1, 2)), zorder=2, gid="upright"
            )
            nearest = int(np.argmin(np.where(known, np.abs(place - upright), np.inf)))
            if math.isclose(place[nearest], upright, abs_tol=1e-6):
                axes.scatter(
                    [upright], [value[nearest]], s=26.0, marker="D", color=POOLED, zorder=4
                )
        write_below(sheet, box, [x_label])
        write_beside(sheet, box, parts, tick_room(axes))
    return sheet.figure
