"""Begg and Mazumdar's rank test: effects against their variances."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from alliance_meta.assessments import Assessment
from alliance_meta.bias.units import FEW_STUDIES, ROUNDING, independent_units, reason
from alliance_meta.formatting import format_count, format_number, format_p
from alliance_meta.models.rows import ModelRows
from alliance_meta.models.specification import InestimableError

Array = NDArray[np.float64]

RANK_COLUMNS = ["kendall_tau", "p_value", "exact", "k", "unit"]


@dataclass(frozen=True)
class RankTest:
    """Kendall's τ with its two-sided p-value, exact where nothing is tied."""

    kendall_tau: float
    p_value: float
    exact: bool


def correlate_ranks(y: Array, v: Array) -> RankTest:
    """Correlate standardised effects with their variances.

    Parameters
    ----------
    y, v
        Independent effects and sampling variances, shape (k,).

    Raises
    ------
    InestimableError
        If effects or variances do not differ.

    Notes
    -----
    Begg & Mazumdar (1994): ``(y − θ) / √(v − 1/Σw)`` with the common-effect mean θ. The
    p-value is exact without ties, else the normal approximation with the variance for ties and
    no correction for continuity.
    """
    if np.ptp(y) <= ROUNDING * np.abs(y).max():
        raise InestimableError("the effects do not differ")
    if np.ptp(v) <= ROUNDING * v.max():
        raise InestimableError("the standard errors do not differ")
    w = 1 / v
    remaining = v - 1 / w.sum()
    if not (remaining > 0).all():
        raise InestimableError("one effect outweighs all others")
    standardised = (y - np.average(y, weights=w)) / np.sqrt(remaining)
    exact = min(len(np.unique(standardised)), len(np.unique(v))) == len(y)
    found = stats.kendalltau(standardised, v, method="exact" if exact else "asymptotic")
    return RankTest(float(found.statistic), float(found.pvalue), exact)


def assess_rank_test(rows: ModelRows) -> Assessment:
    """Run the rank test, on one composite per study where effects are dependent.

    Parameters
    ----------
    rows
        The analysis.

    Returns
    -------
    Assessment
        Table ``bias_rank``, one row; ``unit`` says what was ranked.
    """
    units = independent_units(rows)
    try:
        found = correlate_ranks(units.y, units.v)
    except InestimableError as error:
        table = pd.DataFrame(columns=RANK_COLUMNS)
        sentence = f"Begg and Mazumdar's rank test could not be computed: {reason(error)}."
        return Assessment("rank_test", {"bias_rank": table}, (sentence,))
    k = len(units.y)
    row = (found.kendall_tau, found.p_value, found.exact, k, units.kind)
    table = pd.DataFrame([row], columns=RANK_COLUMNS)
    what = (
        format_count(k, "effect")
        if units.kind == "effect"
        else (f"one composite for each of {format_count(k, 'study', 'studies')}")
    )
    precision = "exact" if found.exact else "normal approximation, as some values are tied"
    sentences = [
        f"Begg and Mazumdar's rank test on {what}: Kendall's τ = "
        f"{format_number(found.kendall_tau, leading_zero=False)}, p {format_p(found.p_value)} "
        f"({precision})."
    ]
    if k < FEW_STUDIES:
        sentences.append("With so few values the rank test has little power.")
    if rows.has_moderators:
        sentences.append("The rank test takes no account of the moderators.")
    if rows.spec.metric == "r":
        sentences.append(
            "The variance of a correlation depends on the correlation itself, so that on this "
            "metric the rank test confounds the two."
        )
    return Assessment("rank_test", {"bias_rank": table}, tuple(sentences))
