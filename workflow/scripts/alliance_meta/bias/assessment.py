"""All that a review asks about publication bias, in one run."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from alliance_meta.assessments import Assessment, Progress
from alliance_meta.bias.egger import EGGER_COLUMNS, assess_egger
from alliance_meta.bias.excess_significance import (
    EXCESS_COLUMNS,
    POWER_COLUMNS,
    assess_excess_significance,
)
from alliance_meta.bias.fail_safe import FAIL_SAFE_COLUMNS, assess_fail_safe
from alliance_meta.bias.funnel import CONTOUR_COLUMNS, FUNNEL_COLUMNS, assess_funnel
from alliance_meta.bias.henmi_copas import HENMI_COPAS_COLUMNS, assess_henmi_copas
from alliance_meta.bias.p_uniform import P_UNIFORM_COLUMNS, assess_p_uniform
from alliance_meta.bias.panel import PANEL_COLUMNS, assess_panel
from alliance_meta.bias.pet_peese import PET_PEESE_COLUMNS, assess_pet_peese
from alliance_meta.bias.rank_test import RANK_COLUMNS, assess_rank_test
from alliance_meta.bias.selection_models import SELECTION_COLUMNS, assess_selection
from alliance_meta.bias.trim_and_fill import (
    FILLED_COLUMNS,
    TRIM_COLUMNS,
    assess_trim_and_fill,
)
from alliance_meta.bias.units import reason
from alliance_meta.bias.worst_case import WORST_CASE_COLUMNS, assess_worst_case
from alliance_meta.models.analysis import AnalysisResult
from alliance_meta.models.rows import model_rows
from alliance_meta.models.specification import InestimableError
from alliance_meta.sensitivity.switches import run_asked

PANEL = "panel"
# method -> table -> columns, in the order in which they are run
TABLES: dict[str, dict[str, list[str]]] = {
    "funnel": {"bias_funnel": FUNNEL_COLUMNS, "bias_funnel_contours": CONTOUR_COLUMNS},
    "egger": {"bias_egger": EGGER_COLUMNS},
    "rank_test": {"bias_rank": RANK_COLUMNS},
    "pet_peese": {"bias_pet_peese": PET_PEESE_COLUMNS},
    "trim_and_fill": {
        "bias_trim_and_fill": TRIM_COLUMNS,
        "bias_trim_and_fill_effects": FILLED_COLUMNS,
    },
    "henmi_copas": {"bias_henmi_copas": HENMI_COPAS_COLUMNS},
    "selection": {"bias_selection": SELECTION_COLUMNS},
    "p_uniform": {"bias_p_uniform": P_UNIFORM_COLUMNS},
    "worst_case": {"bias_worst_case": WORST_CASE_COLUMNS},
    "excess_significance": {
        "bias_excess_significance": EXCESS_COLUMNS,
        "bias_excess_significance_power": POWER_COLUMNS,
    },
    "fail_safe": {"bias_fail_safe": FAIL_SAFE_COLUMNS},
    PANEL: {"bias_panel": PANEL_COLUMNS},
}


def assess_bias(
    result: AnalysisResult,
    settings: Mapping[str, Any],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Assessment]:
    """Run all methods that are not switched off, and the panel of their corrections.

    Parameters
    ----------
    result
        The analysis.
    settings
        Method -> False to switch it off, or its settings; true, empty or absent for the
        defaults. The ``alternative`` of ``selection`` holds for ``p_uniform`` and
        ``worst_case`` too.
    seed
        Of the bootstrap of the selection models.
    progress
        Told what is at work.

    Returns
    -------
    list of Assessment
        One for each entry of ``TABLES``, in that order, each with all its tables; those that
        were switched off or not defined have no rows.
    """
    progress = progress or Progress()
    try:
        rows = model_rows(result)
    except InestimableError as error:
        text = f"Nothing to assess: {reason(error)}."
        return [Assessment(name, {}, (text,)).completed(own) for name, own in TABLES.items()]
    selection = settings.get("selection")
    # the direction of selection is one for all methods that have one
    towards = {}
    if isinstance(selection, Mapping) and "alternative" in selection:
        towards = {"alternative": selection["alternative"]}
    runs: dict[str, Callable[..., Assessment]] = {
        "funnel": assess_funnel,
        "egger": assess_egger,
        "rank_test": assess_rank_test,
        "pet_peese": assess_pet_peese,
        "trim_and_fill": assess_trim_and_fill,
        "henmi_copas": assess_henmi_copas,
        "selection": lambda rows, **own: assess_selection(
            rows, **own, seed=seed, advance=progress.advance
        ),
        "p_uniform": lambda rows, **own: assess_p_uniform(rows, **(towards | own)),
        "worst_case": lambda rows, **own: assess_worst_case(rows, **(towards | own)),
        "excess_significance": assess_excess_significance,
        "fail_safe": assess_fail_safe,
    }
    assessments = []
    for name, run in runs.items():
        progress.begin(name)
        found = run_asked(name, settings.get(name, True), partial(run, rows))
        assessments.append(found.completed(TABLES[name]))
    asked = {
        table: found
        for each in assessments
        if settings.get(each.name) is not False
        for table, found in each.tables.items()
    }
    progress.begin(PANEL)
    return [*assessments, assess_panel(rows, asked).completed(TABLES[PANEL])]
