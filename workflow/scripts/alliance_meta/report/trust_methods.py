"""How far results can be trusted: what was done, in words, with its references."""

from collections.abc import Sequence

from alliance_meta.formatting import join_words
from alliance_meta.report.content import AnalysisContent
from alliance_meta.report.sources import MethodSources
from alliance_meta.report.tables import print_text

# a heading and its sentences
Part = tuple[str, tuple[str, ...]]

# method of a selection model -> its references
_SELECTION_SOURCES = {
    "3psm": "vevea1995",
    "4psm": "vevea1995",
    "steps": "vevea1995",
    "beta": "citkowicz2017",
    "vevea_woods": "vevea2005",
}
_FAIL_SAFE_SOURCES = {
    "rosenthal": "rosenthal1979",
    "orwin": "orwin1983",
    "rosenberg": "rosenberg2005",
}


def describe_trust_methods(
    analyses: Sequence[AnalysisContent], sources: MethodSources
) -> tuple[Part, ...]:
    """Describe how it was assessed how sure the results are; what no analysis has is not said.

    Parameters
    ----------
    analyses
        All analyses of the page.
    sources
        Gives the citations, and keeps what was cited.
    """
    parts = (
        ("Single studies", _describe_single(analyses, sources)),
        ("Decisions of the reviewers", _describe_decisions(analyses, sources)),
        ("Missing studies", _describe_missing(analyses, sources)),
        ("Further studies", _describe_further(analyses)),
    )
    return tuple((title, tuple(sentences)) for title, sentences in parts if sentences)


def used_assessments(analyses: Sequence[AnalysisContent]) -> set[str]:
    """Return the names of the tables that have rows in any analysis."""
    return {name for analysis in analyses for name, table in analysis.trust.items() if len(table)}


def _found(analyses: Sequence[AnalysisContent], table: str, column: str) -> set[str]:
    """Return the values of a column over all analyses."""
    values: set[str] = set()
    for analysis in analyses:
        found = analysis.trust.get(table)
        if found is not None and column in found:
            values |= {print_text(value) for value in found[column].dropna()}
    return values


def _describe_single(analyses: Sequence[AnalysisContent], sources: MethodSources) -> list[str]:
    used = used_assessments(analyses)
    sentences = []
    if "sensitivity_leave_one_out" in used:
        sentences.append(
            "Every model was fitted anew without each study, and without each effect, in turn."
        )
    if "sensitivity_influence" in used:
        sentences.append(
            "Studentised deleted residuals, Cook's distances, DFBETAS and COVRATIO tell which "
            f"effects and studies are unusual or weigh much {sources.cite('viechtbauer2010')}."
        )
    if "sensitivity_baujat" in used:
        sentences.append(
            "Each study's part in the heterogeneity was set against how far the result moves "
            f"without it {sources.cite('baujat2002')}."
        )
    if "sensitivity_gosh_summary" in used:
        sentences.append(
            "The model was fitted to subsets of the studies, all of them or many drawn at random, "
            f"for a graphical display of study heterogeneity {_abbreviated(sources)}."
        )
    if "sensitivity_cumulative" in used:
        sentences.append(
            f"Studies were added one by one in a given order {sources.cite('lau1992')}."
        )
    return sentences


def _describe_decisions(analyses: Sequence[AnalysisContent], sources: MethodSources) -> list[str]:
    used = used_assessments(analyses)
    sentences = []
    if "sensitivity_rho" in used:
        sentences.append("The assumed correlation of sampling errors was varied over its range.")
    if "sensitivity_leave_class_out" in used:
        classes = sorted(_found(analyses, "sensitivity_leave_class_out", "by"))
        words = [
            "conversion route" if name == "conversion" else name.replace("_", " ")
            for name in classes
        ]
        sentences.append(f"All effects of one {join_words(words, 'or')} were left out at a time.")
    if "sensitivity_weights" in used:
        sentences.append(
            "The same effects were pooled with fixed and with equal weights, with robust errors "
            "where effects depend on each other."
        )
    if "sensitivity_coders" in used:
        sentences.append(
            "Where two coders differ, their versions were mixed at random many times, and the "
            "analysis run on each mixture."
        )
    if "multiverse_options" in used:
        sentences.append(
            "A multiverse analysis took one result through every combination of decisions that can "
            f"be defended {sources.cite('steegen2016')}; the estimates, sorted, form its "
            f"specification curve {sources.cite('simonsohn2020')}. Their variance was divided "
            "among the decisions by the Shapley shares of R²."
        )
    return sentences


