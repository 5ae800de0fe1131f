"""Files as reviewers save them: bytes to text, or one clear problem."""

from pathlib import Path

from alliance_meta.problems import Problem

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

SAVE_AS_CSV = "In Excel choose File > Save As > 'CSV UTF-8 (Comma delimited)'."
SAVE_AS_BIBTEX = (
    "In Zotero export the collection again: format BibTeX, character encoding 'Unicode (UTF-8)'."
)


def read_bytes(path: Path, name: str) -> bytes | Problem:
    """Return what a file holds, or why it cannot be read.

    Parameters
    ----------
    path
        The file.
    name
        The file as the configuration names it.
    """
    if not path.exists():
        return Problem(
            name,
            "There is no such file.",
            "Check the file names in config/config.yaml.",
            code="file_missing",
        )
    if path.is_dir():
        return Problem(
            name,
            "This is a folder, not a file.",
            "Name the file itself in config/config.yaml.",
            code="file_missing",
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        return Problem(
            name,
            f"The file cannot be opened ({error.strerror or error}).",
            "Close it in other programs and check that you may read it.",
            code="file_unreadable",
        )
    if not data.removeprefix(BYTE_ORDER_MARK).strip():
        return Problem(name, "The file is empty.", "Check that it was saved.", code="file_empty")
    return data


def decode_text(data: bytes, name: str, advice: str) -> str | Problem:
    """Turn UTF-8 bytes, with or without byte order mark, into text.

    Parameters
    ----------
    data
        The file's bytes.
    name
        The file as the configuration names it.
    advice
        The sentence that says how to save such a file as UTF-8.

    Returns
    -------
    str or Problem
        The text, or one problem that names the first row that cannot be read.
    """
    if data.startswith(UTF16_MARKS):
        problem = "The file is saved as 'Unicode text' (UTF-16), not as UTF-8."
        return Problem(name, problem, advice, code="wrong_encoding")
    if b"\0" in data:
        problem = "This is not a text file: it holds bytes that no text has."
        return Problem(name, problem, advice, code="not_text")
    data = data.removeprefix(BYTE_ORDER_MARK)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("latin-1")
        line = before.replace("\r\n", "\n").replace("\r", "\n").rpartition("\n")[2]
        after = data[error.start : error.start + 20].decode("cp1252", errors="replace")
        shown = _last_word(line) + _first_word(after)
        return Problem(
            name,
            f"The file is not saved as UTF-8: row {_row_at(before)} has a letter that cannot "
            f"be read (near '{shown}').",
            advice,
            row=_row_at(before),
            value=shown,
            code="wrong_encoding",
        )


def _row_at(text: str) -> int:
    """Return the spreadsheet row in which ``text`` ends; quoted line breaks do not count."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    # every second piece stands inside quotation marks
    return 1 + sum(piece.count("\n") for piece in text.split('"')[::2])


def _last_word(text: str) -> str:
    word = ""
    for letter in reversed(text):
        if not letter.isalnum():
            break
        word = letter + word
    return word


def _first_word(text: str) -> str:
    word = text[:1]
    for letter in text[1:]:
        if not letter.isalnum():
            break
        word += letter
    return word
