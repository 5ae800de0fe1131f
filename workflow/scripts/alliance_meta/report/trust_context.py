"""What the tables on trust in a result share: one analysis, its scale, its words, its names."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from alliance_meta.figures.wording import humanise
from alliance_meta.formatting import format_count, format_effect, format_interval, format_number
from alliance_meta.report.content import AnalysisContent
from alliance_meta.report.tables import Cell, Record, number, print_text
from alliance_meta.report.wording import (
    EMPTY,
    Labels,
    capitalise,
    describe_conversion,
    describe_estimate,
    describe_level_of_confidence,
    name_effect,
)

# rows of a table at most; the file has the others
MAXIMUM_ROWS = 15
# studies that move a result most
LARGEST = 5

INTERCEPT = "Intercept"


@dataclass(frozen=True)
class NamedEffects:
    """Labels of studies, and the study of each effect."""

    studies: Mapping[str, str]
    effects: Mapping[str, str]

    @classmethod
    def of(cls, effects: pd.DataFrame, labels: Mapping[str, str]) -> "NamedEffects":
        """Read the effect sizes table; ``labels`` gives a study's label."""
        pairs = effects[["effect_id", "study_id"]].dropna()
        return cls(
            dict(labels), {str(e): str(s) for e, s in pairs.itertuples(index=False, name=None)}
        )

    def study(self, study: str) -> str:
        """Return the label of a study."""
        return self.studies.get(study, study)

    def effect(self, effect: str) -> str:
        """Return an effect as its study's label, with its own name if the study has several."""
        study = self.effects.get(effect)
        if study is None:
            return self.study(effect)
        return (
            self.study(study) if study not in self._repeated else f"{self.study(study)} [{effect}]"
        )

    def put_names(self, text: str) -> str:
        """Return a text in which studies and effects are named as the page names them."""
        if self._known is None:
            return text
        return self._known.sub(lambda found: self._name(found.group()), text)

    def _name(self, key: str) -> str:
        return self.study(key) if key in self.studies else self.effect(key)

    @cached_property
    def _repeated(self) -> frozenset[str]:
        counts = pd.Series(list(self.effects.values()), dtype="str").value_counts()
        return frozenset(str(study) for study in counts.index[counts > 1])

    @cached_property
    def _known(self) -> re.Pattern[str] | None:
        """What finds names; numbers and plain words stay, as they may mean something else."""
        names = {*self.studies, *self.effects}
        told = [n for n in names if re.search(r"[^\W\d_]", n) and not (n.isalpha() and n.islower())]
        if not told:
            return None
        parts = "|".join(re.escape(name) for name in sorted(told, key=lambda n: (-len(n), n)))
        return re.compile(rf"(?<!\w)(?:{parts})(?!\w)")


