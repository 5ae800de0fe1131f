"""Plots with axes on two sides, keys and point labels, placed in inches on a page."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.path import Path as Outline
from numpy.typing import ArrayLike, NDArray

from alliance_meta.figures.lettering import choose_families, measure, shorten, wrap
from alliance_meta.figures.scale import choose_ticks
from alliance_meta.figures.sheet import (
    AXIS_LABELS,
    LINE,
    MARGIN,
    TITLE_LINE,
    Sheet,
)
from alliance_meta.figures.theme import INK, PAGE_WIDTH, TEXT_SIZE, TITLE_SIZE
from alliance_meta.formatting import format_number

Array = NDArray[np.float64]

ROOM = PAGE_WIDTH - 2 * MARGIN  # inches for text across the page
TICK_ROOM = 0.36  # inches for tick labels beside a vertical axis
FOOT_ROOM = 0.22  # inches for tick labels below a horizontal axis
LETTER = TEXT_SIZE / 72  # inches, height of a line of letters
KEY_GAP = 0.2  # inches between entries of a key
SWATCH = 0.2  # inches
LABEL_WIDTH = 1.7  # inches, of a point's label
MANY = 60  # more estimates than this are drawn as a line with a band
# correlations that a Fisher z axis marks beyond the evenly spaced ones
FAR_CORRELATIONS = (0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)


@dataclass(frozen=True)
class Box:
    """Place of a plot: inches from the page's left and top edge."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """Right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """Lower edge."""
        return self.top + self.height

    @property
    def centre(self) -> float:
        """Half way across."""
        return self.left + self.width / 2

    @property
    def middle(self) -> float:
        """Half way down."""
        return self.top + self.height / 2


def open_page(title: str, body: float, note: str) -> tuple[Sheet, float]:
    """Start a page with its heading on top and its note at the foot.

    Parameters
    ----------
    title
        Heading, wrapped where long.
    body
        Inches between heading and note.
    note
        Text at the foot.

    Returns
    -------
    tuple
        The page and the inches from its top at which the body begins.
    """
    heading = wrap(title, ROOM, TITLE_SIZE, "bold")
    notes = wrap(note, ROOM)
    top = MARGIN + TITLE_LINE * len(heading) + 0.06
    sheet = Sheet(top + body + 0.08 + LINE * len(notes) + MARGIN)
    sheet.write_title(heading)
    sheet.write_notes(notes, top + body + 0.08)
    return sheet, top


def add_axes(sheet: Sheet, box: Box, xlim: tuple[float, float], ylim: tuple[float, float]) -> Axes:
    """Add a plot without ticks, with a line at its left and its lower edge."""
    axes = sheet.figure.add_axes(
        (
            box.left / PAGE_WIDTH,
            1 - box.bottom / sheet.height,
            box.width / PAGE_WIDTH,
            box.height / sheet.height,
        )
    )
    axes.set_xlim(*xlim)
    axes.set_ylim(*ylim)
    axes.set_autoscale_on(False)
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])
    return axes


def measure_height(_: str) -> float:
    """Return the inches one tick label takes along a vertical axis."""
    return LETTER


def choose_correlation_ticks(
    low: float, high: float, length: float, measure_label: Callable[[str], float]
) -> tuple[list[float], list[str]]:
    """Choose ticks of a Fisher z axis that are round correlations.

    Parameters
    ----------
    low, high
        Limits of the axis, Fisher's z.
    length
        Length of the axis, inches.
    measure_label
        Room that a label takes along the axis, inches.

    Returns
    -------
    tuple
        Positions in Fisher's z, and the correlations as labels.
    """
    r_low, r_high = math.tanh(low), math.tanh(high)
    nearest = 0.0 if low <= 0 <= high else min(abs(r_low), abs(r_high))
    # where correlations stand closest, one unit of r takes this much of the axis
    closest = length * (r_high - r_low) / ((high - low) * (1 - nearest**2))
    marks, labels = choose_ticks(r_low, r_high, closest, measure_label, leading_zero=False)
    ticks = {math.atanh(r): text for r, text in zip(marks, labels, strict=True) if abs(r) < 1}
    digits = max((len(text.partition(".")[2]) for text in labels), default=0)
    outermost = max((abs(r) for r in marks if abs(r) < 1), default=0.0)
    for size in (far for far in FAR_CORRELATIONS if far > outermost + 1e-9):
        for r in (-size, size):
            needed = max(digits, len(f"{size:g}") - 2)
            place, text = math.atanh(r), format_number(r, needed, leading_zero=False)
            room = measure_label(text) + 0.12
            gaps = [abs(place - z) * length / (high - low) for z in ticks]
            if low <= place <= high and all(gap > room for gap in gaps):
                ticks[place] = text
    places = sorted(ticks)
    return places, [ticks[place] for place in places]


