"""Psychometric meta-analysis of correlations in the tradition of Hunter and Schmidt."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from alliance_meta.formatting import format_count, format_interval, format_number
from alliance_meta.models.specification import InestimableError

Array = NDArray[np.float64]

SAMPLE_COLUMNS = ["sample_id", "study_id", "k_effects", "r", "n", "rxx", "ryy"]
LEFT_OUT_COLUMNS = ["effect_id", "study_id", "reason"]
TABLE_COLUMNS = ["parameter", "bare_bones", "corrected"]

# below this, normal quantiles of a spread from so few correlations promise too much
FEW_SAMPLES = 5

_PARAMETERS = (
    "mean",
    "se",
    "ci_low",
    "ci_high",
    "var_observed",
    "var_error",
    "var_residual",
    "sd_residual",
    "percent_error",
    "credibility_low",
    "credibility_high",
)


@dataclass(frozen=True)
class Samples:
    """One correlation per independent sample, and the effects that have none to give.

    Attributes
    ----------
    table
        ``sample_id study_id k_effects r n rxx ryy``, in the order in which samples appear.
    left_out
        ``effect_id study_id reason``.
    """

    table: pd.DataFrame
    left_out: pd.DataFrame


@dataclass(frozen=True)
class Moments:
    """Mean and variance of correlations over samples; NaN where the samples cannot tell.

    Attributes
    ----------
    mean, se, ci_low, ci_high
        Weighted mean and its precision, from the spread of the correlations.
    var_observed, var_error
        Weighted variance of the correlations, and the part expected of sampling error.
    var_residual, sd_residual
        The remainder, at least 0; for corrected correlations the variance and SD of ρ.
    percent_error
        100 · var_error / var_observed; above 100 if the correlations differ less than
        sampling error lets expect.
    credibility_low, credibility_high
        Where the middle share of true correlations is expected, from ``sd_residual``.
    """

    mean: float
    se: float
    ci_low: float
    ci_high: float
    var_observed: float
    var_error: float
    var_residual: float
    sd_residual: float
    percent_error: float
    credibility_low: float
    credibility_high: float


@dataclass(frozen=True)
class HunterSchmidt:
    """A psychometric meta-analysis.

    Attributes
    ----------
    k, n_total
        Samples and persons.
    bare_bones
        Corrected for sampling error only.
    corrected
        Each correlation corrected for unreliability; None without reliabilities.
    ci_level, credibility_level
        Levels of the two kinds of interval.
    notes
        Full sentences on what could not be told or needs care.
    """

    k: int
    n_total: float
    bare_bones: Moments
    corrected: Moments | None
    ci_level: float
    credibility_level: float
    notes: tuple[str, ...]


def per_sample(effects: pd.DataFrame, reliabilities: pd.DataFrame | None = None) -> Samples:
    """Average the effects of each sample, as the method wants independent correlations.

    Parameters
    ----------
    effects
        Effect sizes table with observed (not corrected) correlations. Rows with an
        ``exclude_reason`` and generic effects are none of this method's and are passed over.
    reliabilities
        ``effect_id reliability_alliance reliability_outcome``, as
        `effect_sizes.correct_attenuation` imputes them; default: the columns of ``effects``.

    Returns
    -------
    Samples
        Mean r, largest n and mean reliabilities per sample (NaN if no effect has one). Effects of
        samples without n, or of fewer than 2 persons, are left out with the reason.

    Raises
    ------
    ValueError
        If ``reliabilities`` names an effect twice.
    """
    names = ["reliability_alliance", "reliability_outcome"]
    data = effects.loc[
        effects["exclude_reason"].isna()
        & (effects["conversion"] != "generic")
        & effects["r"].notna()
    ]
    if reliabilities is not None:
        data = data.drop(columns=names, errors="ignore").merge(
            reliabilities[["effect_id", *names]], on="effect_id", how="left", validate="1:1"
        )
    data = data.reindex(columns=[*data.columns, *(c for c in names if c not in data)])
    usable = data.groupby("sample_id")["n"].transform("max") >= 2
    left_out = data.loc[~usable, ["effect_id", "study_id"]].reset_index(drop=True)
    left_out["reason"] = "no size of the sample, by which correlations are weighted"
    table = (
        data.loc[usable]
        .groupby("sample_id", sort=False)
        .agg(
            study_id=("study_id", "first"),
            k_effects=("effect_id", "size"),
            r=("r", "mean"),
            n=("n", "max"),
            rxx=("reliability_alliance", "mean"),
            ryy=("reliability_outcome", "mean"),
        )
        .reset_index()
    )
    return Samples(table[SAMPLE_COLUMNS], left_out[LEFT_OUT_COLUMNS])


def hunter_schmidt(
    r: ArrayLike,
    n: ArrayLike,
    *,
    rxx: ArrayLike | None = None,
    ryy: ArrayLike | None = None,
    ci_level: float = 0.95,
    credibility_level: float = 0.80,
) -> HunterSchmidt:
    """Meta-analyse correlations of independent samples by the formulas of Hunter and Schmidt.

    Parameters
    ----------
    r
        Observed correlation of each sample, shape (k,), within ±1.
    n
        Persons of each sample, shape (k,), at least 2.
    rxx, ryy
        Reliabilities of the two measures, shape (k,) or one number, above 0 and at most 1;
        a side without any counts as perfectly reliable.
    ci_level, credibility_level
        Level of the confidence interval of the mean and of the credibility interval.

    Returns
    -------
    HunterSchmidt
        The standard error and the confidence interval rest on the spread of the correlations:
        they are NaN with k = 1 and if all are equal, and ``notes`` says so.

    Raises
    ------
    InestimableError
        If there is no sample.
    ValueError
        If shapes differ or a value is missing or out of range.

    Notes
    -----
    Bare bones, weights nᵢ: r̄ = Σnᵢrᵢ/Σnᵢ, var_observed = Σnᵢ(rᵢ − r̄)²/Σnᵢ, var_error =
    (1 − r̄²)²/(N̄ − 1) with N̄ the mean sample size. Corrected one by one, with Aᵢ = √(rxxᵢ ryyᵢ):
    rᵢ/Aᵢ, weights nᵢAᵢ², error variances (1 − r̄²)²/[(nᵢ − 1)Aᵢ²] and their weighted mean. In both,
    var_residual = var_observed − var_error, SE = √(var_observed/k), and the confidence and
    credibility intervals are mean ± normal quantile times SE and SD_residual. As in the book,
    neither r (slightly biased downward in small samples) nor the variances (divided by the sum
    of the weights, not multiplied by k/(k − 1)) are corrected for small-sample bias. Corrected
    correlations beyond ±1 stay as they are: they are due to sampling error and average out.

    References
    ----------
    Hunter, J. E., & Schmidt, F. L. (2004). Methods of meta-analysis (2nd ed.), ch. 3 (bare bones,
    individually corrected correlations) and ch. 5 (SE and intervals of the mean).
    """
    values, sizes, A = _check_input(r, n, rxx, ryy)
    for name, level in (("ci_level", ci_level), ("credibility_level", credibility_level)):
        if not 0 < level < 1:
            raise ValueError(f"{name} is {level}; it must lie between 0 and 1")

    mean = float(np.average(values, weights=sizes))
    error = (1 - mean**2) ** 2
    levels = (ci_level, credibility_level)
    bare = _moments(values, sizes, error / (sizes.mean() - 1), levels)
    notes = _notes(bare, values, "correlations")
    corrected = None
    if A is not None:
        disattenuated = values / A
        weights = sizes * A**2
        errors = error / ((sizes - 1) * A**2)
        corrected = _moments(disattenuated, weights, np.average(errors, weights=weights), levels)
        notes += _notes(corrected, disattenuated, "corrected correlations")
        n_beyond = int((np.abs(disattenuated) >= 1).sum())
        if n_beyond:
            verb = "is" if n_beyond == 1 else "are"
            notes.append(
                f"{format_count(n_beyond, 'corrected correlation')} {verb} 1 or more in size; the "
                "method keeps such values, as they come from sampling error."
            )
    return HunterSchmidt(
        len(values),
        float(sizes.sum()),
        bare,
        corrected,
        ci_level,
        credibility_level,
        tuple(dict.fromkeys(notes)),
    )


def _check_input(
    r: ArrayLike, n: ArrayLike, rxx: ArrayLike | None, ryy: ArrayLike | None
) -> tuple[Array, Array, Array | None]:
    """Return r, n and the attenuation factor A = √(rxx ryy), each of shape (k,)."""
    values, sizes = np.asarray(r, dtype=float), np.asarray(n, dtype=float)
    if values.ndim != 1 or values.shape != sizes.shape:
        raise ValueError(
            f"r and n must be one-dimensional and of the same length, not {values.shape} and "
            f"{sizes.shape}"
        )
    if len(values) == 0:
        raise InestimableError("there is no sample with a correlation and a sample size")
    if not np.all(np.abs(values) <= 1):
        raise ValueError("every correlation must lie between -1 and 1")
    if not np.all((sizes >= 2) & np.isfinite(sizes)):
        raise ValueError("every sample must have at least 2 persons")
    if rxx is None and ryy is None:
        return values, sizes, None
    product = np.ones_like(values)
    for name, given in (("rxx", rxx), ("ryy", ryy)):
        if given is None:
            continue
        reliability = np.asarray(given, dtype=float)
        if reliability.shape not in ((), values.shape):
            raise ValueError(f"{name} must be one number or of the shape of r, {values.shape}")
        if not np.all((reliability > 0) & (reliability <= 1)):
            raise ValueError(f"every {name} must be there, above 0 and at most 1")
        product = product * reliability
    return values, sizes, np.sqrt(product)


def _moments(
    values: Array, weights: Array, var_error: float, levels: tuple[float, float]
) -> Moments:
    mean = float(np.average(values, weights=weights))
    var_error = float(var_error)
    if np.ptp(values) == 0:
        # no spread: se = √0 would claim a mean without error, and one value has no variance
        zero, same = (0.0, mean) if len(values) > 1 else (np.nan, np.nan)
        return Moments(
            mean=mean,
            se=np.nan,
            ci_low=np.nan,
            ci_high=np.nan,
            var_observed=zero,
            var_error=var_error,
            var_residual=zero,
            sd_residual=zero,
            percent_error=np.nan,
            credibility_low=same,
            credibility_high=same,
        )
    observed = float(np.average((values - mean) ** 2, weights=weights))
    residual = max(0.0, observed - var_error)
    se, sd = np.sqrt(observed / len(values)), np.sqrt(residual)
    reach, range_ = (float(stats.norm.ppf((1 + level) / 2)) for level in levels)
    return Moments(
        mean=mean,
        se=float(se),
        ci_low=float(mean - reach * se),
        ci_high=float(mean + reach * se),
        var_observed=observed,
        var_error=var_error,
        var_residual=residual,
        sd_residual=float(sd),
        percent_error=100 * var_error / observed,
        credibility_low=float(mean - range_ * sd),
        credibility_high=float(mean + range_ * sd),
    )


def _notes(moments: Moments, values: Array, noun: str) -> list[str]:
    if len(values) == 1:
        return ["With a single sample the precision of the mean cannot be told."]
    if np.isnan(moments.se):
        return [f"All {noun} are equal, so the precision of their mean cannot be told."]
    notes = []
    if moments.var_residual == 0:
        notes.append(
            f"The {noun} differ no more than sampling error lets expect; their residual variance "
            "is set to 0."
        )
    if len(values) < FEW_SAMPLES:
        notes.append(
            f"With {len(values)} samples the confidence interval of this method is too narrow."
        )
    return notes


def tabulate_moments(result: HunterSchmidt) -> pd.DataFrame:
    """Return ``parameter bare_bones corrected``: k, N and all moments of both analyses.

    ``corrected`` is empty (NaN) without reliabilities.
    """
    rows: list[tuple[str, float, float]] = [
        ("k", result.k, result.k if result.corrected else np.nan),
        ("n_total", result.n_total, result.n_total if result.corrected else np.nan),
    ]
    for name in _PARAMETERS:
        corrected = getattr(result.corrected, name) if result.corrected else np.nan
        rows.append((name, getattr(result.bare_bones, name), corrected))
    return pd.DataFrame(rows, columns=TABLE_COLUMNS).astype(
        {"bare_bones": float, "corrected": float}
    )


def describe_hunter_schmidt(result: HunterSchmidt) -> list[str]:
    """Return the result in sentences a paper could print."""
    base = f"{format_count(result.k, 'sample')} (N = {result.n_total:,.0f})"
    sentences = [
        f"In a psychometric meta-analysis (Hunter & Schmidt, 2004) of {base}, the mean observed "
        f"correlation was {_moments_words(result.bare_bones, result, 'SD of the residuals')}."
    ]
    if result.corrected:
        sentences.append(
            "Corrected for unreliability sample by sample, the mean correlation was "
            f"{_moments_words(result.corrected, result, 'SD of ρ')}."
        )
    return [*sentences, *result.notes]


def _moments_words(moments: Moments, result: HunterSchmidt, sd: str) -> str:
    text = _print(moments.mean)
    if np.isnan(moments.se):
        return text
    ci = format_interval(moments.ci_low, moments.ci_high)
    credibility = format_interval(moments.credibility_low, moments.credibility_high)
    return (
        f"{text}, {100 * result.ci_level:g} % CI {ci}, {sd} {_print(moments.sd_residual)}, "
        f"{100 * result.credibility_level:g} % credibility interval {credibility}, with "
        f"{format_number(min(moments.percent_error, 100), 0)} % of the variance due to sampling "
        "error"
    )


def _print(value: float) -> str:
    return format_number(value, 2, leading_zero=False)
