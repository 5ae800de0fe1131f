"""The sentences a paper would print, made from an analysis's tables."""

from collections.abc import Callable

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
from alliance_meta.models.specification import INFERENCE_LABELS, MODEL_LABELS

# above this a p-value counts as no clear evidence
SIGNIFICANCE_LEVEL = 0.05


def model_label(result: AnalysisResult) -> str:
    """Return model, estimator and inference in words, for captions and methods."""
    spec = result.spec
    parts = [MODEL_LABELS[str(spec.model)]]
    if spec.model in ("aggregated", "rve"):
        parts.append(f"ρ = {format_number(spec.rho, 2, leading_zero=False)}")
    if spec.tau2 and spec.model != "rve":
        parts.append(f"{spec.tau2} estimate of τ²")
    parts.append(INFERENCE_LABELS[str(spec.inference)])
    return ", ".join(parts)


def describe_analysis(
    result: AnalysisResult, level_label: Callable[[str], str] = lambda name: name
) -> list[str]:
    """Return the result in sentences, numbers taken from the result's own tables.

    Parameters
    ----------
    result
        A finished analysis.
    level_label
        Turns a level name of ``summary.csv`` (``rater=client``) into a reader's words.
    """
    if result.failure:
        return [f"No estimate: {result.failure}"]
    sentences = [_pooled_sentence(result)]
    if result.spec.model != "common_effect":
        sentences.append(_heterogeneity_sentence(result))
    if result.spec.moderators:
        sentences += _moderator_sentences(result, level_label)
    return [s for s in sentences if s]


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
    return f"{format_number(100 * result.spec.ci_level, 0)} % CI"


def _pooled_sentence(result: AnalysisResult) -> str:
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
        text += f", {_test_words(result.coefficients.iloc[0])}"
    return text + "."


def _test_words(row: pd.Series) -> str:
    statistic = format_number(float(row["statistic"]))
    if pd.isna(row["statistic"]):
        return "no test possible"
    if pd.isna(row["df"]):
        return f"z = {statistic}, p {format_p(row['p_value'])}"
    return f"t({format_df(row['df'])}) = {statistic}, p {format_p(row['p_value'])}"


def _heterogeneity_sentence(result: AnalysisResult) -> str:
    if result.heterogeneity.empty:
        return ""
    values = result.heterogeneity.set_index("parameter")["estimate"]
    metric = result.spec.metric
    kind = "Residual heterogeneity" if result.spec.moderators else "Heterogeneity"
    tau2 = format_number(values["tau2"], 3, leading_zero=False)
    i2 = format_number(values["I2"], 0)
    text = f"{kind}: τ² = {tau2}, I² = {i2} %"
    if pd.notna(values.get("Q")):
        q = format_number(values["Q"])
        text += f", Q({format_df(values['Q_df'])}) = {q}, p {format_p(values['Q_p'])}"
    row = result.summary.iloc[0]
    interval = format_interval(row["pi_low"], row["pi_high"], metric)
    if interval and not result.spec.moderators:
        level = format_number(100 * result.spec.ci_level, 0)
        noun = "effects" if metric == "generic" else "correlations"
        text += f"; {level} % of true {noun} in studies like these are expected in {interval}"
    return text + "."


def _moderator_sentences(result: AnalysisResult, level_label: Callable[[str], str]) -> list[str]:
    values = result.heterogeneity.set_index("parameter")["estimate"]
    if "QM_p" not in values:
        return ["With a single level there was nothing to compare."]
    p_value = values["QM_p"]
    df1 = format_df(values["QM_df1"])
    if np.isnan(p_value):
        return ["The moderators could not be tested with these studies."]
    if pd.isna(values["QM_df2"]):
        test = f"QM({df1}) = {format_number(values['QM'])}, p {format_p(p_value)}"
    else:
        df2 = format_df(values["QM_df2"])
        test = f"F({df1}, {df2}) = {format_number(values['QM'])}, p {format_p(p_value)}"
    clear = p_value < SIGNIFICANCE_LEVEL
    moderator = moderator_words(result.spec.moderators)
    levels = result.summary.iloc[1:]
    tested = levels.loc[~levels["level"].isin(result.set_apart)]
    if clear:
        text = f"The size of the association varied with {moderator}, {test}"
    else:
        text = f"There was no clear evidence of variation with {moderator}, {test}"
    explained = values.get("R2", np.nan)
    if pd.notna(explained):
        text += f", R² = {format_number(explained, 0)} %"
    sentences = [text + "."]
    if len(tested):
        sentences.append(_levels_sentence(result, tested, level_label))
    if result.continuous:
        sentences.append(_slope_sentence(result))
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


def _slope_sentence(result: AnalysisResult) -> str:
    scale = " (Fisher's z)" if result.spec.metric == "fisher_z" else ""
    parts = []
    for _, row in result.coefficients.iterrows():
        # terms of levels alone are told by the level means
        if not any(name in row["term"] for name in result.continuous):
            continue
        value = format_number(row["estimate"], 4)
        parts.append(f"{row['term']} b = {value}, {_test_words(row)}")
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
