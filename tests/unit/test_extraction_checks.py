"""Checks of whole reviews: every rule with a sheet that passes and one that fails."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from openpyxl import Workbook

from alliance_meta.codebook import load_codebook
from alliance_meta.extraction import EXAMPLE_MARK, Extraction, check_sheets

CODEBOOK = load_codebook()
NAME = "data/raw/effects.csv"
GOOD = "study_id,effect_type,effect_value,n\nA,r,0.31,84\nB,r,0.2,40\n"
EVERY_ROW = "Write it into every row, also where cells were merged (for example smith2010)."
NO_MODERATOR = "It may serve as a moderator."
NO_INSTRUMENT = (
    "'{}' is not an instrument. The codes are: WAI, HAq, CALPAS, VPPS, STAR, SRS, BLRI, TSR, ARM, "
    "SAI, CIS, CASF, …. The codebook lists them all. A further term can be added under "
    "`vocabulary:` in config/config.yaml."
)
IN_SESSION = (
    "is not a time of rating. Write the session number (3) in the column session, and the phase "
    "of treatment (early, mid or late) here."
)
WHICH_COEFFICIENT = (
    "is not an effect type. Write beta if the coefficient is standardised, or generic (with its "
    "se) if it is on the scale of the measures."
)


def check(tmp_path: Path, *texts: str, bib: str | None = None) -> Extraction:
    sheets = []
    for i, text in enumerate(texts):
        path = tmp_path / f"sheet{i}.csv"
        path.write_text(text, encoding="utf-8")
        sheets.append((NAME if i == 0 else f"data/raw/more{i}.csv", path))
    references = []
    if bib is not None:
        path = tmp_path / "references.bib"
        path.write_text(bib, encoding="utf-8")
        references.append(("data/raw/references.bib", path))
    return check_sheets(sheets, references, codebook=CODEBOOK)


def messages(tmp_path: Path, *texts: str, bib: str | None = None) -> list[str]:
    return [str(problem) for problem in check(tmp_path, *texts, bib=bib).problems]


def sheet(columns: str, *rows: str) -> str:
    """Return a sheet with the required columns filled, and further ones."""
    lines = [f"study_id,effect_type,effect_value,{columns}"]
    lines += [f"S{i},r,0.{i},{row}" for i, row in enumerate(rows, start=1)]
    return "\n".join(lines) + "\n"


# --- the table ----------------------------------------------------------------------------


def test_a_good_sheet_has_no_problems(tmp_path: Path) -> None:
    extraction = check(tmp_path, GOOD)
    assert extraction.problems == []
    assert extraction.ok
    assert extraction.references == []


def test_the_table_has_every_column_in_order_and_with_its_type(tmp_path: Path) -> None:
    extraction = check(tmp_path, sheet("Site,dose,instrument,n", "x,1,WAI-SR,50", ",,HAq,60"))
    effects = extraction.effects
    expected = list(CODEBOOK.columns)
    expected.insert(expected.index("instrument") + 1, "instrument_version")
    expected += ["source_file", "source_sheet", "source_row", "Site", "dose"]
    assert list(effects.columns) == expected
    for column in CODEBOOK.columns.values():
        dtype = "float64" if column.numeric else "str"
        assert effects[column.name].dtype == dtype, column.name
    assert effects["instrument"].tolist() == ["WAI", "HAq"]
    assert effects["instrument_version"].tolist() == ["WAI-SR", np.nan]
    assert effects["n"].tolist() == [50.0, 60.0]
    assert effects["Site"].dtype == "str"
    assert effects["dose"].dtype == "float64"
    assert effects["source_file"].tolist() == [NAME, NAME]
    assert effects["source_sheet"].tolist() == ["", ""]
    assert effects["source_row"].tolist() == [2, 3]
    assert effects["source_row"].dtype == "int64"
    assert isinstance(effects.index, pd.RangeIndex)


def test_terms_become_codes_in_any_spelling(tmp_path: Path) -> None:
    text = sheet("rater,p_sides,effect_sign", "Patient,2,+", " CLIENT ,1-tailed,−")
    effects = check(tmp_path, text).effects
    assert effects["rater"].tolist() == ["client", "client"]
    assert effects["p_sides"].tolist() == ["two", "one"]
    assert effects["effect_sign"].tolist() == ["positive", "negative"]


def test_an_open_vocabulary_keeps_other_words_as_written(tmp_path: Path) -> None:
    extraction = check(tmp_path, sheet("outcome_measure", "bdi-ii", "My Own Scale"))
    assert extraction.problems == []
    assert extraction.effects["outcome_measure"].tolist() == ["BDI", "My Own Scale"]


def test_columns_of_the_reviewer_are_stacked_by_name(tmp_path: Path) -> None:
    first, second = sheet("Site,x", "north,1", "south,2"), sheet("site,y", "west,a")
    extraction = check(tmp_path, first, second)
    assert list(extraction.effects.columns[-3:]) == ["Site", "x", "y"]
    assert extraction.effects["Site"].tolist() == ["north", "south", "west"]
    np.testing.assert_array_equal(extraction.effects["x"], [1.0, 2.0, np.nan])
    assert "data/raw/more1.csv, column Site: Note: The column 'site' is read as Site." in [
        str(problem) for problem in extraction.problems
    ]


def test_ids_are_made_in_order_of_the_study_and_avoid_coded_ones(tmp_path: Path) -> None:
    first = (
        "study_id,effect_id,sample_id,effect_type,effect_value\n"
        "A,,,r,0.1\nA,A_3,women,r,0.2\nB,,,r,0.1\nA,,,r,0.3\nA,,,r,0.4\n"
    )
    second = "study_id,effect_type,effect_value\nA,r,0.5\nB,r,0.6\n"
    extraction = check(tmp_path, first, second)
    assert extraction.ok
    assert extraction.effects["effect_id"].tolist() == [
        "A_1",
        "A_3",
        "B_1",
        "A_4",
        "A_5",
        "A_6",
        "B_2",
    ]
    assert extraction.effects["sample_id"].tolist() == ["A", "women", "B", "A", "A", "A", "B"]


def test_excluded_rows_stay_and_may_lack_a_statistic(tmp_path: Path) -> None:
    text = (
        "study_id,effect_type,effect_value,n,p_value,exclude_reason\n"
        "A,r,0.31,84,,\nB,,,,,no statistic\nC,r,0.2,0.5,7,wrong sample\n"
    )
    extraction = check(tmp_path, text)
    assert extraction.problems == []
    assert extraction.effects["study_id"].tolist() == ["A", "B", "C"]
    assert extraction.effects["n"].tolist()[2] == 0.5


def test_excluded_rows_still_hold_numbers_codes_and_a_study(tmp_path: Path) -> None:
    text = (
        "study_id,effect_type,effect_value,year,rater,exclude_reason\n"
        "A,r,0.31,,,\nB,r,ns,1850,terapist,x\n,,,,,y\n"
    )
    assert messages(tmp_path, text) == [
        f"{NAME} row 3, column effect_value: 'ns' is not a number. Leave the cell empty and say "
        "in exclude_reason why the row cannot be pooled; it is then kept and listed.",
        f"{NAME} row 3, column rater: 'terapist' is not a rater. Did you mean 'therapist'?",
        f"{NAME} row 3, column year: year is 1850, but must be between 1900 and 2035. "
        "Correct the number, or leave the cell empty if it is not reported.",
        f"{NAME} row 4, column study_id: study_id is empty. {EVERY_ROW}",
    ]


@pytest.mark.parametrize("word", ["no", "0", "n/a", "FALSE"])
def test_a_word_that_is_no_reason_does_not_exclude_in_silence(tmp_path: Path, word: str) -> None:
    assert messages(tmp_path, sheet("exclude_reason", word, "within-person effect")) == [
        f"{NAME} row 2, column exclude_reason: '{word}' is not a reason, but anything written "
        "here leaves the row out. "
        "Leave the cell empty to keep the row, or write why it cannot be pooled."
    ]


def test_a_review_without_sheets_is_told_so() -> None:
    extraction = check_sheets([], [], codebook=CODEBOOK)
    assert [str(problem) for problem in extraction.problems] == [
        "config/config.yaml: No effects sheet is named. Name at least one file under `effects:`."
    ]


def test_a_table_with_errors_holds_what_could_be_read(tmp_path: Path) -> None:
    effects = check(tmp_path, GOOD + "C,r,n/a,50\n,r,0.1,60\n").effects
    assert effects["study_id"].tolist() == ["A", "B", "C"]
    np.testing.assert_array_equal(effects["effect_value"], [0.31, 0.2, np.nan])


def test_nothing_readable_gives_an_empty_table(tmp_path: Path) -> None:
    extraction = check(tmp_path, "")
    assert not extraction.ok
    assert len(extraction.effects) == 0
    assert "instrument_version" in extraction.effects.columns


def test_workbooks_and_text_sheets_stack(tmp_path: Path) -> None:
    book = Workbook()
    for row in (["Study ID", "effect_type", "effect_value", "year"], ["C", "r", 0.3, 2010]):
        book.worksheets[0].append(row)
    book.save(tmp_path / "more.xlsx")
    (tmp_path / "effects.csv").write_text(GOOD)
    extraction = check_sheets(
        [(NAME, tmp_path / "effects.csv"), ("data/raw/more.xlsx", tmp_path / "more.xlsx")],
        [],
        codebook=CODEBOOK,
    )
    assert extraction.ok
    assert extraction.effects["source_sheet"].tolist() == ["", "", "Sheet"]
    assert extraction.effects["study_id"].tolist() == ["A", "B", "C"]


# --- the header ---------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["Study ID", "STUDY_ID", "study-id", "  study  id "])
def test_column_names_match_in_any_case_with_a_note(tmp_path: Path, written: str) -> None:
    text = GOOD.replace("study_id", written)
    assert messages(tmp_path, text) == [
        f"{NAME}, column study_id: Note: The column '{written.strip()}' is read as study_id."
    ]


@pytest.mark.parametrize(
    ("column", "written"),
    [
        ("study_id", "studyid"),
        ("study_id", "study"),
        ("study_id", "Author"),
        ("effect_type", "type"),
        ("effect_type", "efect_type"),
        ("effect_value", "r"),
        ("effect_value", "value"),
        ("effect_value", "Effect size"),
    ],
)
def test_a_missing_column_names_the_one_that_is_probably_meant(
    tmp_path: Path, column: str, written: str
) -> None:
    assert messages(tmp_path, GOOD.replace(column, written)) == [
        f"{NAME}, column {column}: The column {column} is missing; there is a column "
        f"'{written}'. Rename it to {column}."
    ]


def test_a_missing_column_without_a_likely_one_says_what_to_add(tmp_path: Path) -> None:
    assert messages(tmp_path, "study_id,effect_value,n\nA,0.31,84\n") == [
        f"{NAME}, column effect_type: The column effect_type is missing. Add a column "
        "effect_type: What kind of statistic the study reports."
    ]


def test_a_column_outside_the_codebook_is_announced(tmp_path: Path) -> None:
    assert messages(tmp_path, sheet("country_of_birth,ratter", "x,y")) == [
        f"{NAME}, column country_of_birth: Note: 'country_of_birth' is not a column of the "
        f"codebook; it is kept as it is. {NO_MODERATOR}",
        f"{NAME}, column ratter: Note: 'ratter' is not a column of the codebook; it is kept as "
        "it is. Did you mean 'rater'?",
    ]


@pytest.mark.parametrize("written", ["yi", "R", "instrument_version", "source_row", "flags"])
def test_names_that_the_workflow_writes_are_refused(tmp_path: Path, written: str) -> None:
    assert messages(tmp_path, sheet(written, "1")) == [
        f"{NAME}, column {written}: The column name '{written}' is taken: the workflow writes a "
        f"column of this name. Rename the column, for example to coded_{written.lower()}."
    ]


def test_two_spellings_of_one_column_are_an_error(tmp_path: Path) -> None:
    found = messages(tmp_path, sheet("n,N", "50,60"))
    assert found == [
        f"{NAME}, column N: The columns 'n' and 'N' have the same name once capitals and blanks "
        "are left aside. Rename or delete one of them."
    ]


# --- the cells ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        (
            "rater",
            "terapist",
            "'terapist' is not a rater. Did you mean 'therapist'?",
        ),
        (
            "rater",
            "zzzz",
            "'zzzz' is not a rater. The codes are: client, therapist, observer, parent, joint, "
            "other. A further term can be added under `vocabulary:` in config/config.yaml.",
        ),
        ("instrument", "WAI--SSR", "'WAI--SSR' is not an instrument. Did you mean 'WAI-SR'?"),
        (
            "timing",
            '"early (week 3, then 4)"',
            "'early (week 3, then 4)' is not a time of rating. Did you mean 'early'?",
        ),
        (
            "rater",
            "n/a",
            "'n/a' is not a rater. Leave the cell empty if it is not reported.",
        ),
        ("instrument", "Acceptance scale", NO_INSTRUMENT.format("Acceptance scale")),
        ("timing", "erly", "'erly' is not a time of rating. Did you mean 'early'?"),
        (
            "effect_type",
            "perason",
            "'perason' is not an effect type. Did you mean 'r'?",
        ),
        (
            "n",
            "84.5",
            "n is 84.5, but must be a whole number. Write a whole number, for example 84.",
        ),
        (
            "n",
            "1.234",
            "n is 1.234, but must be a whole number. Write 1234 if that is meant.",
        ),
        (
            "n",
            "1.005",
            "n is 1.005, but must be a whole number. Write 1005 if that is meant.",
        ),
        ("n", '"1,234"', "'1,234' could mean 1234 or 1.234. Write 1234 if that is meant."),
        (
            "year",
            "in press",
            "'in press' is not a number. Leave the cell empty, or write a number like 2010.",
        ),
        ("instrument", "WAY", "'WAY' is not an instrument. Did you mean 'WAI'?"),
        ("instrument", "AWI", NO_INSTRUMENT.format("AWI")),
        (
            "instrument",
            "Working Alliance Inventory (short form)",
            "'Working Alliance Inventory (short form)' is not an instrument. Did you mean 'WAI-S'?",
        ),
        ("timing", "Session 3", f"'Session 3' {IN_SESSION}"),
        ("timing", "sess. 3", f"'sess. 3' {IN_SESSION}"),
        ("timing", "3rd session", f"'3rd session' {IN_SESSION}"),
        ("timing", "3", f"'3' {IN_SESSION}"),
        ("effect_type", "regression weight", f"'regression weight' {WHICH_COEFFICIENT}"),
        ("effect_type", "Regression coefficient", f"'Regression coefficient' {WHICH_COEFFICIENT}"),
        ("effect_type", "b", f"'b' {WHICH_COEFFICIENT}"),
        (
            "effect_type",
            "not reported",
            "'not reported' is not an effect type. Leave the cell empty and say in "
            "exclude_reason why the row cannot be pooled; it is then kept and listed.",
        ),
        (
            "n",
            "0",
            "n is 0, but must be at least 1. "
            "Correct the number, or leave the cell empty if it is not reported.",
        ),
        (
            "year",
            "20010",
            "year is 20010, but must be between 1900 and 2035. "
            "Correct the number, or leave the cell empty if it is not reported.",
        ),
        (
            "se",
            "0",
            "se is 0, but must be above 0. "
            "Correct the number, or leave the cell empty if it is not reported.",
        ),
        (
            "reliability_alliance",
            "1.2",
            "reliability_alliance is 1.2, but must be above 0 and at most 1. "
            "Correct the number, or leave the cell empty if it is not reported.",
        ),
        (
            "model_r2",
            "1",
            "model_r2 is 1, but must be at least 0 and below 1. "
            "Correct the number, or leave the cell empty if it is not reported.",
        ),
        (
            "percent_female",
            "62.5%",
            "'62.5%' is not a number. Write 62.5 without the percent sign.",
        ),
        ("p_value", "0.05*", "'0.05*' is not a number. Write the number alone: 0.05."),
    ],
)
def test_a_wrong_cell_says_what_would_be_right(
    tmp_path: Path, column: str, cell: str, message: str
) -> None:
    if column == "effect_type":
        text = GOOD.replace("A,r", f"A,{cell}")
    else:
        text = f"study_id,effect_type,effect_value,{column}\nA,r,0.31,{cell}\n"
    extraction = check(tmp_path, text)
    assert [str(problem) for problem in extraction.problems] == [
        f"{NAME} row 2, column {column}: {message}"
    ]
    assert extraction.problems[0].value == cell.strip('"')
    assert pd.isna(extraction.effects[column][0])


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("n", "84.0"),
        ("n", "1"),
        ("year", "1900"),
        ("year", "2035"),
        ("session", "0"),
        ("reliability_alliance", "1"),
        ("percent_female", "100"),
        ("p_value", "0"),
        ("n_therapists", "\u00a012"),
    ],
)
def test_limits_include_what_they_should(tmp_path: Path, column: str, cell: str) -> None:
    extraction = check(tmp_path, sheet(column, cell))
    assert extraction.problems == []
    assert extraction.effects[column][0] == float(cell)


def test_required_cells_must_be_filled(tmp_path: Path) -> None:
    text = "study_id,effect_type,effect_value\n,r,0.1\nA,,0.2\nB,r,\n"
    advice = "or say in exclude_reason why the row cannot be pooled."
    assert messages(tmp_path, text) == [
        f"{NAME} row 2, column study_id: study_id is empty. {EVERY_ROW}",
        f"{NAME} row 3, column effect_type: effect_type is empty. "
        f"Write what the study reports (for example r), {advice}",
        f"{NAME} row 4, column effect_value: effect_value is empty. "
        f"Write what the study reports (for example 0.31), {advice}",
    ]


def test_a_term_that_the_review_adds_is_known(tmp_path: Path) -> None:
    path = tmp_path / "effects.csv"
    path.write_text(sheet("rater", "dog"))
    assert not check_sheets([(NAME, path)], [], codebook=CODEBOOK).ok
    codebook = CODEBOOK.extended({"rater": {"pet": {"synonyms": ["dog"]}}})
    extraction = check_sheets([(NAME, path)], [], codebook=codebook)
    assert extraction.problems == []
    assert extraction.effects["rater"].tolist() == ["pet"]


# --- rows against each other --------------------------------------------------------------


def test_an_effect_id_names_one_effect(tmp_path: Path) -> None:
    text = sheet("effect_id", "e1", "e1")
    advice = "Give every effect its own name, or leave effect_id empty to have one made."
    assert messages(tmp_path, text, sheet("effect_id,n", "e1,7")) == [
        f"{NAME} row 3, column effect_id: effect_id 'e1' is already used in row 2. {advice}",
        "data/raw/more1.csv row 2, column effect_id: effect_id 'e1' is already used in row 2 of "
        f"{NAME}. {advice}",
    ]


REPEATED = "study_id,effect_id,effect_type,effect_value,n,rater,page,notes,exclude_reason\n"
REPEAT_ADVICE = (
    "all coded cells are equal. Delete one of the two, or code in what they differ (for example "
    "in outcome_measure or timing)."
)


def test_a_repeated_effect_is_an_error(tmp_path: Path) -> None:
    text = REPEATED + "A,a,r,0.3,50,client,p. 1,x,\nA,b,r,.30,50,Patient,p. 2,y,\n"
    other = "effect_value,study_id,effect_type,n,rater\n0.3,A,r,50,clients\n"
    assert messages(tmp_path, text, other) == [
        f"{NAME} row 3: This row repeats row 2: {REPEAT_ADVICE}",
        f"data/raw/more1.csv row 2: This row repeats row 2 of {NAME}: {REPEAT_ADVICE}",
    ]


def test_named_effects_on_their_own_scale_may_agree(tmp_path: Path) -> None:
    header = "study_id,effect_id,effect_type,effect_value,variance\n"
    text = header + "A,a,generic,0.3,0.02\nA,b,generic,0.3,0.02\n"
    (message,) = messages(tmp_path, text)
    assert "row 3: Note: This row repeats row 2" in message


@pytest.mark.parametrize(
    "second",
    [
        "A,b,r,0.31,50,client,,,",
        "A,b,r,0.3,50,therapist,,,",
        "A,b,r,0.3,50,,,,",
        "B,b,r,0.3,50,client,,,",
        "A,b,r,0.3,50,client,,,same as row 2",
    ],
)
def test_effects_that_differ_anywhere_are_two(tmp_path: Path, second: str) -> None:
    assert messages(tmp_path, REPEATED + f"A,a,r,0.3,50,client,,,\n{second}\n") == []


def test_excluded_rows_may_repeat(tmp_path: Path) -> None:
    assert messages(tmp_path, REPEATED + "A,a,r,0.3,50,,,,x\nA,b,r,0.3,50,,,,x\n") == []


def test_a_sample_of_two_studies_is_noted_once(tmp_path: Path) -> None:
    assert messages(tmp_path, sheet("sample_id", "S2", "", "S2")) == [
        f"{NAME} row 3, column sample_id: Note: Sample 'S2' is coded in more than one study "
        "(S1, S2); its effects are treated as coming from the same persons. "
        "If these are different persons, give each sample its own name."
    ]


def test_a_year_that_differs_within_a_study_is_noted_once(tmp_path: Path) -> None:
    text = "study_id,effect_type,effect_value,year\nA,r,0.1,2010\nA,r,0.2,2011\nA,r,0.3,2012\n"
    assert messages(tmp_path, text + "B,r,0.1,2013\nB,r,0.2,2013\nB,r,0.3,\n") == [
        f"{NAME} row 3, column year: Note: Study 'A' has the year 2011 here and 2010 in row 2. "
        "Check which is right."
    ]


def test_two_spellings_of_a_study_are_noted_once(tmp_path: Path) -> None:
    text = "study_id,effect_type,effect_value\nSmith 2010,r,0.1\nsmith_2010,r,0.2\n"
    assert messages(tmp_path, text + "smith_2010,r,0.3\nSmith 2011,r,0.3\n") == [
        f"{NAME} row 3, column study_id: Note: 'smith_2010' and 'Smith 2010' (row 2) differ in "
        "capitals, blanks, hyphens, underscores or dots only; they are treated as two studies. "
        "If they are the same study, write both the same way."
    ]


def codes(tmp_path: Path, *rows: str) -> list[tuple[str, int | None]]:
    """Return code and row of what is found about studies, samples, keys and years."""
    columns = "study_id,sample_id,citation_key,year,effect_type,effect_value,notes\n"
    lines = "".join(f"{row},r,0.{i},\n" for i, row in enumerate(rows, start=1))
    bib = "@article{k, title={T}}\n@article{m, title={U}}\n"
    return [(p.code, p.row) for p in check(tmp_path, columns + lines, bib=bib).problems]


@pytest.mark.parametrize("other", ["smith 2010", "SMITH-2010", "smith_2010.", "Smi.th 2010"])
def test_ids_that_look_alike_are_noted(tmp_path: Path, other: str) -> None:
    assert codes(tmp_path, "Smith2010,,,", f"{other},,,") == [("study_spelling", 3)]
    assert codes(tmp_path, "A,Smith2010,,", f"A,{other},,") == [("sample_spelling", 3)]


@pytest.mark.parametrize("other", ["Smith2010a", "Smith2011", "Smith201 0", "Smyth2010"])
def test_ids_that_differ_are_not_noted(tmp_path: Path, other: str) -> None:
    assert codes(tmp_path, "Smith2010,,,", f"{other},,,") == []
    assert codes(tmp_path, "A,Smith2010,,", f"A,{other},,") == []


def test_a_citation_key_of_two_studies_is_noted_once(tmp_path: Path) -> None:
    rows = ("A,,k,", "A,,k,", "B,,k,", "C,,k,", "D,,m,")
    assert codes(tmp_path, *rows) == [("shared_citation_key", 4)]
    # two spellings are told as such, and only so
    assert codes(tmp_path, "A b,,k,", "a_B,,k,") == [("study_spelling", 3)]


def test_the_note_on_a_shared_citation_key_names_the_studies(tmp_path: Path) -> None:
    text = sheet("citation_key", "smith2010", "smith2010")
    assert messages(tmp_path, text, bib=BIB) == [
        f"{NAME} row 3, column citation_key: Note: citation_key 'smith2010' stands for 2 studies "
        "(S1, S2). That is right if one publication reports several studies; if it is one study, "
        "write one study_id, so that its effects are treated as dependent."
    ]


def test_years_that_differ_for_one_citation_key_are_noted_once(tmp_path: Path) -> None:
    shared = ("shared_citation_key", 3)
    rows = ("A,,k,2010", "B,,k,2011", "C,,k,2012", "D,,m,2013")
    assert codes(tmp_path, *rows) == [shared, ("year_of_citation_differs", 3)]
    assert codes(tmp_path, "A,,k,2010", "B,,k,2010") == [shared]
    assert codes(tmp_path, "A,,k,2010", "A,,k,2011") == [("year_differs", 3)]


def test_leftover_example_rows_are_noted_once_per_sheet(tmp_path: Path) -> None:
    text = sheet("notes", f"{EXAMPLE_MARK}: overwrite", "mine", f"{EXAMPLE_MARK}: overwrite")
    found = check(tmp_path, text, sheet("n,notes", f"5,{EXAMPLE_MARK}"), GOOD)
    assert found.ok
    assert [str(p) for p in found.problems if p.code == "example_rows"] == [
        f"{NAME}, column notes: Note: This sheet still holds the example rows (2, 4). "
        "Overwrite or delete them, with the words 'EXAMPLE ROW …' in notes.",
        "data/raw/more1.csv, column notes: Note: This sheet still holds the example row (2). "
        "Overwrite or delete it, with the words 'EXAMPLE ROW …' in notes.",
    ]


# --- the bibliography ---------------------------------------------------------------------

BIB = "@article{smith2010, title={T}}\n@article{jones2011, title={U}}\n"


def test_citation_keys_stand_in_the_bibliography(tmp_path: Path) -> None:
    extraction = check(tmp_path, sheet("citation_key", "smith2010", "jones2011", ""), bib=BIB)
    assert extraction.problems == []
    assert [item["id"] for item in extraction.references] == ["smith2010", "jones2011"]


def test_a_citation_key_outside_the_bibliography_is_an_error(tmp_path: Path) -> None:
    text = sheet("citation_key", "smith201", "Miller1999")
    where = "is not in the bibliography (data/raw/references.bib)."
    assert messages(tmp_path, text, bib=BIB) == [
        f"{NAME} row 2, column citation_key: 'smith201' {where} Did you mean 'smith2010'?",
        f"{NAME} row 3, column citation_key: 'Miller1999' {where} "
        "Add the study to the bibliography.",
    ]


def test_a_broken_entry_is_reported_once_and_not_again_for_each_citation(tmp_path: Path) -> None:
    broken = BIB + "@article{wood2012 title={V}}\n"
    found = check(tmp_path, sheet("citation_key", "wood2012"), bib=broken).problems
    assert [problem.code for problem in found] == ["broken_entry"]


def test_an_unreadable_bibliography_is_reported_once(tmp_path: Path) -> None:
    path = tmp_path / "effects.csv"
    path.write_text(sheet("citation_key", "a", "b"))
    extraction = check_sheets(
        [(NAME, path)], [("references.bib", tmp_path / "no.bib")], codebook=CODEBOOK
    )
    assert [str(problem) for problem in extraction.problems] == [
        "references.bib: There is no such file. Check the file names in config/config.yaml."
    ]


def test_without_a_bibliography_there_is_one_note_per_file(tmp_path: Path) -> None:
    found = messages(tmp_path, sheet("citation_key", "a", "b"), sheet("n", "5"))
    assert found == [
        f"{NAME}, column citation_key: Note: There is no bibliography, so the citation keys are "
        "not checked. Export your references from Zotero as BibTeX and name the file under "
        "`references:` in config/config.yaml."
    ]


# --- all at once --------------------------------------------------------------------------


def test_all_problems_of_all_sheets_come_in_one_pass(tmp_path: Path) -> None:
    first = sheet("rater,n,mood", "terapist,n/a,x")
    second = "study;type;effect_value\nB;r;31%\n"
    found = messages(tmp_path, first, second, "study_id|effect_type|n\nA|r|7\n", bib="@article{a")
    assert found == [
        f"{NAME} row 2, column n: 'n/a' is not a number. "
        "Leave the cell empty if the number is not reported.",
        f"{NAME} row 2, column rater: 'terapist' is not a rater. Did you mean 'therapist'?",
        "data/raw/more1.csv, column effect_type: The column effect_type is missing; there is a "
        "column 'type'. Rename it to effect_type.",
        "data/raw/more1.csv, column study_id: The column study_id is missing; there is a column "
        "'study'. Rename it to study_id.",
        "data/raw/more1.csv row 2, column effect_value: '31%' is not a number. "
        "Write 0.31 without the percent sign.",
        "data/raw/more2.csv row 1: The columns of this sheet are not separated by commas, "
        "semicolons or tabs. In Excel choose File > Save As > 'CSV UTF-8 (Comma delimited)'.",
        "data/raw/references.bib row 1: The entry in line 1 cannot be read (it begins: "
        "@article{a). Probably a comma, a brace or a quotation mark is missing; exporting again "
        "from Zotero mends it.",
        f"{NAME}, column mood: Note: 'mood' is not a column of the codebook; it is kept as it "
        f"is. {NO_MODERATOR}",
    ]
