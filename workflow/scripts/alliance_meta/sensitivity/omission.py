"""Which rows of a model are left when some effects are omitted."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.effect_sizes import aggregate_effects
from alliance_meta.models.expressions import formula_variables, scale_variables
from alliance_meta.models.rows import ModelRows

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

NOT_CODED = "(not coded)"


class Remaining(NamedTuple):
    """Rows that are left, shape (B, k), and their values where those differ, shape (B, k)."""

    keep: Mask
    y: Array | None
    v: Array | None


def omit_effects(rows: ModelRows, omitted: Mask) -> Remaining:
    """Return what is left of the model's rows without some effects.

    Parameters
    ----------
    rows
        The rows of an analysis.
    omitted
        Which of ``rows.effects`` each omission leaves out, shape (B, effects).

    Returns
    -------
    Remaining
        A composite is computed anew from the effects that it keeps.
    """
    n = len(omitted)
    if rows.spec.model != "aggregated":
        return Remaining(~omitted, None, None)
    composite = composite_of_effects(rows)
    y, v = (rows.effects[name].to_numpy(float) for name in ("yi", "vi"))
    keep = np.ones((n, len(rows.y)), dtype=bool)
    Y, V = (np.tile(a, (n, 1)) for a in (rows.y, rows.v))
    for b, gone in enumerate(omitted):
        for c in np.unique(composite[gone]):
            left = np.flatnonzero((composite == c) & ~gone)
            if not len(left):
                keep[b, c] = False
                continue
            part = aggregate_effects(y[left], v[left], np.zeros(len(left), int), rows.spec.rho)
            Y[b, c], V[b, c] = part.y[0], part.v[0]
    return Remaining(keep, Y, V)


def composite_of_effects(rows: ModelRows) -> NDArray[np.intp]:
    """Return the row of the model that each effect enters, shape (effects,)."""
    spec = rows.spec
    if spec.model != "aggregated":
        return np.arange(len(rows.y))
    variables = [*formula_variables(spec.moderators), *scale_variables(spec.scale)]
    keys = list(dict.fromkeys(["sample_id", *variables]))
    groups = rows.effects.groupby(keys, sort=False, dropna=False).ngroup()
    return np.asarray(groups, dtype=np.intp)


def study_names(rows: ModelRows) -> list[str]:
    """Return the name of each independent study; studies that share a sample are joined."""
    studies = rows.data["study_id"].astype("str").groupby(rows.independent)
    return [" + ".join(dict.fromkeys(names)) for _, names in studies]


def class_names(values: "pd.Series[str]") -> "pd.Series[str]":
    """Return codes as text, with a name for empty cells."""
    if pd.api.types.is_numeric_dtype(values):
        values = values.map(lambda number: f"{number:g}", na_action="ignore")
    return values.astype("str").fillna(NOT_CODED)
