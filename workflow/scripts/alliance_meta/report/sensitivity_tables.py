"""Tables of how far a result hangs on single studies and on decisions, and what more would add."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from alliance_meta.figures.wording import humanise
from alliance_meta.formatting import format_effect, format_number
from alliance_meta.report.tables import (
    Cell,
    Record,
    TableView,
    make_table,
    number,
    print_count,
    print_text,
)
from alliance_meta.report.testing import parameters
from alliance_meta.report.trust_context import (
    LARGEST,
    TrustContext,
    cut_rows,
    is_true,
    print_coefficient,
    print_percent,
)
from alliance_meta.report.wording import EMPTY, capitalise

# studies listed because a conclusion changes without them
MAXIMUM_CHANGES = 10
# steps of a cumulative analysis that are shown, for each order
STEPS = 7
# decimals where single studies are compared
FINE = 3
# a configuration may name many options, which all have a reason to be read
MAXIMUM_OPTIONS = 40

WEIGHT_WORDS = {
    "estimated": ("The model's weights", ""),
    "fixed": ("Fixed weights", "large studies count most"),
    "equal": ("Equal weights", "every effect counts the same"),
}
CHOICE_WORDS = {"tau2": "estimator of τ²", "choice_tau2": "estimator of τ²", "rho": "ρ"}
OTHER_CODERS = {"first": "first coder", "second": "second coder"}


def _print_plain(value: Any, digits: int = 2) -> str:
    return format_number(number(value), digits)


def _i2(row: Record) -> str:
    value = number(row.get("I2"))
    return EMPTY if pd.isna(value) else f"{format_number(value, 0)} %"


def _movements(context: TrustContext, rows: Iterable[Record]) -> list[tuple[float, Record]]:
    """Return rows with how far each moves its coefficient, in its standard errors."""
    full = context.full_coefficients()
    found = []
    for row in rows:
        own = full.get(print_text(row.get("term")), {})
        se = number(own.get("se"))
        moved = abs(number(row.get("estimate")) - number(own.get("estimate")))
        found.append((moved / se if se > 0 else moved, row))
    # what cannot be compared comes last
    return sorted(found, key=lambda pair: -1.0 if pd.isna(pair[0]) else pair[0], reverse=True)


def _telling(context: TrustContext, rows: Iterable[Record]) -> tuple[list[Record], int]:
    """Return rows that change a conclusion or move the result most, and how many change one."""
    ordered = [row for _, row in _movements(context, rows)]
    changed = [row for row in ordered if print_text(row.get("changes"))]
    most = [row for row in ordered if not print_text(row.get("changes"))][:LARGEST]
    return [*changed[:MAXIMUM_CHANGES], *most], len(changed)


def _omission_table(
    context: TrustContext,
    caption: str,
    heading: str,
    rows: Sequence[Record],
    name: Callable[[Record], Cell],
) -> TableView:
    shown, n_changed = _telling(context, rows)
    moderated = context.moderated
    own = context.full_coefficients()
    printed: list[list[str | Cell]] = []
    if not moderated and shown and own:
        whole = context.print_mean(next(iter(own.values())), FINE)
        i2 = parameters(context.content.model).get("I2")
        printed.append(["Nothing", whole, _i2({"I2": i2}), EMPTY])
    for row in shown:
        first = name(row)
        cells: list[str | Cell] = [first]
        if moderated:
            cells += [context.term(row["term"]), print_coefficient(row)]
        else:
            cells += [context.print_mean(row, FINE), _i2(row)]
        printed.append([*cells, print_text(row.get("changes")) or "nothing"])
    middle = ("Term", context.estimate_heading) if moderated else (context.estimate_heading, "#I²")
    notes = []
    if n_changed > MAXIMUM_CHANGES:
        rest = n_changed - MAXIMUM_CHANGES
        notes.append(f"{print_count(rest)} more that change a conclusion stand in the file.")
    return make_table(caption, (heading, *middle, "What changes"), printed, notes=notes)


def leave_one_out_tables(context: TrustContext) -> list[TableView]:
    """Return the studies, and the effects, without which something changes."""
    rows = [
        row
        for row in context.rows("sensitivity_leave_one_out")
        if not pd.isna(number(row["estimate"]))
    ]
    studies = [row for row in rows if print_text(row["unit"]) == "study"]
    single = [row for row in rows if print_text(row["unit"]) == "effect"]
    # where no study has several effects, the same would stand there twice
    repeated = _count_names(single) == _count_names(studies)
    effects = [row for row in single if print_text(row["changes"]) and not repeated]
    tables = [
        _omission_table(
            context,
            "Without one study: what changes a conclusion or moves the result most",
            "Left out",
            studies,
            lambda row: Cell(context.study(row["left_out"])),
        )
    ]
    if effects:
        tables.append(
            _omission_table(
                context,
                "Without one effect: what changes a conclusion",
                "Left out",
                effects,
                lambda row: context.effect_cell(
                    {
                        "effect_id": row["left_out"],
                        "study_id": context.names.effects.get(print_text(row["left_out"])),
                    }
                ),
            )
        )
    return tables


def _count_names(rows: Iterable[Record]) -> int:
    return len({print_text(row["left_out"]) for row in rows})


def influence_tables(context: TrustContext) -> list[TableView]:
    """Return diagnostics of the influential effects and studies, or of the five that come first."""
    return [
        _influence_table(context, "sensitivity_influence", "effects", context.effect_cell),
        _influence_table(
            context,
            "sensitivity_influence_studies",
            "studies",
            lambda row: Cell(context.study(row["study_id"])),
        ),
    ]


def _influence_table(
    context: TrustContext, table: str, noun: str, name: Callable[[Record], Cell]
) -> TableView:
    rows = sorted(
        (row for row in context.rows(table) if not pd.isna(number(row["cooks_distance"]))),
        key=lambda row: number(row["cooks_distance"]),
        reverse=True,
    )
    influential = [row for row in rows if is_true(row["influential"])]
    shown = influential[:MAXIMUM_CHANGES] or rows[:LARGEST]
    printed = [
        (
            name(row),
            _print_plain(row["rstudent"]),
            _print_plain(row["cooks_distance"]),
            _print_plain(row["dfbetas"]),
            _print_plain(row["cov_ratio"]),
            _print_weight(row["weight"]),
        )
        for row in shown
    ]
    caption = f"Influential {noun}" if influential else f"The {noun} with the largest Cook's D"
    rest = len(influential) - MAXIMUM_CHANGES
    notes = [f"{print_count(rest)} more are influential."] if rest > 0 else []
    headings = ("Study", "#Residual", "#Cook's D", "#DFBETAS", "#COVRATIO", "#Weight")
    return make_table(caption, headings, printed, notes=notes)


def _print_weight(value: Any) -> str:
    weight = number(value)
    return EMPTY if pd.isna(weight) else f"{format_number(weight, 1)} %"


def baujat_tables(context: TrustContext) -> list[TableView]:
    """Return what adds most to the heterogeneity or moves the result most."""
    rows = context.rows("sensitivity_baujat")
    by_y = sorted(rows, key=lambda row: number(row["y"]), reverse=True)
    by_x = sorted(rows, key=lambda row: number(row["x"]), reverse=True)
    shown = list(by_y[:LARGEST])
    shown += [row for row in by_x[:LARGEST] if not any(row is other for other in shown)]
    printed = [
        (context.effect_cell(row), _print_plain(row["y"], 3), _print_plain(row["x"]))
        for row in shown
    ]
    headings = ("Study", "#Moves the result by", "#Adds to Q")
    caption = "What moves the result most, or adds most to the heterogeneity"
    notes = ["Both squared and relative to their variance, as in the Baujat plot."] if rows else []
    return [make_table(caption, headings, printed, notes=notes)]


def cumulative_tables(context: TrustContext) -> list[TableView]:
    """Return some steps of the cumulative analyses, the first and the last among them."""
    orders: dict[str, list[Record]] = {}
    for row in context.rows("sensitivity_cumulative"):
        orders.setdefault(print_text(row["by"]), []).append(row)
    tables = []
    for order, rows in orders.items():
        known = [row for row in rows if not pd.isna(number(row["estimate"]))]
        last = len(known) - 1
        steps = sorted({round(i * last / (STEPS - 1)) for i in range(STEPS)}) if known else []
        printed = [
            (
                Cell(context.study(known[i]["added"]), _print_position(order, known[i])),
                print_count(known[i].get("k_studies")),
                print_count(known[i]["k"]),
                context.print_mean(known[i]),
            )
            for i in steps
        ]
        words = "from the most precise on" if order == "precision" else f"by {humanise(order)}"
        headings = ("Last study added", "#Studies", "#Effects", context.reported_heading)
        notes = [f"{len(steps)} of {len(known)} steps."] if len(steps) < len(known) else []
        tables.append(make_table(f"Studies added {words}", headings, printed, notes=notes))
    return tables


def _print_position(order: str, row: Record) -> str:
    value = number(row.get("value")) if not isinstance(row.get("value"), str) else float("nan")
    if order == "precision" or pd.isna(value):
        return ""
    return f"{value:.10g}"


def gosh_tables(context: TrustContext) -> list[TableView]:
    """Return the spread over subsets, and the studies that shift it most."""
    value = {
        print_text(row["quantity"]): number(row["value"])
        for row in context.rows("sensitivity_gosh_summary")
    }
    keys = ("minimum", "q025", "median", "q975", "maximum")
    printed = []
    if not pd.isna(value.get("median", float("nan"))):
        printed.append(
            (context.symbol, *(context.print_value(value.get(key)) for key in keys)),
        )
        shares = [value.get(f"I2_{key}") for key in keys]
        if not pd.isna(number(shares[2])):
            printed.append(("I²", *(_i2({"I2": share}) for share in shares)))
    headings = ("Over all subsets", "#Lowest", "#2.5 %", "#Median", "#97.5 %", "#Highest")
    studies = sorted(
        context.rows("sensitivity_gosh_studies"),
        key=lambda row: abs(number(row["difference"])),
        reverse=True,
    )
    shifts = [
        (
            context.study(row["study_id"]),
            context.print_value(row["mean_with"], FINE),
            context.print_value(row["mean_without"], FINE),
        )
        for row in studies[:LARGEST]
    ]
    return [
        make_table("Estimate and heterogeneity of subsets", headings, printed),
        make_table(
            "The studies whose presence shifts subsets most",
            ("Study", "#Mean of subsets with it", "#Mean of subsets without it"),
            shifts,
        ),
    ]


def rho_tables(context: TrustContext) -> list[TableView]:
    """Return the result over the assumed correlation; of a moderator model its two ends."""
    rows = context.rows("sensitivity_rho")
    caption = "Over the assumed correlation ρ of sampling errors"
    if context.moderated:
        return [_rho_ends(context, rows, caption)]
    printed = [
        (
            _print_rho(row["rho"]),
            context.print_mean(row),
            format_number(number(row["tau2_between"]), 3),
            format_number(number(row["tau2_within"]), 3),
        )
        for row in rows
    ]
    headings = ("ρ", context.estimate_heading, "#τ² between studies", "#τ² within studies")
    shown, notes = cut_rows(printed)
    return [make_table(caption, headings, shown, notes=notes)]


def _rho_ends(context: TrustContext, rows: Sequence[Record], caption: str) -> TableView:
    by_term: dict[str, list[Record]] = {}
    for row in rows:
        if not pd.isna(number(row["estimate"])):
            by_term.setdefault(print_text(row["term"]), []).append(row)
    printed = []
    ends: tuple[str, str] = ("lowest", "highest")
    for term, found in by_term.items():
        ends = (_print_rho(found[0]["rho"]), _print_rho(found[-1]["rho"]))
        changes = list(dict.fromkeys(c for c in (print_text(r["changes"]) for r in found) if c))
        cells = (print_coefficient(found[0]), print_coefficient(found[-1]))
        printed.append((context.term(term), *cells, ", ".join(changes) or "nothing"))
    headings = (
        "Term",
        f"#At ρ = {ends[0]} [{context.percent} CI]",
        f"#At ρ = {ends[1]} [{context.percent} CI]",
        "What changes between",
    )
    shown, notes = cut_rows(printed, "term")
    return make_table(caption, headings, shown, notes=notes)


def _print_rho(value: Any) -> str:
    return format_number(number(value), 2, leading_zero=False)


def class_name(column: str) -> str:
    """Return what a column sorts effects by, in words."""
    return "conversion route" if column == "conversion" else humanise(column)


def class_tables(context: TrustContext) -> list[TableView]:
    """Return the result without each class of effects, by what makes the classes."""
    by: dict[str, list[Record]] = {}
    for row in context.rows("sensitivity_leave_class_out"):
        if not pd.isna(number(row["estimate"])):
            by.setdefault(print_text(row["by"]), []).append(row)
    tables = []
    for column, rows in by.items():

        def name(row: Record, column: str = column) -> Cell:
            words = context.class_words(column, print_text(row["left_out"]))
            return Cell(capitalise(words), f"{print_count(row['k_studies'])} studies remain")

        caption = (
            f"Without one {class_name(column)}: what changes a conclusion or moves the result most"
        )
        tables.append(_omission_table(context, caption, "Left out", rows, name))
    return tables


def weight_tables(context: TrustContext) -> list[TableView]:
    """Return the result under other weights, a row for each term."""
    by_term: dict[str, dict[str, Record]] = {}
    for row in context.rows("sensitivity_weights"):
        by_term.setdefault(print_text(row["term"]), {})[print_text(row["weights"])] = row
    caption = "The same effects under other weights"
    if context.moderated:
        printed = [
            (context.term(term), *(print_coefficient(found.get(name, {})) for name in WEIGHT_WORDS))
            for term, found in by_term.items()
        ]
        shown, notes = cut_rows(printed, "term")
        headings = ("Term", *(f"#{words} [CI]" for words, _ in WEIGHT_WORDS.values()))
        return [make_table(caption, headings, shown, notes=notes)]
    lone = next(iter(by_term.values()), {})
    rows = [(_weights_cell(name), context.print_mean(row)) for name, row in lone.items()]
    return [make_table(caption, ("Weights", context.estimate_heading), rows)]


def _weights_cell(weights: Any) -> Cell:
    name = print_text(weights)
    words, detail = WEIGHT_WORDS.get(name, (capitalise(humanise(name)), ""))
    return Cell(words, detail)


def decision_table(context: TrustContext) -> TableView:
    """Return a mean under the decisions that could have been others, at a glance."""
    rows: list[tuple[str | Cell, str]] = []
    ends: list[Record] = []
    own: Record = next(iter(context.full_coefficients().values()), {})
    sweep = [r for r in context.rows("sensitivity_rho") if not pd.isna(number(r["estimate"]))]
    if len(sweep) > 1:
        ends = [sweep[0], sweep[-1]]
    rows += [(f"ρ = {_print_rho(row['rho'])} assumed", context.print_mean(row)) for row in ends]
    for row in context.rows("sensitivity_weights"):
        if print_text(row["weights"]) != "estimated":
            rows.append((_weights_cell(row["weights"]), context.print_mean(row)))
    by: dict[str, list[Record]] = {}
    for row in context.rows("sensitivity_leave_class_out"):
        if not pd.isna(number(row["estimate"])):
            by.setdefault(print_text(row["by"]), []).append(row)
    for column, found in by.items():
        ordered = sorted(found, key=lambda row: number(row["estimate"]))
        for extreme in ordered[:1] + ordered[1:][-1:]:
            words = context.class_words(column, print_text(extreme["left_out"]))
            rows.append(
                (Cell(f"Without one {class_name(column)}", words), context.print_mean(extreme))
            )
    if not rows or context.moderated:
        return make_table("", (), [])
    return make_table(
        "The result under other decisions",
        ("Decision", context.estimate_heading),
        [("As analysed", context.print_mean(own)), *rows],
    )


def coder_tables(context: TrustContext) -> list[TableView]:
    """Return the result between two coders, and where they disagree."""
    rows = [
        (
            context.labels.level(print_text(row["level"])),
            format_number(number(row["first_coder"]), leading_zero=context.metric == "generic"),
            format_number(number(row["second_coder"]), leading_zero=context.metric == "generic"),
            context.print_reported(
                {
                    "estimate": row["resampled_median"],
                    "ci_low": row["resampled_low"],
                    "ci_high": row["resampled_high"],
                }
            ),
            print_percent(row["share_conclusion_changes"]),
        )
        for row in context.rows("sensitivity_coders")
    ]
    headings = (
        "Level",
        "#First coder",
        "#Second coder",
        "#Versions mixed: median [95 % of them]",
        "#Conclusion changes in",
    )
    shown, notes = cut_rows(rows, "level")
    differing = [
        (
            context.effect_cell(row),
            context.labels.column(print_text(row["column"])),
            print_text(row["first"]) or EMPTY,
            print_text(row["second"]) or EMPTY,
        )
        for row in context.rows("sensitivity_coder_disagreements")
    ]
    cut, more = cut_rows(differing, "disagreement")
    lone = [
        (
            context.effect_cell(row),
            OTHER_CODERS.get(print_text(row["coder"]), print_text(row["coder"])),
            print_text(row["reason"]) or EMPTY,
        )
        for row in context.rows("sensitivity_coder_unmatched")
    ]
    cut_lone, more_lone = cut_rows(lone, "effect")
    return [
        make_table("The result between two coders", headings, shown, notes=notes),
        make_table(
            "Where the coders disagree",
            ("Effect", "Column", "First coder", "Second coder"),
            cut,
            notes=more,
        ),
        make_table(
            "Effects that one coder has",
            ("Effect", "Coder", "Why it was not matched"),
            cut_lone,
            notes=more_lone,
        ),
    ]


def choice_words(choice: str) -> str:
    """Return a choice of the multiverse in words."""
    return CHOICE_WORDS.get(choice, humanise(choice.removeprefix("choice_")))


def multiverse_tables(context: TrustContext) -> list[TableView]:
    """Return the options of the multiverse with their reasons, and the shares of the choices."""
    options = []
    for row in context.rows("multiverse_options"):
        option = (
            f"{capitalise(choice_words(print_text(row['choice'])))}: {print_text(row['option'])}"
        )
        options.append(
            (
                Cell(
                    f"{option} (base)" if is_true(row["base"]) else option,
                    print_text(row["reason"]),
                ),
                print_count(row["specifications"]),
                format_number(number(row["median"]), leading_zero=context.metric == "generic"),
                print_percent(row["share_significant"]),
                _print_moves(row),
            )
        )
    notes = []
    if len(options) > MAXIMUM_OPTIONS:
        notes.append(f"{print_count(len(options) - MAXIMUM_OPTIONS)} more options in the file.")
    if options:
        notes.append(
            "Significant: of the specifications with a test. Conclusion moves: share of pairs that "
            "differ from the base in this option only, and in sign or significance."
        )
    shares = sorted(
        context.rows("multiverse_variance"),
        key=lambda row: number(row["share_of_variance"]),
        reverse=True,
    )
    return [
        make_table(
            "Options of the multiverse, and why each is defensible",
            ("Option", "#Specifications", "#Median", "#Significant", "#Conclusion moves"),
            options[:MAXIMUM_OPTIONS],
            notes=notes,
        ),
        make_table(
            "What the variance of the estimates goes with",
            ("Choice", "#Share of the variance"),
            [
                (
                    capitalise(choice_words(print_text(row["choice"]))),
                    print_percent(row["share_of_variance"]),
                )
                for row in shares
            ],
        ),
    ]


def _print_moves(row: Record) -> str:
    if is_true(row["base"]) or not number(row["pairs"]) > 0:
        return EMPTY
    return print_percent(row["conclusion_moves"])


def power_tables(context: TrustContext) -> list[TableView]:
    """Return what further studies would add to a mean."""
    if context.moderated:
        return []
    rows = [
        (
            print_count(row["new_studies"]),
            context.print_range(row["ci_low"], row["ci_high"]),
            context.print_value(row["smallest_detectable"]),
            _print_whole_percent(row["information_share"]),
            _print_years(row.get("years")),
        )
        for row in context.rows("sensitivity_power")
    ]
    headings = (
        "Further studies",
        f"#{context.percent} CI then",
        f"#Smallest {context.symbol.lower()} found",
        "#Their share of all that is known",
        "#Years at the recent rate",
    )
    notes = []
    if rows:
        notes.append(
            f"Smallest {context.symbol.lower()} found: the smallest mean that a test would find "
            f"with {print_percent(_power_setting(context, 'power', 0.8))} power."
        )
    return [make_table("If the mean stays where it is", headings, rows, notes=notes)]


def _power_setting(context: TrustContext, name: str, default: float) -> float:
    asked = context.content.sensitivity.get("settings", {}).get("power")
    return float(asked.get(name, default)) if isinstance(asked, Mapping) else default


def _print_whole_percent(value: Any) -> str:
    share = number(value)
    return EMPTY if pd.isna(share) else f"{format_number(share, 0)} %"


def _print_years(value: Any) -> str:
    years = number(value)
    return EMPTY if pd.isna(years) else format_number(years, 0 if years >= 10 else 1)


def detectable_tables(context: TrustContext) -> list[TableView]:
    """Return the smallest differences that tests of a moderator model would find."""
    if not context.moderated:
        return []
    found = context.rows("sensitivity_detectable")
    pairs = [row for row in found if print_text(row.get("level_a"))]
    records = pairs or [row for row in found if print_text(row["kind"]) != "mean"]
    rows = [
        (
            _comparison_name(context, row),
            format_number(number(row["smallest_detectable_reported"]), 2),
            print_percent(row["power_small"]),
            print_count(row["studies_needed"]),
        )
        for row in records
    ]
    shown, notes = cut_rows(rows, "comparison")
    if shown:
        small = format_effect(_power_setting(context, "difference", 0.1), context.metric)
        notes.append(
            f"A small one: a difference of {small}. Further studies: as many as would let it be "
            f"found with {print_percent(_power_setting(context, 'power', 0.8))} power."
        )
    headings = (
        "Difference",
        "#Smallest found",
        "#Power for a small one",
        "#Further studies needed",
    )
    return [make_table("Which differences would show", headings, shown, notes=notes)]


def _comparison_name(context: TrustContext, row: Record) -> str:
    a, b = print_text(row.get("level_a")), print_text(row.get("level_b"))
    if a and b:
        column, _, code = b.partition("=")
        return f"{context.labels.level(a)} minus {context.labels.value(column, code)}"
    return context.term(row["comparison"])
