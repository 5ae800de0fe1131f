"""A page measured in inches: text columns around one plot, all on the same rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from alliance_meta.figures.lettering import choose_families, measure, wrap
from alliance_meta.figures.scale import choose_ticks
from alliance_meta.figures.theme import INK, MUTED, PAGE_WIDTH, RULE, STRIPE, TEXT_SIZE, TITLE_SIZE

ROW = 0.162  # inches
LINE = 0.142  # inches, notes and axis labels
TITLE_LINE = 0.19  # inches
MARGIN = 0.12  # inches
GAP = 0.11  # inches between columns
PLOT_MINIMUM = 1.6  # inches
LABEL_MINIMUM = 1.2  # inches
AXIS_ROOM = 0.22  # inches for ticks and their labels

AXIS_LABELS = {
    "fisher_z": ("Correlation r", "(higher = better alliance goes with better outcome)"),
    "r": ("Correlation r", "(higher = better alliance goes with better outcome)"),
    "generic": ("Effect size",),
}


def check_metric(metric: str) -> None:
    """Refuse a metric that no figure knows.

    Raises
    ------
    ValueError
        If ``metric`` is not fisher_z, r or generic.
    """
    if metric not in AXIS_LABELS:
        raise ValueError(f"metric must be one of {', '.join(AXIS_LABELS)}, not {metric!r}")


def find_heaviest(weights: ArrayLike) -> float:
    """Return the largest weight, to scale areas by; 1 if none is above zero."""
    known = np.asarray(weights, dtype=float)
    known = known[np.isfinite(known) & (known > 0)]
    return float(known.max()) if known.size else 1.0


@dataclass(frozen=True)
class Column:
    """One text column; ``left`` and ``width`` in inches from the page's left edge."""

    name: str
    header: str
    align: Literal["left", "right"]
    left: float
    width: float


