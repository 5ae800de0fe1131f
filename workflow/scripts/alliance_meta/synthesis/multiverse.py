"""The multiverse of one mean: every defensible combination of choices, and what they decide."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import factorial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.assessments import Assessment
from alliance_meta.effect_sizes import aggregate_effects
from alliance_meta.formatting import (
    format_count,
    format_effect,
    format_interval,
    format_number,
    join_words,
)
from alliance_meta.models.analysis import select_and_correct
from alliance_meta.models.gate import MINIMUM_DF, ROUNDING
from alliance_meta.models.multilevel import build_structure
from alliance_meta.models.pooling import fit_pooled
from alliance_meta.models.refits import TOO_FEW, Refits, Refitter
from alliance_meta.models.result_tables import reporting_scale
from alliance_meta.models.rows import ModelRows
from alliance_meta.models.selection import where_mask
from alliance_meta.models.specification import MULTILEVEL_MODELS, ModelSpecification
from alliance_meta.models.subsets import fit_subsets
from alliance_meta.synthesis.multiverse_choices import (
    NOT_APPLICABLE,
    Enumeration,
    Outliers,
    Specification,
    describe_size,
)

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

SUMMARY_COLUMNS = ["quantity", "value"]
VARIANCE_COLUMNS = ["choice", "share_of_variance", "method"]
OPTION_COLUMNS = [
    "choice",
    "option",
    "specifications",
    "median",
    "share_significant",
    "difference_from_base",
    "conclusion_moves",
    "pairs",
    "base",
    "reason",
]
REST = "interactions and rest"
VARIANCE_METHOD = "Shapley shares of R² of additive dummy coding"

YES, NO = "yes", "no"
# a deleted residual needs two other effects
FEWEST_FOR_RESIDUALS = 3
# a direction of the choices' coding below this share of the largest is aliased with others
ALIASED = 1e-9
# estimates nearer to each other than this are tied
ROUNDED = 1e-10
# below this share of the squared median, variance between specifications is rounding
NO_VARIANCE = 1e-20
# prints as 0 %
NEGLIGIBLE_SHARE = 0.005
ALL_ALIKE = {
    "significantly positive": "every estimate is significantly positive",
    "significantly negative": "every estimate is significantly negative",
    "not significant": "no estimate is significant",
    "without a test": "no estimate could be tested",
}
# options that a sentence lists
LISTED = 3
SINGLE = "a single effect: it is shown with its own interval; nothing was pooled"
TOO_FEW_STUDIES = "too few independent studies to pool"
NOTHING = "no effect satisfies this specification"
NO_ERROR = "the effects do not differ beyond the model, so that no interval or test can be given"


# ---------------------------------------------------------------- running


class Result(NamedTuple):
    """The numbers of one specification; estimate and interval on the reporting scale."""

    k_studies: int
    k_effects: int
    estimate: float = np.nan
    ci_low: float = np.nan
    ci_high: float = np.nan
    p_value: float = np.nan
    tau2: float = np.nan
    significant: str | None = None
    reason: str | None = None


RESULT_COLUMNS = list(Result._fields)


@dataclass(frozen=True)
class _Universe:
    """Effects on one metric, observed or corrected, shape (k,); ``present`` where there is one."""

    y: Array
    v: Array
    present: Mask


@dataclass(frozen=True)
class _Units:
    """What one model sees, on an axis that it shares with others.

    Attributes
    ----------
    y, v
        Effects, composites or study means and their variances, shape (n,); 0 and 1 where
        nothing is kept.
    keep
        Which of them enter, shape (n,).
    clusters, samples
        Numbers of study and sample, shape (n,).
    n_studies, n_effects
        Studies and effects that entered, composites counted by their effects.
    """

    y: Array
    v: Array
    keep: Mask
    clusters: Index
    samples: Index
    n_studies: int
    n_effects: int

    def signature(self, rho: float) -> tuple[bytes | float, ...]:
        """Return what is the same for units whose fits are the same."""
        return (self.keep.tobytes(), self.y.tobytes(), self.v.tobytes(), rho)


def run_specifications(
    effects: pd.DataFrame,
    specifications: Sequence[Specification],
    choices: Sequence[str],
    *,
    files: Sequence[str] | None = None,
    advance: Callable[[int], None] = lambda n: None,
) -> pd.DataFrame:
    """Fit some specifications of a multiverse.

    Conditions select rows first; then effects are corrected for attenuation, one effect of each
    independent study is selected, and outliers among what is left are left out.

    Parameters
    ----------
    effects
        Effect sizes table.
    specifications
        All of them, or whole batches (see ``shard_of``).
    choices
        Names of the choices.
    files
        Sheets whose rows may enter (default: all).
    advance
        Told how many specifications have been finished.

    Returns
    -------
    DataFrame
        One row per specification: ``specification``, a column per choice (see
        ``choice_columns``), ``k_studies k_effects estimate ci_low ci_high p_value tau2
        significant reason``; estimate and interval on the reporting scale, τ² on that of the
        analysis and empty for a common effect, which has none. ``reason`` says why an estimate
        or a test is missing.

    Raises
    ------
    SpecificationError
        If a condition cannot be evaluated or effects of another scale would enter.

    Notes
    -----
    Every number is that of ``analyse`` with the same settings.
    """
    columns = ["specification", *choice_columns(choices), *RESULT_COLUMNS]
    if not specifications:
        return pd.DataFrame(columns=columns)
    pool = _Pool(effects, specifications[0], files)
    batches: dict[int, list[Specification]] = {}
    for specification in specifications:
        batches.setdefault(specification.batch, []).append(specification)
    rows = []
    for members in batches.values():
        results = _fit_batch([pool.units(s) for s in members], [s.spec for s in members])
        rows += [(s.number, *s.labels, *result) for s, result in zip(members, results, strict=True)]
        advance(len(members))
    table = pd.DataFrame(rows, columns=columns).astype({"significant": "str", "reason": "str"})
    return table.sort_values("specification", ignore_index=True)


def choice_columns(choices: Sequence[str]) -> list[str]:
    """Return the columns of the choices: their names, prefixed where a result has that name."""
    taken = {"specification", *RESULT_COLUMNS}
    return [f"choice_{name}" if name in taken else name for name in choices]


class _Pool:
    """The rows of all specifications, and what is made of them, each once."""

    def __init__(
        self, effects: pd.DataFrame, first: Specification, files: Sequence[str] | None
    ) -> None:
        self.effects, self.files = effects, files
        self.base_where = first.base_where
        data = effects.loc[effects["exclude_reason"].isna()]
        if files is not None:
            data = data.loc[data["source_file"].isin(list(files))]
        # conditions see the columns as they are in the table
        self.data = data.loc[where_mask(data, self.base_where)]
        self.studies = _numbers(self.data["study_id"])
        self.samples = _numbers(self.data["sample_id"])
        self.n_studies = int(self.studies.max(initial=-1)) + 1
        self.n_samples = int(self.samples.max(initial=-1)) + 1
        pairs = np.unique(np.column_stack([self.studies, self.samples]), axis=0)
        self.shared = len(pairs) > self.n_samples
        self.study_numbers = np.arange(self.n_studies, dtype=np.intp)
        self.sample_numbers = np.arange(self.n_samples, dtype=np.intp)
        # of a sample in several studies the first
        self.study_of_sample = np.zeros(self.n_samples, dtype=np.intp)
        self.study_of_sample[self.samples[::-1]] = self.studies[::-1]
        self._made: dict[tuple[Any, ...], Any] = {}

    def units(self, specification: Specification) -> _Units:
        """Return what the model of a specification sees."""
        spec, select = specification.spec, specification.select
        corrected = spec.attenuation == "corrected"
        reliability = tuple(sorted(spec.reliability.items())) if corrected else ()
        universe_key = (spec.metric, spec.attenuation, reliability)
        averaged = select == "mean"
        rho = spec.rho if averaged else None
        key = (universe_key, specification.wheres, select, specification.outliers, rho)
        chosen: _Units = self._once(
            ("units", *key), lambda: self._choose(specification, universe_key)
        )
        if spec.model != "aggregated" or averaged:
            return chosen
        composites: _Units = self._once(
            ("composites", *key, spec.rho), lambda: self._aggregate(chosen, spec.rho)
        )
        return composites

    def _once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _universe(self, spec: ModelSpecification) -> _Universe:
        found = select_and_correct(
            self.effects, replace(spec, where=self.base_where), files=self.files
        )[0].data
        place = pd.Index(self.data["effect_id"]).get_indexer(pd.Index(found["effect_id"]))
        y, v = np.zeros(len(self.data)), np.ones(len(self.data))
        y[place], v[place] = found["yi"], found["vi"]
        present = np.zeros(len(self.data), dtype=bool)
        present[place] = True
        return _Universe(y, v, present)

    def _mask(self, where: str) -> Mask:
        mask: Mask = self._once(
            ("where", where), lambda: where_mask(self.data, where).to_numpy(dtype=bool)
        )
        return mask

    def _choose(self, specification: Specification, universe_key: tuple[Any, ...]) -> _Units:
        spec = specification.spec
        universe: _Universe = self._once(universe_key, lambda: self._universe(spec))
        keep = universe.present.copy()
        for where in specification.wheres:
            keep &= self._mask(where)
        if specification.select == "mean":
            units = self._average(universe, keep, spec.rho)
        else:
            if specification.select != "all":
                keep = self._pick(keep, specification.select)
            units = self._of_effects(universe, keep)
        lost = outlying(units.y[units.keep], units.v[units.keep], specification.outliers)
        if lost.any():
            left = units.keep.copy()
            left[np.flatnonzero(left)[lost]] = False
            n_studies = len(np.unique(units.clusters[left]))
            units = replace(units, keep=left, n_studies=n_studies, n_effects=int(left.sum()))
            units.y[~left], units.v[~left] = 0.0, 1.0
        return units

    def _of_effects(self, universe: _Universe, keep: Mask) -> _Units:
        return _Units(
            np.where(keep, universe.y, 0.0),
            np.where(keep, universe.v, 1.0),
            keep,
            self.studies,
            self.samples,
            len(np.unique(self.studies[keep])),
            int(keep.sum()),
        )

    def _blocks(self, keep: Mask) -> Index:
        """Return the number of each kept row's independent study."""
        if not self.shared or not keep.any():
            return self.studies[keep]
        studies, samples = (
            np.unique(codes[keep], return_inverse=True)[1] for codes in (self.studies, self.samples)
        )
        return build_structure(studies, samples).block_of_rows()

    def _pick(self, keep: Mask, select: str) -> Mask:
        """Keep one effect of each independent study: the first, of the largest n if so asked."""
        places, blocks = np.flatnonzero(keep), self._blocks(keep)
        n = self.data["n"].to_numpy(dtype=float, na_value=np.nan)[places]
        size = np.nan_to_num(n, nan=-1.0) if select == "largest_n" else np.zeros(len(places))
        order = np.lexsort((places, -size, blocks))
        first = np.unique(blocks[order], return_index=True)[1]
        picked = np.zeros(len(keep), dtype=bool)
        picked[places[order[first]]] = True
        return picked

    def _average(self, universe: _Universe, keep: Mask, rho: float) -> _Units:
        """Average the effects of each independent study; errors correlate within samples."""
        blocks, samples = self._blocks(keep), self.samples[keep]
        y, v = universe.y[keep], universe.v[keep]
        n = self.n_studies
        size = np.bincount(blocks, minlength=n)
        block_of = np.zeros(self.n_samples, dtype=np.intp)
        block_of[samples] = blocks
        total = (1 - rho) * np.bincount(samples, v, self.n_samples)
        total += rho * np.bincount(samples, np.sqrt(v), self.n_samples) ** 2
        some = size > 0
        mean, variance = np.zeros(n), np.ones(n)
        mean[some] = np.bincount(blocks, y, n)[some] / size[some]
        variance[some] = np.bincount(block_of, total, n)[some] / size[some] ** 2
        # a lone effect keeps its variance to the last bit
        variance[size == 1] = np.bincount(blocks, v, n)[size == 1]
        count, numbers = int(some.sum()), self.study_numbers
        return _Units(mean, variance, some, numbers, numbers, count, count)

    def _aggregate(self, units: _Units, rho: float) -> _Units:
        """Return one composite of each sample."""
        y, v, keep = np.zeros(self.n_samples), np.ones(self.n_samples), units.keep
        some = np.zeros(self.n_samples, dtype=bool)
        clusters = self.study_of_sample
        if keep.any():
            samples = self.samples[keep]
            made = aggregate_effects(units.y[keep], units.v[keep], samples, rho)
            place = samples[made.first_index]
            y[place], v[place], some[place] = made.y, made.v, True
            if self.shared:
                # the first study that enters with the sample
                clusters = clusters.copy()
                clusters[place] = self.studies[keep][made.first_index]
                clusters = np.asarray(np.unique(clusters, return_inverse=True)[1], np.intp)
        counts = units.n_studies, units.n_effects
        return _Units(y, v, some, clusters, self.sample_numbers, *counts)


