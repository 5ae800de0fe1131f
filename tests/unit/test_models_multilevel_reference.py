"""Three-level and correlated-effects models against metafor and clubSandwich."""

import json
from pathlib import Path

import numpy as np
import pytest

from alliance_meta.models import ModelSpecification, analyse

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "multilevel.json").read_text(encoding="utf-8")
)
FITS = REFERENCE["fits"]
RESULTS = {}

# both sides stop where a further step is lost in rounding; V⁻¹ in R costs some digits at rho 0.9
VARIANCE = {"rtol": 1e-7, "atol": 1e-10}
# at the optimum, errors of the variances count in proportion
COEFFICIENT = {"rtol": 1e-7, "atol": 1e-9}
# an uncentred year multiplies R's rounding by its distance from zero
ROUNDED = {"rtol": 1e-6, "atol": 1e-8}
# the likelihood is flat at its maximum, so that only rounding is left
LIKELIHOOD = {"rtol": 1e-9, "atol": 1e-8}
# both sides search the ends of the profile to 1e-7 of their size or better
PROFILE = {"rtol": 1e-5, "atol": 1e-8}
# robust df rest on pseudo-inverses of nearly singular blocks
ROBUST_DF = {"rtol": 1e-6, "atol": 1e-8}


def our_term(name):
    """Translate R's names of coefficients."""
    if name == "(Intercept)":
        return "Intercept"
    return f"level[T.{name.removeprefix('level')}]" if name.startswith("level") else name


def run(fit, make_effects):
    """Run a reference fit, once for all tests."""
    if fit["name"] not in RESULTS:
        data = dict(REFERENCE["sets"][fit["set"]])
        study, sample, y, v = (data.pop(column) for column in ("study", "sample", "y", "v"))
        effects = make_effects(
            y,
            v,
            [f"s{int(s)}" for s in study],
            sample_id=[f"p{int(s)}" for s in sample],
            **data,
        )
        spec = ModelSpecification(
            model=fit["model"],
            tau2=fit["tau2"],
            inference=fit["inference"],
            metric="r",
            rho=fit["rho"],
            moderators=fit["moderators"],
            reference={"level": fit["reference"]} if "level" in fit["moderators"] else {},
            separate_tau2=fit["separate_tau2"],
            # one study alone measured covert delinquency: R keeps the level, and so do we
            rare_levels="keep",
        )
        RESULTS[fit["name"]] = analyse(effects, spec)
    result = RESULTS[fit["name"]]
    assert not result.failure
    return result


def having(key):
    """Return a parametrisation over the fits that R reports something for."""
    chosen = [fit for fit in FITS if fit.get(key) is not None]
    assert chosen, key
    return pytest.mark.parametrize("fit", chosen, ids=lambda fit: fit["name"])


@having("components")
def test_variance_components_agree_with_r(fit, make_effects):
    values = run(fit, make_effects).heterogeneity.set_index("parameter")["estimate"]
    ours = values.loc[list(fit["components"])]
    np.testing.assert_allclose(ours, list(fit["components"].values()), **VARIANCE)
    roots = [name.replace("tau2", "tau") for name in fit["components"]]
    np.testing.assert_allclose(values.loc[roots], np.sqrt(ours.to_numpy()), rtol=1e-12)


@having("components")
def test_components_at_zero_are_exactly_zero(fit, make_effects):
    values = run(fit, make_effects).heterogeneity.set_index("parameter")["estimate"]
    for name, value in fit["components"].items():
        assert (values[name] == 0) == (value == 0)


@having("b")
def test_coefficients_agree_with_r(fit, make_effects):
    result = run(fit, make_effects)
    terms = [our_term(name) for name in fit["terms"]]
    assert set(terms) == set(result.coefficients["term"])
    table = result.coefficients.set_index("term").loc[terms]
    raw_years = fit["set"] == "schools" and "x" in fit["moderators"]
    tolerance = ROUNDED if raw_years else COEFFICIENT
    for ours, theirs in (("estimate", "b"), ("se", "se"), ("statistic", "statistic")):
        np.testing.assert_allclose(table[ours], fit[theirs], **tolerance, err_msg=ours)
    if "df" in fit:
        np.testing.assert_allclose(table["df"], fit["df"], **ROBUST_DF)
    else:
        assert table["df"].isna().all()
    for end in ("ci_low", "ci_high"):
        # a wide interval at one or two df magnifies the last digits of the df
        np.testing.assert_allclose(table[end], fit[end], rtol=1e-5, atol=1e-7, err_msg=end)
    shown = ~table.index.isin(list(result.withheld))
    np.testing.assert_allclose(
        table["p_value"][shown], np.array(fit["p"])[shown], rtol=1e-5, atol=1e-12
    )


