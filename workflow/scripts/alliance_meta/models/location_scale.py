"""Location–scale meta-regression: moderators of the mean and of the heterogeneity."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.linalg import null_space

from alliance_meta.models.heterogeneity import residual_heterogeneity
from alliance_meta.models.pooling import Estimate
from alliance_meta.models.robust import WaldTest
from alliance_meta.models.specification import InestimableError, SpecificationError

Array = NDArray[np.float64]

INFERENCES = ("z", "t", "knapp_hartung", "knapp_hartung_conservative")

# Newton's steps shrink quadratically: after one this small, rounding is all that is left
CONVERGED_STEP = 1e-9
# a step changes log τ² of no study by more, the range in which a quadratic is any guide
LONGEST_STEP = 2.0
MAX_ITERATIONS = 300
MAX_HALVINGS = 40
# log-likelihood that a step still promises; with τ² still moving, nothing is left to find there
FLAT_GAIN = 1e-12
MOVING_STEP = 1e-2
# information on a standardised scale coefficient, the same flatness as the two above
LEAST_INFORMATION = 1e-8
# log-likelihoods this close are the same maximum
SAME_MAXIMUM = 1e-8
# a τ² below this share of the study's sampling variance is on its way to zero
VANISHING_SHARE = 1e-6
# the search starts no lower than this share of the typical sampling variance
LOWEST_START = 0.1
# further starts, in standardised scale coefficients: near, and where τ² differs very steeply
START_DISTANCES = (1.0, 4.0)
# an intercept is in the span of a design up to rounding
SPAN_TOLERANCE = 1e-9


class LikelihoodRatio(NamedTuple):
    """A likelihood-ratio test: chi-squared statistic, its df, p-value."""

    statistic: float
    df: float
    p_value: float


@dataclass(frozen=True)
class RegressionPart:
    """Coefficients of one part of the model, location or scale.

    Attributes
    ----------
    basis
        Upper triangular R (p, p) with ``X = QR``; the fit is of the orthogonal Q, so that
        uncentred moderators (years) cost no digits.
    gamma, gamma_covariance
        Coefficients of Q and their covariance, shapes (p,) and (p, p).
    df
        Degrees of freedom of the tests; infinite for a normal reference.
    ci_level
        Confidence level, in (0, 1).
    """

    basis: Array
    gamma: Array
    gamma_covariance: Array
    df: float
    ci_level: float

    @property
    def coefficients(self) -> Array:
        """Coefficients of the design's own columns, shape (p,)."""
        return np.asarray(np.linalg.solve(self.basis, self.gamma), dtype=np.float64)

    @property
    def covariance(self) -> Array:
        """Covariance of ``coefficients``, shape (p, p)."""
        half = np.linalg.solve(self.basis, self.gamma_covariance)
        return np.asarray(np.linalg.solve(self.basis, half.T), dtype=np.float64)

    def to_basis(self, contrasts: Array) -> Array:
        """Return contrasts of the coefficients as contrasts of ``gamma``, same shape."""
        return np.asarray(np.linalg.solve(self.basis.T, contrasts.T).T, dtype=np.float64)

    def contrast(self, row: Array) -> Estimate:
        """Return estimate, test and confidence interval of ``row @ coefficients``.

        Parameters
        ----------
        row
            Shape (p,).

        Returns
        -------
        Estimate
            Without prediction interval (NaN); NaN from the statistic on where the standard
            error is zero or no degree of freedom is left.
        """
        row = self.to_basis(row)
        value = float(row @ self.gamma)
        se = math.sqrt(max(float(row @ self.gamma_covariance @ row), 0.0))
        if not (se > 0 and self.df > 0):
            return Estimate(value, se, *[np.nan] * 7)
        statistic = value / se
        half = float(stats.t.isf((1 - self.ci_level) / 2, self.df)) * se
        p_value = float(2 * stats.t.sf(abs(statistic), self.df))
        interval = (value - half, value + half)
        return Estimate(value, se, statistic, self.df, p_value, *interval, np.nan, np.nan)

    def estimates(self) -> tuple[Estimate, ...]:
        """Return one ``Estimate`` per coefficient, in the order of the columns."""
        return tuple(self.contrast(row) for row in np.eye(len(self.gamma)))

    def test(self, contrasts: Array) -> WaldTest:
        """Test that all rows of ``contrasts @ coefficients`` are zero.

        Parameters
        ----------
        contrasts
            Shape (m, p), full row rank.

        Returns
        -------
        WaldTest
            Chi-squared with a normal reference (df2 is infinite), else F.
        """
        return self.test_gamma(self.to_basis(contrasts))

    def test_gamma(self, contrasts: Array) -> WaldTest:
        """Test that all rows of ``contrasts @ gamma`` are zero; see ``test``."""
        m = len(contrasts)
        if m == 0:
            return WaldTest(np.nan, 0.0, np.nan, np.nan)
        # the test is the same for any basis of the contrasts; an orthonormal one keeps digits
        norms = np.linalg.norm(contrasts, axis=1, keepdims=True)
        contrasts = np.linalg.qr((contrasts / norms).T)[0].T
        spread = contrasts @ self.gamma_covariance @ contrasts.T
        if np.linalg.matrix_rank(spread) < m or not self.df > 0:
            return WaldTest(np.nan, float(m), np.nan, np.nan)
        values = contrasts @ self.gamma
        wald = float(values @ np.linalg.solve(spread, values))
        if math.isinf(self.df):
            return WaldTest(wald, float(m), np.inf, float(stats.chi2.sf(wald, m)))
        return WaldTest(wald / m, float(m), self.df, float(stats.f.sf(wald / m, m, self.df)))


