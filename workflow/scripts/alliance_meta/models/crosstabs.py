"""Cross-tables of moderators and how closely two of them go together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# two levels that share so much of both can hardly be told apart; so can a number of which
# another moderator explains so much: its variance inflation is 1 / (1 − 0.9) = 10
NEARLY_ALL = 0.9


@dataclass(frozen=True)
class Coded:
    """A moderator as codes of levels (−1: no level) or as numbers (NaN: none), shape (k,)."""

    name: str
    levels: tuple[str, ...] | None
    codes: Index
    values: Array

    @property
    def filled(self) -> NDArray[np.bool_]:
        """Rows with a value, shape (k,)."""
        return np.isfinite(self.values) if self.levels is None else self.codes >= 0


@dataclass(frozen=True)
class CrossTable:
    """Filled cells of two categorical moderators, and which studies stand in them.

    Attributes
    ----------
    study, cell, count
        One entry per study and cell: the study, the cell's position below, its effects.
    a, b
        Levels of each filled cell.
    effects, studies, weights
        Effects, studies and study weights of each filled cell; a study spreads a weight of
        one over its effects.
    """

    study: Index
    cell: Index
    count: Index
    a: Index
    b: Index
    effects: Index
    studies: Index
    weights: Array


@dataclass(frozen=True)
class LevelGroup:
    """Levels of two moderators that occur together, and how often.

    ``effects_a`` and ``effects_b`` count the effects of either side's levels, ``effects`` and
    ``studies`` those of both. ``share`` is the least share, by effects and by study weights,
    of one side that is also on the other; the same for all levels outside the group, as two
    levels that nearly every effect has go together without telling anything.
    """

    a: tuple[int, ...]
    b: tuple[int, ...]
    effects_a: int
    effects_b: int
    effects: int
    studies: int
    share: float


def as_text(values: pd.Series) -> pd.Series:
    """Return a categorical moderator as text; empty cells stay empty."""
    if isinstance(values.dtype, pd.StringDtype):
        return values
    return values.astype(object).map(str, na_action="ignore").astype("str")


def encode_column(column: pd.Series, name: str) -> Coded:
    """Return a column as codes of its levels, the most frequent first, or as numbers."""
    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy(dtype=float, na_value=np.nan)
        return Coded(name, None, np.empty(0, dtype=np.intp), values)
    text = as_text(column)
    counts = text.value_counts()
    levels = sorted(counts.index, key=lambda level: (-counts[level], level))
    codes = pd.Categorical(text, categories=levels).codes.astype(np.intp)
    return Coded(name, tuple(levels), codes, np.empty(0))


def distinct(codes: Index) -> Index:
    """Return the different codes, sorted; for whole numbers faster than ``np.unique``."""
    ordered = np.sort(codes)
    return ordered[np.concatenate([np.ones(min(len(codes), 1), dtype=bool), np.diff(ordered) > 0])]


def cross_tabulate(study: Index, a: Index, b: Index) -> CrossTable:
    """Count effects by study and cell; codes below zero are left out."""
    filled = (a >= 0) & (b >= 0)
    n_b, n_study = int(b.max(initial=0)) + 1, int(study.max(initial=0)) + 1
    # sorted by cell, then study
    keys = (a[filled] * n_b + b[filled]) * n_study + study[filled]
    entries, count = np.unique(keys, return_counts=True)
    cell, entry_study = np.divmod(entries, n_study)
    return _collect(entry_study, cell // n_b, cell % n_b, count)


def _collect(study: Index, a: Index, b: Index, count: Index) -> CrossTable:
    """Sum entries of one study and cell each, sorted by cell, over studies."""
    changes = (np.diff(a) != 0) | (np.diff(b) != 0)
    starts = np.flatnonzero(np.concatenate([np.ones(min(len(a), 1), dtype=bool), changes]))
    studies = np.diff(np.append(starts, len(a)))
    of_study = np.bincount(study, weights=count)
    return CrossTable(
        study,
        np.repeat(np.arange(len(starts)), studies),
        count,
        a[starts],
        b[starts],
        np.add.reduceat(count, starts),
        studies,
        np.add.reduceat(count / of_study[study], starts),
    )


def swap_sides(table: CrossTable) -> CrossTable:
    """Return the same cross-table with its two moderators in the other order."""
    return CrossTable(
        table.study,
        table.cell,
        table.count,
        table.b,
        table.a,
        table.effects,
        table.studies,
        table.weights,
    )


def cramers_v(weights: Array, a: Index, b: Index) -> float:
    """Return Cramér's V of a cross-table.

    Parameters
    ----------
    weights
        Weight of each filled cell, positive, of any sum, shape (c,).
    a, b
        Levels of each filled cell, shape (c,).

    Returns
    -------
    float
        In [0, 1]; NaN with fewer than two levels on either side.

    Notes
    -----
    Cramér (1946), χ² / n = Σ w² / (w_a w_b) − 1 over filled cells, no bias correction.
    """
    if not len(weights):
        return np.nan
    shares = weights / weights.sum()
    margin_a, margin_b = np.bincount(a, weights=shares), np.bincount(b, weights=shares)
    smaller = min(np.count_nonzero(margin_a), np.count_nonzero(margin_b))
    if smaller < 2:
        return np.nan
    phi2 = float((shares**2 / (margin_a[a] * margin_b[b])).sum()) - 1
    return float(np.sqrt(np.clip(phi2 / (smaller - 1), 0, 1)))


def correlation_ratio(codes: Index, values: Array, weights: Array) -> float:
    """Return eta², the share of a number's variance that lies between levels.

    Parameters
    ----------
    codes, values, weights
        Level (0, 1, …), number and positive weight of each effect, shape (k,).

    Returns
    -------
    float
        In [0, 1]; NaN with a constant number or fewer than two levels.
    """
    if len(values) == 0 or np.ptp(values) == 0 or np.ptp(codes) == 0:
        return np.nan
    centred = _standardise(values, weights)
    totals = np.bincount(codes, weights=weights)
    means = np.bincount(codes, weights=weights * centred) / np.where(totals > 0, totals, 1.0)
    within = float((weights * (centred - means[codes]) ** 2).sum())
    return float(np.clip(1 - within / weights.sum(), 0, 1))


def weighted_correlation(x: Array, y: Array, weights: Array) -> float:
    """Return Pearson's r with weights, shape (k,) each; NaN if a number is constant."""
    if len(x) == 0 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan
    product = weights * _standardise(x, weights) * _standardise(y, weights)
    return float(np.clip(product.sum() / weights.sum(), -1, 1))


