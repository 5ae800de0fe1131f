"""Check the rows of all sheets against each other and against the bibliography."""

import re
from collections.abc import Iterator, Sequence

from alliance_meta.codebook import Codebook, normalise
from alliance_meta.extraction.bibliography import Bibliography
from alliance_meta.extraction.rows import Row, Value
from alliance_meta.extraction.wording import listed, nearest
from alliance_meta.problems import Problem

# a new review's rows carry this at the beginning of their notes
EXAMPLE_MARK = "EXAMPLE ROW"

# a list of studies longer than this does not help in a message
LISTED_STUDIES = 6


def check_together(
    rows: Sequence[Row], bibliography: Bibliography | None, codebook: Codebook
) -> list[Problem]:
    """Return what is wrong between rows.

    Parameters
    ----------
    rows
        All rows, before missing ids are made.
    bibliography
        The references, or None if the review has none.
    codebook
        The codebook.
    """
    return [
        *_repeated_effect_ids(rows),
        *_repeated_effects(rows, codebook),
        *_shared_samples(rows),
        *_differing_years(rows),
        *_spellings_of_studies(rows),
        *_spellings_of_samples(rows),
        *_shared_citations(rows),
        *_differing_years_of_citations(rows),
        *_example_rows(rows),
        *_citations(rows, bibliography),
    ]


def _repeated_effect_ids(rows: Sequence[Row]) -> Iterator[Problem]:
    first: dict[str, Row] = {}
    for row in rows:
        effect = row.text("effect_id")
        if effect is None:
            continue
        if effect in first:
            yield row.problem(
                "effect_id",
                f"effect_id '{effect}' is already used in {first[effect].place(row)}.",
                "Give every effect its own name, or leave effect_id empty to have one made.",
                code="duplicate_effect_id",
            )
        else:
            first[effect] = row


def _repeated_effects(rows: Sequence[Row], codebook: Codebook) -> Iterator[Problem]:
    """Find rows whose cells are equal but for the effect's name and its provenance."""
    ignored = {"effect_id"} | {
        column.name for column in codebook.columns.values() if column.group == "provenance"
    }
    first: dict[frozenset[tuple[str, Value]], Row] = {}
    for row in rows:
        # cells that could not be read may differ
        if row.excluded or row.wrong or "effect_value" not in row.values:
            continue
        key = frozenset(item for item in row.values.items() if item[0] not in ignored)
        if key in first:
            # effects on their own scale come from data sets whose rows may well agree by chance;
            # names of their own say that two are meant
            named = (
                row.text("effect_type") == "generic"
                and row.text("effect_id") is not None
                and first[key].text("effect_id") is not None
            )
            yield row.problem(
                "",
                f"This row repeats {first[key].place(row)}: all coded cells are equal.",
                "Delete one of the two, or code in what they differ (for example in "
                "outcome_measure or timing).",
                code="duplicate_effect",
                note=named,
            )
        else:
            first[key] = row


def _shared_samples(rows: Sequence[Row]) -> Iterator[Problem]:
    studies: dict[str, list[str]] = {}
    for row in rows:
        study = row.text("study_id")
        if study is None or "sample_id" in row.wrong:
            continue
        sample = row.text("sample_id") or study
        known = studies.setdefault(sample, [])
        if study in known:
            continue
        known.append(study)
        if len(known) == 2:
            yield row.problem(
                "sample_id",
                f"Sample '{sample}' is coded in more than one study ({known[0]}, {known[1]}); "
                "its effects are treated as coming from the same persons.",
                "If these are different persons, give each sample its own name.",
                code="shared_sample",
                note=True,
            )


def _differing_years(rows: Sequence[Row]) -> Iterator[Problem]:
    first: dict[str, Row] = {}
    reported: set[str] = set()
    for row in rows:
        study, year = row.text("study_id"), row.values.get("year")
        if study is None or year is None:
            continue
        earlier = first.setdefault(study, row)
        other = earlier.values["year"]
        if other != year and study not in reported:
            reported.add(study)
            yield row.problem(
                "year",
                f"Study '{study}' has the year {year:.0f} here and {other:.0f} in "
                f"{earlier.place(row)}.",
                "Check which is right.",
                code="year_differs",
                note=True,
            )


def _loosely(name: str) -> str:
    """Reduce a name to what is left without case, blanks, hyphens, underscores and dots."""
    # between digits they count: study 1.1 is not study 11
    return re.sub(r"(?<!\d)[ .]+|[ .]+(?!\d)", "", normalise(name).replace("_", " "))


def _spellings_of_studies(rows: Sequence[Row]) -> Iterator[Problem]:
    first: dict[str, Row] = {}
    reported: set[str] = set()
    for row in rows:
        study = row.text("study_id")
        if study is None:
            continue
        earlier = first.setdefault(_loosely(study), row)
        other = earlier.text("study_id")
        if other != study and study not in reported:
            reported.add(study)
            yield _spelling(row, earlier, "study", study, other)


