"""Checks of all analyses before the first is fitted."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from alliance_meta.codebook import Codebook
from alliance_meta.models.analysis import (
    arrange,
    merged_references,
    select_and_correct,
    variance_levels,
)
from alliance_meta.models.design import build_design, equality_contrasts
from alliance_meta.models.expressions import (
    compared_values,
    formula_variables,
    scale_variables,
)
from alliance_meta.models.specification import (
    InestimableError,
    ModelSpecification,
    SpecificationError,
)
from alliance_meta.problems import Problem


def check_analyses(
    effects: pd.DataFrame,
    analyses: Mapping[str, Mapping[str, Any]],
    *,
    file: str,
    codebook: Codebook | None = None,
) -> list[Problem]:
    """Return everything in the analyses' settings that cannot work on these effects.

    Parameters
    ----------
    effects
        Effect sizes table.
    analyses
        Name -> settings (see ``ModelSpecification``); ``effects`` lists the sheets.
    file
        Name of the configuration file, for the messages.
    codebook
        Knows the wider levels of rare ones (default: the codebook that ships).

    Returns
    -------
    list of Problem
        Errors, and notes on analyses that no row enters.
    """
    problems: list[Problem] = []
    known_files = set(effects["source_file"])
    for name, settings in analyses.items():
        place = f"analyses.{name}"

        def report(
            key: str, text: str, value: str = "", *, place: str = place, note: bool = False
        ) -> None:
            problems.append(
                Problem(
                    file=file,
                    column=f"{place}.{key}" if key else place,
                    value=value,
                    problem=text[:1].upper() + text[1:].rstrip(".") + ".",
                    code="analysis_setting",
                    severity="note" if note else "error",
                )
            )

        files = settings.get("effects")
        for missing in [f for f in files or [] if f not in known_files]:
            report("effects", f"no row comes from '{missing}'", missing)
        try:
            spec = ModelSpecification.from_mapping(settings)
            variables = formula_variables(spec.moderators)
            data = select_and_correct(effects, spec, files=files)[0].data
        except SpecificationError as error:
            for text in error.problems:
                report(error.setting, text, str(settings.get(error.setting, "")))
            continue
        _check_values(spec, effects, report)
        _check_references(spec, (*variables, *scale_variables(spec.scale)), data, report)
        _check_thresholds(settings, spec, report)
        _check_columns(settings, effects, report)
        _check_power(settings, spec, report)
        if data.empty:
            text = "no effect satisfies this analysis"
            if spec.where:
                text += "; codes count here, not their synonyms (client, not patient)"
            report("where", text, spec.where, note=True)
            continue
        arranged = arrange(data, spec, variables, codebook)
        tested = arranged.data.loc[~arranged.apart_mask]
        try:
            if len(tested):
                reference = merged_references(spec.reference, arranged)
                design = build_design(tested, spec.moderators, reference)
                equality_contrasts(design.X)
                if spec.separate_tau2:
                    variance_levels(design)
                if spec.scale:
                    scale = build_design(tested, spec.scale, reference, setting="scale")
                    equality_contrasts(scale.X, setting="scale")
        except SpecificationError as error:
            note = isinstance(error, InestimableError)
            key = error.setting or "moderators"
            report(key, error.problems[0], str(settings.get(key, "")), note=note)
    return problems


def _check_values(spec: ModelSpecification, effects: pd.DataFrame, report: Any) -> None:
    """Note values in ``where`` that no effect has: mostly misspelt, or a synonym."""
    for column, value in compared_values(spec.where):
        values = effects[column]
        if not (values == value).any():
            text = f"no effect has {column} {value!r}"
            known = sorted(values.dropna().astype(str).unique())
            if 0 < len(known) <= 15:
                text += f"; there are: {', '.join(known)}"
            report("where", text, spec.where, note=True)


def _check_references(
    spec: ModelSpecification, variables: tuple[str, ...], data: pd.DataFrame, report: Any
) -> None:
    for moderator, level in spec.reference.items():
        if moderator not in variables:
            report("reference", f"'{moderator}' is not among the moderators", moderator)
        elif pd.api.types.is_numeric_dtype(data[moderator]):
            report("reference", f"'{moderator}' is numeric and has no reference level", level)
        elif len(data) and level not in set(data[moderator]):
            levels = ", ".join(sorted(set(data[moderator])))
            report("reference", f"no effect has {moderator} '{level}'; there are: {levels}", level)


def _check_columns(settings: Mapping[str, Any], effects: pd.DataFrame, report: Any) -> None:
    """Report columns that assessments order or leave out by, and that do not exist."""
    for name, known in (("cumulative", {"precision"}), ("leave_class_out", set())):
        asked = (settings.get("sensitivity") or {}).get(name)
        by = asked.get("by", []) if isinstance(asked, Mapping) else []
        for column in [by] if isinstance(by, str) else by:
            if column not in {*effects.columns, *known}:
                report(f"sensitivity.{name}.by", f"there is no column '{column}'", column)


def _check_power(settings: Mapping[str, Any], spec: ModelSpecification, report: Any) -> None:
    """Report a power that a test has without any difference."""
    asked = (settings.get("sensitivity") or {}).get("power")
    power = asked.get("power") if isinstance(asked, Mapping) else None
    level = 1 - spec.ci_level
    # one minus a decimal is off by rounding
    if power is not None and power <= level * (1 + 1e-9):
        text = (
            f"a test at the level of {level:.3g} finds something with a power of {level:.3g} even "
            f"where there is nothing, so that {power:g} is too little; set a power well above it"
        )
        report("sensitivity.power.power", text, str(power))


def _check_thresholds(settings: Mapping[str, Any], spec: ModelSpecification, report: Any) -> None:
    bayes = settings.get("bayes") or {}
    wrong = [value for value in bayes.get("thresholds", ()) if abs(value) >= 1]
    if wrong and spec.metric != "generic":
        values = ", ".join(map(str, wrong))
        report("bayes", f"a correlation cannot exceed {values}; thresholds lie within -1 and 1")
