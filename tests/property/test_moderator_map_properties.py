"""Properties of associations, adjusted p-values and pooled levels, whatever the data."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alliance_meta.models.comparisons import adjust_holm
from alliance_meta.models.crosstabs import correlation_ratio
from alliance_meta.models.levels import arrange_levels, pool_rare_levels, set_apart_levels
from alliance_meta.models.moderator_map import map_moderators

LEVELS = "abcdef"
# d and e are narrower than b, which is narrower than a
PARENTS = {"one": {"d": "b", "e": "b", "b": "a"}, "two": {"f": "g", "g": "a"}}
PROFILE = settings(max_examples=60, deadline=None)


@st.composite
def reviews(draw, missing=True):
    k = draw(st.integers(1, 40))
    level = st.sampled_from([*LEVELS, None] if missing else list(LEVELS))
    return pd.DataFrame(
        {
            "study_id": draw(st.lists(st.sampled_from("stuvwxyz"), min_size=k, max_size=k)),
            "one": pd.Series(draw(st.lists(level, min_size=k, max_size=k)), dtype="str"),
            "two": pd.Series(draw(st.lists(level, min_size=k, max_size=k)), dtype="str"),
            "x": draw(st.lists(st.integers(-3, 3).map(float), min_size=k, max_size=k)),
        }
    )


@PROFILE
@given(data=reviews(), seed=st.integers(0, 2**16))
def test_measures_are_bounded_and_know_neither_names_nor_order(data, seed):
    found = map_moderators(data, ["one", "two", "x"])
    shuffled = data.sample(frac=1, random_state=seed)
    renamed = shuffled.assign(one=shuffled["one"].map(lambda v: f"Z{v}", na_action="ignore"))
    again = map_moderators(renamed, ["one", "two", "x"])
    values = found.pairs["value"].to_numpy()
    known = values[~np.isnan(values)]
    assert ((known >= 0) & (known <= 1)).all()
    # sums in another order: rounding, under a root where V is zero
    np.testing.assert_allclose(again.pairs["value"], values, atol=1e-7)
    assert again.pairs["flag"].tolist() == found.pairs["flag"].tolist()
    shared = ["k_studies", "k_effects", "cells", "empty_cells"]
    pd.testing.assert_frame_equal(again.pairs[shared], found.pairs[shared])
    pd.testing.assert_frame_equal(map_moderators(shuffled, ["one", "two", "x"]).cells, found.cells)


@PROFILE
@given(data=reviews())
def test_cells_add_up(data):
    found = map_moderators(data, ["one", "two"])
    pair = found.pairs.iloc[0]
    assert found.cells["k_effects"].sum() == pair["k_effects"]
    assert len(found.cells) == pair["cells"]
    assert (found.cells["k_effects"] == 0).sum() == pair["empty_cells"]
    assert (found.cells["k_studies"] <= found.cells["k_effects"]).all()


@PROFILE
@given(data=reviews(missing=False))
def test_a_bijection_has_association_one(data):
    data["two"] = data["one"].map(lambda level: level.upper())
    pair = map_moderators(data, ["one", "two"]).pairs.iloc[0]
    if data["one"].nunique() > 1:
        # sums of weights: rounding only
        assert pair["value"] == pytest.approx(1, abs=1e-9)
    else:
        assert np.isnan(pair["value"])


@PROFILE
@given(data=reviews(missing=False))
def test_a_number_fixed_by_levels_has_eta2_one(data):
    codes = pd.factorize(data["one"])[0].astype(np.intp)
    value = correlation_ratio(codes, codes.astype(float) ** 2, np.ones(len(codes)))
    assert np.isnan(value) if codes.max() == 0 else value == pytest.approx(1, abs=1e-12)


@PROFILE
@given(data=reviews())
def test_flags_of_crossed_moderators_mean_a_singular_or_a_sound_design(data):
    """The pair is "aliased" just where the additive design has a deficient rank."""
    kept = data.dropna(subset=["one", "two"])
    mask, _ = set_apart_levels(kept, ["one", "two"], minimum_studies=2)
    kept = kept.loc[~mask]
    pair = map_moderators(data, ["one", "two"]).pairs.iloc[0]
    n_one, n_two = kept["one"].nunique(), kept["two"].nunique()
    if min(n_one, n_two) < 2:
        assert pair["flag"] == ""
        return
    dummies = [pd.get_dummies(kept[name], dtype=float).to_numpy() for name in ("one", "two")]
    rank = np.linalg.matrix_rank(np.hstack(dummies))
    assert (pair["flag"] == "aliased") == (rank < n_one + n_two - 1)


@PROFILE
@given(p_values=st.lists(st.one_of(st.floats(0, 1), st.just(np.nan)), max_size=12))
def test_holm_is_monotone_and_never_below_the_raw_value(p_values):
    raw = np.array(p_values, dtype=float)
    adjusted = adjust_holm(raw)
    known = ~np.isnan(raw)
    assert (np.isnan(adjusted) == ~known).all()
    assert (adjusted[known] >= raw[known]).all()
    assert (adjusted[known] <= 1).all()
    order = np.argsort(raw[known], kind="stable")
    assert (np.diff(adjusted[known][order]) >= 0).all()
    np.testing.assert_array_equal(adjust_holm(raw[known]), adjusted[known])


@PROFILE
@given(data=reviews(), minimum=st.integers(1, 4), seed=st.integers(0, 2**16))
def test_pooled_levels_have_enough_studies_or_nowhere_to_go(data, minimum, seed):
    variables = ["one", "two", "x"]
    pooled = pool_rare_levels(data, variables, minimum_studies=minimum, parents=PARENTS)
    assert len(pooled.data) == len(data)
    pd.testing.assert_series_equal(pooled.data["x"], data["x"])
    for name, parents in PARENTS.items():
        assert (pooled.data[name].isna() == data[name].isna()).all()
        counts = pooled.data.groupby(name)["study_id"].nunique()
        assert all(count >= minimum or level not in parents for level, count in counts.items())
    moved = {(m.variable, m.level): m.into for m in pooled.merged}
    for name in PARENTS:
        expected = [moved.get((name, level), level) for level in data[name].dropna()]
        assert pooled.data[name].dropna().tolist() == expected
    shuffled = data.sample(frac=1, random_state=seed)
    again = pool_rare_levels(shuffled, variables, minimum_studies=minimum, parents=PARENTS)
    assert again.merged == pooled.merged
    pd.testing.assert_frame_equal(again.data.sort_index(), pooled.data)


@PROFILE
@given(data=reviews(), minimum=st.integers(1, 4))
def test_arranged_levels_have_enough_studies_or_are_set_apart_for_want_of_a_parent(data, minimum):
    arranged = arrange_levels(data, ["one", "two"], minimum_studies=minimum, parents=PARENTS)
    kept = arranged.data.loc[~arranged.apart_mask]
    for name in PARENTS:
        assert (kept.groupby(name)["study_id"].nunique() >= minimum).all()
    assert all(level not in PARENTS[name] for name, level in arranged.apart)
    of_levels = [(arranged.data[name] == level).to_numpy() for name, level in arranged.apart]
    expected = np.any(of_levels, axis=0) if of_levels else np.zeros(len(data), dtype=bool)
    np.testing.assert_array_equal(arranged.apart_mask, expected)
