"""The configuration: its schema, its messages, its documentation."""

from pathlib import Path

import pytest
import yaml

from alliance_meta.configuration import (
    analysis_settings,
    configuration_problems,
    expand_paths,
    read_yaml,
    with_defaults,
)

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
MINIMAL = {"effects": ["data/raw/effects.csv"], "analyses": {"overall": {}}}


def problems(config):
    return [str(p) for p in configuration_problems(config, SCHEMA, name="config.yaml")]


def test_shipped_and_starter_configurations_are_valid():
    from alliance_meta.starter import CONFIG

    assert problems(yaml.safe_load((ROOT / "config/config.yaml").read_text())) == []
    assert problems(yaml.safe_load(CONFIG)) == []
    assert problems(MINIMAL) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"metrc": "r"},
            "config.yaml: There is no setting 'metrc' here. Did you mean 'metric'?",
        ),
        (
            {"metric": "z"},
            "config.yaml, column metric: 'z' is not allowed here. "
            "Use one of: fisher_z, r, generic.",
        ),
        (
            {"analyses": {"by_rater": {"moderator": "rater"}}},
            "config.yaml, column analyses.by_rater: There is no setting 'moderator' here. "
            "Did you mean 'moderators'?",
        ),
        (
            {"analyses": {"by_rater": {"model": "rma"}}},
            "config.yaml, column analyses.by_rater.model: 'rma' is not allowed here. Use one of: "
            "common_effect, random_effects, aggregated, rve, three_level, che.",
        ),
        (
            {"references": "file.bib"},
            "config.yaml, column references: 'file.bib' is not a list. "
            "Write it in square brackets, such as [data/raw/references.bib].",
        ),
        (
            {"rho": "0,6"},
            "config.yaml, column rho: '0,6' is not a number. "
            "Write it with a decimal point and without quotes, such as 0.6.",
        ),
        (
            {"analyses": {"by rater": {}}},
            "config.yaml, column analyses: 'by rater' cannot name an analysis. "
            "Begin with a letter and use letters, digits, _ and - only, such as by_rater.",
        ),
        (
            {"analyses": {"overall": None}},
            "config.yaml, column analyses.overall: 'None' is not a group of settings. "
            "Write its settings below it, indented by two blanks.",
        ),
    ],
)
def test_mistakes_are_named_in_words(change, message):
    assert problems({**MINIMAL, **change}) == [message]


OPTION = {"name": "one", "reason": "defensible"}
TWO = {"choices": {"rho": [{**OPTION, "rho": 0.2}, {**OPTION, "name": "two", "rho": 0.4}]}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"analyses": {"a": {"separate_tau2": "yes"}}}, "'yes' is not true or false. Write true"),
        ({"sensitivity": {"weights": "no"}}, "sensitivity.weights: 'no' is not true or false."),
        ({"sensitivity": {"leave_one_out": 3}}, "'3' is not true or false."),
        ({"bias": {"egger": None}}, "bias.egger: 'None' is not true or false."),
        (
            {"sensitivity": {"influence": {"x": 1}}},
            "sensitivity.influence: This is a group of settings, not true or false.",
        ),
        (
            {"sensitivity": {"cumulative": {"by": 3}}},
            "sensitivity.cumulative.by: '3' is neither a text nor a list.",
        ),
        ({"rho": [0.1]}, "rho: This is a list, not a number."),
        ({"metric": ["r"]}, "metric: This is a list, not a text."),
    ],
)
def test_values_of_a_wrong_kind_are_told_once(change, message):
    (found,) = problems({**MINIMAL, **change})
    assert message in found


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (
            {"sensitivity": {"cumulative": {"bye": "year"}}},
            ["column sensitivity.cumulative: There is no setting 'bye' here. Did you mean 'by'?"],
        ),
        (
            {"sensitivity": {"gosh": {"subsets": 0, "seed": 1}}},
            [
                "column sensitivity.gosh: There is no setting 'seed' here. Known keys: subsets.",
                "column sensitivity.gosh.subsets: 0 is less than the minimum of 1.",
            ],
        ),
        (
            {"bias": {"selection": {"models": ["3psm", "5psm"]}}},
            ["column bias.selection.models.1: '5psm' is not allowed here. Use one of: 3psm"],
        ),
        (
            {"multiverse": {**TWO, "choices": {"rho": [{**OPTION, "roh": 0.2}, OPTION]}}},
            ["multiverse.choices.rho.0: There is no setting 'roh' here. Did you mean 'rho'?"],
        ),
        (
            {"multiverse": {**TWO, "shard": 2, "maximu": 9}},
            [
                "column multiverse: There is no setting 'shard' here. Did you mean 'shards'?",
                "column multiverse: There is no setting 'maximu' here. Did you mean 'maximum'?",
            ],
        ),
        (
            {"multiverse": {"choices": {"choice_a": TWO["choices"]["rho"]}}},
            ["column multiverse.choices: 'choice_a' cannot name a choice."],
        ),
        (
            {"multiverse": {"choices": {f"c{i}": [OPTION, OPTION] for i in range(13)}}},
            ["multiverse.choices: There are 13 entries here, and 12 are possible at most."],
        ),
        (
            {"multiverse": {"choices": {"rho": [OPTION]}}},
            ["multiverse.choices.rho: There is only one entry here, and 2 or more are needed."],
        ),
        (
            {"sensitivity": {"permutations": -1}},
            ["column sensitivity.permutations: -1 is less than the minimum of 0."],
        ),
        (
            {"sensitivity": {"permutations": {"n": 1}}},
            ["A group of settings is not allowed here. Write false to switch it off, or a number."],
        ),
        (
            {"sensitivity": {"gosh": "no"}},
            ["'no' is not allowed here. Write false to switch it off, or true, or the settings"],
        ),
    ],
)
def test_mistakes_inside_a_group_are_told_where_they_are(change, messages):
    found = problems({**MINIMAL, **change})
    assert len(found) == len(messages)
    for text, message in zip(found, messages, strict=True):
        assert message in text
        assert "{" not in text


