"""Read a coder's sheet (CSV, TSV or XLSX) as rows of text."""

import csv
import io
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Literal

from alliance_meta.codebook import load_codebook, normalise
from alliance_meta.extraction.cells import DATE_ADVICE, DATE_PROBLEM, FORMULA_ADVICE
from alliance_meta.extraction.files import SAVE_AS_CSV, decode_text, read_bytes
from alliance_meta.extraction.wording import listed, shorten
from alliance_meta.problems import Problem

SEPARATORS = (",", ";", "\t")
WORKBOOK_ENDINGS = (".xlsx", ".xlsm", ".xltx")
EFFECTS_SHEET = "effects"

# how far down column names are looked for
TITLE_ROWS = 10

ZIP_MARK = b"PK\x03\x04"
# container of old Excel files and of encrypted new ones
OLE_MARK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
OPEN_DOCUMENT = b"mimetypeapplication/vnd.oasis.opendocument"

SAVE_AS_XLSX = "In Excel choose File > Save As > 'Excel Workbook (*.xlsx)'."

# stands after the last row; if a quotation mark is never closed it is swallowed
_END = "\ue000end of sheet\ue000"

Oddity = Literal["date", "formula", "error"]


@dataclass(frozen=True)
class RawSheet:
    """One sheet as written, without blank rows and blank columns.

    Attributes
    ----------
    file
        The file as the configuration names it.
    sheet
        The worksheet; empty for text files.
    header
        Column names as written.
    cells
        Rows of cells, as many as the header has; text without outer blanks, "" if empty.
    row_numbers
        Where each row stands in the spreadsheet (the header of a plain sheet is row 1).
    unreadable
        Cells (row index, column index) about which a problem was already reported.
    """

    file: str
    sheet: str
    header: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    row_numbers: tuple[int, ...]
    unreadable: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class _Grid:
    """Numbered rows of a sheet, and which cells are not what they seem."""

    sheet: str
    rows: Sequence[tuple[int, list[str]]]
    oddities: Mapping[tuple[int, int], Oddity]
    unread: tuple[str, ...] = ()  # further sheets of the workbook that look like effects sheets


def column_key(name: str) -> str:
    """Reduce a header cell to what counts when column names are compared."""
    return re.sub(r"\s+", "_", normalise(name))


def read_sheet(path: Path, *, name: str) -> tuple[RawSheet | None, list[Problem]]:
    """Read one effects sheet without judging what its cells mean.

    Parameters
    ----------
    path
        A CSV, TSV or XLSX file. Its content decides how it is read.
    name
        The file as the configuration names it; problems carry this name.

    Returns
    -------
    tuple of RawSheet or None, and list of Problem
        None where nothing can be read. Never raises on bad data.
    """
    data = read_bytes(path, name)
    if isinstance(data, Problem):
        return None, [data]
    if data.startswith((OLE_MARK, ZIP_MARK)) or path.suffix.lower() in WORKBOOK_ENDINGS:
        grid = _read_workbook(data, name)
    else:
        grid = _read_text(data, name)
    if isinstance(grid, Problem):
        return None, [grid]
    sheet, problems = _assemble(name, grid, is_text=not data.startswith(ZIP_MARK))
    if grid.unread:
        titles = listed(f"'{title}'" for title in grid.unread)
        problems.append(
            Problem(
                name,
                f"Only the sheet '{grid.sheet}' is read; {titles} looks like an effects sheet too.",
                "Move its rows to the sheet that is read, or save it as a workbook of its own.",
                code="unread_sheet",
                severity="note",
            )
        )
    return sheet, problems


def _strip(text: str) -> str:
    return text.strip().strip("\u200b\ufeff").strip()


def _count_known(names: Iterable[str]) -> int:
    """Return how many different codebook columns are among ``names``."""
    return len({column_key(name) for name in names} & load_codebook().columns.keys())


# --- text files ---------------------------------------------------------------------------


def _read_text(data: bytes, name: str) -> _Grid | Problem:
    text = decode_text(data, name, SAVE_AS_CSV)
    if isinstance(text, Problem):
        return text
    if not text.strip(' \t\r\n,;"'):
        return _Grid("", [], {})
    separator = _announced_separator(text)
    if separator is None:
        likeness = {candidate: _header_likeness(text, candidate) for candidate in SEPARATORS}
        separator = max(likeness, key=likeness.__getitem__)
    else:
        # Excel hides this line, so the rows below it count from 1
        text = re.split(r"\r\n|\r|\n", text, maxsplit=1)[1]
    rows: list[tuple[int, list[str]]] = []
    reader = csv.reader(io.StringIO(f"{text}\n{_END}", newline=""), delimiter=separator)
    number = 0
    try:
        for number, row in enumerate(reader, start=1):
            rows.append((number, [_strip(cell) for cell in row]))
    except csv.Error:
        return _unclosed(name, number + 1)
    if rows[-1][1] != [_END]:
        return _unclosed(name, rows[-1][0])
    return _Grid("", rows[:-1], {})


