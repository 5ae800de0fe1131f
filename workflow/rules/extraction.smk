# The table of problems is a log, not an output: Snakemake keeps logs of failed jobs. The
# outputs are marked update(), so that a failed check leaves the earlier ones in place.
rule validate_extractions:
    input:
        sheets=SHEETS,
        second_coder=SECOND_SHEETS,
        references=REFERENCES,
        library=get_library("extraction", "effect_sizes"),
    output:
        extractions=update("data/extracted/extractions.csv"),
        second_coder=update("data/extracted/second_coder.csv"),
        references=update("data/extracted/references.json"),
        # not update(): gone after a failed check, it asks for a new one
        notes="logs/validation_notes.csv",
    log:
        messages="logs/validate_extractions.log",
        problems="results/validation.csv",
    conda:
        "../../environment.yml"
    params:
        vocabulary=config["vocabulary"],
        metric=config["metric"],
        metrics=METRICS,
    message:
        "Checking the coded extractions"
    script:
        "../scripts/validate_extractions.py"