def _numbers(column: pd.Series) -> Index:
    return np.asarray(pd.factorize(column)[0], dtype=np.intp)


def outlying(y: Array, v: Array, outliers: Outliers) -> Mask:
    """Return which effects are outliers.

    Parameters
    ----------
    y, v
        Effects and sampling variances, shape (k,).
    outliers
        "rstudent": externally studentised residual beyond the limit, in a random-effects model
        (REML) that takes the effects as independent (Viechtbauer & Cheung 2010). "iqr": so many
        interquartile ranges beyond the quartiles (Tukey 1977).
    """
    if outliers.rule == "none" or len(y) < FEWEST_FOR_RESIDUALS:
        return np.zeros(len(y), dtype=bool)
    if outliers.rule == "iqr":
        low, high = np.quantile(y, [0.25, 0.75])
        reach = outliers.limit * (high - low)
        return np.asarray((y < low - reach) | (y > high + reach), dtype=np.bool_)
    k = len(y)
    fits = fit_subsets(y, v, np.ones((k, 1)), ~np.eye(k, dtype=bool), tau2="REML")
    spread = np.sqrt(v + fits.tau2 + fits.se[:, 0] ** 2)
    return np.asarray(np.abs(y - fits.coefficients[:, 0]) > outliers.limit * spread, np.bool_)


