"""The versions that two coders give of each effect, and what an analysis can tell apart."""

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.codebook import Codebook
from alliance_meta.effect_sizes import correct_attenuation
from alliance_meta.extraction.coders import Matching
from alliance_meta.models.expressions import formula_variables, parse_where, scale_variables
from alliance_meta.models.selection import METRIC_COLUMNS, select_rows
from alliance_meta.models.specification import ModelSpecification

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

# what one effect brings as a whole, beside the reported statistic
RESULTS = ("yi", "vi", "r", "n", "conversion", "flags", "z", "vz", "vr")
RELIABILITIES = ("reliability_alliance", "reliability_outcome")
VALUE = "value"
# effects corrected for attenuation, where the analysis asks for them
CORRECTED = ("corrected_effect", "corrected_variance")
# of matching rows these are the first coder's
NAMES = frozenset({"effect_id", "sample_id", "source_file", "source_sheet", "source_row"})

# two routes to the same number differ by rounding only
SAME = 1e-12

VARIANT = "number_of_variant"


@dataclass(frozen=True)
class VersionPairs:
    """The effects of both coders, one after the other, and what differs.

    Attributes
    ----------
    coded
        Rows of the first coder, then those of the second, with the same columns.
    first, second
        Position of each effect's version in ``coded``, −1 for none, shape (e,).
    groups
        What is chosen as a whole: "value", or a code -> its columns.
    differs
        Which groups of an effect differ between the coders, shape (e, groups).
    optional
        Effects that enter half of the resamples, shape (e,).
    kept
        Columns in which the first coder's codes stand for both.
    """

    coded: pd.DataFrame
    first: Index
    second: Index
    groups: Mapping[str, Sequence[str]]
    differs: Mask
    optional: Mask
    kept: tuple[str, ...]


@dataclass(frozen=True)
class VersionClasses:
    """Versions of effects that the analysis can tell apart.

    Attributes
    ----------
    data
        One row for each version that can enter, sorted by effect; c rows.
    effect
        Number of the effect of each, shape (c,).
    options
        For every effect in doubt its versions (−1: it does not enter) and their probabilities.
    always
        Versions without an alternative.
    first, second
        Versions that enter with each coder's own values.
    relevant
        Effects that can enter at all, shape (e,).
    """

    data: pd.DataFrame
    effect: Index
    options: Sequence[tuple[Index, Array]]
    always: Index
    first: Index
    second: Index
    relevant: Mask


# --- what the coders have -------------------------------------------------------------------


def used_columns(spec: ModelSpecification) -> list[str]:
    """Return the columns that an analysis reads beside effects and names."""
    used = [*formula_variables(spec.moderators), *scale_variables(spec.scale)]
    if spec.where.strip():
        tree, quoted = parse_where(spec.where)
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        used += sorted(quoted.get(name, name) for name in names)
    return list(dict.fromkeys(used))


def pair_versions(
    effects: pd.DataFrame,
    second: pd.DataFrame,
    matching: Matching,
    spec: ModelSpecification,
    codebook: Codebook,
) -> VersionPairs:
    """Put the effects of both coders one beside the other and say what differs.

    Parameters
    ----------
    effects, second
        Effect sizes tables of the first and of the second coder.
    matching
        Their common effects.
    spec
        Its formulas, ``where``, ``metric`` and ``attenuation`` say which columns count.
    codebook
        Knows which columns belong to the reported statistic.
    """
    statistic = [c.name for c in codebook.columns.values() if c.group == "statistic"]
    value = [name for name in dict.fromkeys((*RESULTS, *statistic)) if name in effects]
    used = used_columns(spec)
    groups: dict[str, list[str]] = {VALUE: value}
    for name in used:
        if name not in value and name in effects:
            groups.setdefault(name.removesuffix("_version"), []).append(name)
    i, j = (matching.matched[column].to_numpy(dtype=int) for column in ("first_row", "second_row"))
    judged = [str(name) for name in effects if name not in value or name in RELIABILITIES]
    other, kept = _fill_uncoded(effects, second, i, j, judged)
    coded = _correct(pd.concat([effects, other], ignore_index=True), len(effects), spec)
    decisive = {*METRIC_COLUMNS[spec.metric], *CORRECTED, "exclude_reason", *used}
    groups[VALUE] += [name for name in CORRECTED if name in coded]

    partner = np.full(len(effects), -1)
    partner[i] = len(effects) + j
    alone = np.setdiff1d(np.arange(len(second)), j) + len(effects)
    firsts = np.concatenate([np.arange(len(effects)), np.full(len(alone), -1)])
    seconds = np.concatenate([partner, alone])
    both = (firsts >= 0) & (seconds >= 0)
    differs = np.zeros((len(firsts), len(groups)), dtype=bool)
    for g, columns in enumerate(groups.values()):
        for column in decisive.intersection(columns):
            left, right = coded[column].iloc[firsts[both]], coded[column].iloc[seconds[both]]
            if column == "exclude_reason" and column not in used:
                # whether, not why
                left, right = left.notna(), right.notna()
            differs[both, g] |= _unequal(left, right)
    twice = set(effects["study_id"]) & set(second["study_id"])
    optional = (firsts < 0) | (~both & coded["study_id"].iloc[firsts].isin(twice).to_numpy())
    shown = [name for name in kept if name in used or name in RELIABILITIES]
    return VersionPairs(coded, firsts, seconds, groups, differs, optional, tuple(shown))


