"""Moderators that cannot be told apart, in words that name levels and counts."""

import re
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.formatting import format_count, format_number, join_words
from alliance_meta.models.crosstabs import (
    NEARLY_ALL,
    Coded,
    CrossTable,
    LevelGroup,
    cell_shares,
    correlation_ratio,
    cross_tabulate,
    distinct,
    encode_column,
    near_groups,
    separate_groups,
    swap_sides,
    weighted_correlation,
)

Array = NDArray[np.float64]
Index = NDArray[np.intp]
LevelLabel = Callable[[str], str]

# a level within another one is worth a word only if at least half of the others lie elsewhere
# and it is not there by the chance of one or two studies
AT_MOST_HALF = 0.5
MINIMUM_STUDIES_NESTED = 3
# two points always lie on a line
MINIMUM_STUDIES_PER_LINE = 3
# what rounding leaves of an exact relation
EXACT = 1e-10
# rounding of a least-squares solution of scaled columns
ROUNDING = 1e-8
# condition of centred, scaled columns from which a design counts as near-singular
# (Belsley, Kuh & Welsch 1980)
MAXIMUM_CONDITION = 30.0
# a note names so many pairs of levels; the reader then looks at the cells
MAXIMUM_NAMED = 3

# what stands in square brackets in the name of a column
_LEVEL = re.compile(r"\[.*?\]")


class Finding(NamedTuple):
    """What a pair of moderators does to each other, and the sentence that says so."""

    flag: str
    note: str


def describe_aliasing(
    data: pd.DataFrame,
    variables: Sequence[str],
    X: Array,
    terms: Sequence[str],
    level_label: LevelLabel = lambda name: name,
) -> str:
    """Say which levels make a design singular, or nearly so.

    Parameters
    ----------
    data
        The rows of the model, no missing moderator, with ``study_id``.
    variables
        Moderators of the formula.
    X, terms
        Design, shape (k, p), and the names of its columns.
    level_label
        Turns a level name (``rater=observer``) into a reader's words.

    Returns
    -------
    str
        Sentences; empty if the design is neither singular nor, by the condition number of
        its centred and scaled columns, close to it with moderators that explain why.
    """
    singular, near = _judge_design(X)
    if not (singular or near):
        return ""
    study = np.asarray(pd.factorize(data["study_id"], use_na_sentinel=False)[0], dtype=np.intp)
    columns = [encode_column(data[name], name) for name in dict.fromkeys(variables)]
    sentences = []
    if singular:
        sentences += [
            f"{_capitalised(_words(m.name))} is the same in all effects."
            for m in columns
            if m.levels is None and _is_constant(m.values[m.filled])
        ]
    for one, two in combinations(columns, 2):
        finding = _judge_in_model(one, two, study, level_label)
        if finding.flag == "aliased" or (near and finding.flag == "nearly_aliased"):
            sentences.append(finding.note)
        elif singular and _interact(one, two, terms):
            sentences += _unestimable_interaction(one, two, study, level_label)
    if singular and not sentences:
        sentences = _dependent_columns(X, terms)
    return " ".join(sentences)


def judge_levels(one: Coded, two: Coded, table: CrossTable, level_label: LevelLabel) -> Finding:
    """Say whether levels of two categorical moderators can be told apart."""
    if len(distinct(table.a)) < 2 or len(distinct(table.b)) < 2:
        return Finding("", "")
    groups = separate_groups(table, table.effects > 0)
    if len(groups) > 1:
        return Finding("aliased", _aliased_note(one, two, groups, level_label))
    near = near_groups(table)
    if near:
        return Finding("nearly_aliased", _near_note(one, two, near, level_label))
    sides = [(one, two, table), (two, one, swap_sides(table))]
    nested = [(*side, cell) for side in sides for cell in _nested_cells(side[2]).tolist()]
    notes = [_nested_note(*found, level_label) for found in nested[:MAXIMUM_NAMED]]
    if len(nested) > MAXIMUM_NAMED:
        left = format_count(len(nested) - MAXIMUM_NAMED, "further level")
        notes.append(f"The same goes for {left}.")
    return Finding("nested" if notes else "", " ".join(notes))


def judge_explained(factor: Coded, number: Coded, explained: float) -> Finding:
    """Say whether a number can be told apart from levels that explain this share of it."""
    first, second = _words(number.name), _words(factor.name)
    if explained > 1 - EXACT:
        return Finding(
            "aliased",
            f"{_capitalised(first)} follows from {second}: it has a single value within each "
            "level, so that a model cannot hold both.",
        )
    if explained >= NEARLY_ALL:
        value = format_number(np.floor(100 * explained) / 100, 2, leading_zero=False)
        return Finding(
            "nearly_aliased",
            f"{_capitalised(first)} and {second} can hardly be told apart: {first} hardly varies "
            f"within levels (η² = {value}).",
        )
    return Finding("", "")


