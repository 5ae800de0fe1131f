"""Relate all moderators of a review to each other."""

from typing import TYPE_CHECKING

from alliance_meta.codebook import load_codebook
from alliance_meta.models import ModelSpecification, formula_variables, select_rows
from alliance_meta.models.moderator_map import map_moderators
from alliance_meta.tables import read_table, write_json, write_table

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

effects = read_table(snakemake.input.effects)
params = snakemake.params
codebook = load_codebook().extended(params.vocabulary)
spec = ModelSpecification(metric=params.metric, where=params.where)
names = dict.fromkeys(name for formula in params.formulas for name in formula_variables(formula))
moderators = [name for name in names if name in effects.columns]
found = map_moderators(select_rows(effects, spec, ()).data, moderators, codebook.level_label)
write_table(found.pairs, snakemake.output.pairs)
write_table(found.cells, snakemake.output.cells)
write_json(
    {"moderators": moderators, "sentences": list(found.sentences)}, snakemake.output.sentences
)
with open(snakemake.log[0], "w", encoding="utf-8") as log:
    log.writelines(f"{sentence}\n" for sentence in found.sentences)