def _fit_batch(units: Sequence[_Units], specs: Sequence[ModelSpecification]) -> list[Result]:
    """Return the results of specifications that differ in rows and rho only."""
    # equal units are fitted once; clusters are part of the fitter and must be the same
    groups: dict[bytes, dict[tuple[bytes | float, ...], list[int]]] = {}
    for place, (unit, spec) in enumerate(zip(units, specs, strict=True)):
        members = groups.setdefault(unit.clusters.tobytes(), {})
        members.setdefault(unit.signature(spec.rho), []).append(place)
    results: dict[int, Result] = {}
    for members in groups.values():
        firsts = [places[0] for places in members.values()]
        rho = np.array([specs[place].rho for place in firsts])
        fits = _refit([units[place] for place in firsts], rho, specs[firsts[0]])
        for row, places in enumerate(members.values()):
            for place in places:
                results[place] = _describe(units[place], fits, row, specs[place])
    return [results[place] for place in range(len(units))]


def _refit(units: Sequence[_Units], rho: Array, spec: ModelSpecification) -> Refits:
    """Fit one model to several units on the same axis."""
    first = units[0]
    X = np.ones((len(first.y), 1))
    # only the basis of this fit is used
    plain = replace(spec, model="common_effect", tau2=None, inference="z", moderators="", where="")
    fit = fit_pooled(first.y, first.v, X, first.clusters, plain)
    independent = first.clusters
    if spec.model in MULTILEVEL_MODELS:
        independent = build_structure(first.clusters, first.samples).block_of_rows()
    nothing = pd.DataFrame(index=range(len(first.y)))
    rows = ModelRows(
        nothing,
        first.y,
        first.v,
        X,
        ("Intercept",),
        first.clusters,
        first.samples,
        independent,
        spec,
        fit,
        nothing,
    )
    return Refitter(rows).refit(
        np.stack([unit.keep for unit in units]),
        y=np.stack([unit.y for unit in units]),
        v=np.stack([unit.v for unit in units]),
        rho=rho,
    )


