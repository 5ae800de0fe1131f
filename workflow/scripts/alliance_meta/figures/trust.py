"""All figures on how far the result of one analysis can be trusted."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alliance_meta.figures.baujat import draw_baujat
from alliance_meta.figures.bias_panel import draw_bias_panel, find_conclusion
from alliance_meta.figures.cumulative import describe_order, draw_cumulative
from alliance_meta.figures.funnel import draw_funnel
from alliance_meta.figures.gosh import draw_gosh
from alliance_meta.figures.influence import draw_influence
from alliance_meta.figures.leave_one_out import draw_leave_one_out
from alliance_meta.figures.panels import read_flag
from alliance_meta.figures.rho_sweep import draw_rho_sweep, draw_rho_terms
from alliance_meta.figures.saving import save_pages
from alliance_meta.figures.specification_curve import draw_specification_curve, name_outcome
from alliance_meta.figures.strips import Reference
from alliance_meta.figures.trust_alt_text import (
    baujat_alt_text,
    bias_panel_alt_text,
    cumulative_alt_text,
    funnel_alt_text,
    gosh_alt_text,
    influence_alt_text,
    leave_one_out_alt_text,
    rho_alt_text,
    rho_terms_alt_text,
    specification_curve_alt_text,
)
from alliance_meta.figures.wording import OVERALL, clean
from alliance_meta.formatting import format_effect, join_words
from alliance_meta.models.result_tables import reporting_scale

MEAN = "Intercept"  # the only term of an analysis without moderators
SHARED = " + "  # between the names of studies that share a sample
ITSELF = "analysis"  # the row of the panel that is no correction
ESTIMATES = ("estimate", "ci_low", "ci_high")
# the estimator whose added effects are shown, where there are several
FILLING = "L0"
Tables = Mapping[str, pd.DataFrame]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


class _Analysis:
    """What the figures need to know of ``model.json``."""

    def __init__(self, model: Mapping[str, Any]) -> None:
        spec = model["specification"]
        self.title = str(model["title"])
        self.metric = str(spec["metric"])
        self.ci_level = float(spec["ci_level"])
        self.rho = _number(spec["rho"])
        self.has_moderators = bool(spec["moderators"]) or len(model["coefficients"]) > 1
        self.labels = {str(s["study_id"]): clean(s["label"]) for s in model["study_estimates"]}
        overall: Mapping[str, Any] = next(
            (row for row in model["summary"] if row["level"] == OVERALL), {}
        )
        self.reference = Reference(*(_number(overall.get(name)) for name in ESTIMATES))
        coefficients = model["coefficients"]
        self.mean = _number(coefficients[0]["estimate"]) if coefficients else math.nan
        self.heterogeneity = {
            str(row["parameter"]): _number(row["estimate"]) for row in model["heterogeneity"]
        }

    @property
    def scale(self) -> dict[str, Any]:
        return {"metric": self.metric, "ci_level": self.ci_level}

    def name(self, study: Any) -> str:
        """Return the words for a study, or for several that share a sample."""
        text = clean(study)
        return SHARED.join(self.labels.get(part, part) for part in text.split(SHARED))

    def report(self, table: pd.DataFrame, *columns: str) -> pd.DataFrame:
        """Return a table with columns taken from the analysis metric to the reporting scale."""
        return table.assign(
            **{
                name: reporting_scale(table[name].to_numpy(dtype=float), self.metric)
                for name in columns
            }
        )


def _keep(
    name: str, heading: str, alt: str, caption: str, figures: list[Figure], folder: Path
) -> dict[str, Any]:
    """Save a figure and return its entry for the index."""
    # there are many of these, and papers print few of them
    files = save_pages(figures, folder / name, whole_fonts=False)
    return {
        "name": name,
        "title": heading,
        "alt": alt,
        "caption": caption,
        "pages": [f.name for f in files if f.suffix == ".svg"],
        "files": [f.name for f in files],
    }


def _has_numbers(table: pd.DataFrame | None, *columns: str) -> bool:
    """Return whether a row has a number in each of the columns."""
    if table is None or table.empty:
        return False
    return bool(np.isfinite(table[list(columns)].to_numpy(dtype=float)).all(axis=1).any())


def _find_filled(tables: Tables) -> pd.DataFrame | None:
    """Return the effects that trim-and-fill adds on the side it chose."""
    filled, summary = tables.get("bias_trim_and_fill_effects"), tables.get("bias_trim_and_fill")
    if filled is None or summary is None or filled.empty or summary.empty:
        return None
    chosen = summary.loc[[read_flag(cell) for cell in summary["chosen"]]]
    if chosen.empty:
        return None
    preferred = chosen.loc[chosen["estimator"] == FILLING]
    row = (preferred if len(preferred) else chosen).iloc[0]
    same = (filled["estimator"] == row["estimator"]) & (filled["side"] == row["side"])
    found = filled.loc[same]
    return found if len(found) else None


def _name_levels(table: pd.DataFrame) -> list[str] | None:
    """Return the words for the level of each effect; None where they have no level."""
    if "level" not in table:
        return None
    names = [clean(cell).replace("_", " ") for cell in table["level"]]
    return [name or "not coded" for name in names] if any(names) else None


def _draw_funnel(tables: Tables, analysis: _Analysis, folder: Path) -> dict[str, Any] | None:
    table = tables.get("bias_funnel")
    residual = analysis.has_moderators
    if table is None or not _has_numbers(table, "residual" if residual else "x", "se"):
        return None
    filled = None if residual else _find_filled(tables)
    shared: dict[str, Any] = {
        "title": analysis.title,
        "estimate": analysis.mean,
        "residual": residual,
        "filled": filled,
        "metric": analysis.metric,
    }
    levels = _name_levels(table)
    if residual:
        caption = "What the moderators leave unexplained, against precision; precise effects on "
        caption += "top. A lopsided cloud can have many reasons, publication bias among them."
    else:
        caption = "Precise effects on top. Gaps among small effects in the white zone, where "
        caption += "nothing is significant, fit publication bias; other gaps have other reasons."
        if filled is not None:
            caption += " Open dots: effects that trim-and-fill adds for symmetry."
    return _keep(
        "funnel",
        "Funnel plot of residuals" if residual else "Funnel plot",
        funnel_alt_text(table, **shared),
        caption,
        [draw_funnel(table, levels=levels, ci_level=analysis.ci_level, **shared)],
        folder,
    )


def _draw_bias_panel(tables: Tables, analysis: _Analysis, folder: Path) -> dict[str, Any] | None:
    table = tables.get("bias_panel")
    if table is None or table.empty:
        return None
    # the analysis itself is drawn on top, from its own record
    table = table.loc[table["method"] != ITSELF]
    if not _has_numbers(table, "estimate"):
        return None
    if "label" in table:
        table = table.assign(method=table["label"])
    conclusions = [find_conclusion(cell)[1] for cell in table["conclusion_holds"]]
    reference = analysis.reference
    full = {"estimate": reference.estimate, "ci_low": reference.low, "ci_high": reference.high}
    return _keep(
        "bias_panel",
        "Methods against publication bias",
        bias_panel_alt_text(table, conclusions, full, title=analysis.title, **analysis.scale),
        "Each method asks what the result would be if its assumption were true; no method is "
        "right for certain. Agreement of methods with different assumptions is what counts.",
        [draw_bias_panel(table, reference, title=analysis.title, **analysis.scale)],
        folder,
    )


def _draw_influence(tables: Tables, analysis: _Analysis, folder: Path) -> dict[str, Any] | None:
    table = tables.get("sensitivity_influence")
    if table is None or not any(
        _has_numbers(table, name) for name in ("rstudent", "cooks_distance", "hat", "weight")
    ):
        return None
    table = table.assign(label=[analysis.name(study) for study in table["study_id"]])
    parts = [analysis.heterogeneity.get(f"tau2_{part}", math.nan) for part in ("between", "within")]
    full = {
        "tau2_deleted": analysis.heterogeneity.get("tau2", sum(parts)),
        "Q_deleted": analysis.heterogeneity.get("Q", math.nan),
    }
    flagged = [read_flag(cell) for cell in table["influential"]]
    return _keep(
        "influence",
        "Influence of single effects",
        influence_alt_text(table, flagged, title=analysis.title),
        "Each panel is one diagnostic, each place along it one effect. Diamonds: effects that "
        "are influential by at least one of the usual bounds.",
        [draw_influence(table, title=analysis.title, full=full)],
        folder,
    )


def _draw_baujat(tables: Tables, analysis: _Analysis, folder: Path) -> dict[str, Any] | None:
    table = tables.get("sensitivity_baujat")
    if table is None or not _has_numbers(table, "x", "y"):
        return None
    table = table.assign(label=[analysis.name(study) for study in table["study_id"]])
    return _keep(
        "baujat",
        "Baujat plot",
        baujat_alt_text(table, title=analysis.title),
        "Effects at the top right both differ from the others and move the result.",
        [draw_baujat(table, title=analysis.title)],
        folder,
    )


def _draw_leave_one_out(tables: Tables, analysis: _Analysis, folder: Path) -> dict[str, Any] | None:
    table = tables.get("sensitivity_leave_one_out")
    if table is None or table.empty or analysis.has_moderators:
        return None
    table = table.loc[(table["unit"] == "study") & (table["term"] == MEAN)]
    if not _has_numbers(table, "estimate"):
        return None
    table = analysis.report(table, *ESTIMATES)
    table = table.assign(left_out=[analysis.name(study) for study in table["left_out"]])
    return _keep(
        "leave_one_out",
        "Without each study in turn",
        leave_one_out_alt_text(table, title=analysis.title, metric=analysis.metric),
        "The pooled result after leaving out one study. A result that rests on one study moves "
        "when that study is left out.",
        [draw_leave_one_out(table, analysis.reference, title=analysis.title, **analysis.scale)],
        folder,
    )


def _draw_cumulative(tables: Tables, analysis: _Analysis, folder: Path) -> dict[str, Any] | None:
    table = tables.get("sensitivity_cumulative")
    if table is None or not _has_numbers(table, "estimate"):
        return None
    table = analysis.report(table, *ESTIMATES)
    table = table.assign(added=[analysis.name(study) for study in table["added"]])
    orders = {
        str(by): part
        for by, part in table.groupby("by", sort=False)
        if _has_numbers(part, "estimate")
    }
    return _keep(
        "cumulative",
        "Studies added one by one",
        cumulative_alt_text(
            {describe_order(by): part for by, part in orders.items()},
            title=analysis.title,
            **analysis.scale,
        ),
        "The pooled result as studies are added "
        + join_words([describe_order(by) for by in orders])
        + ". A drift that does not come to rest is a reason for care.",
        [
            draw_cumulative(part, analysis.reference, by=by, title=analysis.title, **analysis.scale)
            for by, part in orders.items()
        ],
        folder,
    )


def _describe_split(tables: Tables, analysis: _Analysis, spread: float) -> str:
    """Name the study whose subsets lie furthest from those without it, if it splits the cloud."""
    table = tables.get("sensitivity_gosh_studies")
    if table is None or not _has_numbers(table, "difference"):
        return ""
    if not _find_quantity(tables, "n_modes") > 1:
        return ""
    known = table.loc[np.isfinite(table["difference"].to_numpy(dtype=float))]
    row = known.loc[known["difference"].abs().idxmax()]
    # two groups that lie further apart than subsets spread make a cloud of two parts
    if not abs(float(row["difference"])) > spread:
        return ""
    means = [float(row[name]) for name in ("mean_with", "mean_without")]
    with_it, without = (
        format_effect(float(reporting_scale(mean, analysis.metric)), analysis.metric)
        for mean in means
    )
    return (
        f" {analysis.name(row['study_id'])} splits the cloud: subsets with it have a mean of "
        f"{with_it}, those without it one of {without}."
    )


def _describe_shown(tables: Tables, shown: int) -> str:
    """Say how many subsets were run, where more than are drawn."""
    run = _find_quantity(tables, "subsets_run")
    return f" {shown:,} of {run:,.0f} subsets are drawn." if run > shown else ""


def _find_quantity(tables: Tables, quantity: str) -> float:
    """Return a number of the summary of subsets; NaN without one."""
    table = tables.get("sensitivity_gosh_summary")
    if table is None or table.empty:
        return math.nan
    found = table.loc[table["quantity"] == quantity, "value"].astype(float)
    return float(found.iloc[0]) if len(found) else math.nan


def _draw_gosh(tables: Tables, analysis: _Analysis, folder: Path) -> dict[str, Any] | None:
    table = tables.get("sensitivity_gosh")
    if table is None or not _has_numbers(table, "estimate"):
        return None
    spread = float(np.nanstd(table["estimate"].to_numpy(dtype=float)))
    table = analysis.report(table, "estimate")
    shared: dict[str, Any] = {
        "title": analysis.title,
        "estimate": math.nan if analysis.has_moderators else analysis.reference.estimate,
        "metric": analysis.metric,
    }
    return _keep(
        "gosh",
        "Subsets of the studies (GOSH)",
        gosh_alt_text(table, **shared),
        "The pooled result and the heterogeneity of subsets of the studies. Several separate "
        "clouds mean that the studies are not of one kind."
        + _describe_shown(tables, len(table))
        + _describe_split(tables, analysis, spread),
        [draw_gosh(table, **shared)],
        folder,
    )


def _name_term(term: Any) -> str:
    """Return a coefficient's name as words: "rater[T.client]" -> "rater: client"."""
    return clean(str(term).replace("[T.", ": ").replace("]", "").replace("_", " "))


