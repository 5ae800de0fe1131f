"""From one coded row to r, z and their variances: which route, from which cells.

A route reads cells, says what is missing or impossible in a reviewer's words, and hands the
numbers to `alliance_meta.effect_sizes.conversions`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from scipy import special

from alliance_meta.effect_sizes import conversions as core
from alliance_meta.effect_sizes.rows import (
    RATIO_TYPES,
    UNSIGNED_TYPES,
    EffectRow,
    Finding,
    Findings,
    format_number,
)


@dataclass(frozen=True)
class RowConversion:
    """What became of one row; numbers are NaN where there is none.

    ``value`` and ``variance`` are those of a generic effect on its own scale.
    """

    r: float = math.nan
    var_r: float = math.nan
    z: float = math.nan
    var_z: float = math.nan
    value: float = math.nan
    variance: float = math.nan
    n: float = math.nan
    conversion: str = ""
    flags: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class _Route:
    """A conversion that worked: its name, result and the n behind it."""

    name: str
    converted: core.Converted
    n: float | None


def convert_row(row: EffectRow) -> RowConversion:
    """Convert one coded effect.

    Excluded rows are passed over: their numbers stay empty and nothing is found wrong.

    Parameters
    ----------
    row
        The coded cells.

    Returns
    -------
    RowConversion
        Oriented by ``outcome_direction``; with errors, everything but ``n`` and ``findings``
        is empty.
    """
    coded_n = math.nan if row.n is None else row.n
    if row.exclude_reason:
        return RowConversion(n=coded_n)
    log = Findings()
    if row.effect_value is None:
        log.error(
            "effect_value",
            "effect_value is empty.",
            "Enter the statistic as printed, or say in exclude_reason why there is none.",
            "value_missing",
        )
        return RowConversion(n=coded_n, findings=tuple(log.items))
    if row.effect_type not in (*_ROUTES, "generic"):
        log.error(
            "effect_type",
            f"'{row.effect_type}' is not a type of effect."
            if row.effect_type
            else "effect_type is empty.",
            f"Use one of {', '.join((*_ROUTES, 'generic'))}.",
            "unknown_effect_type",
        )
        return RowConversion(n=coded_n, findings=tuple(log.items))
    _check_sign(row, log)
    if row.effect_type == "generic":
        return _finish_generic(row, row.effect_value, log)
    route = _ROUTES[row.effect_type](row, row.effect_value, log)
    if route is None or log.failed:
        return RowConversion(n=coded_n, findings=tuple(log.items))
    numbers = route.converted
    side = -1.0 if row.turned else 1.0
    if row.turned:
        log.flag("sign_turned")
    return RowConversion(
        r=_turn(float(numbers.r), side),
        var_r=float(numbers.var_r),
        z=_turn(float(numbers.z), side),
        var_z=float(numbers.var_z),
        n=math.nan if route.n is None else float(route.n),
        conversion=route.name,
        flags=tuple(log.flags),
        findings=tuple(log.items),
    )


def _turn(number: float, side: float) -> float:
    # + 0.0 keeps a turned zero from printing as -0.0
    return side * number + 0.0


def _finish_generic(row: EffectRow, value: float, log: Findings) -> RowConversion:
    variance = coded_variance(row)
    if variance is None:
        log.error(
            "variance",
            "An effect of type generic needs its own standard error or variance.",
            "Enter se, variance, or both confidence limits.",
            "variance_missing",
        )
    if variance is None or log.failed:
        return RowConversion(n=math.nan if row.n is None else row.n, findings=tuple(log.items))
    n = _find_n(row, log, df_counts=False)
    if row.turned:
        log.flag("sign_turned")
    return RowConversion(
        value=_turn(value, -1.0 if row.turned else 1.0),
        variance=variance,
        n=math.nan if n is None else n,
        conversion="generic",
        flags=tuple(log.flags),
        findings=tuple(log.items),
    )


# ---------------------------------------------------------------- what a row's cells say


def interval_se(row: EffectRow) -> float | None:
    """Return the standard error behind a 95 % interval that is symmetric on its scale.

    Odds ratios: the interval of the odds ratio itself, so the standard error of ln OR.
    """
    if row.ci_low is None or row.ci_high is None or row.ci_high <= row.ci_low:
        return None
    if row.effect_type in RATIO_TYPES:
        if row.ci_low <= 0:
            return None
        return math.log(row.ci_high / row.ci_low) / (2 * core.NORMAL_975)
    return (row.ci_high - row.ci_low) / (2 * core.NORMAL_975)


def interval_se_of_z(row: EffectRow) -> float | None:
    """Return the standard error of z behind a 95 % interval of a correlation."""
    if row.ci_low is None or row.ci_high is None:
        return None
    if not -1 < row.ci_low < row.ci_high < 1:
        return None
    return (math.atanh(row.ci_high) - math.atanh(row.ci_low)) / (2 * core.NORMAL_975)


def coded_variance(row: EffectRow) -> float | None:
    """Return the sampling variance a row reports: variance, else se², else from its interval."""
    if row.variance is not None:
        return row.variance if row.variance > 0 else None
    if row.se is not None:
        return row.se**2 if row.se > 0 else None
    se = interval_se(row)
    return None if se is None else se**2


def covariates(row: EffectRow) -> float:
    """Return n_covariates, 0 if empty."""
    return row.n_covariates or 0.0


def _assume_covariates(row: EffectRow, log: Findings) -> float:
    if row.n_covariates is None:
        log.flag("covariates_unknown")
    return covariates(row)


def _two_sided_p(row: EffectRow, p: float, log: Findings) -> float:
    if not row.p_sides:
        log.flag("p_sides_assumed")
    return float(core.two_sided_p(p, 1 if row.p_sides == "one" else 2))


def _find_n(row: EffectRow, log: Findings, df_counts: bool = True) -> float | None:
    """Return n; if empty, from the groups or (unless they mean something else) the df."""
    if row.n is not None:
        return row.n
    if row.n1 is not None and row.n2 is not None:
        log.flag("n_derived")
        return row.n1 + row.n2
    if df_counts and row.df is not None:
        log.flag("n_derived")
        return float(round(row.df + 2 + covariates(row)))
    return None


def _find_n_of_r(row: EffectRow, r: float, log: Findings) -> float | None:
    """Return n of a correlation; failing all else from its reported precision or p-value."""
    n = _find_n(row, log)
    if n is not None:
        return n
    m = covariates(row)
    if row.variance is not None or row.se is not None:
        variance = coded_variance(row)
        n = None if variance is None else float(core.n_from_variance(r, variance))
        # with covariates var r = (1 − r²)²/(n − m − 2)
        if n is not None and m > 0:
            n += m + 1
    else:
        se = interval_se_of_z(row)
        if se is not None:
            n = 1 / se**2 + 3 + m
    if n is None and row.p_value is not None and row.effect_type in ("r", "partial_r"):
        n = core.n_from_p(r, _two_sided_p(row, row.p_value, log), m)
    if n is None:
        return None
    log.flag("n_derived")
    return float(round(n))


def _check_n(row: EffectRow, n: float | None, log: Findings, m: float = 0.0) -> bool:
    """Say so if n is missing or too small for a variance of z with m covariates."""
    if n is None:
        log.error(
            "n",
            "n is empty and cannot be worked out from the other cells.",
            "Enter the number of persons behind this effect (or n1 and n2, or df); if the study "
            "does not report it, fill exclude_reason.",
            "n_missing",
        )
        return False
    if n > m + 3:
        return True
    count = format_number(n)
    derived = "" if row.n is not None else ", worked out from the other cells,"
    if m > 0:
        text = (
            f"n{derived} is {count} with {format_number(m)} covariates, but the sampling variance "
            f"of a correlation needs n above {format_number(m + 3)}."
        )
    else:
        text = f"n{derived} is {count}, but the sampling variance of a correlation needs n above 3."
    log.error(
        "n", text, "Check n and n_covariates; a smaller study cannot be pooled.", "n_too_small"
    )
    return False


def _check_sign(row: EffectRow, log: Findings) -> None:
    """Say so if effect_sign contradicts a statistic that has its own sign."""
    value = row.effect_value
    if row.effect_type in UNSIGNED_TYPES or not row.effect_sign or value is None:
        return
    if row.effect_type in RATIO_TYPES:
        own = value - 1
        what = f"an odds ratio of {format_number(value)} is {'below' if own < 0 else 'above'} 1"
    else:
        own = value
        what = f"effect_value is {format_number(value)}"
    if own != 0 and (own > 0) != (row.effect_sign == "positive"):
        log.error(
            "effect_sign",
            f"effect_sign is {row.effect_sign}, but {what}.",
            "Leave effect_sign empty for statistics with a sign of their own, and enter the value "
            "with its printed sign.",
            "sign_contradiction",
        )


def _need_sign(row: EffectRow, is_zero: bool, log: Findings) -> float:
    """Return the direction of an unsigned statistic as ±1."""
    if row.effect_sign == "negative":
        return -1.0
    if not row.effect_sign and not is_zero:
        log.error(
            "effect_sign",
            f"The direction is unknown: a statistic of type {row.effect_type} has no sign of its "
            "own and effect_sign is empty.",
            "Enter positive or negative, as the study reports it.",
            "sign_missing",
        )
    return 1.0


def _check_correlation(value: float, log: Findings, name: str = "correlation") -> bool:
    if abs(value) < 1:
        return True
    size = abs(value)
    if size == 1:
        hint = "Check the printed value; no real correlation is perfect."
    elif size <= 3:
        hint = (
            "If this is Fisher's z, code effect_type fisher_z; if it is another statistic, code "
            "its type; if the decimal point was lost, enter it."
        )
    elif size <= 100:
        hundredth = format_number(round(value / 100, 12))
        hint = (
            "If this is a percentage or the decimal point was lost, divide by 100 "
            f"({hundredth}); if it is another statistic (t, F), code its type."
        )
    else:
        hint = "Check the printed value and effect_type."
    log.error(
        "effect_value",
        f"{format_number(value)} is not possible for a {name}, which lies between -1 and 1.",
        hint,
        "correlation_out_of_range",
    )
    return False


def _check_not_negative(row: EffectRow, value: float, name: str, log: Findings) -> bool:
    if value >= 0:
        return True
    log.error(
        "effect_value",
        f"{format_number(value)} is not possible for {name}, which is never negative.",
        "Enter the value without sign and the direction in effect_sign, or check effect_type.",
        "negative_value",
    )
    return False


# ---------------------------------------------------------------- correlations


def _convert_r(row: EffectRow, value: float, log: Findings) -> _Route | None:
    return _zero_order(row, value, log, "r")


def _zero_order(row: EffectRow, r: float, log: Findings, name: str) -> _Route | None:
    if not _check_correlation(r, log):
        return None
    n = _find_n_of_r(row, r, log)
    if not _check_n(row, n, log) or n is None:
        return None
    return _Route(name, core.convert_r(r, n), n)


def _convert_fisher_z(row: EffectRow, value: float, log: Findings) -> _Route | None:
    if abs(math.tanh(value)) >= 1:
        log.error(
            "effect_value",
            f"{format_number(value)} is not possible for Fisher's z: the correlation would be 1.",
            "Check the printed value and effect_type.",
            "fisher_z_out_of_range",
        )
        return None
    n = _find_n(row, log)
    reported = row.variance is not None or row.se is not None
    variance = coded_variance(row) if reported or n is None else None
    if variance is None or n is not None:
        if not _check_n(row, n, log):
            return None
        return _Route("fisher_z", core.convert_fisher_z(value, n, variance), n)
    log.flag("n_derived")
    return _Route(
        "fisher_z", core.convert_fisher_z(value, None, variance), float(round(1 / variance + 3))
    )


def _convert_spearman_rho(row: EffectRow, value: float, log: Findings) -> _Route | None:
    if not _check_correlation(value, log):
        return None
    n = _find_n(row, log)
    if n is None:
        # the reported precision is that of ρ: var z = (1 + ρ²/2)/(n − 3)
        if row.variance is not None or row.se is not None:
            variance = coded_variance(row)
            se = None if variance is None else math.sqrt(variance) / (1 - value**2)
        else:
            se = interval_se_of_z(row)
        if se is not None:
            n = float(round((1 + value**2 / 2) / se**2 + 3))
            log.flag("n_derived")
    if not _check_n(row, n, log) or n is None:
        return None
    return _Route("spearman_rho", core.convert_spearman_rho(value, n), n)


def _convert_partial_r(row: EffectRow, value: float, log: Findings) -> _Route | None:
    m = _assume_covariates(row, log)
    if not _check_correlation(value, log):
        return None
    n = _find_n_of_r(row, value, log)
    if not _check_n(row, n, log, m) or n is None:
        return None
    return _Route("partial_r", core.convert_partial_r(value, n, m), n)


def _convert_semipartial_r(row: EffectRow, value: float, log: Findings) -> _Route | None:
    m = _assume_covariates(row, log)
    if not _check_correlation(value, log):
        return None
    return _semipartial(row, value, m, "semipartial_r", log, coded_variance(row))


def _semipartial(
    row: EffectRow, sp: float, m: float, name: str, log: Findings, variance: float | None
) -> _Route | None:
    n = _find_n(row, log)
    if row.model_r2 is None and variance is not None:
        # the reported precision stands for R²: either gives the other
        log.flag("variance_as_reported")
        if n is not None and not _check_n(row, n, log, m):
            return None
        return _Route(name, core.complete_from_var_r(sp, variance), n)
    if not _check_n(row, n, log, m) or n is None:
        return None
    if row.model_r2 is None:
        model_r2 = _recover_r2(row, sp, n - m - 2, log)
        if model_r2 is None:
            log.flag("model_r2_unknown")
            model_r2 = float(core.bound_semipartial_r2(sp))
    # half a unit of a printed second decimal may be rounding
    elif row.model_r2 >= sp**2 - 0.005:
        model_r2 = max(row.model_r2, sp**2)
    else:
        log.error(
            "model_r2",
            f"model_r2 is {format_number(row.model_r2)}, less than what the alliance explains "
            f"alone ({sp**2:.3f}).",
            "Enter the R² of the whole model, with the alliance and all covariates.",
            "model_r2_too_small",
        )
        return None
    return _Route(name, core.convert_semipartial_r(sp, n, model_r2), n)


def _recover_r2(row: EffectRow, sp: float, df: float, log: Findings) -> float | None:
    if row.p_value is None or sp == 0:
        return None
    p = float(core.two_sided_p(row.p_value, 1 if row.p_sides == "one" else 2))
    if not 0 < p < 1:
        return None
    found = float(core.recover_model_r2(sp, p, df))
    # below sp² the p-value is a bound or belongs to another test
    if not sp**2 <= found < 1:
        return None
    log.flag("model_r2_derived")
    if not row.p_sides:
        log.flag("p_sides_assumed")
    return found


def _convert_beta(row: EffectRow, value: float, log: Findings) -> _Route | None:
    if row.n_covariates == 0:
        # the coefficient of a single standardised predictor is the correlation
        return _zero_order(row, value, log, "beta_single_predictor")
    m = _assume_covariates(row, log)
    log.flag("beta_imputed")
    if abs(value) > core.BETA_RANGE:
        log.flag("beta_outside_range")
        log.note(
            "effect_value",
            f"A beta of {format_number(value)} is outside the range of -.5 to .5 for which the "
            "conversion of Peterson and Brown (2005) was made.",
            "Prefer the zero-order correlation if the study reports it; check that the coefficient "
            "is standardised.",
            "beta_outside_range",
        )
    # imputed on the oriented value, so that the scoring of the outcome makes no difference
    side = -1.0 if row.turned else 1.0
    r = float(core.impute_r_from_beta(side * value))
    if abs(r) >= 1:
        log.error(
            "effect_value",
            f"A beta of {format_number(value)} would become a correlation of {r:.2f}, which is "
            "not possible.",
            "If the coefficient is not standardised, code effect_type generic with its se, or "
            "exclude the row.",
            "correlation_out_of_range",
        )
        return None
    n = _find_n(row, log)
    variance = coded_variance(row)
    if (n is not None or variance is None) and not _check_n(row, n, log, m):
        return None
    if variance is None:
        log.flag("variance_as_r")
    converted = core.convert_beta(side * value, n, m, variance)
    # convert_row turns everything; undo it here
    as_coded = replace(converted, r=side * converted.r, z=side * converted.z)
    return _Route("beta_peterson_brown_2005", as_coded, n)


# ---------------------------------------------------------------- differences and odds ratios


def _find_groups(
    row: EffectRow, log: Findings, reported: bool
) -> tuple[float | None, float | None, float | None]:
    """Return n1, n2, n; equal groups assumed (and flagged) where only n is known."""
    n1, n2 = row.n1, row.n2
    n = _find_n(row, log, df_counts=row.effect_type in ("d", "g"))
    if n is not None and n1 is not None and n2 is None and n > n1:
        n2 = n - n1
        log.flag("n_derived")
    elif n is not None and n2 is not None and n1 is None and n > n2:
        n1 = n - n2
        log.flag("n_derived")
    if n1 is None or n2 is None:
        log.flag("equal_groups_assumed")
        n1 = n2 = None if n is None else n / 2
    if n is None and reported:
        return None, None, None
    if not _check_n(row, n, log):
        return None, None, n
    return n1, n2, n


def _convert_d(row: EffectRow, value: float, log: Findings) -> _Route | None:
    return _mean_difference(row, value, log, 1.0, coded_variance(row), "d_borenstein_2009", None)


def _mean_difference(
    row: EffectRow,
    value: float,
    log: Findings,
    factor: float,
    variance: float | None,
    name: str,
    groups: tuple[float | None, float | None, float | None] | None,
) -> _Route | None:
    """Convert value = factor·d with variance = factor²·var d."""
    n1, n2, n = groups or _find_groups(row, log, variance is not None)
    if log.failed:
        return None
    d = value / factor
    if variance is not None:
        var_d = variance / factor**2
    elif n1 is not None and n2 is not None:
        var_d = float(core.d_variance(d, n1, n2))
    else:
        return None
    return _Route(name, core.convert_d(d, var_d, core.group_factor(n1, n2)), n)


def _convert_g(row: EffectRow, value: float, log: Findings) -> _Route | None:
    variance = coded_variance(row)
    groups = _find_groups(row, log, variance is not None)
    factor = 1.0
    if groups[2] is None:
        log.flag("correction_not_undone")
    elif not log.failed:
        factor = float(core.small_sample_factor(groups[2] - 2))
    return _mean_difference(row, value, log, factor, variance, "g_to_d_borenstein_2009", groups)


def _convert_odds_ratio(row: EffectRow, value: float, log: Findings) -> _Route | None:
    if value <= 0:
        log.error(
            "effect_value",
            f"{format_number(value)} is not possible for an odds ratio, which is above 0.",
            "If this is the logarithm of an odds ratio, code effect_type log_odds_ratio.",
            "odds_ratio_not_positive",
        )
        return None
    return _log_odds(row, math.log(value), log)


def _convert_log_odds_ratio(row: EffectRow, value: float, log: Findings) -> _Route | None:
    return _log_odds(row, value, log)


def _log_odds(row: EffectRow, log_or: float, log: Findings) -> _Route | None:
    variance = coded_variance(row)
    if variance is None and row.p_value is not None and log_or != 0:
        p = _two_sided_p(row, row.p_value, log)
        if 0 < p < 1:
            variance = (log_or / _normal_of_p(p)) ** 2
            log.flag("variance_from_p")
    if variance is None:
        log.error(
            "se",
            "The sampling variance of the odds ratio cannot be worked out.",
            "Enter se or variance (of the log odds ratio), both confidence limits, or the exact "
            "p_value.",
            "variance_missing",
        )
        return None
    n1, n2, n = _find_groups(row, log, True)
    if log.failed:
        return None
    converted = core.convert_log_odds_ratio(log_or, variance, core.group_factor(n1, n2))
    return _Route(f"{row.effect_type}_hasselblad_hedges_1995", converted, n)


def _normal_of_p(p_two_sided: float) -> float:
    return float(-special.ndtri(p_two_sided / 2))


# ---------------------------------------------------------------- test statistics


def _find_df(row: EffectRow, log: Findings) -> tuple[float | None, float | None]:
    """Return residual df and n of a test; df from n (flagged) if empty."""
    m = covariates(row)
    n = _find_n(row, log)
    if row.df is not None:
        if row.df <= 1:
            log.error(
                "df",
                f"df is {format_number(row.df)}, but at least 2 residual degrees of freedom are "
                "needed.",
                "Enter the second (denominator) degrees of freedom: for F(1, 82) that is 82.",
                "df_too_small",
            )
            return None, n
        if row.n is not None and row.df > row.n:
            log.error(
                "df",
                f"df is {format_number(row.df)}, but n is only {format_number(row.n)} persons.",
                "Check n and df. If the test counted sessions or items and not persons, leave df "
                "empty, so that n is used.",
                "df_above_n",
            )
            return None, n
        return row.df, n
    if not _check_n(row, n, log, m) or n is None:
        return None, n
    log.flag("df_from_n")
    return n - 2 - m, n


def _test_route(
    row: EffectRow, t: float, log: Findings, df: float | None, n: float | None, name: str
) -> _Route | None:
    if df is None or log.failed:
        return None
    m = covariates(row)
    converted_r = abs(float(core.r_from_t(t, df)))
    if converted_r >= 1:
        log.error(
            "effect_value",
            f"{format_number(row.effect_value or 0.0)} would become a correlation of 1.",
            "Check the printed value and effect_type.",
            "correlation_out_of_range",
        )
        return None
    return _Route(name, core.convert_t(t, df, m), n)


def _test_name(row: EffectRow, name: str) -> str:
    return f"{name}_to_partial_r" if covariates(row) > 0 else f"{name}_to_r"


def _convert_t(row: EffectRow, value: float, log: Findings) -> _Route | None:
    df, n = _find_df(row, log)
    return _test_route(row, value, log, df, n, _test_name(row, "t"))


def _convert_f(row: EffectRow, value: float, log: Findings) -> _Route | None:
    possible = _check_not_negative(row, value, "an F statistic", log)
    sign = _need_sign(row, value == 0, log)
    df, n = _find_df(row, log)
    if not possible:
        return None
    return _test_route(row, sign * math.sqrt(value), log, df, n, _test_name(row, "f"))


def _convert_chi2(row: EffectRow, value: float, log: Findings) -> _Route | None:
    possible = _check_not_negative(row, value, "a chi-squared statistic", log)
    sign = _need_sign(row, value == 0, log)
    # df of a chi-squared is 1 and says nothing about n
    n = _find_n(row, log, df_counts=False)
    if not _check_n(row, n, log) or n is None or not possible:
        return None
    if value >= n:
        log.error(
            "effect_value",
            f"A chi-squared of {format_number(value)} is not possible with n = "
            f"{format_number(n)}: the correlation would reach 1.",
            "Check n, and that the statistic has one degree of freedom.",
            "correlation_out_of_range",
        )
        return None
    return _Route("chi2_to_phi", core.convert_chi2(value, sign, n), n)


def _convert_p(row: EffectRow, value: float, log: Findings) -> _Route | None:
    sign = _need_sign(row, value == 1 and row.p_sides != "one", log)
    df, n = _find_df(row, log)
    if not 0 < value <= 1 or (value == 1 and row.p_sides == "one"):
        log.error(
            "effect_value",
            f"{format_number(value)} cannot be used as a p-value: it must lie above 0 and not "
            "above 1.",
            "Enter the exact p-value; if only a bound such as p < .001 is printed, enter the "
            "bound.",
            "p_out_of_range",
        )
        return None
    p = _two_sided_p(row, value, log)
    if df is None or log.failed:
        return None
    t = sign * float(core.t_from_p(p, df))
    return _test_route(row, t, log, df, n, "r_equivalent_rosenthal_rubin_2003")


# ---------------------------------------------------------------- explained variance


def _explained(
    row: EffectRow, value: float, log: Findings, name: str
) -> tuple[float, float] | None:
    """Return the correlation behind a share of explained variance, and m."""
    possible = _check_not_negative(row, value, name, log)
    if value >= 1:
        hint = "If this is a percentage, divide by 100." if value > 1 else "Check the value."
        log.error(
            "effect_value",
            f"{format_number(value)} is not possible for {name}, which is below 1.",
            hint,
            "correlation_out_of_range",
        )
        possible = False
    sign = _need_sign(row, value == 0, log)
    m = _assume_covariates(row, log)
    return (sign * math.sqrt(value), m) if possible else None


def _convert_eta2(row: EffectRow, value: float, log: Findings) -> _Route | None:
    explained = _explained(row, value, log, "eta squared")
    n = _find_n(row, log)
    m = covariates(row)
    if not _check_n(row, n, log, m) or n is None or explained is None:
        return None
    name = "partial_eta2_to_partial_r" if m > 0 else "eta2_to_r"
    return _Route(name, core.convert_partial_r(explained[0], n, m), n)


def _convert_r2(row: EffectRow, value: float, log: Findings) -> _Route | None:
    explained = _explained(row, value, log, "a share of explained variance")
    if explained is None:
        return None
    r, m = explained
    if m > 0:
        # se, variance and interval are those of r², not of its root
        return _semipartial(row, r, m, "r2_to_semipartial_r", log, None)
    n = _find_n(row, log)
    if not _check_n(row, n, log) or n is None:
        return None
    return _Route("r2_to_r", core.convert_r(r, n), n)


_ROUTES: dict[str, Callable[[EffectRow, float, Findings], _Route | None]] = {
    "r": _convert_r,
    "fisher_z": _convert_fisher_z,
    "spearman_rho": _convert_spearman_rho,
    "partial_r": _convert_partial_r,
    "semipartial_r": _convert_semipartial_r,
    "beta": _convert_beta,
    "d": _convert_d,
    "g": _convert_g,
    "odds_ratio": _convert_odds_ratio,
    "log_odds_ratio": _convert_log_odds_ratio,
    "t": _convert_t,
    "F": _convert_f,
    "chi2": _convert_chi2,
    "p": _convert_p,
    "eta2": _convert_eta2,
    "r2": _convert_r2,
}
