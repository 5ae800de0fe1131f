"""What stands beside an analysis: resampling, attenuation, psychometric and Bayesian read-outs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.codebook import Codebook
from alliance_meta.effect_sizes import Attenuation, correct_attenuation, sweep_assumed
from alliance_meta.formatting import (
    format_count,
    format_effect,
    format_interval,
    format_number,
    join_words,
)
from alliance_meta.models.analysis import (
    MERGED,
    AnalysisResult,
    analyse,
    fit_units,
    make_units,
    select_and_correct,
)
from alliance_meta.models.bayes import Marginal, Posterior, TauPrior, read_posterior
from alliance_meta.models.hunter_schmidt import (
    describe_hunter_schmidt,
    hunter_schmidt,
    per_sample,
    tabulate_moments,
)
from alliance_meta.models.resampling import Resampling, resample_tests
from alliance_meta.models.result_tables import reporting_scale
from alliance_meta.models.selection import METRIC_COLUMNS
from alliance_meta.models.specification import InestimableError, ModelSpecification

Array = NDArray[np.float64]

ATTENUATION_COLUMNS = [
    "version",
    "level",
    "k_studies",
    "k_effects",
    "estimate",
    "ci_low",
    "ci_high",
    "pi_low",
    "pi_high",
]
SWEEP_COLUMNS = [
    "reliability_alliance",
    "reliability_outcome",
    "k_studies",
    "k_effects",
    "estimate",
    "ci_low",
    "ci_high",
]
RELIABILITY_COLUMNS = ["side", "rule", "k_effects", "k_studies", "reliability_mean"]
MOMENT_COLUMNS = ["parameter", "bare_bones", "corrected"]
POSTERIOR_COLUMNS = [
    "parameter",
    "median",
    "ci_low",
    "ci_high",
    "mean",
    "sd",
]
PROBABILITY_COLUMNS = ["threshold", "mean_exceeds", "new_study_exceeds"]
SHRINKAGE_COLUMNS = ["study_id", "sample_id", "label", "estimate", "ci_low", "ci_high", "shrinkage"]

# reliabilities that an uncoded measure may have, as questionnaires report them
SWEEP_ALLIANCE = (0.7, 0.8, 0.9, 1.0)
SWEEP_OUTCOME = (0.7, 0.8, 0.9, 1.0)

# for correlations; effects on their own scale have no natural prior
DEFAULT_PRIOR = {"prior": "half_normal", "scale": 0.25, "thresholds": (0.1, 0.2, 0.3)}

TABLES = {
    "attenuation": ATTENUATION_COLUMNS,
    "attenuation_sweep": SWEEP_COLUMNS,
    "reliabilities": RELIABILITY_COLUMNS,
    "hunter_schmidt": MOMENT_COLUMNS,
    "posterior": POSTERIOR_COLUMNS,
    "posterior_probabilities": PROBABILITY_COLUMNS,
    "posterior_studies": SHRINKAGE_COLUMNS,
}


@dataclass(frozen=True)
class Layers:
    """What stands beside an analysis.

    Attributes
    ----------
    tables
        Name of the file without ending -> table; empty where a layer does not apply.
    resampling
        Tests by resampling.
    sentences
        Layer -> sentences made from its tables.
    prior
        Settings of the Bayesian read-out; None without one.
    """

    tables: Mapping[str, pd.DataFrame]
    resampling: Resampling
    sentences: Mapping[str, Sequence[str]] = field(default_factory=dict)
    prior: Mapping[str, Any] | None = None


def compute_layers(
    effects: pd.DataFrame,
    result: AnalysisResult,
    *,
    labels: Mapping[str, str] | None = None,
    files: Sequence[str] | None = None,
    codebook: Codebook | None = None,
    permutations: int = 0,
    prior: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Layers:
    """Compute what stands beside a finished analysis.

    Parameters
    ----------
    effects, labels, files, codebook
        As for ``analyse``.
    result
        The analysis. Attenuation is shown for all levels; the sweep over assumed reliabilities
        and the psychometric and Bayesian read-outs are of the mean, so that analyses with
        moderators have none.
    permutations, seed
        Number of permutations and of bootstrap replications (0 for none), and their seed.
    prior
        ``prior``, ``scale`` and ``thresholds`` of the Bayesian read-out; None for none.

    Returns
    -------
    Layers
    """
    resampling = resample_tests(result, permutations=permutations, seed=seed)
    tables = {name: pd.DataFrame(columns=columns) for name, columns in TABLES.items()}
    tables["permutation"], tables["wild_bootstrap"] = resampling.permutation, resampling.bootstrap
    sentences: dict[str, list[str]] = {"resampling": list(resampling.notes)}
    if result.fitted is None:
        return Layers(tables, resampling, sentences)
    if result.spec.metric != "generic":
        spec = replace(result.spec, attenuation="observed")
        rows = select_and_correct(effects, spec, files=files)[0].data
        correction = correct_attenuation(effects, assumed=spec.reliability)
        correction = correction.among(rows["effect_id"])

        def rerun(version: str) -> AnalysisResult:
            other = replace(spec, attenuation=version)
            return analyse(effects, other, labels=labels, files=files, codebook=codebook)

        sentences["attenuation"] = _attenuation(result, correction, tables, rerun)
        if not spec.moderators and not spec.scale:
            tables["attenuation_sweep"] = _sweep(rows, spec)
            sentences["hunter_schmidt"] = _psychometric(rows, correction, spec, tables)
    if prior is not None and not result.spec.moderators and not result.spec.scale:
        sentences["posterior"] = _bayes(result, tables, prior, labels or {})
    return Layers(tables, resampling, sentences, prior)


def _attenuation(
    result: AnalysisResult,
    correction: Attenuation,
    tables: dict[str, pd.DataFrame],
    rerun: Callable[[str], AnalysisResult],
) -> list[str]:
    """Fill in observed beside corrected results; return sentences."""
    tables["reliabilities"] = correction.counts[RELIABILITY_COLUMNS]
    if not correction.n_corrected:
        return list(correction.sentences)
    rows = []
    for version in ("observed", "corrected"):
        other = result if version == result.spec.attenuation else rerun(version)
        rows.append(other.summary.assign(version=version))
    table = pd.concat(rows, ignore_index=True)[ATTENUATION_COLUMNS]
    tables["attenuation"] = table
    metric = result.spec.metric
    overall = table.loc[table["level"] == "overall"]

    def words(version: str) -> str:
        row = overall.loc[overall["version"] == version].iloc[0]
        interval = format_interval(row["ci_low"], row["ci_high"], metric)
        return f"{format_effect(row['estimate'], metric)} {interval}".strip()

    return [
        *correction.sentences,
        f"The pooled correlation is {words('observed')} as observed and {words('corrected')} "
        "corrected for unreliability.",
    ]


def _sweep(rows_in: pd.DataFrame, spec: ModelSpecification) -> pd.DataFrame:
    """Return the mean over a grid of reliabilities assumed where a row has none of its own."""
    y_column, v_column = METRIC_COLUMNS[spec.metric]
    rows = []
    for step in sweep_assumed(rows_in.drop(columns=["yi", "vi"]), SWEEP_ALLIANCE, SWEEP_OUTCOME):
        data = step.attenuation.effects
        data = data.loc[data["exclude_reason"].isna()]
        data = data.assign(yi=data[y_column], vi=data[v_column]).reset_index(drop=True)
        units = make_units(data, spec, ())
        try:
            e = fit_units(units, np.ones((len(units.y), 1)), spec).contrast(np.ones(1))
        except InestimableError:
            continue
        values = reporting_scale(np.array([e.value, e.ci_low, e.ci_high]), spec.metric)
        counts = (data["study_id"].nunique(), len(data))
        rows.append((step.alliance, step.outcome, *counts, *values))
    return pd.DataFrame(rows, columns=SWEEP_COLUMNS)


def _psychometric(
    rows: pd.DataFrame,
    correction: Attenuation,
    spec: ModelSpecification,
    tables: dict[str, pd.DataFrame],
) -> list[str]:
    """Fill in the Hunter–Schmidt estimates of one mean correlation a sample."""
    corrected = correction.n_corrected > 0
    samples = per_sample(rows, correction.reliabilities if corrected else None)
    table = samples.table
    if table.empty:
        return ["No sample has a size, so that there is no psychometric estimate."]
    outcome = hunter_schmidt(
        table["r"].to_numpy(float),
        table["n"].to_numpy(float),
        rxx=table["rxx"].to_numpy(float) if corrected else None,
        ryy=table["ryy"].to_numpy(float) if corrected else None,
        ci_level=spec.ci_level,
    )
    tables["hunter_schmidt"] = tabulate_moments(outcome)[MOMENT_COLUMNS]
    lost = len(samples.left_out)
    notes = [f"{format_count(lost, 'sample')} without a size did not enter."] if lost else []
    return [*describe_hunter_schmidt(outcome), *notes]


def _bayes(
    result: AnalysisResult,
    tables: dict[str, pd.DataFrame],
    prior: Mapping[str, Any],
    labels: Mapping[str, str],
) -> list[str]:
    """Fill in the posterior of one composite a sample."""
    spec = result.spec
    default = (
        {"prior": "half_normal", "thresholds": ()} if spec.metric == "generic" else DEFAULT_PRIOR
    )
    settings = {**default, **prior}
    assert result.fitted is not None
    data = result.fitted.data
    if settings["prior"] != "uniform" and "scale" not in settings:
        return [
            "No posterior: effects on their own scale need a scale for the prior of τ, such as "
            "bayes: {scale: 0.5}."
        ]
    units = make_units(data, replace(spec, model="aggregated"), ())
    one = pd.Series(1, index=data.index)
    thresholds = np.asarray(settings["thresholds"], dtype=float)
    scale = float(settings["scale"]) if settings["prior"] != "uniform" else np.nan
    tau_prior = TauPrior(str(settings["prior"]), scale)
    on_metric = np.arctanh(thresholds) if spec.metric == "fisher_z" else thresholds
    try:
        posterior = read_posterior(
            units.y, units.v, tau_prior, ci_level=spec.ci_level, thresholds=on_metric
        )
    except InestimableError as error:
        return [f"No posterior: {'; '.join(error.problems)}."]
    tables["posterior"] = _posterior_table(posterior, spec.metric)
    tables["posterior_probabilities"] = pd.DataFrame(
        {
            "threshold": thresholds,
            "mean_exceeds": posterior.mu_above,
            "new_study_exceeds": posterior.prediction_above,
        }
    )
    tables["posterior_studies"] = pd.DataFrame(
        {
            "study_id": units.data["study_id"],
            "sample_id": units.data["sample_id"],
            "label": [labels.get(study, study) for study in units.data["study_id"]],
            "estimate": reporting_scale(
                np.array([m.median for m in posterior.studies]), spec.metric
            ),
            "ci_low": reporting_scale(
                np.array([m.central_low for m in posterior.studies]), spec.metric
            ),
            "ci_high": reporting_scale(
                np.array([m.central_high for m in posterior.studies]), spec.metric
            ),
            "shrinkage": posterior.shrinkage,
        }
    )
    composites = bool((units.data[MERGED] > 1).any() or data.get(MERGED, one).gt(1).any())
    return _posterior_sentences(tables, spec, tau_prior, composites=composites)


def _posterior_table(posterior: Posterior, metric: str) -> pd.DataFrame:
    """Return quantiles on the reporting scale (τ on the analysis metric), moments on the metric."""

    def row(name: str, m: Marginal, scale: str) -> tuple[object, ...]:
        quantiles = (m.median, m.central_low, m.central_high)
        return (name, *reporting_scale(np.array(quantiles), scale), m.mean, m.sd)

    rows = [
        row("mean", posterior.mu, metric),
        row("new_study", posterior.prediction, metric),
        row("tau", posterior.tau, "generic"),
    ]
    return pd.DataFrame(rows, columns=POSTERIOR_COLUMNS)


def _posterior_sentences(
    tables: Mapping[str, pd.DataFrame],
    spec: ModelSpecification,
    prior: TauPrior,
    *,
    composites: bool,
) -> list[str]:
    table = tables["posterior"]
    words = prior.family.replace("_", "-")
    scale = "" if prior.family == "uniform" else f" with scale {prior.scale:g}"
    base = "one composite of each sample" if composites else "the effects"
    noun = "effect" if spec.metric == "generic" else "correlation"
    level = f"{100 * spec.ci_level:g}"
    mean, new, tau = (
        table.loc[table["parameter"] == name].iloc[0] for name in ("mean", "new_study", "tau")
    )
    sentences = [
        f"With a {words} prior for τ{scale} and {base}, the posterior median of the mean {noun} is "
        f"{format_effect(mean['median'], spec.metric)}, {level} % credible interval "
        f"{format_interval(mean['ci_low'], mean['ci_high'], spec.metric)}; of τ "
        f"{format_number(tau['median'], 3, leading_zero=False)} "
        f"[{format_number(tau['ci_low'], 3, leading_zero=False)}, "
        f"{format_number(tau['ci_high'], 3, leading_zero=False)}]; the true {noun} of a new study "
        f"lies in {format_interval(new['ci_low'], new['ci_high'], spec.metric)}."
    ]
    probabilities = tables["posterior_probabilities"]
    if len(probabilities):
        parts = [
            f"{format_effect(row['threshold'], spec.metric)} with probability "
            f"{_probability(row['mean_exceeds'])} (a new study's: "
            f"{_probability(row['new_study_exceeds'])})"
            for _, row in probabilities.iterrows()
        ]
        sentences.append(f"The mean {noun} exceeds {join_words(parts)}.")
    return sentences


def _probability(value: float) -> str:
    if value > 0.999:
        return "above .999"
    if value < 0.001:
        return "below .001"
    return format_number(value, 3, leading_zero=False)
