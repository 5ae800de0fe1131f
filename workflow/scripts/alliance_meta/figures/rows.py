"""What stands in the rows of a forest plot, and on which page; no drawing here."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from alliance_meta.figures.wording import (
    NOT_TESTED,
    OVERALL,
    clean,
    describe_counts,
    describe_effect,
    describe_percent,
    find_level,
    humanise,
    label_level,
    label_value,
)
from alliance_meta.formatting import format_interval, format_number

Kind = Literal["effect", "heading", "level", "overall", "prediction"]

# what may tell two effects of one study apart, tried in this order
DETAILS = (
    "component",
    "outcome_measure",
    "outcome_domain",
    "timing",
    "session",
    "outcome_rater",
    "treatment",
    "year",
)
IDENTIFIERS = ("sample_id", "study_id")
_PROSE = ("instrument", "instrument_version", "rater", "label", "level", "effect_id")
_NUMBERS = ("yi", "vi", "n", "estimate", "ci_low", "ci_high", "weight")


@dataclass(frozen=True)
class Row:
    """One row; numbers are on the reporting scale, NaN where there is none.

    ``gid`` names the row within the figure; ``detail`` tells effects of one study apart;
    ``group`` is the level a row belongs to, "" outside groups.
    """

    kind: Kind
    gid: str
    label: str
    detail: str = ""
    n: str = ""
    measure: str = ""
    rater: str = ""
    effect: str = ""
    weight_text: str = ""
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    weight: float = math.nan
    group: str = ""

    @property
    def tested(self) -> bool:
        """Whether there is an interval to draw."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def _texts(effects: pd.DataFrame, column: str) -> list[str]:
    if column not in effects:
        return [""] * len(effects)
    return [clean(value) for value in effects[column]]


def _describe_cells(effects: pd.DataFrame, column: str) -> list[str]:
    """Return cells as words; a bare number is named: "session 3"."""
    texts = _texts(effects, column)
    if column in IDENTIFIERS:
        return texts
    name = f"{humanise(column)} " if is_numeric_dtype(effects[column]) else ""
    return [name + humanise(text) if text else "" for text in texts]


def _weight(percent: float) -> str:
    if not math.isfinite(percent):
        return ""
    return "<0.1" if 0 < percent < 0.05 else format_number(percent, 1)


def find_details(effects: pd.DataFrame) -> list[str]:
    """Return for each effect the words that tell it from others of the same label.

    Only as many columns speak as are needed; what the measure and rater columns show
    already is not said again. Where a column speaks, a row without an entry in it says so.
    Effects that no column tells apart are numbered.

    Parameters
    ----------
    effects
        Table of included effects.

    Returns
    -------
    list of str
        One text per effect, "" where the label is enough.
    """
    shown = list(
        zip(
            _texts(effects, "instrument"),
            _texts(effects, "instrument_version"),
            _texts(effects, "rater"),
            strict=True,
        )
    )
    passed_on = [
        column
        for column in effects.columns
        if column not in (*DETAILS, *IDENTIFIERS, *_PROSE, *_NUMBERS)
    ]
    candidates = {
        column: _describe_cells(effects, column)
        for column in (*DETAILS, *passed_on, *IDENTIFIERS)
        if column in effects
    }
    details = [""] * len(effects)
    members: dict[str, list[int]] = {}
    for index, label in enumerate(_texts(effects, "label")):
        members.setdefault(label, []).append(index)
    for rows in members.values():
        keys: list[tuple[str, ...]] = [shown[row] for row in rows]
        said: list[list[str]] = [[] for _ in rows]
        speaking: list[str] = []
        for column, texts in candidates.items():
            if len(set(keys)) == len(rows):
                break
            longer = [(*key, texts[row]) for key, row in zip(keys, rows, strict=True)]
            if len(set(longer)) > len(set(keys)):
                keys = longer
                speaking.append(column)
                for words, row in zip(said, rows, strict=True):
                    words.append(texts[row])
        counts, numbers = Counter(keys), Counter[tuple[str, ...]]()
        for words, key, row in zip(said, keys, rows, strict=True):
            if speaking and not any(words):
                words.append(f"{humanise(speaking[0])} not reported")
            if counts[key] > 1:
                numbers[key] += 1
                words.append(f"no. {numbers[key]}")
            details[row] = ", ".join(filter(None, words))
    return details


def _effect_rows(effects: pd.DataFrame, metric: str) -> list[Row]:
    columns = {
        name: effects[name].to_numpy(dtype=float)
        for name in ("estimate", "ci_low", "ci_high", "weight")
    }
    versions, families = _texts(effects, "instrument_version"), _texts(effects, "instrument")
    labels = _texts(effects, "label")
    identifiers, raters = _texts(effects, "study_id"), _texts(effects, "rater")
    sizes = effects["n"].to_numpy(dtype=float)
    levels, details = _texts(effects, "level"), find_details(effects)
    rows = []
    for index in range(len(effects)):
        estimate, low, high, weight = (float(column[index]) for column in columns.values())
        rows.append(
            Row(
                kind="effect",
                gid=f"effect-{index}",
                label=labels[index] or identifiers[index],
                detail=details[index],
                n=f"{sizes[index]:.0f}" if math.isfinite(sizes[index]) else "",
                measure=humanise(versions[index] or families[index]),
                rater=humanise(raters[index]),
                effect=describe_effect(estimate, low, high, metric),
                weight_text=_weight(weight),
                estimate=estimate,
                low=low,
                high=high,
                weight=weight,
                group=levels[index],
            )
        )
    return rows


