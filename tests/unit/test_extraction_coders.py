"""Two coders' sheets: each checked apart from the other, their common effects found."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alliance_meta.cli import main
from alliance_meta.codebook import load_codebook
from alliance_meta.effect_sizes import convert_effects
from alliance_meta.extraction.coders import (
    MATCHED_COLUMNS,
    check_coders,
    match_coders,
    note_matches,
    read_matches,
)
from alliance_meta.tables import read_table, write_table

CODEBOOK = load_codebook()
HEADER = "effect_id,study_id,effect_type,effect_value,n,instrument,rater"


def check(folder: Path, first: str, second: str | None, *, bib: str | None = None):
    files = {"first.csv": first, "second.csv": second, "references.bib": bib}
    given_files = {name: text for name, text in files.items() if text is not None}
    for name, text in given_files.items():
        (folder / name).write_text(text, encoding="utf-8")
    named = [[(name, folder / name)] if name in given_files else [] for name in files]
    return check_coders(*named, codebook=CODEBOOK)


def sheet(*rows: str, header: str = HEADER) -> str:
    return "\n".join([header, *rows]) + "\n"


def pairs(found) -> list[tuple[int, int, str]]:
    return list(found.matching.matched[MATCHED_COLUMNS].itertuples(index=False, name=None))


def reasons(found) -> list[tuple[str, str, str]]:
    columns = ["coder", "effect_id", "reason"]
    return list(found.matching.unmatched[columns].itertuples(index=False, name=None))


# --- matching -----------------------------------------------------------------------------


def test_written_effect_ids_decide_first(tmp_path):
    first = sheet("a,S1,r,0.3,50,WAI,client", "b,S1,r,0.1,50,HAq,client")
    second = sheet("b,S1,r,0.3,50,WAI,client", "a,S1,r,0.1,50,HAq,client")
    found = check(tmp_path, first, second)
    assert pairs(found) == [(0, 1, "effect_id"), (1, 0, "effect_id")]
    assert found.matching.unmatched.empty


def test_made_effect_ids_tell_nothing(tmp_path):
    # both sheets make S1_1 and S1_2, but the second coder's order is the other way round
    first = sheet(",S1,r,0.3,50,WAI,client", ",S1,r,0.1,50,HAq,client")
    second = sheet(",S1,r,0.1,50,HAq,client", ",S1,r,0.2,50,WAI,client")
    found = check(tmp_path, first, second)
    assert list(found.first.effects["effect_id"]) == list(found.second.effects["effect_id"])
    assert pairs(found) == [(0, 1, "codes"), (1, 0, "codes")]


def test_an_id_that_looks_made_counts_if_it_was_written(tmp_path):
    first = sheet("S1_2,S1,r,0.3,50,WAI,client", "S1_1,S1,r,0.1,50,WAI,client")
    second = sheet("S1_1,S1,r,0.25,50,WAI,client", "S1_2,S1,r,0.15,50,WAI,client")
    found = check(tmp_path, first, second)
    assert pairs(found) == [(0, 1, "effect_id"), (1, 0, "effect_id")]
    # without the sheets nothing tells these ids from made ones
    alone = match_coders(found.first.effects, found.second.effects)
    assert alone.matched.empty


def test_values_decide_where_codes_do_not(tmp_path):
    first = sheet(",S1,r,0.3,50,WAI,client", ",S1,r,0.1,50,WAI,client", ",S1,r,0.2,50,,")
    second = sheet(",S1,r,0.1,50,WAI,client", ",S1,r,0.2,50,WAI,therapist")
    found = check(tmp_path, first, second)
    assert pairs(found) == [(1, 0, "value"), (2, 1, "value")]
    assert reasons(found) == [
        ("first", "S1_1", "the other coder's effects of this study all match other effects")
    ]


def test_a_match_can_leave_another_row_as_the_only_one(tmp_path):
    first = sheet(",S1,r,0.3,50,WAI,client", ",S1,r,0.1,50,WAI,client")
    second = sheet(",S1,r,0.1,50,WAI,client", ",S1,r,0.33,50,WAI,client")
    assert pairs(check(tmp_path, first, second)) == [(0, 1, "codes"), (1, 0, "value")]


def test_unmatched_rows_have_reasons(tmp_path):
    first = sheet(
        ",S1,r,0.3,50,WAI,client",
        ",S1,r,0.1,50,WAI,client",
        ",S2,r,0.2,50,WAI,client",
        ",S3,r,0.2,50,WAI,client",
    )
    second = sheet(
        ",S1,r,0.4,50,WAI,client",
        ",S1,r,0.5,50,WAI,client",
        ",S3,r,0.4,50,HAq,client",
    )
    found = check(tmp_path, first, second)
    several = "several effects of this study could be meant"
    other = "no effect of the other coder has the same codes or the same value"
    assert pairs(found) == []
    assert reasons(found) == [
        ("first", "S1_1", several),
        ("first", "S1_2", several),
        ("first", "S2_1", "the other coder has no effect of this study"),
        ("first", "S3_1", other),
        ("second", "S1_1", several),
        ("second", "S1_2", several),
        ("second", "S3_1", other),
    ]


CELLS = st.tuples(
    st.sampled_from(["S1", "S2"]),
    st.sampled_from([0.1, 0.2, np.nan]),
    st.sampled_from(["WAI", "HAq", None]),
    st.sampled_from(["a", "b", "S1_1", "c"]),
)


def table(rows) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["study_id", "effect_value", "instrument", "effect_id"])
    return frame.astype({"study_id": "str", "instrument": "str", "effect_id": "str"})


@settings(max_examples=40, deadline=None)
@given(st.lists(CELLS, max_size=6), st.lists(CELLS, max_size=6))
def test_matching_is_one_to_one_within_studies_and_the_same_from_either_side(left, right):
    first, second = table(left), table(right)
    found, turned = match_coders(first, second), match_coders(second, first)
    i, j = found.matched["first_row"].astype(int), found.matched["second_row"].astype(int)
    assert i.is_unique
    assert j.is_unique
    assert list(first["study_id"].iloc[i]) == list(second["study_id"].iloc[j])
    assert len(found.unmatched) == len(first) + len(second) - 2 * len(i)
    there = {tuple(row) for row in turned.matched[["second_row", "first_row", "how"]].to_numpy()}
    assert {tuple(row) for row in found.matched[MATCHED_COLUMNS].to_numpy()} == there


def test_matches_survive_conversion_and_a_file(tmp_path):
    first = sheet("S1_2,S1,r,0.3,50,WAI,client", "S1_1,S1,r,0.1,50,WAI,client")
    second = sheet("S1_1,S1,r,0.25,50,WAI,client", ",S9,r,0.15,50,WAI,client")
    found = check(tmp_path, first, second)
    write_table(found.second_table, tmp_path / "checked.csv")
    converted = convert_effects(read_table(tmp_path / "checked.csv")).table
    write_table(converted, tmp_path / "converted.csv")
    table = read_table(tmp_path / "converted.csv")
    # as a spreadsheet counts rows of the first coder's table
    assert list(table["first_row"].fillna(0)) == [3, 0]
    read = read_matches(found.first.effects, table)
    pd.testing.assert_frame_equal(read.matched, found.matching.matched, check_dtype=False)
    assert reasons(found) == list(
        read.unmatched[["coder", "effect_id", "reason"]].itertuples(index=False, name=None)
    )


def test_a_column_of_the_sheet_gives_way_to_the_partner(tmp_path):
    first = sheet("a,S1,r,0.3,50,WAI,client")
    found = check(tmp_path, first, sheet("a,S1,r,0.3,50,x", header=HEADER[:-17] + ",matched_by"))
    noted = note_matches(found.second.effects, found.matching.matched)
    assert list(noted["matched_by_in_sheet"]) == ["x"]
    assert list(noted["matched_by"]) == ["effect_id"]


# --- checks -------------------------------------------------------------------------------


def test_without_a_second_coder_the_table_has_only_a_heading(tmp_path):
    found = check(tmp_path, sheet("a,S1,r,0.3,50,WAI,client"), None)
    assert found.given == (found.first,)
    assert [problem.code for problem in found.problems] == []
    assert list(found.second_table.columns)[-2:] == ["first_row", "matched_by"]
    write_table(found.second_table, tmp_path / "second_coder.csv")
    converted = convert_effects(read_table(tmp_path / "second_coder.csv"))
    assert converted.table.empty
    assert converted.problems == []
    write_table(converted.table, tmp_path / "converted.csv")
    assert "yi" in read_table(tmp_path / "converted.csv")


def test_equal_sheets_of_two_coders_are_no_duplicates(tmp_path):
    text = sheet("a,S1,r,0.3,50,WAI,client", "b,S2,r,0.1,50,HAq,client")
    found = check(tmp_path, text, text)
    assert found.problems == []
    assert [how for _, _, how in pairs(found)] == ["effect_id", "effect_id"]


def test_problems_of_the_second_sheet_name_it(tmp_path):
    good = sheet("a,S1,r,0.3,50,WAI,client")
    bad = sheet("a,S1,r,0.3,50,WAI,clint", "a,S1,r,0.3,50,WAI,client")
    found = check(tmp_path, good, bad)
    assert {(p.file, p.code) for p in found.problems} == {
        ("second.csv", "unknown_term"),
        ("second.csv", "duplicate_effect_id"),
    }


def test_the_bibliography_is_checked_for_both_and_told_once(tmp_path):
    header = HEADER + ",citation_key"
    bib = "@article{one, title = {One}, year = {2001}}\n@article{one, title = {Two}}\n"
    first = sheet("a,S1,r,0.3,50,WAI,client,one", header=header)
    second = sheet("a,S1,r,0.3,50,WAI,client,onne", header=header)
    found = check(tmp_path, first, second, bib=bib)
    assert [p.code for p in found.problems].count("duplicate_key") == 1
    assert [p.file for p in found.problems if p.code == "unknown_citation_key"] == ["second.csv"]


def test_a_sheet_belongs_to_one_coder(tmp_path):
    (tmp_path / "both.csv").write_text(sheet("a,S1,r,0.3,50,WAI,client"))
    files = [("both.csv", tmp_path / "both.csv")]
    found = check_coders(files, files, [], codebook=CODEBOOK)
    assert [p.code for p in found.problems if p.severity == "error"] == ["sheet_of_both_coders"]


def test_columns_of_ones_own_are_joined_and_their_types_compared(tmp_path):
    first = sheet("a,S1,r,0.3,50,WAI,client,x,3", header=HEADER + ",Site,dose")
    second = sheet("a,S1,r,0.3,50,WAI,client,y,high", header=HEADER + ",site,dose")
    found = check(tmp_path, first, second)
    assert "Site" in found.second.effects
    told = [p for p in found.problems if p.code == "column_type_differs"]
    assert [(p.file, p.column, p.severity) for p in told] == [("second.csv", "dose", "note")]


def notes(found, code):
    return [p for p in found.problems if p.code == code]


def test_ids_that_differ_by_capitals_or_blanks_are_noted(tmp_path):
    first = sheet(*(f",Paper {i},r,0.3,50,WAI,client" for i in range(3)))
    second = sheet(
        ",Paper 0,r,0.3,50,WAI,client",
        ",PAPER 1,r,0.3,50,WAI,client",
        ",PAPER 1,r,0.2,50,HAq,client",
        ",paper2,r,0.3,50,WAI,client",
        ",Other,r,0.3,50,WAI,client",
    )
    found = notes(check(tmp_path, first, second), "study_id_spelling")
    assert [(p.file, p.row, p.column, p.value, p.severity) for p in found] == [
        ("second.csv", 3, "study_id", "PAPER 1", "note"),
        ("second.csv", 5, "study_id", "paper2", "note"),
    ]
    assert found[0].problem == (
        "The first coder writes this study as 'Paper 1'; as it stands, 'PAPER 1' counts as another "
        "study."
    )


def test_many_ids_of_another_spelling_are_noted_once(tmp_path):
    first = sheet(*(f",Paper{i},r,0.3,50,WAI,client" for i in range(9)))
    found = check(tmp_path, first, first.replace("Paper", "PAPER"))
    (note,) = notes(found, "study_id_spelling")
    assert "so do 8 other studies" in note.problem


@pytest.mark.parametrize(
    ("n_matched", "words"),
    [
        (0, "None of the second coder's 4 effects matches one of the first coder's."),
        (1, "Only 1 of the second coder's 4 effects matches one of the first coder's."),
        (2, None),
    ],
)
def test_few_matches_are_noted(tmp_path, n_matched, words):
    first = sheet(*(f",S{i},r,0.3,50,WAI,client" for i in range(4)))
    other = [f",{'S' if i < n_matched else 'T'}{i},r,0.3,50,WAI,client" for i in range(4)]
    found = notes(check(tmp_path, first, sheet(*other)), "few_matches")
    assert [(p.file, p.problem, p.severity) for p in found] == (
        [("second.csv", words, "note")] if words else []
    )


@pytest.fixture
def review(tmp_path):
    for folder in ("config", "data/raw"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "config/config.yaml").write_text(
        "effects: [data/raw/effects.csv]\nsecond_coder: [data/raw/second*.csv]\n"
        "analyses: {overall: {}}\n"
    )
    (tmp_path / "data/raw/effects.csv").write_text(sheet("a,S1,r,0.3,50,WAI,client"))
    return tmp_path


def test_check_lists_the_problems_of_both_coders(review, capsys):
    second = review / "data/raw/second.csv"
    second.write_text(sheet("a,S1,r,1.3,50,WAI,terapist"))
    assert main(["check", str(review)]) == 1
    out = " ".join(capsys.readouterr().out.split())
    place = "data/raw/second.csv row 2, column"
    assert f"{place} rater: 'terapist' is not a rater. Did you mean 'therapist'?" in out
    # found by the plausibility checks of the effects
    assert f"{place} effect_value: 1.3 is not possible for a correlation" in out
    second.write_text(sheet("a,S1,r,0.25,50,WAI,therapist"))
    assert main(["check", str(review)]) == 0


def test_check_misses_a_sheet_of_the_second_coder(review, capsys):
    assert main(["check", str(review)]) == 1
    assert "data/raw/second*.csv" in capsys.readouterr().out
