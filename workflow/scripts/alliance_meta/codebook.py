"""The codebook: columns, vocabularies and synonyms of the effects sheet.

Everything that knows a column name or a code reads it here: checking, harmonising,
the documentation page and the coder workbook.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml

ColumnType = Literal["text", "integer", "number", "term"]

CODEBOOK_FILE = Path(__file__).with_name("codebook.yaml")

GROUP_TITLES = {
    "identity": "Which study, sample and effect",
    "statistic": "Reported statistic",
    "alliance": "Alliance",
    "outcome": "Outcome",
    "context": "Treatment, clients and study",
    "provenance": "Where the number comes from",
}


class CodebookError(ValueError):
    """The codebook, or an addition to it, contradicts itself."""


def normalise(text: str) -> str:
    """Reduce a word to what counts when two spellings are compared.

    Case, accents of typography (dashes, curly quotes) and runs of blanks, underscores and
    hyphens do not count; letters, digits and other signs do.

    Parameters
    ----------
    text
        A cell, a code or a synonym.

    Returns
    -------
    str
        The comparison key; empty if nothing is left.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    text = text.replace("’", "'").replace("‘", "'")
    # a lone sign is a code of its own (effect_sign), so only inner dashes are folded
    if len(text.strip()) > 1 and not re.fullmatch(r"[-−–+]?\s*\d+(\.\d+)?", text.strip()):
        text = re.sub(r"[\s_‐‑‒–—−-]+", " ", text)
    return text.strip()


@dataclass(frozen=True)
class Term:
    """One code of a vocabulary.

    Attributes
    ----------
    code
        The code as results print it.
    label, description
        What a reader sees.
    synonyms
        Spellings that mean this code.
    parent
        Code of the wider level into which a rare code can be pooled, or None.
    versions
        Named forms (of an instrument) with their spellings; they harmonise to ``code``.
    higher
        For outcome measures: whether a higher score is "better" or "worse"; else None.
    """

    code: str
    label: str
    description: str = ""
    synonyms: tuple[str, ...] = ()
    parent: str | None = None
    versions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    higher: Literal["better", "worse"] | None = None


@dataclass(frozen=True)
class Match:
    """What a cell means: its code and, where one was named, the version."""

    code: str
    version: str | None = None


@dataclass(frozen=True)
class Vocabulary:
    """A closed list of codes with their spellings."""

    name: str
    terms: Mapping[str, Term]
    spellings: Mapping[str, Match]

    def match(self, text: str) -> Match | None:
        """Return what ``text`` means, or None if it means nothing here."""
        return self.spellings.get(normalise(text))

    def all_spellings(self) -> tuple[str, ...]:
        """Return every code and version name, for suggestions."""
        names = [*self.terms]
        for term in self.terms.values():
            names.extend(term.versions)
        return tuple(names)


@dataclass(frozen=True)
class Column:
    """One column of the effects sheet; limits are None where there is none."""

    name: str
    group: str
    type: ColumnType
    description: str
    example: str = ""
    required: bool = False
    vocabulary: str | None = None
    open: bool = False
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    unit: str = ""
    when_empty: str = ""

    @property
    def numeric(self) -> bool:
        """Whether cells of this column are numbers."""
        return self.type in ("integer", "number")