def _standardise(values: Array, weights: Array) -> Array:
    """Return values with weighted mean 0 and weighted variance 1; not for constants."""
    # the range first, so that neither large nor tiny units overflow
    unit = (values - values.min()) / np.ptp(values)
    centred = unit - np.average(unit, weights=weights)
    scaled: Array = centred / np.sqrt(np.average(centred**2, weights=weights))
    return scaled


def without_rare(table: CrossTable, minimum_studies: int) -> CrossTable:
    """Leave out levels of too few studies, until every level left has enough."""
    while True:
        keep = np.ones(len(table.a), dtype=bool)
        for level in (table.a, table.b):
            entry = level[table.cell]
            # a level with enough studies in one cell needs no closer look
            suspect = np.zeros(int(level.max(initial=0)) + 1, dtype=np.intp)
            np.maximum.at(suspect, level, table.studies)
            doubtful = suspect[entry] < minimum_studies
            n_study = int(table.study.max(initial=0)) + 1
            found = distinct(entry[doubtful] * n_study + table.study[doubtful]) // n_study
            counts = np.bincount(found, minlength=len(suspect))
            keep &= np.maximum(counts, suspect)[level] >= minimum_studies
        if keep.all():
            return table
        rows = keep[table.cell]
        a, b = table.a[table.cell[rows]], table.b[table.cell[rows]]
        table = _collect(table.study[rows], a, b, table.count[rows])


def cell_shares(table: CrossTable) -> tuple[Array, Array]:
    """Return each filled cell's share of its levels; the smaller by effects and weights."""
    shares = []
    for level in (table.a, table.b):
        by_effects = table.effects / np.bincount(level, weights=table.effects)[level]
        by_weights = table.weights / np.bincount(level, weights=table.weights)[level]
        shares.append(np.minimum(by_effects, by_weights))
    return shares[0], shares[1]


