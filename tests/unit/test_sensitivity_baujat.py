"""Baujat's coordinates, against metafor and for studies of several effects."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.models.pooling import fit_pooled
from alliance_meta.models.refits import Refitter
from alliance_meta.models.rows import ModelRows, model_rows
from alliance_meta.sensitivity.baujat import COLUMNS, assess_baujat

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "influence.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize(
    "fit",
    REFERENCE["fits"],
    ids=lambda fit: f"{fit['set']} {fit['tau2']} {fit['inference']} {fit['moderators']}",
)
def test_coordinates_are_metafors(fit):
    values, X = REFERENCE["sets"][fit["set"]], np.array(fit["X"], dtype=float)
    y, v = (np.array(values[name], dtype=float) for name in "yv")
    units = np.arange(len(y))
    spec = ModelSpecification(
        model="random_effects" if fit["tau2"] else "common_effect",
        tau2=fit["tau2"] or None,
        inference=fit["inference"],
        metric="generic",
    ).resolve(dependent=False)
    data = pd.DataFrame({"effect_id": units, "study_id": units, "yi": y, "vi": v}).astype(
        {"effect_id": "str", "study_id": "str"}
    )
    terms = tuple("abcd"[: X.shape[1]])
    pooled = fit_pooled(y, v, X, units, spec)
    rows = ModelRows(data, y, v, X, terms, units, units, units, spec, pooled, data)
    table = assess_baujat(rows, Refitter(rows)).tables["sensitivity_baujat"]
    for name in "xy":
        # tau² is solved for to about 1e-12 of its size on both sides
        np.testing.assert_allclose(
            table[name], np.array(fit[f"baujat_{name}"], dtype=float), rtol=1e-8, atol=1e-10
        )


@pytest.fixture
def effects(make_effects):
    rng = np.random.default_rng(12)
    study = np.repeat([f"s{i}" for i in range(8)], [1, 2, 3, 4] * 2)
    k = len(study)
    y = rng.normal(0.3, 0.15, k)
    y[study == "s5"] += 0.8
    return make_effects(y, rng.uniform(0.005, 0.03, k), study, rater=["client", "therapist"] * 10)


def assess(effects, **settings):
    rows = model_rows(analyse(effects, ModelSpecification(**settings)))
    found = assess_baujat(rows, Refitter(rows))
    assert list(found.tables["sensitivity_baujat"].columns) == COLUMNS
    return found, rows


def test_dependent_effects_are_placed_by_study(effects):
    found, rows = assess(effects)
    table = found.tables["sensitivity_baujat"]
    assert list(table["study_id"]) == [f"s{i}" for i in range(8)]
    # studies of one effect are named by it
    assert list(table["effect_id"].notna()) == [True, False, False, False] * 2
    assert table["x"].idxmax() == 5
    assert "s5 adds most to the generalised Q" in found.sentences[0]
    # the contributions are those of the generalised residual sum of squares y'Py
    components = rows.fit.components
    total = components.likelihood.y @ components.evaluation.projected
    assert table["x"].sum() == pytest.approx(total)
    # a mean moves by its own amount: squared change over the variance without the study
    without = analyse(effects.loc[effects["study_id"] != "s5"], ModelSpecification()).fitted.fit
    change = rows.fit.contrast(np.ones(1)).value - without.contrast(np.ones(1)).value
    variance = without.model_covariance[0, 0] / without.basis[0, 0] ** 2
    # the variance components settle to about 1e-8 of their size
    assert table["y"][5] == pytest.approx(change**2 / variance, rel=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"moderators": "rater"},
        {"model": "rve"},
        {"model": "rve", "moderators": "rater"},
        {"model": "random_effects"},
        {"model": "aggregated"},
        {"moderators": "rater", "separate_tau2": True, "model": "random_effects"},
        {"moderators": "rater", "separate_tau2": True},
    ],
)
def test_every_model_has_finite_coordinates(effects, settings):
    found, _ = assess(effects, **settings)
    table = found.tables["sensitivity_baujat"]
    assert np.isfinite(table[["x", "y"]]).all(axis=None)
    assert (table[["x", "y"]] >= 0).all(axis=None)


def test_equal_effects_add_nothing(make_effects):
    effects = make_effects([0.3] * 4, [0.01, 0.02, 0.03, 0.04], "abcd")
    found, _ = assess(effects, model="random_effects", inference="z")
    assert (found.tables["sensitivity_baujat"][["x", "y"]] == 0).all(axis=None)
    assert found.sentences == ("The effects do not differ beyond the model: none adds to Q.",)


@pytest.mark.parametrize("k", [2, 3])
def test_few_effects(make_effects, k):
    effects = make_effects([0.1, 0.5, 0.3][:k], [0.01, 0.02, 0.03][:k], "abc"[:k])
    found, _ = assess(effects)
    assert len(found.tables["sensitivity_baujat"]) == k
    assert found.sentences
