"""Time the permutation test of moderators against metafor on the same data."""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from alliance_meta.models.permutation import permute_moderators
from alliance_meta.models.specification import ModelSpecification

PERMUTATIONS = 10_000
# so many are timed in R, where each costs the same
PEER_PERMUTATIONS = 200
REPEATS = 5

R_SCRIPT = """
suppressMessages(library(metafor))
arguments <- commandArgs(trailingOnly = TRUE)
dat <- read.csv(file.path(arguments[1], "effects.csv"))
fit <- rma(y, v, mods = ~ group + year, data = dat, method = "REML", test = "knha")
run <- function() permutest(fit, exact = FALSE, iter = as.integer(arguments[2]), progbar = FALSE)
cat(formatC(system.time(run())[["elapsed"]], digits = 10, format = "f"), "\\n")
"""


def main() -> int:
    """Print the ratio of the times per permutation."""
    if shutil.which("Rscript") is None:
        print("make bench needs R with metafor (Rscript is not installed)")
        return 1
    rng = np.random.default_rng(1)
    k = 295
    v = 1 / rng.integers(12, 297, k)
    y = 0.28 + rng.normal(size=k) * np.sqrt(v + 0.02)
    X = np.column_stack([np.ones(k), rng.integers(0, 2, k), rng.integers(1980, 2021, k)])
    spec = ModelSpecification(model="random_effects", tau2="REML", inference="knapp_hartung")
    tested = np.array([False, True, True])
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        permute_moderators(
            y,
            v,
            X.astype(float),
            spec,
            tested,
            np.eye(3)[1:],
            permutations=PERMUTATIONS,
            seed=1,
        )
        times.append(time.perf_counter() - start)
    with tempfile.TemporaryDirectory() as folder:
        np.savetxt(
            Path(folder) / "effects.csv",
            np.column_stack([y, v, X[:, 1:]]),
            delimiter=",",
            header="y,v,group,year",
            comments="",
        )
        script = Path(folder) / "peer.R"
        script.write_text(R_SCRIPT, encoding="utf-8")
        output = subprocess.run(
            ["Rscript", str(script), folder, str(PEER_PERMUTATIONS)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    ratio = float(output) / PEER_PERMUTATIONS / (min(times) / PERMUTATIONS)
    name = f"permutation test, REML, Knapp-Hartung, k = {k}, 3 coefficients, metafor::permutest"
    print(f"{name}: {ratio:.0f} times as fast")
    return 0


if __name__ == "__main__":
    sys.exit(main())
