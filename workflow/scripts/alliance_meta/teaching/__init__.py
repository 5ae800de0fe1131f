"""Simulators with known truth, for teaching and for checking the methods."""

from alliance_meta.teaching.simulation import (
    Counts,
    Moderator,
    ReviewDesign,
    SampleSizes,
    SimulatedReview,
    Truth,
    simulate_review,
)

__all__ = [
    "Counts",
    "Moderator",
    "ReviewDesign",
    "SampleSizes",
    "SimulatedReview",
    "Truth",
    "simulate_review",
]
