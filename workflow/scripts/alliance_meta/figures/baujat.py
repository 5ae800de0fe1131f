"""The Baujat plot: who brings heterogeneity, and who moves the result.

Baujat et al. (2002), doi:10.1002/sim.1221.
"""

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alliance_meta.figures.lettering import wrap
from alliance_meta.figures.panels import (
    FOOT_ROOM,
    Array,
    Box,
    add_axes,
    mark_x,
    mark_y,
    open_page,
    pad_range,
    place_labels,
    tick_room,
    write_below,
    write_beside,
)
from alliance_meta.figures.sheet import LINE, MARGIN
from alliance_meta.figures.theme import EFFECT, PAGE_WIDTH, style
from alliance_meta.figures.wording import clean

PLOT_HEIGHT = 3.4  # inches
MOST_TRIED = 14  # points that are tried for a label
X_LABEL = "Contribution to the heterogeneity Q"
Y_LABEL = "Influence on the result"
NOTE = (
    "Each dot is one effect. Far right: it adds much to the heterogeneity. High up: the result "
    "would be another without it."
)


def rank_extremes(x: Array, y: Array) -> list[int]:
    """Return the points in the order of their distance from the origin, each axis to its largest.

    Parameters
    ----------
    x, y : ndarray, shape (k,)
        Finite numbers.
    """
    far = np.hypot(x / (np.abs(x).max() or 1.0), y / (np.abs(y).max() or 1.0))
    return [int(index) for index in np.argsort(-far, kind="stable")]


def draw_baujat(table: pd.DataFrame, *, title: str) -> Figure:
    """Draw each effect's contribution to Q against its influence on the result.

    Parameters
    ----------
    table
        x, y, label (words for the extreme points); rows without both numbers are not drawn.
    title
        Heading of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        One page, 7.5 inches wide.

    Raises
    ------
    ValueError
        If no effect has both numbers.
    """
    shown = table.loc[np.isfinite(table[["x", "y"]].to_numpy(dtype=float)).all(axis=1)]
    if shown.empty:
        raise ValueError("there is no effect to draw")
    x, y = shown["x"].to_numpy(dtype=float), shown["y"].to_numpy(dtype=float)
    with style():
        sheet, top = open_page(f"{title}: Baujat plot", PLOT_HEIGHT + FOOT_ROOM + LINE + 0.16, NOTE)
        left = MARGIN + LINE * len(wrap(Y_LABEL, PLOT_HEIGHT)) + 0.55
        box = Box(left, top + 0.12, PAGE_WIDTH - MARGIN - 0.1 - left, PLOT_HEIGHT)
        axes = add_axes(sheet, box, pad_range([*x, 0.0]), pad_range([*y, 0.0]))
        mark_x(axes, box, "generic")
        mark_y(axes, box)
        axes.scatter(
            x,
            y,
            s=float(np.clip(400 / math.sqrt(len(x)), 9, 30)),
            facecolor=EFFECT,
            edgecolor="white",
            linewidths=0.5,
            alpha=0.8,
            clip_on=False,
            zorder=3,
            gid="effects",
        )
        (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
        inches = np.stack(
            [
                box.left + box.width * (x - x0) / (x1 - x0),
                box.bottom - box.height * (y - y0) / (y1 - y0),
            ],
            axis=1,
        )
        texts = [clean(cell) for cell in shown["label"]]
        order = [i for i in rank_extremes(x, y) if texts[i]][:MOST_TRIED]
        for number, label in enumerate(place_labels(inches, texts, order, box)):
            sheet.write(label.x, label.y, label.text, gid=f"point-{number}")
        write_below(sheet, box, [X_LABEL])
        write_beside(sheet, box, [Y_LABEL], tick_room(axes))
    return sheet.figure