def _describe(units: _Units, fits: Refits, row: int, spec: ModelSpecification) -> Result:
    """Return the result of one fit, or of a single effect."""
    k = (units.n_studies, units.n_effects)
    if units.n_effects == 0:
        return Result(*k, reason=NOTHING)
    if units.n_effects == 1:
        alone = fit_pooled(
            units.y[units.keep],
            units.v[units.keep],
            np.ones((1, 1)),
            np.zeros(1, dtype=np.intp),
            replace(spec, model="common_effect", tau2=None, inference="z"),
        ).contrast(np.ones(1))
        values = (alone.value, alone.ci_low, alone.ci_high)
        return _result(k, values, alone.p_value, np.nan, spec, SINGLE)
    why = fits.reasons[row]
    if why == TOO_FEW or units.keep.sum() == 1:
        return Result(*k, reason=TOO_FEW_STUDIES)
    if why:
        return Result(*k, reason=why)
    values = (fits.estimate[row, 0], fits.ci_low[row, 0], fits.ci_high[row, 0])
    p_value, tau2, reason = float(fits.p_value[row, 0]), float(fits.tau2[row]), None
    df = float(fits.df[row, 0])
    if np.isnan(p_value):
        reason = NO_ERROR
    elif spec.inference == "cr2" and df < MINIMUM_DF - ROUNDING:
        words = format_number(np.floor(100 * df) / 100, 2)
        reason = (
            f"the p-value is withheld: it rests on only {words} degrees of freedom, and "
            f"{MINIMUM_DF:.0f} are needed"
        )
        p_value = np.nan
    return _result(k, values, p_value, tau2, spec, reason)


def _result(
    k: tuple[int, int],
    values: tuple[float, float, float],
    p_value: float,
    tau2: float,
    spec: ModelSpecification,
    reason: str | None,
) -> Result:
    estimate, low, high = (float(x) for x in reporting_scale(np.array(values), spec.metric))
    significant = None if np.isnan(p_value) else YES if p_value < 1 - spec.ci_level else NO
    return Result(*k, estimate, low, high, p_value, tau2, significant, reason)


