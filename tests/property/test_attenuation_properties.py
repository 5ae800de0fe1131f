"""Laws of the correction for unreliability that hold whatever the table."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alliance_meta.effect_sizes import convert_effects, correct_attenuation
from alliance_meta.models.hunter_schmidt import hunter_schmidt

NUMBERS = ["yi", "vi", "r", "z", "vz", "vr"]

# sums in another order round otherwise; atanh and 1/(1 − r²) near 1 magnify that
RELATIVE = 1e-9
ABSOLUTE = 1e-12

reliabilities = st.one_of(st.none(), st.floats(0.05, 1.0))
correlations = st.floats(-0.99, 0.99)


def text(*names):
    return st.sampled_from([None, *names])


rows = st.fixed_dictionaries(
    {
        "study_id": st.sampled_from(["a", "b", "c", "d"]),
        "effect_value": correlations,
        "n": st.integers(5, 2000).map(float),
        "reliability_alliance": reliabilities,
        "reliability_outcome": reliabilities,
        "instrument": text("WAI", "HAq", "other"),
        "instrument_version": text("WAI-SR"),
        "component": text("total", "bond"),
        "rater": text("client", "therapist", "other"),
        "outcome_measure": text("BDI", "own"),
        "outcome_domain": text("symptom"),
        "outcome_rater": text("client", "observer"),
        "exclude_reason": st.sampled_from([None, None, None, "overlap"]),
    }
)


def make_table(cells):
    table = pd.DataFrame(cells)
    for name in table:
        kind = float if name in ("effect_value", "n") or name.startswith("reliab") else "str"
        table[name] = table[name].astype(kind)
    table["effect_id"] = [f"e{i}" for i in range(len(table))]
    table["sample_id"], table["effect_type"] = table["study_id"], "r"
    return convert_effects(table).table


tables = st.lists(rows, min_size=1, max_size=14).map(make_table)


@settings(max_examples=25, deadline=None)
@given(table=tables)
def test_perfect_reliabilities_give_back_the_observed_numbers(table):
    table[["reliability_alliance", "reliability_outcome"]] = 1.0
    pd.testing.assert_frame_equal(correct_attenuation(table).effects, table)


@settings(max_examples=25, deadline=None)
@given(table=tables)
def test_correction_never_shrinks_correlations_or_variances(table):
    after = correct_attenuation(table).effects
    left = after["r"].notna()
    before, after = table.loc[left], after.loc[left]
    assert (after["r"].abs() >= before["r"].abs()).all()
    # 1 − r² loses digits near 1, and there both variances of z are large
    assert (after["vr"] >= before["vr"]).all()
    assert (after["vz"] >= before["vz"] * (1 - RELATIVE)).all()
    assert (after["r"].abs() < 1).all()
    assert np.isfinite(after.loc[after["exclude_reason"].isna(), NUMBERS]).all(axis=None)


@settings(max_examples=25, deadline=None)
@given(table=tables)
def test_every_row_is_corrected_or_reported(table):
    result = correct_attenuation(table)
    entered = set(table.loc[table["exclude_reason"].isna(), "effect_id"])
    assert set(result.reliabilities["effect_id"]) == entered
    lost = set(result.left_out["effect_id"])
    kept = set(result.effects.loc[result.effects["exclude_reason"].isna(), "effect_id"])
    assert kept | lost == entered
    assert not kept & lost
    for side in ("alliance", "outcome"):
        counts = result.counts.loc[result.counts["side"] == side]
        assert counts["k_effects"].sum() == len(entered)


@settings(max_examples=25, deadline=None)
@given(table=tables, seed=st.integers(0, 10_000))
def test_order_of_rows_does_not_matter(table, seed):
    one = correct_attenuation(table)
    shuffled = table.iloc[np.random.default_rng(seed).permutation(len(table))]
    two = correct_attenuation(shuffled).reliabilities.set_index("effect_id")
    two = two.loc[list(one.reliabilities["effect_id"])].reset_index()
    pd.testing.assert_frame_equal(two, one.reliabilities, rtol=RELATIVE, atol=ABSOLUTE)


@settings(max_examples=25, deadline=None)
@given(table=tables)
def test_imputed_values_stay_within_the_coded_ones(table):
    result = correct_attenuation(table)
    serving = table.loc[table["exclude_reason"].isna()]
    for side in ("alliance", "outcome"):
        coded = serving[f"reliability_{side}"].dropna()
        used = result.reliabilities
        known = used.loc[used[f"rule_{side}"] != "none", f"reliability_{side}"]
        assert (len(known) == 0) == (len(coded) == 0)
        if len(known):
            # a mean of equal numbers may round past them
            assert known.min() >= coded.min() - ABSOLUTE
            assert known.max() <= coded.max() + ABSOLUTE


@settings(max_examples=25, deadline=None)
@given(table=tables)
def test_turning_every_correlation_round_turns_every_result(table):
    turned = table.assign(yi=-table["yi"], r=-table["r"], z=-table["z"])
    one, two = correct_attenuation(table).effects, correct_attenuation(turned).effects
    for name in NUMBERS:
        sign = -1 if name in ("yi", "r", "z") else 1
        np.testing.assert_array_equal(two[name], sign * one[name])


@settings(max_examples=25, deadline=None)
@given(
    data=st.lists(
        st.tuples(correlations, st.integers(4, 500), st.floats(0.3, 1), st.floats(0.3, 1)),
        min_size=1,
        max_size=12,
    ),
    seed=st.integers(0, 10_000),
)
def test_psychometric_meta_analysis_is_symmetric_and_without_order(data, seed):
    r, n, rxx, ryy = (np.array(column) for column in zip(*data, strict=True))
    one = hunter_schmidt(r, n, rxx=rxx, ryy=ryy)
    order = np.random.default_rng(seed).permutation(len(r))
    two = hunter_schmidt(-r[order], n[order], rxx=ryy[order], ryy=rxx[order])
    for part in ("bare_bones", "corrected"):
        a, b = getattr(one, part), getattr(two, part)
        close = {"rel": RELATIVE, "abs": ABSOLUTE, "nan_ok": True}
        assert b.mean == pytest.approx(-a.mean, **close)
        assert b.ci_low == pytest.approx(-a.ci_high, **close)
        assert b.var_residual == pytest.approx(a.var_residual, **close)
        assert not a.var_residual < 0
    perfect = hunter_schmidt(r, n, rxx=1.0, ryy=1.0)
    assert perfect.corrected.mean == one.bare_bones.mean
    # weights below 1 push every corrected correlation outwards
    assert np.abs(r / np.sqrt(rxx * ryy)).max() >= abs(one.corrected.mean) - ABSOLUTE
