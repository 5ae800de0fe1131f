"""How moderators hang together: measures, aliasing in words, variance inflation."""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alliance_meta.models.aliasing import describe_aliasing
from alliance_meta.models.design import build_design
from alliance_meta.models.inflation import (
    INFLATION_COLUMNS,
    describe_inflation,
    term_groups,
    variance_inflation,
)
from alliance_meta.models.moderator_map import (
    CELL_COLUMNS,
    PAIR_COLUMNS,
    map_moderators,
)
from alliance_meta.models.specification import SpecificationError

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "moderators.json").read_text(encoding="utf-8")
)


def table(cells, first="rater", second="instrument"):
    """One study per effect; ``cells`` is (level, level, effects) …"""
    rows = [(a, b) for a, b, effects in cells for _ in range(effects)]
    data = pd.DataFrame(rows, columns=[first, second]).astype("str")
    data["study_id"] = [f"s{i}" for i in range(len(data))]
    return data


def only_pair(data, **settings):
    moderators = [c for c in data.columns if c != "study_id"]
    found = map_moderators(data, moderators, **settings)
    assert len(found.pairs) == 1
    return found.pairs.iloc[0], found


def quoted(name):
    return name.partition("=")[2].upper()


def dummy_design(data, *columns):
    """Treatment coding with an intercept, however singular."""
    parts = [pd.Series(1.0, index=data.index, name="Intercept")]
    for column in columns:
        if pd.api.types.is_numeric_dtype(data[column]):
            parts.append(data[column])
        else:
            coded = pd.get_dummies(data[column], drop_first=True, dtype=float)
            parts.append(coded.add_prefix(f"{column}[T.").add_suffix("]"))
    X = pd.concat(parts, axis=1)
    return X.to_numpy(), X.columns.tolist()


def test_measures_agree_with_r():
    data = pd.DataFrame(REFERENCE["sets"]["dependent"]).rename(columns={"study": "study_id"})
    found = map_moderators(data, ["level", "group", "x", "w"])
    values = found.pairs.set_index(["moderator_a", "moderator_b"])["value"]
    expected = REFERENCE["associations"]
    # closed forms; uncentred years cost R some digits
    assert values["level", "group"] == pytest.approx(expected["cramers_v"], rel=1e-12)
    assert values["level", "x"] == pytest.approx(expected["eta2"], rel=1e-10)
    assert values["x", "w"] == pytest.approx(expected["r"], rel=1e-10)


def test_columns_types_and_order():
    data = table([("client", "WAI", 3), ("observer", "VTAS", 2), ("observer", "WAI", 2)])
    data["year"] = np.arange(7.0)
    found = map_moderators(data, ["rater", "year", "instrument"])
    assert found.pairs.columns.tolist() == PAIR_COLUMNS
    assert found.cells.columns.tolist() == CELL_COLUMNS
    assert found.pairs["measure"].tolist() == ["eta2", "cramers_v", "eta2"]
    assert found.pairs["cells"].isna().tolist() == [True, False, True]
    assert set(found.cells["moderator_a"]) | set(found.cells["moderator_b"]) == {
        "rater",
        "instrument",
    }


def test_cells_list_empty_ones_and_count_studies():
    data = table([("client", "WAI", 3), ("observer", "VTAS", 2), ("client", "HAq", 1)])
    data["study_id"] = ["a", "a", "b", "c", "d", "e"]
    pair, found = only_pair(data)
    counts = found.cells.set_index(["level_a", "level_b"])[["k_studies", "k_effects"]]
    assert counts.loc[("client", "WAI")].tolist() == [2, 3]
    assert counts.loc[("observer", "WAI")].tolist() == [0, 0]
    assert len(counts) == pair["cells"] == 6
    assert pair["empty_cells"] == (counts["k_effects"] == 0).sum() == 3
    assert (pair["k_studies"], pair["k_effects"]) == (5, 6)


def test_each_study_counts_once():
    one = table([("c", "W", 3), ("o", "V", 2), ("c", "V", 1), ("o", "W", 1)])
    many = pd.concat([one, one.iloc[[0] * 50]], ignore_index=True)
    (a, _), (b, _) = only_pair(one), only_pair(many)
    # sums of weights: rounding only
    assert b["value"] == pytest.approx(a["value"], rel=1e-12)
    assert b["k_effects"] == a["k_effects"] + 50


