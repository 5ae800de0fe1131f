"""All figures of one analysis, with an index that says what each shows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from alliance_meta.codebook import Codebook
from alliance_meta.figures.alt_text import bubble_alt_text, forest_alt_text, levels_alt_text
from alliance_meta.figures.bubble import draw_bubble
from alliance_meta.figures.forest import draw_forest
from alliance_meta.figures.levels import draw_levels
from alliance_meta.figures.saving import save_pages
from alliance_meta.figures.trust import draw_multiverse, draw_trust
from alliance_meta.tables import write_json

INDEX_FILE = "index.json"


def draw_gallery(
    *,
    included: pd.DataFrame,
    summary: pd.DataFrame,
    heterogeneity: pd.DataFrame,
    line: pd.DataFrame,
    model: Mapping[str, Any],
    codebook: Codebook,
    folder: Path,
    trust: Mapping[str, pd.DataFrame] | None = None,
) -> list[dict[str, Any]]:
    """Draw and save every figure that an analysis's tables allow.

    Parameters
    ----------
    included, summary, heterogeneity, line
        Tables of the analysis, as the file contract names them.
    model
        Content of its ``model.json``.
    codebook
        Gives the words for levels and moderators.
    folder
        Where the files and ``index.json`` go; made if missing.
    trust
        Tables of sensitivity, bias and multiverse, by name; default: none.

    Returns
    -------
    list of dict
        Per figure: ``name``, ``title``, ``alt``, ``caption``, ``pages`` (SVG files, in
        order), ``files`` (all files) and ``part`` ("result" or "trust").
    """
    folder.mkdir(parents=True, exist_ok=True)
    spec = model["specification"]
    scale = {"metric": spec["metric"], "ci_level": spec["ci_level"]}
    title = str(model["title"])
    labels = codebook.level_labels([str(level) for level in summary["level"]])
    index: list[dict[str, Any]] = []

    def keep(name: str, heading: str, alt: str, caption: str, figures: list[Any]) -> None:
        files = save_pages(figures, folder / name)
        index.append(
            {
                "name": name,
                "title": heading,
                "alt": alt,
                "caption": caption,
                "pages": [f.name for f in files if f.suffix == ".svg"],
                "files": [f.name for f in files],
                "part": "result",
            }
        )

    if not len(included) or model["failure"]:
        write_json(index, folder / INDEX_FILE)
        return index
    named: dict[str, Any] = {**scale, "level_labels": labels}
    bar = ""
    if summary["pi_low"].notna().any():
        bar = (
            " Bar: prediction interval, where the true effects of most studies like these are "
            "expected."
        )
    keep(
        "forest",
        "Forest plot",
        forest_alt_text(included, summary, heterogeneity, title=title, **named),
        "Squares: effects, area by weight; whiskers: their confidence intervals. Diamonds: pooled "
        "estimates." + bar,
        draw_forest(
            included, summary, heterogeneity, title=title, model_label=model["model_label"], **named
        ),
    )
    if len(summary) > 1:
        keep(
            "levels",
            "Levels side by side",
            levels_alt_text(summary, title=title, **named),
            "Thick: confidence interval of the level's mean. Thin: prediction interval.",
            [draw_levels(summary, title=title, **named)],
        )
    if len(line):
        moderator = str(line["moderator"].iloc[0])
        words = moderator.removeprefix("coded_").replace("_", " ")
        points = line[["x", "estimate", "ci_low", "ci_high"]]
        drawn: dict[str, Any] = {**scale, "title": title}
        keep(
            "bubble",
            f"Effects by {words}",
            bubble_alt_text(included, moderator, points, moderator_label=words, **drawn),
            "Circles: effects, area by weight. Line and band: the fitted association with its "
            "confidence interval.",
            [draw_bubble(included, moderator, points, moderator_label=words.capitalize(), **drawn)],
        )
    for draw in (draw_trust, draw_multiverse):
        found = draw(trust or {}, model=model, folder=folder)
        index += [{**figure, "part": "trust"} for figure in found]
    write_json(index, folder / INDEX_FILE)
    return index
