"""Leave out all effects of one conversion route, one rater, or one other code."""

from collections.abc import Callable, Collection, Sequence

import numpy as np
import pandas as pd

from alliance_meta.assessments import Assessment
from alliance_meta.formatting import format_effect, join_words
from alliance_meta.models.refits import Refitter
from alliance_meta.models.result_tables import reporting_scale
from alliance_meta.models.rows import ModelRows
from alliance_meta.models.specification import SpecificationError
from alliance_meta.sensitivity.leave_one_out import changes_of
from alliance_meta.sensitivity.omission import NOT_CODED, class_names, omit_effects

NAME = "leave_class_out"
COLUMNS = [
    "by",
    "left_out",
    "k_studies",
    "k_effects",
    "estimate",
    "se",
    "ci_low",
    "ci_high",
    "tau2",
    "I2",
    "term",
    "changes",
    "reason",
]


def assess_leave_class_out(
    rows: ModelRows,
    refitter: Refitter,
    *,
    by: Sequence[str] = ("conversion", "rater"),
    withheld: Collection[str] = (),
    advance: Callable[[int], None] = lambda n: None,
) -> Assessment:
    """Fit the model without each class of effects.

    Parameters
    ----------
    rows, refitter
        The rows of an analysis and what fits its model again.
    by
        Columns whose values are left out in turn; effects without a value are a class.
    withheld
        Terms whose test is withheld.
    advance
        Told how many fits have been finished.

    Returns
    -------
    Assessment
        ``sensitivity_leave_class_out``: a row for each class and term on the analysis metric,
        with the studies and effects that are left.

    Raises
    ------
    SpecificationError
        If a column does not exist.
    """
    unknown = [column for column in by if column not in rows.effects.columns]
    if unknown:
        raise SpecificationError(
            f"there is no column {join_words([repr(c) for c in unknown])}",
            setting="sensitivity.leave_class_out",
        )
    names, masks, sentences = [], [], []
    for column in by:
        values = class_names(rows.effects[column])
        classes = sorted(values.unique())
        if len(classes) == 1:
            sentences.append(f"All effects have the same {_words(column)}, {classes[0]}.")
            continue
        names += [(column, value) for value in classes]
        masks += [(values == value).to_numpy() for value in classes]
    if not masks:
        empty = pd.DataFrame(columns=COLUMNS)
        return Assessment(NAME, {"sensitivity_leave_class_out": empty}, tuple(sentences))
    omitted = np.stack(masks)
    remaining = omit_effects(rows, omitted)
    refits = refitter.refit(remaining.keep, y=remaining.y, v=remaining.v, advance=advance)
    everything = refitter.refit(np.ones((1, len(rows.y)), dtype=bool))
    changes = changes_of(refits, everything, rows, withheld)
    studies = rows.effects["study_id"].to_numpy()
    records = [
        (
            column,
            value,
            len(set(studies[~omitted[b]])),
            int((~omitted[b]).sum()),
            refits.estimate[b, t],
            refits.se[b, t],
            refits.ci_low[b, t],
            refits.ci_high[b, t],
            refits.tau2[b],
            refits.I2[b],
            term,
            changes[b][t],
            refits.reasons[b],
        )
        for b, (column, value) in enumerate(names)
        for t, term in enumerate(rows.terms)
    ]
    table = pd.DataFrame(records, columns=COLUMNS)
    for column in by:
        sentences += _describe(table.loc[table["by"] == column], column, rows)
    return Assessment(NAME, {"sensitivity_leave_class_out": table}, tuple(sentences))


def _words(column: str) -> str:
    return "conversion route" if column == "conversion" else column.replace("_", " ")


def _without(value: str, column: str = "") -> str:
    """Return which class is left out; effects without a code are one."""
    if value == NOT_CODED:
        text = f"without effects that have no {column}" if column else "without those not coded"
    else:
        text = f"without {column} {value}".replace("  ", " ")
    return text[:1].upper() + text[1:] if column else text


def _describe(table: pd.DataFrame, column: str, rows: ModelRows) -> list[str]:
    known = table.loc[table["estimate"].notna()]
    if known.empty:
        return []
    sentences = []
    if not rows.has_moderators:
        metric = rows.spec.metric
        values = reporting_scale(known["estimate"].to_numpy(float), metric)
        low, high = int(np.argmin(values)), int(np.argmax(values))
        first, last = (
            f"{format_effect(values[i], metric, 3)} ({_without(known['left_out'].iloc[i])})"
            for i in (low, high)
        )
        one = f"Leaving out one {_words(column)} at a time"
        if format_effect(values[low], metric, 3) == format_effect(values[high], metric, 3):
            sentences.append(f"{one} leaves the result at {format_effect(values[low], metric, 3)}.")
        else:
            sentences.append(f"{one}, the result lies between {first} and {last}.")
    moved = known.loc[(known["changes"] != "") & known["term"].isin(rows.telling_terms)]
    for value, part in moved.groupby("left_out", sort=False):
        what = "the mean" if not rows.has_moderators else join_words([str(t) for t in part["term"]])
        verb = "changes" if len(part) == 1 else "change"
        changed = join_words(sorted({word for c in part["changes"] for word in c.split(" and ")}))
        sentences.append(f"{_without(str(value), _words(column))}, {what} {verb} in {changed}.")
    return sentences
