"""The effect sizes table: every coded effect on the analysis metric."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import pandas as pd

from alliance_meta.effect_sizes.routes import RowConversion, convert_row
from alliance_meta.effect_sizes.rows import EffectRow, Finding, locate_finding, read_rows
from alliance_meta.problems import Problem

Metric = Literal["fisher_z", "r", "generic"]

METRICS: tuple[str, ...] = get_args(Metric)

LEADING_COLUMNS = (
    "effect_id",
    "study_id",
    "sample_id",
    "yi",
    "vi",
    "r",
    "n",
    "conversion",
    "flags",
)
TRAILING_COLUMNS = ("z", "vz", "vr")

# results that a column of the sheet must not be mistaken for
_COMPUTED = ("yi", "vi", "r", "conversion", "flags", *TRAILING_COLUMNS)

RENAMED_SUFFIX = "_in_sheet"


@dataclass(frozen=True)
class ConversionResult:
    """Converted effects and what was found on the way.

    Attributes
    ----------
    table
        One row per effect, in the order of the input: ``effect_id study_id sample_id yi vi r n
        conversion flags``, the remaining columns of the input, ``z vz vr``.
    problems
        Errors and notes, each with its place.
    """

    table: pd.DataFrame
    problems: list[Problem]


def require_metric(metric: str) -> None:
    """Raise ValueError if ``metric`` is not an analysis metric."""
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, not '{metric}'")


def find_metric_mismatch(row: EffectRow, metric: str) -> list[Finding]:
    """Return an error if a row cannot be pooled on the metric of the analyses."""
    if row.exclude_reason or not row.effect_type:
        return []
    if row.effect_type == "generic" and metric != "generic":
        problem = (
            "An effect of type generic stands on its own scale and cannot be pooled with "
            f"correlations (metric: {metric})."
        )
        suggestion = (
            "Set metric: generic in the configuration, code the statistic from which a "
            "correlation follows, or fill exclude_reason."
        )
    elif row.effect_type != "generic" and metric == "generic":
        problem = (
            f"An effect of type {row.effect_type} is not on the scale of the generic effects "
            "(metric: generic)."
        )
        suggestion = (
            "Set metric: fisher_z or r in the configuration, or code the estimate with its "
            "standard error as effect_type generic."
        )
    else:
        return []
    return [Finding("effect_type", problem, suggestion, "metric_mismatch")]


def _on_metric(done: RowConversion, metric: str) -> tuple[float, float]:
    if done.conversion == "generic":
        return done.value, done.variance
    if metric == "fisher_z":
        return done.z, done.var_z
    if metric == "r":
        return done.r, done.var_r
    return math.nan, math.nan


def convert_effects(effects: pd.DataFrame, *, metric: str = "fisher_z") -> ConversionResult:
    """Convert every coded effect to r, Fisher's z and their sampling variances.

    Rows with an ``exclude_reason`` stay in the table with empty results. Rows that cannot be
    converted have empty results and an error. A generic effect keeps its own scale in ``yi`` and
    ``vi``; wherever it meets correlations (or they meet ``metric="generic"``) an error says so.

    Parameters
    ----------
    effects
        Checked effects table. Needed are ``effect_id``, ``study_id``, ``sample_id``,
        ``effect_type``, ``effect_value`` and what each type needs; absent columns count as empty.
    metric
        Analysis metric: "fisher_z" (yi = z), "r" (yi = r) or "generic" (yi = the value).

    Returns
    -------
    ConversionResult
        Table and problems. ``n`` is the number of persons used, where derived with the flag
        ``n_derived``. Other columns of the sheet that bear the name of a result (say, ``z``) are
        renamed to ``<name>_in_sheet``.

    Raises
    ------
    ValueError
        If the metric is unknown, a needed column is missing or a number column holds words.
    """
    require_metric(metric)
    rows = list(read_rows(effects))
    converted = [convert_row(row) for row in rows]
    problems = [
        locate_finding(row, finding)
        for row, done in zip(rows, converted, strict=True)
        for finding in (*done.findings, *find_metric_mismatch(row, metric))
    ]
    on_metric = [_on_metric(done, metric) for done in converted]
    index = effects.index

    def numbers(values: list[float]) -> pd.Series:
        return pd.Series(values, index=index, dtype="float64")

    def words(values: list[str]) -> pd.Series:
        # empty is missing, as in every text column
        return pd.Series(values, index=index, dtype="str").replace("", None)

    rest = effects.rename(columns={name: name + RENAMED_SUFFIX for name in _COMPUTED})
    taken = set(LEADING_COLUMNS)
    parts = {
        **{name: effects[name] for name in ("effect_id", "study_id", "sample_id")},
        "yi": numbers([y for y, _ in on_metric]),
        "vi": numbers([v for _, v in on_metric]),
        "r": numbers([done.r for done in converted]),
        "n": numbers([done.n for done in converted]),
        "conversion": words([done.conversion for done in converted]),
        "flags": words([";".join(done.flags) for done in converted]),
        **{str(name): rest[name] for name in rest.columns if name not in taken},
        "z": numbers([done.z for done in converted]),
        "vz": numbers([done.var_z for done in converted]),
        "vr": numbers([done.var_r for done in converted]),
    }
    return ConversionResult(pd.DataFrame(parts, index=index), problems)


def express_effects(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Put yi and vi of an effect sizes table on another metric.

    For an analysis whose metric differs from the one with which the table was made.

    Parameters
    ----------
    table
        Table of `convert_effects`, or its CSV read back.
    metric
        "fisher_z", "r" or "generic".

    Returns
    -------
    DataFrame
        A copy; rows that have no value on this metric have yi and vi empty.

    Raises
    ------
    ValueError
        If the metric is unknown.
    """
    require_metric(metric)
    expressed = table.copy()
    own_scale = table["conversion"] == "generic"
    if metric == "generic":
        expressed[["yi", "vi"]] = table[["yi", "vi"]].where(own_scale)
    else:
        names = ["z", "vz"] if metric == "fisher_z" else ["r", "vr"]
        expressed["yi"] = table[names[0]].mask(own_scale)
        expressed["vi"] = table[names[1]].mask(own_scale)
    return expressed
