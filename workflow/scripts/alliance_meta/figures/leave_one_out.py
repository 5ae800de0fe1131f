"""The result without each study in turn."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alliance_meta.figures.panels import MANY
from alliance_meta.figures.strips import (
    Reference,
    Strip,
    draw_ribbon,
    draw_strips,
    key_of,
)
from alliance_meta.figures.wording import clean

CHANGED = "The sign or the significance changes without this study"
REFERENCE_NOTE = "Dashed line and band: the result of all studies with its confidence interval."


def draw_leave_one_out(
    table: pd.DataFrame,
    reference: Reference | None,
    *,
    title: str,
    metric: str = "fisher_z",
    ci_level: float = 0.95,
) -> Figure:
    """Draw the pooled estimate without each study, from the lowest to the highest.

    Parameters
    ----------
    table
        left_out (words), estimate, ci_low, ci_high on the reporting scale, changes ("" where
        the conclusion stays); rows without an estimate are not drawn.
    reference
        The result of all studies.
    title
        Heading of the figure.
    metric
        fisher_z or r (correlations are shown), or generic.
    ci_level
        Level of the intervals.

    Returns
    -------
    matplotlib.figure.Figure
        Rows for up to 60 studies, else a line with a band.

    Raises
    ------
    ValueError
        If there is no estimate or the metric is unknown.
    """
    known = np.isfinite(table["estimate"].to_numpy(dtype=float))
    rows = table.loc[known].sort_values("estimate", kind="stable", ignore_index=True)
    changes = [clean(cell) for cell in rows["changes"]]
    heading = f"{title}: the result without each study"
    key = [key_of("changed", CHANGED)] if any(changes) else []
    if len(rows) > MANY:
        return draw_ribbon(
            np.arange(1, len(rows) + 1),
            rows["estimate"],
            rows["ci_low"],
            rows["ci_high"],
            title=heading,
            x_label="Study left out, from the lowest to the highest estimate",
            note=f"Line and band: the estimate without one study. {REFERENCE_NOTE}",
            reference=reference,
            metric=metric,
            marks=[index for index, change in enumerate(changes) if change],
            key=key,
        )
    strips = [
        Strip(
            clean(row["left_out"]),
            float(row["estimate"]),
            float(row["ci_low"]),
            float(row["ci_high"]),
            after=(change,) if any(changes) else (),
            look="changed" if change else "plain",
        )
        for row, change in zip(rows.to_dict("records"), changes, strict=True)
    ]
    return draw_strips(
        strips,
        title=heading,
        headers=["Study left out"],
        after=["Changes"] if any(changes) else (),
        note=f"Sorted by the estimate. {REFERENCE_NOTE}",
        reference=reference,
        metric=metric,
        ci_level=ci_level,
        key=key,
        digits=3,
    )
