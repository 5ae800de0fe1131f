"""Short labels of studies, as text and figures cite them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd


def short_citation(item: Mapping[str, Any]) -> tuple[str, str]:
    """Return author part and year of a reference in APA manner.

    Parameters
    ----------
    item
        A CSL-JSON item.

    Returns
    -------
    authors, year
        For instance ("Webb et al.", "2011"); either may be empty.
    """
    names = [
        str(author.get("family") or author.get("literal") or "").strip()
        for author in item.get("author", [])
    ]
    names = [" ".join(name.split()) for name in names if name]
    # "Perry and others" in BibTeX: the further authors are not named
    if len(names) > 1 and names[-1].rstrip(".").casefold() in ("et al", "others"):
        authors = f"{names[0]} et al."
    elif len(names) == 2:
        authors = f"{names[0]} & {names[1]}"
    elif len(names) > 2:
        authors = f"{names[0]} et al."
    else:
        authors = "".join(names)
    parts = item.get("issued", {}).get("date-parts", [[]])
    year = str(parts[0][0]) if parts and parts[0] else ""
    return authors, year


def study_labels(effects: pd.DataFrame, references: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return one distinct label per study, such as "Webb et al. (2011)".

    Parameters
    ----------
    effects
        Columns ``study_id``, ``citation_key`` and ``year``.
    references
        CSL-JSON items whose ``id`` is the citation key.

    Returns
    -------
    dict
        Study -> label. Studies without author keep their ``study_id``; equal labels are
        told apart by letters after the year, in the order of the sheet.
    """
    by_key = {str(item["id"]): item for item in references}
    parts: dict[str, tuple[str, str]] = {}
    for study, rows in effects.groupby("study_id", sort=False):
        keys = rows["citation_key"].dropna()
        item = by_key.get(str(keys.iloc[0]), {}) if len(keys) else {}
        authors, year = short_citation(item)
        years = rows["year"].dropna()
        if not year and len(years):
            year = str(int(years.iloc[0]))
        parts[str(study)] = (authors, year)

    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for study, (authors, year) in parts.items():
        if authors:
            groups[authors, year].append(study)
    labels = {study: study for study in parts}
    for (authors, year), studies in groups.items():
        for index, study in enumerate(studies):
            letter = _letter(index) if len(studies) > 1 else ""
            inside = f"{year or 'n.d.'}{'-' if letter and not year else ''}{letter}"
            labels[study] = f"{authors} ({inside})"
    return labels


def _letter(index: int) -> str:
    """Return a, b, …, z, aa, ab and so on."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters
