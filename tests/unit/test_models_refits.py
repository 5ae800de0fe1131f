"""The model of an analysis, fitted again to parts of its rows, equals an analysis of them."""

from dataclasses import replace

import numpy as np
import pytest

from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.models.refits import LOST_COLUMN, TOO_FEW, Refitter
from alliance_meta.models.rows import model_rows
from alliance_meta.models.specification import InestimableError


@pytest.fixture
def review(make_effects):
    rng = np.random.default_rng(8)
    sizes = rng.integers(1, 5, 16)
    study = np.repeat(np.arange(16), sizes)
    k = len(study)
    v = 1 / rng.integers(20, 150, k).astype(float)
    y = 0.3 + rng.normal(0, 0.15, 16)[study] + rng.normal(0, 0.08, k) + rng.normal(0, np.sqrt(v))
    rater = np.where(rng.random(k) < 0.5, "client", "therapist")
    return make_effects(y, v, study, rater=rater, year=2000.0 + study)


SPECIFICATIONS = {
    "che": {},
    "che_t": {"inference": "t", "tau2": "ML"},
    "che_moderator": {"moderators": "rater"},
    "che_numeric": {"moderators": "year + rater", "rho": 0.3},
    "three_level": {"model": "three_level", "inference": "z", "prediction": "hts"},
    "aggregated": {"model": "aggregated"},
    "aggregated_moderator": {"model": "aggregated", "moderators": "year"},
    "random_effects": {"model": "random_effects", "tau2": "DL", "inference": "cr2"},
    "paule_mandel": {"model": "random_effects", "tau2": "PM", "inference": "t"},
    "conservative": {"model": "random_effects", "inference": "knapp_hartung_conservative"},
    "common_effect": {"model": "common_effect"},
    "rve": {"model": "rve"},
    "rve_moderator": {"model": "rve", "moderators": "rater"},
    "separate_tau2": {"moderators": "rater", "separate_tau2": True},
    "location_scale": {"model": "aggregated", "scale": "year"},
}


@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_refits_equal_analyses_of_the_remaining_effects(review, name):
    spec = ModelSpecification(**SPECIFICATIONS[name])
    result = analyse(review, spec)
    rows = model_rows(result)
    gone = [[], [0], [2, 5]]
    keep = np.stack([~np.isin(rows.clusters, studies) for studies in gone])
    refits = Refitter(rows).refit(keep)
    assert refits.reasons == ("", "", "")
    studies = rows.data["study_id"].drop_duplicates().to_list()
    for b, left_out in enumerate(gone):
        part = review.loc[~review["study_id"].isin([studies[i] for i in left_out])]
        reference = result.references
        other = analyse(
            part.reset_index(drop=True), replace(result.spec, reference=dict(reference))
        )
        table = other.coefficients
        # the searches of the variances stop when a step is below 1e-9 of the larger one
        close = {"rtol": 1e-6, "atol": 1e-8}
        np.testing.assert_allclose(refits.estimate[b], table["estimate"], **close)
        np.testing.assert_allclose(refits.se[b], table["se"], **close)
        np.testing.assert_allclose(refits.ci_low[b], table["ci_low"], **close)
        np.testing.assert_allclose(refits.ci_high[b], table["ci_high"], **close)
        found = dict(
            zip(other.heterogeneity["parameter"], other.heterogeneity["estimate"], strict=True)
        )
        for parameter in ("Q", "I2", "tau2_between", "tau2_within"):
            if parameter in found:
                value = getattr(refits, parameter)[b]
                np.testing.assert_allclose(value, found[parameter], rtol=1e-6, atol=1e-8)
        if not rows.has_moderators and not spec.scale:
            summary = other.summary.iloc[0]
            np.testing.assert_allclose(np.tanh(refits.pi_low[b]), summary["pi_low"], **close)
            np.testing.assert_allclose(np.tanh(refits.pi_high[b]), summary["pi_high"], **close)


def test_other_effects_and_rho_enter(review):
    result = analyse(review, ModelSpecification())
    rows = model_rows(result)
    keep = np.ones((2, len(rows.y)), dtype=bool)
    refits = Refitter(rows).refit(keep, y=rows.y + 0.1, rho=np.array([0.6, 0.2]))
    moved = review.assign(z=review["z"] + 0.1)
    for b, rho in enumerate((0.6, 0.2)):
        table = analyse(moved, ModelSpecification(rho=rho)).coefficients
        # as above
        np.testing.assert_allclose(refits.estimate[b], table["estimate"], rtol=1e-6)
        np.testing.assert_allclose(refits.se[b], table["se"], rtol=1e-6)


def test_batches_do_not_change_the_result(review, monkeypatch):
    rows = model_rows(analyse(review, ModelSpecification()))
    keep = rows.clusters != np.arange(16)[:, None]
    rho = np.linspace(0.1, 0.9, 16)
    whole = Refitter(rows).refit(keep, y=np.tile(rows.y, (16, 1)), rho=rho)
    monkeypatch.setattr("alliance_meta.models.refits.CHUNK_ELEMENTS", 5 * len(rows.y))
    split = Refitter(rows).refit(keep, y=np.tile(rows.y, (16, 1)), rho=rho)
    # sums of other lengths round otherwise
    np.testing.assert_allclose(split.estimate, whole.estimate, rtol=1e-9)
    np.testing.assert_allclose(split.ci_low, whole.ci_low, rtol=1e-8)
    assert split.reasons == whole.reasons


def test_parts_that_cannot_be_fitted_say_why(review):
    rows = model_rows(analyse(review, ModelSpecification(moderators="rater")))
    client = (rows.data["rater"] == "client").to_numpy()
    one = rows.clusters == 0
    refits = Refitter(rows).refit(np.stack([client, one]))
    assert refits.reasons == (LOST_COLUMN, TOO_FEW)
    assert np.isnan(refits.estimate).all()


def test_a_row_left_alone_keeps_its_own_value(make_effects):
    effects = make_effects([0.2, 0.5], [0.01, 0.04], ["a", "b"])
    for settings in ({}, {"inference": "cr2"}, {"model": "common_effect"}):
        rows = model_rows(analyse(effects, ModelSpecification(**settings)))
        refits = Refitter(rows).refit(np.eye(2, dtype=bool))
        # closed form: rounding only
        np.testing.assert_allclose(refits.estimate[:, 0], [0.2, 0.5], rtol=1e-12)
        np.testing.assert_allclose(refits.se[:, 0], [0.1, 0.2], rtol=1e-12)
        np.testing.assert_allclose(refits.ci_low[0, 0], 0.2 - 0.1 * 1.959963984540054, rtol=1e-9)


def test_studies_that_share_a_sample_are_fitted_together(review):
    review.loc[review["study_id"] == "1", "sample_id"] = "0"
    rows = model_rows(analyse(review, ModelSpecification()))
    assert rows.n_studies == 15
    keep = rows.independent != np.arange(15)[:, None]
    refits = Refitter(rows).refit(keep)
    without = review.loc[~review["study_id"].isin(["0", "1"])].reset_index(drop=True)
    table = analyse(without, ModelSpecification()).coefficients
    # as above
    np.testing.assert_allclose(refits.estimate[0], table["estimate"], rtol=1e-6)


def test_an_analysis_without_a_fit_has_no_rows(make_effects):
    with pytest.raises(InestimableError, match="a single effect was not pooled"):
        model_rows(analyse(make_effects([0.3], [0.01], ["a"]), ModelSpecification()))
