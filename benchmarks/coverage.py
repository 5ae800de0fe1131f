"""Measure how often intervals of the mean cover the truth and how often tests err.

Reviews are simulated from the model that a correlated and hierarchical effects analysis assumes
(``alliance_meta.teaching``) and analysed in four ways. ``python benchmarks/coverage.py`` writes
``benchmarks/coverage.csv``, a row for each cell of the study and each method; with ``--summary``
it prints that table in short, with ``--insert docs/methods.md`` it puts it there.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from alliance_meta.effect_sizes import aggregate_effects
from alliance_meta.models.pooling import PooledFit, fit_pooled
from alliance_meta.models.specification import InestimableError, ModelSpecification
from alliance_meta.teaching import (
    Counts,
    Moderator,
    ReviewDesign,
    SimulatedReview,
    simulate_review,
)

RESULTS = Path(__file__).with_name("coverage.csv")
BEGIN, END = "<!-- coverage:begin -->", "<!-- coverage:end -->"

MU = 0.28
RHO = 0.6
LEVEL = 0.95
STUDIES = (10, 20, 40, 80)
EFFECTS: dict[str, int | Counts] = {"balanced": 3, "unbalanced": Counts(mean=2.5, largest=8)}
TAU2 = (0.0, 0.01, 0.03, 0.05)
SHARE_BETWEEN = 2 / 3
# both do nothing, so that every rejection is an error
STUDY_MODERATOR = Moderator("modality", ("individual", "group"), (0.5, 0.5))
EFFECT_MODERATOR = Moderator("rater", ("client", "therapist"), (0.5, 0.5))

METHODS = {
    "naive": ModelSpecification("random_effects", "REML", "knapp_hartung"),
    "aggregated": ModelSpecification("aggregated", "REML", "knapp_hartung", rho=RHO),
    "three_level": ModelSpecification("three_level", "REML", "cr2"),
    "che": ModelSpecification("che", "REML", "cr2", rho=RHO),
}
LABELS = {
    "naive": "all effects as if independent",
    "aggregated": "aggregated, Knapp–Hartung",
    "three_level": "three-level, CR2",
    "che": "CHE, CR2 (default)",
}
# replications in one task of a worker: long enough to keep it busy, short enough to see progress
CHUNK = 25


@dataclass(frozen=True)
class Cell:
    """One condition of the study."""

    block: str
    k_studies: int
    balance: str
    tau2: float = 0.03
    rho_true: float = RHO
    depth: str = "z"

    @property
    def design(self) -> ReviewDesign:
        """What is simulated in this cell."""
        return ReviewDesign(
            n_studies=self.k_studies,
            effects_per_sample=EFFECTS[self.balance],
            mu=MU,
            tau2_between=self.tau2 * SHARE_BETWEEN,
            tau2_within=self.tau2 * (1 - SHARE_BETWEEN),
            rho=self.rho_true,
            study_moderator=STUDY_MODERATOR,
            effect_moderator=EFFECT_MODERATOR,
        )


@dataclass(frozen=True)
class Outcome:
    """What one method makes of one review; NaN where it has no answer."""

    error: float = np.nan
    covered: float = np.nan
    width: float = np.nan
    p_study: float = np.nan
    p_effect: float = np.nan
    zero_between: float = np.nan
    zero_within: float = np.nan


def list_cells() -> list[Cell]:
    """Return the conditions; a seed belongs to a place in this list."""
    cells = [Cell("main", k, name, tau2) for k in STUDIES for name in EFFECTS for tau2 in TAU2]
    for k in STUDIES:
        cells += [Cell("misspecified", k, "unbalanced", rho_true=rho) for rho in (0.3, 0.8)]
    cells += [Cell("persons", k, "unbalanced", depth="persons") for k in (20, 80)]
    return cells


def fit_review(
    review: SimulatedReview, spec: ModelSpecification, moderators: tuple[str, ...] = ()
) -> PooledFit:
    """Fit one model; composites are per sample and, as in the workflow, moderator level."""
    X = review.design_matrix(*moderators)
    y, v, study, sample = review.y, review.v, review.study, review.sample
    if spec.model == "aggregated":
        units = np.unique(np.column_stack([sample, X]), axis=0, return_inverse=True)[1].ravel()
        y, v, first = aggregate_effects(y, v, units, spec.rho)
        X, study, sample = X[first], study[first], sample[first]
        sample = np.unique(sample, return_inverse=True)[1]
    return fit_pooled(y, v, X, study, spec, samples=sample)


def analyse_review(review: SimulatedReview, spec: ModelSpecification) -> Outcome:
    """Estimate the mean, then test each moderator in a model of its own."""
    p_study = find_p_value(review, spec, STUDY_MODERATOR)
    p_effect = find_p_value(review, spec, EFFECT_MODERATOR)
    try:
        fitted = fit_review(review, spec)
    except InestimableError:
        return Outcome(p_study=p_study, p_effect=p_effect)
    mean = fitted.contrast(np.ones(1))
    return Outcome(
        mean.value - MU,
        float(mean.ci_low <= MU <= mean.ci_high) if np.isfinite(mean.ci_low) else np.nan,
        mean.ci_high - mean.ci_low,
        p_study,
        p_effect,
        *find_zeros(fitted),
    )


def find_p_value(review: SimulatedReview, spec: ModelSpecification, moderator: Moderator) -> float:
    """Return the p-value of a moderator with two levels; NaN where it cannot be tested."""
    try:
        fitted = fit_review(review, spec, (moderator.column,))
    except InestimableError:
        return np.nan
    return fitted.contrast(np.array([0.0, 1.0])).p_value


def find_zeros(fitted: PooledFit) -> tuple[float, float]:
    """Return whether the variances between and within studies are estimated as 0."""
    if fitted.components is None:
        return float(fitted.tau2 == 0), np.nan
    return float(fitted.components.between[0] == 0), float(fitted.components.within[0] == 0)


def run_chunk(task: tuple[int, range], *, seed: int) -> np.ndarray:
    """Return outcomes of some replications of a cell, shape (n, methods, outcomes)."""
    number, replications = task
    cell = list_cells()[number]
    design = cell.design
    specs = [spec.resolve(dependent=True) for spec in METHODS.values()]
    results = []
    for replication in replications:
        # a seed of its own makes a replication the same in whichever process it runs
        own_seed = np.random.SeedSequence(seed, spawn_key=(number, replication))
        review = simulate_review(design, own_seed, depth=cell.depth)
        outcomes = [analyse_review(review, spec) for spec in specs]
        results.append([[getattr(o, field.name) for field in fields(o)] for o in outcomes])
    return np.array(results)


def summarise(cell: Cell, method: str, outcomes: np.ndarray) -> dict[str, Any]:
    """Return one row of the table from outcomes of shape (replications, outcomes).

    Monte-Carlo standard errors (``*_mcse``) after Morris, White & Crowther (2019).
    """
    names = [field.name for field in fields(Outcome)]
    values = {name: outcomes[:, i][np.isfinite(outcomes[:, i])] for i, name in enumerate(names)}
    squared = values["error"] ** 2
    rmse = float(np.sqrt(squared.mean()))
    row: dict[str, Any] = {
        "block": cell.block,
        "k_studies": cell.k_studies,
        "balance": cell.balance,
        "tau2": cell.tau2,
        "tau2_between": cell.design.tau2_between,
        "tau2_within": cell.design.tau2_within,
        "rho_true": cell.rho_true,
        "rho_assumed": METHODS[method].rho if method in ("aggregated", "che") else 0.0,
        "method": method,
        "replications": len(outcomes),
        "without_interval": len(outcomes) - len(values["covered"]),
        "bias": values["error"].mean(),
        "bias_mcse": values["error"].std(ddof=1) / np.sqrt(len(squared)),
        "rmse": rmse,
        "rmse_mcse": squared.std(ddof=1) / np.sqrt(len(squared)) / (2 * rmse),
    }
    rejected = {name: values[name] < 1 - LEVEL for name in ("p_study", "p_effect")}
    shares = {
        "coverage": values["covered"],
        "type1_study": rejected["p_study"],
        "type1_effect": rejected["p_effect"],
    }
    for name, hits in shares.items():
        share = hits.mean()
        row[name] = share
        row[f"{name}_mcse"] = np.sqrt(share * (1 - share) / len(hits))
    row["ci_width"] = values["width"].mean()
    row["without_test_study"] = len(outcomes) - len(values["p_study"])
    row["without_test_effect"] = len(outcomes) - len(values["p_effect"])
    for name in ("zero_between", "zero_within"):
        row[name] = values[name].mean() if len(values[name]) else np.nan
    return row


def run_study(replications: int, jobs: int, seed: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of each cell, as soon as it is done."""
    cells = list_cells()
    per_cell = [
        range(start, min(start + CHUNK, replications)) for start in range(0, replications, CHUNK)
    ]
    tasks = [(number, chunk) for number in range(len(cells)) for chunk in per_cell]
    # processes, not threads of the linear algebra, share the cores; read when numpy is imported
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    start = time.monotonic()
    waiting: list[np.ndarray] = []
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        results = pool.imap(partial(run_chunk, seed=seed), tasks)
        for done, ((number, _), result) in enumerate(zip(tasks, results, strict=True), start=1):
            waiting.append(result)
            minutes = (time.monotonic() - start) / 60
            print(
                f"\rcell {number + 1} of {len(cells)}, {done / len(tasks):.0%} of the "
                f"replications, {minutes:.1f} minutes",
                end="",
                file=sys.stderr,
                flush=True,
            )
            if len(waiting) == len(per_cell):
                outcomes = np.concatenate(waiting)
                waiting = []
                yield [
                    summarise(cells[number], method, outcomes[:, i])
                    for i, method in enumerate(METHODS)
                ]
    print(file=sys.stderr)


