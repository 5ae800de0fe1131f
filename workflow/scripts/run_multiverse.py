"""Fit one shard of the specifications of a multiverse."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from alliance_meta.assessments import ProgressBar
from alliance_meta.models import ModelSpecification
from alliance_meta.problems import terminal_table
from alliance_meta.synthesis.checks import check_multiverse
from alliance_meta.synthesis.multiverse import run_specifications
from alliance_meta.synthesis.multiverse_choices import (
    describe_size,
    enumerate_specifications,
    shard_of,
    starting_point,
)
from alliance_meta.tables import read_table, write_table

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

settings, multiverse = snakemake.params.settings, snakemake.params.multiverse
effects, files = read_table(snakemake.input.effects), settings["effects"]
analyses = {snakemake.wildcards.analysis: settings}
problems = check_multiverse(effects, multiverse, analyses, file="config/config.yaml")
if problems:
    print(terminal_table(problems), file=sys.stderr)
    sys.exit(1)
base = starting_point(effects, ModelSpecification.from_mapping(settings), files=files)
enumeration = enumerate_specifications(multiverse, base, seed=settings["seed"])
number, count = int(snakemake.wildcards.shard), snakemake.params.shards
shard = shard_of(enumeration.specifications, number, count)
choices = [choice.name for choice in enumeration.choices]
with ProgressBar("multiverse", len(shard)) as progress:
    table = run_specifications(effects, shard, choices, files=files, advance=progress.step)
write_table(table, snakemake.output[0])
Path(snakemake.log[0]).write_text(f"{describe_size(enumeration)}\n", encoding="utf-8")
