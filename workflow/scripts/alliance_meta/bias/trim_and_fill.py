"""Trim and fill: effects that would make the funnel symmetric."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.assessments import Assessment
from alliance_meta.bias.units import (
    ROUNDING,
    Units,
    check_spread,
    effect_words,
    fit_effects,
    independent_units,
    plain_specification,
    reason,
    univariate_specification,
)
from alliance_meta.formatting import format_count, join_words
from alliance_meta.models.pooling import PooledFit, fit_pooled
from alliance_meta.models.rows import ModelRows
from alliance_meta.models.specification import (
    InestimableError,
    ModelSpecification,
    SpecificationError,
)

Array = NDArray[np.float64]
Index = NDArray[np.intp]

ESTIMATORS = ("L0", "R0", "Q0")
SIDES = ("left", "right")
TRIM_COLUMNS = [
    "estimator",
    "side",
    "k0",
    "k0_se",
    "estimate",
    "se",
    "ci_low",
    "ci_high",
    "tau2",
    "chosen",
    "p_value",
    "k0_p",
    "unit",
]
FILLED_COLUMNS = ["estimator", "side", "effect_id", "x", "se", "study_id"]
MAXIMUM_ITERATIONS = 100


@dataclass(frozen=True)
class Filled:
    """What trim and fill adds.

    Attributes
    ----------
    k0, k0_se
        Number of missing effects and its standard error (NaN where its variance is negative).
    k0_p
        p-value of no missing effects; R0 only, else NaN.
    mirrored
        Positions of the effects that are mirrored, shape (k0,).
    y, v
        The effects added and their sampling variances, shape (k0,).
    """

    k0: int
    k0_se: float
    k0_p: float
    mirrored: Index
    y: Array
    v: Array


def trim_and_fill(
    y: Array, v: Array, spec: ModelSpecification, *, side: str, estimator: str
) -> Filled:
    """Find the effects missing on one side of the funnel.

    Parameters
    ----------
    y, v
        Independent effects and sampling variances, shape (k,).
    spec
        Univariate model whose mean centres the funnel.
    side
        "left" or "right": where effects are missing.
    estimator
        "L0", "R0" or "Q0".

    Raises
    ------
    InestimableError
        If the number of missing effects does not settle or is not defined.

    Notes
    -----
    Duval & Tweedie (2000a, 2000b). Ties of rank go to the effect that comes first by size; the
    number missing is rounded to the nearest integer, halves to the even one.
    """
    sign = 1.0 if side == "left" else -1.0
    order = np.argsort(sign * y, kind="stable")
    sorted_y, sorted_v, k = sign * y[order], v[order], len(y)
    k0, previous, spread, centre = 0, -1, np.nan, np.nan
    for _ in range(MAXIMUM_ITERATIONS):
        if k0 == previous:
            break
        previous = k0
        if k0 >= k:
            raise InestimableError("all effects would be trimmed")
        centre = _centre(sorted_y[: k - k0], sorted_v[: k - k0], spec)
        raw, spread = _count_missing(sorted_y - centre, estimator)
        if not np.isfinite(raw):
            raise InestimableError("the number of missing effects is not defined")
        k0 = max(0, round(raw))
    else:
        raise InestimableError(f"no balance within {MAXIMUM_ITERATIONS} rounds of trimming")
    last = slice(k - k0, k)
    return Filled(
        k0,
        spread if np.isnan(spread) else max(0.0, spread),
        0.5 ** (k0 + 1) if estimator == "R0" else np.nan,
        order[last],
        sign * (2 * centre - sorted_y[last]),
        sorted_v[last],
    )


def _centre(y: Array, v: Array, spec: ModelSpecification) -> float:
    if len(y) == 1:
        return float(y[0])
    fit = fit_pooled(y, v, np.ones((len(y), 1)), np.arange(len(y)), spec)
    return float(fit.contrast(np.ones(1)).value)


def _count_missing(centred: Array, estimator: str) -> tuple[float, float]:
    """Return the unrounded number of missing effects and its standard error.

    Duval & Tweedie (2000a): equations for R0, L0 and Q0 and their variances.
    """
    k = len(centred)
    ranks = np.empty(k)
    ranks[np.argsort(np.abs(centred), kind="stable")] = np.arange(1, k + 1)
    if estimator == "R0":
        below = ranks[centred < 0]
        if not len(below):
            return np.nan, np.nan
        raw = float(k - below.max() - 1)
        return raw, float(np.sqrt(2 * max(0.0, raw) + 2))
    total = float(ranks[centred > 0].sum())
    if estimator == "L0":
        raw = (4 * total - k * (k + 1)) / (2 * k - 1)
    else:
        inside = 2 * k**2 - 4 * total + 1 / 4
        raw = k - 1 / 2 - np.sqrt(inside) if inside >= 0 else np.nan
    variance = (
        k * (k + 1) * (2 * k + 1)
        + 10 * raw**3
        + 27 * raw**2
        + 17 * raw
        - 18 * k * raw**2
        - 18 * k * raw
        + 6 * k**2 * raw
    ) / 24
    error = np.sqrt(variance) if variance >= 0 else np.nan
    if estimator == "L0":
        return float(raw), float(4 * error / (2 * k - 1))
    rest = (k - 1 / 2) ** 2 - raw * (2 * k - raw - 1)
    return float(raw), float(2 * error / np.sqrt(rest)) if rest > 0 else np.nan


def choose_side(y: Array, v: Array, spec: ModelSpecification) -> str:
    """Return the side where effects seem to be missing.

    Parameters
    ----------
    y, v
        Independent effects and sampling variances, shape (k,).
    spec
        Univariate model.

    Notes
    -----
    Right where effects fall with their standard errors, else left. Where the regression cannot
    tell, the side away from the effects' mean as seen from zero.
    """
    se, ones = np.sqrt(v), np.ones((len(y), 1))
    try:
        check_spread(se, ones)
        numbers = np.arange(len(y))
        design = np.column_stack([ones, se])
        fit = fit_effects(y, v, design, numbers, numbers, spec, n_independent=len(y))
        falls = fit.contrast(np.array([0.0, 1.0])).value < 0
    except InestimableError:
        falls = float(np.average(y, weights=1 / v)) < 0
    return "right" if falls else "left"


def assess_trim_and_fill(rows: ModelRows, *, side: str = "auto") -> Assessment:
    """Add the effects that trim and fill finds missing and fit the analysis's own model.

    Parameters
    ----------
    rows
        The analysis, of one mean.
    side
        "left", "right" or "auto"; all sides are in the table, this one is marked as chosen.

    Returns
    -------
    Assessment
        Tables ``bias_trim_and_fill``, a row for each of L0, R0, Q0 and each side, and
        ``bias_trim_and_fill_effects`` with the effects added.

    Raises
    ------
    SpecificationError
        If the side does not exist.

    Notes
    -----
    Univariate analyses are trimmed by their own model. Where effects are dependent, one
    composite per study is trimmed by the univariate model; the mirrored composites then join
    the effects as new studies, and the analysis's own model is fitted to all of them.
    """
    if side not in (*SIDES, "auto"):
        raise SpecificationError(
            f"'{side}' is not a side of the funnel; use one of: {', '.join((*SIDES, 'auto'))}",
            setting="side",
        )
    empty = {
        "bias_trim_and_fill": pd.DataFrame(columns=TRIM_COLUMNS),
        "bias_trim_and_fill_effects": pd.DataFrame(columns=FILLED_COLUMNS),
    }
    if rows.has_moderators:
        sentence = "Trim and fill is of one mean; with moderators in the model it is not defined."
        return Assessment("trim_and_fill", empty, (sentence,))
    units = independent_units(rows)
    if np.ptp(units.y) <= ROUNDING * np.abs(units.y).max():
        sentence = "Trim and fill could not be computed: the effects do not differ."
        return Assessment("trim_and_fill", empty, (sentence,))
    spec = replace(univariate_specification(rows), inference="z")
    chosen = choose_side(units.y, units.v, spec) if side == "auto" else side
    table_rows, filled_rows, failures = [], list[tuple[object, ...]](), dict[str, list[str]]()
    for estimator in ESTIMATORS:
        for each in SIDES:
            try:
                found = trim_and_fill(units.y, units.v, spec, side=each, estimator=estimator)
                fit = _refit(rows, found)
            except InestimableError as error:
                failures.setdefault(reason(error), []).append(f"{estimator} on the {each}")
                continue
            e = fit.contrast(np.ones(1))
            table_rows.append(
                (
                    *(estimator, each, found.k0, found.k0_se, e.value, e.se, e.ci_low, e.ci_high),
                    *(fit.tau2, each == chosen, e.p_value, found.k0_p, units.kind),
                )
            )
            filled_rows += _filled_rows(units, found, estimator, each)
    tables = {
        "bias_trim_and_fill": pd.DataFrame(table_rows, columns=TRIM_COLUMNS),
        "bias_trim_and_fill_effects": pd.DataFrame(filled_rows, columns=FILLED_COLUMNS),
    }
    table = tables["bias_trim_and_fill"]
    sentences = _describe(rows, table.loc[table["chosen"].astype(bool)], units, chosen, side)
    sentences += [
        f"Trim and fill by {join_words(names)} could not be computed: {cause}."
        for cause, names in failures.items()
    ]
    return Assessment("trim_and_fill", tables, tuple(sentences))


def _refit(rows: ModelRows, found: Filled) -> PooledFit:
    """Fit the analysis's own model with the added effects as new studies."""
    if not found.k0 and not rows.spec.scale:
        return rows.fit
    y, v = np.concatenate([rows.y, found.y]), np.concatenate([rows.v, found.v])
    new = np.arange(found.k0)
    return fit_effects(
        y,
        v,
        np.ones((len(y), 1)),
        np.concatenate([rows.clusters, rows.clusters.max() + 1 + new]),
        np.concatenate([rows.samples, rows.samples.max() + 1 + new]),
        plain_specification(rows.spec),
        n_independent=rows.n_studies + found.k0,
    )


