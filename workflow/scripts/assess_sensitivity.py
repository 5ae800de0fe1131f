"""Assess how much one analysis rests on single studies, codes and decisions."""

import sys
from typing import TYPE_CHECKING

from alliance_meta.assessments import ProgressBar, write_assessments
from alliance_meta.codebook import load_codebook
from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.models.checks import check_analyses
from alliance_meta.problems import errors_only, terminal_table
from alliance_meta.sensitivity.assessment import TABLES, assess_sensitivity
from alliance_meta.tables import read_table

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

name, settings = snakemake.wildcards.analysis, snakemake.params.settings
codebook = load_codebook().extended(snakemake.params.vocabulary)
effects = read_table(snakemake.input.effects)
shared = {"files": settings["effects"], "codebook": codebook}
errors = errors_only(
    check_analyses(effects, {name: settings}, file="config/config.yaml", codebook=codebook)
)
if errors:
    print(terminal_table(errors), file=sys.stderr)
    sys.exit(1)
result = analyse(effects, ModelSpecification.from_mapping(settings), **shared)
with ProgressBar(name, len(TABLES)) as progress:
    assessments = assess_sensitivity(
        effects,
        result,
        settings["sensitivity"],
        **shared,
        second=read_table(snakemake.input.second),
        seed=settings["seed"],
        progress=progress,
    )
write_assessments(
    assessments,
    snakemake.output.tables,
    snakemake.output.record,
    log=snakemake.log[0],
    settings=settings["sensitivity"],
)
