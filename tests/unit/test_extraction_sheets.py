"""Reading CSV, TSV and XLSX sheets as reviewers save them."""

import io
import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook

from alliance_meta.extraction import RawSheet, read_sheet

NAME = "data/raw/effects.csv"
BOOK = "data/raw/effects.xlsx"

SAVE_AS_CSV = "In Excel choose File > Save As > 'CSV UTF-8 (Comma delimited)'."

COMMA = "study_id,effect_type,effect_value\nA,r,0.31\nB,r,0.2\n"


def read(tmp_path: Path, content: str | bytes, ending: str = ".csv") -> RawSheet:
    sheet, problems = try_reading(tmp_path, content, ending)
    assert problems == []
    assert sheet is not None
    return sheet


def try_reading(
    tmp_path: Path, content: str | bytes, ending: str = ".csv"
) -> tuple[RawSheet | None, list[str]]:
    path = tmp_path / f"effects{ending}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    sheet, problems = read_sheet(path, name=BOOK if ending == ".xlsx" else NAME)
    return sheet, [str(problem) for problem in problems]


def workbook(**sheets: list[list[Any]]) -> bytes:
    book = Workbook()
    book.remove(book.worksheets[0])
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    return saved(book)


def saved(book: Workbook) -> bytes:
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def with_xml(data: bytes, old: str, new: str) -> bytes:
    """Change the XML of a workbook's first sheet, as other programs write it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(buffer, "w") as after:
        for part in before.namelist():
            content = before.read(part)
            if part == "xl/worksheets/sheet1.xml":
                assert old.encode() in content
                content = content.replace(old.encode(), new.encode())
            after.writestr(part, content)
    return buffer.getvalue()


# --- text files ---------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_every_usual_csv_reads_the_same(
    tmp_path: Path, separator: str, mark: bytes, line_end: str
) -> None:
    text = COMMA.replace(",", separator).replace("\n", line_end)
    sheet = read(tmp_path, mark + text.encode())
    assert sheet.file == NAME
    assert sheet.sheet == ""
    assert sheet.header == ("study_id", "effect_type", "effect_value")
    assert sheet.cells == (("A", "r", "0.31"), ("B", "r", "0.2"))
    assert sheet.row_numbers == (2, 3)


def test_a_quoted_header_splits_by_the_separator_that_gives_known_columns(tmp_path: Path) -> None:
    text = '"study_id";"effect_type";"a,b,c,d,e"\nA;r;"x;y"\n'
    sheet = read(tmp_path, text)
    assert sheet.header == ("study_id", "effect_type", "a,b,c,d,e")
    assert sheet.cells == (("A", "r", "x;y"),)


def test_the_line_that_tells_excel_the_separator_is_not_a_row(tmp_path: Path) -> None:
    sheet = read(tmp_path, "sep=;\r\n" + COMMA.replace(",", ";"))
    assert sheet.header[0] == "study_id"
    assert sheet.row_numbers == (2, 3)


def test_blank_rows_are_skipped_and_rows_keep_their_numbers(tmp_path: Path) -> None:
    text = 'study_id,notes\nA,"two\nlines"\n,\n\n  ,\u00a0\nB,x\n'
    sheet = read(tmp_path, text)
    assert sheet.cells == (("A", "two\nlines"), ("B", "x"))
    assert sheet.row_numbers == (2, 6)


def test_cells_lose_outer_blanks_and_short_rows_are_filled(tmp_path: Path) -> None:
    sheet = read(tmp_path, "study_id,effect_type,n\n A ,\u00a0r\u200b\n")
    assert sheet.cells == (("A", "r", ""),)


def test_empty_columns_at_the_end_are_no_columns(tmp_path: Path) -> None:
    sheet = read(tmp_path, "study_id,n,,\nA,1,,\nB,2,,,,\n")
    assert sheet.header == ("study_id", "n")
    assert sheet.cells == (("A", "1"), ("B", "2"))


LATIN = "study_id,notes\nA,ok\nB,Müller wrote\n".encode("cp1252")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", f"{NAME}: The file is empty. Check that it was saved."),
        (b"\xef\xbb\xbf \r\n", f"{NAME}: The file is empty. Check that it was saved."),
        (b",,\n,,\n", f"{NAME}: The sheet is empty. Check that it was saved."),
        (
            b"study_id,n\n",
            f"{NAME}: The sheet has a header but no rows below it. Code at least one effect size.",
        ),
        (
            LATIN,
            f"{NAME} row 3: The file is not saved as UTF-8: row 3 has a letter that cannot be "
            f"read (near 'Müller'). {SAVE_AS_CSV}",
        ),
        (
            COMMA.encode("utf-16"),
            f"{NAME}: The file is saved as 'Unicode text' (UTF-16), not as UTF-8. {SAVE_AS_CSV}",
        ),
        (
            COMMA.encode("utf-16-le"),
            f"{NAME}: This is not a text file: it holds bytes that no text has. {SAVE_AS_CSV}",
        ),
        (
            COMMA.replace(",", "|").encode(),
            f"{NAME} row 1: The columns of this sheet are not separated by commas, semicolons "
            f"or tabs. {SAVE_AS_CSV}",
        ),
        (
            COMMA.replace(",", "   ").encode(),
            f"{NAME} row 1: The columns of this sheet are not separated by commas, semicolons "
            f"or tabs. {SAVE_AS_CSV}",
        ),
        (
            b'study_id,notes\nA,x\nB,"never closed\nC,y\n',
            f"{NAME} row 3: A quotation mark that opens a cell in this row is never closed. "
            'Add the missing " or remove the one that is too many.',
        ),
        (
            b'study_id,notes\nA,x\nB,"' + b"x" * 200_000,
            f"{NAME} row 3: A quotation mark that opens a cell in this row is never closed. "
            'Add the missing " or remove the one that is too many.',
        ),
    ],
)
def test_a_text_file_that_cannot_be_read_has_one_problem(
    tmp_path: Path, content: bytes, message: str
) -> None:
    assert try_reading(tmp_path, content) == (None, [message])


def test_the_row_of_a_bad_letter_counts_rows_and_not_lines(tmp_path: Path) -> None:
    content = 'study_id,notes\nA,"two\nlines"\nB,é\n'.encode("latin-1")
    _, problems = try_reading(tmp_path, content)
    assert problems == [
        f"{NAME} row 3: The file is not saved as UTF-8: row 3 has a letter that cannot be read "
        f"(near 'é'). {SAVE_AS_CSV}"
    ]


def test_a_row_with_more_cells_than_the_header_is_named_and_left_out(tmp_path: Path) -> None:
    sheet, problems = try_reading(tmp_path, "study_id,effect_type,n\nA,r,1\nB,r,0,31\n")
    assert problems == [
        f"{NAME} row 3: This row has 4 cells, but the header has 3. Probably a comma or "
        'semicolon inside a cell splits it: put that cell in double quotation marks ("...").'
    ]
    assert sheet is not None
    assert sheet.row_numbers == (2,)


def test_two_columns_of_one_name_are_an_error(tmp_path: Path) -> None:
    sheet, problems = try_reading(tmp_path, "study_id,n,n\nA,1,2\n")
    assert problems == [
        f"{NAME} row 1, column n: Two columns are named 'n' (B and C). "
        "Rename or delete one of them."
    ]
    assert sheet is not None
    assert sheet.cells == (("A", "1"),)


def test_a_column_with_cells_needs_a_name(tmp_path: Path) -> None:
    _, problems = try_reading(tmp_path, "study_id,,n\nA,,1\nB,x,1\n")
    assert problems == [
        f"{NAME} row 3: Column B has cells but no name. Write a name into cell B1, or delete "
        "the column."
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "There is no such file. Check the file names in config/config.yaml."),
        (
            lambda path: path.mkdir(),
            "This is a folder, not a file. Name the file itself in config/config.yaml.",
        ),
    ],
)
def test_a_missing_file_is_a_problem(tmp_path: Path, make: Any, message: str) -> None:
    path = tmp_path / "effects.csv"
    make(path)
    sheet, problems = read_sheet(path, name=NAME)
    assert sheet is None
    assert [str(problem) for problem in problems] == [f"{NAME}: {message}"]


# --- workbooks ----------------------------------------------------------------------------

HEADER = ["study_id", "effect_type", "effect_value", "n", "site"]


def test_a_workbook_gives_numbers_in_their_shortest_form(tmp_path: Path) -> None:
    data = workbook(Tabelle1=[HEADER, ["A", " r ", 0.31, 12.0, True], [None], ["B", "r", 1e-7, 84]])
    sheet = read(tmp_path, data, ".xlsx")
    assert (sheet.file, sheet.sheet) == (BOOK, "Tabelle1")
    assert sheet.cells == (("A", "r", "0.31", "12", "true"), ("B", "r", "1e-07", "84", ""))
    assert sheet.row_numbers == (2, 4)


def test_a_workbook_is_known_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    assert read(tmp_path, workbook(S=[HEADER, ["A", "r", 0.3]]), ".csv").sheet == "S"


def test_the_sheet_named_effects_is_read(tmp_path: Path) -> None:
    data = workbook(Notes=[["study_id", "year"]], Effects=[HEADER, ["B", "r", 0.2]])
    assert read(tmp_path, data, ".xlsx").cells[0][0] == "B"


def test_a_second_sheet_of_effects_is_noted(tmp_path: Path) -> None:
    rows = [HEADER, ["A", "r", 0.3]]
    path = tmp_path / "book.xlsx"
    path.write_bytes(workbook(effects=rows, more=rows, studies=[["study_id", "year"], ["A", 2001]]))
    sheet, problems = read_sheet(path, name=BOOK)
    assert sheet is not None
    assert [(str(p), p.severity) for p in problems] == [
        (
            f"{BOOK}: Note: Only the sheet 'effects' is read; 'more' looks like an effects sheet "
            "too. Move its rows to the sheet that is read, or save it as a workbook of its own.",
            "note",
        )
    ]


def test_else_the_only_sheet_with_codebook_columns_is_read(tmp_path: Path) -> None:
    data = workbook(Readme=[["How to code"]], Coding=[HEADER, ["A", "r", 0.3]])
    assert read(tmp_path, data, ".xlsx").sheet == "Coding"


ADVICE = "Rename the sheet with the effect sizes to 'effects'."


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            workbook(One=[HEADER, ["A"]], Two=[HEADER, ["B"]], Three=[["x"]]),
            f"{BOOK}: Several sheets of the workbook look like effects sheets: 'One', 'Two'. "
            f"{ADVICE}",
        ),
        (
            workbook(One=[["x"]], Two=[["y"]]),
            f"{BOOK}: No sheet of the workbook is named 'effects'; there are: 'One', 'Two'. "
            f"{ADVICE}",
        ),
        (
            workbook(One=[]),
            f"{BOOK} sheet One: The sheet is empty. Check that it was saved.",
        ),
        (
            workbook(One=[["Coding of May"], [None], HEADER, ["A", "r", 0.3]]),
            f"{BOOK} sheet One row 3: The column names stand in row 3, not in the first row with "
            "cells. Delete the rows above them.",
        ),
        (
            workbook(One=[["study_id,effect_type,n"], ["A,r,12"]]),
            f"{BOOK} sheet One row 1: All column names stand in one cell. "
            "In Excel choose Data > Text to Columns to split the cells.",
        ),
        (
            COMMA.encode(),
            f"{BOOK}: This is not an Excel workbook, although its name ends like one. "
            "In Excel choose File > Save As > 'Excel Workbook (*.xlsx)'. If it is a text file, "
            "let its name end in .csv.",
        ),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600,
            f"{BOOK}: This is a workbook of an old Excel version (.xls), which cannot be read. "
            "In Excel choose File > Save As > 'Excel Workbook (*.xlsx)'.",
        ),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
            f"{BOOK}: The workbook is protected with a password, so it cannot be read. "
            "Remove the password in Excel (File > Info > Protect Workbook) and save it.",
        ),
        (
            b"PK\x03\x04" + b"\0" * 26 + b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet",
            f"{BOOK}: This is an OpenDocument spreadsheet (.ods), which cannot be read. "
            "In LibreOffice choose File > Save As > 'Excel 2007-365 (.xlsx)'.",
        ),
        (
            workbook(One=[HEADER, ["A", "r", 0.3]])[:-400],
            f"{BOOK}: The workbook is damaged and cannot be read. "
            "Open it in Excel, let Excel repair it, and save it again as .xlsx.",
        ),
    ],
)
def test_a_workbook_that_cannot_be_read_has_one_problem(
    tmp_path: Path, data: bytes, message: str
) -> None:
    assert try_reading(tmp_path, data, ".xlsx") == (None, [message])


def test_a_date_where_no_date_belongs_is_an_error(tmp_path: Path) -> None:
    rows = [HEADER, ["A", "r", datetime(2024, 5, 3), 12, date(2024, 5, 3)]]
    sheet, problems = try_reading(tmp_path, workbook(effects=rows), ".xlsx")
    assert problems == [
        f"{BOOK} sheet effects row 2, column effect_value: Excel has turned this into a date. "
        "Format the column as Text in Excel, then type the cell again."
    ]
    assert sheet is not None
    assert sheet.unreadable == {(0, 2)}
    # a column of the reviewer's own may hold dates
    assert sheet.cells[0][4] == "2024-05-03"


def test_errors_of_excel_are_errors_here(tmp_path: Path) -> None:
    rows = [HEADER, ["A", "r", "#N/A", "#DIV/0!"]]
    _, problems = try_reading(tmp_path, workbook(effects=rows), ".xlsx")
    assert problems == [
        f"{BOOK} sheet effects row 2, column effect_value: '#N/A' is an error of Excel. "
        "Correct the formula in Excel, or type the value itself.",
        f"{BOOK} sheet effects row 2, column n: '#DIV/0!' is an error of Excel. "
        "Correct the formula in Excel, or type the value itself.",
    ]


def test_a_formula_counts_with_its_stored_result(tmp_path: Path) -> None:
    plain = workbook(effects=[HEADER, ["A", "r", 0.3, "=6*7"]])
    data = with_xml(plain, formula_xml(plain), "<f>6*7</f><v>42</v>")
    assert read(tmp_path, data, ".xlsx").cells[0][3] == "42"


def test_a_formula_without_a_stored_result_is_an_error(tmp_path: Path) -> None:
    data = workbook(effects=[HEADER, ["A", "r", 0.3, "=6*7"]])
    _, problems = try_reading(tmp_path, data, ".xlsx")
    assert problems == [
        f"{BOOK} sheet effects row 2, column n: The result of this formula is not stored in the "
        "workbook. Open the workbook in Excel and save it, or type the value itself."
    ]


def test_a_formula_with_an_empty_text_as_result_is_an_empty_cell(tmp_path: Path) -> None:
    plain = workbook(effects=[HEADER, ["A", "r", 0.3, '=IF(1=1,"","x")', "end"]])
    data = with_xml(plain, '<c r="D2">', '<c r="D2" t="str">')
    assert read(tmp_path, data, ".xlsx").cells[0][3] == ""


def formula_xml(data: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        xml = archive.read("xl/worksheets/sheet1.xml").decode()
    start = xml.index("<f>")
    return xml[start : xml.index("</c>", start)]


def test_a_cell_shown_as_percentage_reads_as_shown(tmp_path: Path) -> None:
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.append(HEADER)
    sheet.append(["A", "r", 0.31])
    sheet["C2"].number_format = "0%"
    assert read(tmp_path, saved(book), ".xlsx").cells[0][2] == "31%"
