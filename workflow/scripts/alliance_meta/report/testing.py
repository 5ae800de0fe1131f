"""Test statistics and p-values in words: what is withheld, and what resampling says instead."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from alliance_meta.formatting import format_count, format_df, format_number, format_p
from alliance_meta.report.wording import EMPTY

Record = Mapping[str, Any]

# name of the test of all moderators together
OMNIBUS = "omnibus"
WITHHELD = "withheld"

# statistic -> its symbol with one df, and with two
_SYMBOLS = {
    "Q": ("Q", "F"),
    "QM": ("QM", "F"),
    "QS": ("QS", "F"),
    "LRT_separate_tau2": ("χ²", "F"),
    "LRT_scale": ("χ²", "F"),
}
_PARTS = ("_df", "_df1", "_df2", "_p")
# printed inside the row of the statistic they belong to
PARTS_OF_TESTS = tuple(f"{name}{part}" for name in _SYMBOLS for part in _PARTS)


@dataclass(frozen=True)
class Resampled:
    """A test by resampling.

    Attributes
    ----------
    kind
        "permutation" or "bootstrap".
    p_value
        Its p-value.
    extent
        "10,000 permutations", or "all 32 replications" of an exact test.
    """

    kind: str
    p_value: float
    extent: str


@dataclass(frozen=True)
class TestResults:
    """What may be said of the p-values of one analysis, by term.

    Attributes
    ----------
    withheld
        Term -> why its p-value is withheld.
    resampled
        Term -> its test by resampling.
    """

    __test__ = False

    withheld: Mapping[str, str]
    resampled: Mapping[str, Resampled]

    @classmethod
    def of(cls, model: Record) -> "TestResults":
        """Read the tests of a ``model.json``."""
        found: dict[str, Resampled] = {}
        for layer, kind, noun in (
            ("permutation", "permutation", "permutation"),
            ("wild_bootstrap", "bootstrap", "replication"),
        ):
            for row in model["layers"].get(layer, ()):
                if row["p_value"] is None or pd.isna(row["p_value"]):
                    continue
                count = format_count(int(row[f"{noun}s"]), noun)
                extent = f"all {count}" if row["exact"] else count
                found[row["term"]] = Resampled(kind, float(row["p_value"]), extent)
        return cls(model["withheld"], found)

    @property
    def kind(self) -> str:
        """Return "permutation" or "bootstrap"; "" without any test by resampling."""
        return next((test.kind for test in self.resampled.values()), "")

    def print_p(self, term: str, p_value: Any) -> str:
        """Print a p-value for a column: ".012", "< .001", "withheld" or an en dash."""
        if term in self.withheld:
            return WITHHELD
        return print_p(p_value)

    def print_resampled(self, term: str) -> str:
        """Print the p-value by resampling for a column."""
        test = self.resampled.get(term)
        return EMPTY if test is None else print_p(test.p_value)

    def describe_p(self, term: str, p_value: Any) -> str:
        """Return "p = .012" or "p withheld; permutation p = .034"; "" if there is none."""
        parts = []
        if term in self.withheld:
            parts.append("p withheld")
        elif p_value is not None and not pd.isna(p_value):
            parts.append(f"p {format_p(float(p_value))}")
        if term in self.resampled:
            test = self.resampled[term]
            parts.append(f"{test.kind} p {format_p(test.p_value)}")
        return "; ".join(parts)


def print_p(p_value: Any) -> str:
    """Print a p-value for a column: ".012" or "< .001"; an en dash if it is missing."""
    if p_value is None or pd.isna(p_value):
        return EMPTY
    return format_p(float(p_value)).removeprefix("= ")


def parameters(model: Record) -> dict[str, float]:
    """Return the parameters of heterogeneity that have a value."""
    values = {row["parameter"]: row["estimate"] for row in model["heterogeneity"]}
    return {k: float(v) for k, v in values.items() if v is not None and not pd.isna(v)}


def print_test(name: str, values: Mapping[str, float]) -> str:
    """Return "F(3, 12.4) = 1.77", "Q(60) = 176.68" or "χ²(2) = 3.10"; "" if there is none."""
    df1 = values.get(f"{name}_df1", values.get(f"{name}_df"))
    if name not in values or df1 is None:
        return ""
    symbol, with_two = _SYMBOLS.get(name, (name, "F"))
    df = format_df(df1)
    if f"{name}_df2" in values:
        # an approximation that breaks down may give less than none
        symbol, df = with_two, f"{df}, {format_df(max(values[f'{name}_df2'], 0.0))}"
    return f"{symbol}({df}) = {format_number(values[name])}"