# ---------------------------------------------------------------- summarising


def summarise_multiverse(
    tables: Sequence[pd.DataFrame], enumeration: Enumeration, *, metric: str = "fisher_z"
) -> Assessment:
    """Return what a multiverse shows.

    Parameters
    ----------
    tables
        Results of all shards, in any order.
    enumeration
        What was run.
    metric
        Metric of the analysis.

    Returns
    -------
    Assessment
        Tables ``multiverse`` (all specifications), ``multiverse_summary`` (``quantity value``),
        ``multiverse_variance`` (``choice share_of_variance method``: how much of the variance
        of the estimates goes along with each choice), ``multiverse_options`` (``choice option
        specifications median share_significant difference_from_base conclusion_moves pairs base
        reason``). ``difference_from_base`` is the mean difference between specifications that
        differ in this choice only; ``conclusion_moves`` is the share of these pairs that differ
        in the sign of the estimate or in significance.

    Raises
    ------
    ValueError
        If the tables are not of these specifications.

    Notes
    -----
    Shares of variance are Shapley values of the R² of an additive model (Lindeman, Merenda &
    Gold 1980): in a complete product they are the main effects' shares of the sum of squares,
    and they stay defined where combinations are missing. What additive choices do not explain
    is the row of interactions and rest, so that the shares sum to 1.
    """
    table = pd.concat([t for t in tables if len(t)] or list(tables), ignore_index=True)
    table = table.sort_values("specification", ignore_index=True)
    numbers = [s.number for s in enumeration.specifications]
    if list(table["specification"]) != numbers:
        raise ValueError("the tables are not of the specifications of this multiverse")
    options = _option_table(table, enumeration)
    variance = _variance_table(table, enumeration)
    summary = _summary_table(table, enumeration)
    return Assessment(
        "multiverse",
        {
            "multiverse": table,
            "multiverse_summary": summary,
            "multiverse_variance": variance,
            "multiverse_options": options,
        },
        tuple(_sentences(table, summary, variance, options, enumeration, metric)),
    )


def _estimates(table: pd.DataFrame) -> Array:
    return table["estimate"].to_numpy(dtype=float)


def _conclusions(table: pd.DataFrame) -> list[tuple[float, str] | None]:
    """Return sign and significance of each specification, None where there is no test."""
    return [
        (float(np.sign(estimate)), str(significant)) if isinstance(significant, str) else None
        for estimate, significant in zip(table["estimate"], table["significant"], strict=True)
    ]


def _summary_table(table: pd.DataFrame, enumeration: Enumeration) -> pd.DataFrame:
    estimates = _estimates(table)
    known = np.sort(estimates[np.isfinite(estimates)])
    found = np.isfinite(estimates)
    significant = (table["significant"] == YES).to_numpy(dtype=bool)
    tested = found & table["significant"].notna().to_numpy(dtype=bool)
    n = max(int(found.sum()), 1)

    def share(rows: Mask) -> float:
        return float((rows & found).sum() / n) if len(known) else np.nan

    def quantile(level: float) -> float:
        return float(np.quantile(known, level)) if len(known) else np.nan

    base = _base_estimate(table, enumeration)
    # equal but for rounding is equal
    below = (int((known < base - ROUNDED).sum()), int((known <= base + ROUNDED).sum()))
    values = {
        "specifications": float(len(table)),
        "estimated": float(found.sum()),
        "median": quantile(0.5),
        **{f"q{int(100 * q):02}": quantile(q) for q in (0.05, 0.25, 0.75, 0.95)},
        "minimum": quantile(0.0),
        "maximum": quantile(1.0),
        "share_significant_positive": share(tested & significant & (estimates > 0)),
        "share_significant_negative": share(tested & significant & (estimates < 0)),
        "share_not_significant": share(tested & ~significant),
        "share_not_tested": share(~tested),
        "share_negative": share(estimates < 0),
        "base_estimate": base,
        # tied specifications count half
        "base_percentile": 50 * float(sum(below)) / n if np.isfinite(base) else np.nan,
    }
    return pd.DataFrame(list(values.items()), columns=SUMMARY_COLUMNS)


def _base_estimate(table: pd.DataFrame, enumeration: Enumeration) -> float:
    base = enumeration.find(enumeration.base)
    if base is None:
        return np.nan
    return float(table.set_index("specification")["estimate"][base.number])


