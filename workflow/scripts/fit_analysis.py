"""Fit one analysis and write its tables."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from alliance_meta.citations import study_labels
from alliance_meta.codebook import load_codebook
from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.models.checks import check_analyses
from alliance_meta.models.layers import compute_layers
from alliance_meta.models.record import model_record
from alliance_meta.problems import errors_only, terminal_table
from alliance_meta.tables import hash_files, read_json, read_table, write_json, write_table

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

name, settings = snakemake.wildcards.analysis, snakemake.params.settings
codebook = load_codebook().extended(snakemake.params.vocabulary)
effects = read_table(snakemake.input.effects)
errors = errors_only(
    check_analyses(effects, {name: settings}, file="config/config.yaml", codebook=codebook)
)
if errors:
    print(terminal_table(errors), file=sys.stderr)
    sys.exit(1)
labels = study_labels(effects, read_json(snakemake.input.references))
shared = {"labels": labels, "files": settings["effects"], "codebook": codebook}
result = analyse(effects, ModelSpecification.from_mapping(settings), **shared)
layers = compute_layers(
    effects,
    result,
    **shared,
    permutations=settings["permutations"],
    prior=None if settings["bayes"] is False else settings["bayes"],
    seed=settings["seed"],
)
tables = {**result.tables(), **layers.tables}
for path in [snakemake.output.summary, *snakemake.output.tables]:
    write_table(tables[Path(path).stem], path)
record = model_record(
    result,
    layers,
    name=name,
    title=snakemake.params.title,
    inputs=hash_files(snakemake.input.sheets),
    codebook=codebook,
)
write_json(record, snakemake.output.model)
with open(snakemake.log[0], "w", encoding="utf-8") as log:
    log.writelines(f"{line}\n" for line in [*record["sentences"], *result.warnings])
