"""The codebook as a page for coders: every column, then every vocabulary.

``python -m alliance_meta.codebook_page`` prints it; ``docs/codebook.md`` keeps it.
"""

import sys
from collections.abc import Iterable, Sequence

from alliance_meta.codebook import GROUP_TITLES, Codebook, Column, Term, load_codebook, normalise
from alliance_meta.extraction.rows import limits_text

INTRODUCTION = """\
# Codebook

<!-- Made by `python -m alliance_meta.codebook_page` from codebook.yaml; change it there. -->

One row of the effects sheet is one effect size: one association between the alliance (or another
element of the relationship) and one outcome, in one sample, at one time. A study with three
outcomes has three rows.

How to code:

- **Required** are `study_id`, `effect_type`, `effect_value` and what that type needs, mostly `n`.
  Everything else may stay empty. Leave out columns you do not use.
- **Code what the study prints.** Do not convert anything by hand: write the statistic into
  `effect_value`, say in `effect_type` what it is, and in `outcome_direction` whether a high score
  of the outcome measure is good. The workflow converts and turns signs, and shows how.
- **Not reported means empty.** No 0, no "n/a", no "-".
- **A row that cannot be pooled stays.** Say why in `exclude_reason`; it is listed in the report and
  enters no model.
- **Spelling is forgiving.** Capitals, blanks, hyphens and underscores do not count, and every word
  under "Also understood" is taken for its code. Any other word is reported, with the nearest one.
  A term of your own goes under `vocabulary:` in `config/config.yaml`.
- **Numbers** may have a decimal point or a decimal comma. `1,234` could be either 1234 or 1.234 and
  is sent back.
- **Columns of your own** are welcome: they are kept and may serve as moderators. The names
  `yi`, `vi`, `r`, `z`, `vz`, `vr`, `conversion` and `flags` are taken.
- **The sheet** is a CSV, TSV or Excel file (.xlsx) with the column names in its first row. Save CSV
  from Excel as "CSV UTF-8". In a workbook the sheet is named `effects`.
"""

TYPE_WORDS = {"text": "text", "integer": "whole number", "number": "number", "term": "code"}


def render_codebook_page(codebook: Codebook) -> str:
    """Return the codebook as Markdown.

    Parameters
    ----------
    codebook
        The codebook, with or without a review's own terms.

    Returns
    -------
    str
        An introduction, a table for each group of columns, a table for each vocabulary.
    """
    parts = [INTRODUCTION, "## Columns\n"]
    for group, title in GROUP_TITLES.items():
        columns = [column for column in codebook.columns.values() if column.group == group]
        parts.append(f"### {title}\n")
        parts.append(
            _table(
                ("Column", "Required", "What to write", "Meaning", "When empty", "Example"),
                (_column_row(column) for column in columns),
            )
        )
    parts.append("## Vocabularies\n")
    for name, vocabulary in codebook.vocabularies.items():
        terms = list(vocabulary.terms.values())
        users = [c for c in codebook.columns.values() if c.vocabulary == name]
        parts.append(f"### {name}\n")
        parts.append(_use_sentence(users))
        headings = ["Code", "Label", "Meaning", "Also understood"]
        with_parent = any(term.parent for term in terms)
        with_direction = any(term.higher for term in terms)
        headings += ["Wider level"] * with_parent + ["A higher score is"] * with_direction
        rows = []
        for term in terms:
            row = [f"`{term.code}`", term.label, term.description, _also_understood(term)]
            row += [f"`{term.parent}`" if term.parent else ""] * with_parent
            row += [term.higher or ""] * with_direction
            rows.append(row)
        parts.append(_table(headings, rows))
    return "\n".join(parts).rstrip("\n") + "\n"


def _column_row(column: Column) -> list[str]:
    return [
        f"`{column.name}`",
        "yes" if column.required else "",
        _what_to_write(column),
        column.description,
        column.when_empty,
        column.example,
    ]


def _what_to_write(column: Column) -> str:
    if column.vocabulary is not None:
        link = f"a code of [{column.vocabulary}](#{column.vocabulary})"
        return f"{link}, or any other name" if column.open else link
    parts = [TYPE_WORDS[column.type], column.unit, limits_text(column)]
    return ", ".join(part for part in parts if part)


def _use_sentence(columns: Sequence[Column]) -> str:
    names = " and ".join(f"`{column.name}`" for column in columns)
    sentence = f"For {names}."
    if any(column.open for column in columns):
        sentence += " The list is open: any other name is kept as written."
    return sentence + "\n"


def _also_understood(term: Term) -> str:
    """Return the spellings that mean a code, each once, versions with theirs behind them."""
    said = {normalise(term.code), normalise(term.label)}
    words = _new_words(term.synonyms, said)
    versions = []
    for version, forms in term.versions.items():
        said.add(normalise(version))
        more = ", ".join(_new_words(forms, said))
        versions.append(f"**{version}** ({more})" if more else f"**{version}**")
    text = ", ".join(words)
    if versions:
        text += ("; versions: " if text else "versions: ") + ", ".join(versions)
    return text


def _new_words(words: Iterable[str], said: set[str]) -> list[str]:
    new = []
    for word in words:
        if normalise(word) not in said:
            said.add(normalise(word))
            new.append(word)
    return new


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_line(headings), _line(["---"] * len(headings))]
    lines += [_line([_escape(cell) for cell in row]) for row in rows]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escape(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.write(render_codebook_page(load_codebook()))
