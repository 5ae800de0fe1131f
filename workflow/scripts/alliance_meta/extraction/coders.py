"""Two coders of the same studies: check the sheets of both and find their common effects."""

import re
import unicodedata
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.codebook import Codebook
from alliance_meta.extraction.checks import Extraction, check_sheets
from alliance_meta.extraction.sheets import column_key, read_sheet
from alliance_meta.formatting import format_count
from alliance_meta.problems import Problem, unique_problems

Mask = NDArray[np.bool_]
Sheets = Sequence[tuple[str, Path]]

# effects that agree in all of these, and are the only ones to do so, are the same
MATCHING_CODES = (
    "study_id",
    "sample_id",
    "instrument",
    "rater",
    "timing",
    "outcome_measure",
    "component",
)
MATCHED_COLUMNS = ["first_row", "second_row", "how"]
UNMATCHED_COLUMNS = ["coder", "effect_id", "study_id", "reason"]

# what the second coder's table gains: the partner's row, as a spreadsheet counts, and how
ROW_COLUMN = "first_row"
HOW_COLUMN = "matched_by"
# the header is row 1 of a spreadsheet
FIRST_DATA_ROW = 2

CODERS = ("first", "second")
# of more differing ids only the first is told
LISTED = 5


@dataclass(frozen=True)
class Matching:
    """Which rows of two coders are of the same effect.

    Attributes
    ----------
    matched
        ``first_row second_row how``: positions from 0 in the two tables, and whether
        "effect_id", "codes" or "value" told; in the order of the first table.
    unmatched
        ``coder effect_id study_id reason``: rows of either coder ("first", "second") that
        stay alone.
    """

    matched: pd.DataFrame
    unmatched: pd.DataFrame


@dataclass(frozen=True, eq=False)
class DoubleExtraction:
    """The checked sheets of two coders.

    Attributes
    ----------
    first, second
        Each coder's; without a second coder the second table has no rows.
    matching
        Their common effects.
    """

    first: Extraction
    second: Extraction
    matching: Matching

    @property
    def given(self) -> tuple[Extraction, ...]:
        """The coders who have sheets."""
        return (self.first, self.second) if len(self.second.effects) else (self.first,)

    @property
    def problems(self) -> list[Problem]:
        """What was found in the sheets of both, each thing once."""
        return unique_problems([*self.first.problems, *self.second.problems])

    @property
    def second_table(self) -> pd.DataFrame:
        """The second coder's rows with ``first_row`` and ``matched_by`` at the end."""
        return note_matches(self.second.effects, self.matching.matched)


def check_coders(
    sheets: Sheets, second_sheets: Sheets, references: Sheets, *, codebook: Codebook
) -> DoubleExtraction:
    """Read and check the sheets of both coders, each coder's apart from the other's.

    Parameters
    ----------
    sheets, second_sheets
        Effects sheets of the first and of the second coder as (name in the configuration,
        path); none of the second coder's if there is none.
    references
        BibTeX files, likewise; both coders cite them.
    codebook
        The codebook, with the review's own terms.

    Returns
    -------
    DoubleExtraction
        Bad data never raises.
    """
    first = check_sheets(sheets, references, codebook=codebook)
    if not second_sheets:
        nobody = Extraction(first.effects.iloc[:0], first.references, [])
        return DoubleExtraction(first, nobody, match_coders(first.effects, nobody.effects))
    second = check_sheets(second_sheets, references, codebook=codebook)
    effects = _align_columns(first.effects, second.effects)
    second = replace(
        second,
        effects=effects,
        problems=[
            *second.problems,
            *_shared_sheets(sheets, second_sheets),
            *_differing_types(first.effects, effects, second_sheets[0][0]),
            *_differing_spellings(first.effects, effects),
        ],
    )
    coded = (_coded_ids(first.effects, sheets), _coded_ids(effects, second_sheets))
    matching = match_coders(first.effects, effects, coded=coded)
    few = _few_matches(len(matching.matched), len(effects), second_sheets[0][0])
    second = replace(second, problems=[*second.problems, *few])
    return DoubleExtraction(first, second, matching)


