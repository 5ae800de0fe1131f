rule compute_effect_sizes:
    input:
        extractions="data/extracted/extractions.csv",
        library=get_library("extraction", "effect_sizes"),
    output:
        effects="data/extracted/effect_sizes.csv",
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
