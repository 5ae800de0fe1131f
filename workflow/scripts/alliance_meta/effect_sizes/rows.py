"""One coded effect at a time, and what is found wrong with it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import pandas as pd

from alliance_meta.problems import Problem, Severity

REQUIRED_COLUMNS = ("effect_id", "study_id", "sample_id", "effect_type", "effect_value")

# log scale for se and variance; the interval is on the printed scale
RATIO_TYPES = frozenset({"odds_ratio"})
CORRELATION_TYPES = frozenset({"r", "spearman_rho", "partial_r", "semipartial_r"})
UNSIGNED_TYPES = frozenset({"F", "chi2", "p", "eta2", "r2"})


@dataclass(frozen=True)
class EffectRow:
    """The cells of one effect that conversion and checks read; None or "" if empty."""

    effect_type: str = ""
    effect_value: float | None = None
    n: float | None = None
    n1: float | None = None
    n2: float | None = None
    df: float | None = None
    n_covariates: float | None = None
    model_r2: float | None = None
    se: float | None = None
    variance: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p_value: float | None = None
    p_sides: str = ""
    effect_sign: str = ""
    exclude_reason: str = ""
    outcome_direction: str = ""
    outcome_measure: str = ""
    quote: str = ""
    source_file: str = ""
    source_sheet: str = ""
    source_row: int | None = None

    @property
    def turned(self) -> bool:
        """Whether the value has to be turned round."""
        return self.outcome_direction == "higher_is_worse"

    @property
    def has_interval(self) -> bool:
        """Whether both confidence limits are coded."""
        return self.ci_low is not None and self.ci_high is not None


_NUMBERS = tuple(f.name for f in fields(EffectRow) if f.type == float | None)
_TEXTS = tuple(f.name for f in fields(EffectRow) if f.type is str)


@dataclass(frozen=True)
class Finding:
    """A problem of one row, before it has a place."""

    column: str
    problem: str
    suggestion: str
    code: str
    severity: Severity = "error"


@dataclass
class Findings:
    """Collects what one row's conversion finds: errors, notes and flags."""

    items: list[Finding] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)

    def error(self, column: str, problem: str, suggestion: str, code: str) -> None:
        """Add an error."""
        self.items.append(Finding(column, problem, suggestion, code))

    def note(self, column: str, problem: str, suggestion: str, code: str) -> None:
        """Add a note."""
        self.items.append(Finding(column, problem, suggestion, code, "note"))

    def flag(self, name: str) -> None:
        """Add a flag once."""
        if name not in self.flags:
            self.flags.append(name)

    @property
    def failed(self) -> bool:
        """Whether an error was found."""
        return any(item.severity == "error" for item in self.items)


def format_number(value: float) -> str:
    """Print a number as a sheet shows it: shortest form, no trailing ".0"."""
    return np.format_float_positional(value, trim="-")


def locate_finding(row: EffectRow, finding: Finding) -> Problem:
    """Give a finding its place and the cell's content."""
    cell = getattr(row, finding.column, "")
    value = format_number(cell) if isinstance(cell, float) else str(cell or "")
    return Problem(
        file=row.source_file,
        sheet=row.source_sheet,
        row=row.source_row,
        column=finding.column,
        value=value,
        problem=finding.problem,
        suggestion=finding.suggestion,
        code=finding.code,
        severity=finding.severity,
    )


def _number_cells(effects: pd.DataFrame, name: str) -> list[float | None]:
    try:
        numbers = pd.to_numeric(effects[name]).to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(f"column '{name}' must hold numbers only: {error}") from error
    return [float(x) if math.isfinite(x) else None for x in numbers]


def _text_cells(effects: pd.DataFrame, name: str) -> list[str]:
    cells = effects[name]
    return [
        "" if missing else str(cell).strip()
        for cell, missing in zip(cells, cells.isna(), strict=True)
    ]


def read_rows(effects: pd.DataFrame) -> Iterator[EffectRow]:
    """Read the rows of an effects table.

    Parameters
    ----------
    effects
        Checked effects table; of its columns only those of `REQUIRED_COLUMNS` must be there.

    Raises
    ------
    ValueError
        If a required column is missing or a number column holds something else.
    """
    missing = [name for name in REQUIRED_COLUMNS if name not in effects.columns]
    if missing:
        raise ValueError(f"the effects table lacks the column(s) {', '.join(missing)}")
    repeated = effects.columns[effects.columns.duplicated()]
    if len(repeated):
        raise ValueError(f"the effects table holds column(s) twice: {', '.join(repeated)}")
    cells: dict[str, list[Any]] = {
        name: _number_cells(effects, name) for name in _NUMBERS if name in effects.columns
    }
    cells |= {name: _text_cells(effects, name) for name in _TEXTS if name in effects.columns}
    if "source_row" in effects.columns:
        numbers = _number_cells(effects, "source_row")
        cells["source_row"] = [None if x is None else int(x) for x in numbers]
    names = list(cells)
    for values in zip(*cells.values(), strict=True):
        yield EffectRow(**dict(zip(names, values, strict=True)))
