"""Tables of what missing studies could explain."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from alliance_meta.figures.wording import humanise
from alliance_meta.formatting import format_count, format_df, format_number
from alliance_meta.report.tables import (
    Cell,
    Record,
    TableView,
    make_table,
    number,
    print_count,
    print_text,
)
from alliance_meta.report.testing import print_p
from alliance_meta.report.trust_context import (
    TrustContext,
    cut_rows,
    is_true,
    print_coefficient,
)
from alliance_meta.report.wording import EMPTY, capitalise

ANALYSIS = "analysis"
VERDICTS = {"yes": "holds", "no": "does not hold", "unclear": "cannot tell"}

EGGER_WORDS = {
    "multilevel_cr2": ("Dependent effects", "cluster-robust errors; the one to read"),
    "random_effects": ("Random effects", "takes effects as independent"),
    "lm": ("Weighted least squares", "takes effects as independent"),
}
PET_WORDS = {"pet": "PET", "peese": "PEESE", "conditional": "PET-PEESE"}
SELECTION_WORDS = {
    "3psm": "Three-parameter model",
    "4psm": "Four-parameter model",
    "beta": "Beta model",
    "vevea_woods_moderate_one": "Moderate one-tailed selection, weights given",
    "vevea_woods_severe_one": "Severe one-tailed selection, weights given",
    "vevea_woods_moderate_two": "Moderate two-tailed selection, weights given",
    "vevea_woods_severe_two": "Severe two-tailed selection, weights given",
}
FAIL_SAFE_WORDS = {
    "rosenthal": "Rosenthal: combined p-values no longer significant",
    "orwin": "Orwin: mean no further from zero than the target",
    "orwin_weighted": "Orwin, weighted by precision",
    "rosenberg": "Rosenberg: weighted mean no longer significant",
}
P_UNIFORM_WORDS = {"p_uniform": "p-uniform", "p_uniform_star": "p-uniform*"}
UNIT_WORDS = {"study": "one composite per study", "effect": "single effects"}


def panel_table(context: TrustContext) -> TableView:
    """Return the corrections side by side: what each assumes, gives, and whether it agrees."""
    rows = [
        (
            Cell(
                _first_capital(print_text(row.get("label")) or humanise(print_text(row["method"]))),
                f"assumes: {print_text(row['assumption'])}",
            ),
            context.print_reported(row),
            _verdict(row),
        )
        for row in context.rows("bias_panel")
    ]
    headings = ("Method", context.reported_heading, "Conclusion")
    caption = "The result if studies were missing, by method"
    notes = []
    if rows:
        notes.append(
            "The conclusion holds if a method gives the same sign, and significance where the "
            "analysis has it. No method is right for certain; they assume different things."
        )
    return make_table(caption, headings, rows, notes=notes)


def _verdict(row: Record) -> Cell:
    # the analysis is what the others are compared with
    if print_text(row["method"]) == ANALYSIS:
        return Cell(EMPTY)
    holds = print_text(row["conclusion_holds"])
    return Cell(VERDICTS.get(holds, holds), kind="" if holds == "yes" else "against")


def _first_capital(text: str) -> str:
    # p-uniform* and the like keep their small letter
    return capitalise(text) if text[1:2] != "-" else text


def egger_tables(context: TrustContext) -> list[TableView]:
    """Return the variants of Egger's test, the one that knows of dependence first."""
    records = context.rows("bias_egger")
    order = list(EGGER_WORDS)
    records.sort(key=lambda row: order.index(v) if (v := row["variant"]) in order else len(order))
    # with moderators there is no single effect at a standard error of zero
    with_limit = any(not pd.isna(number(row["limit_estimate"])) for row in records)
    rows = []
    for row in records:
        variant = print_text(row["variant"])
        words, detail = EGGER_WORDS.get(variant, (variant, ""))
        limit = {
            "estimate": row["limit_estimate"],
            "ci_low": row["limit_ci_low"],
            "ci_high": row["limit_ci_high"],
        }
        cells: list[str | Cell] = [
            Cell(words, detail),
            f"{format_number(number(row['slope']))} ({format_number(number(row['se']))})",
            _print_statistic(row),
            print_p(row["p_value"]),
            *([context.print_mean(limit)] if with_limit else []),
        ]
        rows.append(cells)
    headings = ["Model", "#Slope (SE)", "#t or z", "#p"]
    if with_limit:
        headings.append(f"#{context.symbol} at no error [{context.percent} CI]")
    return [make_table("Do effects rise with their standard errors?", headings, rows)]


def _print_statistic(row: Record) -> str:
    statistic, df = number(row["statistic"]), number(row["df"])
    text = format_number(statistic)
    return text if pd.isna(df) or pd.isna(statistic) else f"t({format_df(df)}) = {text}"