def _filled_rows(
    units: Units, found: Filled, estimator: str, side: str
) -> list[tuple[object, ...]]:
    return [
        (estimator, side, units.names[i], x, se, units.studies[i])
        for i, x, se in zip(found.mirrored, found.y, np.sqrt(found.v), strict=True)
    ]


def _describe(
    rows: ModelRows, table: pd.DataFrame, units: Units, side: str, asked: str
) -> list[str]:
    if table.empty:
        return []
    noun = ("effect",) if units.kind == "effect" else ("study", "studies")
    row = table.iloc[0]
    count = format_count(int(row["k0"]), *noun)
    estimate = effect_words(row["estimate"], row["ci_low"], row["ci_high"], rows.spec)
    where = f"on the {side}" + (", the side chosen automatically" * (asked == "auto"))
    if row["k0"] == 0:
        text = f"Trim and fill ({row['estimator']}) finds nothing missing {where}"
    else:
        text = f"Trim and fill ({row['estimator']}) adds {count} {where}, which gives {estimate}"
    others = [
        f"{name} adds {k0 or 'none'}"
        for name, k0 in zip(table["estimator"], table["k0"], strict=True)
    ][1:]
    sentences = [text + (f"; {join_words(others)}." if others else ".")]
    if units.kind == "study" and table["k0"].any():
        sentences.append(
            "Several effects come from the same study, so one composite per study was trimmed, and "
            "the mirror images of those trimmed joined the model as new studies."
        )
    return sentences
