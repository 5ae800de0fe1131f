"""Read references (BibTeX) as CSL-JSON items."""

import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import bibtexparser
from bibtexparser.library import Library
from bibtexparser.middlewares import LatexDecodingMiddleware
from bibtexparser.middlewares.names import (
    parse_single_name_into_parts,
    split_multiple_persons_names,
)
from bibtexparser.model import (
    DuplicateBlockKeyBlock,
    DuplicateFieldKeyBlock,
    Entry,
    Field,
    ImplicitComment,
)

from alliance_meta.extraction.files import SAVE_AS_BIBTEX, decode_text, read_bytes
from alliance_meta.extraction.wording import listed, shorten
from alliance_meta.problems import Problem

# both libraries log what they skip; problems say it instead
for _library in ("bibtexparser", "pylatexenc"):
    logging.getLogger(_library).setLevel(logging.CRITICAL + 1)

CSL_TYPES = {
    "article": "article-journal",
    "book": "book",
    "mvbook": "book",
    "collection": "book",
    "proceedings": "book",
    "booklet": "pamphlet",
    "inbook": "chapter",
    "incollection": "chapter",
    "inreference": "chapter",
    "inproceedings": "paper-conference",
    "conference": "paper-conference",
    "phdthesis": "thesis",
    "mastersthesis": "thesis",
    "thesis": "thesis",
    "techreport": "report",
    "report": "report",
    "manual": "report",
    "unpublished": "manuscript",
    "online": "webpage",
    "electronic": "webpage",
    "www": "webpage",
}
OTHER_TYPE = "article"

GENRES = {"phdthesis": "Doctoral dissertation", "mastersthesis": "Master's thesis"}

# CSL variable <- BibTeX fields, the first that is filled counts
TEXT_FIELDS = {
    "container-title": ("journal", "journaltitle", "booktitle"),
    "collection-title": ("series",),
    "volume": ("volume",),
    "edition": ("edition",),
    "publisher": ("publisher", "school", "institution", "organization"),
    "publisher-place": ("address", "location"),
    "ISBN": ("isbn",),
    "ISSN": ("issn",),
    "language": ("language", "langid"),
    "note": ("note",),
}

_ENTRY_WITHOUT_AT = re.compile(
    rf"^\s*({'|'.join(sorted(CSL_TYPES))}|misc)\s*[{{(]\s*[^\s,{{}}]+\s*,", re.IGNORECASE
)
_KEY = re.compile(r"@\s*\w+\s*[{(]\s*([^\s,{}()=]+)")
_LATEX = re.compile(r"[\\$~]|--|``|''")


@dataclass(frozen=True)
class Bibliography:
    """The references of a review.

    Attributes
    ----------
    files
        The files as the configuration names them.
    items
        CSL-JSON items, in the order of the files.
    keys
        The keys of all entries, also of those that could not be read.
    complete
        Whether every file could be read and no entry lost its key.
    problems
        What is wrong with the files.
    """

    files: tuple[str, ...]
    items: list[dict[str, Any]]
    keys: frozenset[str]
    complete: bool
    problems: list[Problem]


def read_references(references: Sequence[tuple[str, Path]]) -> Bibliography:
    """Read BibTeX files.

    Parameters
    ----------
    references
        Files as (name in the configuration, path).

    Returns
    -------
    Bibliography
        Items and problems; a problem's row is the line in the file. Never raises on bad data.
    """
    problems: list[Problem] = []
    items: dict[str, dict[str, Any]] = {}
    places: dict[str, tuple[str, int]] = {}
    keys: set[str] = set()
    complete = True
    for name, path in references:
        library = _read_library(path, name)
        if isinstance(library, Problem):
            problems.append(library)
            complete = False
            continue
        failures = list(_failures(library, name))
        problems += failures
        if not library.entries and not failures:
            problems.append(_without_entries(name, library))
        # an entry whose @ is missing is a comment to the parser, and its key is lost
        complete = complete and len(failures) == len(library.failed_blocks)
        for block in library.failed_blocks:
            found = _KEY.match(block.raw or "")
            if found:
                keys.add(found[1])
            else:
                complete = False
        for entry in library.entries:
            key, line = entry.key, _line(entry.start_line)
            if not key:
                problems.append(_without_key(name, line, entry.raw))
                continue
            if key in places:
                problems.append(_same_key(name, line, key, places[key], entry.raw))
                continue
            places[key] = (name, line)
            # the parser takes Year and year for two fields
            counts = Counter(field.key.lower() for field in entry.fields)
            double = [field for field, count in counts.items() if count > 1]
            if double:
                problems.append(_same_field(name, line, double, _start(entry.raw)))
            items[key] = _csl_item(entry)
            if "title" not in items[key]:
                problems.append(_without_title(name, line, key))
    return Bibliography(
        files=tuple(name for name, _ in references),
        items=list(items.values()),
        keys=frozenset(keys | items.keys()),
        complete=complete,
        problems=problems,
    )


