"""The command line as a reviewer uses it, without running the workflow."""

import pandas as pd
import pytest

from alliance_meta.cli import main
from alliance_meta.problems import TABLE_COLUMNS


@pytest.fixture
def review(tmp_path, capsys):
    folder = tmp_path / "my review"
    assert main(["new", str(folder)]) == 0
    capsys.readouterr()
    return folder


def edit(folder, row, column, value):
    path = folder / "data/raw/effects.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[row, column] = value
    table.to_csv(path, index=False)


def test_new_review_has_no_problems(review, capsys):
    assert main(["check", str(review)]) == 0
    assert capsys.readouterr().out == "No problems.\n"
    table = pd.read_csv(review / "results/validation.csv")
    assert tuple(table.columns) == TABLE_COLUMNS
    assert table.empty


def test_new_refuses_a_folder_with_files(review, capsys):
    assert main(["new", str(review)]) == 1
    assert "not empty" in capsys.readouterr().err


def test_examples_are_marked(review):
    table = pd.read_csv(review / "data/raw/effects.csv")
    assert len(table) == 3
    assert table["notes"].str.contains("EXAMPLE ROW").all()


def test_check_lists_all_problems_at_once(review, capsys):
    edit(review, 0, "rater", "terapist")
    edit(review, 1, "effect_value", "1.4")
    edit(review, 2, "citation_key", "example_too_2010")
    assert main(["check", str(review)]) == 1
    out = " ".join(capsys.readouterr().out.split())
    place = "data/raw/effects.csv row"
    assert f"{place} 2, column rater: 'terapist' is not a rater. Did you mean 'therapist'?" in out
    assert f"{place} 3, column effect_value:" in out
    assert f"{place} 4, column citation_key:" in out
    assert "3 problems" in out
    table = pd.read_csv(review / "results/validation.csv")
    assert list(table["row"]) == [2, 3, 4]


def test_check_names_mistakes_of_the_configuration(review, capsys):
    config = review / "config/config.yaml"
    config.write_text(config.read_text().replace("metric:", "metrc:"))
    assert main(["check", str(review)]) == 1
    assert "Did you mean 'metric'?" in capsys.readouterr().out


def test_check_names_mistakes_of_an_analysis(review, capsys):
    config = review / "config/config.yaml"
    config.write_text(config.read_text() + "  by_who:\n    moderators: ratr\n")
    assert main(["check", str(review)]) == 1
    assert "There is no column 'ratr'" in " ".join(capsys.readouterr().out.split())


def test_a_term_of_ones_own_is_understood(review, capsys):
    edit(review, 0, "instrument", "NS-12")
    assert main(["check", str(review)]) == 1
    config = review / "config/config.yaml"
    config.write_text(
        config.read_text() + "vocabulary:\n  instrument:\n    XYZ: {synonyms: [NS-12]}\n"
    )
    capsys.readouterr()
    assert main(["check", str(review)]) == 0


def test_check_without_a_review_says_how_to_start(tmp_path, capsys):
    assert main(["check", str(tmp_path)]) == 1
    assert "alliance-meta new" in capsys.readouterr().out


def test_run_names_problems_before_it_starts(review, capsys):
    edit(review, 0, "rater", "terapist")
    assert main(["run", str(review)]) == 1
    assert "Did you mean 'therapist'?" in capsys.readouterr().err
    assert not (review / ".snakemake").exists()
    assert len(pd.read_csv(review / "results/validation.csv")) == 1


def test_run_without_a_review_says_how_to_start(tmp_path, capsys):
    assert main(["run", str(tmp_path)]) == 1
    assert "alliance-meta new" in capsys.readouterr().err