def match_coders(
    first: pd.DataFrame, second: pd.DataFrame, *, coded: tuple[Mask, Mask] | None = None
) -> Matching:
    """Find the rows of two coders that are of the same effect.

    Rows match if both coders gave them the same effect_id in the same study; else if they are
    the only ones of both coders to agree in all of ``MATCHING_CODES``; else if they are the
    only ones of a study with the same reported value. Rows that match are set aside, and the
    others are compared again until no more are found.

    Parameters
    ----------
    first, second
        Checked effects tables, or effect sizes tables.
    coded
        Which rows have an effect_id that the coder wrote, shapes (k1,) and (k2,); made ones
        come from the order of rows and tell nothing. Default: those that do not look made
        (study, underscore, number).

    Returns
    -------
    Matching
    """
    tables = (first, second)
    masks = coded if coded is not None else (_not_made(first), _not_made(second))
    names = [_id_keys(table, mask) for table, mask in zip(tables, masks, strict=True)]
    codes = [_code_keys(table) for table in tables]
    values = [_value_keys(table) for table in tables]
    partner: dict[int, tuple[int, str]] = {}
    taken: set[int] = set()

    def pair(how: str, keys: Sequence[Sequence[Hashable | None]]) -> bool:
        left = _lone_keys(keys[0], partner)
        right = _lone_keys(keys[1], taken)
        found = {left[key]: right[key] for key in left.keys() & right.keys()}
        partner.update({i: (j, how) for i, j in found.items()})
        taken.update(found.values())
        return bool(found)

    pair("effect_id", names)
    # a match may leave another row as the only one with its codes
    while pair("codes", codes) or pair("value", values):
        pass
    rows = [(i, j, how) for i, (j, how) in sorted(partner.items())]
    matched = pd.DataFrame(rows, columns=MATCHED_COLUMNS)
    return Matching(matched, explain_unmatched(first, second, matched))


def explain_unmatched(
    first: pd.DataFrame, second: pd.DataFrame, matched: pd.DataFrame
) -> pd.DataFrame:
    """Return the rows of either coder that no row of the other matches, and why.

    Parameters
    ----------
    first, second
        As for ``match_coders``.
    matched
        Its ``first_row second_row``.
    """
    tables = (first, second)
    taken = tuple(
        np.isin(np.arange(len(table)), matched[column].to_numpy(dtype=int))
        for table, column in zip(tables, ("first_row", "second_row"), strict=True)
    )
    rows = []
    for own, other in ((0, 1), (1, 0)):
        studies = set(tables[other]["study_id"])
        free = np.flatnonzero(~taken[other])
        free_studies = {str(tables[other]["study_id"].iloc[j]) for j in free}
        keys = [(_code_keys(table), _value_keys(table)) for table in (tables[own], tables[other])]
        likely = {key for kind in keys[1] for j in free if (key := kind[j]) is not None}
        for i in np.flatnonzero(~taken[own]):
            row = tables[own].iloc[i]
            if row["study_id"] not in studies:
                reason = "the other coder has no effect of this study"
            elif row["study_id"] not in free_studies:
                reason = "the other coder's effects of this study all match other effects"
            elif any(kind[i] in likely for kind in keys[0]):
                reason = "several effects of this study could be meant"
            else:
                reason = "no effect of the other coder has the same codes or the same value"
            rows.append((CODERS[own], row["effect_id"], row["study_id"], reason))
    return pd.DataFrame(rows, columns=UNMATCHED_COLUMNS)