def judge_numbers(one: Coded, two: Coded, r: float, studies: int) -> Finding:
    """Say whether two numbers with this correlation over some studies can be told apart."""
    if studies < MINIMUM_STUDIES_PER_LINE or not r**2 >= NEARLY_ALL:
        return Finding("", "")
    first, second = _words(one.name), _words(two.name)
    if r**2 > 1 - EXACT:
        return Finding(
            "aliased",
            f"{_capitalised(first)} and {second} lie on a line: they cannot be told apart.",
        )
    value = format_number(np.trunc(100 * r) / 100, 2, leading_zero=False)
    return Finding(
        "nearly_aliased",
        f"{_capitalised(first)} and {second} can hardly be told apart: r = {value}.",
    )


def _aliased_note(
    one: Coded, two: Coded, groups: Sequence[LevelGroup], level_label: LevelLabel
) -> str:
    first, second = _words(one.name), _words(two.name)
    single_a, single_b = (all(len(getattr(g, s)) == 1 for g in groups) for s in ("a", "b"))
    if single_a and single_b and len(groups) > 2:
        return (
            f"{_capitalised(first)} and {second} cannot be told apart: each level of the one "
            f"occurs with one level of the other only."
        )
    if (single_a or single_b) and len(groups) > 2:
        wide, narrow = (first, second) if single_a else (second, first)
        return (
            f"{_capitalised(wide)} follows from {narrow}: each level of {narrow} occurs within "
            f"one level of {wide} only, so that a model cannot hold both."
        )
    # the largest group is what the others leave
    parts = [
        f"{_name_levels(one, g.a, level_label)} and {_name_levels(two, g.b, level_label)} occur "
        f"only together, in {_base_words(g.effects, g.studies)}"
        for g in groups[:-1]
    ]
    parts = _shorten(parts, "such group")
    return f"{_capitalised('; '.join(parts))}: {first} and {second} cannot be told apart here."


def _near_note(
    one: Coded, two: Coded, groups: Sequence[LevelGroup], level_label: LevelLabel
) -> str:
    parts = []
    for g in groups:
        a, b = _name_levels(one, g.a, level_label), _name_levels(two, g.b, level_label)
        parts.append(
            f"{g.effects} of {format_count(g.effects_a, 'effect')} of {a} are of {b}, which has "
            f"{g.effects_b} in all"
        )
    first, second = _words(one.name), _words(two.name)
    listed = "; ".join(_shorten(parts, "such group"))
    return f"{_capitalised(first)} and {second} can hardly be told apart: {listed}."


def _nested_cells(table: CrossTable) -> Index:
    """Return the cells that hold a level of the first moderator within one of the second."""
    share, _ = cell_shares(table)
    common = np.zeros(len(share))
    for measure in (table.effects, table.weights):
        own = np.bincount(table.a, weights=measure)[table.a]
        home = np.bincount(table.b, weights=measure)[table.b]
        common = np.maximum(common, (home - measure) / (measure.sum() - own))
    n_study = int(table.study.max()) + 1
    found = distinct(table.a[table.cell] * n_study + table.study) // n_study
    studies = np.bincount(found)[table.a]
    alone = np.bincount(table.b)[table.b] == 1
    nested = (share >= NEARLY_ALL) & (common <= AT_MOST_HALF) & ~alone
    cells = np.flatnonzero(nested & (studies >= MINIMUM_STUDIES_NESTED))
    return cells[np.lexsort((table.a[cells], -table.effects[cells]))]


def _nested_note(
    inner: Coded, outer: Coded, table: CrossTable, cell: int, level_label: LevelLabel
) -> str:
    own, home = table.a == table.a[cell], table.b == table.b[cell]
    inside, total = int(table.effects[cell]), int(table.effects[own].sum())
    amount, limit = ("all", "only") if inside == total else (f"{inside} of", "mainly")
    a = _name_levels(inner, (int(table.a[cell]),), level_label)
    b = _name_levels(outer, (int(table.b[cell]),), level_label)
    base = format_count(int(table.effects[home & ~own].sum()), "effect")
    return (
        f"{_capitalised(amount)} {total} effects of {a} ({_count_studies(table, own)}) are of "
        f"{b}: given {_words(outer.name)}, they compare {limit} with the {base} "
        f"({_count_studies(table, home & ~own)}) of other levels there."
    )


def _count_studies(table: CrossTable, cells: NDArray[np.bool_]) -> str:
    return format_count(len(distinct(table.study[cells[table.cell]])), "study", "studies")