def rank_tables(context: TrustContext) -> list[TableView]:
    """Return the rank test."""
    rows = [
        (
            capitalise(UNIT_WORDS.get(print_text(row["unit"]), print_text(row["unit"]))),
            print_count(row["k"]),
            format_number(number(row["kendall_tau"]), leading_zero=False),
            Cell(print_p(row["p_value"]), "exact" if is_true(row["exact"]) else ""),
        )
        for row in context.rows("bias_rank")
    ]
    return [make_table("Rank test", ("Of", "#k", "#Kendall's τ", "#p"), rows)]


def pet_peese_tables(context: TrustContext) -> list[TableView]:
    """Return the extrapolations to a study without sampling error."""
    rows = []
    for row in context.rows("bias_pet_peese"):
        variant = print_text(row["variant"])
        stem = variant.removesuffix("_wls")
        words = PET_WORDS.get(stem, variant)
        detail = "weighted least squares" if variant != stem else ""
        chosen = print_text(row.get("chosen"))
        if chosen:
            detail = ", ".join(part for part in (f"takes {chosen.upper()}", detail) if part)
        rows.append(
            (
                Cell(words, detail),
                context.print_mean(row),
                print_p(row["p_value"]),
                format_number(number(row["slope"])),
                print_p(row["slope_p"]),
            )
        )
    headings = ("Method", context.reported_heading, "#p", "#Slope", "#p of the slope")
    return [make_table("Extrapolated to a study without sampling error", headings, rows)]


def trim_tables(context: TrustContext) -> list[TableView]:
    """Return trim and fill by estimator and side."""
    rows = []
    for row in context.rows("bias_trim_and_fill"):
        side = print_text(row["side"])
        detail = "side chosen automatically" if is_true(row.get("chosen")) else ""
        se = number(row["k0_se"])
        added = print_count(row["k0"])
        rows.append(
            (
                Cell(f"{print_text(row['estimator'])}, {side}", detail),
                added if pd.isna(se) else f"{added} ({format_number(se, 1)})",
                context.print_mean(row),
            )
        )
    headings = ("Estimator and side", "#Added (SE)", context.reported_heading)
    return [make_table("Trim and fill", headings, rows)]


def henmi_tables(context: TrustContext) -> list[TableView]:
    """Return the interval of Henmi and Copas."""
    rows = [
        (
            capitalise(UNIT_WORDS.get(print_text(row["unit"]), print_text(row["unit"]))),
            print_count(row["k"]),
            context.print_mean(row),
        )
        for row in context.rows("bias_henmi_copas")
    ]
    headings = ("Of", "#k", context.reported_heading)
    return [make_table("Common-effect weights, heterogeneous effects", headings, rows)]


def selection_tables(context: TrustContext) -> list[TableView]:
    """Return the selection models: their means or, with moderators, coefficients of the first."""
    models: dict[str, dict[str, Record]] = {}
    for row in context.rows("bias_selection"):
        models.setdefault(print_text(row["model"]), {})[print_text(row["term"])] = row
    if context.moderated:
        return _selection_coefficients(context, models)
    rows = []
    for name, terms in models.items():
        mean, test = terms.get("mu", {}), terms.get("lrt", {})
        rows.append(
            (
                SELECTION_WORDS.get(name, capitalise(humanise(name))),
                context.print_mean(mean),
                print_p(mean.get("p_value")),
                format_number(number(terms.get("tau2", {}).get("estimate")), 3),
                _print_likelihood_ratio(test),
            )
        )
    headings = ("Model", context.reported_heading, "#p", "#τ²", "#Test of no selection")
    shown, notes = cut_rows(rows, "model")
    return [make_table("Selection models", headings, shown, notes=notes)]


# terms of a selection model that are no coefficients of the moderators
_OWN_TERMS = ("tau2", "lrt", "delta")


def _selection_coefficients(
    context: TrustContext, models: dict[str, dict[str, Record]]
) -> list[TableView]:
    name, terms = next(iter(models.items()), ("", {}))
    rows = [
        (context.term(term), print_coefficient(row), print_p(row["p_value"]))
        for term, row in terms.items()
        if not term.startswith(_OWN_TERMS)
    ]
    shown, notes = cut_rows(rows, "term")
    others = len(models) - 1
    if others > 0:
        notes.append(f"The file has {format_count(others, 'more selection model')}.")
    words = SELECTION_WORDS.get(name, capitalise(humanise(name)))
    headings = ("Term", f"#b [{context.percent} CI]", "#p")
    return [make_table(f"{words} of selection, with the moderators", headings, shown, notes=notes)]


