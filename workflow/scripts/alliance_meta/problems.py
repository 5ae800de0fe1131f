"""Problems found in a review's files, in a reviewer's words."""

import textwrap
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Literal

import pandas as pd

Severity = Literal["error", "note"]

TABLE_COLUMNS = ("file", "sheet", "row", "column", "value", "problem", "suggestion")

NOTE_PREFIX = "Note: "


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong (error) or worth knowing (note) in a review's files.

    Attributes
    ----------
    file
        Path as the configuration names it.
    sheet
        Worksheet of a workbook; empty for text files.
    row
        Row as a spreadsheet numbers it (the header is row 1); None if not about a row.
    column
        Column name; empty if not about a column.
    value
        The cell as read; empty if not about a cell.
    problem
        A full sentence: what is wrong.
    suggestion
        A full sentence: what would be right; may be empty.
    code
        Machine-readable reason, snake_case.
    severity
        "error" stops the workflow, "note" does not.
    """

    file: str
    problem: str
    suggestion: str = ""
    sheet: str = ""
    row: int | None = None
    column: str = ""
    value: str = ""
    code: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        place = self.file
        if self.sheet:
            place += f" sheet {self.sheet}"
        if self.row is not None:
            place += f" row {self.row}"
        if self.column:
            place += f", column {self.column}"
        prefix = NOTE_PREFIX if self.severity == "note" else ""
        return f"{place}: {prefix}{self.problem} {self.suggestion}".rstrip()


class ExtractionError(ValueError):
    """The review's files hold errors; ``problems`` lists them all."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        n_errors = sum(p.severity == "error" for p in self.problems)
        noun = "problem" if n_errors == 1 else "problems"
        super().__init__(f"{n_errors} {noun} found in the review's files")


def errors_only(problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems that stop the workflow."""
    return [p for p in problems if p.severity == "error"]


def sort_problems(problems: Iterable[Problem]) -> list[Problem]:
    """Order problems: errors first, then by file, sheet, row and column."""
    return sorted(
        problems,
        key=lambda p: (p.severity != "error", p.file, p.sheet, p.row or 0, p.column, p.problem),
    )


def problems_table(problems: Iterable[Problem]) -> pd.DataFrame:
    """Return the contract table of ``results/validation.csv``.

    Returns
    -------
    DataFrame
        Columns ``file sheet row column value problem suggestion``, one row per problem,
        errors first; the text of a note begins with "Note: ". ``row`` is a nullable integer.
    """
    rows = []
    for p in sort_problems(problems):
        prefix = NOTE_PREFIX if p.severity == "note" else ""
        row = (p.file, p.sheet, p.row, p.column, p.value, prefix + p.problem, p.suggestion)
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(TABLE_COLUMNS))
    table["row"] = table["row"].astype("Int64")
    return table


def unique_problems(problems: Iterable[Problem]) -> list[Problem]:
    """Drop exact repeats, keeping the first of each."""
    seen: dict[tuple[object, ...], Problem] = {}
    for p in problems:
        seen.setdefault(astuple(p), p)
    return list(seen.values())


def terminal_table(problems: Iterable[Problem], width: int = 100) -> str:
    """Return problems as plain lines for a terminal, one block per problem, with a count.

    Parameters
    ----------
    problems
        Errors and notes in any order.
    width
        Characters per line.
    """
    listed = sort_problems(problems)
    lines = []
    for problem in listed:
        mark = "✗" if problem.severity == "error" else "·"
        lines += textwrap.wrap(
            str(problem), width, initial_indent=f"{mark} ", subsequent_indent="  "
        )
    n_errors = len(errors_only(listed))
    n_notes = len(listed) - n_errors
    counts = [f"{n_errors} problem{'' if n_errors == 1 else 's'}"]
    if n_notes:
        counts.append(f"{n_notes} note{'' if n_notes == 1 else 's'}")
    return "\n".join([*lines, ", ".join(counts)])
