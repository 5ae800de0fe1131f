"""What a coded effect says about itself twice must agree: checks of numbers against numbers.

Each check looks at one row and yields findings; `check_effects` runs all of them. An error is
raised only where rounding and adjusted analyses cannot explain a contradiction.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

import pandas as pd
from scipy import special

from alliance_meta.codebook import Codebook, load_codebook
from alliance_meta.effect_sizes import conversions as core
from alliance_meta.effect_sizes.routes import (
    RowConversion,
    convert_row,
    covariates,
    interval_se,
    interval_se_of_z,
)
from alliance_meta.effect_sizes.rows import (
    CORRELATION_TYPES,
    RATIO_TYPES,
    EffectRow,
    Finding,
    format_number,
    locate_finding,
    read_rows,
)
from alliance_meta.effect_sizes.table import find_metric_mismatch, require_metric
from alliance_meta.problems import Problem

# types whose se, variance and interval belong to effect_value itself
_OWN_PRECISION = frozenset(
    {"r", "fisher_z", "spearman_rho", "partial_r", "semipartial_r", "beta", "d", "g"}
    | {"odds_ratio", "log_odds_ratio", "generic"}
)

# se and variance are one number squared: rounding is allowed for apart
SAME_FACTOR = 1.2
# intervals may be 90 or 99 % (factors 0.84, 1.31), or from a t distribution with few df
INTERVAL_FACTOR = 1.5
# standard errors below what n allows have no honest cause; adjusted ones may well be larger
TOO_SMALL_FACTOR = 1.5
LARGE_FACTOR = 1.5
TOO_LARGE_FACTOR = 2.0

# beyond these a value is more often a slip than a finding; small samples may well show them
RARE_CORRELATION = 0.9
RARE_CORRELATION_N = 20
RARE_DIFFERENCE = 3.0
RARE_N = 10_000

# p-values contradict each other this many times, or standard normal deviates, apart
P_FACTOR = 20.0
P_DEVIATES = 1.5

_SIZE_CELLS = frozenset({"n", "n1", "n2", "df", "n_covariates", "model_r2"})
_PRECISION_CELLS = frozenset({"se", "variance", "ci_low", "ci_high", "p_value", "p_sides"})
_STATED = frozenset({"effect_type", "effect_value", "exclude_reason"})

# findings that say no more than that one of these cells could not be read
_CONSEQUENCES = {
    "value_missing": _STATED,
    "unknown_effect_type": _STATED,
    "n_missing": _STATED | _SIZE_CELLS | _PRECISION_CELLS,
    "variance_missing": _STATED | _SIZE_CELLS | _PRECISION_CELLS,
    "sign_missing": _STATED | {"effect_sign"},
    "direction_empty": frozenset({"exclude_reason", "outcome_direction"}),
    "precision_contradicts_n": frozenset({"exclude_reason", "n_covariates"}),
    "df_below_n": frozenset({"exclude_reason", "n_covariates"}),
    "p_value_contradicts": frozenset({"exclude_reason", "n_covariates", "p_sides"}),
}
_COLUMN_CODES = frozenset({"column_missing", "duplicate_column"})

Interval = tuple[float, float]


def _decimals(number: float) -> int:
    text = format_number(number)
    return len(text.partition(".")[2])


def _half_unit(*numbers: float) -> float:
    """Return half a unit of the last printed digit; sheets drop zeros, so two are assumed."""
    return 0.5 * 10.0 ** -max(2, *(_decimals(x) for x in numbers))


def _se_of_se(row: EffectRow) -> Interval | None:
    if row.se is None or row.se <= 0:
        return None
    half = min(_half_unit(row.se), row.se / 2)
    return row.se - half, row.se + half


def _se_of_variance(row: EffectRow) -> Interval | None:
    if row.variance is None or row.variance <= 0:
        return None
    half = min(_half_unit(row.variance), row.variance / 2)
    return math.sqrt(row.variance - half), math.sqrt(row.variance + half)


def _apart(a: Interval, b: Interval, factor: float) -> bool:
    """Whether two ranges of a standard error differ by more than a factor."""
    return a[0] > b[1] * factor or b[0] > a[1] * factor


def _holds(interval: Interval, number: float, slack: float = 1.05) -> bool:
    return interval[0] / slack <= number <= interval[1] * slack


def _squared(interval: Interval) -> Interval:
    return interval[0] ** 2, interval[1] ** 2


def _interval_readings(row: EffectRow) -> Interval | None:
    """Return the range of standard errors of the value that its 95 % interval can mean.

    An interval of a correlation may be Fisher's or symmetric, and the se printed beside it that
    of r or of z.
    """
    symmetric = interval_se(row)
    if symmetric is None or row.ci_low is None or row.ci_high is None:
        return None
    # a symmetric interval cut off at ±1 has lost its width
    if row.effect_type in CORRELATION_TYPES and max(-row.ci_low, row.ci_high) >= 1:
        return None
    if row.effect_type in RATIO_TYPES:
        half = _half_unit(row.ci_low, row.ci_high)
        low = max(row.ci_low - half, row.ci_low / 2)
        wide = math.log((row.ci_high + half) / low)
        tight = max(math.log((row.ci_high - half) / (row.ci_low + half)), 0.0)
        return tight / (2 * core.NORMAL_975), wide / (2 * core.NORMAL_975)
    half = _half_unit(row.ci_low, row.ci_high) / core.NORMAL_975
    readings = [symmetric]
    of_z = interval_se_of_z(row)
    if row.effect_type in CORRELATION_TYPES and of_z is not None:
        readings.append(of_z)
        # and of r itself, where Fisher's interval is lopsided
        readings.append(of_z * (1 - min(abs(row.effect_value or 0.0), 0.999) ** 2))
    return max(min(readings) - half, 0.0), max(readings) + half


def expected_se(row: EffectRow, n: float) -> Interval | None:
    """Return the range of standard errors that n persons can give this statistic.

    Covers r and z readings, (1 − r²)/√(n − m − 1) to √((1 + r²/2)/(n − m − 3)), for
    correlations; one formula for d, g and Fisher's z; None where n does not settle it.
    """
    value = row.effect_value
    df = n - covariates(row) - 2
    if value is None or df <= 1:
        return None
    if row.effect_type == "fisher_z":
        return 1 / math.sqrt(df - 1), 1 / math.sqrt(df - 1)
    if row.effect_type in ("r", "spearman_rho", "partial_r") and abs(value) < 1:
        rank = 1 + value**2 / 2 if row.effect_type == "spearman_rho" else 1.0
        return (1 - value**2) / math.sqrt(df + 1), math.sqrt(rank / (df - 1))
    if row.effect_type in ("d", "g"):
        n1, n2 = (row.n1, row.n2) if row.n1 and row.n2 else (n / 2, n / 2)
        se = math.sqrt(float(core.d_variance(value, n1, n2)))
        return se, se
    return None


def _rough_se(row: EffectRow, n: float) -> Interval | None:
    """Return `expected_se`, or a wide guess for coefficients whose R² is not known."""
    value, df = row.effect_value, n - covariates(row) - 2
    if row.effect_type not in ("beta", "semipartial_r"):
        return expected_se(row, n)
    if value is None or abs(value) >= 1 or df <= 1:
        return None
    return 0.8 * (1 - value**2) / math.sqrt(df), 1.25 / math.sqrt(df)


# ---------------------------------------------------------------- one check each


def check_interval_order(row: EffectRow, n: float) -> Iterator[Finding]:
    """Check that the confidence limits are in order."""
    low, high = row.ci_low, row.ci_high
    if low is not None and high is not None and low > high:
        yield Finding(
            "ci_low",
            f"The lower confidence limit ({format_number(low)}) is above the upper one "
            f"({format_number(high)}).",
            "Swap ci_low and ci_high, or check their signs.",
            "interval_reversed",
        )


def check_interval_range(row: EffectRow, n: float) -> Iterator[Finding]:
    """Check that the statistic can take its confidence limits."""
    for column, limit in (("ci_low", row.ci_low), ("ci_high", row.ci_high)):
        if limit is None:
            continue
        if row.effect_type in CORRELATION_TYPES and abs(limit) > 1:
            yield Finding(
                column,
                f"A confidence limit of {format_number(limit)} is not possible for a correlation.",
                "If value and limits are Fisher's z, code effect_type fisher_z; otherwise check "
                "the limit.",
                "interval_out_of_range",
            )
        if row.effect_type in RATIO_TYPES and limit <= 0:
            yield Finding(
                column,
                f"A confidence limit of {format_number(limit)} is not possible for an odds ratio, "
                "which is above 0.",
                "Enter the limits of the odds ratio itself, not of its logarithm; if the value is "
                "a logarithm too, code effect_type log_odds_ratio.",
                "interval_out_of_range",
            )


def check_value_in_interval(row: EffectRow, n: float) -> Iterator[Finding]:
    """Check that the value lies in its confidence interval."""
    low, high, value = row.ci_low, row.ci_high, row.effect_value
    if low is None or high is None or value is None or low > high:
        return
    if row.effect_type not in _OWN_PRECISION | {"eta2", "r2"}:
        return
    if row.effect_type in CORRELATION_TYPES | RATIO_TYPES and _impossible_interval(row):
        return
    # both the value and the limit may be rounded
    slack = 2 * _half_unit(value, low, high) + 0.005 * abs(value) * (row.effect_type == "generic")
    # a computed interval may differ from the printed value in the last bit
    slack *= 1 + 1e-9
    if low - slack <= value <= high + slack:
        return
    if low <= -value <= high:
        hint = "Check the signs: with the other sign the value would lie inside."
    elif row.effect_type in RATIO_TYPES and low <= 1 / value <= high:
        hint = "The inverse would lie inside: enter value and limits in the same direction."
    else:
        hint = "Check that value and limits are of the same statistic, and their decimal points."
    yield Finding(
        "effect_value",
        f"{format_number(value)} lies outside its confidence interval, {format_number(low)} to "
        f"{format_number(high)}.",
        hint,
        "value_outside_interval",
    )


def _impossible_interval(row: EffectRow) -> bool:
    return any(True for _ in check_interval_range(row, math.nan))


def check_variance_is_variance(row: EffectRow, n: float) -> Iterator[Finding]:
    """Check that the variance cell holds no standard error and agrees with se."""
    if row.variance is None or row.effect_type not in _OWN_PRECISION:
        return
    from_variance = _se_of_variance(row)
    if from_variance is None:
        return
    from_se = _se_of_se(row)
    from_interval = _interval_readings(row)
    from_n = _rough_se(row, n) if math.isfinite(n) else None
    sources = (
        (from_se, SAME_FACTOR, "as the se column"),
        (from_interval, INTERVAL_FACTOR, "as the confidence interval implies"),
        (from_n, 1.5, f"as {format_number(n) if math.isfinite(n) else ''} persons imply"),
    )
    for expected, factor, words in sources:
        if expected is None or not _apart(from_variance, expected, factor):
            continue
        if _holds(expected, row.variance):
            yield Finding(
                "variance",
                f"{format_number(row.variance)} seems to be a standard error, not a variance: it "
                f"is as large {words}.",
                f"Move it to se, or enter its square ({row.variance**2:.4g}).",
                "variance_is_se",
            )
            return
    if from_se is None or row.se is None or not _apart(from_variance, from_se, SAME_FACTOR):
        return
    if row.effect_type in CORRELATION_TYPES and row.effect_value is not None:
        # one may be that of r and the other that of z
        shrink = 1 - min(abs(row.effect_value), 0.999) ** 2
        of_r = (from_se[0] * shrink, from_se[1] * shrink)
        of_z = (from_se[0] / shrink, from_se[1] / shrink)
        if not all(_apart(from_variance, other, SAME_FACTOR) for other in (of_r, of_z)):
            return
    yield Finding(
        "variance",
        f"variance is {format_number(row.variance)} but se is {format_number(row.se)}, whose "
        f"square is {row.se**2:.4g}.",
        "Enter only the one that is printed, or correct the other.",
        "se_variance_mismatch",
    )


def check_precision_against_interval(row: EffectRow, n: float) -> Iterator[Finding]:
    """Check that se (or variance) and the width of the confidence interval agree."""
    if row.effect_type not in _OWN_PRECISION:
        return
    expected = _interval_readings(row)
    if expected is None or _impossible_interval(row):
        return
    for column, found in (("se", _se_of_se(row)), ("variance", _se_of_variance(row))):
        if found is None or not _apart(found, expected, INTERVAL_FACTOR):
            continue
        cell = row.se if column == "se" else row.variance
        if column == "variance" and cell is not None and _holds(expected, cell):
            return
        scale = " of the log odds ratio" if row.effect_type in RATIO_TYPES else ""
        hint = "Check ci_low, ci_high and " + column + "."
        if row.effect_type in RATIO_TYPES:
            hint = "Enter the standard error of the log odds ratio, or only the confidence limits."
        elif column == "se" and cell is not None and _holds(_squared(expected), cell, 1.2):
            hint = "It fits the variance: move it to the variance column."
        middle = (expected[0] + expected[1]) / 2
        implied = middle if column == "se" else middle**2
        yield Finding(
            column,
            f"{column} is {format_number(cell or 0.0)}, but the confidence interval implies a "
            f"{'standard error' if column == 'se' else 'variance'}{scale} of about "
            f"{implied:.3g}.",
            hint,
            "interval_mismatch",
        )
        return


def _implied_n(row: EffectRow, column: str, se: float) -> float:
    """Return the n at which this statistic has this standard error (or this interval)."""
    value = row.effect_value or 0.0
    m = covariates(row)
    of_z = interval_se_of_z(row)
    if column == "ci_low" and of_z is not None and row.effect_type in CORRELATION_TYPES:
        return 1 / of_z**2 + 3 + m
    if row.effect_type == "fisher_z":
        return 1 / se**2 + 3 + m
    if row.effect_type in ("d", "g"):
        return (float(core.group_factor(row.n1, row.n2)) + value**2 / 2) / se**2
    return float(core.n_from_variance(value, se**2)) + m


def check_precision_against_n(row: EffectRow, n: float) -> Iterator[Finding]:
    """Check that se, variance or interval agree with n."""
    expected = expected_se(row, n) if math.isfinite(n) else None
    if expected is None or _impossible_interval(row):
        return
    interval = _interval_readings(row) if row.has_interval else None
    candidates = (
        ("variance", _se_of_variance(row), "The variance"),
        ("se", _se_of_se(row), "The standard error"),
        ("ci_low", interval, "The confidence interval"),
    )
    for column, found, words in candidates:
        if found is None:
            continue
        if column == "variance" and row.variance is not None and _holds(expected, row.variance):
            # reported as a standard error in the wrong column, if it contradicts
            continue
        too_small = found[1] * TOO_SMALL_FACTOR < expected[0]
        too_large = found[0] > expected[1] * TOO_LARGE_FACTOR
        large = found[0] > expected[1] * LARGE_FACTOR
        if not (too_small or large):
            continue
        implied = _implied_n(row, column, (found[0] + found[1]) / 2)
        if column == "se" and row.se is not None and _holds(_squared(expected), row.se, 1.2):
            hint = "It fits the variance: move it to the variance column."
        elif too_small:
            hint = "Check n (persons, not sessions) and this cell."
        else:
            hint = (
                "Check n and this cell. If the analysis was adjusted (clusters, covariates), say "
                "so in notes."
            )
        count = f"about {implied:,.0f}" if implied >= 4 else "fewer than 4"
        yield Finding(
            column,
            f"{words} fits {count} persons, but n is {format_number(n)}.",
            hint,
            "precision_contradicts_n",
            "error" if too_small or too_large else "note",
        )
        return


def check_scale_of_r(row: EffectRow, n: float) -> Iterator[Finding]:
    """Check that a value coded as r is not Fisher's z, nor its interval."""
    value = row.effect_value
    if row.effect_type != "r" or value is None or abs(value) >= 1:
        return
    of_z, low, high = interval_se_of_z(row), row.ci_low, row.ci_high
    if of_z is not None and low is not None and high is not None:
        slack = 2.2 * _half_unit(value, low, high)
        symmetric_middle = (low + high) / 2
        fisher_middle = math.tanh((math.atanh(low) + math.atanh(high)) / 2)
        if abs(fisher_middle - value) > 2 * slack:
            if abs(symmetric_middle - math.atanh(value)) <= slack < abs(symmetric_middle - value):
                yield Finding(
                    "ci_low",
                    f"The confidence interval ({format_number(low)} to {format_number(high)}) is "
                    f"that of Fisher's z ({math.atanh(value):.3f}), not of r.",
                    "Enter the limits of r, or leave them empty.",
                    "interval_of_z",
                )
                return
            width, as_z, as_r = _widths(row, value, n)
            if (
                abs(symmetric_middle - value) <= slack
                and width is not None
                and _fits_only(width, as_z, as_r)
            ):
                yield Finding(
                    "effect_value",
                    "Value and confidence interval fit Fisher's z and not a correlation.",
                    "If the study prints Fisher's z, code effect_type fisher_z.",
                    "r_seems_fisher_z",
                )
                return
    for column, found in (("variance", _se_of_variance(row)), ("se", _se_of_se(row))):
        if found is None or not math.isfinite(n) or n <= 3:
            continue
        _, as_z, as_r = _widths(row, value, n)
        if _holds(found, as_z) and not _holds(found, as_r, 1.25):
            yield Finding(
                column,
                f"The {'standard error' if column == 'se' else column} is that of Fisher's z and "
                "not that of a correlation.",
                "If effect_value is Fisher's z, code effect_type fisher_z; if it is r, this is "
                "harmless: n is used.",
                "precision_of_z",
                "note",
            )
            return


