"""The synthesis report: prose, tables, figures and references on one offline page."""

from alliance_meta.report.bibliography import Reference, format_references
from alliance_meta.report.content import AnalysisContent, FigureContent, ReportContent
from alliance_meta.report.page import render_report

__all__ = [
    "AnalysisContent",
    "FigureContent",
    "Reference",
    "ReportContent",
    "format_references",
    "render_report",
]
