"""Composites: one effect per sample from effects whose sampling errors are correlated."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd


class Composites(NamedTuple):
    """One row per group, in the order in which the groups first appear.

    Attributes
    ----------
    y, v
        Composite effects and their sampling variances, shape (n_groups,).
    first_index
        Position of each group's first effect in the input, shape (n_groups,).
    """

    y: npt.NDArray[np.float64]
    v: npt.NDArray[np.float64]
    first_index: npt.NDArray[np.intp]


def aggregate_effects(
    y: npt.ArrayLike, v: npt.ArrayLike, groups: npt.ArrayLike, rho: float
) -> Composites:
    """Average the effects of each group (sample) into a composite.

    The composite of m effects is their simple mean, with variance
    (1/m²)[Σᵢ vᵢ + Σᵢ≠ⱼ ρ√(vᵢvⱼ)] = (1/m²)[(1 − ρ)Σᵢ vᵢ + ρ(Σᵢ √vᵢ)²].

    Parameters
    ----------
    y
        Effects, shape (k,).
    v
        Sampling variances, shape (k,), above 0.
    groups
        Group (sample) of each effect, shape (k,); any labels.
    rho
        Correlation of the sampling errors within a group, 0 to 1.

    Returns
    -------
    Composites
        ``y, v, first_index``, each of shape (n_groups,).

    Raises
    ------
    ValueError
        If shapes differ, a value is missing, a variance is not above 0 or rho is out of range.

    References
    ----------
    Borenstein et al. (2009). Introduction to meta-analysis, ch. 24, mean of m
    outcomes whose correlation is assumed.
    """
    effects = np.asarray(y, dtype=float)
    variances = np.asarray(v, dtype=float)
    labels = np.asarray(groups)
    if effects.ndim != 1 or effects.shape != variances.shape or effects.shape != labels.shape:
        raise ValueError(
            "y, v and groups must be one-dimensional and of the same length, not "
            f"{effects.shape}, {variances.shape} and {labels.shape}"
        )
    if not 0 <= rho <= 1:
        raise ValueError(f"rho must lie between 0 and 1, not {rho}")
    if not np.all(np.isfinite(effects)) or not np.all(np.isfinite(variances)):
        raise ValueError("y and v must not hold missing or infinite values")
    if not np.all(variances > 0):
        raise ValueError("every sampling variance must be above 0")
    codes, names = pd.factorize(labels)
    if np.any(codes < 0):
        raise ValueError("groups must not hold missing values")
    n_groups = len(names)
    first_index = np.full(n_groups, len(effects), dtype=np.intp)
    np.minimum.at(first_index, codes, np.arange(len(effects)))
    size = np.bincount(codes, minlength=n_groups)
    sum_v = np.bincount(codes, weights=variances, minlength=n_groups)
    sum_se = np.bincount(codes, weights=np.sqrt(variances), minlength=n_groups)
    mean = np.bincount(codes, weights=effects, minlength=n_groups) / size
    pooled = ((1 - rho) * sum_v + rho * sum_se**2) / size**2
    # a lone effect keeps its variance to the last bit
    return Composites(mean, np.where(size == 1, sum_v, pooled), first_index)
