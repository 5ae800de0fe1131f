"""A review's configuration: its defaults, its problems, its files."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
    "boolean": ("true or false", "Write true or false, without quotes."),
}

# what a value's kind is called in a schema
VALUE_TYPES: Mapping[type, frozenset[str]] = {
    dict: frozenset({"object"}),
    list: frozenset({"array"}),
    int: frozenset({"integer", "number"}),
    float: frozenset({"integer", "number"}),
}

SIZE_WORDS = {
    "minItems": "or more are needed",
    "minProperties": "or more are needed",
    "maxProperties": "are possible at most",
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
    for error in _single_errors(validator.iter_errors(config)):
        place = ".".join(str(part) for part in error.absolute_path)
        for text, suggestion in _in_words(error):
            problems.append(Problem(name, text, suggestion, column=place, code="configuration"))
    return problems


def _single_errors(
    errors: Iterable[jsonschema.ValidationError],
) -> Iterator[jsonschema.ValidationError]:
    """Yield errors by place, each where the mistake is; a value of a wrong kind has one only."""
    listed = sorted(errors, key=lambda e: [str(part) for part in e.absolute_path])
    mistyped = {tuple(e.absolute_path) for e in listed if e.validator == "type"}
    for error in listed:
        fitting = _fitting_alternative(error)
        if fitting is not None:
            yield from _single_errors(
                inner for inner in error.context or () if inner.schema_path[0] == fitting
            )
        elif error.validator == "type" or tuple(error.absolute_path) not in mistyped:
            yield error


def _fitting_alternative(error: jsonschema.ValidationError) -> int | None:
    """Return which alternative a group, a list or a number was meant to be; None for others."""
    if error.validator != "anyOf":
        return None
    kinds = VALUE_TYPES.get(type(error.instance), frozenset())
    alternatives: Any = error.validator_value
    return next(
        (number for number, schema in enumerate(alternatives) if kinds & _schema_types(schema)),
        None,
    )


def _schema_types(schema: Mapping[str, Any]) -> frozenset[str]:
    """Return the kinds of value that a schema takes, as far as it names them."""
    kinds = schema.get("type", ())
    return frozenset([kinds] if isinstance(kinds, str) else kinds)


def _in_words(error: jsonschema.ValidationError) -> list[tuple[str, str]]:
    """Return problem and suggestion; of unknown settings each has its own."""
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    if error.validator != "additionalProperties" or not isinstance(error.instance, Mapping):
        return [_one_in_words(error, schema)]
    known = list(schema.get("properties", {}))
    found = []
    for key in (key for key in error.instance if key not in known):
        nearest = process.extractOne(str(key), known, score_cutoff=60)
        hint = f"Did you mean '{nearest[0]}'?" if nearest else f"Known keys: {', '.join(known)}."
        found.append((f"There is no setting '{key}' here.", hint))
    return found


def _one_in_words(error: jsonschema.ValidationError, schema: Mapping[str, Any]) -> tuple[str, str]:
    value: Any = error.instance
    rule: Any = error.validator_value
    if error.validator == "required":
        return error.message.replace("is a required property", "is missing") + ".", "Add it."
    if error.validator == "enum":
        return (
            f"'{value}' is not allowed here.",
            f"Use one of: {', '.join(map(str, schema['enum']))}.",
        )
    if error.validator == "type":
        return _wrong_type(value, schema)
    if error.validator == "anyOf":
        return _no_alternative(value, rule)
    if error.validator in SIZE_WORDS:
        limit = f"{rule} {SIZE_WORDS[str(error.validator)]}"
        given = {0: "There is nothing here", 1: "There is only one entry here"}
        text = given.get(len(value), f"There are {len(value)} entries here")
        return f"{text}, and {limit}.", str(schema.get("description", ""))
    if error.validator == "pattern" and "choices" in error.absolute_path:
        return (
            f"'{value}' cannot name a choice.",
            "Begin with a letter, though not with choice_, and use letters, digits and _ only.",
        )
    if error.validator == "pattern":
        return (
            f"'{value}' cannot name an analysis.",
            "Begin with a letter and use letters, digits, _ and - only, such as by_rater.",
        )
    return error.message[:1].upper() + error.message[1:] + ".", str(schema.get("description", ""))


def _wrong_type(value: Any, schema: Mapping[str, Any]) -> tuple[str, str]:
    """Say which kind of value is wanted, without printing a group or a list."""
    kinds = [schema["type"]] if isinstance(schema["type"], str) else list(schema["type"])
    wanted, right = zip(*(TYPE_WORDS[kind] for kind in kinds), strict=True)
    if isinstance(value, Mapping | list):
        given = TYPE_WORDS["object" if isinstance(value, Mapping) else "array"][0]
        return f"This is {given}, not {' or '.join(wanted)}.", right[0]
    shown = _print_value(value)
    if len(wanted) == 1:
        return f"'{shown}' is not {wanted[0]}.", right[0]
    return f"'{shown}' is neither {' nor '.join(wanted)}.", right[0]


def _no_alternative(value: Any, alternatives: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Say what may stand where none of several kinds fits."""
    kinds = frozenset().union(*(_schema_types(schema) for schema in alternatives))
    ways = ["false to switch it off"]
    ways += ["true"] if "boolean" in kinds else []
    ways += ["a number"] if kinds & {"integer", "number"} else []
    ways += ["the settings listed in config/README.md"] if "object" in kinds else []
    given = f"'{_print_value(value)}'"
    if isinstance(value, Mapping | list):
        given = "A group of settings" if isinstance(value, Mapping) else "A list"
    return f"{given} is not allowed here.", f"Write {', or '.join(ways)}."


def _print_value(value: Any) -> str:
    """Return a value as YAML writes it, where Python has another word."""
    return str(value).lower() if isinstance(value, bool) else str(value)


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