@dataclass(frozen=True)
class TrustContext:
    """One analysis with all that turns its tables into cells."""

    content: AnalysisContent
    labels: Labels
    names: NamedEffects

    @property
    def spec(self) -> Mapping[str, Any]:
        """Return the resolved specification."""
        spec: Mapping[str, Any] = self.content.model["specification"]
        return spec

    @property
    def metric(self) -> str:
        """Return the metric of the analysis."""
        return str(self.spec["metric"])

    @cached_property
    def moderated(self) -> bool:
        """Return whether the model has more than a mean."""
        return bool(self.spec["moderators"] or self.spec["scale"])

    @property
    def percent(self) -> str:
        """Return the level of the intervals, as in "95 %"."""
        return describe_level_of_confidence(self.spec["ci_level"])

    @property
    def symbol(self) -> str:
        """Return "R" or "Effect", as column headings say it."""
        return capitalise(name_effect(self.metric))

    @property
    def estimate_heading(self) -> str:
        """Return the heading of a column of estimates with their intervals."""
        return f"#{'b' if self.moderated else self.symbol} [{self.percent} CI]"

    @property
    def reported_heading(self) -> str:
        """Return the heading of a column of estimates on the reporting scale."""
        return f"#{self.symbol} [{self.percent} CI]"

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return the rows of a table; none if the analysis does not have it."""
        found = self.content.trust.get(table)
        if found is None:
            return []
        return [{str(k): v for k, v in row.items()} for row in found.to_dict("records")]

    def reported(self, value: Any) -> float:
        """Return a mean on the reporting scale."""
        found = number(value)
        return math.tanh(found) if self.metric == "fisher_z" else found

    def print_mean(self, row: Record, digits: int = 2) -> str:
        """Return a mean with its interval on the reporting scale: ".30 [.24, .35]"."""
        value, low, high = (self.reported(row.get(k)) for k in ("estimate", "ci_low", "ci_high"))
        if pd.isna(value):
            return EMPTY
        interval = format_interval(low, high, self.metric, digits)
        return f"{format_effect(value, self.metric, digits)} {interval}".strip()

    def print_reported(self, row: Record) -> str:
        """Return the same of a row that is on the reporting scale already."""
        value, low, high = (number(row.get(k)) for k in ("estimate", "ci_low", "ci_high"))
        return describe_estimate(value, low, high, self.metric)

    def print_value(self, value: Any, digits: int = 2) -> str:
        """Return one mean on the reporting scale, as ".30"."""
        return format_effect(self.reported(value), self.metric, digits)

    def print_range(self, low: Any, high: Any) -> str:
        """Return an interval of means on the reporting scale; an en dash if there is none."""
        return format_interval(self.reported(low), self.reported(high), self.metric) or EMPTY

    def term(self, term: Any) -> str:
        """Return a term in words."""
        text = print_text(term)
        return text if text == INTERCEPT else self.labels.term(text)

    def study(self, study: Any) -> str:
        """Return the label of a study."""
        return self.names.study(print_text(study))

    def effect_cell(self, row: Record) -> Cell:
        """Return the label of an effect's study, with the effect below."""
        effect, study = print_text(row.get("effect_id")), print_text(row.get("study_id"))
        return Cell(self.study(study), effect) if study else Cell(effect)

    def class_words(self, column: str, code: str) -> str:
        """Return a code of a class of effects in words."""
        if column == "conversion":
            return describe_conversion(code)
        return self.labels.value(column, code)

    def full_coefficients(self) -> dict[str, Record]:
        """Return term -> coefficient of the analysis itself."""
        return {str(row["term"]): row for row in self.content.model["coefficients"]}


def print_coefficient(row: Record) -> str:
    """Return a coefficient with its interval on the scale of the analysis."""
    value, low, high = (number(row.get(key)) for key in ("estimate", "ci_low", "ci_high"))
    if pd.isna(value):
        return EMPTY
    # slopes per year or per percent are small
    digits = 4 if abs(value) < 0.01 else 3
    text = format_number(value, digits)
    if pd.isna(low) or pd.isna(high):
        return text
    return f"{text} [{format_number(low, digits)}, {format_number(high, digits)}]"


def print_percent(share: Any) -> str:
    """Return a share of one as "12 %"; an en dash if it is missing."""
    value = number(share)
    if pd.isna(value):
        return EMPTY
    # neither all nor none may come from rounding
    if 0 < value < 0.005:
        return "< 1 %"
    if 0.995 <= value < 1:
        return "> 99 %"
    return f"{format_number(100 * value, 0)} %"


def is_true(value: Any) -> bool:
    """Return whether a cell says yes, in memory or read from a file."""
    return print_text(value).casefold() in ("true", "yes")


def cut_rows(
    rows: Sequence[Sequence[str | Cell]], noun: str = "row"
) -> tuple[Sequence[Sequence[str | Cell]], list[str]]:
    """Return the first rows, and a note that counts the others."""
    rest = len(rows) - MAXIMUM_ROWS
    if rest <= 0:
        return rows, []
    return rows[:MAXIMUM_ROWS], [f"And {format_count(rest, f'further {noun}')} in the file."]


def shorten_list(names: Iterable[str], most: int = 8) -> list[str]:
    """Return names, the last of them "and so many others" if there are many."""
    found = list(names)
    if len(found) <= most:
        return found
    return [*found[:most], format_count(len(found) - most, "other")]


def plain_term(term: str) -> str:
    """Return a term without brackets as words inside a sentence."""
    return "the intercept" if term == INTERCEPT else humanise(term)
