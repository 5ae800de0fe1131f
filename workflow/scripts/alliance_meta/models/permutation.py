"""Permutation tests of moderators and of a mean effect."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alliance_meta.models.batched import (
    BatchDesign,
    chunk_slices,
    estimate_tau2,
    fit_weighted,
)
from alliance_meta.models.specification import (
    InestimableError,
    ModelSpecification,
    SpecificationError,
)

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
Progress = Callable[[int, int], object]

# equal statistics of different arrangements differ by rounding, and by the search for tau²
TIE_TOLERANCE = 1e-8
# a weighted residual sum of squares that is rounding only (the limit of PyMARE)
NO_RESIDUAL = float(np.finfo(float).eps)
# the coefficients of a constant have this level at least in any contrast but a slope
SLOPE_LEVEL = 1e-9
# a cluster whose share of its own residual is below this is fitted perfectly, as in CR2
PERFECT_FIT = 1e-10


@dataclass(frozen=True)
class ResamplingTest:
    """Tests against the statistics of resampled data.

    Attributes
    ----------
    statistics
        Observed statistics: t (or z) of each single coefficient, Wald or F of each set of
        several, shape (t,). NaN where the data leave no standard error.
    p_values
        Two-sided p-values, shape (t,); NaN where the statistic is.
    permutations
        Number of resampled data sets.
    exact
        Whether these are all there are, the observed one included.
    method
        "permutation", "sign_flipping" or "wild_bootstrap".
    """

    statistics: Array
    p_values: Array
    permutations: int
    exact: bool
    method: str


@dataclass(frozen=True)
class _Tests:
    """What is tested, as contrasts of the coefficients of an orthonormal basis.

    Attributes
    ----------
    rows, whole
        Single contrasts and the joint set, shapes (t, p) and (q, p); q is 0 without a set.
    row_offsets, whole_offsets
        What the values of the contrasts lack because effects were centred, shapes (t,), (q,).
    """

    rows: Array
    whole: Array
    row_offsets: Array
    whole_offsets: Array


def permute_moderators(
    y: Array,
    v: Array,
    X: Array,
    spec: ModelSpecification,
    tested: NDArray[np.bool_],
    contrasts: Array | None,
    *,
    permutations: int,
    seed: int,
    progress: Progress | None = None,
) -> ResamplingTest:
    """Test moderators of independent effects by permuting the rows of their design.

    Parameters
    ----------
    y, v
        Effects and sampling variances, shape (k,).
    X
        Design of full column rank with its intercept, shape (k, p).
    spec
        A resolved specification of a univariate model with inference other than "cr2".
    tested
        Which coefficients to test, shape (p,).
    contrasts
        The set of contrasts to test jointly, shape (q, p), or None.
    permutations
        Number of random permutations; if no more distinct arrangements exist, each is taken
        once and the test is exact.
    seed
        Of the random permutations.
    progress
        Called with the number of permutations done and their total.

    Returns
    -------
    ResamplingTest
        The tested coefficients in their order, then the joint test if there are contrasts.

    Raises
    ------
    InestimableError
        If the moderators do not vary, overlap, or leave no degree of freedom.

    Notes
    -----
    Higgins & Thompson (2004), Follmann & Proschan (1999), Viechtbauer et al. (2015): τ²,
    coefficients and inference are estimated anew for each permutation. Random permutations
    give ``p = (1 + b) / (1 + B)`` (Phipson & Smyth 2010). A permutation without a standard
    error counts as extreme, so that it can only raise a p-value.
    """
    if spec.inference == "cr2":
        raise SpecificationError(
            "independent effects are permuted with inference z, t or Knapp–Hartung",
            setting="inference",
        )
    labels, counts = _moderator_patterns(X)
    # effects beside the rows of a design that is sorted by pattern
    observed = np.argsort(labels, kind="stable")
    design, tests, y = _orthonormal_tests(y, X[observed], tested, contrasts)

    def evaluate(order: Indices) -> Array:
        return _univariate_statistics(y[order], v[order], design, spec, tests)

    return _permute(evaluate, observed, counts, permutations, seed, progress)


def permute_clusters(
    y: Array,
    w: Array,
    X: Array,
    tested: NDArray[np.bool_],
    contrasts: Array | None,
    *,
    permutations: int,
    seed: int,
    progress: Progress | None = None,
) -> ResamplingTest:
    """Test moderators that are constant within studies by permuting whole studies.

    Parameters
    ----------
    y, w
        Composite and weight of each study, from the fit without moderators, shape (m,).
    X
        Design of the studies, of full column rank with its intercept, shape (m, p).
    tested, contrasts, permutations, seed, progress
        As for ``permute_moderators``.

    Returns
    -------
    ResamplingTest

    Raises
    ------
    InestimableError
        If the moderators do not vary, overlap, or leave no degree of freedom.

    Notes
    -----
    The weights do not depend on the moderators and stay with their study, so nothing is
    estimated anew but the coefficients. Statistics are cluster-robust, ``b / se`` and
    ``Wald / q``; with one composite a study CR2 is HC2, ``e² / (1 − h)``
    (Pustejovsky & Tipton 2018).
    """
    labels, counts = _moderator_patterns(X)
    observed = np.argsort(labels, kind="stable")
    design, tests, y = _orthonormal_tests(y, X[observed], tested, contrasts)

    def evaluate(order: Indices) -> Array:
        weights = w[order]
        fit = fit_weighted(y[order], weights, design)
        own = 1 - weights * design.quadratic_forms(fit.inverse)
        variances = np.where(own > PERFECT_FIT, fit.weighted**2 / np.maximum(own, PERFECT_FIT), 0.0)
        covariance = fit.inverse @ design.gram(variances) @ fit.inverse
        single, wald = _statistics(fit.coefficients, covariance, tests)
        statistics = np.column_stack([single, wald / max(len(tests.whole), 1)])
        return np.where(fit.rss[:, None] > NO_RESIDUAL, statistics, np.nan)

    return _permute(evaluate, observed, counts, permutations, seed, progress)


def flip_signs(
    y: Array,
    v: Array,
    spec: ModelSpecification,
    *,
    permutations: int,
    seed: int,
    progress: Progress | None = None,
) -> ResamplingTest:
    """Test the mean of independent effects by flipping their signs.

    Parameters
    ----------
    y, v
        Effects and sampling variances, shape (k,).
    spec
        A resolved specification of a univariate model with inference other than "cr2".
    permutations
        Number of random sign patterns; if no more than these exist, each is taken once.
    seed, progress
        As for ``permute_moderators``.

    Returns
    -------
    ResamplingTest
        With one statistic, the mean's.

    Notes
    -----
    Follmann & Proschan (1999): with a mean of zero, effects that are symmetric about it are
    as likely with the other sign.
    """
    if spec.inference == "cr2":
        raise SpecificationError(
            "signs of independent effects are flipped with inference z, t or Knapp–Hartung",
            setting="inference",
        )
    k = len(y)
    if k < 2:
        raise InestimableError("a test by flipping signs needs at least two effects")
    design = BatchDesign(np.full((k, 1), 1 / math.sqrt(k)))
    tests = _Tests(np.ones((1, 1)), np.empty((0, 1)), np.zeros(1), np.empty(0))

    def evaluate(signs: Array) -> Array:
        variances = np.broadcast_to(v, signs.shape)
        return _univariate_statistics(signs * y, variances, design, spec, tests)

    return compare_signs(evaluate, k, permutations, seed, progress, method="sign_flipping")


def compare_signs(
    evaluate: Callable[[Array], Array],
    n: int,
    replications: int,
    seed: int,
    progress: Progress | None,
    *,
    method: str,
) -> ResamplingTest:
    """Test against all patterns of n signs, or so many random ones.

    Parameters
    ----------
    evaluate
        Signs, shape (B, n) -> statistics, shape (B, t); no minus is the data as observed.
    n
        Number of signs.
    replications, seed, progress, method
        As in ``ResamplingTest`` and ``permute_moderators``.
    """
    exact = n < 63 and 2**n <= replications
    total = 2**n if exact else replications
    rng = np.random.default_rng(seed)

    def draw(part: slice) -> Array:
        if exact:
            numbers = np.arange(part.start, part.stop)[:, None]
            minus = (numbers >> np.arange(n)) & 1 == 1
        else:
            minus = rng.random((part.stop - part.start, n)) < 0.5
        return np.where(minus, -1.0, 1.0)

    return _compare(evaluate, draw, np.ones((1, n)), total, exact, progress, method)


def wald_statistics(values: Array, spread: Array) -> Array:
    """Return ``values' spread⁻¹ values`` of each row; NaN where ``spread`` is singular.

    Parameters
    ----------
    values
        Shape (B, q).
    spread
        Shape (B, q, q), symmetric.
    """
    roots, vectors = np.linalg.eigh(spread)
    rotated = np.matmul(values[:, None, :], vectors)[:, 0, :]
    singular = roots[:, 0] <= roots[:, -1] * values.shape[1] * np.finfo(float).eps
    with np.errstate(invalid="ignore", divide="ignore"):
        wald = (rotated**2 / roots).sum(axis=1)
    return np.where(singular, np.nan, wald)


def _moderator_patterns(X: Array) -> tuple[Indices, list[int]]:
    """Return which distinct row each row of X is, and how often each occurs."""
    k, p = X.shape
    if k <= p:
        raise InestimableError(f"{k} independent units cannot test {p} coefficients by permutation")
    # adding zero makes −0.0 and 0.0 the same row
    labels = np.unique(X + 0.0, axis=0, return_inverse=True)[1].reshape(-1)
    counts = np.bincount(labels).tolist()
    if len(counts) == 1:
        raise InestimableError("the moderators do not vary, so permuting them changes nothing")
    lengths = np.linalg.norm(X, axis=0)
    if np.linalg.matrix_rank(X / np.where(lengths > 0, lengths, 1.0)) < p:
        raise InestimableError("the moderators overlap: one follows from the others")
    return labels, counts


def _orthonormal_tests(
    y: Array, X: Array, tested: NDArray[np.bool_], contrasts: Array | None
) -> tuple[BatchDesign, _Tests, Array]:
    """Return the design with an orthonormal basis, what is tested in it, and centred effects.

    Statistics do not depend on the basis; on an orthonormal one uncentred moderators lose
    no digits, and neither do effects that are far from zero.
    """
    basis, triangle = np.linalg.qr(X)
    # without an intercept in its span a design does not move with the effects
    level = basis.sum(axis=0)
    mean = float(y.mean()) if np.allclose(basis @ level, 1.0, rtol=0, atol=SLOPE_LEVEL) else 0.0

    def convert(contrasts: Array) -> Array:
        rows = np.linalg.solve(triangle.T, contrasts.T).T
        result: Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return result

    def offsets(rows: Array) -> Array:
        levels = rows @ level
        # a slope has no level but for rounding
        return np.where(np.abs(levels) > SLOPE_LEVEL, levels * mean, 0.0)

    rows = convert(np.eye(X.shape[1])[tested])
    whole = np.empty((0, X.shape[1]))
    if contrasts is not None:
        whole = np.asarray(np.linalg.qr(convert(contrasts).T)[0].T, dtype=np.float64)
    return (
        BatchDesign(basis),
        _Tests(rows, whole, offsets(rows), offsets(whole)),
        y - mean,
    )


def _univariate_statistics(
    Y: Array, V: Array, design: BatchDesign, spec: ModelSpecification, tests: _Tests
) -> Array:
    """Fit each row of effects and return its statistics, shape (B, t)."""
    method = None if spec.model == "common_effect" else spec.tau2
    weights = 1 / (V + estimate_tau2(Y, V, design, method)[:, None])
    fit = fit_weighted(Y, weights, design)
    scale: Array | float = 1.0
    if spec.inference in ("knapp_hartung", "knapp_hartung_conservative"):
        rss, df = fit.rss, Y.shape[1] - design.basis.shape[1]
        if spec.inference == "knapp_hartung_conservative":
            scale = np.maximum(rss / df, 1.0)
        else:
            scale = np.where(rss > NO_RESIDUAL, rss / df, np.nan)
    single, wald = _statistics(fit.coefficients, fit.inverse, tests)
    if spec.inference != "z":
        wald = wald / max(len(tests.whole), 1)
    return np.concatenate([single.T / np.sqrt(scale), wald.T / scale]).T


def _statistics(coefficients: Array, covariance: Array, tests: _Tests) -> tuple[Array, Array]:
    """Return ``b / se`` of each contrast, and the Wald statistic of the whole set if any.

    Parameters
    ----------
    coefficients, covariance
        Shapes (B, p) and (B, p, p).
    tests
        Of t contrasts and a set of q.

    Returns
    -------
    tuple of ndarray
        Shapes (B, t), and (B, 1) or (B, 0).
    """
    values = coefficients @ tests.rows.T + tests.row_offsets
    variances = np.einsum("bij,ti,tj->bt", covariance, tests.rows, tests.rows)
    single = values / np.sqrt(np.where(variances > 0, variances, np.nan))
    if not len(tests.whole):
        return single, np.empty((len(single), 0))
    values = coefficients @ tests.whole.T + tests.whole_offsets
    return single, wald_statistics(values, tests.whole @ covariance @ tests.whole.T)[:, None]


def _permute(
    evaluate: Callable[[Indices], Array],
    observed: Indices,
    counts: list[int],
    permutations: int,
    seed: int,
    progress: Progress | None,
) -> ResamplingTest:
    """Test against all distinct arrangements, or so many random ones."""
    k = len(observed)
    arrangements = math.factorial(k) // math.prod(math.factorial(n) for n in counts)
    exact = arrangements <= permutations
    rng = np.random.default_rng(seed)
    if exact:
        orders = np.argsort(_enumerate(counts), axis=1, kind="stable")

    def draw(part: slice) -> Indices:
        if exact:
            return orders[part]
        # sorting random keys is a shuffle, and faster than one row after another
        return np.argsort(rng.random((part.stop - part.start, k)), axis=1)

    total = arrangements if exact else permutations
    return _compare(evaluate, draw, observed[None, :], total, exact, progress, "permutation")


def _enumerate(counts: list[int]) -> NDArray[np.int32]:
    """Return every distinct arrangement of labels with these counts, one a row."""
    arrangements = np.full((1, sum(counts)), -1, dtype=np.int32)
    for label, count in enumerate(counts):
        free = np.nonzero(arrangements < 0)[1].reshape(len(arrangements), -1)
        chosen = np.array(list(combinations(range(free.shape[1]), count)))
        places = free[:, chosen].reshape(-1, count)
        arrangements = np.repeat(arrangements, len(chosen), axis=0)
        np.put_along_axis(arrangements, places, np.int32(label), axis=1)
    return arrangements


def _compare(
    evaluate: Callable[[NDArray[Any]], Array],
    draw: Callable[[slice], NDArray[Any]],
    observed: NDArray[Any],
    total: int,
    exact: bool,
    progress: Progress | None,
    method: str,
) -> ResamplingTest:
    """Count the resampled statistics that are at least as extreme as the observed."""
    try:
        statistics = evaluate(observed)[0]
        limits = np.abs(statistics)
        limits = limits - TIE_TOLERANCE * np.maximum(limits, 1.0)
        extreme = np.zeros(len(statistics), dtype=int)
        for part in chunk_slices(total, observed.shape[1]):
            # not "at least": what is undefined counts as extreme
            extreme += (~(np.abs(evaluate(draw(part))) < limits)).sum(axis=0)
            if progress is not None:
                progress(part.stop, total)
    except np.linalg.LinAlgError:
        raise InestimableError(
            "the weights of the effects differ too much to fit every permutation"
        ) from None
    # of all arrangements the observed is one; to random ones it is added
    p_values = np.maximum(extreme, 1) / total if exact else (1 + extreme) / (1 + total)
    p_values = np.where(np.isnan(statistics), np.nan, p_values)
    return ResamplingTest(statistics, p_values, total, exact, method)
