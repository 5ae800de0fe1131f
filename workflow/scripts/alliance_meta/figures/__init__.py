"""Figures: tables in, matplotlib figures and files out.

Names load on first use, so that the alternative texts cost no matplotlib import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alliance_meta.figures.alt_text import bubble_alt_text, forest_alt_text, levels_alt_text
    from alliance_meta.figures.bubble import draw_bubble
    from alliance_meta.figures.forest import draw_forest
    from alliance_meta.figures.levels import draw_levels
    from alliance_meta.figures.saving import save_figure, save_pages

__all__ = [
    "bubble_alt_text",
    "draw_bubble",
    "draw_forest",
    "draw_levels",
    "forest_alt_text",
    "levels_alt_text",
    "save_figure",
    "save_pages",
]

_HOMES = {
    "bubble_alt_text": "alt_text",
    "draw_bubble": "bubble",
    "draw_forest": "forest",
    "draw_levels": "levels",
    "forest_alt_text": "alt_text",
    "levels_alt_text": "alt_text",
    "save_figure": "saving",
    "save_pages": "saving",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
