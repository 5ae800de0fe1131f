"""SVG figures as pictures inside the page."""

import base64
import re
from dataclasses import dataclass

from alliance_meta.report.content import FigureContent

_ROOT = re.compile(r"<svg\b[^>]*>", re.IGNORECASE)
_VIEW_BOX = re.compile(r"""\bviewBox\s*=\s*["']\s*([-\d.eE+\s,]+)["']""")


@dataclass(frozen=True)
class Picture:
    """One page of a figure; width and height in SVG units, 0 if unknown."""

    uri: str
    alt: str
    width: int
    height: int


def embed_pages(figure: FigureContent) -> list[Picture]:
    """Return a figure's pages as data addresses.

    A picture runs no script, loads nothing and keeps its ids to itself, whatever the SVG holds.
    """
    pictures = []
    for index, svg in enumerate(figure.pages, start=1):
        data = base64.b64encode(svg.encode("utf-8")).decode("ascii")
        several = len(figure.pages) > 1
        alt = f"{figure.alt} Page {index} of {len(figure.pages)}." if several else figure.alt
        width, height = _measure_svg(svg)
        pictures.append(Picture(f"data:image/svg+xml;base64,{data}", alt, width, height))
    return pictures


def _measure_svg(svg: str) -> tuple[int, int]:
    root = _ROOT.search(svg)
    box = _VIEW_BOX.search(root.group()) if root else None
    if box is None:
        return 0, 0
    numbers = box.group(1).replace(",", " ").split()
    try:
        width, height = float(numbers[2]), float(numbers[3])
    except (IndexError, ValueError):
        return 0, 0
    return round(width), round(height)
