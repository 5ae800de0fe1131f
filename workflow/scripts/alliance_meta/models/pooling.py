"""Univariate pooling and meta-regression through PyMARE."""

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymare import Dataset
from pymare.estimators import (
    DerSimonianLaird,
    Hedges,
    VarianceBasedLikelihoodEstimator,
    WeightedLeastSquares,
)
from pymare.stats import knapp_hartung_cov_and_dof
from scipy import optimize, stats

from alliance_meta.models.heterogeneity import (
    h_squared,
    i_squared,
    i_squared_q,
    log_likelihood,
    residual_heterogeneity,
)
from alliance_meta.models.robust import ClusterRobust, WaldTest, cluster_robust
from alliance_meta.models.specification import ModelSpecification
from alliance_meta.models.variance import ESTIMATORS

Array = NDArray[np.float64]
Interval = tuple[float, float]

# a search along a likelihood stops near the root of machine precision; the score equation is
# then solved within this relative distance of what PyMARE found
POLISH_WINDOW = 1e-3
# below this share of the mean sampling variance an estimate of tau² is the boundary, zero
NEGLIGIBLE_TAU2 = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A linear combination of coefficients: df is infinite for a normal reference."""

    value: float
    se: float
    statistic: float
    df: float
    p_value: float
    ci_low: float
    ci_high: float
    pi_low: float
    pi_high: float


@dataclass(frozen=True)
class PooledFit:
    """A fitted univariate model.

    Attributes
    ----------
    basis
        Triangular R with ``X = QR``; the fit itself is of the orthonormal Q, so that
        uncentred moderators (years) cost no digits. Shape (p, p).
    gamma, covariance
        Coefficients of Q and their covariance under the chosen inference, shapes (p,) and
        (p, p).
    weights
        Weight of each effect in the fit, shape (k,).
    tau2
        Between-study variance (0 for the common-effect model).
    heterogeneity
        Parameter -> (estimate, ci_low, ci_high), names as in ``heterogeneity.csv``.
    df_residual
        k − p, with one k per independent unit.
    """

    spec: ModelSpecification
    basis: Array
    gamma: Array
    covariance: Array
    weights: Array
    tau2: float
    heterogeneity: dict[str, tuple[float, float, float]]
    df_residual: int
    robust: ClusterRobust | None

    def contrast(self, row: Array) -> Estimate:
        """Return estimate, test, confidence and prediction interval of ``row @ beta``.

        Parameters
        ----------
        row
            Shape (p,).
        """
        row = self._to_basis(row)
        value = float(row @ self.gamma)
        se = math.sqrt(max(float(row @ self.covariance @ row), 0.0))
        if self.robust is not None:
            df = self.robust.degrees_of_freedom(row)
        elif self.spec.inference in ("t", "knapp_hartung"):
            df = float(self.df_residual)
        else:
            df = np.inf
        if not (se > 0 and df > 0):
            return Estimate(value, se, *[np.nan] * 7)
        statistic = value / se
        tail = (1 - self.spec.ci_level) / 2
        half = stats.t.isf(tail, df) * se
        return Estimate(
            value,
            se,
            statistic,
            df,
            float(2 * stats.t.sf(abs(statistic), df)),
            value - half,
            value + half,
            *self._prediction_interval(value, se, df, tail),
        )

    def _to_basis(self, contrasts: Array) -> Array:
        """Return contrasts of the coefficients as contrasts of ``gamma``, same shape."""
        result: Array = np.asarray(np.linalg.solve(self.basis.T, contrasts.T).T, dtype=np.float64)
        return result

    def _prediction_interval(self, value: float, se: float, df: float, tail: float) -> Interval:
        """Return the interval for the true effect of a new study; NaN where undefined."""
        if self.spec.model == "common_effect":
            return np.nan, np.nan
        if self.spec.prediction == "hts":
            df = float(self.df_residual - 1)
        if not df > 0:
            return np.nan, np.nan
        half = float(stats.t.isf(tail, df) * np.sqrt(se**2 + self.tau2))
        return value - half, value + half

    def test(self, contrasts: Array) -> WaldTest:
        """Test that all rows of ``contrasts @ beta`` are zero.

        Parameters
        ----------
        contrasts
            Shape (q, p), full row rank.

        Returns
        -------
        WaldTest
            Chi-squared with z inference (df2 is infinite), F with t and Knapp–Hartung, HTZ
            with CR2.
        """
        q = len(contrasts)
        contrasts = self._to_basis(contrasts)
        # the test is the same for any basis of the contrasts; an orthonormal one keeps digits
        norms = np.linalg.norm(contrasts, axis=1, keepdims=True)
        contrasts = np.linalg.qr((contrasts / norms).T)[0].T
        values = contrasts @ self.gamma
        spread = contrasts @ self.covariance @ contrasts.T
        if np.linalg.matrix_rank(spread) < q:
            return WaldTest(np.nan, float(q), np.nan, np.nan)
        if self.robust is not None:
            return self.robust.wald_test(values, contrasts)
        wald = float(values @ np.linalg.solve(spread, values))
        if self.spec.inference == "z":
            return WaldTest(wald, float(q), np.inf, float(stats.chi2.sf(wald, q)))
        df2 = float(self.df_residual)
        return WaldTest(wald / q, float(q), df2, float(stats.f.sf(wald / q, q, df2)))


def fit_pooled(
    y: Array, v: Array, X: Array, clusters: NDArray[np.intp], spec: ModelSpecification
) -> PooledFit:
    """Fit a common-effect, random-effects or correlated-effects model.

    Parameters
    ----------
    y, v
        Effects and sampling variances, shape (k,); for "aggregated" the composites.
    X
        Design of full column rank, shape (k, p), with fewer columns than rows.
    clusters
        Cluster number of each effect (0, 1, … without gaps), shape (k,).
    spec
        A resolved specification.

    Returns
    -------
    PooledFit

    Notes
    -----
    Coefficients and weights are PyMARE's, and so is tau² where it has the estimator.
    ``rve`` uses the correlated-effects weights and moment estimator of Hedges, Tipton &
    Johnson (2010).
    """
    Q, basis = np.linalg.qr(X)
    correlated = spec.model == "rve"
    dataset = Dataset(y, v, Q, g=clusters if correlated else None, add_intercept=False)
    if spec.tau2 in ESTIMATORS and not correlated:
        tau2 = ESTIMATORS[spec.tau2](y, v, Q)
        results = _summarise(WeightedLeastSquares(tau2=tau2), dataset)
    else:
        results = _summarise(_estimator(spec), dataset)
        tau2 = float(np.ravel(results.tau2)[0])
        if spec.tau2 in ("ML", "REML"):
            tau2 = _polish_tau2(y, v, Q, tau2, restricted=spec.tau2 == "REML")
            results = _summarise(WeightedLeastSquares(tau2=tau2), dataset)
    gamma = np.asarray(results.fe_params, dtype=float).ravel()

    counts = np.bincount(clusters)
    mean_v = np.bincount(clusters, v) / counts
    weights = 1 / (counts * (mean_v + tau2))[clusters] if correlated else 1 / (v + tau2)

    robust = None
    if spec.inference == "cr2":
        members = [np.flatnonzero(clusters == c) for c in range(len(counts))]
        robust = cluster_robust(Q, y - Q @ gamma, members, [1 / weights[m] for m in members])
        covariance = robust.covariance
    else:
        covariance = np.linalg.inv((Q.T * weights) @ Q)
        if spec.inference == "knapp_hartung":
            scaled, _ = knapp_hartung_cov_and_dof(
                y[:, None], v[:, None], Q, gamma[:, None], covariance[:, :, None], tau2=tau2
            )
            covariance = np.asarray(scaled)[:, :, 0]

    if correlated:
        unit_y, unit_v = np.bincount(clusters, y) / counts, mean_v
        unit_Q = np.column_stack([np.bincount(clusters, q) / counts for q in Q.T])
    else:
        unit_y, unit_v, unit_Q = y, v, Q
    heterogeneity = _heterogeneity(spec, results, tau2, unit_y, unit_v, unit_Q)
    if spec.model != "rve":
        value = log_likelihood(y, v, X, Q @ gamma, tau2, restricted=spec.tau2 == "REML")
        heterogeneity["log_likelihood"] = (value, np.nan, np.nan)
    return PooledFit(
        spec,
        basis,
        gamma,
        covariance,
        weights,
        tau2,
        heterogeneity,
        len(unit_y) - Q.shape[1],
        robust,
    )


def _summarise(estimator: Any, dataset: Dataset) -> Any:
    with warnings.catch_warnings():
        # low degrees of freedom are reported from our own, per contrast
        warnings.simplefilter("ignore")
        estimator.fit_dataset(dataset)
        return estimator.summary()


def _polish_tau2(y: Array, v: Array, Q: Array, tau2: float, *, restricted: bool) -> float:
    """Solve the (restricted) score equation next to an estimate of tau².

    Viechtbauer (2005), for ML and REML: ``y'PPy = tr(W)`` and ``y'PPy = tr(P)``.
    """
    if tau2 < NEGLIGIBLE_TAU2 * v.mean():
        return 0.0

    def score(value: float) -> float:
        w = 1 / (v + value)
        left = np.linalg.qr(np.sqrt(w)[:, None] * Q)[0]
        scaled = np.sqrt(w) * y
        residuals = (scaled - left @ (left.T @ scaled)) * np.sqrt(w)
        leverage = (left**2).sum(axis=1) if restricted else 0.0
        return float((residuals**2).sum() - (w * (1 - leverage)).sum())

    low, high = tau2 * (1 - POLISH_WINDOW), tau2 * (1 + POLISH_WINDOW)
    if score(low) * score(high) > 0:
        return tau2
    return float(optimize.brentq(score, low, high, xtol=1e-300, rtol=1e-15))


def _estimator(
    spec: ModelSpecification,
) -> WeightedLeastSquares | DerSimonianLaird | Hedges | VarianceBasedLikelihoodEstimator:
    if spec.model == "common_effect":
        return WeightedLeastSquares(tau2=0.0)
    if spec.model == "rve":
        return DerSimonianLaird(weight_scheme="rescale", rho=spec.rho)
    if spec.tau2 == "DL":
        return DerSimonianLaird(small_sample_correction="wald")
    if spec.tau2 == "HE":
        return Hedges(small_sample_correction="wald")
    return VarianceBasedLikelihoodEstimator(method=str(spec.tau2), small_sample_correction="wald")


def _heterogeneity(
    spec: ModelSpecification,
    results: Any,
    tau2: float,
    y: Array,
    v: Array,
    X: Array,
) -> dict[str, tuple[float, float, float]]:
    """Return heterogeneity statistics of the independent units (effects or study means)."""
    residual = residual_heterogeneity(y, v, X)
    Q, p_value, df = residual.Q, residual.p_value, len(y) - X.shape[1]
    if spec.model == "rve":
        # all effects equal: Q is 0 and PyMARE's own I² would divide by it
        with np.errstate(divide="ignore", invalid="ignore"):
            stats_of = results.get_heterogeneity_stats()
        Q, p_value = float(np.ravel(stats_of["Q"])[0]), float(np.ravel(stats_of["p(Q)"])[0])
    low = high = np.nan
    if spec.model != "common_effect" and df > 0:
        interval = results.get_re_stats(alpha=1 - spec.ci_level)
        low, high = (float(np.ravel(interval[key])[0]) for key in ("ci_l", "ci_u"))
    typical = residual.typical_variance
    rows: dict[str, tuple[float, float, float]] = {}
    if spec.model != "common_effect":
        rows["tau2"] = (tau2, low, high)
        rows["tau"] = (np.sqrt(tau2), np.sqrt(low), np.sqrt(high))
        rows["I2"] = tuple(i_squared(t, typical) for t in (tau2, low, high))  # type: ignore[assignment]
        rows["H2"] = tuple(h_squared(t, typical) for t in (tau2, low, high))  # type: ignore[assignment]
    missing = (np.nan, np.nan)
    rows["I2_Q"] = (i_squared_q(Q, df), *missing)
    rows["Q"] = (Q, *missing)
    rows["Q_df"] = (float(df), *missing)
    rows["Q_p"] = (p_value, *missing)
    return rows
