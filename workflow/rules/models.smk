# Outputs are marked update(), so that an analysis that cannot be fitted as it is set leaves its
# earlier tables in place; the others go on.
rule fit_analysis:
    input:
        effects="data/extracted/effect_sizes.csv",
        references="data/extracted/references.json",
        sheets=SHEETS,
        library=get_library("extraction", "effect_sizes", "models"),
    output:
        coefficients=update("results/{analysis}/coefficients.csv"),
        summary=report(
            update("results/{analysis}/summary.csv"),
            caption="../report/summary.rst",
            category="Pooled effects",
            labels={"analysis": "{analysis}", "table": "summary"},
        ),
        heterogeneity=update("results/{analysis}/heterogeneity.csv"),
        included=update("results/{analysis}/included_effects.csv"),
        left_out=update("results/{analysis}/left_out_effects.csv"),
        line=update("results/{analysis}/prediction_line.csv"),
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
