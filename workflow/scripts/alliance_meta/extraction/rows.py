"""Check the cells of one row and turn them into values."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

from alliance_meta.codebook import Codebook, Column, Match, Vocabulary, normalise
from alliance_meta.extraction.cells import (
    MISSING_WORDS,
    BadNumber,
    Wanted,
    missing_advice,
    parse_number,
)
from alliance_meta.extraction.columns import MatchedHeader, version_column
from alliance_meta.extraction.sheets import RawSheet, number_text
from alliance_meta.extraction.wording import listed, nearest
from alliance_meta.problems import Problem

Value = str | float

# may be empty where exclude_reason says why
EXCUSABLE = ("effect_type", "effect_value")

# in exclude_reason these say that there is no reason, yet would exclude the row
NO_REASON = frozenset({"no", "n", "false", "0", "include", "included", "none", "n/a", "na", "-"})

# for columns whose name does not read as a noun
NOUNS = {
    "p_sides": "number of sides",
    "timing": "time of rating",
    "delivery": "way of delivery",
    "client_therapist_match": "kind of match",
    "feedback_informed": "kind of feedback",
}

# a session number in the column timing
_SESSION = re.compile(
    r"(?:at |after )?(?:sessions?|sess|ses|s)[. #]*(\d+)\b.*|(\d+)(?:st|nd|rd|th)? ?(?:session)?"
)

# names of a coefficient that do not tell whether it is standardised
_COEFFICIENT = re.compile(
    r"(?:(?:linear|multiple|path|beta|hlm|b) )?(?:regression )?"
    r"(?:coefficients?|weights?|slope|estimate|b)"
    r"|(?:(?:linear|multiple) )?regression"
)

# a list of codes longer than this does not help in a message
LISTED_CODES = 12


@dataclass
class Row:
    """One effect as checked so far.

    Attributes
    ----------
    sheet
        The sheet it stands in.
    number
        Its row in the spreadsheet.
    written
        Its cells as read, by column name, without the empty ones.
    values
        Its cells that are neither empty nor wrong, by column name.
    wrong
        Columns with an error in this row.
    """

    sheet: RawSheet
    number: int
    written: dict[str, str] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)

    @property
    def excluded(self) -> bool:
        """Whether the row never enters a model."""
        return "exclude_reason" in self.values

    def text(self, column: str) -> str | None:
        """Return the value of a text or term column, None if empty or wrong."""
        value = self.values.get(column)
        return value if isinstance(value, str) else None

    def problem(
        self, column: str, problem: str, suggestion: str = "", *, code: str, note: bool = False
    ) -> Problem:
        """Return a problem about a cell of this row."""
        return Problem(
            self.sheet.file,
            problem,
            suggestion,
            sheet=self.sheet.sheet,
            row=self.number,
            column=column,
            value=self.written.get(column, ""),
            code=code,
            severity="note" if note else "error",
        )

    def place(self, seen_from: "Row") -> str:
        """Return where this row stands, in the words of a problem about another row."""
        if self.sheet.file != seen_from.sheet.file:
            return f"row {self.number} of {self.sheet.file}"
        return f"row {self.number}"


@dataclass(frozen=True)
class Complaint:
    """What is wrong with a cell, wherever it stands."""

    problem: str
    suggestion: str
    code: str


class CellReader:
    """Reads cells by the codebook, each distinct text once."""

    def __init__(self, codebook: Codebook) -> None:
        self.codebook = codebook
        self._read: dict[str, Callable[[str], Value | Match | Complaint]] = {}
        for column in codebook.columns.values():
            if column.numeric:
                self._read[column.name] = cache(_number_reader(column))
            elif column.vocabulary is not None:
                vocabulary = codebook.vocabularies[column.vocabulary]
                self._read[column.name] = cache(_term_reader(column, vocabulary))
        self._within = {
            column.name: cache(_limits_checker(column))
            for column in codebook.columns.values()
            if column.numeric
        }

    def read_rows(self, sheet: RawSheet, header: MatchedHeader) -> tuple[list[Row], list[Problem]]:
        """Check every cell of a sheet."""
        rows: list[Row] = []
        problems: list[Problem] = []
        for i, (number, cells) in enumerate(zip(sheet.row_numbers, sheet.cells, strict=True)):
            row = Row(sheet, number)
            for j, (name, cell) in enumerate(zip(header.names, cells, strict=True)):
                if name is None:
                    continue
                if (i, j) in sheet.unreadable:
                    row.wrong.add(name)
                elif cell:
                    problems.extend(self._read_cell(row, name, cell))
            problems.extend(self._check_limits(row))
            problems.extend(self._check_required(row, header))
            problems.extend(_check_reason(row))
            rows.append(row)
        return rows, problems

    def _read_cell(self, row: Row, name: str, cell: str) -> Iterator[Problem]:
        row.written[name] = cell
        read = self._read.get(name)
        result = cell if read is None else read(cell)
        if isinstance(result, Complaint):
            row.wrong.add(name)
            yield row.problem(name, result.problem, result.suggestion, code=result.code)
        elif isinstance(result, Match):
            row.values[name] = result.code
            if result.version is not None:
                row.values[version_column(name)] = result.version
        else:
            row.values[name] = result

    def _check_limits(self, row: Row) -> Iterator[Problem]:
        for name, within in self._within.items():
            value = row.values.get(name)
            # the statistic of an excluded row is never computed with
            if value is None or (row.excluded and self._is_statistic(name)):
                continue
            complaint = within(value)
            if complaint is not None:
                yield row.problem(
                    name, complaint.problem, complaint.suggestion, code=complaint.code
                )
                del row.values[name]
                row.wrong.add(name)

    def _is_statistic(self, name: str) -> bool:
        return self.codebook.columns[name].group == "statistic"

    def _check_required(self, row: Row, header: MatchedHeader) -> Iterator[Problem]:
        for column in self.codebook.columns.values():
            name = column.name
            if not column.required or name in row.values or name in row.wrong:
                continue
            # a missing column is reported once, for the sheet
            if name not in header.names or (name in EXCUSABLE and row.excluded):
                continue
            yield row.problem(name, f"{name} is empty.", _fill_advice(column), code="cell_empty")


def _check_reason(row: Row) -> Iterator[Problem]:
    reason = row.text("exclude_reason")
    if reason is not None and reason.casefold() in NO_REASON:
        yield row.problem(
            "exclude_reason",
            f"'{reason}' is not a reason, but anything written here leaves the row out.",
            "Leave the cell empty to keep the row, or write why it cannot be pooled.",
            code="no_reason",
        )


def _fill_advice(column: Column) -> str:
    if column.name in EXCUSABLE:
        return (
            f"Write what the study reports (for example {column.example}), or say in "
            "exclude_reason why the row cannot be pooled."
        )
    return f"Write it into every row, also where cells were merged (for example {column.example})."


def _number_reader(column: Column) -> Callable[[str], Value | Match | Complaint]:
    wanted = Wanted(
        example=column.example,
        percent=column.unit == "percent",
        whole=column.type == "integer",
        excusable=column.name in EXCUSABLE,
    )

    def read(cell: str) -> Value | Match | Complaint:
        number = parse_number(cell, wanted)
        if isinstance(number, BadNumber):
            return Complaint(number.problem, number.suggestion, number.code)
        return number

    return read


def _limits_checker(column: Column) -> Callable[[Value], Complaint | None]:
    limits = limits_text(column)

    def within(value: Value) -> Complaint | None:
        number = float(value)
        if column.type == "integer" and not number.is_integer():
            return _not_whole(column, number)
        inside = (
            (column.minimum is None or number >= column.minimum)
            and (column.maximum is None or number <= column.maximum)
            and (column.above is None or number > column.above)
            and (column.below is None or number < column.below)
        )
        if inside:
            return None
        return Complaint(
            f"{column.name} is {number_text(number)}, but must be {limits}.",
            "Correct the number, or leave the cell empty if it is not reported.",
            "outside_limits",
        )

    return within


def _not_whole(column: Column, number: float) -> Complaint:
    problem = f"{column.name} is {number_text(number)}, but must be a whole number."
    # 1.234 is how some countries write 1234
    if re.fullmatch(r"[1-9]\d{0,2}\.\d{3}", repr(number)):
        thousand = round(number * 1000)
        return Complaint(problem, f"Write {thousand} if that is meant.", "not_an_integer")
    return Complaint(
        problem, f"Write a whole number, for example {column.example}.", "not_an_integer"
    )


def limits_text(column: Column) -> str:
    """Return the limits of a number column in words; empty if it has none."""
    low = column.minimum if column.minimum is not None else column.above
    high = column.maximum if column.maximum is not None else column.below
    if column.minimum is not None and column.maximum is not None:
        return f"between {column.minimum:g} and {column.maximum:g}"
    parts = []
    if low is not None:
        parts.append(f"at least {low:g}" if column.minimum is not None else f"above {low:g}")
    if high is not None:
        parts.append(f"at most {high:g}" if column.maximum is not None else f"below {high:g}")
    return " and ".join(parts)


def _term_reader(
    column: Column, vocabulary: Vocabulary
) -> Callable[[str], Value | Match | Complaint]:
    # a spelling leads to the code, or to the version that it names
    spellings = {
        spelling: match.version or match.code for spelling, match in vocabulary.spellings.items()
    }

    def read(cell: str) -> Value | Match | Complaint:
        match = vocabulary.match(cell)
        if match is not None:
            return match
        if column.open:
            return cell
        if cell.casefold() in MISSING_WORDS:
            advice = missing_advice("it", column.name in EXCUSABLE)
        elif special := _special_advice(column.name, normalise(cell)):
            advice = special
        else:
            near = _stem(cell, vocabulary) or nearest(normalise(cell), spellings)
            advice = f"Did you mean '{near}'?" if near else _codes_advice(vocabulary)
        return Complaint(f"'{cell}' is not {_noun(column.name)}.", advice, "unknown_term")

    return read


def _special_advice(column: str, key: str) -> str | None:
    """Return advice on what belongs elsewhere, or could be either of two codes."""
    if column == "timing" and (found := _SESSION.fullmatch(key)):
        return (
            f"Write the session number ({found[1] or found[2]}) in the column session, and the "
            "phase of treatment (early, mid or late) here."
        )
    if column == "effect_type" and _COEFFICIENT.fullmatch(key):
        return (
            "Write beta if the coefficient is standardised, or generic (with its se) if it is on "
            "the scale of the measures."
        )
    return None


def _stem(cell: str, vocabulary: Vocabulary) -> str | None:
    """Return what a cell means without its brackets, or the words before a remark."""
    # "Working Alliance Inventory (short form)" is a name, "early (session 3)" has a remark
    match = vocabulary.match(re.sub(r"[(),;]+", " ", cell)) or vocabulary.match(
        re.split(r"[(,;]", cell, maxsplit=1)[0]
    )
    return None if match is None else match.version or match.code


def _noun(column: str) -> str:
    noun = NOUNS.get(column, column.replace("_", " "))
    return f"{'an' if noun[0] in 'aeio' else 'a'} {noun}"


def _codes_advice(vocabulary: Vocabulary) -> str:
    listed_codes = f"The codes are: {listed(vocabulary.terms, LISTED_CODES)}."
    if len(vocabulary.terms) > LISTED_CODES:
        listed_codes += " The codebook lists them all."
    return f"{listed_codes} A further term can be added under `vocabulary:` in config/config.yaml."
