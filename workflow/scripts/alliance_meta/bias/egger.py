"""Regression tests for funnel-plot asymmetry: effects against their standard errors."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from alliance_meta.assessments import Assessment
from alliance_meta.bias.units import (
    FEW_STUDIES,
    ROUNDING,
    check_spread,
    dependent_specification,
    effect_words,
    fit_rows,
    random_effects_specification,
    reason,
    table_df,
)
from alliance_meta.formatting import format_count, format_df, format_number, format_p
from alliance_meta.models.pooling import Estimate
from alliance_meta.models.rows import ModelRows
from alliance_meta.models.specification import InestimableError, ModelSpecification

Array = NDArray[np.float64]

EGGER_COLUMNS = [
    "variant",
    "slope",
    "se",
    "statistic",
    "df",
    "p_value",
    "limit_estimate",
    "limit_ci_low",
    "limit_ci_high",
]
# below this the sentence takes a trend as clear
CLEAR_P = 0.05
VARIANTS = {
    "lm": "weighted least squares",
    "random_effects": "a random-effects meta-regression",
    "multilevel_cr2": "a model of dependent effects with cluster-robust (CR2) errors",
}


@dataclass(frozen=True)
class Regression:
    """Effects regressed on a measure of their imprecision.

    Attributes
    ----------
    slope
        Coefficient of the measure.
    limit
        Expected effect where the measure is zero; None with moderators, where there are many.
    """

    slope: Estimate
    limit: Estimate | None


def regress_least_squares(
    y: Array, v: Array, X: Array, predictor: Array, ci_level: float
) -> Regression:
    """Regress effects with weights ``1/v`` and an estimated multiplier of the variances.

    Parameters
    ----------
    y, v
        Effects and sampling variances, shape (k,).
    X
        Design of the analysis, shape (k, p).
    predictor
        Standard error (or variance) of each effect, shape (k,).
    ci_level
        Confidence level.

    Raises
    ------
    InestimableError
        If the predictor does not vary, there are too few effects, or all lie on the line.

    Notes
    -----
    Egger et al. (1997), as the equivalent weighted regression of effects on standard errors.
    """
    check_spread(predictor, X)
    design = np.column_stack([X, predictor])
    k, p = design.shape
    if k <= p:
        raise InestimableError(
            f"{format_count(k, 'effect')} cannot support {format_count(p, 'coefficient')}"
        )
    root = np.sqrt(1 / v)
    left, triangle = np.linalg.qr(root[:, None] * design)
    scaled = root * y
    coefficients = np.linalg.solve(triangle, left.T @ scaled)
    residuals = scaled - left @ (left.T @ scaled)
    if np.linalg.norm(residuals) <= ROUNDING * np.linalg.norm(scaled):
        raise InestimableError("the effects lie on the line, which leaves no error to test against")
    variance = float(residuals @ residuals) / (k - p)
    errors = np.sqrt(variance * (np.linalg.inv(triangle) ** 2).sum(axis=1))
    half = float(stats.t.isf((1 - ci_level) / 2, k - p))

    def describe(i: int) -> Estimate:
        b, se = float(coefficients[i]), float(errors[i])
        p_value = float(2 * stats.t.sf(abs(b / se), k - p))
        low, high = b - half * se, b + half * se
        return Estimate(b, se, b / se, float(k - p), p_value, low, high, np.nan, np.nan)

    is_mean = X.shape[1] == 1 and bool((X == 1).all())
    return Regression(describe(p - 1), describe(0) if is_mean else None)


def regress_in_model(rows: ModelRows, predictor: Array, spec: ModelSpecification) -> Regression:
    """Regress effects inside a model of the package.

    Parameters
    ----------
    rows
        The analysis; its moderators stay in the design.
    predictor
        Standard error (or variance) of each effect, shape (k,).
    spec
        A resolved specification.

    Raises
    ------
    InestimableError
        If the predictor does not vary or there are too few studies.
    """
    check_spread(predictor, rows.X)
    fit = fit_rows(rows, np.column_stack([rows.X, predictor]), spec)
    units = np.eye(rows.X.shape[1] + 1)
    limit = None if rows.has_moderators else fit.contrast(units[0])
    return Regression(fit.contrast(units[-1]), limit)


def assess_egger(rows: ModelRows) -> Assessment:
    """Test whether effects change with their standard errors, in three variants.

    Parameters
    ----------
    rows
        The analysis.

    Returns
    -------
    Assessment
        Table ``bias_egger``: ``lm`` (Egger et al. 1997), ``random_effects`` (the standard
        error as moderator of a model of independent effects, with the analysis's estimator
        of τ² where it has one, and its inference where it is univariate, else z), and
        ``multilevel_cr2`` (inside the analysis's own model of dependent effects, else
        ``che``, with errors clustered on studies; Rodgers & Pustejovsky 2021).
    """
    se = np.sqrt(rows.v)
    runs: dict[str, Callable[[], Regression]] = {
        "lm": lambda: regress_least_squares(rows.y, rows.v, rows.X, se, rows.spec.ci_level),
        "random_effects": lambda: regress_in_model(rows, se, random_effects_specification(rows)),
        "multilevel_cr2": lambda: regress_in_model(rows, se, dependent_specification(rows)),
    }
    table_rows, failures = [], dict[str, list[str]]()
    for variant, run in runs.items():
        try:
            found = run()
        except InestimableError as error:
            failures.setdefault(reason(error), []).append(variant)
            continue
        e, limit = found.slope, found.limit
        limits = (np.nan,) * 3 if limit is None else (limit.value, limit.ci_low, limit.ci_high)
        table_rows.append((variant, e.value, e.se, e.statistic, table_df(e), e.p_value, *limits))
    table = pd.DataFrame(table_rows, columns=EGGER_COLUMNS)
    return Assessment("egger", {"bias_egger": table}, tuple(_describe(rows, table, failures)))


def _describe(rows: ModelRows, table: pd.DataFrame, failures: dict[str, list[str]]) -> list[str]:
    if table.empty:
        return [f"Egger's regression test could not be computed: {list(failures)[-1]}."]
    row = table.iloc[-1]
    others = [
        f"{VARIANTS[variant]}: p {format_p(p_value)}"
        for variant, p_value in zip(table["variant"], table["p_value"], strict=True)
        if variant != row["variant"] and not np.isnan(p_value)
    ]
    beside = f" ({'; '.join(others)})" if others else ""
    sentences = [
        f"Egger's regression test, by {VARIANTS[row['variant']]}: {_row_words(row)}{beside}."
    ]
    if pd.notna(row["limit_estimate"]):
        limit = effect_words(
            row["limit_estimate"], row["limit_ci_low"], row["limit_ci_high"], rows.spec
        )
        sentences.append(f"At a standard error of zero the regression expects {limit}.")
    elif rows.has_moderators:
        sentences.append(
            "With moderators in the model there is no single effect at a standard error of zero."
        )
    for cause, variants in failures.items():
        names = " and ".join(VARIANTS[v] for v in variants)
        sentences.append(f"Egger's test by {names} could not be computed: {cause}.")
    if rows.n_studies < FEW_STUDIES:
        silent = not row["p_value"] < CLEAR_P
        sentences.append(
            f"With {format_count(rows.n_studies, 'study', 'studies')} the test has little power"
            f"{'; its silence is no evidence of symmetry' if silent else ''}."
        )
    if rows.dependent and {"lm", "random_effects"} & set(table["variant"]):
        sentences.append(
            "Several effects come from the same study, which only the model of dependent effects "
            "takes into account; the other variants take all effects as independent."
        )
    if rows.spec.metric == "r":
        sentences.append(
            "The standard error of a correlation depends on the correlation itself, so that on "
            "this metric the test confounds the two; Fisher's z is free of that."
        )
    return sentences


def _row_words(row: pd.Series) -> str:
    if pd.isna(row["statistic"]):
        return f"slope {format_number(row['slope'])}, no test possible"
    direction = "rise" if row["slope"] > 0 else "fall"
    verb = direction if row["p_value"] < CLEAR_P else f"do not clearly {direction}"
    kind = "z" if pd.isna(row["df"]) else f"t({format_df(row['df'])})"
    return (
        f"effects {verb} with their standard errors, slope {format_number(row['slope'])} "
        f"(SE {format_number(row['se'])}), {kind} = {format_number(row['statistic'])}, "
        f"p {format_p(row['p_value'])}"
    )
