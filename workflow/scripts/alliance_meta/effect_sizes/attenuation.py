"""Correction for unreliable measurement: the effect sizes table as if both measures were perfect.

An effect takes, for each of its two measures, the first reliability that a rule gives it:

coded
    The row's own value.
same_study
    Mean of the values coded elsewhere in the study for the same measure, version, part and rater.
version_rater
    Mean over studies for the same version of the instrument (WAI-SR, not any WAI) and rater.
measure_rater
    Mean over studies for the same measure, in whatever version, and rater.
measure
    Mean over studies for the same measure, whoever rated.
rater
    Mean over studies for the same rater, over all measures: raters differ in the kind of
    coefficient reported (internal consistency of questionnaires, agreement of observers).
overall
    Mean over studies of all coded values.
assumed
    The value that the review assumes.
none
    Nothing is known: reliability 1, no correction.

Measures and raters coded as a remainder ("other") are no measure or rater in common.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.formatting import format_count, format_number, join_words
from alliance_meta.problems import Problem

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

RULES = (
    "coded",
    "same_study",
    "version_rater",
    "measure_rater",
    "measure",
    "rater",
    "overall",
    "assumed",
    "none",
)
MEAN_RULES = ("same_study", "version_rater", "measure_rater", "measure", "rater", "overall")

# codes that gather what is not told apart; two rows that share one need not share a measure
CATCH_ALL = frozenset({"other", "core_measure", "youth_measure"})

CORRECTED_FLAG = "corrected_for_unreliability"

COUNT_COLUMNS = [
    "side",
    "rule",
    "k_effects",
    "k_studies",
    "reliability_mean",
    "reliability_min",
    "reliability_max",
    "source_studies_min",
    "source_studies_max",
    "k_single_source",
]
LEFT_OUT_COLUMNS = ["effect_id", "study_id", "reason"]

# named in a sentence; the table lists all
_NAMED_EFFECTS = 3

_LOST_STRENGTH = (
    "As these are among the strongest correlations, the corrected estimate leans towards zero."
)

_RULE_WORDS = {
    "coded": "as coded for {n}",
    "same_study": "as coded elsewhere in the study for the same measure and rater for {n}",
    "version_rater": "the mean of the same version and rater for {n}",
    "measure_rater": "the mean of the same measure and rater for {n}",
    "measure": "the mean of the same measure, whoever rated, for {n}",
    "rater": "the mean of the same rater over all measures for {n}",
    "overall": "the mean of all coded values for {n}",
    "assumed": "assumed to be {value} for {n}",
    "none": "unknown for {n}, not corrected on this side",
}


@dataclass(frozen=True)
class _Side:
    """Which columns describe one of the two measures; ``part`` is a subscale or domain."""

    name: str
    measure: str
    version: str
    part: str
    rater: str

    @property
    def reliability(self) -> str:
        return f"reliability_{self.name}"


SIDES = (
    _Side("alliance", "instrument", "instrument_version", "component", "rater"),
    _Side(
        "outcome", "outcome_measure", "outcome_measure_version", "outcome_domain", "outcome_rater"
    ),
)


@dataclass(frozen=True)
class Attenuation:
    """Effects corrected for unreliable measurement, and how.

    Attributes
    ----------
    effects
        The effect sizes table with ``r vr z vz`` corrected, and ``yi vi`` where they repeat
        r or z. Corrected rows carry the flag ``corrected_for_unreliability``. Rows whose
        corrected correlation would not stay below 1 have these cells empty and an
        ``exclude_reason``, so that no model takes them.
    reliabilities
        One row per correlation that could enter a model: ``effect_id study_id
        reliability_alliance rule_alliance studies_alliance reliability_outcome rule_outcome
        studies_outcome r_observed r_corrected``. ``studies_…`` is the number of studies behind
        the value (0 if assumed or unknown).
    counts
        One row per side and rule in use: ``side rule k_effects k_studies reliability_mean
        reliability_min reliability_max source_studies_min source_studies_max
        k_single_source``; the last counts means over studies that rest on one study.
    left_out
        ``effect_id study_id reason`` of the rows that cannot be corrected.
    problems
        The same rows as notes with their place in the sheets.
    sentences
        Full sentences for a methods section.
    """

    effects: pd.DataFrame
    reliabilities: pd.DataFrame
    counts: pd.DataFrame
    left_out: pd.DataFrame
    problems: tuple[Problem, ...]
    sentences: tuple[str, ...]

    @property
    def n_corrected(self) -> int:
        """Number of effects that the correction changed."""
        table = self.reliabilities
        product = table["reliability_alliance"] * table["reliability_outcome"]
        return int(((product < 1) & (table["r_corrected"].abs() < 1)).sum())

    def among(self, effect_ids: Collection[str]) -> "Attenuation":
        """Return what concerns some effects only, say those that enter an analysis.

        Reliabilities stay as they are: means keep the studies that they were taken over.
        """
        chosen = set(effect_ids)
        return _assemble(
            self.effects.loc[self.effects["effect_id"].isin(chosen)],
            self.reliabilities.loc[self.reliabilities["effect_id"].isin(chosen)],
        )


class SweepStep(NamedTuple):
    """The correction under one pair of assumed reliabilities."""

    alliance: float
    outcome: float
    attenuation: Attenuation


class _Imputed(NamedTuple):
    """Reliability, rule (position in ``RULES``) and studies behind it; shape (k,) each."""

    value: Array
    rule: Codes
    studies: Codes


def correct_attenuation(
    effects: pd.DataFrame, *, assumed: Mapping[str, float] | None = None
) -> Attenuation:
    """Correct correlations for unreliable measurement of the alliance and the outcome.

    r_c = r/√(r_xx r_yy), var r_c = var r/(r_xx r_yy), z_c = atanh r_c, and, by the delta method
    on both scales, var z_c = var z [(1 − r²)/(1 − r_c²)]²/(r_xx r_yy). The variances of r and
    of z are carried over each from its own, so that reliabilities of 1 change neither.

    Parameters
    ----------
    effects
        Effect sizes table, one row per effect: ``effect_id study_id r vr z vz`` and, as far as
        there, ``yi vi conversion flags exclude_reason`` and the coded columns. Means are taken
        over its rows without an ``exclude_reason``.
    assumed
        Reliability of rows that no coded value serves: keys ``alliance`` and ``outcome``, either
        or both, each above 0 and at most 1.

    Returns
    -------
    Attenuation
        Rows in the order and with the index of ``effects``.

    Raises
    ------
    ValueError
        If a needed column is missing, a reliability is out of (0, 1], an assumed value is for
        neither measure, or the table is corrected already.

    Notes
    -----
    Reliabilities are taken as known. For effects that hold covariates constant the correction
    is an approximation, because the covariates' own unreliability is unknown.

    References
    ----------
    Spearman, C. (1904). The proof and measurement of association between two things. AJP, 15,
    72-101 (r_c). Hunter, J. E., & Schmidt, F. L. (2004). Methods of meta-analysis, ch. 3
    (variance; the square of the factor by which r is multiplied). Wiernik, B. M., & Dahlke,
    J. A. (2020). Obtaining unbiased results in meta-analysis. AMPPS, 3, 94-123.
    """
    return _correct(effects, _check_assumed(assumed or {}), MEAN_RULES)


def sweep_assumed(
    effects: pd.DataFrame, alliance: Sequence[float], outcome: Sequence[float]
) -> Iterator[SweepStep]:
    """Correct under every pair of assumed reliabilities, one after the other.

    Rows keep the reliabilities coded for themselves; all others take the assumed value, so
    that the sweep shows what the imputed values could do.

    Parameters
    ----------
    effects
        As for `correct_attenuation`.
    alliance, outcome
        Assumed reliabilities, above 0 and at most 1.

    Returns
    -------
    iterator of SweepStep
        ``alliance, outcome, attenuation``; the alliance's value varies slowest. Each table is
        made when it is asked for.

    Raises
    ------
    ValueError
        As `correct_attenuation`; for the assumed values at once.
    """
    grid = [
        _check_assumed({"alliance": float(x), "outcome": float(y)})
        for x in alliance
        for y in outcome
    ]
    return (
        SweepStep(pair["alliance"], pair["outcome"], _correct(effects, pair, ())) for pair in grid
    )


# ---------------------------------------------------------------- which reliability


def _check_assumed(assumed: Mapping[str, float]) -> Mapping[str, float]:
    known = [side.name for side in SIDES]
    for name, value in assumed.items():
        if name not in known:
            raise ValueError(f"reliabilities are assumed for {join_words(known)}, not '{name}'")
        if not 0 < value <= 1:
            raise ValueError(
                f"the assumed reliability of the {name} measure is {value}; it must be above 0 "
                "and at most 1"
            )
    return assumed


def _coded_reliabilities(effects: pd.DataFrame, side: _Side) -> Array:
    if side.reliability not in effects:
        return np.full(len(effects), np.nan)
    values = pd.to_numeric(effects[side.reliability]).to_numpy(dtype=float, na_value=np.nan)
    wrong = ~np.isnan(values) & ~((values > 0) & (values <= 1))
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"{side.reliability} of effect {effects['effect_id'].iloc[first]} is {values[first]}; "
            "a reliability lies above 0 and is at most 1"
        )
    return values


def _number_codes(effects: pd.DataFrame, column: str, *, gathered: bool = False) -> Codes:
    """Give each code of a column a number from 0, and −1 to missing cells and remainders.

    With ``gathered``, remainders keep a number of their own.
    """
    if column not in effects:
        return np.full(len(effects), -1, dtype=np.intp)
    codes, names = pd.factorize(effects[column])
    if not gathered:
        remainders = [str(name).strip().casefold() in CATCH_ALL for name in names]
        codes[np.isin(codes, np.flatnonzero(remainders))] = -1
    return codes


def _number_cells(needed: Sequence[Codes], optional: Sequence[Codes] = ()) -> Codes:
    """Give each combination of codes a number from 0, and −1 where a needed code is missing."""
    complete = np.all([codes >= 0 for codes in needed], axis=0)
    cells = needed[0]
    for codes in (*needed[1:], *optional):
        # numbered afresh each time, so that products of many columns stay small
        _, cells = np.unique(cells * (codes.max(initial=0) + 2) + codes + 1, return_inverse=True)
    return np.where(complete, cells, -1)


def _mean_over_studies(values: Array, cells: Codes, studies: Codes) -> tuple[Array, Codes]:
    """Return, for every row, the mean of its cell over studies and the number of studies.

    Each study counts once, with the mean of its own values.

    Parameters
    ----------
    values
        Coded values, NaN where there is none, shape (k,).
    cells, studies
        Numbers from 0, shape (k,); rows of cell −1 have no part and get NaN.
    """
    coded = ~np.isnan(values) & (cells >= 0)
    n_studies = int(studies.max(initial=0)) + 1
    pairs, position = np.unique(cells[coded] * n_studies + studies[coded], return_inverse=True)
    study_means = np.bincount(position, weights=values[coded]) / np.bincount(position)
    n_cells = int(cells.max(initial=0)) + 1
    size = np.bincount(pairs // n_studies, minlength=n_cells)
    total = np.bincount(pairs // n_studies, weights=study_means, minlength=n_cells)
    means = np.divide(total, size, out=np.full(n_cells, np.nan), where=size > 0)
    return np.where(cells >= 0, means[cells], np.nan), np.where(cells >= 0, size[cells], 0)


def _impute(
    effects: pd.DataFrame,
    side: _Side,
    can_serve: NDArray[np.bool_],
    assumed: float | None,
    rules: Collection[str],
) -> _Imputed:
    """Give each row the reliability of the first rule that has one for it."""
    value = _coded_reliabilities(effects, side)
    rule = np.where(np.isnan(value), -1, RULES.index("coded"))
    studies = np.where(np.isnan(value), 0, 1)
    if rules:
        sources = np.where(can_serve, value, np.nan)
        study = _number_codes(effects, "study_id", gathered=True)
        measure = _number_codes(effects, side.measure)
        version = _number_codes(effects, side.version)
        rater = _number_codes(effects, side.rater)
        # within a study, saying nothing twice means the same twice
        described = [
            _number_codes(effects, name, gathered=True)
            for name in (side.version, side.part, side.rater)
        ]
        cells = {
            "same_study": _number_cells([study, measure], described),
            "version_rater": _number_cells([measure, version, rater]),
            "measure_rater": _number_cells([measure, rater]),
            "measure": measure,
            "rater": rater,
            "overall": np.zeros(len(effects), dtype=np.intp),
        }
        for name in rules:
            means, sizes = _mean_over_studies(sources, cells[name], study)
            served = np.isnan(value) & ~np.isnan(means)
            value = np.where(served, means, value)
            rule[served], studies[served] = RULES.index(name), sizes[served]
    rest = np.isnan(value)
    rule[rest] = RULES.index("none" if assumed is None else "assumed")
    return _Imputed(np.where(rest, 1.0 if assumed is None else assumed, value), rule, studies)


# ---------------------------------------------------------------- the correction


def _correct(
    effects: pd.DataFrame, assumed: Mapping[str, float], rules: Collection[str]
) -> Attenuation:
    missing = [n for n in ("effect_id", "study_id", "r", "vr", "z", "vz") if n not in effects]
    if missing:
        raise ValueError(f"the effect sizes table lacks the column(s) {', '.join(missing)}")
    flags = _text(effects, "flags")
    if flags.str.contains(CORRECTED_FLAG, regex=False, na=False).any():
        raise ValueError("the effect sizes table is corrected for unreliability already")

    excluded = _text(effects, "exclude_reason").notna().to_numpy()
    r, vr, z, vz = (effects[name].to_numpy(dtype=float) for name in ("r", "vr", "z", "vz"))
    eligible = ~excluded & np.isfinite(r) & ~_is_generic(effects)
    alliance, outcome = (
        _impute(effects, side, ~excluded, assumed.get(side.name), rules) for side in SIDES
    )
    product = alliance.value * outcome.value
    r_corrected = r / np.sqrt(product)
    impossible = eligible & (np.abs(r_corrected) >= 1)
    changed = eligible & (product < 1) & ~impossible

    with np.errstate(divide="ignore", invalid="ignore"):
        stretch = ((1 - r**2) / (1 - r_corrected**2)) ** 2
        corrected = {
            "r": np.where(changed, r_corrected, r),
            "vr": np.where(changed, vr / product, vr),
            "z": np.where(changed, np.arctanh(r_corrected), z),
            "vz": np.where(changed, vz * stretch / product, vz),
        }
    for name in corrected:
        corrected[name][impossible] = np.nan
    if "yi" in effects and "vi" in effects:
        corrected |= _follow_metric(effects, corrected, changed | impossible)

    table = effects.assign(
        **corrected,
        flags=flags.mask(changed, flags.fillna("").add(f";{CORRECTED_FLAG}").str.lstrip(";")),
    )
    reliabilities = pd.DataFrame(
        {
            "effect_id": effects["effect_id"],
            "study_id": effects["study_id"],
            "reliability_alliance": alliance.value,
            "rule_alliance": pd.Series(np.array(RULES)[alliance.rule], effects.index, dtype="str"),
            "studies_alliance": alliance.studies,
            "reliability_outcome": outcome.value,
            "rule_outcome": pd.Series(np.array(RULES)[outcome.rule], effects.index, dtype="str"),
            "studies_outcome": outcome.studies,
            "r_observed": r,
            "r_corrected": r_corrected,
        },
        index=effects.index,
    ).loc[eligible]
    if impossible.any():
        reasons = _text(effects, "exclude_reason")
        reasons.loc[impossible] = np.array(
            [_reason(row) for row in _impossible_rows(reliabilities)], dtype=object
        )
        table["exclude_reason"] = reasons
    return _assemble(table, reliabilities.reset_index(drop=True))


def _text(effects: pd.DataFrame, column: str) -> "pd.Series[str]":
    """Return a copy of a text column, all missing if there is none."""
    if column not in effects:
        return pd.Series(None, index=effects.index, dtype="str")
    return effects[column].astype("str").copy()


def _is_generic(effects: pd.DataFrame) -> NDArray[np.bool_]:
    return (_text(effects, "conversion") == "generic").to_numpy(dtype=bool)


def _follow_metric(
    effects: pd.DataFrame, corrected: Mapping[str, Array], touched: NDArray[np.bool_]
) -> dict[str, Array]:
    """Return yi and vi, corrected where they repeat z and vz or r and vr."""
    yi, vi = (effects[name].to_numpy(dtype=float) for name in ("yi", "vi"))
    new_yi, new_vi = yi.copy(), vi.copy()
    for y_name, v_name in (("r", "vr"), ("z", "vz")):
        y, v = (effects[name].to_numpy(dtype=float) for name in (y_name, v_name))
        same = touched & (yi == y) & (vi == v)
        new_yi[same], new_vi[same] = corrected[y_name][same], corrected[v_name][same]
    return {"yi": new_yi, "vi": new_vi}


# ---------------------------------------------------------------- what is said of it


def _assemble(effects: pd.DataFrame, reliabilities: pd.DataFrame) -> Attenuation:
    """Make tables of counts, problems and sentences from the corrected rows."""
    reliabilities = reliabilities.reset_index(drop=True)
    counts = _count_rules(reliabilities)
    impossible = _impossible_rows(reliabilities)
    left_out = pd.DataFrame(
        [(row["effect_id"], row["study_id"], _reason(row)) for row in impossible],
        columns=LEFT_OUT_COLUMNS,
        dtype="str",
    )
    problems: tuple[Problem, ...] = ()
    if impossible:
        places = effects.set_index("effect_id")
        problems = tuple(_make_problem(row, places) for row in impossible)
    sentences = _describe(effects, reliabilities, counts, impossible)
    return Attenuation(effects, reliabilities, counts, left_out, problems, sentences)


def _impossible_rows(reliabilities: pd.DataFrame) -> list[pd.Series]:
    rows = reliabilities.loc[reliabilities["r_corrected"].abs() >= 1]
    return [row for _, row in rows.iterrows()]


def _count_rules(reliabilities: pd.DataFrame) -> pd.DataFrame:
    parts = []
    for side in SIDES:
        rule, studies = reliabilities[f"rule_{side.name}"], reliabilities[f"studies_{side.name}"]
        over_studies = rule.isin(MEAN_RULES) & (rule != "same_study")
        groups = reliabilities.assign(_single=over_studies & (studies == 1)).groupby(rule)
        part = groups.agg(
            k_effects=("effect_id", "size"),
            k_studies=("study_id", "nunique"),
            reliability_mean=(side.reliability, "mean"),
            reliability_min=(side.reliability, "min"),
            reliability_max=(side.reliability, "max"),
            source_studies_min=(studies.name, "min"),
            source_studies_max=(studies.name, "max"),
            k_single_source=("_single", "sum"),
        )
        part = part.reindex([name for name in RULES if name in part.index])
        parts.append(part.rename_axis("rule").reset_index().assign(side=side.name))
    return pd.concat(parts, ignore_index=True)[COUNT_COLUMNS]


def _print(value: float, digits: int = 2) -> str:
    return format_number(value, digits, leading_zero=False)


def _reason(row: pd.Series) -> str:
    product = f"{_print(row['reliability_alliance'])} × {_print(row['reliability_outcome'])}"
    return (
        f"corrected for unreliability the correlation {_print(row['r_observed'])} would be "
        f"{_print(row['r_corrected'], 3)} (divided by √({product})), which no correlation can be"
    )


def _make_problem(row: pd.Series, places: pd.DataFrame) -> Problem:
    place = places.loc[row["effect_id"]]
    sources = []
    for side in SIDES:
        rule, n = row[f"rule_{side.name}"], int(row[f"studies_{side.name}"])
        words = rule.replace("_", " ")
        if rule in MEAN_RULES:
            words = f"mean of {format_count(n, 'study', 'studies')} by rule '{words}'"
        sources.append(f"{side.name} {_print(row[side.reliability])}, {words}")
    source_row, sheet = place.get("source_row"), place.get("source_sheet")
    return Problem(
        file=str(place.get("source_file", "")),
        sheet="" if pd.isna(sheet) else str(sheet),
        row=None if pd.isna(source_row) else int(source_row),
        problem=(
            f"Effect {row['effect_id']} of study {row['study_id']} is left out of the corrected "
            f"analyses: {_reason(row)}."
        ),
        suggestion=f"Check the correlation and the reliabilities ({'; '.join(sources)}).",
        code="attenuation_impossible",
        severity="note",
    )


def _describe(
    effects: pd.DataFrame,
    reliabilities: pd.DataFrame,
    counts: pd.DataFrame,
    impossible: Sequence[pd.Series],
) -> tuple[str, ...]:
    n_generic = int((_is_generic(effects) & _text(effects, "exclude_reason").isna()).sum())
    sentences = []
    if reliabilities.empty:
        sentences.append(
            "There is no correlation that could be corrected for unreliable measurement."
        )
    elif (counts["rule"] == "none").all():
        sentences.append(
            "No reliability is coded or assumed, so no correlation could be corrected for "
            "unreliable measurement."
        )
    else:
        sentences.append(
            "Correlations were corrected for unreliable measurement: each was divided by the "
            "square root of the product of the reliabilities of its alliance and its outcome "
            "measure, and its sampling variance by that product (Hunter & Schmidt, 2004); "
            "reliabilities are taken as known."
        )
        sentences += [_rules_sentence(side, counts) for side in SIDES]
        sentences += _caution_sentences(effects, reliabilities, counts)
    if impossible:
        sentences.append(_impossible_sentence(impossible))
    if n_generic:
        verb = "is no correlation and was" if n_generic == 1 else "are no correlations and were"
        sentences.append(f"{format_count(n_generic, 'generic effect')} {verb} left as reported.")
    return tuple(sentences)


def _rules_sentence(side: _Side, counts: pd.DataFrame) -> str:
    rules = counts.loc[counts["side"] == side.name]
    parts = []
    for _, row in rules.iterrows():
        n = format_count(int(row["k_effects"]), "effect")
        words = _RULE_WORDS[row["rule"]].format(n=n, value=_print(row["reliability_max"]))
        if row["rule"] in MEAN_RULES and row["rule"] != "same_study":
            low, high = int(row["source_studies_min"]), int(row["source_studies_max"])
            count = format_count(high, "study", "studies")
            words += f" (from {count})" if low == high else f" (from {low} to {count})"
        parts.append(words)
    known = rules.loc[rules["rule"] != "none"]
    spread = ""
    if len(known):
        mean = np.average(known["reliability_mean"], weights=known["k_effects"])
        low, high = known["reliability_min"].min(), known["reliability_max"].max()
        if low < high:
            spread = f" (mean {_print(mean)}, range {_print(low)} to {_print(high)})"
        else:
            spread = f" ({_print(low)})"
    return f"The reliability of the {side.name} measure{spread} was {'; '.join(parts)}."


def _caution_sentences(
    effects: pd.DataFrame, reliabilities: pd.DataFrame, counts: pd.DataFrame
) -> list[str]:
    sentences = []
    imputed = counts.loc[counts["rule"].isin(MEAN_RULES) & (counts["rule"] != "same_study")]
    if len(imputed):
        text = "Means are over studies, after averaging within each study"
        single = imputed.groupby("side", sort=False)["k_single_source"].sum()
        parts = [
            f"the imputed reliability of the {side} measure rests on a single study for "
            f"{format_count(int(n), 'effect')}"
            for side, n in single.items()
            if n
        ]
        sentences.append(f"{text}{'; ' if parts else ''}{join_words(parts)}.")
    adjusted = effects.loc[effects["effect_id"].isin(reliabilities["effect_id"])]
    n_adjusted = int(_holds_covariates(adjusted).sum())
    if n_adjusted:
        verb = "holds" if n_adjusted == 1 else "hold"
        sentences.append(
            f"{format_count(n_adjusted, 'effect')} {verb} covariates constant, for which the "
            "correction is an approximation."
        )
    return sentences


def _holds_covariates(effects: pd.DataFrame) -> NDArray[np.bool_]:
    conversion = _text(effects, "conversion")
    by_conversion = conversion.str.contains("partial_r", regex=False, na=False)
    imputed = (conversion == "beta_peterson_brown_2005").to_numpy(dtype=bool)
    held = by_conversion.to_numpy(dtype=bool) | imputed
    if "n_covariates" in effects:
        held |= (effects["n_covariates"] > 0).to_numpy(dtype=bool, na_value=False)
    return held


def _impossible_sentence(rows: Sequence[pd.Series]) -> str:
    named = [
        f"{row['study_id']} ({row['effect_id']}, r = {_print(row['r_observed'])}, reliabilities "
        f"{_print(row['reliability_alliance'])} and {_print(row['reliability_outcome'])}, "
        f"corrected {_print(row['r_corrected'], 3)})"
        for row in rows[:_NAMED_EFFECTS]
    ]
    if len(rows) > _NAMED_EFFECTS:
        named.append(f"{len(rows) - _NAMED_EFFECTS} more")
    verb = "was" if len(rows) == 1 else "were"
    return (
        f"{format_count(len(rows), 'effect')} {verb} left out of the corrected analysis, because "
        f"no correlation can reach 1: {join_words(named)}. {_LOST_STRENGTH}"
    )
