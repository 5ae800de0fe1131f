"""Check and harmonise the coded extractions; stop with a table of all problems."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from alliance_meta.codebook import load_codebook
from alliance_meta.configuration import without_mismatches
from alliance_meta.effect_sizes import check_effects
from alliance_meta.extraction import check_sheets
from alliance_meta.problems import errors_only, problems_table, terminal_table, unique_problems
from alliance_meta.tables import write_json, write_table

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

codebook = load_codebook().extended(snakemake.params.vocabulary)
extraction = check_sheets(
    [(path, Path(path)) for path in snakemake.input.sheets],
    [(path, Path(path)) for path in snakemake.input.references],
    codebook=codebook,
)
plausibility = check_effects(
    extraction.effects,
    metric=snakemake.params.metric,
    codebook=codebook,
    reported=extraction.problems,
)
problems = unique_problems(
    [*extraction.problems, *without_mismatches(plausibility, snakemake.params.metrics)]
)
table = problems_table(problems)
write_table(table, snakemake.log.problems)

with open(snakemake.log.messages, "w", encoding="utf-8") as log:
    log.writelines(f"{problem}\n" for problem in problems)
errors = errors_only(problems)
if errors:
    print(terminal_table(errors), file=sys.stderr)
    sys.exit(1)

write_table(extraction.effects, snakemake.output.extractions)
write_json(list(extraction.references), snakemake.output.references)
write_table(table, snakemake.output.notes)
