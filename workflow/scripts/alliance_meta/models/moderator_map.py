"""How the moderators of a review hang together, pair by pair."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.formatting import format_count, join_words
from alliance_meta.models.aliasing import (
    Finding,
    LevelLabel,
    judge_explained,
    judge_levels,
    judge_numbers,
)
from alliance_meta.models.crosstabs import (
    Coded,
    CrossTable,
    correlation_ratio,
    cramers_v,
    cross_tabulate,
    distinct,
    encode_column,
    weighted_correlation,
    without_rare,
)
from alliance_meta.models.specification import SpecificationError

Index = NDArray[np.intp]

PAIR_COLUMNS = [
    "moderator_a",
    "moderator_b",
    "measure",
    "value",
    "k_studies",
    "k_effects",
    "cells",
    "empty_cells",
    "flag",
    "note",
]
CELL_COLUMNS = ["moderator_a", "level_a", "moderator_b", "level_b", "k_studies", "k_effects"]

# models test no level of fewer studies, so that none is flagged
MINIMUM_STUDIES_PER_LEVEL = 2
# larger cross-tables list their filled cells only
MAXIMUM_CELLS = 2500

SEVERITIES = ("aliased", "nearly_aliased", "nested")


@dataclass(frozen=True)
class ModeratorMap:
    """Associations of all moderators, pair by pair.

    Attributes
    ----------
    pairs
        One row per pair, columns ``PAIR_COLUMNS``: ``measure`` is "cramers_v" (two
        categorical moderators), "eta2" (one of each kind) or "r" (two numbers); ``value`` is
        empty where it is not defined, and ``note`` says why. ``cells`` and ``empty_cells``
        are counts, empty for pairs with a number. ``flag`` is "aliased" (no additive model
        can hold both), "nearly_aliased", "nested" or "".
    cells
        One row per cell of each pair of categorical moderators, empty cells included,
        columns ``CELL_COLUMNS``.
    sentences
        The notes of flagged pairs, worst first.
    """

    pairs: pd.DataFrame
    cells: pd.DataFrame
    sentences: tuple[str, ...] = ()


def map_moderators(
    data: pd.DataFrame,
    moderators: Sequence[str],
    level_label: LevelLabel = lambda name: name,
) -> ModeratorMap:
    """Relate every two moderators of a review.

    Parameters
    ----------
    data
        Effects that enter, with ``study_id``; columns that are not numeric are categorical.
    moderators
        Columns of ``data``.
    level_label
        Turns a level name (``rater=observer``) into a reader's words.

    Returns
    -------
    ModeratorMap

    Raises
    ------
    SpecificationError
        If a moderator is no column.

    Notes
    -----
    Most codes are properties of a study, so that counting effects would let a study with ten
    effects speak ten times. In all three measures each study counts once: its effects with
    both values share a weight of one. Counts of studies and of effects stand beside.
    Effects without one of the two values are left out of that pair.

    The measures describe the studies at hand, not a population of studies: Cramér's V (1946)
    is plain, without Bergsma's (2013) correction, so that it is 1 exactly where one
    moderator fixes the other; eta² is the squared correlation ratio of the number on the
    levels; r is Pearson's.

    Flags look at levels of two studies or more, as models test no others.

    - "aliased": the levels fall into groups that never mix (the cross-table is not
      connected; Searle 1987, ch. 5), or a number is fixed by the other moderator. In a model
      of both some contrast of the one is some contrast of the other.
    - "nearly_aliased": two levels (or groups of levels) share at least 90 % of the effects of
      either, and so do all other levels; or 90 % of the variance of a number is explained.
    - "nested": at least 90 % of a level of three studies or more lie within one level of
      the other moderator, which has other effects too, but at most half of all others. Given
      the other moderator, its contrast rests on that one level.

    A share of 90 % must hold for effects and for study weights.
    """
    names = list(dict.fromkeys(moderators))
    _require_columns(data, names)
    study = np.asarray(pd.factorize(data["study_id"], use_na_sentinel=False)[0], dtype=np.intp)
    columns = [encode_column(data[name], name) for name in names]
    rows = []
    cells = []
    for one, two in combinations(columns, 2):
        if one.levels is not None and two.levels is not None:
            table = cross_tabulate(study, one.codes, two.codes)
            rows.append(_categorical_pair(one, two, table, level_label))
            cells.append(_cell_table(one, two, table))
        else:
            rows.append(_numeric_pair(one, two, study))
    pairs = pd.DataFrame(rows, columns=PAIR_COLUMNS)
    counts = ["k_studies", "k_effects", "cells", "empty_cells"]
    texts = ["moderator_a", "moderator_b", "measure", "flag", "note"]
    pairs = pairs.astype({"value": float, **dict.fromkeys(counts, "Int64")})
    pairs = pairs.astype(dict.fromkeys(texts, "str"))
    flagged = [pairs.loc[pairs["flag"] == flag, "note"] for flag in SEVERITIES]
    sentences = tuple(note for notes in flagged for note in notes)
    cell_table = pd.concat(cells, ignore_index=True) if cells else _no_cells()
    return ModeratorMap(pairs, cell_table, sentences)


def _require_columns(data: pd.DataFrame, names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in data.columns]
    if unknown:
        listed = ", ".join(f"'{name}'" for name in unknown)
        raise SpecificationError(f"there is no column {listed}", setting="moderators")


def _categorical_pair(
    one: Coded, two: Coded, table: CrossTable, level_label: LevelLabel
) -> tuple[object, ...]:
    value = cramers_v(table.weights, table.a, table.b)
    n_cells = len(distinct(table.a)) * len(distinct(table.b))
    if np.isnan(value):
        finding = Finding("", _undefined_note(one, two, len(table.cell), "level"))
    else:
        tested = without_rare(table, MINIMUM_STUDIES_PER_LEVEL)
        finding = judge_levels(one, two, tested, level_label)
        rare = int(table.effects.sum() - tested.effects.sum())
        finding = _with_base(finding, len(one.codes) - int(table.effects.sum()), rare)
    studies, effects = len(distinct(table.study)), int(table.effects.sum())
    empty = n_cells - len(table.a)
    counts = (studies, effects, n_cells, empty)
    return (one.name, two.name, "cramers_v", value, *counts, *finding)


def _numeric_pair(one: Coded, two: Coded, study: Index) -> tuple[object, ...]:
    filled = one.filled & two.filled
    present = study[filled]
    weights = 1 / np.bincount(present)[present]
    studies = len(distinct(present))
    if one.levels is None and two.levels is None:
        measure = "r"
        value = weighted_correlation(one.values[filled], two.values[filled], weights)
        finding = judge_numbers(one, two, value, studies)
        rare = 0
    else:
        measure = "eta2"
        factor, number = (two, one) if one.levels is None else (one, two)
        codes, values = factor.codes[filled], number.values[filled]
        value = correlation_ratio(codes, values, weights)
        # levels of one study fix any number that belongs to the study
        tested = _in_tested_levels(codes, present)
        among = correlation_ratio(codes[tested], values[tested], weights[tested])
        explained = min(value, among) if np.isfinite(among) else np.nan
        finding = judge_explained(factor, number, explained)
        rare = int((~tested).sum())
    finding = _with_base(finding, int((~filled).sum()), rare)
    if np.isnan(value):
        finding = Finding("", _undefined_note(one, two, int(filled.sum()), "value"))
    counts = (studies, int(filled.sum()), pd.NA, pd.NA)
    return (one.name, two.name, measure, value, *counts, *finding)


def _with_base(finding: Finding, without_value: int, rare: int) -> Finding:
    """Add to a note how many effects it does not speak of."""
    parts = [f"{format_count(without_value, 'effect')} without both values"] * (without_value > 0)
    parts += [f"{format_count(rare, 'effect')} in levels of fewer than two studies"] * (rare > 0)
    if not (parts and finding.note):
        return finding
    return Finding(finding.flag, f"{finding.note} (Left aside: {join_words(parts)}.)")


def _in_tested_levels(codes: Index, study: Index) -> NDArray[np.bool_]:
    """Return which rows belong to levels of at least two studies."""
    n_study = int(study.max(initial=0)) + 1
    found = distinct(codes * n_study + study) // n_study
    enough = np.bincount(found) >= MINIMUM_STUDIES_PER_LEVEL
    return np.asarray(enough[codes], dtype=bool)


def _undefined_note(one: Coded, two: Coded, effects: int, noun: str) -> str:
    if not effects:
        names = " and ".join(m.name.replace("_", " ") for m in (one, two))
        return f"No effect has a value for both {names}."
    return f"Among effects with both values one of the two has a single {noun} only."


def _cell_table(one: Coded, two: Coded, table: CrossTable) -> pd.DataFrame:
    levels_a, levels_b = distinct(table.a), distinct(table.b)
    if len(levels_a) * len(levels_b) > MAXIMUM_CELLS:
        a, b, studies, effects = table.a, table.b, table.studies, table.effects
    else:
        a, b = np.repeat(levels_a, len(levels_b)), np.tile(levels_b, len(levels_a))
        place = np.searchsorted(levels_a, table.a) * len(levels_b)
        place = place + np.searchsorted(levels_b, table.b)
        studies, effects = np.zeros((2, len(a)), dtype=np.intp)
        studies[place], effects[place] = table.studies, table.effects
    names_a, names_b = (np.array(m.levels, dtype=object) for m in (one, two))
    cells = pd.DataFrame(
        {
            "moderator_a": one.name,
            "level_a": names_a[a] if len(a) else [],
            "moderator_b": two.name,
            "level_b": names_b[b] if len(b) else [],
            "k_studies": studies,
            "k_effects": effects,
        }
    )
    return _typed_cells(cells)


def _no_cells() -> pd.DataFrame:
    return _typed_cells(pd.DataFrame(columns=CELL_COLUMNS))


def _typed_cells(cells: pd.DataFrame) -> pd.DataFrame:
    return cells.astype(
        dict.fromkeys(CELL_COLUMNS[:4], "str") | dict.fromkeys(CELL_COLUMNS[4:], "Int64")
    )
