"""Tables of single effects: what was reported, what became of it, where it was read."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from alliance_meta.report.links import safe_link, shorten_address
from alliance_meta.report.tables import (
    Cell,
    TableView,
    make_table,
    number,
    print_count,
    print_text,
)
from alliance_meta.report.wording import (
    Labels,
    capitalise,
    describe_conversion,
    describe_estimate,
    describe_flags,
    describe_level_of_confidence,
    name_effect,
    print_reported,
)

Record = Mapping[str, Any]


@dataclass(frozen=True)
class StudyNames:
    """Study -> its label, and citation key -> anchor of its reference on the page."""

    labels: Mapping[str, str]
    anchors: Mapping[str, str]

    def cell(self, row: Record) -> Cell:
        """Return the study's cell: label linked to its reference, effect below."""
        study = print_text(row["study_id"])
        anchor = self.anchors.get(print_text(row["citation_key"]), "")
        href = f"#{anchor}" if anchor else ""
        return Cell(self.labels.get(study, study), print_text(row["effect_id"]), href)


def included_table(
    effects: pd.DataFrame, names: StudyNames, labels: Labels, *, metric: str, ci_level: float
) -> TableView:
    """Return the effects that can be pooled, in the order of their studies' labels.

    Parameters
    ----------
    effects
        Effect sizes table without its excluded rows.
    names, labels
        Words for studies and codes.
    metric
        Analysis metric of the review.
    ci_level
        Level of the intervals, which rest on each effect's own sampling variance.
    """
    quantile = NormalDist().inv_cdf(0.5 + ci_level / 2)
    rows = []
    for row in _in_label_order(effects, names):
        conversion = capitalise(describe_conversion(print_text(row["conversion"])))
        flags = capitalise("; ".join(describe_flags(print_text(row["flags"]))))
        rows.append(
            (
                names.cell(row),
                _estimate(row, metric, quantile),
                print_count(row["n"]),
                _reported(row, labels),
                _measure(row, labels),
                Cell(conversion, flags),
                _source(row),
                _place(row),
            )
        )
    percent = describe_level_of_confidence(ci_level)
    headings = (
        "Study",
        f"#{capitalise(name_effect(metric))} [{percent} CI]",
        "#n",
        "Reported",
        "Alliance and outcome",
        "Used as",
        "Source",
        "Sheet",
    )
    return make_table("All effects that can be pooled", headings, rows, wide=True)


def excluded_table(effects: pd.DataFrame, names: StudyNames, labels: Labels) -> TableView:
    """Return the rows that carry an ``exclude_reason``."""
    rows = [
        (
            names.cell(row),
            _reported(row, labels),
            capitalise(print_text(row["exclude_reason"])),
            _source(row),
            _place(row),
        )
        for row in _in_label_order(effects, names)
    ]
    headings = ("Study", "Reported", "Reason", "Source", "Sheet")
    return make_table("Effects that cannot be pooled", headings, rows, wide=True)


def _in_label_order(effects: pd.DataFrame, names: StudyNames) -> list[dict[str, Any]]:
    records = [{str(k): v for k, v in row.items()} for row in effects.to_dict("records")]
    return sorted(records, key=lambda row: names.cell(row).text.casefold())


def _reported(row: Record, labels: Labels) -> Cell:
    kind = labels.codebook.label("effect_type", print_text(row["effect_type"]))
    value = number(row["effect_value"])
    text = capitalise(kind) if pd.isna(value) else f"{capitalise(kind)} {print_reported(value)}"
    quote = print_text(row["quote"])
    return Cell(text, f"“{quote}”" if quote else "")


def _measure(row: Record, labels: Labels) -> Cell:
    version = print_text(row.get("instrument_version"))
    instrument = version or labels.short("instrument", print_text(row["instrument"]))
    rater = labels.value("rater", print_text(row["rater"]))
    timing = labels.value("timing", print_text(row["timing"]))
    alliance = ", ".join(
        part for part in (instrument, f"rated by {rater}" if rater else "", timing) if part
    )
    measure = print_text(row["outcome_measure"])
    domain = labels.value("outcome_domain", print_text(row["outcome_domain"]))
    outcome = f"{measure} ({domain})" if measure and domain else measure or domain
    return Cell(capitalise(alliance) or "–", f"with {outcome}" if outcome else "")


def _estimate(row: Record, metric: str, quantile: float) -> Cell | str:
    r = number(row["r"])
    if pd.isna(r):
        value, variance = number(row["yi"]), number(row["vi"])
        half = quantile * float(np.sqrt(variance))
        own = "" if metric == "generic" else "on its own scale"
        return Cell(describe_estimate(value, value - half, value + half, "generic"), own)
    if metric == "r":
        half = quantile * float(np.sqrt(number(row["vr"])))
        return describe_estimate(r, r - half, r + half, metric)
    z, half = number(row["z"]), quantile * float(np.sqrt(number(row["vz"])))
    return describe_estimate(r, float(np.tanh(z - half)), float(np.tanh(z + half)), metric)


def _source(row: Record) -> Cell:
    source = print_text(row["source"])
    link = safe_link(source)
    return Cell(shorten_address(source) if link else source, print_text(row["page"]), link)


def _place(row: Record) -> Cell:
    sheet = print_text(row["source_sheet"])
    line = print_count(row["source_row"])
    where = f"{sheet}, row {line}" if sheet else f"row {line}"
    return Cell(where, print_text(row["source_file"]))
