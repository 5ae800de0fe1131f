"""Numbers as reviewers write them."""

import math
import re
from dataclasses import dataclass

_PLAIN = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
# up to three digits, a comma, exactly three digits: a thousand or three decimals
_AMBIGUOUS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
_BLANK_GROUPS = re.compile(r"[+-]?\d{1,3}( \d{3})+([.,]\d+)?")
_COMMA_GROUPS = re.compile(r"[+-]?\d{1,3}(,\d{3})+\.\d+|[+-]?\d{1,3}(,\d{3}){2,}")
_POINT_GROUPS = re.compile(r"[+-]?\d{1,3}(\.\d{3})+,\d+|[+-]?\d{1,3}(\.\d{3}){2,}")
_PERCENT = re.compile(r"([+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)) ?%")
_RANGE = re.compile(r"(\d+(?:\.\d+)?|\.\d+) ?(?:-|–|to) ?(\d+(?:\.\d+)?|\.\d+)")
_NUMBER = r"(?:-?(?:\d+(?:[.,]\d+)?|[.,]\d+))"
_NUMBER_WITHIN = re.compile(_NUMBER)
# a number and a remark: .35 (p < .01), 36.4 ± 9.2, .31, p < .01
_NUMBER_REMARK = re.compile(rf"[~≈]?({_NUMBER})\*{{0,3}} ?(?:[(\[±]|\+/-|[,;] ?[^\W\d_]|SD|SE).*")
# a statistic and its number: r(82) = .31
_NUMBER_LAST = re.compile(rf"[^=]+= ?({_NUMBER})\*{{0,3}}")
_TWO_NUMBERS = re.compile(rf"({_NUMBER}) ?/ ?({_NUMBER})")
_BOUND = re.compile(r"^[a-z]{0,2} ?[<>≤≥]", re.IGNORECASE)
_INFINITE = re.compile(r"[+-]?(inf|infinity|∞)", re.IGNORECASE)
_DATE = re.compile(
    r"\d{1,2}(\. |[-./ ])[^\W\d_]{3,9}\.?([-./ ]\d{2,4})?"
    r"|[^\W\d_]{3,9}\.?[-./ ]\d{1,4}"
    r"|\d{1,2}[-./]\d{1,2}[-./](\d{4}|\d{2})"
    r"|\d{4}-\d{2}-\d{2}.*"
)
_MONTHS = frozenset(
    """jan feb mar mär mrz apr may mai jun jul aug sep oct okt nov dec dez
    january february march april june july august september october november december
    januar februar märz juni juli oktober dezember""".split()  # noqa: SIM905
)

MISSING_WORDS = frozenset(
    """n/a n.a. na nr n.r. nan none null missing unknown unclear ? ?? . - -- – — / x
    ns n.s. n.s nonsignificant non-significant tbd""".split()  # noqa: SIM905
) | {"not reported", "not significant", "not available"}

