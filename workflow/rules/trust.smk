# How far a result can be trusted. Outputs are marked update() as those of the fits are.
rule assess_sensitivity:
    input:
        effects="data/extracted/effect_sizes.csv",
        second="data/extracted/second_coder_effect_sizes.csv",
        model="results/{analysis}/model.json",
        library=get_library("extraction", "effect_sizes", "models", "sensitivity"),
    output:
        tables=update(
            expand("results/{{analysis}}/{table}.csv", table=SENSITIVITY_TABLES),
        ),
        record=update("results/{analysis}/sensitivity.json"),
    log:
        "logs/assess_sensitivity/{analysis}.log",
    conda:
        "../../environment.yml"
    params:
        settings=get_sensitivity_settings,
        vocabulary=config["vocabulary"],
    message:
        "Assessing how much analysis {wildcards.analysis} rests on single studies"
    script:
        "../scripts/assess_sensitivity.py"


rule assess_bias:
    input:
        effects="data/extracted/effect_sizes.csv",
        model="results/{analysis}/model.json",
        library=get_library(
            "extraction", "effect_sizes", "models", "sensitivity", "bias"
        ),
    output:
        tables=update(
            expand("results/{{analysis}}/{table}.csv", table=BIAS_TABLES),
        ),
        record=update("results/{analysis}/bias.json"),
    log:
        "logs/assess_bias/{analysis}.log",
    conda:
        "../../environment.yml"
    params:
        settings=get_bias_settings,
        vocabulary=config["vocabulary"],
    message:
        "Assessing small-study effects in analysis {wildcards.analysis}"
    script:
        "../scripts/assess_bias.py"
