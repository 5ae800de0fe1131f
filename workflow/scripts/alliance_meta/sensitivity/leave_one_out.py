"""Leave one study out, leave one effect out."""

from collections.abc import Callable, Collection

import numpy as np
import pandas as pd

from alliance_meta.assessments import Assessment
from alliance_meta.formatting import format_count, format_effect, join_words
from alliance_meta.models.refits import Refits, Refitter
from alliance_meta.models.result_tables import reporting_scale
from alliance_meta.models.rows import ModelRows
from alliance_meta.sensitivity.omission import omit_effects, study_names

NAME = "leave_one_out"
COLUMNS = [
    "unit",
    "left_out",
    "estimate",
    "se",
    "ci_low",
    "ci_high",
    "tau2",
    "I2",
    "Q",
    "tau2_between",
    "tau2_within",
    "term",
    "pi_low",
    "pi_high",
    "changes",
]
# so many omissions are named in a sentence
NAMED = 5


def assess_leave_one_out(
    rows: ModelRows,
    refitter: Refitter,
    *,
    withheld: Collection[str] = (),
    advance: Callable[[int], None] = lambda n: None,
) -> Assessment:
    """Fit the model without each independent study, and without each effect.

    Parameters
    ----------
    rows, refitter
        The rows of an analysis and what fits its model again.
    withheld
        Terms whose test is withheld: they cannot gain or lose significance.
    advance
        Told how many fits have been finished.

    Returns
    -------
    Assessment
        ``sensitivity_leave_one_out``: a row for each omission and term on the analysis metric;
        ``changes`` says whether sign or significance differ from the result of all rows.
    """
    everything = refitter.refit(np.ones((1, len(rows.y)), dtype=bool))
    studies = study_names(rows)
    keep = rows.independent != np.arange(len(studies))[:, None]
    by_study = refitter.refit(keep, advance=advance)
    names = [str(name) for name in rows.effects["effect_id"]]
    remaining = omit_effects(rows, np.eye(len(names), dtype=bool))
    by_effect = refitter.refit(
        remaining.keep,
        y=remaining.y,
        v=remaining.v,
        start=refitter.start_without_one(),
        advance=advance,
    )
    table = pd.concat(
        [
            _tabulate("study", studies, by_study, everything, rows, withheld),
            _tabulate("effect", names, by_effect, everything, rows, withheld),
        ],
        ignore_index=True,
    )
    sentences = _describe(table, everything, rows, len(studies))
    dependent = len(names) > len(studies)
    if dependent:
        sentences += _describe_effects(table, len(names), rows)
    sentences += _describe_failures(studies, by_study)
    return Assessment(NAME, {"sensitivity_leave_one_out": table}, tuple(sentences))


def changes_of(
    refits: Refits, everything: Refits, rows: ModelRows, withheld: Collection[str] = ()
) -> list[list[str]]:
    """Return for each refit and term what differs from the fit of all rows.

    Returns
    -------
    list of list of str
        "", "sign", "significance" or "sign and significance".
    """
    alpha = 1 - rows.spec.ci_level
    found = []
    for b in range(len(refits.estimate)):
        row = []
        for t, term in enumerate(rows.terms):
            estimate, p = refits.estimate[b, t], refits.p_value[b, t]
            whole, whole_p = everything.estimate[0, t], everything.p_value[0, t]
            words = []
            if np.sign(estimate) * np.sign(whole) < 0:
                words.append("sign")
            # a row left alone has an interval of another kind
            tested = refits.k[b] > 1 and term not in withheld
            tested = tested and np.isfinite(p) and np.isfinite(whole_p)
            if tested and (p < alpha) != (whole_p < alpha):
                words.append("significance")
            row.append(" and ".join(words))
        found.append(row)
    return found


def _tabulate(
    unit: str,
    names: list[str],
    refits: Refits,
    everything: Refits,
    rows: ModelRows,
    withheld: Collection[str],
) -> pd.DataFrame:
    changes = changes_of(refits, everything, rows, withheld)
    mean = not rows.has_moderators
    records = [
        (
            unit,
            name,
            refits.estimate[b, t],
            refits.se[b, t],
            refits.ci_low[b, t],
            refits.ci_high[b, t],
            refits.tau2[b],
            refits.I2[b],
            refits.Q[b],
            refits.tau2_between[b],
            refits.tau2_within[b],
            term,
            refits.pi_low[b] if mean else np.nan,
            refits.pi_high[b] if mean else np.nan,
            changes[b][t],
        )
        for b, name in enumerate(names)
        for t, term in enumerate(rows.terms)
    ]
    return pd.DataFrame(records, columns=COLUMNS)


def _describe(
    table: pd.DataFrame, everything: Refits, rows: ModelRows, n_studies: int
) -> list[str]:
    """Say how far whole studies move the result."""
    part = table.loc[(table["unit"] == "study") & table["estimate"].notna()]
    if part.empty:
        return ["No study can be left out: too few would remain."]
    sentences = []
    if not rows.has_moderators:
        metric = rows.spec.metric
        values = reporting_scale(part["estimate"].to_numpy(float), metric)
        low, high = int(np.argmin(values)), int(np.argmax(values))
        whole = reporting_scale(everything.estimate[0], metric)[0]
        noun = "effect" if metric == "generic" else "correlation"
        first, last = (format_effect(values[i], metric, 3) for i in (low, high))
        each = f"Leaving out one of {format_count(n_studies, 'study', 'studies')} at a time"
        if first == last:
            sentences.append(f"{each} leaves the pooled {noun} at {first} throughout.")
        else:
            sentences.append(
                f"{each} moves the pooled {noun} of {format_effect(whole, metric, 3)} to between "
                f"{first} (without {part['left_out'].iloc[low]}) and "
                f"{last} (without {part['left_out'].iloc[high]})."
            )
    moved = part.loc[(part["changes"] != "") & part["term"].isin(rows.telling_terms)]
    if moved.empty:
        what = "of any coefficient" if rows.has_moderators else "of the mean"
        return [*sentences, f"No single study changes the sign or significance {what}."]
    for term, found in moved.groupby("term", sort=False):
        words = [f"{row.left_out} ({row.changes})" for row in found.head(NAMED).itertuples()]
        rest = len(found) - NAMED
        if rest > 0:
            words.append(format_count(rest, "other"))
        name = "the mean" if not rows.has_moderators else str(term)
        sentences.append(f"What is concluded about {name} changes without {join_words(words)}.")
    return sentences


def _describe_effects(table: pd.DataFrame, n_effects: int, rows: ModelRows) -> list[str]:
    part = table.loc[
        (table["unit"] == "effect")
        & (table["changes"] != "")
        & table["term"].isin(rows.telling_terms)
    ]
    count = part["left_out"].nunique()
    if not count:
        return [f"No single one of the {n_effects:,} effects changes a sign or a significance."]
    verb = "changes" if count == 1 else "change"
    return [
        f"Of the {n_effects:,} effects, {count:,} {verb} the sign or significance of a coefficient "
        "when left out."
    ]


def _describe_failures(names: list[str], refits: Refits) -> list[str]:
    """Say without which studies the model cannot be fitted, and why."""
    reasons: dict[str, list[str]] = {}
    for name, reason in zip(names, refits.reasons, strict=True):
        if reason:
            reasons.setdefault(reason, []).append(name)
    sentences = []
    for reason, found in reasons.items():
        shown = found[:NAMED] + ([format_count(len(found) - NAMED, "other")] * (len(found) > NAMED))
        sentences.append(f"The model cannot be fitted without {join_words(shown)}: {reason}.")
    return sentences
