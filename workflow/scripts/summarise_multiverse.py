"""Sum up the specifications of a multiverse."""

from typing import TYPE_CHECKING

from alliance_meta.assessments import write_assessments
from alliance_meta.models import ModelSpecification
from alliance_meta.synthesis.multiverse import summarise_multiverse
from alliance_meta.synthesis.multiverse_choices import enumerate_specifications, starting_point
from alliance_meta.tables import read_table

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

settings, multiverse = snakemake.params.settings, snakemake.params.multiverse
effects = read_table(snakemake.input.effects)
base = starting_point(effects, ModelSpecification.from_mapping(settings), files=settings["effects"])
enumeration = enumerate_specifications(multiverse, base, seed=settings["seed"])
tables = [read_table(path) for path in snakemake.input.shards]
assessment = summarise_multiverse(tables, enumeration, metric=base.metric)
write_assessments(
    [assessment],
    snakemake.output.tables,
    snakemake.output.record,
    log=snakemake.log[0],
    settings=multiverse,
)