EXCEL_ERRORS = frozenset(
    ("#N/A", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#NULL!", "#SPILL!", "#CALC!")
)

DATE_PROBLEM = "Excel has turned this into a date."
DATE_ADVICE = "Format the column as Text in Excel, then type the cell again."
# how a row without a statistic is kept
EXCUSE = " and say in exclude_reason why the row cannot be pooled"
FORMULA_ADVICE = "Correct the formula in Excel, or type the value itself."


@dataclass(frozen=True)
class Wanted:
    """What kind of number a column holds, for advice.

    Attributes
    ----------
    example
        A number that would fit.
    percent
        Whether the column counts in percent.
    whole
        Whether only whole numbers fit.
    excusable
        Whether a row without the number has to say why in exclude_reason.
    """

    example: str = "0.31"
    percent: bool = False
    whole: bool = False
    excusable: bool = False

    @property
    def leave_empty(self) -> str:
        """Advice on what to do without a number, to end a sentence."""
        return f"leave the cell empty{EXCUSE if self.excusable else ''}"

    @property
    def leave_or_write(self) -> str:
        """Advice where nothing in the cell can be used."""
        if self.excusable:
            return f"Write a number like {self.example}, or {self.leave_empty}."
        return f"Leave the cell empty, or write a number like {self.example}."


@dataclass(frozen=True)
class BadNumber:
    """Why a cell is no number, in full sentences."""

    problem: str
    suggestion: str
    code: str = "not_a_number"


ANY_NUMBER = Wanted()


def parse_number(text: str, wanted: Wanted = ANY_NUMBER) -> float | BadNumber:
    """Read a number that a reviewer wrote.

    A decimal comma, a leading decimal point, a typographic minus and typographic blanks
    that group digits are understood. What could mean two things is refused.

    Parameters
    ----------
    text
        The cell, not empty.
    wanted
        What kind of number is wanted.

    Returns
    -------
    float or BadNumber
        A finite number, or what is wrong with the cell.
    """
    tidy = _tidy(text)
    if _PLAIN.fullmatch(tidy):
        return _finite(text, tidy, wanted)
    if _AMBIGUOUS.fullmatch(tidy):
        whole, decimal = tidy.replace(",", ""), tidy.replace(",", ".")
        problem = f"'{text}' could mean {whole} or {decimal}."
        advice = f"{whole} if that is meant" if wanted.whole else f"{whole} or {decimal}"
        return BadNumber(problem, f"Write {advice}.", "ambiguous_number")
    if _DECIMAL_COMMA.fullmatch(tidy):
        return _finite(text, tidy.replace(",", "."), wanted)
    if _BLANK_GROUPS.fullmatch(tidy):
        number = tidy.replace(" ", "").replace(",", ".")
        # typographic blanks group digits; a typed blank may also stand between two numbers
        if " " not in text.strip():
            return _finite(text, number, wanted)
        return BadNumber(f"'{text}' holds a blank.", f"Write {number} if it is one number.")
    return _explain(text, tidy, wanted)


def _tidy(text: str) -> str:
    """Reduce typographic minus signs and blanks to what a keyboard has."""
    # no compatibility normalisation: it would turn a raised footnote mark into a digit
    tidy = " ".join(re.sub(r"[\u200b\ufeff]", "", text).split())
    tidy = re.sub(r"^[\u2212\u2010-\u2013] ?(?=[\d.,])|^- (?=[\d.,])", "-", tidy)
    # the exponent's sign, as in 1.5E−05
    return re.sub(r"(?<=[eE])[\u2212\u2010-\u2013](?=\d)", "-", tidy)


def _finite(text: str, number: str, wanted: Wanted) -> float | BadNumber:
    value = float(number)
    if math.isfinite(value):
        return value
    return _endless(text, wanted)


def _endless(text: str, wanted: Wanted) -> BadNumber:
    return BadNumber(f"'{text}' is not a finite number.", wanted.leave_or_write)


def _explain(text: str, tidy: str, wanted: Wanted) -> BadNumber:
    """Say what is wrong with a cell that is no number, and what to write instead."""
    no_number = f"'{text}' is not a number."
    if tidy.upper() in EXCEL_ERRORS:
        return BadNumber(f"'{text}' is an error of Excel.", FORMULA_ADVICE, "excel_error")
    if tidy.casefold() in MISSING_WORDS:
        return BadNumber(no_number, missing_advice("the number", wanted.excusable))
    if _INFINITE.fullmatch(tidy):
        return _endless(text, wanted)
    found = _PERCENT.fullmatch(tidy)
    if found:
        return BadNumber(no_number, _percent_advice(found[1].replace(",", "."), wanted))
    for pattern, comma in ((_COMMA_GROUPS, ""), (_POINT_GROUPS, ".")):
        if pattern.fullmatch(tidy):
            plain = tidy.replace(",", "") if comma == "" else tidy.replace(".", "")
            return BadNumber(
                f"'{text}' is written with separators between thousands.",
                f"Write {plain.replace(',', '.')}.",
            )
    if _DATE.fullmatch(tidy) and _names_a_day(tidy):
        return BadNumber(f"'{text}' is a date, not a number.", DATE_ADVICE, "date_in_cell")
    if _BOUND.match(tidy):
        return BadNumber(
            f"'{text}' is a bound, not a number.",
            f"Write the exact number, or {wanted.leave_empty}.",
        )
    found = _RANGE.fullmatch(tidy)
    if found:
        middle = (float(found[1]) + float(found[2])) / 2
        hint = f" (the middle is {middle:.12g})" if middle.is_integer() or not wanted.whole else ""
        return BadNumber(
            f"'{text}' is a range, not a number.",
            f"Write one number{hint}, or {wanted.leave_empty}.",
        )
    if tidy.startswith("="):
        return BadNumber(f"'{text}' is a formula, not a number.", FORMULA_ADVICE)
    return BadNumber(no_number, _number_advice(_plain_signs(tidy), wanted))


def _plain_signs(tidy: str) -> str:
    # a typographic minus in front of a number, as in r = −.31; between numbers it is a dash
    return re.sub(r"(?<![\w.,)])[\u2212\u2010-\u2013] ?(?=[.,]?\d)", "-", tidy)


def _number_advice(tidy: str, wanted: Wanted) -> str:
    """Say which number of a cell to keep, if that can be told."""
    two = _TWO_NUMBERS.fullmatch(tidy)
    if two:
        return f"Write one number, {_pointed(two[1])} or {_pointed(two[2])}, and the rest in notes."
    alone = _NUMBER_REMARK.fullmatch(tidy) or _NUMBER_LAST.fullmatch(tidy)
    within = [alone[1]] if alone else _NUMBER_WITHIN.findall(tidy)
    if len(within) != 1 or _AMBIGUOUS.fullmatch(within[0]):
        return wanted.leave_or_write
    return f"Write the number alone: {_pointed(within[0])}."


def _pointed(number: str) -> str:
    return number.replace(",", ".")


def missing_advice(what: str, excusable: bool) -> str:
    """Return what to do with a cell whose content the study does not report.

    Parameters
    ----------
    what
        What is not reported, as the subject of a sentence.
    excusable
        Whether the row has to say why in exclude_reason.
    """
    if excusable:
        return f"Leave the cell empty{EXCUSE}; it is then kept and listed."
    return f"Leave the cell empty if {what} is not reported."


def _percent_advice(number: str, wanted: Wanted) -> str:
    if wanted.percent:
        return f"Write {number} without the percent sign."
    if wanted.whole:
        return wanted.leave_or_write
    share = f"{float(number) / 100:.12g}"
    return f"Write {share} without the percent sign."


def _names_a_day(tidy: str) -> bool:
    words = re.findall(r"[^\W\d_]+", tidy.casefold())
    return all(word in _MONTHS for word in words)
