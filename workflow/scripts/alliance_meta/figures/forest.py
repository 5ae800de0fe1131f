"""The forest plot: every effect, its weight, and what the model makes of them."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from alliance_meta.figures.lettering import ROUNDING, measure, shorten, wrap
from alliance_meta.figures.rows import Row, build_rows, paginate
from alliance_meta.figures.scale import choose_limits
from alliance_meta.figures.sheet import (
    AXIS_ROOM,
    GAP,
    LINE,
    MARGIN,
    ROW,
    TITLE_LINE,
    Layout,
    Sheet,
    check_metric,
    find_heaviest,
    lay_out,
)
from alliance_meta.figures.theme import (
    EFFECT,
    INK,
    LEVEL,
    MUTED,
    PAGE_WIDTH,
    POOLED,
    PREDICTION,
    TITLE_SIZE,
    style,
)
from alliance_meta.figures.wording import describe_heterogeneity, describe_percent

NEEDED = ("study_id", "label", "n", "estimate", "ci_low", "ci_high", "weight")
SHORT_CELL = 0.78  # inches: measure and rater
DETAIL_GAP = 0.07  # inches between a label and its detail
GROUP_GAP = 0.07  # inches above a heading and above the pooled rows
LARGEST_SQUARE = 8.0**2  # points squared
DIAMOND = 0.32  # half height, in rows
LARGE_DIAMOND = 0.4  # half height of the overall one, in rows
ARROW = 14.0  # points squared
PAGE_MARK = 0.9  # inches kept free beside the title


def _weight_of(row: Row) -> str:
    return "bold" if row.kind in ("heading", "level", "overall") else "normal"


def _fit_label(row: Row, width: float) -> tuple[str, str]:
    """Return label and detail as they fit; both stay readable."""
    weight = _weight_of(row)
    name, detail = measure(row.label, weight=weight), measure(row.detail)
    if not row.detail:
        return shorten(row.label, width, weight=weight), ""
    room = width - DETAIL_GAP
    if name + detail > room + ROUNDING:
        share = 0.42 if row.kind == "effect" else 0.75
        detail = min(detail, max(share * room, room - name))
    text = shorten(row.detail, detail)
    return shorten(row.label, room - measure(text), weight=weight), text


def _fit(row: Row, layout: Layout) -> Row:
    """Return a row with its texts as short as the columns ask."""
    if row.kind in ("heading", "level") and row.detail:
        # the cells beside it are empty, so it may run up to the plot
        label, detail = _fit_label(row, layout.plot_left - MARGIN - GAP)
        return replace(row, label=label, detail=detail)
    label, detail = _fit_label(row, layout["label"].width)
    fitted: dict[str, Any] = {
        column.name: shorten(getattr(row, column.name), column.width)
        for column in layout.columns
        if column.name in ("measure", "rater")
    }
    return replace(row, label=label, detail=detail, **fitted)


def _tell_apart(rows: Sequence[Row], layout: Layout) -> list[Row]:
    """Fit all rows, and number effects that shortening has made look alike."""
    fitted = [_fit(row, layout) for row in rows]

    def key(row: Row) -> tuple[str, ...]:
        return (row.group, row.label, row.detail, row.measure, row.rater)

    alike = Counter(key(row) for row in fitted if row.kind == "effect")
    numbers = Counter[tuple[str, ...]]()
    told = []
    for row, short in zip(rows, fitted, strict=True):
        if row.kind == "effect" and alike[key(short)] > 1:
            numbers[key(short)] += 1
            mark = f"no. {numbers[key(short)]}"
            room = layout["label"].width - DETAIL_GAP - measure(mark)
            # the number comes first in the detail, where shortening does not reach it
            detail = f"{mark}, {row.detail}" if row.detail else mark
            label = shorten(row.label, max(min(room, 0.55 * layout["label"].width), 0.3))
            left = layout["label"].width - DETAIL_GAP - measure(label)
            short = replace(short, label=label, detail=shorten(detail, left))
        told.append(short)
    return told


def _fit_pages(
    pages: Sequence[Sequence[Row]], fitted: Sequence[Row], layout: Layout
) -> list[list[Row]]:
    """Put fitted rows on their pages; a heading is fitted anew, as it may be continued."""
    by_gid = {row.gid: row for row in fitted}
    return [
        [_fit(row, layout) if row.kind == "heading" else by_gid[row.gid] for row in page]
        for page in pages
    ]


def _widest(rows: Sequence[Row], name: str) -> float:
    return max((measure(getattr(row, name), weight=_weight_of(row)) for row in rows), default=0.0)


def _plan(rows: Sequence[Row], metric: str, ci_level: float) -> Layout:
    """Give each column the room its cells ask for."""
    cells = [row for row in rows if row.kind != "heading"]
    label = max(
        measure(row.label, weight=_weight_of(row))
        + (DETAIL_GAP + measure(row.detail) if row.detail else 0.0)
        for row in cells
    )
    groups = {row.group.partition("=")[0] for row in rows if row.kind == "effect"}
    # the headings name the rater already: the names of outcomes can use the room
    rater = 0.0 if groups == {"rater"} else min(_widest(cells, "rater"), SHORT_CELL)
    effect = "Effect" if metric == "generic" else "r"
    return lay_out(
        label,
        "Study",
        [
            ("n", "n", "right", _widest(cells, "n")),
            ("measure", "Measure", "left", min(_widest(cells, "measure"), SHORT_CELL)),
            ("rater", "Rater", "left", rater),
        ],
        [
            (
                "effect",
                f"{effect} [{describe_percent(ci_level)} CI]",
                "right",
                _widest(cells, "effect"),
            ),
            ("weight_text", "Weight %", "right", _widest(cells, "weight_text")),
        ],
    )


def _choose_limits(rows: Sequence[Row], metric: str) -> tuple[float, float]:
    effects = [row for row in rows if row.kind == "effect"]
    levels = [row for row in rows if row.kind == "level"]
    pooled = [row for row in rows if row.kind in ("overall", "prediction")]
    return choose_limits(
        [row.estimate for row in (*effects, *levels, *pooled)],
        [row.low for row in effects],
        [row.high for row in effects],
        [row.weight for row in effects],
        intervals=[end for row in pooled for end in (row.low, row.high)],
        bounded=metric != "generic",
    )


def _place(rows: Sequence[Row], top: float) -> tuple[list[float], float]:
    """Return the centre of each row, inches from the page's top, and where the rows end."""
    centres = []
    for index, row in enumerate(rows):
        if index and row.kind in ("heading", "overall"):
            top += GROUP_GAP
        centres.append(top + ROW / 2)
        top += ROW
    return centres, top


