"""Reading and writing the tables that users' scripts read."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from alliance_meta.codebook import Codebook, load_codebook

# Types of the columns that the pipeline itself adds, by kind of table: a reviewer's own column
# may have any name that its table does not use.
EFFECT_TEXT = frozenset({"conversion", "flags", "source_file", "source_sheet"})
EFFECT_COUNTS = frozenset({"source_row"})
ROW_TEXT = frozenset({"label", "level", "reason", "estimator", "side", "coder", "first", "second"})
RESULT_TEXT = frozenset(
    {"level", "term", "parameter", "moderator", "unit", "left_out", "added", "by", "changes"}
    | {"variant", "method", "estimator", "side", "weights", "reason", "choice", "option"}
    | {"file", "sheet", "column", "problem", "suggestion"}
)
# the value of a cell that was refused
PROBLEM_TEXT = frozenset({"value"})
RESULT_COUNTS = frozenset({"row", "k_studies", "k_samples", "k_effects", "n_total"})

NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")


def write_table(table: pd.DataFrame, path: Path | str) -> None:
    """Write a table as UTF-8 CSV with LF, full double precision and empty missing cells."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")


def read_table(path: Path | str, codebook: Codebook | None = None) -> pd.DataFrame:
    """Read a table that ``write_table`` wrote, with the types it had.

    Parameters
    ----------
    path
        CSV file.
    codebook
        Gives the types of coded columns (default: the shipped codebook).

    Returns
    -------
    DataFrame
        Text columns as strings (empty cells missing), counts as nullable integers, other
        numbers as float64. Columns that nobody knows are numbers if every filled cell is.
    """
    codebook = codebook or load_codebook()
    raw = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8")
    text, counts = _added_columns(raw.columns)
    text |= {f"{name}_version" for name in codebook.versioned_columns()}
    for name in raw.columns:
        column = codebook.columns.get(name)
        if name in counts:
            raw[name] = raw[name].astype("Float64").astype("Int64")
        elif column is not None:
            raw[name] = raw[name].astype(float if column.numeric else "str")
        elif name in text:
            raw[name] = raw[name].astype("str")
        else:
            raw[name] = _number_or_text(raw[name])
    return raw


def _added_columns(columns: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return which columns of a table the pipeline adds as text and as counts."""
    if "effect_type" in columns:
        return EFFECT_TEXT, EFFECT_COUNTS
    if "effect_id" in columns:
        return ROW_TEXT, frozenset()
    if "problem" in columns:
        return RESULT_TEXT | PROBLEM_TEXT, RESULT_COUNTS
    return RESULT_TEXT, RESULT_COUNTS


def _number_or_text(values: pd.Series) -> pd.Series:
    filled = values.dropna()
    if all(NUMBER.fullmatch(text) for text in filled):
        return values.astype(float)
    return values.astype("str")


def to_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as plain dictionaries; missing cells become None."""
    return [
        {str(key): _plain(value) for key, value in row.items()}
        for row in table.to_dict(orient="records")
    ]


def write_json(content: Mapping[str, Any] | list[Any], path: Path | str) -> None:
    """Write JSON with a final newline, readable and byte-stable."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def read_json(path: Path | str) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def hash_files(paths: Iterable[str]) -> dict[str, str]:
    """Return path -> SHA-256 of the file's bytes, in the order given."""
    return {str(p): hashlib.sha256(Path(p).read_bytes()).hexdigest() for p in paths}


def _plain(value: Any) -> Any:
    if value is None or value is pd.NA:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