def _widths(row: EffectRow, value: float, n: float) -> tuple[Interval | None, float, float]:
    """Return the se range of a symmetric interval and the se of z and of r at n."""
    symmetric = interval_se(row)
    width = None
    if symmetric is not None and row.ci_low is not None and row.ci_high is not None:
        half = _half_unit(row.ci_low, row.ci_high) / core.NORMAL_975
        width = (symmetric - half, symmetric + half)
    if not math.isfinite(n) or n <= 3:
        return None, math.nan, math.nan
    return width, 1 / math.sqrt(n - 3), (1 - value**2) / math.sqrt(n - 1)


def _fits_only(found: Interval, this: float, other: float) -> bool:
    return _holds(found, this) and not _holds(found, other, 1.25)


def check_scale_of_z(row: EffectRow, n: float) -> Iterator[Finding]:
    """Check that a value coded as Fisher's z is not r, nor its interval."""
    value = row.effect_value
    if row.effect_type != "fisher_z" or value is None:
        return
    if abs(value) > 3:
        yield Finding(
            "effect_value",
            f"{format_number(value)} is hardly possible for Fisher's z: the correlation would be "
            f"{math.tanh(value):.4f}.",
            "If this is the z of a significance test, code its p-value (effect_type p); if the "
            "decimal point was lost, enter it.",
            "fisher_z_too_large",
        )
        return
    low, high = row.ci_low, row.ci_high
    if low is None or high is None or not -1 < low < high < 1:
        return
    slack = 2.2 * _half_unit(value, low, high)
    if abs((low + high) / 2 - value) <= 2 * slack:
        return
    middle = (math.atanh(low) + math.atanh(high)) / 2
    if abs(middle - value) <= slack:
        yield Finding(
            "ci_low",
            f"The confidence interval ({format_number(low)} to {format_number(high)}) is that of "
            f"the correlation ({math.tanh(value):.3f}), not of Fisher's z.",
            "Enter the limits of Fisher's z, or leave them empty.",
            "interval_of_r",
        )
    elif abs(math.tanh(middle) - value) <= slack:
        yield Finding(
            "effect_value",
            "Value and confidence interval fit a correlation and not Fisher's z.",
            "If the study prints r, code effect_type r.",
            "fisher_z_seems_r",
        )


