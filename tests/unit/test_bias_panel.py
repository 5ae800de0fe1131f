"""The panel of corrections, and all methods in one run."""

import numpy as np
import pandas as pd
import pytest

from alliance_meta.assessments import Progress
from alliance_meta.bias.assessment import TABLES, assess_bias
from alliance_meta.bias.henmi_copas import assess_henmi_copas
from alliance_meta.bias.panel import assess_panel, judge_conclusion
from alliance_meta.bias.pet_peese import assess_pet_peese
from alliance_meta.bias.trim_and_fill import assess_trim_and_fill
from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.models.rows import model_rows

OFF = dict.fromkeys(
    [
        "funnel",
        "egger",
        "rank_test",
        "pet_peese",
        "trim_and_fill",
        "henmi_copas",
        "selection",
        "p_uniform",
        "worst_case",
        "excess_significance",
        "fail_safe",
    ],
    False,
)


@pytest.fixture
def result_of(make_effects):
    def make(y, v, study=None, *, columns=None, **settings):
        study = range(len(y)) if study is None else study
        effects = make_effects(y, v, study, **(columns or {}))
        return analyse(effects, ModelSpecification(**settings))

    return make


@pytest.fixture
def rows_of(result_of):
    return lambda *arguments, **settings: model_rows(result_of(*arguments, **settings))


@pytest.fixture
def result(result_of):
    rng = np.random.default_rng(8)
    v = rng.uniform(0.002, 0.06, 24)
    return result_of(rng.normal(0.3, np.sqrt(v + 0.01)), v)


@pytest.fixture
def rows(result):
    return model_rows(result)


@pytest.mark.parametrize(
    ("own", "corrected", "verdict"),
    [
        ((0.3, 0.1, 0.5), (0.2, 0.05, 0.35), "yes"),
        ((0.3, 0.1, 0.5), (0.2, -0.05, 0.45), "no"),
        ((-0.3, -0.5, -0.1), (-0.2, -0.3, -0.1), "yes"),
        ((0.3, 0.1, 0.5), (-0.3, -0.5, -0.1), "no"),
        ((0.1, -0.1, 0.3), (0.05, -0.2, 0.3), "yes"),
        ((0.1, -0.1, 0.3), (-0.05, -0.2, 0.1), "yes"),
        ((0.3, 0.1, 0.5), (-0.01, 0.05, 0.35), "no"),
        ((0.1, -0.1, 0.3), (0.2, 0.1, 0.3), "no"),
        ((0.3, 0.1, 0.5), (0.2, np.nan, np.nan), "unclear"),
        ((0.3, np.nan, np.nan), (0.2, 0.1, 0.3), "unclear"),
    ],
)
def test_conclusions_are_compared_by_sign_and_side_of_zero(own, corrected, verdict):
    assert judge_conclusion(own, corrected) == verdict


def test_panel_repeats_the_tables_on_the_reporting_scale(rows):
    tables = {
        **assess_pet_peese(rows).tables,
        **assess_trim_and_fill(rows).tables,
        **assess_henmi_copas(rows).tables,
        "bias_selection": pd.DataFrame(
            {
                "model": ["3psm", "3psm", "beta"],
                "term": ["tau2", "mu", "mu"],
                "estimate": [0.01, 0.2, np.nan],
                "ci_low": [0.0, 0.1, np.nan],
                "ci_high": [0.1, 0.3, np.nan],
                "p_value": [np.nan, 0.01, np.nan],
            }
        ),
        "bias_p_uniform": pd.DataFrame(
            {"method": ["p_uniform_star"], "estimate": [0.1], "ci_low": [-0.1], "ci_high": [0.3]}
        ),
        "bias_worst_case": pd.DataFrame(
            {
                "quantity": ["s_value", "worst_case"],
                "estimate": [4.0, -0.1],
                "ci_low": [1.0, -0.2],
                "ci_high": [np.nan, -0.01],
                "p_value": [np.nan, 0.03],
            }
        ),
    }
    found = assess_panel(rows, tables)
    panel = found.tables["bias_panel"].set_index("method")
    assert panel.index[0] == "analysis"
    own = rows.fit.contrast(np.ones(1))
    np.testing.assert_allclose(
        panel.loc["analysis", ["estimate", "ci_low", "ci_high", "p_value"]].to_numpy(float),
        [*np.tanh([own.value, own.ci_low, own.ci_high]), own.p_value],
    )
    pet = tables["bias_pet_peese"].set_index("variant")
    for method, variant in (("pet", "pet"), ("peese", "peese"), ("pet_peese", "conditional")):
        assert panel.loc[method, "estimate"] == np.tanh(pet.loc[variant, "estimate"])
    trimmed = tables["bias_trim_and_fill"].query("chosen").set_index("estimator")
    for estimator in ("L0", "R0", "Q0"):
        assert panel.loc[f"trim_and_fill_{estimator}", "ci_low"] == np.tanh(
            trimmed.loc[estimator, "ci_low"]
        )
    assert panel.loc["3psm", "estimate"] == pytest.approx(np.tanh(0.2))
    verdicts = {"3psm": "yes", "beta": "unclear", "p_uniform_star": "no", "worst_case": "no"}
    assert {method: panel.loc[method, "conclusion_holds"] for method in verdicts} == verdicts
    assert "4psm" not in panel.index
    assert "p-uniform* and the worst case do not" in found.sentences[0]
    assert found.sentences[1].startswith("The beta selection model gives no estimate")


