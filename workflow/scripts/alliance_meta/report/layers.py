"""What stands beside an analysis: unreliable measurement, psychometric and Bayesian read-outs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from alliance_meta.formatting import format_effect, format_interval, format_number
from alliance_meta.report.tables import (
    Cell,
    Record,
    TableView,
    describe_model,
    make_table,
    number,
    print_count,
)
from alliance_meta.report.wording import (
    EMPTY,
    OVERALL,
    Labels,
    capitalise,
    describe_estimate,
    describe_level_of_confidence,
    name_effect,
)

# where the reliability of a measure comes from
RELIABILITY_WORDS = {
    "coded": "coded for the effect",
    "same_study": "mean of the same study, measure and rater",
    "version_rater": "mean over studies of the same version and rater",
    "measure_rater": "mean over studies of the same measure and rater",
    "measure": "mean over studies of the same measure",
    "rater": "mean over studies of the same rater",
    "overall": "mean over all studies",
    "assumed": "assumed",
    "none": "unknown, not corrected",
}

MOMENT_WORDS = {
    "k": "Samples",
    "n_total": "Persons (N)",
    "mean": "Mean correlation",
    "se": "Standard error of the mean",
    "var_observed": "Variance of the correlations",
    "var_error": "Variance expected from sampling error",
    "var_residual": "Variance left over",
    "sd_residual": "Standard deviation left over",
    "percent_error": "Share of the variance due to sampling error",
}
_COUNTS = ("k", "n_total")
# low end -> what the pair of ends is called
_INTERVALS = {
    "ci_low": "confidence interval of the mean",
    "credibility_low": "credibility interval",
}

POSTERIOR_WORDS = {
    "mean": ("Mean", "of the true values"),
    "new_study": ("New study", "true value of a further study like these"),
    "tau": ("τ", "standard deviation of the true values"),
}


@dataclass(frozen=True)
class LayerView:
    """One part beside the main results; ``folded`` pairs words to unfold with tables."""

    title: str
    sentences: tuple[str, ...]
    tables: tuple[TableView, ...] = ()
    folded: tuple[tuple[str, TableView], ...] = ()


def view_layers(model: Record, labels: Labels, said: set[str]) -> tuple[LayerView, ...]:
    """Return the parts that an analysis has.

    Parameters
    ----------
    model
        ``model.json``.
    labels
        Readers' words.
    said
        Sentences on reliability that earlier analyses printed; extended here, so that what
        holds for the whole review is said once.
    """
    sentences = {
        name: [labels.sentence(sentence) for sentence in found]
        for name, found in model["layer_sentences"].items()
    }
    # an analysis of corrected effects says it among its notes
    told = said | {labels.sentence(warning) for warning in model["warnings"]}
    on_reliability = [s for s in sentences.get("attenuation", ()) if s not in told]
    said.update(on_reliability)
    views = (
        _make_view(
            "Unreliable measurement",
            on_reliability,
            (attenuation_table(model, labels),),
            (
                ("Estimates under assumed reliabilities", sweep_table(model)),
                ("Where the reliabilities come from", reliability_table(model)),
            ),
        ),
        _make_view(
            "Psychometric meta-analysis",
            sentences.get("hunter_schmidt", ()),
            (),
            (("Moments of the psychometric meta-analysis", psychometric_table(model)),),
        ),
        _make_view(
            "Bayesian read-out",
            sentences.get("posterior", ()),
            (),
            (
                ("Posterior of the mean, a new study and τ", posterior_table(model)),
                ("Posterior probabilities", probability_table(model)),
            ),
        ),
    )
    return tuple(view for view in views if view.sentences or view.tables or view.folded)


def _make_view(
    title: str,
    sentences: Iterable[str],
    tables: Iterable[TableView],
    folded: Iterable[tuple[str, TableView]],
) -> LayerView:
    return LayerView(
        title,
        tuple(sentences),
        tuple(table for table in tables if table.rows),
        tuple((words, table) for words, table in folded if table.rows),
    )


def _rows(model: Record, name: str) -> Sequence[Record]:
    rows: Sequence[Record] = model["layers"].get(name, ())
    return rows


def _estimate(row: Record, metric: str) -> str:
    estimate, low, high = (number(row.get(key)) for key in ("estimate", "ci_low", "ci_high"))
    return describe_estimate(estimate, low, high, metric)


def attenuation_table(model: Record, labels: Labels) -> TableView:
    """Return estimates as observed beside estimates corrected for unreliability."""
    spec = model["specification"]
    by_level: dict[str, dict[str, Record]] = {}
    for row in _rows(model, "attenuation"):
        by_level.setdefault(row["level"], {})[row["version"]] = row
    rows = []
    for level, versions in by_level.items():
        cells = [Cell(labels.level(level))]
        for version in ("observed", "corrected"):
            row = versions.get(version, {})
            count = print_count(row.get("k_effects"))
            detail = "" if count == EMPTY else f"{count} effects"
            cells.append(Cell(_estimate(row, spec["metric"]), detail))
        rows.append(cells)
    percent = describe_level_of_confidence(spec["ci_level"])
    symbol = name_effect(spec["metric"])
    headings = (
        "Level",
        f"#Observed {symbol} [{percent} CI]",
        f"#Corrected {symbol} [{percent} CI]",
    )
    caption = "Observed, and corrected for unreliable measurement"
    return make_table(caption, headings, rows, model=describe_model(model, short=True))


def sweep_table(model: Record) -> TableView:
    """Return the estimate over a grid of assumed reliabilities, alliance down, outcome across."""
    spec = model["specification"]
    grid = {
        (number(row["reliability_alliance"]), number(row["reliability_outcome"])): row
        for row in _rows(model, "attenuation_sweep")
    }
    down = sorted({alliance for alliance, _ in grid})
    across = sorted({outcome for _, outcome in grid})
    rows = []
    for alliance in down:
        cells = [Cell(_print_reliability(alliance))]
        for outcome in across:
            row = grid.get((alliance, outcome), {})
            low, high = number(row.get("ci_low")), number(row.get("ci_high"))
            estimate = format_effect(number(row.get("estimate")), spec["metric"])
            cells.append(Cell(estimate, format_interval(low, high, spec["metric"])))
        rows.append(cells)
    percent = describe_level_of_confidence(spec["ci_level"])
    return make_table(
        f"Estimate [{percent} CI] if measures without a coded reliability had this one",
        ("Alliance", *(f"#Outcome {_print_reliability(outcome)}" for outcome in across)),
        rows,
        model=describe_model(model, short=True),
        notes=_sweep_notes(list(grid.values())),
    )


def _sweep_notes(rows: Sequence[Record]) -> list[str]:
    if not rows:
        return []
    counts = [int(row["k_effects"]) for row in rows]
    if min(counts) == max(counts):
        return [f"Each estimate rests on {max(counts):,} effects."]
    return [
        f"The estimates rest on {min(counts):,} to {max(counts):,} effects: one whose corrected "
        "correlation would reach 1 is left out, which draws the estimate towards zero."
    ]


def _print_reliability(value: float) -> str:
    # 1.00 keeps its digit before the point
    return format_number(value, 2, leading_zero=False)


def reliability_table(model: Record) -> TableView:
    """Return how many effects have their reliabilities from where."""
    records = _rows(model, "reliabilities")
    if all(row["rule"] == "none" for row in records):
        records = ()
    rows = [
        (
            Cell(
                capitalise(str(row["side"])), RELIABILITY_WORDS.get(row["rule"], str(row["rule"]))
            ),
            print_count(row["k_effects"]),
            print_count(row["k_studies"]),
            EMPTY if row["rule"] == "none" else _print_reliability(number(row["reliability_mean"])),
        )
        for row in records
    ]
    headings = ("Measure", "#Effects", "#Studies", "#Mean reliability")
    return make_table("Sources of the reliabilities", headings, rows)


def psychometric_table(model: Record) -> TableView:
    """Return the Hunter–Schmidt moments, bare bones and, if known, corrected."""
    records = {row["parameter"]: row for row in _rows(model, "hunter_schmidt")}
    versions = ["bare_bones", "corrected"]
    if all(pd.isna(number(row["corrected"])) for row in records.values()):
        versions.remove("corrected")
    rows = []
    for name, row in records.items():
        if name.removesuffix("_high") + "_low" in _INTERVALS and name.endswith("_high"):
            continue
        if name in _INTERVALS:
            high = records.get(name.removesuffix("_low") + "_high", {})
            words = capitalise(_INTERVALS[name])
            cells = [
                format_interval(number(row[version]), number(high.get(version)), "r") or EMPTY
                for version in versions
            ]
        else:
            words = MOMENT_WORDS.get(name, name)
            cells = [_print_moment(name, number(row[version])) for version in versions]
        rows.append((words, *cells))
    headings = {"bare_bones": "#Bare bones", "corrected": "#Corrected for unreliability"}
    return make_table(
        "Psychometric meta-analysis, one correlation per sample, weighted by its size",
        ("Moment", *(headings[version] for version in versions)),
        rows,
    )


def _print_moment(name: str, value: float) -> str:
    if name in _COUNTS:
        return print_count(value)
    if name == "percent_error":
        return EMPTY if pd.isna(value) else f"{format_number(value, 0)} %"
    return format_number(value, 3, leading_zero=False)


def posterior_table(model: Record) -> TableView:
    """Return the posterior of the mean, of a new study's true value, and of τ."""
    spec = model["specification"]
    percent = describe_level_of_confidence(spec["ci_level"])
    rows = []
    for row in _rows(model, "posterior"):
        name = row["parameter"]
        words, meaning = POSTERIOR_WORDS.get(name, (name, ""))
        # τ stays on the scale of the analysis
        digits = 3 if name == "tau" else 2
        values = [number(row[key]) for key in ("median", "ci_low", "ci_high")]
        rows.append(
            (
                Cell(words, meaning),
                format_effect(values[0], spec["metric"], digits),
                format_interval(values[1], values[2], spec["metric"], digits) or EMPTY,
                format_number(number(row["mean"]), 3),
                format_number(number(row["sd"]), 3),
            )
        )
    scale = " of z" if spec["metric"] == "fisher_z" else ""
    headings = ("", "#Median", f"#{percent} credible interval", f"#Mean{scale}", f"#SD{scale}")
    return make_table("Posterior", headings, rows)


