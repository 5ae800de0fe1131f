"""Univariate models of published data against metafor: all estimators, all inferences."""

import json
from pathlib import Path

import numpy as np
import pytest

from alliance_meta.models import ModelSpecification, analyse

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "univariate.json").read_text(encoding="utf-8")
)
FITS = REFERENCE["fits"]
RESULTS = {}

# closed forms differ only by rounding
CLOSED_FORM = {"rtol": 1e-9, "atol": 1e-12}
# ML, REML, EB and PM are searched by both sides: metafor stops at steps of 1e-14
SEARCHED = {"rtol": 1e-8, "atol": 1e-11}
SEARCHED_ESTIMATORS = ("ML", "REML", "EB", "PM")
# ends of the Q-profile are roots that both sides search
PROFILE = {"rtol": 1e-6, "atol": 1e-8}


def our_term(name):
    """Translate R's names of coefficients."""
    if name == "intrcpt":
        return "Intercept"
    return f"level[T.{name.removeprefix('level')}]" if name.startswith("level") else name


def run(fit, make_effects, prediction="default"):
    """Run a reference fit, once for all tests."""
    key = fit["name"], prediction
    if key not in RESULTS:
        data = REFERENCE["sets"][fit["set"]]
        effects = make_effects(
            data["y"],
            data["v"],
            [f"s{i}" for i in range(len(data["y"]))],
            level=data["level"],
            x=data["x"],
        )
        spec = ModelSpecification(
            model=fit["model"],
            tau2=fit["tau2"],
            inference=fit["inference"],
            metric="r",
            prediction=prediction,
            moderators=fit["moderators"],
            reference={"level": min(data["level"])} if "level" in fit["moderators"] else {},
        )
        RESULTS[key] = analyse(effects, spec)
    result = RESULTS[key]
    assert not result.failure
    return result


def estimates(fit, make_effects):
    """Return the first column of the heterogeneity table."""
    return run(fit, make_effects).heterogeneity.set_index("parameter")["estimate"]


def tolerance_of(fit):
    return SEARCHED if fit["tau2"] in SEARCHED_ESTIMATORS else CLOSED_FORM


def having(key):
    """Return a parametrisation over the fits that R reports something for."""
    chosen = [fit for fit in FITS if fit.get(key) is not None]
    assert chosen, key
    return pytest.mark.parametrize("fit", chosen, ids=lambda fit: fit["name"])


@having("b")
def test_coefficients_agree_with_r(fit, make_effects):
    result = run(fit, make_effects)
    terms = [our_term(name) for name in fit["terms"]]
    assert set(terms) == set(result.coefficients["term"])
    table = result.coefficients.set_index("term").loc[terms]
    for ours, theirs in (
        ("estimate", "b"),
        ("se", "se"),
        ("statistic", "statistic"),
        ("ci_low", "ci_low"),
        ("ci_high", "ci_high"),
    ):
        np.testing.assert_allclose(table[ours], fit[theirs], **tolerance_of(fit), err_msg=ours)
    shown = ~table.index.isin(list(result.withheld))
    # a tail probability multiplies the error of its statistic
    np.testing.assert_allclose(
        table["p_value"][shown], np.array(fit["p"])[shown], rtol=1e-6, atol=1e-12
    )


@having("tau2_value")
def test_heterogeneity_agrees_with_r(fit, make_effects):
    values = estimates(fit, make_effects)
    names = ["tau2", "I2", "H2"]
    theirs = [fit["tau2_value"], fit["I2"], fit["H2"]]
    np.testing.assert_allclose(values[names], theirs, **tolerance_of(fit))
    np.testing.assert_allclose(values["tau"], np.sqrt(fit["tau2_value"]), **tolerance_of(fit))
    names = ["Q", "Q_df", "Q_p"]
    np.testing.assert_allclose(values[names], [fit[n] for n in names], rtol=1e-8, atol=1e-100)


@having("log_likelihood")
def test_likelihood_and_criteria_agree_with_r(fit, make_effects):
    values = estimates(fit, make_effects)
    names = ["log_likelihood", "AIC", "AICc", "BIC"]
    # closed forms of tau², whose own error is bounded above; the values are of the order of ten
    np.testing.assert_allclose(values[names], [fit[n] for n in names], rtol=1e-8, atol=1e-8)


@having("tau2_ci")
def test_q_profile_intervals_agree_with_r(fit, make_effects):
    values = run(fit, make_effects).heterogeneity.set_index("parameter")
    for name in ("tau2", "tau", "I2", "H2"):
        ends = values.loc[name, ["ci_low", "ci_high"]].astype(float)
        np.testing.assert_allclose(ends, fit[f"{name}_ci"], **PROFILE, err_msg=name)


@having("pi")
def test_prediction_intervals_agree_with_r(fit, make_effects):
    row = run(fit, make_effects).summary.iloc[0]
    np.testing.assert_allclose([row["pi_low"], row["pi_high"]], fit["pi"], **tolerance_of(fit))


@having("pi_hts")
def test_hts_prediction_intervals_agree_with_r(fit, make_effects):
    row = run(fit, make_effects, "hts").summary.iloc[0]
    np.testing.assert_allclose([row["pi_low"], row["pi_high"]], fit["pi_hts"], **tolerance_of(fit))


@having("QM")
def test_moderators_agree_with_r(fit, make_effects):
    result = run(fit, make_effects)
    values = estimates(fit, make_effects)
    np.testing.assert_allclose(values["QM"], fit["QM"], rtol=1e-7, atol=1e-10)
    assert values["QM_df1"] == fit["QM_df1"]
    if fit["QM_df2"] is None:
        assert np.isnan(values["QM_df2"])
    else:
        assert values["QM_df2"] == fit["QM_df2"]
    if "omnibus" not in result.withheld:
        np.testing.assert_allclose(values["QM_p"], fit["QM_p"], rtol=1e-6)
    without = values["tau2_without_moderators"]
    np.testing.assert_allclose(without, fit["tau2_without_moderators"], **tolerance_of(fit))
    if fit["R2"] is None:
        # nothing to explain
        assert np.isnan(values["R2"])
    else:
        # a share of one variance that another leaves, in percent
        np.testing.assert_allclose(values["R2"], fit["R2"], rtol=1e-7, atol=1e-6)


@having("blup")
def test_true_effects_of_studies_agree_with_r(fit, make_effects):
    table = run(fit, make_effects).studies
    np.testing.assert_allclose(table["estimate"], fit["blup"], **tolerance_of(fit))
    np.testing.assert_allclose(table["se"], fit["blup_se"], **tolerance_of(fit))


def test_awkward_fits_are_among_the_references():
    # the sets were made for these cases; a change to the script must not lose them
    assert any(fit["tau2_value"] == 0 for fit in FITS)
    assert any(fit.get("R2") == 0 for fit in FITS)
    assert any(fit["tau2_ci"][0] == 0 for fit in FITS if "tau2_ci" in fit)
    by_name = {fit["name"]: fit for fit in FITS}
    # the conservative correction is at work somewhere and idle elsewhere
    pairs = [
        (fit["se"], by_name[name]["se"])
        for fit in FITS
        if fit["inference"] == "knapp_hartung_conservative"
        for name in [fit["name"].replace("_conservative", "")]
    ]
    assert any(a == b for a, b in pairs)
    assert any(a > b for a, b in pairs)
