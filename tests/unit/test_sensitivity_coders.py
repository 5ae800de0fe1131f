"""The band that two coders leave around a result."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.sensitivity.coders import TABLES, assess_coders

BAND = ["resampled_median", "resampled_low", "resampled_high"]

# batched and single fits of the same rows agree to the tolerance of their searches
FIT = {"rel": 1e-7, "abs": 1e-9}


def change(table, **columns):
    """Return a copy with some cells changed: column -> {row: value}; yi changes z and r too."""
    table = table.copy()
    for name, cells in columns.items():
        for column in ("yi", "z", "r", "effect_value") if name == "yi" else (name,):
            values = table[column].copy()
            for row, value in cells.items():
                values.iloc[row] = value
            table[column] = values
    return table


@pytest.fixture
def effects(make_effects):
    rng = np.random.default_rng(11)
    study = np.repeat([f"s{i:02}" for i in range(10)], [1, 2, 3, 2, 2] * 2)
    k = len(study)
    y = np.round(rng.normal(0.3, 0.15, k), 3)
    return make_effects(
        y,
        1 / rng.integers(40, 120, k),
        study,
        effect_type=["r"] * k,
        effect_value=y,
        rater=["client", "therapist"] * (k // 2),
        year=np.arange(1990.0, 1990 + k),
    )


def assess(effects, second, *, spec=None, **options):
    result = analyse(effects, ModelSpecification(**(spec or {})))
    return result, assess_coders(result, effects, second, **options)


def bands(assessment):
    return assessment.tables["sensitivity_coders"].set_index("level")


def mean_of(effects, **spec):
    return analyse(effects, ModelSpecification(**spec)).summary["estimate"].iloc[0]


@pytest.mark.parametrize("second", [None, "no rows"])
def test_without_a_second_coder_there_are_headings_and_no_sentence(effects, second):
    _, found = assess(effects, None if second is None else effects.iloc[:0])
    assert {name: list(table.columns) for name, table in found.tables.items()} == TABLES
    assert all(table.empty for table in found.tables.values())
    assert found.sentences == ()


@pytest.mark.parametrize("moderators", ["", "rater + year"])
def test_equal_sheets_leave_the_estimates_themselves(effects, moderators):
    result, found = assess(effects, effects.copy(), spec={"moderators": moderators})
    table = bands(found)
    levels = list(result.summary["level"]) + (["year"] if moderators else [])
    assert list(table.index) == levels
    for column in (*BAND, "second_coder"):
        assert (table[column] == table["first_coder"]).all()
    main = table["first_coder"][: len(result.summary)]
    np.testing.assert_array_equal(main, result.summary["estimate"])
    assert (table["resamples"] == 0).all()
    assert found.tables["sensitivity_coder_disagreements"].empty
    assert "agree on all that it uses" in found.sentences[0]
    assert "the same with either" in found.sentences[-1]


SPECS = [
    {},
    {"model": "random_effects"},
    {"model": "aggregated"},
    {"model": "rve"},
    {"model": "three_level", "inference": "z"},
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_one_differing_effect_gives_the_two_analyses(effects, spec):
    second = change(effects, yi={4: 0.9})
    result, found = assess(effects, second, spec=spec)
    row = bands(found).loc["overall"]
    one, two = result.summary["estimate"].iloc[0], mean_of(second, **spec)
    assert row["first_coder"] == one
    assert row["second_coder"] == pytest.approx(two, **FIT)
    assert row[["resampled_low", "resampled_high"]].tolist() == pytest.approx(
        sorted([one, two]), **FIT
    )
    assert row["resampled_median"] == pytest.approx((one + two) / 2, **FIT)
    assert (row["resamples"], row["exact"]) == (2, True)


def test_every_combination_is_an_analysis_of_its_own(effects):
    cells = {2: 0.75, 7: -0.2, 13: 0.6}
    _, found = assess(effects, change(effects, yi=cells))
    means = [
        mean_of(change(effects, yi={row: cells[row] for row in rows}))
        for rows in ([], [2], [7], [13], [2, 7], [2, 13], [7, 13], [2, 7, 13])
    ]
    row = bands(found).loc["overall"]
    assert row["resamples"] == 8
    expected = [np.median(means), min(means), max(means)]
    assert row[BAND].tolist() == pytest.approx(expected, **FIT)


def test_codes_change_levels_and_where(effects):
    second = change(effects, rater={3: "observer", 5: "client"})
    _, found = assess(effects, second, spec={"moderators": "rater"})
    table = bands(found)
    assert table.loc["overall", BAND].nunique() == 1
    assert table.loc["rater=client", "resampled_low"] < table.loc["rater=client", "resampled_high"]
    # a level of the second coder's alone, in half of the four combinations
    assert np.isnan(table.loc["rater=observer", "first_coder"])
    assert table.loc["rater=observer", "resamples"] == 2
    chosen = {"where": "rater == 'client'", "model": "che"}
    _, found = assess(effects, second, spec=chosen)
    row = bands(found).loc["overall"]
    assert row["second_coder"] == pytest.approx(mean_of(second, **chosen), **FIT)
    assert row["resamples"] == 2
    listed = found.tables["sensitivity_coder_disagreements"]
    assert listed.to_numpy().tolist() == [
        ["e5", effects["study_id"][5], "rater", "therapist", "client"]
    ]


def test_a_moderated_combination_is_that_analysis(effects):
    second = change(effects, rater={3: "client"}, yi={8: 0.7})
    spec = {"moderators": "rater + year"}
    _, found = assess(effects, second, spec=spec)
    other = analyse(second, ModelSpecification(**spec, reference={"rater": "client"}))
    table = bands(found)
    np.testing.assert_allclose(table["second_coder"][:3], other.summary["estimate"], rtol=1e-9)
    slope = other.coefficients.set_index("term").loc["year", "estimate"]
    assert table.loc["year", "second_coder"] == pytest.approx(slope, rel=1e-6)
    assert table.loc["year", "resamples"] == 4


def test_value_and_code_of_an_effect_are_chosen_independently(effects):
    second = change(effects, rater={4: "therapist"}, yi={4: 0.9})
    spec = {"where": "rater == 'client'"}
    _, found = assess(effects, second, spec=spec)
    # without the code: no effect 4; with it: either value
    row = bands(found).loc["overall"]
    own = mean_of(effects, **spec)
    changed = mean_of(change(effects, yi={4: 0.9}), **spec)
    without = mean_of(second, **spec)
    assert row["resamples"] == 3
    # weights 1/2, 1/4, 1/4 put the median at the end of the heavy one or inside it
    ordered = sorted([(own, 0.25), (changed, 0.25), (without, 0.5)])
    reached = np.cumsum([weight for _, weight in ordered])
    below = ordered[int(np.searchsorted(reached, 0.5))][0]
    above = ordered[int(np.searchsorted(reached, 0.5, side="right"))][0]
    assert row["resampled_median"] == pytest.approx((below + above) / 2, **FIT)


@settings(max_examples=6, deadline=None)
@given(
    values=st.dictionaries(st.integers(0, 19), st.floats(-0.8, 0.8), max_size=3),
    raters=st.dictionaries(st.integers(0, 19), st.sampled_from(["client", "observer"]), max_size=2),
    left_out=st.sets(st.sampled_from([2, 4, 19]), max_size=1),
)
def test_swapping_the_coders_gives_the_same_bands(values, raters, left_out):
    effects = swapped_sample()
    second = change(effects, yi=values, rater=raters).drop(index=list(left_out))
    second = second.reset_index(drop=True)
    spec = {"where": "rater != 'observer'"}
    _, there = assess(effects, second, spec=spec)
    _, back = assess(second, effects, spec=spec)
    columns = [*BAND, "resamples"]
    left, right = bands(there)[columns].astype(float), bands(back)[columns].astype(float)
    # rows stand in another order, and searches end within their tolerance
    np.testing.assert_allclose(left, right, rtol=1e-7, atol=1e-9)
    assert bands(there)["second_coder"].iloc[0] == pytest.approx(
        bands(back)["first_coder"].iloc[0], **FIT
    )


def swapped_sample():
    rng = np.random.default_rng(5)
    study = np.repeat([f"s{i:02}" for i in range(8)], [2, 3] * 4)
    y = np.round(rng.normal(0.3, 0.15, 20), 3)
    v = 1 / rng.integers(40, 120, 20)
    table = pd.DataFrame({"effect_id": [f"e{i}" for i in range(20)]}, dtype="str")
    for name in ("study_id", "sample_id"):
        table[name] = pd.Series(study, dtype="str")
    for name in ("yi", "r", "z", "effect_value"):
        table[name] = y
    for name in ("vi", "vr", "vz"):
        table[name] = v
    table["n"] = 50.0
    words = {"effect_type": "r", "conversion": "r", "source_file": "a.csv", "rater": "client"}
    empty = ("instrument", "instrument_version", "component", "timing", "outcome_measure")
    words |= dict.fromkeys([*empty, "outcome_domain", "exclude_reason", "flags"])
    for name, word in words.items():
        table[name] = pd.Series([word] * 20, dtype="str")
    table["year"] = np.nan
    return table


def test_more_combinations_than_resamples_are_sampled(effects):
    rng = np.random.default_rng(2)
    second = change(effects, yi={row: float(rng.uniform(0, 0.6)) for row in range(16)})
    result, found = assess(effects, second, resamples=150, seed=3)
    row = bands(found).loc["overall"]
    assert (row["resamples"], row["exact"]) == (150, False)
    assert row["resampled_low"] < row["resampled_median"] < row["resampled_high"]
    again = assess_coders(result, effects, second, resamples=150, seed=3)
    pd.testing.assert_frame_equal(bands(found), bands(again))
    other = assess_coders(result, effects, second, resamples=150, seed=4)
    assert bands(other)["resampled_median"].iloc[0] != row["resampled_median"]
    # midway between the coders, but for the noise of 150 draws
    middle = (row["first_coder"] + row["second_coder"]) / 2
    spread = row["resampled_high"] - row["resampled_low"]
    assert row["resampled_median"] == pytest.approx(middle, abs=spread / 4)


def test_effects_of_one_coder_enter_half_of_the_time(effects):
    # study s01 has effects 1 and 2; the second coder has not found 2, and codes s99
    second = pd.concat([effects.drop(index=2), effects.iloc[[0]]], ignore_index=True)
    last = len(second) - 1
    second = change(second, study_id={last: "s99"}, sample_id={last: "s99"}, effect_id={last: "e2"})
    _, found = assess(effects, second)
    row = bands(found).loc["overall"]
    assert row["resamples"] == 4
    assert row["second_coder"] == pytest.approx(mean_of(second), **FIT)
    unmatched = found.tables["sensitivity_coder_unmatched"]
    assert unmatched[["coder", "effect_id", "study_id"]].to_numpy().tolist() == [
        ["first", "e2", "s01"],
        ["second", "e2", "s99"],
    ]
    assert (
        "1 effect is the first coder's only and 1 effect is the second coder's only; each enters "
        "half of the resamples." in found.sentences
    )


def test_without_a_common_effect_there_is_no_band(effects):
    names = {name: "X" + effects[name] for name in ("study_id", "sample_id")}
    _, found = assess(effects, effects.assign(**names))
    assert found.tables["sensitivity_coders"].empty
    assert found.tables["sensitivity_coder_disagreements"].empty
    assert len(found.tables["sensitivity_coder_unmatched"]) == 2 * len(effects)
    assert found.sentences == (
        "No effect of this analysis was coded by both coders, so that nothing was compared and no "
        "band is given.",
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.9, " times as wide as the confidence interval."),
        (0.3, "This band has hardly any width beside the confidence interval."),
    ],
)
def test_the_width_of_the_band_is_put_in_words(effects, value, words):
    effects = change(effects, yi={4: 0.2999})
    _, found = assess(effects, change(effects, yi={4: value}))
    (sentence,) = [text for text in found.sentences if text.startswith("Over all 2 combinations")]
    assert "the central 95 % of the estimates of the pooled correlation lie in" in sentence
    assert sentence.endswith(words)
    assert "0.00 times" not in sentence


def test_studies_that_were_coded_once_always_enter(effects):
    second = change(effects, yi={1: 0.8}).iloc[:6]
    _, found = assess(effects, second)
    row = bands(found).loc["overall"]
    assert row["resamples"] == 2
    assert row["second_coder"] == pytest.approx(mean_of(change(effects, yi={1: 0.8})), **FIT)
    assert len(found.tables["sensitivity_coder_unmatched"]) == len(effects) - 6
    assert (
        "14 effects come from studies that the second coder did not code and always enter."
        in found.sentences
    )


def test_what_the_second_coder_never_coded_is_the_first_coders(effects):
    second = effects.assign(rater=pd.Series([None] * len(effects), dtype="str"))
    _, found = assess(effects, second, spec={"moderators": "rater"})
    assert (bands(found)["resamples"] == 0).all()
    assert any("no comparable codes for rater" in sentence for sentence in found.sentences)


def test_the_conclusion_can_change(make_effects):
    effects = make_effects(
        [0.2, 0.22, 0.18, 0.21], [0.004] * 4, list("abcd"), effect_value=[0.2, 0.22, 0.18, 0.21]
    )
    _, found = assess(effects, change(effects, yi={0: -0.9}))
    assert bands(found).loc["overall", "share_conclusion_changes"] == 0.5
    assert "differs from the main analysis in 50.0 % of them." in found.sentences[-1]


def test_excluded_by_one_coder(effects):
    second = change(
        effects,
        exclude_reason={6: "not the alliance"},
        **{name: {6: np.nan} for name in ("yi", "vi", "vz", "vr")},
    )
    _, found = assess(effects, second)
    row = bands(found).loc["overall"]
    assert row["resamples"] == 2
    assert row["second_coder"] == pytest.approx(mean_of(effects.drop(index=6)), **FIT)
    columns = found.tables["sensitivity_coder_disagreements"]["column"]
    assert "exclude_reason" in set(columns)


def test_sheets_of_an_analysis_hold_for_both_coders(effects):
    half = len(effects) // 2
    files = ["a.csv"] * half + ["b.csv"] * (len(effects) - half)
    effects = effects.assign(source_file=pd.Series(files, dtype="str"))
    second = change(effects, yi={0: 0.8, len(effects) - 1: 0.8})
    second["source_file"] = pd.Series(["second.csv"] * len(effects), dtype="str")
    result = analyse(effects, ModelSpecification(), files=["a.csv"])
    row = bands(assess_coders(result, effects, second, files=["a.csv"])).loc["overall"]
    assert row["first_coder"] == result.summary["estimate"].iloc[0]
    assert row["resamples"] == 2


def test_corrected_effects_use_each_coders_reliabilities(effects):
    k = len(effects)
    effects = effects.assign(reliability_alliance=np.full(k, 0.9))
    second = change(effects, reliability_alliance={3: 0.6})
    spec = {"attenuation": "corrected"}
    _, found = assess(effects, second, spec=spec)
    row = bands(found).loc["overall"]
    assert row["second_coder"] == pytest.approx(mean_of(second, **spec), **FIT)
    assert row["resamples"] == 2
    _, observed = assess(effects, second)
    assert bands(observed).loc["overall", "resamples"] == 0


@pytest.mark.parametrize(
    "spec",
    [
        {"model": "random_effects", "moderators": "rater", "separate_tau2": True},
        {"model": "random_effects", "scale": "year"},
        {"model": "random_effects", "scale": "year", "moderators": "rater"},
        {"moderators": "rater", "rare_levels": "set_apart", "minimum_studies": 3},
    ],
    ids=str,
)
def test_every_kind_of_model_is_fitted_anew(effects, spec):
    second = change(effects, yi={4: 0.9}, rater={0: "observer"})
    result, found = assess(effects, second, spec=spec)
    table, other = bands(found), analyse(second, ModelSpecification(**spec))
    expected = other.summary.set_index("level")["estimate"]
    np.testing.assert_allclose(
        table["second_coder"].reindex(expected.index).astype(float), expected, rtol=1e-6
    )
    assert table["first_coder"].iloc[0] == result.summary["estimate"].iloc[0]


@pytest.mark.parametrize("k", [2, 3])
def test_few_effects_never_fail(effects, k):
    few = effects.iloc[:k].copy()
    _, found = assess(few, change(few, yi={0: 0.8}))
    assert bands(found).loc["overall", "resamples"] == 2
    _, lone = assess(few, change(few, exclude_reason={0: "no"}))
    # without effect 0 there is one effect, or there are two of one study
    assert bands(lone).loc["overall", "resamples"] == (2 if k == 2 else 1)
    told = "In 1 of them the mean could not be estimated." in lone.sentences
    assert told == (k == 3)


def test_a_lone_effect_is_not_compared(effects):
    _, found = assess(effects.iloc[:1], change(effects.iloc[:1], yi={0: 0.8}))
    assert found.sentences == ("The coders were not compared: nothing was pooled.",)


def test_an_analysis_without_effects_says_so(effects):
    _, found = assess(effects, effects, spec={"where": "rater == 'nobody'"})
    assert found.tables["sensitivity_coders"].empty
    assert found.sentences == ("The coders were not compared: No effect satisfies this analysis.",)
