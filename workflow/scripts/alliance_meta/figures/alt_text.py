"""Alternative texts: what a figure shows, in one or two sentences made from its tables."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from alliance_meta.figures.wording import (
    NOT_TESTED,
    OVERALL,
    as_mapping,
    describe_counts,
    describe_percent,
    find_level,
    label_level,
    label_value,
)
from alliance_meta.formatting import (
    format_count,
    format_effect,
    format_interval,
    format_number,
    join_words,
)

MOST_LEVELS = 4  # that a reader can follow in one sentence


def _name_effect(metric: str) -> str:
    return "effect" if metric == "generic" else "correlation"


def _describe_intervals(row: Mapping[str, float], metric: str, ci_level: float) -> str:
    """Return ".31 (95 % CI [.10, .49], 95 % prediction interval [...])"."""
    percent = describe_percent(ci_level)
    parts = []
    if interval := format_interval(row["ci_low"], row["ci_high"], metric):
        parts.append(f"{percent} CI {interval}")
    if interval := format_interval(row["pi_low"], row["pi_high"], metric):
        parts.append(f"{percent} prediction interval {interval}")
    brackets = f" ({', '.join(parts)})" if parts else ""
    return format_effect(row["estimate"], metric) + brackets


def forest_alt_text(
    effects: pd.DataFrame,
    summary: pd.DataFrame,
    heterogeneity: pd.DataFrame,
    *,
    title: str,
    ci_level: float = 0.95,
    metric: str = "fisher_z",
    level_labels: Mapping[str, str] | None = None,
) -> str:
    """Describe a forest plot.

    Parameters
    ----------
    effects, summary, heterogeneity
        The tables of `draw_forest`.
    title, ci_level, metric, level_labels
        As in `draw_forest`.

    Returns
    -------
    str
        One or two sentences.
    """
    estimates = effects["estimate"].to_numpy(dtype=float)
    estimates = estimates[np.isfinite(estimates)]
    count = describe_counts(effects["study_id"].nunique(), len(effects))
    first = f"Forest plot, {title}: {count}"
    if len(estimates) == 1:
        first += f", with the estimate {format_effect(estimates[0], metric)}"
    elif len(estimates):
        lowest = format_effect(float(estimates.min()), metric)
        first += f", with estimates from {lowest} to {format_effect(estimates.max(), metric)}"
    clauses = []
    overall = find_level(summary, OVERALL)
    if overall is not None and math.isfinite(overall["estimate"]):
        text = _describe_intervals(overall, metric, ci_level)
        clauses.append(f"the pooled {_name_effect(metric)} is {text}")
    levels = _describe_levels(summary, metric, level_labels)
    if levels:
        clauses.append(f"by level it is {levels}")
    i2 = as_mapping(heterogeneity).get("I2", math.nan)
    if math.isfinite(i2):
        clauses.append(f"heterogeneity is I² = {format_number(i2, 0)} %")
    if not clauses:
        return f"{first}."
    second = join_words(clauses)
    return f"{first}. {second[0].upper()}{second[1:]}."


def _describe_levels(
    summary: pd.DataFrame, metric: str, level_labels: Mapping[str, str] | None
) -> str:
    """Return the levels' estimates in words; of many levels only the two ends."""
    rows = summary.loc[summary["level"] != OVERALL]
    one_moderator = len({str(level).partition("=")[0] for level in rows["level"]}) == 1
    name = label_value if one_moderator else label_level
    texts = []
    for level, estimate, studies in zip(
        rows["level"], rows["estimate"], rows["k_studies"], strict=True
    ):
        note = f" ({NOT_TESTED})" if studies < 2 else ""
        label = name(str(level), level_labels)
        texts.append((estimate, f"{format_effect(estimate, metric)} for {label}{note}"))
    if len(texts) <= MOST_LEVELS:
        return join_words([text for _, text in texts])
    known = sorted((pair for pair in texts if math.isfinite(pair[0])), key=lambda pair: pair[0])
    if not known:
        return ""
    return f"between {known[0][1]} and {known[-1][1]}, over {len(texts)} levels"


def levels_alt_text(
    summary: pd.DataFrame,
    *,
    title: str,
    level_labels: Mapping[str, str] | None = None,
    metric: str = "fisher_z",
    ci_level: float = 0.95,
) -> str:
    """Describe a plot of levels.

    Parameters
    ----------
    summary, title, level_labels, metric, ci_level
        As in `draw_levels`.

    Returns
    -------
    str
        One or two sentences.
    """
    name = _name_effect(metric)
    levels = _describe_levels(summary, metric, level_labels)
    first = f"Dots and intervals, {title}"
    if levels:
        first += f": the pooled {name} is {levels}"
    overall = find_level(summary, OVERALL)
    if overall is None or not math.isfinite(overall["estimate"]):
        return f"{first}."
    return f"{first}. Overall the {name} is {_describe_intervals(overall, metric, ci_level)}."


def bubble_alt_text(
    effects: pd.DataFrame,
    moderator: str,
    line: pd.DataFrame,
    *,
    title: str,
    moderator_label: str,
    metric: str = "fisher_z",
    ci_level: float = 0.95,
) -> str:
    """Describe a bubble plot.

    Parameters
    ----------
    effects, moderator, line, title, moderator_label, metric, ci_level
        As in `draw_bubble`.

    Returns
    -------
    str
        One or two sentences.
    """
    shown = effects.loc[effects[moderator].notna() & effects["estimate"].notna()]
    count = format_count(len(shown), "effect")
    values = shown[moderator].to_numpy(dtype=float)
    first = f"Bubble plot, {title}: {count} against {moderator_label}"
    if len(values):
        first += f", which runs from {values.min():g} to {values.max():g}"
    fitted = line.dropna(subset=["x", "estimate"]).sort_values("x")
    if fitted.empty:
        return f"{first}."
    start, end = fitted.iloc[0], fitted.iloc[-1]
    ends = []
    for row in (start, end):
        interval = format_interval(row["ci_low"], row["ci_high"], metric)
        brackets = f" ({describe_percent(ci_level)} CI {interval})" if interval else ""
        ends.append(f"{format_effect(row['estimate'], metric)}{brackets} at {row['x']:g}")
    return f"{first}. The fitted {_name_effect(metric)} goes from {ends[0]} to {ends[1]}."
