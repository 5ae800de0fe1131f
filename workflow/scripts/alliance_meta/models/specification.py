"""What an analysis asks for, with every default made explicit."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

METRICS = ("fisher_z", "r", "generic")
MODELS = ("common_effect", "random_effects", "aggregated", "three_level", "che", "rve")
AVAILABLE_MODELS = ("common_effect", "random_effects", "aggregated", "rve")
TAU2_ESTIMATORS = ("DL", "HE", "HS", "SJ", "ML", "REML", "EB", "PM")
INFERENCES = ("z", "t", "knapp_hartung", "cr2")
PREDICTIONS = ("default", "hts")

MODEL_LABELS = {
    "common_effect": "common-effect model",
    "random_effects": "random-effects model",
    "aggregated": "random-effects model of one composite per sample",
    "rve": "correlated-effects model with robust variance estimation",
}
INFERENCE_LABELS = {
    "z": "normal (z) inference",
    "t": "t inference",
    "knapp_hartung": "Knapp–Hartung inference",
    "cr2": "cluster-robust (CR2) standard errors with Satterthwaite degrees of freedom",
}


class SpecificationError(ValueError):
    """An analysis asks for something that does not exist or is not available.

    Attributes
    ----------
    problems
        Every reason, in words.
    setting
        The setting at fault, where it is a single one.
    """

    def __init__(self, *problems: str, setting: str = "") -> None:
        super().__init__((f"{setting}: " if setting else "") + "; ".join(problems))
        self.problems = problems
        self.setting = setting


@dataclass(frozen=True)
class ModelSpecification:
    """One analysis.

    Attributes
    ----------
    model, tau2, inference
        One of ``MODELS``, ``TAU2_ESTIMATORS``, ``INFERENCES``; None asks for the default,
        which ``resolve`` fills in.
    metric
        Analysis metric: "fisher_z" and "r" report correlations, "generic" its own scale.
    rho
        Assumed correlation of sampling errors within a sample, in [0, 1).
    ci_level
        Confidence level, in (0, 1).
    prediction
        "default" (df as the inference) or "hts" (k − p − 1; Higgins, Thompson &
        Spiegelhalter 2009).
    moderators
        Right-hand side of a model formula; empty for none.
    reference
        Categorical moderator -> reference level.
    where
        Expression on columns that rows must satisfy; empty for all rows.
    """

    model: str | None = None
    tau2: str | None = None
    inference: str | None = None
    metric: str = "fisher_z"
    rho: float = 0.6
    ci_level: float = 0.95
    prediction: str = "default"
    moderators: str = ""
    reference: Mapping[str, str] = field(default_factory=dict)
    where: str = ""

    def __post_init__(self) -> None:
        problems = specification_problems(self)
        if problems:
            raise SpecificationError(*problems)

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> "ModelSpecification":
        """Build from the keys of a configuration; other keys are ignored."""
        known = {key: settings[key] for key in cls.__dataclass_fields__ if key in settings}
        return cls(**known)

    def resolve(self, *, dependent: bool) -> "ModelSpecification":
        """Return a copy with the defaults of model, tau² and inference filled in.

        Parameters
        ----------
        dependent
            Whether any study brings more than one effect.
        """
        model = self.model or ("rve" if dependent else "random_effects")
        inference = self.inference or {
            "common_effect": "z",
            "random_effects": "knapp_hartung",
            "aggregated": "knapp_hartung",
            "rve": "cr2",
        }.get(model)
        tau2 = {"common_effect": None, "rve": "DL"}.get(model, self.tau2 or "REML")
        return replace(self, model=model, tau2=tau2, inference=inference)


class InestimableError(SpecificationError):
    """A sound specification that the rows at hand cannot carry."""


def specification_problems(spec: ModelSpecification) -> list[str]:
    """Return, in words, everything that is wrong with a specification."""
    problems = []

    def check(name: str, value: str | None, known: tuple[str, ...], here: tuple[str, ...]) -> None:
        if value is None or value in here:
            return
        if value in known:
            problems.append(
                f"{name} '{value}' is not available in this version; use one of: {', '.join(here)}"
            )
        else:
            problems.append(f"'{value}' is not a {name}; use one of: {', '.join(here)}")

    check("model", spec.model, MODELS, AVAILABLE_MODELS)
    check("tau2 estimator", spec.tau2, TAU2_ESTIMATORS, TAU2_ESTIMATORS)
    check("inference", spec.inference, INFERENCES, INFERENCES)
    check("metric", spec.metric, METRICS, METRICS)
    check("prediction", spec.prediction, PREDICTIONS, PREDICTIONS)
    if not 0 <= spec.rho < 1:
        problems.append(f"rho is {spec.rho}; it must be at least 0 and below 1")
    if not 0 < spec.ci_level < 1:
        problems.append(f"ci_level is {spec.ci_level}; it must lie between 0 and 1, such as 0.95")
    if spec.model == "rve" and spec.inference not in (None, "cr2"):
        problems.append("model 'rve' is defined with inference 'cr2' only")
    return problems