def render_summary(table: pd.DataFrame) -> str:
    """Return the table in short as Markdown, between marker comments."""
    coverage_mcse = 100 * float(table["coverage_mcse"].max())
    type1_mcse = 100 * max(table[f"type1_{m}_mcse"].max() for m in ("study", "effect"))
    taus = ", ".join(f"{value:g}" for value in TAU2)
    lines = [
        BEGIN,
        f"{table['replications'].min():,} simulated reviews a cell; an entry is the range over "
        f"true τ² of {taus}, or the value at .03 where ρ or the depth of simulation differs. "
        f"The largest Monte-Carlo standard error is {coverage_mcse:.1f} points for coverage and "
        f"{type1_mcse:.1f} for false positives. All models that use ρ assume {RHO:g}; *persons* "
        "are reviews whose correlations were computed from simulated persons.",
    ]
    for measures, title in (
        (("coverage",), "Coverage of the 95 % interval of the mean, in percent (should be 95)"),
        (
            ("type1_study", "type1_effect"),
            "False positives at .05 of a moderator that differs between studies / within "
            "studies, in percent (should be 5)",
        ),
    ):
        lines += ["", f"**{title}**", ""]
        lines.append(
            "| studies | effects per study | true ρ | " + " | ".join(LABELS.values()) + " |"
        )
        lines.append("|--:|---|--:|" + "--:|" * len(METHODS))
        keys = ["block", "k_studies", "balance", "rho_true"]
        for (block, k, balance, rho), rows in table.groupby(keys, sort=False):
            kind = f"{balance}, *persons*" if block == "persons" else balance
            entries = [
                " / ".join(_format_range(rows.loc[rows["method"] == method, m]) for m in measures)
                for method in METHODS
            ]
            lines.append(f"| {k} | {kind} | {rho:g} | " + " | ".join(entries) + " |")
    return "\n".join([*lines, END, ""])


