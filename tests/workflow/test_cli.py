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
    assert "0 problems" in capsys.readouterr().out
    table = pd.read_csv(review / "results/validation.csv")
    assert tuple(table.columns) == TABLE_COLUMNS
    assert table["problem"].str.startswith("Note: ").all()


def test_new_refuses_a_folder_with_files(review, capsys):
    assert main(["new", str(review)]) == 1
    assert "not empty" in capsys.readouterr().err


def test_left_over_examples_are_noted(review, capsys):
    main(["check", str(review)])
    assert "example rows" in " ".join(capsys.readouterr().out.split())


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
    errors = table.loc[~table["problem"].str.startswith("Note: ")]
    assert list(errors["row"]) == [2, 3, 4]


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


def check_with(review, text, capsys):
    """Return exit code and output of a check with more configuration."""
    config = review / "config/config.yaml"
    own = config.read_text()
    config.write_text(own + text)
    code = main(["check", str(review)])
    config.write_text(own)
    return code, " ".join(capsys.readouterr().out.split())


def test_check_refuses_a_power_that_every_test_has(review, capsys):
    code, out = check_with(review, "sensitivity: {power: {power: 0.01}}\n", capsys)
    assert code == 1
    assert "column analyses.overall.sensitivity.power.power" in out
    assert "with a power of 0.05 even where there is nothing, so that 0.01 is too little" in out
    assert check_with(review, "sensitivity: {power: {power: 0.06}}\n", capsys)[0] == 0


def test_check_says_that_text_and_numbers_have_no_order(review, capsys):
    for where, words in (
        ("rater > 3", "the column 'rater' holds text, which cannot be compared with a number"),
        ("n > '30'", "the column 'n' cannot be compared with a text by < or >; write numbers"),
    ):
        code, out = check_with(review, f'  other: {{where: "{where}"}}\n', capsys)
        assert code == 1
        assert words in out
        assert "instances of" not in out


def test_check_tells_a_choice_of_one_option(review, capsys):
    option = "{name: a, reason: b, rho: 0.2}"
    code, out = check_with(review, f"multiverse: {{choices: {{rho: [{option}]}}}}\n", capsys)
    assert code == 1
    assert "column multiverse.choices.rho: There is only one entry here" in out


def test_a_term_of_ones_own_is_understood(review, capsys):
    edit(review, 0, "instrument", "NS-12")
    assert main(["check", str(review)]) == 1
    config = review / "config/config.yaml"
    config.write_text(
        config.read_text() + "vocabulary:\n  instrument:\n    XYZ: {synonyms: [NS-12]}\n"
    )
    capsys.readouterr()
    assert main(["check", str(review)]) == 0


def test_an_analysis_may_have_a_metric_of_its_own(review, capsys):
    edit(review, 2, "effect_type", "generic")
    edit(review, 2, "df", "")
    edit(review, 2, "se", "0.4")
    assert main(["check", str(review)]) == 1
    assert "generic" in capsys.readouterr().out
    config = review / "config/config.yaml"
    config.write_text(
        config.read_text().replace(
            "    title: All studies\n",
            "    title: All studies\n    where: effect_type != 'generic'\n",
        )
        + "  own_scale: {metric: generic, where: \"effect_type == 'generic'\"}\n"
    )
    assert main(["check", str(review)]) == 0, capsys.readouterr().out
    config.write_text(config.read_text().replace(", where: \"effect_type == 'generic'\"", ""))
    capsys.readouterr()
    assert main(["check", str(review)]) == 1
    assert "effects of another scale would enter" in " ".join(capsys.readouterr().out.split())


def test_paths_may_be_absolute_or_begin_with_a_dot(review, capsys):
    config = review / "config/config.yaml"
    text = config.read_text()
    for path in (f"'{review}/data/raw/effects.csv'", "./data/raw/effects.csv, data/raw/*.csv"):
        config.write_text(text.replace("[data/raw/effects.csv]", f"[{path}]"))
        assert main(["check", str(review)]) == 0, capsys.readouterr().out


def test_check_without_a_review_says_how_to_start(tmp_path, capsys):
    assert main(["check", str(tmp_path)]) == 1
    assert "alliance-meta new" in capsys.readouterr().out


def test_run_names_problems_before_it_starts(review, capsys):
    edit(review, 0, "rater", "terapist")
    assert main(["run", str(review)]) == 1
    assert "Did you mean 'therapist'?" in capsys.readouterr().err
    assert not (review / ".snakemake").exists()
    table = pd.read_csv(review / "results/validation.csv")
    assert "'terapist' is not a rater." in set(table["problem"])


def test_run_without_a_review_says_how_to_start(tmp_path, capsys):
    assert main(["run", str(tmp_path)]) == 1
    assert "alliance-meta new" in capsys.readouterr().err
