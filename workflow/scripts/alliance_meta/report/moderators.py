"""The moderator map: which moderators of a review hang together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from alliance_meta.formatting import format_number, join_words
from alliance_meta.report.tables import (
    Cell,
    Record,
    TableView,
    make_table,
    number,
    print_count,
    print_text,
)
from alliance_meta.report.wording import EMPTY, Labels

# measure -> its name, and its symbol in the map
MEASURES = {
    "cramers_v": ("Cramér's V", ""),
    "eta2": ("η²", "η²"),
    "r": ("correlation", "r"),
}
# flag -> its mark in the map, and what it says
FLAGS = {
    "aliased": ("‡", "cannot be told apart"),
    "nearly_aliased": ("†", "can hardly be told apart"),
    "nested": ("*", "a level of the one lies within a level of the other"),
}
# associations from these on have deeper grounds
SHADES = (0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class ModeratorMapView:
    """Sentences on what cannot be told apart, the map, and all pairs."""

    sentences: tuple[str, ...]
    grid: TableView
    pairs: TableView


def view_moderator_map(
    moderator_map: Mapping[str, Any], pairs: pd.DataFrame, labels: Labels
) -> ModeratorMapView | None:
    """Return the moderator map; None for a review with fewer than two moderators.

    Parameters
    ----------
    moderator_map
        ``results/moderator_map.json``: ``moderators`` and ``sentences``.
    pairs
        ``results/moderator_map.csv``.
    labels
        Readers' words.
    """
    if pairs.empty:
        return None
    records: list[Record] = [
        {str(k): v for k, v in row.items()} for row in pairs.to_dict("records")
    ]
    return ModeratorMapView(
        tuple(labels.sentence(sentence) for sentence in moderator_map["sentences"]),
        map_table(moderator_map["moderators"], records, labels),
        pair_list(records, labels),
    )


def map_table(moderators: Sequence[str], records: Sequence[Record], labels: Labels) -> TableView:
    """Return the lower triangle of associations; small print is the number of studies."""
    found = {frozenset((row["moderator_a"], row["moderator_b"])): row for row in records}
    known = {
        name
        for row in records
        if not pd.isna(number(row["value"]))
        for name in (row["moderator_a"], row["moderator_b"])
    }
    shown = [name for name in moderators if name in known]
    rows = []
    for place, down in enumerate(shown[1:], start=1):
        cells = [Cell(labels.column(down))]
        for column, across in enumerate(shown[:-1]):
            row = found.get(frozenset((down, across)))
            cells.append(_map_cell(row) if row is not None and column < place else Cell(""))
        rows.append(cells)
    notes = ["Large: Cramér's V, or η² or r where marked. Small: number of studies."]
    flags = {str(row["flag"]) for row in records if print_text(row["flag"])}
    marks = [f"{mark} {words}" for flag, (mark, words) in FLAGS.items() if flag in flags]
    if marks:
        notes.append(f"{'; '.join(marks)}.")
    hidden = [labels.column(name) for name in moderators if name not in known]
    if hidden:
        notes.append(f"Without a value for any pair: {join_words(hidden)}.")
    headings = ("", *(f"#{labels.column(name)}" for name in shown[:-1]))
    return make_table("How strongly moderators go together", headings, rows, notes=notes)


def _map_cell(row: Record) -> Cell:
    value = number(row["value"])
    if pd.isna(value):
        return Cell(EMPTY)
    symbol = MEASURES.get(row["measure"], (row["measure"], row["measure"]))[1]
    mark = FLAGS.get(print_text(row["flag"]), ("", ""))[0]
    text = f"{symbol} {format_number(value, 2, leading_zero=False)}{mark}".strip()
    shade = sum(abs(value) >= step for step in SHADES)
    return Cell(text, print_count(row["k_studies"]), kind=f"shade-{shade}" if shade else "")


def pair_list(records: Sequence[Record], labels: Labels) -> TableView:
    """Return every pair of moderators with its association and what to know of it."""
    rows = []
    for row in records:
        names = [labels.column(row[key]) for key in ("moderator_a", "moderator_b")]
        measure = MEASURES.get(row["measure"], (row["measure"], ""))[0]
        value = number(row["value"])
        empty, cells = number(row["empty_cells"]), number(row["cells"])
        flag = print_text(row["flag"])
        note = labels.sentence(print_text(row["note"]))
        words = FLAGS[flag][1] if flag in FLAGS else flag
        rows.append(
            (
                join_words(names),
                measure,
                EMPTY if pd.isna(value) else format_number(value, 2, leading_zero=False),
                print_count(row["k_studies"]),
                print_count(row["k_effects"]),
                EMPTY if pd.isna(cells) else f"{empty:,.0f} of {cells:,.0f}",
                Cell(words[:1].upper() + words[1:], note) if words else Cell("", note),
            )
        )
    headings = (
        "Moderators",
        "Measure",
        "#Value",
        "#Studies",
        "#Effects",
        "#Empty combinations",
        "Note",
    )
    return make_table("All pairs of moderators", headings, rows, wide=True)