def _variance_table(table: pd.DataFrame, enumeration: Enumeration) -> pd.DataFrame:
    names = [choice.name for choice in enumeration.choices]
    columns = choice_columns(names)
    known = table.loc[table["estimate"].notna()]
    shares = shapley_shares(_estimates(known), [_numbers(known[column]) for column in columns])
    rows = [(name, share, VARIANCE_METHOD) for name, share in zip(names, shares, strict=True)]
    # rounding can leave less than nothing
    rows.append((REST, max(1 - float(shares.sum()), 0.0), VARIANCE_METHOD))
    return pd.DataFrame(rows, columns=VARIANCE_COLUMNS)


def shapley_shares(y: Array, factors: Sequence[Index]) -> Array:
    """Return each factor's Shapley share of the variance of y that an additive model explains.

    Parameters
    ----------
    y
        Shape (n,).
    factors
        Level of each factor, from 0, shape (n,) each.

    Returns
    -------
    ndarray
        Shape (number of factors,), summing to R²; NaN if y does not vary.

    Notes
    -----
    The gain in R² from adding the factor, averaged over all orders in which factors can be
    added (Lindeman, Merenda & Gold 1980).
    """
    n_factors = len(factors)
    centred = y - y.mean() if len(y) else y
    total = float(centred @ centred)
    if len(y) < 2 or total <= NO_VARIANCE * max(float(y @ y), 1e-300):
        return np.full(n_factors, np.nan)
    blocks = [_dummies(factor) for factor in factors]
    owner = np.concatenate([np.full(b.shape[1], i) for i, b in enumerate(blocks)])
    coded = np.hstack(blocks)
    gram, right = coded.T @ coded, coded.T @ centred
    explained: dict[tuple[int, ...], float] = {}
    for size in range(n_factors + 1):
        for chosen in combinations(range(n_factors), size):
            columns = np.flatnonzero(np.isin(owner, chosen))
            explained[chosen] = _explained(gram[np.ix_(columns, columns)], right[columns]) / total
    shares = np.zeros(n_factors)
    for chosen, value in explained.items():
        size = len(chosen)
        for factor in range(n_factors):
            if factor in chosen:
                weight = factorial(size - 1) * factorial(n_factors - size)
            else:
                weight = -factorial(size) * factorial(n_factors - size - 1)
            shares[factor] += weight / factorial(n_factors) * value
    return shares


def _dummies(factor: Index) -> Array:
    """Return centred indicators of the levels but the first, shape (n, levels − 1)."""
    coded = (factor[:, None] == np.arange(1, int(factor.max()) + 1)).astype(float)
    result: Array = coded - coded.mean(axis=0)
    return result


def _explained(gram: Array, right: Array) -> float:
    if not len(right):
        return 0.0
    return float(right @ np.linalg.pinv(gram, rcond=ALIASED, hermitian=True) @ right)


def _option_table(table: pd.DataFrame, enumeration: Enumeration) -> pd.DataFrame:
    names = [choice.name for choice in enumeration.choices]
    estimates, conclusions = _estimates(table), _conclusions(table)
    place = {number: row for row, number in enumerate(table["specification"])}
    rows: list[tuple[object, ...]] = []
    for position, (choice, column) in enumerate(
        zip(enumeration.choices, choice_columns(names), strict=True)
    ):
        labels = table[column].to_numpy()
        pairs = _pairs(enumeration, position, place)
        for number, option in enumerate(choice.options):
            is_base = number == enumeration.base[position]
            described = _describe_option(labels == option.name, table)
            compared = _compare(pairs.get(number, []), estimates, conclusions)
            if is_base:
                compared = (0.0, 0.0, 0)
            mark = YES if is_base else NO
            rows.append((choice.name, option.name, *described, *compared, mark, option.reason))
        if (labels == NOT_APPLICABLE).any():
            described = _describe_option(labels == NOT_APPLICABLE, table)
            rows.append((choice.name, NOT_APPLICABLE, *described, np.nan, np.nan, 0, NO, ""))
    return pd.DataFrame(rows, columns=OPTION_COLUMNS)


def _describe_option(chosen: Mask, table: pd.DataFrame) -> tuple[int, float, float]:
    """Return number, median and share of significant ones among the tested."""
    estimates = _estimates(table)[chosen]
    estimates = estimates[np.isfinite(estimates)]
    tests = table["significant"][chosen].dropna()
    return (
        int(chosen.sum()),
        float(np.median(estimates)) if len(estimates) else np.nan,
        float((tests == YES).mean()) if len(tests) else np.nan,
    )


