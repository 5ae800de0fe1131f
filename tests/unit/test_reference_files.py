"""The frozen reference values are what the R scripts beside them write."""

import json
import os
import subprocess
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parents[1] / "reference"


def assert_equal(now, then, place):
    """Compare nested values; another build of R may round the last digits otherwise."""
    if isinstance(then, dict):
        assert list(now) == list(then), place
        for key in then:
            if key != "versions":
                assert_equal(now[key], then[key], f"{place}.{key}")
    elif isinstance(then, list):
        assert len(now) == len(then), place
        for index, (a, b) in enumerate(zip(now, then, strict=True)):
            assert_equal(a, b, f"{place}[{index}]")
    elif isinstance(then, float):
        # searches for interval ends stop at about 1e-5 of their scale
        assert now == pytest.approx(then, rel=1e-5, abs=1e-9), place
    else:
        assert now == then, place


QUICK = ["effect_sizes", "hunter_schmidt", "moderators"]
# up to two minutes each: run where everything is required
SLOW = [
    "bayes",
    "bias",
    "influence",
    "location_scale",
    "models",
    "multilevel",
    "permutation",
    "selection",
    "subsets",
    "univariate",
]
NAMES = [*QUICK, *(SLOW if os.environ.get("ALLIANCE_META_REQUIRE_ALL") == "1" else ())]


def test_every_reference_file_has_its_script():
    files = {path.stem for path in REFERENCE.glob("*.json")}
    assert files == {path.stem for path in REFERENCE.glob("*.R")} == {*QUICK, *SLOW}


@pytest.mark.r
@pytest.mark.parametrize("name", NAMES)
def test_reference_file_is_what_the_script_writes(name, rscript):
    done = subprocess.run(
        [rscript, str(REFERENCE / f"{name}.R")], capture_output=True, text=True, check=True
    )
    frozen = json.loads((REFERENCE / f"{name}.json").read_text(encoding="utf-8"))
    assert_equal(json.loads(done.stdout), frozen, name)
