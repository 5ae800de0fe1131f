"""What every assessment of a result returns: tables, and the sentences a paper would print."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd
from tqdm import tqdm

from alliance_meta.tables import write_json, write_table

# a bar that is done sooner is never drawn
DELAY_SECONDS = 2


@dataclass(frozen=True)
class Assessment:
    """One way to ask how far a result can be trusted.

    Attributes
    ----------
    name
        Short name, as in the configuration.
    tables
        Name of the file without ending -> table; a table without rows where nothing could be
        computed.
    sentences
        Made from the tables; where something could not be computed, why.
    """

    name: str
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()

    def completed(self, columns: Mapping[str, Iterable[str]]) -> "Assessment":
        """Return the assessment with all of its tables, those without rows included.

        Parameters
        ----------
        columns
            Name of each table -> its columns.
        """
        tables = {
            name: self.tables.get(name, pd.DataFrame(columns=list(own)))
            for name, own in columns.items()
        }
        return Assessment(self.name, tables, self.sentences)


class Progress:
    """Told what is at work and how far; keeps it to itself."""

    def begin(self, name: str) -> None:
        """Begin an assessment."""

    def advance(self, count: int) -> None:
        """Count finished fits."""


class ProgressBar(Progress):
    """A bar on the terminal for what takes longer than two seconds.

    Parameters
    ----------
    title
        What the bar is of.
    total
        Number of assessments, or of what ``step`` counts.
    """

    def __init__(self, title: str, total: int) -> None:
        self.title, self.fits, self.begun = title, 0, 0
        self.bar = tqdm(total=total, desc=title, delay=DELAY_SECONDS, disable=None, leave=False)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.close()

    def begin(self, name: str) -> None:
        """Begin an assessment."""
        self.bar.update(1 if self.begun else 0)
        self.begun += 1
        self.bar.set_description(f"{self.title}: {name.replace('_', ' ')}", refresh=False)

    def step(self, count: int) -> None:
        """Move the bar itself."""
        self.bar.update(count)

    def advance(self, count: int) -> None:
        """Count finished fits."""
        self.fits += count
        self.bar.set_postfix_str(f"{self.fits:,} fits")


def write_assessments(
    assessments: Iterable[Assessment],
    tables: Iterable[str],
    record: str,
    *,
    log: str,
    settings: Mapping[str, Any],
) -> None:
    """Write tables, sentences and settings of assessments.

    Parameters
    ----------
    assessments
        Together they hold every table asked for.
    tables
        Files to write; each is named as its table.
    record
        JSON file of sentences by assessment, and of the settings.
    log
        Text file of the sentences.
    settings
        What the configuration says of these assessments.
    """
    found = list(assessments)
    by_name = {name: table for a in found for name, table in a.tables.items()}
    for path in tables:
        write_table(by_name[Path(path).stem], path)
    sentences = {a.name: list(a.sentences) for a in found}
    write_json({"sentences": sentences, "settings": dict(settings)}, record)
    lines = [f"{name}: {text}\n" for name, texts in sentences.items() for text in texts]
    Path(log).write_text("".join(lines), encoding="utf-8", newline="\n")