def test_agreement_counts_no_correction_twice(rows):
    found = assess_panel(rows, assess_pet_peese(rows).tables)
    assert list(found.tables["bias_panel"]["method"]) == ["analysis", "pet", "peese", "pet_peese"]
    assert found.sentences == ("All two corrections leave the conclusion unchanged.",)


def test_panel_is_of_one_mean(rows_of):
    columns = {"rater": ["client", "client", "therapist", "therapist"] * 2}
    y, v = [0.1, 0.2, 0.3, 0.5, 0.15, 0.25, 0.4, 0.45], [0.01, 0.02, 0.05, 0.03] * 2
    rows = rows_of(y, v, moderators="rater", columns=columns)
    found = assess_panel(rows, {})
    assert found.tables["bias_panel"].empty
    assert "of one mean" in found.sentences[0]


def test_an_analysis_without_an_interval_has_no_conclusion(rows_of):
    rows = rows_of([0.3] * 4, [0.01, 0.02, 0.05, 0.03])
    found = assess_panel(rows, assess_henmi_copas(rows).tables)
    assert set(found.tables["bias_panel"]["conclusion_holds"]) == {"unclear"}
    assert "no conclusion to change" in found.sentences[0]


def test_everything_off_leaves_empty_tables_with_their_columns(result):
    begun = []

    class Listener(Progress):
        def begin(self, name):
            begun.append(name)

    found = assess_bias(result, OFF, progress=Listener())
    tables = {name: table for each in found for name, table in each.tables.items()}
    assert {name: list(table) for name, table in tables.items()} == {
        name: columns for own in TABLES.values() for name, columns in own.items()
    }
    assert list(tables["bias_panel"]["method"]) == ["analysis"]
    assert all(table.empty for name, table in tables.items() if name != "bias_panel")
    assert begun == list(TABLES)


def test_an_analysis_without_a_fit_gives_sentences(result_of):
    found = assess_bias(result_of([0.3], [0.01]), {})
    assert [each.name for each in found] == list(TABLES)
    sentences = ("Nothing to assess: a single effect was not pooled.",)
    assert all(each.sentences == sentences for each in found)


def test_effects_of_one_study_leave_selection_models_without_a_verdict(result_of):
    effects = [0.3, 0.1, 0.5], [0.02, 0.03, 0.01], [1, 1, 1]
    result = result_of(*effects, model="random_effects", inference="z")
    found = {each.name: each for each in assess_bias(result, {**OFF, "selection": True})}
    panel = found["panel"].tables["bias_panel"].set_index("method")
    assert panel.loc["3psm", "estimate"] > 0
    assert panel.loc["3psm", "conclusion_holds"] == "unclear"
    assert "The three-parameter selection model" in found["panel"].sentences[0]


