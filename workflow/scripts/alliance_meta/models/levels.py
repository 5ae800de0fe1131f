"""Levels of categorical moderators that few studies stand behind, and cells without a level."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.codebook import Codebook, normalise
from alliance_meta.formatting import format_count, join_words
from alliance_meta.models.crosstabs import as_text
from alliance_meta.models.design import order_levels
from alliance_meta.models.specification import SpecificationError

Parents = Mapping[str, Mapping[str, str]]
LevelLabel = Callable[[str], str]


class MergedLevel(NamedTuple):
    """A level whose effects are counted under a wider one; ``n_studies`` are its own."""

    variable: str
    level: str
    into: str
    n_studies: int


class NamedLevel(NamedTuple):
    """A level made of the empty cells of a moderator."""

    variable: str
    level: str
    n_effects: int
    n_studies: int


@dataclass(frozen=True)
class PooledLevels:
    """Rows with rare levels replaced by their wider ones, and what was replaced."""

    data: pd.DataFrame
    merged: tuple[MergedLevel, ...] = ()


@dataclass(frozen=True)
class ArrangedLevels:
    """Rows with rare levels pooled where possible and otherwise set apart.

    Attributes
    ----------
    data
        All rows, with the levels that the model sees.
    merged
        Levels that were replaced by wider ones.
    apart_mask
        Which rows belong to a level that is shown and not tested, shape (k,).
    apart
        Those levels as (variable, level).
    """

    data: pd.DataFrame
    merged: tuple[MergedLevel, ...]
    apart_mask: NDArray[np.bool_]
    apart: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class NamedMissing:
    """Rows whose empty cells form levels of their own, and those levels."""

    data: pd.DataFrame
    named: tuple[NamedLevel, ...] = ()


def level_parents(codebook: Codebook, variables: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return, for each variable with a vocabulary, code -> code of the wider level."""
    parents = {}
    for name in variables:
        vocabulary = codebook.vocabulary_of(name)
        if vocabulary is not None:
            terms = vocabulary.terms.values()
            parents[name] = {t.code: t.parent for t in terms if t.parent is not None}
    return parents


def pool_rare_levels(
    data: pd.DataFrame, variables: Sequence[str], *, minimum_studies: int, parents: Parents
) -> PooledLevels:
    """Count rare levels under their wider ones.

    The narrowest rare levels move first, so that a wider level which they fill up stays; a
    wider level that is still rare moves on to its own. Siblings with enough studies stay
    apart. Rare levels without a wider one stay as they are.

    Parameters
    ----------
    data
        One row per effect with ``study_id``; columns that are not numeric are categorical.
    variables
        Moderators; numeric ones are left alone.
    minimum_studies
        A level with effects from fewer studies is rare.
    parents
        Variable -> level -> wider level; the wider level need not occur.

    Raises
    ------
    SpecificationError
        If wider levels go round in a circle.
    """
    arranged = _arrange(data, variables, minimum_studies, parents, set_apart=False)
    return PooledLevels(arranged.data, arranged.merged)


def set_apart_levels(
    data: pd.DataFrame, variables: Sequence[str], *, minimum_studies: int
) -> tuple[NDArray[np.bool_], list[tuple[str, str]]]:
    """Return which rows belong to a rare level, and those levels as (variable, level).

    Rows that go with a level of one moderator may leave a level of another too few studies;
    the search goes on until every level that is left has enough.

    Parameters
    ----------
    data, variables, minimum_studies
        As for ``pool_rare_levels``. Empty cells belong to no level.
    """
    arranged = _arrange(data, variables, minimum_studies, {}, set_apart=True)
    return arranged.apart_mask, list(arranged.apart)


def arrange_levels(
    data: pd.DataFrame, variables: Sequence[str], *, minimum_studies: int, parents: Parents
) -> ArrangedLevels:
    """Pool rare levels that have a wider one and set the others apart.

    Unlike the two steps one after the other, this also pools a level that becomes rare only
    because rows of another moderator's level were set apart.

    Parameters
    ----------
    data, variables, minimum_studies, parents
        As for ``pool_rare_levels``.

    Raises
    ------
    SpecificationError
        If wider levels go round in a circle.
    """
    return _arrange(data, variables, minimum_studies, parents, set_apart=True)