def mark_x(axes: Axes, box: Box, metric: str) -> None:
    """Put ticks of an effect (or of any number, for ``generic``) on the horizontal axis."""
    low, high = axes.get_xlim()
    values, labels = choose_ticks(low, high, box.width, measure, leading_zero=metric == "generic")
    axes.set_xticks(values, labels)


def mark_y(axes: Axes, box: Box, metric: str = "generic") -> None:
    """Put ticks on the vertical axis, as `mark_x`; an axis may run downwards."""
    low, high = sorted(axes.get_ylim())
    values, labels = choose_ticks(
        low, high, box.height, measure_height, leading_zero=metric == "generic"
    )
    axes.set_yticks(values, labels)


def tick_room(axes: Axes) -> float:
    """Return the inches that the labels of the vertical axis take, ticks included."""
    widest = max((measure(tick.get_text()) for tick in axes.get_yticklabels()), default=0.0)
    return widest + 0.12


def write_below(sheet: Sheet, box: Box, lines: Iterable[str], *, gid: str = "axis-label") -> None:
    """Write the label of a horizontal axis under its tick labels."""
    y = box.bottom + FOOT_ROOM
    parts = [part for line in lines for part in wrap(line, box.width + 0.3)]
    for index, text in enumerate(parts):
        sheet.write(box.centre, y + LINE / 2, text, align="center", gid=f"{gid}-{index}")
        y += LINE


def write_beside(
    sheet: Sheet, box: Box, lines: Iterable[str], room: float, *, gid: str = "side-label"
) -> None:
    """Write the label of a vertical axis, turned, ``room`` inches left of the axis."""
    parts = [part for line in lines for part in wrap(line, max(box.height, 0.9))]
    x = box.left - room - LINE * len(parts)
    for index, text in enumerate(parts):
        sheet.figure.text(
            (x + LINE * (index + 0.75)) / PAGE_WIDTH,
            1 - box.middle / sheet.height,
            text,
            rotation=90,
            rotation_mode="anchor",
            ha="center",
            va="baseline",
            fontsize=TEXT_SIZE,
            color=INK,
            fontfamily=choose_families(text),
            gid=f"{gid}-{index}",
        )


def label_effects(metric: str) -> tuple[str, ...]:
    """Return the lines that name an axis of effects."""
    return AXIS_LABELS[metric]


@dataclass(frozen=True)
class KeyEntry:
    """One entry of a key: words beside what they stand for.

    Attributes
    ----------
    text
        The words.
    fill, edge
        Colours of the swatch.
    marker
        A marker as matplotlib names it; "box" is drawn as a wide box, "-" and "--" as a line.
    """

    text: str
    fill: str
    edge: str
    marker: str = "o"


def key_height(entries: Sequence[KeyEntry]) -> float:
    """Return the inches that `draw_key` uses; 0 without entries."""
    return LINE * 1.15 * len(_break_key(entries)) + (0.06 if entries else 0.0)


def _break_key(entries: Sequence[KeyEntry]) -> list[list[KeyEntry]]:
    rows: list[list[KeyEntry]] = []
    used = math.inf
    for entry in entries:
        width = SWATCH + measure(shorten(entry.text, ROOM - SWATCH)) + KEY_GAP
        if used + width > ROOM + KEY_GAP:
            rows.append([])
            used = 0.0
        rows[-1].append(entry)
        used += width
    return rows


def draw_key(sheet: Sheet, top: float, entries: Sequence[KeyEntry]) -> float:
    """Draw a key from the page's left edge; return the inches at which it ends."""
    if not entries:
        return top
    height = key_height(entries)
    box = Box(0.0, top, PAGE_WIDTH, height)
    axes = add_axes(sheet, box, (0, PAGE_WIDTH), (top + height, top))
    axes.set_axis_off()
    number = 0
    for row, members in enumerate(_break_key(entries)):
        x, y = MARGIN, top + LINE * 1.15 * (row + 0.5)
        for entry in members:
            text = shorten(entry.text, ROOM - SWATCH)
            ends = [x + 0.01, x + SWATCH - 0.05]
            if entry.marker in ("-", "--"):
                dashes = (0, (4, 2)) if entry.marker == "--" else "solid"
                axes.plot(ends, [y, y], color=entry.edge, linewidth=1.1, linestyle=dashes)
            elif entry.marker == "box":
                axes.fill_between(
                    ends,
                    y - 0.045,
                    y + 0.045,
                    facecolor=entry.fill,
                    edgecolor=entry.edge,
                    linewidth=0.5,
                )
            else:
                axes.scatter(
                    [sum(ends) / 2],
                    [y],
                    s=20.0,
                    marker=entry.marker,
                    facecolor=entry.fill,
                    edgecolor=entry.edge,
                    linewidths=0.9,
                )
            sheet.write(x + SWATCH, y, text, gid=f"key-{number}")
            x += SWATCH + measure(text) + KEY_GAP
            number += 1
    return top + height


