"""The same effects under other weights."""

import math
from collections.abc import Callable, Collection

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from alliance_meta.assessments import Assessment
from alliance_meta.formatting import format_effect, format_interval
from alliance_meta.models.gate import MINIMUM_DF, ROUNDING
from alliance_meta.models.pooling import NO_ROBUST_SE
from alliance_meta.models.result_tables import reporting_scale
from alliance_meta.models.robust import cluster_robust
from alliance_meta.models.rows import ModelRows

Array = NDArray[np.float64]
Index = NDArray[np.intp]
# as ``cluster_robust`` takes it
WorkingCovariance = Callable[[Index], Array]

NAME = "weights"
COLUMNS = ["weights", "estimate", "se", "df", "ci_low", "ci_high", "p_value", "term"]


def assess_weights(rows: ModelRows, *, withheld: Collection[str] = ()) -> Assessment:
    """Compare the model's weights with fixed (common-effect) and equal ones.

    Parameters
    ----------
    rows
        The rows of an analysis.
    withheld
        Terms whose test is withheld; so is every test on fewer than four robust degrees of
        freedom.

    Returns
    -------
    Assessment
        ``sensitivity_weights``: a row for each kind of weights and term on the analysis
        metric. ``estimated`` is the analysis itself; ``fixed`` weights by sampling errors
        alone (correlated at rho within a sample in models that assume it), ``equal`` by
        nothing. The latter two have CR2 standard errors by independent study, which are valid
        whatever the true effects' variances (Pustejovsky & Tipton 2018).
    """
    unit = np.eye(len(rows.terms))
    records: list[tuple[object, ...]] = []
    for term, row in zip(rows.terms, unit, strict=True):
        e = rows.fit.contrast(row)
        records.append(("estimated", e.value, e.se, e.df, e.ci_low, e.ci_high, e.p_value, term))
    sentences = []
    if rows.n_studies <= len(rows.terms) + 1:
        sentences.append("Too few studies to compare weights.")
    else:
        records += _weigh("fixed", _sampling_covariance(rows), rows)
        records += _weigh("equal", _identity, rows)
    table = pd.DataFrame(records, columns=COLUMNS)
    low = table["df"].lt(MINIMUM_DF - ROUNDING) & (
        (table["weights"] != "estimated") | (rows.fit.robust is not None)
    )
    table["p_value"] = table["p_value"].mask(low | table["term"].isin(withheld))
    if not sentences and not rows.has_moderators:
        sentences.append(_describe(table, rows.spec.metric))
    return Assessment(NAME, {"sensitivity_weights": table}, tuple(sentences))


def _identity(block: Index) -> Array:
    return np.broadcast_to(np.eye(block.shape[1]), (*block.shape, block.shape[1])).copy()


def _sampling_covariance(rows: ModelRows) -> WorkingCovariance:
    rho = rows.spec.rho if rows.spec.model in ("che", "rve") else 0.0
    root = np.sqrt(rows.v)

    def working(block: Index) -> Array:
        shared = rows.samples[block][:, :, None] == rows.samples[block][:, None, :]
        phi = rho * shared * root[block][:, :, None] * root[block][:, None, :]
        n = block.shape[1]
        phi[:, np.arange(n), np.arange(n)] = rows.v[block]
        return np.asarray(phi, dtype=np.float64)

    return working


def _weigh(name: str, working: WorkingCovariance, rows: ModelRows) -> list[tuple[object, ...]]:
    Q, basis = np.linalg.qr(rows.X)
    zero = cluster_robust(Q, np.zeros(len(Q)), rows.independent, working)
    gamma = zero.bread @ (zero.weighted_design.T @ rows.y)
    robust = cluster_robust(Q, rows.y - Q @ gamma, rows.independent, working)
    records: list[tuple[object, ...]] = []
    for term, row in zip(rows.terms, np.linalg.inv(basis), strict=True):
        value, se = float(row @ gamma), robust.standard_error(row)
        # a mean that its studies fit perfectly has rounding for a standard error
        if not se > NO_ROBUST_SE * math.sqrt(float(row @ robust.bread @ row)):
            records.append((name, value, 0.0, *[np.nan] * 4, term))
            continue
        df = robust.degrees_of_freedom(row)
        half = float(stats.t.isf((1 - rows.spec.ci_level) / 2, df)) * se
        p_value = float(2 * stats.t.sf(abs(value / se), df))
        records.append((name, value, se, df, value - half, value + half, p_value, term))
    return records


def _describe(table: pd.DataFrame, metric: str) -> str:
    def words(name: str) -> str:
        row = table.loc[table["weights"] == name].iloc[0]
        numbers = reporting_scale(row[["estimate", "ci_low", "ci_high"]].to_numpy(float), metric)
        interval = format_interval(numbers[1], numbers[2], metric)
        return f"{format_effect(numbers[0], metric)} {interval}".strip()

    return (
        f"With the model's weights the pooled result is {words('estimated')}; with fixed weights, "
        f"in which large studies count most, {words('fixed')}; with equal weights {words('equal')}."
    )
