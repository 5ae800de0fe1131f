"""The specification curve: estimates in order, and below each the options behind it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.synthesis.multiverse import YES, choice_columns
from alliance_meta.synthesis.multiverse_choices import NOT_APPLICABLE, Enumeration

# more columns of marks than these cannot be told apart on a page
SHOWN = 1000

POINT_COLUMNS = [
    "position",
    "specification",
    "estimate",
    "ci_low",
    "ci_high",
    "conclusion",
    "base",
]
INDICATOR_COLUMNS = ["row", "choice", "option", "position", "specification", "conclusion", "base"]

CONCLUSIONS = ("positive", "negative", "not significant", "not tested")


@dataclass(frozen=True)
class SpecificationCurve:
    """What the figure of a multiverse draws.

    Attributes
    ----------
    points
        Upper panel, a row per specification shown, ordered by estimate: ``position
        specification estimate ci_low ci_high conclusion base``; ``conclusion`` is one of
        ``CONCLUSIONS``, ``base`` marks the combination of the base options.
    indicators
        Lower panel, a row per mark: ``row choice option position specification conclusion
        base``; ``row`` numbers the options from the top, from 0.
    rows
        ``row choice option base`` of every row of the lower panel; ``base`` marks base options.
    n_estimated
        Specifications that have an estimate, shown or not.
    """

    points: pd.DataFrame
    indicators: pd.DataFrame
    rows: pd.DataFrame
    n_estimated: int


def trace_curve(
    table: pd.DataFrame, enumeration: Enumeration, *, shown: int = SHOWN
) -> SpecificationCurve:
    """Prepare the specification curve.

    Parameters
    ----------
    table
        Table ``multiverse`` of all specifications.
    enumeration
        What was run.
    shown
        At most so many specifications, at least two, evenly spaced along the curve; its ends
        and the base are always among them.

    Notes
    -----
    Simonsohn, Simmons & Nelson (2020).
    """
    known = table.loc[table["estimate"].notna()]
    order = np.lexsort((known["specification"], known["estimate"]))
    ordered = known.iloc[order].reset_index(drop=True)
    base = enumeration.find(enumeration.base)
    is_base = (ordered["specification"] == (0 if base is None else base.number)).to_numpy(bool)
    places = _spaced(len(ordered), shown, np.flatnonzero(is_base))
    chosen = ordered.iloc[places].reset_index(drop=True)
    points = pd.DataFrame(
        {
            "position": np.arange(len(chosen)),
            "specification": chosen["specification"],
            "estimate": chosen["estimate"],
            "ci_low": chosen["ci_low"],
            "ci_high": chosen["ci_high"],
            "conclusion": [
                _conclude(estimate, significant)
                for estimate, significant in zip(
                    chosen["estimate"], chosen["significant"], strict=True
                )
            ],
            "base": is_base[places],
        },
        columns=POINT_COLUMNS,
    )
    rows = _list_rows(table, enumeration)
    return SpecificationCurve(points, _mark(chosen, points, rows), rows, len(ordered))


def _spaced(n: int, shown: int, kept: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return evenly spaced places from first to last, with those to be kept for the nearest."""
    if n <= shown:
        return np.arange(n)
    places = np.rint(np.linspace(0, n - 1, shown)).astype(np.intp)
    for place in kept:
        # the ends stay
        nearest = 1 + int(np.abs(places[1:-1] - place).argmin()) if shown > 2 else 0
        if place not in places and shown > 2:
            places[nearest] = place
    return places


def _conclude(estimate: float, significant: object) -> str:
    if not isinstance(significant, str):
        return CONCLUSIONS[3]
    if significant != YES:
        return CONCLUSIONS[2]
    return CONCLUSIONS[0] if estimate > 0 else CONCLUSIONS[1]


def _list_rows(table: pd.DataFrame, enumeration: Enumeration) -> pd.DataFrame:
    """Return the rows of the lower panel: options in their order, then what does not apply."""
    columns = choice_columns([choice.name for choice in enumeration.choices])
    rows = []
    for choice, column, base in zip(enumeration.choices, columns, enumeration.base, strict=True):
        rows += [(choice.name, o.name, i == base) for i, o in enumerate(choice.options)]
        if (table[column] == NOT_APPLICABLE).any():
            rows.append((choice.name, NOT_APPLICABLE, False))
    listed = pd.DataFrame(rows, columns=["choice", "option", "base"])
    listed.insert(0, "row", np.arange(len(listed)))
    return listed


def _mark(chosen: pd.DataFrame, points: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return one mark for each specification shown and each choice."""
    names = list(dict.fromkeys(rows["choice"]))
    parts = []
    for name, column in zip(names, choice_columns(names), strict=True):
        marks = points[["position", "specification", "conclusion", "base"]].copy()
        marks["choice"], marks["option"] = name, chosen[column]
        parts.append(marks)
    marks = pd.concat(parts, ignore_index=True)
    numbered = marks.merge(rows[["row", "choice", "option"]], on=["choice", "option"])
    return numbered.sort_values(["row", "position"], ignore_index=True)[INDICATOR_COLUMNS]
