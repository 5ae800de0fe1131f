"""The rows behind a fitted analysis, as arrays, for whatever fits them again."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.models.analysis import AnalysisResult, independent_clusters
from alliance_meta.models.pooling import PooledFit
from alliance_meta.models.specification import InestimableError, ModelSpecification

Array = NDArray[np.float64]
Index = NDArray[np.intp]

INTERCEPT = "Intercept"


@dataclass(frozen=True)
class ModelRows:
    """What a model was fitted to.

    Attributes
    ----------
    data
        Rows of the model: effects, or composites; k rows.
    y, v
        Effects and sampling variances on the analysis metric, shape (k,).
    X, terms
        Design, shape (k, p), and the names of its columns.
    clusters, samples, independent
        Numbers (0, 1, … without gaps) of each row's study, sample and independent study,
        shape (k,); studies that share a sample are one independent study.
    spec
        The resolved specification.
    fit
        The fit of all rows.
    effects
        The effects behind the rows, which differ from ``data`` where it holds composites.
    groups
        Variance group of each row where variances differ between levels, shape (k,).
    scale
        Design of log τ² of a location–scale model, shape (k, q).
    continuous
        Numeric moderators.
    """

    data: pd.DataFrame
    y: Array
    v: Array
    X: Array
    terms: tuple[str, ...]
    clusters: Index
    samples: Index
    independent: Index
    spec: ModelSpecification
    fit: PooledFit
    effects: pd.DataFrame
    groups: Index | None = None
    scale: Array | None = None
    continuous: tuple[str, ...] = ()

    @property
    def has_moderators(self) -> bool:
        """Whether the model is of more than one mean."""
        return self.X.shape[1] > 1 or not bool((self.X == 1).all())

    @property
    def telling_terms(self) -> tuple[str, ...]:
        """Terms that sentences speak of: an intercept at year 0 tells nobody anything."""
        return tuple(t for t in self.terms if not (self.continuous and t == INTERCEPT))

    @property
    def n_studies(self) -> int:
        """Number of independent studies."""
        return int(self.independent.max()) + 1

    @property
    def dependent(self) -> bool:
        """Whether any independent study brings several rows."""
        return self.n_studies < len(self.y)


def model_rows(result: AnalysisResult) -> ModelRows:
    """Return the rows behind an analysis.

    Raises
    ------
    InestimableError
        If nothing was fitted.
    """
    fitted = result.fitted
    if fitted is None:
        raise InestimableError(result.failure or "a single effect was not pooled")
    data = fitted.data
    return ModelRows(
        data,
        data["yi"].to_numpy(float),
        data["vi"].to_numpy(float),
        fitted.design.X,
        tuple(fitted.design.terms),
        np.asarray(pd.factorize(data["study_id"])[0], dtype=np.intp),
        np.asarray(pd.factorize(data["sample_id"])[0], dtype=np.intp),
        independent_clusters(fitted.fit, data),
        result.spec,
        fitted.fit,
        fitted.effects,
        fitted.groups,
        None if fitted.scale is None else fitted.scale.X,
        fitted.design.continuous,
    )
