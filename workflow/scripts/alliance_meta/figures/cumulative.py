"""The result as studies are added one after the other."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alliance_meta.figures.panels import MANY
from alliance_meta.figures.strips import Reference, Strip, draw_ribbon, draw_strips
from alliance_meta.figures.wording import clean

ORDERS = {
    "year": "in the order of their years",
    "precision": "from the most to the least precise",
}
# what the studies are ordered by, where its name says something else
VALUES = {"precision": "variance"}
NOTE = "Dashed line and band: the result of all studies with its confidence interval."


def describe_order(by: str) -> str:
    """Return the order in which studies enter, as words."""
    return ORDERS.get(by, f"in the order of {clean(by.replace('_', ' '))}")


def _print_value(value: Any) -> str:
    """Print a value that studies are ordered by: whole ones plain, others with 2 digits."""
    if isinstance(value, str):
        return clean(value)
    number = float(value)
    if np.isnan(number):
        return ""
    return f"{number:.0f}" if number == round(number) else f"{number:.2g}"


def draw_cumulative(
    table: pd.DataFrame,
    reference: Reference | None,
    *,
    by: str,
    title: str,
    metric: str = "fisher_z",
    ci_level: float = 0.95,
) -> Figure:
    """Draw the pooled estimate after each added study.

    Parameters
    ----------
    table
        Steps in order: added (words), value (what they are ordered by), k, estimate, ci_low,
        ci_high on the reporting scale; steps without an estimate are not drawn.
    reference
        The result of all studies.
    by
        What the studies are ordered by: year, precision or another name.
    title
        Heading of the figure.
    metric
        fisher_z or r (correlations are shown), or generic.
    ci_level
        Level of the intervals.

    Returns
    -------
    matplotlib.figure.Figure
        Rows for up to 60 steps, else a line with a band.

    Raises
    ------
    ValueError
        If there is no estimate or the metric is unknown.
    """
    rows = table.loc[np.isfinite(table["estimate"].to_numpy(dtype=float))]
    heading = f"{title}: the result as studies are added {describe_order(by)}"
    if len(rows) > MANY:
        return draw_ribbon(
            rows["k"],
            rows["estimate"],
            rows["ci_low"],
            rows["ci_high"],
            title=heading,
            x_label=f"Effects so far, studies added {describe_order(by)}",
            note=f"Line and band: the estimate after each added study. {NOTE}",
            reference=reference,
            metric=metric,
            whole=False,
        )
    strips = [
        Strip(
            clean(row["added"]),
            float(row["estimate"]),
            float(row["ci_low"]),
            float(row["ci_high"]),
            before=(_print_value(row["value"]), _print_value(row["k"])),
        )
        for row in rows.to_dict("records")
    ]
    name = VALUES.get(by, clean(by.replace("_", " ")))
    return draw_strips(
        strips,
        title=heading,
        headers=["Added", name[:1].upper() + name[1:], "k effects"],
        note=f"Each row pools all effects up to and including this row's. {NOTE}",
        reference=reference,
        metric=metric,
        ci_level=ci_level,
        whole=False,
    )
