"""One analysis: effect sizes and a specification in, the contract's tables out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.codebook import Codebook, load_codebook
from alliance_meta.effect_sizes import aggregate_effects, correct_attenuation
from alliance_meta.formatting import format_count, join_words
from alliance_meta.models.comparisons import COMPARISON_COLUMNS, adjust_holm, compare_levels
from alliance_meta.models.design import Design, build_design, equality_contrasts
from alliance_meta.models.expressions import formula_variables, scale_variables
from alliance_meta.models.gate import (
    MINIMUM_DF,
    OMNIBUS,
    ROUNDING,
    Support,
    judge_support,
    withheld_reasons,
    withhold,
)
from alliance_meta.models.inflation import (
    INFLATION_COLUMNS,
    describe_inflation,
    term_groups,
    variance_inflation,
)
from alliance_meta.models.levels import (
    ArrangedLevels,
    arrange_levels,
    describe_merged,
    level_parents,
)
from alliance_meta.models.location_scale import LocationScaleFit, fit_location_scale
from alliance_meta.models.pooling import PooledFit, fit_pooled
from alliance_meta.models.result_tables import (
    CODE_COLUMNS,
    COEFFICIENT_COLUMNS,
    HETEROGENEITY_COLUMNS,
    INCLUDED_COLUMNS,
    LINE_COLUMNS,
    STUDY_COLUMNS,
    SUMMARY_COLUMNS,
    apart_rows,
    coefficient_table,
    estimate_table,
    heterogeneity_table,
    included_table,
    line_table,
    study_table,
    summary_row,
    summary_table,
    with_integer_counts,
)
from alliance_meta.models.selection import METRIC_COLUMNS, Selection, select_rows
from alliance_meta.models.specification import (
    MULTILEVEL_MODELS,
    InestimableError,
    ModelSpecification,
    SpecificationError,
)

Array = NDArray[np.float64]

SEVERAL = "several"
# how many effects a composite stands for
MERGED = "merged_effects"


@dataclass(frozen=True)
class FittedModel:
    """What was fitted, for tests that fit again.

    Attributes
    ----------
    data
        Rows of the model: effects, or composites.
    design, fit, null
        Design, its fit, and the fit without moderators (None where there are none).
    contrasts
        The test of all moderators, shape (q, p).
    effects
        The effects behind ``data``, which differ from it where it holds composites.
    groups
        Variance group of each row where variances differ between levels, shape (k,).
    scale
        Design of log τ² of a location–scale model.
    """

    data: pd.DataFrame
    design: Design
    fit: PooledFit
    null: PooledFit | None
    contrasts: Array
    effects: pd.DataFrame
    groups: NDArray[np.intp] | None = None
    scale: Design | None = None


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
    studies
        Shrunken true effects of the studies.
    comparisons
        Pairwise differences between levels.
    collinearity
        Variance inflation of each term of the formula.
    scale
        Coefficients of log τ² of a location–scale model, columns as ``coefficients``.
    references
        Categorical moderator -> reference level.
    continuous
        Numeric moderators.
    set_apart
        Names of levels that are shown but not tested.
    withheld
        Term (``omnibus`` for the moderators' test, ``scale`` for those of a location–scale
        model) -> why its p-value is withheld.
    level_df
        Row of ``summary`` -> degrees of freedom of its interval; infinite if normal.
    warnings
        Full sentences.
    failure
        Why nothing could be estimated; empty if something was.
    fitted
        The fit behind the tables.
    """

    spec: ModelSpecification
    coefficients: pd.DataFrame
    summary: pd.DataFrame
    heterogeneity: pd.DataFrame
    included: pd.DataFrame
    left_out: pd.DataFrame
    line: pd.DataFrame
    studies: pd.DataFrame
    comparisons: pd.DataFrame
    collinearity: pd.DataFrame
    scale: pd.DataFrame
    references: Mapping[str, str] = field(default_factory=dict)
    continuous: tuple[str, ...] = ()
    set_apart: tuple[str, ...] = ()
    withheld: Mapping[str, str] = field(default_factory=dict)
    level_df: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    failure: str = ""
    fitted: FittedModel | None = field(default=None, repr=False)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return name of the file without ending -> table."""
        return {
            "coefficients": self.coefficients,
            "summary": self.summary,
            "heterogeneity": self.heterogeneity,
            "included_effects": self.included,
            "left_out_effects": self.left_out,
            "prediction_line": self.line,
            "study_estimates": self.studies,
            "comparisons": self.comparisons,
            "collinearity": self.collinearity,
            "scale_coefficients": self.scale,
        }


@dataclass(frozen=True)
class Units:
    """What the model sees: effects, or one composite per sample and moderator value."""

    data: pd.DataFrame
    y: Array
    v: Array


@dataclass(frozen=True)
class _Fits:
    """The fits of one analysis; ``common`` is the one with one τ² where there are several."""

    units: Units
    design: Design
    fit: PooledFit
    overall: PooledFit
    null: PooledFit | None
    common: PooledFit | None
    contrasts: Array
    groups: tuple[str, ...] = ()
    group_of_rows: NDArray[np.intp] | None = None
    location_scale: LocationScaleFit | None = None
    scale_design: Design | None = None


def analyse(
    effects: pd.DataFrame,
    spec: ModelSpecification,
    *,
    labels: Mapping[str, str] | None = None,
    files: Sequence[str] | None = None,
    codebook: Codebook | None = None,
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
    codebook
        Knows the wider levels of rare ones (default: the codebook that ships).

    Returns
    -------
    AnalysisResult

    Raises
    ------
    SpecificationError
        If the specification names unknown columns or asks for something undefined.
    """
    labels = labels or {}
    variables = formula_variables(spec.moderators)
    needed = dict.fromkeys([*variables, *scale_variables(spec.scale)])
    selection, attenuation_notes, n_corrected = select_and_correct(effects, spec, files=files)
    data = selection.data
    dependent = bool(data["study_id"].duplicated().any() or data["sample_id"].duplicated().any())
    spec = spec.resolve(dependent=dependent)
    notes = [*attenuation_notes, *selection.notes]
    left_out = selection.left_out
    if spec.attenuation == "corrected" and not n_corrected:
        spec = replace(spec, attenuation="observed")
    if data.empty:
        reason = "No effect satisfies this analysis."
        if len(left_out):
            reason = f"No effect of this analysis has a value for {join_words(list(needed))}."
        return _failed(spec, data, left_out, reason, notes)

    arranged = arrange(data, spec, variables, codebook)
    data, apart = arranged.data, arranged.apart
    spec = replace(spec, reference=merged_references(spec.reference, arranged))
    notes += describe_merged(arranged.merged, (codebook or load_codebook()).level_label)
    tested = data.loc[~arranged.apart_mask]
    if tested.empty:
        reason = f"No level has effects from {_studies_words(spec)} or more, so nothing was tested."
        return _failed(spec, data, left_out, reason, notes, apart)
    try:
        fits = _fit_all(data, tested, spec, variables)
        heterogeneity = _heterogeneity(fits)
    except _TooFewError as error:
        if variables or spec.scale or len(data) != 1:
            return _failed(spec, data, left_out, str(error), notes, apart)
        return _single_effect(data, spec, left_out, labels, notes)
    except InestimableError as error:
        return _failed(spec, data, left_out, _sentence(error), notes, apart)

    fit, design = fits.fit, fits.design
    notes += fit.notes
    if dependent and spec.model in ("common_effect", "random_effects") and not fit.robust:
        notes.append(
            "Several effects of one study or sample enter as if they were independent, which makes "
            "intervals too narrow; the model che takes their dependence into account."
        )
    notes += _overlap_notes(fits.units, spec, list(needed))
    notes += _boundary_notes(fit, fits.groups)
    if variables and len(design.terms) == 1:
        notes.append(
            f"Only one level has effects from {_studies_words(spec)} or more: nothing to compare."
        )
    notes += _apart_notes(data, apart, spec, design)
    gate = _Gate.of(fits)
    coefficients, heterogeneity, withheld = gate.apply(
        coefficient_table(fit, design.terms), heterogeneity
    )
    notes += _low_df_notes(coefficients, fits)
    if not coefficients["se"].gt(0).all():
        notes.append(
            "The effects do not differ beyond the model, so that some standard errors are zero "
            "and no interval or test can be given for them."
        )
    comparisons = gate.compare_levels()
    collinearity = _collinearity(fit, design)
    notes += describe_inflation(collinearity)
    rows_apart = (
        make_units(data.loc[arranged.apart_mask], spec, variables).data if apart else data[:0]
    )
    lone_levels = gate.lone_levels
    notes += [f"{name} has effects from one study only: shown, not tested." for name in lone_levels]
    separate = {name.partition("=")[2]: i for i, name in enumerate(fits.groups)}
    summary = summary_table(fit, fits.overall, design, data, tested, apart, spec, separate)
    intervals = ["ci_low", "ci_high", "pi_low", "pi_high"]
    summary.loc[summary["level"].isin(lone_levels), intervals] = np.nan
    scale = _scale_table(fits)
    if "scale" in withheld:
        scale["p_value"] = np.nan
    return AnalysisResult(
        spec=spec,
        coefficients=coefficients,
        summary=summary,
        heterogeneity=heterogeneity,
        included=included_table(
            fits.units.data,
            fit,
            rows_apart,
            list(data["study_id"].unique()),
            spec,
            variables,
            labels,
        ),
        left_out=left_out,
        line=line_table(fit, design, fits.units.data, spec),
        studies=study_table(fits.units.data, fit, design.X, labels, fits.groups),
        comparisons=comparisons,
        collinearity=collinearity,
        scale=scale,
        references=dict(design.references or {}),
        continuous=design.continuous,
        set_apart=(*(f"{variable}={value}" for variable, value in apart), *lone_levels),
        withheld=withheld,
        level_df={
            "overall": fits.overall.contrast(np.ones(1)).df,
            **{level.name: fit.contrast(level.contrast).df for level in design.levels},
        },
        warnings=tuple(notes),
        fitted=FittedModel(
            fits.units.data,
            design,
            fit,
            fits.null,
            fits.contrasts,
            (tested if variables or spec.scale else data).reset_index(drop=True),
            fits.group_of_rows,
            fits.scale_design,
        ),
    )


