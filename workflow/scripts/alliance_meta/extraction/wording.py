"""Words for reviewers: nearest names, lists and shortened cells."""

from collections.abc import Iterable, Mapping

from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

# below this likeness (0 to 100) a suggestion confuses more than it helps
LIKENESS = 80.0

# in words this short one wrong letter is already below that likeness
SHORT_WORD = range(3, 5)


def nearest(word: str, choices: Mapping[str, str] | Iterable[str]) -> str | None:
    """Return the choice that looks most like ``word``, or None if none comes near.

    Parameters
    ----------
    word
        What the reviewer wrote, already reduced as the choices are.
    choices
        The spellings; of a mapping, the value of the nearest key is returned.
    """
    names = choices if isinstance(choices, Mapping) else {choice: choice for choice in choices}
    found = process.extractOne(word, names.keys(), scorer=fuzz.ratio, score_cutoff=LIKENESS)
    return _nearest_short(word, names) if found is None else names[found[0]]


def _nearest_short(word: str, names: Mapping[str, str]) -> str | None:
    """Return what a short word with one letter wrong, or two swapped, can only mean."""
    if len(word) not in SHORT_WORD:
        return None
    meant = {
        name
        for key, name in names.items()
        if key[:1] == word[:1] and len(key) == len(word) and OSA.distance(word, key) == 1
    }
    return meant.pop() if len(meant) == 1 else None


def shorten(text: str, length: int = 60) -> str:
    """Return ``text`` on one line, cut to ``length`` characters."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def listed(names: Iterable[str], limit: int | None = None) -> str:
    """Return names with commas, at most ``limit`` of them."""
    names = list(names)
    if limit is not None and len(names) > limit:
        return ", ".join(names[:limit]) + ", …"
    return ", ".join(names)
