"""The result over assumed correlations of sampling errors."""

from collections.abc import Callable, Collection, Sequence

import numpy as np
import pandas as pd

from alliance_meta.assessments import Assessment
from alliance_meta.effect_sizes import aggregate_effects
from alliance_meta.formatting import format_effect, join_words
from alliance_meta.models.refits import Refits, Refitter
from alliance_meta.models.result_tables import reporting_scale
from alliance_meta.models.rows import ModelRows
from alliance_meta.sensitivity.leave_one_out import changes_of
from alliance_meta.sensitivity.omission import composite_of_effects

NAME = "rho"
COLUMNS = [
    "rho",
    "estimate",
    "se",
    "ci_low",
    "ci_high",
    "tau2_between",
    "tau2_within",
    "term",
    "tau2",
    "changes",
]
DEFAULT_VALUES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
WITH_RHO = ("che", "rve", "aggregated")


def assess_rho(
    rows: ModelRows,
    refitter: Refitter,
    *,
    values: Sequence[float] = DEFAULT_VALUES,
    withheld: Collection[str] = (),
    advance: Callable[[int], None] = lambda n: None,
) -> Assessment:
    """Fit the model under each assumed correlation of sampling errors within a sample.

    Parameters
    ----------
    rows, refitter
        The rows of an analysis and what fits its model again.
    values
        Correlations in [0, 1).
    withheld
        Terms whose test is withheld.
    advance
        Told how many fits have been finished.

    Returns
    -------
    Assessment
        ``sensitivity_rho``: a row for each value and term, on the analysis metric.
    """
    empty = pd.DataFrame(columns=COLUMNS)
    if rows.spec.model not in WITH_RHO:
        text = "This model assumes no correlation of sampling errors, so there is none to vary."
        return Assessment(NAME, {"sensitivity_rho": empty}, (text,))
    if not rows.effects["sample_id"].duplicated().any():
        text = "No sample brings several effects, so the assumed correlation changes nothing."
        return Assessment(NAME, {"sensitivity_rho": empty}, (text,))
    grid = np.asarray(values, dtype=float)
    keep = np.ones((len(grid), len(rows.y)), dtype=bool)
    v = _composite_variances(rows, grid) if rows.spec.model == "aggregated" else None
    refits = refitter.refit(keep, v=v, rho=grid, advance=advance)
    everything = refitter.refit(keep[:1])
    changes = changes_of(refits, everything, rows, withheld)
    records = [
        (
            rho,
            refits.estimate[b, t],
            refits.se[b, t],
            refits.ci_low[b, t],
            refits.ci_high[b, t],
            refits.tau2_between[b],
            refits.tau2_within[b],
            term,
            refits.tau2[b],
            changes[b][t],
        )
        for b, rho in enumerate(grid)
        for t, term in enumerate(rows.terms)
    ]
    table = pd.DataFrame(records, columns=COLUMNS)
    return Assessment(NAME, {"sensitivity_rho": table}, _describe(table, refits, rows))


def _composite_variances(rows: ModelRows, grid: np.ndarray) -> np.ndarray:
    """Return the variances of the composites at each rho, shape (B, k)."""
    codes = composite_of_effects(rows)
    y, v = (rows.effects[name].to_numpy(float) for name in ("yi", "vi"))
    return np.stack([aggregate_effects(y, v, codes, float(rho)).v for rho in grid])


def _describe(table: pd.DataFrame, refits: Refits, rows: ModelRows) -> tuple[str, ...]:
    low, high = (f"{value:g}" for value in (table["rho"].min(), table["rho"].max()))
    told = (table["changes"] != "") & table["term"].isin(rows.telling_terms)
    changed = [str(term) for term in table.loc[told, "term"].unique()]
    steady = "no sign and no significance changes"
    if len(changed):
        names = "the mean" if not rows.has_moderators else join_words(changed)
        steady = f"the sign or significance of {names} changes"
    span = f"With assumed correlations of sampling errors from {low} to {high}, "
    if rows.has_moderators:
        return (f"{span}{steady}.",)
    values = reporting_scale(refits.estimate[:, 0], rows.spec.metric)
    first, last = (format_effect(f(values), rows.spec.metric, 3) for f in (np.nanmin, np.nanmax))
    noun = "effect" if rows.spec.metric == "generic" else "correlation"
    moves = f"is {first} throughout" if first == last else f"lies between {first} and {last}"
    return (f"{span}the pooled {noun} {moves}; {steady}.",)