# --- reading ------------------------------------------------------------------------------


def _read_library(path: Path, name: str) -> Library | Problem:
    data = read_bytes(path, name)
    if isinstance(data, Problem):
        return data
    text = decode_text(data, name, SAVE_AS_BIBTEX)
    if isinstance(text, Problem):
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bibtexparser.parse_string(text)
    except Exception:
        # the parser promises failed blocks, but a file of garbage may find a way round
        return _not_bibtex(name)


def _not_bibtex(name: str) -> Problem:
    return Problem(name, "This is not a BibTeX file.", SAVE_AS_BIBTEX, code="not_bibtex")


def _line(start_line: int | None) -> int:
    """Return the line as editors count, from 1."""
    return (start_line or 0) + 1


def _failures(library: Library, name: str) -> Iterator[Problem]:
    """Say what is wrong with the entries that could not be read."""
    for block in library.failed_blocks:
        line, start = _line(block.start_line), _start(block.raw)
        if isinstance(block, DuplicateBlockKeyBlock):
            first = (name, _line(block.previous_block.start_line))
            yield _same_key(name, line, block.key, first, block.raw)
        elif isinstance(block, DuplicateFieldKeyBlock):
            yield _same_field(name, line, block.duplicate_keys, start)
        else:
            yield _broken(name, line, start)
    for comment in library.comments:
        if isinstance(comment, ImplicitComment):
            for offset, text in enumerate(comment.comment.split("\n")):
                if _ENTRY_WITHOUT_AT.match(text):
                    yield _broken(name, _line(comment.start_line) + offset, _start(text))


def _start(raw: str | None) -> str:
    return shorten(raw or "", 50)


def _broken(name: str, line: int, start: str) -> Problem:
    return Problem(
        name,
        f"The entry in line {line} cannot be read (it begins: {start}).",
        "Probably a comma, a brace or a quotation mark is missing; exporting again from Zotero "
        "mends it.",
        row=line,
        value=start,
        code="broken_entry",
    )


def _same_key(name: str, line: int, key: str, first: tuple[str, int], raw: str | None) -> Problem:
    file, first_line = first
    where = f"line {first_line}" if file == name else f"line {first_line} of {file}"
    start = _start(raw)
    return Problem(
        name,
        f"The entry in line {line} has the key '{key}' of the entry in {where} "
        f"(it begins: {start}).",
        "Give each entry its own key, or delete one.",
        row=line,
        value=key,
        code="duplicate_key",
    )


def _same_field(name: str, line: int, fields: Iterable[str], start: str) -> Problem:
    return Problem(
        name,
        f"The entry in line {line} has a field twice: {listed(sorted(fields))} "
        f"(it begins: {start}).",
        "Delete one of the two.",
        row=line,
        value=start,
        code="duplicate_field",
    )


def _without_key(name: str, line: int, raw: str | None) -> Problem:
    start = _start(raw)
    return Problem(
        name,
        f"The entry in line {line} has no key (it begins: {start}).",
        "Write a key after the opening brace, for example @article{smith2010, ...",
        row=line,
        value=start,
        code="entry_without_key",
    )


def _without_title(name: str, line: int, key: str) -> Problem:
    return Problem(
        name,
        f"The entry '{key}' in line {line} has no title.",
        "Add it, so that the reference can be listed.",
        row=line,
        value=key,
        code="entry_without_title",
        severity="note",
    )


def _without_entries(name: str, library: Library) -> Problem:
    text = "\n".join(c.comment for c in library.comments if isinstance(c, ImplicitComment))
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if not all(line.startswith(("%", "@comment")) for line in lines):
        return _not_bibtex(name)
    return Problem(
        name,
        "The bibliography holds no entry.",
        SAVE_AS_BIBTEX,
        code="no_entries",
        severity="note",
    )


# --- CSL items ----------------------------------------------------------------------------