def _draw_rho_terms(table: pd.DataFrame, analysis: _Analysis, folder: Path) -> dict[str, Any]:
    table = table.assign(name=[_name_term(term) for term in table["term"]])
    shared: dict[str, Any] = {"rho": analysis.rho, "title": analysis.title}
    return _keep(
        "rho_sweep",
        "Over the assumed correlation ρ",
        rho_terms_alt_text(table, **shared),
        "How much each coefficient depends on the assumed correlation of sampling errors within "
        "a sample. Flat lines mean that the assumption hardly matters.",
        [draw_rho_terms(table, **shared, **analysis.scale)],
        folder,
    )


def _draw_rho(tables: Tables, analysis: _Analysis, folder: Path) -> dict[str, Any] | None:
    table = tables.get("sensitivity_rho")
    if table is None or not _has_numbers(table, "rho", "estimate"):
        return None
    if analysis.has_moderators:
        return _draw_rho_terms(table, analysis, folder)
    table = table.loc[table["term"] == MEAN]
    if not _has_numbers(table, "rho", "estimate"):
        return None
    shared: dict[str, Any] = {"rho": analysis.rho, "title": analysis.title, **analysis.scale}
    table = analysis.report(table, *ESTIMATES)
    return _keep(
        "rho_sweep",
        "Over the assumed correlation ρ",
        rho_alt_text(table, **shared),
        "How much the result depends on the assumed correlation of sampling errors within a "
        "sample. A flat line means that the assumption hardly matters.",
        [draw_rho_sweep(table, **shared)],
        folder,
    )


