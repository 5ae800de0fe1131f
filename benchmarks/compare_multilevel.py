"""Speed of the correlated and hierarchical effects model against metafor and clubSandwich."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# matrices of a few columns gain nothing from several threads, which blur the measurement
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from compare_models import best_time

from alliance_meta.models.pooling import fit_pooled
from alliance_meta.models.specification import ModelSpecification

R_SCRIPT = """
suppressMessages({library(metafor); library(clubSandwich)})
dat <- read.csv(file.path(commandArgs(trailingOnly = TRUE)[1], "dependent.csv"))
dat$level <- factor(dat$level)
V <- impute_covariance_matrix(dat$v, cluster = dat$study, r = 0.6)
times <- sapply(1:3, function(i) system.time({
  fit <- rma.mv(y, V, mods = ~level, random = ~1 | study/effect, data = dat, sparse = TRUE)
  coef_test(fit, vcov = "CR2", cluster = dat$study)
})[["elapsed"]])
cat(formatC(min(times), digits = 10, format = "f"), "\\n")
"""

GROWTH_STUDIES = (667, 2000, 6667, 20000)


def simulate(n_studies: int, seed: int) -> pd.DataFrame:
    """Return effects of studies with 1 to 5 effects and a moderator of three levels."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, n_studies)
    study = np.repeat(np.arange(n_studies), sizes)
    k = len(study)
    v = 1 / (rng.integers(15, 300, n_studies)[study] - 3) * rng.uniform(0.8, 1.3, k)
    level = rng.integers(0, 3, k)
    y = 0.28 + 0.05 * (level == 1) + rng.normal(0, 0.13, n_studies)[study]
    y += rng.normal(0, 0.1, k) + rng.normal(size=k) * np.sqrt(v)
    return pd.DataFrame({"study": study, "effect": np.arange(k), "y": y, "v": v, "level": level})


def fit(data: pd.DataFrame) -> Callable[[], object]:
    """Return a function that fits the model and tests its coefficients with CR2."""
    spec = ModelSpecification(model="che", inference="cr2", moderators="level")
    spec = spec.resolve(dependent=True)
    level = data["level"].to_numpy()
    X = np.column_stack([np.ones(len(data)), level == 1, level == 2]).astype(float)
    y, v, study = (data[name].to_numpy() for name in ("y", "v", "study"))

    def run() -> object:
        fitted = fit_pooled(y, v, X, study, spec, samples=study)
        return [fitted.contrast(row) for row in np.eye(3)]

    return run


def report_growth() -> None:
    """Print how the time grows with the number of effects, and the memory it takes."""
    sizes, times = [], []
    for n_studies in GROWTH_STUDIES:
        data = simulate(n_studies, n_studies)
        sizes.append(len(data))
        # processor time: other work on the machine slows long runs more often than short ones
        times.append(best_time(fit(data), repeats=5, clock=time.process_time))
    exponent = np.polyfit(np.log(sizes), np.log(times), 1)[0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    ratio = times[-1] / times[0]
    print(
        f"CHE with CR2: {sizes[-1]:,} effects take {ratio:.0f} times as long as {sizes[0]:,} "
        f"(growth exponent {exponent:.2f}), {times[-1]:.1f} s, peak memory {peak:.2f} GB"
    )


def main() -> int:
    """Print one line per comparison."""
    if shutil.which("Rscript") is None:
        print("make bench needs R with metafor and clubSandwich (Rscript is not installed)")
        return 1
    data = simulate(600, 1)
    with tempfile.TemporaryDirectory() as folder:
        data.to_csv(Path(folder) / "dependent.csv", index=False)
        script = Path(folder) / "peer.R"
        script.write_text(R_SCRIPT, encoding="utf-8")
        output = subprocess.run(
            ["Rscript", str(script), folder], check=True, stdout=subprocess.PIPE, text=True
        ).stdout
    ratio = float(output.split()[0]) / best_time(fit(data))
    print(
        f"CHE with three levels and CR2, 600 studies, {len(data):,} effects, metafor::rma.mv and "
        f"clubSandwich::coef_test: {ratio:.1f} times as fast"
    )
    report_growth()
    return 0


if __name__ == "__main__":
    sys.exit(main())