def _unequal(left: pd.Series, right: pd.Series) -> Mask:
    empty = left.isna().to_numpy(), right.isna().to_numpy()
    if pd.api.types.is_numeric_dtype(left):
        a, b = (x.to_numpy(dtype=float, na_value=np.nan) for x in (left, right))
        with np.errstate(invalid="ignore"):
            same = np.abs(a - b) <= SAME * np.maximum(np.abs(a), np.abs(b))
    else:
        same = left.to_numpy() == right.to_numpy()
    result: Mask = np.where(empty[0] | empty[1], empty[0] != empty[1], ~same)
    return result


def _fill_uncoded(
    effects: pd.DataFrame, second: pd.DataFrame, i: Index, j: Index, columns: Sequence[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Return the second coder's rows with the columns of the first, and columns taken over.

    A column that the second coder left empty throughout, or with words for numbers, is the
    first coder's; so are names of matching rows.
    """
    other = second.reindex(columns=effects.columns)
    kept = []
    for name in columns:
        own = effects[name].iloc[i]
        numeric = [pd.api.types.is_numeric_dtype(table[name]) for table in (effects, other)]
        if numeric[0] != numeric[1]:
            other[name] = pd.Series(None, index=other.index, dtype=effects[name].dtype)
        uncoded = not other[name].notna().any()
        if uncoded or name in NAMES:
            filled = other[name].astype(effects[name].dtype)
            filled.iloc[j] = own.to_numpy()
            other[name] = filled
        if uncoded and name not in NAMES and own.notna().any():
            kept.append(str(name))
    other = other.astype(effects.dtypes.to_dict())
    alone = np.setdiff1d(np.arange(len(second)), j)
    taken = other["effect_id"].isin(set(effects["effect_id"])).to_numpy()
    clash = alone[taken[alone]]
    names = other["effect_id"].copy()
    names.iloc[clash] = names.iloc[clash] + " (second coder)"
    other["effect_id"] = names
    # an effect that only the second coder has stands where its study does
    home = effects.groupby("study_id")["source_file"].first()
    sheets = other["source_file"].copy()
    sheets.iloc[alone] = other["study_id"].map(home).fillna(sheets).iloc[alone]
    other["source_file"] = sheets
    return other, kept


def _correct(coded: pd.DataFrame, n_first: int, spec: ModelSpecification) -> pd.DataFrame:
    """Add corrected effects, each coder's by this coder's reliabilities, where they are wanted."""
    if spec.attenuation == "observed":
        return coded
    y_column, v_column = METRIC_COLUMNS[spec.metric]
    parts = []
    for table in (coded.iloc[:n_first], coded.iloc[n_first:]):
        correction = correct_attenuation(table, assumed=spec.reliability)
        lost = table["effect_id"].isin(set(correction.left_out["effect_id"])).to_numpy()
        part = correction.effects[[y_column, v_column]].copy()
        part.loc[lost] = np.nan
        parts.append(part)
    corrected = pd.concat(parts)
    return coded.assign(**{CORRECTED[0]: corrected[y_column], CORRECTED[1]: corrected[v_column]})


# --- what the analysis can tell apart ---------------------------------------------------------


def find_classes(
    pairs: VersionPairs, spec: ModelSpecification, files: Sequence[str] | None
) -> VersionClasses:
    """Make every version of every effect and let the analysis select among them.

    Parameters
    ----------
    pairs
        The effects of both coders.
    spec
        A resolved specification.
    files
        Sheets of the first coder whose rows may enter (default: all).

    Raises
    ------
    SpecificationError
        If a version that would enter has no value on the metric.
    """
    n_switches = pairs.differs.sum(axis=1)
    counts = 2**n_switches
    effect = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(effect)) - np.repeat(np.cumsum(counts) - counts, counts)
    rank = np.cumsum(pairs.differs, axis=1) - 1
    side = pairs.differs[effect] & (((number[:, None] >> rank[effect]) & 1) == 1)
    own = np.where(pairs.first >= 0, pairs.first, pairs.second)[effect]
    variants = pairs.coded.take(own).reset_index(drop=True)
    for g, columns in enumerate(pairs.groups.values()):
        place = np.where(side[:, g], pairs.second[effect], own)
        for name in columns:
            variants[name] = pairs.coded[name].take(place).array
    variants[VARIANT] = np.arange(len(variants))

    needed = [*formula_variables(spec.moderators), *scale_variables(spec.scale)]
    needed = list(dict.fromkeys(needed))
    observed = replace(spec, attenuation="observed")
    data = select_rows(variants, observed, needed, files=_allowed(pairs, files)).data
    if spec.attenuation == "corrected":
        data = data.loc[data[CORRECTED[0]].notna()].reset_index(drop=True)
        data["yi"], data["vi"] = data[CORRECTED[0]], data[CORRECTED[1]]
    entering = data[VARIANT].to_numpy(dtype=np.intp)
    data[VARIANT] = effect[entering]
    kind = data.groupby([VARIANT, "yi", "vi", *needed], sort=False, dropna=False).ngroup()
    class_of = np.full(len(effect), -1)
    class_of[entering] = kind
    data = data.loc[~kind.duplicated()].reset_index(drop=True)

    share = np.where(pairs.optional, 0.5, 1.0)[effect] / counts[effect]
    probability = np.zeros(len(data))
    np.add.at(probability, class_of[entering], share[entering])
    by_effect: dict[int, list[int]] = {}
    for position, number_of_effect in enumerate(data[VARIANT]):
        by_effect.setdefault(int(number_of_effect), []).append(position)
    options, always = [], []
    for classes in by_effect.values():
        chances = probability[classes]
        absent = 1 - chances.sum()
        if absent > SAME:
            options.append((np.array([-1, *classes]), np.array([absent, *chances])))
        elif len(classes) > 1:
            options.append((np.array(classes), chances))
        else:
            always += classes
    ends = np.cumsum(counts)
    # a study that the second coder did not code keeps the first coder's values
    seconds = (pairs.second >= 0) | ~pairs.optional
    relevant = np.zeros(len(counts), dtype=bool)
    relevant[list(by_effect)] = True
    return VersionClasses(
        data.drop(columns=VARIANT),
        data[VARIANT].to_numpy(dtype=np.intp),
        options,
        np.array(always, dtype=np.intp),
        _entering(class_of[ends - counts][pairs.first >= 0]),
        _entering(class_of[ends - 1][seconds]),
        relevant,
    )


def _entering(classes: Index) -> Index:
    return np.sort(classes[classes >= 0])


def _allowed(pairs: VersionPairs, files: Sequence[str] | None) -> Sequence[str] | None:
    """Return the sheets whose rows may enter, with those of studies that one coder has."""
    if files is None:
        return None
    lone = pairs.first < 0
    firsts = set(pairs.coded["source_file"].iloc[pairs.first[~lone]])
    if not firsts <= set(files):
        return files
    return [*files, *pairs.coded["source_file"].iloc[pairs.second[lone]]]


def draw_versions(
    options: Sequence[tuple[Index, Array]], resamples: int, seed: int
) -> tuple[Index, Array, bool]:
    """Return distinct combinations of versions and their weights.

    Parameters
    ----------
    options
        For each effect in doubt its versions and their probabilities.
    resamples
        Combinations to draw; where there are no more than that, all are returned.
    seed
        Of the draws.

    Returns
    -------
    chosen, weights, exact
        Shapes (B, effects in doubt) and (B,), probabilities or counts, and whether these are
        all combinations.
    """
    if math.prod(len(versions) for versions, _ in options) <= resamples:
        chosen = list(product(*(versions for versions, _ in options)))
        weights = [math.prod(chances) for chances in product(*(c for _, c in options))]
        shape = (len(chosen), len(options))
        return np.array(chosen, dtype=np.intp).reshape(shape), np.array(weights), True
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(versions, size=resamples, p=chances) for versions, chances in options]
    found, counts = np.unique(np.column_stack(drawn), axis=0, return_counts=True)
    return found, counts.astype(float), False
