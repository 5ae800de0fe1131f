"""Numbers as reviewers write them."""

import pytest

from alliance_meta.extraction.cells import BadNumber, Wanted, parse_number

ALONE = "Leave the cell empty, or write a number like 0.31."
NOT_REPORTED = "Leave the cell empty if the number is not reported."


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.31", 0.31),
        (".31", 0.31),
        ("-.31", -0.31),
        ("+0.31", 0.31),
        ("12.", 12.0),
        ("84", 84.0),
        ("1.5E-05", 1.5e-5),
        ("1.5E−05", 1.5e-5),
        ("0,31", 0.31),
        (",31", 0.31),
        ("-0,3", -0.3),
        ("12,5", 12.5),
        ("0,123", 0.123),
        ("1,2345", 1.2345),
        ("1234,567", 1234.567),
        ("−0.31", -0.31),
        ("–0.31", -0.31),
        ("- 0.31", -0.31),
        ("− 0,31", -0.31),
        ("\u00a00.31\u00a0", 0.31),
        ("1\u00a0234", 1234.0),
        ("12\u202f345,5", 12345.5),
        ("\ufeff0.31", 0.31),
    ],
)
def test_a_number_is_read(text: str, number: float) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize(
    ("text", "problem", "suggestion"),
    [
        ("1,234", "'1,234' could mean 1234 or 1.234.", "Write 1234 or 1.234."),
        ("-1,234", "'-1,234' could mean -1234 or -1.234.", "Write -1234 or -1.234."),
        (
            "1,234,567",
            "'1,234,567' is written with separators between thousands.",
            "Write 1234567.",
        ),
        ("1,234.5", "'1,234.5' is written with separators between thousands.", "Write 1234.5."),
        ("1.234,5", "'1.234,5' is written with separators between thousands.", "Write 1234.5."),
        ("40 440", "'40 440' holds a blank.", "Write 40440 if it is one number."),
        ("31%", "'31%' is not a number.", "Write 0.31 without the percent sign."),
        ("7 %", "'7 %' is not a number.", "Write 0.07 without the percent sign."),
        ("n/a", "'n/a' is not a number.", NOT_REPORTED),
        ("ns", "'ns' is not a number.", NOT_REPORTED),
        ("–", "'–' is not a number.", NOT_REPORTED),
        ("nan", "'nan' is not a number.", NOT_REPORTED),
        ("inf", "'inf' is not a finite number.", ALONE),
        ("-Infinity", "'-Infinity' is not a finite number.", ALONE),
        ("1e999", "'1e999' is not a finite number.", ALONE),
        (
            "< .05",
            "'< .05' is a bound, not a number.",
            "Write the exact number, or leave the cell empty.",
        ),
        (
            "p<.01",
            "'p<.01' is a bound, not a number.",
            "Write the exact number, or leave the cell empty.",
        ),
        (".31**", "'.31**' is not a number.", "Write the number alone: .31."),
        ("r = -.31", "'r = -.31' is not a number.", "Write the number alone: -.31."),
        ("12 weeks", "'12 weeks' is not a number.", "Write the number alone: 12."),
        ("0,28*", "'0,28*' is not a number.", "Write the number alone: 0.28."),
        ("r = −.31", "'r = −.31' is not a number.", "Write the number alone: -.31."),
        ("r(82) = .31", "'r(82) = .31' is not a number.", "Write the number alone: .31."),
        ("~60", "'~60' is not a number.", "Write the number alone: 60."),
        (".35 (p < .01)", "'.35 (p < .01)' is not a number.", "Write the number alone: .35."),
        ("−,35, p < ,01", "'−,35, p < ,01' is not a number.", "Write the number alone: -.35."),
        ("36.4 (SD 9.2)", "'36.4 (SD 9.2)' is not a number.", "Write the number alone: 36.4."),
        ("36.4 ± 9.2", "'36.4 ± 9.2' is not a number.", "Write the number alone: 36.4."),
        (".31 [.10, .49]", "'.31 [.10, .49]' is not a number.", "Write the number alone: .31."),
        ("1,234*", "'1,234*' is not a number.", ALONE),
        ("3-5 of 12", "'3-5 of 12' is not a number.", ALONE),
        (
            "16–20",
            "'16–20' is a range, not a number.",
            "Write one number (the middle is 18), or leave the cell empty.",
        ),
        ("0.31²", "'0.31²' is not a number.", "Write the number alone: 0.31."),
        ("many", "'many' is not a number.", ALONE),
        (
            "#DIV/0!",
            "'#DIV/0!' is an error of Excel.",
            "Correct the formula in Excel, or type the value itself.",
        ),
        (
            "=A1*2",
            "'=A1*2' is a formula, not a number.",
            "Correct the formula in Excel, or type the value itself.",
        ),
    ],
)
def test_a_cell_that_is_no_number_says_what_to_write(
    text: str, problem: str, suggestion: str
) -> None:
    found = parse_number(text)
    assert isinstance(found, BadNumber)
    assert (found.problem, found.suggestion) == (problem, suggestion)


@pytest.mark.parametrize("text", ["31-Dez", "3. Mai", "Mar 12", "May-12", "1.2.2020", "2020-03-12"])
def test_what_excel_made_of_a_number_is_called_a_date(text: str) -> None:
    found = parse_number(text)
    assert isinstance(found, BadNumber)
    assert found.problem == f"'{text}' is a date, not a number."
    assert found.suggestion == ("Format the column as Text in Excel, then type the cell again.")


def test_a_percent_sign_goes_where_the_column_counts_in_percent() -> None:
    found = parse_number("62,5%", Wanted(percent=True))
    assert isinstance(found, BadNumber)
    assert found.suggestion == "Write 62.5 without the percent sign."


WHOLE_ALONE = "Leave the cell empty, or write a number like 84."
EXCUSE = "leave the cell empty and say in exclude_reason why the row cannot be pooled"


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("in press", WHOLE_ALONE),
        ("31%", WHOLE_ALONE),
        ("inf", WHOLE_ALONE),
        ("45/50", "Write one number, 45 or 50, and the rest in notes."),
        ("100 (50 per group)", "Write the number alone: 100."),
        ("1,234", "Write 1234 if that is meant."),
        ("45-50", "Write one number, or leave the cell empty."),
        ("44-50", "Write one number (the middle is 47), or leave the cell empty."),
    ],
)
def test_a_whole_number_is_asked_for_where_only_whole_numbers_fit(
    text: str, suggestion: str
) -> None:
    found = parse_number(text, Wanted(example="84", whole=True))
    assert isinstance(found, BadNumber)
    assert found.suggestion == suggestion


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("ns", f"L{EXCUSE[1:]}; it is then kept and listed."),
        ("many", f"Write a number like 0.31, or {EXCUSE}."),
        ("< .05", f"Write the exact number, or {EXCUSE}."),
        (".1 to .3", f"Write one number (the middle is 0.2), or {EXCUSE}."),
    ],
)
def test_without_the_statistic_a_row_is_kept_by_its_reason(text: str, suggestion: str) -> None:
    found = parse_number(text, Wanted(excusable=True))
    assert isinstance(found, BadNumber)
    assert found.suggestion == suggestion