_PRINTED = re.compile(
    r"(?<![\w'’])(?P<name>r|z|zr|β|beta)\s*(?:\(\s*\d+\s*\))?\s*=\s*"
    r"(?P<number>[-−–]?\s*\d*[.,]?\d+)",
    re.IGNORECASE,
)

_PRINTED_TYPES = {
    "r": ("r", "a correlation"),
    "z": ("fisher_z", "Fisher's z"),
    "zr": ("fisher_z", "Fisher's z"),
    "β": ("beta", "a standardised coefficient"),
    "beta": ("beta", "a standardised coefficient"),
}


def check_quote(row: EffectRow, n: float) -> Iterator[Finding]:
    """Check that the statistic as printed is the one that is coded."""
    value = row.effect_value
    if value is None or row.effect_type not in ("r", "fisher_z", "beta"):
        return
    for found in _PRINTED.finditer(row.quote):
        name = found["name"].lower()
        coded_as, words = _PRINTED_TYPES[name]
        digits = re.sub(r"\s", "", found["number"]).replace("−", "-").replace("–", "-")
        printed = abs(float(digits.replace(",", ".")))
        if abs(printed - abs(value)) > 1e-9:
            continue
        if coded_as != row.effect_type:
            yield Finding(
                "effect_type",
                f'The quote prints this number as {words} ("{found[0].strip()}"), but effect_type '
                f"is {row.effect_type}.",
                f"If the quote is right, code effect_type {coded_as}.",
                "quote_contradicts_type",
                "note",
            )
        return


