"""What was done beside fitting the models, in words: tests, corrections, further read-outs."""

from collections.abc import Mapping, Sequence
from typing import Any

from alliance_meta.formatting import format_number, join_words
from alliance_meta.report.content import AnalysisContent
from alliance_meta.report.sources import MethodSources
from alliance_meta.report.testing import OMNIBUS

Record = Mapping[str, Any]
# a heading and its sentences
Part = tuple[str, tuple[str, ...]]

MULTILEVEL_MODELS = ("three_level", "che")


def describe_procedures(
    analyses: Sequence[AnalysisContent], sources: MethodSources
) -> tuple[Part, ...]:
    """Describe what the analyses have beside their models; what none has is not said.

    Parameters
    ----------
    analyses
        All analyses of the page.
    sources
        Gives the citations, and keeps what was cited.
    """
    models = [analysis.model for analysis in analyses]
    parts = (
        ("Moderators", _describe_moderators(models)),
        ("Comparisons between levels", _describe_comparisons(models, sources)),
        ("Tests by resampling", _describe_resampling(models, sources)),
        ("P-values that are withheld", _describe_withheld(models, sources)),
        ("Estimates for single studies", _describe_studies(models, sources)),
        ("Unreliable measurement", _describe_attenuation(models, sources)),
        ("Psychometric meta-analysis", _describe_psychometric(models, sources)),
        ("Bayesian read-out", _describe_posterior(models, sources)),
    )
    return tuple((title, tuple(sentences)) for title, sentences in parts if sentences)


def _layer(models: Sequence[Record], name: str) -> list[Record]:
    return [row for model in models for row in model["layers"].get(name, ())]


def _describe_moderators(models: Sequence[Record]) -> list[str]:
    moderated = [model for model in models if model["specification"]["moderators"]]
    if not moderated:
        return []
    told: dict[tuple[str, ...], list[str]] = {}
    for model in moderated:
        told.setdefault(_describe_levels(model["specification"]), []).append(model["title"])
    sentences = [
        "Moderators entered as predictors of the effect size. Categories are compared with a "
        "reference level."
    ]
    for texts, titles in told.items():
        where = f" ({'; '.join(titles)})" if len(told) > 1 else ""
        sentences += [f"{text}{where}." for text in texts]
    return sentences


def _describe_levels(spec: Record) -> tuple[str, ...]:
    """Return what became of rare levels and missing codes, without full stops."""
    least = spec["minimum_studies"]
    fewer = "two studies" if least == 2 else f"{least} studies"
    rare = {
        "keep": "A level stays in the model however few studies it has; one with effects from a "
        "single study is shown but not tested",
        "set_apart": f"A level with effects from fewer than {fewer} is shown but not tested",
        "pool": f"A level with effects from fewer than {fewer} was counted under the wider code of "
        "the codebook; where there is none, it is shown but not tested",
    }
    missing = {
        "leave_out": "Effects without a value of a moderator did not enter",
        "level": "Effects without a value of a categorical moderator form a level of their own",
    }
    return rare[spec["rare_levels"]], missing[spec["missing_moderators"]]


def _describe_comparisons(models: Sequence[Record], sources: MethodSources) -> list[str]:
    sentences = []
    # with two levels there is one pair
    several = [model["comparisons"] for model in models if len(model["comparisons"]) > 1]
    if several:
        text = "Where a moderator has three levels or more, each is compared with each other"
        if any(row["p_holm"] is not None for rows in several for row in rows):
            text += f", with p-values adjusted after Holm {sources.cite('holm1979')}"
        sentences.append(f"{text}.")
    if any(len(model["collinearity"]) > 1 for model in models):
        sentences.append(
            "Variance inflation factors, generalised to terms of several coefficients, tell how "
            f"far the moderators of a model overlap {sources.cite('fox1992')}."
        )
    return sentences


