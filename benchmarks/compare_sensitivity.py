"""Time leaving out, adding up, influence and subsets against metafor on the same data."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from alliance_meta.models.subsets import fit_subsets
from alliance_meta.sensitivity.gosh import gosh_subsets
from alliance_meta.sensitivity.influence import influence_univariate

K = 295
K_GOSH = 60
SUBSETS = 1_000_000
# so many are timed in R, where each costs the same
PEER_SUBSETS = {"DL": 20_000, "REML": 1_000}
REPEATS = 20

R_SCRIPT = """
suppressMessages(library(metafor))
arguments <- commandArgs(trailingOnly = TRUE)
dat <- read.csv(file.path(arguments[1], "effects.csv"))
say <- function(run) cat(formatC(system.time(run())[["elapsed"]], digits = 10, format = "f"), "\\n")
fit <- rma(y, v, data = dat, method = "REML", test = "knha")
say(function() leave1out(fit))
say(function() influence(fit))
say(function() suppressWarnings(cumul(fit)))
part <- dat[seq_len(as.integer(arguments[2])), ]
for (i in 3:4) {
  method <- c("DL", "REML")[i - 2]
  fit <- rma(y, v, data = part, method = method)
  say(function() gosh(fit, subsets = as.integer(arguments[i]), progbar = FALSE))
}
"""


def best_time(function: Callable[[], object], repeats: int) -> float:
    """Return the shortest of several runs in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(y: np.ndarray, v: np.ndarray) -> list[float]:
    """Return our times in the order of the peer's."""
    X = np.ones((K, 1))
    without_one, first_ones = ~np.eye(K, dtype=bool), np.tri(K, dtype=bool)

    def refit(keep: np.ndarray) -> object:
        return fit_subsets(y, v, X, keep, tau2="REML", inference="knapp_hartung")

    def assess_influence() -> object:
        whole = fit_subsets(y, v, X, np.ones((1, K), dtype=bool), tau2="REML")
        deleted = fit_subsets(y, v, X, without_one, tau2="REML", inference="knapp_hartung")
        return influence_univariate(
            y,
            v,
            X,
            tau2=float(whole.tau2[0]),
            tau2_deleted=deleted.tau2,
            Q_deleted=deleted.Q,
            inference="knapp_hartung",
        )

    def draw(tau2: str) -> object:
        return gosh_subsets(y[:K_GOSH], v[:K_GOSH], subsets=SUBSETS, seed=1, tau2=tau2)

    return [
        best_time(lambda: refit(without_one), REPEATS),
        best_time(assess_influence, REPEATS),
        best_time(lambda: refit(first_ones), REPEATS),
        best_time(lambda: draw("DL"), 2),
        best_time(lambda: draw("REML"), 1),
    ]


def main() -> int:
    """Print one line per comparison."""
    if shutil.which("Rscript") is None:
        print("make bench needs R with metafor (Rscript is not installed)")
        return 1
    rng = np.random.default_rng(1)
    v = 1 / rng.integers(12, 297, K)
    y = 0.28 + rng.normal(size=K) * np.sqrt(v + 0.02)
    ours = measure(y, v)
    with tempfile.TemporaryDirectory() as folder:
        np.savetxt(
            Path(folder) / "effects.csv",
            np.column_stack([y, v]),
            delimiter=",",
            header="y,v",
            comments="",
        )
        script = Path(folder) / "peer.R"
        script.write_text(R_SCRIPT, encoding="utf-8")
        sizes = [str(n) for n in (K_GOSH, *PEER_SUBSETS.values())]
        output = subprocess.run(
            ["Rscript", str(script), folder, *sizes], check=True, capture_output=True, text=True
        ).stdout.split()
    scale = [1.0, 1.0, 1.0, *(SUBSETS / n for n in PEER_SUBSETS.values())]
    names = [
        f"leave-one-out, REML, Knapp-Hartung, k = {K}, metafor::leave1out",
        f"influence, REML, Knapp-Hartung, k = {K}, metafor::influence",
        f"cumulative, REML, Knapp-Hartung, k = {K}, metafor::cumul",
        *(
            f"GOSH, {tau2}, k = {K_GOSH}, {SUBSETS:,} subsets, metafor::gosh (scaled from {n:,})"
            for tau2, n in PEER_SUBSETS.items()
        ),
    ]
    for name, mine, peer, times in zip(names, ours, output, scale, strict=True):
        print(f"{name}: {float(peer) * times / mine:.0f} times as fast ({1000 * mine:.1f} ms)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
