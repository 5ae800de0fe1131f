"""The workflow: what runs, what does not run again, and what a failure leaves alone."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
# they share a finished run: tests of a file go to one worker
pytestmark = pytest.mark.slow

CONFIG = """\
effects: [data/raw/effects.csv]
references: [data/raw/references.bib]
where: relationship_element == 'alliance'
second_coder: [data/raw/second/*.csv]
sensitivity: {permutations: 500, gosh: {subsets: 300}, coders: {resamples: 20}}
bias: {selection: {bootstrap: 50}}
multiverse:
  choices:
    rater:
      - {name: all raters, reason: all count}
      - {name: clients, where: "rater == 'client'", reason: the most frequent}
    model:
      - {name: che, model: che, reason: several effects a study}
      - {name: aggregated, model: aggregated, reason: no sample counts twice}
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
    # a second coder who saw a few effects, and two of them otherwise
    effects = pd.read_csv(folder / "data/raw/effects.csv", dtype=str, keep_default_na=False)
    effects = effects.loc[effects["exclude_reason"] == ""].iloc[:6].copy()
    effects.loc[effects.index[:2], "rater"] = ["therapist", "observer"]
    (folder / "data/raw/second").mkdir()
    effects.to_csv(folder / "data/raw/second/coder.csv", index=False)
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
            "sensitivity_leave_one_out.csv",
            "sensitivity_influence.csv",
            "sensitivity_cumulative.csv",
            "sensitivity_gosh.csv",
            "sensitivity_gosh_summary.csv",
            "sensitivity_rho.csv",
            "sensitivity_coders.csv",
            "sensitivity.json",
            "bias_egger.csv",
            "bias_trim_and_fill.csv",
            "bias_selection.csv",
            "bias_panel.csv",
            "bias.json",
            "figures/forest.svg",
            "figures/forest.pdf",
            "figures/forest.png",
            "figures/funnel.svg",
            "figures/influence.svg",
        ):
            assert f"results/{analysis}/{name}" in files, name
    for name in ("multiverse.csv", "multiverse.json", "figures/specification_curve.svg"):
        assert f"results/overall/{name}" in files, name
    assert not [name for name in files if "shard" in name]


def test_tables_of_the_assessments_have_the_columns_of_the_contract(finished):
    columns = {
        "sensitivity_leave_one_out": "unit left_out estimate se ci_low ci_high tau2 I2 Q",
        "sensitivity_influence": "effect_id rstudent dffits cooks_distance cov_ratio tau2_deleted "
        "Q_deleted hat weight dfbetas",
        "sensitivity_cumulative": "added k estimate se ci_low ci_high tau2",
        "sensitivity_gosh": "subset_size estimate I2",
        "sensitivity_rho": "rho estimate se ci_low ci_high tau2_between tau2_within",
        "bias_egger": "variant slope se statistic df p_value limit_estimate limit_ci_low "
        "limit_ci_high",
        "bias_trim_and_fill": "estimator side k0 k0_se estimate se ci_low ci_high tau2",
        "bias_selection": "model term estimate se ci_low ci_high p_value",
        "bias_panel": "method assumption estimate ci_low ci_high p_value conclusion_holds",
    }
    for analysis in ("overall", "by_rater"):
        for table, names in columns.items():
            found = list(pd.read_csv(finished / f"results/{analysis}/{table}.csv").columns)
            assert found[: len(names.split())] == names.split(), table
    second = pd.read_csv(finished / "data/extracted/second_coder_effect_sizes.csv")
    assert len(second) == 6
    coders = pd.read_csv(finished / "results/by_rater/sensitivity_coders.csv")
    assert {"overall", "rater=client"} <= set(coders["level"])


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
        "assess_sensitivity": 1,
        "assess_bias": 1,
        "map_moderators": 1,
        "draw_figures": 1,
        "render_report": 1,
    }


@pytest.mark.parametrize(
    ("old", "new", "rules"),
    [
        ("gosh: {subsets: 300}", "gosh: false", {"assess_sensitivity"}),
        ("permutations: 500", "permutations: 600", {"fit_analysis"}),
        ("all count", "each counts", {"run_multiverse", "summarise_multiverse"}),
    ],
)
def test_a_changed_setting_reruns_what_uses_it(home, finished, old, new, rules):
    config = finished / "config/config.yaml"
    before = config.read_text()
    config.write_text(before.replace(old, new))
    try:
        run = snakemake(home, finished, "--dry-run")
    finally:
        config.write_text(before)
    planned = planned_jobs(run.stdout + run.stderr)
    after = {"draw_figures", "render_report"}
    if rules == {"fit_analysis"}:
        # what rests on a model is assessed anew
        after |= {"assess_sensitivity", "assess_bias", "run_multiverse", "summarise_multiverse"}
    assert set(planned) == rules | after


@pytest.mark.parametrize(
    ("file", "rules"),
    [
        ("report/page.py", {"render_report"}),
        (
            "bias/egger.py",
            {
                *("assess_bias", "run_multiverse", "summarise_multiverse"),
                *("draw_figures", "render_report"),
            },
        ),
        (
            "models/robust.py",
            {
                *("fit_analysis", "map_moderators", "assess_sensitivity", "assess_bias"),
                *("run_multiverse", "summarise_multiverse", "draw_figures", "render_report"),
            },
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
    run = snakemake(home, finished, "--until", "validate_extractions")
    assert run.returncode == 0, run.stderr
    assert outputs(finished) == before_failure


def test_bad_setting_stops_and_leaves_outputs_alone(home, finished):
    config = finished / "config/config.yaml"
    before, earlier = config.read_text(), outputs(finished)
    config.write_text(before + "  wrong: {moderators: ratter}\n  other: {where: 'yeer > 1'}\n")
    wanted = [f"results/{name}/model.json" for name in ("wrong", "other")]
    try:
        run = snakemake(home, finished, *wanted, "--keep-going")
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
