"""Text that fits: measured, shortened and wrapped by its width on paper."""

import re
import unicodedata
import warnings
from functools import lru_cache

from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.textpath import text_to_path

from alliance_meta.figures.theme import FALLBACK_FONTS, FONT, TEXT_SIZE

ELLIPSIS = "…"
# pixels round letters to whole widths, and a browser may use a slightly wider font
ALLOWANCE = 1.03
# inches; widths that were added up and taken apart again differ in their last digits
ROUNDING = 1e-6
# a year, or another short mark, that tells two long names apart
_TAIL = re.compile(r"(.*\S)\s+(\(?\d{4}[a-z]?\)?|\S{1,3})")


@lru_cache(maxsize=1)
def _known_letters() -> frozenset[int]:
    return frozenset(get_font(findfont(FONT)).get_charmap())


@lru_cache(maxsize=1)
def _installed_fallbacks() -> list[str]:
    installed = {entry.name for entry in fontManager.ttflist}
    return [name for name in FALLBACK_FONTS if name in installed]


def choose_families(text: str) -> list[str]:
    """Return the font families for ``text``: fallbacks only where DejaVu Sans lacks a letter."""
    if {ord(letter) for letter in text} <= _known_letters():
        return ["sans-serif"]
    return [FONT, *_installed_fallbacks(), "sans-serif"]


@lru_cache(maxsize=20_000)
def measure(text: str, size: float = TEXT_SIZE, weight: str = "normal") -> float:
    """Return the width to keep free for one line of text, a little above its own.

    Parameters
    ----------
    text
        One line.
    size
        Font size in points.
    weight
        "normal" or "bold".

    Returns
    -------
    float
        Inches.
    """
    if not text:
        return 0.0
    families = [FONT, *choose_families(text)[1:-1]]
    font = FontProperties(
        family=families,
        style="normal",
        variant="normal",
        weight=weight,
        stretch="normal",
        size=size,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        width, _, _ = text_to_path.get_text_width_height_descent(text, font, False)
    return ALLOWANCE * float(width) / 72


def _cut(text: str, width: float, size: float, weight: str) -> str:
    """Return the longest beginning of ``text`` that fits with an ellipsis."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if measure(text[:middle].rstrip() + ELLIPSIS, size, weight) <= width:
            low = middle
        else:
            high = middle - 1
    # an accent belongs to the letter before it
    while 0 < low < len(text) and unicodedata.combining(text[low]):
        low -= 1
    return text[:low].rstrip(" ,;:(&-–")


def shorten(text: str, width: float, size: float = TEXT_SIZE, weight: str = "normal") -> str:
    """Shorten a line to a width; a closing year stays, because it tells studies apart.

    Parameters
    ----------
    text
        One line.
    width
        Inches.
    size, weight
        As in `measure`.

    Returns
    -------
    str
        ``text``, or as much as fits with an ellipsis.
    """
    width += ROUNDING
    if measure(text, size, weight) <= width:
        return text
    found = _TAIL.fullmatch(text)
    if found:
        tail = f"{ELLIPSIS} {found[2]}"
        head = _cut(found[1], width - measure(" " + found[2], size, weight), size, weight)
        if len(head) >= 3:
            return head + tail
    return _cut(text, width, size, weight) + ELLIPSIS


def wrap(text: str, width: float, size: float = TEXT_SIZE, weight: str = "normal") -> list[str]:
    """Break a text at blanks into as few lines as ``width`` inches allow, about equally long."""
    lines = _break(text, width, size, weight)
    while len(lines) > 1 and width > 0.5:
        width *= 0.97
        narrower = _break(text, width, size, weight)
        if len(narrower) > len(lines) or any(ELLIPSIS in line for line in narrower):
            break
        lines = narrower
    return lines


def _break(text: str, width: float, size: float, weight: str) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and measure(longer, size, weight) <= width + ROUNDING:
            lines[-1] = longer
        else:
            lines.append(shorten(word, width, size, weight))
    return lines
