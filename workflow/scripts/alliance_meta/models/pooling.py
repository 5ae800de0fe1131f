"""Univariate pooling and meta-regression through PyMARE."""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from alliance_meta.models.heterogeneity import (
    h_squared,
    i_squared,
    i_squared_q,
    information_criteria,
    log_likelihood,
    residual_heterogeneity,
)
from alliance_meta.models.multilevel import (
    MultilevelFit,
    build_structure,
    fit_multilevel,
    generalised_residual,
)
from alliance_meta.models.robust import ClusterRobust, WaldTest, cluster_robust
from alliance_meta.models.specification import MULTILEVEL_MODELS, ModelSpecification
from alliance_meta.models.variance import ESTIMATORS

if TYPE_CHECKING:
    from pymare import Dataset

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Interval = tuple[float, float]
# estimate, ci_low, ci_high
Row = tuple[float, float, float]

# a search along a likelihood stops near the root of machine precision; the score equation is
# then solved within this relative distance of what PyMARE found
POLISH_WINDOW = 1e-3
# a robust standard error below this share of the model's is rounding
NO_ROBUST_SE = 1e-7
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
    """A fitted model.

    Attributes
    ----------
    basis
        Triangular R with ``X = QR``; the fit itself is of the orthonormal Q, so that
        uncentred moderators (years) cost no digits. Shape (p, p).
    gamma, covariance
        Coefficients of Q and their covariance under the chosen inference, shapes (p,) and
        (p, p).
    model_covariance
        The same as the model alone gives it, without Knapp–Hartung or robust correction.
    weights
        Weight of each effect in the fit, shape (k,).
    tau2
        Variance of the true effects: between studies, plus within them in a multilevel model
        (0 for the common-effect model, NaN where it differs between groups).
    group_tau2
        The same for each variance group, shape (groups,); length 1 without ``separate_tau2``.
    df_residual, n_units
        k − p, and the number of independent units (studies, or effects taken as independent).
    components
        The fit of the variance components, for multilevel models and separate variances.
    notes
        What a reader must know about the fit, in sentences.
    """

    spec: ModelSpecification
    basis: Array
    gamma: Array
    covariance: Array
    model_covariance: Array
    weights: Array
    tau2: float
    group_tau2: Array
    df_residual: int
    n_units: int
    robust: ClusterRobust | None
    components: MultilevelFit | None = None
    notes: tuple[str, ...] = ()
    describe: Callable[[], dict[str, Row]] = field(default=dict, repr=False)

    @cached_property
    def heterogeneity(self) -> Mapping[str, Row]:
        """Parameter -> (estimate, ci_low, ci_high), names as in ``heterogeneity.csv``."""
        return self.describe()

    def contrast(self, row: Array, group: int | None = None) -> Estimate:
        """Return estimate, test, confidence and prediction interval of ``row @ beta``.

        Parameters
        ----------
        row
            Shape (p,).
        group
            Variance group of the prediction interval, where variances differ.
        """
        row = self.to_basis(row)
        value = float(row @ self.gamma)
        se = math.sqrt(max(float(row @ self.covariance @ row), 0.0))
        if self.robust is not None:
            df = self.robust.degrees_of_freedom(row)
        elif self.spec.inference != "z":
            df = float(self.df_residual)
        else:
            df = np.inf
        if self.robust is not None:
            usual = math.sqrt(max(float(row @ self.model_covariance @ row), 0.0))
            # a contrast that its clusters fit perfectly has rounding for a standard error
            se = se if se > NO_ROBUST_SE * usual else 0.0
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
            *self._prediction_interval(
                value, se, df, tail, self.tau2 if group is None else float(self.group_tau2[group])
            ),
        )

    def shrunken_effects(self, y: Array, v: Array, X: Array) -> tuple[Array, Array]:
        """Return the shrunken true effects of a univariate model and their standard errors.

        Parameters
        ----------
        y, v, X
            What was fitted, shapes (k,), (k,), (k, p).

        Notes
        -----
        Raudenbush & Bryk (1985): ``λy + (1 − λ)x'b`` with ``λ = τ²/(τ² + v)``.
        """
        tau2 = 1 / self.weights - v if np.isnan(self.tau2) else self.tau2
        share = tau2 / (tau2 + v)
        rows = self.to_basis(X)
        leverage = np.einsum("kp,pq,kq->k", rows, self.covariance, rows)
        value = share * y + (1 - share) * (rows @ self.gamma)
        return value, np.sqrt(share * v + (1 - share) ** 2 * leverage)

    def to_basis(self, contrasts: Array) -> Array:
        """Return contrasts of the coefficients as contrasts of ``gamma``, same shape."""
        result: Array = np.asarray(np.linalg.solve(self.basis.T, contrasts.T).T, dtype=np.float64)
        return result

    def _prediction_interval(
        self, value: float, se: float, df: float, tail: float, tau2: float
    ) -> Interval:
        """Return the interval for the true effect of a new study; NaN where undefined."""
        if self.spec.model == "common_effect":
            return np.nan, np.nan
        if self.spec.prediction == "hts":
            df = float(self.n_units - len(self.gamma) - 1)
        if not (df > 0 and np.isfinite(tau2)):
            return np.nan, np.nan
        half = float(stats.t.isf(tail, df) * np.sqrt(se**2 + tau2))
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
        contrasts = self.to_basis(contrasts)
        # the test is the same for any basis of the contrasts; an orthonormal one keeps digits
        norms = np.linalg.norm(contrasts, axis=1, keepdims=True)
        contrasts = np.linalg.qr((contrasts / norms).T)[0].T
        values = contrasts @ self.gamma
        spread = contrasts @ self.covariance @ contrasts.T
        if np.linalg.matrix_rank(spread) < q:
            return WaldTest(np.nan, float(q), np.nan, np.nan)
        if self.robust is not None:
            root = np.linalg.inv(
                np.linalg.cholesky(contrasts @ self.model_covariance @ contrasts.T)
            )
            # a set that its clusters fit perfectly has rounding for a covariance
            if np.linalg.eigvalsh(root @ spread @ root.T)[0] < NO_ROBUST_SE**2:
                return WaldTest(np.nan, float(q), np.nan, np.nan)
            return self.robust.wald_test(values, contrasts)
        wald = float(values @ np.linalg.solve(spread, values))
        if self.spec.inference == "z":
            return WaldTest(wald, float(q), np.inf, float(stats.chi2.sf(wald, q)))
        df2 = float(self.df_residual)
        return WaldTest(wald / q, float(q), df2, float(stats.f.sf(wald / q, q, df2)))


