"""Reported statistics to effect sizes: conversion, plausibility, composites."""

from alliance_meta.effect_sizes.aggregation import Composites, aggregate_effects
from alliance_meta.effect_sizes.conversions import Converted
from alliance_meta.effect_sizes.plausibility import check_effects
from alliance_meta.effect_sizes.table import ConversionResult, convert_effects, express_effects

__all__ = [
    "Composites",
    "ConversionResult",
    "Converted",
    "aggregate_effects",
    "check_effects",
    "convert_effects",
    "express_effects",
]
