"""p-uniform*: an independent likelihood in R, simulation, awkward data."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from alliance_meta.bias import p_uniform
from alliance_meta.bias.p_uniform import P_UNIFORM_COLUMNS, assess_p_uniform, fit_p_uniform
from alliance_meta.effect_sizes import aggregate_effects
from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.models.rows import model_rows
from alliance_meta.models.specification import InestimableError, SpecificationError

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "selection.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("case", REFERENCE["p_uniform"], ids=lambda case: case["set"])
def test_agrees_with_the_likelihood_written_in_r(case):
    data = REFERENCE["data"][case["set"]]
    fit = fit_p_uniform(np.array(data["y"]), np.array(data["v"]), alternative=case["alternative"])
    # nlminb stops at about the root of machine precision
    assert fit.estimate == pytest.approx(case["estimate"], abs=1e-7)
    assert fit.tau2 == pytest.approx(case["tau2"], abs=1e-7)
    # ends of intervals are roots of a profile, which is flat in what is searched
    assert fit.ci == pytest.approx(case["ci"], abs=1e-9)
    assert fit.tau2_ci == pytest.approx(case["tau2_ci"], abs=1e-9)
    assert fit.log_likelihood == pytest.approx(case["log_likelihood"], abs=1e-9)
    assert fit.lrt_effect == pytest.approx(case["lrt_mu"], abs=1e-8)
    assert fit.lrt_tau2 == pytest.approx(case["lrt_tau2"], abs=1e-8)
    assert fit.lrt_bias == pytest.approx(case["lrt_bias"], abs=1e-8)
    assert fit.k_significant == case["k_significant"]
    assert fit.p_effect == pytest.approx(stats.chi2.sf(case["lrt_mu"], 1))
    assert fit.p_tau2 == pytest.approx(stats.chi2.sf(case["lrt_tau2"], 1) / 2)
    assert fit.p_bias == pytest.approx(stats.chi2.sf(case["lrt_bias"], 2))


def test_simulated_selection_is_undone():
    rng = np.random.default_rng(3)
    v = 1 / rng.integers(15, 120, 4000)
    y = rng.normal(0.15, np.sqrt(v + 0.01))
    kept = (y / np.sqrt(v) > 1.96) | (rng.random(len(y)) < 0.25)
    fit = fit_p_uniform(y[kept], v[kept])
    assert fit.ci[0] < 0.15 < fit.ci[1]
    assert fit.ci[1] - fit.ci[0] < 0.08
    assert fit.p_bias < 1e-6
    naive = np.average(y[kept], weights=1 / (v[kept] + 0.01))
    assert naive > fit.ci[1]


def test_interval_is_where_the_test_rejects():
    rng = np.random.default_rng(4)
    y, v = rng.normal(0.3, 0.25, 30), np.full(30, 0.03)
    fit = fit_p_uniform(y, v)
    wider = fit_p_uniform(y, v, ci_level=0.99)
    assert wider.ci[0] < fit.ci[0] < fit.estimate < fit.ci[1] < wider.ci[1]
    # at the level of the test of zero, the interval ends at zero
    at = fit_p_uniform(y, v, ci_level=1 - fit.p_effect)
    assert at.ci[0] == pytest.approx(0, abs=1e-9)


def test_common_effect_is_the_root_of_its_score():
    rng = np.random.default_rng(6)
    v = rng.uniform(0.01, 0.05, 25)
    y = rng.normal(0.2, np.sqrt(v))
    fit = fit_p_uniform(y, v, random=False)
    sigma = np.sqrt(v)
    u = (stats.norm.isf(0.025) * sigma - fit.estimate) / sigma
    hit = y / sigma >= stats.norm.isf(0.025)
    hazard = np.where(
        hit, stats.norm.pdf(u) / stats.norm.sf(u), -stats.norm.pdf(u) / stats.norm.cdf(u)
    )
    # rounding of a sum of 25 terms of about 30
    assert ((y - fit.estimate) / v - hazard / sigma).sum() == pytest.approx(0, abs=1e-9)
    assert fit.tau2 == 0
    assert np.isnan(fit.lrt_tau2)


def test_what_cannot_be_estimated():
    with pytest.raises(InestimableError, match="2 independent effects"):
        fit_p_uniform(np.array([0.3]), np.array([0.01]))
    with pytest.raises(SpecificationError, match="one direction"):
        fit_p_uniform(np.array([0.3, 0.2]), np.array([0.01, 0.01]), alternative="two.sided")


def test_running_out_of_steps_is_not_running_to_infinity(monkeypatch):
    with pytest.raises(InestimableError, match="no maximum at a finite mean: the effects lie"):
        fit_p_uniform(np.array([-0.1, 0.01, 5.0]), np.full(3, 0.01), alternative="less")
    monkeypatch.setattr("alliance_meta.bias.selection_likelihood.MAXIMUM_ITERATIONS", 1)
    with pytest.raises(InestimableError, match="still climbing after 1 step without"):
        fit_p_uniform(np.array([0.5, 0.1, 0.3]), np.full(3, 0.01))


def test_means_beyond_computing_have_no_likelihood():
    y = np.array([0.1, 0.3, 0.5, 0.2])
    profile = p_uniform._Profile(y, np.full(4, 0.01), False)
    # a warning of an overflow would be an error
    assert profile.at_mean(1e160) == -np.inf
    assert np.isfinite(profile.at_mean(-1e3))


def make_rows(make_effects, y, v, study=None, **settings):
    study = [f"s{i}" for i in range(len(y))] if study is None else study
    table = make_effects(np.asarray(y, float), np.broadcast_to(v, len(y)).copy(), study)
    spec = ModelSpecification(**{"metric": "fisher_z", **settings})
    return model_rows(analyse(table, spec))


def test_dependent_effects_enter_as_composites(make_effects):
    rng = np.random.default_rng(7)
    study = np.repeat([f"s{i:02}" for i in range(20)], 2)
    rows = make_rows(make_effects, rng.normal(0.3, 0.2, 40), 0.02, study, rho=0.5)
    found = assess_p_uniform(rows)
    table = found.tables["bias_p_uniform"]
    assert list(table.columns) == P_UNIFORM_COLUMNS
    composites = aggregate_effects(rows.y, rows.v, study, 0.5)
    fit = fit_p_uniform(composites.y, composites.v)
    assert table["estimate"].iloc[0] == pytest.approx(fit.estimate)
    assert table["k"].iloc[0] == 20
    assert "one composite (ρ = .50)" in found.sentences[0]


def test_direction_follows_the_effects_where_asked(make_effects):
    rng = np.random.default_rng(9)
    y = rng.normal(0.3, 0.2, 20)
    plain = assess_p_uniform(make_rows(make_effects, y, 0.02))
    mirror = assess_p_uniform(make_rows(make_effects, -y, 0.02), alternative="auto")
    one, other = (a.tables["bias_p_uniform"].iloc[0] for a in (plain, mirror))
    assert other["estimate"] == pytest.approx(-one["estimate"])
    assert other["ci_low"] == pytest.approx(-one["ci_high"])
    against = assess_p_uniform(make_rows(make_effects, -y, 0.02))
    assert "opposite" in against.sentences[0]


@pytest.mark.parametrize(
    ("y", "v", "words"),
    [
        ([0.4, 0.1], 0.01, "of 2 effects"),
        ([0.3] * 10, 0.01, "All effects are significant"),
        (list(np.linspace(-0.1, 0.1, 12)), 0.02, "No effect is significant"),
        (list(np.linspace(0.2, 0.21, 10)), 0.01, "All effects are significant"),
        (list(np.linspace(48, 52, 10)), 1e-4, "All effects are significant"),
        (list(np.linspace(0.1, 0.5, 10)), 1e-12, "All effects are significant"),
    ],
)
def test_awkward_data_give_sentences(y, v, words, make_effects):
    found = assess_p_uniform(make_rows(make_effects, y, v))
    assert any(words in sentence for sentence in found.sentences)
    table = found.tables["bias_p_uniform"]
    assert table.empty or table["ci_low"].iloc[0] <= table["estimate"].iloc[0]
