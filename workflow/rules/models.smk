# Checks every analysis before the first is fitted, so that all problems show at once.
rule check_analyses:
    input:
        effects="data/extracted/effect_sizes.csv",
        library=get_library("extraction", "effect_sizes", "models"),
    output:
        "data/extracted/analyses_checked.txt",
    log:
        messages="logs/check_analyses.log",
        problems="results/validation_analyses.csv",
    conda:
        "../../environment.yml"
    params:
        analyses={name: get_settings(name) for name in ANALYSES},
    message:
        "Checking the settings of all analyses"
    script:
        "../scripts/check_analyses.py"


rule fit_analysis:
    input:
        effects="data/extracted/effect_sizes.csv",
        references="data/extracted/references.json",
        sheets=SHEETS,
        # ancient: a new analysis is checked without refitting the others
        checked=ancient("data/extracted/analyses_checked.txt"),
        library=get_library("extraction", "effect_sizes", "models"),
    output:
        coefficients="results/{analysis}/coefficients.csv",
        summary=report(
            "results/{analysis}/summary.csv",
            caption="../report/summary.rst",
            category="Pooled effects",
            labels={"analysis": "{analysis}", "table": "summary"},
        ),
        heterogeneity="results/{analysis}/heterogeneity.csv",
        included="results/{analysis}/included_effects.csv",
        left_out="results/{analysis}/left_out_effects.csv",
        line="results/{analysis}/prediction_line.csv",
        model="results/{analysis}/model.json",
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