def _pairs(
    enumeration: Enumeration, position: int, place: Mapping[int, int]
) -> dict[int, list[tuple[int, int]]]:
    """Return option -> rows of specifications with it and of their twins with the base option."""
    base = enumeration.base[position]
    pairs: dict[int, list[tuple[int, int]]] = {}
    for specification in enumeration.specifications:
        option = specification.options[position]
        if option == base or specification.labels[position] == NOT_APPLICABLE:
            continue
        options = specification.options
        twin = enumeration.find((*options[:position], base, *options[position + 1 :]))
        if twin is not None and twin.number != specification.number:
            pairs.setdefault(option, []).append((place[specification.number], place[twin.number]))
    return pairs


def _compare(
    pairs: Sequence[tuple[int, int]],
    estimates: Array,
    conclusions: Sequence[tuple[float, str] | None],
) -> tuple[float, float, int]:
    """Return mean difference, share of pairs whose conclusions differ, and number of pairs."""
    differences = np.array([estimates[a] - estimates[b] for a, b in pairs])
    differences = differences[np.isfinite(differences)]
    changes = [
        conclusions[a] != conclusions[b]
        for a, b in pairs
        if conclusions[a] is not None and conclusions[b] is not None
    ]
    return (
        float(differences.mean()) if len(differences) else np.nan,
        float(np.mean(changes)) if changes else np.nan,
        len(differences),
    )


# ---------------------------------------------------------------- in words


def _percent(share: float) -> str:
    """Print a share; rounding never turns some into none or all."""
    if 0 < share < NEGLIGIBLE_SHARE:
        return "less than 1 %"
    if 1 - NEGLIGIBLE_SHARE < share < 1:
        return "more than 99 %"
    return f"{round(100 * share)} %"


def _sentences(
    table: pd.DataFrame,
    summary: pd.DataFrame,
    variance: pd.DataFrame,
    options: pd.DataFrame,
    enumeration: Enumeration,
    metric: str,
) -> list[str]:
    value = dict(zip(summary["quantity"], summary["value"], strict=True))
    sentences = [
        _result_sentence(value, metric),
        *_spread_sentences(value, metric),
        describe_size(enumeration),
        *_idle_sentences(table, enumeration),
        *_missing_sentences(table, enumeration),
    ]
    if not value["estimated"]:
        return sentences
    sentences += _base_sentences(value, enumeration, metric)
    sentences += _variance_sentences(variance)
    return sentences + _option_sentences(options)


def _result_sentence(value: Mapping[str, float], metric: str) -> str:
    """Say what the specifications found."""
    n, estimated = int(value["specifications"]), int(value["estimated"])
    text = (
        f"{format_count(n, 'defensible specification')} of the analysis "
        f"{'was' if n == 1 else 'were'} run"
    )
    if not estimated:
        return f"{text}; {'it' if n == 1 else 'none of them'} could not be estimated."
    if estimated < n:
        text += f", of which {estimated:,} could be estimated"
    noun = "effect" if metric == "generic" else "correlation"
    low, high = (format_effect(value[name], metric) for name in ("minimum", "maximum"))
    if low == high:
        text += f"; to two decimals, the pooled {noun} is always {low}"
    else:
        median = format_effect(value["median"], metric)
        text += f"; the pooled {noun} ranges from {low} to {high}, with median {median}"
    shares = [
        (value["share_significant_positive"], "significantly positive"),
        (value["share_significant_negative"], "significantly negative"),
        (value["share_not_significant"], "not significant"),
        (value["share_not_tested"], "without a test"),
    ]
    present = [(share, words) for share, words in shares if share > 0]
    if len(present) == 1:
        return f"{text}; {ALL_ALIKE[present[0][1]]}."
    parts = [f"{_percent(share)} are {words}" for share, words in present]
    return f"{text}; of these estimates, {join_words(parts)}."


def _spread_sentences(value: Mapping[str, float], metric: str) -> list[str]:
    inner = format_interval(value["q05"], value["q95"], metric)
    if format_effect(value["minimum"], metric) == format_effect(value["maximum"], metric):
        return []
    return [f"Of the estimates, 90 % lie within {inner}."]


def _idle_sentences(table: pd.DataFrame, enumeration: Enumeration) -> list[str]:
    """Name options whose every combination amounts to one with another option."""
    if enumeration.sampled:
        return []
    names = [choice.name for choice in enumeration.choices]
    idle = [
        f"“{option.name}” ({choice.name})"
        for choice, column in zip(enumeration.choices, choice_columns(names), strict=True)
        for option in choice.options
        if not (table[column] == option.name).any()
    ]
    if not idle:
        return []
    makes, sets = ("makes", "it sets") if len(idle) == 1 else ("make", "they set")
    return [
        f"{join_words(_shorten(idle, 'other option'))} never {makes} a difference, because another "
        f"option comes to the same or the models do not have what {sets}."
    ]


