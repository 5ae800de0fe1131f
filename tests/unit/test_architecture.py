"""Rooms import only upstream, each heavy package has one importing room, lists are in step."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from alliance_meta.manifest import ENTRY_POINTS, list_library, render_manifest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "workflow" / "scripts" / "alliance_meta"
ORDER = [
    "extraction",
    "effect_sizes",
    "models",
    "sensitivity",
    "bias",
    "synthesis",
    "figures",
    "report",
    "teaching",
]
ONE_ROOM = {
    "pymare": "models",
    "formulaic": "models",
    "matplotlib": "figures",
    "seaborn": "figures",
    "jinja2": "report",
    "citeproc": "report",
    "bibtexparser": "extraction",
    "openpyxl": "extraction",
}
# distribution name -> name it is imported by, where they differ
IMPORT_NAMES = {"pyyaml": "yaml", "citeproc-py": "citeproc", "matplotlib-base": "matplotlib"}
# conda's name -> name in pyproject.toml
CONDA_NAMES = {
    "matplotlib-base": "matplotlib",
    "seaborn-base": "seaborn",
    "snakemake-minimal": "snakemake",
}
# needed at run time without being imported by us: Snakemake's report highlights with it
NOT_IMPORTED = {"pygments"}


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def room_of(path):
    parts = path.relative_to(LIBRARY).parts
    return parts[0] if len(parts) > 1 else ""


@pytest.mark.parametrize("path", sorted(LIBRARY.rglob("*.py")), ids=lambda p: p.stem)
def test_modules_import_only_upstream(path):
    room = room_of(path)
    for module in imported_modules(path):
        parts = module.split(".")
        if parts[0] == "alliance_meta" and len(parts) > 1 and parts[1] in ORDER:
            if room:
                assert ORDER.index(parts[1]) <= ORDER.index(room), f"{path.name} imports {module}"
            else:
                assert path.name in ENTRY_POINTS, f"{path.name} is shared and imports {module}"
        home = ONE_ROOM.get(parts[0])
        assert home is None or room == home, f"{path.name} imports {parts[0]}"
        assert parts[0] != "snakemake"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "workflow" / "scripts").glob("*.py")), ids=lambda p: p.stem
)
def test_rule_scripts_are_short_and_belong_to_a_rule(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    assert "from __future__" not in text
    rules = "".join(p.read_text() for p in (ROOT / "workflow" / "rules").glob("*.smk"))
    assert f"rule {path.stem}:" in rules


def test_functions_stand_in_common_only():
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        has_functions = re.search(r"^def ", path.read_text(), re.MULTILINE) is not None
        assert has_functions == (path.name == "common.smk"), path.name


def test_manifest_lists_every_library_file():
    assert (ROOT / "workflow" / "library.yaml").read_text() == render_manifest()
    listed = {file for files in list_library().values() for file in files}
    for path in LIBRARY.rglob("*"):
        if path.is_file() and room_of(path) and "__pycache__" not in path.parts:
            assert path.relative_to(LIBRARY).as_posix() in listed, path


def requirement(text):
    name, limits = re.match(r"([A-Za-z0-9_.-]+)\s*(.*)", text).groups()
    return name.lower(), limits.replace(" ", "")


@pytest.fixture
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def declared(project):
    return dict(requirement(text) for text in project["dependencies"])


def test_conda_environment_matches_the_package(project, declared):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = dict(requirement(text) for text in environment if isinstance(text, str))
    pip = dict(requirement(t) for d in environment if isinstance(d, dict) for t in d["pip"])
    assert conda.pop("python") == project["requires-python"]
    conda.pop("pip")
    renamed = {CONDA_NAMES.get(name, name): limits for name, limits in conda.items()}
    assert {**renamed, **pip} == declared


def test_every_import_is_declared(declared):
    import sys

    names = {IMPORT_NAMES.get(name, name) for name in declared}
    used = {
        module.split(".")[0]
        for path in (ROOT / "workflow" / "scripts").rglob("*.py")
        for module in imported_modules(path)
    }
    third_party = used - set(sys.stdlib_module_names) - {"alliance_meta"}
    assert third_party <= names
    assert names - third_party - {"snakemake"} == NOT_IMPORTED


def test_lock_holds_every_declared_package_with_hashes(project, declared):
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    entries = re.split(r"\n(?=[a-z0-9])", lock.strip())
    locked = {re.split(r"[=<>\s]", entry, maxsplit=1)[0] for entry in entries}
    assert all("--hash=sha256:" in entry for entry in entries)
    extras = project["optional-dependencies"]
    optional = dict(requirement(text) for name in ("test", "slurm") for text in extras[name])
    assert set(declared) | set(optional) <= locked


def test_versions_agree(project):
    from alliance_meta import __version__

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project["version"] == __version__ == citation["version"]


def test_workflow_names_every_table_of_the_assessments():
    from alliance_meta.bias.assessment import TABLES as BIAS
    from alliance_meta.sensitivity.assessment import TABLES as SENSITIVITY

    text = (ROOT / "workflow" / "rules" / "common.smk").read_text(encoding="utf-8")
    for name, tables in (("SENSITIVITY_TABLES", SENSITIVITY), ("BIAS_TABLES", BIAS)):
        listed = re.search(rf"^{name} = \((.*?)^\)", text, re.MULTILINE | re.DOTALL)
        found = re.findall(r'"(\w+)"', listed[1])
        assert sorted(found) == sorted(t for own in tables.values() for t in own)