@dataclass(frozen=True)
class LocationScaleFit:
    """A fitted location–scale model of k effects with p location and q scale coefficients.

    Attributes
    ----------
    restricted, inference, ci_level
        As asked for.
    location, scale
        Coefficients of the mean, and of log τ² (z or t with k − q df).
    tau2
        Between-study variance of each study, shape (k,).
    weights
        ``1 / (v + tau2)``, shape (k,).
    log_likelihood
        Maximum of the (restricted) log-likelihood, constants as in metafor's ``logLik``.
    is_local
        Whether the search also met a higher likelihood where τ² of some studies runs to zero,
        which is no estimate; deserves a warning.
    aic, aicc
        With p + q parameters and, if restricted, k − p for k.
    Q, Q_df, Q_p
        Residual heterogeneity about the location part with weights ``1/v`` (QE).
    tau2_constant, log_likelihood_constant
        The same model with one τ² for all studies.
    likelihood_ratio
        Test against that model; NaN where the scale part does not contain it or is it.
    scale_test
        Wald test of the scale moderators (QS): that τ² is constant; without a constant in
        the scale part, that all its coefficients are zero.
    """

    restricted: bool
    inference: str
    ci_level: float
    location: RegressionPart
    scale: RegressionPart
    tau2: Array
    weights: Array
    log_likelihood: float
    is_local: bool
    aic: float
    aicc: float
    Q: float
    Q_df: int
    Q_p: float
    tau2_constant: float
    log_likelihood_constant: float
    likelihood_ratio: LikelihoodRatio
    scale_test: WaldTest

    @property
    def beta(self) -> Array:
        """Location coefficients, shape (p,)."""
        return self.location.coefficients

    @property
    def covariance(self) -> Array:
        """Covariance of ``beta`` under the chosen inference, shape (p, p)."""
        return self.location.covariance

    @property
    def alpha(self) -> Array:
        """Scale coefficients, of log τ², shape (q,)."""
        return self.scale.coefficients

    @property
    def alpha_covariance(self) -> Array:
        """Covariance of ``alpha``: the inverse observed information, shape (q, q)."""
        return self.scale.covariance

    @property
    def df_residual(self) -> int:
        """Effects minus location coefficients, k − p."""
        return len(self.tau2) - len(self.location.gamma)

    def contrast(self, row: Array, scale_row: Array | None = None) -> Estimate:
        """Return estimate, test, confidence and prediction interval of ``row @ beta``.

        Parameters
        ----------
        row
            Shape (p,).
        scale_row
            Scale moderators of the new study that the prediction interval is for, shape
            (q,); None for no prediction interval.
        """
        estimate = self.location.contrast(row)
        if scale_row is None or math.isnan(estimate.df):
            return estimate
        tau2 = math.exp(self.scale.contrast(scale_row).value)
        reach = float(stats.t.isf((1 - self.ci_level) / 2, estimate.df))
        half = reach * math.sqrt(estimate.se**2 + tau2)
        return replace(estimate, pi_low=estimate.value - half, pi_high=estimate.value + half)

    def test(self, contrasts: Array) -> WaldTest:
        """Test that all rows of ``contrasts @ beta`` are zero, shape (m, p)."""
        return self.location.test(contrasts)


