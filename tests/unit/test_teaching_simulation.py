"""Simulated reviews: their moments are the truth they state, and bad designs are refused."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import special

from alliance_meta.codebook import load_codebook
from alliance_meta.effect_sizes import convert_effects
from alliance_meta.extraction import check_sheets
from alliance_meta.teaching import (
    Counts,
    Moderator,
    ReviewDesign,
    SampleSizes,
    simulate_review,
)

# a deviation of more than 4 Monte-Carlo standard errors has p < .0001; all seeds are fixed, so
# a test that passes passes always
SE_LIMIT = 4.0

TREATMENT = Moderator("treatment", ("cbt", "psychodynamic"), (0.6, 0.4), (0.05,))
RATER = Moderator("rater", ("client", "therapist", "observer"), (0.5, 0.3, 0.2), (-0.1, 0.2))
FULL = ReviewDesign(
    n_studies=30,
    samples_per_study=Counts(1.3, 3),
    effects_per_sample=Counts(2.5, 8),
    study_moderator=TREATMENT,
    effect_moderator=RATER,
    reliability_alliance=(0.8, 0.95),
    reliability_outcome=(0.7, 0.9),
)


def assert_mean(values, expected):
    """Compare the mean of independent values with its expectation."""
    se = np.std(values) / math.sqrt(len(values))
    assert abs(np.mean(values) - expected) < SE_LIMIT * se


def assert_covariance(a, b, expected):
    """Compare the covariance of independent pairs, whose true means are 0."""
    assert_mean(a * b, expected)


class TestStructure:
    def test_numbers_run_without_gaps_and_samples_lie_within_studies(self):
        review = simulate_review(FULL, 1)
        for numbers in (review.study, review.sample):
            assert numbers[0] == 0
            assert set(np.diff(numbers)) <= {0, 1}
        assert review.study[-1] == FULL.n_studies - 1
        pairs = pd.DataFrame({"study": review.study, "sample": review.sample})
        assert (pairs.groupby("sample")["study"].nunique() == 1).all()
        assert (pairs.groupby("study")["sample"].nunique() > 1).any()
        for name in ("n", "reliability_alliance"):
            values = pd.Series(getattr(review, name))
            assert (values.groupby(review.sample).nunique() == 1).all()

    def test_balanced_reviews_have_the_same_number_everywhere(self):
        design = ReviewDesign(n_studies=7, samples_per_study=2, effects_per_sample=3)
        review = simulate_review(design, 1)
        assert np.bincount(review.study).tolist() == [6] * 7
        assert np.bincount(review.sample).tolist() == [3] * 14

    def test_counts_are_skewed_and_capped(self):
        design = ReviewDesign(n_studies=20_000, effects_per_sample=Counts(2.5, 8))
        counts = np.bincount(simulate_review(design, 2).study)
        assert (counts.min(), counts.max()) == (1, 8)
        # a geometric count N with P(N > j) = q^j has E min(N, 8) = (1 - q^8) / (1 - q)
        q = 1 - 1 / 2.5
        assert_mean(counts, (1 - q**8) / (1 - q))
        assert_mean(counts == 1, 1 - q)

    def test_sample_sizes_are_log_normal_within_limits(self):
        sizes = SampleSizes(median=70, log_sd=0.8, smallest=30, largest=150)
        n = simulate_review(ReviewDesign(n_studies=20_000, sample_sizes=sizes), 3).n
        assert (n.min(), n.max()) == (30, 150)

        def below(limit):
            return special.ndtr(math.log(limit / 70) / 0.8)

        # numbers are rounded, so that 70 begins at 69.5
        share = (below(69.5) - below(29.5)) / (below(150.5) - below(29.5))
        assert_mean(n < 70, share)

    def test_default_sizes_are_those_of_small_studies(self):
        n = simulate_review(ReviewDesign(n_studies=20_000), 3).n
        assert n.min() == 15
        assert n.max() <= 1000
        assert_mean(n <= 70, 0.5)

    def test_equal_sizes(self):
        design = ReviewDesign(n_studies=5, sample_sizes=SampleSizes(median=40, log_sd=0))
        assert simulate_review(design, 1).n.tolist() == [40] * 5

    def test_given_sizes_are_taken_in_turn(self):
        design = ReviewDesign(n_studies=5, effects_per_sample=2, sample_sizes=(20, 30, 40))
        review = simulate_review(design, 1)
        assert review.n[::2].tolist() == [20, 30, 40, 20, 30]
        np.testing.assert_array_equal(review.v, 1 / (review.n - 3))


class TestSeeds:
    @pytest.mark.parametrize("depth", ["z", "persons"])
    def test_a_seed_repeats_the_review(self, depth):
        first, again, other = (simulate_review(FULL, seed, depth=depth) for seed in (5, 5, 6))
        np.testing.assert_array_equal(first.y, again.y)
        pd.testing.assert_frame_equal(first.effects_sheet(), again.effects_sheet())
        assert len(first.y) != len(other.y) or not np.array_equal(first.y, other.y)

    def test_a_seed_sequence_is_a_seed_and_is_not_used_up(self):
        sequence = np.random.SeedSequence(5, spawn_key=(1, 2))
        first, again = (simulate_review(FULL, sequence).y for _ in range(2))
        np.testing.assert_array_equal(first, again)

    def test_both_depths_share_studies_and_true_effects(self):
        shallow, deep = (simulate_review(FULL, 5, depth=depth) for depth in ("z", "persons"))
        np.testing.assert_array_equal(shallow.n, deep.n)
        np.testing.assert_array_equal(shallow.theta, deep.theta)
        assert not np.array_equal(shallow.y, deep.y)


@pytest.fixture(scope="module")
def pairs():
    """Return two samples with two effects each of many studies, and their errors."""
    design = ReviewDesign(
        n_studies=20_000,
        samples_per_study=2,
        effects_per_sample=2,
        sample_sizes=(53,),
        tau2_between=0.03,
        tau2_within=0.01,
        rho=0.7,
    )
    review = simulate_review(design, 11)
    return review.y.reshape(-1, 4) - design.mu, (review.y - review.theta).reshape(-1, 4)


class TestMoments:
    def test_mean(self, pairs):
        assert_mean(pairs[0].mean(axis=1), 0.0)

    def test_variance_is_the_sum_of_all_sources(self, pairs):
        for effect in pairs[0].T:
            assert_covariance(effect, effect, 0.03 + 0.01 + 0.02)

    def test_effects_of_a_sample_share_study_and_errors(self, pairs):
        assert_covariance(pairs[0][:, 0], pairs[0][:, 1], 0.03 + 0.7 * 0.02)
        assert_covariance(pairs[0][:, 2], pairs[0][:, 3], 0.03 + 0.7 * 0.02)

    def test_samples_of_a_study_share_the_study_only(self, pairs):
        assert_covariance(pairs[0][:, 1], pairs[0][:, 2], 0.03)

    def test_studies_share_nothing(self, pairs):
        assert_covariance(pairs[0][:-1, 0], pairs[0][1:, 0], 0.0)

    def test_errors_of_samples_are_independent(self, pairs):
        assert_covariance(pairs[1][:, 0], pairs[1][:, 1], 0.7 * 0.02)
        assert_covariance(pairs[1][:, 0], pairs[1][:, 2], 0.0)

    def test_sampling_covariance(self):
        design = ReviewDesign(
            n_studies=2, samples_per_study=2, effects_per_sample=2, sample_sizes=(13, 23), rho=0.5
        )
        expected = np.kron(np.diag([0.1, 0.05, 0.1, 0.05]), [[1.0, 0.5], [0.5, 1.0]])
        # the square of a square root is off by rounding
        np.testing.assert_allclose(
            simulate_review(design, 1).sampling_covariance(), expected, rtol=1e-15
        )

    def test_without_heterogeneity_the_truth_is_the_mean(self):
        review = simulate_review(ReviewDesign(tau2_between=0, tau2_within=0), 1)
        assert set(review.theta) == {0.28}


class TestModerators:
    def test_shares_are_kept_to_the_nearest_whole(self):
        review = simulate_review(FULL, 4)
        per_study = pd.Series(review.moderators["treatment"]).groupby(review.study)
        assert (per_study.nunique() == 1).all()
        assert np.bincount(per_study.first()).tolist() == [18, 12]
        k = len(review.y)
        counts = np.bincount(review.moderators["rater"])
        assert np.all(np.abs(counts - k * np.array([0.5, 0.3, 0.2])) < 1)
        assert (pd.Series(review.moderators["rater"]).groupby(review.study).nunique() > 1).any()

    def test_levels_differ_by_the_true_contrasts(self):
        design = replace(
            FULL,
            n_studies=200,
            tau2_between=0.0,
            tau2_within=0.0,
            reliability_alliance=None,
            reliability_outcome=None,
        )
        review = simulate_review(design, 8)
        X = review.design_matrix("treatment", "rater")
        truth = np.array(list(review.truth.coefficients.values()))
        assert list(review.truth.coefficients) == [
            *("Intercept", "treatment[T.psychodynamic]"),
            *("rater[T.therapist]", "rater[T.observer]"),
        ]
        # sums of the same three numbers in another order
        np.testing.assert_allclose(X @ truth, review.theta, rtol=1e-14)
        assert truth.tolist() == [0.28, 0.05, -0.1, 0.2]

    def test_moderators_do_nothing_by_default(self):
        moderator = Moderator("timing", ("early", "late"), (0.5, 0.5))
        design = ReviewDesign(tau2_between=0, tau2_within=0, effect_moderator=moderator)
        review = simulate_review(design, 1)
        assert set(review.theta) == {0.28}
        assert review.truth.coefficients["timing[T.late]"] == 0

    def test_levels_that_nobody_would_have_are_refused(self):
        moderator = Moderator("modality", ("individual", "group"), (0.96, 0.04))
        design = ReviewDesign(n_studies=10, study_moderator=moderator)
        with pytest.raises(ValueError, match="10 units are too few for the shares"):
            simulate_review(design, 1)

    def test_unknown_moderators_are_refused(self):
        with pytest.raises(ValueError, match="no moderator 'rater'"):
            simulate_review(ReviewDesign(), 1).design_matrix("rater")


def test_unreliable_measures_attenuate_the_true_correlations():
    design = ReviewDesign(
        tau2_between=0,
        tau2_within=0,
        effects_per_sample=2,
        reliability_alliance=(0.8, 0.9),
        reliability_outcome=(0.6, 0.7),
    )
    review = simulate_review(design, 1)
    assert (review.reliability_alliance >= 0.8).all()
    assert (review.reliability_outcome <= 0.7).all()
    assert len(set(review.reliability_outcome)) == 80
    corrected = np.tanh(review.theta) / np.sqrt(
        review.reliability_alliance * review.reliability_outcome
    )
    # tanh of atanh loses some units in the last place
    np.testing.assert_allclose(corrected, math.tanh(0.28), rtol=1e-13)


class TestPersons:
    def test_errors_have_the_variance_and_correlation_of_the_other_depth(self):
        design = ReviewDesign(
            n_studies=8000, effects_per_sample=2, sample_sizes=(80,), tau2_between=0, tau2_within=0
        )
        review = simulate_review(design, 21, depth="persons")
        errors = (review.y - review.theta).reshape(-1, 2)
        bias = math.tanh(0.28) / (2 * 79)
        centred = errors - bias
        # 1/(n - 3) and Olkin and Finn's covariance are right up to a term of order 1/n² or so,
        # about 1 % at n = 80 and below the Monte-Carlo error of a variance, 4 * sqrt(2/8000)
        assert_covariance(centred[:, 0], centred[:, 0], 1 / 77)
        assert_covariance(centred[:, 0], centred[:, 1], 0.6 / 77)

    def test_the_bias_of_a_correlation_is_real(self):
        design = ReviewDesign(
            n_studies=12_000, sample_sizes=(15,), mu=0.8, tau2_between=0, tau2_within=0
        )
        review = simulate_review(design, 22, depth="persons")
        # Hotelling (1953): E z - ζ = r / (2(n - 1)) up to order 1/n²
        bias = math.tanh(0.8) / (2 * 14)
        se = math.sqrt(1 / 12 / 12_000)
        assert bias > 2 * SE_LIMIT * se
        assert abs(np.mean(review.y - 0.8) - bias) < SE_LIMIT * se

    @pytest.mark.parametrize("rho", [0.0, 0.3, 0.9])
    def test_outcomes_are_correlated_such_that_errors_correlate_at_rho(self, rho):
        design = ReviewDesign(
            n_studies=3000,
            effects_per_sample=2,
            sample_sizes=(60,),
            mu=0.5,
            tau2_between=0,
            tau2_within=0,
            rho=rho,
        )
        review = simulate_review(design, 23, depth="persons")
        errors = (review.y - review.theta).reshape(-1, 2)
        # standard error of a correlation; the large-sample formula errs by less at n = 60
        assert abs(np.corrcoef(errors.T)[0, 1] - rho) < SE_LIMIT * (1 - rho**2) / math.sqrt(3000)

    def test_impossible_correlations_are_refused(self):
        design = ReviewDesign(effects_per_sample=8, tau2_within=0.5, rho=0.95)
        with pytest.raises(ValueError, match="lower rho or tau2_within"):
            simulate_review(design, 1, depth="persons")


class TestSheet:
    @pytest.mark.parametrize("effect_type", ["r", "fisher_z"])
    def test_the_workflow_reads_the_same_effects_back(self, tmp_path, effect_type):
        review = simulate_review(FULL, 9)
        path = tmp_path / "effects.csv"
        review.effects_sheet(effect_type).to_csv(path, index=False)
        extraction = check_sheets([("effects.csv", path)], [], codebook=load_codebook())
        assert extraction.ok
        table = convert_effects(extraction.effects).table
        # atanh of tanh, and v from n, lose some units in the last place
        np.testing.assert_allclose(table["yi"], review.y, rtol=1e-12)
        np.testing.assert_allclose(table["vi"], review.v, rtol=1e-12)
        for column, numbers in (("study_id", review.study), ("sample_id", review.sample)):
            np.testing.assert_array_equal(pd.factorize(table[column])[0], numbers)
        levels = np.array(RATER.levels)[review.moderators["rater"]]
        assert table["rater"].tolist() == levels.tolist()
        np.testing.assert_allclose(
            table["reliability_outcome"], review.reliability_outcome, rtol=1e-15
        )

    def test_only_what_the_design_has_is_in_the_sheet(self):
        sheet = simulate_review(ReviewDesign(n_studies=12), 1).effects_sheet()
        assert list(sheet.columns) == [
            *("effect_id", "study_id", "sample_id", "effect_type", "effect_value", "n"),
            "outcome_direction",
        ]
        assert sheet["study_id"].tolist()[::11] == ["study01", "study12"]
        assert sheet["effect_id"].is_unique

    def test_other_statistics_are_refused(self):
        with pytest.raises(ValueError, match="effect_type must be one of"):
            simulate_review(ReviewDesign(), 1).effects_sheet("d")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_studies": 0}, "n_studies must be a whole number of at least 1, not 0"),
        ({"effects_per_sample": 2.5}, "effects_per_sample must be a whole number"),
        ({"samples_per_study": 0}, "samples_per_study must be a whole number"),
        ({"sample_sizes": ()}, "at least 4 persons"),
        ({"sample_sizes": (20, 3)}, "at least 4 persons"),
        ({"sample_sizes": (20.5,)}, "must list whole numbers"),
        ({"n_studies": math.inf}, "n_studies must be a whole number"),
        ({"mu": math.nan}, "mu must be a number"),
        ({"tau2_between": -0.01}, "tau2_between is a variance and must be at least 0"),
        ({"tau2_within": math.nan}, "tau2_within is a variance"),
        ({"rho": 1.2}, "rho must lie between 0 and 1"),
        ({"study_moderator": RATER, "effect_moderator": RATER}, "both moderators are called"),
        ({"reliability_alliance": (0.9, 0.8)}, "reliability_alliance must be a range"),
        ({"reliability_outcome": (0.0, 0.8)}, "reliability_outcome must be a range"),
    ],
)
def test_designs_that_no_review_can_have_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        ReviewDesign(**settings)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rater", ("client",), (1.0,)), "at least two levels"),
        (("rater", ("client", "client"), (0.5, 0.5)), "all different"),
        (("rater", ("a", "b"), (1.0,)), "2 levels but 1 shares"),
        (("rater", ("a", "b"), (0.5, 0.6)), "sum to 1"),
        (("rater", ("a", "b"), (0.0, 1.0)), "above 0"),
        (("rater", ("a", "b"), (0.5, 0.5), (0.0, 0.1)), "needs 1 contrasts"),
        (("rater", ("a", "b"), (0.5, 0.5), (math.inf,)), "not a number"),
        (("n", ("a", "b"), (0.5, 0.5)), "the sheet fills a column of that name itself"),
        (("my rater", ("a", "b"), (0.5, 0.5)), "letters, digits and _"),
    ],
)
def test_bad_moderators_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Moderator(*arguments)


@pytest.mark.parametrize(
    ("maker", "arguments", "words"),
    [
        (Counts, (0.5, 8), "at least 1, not 0.5"),
        (Counts, (2.0, 0), "largest count"),
        (SampleSizes, (70, 0.8, 3), "at least 4 persons"),
        (SampleSizes, (10, 0.8, 15), "must lie between"),
        (SampleSizes, (70, -1), "log_sd"),
    ],
)
def test_bad_distributions_are_refused(maker, arguments, words):
    with pytest.raises(ValueError, match=words):
        maker(*arguments)


def test_unknown_depths_are_refused():
    with pytest.raises(ValueError, match="depth must be one of"):
        simulate_review(ReviewDesign(), 1, depth="items")