def _announced_separator(text: str) -> str | None:
    """Return the separator of a first line ``sep=;``, which Excel reads and hides."""
    found = re.match(r'"?sep=([,;\t])"?[\r\n]', text)
    return found[1] if found else None


def _header_likeness(text: str, separator: str) -> tuple[int, int]:
    """Return how well the first row splits: known column names, then cells."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        header: list[str] = next((row for row in reader if any(map(_strip, row))), [])
    except csv.Error:
        return 0, 0
    return _count_known(header), len(header)


def _unclosed(name: str, row: int) -> Problem:
    return Problem(
        name,
        "A quotation mark that opens a cell in this row is never closed.",
        'Add the missing " or remove the one that is too many.',
        row=row,
        code="unclosed_quotation_mark",
    )


# --- workbooks ----------------------------------------------------------------------------


def _read_workbook(data: bytes, name: str) -> _Grid | Problem:
    if data.startswith(OLE_MARK):
        if ENCRYPTED in data:
            problem = "The workbook is protected with a password, so it cannot be read."
            advice = "Remove the password in Excel (File > Info > Protect Workbook) and save it."
            return Problem(name, problem, advice, code="password_protected")
        problem = "This is a workbook of an old Excel version (.xls), which cannot be read."
        return Problem(name, problem, SAVE_AS_XLSX, code="old_excel_file")
    if OPEN_DOCUMENT in data[:200]:
        problem = "This is an OpenDocument spreadsheet (.ods), which cannot be read."
        advice = "In LibreOffice choose File > Save As > 'Excel 2007-365 (.xlsx)'."
        return Problem(name, problem, advice, code="not_a_workbook")
    if not data.startswith(ZIP_MARK):
        problem = "This is not an Excel workbook, although its name ends like one."
        advice = f"{SAVE_AS_XLSX} If it is a text file, let its name end in .csv."
        return Problem(name, problem, advice, code="not_a_workbook")
    try:
        # openpyxl warns of styles and validations it does not keep; none matters here
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read_open_workbook(data, name)
    except Exception:
        # a damaged file can fail anywhere inside zip, XML or openpyxl
        return Problem(
            name,
            "The workbook is damaged and cannot be read.",
            "Open it in Excel, let Excel repair it, and save it again as .xlsx.",
            code="damaged_workbook",
        )


def _read_open_workbook(data: bytes, name: str) -> _Grid | Problem:
    workbook = _open_workbook(data, data_only=True)
    try:
        chosen = _choose_sheet(workbook, name)
        if isinstance(chosen, Problem):
            return chosen
        unread = tuple(
            sheet.title
            for sheet in workbook.worksheets
            if sheet is not chosen and _holds_effects(sheet)
        )
        rows: list[tuple[int, list[str]]] = []
        oddities: dict[tuple[int, int], Oddity] = {}
        empty_cells: set[tuple[int, int]] = set()
        # stored dimensions may be wrong, so the rows themselves decide
        chosen.reset_dimensions()
        for number, row in enumerate(chosen.iter_rows(), start=1):
            texts = []
            for index, cell in enumerate(row):
                text, oddity = _cell_text(cell)
                texts.append(text)
                if oddity is not None:
                    oddities[number, index] = oddity
                # an empty text is the result of a formula; no value at all is none
                if cell.value is None and cell.data_type == "n":
                    empty_cells.add((number, index))
            rows.append((number, texts))
        title = chosen.title
    finally:
        workbook.close()
    for (number, index), formula in _formulas(data, title).items():
        if (number, index) in empty_cells:
            rows[number - 1][1][index] = formula
            oddities[number, index] = "formula"
    return _Grid(title, rows, oddities, unread)


def _open_workbook(data: bytes, *, data_only: bool) -> Any:
    # imported here because it takes longer than checking a CSV sheet
    from openpyxl import load_workbook

    return load_workbook(io.BytesIO(data), read_only=True, data_only=data_only)


def _choose_sheet(workbook: Any, name: str) -> Any:
    """Return the worksheet of effects: the one so named, else the only one that looks so."""
    sheets = list(workbook.worksheets)
    named = [sheet for sheet in sheets if sheet.title.strip().casefold() == EFFECTS_SHEET]
    if named:
        return named[0]
    if len(sheets) == 1:
        return sheets[0]
    alike = []
    for sheet in sheets:
        sheet.reset_dimensions()
        header = next(sheet.iter_rows(max_row=1), ())
        if _count_known(_strip(str(cell.value)) for cell in header) >= 2:
            alike.append(sheet)
    if len(alike) == 1:
        return alike[0]
    titles = listed(f"'{sheet.title}'" for sheet in alike or sheets)
    if alike:
        problem = f"Several sheets of the workbook look like effects sheets: {titles}."
    elif sheets:
        problem = f"No sheet of the workbook is named 'effects'; there are: {titles}."
    else:
        problem = "The workbook has no sheet with cells."
    advice = "Rename the sheet with the effect sizes to 'effects'."
    return Problem(name, problem, advice, code="no_effects_sheet")


def _holds_effects(sheet: Any) -> bool:
    """Return whether a worksheet's first row has every required column."""
    sheet.reset_dimensions()
    header = next(sheet.iter_rows(max_row=1), ())
    names = {column_key(_strip(str(cell.value))) for cell in header}
    required = {c.name for c in load_codebook().columns.values() if c.required}
    return required <= names