def _p_of_r(r: float, df: float) -> float:
    return float(core.p_from_t(r * math.sqrt(df / (1 - r**2)), df))


def _deviate(p: float) -> float:
    """Return the standard normal deviate of a two-sided p-value."""
    return float(-special.ndtri(p / 2))


def check_p_value(row: EffectRow, n: float) -> Iterator[Finding]:
    """Check that the p-value fits r and n; bounds such as p < .05 are let pass."""
    value, df = row.effect_value, n - covariates(row) - 2
    if row.p_value is None or value is None or row.n is None or not df > 0:
        return
    if row.effect_type == "fisher_z":
        value = math.tanh(value)
    elif row.effect_type not in ("r", "spearman_rho", "partial_r"):
        return
    if abs(value) >= 1:
        return
    p = float(core.two_sided_p(row.p_value, 1 if row.p_sides == "one" else 2))
    expected = _p_of_r(value, df)
    half = _half_unit(row.effect_value or 0.0)
    # a ratio alone would let p = .9 beside .046 pass
    weakest = _p_of_r(max(abs(value) - half, 0.0), df)
    strongest = _p_of_r(min(abs(value) + half, 0.9999), df)
    too_large = p > 0.06 and (
        expected < p / P_FACTOR or _deviate(weakest) - _deviate(p) > P_DEVIATES
    )
    too_small = expected > 0.1 and (
        p < expected / P_FACTOR or _deviate(p) - _deviate(strongest) > P_DEVIATES
    )
    if too_large or too_small:
        shown = f"{expected:.2g}" if expected >= 0.001 else "below .001"
        yield Finding(
            "p_value",
            f"With {format_number(row.effect_value or 0.0)} and n = {format_number(n)} the p-value "
            f"would be {shown}, not {format_number(row.p_value)}.",
            "Check the value, n and the p-value; an adjusted analysis may explain it.",
            "p_value_contradicts",
            "note",
        )


