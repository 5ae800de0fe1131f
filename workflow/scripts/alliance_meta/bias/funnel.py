"""Funnel plots as tables: effects against their standard errors, and contours."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from alliance_meta.assessments import Assessment
from alliance_meta.bias.units import fitted_values
from alliance_meta.formatting import format_count, join_words
from alliance_meta.models.expressions import formula_variables
from alliance_meta.models.rows import ModelRows

Array = NDArray[np.float64]

FUNNEL_COLUMNS = ["effect_id", "study_id", "x", "se", "residual", "level"]
CONTOUR_COLUMNS = ["se", "level", "low", "high", "kind"]
# two-sided p-values of the contours around zero (Peters et al. 2008)
CONTOUR_LEVELS = (0.10, 0.05, 0.01)
# the contours are straight on the analysis metric and bend on the reporting scale
CONTOUR_POINTS = 41
# the funnel reaches a little beyond the largest standard error
MARGIN = 1.05


def draw_contours(centre: float, largest_se: float, levels: tuple[float, ...]) -> Array:
    """Return where effects reach two-sided p-values, as rows (se, level, low, high).

    Parameters
    ----------
    centre
        Effect at the tip of the funnel.
    largest_se
        Standard error at its base.
    levels
        Two-sided p-values.

    Returns
    -------
    ndarray
        Shape (levels × points, 4).
    """
    se = np.linspace(0.0, largest_se, CONTOUR_POINTS)
    blocks = [
        np.column_stack(
            [se, np.full_like(se, p), centre - (half := stats.norm.isf(p / 2) * se), centre + half]
        )
        for p in levels
    ]
    return np.concatenate(blocks)


def assess_funnel(rows: ModelRows) -> Assessment:
    """Return what funnel plots show.

    Parameters
    ----------
    rows
        The analysis.

    Returns
    -------
    Assessment
        Tables ``bias_funnel`` (``residual`` is the effect minus what the analysis predicts,
        ``level`` the level of a single categorical moderator) and ``bias_funnel_contours``
        (``kind`` "significance": around zero, ``level`` the two-sided p-value; "pseudo_interval":
        around the mean, ``level`` one minus the confidence level; residuals are around zero).
    """
    se = np.sqrt(rows.v)
    funnel = pd.DataFrame(
        {
            "effect_id": rows.data["effect_id"].astype("str"),
            "study_id": rows.data["study_id"].astype("str"),
            "x": rows.y,
            "se": se,
            "residual": rows.y - fitted_values(rows),
            "level": _levels(rows),
        },
        columns=FUNNEL_COLUMNS,
    ).reset_index(drop=True)
    base = MARGIN * float(se.max())
    parts = [_contour_table(0.0, base, CONTOUR_LEVELS, "significance")]
    if not rows.has_moderators:
        mean = float(rows.fit.contrast(np.ones(1)).value)
        parts.append(_contour_table(mean, base, (1 - rows.spec.ci_level,), "pseudo_interval"))
    contours = pd.concat(parts, ignore_index=True)
    tables = {"bias_funnel": funnel, "bias_funnel_contours": contours}
    return Assessment("funnel", tables, (_describe(funnel),))


def _levels(rows: ModelRows) -> pd.Series:
    categorical = [
        name
        for name in formula_variables(rows.spec.moderators)
        if not pd.api.types.is_numeric_dtype(rows.data[name])
    ]
    if len(categorical) == 1:
        return rows.data[categorical[0]].astype("str")
    return pd.Series("", index=rows.data.index, dtype="str")


def _contour_table(
    centre: float, largest_se: float, levels: tuple[float, ...], kind: str
) -> pd.DataFrame:
    table = pd.DataFrame(draw_contours(centre, largest_se, levels), columns=CONTOUR_COLUMNS[:-1])
    return table.assign(kind=kind)


def _describe(funnel: pd.DataFrame) -> str:
    p = 2 * stats.norm.sf(np.abs(funnel["x"] / funnel["se"]))
    edges = sorted(CONTOUR_LEVELS)
    counts = np.bincount(np.searchsorted(edges, p, side="right"), minlength=len(edges) + 1)
    zones = [
        "with p < .01",
        "between .01 and .05",
        "between .05 and .10",
        "not significant at p = .10",
    ]
    parts = [f"{n} {zone}" for n, zone in zip(counts, zones, strict=True) if n]
    verb = "lies" if len(funnel) == 1 else "lie"
    return (
        f"In the contour-enhanced funnel {format_count(len(funnel), 'effect')} {verb} in these "
        f"zones of two-sided significance: {join_words(parts)}."
    )
