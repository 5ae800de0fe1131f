"""Check the settings of all analyses; stop with a table of all problems."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from alliance_meta.models.checks import check_analyses
from alliance_meta.problems import errors_only, problems_table, terminal_table
from alliance_meta.tables import read_table, write_table

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

problems = check_analyses(
    read_table(snakemake.input.effects), snakemake.params.analyses, file="config/config.yaml"
)
write_table(problems_table(problems), snakemake.log.problems)
lines = [f"{problem}\n" for problem in problems]
Path(snakemake.log.messages).write_text("".join(lines), encoding="utf-8")
errors = errors_only(problems)
if errors:
    print(terminal_table(errors), file=sys.stderr)
    sys.exit(1)
names = "\n".join(snakemake.params.analyses)
Path(snakemake.output[0]).write_text(names + "\n", encoding="utf-8", newline="\n")