@dataclass(frozen=True)
class Layout:
    """Columns in reading order and the place of the plot, in inches."""

    columns: tuple[Column, ...]
    plot_left: float
    plot_width: float

    def __getitem__(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


def lay_out(
    label_width: float,
    label_header: str,
    left: Sequence[tuple[str, str, Literal["left", "right"], float]],
    right: Sequence[tuple[str, str, Literal["left", "right"], float]],
) -> Layout:
    """Share the page's width: text columns get what they need, the plot the rest.

    Parameters
    ----------
    label_width
        Width the first column would like, inches; it gives way to the plot.
    label_header
        Header of the first column.
    left, right
        (name, header, alignment, width of the widest cell in inches) of the columns between
        the label and the plot, and after the plot. Columns of no width are left out.

    Returns
    -------
    Layout
        Where everything stands.
    """
    before = [(n, h, a, max(w, measure(h, weight="bold"))) for n, h, a, w in left if w > 0]
    after = [(n, h, a, max(w, measure(h, weight="bold"))) for n, h, a, w in right if w > 0]
    fixed = sum(w + GAP for *_, w in before) + sum(w + GAP for *_, w in after)
    room = PAGE_WIDTH - 2 * MARGIN - fixed - GAP - PLOT_MINIMUM
    label = max(min(label_width, room), LABEL_MINIMUM)
    columns = [Column("label", label_header, "left", MARGIN, label)]
    edge = MARGIN + label + GAP
    for name, header, align, width in before:
        columns.append(Column(name, header, align, edge, width))
        edge += width + GAP
    plot_left = edge + GAP / 2
    tail = PAGE_WIDTH - MARGIN - sum(w + GAP for *_, w in after)
    edge = tail + GAP
    for name, header, align, width in after:
        columns.append(Column(name, header, align, edge, width))
        edge += width + GAP
    return Layout(tuple(columns), plot_left, tail - GAP / 2 - plot_left)


class Sheet:
    """One figure whose coordinates are inches from its top left corner.

    Parameters
    ----------
    height
        Inches.
    """

    def __init__(self, height: float) -> None:
        self.height = height
        self.figure = Figure(figsize=(PAGE_WIDTH, height))

    def write(
        self,
        x: float,
        y: float,
        text: str,
        *,
        align: Literal["left", "right", "center"] = "left",
        size: float = TEXT_SIZE,
        weight: str = "normal",
        colour: str = INK,
        gid: str | None = None,
    ) -> None:
        """Write one line whose letters are centred on ``y``."""
        if not text:
            return
        baseline = y + 0.36 * size / 72
        self.figure.text(
            x / PAGE_WIDTH,
            1 - baseline / self.height,
            text,
            ha=align,
            va="baseline",
            fontsize=size,
            fontweight=weight,
            color=colour,
            fontfamily=choose_families(text),
            gid=gid,
        )

    def write_cell(
        self,
        column: Column,
        y: float,
        text: str,
        *,
        weight: str = "normal",
        colour: str = INK,
        gid: str | None = None,
    ) -> None:
        """Write a cell of a column at the row centred on ``y``."""
        x = column.left if column.align == "left" else column.left + column.width
        self.write(x, y, text, align=column.align, weight=weight, colour=colour, gid=gid)

    def write_title(self, lines: Sequence[str], page: str = "") -> float:
        """Write the title, and the page mark at its right; return the inches used."""
        y = MARGIN
        for index, line in enumerate(lines):
            centre = y + TITLE_LINE / 2
            gid = f"title-{index}"
            self.write(MARGIN, centre, line, size=TITLE_SIZE, weight="bold", gid=gid)
            y += TITLE_LINE
        if page:
            centre = MARGIN + TITLE_LINE / 2
            right = PAGE_WIDTH - MARGIN
            self.write(right, centre, page, align="right", colour=MUTED, gid="page")
            y = max(y, MARGIN + TITLE_LINE)
        return y + 0.06

    def write_header(self, layout: Layout, y: float) -> float:
        """Write the header row between two rules; return the inches used."""
        self.draw_rule(y, 0.9)
        for column in layout.columns:
            gid = f"header-{column.name}"
            self.write_cell(column, y + 0.105, column.header, weight="bold", gid=gid)
        self.draw_rule(y + 0.21, 0.5)
        return y + 0.21 + 0.03

    def write_notes(self, lines: Sequence[str], y: float) -> float:
        """Write the foot's lines; return the inches used."""
        for index, line in enumerate(lines):
            self.write(MARGIN, y + LINE / 2, line, gid=f"note-{index}")
            y += LINE
        return y

    def draw_rule(self, y: float, width: float) -> None:
        """Draw a line across the page."""
        place = [1 - y / self.height] * 2
        edges = [MARGIN / PAGE_WIDTH, 1 - MARGIN / PAGE_WIDTH]
        self.figure.add_artist(Line2D(edges, place, color=RULE, linewidth=width))

    def draw_stripe(self, top: float, height: float) -> None:
        """Tint a row, for the eye to follow it across."""
        corner = (MARGIN / PAGE_WIDTH, 1 - (top + height) / self.height)
        stripe = Rectangle(
            corner,
            1 - 2 * MARGIN / PAGE_WIDTH,
            height / self.height,
            transform=self.figure.transFigure,
            facecolor=STRIPE,
            edgecolor="none",
            linewidth=0,
            zorder=-1,  # under the plot
        )
        self.figure.add_artist(stripe)

    def add_plot(
        self,
        layout: Layout,
        top: float,
        bottom: float,
        limits: tuple[float, float],
        metric: str,
    ) -> Axes:
        """Add the plot between two heights; its y axis counts inches from the page's top."""
        axes = self.figure.add_axes(
            (
                layout.plot_left / PAGE_WIDTH,
                1 - bottom / self.height,
                layout.plot_width / PAGE_WIDTH,
                (bottom - top) / self.height,
            )
        )
        axes.set_xlim(*limits)
        axes.set_ylim(bottom, top)
        axes.set_autoscale_on(False)
        axes.patch.set_visible(False)
        axes.spines[["left", "top", "right"]].set_visible(False)
        axes.set_yticks([])
        values, labels = choose_ticks(
            *limits, layout.plot_width, measure, leading_zero=metric == "generic"
        )
        axes.set_xticks(values, labels)
        axes.axvline(0, color=RULE, linewidth=0.8, zorder=1, gid="zero")
        return axes

    def write_axis_label(self, layout: Layout, y: float, metric: str) -> float:
        """Write the label of the x axis; return the inches used."""
        centre = layout.plot_left + layout.plot_width / 2
        reach = 2 * min(centre - MARGIN, PAGE_WIDTH - MARGIN - centre)
        lines = [line for part in AXIS_LABELS[metric] for line in wrap(part, reach)]
        for index, line in enumerate(lines):
            gid = f"axis-label-{index}"
            self.write(centre, y + LINE / 2, line, align="center", gid=gid)
            y += LINE
        return y

    @staticmethod
    def axis_label_height(layout: Layout, metric: str) -> float:
        """Return the inches that `write_axis_label` will use."""
        centre = layout.plot_left + layout.plot_width / 2
        reach = 2 * min(centre - MARGIN, PAGE_WIDTH - MARGIN - centre)
        return LINE * sum(len(wrap(part, reach)) for part in AXIS_LABELS[metric])