def test_effects_without_both_values_are_left_out_and_named():
    data = table([("client", "WAI", 4), ("observer", "VTAS", 4)])
    extra = data.iloc[:3].assign(instrument=None, study_id=["x", "y", "z"])
    pair, _ = only_pair(pd.concat([data, extra], ignore_index=True))
    assert pair["k_effects"] == 8
    assert pair["note"].endswith("(Left aside: 3 effects without both values.)")


def test_levels_that_coincide_are_aliased():
    cells = [("observer", "VTAS", 5), ("client", "WAI", 9), ("client", "HAq", 6)]
    pair, found = only_pair(table([*cells, ("therapist", "WAI", 7), ("therapist", "HAq", 2)]))
    assert pair["flag"] == "aliased"
    assert found.sentences == (pair["note"],)
    assert pair["note"] == (
        "Rater=observer and instrument=VTAS occur only together, in 5 effects of 5 studies: rater "
        "and instrument cannot be told apart here."
    )
    pair, _ = only_pair(table([*cells, ("therapist", "WAI", 7)]), level_label=quoted)
    assert pair["note"].startswith("Rater ‘OBSERVER’ and instrument ‘VTAS’ occur only together")


def test_groups_of_levels_that_never_mix_are_aliased():
    cells = [("c", "W", 4), ("c", "H", 3), ("t", "W", 3), ("o", "V", 2), ("o", "S", 2)]
    pair, _ = only_pair(table([*cells, ("p", "S", 2), ("p", "V", 2)]))
    assert pair["flag"] == "aliased"
    assert "Rater=o or rater=p and instrument=S or instrument=V occur only" in pair["note"]


def test_a_bijection_and_a_nesting_are_aliased_in_their_own_words():
    pair, _ = only_pair(table([("c", "W", 4), ("t", "H", 3), ("o", "V", 3)]))
    assert pair["value"] == 1
    assert pair["flag"] == "aliased"
    assert "each level of the one occurs with one level of the other only" in pair["note"]
    cells = [("WAI", "S", 3), ("WAI", "SR", 3), ("HAq", "II", 3), ("VPPS", "VTAS", 2)]
    pair, _ = only_pair(table(cells, "instrument", "version"))
    assert pair["flag"] == "aliased"
    assert pair["note"].startswith("Instrument follows from version: each level of version")


def test_levels_that_nearly_coincide():
    cells = [("observer", "VTAS", 11), ("observer", "WAI", 1), ("client", "WAI", 30)]
    pair, _ = only_pair(table([*cells, ("client", "HAq", 20)]))
    assert pair["flag"] == "nearly_aliased"
    assert pair["note"] == (
        "Rater and instrument can hardly be told apart: 11 of 12 effects of rater=observer are of "
        "instrument=VTAS, which has 11 in all."
    )


def test_groups_of_levels_that_hardly_mix():
    block = [("a", "w", 20), ("b", "w", 20), ("c", "v", 20), ("d", "v", 20)]
    pair, _ = only_pair(table([*block, ("a", "v", 1), ("d", "w", 1)]))
    assert pair["flag"] == "nearly_aliased"
    assert "can hardly be told apart" in pair["note"]


def test_a_level_within_another_is_nested_and_not_aliased():
    cells = [("observer", "VTAS", 12), ("client", "VTAS", 6), ("client", "WAI", 30)]
    pair, _ = only_pair(table(cells))
    assert pair["flag"] == "nested"
    assert pair["note"] == (
        "All 12 effects of rater=observer (12 studies) are of instrument=VTAS: given instrument, "
        "they compare only with the 6 effects (6 studies) of other levels there. All 30 effects of "
        "instrument=WAI (30 studies) are of rater=client: given rater, they compare only with the "
        "6 effects (6 studies) of other levels there."
    )


def test_a_level_within_what_nearly_all_have_is_no_news():
    cells = [("observer", "journal", 12), ("client", "journal", 60), ("client", "thesis", 4)]
    pair, _ = only_pair(table([*cells, ("parent", "thesis", 2), ("parent", "journal", 9)]))
    assert pair["flag"] == ""
    assert pair["note"] == ""


def test_evenly_crossed_levels_are_not_flagged():
    pair, found = only_pair(table([(a, b, 3) for a in "xyz" for b in "pq"]))
    assert pair["value"] == pytest.approx(0, abs=1e-7)  # root of a rounding error
    assert (pair["flag"], found.sentences) == ("", ())


