"""Time a multiverse of 10,000 specifications against one analysis after the other."""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from alliance_meta.codebook import load_codebook
from alliance_meta.effect_sizes import convert_effects
from alliance_meta.extraction import check_sheets
from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.synthesis.multiverse import run_specifications, summarise_multiverse
from alliance_meta.synthesis.multiverse_choices import (
    enumerate_specifications,
    multiverse_problems,
)
from alliance_meta.teaching import Counts, Moderator, ReviewDesign, simulate_review

SPECIFICATIONS = 10_000
# so many are also run one by one
NAIVE = 60
SEED = 20181

DESIGN = ReviewDesign(
    n_studies=300,
    samples_per_study=Counts(1.1, 3),
    effects_per_sample=Counts(2.8, 10),
    study_moderator=Moderator("treatment", ("cbt", "psychodynamic", "other"), (0.5, 0.3, 0.2)),
    effect_moderator=Moderator(
        "rater", ("client", "therapist", "observer"), (0.6, 0.25, 0.15), (-0.05, 0.1)
    ),
    reliability_alliance=(0.8, 0.95),
)


def list_options(key, *values):
    """Return options that set one thing."""
    return [{"name": str(value), key: value, "reason": "benchmark"} for value in values]


def list_conditions(*conditions):
    """Return options that restrict the rows."""
    return [{"name": text or "all", "where": text, "reason": "benchmark"} for text in conditions]


SETTINGS = {
    "maximum": SPECIFICATIONS,
    "choices": {
        "model": list_options("model", "che", "aggregated", "random_effects"),
        "rho": list_options("rho", 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        "estimator": list_options("tau2", "REML", "ML", "PM"),
        "rater": list_conditions("", "rater == 'client'", "rater != 'observer'"),
        "treatment": list_conditions("", "treatment == 'cbt'", "treatment != 'other'"),
        "size": list_conditions("", "n >= 30", "n >= 40", "n >= 50", "n < 300"),
        "outliers": [
            {"name": "keep", "outliers": {"rule": "none"}, "reason": "benchmark"},
            {"name": "rstudent", "outliers": {"rule": "rstudent"}, "reason": "benchmark"},
            {"name": "iqr", "outliers": {"rule": "iqr"}, "reason": "benchmark"},
        ],
        "effects": list_options("select", "all", "largest_n"),
        "attenuation": list_options("attenuation", "observed", "corrected"),
    },
}


def main() -> int:
    """Print the time, the number per second and the ratio to a plain loop."""
    effects = simulate_effects()
    base = ModelSpecification(model="che")
    problems = multiverse_problems(SETTINGS, effects, base)
    if problems:
        print("\n".join(problems))
        return 1
    start = time.perf_counter()
    enumeration = enumerate_specifications(SETTINGS, base, seed=SEED)
    listed = time.perf_counter() - start
    specifications = enumeration.specifications
    names = [choice.name for choice in enumeration.choices]
    start = time.perf_counter()
    table = run_specifications(effects, specifications, names)
    run = time.perf_counter() - start
    start = time.perf_counter()
    summarise_multiverse([table], enumeration)
    summed = time.perf_counter() - start
    counts = {}
    for specification in specifications:
        counts[specification.spec.model] = counts.get(specification.spec.model, 0) + 1
    print(f"{DESIGN.n_studies} studies, {len(effects)} effects, specifications: {counts}")
    print(
        f"{len(specifications):,} of {enumeration.n_combinations:,} combinations: listed in "
        f"{listed:.1f} s, run in {run:.1f} s ({len(specifications) / run:.0f} a second), summed up "
        f"in {summed:.1f} s"
    )
    plain = [s for s in specifications if s.select == "all" and s.outliers.rule == "none"]
    drawn = np.random.default_rng(SEED).choice(len(plain), NAIVE, replace=False)
    start = time.perf_counter()
    for place in drawn:
        analyse(effects, plain[place].spec)
    ratio = (time.perf_counter() - start) / NAIVE / (run / len(specifications))
    print(f"multiverse of a mean, one analysis after the other: {ratio:.0f} times as fast")
    return 0


def simulate_effects():
    """Return the effect sizes table of the simulated review."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "effects.csv"
        simulate_review(DESIGN, SEED).effects_sheet().to_csv(path, index=False)
        extraction = check_sheets([(path.name, path)], [], codebook=load_codebook())
    return convert_effects(extraction.effects).table


if __name__ == "__main__":
    sys.exit(main())
