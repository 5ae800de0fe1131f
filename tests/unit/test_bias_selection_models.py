"""Selection models: metafor's numbers, data that identify nothing, dependence."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, special, stats

from alliance_meta.bias.beta_selection import BetaWeights
from alliance_meta.bias.cluster_bootstrap import draw_counts, summarise_draws
from alliance_meta.bias.selection_likelihood import (
    SelectionLikelihood,
    StepWeights,
    TruncatedWeights,
)
from alliance_meta.bias.selection_models import (
    SELECTION_COLUMNS,
    Selection,
    assess_selection,
    bootstrap_selection,
    fit_selection,
)
from alliance_meta.bias.vevea_woods import CUT_POINTS, PATTERNS, TWO_TAILED
from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.models.rows import model_rows
from alliance_meta.models.specification import InestimableError, SpecificationError

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "selection.json").read_text(encoding="utf-8")
)


def name(case):
    cuts = ",".join(str(step) for step in case["steps"][:4])
    kind = "prescribed" if case["weights"] else case["type"]
    extra = " x" if case["moderator"] else ""
    return f"{case['set']} {kind} {case['alternative']} {case['random']} {cuts}{extra}"


def published(set_name, moderator=False):
    data = {key: np.array(values, float) for key, values in REFERENCE["data"][set_name].items()}
    X = np.ones((len(data["y"]), 1))
    if moderator:
        X = np.column_stack([X, data["x"]])
    return data["y"], data["v"], X


@pytest.mark.parametrize("case", REFERENCE["fits"], ids=name)
def test_fits_agree_with_metafor(case):
    y, v, X = published(case["set"], case["moderator"])
    weights = None if case["weights"] is None else np.array(case["weights"])
    selection = Selection(tuple(case["steps"]), weights, case["alternative"])
    fit = fit_selection(y, v, X, selection, random=case["random"])
    # nlminb and optim stop at about the root of machine precision of flat optima
    close = {"rel": 5e-6, "abs": 1e-8}
    assert fit.beta == pytest.approx(case["beta"], **close)
    assert fit.beta_se == pytest.approx(case["beta_se"], **close)
    assert fit.tau2 == pytest.approx(case["tau2"], **close)
    if case["tau2_se"] is None:
        assert np.isnan(fit.tau2_se)
    else:
        assert fit.tau2_se == pytest.approx(case["tau2_se"], **close)
    assert fit.delta == pytest.approx(case["delta"], **close)
    assert fit.delta_se == pytest.approx(case["delta_se"], **close)
    # the reference is a maximum found by search
    assert fit.log_likelihood >= case["log_likelihood"] - 1e-10
    assert fit.log_likelihood >= case["metafor_log_likelihood"] - 1e-10
    if case["lrt"] is not None:
        assert fit.lrt == pytest.approx(case["lrt"], rel=1e-6, abs=1e-8)
        assert fit.lrt_df == case["lrt_df"]
        assert fit.lrt_p == pytest.approx(case["lrt_p"], rel=1e-6)
    if case["tau2_p"] is not None and case["type"] == "stepfun":
        # metafor's second search is not polished
        assert fit.tau2_p == pytest.approx(case["tau2_p"], rel=1e-4, abs=1e-8)


def test_shape_may_run_to_its_bound():
    # fmt: off
    y = [0.0373382, 0.00799068, 0.0441432, -0.0546846, 0.0573862, -0.00798529, 0.0317442,
         -0.354967, 0.080446, 0.153838]
    v = [0.00613497, 0.00793651, 0.0238095, 0.0078125, 0.00621118, 0.0222222, 0.00555556,
         0.0185185, 0.0103093, 0.004329]
    # fmt: on
    fit = fit_selection(np.array(y), np.array(v), np.ones((10, 1)), Selection())
    # metafor's selmodel, whose search halts before the bound that it has too
    assert fit.beta[0] == pytest.approx(0.225019704, abs=5e-5)
    assert fit.delta == pytest.approx([2.30548274, 1e-5], abs=5e-4)
    assert fit.log_likelihood > 10.184677
    assert any("bound of the search (0.00001 or 100)" in note for note in fit.notes)


def test_running_out_of_steps_is_not_running_to_infinity(monkeypatch):
    y, v, X = published("smoke")
    monkeypatch.setattr("alliance_meta.bias.selection_likelihood.MAXIMUM_ITERATIONS", 2)
    with pytest.raises(InestimableError, match="still climbing after 2 steps"):
        fit_selection(y, v, X, Selection((0.025,)))


def test_weights_may_be_smaller_than_any_bound_of_the_search():
    # without heterogeneity the negative effects leave hardly a chance for the significant ones
    y = np.array([-1.2, -0.8, -0.4, -0.2, 0.1, 0.2, 0.5])
    fit = fit_selection(y, np.full(7, 0.003), np.ones((7, 1)), Selection((0.025,)), random=False)
    # metafor's selmodel, whose search halts a little below
    assert fit.beta[0] == pytest.approx(-0.40527879, abs=1e-4)
    assert fit.delta[0] == pytest.approx(1.00399e-20, rel=0.02)
    assert fit.log_likelihood > -274.81774
    assert any("almost 0" in note for note in fit.notes)


@pytest.mark.parametrize("outlier", [50.0, 1e4])
@pytest.mark.parametrize("random", [False, True])
def test_outlier_beyond_computing_gives_a_sentence(outlier, random, make_effects):
    y = 0.2 + 0.01 * np.arange(8)
    y[:3] = [-0.1, 0.01, outlier]
    model = "random_effects" if random else "common_effect"
    rows = make_rows(make_effects, y, np.full(8, 0.01), model=model)
    found = assess_selection(rows, models=("beta", "3psm"))
    table = found.tables["bias_selection"]
    fitted = table["method"] == "hessian"
    assert np.isfinite(table.loc[fitted, ["estimate", "se"]].to_numpy()[:1]).all()
    assert random or "curvature of the likelihood" in " ".join(found.sentences)


def weight_functions(y, v):
    z, sigma = y / np.sqrt(v), np.sqrt(v)
    three = np.array([0.05, 0.2, 0.5])
    fixed = np.array([1.0, 0.5, 0.3, 0.2])
    return {
        "one-sided steps": StepWeights(z, sigma, np.array([0.025, 0.5]), two_sided=False),
        "two-sided steps": StepWeights(z, sigma, three, two_sided=True),
        "prescribed": StepWeights(z, sigma, three, two_sided=False, fixed=fixed),
        "truncated": TruncatedWeights(z, sigma, 0.025),
        "beta": BetaWeights(z, sigma, two_sided=False),
        "two-sided beta": BetaWeights(z, sigma, two_sided=True),
    }


@pytest.mark.parametrize(
    "kind",
    ["one-sided steps", "two-sided steps", "prescribed", "truncated", "beta", "two-sided beta"],
)
def test_derivatives_are_those_of_the_likelihood(kind):
    rng = np.random.default_rng(1)
    k = 30
    v = rng.uniform(0.01, 0.2, k)
    y = rng.normal(0.2, np.sqrt(v + 0.05))
    X = np.column_stack([np.ones(k), rng.normal(size=k)])
    likelihood = SelectionLikelihood(y, v, X, weight_functions(y, v)[kind])
    counts = rng.integers(0, 3, (1, k)).astype(float)
    x = likelihood.pack(
        np.array([[0.2, -0.1]]), np.array([0.03]), rng.normal(0, 0.5, (1, likelihood.J))
    )
    natural = np.zeros_like(x[0])

    def at(change):
        moved = x + change
        # the derivatives are in τ² itself, the search in log(τ² + v₀)
        moved[:, 2] = np.log(np.exp(x[:, 2]) + change[2])
        return likelihood.evaluate(moved, counts)

    _, gradient, hessian = at(natural)
    for i in range(len(natural)):
        step = natural.copy()
        step[i] = 1e-5 if i != 2 else 1e-5 * likelihood.v0
        (up, up_slope, _), (down, down_slope, _) = at(step), at(-step)
        # differences lose half the digits, relative to the largest curvature
        assert (up - down)[0] / (2 * step[i]) == pytest.approx(gradient[0, i], rel=1e-6, abs=1e-6)
        size = np.abs(hessian).max()
        np.testing.assert_allclose(
            (up_slope - down_slope)[0] / (2 * step[i]), hessian[0, i], rtol=1e-5, atol=1e-8 * size
        )


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize("delta", [(0.6, 2.0), (2.0, 0.5), (0.01, 1.0)])
def test_beta_model_integrates_its_weights(two_sided, delta):
    sigma, mu, total = 0.2, 0.3, 0.09
    weights = BetaWeights(np.array([1.0]), np.array([sigma]), two_sided=two_sided)
    shapes = np.log([delta])
    A = np.exp(weights.normalise(np.array([[mu]]), np.array([[total]]), shapes).log)[0, 0]

    def density(y):
        p = 2 * special.ndtr(-abs(y / sigma)) if two_sided else special.ndtr(-y / sigma)
        p = np.clip(p, 1e-5, 1 - 1e-5)
        weight = p ** (delta[0] - 1) * (1 - p) ** (delta[1] - 1)
        return weight * stats.norm.pdf(y, mu, np.sqrt(total))

    kink = sigma * -special.ndtri(0.5e-5 if two_sided else 1e-5)
    ends = [-4.0, -kink, -1e-4 * sigma, 0.0, 1e-4 * sigma, kink, 4.0]
    expected = sum(
        integrate.quad(density, a, b, epsabs=0, epsrel=1e-11, limit=200)[0]
        for a, b in pairwise(ends)
    )
    # scipy's own error at the kinks
    assert pytest.approx(expected, rel=1e-8) == A


def test_simulated_selection_is_undone():
    rng = np.random.default_rng(5)
    v = 1 / rng.integers(15, 120, 6000)
    y = rng.normal(0.2, np.sqrt(v + 0.01))
    kept = (y / np.sqrt(v) > 1.96) | (rng.random(len(y)) < 0.3)
    y, v = y[kept], v[kept]
    fit = fit_selection(y, v, np.ones((len(y), 1)), Selection((0.025,)))
    naive = np.average(y, weights=1 / (v + 0.01))
    # three standard errors
    assert abs(fit.beta[0] - 0.2) < 3 * fit.beta_se[0] < 0.05
    assert abs(fit.delta[0] - 0.3) < 3 * fit.delta_se[0] < 0.2
    assert naive > 0.2 + 3 * fit.beta_se[0]
    assert fit.lrt_p < 1e-6


def test_direction_mirrors_and_unit_scales():
    y, v, X = published("smoke")
    fit = fit_selection(y, v, X, Selection((0.025, 0.5)))
    mirror = fit_selection(-y, v, X, Selection((0.025, 0.5), None, "less"))
    assert mirror.beta == pytest.approx(-fit.beta)
    assert mirror.delta == pytest.approx(fit.delta)
    large = fit_selection(1e4 * y, 1e8 * v, X, Selection((0.025, 0.5)))
    # Newton's last step
    assert large.beta == pytest.approx(1e4 * fit.beta, rel=1e-8)
    assert large.beta_se == pytest.approx(1e4 * fit.beta_se, rel=1e-7)
    assert large.tau2 == pytest.approx(1e8 * fit.tau2, rel=1e-7)


def test_flat_weights_are_no_selection():
    y, v, X = published("adherence")
    fit = fit_selection(y, v, X, Selection(tuple(CUT_POINTS), np.ones(14)))
    w = 1 / (v + fit.tau2)
    assert fit.beta[0] == pytest.approx(np.average(y, weights=w))
    # the likelihood equation of τ²
    assert (w**2 * (y - fit.beta[0]) ** 2).sum() == pytest.approx(w.sum())
    assert [len(weights) for weights in PATTERNS.values()] == [14] * 4
    for pattern in TWO_TAILED:
        assert PATTERNS[pattern] == pytest.approx(PATTERNS[pattern][::-1])


@pytest.mark.parametrize(
    ("y", "steps", "words"),
    [
        ([0.9, 0.8, 1.1, 0.7], (0.025,), "between .025 and 1"),
        ([0.1, 0.0, -0.1, 0.05], (0.025,), "between 0 and .025"),
        ([0.9, 0.1, 0.8, 0.05], (0.025, 0.5), "cut points .025 and .5"),
    ],
)
def test_empty_interval_is_named(y, steps, words):
    with pytest.raises(InestimableError, match=words):
        fit_selection(np.array(y), np.full(4, 0.04), np.ones((4, 1)), Selection(steps))


def test_what_cannot_be_asked_for():
    with pytest.raises(SpecificationError, match="direction"):
        Selection((0.025,), None, "up")
    with pytest.raises(SpecificationError, match="cut points"):
        Selection((0.5, 0.025))
    with pytest.raises(InestimableError, match="2 effects"):
        fit_selection(np.array([0.5, 0.1]), np.full(2, 0.01), np.ones((2, 1)), Selection((0.025,)))


def make_rows(make_effects, y, v, study=None, **settings):
    study = [f"s{i}" for i in range(len(y))] if study is None else study
    columns = {"rater": settings.pop("rater")} if "rater" in settings else {}
    spec = ModelSpecification(**{"metric": "fisher_z", **settings})
    return model_rows(analyse(make_effects(np.asarray(y, float), v, study, **columns), spec))


@pytest.fixture
def dependent(make_effects):
    rng = np.random.default_rng(2)
    study = np.repeat([f"s{i:02}" for i in range(30)], 3)
    v = np.full(90, 0.02)
    y = rng.normal(0.25, 0.16, 90) + np.repeat(rng.normal(0, 0.12, 30), 3)
    return make_rows(make_effects, y, v, study, rater=["client", "therapist", "client"] * 30)


def test_table_of_independent_effects(make_effects):
    y, v, X = published("writing")
    found = assess_selection(make_rows(make_effects, y, v), steps=(0.01, 0.05))
    table = found.tables["bias_selection"]
    assert list(table.columns) == SELECTION_COLUMNS
    assert list(table["model"].unique()) == [
        "3psm",
        "4psm",
        "beta",
        *(f"vevea_woods_{pattern}" for pattern in PATTERNS),
        "steps",
    ]
    three = table[table["model"] == "3psm"].set_index("term")
    assert list(three.index) == ["mu", "tau2", "delta_2", "lrt"]
    fit = fit_selection(y, v, X, Selection((0.025,)))
    assert three.loc["mu", "estimate"] == pytest.approx(fit.beta[0])
    half = stats.norm.ppf(0.975) * fit.beta_se[0]
    assert three.loc["mu", "ci_low"] == pytest.approx(fit.beta[0] - half)
    assert three.loc["lrt", "p_value"] == pytest.approx(fit.lrt_p)
    assert three.loc["mu", "k_intervals"] == "13/33"
    assert (three["method"].iloc[:3] == "hessian").all()
    beta = table[table["model"] == "beta"]
    assert list(beta["term"]) == ["mu", "tau2", "delta_1", "delta_2", "lrt"]
    steps = table[table["model"] == "steps"]
    assert list(steps["term"]) == ["mu", "tau2", "delta_2", "delta_3", "lrt"]
    assert any("In the three-parameter selection model" in s for s in found.sentences)


def test_dependent_effects_get_bootstrap_intervals(dependent):
    seen = []
    found = assess_selection(
        dependent, models=("3psm",), bootstrap=200, seed=4, advance=seen.append
    )
    table = found.tables["bias_selection"].set_index("term")
    assert sum(seen) == 200
    assert table.loc["mu", "method"] == "cluster_bootstrap"
    assert table.loc["mu", "replications"] == 200
    assert table.loc["mu", "ci_low"] < table.loc["mu", "estimate"] < table.loc["mu", "ci_high"]
    assert np.isnan(table.loc["lrt", "p_value"])
    assert any("draws whole studies" in sentence for sentence in found.sentences)
    again = assess_selection(dependent, models=("3psm",), bootstrap=200, seed=4)
    assert again.tables["bias_selection"].equals(found.tables["bias_selection"])
    naive = fit_selection(dependent.y, dependent.v, dependent.X, Selection((0.025,)))
    # effects of one study agree, so that treating them as independent is too sure
    assert table.loc["mu", "se"] > 1.1 * naive.beta_se[0]


def test_replications_are_fits_of_repeated_effects(dependent):
    selection = Selection((0.025,))
    fit = fit_selection(dependent.y, dependent.v, dependent.X, selection)
    counts = draw_counts(dependent.independent, 51, 1)
    assert (counts.sum(axis=1) == 90).all()
    draws = []
    for times in counts.astype(int):
        y, v, X = (np.repeat(a, times, axis=0) for a in (dependent.y, dependent.v, dependent.X))
        one = fit_selection(y, v, X, selection)
        draws.append([one.beta[0], one.tau2, one.delta[0]])
    summary = bootstrap_selection(fit, counts, ci_level=0.9)
    # Newton's last step
    assert summary.ci_low == pytest.approx(np.quantile(draws, 0.05, axis=0), rel=1e-7)
    assert summary.se == pytest.approx(np.std(draws, axis=0, ddof=1), rel=1e-7)
    assert (summary.replications, summary.different) == (51, 51)


def test_unidentified_replications_are_counted(make_effects):
    rng = np.random.default_rng(8)
    y = np.r_[0.6, rng.normal(0.1, 0.05, 19)]
    study = np.repeat([f"s{i}" for i in range(10)], 2)
    rows = make_rows(make_effects, y, np.full(20, 0.02), study)
    found = assess_selection(rows, models=("3psm",), bootstrap=100)
    kept = found.tables["bias_selection"]["replications"].iloc[0]
    assert 50 <= kept < 80
    text = " ".join(found.sentences)
    assert (
        "Some of the 100 replications of the bootstrap could not be fitted: "
        f"{100 - int(kept)} in the three-parameter selection model, so many that the intervals "
        "are not trustworthy."
    ) in text
    assert "1 interval of p-values holds fewer than 4 effects (1/19" in text


def test_too_few_replications_give_no_interval():
    summary = summarise_draws(np.ones((40, 1)), np.zeros(1), requested=100, ci_level=0.95)
    assert np.isnan(summary.ci_low).all()
    assert summary.replications == 40
    draws = np.arange(1.0, 101.0)[:, None]
    full = summarise_draws(draws, np.array([2.5]), requested=100, ci_level=0.9)
    assert full.ci_low[0] == pytest.approx(np.quantile(draws, 0.05))
    assert full.p_value[0] == pytest.approx(2 * 3 / 101)


def test_replications_that_are_alike_give_no_interval():
    few = np.repeat(np.arange(1.0, 11.0), 50)[:, None]
    summary = summarise_draws(few, np.zeros(1), requested=500, ci_level=0.95)
    assert (summary.replications, summary.different) == (500, 10)
    numbers = [summary.se, summary.ci_low, summary.ci_high, summary.p_value]
    assert np.isnan(numbers).all()
    # a variance that is 0 in every replication has no interval, the mean beside it has
    both = np.column_stack([np.arange(1.0, 101.0), np.zeros(100)])
    summary = summarise_draws(both, np.array([0.0, np.nan]), requested=100, ci_level=0.95)
    assert list(np.isnan(summary.ci_low)) == list(np.isnan(summary.se)) == [False, True]


@pytest.mark.parametrize(
    ("y", "v", "study", "words"),
    [
        ([0.3, 0.1, 0.5], [0.02, 0.03, 0.01], "aaa", "1 independent study cannot carry"),
        ([0.5, 0.4, 0.1, 0.05], [0.02, 0.03, 0.02, 0.04], "aabb", "2 independent studies cannot"),
        ([0.5, 0.4, 0.1, 0.05] * 2, [0.02, 0.03] * 4, "aabbccdd", "4 independent studies cannot"),
    ],
)
def test_few_studies_carry_no_bootstrap(y, v, study, words, make_effects):
    settings = {"model": "random_effects", "inference": "z"}
    rows = make_rows(make_effects, y, np.array(v), list(study), **settings)
    found = assess_selection(rows)
    table = found.tables["bias_selection"]
    assert table.loc[table["term"] == "mu", "estimate"].notna().any()
    assert table[["se", "ci_low", "ci_high", "p_value"]].isna().all(axis=None)
    text = " ".join(found.sentences)
    assert words in text
    assert "no intervals" in text
    assert "percentiles" not in text
    assert "too narrow" not in text


def test_studies_that_say_the_same_have_no_interval(make_effects):
    study = np.repeat(list("abcdef"), 2)
    rows = make_rows(
        make_effects,
        [0.4, 0.05] * 6,
        np.full(12, 0.02),
        study,
    )
    found = assess_selection(rows, models=("3psm",), bootstrap=100)
    table = found.tables["bias_selection"]
    assert table[["se", "ci_low", "ci_high", "p_value"]].isna().all(axis=None)
    assert "The replications of the three-parameter selection model differ too little" in " ".join(
        found.sentences
    )


def test_moderators_stay_in_the_model(dependent, make_effects):
    rows = make_rows(
        make_effects,
        dependent.y,
        dependent.v,
        dependent.data["study_id"],
        rater=["client", "therapist", "client"] * 30,
        moderators="rater",
    )
    table = assess_selection(rows, models=("3psm",), bootstrap=60).tables["bias_selection"]
    assert list(table["term"]) == [*rows.terms, "tau2", "delta_2", "lrt"]


def test_common_effect_has_no_heterogeneity(make_effects):
    y, v, X = published("smoke")
    rows = make_rows(make_effects, y, v, model="common_effect")
    table = assess_selection(rows, models=("3psm",)).tables["bias_selection"]
    assert list(table["term"]) == ["mu", "delta_2", "lrt"]
    fit = fit_selection(y, v, X, Selection((0.025,)), random=False)
    assert table["estimate"].iloc[0] == pytest.approx(fit.beta[0])
    # not a rounding of 0
    assert fit.tau2 == 0
    assert fit_selection(y, v, X, Selection(), random=False).tau2 == 0


def test_directions(make_effects):
    y, v, _ = published("smoke")
    negative = make_rows(make_effects, -y, v)
    found = assess_selection(negative, models=("3psm",))
    assert "opposite direction" in found.sentences[1]
    auto = assess_selection(negative, models=("3psm",), alternative="auto")
    mirrored = assess_selection(make_rows(make_effects, y, v), models=("3psm",))
    ours, theirs = (a.tables["bias_selection"]["estimate"] for a in (auto, mirrored))
    assert ours[0] == pytest.approx(-theirs[0])
    both = assess_selection(negative, alternative="two.sided")
    names = list(both.tables["bias_selection"]["model"].unique())
    assert names == ["3psm", "beta", "vevea_woods_moderate_two", "vevea_woods_severe_two"]
    assert any("four-parameter selection model was not fitted" in s for s in both.sentences)
    with pytest.raises(SpecificationError, match="selection model"):
        assess_selection(negative, models=("5psm",))
    with pytest.raises(SpecificationError, match="direction"):
        assess_selection(negative, alternative="down")
    with pytest.raises(SpecificationError, match="one cut point"):
        assess_selection(negative, steps=[])


AWKWARD = {
    "two effects": ([0.4, 0.1], 0.01),
    "three effects": ([0.3, 0.1, 0.5], 0.01),
    "equal effects": ([0.3] * 10, 0.01),
    "all significant": (list(np.linspace(0.8, 1.2, 12)), 0.01),
    "none significant": (list(np.linspace(-0.1, 0.1, 12)), 0.02),
    "huge": (list(np.linspace(48, 52, 10)), 1e-4),
    "tiny variances": (list(np.linspace(0.1, 0.5, 10)), 1e-12),
}


@pytest.mark.parametrize("case", AWKWARD)
def test_awkward_data_give_sentences(case, make_effects):
    y, v = AWKWARD[case]
    rows = make_rows(make_effects, y, np.full(len(y), v))
    found = assess_selection(rows)
    table = found.tables["bias_selection"]
    assert "could not be fitted" in " ".join(found.sentences)
    failed = table["method"] == "not estimable"
    assert failed.any()
    assert table.loc[failed, "estimate"].isna().all()
    fitted = table[table["model"].str.startswith("vevea") & (table["term"] == "mu")]
    # weights that are given leave a mean to estimate
    assert fitted["estimate"].notna().all()
    assert fitted["estimate"].between(min(y) - 1, max(y) + 1).all()
