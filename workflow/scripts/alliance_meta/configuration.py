"""A review's configuration: its defaults, its problems, its files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from rapidfuzz import process

from alliance_meta.problems import Problem

SHARED_SETTINGS = ("metric", "rho", "ci_level", "prediction", "where")


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
                "Check indentation, colons and quotes around this line.",
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
    return error.message[:1].upper() + error.message[1:] + ".", str(schema.get("description", ""))


def with_defaults(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a valid configuration with the schema's defaults at the top level filled in."""
    filled = {key: entry["default"] for key, entry in schema["properties"].items()}
    return {**filled, **config}


def expand_paths(patterns: Sequence[str], root: Path) -> list[str]:
    """Return files behind paths and globs relative to ``root``, sorted within each pattern.

    A path without a file stays, so that its reader can report it missing.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        # a name that begins with ~$ is the lock file of a workbook open in Excel
        matches = sorted(
            p.relative_to(root).as_posix()
            for p in root.glob(pattern)
            if not p.name.startswith("~$")
        )
        for path in matches or [pattern]:
            found[path] = None
    return list(found)


def analysis_settings(config: Mapping[str, Any], name: str, root: Path) -> dict[str, Any]:
    """Return the settings of one analysis, with those of the review where it has none."""
    shared = {key: config[key] for key in SHARED_SETTINGS}
    own = config["analyses"][name] or {}
    return {
        **shared,
        **own,
        "effects": expand_paths(own.get("effects") or config["effects"], root),
    }
