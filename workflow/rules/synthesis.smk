rule render_report:
    input:
        effects="data/extracted/effect_sizes.csv",
        references="data/extracted/references.json",
        notes="logs/validation_notes.csv",
        models=expand("results/{analysis}/model.json", analysis=ANALYSES),
        included=expand("results/{analysis}/included_effects.csv", analysis=ANALYSES),
        left_out=expand("results/{analysis}/left_out_effects.csv", analysis=ANALYSES),
        trust=get_trust_tables(),
        records=get_trust_records(),
        moderators="results/moderator_map.json",
        moderator_pairs="results/moderator_map.csv",
        sources=[*SHEETS, *SECOND_SHEETS, *REFERENCES],
        figures=expand("results/{analysis}/figures", analysis=ANALYSES),
        library=get_library("report"),
    output:
        report(
            "reports/synthesis.html",
            caption="../report/synthesis.rst",
            category="Report",
            labels={"document": "synthesis"},
        ),
    log:
        "logs/render_report.log",
    conda:
        "../../environment.yml"
    params:
        title=config["title"],
        question=config["question"],
        caution=config["caution"],
        settings={key: config[key] for key in ("metric", "rho", "ci_level", "seed")},
        vocabulary=config["vocabulary"],
    message:
        "Writing reports/synthesis.html"
    script:
        "../scripts/render_report.py"
