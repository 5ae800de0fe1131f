"""From a reviewer's sheets and bibliography to checked rows."""

from alliance_meta.extraction.bibliography import Bibliography, read_references
from alliance_meta.extraction.checks import Extraction, check_sheets
from alliance_meta.extraction.consistency import EXAMPLE_MARK
from alliance_meta.extraction.sheets import RawSheet, read_sheet

__all__ = [
    "EXAMPLE_MARK",
    "Bibliography",
    "Extraction",
    "RawSheet",
    "check_sheets",
    "read_references",
    "read_sheet",
]
