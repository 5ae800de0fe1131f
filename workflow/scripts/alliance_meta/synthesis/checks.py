"""Checks of a multiverse before its first specification is fitted."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from alliance_meta.models.specification import ModelSpecification, SpecificationError
from alliance_meta.problems import Problem
from alliance_meta.synthesis.multiverse_choices import multiverse_problems


def check_multiverse(
    effects: pd.DataFrame,
    multiverse: Mapping[str, Any],
    analyses: Mapping[str, Mapping[str, Any]],
    *,
    file: str,
) -> list[Problem]:
    """Return everything in a multiverse that cannot work on these effects.

    Parameters
    ----------
    effects
        Effect sizes table.
    multiverse
        Its configuration.
    analyses
        Name -> settings of the analyses that it may start from; the first is the default.
    file
        Name of the configuration file, for the messages.
    """
    name = multiverse.get("analysis") or next(iter(analyses))
    if name not in analyses:
        return [
            Problem(
                file,
                f"There is no analysis '{name}'.",
                f"Name one of: {', '.join(analyses)}.",
                column="multiverse.analysis",
                value=str(name),
                code="multiverse",
            )
        ]
    settings = analyses[name]
    try:
        base = ModelSpecification.from_mapping(settings)
        texts = multiverse_problems(multiverse, effects, base, files=settings["effects"])
    except SpecificationError:
        # the checks of the analysis itself say what is wrong
        return []
    return [
        Problem(
            file,
            text[:1].upper() + text[1:].rstrip(".") + ".",
            column="multiverse",
            code="multiverse",
        )
        for text in texts
    ]