def test_settings_reach_their_methods(result):
    settings = {
        **OFF,
        "trim_and_fill": {"side": "right"},
        "fail_safe": {"target": 0.2},
        "funnel": True,
        "egger": True,
    }
    found = {each.name: each for each in assess_bias(result, settings, seed=1)}
    trimmed = found["trim_and_fill"].tables["bias_trim_and_fill"]
    assert set(trimmed.loc[trimmed["chosen"], "side"]) == {"right"}
    targets = found["fail_safe"].tables["bias_fail_safe"]["target"].dropna()
    np.testing.assert_allclose(targets, np.arctanh(0.2))
    assert len(found["funnel"].tables["bias_funnel"]) == 24
    assert len(found["egger"].tables["bias_egger"]) == 3
    assert list(found["panel"].tables["bias_panel"]["method"])[1:] == [
        "trim_and_fill_L0",
        "trim_and_fill_R0",
        "trim_and_fill_Q0",
    ]


@pytest.mark.parametrize(
    ("y", "v", "study"),
    [
        ([0.1, 0.4], [0.01, 0.05], "ab"),
        ([0.1, 0.4, 0.2], [0.01, 0.05, 0.02], "abc"),
        ([0.3] * 6, [0.02] * 6, "aabbcc"),
        ([0.0] * 5, [0.02, 0.03, 0.04, 0.05, 0.06], "abcde"),
        ([0.2, 0.3, 0.1, 0.4], [1e-12, 0.02, 0.03, 0.04], "abcd"),
        ([0.01, -0.02, 0.03, 0.0, 0.01, -0.01], [0.1, 0.2, 0.15, 0.3, 0.12, 0.22], "aabbcd"),
    ],
    ids=["two", "three", "equal", "zero", "dominated", "nothing significant"],
)
def test_awkward_effects_end_in_sentences(y, v, study, result_of):
    others = dict.fromkeys(["selection", "p_uniform", "worst_case"], False)
    found = assess_bias(result_of(y, v, list(study)), others, seed=1)
    assert all(each.sentences for each in found if each.name not in others)
    for each in found:
        assert all(sentence.rstrip().endswith(".") for sentence in each.sentences), each.sentences


def test_selection_runs_with_its_settings_and_the_seed(result_of):
    rng = np.random.default_rng(5)
    v = rng.uniform(0.005, 0.05, 24)
    result = result_of(rng.normal(0.25, 0.2, 24), v, np.repeat(range(12), 2))
    settings = {**OFF, "selection": {"models": ["3psm"], "bootstrap": 50, "alternative": "greater"}}
    runs = [assess_bias(result, settings, seed=seed) for seed in (1, 1, 2)]
    tables = [
        {each.name: each for each in run}["selection"].tables["bias_selection"] for run in runs
    ]
    assert set(tables[0]["model"]) == {"3psm"}
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0]["se"].equals(tables[2]["se"])


def test_selection_has_one_direction(result_of):
    v = np.linspace(0.005, 0.05, 12)
    result = result_of(-0.3 - np.sqrt(v) / 2, v)
    for alternative, affirmative in (("less", True), ("greater", False)):
        settings = {**OFF, "selection": {"models": ["3psm"], "alternative": alternative}}
        settings |= {"p_uniform": True, "worst_case": True}
        found = {each.name: each for each in assess_bias(result, settings, seed=1)}
        significant = found["p_uniform"].tables["bias_p_uniform"]["k_significant"]
        assert bool(significant.gt(0).any()) == affirmative


def test_moderators_leave_methods_of_one_mean_empty(result_of):
    columns = {"rater": ["client", "therapist"] * 6}
    rng = np.random.default_rng(3)
    v = rng.uniform(0.01, 0.05, 12)
    result = result_of(rng.normal(0.3, 0.2, 12), v, moderators="rater", columns=columns)
    settings = {**OFF, **dict.fromkeys(["egger", "pet_peese", "trim_and_fill", "henmi_copas"])}
    found = {each.name: each for each in assess_bias(result, settings, seed=1)}
    assert len(found["egger"].tables["bias_egger"]) == 3
    for name in ("pet_peese", "trim_and_fill", "henmi_copas", "panel"):
        assert all(table.empty for table in found[name].tables.values())
        assert "one mean" in found[name].sentences[0]