def test_all_mistakes_are_listed():
    found = problems({"metrc": "r", "rho": 2, "analyses": {"a b": {}}})
    assert len(found) == 4  # metrc, rho, the name with a blank, effects missing


def every_object(schema):
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for value in schema.values():
            yield from every_object(value)


def test_schema_closes_every_object_and_describes_every_key():
    for entry in every_object(SCHEMA):
        assert "additionalProperties" in entry, entry
        if "properties" in entry:
            assert entry["additionalProperties"] is False
        for name, key in entry.get("properties", {}).items():
            assert key.get("description"), name
    assert all("default" in entry for entry in SCHEMA["properties"].values())


def test_readme_documents_every_key():
    text = (ROOT / "config/README.md").read_text()
    analysis = SCHEMA["properties"]["analyses"]["additionalProperties"]["properties"]
    for key in [*SCHEMA["properties"], *analysis]:
        assert f"`{key}`" in text, key


def test_readme_documents_every_assessment():
    text = (ROOT / "config/README.md").read_text()
    for name in ("sensitivity", "bias"):
        for key in SCHEMA["properties"][name]["properties"]:
            assert f"| `{key}` |" in text, key
    options = SCHEMA["properties"]["multiverse"]["anyOf"][1]["properties"]["choices"]
    for key in options["additionalProperties"]["items"]["properties"]:
        assert f"`{key}`" in text, key


def test_settings_of_the_review_reach_an_analysis(tmp_path):
    config = with_defaults({**MINIMAL, "rho": 0.4, "where": "year > 2000"}, SCHEMA)
    config["analyses"] = {"one": {}, "two": {"rho": 0.8, "where": ""}}
    assert analysis_settings(config, "one", tmp_path)["rho"] == 0.4
    assert analysis_settings(config, "one", tmp_path)["where"] == "year > 2000"
    assert analysis_settings(config, "two", tmp_path)["rho"] == 0.8
    assert analysis_settings(config, "two", tmp_path)["where"] == ""


def test_globs_are_sorted_and_missing_files_stay(tmp_path):
    for name in ("b.csv", "a.csv"):
        (tmp_path / name).write_text("")
    assert expand_paths(["*.csv", "none.csv"], tmp_path) == ["a.csv", "b.csv", "none.csv"]


def test_broken_yaml_names_the_line(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("title: x\nanalyses:\n  a: {moderators: rater\n")
    content, found = read_yaml(path, name="config.yaml")
    assert content is None
    assert str(found[0]).startswith("config.yaml row 4: The configuration is not valid YAML")


def test_settings_of_an_analysis_add_to_those_of_the_review(tmp_path):
    config = with_defaults(
        {
            **MINIMAL,
            "reliability": {"outcome": 0.8},
            "bayes": {"prior": "half_normal", "scale": 0.3},
            "analyses": {
                "own": {"reliability": {"alliance": 0.9}, "bayes": {"prior": "half_cauchy"}},
                "none": {"bayes": False, "sensitivity": {"permutations": False}},
                "plain": {},
                "empty": {"reliability": {}, "bayes": {}, "sensitivity": {}},
            },
        },
        SCHEMA,
    )
    own = analysis_settings(config, "own", tmp_path)
    assert own["reliability"] == {"outcome": 0.8, "alliance": 0.9}
    assert own["bayes"] == {"prior": "half_cauchy", "scale": 0.3}
    none = analysis_settings(config, "none", tmp_path)
    assert none["bayes"] is False
    assert none["sensitivity"] == {"permutations": False}
    for name in ("plain", "empty"):
        settings = analysis_settings(config, name, tmp_path)
        assert settings["sensitivity"] == {"permutations": 10000}
        assert settings["reliability"] == {"outcome": 0.8}
        assert settings["bayes"] == {"prior": "half_normal", "scale": 0.3}


def test_a_choice_that_is_neither_false_nor_a_number_is_explained():
    found = problems({**MINIMAL, "sensitivity": {"permutations": "many"}})
    assert "'many' is not allowed here" in found[0]
    assert "Write false to switch it off" in found[0]
