"""Command line: start a review, check it, run it."""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from tqdm import tqdm

from alliance_meta import __version__
from alliance_meta.codebook import CodebookError, load_codebook
from alliance_meta.configuration import (
    analysis_settings,
    configuration_problems,
    expand_paths,
    read_yaml,
    used_metrics,
    with_defaults,
    without_mismatches,
)
from alliance_meta.problems import (
    Problem,
    errors_only,
    problems_table,
    terminal_table,
    unique_problems,
)
from alliance_meta.tables import write_table

WORKFLOW = Path(__file__).resolve().parents[2]
CONFIG_FILE = "config/config.yaml"
REPORT_FILE = "reports/synthesis.html"
VALIDATION_FILE = "results/validation.csv"

STEP = re.compile(r"^(\d+) of (\d+) steps")
RULE_MESSAGE = re.compile(r"^Job \d+: (.*?)(?: \(.*)?$")
BAR_FORMAT = "{desc:<46.46} {bar} {n_fmt}/{total_fmt}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="alliance-meta",
        description="From coded study extractions on the therapeutic alliance to a synthesis.",
    )
    parser.add_argument("--version", action="version", version=f"alliance-meta {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    new = commands.add_parser("new", help="start a review of your own in a new folder")
    new.add_argument("folder", type=Path)
    check = commands.add_parser("check", help="list all problems in a review's sheets")
    check.add_argument("folder", type=Path, nargs="?", default=Path())
    run = commands.add_parser("run", help="run a review and write its report")
    run.add_argument("folder", type=Path, nargs="?", default=Path())
    run.add_argument("--cores", default="all", help="processors to use (default: all)")
    run.add_argument("snakemake", nargs=argparse.REMAINDER, help="further options of snakemake")
    options = parser.parse_args(arguments)
    try:
        return _dispatch(options)
    except BrokenPipeError:
        # the reader of a pipe (head, less) has seen enough; nothing more can be written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _dispatch(options: argparse.Namespace) -> int:
    if options.command == "new":
        return start_review(options.folder)
    if options.command == "check":
        return check_review(options.folder)
    return run_review(options.folder, options.cores, options.snakemake)


def start_review(folder: Path) -> int:
    """Make a review with three example rows; refuse to touch a folder that holds files."""
    from alliance_meta.starter import write_starter

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        print(f"{folder} exists and is not empty; choose another folder.", file=sys.stderr)
        return 1
    write_starter(folder)
    print(f"{folder} is ready. Next:")
    print(f"  1. code your studies in {folder / 'data/raw/effects.csv'}")
    print(f"  2. alliance-meta check {folder}")
    print(f"  3. alliance-meta run {folder}")
    return 0


def find_problems(folder: Path) -> list[Problem]:
    """Return every problem and note in a review: configuration, sheets, analyses.

    Parameters
    ----------
    folder
        The review.
    """
    config, problems = read_yaml(folder / CONFIG_FILE, name=CONFIG_FILE)
    if problems:
        return problems
    schema = yaml.safe_load(
        (WORKFLOW / "schemas" / "config.schema.yaml").read_text(encoding="utf-8")
    )
    problems = configuration_problems(config, schema, name=CONFIG_FILE)
    if problems:
        return problems
    config = with_defaults(config, schema)
    try:
        codebook = load_codebook().extended(config["vocabulary"])
    except CodebookError as error:
        text = str(error)
        return [Problem(CONFIG_FILE, text[:1].upper() + text[1:] + ".", column="vocabulary")]

    # these imports cost seconds, which a misspelt key need not wait for
    from alliance_meta.effect_sizes import check_effects, convert_effects
    from alliance_meta.extraction.coders import check_coders
    from alliance_meta.models.checks import check_analyses
    from alliance_meta.synthesis.checks import check_multiverse

    files = (
        [(name, folder / name) for name in expand_paths(config[key], folder)]
        for key in ("effects", "second_coder", "references")
    )
    coders = check_coders(*files, codebook=codebook)
    plausibility = [
        problem
        for coder in coders.given
        for problem in check_effects(
            coder.effects, metric=config["metric"], codebook=codebook, reported=coder.problems
        )
    ]
    problems = [
        *coders.problems,
        *without_mismatches(plausibility, used_metrics(config)),
    ]
    if not errors_only(problems):
        analyses = {name: analysis_settings(config, name, folder) for name in config["analyses"]}
        table = convert_effects(coders.first.effects, metric=config["metric"]).table
        problems += check_analyses(table, analyses, file=CONFIG_FILE, codebook=codebook)
        if config["multiverse"]:
            problems += check_multiverse(table, config["multiverse"], analyses, file=CONFIG_FILE)
    return unique_problems(problems)


def check_review(folder: Path) -> int:
    """Print all problems and write ``results/validation.csv``; 1 if any is an error."""
    problems = find_problems(folder)
    write_table(problems_table(problems), folder / VALIDATION_FILE)
    if problems:
        print(terminal_table(problems))
    else:
        print("No problems.")
    return 1 if errors_only(problems) else 0


def run_review(folder: Path, cores: str, extra: Sequence[str]) -> int:
    """Run the workflow on a review with a progress bar; return Snakemake's exit code.

    Problems are looked for first, so that they show without Snakemake's own messages around.
    """
    config = folder / CONFIG_FILE
    if not config.is_file():
        text = f"{config} does not exist; start a review with: alliance-meta new FOLDER"
        print(text, file=sys.stderr)
        return 1
    problems = find_problems(folder)
    errors = errors_only(problems)
    if errors:
        write_table(problems_table(problems), folder / VALIDATION_FILE)
        print(terminal_table(errors), file=sys.stderr)
        return 1
    command = [
        *(sys.executable, "-m", "snakemake"),
        *("--snakefile", str(WORKFLOW / "Snakefile")),
        *("--directory", str(folder)),
        *("--cores", cores),
        *[option for option in extra if option != "--"],
    ]
    # the profiles stand beside the workflow, where Snakemake looks for them by itself only
    # when it is started there
    profiles = WORKFLOW.parent / "profiles"
    if not any(option.startswith("--workflow-profile") for option in extra):
        command += ["--workflow-profile", str(profiles / "default")]
    code = _follow(command)
    report = folder / REPORT_FILE
    if code == 0:
        print(f"Report: {report}")
    else:
        old = f"; {report} is of an earlier run" if report.exists() else ""
        print(f"The run failed, as said above. No report was written{old}.", file=sys.stderr)
    return code


def _follow(command: Sequence[str]) -> int:
    """Run Snakemake, show its steps, and show its output if it fails.

    On a terminal the steps are a bar; elsewhere (a file, a log) a line each.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    lines: list[str] = []
    on_terminal = sys.stderr.isatty()
    with (
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
        ) as process,
        tqdm(total=1, disable=not on_terminal, bar_format=BAR_FORMAT) as bar,
    ):
        for line in process.stdout or ():
            lines.append(line)
            if step := STEP.match(line):
                bar.total, bar.n = int(step[2]), int(step[1])
                bar.refresh()
            elif message := RULE_MESSAGE.match(line):
                bar.set_description_str(message[1])
                if not on_terminal:
                    print(message[1], file=sys.stderr)
        code = process.wait()
        if code == 0:
            bar.set_description_str("Done")
            bar.n = bar.total or 1
            bar.refresh()
    if code != 0:
        sys.stderr.writelines(lines)
        if any("cannot be locked" in line or "LockException" in line for line in lines):
            print(
                "Another run is at work in this folder, or one was stopped by force. If none is, "
                "unlock it with: alliance-meta run FOLDER -- --unlock",
                file=sys.stderr,
            )
    return code


if __name__ == "__main__":
    sys.exit(main())