def separate_groups(table: CrossTable, links: NDArray[np.bool_]) -> list[LevelGroup]:
    """Return the groups of levels that the linking cells hold together, smallest first."""
    n_a, n_b = int(table.a.max()) + 1, int(table.b.max()) + 1
    a, b = table.a[links], table.b[links] + n_a
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(n_a + n_b, n_a + n_b))
    _, component = connected_components(graph, directed=False)
    groups = np.asarray(component, dtype=np.intp)
    return _collect_groups(table, groups[:n_a], groups[n_a:])


def near_groups(table: CrossTable) -> list[LevelGroup]:
    """Return groups of levels that nearly never mix with the others, but for the largest."""
    share_a, share_b = cell_shares(table)
    weak = (share_a < 1 - NEARLY_ALL) & (share_b < 1 - NEARLY_ALL)
    found = separate_groups(table, ~weak)
    # a single group is the whole table
    found = found if len(found) > 1 else []
    pairs = np.flatnonzero((share_a >= NEARLY_ALL) & (share_b >= NEARLY_ALL))
    # no level is in two such pairs
    of_a, of_b = (np.full(int(level.max()) + 1, -1) for level in (table.a, table.b))
    of_a[table.a[pairs]] = of_b[table.b[pairs]] = np.arange(len(pairs))
    found += _collect_groups(table, of_a, of_b)
    groups = _in_order([g for g in dict.fromkeys(found) if g.share >= NEARLY_ALL])
    if len(groups) > 1 and _complementary(table, groups[:-1], groups[-1]):
        groups.pop()
    return groups


def _collect_groups(table: CrossTable, of_a: Index, of_b: Index) -> list[LevelGroup]:
    """Return groups from the group number of each level; below zero stands for none."""
    in_a, in_b = of_a[table.a], of_b[table.b]
    both = (in_a == in_b) & (in_a >= 0)
    n_groups = max(int(of_a.max()), int(of_b.max())) + 1
    everything = np.ones(len(both), dtype=bool)

    def total(measure: Array | Index, group: Index, cells: NDArray[np.bool_]) -> Array:
        cells = cells & (group >= 0)
        sums = np.bincount(group[cells], weights=measure[cells], minlength=n_groups)
        return np.asarray(sums, dtype=np.float64)

    # a level without a link makes no group
    numbers = distinct(in_a[both])
    share = np.ones(len(numbers))
    for measure in (table.effects, table.weights):
        inside = total(measure, in_a, both)[numbers]
        sums = [total(measure, side, everything)[numbers] for side in (in_a, in_b)]
        # effects of neither side; with none outside, the group is the whole table
        outside = measure.sum() - sums[0] - sums[1] + inside
        for one in sums:
            others = np.maximum(measure.sum() - one, np.finfo(float).tiny)
            share = np.minimum(share, np.minimum(inside / one, outside / others))
    n_study = int(table.study.max()) + 1
    entries = both[table.cell]
    studies = distinct(in_a[table.cell][entries] * n_study + table.study[entries]) // n_study
    effects_a, effects_b = (total(table.effects, s, everything)[numbers] for s in (in_a, in_b))
    columns = (
        _members(of_a, table.a, numbers),
        _members(of_b, table.b, numbers),
        effects_a.astype(int).tolist(),
        effects_b.astype(int).tolist(),
        total(table.effects, in_a, both)[numbers].astype(int).tolist(),
        np.bincount(studies, minlength=n_groups)[numbers].tolist(),
        share.tolist(),
    )
    return _in_order([LevelGroup(*row) for row in zip(*columns, strict=True)])


def _members(group: Index, level: Index, numbers: Index) -> list[tuple[int, ...]]:
    members: dict[int, list[int]] = {number: [] for number in numbers.tolist()}
    for one in distinct(level).tolist():
        members.get(int(group[one]), []).append(one)
    return [tuple(levels) for levels in members.values()]


def _in_order(groups: Sequence[LevelGroup]) -> list[LevelGroup]:
    return sorted(groups, key=lambda g: (len(g.a) + len(g.b), g.effects, g.a, g.b))


def _complementary(table: CrossTable, groups: Sequence[LevelGroup], last: LevelGroup) -> bool:
    """Return whether a group is just what other groups leave, so that it tells nothing new."""
    return all(
        set(level.tolist()) - {i for g in groups for i in getattr(g, side)}
        == set(getattr(last, side))
        for side, level in (("a", table.a), ("b", table.b))
    )