def _draw_arrows(
    axes: Axes, ends: Sequence[tuple[Row, float]], limits: tuple[float, float]
) -> None:
    """Mark intervals that go on beyond the axis."""
    low, high = limits
    sides = (
        ("arrows-left", "<", low, [(r, y) for r, y in ends if r.low < low]),
        ("arrows-right", ">", high, [(r, y) for r, y in ends if r.high > high]),
    )
    for gid, marker, edge, cut in sides:
        if cut:
            axes.scatter(
                [edge] * len(cut),
                [y for _, y in cut],
                s=ARROW,
                marker=marker,
                color=INK,
                linewidths=0,
                clip_on=False,
                zorder=4,
                gid=gid,
            )


def _draw_effects(
    axes: Axes, ends: Sequence[tuple[Row, float]], limits: tuple[float, float], heaviest: float
) -> None:
    """Draw whiskers, and squares whose area is proportional to weight."""
    whiskers = [
        [(max(row.low, limits[0]), y), (min(row.high, limits[1]), y)]
        for row, y in ends
        if row.tested
    ]
    axes.add_collection(
        LineCollection(whiskers, colors=INK, linewidths=0.8, zorder=3.5, gid="whiskers"),
        autolim=False,
    )
    known = [(row, y) for row, y in ends if math.isfinite(row.estimate)]
    # a stroke under each square, so that the lightest studies can still be seen
    axes.scatter(
        [row.estimate for row, _ in known],
        [y for _, y in known],
        s=12.0,
        marker="|",
        color=INK,
        linewidths=0.8,
        clip_on=False,
        zorder=2.5,
        gid="strokes",
    )
    unweighted = [(row, y) for row, y in known if not math.isfinite(row.weight)]
    if unweighted:
        # hollow, as everything that the model did not pool
        axes.scatter(
            [row.estimate for row, _ in unweighted],
            [y for _, y in unweighted],
            s=18.0,
            marker="s",
            facecolors="white",
            edgecolors=EFFECT,
            linewidths=1.0,
            clip_on=False,
            zorder=3.7,
            gid="unweighted",
        )
    weighted = [(row, y) for row, y in known if math.isfinite(row.weight)]
    axes.scatter(
        [row.estimate for row, _ in weighted],
        [y for _, y in weighted],
        # a weight below zero can come of correlated errors: its stroke alone shows
        s=[LARGEST_SQUARE * max(row.weight, 0.0) / heaviest for row, _ in weighted],
        marker="s",
        color=EFFECT,
        linewidths=0,
        clip_on=False,
        zorder=3,
        gid="squares",
    )


