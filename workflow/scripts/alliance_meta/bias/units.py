"""What the methods against publication bias take as independent, and fits they share."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from alliance_meta.effect_sizes import aggregate_effects
from alliance_meta.formatting import format_count, format_effect, format_interval
from alliance_meta.models.pooling import Estimate, PooledFit, fit_pooled
from alliance_meta.models.result_tables import reporting_scale
from alliance_meta.models.rows import ModelRows
from alliance_meta.models.specification import (
    MULTILEVEL_MODELS,
    InestimableError,
    ModelSpecification,
)

Array = NDArray[np.float64]
Index = NDArray[np.intp]

# residuals below this share of what they are residuals of are rounding
ROUNDING = 1e-7
# below this many studies, tests for asymmetry rarely find it (Sterne et al. 2011)
FEW_STUDIES = 10


@dataclass(frozen=True)
class Units:
    """Independent units: the model's rows, or one composite per study.

    Attributes
    ----------
    y, v
        Effects and sampling variances, shape (u,).
    tau2
        Variance of the true effects of the units, shape (u,).
    fitted
        What the analysis predicts for each unit, shape (u,).
    names, studies
        Effect (or study, for a composite of several) and study, length u.
    kind
        "effect" or "study".
    """

    y: Array
    v: Array
    tau2: Array
    fitted: Array
    names: tuple[str, ...]
    studies: tuple[str, ...]
    kind: str


def recognises_dependence(rows: ModelRows) -> bool:
    """Return whether the analysis takes some of its rows as dependent on each other."""
    spec = rows.spec
    by_study = spec.model in (*MULTILEVEL_MODELS, "rve") or spec.inference == "cr2"
    return by_study and rows.dependent


def fitted_values(rows: ModelRows) -> Array:
    """Return ``Xb`` of the analysis, shape (k,)."""
    values: Array = rows.fit.to_basis(rows.X) @ rows.fit.gamma
    return values


@dataclass(frozen=True)
class _TrueVariances:
    """Variances of the true effects of each row between and within studies, shape (k,) each."""

    between: Array
    within: Array
    group: Index


def _true_variances(rows: ModelRows) -> _TrueVariances:
    k, components = len(rows.y), rows.fit.components
    if components is None:
        tau2 = np.full(k, rows.fit.tau2)
        if np.isnan(rows.fit.tau2):
            # a location–scale model leaves its variances in the weights
            tau2 = np.maximum(1 / rows.fit.weights - rows.v, 0.0)
        return _TrueVariances(tau2, np.zeros(k), np.zeros(k, dtype=np.intp))
    structure = components.likelihood.structure
    group = np.empty_like(structure.group)
    group[structure.order] = structure.group
    return _TrueVariances(components.between[group], components.within[group], group)


def effect_units(rows: ModelRows) -> Units:
    """Return every row of the model as a unit."""
    found = _true_variances(rows)
    studies = tuple(rows.data["study_id"].astype("str"))
    names = tuple(rows.data["effect_id"].astype("str"))
    tau2 = found.between + found.within
    return Units(rows.y, rows.v, tau2, fitted_values(rows), names, studies, "effect")


def independent_units(rows: ModelRows) -> Units:
    """Return rows that the analysis takes as independent, else one composite per study.

    The composite is the mean of a study's effects, whose sampling errors correlate at the
    analysis's rho. Of the variance between studies it keeps all, of that within them the share of
    a mean.
    """
    single = effect_units(rows)
    if not recognises_dependence(rows):
        return single
    composite = aggregate_effects(rows.y, rows.v, rows.independent, rows.spec.rho)
    # studies in the order in which they appear, as the composites are
    order = rows.independent[composite.first_index]
    sizes = np.bincount(rows.independent)
    found = _true_variances(rows)
    tau2 = np.bincount(rows.independent, found.within) / sizes**2
    for g in range(int(found.group.max()) + 1):
        # effects of one study and variance group share their deviation
        shared = np.bincount(rows.independent, found.group == g) / sizes
        spread = found.between * (found.group == g)
        tau2 += shared * np.bincount(rows.independent, spread) / sizes
    fitted = np.bincount(rows.independent, single.fitted) / sizes
    studies = tuple(single.studies[i] for i in composite.first_index)
    names = tuple(
        single.names[i] if n == 1 else single.studies[i]
        for i, n in zip(composite.first_index, sizes[order], strict=True)
    )
    return Units(composite.y, composite.v, tau2[order], fitted[order], names, studies, "study")


def plain_specification(spec: ModelSpecification) -> ModelSpecification:
    """Return the model with one τ² and no formula of its own: designs come as arrays."""
    return replace(spec, separate_tau2=False, scale="", moderators="", reference={})


def univariate_specification(rows: ModelRows) -> ModelSpecification:
    """Return the analysis as a model of independent effects.

    Univariate analyses are their own; of the others it is the random-effects model with the
    same estimator of τ², tested by z as the univariate methods were published.
    """
    spec = plain_specification(rows.spec)
    univariate = spec.model in ("common_effect", "random_effects", "aggregated")
    model = spec.model if univariate else "random_effects"
    inference = spec.inference if univariate and spec.inference != "cr2" else "z"
    return replace(spec, model=model, inference=inference)


def random_effects_specification(rows: ModelRows) -> ModelSpecification:
    """Return a random-effects model of independent effects.

    With the τ² estimator and inference of a univariate analysis; of the multilevel ones REML or
    ML as theirs, else REML; by z where the analysis is not univariate.
    """
    spec = univariate_specification(rows)
    keep = rows.spec.model not in ("common_effect", "rve")
    return replace(spec, model="random_effects", tau2=spec.tau2 if keep else "REML")


def dependent_specification(rows: ModelRows) -> ModelSpecification:
    """Return the analysis's own multilevel or correlated-effects model with CR2, else ``che``."""
    spec = plain_specification(rows.spec)
    if spec.model in (*MULTILEVEL_MODELS, "rve"):
        return replace(spec, inference="cr2")
    tau2 = spec.tau2 if spec.tau2 in ("ML", "REML") else "REML"
    return replace(spec, model="che", tau2=tau2, inference="cr2")


