"""Influence of effects and studies, against metafor and by its own rules."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.models.pooling import fit_pooled
from alliance_meta.models.refits import Refitter
from alliance_meta.models.rows import ModelRows, model_rows
from alliance_meta.models.subsets import fit_subsets
from alliance_meta.sensitivity.influence import (
    TABLES,
    assess_influence,
    influence_univariate,
)

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "influence.json").read_text(encoding="utf-8")
)
MEASURES = ["rstudent", "dffits", "cooks_distance", "cov_ratio", "tau2_deleted", "Q_deleted"]


def array(values):
    return np.array(values, dtype=float)


def name_of(fit):
    return f"{fit['set']} {fit['tau2']} {fit['inference']} {fit['moderators']}"


def measure(fit):
    values, X = REFERENCE["sets"][fit["set"]], array(fit["X"])
    y, v = array(values["y"]), array(values["v"])
    k = len(y)
    keep = np.vstack([np.ones(k, dtype=bool), ~np.eye(k, dtype=bool)])
    fits = fit_subsets(y, v, X, keep, tau2=fit["tau2"] or None)
    return influence_univariate(
        y,
        v,
        X,
        tau2=fits.tau2[0],
        tau2_deleted=fits.tau2[1:],
        Q_deleted=fits.Q[1:],
        inference=fit["inference"],
    )


@pytest.mark.parametrize("fit", REFERENCE["fits"], ids=name_of)
def test_univariate_influence_is_metafors(fit):
    found = measure(fit)
    for name in [*MEASURES, "hat", "weight", "dfbetas"]:
        # both ends solve for tau² to about 1e-12 of its size; that leaves 1e-11 here
        np.testing.assert_allclose(
            getattr(found, name), array(fit[name]), rtol=1e-8, atol=1e-10, err_msg=name
        )
    np.testing.assert_array_equal(found.influential, array(fit["influential"]) == 1)


def dependent_rows(fit):
    values, X = REFERENCE["dependent"][fit["set"]], array(fit["X"])
    y, v = array(values["y"]), array(values["v"])
    study = pd.factorize(array(values["study"]))[0]
    spec = ModelSpecification(model=fit["model"], rho=fit["rho"], metric="generic")
    spec = spec.resolve(dependent=True)
    data = pd.DataFrame({"study_id": [f"s{i}" for i in study], "yi": y, "vi": v})
    data["effect_id"] = [f"e{i}" for i in range(len(y))]
    terms = ("Intercept", "x")[: X.shape[1]]
    pooled = fit_pooled(y, v, X, study, spec)
    return ModelRows(data, y, v, X, terms, study, study, study, spec, pooled, data)


@pytest.mark.parametrize(
    "fit", REFERENCE["multilevel"], ids=lambda fit: f"{fit['set']} {fit['moderators']}"
)
def test_influence_of_dependent_effects_is_metafors(fit):
    rows = dependent_rows(fit)
    tables = assess_influence(rows, Refitter(rows)).tables
    effects, studies = (tables[f"sensitivity_influence{end}"] for end in ("", "_studies"))
    dfbetas = tables["sensitivity_dfbetas"]
    # variances are polished to about 1e-10 of their size on both sides
    tolerance = {"rtol": 1e-7, "atol": 1e-9}
    np.testing.assert_allclose(effects["hat"], array(fit["hat"]), **tolerance)
    if fit["weight"] is not None:
        np.testing.assert_allclose(effects["weight"], array(fit["weight"]), **tolerance)
    names = ["cooks_distance", "cov_ratio", "tau2_deleted", "Q_deleted"]
    for unit, table in (("effect", effects), ("study", studies)):
        reference = fit["effects" if unit == "effect" else "studies"]
        if reference is None:
            continue
        for name in names:
            np.testing.assert_allclose(
                table[name], array(reference[name]), err_msg=name, **tolerance
            )
        of_unit = dfbetas.loc[dfbetas["unit"] == unit, "dfbetas"]
        np.testing.assert_allclose(of_unit, array(reference["dfbetas"]).ravel(), **tolerance)
        single = array(reference["size"]) == 1
        np.testing.assert_allclose(
            table["rstudent"][single], array(reference["rstudent"])[single], **tolerance
        )
    np.testing.assert_allclose(studies["X2"], array(fit["studies"]["X2"]), **tolerance)
    np.testing.assert_array_equal(studies["X2_df"], array(fit["studies"]["size"]))
    assert studies["rstudent"].isna().eq(studies["k_effects"] > 1).all()


def assess(effects, **settings):
    rows = model_rows(analyse(effects, ModelSpecification(**settings)))
    found = assess_influence(rows, Refitter(rows))
    assert {name: list(table.columns) for name, table in found.tables.items()} == TABLES
    return found


@pytest.fixture
def effects(make_effects):
    rng = np.random.default_rng(8)
    study = np.repeat([f"s{i:02}" for i in range(9)], [1, 2, 3] * 3)
    k = len(study)
    y = rng.normal(0.3, 0.1, k)
    # one study of two effects far from the others
    y[study == "s04"] = 1.6
    rater = np.where(np.arange(k) % 3, "client", "therapist")
    rater[k - 1] = "observer"
    return make_effects(y, rng.uniform(0.005, 0.02, k), study, rater=rater)


def test_an_outlying_study_is_named_with_the_result_without_it(effects):
    found = assess(effects)
    studies = found.tables["sensitivity_influence_studies"].set_index("study_id")
    assert list(studies.index[studies["influential"]]) == ["s04"]
    # two effects at 1.6 among means near .3 with variances below .02
    assert studies.loc["s04", "X2_p"] < 1e-6
    (named,) = [s for s in found.sentences if s.startswith("Of 9 studies, 1 is influential")]
    assert named.endswith(": s04.")
    without = analyse(effects.loc[effects["study_id"] != "s04"], ModelSpecification())
    shown = f"{without.summary['estimate'][0]:.2f}".removeprefix("0")
    assert any(f"Without it r = {shown}, 95 % CI [" in s for s in found.sentences)


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "random_effects"},
        {"model": "random_effects", "inference": "cr2"},
        {"model": "rve"},
        {"model": "three_level", "inference": "t"},
        {"model": "random_effects", "moderators": "rater", "separate_tau2": True},
        {"model": "rve", "moderators": "rater"},
    ],
)
def test_every_model_has_a_row_for_each_effect_and_study(effects, settings):
    found = assess(effects.loc[effects["rater"] != "observer"], **settings)
    table = found.tables["sensitivity_influence"]
    studies = found.tables["sensitivity_influence_studies"]
    assert len(table) == len(effects) - 1
    assert len(studies) == 9
    assert np.isfinite(studies["cooks_distance"]).all()
    assert studies["cooks_distance"].idxmax() == 4
    # every fit's leverages add up to its coefficients, its weights to all
    n_terms = 2 if "moderators" in settings else 1
    for one in (table, studies):
        assert one["hat"].sum() == pytest.approx(n_terms)
        assert one["weight"].sum() == pytest.approx(100)


def test_one_row_a_study_gives_the_same_rows_for_effects_and_studies(effects):
    found = assess(effects.drop_duplicates("study_id"))
    one, other = (found.tables[f"sensitivity_influence{end}"] for end in ("", "_studies"))
    shared = [column for column in one.columns if column in other.columns]
    pd.testing.assert_frame_equal(one[shared], other[shared])
    assert not any("studies" in s and "Of " in s for s in found.sentences)


def test_study_of_one_effect_is_measured_as_that_effect(effects):
    """Deleting a lone effect and deleting its study are the same fit."""
    found = assess(effects, model="random_effects", inference="knapp_hartung")
    one, other = (
        found.tables[f"sensitivity_influence{end}"].set_index("study_id")
        for end in ("", "_studies")
    )
    lone = other.index[other["k_effects"] == 1]
    for name in ("rstudent", "cooks_distance", "cov_ratio", "dfbetas", "tau2_deleted"):
        # the same arithmetic on arrays of another shape
        np.testing.assert_allclose(one.loc[lone, name], other.loc[lone, name], rtol=1e-9)


@pytest.mark.parametrize("model", ["random_effects", "che"])
def test_a_level_that_deletion_removes_is_left_empty_and_said(effects, model):
    settings = {"model": model, "moderators": "rater"}
    if model == "random_effects":
        settings["inference"] = "knapp_hartung"
    found = assess(effects, **settings)
    table = found.tables["sensitivity_influence"]
    last = table.iloc[-1]
    measures = ["rstudent", "cooks_distance", "cov_ratio", "tau2_deleted", "dfbetas"]
    assert last[measures].isna().all()
    if model == "random_effects":
        # all that is known of it: the fit goes through it
        assert last["hat"] == pytest.approx(1)
        assert last["influential"]
    assert table.iloc[:-1]["cooks_distance"].notna().all()
    name = last["effect_id"]
    assert any(
        s.startswith(f"The influence of effect {name} is not defined") for s in found.sentences
    )


def test_equal_effects_influence_nothing(make_effects):
    effects = make_effects([0.3] * 5, [0.01, 0.02, 0.03, 0.01, 0.02], "abcde")
    found = assess(effects, model="random_effects", inference="z")
    table = found.tables["sensitivity_influence"]
    assert (table[["rstudent", "dffits", "cooks_distance", "dfbetas"]] == 0).all(axis=None)
    # the covariance without effect i is the sum of weights over that without it
    w = 1 / np.array([0.01, 0.02, 0.03, 0.01, 0.02])
    np.testing.assert_allclose(table["cov_ratio"], w.sum() / (w.sum() - w))
    assert found.sentences == (
        "Of 5 effects, none is influential by the limits of Viechtbauer and Cheung (2010).",
    )


def test_equal_effects_have_no_influence_to_measure_under_knapp_hartung(make_effects):
    effects = make_effects([0.3] * 5, [0.01, 0.02, 0.03, 0.01, 0.02], "abcde")
    found = assess(effects, model="random_effects", inference="knapp_hartung")
    table = found.tables["sensitivity_influence"]
    assert table[["rstudent", "dffits", "cooks_distance", "dfbetas"]].isna().all(axis=None)
    assert "standard errors are zero" in " ".join(found.sentences)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("model", ["random_effects", "common_effect", "che"])
def test_few_effects(make_effects, k, model):
    effects = make_effects([0.1, 0.5, 0.3][:k], [0.01, 0.02, 0.03][:k], "abc"[:k])
    found = assess(effects, model=model)
    assert len(found.tables["sensitivity_influence"]) == k
    assert found.sentences


def test_one_dominating_study_keeps_its_digits(make_effects):
    effects = make_effects([0.2, 0.5, 0.1, 0.4], [1e-12, 0.02, 0.03, 0.01], "abcd")
    table = assess(effects, model="common_effect").tables["sensitivity_influence"]
    # without the first the others' weighted mean and its variance
    w = 1 / np.array([0.02, 0.03, 0.01])
    mean = w @ [0.5, 0.1, 0.4] / w.sum()
    expected = (0.2 - mean) / np.sqrt(1e-12 + 1 / w.sum())
    # the digits of the effects themselves
    assert table["rstudent"][0] == pytest.approx(expected, rel=1e-9)
    assert table["cooks_distance"][0] == pytest.approx((0.2 - mean) ** 2 / 1e-12, rel=1e-3)
    assert table["influential"][0]


def test_uncentred_years_cost_no_digits(make_effects):
    rng = np.random.default_rng(4)
    x = rng.integers(1990, 2020, 15).astype(float)
    effects = make_effects(
        rng.normal(0.3, 0.2, 15), rng.uniform(0.005, 0.05, 15), range(15), year=x
    )
    moved = effects.assign(year=x - 2000)
    one, other = (
        assess(table, moderators="year").tables["sensitivity_influence"]
        for table in (effects, moved)
    )
    names = ["rstudent", "dffits", "cooks_distance", "cov_ratio", "hat"]
    # moving the origin changes the intercept only; years near 2000 cost about three digits
    np.testing.assert_allclose(one[names], other[names], rtol=1e-9)