def _format_range(shares: pd.Series) -> str:
    low, high = f"{100 * shares.min():.1f}", f"{100 * shares.max():.1f}"
    return low if low == high else f"{low}–{high}"


def insert_summary(summary: str, path: Path) -> None:
    """Put the summary in the place of what stands between its markers in a file."""
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{path} does not hold {BEGIN} and {END}")
    path.write_text(before + summary.rstrip("\n") + after, encoding="utf-8")


def main() -> int:
    """Run the study, or print what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replications", type=int, default=2000, help="per cell")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--seed", type=int, default=20181)
    parser.add_argument("--results", type=Path, default=RESULTS, help="CSV to write or to read")
    parser.add_argument("--summary", action="store_true", help="only print what the CSV holds")
    parser.add_argument("--insert", type=Path, help="only put the summary into this file")
    arguments = parser.parse_args()
    if arguments.summary or arguments.insert:
        summary = render_summary(pd.read_csv(arguments.results))
        if arguments.insert:
            insert_summary(summary, arguments.insert)
        else:
            print(summary, end="")
        return 0
    rows: list[dict[str, Any]] = []
    for of_cell in run_study(arguments.replications, arguments.jobs, arguments.seed):
        rows += of_cell
        # a run that is stopped leaves the cells that are done
        pd.DataFrame(rows).to_csv(arguments.results, index=False, lineterminator="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
