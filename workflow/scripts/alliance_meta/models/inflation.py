"""Variance inflation of model terms by the other terms."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.formatting import format_number
from alliance_meta.models.design import Design

Array = NDArray[np.float64]
Index = NDArray[np.intp]

INFLATION_COLUMNS = ["term", "df", "vif", "vif_scaled"]

# variance inflation from which a term can hardly be told apart from the others
MAXIMUM_VIF = 10.0


def term_groups(design: Design) -> dict[str, tuple[int, ...]]:
    """Return model term -> its columns of a design, without the intercept."""
    if design.specification is None:
        return {}
    return {
        str(term): tuple(range(*columns.indices(len(design.terms))))
        for term, columns in design.specification.term_slices.items()
        if str(term) != "1"
    }


def variance_inflation(
    covariance: Array, terms: Sequence[str], groups: Mapping[str, Sequence[int]] | None = None
) -> pd.DataFrame:
    """Return how much the other terms of a model inflate the variance of each.

    Parameters
    ----------
    covariance
        Model-based covariance of the coefficients, shape (p, p). A factor common to all
        (Knapp–Hartung) cancels; a robust covariance is not meant.
    terms
        Names of the coefficients, length p; "Intercept" is left out of account.
    groups
        Term -> positions of its coefficients (default: each coefficient by itself).

    Returns
    -------
    DataFrame
        Columns ``INFLATION_COLUMNS``: ``df`` coefficients, the generalised inflation ``vif``
        (the common one where df is 1) and ``vif_scaled = vif^(1 / (2 df))``, comparable to
        the square root of a common one. NaN where the covariance is not defined.

    Notes
    -----
    Fox & Monette (1992), eq. 10: det(R₁₁) det(R₂₂) / det(R), R the correlation matrix of
    the coefficients.
    """
    slopes = [i for i, term in enumerate(terms) if term != "Intercept"]
    if groups is None:
        groups = {terms[i]: (i,) for i in slopes}
    variances = np.diag(covariance)[slopes]
    rows = []
    sound = bool(np.isfinite(covariance).all() and (variances > 0).all())
    scale = np.sqrt(np.where(variances > 0, variances, 1.0)) if sound else np.ones(len(slopes))
    R = covariance[np.ix_(slopes, slopes)] / np.outer(scale, scale)
    for name, members in groups.items():
        inside = np.array([slopes.index(i) for i in members if i in slopes], dtype=np.intp)
        if not len(inside):
            continue
        outside = np.setdiff1d(np.arange(len(slopes)), inside)
        vif = _determinant_ratio(R, inside, outside) if sound else np.nan
        rows.append((name, len(inside), vif, vif ** (1 / (2 * len(inside)))))
    table = pd.DataFrame(rows, columns=INFLATION_COLUMNS)
    return table.astype({"term": "str", "df": "Int64", "vif": float, "vif_scaled": float})


def _determinant_ratio(R: Array, inside: Index, outside: Index) -> float:
    sign, whole = np.linalg.slogdet(R)
    if sign <= 0:
        return np.inf
    parts = sum(np.linalg.slogdet(R[np.ix_(rows, rows)])[1] for rows in (inside, outside))
    # rounding may leave a hair below the least possible value
    return float(max(np.exp(parts - whole), 1.0))


def describe_inflation(inflation: pd.DataFrame, maximum: float = MAXIMUM_VIF) -> list[str]:
    """Return a sentence for each term whose variance is inflated more than ``maximum``-fold.

    Parameters
    ----------
    inflation
        Table of ``variance_inflation``; terms of several coefficients are judged by the
        square of ``vif_scaled``. Terms of an interaction are passed over: their inflation
        tells where the moderators have their zero, not how they hang together.
    """
    interactions = [term.split(":") for term in inflation["term"] if ":" in term]
    crossed = {factor for factors in interactions for factor in factors}
    sentences = []
    for term, df, vif, scaled in inflation.itertuples(index=False, name=None):
        if not scaled**2 > maximum or crossed & set(term.split(":")):
            continue
        words = term.replace("_", " ") if term.isidentifier() else term
        kind = "VIF" if df == 1 else f"generalised VIF on {df} df"
        sentences.append(
            f"The other moderators account for nearly all of {words} ({kind} = "
            f"{format_number(vif, 1)}): what is due to which can hardly be told with these "
            "studies."
        )
    return sentences
