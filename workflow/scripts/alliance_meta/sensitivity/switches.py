"""Assessments that the configuration switches off or tunes."""

from collections.abc import Callable, Mapping

from alliance_meta.assessments import Assessment
from alliance_meta.models.specification import InestimableError

OFF = "Switched off in the configuration."


def run_asked(name: str, asked: object, run: Callable[..., Assessment]) -> Assessment:
    """Run an assessment with its settings unless it is switched off.

    Parameters
    ----------
    name
        Name of the assessment.
    asked
        False, true, or a mapping of settings.
    run
        Takes the settings as keywords.

    Returns
    -------
    Assessment
        Without tables and with a sentence where it is switched off or cannot be computed.
    """
    if asked is False:
        return Assessment(name, {}, (OFF,))
    try:
        return run(**(asked if isinstance(asked, Mapping) else {}))
    except InestimableError as error:
        return Assessment(name, {}, (f"Not computed: {'; '.join(error.problems).rstrip('.')}.",))
