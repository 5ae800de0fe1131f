"""Check and harmonise the coded extractions; stop with a table of all problems."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from alliance_meta.codebook import load_codebook
from alliance_meta.configuration import without_mismatches
from alliance_meta.effect_sizes import check_effects
from alliance_meta.extraction.coders import check_coders
from alliance_meta.problems import errors_only, problems_table, terminal_table, unique_problems
from alliance_meta.tables import write_json, write_table

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

codebook = load_codebook().extended(snakemake.params.vocabulary)
inputs = (snakemake.input.sheets, snakemake.input.second_coder, snakemake.input.references)
coders = check_coders(
    *([(path, Path(path)) for path in paths] for paths in inputs), codebook=codebook
)
plausibility = [
    problem
    for coder in coders.given
    for problem in check_effects(
        coder.effects,
        metric=snakemake.params.metric,
        codebook=codebook,
        reported=coder.problems,
    )
]
problems = unique_problems(
    [*coders.problems, *without_mismatches(plausibility, snakemake.params.metrics)]
)
table = problems_table(problems)
write_table(table, snakemake.log.problems)

with open(snakemake.log.messages, "w", encoding="utf-8") as log:
    log.writelines(f"{problem}\n" for problem in problems)
errors = errors_only(problems)
if errors:
    print(terminal_table(errors), file=sys.stderr)
    sys.exit(1)

write_table(coders.first.effects, snakemake.output.extractions)
write_table(coders.second_table, snakemake.output.second_coder)
write_json(list(coders.first.references), snakemake.output.references)
write_table(table, snakemake.output.notes)