def note_matches(second: pd.DataFrame, matched: pd.DataFrame) -> pd.DataFrame:
    """Return the second coder's table with the partner of each row written into it.

    Parameters
    ----------
    second
        The second coder's table.
    matched
        ``first_row second_row how`` of a ``Matching``.

    Returns
    -------
    DataFrame
        Two more columns at the end: ``first_row``, the row of the partner in the first coder's
        table as a spreadsheet counts (the header is row 1), and ``matched_by``; empty without
        a partner. A column of the sheet with such a name is renamed to ``<name>_in_sheet``.
    """
    own = {name: f"{name}_in_sheet" for name in (ROW_COLUMN, HOW_COLUMN)}
    rows = np.full(len(second), np.nan)
    how = np.full(len(second), None, dtype=object)
    places = matched["second_row"].to_numpy(dtype=int)
    rows[places] = matched["first_row"].to_numpy(dtype=int) + FIRST_DATA_ROW
    how[places] = matched["how"].to_numpy()
    noted = second.rename(columns=own)
    noted[ROW_COLUMN] = rows
    noted[HOW_COLUMN] = pd.Series(how, index=second.index, dtype="str")
    return noted


def read_matches(first: pd.DataFrame, second: pd.DataFrame) -> Matching:
    """Return the matching that a table carries, or make one where it carries none.

    Parameters
    ----------
    first, second
        Tables of the two coders; ``second`` as ``note_matches`` leaves it, or plain.
    """
    if ROW_COLUMN not in second:
        return match_coders(first, second)
    places = np.flatnonzero(second[ROW_COLUMN].notna())
    matched = pd.DataFrame(
        {
            "first_row": second[ROW_COLUMN].iloc[places].to_numpy(dtype=int) - FIRST_DATA_ROW,
            "second_row": places,
            "how": second[HOW_COLUMN].iloc[places].to_numpy(),
        }
    )
    matched = matched.sort_values("first_row", ignore_index=True)
    return Matching(matched, explain_unmatched(first, second, matched))


# --- keys ---------------------------------------------------------------------------------


def _lone_keys(
    keys: Sequence[Hashable | None], taken: Mapping[int, object] | set[int]
) -> dict[Hashable, int]:
    """Return key -> row for keys that only one free row has."""
    rows: dict[Hashable, list[int]] = {}
    for i, key in enumerate(keys):
        if key is not None and i not in taken:
            rows.setdefault(key, []).append(i)
    return {key: found[0] for key, found in rows.items() if len(found) == 1}


def _texts(table: pd.DataFrame, column: str) -> list[str]:
    if column not in table:
        return [""] * len(table)
    return ["" if pd.isna(cell) else str(cell) for cell in table[column]]


def _id_keys(table: pd.DataFrame, coded: Mask) -> list[Hashable | None]:
    pairs = zip(_texts(table, "study_id"), _texts(table, "effect_id"), coded, strict=True)
    return [(study, effect) if own else None for study, effect, own in pairs]


def _code_keys(table: pd.DataFrame) -> list[Hashable | None]:
    return list(zip(*(_texts(table, column) for column in MATCHING_CODES), strict=True))


def _value_keys(table: pd.DataFrame) -> list[Hashable | None]:
    values = table["effect_value"].to_numpy(dtype=float, na_value=np.nan)
    pairs = zip(_texts(table, "study_id"), values, strict=True)
    return [None if np.isnan(value) else (study, float(value)) for study, value in pairs]


def _not_made(table: pd.DataFrame) -> Mask:
    """Return which effect_ids cannot have been made from study and order."""
    pairs = zip(_texts(table, "study_id"), _texts(table, "effect_id"), strict=True)
    return np.array(
        [not re.fullmatch(re.escape(study) + r"_\d+", effect) for study, effect in pairs],
        dtype=np.bool_,
    )


def _coded_ids(effects: pd.DataFrame, sheets: Sheets) -> Mask:
    """Return which rows have an effect_id in their sheet."""
    written: set[tuple[str, int]] = set()
    for name, path in sheets:
        sheet, _ = read_sheet(path, name=name)
        if sheet is None:
            continue
        keys = [column_key(column) for column in sheet.header]
        if "effect_id" not in keys:
            continue
        column = keys.index("effect_id")
        written.update(
            (name, number)
            for number, cells in zip(sheet.row_numbers, sheet.cells, strict=True)
            if cells[column]
        )
    rows = zip(effects["source_file"], effects["source_row"], strict=True)
    return np.array([(file, int(number)) in written for file, number in rows], dtype=np.bool_)


