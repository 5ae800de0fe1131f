"""Match the header of a sheet to the columns of the codebook."""

from collections.abc import Mapping
from dataclasses import dataclass

from alliance_meta.codebook import Codebook
from alliance_meta.extraction.sheets import RawSheet, column_key
from alliance_meta.extraction.wording import nearest
from alliance_meta.problems import Problem

SOURCE_COLUMNS = ("source_file", "source_sheet", "source_row")
# the effect sizes table adds these
COMPUTED_COLUMNS = ("yi", "vi", "r", "z", "vz", "vr", "conversion", "flags")

# what reviewers call the required columns when they do not know the codebook
USUAL_NAMES = {
    "study_id": ("study", "study_name", "author", "authors", "author_year", "id", "paper"),
    "effect_type": ("type", "es_type", "statistic", "statistic_type", "effect_size_type"),
    "effect_value": ("value", "effect", "effect_size", "es", "r", "correlation", "estimate", "yi"),
}


def version_column(column: str) -> str:
    """Return the name of the column that keeps the version of a versioned column."""
    return f"{column}_version"


def reserved_names(codebook: Codebook) -> frozenset[str]:
    """Return the names the workflow gives itself, which a sheet cannot use."""
    versions = map(version_column, codebook.versioned_columns())
    return frozenset({*versions, *SOURCE_COLUMNS, *COMPUTED_COLUMNS})


@dataclass(frozen=True)
class MatchedHeader:
    """Which column of a sheet means what.

    Attributes
    ----------
    names
        For each column of the sheet the name in the checked table, or None to leave it out.
    """

    names: tuple[str | None, ...]


def match_header(
    sheet: RawSheet, codebook: Codebook, others: Mapping[str, str]
) -> tuple[MatchedHeader, list[Problem]]:
    """Find the codebook column of each column of a sheet.

    Parameters
    ----------
    sheet
        The sheet.
    codebook
        The codebook.
    others
        Columns outside the codebook that earlier sheets brought: key -> name.

    Returns
    -------
    tuple of MatchedHeader and list of Problem
        Missing, double and reserved columns are errors; renamed and unknown ones notes.
    """
    keys = [column_key(name) for name in sheet.header]
    problems: list[Problem] = []
    meant = _missing_columns(sheet, keys, codebook, problems)
    reserved = reserved_names(codebook)
    first: dict[str, str] = {}
    names: list[str | None] = []
    for written, key in zip(sheet.header, keys, strict=True):
        name = key if key in codebook.columns else others.get(key, written)
        if key in first:
            problems.append(
                _about(
                    sheet,
                    written,
                    f"The columns '{first[key]}' and '{written}' have the same name "
                    "once capitals and blanks are left aside.",
                    "Rename or delete one of them.",
                    code="duplicate_column",
                )
            )
            names.append(None)
            continue
        first[key] = written
        if written in meant:
            names.append(None)
        elif key in reserved:
            problems.append(_reserved(sheet, written))
            names.append(None)
        else:
            names.append(name)
            if name != written:
                problems.append(
                    _about(
                        sheet,
                        name,
                        f"The column '{written}' is read as {name}.",
                        code="column_renamed",
                        note=True,
                    )
                )
            if key not in codebook.columns:
                problems.append(_unknown(sheet, written, key, codebook, keys))
    return MatchedHeader(tuple(names)), problems


def _missing_columns(
    sheet: RawSheet, keys: list[str], codebook: Codebook, problems: list[Problem]
) -> set[str]:
    """Report required columns that are not there; return the headers probably meant."""
    meant: set[str] = set()
    for column in codebook.columns.values():
        if not column.required or column.name in keys:
            continue
        free = {
            key: written
            for key, written in zip(keys, sheet.header, strict=True)
            if key not in codebook.columns and written not in meant
        }
        usual = next((free[name] for name in USUAL_NAMES[column.name] if name in free), None)
        written = nearest(column.name, free) or usual
        if written is None:
            problem = f"The column {column.name} is missing."
            advice = f"Add a column {column.name}: {column.description}"
        else:
            meant.add(written)
            problem = f"The column {column.name} is missing; there is a column '{written}'."
            advice = f"Rename it to {column.name}."
        problems.append(_about(sheet, column.name, problem, advice, code="column_missing"))
    return meant


def _reserved(sheet: RawSheet, written: str) -> Problem:
    return _about(
        sheet,
        written,
        f"The column name '{written}' is taken: the workflow writes a column of this name.",
        f"Rename the column, for example to coded_{column_key(written)}.",
        code="column_reserved",
    )


def _unknown(
    sheet: RawSheet, written: str, key: str, codebook: Codebook, keys: list[str]
) -> Problem:
    near = nearest(key, [name for name in codebook.columns if name not in keys])
    advice = f"Did you mean '{near}'?" if near else "It may serve as a moderator."
    return _about(
        sheet,
        written,
        f"'{written}' is not a column of the codebook; it is kept as it is.",
        advice,
        code="column_unknown",
        note=True,
    )


def _about(
    sheet: RawSheet,
    column: str,
    problem: str,
    suggestion: str = "",
    *,
    code: str,
    note: bool = False,
) -> Problem:
    return Problem(
        sheet.file,
        problem,
        suggestion,
        sheet=sheet.sheet,
        column=column,
        code=code,
        severity="note" if note else "error",
    )
