"""Univariate models against metafor, clubSandwich and robumeta."""

import json
from pathlib import Path

import numpy as np
import pytest

from alliance_meta.models import ModelSpecification, analyse

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "models.json").read_text(encoding="utf-8")
)
FITS = REFERENCE["fits"]

# closed forms differ only by rounding: R's normal equations with uncentred years cost digits
CLOSED_FORM = {"rtol": 1e-8, "atol": 1e-12}
# ML and REML: we solve the score equation, metafor iterates to a threshold of 1e-14
SEARCHED_TAU2 = {"rtol": 1e-9, "atol": 1e-12}
# a slope's share of that error, times the spread of uncentred years
SEARCHED = {"rtol": 1e-8, "atol": 1e-12}
# interval ends of tau² come from metafor's uniroot, tolerance about 1e-4 of its scale
PROFILE = {"rtol": 1e-3, "atol": 1e-4}
# robust df rest on pseudo-inverses of nearly singular blocks
ROBUST_DF = {"rtol": 1e-6, "atol": 1e-8}


def our_term(name):
    """Translate R's names of coefficients."""
    if name.lower().strip("x.") in ("intrcpt", "intercept"):
        return "Intercept"
    return f"level[T.{name.removeprefix('level')}]" if name.startswith("level") else name


def run(fit, make_effects):
    data = REFERENCE["sets"][fit["set"]]
    effects = make_effects(
        data["y"],
        data["v"],
        [f"s{int(s)}" for s in data["study"]],
        level=data["level"],
        x=data["x"],
    )
    spec = ModelSpecification(
        model=fit["model"],
        tau2=fit["tau2"] or None,
        inference=fit["inference"],
        metric="r",
        rho=fit.get("rho", 0.6),
        moderators=fit["moderators"],
        reference={"level": "client"} if fit["moderators"] else {},
    )
    return analyse(effects, spec)


@pytest.mark.parametrize("fit", FITS, ids=lambda fit: fit["name"])
def test_estimates_agree_with_r(fit, make_effects):
    result = run(fit, make_effects)
    searched = fit["tau2"] in ("ML", "REML")
    tolerance = SEARCHED if searched else CLOSED_FORM
    terms = [our_term(name) for name in fit["terms"]]
    table = result.coefficients.set_index("term").loc[terms]
    assert len(table) == len(result.coefficients)
    np.testing.assert_allclose(table["estimate"], fit["b"], **tolerance)
    np.testing.assert_allclose(table["se"], fit["se"], **tolerance)
    np.testing.assert_allclose(table["statistic"], fit["statistic"], **tolerance)
    shown = ~table.index.isin(list(result.withheld))
    np.testing.assert_allclose(
        table["p_value"][shown], np.array(fit["p"])[shown], rtol=1e-5, atol=1e-12
    )
    assert table["p_value"][~shown].isna().all()
    if "ci_low" in fit:
        # a wide interval at one or two df magnifies the last digits of the df
        np.testing.assert_allclose(table["ci_low"], fit["ci_low"], rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(table["ci_high"], fit["ci_high"], rtol=1e-6, atol=1e-8)
    if "df" in fit:
        np.testing.assert_allclose(table["df"], fit["df"], **ROBUST_DF)
    if fit.get("tau2_value") is not None:
        values = result.heterogeneity.set_index("parameter")
        limits = SEARCHED_TAU2 if searched else CLOSED_FORM
        np.testing.assert_allclose(values.loc["tau2", "estimate"], fit["tau2_value"], **limits)


@pytest.mark.parametrize("fit", [f for f in FITS if "Q" in f], ids=lambda fit: fit["name"])
def test_heterogeneity_agrees_with_r(fit, make_effects):
    result = run(fit, make_effects)
    values = result.heterogeneity.set_index("parameter")
    estimate = values["estimate"]
    np.testing.assert_allclose(estimate["Q"], fit["Q"], rtol=1e-9)
    np.testing.assert_allclose(estimate["Q_p"], fit["Q_p"], rtol=1e-8)
    np.testing.assert_allclose(estimate["log_likelihood"], fit["log_likelihood"], rtol=1e-7)
    if "I2" in fit:
        np.testing.assert_allclose(estimate["I2"], fit["I2"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(estimate["H2"], fit["H2"], rtol=1e-5)
        ends = values.loc["tau2", ["ci_low", "ci_high"]].astype(float)
        np.testing.assert_allclose(ends, fit["tau2_ci"], **PROFILE)
        ends = values.loc["I2", ["ci_low", "ci_high"]].astype(float)
        np.testing.assert_allclose(ends, fit["I2_ci"], rtol=5e-3, atol=0.05)
    if fit["moderators"]:
        np.testing.assert_allclose(estimate["QM"], fit["QM"], rtol=1e-6, atol=1e-9)
        if "omnibus" not in result.withheld:
            np.testing.assert_allclose(estimate["QM_p"], fit["QM_p"], rtol=1e-6)


@pytest.mark.parametrize("fit", [f for f in FITS if f.get("pi")], ids=lambda fit: fit["name"])
def test_prediction_interval_agrees_with_r(fit, make_effects):
    row = run(fit, make_effects).summary.iloc[0]
    np.testing.assert_allclose([row["pi_low"], row["pi_high"]], fit["pi"], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    "fit",
    [f for f in FITS if f.get("QM_df2") is not None],
    ids=lambda fit: fit["name"],
)
def test_htz_test_agrees_with_clubsandwich(fit, make_effects):
    result = run(fit, make_effects)
    estimate = result.heterogeneity.set_index("parameter")["estimate"]
    np.testing.assert_allclose(estimate["QM"], fit["QM"], rtol=1e-6)
    np.testing.assert_allclose(estimate["QM_df2"], fit["QM_df2"], rtol=1e-6)
    if "omnibus" not in result.withheld:
        np.testing.assert_allclose(estimate["QM_p"], fit["QM_p"], rtol=1e-6)
