"""Influence diagnostics of every effect as small multiples.

The set of diagnostics: Viechtbauer & Cheung (2010), doi:10.1002/jrsm.11.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alliance_meta.figures.lettering import measure, shorten
from alliance_meta.figures.panels import (
    FOOT_ROOM,
    MANY,
    Array,
    Box,
    KeyEntry,
    add_axes,
    draw_key,
    key_height,
    mark_x,
    mark_y,
    open_page,
    pad_range,
    read_flag,
    write_below,
)
from alliance_meta.figures.sheet import LINE, MARGIN
from alliance_meta.figures.theme import EFFECT, INK, MUTED, PAGE_WIDTH, RULE, VERMILION, style
from alliance_meta.figures.wording import clean
from alliance_meta.formatting import join_words

PANEL_HEIGHT = 0.54  # inches
PANEL_GAP = 0.16  # inches
NAME_WIDTH = 1.2  # inches for the names of the diagnostics
TICK_WIDTH = 0.4  # inches
LABEL_ROOM = 1.45  # inches for names of studies, written upright
MOST_DOTS = 150  # more effects than this are drawn as a line without dots
MOST_NAMED = 10
DIAGNOSTICS = {
    "rstudent": "Studentised residual",
    "dffits": "DFFITS",
    "cooks_distance": "Cook's distance",
    "cov_ratio": "Covariance ratio",
    "tau2_deleted": "τ² without it",
    "Q_deleted": "Q without it",
    "hat": "Leverage (hat)",
    "weight": "Weight, %",
}
# where a diagnostic says nothing remarkable
LINES: dict[str, tuple[float, ...]] = {
    "rstudent": (-1.96, 0.0, 1.96),
    "dffits": (0.0,),
    "cov_ratio": (1.0,),
}


def name_influential(labels: Sequence[str], flagged: Sequence[bool]) -> str:
    """Return the influential effects as words: "12 Levin et al. (2024) and 3 others"."""
    names = [
        f"{number} {label}".strip()
        for number, (label, flag) in enumerate(zip(labels, flagged, strict=True), start=1)
        if flag
    ]
    if len(names) > MOST_NAMED + 1:
        names = [*names[:MOST_NAMED], f"{len(names) - MOST_NAMED} others"]
    return join_words(names)


def _runs(labels: Sequence[str]) -> list[tuple[float, str]]:
    """Return (position, label) with one entry for neighbours of the same name."""
    runs: list[list[float]] = []
    names: list[str] = []
    for number, label in enumerate(labels, start=1):
        if names and names[-1] == label:
            runs[-1].append(number)
        else:
            runs.append([number])
            names.append(label)
    return [(sum(run) / len(run), name) for run, name in zip(runs, names, strict=True)]


def _draw_values(axes, x: Array, values: Array) -> None:  # type: ignore[no-untyped-def]
    few = len(x) <= MOST_DOTS
    axes.plot(x, values, color=EFFECT, linewidth=0.5 if few else 0.7, zorder=2, gid="line")
    if few:
        size = 9.0 if len(x) <= MANY else 5.0
        axes.scatter(x, values, s=size, color=EFFECT, linewidths=0, zorder=2.5, gid="dots")


def draw_influence(
    table: pd.DataFrame,
    *,
    title: str,
    full: Mapping[str, float] | None = None,
) -> Figure:
    """Draw each diagnostic along the effects, influential ones marked and named.

    Parameters
    ----------
    table
        label (words), influential, and the columns of `DIAGNOSTICS`; a diagnostic without a
        number is left out.
    title
        Heading of the figure.
    full
        Column -> its value with all effects (tau2_deleted, Q_deleted), drawn as a line.

    Returns
    -------
    matplotlib.figure.Figure
        One page, 7.5 inches wide; names of studies for up to 60 effects.

    Raises
    ------
    ValueError
        If no diagnostic has a number.
    """
    columns = {
        name: table[name].to_numpy(dtype=float)
        for name in DIAGNOSTICS
        if name in table and np.isfinite(table[name].to_numpy(dtype=float)).any()
    }
    if not columns:
        raise ValueError("there is no diagnostic to draw")
    labels = [clean(cell) for cell in table["label"]]
    flagged = np.array([read_flag(cell) for cell in table["influential"]])
    x = np.arange(1, len(table) + 1, dtype=float)
    named = len(x) <= MANY
    runs = _runs(labels)
    note = "No effect is influential by the usual bounds."
    if flagged.any():
        note = f"Influential: {name_influential(labels, flagged.tolist())}."
    key = [KeyEntry("Influential effect", "white", VERMILION, "D")] if flagged.any() else []
    key.append(KeyEntry("Value with all effects, or bound of what is usual", INK, MUTED, "--"))
    with style():
        upright = [shorten(text, LABEL_ROOM) for _, text in runs] if named else []
        foot = max(map(measure, upright), default=0.0) + 0.1 if named else FOOT_ROOM + LINE
        body = (
            key_height(key)
            + 0.08
            + len(columns) * PANEL_HEIGHT
            + (len(columns) - 1) * PANEL_GAP
            + foot
        )
        sheet, top = open_page(f"{title}: influence of single effects", body, note)
        y = draw_key(sheet, top, key) + 0.08
        left = MARGIN + NAME_WIDTH + TICK_WIDTH
        edges = (0.3, len(x) + 0.7)
        for name, values in columns.items():
            box = Box(left, y, PAGE_WIDTH - MARGIN - 0.06 - left, PANEL_HEIGHT)
            full_value = (full or {}).get(name, math.nan)
            lines = [*LINES.get(name, ()), *([full_value] if math.isfinite(full_value) else [])]
            inside = [line for line in lines if line in (0.0, 1.0) or name != "rstudent"]
            span = pad_range([*values[np.isfinite(values)], *inside], 0.1)
            axes = add_axes(sheet, box, edges, span)
            axes.spines["bottom"].set_color(RULE)
            mark_y(axes, Box(0, 0, 1, PANEL_HEIGHT))
            for line in lines:
                if span[0] <= line <= span[1]:
                    axes.axhline(line, color=MUTED, linewidth=0.6, linestyle=(0, (4, 2)), zorder=1)
            _draw_values(axes, x, values)
            axes.scatter(
                x[flagged],
                values[flagged],
                s=17.0,
                marker="D",
                facecolor="white",
                edgecolor=VERMILION,
                linewidths=1.0,
                clip_on=False,
                zorder=4,
                gid=f"influential-{name}",
            )
            sheet.write(MARGIN, box.middle, DIAGNOSTICS[name], gid=f"name-{name}")
            y = box.bottom + PANEL_GAP
        if named:
            known = set(np.flatnonzero(flagged) + 1)
            axes.set_xticks([place for place, _ in runs])
            axes.set_xticklabels([])
            for number, ((place, _), text) in enumerate(zip(runs, upright, strict=True)):
                marked = any(abs(place - other) <= 0.5 for other in known)
                at = box.left + box.width * (place - edges[0]) / (edges[1] - edges[0])
                sheet.figure.text(
                    (at + 0.034) / PAGE_WIDTH,
                    1 - (box.bottom + 0.07) / sheet.height,
                    text,
                    rotation=90,
                    rotation_mode="anchor",
                    ha="right",
                    va="baseline",
                    color=VERMILION if marked else INK,
                    gid=f"study-{number}",
                )
        else:
            mark_x(axes, box, "generic")
            write_below(sheet, box, ["Effect, in the order of the table"])
    return sheet.figure
