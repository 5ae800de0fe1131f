rule draw_figures:
    input:
        included="results/{analysis}/included_effects.csv",
        summary="results/{analysis}/summary.csv",
        heterogeneity="results/{analysis}/heterogeneity.csv",
        line="results/{analysis}/prediction_line.csv",
        model="results/{analysis}/model.json",
        trust=expand(
            "results/{{analysis}}/{table}.csv",
            table=[*SENSITIVITY_TABLES, *BIAS_TABLES],
        ),
        multiverse=get_multiverse_tables,
        library=get_library("figures"),
    output:
        report(
            directory("results/{analysis}/figures"),
            patterns=["{figure}.svg"],
            caption="../report/figure.rst",
            category="Figures",
            labels={"analysis": "{analysis}", "figure": "{figure}"},
        ),
    log:
        "logs/draw_figures/{analysis}.log",
    conda:
        "../../environment.yml"
    params:
        vocabulary=config["vocabulary"],
    message:
        "Drawing the figures of analysis {wildcards.analysis}"
    script:
        "../scripts/draw_figures.py"
