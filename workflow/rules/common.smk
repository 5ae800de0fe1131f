import os
from glob import glob

import yaml
from snakemake.utils import validate

validate(config, "../schemas/config.schema.yaml")

ANALYSES = list(config["analyses"])
SHARED_SETTINGS = (
    "metric",
    "rho",
    "ci_level",
    "prediction",
    "where",
    "rare_levels",
    "minimum_studies",
    "missing_moderators",
    "attenuation",
    "reliability",
    "bayes",
    "seed",
)
# of each analysis; summary.csv has a caption of its own
ANALYSIS_TABLES = (
    "coefficients",
    "heterogeneity",
    "included_effects",
    "left_out_effects",
    "prediction_line",
    "study_estimates",
    "comparisons",
    "collinearity",
    "scale_coefficients",
    "permutation",
    "wild_bootstrap",
    "attenuation",
    "attenuation_sweep",
    "reliabilities",
    "hunter_schmidt",
    "posterior",
    "posterior_probabilities",
    "posterior_studies",
)

with open(workflow.source_path("../library.yaml")) as manifest:
    LIBRARY = yaml.safe_load(manifest)


wildcard_constraints:
    analysis="|".join(ANALYSES),


def expand_paths(patterns):
    """Return the files behind paths and globs; a path without a file stays, to be missed.

    Names that begin with ~$ are lock files of workbooks open in Excel.
    """
    found = {
        os.path.normpath(path): None
        for pattern in patterns
        for path in sorted(glob(pattern)) or [pattern]
    }
    return [path for path in found if not os.path.basename(path).startswith("~$")]


def get_library(*rooms):
    """Return the library files of some rooms as inputs, so that editing one reruns its users."""
    return [
        workflow.source_path(f"../scripts/alliance_meta/{file}")
        for room in ("base", *rooms)
        for file in LIBRARY[room]
    ]


def get_settings(analysis):
    """Return the settings of one analysis, with those of the review where it has none."""
    shared = {key: config[key] for key in SHARED_SETTINGS}
    own = config["analyses"][analysis] or {}
    files = expand_paths(own["effects"]) if own.get("effects") else SHEETS
    merged = {
        key: {**config[key], **own[key]}
        for key in ("sensitivity", "reliability", "bayes")
        if isinstance(own.get(key), dict) and isinstance(config[key], dict)
    }
    return {
        "sensitivity": config["sensitivity"],
        **shared,
        **own,
        **merged,
        "effects": files,
    }


def get_analysis_settings(wildcards):
    return get_settings(wildcards.analysis)


def get_analysis_title(wildcards):
    return config["analyses"][wildcards.analysis].get("title", wildcards.analysis)


METRICS = sorted(
    {
        config["metric"],
        *(a["metric"] for a in config["analyses"].values() if "metric" in a),
    }
)
SHEETS = expand_paths(config["effects"])
REFERENCES = expand_paths(config["references"])
FORMULAS = sorted(
    {
        own[key]
        for own in config["analyses"].values()
        if own
        for key in ("moderators", "scale")
        if own.get(key)
    }
)
