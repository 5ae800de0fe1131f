"""Numbers as a paper prints them (APA 7: no leading zero where a value cannot exceed 1)."""

import math

MINUS = "−"


def format_number(value: float, digits: int = 2, *, leading_zero: bool = True) -> str:
    """Print a number with fixed decimals and a true minus sign.

    Parameters
    ----------
    value
        The number; NaN prints as an en dash.
    digits
        Decimals.
    leading_zero
        Whether ``0.31`` keeps its zero.

    Returns
    -------
    str
        For instance "0.31", ".31" or "−.05".
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else MINUS + "∞"
    text = f"{abs(value):.{digits}f}"
    negative = value < 0 and float(text) != 0
    if not leading_zero and text.startswith("0."):
        text = text[1:]
    return (MINUS if negative else "") + text


def format_effect(value: float, metric: str = "fisher_z", digits: int = 2) -> str:
    """Print an effect on the reporting scale: correlations without a leading zero."""
    return format_number(value, digits, leading_zero=metric == "generic")


def format_interval(low: float, high: float, metric: str = "fisher_z", digits: int = 2) -> str:
    """Print an interval as "[.10, .49]"; empty if either end is missing."""
    if math.isnan(low) or math.isnan(high):
        return ""
    return f"[{format_effect(low, metric, digits)}, {format_effect(high, metric, digits)}]"


def format_p(value: float) -> str:
    """Print a p-value with its sign of relation: "= .012", "< .001"."""
    if math.isnan(value):
        return "= –"
    if value < 0.001:
        return "< .001"
    return "= " + format_number(value, 3, leading_zero=False)


def format_df(value: float) -> str:
    """Print degrees of freedom: whole ones without decimals, others with one."""
    if abs(value - round(value)) < 1e-9:
        return f"{round(value)}"
    return format_number(value, 1)


def format_count(count: int, singular: str, plural: str | None = None) -> str:
    """Print a count with its noun: "1 study", "12 studies"."""
    noun = singular if count == 1 else (plural or singular + "s")
    return f"{count:,} {noun}"


def join_words(words: list[str], conjunction: str = "and") -> str:
    """Join words as English does: "a", "a and b", "a, b and c"."""
    if len(words) <= 1:
        return "".join(words)
    return f"{', '.join(words[:-1])} {conjunction} {words[-1]}"