def _spellings_of_samples(rows: Sequence[Row]) -> Iterator[Problem]:
    first: dict[str, tuple[Row, str]] = {}
    reported: set[str] = set()
    for row in rows:
        study = row.text("study_id")
        sample = row.text("sample_id") or study
        if sample is None or "sample_id" in row.wrong:
            continue
        earlier, other = first.setdefault(_loosely(sample), (row, sample))
        # a sample that is named after its study has been told as a study
        named_after = sample == study and other == earlier.text("study_id")
        if other != sample and sample not in reported and not named_after:
            reported.add(sample)
            yield _spelling(row, earlier, "sample", sample, other)


def _spelling(row: Row, earlier: Row, kind: str, name: str, other: str | None) -> Problem:
    plural = "studies" if kind == "study" else "samples"
    return row.problem(
        f"{kind}_id",
        f"'{name}' and '{other}' ({earlier.place(row)}) differ in capitals, blanks, hyphens, "
        f"underscores or dots only; they are treated as two {plural}.",
        f"If they are the same {kind}, write both the same way.",
        code=f"{kind}_spelling",
        note=True,
    )


def _shared_citations(rows: Sequence[Row]) -> Iterator[Problem]:
    first: dict[str, dict[str, Row]] = {}
    for row in rows:
        key, study = row.text("citation_key"), row.text("study_id")
        if key is not None and study is not None:
            first.setdefault(key, {}).setdefault(study, row)
    for key, studies in first.items():
        # two spellings of one study are told as such
        if len({_loosely(study) for study in studies}) < 2:
            continue
        second = list(studies.values())[1]
        yield second.problem(
            "citation_key",
            f"citation_key '{key}' stands for {len(studies)} studies "
            f"({listed(studies, LISTED_STUDIES)}).",
            "That is right if one publication reports several studies; if it is one study, write "
            "one study_id, so that its effects are treated as dependent.",
            code="shared_citation_key",
            note=True,
        )


def _differing_years_of_citations(rows: Sequence[Row]) -> Iterator[Problem]:
    first: dict[str, Row] = {}
    reported: set[str] = set()
    for row in rows:
        key, year = row.text("citation_key"), row.values.get("year")
        if key is None or year is None:
            continue
        earlier = first.setdefault(key, row)
        other = earlier.values["year"]
        # within one study it is told as the study's
        same_study = row.text("study_id") == earlier.text("study_id")
        if other != year and key not in reported and not same_study:
            reported.add(key)
            yield row.problem(
                "year",
                f"citation_key '{key}' has the year {year:.0f} here and {other:.0f} in "
                f"{earlier.place(row)}.",
                "Check which is right, or whether the rows cite two publications.",
                code="year_of_citation_differs",
                note=True,
            )


def _example_rows(rows: Sequence[Row]) -> Iterator[Problem]:
    examples: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if (row.text("notes") or "").startswith(EXAMPLE_MARK):
            examples.setdefault((row.sheet.file, row.sheet.sheet), []).append(row)
    for (file, sheet), found in examples.items():
        numbers = listed(str(row.number) for row in found)
        yield Problem(
            file,
            f"This sheet still holds the example row{'s' if len(found) > 1 else ''} ({numbers}).",
            f"Overwrite or delete {'them' if len(found) > 1 else 'it'}, with the words "
            f"'{EXAMPLE_MARK} …' in notes.",
            sheet=sheet,
            column="notes",
            code="example_rows",
            severity="note",
        )


def _citations(rows: Sequence[Row], bibliography: Bibliography | None) -> Iterator[Problem]:
    if bibliography is None:
        yield from _unchecked_citations(rows)
        return
    # without the whole bibliography a missing key says nothing
    if not bibliography.complete:
        return
    by_key = {normalise(key): key for key in sorted(bibliography.keys)}
    for row in rows:
        key = row.text("citation_key")
        if key is None or key in bibliography.keys:
            continue
        near = nearest(normalise(key), by_key)
        yield row.problem(
            "citation_key",
            f"'{key}' is not in the bibliography ({listed(bibliography.files)}).",
            f"Did you mean '{near}'?" if near else "Add the study to the bibliography.",
            code="unknown_citation_key",
        )


def _unchecked_citations(rows: Sequence[Row]) -> Iterator[Problem]:
    for file in dict.fromkeys(row.sheet.file for row in rows if row.text("citation_key")):
        yield Problem(
            file,
            "There is no bibliography, so the citation keys are not checked.",
            "Export your references from Zotero as BibTeX and name the file under `references:` "
            "in config/config.yaml.",
            column="citation_key",
            code="no_bibliography",
            severity="note",
        )
