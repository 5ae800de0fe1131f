"""How far the result depends on who coded: the analysis anew with each coder's versions mixed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.assessments import Assessment
from alliance_meta.codebook import Codebook, load_codebook
from alliance_meta.effect_sizes import aggregate_effects
from alliance_meta.extraction.coders import UNMATCHED_COLUMNS, Matching, read_matches
from alliance_meta.formatting import (
    format_count,
    format_effect,
    format_interval,
    format_number,
    join_words,
)
from alliance_meta.models.analysis import (
    AnalysisResult,
    Units,
    arrange,
    fit_scale,
    fit_units,
    independent_clusters,
    make_units,
    merged_references,
    variance_levels,
)
from alliance_meta.models.design import Design, build_design
from alliance_meta.models.expressions import formula_variables, scale_variables
from alliance_meta.models.multilevel import build_structure
from alliance_meta.models.pooling import PooledFit, fit_pooled
from alliance_meta.models.refits import Refitter
from alliance_meta.models.result_tables import apart_rows, reporting_scale
from alliance_meta.models.rows import model_rows
from alliance_meta.models.specification import (
    MULTILEVEL_MODELS,
    ModelSpecification,
    SpecificationError,
)
from alliance_meta.sensitivity.coder_versions import (
    CORRECTED,
    SAME,
    VALUE,
    VersionClasses,
    VersionPairs,
    draw_versions,
    find_classes,
    pair_versions,
    used_columns,
)

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

NAME = "coders"

CODER_COLUMNS = [
    "level",
    "first_coder",
    "second_coder",
    "resampled_median",
    "resampled_low",
    "resampled_high",
    "ci_low",
    "ci_high",
    "share_conclusion_changes",
    "resamples",
    "exact",
]
DISAGREEMENT_COLUMNS = ["effect_id", "study_id", "column", "first", "second"]

TABLES: Mapping[str, Sequence[str]] = {
    "sensitivity_coders": CODER_COLUMNS,
    "sensitivity_coder_disagreements": DISAGREEMENT_COLUMNS,
    "sensitivity_coder_unmatched": UNMATCHED_COLUMNS,
}

RESAMPLES = 1000
# models that cannot be fitted in batches, most of which build their design anew each time
SINGLE_RESAMPLES = 200

# the band holds the central 95 % of the resamples, whatever the level of intervals
BAND = (0.025, 0.5, 0.975)

# more than these do not help in a sentence
NAMED_LEVELS = 5

# a band narrower than this share of the confidence interval prints as none of it
HARDLY_WIDE = 0.005
NO_WIDTH = "has hardly any width beside"

NOTHING_COMPARED = (
    "No effect of this analysis was coded by both coders, so that nothing was compared and no band "
    "is given."
)

Bounds = tuple[float, float, float]
Estimates = dict[str, Bounds]


def assess_coders(
    result: AnalysisResult,
    effects: pd.DataFrame,
    second: pd.DataFrame | None,
    *,
    files: Sequence[str] | None = None,
    codebook: Codebook | None = None,
    resamples: int | None = None,
    seed: int = 0,
    advance: Callable[[int], None] = lambda n: None,
) -> Assessment:
    """Run an analysis with the versions of two coders mixed at random.

    In each resample every effect that both coded takes its value (effect, variance and all that
    makes them) from either coder with probability 1/2, and so, independently, each code that
    the analysis uses. An effect of a study that both coded, but that one of them left out,
    enters with probability 1/2; so does a study that only the second coder has. A study that
    the second coder did not code at all always enters, so that coding a part of the studies
    twice is enough. Where there are no more combinations than resamples, all are computed and
    weighted by their probabilities.

    Parameters
    ----------
    result
        The analysis with the first coder's values.
    effects, second
        Effect sizes tables of the first and of the second coder; the second's may carry its
        partners (see ``note_matches``), and is None or without rows if there is no second coder.
        Columns that the second coder left empty throughout count as not coded: the first
        coder's stand for both, as do sample names.
    files, codebook
        As for ``analyse``. A study that only the second coder has enters if all sheets of the
        first coder do.
    resamples
        Number of resamples. Default: 1000, and 200 in analyses that are fitted one by one (those
        with moderators or a formula of τ², and model "rve").
    seed
        Seed of the resampling.
    advance
        Told how many fits have been finished.

    Returns
    -------
    Assessment
        ``sensitivity_coders`` (levels on the reporting scale, continuous coefficients on the
        analysis metric), ``sensitivity_coder_disagreements``, ``sensitivity_coder_unmatched``.
        Without an effect that both coded only the last has rows.

    Notes
    -----
    With a correction for attenuation each coder's effects are corrected by the reliabilities
    that this coder coded.
    """
    codebook = codebook or load_codebook()
    if second is None or not len(second):
        return Assessment(NAME).completed(TABLES)
    if result.fitted is None:
        text = f"The coders were not compared: {result.failure or 'nothing was pooled.'}"
        return Assessment(NAME, {}, (text,)).completed(TABLES)
    spec, matching = result.spec, read_matches(effects, second)
    try:
        pairs = pair_versions(effects, second, matching, spec, codebook)
        classes = find_classes(pairs, spec, files)
    except SpecificationError as error:
        text = f"The second coder's effects cannot enter: {'; '.join(error.problems).rstrip('.')}."
        return Assessment(NAME, {}, (text,)).completed(TABLES)
    unmatched = _list_unmatched(pairs, classes, matching)
    if not _coded_twice(pairs, classes).any():
        # a band would tell what lone studies do, not what coding does
        tables = {"sensitivity_coder_unmatched": unmatched}
        return Assessment(NAME, tables, (NOTHING_COMPARED,)).completed(TABLES)
    refit = _Refit(result, classes, codebook)
    default = RESAMPLES if refit.in_batch else SINGLE_RESAMPLES
    limit = default if resamples is None else resamples
    chosen, weights, exact = draw_versions(classes.options, limit, seed)
    drawn = [np.sort(np.concatenate([classes.always, row[row >= 0]])) for row in chosen]
    table = _band_table(result, refit, classes, drawn, weights, exact, advance)
    disagreements = _list_disagreements(pairs, classes, spec)
    total = len(drawn) if exact else limit
    sentences = _describe(result, table, pairs, classes, total, codebook)
    tables = dict(zip(TABLES, (table, disagreements, unmatched), strict=True))
    return Assessment(NAME, tables, tuple(sentences))


# --- the analysis anew ------------------------------------------------------------------------


class _Refit:
    """Fits the analysis to some versions of the effects."""

    def __init__(self, result: AnalysisResult, classes: VersionClasses, codebook: Codebook):
        self.result, self.codebook = result, codebook
        spec = result.spec
        # the same comparisons in every resample, as far as their levels occur
        self.spec = replace(spec, reference={**spec.reference, **result.references})
        self.common = replace(self.spec, separate_tau2=False, scale="")
        self.data = classes.data
        self.variables = formula_variables(spec.moderators)
        self.in_batch = not (self.variables or spec.scale or spec.model == "rve")

    def fit_many(self, drawn: Sequence[Index], advance: Callable[[int], None]) -> list[Estimates]:
        """Return level or term -> estimate and interval for each set of versions."""
        if self.in_batch and len(drawn) > 1:
            return self._fit_batch(drawn, advance)
        found = []
        for rows in drawn:
            found.append(self._fit_or_nothing(rows))
            advance(1)
        return found

    def _fit_batch(self, drawn: Sequence[Index], advance: Callable[[int], None]) -> list[Estimates]:
        """Fit the mean to all sets at once, each a part of the rows of all versions."""
        data, keep, y, v = self._stack(drawn)
        clusters, samples = (
            np.asarray(pd.factorize(data[name])[0], dtype=np.intp)
            for name in ("study_id", "sample_id")
        )
        joined = self.spec.model in MULTILEVEL_MODELS
        rows = replace(
            model_rows(self.result),
            data=data,
            y=y[0],
            v=v[0],
            X=np.ones((len(data), 1)),
            terms=("Intercept",),
            clusters=clusters,
            samples=samples,
            independent=build_structure(clusters, samples).block_of_rows() if joined else clusters,
            effects=self.data,
        )
        fits = Refitter(rows).refit(keep, y=y, v=v, advance=advance)
        values = np.column_stack([fits.estimate[:, 0], fits.ci_low[:, 0], fits.ci_high[:, 0]])
        values = reporting_scale(values, self.spec.metric)
        return [
            {"overall": _bounds(row)} if np.isfinite(row[0]) else self._fit_or_nothing(versions)
            for row, versions in zip(values, drawn, strict=True)
        ]

    def _stack(self, drawn: Sequence[Index]) -> tuple[pd.DataFrame, Mask, Array, Array]:
        """Return the rows of all versions (or samples), and which, y and v of each set."""
        y, v = self.data["yi"].to_numpy(float), self.data["vi"].to_numpy(float)
        if self.spec.model != "aggregated":
            keep = np.zeros((len(drawn), len(y)), dtype=bool)
            for b, versions in enumerate(drawn):
                keep[b, versions] = True
            return self.data, keep, np.broadcast_to(y, keep.shape), np.broadcast_to(v, keep.shape)
        sample = pd.factorize(self.data["sample_id"])[0]
        first = np.unique(sample, return_index=True)[1]
        keep = np.zeros((len(drawn), len(first)), dtype=bool)
        means, variances = (np.tile(x[first], (len(drawn), 1)) for x in (y, v))
        for b, versions in enumerate(drawn):
            merged = aggregate_effects(y[versions], v[versions], sample[versions], self.spec.rho)
            place = sample[versions[merged.first_index]]
            keep[b, place] = True
            means[b, place], variances[b, place] = merged.y, merged.v
        return self.data.iloc[first].reset_index(drop=True), keep, means, variances

    def _fit_or_nothing(self, rows: Index) -> Estimates:
        if not len(rows):
            return {}
        try:
            return self._fit(self.data.iloc[rows].reset_index(drop=True))
        except (SpecificationError, np.linalg.LinAlgError):
            # these versions leave too little for the model, as the count of resamples tells
            return {}

    def _fit(self, data: pd.DataFrame) -> Estimates:
        arranged = arrange(data, self.spec, self.variables, self.codebook)
        data = arranged.data
        reference = merged_references(self.spec.reference, arranged)
        metric = self.spec.metric
        found: Estimates = {}
        if self.variables or not self.spec.scale:
            units = make_units(data, self.spec, ())
            found["overall"] = _estimate(_fit_mean(units, self.common), np.ones(1), metric)
        if not self.variables and not self.spec.scale:
            return found
        found |= {
            str(row[0]): (float(str(row[5])), np.nan, np.nan)
            for row in apart_rows(data, arranged.apart, self.spec)
        }
        tested = data.loc[~arranged.apart_mask]
        if tested.empty:
            return found
        moderators = [*self.variables, *scale_variables(self.spec.scale)]
        units = make_units(tested, self.spec, moderators)
        design = build_design(units.data, self.spec.moderators, reference)
        fit = self._fit_design(units, design, reference)
        if not self.variables:
            found["overall"] = _estimate(fit, np.ones(1), metric)
        clusters = independent_clusters(fit, units.data)
        for level in design.levels:
            value = _estimate(fit, level.contrast, metric)
            members = (units.data[level.moderator] == level.value).to_numpy()
            # a level of one study is shown, not tested
            lone = len(np.unique(clusters[members])) == 1
            found[level.name] = (value[0], np.nan, np.nan) if lone else value
        for term, row in zip(design.terms, np.eye(len(design.terms)), strict=True):
            if term in continuous_terms(design):
                found[term] = _estimate(fit, row, "generic")
        return found

    def _fit_design(self, units: Units, design: Design, reference: Mapping[str, str]) -> PooledFit:
        if self.spec.scale:
            scale = build_design(units.data, self.spec.scale, reference, setting="scale")
            return fit_scale(units, design.X, scale.X, self.spec)[0]
        if not self.spec.separate_tau2:
            return fit_units(units, design.X, self.spec)
        moderator, levels = variance_levels(design)
        number = {level: i for i, level in enumerate(levels)}
        codes = np.asarray(units.data[moderator].map(number), dtype=np.intp)
        return fit_units(units, design.X, self.spec, groups=codes)


def _fit_mean(units: Units, spec: ModelSpecification) -> PooledFit:
    if len(units.y) > 1:
        return fit_units(units, np.ones((len(units.y), 1)), spec)
    # a lone effect has its own interval
    alone = replace(spec, model="common_effect", tau2=None, inference="z")
    return fit_pooled(units.y, units.v, np.ones((1, 1)), np.zeros(1, dtype=np.intp), alone)


def _estimate(fit: PooledFit, contrast: Array, metric: str) -> Bounds:
    e = fit.contrast(contrast)
    return _bounds(reporting_scale(np.array([e.value, e.ci_low, e.ci_high]), metric))


def _bounds(values: Array) -> Bounds:
    return float(values[0]), float(values[1]), float(values[2])


def continuous_terms(design: Design) -> list[str]:
    """Return the coefficients of a design that involve a numeric moderator."""
    if design.specification is None:
        return []
    numeric = set(design.continuous)
    return [
        design.terms[column]
        for term, names in design.specification.term_variables.items()
        if numeric & {str(name) for name in names}
        for column in range(*design.specification.term_slices[term].indices(len(design.terms)))
    ]


# --- tables -------------------------------------------------------------------------------------


def _main_estimates(result: AnalysisResult) -> Estimates:
    """Return the levels and continuous coefficients of the analysis, in the order of its tables."""
    assert result.fitted is not None
    columns = ["estimate", "ci_low", "ci_high"]
    levels = result.summary.set_index("level")[columns]
    terms = result.coefficients.set_index("term")[columns]
    chosen = terms.loc[continuous_terms(result.fitted.design)]
    table = pd.concat([levels, chosen])
    return {
        str(name): _bounds(row)
        for name, row in zip(table.index, table.to_numpy(dtype=float, na_value=np.nan), strict=True)
    }


def _band_table(
    result: AnalysisResult,
    refit: _Refit,
    classes: VersionClasses,
    drawn: Sequence[Index],
    weights: Array,
    exact: bool,
    advance: Callable[[int], None],
) -> pd.DataFrame:
    main = _main_estimates(result)
    if not classes.options:
        fixed = [
            (name, *[value] * 5, low, high, 0.0, 0, True)
            for name, (value, low, high) in main.items()
        ]
        return pd.DataFrame(fixed, columns=CODER_COLUMNS)
    seconds = refit.fit_many([classes.second], lambda n: None)[0]
    fits = refit.fit_many(drawn, advance)
    rows = []
    for name in dict.fromkeys([*main, *seconds]):
        value, low, high = main.get(name, (np.nan, np.nan, np.nan))
        found = np.array([fit.get(name, (np.nan, np.nan, np.nan)) for fit in fits])
        good = np.isfinite(found[:, 0])
        band = _weighted_quantiles(found[good, 0], weights[good])
        changes = np.nan
        if np.isfinite(value) and good.any():
            differs = _conclusions(found[good]) != _conclusions(np.array([[value, low, high]]))
            changes = float(np.average(differs.any(axis=1), weights=weights[good]))
        # repeated draws count as often as they came
        count = int(good.sum() if exact else weights[good].sum())
        second = seconds.get(name, (np.nan,))[0]
        median = band[1]
        rows.append(
            (name, value, second, median, band[0], band[2], low, high, changes, count, exact)
        )
    return pd.DataFrame(rows, columns=CODER_COLUMNS)


def _conclusions(bounds: Array) -> NDArray[np.int8]:
    """Return sign and significance of estimates, shape (B, 2); without an interval no claim."""
    sign = np.sign(bounds[:, 0])
    with np.errstate(invalid="ignore"):
        significant = (bounds[:, 1] > 0) | (bounds[:, 2] < 0)
    return np.column_stack([sign, significant]).astype(np.int8)


def _weighted_quantiles(values: Array, weights: Array) -> Array:
    """Return the quantiles of ``BAND`` of a weighted sample; at a step the middle of it."""
    if not len(values):
        return np.full(len(BAND), np.nan)
    order = np.argsort(values, kind="stable")
    values, reached = values[order], np.cumsum(weights[order])
    reached = reached / reached[-1]
    last = len(values) - 1
    low = np.minimum(np.searchsorted(reached, np.array(BAND) - SAME), last)
    high = np.minimum(np.searchsorted(reached, np.array(BAND) + SAME), last)
    middle: Array = (values[low] + values[high]) / 2
    return middle


def _list_disagreements(
    pairs: VersionPairs, classes: VersionClasses, spec: ModelSpecification
) -> pd.DataFrame:
    """List the cells in which the coders differ, of effects that can enter."""
    used, hidden = set(used_columns(spec)), {"yi", "vi", "r", "z", "vz", "vr", *CORRECTED}
    hidden |= {"conversion", "flags"}
    rows = []
    for e in np.flatnonzero(classes.relevant & pairs.differs.any(axis=1)):
        first, second = (pairs.coded.iloc[pos] for pos in (pairs.first[e], pairs.second[e]))
        for g, (name, columns) in enumerate(pairs.groups.items()):
            if not pairs.differs[e, g]:
                continue
            if name == VALUE:
                columns = [c for c in columns if c in used or c not in hidden]
            rows += [
                (first["effect_id"], first["study_id"], c, _print(first[c]), _print(second[c]))
                for c in columns
                if _print(first[c]) != _print(second[c])
            ]
    return pd.DataFrame(rows, columns=DISAGREEMENT_COLUMNS)


def _print(cell: object) -> str | None:
    """Return a cell as a sheet shows it; None if empty."""
    if pd.isna(cell):  # type: ignore[call-overload]
        return None
    return np.format_float_positional(cell, trim="-") if isinstance(cell, float) else str(cell)


def _coded_twice(pairs: VersionPairs, classes: VersionClasses) -> Mask:
    """Return which effects that can enter both coders have."""
    return classes.relevant & (pairs.first >= 0) & (pairs.second >= 0)


def _list_unmatched(
    pairs: VersionPairs, classes: VersionClasses, matching: Matching
) -> pd.DataFrame:
    """List the effects of one coder only that can enter."""
    alone = (pairs.first < 0) | (pairs.second < 0)
    # both tables hold the first coder's rows and then the second's, each in order
    return matching.unmatched.loc[classes.relevant[alone]].reset_index(drop=True)


# --- sentences ----------------------------------------------------------------------------------


def _describe(
    result: AnalysisResult,
    table: pd.DataFrame,
    pairs: VersionPairs,
    classes: VersionClasses,
    total: int,
    codebook: Codebook,
) -> list[str]:
    sentences = [
        _describe_agreement(pairs, _coded_twice(pairs, classes)),
        *_describe_alone(pairs, classes.relevant),
    ]
    if pairs.kept:
        names = join_words([name.replace("_", " ") for name in pairs.kept])
        sentences.append(
            f"The second coder's sheets bring no comparable codes for {names}; the first coder's "
            "stand for both."
        )
    if not classes.options:
        sentences.append(
            "Nothing that the result rests on differs between the coders, so that it is the same "
            "with either."
        )
        return sentences
    return [*sentences, *_describe_band(result, table, total, codebook)]


def _describe_agreement(pairs: VersionPairs, both: Mask) -> str:
    differs = pairs.differs[both]
    n_value, n_codes = int(differs[:, 0].sum()), int(differs[:, 1:].any(axis=1).sum())
    start = f"Both coders coded {format_count(int(both.sum()), 'effect')} of this analysis"
    if not n_value + n_codes:
        return f"{start} and agree on all that it uses."
    places = [
        (n_value, "in the effect size, its variance or whether it can be pooled"),
        (n_codes, "in a code"),
    ]
    places = [(count, place) for count, place in places if count]
    named = [f"{count:,} {place}" if len(places) > 1 else place for count, place in places]
    n_effects = int(differs.any(axis=1).sum())
    return f"{start} and disagree on {n_effects:,} of them ({join_words(named)})."


def _describe_alone(pairs: VersionPairs, relevant: Mask) -> list[str]:
    sentences = []
    lone = [
        (int((relevant & pairs.optional & (places < 0)).sum()), coder)
        for places, coder in ((pairs.second, "first"), (pairs.first, "second"))
    ]
    parts = [
        f"{format_count(count, 'effect')} {'is' if count == 1 else 'are'} the {coder} coder's only"
        for count, coder in lone
        if count
    ]
    if parts:
        each = "it enters" if sum(count for count, _ in lone) == 1 else "each enters"
        sentences.append(f"{join_words(parts)}; {each} half of the resamples.")
    always = int((relevant & ~pairs.optional & (pairs.second < 0)).sum())
    if always:
        verb = "comes" if always == 1 else "come"
        enters = "enters" if always == 1 else "enter"
        sentences.append(
            f"{format_count(always, 'effect')} {verb} from studies that the second coder did not "
            f"code and always {enters}."
        )
    return sentences


def _describe_band(
    result: AnalysisResult, table: pd.DataFrame, total: int, codebook: Codebook
) -> list[str]:
    metric = result.spec.metric
    noun = "effect" if metric == "generic" else "correlation"
    row = table.iloc[0]
    count = int(row["resamples"])
    if not count:
        return ["In no resample between the coders could the mean be estimated."]
    if row["exact"]:
        base = f"all {format_count(total, 'combination')} of the coders' versions"
    else:
        base = f"{format_count(total, 'resample')} between the coders"
    # bands are mostly narrow
    band = format_interval(row["resampled_low"], row["resampled_high"], metric, digits=3)
    first, second, median = (
        format_effect(row[name], metric, digits=3)
        for name in ("first_coder", "second_coder", "resampled_median")
    )
    text = (
        f"Over {base}, the central 95 % of the estimates of the pooled {noun} lie in {band}, "
        f"around a median of {median}; it is {first} with the first coder's values and {second} "
        "with the second's"
    )
    width = row["ci_high"] - row["ci_low"]
    if width > 0:
        ratio = (row["resampled_high"] - row["resampled_low"]) / width
        wide = f"is {format_number(ratio)} times as wide as"
        text += f". This band {wide if ratio >= HARDLY_WIDE else NO_WIDTH} the confidence interval"
    sentences = [f"{text}."]
    if count < total:
        sentences.append(f"In {total - count:,} of them the mean could not be estimated.")
    share = row["share_conclusion_changes"]
    if share > 0:
        sentences.append(
            f"Its sign or significance differs from the main analysis in {_percent(share)} of them."
        )
    else:
        sentences.append("Its sign and significance are those of the main analysis in all of them.")
    rest = table.iloc[1:]
    changed = rest.loc[rest["share_conclusion_changes"] > 0]
    changed = changed.sort_values("share_conclusion_changes", ascending=False, kind="stable")
    if len(changed):
        named = [
            f"{codebook.level_label(name) if '=' in name else name} ({_percent(part)})"
            for name, part in zip(
                changed["level"].head(NAMED_LEVELS),
                changed["share_conclusion_changes"].head(NAMED_LEVELS),
                strict=True,
            )
        ]
        more = len(changed) - NAMED_LEVELS
        named += [f"{more} more"] if more > 0 else []
        sentences.append(
            f"The sign or significance of {join_words(named)} differs from the main analysis in "
            "the share of them given in brackets."
        )
    return sentences


def _percent(share: float) -> str:
    return "less than 0.1 %" if share < 0.001 else f"{format_number(100 * share, 1)} %"