def fit_location_scale(
    y: Array,
    v: Array,
    X: Array,
    Z: Array,
    *,
    restricted: bool = True,
    inference: str = "knapp_hartung",
    ci_level: float = 0.95,
) -> LocationScaleFit:
    """Fit ``y ~ N(X beta, v + tau2)`` with ``log tau2 = Z alpha``.

    Parameters
    ----------
    y, v
        Effects, one per study, and their sampling variances, shape (k,).
    X, Z
        Designs of the mean and of log τ², shapes (k, p) and (k, q).
    restricted
        Whether to maximise the restricted likelihood (REML) rather than the likelihood.
    inference
        One of ``INFERENCES``. Knapp–Hartung scales the covariance of ``beta``; the scale
        part then has its t tests with k − q df and an unscaled covariance.
    ci_level
        Confidence level, in (0, 1).

    Returns
    -------
    LocationScaleFit

    Raises
    ------
    SpecificationError
        If the inference is not one of ``INFERENCES``.
    InestimableError
        If there are too few effects, a design is not of full rank, or the likelihood has no
        maximum at finite scale coefficients, as where τ² runs to zero.

    Notes
    -----
    Viechtbauer & López-López (2022, Research Synthesis Methods 13, 697–715). The likelihood,
    profiled over ``beta``, is climbed by Newton's method from several starts and the best
    maximum taken. Neither the estimates nor the search depend on how the moderators are
    scaled or centred.
    """
    if inference not in INFERENCES:
        raise SpecificationError(
            f"inference '{inference}' is not available for a model of the heterogeneity; "
            f"use one of: {', '.join(INFERENCES)}",
            setting="inference",
        )
    y, v = np.asarray(y, dtype=np.float64), np.asarray(v, dtype=np.float64)
    k, p, q = len(y), X.shape[1], Z.shape[1]
    _refuse_inestimable(y, v, X, Z)
    Q, basis = _orthogonalise(X)
    B, scale_basis = _orthogonalise(Z)
    # columns of mean square 1, so that a unit of gamma moves log τ² of a study by about 1
    B, scale_basis = B * math.sqrt(k), scale_basis / math.sqrt(k)

    constant = _Likelihood(y, v, Q, np.ones((k, 1)), restricted)
    tau2_constant, value_constant = _fit_constant(constant)
    likelihood = _Likelihood(y, v, Q, B, restricted)
    best, is_local = _find_maximum(likelihood, tau2_constant, value_constant)
    tau2 = likelihood.tau2(best)
    _, _, hessian = likelihood.derivatives(best)
    _refuse_flat(hessian)
    value = likelihood.value(tau2)

    location = _fit_location(y, v + tau2, Q, basis, inference, ci_level)
    scale_df = np.inf if inference == "z" else float(k - q)
    scale = RegressionPart(
        scale_basis, best, _symmetric(np.linalg.inv(-hessian)), scale_df, ci_level
    )

    mean_direction = B.T @ np.ones(k) / k
    nested = bool(np.abs(B @ mean_direction - 1).max() < SPAN_TOLERANCE)
    ratio = LikelihoodRatio(np.nan, float(q - 1), np.nan)
    if nested and q > 1:
        # the larger model is never worse; rounding may say so
        statistic = max(0.0, 2 * (value - value_constant))
        ratio = LikelihoodRatio(statistic, float(q - 1), float(stats.chi2.sf(statistic, q - 1)))
    departures = null_space(mean_direction[None, :]).T if nested else np.eye(q)

    residual = residual_heterogeneity(y, v, X)
    # metafor's counts: all coefficients, and at least two units more than these
    size, parameters = (k - p if restricted else k), p + q
    size = max(size, parameters + 2)
    return LocationScaleFit(
        restricted=restricted,
        inference=inference,
        ci_level=ci_level,
        location=location,
        scale=scale,
        tau2=tau2,
        weights=1 / (v + tau2),
        log_likelihood=value,
        is_local=is_local,
        aic=-2 * value + 2 * parameters,
        aicc=-2 * value + 2 * parameters * size / (size - parameters - 1),
        Q=residual.Q,
        Q_df=residual.df,
        Q_p=residual.p_value,
        tau2_constant=tau2_constant,
        log_likelihood_constant=value_constant,
        likelihood_ratio=ratio,
        scale_test=scale.test_gamma(departures),
    )


