"""Reading back the figures of an analysis."""

from pathlib import Path

from alliance_meta.report.content import FigureContent
from alliance_meta.tables import read_json


def read_figures(folder: Path) -> tuple[FigureContent, ...]:
    """Return the figures listed in a folder's ``index.json``, with their SVG texts.

    Parameters
    ----------
    folder
        A ``results/<analysis>/figures`` folder.
    """
    return tuple(
        FigureContent(
            name=figure["name"],
            title=figure["title"],
            alt=figure["alt"],
            caption=figure["caption"],
            pages=tuple((folder / page).read_text(encoding="utf-8") for page in figure["pages"]),
            files=tuple(f"{folder.as_posix()}/{name}" for name in figure["files"]),
        )
        for figure in read_json(folder / "index.json")
    )
