"""What stands beside an analysis: attenuation, psychometric and Bayesian read-outs."""

import numpy as np
import pytest

from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.models.layers import compute_layers
from alliance_meta.models.record import RECORDED


def spec(**settings):
    return ModelSpecification(**{"metric": "fisher_z", **settings})


PRIOR = {"prior": "half_normal", "scale": 0.25, "thresholds": [0.1, 0.2, 0.3]}


@pytest.fixture
def effects(make_effects):
    rng = np.random.default_rng(31)
    study = np.repeat([f"s{i:02}" for i in range(16)], [1, 2, 3, 2] * 4)
    k = len(study)
    n = rng.integers(30, 200, k).astype(float)
    r = np.clip(rng.normal(0.3, 0.12, k), -0.6, 0.6)
    table = make_effects(
        r,
        1 / (n - 3),
        study,
        n=n,
        rater=["client", "therapist"] * (k // 2),
        instrument=["WAI"] * k,
        reliability_alliance=np.where(np.arange(k) % 2, 0.9, np.nan),
    )
    table["r"], table["vr"] = r, (1 - r**2) ** 2 / (n - 1)
    table["z"], table["vz"] = np.arctanh(r), 1 / (n - 3)
    table["yi"], table["vi"] = table["z"], table["vz"]
    return table


def layers(effects, specification, **settings):
    return compute_layers(effects, analyse(effects, specification), **settings)


def test_observed_and_corrected_stand_side_by_side(effects):
    specification = spec(moderators="rater", reliability={"outcome": 0.8})
    table = layers(effects, specification).tables["attenuation"]
    assert list(table["version"].unique()) == ["observed", "corrected"]
    assert list(table["level"].unique()) == ["overall", "rater=client", "rater=therapist"]
    wide = table.pivot(index="level", columns="version", values="estimate")
    assert (wide["corrected"] > wide["observed"]).all()
    direct = analyse(effects, spec(moderators="rater", reliability={"outcome": 0.8}))
    observed = table.loc[table["version"] == "observed", "estimate"]
    np.testing.assert_allclose(observed, direct.summary["estimate"])


@pytest.mark.parametrize(
    "model", ["common_effect", "random_effects", "aggregated", "rve", "three_level", "che"]
)
def test_every_model_runs_on_corrected_effects(effects, model):
    settings = {"model": model, "reliability": {"alliance": 0.9, "outcome": 0.8}}
    observed = analyse(effects, spec(**settings))
    corrected = analyse(effects, spec(attenuation="corrected", **settings))
    ratio = corrected.summary["estimate"][0] / observed.summary["estimate"][0]
    # all effects are divided by the same number, and z bends little at these sizes
    assert ratio == pytest.approx(1 / np.sqrt(0.9 * 0.8), rel=0.05)
    assert any("reliab" in w for w in corrected.warnings)
    table = layers(effects, spec(attenuation="corrected", **settings)).tables["attenuation"]
    overall = table.loc[table["level"] == "overall"].set_index("version")["estimate"]
    assert overall["corrected"] == pytest.approx(corrected.summary["estimate"][0])
    assert overall["observed"] == pytest.approx(observed.summary["estimate"][0])


def test_without_any_reliability_nothing_is_corrected(effects):
    effects["reliability_alliance"] = np.nan
    found = layers(effects, spec())
    assert found.tables["attenuation"].empty
    assert "No reliability is coded or assumed" in found.sentences["attenuation"][0]


def test_sweep_falls_with_reliability_and_ends_at_the_observed_mean(effects):
    effects["reliability_alliance"] = np.nan
    table = layers(effects, spec()).tables["attenuation_sweep"]
    wide = table.pivot(
        index="reliability_alliance", columns="reliability_outcome", values="estimate"
    )
    assert (wide.diff().dropna() < 0).all(axis=None)
    assert (wide.diff(axis=1).dropna(axis=1) < 0).all(axis=None)
    assert wide.loc[1.0, 1.0] == pytest.approx(analyse(effects, spec()).summary["estimate"][0])


def test_effects_that_cannot_be_corrected_are_left_out_and_named(effects):
    effects.loc[0, ["r", "z"]] = [0.95, np.arctanh(0.95)]
    specification = spec(attenuation="corrected", reliability={"outcome": 0.7})
    result = analyse(effects, specification)
    assert "e0" in set(result.left_out["effect_id"])
    assert "e0" not in set(result.included["effect_id"])


def test_psychometric_estimates_are_of_one_correlation_a_sample(effects):
    table = layers(effects, spec()).tables["hunter_schmidt"].set_index("parameter")
    samples = effects.groupby("sample_id").agg(r=("r", "mean"), n=("n", "max"))
    mean = np.average(samples["r"], weights=samples["n"])
    assert table.loc["mean", "bare_bones"] == pytest.approx(mean)
    assert table.loc["mean", "corrected"] > mean


def test_posterior_agrees_with_the_classical_estimate_of_many_studies(effects):
    found = layers(effects, spec(model="aggregated"), prior=PRIOR)
    table = found.tables["posterior"].set_index("parameter")
    row = analyse(effects, spec(model="aggregated")).summary.iloc[0]
    # the prior and the uncertainty of tau move a mean of 16 samples by little
    assert table.loc["mean", "median"] == pytest.approx(row["estimate"], abs=0.01)
    assert table.loc["mean", "ci_low"] == pytest.approx(row["ci_low"], abs=0.03)
    chances = found.tables["posterior_probabilities"]
    assert list(chances["threshold"]) == [0.1, 0.2, 0.3]
    assert chances["mean_exceeds"].is_monotonic_decreasing
    studies = found.tables["posterior_studies"]
    assert len(studies) == effects["sample_id"].nunique()
    assert studies["shrinkage"].between(0, 1).all()
    assert any(
        "one composite of each sample" in s
        for s in layers(effects, spec(), prior=PRIOR).sentences["posterior"]
    )


def test_too_few_studies_for_a_uniform_prior_is_a_sentence(effects):
    few = effects.drop_duplicates("study_id").head(2)
    found = layers(few, spec(), prior={"prior": "uniform"})
    assert found.tables["posterior"].empty
    assert found.sentences["posterior"][0].startswith("No posterior: ")


def test_analyses_with_moderators_have_no_read_out_of_the_mean(effects):
    found = layers(effects, spec(moderators="rater"), prior=PRIOR)
    for name in ("posterior", "hunter_schmidt", "attenuation_sweep"):
        assert found.tables[name].empty


def test_own_scale_has_no_attenuation(effects):
    effects["conversion"] = "generic"
    found = layers(effects, spec(metric="generic"), prior=PRIOR)
    assert found.tables["attenuation"].empty
    assert "attenuation" not in found.sentences
    assert len(found.tables["posterior"]) == 3


def test_location_scale_model_stands_in_the_tables(effects):
    single = effects.drop_duplicates("study_id").copy()
    single["size"] = np.log(single["n"])
    rng = np.random.default_rng(5)
    single["z"] = rng.normal(0.3, 0.1 + 0.2 * (single["n"] > 100))
    result = analyse(single, spec(moderators="size", scale="size", inference="z"))
    assert result.spec.model == "random_effects"
    assert list(result.scale["term"]) == ["Intercept", "size"]
    values = result.heterogeneity.set_index("parameter")["estimate"]
    assert {"QS", "QS_p", "LRT_scale", "QM", "log_likelihood"} <= set(values.index)
    assert "tau2" not in values.index
    alone = analyse(single, spec(scale="size", inference="z"))
    assert alone.summary["pi_low"].isna().all()
    assert alone.coefficients["estimate"][0] == pytest.approx(
        np.arctanh(alone.summary["estimate"][0])
    )
    assert compute_layers(single, result, permutations=100).resampling.permutation.empty


def test_every_recorded_table_exists(effects):
    assert set(RECORDED) <= set(analyse(effects, spec()).tables())


def test_observed_and_corrected_are_of_the_same_effects(effects):
    specification = spec(where="r < 0.35", reliability={"outcome": 0.6})
    table = layers(effects, specification).tables["attenuation"]
    assert table["k_effects"].nunique() == 1
    assert table["k_effects"].iloc[0] == (effects["r"] < 0.35).sum()


def test_label_claims_a_correction_only_where_there_was_one(effects):
    from alliance_meta.models import model_label

    corrected = analyse(effects, spec(attenuation="corrected"))
    assert "corrected for attenuation" in model_label(corrected)
    effects["reliability_alliance"] = np.nan
    plain = analyse(effects, spec(attenuation="corrected"))
    assert "corrected" not in model_label(plain)
    assert any("No reliability is coded or assumed" in w for w in plain.warnings)


def test_prior_of_effects_on_their_own_scale_must_be_given(effects):
    effects["conversion"] = "generic"
    found = layers(effects, spec(metric="generic"), prior={"prior": "half_normal"})
    assert found.tables["posterior"].empty
    assert "need a scale" in found.sentences["posterior"][0]
    found = layers(effects, spec(metric="generic"), prior={"scale": 0.5})
    assert len(found.tables["posterior"]) == 3
    assert found.tables["posterior_probabilities"].empty


def test_scale_part_has_its_gate_and_needs_a_constant(effects):
    from alliance_meta.models import SpecificationError, describe_analysis

    single = effects.drop_duplicates("study_id").copy()
    rng = np.random.default_rng(5)
    single["z"] = rng.normal(0.3, 0.3, len(single))
    result = analyse(single, spec(scale="n + vz", inference="z"))
    assert "8 studies stand behind each of 2" in result.withheld["scale"]
    assert result.scale["p_value"].isna().all()
    values = result.heterogeneity.set_index("parameter")["estimate"]
    assert np.isnan(values["QS_p"])
    assert "cannot be judged here" in describe_analysis(result)[-1]
    with pytest.raises(SpecificationError, match="no intercept"):
        analyse(single, spec(scale="0 + n", inference="z"))
    with pytest.raises(SpecificationError, match="scale"):
        analyse(single, spec(scale="n +", inference="z"))


def test_composites_are_made_by_sample(effects):
    result = analyse(effects, spec(model="aggregated"))
    sizes = effects.groupby("sample_id").size()
    assert list(result.studies["k_effects"]) == list(sizes)
    table = layers(effects, spec(model="aggregated"), prior=PRIOR)
    assert "one composite of each sample" in table.sentences["posterior"][0]