def _cell_text(cell: Any) -> tuple[str, Oddity | None]:
    """Return a workbook cell as a reviewer sees it."""
    value = cell.value
    if value is None:
        return "", None
    if cell.data_type == "e":
        return str(value), "error"
    if isinstance(value, bool):
        return ("true" if value else "false"), None
    if isinstance(value, int | float):
        if "%" in (cell.number_format or ""):
            return number_text(float(f"{value * 100:.12g}")) + "%", None
        return number_text(value), None
    if isinstance(value, datetime):
        day = value.date().isoformat()
        return (day if value.time() == time() else value.isoformat(sep=" ")), "date"
    if isinstance(value, date | time | timedelta):
        return str(value), "date"
    return _strip(str(value)), None


def number_text(value: int | float) -> str:
    """Return the shortest text that reads back as the same number."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value)


def _formulas(data: bytes, title: str) -> dict[tuple[int, int], str]:
    """Return the formulas of a sheet: (row number, column index) -> text."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = [part for part in archive.namelist() if part.startswith("xl/worksheets/")]
        # a second reading costs as much as the first, so only where there are formulas
        if not any(re.search(rb"<(\w+:)?f[ >]", archive.read(part)) for part in parts):
            return {}
    workbook = _open_workbook(data, data_only=False)
    try:
        sheet = workbook[title]
        sheet.reset_dimensions()
        return {
            (number, index): str(cell.value)
            for number, row in enumerate(sheet.iter_rows(), start=1)
            for index, cell in enumerate(row)
            if cell.data_type == "f"
        }
    finally:
        workbook.close()


# --- both ---------------------------------------------------------------------------------


def _assemble(name: str, grid: _Grid, *, is_text: bool) -> tuple[RawSheet | None, list[Problem]]:
    """Make a sheet of numbered rows: the first row with a cell is the header."""
    rows = [(number, row) for number, row in grid.rows if any(row)]
    if not rows:
        advice = "Check that it was saved."
        empty = Problem(name, "The sheet is empty.", advice, grid.sheet, code="file_empty")
        return None, [empty]
    head_row, header = rows[0]
    unsplit = _unsplit_header(header, is_text)
    if unsplit is not None:
        problem_text, advice = unsplit
        return None, [
            Problem(
                name,
                problem_text,
                advice,
                sheet=grid.sheet,
                row=head_row,
                value=shorten("".join(header)),
                code="wrong_separator",
            )
        ]
    lower = _lower_header(rows)
    if lower is not None:
        return None, [
            Problem(
                name,
                f"The column names stand in row {lower}, not in the first row with cells.",
                "Delete the rows above them.",
                sheet=grid.sheet,
                row=lower,
                code="header_not_first",
            )
        ]
    if len(rows) == 1:
        return None, [
            Problem(
                name,
                "The sheet has a header but no rows below it.",
                "Code at least one effect size.",
                sheet=grid.sheet,
                code="no_rows",
            )
        ]
    problems: list[Problem] = []
    body = rows[1:]
    if is_text:
        body, problems = _drop_long_rows(name, len(header), body)
    kept, header_problems = _named_columns(name, grid.sheet, head_row, header, body)
    problems += header_problems
    known = load_codebook().columns
    unreadable = set()
    for i, (number, row) in enumerate(body):
        for j, index in enumerate(kept):
            oddity = grid.oddities.get((number, index))
            if oddity is None or (oddity == "date" and column_key(header[index]) not in known):
                continue
            unreadable.add((i, j))
            problems.append(_odd_cell(name, grid.sheet, number, header[index], row[index], oddity))
    sheet = RawSheet(
        file=name,
        sheet=grid.sheet,
        header=tuple(header[index] for index in kept),
        cells=tuple(
            tuple(row[index] if index < len(row) else "" for index in kept) for _, row in body
        ),
        row_numbers=tuple(number for number, _ in body),
        unreadable=frozenset(unreadable),
    )
    return sheet, problems