def check_group_sizes(row: EffectRow, n: float) -> Iterator[Finding]:
    """Check that the groups add up to n."""
    if row.n is None or row.n1 is None or row.n2 is None or row.n1 + row.n2 == row.n:
        return
    yield Finding(
        "n",
        f"n is {format_number(row.n)}, but n1 and n2 add up to {format_number(row.n1 + row.n2)}.",
        "Check which persons are behind this effect.",
        "group_sizes_differ",
        "note",
    )


def check_test_df(row: EffectRow, n: float) -> Iterator[Finding]:
    """Check that the residual df of a test fit n."""
    if row.effect_type not in ("t", "F") or row.df is None or row.n is None:
        return
    expected = row.n - 2 - covariates(row)
    if 1 < row.df < expected / 2:
        yield Finding(
            "df",
            f"df is {format_number(row.df)}, far below what {format_number(row.n)} persons give "
            f"({format_number(expected)}).",
            "Check n and df; enter the second (denominator) degrees of freedom.",
            "df_below_n",
            "note",
        )


def check_covariates_of_r(row: EffectRow, n: float) -> Iterator[Finding]:
    """Check that a zero-order correlation has no covariates."""
    if row.effect_type in ("r", "spearman_rho", "fisher_z") and covariates(row) > 0:
        yield Finding(
            "n_covariates",
            f"A statistic of type {row.effect_type} is taken as zero-order, but n_covariates is "
            f"{format_number(covariates(row))}.",
            "If other variables were held constant, code effect_type partial_r or semipartial_r; "
            "otherwise enter 0.",
            "covariates_with_zero_order",
            "note",
        )


