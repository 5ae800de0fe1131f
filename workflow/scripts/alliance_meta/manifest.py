"""The list of library files that the workflow declares as inputs, by room.

Printed by ``python -m alliance_meta.manifest`` into ``workflow/library.yaml``: a workflow that
is fetched file by file finds its library there, and editing a file reruns what uses it.
"""

from pathlib import Path

import yaml

ROOMS = (
    "extraction",
    "effect_sizes",
    "models",
    "sensitivity",
    "bias",
    "synthesis",
    "figures",
    "report",
    "teaching",
)
ENTRY_POINTS = frozenset({"cli.py", "starter.py", "manifest.py", "codebook_page.py"})
DATA_SUFFIXES = frozenset({".py", ".yaml", ".j2", ".css", ".csl", ".json"})

LIBRARY = Path(__file__).parent


def list_library() -> dict[str, list[str]]:
    """Return room -> files relative to the package; ``base`` is what all rooms use."""
    rooms = {
        "base": [
            p.name
            for p in sorted(LIBRARY.iterdir())
            if p.suffix in DATA_SUFFIXES and p.name not in ENTRY_POINTS
        ]
    }
    for room in ROOMS:
        rooms[room] = [
            p.relative_to(LIBRARY).as_posix()
            for p in sorted((LIBRARY / room).rglob("*"))
            if p.suffix in DATA_SUFFIXES
        ]
    return rooms


def render_manifest() -> str:
    """Return the text of ``workflow/library.yaml``."""
    header = "# Written by: python -m alliance_meta.manifest\n"
    return header + yaml.safe_dump(list_library(), sort_keys=False)


if __name__ == "__main__":
    print(render_manifest(), end="")