def _summary_row(row: Mapping[str, float], kind: Kind, gid: str, label: str, metric: str) -> Row:
    estimate, low, high = (float(row[name]) for name in ("estimate", "ci_low", "ci_high"))
    # effects on their own scale need no sample size
    total = float(row["n_total"]) if pd.notna(row["n_total"]) else math.nan
    return Row(
        kind=kind,
        gid=gid,
        label=label,
        n=f"{total:.0f}" if math.isfinite(total) else "",
        effect=describe_effect(estimate, low, high, metric),
        estimate=estimate,
        low=low,
        high=high,
    )


def build_rows(
    effects: pd.DataFrame,
    summary: pd.DataFrame,
    *,
    metric: str,
    ci_level: float,
    level_labels: Mapping[str, str] | None,
) -> list[Row]:
    """Return all rows of a forest plot from top to bottom.

    Parameters
    ----------
    effects, summary, metric, ci_level, level_labels
        As in `draw_forest`.

    Returns
    -------
    list of Row
        Effects, under headings where they have levels, then the pooled rows.
    """
    rows: list[Row] = []
    drawn = _effect_rows(effects, metric)
    present = list(dict.fromkeys(row.group for row in drawn if row.group))
    ordered = [level for level in summary["level"] if level in present]
    ordered += [level for level in present if level not in ordered]
    if any(not row.group for row in drawn):
        ordered.append("")
    studies = effects["study_id"].to_numpy()
    for number, level in enumerate(ordered if present else [""]):
        members = [row for row in drawn if row.group == level]
        if not present:
            rows += members
            continue
        name = label_level(level, level_labels) if level else "Level not coded"
        inside = [index for index, row in enumerate(drawn) if row.group == level]
        pooled = find_level(summary, level)
        k_studies = len(set(studies[inside])) if pooled is None else pooled["k_studies"]
        counts = describe_counts(float(k_studies), float(len(members)))
        rows.append(Row("heading", f"heading-{number}", name, f"({counts})", group=level))
        rows += members
        if pooled is not None and math.isfinite(pooled["estimate"]):
            value = label_value(level, level_labels)
            row = _summary_row(pooled, "level", f"level-{number}", f"Pooled, {value}", metric)
            if k_studies < 2:
                row = replace(row, label=value, detail=NOT_TESTED, n="")
            rows.append(replace(row, group=level))
    overall = find_level(summary, OVERALL)
    if overall is not None and math.isfinite(overall["estimate"]):
        rows.append(_summary_row(overall, "overall", "overall", "Pooled estimate", metric))
        low, high = float(overall["pi_low"]), float(overall["pi_high"])
        if math.isfinite(low) and math.isfinite(high):
            label = f"{describe_percent(ci_level)} prediction interval"
            text = format_interval(low, high, metric)
            rows.append(Row("prediction", "prediction", label, effect=text, low=low, high=high))
    return rows


def _bundle(rows: Sequence[Row]) -> list[list[Row]]:
    """Group rows that must share a page.

    A heading stays with its first effect, a pooled row with the effect before it.
    """
    bundles: list[list[Row]] = []
    headed = False
    for row in rows:
        joins = bool(bundles) and row.kind in ("level", "overall", "prediction")
        if headed or joins:
            bundles[-1].append(row)
        else:
            bundles.append([row])
        headed = row.kind == "heading"
    return bundles


def _fill(rows: Sequence[Row], limit: int) -> list[list[Row]]:
    pages: list[list[Row]] = [[]]
    for bundle in _bundle(rows):
        page = pages[-1]
        if page and len(page) + len(bundle) > limit:
            first = bundle[0]
            pages.append([])
            if first.kind != "heading" and first.group:
                heading = next(r for r in rows if r.kind == "heading" and r.group == first.group)
                detail = f"{heading.detail}, continued"
                pages[-1].append(replace(heading, detail=detail))
        pages[-1] += bundle
    return pages


def paginate(rows: Sequence[Row], rows_per_page: int) -> list[list[Row]]:
    """Share rows over as few pages as will do, about equally.

    A heading is never last on its page and comes again on the next; pooled rows stand
    together below an effect.

    Parameters
    ----------
    rows
        All rows in order.
    rows_per_page
        Most rows on a page, at least 6.

    Returns
    -------
    list of list of Row
        The pages.

    Raises
    ------
    ValueError
        If ``rows_per_page`` is below 6.
    """
    if rows_per_page < 6:
        raise ValueError(f"rows_per_page must be at least 6, not {rows_per_page}")
    fullest = _fill(rows, rows_per_page)
    for limit in range(max(6, int(np.ceil(len(rows) / len(fullest)))), rows_per_page):
        pages = _fill(rows, limit)
        if len(pages) == len(fullest):
            return pages
    return fullest
