"""Alternative texts of the figures that show how far a result can be trusted."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.figures.wording import clean, describe_effect, describe_percent
from alliance_meta.formatting import format_count, format_effect, format_number, join_words

MOST_NAMED = 3  # studies that one sentence names


def _records(table: pd.DataFrame, *columns: str) -> list[dict[str, Any]]:
    """Return the rows that have a number in every one of the columns, as dicts."""
    return [
        {str(name): cell for name, cell in row.items()}
        for row in _finite(table, *columns).to_dict("records")
    ]


def _extremes(rows: list[dict[str, Any]], column: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the rows with the smallest and the largest number; the first of equals."""

    def value(row: dict[str, Any]) -> float:
        return float(row[column])

    return min(rows, key=value), max(rows, key=value)


def _finite(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Return the rows that have a number in every one of the columns."""
    return table.loc[np.isfinite(table[list(columns)].to_numpy(dtype=float)).all(axis=1)]


def _name_effect(metric: str) -> str:
    return "effect" if metric == "generic" else "correlation"


def _describe(row: Mapping[str, Any], metric: str, ci_level: float) -> str:
    """Return ".31 (95 % CI [.25, .37])"."""
    text = describe_effect(row["estimate"], row["ci_low"], row["ci_high"], metric)
    value, bracket, interval = text.partition(" ")
    return f"{value} ({describe_percent(ci_level)} CI {interval})" if bracket else value


def funnel_alt_text(
    table: pd.DataFrame,
    *,
    title: str,
    estimate: float,
    residual: bool = False,
    filled: pd.DataFrame | None = None,
    metric: str = "fisher_z",
) -> str:
    """Describe a funnel plot.

    Parameters
    ----------
    table, title, estimate, residual, filled, metric
        As in `draw_funnel`.

    Returns
    -------
    str
        Two or three sentences.
    """
    column = "residual" if residual else "x"
    shown = _finite(table, column, "se")
    x, se = shown[column].to_numpy(dtype=float), shown["se"].to_numpy(dtype=float)
    kind = "Funnel plot of residuals" if residual else "Funnel plot"
    text = f"{kind}, {title}: {format_count(len(x), 'effect')}"
    if len(x) > 1:
        text += f" with standard errors from {format_number(se.min())} to {format_number(se.max())}"
    elif len(x):
        text += f" with the standard error {format_number(se[0])}"
    text += "."
    centre = 0.0 if residual else estimate
    if math.isfinite(centre) and len(x) > 1:
        if residual:
            name = "zero"
        else:
            value = math.tanh(centre) if metric == "fisher_z" else centre
            name = f"the pooled {_name_effect(metric)} {format_effect(value, metric)}"
        right, left = int((x > centre).sum()), int((x < centre).sum())
        text += f" Right of {name}: {right}; left of it: {left}."
    added = 0 if filled is None else len(_finite(filled, "x", "se"))
    if added:
        text += f" Trim-and-fill adds {format_count(added, 'effect')}."
    return text


def baujat_alt_text(table: pd.DataFrame, *, title: str) -> str:
    """Describe a Baujat plot.

    Parameters
    ----------
    table, title
        As in `draw_baujat`.

    Returns
    -------
    str
        One or two sentences.
    """
    shown = _records(table, "x", "y")
    text = f"Baujat plot, {title}: {format_count(len(shown), 'effect')}."
    if not shown:
        return text
    most, mover = _extremes(shown, "x")[1], _extremes(shown, "y")[1]
    first = f"{clean(most['label'])} adds most to the heterogeneity ({format_number(most['x'])})"
    joint = " and" if most is mover else f"; {clean(mover['label'])}"
    return (
        f"{text} {first}{joint} has the most influence on the result ({format_number(mover['y'])})."
    )


def _describe_range(values: NDArray[np.float64], metric: str) -> str:
    """Return ", with estimates from .18 to .44 (median .32)"; "" without an estimate."""
    if not len(values):
        return ""
    if len(values) == 1:
        return f", with the estimate {format_effect(float(values[0]), metric)}"
    low, middle, high = (
        format_effect(float(value), metric)
        for value in (values.min(), np.median(values), values.max())
    )
    return f", with estimates from {low} to {high} (median {middle})"


def _name_some(names: list[str]) -> str:
    unique = list(dict.fromkeys(names))
    if len(unique) > MOST_NAMED + 1:
        unique = [*unique[:MOST_NAMED], f"{len(unique) - MOST_NAMED} more"]
    return join_words(unique)


def influence_alt_text(table: pd.DataFrame, flagged: list[bool], *, title: str) -> str:
    """Describe a panel of influence diagnostics.

    Parameters
    ----------
    table, title
        As in `draw_influence`.
    flagged
        Which effects are influential.

    Returns
    -------
    str
        Two or three sentences.
    """
    text = f"Influence diagnostics, {title}: {format_count(len(table), 'effect')}"
    count = sum(flagged)
    if count:
        labels = [clean(cell) for cell, flag in zip(table["label"], flagged, strict=True) if flag]
        verb = "is" if count == 1 else "are"
        text += f", of which {count} {verb} influential ({_name_some(labels)})."
    else:
        text += ", none of them influential."
    known = _records(table, "rstudent")
    if known:
        row = max(known, key=lambda found: abs(float(found["rstudent"])))
        value = format_number(float(row["rstudent"]))
        text += f" The largest studentised residual is {value} ({clean(row['label'])})."
    return text


def gosh_alt_text(
    table: pd.DataFrame, *, title: str, estimate: float, metric: str = "fisher_z"
) -> str:
    """Describe a GOSH plot.

    Parameters
    ----------
    table, title, estimate, metric
        As in `draw_gosh`.

    Returns
    -------
    str
        Two or three sentences.
    """
    values = _finite(table, "estimate")["estimate"].to_numpy(dtype=float)
    i2 = _finite(table, "estimate", "I2")["I2"].to_numpy(dtype=float)
    text = f"GOSH plot, {title}: {format_count(len(values), 'subset')} of the studies"
    text += _describe_range(values, metric)
    if len(i2):
        low, high = format_number(float(i2.min()), 0), format_number(float(i2.max()), 0)
        text += f" and I² from {low} to {high} %"
    text += "."
    if math.isfinite(estimate):
        text += f" All studies together give {format_effect(estimate, metric)}."
    return text


def cumulative_alt_text(
    tables: Mapping[str, pd.DataFrame],
    *,
    title: str,
    metric: str = "fisher_z",
    ci_level: float = 0.95,
) -> str:
    """Describe cumulative forest plots.

    Parameters
    ----------
    tables
        Words for the order ("in the order of their years") -> table of `draw_cumulative`.
    title, metric, ci_level
        As in `draw_cumulative`.

    Returns
    -------
    str
        A sentence, and one per order.
    """
    text = f"Cumulative forest plot, {title}."
    for order, table in tables.items():
        known = _records(table, "estimate")
        ends = [
            f"{_describe(row, metric, ci_level)} with {format_count(int(row['k']), 'effect')}"
            for row in (known[0], known[-1])
        ]
        path = f"goes from {ends[0]} to {ends[1]}" if len(known) > 1 else f"is {ends[0]}"
        text += f" With studies added {order}, the {_name_effect(metric)} {path}."
    return text


def leave_one_out_alt_text(table: pd.DataFrame, *, title: str, metric: str = "fisher_z") -> str:
    """Describe a plot of results without one study.

    Parameters
    ----------
    table, title, metric
        As in `draw_leave_one_out`.

    Returns
    -------
    str
        Two sentences.
    """
    known = _records(table, "estimate")
    count = format_count(len(known), "study", "studies")
    text = f"Leave-one-out plot, {title}: each of {count} left out in turn."
    if not known:
        return text
    low, high = _extremes(known, "estimate")
    text += (
        f" The pooled {_name_effect(metric)} lies between {format_effect(low['estimate'], metric)} "
        f"(without {clean(low['left_out'])}) and {format_effect(high['estimate'], metric)} "
        f"(without {clean(high['left_out'])})."
    )
    moved = [clean(row["left_out"]) for row in known if clean(row["changes"])]
    if not moved:
        return f"{text} No study changes its sign or significance."
    return f"{text} Its sign or significance changes without {_name_some(moved)}."


def rho_alt_text(
    table: pd.DataFrame,
    *,
    rho: float,
    title: str,
    metric: str = "fisher_z",
    ci_level: float = 0.95,
) -> str:
    """Describe a plot of the estimate over rho.

    Parameters
    ----------
    table, rho, title, metric, ci_level
        As in `draw_rho_sweep`.

    Returns
    -------
    str
        One or two sentences.
    """
    known = sorted(_records(table, "rho", "estimate"), key=lambda row: float(row["rho"]))
    text = f"Estimate over the assumed correlation ρ, {title}."
    if not known:
        return text
    ends = [
        f"{_describe(row, metric, ci_level)} at ρ = "
        f"{format_number(float(row['rho']), 2, leading_zero=False)}"
        for row in (known[0], known[-1])
    ]
    text += f" The {_name_effect(metric)} goes from {ends[0]} to {ends[1]}."
    here = [row for row in known if math.isclose(row["rho"], rho, abs_tol=1e-6)]
    if here:
        value = format_number(rho, 2, leading_zero=False)
        text += f" The analysis assumes ρ = {value}: {_describe(here[0], metric, ci_level)}."
    return text


def rho_terms_alt_text(table: pd.DataFrame, *, rho: float, title: str) -> str:
    """Describe a plot of coefficients over rho.

    Parameters
    ----------
    table, rho, title
        As in `draw_rho_terms`.

    Returns
    -------
    str
        Two sentences.
    """
    known = _finite(table, "rho", "estimate")
    spans = {
        str(name): (float(part.min()), float(part.max()))
        for name, part in known.groupby("name", sort=False)["estimate"]
    }
    text = f"Coefficients over the assumed correlation ρ, {title}: "
    text += f"{format_count(len(spans), 'coefficient')}, each over ρ from "
    text += " to ".join(
        format_number(float(end), 2, leading_zero=False)
        for end in (known["rho"].min(), known["rho"].max())
    )
    if math.isfinite(rho):
        text += f" (the analysis: {format_number(rho, 2, leading_zero=False)})"
    widest = max(spans, key=lambda name: spans[name][1] - spans[name][0])
    ends = [format_number(end) for end in spans[widest]]
    return f"{text}. The one that moves most is {widest}, from {ends[0]} to {ends[1]}."


def specification_curve_alt_text(
    table: pd.DataFrame,
    outcomes: list[str],
    *,
    title: str,
    metric: str = "fisher_z",
) -> str:
    """Describe a specification curve.

    Parameters
    ----------
    table, title, metric
        As in `draw_specification_curve`.
    outcomes
        For each specification whether it is significant: yes, no or "not tested".

    Returns
    -------
    str
        Two or three sentences.
    """
    values = table["estimate"].to_numpy(dtype=float)
    known = np.isfinite(values)
    count = format_count(int(known.sum()), "specification")
    text = f"Specification curve, {title}: {count}{_describe_range(values[known], metric)}"
    shown = [outcome for outcome, has_estimate in zip(outcomes, known, strict=True) if has_estimate]
    text += f". {format_count(shown.count('yes'), 'is', 'are')} significant"
    untested = shown.count("not tested")
    text += f" and {format_count(untested, 'was', 'were')} not tested." if untested else "."
    if missing := int((~known).sum()):
        text += f" {format_count(missing, 'specification')} could not be estimated."
    return text


def bias_panel_alt_text(
    table: pd.DataFrame,
    conclusions: list[str],
    reference: Mapping[str, float],
    *,
    title: str,
    metric: str = "fisher_z",
    ci_level: float = 0.95,
) -> str:
    """Describe a panel of methods against publication bias.

    Parameters
    ----------
    table
        As in `draw_bias_panel`.
    conclusions
        For each row, whether the conclusion "holds", "does not hold" or is "unclear".
    reference
        estimate, ci_low and ci_high of the analysis itself.
    title, metric, ci_level
        As in `draw_bias_panel`.

    Returns
    -------
    str
        Two or three sentences.
    """
    text = f"Methods against publication bias, {title}: "
    text += f"the analysis itself gives {_describe(reference, metric, ci_level)}"
    known = _records(table, "estimate")
    if known:
        low, high = _extremes(known, "estimate")
        text += f"; {format_count(len(known), 'method')} {'gives' if len(known) == 1 else 'give'} "
        if len(known) == 1:
            text += f"{format_effect(low['estimate'], metric)} ({clean(low['method'])})"
        else:
            text += (
                f"between {format_effect(low['estimate'], metric)} ({clean(low['method'])}) and "
                f"{format_effect(high['estimate'], metric)} ({clean(high['method'])})"
            )
    counts = [
        f"{verb} for {conclusions.count(word)}"
        for word, verb in (
            ("holds", "holds"),
            ("does not hold", "does not hold"),
            ("unclear", "is unclear"),
        )
        if word in conclusions
    ]
    if counts:
        text += f". The conclusion {join_words(counts)}"
    return f"{text}."