def check_rare_size(row: EffectRow, n: float) -> Iterator[Finding]:
    """Check that the statistic is not larger than studies of the alliance find."""
    value = row.effect_value
    if value is None:
        return
    if row.effect_type in ("d", "g"):
        if abs(value) > RARE_DIFFERENCE:
            yield Finding(
                "effect_value",
                f"A standardised difference of {format_number(value)} is rare.",
                "Check the printed value, its decimal point and that it is standardised.",
                "difference_rare",
                "note",
            )
        return
    r = math.tanh(value) if row.effect_type == "fisher_z" else value
    if row.effect_type not in CORRELATION_TYPES | {"fisher_z"} or not n >= RARE_CORRELATION_N:
        return
    if RARE_CORRELATION < abs(r) < 1:
        shown = format_number(value) if r == value else f"{r:.2f}"
        yield Finding(
            "effect_value",
            f"A correlation this high ({shown}) is rare between the alliance and an outcome.",
            "Check the printed value, its decimal point and that it is no reliability.",
            "correlation_rare",
            "note",
        )


def check_rare_n(row: EffectRow, n: float) -> Iterator[Finding]:
    """Check that n is not larger than studies of psychotherapy are."""
    if row.n is not None and row.n > RARE_N:
        yield Finding(
            "n",
            f"An n of {format_number(row.n)} is rare.",
            "Check that it counts persons, not sessions or items, and that no digit is doubled.",
            "n_rare",
            "note",
        )


