"""Addresses that a page may link to: http and https only, everything else stays text."""

import re
from urllib.parse import quote, urlsplit

DOI_RESOLVER = "https://doi.org/"

_DOI = re.compile(r"10\.\d{4,9}/\S+")
_DOI_PREFIX = re.compile(r"(?i)^(?:https?://(?:dx\.)?doi\.org/|doi:)\s*")
# characters an address holds as they are; anything else is percent-encoded
_KEPT = "%/:?#[]@!$&'()*+,;=~-._"


def clean_doi(text: str) -> str:
    """Return the bare DOI ("10.1000/x"), or "" if the text is not one."""
    doi = _DOI_PREFIX.sub("", text.strip())
    return doi if _DOI.fullmatch(doi) else ""


def safe_link(text: str) -> str:
    """Return the address a text may link to, or "".

    Parameters
    ----------
    text
        An http(s) address or a DOI, as a reviewer typed it.

    Returns
    -------
    str
        An absolute http(s) address without blanks, quotes or angle brackets; "" for other
        schemes, relative addresses and prose.
    """
    text = text.strip()
    doi = clean_doi(text)
    if doi:
        return DOI_RESOLVER + quote(doi, safe=_KEPT)
    # browsers drop control characters before they read the scheme
    if re.search(r"[\x00-\x20\x7f]", text):
        return ""
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname:
        return ""
    return quote(text, safe=_KEPT)


def shorten_address(text: str, length: int = 44) -> str:
    """Return an address without its scheme, cut in the middle if it is long."""
    shown = re.sub(r"(?i)^https?://(www\.)?", "", text.strip()).rstrip("/")
    if len(shown) <= length:
        return shown
    half = (length - 1) // 2
    return f"{shown[:half]}…{shown[-half:]}"
