"""One analysis: effect sizes and a specification in, the contract's tables out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from alliance_meta.effect_sizes import aggregate_effects
from alliance_meta.formatting import format_count
from alliance_meta.models.design import (
    Design,
    build_design,
    encode_values,
    equality_contrasts,
    order_levels,
)
from alliance_meta.models.expressions import formula_variables
from alliance_meta.models.pooling import Estimate, PooledFit, fit_pooled
from alliance_meta.models.selection import select_rows
from alliance_meta.models.specification import (
    InestimableError,
    ModelSpecification,
    SpecificationError,
)

Array = NDArray[np.float64]

COEFFICIENT_COLUMNS = ["term", "estimate", "se", "statistic", "df", "p_value", "ci_low", "ci_high"]
SUMMARY_COLUMNS = [
    "level",
    "k_studies",
    "k_samples",
    "k_effects",
    "n_total",
    "estimate",
    "ci_low",
    "ci_high",
    "pi_low",
    "pi_high",
]
HETEROGENEITY_COLUMNS = ["parameter", "estimate", "ci_low", "ci_high"]
LINE_COLUMNS = ["moderator", "x", "estimate", "ci_low", "ci_high"]
CODE_COLUMNS = [
    "instrument",
    "instrument_version",
    "component",
    "rater",
    "timing",
    "outcome_measure",
    "outcome_domain",
    "year",
]
INCLUDED_COLUMNS = [
    "effect_id",
    "study_id",
    "sample_id",
    "yi",
    "vi",
    "n",
    "estimate",
    "ci_low",
    "ci_high",
    "weight",
    "label",
    "level",
]

COMPUTED_COLUMNS = {"estimate", "ci_low", "ci_high", "weight", "label", "level"}

# below this the Satterthwaite approximation is outside its validated range (Tipton 2015)
MINIMUM_DF = 4.0
MINIMUM_STUDIES_PER_LEVEL = 2
SEVERAL = "several"


@dataclass(frozen=True)
class AnalysisResult:
    """Tables of one analysis, in the columns of the file contract.

    Attributes
    ----------
    spec
        The specification with all defaults resolved.
    coefficients, summary, heterogeneity
        As the contract names them; empty tables if nothing could be estimated.
    included, left_out
        Rows that entered the model, with weights, and rows that did not, with reasons.
    line
        Fitted line of a single numeric moderator on the reporting scale; else empty.
    references
        Categorical moderator -> reference level.
    continuous
        Numeric moderators.
    set_apart
        Names of levels that are shown but not tested.
    warnings
        Full sentences.
    failure
        Why nothing could be estimated; empty if something was.
    """

    spec: ModelSpecification
    coefficients: pd.DataFrame
    summary: pd.DataFrame
    heterogeneity: pd.DataFrame
    included: pd.DataFrame
    left_out: pd.DataFrame
    line: pd.DataFrame
    references: Mapping[str, str] = field(default_factory=dict)
    continuous: tuple[str, ...] = ()
    set_apart: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    failure: str = ""


def included_name(column: str) -> str:
    """Return the name of a coded column in ``included_effects.csv``.

    A reviewer's own column called, say, ``weight`` gives way to the weight in the model.
    """
    return f"coded_{column}" if column in COMPUTED_COLUMNS else column


@dataclass(frozen=True)
class _Units:
    """What the model sees: effects, or one composite per sample and moderator value."""

    data: pd.DataFrame
    y: Array
    v: Array


def reporting_scale(values: Array | float, metric: str) -> Array:
    """Transform from the analysis metric to the reporting scale (r for Fisher's z)."""
    array = np.asarray(values, dtype=float)
    return np.tanh(array) if metric == "fisher_z" else array


def analyse(
    effects: pd.DataFrame,
    spec: ModelSpecification,
    *,
    labels: Mapping[str, str] | None = None,
    files: Sequence[str] | None = None,
) -> AnalysisResult:
    """Run one analysis.

    Parameters
    ----------
    effects
        Effect sizes table (see ``convert_effects``).
    spec
        What to do; defaults are resolved from the rows that enter.
    labels
        Study -> label for figures (default: the study's name).
    files
        Sheets whose rows may enter (default: all).

    Returns
    -------
    AnalysisResult

    Raises
    ------
    SpecificationError
        If the specification names unknown columns or asks for something undefined.
    """
    variables = formula_variables(spec.moderators)
    selection = select_rows(effects, spec, variables, files=files)
    data = selection.data
    dependent = bool(data["study_id"].duplicated().any())
    spec = spec.resolve(dependent=dependent)
    notes = list(selection.notes)
    if data.empty:
        return _failed(spec, data, selection.left_out, "No effect satisfies this analysis.", notes)

    apart_mask, apart = rare_levels(data, variables)
    tested = data.loc[~apart_mask]
    if tested.empty:
        reason = "No level has effects from two studies or more, so nothing was tested."
        return _failed(spec, data, selection.left_out, reason, notes, apart)
    overall_units = _units(data, spec, ())
    try:
        overall = _fit(overall_units, np.ones((len(overall_units.y), 1)), spec)
        if variables:
            units = _units(tested, spec, variables)
            design = build_design(units.data, spec.moderators, spec.reference)
            contrasts = equality_contrasts(design.X)
            fit = _fit(units, design.X, spec)
            null = _fit(units, np.ones((len(units.y), 1)), spec)
            notes += _overlap_notes(units, spec, variables)
        else:
            units, fit, null = overall_units, overall, None
            design = build_design(units.data, "", {})
            contrasts = np.empty((0, 1))
    except _TooFewError as error:
        if variables or len(data) != 1:
            return _failed(spec, data, selection.left_out, str(error), notes)
        return _single_effect(data, spec, selection.left_out, labels or {}, notes)
    except InestimableError as error:
        return _failed(spec, data, selection.left_out, _sentence(error), notes)

    if variables and len(design.terms) == 1:
        notes.append("Only one level has effects from two studies or more: nothing to compare.")
    for variable, value in apart:
        if spec.reference.get(variable) == value and variable in (design.references or {}):
            notes.append(
                f"The reference level asked for, {value}, is not tested; "
                f"{(design.references or {})[variable]} takes its place."
            )
        studies = data.loc[data[variable] == value, "study_id"].nunique()
        left = "" if studies < MINIMUM_STUDIES_PER_LEVEL else " left beside the other such levels"
        notes.append(
            f"{variable}={value} has effects from fewer than two studies{left}: shown, not tested."
        )
    coefficients = _coefficient_table(fit, design.terms)
    heterogeneity = _heterogeneity_table(fit, null, contrasts, spec)
    notes += _low_df_notes(coefficients, heterogeneity, spec)
    if not coefficients["se"].gt(0).all():
        notes.append(
            "The effects do not differ beyond the model, so that some standard errors are zero "
            "and no interval or test can be given for them."
        )
    included = _included_table(units, fit, data, apart_mask, spec, variables, labels or {})
    return AnalysisResult(
        spec=spec,
        coefficients=coefficients,
        summary=_summary_table(fit, overall, design, data, tested, apart, variables, spec),
        heterogeneity=heterogeneity,
        included=included,
        left_out=selection.left_out,
        line=_line_table(fit, design, units.data, spec),
        references=dict(design.references or {}),
        continuous=design.continuous,
        set_apart=tuple(f"{variable}={value}" for variable, value in apart),
        warnings=tuple(notes),
    )


def _sentence(error: SpecificationError) -> str:
    text = "; ".join(error.problems).rstrip(".")
    return text[:1].upper() + text[1:] + "."


class _TooFewError(InestimableError):
    """Fewer independent units than the model needs."""


def _fit(units: _Units, X: Array, spec: ModelSpecification) -> PooledFit:
    clusters = pd.factorize(units.data["study_id"])[0]
    robust = spec.inference == "cr2"
    n_units = int(np.max(clusters)) + 1 if robust else len(units.y)
    noun = ("study", "studies") if robust else ("effect", "effects")
    if n_units <= X.shape[1]:
        units_words = format_count(n_units, f"independent {noun[0]}", f"independent {noun[1]}")
        coefficients = format_count(X.shape[1], "coefficient")
        raise _TooFewError(f"{units_words} cannot support {coefficients}.")
    return fit_pooled(units.y, units.v, X, clusters, spec)


def _units(data: pd.DataFrame, spec: ModelSpecification, variables: Sequence[str]) -> _Units:
    """Return the rows of the model; composites for the aggregated model."""
    y, v = data["yi"].to_numpy(float), data["vi"].to_numpy(float)
    if spec.model != "aggregated":
        return _Units(data.reset_index(drop=True), y, v)
    keys = ["sample_id", *variables]
    codes = data.groupby(keys, sort=False, dropna=False).ngroup().to_numpy()
    composite = aggregate_effects(y, v, codes, spec.rho)
    rows = []
    for _, members in data.groupby(codes, sort=False):
        row = members.iloc[0].copy()
        if len(members) > 1:
            row["effect_id"] = f"{row['sample_id']} ({len(members)} effects)"
            row["n"] = members["n"].max()
            for name in CODE_COLUMNS:
                if members[name].nunique(dropna=False) > 1:
                    row[name] = SEVERAL if isinstance(row[name], str) else np.nan
        rows.append(row)
    merged = pd.DataFrame(rows).astype(data.dtypes.to_dict()).reset_index(drop=True)
    merged["yi"], merged["vi"] = composite.y, composite.v
    return _Units(merged, composite.y, composite.v)


def rare_levels(
    data: pd.DataFrame, variables: Sequence[str]
) -> tuple[NDArray[np.bool_], list[tuple[str, str]]]:
    """Return which rows belong to a level of fewer than two studies, and those levels."""
    mask = np.zeros(len(data), dtype=bool)
    found: list[tuple[str, str]] = []
    categorical = [v for v in variables if not pd.api.types.is_numeric_dtype(data[v])]
    searching = True
    # rows that go with a level of one moderator may leave a level of another with one study
    while searching:
        searching = False
        kept = data.loc[~mask]
        for variable in categorical:
            studies = kept.groupby(variable)["study_id"].nunique()
            for level in order_levels(kept[variable]):
                if studies[level] < MINIMUM_STUDIES_PER_LEVEL:
                    mask |= (data[variable] == level).to_numpy()
                    found.append((variable, level))
                    searching = True
    return mask, list(dict.fromkeys(found))


def _overlap_notes(units: _Units, spec: ModelSpecification, variables: Sequence[str]) -> list[str]:
    if spec.model != "aggregated":
        return []
    n_shared = int((units.data.groupby("sample_id").size() > 1).sum())
    if not n_shared:
        return []
    verb = "sample contributes" if n_shared == 1 else "samples contribute"
    return [
        f"{n_shared} {verb} one composite to each of several values of "
        f"{', '.join(variables)}; this model takes those composites as independent."
    ]


def _low_df_notes(
    coefficients: pd.DataFrame, heterogeneity: pd.DataFrame, spec: ModelSpecification
) -> list[str]:
    robust = spec.inference == "cr2"
    low = coefficients.loc[coefficients["df"] < MINIMUM_DF, "term"]
    notes = []
    if len(low):
        kind, source = ("robust ", " (Tipton, 2015)") if robust else ("", "")
        notes.append(
            f"Fewer than {MINIMUM_DF:.0f} {kind}degrees of freedom for {', '.join(low)}: "
            f"these p-values and intervals are not trustworthy{source}."
        )
    values = heterogeneity.set_index("parameter")["estimate"]
    if values.get("QM_df2", np.inf) < MINIMUM_DF:
        notes.append(
            f"The test of the moderators has fewer than {MINIMUM_DF:.0f} degrees of freedom "
            "in its denominator: too few studies stand behind it to trust its p-value."
        )
    return notes


def _coefficient_table(fit: PooledFit, terms: Sequence[str]) -> pd.DataFrame:
    rows = []
    for term, unit in zip(terms, np.eye(len(terms)), strict=True):
        e = fit.contrast(unit)
        df = np.nan if np.isinf(e.df) else e.df
        rows.append((term, e.value, e.se, e.statistic, df, e.p_value, e.ci_low, e.ci_high))
    return pd.DataFrame(rows, columns=COEFFICIENT_COLUMNS)


def _counts(data: pd.DataFrame) -> tuple[int, int, int, float]:
    n_total = data.groupby("sample_id")["n"].max().sum(min_count=1)
    return (
        data["study_id"].nunique(),
        data["sample_id"].nunique(),
        len(data),
        float(n_total),
    )


def _summary_row(
    level: str, data: pd.DataFrame, estimate: Estimate | None, value: float, metric: str
) -> tuple[object, ...]:
    if estimate is None:
        numbers = [value, np.nan, np.nan, np.nan, np.nan]
    else:
        e = estimate
        numbers = [e.value, e.ci_low, e.ci_high, e.pi_low, e.pi_high]
    return (level, *_counts(data), *reporting_scale(np.array(numbers), metric))


def _summary_table(
    fit: PooledFit,
    overall: PooledFit,
    design: Design,
    data: pd.DataFrame,
    tested: pd.DataFrame,
    apart: Sequence[tuple[str, str]],
    variables: Sequence[str],
    spec: ModelSpecification,
) -> pd.DataFrame:
    rows = [_summary_row("overall", data, overall.contrast(np.ones(1)), np.nan, spec.metric)]
    for level in design.levels:
        members = tested.loc[tested[level.moderator] == level.value]
        estimate = fit.contrast(level.contrast)
        rows.append(_summary_row(level.name, members, estimate, np.nan, spec.metric))
    rows += _apart_rows(data, apart, spec)
    return _with_integer_counts(pd.DataFrame(rows, columns=SUMMARY_COLUMNS))


def _apart_rows(
    data: pd.DataFrame, apart: Sequence[tuple[str, str]], spec: ModelSpecification
) -> list[tuple[object, ...]]:
    """Return summary rows of levels that are shown, not tested: composites without interval."""
    rows = []
    for variable, value in apart:
        members = data.loc[data[variable] == value]
        y, v = members["yi"].to_numpy(float), members["vi"].to_numpy(float)
        mean = aggregate_effects(y, v, np.zeros(len(members), dtype=int), spec.rho)
        name = f"{variable}={value}"
        rows.append(_summary_row(name, members, None, float(mean.y[0]), spec.metric))
    return rows


def _with_integer_counts(table: pd.DataFrame) -> pd.DataFrame:
    counts = ["k_studies", "k_samples", "k_effects", "n_total"]
    table[counts] = table[counts].astype("Int64")
    return table


def _heterogeneity_table(
    fit: PooledFit, null: PooledFit | None, contrasts: Array, spec: ModelSpecification
) -> pd.DataFrame:
    rows = [(name, *values) for name, values in fit.heterogeneity.items()]
    if null is not None and len(contrasts):
        missing = (np.nan, np.nan)
        if spec.model != "common_effect":
            explained = 100 * max(0.0, 1 - fit.tau2 / null.tau2) if null.tau2 > 0 else np.nan
            rows.append(("tau2_without_moderators", null.tau2, *missing))
            rows.append(("R2", explained, *missing))
        test = fit.test(contrasts)
        df2 = np.nan if np.isinf(test.df2) else test.df2
        rows += [
            ("QM", test.statistic, *missing),
            ("QM_df1", test.df1, *missing),
            ("QM_df2", df2, *missing),
            ("QM_p", test.p_value, *missing),
        ]
    return pd.DataFrame(rows, columns=HETEROGENEITY_COLUMNS)


def _included_table(
    units: _Units,
    fit: PooledFit,
    data: pd.DataFrame,
    apart_mask: NDArray[np.bool_],
    spec: ModelSpecification,
    variables: Sequence[str],
    labels: Mapping[str, str],
) -> pd.DataFrame:
    coded = units.data
    weights = 100 * fit.weights / fit.weights.sum()
    if apart_mask.any():
        apart = _units(data.loc[apart_mask], spec, variables).data
        coded = pd.concat([coded, apart], ignore_index=True)
        weights = np.concatenate([weights, np.full(len(apart), np.nan)])
    # effects of one study stand together, studies in the order of the sheet
    place = {study: i for i, study in enumerate(data["study_id"].unique())}
    order = np.argsort(coded["study_id"].map(place).to_numpy(), kind="stable")
    coded = coded.iloc[order].reset_index(drop=True)

    y = coded["yi"].to_numpy(float)
    half = stats.norm.isf((1 - spec.ci_level) / 2) * np.sqrt(coded["vi"].to_numpy(float))
    level = pd.Series("", index=coded.index, dtype="str")
    if len(variables) == 1 and not pd.api.types.is_numeric_dtype(coded[variables[0]]):
        level = variables[0] + "=" + coded[variables[0]].astype("str")
    computed = coded[["effect_id", "study_id", "sample_id", "yi", "vi", "n"]].assign(
        estimate=reporting_scale(y, spec.metric),
        ci_low=reporting_scale(y - half, spec.metric),
        ci_high=reporting_scale(y + half, spec.metric),
        weight=weights[order],
        label=[labels.get(study, study) for study in coded["study_id"]],
        level=level,
    )[INCLUDED_COLUMNS]
    extra = [c for c in [*CODE_COLUMNS, *variables] if included_name(c) not in INCLUDED_COLUMNS]
    moderators = coded[list(dict.fromkeys(extra))].rename(columns=included_name)
    return pd.concat([computed, moderators], axis=1)


def _line_table(
    fit: PooledFit, design: Design, data: pd.DataFrame, spec: ModelSpecification
) -> pd.DataFrame:
    """Return the fitted line over the range of a single numeric moderator."""
    if len(design.continuous) != 1 or design.levels:
        return pd.DataFrame(columns=LINE_COLUMNS)
    name = design.continuous[0]
    x = np.linspace(data[name].min(), data[name].max(), 61)
    estimates = [fit.contrast(row) for row in encode_values(design, pd.DataFrame({name: x}))]
    columns = [
        reporting_scale(np.array([getattr(e, part) for e in estimates]), spec.metric)
        for part in ("value", "ci_low", "ci_high")
    ]
    table = pd.DataFrame(dict(zip(LINE_COLUMNS[2:], columns, strict=True)))
    table.insert(0, "moderator", included_name(name))
    table.insert(1, "x", x)
    return table


def _failed(
    spec: ModelSpecification,
    data: pd.DataFrame,
    left_out: pd.DataFrame,
    reason: str,
    notes: Sequence[str],
    apart: Sequence[tuple[str, str]] = (),
) -> AnalysisResult:
    rows = [_summary_row("overall", data, None, np.nan, spec.metric)]
    rows += _apart_rows(data, apart, spec)
    return AnalysisResult(
        spec=spec,
        coefficients=pd.DataFrame(columns=COEFFICIENT_COLUMNS),
        summary=_with_integer_counts(pd.DataFrame(rows, columns=SUMMARY_COLUMNS)),
        heterogeneity=pd.DataFrame(columns=HETEROGENEITY_COLUMNS),
        included=pd.DataFrame(columns=[*INCLUDED_COLUMNS, *CODE_COLUMNS]),
        left_out=left_out,
        line=pd.DataFrame(columns=LINE_COLUMNS),
        warnings=tuple(notes),
        failure=reason,
    )


def _single_effect(
    data: pd.DataFrame,
    spec: ModelSpecification,
    left_out: pd.DataFrame,
    labels: Mapping[str, str],
    notes: Sequence[str],
) -> AnalysisResult:
    """Return a lone effect with its own confidence interval and no heterogeneity."""
    alone = replace(spec, model="common_effect", tau2=None, inference="z")
    units = _units(data, alone, ())
    fit = fit_pooled(units.y, units.v, np.ones((1, 1)), np.zeros(1, dtype=np.intp), alone)
    design = Design(np.ones((1, 1)), ("Intercept",))
    none = np.zeros(len(data), dtype=bool)
    note = "A single effect: it is shown with its own interval; nothing was pooled."
    return AnalysisResult(
        spec=alone,
        coefficients=_coefficient_table(fit, design.terms),
        summary=_summary_table(fit, fit, design, data, data, (), (), alone),
        heterogeneity=pd.DataFrame(columns=HETEROGENEITY_COLUMNS),
        included=_included_table(units, fit, data, none, alone, (), labels),
        left_out=left_out,
        line=pd.DataFrame(columns=LINE_COLUMNS),
        warnings=(*notes, note),
    )
