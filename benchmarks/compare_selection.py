"""Time the selection models against metafor::selmodel on the same data."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from compare_models import best_time

from alliance_meta.bias.cluster_bootstrap import draw_counts
from alliance_meta.bias.selection_models import Selection, bootstrap_selection, fit_selection

REPEATS = 5
REPLICATIONS = 500

R_SCRIPT = """
suppressMessages(library(metafor))
folder <- commandArgs(trailingOnly = TRUE)[1]
dat <- read.csv(file.path(folder, "effects.csv"))
base <- rma(y, v, data = dat, method = "ML")
best <- function(f, repeats) {
  times <- sapply(seq_len(repeats), function(i) system.time(f())[["elapsed"]])
  cat(formatC(min(times), digits = 10, format = "f"), "\\n")
}
# without the Hessian, for which metafor needs another package
fit <- function(steps) selmodel(base, type = "stepfun", steps = steps, skiphes = TRUE)
best(function() fit(0.025), 2)
best(function() fit(c(0.025, 0.5)), 2)
best(function() selmodel(base, type = "beta", skiphes = TRUE), 1)
"""


def simulate(k: int, seed: int) -> pd.DataFrame:
    """Return selected effects y with variances v."""
    rng = np.random.default_rng(seed)
    v = 1 / rng.integers(12, 300, 3 * k)
    y = 0.2 + rng.normal(size=3 * k) * np.sqrt(v + 0.02)
    published = (y / np.sqrt(v) > 1.96) | (rng.random(3 * k) < 0.5)
    return pd.DataFrame({"y": y, "v": v})[published][:k]


def main() -> int:
    """Print one line per comparison."""
    if shutil.which("Rscript") is None:
        print("make bench needs R with metafor (Rscript is not installed)")
        return 1
    data = simulate(300, 1)
    y, v, X = data["y"].to_numpy(), data["v"].to_numpy(), np.ones((len(data), 1))
    selections = [Selection((0.025,)), Selection((0.025, 0.5)), Selection()]
    ours = []
    for selection in selections:

        def run(selection: Selection = selection) -> object:
            return fit_selection(y, v, X, selection)

        ours.append(best_time(run, REPEATS))
    fit = fit_selection(y, v, X, selections[0])
    counts = draw_counts(np.arange(len(y)), REPLICATIONS, 1)
    ours.append(best_time(lambda: bootstrap_selection(fit, counts), REPEATS))
    with tempfile.TemporaryDirectory() as folder:
        data.to_csv(Path(folder) / "effects.csv", index=False)
        script = Path(folder) / "peer.R"
        script.write_text(R_SCRIPT, encoding="utf-8")
        output = subprocess.run(
            ["Rscript", str(script), folder], check=True, capture_output=True, text=True
        ).stdout.split()
    theirs = [float(seconds) for seconds in output]
    # a bootstrap in R is as many fits
    theirs.append(theirs[0] * REPLICATIONS)
    names = [
        "3PSM, k = 300, metafor::selmodel",
        "4PSM, k = 300, metafor::selmodel",
        "beta selection model, k = 300, metafor::selmodel",
        f"3PSM, {REPLICATIONS} bootstrap replications, metafor::selmodel (one fit, scaled)",
    ]
    for name, mine, peer in zip(names, ours, theirs, strict=True):
        print(f"{name}: {peer / mine:.1f} times as fast")
    return 0


if __name__ == "__main__":
    sys.exit(main())