def own_specification(rows: ModelRows) -> ModelSpecification:
    """Return the analysis's own model, with CR2 where it is of dependent effects."""
    if rows.spec.model in (*MULTILEVEL_MODELS, "rve"):
        return dependent_specification(rows)
    return plain_specification(rows.spec)


def fit_rows(rows: ModelRows, X: Array, spec: ModelSpecification) -> PooledFit:
    """Fit the analysis's effects with another design.

    Parameters
    ----------
    rows
        The analysis.
    X
        Design, shape (k, p).
    spec
        A resolved specification.

    Raises
    ------
    InestimableError
        If the design is not of full rank or there are no more units than coefficients.
    """
    return fit_effects(
        rows.y, rows.v, X, rows.clusters, rows.samples, spec, n_independent=rows.n_studies
    )


def fit_effects(
    y: Array,
    v: Array,
    X: Array,
    clusters: Index,
    samples: Index,
    spec: ModelSpecification,
    *,
    n_independent: int,
) -> PooledFit:
    """Fit effects after a look at whether they can carry the design.

    Parameters
    ----------
    y, v, X, clusters, samples, spec
        As ``fit_pooled`` takes them.
    n_independent
        Number of independent studies.

    Raises
    ------
    InestimableError
        If the design is not of full rank or there are no more units than coefficients.
    """
    p = X.shape[1]
    by_study = spec.inference == "cr2" or spec.model in (*MULTILEVEL_MODELS, "rve")
    n_units = n_independent if by_study else len(y)
    if n_units <= p:
        noun = ("study", "studies") if by_study else ("effect", "effects")
        raise InestimableError(
            f"{format_count(n_units, f'independent {noun[0]}', f'independent {noun[1]}')} "
            f"cannot support {format_count(p, 'coefficient')}"
        )
    if np.linalg.matrix_rank(X / np.linalg.norm(X, axis=0)) < p:
        raise InestimableError("the predictors cannot be told apart")
    try:
        return fit_pooled(y, v, X, clusters, spec, samples=samples)
    except np.linalg.LinAlgError as error:
        raise InestimableError("the model cannot be computed with these effects") from error


def check_spread(predictor: Array, X: Array) -> None:
    """Refuse a predictor that does not vary beyond a design.

    Parameters
    ----------
    predictor, X
        Shapes (k,) and (k, p).

    Raises
    ------
    InestimableError
        If nothing of the predictor is left.
    """
    rest = predictor - X @ np.linalg.lstsq(X, predictor, rcond=None)[0]
    if np.linalg.norm(rest) <= ROUNDING * np.linalg.norm(predictor):
        beyond = "" if X.shape[1] == 1 else " beyond the moderators"
        raise InestimableError(f"the standard errors do not differ{beyond}")


def table_df(estimate: Estimate) -> float:
    """Return degrees of freedom as tables hold them: NaN for a normal reference."""
    return np.nan if np.isinf(estimate.df) else estimate.df


def effect_words(value: float, low: float, high: float, spec: ModelSpecification) -> str:
    """Return "r = .20, 95 % CI [.11, .29]" from values on the analysis metric."""
    value, low, high = (
        float(x) for x in reporting_scale(np.array([value, low, high]), spec.metric)
    )
    symbol = "" if spec.metric == "generic" else "r = "
    interval = format_interval(low, high, spec.metric)
    tail = f", {100 * spec.ci_level:g} % CI {interval}" if interval else ""
    return f"{symbol}{format_effect(value, spec.metric)}{tail}"


def reason(error: InestimableError) -> str:
    """Return why something cannot be estimated, without a full stop."""
    return "; ".join(error.problems).rstrip(".")
