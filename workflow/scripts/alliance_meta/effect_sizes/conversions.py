"""Reported statistics to r, Fisher's z and their sampling variances: the numeric core.

Every function takes floats or arrays that broadcast together and returns `Converted`. Nothing
here knows of tables or of files. ``n_covariates`` (m) counts the predictors held constant
beside the alliance, so the residual degrees of freedom of a regression are n − m − 2.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special

Values: TypeAlias = float | npt.NDArray[np.float64]

NORMAL_975 = float(special.ndtri(0.975))

BETA_RANGE = 0.5
"""Peterson and Brown (2005) examined standardised coefficients within ±.50."""

LOG_ODDS_TO_D = float(np.sqrt(3.0) / np.pi)


@dataclass(frozen=True)
class Converted:
    """An effect as a correlation and as Fisher's z.

    Attributes
    ----------
    r, var_r
        Correlation and its sampling variance.
    z, var_z
        Fisher's z of ``r`` and its sampling variance.
    """

    r: Values
    var_r: Values
    z: Values
    var_z: Values


def _require(condition: Any, message: str) -> None:
    if not np.all(condition):
        raise ValueError(message)


def _require_r(r: Values) -> None:
    _require(np.abs(r) < 1, "a correlation must lie between -1 and 1, limits excluded")


def _from_var_z(r: Values, var_z: Values) -> Converted:
    """Complete r and var_z; the variance of r by the delta method, dr/dz = 1 − r²."""
    _require(np.asarray(var_z) > 0, "the sampling variance must be above 0")
    return Converted(r, var_z * (1 - r**2) ** 2, np.arctanh(r), var_z)


def complete_from_var_r(r: Values, var_r: Values) -> Converted:
    """Complete a correlation whose variance is reported.

    var z by the delta method, dz/dr = 1/(1 − r²).

    Parameters
    ----------
    r
        Correlation, −1 < r < 1.
    var_r
        Its sampling variance.

    Raises
    ------
    ValueError
        If r or var_r is out of range.
    """
    _require_r(r)
    _require(np.asarray(var_r) > 0, "the sampling variance must be above 0")
    return Converted(r, var_r, np.arctanh(r), var_r / (1 - r**2) ** 2)


def convert_r(r: Values, n: Values) -> Converted:
    """Convert a Pearson correlation.

    z = atanh r, var z = 1/(n − 3), var r = (1 − r²)²/(n − 1).

    Parameters
    ----------
    r
        Correlation, −1 < r < 1.
    n
        Persons, above 3.

    Raises
    ------
    ValueError
        If r or n is out of range.

    References
    ----------
    Fisher, R. A. (1921). On the "probable error" of a coefficient of correlation. Metron, 1,
    3-32 (z and its variance). Borenstein et al. (2009). Introduction to meta-analysis, ch. 6,
    eq. 6.1-6.3 (both variances).
    """
    return convert_partial_r(r, n, 0)


def convert_partial_r(r: Values, n: Values, n_covariates: Values) -> Converted:
    """Convert a partial correlation with m covariates.

    var z = 1/(n − m − 3), var r = (1 − r²)²/(n − m − 2); with m = 0 the latter's denominator
    is n − 1, as customary for a zero-order correlation.

    Parameters
    ----------
    r
        Partial correlation, −1 < r < 1.
    n
        Persons, above m + 3.
    n_covariates
        Predictors held constant, m.

    Raises
    ------
    ValueError
        If r or n is out of range.

    References
    ----------
    Fisher, R. A. (1924). The distribution of the partial correlation coefficient. Metron, 3,
    329-332 (m covariates count as m persons less). Aloe, A. M., & Thompson, C. G. (2013). The
    synthesis of partial effect sizes. JSSWR, 4, 390-405 (variance of r).
    """
    return convert_t_df(r, np.asarray(n, dtype=float) - n_covariates - 2, n_covariates)


def convert_t_df(r: Values, df: Values, n_covariates: Values) -> Converted:
    """Complete a (partial) correlation by its residual degrees of freedom, df = n − m − 2.

    var z = 1/(df − 1); var r = (1 − r²)²/(df + 1) without covariates, (1 − r²)²/df with.

    Parameters
    ----------
    r
        Correlation, −1 < r < 1.
    df
        Residual degrees of freedom, above 1.
    n_covariates
        Predictors held constant, m.

    Raises
    ------
    ValueError
        If r or df is out of range.

    References
    ----------
    As `convert_r` and `convert_partial_r`.
    """
    _require_r(r)
    df = np.asarray(df, dtype=float)
    _require(df > 1, "n must be above 3 plus the number of covariates")
    denominator = np.where(np.asarray(n_covariates) > 0, df, df + 1)
    return Converted(r, (1 - np.square(r)) ** 2 / denominator, np.arctanh(r), 1 / (df - 1))


def convert_fisher_z(z: Values, n: Values | None = None, var_z: Values | None = None) -> Converted:
    """Convert Fisher's z.

    r = tanh z; var z as given, else 1/(n − 3); var r = (1 − r²)²/(n − 1), or var z·(1 − r²)²
    (delta method) if n is not known.

    Parameters
    ----------
    z
        Fisher's z.
    n
        Persons, above 3; may be None if ``var_z`` is given.
    var_z
        Reported sampling variance of z.

    Raises
    ------
    ValueError
        If neither n nor var_z is given, or one is out of range.

    References
    ----------
    As `convert_r`.
    """
    r = np.tanh(z)
    _require_r(r)
    if n is None:
        if var_z is None:
            raise ValueError("Fisher's z needs n or its sampling variance")
        return Converted(r, var_z * (1 - r**2) ** 2, z, var_z)
    of_r = convert_r(r, n)
    return Converted(r, of_r.var_r, z, of_r.var_z if var_z is None else var_z)


def convert_spearman_rho(rho: Values, n: Values) -> Converted:
    """Convert a Spearman rank correlation, taken as an estimate of r.

    var z = (1 + ρ²/2)/(n − 3); var r by the delta method.

    Parameters
    ----------
    rho
        Rank correlation, −1 < ρ < 1.
    n
        Persons, above 3.

    Raises
    ------
    ValueError
        If rho or n is out of range.

    References
    ----------
    Bonett, D. G., & Wright, T. A. (2000). Sample size requirements for estimating Pearson,
    Kendall and Spearman correlations. Psychometrika, 65, 23-28 (p. 24).
    """
    _require_r(rho)
    _require(np.asarray(n) > 3, "n must be above 3")
    return _from_var_z(rho, (1 + rho**2 / 2) / (np.asarray(n, dtype=float) - 3))


def semipartial_variance(sp: Values, n: Values, model_r2: Values) -> Values:
    """Return the sampling variance of a semipartial correlation.

    With R² of the whole model and R²₋ = R² − sp² of the model without the alliance,
    var = [R⁴ − 2R² + R²₋ + 1 − R⁴₋]/n.

    Parameters
    ----------
    sp
        Semipartial correlation.
    n
        Persons.
    model_r2
        R² of the whole model, sp² ≤ R² < 1.

    References
    ----------
    Aloe, A. M., & Becker, B. J. (2012). An effect size for regression predictors in
    meta-analysis. Journal of Educational and Behavioral Statistics, 37, 278-297 (asymptotic
    variance of r_sp).
    """
    without = model_r2 - np.square(sp)
    return (model_r2**2 - 2 * model_r2 + without + 1 - without**2) / n


def bound_semipartial_r2(sp: Values) -> Values:
    """Return the R² at which the variance of a semipartial correlation is largest.

    The variance is linear in R² with slope −(1 − 2sp²)/n on sp² ≤ R² ≤ 1: it is largest at
    R² = sp² for sp² ≤ .5 and at R² = 1 beyond.
    """
    square = np.asarray(sp, dtype=np.float64) ** 2
    return np.where(square <= 0.5, square, np.float64(1.0))


def recover_model_r2(sp: Values, p_two_sided: Values, df: Values) -> Values:
    """Recover the R² of the whole model from the test of a semipartial correlation.

    The t of the alliance is sp·√df/√(1 − R²), so R² = 1 − sp²·df/t².

    Parameters
    ----------
    sp
        Semipartial correlation.
    p_two_sided
        Two-sided p-value of the alliance.
    df
        Residual degrees of freedom, n − m − 2.

    References
    ----------
    Aloe & Becker (2012), r_sp from t, n and R², solved for R².
    """
    return 1 - np.square(sp) * df / np.square(t_from_p(p_two_sided, df))


def convert_semipartial_r(sp: Values, n: Values, model_r2: Values) -> Converted:
    """Convert a semipartial correlation; var r by Aloe and Becker, var z by the delta method.

    Parameters
    ----------
    sp
        Semipartial correlation, −1 < sp < 1.
    n
        Persons, above 3.
    model_r2
        R² of the whole model; see `bound_semipartial_r2` for one that is not known.

    Raises
    ------
    ValueError
        If sp or n is out of range or model_r2 is smaller than sp².

    References
    ----------
    As `semipartial_variance`.
    """
    _require_r(sp)
    _require(np.asarray(n) > 3, "n must be above 3")
    # one part in 10⁹ of slack for squares that were rounded in the last bit
    _require(
        (np.asarray(model_r2) >= np.square(sp) * (1 - 1e-9)) & (np.asarray(model_r2) <= 1),
        "R² of the model must lie between the squared semipartial correlation and 1",
    )
    return complete_from_var_r(sp, semipartial_variance(sp, n, model_r2))


def impute_r_from_beta(beta: Values) -> Values:
    """Impute a correlation from a standardised regression coefficient: r = β + .05λ.

    λ is 1 for β ≥ 0 and 0 for β < 0.

    References
    ----------
    Peterson, R. A., & Brown, S. P. (2005). On the use of beta coefficients in meta-analysis.
    Journal of Applied Psychology, 90, 175-181 (p. 180); meant for |β| ≤ .50.
    """
    coefficient = np.asarray(beta, dtype=np.float64)
    return coefficient + np.where(coefficient >= 0, np.float64(0.05), np.float64(0.0))


def convert_beta(
    beta: Values,
    n: Values | None = None,
    n_covariates: Values = 0,
    var_beta: Values | None = None,
) -> Converted:
    """Convert a standardised regression coefficient by Peterson and Brown's imputation.

    dr/dβ = 1, so a reported variance of β is that of r (var z by the delta method); without
    one the variances are those of a partial correlation with m covariates.

    Parameters
    ----------
    beta
        Standardised coefficient.
    n
        Persons; may be None if ``var_beta`` is given.
    n_covariates
        Predictors held constant, m.
    var_beta
        Reported sampling variance of β.

    Raises
    ------
    ValueError
        If r is out of range or neither n nor var_beta is given.

    References
    ----------
    As `impute_r_from_beta`.
    """
    r = impute_r_from_beta(beta)
    _require_r(r)
    if var_beta is not None:
        return complete_from_var_r(r, var_beta)
    if n is None:
        raise ValueError("a standardised coefficient needs n or its sampling variance")
    return convert_partial_r(r, n, n_covariates)


def group_factor(n1: Values | None, n2: Values | None) -> Values:
    """Return a = (n1 + n2)²/(n1·n2), or 4 (equal groups) if the sizes are not known.

    References
    ----------
    Borenstein et al. (2009), eq. 7.8.
    """
    if n1 is None or n2 is None:
        return 4.0
    return (n1 + n2) ** 2 / (n1 * n2)


def d_variance(d: Values, n1: Values, n2: Values) -> Values:
    """Return the sampling variance of Cohen's d, (n1 + n2)/(n1·n2) + d²/(2(n1 + n2)).

    References
    ----------
    Borenstein et al. (2009), eq. 4.20.
    """
    return (n1 + n2) / (n1 * n2) + d**2 / (2 * (n1 + n2))


def convert_d(d: Values, var_d: Values, a: Values = 4.0) -> Converted:
    """Convert a standardised mean difference: r = d/√(d² + a), var r = a²·var d/(d² + a)³.

    Parameters
    ----------
    d
        Cohen's d.
    var_d
        Its sampling variance (see `d_variance`).
    a
        Group factor (see `group_factor`).

    Raises
    ------
    ValueError
        If var_d is not above 0.

    References
    ----------
    Borenstein et al. (2009), eq. 7.7-7.9; var z by the delta method.
    """
    r = d / np.sqrt(np.square(d) + a)
    _require_r(r)
    return complete_from_var_r(r, a**2 * var_d / (np.square(d) + a) ** 3)


def small_sample_factor(df: Values) -> Values:
    """Return Hedges' J = 1 − 3/(4·df − 1), by which g = J·d and var g = J²·var d.

    The usual approximation, not the exact gamma ratio: it is what nearly all primary studies
    and programs print (the two differ by less than .003 from df = 5 on).

    References
    ----------
    Hedges, L. V. (1981). Distribution theory for Glass's estimator of effect size. Journal of
    Educational Statistics, 6, 107-128 (eq. 6e); Borenstein et al. (2009), eq. 4.22.
    """
    return 1 - 3 / (4 * df - 1)


def convert_log_odds_ratio(
    log_odds_ratio: Values, var_log_odds_ratio: Values, a: Values = 4.0
) -> Converted:
    """Convert a log odds ratio through d = ln OR·√3/π, var d = var ln OR·3/π².

    Parameters
    ----------
    log_odds_ratio
        Natural logarithm of the odds ratio.
    var_log_odds_ratio
        Its sampling variance.
    a
        Group factor (see `group_factor`).

    Raises
    ------
    ValueError
        If the variance is not above 0.

    References
    ----------
    Hasselblad, V., & Hedges, L. V. (1995). Meta-analysis of screening and diagnostic tests.
    Psychological Bulletin, 117, 167-178; Chinn, S. (2000). A simple method for converting an
    odds ratio to effect size. Statistics in Medicine, 19, 3127-3131; Borenstein et al. (2009),
    eq. 7.1-7.2.
    """
    return convert_d(log_odds_ratio * LOG_ODDS_TO_D, var_log_odds_ratio * LOG_ODDS_TO_D**2, a)


def r_from_t(t: Values, df: Values) -> Values:
    """Return r = t/√(t² + df), a partial correlation if the test held covariates constant.

    References
    ----------
    Cohen, J. (1965), in Wolman (Ed.), Handbook of clinical psychology; Rosenthal, R. (1991).
    Meta-analytic procedures for social research, eq. 2.16.
    """
    return t / np.sqrt(np.square(t) + df)


def convert_t(t: Values, df: Values, n_covariates: Values = 0) -> Converted:
    """Convert a t statistic.

    Parameters
    ----------
    t
        t of the alliance.
    df
        Residual degrees of freedom, above 1.
    n_covariates
        Predictors held constant, m.

    Raises
    ------
    ValueError
        If df is out of range.

    References
    ----------
    As `r_from_t` and `convert_t_df`.
    """
    return convert_t_df(r_from_t(t, df), df, n_covariates)


def t_from_p(p_two_sided: Values, df: Values) -> Values:
    """Return the |t| of a two-sided p-value; as r (see `convert_t`) it is r_equivalent.

    Solved through the beta distribution of df/(df + t²), which keeps full precision for very
    small p.

    References
    ----------
    Rosenthal, R., & Rubin, D. B. (2003). r_equivalent: A simple effect size indicator.
    Psychological Methods, 8, 492-496 (eq. 1).
    """
    df = np.asarray(df, dtype=float)
    ratio = np.asarray(special.betaincinv(df / 2, 0.5, p_two_sided), dtype=float)
    # 1 − ratio would lose digits for p near 1
    rest = np.asarray(special.betainccinv(0.5, df / 2, p_two_sided), dtype=float)
    return np.sqrt(df * rest / ratio)


def p_from_t(t: Values, df: Values) -> Values:
    """Return the two-sided p-value of a t statistic."""
    degrees = np.asarray(df, dtype=np.float64)
    squared = np.asarray(t, dtype=np.float64) ** 2
    tail = special.betainc(degrees / 2, 0.5, degrees / (degrees + squared))
    return np.asarray(tail, dtype=np.float64)


def two_sided_p(p: Values, sides: int) -> Values:
    """Return the two-sided p-value.

    A one-sided p above .5 means a result against the expected direction; its size is that of
    1 − p. The direction itself has to come from elsewhere.
    """
    if sides == 2:
        return p
    one_sided = np.asarray(p, dtype=np.float64)
    return 2 * np.minimum(one_sided, 1 - one_sided)


def convert_chi2(chi2: Values, sign: Values, n: Values) -> Converted:
    """Convert a chi-squared with one degree of freedom: φ = √(χ²/n), taken as r.

    Parameters
    ----------
    chi2
        Chi-squared statistic, 0 ≤ χ² < n.
    sign
        +1 or −1.
    n
        Persons, above 3.

    Raises
    ------
    ValueError
        If chi2 or n is out of range.

    References
    ----------
    Rosenthal (1991), eq. 2.15; variances as `convert_r`.
    """
    _require(np.asarray(chi2) >= 0, "chi-squared must not be negative")
    return convert_r(sign * np.sqrt(chi2 / n), n)


def n_from_variance(r: Values, var_r: Values) -> Values:
    """Return the n at which a correlation r has the variance var_r = (1 − r²)²/(n − 1)."""
    return (1 - np.square(r)) ** 2 / var_r + 1


def n_from_p(r: float, p_two_sided: float, n_covariates: float = 0) -> float | None:
    """Return the n at which a (partial) correlation r has this two-sided p-value.

    Parameters
    ----------
    r
        Correlation, not 0.
    p_two_sided
        Its p-value.
    n_covariates
        Predictors held constant, m.

    Returns
    -------
    float or None
        n, not rounded; None if no n from m + 3 to 10⁹ gives this p-value.
    """
    if r == 0 or not 0 < p_two_sided < 1:
        return None
    slope = abs(r) / np.sqrt(1 - r * r)

    def excess(log_df: float) -> float:
        df = np.exp(log_df)
        return float(special.betainc(df / 2, 0.5, 1 / (1 + slope**2)) - p_two_sided)

    # p falls with df; halving the interval 60 times settles ln(df) to 2e-17
    low, high = 0.0, float(np.log(1e9))
    if excess(low) < 0 or excess(high) > 0:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return float(np.exp((low + high) / 2)) + n_covariates + 2
