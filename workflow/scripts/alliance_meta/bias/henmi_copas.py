"""Henmi and Copas: a mean that leans on large studies, with an interval for heterogeneity."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import integrate, optimize, special

from alliance_meta.assessments import Assessment
from alliance_meta.bias.units import effect_words, independent_units, reason
from alliance_meta.models.rows import ModelRows
from alliance_meta.models.specification import InestimableError

Array = NDArray[np.float64]

HENMI_COPAS_COLUMNS = ["estimate", "se", "ci_low", "ci_high", "tau2", "k", "unit"]
# the searched quantile lies well below this for any data
LARGEST_QUANTILE = 1e3


@dataclass(frozen=True)
class HenmiCopas:
    """The common-effect mean with an interval that allows for heterogeneity."""

    estimate: float
    se: float
    ci_low: float
    ci_high: float
    tau2: float


def pool_large_studies(y: Array, v: Array, ci_level: float) -> HenmiCopas:
    """Pool with weights ``1/v``, with an interval under the random-effects model.

    Parameters
    ----------
    y, v
        Independent effects and sampling variances, shape (k,).
    ci_level
        Confidence level.

    Raises
    ------
    InestimableError
        If there are fewer than two effects or the interval has no solution.

    Notes
    -----
    Henmi & Copas (2010): the statistic's distribution given the standardised error r of the
    mean, with Q approximated by a gamma variable of the same mean and variance.
    """
    k = len(y)
    if k < 2:
        raise InestimableError("a single effect has no spread")
    w = 1 / v
    total = float(w.sum())
    w2, w3, w4 = (float((w**power).sum()) / total for power in (2, 3, 4))
    estimate = float(w @ y) / total
    q = float(w @ (y - estimate) ** 2)
    tau2 = max(0.0, (q - (k - 1)) / (total - w2))
    ratio = 1 + tau2 * w2
    se = float(np.sqrt(ratio / total))
    bend = w3 - w2**2

    def expectation(r: float) -> float:
        return (k - 1) + tau2 * (total - w2) + tau2**2 * (r**2 / ratio - 1) / ratio * bend

    def variance(r: float) -> float:
        pull = (r**2 / ratio - 1) / ratio
        return (
            2 * (k - 1)
            + 4 * tau2 * (total - w2)
            + 2 * tau2**2 * (total * w2 - 2 * w3 + w2**2)
            + 4 * tau2**2 * pull * bend
            + 4 * tau2**3 * pull * (w4 - 2 * w2 * w3 + w2**3)
            + 2 * tau2**4 * (1 - 2 * r**2 / ratio) / ratio**2 * bend**2
        )

    def integrand(r: float, bound: float) -> float:
        at = math.sqrt(ratio) * r
        mean, spread = expectation(at), variance(at)
        limit = (total / w2 - 1) * ((r / bound) ** 2 - 1) + (k - 1)
        if limit <= 0:
            return 0.0
        share = float(special.gammainc(mean**2 / spread, limit * mean / spread))
        return share * math.exp(-(r**2) / 2) / math.sqrt(2 * math.pi)

    def excess(bound: float) -> float:
        area, _ = integrate.quad(
            integrand, bound, max(40.0, 2 * bound), args=(bound,), epsabs=1e-13, limit=500
        )
        return float(area) - (1 - ci_level) / 2

    try:
        high = 2.0
        while excess(high) > 0 and high < LARGEST_QUANTILE:
            high *= 2
        bound = float(optimize.brentq(excess, 1e-8, high, xtol=1e-13))
    except ValueError as error:
        raise InestimableError("the interval has no solution") from error
    half = np.sqrt(ratio) * bound * se
    return HenmiCopas(estimate, se, estimate - half, estimate + half, tau2)


def assess_henmi_copas(rows: ModelRows) -> Assessment:
    """Pool with the weights of the common-effect model, robust to the loss of small studies.

    Parameters
    ----------
    rows
        The analysis, of one mean.

    Returns
    -------
    Assessment
        Table ``bias_henmi_copas``, one row; dependent effects enter as one composite per study.
    """
    table = pd.DataFrame(columns=HENMI_COPAS_COLUMNS)
    if rows.has_moderators:
        text = "The interval of Henmi and Copas is of one mean; with moderators it is not defined."
        return Assessment("henmi_copas", {"bias_henmi_copas": table}, (text,))
    units = independent_units(rows)
    try:
        found = pool_large_studies(units.y, units.v, rows.spec.ci_level)
    except InestimableError as error:
        text = f"The interval of Henmi and Copas could not be computed: {reason(error)}."
        return Assessment("henmi_copas", {"bias_henmi_copas": table}, (text,))
    row = (found.estimate, found.se, found.ci_low, found.ci_high, found.tau2)
    table = pd.DataFrame([(*row, len(units.y), units.kind)], columns=HENMI_COPAS_COLUMNS)
    words = effect_words(found.estimate, found.ci_low, found.ci_high, rows.spec)
    of = "" if units.kind == "effect" else " of one composite per study"
    text = (
        f"With common-effect weights, which give small studies little say, and an interval that "
        f"allows for heterogeneity (Henmi and Copas), the mean{of} is {words}."
    )
    return Assessment("henmi_copas", {"bias_henmi_copas": table}, (text,))
