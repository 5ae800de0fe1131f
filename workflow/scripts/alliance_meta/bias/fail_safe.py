"""Fail-safe numbers: how many unseen studies would undo the result."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from alliance_meta.assessments import Assessment
from alliance_meta.bias.units import independent_units
from alliance_meta.formatting import format_count, format_effect, format_number
from alliance_meta.models.result_tables import reporting_scale
from alliance_meta.models.rows import ModelRows

Array = NDArray[np.float64]

FAIL_SAFE_COLUMNS = ["method", "n_studies", "target", "k", "unit", "note"]
SIGNIFICANCE_LEVEL = 0.05
# a small correlation (Cohen 1988)
SMALL_EFFECT = 0.10
# a number this close to an integer is that integer
NEARLY_WHOLE = 1.5e-8
NOTES = {
    "rosenthal": "weak: rests on p-values, takes the unseen results as zero on average",
    "orwin": "weak: ignores the precision of the studies, depends on a target chosen freely",
    "orwin_weighted": "weak: ignores heterogeneity, depends on a target chosen freely",
    "rosenberg": "weak: ignores heterogeneity, takes the unseen results as zero on average",
}


def count_rosenthal(y: Array, v: Array, level: float = SIGNIFICANCE_LEVEL) -> int:
    """Return how many null results make Stouffer's combined one-sided test not significant.

    Parameters
    ----------
    y, v
        Independent effects and sampling variances, shape (k,).
    level
        One-sided level.

    Notes
    -----
    Rosenthal (1979).
    """
    k = len(y)
    combined = abs(float((y / np.sqrt(v)).sum())) / math.sqrt(k)
    return _whole(k * (combined / stats.norm.isf(level)) ** 2 - k)


def count_orwin(y: Array, target: float, weights: Array | None = None) -> int:
    """Return how many results of zero bring the mean down to a target.

    Parameters
    ----------
    y
        Effects, shape (k,).
    target
        Smallest effect of interest, not zero; it takes the sign of the mean.
    weights
        Shape (k,); default: equal.

    Notes
    -----
    Orwin (1983).
    """
    mean = float(np.average(y, weights=weights))
    target = math.copysign(target, mean)
    return _whole(len(y) * (mean - target) / target)


def count_rosenberg(y: Array, v: Array, level: float = SIGNIFICANCE_LEVEL) -> int:
    """Return how many results of zero make the common-effect mean not significant.

    Parameters
    ----------
    y, v
        Independent effects and sampling variances, shape (k,).
    level
        Two-sided level.

    Notes
    -----
    Rosenberg (2005); the unseen results have the mean weight of those seen.
    """
    w = 1 / v
    needed = (float(w @ y) / stats.norm.isf(level / 2)) ** 2 - w.sum()
    return _whole(len(y) * float(needed / w.sum()))


def _whole(number: float) -> int:
    number = max(0.0, number)
    nearest = round(number)
    return nearest if abs(number - nearest) < NEARLY_WHOLE else math.ceil(number)


def assess_fail_safe(rows: ModelRows, *, target: float = SMALL_EFFECT) -> Assessment:
    """Count unseen studies by Rosenthal, Orwin and Rosenberg.

    Parameters
    ----------
    rows
        The analysis.
    target
        Orwin's smallest effect of interest on the reporting scale, not zero; it takes the sign
        of the mean.

    Returns
    -------
    Assessment
        Table ``bias_fail_safe``; dependent effects enter as one composite per study.
    """
    table = pd.DataFrame(columns=FAIL_SAFE_COLUMNS)
    if rows.has_moderators:
        text = "Fail-safe numbers are of one mean; with moderators they are not defined."
        return Assessment("fail_safe", {"bias_fail_safe": table}, (text,))
    units = independent_units(rows)
    counts, text = dict[str, int](), ""
    aims = dict[str, float]()
    if target == 0 or (abs(target) >= 1 and rows.spec.metric != "generic"):
        text = (
            f"Orwin's fail-safe number is not defined for a target of {format_number(target)}; "
            "it was left out."
        )
    else:
        aim = abs(math.atanh(target) if rows.spec.metric == "fisher_z" else target)
        for name, weights in (("orwin", None), ("orwin_weighted", 1 / units.v)):
            counts[name] = count_orwin(units.y, aim, weights)
            aims[name] = math.copysign(aim, float(np.average(units.y, weights=weights)))
    numbers = {
        "rosenthal": count_rosenthal(units.y, units.v),
        **counts,
        "rosenberg": count_rosenberg(units.y, units.v),
    }
    table = pd.DataFrame(
        [
            (name, n, aims.get(name, np.nan), len(units.y), units.kind, NOTES[name])
            for name, n in numbers.items()
        ],
        columns=FAIL_SAFE_COLUMNS,
    )
    weak = (
        "Such numbers are weak evidence: they take the unseen results as zero on average and "
        "ignore heterogeneity."
    )
    sentences = [_describe(numbers, aims, units.kind, rows.spec.metric), text, weak]
    return Assessment("fail_safe", {"bias_fail_safe": table}, tuple(s for s in sentences if s))


def _describe(numbers: Mapping[str, int], aims: Mapping[str, float], kind: str, metric: str) -> str:
    noun = ("effect",) if kind == "effect" else ("study", "studies")
    symbol = "" if metric == "generic" else "r = "
    target = symbol + format_effect(
        float(reporting_scale(aims.get("orwin", np.nan), metric)), metric
    )
    goals = {
        "rosenthal": ("the combined p-values", "not be significant (Rosenthal)"),
        "rosenberg": ("the weighted mean", "not be significant (Rosenberg)"),
        "orwin": ("the unweighted mean", f"be no further from zero than {target} (Orwin)"),
    }
    parts = [
        f"{subject} would {state} with {format_count(numbers[name], *noun)} of no effect added"
        if numbers[name]
        else f"{subject} would {state} even with none added"
        for name, (subject, state) in goals.items()
        if name in numbers
    ]
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."
