"""Rare levels: counted under wider ones or set apart; empty cells as a level."""

import numpy as np
import pandas as pd
import pytest

from alliance_meta.codebook import load_codebook
from alliance_meta.models.levels import (
    arrange_levels,
    describe_merged,
    describe_named,
    level_parents,
    name_missing,
    pool_rare_levels,
    set_apart_levels,
)
from alliance_meta.models.specification import SpecificationError

PARENTS = {"treatment": {"act": "third_wave", "dbt": "third_wave", "third_wave": "cbt"}}


def rows(**columns):
    """One row per effect and, unless told otherwise, one study per row."""
    k = max(len(values) for values in columns.values())
    columns.setdefault("study_id", [f"s{i}" for i in range(k)])
    return pd.DataFrame(columns)


def pool(data, variables=("treatment",), minimum=2, parents=PARENTS):
    return pool_rare_levels(data, variables, minimum_studies=minimum, parents=parents)


def test_rare_level_joins_its_parent_and_its_siblings_stay():
    data = rows(treatment=["act", "dbt", "dbt", "third_wave", "third_wave", "ipt", "ipt"])
    pooled = pool(data)
    assert pooled.data["treatment"].tolist() == [
        *("third_wave", "dbt", "dbt", "third_wave", "third_wave", "ipt", "ipt")
    ]
    assert pooled.merged == (("treatment", "act", "third_wave", 1),)
    assert data["treatment"].tolist()[0] == "act"


def test_parent_need_not_occur():
    pooled = pool(rows(treatment=["act", "dbt", "ipt", "ipt"]))
    assert pooled.data["treatment"].tolist() == ["third_wave", "third_wave", "ipt", "ipt"]
    assert [m.n_studies for m in pooled.merged] == [1, 1]


def test_rare_parents_move_on_to_theirs():
    pooled = pool(rows(treatment=["act", "cbt", "cbt", "ipt"]))
    assert pooled.data["treatment"].tolist() == ["cbt", "cbt", "cbt", "ipt"]
    assert pooled.merged == (("treatment", "act", "cbt", 1),)


def test_narrowest_levels_move_first_so_that_they_may_fill_up_their_parent():
    pooled = pool(rows(treatment=["third_wave", "act", "cbt", "cbt"]))
    assert pooled.data["treatment"].tolist() == ["third_wave", "third_wave", "cbt", "cbt"]


def test_studies_count_and_not_effects():
    data = rows(treatment=["act"] * 5 + ["cbt"] * 2, study_id=list("aaaaabc"))
    assert pool(data).merged == (("treatment", "act", "cbt", 1),)


def test_levels_without_a_parent_numbers_and_empty_cells_stay():
    data = rows(treatment=["ipt", None, "cbt", "cbt"], year=[2001, 2002, 2003, np.nan])
    pooled = pool(data, ["treatment", "year"], parents={**PARENTS, "year": {"2001": "2000"}})
    pd.testing.assert_frame_equal(pooled.data, data)
    assert pooled.merged == ()


def test_levels_of_a_categorical_column_may_be_new():
    data = rows(treatment=pd.Categorical(["act", "ipt", "ipt"]))
    assert pool(data).data["treatment"].tolist() == ["cbt", "ipt", "ipt"]


@pytest.mark.parametrize(
    "parents", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "b"}]
)
def test_circles_are_refused(parents):
    with pytest.raises(SpecificationError, match="circle"):
        pool(rows(treatment=["a", "x", "x"]), parents={"treatment": parents})


@pytest.mark.parametrize("data", [rows(treatment=[]), rows(treatment=[None, None])])
def test_nothing_to_pool(data):
    data["treatment"] = data["treatment"].astype("str")
    assert pool(data).merged == ()
    mask, apart = set_apart_levels(data, ["treatment"], minimum_studies=2)
    assert not mask.any()
    assert apart == []