def select_and_correct(
    effects: pd.DataFrame, spec: ModelSpecification, *, files: Sequence[str] | None = None
) -> tuple[Selection, list[str], int]:
    """Return the rows of an analysis, corrected for attenuation where it asks for that.

    Rows are selected by what was observed, so that both versions are of the same effects.

    Parameters
    ----------
    effects, spec, files
        As for ``analyse``.

    Returns
    -------
    selection, sentences, n_corrected
        What enters, how it was corrected, and how many effects that changed.
    """
    needed = dict.fromkeys([*formula_variables(spec.moderators), *scale_variables(spec.scale)])
    selection = select_rows(effects, spec, list(needed), files=files)
    if spec.attenuation == "observed":
        return selection, [], 0
    correction = correct_attenuation(effects, assumed=spec.reliability)
    found = correction.among(selection.data["effect_id"])
    y_column, v_column = METRIC_COLUMNS[spec.metric]
    values = correction.effects.set_index("effect_id").loc[selection.data["effect_id"]]
    data = selection.data.copy()
    for column in ("r", "vr", "z", "vz", "flags"):
        data[column] = values[column].to_numpy()
    data["yi"], data["vi"] = data[y_column], data[v_column]
    data = data.loc[~data["effect_id"].isin(found.left_out["effect_id"])].reset_index(drop=True)
    left_out = pd.concat([selection.left_out, found.left_out], ignore_index=True)
    corrected = replace(selection, data=data, left_out=left_out)
    return corrected, list(found.sentences), found.n_corrected


