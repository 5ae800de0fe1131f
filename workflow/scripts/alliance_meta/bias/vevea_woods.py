"""Weights prescribed for a sensitivity analysis when too few effects carry an estimate."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# one-sided p-values; the last interval ends at 1
CUT_POINTS = np.array(
    [0.005, 0.010, 0.050, 0.100, 0.250, 0.350, 0.500, 0.650, 0.750, 0.900, 0.950, 0.990, 0.995]
)
# Vevea & Woods (2005, Psychological Methods 10, 428–443), Table 1
PATTERNS: dict[str, Array] = {
    "moderate_one": np.array(
        [1.00, 0.99, 0.95, 0.80, 0.75, 0.65, 0.60, 0.55, 0.50, 0.50, 0.50, 0.50, 0.50, 0.50]
    ),
    "severe_one": np.array(
        [1.00, 0.99, 0.90, 0.75, 0.60, 0.50, 0.40, 0.35, 0.30, 0.25, 0.10, 0.10, 0.10, 0.10]
    ),
    "moderate_two": np.array(
        [1.00, 0.99, 0.95, 0.90, 0.80, 0.75, 0.60, 0.60, 0.75, 0.80, 0.90, 0.95, 0.99, 1.00]
    ),
    "severe_two": np.array(
        [1.00, 0.99, 0.90, 0.75, 0.60, 0.50, 0.25, 0.25, 0.50, 0.60, 0.75, 0.90, 0.99, 1.00]
    ),
}
PATTERN_LABELS = {
    "moderate_one": "moderate one-tailed selection",
    "severe_one": "severe one-tailed selection",
    "moderate_two": "moderate two-tailed selection",
    "severe_two": "severe two-tailed selection",
}
# patterns that favour significance in either direction
TWO_TAILED = ("moderate_two", "severe_two")