class _Likelihood:
    """The (restricted) log-likelihood of scale coefficients, profiled over the mean."""

    def __init__(self, y: Array, v: Array, Q: Array, B: Array, restricted: bool) -> None:
        self.y, self.v, self.Q, self.B, self.restricted = y, v, Q, B, restricted
        k, p = Q.shape
        self.constant = -0.5 * (k - p if restricted else k) * math.log(2 * math.pi)

    def tau2(self, gamma: Array) -> Array:
        """Return τ² of each study, shape (k,); infinite where it overflows."""
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(self.B @ gamma), dtype=np.float64)

    def value(self, tau2: Array) -> float:
        """Return the log-likelihood of between-study variances, shape (k,)."""
        if not np.isfinite(tau2).all():
            return -np.inf
        return self._decompose(tau2)[0]

    def _decompose(self, tau2: Array) -> tuple[float, Array, Array, Array]:
        """Return the log-likelihood, ``Py``, and w and A with ``P = diag(w) − AA'``."""
        w = 1 / (self.v + tau2)
        root = np.sqrt(w)
        left, right = np.linalg.qr(root[:, None] * self.Q)
        scaled = root * self.y
        # twice is enough: the second projection removes what rounding left of the first
        scaled = scaled - left @ (left.T @ scaled)
        scaled = scaled - left @ (left.T @ scaled)
        value = self.constant + 0.5 * float(np.log(w).sum()) - 0.5 * float(scaled @ scaled)
        if self.restricted:
            diagonal = np.abs(np.diag(right))
            if not (diagonal > 0).all():
                return -np.inf, scaled, w, left
            # the columns of Q are orthonormal, so that log|X'X| needs no term of its own
            value -= float(np.log(diagonal).sum())
        return value, root * scaled, w, root[:, None] * left

    def derivatives(self, gamma: Array) -> tuple[float, Array, Array]:
        """Return the log-likelihood, its gradient (q,) and Hessian (q, q).

        From ``dP/dτ²_i = −P e_i e_i' P``, with ``τ²_i`` times the scale row as the derivative
        of ``τ²_i``; no (k, k) matrix is formed.
        """
        tau2 = self.tau2(gamma)
        value, residuals, w, A = self._decompose(tau2)
        leverage = (A**2).sum(axis=1)
        lost = w - leverage if self.restricted else w
        score = 0.5 * tau2 * (residuals**2 - lost)
        T = tau2[:, None] * self.B
        share = tau2 * w
        curvature = share * (share - 2 * tau2 * leverage if self.restricted else share)
        hessian = (self.B.T * (score + 0.5 * curvature)) @ self.B
        if self.restricted:
            pairs = np.einsum("iq,ir,is->qrs", T, A, A).reshape(T.shape[1], -1)
            hessian += 0.5 * pairs @ pairs.T
        R = residuals[:, None] * T
        projected = A.T @ R
        hessian -= (R.T * w) @ R - projected.T @ projected
        return value, self.B.T @ score, _symmetric(hessian)


