"""The sentences a paper would print, made from an analysis's tables."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from alliance_meta.formatting import (
    format_count,
    format_df,
    format_effect,
    format_interval,
    format_number,
    format_p,
    join_words,
)
from alliance_meta.models.analysis import AnalysisResult
from alliance_meta.models.comparisons import describe_comparisons
from alliance_meta.models.gate import OMNIBUS
from alliance_meta.models.resampling import Resampling
from alliance_meta.models.specification import INFERENCE_LABELS, MODEL_LABELS

# above this a p-value counts as no clear evidence
SIGNIFICANCE_LEVEL = 0.05


def model_label(result: AnalysisResult) -> str:
    """Return model, estimator and inference in words, for captions and methods."""
    spec = result.spec
    parts = [MODEL_LABELS[str(spec.model)]]
    if spec.model in ("aggregated", "rve", "che"):
        parts.append(f"ρ = {format_number(spec.rho, 2, leading_zero=False)}")
    if spec.tau2 and spec.model != "rve":
        parts.append(f"{spec.tau2} estimate of τ²")
    if spec.separate_tau2:
        parts.append("separate τ² for each level")
    if spec.scale:
        parts.append(f"log τ² modelled by {moderator_words(spec.scale)}")
    if spec.attenuation == "corrected":
        parts.append("effects corrected for attenuation")
    parts.append(INFERENCE_LABELS[str(spec.inference)])
    return ", ".join(parts)


def describe_analysis(
    result: AnalysisResult,
    level_label: Callable[[str], str] = lambda name: name,
    resampling: Resampling | None = None,
) -> list[str]:
    """Return the result in sentences, numbers taken from the result's own tables.

    Parameters
    ----------
    result
        A finished analysis.
    level_label
        Turns a level name of ``summary.csv`` (``rater=client``) into a reader's words.
    resampling
        Tests by resampling, which take the place of p-values that are withheld.
    """
    if result.failure:
        return [f"No estimate: {result.failure}"]
    p_words = _PWords(result, resampling)
    sentences = [_pooled_sentence(result, p_words)]
    if result.spec.model != "common_effect":
        sentences.append(_heterogeneity_sentence(result, level_label))
    if result.spec.moderators:
        sentences += _moderator_sentences(result, level_label, p_words)
        if "QM_p" in set(result.heterogeneity["parameter"]):
            sentences += describe_comparisons(
                result.comparisons, metric=result.spec.metric, level_label=level_label
            )
    if result.spec.scale:
        sentences.append(_scale_sentence(result))
    return [s for s in sentences if s]


@dataclass(frozen=True)
class _PWords:
    """Words for p-values; where one is withheld, the reason and a test by resampling."""

    result: AnalysisResult
    resampling: Resampling | None

    def __call__(self, term: str, p_value: float) -> str:
        if pd.notna(p_value):
            return f"p {format_p(p_value)}"
        reason = self.result.withheld.get(term)
        if reason is None:
            return "no test possible"
        words = f"p withheld because {reason}"
        instead = self.substitute(term)
        return f"{words}; {instead}" if instead else words

    def p_value(self, term: str) -> float:
        """Return the p-value by resampling; NaN if there is none."""
        return np.nan if self.resampling is None else self.resampling.p_value(term)

    def can_reach(self, level: float, term: str) -> bool:
        """Return whether the test by resampling has enough ways to fall below a level."""
        return self.resampling is not None and self.resampling.smallest_p(term) < level

    def substitute(self, term: str) -> str:
        """Return "permutation p = .034 (10,000 permutations)"; "" if there is none."""
        if self.resampling is None or np.isnan(self.p_value(term)):
            return ""
        table, kind, noun = self.resampling.permutation, "permutation", "permutations"
        if term not in set(table["term"]):
            table, kind, noun = self.resampling.bootstrap, "wild bootstrap", "replications"
        row = _row(table, "term", term)
        count = int(row["permutations" if noun == "permutations" else "replications"])
        extent = f"all {count:,} {noun}" if row["exact"] else f"{count:,} {noun}"
        if not self.can_reach(SIGNIFICANCE_LEVEL, term):
            extent += f", too few for any p below {format_p(self.resampling.smallest_p(term))[2:]}"
        return f"{kind} p {format_p(self.p_value(term))} ({extent})"


def moderator_words(formula: str) -> str:
    """Return a moderator formula in words where it only adds columns up."""
    terms = [term.strip() for term in formula.split("+")]
    if all(term.isidentifier() for term in terms):
        return join_words([term.replace("_", " ") for term in terms])
    return f"the terms {formula}"


def _symbol(metric: str) -> str:
    return "effect" if metric == "generic" else "r"


def _row(table: pd.DataFrame, key: str, value: str) -> pd.Series:
    return table.loc[table[key] == value].iloc[0]


def _ci_words(result: AnalysisResult) -> str:
    return f"{100 * result.spec.ci_level:g} % CI"


def _pooled_sentence(result: AnalysisResult, p_words: _PWords) -> str:
    row = result.summary.iloc[0]
    metric = result.spec.metric
    base = [
        format_count(int(row["k_studies"]), "study", "studies"),
        format_count(int(row["k_samples"]), "sample"),
        format_count(int(row["k_effects"]), "effect"),
    ]
    if pd.notna(row["n_total"]):
        base.append(f"N = {int(row['n_total']):,}")
    value = format_effect(row["estimate"], metric)
    interval = format_interval(row["ci_low"], row["ci_high"], metric)
    noun = "effect" if metric == "generic" else "correlation"
    verb = "was" if result.spec.metric == "generic" else "was r ="
    text = f"The pooled {noun} over {join_words(base)} {verb} {value}"
    if interval:
        text += f", {_ci_words(result)} {interval}"
    if not result.spec.moderators and len(result.coefficients):
        text += f", {_test_words(result.coefficients.iloc[0], p_words)}"
    return text + "."


def _test_words(row: pd.Series, p_words: _PWords) -> str:
    if pd.isna(row["statistic"]):
        return "no test possible"
    statistic = format_number(float(row["statistic"]))
    kind = "z" if pd.isna(row["df"]) else f"t({format_df(row['df'])})"
    return f"{kind} = {statistic}, {p_words(row['term'], row['p_value'])}"


def _heterogeneity_sentence(result: AnalysisResult, level_label: Callable[[str], str]) -> str:
    if result.heterogeneity.empty:
        return ""
    values = result.heterogeneity.set_index("parameter")["estimate"]
    metric = result.spec.metric
    kind = "Residual heterogeneity" if result.spec.moderators else "Heterogeneity"
    parts = _variance_parts(values, level_label)
    if pd.notna(values.get("Q")):
        q = format_number(values["Q"])
        parts.append(f"Q({format_df(values['Q_df'])}) = {q}, p {format_p(values['Q_p'])}")
    text = f"{kind}: {', '.join(parts)}"
    row = result.summary.iloc[0]
    interval = format_interval(row["pi_low"], row["pi_high"], metric)
    if interval and not result.spec.moderators:
        level = f"{100 * result.spec.ci_level:g}"
        noun = "effects" if metric == "generic" else "correlations"
        text += f"; {level} % of true {noun} in studies like these are expected in {interval}"
    return text + "."


def _variance_parts(values: pd.Series, level_label: Callable[[str], str]) -> list[str]:
    """Return variances in words, with I² where it is defined."""

    def number(value: float) -> str:
        return format_number(value, 3, leading_zero=False)

    parts = []
    if "tau2" in values:
        parts.append(f"τ² = {number(values['tau2'])}")
    for name in ("between", "within"):
        if pd.notna(values.get(f"tau2_{name}")):
            share = values.get(f"I2_{name}", np.nan)
            known = f" (I² = {format_number(share, 0)} %)" if pd.notna(share) else ""
            parts.append(f"τ² {name} studies = {number(values[f'tau2_{name}'])}{known}")
    for name in values.index:
        stem, bracket, level = str(name).partition("[")
        if bracket and stem.startswith("tau2") and pd.notna(values[name]):
            kind = stem.removeprefix("tau2").replace("_", " ")
            within = f"{kind} studies" if kind else ""
            parts.append(f"τ²{within} of {level_label(level[:-1])} = {number(values[name])}")
    if pd.notna(values.get("LRT_separate_tau2_p")):
        df = format_df(values["LRT_separate_tau2_df"])
        statistic = format_number(values["LRT_separate_tau2"])
        p_value = format_p(values["LRT_separate_tau2_p"])
        parts.append(f"against one τ² for all χ²({df}) = {statistic}, p {p_value}")
    if "I2" in values:
        total = "total I²" if "I2_between" in values else "I²"
        parts.append(f"{total} = {format_number(values['I2'], 0)} %")
    return parts


def _scale_sentence(result: AnalysisResult) -> str:
    values = result.heterogeneity.set_index("parameter")["estimate"]
    words = moderator_words(result.spec.scale)
    df1 = format_df(values["QS_df1"])
    if pd.isna(values["QS_df2"]):
        test = f"QS({df1}) = {format_number(values['QS'])}"
    else:
        test = f"F({df1}, {format_df(values['QS_df2'])}) = {format_number(values['QS'])}"
    p_value = values["QS_p"]
    if np.isnan(p_value):
        reason = result.withheld.get("scale", "")
        because = f", because {reason}" if reason else ""
        return f"Whether the heterogeneity varied with {words} cannot be judged here{because}."
    clear = p_value < SIGNIFICANCE_LEVEL
    verb = "varied" if clear else "was not clearly seen to vary"
    return f"The heterogeneity {verb} with {words}, {test}, p {format_p(p_value)}."


def _moderator_sentences(
    result: AnalysisResult, level_label: Callable[[str], str], p_words: _PWords
) -> list[str]:
    values = result.heterogeneity.set_index("parameter")["estimate"]
    if "QM_p" not in values:
        return ["With a single level there was nothing to compare."]
    df1, statistic = format_df(values["QM_df1"]), format_number(values["QM"])
    if np.isnan(values["QM"]) and OMNIBUS not in result.withheld:
        return ["The moderators could not be tested with these studies."]
    words = p_words(OMNIBUS, values["QM_p"])
    if np.isnan(values["QM"]):
        test = words
    elif pd.isna(values["QM_df2"]):
        test = f"QM({df1}) = {statistic}, {words}"
    else:
        test = f"F({df1}, {format_df(max(values['QM_df2'], 0.0))}) = {statistic}, {words}"
    p_value = values["QM_p"]
    if np.isnan(p_value) and p_words.can_reach(SIGNIFICANCE_LEVEL, OMNIBUS):
        p_value = p_words.p_value(OMNIBUS)
    moderator = moderator_words(result.spec.moderators)
    levels = result.summary.iloc[1:]
    tested = levels.loc[~levels["level"].isin(result.set_apart)]
    if np.isnan(p_value):
        text = f"Whether the association varied with {moderator} cannot be judged here, {test}"
    else:
        if p_value < SIGNIFICANCE_LEVEL:
            text = f"The size of the association varied with {moderator}, {test}"
        else:
            text = f"There was no clear evidence of variation with {moderator}, {test}"
        if np.isnan(values["QM_p"]):
            text = f"Judged by resampling, {text[:1].lower()}{text[1:]}"
    explained = values.get("R2", np.nan)
    if pd.notna(explained):
        text += f", R² = {format_number(explained, 0)} %"
    sentences = [text + "."]
    if len(tested):
        sentences.append(_levels_sentence(result, tested, level_label))
    if result.continuous:
        sentences.append(_slope_sentence(result, p_words))
    for name in result.set_apart:
        row = _row(result.summary, "level", name)
        value = format_effect(row["estimate"], result.spec.metric)
        base = format_count(int(row["k_studies"]), "study", "studies")
        sentences.append(
            f"{_capitalised(level_label(name))} ({base}, "
            f"{_symbol(result.spec.metric)} = {value}) was not tested."
        )
    return sentences


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _slope_sentence(result: AnalysisResult, p_words: _PWords) -> str:
    scale = " (Fisher's z)" if result.spec.metric == "fisher_z" else ""
    parts = []
    for _, row in result.coefficients.iterrows():
        # terms of levels alone are told by the level means
        columns = re.sub(r"\[[^\]]*\]", "", row["term"])
        if not any(re.search(rf"\b{re.escape(n)}\b", columns) for n in result.continuous):
            continue
        value = format_number(row["estimate"], 4)
        parts.append(f"{row['term']} b = {value}, {_test_words(row, p_words)}")
    return f"Coefficients{scale}: {'; '.join(parts)}."


def _levels_sentence(
    result: AnalysisResult, levels: pd.DataFrame, level_label: Callable[[str], str]
) -> str:
    metric = result.spec.metric
    parts = []
    for _, row in levels.iterrows():
        interval = format_interval(row["ci_low"], row["ci_high"], metric)
        studies = format_count(int(row["k_studies"]), "study", "studies")
        value = format_effect(row["estimate"], metric)
        parts.append(
            f"{level_label(row['level'])} {value} {interval} ({studies})".replace("  ", " ")
        )
    held = ""
    if result.continuous:
        names = join_words([name.replace("_", " ") for name in result.continuous])
        held = f" at the mean of {names}"
    return (
        f"Estimated {_symbol(metric)} by level{held}, with {_ci_words(result)}: {'; '.join(parts)}."
    )
