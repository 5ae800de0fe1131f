"""Cumulative meta-analysis: the result as studies are added."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.assessments import Assessment
from alliance_meta.formatting import format_count, format_effect
from alliance_meta.models.refits import Refitter
from alliance_meta.models.result_tables import reporting_scale
from alliance_meta.models.rows import ModelRows
from alliance_meta.models.specification import SpecificationError
from alliance_meta.sensitivity.omission import study_names

Array = NDArray[np.float64]

NAME = "cumulative"
PRECISION = "precision"
COLUMNS = [
    "added",
    "k",
    "estimate",
    "se",
    "ci_low",
    "ci_high",
    "tau2",
    "by",
    "value",
    "k_studies",
    "pi_low",
    "pi_high",
]
# an estimate has settled once it stays this near to the last one, on the reporting scale
SETTLED = 0.02


def assess_cumulative(
    rows: ModelRows,
    refitter: Refitter,
    *,
    by: Sequence[str] = ("year", PRECISION),
    advance: Callable[[int], None] = lambda n: None,
) -> Assessment:
    """Add one independent study at a time (Lau et al. 1992).

    Parameters
    ----------
    rows, refitter
        The rows of an analysis without moderators and what fits its model again.
    by
        What orders the studies: columns (smallest value of a study first, studies without a
        value not at all), or "precision" (smallest mean sampling variance first).
    advance
        Told how many fits have been finished.

    Returns
    -------
    Assessment
        ``sensitivity_cumulative``: a row for each study added, on the analysis metric.

    Raises
    ------
    SpecificationError
        If a column does not exist or holds no numbers.
    """
    empty = {"sensitivity_cumulative": pd.DataFrame(columns=COLUMNS)}
    if rows.has_moderators:
        text = "The cumulative analysis is of a mean; this analysis has moderators."
        return Assessment(NAME, empty, (text,))
    tables, sentences = [], []
    for column in by:
        table = _accumulate(rows, refitter, column, advance)
        n_out = rows.n_studies - len(table)
        if len(table) > 1 and table["value"].nunique() == 1:
            sentences.append(f"All studies have the same {column}, which gives them no order.")
            continue
        if table.empty:
            sentences.append(f"No study has a value for {column}, so none was added by it.")
            continue
        tables.append(table)
        sentences += _describe(table, column, rows.spec.metric)
        if n_out:
            verb = "was" if n_out == 1 else "were"
            counted = format_count(n_out, "study", "studies")
            sentences.append(f"{counted} without a value for {column} {verb} not added.")
    if tables:
        empty["sensitivity_cumulative"] = pd.concat(tables, ignore_index=True)
    return Assessment(NAME, empty, tuple(sentences))


def _accumulate(
    rows: ModelRows, refitter: Refitter, column: str, advance: Callable[[int], None]
) -> pd.DataFrame:
    values = _order_values(rows, column)
    names = np.array(study_names(rows), dtype=object)
    known = np.flatnonzero(values.notna())
    order = known[np.lexsort((names[known].astype(str), values.iloc[known].to_numpy()))]
    rank = np.full(rows.n_studies, len(order))
    rank[order] = np.arange(len(order))
    keep = rank[rows.independent] <= np.arange(len(order))[:, None]
    refits = refitter.refit(keep, advance=advance)
    estimate, se = refits.estimate[:, 0].copy(), refits.se[:, 0].copy()
    low, high = refits.ci_low[:, 0].copy(), refits.ci_high[:, 0].copy()
    return pd.DataFrame(
        {
            "added": names[order],
            "k": refits.k,
            "estimate": estimate,
            "se": se,
            "ci_low": low,
            "ci_high": high,
            "tau2": refits.tau2,
            "by": column,
            "value": values.iloc[order].to_numpy(),
            "k_studies": refits.n_studies,
            "pi_low": refits.pi_low,
            "pi_high": refits.pi_high,
        },
        columns=COLUMNS,
    )


def _order_values(rows: ModelRows, column: str) -> "pd.Series[float]":
    """Return what each independent study is ordered by."""
    if column == PRECISION:
        return pd.Series(rows.v).groupby(rows.independent).mean()
    if column not in rows.data.columns:
        raise SpecificationError(
            f"there is no column '{column}' to add studies by", setting="sensitivity.cumulative"
        )
    if not pd.api.types.is_numeric_dtype(rows.data[column]):
        raise SpecificationError(
            f"'{column}' holds text, which gives studies no order", setting="sensitivity.cumulative"
        )
    return rows.data[column].reset_index(drop=True).groupby(rows.independent).min()


def _describe(table: pd.DataFrame, column: str, metric: str) -> list[str]:
    known = table.loc[table["estimate"].notna()]
    if len(known) < 3:
        return [f"Too few studies to follow the result by {column}."]
    values = reporting_scale(known["estimate"].to_numpy(float), metric)
    away = np.flatnonzero(np.abs(values - values[-1]) > SETTLED)
    first = int(away[-1]) + 1 if len(away) else 0
    order = {"year": "by year", PRECISION: "from the most precise study on"}.get(
        column, f"by {column}"
    )
    row = known.iloc[first]
    when = f" ({row['value']:g})" if column == "year" else ""
    studies = format_count(int(row["k_studies"]), "study", "studies")
    last = format_effect(values[-1], metric, 3)
    if first == len(known) - 1:
        return [f"Added {order}, the result of {last} still moved with the last study."]
    return [
        f"Added {order}, the result stays within {format_effect(SETTLED, metric)} of its final "
        f"value, {last}, from {studies}{when} on."
    ]