def test_one_study_with_many_effects_makes_no_near_alias():
    cells = [("observer", "VTAS", 30), ("observer", "WAI", 2), ("client", "WAI", 20)]
    data = table([*cells, ("client", "HAq", 9)])
    data.loc[data["instrument"] == "VTAS", "study_id"] = ["v1"] * 15 + ["v2"] * 15
    pair, _ = only_pair(data)
    # 30 of 32 effects, but only 2 of 4 studies
    assert pair["flag"] == ""


def test_two_levels_that_nearly_all_effects_have_are_not_aliased():
    data = table([("c", "W", 361), ("c", "V", 19), ("o", "W", 19), ("o", "V", 1)])
    pair, _ = only_pair(data)
    assert pair["value"] == pytest.approx(0, abs=1e-7)  # root of a rounding error
    assert pair["flag"] == ""


def test_levels_of_one_study_are_no_reason_to_flag():
    cells = [("c", "W", 6), ("c", "H", 6), ("t", "W", 6), ("t", "H", 6), ("o", "V", 1)]
    pair, _ = only_pair(table(cells))
    assert pair["value"] > 0.5
    assert pair["flag"] == ""


@pytest.mark.parametrize(
    ("noise", "flag", "words"),
    [
        (0.0, "aliased", "Year follows from rater: it has a single value within each level"),
        (2.0, "nearly_aliased", "year hardly varies within levels (η² = .9"),
        (30.0, "", ""),
    ],
)
def test_numbers_that_follow_from_levels(noise, flag, words):
    rng = np.random.default_rng(7)
    data = pd.DataFrame({"rater": list("abc") * 8, "study_id": [f"s{i}" for i in range(24)]})
    data["year"] = data["rater"].map({"a": 1990, "b": 2000, "c": 2010}) + noise * rng.normal(
        size=24
    )
    pair, _ = only_pair(data[["rater", "year", "study_id"]])
    assert (pair["measure"], pair["flag"]) == ("eta2", flag)
    assert words in pair["note"]


@pytest.mark.parametrize(("noise", "flag"), [(0.0, "aliased"), (1.0, "nearly_aliased"), (20.0, "")])
def test_numbers_on_a_line(noise, flag):
    rng = np.random.default_rng(8)
    data = pd.DataFrame({"year": np.arange(1980.0, 2010), "study_id": range(30)})
    data["age"] = 5 - 0.5 * data["year"] + noise * rng.normal(size=30)
    pair, _ = only_pair(data[["year", "age", "study_id"]])
    assert (pair["measure"], pair["flag"]) == ("r", flag)
    assert flag == "" or pair["value"] < 0


def test_two_studies_always_lie_on_a_line():
    data = pd.DataFrame({"year": [1990.0, 2000], "age": [30.0, 40], "study_id": ["a", "b"]})
    pair, _ = only_pair(data)
    assert (pair["value"], pair["flag"]) == (pytest.approx(1), "")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"a": ["x", "x"], "b": ["p", "q"]}, "a single level only"),
        ({"a": [None, None], "b": ["p", "q"]}, "No effect has a value for both a and b."),
        ({"a": ["x", None], "b": [None, "q"]}, "No effect has a value for both a and b."),
        ({"a": ["x", "y"], "b": [1.0, 1.0]}, "a single value only"),
        ({"a": [np.nan, np.nan], "b": [1.0, 2.0]}, "No effect has a value for both a and b."),
        ({"a": [np.inf, 1.0], "b": [1.0, 2.0]}, "a single value only"),
        ({"a": [], "b": []}, "No effect has a value for both a and b."),
    ],
)
def test_moderators_without_variation_get_a_reason(columns, words):
    data = pd.DataFrame(columns)
    for name in data:
        if not pd.api.types.is_float_dtype(data[name]):
            data[name] = data[name].astype("str")
    data["study_id"] = [f"s{i}" for i in range(len(data))]
    pair, found = only_pair(data)
    assert np.isnan(pair["value"])
    assert words in pair["note"]
    assert found.sentences == ()


@pytest.mark.parametrize("moderators", [[], ["rater"], ["rater", "rater"]])
def test_fewer_than_two_moderators_have_no_pair(moderators):
    found = map_moderators(table([("c", "W", 2)]), moderators)
    assert found.pairs.empty
    assert found.cells.empty
    assert found.pairs.columns.tolist() == PAIR_COLUMNS