def fit_pooled(
    y: Array,
    v: Array,
    X: Array,
    clusters: Index,
    spec: ModelSpecification,
    *,
    samples: Index | None = None,
    groups: Index | None = None,
    cells: Index | None = None,
) -> PooledFit:
    """Fit a model to effects.

    Parameters
    ----------
    y, v
        Effects and sampling variances, shape (k,); for "aggregated" the composites.
    X
        Design of full column rank, shape (k, p), with fewer columns than rows.
    clusters
        Study number of each effect (0, 1, … without gaps), shape (k,).
    spec
        A resolved specification.
    samples
        Sample number of each effect, shape (k,), for correlated sampling errors; default: the
        study is one sample.
    groups
        Variance group of each effect, shape (k,), for ``separate_tau2``.
    cells
        Multilevel models: effects of one study share a random intercept within a cell only,
        shape (k,); default: the variance groups.

    Returns
    -------
    PooledFit

    Raises
    ------
    InestimableError
        If variance components do not settle.

    Notes
    -----
    Univariate coefficients and weights are PyMARE's, and so is tau² where it has the estimator.
    ``rve`` uses the correlated-effects weights and moment estimator of Hedges, Tipton &
    Johnson (2010).
    """
    Q, basis = np.linalg.qr(X)
    if spec.model in MULTILEVEL_MODELS or (spec.separate_tau2 and groups is not None):
        return _fit_components(y, v, Q, basis, clusters, spec, samples, groups, cells)
    return _fit_univariate(y, v, Q, basis, clusters, spec)


