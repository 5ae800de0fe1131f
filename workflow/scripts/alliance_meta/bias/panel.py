"""One panel of all corrections: what each assumes, what it gives, whether the conclusion holds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from alliance_meta.assessments import Assessment
from alliance_meta.formatting import join_words
from alliance_meta.models.result_tables import reporting_scale
from alliance_meta.models.rows import ModelRows

PANEL_COLUMNS = [
    "method",
    "assumption",
    "estimate",
    "ci_low",
    "ci_high",
    "p_value",
    "conclusion_holds",
    "label",
]
ANALYSIS = "analysis"
# repeats PET or PEESE, so the count of corrections leaves it out
CONDITIONAL = "pet_peese"
ASSUMPTIONS = {
    ANALYSIS: ("the analysis itself", "no selection"),
    "pet": ("PET", "effect changes linearly with its standard error"),
    "peese": ("PEESE", "effect changes linearly with its sampling variance"),
    CONDITIONAL: ("PET-PEESE", "PEESE where PET finds an effect, else PET"),
    "trim_and_fill_L0": ("trim and fill (L0)", "the complete funnel is symmetric"),
    "trim_and_fill_R0": ("trim and fill (R0)", "the complete funnel is symmetric"),
    "trim_and_fill_Q0": ("trim and fill (Q0)", "the complete funnel is symmetric"),
    "henmi_copas": ("Henmi and Copas", "large studies are hardly selected"),
    "3psm": ("three-parameter selection model", "results that are not significant appear less"),
    "4psm": (
        "four-parameter selection model",
        "results that are not significant, or of the other sign, appear less",
    ),
    "beta": ("beta selection model", "the chance to appear changes smoothly with the p-value"),
    "worst_case": ("worst case", "no limit to how much affirmative results are favoured"),
}
P_UNIFORM_ASSUMPTION = "significant results all have the same chance to appear"
P_UNIFORM_STAR_ASSUMPTION = (
    "significant results have one chance to appear, others another, whatever their size"
)
SELECTION_ROWS = ("3psm", "4psm", "beta")
# methods whose label is a common noun
WITH_ARTICLE = (*SELECTION_ROWS, "worst_case")
SMALL_NUMBERS = (
    "none",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)


@dataclass(frozen=True)
class Correction:
    """A corrected mean on the analysis metric; NaN where it could not be estimated."""

    method: str
    label: str
    assumption: str
    estimate: float
    ci_low: float
    ci_high: float
    p_value: float


def judge_conclusion(own: tuple[float, float, float], corrected: tuple[float, float, float]) -> str:
    """Return whether a corrected result leads to the same conclusion.

    Parameters
    ----------
    own, corrected
        Estimate and interval, (estimate, low, high).

    Returns
    -------
    str
        "yes" where both intervals hold zero, or both lie on the same side of it and the estimates
        with them; "no" where not; "unclear" where a number is missing.
    """
    if not np.isfinite([*own, *corrected]).all():
        return "unclear"
    if _side(*own[1:]) != _side(*corrected[1:]):
        return "no"
    # two results that are compatible with zero say the same, whatever their signs
    same = _side(*own[1:]) == 0 or np.sign(own[0]) == np.sign(corrected[0])
    return "yes" if same else "no"


def _side(low: float, high: float) -> int:
    return int(low > 0) - int(high < 0)


def assess_panel(rows: ModelRows, tables: Mapping[str, pd.DataFrame]) -> Assessment:
    """Set all corrections beside the analysis.

    Parameters
    ----------
    rows
        The analysis, of one mean.
    tables
        Tables of the other assessments, by name; those that are absent were not asked for.

    Returns
    -------
    Assessment
        Table ``bias_panel`` on the reporting scale, the analysis first.
    """
    empty = pd.DataFrame(columns=PANEL_COLUMNS)
    if rows.has_moderators:
        sentence = (
            "The panel of corrections is of one mean; with moderators in the model there is none "
            "to correct."
        )
        return Assessment("panel", {"bias_panel": empty}, (sentence,))
    e = rows.fit.contrast(np.ones(1))
    own = (e.value, e.ci_low, e.ci_high)
    corrections = [
        Correction(ANALYSIS, *ASSUMPTIONS[ANALYSIS], *own, e.p_value),
        *_collect(tables),
    ]
    table = pd.DataFrame(
        [
            (
                c.method,
                c.assumption,
                *reporting_scale(np.array([c.estimate, c.ci_low, c.ci_high]), rows.spec.metric),
                c.p_value,
                judge_conclusion(own, (c.estimate, c.ci_low, c.ci_high)),
                c.label,
            )
            for c in corrections
        ],
        columns=PANEL_COLUMNS,
    )
    sentences = _describe(table)
    if rows.spec.scale and sentences:
        sentences.append("The corrections take one τ² for all effects, unlike the analysis.")
    return Assessment("panel", {"bias_panel": table}, tuple(sentences))


def _collect(tables: Mapping[str, pd.DataFrame]) -> Iterator[Correction]:
    """Yield the corrections in a fixed order."""
    if "bias_pet_peese" in tables:
        for name, variant in (("pet", "pet"), ("peese", "peese"), (CONDITIONAL, "conditional")):
            yield _correction(name, tables["bias_pet_peese"], variant=variant)
    if "bias_trim_and_fill" in tables:
        table = tables["bias_trim_and_fill"]
        chosen = table.loc[table["chosen"].astype(bool)]
        for estimator in ("L0", "R0", "Q0"):
            yield _correction(f"trim_and_fill_{estimator}", chosen, estimator=estimator)
    if "bias_henmi_copas" in tables:
        yield _correction("henmi_copas", tables["bias_henmi_copas"])
    if "bias_selection" in tables:
        table = tables["bias_selection"]
        for model in SELECTION_ROWS:
            if table.empty or model in set(table["model"]):
                yield _correction(model, table, model=model, term="mu")
    if "bias_p_uniform" in tables:
        table = tables["bias_p_uniform"]
        for name in dict.fromkeys(table["method"] if len(table) else ["p_uniform_star"]):
            yield _p_uniform(str(name), table)
    if "bias_worst_case" in tables:
        yield _correction("worst_case", tables["bias_worst_case"], quantity="worst_case")


def _p_uniform(name: str, table: pd.DataFrame) -> Correction:
    star = "star" in name or "*" in name
    return _correction(
        name,
        table,
        ("p-uniform*", P_UNIFORM_STAR_ASSUMPTION) if star else ("p-uniform", P_UNIFORM_ASSUMPTION),
        method=name,
    )


def _correction(
    name: str, table: pd.DataFrame, words: tuple[str, str] | None = None, **where: str
) -> Correction:
    """Return the row of a table that fits all conditions; NaN if there is none."""
    for column, value in where.items():
        table = table.loc[table[column] == value]
    numbers = [np.nan] * 4
    if len(table):
        row = table.iloc[0]
        numbers = [
            float(row[column]) if column in row else np.nan
            for column in ("estimate", "ci_low", "ci_high", "p_value")
        ]
    return Correction(name, *(words or ASSUMPTIONS[name]), *numbers)


def _describe(table: pd.DataFrame) -> list[str]:
    corrections = table.loc[~table["method"].isin([ANALYSIS, CONDITIONAL])]
    if corrections.empty:
        return []
    if table["conclusion_holds"].iloc[0] == "unclear":
        return ["The analysis has no interval, so that corrections have no conclusion to change."]
    holds, changes, silent = (
        [
            f"the {label}" if method in WITH_ARTICLE else label
            for method, label, found in zip(
                corrections["method"],
                corrections["label"],
                corrections["conclusion_holds"],
                strict=True,
            )
            if found == verdict
        ]
        for verdict in ("yes", "no", "unclear")
    )
    sentences = []
    n_clear = len(holds) + len(changes)
    if n_clear:
        noun = "correction" if n_clear == 1 else "corrections"
        of = _in_words(n_clear)
        if not changes:
            count = f"all {of} {noun} leave" if n_clear > 1 else f"the one {noun} leaves"
        else:
            count = f"{_in_words(len(holds))} of {of} {noun} "
            count += "leaves" if len(holds) < 2 else "leave"
        text = f"{count} the conclusion unchanged"
        if changes and holds:
            text += f"; {join_words(changes)} {'does' if len(changes) == 1 else 'do'} not"
        sentences.append(f"{text[:1].upper()}{text[1:]}.")
    if silent:
        verb = "gives" if len(silent) == 1 else "give"
        names = join_words(silent)
        sentences.append(
            f"{names[:1].upper()}{names[1:]} {verb} no estimate with an interval, and so no answer."
        )
    return sentences


def _in_words(count: int) -> str:
    return SMALL_NUMBERS[count] if count < len(SMALL_NUMBERS) else str(count)
