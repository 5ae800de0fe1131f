"""Tables of the page: what stands in each cell, before any markup."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from alliance_meta.formatting import format_df, format_interval, format_number
from alliance_meta.report.content import AnalysisContent
from alliance_meta.report.testing import OMNIBUS, TestResults, parameters, print_test
from alliance_meta.report.wording import (
    EMPTY,
    OVERALL,
    Labels,
    capitalise,
    describe_estimate,
    describe_level_of_confidence,
    name_effect,
)

Record = Mapping[str, Any]

# longer lists of codes end in a row that counts the rest
MAXIMUM_CODES = 12


@dataclass(frozen=True)
class Cell:
    """One cell: its text, a second line, where the text leads (already safe), and its look."""

    text: str
    detail: str = ""
    href: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Heading:
    """One column heading; numbers stand to the right."""

    text: str
    numeric: bool = False


@dataclass(frozen=True)
class TableView:
    """A table as the page prints it; the first cell of each row is the row's heading.

    ``model`` names the model behind the numbers, below the caption; ``notes`` stand below the
    table.
    """

    caption: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[Cell, ...], ...]
    wide: bool = False
    model: str = ""
    notes: tuple[str, ...] = ()


def number(value: Any) -> float:
    """Return a number of a JSON record or a table; NaN for one that is missing."""
    return float("nan") if value is None or pd.isna(value) else float(value)


def print_count(value: Any) -> str:
    """Print a count with commas at the thousands; an en dash if it is missing."""
    count = number(value)
    return EMPTY if pd.isna(count) else f"{count:,.0f}"


def print_text(value: Any) -> str:
    """Return the text of a cell, "" if it is missing."""
    return "" if value is None or pd.isna(value) else str(value).strip()


def make_table(
    caption: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[str | Cell]],
    *,
    wide: bool = False,
    model: str = "",
    notes: Iterable[str] = (),
) -> TableView:
    """Build a table from texts; a heading that starts with "#" is of a column of numbers."""
    return TableView(
        caption,
        tuple(Heading(text.removeprefix("#"), text.startswith("#")) for text in headings),
        tuple(tuple(c if isinstance(c, Cell) else Cell(c) for c in row) for row in rows),
        wide,
        model,
        tuple(notes),
    )


def print_df(value: Any) -> str:
    """Print degrees of freedom; an en dash if there are none, as with the normal distribution."""
    df = number(value)
    return EMPTY if pd.isna(df) else format_df(df)


def describe_model(model: Record, *, short: bool = False) -> str:
    """Return the model as the line below a caption names it; short: without its settings."""
    label = str(model["model_label"])
    return f"Model: {label.split(',')[0] if short else label}"


def overview_table(analyses: Sequence[tuple[str, AnalysisContent]]) -> TableView:
    """Return all analyses at a glance, each linked to its section (anchor, analysis)."""
    levels = {c.model["specification"]["ci_level"] for _, c in analyses}
    ci = describe_level_of_confidence(levels.pop()) + " " if len(levels) == 1 else ""
    symbols = {name_effect(c.model["specification"]["metric"]) for _, c in analyses}
    symbol = capitalise(symbols.pop()) if len(symbols) == 1 else "Estimate"
    models = Counter(c.model["model_label"] for _, c in analyses)
    usual, _ = models.most_common(1)[0]
    rows = []
    for anchor, content in analyses:
        model = content.model
        metric = model["specification"]["metric"]
        row: Record = next(iter(model["summary"]), {})
        i2 = parameters(model).get("I2")
        name = "" if model["model_label"] == usual else _tell_apart(model, usual)
        rows.append(
            (
                Cell(content.title, name, f"#{anchor}"),
                "no estimate" if model["failure"] else _estimate(row, metric),
                EMPTY if model["failure"] else _interval(row, "pi", metric),
                print_count(row.get("k_studies")),
                print_count(row.get("k_effects")),
                EMPTY if i2 is None else f"{format_number(i2, 0)} %",
                _moderator_test(model),
            )
        )
    headings = (
        "Analysis",
        f"#{symbol} [{ci}CI]",
        f"#{ci}PI",
        "#Studies",
        "#Effects",
        "#I²",
        "#Moderator test",
    )
    shared = f"Model: {usual}"
    if len(models) > 1:
        shared += "; where a row names a model, that one"
    return make_table("All analyses at a glance", headings, rows, wide=True, model=shared)


def _tell_apart(model: Record, usual: str) -> str:
    """Return the short name of a model, or the whole one if the usual model shares the short."""
    same = str(model["model_label"]).split(",")[0] == usual.split(",")[0]
    return describe_model(model, short=not same)


def _moderator_test(model: Record) -> Cell:
    """Return the test of moderators: its statistic, and below it its p-values."""
    text = print_test("QM", parameters(model))
    tests = TestResults.of(model)
    if not model["specification"]["moderators"] or not (text or OMNIBUS in tests.withheld):
        return Cell(EMPTY)
    p_words = tests.describe_p(OMNIBUS, parameters(model).get("QM_p"))
    if not text:
        return Cell("not defined", p_words)
    return Cell(text, p_words)


def summary_table(model: Record, labels: Labels) -> TableView:
    """Return estimates overall and by level."""
    spec = model["specification"]
    metric, percent = spec["metric"], describe_level_of_confidence(spec["ci_level"])
    df = [_summary_df(row, model) for row in model["summary"]]
    with_df = any(known is not None for known in df)
    rows = []
    for row, row_df in zip(model["summary"], df, strict=True):
        details = []
        if row["level"] in model["set_apart"]:
            details.append("too few studies, shown but not tested")
        column, _, code = str(row["level"]).partition("=")
        if code and model["references"].get(column) == code:
            details.append("reference level")
        cells: list[str | Cell] = [
            Cell(labels.level(row["level"]), ", ".join(details)),
            _estimate(row, metric),
            *([print_df(row_df)] if with_df else []),
            _interval(row, "pi", metric),
            *(print_count(row[key]) for key in ("k_studies", "k_samples", "k_effects", "n_total")),
        ]
        rows.append(cells)
    headings = (
        "Level",
        f"#{capitalise(name_effect(metric))} [{percent} CI]",
        *(["#df"] if with_df else []),
        f"#{percent} PI",
        "#Studies",
        "#Samples",
        "#Effects",
        "#N",
    )
    # OVERALL is always the first row
    several = [row for row in model["summary"] if row["level"] != OVERALL]
    caption = "Estimates overall and by level" if several else "Pooled estimate"
    return make_table(caption, headings, rows, model=describe_model(model))


def _summary_df(row: Record, model: Record) -> Any:
    """Return a level's degrees of freedom; without moderators they are the intercept's."""
    if row.get("df") is not None:
        return row["df"]
    spec = model["specification"]
    if row["level"] != OVERALL or spec["moderators"] or spec["scale"] or not model["coefficients"]:
        return None
    return model["coefficients"][0]["df"]


def _estimate(row: Record, metric: str) -> str:
    estimate, low, high = (number(row.get(key)) for key in ("estimate", "ci_low", "ci_high"))
    return describe_estimate(estimate, low, high, metric)


def _interval(row: Record, kind: str, metric: str) -> str:
    low, high = number(row.get(f"{kind}_low")), number(row.get(f"{kind}_high"))
    return format_interval(low, high, metric) or EMPTY


def left_out_table(left_out: pd.DataFrame) -> TableView:
    """Return the rows that did not enter, with reasons."""
    rows = [
        (print_text(row["effect_id"]), print_text(row["study_id"]), print_text(row["reason"]))
        for row in left_out.to_dict("records")
    ]
    return make_table("Effects left out of this analysis", ("Effect", "Study", "Reason"), rows)


def code_tables(effects: pd.DataFrame, labels: Labels, features: Iterable[str]) -> list[TableView]:
    """Return, for each coded feature in use, how many studies and effects have each code."""
    tables = []
    for name in features:
        column = labels.codebook.columns[name]
        if column.group not in ("alliance", "outcome", "context") or column.type != "term":
            continue
        if column.open or name not in effects or effects[name].isna().all():
            continue
        counts = effects.groupby(name)["study_id"].agg(["nunique", "size"])
        counts = counts.sort_values(["size", "nunique"], ascending=False, kind="stable")
        shown = counts if len(counts) <= MAXIMUM_CODES else counts.head(MAXIMUM_CODES - 1)
        rows = [
            (labels.value(name, str(code)), print_count(row["nunique"]), print_count(row["size"]))
            for code, row in shown.iterrows()
        ]
        rest = counts.index[len(shown) :]
        if len(rest):
            others = effects.loc[effects[name].isin(rest)]
            rows.append(_count_row(f"{len(rest)} further codes", others))
        missing = effects.loc[effects[name].isna()]
        if len(missing):
            rows.append(_count_row("not reported", missing))
        tables.append(make_table(labels.column(name), ("", "#Studies", "#Effects"), rows))
    return tables


def _count_row(title: str, rows: pd.DataFrame) -> tuple[str, str, str]:
    return title, print_count(rows["study_id"].nunique()), print_count(len(rows))


def notes_table(notes: pd.DataFrame, prefix: str) -> TableView:
    """Return the notes of the checks, without the word that marks them as notes."""
    rows = []
    for row in notes.to_dict("records"):
        place = [print_text(row["sheet"])] if print_text(row["sheet"]) else []
        if print_text(row["row"]):
            place.append(f"row {print_count(row['row'])}")
        if print_text(row["column"]):
            place.append(print_text(row["column"]))
        problem = print_text(row["problem"]).removeprefix(prefix)
        rows.append(
            (
                Cell(print_text(row["file"]), ", ".join(place)),
                print_text(row["value"]),
                Cell(problem, print_text(row["suggestion"])),
            )
        )
    return make_table("Notes from checking the sheets", ("Where", "Entry", "Note"), rows, wide=True)


def pair_table(caption: str, headings: tuple[str, str], pairs: Mapping[str, str]) -> TableView:
    """Return a table of names and values, sorted by name."""
    return make_table(caption, headings, sorted((str(k), str(v)) for k, v in pairs.items()))