def arrange(
    data: pd.DataFrame,
    spec: ModelSpecification,
    variables: Sequence[str],
    codebook: Codebook | None = None,
) -> ArrangedLevels:
    """Return the rows with rare levels kept, pooled or set apart, as the specification says.

    Where keeping them leaves fewer independent studies than coefficients, they are set apart.

    Parameters
    ----------
    data, spec
        Rows that enter and the specification.
    variables
        Moderators.
    codebook
        Knows the wider levels (default: the codebook that ships).
    """
    categorical = [v for v in variables if not pd.api.types.is_numeric_dtype(data[v])]
    n_levels = sum(data[v].nunique() - 1 for v in categorical)
    keep = spec.rare_levels == "keep" and n_levels + 1 < data["study_id"].nunique()
    pooling = spec.rare_levels == "pool"
    return arrange_levels(
        data,
        variables,
        minimum_studies=1 if keep else spec.minimum_studies,
        parents=level_parents(codebook or load_codebook(), variables) if pooling else {},
    )


def merged_references(reference: Mapping[str, str], arranged: ArrangedLevels) -> dict[str, str]:
    """Return reference levels under the names that pooling left them with."""
    into = {(m.variable, m.level): m.into for m in arranged.merged}
    return {name: into.get((name, level), level) for name, level in reference.items()}


