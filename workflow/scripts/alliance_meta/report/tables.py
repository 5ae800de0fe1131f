"""Tables of the page: what stands in each cell, before any markup."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from alliance_meta.formatting import (
    format_df,
    format_interval,
    format_number,
    format_p,
    join_words,
)
from alliance_meta.report.content import AnalysisContent
from alliance_meta.report.wording import (
    OVERALL,
    Labels,
    capitalise,
    describe_estimate,
    describe_level_of_confidence,
    name_effect,
)

Record = Mapping[str, Any]

EMPTY = "–"
# longer lists of codes end in a row that counts the rest
MAXIMUM_CODES = 12

HETEROGENEITY_WORDS = {
    "tau2": ("τ²", "variance of the true values between studies"),
    "tau2_between": ("τ² between studies", "variance of the true values between studies"),
    "tau2_within": ("τ² within studies", "variance of the true values within a study"),
    "tau2_without_moderators": (
        "τ² without moderators",
        "variance of the true values between studies before moderators; R² is the share of it "
        "that they explain",
    ),
    "tau": ("τ", "standard deviation of the true values, on the scale of the analysis"),
    "I2": ("I²", "share of the observed variation that is not sampling error"),
    "I2_between": ("I² between studies", "share of the variation that lies between studies"),
    "I2_within": ("I² within studies", "share of the variation that lies within studies"),
    "I2_Q": ("I² (from Q)", "the same share, worked out from Q"),
    "H2": ("H²", "observed variation relative to sampling error alone"),
    "Q": ("Q", "test of whether sampling error alone explains the variation"),
    "R2": ("R²", "share of τ² that goes with the moderators"),
    "QM": ("Test of moderators", "joint test of all moderator coefficients"),
    "log_likelihood": ("Log-likelihood", "fit of the model"),
}
# printed inside the row of the statistic they belong to
_PARTS_OF_TESTS = ("Q_df", "Q_p", "QM_df1", "QM_df2", "QM_p")
_PERCENTAGES = ("I2", "I2_between", "I2_within", "I2_Q", "R2")


@dataclass(frozen=True)
class Cell:
    """One cell: its text, a second line, and where the text leads (already safe)."""

    text: str
    detail: str = ""
    href: str = ""


@dataclass(frozen=True)
class Heading:
    """One column heading; numbers stand to the right."""

    text: str
    numeric: bool = False


@dataclass(frozen=True)
class TableView:
    """A table as the page prints it; the first cell of each row is the row's heading."""

    caption: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[Cell, ...], ...]
    wide: bool = False


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
) -> TableView:
    """Build a table from texts; a heading that starts with "#" is of a column of numbers."""
    return TableView(
        caption,
        tuple(Heading(text.removeprefix("#"), text.startswith("#")) for text in headings),
        tuple(tuple(c if isinstance(c, Cell) else Cell(c) for c in row) for row in rows),
        wide,
    )


