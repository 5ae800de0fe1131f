"""Baujat's picture: which studies bring the heterogeneity, and which of them move the result."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.assessments import Assessment
from alliance_meta.formatting import format_number
from alliance_meta.models.refits import Refitter
from alliance_meta.models.rows import ModelRows
from alliance_meta.sensitivity.influence import (
    ROUNDING,
    LeftOut,
    is_univariate,
    leave_out,
    marginal_covariance,
)
from alliance_meta.sensitivity.omission import study_names

Array = NDArray[np.float64]
Index = NDArray[np.intp]

NAME = "baujat"
COLUMNS = ["effect_id", "study_id", "x", "y"]
TABLES = {"sensitivity_baujat": COLUMNS}
# a direction that holds less than this share of the variance of fitted values is rounding
NEGLIGIBLE_SHARE = 1e-10
# contributions that differ by less of the larger one are tied
TIED_SHARE = 1e-6


def baujat_coordinates(rows: ModelRows, left: LeftOut, units: Index) -> tuple[Array, Array]:
    """Return heterogeneity and influence of each unit.

    Parameters
    ----------
    rows, left
        The model and the fits without each unit, as ``leave_out`` returns them.
    units
        Unit of each row (0, 1, … without gaps), shape (k,).

    Returns
    -------
    x
        ``e'Σ⁻¹e`` of the unit's residuals e from the fit of all rows, Σ their marginal
        covariance: its contribution to the generalised Q. Shape (units,).
    y
        ``f'(XCX')⁺f`` with f the change of the unit's fitted values and C the coefficients'
        covariance without the unit; NaN where that fit does not exist. Shape (units,).

    Notes
    -----
    Baujat et al. (2002). For a single effect x is metafor's squared Pearson residual and y its
    standardised squared change of the fitted value (``baujat``); for a study of several effects
    both are the quadratic forms that these generalise to. Where the effects of a study have one
    mean, y is the squared change of that mean over its variance.
    """
    n = int(units.max()) + 1
    x, y = np.full((2, n), np.nan)
    residuals = left.y - left.Q @ left.whole.gamma[0]
    residuals[np.abs(residuals) < ROUNDING * np.abs(rows.y).max()] = 0.0
    change = left.whole.gamma[0] - left.deleted.gamma
    for j in range(n):
        members = np.flatnonzero(units == j)
        e = residuals[members]
        x[j] = float(e @ np.linalg.solve(marginal_covariance(rows, members), e))
        Q = left.Q[members]
        spread = Q @ left.deleted.covariance[j] @ Q.T
        if np.isfinite(spread).all() and spread.trace() > 0:
            moved = Q @ change[j]
            inverse = np.linalg.pinv(spread, rcond=NEGLIGIBLE_SHARE, hermitian=True)
            y[j] = float(moved @ inverse @ moved)
    return x, y


def assess_baujat(
    rows: ModelRows,
    refitter: Refitter,
    *,
    advance: Callable[[int], None] = lambda n: None,
) -> Assessment:
    """Place effects, or whole studies where effects are dependent, in Baujat's picture.

    Parameters
    ----------
    rows, refitter
        The model and what fits it to some of its rows.
    advance
        Called with the number of finished fits.

    Returns
    -------
    Assessment
        Table ``sensitivity_baujat``; ``effect_id`` is empty for a study of several effects.
    """
    single = is_univariate(rows)
    units = np.arange(len(rows.y)) if single else rows.independent
    left = leave_out(rows, refitter, units, advance=advance)
    x, y = baujat_coordinates(rows, left, units)
    effect_ids = rows.data["effect_id"].astype("str")
    names: list[str | None] = list(effect_ids)
    if single:
        studies = list(rows.data["study_id"].astype("str"))
    else:
        sizes = np.bincount(units)
        first = effect_ids.iloc[np.unique(units, return_index=True)[1]]
        names = [name if size == 1 else None for name, size in zip(first, sizes, strict=True)]
        studies = study_names(rows)
    table = pd.DataFrame({"effect_id": names, "study_id": studies, "x": x, "y": y})
    table = table.astype({"effect_id": "str", "study_id": "str"})[COLUMNS]
    return Assessment(NAME, {"sensitivity_baujat": table}, _describe(table, single, left))


def _describe(table: pd.DataFrame, single: bool, left: LeftOut) -> tuple[str, ...]:
    """Return who brings the largest share of Q, and whether it moves the result most."""
    noun = "effect" if single else "study"
    if len(table) < 2:
        return (f"One {noun} alone cannot be compared with others.",)
    total = float(table["x"].sum())
    names = table["effect_id" if single else "study_id"]
    sentences = []
    if not total > 0:
        sentences.append("The effects do not differ beyond the model: none adds to Q.")
    else:
        top = int(table["x"].to_numpy().argmax())
        second = float(np.sort(table["x"].to_numpy(float))[-2])
        if second > (1 - TIED_SHARE) * float(table["x"].iloc[top]):
            return ("No one contribution to the generalised Q stands out from the others.",)
        share = format_number(100 * float(table["x"].iloc[top]) / total, 0)
        sentences.append(
            f"Of {len(table)} {_plural(noun)}, {names.iloc[top]} adds most to the generalised Q "
            f"({share} % of it)"
        )
        known = table["y"].notna()
        if known.any() and table["y"].max() > 0:
            most = int(table["y"].fillna(-1.0).to_numpy().argmax())
            also = "it also" if most == top else f"{names.iloc[most]}"
            sentences[-1] += f"; {also} moves the result most when it is left out."
        else:
            sentences[-1] += "."
    lacking = [name for name, reason in zip(names, left.reasons, strict=True) if reason]
    if lacking:
        few = f"{noun} {lacking[0]}" if len(lacking) == 1 else f"{len(lacking)} {_plural(noun)}"
        which = "its" if len(lacking) == 1 else "their"
        one = "" if len(lacking) == 1 else "any one of "
        sentences.append(f"There is no fit without {one}{few}, so that {which} influence is empty.")
    elif table["y"].isna().any():
        sentences.append("Where standard errors are zero there is no scale for the influence.")
    return tuple(sentences)


def _plural(noun: str) -> str:
    return {"study": "studies"}.get(noun, noun + "s")