def _sentence(error: SpecificationError) -> str:
    text = "; ".join(error.problems).rstrip(".")
    return text[:1].upper() + text[1:] + "."


class _TooFewError(InestimableError):
    """Fewer independent units than the model needs."""


def _fit_all(
    data: pd.DataFrame, tested: pd.DataFrame, spec: ModelSpecification, variables: Sequence[str]
) -> _Fits:
    """Fit the model, its mean, and what it is compared with."""
    common_spec = replace(spec, separate_tau2=False, scale="")
    overall_units = make_units(data, spec, ())
    overall = fit_units(overall_units, np.ones((len(overall_units.y), 1)), common_spec)
    if not variables and not spec.scale:
        design = build_design(overall_units.data, "", {})
        return _Fits(overall_units, design, overall, overall, None, None, np.empty((0, 1)))
    units = make_units(tested, spec, [*variables, *scale_variables(spec.scale)])
    design = build_design(units.data, spec.moderators, spec.reference)
    contrasts = equality_contrasts(design.X)
    null = fit_units(units, np.ones((len(units.y), 1)), common_spec) if variables else None
    if spec.scale:
        scale = build_design(units.data, spec.scale, spec.reference, setting="scale")
        equality_contrasts(scale.X, setting="scale")
        fit, fitted = fit_scale(units, design.X, scale.X, spec)
        if not variables:
            overall = fit
        return _Fits(
            units,
            design,
            fit,
            overall,
            null,
            None,
            contrasts,
            location_scale=fitted,
            scale_design=scale,
        )
    common, groups, codes = None, tuple[str, ...](), None
    if spec.separate_tau2:
        moderator, levels = variance_levels(design)
        groups = tuple(f"{moderator}={level}" for level in levels)
        number = {level: i for i, level in enumerate(levels)}
        codes = np.asarray(units.data[moderator].map(number), dtype=np.intp)
        fit = fit_units(units, design.X, spec, groups=codes)
        # the same random intercepts with equal variances, so that the models are nested
        common = fit_units(units, design.X, common_spec, cells=codes)
    else:
        fit = fit_units(units, design.X, spec)
    return _Fits(units, design, fit, overall, null, common, contrasts, groups, codes)


def variance_levels(design: Design) -> tuple[str, list[str]]:
    """Return the moderator whose levels have variances of their own, and its levels.

    Raises
    ------
    SpecificationError
        If the formula has not exactly one categorical moderator.
    """
    moderators = list(dict.fromkeys(level.moderator for level in design.levels))
    if len(moderators) != 1:
        raise SpecificationError(
            f"separate_tau2 needs one categorical moderator, and the formula has {len(moderators)}",
            setting="separate_tau2",
        )
    return moderators[0], [level.value for level in design.levels]


