"""The workflow on SLURM: plans without one, and gives the same files with one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """\
effects: [data/raw/effects.csv]
references: [data/raw/references.bib]
where: relationship_element == 'congruence'
analyses:
  overall: {title: Congruence}
"""


@pytest.fixture
def review(tmp_path):
    shutil.copytree(ROOT / "data/raw", tmp_path / "review/data/raw")
    config = tmp_path / "review/config/config.yaml"
    config.parent.mkdir()
    config.write_text(CONFIG)
    return tmp_path / "review"


@pytest.fixture
def slurm():
    """Require a SLURM that answers; skip without one, or fail where nothing may be skipped."""
    answer = shutil.which("sinfo") and subprocess.run(
        ["sinfo", "--noheader"], capture_output=True, check=False
    )
    if not answer or answer.returncode != 0 or not answer.stdout.strip():
        if os.environ.get("ALLIANCE_META_REQUIRE_ALL") == "1":
            pytest.fail("no SLURM answers, and here nothing may be skipped")
        pytest.skip("no SLURM answers")


def snakemake(review, *options):
    return subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
            *("--directory", str(review), *options),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )


def test_profile_plans_every_stage(review):
    run = snakemake(review, "--workflow-profile", "slurm", "--dry-run")
    assert run.returncode == 0, run.stderr
    said = run.stdout + run.stderr
    for rule in ("validate_extractions", "compute_effect_sizes", "fit_analysis", "render_report"):
        assert rule in said


@pytest.mark.slow
@pytest.mark.slurm
def test_slurm_gives_the_files_of_a_local_run(review, slurm, tmp_path):
    # asking the queue after 40 seconds is right for clusters and slow for a test
    quick = ("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "20")
    run = snakemake(
        review, "reports/synthesis.html", "--workflow-profile", "slurm", "--jobs", "2", *quick
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    local = tmp_path / "local"
    shutil.copytree(review / "data/raw", local / "data/raw")
    shutil.copytree(review / "config", local / "config")
    run = snakemake(local, "--cores", "2")
    assert run.returncode == 0, run.stderr
    for name in ("results/overall/coefficients.csv", "reports/synthesis.html"):
        assert (review / name).read_bytes() == (local / name).read_bytes(), name
    assert len(pd.read_csv(review / "results/overall/included_effects.csv")) == 16