# --- both coders' sheets ------------------------------------------------------------------


def _align_columns(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Name the second coder's own columns as the first coder wrote them."""
    names = {column_key(str(name)): str(name) for name in first.columns}
    columns = {name: names.get(column_key(str(name)), str(name)) for name in second}
    return second.rename(columns=columns)


def _shared_sheets(sheets: Sheets, second_sheets: Sheets) -> list[Problem]:
    firsts = {path.resolve() for _, path in sheets}
    return [
        Problem(
            name,
            "This sheet is listed as the first and as the second coder's.",
            "Name it under `effects:` or under `second_coder:` in config/config.yaml, and mind "
            "that a pattern such as *.csv may catch both.",
            code="sheet_of_both_coders",
        )
        for name, path in second_sheets
        if path.resolve() in firsts
    ]


def _differing_types(first: pd.DataFrame, second: pd.DataFrame, file: str) -> list[Problem]:
    return [
        Problem(
            file,
            f"The column '{name}' holds numbers in one coder's sheets and words in the other's.",
            "Write it the same way in both; until then the first coder's codes are used.",
            column=name,
            code="column_type_differs",
            severity="note",
        )
        for name in differing_types(first, second)
    ]


def _differing_spellings(first: pd.DataFrame, second: pd.DataFrame) -> list[Problem]:
    """Note studies of the second coder whose ids are the first's but for capitals or blanks."""
    firsts = set(_texts(first, "study_id"))
    spelt = {_plain_id(study): study for study in sorted(firsts, reverse=True)}
    places = [
        i
        for i in np.flatnonzero(~second["study_id"].duplicated().to_numpy())
        if (study := str(second["study_id"].iloc[i])) not in firsts and _plain_id(study) in spelt
    ]
    right = "Write study_id the same way in both coders' sheets."
    # many have one cause
    shown, more = (places, 0) if len(places) <= LISTED else (places[:1], len(places) - 1)
    found = []
    for i in shown:
        row, study = second.iloc[i], str(second["study_id"].iloc[i])
        others = f"; so do {more:,} other studies whose ids differ like this" if more else ""
        found.append(
            Problem(
                str(row["source_file"]),
                f"The first coder writes this study as '{spelt[_plain_id(study)]}'; as it stands, "
                f"'{study}' counts as another study{others}.",
                right,
                sheet="" if pd.isna(row["source_sheet"]) else str(row["source_sheet"]),
                row=int(row["source_row"]),
                column="study_id",
                value=study,
                code="study_id_spelling",
                severity="note",
            )
        )
    return found


def _plain_id(study: str) -> str:
    """Return an id without capitals and blanks."""
    return "".join(unicodedata.normalize("NFKC", study).split()).casefold()


def _few_matches(n_matched: int, n_second: int, file: str) -> list[Problem]:
    """Note that most of the second coder's effects are without a partner."""
    if 2 * n_matched >= n_second:
        return []
    few = f"Only {n_matched:,}" if n_matched else "None"
    verb = "match" if n_matched > 1 else "matches"
    return [
        Problem(
            file,
            f"{few} of the second coder's {format_count(n_second, 'effect')} {verb} one of the "
            "first coder's.",
            "Check study_id and effect_id in both coders' sheets: effects without a partner count "
            "as found by one coder only.",
            code="few_matches",
            severity="note",
        )
    ]


def differing_types(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """Return columns in which one coder has numbers and the other words.

    Parameters
    ----------
    first, second
        Tables of the two coders; columns without any cell are of either type.
    """
    common = [name for name in first.columns if name in second.columns]
    return [
        str(name)
        for name in common
        if pd.api.types.is_numeric_dtype(first[name]) != pd.api.types.is_numeric_dtype(second[name])
        and first[name].notna().any()
        and second[name].notna().any()
    ]
