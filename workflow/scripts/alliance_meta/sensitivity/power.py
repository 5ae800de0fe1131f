"""What more studies would bring: precision now and later, and which differences would show."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import integrate, optimize, stats

from alliance_meta.assessments import Assessment
from alliance_meta.formatting import format_count, format_effect, format_number, join_words
from alliance_meta.models.analysis import AnalysisResult
from alliance_meta.models.gate import MINIMUM_DF, ROUNDING
from alliance_meta.models.pooling import Estimate
from alliance_meta.models.result_tables import reporting_scale
from alliance_meta.models.rows import ModelRows

Array = NDArray[np.float64]

NAME = "power"
POWER_COLUMNS = [
    "term",
    "new_studies",
    "se",
    "ci_low",
    "ci_high",
    "half_width",
    "smallest_detectable",
    "information_share",
    "df",
    "years",
]
DETECTABLE_COLUMNS = [
    "comparison",
    "se",
    "df",
    "smallest_detectable",
    "power_small",
    "kind",
    "difference",
    "studies_needed",
    "smallest_detectable_reported",
    "level_a",
    "level_b",
]
TABLES = {"sensitivity_power": POWER_COLUMNS, "sensitivity_detectable": DETECTABLE_COLUMNS}

# more studies than this are no plan
MOST_STUDIES = 10_000
# years of publication that tell how fast studies appear
RECENT_YEARS = 10
# beyond this many degrees of freedom t is the normal, and its noncentral form loses digits
NORMAL_DF = 1e6
# from here on the far tail, below 1e-9, is beyond the digits of the noncentral t
FAR_SHIFT = 6.0
# a level and a power this near to each other, relatively, are the same
SAME_LEVEL = 1e-9
# probability beyond the ends of an integral
TAIL = 1e-15
# a correlation that prints as 1.00
LARGEST_R = 0.995
# fewer independent studies tell too little of what further ones would be like
FEWEST_STUDIES = 3
# terms and pairs that a sentence lists
LISTED = 3


@dataclass(frozen=True)
class Precision:
    """How precisely a contrast is known, and how that grows with further studies like these.

    Attributes
    ----------
    estimate, se, df
        As the fit gives them; df is infinite if normal.
    n_studies
        Independent studies behind the fit.
    satterthwaite
        Whether df grow in proportion to the studies; else k − p grows with k.
    n_rows
        Rows of the model, k.
    """

    estimate: float
    se: float
    df: float
    n_studies: int
    satterthwaite: bool
    n_rows: int

    def after(self, new_studies: float) -> tuple[float, float]:
        """Return standard error and df after so many new studies.

        Notes
        -----
        The studies' contributions ``X_j'Σ_j⁻¹X_j`` add up to the model's information J at the
        fitted variances, so that n studies with the mean contribution of the m seen make it
        ``J (m + n)/m``, and the model's standard error ``√(m/(m + n))`` of what it is. The
        ratio of the reported (robust, Knapp–Hartung) standard error to the model's is taken
        to stay what it is.
        """
        growth = 1 + new_studies / self.n_studies
        se = self.se / np.sqrt(growth)
        if np.isinf(self.df):
            return se, self.df
        if self.satterthwaite:
            return se, self.df * growth
        return se, self.df + new_studies * self.n_rows / self.n_studies


def power_of_t(difference: float, se: float, df: float, ci_level: float) -> float:
    """Return the power of the two-sided test of a contrast.

    Parameters
    ----------
    difference
        True value of the contrast.
    se, df
        Standard error and degrees of freedom; infinite for a normal reference.
    ci_level
        One minus the level of the test.

    Notes
    -----
    Noncentral t with noncentrality ``difference / se``; the standard error is taken as that of
    the true variances (Hedges & Pigott 2001, 2004, with t in place of the normal).
    """
    if not (se > 0 and df > 0 and np.isfinite(difference)):
        return np.nan
    tail = (1 - ci_level) / 2
    shift = abs(difference) / se
    if df > NORMAL_DF:
        critical = stats.norm.isf(tail)
        return float(stats.norm.sf(critical - shift) + stats.norm.cdf(-critical - shift))
    critical = float(stats.t.isf(tail, df))
    near = float(stats.nct.sf(critical, df, shift))
    power = near + (float(stats.nct.cdf(-critical, df, shift)) if shift < FAR_SHIFT else 0.0)
    # far out the series behind the noncentral t can end without a number
    return power if np.isfinite(power) else _integrate_power(shift, df, critical)


def _integrate_power(shift: float, df: float, critical: float) -> float:
    """Return the power from the definition of t: a normal over the root of a chi-squared."""

    def given_root(root: float) -> float:
        crossed = stats.norm.sf(critical * root - shift) + stats.norm.cdf(-critical * root - shift)
        # density of √(χ²/df)
        return float(crossed * stats.chi2.pdf(df * root**2, df) * 2 * df * root)

    low, high = (
        np.sqrt(ends / df) for ends in (stats.chi2.ppf(TAIL, df), stats.chi2.isf(TAIL, df))
    )
    return float(integrate.quad(given_root, low, high, epsabs=1e-13, epsrel=1e-12, limit=200)[0])


def smallest_detectable(se: float, df: float, ci_level: float, power: float) -> float:
    """Return the smallest contrast that the two-sided test finds with a given power.

    Parameters
    ----------
    se, df, ci_level
        As for ``power_of_t``.
    power
        Below 1.

    Returns
    -------
    float
        NaN without a test, and for a power that the test has without any difference, of
        ``1 − ci_level`` or less.
    """
    if not (se > 0 and df > 0) or is_without_difference(power, ci_level):
        return np.nan

    def lacking(shift: float) -> float:
        return power_of_t(shift, 1.0, df, ci_level) - power

    high = 4.0
    while lacking(high) < 0:
        high *= 2
        if high > 1e6:
            return np.nan
    return se * float(optimize.brentq(lacking, 0.0, high, xtol=1e-13, rtol=1e-13))


def is_without_difference(power: float, ci_level: float) -> bool:
    """Return whether a test has this power where there is no difference."""
    # one minus a decimal is off by rounding
    return power <= (1 - ci_level) * (1 + SAME_LEVEL)


def studies_needed(precision: Precision, difference: float, ci_level: float, power: float) -> float:
    """Return how many more studies like these give a test of a difference its power.

    Returns
    -------
    float
        A whole number, 0 where the power is there already; NaN above ``MOST_STUDIES`` or where
        the contrast has no test.
    """

    def reaches(n: int) -> bool:
        return power_of_t(difference, *precision.after(n), ci_level) >= power

    if not reaches(MOST_STUDIES):
        return np.nan
    low, high = -1, MOST_STUDIES
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return float(high)


def studies_per_year(rows: ModelRows) -> tuple[float, int]:
    """Return the independent studies a year over the last years that they are from.

    Returns
    -------
    rate
        NaN where years are not coded or all the same.
    span
        Years that it is counted over: the last ``RECENT_YEARS`` up to the latest coded year, or
        fewer where the studies span fewer.
    """
    if "year" not in rows.data:
        return np.nan, 0
    years = pd.to_numeric(rows.data["year"], errors="coerce").groupby(rows.independent).min()
    years = years.dropna()
    if years.nunique() < 2:
        return np.nan, 0
    span = min(RECENT_YEARS, int(years.max() - years.min()) + 1)
    return float((years > years.max() - span).sum() / span), span


def assess_power(
    result: AnalysisResult,
    rows: ModelRows,
    *,
    studies: Sequence[int] = (5, 10, 20, 50, 100),
    power: float = 0.8,
    difference: float = 0.1,
    update: int = 12,
) -> Assessment:
    """Assess how precise the result is and what more studies like these would bring.

    Parameters
    ----------
    result, rows
        The analysis and the rows of its model.
    studies
        Numbers of new studies.
    power
        Power that a test should have.
    difference
        Difference that should be found, on the reporting scale: with Fisher's z the one between
        correlations that lie evenly around the mean, and for a mean its distance from zero.
        For a numeric moderator it is the difference over one standard deviation.
    update
        Studies that the next update is expected to bring.

    Returns
    -------
    Assessment
        Tables ``sensitivity_power`` and ``sensitivity_detectable``, on the analysis metric; only
        ``smallest_detectable_reported`` is on the reporting scale. ``information_share`` is the
        share of all information that the new studies would bring, in percent; ``years`` is
        how long so many studies take at the recent rate. With fewer than three independent
        studies both are without rows.
    """
    if rows.n_studies < FEWEST_STUDIES:
        few = format_count(rows.n_studies, "independent study", "independent studies")
        text = f"With {few} there is too little to say what further ones would add."
        return Assessment(NAME, {}, (text,)).completed(TABLES)
    counts = sorted({int(n) for n in (*studies, update) if n > 0})
    rate, span = studies_per_year(rows)
    contrasts = _contrasts(result, rows)
    terms = [contrast for contrast in contrasts if contrast.kind != "level pair"]
    later = [row for term in terms for row in _later(term, counts, rows, power, rate)]
    now = [_now(contrast, rows, result, power, difference) for contrast in contrasts]
    tables = {
        "sensitivity_power": pd.DataFrame(later, columns=POWER_COLUMNS).astype({"term": "str"}),
        "sensitivity_detectable": pd.DataFrame(now, columns=DETECTABLE_COLUMNS).astype(
            dict.fromkeys(["comparison", "kind", "level_a", "level_b"], "str")
        ),
    }
    sentences = _describe(tables, rows, power=power, difference=difference)
    low = _low_df(tables["sensitivity_detectable"])["comparison"]
    if set(result.withheld) & {term.name for term in terms} - set(low):
        sentences.append("A test that the analysis withholds stays withheld, whatever its power.")
    sentences += _describe_update(tables["sensitivity_power"], rows, update, rate, span)
    return Assessment(NAME, tables, tuple(sentences))


@dataclass(frozen=True)
class _Contrast:
    """A coefficient or a difference between levels.

    ``kind`` is "mean", "term" or "level pair"; ``unit`` how much of a moderator it is counted
    for: 1, or one standard deviation of a numeric column.
    """

    name: str
    kind: str
    unit: float
    precision: Precision
    levels: tuple[str | None, str | None] = (None, None)


def _contrasts(result: AnalysisResult, rows: ModelRows) -> list[_Contrast]:
    def precise(row: Array) -> Precision:
        estimate: Estimate = rows.fit.contrast(row)
        robust = rows.fit.robust is not None
        return Precision(
            estimate.value, estimate.se, estimate.df, rows.n_studies, robust, len(rows.y)
        )

    found = []
    for term, row, column in zip(rows.terms, np.eye(len(rows.terms)), rows.X.T, strict=True):
        coded = bool(np.isin(column, (0.0, 1.0)).all())
        constant = bool((column == 1).all())
        found.append(
            _Contrast(
                term,
                "mean" if constant or (coded and not _has_intercept(rows)) else "term",
                1.0 if coded else float(np.std(column, ddof=1)),
                precise(row),
            )
        )
    levels = () if result.fitted is None else result.fitted.design.levels
    for one, other in combinations(levels, 2):
        if one.moderator == other.moderator:
            found.append(
                _Contrast(
                    f"{one.name} minus {other.name}",
                    "level pair",
                    1.0,
                    precise(one.contrast - other.contrast),
                    (one.name, other.name),
                )
            )
    return found


def _has_intercept(rows: ModelRows) -> bool:
    return bool((rows.X == 1).all(axis=0).any())


def _later(
    contrast: _Contrast, counts: Sequence[int], rows: ModelRows, power: float, rate: float
) -> list[tuple[object, ...]]:
    """Return the rows of ``sensitivity_power`` of one coefficient."""
    precision, level = contrast.precision, rows.spec.ci_level
    found: list[tuple[object, ...]] = []
    for n in counts:
        se, df = precision.after(n)
        usable = se > 0 and df > 0
        half = float(stats.t.isf((1 - level) / 2, df)) * se if usable else np.nan
        found.append(
            (
                contrast.name,
                n,
                se if usable else np.nan,
                precision.estimate - half,
                precision.estimate + half,
                half,
                smallest_detectable(se, df, level, power),
                100 * n / (precision.n_studies + n),
                np.nan if np.isinf(df) else df,
                n / rate if rate > 0 else np.nan,
            )
        )
    return found


def _now(
    contrast: _Contrast,
    rows: ModelRows,
    result: AnalysisResult,
    power: float,
    difference: float,
) -> tuple[object, ...]:
    """Return the row of ``sensitivity_detectable`` of one contrast."""
    p, level, metric = contrast.precision, rows.spec.ci_level, rows.spec.metric
    center = 0.0 if contrast.kind == "mean" else float(result.summary["estimate"].iloc[0])
    looked_for = analysis_difference(difference, center, metric, contrast.kind) / contrast.unit
    smallest = smallest_detectable(p.se, p.df, level, power)
    return (
        contrast.name,
        p.se,
        np.nan if np.isinf(p.df) else p.df,
        smallest,
        power_of_t(looked_for, p.se, p.df, level),
        contrast.kind,
        looked_for,
        studies_needed(p, looked_for, level, power),
        reported_difference(smallest * contrast.unit, center, metric, contrast.kind),
        *contrast.levels,
    )


def analysis_difference(difference: float, center: float, metric: str, kind: str) -> float:
    """Return a difference on the reporting scale as one on the analysis metric.

    Parameters
    ----------
    difference
        On the reporting scale.
    center
        Mean on the reporting scale, around which the two values lie evenly.
    metric
        With "fisher_z" a difference of correlations becomes one of their transforms.
    kind
        "mean" for the distance of a mean from zero.

    Returns
    -------
    float
        NaN where one of the two would be no correlation.
    """
    if metric != "fisher_z":
        return difference
    low, high = center - difference / 2, center + difference / 2
    if kind == "mean":
        low, high = 0.0, difference
    if not (low > -1 and high < 1):
        return np.nan
    return float(np.arctanh(high) - np.arctanh(low))


def reported_difference(difference: float, center: float, metric: str, kind: str) -> float:
    """Return a difference on the analysis metric as one on the reporting scale.

    The two values lie evenly, on the analysis metric, around the mean; see
    ``analysis_difference``.
    """
    if metric != "fisher_z":
        return difference
    if kind == "mean":
        return float(np.tanh(difference))
    if not abs(center) < 1:
        return np.nan
    middle = np.arctanh(center)
    return float(np.tanh(middle + difference / 2) - np.tanh(middle - difference / 2))


def _describe(
    tables: dict[str, pd.DataFrame],
    rows: ModelRows,
    *,
    power: float,
    difference: float,
) -> list[str]:
    """Return what is found now, and what would be with more studies."""
    now = tables["sensitivity_detectable"]
    testable = now["smallest_detectable"].notna()
    sentences = []
    level = rows.spec.ci_level
    if is_without_difference(power, level):
        return [
            f"No smallest difference can be given: at the level of {1 - level:.3g} a test has a "
            f"power of {100 * power:.3g} % even where there is no difference at all."
        ]
    if not testable.any():
        return ["Nothing can be said of power, because no coefficient has a test."]
    pairs = now.loc[testable & (now["kind"] == "level pair")]
    terms = now.loc[testable & (now["kind"] != "level pair")]
    if not rows.has_moderators:
        sentences.append(_mean_sentence(tables["sensitivity_power"], terms.iloc[0], rows, power))
    shown = pairs if len(pairs) else terms.loc[terms["kind"] == "term"]
    if 0 < len(shown) <= LISTED:
        sentences += [_pair_sentence(row, rows, power, difference) for _, row in shown.iterrows()]
    elif len(shown):
        sentences.append(_pairs_sentence(shown, rows, power, difference))
    low = list(_low_df(now)["comparison"])
    if low and not rows.has_moderators:
        low = ["the mean"]
    if low:
        one = len(low) == 1
        sentences.append(
            f"The {'test' if one else 'tests'} of {_list_names(low)} "
            f"{'rests' if one else 'rest'} on fewer than {MINIMUM_DF:.0f} degrees of freedom and "
            f"{'is' if one else 'are'} not to be trusted, whatever "
            f"{'its' if one else 'their'} power; the figures are rough."
        )
    if not testable.all():
        lacking = list(now.loc[~testable, "comparison"])
        sentences.append(f"No test and so no power can be given for {_list_names(lacking)}.")
    sentences.append(
        "All this takes the variances as known, new studies to be like those seen, and the ratio "
        "of the reported standard error to the model's to stay what it is."
    )
    return sentences


def _low_df(now: pd.DataFrame) -> pd.DataFrame:
    """Return contrasts with a test on too few degrees of freedom."""
    return now.loc[now["smallest_detectable"].notna() & (now["df"] < MINIMUM_DF - ROUNDING)]


def _list_names(comparisons: Sequence[str]) -> str:
    """Return names in words, the first few where there are many."""
    names = [_name(name) for name in comparisons[:LISTED]]
    if len(comparisons) > LISTED:
        names.append(format_count(len(comparisons) - LISTED, "other"))
    return join_words(names)


def _scale_words(metric: str) -> str:
    return {"fisher_z": " in r", "r": " in r"}.get(metric, "")


def _name(comparison: str) -> str:
    """Return "client minus therapist (rater)" for "rater=client minus rater=therapist"."""
    first, word, second = comparison.partition(" minus ")
    moderator, mark, level = first.partition("=")
    if not (word and mark):
        return comparison
    return f"{level} minus {second.partition('=')[2]} ({moderator.replace('_', ' ')})"


def _mean_sentence(later: pd.DataFrame, row: pd.Series, rows: ModelRows, power: float) -> str:
    """Say how wide the interval of the mean is now and would be."""
    metric, level = rows.spec.metric, rows.spec.ci_level
    estimate = rows.fit.contrast(np.ones(1))
    middle = later.iloc[len(later) // 2]

    def words(low: float, high: float) -> str:
        ends = reporting_scale(np.array([low, high]), metric)
        return f"[{format_effect(ends[0], metric)}, {format_effect(ends[1], metric)}]"

    n = int(middle["new_studies"])
    more = f"{n} more {'study' if n == 1 else 'studies'} like the {rows.n_studies} seen"
    symbol = "mean" if metric == "generic" else "mean r"
    smallest = float(row["smallest_detectable_reported"])
    found = (
        f"no {symbol} is found by a test with {100 * power:g} % power now"
        if metric != "generic" and smallest > LARGEST_R
        else f"the smallest {symbol} that a test finds with {100 * power:g} % power is "
        f"{format_effect(smallest, metric)} now"
    )
    return (
        f"If the mean stays where it is, {more} would give it the {100 * level:g} % CI "
        f"{words(middle['ci_low'], middle['ci_high'])} instead of "
        f"{words(estimate.ci_low, estimate.ci_high)}; {found}."
    )


def _pair_sentence(row: pd.Series, rows: ModelRows, power: float, difference: float) -> str:
    metric = rows.spec.metric
    smallest = format_effect(float(row["smallest_detectable_reported"]), metric)
    asked = format_effect(difference, metric)
    per = "" if row["kind"] == "level pair" else " per standard deviation or between codes"
    text = (
        f"For {_name(row['comparison'])} the smallest difference{per} that a test finds with "
        f"{100 * power:g} % power is {smallest}{_scale_words(metric)}"
    )
    if np.isnan(row["power_small"]):
        return text + "."
    text += f"; a difference of {asked} is found with {100 * row['power_small']:.0f} % power"
    needed = row["studies_needed"]
    if np.isnan(needed):
        return text + f", and no {MOST_STUDIES:,} more studies like these would be enough."
    if needed == 0:
        return text + "."
    more = "study" if needed == 1 else "studies"
    return text + f", and {needed:,.0f} more {more} like these would give {100 * power:g} %."


def _pairs_sentence(shown: pd.DataFrame, rows: ModelRows, power: float, difference: float) -> str:
    metric = rows.spec.metric
    ends = shown["smallest_detectable_reported"]
    enough = int((shown["power_small"] >= power).sum())
    pairs = "pairwise differences" if (shown["kind"] == "level pair").all() else "coefficients"
    return (
        f"Of {len(shown)} {pairs}, {enough or 'none'} would be found with {100 * power:g} % power "
        f"if each were {format_effect(difference, metric)}{_scale_words(metric)}; the smallest "
        f"differences that are range from {format_effect(float(ends.min()), metric)} to "
        f"{format_effect(float(ends.max()), metric)}."
    )


def _describe_update(
    later: pd.DataFrame, rows: ModelRows, update: int, rate: float, span: int
) -> list[str]:
    """Say what the next update would bring, and when so many studies will have appeared."""
    found = later.loc[later["new_studies"] == update]
    if found.empty:
        return []
    share = float(found["information_share"].iloc[0])
    added = 100 * update / rows.n_studies
    text = (
        f"An update with {format_count(update, 'new study', 'new studies')} like the "
        f"{rows.n_studies} seen would add {format_number(added, 0)} % to what is known "
        f"({format_number(share, 0)} % of all information then)"
    )
    years = float(found["years"].iloc[0])
    if np.isnan(years):
        return [text + "."]
    noun = "year" if format_number(years, 0) == "1" else "years"
    number = "less than one" if years < 0.95 else f"about {format_number(years, 0)}"
    noun = "year" if years < 0.95 else noun
    return [
        f"{text}; so many take {number} {noun} at the rate of the last {span} years of "
        f"the studies ({format_number(rate, 1)} a year)."
    ]
