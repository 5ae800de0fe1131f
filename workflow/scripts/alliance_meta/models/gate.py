"""The honesty gate: p-values that the studies cannot carry are withheld, with the reason."""

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.formatting import format_df, format_number
from alliance_meta.models.design import Design

# below this the Satterthwaite approximation is outside its validated range (Tipton 2015)
MINIMUM_DF = 4.0
# studies behind each moderator coefficient (Borenstein et al. 2009, ch. 20)
STUDIES_PER_COEFFICIENT = 10
# name of the test of all moderators together
OMNIBUS = "omnibus"


def withheld_reasons(
    coefficients: pd.DataFrame,
    heterogeneity: pd.DataFrame,
    *,
    tested: Mapping[str, bool],
    lone: Collection[str],
    n_units: int,
    unit: str,
    robust: bool,
) -> dict[str, str]:
    """Return why p-values are withheld.

    Parameters
    ----------
    coefficients, heterogeneity
        Tables of the analysis, p-values included.
    tested
        Term -> whether it belongs to a moderator.
    lone
        Terms that rest on a single study.
    n_units, unit
        Number of independent units and what they are called.
    robust
        Whether degrees of freedom are Satterthwaite's.

    Returns
    -------
    dict
        Term (``omnibus`` for the moderators' test) -> reason, the second half of a sentence.
    """
    reasons: dict[str, str] = {}
    n_tested = sum(tested.values())
    if n_tested and n_units < STUDIES_PER_COEFFICIENT * n_tested:
        share = format_number(n_units / n_tested, 1)
        noun = "coefficient" if n_tested == 1 else "of the coefficients"
        each = "the moderator" if n_tested == 1 else "each"
        text = (
            f"{share} {unit} stand behind {each} {noun}, and {STUDIES_PER_COEFFICIENT} are needed"
        )
        reasons = {term: text for term, is_tested in tested.items() if is_tested}
        reasons[OMNIBUS] = text
    if robust:
        df = dict(zip(coefficients["term"], coefficients["df"], strict=True))
        values = heterogeneity.set_index("parameter")["estimate"]
        if "QM" in values:
            df[OMNIBUS] = values["QM_df2"]
        for term, value in df.items():
            # the Hotelling test has no df at all where its approximation breaks down
            low = value < MINIMUM_DF
            if low:
                known = f"only {format_df(max(value, 0.0))}" if np.isfinite(value) else "too few"
                reasons[term] = (
                    f"it rests on {known} degrees of freedom, and {MINIMUM_DF:.0f} are needed"
                )
    return reasons | dict.fromkeys(lone, "a single study stands behind it")


def lone_terms(design: Design, data: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return terms, and names of levels, behind which a single study stands.

    Parameters
    ----------
    design, data
        Design and rows of the model.
    """
    studies = pd.factorize(data["study_id"])[0]

    def alone(rows: NDArray[np.bool_]) -> bool:
        return len(np.unique(studies[rows])) == 1

    names = [
        level.name
        for level in design.levels
        if alone((data[level.moderator] == level.value).to_numpy())
    ]
    references = {f"{name}={value}" for name, value in (design.references or {}).items()}
    # every coefficient compares with the reference
    if references & set(names):
        return list(design.terms), names
    terms = [
        term for term, column in zip(design.terms, design.X.T, strict=True) if alone(column != 0)
    ]
    return terms, names


def withhold(
    coefficients: pd.DataFrame, heterogeneity: pd.DataFrame, reasons: Mapping[str, str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both tables without the p-values that are withheld."""
    coefficients, heterogeneity = coefficients.copy(), heterogeneity.copy()
    coefficients.loc[coefficients["term"].isin(list(reasons)), "p_value"] = np.nan
    if OMNIBUS in reasons:
        heterogeneity.loc[heterogeneity["parameter"] == "QM_p", "estimate"] = np.nan
    return coefficients, heterogeneity
