"""Influence: how far single effects and whole studies move a result, by fits without them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from alliance_meta.assessments import Assessment
from alliance_meta.formatting import (
    format_count,
    format_effect,
    format_interval,
    format_number,
    join_words,
)
from alliance_meta.models.batched import BatchDesign
from alliance_meta.models.refits import Refits, Refitter
from alliance_meta.models.result_tables import reporting_scale
from alliance_meta.models.rows import ModelRows
from alliance_meta.models.specification import MULTILEVEL_MODELS
from alliance_meta.models.subsets import fit_subsets
from alliance_meta.sensitivity.omission import study_names

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

EFFECT_COLUMNS = [
    "effect_id",
    "rstudent",
    "dffits",
    "cooks_distance",
    "cov_ratio",
    "tau2_deleted",
    "Q_deleted",
    "hat",
    "weight",
    "dfbetas",
    "study_id",
    "influential",
]
STUDY_COLUMNS = [
    "study_id",
    "k_effects",
    "rstudent",
    "cooks_distance",
    "cov_ratio",
    "tau2_deleted",
    "Q_deleted",
    "hat",
    "weight",
    "dfbetas",
    "influential",
    "X2",
    "X2_df",
    "X2_p",
]
DFBETAS_COLUMNS = ["unit", "name", "term", "dfbetas"]
NAME = "influence"
TABLES = {
    "sensitivity_influence": EFFECT_COLUMNS,
    "sensitivity_influence_studies": STUDY_COLUMNS,
    "sensitivity_dfbetas": DFBETAS_COLUMNS,
}

# a residual below this share of the largest effect is rounding
ROUNDING = 100 * np.finfo(float).eps
# rows that leave less than this share of a direction of the design leave it inestimable
RANK_SHARE = 1e-9
# a hat value this close to one is one: the fit goes through the effect
FULL_LEVERAGE = 1 - 10 * np.finfo(float).eps
KNAPP_HARTUNG = ("knapp_hartung", "knapp_hartung_conservative")
# models whose effects are independent and share one variance between studies
UNIVARIATE_MODELS = ("common_effect", "random_effects", "aggregated")
# units of which each is a large part whatever it says
FEW = 3
# names that a sentence lists before it counts the rest
LISTED = 5
LIMITS = "by the limits of Viechtbauer and Cheung (2010)"


@dataclass(frozen=True)
class Influence:
    """Influence of k units (effects or studies) on p coefficients.

    Attributes
    ----------
    rstudent
        Externally standardised residual; NaN for a study of several effects. Shape (k,).
    dffits
        Standardised change of the unit's own fitted value; NaN for a study of several effects.
    cooks_distance
        Squared change of the coefficients, seen from their covariance.
    cov_ratio
        Determinant of the coefficients' covariance without the unit, relative to all.
    tau2_deleted, Q_deleted
        Variance of the true effects and residual heterogeneity without the unit.
    hat, weight
        Leverage, and weight in percent; sums for a study.
    dfbetas
        Standardised change of each coefficient, shape (k, p).
    influential
        Whether any measure crosses its limit.
    X2
        Squared deleted residuals of the unit's effects, seen from their joint covariance.
    size
        Effects of the unit: degrees of freedom of X2.
    """

    rstudent: Array
    dffits: Array
    cooks_distance: Array
    cov_ratio: Array
    tau2_deleted: Array
    Q_deleted: Array
    hat: Array
    weight: Array
    dfbetas: Array
    influential: Mask
    X2: Array
    size: Index

    @property
    def defined(self) -> Mask:
        """Where the fit without the unit exists, shape (k,)."""
        return np.isfinite(self.cooks_distance)


@dataclass(frozen=True)
class Deletions:
    """Fits without some rows, in the coordinates of a basis Q of the design.

    Attributes
    ----------
    gamma, covariance
        Coefficients and their covariance by the model, Knapp–Hartung's factor included, shapes
        (B, p) and (B, p, p).
    reference
        The covariance that all rows would give at the variances of the deleted fit, shape
        (B, p, p).
    scale
        Knapp–Hartung's factor, else 1, shape (B,).
    tau2, Q
        Shape (B,).
    """

    gamma: Array
    covariance: Array
    reference: Array
    scale: Array
    tau2: Array
    Q: Array


def influence_univariate(
    y: Array,
    v: Array,
    X: Array,
    *,
    tau2: float,
    tau2_deleted: Array,
    Q_deleted: Array,
    inference: str = "z",
) -> Influence:
    """Return the influence of each effect in a univariate model.

    Parameters
    ----------
    y, v
        Effects and sampling variances, shape (k,).
    X
        Design of full column rank, shape (k, p).
    tau2
        Between-study variance of all effects (0 for the common-effect model).
    tau2_deleted, Q_deleted
        Between-study variance and Q without each effect, shape (k,); NaN where there is no fit.
    inference
        With "knapp_hartung" and "knapp_hartung_conservative" every covariance carries its own
        fit's factor; with any other it is the model's.

    Returns
    -------
    Influence

    Notes
    -----
    Viechtbauer & Cheung (2010), in the definitions of metafor's ``influence.rma.uni``: with the
    factor s², ``rstudent = e / √(s²(v + τ²) + x'Cx)``, ``dffits = x'd / √(s² h (v + τ²))`` and
    ``dfbetas = d / √(s² diag (X'WX)⁻¹)``, where d is the change of the coefficients, C their
    covariance, h the leverage among all effects; s², τ², C and W are those of the deleted fit,
    W with all rows. An effect is influential if ``|dffits| > 3√(p/(k − p))``, if Cook's distance
    is above the median of χ² with p degrees of freedom, if ``h > 3p/k`` or if any ``|dfbetas|``
    exceeds 1.
    """
    k = len(y)
    Q, R = np.linalg.qr(X)
    y = _centred(y, v, Q, tau2)
    whole = _fit_rows(y, v, Q, np.ones((1, k), dtype=bool), np.array([tau2]), inference)
    deleted = _fit_rows(y, v, Q, ~np.eye(k, dtype=bool), tau2_deleted, inference, Q_deleted)
    w = 1 / (v + tau2)
    bread = np.asarray(np.linalg.inv((Q.T * w) @ Q), dtype=np.float64)
    hat = _leverages(Q, bread, w[:, None] * Q)
    own = deleted.scale * (v + tau2_deleted)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _measure_rows(y, Q, R, whole, deleted, own, hat * own, hat, 100 * w / w.sum())


def _centred(y: Array, v: Array, Q: Array, tau2: float) -> Array:
    """Return the residuals of the fit of all rows, which fits without some differ little from.

    What the fits have in common would cost digits; residuals of the size of rounding are 0.
    """
    w = 1 / (v + tau2)
    centred = y - Q @ (Q.T @ y)
    residuals = centred - Q @ np.linalg.solve((Q.T * w) @ Q, Q.T @ (w * centred))
    residuals[np.abs(residuals) < ROUNDING * np.abs(y).max()] = 0.0
    return residuals


def _fit_rows(
    y: Array,
    v: Array,
    Q: Array,
    keep: Mask,
    tau2: Array,
    inference: str,
    residual: Array | None = None,
) -> Deletions:
    """Fit the rows that are kept at known variances between studies, shape (B, k) and (B,)."""
    known = np.isfinite(tau2)
    design = BatchDesign(Q)
    p = Q.shape[1]
    W = v + np.where(known, tau2, 0.0)[:, None]
    np.divide(1.0, W, out=W)
    whole = design.gram(W)
    W *= keep
    left = design.gram(W)
    left[~known] = np.eye(p)
    covariance = np.linalg.inv(left)
    sums = W @ np.column_stack([Q * y[:, None], y * y])
    gamma = np.matmul(covariance, sums[:, :p, None])[:, :, 0]
    scale = np.ones(len(keep))
    if inference in KNAPP_HARTUNG:
        df = keep.sum(axis=1) - p
        rss = sums[:, p] - np.vecdot(gamma, sums[:, :p])
        # a fit through all its effects leaves rounding
        rss[rss < ROUNDING * sums[:, p]] = 0.0
        # as many effects as coefficients leave nothing to estimate the factor from
        scale = np.divide(rss, df, out=scale, where=df > 0)
        if inference == "knapp_hartung_conservative":
            scale = np.maximum(scale, 1.0)
    scale[~known] = np.nan
    gamma[~known] = np.nan
    factor = scale[:, None, None]
    return Deletions(
        gamma,
        factor * covariance,
        factor * np.linalg.inv(whole),
        scale,
        tau2,
        np.full(len(keep), np.nan) if residual is None else np.where(known, residual, np.nan),
    )


def _leverages(Q: Array, bread: Array, weighted: Array) -> Array:
    """Return the diagonal of the hat matrix; ``weighted`` is Σ⁻¹Q, shape (k, p)."""
    hat: Array = np.asarray(np.vecdot(Q @ bread, weighted), dtype=np.float64)
    hat[hat > FULL_LEVERAGE] = 1.0
    return hat


def _measure_rows(
    y: Array,
    Q: Array,
    R: Array,
    whole: Deletions,
    deleted: Deletions,
    own: Array,
    fitted: Array,
    hat: Array,
    weight: Array,
) -> Influence:
    """Measure the deletion of each row.

    ``own`` is the marginal variance of the left-out effect, ``fitted`` the variance that
    standardises the change of its fitted value, shape (k,) each.
    """
    change = whole.gamma - deleted.gamma
    residuals = y - np.vecdot(Q, deleted.gamma)
    residuals[np.abs(residuals) < ROUNDING * np.abs(y).max()] = 0.0
    spread = own + _forms(deleted.covariance, Q)
    dffits = np.vecdot(Q, change) / np.sqrt(fitted)
    cook, ratio, dfbetas = _compare(R, whole, deleted)
    rstudent = residuals / np.sqrt(spread)
    # a fit through all its effects has no spread to stand residuals on
    for values in (rstudent, dffits):
        values[~np.isfinite(values)] = np.nan
    return Influence(
        rstudent,
        dffits,
        cook,
        ratio,
        deleted.tau2,
        deleted.Q,
        hat,
        weight,
        dfbetas,
        _flag(dffits, cook, hat, dfbetas, len(y)),
        rstudent**2,
        np.ones(len(y), dtype=np.intp),
    )


def _forms(matrices: Array, rows: Array) -> Array:
    """Return ``x_i' M_i x_i``, shape (B,)."""
    return np.vecdot(rows, np.matmul(matrices, rows[:, :, None])[:, :, 0])


def _compare(R: Array, whole: Deletions, deleted: Deletions) -> tuple[Array, Array, Array]:
    """Return Cook's distances, covariance ratios and dfbetas of the coefficients of X = QR."""
    with np.errstate(invalid="ignore", divide="ignore"):
        change = whole.gamma - deleted.gamma
        inner = whole.covariance[0]
        size = np.linalg.slogdet(inner)[1]
        if not np.isfinite(size):
            nothing = np.full(len(change), np.nan)
            return nothing, nothing.copy(), np.full(change.shape, np.nan)
        cook = np.vecdot(change, np.linalg.solve(inner, change.T).T)
        ratio = np.exp(np.linalg.slogdet(deleted.covariance)[1] - size)
        inverse = np.linalg.inv(R)
        spread = np.vecdot(inverse @ deleted.reference, inverse)
        dfbetas = (change @ inverse.T) / np.sqrt(spread)
    dfbetas[~np.isfinite(dfbetas)] = np.nan
    return cook, ratio, dfbetas


def _flag(dffits: Array, cook: Array, hat: Array, dfbetas: Array, n: int) -> Mask:
    """Return which of n units cross a limit; a measure that is not defined crosses none."""
    p = dfbetas.shape[1]
    found = (cook > special.chdtri(p, 0.5)) | (np.abs(dfbetas) > 1).any(axis=1)
    found |= hat > 3 * p / n
    if n > p:
        found |= np.abs(dffits) > 3 * np.sqrt(p / (n - p))
    return found


@dataclass(frozen=True)
class LeftOut:
    """Fits without each unit of a model, and what left-out effects would vary by.

    Attributes
    ----------
    y, Q
        Effects (centred where the fits are) and the basis, shapes (k,) and (k, p).
    whole, deleted
        The fit of all rows (B = 1) and the fits without each unit.
    own
        For each unit the marginal covariance of its effects at the variances of the fit
        without it, shape (n, n) each.
    reasons
        Why a fit does not exist; empty where it does.
    """

    y: Array
    Q: Array
    whole: Deletions
    deleted: Deletions
    own: list[Array]
    reasons: tuple[str, ...]


def leave_out(
    rows: ModelRows,
    refitter: Refitter,
    units: Index,
    *,
    advance: Callable[[int], None] = lambda n: None,
) -> LeftOut:
    """Fit the model without each unit.

    Parameters
    ----------
    rows, refitter
        The model and what fits it to some of its rows.
    units
        Unit of each row (0, 1, … without gaps), shape (k,).
    advance
        Called with the number of finished fits.
    """
    keep = units != np.arange(int(units.max()) + 1)[:, None]
    if is_univariate(rows):
        left = _leave_out_univariate(rows, keep)
        advance(len(keep))
        return left
    start = refitter.start_without_one() if len(keep) == len(rows.y) else None
    refits = refitter.refit(keep, intervals=False, start=start, advance=advance)
    R, fit = rows.fit.basis, rows.fit
    gamma = refits.estimate @ R.T
    covariance = R @ refits.model_covariance @ R.T
    Q = fit.to_basis(rows.X)
    whole = Deletions(
        fit.gamma[None],
        fit.model_covariance[None],
        fit.model_covariance[None],
        np.ones(1),
        np.array([fit.tau2]),
        np.array([np.nan]),
    )
    reference = np.full_like(covariance, np.nan)
    own = []
    vary = _Variances(rows, Q)
    for b, kept in enumerate(keep):
        out = np.flatnonzero(~kept)
        if refits.reasons[b]:
            own.append(np.full((len(out),) * 2, np.nan))
            continue
        reference[b], block = vary(refits, b, out)
        own.append(block)
    deleted = Deletions(gamma, covariance, reference, np.ones(len(keep)), refits.tau2, refits.Q)
    return LeftOut(rows.y, Q, whole, deleted, own, refits.reasons)


def is_univariate(rows: ModelRows) -> bool:
    """Return whether effects are independent and share one variance between studies."""
    return rows.spec.model in UNIVARIATE_MODELS and not has_several_variances(rows)


def _leave_out_univariate(rows: ModelRows, keep: Mask) -> LeftOut:
    Q = np.linalg.qr(rows.X)[0]
    y = _centred(rows.y, rows.v, Q, rows.fit.tau2)
    inference = str(rows.spec.inference)
    fits = fit_subsets(rows.y, rows.v, Q, keep, tau2=rows.spec.tau2, inference="z")
    tau2 = np.where(fits.failed, np.nan, fits.tau2)
    whole = _fit_rows(
        y, rows.v, Q, np.ones((1, len(y)), dtype=bool), np.array([rows.fit.tau2]), inference
    )
    deleted = _fit_rows(y, rows.v, Q, keep, tau2, inference, fits.Q)
    own = [
        scale * np.diag(rows.v[~kept] + t)
        for scale, kept, t in zip(deleted.scale, keep, tau2, strict=True)
    ]
    reasons = tuple(
        _missing_reason(Q[kept]) if failed else ""
        for failed, kept in zip(fits.failed, keep, strict=True)
    )
    return LeftOut(y, Q, whole, deleted, own, reasons)


def _missing_reason(Q: Array) -> str:
    if len(Q) <= Q.shape[1]:
        return "too few effects are left"
    if np.linalg.eigvalsh(Q.T @ Q)[0] < RANK_SHARE:
        return "a coefficient of the model has no data"
    return "the variance between studies cannot be estimated"


def has_several_variances(rows: ModelRows) -> bool:
    """Return whether true effects vary more in some rows than in others."""
    return rows.scale is not None or rows.groups is not None


def marginal_covariance(rows: ModelRows, members: Index) -> Array:
    """Return the covariance of some effects of one independent study by the fit, shape (n, n)."""
    fit = rows.fit
    if fit.components is not None and rows.spec.model in MULTILEVEL_MODELS:
        return np.asarray(fit.components.working_covariance()(members[None])[0], dtype=np.float64)
    if rows.spec.model == "rve":
        return _correlated_block(rows, fit.tau2, members)
    return np.diag(1 / fit.weights[members])


def _correlated_block(rows: ModelRows, tau2: float, members: Index) -> Array:
    root = np.sqrt(rows.v[members])
    block: Array = tau2 + rows.spec.rho * np.outer(root, root)
    block[np.diag_indices(len(members))] = rows.v[members] + tau2
    return block


class _Variances:
    """Covariances of coefficients and effects at the variances of a deleted fit."""

    def __init__(self, rows: ModelRows, Q: Array) -> None:
        self.rows, self.Q = rows, Q
        self.parts = rows.fit.components if rows.spec.model in MULTILEVEL_MODELS else None
        if self.parts is not None:
            order = self.parts.likelihood.structure.order
            self.position = np.empty_like(order)
            self.position[order] = np.arange(len(order))

    def __call__(self, refits: Refits, b: int, out: Index) -> tuple[Array, Array]:
        """Return the coefficients' covariance from all rows, and that of the left-out effects."""
        if self.parts is not None:
            theta = self.parts.theta
            if not has_several_variances(self.rows):
                # a variance that the rest cannot tell is not in their model
                theta = np.nan_to_num([refits.tau2_between[b], refits.tau2_within[b]])
            at = self.parts.likelihood.evaluate(theta)
            block = at.covariance.dense(self.position[out][None])[0]
            return np.asarray(np.linalg.inv(at.information), dtype=np.float64), block
        if self.rows.spec.model == "rve":
            return self._correlated(float(refits.tau2[b]), out)
        # several variances stay what they are with all effects
        return self.rows.fit.model_covariance, np.diag(1 / self.rows.fit.weights[out])

    def _correlated(self, tau2: float, out: Index) -> tuple[Array, Array]:
        """Return the same for the correlated-effects model (Hedges, Tipton & Johnson 2010)."""
        rows = self.rows
        counts = np.bincount(rows.clusters)
        mean_v = np.bincount(rows.clusters, rows.v) / counts
        w = 1 / (counts * (mean_v + tau2))[rows.clusters]
        reference = np.asarray(np.linalg.inv((self.Q.T * w) @ self.Q), dtype=np.float64)
        return reference, _correlated_block(rows, tau2, out)


def measure_effects(rows: ModelRows, left: LeftOut) -> Influence:
    """Return the influence of each effect from the fits without it.

    Notes
    -----
    In models of dependent effects as metafor's ``rstudent``, ``cooks.distance``, ``dfbetas`` and
    ``hatvalues`` of ``rma.mv`` with variances estimated anew; ``dffits`` is standardised by the
    fitted value's variance that all rows give at the variances of the deleted fit, as
    ``dfbetas`` are. Weights are row sums of Σ⁻¹. Where variances differ between levels or are
    modelled themselves, those of all effects standardise. In the correlated-effects model (rve)
    the coefficients' covariance is that of its weights, and a study's effects have the
    covariance that gave the weights: τ² shared, sampling errors correlated at ρ.
    """
    hat, weight = _hat_and_weight(rows, left.Q)
    own = np.array([block[0, 0] for block in left.own])
    fitted = hat * own if is_univariate(rows) else _forms(left.deleted.reference, left.Q)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _measure_rows(
            left.y, left.Q, rows.fit.basis, left.whole, left.deleted, own, fitted, hat, weight
        )


def measure_studies(rows: ModelRows, left: LeftOut, studies: Index) -> Influence:
    """Return the influence of each study from the fits without it.

    Parameters
    ----------
    rows, left
        The model and ``leave_out`` by study.
    studies
        Study of each row (0, 1, … without gaps), shape (k,).

    Notes
    -----
    As metafor's ``rstudent`` and ``cooks.distance`` of ``rma.mv`` with a cluster:
    ``X2 = e'(Σ + XCX')⁻¹e`` of the study's deleted residuals e, with as many degrees of freedom
    as effects. A study is influential by the limits for effects (``influence_univariate``),
    with the number of studies for k.
    """
    hat, weight = _hat_and_weight(rows, left.Q)
    whole, deleted = left.whole, left.deleted
    cook, ratio, dfbetas = _compare(rows.fit.basis, whole, deleted)
    size = np.bincount(studies)
    n = len(size)
    X2, rstudent = np.full((2, n), np.nan)
    for j, members in enumerate(np.split(np.argsort(studies, kind="stable"), np.cumsum(size)[:-1])):
        Q = left.Q[members]
        e = left.y[members] - Q @ deleted.gamma[j]
        spread = left.own[j] + Q @ deleted.covariance[j] @ Q.T
        if not (np.isfinite(spread).all() and spread.trace() > 0):
            continue
        X2[j] = float(e @ np.linalg.solve(spread, e))
        if size[j] == 1:
            rstudent[j] = float(e[0] / np.sqrt(spread[0, 0]))
    hat, weight = (np.bincount(studies, of).astype(np.float64) for of in (hat, weight))
    dffits = np.full(n, np.nan)
    return Influence(
        rstudent,
        dffits,
        cook,
        ratio,
        deleted.tau2,
        deleted.Q,
        hat,
        weight,
        dfbetas,
        _flag(dffits, cook, hat, dfbetas, n),
        X2,
        size,
    )


def _hat_and_weight(rows: ModelRows, Q: Array) -> tuple[Array, Array]:
    """Return leverages and weights in percent of the fit of all rows."""
    fit = rows.fit
    weighted = fit.weights[:, None] * Q
    if fit.components is not None:
        weighted = np.empty_like(Q)
        order = fit.components.likelihood.structure.order
        weighted[order] = fit.components.evaluation.inverse_design
    bread = np.asarray(np.linalg.inv(Q.T @ weighted), dtype=np.float64)
    return _leverages(Q, bread, weighted), 100 * fit.weights / fit.weights.sum()


def assess_influence(
    rows: ModelRows,
    refitter: Refitter,
    *,
    advance: Callable[[int], None] = lambda n: None,
) -> Assessment:
    """Assess the influence of each effect and of each independent study.

    Parameters
    ----------
    rows, refitter
        The model and what fits it to some of its rows.
    advance
        Called with the number of finished fits: one for each effect and, where effects are
        dependent, one for each study.

    Returns
    -------
    Assessment
        Tables ``sensitivity_influence``, ``sensitivity_influence_studies`` and
        ``sensitivity_dfbetas``, on the analysis metric. The column ``dfbetas`` is that of the
        mean, or with moderators the largest in absolute value.
    """
    k = len(rows.y)
    left = leave_out(rows, refitter, np.arange(k), advance=advance)
    effects = measure_effects(rows, left)
    effect_names = list(rows.data["effect_id"].astype("str"))
    names = study_names(rows)
    order = np.argsort(rows.independent, kind="stable")
    if rows.dependent:
        left_studies = leave_out(rows, refitter, rows.independent, advance=advance)
        studies = measure_studies(rows, left_studies, rows.independent)
    else:
        left_studies, studies = left, _reorder(effects, order)
    tables = {
        "sensitivity_influence": _effect_table(rows, effects),
        "sensitivity_influence_studies": _study_table(names, studies),
        "sensitivity_dfbetas": pd.concat(
            [
                _dfbetas_table("effect", effect_names, rows.terms, effects.dfbetas),
                _dfbetas_table("study", names, rows.terms, studies.dfbetas),
            ],
            ignore_index=True,
        ),
    }
    sentences = _describe(
        rows, refitter, ("effect", "effects"), effect_names, np.arange(k), effects, left.reasons
    )
    if rows.dependent:
        sentences += _describe(
            rows,
            refitter,
            ("study", "studies"),
            names,
            rows.independent,
            studies,
            left_studies.reasons,
        )
    if has_several_variances(rows):
        sentences.append(
            "Residuals and changes are standardised by the variances of the fit of all effects, "
            "because the model has several."
        )
    return Assessment(NAME, tables, tuple(sentences))


def _reorder(found: Influence, order: Index) -> Influence:
    """Return the same units in another order."""
    values = {name: getattr(found, name)[order] for name in found.__dataclass_fields__}
    return Influence(**values)


def _largest(dfbetas: Array) -> Array:
    """Return the largest dfbetas of each unit in absolute value, with its sign."""
    place = np.argmax(np.nan_to_num(np.abs(dfbetas)), axis=1)
    largest: Array = np.take_along_axis(dfbetas, place[:, None], axis=1)[:, 0]
    return largest


def _effect_table(rows: ModelRows, found: Influence) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "effect_id": rows.data["effect_id"].to_numpy(),
            "rstudent": found.rstudent,
            "dffits": found.dffits,
            "cooks_distance": found.cooks_distance,
            "cov_ratio": found.cov_ratio,
            "tau2_deleted": found.tau2_deleted,
            "Q_deleted": found.Q_deleted,
            "hat": found.hat,
            "weight": found.weight,
            "dfbetas": _largest(found.dfbetas),
            "study_id": rows.data["study_id"].to_numpy(),
            "influential": found.influential,
        },
        columns=EFFECT_COLUMNS,
    )


def _study_table(names: Sequence[str], found: Influence) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "study_id": list(names),
            "k_effects": found.size,
            "rstudent": found.rstudent,
            "cooks_distance": found.cooks_distance,
            "cov_ratio": found.cov_ratio,
            "tau2_deleted": found.tau2_deleted,
            "Q_deleted": found.Q_deleted,
            "hat": found.hat,
            "weight": found.weight,
            "dfbetas": _largest(found.dfbetas),
            "influential": found.influential,
            "X2": found.X2,
            "X2_df": found.size,
            "X2_p": special.chdtrc(found.size, found.X2),
        },
        columns=STUDY_COLUMNS,
    )


