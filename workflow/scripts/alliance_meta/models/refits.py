"""The model of an analysis fitted again: to parts of its rows, other effects, another rho."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from alliance_meta.models.analysis import Units, fit_scale
from alliance_meta.models.heterogeneity import i_squared, residual_heterogeneity
from alliance_meta.models.multilevel import build_structure, generalised_residual
from alliance_meta.models.multilevel_batches import LOST_DIRECTION, fit_multilevel_batch
from alliance_meta.models.pooling import NO_ROBUST_SE, PooledFit, fit_pooled
from alliance_meta.models.robust import ClusterRobust, cluster_robust
from alliance_meta.models.rows import ModelRows
from alliance_meta.models.specification import MULTILEVEL_MODELS, InestimableError
from alliance_meta.models.subsets import fit_subsets

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

# elements of one batch: its few dozen work arrays stay within a gigabyte
CHUNK_ELEMENTS = 2**22

# a single row of more has no say in where the highest maximum of the likelihood lies
MANY_ROWS = 100

LOST_COLUMN = "a coefficient of the model would have no data"
TOO_FEW = "too few independent studies are left"
UNSETTLED = "the variance components did not settle"


@dataclass(frozen=True)
class Refits:
    """Fits of one model, one per row of every array; NaN where one has no answer.

    Attributes
    ----------
    estimate, se, df, ci_low, ci_high, p_value
        Coefficients in the order of the terms, shape (B, p); df are infinite if normal.
    model_covariance
        Covariance of the coefficients as the model alone gives it, shape (B, p, p). A single
        row that is left of a mean has its own value and normal interval, without τ².
    pi_low, pi_high
        Prediction interval of a mean, shape (B,); NaN in models with moderators.
    tau2, tau2_between, tau2_within
        Variance of the true effects, and its parts in multilevel models, shape (B,).
    I2, Q
        I² in percent (tau²-based) and residual heterogeneity, shape (B,).
    k, n_studies
        Rows and independent studies that entered, shape (B,).
    reasons
        Why a fit has no answer; empty where it has.
    """

    estimate: Array
    se: Array
    df: Array
    ci_low: Array
    ci_high: Array
    p_value: Array
    model_covariance: Array
    pi_low: Array
    pi_high: Array
    tau2: Array
    tau2_between: Array
    tau2_within: Array
    I2: Array
    Q: Array
    k: Index
    n_studies: Index
    reasons: tuple[str, ...]


def _join(parts: list[Refits]) -> Refits:
    """Return fits of several batches as one."""
    if len(parts) == 1:
        return parts[0]
    joined = {
        f.name: np.concatenate([getattr(part, f.name) for part in parts])
        for f in fields(Refits)
        if f.name != "reasons"
    }
    return Refits(**joined, reasons=tuple(reason for part in parts for reason in part.reasons))


@dataclass
class _Sums:
    """What the fits bring before intervals are made of it; filled in place."""

    gamma: Array
    model_covariance: Array
    tau2: Array
    between: Array
    within: Array
    I2: Array
    Q: Array
    reasons: list[str]
    se: Array
    df: Array

    @classmethod
    def empty(cls, n_fits: int, p: int) -> "_Sums":
        def blank(*shape: int) -> Array:
            return np.full((n_fits, *shape), np.nan)

        return cls(
            blank(p),
            blank(p, p),
            blank(),
            blank(),
            blank(),
            blank(),
            blank(),
            [""] * n_fits,
            blank(p),
            blank(p),
        )


class Refitter:
    """Fits the model of an analysis again.

    Univariate and multilevel models are fitted in batches; correlated-effects models, models
    with several variances and location–scale models one by one.

    Parameters
    ----------
    rows
        The rows of the analysis and its fit.
    """

    def __init__(self, rows: ModelRows) -> None:
        self.rows = rows
        # the basis of the fit itself, so that its contrasts apply
        self.basis = rows.fit.basis
        # rows are the terms in the basis
        self.unit = np.linalg.inv(self.basis)
        self.Q = np.asarray(np.linalg.solve(self.basis.T, rows.X.T).T, dtype=np.float64)
        spec = rows.spec
        self.multilevel = spec.model in MULTILEVEL_MODELS
        self.structure = build_structure(rows.clusters, rows.samples)
        one_place = self.structure.intercept_group.shape[1] == 1
        self._known: dict[tuple[bytes, bytes], Refits] = {}
        special = spec.separate_tau2 or bool(spec.scale) or spec.model == "rve"
        self.batched = not special and (one_place or not self.multilevel)

    def start_without_one(self) -> Array | None:
        """Return variances from which fits without a single row may climb; None to search.

        One row of many does not move the highest maximum elsewhere.
        """
        fit = self.rows.fit
        if not (self.batched and self.multilevel) or len(self.rows.y) <= MANY_ROWS:
            return None
        return None if fit.components is None else fit.components.theta

    def refit(
        self,
        keep: Mask,
        *,
        y: Array | None = None,
        v: Array | None = None,
        rho: Array | float | None = None,
        intervals: bool = True,
        start: Array | None = None,
        advance: Callable[[int], None] = lambda n: None,
    ) -> Refits:
        """Fit the model to each part of the rows.

        Parameters
        ----------
        keep
            Which rows enter each fit, shape (B, k).
        y, v
            Other effects and variances, shape (k,) or (B, k).
        rho
            Another correlation of sampling errors, or one for each fit, shape (B,).
        intervals
            Whether standard errors, intervals and tests are wanted.
        start
            Variances that climbs of multilevel models begin at, shape (2,), instead of a
            search for the highest maximum.
        advance
            Told how many fits have been finished.
        """
        # several assessments leave out one study, or one effect, at a time
        key = (keep.tobytes(), b"" if start is None else start.tobytes())
        plain = y is None and v is None and rho is None
        if plain and (known := self._known.get(key)) is not None:
            advance(len(keep))
            return known
        parts = []
        size = max(CHUNK_ELEMENTS // keep.shape[1], 1)
        for first in range(0, max(len(keep), 1), size):
            part = slice(first, first + size)
            own_y, own_v = (a if a is None or a.ndim < 2 else a[part] for a in (y, v))
            own_rho = rho[part] if isinstance(rho, np.ndarray) and rho.ndim else rho
            parts.append(self._refit(keep[part], own_y, own_v, own_rho, intervals, start, advance))
        refits = _join(parts)
        if plain and intervals:
            self._known[key] = refits
        return refits

    def _refit(
        self,
        keep: Mask,
        y: Array | None,
        v: Array | None,
        rho: Array | float | None,
        intervals: bool,
        start: Array | None,
        advance: Callable[[int], None],
    ) -> Refits:
        rows, (n_fits, k) = self.rows, keep.shape
        y = np.broadcast_to(rows.y if y is None else y, (n_fits, k))
        v = np.broadcast_to(rows.v if v is None else v, (n_fits, k))
        rhos = np.broadcast_to(rows.spec.rho if rho is None else rho, n_fits).astype(float)
        sums = _Sums.empty(n_fits, self.Q.shape[1])
        n_studies = self._count_studies(keep)
        self._exclude_impossible(keep, n_studies, sums)
        if not self.batched:
            self._fit_singly(keep, y, v, rhos, sums, advance)
        elif self.multilevel:
            self._fit_multilevel(keep, y, v, rhos, sums, start, advance)
        else:
            self._fit_univariate(keep, y, v, sums)
            advance(n_fits)
        if intervals and self.batched:
            self._add_errors(keep, y, v, rhos, sums)
        if not rows.has_moderators:
            self._fill_lone(keep, y, v, sums)
        return self._finish(sums, keep.sum(axis=1), n_studies)

    def _count_studies(self, keep: Mask) -> Index:
        independent = self.rows.independent
        member = (independent[:, None] == np.arange(self.rows.n_studies)).astype(np.float32)
        counts: Index = ((keep.astype(np.float32) @ member) > 0).sum(axis=1)
        return counts

    def _exclude_impossible(self, keep: Mask, n_studies: Index, sums: _Sums) -> None:
        p, spec = self.Q.shape[1], self.rows.spec
        by_study = self.multilevel or spec.inference == "cr2"
        units = n_studies if by_study else keep.sum(axis=1)
        gram = np.einsum("bk,kp,kq->bpq", keep.astype(float), self.Q, self.Q, optimize=True)
        lost = np.linalg.eigvalsh(gram)[:, 0] < LOST_DIRECTION
        for b in range(len(keep)):
            if units[b] <= p:
                sums.reasons[b] = TOO_FEW
            elif lost[b]:
                sums.reasons[b] = LOST_COLUMN

    def _fill_lone(self, keep: Mask, y: Array, v: Array, sums: _Sums) -> None:
        """Give a row that is left alone its own value and error, as metafor does."""
        lone = np.flatnonzero(keep.sum(axis=1) == 1)
        own = keep[lone].argmax(axis=1)
        sums.gamma[lone, 0] = y[lone, own] * self.basis[0, 0]
        sums.se[lone, 0], sums.df[lone, 0] = np.sqrt(v[lone, own]), np.inf
        sums.model_covariance[lone, 0, 0] = v[lone, own] * self.basis[0, 0] ** 2
        sums.Q[lone] = 0.0
        if self.rows.spec.model != "common_effect":
            sums.tau2[lone] = sums.I2[lone] = 0.0
        for b in lone.tolist():
            sums.reasons[b] = ""

    def _fit_univariate(self, keep: Mask, y: Array, v: Array, sums: _Sums) -> None:
        spec = self.rows.spec
        good = np.flatnonzero([not reason for reason in sums.reasons])
        if not len(good):
            return
        robust = spec.inference == "cr2"
        fits = fit_subsets(
            y[good],
            v[good],
            self.Q,
            keep[good],
            tau2=spec.tau2,
            inference="z",
            ci_level=spec.ci_level,
        )
        sums.gamma[good] = fits.coefficients
        sums.model_covariance[good] = fits.covariance
        sums.tau2[good], sums.I2[good], sums.Q[good] = fits.tau2, fits.I2, fits.Q
        if spec.model == "common_effect":
            sums.tau2[good] = sums.I2[good] = np.nan
        if not robust and spec.inference != "z":
            corrected = fit_subsets(
                y[good],
                v[good],
                self.Q,
                keep[good],
                tau2=spec.tau2,
                inference=str(spec.inference),
                ci_level=spec.ci_level,
            )
            sums.se[good] = self._standard_errors(corrected.covariance)
            sums.df[good] = corrected.df[:, None]
        elif not robust:
            sums.se[good] = self._standard_errors(fits.covariance)
            sums.df[good] = np.inf

    def _standard_errors(self, covariance: Array) -> Array:
        """Return standard errors of the terms from covariances of the basis, shape (B, p)."""
        variance = np.einsum("tp,bpq,tq->bt", self.unit, covariance, self.unit)
        se: Array = np.sqrt(np.maximum(variance, 0.0))
        return se

    def _fit_multilevel(
        self,
        keep: Mask,
        y: Array,
        v: Array,
        rho: Array,
        sums: _Sums,
        start: Array | None,
        advance: Callable[[int], None],
    ) -> None:
        spec = self.rows.spec
        good = np.flatnonzero([not reason for reason in sums.reasons])
        if not len(good):
            return
        fits = fit_multilevel_batch(
            y[good],
            v[good],
            self.Q,
            self.structure,
            keep[good],
            rho=rho[good] if spec.model == "che" else 0.0,
            restricted=spec.tau2 == "REML",
            start=start,
            advance=advance,
        )
        sums.gamma[good], sums.model_covariance[good] = fits.coefficients, fits.bread
        sums.between[good], sums.within[good] = np.where(fits.free, fits.theta, 0.0).T
        sums.tau2[good] = sums.between[good] + sums.within[good]
        sums.between[good[~fits.free[:, 0]]] = np.nan
        sums.within[good[~fits.free[:, 1]]] = np.nan
        sums.I2[good] = 100 * sums.tau2[good] / (sums.tau2[good] + fits.typical_variance)
        sums.Q[good] = fits.Q
        for b in good[fits.failed]:
            sums.reasons[b] = UNSETTLED
            sums.tau2[b] = sums.between[b] = sums.within[b] = np.nan

    def _add_errors(self, keep: Mask, y: Array, v: Array, rho: Array, sums: _Sums) -> None:
        """Fill in standard errors and degrees of freedom that the batch did not bring."""
        spec = self.rows.spec
        good = np.flatnonzero([not reason for reason in sums.reasons])
        if spec.inference == "cr2":
            usual = self._standard_errors(sums.model_covariance)
            for b in good.tolist():
                robust = self._robust(keep[b], y[b], v[b], float(rho[b]), sums, b)
                for t, row in enumerate(self.unit):
                    se = robust.standard_error(row)
                    # a contrast that its clusters fit perfectly has rounding for an error
                    sums.se[b, t] = se if se > NO_ROBUST_SE * usual[b, t] else 0.0
                    sums.df[b, t] = robust.degrees_of_freedom(row) if se > 0 else np.nan
        elif self.multilevel:
            sums.se[good] = self._standard_errors(sums.model_covariance[good])
            df = keep.sum(axis=1)[good] - self.Q.shape[1]
            sums.df[good] = np.inf if spec.inference == "z" else df[:, None]

    def _robust(
        self, kept: Mask, y: Array, v: Array, rho: float, sums: _Sums, b: int
    ) -> ClusterRobust:
        rows, where = self.rows, np.flatnonzero(kept)
        y, v, Q = y[where], v[where], self.Q[where]
        clusters, samples, studies = (
            np.unique(codes[where], return_inverse=True)[1]
            for codes in (rows.independent, rows.samples, rows.clusters)
        )
        if self.multilevel:
            between, within = np.nan_to_num([sums.between[b], sums.within[b]])
            rho = rho if rows.spec.model == "che" else 0.0
            root = np.sqrt(v)

            def working(block: Index) -> Array:
                shared = samples[block][:, :, None] == samples[block][:, None, :]
                errors = root[block][:, :, None] * root[block][:, None, :]
                phi = rho * shared * errors
                phi += between * (studies[block][:, :, None] == studies[block][:, None, :])
                n = block.shape[1]
                phi[:, np.arange(n), np.arange(n)] += (1 - rho) * v[block] + within
                return np.asarray(phi, dtype=np.float64)
        else:
            total = v + (0.0 if rows.spec.model == "common_effect" else sums.tau2[b])

            def working(block: Index) -> Array:
                return np.asarray(total[block][:, :, None] * np.eye(block.shape[1]))

        return cluster_robust(Q, y - Q @ sums.gamma[b], clusters, working)

    def _fit_singly(
        self,
        keep: Mask,
        y: Array,
        v: Array,
        rho: Array,
        sums: _Sums,
        advance: Callable[[int], None],
    ) -> None:
        for b, kept in enumerate(keep):
            if not sums.reasons[b]:
                try:
                    self._fit_one(np.flatnonzero(kept), y[b], v[b], float(rho[b]), sums, b)
                except (InestimableError, np.linalg.LinAlgError) as error:
                    problems = getattr(error, "problems", None) or (UNSETTLED,)
                    sums.reasons[b] = "; ".join(problems).rstrip(".")
            advance(1)

    def _fit_one(self, where: Index, y: Array, v: Array, rho: float, sums: _Sums, b: int) -> None:
        rows = self.rows
        spec = replace(rows.spec, rho=rho)
        y, v, X = y[where], v[where], rows.X[where]
        clusters, samples = (
            np.unique(codes[where], return_inverse=True)[1]
            for codes in (rows.clusters, rows.samples)
        )
        if rows.scale is not None:
            data = rows.data.iloc[where].reset_index(drop=True)
            fit = fit_scale(Units(data, y, v), X, rows.scale[where], spec)[0]
        else:
            groups = None if rows.groups is None else rows.groups[where]
            fit = fit_pooled(y, v, X, clusters, spec, samples=samples, groups=groups)
        for t, row in enumerate(np.eye(X.shape[1])):
            estimate = fit.contrast(row)
            sums.se[b, t], sums.df[b, t] = estimate.se, estimate.df
        turn = self.basis @ np.linalg.inv(fit.basis)
        sums.gamma[b] = turn @ fit.gamma
        sums.model_covariance[b] = turn @ fit.model_covariance @ turn.T
        self._describe_one(fit, y, v, X, clusters, samples, sums, b)

    def _describe_one(
        self,
        fit: PooledFit,
        y: Array,
        v: Array,
        X: Array,
        clusters: Index,
        samples: Index,
        sums: _Sums,
        b: int,
    ) -> None:
        """Fill in heterogeneity of a single fit."""
        if fit.spec.model == "rve":
            sums.tau2[b] = fit.tau2
            sums.Q[b], sums.I2[b] = fit.heterogeneity["Q"][0], fit.heterogeneity["I2"][0]
            return
        if self.multilevel:
            structure = build_structure(clusters, samples)
            rho = fit.spec.rho if fit.spec.model == "che" else 0.0
            sums.Q[b], typical = generalised_residual(y, v, X, structure, rho)
        else:
            residual = residual_heterogeneity(y, v, X)
            sums.Q[b], typical = residual.Q, residual.typical_variance
        sums.tau2[b] = fit.tau2
        if fit.components is not None and len(fit.group_tau2) == 1:
            free = fit.components.free
            sums.between[b], sums.within[b] = np.where(free, fit.components.theta, np.nan)
        if np.isfinite(fit.tau2):
            sums.I2[b] = i_squared(fit.tau2, typical)

    def _finish(self, sums: _Sums, k: Index, n_studies: Index) -> Refits:
        """Turn the basis's coefficients into the terms', with intervals."""
        spec = self.rows.spec
        estimate = sums.gamma @ self.unit.T
        se, df = sums.se, sums.df
        tail = (1 - spec.ci_level) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            usable = (se > 0) & (df > 0)
            half = np.where(usable, stats.t.isf(tail, np.where(usable, df, 1.0)) * se, np.nan)
            p_value = np.where(
                usable,
                2
                * stats.t.sf(np.abs(estimate / np.where(usable, se, 1.0)), np.where(usable, df, 1)),
                np.nan,
            )
        pi_low, pi_high = np.full((2, len(k)), np.nan)
        if not self.rows.has_moderators and spec.model != "common_effect":
            pi_df = df[:, 0]
            if spec.prediction == "hts":
                by_study = self.multilevel or spec.inference == "cr2" or spec.model == "rve"
                pi_df = (n_studies if by_study else k).astype(float) - 2
            fine = usable[:, 0] & (pi_df > 0) & np.isfinite(sums.tau2)
            spread = np.sqrt(np.where(fine, se[:, 0] ** 2 + sums.tau2, np.nan))
            wide = stats.t.isf(tail, np.where(fine, pi_df, 1.0)) * spread
            pi_low, pi_high = estimate[:, 0] - wide, estimate[:, 0] + wide
        return Refits(
            estimate,
            se,
            df,
            estimate - half,
            estimate + half,
            p_value,
            np.einsum("tp,bpq,uq->btu", self.unit, sums.model_covariance, self.unit),
            pi_low,
            pi_high,
            sums.tau2,
            sums.between,
            sums.within,
            sums.I2,
            sums.Q,
            k,
            n_studies,
            tuple(sums.reasons),
        )
