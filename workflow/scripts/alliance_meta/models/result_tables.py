"""Tables of one analysis, in the columns of the file contract."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from alliance_meta.effect_sizes import aggregate_effects
from alliance_meta.models.design import Design, encode_values
from alliance_meta.models.pooling import Estimate, PooledFit
from alliance_meta.models.specification import MULTILEVEL_MODELS, ModelSpecification

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
STUDY_COLUMNS = ["study_id", "label", "k_effects", "estimate", "se", "ci_low", "ci_high", "level"]
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


def included_name(column: str) -> str:
    """Return the name of a coded column in ``included_effects.csv``.

    A reviewer's own column called, say, ``weight`` gives way to the weight in the model.
    """
    return f"coded_{column}" if column in COMPUTED_COLUMNS else column


def reporting_scale(values: Array | float, metric: str) -> Array:
    """Transform from the analysis metric to the reporting scale (r for Fisher's z)."""
    array = np.asarray(values, dtype=float)
    return np.tanh(array) if metric == "fisher_z" else array


def coefficient_table(fit: PooledFit, terms: Sequence[str]) -> pd.DataFrame:
    """Return ``coefficients.csv``; df is empty for a normal reference."""
    return estimate_table(terms, [fit.contrast(unit) for unit in np.eye(len(terms))])


def estimate_table(terms: Sequence[str], estimates: Sequence[Estimate]) -> pd.DataFrame:
    """Return a table of named estimates in the columns of ``coefficients.csv``."""
    rows = []
    for term, e in zip(terms, estimates, strict=True):
        df = np.nan if np.isinf(e.df) else e.df
        rows.append((term, e.value, e.se, e.statistic, df, e.p_value, e.ci_low, e.ci_high))
    return pd.DataFrame(rows, columns=COEFFICIENT_COLUMNS)


def counts(data: pd.DataFrame) -> tuple[int, int, int, float]:
    """Return numbers of studies, samples, effects, and persons (each sample once)."""
    n_total = data.groupby("sample_id")["n"].max().sum(min_count=1)
    return (
        data["study_id"].nunique(),
        data["sample_id"].nunique(),
        len(data),
        float(n_total),
    )


def summary_row(
    level: str, data: pd.DataFrame, estimate: Estimate | None, value: float, metric: str
) -> tuple[object, ...]:
    """Return one row of ``summary.csv``; without an estimate the bare value."""
    if estimate is None:
        numbers = [value, np.nan, np.nan, np.nan, np.nan]
    else:
        e = estimate
        numbers = [e.value, e.ci_low, e.ci_high, e.pi_low, e.pi_high]
    return (level, *counts(data), *reporting_scale(np.array(numbers), metric))


def summary_table(
    fit: PooledFit,
    overall: PooledFit,
    design: Design,
    data: pd.DataFrame,
    tested: pd.DataFrame,
    apart: Sequence[tuple[str, str]],
    spec: ModelSpecification,
    separate: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """Return ``summary.csv``: the overall mean, tested levels, levels set apart."""
    rows = [summary_row("overall", data, overall.contrast(np.ones(1)), np.nan, spec.metric)]
    for level in design.levels:
        members = tested.loc[tested[level.moderator] == level.value]
        group = separate.get(level.value) if separate else None
        estimate = fit.contrast(level.contrast, group)
        rows.append(summary_row(level.name, members, estimate, np.nan, spec.metric))
    rows += apart_rows(data, apart, spec)
    return with_integer_counts(pd.DataFrame(rows, columns=SUMMARY_COLUMNS))


def apart_rows(
    data: pd.DataFrame, apart: Sequence[tuple[str, str]], spec: ModelSpecification
) -> list[tuple[object, ...]]:
    """Return summary rows of levels that are shown, not tested: composites without interval."""
    rows = []
    for variable, value in apart:
        members = data.loc[data[variable] == value]
        y, v = members["yi"].to_numpy(float), members["vi"].to_numpy(float)
        mean = aggregate_effects(y, v, np.zeros(len(members), dtype=int), spec.rho)
        name = f"{variable}={value}"
        rows.append(summary_row(name, members, None, float(mean.y[0]), spec.metric))
    return rows


def with_integer_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Return ``summary.csv`` with counts as whole numbers that may be empty."""
    counts = ["k_studies", "k_samples", "k_effects", "n_total"]
    table[counts] = table[counts].astype("Int64")
    return table


def heterogeneity_table(
    fit: PooledFit,
    null: PooledFit | None,
    common: PooledFit | None,
    contrasts: Array,
    groups: Sequence[str] = (),
) -> pd.DataFrame:
    """Return ``heterogeneity.csv``.

    Parameters
    ----------
    fit, null
        The fit, and the one of the same rows without moderators.
    common
        The fit with one variance for all levels, where ``fit`` has separate ones.
    contrasts
        The moderators' test, shape (q, p).
    groups
        Names of the variance groups, as ``summary.csv`` prints levels.
    """
    rows = []
    for name, values in fit.heterogeneity.items():
        stem, bracket, number = name.partition("[")
        label = f"{stem}[{groups[int(number.rstrip(']'))]}]" if bracket else name
        rows.append((label, *values))
    missing = (np.nan, np.nan)
    if null is not None and len(contrasts):
        if fit.spec.model != "common_effect" and common is None and np.isfinite(fit.tau2):
            rows += [(name, value, *missing) for name, value in _explained(fit, null).items()]
        test = fit.test(contrasts)
        df2 = np.nan if np.isinf(test.df2) else test.df2
        rows += [
            ("QM", test.statistic, *missing),
            ("QM_df1", test.df1, *missing),
            ("QM_df2", df2, *missing),
            ("QM_p", test.p_value, *missing),
        ]
    if common is not None:
        gain = fit.heterogeneity["log_likelihood"][0] - common.heterogeneity["log_likelihood"][0]
        df = _n_variances(fit) - _n_variances(common)
        p_value = float(stats.chi2.sf(2 * gain, df)) if df > 0 else np.nan
        rows += [
            ("LRT_separate_tau2", max(2 * gain, 0.0), *missing),
            ("LRT_separate_tau2_df", float(df), *missing),
            ("LRT_separate_tau2_p", p_value, *missing),
        ]
    return pd.DataFrame(rows, columns=HETEROGENEITY_COLUMNS)


def _explained(fit: PooledFit, null: PooledFit) -> dict[str, float]:
    """Return variances without moderators and the share that the moderators explain."""

    def share(now: float, before: float) -> float:
        return 100 * max(0.0, 1 - now / before) if before > 0 else np.nan

    rows = {"tau2_without_moderators": null.tau2, "R2": share(fit.tau2, null.tau2)}
    if fit.components is not None and null.components is not None:
        for name in ("between", "within"):
            now, before = getattr(fit.components, name)[0], getattr(null.components, name)[0]
            rows[f"tau2_{name}_without_moderators"] = float(before)
            rows[f"R2_{name}"] = share(float(now), float(before))
    return rows


def _n_variances(fit: PooledFit) -> int:
    if fit.components is None:
        return 1
    return int(fit.components.free.sum())


def included_table(
    coded: pd.DataFrame,
    fit: PooledFit,
    apart: pd.DataFrame,
    studies: Sequence[str],
    spec: ModelSpecification,
    variables: Sequence[str],
    labels: Mapping[str, str],
) -> pd.DataFrame:
    """Return ``included_effects.csv``.

    Parameters
    ----------
    coded
        Rows of the model.
    fit
        Gives their weights, in percent of the total.
    apart
        Rows of levels that are shown, not tested; they have no weight.
    studies
        Study names in the order of the sheet.
    spec, variables, labels
        Metric and level, moderators, and study -> label.
    """
    weights = 100 * fit.weights / fit.weights.sum()
    if len(apart):
        coded = pd.concat([coded, apart], ignore_index=True)
        weights = np.concatenate([weights, np.full(len(apart), np.nan)])
    # effects of one study stand together, studies in the order of the sheet
    place = {study: i for i, study in enumerate(studies)}
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


def study_table(
    data: pd.DataFrame,
    fit: PooledFit,
    X: Array,
    labels: Mapping[str, str],
    groups: Sequence[str] = (),
) -> pd.DataFrame:
    """Return ``study_estimates.csv``: shrunken true effects, sorted by study.

    Parameters
    ----------
    data
        Rows of the model.
    fit, X
        The fit and its design, shape (k, p).
    labels
        Study -> label.
    groups
        Names of the variance groups; a study then has a row for each.

    Notes
    -----
    Best linear unbiased predictions; for a univariate model of every effect
    (Raudenbush & Bryk 1985), for a multilevel model of every study's mean. Intervals are
    normal, or t with t and Knapp–Hartung inference. Empty where a model has none.
    """
    spec = fit.spec
    if spec.model in ("common_effect", "rve") or not len(fit.group_tau2):
        return pd.DataFrame(columns=STUDY_COLUMNS)
    names = data["study_id"].to_numpy()
    level = np.full(len(data), "", dtype=object)
    if spec.model in MULTILEVEL_MODELS and fit.components is not None:
        number, group, value, se = fit.components.study_estimates()
        study = pd.unique(names)[number]
        sizes = np.ones(len(study), dtype=int)
        if groups:
            level = np.array(groups, dtype=object)[group]
            column, _, _ = groups[0].partition("=")
            held = data.groupby([data["study_id"], column + "=" + data[column]]).size()
            sizes = held.loc[list(zip(study, level, strict=True))].to_numpy()
        else:
            level = np.full(len(study), "", dtype=object)
            sizes = data.groupby("study_id").size().loc[study].to_numpy()
    else:
        study = names
        sizes = data.get("merged_effects", pd.Series(1, index=data.index)).to_numpy(int)
        value, se = fit.shrunken_effects(data["yi"].to_numpy(float), data["vi"].to_numpy(float), X)
    df = fit.df_residual if spec.inference not in ("z", "cr2") else np.inf
    half = stats.t.isf((1 - spec.ci_level) / 2, df) * se
    table = pd.DataFrame(
        {
            "study_id": study,
            "label": [labels.get(name, name) for name in study],
            "k_effects": sizes,
            "estimate": reporting_scale(value, spec.metric),
            "se": se,
            "ci_low": reporting_scale(value - half, spec.metric),
            "ci_high": reporting_scale(value + half, spec.metric),
            "level": level,
        }
    )
    place = {name: i for i, name in enumerate(pd.unique(names))}
    order = np.argsort(table["study_id"].map(place).to_numpy(), kind="stable")
    return table.iloc[order].reset_index(drop=True)


def line_table(
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
