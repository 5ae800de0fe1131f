"""A review's configuration: its defaults, its problems, its files."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from glob import glob
from itertools import combinations
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from rapidfuzz import process

from alliance_meta.problems import Problem

TYPE_WORDS = {
    "array": ("a list", "Write it in square brackets, such as [data/raw/references.bib]."),
    "number": ("a number", "Write it with a decimal point and without quotes, such as 0.6."),
    "integer": ("a whole number", "Write it without decimals and quotes, such as 20181."),
    "string": ("a text", "Put it in quotes."),
    "object": ("a group of settings", "Write its settings below it, indented by two blanks."),
}

SHARED_SETTINGS = (
    "metric",
    "rho",
    "ci_level",
    "prediction",
    "where",
    "rare_levels",
    "minimum_studies",
    "missing_moderators",
    "attenuation",
    "reliability",
    "bayes",
    "seed",
)

# settings of an analysis that add to those of the review
MERGED_SETTINGS = ("sensitivity", "bias", "reliability", "bayes")


def read_yaml(path: Path, *, name: str) -> tuple[Any, list[Problem]]:
    """Read a YAML file; on failure return None and one problem that names the line."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")), []
    except FileNotFoundError:
        text = "There is no such file."
        return None, [Problem(name, text, "Start a review with: alliance-meta new FOLDER")]
    except UnicodeDecodeError:
        return None, [Problem(name, "The file is not UTF-8 text.", "Save it as UTF-8.")]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or "it cannot be read"
        return None, [
            Problem(
                name,
                f"The configuration is not valid YAML: {what}.",
                "Check the indentation (two blanks, no tabs) around this line, and put texts that "
                "hold a colon in quotes.",
                row=mark.line + 1 if mark else None,
                code="yaml",
            )
        ]


def configuration_problems(config: Any, schema: Mapping[str, Any], *, name: str) -> list[Problem]:
    """Return everything in a configuration that its schema does not allow.

    Parameters
    ----------
    config
        What the YAML file holds.
    schema
        The JSON schema.
    name
        Name of the file, for the messages.
    """
    validator = jsonschema.Draft202012Validator(schema)
    problems = []
    names = list(config.get("analyses") or {}) if isinstance(config, Mapping) else []
    for first, second in combinations(map(str, names), 2):
        if first.casefold() == second.casefold():
            text = f"The analyses '{first}' and '{second}' differ in capitals only."
            right = "Some computers keep them in one folder; rename one."
            problems.append(Problem(name, text, right, column="analyses", code="configuration"))
    for error in sorted(validator.iter_errors(config), key=lambda e: [str(p) for p in e.path]):
        place = ".".join(str(part) for part in error.absolute_path)
        text, suggestion = _in_words(error)
        problems.append(Problem(name, text, suggestion, column=place, code="configuration"))
    return problems


def _in_words(error: jsonschema.ValidationError) -> tuple[str, str]:
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    value = error.instance
    if error.validator == "additionalProperties" and isinstance(value, Mapping):
        known = list(schema.get("properties", {}))
        unknown = [key for key in value if key not in known]
        names = ", ".join(f"'{key}'" for key in unknown)
        nearest = process.extractOne(str(unknown[0]), known, score_cutoff=60)
        hint = f"Did you mean '{nearest[0]}'?" if nearest else f"Known keys: {', '.join(known)}."
        return f"There is no setting {names} here.", hint
    if error.validator == "required":
        return error.message.replace("is a required property", "is missing") + ".", "Add it."
    if error.validator == "enum":
        return (
            f"'{value}' is not allowed here.",
            f"Use one of: {', '.join(map(str, schema['enum']))}.",
        )
    if error.validator == "type":
        wanted, right = TYPE_WORDS[str(schema["type"])]
        return f"'{value}' is not {wanted}.", right
    if error.validator == "anyOf":
        right = "Write false to switch it off, or a number, or the settings listed in "
        return f"'{value}' is not allowed here.", right + "config/README.md."
    if error.validator == "pattern":
        return (
            f"'{value}' cannot name an analysis.",
            "Begin with a letter and use letters, digits, _ and - only, such as by_rater.",
        )
    return error.message[:1].upper() + error.message[1:] + ".", str(schema.get("description", ""))


def with_defaults(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a valid configuration with the schema's defaults at the top level filled in."""
    filled = {key: entry["default"] for key, entry in schema["properties"].items()}
    return {**filled, **config}


def expand_paths(patterns: Sequence[str], root: Path) -> list[str]:
    """Return files behind paths and globs relative to ``root``, sorted within each pattern.

    A path without a file stays, so that its reader can report it missing. Names that begin
    with ~$ are lock files of workbooks open in Excel.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        for path in sorted(glob(pattern, root_dir=root)) or [pattern]:
            found[os.path.normpath(path)] = None
    return [path for path in found if not os.path.basename(path).startswith("~$")]


def used_metrics(config: Mapping[str, Any]) -> list[str]:
    """Return the metrics of a review and of its analyses, sorted."""
    own = (settings.get("metric") for settings in config["analyses"].values())
    return sorted({config["metric"], *(metric for metric in own if metric)})


def without_mismatches(problems: Iterable[Problem], metrics: Collection[str]) -> list[Problem]:
    """Drop complaints about effects of another scale where some analysis takes that scale.

    Each analysis then checks the rows that would enter it.
    """
    both = "generic" in metrics and any(metric != "generic" for metric in metrics)
    return [p for p in problems if not (both and p.code == "metric_mismatch")]


def analysis_settings(config: Mapping[str, Any], name: str, root: Path) -> dict[str, Any]:
    """Return the settings of one analysis, with those of the review where it has none."""
    shared = {key: config[key] for key in SHARED_SETTINGS}
    own = config["analyses"][name] or {}
    merged = {
        key: {**config[key], **own[key]}
        for key in MERGED_SETTINGS
        if isinstance(own.get(key), dict) and isinstance(config[key], dict)
    }
    return {
        "sensitivity": config["sensitivity"],
        "bias": config["bias"],
        **shared,
        **own,
        **merged,
        "effects": expand_paths(own.get("effects") or config["effects"], root),
    }
