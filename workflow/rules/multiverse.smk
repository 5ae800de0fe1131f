# All defensible specifications of one analysis, in shards that may run side by side.
rule run_multiverse:
    input:
        effects="data/extracted/effect_sizes.csv",
        model="results/{analysis}/model.json",
        library=get_library(
            "extraction",
            "effect_sizes",
            "models",
            "sensitivity",
            "bias",
            "synthesis",
        ),
    output:
        temp("results/{analysis}/multiverse_shard_{shard}.csv"),
    log:
        "logs/run_multiverse/{analysis}_{shard}.log",
    conda:
        "../../environment.yml"
    params:
        settings=lambda wildcards: get_settings_with(wildcards.analysis),
        multiverse=config["multiverse"],
        shards=len(SHARDS),
    message:
        "Running the multiverse of {wildcards.analysis}, shard {wildcards.shard}"
    script:
        "../scripts/run_multiverse.py"


rule summarise_multiverse:
    input:
        effects="data/extracted/effect_sizes.csv",
        shards=expand("results/{{analysis}}/multiverse_shard_{shard}.csv", shard=SHARDS),
        library=get_library(
            "extraction",
            "effect_sizes",
            "models",
            "sensitivity",
            "bias",
            "synthesis",
        ),
    output:
        tables=update(
            expand("results/{{analysis}}/{table}.csv", table=MULTIVERSE_TABLES),
        ),
        record=update("results/{analysis}/multiverse.json"),
    log:
        "logs/summarise_multiverse/{analysis}.log",
    conda:
        "../../environment.yml"
    params:
        settings=lambda wildcards: get_settings_with(wildcards.analysis),
        multiverse=config["multiverse"],
    message:
        "Summing up the multiverse of {wildcards.analysis}"
    script:
        "../scripts/summarise_multiverse.py"