def _arrange(
    data: pd.DataFrame,
    variables: Sequence[str],
    minimum_studies: int,
    parents: Parents,
    *,
    set_apart: bool,
) -> ArrangedLevels:
    categorical = [v for v in variables if not pd.api.types.is_numeric_dtype(data[v])]
    original = {name: as_text(data[name]) for name in categorical}
    columns = dict(original)
    studies = data["study_id"]
    kept = np.ones(len(data), dtype=bool)
    apart: list[tuple[str, str]] = []
    while True:
        rare = {
            name: _rare_levels(column[kept], studies[kept], minimum_studies)
            for name, column in columns.items()
        }
        rising = {name: _narrowest(name, rare[name], parents.get(name, {})) for name in rare}
        if any(rising.values()):
            for name, levels in rising.items():
                moves = {level: parents[name][level] for level in levels}
                columns[name] = columns[name].replace(moves) if moves else columns[name]
            # a wider level that was set apart may have enough studies now
            kept[:] = True
            apart = []
            continue
        found = [(name, level) for name, levels in rare.items() for level in levels]
        if not (found and set_apart):
            break
        for name, level in found:
            kept &= (columns[name] != level).to_numpy()
        apart += found
    merged = tuple(m for name in columns for m in _merged(name, original, columns, studies))
    changed = {name: columns[name] for name in dict.fromkeys(m.variable for m in merged)}
    return ArrangedLevels(data.assign(**changed), merged, ~kept, tuple(apart))


def _rare_levels(column: pd.Series, studies: pd.Series, minimum_studies: int) -> list[str]:
    counts = studies.groupby(column.to_numpy()).nunique()
    return [level for level in order_levels(column) if counts[level] < minimum_studies]


def _narrowest(variable: str, rare: Sequence[str], parents: Mapping[str, str]) -> list[str]:
    """Return those of the rare levels with a wider one that have the most levels above them."""
    depths = {level: _depth(variable, level, parents) for level in rare if level in parents}
    return [level for level, depth in depths.items() if depth == max(depths.values())]


def _depth(variable: str, level: str, parents: Mapping[str, str]) -> int:
    chain = [level]
    while chain[-1] in parents:
        above = parents[chain[-1]]
        if above in chain:
            circle = " → ".join([*chain, above])
            raise SpecificationError(
                f"the wider levels of {variable} go round in a circle ({circle}); "
                "correct a 'parent' there",
                setting="vocabulary",
            )
        chain.append(above)
    return len(chain) - 1


def _merged(
    name: str, original: Mapping[str, pd.Series], final: Mapping[str, pd.Series], study: pd.Series
) -> list[MergedLevel]:
    merged = []
    moved = original[name].notna() & (original[name] != final[name])
    for level in order_levels(original[name][moved.to_numpy()]):
        rows = (original[name] == level).to_numpy()
        into = str(final[name].to_numpy()[rows][0])
        merged.append(MergedLevel(name, level, into, int(study[rows].nunique())))
    return merged


def name_missing(
    data: pd.DataFrame, variables: Sequence[str], *, word: str = "not reported"
) -> NamedMissing:
    """Turn the empty cells of each categorical moderator into a level.

    Parameters
    ----------
    data, variables
        As for ``pool_rare_levels``. A numeric moderator has no levels: its cells stay empty.
    word
        Name of the level. Where coders used that word themselves, theirs and the empty cells
        stay two levels, the second called "not reported (empty cell)".
    """
    changed: dict[str, pd.Series] = {}
    named = []
    for name in dict.fromkeys(variables):
        empty = data[name].isna()
        if pd.api.types.is_numeric_dtype(data[name]) or not empty.any():
            continue
        column = as_text(data[name])
        level, number = word, 1
        taken = {normalise(known) for known in column.dropna().unique()}
        while normalise(level) in taken:
            level = f"{word} (empty cell)" if number == 1 else f"{word} (empty cell {number})"
            number += 1
        changed[name] = column.fillna(level)
        studies = data.loc[empty.to_numpy(), "study_id"].nunique()
        named.append(NamedLevel(name, level, int(empty.sum()), studies))
    return NamedMissing(data.assign(**changed), tuple(named))


def describe_merged(
    merged: Sequence[MergedLevel], level_label: LevelLabel = lambda name: name.partition("=")[2]
) -> list[str]:
    """Return a sentence for each wider level that took rare ones in.

    Parameters
    ----------
    merged
        What ``pool_rare_levels`` merged.
    level_label
        Turns a level name (``treatment=act``) into a reader's words.
    """
    groups: dict[tuple[str, str], list[MergedLevel]] = {}
    for item in merged:
        groups.setdefault((item.variable, item.into), []).append(item)
    sentences = []
    for (variable, into), items in groups.items():
        levels = [
            f"‘{level_label(f'{variable}={item.level}')}’ "
            f"({format_count(item.n_studies, 'study', 'studies')})"
            for item in items
        ]
        verb = "was" if len(items) == 1 else "were"
        wider = level_label(f"{variable}={into}")
        words = variable.replace("_", " ")
        sentences.append(f"{words}: {join_words(levels)} {verb} counted under ‘{wider}’.")
    return sentences


def describe_named(named: Sequence[NamedLevel]) -> list[str]:
    """Return a sentence for each level made of empty cells."""
    sentences = []
    for item in named:
        verb = "forms" if item.n_effects == 1 else "form"
        sentences.append(
            f"{item.variable.replace('_', ' ')}: {format_count(item.n_effects, 'effect')} "
            f"({format_count(item.n_studies, 'study', 'studies')}) without a code {verb} the "
            f"level ‘{item.level}’."
        )
    return sentences
