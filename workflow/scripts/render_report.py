"""Write the synthesis report."""

from pathlib import Path
from typing import TYPE_CHECKING

from alliance_meta.codebook import load_codebook
from alliance_meta.report import AnalysisContent, ReportContent, render_report
from alliance_meta.report.gallery import read_figures, read_records, read_tables
from alliance_meta.tables import hash_files, read_json, read_table

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

models = [read_json(path) for path in snakemake.input.models]
trust = read_tables(snakemake.input.trust)
records = read_records(snakemake.input.records)
content = ReportContent(
    title=snakemake.params.title,
    question=snakemake.params.question,
    caution=snakemake.params.caution,
    settings=snakemake.params.settings,
    analyses=tuple(
        AnalysisContent(
            name=model["analysis"],
            title=model["title"],
            model=model,
            included=read_table(included),
            left_out=read_table(left_out),
            figures=read_figures(Path(figures)),
            trust=trust[model["analysis"]],
            **{"multiverse": None, **records[model["analysis"]]},
        )
        for model, included, left_out, figures in zip(
            models,
            snakemake.input.included,
            snakemake.input.left_out,
            snakemake.input.figures,
            strict=True,
        )
    ),
    effects=read_table(snakemake.input.effects),
    notes=read_table(snakemake.input.notes),
    references=read_json(snakemake.input.references),
    input_hashes=hash_files(snakemake.input.sources),
    versions=models[0]["versions"],
    moderator_map=read_json(snakemake.input.moderators),
    moderator_pairs=read_table(snakemake.input.moderator_pairs),
)
codebook = load_codebook().extended(snakemake.params.vocabulary)
page = render_report(content, codebook=codebook)
Path(snakemake.output[0]).write_text(page, encoding="utf-8", newline="\n")
Path(snakemake.log[0]).write_text(f"{len(page):,} characters\n", encoding="utf-8")