def _fit_univariate(
    y: Array, v: Array, Q: Array, basis: Array, clusters: Index, spec: ModelSpecification
) -> PooledFit:
    # here and not above: PyMARE takes a second to import, which multilevel models do not need
    from pymare import Dataset
    from pymare.estimators import WeightedLeastSquares
    from pymare.stats import knapp_hartung_cov_and_dof

    correlated = spec.model == "rve"
    # PyMARE's searches have absolute limits; a power of two brings any unit to theirs exactly
    unit = 2.0 ** round(math.log2(math.sqrt(float(v.mean()))))
    groups = clusters if correlated else None
    dataset = Dataset(y / unit, v / unit**2, Q, g=groups, add_intercept=False)
    if spec.tau2 in ESTIMATORS and not correlated:
        tau2 = ESTIMATORS[spec.tau2](y, v, Q)
        results = _summarise(WeightedLeastSquares(tau2=tau2 / unit**2), dataset)
    else:
        results = _summarise(_estimator(spec), dataset)
        tau2 = float(np.ravel(results.tau2)[0]) * unit**2
        if spec.tau2 in ("ML", "REML"):
            tau2 = _polish_tau2(y, v, Q, tau2, restricted=spec.tau2 == "REML")
            results = _summarise(WeightedLeastSquares(tau2=tau2 / unit**2), dataset)
    gamma = np.asarray(results.fe_params, dtype=float).ravel() * unit

    counts = np.bincount(clusters)
    mean_v = np.bincount(clusters, v) / counts
    weights = 1 / (counts * (mean_v + tau2))[clusters] if correlated else 1 / (v + tau2)

    robust = None
    model_covariance = np.asarray(np.linalg.inv((Q.T * weights) @ Q), float)
    covariance = model_covariance
    if spec.inference == "cr2":
        robust = cluster_robust(Q, y - Q @ gamma, clusters, _diagonal(1 / weights))
        covariance = robust.covariance
    elif spec.inference in ("knapp_hartung", "knapp_hartung_conservative"):
        scaled, _ = knapp_hartung_cov_and_dof(
            y[:, None], v[:, None], Q, gamma[:, None], covariance[:, :, None], tau2=tau2
        )
        covariance = np.asarray(scaled)[:, :, 0]
        if spec.inference == "knapp_hartung_conservative":
            covariance = max(covariance, model_covariance, key=lambda matrix: matrix[0, 0])

    if correlated:
        unit_y, unit_v = np.bincount(clusters, y) / counts, mean_v
        unit_Q = np.column_stack([np.bincount(clusters, q) / counts for q in Q.T])
    else:
        unit_y, unit_v, unit_Q = y, v, Q

    def describe() -> dict[str, Row]:
        rows = _heterogeneity(spec, results, tau2, unit, unit_y, unit_v, unit_Q)
        if not correlated:
            restricted = spec.tau2 == "REML"
            value = log_likelihood(y, v, Q, Q @ gamma, tau2, restricted=restricted)
            n_parameters = Q.shape[1] + (spec.model != "common_effect")
            rows |= information_criteria(value, Q.shape, n_parameters, restricted=restricted)
        return rows

    return PooledFit(
        spec,
        basis,
        gamma,
        covariance,
        model_covariance,
        weights,
        tau2,
        np.array([tau2]),
        len(unit_y) - Q.shape[1],
        len(counts) if robust is not None else len(unit_y),
        robust,
        describe=describe,
    )


def _diagonal(values: Array) -> Callable[[Index], Array]:
    """Return the maker of a diagonal working covariance, as ``cluster_robust`` takes it."""
    return lambda rows: values[rows][:, :, None] * np.eye(rows.shape[1])


def _fit_components(
    y: Array,
    v: Array,
    Q: Array,
    basis: Array,
    clusters: Index,
    spec: ModelSpecification,
    samples: Index | None,
    groups: Index | None,
    cells: Index | None,
) -> PooledFit:
    """Fit several variance components: a multilevel model, or one tau² for each group."""
    multilevel = spec.model in MULTILEVEL_MODELS
    rho = spec.rho if spec.model == "che" else 0.0
    # effects taken as independent are studies of their own
    units = clusters if multilevel else np.arange(len(y))
    if samples is None or not multilevel:
        samples = units
    if groups is None:
        groups = np.zeros(len(y), dtype=np.intp)
    structure = build_structure(units, samples, groups, cells)
    free = estimable_components(units, groups) if multilevel else _between_only(groups)
    restricted = spec.tau2 == "REML"
    fit = fit_multilevel(y, v, Q, structure, rho=rho, restricted=restricted, free=free)
    robust, covariance = None, fit.bread
    blocks = structure.block_of_rows()
    if spec.inference == "cr2":
        independent = blocks if multilevel else clusters
        working = fit.working_covariance() if multilevel else _diagonal(1 / fit.weights)
        robust = cluster_robust(Q, fit.residuals, independent, working)
        covariance = robust.covariance
    group_tau2 = fit.between + fit.within

    def describe() -> dict[str, Row]:
        rows = component_rows(fit, spec, multilevel=multilevel)
        total, typical = generalised_residual(y, v, Q, structure, rho)
        df = len(y) - Q.shape[1]
        if len(group_tau2) == 1:
            rows |= _shares(fit, typical)
        rows["I2_Q"] = _lone(i_squared_q(total, df))
        rows["Q"] = _lone(total)
        rows["Q_df"] = _lone(float(df))
        rows["Q_p"] = _lone(float(stats.chi2.sf(total, df)) if df > 0 else np.nan)
        n_parameters = Q.shape[1] + int(free.sum())
        rows |= information_criteria(
            fit.log_likelihood, Q.shape, n_parameters, restricted=restricted
        )
        return rows

    n_blocks = int(blocks.max()) + 1
    notes = []
    if multilevel and n_blocks < int(clusters.max()) + 1:
        notes.append(
            f"Some studies share a sample; the {int(clusters.max()) + 1} studies make {n_blocks} "
            "independent clusters."
        )
    return PooledFit(
        spec,
        basis,
        fit.coefficients,
        covariance,
        fit.bread,
        fit.weights,
        float(group_tau2[0]) if len(group_tau2) == 1 else np.nan,
        group_tau2,
        len(y) - Q.shape[1],
        n_blocks if multilevel else len(y),
        robust,
        fit,
        tuple(notes),
        describe,
    )