def _describe_resampling(models: Sequence[Record], sources: MethodSources) -> list[str]:
    between_studies = between_effects = signs = bootstrap = False
    for model in models:
        spec = model["specification"]
        clustered = spec["inference"] == "cr2" or spec["model"] in MULTILEVEL_MODELS
        permuted = model["layers"].get("permutation", ())
        bootstrap |= bool(model["layers"].get("wild_bootstrap"))
        if permuted and clustered:
            between_studies = True
        elif any(row["term"] == OMNIBUS for row in permuted):
            between_effects = True
        elif permuted:
            signs = True
    sentences = []
    if between_studies:
        sentences.append(
            "Moderators that are constant within studies were also tested by permuting them "
            "between whole studies, each merged into one composite "
            f"{sources.cite('higgins2004')}."
        )
    if between_effects:
        sentences.append(
            "Moderators of independent effects were also tested by permuting them between "
            "effects, with everything estimated anew for each permutation "
            f"{sources.cite('higgins2004')}."
        )
    if signs:
        sentences.append(
            "The mean of independent effects was also tested by permuting the signs of effects "
            f"{sources.cite('follmann1999')}."
        )
    if bootstrap:
        sentences.append(
            "Means of dependent effects, and moderators that vary within studies, were also tested "
            "by the cluster wild bootstrap: residuals under the null hypothesis kept or changed "
            f"their sign, whole studies at a time {sources.cite('cameron2008', 'joshi2022')}."
        )
    rows = _layer(models, "permutation") + _layer(models, "wild_bootstrap")
    if any(row["exact"] for row in rows):
        sentences.append("Where so few arrangements exist, each was taken once.")
    return sentences


def _describe_withheld(models: Sequence[Record], sources: MethodSources) -> list[str]:
    if not any(model["withheld"] for model in models):
        return []
    return [
        "A p-value that the studies cannot carry is not printed: where it rests on fewer than 4 "
        f"robust degrees of freedom {sources.cite('tipton2015')}, where a single study "
        "decides the test, and where fewer than 10 studies stand behind each moderator "
        f"coefficient {sources.cite('borenstein2009')}. The reason stands below the table, and "
        "the test by resampling, where there is one, beside it."
    ]


def _describe_studies(models: Sequence[Record], sources: MethodSources) -> list[str]:
    if not any(model["study_estimates"] for model in models):
        return []
    return [
        "The true values of single studies were estimated by best linear unbiased prediction, "
        f"which draws each towards what the model expects {sources.cite('henderson1975')}."
    ]


def _describe_attenuation(models: Sequence[Record], sources: MethodSources) -> list[str]:
    cited = sources.cite("hunter2004") if _on_reliability(models) else ""
    sentences = []
    for model in models:
        sentence = _describe_correction(model["specification"], cited)
        if sentence and sentence not in sentences:
            sentences.append(sentence)
    if _layer(models, "attenuation"):
        sentences.append(
            "Results are shown as observed and corrected for unreliable measurement: each "
            "correlation divided by the square root of the product of both reliabilities, and its "
            f"sampling variance by that product {cited}. Reliabilities are taken as known."
        )
    if _layer(models, "attenuation_sweep"):
        sentences.append(
            "The mean was estimated again for a grid of reliabilities, assumed where none is "
            f"coded {cited}."
        )
    return sentences


def _on_reliability(models: Sequence[Record]) -> bool:
    corrected = any(model["specification"]["attenuation"] == "corrected" for model in models)
    return bool(corrected or _layer(models, "attenuation") or _layer(models, "attenuation_sweep"))


def _describe_correction(spec: Record, cited: str) -> str:
    if spec["attenuation"] != "corrected":
        return ""
    text = f"Correlations entered the models corrected for unreliable measurement {cited}"
    assumed = [
        f"{format_number(value, 2, leading_zero=False)} for the {side} measure"
        for side, value in spec["reliability"].items()
    ]
    if assumed:
        text += f"; where no reliability is known, {join_words(assumed)} was assumed"
    return f"{text}."


def _describe_psychometric(models: Sequence[Record], sources: MethodSources) -> list[str]:
    rows = _layer(models, "hunter_schmidt")
    if not rows:
        return []
    text = (
        "A psychometric meta-analysis takes one mean correlation of each sample, weights it by "
        "the sample's size, and subtracts the variance expected from sampling error "
        f"{sources.cite('hunter2004')}."
    )
    if any(row["corrected"] is not None for row in rows):
        text += " It was repeated with each correlation corrected for unreliable measurement."
    return [text]


def _describe_posterior(models: Sequence[Record], sources: MethodSources) -> list[str]:
    if not _layer(models, "posterior"):
        return []
    return [
        "The random-effects model of one composite per sample was also read in a Bayesian way: "
        "with a flat prior for the mean and the prior of τ that stands with the result, by "
        f"numerical integration over τ {sources.cite('rover2020')}."
    ]