@dataclass(frozen=True)
class Codebook:
    """All columns, in output order, and all vocabularies."""

    columns: Mapping[str, Column]
    vocabularies: Mapping[str, Vocabulary]

    def vocabulary_of(self, column: str) -> Vocabulary | None:
        """Return the vocabulary of a column, or None for columns without one."""
        entry = self.columns.get(column)
        if entry is None or entry.vocabulary is None:
            return None
        return self.vocabularies[entry.vocabulary]

    def versioned_columns(self) -> tuple[str, ...]:
        """Return the columns whose terms have versions (kept in ``<column>_version``)."""
        return tuple(
            name
            for name, column in self.columns.items()
            if column.vocabulary is not None
            and any(t.versions for t in self.vocabularies[column.vocabulary].terms.values())
        )

    def label(self, column: str, code: str) -> str:
        """Return the reader's word for a code; the code itself where there is none."""
        vocabulary = self.vocabulary_of(column)
        if vocabulary is None or code not in vocabulary.terms:
            return code
        return vocabulary.terms[code].label

    def level_label(self, level: str) -> str:
        """Return the reader's words for a level name such as ``rater=client``."""
        column, _, code = level.partition("=")
        return self.label(column, code) if code else level

    def level_labels(self, levels: Iterable[str]) -> dict[str, str]:
        """Return level name -> reader's words, for each level given."""
        return {level: self.level_label(level) for level in levels}

    def extended(self, additions: Mapping[str, Mapping[str, Any]]) -> "Codebook":
        """Return a codebook with further terms.

        Parameters
        ----------
        additions
            Vocabulary name -> code -> entry, as in ``codebook.yaml``. An entry for a code
            that exists adds its synonyms and versions.

        Raises
        ------
        CodebookError
            If a vocabulary is unknown or a spelling would mean two things.
        """
        vocabularies = dict(self.vocabularies)
        for name, entries in additions.items():
            if name not in vocabularies:
                known = ", ".join(vocabularies)
                raise CodebookError(f"there is no vocabulary '{name}'; there are: {known}")
            terms = dict(vocabularies[name].terms)
            for code, entry in entries.items():
                new = _term(str(code), entry or {})
                old = terms.get(new.code)
                if old is not None:
                    new = Term(
                        code=old.code,
                        label=old.label,
                        description=old.description,
                        synonyms=(*old.synonyms, *new.synonyms),
                        parent=new.parent or old.parent,
                        versions={**old.versions, **new.versions},
                        higher=new.higher or old.higher,
                    )
                terms[new.code] = new
            vocabularies[name] = _vocabulary(name, terms.values())
        return Codebook(self.columns, vocabularies)


def _term(code: str, entry: Mapping[str, Any]) -> Term:
    allowed = {"label", "description", "synonyms", "parent", "versions", "higher"}
    unknown = sorted(set(entry) - allowed)
    if unknown:
        raise CodebookError(f"'{code}': unknown entries {', '.join(unknown)}")
    return Term(
        code=code,
        label=str(entry.get("label", code)),
        description=str(entry.get("description", "")),
        synonyms=tuple(map(str, entry.get("synonyms", ()))),
        parent=entry.get("parent"),
        versions={str(k): tuple(map(str, v)) for k, v in entry.get("versions", {}).items()},
        higher=entry.get("higher"),
    )


def _vocabulary(name: str, terms: Iterable[Term]) -> Vocabulary:
    by_code = {term.code: term for term in terms}
    spellings: dict[str, Match] = {}

    def claim(spelling: str, match: Match) -> None:
        key = normalise(spelling)
        held = spellings.get(key)
        if held is not None and held != match:
            raise CodebookError(
                f"vocabulary '{name}': '{spelling}' would mean both "
                f"'{held.version or held.code}' and '{match.version or match.code}'"
            )
        spellings[key] = match

    # codes and labels are claimed first, so that no synonym can take one over
    for term in by_code.values():
        claim(term.code, Match(term.code))
    for term in by_code.values():
        if term.parent is not None and term.parent not in by_code:
            raise CodebookError(f"vocabulary '{name}': parent '{term.parent}' is not a code")
        for spelling in (term.label, *term.synonyms):
            if spellings.get(normalise(spelling)) is None or spelling != term.label:
                claim(spelling, Match(term.code))
        for version, forms in term.versions.items():
            for spelling in (version, *forms):
                claim(spelling, Match(term.code, version))
    return Vocabulary(name, by_code, spellings)


@lru_cache(maxsize=1)
def load_codebook() -> Codebook:
    """Read the codebook that ships with the package.

    Raises
    ------
    CodebookError
        If a spelling means two things or a column names an unknown vocabulary.
    """
    # the C loader takes 30 ms where the other takes 300, and every job reads the codebook
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    raw = yaml.load(CODEBOOK_FILE.read_text(encoding="utf-8"), Loader=loader)
    vocabularies = {
        name: _vocabulary(name, (_term(code, entry) for code, entry in terms.items()))
        for name, terms in raw["vocabularies"].items()
    }
    columns = {name: Column(name=name, **entry) for name, entry in raw["columns"].items()}
    for column in columns.values():
        if column.vocabulary is not None and column.vocabulary not in vocabularies:
            raise CodebookError(f"column '{column.name}': no vocabulary '{column.vocabulary}'")
    return Codebook(columns, vocabularies)
