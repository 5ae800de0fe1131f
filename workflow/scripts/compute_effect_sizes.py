"""Convert the reported statistics to effect sizes with sampling variances."""

from typing import TYPE_CHECKING

from alliance_meta.configuration import without_mismatches
from alliance_meta.effect_sizes import convert_effects
from alliance_meta.problems import ExtractionError, errors_only
from alliance_meta.tables import read_table, write_table

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

paths = (snakemake.input.extractions, snakemake.input.second_coder)
converted = [convert_effects(read_table(path), metric=snakemake.params.metric) for path in paths]
problems = [problem for coder in converted for problem in coder.problems]
with open(snakemake.log[0], "w", encoding="utf-8") as log:
    log.writelines(f"{problem}\n" for problem in problems)
# rows of another scale than the review's may serve an analysis with a metric of its own
errors = without_mismatches(errors_only(problems), ("fisher_z", "generic"))
if errors:
    raise ExtractionError(errors)
write_table(converted[0].table, snakemake.output.effects)
write_table(converted[1].table, snakemake.output.second_coder)