@dataclass(frozen=True)
class _Climb:
    """Where a climb ended, and whether on a maximum or on a slope that goes on for ever."""

    gamma: Array
    value: float
    converged: bool
    endless: bool = False


def _climb(likelihood: _Likelihood, gamma: Array) -> _Climb:
    """Climb the log-likelihood by Newton's method with safeguarded steps."""
    value, gradient, hessian = likelihood.derivatives(gamma)
    for _ in range(MAX_ITERATIONS):
        information, axes = np.linalg.eigh(-hessian)
        # where the surface is not concave, its curvature still sets the scale of the step
        flat = float(np.abs(information).min()) < LEAST_INFORMATION
        information = np.maximum(np.abs(information), LEAST_INFORMATION**2)
        step = axes @ ((axes.T @ gradient) / information)
        gain = float(gradient @ step)
        moves = np.abs(likelihood.B @ step)
        longest = float(moves.max())
        if longest < CONVERGED_STEP and not flat:
            return _Climb(gamma, value, True)
        if gain < FLAT_GAIN and (flat or longest > MOVING_STEP):
            return _Climb(gamma, value, False, True)
        # where τ² has all but vanished, only ever longer moves change anything
        vanished = np.maximum(0.0, np.log(likelihood.v) - likelihood.B @ gamma)
        step *= min(1.0, LONGEST_STEP / float((moves / (1 + vanished)).max()))
        for _ in range(MAX_HALVINGS):
            trial = likelihood.value(likelihood.tau2(gamma + step))
            # rounding of the likelihood itself is no loss
            if trial >= value - 1e-13 * abs(value):
                break
            step /= 2
        else:
            return _Climb(gamma, value, False)
        gamma = gamma + step
        value, gradient, hessian = likelihood.derivatives(gamma)
    return _Climb(gamma, value, False)


def _fit_constant(likelihood: _Likelihood) -> tuple[float, float]:
    """Return the τ² that is best for all studies, and its log-likelihood."""
    y, v = likelihood.y, likelihood.v
    # beyond the spread of the effects about zero the likelihood only falls
    top = max(float(np.ptp(y)) ** 2, float(v.max())) * 10
    grid = np.geomspace(LOWEST_START**4 * float(v.min()), top, 60)
    ones = np.ones(len(y))
    values = [likelihood.value(ones * tau2) for tau2 in grid]
    climbed = _climb(likelihood, np.log(grid[[int(np.argmax(values))]]))
    at_zero = likelihood.value(0 * ones)
    if climbed.converged and climbed.value > at_zero:
        return math.exp(climbed.gamma[0]), climbed.value
    return 0.0, at_zero


def _starts(likelihood: _Likelihood, tau2_constant: float) -> Iterator[Array]:
    """Yield scale coefficients to climb from; the surface may have several maxima."""
    y, v, Q, B = likelihood.y, likelihood.v, likelihood.Q, likelihood.B
    k, q = B.shape
    typical = 1 / float((1 / v).mean())
    level = B.T @ np.full(k, math.log(max(tau2_constant, LOWEST_START * typical))) / k
    yield level
    for axis in np.eye(q):
        for distance in START_DISTANCES:
            yield level + distance * axis
            yield level - distance * axis
    # the log of a squared residual is log τ² and noise, once the sampling variance is small
    squares = (y - Q @ (Q.T @ y)) ** 2
    yield B.T @ np.log(np.maximum(squares, LOWEST_START * v)) / k


