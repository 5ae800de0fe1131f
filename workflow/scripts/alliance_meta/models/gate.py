"""The honesty gate: p-values that the studies cannot carry are withheld, with the reason."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.formatting import format_df, format_number

Array = NDArray[np.float64]

# below this the Satterthwaite approximation is outside its validated range (Tipton 2015)
MINIMUM_DF = 4.0
# balanced studies have whole df but for this
ROUNDING = 1e-6
# studies behind each moderator coefficient (Borenstein et al. 2009, ch. 20)
STUDIES_PER_COEFFICIENT = 10
# a study without which a contrast has this many times the variance decides it: it holds 95 %
# of what is known
LARGEST_INFLATION = 20.0
# name of the test of all moderators together
OMNIBUS = "omnibus"


@dataclass(frozen=True)
class Support:
    """What the studies can carry.

    Attributes
    ----------
    n_studies
        Number of independent studies.
    n_tested
        Number of moderator coefficients: rows of their joint test.
    root
        Lower triangular L with ``S'S = LL'``, S the fit's basis with each study counted once,
        shape (p, p).
    shares, directions
        For each study, its share of ``S'S`` in each of its own directions, seen from L. Shapes
        (m, p) and (m, p, p).
    """

    n_studies: int
    n_tested: int
    root: Array
    shares: Array
    directions: Array

    @property
    def thin(self) -> str:
        """Why moderators have too few studies, the second half of a sentence; else empty."""
        if self.n_studies >= STUDIES_PER_COEFFICIENT * self.n_tested:
            return ""
        share = format_number(self.n_studies / self.n_tested, 1).removesuffix(".0")
        words = "the moderator" if self.n_tested == 1 else f"each of {self.n_tested} coefficients"
        return f"{share} studies stand behind {words}, and {STUDIES_PER_COEFFICIENT} are needed"

    def rests_on_one_study(self, contrasts: Array) -> bool:
        """Return whether a single study decides contrasts on the basis, shape (q, p) or (p,).

        It does where some combination of them would be estimated with more than
        ``LARGEST_INFLATION`` times the variance without it.
        """
        rows = np.linalg.qr(np.linalg.solve(self.root, np.atleast_2d(contrasts).T))[0].T
        seen = rows @ self.directions
        without = seen / np.maximum(1 - self.shares, 1e-12)[:, None, :]
        inflation = np.linalg.eigvalsh(without @ np.swapaxes(seen, 1, 2))
        return bool(inflation.max() > LARGEST_INFLATION)


def judge_support(Q: Array, studies: NDArray[np.intp], n_tested: int) -> Support:
    """Find what rests on a single study, however the moderators are coded.

    Parameters
    ----------
    Q
        Orthonormal basis of the design, shape (k, p).
    studies
        Number of each row's independent study, shape (k,).
    n_tested
        As the attribute of ``Support``.

    Notes
    -----
    Each study counts once, whatever its number of effects. Without study s a contrast c has
    the variance ``c'(I − G_s)⁻¹c``, G_s its share of the design's sum of squares.
    """
    p = Q.shape[1]
    sizes = np.bincount(studies)
    scaled = Q / np.sqrt(sizes[studies])[:, None]
    root = np.asarray(np.linalg.cholesky(scaled.T @ scaled), float)
    rows = np.linalg.solve(root, scaled.T).T
    grams = np.empty((len(sizes), p, p))
    for i in range(p):
        for j in range(i + 1):
            grams[:, i, j] = grams[:, j, i] = np.bincount(studies, rows[:, i] * rows[:, j])
    values, vectors = np.linalg.eigh(grams)
    return Support(len(sizes), n_tested, root, values, vectors)


def withheld_reasons(
    coefficients: pd.DataFrame,
    heterogeneity: pd.DataFrame,
    *,
    tested: Mapping[str, bool],
    lone: Collection[str],
    support: Support,
    robust: bool,
) -> dict[str, str]:
    """Return why p-values are withheld.

    Parameters
    ----------
    coefficients, heterogeneity
        Tables of the analysis, p-values included.
    tested
        Term -> whether it belongs to a moderator.
    lone
        Terms (``omnibus`` for the moderators' test) that a single study decides.
    support
        What the studies can carry.
    robust
        Whether degrees of freedom are Satterthwaite's.

    Returns
    -------
    dict
        Term -> reason, the second half of a sentence.
    """
    reasons: dict[str, str] = {}
    if support.n_tested and support.thin:
        names = [*(term for term, is_tested in tested.items() if is_tested), OMNIBUS]
        reasons = dict.fromkeys(names, support.thin)
    if robust:
        df = dict(zip(coefficients["term"], coefficients["df"], strict=True))
        values = heterogeneity.set_index("parameter")["estimate"]
        if "QM" in values:
            df[OMNIBUS] = values["QM_df2"]
        for term, value in df.items():
            # the Hotelling test has no df at all where its approximation breaks down
            if value < MINIMUM_DF - ROUNDING:
                known = f"only {_below(value)}" if value > 0 else "no"
                noun = "degree" if known == "only 1" else "degrees"
                reasons[term] = (
                    f"it rests on {known} {noun} of freedom, and {MINIMUM_DF:.0f} are needed"
                )
    return reasons | dict.fromkeys(lone, "a single study decides it")


def _below(df: float) -> str:
    """Return degrees of freedom below the minimum, never rounded up to it."""
    words = format_df(df)
    return words if float(words) < MINIMUM_DF else format_number(np.floor(100 * df) / 100, 2)


def withhold(
    coefficients: pd.DataFrame, heterogeneity: pd.DataFrame, reasons: Mapping[str, str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both tables without the p-values that are withheld."""
    coefficients, heterogeneity = coefficients.copy(), heterogeneity.copy()
    coefficients.loc[coefficients["term"].isin(list(reasons)), "p_value"] = np.nan
    if OMNIBUS in reasons:
        heterogeneity.loc[heterogeneity["parameter"] == "QM_p", "estimate"] = np.nan
    return coefficients, heterogeneity