def fit_units(
    units: Units,
    X: Array,
    spec: ModelSpecification,
    *,
    groups: NDArray[np.intp] | None = None,
    cells: NDArray[np.intp] | None = None,
) -> PooledFit:
    """Fit the model to units.

    Parameters
    ----------
    units, X
        Rows of the model and their design, shape (k, p).
    spec
        A resolved specification.
    groups, cells
        Variance group of each row, for ``separate_tau2``, and cells that share no random
        intercept, shape (k,).

    Raises
    ------
    InestimableError
        If there are no more independent units than coefficients, or variances do not settle.
    """
    clusters = pd.factorize(units.data["study_id"])[0]
    n_studies = int(np.max(clusters)) + 1
    by_study = spec.inference == "cr2" or spec.model in MULTILEVEL_MODELS
    n_units = n_studies if by_study else len(units.y)
    noun = ("study", "studies") if by_study else ("effect", "effects")
    if n_units <= X.shape[1]:
        units_words = format_count(n_units, f"independent {noun[0]}", f"independent {noun[1]}")
        coefficients = format_count(X.shape[1], "coefficient")
        raise _TooFewError(f"{units_words} cannot support {coefficients}.")
    samples = pd.factorize(units.data["sample_id"])[0]
    return fit_pooled(
        units.y, units.v, X, clusters, spec, samples=samples, groups=groups, cells=cells
    )


def fit_scale(
    units: Units, X: Array, Z: Array, spec: ModelSpecification
) -> tuple[PooledFit, LocationScaleFit]:
    """Fit a location–scale model and return it in the shape of the other fits too.

    Parameters
    ----------
    units, X
        Rows of the model and their design, shape (k, p).
    Z
        Design of log τ², shape (k, q).
    spec
        A resolved specification.

    Raises
    ------
    InestimableError
        If there are no more effects than coefficients, or the likelihood has no maximum.
    """
    if len(units.y) <= X.shape[1]:
        words = format_count(len(units.y), "independent effect")
        coefficients = format_count(X.shape[1], "coefficient")
        raise _TooFewError(f"{words} cannot support {coefficients}.")
    fitted = fit_location_scale(
        units.y,
        units.v,
        X,
        Z,
        restricted=spec.tau2 == "REML",
        inference=str(spec.inference),
        ci_level=spec.ci_level,
    )

    def describe() -> dict[str, tuple[float, float, float]]:
        values = {
            "Q": fitted.Q,
            "Q_df": float(fitted.Q_df),
            "Q_p": fitted.Q_p,
            "log_likelihood": fitted.log_likelihood,
            "AIC": fitted.aic,
            "AICc": fitted.aicc,
            "QS": fitted.scale_test.statistic,
            "QS_df1": fitted.scale_test.df1,
            "QS_df2": np.nan if np.isinf(fitted.scale_test.df2) else fitted.scale_test.df2,
            "QS_p": fitted.scale_test.p_value,
            "LRT_scale": fitted.likelihood_ratio.statistic,
            "LRT_scale_df": fitted.likelihood_ratio.df,
            "LRT_scale_p": fitted.likelihood_ratio.p_value,
        }
        return {name: (value, np.nan, np.nan) for name, value in values.items()}

    part = fitted.location
    pooled = PooledFit(
        spec,
        part.basis,
        part.gamma,
        part.gamma_covariance,
        part.gamma_covariance,
        fitted.weights,
        np.nan,
        fitted.tau2,
        len(units.y) - X.shape[1],
        len(units.y),
        None,
        describe=describe,
    )
    return pooled, fitted


def _heterogeneity(fits: _Fits) -> pd.DataFrame:
    return heterogeneity_table(fits.fit, fits.null, fits.common, fits.contrasts, fits.groups)


def _scale_table(fits: _Fits) -> pd.DataFrame:
    if fits.location_scale is None or fits.scale_design is None:
        return pd.DataFrame(columns=COEFFICIENT_COLUMNS)
    return estimate_table(fits.scale_design.terms, fits.location_scale.scale.estimates())


def tested_terms(design: Design, contrasts: Array) -> dict[str, bool]:
    """Return which terms belong to moderators; without an intercept each is a mean, and none."""
    intercept = (design.X == 1).all(axis=0)
    if not len(contrasts) or not intercept.any():
        return dict.fromkeys(design.terms, False)
    return {term: not is_one for term, is_one in zip(design.terms, intercept, strict=True)}


