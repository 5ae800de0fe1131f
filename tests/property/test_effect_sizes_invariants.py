"""Laws of conversion that hold for every value."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from alliance_meta.effect_sizes import aggregate_effects, check_effects, convert_effects
from alliance_meta.effect_sizes import conversions as core

correlations = st.floats(-0.99, 0.99)
sizes = st.integers(8, 100_000).map(float)
covariate_counts = st.integers(0, 4).map(float)
signs = st.sampled_from(["positive", "negative"])

# a few roundings of doubles; atanh near ±.99 magnifies them about fiftyfold
RELATIVE = 1e-11
ABSOLUTE = 1e-13


def convert(cells, metric="fisher_z"):
    names = {"effect_id": "e1", "study_id": "s1", "sample_id": "s1"}
    result = convert_effects(pd.DataFrame([names | cells]), metric=metric)
    assert not [p for p in result.problems if p.severity == "error"], result.problems
    return result.table.iloc[0]


# symmetric about zero: Peterson and Brown's imputation for beta is not, by design
SIGNED = {
    "r": st.fixed_dictionaries({"effect_value": correlations, "n": sizes}),
    "fisher_z": st.fixed_dictionaries({"effect_value": st.floats(-2.6, 2.6), "n": sizes}),
    "spearman_rho": st.fixed_dictionaries({"effect_value": correlations, "n": sizes}),
    "partial_r": st.fixed_dictionaries(
        {"effect_value": correlations, "n": sizes, "n_covariates": covariate_counts}
    ),
    "semipartial_r": st.fixed_dictionaries(
        {"effect_value": correlations, "n": sizes, "n_covariates": covariate_counts}
    ),
    "d": st.fixed_dictionaries({"effect_value": st.floats(-4, 4), "n1": sizes, "n2": sizes}),
    "g": st.fixed_dictionaries({"effect_value": st.floats(-4, 4), "n1": sizes, "n2": sizes}),
    "log_odds_ratio": st.fixed_dictionaries(
        {"effect_value": st.floats(-5, 5), "se": st.floats(0.01, 2)}
    ),
    "t": st.fixed_dictionaries(
        {"effect_value": st.floats(-30, 30), "n": sizes, "n_covariates": covariate_counts}
    ),
}

UNSIGNED = {
    "F": st.fixed_dictionaries({"effect_value": st.floats(0, 500), "n": sizes}),
    "chi2": st.fixed_dictionaries({"effect_value": st.floats(0, 7), "n": sizes}),
    "p": st.fixed_dictionaries(
        {"effect_value": st.floats(1e-9, 1), "n": sizes, "p_sides": st.just("two")}
    ),
    "eta2": st.fixed_dictionaries(
        {"effect_value": st.floats(0, 0.98), "n": sizes, "n_covariates": covariate_counts}
    ),
    "r2": st.fixed_dictionaries(
        {"effect_value": st.floats(0, 0.98), "n": sizes, "n_covariates": covariate_counts}
    ),
}


def mirrored(a, b):
    assert (a["r"], a["z"], a["yi"]) == (-b["r"], -b["z"], -b["yi"])
    assert (a["vr"], a["vz"], a["vi"]) == (b["vr"], b["vz"], b["vi"])


def coherent(row):
    assert -1 < row["r"] < 1
    assert row["vr"] > 0
    assert row["vz"] > 0
    assert math.tanh(row["z"]) == pytest.approx(row["r"], rel=RELATIVE, abs=ABSOLUTE)


@pytest.mark.parametrize("effect_type", SIGNED)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_turned_value_turns_r_and_keeps_variances(effect_type, data):
    cells = {"effect_type": effect_type, **data.draw(SIGNED[effect_type])}
    row = convert(cells)
    coherent(row)
    # a value next to the smallest double may become zero
    if abs(cells["effect_value"]) > 1e-300:
        assert np.sign(row["r"]) == np.sign(cells["effect_value"])
    mirrored(row, convert(cells | {"effect_value": -cells["effect_value"]}))
    mirrored(row, convert(cells | {"outcome_direction": "higher_is_worse"}))


@pytest.mark.parametrize("effect_type", UNSIGNED)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_sign_and_direction_of_unsigned_statistics(effect_type, data):
    cells = {"effect_type": effect_type, **data.draw(UNSIGNED[effect_type])}
    up = convert(cells | {"effect_sign": "positive"})
    down = convert(cells | {"effect_sign": "negative"})
    coherent(up)
    assert up["r"] >= 0
    mirrored(up, down)
    turned = {"effect_sign": "negative", "outcome_direction": "higher_is_worse"}
    assert convert(cells | turned)["r"] == up["r"]


@given(value=st.floats(0.05, 20), se=st.floats(0.05, 2), n1=st.floats(2, 500), n2=st.floats(2, 500))
@settings(max_examples=40, deadline=None)
def test_inverse_odds_ratio_is_the_turned_effect(value, se, n1, n2):
    cells = {"effect_type": "odds_ratio", "se": se, "n1": n1, "n2": n2}
    a, b = (convert(cells | {"effect_value": x}) for x in (value, 1 / value))
    assert a["r"] == pytest.approx(-b["r"], rel=1e-9, abs=ABSOLUTE)
    assert a["vz"] == pytest.approx(b["vz"], rel=1e-9)


@pytest.mark.parametrize("effect_type", [*SIGNED, "beta"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_r_grows_with_the_value(effect_type, data):
    if effect_type == "beta":
        strategy = st.fixed_dictionaries({"effect_value": st.floats(-0.9, 0.9), "n": sizes})
    else:
        strategy = SIGNED[effect_type]
    cells = {"effect_type": effect_type, **data.draw(strategy)}
    other = data.draw(strategy)["effect_value"]
    low, high = sorted([cells["effect_value"], other])
    assume(high - low > 1e-6)
    small, large = (convert(cells | {"effect_value": x}) for x in (low, high))
    assert small["r"] < large["r"]
    assert small["yi"] < large["yi"]


@pytest.mark.parametrize(
    "effect_type",
    ["r", "fisher_z", "spearman_rho", "partial_r", "semipartial_r", "beta", "t", "d", "g"],
)
@given(value=st.floats(-0.9, 0.9), n=st.integers(8, 5000), more=st.integers(1, 500))
@settings(max_examples=30, deadline=None)
def test_variances_fall_with_n(effect_type, value, n, more):
    cells = {"effect_type": effect_type, "effect_value": value, "n_covariates": 1.0}
    few = convert(cells | {"n": float(n)})
    many = convert(cells | {"n": float(n + more)})
    assert many["vz"] < few["vz"]
    # a t of a fixed size means a smaller r in a larger study, so that var r may rise
    if effect_type != "t":
        assert many["vr"] < few["vr"]


@given(p=st.floats(1e-12, 0.99), smaller=st.floats(0.01, 0.99), n=sizes)
@settings(max_examples=40, deadline=None)
def test_smaller_p_means_larger_r(p, smaller, n):
    cells = {"effect_type": "p", "n": n, "effect_sign": "positive", "p_sides": "two"}
    assert (
        convert(cells | {"effect_value": p})["r"]
        < convert(cells | {"effect_value": p * smaller})["r"]
    )


@given(r=correlations, n=sizes)
def test_z_and_back(r, n):
    there = core.convert_r(r, n)
    back = core.convert_fisher_z(there.z, n)
    assert back.r == pytest.approx(r, rel=RELATIVE, abs=ABSOLUTE)
    assert back.var_r == pytest.approx(there.var_r, rel=1e-9)
    assert back.var_z == there.var_z


@given(r=st.floats(-0.95, 0.95), n=sizes, m=covariate_counts)
def test_one_test_of_a_correlation_in_any_dress_gives_it_back(r, n, m):
    df = n - m - 2
    t = r * math.sqrt(df / (1 - r * r))
    direct = convert({"effect_type": "partial_r", "effect_value": r, "n": n, "n_covariates": m})
    sign = {"effect_sign": "negative" if r < 0 else "positive"}
    dresses = [
        {"effect_type": "t", "effect_value": t},
        {"effect_type": "F", "effect_value": t * t} | sign,
        {"effect_type": "eta2", "effect_value": r * r} | sign,
    ]
    for cells in dresses:
        row = convert(cells | {"n": n, "n_covariates": m})
        # squares below 1e-308 vanish: hence the absolute part
        assert row["r"] == pytest.approx(direct["r"], rel=1e-9, abs=1e-12)
        assert row["vz"] == pytest.approx(direct["vz"], rel=1e-12)
        assert row["vr"] == pytest.approx(direct["vr"], rel=1e-9)


@given(r=st.floats(0.02, 0.9), n=st.integers(8, 3000), m=covariate_counts)
@settings(deadline=None)
def test_n_is_recovered_from_the_p_value(r, n, m):
    df = n - m - 2
    p = float(core.p_from_t(r * math.sqrt(df / (1 - r * r)), df))
    assume(p > 1e-280)
    found = core.n_from_p(r, p, m)
    assert found is not None
    assert found == pytest.approx(n, rel=1e-6)


@given(sp=st.floats(-0.9, 0.9), share=st.floats(0, 1), n=st.integers(10, 5000))
def test_bound_of_the_semipartial_variance_is_one(sp, share, n):
    model_r2 = sp**2 + share * (1 - sp**2)
    bound = core.semipartial_variance(sp, n, core.bound_semipartial_r2(sp))
    # the two sides may differ in the last bit where share is 0 or 1
    assert core.semipartial_variance(sp, n, model_r2) <= bound * (1 + 1e-12)


@given(r=st.floats(-0.97, 0.97), n=st.integers(5, 5000), as_z=st.booleans())
@settings(deadline=None)
def test_correct_rows_are_never_called_wrong(r, n, as_z):
    # a paper's own numbers, rounded to two digits (the se to three)
    half = core.NORMAL_975 / math.sqrt(n - 3)
    z = math.atanh(r)
    if as_z:
        cells = {"effect_type": "fisher_z", "effect_value": round(z, 2), "se": 1 / math.sqrt(n - 3)}
        cells |= {"ci_low": round(z - half, 2), "ci_high": round(z + half, 2)}
    else:
        cells = {"effect_type": "r", "effect_value": round(r, 2)}
        cells |= {"se": (1 - r * r) / math.sqrt(n - 1)}
        cells |= {"ci_low": round(math.tanh(z - half), 2), "ci_high": round(math.tanh(z + half), 2)}
    cells["se"] = max(round(cells["se"], 3), 0.001)
    assume(cells["ci_low"] < cells["ci_high"])
    row = {"effect_id": "e1", "study_id": "s1", "sample_id": "s1", "n": float(n), **cells}
    errors = [p for p in check_effects(pd.DataFrame([row])) if p.severity == "error"]
    assert errors == []


@given(
    effects=st.lists(
        st.tuples(st.floats(-2, 2), st.floats(0.001, 1), st.sampled_from("abcd")),
        min_size=1,
        max_size=30,
    ),
    rho=st.floats(0, 1),
)
def test_composites_match_the_double_sum(effects, rho):
    y, v, groups = (list(column) for column in zip(*effects, strict=True))
    composite = aggregate_effects(y, v, groups, rho)
    for i, name in enumerate(dict.fromkeys(groups)):
        own = [j for j, group in enumerate(groups) if group == name]
        assert composite.first_index[i] == own[0]
        total = sum((1.0 if j == k else rho) * math.sqrt(v[j] * v[k]) for j in own for k in own)
        # 900 products of doubles
        assert composite.v[i] == pytest.approx(total / len(own) ** 2, rel=1e-10)
        assert composite.y[i] == pytest.approx(np.mean([y[j] for j in own]), rel=1e-9, abs=1e-12)