def _describe_missing(analyses: Sequence[AnalysisContent], sources: MethodSources) -> list[str]:
    used = used_assessments(analyses)
    sentences = []
    if any(figure.name == "funnel" for analysis in analyses for figure in analysis.figures):
        sentences.append(
            "Funnel plots show in which zones a single result is significant: a gap among results "
            "that would be significant has other reasons than their p-values "
            f"{sources.cite('peters2008')}."
        )
    if "bias_egger" in used:
        sentences.append(
            "Whether small studies show more was tested by regression on the standard error "
            f"{sources.cite('egger1997')}, with dependent effects in the model of the analysis and "
            "cluster-robust errors."
        )
    if "bias_rank" in used:
        sentences.append(
            f"A rank test asks the same of one composite per study {sources.cite('begg1994')}."
        )
    if "bias_pet_peese" in used:
        sentences.append(
            "PET and PEESE extrapolate the regression to a study without sampling error; PET-PEESE "
            "takes PEESE where PET finds an effect in the direction of the review "
            f"{sources.cite('stanley2014')}."
        )
    if "bias_trim_and_fill" in used:
        sentences.append(
            "Trim and fill adds the mirror images of studies until the funnel is symmetric "
            f"{sources.cite('duval2000')}."
        )
    if "bias_henmi_copas" in used:
        sentences.append(
            "Common-effect weights, which give small studies little say, were combined with an "
            f"interval that allows for heterogeneity {sources.cite('henmi2010')}."
        )
    sentences += _describe_selection(analyses, sources)
    if "bias_p_uniform" in used:
        sentences.append(
            "p-uniform* estimates the mean from how p-values are distributed among significant and "
            f"among other results {sources.cite('vanaert2026')}."
        )
    if "bias_worst_case" in used:
        sentences.append(
            "The S-value is how many times likelier significant results in the favoured direction "
            "would have to be published to explain a result away; the worst case pools only the "
            f"other results {sources.cite('mathur2020')}."
        )
    if "bias_excess_significance" in used:
        sentences.append(
            "The number of significant results was compared with the number that the model expects "
            f"{sources.cite('ioannidis2007')}."
        )
    methods = {
        name.removesuffix("_weighted") for name in _found(analyses, "bias_fail_safe", "method")
    }
    keys = [key for name, key in _FAIL_SAFE_SOURCES.items() if name in methods]
    if keys:
        sentences.append(
            "Fail-safe numbers are given because they are often asked for; they are weak evidence "
            f"{sources.cite(*keys)}."
        )
    if "bias_panel" in used:
        sentences.append(
            "The panel sets the corrected means side by side; it draws no verdict of its own. A "
            "conclusion holds where the corrected mean has the same sign, and is significant where "
            "the analysis is."
        )
    return sentences


def _describe_selection(analyses: Sequence[AnalysisContent], sources: MethodSources) -> list[str]:
    models = _found(analyses, "bias_selection", "model")
    keys = {
        key
        for stem, key in _SELECTION_SOURCES.items()
        if any(model.startswith(stem) for model in models)
    }
    if not keys:
        return []
    text = (
        "Selection models let the chance that a result appears depend on its p-value "
        f"{sources.cite(*sorted(keys))}"
    )
    if "cluster_bootstrap" in _found(analyses, "bias_selection", "method"):
        text += "; their intervals come from a bootstrap that draws whole studies"
    return [f"{text}."]


def _describe_further(analyses: Sequence[AnalysisContent]) -> list[str]:
    if "sensitivity_power" not in used_assessments(analyses):
        return []
    return [
        "What further studies would add was worked out for studies like those seen, with the "
        "variances taken as known."
    ]


def _abbreviated(sources: MethodSources) -> str:
    return f"(GOSH; {sources.cite('olkin2012').strip('()')})"