@having("QM")
def test_test_of_moderators_agrees_with_r(fit, make_effects):
    result = run(fit, make_effects)
    values = result.heterogeneity.set_index("parameter")["estimate"]
    np.testing.assert_allclose(values["QM"], fit["QM"], rtol=1e-6, atol=1e-8)
    assert values["QM_df1"] == fit["QM_df1"]
    if fit["QM_df2"] is None:
        assert np.isnan(values["QM_df2"])
    else:
        np.testing.assert_allclose(values["QM_df2"], fit["QM_df2"], **ROBUST_DF)
    if "omnibus" in result.withheld:
        assert np.isnan(values["QM_p"])
    else:
        np.testing.assert_allclose(values["QM_p"], fit["QM_p"], rtol=1e-5, atol=1e-12)


@having("log_likelihood")
def test_likelihood_and_criteria_agree_with_r(fit, make_effects):
    values = run(fit, make_effects).heterogeneity.set_index("parameter")["estimate"]
    names = ["log_likelihood", "AIC", "AICc", "BIC"]
    np.testing.assert_allclose(values[names], [fit[name] for name in names], **LIKELIHOOD)


@having("Q")
def test_q_agrees_with_r(fit, make_effects):
    values = run(fit, make_effects).heterogeneity.set_index("parameter")["estimate"]
    np.testing.assert_allclose(values["Q"], fit["Q"], rtol=1e-9)
    assert values["Q_df"] == fit["Q_df"]
    # a tail probability multiplies the rounding of Q; far out it is zero for R
    np.testing.assert_allclose(values["Q_p"], fit["Q_p"], rtol=1e-7, atol=1e-100)


@having("I2")
def test_shares_of_heterogeneity_agree_with_r(fit, make_effects):
    values = run(fit, make_effects).heterogeneity.set_index("parameter")["estimate"]
    names = ["I2", "I2_between", "I2_within", "ICC"]
    np.testing.assert_allclose(values[names], [fit[name] for name in names], **VARIANCE)


@having("R2")
def test_explained_heterogeneity_agrees_with_r(fit, make_effects):
    values = run(fit, make_effects).heterogeneity.set_index("parameter")["estimate"]
    without = values["tau2_without_moderators"]
    np.testing.assert_allclose(without, fit["tau2_without_moderators"], **VARIANCE)
    # a share of one variance that another leaves: its error is theirs, in percent
    np.testing.assert_allclose(values["R2"], fit["R2"], rtol=1e-6, atol=1e-5)


@having("component_ci")
def test_profile_intervals_agree_with_r(fit, make_effects):
    values = run(fit, make_effects).heterogeneity.set_index("parameter")
    for name, ends in fit["component_ci"].items():
        ours = values.loc[name, ["ci_low", "ci_high"]].astype(float)
        np.testing.assert_allclose(ours, ends, **PROFILE, err_msg=name)
        assert (ours["ci_low"] == 0) == (ends[0] == 0)


@having("pi")
def test_prediction_interval_agrees_with_r(fit, make_effects):
    row = run(fit, make_effects).summary.iloc[0]
    np.testing.assert_allclose([row["pi_low"], row["pi_high"]], fit["pi"], rtol=1e-6, atol=1e-8)


@having("levels")
def test_level_means_agree_with_r(fit, make_effects):
    summary = run(fit, make_effects).summary.set_index("level")
    theirs = fit["levels"]
    table = summary.loc[[f"level={name}" for name in theirs["names"]]]
    np.testing.assert_allclose(table["estimate"], theirs["estimate"], **COEFFICIENT)
    # no interval is shown where one study is all there is
    several = (table["k_studies"] > 1).to_numpy()
    assert several.sum() > 1
    for end in ("ci_low", "ci_high"):
        ours = table[end].to_numpy(float)
        assert np.isnan(ours[~several]).all()
        expected = np.array(theirs[end])[several]
        np.testing.assert_allclose(ours[several], expected, rtol=1e-5, atol=1e-7, err_msg=end)


@having("studies")
def test_true_effects_of_studies_agree_with_r(fit, make_effects):
    theirs = fit["studies"]
    table = run(fit, make_effects).studies.set_index("study_id")
    assert len(table) == len(theirs["study"])
    table = table.loc[[f"s{int(s)}" for s in theirs["study"]]]
    np.testing.assert_allclose(table["estimate"], theirs["estimate"], **ROUNDED)
    np.testing.assert_allclose(table["se"], theirs["se"], **ROUNDED)
    half = 1.959963984540054 * np.array(theirs["se"])
    np.testing.assert_allclose(table["ci_low"], theirs["estimate"] - half, **ROUNDED)
    np.testing.assert_allclose(table["ci_high"], theirs["estimate"] + half, **ROUNDED)


def test_awkward_fits_are_among_the_references():
    # the sets were made for these cases; a change to the script must not lose them
    at_zero = {name for f in FITS for name, value in f["components"].items() if value == 0}
    assert {"tau2_between", "tau2_within"} <= at_zero
    assert any(min(f["df"]) < 2 for f in FITS if "df" in f)
    sizes = np.bincount(np.array(REFERENCE["sets"]["giant"]["study"], dtype=int))[1:]
    assert sorted(sizes)[-2:] == [1, 60]
    samples = REFERENCE["sets"]["samples"]
    assert len(set(samples["sample"])) > len(set(samples["study"])) == 40