def _missing_sentences(table: pd.DataFrame, enumeration: Enumeration) -> list[str]:
    """Say why specifications could not be estimated, and which options leave no row together."""
    missing = table.loc[table["estimate"].isna()]
    if missing.empty:
        return []
    counts = missing["reason"].value_counts(sort=True)
    parts = [
        f"{reason} ({count:,})" if len(counts) > 1 else str(reason)
        for reason, count in counts.items()
    ]
    start = f"{format_count(len(missing), 'specification')} could not be estimated"
    sentences = [f"{start}: {'; '.join(_shorten(parts, 'other reason'))}."]
    pairs = _excluding_pairs(table, enumeration)
    if pairs:
        sentences.append(
            f"No effect satisfies {join_words(_shorten(pairs, 'other pair'))}, taken together."
        )
    return sentences


def _excluding_pairs(table: pd.DataFrame, enumeration: Enumeration) -> list[str]:
    """Return pairs of options, each of which leaves effects, that leave none together."""
    names = [choice.name for choice in enumeration.choices]
    empty = (table["reason"] == NOTHING).to_numpy(dtype=bool)
    chosen = [
        (place, f"“{option.name}” ({choice.name})", (table[column] == option.name).to_numpy(bool))
        for place, (choice, column) in enumerate(
            zip(enumeration.choices, choice_columns(names), strict=True)
        )
        for option in choice.options
        if option.settings.get("where")
    ]
    return [
        f"{one} and {other}"
        for (i, one, first), (j, other, second) in combinations(chosen, 2)
        if i != j
        and (first & second).any()
        and empty[first & second].all()
        and not empty[first].all()
        and not empty[second].all()
    ]


def _shorten(words: list[str], noun: str) -> list[str]:
    """Return the first of many words, and how many others there are."""
    more = len(words) - LISTED
    return words if more <= 0 else [*words[:LISTED], format_count(more, noun)]


def _base_sentences(value: Mapping[str, float], enumeration: Enumeration, metric: str) -> list[str]:
    if not np.isfinite(value["base_estimate"]):
        return ["The analysis's own combination of choices could not be estimated."]
    estimate = format_effect(value["base_estimate"], metric)
    percentile = format_number(value["base_percentile"], 0)
    if not enumeration.departs:
        return [
            f"The analysis itself, {estimate}, stands at percentile {percentile} of the estimates."
        ]
    names = join_words([f"“{name}”" for name in enumeration.departs])
    return [
        f"The analysis's own setting is no option of {names}; with the first option there and "
        f"its own settings elsewhere, the estimate is {estimate}, at percentile {percentile}."
    ]


def _variance_sentences(variance: pd.DataFrame) -> list[str]:
    choices = variance.loc[variance["choice"] != REST]
    if choices["share_of_variance"].isna().any():
        return ["The estimates do not differ, so that no choice goes along with any difference."]
    top = choices.iloc[int(choices["share_of_variance"].to_numpy().argmax())]
    rest = float(variance.loc[variance["choice"] == REST, "share_of_variance"].iloc[0])
    sentence = (
        f"The choice “{top['choice']}” goes along with the largest share of the variance of the "
        f"estimates, {_percent(float(top['share_of_variance']))}"
    )
    if rest > NEGLIGIBLE_SHARE:
        sentence += f"; {_percent(rest)} cannot be assigned to single choices"
    return [sentence + "."]


def _option_sentences(options: pd.DataFrame) -> list[str]:
    compared = options.loc[(options["base"] == NO) & options["conclusion_moves"].notna()]
    if compared.empty and options["pairs"].any():
        return [
            "No two specifications that differ in one choice only are both tested, so that their "
            "conclusions (sign or significance) could not be compared."
        ]
    if compared.empty:
        return ["No two specifications that differ in one choice only could be compared."]
    moving = compared.loc[compared["conclusion_moves"] > 0]
    if moving.empty:
        return [
            "Switching any one choice away from its base option leaves sign and significance as "
            "they were in every pair that could be compared."
        ]
    best = moving.loc[moving.groupby("choice", sort=False)["conclusion_moves"].idxmax()]
    best = best.sort_values("conclusion_moves", ascending=False, kind="stable")
    parts = [
        f"“{choice}” (up to {_percent(float(share))}, for “{option}”)"
        for choice, option, share in zip(
            best["choice"], best["option"], best["conclusion_moves"], strict=True
        )
    ]
    noun = "choice moves" if len(parts) == 1 else "choices move"
    return [
        f"Switched alone from the base option, {format_count(len(parts), noun, noun)} the "
        f"conclusion (sign or significance) of some specifications: {join_words(parts)}."
    ]