def box_path(left: ArrayLike, bottom: ArrayLike, right: ArrayLike, top: ArrayLike) -> Outline:
    """Return one outline of many rectangles; one outline keeps a file small."""
    x0, y0, x1, y1 = (np.asarray(edge, dtype=float) for edge in (left, bottom, right, top))
    corners = np.stack(
        [
            np.stack([x0, y0], axis=1),
            np.stack([x0, y1], axis=1),
            np.stack([x1, y1], axis=1),
            np.stack([x1, y0], axis=1),
            np.stack([x0, y0], axis=1),
        ],
        axis=1,
    )
    codes = [Outline.MOVETO, Outline.LINETO, Outline.LINETO, Outline.LINETO, Outline.CLOSEPOLY]
    return Outline(corners.reshape(-1, 2), codes * len(x0))


def line_path(x0: ArrayLike, y0: ArrayLike, x1: ArrayLike, y1: ArrayLike) -> Outline:
    """Return one outline of many separate straight lines."""
    starts = np.stack([np.asarray(x0, dtype=float), np.asarray(y0, dtype=float)], axis=1)
    ends = np.stack([np.asarray(x1, dtype=float), np.asarray(y1, dtype=float)], axis=1)
    points = np.stack([starts, ends], axis=1).reshape(-1, 2)
    return Outline(points, [Outline.MOVETO, Outline.LINETO] * len(starts))


def pad_range(values: ArrayLike, share: float = 0.06) -> tuple[float, float]:
    """Return limits a little wider than the finite values; around a lone value, some room."""
    array = np.asarray(values, dtype=float)
    array = array[np.isfinite(array)]
    if not array.size:
        return 0.0, 1.0
    low, high = float(array.min()), float(array.max())
    span = high - low
    # differences in the last digits of equal numbers are no range
    if span <= 1e-9 * max(abs(low), abs(high), 1e-12):
        span = max(0.2 * abs(low), 1e-3)
        low, high = low - span, high + span
    return low - share * span, high + share * span


@dataclass(frozen=True)
class PointLabel:
    """A label beside a point; inches."""

    index: int
    x: float
    y: float
    text: str


def place_labels(
    points: Array, texts: Sequence[str], order: Sequence[int], box: Box, most: int = 8
) -> list[PointLabel]:
    """Place labels beside points so that no two meet and none leaves the plot.

    Parameters
    ----------
    points : ndarray, shape (k, 2)
        Inches from the page's left and top edge.
    texts
        A label for each point.
    order
        Points to label, the most important first; the first gets a label wherever it fits in
        the plot, the others only where they cover no point.
    box
        The plot.
    most
        Labels at most.

    Returns
    -------
    list of PointLabel
        Left edge and centre of each label that found a place.
    """
    placed: list[PointLabel] = []
    taken: list[tuple[float, float, float, float]] = []
    for index in order:
        if len(placed) == most:
            break
        text = shorten(texts[index], LABEL_WIDTH)
        width, half = measure(text), LETTER * 0.75
        x, y = points[index]
        near, far, rise = x + 0.07, x - 0.07 - width, 0.11
        spots = [(near, y), (far, y), (x - width / 2, y - rise), (x - width / 2, y + rise)]
        spots += [(near, y - rise), (near, y + rise), (far, y - rise), (far, y + rise)]
        for covers in (False, True) if not placed else (False,):
            free = [
                (left, centre)
                for left, centre in spots
                if left >= box.left + 0.04
                and left + width <= box.right + 0.1
                and centre - half >= box.top - 0.1
                and centre + half <= box.bottom - 0.02
                and all(
                    left > t[2]
                    or left + width < t[0]
                    or centre - half > t[3]
                    or centre + half < t[1]
                    for t in taken
                )
                and (covers or not _covers(points, left, centre, width, half))
            ]
            if free:
                left, centre = free[0]
                placed.append(PointLabel(index, left, centre, text))
                taken.append((left - 0.02, centre - half, left + width + 0.02, centre + half))
                break
    return placed


def _covers(points: Array, left: float, centre: float, width: float, half: float) -> bool:
    inside = (points[:, 0] > left - 0.02) & (points[:, 0] < left + width + 0.02)
    inside &= np.abs(points[:, 1] - centre) < half + 0.02
    return bool(inside.any())


def read_flag(value: Any) -> bool:
    """Return whether a cell says yes, in memory or read back from a file."""
    return str(value).lower() in {"yes", "true", "1", "1.0"}