def _csl_item(entry: Entry) -> dict[str, Any]:
    fields = {
        field.key.lower(): field.value.strip()
        for field in reversed(entry.fields)
        if isinstance(field.value, str) and field.value.strip()
    }
    kind = entry.entry_type.lower()
    item: dict[str, Any] = {"id": entry.key, "type": _csl_type(kind, fields)}
    title = _title(fields)
    if title:
        item["title"] = title
    for role in ("author", "editor"):
        names = _people(fields.get(role, ""))
        if names:
            item[role] = names
    item.update(_date(fields))
    for variable, sources in TEXT_FIELDS.items():
        text = next((_plain(fields[source]) for source in sources if source in fields), "")
        if text:
            item[variable] = text
    number = _plain(fields.get("number", "") or fields.get("issue", ""))
    if number:
        item["number" if item["type"] == "report" else "issue"] = number
    pages = _pages(fields.get("pages", "") or fields.get("eid", ""))
    if pages:
        item["page"] = pages
    genre = _plain(fields.get("type", "")) or GENRES.get(kind, "")
    if genre:
        item["genre"] = GENRES.get(genre.lower(), genre)
    doi = re.sub(r"^(https?://(dx\.)?doi\.org/|doi:\s*)", "", _verbatim(fields.get("doi", "")))
    if doi:
        item["DOI"] = doi
    url = _verbatim(fields.get("url", ""))
    if url:
        item["URL"] = url
    return item


def _csl_type(kind: str, fields: dict[str, str]) -> str:
    if kind in CSL_TYPES:
        return CSL_TYPES[kind]
    if kind == "misc" and "url" in fields and "howpublished" not in fields:
        return "webpage"
    return OTHER_TYPE


def _title(fields: dict[str, str]) -> str:
    title, subtitle = _plain(fields.get("title", "")), _plain(fields.get("subtitle", ""))
    return f"{title}: {subtitle}" if title and subtitle else title


def _people(text: str) -> list[dict[str, str]]:
    text = " ".join(text.split())
    try:
        people = [_person(name) for name in split_multiple_persons_names(text)]
    except (IndexError, ValueError):
        # unbalanced braces; the names as written are better than none
        people = [{"literal": _plain(text)}]
    return [person for person in people if any(person.values())]


def _person(name: str) -> dict[str, str]:
    if name == "others":
        return {"literal": "et al."}
    if _in_braces(name):
        return {"literal": _plain(name)}
    parts = parse_single_name_into_parts(name, strict=False)
    person = {
        "family": _plain(" ".join([*parts.von, *parts.last])),
        "given": _plain(" ".join(parts.first)),
        "suffix": _plain(" ".join(parts.jr)),
    }
    return {part: words for part, words in person.items() if words}


def _in_braces(text: str) -> bool:
    """Return whether one pair of braces holds the whole text."""
    if not (text.startswith("{") and text.endswith("}")):
        return False
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "{") - (letter == "}")
        if depth == 0 and i < len(text) - 1:
            return False
    return depth == 0


def _date(fields: dict[str, str]) -> dict[str, Any]:
    text = _plain(fields.get("year", "") or fields.get("date", ""))
    found = re.search(r"(?<!\d)\d{4}(?!\d)", text)
    if found:
        return {"issued": {"date-parts": [[int(found[0])]]}}
    # "in press" and the like
    return {"status": text} if text else {}


def _pages(text: str) -> str:
    # before decoding, which would make a dash of the hyphens
    return _plain(re.sub(r"\s*(-{1,3}|[\u2010-\u2015\u2212])\s*", "-", text))


def _verbatim(text: str) -> str:
    """Return an address: escapes and braces removed, nothing else decoded."""
    text = re.sub(r"^\\url\s*", "", text)
    return re.sub(r"[{}]|\\(?=[_%&#~$])", "", text).strip()


_DECODER = LatexDecodingMiddleware(keep_math_mode=False)


@lru_cache(maxsize=4096)
def _plain(text: str) -> str:
    """Decode LaTeX: accents, dashes, quotes and commands become plain text."""
    if _LATEX.search(text):
        # in a bibliography these are signs, not a comment and a table column
        text = re.sub(r"(?<!\\)([%&#])", r"\\\1", text)
        holder = Entry("misc", "key", [Field("text", text)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _DECODER.transform_entry(holder, Library())
        text = str(holder["text"])
    else:
        text = re.sub(r"[{}]", "", text)
    return " ".join(text.split())