def independent_clusters(fit: PooledFit, data: pd.DataFrame) -> NDArray[np.intp]:
    """Return the number of each row's independent study: studies that share a sample are one.

    Only multilevel models join such studies; the others cluster on the study.
    """
    if fit.components is not None and fit.spec.model in MULTILEVEL_MODELS:
        return fit.components.likelihood.structure.block_of_rows()
    return pd.factorize(data["study_id"])[0]


@dataclass(frozen=True)
class _Gate:
    """Which tests the studies of some fits can carry."""

    fits: _Fits
    clusters: NDArray[np.intp]
    support: Support
    scale_support: Support | None

    @classmethod
    def of(cls, fits: _Fits) -> "_Gate":
        clusters = independent_clusters(fits.fit, fits.units.data)

        def judge(X: Array, n_tested: int) -> Support:
            return judge_support(np.linalg.qr(X)[0], clusters, n_tested)

        scale = fits.scale_design
        return cls(
            fits,
            clusters,
            judge(fits.design.X, len(fits.contrasts)),
            None if scale is None else judge(scale.X, scale.X.shape[1] - 1),
        )

    def _lone(self, contrasts: Array) -> bool:
        return self.support.rests_on_one_study(self.fits.fit.to_basis(contrasts))

    @property
    def lone_levels(self) -> list[str]:
        """Names of levels whose effects all come from one independent study."""
        data = self.fits.units.data
        return [
            level.name
            for level in self.fits.design.levels
            if len(np.unique(self.clusters[(data[level.moderator] == level.value).to_numpy()])) == 1
        ]

    def apply(
        self, coefficients: pd.DataFrame, heterogeneity: pd.DataFrame
    ) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
        """Return both tables without p-values that are withheld, and why."""
        design, contrasts = self.fits.design, self.fits.contrasts
        unit = np.eye(len(design.terms))
        moderated = tested_terms(design, contrasts)
        # a mean depends on where moderators are centred; it is lone if its reference level is
        means = not any(moderated.values())
        lone = [
            term
            for term, row in zip(design.terms, unit, strict=True)
            if len(contrasts) and (means or moderated[term]) and self._lone(row)
        ]
        references = {f"{name}={value}" for name, value in (design.references or {}).items()}
        if references & set(self.lone_levels):
            lone = list(design.terms)
        if len(contrasts) and self._lone(contrasts):
            lone.append(OMNIBUS)
        reasons = withheld_reasons(
            coefficients,
            heterogeneity,
            tested=moderated,
            lone=lone,
            support=self.support,
            robust=self.fits.fit.robust is not None,
        )
        if (why := self._scale_reason()) is not None:
            reasons["scale"] = why
            tests = heterogeneity["parameter"].isin(["QS_p", "LRT_scale_p"])
            heterogeneity = heterogeneity.assign(estimate=heterogeneity["estimate"].mask(tests))
        return *withhold(coefficients, heterogeneity, reasons), reasons

    def _scale_reason(self) -> str | None:
        support = self.scale_support
        if support is None or not support.n_tested:
            return None
        if support.thin:
            return support.thin
        tests = np.eye(support.n_tested + 1)[1:]
        assert self.fits.scale_design is not None
        basis = np.linalg.qr(self.fits.scale_design.X)[1]
        lone = support.rests_on_one_study(np.linalg.solve(basis.T, tests.T).T)
        return "a single study decides it" if lone else None

    def compare_levels(self) -> pd.DataFrame:
        """Return pairwise comparisons; those withheld do not count in Holm's adjustment."""
        fit, levels = self.fits.fit, {level.name: level for level in self.fits.design.levels}
        table = compare_levels(self.fits.design.levels, fit.contrast)
        low = (table["df"].to_numpy(float) < MINIMUM_DF - ROUNDING) & (fit.robust is not None)
        pairs = zip(table["moderator"], table["level_a"], table["level_b"], strict=True)
        lone = [
            self._lone(levels[f"{name}={a}"].contrast - levels[f"{name}={b}"].contrast)
            for name, a, b in pairs
        ]
        table.loc[low | np.array(lone, dtype=np.bool_) | bool(self.support.thin), "p_value"] = (
            np.nan
        )
        for rows in table.groupby("moderator").indices.values():
            p_values = table["p_value"].to_numpy(float)[rows]
            table.loc[table.index[rows], "p_holm"] = adjust_holm(p_values)
        return table