def _print_likelihood_ratio(row: Record) -> str:
    statistic, df = number(row.get("estimate")), number(row.get("df"))
    if pd.isna(statistic):
        return EMPTY
    text = format_number(statistic)
    test = text if pd.isna(df) else f"χ²({format_df(df)}) = {text}"
    p_value = number(row.get("p_value"))
    return test if pd.isna(p_value) else f"{test}, p {_with_sign(p_value)}"


def _with_sign(p_value: float) -> str:
    text = print_p(p_value)
    return text if text.startswith("<") else f"= {text}"


def p_uniform_tables(context: TrustContext) -> list[TableView]:
    """Return p-uniform*."""
    rows = [
        (
            P_UNIFORM_WORDS.get(print_text(row["method"]), print_text(row["method"])),
            context.print_mean(row),
            print_p(row["p_value"]),
            f"{format_number(number(row.get('tau2')), 3)}"
            f"{_print_bounds(row.get('tau2_low'), row.get('tau2_high'))}",
            f"{print_count(row.get('k_significant'))} of {print_count(row.get('k'))}",
            print_p(row.get("p_bias")),
        )
        for row in context.rows("bias_p_uniform")
    ]
    headings = (
        "Method",
        context.reported_heading,
        "#p",
        "#τ² [CI]",
        "#Significant",
        "#p of the test of bias",
    )
    return [make_table("Distribution of p-values", headings, rows)]


def _print_bounds(low: Any, high: Any) -> str:
    if pd.isna(number(low)) or pd.isna(number(high)):
        return ""
    return f" [{format_number(number(low), 3)}, {format_number(number(high), 3)}]"


def worst_case_tables(context: TrustContext) -> list[TableView]:
    """Return the mean under ever stronger selection, the worst case and the S-values."""
    rows: list[tuple[str | Cell, ...]] = []
    for row in context.rows("bias_worst_case"):
        quantity = print_text(row["quantity"])
        if quantity.endswith("_common_effect"):
            continue
        rows.append((_worst_case_name(quantity), _worst_case_value(context, quantity, row)))
    headings = ("Significant results in the favoured direction", context.reported_heading)
    shown, notes = cut_rows(rows)
    return [make_table("Selection of a given strength", headings, shown, notes=notes)]


def _worst_case_name(quantity: str) -> str:
    if quantity == "worst_case":
        return "Worst case: only the others are pooled, random effects"
    ratio = quantity.removeprefix("corrected_eta_")
    if ratio == "inf":
        return "No limit to how much likelier they are published"
    if ratio == "1":
        return "As likely to be published as the others"
    if ratio != quantity:
        return f"{ratio} times as likely"
    return {
        "s_value_estimate": "S-value: ratio that moves the mean to 0",
        "s_value_interval": "S-value: ratio that moves the interval to 0",
    }.get(quantity, humanise(quantity))


def _worst_case_value(context: TrustContext, quantity: str, row: Record) -> str:
    if not quantity.startswith("s_value"):
        return context.print_mean(row)
    ratio = number(row["estimate"])
    if pd.isna(ratio):
        return EMPTY
    return "none does" if ratio == float("inf") else format_number(ratio, 1)


def excess_tables(context: TrustContext) -> list[TableView]:
    """Return significant results observed and expected."""
    rows = [
        (
            capitalise(UNIT_WORDS.get(print_text(row["unit"]), print_text(row["unit"]))),
            print_count(row["k"]),
            print_count(row["observed"]),
            format_number(number(row["expected"]), 1),
            print_p(row["p_value"]),
        )
        for row in context.rows("bias_excess_significance")
    ]
    headings = ("Of", "#k", "#Significant", "#Expected", "#p, one-sided")
    return [make_table("Significant results, observed and expected", headings, rows)]


def fail_safe_tables(context: TrustContext) -> list[TableView]:
    """Return fail-safe numbers with what weakens each."""
    rows: Sequence[tuple[str | Cell, ...]] = [
        (
            Cell(
                FAIL_SAFE_WORDS.get(print_text(row["method"]), humanise(print_text(row["method"]))),
                print_text(row["note"]),
            ),
            _print_target(context, row),
            _print_needed(row["n_studies"]),
        )
        for row in context.rows("bias_fail_safe")
    ]
    headings = ("Method", "#Target", "#Unseen studies needed")
    return [make_table("Fail-safe numbers", headings, rows)]


def _print_target(context: TrustContext, row: Record) -> str:
    return EMPTY if pd.isna(number(row["target"])) else context.print_value(row["target"])


def _print_needed(value: Any) -> str:
    count = number(value)
    return "no number is enough" if count == float("inf") else print_count(count)
