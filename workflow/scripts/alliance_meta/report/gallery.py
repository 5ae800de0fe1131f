"""Reading back the figures and tables of an analysis."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from alliance_meta.report.content import FigureContent
from alliance_meta.tables import read_json, read_table


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
            part=figure["part"],
        )
        for figure in read_json(folder / "index.json")
    )


def read_tables(paths: Iterable[str]) -> dict[str, dict[str, pd.DataFrame]]:
    """Return analysis -> name of a table -> table, of ``results/<analysis>/<table>.csv``."""
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for path in map(Path, paths):
        found.setdefault(path.parent.name, {})[path.stem] = read_table(path)
    return found


def read_records(paths: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return analysis -> name of a record -> record, of ``results/<analysis>/<record>.json``."""
    found: dict[str, dict[str, Any]] = {}
    for path in map(Path, paths):
        found.setdefault(path.parent.name, {})[path.stem] = read_json(path)
    return found
