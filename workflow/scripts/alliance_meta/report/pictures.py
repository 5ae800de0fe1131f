"""SVG figures as pictures inside the page."""

import base64
import re
from collections import Counter
from dataclasses import dataclass

from alliance_meta.report.content import FigureContent

# digits of coordinates beyond these are finer than a screen
DECIMALS = 2

_TAG = re.compile(r"<[^<>]*>")
_PROLOGUE = re.compile(r"\A\s*(?:<\?xml\b[^>]*\?>\s*)?(?:<!DOCTYPE\b[^>\[]*>\s*)?", re.IGNORECASE)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_BETWEEN = re.compile(r">[^\S\n]*\n\s*<")
_COORDINATES = re.compile(
    r"""(?<=\s)(?P<name>d|x|y|points)=(?P<quote>["'])(?P<value>[^"']*)(?P=quote)"""
)
_NO_TURN = re.compile(r"""\stransform=(["'])rotate\(-?0(?:[ ,][^)"']*)?\)\1""")
_GROUP = re.compile(r"""<g id=(["'])(?P<name>[^"'<>]*)\1""")
_REFERENCE = re.compile(r"""#([^"')\s]+)""")
# of a class of its own; what could end a rule is left where it is
_STYLE = re.compile(r"""(?<=\s)style="(?P<style>[\w\s:;.,#%()'-]+)\"""")
# styles that repeat less often save nothing
_REPEATED_STYLE = 3
_FRACTION = re.compile(r"-?\d*\.\d{3,}(?![\d.eE])")
_ROOT = re.compile(r"<svg\b[^>]*>", re.IGNORECASE)
_VIEW_BOX = re.compile(r"""\bviewBox\s*=\s*["']\s*([-\d.eE+\s,]+)["']""")


@dataclass(frozen=True)
class Picture:
    """One page of a figure; width and height in SVG units, 0 if unknown."""

    uri: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True)
class FigureView:
    """A figure with its pages as pictures."""

    title: str
    caption: str
    pictures: tuple[Picture, ...]
    files: tuple[str, ...]


def view_figure(figure: FigureContent) -> FigureView:
    """Return a figure as the page prints it."""
    return FigureView(figure.title, figure.caption, tuple(embed_pages(figure)), figure.files)


def embed_pages(figure: FigureContent) -> list[Picture]:
    """Return a figure's pages as data addresses.

    A picture runs no script, loads nothing and keeps its ids to itself, whatever the SVG holds.
    """
    pictures = []
    for index, svg in enumerate(figure.pages, start=1):
        data = base64.b64encode(shrink_svg(svg).encode("utf-8")).decode("ascii")
        several = len(figure.pages) > 1
        alt = f"{figure.alt} Page {index} of {len(figure.pages)}." if several else figure.alt
        width, height = _measure_svg(svg)
        pictures.append(Picture(f"data:image/svg+xml;base64,{data}", alt, width, height))
    return pictures


def shrink_svg(svg: str) -> str:
    """Return an SVG that draws the same with fewer characters.

    Line ends between tags, what describes the file and names that nothing refers to go; styles
    that repeat become classes; coordinates keep two decimals of a point. Text stays as it is.
    """
    svg = _METADATA.sub("", _PROLOGUE.sub("", svg))
    svg = _TAG.sub(_shrink_tag, _BETWEEN.sub("><", svg))
    named = set(_REFERENCE.findall(svg))
    svg = _GROUP.sub(lambda group: group.group() if group["name"] in named else "<g", svg)
    return _share_styles(svg)


def _share_styles(svg: str) -> str:
    root = _ROOT.search(svg)
    if root is None or "class=" in svg:
        return svg
    counts = Counter(found["style"] for found in _STYLE.finditer(svg))
    shared = [style for style, count in counts.items() if count >= _REPEATED_STYLE]
    classes = {style: f"c{index}" for index, style in enumerate(shared)}

    def put(found: re.Match[str]) -> str:
        name = classes.get(found["style"])
        return f'class="{name}"' if name else found.group()

    rules = "".join(f".{name}{{{style}}}" for style, name in classes.items())
    head, body = svg[: root.end()], svg[root.end() :]
    return f"{head}<style>{rules}</style>{_STYLE.sub(put, body)}" if rules else svg


def _shrink_tag(tag: re.Match[str]) -> str:
    return _NO_TURN.sub("", _COORDINATES.sub(_shrink_coordinates, tag.group()))


def _shrink_coordinates(found: re.Match[str]) -> str:
    value = _FRACTION.sub(lambda number: _round(number.group()), found["value"])
    return f"{found['name']}={found['quote']}{' '.join(value.split())}{found['quote']}"


def _round(text: str) -> str:
    short = f"{float(text):.{DECIMALS}f}".rstrip("0").rstrip(".")
    return "0" if short in ("-0", "") else short


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
