"""Helpers that several tests share."""

import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import settings

# the same examples on every machine, so that a failure can be repeated
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items):
    """Begin with the tests that run the workflow, so that none is left alone at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the repository."""
    return REPOSITORY


def require_program(name: str) -> str:
    """Return the path of a program; without it skip, or fail where nothing may be skipped."""
    path = shutil.which(name)
    if path is None:
        if os.environ.get("ALLIANCE_META_REQUIRE_ALL") == "1":
            pytest.fail(f"{name} is not installed, and here nothing may be skipped")
        pytest.skip(f"{name} is not installed")
    return path


@pytest.fixture
def chromium() -> str:
    """Path of a real Chromium."""
    return require_program("chromium")


@pytest.fixture
def rscript() -> str:
    """Path of R's script runner."""
    return require_program("Rscript")


@pytest.fixture
def make_effects():
    """Return a maker of effect sizes tables with every column that models read."""
    from alliance_meta.codebook import load_codebook

    def make(y, v, study, **columns) -> pd.DataFrame:
        codebook = load_codebook()
        k = len(y)
        table = pd.DataFrame({"effect_id": [f"e{i}" for i in range(k)]})
        table["study_id"] = [str(s) for s in study]
        table["sample_id"] = columns.pop("sample_id", table["study_id"])
        table["yi"], table["vi"], table["r"] = y, v, y
        table["n"] = columns.pop("n", [50.0] * k)
        table["conversion"] = columns.pop("conversion", "r")
        table["flags"] = pd.Series([None] * k, dtype="str")
        for name, column in codebook.columns.items():
            if name not in table:
                dtype = float if column.numeric else "str"
                table[name] = pd.Series([None] * k, dtype=dtype)
        table["instrument_version"] = pd.Series([None] * k, dtype="str")
        table["source_file"] = "data/raw/effects.csv"
        table["source_sheet"] = pd.Series([None] * k, dtype="str")
        table["source_row"] = range(2, k + 2)
        for name, values in columns.items():
            series = pd.Series(values)
            table[name] = series.astype(float if series.dtype.kind in "if" else "str")
        table["z"], table["vz"], table["vr"] = y, v, v
        return table

    return make