def _draw_diamond(axes: Axes, row: Row, y: float, colour: str) -> None:
    if not row.tested:
        axes.scatter(
            [row.estimate],
            [y],
            s=24.0,
            marker="D",
            facecolors="white",
            edgecolors=colour,
            linewidths=1.1,
            clip_on=False,
            zorder=3,
            gid=f"{row.gid}-hollow",
        )
        return
    half = ROW * (LARGE_DIAMOND if row.kind == "overall" else DIAMOND)
    corners = [(row.low, y), (row.estimate, y - half), (row.high, y), (row.estimate, y + half)]
    axes.add_patch(
        Polygon(corners, facecolor=colour, edgecolor="none", zorder=3, gid=f"{row.gid}-diamond")
    )


def _draw_prediction(axes: Axes, row: Row, y: float, limits: tuple[float, float]) -> None:
    low, high = max(row.low, limits[0]), min(row.high, limits[1])
    height = 0.3 * ROW
    bar = Rectangle(
        (low, y - height / 2),
        high - low,
        height,
        facecolor=PREDICTION,
        edgecolor="none",
        zorder=3,
        gid="prediction-bar",
    )
    axes.add_patch(bar)


def _draw_page(
    sheet: Sheet,
    layout: Layout,
    rows: Sequence[Row],
    top: float,
    *,
    limits: tuple[float, float],
    metric: str,
    heaviest: float,
    reference: float,
) -> float:
    """Draw rows and plot below ``top``; return where the tick labels end, in inches."""
    centres, bottom = _place(rows, top)
    bottom += 0.04
    axes = sheet.add_plot(layout, top, bottom, limits, metric)
    if math.isfinite(reference):
        axes.axvline(
            reference,
            color=POOLED,
            linewidth=0.9,
            linestyle=(0, (4, 2.5)),
            zorder=1.5,
            gid="pooled",
        )
    ends = list(zip(rows, centres, strict=True))
    _draw_effects(axes, [(r, y) for r, y in ends if r.kind == "effect"], limits, heaviest)
    _draw_arrows(axes, [(r, y) for r, y in ends if r.tested], limits)
    striped = False
    for row, y in ends:
        if row.kind == "level":
            _draw_diamond(axes, row, y, LEVEL)
        elif row.kind == "overall":
            _draw_diamond(axes, row, y, POOLED)
            sheet.draw_rule(y - (ROW + GROUP_GAP) / 2, 0.5)
        elif row.kind == "prediction":
            _draw_prediction(axes, row, y, limits)
        striped = row.kind == "effect" and not striped
        if striped:
            sheet.draw_stripe(y - ROW / 2, ROW)
        _write_row(sheet, layout, row, y)
    return bottom + AXIS_ROOM