def _unsplit_header(header: list[str], is_text: bool) -> tuple[str, str] | None:
    """Return what is wrong if a single cell holds several column names, else None."""
    filled = [cell for cell in header if cell]
    if len(filled) != 1 or column_key(filled[0]) in load_codebook().columns:
        return None
    if _count_known(re.split(r"\W+", filled[0])) < 2:
        return None
    if is_text:
        return (
            "The columns of this sheet are not separated by commas, semicolons or tabs.",
            SAVE_AS_CSV,
        )
    return (
        "All column names stand in one cell.",
        "In Excel choose Data > Text to Columns to split the cells.",
    )


def _lower_header(rows: Sequence[tuple[int, list[str]]]) -> int | None:
    """Return the row of the column names if a title or a remark stands above them."""
    if _count_known(rows[0][1]) > 0:
        return None
    for number, row in rows[1 : 1 + TITLE_ROWS]:
        if _count_known(row) >= 3:
            return number
    return None


def _drop_long_rows(
    name: str, width: int, body: list[tuple[int, list[str]]]
) -> tuple[list[tuple[int, list[str]]], list[Problem]]:
    """Leave out rows with more cells than the header: their cells are shifted."""
    kept, problems = [], []
    for number, row in body:
        if any(row[width:]):
            filled = max(i for i, cell in enumerate(row, start=1) if cell)
            problems.append(
                Problem(
                    name,
                    f"This row has {filled} cells, but the header has {width}.",
                    "Probably a comma or semicolon inside a cell splits it: put that cell in "
                    'double quotation marks ("...").',
                    row=number,
                    code="too_many_cells",
                )
            )
        else:
            kept.append((number, row))
    return kept, problems


def _named_columns(
    name: str,
    sheet: str,
    head_row: int,
    header: list[str],
    body: list[tuple[int, list[str]]],
) -> tuple[list[int], list[Problem]]:
    """Return the indices of columns to read, and what is wrong with the others."""
    kept, problems = [], []
    seen: dict[str, int] = {}
    for index, column in enumerate(header):
        if not column:
            continue
        if column in seen:
            first, second = _column_letter(seen[column]), _column_letter(index)
            problems.append(
                Problem(
                    name,
                    f"Two columns are named '{column}' ({first} and {second}).",
                    "Rename or delete one of them.",
                    sheet=sheet,
                    row=head_row,
                    column=column,
                    code="duplicate_column",
                )
            )
            continue
        seen[column] = index
        kept.append(index)
    named = {index for index, column in enumerate(header) if column}
    nameless: dict[int, tuple[int, str]] = {}
    for number, row in body:
        for index, cell in enumerate(row):
            if cell and index not in named:
                nameless.setdefault(index, (number, cell))
    for index, (number, cell) in sorted(nameless.items()):
        letter = _column_letter(index)
        problems.append(
            Problem(
                name,
                f"Column {letter} has cells but no name.",
                f"Write a name into cell {letter}{head_row}, or delete the column.",
                sheet=sheet,
                row=number,
                value=cell,
                code="column_without_name",
            )
        )
    return kept, problems


def _column_letter(index: int) -> str:
    """Return the letters with which a spreadsheet heads the column at ``index`` (from 0)."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def _odd_cell(name: str, sheet: str, row: int, column: str, value: str, oddity: Oddity) -> Problem:
    if oddity == "date":
        text, advice, code = DATE_PROBLEM, DATE_ADVICE, "date_in_cell"
    elif oddity == "formula":
        text = "The result of this formula is not stored in the workbook."
        advice = "Open the workbook in Excel and save it, or type the value itself."
        code = "formula_without_result"
    else:
        text, advice, code = f"'{value}' is an error of Excel.", FORMULA_ADVICE, "excel_error"
    return Problem(name, text, advice, sheet=sheet, row=row, column=column, value=value, code=code)
