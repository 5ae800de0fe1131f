"""Levels of moderators side by side: dots, intervals and how much stands behind each."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from alliance_meta.figures.lettering import ROUNDING, measure, wrap
from alliance_meta.figures.scale import choose_limits
from alliance_meta.figures.sheet import (
    AXIS_ROOM,
    LINE,
    MARGIN,
    TITLE_LINE,
    Layout,
    Sheet,
    check_metric,
    lay_out,
)
from alliance_meta.figures.theme import (
    INK,
    LEVEL,
    MUTED,
    PAGE_WIDTH,
    POOLED,
    TITLE_SIZE,
    style,
)
from alliance_meta.figures.wording import (
    NOT_TESTED,
    OVERALL,
    describe_effect,
    describe_percent,
    label_moderator,
    label_value,
)

HIGH_ROW = 0.2  # inches
INDENT = 0.1  # inches
NOTE_GAP = 0.07  # inches between a level and its note
GROUP_GAP = 0.06  # inches


@dataclass(frozen=True)
class _Line:
    """One line of the plot; a heading has no estimate."""

    gid: str
    label: str
    note: str = ""
    k_studies: str = ""
    k_effects: str = ""
    effect: str = ""
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    pi_low: float = math.nan
    pi_high: float = math.nan

    @property
    def heading(self) -> bool:
        return self.gid.startswith("heading")

    @property
    def overall(self) -> bool:
        return self.gid == OVERALL

    @property
    def indent(self) -> float:
        return 0.0 if self.heading or self.overall else INDENT

    @property
    def weight(self) -> str:
        return "bold" if self.heading or self.overall else "normal"


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]


def _count(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else ""


def _build_lines(
    summary: pd.DataFrame, level_labels: Mapping[str, str] | None, metric: str
) -> list[_Line]:
    lines: list[_Line] = []
    last: list[_Line] = []
    by_moderator: dict[str, list[_Line]] = {}
    for number, row in enumerate(summary.to_dict("records")):
        level = str(row["level"])
        numbers = {
            name: float(row[source])
            for name, source in (
                ("estimate", "estimate"),
                ("low", "ci_low"),
                ("high", "ci_high"),
                ("pi_low", "pi_low"),
                ("pi_high", "pi_high"),
            )
        }
        is_overall = level == OVERALL
        line = _Line(
            gid=OVERALL if is_overall else f"level-{number}",
            label="All effects" if is_overall else _capitalise(label_value(level, level_labels)),
            note=NOT_TESTED if float(row["k_studies"]) < 2 and not is_overall else "",
            k_studies=_count(float(row["k_studies"])),
            k_effects=_count(float(row["k_effects"])),
            effect=describe_effect(numbers["estimate"], numbers["low"], numbers["high"], metric),
            **numbers,
        )
        if is_overall:
            last = [line]
        else:
            by_moderator.setdefault(level.partition("=")[0], []).append(line)
    for number, (moderator, members) in enumerate(by_moderator.items()):
        lines.append(_Line(f"heading-{number}", label_moderator(moderator, level_labels)))
        lines += members
    return lines + last


def _break(line: _Line, width: float) -> list[tuple[str, str]]:
    """Return label and note as lines of (label, note); the note goes below where it must."""
    room = width - line.indent
    labels = wrap(line.label, room, weight=line.weight) or [""]
    broken = [(label, "") for label in labels]
    if line.note:
        last = labels[-1]
        beside = measure(last, weight=line.weight) + NOTE_GAP + measure(line.note)
        if len(labels) == 1 and beside <= room + ROUNDING:
            return [(last, line.note)]
        broken.append(("", line.note))
    return broken


def _plan(lines: list[_Line], metric: str, ci_level: float) -> Layout:
    label = max(
        line.indent
        + measure(line.label, weight=line.weight)
        + (NOTE_GAP + measure(line.note) if line.note else 0.0)
        for line in lines
    )

    def widest(name: str) -> float:
        return max(measure(getattr(line, name), weight=line.weight) for line in lines)

    effect = "Effect" if metric == "generic" else "r"
    header = f"{effect} [{describe_percent(ci_level)} CI]"
    return lay_out(
        max(label, 1.9),
        "Level",
        [
            ("k_studies", "k studies", "right", widest("k_studies")),
            ("k_effects", "k effects", "right", widest("k_effects")),
        ],
        [("effect", header, "right", widest("effect"))],
    )


def draw_levels(
    summary: pd.DataFrame,
    *,
    title: str,
    level_labels: Mapping[str, str] | None = None,
    metric: str = "fisher_z",
    ci_level: float = 0.95,
) -> Figure:
    """Draw the pooled estimate of every level with its intervals.

    Parameters
    ----------
    summary
        level, k_studies, k_effects, estimate, ci_low, ci_high, pi_low, pi_high on the
        reporting scale; levels of several moderators may follow each other.
    title
        Heading of the figure.
    level_labels
        Human words for the values of levels (key "rater=client") and for moderators (key
        "rater").
    metric
        fisher_z or r (correlations are shown), or generic.
    ci_level
        Level of the intervals, for header and note.

    Returns
    -------
    matplotlib.figure.Figure
        One page, 7.5 inches wide, as high as its rows need.

    Raises
    ------
    ValueError
        If the summary is empty or the metric is unknown.
    """
    check_metric(metric)
    if summary.empty:
        raise ValueError("there is no level to draw")
    with style():
        lines = _build_lines(summary, level_labels, metric)
        layout = _plan(lines, metric, ci_level)
        tested = [line for line in lines if math.isfinite(line.low) and math.isfinite(line.high)]
        limits = choose_limits(
            [line.estimate for line in lines],
            [line.low for line in tested],
            [line.high for line in tested],
            [1.0 for _ in tested],
            intervals=[
                end for line in lines for end in (line.low, line.high, line.pi_low, line.pi_high)
            ],
            bounded=metric != "generic",
        )
        room = PAGE_WIDTH - 2 * MARGIN
        heading = wrap(title, room, TITLE_SIZE, "bold")
        percent = describe_percent(ci_level)
        note = f"Dot: pooled estimate. Thick line: {percent} CI. Thin line: {percent} prediction"
        note += " interval. Dashed line: estimate of all effects."
        notes = wrap(note, room)
        gaps = GROUP_GAP * sum(line.heading or line.overall for line in lines)
        broken = [_break(line, layout["label"].width) for line in lines]
        further = LINE * sum(len(parts) - 1 for parts in broken)
        length = HIGH_ROW * len(lines) + further + gaps + 0.04
        axis = AXIS_ROOM + Sheet.axis_label_height(layout, metric)
        head = MARGIN + TITLE_LINE * len(heading) + 0.06 + 0.24
        sheet = Sheet(head + length + axis + 0.06 + LINE * len(notes) + MARGIN)
        top = sheet.write_header(layout, sheet.write_title(heading))
        axes = sheet.add_plot(layout, top, top + length, limits, metric)
        y = top
        for line, parts in zip(lines, broken, strict=True):
            y += GROUP_GAP if line.heading or line.overall else 0.0
            centre = y + HIGH_ROW / 2
            for index, (label, remark) in enumerate(parts):
                x, at = layout["label"].left + line.indent, centre + LINE * index
                gid = f"{line.gid}-label" + (f"-{index}" if index else "")
                sheet.write(x, at, label, weight=line.weight, gid=gid)
                x += measure(label, weight=line.weight) + NOTE_GAP if label else 0.0
                sheet.write(x, at, remark, colour=MUTED, gid=f"{line.gid}-note")
            for column in layout.columns[1:]:
                text = getattr(line, column.name)
                gid = f"{line.gid}-{column.name}"
                sheet.write_cell(column, centre, text, weight=line.weight, gid=gid)
            colour = POOLED if line.overall else LEVEL
            for low, high, width, name in (
                (line.pi_low, line.pi_high, 0.9, "pi"),
                (line.low, line.high, 3.2, "ci"),
            ):
                if math.isfinite(low) and math.isfinite(high):
                    ends = [max(low, limits[0]), min(high, limits[1])]
                    axes.plot(
                        ends, [centre] * 2, color=colour, linewidth=width, gid=f"{line.gid}-{name}"
                    )
                    for side, edge, cut in (
                        ("<", limits[0], low < limits[0]),
                        (">", limits[1], high > limits[1]),
                    ):
                        if cut:
                            axes.scatter(
                                [edge],
                                [centre],
                                s=14.0,
                                marker=side,
                                color=INK,
                                linewidths=0,
                                clip_on=False,
                                zorder=4,
                            )
            if math.isfinite(line.estimate):
                axes.scatter(
                    [line.estimate],
                    [centre],
                    s=30.0,
                    facecolor=colour if math.isfinite(line.low) else "white",
                    edgecolor=colour if not math.isfinite(line.low) else "white",
                    linewidths=1.0,
                    clip_on=False,
                    zorder=3,
                    gid=f"{line.gid}-dot",
                )
                if line.overall:
                    axes.axvline(
                        line.estimate,
                        color=POOLED,
                        linewidth=0.9,
                        linestyle=(0, (4, 2.5)),
                        zorder=1.5,
                        gid="pooled",
                    )
            y += HIGH_ROW + LINE * (len(parts) - 1)
        end = sheet.write_axis_label(layout, top + length + AXIS_ROOM, metric)
        sheet.write_notes(notes, end + 0.06)
    return sheet.figure
