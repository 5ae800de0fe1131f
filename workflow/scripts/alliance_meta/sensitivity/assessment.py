"""All assessments of how much one result rests on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from alliance_meta.assessments import Assessment, Progress
from alliance_meta.codebook import Codebook
from alliance_meta.models.analysis import AnalysisResult
from alliance_meta.models.refits import Refitter
from alliance_meta.models.rows import model_rows
from alliance_meta.models.specification import InestimableError
from alliance_meta.sensitivity import (
    baujat,
    coders,
    cumulative,
    gosh,
    influence,
    leave_class_out,
    leave_one_out,
    power,
    rho_sweep,
    weighting,
)
from alliance_meta.sensitivity.switches import run_asked

# setting -> tables with their columns, so that the files are the same for every analysis
TABLES: Mapping[str, Mapping[str, Sequence[str]]] = {
    leave_one_out.NAME: {"sensitivity_leave_one_out": leave_one_out.COLUMNS},
    influence.NAME: influence.TABLES,
    baujat.NAME: baujat.TABLES,
    cumulative.NAME: {"sensitivity_cumulative": cumulative.COLUMNS},
    gosh.NAME: gosh.TABLES,
    rho_sweep.NAME: {"sensitivity_rho": rho_sweep.COLUMNS},
    leave_class_out.NAME: {"sensitivity_leave_class_out": leave_class_out.COLUMNS},
    weighting.NAME: {"sensitivity_weights": weighting.COLUMNS},
    coders.NAME: coders.TABLES,
    power.NAME: power.TABLES,
}


def assess_sensitivity(
    effects: pd.DataFrame,
    result: AnalysisResult,
    settings: Mapping[str, Any],
    *,
    second: pd.DataFrame | None = None,
    files: Sequence[str] | None = None,
    codebook: Codebook | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Assessment]:
    """Run the assessments that the settings ask for.

    Parameters
    ----------
    effects, files, codebook
        As for ``analyse``.
    result
        The analysis.
    settings
        ``sensitivity`` of the configuration: assessment -> false, true, or its own settings.
    second
        Effect sizes table of a second coder.
    seed
        Of everything random.
    progress
        Told what is at work.

    Returns
    -------
    list of Assessment
        One for each entry of ``TABLES``, in that order; what is switched off or cannot be
        computed has tables without rows and a sentence.
    """
    progress = progress or Progress()
    try:
        rows = model_rows(result)
    except InestimableError as error:
        text = f"Nothing to assess: {'; '.join(error.problems).rstrip('.')}."
        return [Assessment(name, {}, (text,)).completed(own) for name, own in TABLES.items()]
    refitter, withheld = Refitter(rows), frozenset(result.withheld)
    fits: dict[str, Any] = {"advance": progress.advance}
    runs: dict[str, Callable[..., Assessment]] = {
        leave_one_out.NAME: lambda: leave_one_out.assess_leave_one_out(
            rows, refitter, withheld=withheld, **fits
        ),
        influence.NAME: lambda: influence.assess_influence(rows, refitter, **fits),
        baujat.NAME: lambda: baujat.assess_baujat(rows, refitter, **fits),
        cumulative.NAME: lambda **asked: cumulative.assess_cumulative(
            rows, refitter, **_listed(asked), **fits
        ),
        gosh.NAME: lambda **asked: gosh.assess_gosh(rows, refitter, seed=seed, **asked, **fits),
        rho_sweep.NAME: lambda **asked: rho_sweep.assess_rho(
            rows, refitter, withheld=withheld, **asked, **fits
        ),
        leave_class_out.NAME: lambda **asked: leave_class_out.assess_leave_class_out(
            rows, refitter, withheld=withheld, **_listed(asked), **fits
        ),
        weighting.NAME: lambda: weighting.assess_weights(rows, withheld=withheld),
        coders.NAME: lambda **asked: coders.assess_coders(
            result,
            effects,
            second,
            files=files,
            codebook=codebook,
            seed=seed,
            **asked,
            **fits,
        ),
        power.NAME: lambda **asked: power.assess_power(result, rows, **asked),
    }
    assessments = []
    for name, columns in TABLES.items():
        progress.begin(name)
        assessments.append(run_asked(name, settings.get(name, True), runs[name]).completed(columns))
    return assessments


def _listed(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which ``by`` may be a single column."""
    by = asked.get("by")
    return {**asked, "by": [by]} if isinstance(by, str) else dict(asked)
