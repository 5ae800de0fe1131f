"""What a synthesis report shows: one review's tables, figures and references."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class FigureContent:
    """One figure.

    Attributes
    ----------
    name, title
        File name without ending, and what a reader calls the figure.
    alt
        What the figure shows, for readers who do not see it.
    caption
        What stands below it.
    pages
        SVG text of each page.
    files
        Paths of the figure's files, relative to the review's folder.
    part
        "result", or "trust" for a figure on how sure the result is.
    """

    name: str
    title: str
    alt: str
    caption: str
    pages: tuple[str, ...]
    files: tuple[str, ...] = ()
    part: str = "result"


@dataclass(frozen=True)
class AnalysisContent:
    """One analysis.

    Attributes
    ----------
    name, title
        Key in the configuration, and its title.
    model
        ``results/<name>/model.json``.
    included, left_out
        ``included_effects.csv`` and ``left_out_effects.csv``.
    figures
        In the order of the page.
    trust
        Tables of sensitivity, bias and multiverse: file name without ending -> table. Those
        that only figures are drawn from need not be there.
    sensitivity, bias
        ``sensitivity.json`` and ``bias.json``: ``sentences`` by assessment, and ``settings``;
        empty if nothing was assessed.
    multiverse
        ``multiverse.json``; None for an analysis without a multiverse.
    """

    name: str
    title: str
    model: Mapping[str, Any]
    included: pd.DataFrame
    left_out: pd.DataFrame
    figures: tuple[FigureContent, ...] = ()
    trust: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    sensitivity: Mapping[str, Any] = field(default_factory=dict)
    bias: Mapping[str, Any] = field(default_factory=dict)
    multiverse: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ReportContent:
    """Everything on the page.

    Attributes
    ----------
    title, question
        Title of the review and what it asks.
    settings
        ``metric``, ``rho``, ``ci_level`` and ``seed`` of the configuration.
    analyses
        In the order of the page; the first gives the key result.
    effects
        ``data/extracted/effect_sizes.csv``, with the excluded rows.
    notes
        ``results/validation.csv``.
    references
        CSL-JSON items whose ``id`` is the citation key.
    input_hashes
        Path -> SHA-256 of the files that went in.
    versions
        Program -> version.
    caution
        What a reader must know before using the numbers; may be empty.
    moderator_map
        ``results/moderator_map.json``: ``moderators`` and ``sentences``.
    moderator_pairs
        ``results/moderator_map.csv``.
    """

    title: str
    question: str
    settings: Mapping[str, Any]
    analyses: tuple[AnalysisContent, ...]
    effects: pd.DataFrame
    notes: pd.DataFrame
    references: tuple[Mapping[str, Any], ...] = ()
    input_hashes: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    caution: str = ""
    moderator_map: Mapping[str, Any] = field(default_factory=dict)
    moderator_pairs: pd.DataFrame = field(default_factory=pd.DataFrame)
