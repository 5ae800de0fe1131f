"""PET and PEESE: the effect expected of a study without sampling error."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from alliance_meta.assessments import Assessment
from alliance_meta.bias.egger import Regression, regress_in_model, regress_least_squares
from alliance_meta.bias.units import (
    FEW_STUDIES,
    effect_words,
    own_specification,
    reason,
    table_df,
)
from alliance_meta.formatting import format_count, format_p
from alliance_meta.models.pooling import Estimate
from alliance_meta.models.rows import ModelRows
from alliance_meta.models.specification import InestimableError

Array = NDArray[np.float64]

PET_PEESE_COLUMNS = [
    "variant",
    "estimate",
    "se",
    "df",
    "ci_low",
    "ci_high",
    "p_value",
    "slope",
    "slope_p",
    "chosen",
]
# one-sided level at which PET's effect gives way to PEESE (Stanley & Doucouliagos 2014)
PET_LEVEL = 0.10


@dataclass(frozen=True)
class PetPeese:
    """Both regressions and which of them the conditional estimator takes."""

    pet: Regression
    peese: Regression
    chosen: str

    @property
    def conditional(self) -> Regression:
        """The regression that the conditional estimator takes."""
        return self.peese if self.chosen == "peese" else self.pet


def correct_by_regression(
    regress: Callable[[Array], Regression], v: Array, direction: float
) -> PetPeese:
    """Extrapolate to a sampling error of zero.

    Parameters
    ----------
    regress
        Regresses the effects on a predictor of shape (k,).
    v
        Sampling variances, shape (k,).
    direction
        A number with the sign of the effect that the review found.

    Raises
    ------
    InestimableError
        As ``regress`` raises it.

    Notes
    -----
    Stanley & Doucouliagos (2014). PET is the intercept on standard errors, PEESE on variances.
    PEESE is chosen where PET's intercept is above zero in the review's direction with a
    one-sided p below .10, else PET.
    """
    pet, peese = regress(np.sqrt(v)), regress(v)
    chosen = "peese" if one_sided_p(_limit(pet), direction) < PET_LEVEL else "pet"
    return PetPeese(pet, peese, chosen)


def one_sided_p(estimate: Estimate, direction: float) -> float:
    """Return the p-value of an effect in one direction; NaN without a test."""
    return float(stats.t.sf(np.copysign(1.0, direction) * estimate.statistic, estimate.df))


def assess_pet_peese(rows: ModelRows) -> Assessment:
    """Correct the mean by PET, PEESE and the conditional estimator.

    Parameters
    ----------
    rows
        The analysis, of one mean.

    Returns
    -------
    Assessment
        Table ``bias_pet_peese``: ``pet``, ``peese`` and ``conditional`` inside the analysis's
        own model (with CR2 where it is of dependent effects), and the same by weighted least
        squares, in which the model was published (``…_wls``).
    """
    empty = pd.DataFrame(columns=PET_PEESE_COLUMNS)
    if rows.has_moderators:
        sentence = "PET-PEESE is of one mean; with moderators in the model it is not defined."
        return Assessment("pet_peese", {"bias_pet_peese": empty}, (sentence,))
    spec, direction = own_specification(rows), float(rows.fit.contrast(np.ones(1)).value)
    regressions: dict[str, Callable[[Array], Regression]] = {
        "": lambda x: regress_in_model(rows, x, spec),
        "_wls": lambda x: regress_least_squares(rows.y, rows.v, rows.X, x, spec.ci_level),
    }
    table_rows, failures = [], dict[str, str]()
    for suffix, regress in regressions.items():
        try:
            found = correct_by_regression(regress, rows.v, direction)
        except InestimableError as error:
            failures[suffix] = reason(error)
            continue
        for name, regression, chosen in (
            ("pet", found.pet, ""),
            ("peese", found.peese, ""),
            ("conditional", found.conditional, found.chosen),
        ):
            e, slope = _limit(regression), regression.slope
            table_rows.append(
                (
                    *(name + suffix, e.value, e.se, table_df(e), e.ci_low, e.ci_high, e.p_value),
                    *(slope.value, slope.p_value, chosen),
                )
            )
    table = pd.DataFrame(table_rows, columns=PET_PEESE_COLUMNS)
    return Assessment(
        "pet_peese", {"bias_pet_peese": table}, tuple(_describe(rows, table, failures))
    )


def _limit(regression: Regression) -> Estimate:
    if regression.limit is None:
        raise InestimableError("with moderators there is no single mean")
    return regression.limit


def _describe(rows: ModelRows, table: pd.DataFrame, failures: dict[str, str]) -> list[str]:
    if "" in failures:
        return [f"PET-PEESE could not be computed: {failures['']}."]
    by_variant = table.set_index("variant")
    words = {
        name: effect_words(row["estimate"], row["ci_low"], row["ci_high"], rows.spec)
        for name, row in by_variant.iterrows()
    }
    chosen = str(by_variant["chosen"]["conditional"])
    p_value = float(by_variant["p_value"]["pet"])
    test = "no test possible" if np.isnan(p_value) else f"p {format_p(p_value)}"
    if np.isnan(p_value):
        because = "PET's effect could not be tested"
    elif chosen == "peese":
        because = "PET's effect is in the review's direction with a one-sided p below .10"
    else:
        because = "PET finds no effect in the review's direction at a one-sided p below .10"
    sentences = [
        f"Extrapolated to a study without sampling error, PET expects {words['pet']} "
        f"({test}) and PEESE {words['peese']}; the conditional estimator takes "
        f"{chosen.upper()}, as {because}."
    ]
    if "_wls" in failures:
        sentences.append(
            f"PET-PEESE by weighted least squares could not be computed: {failures['_wls']}."
        )
    if rows.n_studies < FEW_STUDIES:
        sentences.append(
            f"With {format_count(rows.n_studies, 'study', 'studies')} an extrapolation to a "
            "standard error of zero is unreliable."
        )
    if rows.spec.metric == "r":
        sentences.append(
            "The standard error of a correlation depends on the correlation itself, which biases "
            "PET and PEESE on this metric."
        )
    return sentences