# in the order of the questions a reader asks: publication bias first, then single studies
_DRAWINGS: tuple[Callable[[Tables, _Analysis, Path], dict[str, Any] | None], ...] = (
    _draw_funnel,
    _draw_bias_panel,
    _draw_leave_one_out,
    _draw_influence,
    _draw_baujat,
    _draw_gosh,
    _draw_cumulative,
    _draw_rho,
)
# with moderators the others are of a mean, or repeat what these and the tables show
_MODERATED_DRAWINGS = (_draw_funnel, _draw_influence, _draw_rho)


def draw_trust(tables: Tables, *, model: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Draw and save the figures on sensitivity and publication bias of one analysis.

    Parameters
    ----------
    tables
        File name without ending -> table, as the file contract names them
        (``sensitivity_*``, ``bias_*``); a missing or empty one draws nothing.
    model
        Content of the analysis's ``model.json``.
    folder
        Where the files go; made if missing.

    Returns
    -------
    list of dict
        Per figure: ``name``, ``title``, ``alt``, ``caption``, ``pages`` (SVG files, in
        order) and ``files`` (all files).
    """
    if model["failure"]:
        return []
    analysis = _Analysis(model)
    drawings = _MODERATED_DRAWINGS if analysis.has_moderators else _DRAWINGS
    drawn = (draw(tables, analysis, folder) for draw in drawings)
    return [entry for entry in drawn if entry is not None]


def draw_multiverse(
    tables: Tables, *, model: Mapping[str, Any], folder: Path
) -> list[dict[str, Any]]:
    """Draw and save the specification curve of one analysis.

    Parameters
    ----------
    tables
        ``multiverse`` -> table on the reporting scale; missing or empty, it draws nothing.
    model, folder
        As in `draw_trust`.

    Returns
    -------
    list of dict
        As in `draw_trust`.
    """
    table = tables.get("multiverse")
    if table is None or not _has_numbers(table, "estimate"):
        return []
    analysis = _Analysis(model)
    outcomes = [name_outcome(cell) for cell in table["significant"]]
    reference = None if analysis.has_moderators else analysis.reference
    return [
        _keep(
            "specification_curve",
            "Specification curve",
            specification_curve_alt_text(
                table, outcomes, title=analysis.title, metric=analysis.metric
            ),
            "Every defensible combination of choices, sorted by its estimate, with the choices "
            "behind it. Options that gather at one end go with lower or higher estimates.",
            [draw_specification_curve(table, reference, title=analysis.title, **analysis.scale)],
            folder,
        )
    ]
