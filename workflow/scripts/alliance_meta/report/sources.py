"""The methods' own references, cited as the text goes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alliance_meta.citations import short_citation

METHOD_REFERENCES_FILE = Path(__file__).parent / "styles" / "method_references.json"


@dataclass
class MethodSources:
    """The methods' own references; keeps track of which are cited."""

    items: Mapping[str, Mapping[str, Any]]
    cited: set[str] = field(default_factory=set)

    @classmethod
    def load(cls) -> "MethodSources":
        """Read the references that ship with the package."""
        items = json.loads(METHOD_REFERENCES_FILE.read_text(encoding="utf-8"))
        return cls({item["id"]: item for item in items})

    def cite(self, *keys: str) -> str:
        """Return "(Fisher, 1921; Hedges, 1983)"; "" without keys."""
        if not keys:
            return ""
        self.cited.update(keys)
        years: dict[str, list[str]] = {}
        for key in sorted(keys):
            authors, year = short_citation(self.items[key])
            years.setdefault(authors, []).append(year)
        return f"({'; '.join(', '.join([authors, *found]) for authors, found in years.items())})"

    def cited_items(self) -> list[Mapping[str, Any]]:
        """Return the CSL-JSON items cited so far."""
        return [self.items[key] for key in sorted(self.cited)]
