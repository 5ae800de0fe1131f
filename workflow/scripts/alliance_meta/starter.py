"""A new review: folders, a commented configuration, and example rows to overwrite."""

from pathlib import Path

import pandas as pd

from alliance_meta.codebook import load_codebook

EXAMPLE_NOTE = "EXAMPLE ROW: overwrite or delete"

EXAMPLES = [
    {
        "study_id": "example_one_2001",
        "citation_key": "example_one_2001",
        "year": "2001",
        "effect_type": "r",
        "effect_value": "0.31",
        "n": "84",
        "relationship_element": "alliance",
        "instrument": "WAI-S",
        "component": "total",
        "rater": "client",
        "timing": "early",
        "session": "3",
        "outcome_measure": "GAF",
        "outcome_domain": "functioning",
        "quote": "r = .31, p < .01",
    },
    {
        "study_id": "example_two_2010",
        "citation_key": "example_two_2010",
        "year": "2010",
        "effect_type": "r",
        "effect_value": "-0.22",
        "n": "120",
        "outcome_direction": "higher_is_worse",
        "relationship_element": "alliance",
        "instrument": "CALPAS",
        "component": "total",
        "rater": "therapist",
        "timing": "mid",
        "outcome_measure": "BDI",
        "outcome_domain": "symptom",
        "quote": "correlation with BDI at the end of treatment: -.22",
    },
    {
        "study_id": "example_two_2010",
        "citation_key": "example_two_2010",
        "year": "2010",
        "effect_type": "t",
        "effect_value": "2.4",
        "n": "120",
        "df": "118",
        "relationship_element": "alliance",
        "instrument": "CALPAS",
        "component": "total",
        "rater": "client",
        "timing": "mid",
        "outcome_measure": "GAF",
        "outcome_domain": "functioning",
        "quote": "t(118) = 2.40, p = .018",
    },
]

CONFIG = """\
# Settings of this review. Lines that begin with # are comments.

title: My review of alliance and outcome
question: How strongly is the therapeutic alliance associated with the outcome of treatment?

# Your coded studies. CSV, TSV or XLSX; a new file is added by naming it here, or with a *
effects: [data/raw/effects.csv]
references: [data/raw/references.bib]

metric: fisher_z # analyse Fisher's z, report r
rho: 0.6         # assumed correlation of sampling errors within a sample

analyses:
  overall:
    title: All studies
  # A moderator analysis: remove the # of the next three lines once you have enough studies
  # by_rater:
  #   title: Who rates the alliance
  #   moderators: rater

# A term that the codebook lacks, for instance a new instrument:
# vocabulary:
#   instrument:
#     XYZ: {label: My new scale, synonyms: [new scale], parent: other}
"""

REFERENCES = """\
@article{example_one_2001,
  author  = {Example, Anna},
  title   = {An example to overwrite},
  journal = {Journal of Examples},
  year    = {2001},
}

@article{example_two_2010,
  author  = {Example, Anna and Sample, Bo},
  title   = {A second example to overwrite},
  journal = {Journal of Examples},
  year    = {2010},
}
"""

README = """\
# A review made with alliance-meta

1. Open `data/raw/effects.csv` in a spreadsheet. Its first rows are examples: overwrite them.
   One row is one effect size. The columns and their codes are explained in `CODEBOOK.md`.
2. Export your studies from Zotero as BibTeX to `data/raw/references.bib`; `citation_key` in the
   sheet is the key of the entry.
3. `alliance-meta check .` lists everything that is wrong or missing.
4. `alliance-meta run .` writes `reports/synthesis.html`.

Settings are in `config/config.yaml`. Tables for further work are in `results/`; every converted
effect, with the sheet row it comes from, is in `data/extracted/effect_sizes.csv`.
"""


def write_starter(folder: Path) -> None:
    """Write a review that runs at once.

    Parameters
    ----------
    folder
        Made if missing.
    """
    from alliance_meta.codebook_page import render_codebook_page

    raw = folder / "data" / "raw"
    (folder / "config").mkdir(parents=True, exist_ok=True)
    raw.mkdir(parents=True, exist_ok=True)
    codebook = load_codebook()
    rows = [{**row, "notes": EXAMPLE_NOTE} for row in EXAMPLES]
    table = pd.DataFrame(rows, columns=list(codebook.columns))
    # with a byte-order mark, so that Excel reads and writes the file as UTF-8
    table.to_csv(raw / "effects.csv", index=False, lineterminator="\n", encoding="utf-8-sig")
    texts = {
        folder / "config" / "config.yaml": CONFIG,
        raw / "references.bib": REFERENCES,
        folder / "README.md": README,
        folder / "CODEBOOK.md": render_codebook_page(codebook),
    }
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8", newline="\n")