def _collinearity(fit: PooledFit, design: Design) -> pd.DataFrame:
    """Return the variance inflation of each term of the formula, where there are several."""
    if design.specification is None or len(design.terms) < 3 or "Intercept" not in design.terms:
        return pd.DataFrame(columns=INFLATION_COLUMNS)
    inverse = np.linalg.inv(fit.basis)
    covariance = inverse @ fit.model_covariance @ inverse.T
    return variance_inflation(covariance, design.terms, term_groups(design))


def _boundary_notes(fit: PooledFit, groups: Sequence[str]) -> list[str]:
    """Say which variances were estimated as zero, and which could not be estimated."""
    parts = fit.components
    if parts is None:
        return []
    names = [f" of {name}" for name in groups] or [""]
    multilevel = fit.spec.model in MULTILEVEL_MODELS
    kinds = ("between studies", "within studies") if multilevel else ("between studies",)
    notes = []
    for i, kind in enumerate(kinds):
        for j, name in enumerate(names):
            position = i * len(names) + j
            if not parts.free[position]:
                lacking = (
                    "there are not two studies"
                    if i == 0
                    else "no study brings two such effects or more"
                    if groups
                    else "no study brings two effects or more"
                )
                other = (1 - i) * len(names) + j
                both = ", and the other variance stands for both" if parts.free[other] else ""
                notes.append(
                    f"The variance {kind}{name} cannot be estimated, because {lacking}; it was "
                    f"taken as zero{both}."
                )
            elif parts.theta[position] == 0:
                notes.append(
                    f"The variance {kind}{name} was estimated as zero, the boundary of what is "
                    "possible; its interval shows how large it may still be."
                )
    return notes


def make_units(data: pd.DataFrame, spec: ModelSpecification, variables: Sequence[str]) -> Units:
    """Return the rows of the model; for "aggregated" composites per sample and moderator value.

    Parameters
    ----------
    data
        Rows that enter.
    spec
        Its ``model`` and ``rho`` are used.
    variables
        Moderators.
    """
    y, v = data["yi"].to_numpy(float), data["vi"].to_numpy(float)
    if spec.model != "aggregated":
        return Units(data.reset_index(drop=True), y, v)
    keys = ["sample_id", *variables]
    codes = data.groupby(keys, sort=False, dropna=False).ngroup().to_numpy()
    composite = aggregate_effects(y, v, codes, spec.rho)
    rows = data.groupby(codes, sort=False)
    merged = data.iloc[composite.first_index].reset_index(drop=True)
    # composites are numbered by first appearance, as the groups are
    sizes = rows.size().to_numpy()
    several = sizes > 1
    merged[MERGED] = sizes
    counts = "(" + pd.Series(sizes).astype("str") + " effects)"
    name = merged["sample_id"].astype("str") + " " + counts
    merged["effect_id"] = merged["effect_id"].where(~several, name)
    merged["n"] = merged["n"].where(~several, rows["n"].max().to_numpy())
    for column in CODE_COLUMNS:
        differs = rows[column].nunique(dropna=False).to_numpy() > 1
        fill = np.nan if pd.api.types.is_numeric_dtype(merged[column]) else SEVERAL
        merged[column] = merged[column].where(~differs | merged[column].isna(), fill)
    merged["yi"], merged["vi"] = composite.y, composite.v
    return Units(merged, composite.y, composite.v)


def _studies_words(spec: ModelSpecification) -> str:
    return "two studies" if spec.minimum_studies == 2 else f"{spec.minimum_studies} studies"