def _find_maximum(
    likelihood: _Likelihood, tau2_constant: float, value_constant: float
) -> tuple[Array, bool]:
    """Return the best scale coefficients, (q,), and whether a slope without end goes higher.

    Raises
    ------
    InestimableError
        If no maximum is at least as good as one τ² for all studies.
    """
    climbs = [_climb(likelihood, start) for start in _starts(likelihood, tau2_constant)]
    maxima = [climb for climb in climbs if climb.converged]
    endless = [climb for climb in climbs if climb.endless]
    best = max(maxima, key=lambda climb: climb.value, default=None)
    highest = max(endless, key=lambda climb: climb.value, default=None)
    if best is not None and (highest is None or best.value > value_constant - SAME_MAXIMUM):
        return best.gamma, highest is not None and highest.value > best.value + SAME_MAXIMUM
    if highest is None:
        raise InestimableError("the search for the scale coefficients did not converge")
    k = len(likelihood.y)
    vanishing = int((likelihood.tau2(highest.gamma) < VANISHING_SHARE * likelihood.v).sum())
    if vanishing == k or (tau2_constant == 0 and highest.value <= value_constant + SAME_MAXIMUM):
        raise InestimableError(
            "the between-study variance is estimated as zero for all studies, so that there is "
            "no heterogeneity for the scale moderators to explain"
        )
    if vanishing:
        raise InestimableError(
            f"the between-study variance runs to zero for {vanishing} of the {k} studies, so "
            "that the scale coefficients have no finite estimate; leave out a scale moderator "
            "or merge its levels"
        )
    raise InestimableError(_FLAT)


_FLAT = (
    "the likelihood is flat in the scale coefficients: these studies do not tell how the "
    "between-study variance differs; leave out a scale moderator or merge its levels"
)


def _refuse_flat(hessian: Array) -> None:
    if float(np.linalg.eigvalsh(-hessian).min()) < LEAST_INFORMATION:
        raise InestimableError(_FLAT)


def _refuse_inestimable(y: Array, v: Array, X: Array, Z: Array) -> None:
    """Raise if the rows cannot carry the model, whatever the likelihood."""
    k, p, q = len(y), X.shape[1], Z.shape[1]
    if not (np.isfinite(y).all() and np.isfinite(v).all() and (v > 0).all()):
        raise InestimableError("every effect needs a finite value and a positive sampling variance")
    if k < p + q:
        raise InestimableError(
            f"{k} effects are too few for {p} coefficients of the mean and {q} of the heterogeneity"
        )
    for name, matrix in (("mean", X), ("heterogeneity", Z)):
        norms = np.linalg.norm(matrix, axis=0)
        if np.linalg.matrix_rank(matrix / np.where(norms > 0, norms, 1.0)) < matrix.shape[1]:
            raise InestimableError(
                f"the moderators of the {name} cannot be told apart in these studies; leave one "
                "out or merge levels"
            )


def _orthogonalise(X: Array) -> tuple[Array, Array]:
    """Return Q with orthonormal columns and upper triangular R with ``X = QR``."""
    norms = np.linalg.norm(X, axis=0)
    Q, R = np.linalg.qr(X / norms)
    return Q, R * norms


def _fit_location(
    y: Array, total: Array, Q: Array, basis: Array, inference: str, ci_level: float
) -> RegressionPart:
    """Return the location part by weighted least squares, weights ``1 / total``."""
    root = 1 / np.sqrt(total)
    left, right = np.linalg.qr(root[:, None] * Q)
    gamma = np.linalg.solve(right, left.T @ (root * y))
    covariance = _symmetric(np.linalg.inv(right.T @ right))
    df = float(Q.shape[0] - Q.shape[1])
    if inference.startswith("knapp_hartung"):
        factor = float(((root * (y - Q @ gamma)) ** 2).sum()) / df
        # the conservative variant never narrows
        covariance *= max(factor, 1.0) if inference == "knapp_hartung_conservative" else factor
    return RegressionPart(basis, gamma, covariance, np.inf if inference == "z" else df, ci_level)


def _symmetric(matrix: NDArray[np.floating]) -> Array:
    return np.asarray((matrix + matrix.T) / 2, dtype=np.float64)