def _dfbetas_table(
    unit: str, names: Sequence[str], terms: Sequence[str], dfbetas: Array
) -> pd.DataFrame:
    n = len(names)
    return pd.DataFrame(
        {
            "unit": [unit] * (n * len(terms)),
            "name": np.repeat(list(names), len(terms)),
            "term": list(terms) * n,
            "dfbetas": dfbetas.ravel(),
        },
        columns=DFBETAS_COLUMNS,
    )


def _list_names(names: Sequence[str]) -> str:
    """Return names in words, the first few where there are many."""
    shown = list(names[:LISTED])
    if len(names) > LISTED:
        shown.append(format_count(len(names) - LISTED, "other"))
    return join_words(shown)


def _describe(
    rows: ModelRows,
    refitter: Refitter,
    noun: tuple[str, str],
    names: Sequence[str],
    units: Index,
    found: Influence,
    reasons: Sequence[str],
) -> list[str]:
    """Return which units are influential, and the result without them."""
    sentences = []
    for reason in dict.fromkeys(reason for reason in reasons if reason):
        lacking = [name for name, why in zip(names, reasons, strict=True) if why == reason]
        why = _reason(reason).removeprefix("without these rows ")
        sentences.append(
            f"The influence of {noun[len(lacking) > 1]} {_list_names(lacking)} is not defined, "
            f"because {_without(lacking)} {why}."
        )
    if not found.defined.any():
        if not sentences:
            sentences.append(
                f"The influence of single {noun[1]} is not defined, because the model's standard "
                "errors are zero."
            )
        return sentences
    n_influential = int(found.influential.sum())
    whole = format_count(len(names), *noun)
    if not n_influential:
        sentences.append(f"Of {whole}, none is influential {LIMITS}.")
        return sentences
    chosen = [name for name, is_one in zip(names, found.influential, strict=True) if is_one]
    verb = "is" if n_influential == 1 else "are"
    sentences.append(
        f"Of {whole}, {n_influential} {verb} influential {LIMITS}: {_list_names(chosen)}."
    )
    if len(names) <= FEW:
        sentences.append(f"Of so few {noun[1]} the limits say little.")
    keep = ~found.influential[units]
    refits = refitter.refit(keep[None])
    without = "it" if n_influential == 1 else "them"
    if refits.reasons[0]:
        sentences.append(
            f"There is no result without {without}, because {_reason(refits.reasons[0])}."
        )
    elif rows.has_moderators:
        sentences.append(_moderators_without(rows, refits, without))
    else:
        sentences.append(_mean_without(rows, refits, without))
    return sentences


