"""Check a review's sheets and its bibliography in one pass."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from alliance_meta.codebook import Codebook
from alliance_meta.extraction.bibliography import read_references
from alliance_meta.extraction.cells import BadNumber, parse_number
from alliance_meta.extraction.columns import SOURCE_COLUMNS, match_header, version_column
from alliance_meta.extraction.consistency import check_together
from alliance_meta.extraction.rows import CellReader, Row, Value
from alliance_meta.extraction.sheets import column_key, read_sheet
from alliance_meta.problems import Problem, errors_only, sort_problems, unique_problems

CODE_WITH_ZERO = re.compile(r"[+-]?0\d+")


@dataclass(frozen=True, eq=False)
class Extraction:
    """A review's data as checked.

    Attributes
    ----------
    effects
        The checked effects table, one row per effect. With errors it holds what could be
        read: cells with an error are empty, rows without a study are left out.
    references
        The bibliography as CSL-JSON items.
    problems
        Everything found, errors first.
    """

    effects: pd.DataFrame
    references: list[dict[str, Any]]
    problems: list[Problem]

    @property
    def ok(self) -> bool:
        """Whether there is no error (notes do not count)."""
        return not errors_only(self.problems)


def check_sheets(
    sheets: Sequence[tuple[str, Path]],
    references: Sequence[tuple[str, Path]],
    *,
    codebook: Codebook,
) -> Extraction:
    """Read and check effects sheets and references; collect every problem at once.

    Parameters
    ----------
    sheets
        Effects sheets as (name in the configuration, path); they are stacked in this order.
    references
        BibTeX files, likewise; empty if the review has no bibliography.
    codebook
        The codebook, with the review's own terms.

    Returns
    -------
    Extraction
        Table, references and problems. Bad data never raises.
    """
    problems: list[Problem] = []
    if not sheets:
        problems.append(
            Problem(
                "config/config.yaml",
                "No effects sheet is named.",
                "Name at least one file under `effects:`.",
                code="no_effects_file",
            )
        )
    bibliography = None
    if references:
        bibliography = read_references(references)
        problems += bibliography.problems
    rows: list[Row] = []
    # columns outside the codebook: key -> name as first written
    others: dict[str, str] = {}
    reader = CellReader(codebook)
    for name, path in sheets:
        sheet, found = read_sheet(path, name=name)
        problems += found
        if sheet is None:
            continue
        header, found = match_header(sheet, codebook, others)
        problems += found
        for column in header.names:
            if column is not None and column not in codebook.columns:
                others.setdefault(column_key(column), column)
        new_rows, found = reader.read_rows(sheet, header)
        problems += found
        rows += new_rows
    problems += check_together(rows, bibliography, codebook)
    kept = [row for row in rows if "study_id" in row.values]
    _make_ids(kept)
    return Extraction(
        effects=_effects_table(kept, codebook, list(others.values())),
        references=[] if bibliography is None else bibliography.items,
        problems=sort_problems(unique_problems(problems)),
    )


def _make_ids(rows: Sequence[Row]) -> None:
    """Name samples after their study and effects after study and order, where not coded."""
    taken = {row.values["effect_id"] for row in rows if "effect_id" in row.values}
    order: Counter[Value] = Counter()
    for row in rows:
        study = row.values["study_id"]
        row.values.setdefault("sample_id", study)
        order[study] += 1
        if "effect_id" in row.values:
            continue
        number = order[study]
        while f"{study}_{number}" in taken:
            number += 1
        row.values["effect_id"] = f"{study}_{number}"
        taken.add(row.values["effect_id"])


def _effects_table(rows: Sequence[Row], codebook: Codebook, others: list[str]) -> pd.DataFrame:
    versioned = codebook.versioned_columns()
    data: dict[str, pd.Series] = {}
    for column in codebook.columns.values():
        dtype = "float64" if column.numeric else "str"
        data[column.name] = _series(rows, column.name, dtype)
        if column.name in versioned:
            name = version_column(column.name)
            data[name] = _series(rows, name, "str")
    origins = (
        [row.sheet.file for row in rows],
        [row.sheet.sheet for row in rows],
        [row.number for row in rows],
    )
    for name, values, dtype in zip(SOURCE_COLUMNS, origins, ("str", "str", "int64"), strict=True):
        data[name] = pd.Series(values, dtype=dtype)
    for name in others:
        data[name] = _pass_through(rows, name)
    return pd.DataFrame(data)


def _series(rows: Sequence[Row], column: str, dtype: str) -> pd.Series:
    return pd.Series([row.values.get(column) for row in rows], dtype=dtype)


def _pass_through(rows: Sequence[Row], column: str) -> pd.Series:
    """Return a column outside the codebook: numbers if all its cells are, else text.

    Codes with a leading zero (01, 02) are text.
    """
    numbers: list[float | None] = []
    for row in rows:
        text = row.text(column)
        if text is not None and CODE_WITH_ZERO.fullmatch(text):
            return _series(rows, column, "str")
        number = None if text is None else parse_number(text)
        if isinstance(number, BadNumber):
            return _series(rows, column, "str")
        numbers.append(number)
    return pd.Series(numbers, dtype="float64")
