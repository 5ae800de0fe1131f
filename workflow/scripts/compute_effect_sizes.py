"""Convert the reported statistics to effect sizes with sampling variances."""

from typing import TYPE_CHECKING

from alliance_meta.effect_sizes import convert_effects
from alliance_meta.problems import ExtractionError, errors_only
from alliance_meta.tables import read_table, write_table

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

converted = convert_effects(read_table(snakemake.input.extractions), metric=snakemake.params.metric)
with open(snakemake.log[0], "w", encoding="utf-8") as log:
    log.writelines(f"{problem}\n" for problem in converted.problems)
if errors_only(converted.problems):
    raise ExtractionError(converted.problems)
write_table(converted.table, snakemake.output.effects)