def _without(names: Sequence[str]) -> str:
    return "without it" if len(names) == 1 else "without any one of them"


def _reason(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")


def _mean_without(rows: ModelRows, refits: Refits, without: str) -> str:
    metric = rows.spec.metric
    all_rows = rows.fit.contrast(np.ones(1))
    symbol = "the mean" if metric == "generic" else "r"
    level = f"{100 * rows.spec.ci_level:g} % CI"

    def words(value: float, low: float, high: float) -> str:
        shown, low, high = (float(x) for x in reporting_scale(np.array([value, low, high]), metric))
        interval = format_interval(low, high, metric)
        return format_effect(shown, metric) + (f", {level} {interval}" if interval else "")

    one = words(refits.estimate[0, 0], refits.ci_low[0, 0], refits.ci_high[0, 0])
    other = words(all_rows.value, all_rows.ci_low, all_rows.ci_high)
    return f"Without {without} {symbol} = {one}, and with all {symbol} = {other}."


def _moderators_without(rows: ModelRows, refits: Refits, without: str) -> str:
    """Say which coefficients change sides, or no longer differ from zero or newly do."""
    level = f"{100 * rows.spec.ci_level:g} % CI"
    parts = []
    for t, (term, row) in enumerate(zip(rows.terms, np.eye(len(rows.terms)), strict=True)):
        before = rows.fit.contrast(row)
        low, high = float(refits.ci_low[0, t]), float(refits.ci_high[0, t])
        value = float(refits.estimate[0, t])
        if _side(before.ci_low, before.ci_high) == _side(low, high) and before.value * value >= 0:
            continue
        one = f"{format_number(value)} {format_interval(low, high, 'generic')}".strip()
        interval = format_interval(before.ci_low, before.ci_high, "generic")
        parts.append(f"{term} is {one} instead of {format_number(before.value)} {interval}".strip())
    if not parts:
        return (
            f"Without {without} every coefficient keeps its sign, and its interval includes zero "
            "or excludes it as before."
        )
    return f"Without {without} ({level}): {'; '.join(parts)}."


def _side(low: float, high: float) -> int:
    """Return on which side of zero an interval lies; 0 if it includes zero or is missing."""
    return int(low > 0) - int(high < 0)
