"""The synthesis report: one offline page."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from alliance_meta.citations import study_labels
from alliance_meta.codebook import Codebook, load_codebook
from alliance_meta.formatting import format_count, format_effect, format_interval
from alliance_meta.problems import NOTE_PREFIX
from alliance_meta.report.bibliography import Reference, format_references
from alliance_meta.report.content import AnalysisContent, ReportContent
from alliance_meta.report.effects import StudyNames, excluded_table, included_table
from alliance_meta.report.heterogeneity import further_table, heterogeneity_table
from alliance_meta.report.inference import (
    coefficient_table,
    collinearity_table,
    comparison_table,
    scale_table,
)
from alliance_meta.report.layers import LayerView, study_table, view_layers
from alliance_meta.report.methods import (
    conversion_table,
    describe_data,
    describe_methods,
    describe_software,
    flag_table,
)
from alliance_meta.report.moderators import view_moderator_map
from alliance_meta.report.pictures import FigureView, view_figure
from alliance_meta.report.sources import MethodSources
from alliance_meta.report.tables import (
    TableView,
    code_tables,
    left_out_table,
    notes_table,
    number,
    overview_table,
    pair_table,
    print_count,
    summary_table,
)
from alliance_meta.report.trust import TrustView, view_trust
from alliance_meta.report.trust_context import NamedEffects, TrustContext
from alliance_meta.report.trust_methods import used_assessments
from alliance_meta.report.wording import (
    Labels,
    describe_level_of_confidence,
    is_correlation,
    name_effect,
)

# features whose counts every reader sees; those of the others are folded
MAIN_FEATURES = ("instrument", "rater", "timing", "outcome_domain")

# tables of an analysis that are files for every analysis
MAIN_TABLES = ("summary", "heterogeneity", "coefficients", "included_effects", "left_out_effects")
# and those that are worth naming only where they have rows
FURTHER_TABLES = ("comparisons", "collinearity", "scale_coefficients", "study_estimates")

TEMPLATES = Path(__file__).parent / "templates"

_LETTER = re.compile(r"\((?:\d+|n\.d\.-)([a-z]+)\)$")


@dataclass(frozen=True)
class AnalysisView:
    """One analysis as the page prints it; tables without rows are left out by the template."""

    anchor: str
    title: str
    model_label: str
    where: str
    moderators: str
    scale: str
    reference_levels: tuple[str, ...]
    failure: str
    sentences: tuple[str, ...]
    warnings: tuple[str, ...]
    figures: tuple[FigureView, ...]
    summary: TableView
    heterogeneity: TableView
    folded: tuple[tuple[str, TableView, str], ...]
    layers: tuple[LayerView, ...]
    trust: TrustView | None
    left_out: TableView
    n_included: str
    folder: str
    files: tuple[str, ...]
    trust_files: tuple[str, ...]


@dataclass(frozen=True)
class KeyResult:
    """The first analysis in one sentence and, if there is an estimate, in big numbers."""

    title: str
    model_label: str
    sentence: str
    symbol: str
    value: str
    percent: str
    interval: str
    prediction: str
    correlation: bool
    counts: tuple[tuple[str, str], ...]
    agreement: str
    trust_anchor: str


@dataclass(frozen=True)
class ReferenceEntry:
    """A reference with its anchor and the names under which the tables cite it."""

    anchor: str
    reference: Reference
    cited_as: tuple[str, ...]


def render_report(content: ReportContent, codebook: Codebook | None = None) -> str:
    """Render the synthesis report.

    Parameters
    ----------
    content
        What the page shows.
    codebook
        Words for codes; default: the codebook that ships with the package.

    Returns
    -------
    str
        A complete HTML page that loads nothing from elsewhere and runs no script. The same
        content gives the same text, byte by byte.
    """
    labels = Labels(codebook or load_codebook())
    sources = MethodSources.load()
    excluded_rows = content.effects["exclude_reason"].notna()
    effects, excluded = content.effects[~excluded_rows], content.effects[excluded_rows]
    names, references = _cite_studies(content)
    analyses = _view_analyses(content, labels, NamedEffects.of(content.effects, names.labels))
    anchored = list(zip((view.anchor for view in analyses), content.analyses, strict=True))
    further = [name for name in labels.codebook.columns if name not in MAIN_FEATURES]
    metric, ci_level = content.settings["metric"], float(content.settings["ci_level"])
    page: dict[str, Any] = {
        "title": content.title.strip() or "Synthesis",
        "question": content.question.strip(),
        "caution": content.caution.strip(),
        "style": Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        "key_result": _key_result(content.analyses[0], analyses[0]) if analyses else None,
        "counts": _count_data(effects, excluded),
        "data_sentence": describe_data(effects, len(excluded)),
        "codes": code_tables(effects, labels, MAIN_FEATURES),
        "more_codes": code_tables(effects, labels, further),
        "notes": notes_table(content.notes, NOTE_PREFIX),
        "conversions": conversion_table(effects, sources),
        "flags": flag_table(effects),
        "methods": describe_methods(content.analyses, sources),
        "software": describe_software(content.versions),
        "overview": overview_table(anchored) if len(analyses) > 1 else None,
        "analyses": analyses,
        "moderator_map": view_moderator_map(content.moderator_map, content.moderator_pairs, labels),
        "effects": included_table(effects, names, labels, metric=metric, ci_level=ci_level),
        "excluded": excluded_table(excluded, names, labels),
        "references": references,
        # last, when everything that cites has been written
        "method_references": format_references(sources.cited_items()),
        "seed": content.settings.get("seed"),
        "versions": pair_table("Programs", ("Program", "Version"), content.versions),
        "inputs": pair_table("Files that went in", ("File", "SHA-256"), content.input_hashes),
        "correlation": is_correlation(metric),
        "used": _used_terms(content.analyses),
        "percent": describe_level_of_confidence(ci_level),
    }
    return _environment().get_template("page.html.j2").render(page)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _cite_studies(content: ReportContent) -> tuple[StudyNames, list[ReferenceEntry]]:
    """Label the studies and tie them to their references, letters after the year included."""
    labels = study_labels(content.effects, content.references)
    cited = content.effects[["citation_key", "study_id"]].dropna().drop_duplicates()
    by_key: dict[str, list[str]] = {}
    for key, study in sorted(cited.itertuples(index=False)):
        by_key.setdefault(str(key), []).append(labels[str(study)])
    letters = {}
    for key, names in by_key.items():
        letter = _LETTER.search(names[0])
        # several studies of one paper share one entry, which then carries no letter
        if len(names) == 1 and letter:
            letters[key] = letter.group(1)
    entries = [
        ReferenceEntry(
            f"reference-{index}",
            reference,
            tuple(sorted(by_key[reference.key])) if len(by_key.get(reference.key, ())) > 1 else (),
        )
        for index, reference in enumerate(format_references(content.references, letters), start=1)
    ]
    anchors = {entry.reference.key: entry.anchor for entry in entries}
    return StudyNames(labels, anchors), entries


def _view_analyses(
    content: ReportContent, labels: Labels, named: NamedEffects
) -> list[AnalysisView]:
    views: list[AnalysisView] = []
    taken: set[str] = set()
    said: set[str] = set()
    contexts = [TrustContext(analysis, labels, named) for analysis in content.analyses]
    # where a reader of an analysis with moderators finds what is of one mean
    other = next((c.content.title for c in contexts if c.content.bias and not c.moderated), "")
    for index, context in enumerate(contexts, start=1):
        name = context.content.name
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or str(index)
        anchor = f"analysis-{slug}"
        if anchor in taken:
            anchor = f"{anchor}-no-{index}"
        taken.add(anchor)
        views.append(_view_analysis(anchor, context, said, other))
    return views


def _view_analysis(anchor: str, context: TrustContext, said: set[str], other: str) -> AnalysisView:
    content, labels = context.content, context.labels
    model = content.model
    spec = model["specification"]
    names = [row["term"] for row in model["coefficients"] if "[" in row["term"]]
    names += [row["level"] for row in model["summary"] if "=" in row["level"]]
    on_resampling = model["layer_sentences"].get("resampling", ())
    folded = (
        ("Coefficients of the model", coefficient_table(model, labels), ""),
        ("Levels compared pairwise", comparison_table(model, labels), ""),
        ("What the heterogeneity goes with", scale_table(model, labels), ""),
        ("Overlap of the moderators", collinearity_table(model, labels), ""),
        ("Further measures of heterogeneity and fit", further_table(model, labels), ""),
        ("Estimated true values of the studies", study_table(model, labels), "studies"),
    )
    return AnalysisView(
        anchor=anchor,
        title=content.title,
        model_label=model["model_label"],
        where=spec["where"] or "",
        moderators=spec["moderators"] or "",
        scale=spec["scale"] or "",
        reference_levels=tuple(
            labels.level(f"{column}={level}") for column, level in model["references"].items()
        ),
        failure=model["failure"],
        sentences=tuple(
            labels.sentence(sentence, names) for sentence in (*model["sentences"], *on_resampling)
        ),
        warnings=tuple(labels.sentence(warning, names) for warning in model["warnings"]),
        figures=tuple(view_figure(figure) for figure in content.figures if figure.part != "trust"),
        summary=summary_table(model, labels),
        heterogeneity=heterogeneity_table(model, labels),
        folded=tuple((words, table, kind) for words, table, kind in folded if table.rows),
        layers=view_layers(model, labels, said),
        trust=view_trust(context, other if other != content.title else ""),
        left_out=left_out_table(content.left_out),
        n_included=_count_included(content.included),
        folder=f"results/{content.name}/",
        files=tuple(f"{name}.csv" for name in _table_names(model)),
        trust_files=_trust_files(content),
    )


def _table_names(model: Mapping[str, Any]) -> list[str]:
    further = [name for name in FURTHER_TABLES if model[name]]
    return [*MAIN_TABLES, *further, *sorted(model["layers"])]


def _trust_files(content: AnalysisContent) -> tuple[str, ...]:
    """Return what the files on trust in a result are called."""
    stems = {name.partition("_")[0] for name, table in content.trust.items() if len(table)}
    return tuple(f"{stem}*.csv" for stem in ("sensitivity", "bias", "multiverse") if stem in stems)


def _used_terms(analyses: Sequence[AnalysisContent]) -> set[str]:
    """Return which of the words that need explaining the page uses."""
    used = used_assessments(analyses)
    for analysis in analyses:
        model = analysis.model
        used |= {figure.name for figure in analysis.figures}
        used |= set(model["layers"])
        used |= {name for name in ("withheld", "collinearity", "comparisons") if model[name]}
        used |= {str(model["specification"]["model"])}
    return used


def _count_included(included: pd.DataFrame) -> str:
    """Count the rows that the model weighs, and those that only the figure shows."""
    weighed = int(included["weight"].notna().sum())
    shown_only = len(included) - weighed
    text = f"{format_count(weighed, 'row')} in the model"
    return f"{text}, {shown_only:,} more shown only" if shown_only else text


def _key_result(content: AnalysisContent, view: AnalysisView) -> KeyResult:
    model = content.model
    metric = model["specification"]["metric"]
    row: Mapping[str, Any] = next(iter(model["summary"]), {})
    estimate = number(row.get("estimate"))
    shown = not model["failure"] and not pd.isna(estimate)
    counted = (
        ("studies", "k_studies"),
        ("samples", "k_samples"),
        ("effect sizes", "k_effects"),
        ("participants", "n_total"),
    )
    return KeyResult(
        title=content.title,
        model_label=model["model_label"],
        sentence=next(iter(model["sentences"]), ""),
        symbol=name_effect(metric),
        value=format_effect(estimate, metric) if shown else "",
        percent=describe_level_of_confidence(model["specification"]["ci_level"]),
        interval=_interval(row, "ci", metric) if shown else "",
        prediction=_interval(row, "pi", metric) if shown else "",
        correlation=is_correlation(metric),
        counts=tuple(
            (name, print_count(row[key]))
            for name, key in counted
            if shown and not pd.isna(number(row.get(key)))
        ),
        agreement=view.trust.agreement if view.trust and shown else "",
        trust_anchor=f"{view.anchor}-trust",
    )


def _interval(row: Mapping[str, Any], kind: str, metric: str) -> str:
    low, high = number(row.get(f"{kind}_low")), number(row.get(f"{kind}_high"))
    return format_interval(low, high, metric)


def _count_data(effects: pd.DataFrame, excluded: pd.DataFrame) -> list[tuple[str, str]]:
    participants = effects.groupby("sample_id")["n"].max().sum(min_count=1)
    return [
        ("studies", print_count(effects["study_id"].nunique())),
        ("independent samples", print_count(effects["sample_id"].nunique())),
        ("effect sizes", print_count(len(effects))),
        ("participants", print_count(participants)),
        ("rows excluded", print_count(len(excluded))),
    ]
