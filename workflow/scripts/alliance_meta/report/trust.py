"""How sure a result is: four questions a reader asks, with sentences first and tables folded."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from alliance_meta.formatting import join_words
from alliance_meta.report import bias_tables as bias
from alliance_meta.report import sensitivity_tables as sensitivity
from alliance_meta.report.content import FigureContent
from alliance_meta.report.pictures import FigureView, view_figure
from alliance_meta.report.tables import TableView, make_table
from alliance_meta.report.trust_context import TrustContext, shorten_list
from alliance_meta.report.trust_sentences import Kind, put_in_words, sort_sentence
from alliance_meta.report.wording import capitalise

NO_TABLE = make_table("", (), [])
PANEL_METHOD = "panel"


@dataclass(frozen=True)
class Method:
    """One way to ask how sure a result is.

    Attributes
    ----------
    name
        Its key among the sentences of its record.
    words
        Its name inside a sentence.
    title
        What unfolds its tables.
    tables
        Makes them.
    files
        Tables that hold the rest, without ending.
    figures
        Names of its figures.
    shown
        Which of its sentences every reader sees; the others stand with the tables.
    """

    name: str
    words: str
    title: str
    tables: Callable[[TrustContext], Sequence[TableView]] = lambda context: ()
    files: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    shown: slice = field(default_factory=lambda: slice(0))


@dataclass(frozen=True)
class Block:
    """One question: its methods, the table in sight, and the figures in sight."""

    title: str
    record: tuple[str, ...]
    methods: tuple[Method, ...]
    table: Callable[[TrustContext], TableView] = lambda context: NO_TABLE
    figures: tuple[str, ...] = ()


ALL = slice(None)

BLOCKS = (
    Block(
        "Does it hang on single studies?",
        ("sensitivity",),
        (
            Method(
                "leave_one_out",
                "leaving out one study at a time",
                "Leaving out one study at a time",
                sensitivity.leave_one_out_tables,
                ("sensitivity_leave_one_out",),
                ("leave_one_out",),
                slice(4),
            ),
            Method(
                "influence",
                "diagnostics of single studies",
                "Diagnostics of single effects and studies",
                sensitivity.influence_tables,
                ("sensitivity_influence", "sensitivity_influence_studies", "sensitivity_dfbetas"),
                ("influence",),
                slice(4),
            ),
            Method(
                "baujat",
                "the Baujat plot",
                "Heterogeneity and weight of single studies (Baujat)",
                sensitivity.baujat_tables,
                ("sensitivity_baujat",),
                ("baujat",),
            ),
            Method(
                "gosh",
                "GOSH",
                "Subsets of the studies (GOSH)",
                sensitivity.gosh_tables,
                ("sensitivity_gosh", "sensitivity_gosh_summary", "sensitivity_gosh_studies"),
                ("gosh",),
                slice(-1, None),
            ),
            Method(
                "cumulative",
                "the cumulative analysis",
                "Studies added one by one",
                sensitivity.cumulative_tables,
                ("sensitivity_cumulative",),
                ("cumulative",),
                slice(1),
            ),
        ),
    ),
    Block(
        "Does it hang on our decisions?",
        ("sensitivity", "multiverse"),
        (
            Method(
                "multiverse",
                "the multiverse",
                "All defensible combinations of decisions (multiverse)",
                sensitivity.multiverse_tables,
                ("multiverse", "multiverse_options", "multiverse_variance", "multiverse_summary"),
                ("specification_curve",),
                ALL,
            ),
            Method(
                "rho",
                "the sweep over ρ",
                "The assumed correlation ρ",
                sensitivity.rho_tables,
                ("sensitivity_rho",),
                ("rho_sweep",),
                slice(2),
            ),
            Method(
                "leave_class_out",
                "leaving out classes of effects",
                "Leaving out one class of effects at a time",
                sensitivity.class_tables,
                ("sensitivity_leave_class_out",),
                (),
                slice(3),
            ),
            Method(
                "weights",
                "other weights",
                "Other weights",
                sensitivity.weight_tables,
                ("sensitivity_weights",),
                (),
                slice(1),
            ),
            Method(
                "coders",
                "the comparison of coders",
                "Two coders",
                sensitivity.coder_tables,
                (
                    "sensitivity_coders",
                    "sensitivity_coder_disagreements",
                    "sensitivity_coder_unmatched",
                ),
                (),
                slice(4),
            ),
        ),
        sensitivity.decision_table,
    ),
    Block(
        "Could missing studies explain it?",
        ("bias",),
        (
            Method(
                PANEL_METHOD,
                "the panel of corrections",
                "The methods side by side, as a figure",
                figures=("bias_panel",),
                shown=ALL,
            ),
            Method(
                "funnel",
                "the funnel plot",
                "The funnel plot",
                shown=slice(1),
            ),
            Method(
                "egger",
                "Egger's test",
                "Do small studies show more? (Egger's test)",
                bias.egger_tables,
                ("bias_egger",),
                (),
                slice(1),
            ),
            Method(
                "worst_case",
                "the worst case",
                "The worst case, and the S-value",
                bias.worst_case_tables,
                ("bias_worst_case",),
                (),
                slice(3),
            ),
            Method(
                "rank_test",
                "the rank test",
                "Rank test",
                bias.rank_tables,
                ("bias_rank",),
            ),
            Method(
                "pet_peese",
                "PET-PEESE",
                "PET-PEESE",
                bias.pet_peese_tables,
                ("bias_pet_peese",),
            ),
            Method(
                "trim_and_fill",
                "trim and fill",
                "Trim and fill",
                bias.trim_tables,
                ("bias_trim_and_fill", "bias_trim_and_fill_effects"),
            ),
            Method(
                "henmi_copas",
                "the interval of Henmi and Copas",
                "The interval of Henmi and Copas",
                bias.henmi_tables,
                ("bias_henmi_copas",),
            ),
            Method(
                "selection",
                "selection models",
                "Selection models",
                bias.selection_tables,
                ("bias_selection",),
            ),
            Method(
                "p_uniform",
                "p-uniform*",
                "p-uniform*",
                bias.p_uniform_tables,
                ("bias_p_uniform",),
            ),
            Method(
                "excess_significance",
                "the test of excess significance",
                "Excess of significant results",
                bias.excess_tables,
                ("bias_excess_significance", "bias_excess_significance_power"),
            ),
            Method(
                "fail_safe",
                "fail-safe numbers",
                "Fail-safe numbers",
                bias.fail_safe_tables,
                ("bias_fail_safe",),
            ),
        ),
        bias.panel_table,
        ("funnel",),
    ),
    Block(
        "What would new studies add?",
        ("sensitivity",),
        (
            Method(
                "power",
                "the look ahead",
                "Which differences would show",
                sensitivity.detectable_tables,
                ("sensitivity_detectable", "sensitivity_power"),
                (),
                ALL,
            ),
        ),
        lambda context: next(iter(sensitivity.power_tables(context)), NO_TABLE),
    ),
)
NAMES_OF_METHODS = {method.name: method.words for block in BLOCKS for method in block.methods}


@dataclass(frozen=True)
class FoldView:
    """What one method has to say beyond the sentences in sight."""

    title: str
    sentences: tuple[str, ...]
    figures: tuple[FigureView, ...]
    tables: tuple[TableView, ...]
    files: tuple[str, ...]


@dataclass(frozen=True)
class BlockView:
    """One question with an answer of each method; ``table`` may have no rows.

    ``lead`` are the sentences that come before all methods.
    """

    title: str
    lead: tuple[str, ...]
    answers: tuple[str, ...]
    table: TableView
    figures: tuple[FigureView, ...]
    folds: tuple[FoldView, ...]


@dataclass(frozen=True)
class TrustView:
    """All that is said of how sure a result is.

    Attributes
    ----------
    blocks
        Questions that have an answer.
    agreement
        The sentence on the agreement of the corrections; may be empty.
    remarks
        What could not be asked, and why.
    figure_files
        Figures that are files only.
    """

    blocks: tuple[BlockView, ...]
    agreement: str
    remarks: tuple[str, ...]
    figure_files: tuple[str, ...]


def view_trust(context: TrustContext, other: str = "") -> TrustView | None:
    """Return how sure the result of an analysis is.

    Parameters
    ----------
    context
        The analysis, with words and names.
    other
        Title of an analysis of one mean, to which others refer.

    Returns
    -------
    TrustView or None
        None if nothing was assessed.
    """
    content = context.content
    records: dict[str, Mapping[str, Sequence[str]]] = {
        "sensitivity": content.sensitivity.get("sentences", {}),
        "bias": content.bias.get("sentences", {}),
        "multiverse": (content.multiverse or {}).get("sentences", {}),
    }
    if not any(records.values()):
        return None
    figures = {f.name: f for f in content.figures if f.part == "trust"}
    drawn = {} if context.moderated else dict(figures)
    asides: dict[Kind, dict[str, list[str]]] = {}
    blocks = []
    for block in BLOCKS:
        said = {
            method.name: _listen(method, records, block, context, asides)
            for method in block.methods
        }
        view = _view_block(block, said, drawn, context)
        if view.lead or view.answers or view.table.rows or view.figures or view.folds:
            blocks.append(view)
    panel = next(iter(records["bias"].get(PANEL_METHOD, ())), "")
    has_panel = bool(context.rows("bias_panel"))
    return TrustView(
        tuple(blocks),
        put_in_words(panel, PANEL_METHOD, context) if has_panel else "",
        tuple(_tell_asides(asides, other)),
        () if drawn else tuple(_vector_file(figure) for figure in figures.values()),
    )


def _listen(
    method: Method,
    records: Mapping[str, Mapping[str, Sequence[str]]],
    block: Block,
    context: TrustContext,
    asides: dict[Kind, dict[str, list[str]]],
) -> list[str]:
    """Return a method's sentences in words; those on why it has none are set aside."""
    found = [s for record in block.record for s in records[record].get(method.name, ())]
    kept = []
    for sentence in found:
        kind, reason = sort_sentence(sentence)
        if kind is Kind.FINDING:
            kept.append(put_in_words(sentence, method.name, context))
        else:
            names = asides.setdefault(kind, {}).setdefault(reason, [])
            if method.words not in names:
                names.append(method.words)
    return kept


