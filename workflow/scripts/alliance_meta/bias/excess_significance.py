"""Test of excess significance: more significant results than their power would give."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, special, stats

from alliance_meta.assessments import Assessment
from alliance_meta.bias.units import Units, effect_units, effect_words, independent_units
from alliance_meta.formatting import format_count, format_number, format_p
from alliance_meta.models.rows import ModelRows

Array = NDArray[np.float64]

EXCESS_COLUMNS = [
    "unit",
    "k",
    "observed",
    "expected",
    "ratio",
    "test",
    "p_value",
    "limit_estimate",
    "p_exact",
    "p_chi2",
    "p_binomial",
    "theta",
    "tau2",
]
POWER_COLUMNS = ["unit", "effect_id", "study_id", "power", "significant"]
# level of the single results, two-sided, and of the test of their number, one-sided
RESULT_LEVEL = 0.05
TEST_LEVEL = 0.10
# beyond this many ways to exceed the count, other software takes the chi-squared test
MAXIMUM_SUBSETS = 10**6
# a search for the limit this many total standard deviations from zero has failed
LARGEST_SHARE = 1e3
# true effects between 5 and 9 standard deviations off, where all but 1e-19 of the rest lie
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(24)
TAIL_NODES = np.concatenate([7 + 2 * _POINTS, -7 - 2 * _POINTS])
TAIL_WEIGHTS = np.tile(2 * _WEIGHTS, 2) * np.exp(-(TAIL_NODES**2) / 2) / math.sqrt(2 * math.pi)


@dataclass(frozen=True)
class ExcessTest:
    """Observed against expected significant results.

    Attributes
    ----------
    power, significant
        Of each result, shape (k,).
    test
        "exact" or "chi2": whose p-value is ``p_value``.
    """

    power: Array
    significant: NDArray[np.bool_]
    observed: int
    expected: float
    test: str
    p_exact: float
    p_chi2: float
    p_binomial: float

    @property
    def p_value(self) -> float:
        """p-value of the test in use."""
        return self.p_exact if self.test == "exact" else self.p_chi2


def compute_power(
    v: Array, theta: Array | float, tau2: Array | float, level: float = RESULT_LEVEL
) -> Array:
    """Return the power of two-sided tests of no effect, shape (k,).

    Parameters
    ----------
    v
        Sampling variances, shape (k,).
    theta, tau2
        Mean and variance of the true effects; scalars or shape (k,).
    level
        Two-sided level.

    Notes
    -----
    The mean power over normally distributed true effects within ``θ ± 5τ``, as metafor has it:
    over all of them ``y/√v`` is normal with mean ``θ/√v`` and variance ``1 + τ²/v``, and those
    beyond, less than one in a million, are taken off by quadrature.
    """
    critical = stats.norm.isf(level / 2)
    scale = np.sqrt(1 + tau2 / v)
    centre = theta / np.sqrt(v)

    def exceed(mean: Array, spread: Array | float) -> Array:
        upper, lower = (critical - mean) / spread, (-critical - mean) / spread
        return np.asarray(special.ndtr(-upper) + special.ndtr(lower), dtype=np.float64)

    power = exceed(centre, scale)
    beyond = np.zeros_like(power)
    for node, weight in zip(TAIL_NODES, TAIL_WEIGHTS, strict=True):
        beyond += weight * exceed(centre + node * np.sqrt(tau2 / v), 1.0)
    return np.where(np.broadcast_to(tau2, power.shape) > 0, power - beyond, power)


def compare_counts(
    y: Array, v: Array, theta: Array | float, tau2: Array | float, level: float = RESULT_LEVEL
) -> ExcessTest:
    """Test whether more results are significant than their power would give.

    Parameters
    ----------
    y, v
        Independent effects and sampling variances, shape (k,).
    theta, tau2
        Mean and variance of the true effects; scalars or shape (k,).
    level
        Two-sided level of the single results.

    Notes
    -----
    Ioannidis & Trikalinos (2007). The exact test is of a sum of Bernoulli variables with
    different chances; it is taken where at most a million sets of results would reach the
    observed number, else the chi-squared test.
    """
    power = compute_power(v, theta, tau2, level)
    significant = np.abs(y / np.sqrt(v)) >= stats.norm.isf(level / 2)
    k, observed, expected = len(y), int(significant.sum()), float(power.sum())
    subsets = sum(math.comb(k, j) for j in range(observed, k + 1))
    share = expected / k
    return ExcessTest(
        power,
        significant,
        observed,
        expected,
        "exact" if subsets <= MAXIMUM_SUBSETS else "chi2",
        _exact_tail(power, observed),
        _chi_squared_tail(observed, k, share),
        float(stats.binom.sf(observed - 1, k, min(share, 1.0))),
    )


def _exact_tail(power: Array, observed: int) -> float:
    """Return the chance of at least so many significant results (Poisson binomial)."""
    chances = np.ones(1)
    for p in power:
        chances = np.convolve(chances, [1 - p, p])
    return min(float(chances[observed:].sum()), 1.0)


def _chi_squared_tail(observed: int, k: int, share: float) -> float:
    variance = k * share * (1 - share)
    if variance <= 0:
        return 1.0
    return float(stats.norm.sf((observed - k * share) / math.sqrt(variance)))


def find_limit(
    y: Array, v: Array, theta: float, tau2: Array | float, level: float = TEST_LEVEL
) -> float:
    """Return the mean effect at which the excess is just significant; NaN if there is none.

    Parameters
    ----------
    y, v, tau2
        As for ``compare_counts``.
    theta
        The review's estimate: the limit has its sign.
    level
        One-sided level of the test.

    Notes
    -----
    Ioannidis & Trikalinos (2007): true means nearer to zero than the limit do not explain the
    number of significant results.
    """

    def gap(value: float) -> float:
        return compare_counts(y, v, value, tau2).p_value - level

    if gap(0.0) >= 0:
        return np.nan
    step = math.copysign(float(np.sqrt(v).min()), theta)
    end, largest = step, LARGEST_SHARE * float(np.sqrt(v + tau2).max())
    while gap(end) < 0:
        end *= 2
        if abs(end) > largest:
            return np.nan
    return float(optimize.brentq(gap, end / 2 if end != step else 0.0, end, xtol=1e-14))


def assess_excess_significance(rows: ModelRows) -> Assessment:
    """Compare the number of significant results with what their power would give.

    Parameters
    ----------
    rows
        The analysis; with moderators each result has its own expected effect.

    Returns
    -------
    Assessment
        Tables ``bias_excess_significance`` (a row for the units that the test takes as
        independent, and where those are composites of studies a row for the single effects) and
        ``bias_excess_significance_power``.
    """
    units = independent_units(rows)
    kinds = [units] if units.kind == "effect" else [units, effect_units(rows)]
    table_rows = list[tuple[object, ...]]()
    power_rows = list[tuple[object, ...]]()
    for each in kinds:
        found, limit = _test_units(rows, each)
        k = len(each.y)
        theta = np.nan if rows.has_moderators else float(each.fitted[0])
        ratio = found.observed / found.expected if found.expected > 0 else np.nan
        table_rows.append(
            (
                *(each.kind, k, found.observed, found.expected, ratio),
                *(found.test, found.p_value, limit),
                *(found.p_exact, found.p_chi2, found.p_binomial, theta),
                float(each.tau2[0]) if np.ptp(each.tau2) == 0 else np.nan,
            )
        )
        power_rows += zip(
            [each.kind] * k, each.names, each.studies, found.power, found.significant, strict=True
        )
    tables = {
        "bias_excess_significance": pd.DataFrame(table_rows, columns=EXCESS_COLUMNS),
        "bias_excess_significance_power": pd.DataFrame(power_rows, columns=POWER_COLUMNS),
    }
    sentences = _describe(rows, tables["bias_excess_significance"])
    return Assessment("excess_significance", tables, tuple(sentences))


def _test_units(rows: ModelRows, units: Units) -> tuple[ExcessTest, float]:
    found = compare_counts(units.y, units.v, units.fitted, units.tau2)
    if rows.has_moderators:
        return found, np.nan
    return found, find_limit(units.y, units.v, float(units.fitted[0]), units.tau2)


def _describe(rows: ModelRows, table: pd.DataFrame) -> list[str]:
    row = table.iloc[0]
    single = row["unit"] == "effect"
    what = (
        format_count(int(row["k"]), "effect")
        if single
        else (f"the composites of {format_count(int(row['k']), 'study', 'studies')}")
    )
    test = "exact test" if row["test"] == "exact" else "chi-squared test"
    sentences = [
        f"Of {what}, {_count_words(row['observed'])} significant (two-sided p < .05), where "
        f"{format_number(row['expected'], 1)} would be expected if the model were true "
        f"({test} of excess significance, one-sided p {format_p(row['p_value'])})."
    ]
    if pd.notna(row["limit_estimate"]):
        limit = effect_words(row["limit_estimate"], np.nan, np.nan, rows.spec)
        sentences.append(
            f"A mean effect nearer to zero than {limit} would make the number of significant "
            "results an excess (one-sided p < .10)."
        )
    if not single:
        effects = table.iloc[1]
        sentences.append(
            f"Of the {format_count(int(effects['k']), 'single effect')}, "
            f"{_count_words(effects['observed'])} significant and "
            f"{format_number(effects['expected'], 1)} expected; as several come from the same "
            "study, their test is too sure of itself."
        )
    return sentences


def _count_words(count: int) -> str:
    return {0: "none is", 1: "1 is"}.get(int(count), f"{int(count)} are")
