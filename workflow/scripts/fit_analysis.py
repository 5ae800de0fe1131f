"""Fit one analysis and write its tables."""

from typing import TYPE_CHECKING

from alliance_meta.citations import study_labels
from alliance_meta.codebook import load_codebook
from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.models.record import model_record
from alliance_meta.tables import hash_files, read_json, read_table, write_json, write_table

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

settings = snakemake.params.settings
effects = read_table(snakemake.input.effects)
result = analyse(
    effects,
    ModelSpecification.from_mapping(settings),
    labels=study_labels(effects, read_json(snakemake.input.references)),
    files=settings["effects"],
)
for name in ("coefficients", "summary", "heterogeneity", "included", "left_out", "line"):
    write_table(getattr(result, name), snakemake.output[name])
record = model_record(
    result,
    name=snakemake.wildcards.analysis,
    title=snakemake.params.title,
    inputs=hash_files(snakemake.input.sheets),
    codebook=load_codebook().extended(snakemake.params.vocabulary),
)
write_json(record, snakemake.output.model)
with open(snakemake.log[0], "w", encoding="utf-8") as log:
    log.writelines(f"{line}\n" for line in [*record["sentences"], *result.warnings])