def _view_block(
    block: Block,
    said: Mapping[str, Sequence[str]],
    drawn: Mapping[str, FigureContent],
    context: TrustContext,
) -> BlockView:
    lead: list[str] = []
    answers: list[str] = []
    folds = []
    for method in block.methods:
        own = said[method.name]
        visible = list(own[method.shown])
        rest = [s for s in own if s not in visible]
        tables = tuple(table for table in method.tables(context) if table.rows)
        figures = tuple(view_figure(drawn[name]) for name in method.figures if name in drawn)
        if tables or figures:
            files = tuple(f"{name}.csv" for name in method.files if _has_file(context, name))
            folds.append(FoldView(method.title, tuple(rest), figures, tables, files))
        else:
            # nothing to fold them with
            visible = list(own)
        if method.name == PANEL_METHOD:
            lead += visible
        elif visible:
            answers.append(" ".join(dict.fromkeys(visible)))
    return BlockView(
        block.title,
        tuple(lead),
        tuple(answers),
        block.table(context),
        tuple(view_figure(drawn[name]) for name in block.figures if name in drawn),
        tuple(folds),
    )


def _has_file(context: TrustContext, table: str) -> bool:
    """Return whether a file has rows; tables that the page does not read are taken to."""
    found = context.content.trust.get(table)
    return found is None or bool(len(found))


def _vector_file(figure: FigureContent) -> str:
    return next((name for name in figure.files if name.endswith(".svg")), figure.name)


def _tell_asides(asides: Mapping[Kind, Mapping[str, Sequence[str]]], other: str) -> Iterable[str]:
    for names in asides.get(Kind.ONE_MEAN, {}).values():
        where = f"the analysis “{other}”" if other else "an analysis without moderators"
        verb = "is" if len(names) == 1 and names[0] in _SINGULAR else "are"
        yield f"{capitalise(_join(names))} {verb} of one mean; see {where}."
    for names in asides.get(Kind.OFF, {}).values():
        yield f"Switched off in the configuration: {_join(names)}."
    for reason, names in asides.get(Kind.NOT_COMPUTED, {}).items():
        yield f"Not computed: {_join(names)} ({reason})."
    for reason in asides.get(Kind.NOTHING, {}):
        yield f"Nothing to assess: {reason}."


# names that take a singular verb when they stand alone
_SINGULAR = frozenset(
    words
    for words in NAMES_OF_METHODS.values()
    if not re.search(r"(models|numbers|weights|s)$", words)
)


def _join(names: Iterable[str]) -> str:
    return join_words(shorten_list(names))
