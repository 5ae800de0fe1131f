"""Words that figures and their alternative texts share; no drawing here."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from alliance_meta.formatting import (
    format_count,
    format_df,
    format_effect,
    format_interval,
    format_number,
    format_p,
)

OVERALL = "overall"
# variances that each level may have of its own
_VARIANCES = {
    "tau2": "τ²",
    "tau2_between": "τ² between studies",
    "tau2_within": "τ² within studies",
}
NOT_TESTED = "too few studies, not tested"


def clean(value: Any) -> str:
    """Return a cell as one line of printable text; empty for a missing value."""
    if isinstance(value, str):
        return "".join(letter for letter in " ".join(value.split()) if letter.isprintable())
    return "" if pd.isna(value) else f"{float(value):.10g}"


def humanise(code: str) -> str:
    """Return a code as words: "outcome_domain" -> "outcome domain"."""
    return clean(code.replace("_", " "))


def label_moderator(moderator: str, level_labels: Mapping[str, str] | None = None) -> str:
    """Return the human name of a moderator, from ``level_labels`` where it is given."""
    words = humanise(moderator)
    return clean((level_labels or {}).get(moderator, words[:1].upper() + words[1:]))


def label_value(level: str, level_labels: Mapping[str, str] | None = None) -> str:
    """Return the human name of a level without its moderator: "rater=client" -> "client"."""
    if level_labels and level in level_labels:
        return clean(level_labels[level])
    return humanise(level.partition("=")[2])


def label_level(level: str, level_labels: Mapping[str, str] | None = None) -> str:
    """Return the human name of a level with its moderator: "Rater: client"."""
    moderator = label_moderator(level.partition("=")[0], level_labels)
    return f"{moderator}: {label_value(level, level_labels)}"


def describe_percent(ci_level: float) -> str:
    """Return a level of confidence as "95 %"."""
    return f"{100 * ci_level:g} %"


def describe_counts(studies: float, effects: float) -> str:
    """Return "12 studies, 30 effects"; a number that is missing is left out."""
    parts = []
    if math.isfinite(studies):
        parts.append(format_count(int(studies), "study", "studies"))
    if math.isfinite(effects):
        parts.append(format_count(int(effects), "effect"))
    return ", ".join(parts)


def describe_effect(estimate: float, low: float, high: float, metric: str) -> str:
    """Return ".31 [.10, .49]"; without an interval the estimate alone, "" if there is none."""
    if not math.isfinite(estimate):
        return ""
    return f"{format_effect(estimate, metric)} {format_interval(low, high, metric)}".strip()


def as_mapping(heterogeneity: pd.DataFrame) -> dict[str, float]:
    """Return parameter -> estimate of a heterogeneity table."""
    values = pd.to_numeric(heterogeneity["estimate"])
    return dict(zip(heterogeneity["parameter"].astype(str), values.astype(float), strict=True))


def _describe_variance(value: float) -> str:
    if 0 < value < 0.0005:
        return "< .001"
    return f"= {format_number(value, 3, leading_zero=False)}"


def describe_heterogeneity(
    heterogeneity: pd.DataFrame, level_labels: Mapping[str, str] | None = None
) -> list[str]:
    """Return the lines on heterogeneity and on moderators, in APA style.

    Parameters
    ----------
    heterogeneity
        Columns parameter and estimate; I2 in percent.
    level_labels
        Names of levels, for variances of single levels ("tau2[rater=client]").

    Returns
    -------
    list of str
        At most one line on heterogeneity and one on the moderators; parameters that are
        missing are left out. A test of moderators without a p-value had it withheld.
    """
    values = {k: v for k, v in as_mapping(heterogeneity).items() if math.isfinite(v)}
    parts = []
    if "tau2" in values:
        parts.append(f"τ² {_describe_variance(values['tau2'])}")
    if "tau2_between" in values:
        parts.append(f"τ² between studies {_describe_variance(values['tau2_between'])}")
    if "tau2_within" in values:
        parts.append(f"within studies {_describe_variance(values['tau2_within'])}")
    for name, value in values.items():
        stem, bracket, level = name.partition("[")
        if bracket and stem in _VARIANCES:
            label = label_value(level.removesuffix("]"), level_labels)
            parts.append(f"{_VARIANCES[stem]} of {label} {_describe_variance(value)}")
    if "I2" in values:
        parts.append(f"I² = {format_number(values['I2'], 0)} %")
    if "Q" in values and "Q_df" in values:
        test = f"Q({format_df(values['Q_df'])}) = {format_number(values['Q'])}"
        parts.append(test + (f", p {format_p(values['Q_p'])}" if "Q_p" in values else ""))
    kind = "Residual heterogeneity" if "QM" in values else "Heterogeneity"
    lines = [f"{kind}: {', '.join(parts)}"] if parts else []
    if "QM" in values and "QM_df1" in values:
        df = format_df(values["QM_df1"])
        df2 = values.get("QM_df2", math.nan)
        test = f"F({df}, {format_df(df2)})" if math.isfinite(df2) else f"QM({df})"
        test += f" = {format_number(values['QM'])}"
        test += f", p {format_p(values['QM_p'])}" if "QM_p" in values else ", p withheld"
        lines.append(f"Test of moderators: {test}")
    return lines


def find_level(summary: pd.DataFrame, level: str) -> dict[str, Any] | None:
    """Return the row of a level as a dict, or None if the summary has no such row."""
    rows = summary.loc[summary["level"] == level]
    if rows.empty:
        return None
    return {str(key): value for key, value in rows.iloc[0].items()}