def _lone(value: float) -> Row:
    return value, np.nan, np.nan


def estimable_components(studies: Index, groups: Index) -> NDArray[np.bool_]:
    """Return which variances can be estimated, shape (2 × groups,): between, then within.

    A group needs two studies for the variance between them, and a study with two of its
    effects for the variance within.
    """
    n_groups = int(groups.max()) + 1
    pairs, counts = np.unique(np.column_stack([groups, studies]), axis=0, return_counts=True)
    between = np.bincount(pairs[:, 0], minlength=n_groups) > 1
    within = np.bincount(pairs[:, 0], counts > 1, n_groups) > 0
    return np.concatenate([between, within])


def _between_only(groups: Index) -> NDArray[np.bool_]:
    """Return the same for independent effects: a group needs two, and there is no within."""
    counts = np.bincount(groups)
    return np.concatenate([counts > 1, np.zeros(len(counts), dtype=bool)])


def component_rows(
    fit: MultilevelFit, spec: ModelSpecification, *, multilevel: bool
) -> dict[str, Row]:
    """Return variances and standard deviations with profile-likelihood intervals."""
    n_groups = len(fit.between)
    marks = [""] if n_groups == 1 else [f"[{g}]" for g in range(n_groups)]
    names = [f"tau2_between{m}" for m in marks] + [f"tau2_within{m}" for m in marks]
    if not multilevel:
        names = [f"tau2{m}" for m in marks]
    rows: dict[str, Row] = {}
    for i, name in enumerate(names):
        estimate = float(fit.theta[i]) if fit.free[i] else np.nan
        rows[name] = (estimate, *fit.profile_interval(i, spec.ci_level))
    roots = {
        name.replace("tau2", "tau"): (float(np.sqrt(a)), float(np.sqrt(b)), float(np.sqrt(c)))
        for name, (a, b, c) in rows.items()
    }
    if n_groups == 1 and multilevel:
        roots["tau"] = _lone(float(np.sqrt(fit.theta.sum())))
    return rows | roots


def _shares(fit: MultilevelFit, typical: float) -> dict[str, Row]:
    """Return I² in total and of each level, the intraclass correlation, and H²."""
    between, within = float(fit.between[0]), float(fit.within[0])
    total = between + within
    split = bool(fit.free.all())
    return {
        "I2": _lone(i_squared(total, typical)),
        "I2_between": _lone(100 * between / (total + typical)),
        "I2_within": _lone(100 * within / (total + typical) if split else np.nan),
        "ICC": _lone(between / total if split and total > 0 else np.nan),
        "H2": _lone(h_squared(total, typical)),
    }


def _summarise(estimator: Any, dataset: "Dataset") -> Any:
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


def _estimator(spec: ModelSpecification) -> Any:
    from pymare.estimators import (
        DerSimonianLaird,
        Hedges,
        VarianceBasedLikelihoodEstimator,
        WeightedLeastSquares,
    )

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
    unit: float,
    y: Array,
    v: Array,
    X: Array,
) -> dict[str, tuple[float, float, float]]:
    """Return heterogeneity statistics of the independent units (effects or study means).

    ``results`` are in units of ``unit``.
    """
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
        low, high = (float(np.ravel(interval[key])[0]) * unit**2 for key in ("ci_l", "ci_u"))
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