def _write_row(sheet: Sheet, layout: Layout, row: Row, y: float) -> None:
    weight = _weight_of(row)
    column = layout["label"]
    sheet.write_cell(column, y, row.label, weight=weight, gid=f"{row.gid}-label")
    if row.detail:
        x = column.left + measure(row.label, weight=weight) + DETAIL_GAP
        sheet.write(x, y, row.detail, colour=MUTED, gid=f"{row.gid}-detail")
    for column in layout.columns[1:]:
        text = getattr(row, column.name)
        sheet.write_cell(column, y, text, weight=weight, gid=f"{row.gid}-{column.name}")


def draw_forest(
    effects: pd.DataFrame,
    summary: pd.DataFrame,
    heterogeneity: pd.DataFrame,
    *,
    title: str,
    metric: str = "fisher_z",
    ci_level: float = 0.95,
    model_label: str = "",
    level_labels: Mapping[str, str] | None = None,
    rows_per_page: int = 60,
) -> list[Figure]:
    """Draw a forest plot, on as many pages as its rows need.

    Parameters
    ----------
    effects
        Table of included effects, k rows: study_id, label, n, estimate, ci_low, ci_high and
        weight (percent), and where present instrument, instrument_version, rater, level and
        columns that tell the effects of a study apart. Rows keep their order within levels.
    summary
        Pooled estimates by level: level, k_studies, n_total, estimate, ci_low, ci_high,
        pi_low, pi_high on the reporting scale.
    heterogeneity
        Columns parameter and estimate.
    title
        Heading of the figure.
    metric
        fisher_z or r (correlations are shown), or generic.
    ci_level
        Level of the intervals, for the header.
    model_label
        A line on the model, for the foot.
    level_labels
        Human words for the values of levels (key "rater=client") and for moderators (key
        "rater").
    rows_per_page
        Most rows on a page, at least 6; 60 fill an A4 page.

    Returns
    -------
    list of matplotlib.figure.Figure
        The pages, 7.5 inches wide; rows have the same height on all of them. Texts carry a
        gid such as "effect-3-label".

    Raises
    ------
    ValueError
        If there is no effect, a column is missing, the metric is unknown or
        ``rows_per_page`` is below 6.
    """
    check_metric(metric)
    missing = [name for name in NEEDED if name not in effects]
    if missing:
        raise ValueError(f"the table of effects lacks the columns {', '.join(missing)}")
    if effects.empty:
        raise ValueError("there is no effect to draw")
    with style():
        rows = build_rows(
            effects, summary, metric=metric, ci_level=ci_level, level_labels=level_labels
        )
        layout = _plan(rows, metric, ci_level)
        pages = _fit_pages(paginate(rows, rows_per_page), _tell_apart(rows, layout), layout)
        heaviest = find_heaviest(effects["weight"])
        reference = next((row.estimate for row in rows if row.kind == "overall"), math.nan)
        limits = _choose_limits(rows, metric)
        room = PAGE_WIDTH - 2 * MARGIN
        notes = [
            line
            for text in (model_label, *describe_heterogeneity(heterogeneity, level_labels))
            for line in wrap(text, room)
        ]
        heading = wrap(title, room - (PAGE_MARK if len(pages) > 1 else 0), TITLE_SIZE, "bold")
        figures = []
        for number, page in enumerate(pages, start=1):
            foot = notes if number == len(pages) else []
            mark = f"page {number} of {len(pages)}" if len(pages) > 1 else ""
            _, length = _place(page, 0.0)
            head = MARGIN + TITLE_LINE * max(len(heading), bool(mark)) + 0.06 + 0.24
            axis = 0.04 + AXIS_ROOM + Sheet.axis_label_height(layout, metric)
            below = (0.06 + LINE * len(foot) if foot else 0.0) + MARGIN
            sheet = Sheet(head + length + axis + below)
            y = sheet.write_header(layout, sheet.write_title(heading, mark))
            y = _draw_page(
                sheet,
                layout,
                page,
                y,
                limits=limits,
                metric=metric,
                heaviest=heaviest,
                reference=reference,
            )
            y = sheet.write_axis_label(layout, y, metric)
            sheet.write_notes(foot, y + 0.06)
            figures.append(sheet.figure)
    return figures
