"""The record of an analysis: everything a reader needs to trace or repeat it."""

import math
import platform
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from alliance_meta import __version__
from alliance_meta.codebook import Codebook
from alliance_meta.models.analysis import AnalysisResult
from alliance_meta.models.layers import Layers
from alliance_meta.models.sentences import describe_analysis, model_label
from alliance_meta.tables import to_records

RECORDED_PACKAGES = ("pymare", "numpy", "scipy", "pandas", "formulaic")

# the other tables hold rows of effects, which the record leaves to their files
RECORDED = (
    "coefficients",
    "summary",
    "heterogeneity",
    "comparisons",
    "collinearity",
    "scale_coefficients",
    "study_estimates",
)


def package_versions(packages: Iterable[str] = RECORDED_PACKAGES) -> dict[str, str]:
    """Return versions of this package, Python, and the packages that did the sums."""
    found = {"alliance-meta": __version__, "python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def model_record(
    result: AnalysisResult,
    layers: Layers,
    *,
    name: str,
    title: str,
    inputs: dict[str, str],
    codebook: Codebook,
) -> dict[str, Any]:
    """Return the content of ``model.json``.

    Parameters
    ----------
    result, layers
        A finished analysis, and what stands beside it.
    name, title
        Name of its folder, and its title.
    inputs
        Path -> SHA-256 of the files it rests on.
    codebook
        Gives the words for levels in sentences.
    """
    return {
        "analysis": name,
        "title": title,
        "specification": {
            **asdict(result.spec),
            "reference": dict(result.spec.reference),
            "reliability": dict(result.spec.reliability),
        },
        "model_label": model_label(result),
        "sentences": describe_analysis(result, codebook.level_label, layers.resampling),
        "layer_sentences": {key: list(found) for key, found in layers.sentences.items() if found},
        "warnings": list(result.warnings),
        "failure": result.failure,
        "references": dict(result.references),
        "set_apart": list(result.set_apart),
        "withheld": dict(result.withheld),
        "prior": None if layers.prior is None else dict(layers.prior),
        **{name: to_records(table) for name, table in result.tables().items() if name in RECORDED},
        # summary.csv has the columns of the contract; the record adds the df of each interval
        "summary": [
            {**row, "df": _finite(result.level_df.get(str(row["level"])))}
            for row in to_records(result.summary)
        ],
        "layers": {key: to_records(table) for key, table in layers.tables.items() if len(table)},
        "inputs": inputs,
        "versions": package_versions(),
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
