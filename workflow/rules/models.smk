# Outputs are marked update(), so that an analysis that cannot be fitted as it is set leaves its
# earlier tables in place; the others go on.
rule fit_analysis:
    input:
        effects="data/extracted/effect_sizes.csv",
        references="data/extracted/references.json",
        sheets=SHEETS,
        library=get_library("extraction", "effect_sizes", "models"),
    output:
        summary=report(
            update("results/{analysis}/summary.csv"),
            caption="../report/summary.rst",
            category="Pooled effects",
            labels={"analysis": "{analysis}", "table": "summary"},
        ),
        tables=update(
            expand("results/{{analysis}}/{table}.csv", table=ANALYSIS_TABLES),
        ),
        model=update("results/{analysis}/model.json"),
    log:
        "logs/fit_analysis/{analysis}.log",
    conda:
        "../../environment.yml"
    params:
        settings=get_analysis_settings,
        vocabulary=config["vocabulary"],
        title=get_analysis_title,
    message:
        "Fitting analysis {wildcards.analysis}"
    script:
        "../scripts/fit_analysis.py"


rule map_moderators:
    input:
        effects="data/extracted/effect_sizes.csv",
        library=get_library("extraction", "effect_sizes", "models"),
    output:
        pairs=update("results/moderator_map.csv"),
        cells=update("results/moderator_cells.csv"),
        sentences=update("results/moderator_map.json"),
    log:
        "logs/map_moderators.log",
    conda:
        "../../environment.yml"
    params:
        metric=config["metric"],
        where=config["where"],
        formulas=FORMULAS,
        vocabulary=config["vocabulary"],
    message:
        "Relating the moderators to each other"
    script:
        "../scripts/map_moderators.py"
