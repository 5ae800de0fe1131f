import os
from glob import glob

import yaml
from snakemake.exceptions import WorkflowError
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
MERGED_SETTINGS = ("sensitivity", "bias", "reliability", "bayes")
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
SENSITIVITY_TABLES = (
    "sensitivity_leave_one_out",
    "sensitivity_influence",
    "sensitivity_influence_studies",
    "sensitivity_dfbetas",
    "sensitivity_baujat",
    "sensitivity_cumulative",
    "sensitivity_gosh",
    "sensitivity_gosh_summary",
    "sensitivity_gosh_studies",
    "sensitivity_rho",
    "sensitivity_leave_class_out",
    "sensitivity_weights",
    "sensitivity_coders",
    "sensitivity_coder_disagreements",
    "sensitivity_coder_unmatched",
    "sensitivity_power",
    "sensitivity_detectable",
)
BIAS_TABLES = (
    "bias_funnel",
    "bias_funnel_contours",
    "bias_egger",
    "bias_rank",
    "bias_pet_peese",
    "bias_trim_and_fill",
    "bias_trim_and_fill_effects",
    "bias_selection",
    "bias_p_uniform",
    "bias_worst_case",
    "bias_excess_significance",
    "bias_excess_significance_power",
    "bias_henmi_copas",
    "bias_fail_safe",
    "bias_panel",
)
MULTIVERSE_TABLES = (
    "multiverse",
    "multiverse_summary",
    "multiverse_variance",
    "multiverse_options",
)
# drawn, or read by users' scripts, but not shown on the page
TABLES_NOT_SHOWN = (
    "sensitivity_dfbetas",
    "sensitivity_gosh",
    "bias_funnel",
    "bias_funnel_contours",
    "bias_trim_and_fill_effects",
    "bias_excess_significance_power",
    "multiverse",
)
# the analysis that is taken through a multiverse, and the number of jobs that share the work
MULTIVERSE = config["multiverse"] and config["multiverse"].get("analysis", ANALYSES[0])
if MULTIVERSE and MULTIVERSE not in ANALYSES:
    raise WorkflowError(
        f"config/config.yaml, multiverse.analysis: there is no analysis '{MULTIVERSE}'"
    )
SHARDS = range(config["multiverse"].get("shards", 2)) if config["multiverse"] else ()

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
        for key in MERGED_SETTINGS
        if isinstance(own.get(key), dict) and isinstance(config[key], dict)
    }
    return {
        "sensitivity": config["sensitivity"],
        "bias": config["bias"],
        **shared,
        **own,
        **merged,
        "effects": files,
    }


def get_settings_with(analysis, *layers):
    """Return settings without those of other layers, so that a job reruns for its own only."""
    others = {"sensitivity", "bias", "bayes"} - set(layers)
    return {k: value for k, value in get_settings(analysis).items() if k not in others}


def get_analysis_settings(wildcards):
    asked = get_settings(wildcards.analysis)["sensitivity"].get("permutations", 10000)
    return {
        **get_settings_with(wildcards.analysis, "bayes"),
        "permutations": asked or 0,
    }


def get_sensitivity_settings(wildcards):
    settings = get_settings_with(wildcards.analysis, "sensitivity")
    own = {k: v for k, v in settings["sensitivity"].items() if k != "permutations"}
    return {**settings, "sensitivity": own}


def get_bias_settings(wildcards):
    return get_settings_with(wildcards.analysis, "bias")


def get_multiverse_tables(wildcards):
    """Return the tables of the multiverse for the analysis that has one."""
    if wildcards.analysis != MULTIVERSE:
        return []
    return expand(f"results/{MULTIVERSE}/{{table}}.csv", table=MULTIVERSE_TABLES)


def get_trust_tables():
    """Return the tables on trust in the results that the report shows."""
    tables = [*SENSITIVITY_TABLES, *BIAS_TABLES]
    paths = expand("results/{analysis}/{table}.csv", analysis=ANALYSES, table=tables)
    if MULTIVERSE:
        paths += expand(f"results/{MULTIVERSE}/{{table}}.csv", table=MULTIVERSE_TABLES)
    hidden = {f"{name}.csv" for name in TABLES_NOT_SHOWN}
    return [path for path in paths if os.path.basename(path) not in hidden]


def get_trust_records():
    """Return the sentences on trust in the results."""
    names = ["sensitivity", "bias"]
    paths = expand("results/{analysis}/{name}.json", analysis=ANALYSES, name=names)
    return [*paths, *([f"results/{MULTIVERSE}/multiverse.json"] if MULTIVERSE else [])]


def get_analysis_title(wildcards):
    return config["analyses"][wildcards.analysis].get("title", wildcards.analysis)


METRICS = sorted(
    {
        config["metric"],
        *(a["metric"] for a in config["analyses"].values() if "metric" in a),
    }
)
SHEETS = expand_paths(config["effects"])
SECOND_SHEETS = expand_paths(config["second_coder"])
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
