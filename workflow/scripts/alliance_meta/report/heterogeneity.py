"""Tables of heterogeneity: variances, shares, tests, and the fit of the model."""

from collections.abc import Iterable, Mapping

import pandas as pd

from alliance_meta.formatting import format_number, format_p
from alliance_meta.report.tables import (
    Cell,
    Record,
    TableView,
    describe_model,
    make_table,
    number,
)
from alliance_meta.report.testing import (
    OMNIBUS,
    PARTS_OF_TESTS,
    TestResults,
    parameters,
    print_test,
)
from alliance_meta.report.wording import (
    EMPTY,
    Labels,
    capitalise,
    describe_level_of_confidence,
)

HETEROGENEITY_WORDS = {
    "tau2": ("τ²", "variance of the true values between studies"),
    "tau2_between": ("τ² between studies", "variance of the studies' true means"),
    "tau2_within": (
        "τ² within studies",
        "variance of the true values of one study about that study's mean",
    ),
    "tau2_without_moderators": (
        "τ² without moderators",
        "variance of the true values between studies before moderators; R² is the share of it "
        "that they explain",
    ),
    "tau2_between_without_moderators": (
        "τ² between studies without moderators",
        "variance of the studies' true means before moderators",
    ),
    "tau2_within_without_moderators": (
        "τ² within studies without moderators",
        "variance of the true values within a study before moderators",
    ),
    "tau": ("τ", "standard deviation of the true values, on the scale of the analysis"),
    "tau_between": ("τ between studies", "standard deviation of the studies' true means"),
    "tau_within": ("τ within studies", "standard deviation of the true values of one study"),
    "I2": ("I²", "share of the observed variation that is not sampling error"),
    "I2_between": ("I² between studies", "share of the variation that lies between studies"),
    "I2_within": ("I² within studies", "share of the variation that lies within studies"),
    "I2_Q": ("I² (from Q)", "the same share, worked out from Q"),
    "ICC": ("ICC", "share of the true variance that lies between studies"),
    "H2": ("H²", "observed variation relative to sampling error alone"),
    "Q": ("Q", "test of whether sampling error alone explains the variation"),
    "R2": ("R²", "share of τ² that goes with the moderators"),
    "R2_between": ("R² between studies", "share of τ² between studies that goes with them"),
    "R2_within": ("R² within studies", "share of τ² within studies that goes with them"),
    "QM": ("Test of moderators", "joint test of all moderator coefficients"),
    "QS": ("Test of the scale", "joint test of what log τ² goes with"),
    "LRT_separate_tau2": (
        "Test of separate τ²",
        "likelihood-ratio test of whether the levels differ in heterogeneity",
    ),
    "LRT_scale": (
        "Likelihood-ratio test of the scale",
        "whether heterogeneity goes with the predictors of log τ²",
    ),
    "log_likelihood": ("Log-likelihood", "fit of the model"),
    "AIC": ("AIC", "fit with a penalty for parameters; lower is better, for the same effects"),
    "AICc": ("AICc", "AIC corrected for few effects"),
    "BIC": ("BIC", "as AIC, with a penalty that grows with the number of effects"),
}
FIT_PARAMETERS = ("log_likelihood", "AIC", "AICc", "BIC")
# a folded table of their own
FURTHER_PARAMETERS = (
    "tau_between",
    "tau_within",
    "ICC",
    "H2",
    "I2_Q",
    "tau2_without_moderators",
    "tau2_between_without_moderators",
    "tau2_within_without_moderators",
    *FIT_PARAMETERS,
)


def heterogeneity_table(model: Record, labels: Labels) -> TableView:
    """Return how much results differ; degrees of freedom and p stand with their test."""
    tests = TestResults.of(model)
    kind = "Residual heterogeneity" if model["specification"]["moderators"] else "Heterogeneity"
    notes = []
    if OMNIBUS in tests.withheld:
        notes.append(
            f"The p-value of the test of moderators is withheld because {tests.withheld[OMNIBUS]}."
        )
    if OMNIBUS in tests.resampled:
        test = tests.resampled[OMNIBUS]
        notes.append(f"{capitalise(test.kind)} p: {test.extent}.")
    return _parameter_table(kind, model, labels, tests, notes, further=False)


def further_table(model: Record, labels: Labels) -> TableView:
    """Return further measures of heterogeneity, and how well the model fits."""
    notes = []
    restricted = model["specification"]["tau2"] == "REML"
    if restricted and any(name in parameters(model) for name in FIT_PARAMETERS):
        notes.append("Fitted by REML: AIC and BIC compare models of the same moderators only.")
    caption = "Further measures of heterogeneity and fit"
    return _parameter_table(caption, model, labels, TestResults.of(model), notes, further=True)


def _parameter_table(
    caption: str,
    model: Record,
    labels: Labels,
    tests: TestResults,
    notes: Iterable[str],
    *,
    further: bool,
) -> TableView:
    spec, values = model["specification"], parameters(model)
    rows = []
    for record in model["heterogeneity"]:
        name = record["parameter"]
        if name in PARTS_OF_TESTS or (name.partition("[")[0] in FURTHER_PARAMETERS) != further:
            continue
        lost = name == "QM" and name not in values and OMNIBUS in tests.withheld
        if name not in values and not lost:
            continue
        symbol, meaning = describe_parameter(name, labels)
        low, high = number(record.get("ci_low")), number(record.get("ci_high"))
        interval = "" if pd.isna(low) or pd.isna(high) else _range(name, low, high, spec["metric"])
        value = _value(name, values, tests, spec["metric"])
        rows.append((symbol, value, interval or EMPTY, meaning))
    percent = describe_level_of_confidence(spec["ci_level"])
    headings = ("Measure", "#Value", f"#{percent} CI", "What it is")
    return make_table(caption, headings, rows, model=describe_model(model, short=True), notes=notes)


def describe_parameter(name: str, labels: Labels) -> tuple[str, str]:
    """Return symbol and meaning; ``tau2[rater=client]`` is the parameter for one level."""
    stem, bracket, level = name.partition("[")
    if not bracket or stem not in HETEROGENEITY_WORDS:
        return HETEROGENEITY_WORDS.get(name, (name, ""))
    symbol, meaning = HETEROGENEITY_WORDS[stem]
    return f"{symbol} of {labels.level(level.removesuffix(']'))}", meaning


def _value(name: str, values: Mapping[str, float], tests: TestResults, metric: str) -> Cell:
    """Return a parameter, or a test with its p-value on a line of its own."""
    text = print_test(name, values)
    if name == "QM":
        return Cell(text or "not defined", tests.describe_p(OMNIBUS, values.get("QM_p")))
    if not text:
        return Cell(_print_parameter(name, values[name], metric))
    p_value = values.get(f"{name}_p")
    return Cell(text, "" if p_value is None else f"p {format_p(p_value)}")


def _print_parameter(name: str, value: float, metric: str) -> str:
    if name.startswith(("I2", "R2")):
        return f"{format_number(value, 0)} %"
    if name.startswith("tau"):
        return format_number(value, 3, leading_zero=metric == "generic")
    return format_number(value, leading_zero=name != "ICC")


def _range(name: str, low: float, high: float, metric: str) -> str:
    return f"[{_print_parameter(name, low, metric)}, {_print_parameter(name, high, metric)}]"