def test_unknown_moderators_are_refused():
    with pytest.raises(SpecificationError, match="no column 'ratr'"):
        map_moderators(table([("c", "W", 2)]), ["ratr", "instrument"])


def test_numbers_may_be_nullable_or_true_and_false():
    data = pd.DataFrame({"a": pd.array([1, 2, None, 4], dtype="Int64"), "b": [True, True, 0, 0]})
    data["b"] = data["b"].astype(bool)
    data["study_id"] = list("wxyz")
    pair, _ = only_pair(data)
    assert pair["measure"] == "r"
    assert pair["k_effects"] == 3


def test_a_large_review_takes_seconds():
    rng = np.random.default_rng(1)
    k = 60_000
    data = pd.DataFrame({"study_id": rng.integers(0, 12_000, k)})
    for i in range(14):
        codes = pd.Series(rng.integers(0, 3 + 4 * i, k)).astype("str")
        data[f"c{i}"] = codes.where(rng.random(k) > 0.1)
    for i in range(5):
        data[f"x{i}"] = rng.normal(size=k)
    # as many levels as studies: the cross-table is never spelled out
    data["key"] = data["study_id"].astype("str")
    start = time.process_time()
    found = map_moderators(data, data.columns[1:].tolist())
    # about 2 s on one slow core; the bound catches quadratic cost, not a busy machine
    assert time.process_time() - start < 20
    assert len(found.pairs) == 190


@pytest.mark.parametrize("case", REFERENCE["inflations"], ids=lambda c: c["name"])
def test_variance_inflation_agrees_with_metafor(case):
    covariance = np.array(case["covariance"])
    single = variance_inflation(covariance, case["terms"])
    # determinants of a correlation matrix lose the digits of its condition
    tolerance = {"rtol": 1e-15 * np.linalg.cond(covariance) + 1e-10}
    np.testing.assert_allclose(single["vif"], case["single"], **tolerance)
    assert single["term"].tolist() == [t for t in case["terms"] if t != "Intercept"]
    groups = {f"g{i}": [int(j) for j in members] for i, members in enumerate(case["groups"])}
    grouped = variance_inflation(covariance, case["terms"], groups)
    # uncentred interactions have a determinant near the rounding of its parts
    loose = {"rtol": 1e-3} if case["name"] == "common effect" else {"rtol": 1e-9}
    np.testing.assert_allclose(grouped["vif"], case["grouped"], **loose)
    sizes = np.array([len(members) for members in case["groups"]])
    assert grouped["df"].tolist() == sizes.tolist()
    np.testing.assert_allclose(grouped["vif_scaled"], grouped["vif"] ** (1 / (2 * sizes)))


def test_terms_are_grouped_as_the_formula_has_them():
    data = pd.DataFrame(REFERENCE["sets"]["dependent"])
    design = build_design(data, "level + x + level:group", {})
    groups = term_groups(design)
    assert list(groups) == ["level", "x", "level:group"]
    assert sorted(i for members in groups.values() for i in members) == list(
        range(1, len(design.terms))
    )
    assert all(design.terms[i].startswith("level[") for i in groups["level"])
    assert term_groups(build_design(data, "", {})) == {}


@pytest.mark.parametrize(
    "covariance", [np.full((2, 2), np.nan), np.zeros((2, 2)), np.diag([1.0, -1.0])]
)
def test_inflation_of_an_undefined_covariance_is_empty(covariance):
    found = variance_inflation(covariance, ["Intercept", "x"])
    assert found.columns.tolist() == INFLATION_COLUMNS
    assert found["vif"].isna().all()
    assert describe_inflation(found) == []


def test_inflation_of_a_singular_covariance_is_infinite():
    found = variance_inflation(np.ones((2, 2)), ["x", "w"])
    assert (found["vif"] == np.inf).all()
    assert "∞" in describe_inflation(found)[0]


def test_inflation_without_slopes_is_an_empty_table():
    assert variance_inflation(np.ones((1, 1)), ["Intercept"]).empty