def overview_table(analyses: Sequence[tuple[str, AnalysisContent]]) -> TableView:
    """Return all analyses at a glance, each linked to its section (anchor, analysis)."""
    levels = {c.model["specification"]["ci_level"] for _, c in analyses}
    ci = describe_level_of_confidence(levels.pop()) + " " if len(levels) == 1 else ""
    symbols = {name_effect(c.model["specification"]["metric"]) for _, c in analyses}
    symbol = capitalise(symbols.pop()) if len(symbols) == 1 else "Estimate"
    rows = []
    for anchor, content in analyses:
        model = content.model
        metric = model["specification"]["metric"]
        row: Record = next(iter(model["summary"]), {})
        values = _parameters(model)
        moderators = model["specification"]["moderators"] or ""
        test = "p " + format_p(values["QM_p"]) if "QM_p" in values else EMPTY
        i2 = values.get("I2")
        rows.append(
            (
                Cell(content.title, href=f"#{anchor}"),
                "no estimate" if model["failure"] else _estimate(row, metric),
                EMPTY if model["failure"] else _interval(row, "pi", metric),
                print_count(row.get("k_studies")),
                print_count(row.get("k_effects")),
                EMPTY if i2 is None else f"{format_number(i2, 0)} %",
                test if moderators else EMPTY,
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
    return make_table("All analyses at a glance", headings, rows, wide=True)


def summary_table(model: Record, labels: Labels) -> TableView:
    """Return estimates overall and by level."""
    spec = model["specification"]
    metric, percent = spec["metric"], describe_level_of_confidence(spec["ci_level"])
    rows = []
    for row in model["summary"]:
        details = []
        if row["level"] in model["set_apart"]:
            details.append("too few studies, shown but not tested")
        column, _, code = str(row["level"]).partition("=")
        if code and model["references"].get(column) == code:
            details.append("reference level")
        rows.append(
            (
                Cell(labels.level(row["level"]), ", ".join(details)),
                _estimate(row, metric),
                _interval(row, "pi", metric),
                print_count(row["k_studies"]),
                print_count(row["k_samples"]),
                print_count(row["k_effects"]),
                print_count(row["n_total"]),
            )
        )
    headings = (
        "Level",
        f"#{capitalise(name_effect(metric))} [{percent} CI]",
        f"#{percent} PI",
        "#Studies",
        "#Samples",
        "#Effects",
        "#N",
    )
    # OVERALL is always the first row
    several = [row for row in model["summary"] if row["level"] != OVERALL]
    caption = "Estimates overall and by level" if several else "Pooled estimate"
    return make_table(caption, headings, rows)


def _estimate(row: Record, metric: str) -> str:
    estimate, low, high = (number(row.get(key)) for key in ("estimate", "ci_low", "ci_high"))
    return describe_estimate(estimate, low, high, metric)


def _interval(row: Record, kind: str, metric: str) -> str:
    low, high = number(row.get(f"{kind}_low")), number(row.get(f"{kind}_high"))
    return format_interval(low, high, metric) or EMPTY


def _parameters(model: Record) -> dict[str, float]:
    values = {row["parameter"]: number(row["estimate"]) for row in model["heterogeneity"]}
    return {key: value for key, value in values.items() if not pd.isna(value)}


def heterogeneity_table(model: Record) -> TableView:
    """Return how much results differ; degrees of freedom and p stand with their test."""
    metric = model["specification"]["metric"]
    values = _parameters(model)
    rows = []
    for record in model["heterogeneity"]:
        name = record["parameter"]
        if name in _PARTS_OF_TESTS or name not in values:
            continue
        symbol, meaning = HETEROGENEITY_WORDS.get(name, (name, ""))
        low, high = number(record.get("ci_low")), number(record.get("ci_high"))
        interval = "" if pd.isna(low) or pd.isna(high) else _range(name, low, high, metric)
        rows.append((symbol, _parameter(name, values, metric), interval or EMPTY, meaning))
    percent = describe_level_of_confidence(model["specification"]["ci_level"])
    kind = "Residual heterogeneity" if model["specification"]["moderators"] else "Heterogeneity"
    headings = ("Measure", "#Value", f"#{percent} CI", "What it is")
    return make_table(kind, headings, rows)


def _parameter(name: str, values: Mapping[str, float], metric: str) -> str:
    if name == "Q" and "Q_df" in values:
        return _with_p(f"({format_df(values['Q_df'])}) = {format_number(values['Q'])}", "Q", values)
    if name == "QM" and "QM_df1" in values:
        df = format_df(values["QM_df1"])
        symbol = "QM"
        if "QM_df2" in values:
            symbol, df = "F", f"{df}, {format_df(values['QM_df2'])}"
        return _with_p(f"{symbol}({df}) = {format_number(values['QM'])}", "QM", values)
    return _print_parameter(name, values[name], metric)


def _with_p(text: str, name: str, values: Mapping[str, float]) -> str:
    text = name + text if text.startswith("(") else text
    p_value = values.get(f"{name}_p")
    return text if p_value is None else f"{text}, p {format_p(p_value)}"


def _print_parameter(name: str, value: float, metric: str) -> str:
    if name in _PERCENTAGES:
        return f"{format_number(value, 0)} %"
    if name.startswith("tau"):
        return format_number(value, 3, leading_zero=metric == "generic")
    return format_number(value)


def _range(name: str, low: float, high: float, metric: str) -> str:
    return f"[{_print_parameter(name, low, metric)}, {_print_parameter(name, high, metric)}]"


def coefficient_table(model: Record, labels: Labels) -> TableView:
    """Return the coefficients on the scale of the analysis."""
    spec = model["specification"]
    scale = {"fisher_z": "Fisher's z", "r": "correlations"}.get(spec["metric"], "the effects")
    percent = describe_level_of_confidence(spec["ci_level"])
    rows = []
    for row in model["coefficients"]:
        estimate, low, high = (number(row[key]) for key in ("estimate", "ci_low", "ci_high"))
        # slopes per year or per percent are small
        digits = 4 if abs(estimate) < 0.01 else 3
        interval = ""
        if not pd.isna(low) and not pd.isna(high):
            interval = f"[{format_number(low, digits)}, {format_number(high, digits)}]"
        df = number(row["df"])
        rows.append(
            (
                _term(row["term"], model, labels),
                format_number(estimate, digits),
                format_number(number(row["se"]), digits),
                format_number(number(row["statistic"])),
                EMPTY if pd.isna(df) else format_df(df),
                format_p(number(row["p_value"])).removeprefix("= "),
                interval or EMPTY,
            )
        )
    headings = ("Term", "#b", "#SE", "#t or z", "#df", "#p", f"#{percent} CI")
    return make_table(f"Coefficients, on the scale of {scale}", headings, rows)


def _term(term: str, model: Record, labels: Labels) -> Cell:
    if term != "Intercept":
        return Cell(labels.term(term))
    levels = [labels.level(f"{column}={level}") for column, level in model["references"].items()]
    name = "Intercept" if model["specification"]["moderators"] else "Pooled mean"
    return Cell(name, f"for {join_words(levels)}" if levels else "")


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
