"""Pairwise differences between the levels of a moderator, adjusted for their number."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.formatting import (
    format_count,
    format_df,
    format_number,
    format_p,
)
from alliance_meta.models.design import Level
from alliance_meta.models.pooling import Estimate

Array = NDArray[np.float64]

COMPARISON_COLUMNS = [
    "moderator",
    "level_a",
    "level_b",
    "difference",
    "se",
    "statistic",
    "df",
    "p_value",
    "p_holm",
    "ci_low",
    "ci_high",
]


def compare_levels(levels: Sequence[Level], contrast: Callable[[Array], Estimate]) -> pd.DataFrame:
    """Compare every two levels of each categorical moderator.

    Parameters
    ----------
    levels
        Levels of a design with the contrasts of their estimated marginal means.
    contrast
        Estimate of a linear combination of the coefficients, shape (p,), such as the fit's
        ``contrast``.

    Returns
    -------
    DataFrame
        Columns ``COMPARISON_COLUMNS``, on the analysis metric; ``difference`` is the mean of
        ``level_a`` minus that of ``level_b``, ``df`` is empty for a normal reference. The
        intervals are not adjusted; ``p_holm`` is, within each moderator.

    Notes
    -----
    Holm (1979), through ``adjust_holm``.
    """
    moderators: dict[str, list[Level]] = {}
    for level in levels:
        moderators.setdefault(level.moderator, []).append(level)
    tables = [_compare(name, members, contrast) for name, members in moderators.items()]
    rows = [row for table in tables for row in table]
    return pd.DataFrame(rows, columns=COMPARISON_COLUMNS).astype(
        dict.fromkeys(COMPARISON_COLUMNS[:3], "str") | dict.fromkeys(COMPARISON_COLUMNS[3:], float)
    )


def _compare(
    moderator: str, levels: Sequence[Level], contrast: Callable[[Array], Estimate]
) -> list[tuple[object, ...]]:
    pairs = list(combinations(levels, 2))
    estimates = [contrast(a.contrast - b.contrast) for a, b in pairs]
    adjusted = adjust_holm(np.array([e.p_value for e in estimates], dtype=float))
    rows: list[tuple[object, ...]] = []
    for (a, b), e, p_holm in zip(pairs, estimates, adjusted, strict=True):
        df = np.nan if np.isinf(e.df) else e.df
        numbers = (e.value, e.se, e.statistic, df, e.p_value, p_holm, e.ci_low, e.ci_high)
        rows.append((moderator, a.value, b.value, *numbers))
    return rows


def adjust_holm(p_values: Array) -> Array:
    """Adjust p-values for their number by Holm's step-down method.

    Parameters
    ----------
    p_values
        Shape (m,); NaN stays NaN and does not count as a member of the family.

    Notes
    -----
    Holm (1979): the i-th smallest of m p-values is multiplied by m − i + 1; no adjusted
    p-value is below that of a smaller one or above 1.
    """
    adjusted = np.full(len(p_values), np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    multipliers = np.arange(len(order), 0, -1)
    steps = np.maximum.accumulate(multipliers * p_values[order])
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def describe_comparisons(
    comparisons: pd.DataFrame,
    *,
    metric: str = "fisher_z",
    significance_level: float = 0.05,
    level_label: Callable[[str], str] = lambda name: name.partition("=")[2],
) -> list[str]:
    """Return a sentence for each moderator with three levels or more.

    With two levels the test of the moderator is the comparison already.

    Parameters
    ----------
    comparisons
        Table of ``compare_levels``.
    metric
        Analysis metric, which the differences are on.
    significance_level
        An adjusted p-value below it is named.
    level_label
        Turns a level name (``rater=client``) into a reader's words.
    """
    scale = {"fisher_z": " (differences in Fisher's z)", "r": " (differences in r)"}.get(metric, "")
    sentences = []
    for moderator, rows in comparisons.groupby("moderator", sort=False):
        if len(rows) < 2:
            continue
        words = str(moderator).replace("_", " ")
        tested = rows.loc[rows["p_holm"].notna()]
        if tested.empty:
            continue
        clear = tested.loc[tested["p_holm"] < significance_level]
        family = format_count(len(tested), "pairwise comparison")
        if len(tested) == 1 and clear.empty:
            sentences.append(
                f"Of the pairwise comparisons of the levels of {words} only one could be tested; "
                "it was not significant."
            )
            continue
        left = len(rows) - len(tested)
        untested = f"; {left} could not be tested" if left else ""
        if clear.empty:
            sentences.append(
                f"None of {family} of the levels of {words} was significant after Holm's "
                f"adjustment{untested}."
            )
            continue
        parts = [_difference_words(row, level_label) for row in clear.itertuples()]
        verb = "was" if len(clear) == 1 else "were"
        sentences.append(
            f"Of {family} of the levels of {words}{scale}, {len(clear)} {verb} significant after "
            f"Holm's adjustment: {'; '.join(parts)}{untested}."
        )
    return sentences


def _difference_words(row: Any, level_label: Callable[[str], str]) -> str:
    a, b = (level_label(f"{row.moderator}={level}") for level in (row.level_a, row.level_b))
    kind = "z" if np.isnan(row.df) else f"t({format_df(row.df)})"
    return (
        f"{a} minus {b} = {format_number(row.difference)}, {kind} = "
        f"{format_number(row.statistic)}, adjusted p {format_p(row.p_holm)}"
    )
