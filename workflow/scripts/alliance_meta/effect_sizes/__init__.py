"""Reported statistics to effect sizes: conversion, plausibility, attenuation, composites."""

from alliance_meta.effect_sizes.aggregation import Composites, aggregate_effects
from alliance_meta.effect_sizes.attenuation import (
    Attenuation,
    SweepStep,
    correct_attenuation,
    sweep_assumed,
)
from alliance_meta.effect_sizes.conversions import Converted
from alliance_meta.effect_sizes.plausibility import check_effects
from alliance_meta.effect_sizes.table import ConversionResult, convert_effects, express_effects

__all__ = [
    "Attenuation",
    "Composites",
    "ConversionResult",
    "Converted",
    "SweepStep",
    "aggregate_effects",
    "check_effects",
    "convert_effects",
    "correct_attenuation",
    "express_effects",
    "sweep_assumed",
]
