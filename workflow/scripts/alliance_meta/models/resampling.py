"""Tests of an analysis by resampling: permutations, flipped signs, wild cluster bootstrap."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.models.analysis import (
    AnalysisResult,
    FittedModel,
    independent_clusters,
    tested_terms,
)
from alliance_meta.models.gate import OMNIBUS
from alliance_meta.models.permutation import (
    ResamplingTest,
    flip_signs,
    permute_clusters,
    permute_moderators,
)
from alliance_meta.models.pooling import PooledFit
from alliance_meta.models.specification import MULTILEVEL_MODELS, InestimableError
from alliance_meta.models.wild_bootstrap import wild_cluster_bootstrap

Array = NDArray[np.float64]
Index = NDArray[np.intp]

PERMUTATION_COLUMNS = ["term", "statistic", "p_value", "permutations", "exact"]
BOOTSTRAP_COLUMNS = ["term", "statistic", "p_value", "replications", "exact"]


@dataclass(frozen=True)
class Resampling:
    """Tests by resampling.

    Attributes
    ----------
    permutation
        ``permutation.csv``: terms tested by permuting moderators between effects or whole
        studies, or by flipping the signs of effects; ``omnibus`` is all moderators together.
    bootstrap
        ``wild_bootstrap.csv``: terms tested by the wild cluster bootstrap.
    notes
        Why something could not be tested.
    ways
        Arrangements that differ in the names of equally frequent levels only.
    """

    permutation: pd.DataFrame
    bootstrap: pd.DataFrame
    notes: tuple[str, ...] = ()
    ways: int = 1

    def p_value(self, term: str) -> float:
        """Return the p-value of a term; NaN if it was not tested."""
        for table in (self.permutation, self.bootstrap):
            found = table.loc[table["term"] == term, "p_value"]
            if len(found):
                return float(found.iloc[0])
        return np.nan

    def smallest_p(self, term: str) -> float:
        """Return the smallest p-value that the test of a term can give; NaN without a test."""
        for table, column in (
            (self.permutation, "permutations"),
            (self.bootstrap, "replications"),
        ):
            found = table.loc[table["term"] == term]
            if not len(found):
                continue
            row = found.iloc[0]
            count = int(row[column])
            if not row["exact"]:
                return 1 / (count + 1)
            # a pattern of signs and its mirror image give the same statistic
            signs = column == "replications" or term == "Intercept"
            return (2 if signs else self.ways if term == OMNIBUS else min(self.ways, 2)) / count
        return np.nan


def resample_tests(result: AnalysisResult, *, permutations: int, seed: int) -> Resampling:
    """Test the terms of an analysis by resampling.

    Parameters
    ----------
    result
        A finished analysis.
    permutations
        Number of random permutations or bootstrap replications; where no more exist, each is
        taken once and the test is exact. 0 for none.
    seed
        Of the random ones.

    Notes
    -----
    Independent effects: moderators are permuted between effects and everything is estimated
    anew. Dependent effects: moderators that are constant within studies are permuted between
    whole studies; otherwise, and for the mean, signs of whole studies' residuals are drawn
    (wild cluster bootstrap).
    """
    nothing = Resampling(
        pd.DataFrame(columns=PERMUTATION_COLUMNS), pd.DataFrame(columns=BOOTSTRAP_COLUMNS)
    )
    fitted = result.fitted
    if fitted is None or not permutations:
        return nothing
    spec = fitted.fit.spec
    independent = spec.inference != "cr2" and spec.model not in MULTILEVEL_MODELS
    if result.spec.scale or (independent and result.spec.separate_tau2):
        note = "No test by resampling: there is none for models of the heterogeneity itself."
        return Resampling(nothing.permutation, nothing.bootstrap, (note,))
    try:
        if fitted.fit.spec.inference == "cr2" or fitted.fit.components is not None:
            return _resample_clusters(fitted, nothing, permutations, seed)
        return _resample_effects(fitted, nothing, permutations, seed)
    except InestimableError as error:
        text = "; ".join(error.problems)
        note = f"No test by resampling: {text}."
        return Resampling(nothing.permutation, nothing.bootstrap, (note,))


def _resample_effects(
    fitted: FittedModel, nothing: Resampling, permutations: int, seed: int
) -> Resampling:
    y, v = fitted.data["yi"].to_numpy(float), fitted.data["vi"].to_numpy(float)
    spec, X = fitted.fit.spec, fitted.design.X
    if fitted.data["study_id"].duplicated().any():
        note = (
            "No test by resampling: the model takes several rows of one study as independent, and "
            "a permutation would too; use the model che."
        )
        return Resampling(nothing.permutation, nothing.bootstrap, (note,))
    if not len(fitted.contrasts):
        test = flip_signs(y, v, spec, permutations=permutations, seed=seed)
        return Resampling(_permutation_table(["Intercept"], test), nothing.bootstrap)
    terms, tested = _terms(fitted)
    test = permute_moderators(
        y, v, X, spec, tested, fitted.contrasts, permutations=permutations, seed=seed
    )
    table = _permutation_table([*terms, OMNIBUS], test)
    return Resampling(table, nothing.bootstrap, ways=_interchangeable(fitted))


def _resample_clusters(
    fitted: FittedModel, nothing: Resampling, permutations: int, seed: int
) -> Resampling:
    clusters = independent_clusters(fitted.fit, fitted.data)
    first = np.unique(clusters, return_index=True)[1]
    X = fitted.design.X
    between = bool((X[first][clusters] == X).all())
    terms, tested = _terms(fitted)
    if len(fitted.contrasts) and between and fitted.null is not None:
        y, w = _composites(fitted.null, fitted.data["yi"].to_numpy(float), clusters)
        test = permute_clusters(
            y, w, X[first], tested, fitted.contrasts, permutations=permutations, seed=seed
        )
        table = _permutation_table([*terms, OMNIBUS], test)
        return Resampling(table, nothing.bootstrap, ways=_interchangeable(fitted))
    robust = fitted.fit.robust
    if robust is None:
        note = (
            "No test by resampling: where moderators vary within studies, the wild cluster "
            "bootstrap needs inference 'cr2'."
        )
        return Resampling(nothing.permutation, nothing.bootstrap, (note,))
    unit = np.eye(X.shape[1])
    sets = [unit[[i]] for i in np.flatnonzero(tested)] if len(fitted.contrasts) else [unit]
    if len(fitted.contrasts):
        sets.append(fitted.contrasts)
    names = [*terms, OMNIBUS] if len(fitted.contrasts) else ["Intercept"]
    Q = np.linalg.qr(X)[0]
    test = wild_cluster_bootstrap(
        fitted.data["yi"].to_numpy(float),
        Q,
        robust,
        clusters,
        [fitted.fit.to_basis(rows) for rows in sets],
        replications=permutations,
        seed=seed,
    )
    table = _permutation_table(names, test).rename(columns={"permutations": "replications"})
    return Resampling(nothing.permutation, table)


def _terms(fitted: FittedModel) -> tuple[list[str], NDArray[np.bool_]]:
    """Return the terms that are tested one by one, and where they stand."""
    intercept = "Intercept" in fitted.design.terms
    belongs = tested_terms(fitted.design, fitted.contrasts)
    # without an intercept a coefficient is a mean, and no permutation tests that
    terms = [term for term, tested in belongs.items() if tested] if intercept else []
    return terms, np.array([term in terms for term in fitted.design.terms])


def _interchangeable(fitted: FittedModel) -> int:
    """Return in how many ways levels of equal size can swap names without another statistic."""
    levels = fitted.design.levels
    if len(levels) != fitted.design.X.shape[1] or not levels:
        return 1
    clusters = independent_clusters(fitted.fit, fitted.data)
    first = np.unique(clusters, return_index=True)[1]
    sizes = fitted.data[levels[0].moderator].iloc[first].value_counts()
    return math.prod(math.factorial(int(n)) for n in sizes.value_counts())


def _composites(null: PooledFit, y: Array, clusters: Index) -> tuple[Array, Array]:
    """Return each study's generalised least-squares composite and its weight."""
    if null.components is None:
        weighted = null.weights * y
    else:
        order = null.components.likelihood.structure.order
        weighted = np.empty_like(y)
        weighted[order] = null.components.evaluation.covariance.solve(y[order][:, None])[:, 0]
    weight = np.asarray(np.bincount(clusters, null.weights), dtype=float)
    return np.bincount(clusters, weighted) / weight, weight


def _permutation_table(terms: list[str], test: ResamplingTest) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "term": terms,
            "statistic": test.statistics,
            "p_value": test.p_values,
            "permutations": test.permutations,
            "exact": test.exact,
        }
    )