def _apart_notes(
    data: pd.DataFrame,
    apart: Sequence[tuple[str, str]],
    spec: ModelSpecification,
    design: Design,
) -> list[str]:
    notes = []
    for variable, value in apart:
        if spec.reference.get(variable) == value and variable in (design.references or {}):
            notes.append(
                f"The reference level asked for, {value}, is not tested; "
                f"{(design.references or {})[variable]} takes its place."
            )
        studies = data.loc[data[variable] == value, "study_id"].nunique()
        left = "" if studies < spec.minimum_studies else " left beside the other such levels"
        notes.append(
            f"{variable}={value} has effects from fewer than {_studies_words(spec)}{left}: "
            "shown, not tested."
        )
    return notes


def _overlap_notes(units: Units, spec: ModelSpecification, variables: Sequence[str]) -> list[str]:
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


def _low_df_notes(coefficients: pd.DataFrame, fits: _Fits) -> list[str]:
    """Warn of intervals on few degrees of freedom."""
    low = list(coefficients.loc[coefficients["df"] < MINIMUM_DF - ROUNDING, "term"])
    levels = [
        level.name
        for level in fits.design.levels
        if fits.fit.contrast(level.contrast).df < MINIMUM_DF - ROUNDING
    ]
    if not low and not levels:
        return []
    robust = fits.fit.robust is not None
    kind, source = ("robust ", " (Tipton, 2015)") if robust else ("", "")
    intervals = "its interval is" if len(low) + len(levels) == 1 else "their intervals are"
    mean = "the mean of " if len(levels) == 1 else "the means of "
    parts = [", ".join(low), mean + ", ".join(levels)]
    names = " and for ".join(
        part for part, found in zip(parts, (low, levels), strict=True) if found
    )
    return [
        f"Fewer than {MINIMUM_DF:.0f} {kind}degrees of freedom for {names}: "
        f"{intervals} not trustworthy{source}."
    ]


def _failed(
    spec: ModelSpecification,
    data: pd.DataFrame,
    left_out: pd.DataFrame,
    reason: str,
    notes: Sequence[str],
    apart: Sequence[tuple[str, str]] = (),
) -> AnalysisResult:
    rows = [summary_row("overall", data, None, np.nan, spec.metric)]
    rows += apart_rows(data, apart, spec)
    return AnalysisResult(
        spec=spec,
        coefficients=pd.DataFrame(columns=COEFFICIENT_COLUMNS),
        summary=with_integer_counts(pd.DataFrame(rows, columns=SUMMARY_COLUMNS)),
        heterogeneity=pd.DataFrame(columns=HETEROGENEITY_COLUMNS),
        included=pd.DataFrame(columns=[*INCLUDED_COLUMNS, *CODE_COLUMNS]),
        left_out=left_out,
        line=pd.DataFrame(columns=LINE_COLUMNS),
        studies=pd.DataFrame(columns=STUDY_COLUMNS),
        comparisons=pd.DataFrame(columns=COMPARISON_COLUMNS),
        collinearity=pd.DataFrame(columns=INFLATION_COLUMNS),
        scale=pd.DataFrame(columns=COEFFICIENT_COLUMNS),
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
    alone = replace(
        spec, model="common_effect", tau2=None, inference="z", separate_tau2=False, scale=""
    )
    units = make_units(data, alone, ())
    fit = fit_pooled(units.y, units.v, np.ones((1, 1)), np.zeros(1, dtype=np.intp), alone)
    design = Design(np.ones((1, 1)), ("Intercept",))
    note = "A single effect: it is shown with its own interval; nothing was pooled."
    return AnalysisResult(
        spec=alone,
        coefficients=coefficient_table(fit, design.terms),
        summary=summary_table(fit, fit, design, data, data, (), alone),
        heterogeneity=pd.DataFrame(columns=HETEROGENEITY_COLUMNS),
        included=included_table(units.data, fit, data[:0], [*data["study_id"]], alone, (), labels),
        left_out=left_out,
        line=pd.DataFrame(columns=LINE_COLUMNS),
        studies=pd.DataFrame(columns=STUDY_COLUMNS),
        comparisons=pd.DataFrame(columns=COMPARISON_COLUMNS),
        collinearity=pd.DataFrame(columns=INFLATION_COLUMNS),
        scale=pd.DataFrame(columns=COEFFICIENT_COLUMNS),
        warnings=(*notes, note),
    )
