"""Heterogeneity of effects with known sampling variances."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Residual:
    """Weighted residual heterogeneity with weights ``1/v``.

    Attributes
    ----------
    Q, df, p_value
        Cochran's Q (QE with moderators) and its chi-squared test.
    typical_variance
        "Typical" sampling variance s² of Higgins & Thompson (2002), generalised to
        moderators: ``(k − p) / tr(P)``.
    """

    Q: float
    df: int
    p_value: float
    typical_variance: float


def residual_heterogeneity(y: Array, v: Array, X: Array) -> Residual:
    """Return Q, its test, and the typical sampling variance.

    Parameters
    ----------
    y, v
        Effects and sampling variances, shape (k,).
    X
        Design, shape (k, p).
    """
    df = len(y) - int(np.linalg.matrix_rank(X))
    if df <= 0:
        return Residual(np.nan, df, np.nan, np.nan)
    w = 1 / v
    # study means of a moderator that only varies within studies are collinear
    bread = np.linalg.pinv((X.T * w) @ X, hermitian=True)
    residuals = y - X @ (bread @ (X.T @ (w * y)))
    Q = float(w @ residuals**2)
    trace = float(w.sum() - np.einsum("ij,ik,jk,i->", X, X, bread, w**2))
    return Residual(Q, df, float(stats.chi2.sf(Q, df)), df / trace)


def i_squared(tau2: float, typical_variance: float) -> float:
    """Return I² in percent from tau² (Higgins & Thompson 2002; as metafor and RevMan)."""
    return 100 * tau2 / (tau2 + typical_variance)


def h_squared(tau2: float, typical_variance: float) -> float:
    """Return H² from tau²: total over typical sampling variance."""
    return tau2 / typical_variance + 1


def i_squared_q(Q: float, df: int) -> float:
    """Return I² in percent from Q (Higgins et al. 2003), at least 0."""
    if not np.isfinite(Q) or df <= 0:
        return np.nan
    return max(0.0, 100 * (Q - df) / Q) if Q > 0 else 0.0


def log_likelihood(
    y: Array, v: Array, X: Array, fitted: Array, tau2: float, *, restricted: bool
) -> float:
    """Return the (restricted) log-likelihood with all constants.

    Parameters
    ----------
    y, v
        Shape (k,).
    X
        Shape (k, p).
    fitted
        ``Xb``, shape (k,).
    tau2
        Between-study variance.
    restricted
        Whether to return the restricted likelihood (Harville 1974), constants as in
        metafor's ``logLik``.
    """
    k, p = X.shape
    total = v + tau2
    residuals = y - fitted
    value = -0.5 * (np.log(total).sum() + (residuals**2 / total).sum())
    if not restricted:
        return float(value - 0.5 * k * np.log(2 * np.pi))
    information = np.linalg.slogdet((X.T / total) @ X)[1]
    gram = np.linalg.slogdet(X.T @ X)[1]
    return float(value - 0.5 * (k - p) * np.log(2 * np.pi) + 0.5 * gram - 0.5 * information)


def information_criteria(
    log_likelihood: float, shape: tuple[int, ...], n_parameters: int, *, restricted: bool
) -> dict[str, tuple[float, float, float]]:
    """Return log-likelihood, AIC, AICc and BIC as rows (value, no interval).

    Parameters
    ----------
    log_likelihood
        Maximum of the (restricted) log-likelihood.
    shape
        Number of effects and of coefficients, (k, p).
    n_parameters
        Coefficients and variance components together.
    restricted
        Whether the likelihood is of k − p contrasts of the effects.

    Notes
    -----
    Akaike (1974), Hurvich & Tsai (1989), Schwarz (1978), counted as metafor counts. A
    restricted likelihood compares models of the same moderators only.
    """
    n = shape[0] - shape[1] if restricted else shape[0]
    effective = max(n, n_parameters + 2)
    deviance = -2 * log_likelihood
    values = {
        "log_likelihood": log_likelihood,
        "AIC": deviance + 2 * n_parameters,
        "AICc": deviance + 2 * n_parameters * effective / (effective - n_parameters - 1),
        "BIC": deviance + n_parameters * np.log(n) if n > 0 else np.nan,
    }
    return {name: (float(value), np.nan, np.nan) for name, value in values.items()}
