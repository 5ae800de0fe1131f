"""What an analysis asks for, with every default made explicit."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

METRICS = ("fisher_z", "r", "generic")
MODELS = ("common_effect", "random_effects", "aggregated", "three_level", "che", "rve")
MULTILEVEL_MODELS = ("three_level", "che")
TAU2_ESTIMATORS = ("DL", "HE", "HS", "SJ", "ML", "REML", "EB", "PM")
INFERENCES = ("z", "t", "knapp_hartung", "knapp_hartung_conservative", "cr2")
PREDICTIONS = ("default", "hts")
RARE_LEVELS = ("keep", "set_apart", "pool")
MISSING_MODERATORS = ("leave_out", "level")
ATTENUATIONS = ("observed", "corrected")
# a level of one study can be shown, never tested
MINIMUM_STUDIES = 2

MODEL_LABELS = {
    "common_effect": "common-effect model",
    "random_effects": "random-effects model",
    "aggregated": "random-effects model of one composite per sample",
    "rve": "correlated-effects model with robust variance estimation",
    "three_level": "three-level model",
    "che": "correlated and hierarchical effects model",
}
INFERENCE_LABELS = {
    "z": "normal (z) inference",
    "t": "t inference",
    "knapp_hartung": "Knapp–Hartung inference",
    "knapp_hartung_conservative": "Knapp–Hartung inference, never narrower than t",
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
    separate_tau2
        One between-study variance for each level of the only categorical moderator.
    scale
        Right-hand side of a formula for the logarithm of τ² (location–scale model); empty for
        one τ² of all.
    rare_levels
        Levels with effects from fewer than ``minimum_studies`` studies: "keep" (in the model; a
        level of one study is not tested), "set_apart" (shown beside the model) or "pool"
        (counted under their codebook parent, else set apart).
    missing_moderators
        Rows with an empty moderator: "leave_out", or "level" for an own level of the
        categorical ones.
    attenuation
        Whether the effects enter as "observed" or "corrected" for unreliable measurement.
    reliability
        Reliability assumed for ``alliance`` and ``outcome`` where nothing is coded.
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
    separate_tau2: bool = False
    scale: str = ""
    rare_levels: str = "keep"
    minimum_studies: int = 2
    missing_moderators: str = "leave_out"
    attenuation: str = "observed"
    reliability: Mapping[str, float] = field(default_factory=dict)

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
        model = self.model or ("che" if dependent else "random_effects")
        if self.scale and not self.model:
            model = "aggregated" if dependent else "random_effects"
        inference = self.inference or {
            "common_effect": "z",
            "random_effects": "knapp_hartung",
            "aggregated": "knapp_hartung",
        }.get(model, "cr2")
        if self.separate_tau2 and not self.inference and model not in MULTILEVEL_MODELS:
            inference = "t"
        tau2 = {"common_effect": None, "rve": "DL"}.get(model, self.tau2 or "REML")
        return replace(self, model=model, tau2=tau2, inference=inference)


class InestimableError(SpecificationError):
    """A sound specification that the rows at hand cannot carry."""


def specification_problems(spec: ModelSpecification) -> list[str]:
    """Return, in words, everything that is wrong with a specification."""
    problems = []
    for name, value, known in (
        ("model", spec.model, MODELS),
        ("tau2 estimator", spec.tau2, TAU2_ESTIMATORS),
        ("inference", spec.inference, INFERENCES),
        ("metric", spec.metric, METRICS),
        ("prediction", spec.prediction, PREDICTIONS),
        ("way with rare levels", spec.rare_levels, RARE_LEVELS),
        ("way with missing moderators", spec.missing_moderators, MISSING_MODERATORS),
        ("way with attenuation", spec.attenuation, ATTENUATIONS),
    ):
        if value is not None and value not in known:
            problems.append(f"'{value}' is not a {name}; use one of: {', '.join(known)}")
    if not 0 <= spec.rho < 1:
        problems.append(f"rho is {spec.rho}; it must be at least 0 and below 1")
    if not 0 < spec.ci_level < 1:
        problems.append(f"ci_level is {spec.ci_level}; it must lie between 0 and 1, such as 0.95")
    if spec.minimum_studies < MINIMUM_STUDIES:
        problems.append(
            f"minimum_studies is {spec.minimum_studies}; a level needs two studies or more"
        )
    for side, reliability in spec.reliability.items():
        if side not in ("alliance", "outcome"):
            problems.append(f"'{side}' has no reliability; use alliance and outcome")
        elif not 0 < reliability <= 1:
            problems.append(
                f"the reliability of the {side} is {reliability}; it must be above 0, at most 1"
            )
    if spec.attenuation == "corrected" and spec.metric == "generic":
        problems.append("only correlations can be corrected for attenuation")
    return problems + _combination_problems(spec)


def _combination_problems(spec: ModelSpecification) -> list[str]:
    """Return what does not go together."""
    problems = []
    if spec.model == "rve" and spec.inference not in (None, "cr2"):
        problems.append("model 'rve' is defined with inference 'cr2' only")
    if spec.model in MULTILEVEL_MODELS:
        if spec.inference not in (None, "z", "t", "cr2"):
            problems.append(f"model '{spec.model}' goes with inference 'cr2', 't' or 'z'")
        if spec.tau2 not in (None, "ML", "REML"):
            problems.append(f"model '{spec.model}' is fitted by 'REML' or 'ML', not '{spec.tau2}'")
    likelihood = spec.tau2 in (None, "ML", "REML")
    if spec.separate_tau2:
        if spec.model in ("common_effect", "rve"):
            problems.append(f"model '{spec.model}' has no separate tau2 for each level")
        if not likelihood:
            problems.append(f"separate_tau2 needs tau2 'REML' or 'ML', not '{spec.tau2}'")
        if not spec.moderators:
            problems.append("separate_tau2 needs a categorical moderator")
        if spec.model not in MULTILEVEL_MODELS and str(spec.inference).startswith("knapp"):
            problems.append("separate_tau2 goes with inference 'z', 't' or 'cr2'")
    if spec.scale:
        if spec.model not in (None, "random_effects", "aggregated"):
            problems.append("scale needs model 'random_effects' or 'aggregated'")
        if not likelihood:
            problems.append(f"scale needs tau2 'REML' or 'ML', not '{spec.tau2}'")
        if spec.inference in ("cr2", "knapp_hartung_conservative"):
            problems.append("scale goes with inference 'z', 't' or 'knapp_hartung'")
        if spec.separate_tau2:
            problems.append("scale and separate_tau2 are two ways to say the same; use one")
    return problems