def _name_levels(moderator: Coded, levels: Sequence[int], level_label: LevelLabel) -> str:
    """Name levels: as the tables do, or by moderator and a reader's words."""
    assert moderator.levels is not None
    names = [f"{moderator.name}={moderator.levels[level]}" for level in levels]
    labels = [level_label(name) for name in names]
    if labels == names:
        return join_words(names, "or")
    return f"{_words(moderator.name)} {join_words([f'‘{label}’' for label in labels], 'or')}"


def _base_words(effects: int, studies: int) -> str:
    return f"{format_count(effects, 'effect')} of {format_count(studies, 'study', 'studies')}"


def _shorten(parts: Sequence[str], noun: str) -> list[str]:
    left = len(parts) - MAXIMUM_NAMED
    if left <= 0:
        return list(parts)
    return [*parts[:MAXIMUM_NAMED], f"and {format_count(left, f'further {noun}')}"]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _judge_design(X: Array) -> tuple[bool, bool]:
    """Return whether a design is singular, and whether it is nearly so."""
    norms = np.linalg.norm(X, axis=0)
    scaled = X / np.where(norms > 0, norms, 1.0)
    if np.linalg.matrix_rank(scaled) < X.shape[1]:
        return True, False
    # centred, as a year far from zero is no trouble beside an intercept
    centred = X - X.mean(axis=0)
    spread = np.linalg.norm(centred, axis=0)
    varying = spread > EXACT * norms
    if not varying.any():
        return False, False
    condition = np.linalg.cond(centred[:, varying] / spread[varying])
    return False, bool(condition > MAXIMUM_CONDITION)


def _judge_in_model(one: Coded, two: Coded, study: Index, level_label: LevelLabel) -> Finding:
    """Judge a pair by all rows of a model, however few studies a level has."""
    if one.levels is not None and two.levels is not None:
        return judge_levels(one, two, cross_tabulate(study, one.codes, two.codes), level_label)
    filled = one.filled & two.filled
    weights = np.ones(int(filled.sum()))
    if one.levels is None and two.levels is None:
        r = weighted_correlation(one.values[filled], two.values[filled], weights)
        return judge_numbers(one, two, r, MINIMUM_STUDIES_PER_LINE)
    factor, number = (two, one) if one.levels is None else (one, two)
    explained = correlation_ratio(factor.codes[filled], number.values[filled], weights)
    return judge_explained(factor, number, explained)


def _is_constant(values: Array) -> bool:
    return not len(values) or bool(np.ptp(values) == 0)


def _interact(one: Coded, two: Coded, terms: Sequence[str]) -> bool:
    """Return whether some column of a design is a product of both moderators."""
    for term in terms:
        factors = _LEVEL.sub("", term).split(":")
        if len(factors) > 1 and all(
            any(re.search(rf"(?<!\w){re.escape(m.name)}(?!\w)", factor) for factor in factors)
            for m in (one, two)
        ):
            return True
    return False


def _unestimable_interaction(
    one: Coded, two: Coded, study: Index, level_label: LevelLabel
) -> list[str]:
    """Say which levels an interaction has no effects of, or no two values of the number."""
    if one.levels is None and two.levels is None:
        return []
    if one.levels is not None and two.levels is not None:
        table = cross_tabulate(study, one.codes, two.codes)
        seen = set(zip(table.a.tolist(), table.b.tolist(), strict=True))
        parts = [
            f"{_name_levels(one, (a,), level_label)} and {_name_levels(two, (b,), level_label)}"
            for a in range(len(one.levels))
            for b in range(len(two.levels))
            if (a, b) not in seen
        ]
        ending = " never occur together, so that the interaction cannot be estimated."
    else:
        factor, number = (two, one) if one.levels is None else (one, two)
        assert factor.levels is not None
        parts = [
            _name_levels(factor, (level,), level_label)
            for level in range(len(factor.levels))
            if _is_constant(number.values[factor.codes == level])
        ]
        ending = f" has a single value of {_words(number.name)}, so that it has no slope."
    shown = _shorten(parts, "such case")
    return [_capitalised("; ".join(shown)) + ending] if parts else []


def _dependent_columns(X: Array, terms: Sequence[str]) -> list[str]:
    """Say which columns of a singular design are combinations of columns before them."""
    norms = np.linalg.norm(X, axis=0)
    scaled = X / np.where(norms > 0, norms, 1.0)
    free: list[int] = []
    parts = []
    for j, term in enumerate(terms):
        if np.linalg.matrix_rank(scaled[:, [*free, j]]) == len(free) + 1:
            free.append(j)
            continue
        coefficients = np.linalg.lstsq(scaled[:, free], scaled[:, j])[0]
        used = [terms[i] for i, c in zip(free, coefficients, strict=True) if abs(c) > ROUNDING]
        parts.append(f"{term} follows from {join_words(used)}" if used else f"{term} is always 0")
    return [_capitalised("; ".join(_shorten(parts, "such column"))) + "."]
