"""Draw the figures of one analysis from its tables."""

from pathlib import Path
from typing import TYPE_CHECKING

from alliance_meta.codebook import load_codebook
from alliance_meta.figures.gallery import draw_gallery
from alliance_meta.tables import read_json, read_table

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

trust = [*snakemake.input.trust, *snakemake.input.multiverse]
figures = draw_gallery(
    included=read_table(snakemake.input.included),
    summary=read_table(snakemake.input.summary),
    heterogeneity=read_table(snakemake.input.heterogeneity),
    line=read_table(snakemake.input.line),
    model=read_json(snakemake.input.model),
    trust={Path(path).stem: read_table(path) for path in trust},
    codebook=load_codebook().extended(snakemake.params.vocabulary),
    folder=Path(snakemake.output[0]),
)
with open(snakemake.log[0], "w", encoding="utf-8") as log:
    log.writelines(f"{figure['name']}: {', '.join(figure['files'])}\n" for figure in figures)