def test_rare_levels_are_set_apart_until_every_level_has_enough():
    data = rows(rater=["c", "c", "c", "o"], timing=["early", "early", "late", "late"])
    mask, apart = set_apart_levels(data, ["rater", "timing"], minimum_studies=2)
    assert mask.tolist() == [False, False, True, True]
    assert apart == [("rater", "o"), ("timing", "late")]


@pytest.mark.parametrize(("minimum", "expected"), [(1, []), (2, ["c"]), (3, ["b", "c"])])
def test_minimum_is_configurable(minimum, expected):
    data = rows(rater=list("aaabbc"))
    _, apart = set_apart_levels(data, ["rater"], minimum_studies=minimum)
    assert [level for _, level in apart] == expected


def test_level_made_rare_by_another_moderator_is_pooled_and_not_set_apart():
    data = rows(
        rater=["client", "client", "client", "client", "observer"],
        treatment=["cbt", "cbt", "cbt", "act", "act"],
    )
    arranged = arrange_levels(
        data, ["rater", "treatment"], minimum_studies=2, parents={"treatment": {"act": "cbt"}}
    )
    assert arranged.apart == (("rater", "observer"),)
    assert arranged.apart_mask.tolist() == [False] * 4 + [True]
    assert arranged.merged == (("treatment", "act", "cbt", 2),)
    assert set(arranged.data["treatment"]) == {"cbt"}


def test_wider_level_set_apart_comes_back_when_others_join_it():
    data = rows(
        rater=["client", "client", "client", "client", "observer"],
        treatment=["ipt", "ipt", "other", "act", "act"],
    )
    arranged = arrange_levels(
        data, ["rater", "treatment"], minimum_studies=2, parents={"treatment": {"act": "other"}}
    )
    assert arranged.apart == (("rater", "observer"),)
    kept = arranged.data.loc[~arranged.apart_mask, "treatment"]
    assert kept.tolist() == ["ipt", "ipt", "other", "other"]


def test_parents_come_from_the_codebook():
    parents = level_parents(load_codebook(), ["instrument", "year", "my_own_column"])
    assert set(parents) == {"instrument"}
    assert parents["instrument"]["TASC"] == "youth_measure"
    assert "other" not in parents["instrument"]


def test_merged_levels_in_words():
    data = rows(treatment=["act", "dbt", "ipt", "cbt"], study_id=list("abcd"))
    words = {"treatment=act": "ACT", "treatment=dbt": "DBT", "treatment=third_wave": "third wave"}
    merged = pool(data).merged
    assert describe_merged(merged, lambda name: words[name]) == [
        "treatment: ‘ACT’ (1 study) and ‘DBT’ (1 study) were counted under ‘third wave’."
    ]
    assert describe_merged(pool(rows(treatment=["act"])).merged) == [
        "treatment: ‘act’ (1 study) was counted under ‘cbt’."
    ]


def test_empty_cells_become_a_level_of_categorical_moderators_only():
    data = rows(rater=["client", None, None], year=[2001, np.nan, 2003], study_id=list("abb"))
    filled = name_missing(data, ["rater", "year"])
    assert filled.data["rater"].tolist() == ["client", "not reported", "not reported"]
    assert filled.data["year"].isna().sum() == 1
    assert filled.named == (("rater", "not reported", 2, 1),)
    assert describe_named(filled.named) == [
        "rater: 2 effects (1 study) without a code form the level ‘not reported’."
    ]
    assert data["rater"].isna().sum() == 2


def test_a_coders_own_word_is_not_mixed_with_empty_cells():
    data = rows(rater=["Not reported", None, "client"])
    filled = name_missing(data, ["rater"])
    assert filled.data["rater"].tolist() == ["Not reported", "not reported (empty cell)", "client"]
    data = rows(rater=["not reported", "not reported (empty cell)", None])
    assert name_missing(data, ["rater"]).data["rater"].nunique() == 3


def test_full_moderators_stay():
    data = rows(rater=["client", "observer"])
    assert name_missing(data, ["rater"]).named == ()