_Check = Callable[[EffectRow, float], Iterator[Finding]]

# these hold whatever the value is
_CHECKS_OF_CELLS: tuple[_Check, ...] = (
    check_interval_order,
    check_group_sizes,
    check_test_df,
    check_rare_n,
)

# these ask for a value that the statistic can take
_CHECKS_OF_VALUE: tuple[_Check, ...] = (
    check_interval_range,
    check_value_in_interval,
    check_variance_is_variance,
    check_precision_against_interval,
    check_precision_against_n,
    check_scale_of_r,
    check_scale_of_z,
    check_quote,
    check_p_value,
    check_covariates_of_r,
    check_rare_size,
)

_DIRECTION_OF = {"worse": "higher_is_worse", "better": "higher_is_better"}


def check_outcome_direction(row: EffectRow, codebook: Codebook) -> Iterator[Finding]:
    """Check the coded direction of an outcome measure that the codebook knows."""
    vocabulary = codebook.vocabulary_of("outcome_measure")
    term = None if vocabulary is None else vocabulary.terms.get(row.outcome_measure)
    if term is None or term.higher is None:
        return
    if not row.outcome_direction:
        if term.higher == "worse":
            yield Finding(
                "outcome_direction",
                f"A higher score on the {term.code} is worse, but outcome_direction is empty, so "
                "the value is taken as already turned.",
                "Enter higher_is_worse if the value is as printed, higher_is_better if positive "
                "already means the better outcome.",
                "direction_empty",
                "note",
            )
    elif row.outcome_direction != _DIRECTION_OF[term.higher]:
        yield Finding(
            "outcome_direction",
            f"A higher score on the {term.code} is {term.higher}, but outcome_direction is "
            f"{row.outcome_direction}.",
            "That is right if the score is a change or was reversed; otherwise enter "
            f"{_DIRECTION_OF[term.higher]}.",
            "direction_contradicts_codebook",
            "note",
        )


def _check_row(row: EffectRow, metric: str, codebook: Codebook) -> list[Finding]:
    if row.exclude_reason:
        return []
    done: RowConversion = convert_row(row)
    n = row.n if row.n is not None else done.n
    # an n that was itself worked out from the precision cannot contradict it
    if row.n is None and row.n1 is None and row.df is None:
        n = math.nan
    findings = [*done.findings, *find_metric_mismatch(row, metric)]
    refused = any(item.column == "effect_value" for item in done.findings if _is_error(item))
    for check in _CHECKS_OF_CELLS if refused else (*_CHECKS_OF_CELLS, *_CHECKS_OF_VALUE):
        findings.extend(check(row, n))
    findings.extend(check_outcome_direction(row, codebook))
    return _drop_consequences(findings)


def _is_error(finding: Finding) -> bool:
    return finding.severity == "error"


