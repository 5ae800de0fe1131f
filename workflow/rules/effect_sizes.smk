rule compute_effect_sizes:
    input:
        extractions="data/extracted/extractions.csv",
        second_coder="data/extracted/second_coder.csv",
        library=get_library("extraction", "effect_sizes"),
    output:
        effects="data/extracted/effect_sizes.csv",
        second_coder="data/extracted/second_coder_effect_sizes.csv",
    log:
        "logs/compute_effect_sizes.log",
    conda:
        "../../environment.yml"
    params:
        metric=config["metric"],
    message:
        "Converting reported statistics to effect sizes"
    script:
        "../scripts/compute_effect_sizes.py"