def probability_table(model: Record) -> TableView:
    """Return the posterior probabilities that the mean, or a new study, exceeds a value."""
    metric = model["specification"]["metric"]
    symbol = name_effect(metric)
    rows = [
        (
            f"{symbol} > {format_effect(number(row['threshold']), metric)}",
            _print_probability(number(row["mean_exceeds"])),
            _print_probability(number(row["new_study_exceeds"])),
        )
        for row in _rows(model, "posterior_probabilities")
    ]
    headings = ("Probability of", "#Mean", "#New study")
    return make_table("Probability that the true value exceeds a threshold", headings, rows)


def _print_probability(value: float) -> str:
    if value > 0.999:
        return "> .999"
    if value < 0.001:
        return "< .001"
    return format_number(value, 3, leading_zero=False)


def study_table(model: Record, labels: Labels) -> TableView:
    """Return the shrunken true effects of the studies."""
    spec = model["specification"]
    records: Sequence[Mapping[str, object]] = model["study_estimates"]
    by_level = any(row["level"] for row in records)
    rows = []
    for row in records:
        level = str(row["level"] or "")
        rows.append(
            (
                Cell(str(row["label"]), labels.level(level) if level and level != OVERALL else ""),
                _estimate(row, spec["metric"]),
                print_count(row["k_effects"]),
            )
        )
    percent = describe_level_of_confidence(spec["ci_level"])
    headings = (
        "Study and level" if by_level else "Study",
        f"#{capitalise(name_effect(spec['metric']))} [{percent} CI]",
        "#Effects",
    )
    note = (
        "Each study's own result, drawn towards what the model expects of it: the less precise "
        "the study, the further."
    )
    return make_table(
        "Estimated true values of the studies",
        headings,
        rows,
        model=describe_model(model, short=True),
        notes=[note] if rows else [],
    )
