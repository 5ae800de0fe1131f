"""The workflow: what runs, what does not run again, and what a failure leaves alone."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# one worker runs all of these: they share a finished run
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("workflow")]

CONFIG = """\
effects: [data/raw/effects.csv]
references: [data/raw/references.bib]
where: relationship_element == 'alliance'
analyses:
  overall: {title: All studies}
  by_rater: {title: Raters, moderators: rater}
"""


def snakemake(home: Path, review: Path, *options: str) -> subprocess.CompletedProcess:
    """Run the workflow of ``home`` on a review; options last."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTEST_XDIST_WORKER"}
    return subprocess.run(
        [
            *(sys.executable, "-m", "snakemake"),
            *("--snakefile", str(home / "Snakefile"), "--directory", str(review)),
            *(["--cores", "2"] if "--cores" not in options else []),
            *options,
        ],
        capture_output=True,
        text=True,
        cwd=home,
        env={**environment, "PYTHONWARNINGS": "ignore"},
        check=False,
    )


def planned_jobs(output: str) -> dict[str, int]:
    """Return rule -> number of jobs from a (dry) run's job statistics."""
    if "Job stats:" not in output:
        return {}
    table = output.split("Job stats:")[1].split("\n\n")[0]
    counts = dict(re.findall(r"^(\w+)\s+(\d+)$", table, re.MULTILINE))
    return {rule: int(n) for rule, n in counts.items() if rule not in ("total", "default", "all")}


def outputs(review: Path) -> dict[str, str]:
    """Return path -> hash of everything the workflow writes for users."""
    return {
        path.relative_to(review).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in ("data/extracted", "results", "reports")
        for path in sorted((review / folder).rglob("*"))
        if path.is_file() and path.suffix != ".snakemake_timestamp"
    }


def make_review(folder: Path) -> Path:
    shutil.copytree(ROOT / "data/raw", folder / "data/raw")
    (folder / "config").mkdir(parents=True)
    (folder / "config/config.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Return a copy of the workflow, so that a test may edit it."""
    copy = tmp_path_factory.mktemp("home")
    for name in ("workflow", "profiles"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "environment.yml"):
        shutil.copy2(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def finished(home, tmp_path_factory) -> Path:
    """Return a review that has run once."""
    review = make_review(tmp_path_factory.mktemp("one") / "review")
    run = snakemake(home, review)
    assert run.returncode == 0, run.stderr
    return review


def test_default_target_writes_every_file_of_the_contract(finished):
    files = outputs(finished)
    assert "reports/synthesis.html" in files
    assert "data/extracted/effect_sizes.csv" in files
    assert "results/validation.csv" in files
    assert "results/moderator_map.csv" in files
    for analysis in ("overall", "by_rater"):
        for name in (
            "coefficients.csv",
            "summary.csv",
            "heterogeneity.csv",
            "study_estimates.csv",
            "comparisons.csv",
            "permutation.csv",
            "wild_bootstrap.csv",
            "attenuation_sweep.csv",
            "hunter_schmidt.csv",
            "posterior.csv",
            "model.json",
            "figures/forest.svg",
            "figures/forest.pdf",
            "figures/forest.png",
        ):
            assert f"results/{analysis}/{name}" in files, name


def test_text_outputs_are_lf_utf8_and_hold_no_path_of_the_machine(finished):
    for name in outputs(finished):
        if not name.endswith((".csv", ".json", ".html", ".svg")):
            continue
        content = (finished / name).read_bytes()
        assert b"\r" not in content, name
        text = content.decode("utf-8")
        assert str(finished) not in text, name
        assert str(ROOT) not in text, name


def test_second_run_does_nothing(home, finished):
    run = snakemake(home, finished, "--dry-run")
    assert "Nothing to be done" in run.stdout + run.stderr


def test_new_analysis_runs_itself_and_the_report_only(home, finished):
    config = finished / "config/config.yaml"
    before = config.read_text()
    config.write_text(before + "  by_timing: {moderators: timing}\n")
    try:
        run = snakemake(home, finished, "--dry-run")
    finally:
        config.write_text(before)
    # a new moderator also joins the map of all moderators
    assert planned_jobs(run.stdout + run.stderr) == {
        "fit_analysis": 1,
        "map_moderators": 1,
        "draw_figures": 1,
        "render_report": 1,
    }


@pytest.mark.parametrize(
    ("file", "rules"),
    [
        ("report/page.py", {"render_report"}),
        ("figures/forest.py", {"draw_figures", "render_report"}),
        (
            "models/robust.py",
            {"fit_analysis", "map_moderators", "draw_figures", "render_report"},
        ),
    ],
)
def test_edited_library_file_reruns_what_uses_it(home, finished, file, rules):
    path = home / "workflow/scripts/alliance_meta" / file
    before, stat = path.read_text(), path.stat()
    path.write_text(before + "\n# edited\n")
    try:
        run = snakemake(home, finished, "--dry-run")
    finally:
        path.write_text(before)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert set(planned_jobs(run.stdout + run.stderr)) == rules


def test_bad_sheet_stops_with_a_table_and_leaves_outputs_alone(home, finished):
    sheet = finished / "data/raw/effects.csv"
    before, earlier = sheet.read_text(), outputs(finished)
    stat = sheet.stat()
    sheet.write_text(before.replace(",client,", ",cliennt,", 1))
    try:
        run = snakemake(home, finished)
    finally:
        sheet.write_text(before)
        os.utime(sheet, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert run.returncode != 0
    assert "'cliennt' is not a rater. Did you mean 'client'?" in " ".join(
        (run.stdout + run.stderr).split()
    )
    later = outputs(finished)
    validation = "results/validation.csv"
    assert "cliennt" in (finished / validation).read_text()
    before_failure = {**earlier}
    del earlier[validation], later[validation]
    assert later == earlier
    # the sheet is right again: the next run says so, although nothing else has changed
    assert snakemake(home, finished).returncode == 0
    assert outputs(finished) == before_failure


def test_bad_setting_stops_and_leaves_outputs_alone(home, finished):
    config = finished / "config/config.yaml"
    before, earlier = config.read_text(), outputs(finished)
    config.write_text(before + "  wrong: {moderators: ratter}\n  other: {where: 'yeer > 1'}\n")
    try:
        run = snakemake(home, finished)
    finally:
        config.write_text(before)
    assert run.returncode != 0
    said = run.stdout + run.stderr
    assert "There is no column 'ratter'" in said
    assert "yeer" in said
    assert outputs(finished) == earlier


def test_other_folder_and_other_cores_give_the_same_bytes(home, finished, tmp_path):
    review = make_review(tmp_path / "somewhere else" / "copy")
    run = snakemake(home, review, "--cores", "1")
    assert run.returncode == 0, run.stderr
    assert outputs(review) == outputs(finished)


def test_lint_and_format_are_clean():
    lint = subprocess.run(
        [sys.executable, "-m", "snakemake", "--lint"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr
    snakefmt = Path(sys.executable).with_name("snakefmt")
    subprocess.run([snakefmt, "--check", "Snakefile", "workflow"], cwd=ROOT, check=True)
