"""Time the univariate models against metafor and robumeta on the same data."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from alliance_meta.models.pooling import fit_pooled
from alliance_meta.models.specification import ModelSpecification

REPEATS = 20

R_SCRIPT = """
suppressMessages({library(metafor); library(robumeta)})
folder <- commandArgs(trailingOnly = TRUE)[1]
one <- read.csv(file.path(folder, "independent.csv"))
many <- read.csv(file.path(folder, "dependent.csv"))
best <- function(f, repeats) {
  times <- sapply(seq_len(repeats), function(i) system.time(f())[["elapsed"]])
  cat(formatC(min(times), digits = 10, format = "f"), "\\n")
}
best(function() for (i in 1:5) rma(y, v, mods = ~x, data = one, method = "REML", test = "knha"), 5)
best(function() robu(y ~ x, data = many, studynum = study, var.eff.size = v, rho = 0.6), 3)
"""


def simulate(sizes: np.ndarray, seed: int) -> pd.DataFrame:
    """Return effects y with variances v, a moderator x, and their study."""
    rng = np.random.default_rng(seed)
    study = np.repeat(np.arange(len(sizes)), sizes)
    n = rng.integers(15, 300, len(sizes))[study]
    x = rng.normal(size=len(study))
    y = 0.28 + 0.02 * x + rng.normal(0, 0.15, len(sizes))[study]
    y += rng.normal(size=len(study)) / np.sqrt(n - 3)
    return pd.DataFrame({"study": study, "y": y, "v": 1 / (n - 3), "x": x})


def best_time(
    function: Callable[[], object],
    repeats: int = REPEATS,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the shortest of several runs in seconds."""
    times = []
    for _ in range(repeats):
        start = clock()
        function()
        times.append(clock() - start)
    return min(times)


def fit(data: pd.DataFrame, spec: ModelSpecification) -> Callable[[], object]:
    """Return a function that fits one model with its coefficients' tests."""
    X = np.column_stack([np.ones(len(data)), data["x"]])
    y, v = data["y"].to_numpy(), data["v"].to_numpy()
    clusters = data["study"].to_numpy()

    def run() -> object:
        fitted = fit_pooled(y, v, X, clusters, spec)
        return [fitted.contrast(row) for row in np.eye(2)]

    return run


def main() -> int:
    """Print one line per comparison."""
    if shutil.which("Rscript") is None:
        print("make bench needs R with metafor and robumeta (Rscript is not installed)")
        return 1
    independent = simulate(np.ones(295, dtype=int), 1)
    dependent = simulate(np.resize([1, 2, 3, 4, 5], 295), 2)
    reml = ModelSpecification(model="random_effects", tau2="REML", inference="knapp_hartung")
    rve = ModelSpecification(model="rve")
    ours = [
        best_time(fit(independent, reml.resolve(dependent=False))),
        best_time(fit(dependent, rve.resolve(dependent=True))),
    ]
    with tempfile.TemporaryDirectory() as folder:
        independent.to_csv(Path(folder) / "independent.csv", index=False)
        dependent.to_csv(Path(folder) / "dependent.csv", index=False)
        script = Path(folder) / "peer.R"
        script.write_text(R_SCRIPT, encoding="utf-8")
        output = subprocess.run(
            ["Rscript", str(script), folder], check=True, capture_output=True, text=True
        ).stdout.split()
    theirs = [float(output[0]) / 5, float(output[1])]
    names = [
        "random effects, REML, Knapp-Hartung, k = 295, metafor::rma",
        "correlated effects, CR2, 295 studies, 885 effects, robumeta::robu",
    ]
    for name, mine, peer in zip(names, ours, theirs, strict=True):
        print(f"{name}: {peer / mine:.1f} times as fast")
    return 0


if __name__ == "__main__":
    sys.exit(main())