def test_large_inflation_is_said_on_the_scale_of_one_coefficient():
    found = pd.DataFrame(
        [("year", 1, 9.9, 3.1), ("mean_age", 1, 12.34, 3.5), ("rater", 2, 121.0, 3.3166)],
        columns=INFLATION_COLUMNS,
    )
    sentences = describe_inflation(found)
    assert len(sentences) == 2
    assert "nearly all of mean age (VIF = 12.3)" in sentences[0]
    assert "nearly all of rater (generalised VIF on 2 df = 121.0)" in sentences[1]
    # the zero of an uncentred year would speak, not the moderators
    crossed = pd.concat(
        [found, pd.DataFrame([("rater:mean_age", 2, 1e9, 178.0)], columns=found.columns)]
    )
    assert describe_inflation(crossed) == []


def test_levels_that_make_a_design_singular_are_named():
    data = table([("client", "WAI", 4), ("therapist", "WAI", 3), ("observer", "VTAS", 5)])
    X, terms = dummy_design(data, "rater", "instrument")
    words = describe_aliasing(data, ["rater", "instrument"], X, terms)
    assert "rater=observer and instrument=VTAS occur only together, in 5 effects of 5" in (
        words[0].lower() + words[1:]
    )


def test_levels_of_a_single_study_count_in_a_model():
    data = table([("client", "WAI", 4), ("client", "HAq", 4), ("observer", "VTAS", 1)])
    X, terms = dummy_design(data, "rater", "instrument")
    words = describe_aliasing(data, ["rater", "instrument"], X, terms)
    assert "in 1 effect of 1 study" in words


def test_a_sound_design_needs_no_words():
    data = table([(a, b, 3) for a in "xyz" for b in "pq"])
    data["year"] = np.random.default_rng(3).integers(1990, 2020, len(data)).astype(float)
    X, terms = dummy_design(data, "rater", "instrument", "year")
    assert describe_aliasing(data, ["rater", "instrument", "year"], X, terms) == ""


def test_nearly_singular_designs_are_explained():
    cells = [("a", "w", 4000), ("b", "v", 4000), ("a", "v", 1)]
    data = table(cells)
    X, terms = dummy_design(data, "rater", "instrument")
    words = describe_aliasing(data, ["rater", "instrument"], X, terms)
    assert words.startswith("Rater and instrument can hardly be told apart")


def test_constant_and_equal_numbers_are_named():
    data = table([("a", "w", 3), ("b", "v", 3), ("a", "v", 2), ("b", "w", 2)])
    data["year"] = 2005.0
    X, terms = dummy_design(data, "rater", "year")
    assert describe_aliasing(data, ["rater", "year"], X, terms).startswith("Year is the same in")
    data["year"], data["decade"] = np.arange(10.0), np.arange(10.0) * 10
    X, terms = dummy_design(data, "year", "decade")
    words = describe_aliasing(data, ["year", "decade"], X, terms)
    assert words == "Year and decade lie on a line: they cannot be told apart."


def test_empty_cells_of_an_interaction_are_named():
    data = table([("a", "w", 3), ("b", "v", 3), ("a", "v", 2)])
    X, terms = dummy_design(data, "rater", "instrument")
    X = np.column_stack([X, X[:, 1] * X[:, 2]])
    terms = [*terms, "rater[T.b]:instrument[T.w]"]
    words = describe_aliasing(data, ["rater", "instrument"], X, terms)
    assert words == (
        "Rater=b and instrument=w never occur together, so that the interaction cannot be "
        "estimated."
    )


def test_a_level_without_two_values_has_no_slope():
    data = table([("a", "w", 4), ("b", "w", 3)])
    data["year"] = [1.0, 2, 3, 4, 7, 7, 7]
    X, terms = dummy_design(data, "rater", "year")
    X = np.column_stack([X, X[:, 1] * X[:, 2]])
    words = describe_aliasing(data, ["rater", "year"], X, [*terms, "rater[T.b]:year"])
    assert words == "Rater=b has a single value of year, so that it has no slope."


def test_three_moderators_that_only_together_are_singular():
    data = pd.DataFrame({"a": list("xxyy") * 3, "b": list("pqpq") * 3, "study_id": range(12)})
    data["year"] = (data["a"] == "y") + 2.0 * (data["b"] == "q")
    X, terms = dummy_design(data, "a", "b", "year")
    words = describe_aliasing(data, ["a", "b", "year"], X, terms)
    assert words == "Year follows from a[T.y] and b[T.q]."
