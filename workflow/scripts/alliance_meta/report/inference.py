"""Tables of coefficients and their tests: terms, pairs of levels, scale, collinearity."""

from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from alliance_meta.formatting import format_number, join_words
from alliance_meta.report.tables import (
    Cell,
    Record,
    TableView,
    describe_model,
    make_table,
    number,
    print_count,
    print_df,
)
from alliance_meta.report.testing import OMNIBUS, WITHHELD, TestResults, print_p
from alliance_meta.report.wording import (
    EMPTY,
    Labels,
    capitalise,
    describe_level_of_confidence,
)

# fewer levels have a single difference, which the coefficient and its test tell already
COMPARED_LEVELS = 3


def coefficient_table(model: Record, labels: Labels) -> TableView:
    """Return the coefficients on the scale of the analysis; withheld p-values say why."""
    tests = TestResults.of(model)
    notes = _withheld_notes(model, tests, labels)
    extents = {t.extent: None for term, t in tests.resampled.items() if term != OMNIBUS}
    if extents:
        notes.append(f"{capitalise(tests.kind)} p: {join_words(list(extents))}.")
    return _estimate_table(
        f"Coefficients, on the scale of {_scale(model)}",
        model,
        model["coefficients"],
        lambda term: _term(term, model, labels),
        tests if extents else TestResults(tests.withheld, {}),
        notes,
    )


def scale_table(model: Record, labels: Labels) -> TableView:
    """Return the coefficients of the logarithm of τ²."""
    return _estimate_table(
        "Coefficients of log τ²",
        model,
        model["scale_coefficients"],
        lambda term: Cell(labels.term(term)),
        TestResults({}, {}),
        ["A positive coefficient means that true values differ more."],
    )


def _scale(model: Record) -> str:
    metric = model["specification"]["metric"]
    return {"fisher_z": "Fisher's z", "r": "correlations"}.get(metric, "the effects")


def _estimate_table(
    caption: str,
    model: Record,
    records: Sequence[Record],
    name: Callable[[str], Cell],
    tests: TestResults,
    notes: Iterable[str],
) -> TableView:
    """Return estimates in the columns of ``coefficients.csv``."""
    resampled = bool(tests.resampled)
    rows = []
    for row in records:
        cells: list[str | Cell] = [
            name(row["term"]),
            *_numbers(row, "estimate"),
            tests.print_p(row["term"], row["p_value"]),
            *([tests.print_resampled(row["term"])] if resampled else []),
            _interval(row),
        ]
        rows.append(cells)
    percent = describe_level_of_confidence(model["specification"]["ci_level"])
    headings = (
        "Term",
        "#b",
        "#SE",
        "#t or z",
        "#df",
        "#p",
        *([f"#{capitalise(tests.kind)} p"] if resampled else []),
        f"#{percent} CI",
    )
    return make_table(caption, headings, rows, model=describe_model(model), notes=notes)


def _digits(value: float) -> int:
    # slopes per year or per percent are small
    return 4 if abs(value) < 0.01 else 3


def _numbers(row: Record, name: str) -> list[str]:
    value = number(row[name])
    digits = _digits(value)
    return [
        format_number(value, digits),
        format_number(number(row["se"]), digits),
        format_number(number(row["statistic"])),
        print_df(row["df"]),
    ]


def _interval(row: Record) -> str:
    low, high = number(row["ci_low"]), number(row["ci_high"])
    if pd.isna(low) or pd.isna(high):
        return EMPTY
    digits = _digits(number(row.get("estimate", row.get("difference"))))
    return f"[{format_number(low, digits)}, {format_number(high, digits)}]"


def _term(term: str, model: Record, labels: Labels) -> Cell:
    if term != "Intercept":
        return Cell(labels.term(term))
    levels = [labels.level(f"{column}={level}") for column, level in model["references"].items()]
    name = "Intercept" if model["specification"]["moderators"] else "Pooled mean"
    return Cell(name, f"for {join_words(levels)}" if levels else "")


def _withheld_notes(model: Record, tests: TestResults, labels: Labels) -> list[str]:
    """Return one note with each reason and the terms it holds for."""
    by_reason: dict[str, list[str]] = {}
    for row in model["coefficients"]:
        if row["term"] in tests.withheld:
            name = _term(row["term"], model, labels).text
            by_reason.setdefault(tests.withheld[row["term"]], []).append(f"“{name}”")
    parts = [f"for {join_words(names)}, {reason}" for reason, names in by_reason.items()]
    return [f"p withheld: {'; '.join(parts)}."] if parts else []


def comparison_table(model: Record, labels: Labels) -> TableView:
    """Return the differences between levels, pair by pair, with Holm's adjustment."""
    pairs: dict[str, list[Record]] = {}
    for row in model["comparisons"]:
        pairs.setdefault(row["moderator"], []).append(row)
    least = COMPARED_LEVELS * (COMPARED_LEVELS - 1) // 2
    pairs = {name: rows for name, rows in pairs.items() if len(rows) >= least}
    tests = TestResults.of(model)
    rows: list[tuple[str | Cell, ...]] = []
    for name, found in pairs.items():
        for row in found:
            a, b = (labels.value(name, row[key]) for key in ("level_a", "level_b"))
            detail = labels.column(name) if len(pairs) > 1 else ""
            rows.append(
                (
                    Cell(f"{capitalise(a)} minus {b}", detail),
                    *_numbers(row, "difference"),
                    _compared_p(row, "p_value", tests),
                    _compared_p(row, "p_holm", tests),
                    _interval(row),
                )
            )
    percent = describe_level_of_confidence(model["specification"]["ci_level"])
    headings = (
        "Levels",
        "#Difference",
        "#SE",
        "#t or z",
        "#df",
        "#p",
        "#p, Holm",
        f"#{percent} CI",
    )
    caption = f"Levels compared pairwise, on the scale of {_scale(model)}"
    notes = _comparison_notes(rows, tests)
    return make_table(caption, headings, rows, model=describe_model(model, short=True), notes=notes)


def _compared_p(row: Record, name: str, tests: TestResults) -> str:
    known = not pd.isna(number(row[name]))
    if OMNIBUS in tests.withheld or (not known and not pd.isna(number(row["statistic"]))):
        return WITHHELD
    return print_p(row[name])


def _comparison_notes(rows: Sequence[Sequence[Cell | str]], tests: TestResults) -> list[str]:
    if not rows:
        return []
    if OMNIBUS in tests.withheld:
        return [
            "All p-values are withheld with that of the test of moderators, because "
            f"{tests.withheld[OMNIBUS]}."
        ]
    notes = ["p, Holm: adjusted for the number of pairs. The intervals are not adjusted."]
    if any(WITHHELD in row for row in rows):
        notes.append(
            "p withheld: the comparison rests on too few degrees of freedom or a single study."
        )
    return notes


def collinearity_table(model: Record, labels: Labels) -> TableView:
    """Return the variance inflation of each term; a lone term has nothing to overlap with."""
    records = model["collinearity"] if len(model["collinearity"]) > 1 else []
    rows = [
        (
            labels.term(row["term"]),
            print_count(row["df"]),
            format_number(number(row["vif"])),
            format_number(number(row["vif_scaled"])),
        )
        for row in records
    ]
    headings = ("Term", "#Coefficients", "#VIF", "#VIF^(1/2df)")
    note = (
        "The variance inflation factor (VIF) is 1 for a term that does not overlap with the "
        "others. The last column makes terms of one and of several coefficients comparable; its "
        "square is the usual VIF."
    )
    return make_table("Overlap of the moderators", headings, rows, notes=[note] if rows else [])
