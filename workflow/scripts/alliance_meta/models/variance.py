"""Estimators of the between-study variance τ² that PyMARE does not have."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

Array = NDArray[np.float64]

# τ² beyond this many times the spread of the effects is no solution in any data
LARGEST_SHARE = 100.0


def hunter_schmidt(y: Array, v: Array, Q: Array) -> float:
    """Return the Hunter–Schmidt estimate.

    Parameters
    ----------
    y, v
        Effects and sampling variances, shape (k,).
    Q
        Orthonormal basis of the design, shape (k, p).

    Notes
    -----
    Hunter & Schmidt (2004), with moderators as in Viechtbauer et al. (2015):
    ``(RSS − k) / Σw`` with ``w = 1/v``, at least 0.
    """
    w = 1 / v
    return max(0.0, (_weighted_rss(y, w, Q) - len(y)) / float(w.sum()))


def sidik_jonkman(y: Array, v: Array, Q: Array) -> float:
    """Return the Sidik–Jonkman estimate from the crude variance of the effects.

    Notes
    -----
    Sidik & Jonkman (2005), with moderators as in Viechtbauer et al. (2015): the crude
    ``τ₀² = Σ(y − ȳ)²/k`` times ``RSS/(k − p)`` with weights ``1/(v + τ₀²)``. Positive
    unless all effects are equal.
    """
    crude = float(np.var(y))
    if crude == 0:
        return 0.0
    return crude * _weighted_rss(y, 1 / (v + crude), Q) / (len(y) - Q.shape[1])


def paule_mandel(y: Array, v: Array, Q: Array) -> float:
    """Return the Paule–Mandel estimate, which is also the empirical Bayes estimate.

    Notes
    -----
    Paule & Mandel (1982); the root of ``RSS(τ²) = k − p`` with weights ``1/(v + τ²)``, or 0
    if there is none. Morris's (1983) empirical Bayes estimate solves the same equation
    (Viechtbauer et al., 2015).
    """
    df = len(y) - Q.shape[1]

    def excess(tau2: float) -> float:
        return _weighted_rss(y, 1 / (v + tau2), Q) - df

    if excess(0.0) <= 0:
        return 0.0
    # RSS falls in τ², and at Σ(y − ȳ)² it is below 1
    high = float(((y - y.mean()) ** 2).sum()) * LARGEST_SHARE
    return float(optimize.brentq(excess, 0.0, high, xtol=1e-300, rtol=1e-15))


ESTIMATORS: dict[str, Callable[[Array, Array, Array], float]] = {
    "HS": hunter_schmidt,
    "SJ": sidik_jonkman,
    "PM": paule_mandel,
    "EB": paule_mandel,
}


def _weighted_rss(y: Array, w: Array, Q: Array) -> float:
    """Return the weighted residual sum of squares ``y'Py``."""
    root = np.sqrt(w)
    basis = np.linalg.qr(root[:, None] * Q)[0]
    scaled = root * y
    residuals = scaled - basis @ (basis.T @ scaled)
    return float(residuals @ residuals)
