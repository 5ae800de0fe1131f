"""Any valid sheet reads back the same in every format, and no garbage raises."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl import Workbook

from alliance_meta.codebook import Column, load_codebook
from alliance_meta.extraction import check_sheets, read_references, read_sheet
from alliance_meta.extraction.cells import BadNumber, parse_number
from alliance_meta.extraction.rows import NO_REASON

CODEBOOK = load_codebook()
NAME = "effects.csv"

# each example writes files into its own folder, so sharing tmp_path is safe
FILES = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

WORDS = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=12
).map(str.strip)
# a text that a workbook or a CSV line could take for something else is not what is tested here
TEXTS = WORDS.filter(lambda text: text and not text.startswith(("=", "#")) and text != '"')


def numbers(column: Column) -> st.SearchStrategy[float]:
    low = column.minimum if column.minimum is not None else column.above
    high = column.maximum if column.maximum is not None else column.below
    if column.type == "integer":
        return st.integers(int(low or 0), int(high or 5000)).map(float)
    floats = st.floats(
        min_value=-1e6 if low is None else low,
        max_value=1e6 if high is None else high,
        exclude_min=column.above is not None,
        exclude_max=column.below is not None,
        allow_subnormal=False,
    )
    return st.one_of(
        # Excel keeps 15 digits
        floats.map(lambda number: float(f"{number:.15g}")).filter(inside(column)),
        floats.map(lambda number: round(number, 2)).filter(inside(column)),
    )


def inside(column: Column) -> Callable[[float], bool]:
    def check(number: float) -> bool:
        return (
            (column.above is None or number > column.above)
            and (column.below is None or number < column.below)
            and (column.minimum is None or number >= column.minimum)
            and (column.maximum is None or number <= column.maximum)
        )

    return check


def cells(column: Column) -> st.SearchStrategy[Any]:
    """Return valid cells of a column: floats for numbers, else text; None is empty."""
    filled: st.SearchStrategy[Any]
    if column.numeric:
        filled = numbers(column)
    elif column.vocabulary is not None:
        filled = st.sampled_from(CODEBOOK.vocabularies[column.vocabulary].all_spellings())
    elif column.name == "exclude_reason":
        filled = TEXTS.filter(lambda text: text.casefold() not in NO_REASON)
    else:
        filled = TEXTS
    return filled if column.required else st.none() | filled


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[Any]]]:
    """Return a header and rows that the codebook allows."""
    required = ["study_id", "effect_type", "effect_value"]
    # effect_id and sample_id are tested elsewhere: they must not clash between rows
    others = [n for n in CODEBOOK.columns if n not in (*required, "effect_id", "sample_id")]
    chosen = draw(st.lists(st.sampled_from(others), unique=True, max_size=6))
    header = draw(st.permutations([*required, "effect_id", *chosen]))
    rows = []
    for i in range(draw(st.integers(1, 4))):
        row = [
            f"e{i}" if name == "effect_id" else draw(cells(CODEBOOK.columns[name]))
            for name in header
        ]
        rows.append(row)
    return header, rows


def write_csv(
    header: list[str], rows: list[list[Any]], separator: str, bom: bool, decimal: str
) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=separator)
    writer.writerow(header)
    for row in rows:
        writer.writerow([number_cell(cell, decimal) for cell in row])
    return buffer.getvalue().encode("utf-8-sig" if bom else "utf-8")


def number_cell(cell: Any, decimal: str) -> Any:
    if not isinstance(cell, float):
        return cell
    text = str(int(cell)) if cell.is_integer() else repr(cell)
    comma = text.replace(".", ",")
    # three decimals after a comma are what nobody can tell from thousands
    if decimal == "," and isinstance(parse_number(comma), float):
        return comma
    return text


def write_workbook(header: list[str], rows: list[list[Any]]) -> bytes:
    book = Workbook()
    for row in (header, *rows):
        book.worksheets[0].append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def checked(folder: Path, ending: str, data: bytes) -> tuple[pd.DataFrame, list[str]]:
    path = folder / f"effects{ending}"
    path.write_bytes(data)
    extraction = check_sheets([(NAME, path)], [], codebook=CODEBOOK)
    codes = {problem.code for problem in extraction.problems if problem.severity == "error"}
    return extraction.effects.drop(columns="source_sheet"), sorted(codes)


@FILES
@given(tables())
def test_a_valid_table_reads_the_same_from_every_format(
    tmp_path: Path, table: tuple[list[str], list[list[Any]]]
) -> None:
    header, rows = table
    effects, errors = checked(tmp_path, ".csv", write_csv(header, rows, ",", False, "."))
    # two rows may turn out equal, which is the one thing wrong with such a table
    assert errors in ([], ["duplicate_effect"])
    for name in header:
        column = CODEBOOK.columns[name]
        written = [row[header.index(name)] for row in rows]
        if column.numeric:
            written = [float("nan") if cell is None else cell for cell in written]
            assert effects[name].equals(pd.Series(written, dtype="float64"))
        elif column.vocabulary is None:
            assert effects[name].equals(pd.Series(written, dtype="str"))
        else:
            assert effects[name].isna().tolist() == [cell is None for cell in written]
    for separator, bom, decimal in ((",", True, "."), (";", True, ","), ("\t", False, ".")):
        data = write_csv(header, rows, separator, bom, decimal)
        other, same_errors = checked(tmp_path, ".csv", data)
        pd.testing.assert_frame_equal(other, effects, check_exact=True)
        assert same_errors == errors
    other, same_errors = checked(tmp_path, ".xlsx", write_workbook(header, rows))
    pd.testing.assert_frame_equal(other, effects, check_exact=True)
    assert same_errors == errors


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_python_writes_reads_back(number: float) -> None:
    assert parse_number(repr(number)) == number


@given(st.text())
def test_every_cell_is_a_finite_number_or_explained(text: str) -> None:
    found = parse_number(text)
    if isinstance(found, BadNumber):
        assert found.problem.endswith(".")
        assert found.suggestion.endswith(".")
    else:
        assert abs(found) < float("inf")


GARBAGE = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=80).map(lambda data: b"PK\x03\x04" + data),
    st.binary(max_size=80).map(lambda data: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + data),
    st.text(st.sampled_from('study_id,effect_type;n\t\n\r"|1.0 A@{}=\\\0'), max_size=120).map(
        str.encode
    ),
    st.lists(
        st.sampled_from(
            ["study_id", "effect_type", "effect_value", "n", ",", ";", "\n", '"', "r", "0,3", "A"]
        ),
        max_size=40,
    ).map(lambda parts: "".join(parts).encode()),
)


@settings(FILES, max_examples=100)
@given(GARBAGE, st.sampled_from([".csv", ".tsv", ".xlsx", ".txt"]))
def test_garbage_never_raises(tmp_path: Path, data: bytes, ending: str) -> None:
    path = tmp_path / f"effects{ending}"
    path.write_bytes(data)
    sheet, problems = read_sheet(path, name=NAME)
    assert (sheet is not None) or problems
    extraction = check_sheets([(NAME, path)], [(NAME, path)], codebook=CODEBOOK)
    assert not (sheet is None and extraction.ok)


BIBTEX = st.lists(
    st.sampled_from(
        ["@article{", "@book(", "@comment", "@string{", "key", "title", "author", "others", " and "]
    )
    | st.sampled_from(["Müller", "\\'e", *'=,{}()"\\\n%@#$']),
    max_size=60,
).map("".join)


@settings(FILES, max_examples=150)
@given(BIBTEX)
def test_garbage_in_a_bibliography_never_raises(tmp_path: Path, text: str) -> None:
    path = tmp_path / "references.bib"
    path.write_text(text, encoding="utf-8")
    bibliography = read_references([("references.bib", path)])
    assert len({item["id"] for item in bibliography.items}) == len(bibliography.items)
    for item in bibliography.items:
        assert item["id"] in bibliography.keys


@settings(FILES, max_examples=25)
@given(st.data())
def test_a_damaged_workbook_never_raises(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(SOUND_WORKBOOK)
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "effects.xlsx"
    path.write_bytes(bytes(content))
    sheet, problems = read_sheet(path, name=NAME)
    assert (sheet is not None) or problems


SOUND_WORKBOOK = write_workbook(
    ["study_id", "effect_type", "effect_value"], [["A", "r", 0.3], ["B", "r", 0.2]]
)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_decimal_comma_reads_in_semicolon_and_tab_files(tmp_path: Path, separator: str) -> None:
    rows = [["A", "r", 0.31], ["B", "r", -0.5]]
    header = ["study_id", "effect_type", "effect_value"]
    effects, errors = checked(tmp_path, ".csv", write_csv(header, rows, separator, False, ","))
    assert errors == []
    assert effects["effect_value"].tolist() == [0.31, -0.5]
