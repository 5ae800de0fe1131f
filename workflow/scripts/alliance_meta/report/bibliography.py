"""The reference list in APA style."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from citeproc import Citation, CitationItem, CitationStylesBibliography, CitationStylesStyle
from citeproc.source.json import CiteProcJSON
from markupsafe import Markup, escape

from alliance_meta.report.links import clean_doi, safe_link

STYLE_FILE = Path(__file__).parent / "styles" / "apa.csl"

# italics travel through citeproc as private-use characters, so that every character of its
# output can be escaped and no markup of a field survives
_OPEN, _CLOSE = "\ue000", "\ue001"
_PRIVATE_OR_CONTROL = re.compile(r"[\ue000-\uf8ff\x00-\x1f\x7f]")

_TEXT_FIELDS = (
    "title",
    "container-title",
    "publisher",
    "volume",
    "issue",
    "number",
    "edition",
    "genre",
    "archive",
    "event",
)
_NAME_FIELDS = ("author", "editor")
_NAME_PARTS = ("family", "given", "suffix", "dropping-particle", "non-dropping-particle")
_KNOWN_TYPES = (
    "article",
    "article-journal",
    "article-magazine",
    "article-newspaper",
    "book",
    "chapter",
    "dataset",
    "entry",
    "manuscript",
    "paper-conference",
    "post-weblog",
    "report",
    "thesis",
    "webpage",
)
_ARTICLE_NUMBER = re.compile(r"[a-z]+\d+", re.IGNORECASE)
_LEADING_ARTICLE = re.compile(r"^(the|an|a)\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Reference:
    """One entry of the reference list.

    Attributes
    ----------
    key
        Citation key.
    html
        The entry without its address; every text escaped, ``<i>`` the only element.
    address
        DOI or address as printed at the end of the entry; empty if there is none.
    link
        Where ``address`` may point to (http or https); empty if nowhere.
    """

    key: str
    html: Markup
    address: str
    link: str

    @property
    def text(self) -> str:
        """The whole entry without italics."""
        return f"{self.html.striptags()} {self.address}".strip()


def _wrap_italic(text: object) -> str:
    return f"{_OPEN}{text}{_CLOSE}"


# what citeproc asks of an output format; the style uses italics only
_FORMAT = SimpleNamespace(preformat=str, Italic=_wrap_italic)


@lru_cache(maxsize=1)
def load_style() -> CitationStylesStyle:
    """Read the APA style; its validity is a matter of the tests."""
    return CitationStylesStyle(str(STYLE_FILE), validate=False)


def format_references(
    items: Iterable[Mapping[str, Any]], year_suffixes: Mapping[str, str] | None = None
) -> list[Reference]:
    """Format references in APA style, sorted as a reference list.

    Parameters
    ----------
    items
        CSL-JSON items; the first of those with the same id counts.
    year_suffixes
        Citation key -> letter that the text prints after the year ("2010a").

    Returns
    -------
    list of Reference
        By author, then year, then title; entries without author stand under their title.

    References
    ----------
    American Psychological Association (2020). Publication manual (7th ed.), chapters 9-10.
    """
    cleaned: dict[str, dict[str, Any]] = {}
    for item in items:
        key = str(item["id"])
        if key not in cleaned:
            # citeproc folds the case of ids; numbers keep "Smith2010" and "smith2010" apart
            entry = _clean_item(item, str(len(cleaned)))
            suffix = (year_suffixes or {}).get(key, "")
            if suffix:
                entry["year-suffix"] = suffix
            cleaned[key] = entry
    if not cleaned:
        return []
    source = CiteProcJSON(list(cleaned.values()))
    bibliography = CitationStylesBibliography(load_style(), source, _FORMAT)
    bibliography.register(Citation([CitationItem(entry["id"]) for entry in cleaned.values()]))
    printed = bibliography.bibliography()
    entries = [
        _finish_entry(key, entry, str(text))
        for (key, entry), text in zip(cleaned.items(), printed, strict=True)
    ]
    return [reference for _, reference in sorted(entries, key=lambda pair: pair[0])]


def _clean_item(item: Mapping[str, Any], entry_id: str) -> dict[str, Any]:
    """Keep what the style prints, in the shapes citeproc takes."""
    kind = str(item.get("type", "")).lower()
    clean: dict[str, Any] = {
        "id": entry_id,
        "type": kind if kind in _KNOWN_TYPES else "document",
    }
    for field in _TEXT_FIELDS:
        text = _clean_text(item.get(field))
        if text:
            clean[field] = text
    # the closing full stop comes from the style
    title = clean.get("title", "")
    if title.endswith(".") and not title.endswith(".."):
        clean["title"] = title[:-1].rstrip()
    clean.setdefault("title", "[Untitled]")
    pages = re.sub(r"\s*[-‐–—]+\s*", "–", _clean_text(item.get("page")))
    if pages:
        # e88 is no page but the number of an article (APA 9.27)
        clean["number" if _ARTICLE_NUMBER.fullmatch(pages) else "page"] = pages
    for field in _NAME_FIELDS:
        names = [_clean_name(name) for name in item.get(field) or ()]
        names = [name for name in names if name]
        if names:
            clean[field] = names
    issued = _clean_date(item.get("issued") or {})
    if issued:
        clean["issued"] = issued
    if clean["type"] == "thesis":
        clean.setdefault("genre", "Thesis")
        clean["genre"] = _lower_first(clean["genre"])
    _drop_author_as_publisher(clean)
    _add_address(clean, item)
    return clean


def _clean_text(value: object) -> str:
    if value is None or isinstance(value, (list, dict)):
        return ""
    return " ".join(_PRIVATE_OR_CONTROL.sub(" ", str(value)).split())


def _clean_name(name: Mapping[str, Any]) -> dict[str, str]:
    literal = _clean_text(name.get("literal"))
    if literal:
        return {"literal": literal}
    parts = {part: _clean_text(name.get(part)) for part in _NAME_PARTS}
    parts = {part: text for part, text in parts.items() if text}
    if "family" in parts:
        return parts
    return {"literal": parts["given"]} if "given" in parts else {}


def _clean_date(issued: Mapping[str, Any]) -> dict[str, Any]:
    dates = issued.get("date-parts") or []
    numbers: list[int] = []
    for part in dates[0] if dates else ():
        text = str(part).strip()
        if not text.isdecimal():
            break
        numbers.append(int(text))
    # a month outside the calendar has no name to print
    if len(numbers) > 1 and not 1 <= numbers[1] <= 12:
        numbers = numbers[:1]
    if numbers and numbers[0] > 0:
        return {"date-parts": [numbers]}
    literal = _clean_text(issued.get("literal") or issued.get("raw"))
    return {"literal": literal} if literal else {}


def _lower_first(text: str) -> str:
    """Lower the first letter unless the word is written with inner capitals ("PhD")."""
    word = text.split()[0]
    return text if any(letter.isupper() for letter in word[1:]) else text[0].lower() + text[1:]


def _drop_author_as_publisher(clean: dict[str, Any]) -> None:
    # APA 9.29: a publisher that is the author is not repeated
    bodies = {name.get("literal") for name in clean.get("author", ())}
    if clean.get("publisher") in bodies:
        clean.pop("publisher", None)


def _add_address(clean: dict[str, Any], item: Mapping[str, Any]) -> None:
    doi = clean_doi(_clean_text(item.get("DOI")))
    url = _clean_text(item.get("URL"))
    if doi or clean_doi(url):
        clean["DOI"] = doi or clean_doi(url)
    elif url:
        clean["URL"] = url


def _finish_entry(key: str, entry: Mapping[str, Any], text: str) -> tuple[str, Reference]:
    """Cut the address off, settle the full stops, escape, and add the key to sort by."""
    address = entry.get("URL", "")
    if "DOI" in entry:
        address = f"https://doi.org/{entry['DOI']}"
    if address:
        text = text.removesuffix(address).rstrip()
    # a description in place of a title is upright (APA 9.22)
    text = re.sub(rf"{_OPEN}(\[[^{_CLOSE}]*\]){_CLOSE}", r"\1", text)
    # "and others" of BibTeX is a name to citeproc
    text = text.replace(", & et al.", ", et al.")
    # a title that ends in its own mark takes no full stop
    text = re.sub(rf"([?!])({_CLOSE}?)\.(?=\s|$)", r"\1\2", text)
    text = re.sub(rf"\.{_CLOSE}\.(?=\s|$)", f".{_CLOSE}", text)
    plain = text.replace(_OPEN, "").replace(_CLOSE, "")
    html = str(escape(text)).replace(_OPEN, "<i>").replace(_CLOSE, "</i>")
    named = "author" in entry or "editor" in entry
    reference = Reference(key, Markup(html), address, safe_link(address))
    return _sort_key(plain if named else _LEADING_ARTICLE.sub("", plain)), reference


def _sort_key(text: str) -> str:
    """Letters without accents and case; what comes before the year decides first."""
    bare = unicodedata.normalize("NFKD", text.lstrip("[“\"'‘")).casefold()
    return "".join(letter for letter in bare if not unicodedata.combining(letter))