def _drop_consequences(findings: list[Finding]) -> list[Finding]:
    """Leave out findings that another one explains, so that each mistake is told once."""
    codes = {item.code for item in findings}
    explained: set[str] = set()
    if codes & {"interval_reversed", "interval_out_of_range"}:
        explained |= {"value_outside_interval", "interval_mismatch"}
    if codes & {"interval_of_z", "interval_of_r", "r_seems_fisher_z", "fisher_z_seems_r"}:
        explained |= {"value_outside_interval", "interval_mismatch", "precision_contradicts_n"}
        explained.add("correlation_rare")
    if "fisher_z_too_large" in codes:
        explained.add("correlation_rare")
    if codes & {"variance_is_se", "se_variance_mismatch", "interval_mismatch"}:
        explained.add("precision_contradicts_n")
    return [item for item in findings if item.code not in explained]


def _check_percentages(effects: pd.DataFrame, codebook: Codebook) -> Iterator[Problem]:
    """Find shares between 0 and 1 in a sheet that elsewhere counts in percent."""
    if "source_row" not in effects.columns:
        return
    empty = pd.Series("", effects.index)
    texts = [
        effects.get(name, empty).fillna("").astype(str)
        for name in ("source_file", "source_sheet", "exclude_reason")
    ]
    places = list(zip(*texts, strict=True))
    for column in codebook.columns.values():
        if column.unit != "percent" or column.name not in effects.columns:
            continue
        values = [float(x) for x in pd.to_numeric(effects[column.name], errors="coerce")]
        in_percent = {place[:2] for place, x in zip(places, values, strict=True) if x > 1}
        cells = zip(places, values, effects["source_row"], strict=True)
        for (file, sheet, excluded), x, row in cells:
            if excluded or not 0 < x <= 1 or (file, sheet) not in in_percent:
                continue
            yield Problem(
                file=file,
                sheet=sheet,
                row=int(row),
                column=column.name,
                value=format_number(x),
                problem=f"{column.name} is {format_number(x)}, but the column counts in percent, "
                "and other rows of this sheet do.",
                suggestion=f"If this is a fraction, write {format_number(round(100 * x, 10))}.",
                code="fraction_not_percent",
                severity="note",
            )


class _Reported:
    """What checking the sheets has reported already, by row and by sheet."""

    def __init__(self, reported: Iterable[Problem]) -> None:
        self._columns: dict[tuple[str, str, int | None], set[str]] = defaultdict(set)
        for item in reported:
            if item.severity != "error":
                continue
            about_sheet = item.code in _COLUMN_CODES
            # a column is reported in the row of the header, or in none
            row = None if about_sheet else item.row
            if row is not None or about_sheet:
                place = (item.file.strip(), item.sheet.strip(), row)
                # a column is named here as the header writes it
                key = re.sub(r"[\s_-]+", "_", item.column.strip().casefold())
                self._columns[place].add(key)

    def explains(self, finding: Problem) -> bool:
        """Whether a finding only follows from something reported."""
        place = finding.file, finding.sheet
        columns = self._columns.get((*place, finding.row), set())
        columns = columns | self._columns.get((*place, None), set())
        causes = _CONSEQUENCES.get(finding.code, frozenset())
        return finding.column in columns or not causes.isdisjoint(columns)


def check_effects(
    effects: pd.DataFrame,
    *,
    metric: str = "fisher_z",
    codebook: Codebook | None = None,
    reported: Sequence[Problem] = (),
) -> list[Problem]:
    """Find everything that keeps effects from being converted or contradicts itself.

    Parameters
    ----------
    effects
        Checked effects table, as for `convert_effects`.
    metric
        Analysis metric: "fisher_z", "r" or "generic".
    codebook
        Codebook with the review's additions; default: the one that ships.
    reported
        What checking the sheets has found. Findings that only follow from it (a cell that could
        not be read is empty here) are left out, so that each mistake is told once.

    Returns
    -------
    list of Problem
        Errors and notes in the order of the rows, each with its place; then notes on whole
        columns. Excluded rows are passed over.

    Raises
    ------
    ValueError
        If the metric is unknown, a needed column is missing or a number column holds words.
    """
    require_metric(metric)
    known = load_codebook() if codebook is None else codebook
    found = [
        locate_finding(row, finding)
        for row in read_rows(effects)
        for finding in _check_row(row, metric, known)
    ]
    found.extend(_check_percentages(effects, known))
    told = _Reported(reported)
    return [problem for problem in found if not told.explains(problem)]
