"""The methods section in words, built from what was computed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from alliance_meta.figures.wording import humanise
from alliance_meta.formatting import format_count, format_number, join_words
from alliance_meta.report.content import AnalysisContent
from alliance_meta.report.procedures import MULTILEVEL_MODELS, Part, describe_procedures
from alliance_meta.report.sources import MethodSources
from alliance_meta.report.tables import Cell, TableView, make_table, print_count
from alliance_meta.report.trust_methods import describe_trust_methods
from alliance_meta.report.wording import (
    CONVERSIONS,
    FLAGS,
    capitalise,
    describe_conversion,
    describe_level_of_confidence,
)

# settings that decide how an analysis is computed
_SETTINGS = (
    "model",
    "tau2",
    "inference",
    "metric",
    "rho",
    "ci_level",
    "prediction",
    "separate_tau2",
    "scale",
    "attenuation",
    "reliability",
)

_TAU2 = {
    "DL": ("the DerSimonian–Laird estimator", "dersimonian1986"),
    "HE": ("the Hedges estimator", "hedges1983"),
    "HS": ("the Hunter–Schmidt estimator", "hunter2004"),
    "SJ": ("the Sidik–Jonkman estimator", "sidik2005"),
    "EB": ("the empirical Bayes estimator", "morris1983"),
    "PM": ("the Paule–Mandel estimator", "paule1982"),
    "ML": ("maximum likelihood", "viechtbauer2005"),
    "REML": ("restricted maximum likelihood", "viechtbauer2005"),
}


@dataclass(frozen=True)
class MethodGroup:
    """Analyses that were computed alike, and what is said of them and not of all others."""

    title: str
    analyses: tuple[str, ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Methods:
    """What holds for all analyses, for each group of them, and what was done beside the models.

    A lone group has no entry.
    """

    common: tuple[str, ...]
    groups: tuple[MethodGroup, ...]
    procedures: tuple[Part, ...] = ()


def describe_methods(analyses: Iterable[AnalysisContent], sources: MethodSources) -> Methods:
    """Describe how the analyses were computed; nothing is said twice.

    Parameters
    ----------
    analyses
        The analyses with their resolved specifications.
    sources
        Gives the citations, and keeps what was cited.
    """
    analyses = list(analyses)
    alike: dict[str, list[AnalysisContent]] = {}
    for analysis in analyses:
        spec = analysis.model["specification"]
        key = json.dumps([spec[name] for name in _SETTINGS], sort_keys=True, default=str)
        alike.setdefault(key, []).append(analysis)
    told = [(members, _describe(members, sources)) for members in alike.values()]
    if not told:
        return Methods((), ())
    common = [s for s in told[0][1] if all(s in sentences for _, sentences in told)]
    titles = [members[0].model["model_label"].split(",")[0] for members, _ in told]
    groups = [
        MethodGroup(
            # the whole label where its first words name several groups
            capitalise(title if titles.count(title) == 1 else members[0].model["model_label"]),
            tuple(member.title for member in members),
            tuple(s for s in sentences if s not in common),
        )
        for title, (members, sentences) in zip(titles, told, strict=True)
    ]
    procedures = (
        *describe_procedures(analyses, sources),
        *describe_trust_methods(analyses, sources),
    )
    return Methods(tuple(common), tuple(groups) if len(groups) > 1 else (), procedures)


def _describe(members: Sequence[AnalysisContent], sources: MethodSources) -> list[str]:
    spec = members[0].model["specification"]
    moderated = any(member.model["specification"]["moderators"] for member in members)
    sentences = [
        _describe_metric(spec, sources),
        *_describe_model(spec, sources),
        *_describe_inference(spec, sources, moderated=moderated),
        _describe_intervals(spec, sources),
        _describe_variance_intervals(members, sources),
        _describe_shares(members, sources),
    ]
    return [sentence for sentence in sentences if sentence]


def _describe_metric(spec: Mapping[str, Any], sources: MethodSources) -> str:
    if spec["metric"] == "fisher_z":
        return (
            "Correlations were turned into Fisher's z for all computations, because the sampling "
            "variance of z does not depend on its size, and turned back into r for this report "
            f"{sources.cite('fisher1921')}."
        )
    if spec["metric"] == "r":
        return "Correlations were analysed as they are, without transformation."
    return "Effects were analysed on their own scale, with the standard errors the studies report."


def _describe_model(spec: Mapping[str, Any], sources: MethodSources) -> list[str]:
    rho = format_number(spec["rho"], 2, leading_zero=False)
    weights = "Studies were weighted by the precision of their effects"
    if spec["model"] == "common_effect":
        return [
            "All studies were taken to estimate one and the same true value (common-effect "
            "model); differences between them count as sampling error.",
            f"{weights}.",
        ]
    if spec["model"] in MULTILEVEL_MODELS:
        return _describe_levels(spec, sources)
    random = (
        "True values were allowed to differ from study to study (random-effects model); the "
        "pooled estimate is their mean."
    )
    if spec["model"] == "rve":
        return [
            random,
            "Several effects of one study all entered; since they share their participants, they "
            "were weighted by the correlated-effects scheme, which gives a study no more weight "
            f"for reporting more effects {sources.cite('hedges2010')}. Sampling errors within a "
            f"study were assumed to correlate at ρ = {rho}.",
        ]
    sentences = [random]
    if spec["model"] == "aggregated":
        sentences.append(
            "Several effects of one sample were first merged into one composite, assuming that "
            f"their sampling errors correlate at ρ = {rho} {sources.cite('borenstein2009')}."
        )
    elif spec["model"] == "random_effects":
        sentences.append("Each effect was taken as independent of the others.")
    if spec["scale"]:
        words, _ = _TAU2.get(spec["tau2"], (spec["tau2"], ""))
        sentences.append(
            "The variance between studies (τ²) was allowed to vary with features of studies: its "
            f"logarithm follows {_formula_words(spec['scale'])} (location–scale model), fitted by "
            f"{words} {sources.cite('viechtbauer2022')}."
        )
    elif spec["tau2"] in _TAU2:
        words, key = _TAU2[spec["tau2"]]
        sentences.append(
            f"The variance between studies (τ²) was estimated by {words} {sources.cite(key)}."
        )
    elif spec["tau2"]:
        sentences.append(f"The variance between studies (τ²) was estimated by {spec['tau2']}.")
    if spec["separate_tau2"]:
        sentences.append("Each level of the moderator has a τ² of its own.")
    return sentences


def _describe_levels(spec: Mapping[str, Any], sources: MethodSources) -> list[str]:
    """Describe a model with variances between and within studies."""
    rho = format_number(spec["rho"], 2, leading_zero=False)
    sentences = [
        "True values were allowed to differ between studies and, within a study, between its "
        "effects: a three-level model with random intercepts for study and effect "
        f"{sources.cite('konstantopoulos2011', 'vandennoortgate2013')}. The pooled estimate is the "
        "mean of the true values."
    ]
    if spec["model"] == "che":
        sentences.append(
            "Sampling errors of effects from one sample were assumed to correlate at "
            f"ρ = {rho} (correlated and hierarchical effects; CHE) "
            f"{sources.cite('pustejovsky2022')}."
        )
    else:
        sentences.append("Sampling errors were taken as independent of each other.")
    words, _ = _TAU2.get(spec["tau2"], (spec["tau2"], ""))
    sentences.append(f"Both variances were estimated by {words}.")
    if spec["separate_tau2"]:
        sentences.append("Each level of the moderator has variances of its own.")
    return sentences


def _formula_words(formula: str) -> str:
    terms = [term.strip() for term in formula.split("+")]
    if all(term.isidentifier() for term in terms):
        return join_words([humanise(term) for term in terms])
    return f"the terms {formula}"


def _describe_inference(
    spec: Mapping[str, Any], sources: MethodSources, *, moderated: bool
) -> list[str]:
    if spec["inference"] == "cr2":
        keys = ["tipton2015"]
        if spec["model"] in MULTILEVEL_MODELS:
            keys.append("pustejovsky2018")
        text = (
            "Standard errors are robust to dependence within a study, whatever its form (CR2, "
            "clustered on study), with Satterthwaite degrees of freedom "
            f"{sources.cite(*keys)}."
        )
        if moderated:
            text += (
                " Several coefficients were tested together by the approximate Hotelling test "
                "(HTZ) "
                f"{sources.cite('tipton2015b')}."
            )
        return [text]
    if spec["inference"] in ("knapp_hartung", "knapp_hartung_conservative"):
        text = (
            "Tests and confidence intervals use the Knapp–Hartung adjustment, which takes the "
            f"uncertainty of τ² into account {sources.cite('knapp2003')}."
        )
        if spec["inference"] == "knapp_hartung_conservative":
            text += " It was never allowed to make a standard error smaller."
        return [text]
    if spec["inference"] == "t":
        return ["Tests and confidence intervals use the t distribution."]
    return ["Tests and confidence intervals use the normal distribution."]


def _describe_intervals(spec: Mapping[str, Any], sources: MethodSources) -> str:
    percent = describe_level_of_confidence(spec["ci_level"])
    text = f"Confidence intervals (CI) have a level of {percent}."
    # neither has one heterogeneity that a further study could be expected to show
    if spec["model"] == "common_effect" or (spec.get("scale") and not spec["moderators"]):
        return text
    if spec["prediction"] == "hts":
        df = "with the degrees of freedom of"
    else:
        df = "with the degrees of freedom of the test of the mean, after"
    text += (
        " Prediction intervals (PI) of the same level show where the true value of a further "
        f"study like these is expected, {df} Higgins et al. "
        f"{sources.cite('higgins2009').replace('Higgins et al., ', '')}"
    )
    if spec["model"] in MULTILEVEL_MODELS:
        text += "; the variances between and within studies both enter"
    return f"{text}."


def _describe_variance_intervals(members: Sequence[AnalysisContent], sources: MethodSources) -> str:
    spec = members[0].model["specification"]
    rows = (row for member in members for row in member.model["heterogeneity"])
    if not any(r["parameter"].startswith("tau2") and r.get("ci_low") is not None for r in rows):
        return ""
    if spec["model"] in MULTILEVEL_MODELS or spec["separate_tau2"]:
        return "Confidence intervals of the variances rest on the profile likelihood."
    return (
        "Confidence intervals of τ² come from the Q-profile method "
        f"{sources.cite('viechtbauer2007')}."
    )


def _describe_shares(members: Sequence[AnalysisContent], sources: MethodSources) -> str:
    rows = (row for member in members for row in member.model["heterogeneity"])
    if not any(row["parameter"] == "I2_between" for row in rows):
        return ""
    return (
        "I² was split into a share between studies and a share within studies "
        f"{sources.cite('nakagawa2012')}."
    )


def conversion_table(effects: pd.DataFrame, sources: MethodSources) -> TableView:
    """Return how many effects were converted in which way, and after whom."""
    rows = []
    for code, count in effects["conversion"].dropna().value_counts().sort_index().items():
        keys = CONVERSIONS.get(str(code), ("", ()))[1]
        source = sources.cite(*keys).strip("()")
        rows.append((int(count), capitalise(describe_conversion(str(code))), source or "–"))
    rows.sort(key=lambda row: (-row[0], row[1]))
    printed = [(words, print_count(count), source) for count, words, source in rows]
    headings = ("How the effect was obtained", "#Effects", "Method")
    return make_table("From the reported statistic to the effect size", headings, printed)


def flag_table(effects: pd.DataFrame) -> TableView:
    """Return the assumptions behind the conversions, with the number of effects each touches."""
    flags = effects["flags"].dropna().str.split(";").explode().str.strip()
    counts = flags[flags != ""].value_counts()
    rows = sorted(
        (-int(n), capitalise(FLAGS.get(str(f), humanise(str(f))))) for f, n in counts.items()
    )
    printed = [(Cell(words), print_count(-count)) for count, words in rows]
    return make_table("What had to be assumed or worked out", ("Assumption", "#Effects"), printed)


def describe_software(versions: Mapping[str, str]) -> str:
    """Return the programs and their versions in one sentence; "" if none is known."""
    if not versions:
        return ""
    programs = [f"{name} {versions[name]}" for name in sorted(versions, key=str.casefold)]
    return f"Computed with {join_words(programs)}."


def describe_data(effects: pd.DataFrame, n_excluded: int) -> str:
    """Return the size of the data in one sentence."""
    parts = [
        format_count(effects["study_id"].nunique(), "study", "studies"),
        format_count(effects["sample_id"].nunique(), "independent sample"),
        format_count(len(effects), "effect size"),
    ]
    text = f"The sheets hold {join_words(parts)} that can be pooled"
    years = effects["year"].dropna()
    if len(years):
        first, last = int(years.min()), int(years.max())
        text += f", published in {first}" if first == last else f", published {first} to {last}"
    text += "."
    if n_excluded:
        verb = "stands" if n_excluded == 1 else "stand"
        text += (
            f" {format_count(n_excluded, 'further row')} {verb} in the sheets but cannot be "
            "pooled; each is listed below with its reason."
        )
    return text
