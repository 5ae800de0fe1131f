"""Design matrices from moderator formulas."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import formulaic
import numpy as np
import pandas as pd
from formulaic.errors import FormulaicError
from numpy.typing import NDArray
from scipy.linalg import null_space

from alliance_meta.models.aliasing import describe_aliasing
from alliance_meta.models.expressions import FORMULA_FUNCTIONS, formula_variables
from alliance_meta.models.specification import InestimableError, SpecificationError

Array = NDArray[np.float64]

# what formulaic does not bring itself
FUNCTIONS = {"sqrt": np.sqrt, "abs": np.abs}

# rounding of a least-squares solution; a true constant is met far better
CONSTANT_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Level:
    """A level of a categorical moderator and the contrast that estimates it."""

    moderator: str
    value: str
    contrast: Array

    @property
    def name(self) -> str:
        """Name as ``summary.csv`` prints it."""
        return f"{self.moderator}={self.value}"


@dataclass(frozen=True)
class Design:
    """A design matrix and what its columns mean.

    Attributes
    ----------
    X
        Shape (k, p).
    terms
        Column names as formulaic gives them, length p.
    levels
        Levels of every categorical moderator with their contrasts, shape (p,) each.
    references
        Categorical moderator -> its reference level.
    continuous
        Numeric moderators of the formula.
    specification
        The formula's encoder, for new values of the moderators; None without moderators.
    """

    X: Array
    terms: tuple[str, ...]
    levels: tuple[Level, ...] = ()
    references: Mapping[str, str] | None = None
    continuous: tuple[str, ...] = ()
    specification: Any = None


def order_levels(values: pd.Series, reference: str | None = None) -> list[str]:
    """Return the levels of a categorical moderator, reference first, then by frequency.

    Ties are broken by name, so that the order never depends on the order of rows.
    """
    counts = values.dropna().astype(str).value_counts()
    levels = sorted(counts.index, key=lambda level: (-counts[level], level))
    if reference is not None and reference in levels:
        levels.remove(reference)
        levels.insert(0, reference)
    return levels


def build_design(
    data: pd.DataFrame, formula: str, reference: Mapping[str, str], *, setting: str = "moderators"
) -> Design:
    """Encode moderators.

    Parameters
    ----------
    data
        One row per effect, no missing moderator; text columns are categorical.
    formula
        Right-hand side, such as "rater + year"; empty for the intercept alone.
    reference
        Categorical moderator -> reference level (default: the most frequent level).
    setting
        Where the formula stands, for error messages.

    Returns
    -------
    Design
        Treatment coding; level contrasts average over the other moderators' levels with
        equal weights and set numeric moderators to their means (estimated marginal means;
        Searle, Speed & Milliken 1980).

    Raises
    ------
    SpecificationError
        If the formula fails on these data or two of its terms cannot be told apart.
    """
    variables = formula_variables(formula)
    if not variables:
        return Design(np.ones((len(data), 1)), ("Intercept",))
    frame = data.loc[:, list(variables)].copy()
    levels_of: dict[str, list[str]] = {}
    for name in variables:
        if not pd.api.types.is_numeric_dtype(frame[name]):
            levels_of[name] = order_levels(frame[name], reference.get(name))
            frame[name] = pd.Categorical(frame[name].astype(str), categories=levels_of[name])
    try:
        matrix = formulaic.model_matrix(formula, frame, context=FUNCTIONS)
    except (FormulaicError, ArithmeticError, LookupError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        clash = [name for name in variables if name in FORMULA_FUNCTIONS]
        if clash:
            reason = f"the column '{clash[0]}' has the name of a function; rename it"
        raise SpecificationError(
            f"'{formula}' cannot be used: {reason}", setting=setting
        ) from error
    terms = tuple(str(c) for c in matrix.columns)
    X = np.asarray(matrix, dtype=float)
    if len(X) != len(frame) or not np.isfinite(X).all():
        raise InestimableError(
            f"'{formula}' cannot be used: it gives no finite number for some effects",
            setting=setting,
        )
    if terms == ("Intercept",) and not levels_of:
        raise SpecificationError(f"'{formula}' leaves no moderator to test", setting=setting)
    _refuse_aliased(data, variables, X, terms, formula, setting)
    specification = matrix.model_spec
    return Design(
        X,
        terms,
        _level_contrasts(frame, levels_of, specification),
        _references(formula, terms, levels_of),
        tuple(v for v in variables if v not in levels_of),
        specification,
    )


def _references(
    formula: str, terms: tuple[str, ...], levels_of: Mapping[str, list[str]]
) -> dict[str, str]:
    """Return the levels that coefficients compare with; none where the formula says otherwise."""
    if "Intercept" not in terms or "contr." in formula:
        return {}
    return {name: levels[0] for name, levels in levels_of.items()}


def equality_contrasts(X: Array, *, setting: str = "moderators") -> Array:
    """Return contrasts that are all zero exactly where every row has the same mean.

    Parameters
    ----------
    X
        Design of full column rank, shape (k, p), that can express a constant.
    setting
        Where the formula stands, for error messages.

    Returns
    -------
    Array
        Shape (p − 1, p): with an intercept the other coefficients, without one the
        differences between coefficients.

    Raises
    ------
    SpecificationError
        If the design cannot express a constant, as a line through the origin.
    """
    k, p = X.shape
    intercept = (X == 1).all(axis=0)
    if intercept.any():
        return np.eye(p)[~intercept]
    norms = np.linalg.norm(X, axis=0)
    constant, *_ = np.linalg.lstsq(X / norms, np.ones(k), rcond=None)
    if np.abs(X / norms @ constant - 1).max() > CONSTANT_TOLERANCE:
        raise SpecificationError(
            "the formula has no intercept, so that it compares with zero and not with the mean; "
            "leave out '0 +' or '- 1'",
            setting=setting,
        )
    return np.asarray(null_space(constant[None, :]).T * norms, dtype=np.float64)


def encode_values(design: Design, values: pd.DataFrame) -> Array:
    """Return the design rows of new moderator values, shape (len(values), p)."""
    return np.asarray(design.specification.get_model_matrix(values, context=FUNCTIONS), dtype=float)


def _level_contrasts(
    frame: pd.DataFrame, levels_of: dict[str, list[str]], specification: Any
) -> tuple[Level, ...]:
    # a name that no sheet can hold
    grid = pd.DataFrame({"": [0]})
    for name, levels in levels_of.items():
        column = pd.DataFrame({name: pd.Categorical(levels, categories=levels)})
        grid = grid.merge(column, how="cross")
    for name in frame.columns:
        if name not in levels_of:
            grid[name] = frame[name].mean()
    rows = np.asarray(specification.get_model_matrix(grid, context=FUNCTIONS), dtype=float)
    return tuple(
        Level(name, level, rows[(grid[name] == level).to_numpy()].mean(axis=0))
        for name, levels in levels_of.items()
        for level in levels
    )


def _refuse_aliased(
    data: pd.DataFrame,
    variables: tuple[str, ...],
    X: Array,
    terms: tuple[str, ...],
    formula: str,
    setting: str,
) -> None:
    """Raise if a column is a combination of the columns before it."""
    scaled = X / np.where(norms := np.linalg.norm(X, axis=0), norms, 1.0)
    if np.linalg.matrix_rank(scaled) == X.shape[1]:
        return
    aliased = [
        terms[j]
        for j in range(X.shape[1])
        if np.linalg.matrix_rank(scaled[:, : j + 1]) < np.linalg.matrix_rank(scaled[:, :j]) + 1
    ]
    why = describe_aliasing(data, variables, X, terms)
    raise InestimableError(
        f"'{formula}': {', '.join(aliased)} cannot be told apart from the other terms in "
        "these data; leave a moderator out or merge levels" + (f". {why}" if why else ""),
        setting=setting,
    )
