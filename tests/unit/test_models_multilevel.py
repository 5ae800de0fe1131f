"""The multilevel likelihood against dense matrices, and what the fits say of themselves."""

import numpy as np
import pytest
from scipy import optimize

from alliance_meta.models import ModelSpecification, analyse, describe_analysis
from alliance_meta.models.multilevel import (
    Likelihood,
    build_structure,
    fit_multilevel,
    generalised_residual,
)

# sums in another order; the dense inverse loses some digits of its own
DENSE = {"rtol": 1e-8, "atol": 1e-10}


def review(seed, n_studies=14, *, shared=False, groups=1):
    """Return studies of 1 to 4 effects in 1 or 2 samples, rows shuffled."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, n_studies)
    study = np.repeat(np.arange(n_studies), sizes)
    k = len(study)
    sample = study * 2 + rng.integers(0, 2, k)
    if shared:
        # one sample stands in two studies
        sample[study == 1] = sample[study == 0][0]
    sample = np.unique(sample, return_inverse=True)[1]
    order = rng.permutation(k)
    study, sample = study[order], sample[order]
    v = rng.uniform(0.005, 0.05, k)
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    y = 0.3 + rng.normal(0, 0.15, n_studies)[study] + rng.normal(0, 0.2, k)
    return y, v, X, study, sample, rng.integers(0, groups, k)


def dense_covariance(v, study, sample, group, rho, between, within):
    root = np.sqrt(v)
    sigma = np.where(sample[:, None] == sample, rho, 0.0) * np.outer(root, root)
    same = (study[:, None] == study) & (group[:, None] == group)
    sigma += same * between[group][:, None]
    sigma[np.diag_indices(len(v))] = v + between[group] + within[group]
    return sigma


def dense_log_likelihood(y, X, sigma, *, restricted):
    k, p = X.shape
    inverse = np.linalg.inv(sigma)
    information = X.T @ inverse @ X
    b = np.linalg.solve(information, X.T @ inverse @ y)
    e = y - X @ b
    value = -0.5 * (np.linalg.slogdet(sigma)[1] + e @ inverse @ e)
    if not restricted:
        return value - 0.5 * k * np.log(2 * np.pi), b
    value += 0.5 * np.linalg.slogdet(X.T @ X)[1] - 0.5 * np.linalg.slogdet(information)[1]
    return value - 0.5 * (k - p) * np.log(2 * np.pi), b


@pytest.mark.parametrize("restricted", [True, False])
@pytest.mark.parametrize(("shared", "groups"), [(False, 1), (True, 1), (False, 3), (True, 2)])
@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_likelihood_equals_the_dense_one(restricted, shared, groups, rho):
    y, v, X, study, sample, group = review(3, shared=shared, groups=groups)
    theta = np.linspace(0.01, 0.08, 2 * groups)
    likelihood = Likelihood(
        y, v, X, build_structure(study, sample, group), rho, restricted=restricted
    )
    at = likelihood.evaluate(theta)
    sigma = dense_covariance(v, study, sample, group, rho, theta[:groups], theta[groups:])
    value, b = dense_log_likelihood(y, X, sigma, restricted=restricted)
    assert at.log_likelihood == pytest.approx(value, rel=1e-10)
    np.testing.assert_allclose(at.coefficients + likelihood.offset, b, **DENSE)

    # the score is the slope of the likelihood; central differences err by the step squared
    score, information = likelihood.slope(at)
    step = 1e-6
    for i, slope in enumerate(score):
        up, down = theta.copy(), theta.copy()
        up[i] += step
        down[i] -= step
        gain = likelihood.evaluate(up).log_likelihood - likelihood.evaluate(down).log_likelihood
        assert slope == pytest.approx(gain / (2 * step), rel=1e-4, abs=1e-4)
    assert np.linalg.eigvalsh(information).min() > 0


def test_dense_blocks_and_inverse_fit_together():
    y, v, X, study, sample, group = review(5, shared=True, groups=2)
    structure = build_structure(study, sample, group)
    likelihood = Likelihood(y, v, X, structure, 0.5, restricted=True)
    covariance = likelihood.evaluate(np.array([0.02, 0.05, 0.01, 0.03])).covariance
    order = structure.order
    sigma = dense_covariance(
        v, study, sample, group, 0.5, np.array([0.02, 0.05]), np.array([0.01, 0.03])
    )[np.ix_(order, order)]
    np.testing.assert_allclose(covariance.solve(sigma), np.eye(len(y)), atol=1e-9)
    np.testing.assert_allclose(
        covariance.inverse_diagonal(), np.diag(np.linalg.inv(sigma)), **DENSE
    )
    rows = np.flatnonzero(structure.block == 0)
    np.testing.assert_allclose(
        covariance.dense(rows[None, :])[0], sigma[np.ix_(rows, rows)], **DENSE
    )


@pytest.mark.parametrize("seed", range(6))
def test_maximum_is_no_lower_than_that_of_a_general_optimiser(seed):
    y, v, X, study, sample, _ = review(seed, n_studies=9)
    fit = fit_multilevel(
        y,
        v,
        X,
        build_structure(study, sample),
        rho=0.6,
        restricted=True,
        free=np.array([True, True]),
    )

    def loss(theta):
        return -fit.likelihood.evaluate(np.abs(theta)).log_likelihood

    best = min(
        optimize.minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-9}).fun
        for start in ([0.01, 0.01], [0.2, 0.01], [0.01, 0.2])
    )
    assert fit.log_likelihood >= -best - 1e-9


def test_profile_interval_ends_where_the_ratio_test_rejects():
    y, v, X, study, sample, _ = review(11, n_studies=25)
    fit = fit_multilevel(
        y,
        v,
        X,
        build_structure(study, sample),
        rho=0.6,
        restricted=True,
        free=np.array([True, True]),
    )
    for component in (0, 1):
        low, high = fit.profile_interval(component, 0.95)
        assert low <= fit.theta[component] <= high
        for end in (low, high):
            if end == 0:
                continue

            def loss(other, component=component, end=end):
                theta = np.array([abs(other), abs(other)])
                theta[component] = end
                return -fit.likelihood.evaluate(theta).log_likelihood

            profile = -optimize.minimize_scalar(loss, bounds=(0, 1), method="bounded").fun
            # the bounded search stops at 1e-5 of its range, where the likelihood is flat
            assert 2 * (fit.log_likelihood - profile) == pytest.approx(3.841458820694124, abs=1e-3)


def test_residual_statistics_equal_the_dense_ones():
    y, v, X, study, sample, group = review(8)
    structure = build_structure(study, sample)
    Q, typical = generalised_residual(y, v, X, structure, 0.6)
    zero = np.zeros(1)
    W = np.linalg.inv(dense_covariance(v, study, sample, group, 0.6, zero, zero))
    P = W - W @ X @ np.linalg.solve(X.T @ W @ X, X.T @ W)
    assert pytest.approx(y @ P @ y, rel=1e-9) == Q
    assert typical == pytest.approx((len(y) - 2) / np.trace(P), rel=1e-9)


def test_study_estimates_equal_the_dense_prediction():
    y, v, X, study, sample, group = review(2)
    fit = fit_multilevel(
        y,
        v,
        X,
        build_structure(study, sample),
        rho=0.4,
        restricted=True,
        free=np.array([True, True]),
    )
    number, _, estimate, se = fit.study_estimates()
    sigma = dense_covariance(v, study, sample, group, 0.4, fit.between, fit.within)
    W = np.linalg.inv(sigma)
    Z = (study[:, None] == np.arange(study.max() + 1)).astype(float)
    means = (Z.T @ X) / Z.sum(axis=0)[:, None]
    B = np.linalg.inv(X.T @ W @ X)
    b = B @ X.T @ W @ y
    tau2 = fit.between[0]
    u = tau2 * Z.T @ W @ (y - X @ b)
    np.testing.assert_allclose(estimate, (means @ b + u)[number], **DENSE)
    gap = means - tau2 * Z.T @ W @ X
    variance = tau2 - tau2**2 * np.diag(Z.T @ W @ Z) + np.einsum("mp,pq,mq->m", gap, B, gap)
    np.testing.assert_allclose(se, np.sqrt(variance)[number], **DENSE)


@pytest.fixture
def effects(make_effects):
    y, v, _, study, sample, _ = review(21, n_studies=24)
    order = np.argsort(study, kind="stable")
    k = len(y)
    rng = np.random.default_rng(4)
    return make_effects(
        y[order],
        v[order],
        [f"s{i:02}" for i in study[order]],
        sample_id=[f"p{i}" for i in sample[order]],
        rater=["client" if i % 3 else "therapist" for i in range(k)],
        year=rng.integers(1990, 2020, k).astype(float),
    )


def spec(**settings):
    return ModelSpecification(**{"metric": "r", "model": "che", **settings})


def estimates(result):
    return result.heterogeneity.set_index("parameter")["estimate"]


def test_rows_may_stand_in_any_order(effects):
    shuffled = effects.sample(frac=1, random_state=3).reset_index(drop=True)
    one, two = (analyse(e, spec(moderators="rater + year")) for e in (effects, shuffled))
    for column in ("estimate", "se", "df"):
        np.testing.assert_allclose(one.coefficients[column], two.coefficients[column], rtol=1e-7)


def test_three_level_is_che_without_correlation(effects):
    three = analyse(effects, spec(model="three_level"))
    che = analyse(effects, spec(rho=0.0))
    np.testing.assert_allclose(three.coefficients["se"], che.coefficients["se"], rtol=1e-9)
    assert estimates(three)["tau2_between"] == pytest.approx(estimates(che)["tau2_between"])


def test_one_effect_a_study_gives_the_random_effects_model(effects):
    single = effects.drop_duplicates("study_id")
    che = analyse(single, spec(inference="z"))
    plain = analyse(single, spec(model="random_effects", tau2="REML", inference="z"))
    assert estimates(che)["tau2_between"] == pytest.approx(estimates(plain)["tau2"], rel=1e-7)
    assert np.isnan(estimates(che)["tau2_within"])
    assert che.coefficients["se"][0] == pytest.approx(plain.coefficients["se"][0], rel=1e-8)
    assert any("no study brings two effects" in w for w in che.warnings)


def test_variance_at_the_boundary_is_said(effects):
    effects["r"] = 0.3 + 0.01 * np.sin(np.arange(len(effects)))
    result = analyse(effects, spec())
    assert estimates(result)["tau2_between"] == 0
    assert any("estimated as zero" in w for w in result.warnings)
    interval = result.heterogeneity.set_index("parameter").loc["tau2_between"]
    assert interval["ci_low"] == 0
    assert interval["ci_high"] > 0


def test_shares_of_heterogeneity_add_up(effects):
    values = estimates(analyse(effects, spec()))
    assert values["I2"] == pytest.approx(values["I2_between"] + values["I2_within"])
    total = values["tau2_between"] + values["tau2_within"]
    assert values["ICC"] == pytest.approx(values["tau2_between"] / total)
    assert values["tau"] == pytest.approx(np.sqrt(total))


def test_prediction_interval_holds_both_variances(effects):
    result = analyse(effects, spec(inference="z"))
    row, se = result.summary.iloc[0], result.coefficients["se"][0]
    half = 1.959963984540054 * np.sqrt(se**2 + estimates(result)["tau"] ** 2)
    assert row["pi_high"] - row["estimate"] == pytest.approx(half)


def test_studies_that_share_a_sample_are_one_cluster(effects):
    effects.loc[effects["study_id"] == "s01", "sample_id"] = effects["sample_id"][0]
    result = analyse(effects, spec())
    assert any("24 studies make 23 independent clusters" in w for w in result.warnings)


@pytest.mark.parametrize("model", ["che", "random_effects"])
def test_separate_variances_are_no_worse_than_a_common_one(effects, model):
    if model == "random_effects":
        effects = effects.drop_duplicates("study_id")
    common = analyse(effects, spec(model=model, moderators="rater", inference="t"))
    apart = analyse(
        effects, spec(model=model, moderators="rater", inference="t", separate_tau2=True)
    )
    # in a multilevel model separate variances also mean separate intercepts within a study
    statistic = estimates(apart)["LRT_separate_tau2"]
    assert statistic >= 0
    if model == "random_effects":
        gain = estimates(apart)["log_likelihood"] - estimates(common)["log_likelihood"]
        assert statistic == pytest.approx(2 * gain, abs=1e-7)
    assert estimates(apart)["LRT_separate_tau2_df"] == (1 if model == "random_effects" else 2)
    stem = "tau2" if model == "random_effects" else "tau2_between"
    for level in ("client", "therapist"):
        assert f"{stem}[rater={level}]" in apart.heterogeneity["parameter"].to_numpy()
    assert "of rater=client = " in " ".join(describe_analysis(apart))
    rows = apart.summary.set_index("level")
    widths = rows["pi_high"] - rows["pi_low"]
    assert widths["rater=client"] != pytest.approx(widths["rater=therapist"])


def test_separate_variances_of_independent_effects_are_those_of_each_level(effects):
    single = effects.drop_duplicates("study_id")
    apart = analyse(
        single, spec(model="random_effects", moderators="rater", inference="t", separate_tau2=True)
    )
    for level in ("client", "therapist"):
        alone = analyse(
            single.loc[single["rater"] == level], spec(model="random_effects", tau2="REML")
        )
        value = estimates(apart)[f"tau2[rater={level}]"]
        assert value == pytest.approx(estimates(alone)["tau2"], rel=1e-6, abs=1e-9)


def test_separate_variances_need_one_categorical_moderator(effects):
    from alliance_meta.models import SpecificationError

    effects["timing"] = ["early", "late"] * (len(effects) // 2) + ["early"] * (len(effects) % 2)
    for formula in ("year", "rater + timing"):
        with pytest.raises(SpecificationError, match="one categorical moderator"):
            analyse(effects, spec(moderators=formula, separate_tau2=True))


def test_one_study_cannot_carry_a_multilevel_model(effects):
    study = effects["study_id"].mode()[0]
    result = analyse(effects.loc[effects["study_id"] == study], spec())
    assert result.failure == "1 independent study cannot support 1 coefficient."


def test_level_of_one_effect_has_no_variance_of_its_own(effects):
    single = effects.drop_duplicates("study_id").copy()
    single.loc[single.index[3], "rater"] = "observer"
    for model in ("random_effects", "che"):
        result = analyse(
            single, spec(model=model, moderators="rater", inference="t", separate_tau2=True)
        )
        stem = "tau2" if model == "random_effects" else "tau2_between"
        assert np.isnan(estimates(result)[f"{stem}[rater=observer]"])
        assert any("of rater=observer cannot be estimated" in w for w in result.warnings)


def test_unit_of_the_effects_does_not_matter(effects):
    for model in ("che", "random_effects"):
        settings = {"model": model, "moderators": "rater", "metric": "generic"}
        effects["conversion"] = "generic"
        small = effects.assign(yi=effects["yi"] * 1e-6, vi=effects["vi"] * 1e-12)
        one, two = (analyse(e, spec(**settings)) for e in (effects, small))
        a, b = (r.heterogeneity.set_index("parameter") for r in (one, two))
        for name in a.index[a.index.str.startswith("tau2")]:
            np.testing.assert_allclose(
                a.loc[name].astype(float), b.loc[name].astype(float) * 1e12, rtol=1e-4, atol=1e-9
            )


def test_robust_errors_hold_with_very_unequal_variances(effects):
    # two effects a study, one a hundred thousand times as precise: it alone matters
    one = effects.drop_duplicates("study_id").assign(vr=1e-8)
    two = one.assign(vr=0.2, effect_id=one["effect_id"] + "b")
    both = one.iloc[np.repeat(np.arange(len(one)), 2)].reset_index(drop=True)
    both.loc[1::2, ["vr", "effect_id"]] = two[["vr", "effect_id"]].to_numpy()
    both["vr"] = both["vr"].astype(float)
    settings = {"model": "common_effect", "inference": "cr2"}
    alone = analyse(one, spec(**settings)).coefficients.iloc[0]
    together = analyse(both, spec(**settings)).coefficients.iloc[0]
    assert together["se"] == pytest.approx(alone["se"], rel=1e-4)
    assert together["df"] == pytest.approx(alone["df"], rel=1e-4)


def test_a_maximum_inside_is_found_though_a_climb_leads_to_the_boundary():
    effects = """
        0 0 2.251181597295076 0.025182095303766604
        1 0 0.24993074530362785 0.047167076189178966
        2 1 0.6772757612007416 0.04082124880326258
        3 2 0.22187457864554427 0.03489886177542934
        4 3 0.5606380380943536 0.010461806061949245
        4 3 -0.5035638591566535 0.04400381168630554
        5 4 -0.18374316136219992 0.06846926602226398
        6 5 0.27434863405408727 0.06122314621306019
        6 6 0.5976614765533451 0.010149051536676933
        6 5 0.11802226287277989 0.05841289375503662
        7 7 -0.028032915389991725 0.02723974263761374
        7 7 0.21692317799249697 0.005129414526774542
        8 8 0.17912276576483685 0.03932264105102464
        8 8 -0.09161576375098589 0.010625268986074608
        8 9 0.3150835594463975 0.012185501858922893
        8 9 0.3657149925084894 0.019361451521469494
        9 10 0.30130976668163123 0.07359441233564461
        10 11 0.12806840829294044 0.02329324795083347"""
    rows = np.array([line.split() for line in effects.strip().splitlines()], dtype=float)
    structure = build_structure(rows[:, 0].astype(int), rows[:, 1].astype(int))
    X, free = np.ones((len(rows), 1)), np.array([True, True])
    fit = fit_multilevel(rows[:, 2], rows[:, 3], X, structure, rho=0.8, restricted=False, free=free)
    # from rma.mv, whose search stops at 1e-8 of the likelihood; the boundary's is -14.828
    assert fit.log_likelihood == pytest.approx(-14.6073828, abs=1e-6)
    np.testing.assert_allclose(fit.theta, [0.218152, 0.125094], rtol=1e-4)
