"""Fits: univariate (PyMARE), robust inference, prediction, and their tables."""

from alliance_meta.models.analysis import AnalysisResult, analyse
from alliance_meta.models.expressions import formula_variables
from alliance_meta.models.result_tables import reporting_scale
from alliance_meta.models.selection import select_rows, where_mask
from alliance_meta.models.sentences import describe_analysis, model_label
from alliance_meta.models.specification import (
    ModelSpecification,
    SpecificationError,
    specification_problems,
)

__all__ = [
    "AnalysisResult",
    "ModelSpecification",
    "SpecificationError",
    "analyse",
    "describe_analysis",
    "formula_variables",
    "model_label",
    "reporting_scale",
    "select_rows",
    "specification_problems",
    "where_mask",
]
