"""The multiverse: every number is the analysis's own, no specification counts twice."""

import io

import numpy as np
import pandas as pd
import pytest

from alliance_meta.effect_sizes import correct_attenuation
from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.models.pooling import fit_pooled
from alliance_meta.synthesis import multiverse_choices
from alliance_meta.synthesis.multiverse import (
    REST,
    outlying,
    run_specifications,
    shapley_shares,
    summarise_multiverse,
)
from alliance_meta.synthesis.multiverse_choices import (
    NOT_APPLICABLE,
    Outliers,
    enumerate_specifications,
    multiverse_problems,
    shard_of,
    starting_point,
)
from alliance_meta.synthesis.specification_curve import trace_curve

# both maximise the same likelihoods; where they stop bounds the agreement
FITTED = {"rtol": 1e-9, "atol": 1e-10}
NUMBERS = ["estimate", "ci_low", "ci_high", "p_value", "tau2"]


def option(name, **settings):
    return {"name": str(name), "reason": "defensible", **settings}


def options(key, *values):
    return [option(value, **{key: value}) for value in values]


def make_review(make_effects, n_studies=14, *, shared=False):
    rng = np.random.default_rng(7)
    sizes = [1, 2, 4, 3, 2] * n_studies
    study = np.repeat([f"s{i:02}" for i in range(n_studies)], sizes[:n_studies])
    k = len(study)
    sample = np.array([f"{s}_{'ab'[i % 3 == 0]}" for i, s in enumerate(study)])
    if shared:
        # one sample in two studies, first seen in the later study of the table
        sample[study == "s03"] = "common"
        sample[np.flatnonzero(study == "s05")[0]] = "common"
    n = rng.integers(25, 200, k).astype(float)
    true = 0.25 + rng.normal(0, 0.15, n_studies)[np.searchsorted(np.unique(study), study)]
    r = np.clip(np.tanh(true + rng.normal(0, 1 / np.sqrt(n - 3))), -0.7, 0.7)
    table = make_effects(
        r,
        1 / (n - 3),
        study,
        sample_id=sample,
        n=n,
        rater=rng.choice(["client", "therapist"], k),
        timing=rng.choice(["early", "late"], k),
        conversion=rng.choice(["r", "d_to_r"], k),
        instrument=["WAI"] * k,
        reliability_alliance=np.where(np.arange(k) % 3 == 0, 0.9, np.nan),
    )
    table["r"], table["vr"] = r, (1 - r**2) ** 2 / (n - 1)
    table["z"], table["vz"] = np.arctanh(r), 1 / (n - 3)
    table["yi"], table["vi"] = table["z"], table["vz"]
    return table


@pytest.fixture
def effects(make_effects):
    return make_review(make_effects)


def run(effects, choices, base=None, **settings):
    base = starting_point(effects, base or ModelSpecification(model="che"))
    settings = {"choices": choices, **settings}
    # one option fixes a setting, which a review does in its analysis
    problems = multiverse_problems(settings, effects, base)
    assert [text for text in problems if "one option only" not in text] == []
    enumeration = enumerate_specifications(settings, base, seed=3)
    names = list(choices)
    return enumeration, run_specifications(effects, enumeration.specifications, names)


def analysed(effects, spec):
    """Return the numbers of an analysis in the order of NUMBERS."""
    result = analyse(effects, spec)
    row, mean = result.summary.iloc[0], result.coefficients.iloc[0]
    values = result.heterogeneity.set_index("parameter")["estimate"]
    parts = [values.get(name, np.nan) for name in ("tau2", "tau2_between", "tau2_within")]
    tau2 = np.nan if np.isnan(parts).all() else np.nansum(parts)
    numbers = [row["estimate"], row["ci_low"], row["ci_high"], mean["p_value"], tau2]
    return (row["k_studies"], row["k_effects"]), np.array(numbers, dtype=float)


def assert_analysed(row, effects, spec):
    counts, numbers = analysed(effects, spec)
    assert (row["k_studies"], row["k_effects"]) == counts
    np.testing.assert_allclose(row[NUMBERS].to_numpy(float), numbers, **FITTED)


class TestNumbers:
    @pytest.mark.parametrize("shared", [False, True], ids=["own samples", "shared sample"])
    def test_random_specifications_are_the_analysis_itself(self, make_effects, shared):
        effects = make_review(make_effects, shared=shared)
        choices = {
            "model": options(
                "model",
                *("che", "three_level", "aggregated", "rve", "random_effects", "common_effect"),
            ),
            "tau2": options("tau2", "REML", "ML", "DL"),
            "inference": options("inference", "cr2", "t", "knapp_hartung"),
            "rho": options("rho", 0.6, 0.3),
            "rater": [option("all"), option("clients", where="rater == 'client'")],
            "timing": [option("any"), option("early", where="timing == 'early' or n > 60")],
            "attenuation": options("attenuation", "observed", "corrected"),
            "metric": options("metric", "fisher_z", "r"),
        }
        base = ModelSpecification(model="che", where="n > 27")
        settings = {"choices": choices}
        specifications = enumerate_specifications(settings, base).specifications
        rng = np.random.default_rng(11)
        drawn = []
        for name in sorted({s.spec.model for s in specifications}):
            mine = [s for s in specifications if s.spec.model == name]
            drawn += [mine[place] for place in rng.choice(len(mine), 2, replace=False)]
        table = run_specifications(effects, drawn, list(choices)).set_index("specification")
        for specification in drawn:
            assert_analysed(table.loc[specification.number], effects, specification.spec)

    @pytest.mark.parametrize("select", ["first", "largest_n"])
    @pytest.mark.parametrize("model", ["che", "random_effects"])
    def test_one_effect_of_each_study(self, effects, select, model):
        choices = {"effects": options("select", "all", select)}
        base = ModelSpecification(model=model, where="timing == 'early'")
        enumeration, table = run(effects, choices, base)
        early = effects.loc[effects["timing"] == "early"]
        if select == "largest_n":
            early = early.sort_values("n", ascending=False, kind="stable")
        chosen = effects.loc[early.drop_duplicates("study_id").index.sort_values()]
        assert_analysed(table.iloc[1], chosen, enumeration.specifications[1].spec)
        assert table["k_effects"][1] == chosen["study_id"].nunique() < table["k_effects"][0]

    def test_studies_that_share_a_sample_give_one_effect(self, make_effects):
        effects = make_review(make_effects, shared=True)
        _, table = run(effects, {"effects": options("select", "first", "mean")})
        assert table["k_studies"].tolist() == [effects["study_id"].nunique() - 1] * 2

    def test_mean_of_a_study_averages_its_samples(self, effects):
        choices = {"effects": options("select", "all", "mean"), "rho": options("rho", 0.6, 0.0)}
        base = ModelSpecification(model="random_effects")
        enumeration, table = run(effects, choices, base)
        for specification in enumeration.specifications:
            if specification.select != "mean":
                continue
            rho, means = specification.spec.rho, []
            for _, rows in effects.groupby("study_id"):
                root = np.sqrt(rows["vi"].to_numpy())
                same = rows["sample_id"].to_numpy()[:, None] == rows["sample_id"].to_numpy()
                V = np.where(same, rho, 0.0) * np.outer(root, root)
                np.fill_diagonal(V, root**2)
                means.append((rows["yi"].mean(), V.mean()))
            first = effects.drop_duplicates("study_id").copy()
            first[["z", "vz"]] = means
            row = table.iloc[specification.number - 1]
            assert_analysed(row, first, specification.spec)

    def test_outliers_are_those_of_deleted_residuals(self, effects):
        y, v = effects["yi"].to_numpy(copy=True), effects["vi"].to_numpy()
        y[4] = 1.8
        spec = ModelSpecification(model="random_effects", inference="z").resolve(dependent=True)
        residuals = []
        for i in range(len(y)):
            left = np.arange(len(y)) != i
            X = np.ones((left.sum(), 1))
            fit = fit_pooled(y[left], v[left], X, np.arange(left.sum()), spec)
            mean = fit.contrast(np.ones(1))
            residuals.append((y[i] - mean.value) / np.sqrt(v[i] + fit.tau2 + mean.se**2))
        size = np.abs(residuals)
        for limit in (1.0, 2.0, 3.0):
            found = outlying(y, v, Outliers("rstudent", limit))
            np.testing.assert_array_equal(found, size > limit)
        assert np.flatnonzero(outlying(y, v, Outliers("rstudent", 3.0))).tolist() == [4]

    def test_outliers_beyond_the_fences(self):
        y = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 8.5, -4.5])
        # quartiles 0.5 and 3.5: fences at -4 and 8
        found = outlying(y, np.ones(7), Outliers("iqr", 1.5))
        assert found.tolist() == [False] * 5 + [True, True]

    def test_outliers_leave_the_rows_of_each_specification(self, effects):
        effects.loc[4, "z"] = 1.9
        rule = {"rule": "rstudent", "limit": 3}
        choices = {
            "outliers": [option("keep"), option("without", outliers=rule)],
            "model": options("model", "che", "aggregated"),
        }
        enumeration, table = run(effects, choices)
        for specification in enumeration.specifications:
            kept = effects.drop(index=4) if specification.outliers.rule != "none" else effects
            assert_analysed(table.iloc[specification.number - 1], kept, specification.spec)

    def test_selection_after_correction_for_attenuation(self, effects):
        choices = {
            "attenuation": options("attenuation", "corrected"),
            "effects": options("select", "largest_n"),
        }
        enumeration, table = run(effects, choices, ModelSpecification(model="random_effects"))
        corrected = correct_attenuation(effects).effects
        largest = corrected.sort_values("n", ascending=False, kind="stable")
        chosen = corrected.loc[largest.drop_duplicates("study_id").index.sort_values()]
        plain = ModelSpecification(
            model="random_effects", inference=enumeration.specifications[0].spec.inference
        )
        assert_analysed(table.iloc[0], chosen, plain)

    def test_files_restrict_the_rows(self, effects):
        effects.loc[10:, "source_file"] = "other.csv"
        base = ModelSpecification(model="che")
        settings = {"choices": {"rho": options("rho", 0.2)}}
        (specification,) = enumerate_specifications(settings, base).specifications
        table = run_specifications(effects, [specification], ["rho"], files=["other.csv"])
        assert_analysed(table.iloc[0], effects.loc[10:], specification.spec)


AWKWARD = {
    "model": options("model", "che", "random_effects", "aggregated", "rve"),
    "rows": [
        option("all"),
        option("nobody", where="n > 1000"),
        option("one", where="n == 26"),
        option("two", where="n in [26, 27]"),
    ],
}


class TestAwkwardRows:
    def table(self, effects):
        base = ModelSpecification(model="che")
        enumeration = enumerate_specifications({"choices": AWKWARD}, base)
        table = run_specifications(effects, enumeration.specifications, ["model", "rows"])
        return enumeration, table

    @pytest.fixture
    def few(self, make_effects):
        n = np.array([26.0, 27, 80, 90, 100, 110])
        y = np.array([0.1, 0.4, 0.3, 0.2, 0.6, 0.5])
        return make_effects(y, 1 / (n - 3), ["a", "a", "b", "c", "d", "e"], n=n)

    def test_too_few_effects_get_a_reason(self, few):
        _, table = self.table(few)
        nobody, one, two = (table[table["rows"] == name] for name in ("nobody", "one", "two"))
        assert nobody["estimate"].isna().all()
        assert set(nobody["reason"]) == {"no effect satisfies this specification"}
        assert one["reason"].str.contains("nothing was pooled").all()
        # both effects are of one study, which only a model that takes them as independent pools
        pooled = two["model"] == "random_effects"
        assert two["estimate"].notna().tolist() == pooled.tolist()
        assert two.loc[~pooled, "reason"].str.contains("too few independent studies").all()

    def test_a_single_effect_is_the_analysis_itself(self, few):
        enumeration, table = self.table(few)
        for specification in enumeration.specifications:
            if specification.labels[1] == "one":
                assert_analysed(table.iloc[specification.number - 1], few, specification.spec)

    def test_few_degrees_of_freedom_withhold_the_test(self, few):
        enumeration, table = self.table(few)
        row = table.iloc[0]
        _, numbers = analysed(few, enumeration.specifications[0].spec)
        assert np.isnan(numbers[3])
        assert np.isnan(row["p_value"])
        assert pd.isna(row["significant"])
        assert "withheld" in row["reason"]
        assert row["ci_low"] == pytest.approx(numbers[1])

    def test_equal_effects(self, make_effects):
        study = np.repeat([f"s{i}" for i in range(6)], 2)
        effects = make_effects(np.full(12, 0.25), np.full(12, 0.02), study, n=[53.0] * 12)
        choices = {"model": options("model", "che", "aggregated", "random_effects")}
        enumeration, table = run(effects, choices)
        np.testing.assert_allclose(table["estimate"], np.tanh(0.25), rtol=1e-12)
        assert (table["tau2"].fillna(0) == 0).all()
        assessment = summarise_multiverse([table], enumeration)
        text = " ".join(assessment.sentences)
        assert "do not differ" in text
        assert "to two decimals, the pooled correlation is always .24" in text
        assert "percentile 50" in text

    def test_nothing_estimable(self, few):
        settings = {"choices": {"rows": [option("nobody", where="n > 1000")]}}
        enumeration = enumerate_specifications(settings, ModelSpecification(model="che"))
        table = run_specifications(few, enumeration.specifications, ["rows"])
        assessment = summarise_multiverse([table], enumeration)
        assert assessment.sentences == (
            "1 defensible specification of the analysis was run; it could not be estimated.",
            "1 choice with 1 option makes 1 combination, which was run.",
            "1 specification could not be estimated: no effect satisfies this specification.",
        )
        assert trace_curve(table, enumeration).points.empty


class TestEnumeration:
    BASE = ModelSpecification(model="che")

    def labels(self, choices, base=BASE):
        enumeration = enumerate_specifications({"choices": choices}, base)
        return [s.labels for s in enumeration.specifications]

    def test_estimators_that_a_model_does_not_have_count_once(self):
        choices = {
            "model": options("model", "che", "aggregated", "common_effect"),
            "tau2": options("tau2", "DL", "REML", "PM"),
        }
        assert self.labels(choices) == [
            ("che", "REML"),
            ("aggregated", "DL"),
            ("aggregated", "REML"),
            ("aggregated", "PM"),
            ("common_effect", NOT_APPLICABLE),
        ]
        del choices["tau2"][1]
        assert self.labels(choices)[0] == ("che", NOT_APPLICABLE)

    def test_rho_matters_only_where_errors_are_correlated(self):
        choices = {
            "model": options("model", "che", "three_level", "random_effects"),
            "rho": options("rho", 0.4, 0.8),
            "effects": options("select", "all", "first", "mean"),
        }
        found = self.labels(choices)
        assert len(found) == len(set(found))
        with_rho = {(model, effects) for model, rho, effects in found if rho != NOT_APPLICABLE}
        assert ("che", "all") in with_rho
        assert {effects for _, effects in with_rho} == {"all", "mean"}
        assert not {("three_level", "all"), ("random_effects", "all")} & with_rho

    def test_one_effect_a_study_leaves_nothing_to_model(self):
        model = [
            option("che", model="che", inference="cr2"),
            option("aggregated", model="aggregated", inference="cr2"),
            option("apart", model="random_effects", inference="knapp_hartung"),
        ]
        choices = {"model": model, "effects": options("select", "first")}
        assert [labels[0] for labels in self.labels(choices)] == ["che", "apart"]

    def test_own_settings_stand_where_no_option_speaks(self):
        base = ModelSpecification(model="aggregated", tau2="ML", inference="z", where="n > 9")
        choices = {"model": options("model", "aggregated", "che")}
        enumeration = enumerate_specifications({"choices": choices}, base)
        first, second = (s.spec for s in enumeration.specifications)
        assert (first.tau2, first.inference) == (second.tau2, second.inference) == ("ML", "z")
        assert first.where == "n > 9"
        # Paule-Mandel is no estimator of multilevel models, Knapp-Hartung no inference for them
        base = ModelSpecification(model="aggregated", tau2="PM", inference="knapp_hartung")
        enumeration = enumerate_specifications({"choices": choices}, base)
        assert enumeration.specifications[1].spec.tau2 == "REML"
        assert enumeration.specifications[1].spec.inference == "cr2"

    def test_the_base_is_the_analysis_or_the_first_option(self):
        choices = {
            "rho": options("rho", 0.2, 0.6),
            "rater": [option("clients", where="rater == 'client'"), option("all")],
            "model": options("model", "aggregated", "rve"),
        }
        enumeration = enumerate_specifications({"choices": choices}, self.BASE)
        assert enumeration.base == (1, 1, 0)
        assert enumeration.departs == ("model",)

    @pytest.mark.parametrize("largest", [200_000, 100], ids=["listed", "drawn"])
    def test_a_sample_is_seeded_and_holds_the_base(self, monkeypatch, largest):
        monkeypatch.setattr(multiverse_choices, "LARGEST_LISTED", largest)
        choices = {
            "model": options("model", "che", "aggregated", "random_effects"),
            "rho": options("rho", *np.arange(0.05, 0.95, 0.05).round(2).tolist()),
            "tau2": options("tau2", "REML", "ML", "DL", "PM"),
        }
        settings = {"choices": choices, "maximum": 40}
        same = [enumerate_specifications(settings, self.BASE, seed=1) for _ in range(2)]
        other = enumerate_specifications(settings, self.BASE, seed=2)
        assert same[0].specifications == same[1].specifications != other.specifications
        for enumeration in (same[0], other):
            assert enumeration.sampled
            assert enumeration.find(enumeration.base) is not None
            assert len({s.labels for s in enumeration.specifications}) == 40

    def test_shards_give_the_same_bytes(self, effects):
        choices = {
            "model": options("model", "che", "aggregated", "random_effects"),
            "rho": options("rho", 0.2, 0.5, 0.8),
            "tau2": options("tau2", "REML", "DL"),
            "rater": [option("all"), option("clients", where="rater == 'client'")],
            "attenuation": options("attenuation", "observed", "corrected"),
        }
        enumeration, whole = run(effects, choices)
        written = []
        for count in (1, 2, 3):
            tables = [
                run_specifications(
                    effects, shard_of(enumeration.specifications, i, count), list(choices)
                )
                for i in range(count)
            ]
            assert min(map(len, tables)) > 0
            text = io.StringIO()
            joined = summarise_multiverse(tables[::-1], enumeration).tables["multiverse"]
            joined.to_csv(text, index=False)
            written.append(text.getvalue())
        assert written[0] == written[1] == written[2]
        text = io.StringIO()
        whole.to_csv(text, index=False)
        assert text.getvalue() == written[0]

    def test_an_unnamed_model_is_refused(self):
        with pytest.raises(ValueError, match="name its model"):
            enumerate_specifications({"choices": PRODUCT}, ModelSpecification())

    def test_there_is_no_shard_beyond_the_last(self):
        with pytest.raises(ValueError, match="no shard 2 of 2"):
            shard_of([], 2, 2)


class TestProblems:
    def problems(self, effects, choices, base=None, **settings):
        base = base or ModelSpecification(model="che")
        return multiverse_problems({"choices": choices, **settings}, effects, base)

    def test_all_are_listed(self, effects):
        choices = {
            "a": [option("x", rho=1.5), option("x", tau3="DL"), {"name": "y"}],
            "b": [option("z", rho=0.5, select="best", outliers={"rule": "cook"})],
            "c": [],
            "d": [option(NOT_APPLICABLE, model="che", tau2="DL")],
            "e f": [option("g")],
        }
        text = "\n".join(self.problems(effects, choices, maximum=0))
        for words in (
            "maximum is 0",
            "rho is 1.5",
            "no setting 'tau3'",
            "the reason is missing",
            "several options called 'x'",
            "'best' is not a way to select",
            "outliers need a rule",
            "choice 'c' needs a list of options",
            "'e f' cannot name a choice",
            "this name is kept",
            "fitted by 'REML' or 'ML', not 'DL'",
            "the choices 'a' and 'b' both set rho",
        ):
            assert words in text

    def test_moderators_are_refused(self, effects):
        base = ModelSpecification(model="che", moderators="rater")
        found = self.problems(effects, {"rho": options("rho", 0.2, 0.4)}, base)
        assert len(found) == 1
        assert "without moderators" in found[0]

    def test_conditions_and_scales_are_tried_on_the_rows(self, effects):
        choices = {
            "rater": [option("all"), option("patients", where="rater == 'patient'")],
            "other": [option("all"), option("unknown", where="raters == 'client'")],
            "scale": [option("own", metric="generic"), option("r", metric="r")],
        }
        text = "\n".join(self.problems(effects, choices))
        assert "no effect of the analysis satisfies \"rater == 'patient'\"" in text
        assert "no column 'raters'" in text
        assert "scale of their own" in text

    def test_a_correction_needs_some_reliability(self, effects):
        effects["reliability_alliance"] = np.nan
        choices = {"attenuation": options("attenuation", "observed", "corrected")}
        assert "no reliability" in self.problems(effects, choices)[0]
        choices["assumed"] = [
            option("high", reliability={"outcome": 0.8}),
            option("low", reliability={"outcome": 0.7}),
        ]
        assert self.problems(effects, choices) == []

    def test_a_choice_needs_two_options(self, effects):
        found = self.problems(effects, {"rho": options("rho", 0.2)})
        assert found == ["choice 'rho' has one option only; a choice needs two or more"]

    @pytest.mark.parametrize(
        "entries",
        [
            [option("a", rho=0.2), option("b", rho=0.2)],
            # the analysis's own rho is 0.6
            [option("a"), option("b", rho=0.6), option("c", rho=0.2)],
            [option("a", where="n  > 50"), option("b", where="n > 50 ")],
            [option("a", outliers={"rule": "none"}), option("b")],
            [option("a", select="all"), option("b")],
        ],
    )
    def test_options_that_come_to_the_same(self, effects, entries):
        found = self.problems(effects, {"choice": entries})
        assert found == ["choice 'choice': the options 'a' and 'b' come to the same; leave one out"]


PRODUCT = {
    "rho": options("rho", 0.6, 0.2),
    "rater": [option("all"), option("clients", where="rater == 'client'")],
    "timing": [option("any"), option("early", where="timing == 'early'")],
}


class TestSummary:
    def assess(self, estimates, significant):
        enumeration = enumerate_specifications(
            {"choices": PRODUCT}, ModelSpecification(model="che")
        )
        rows = [
            (s.number, *s.labels, 9, 20, y, y - 0.1, y + 0.1, 0.5, 0.01, mark, None)
            for s, y, mark in zip(enumeration.specifications, estimates, significant, strict=True)
        ]
        names = [*PRODUCT, "k_studies", "k_effects", *NUMBERS, "significant", "reason"]
        table = pd.DataFrame(rows, columns=["specification", *names])
        return summarise_multiverse([table], enumeration), enumeration

    # order of the product: timing varies fastest, then rater, then rho
    ESTIMATES = (0.30, 0.25, 0.10, 0.05, 0.32, 0.27, 0.12, -0.07)
    TESTS = ("yes", "yes", "no", "no", "yes", "yes", "yes", "no")

    def test_quantities(self):
        assessment, _ = self.assess(self.ESTIMATES, self.TESTS)
        table = assessment.tables["multiverse_summary"].set_index("quantity")["value"]
        assert table["specifications"] == table["estimated"] == 8
        assert table["median"] == pytest.approx((0.12 + 0.25) / 2)
        assert table["minimum"], table["maximum"] == (-0.07, 0.32)
        assert table["share_significant_positive"] == 5 / 8
        assert table["share_not_significant"] == 3 / 8
        assert table["share_negative"] == 1 / 8
        assert table["base_estimate"] == 0.30
        # six below, and itself half
        assert table["base_percentile"] == 100 * 6.5 / 8

    def test_options_and_moves(self):
        assessment, _ = self.assess(self.ESTIMATES, self.TESTS)
        table = assessment.tables["multiverse_options"].set_index(["choice", "option"])
        assert table.loc[("rho", "0.6"), "base"] == "yes"
        # of four pairs one turns significant, and one changes its sign
        assert table.loc[("rho", "0.2"), "conclusion_moves"] == 0.5
        assert table.loc[("rho", "0.2"), "difference_from_base"] == pytest.approx(
            (0.02 + 0.02 + 0.02 - 0.12) / 4
        )
        assert table.loc[("rater", "clients"), "conclusion_moves"] == 0.75
        assert table.loc[("rater", "clients"), "share_significant"] == 0.25
        assert table.loc[("timing", "early"), "conclusion_moves"] == 0.25
        assert table.loc[("timing", "early"), "reason"] == "defensible"
        text = " ".join(assessment.sentences)
        assert "3 choices move the conclusion" in text
        assert "“rater” (up to 75 %, for “clients”)" in text
        assert "62 % are significantly positive and 38 % are not significant" in text

    def test_variance_of_a_complete_product_is_that_of_the_main_effects(self):
        assessment, _ = self.assess(self.ESTIMATES, self.TESTS)
        table = assessment.tables["multiverse_variance"].set_index("choice")["share_of_variance"]
        y = np.array(self.ESTIMATES).reshape(2, 2, 2)
        total = ((y - y.mean()) ** 2).sum()
        for axis, name in enumerate(PRODUCT):
            others = tuple(i for i in range(3) if i != axis)
            squares = 4 * ((y.mean(axis=others) - y.mean()) ** 2).sum()
            # closed forms of eight numbers
            assert table[name] == pytest.approx(squares / total, rel=1e-12)
        assert table.sum() == pytest.approx(1, abs=1e-12)
        assert table[REST] > 0

    def test_untested_specifications_are_counted_apart(self):
        tests = (None, *self.TESTS[1:])
        assessment, _ = self.assess(self.ESTIMATES, tests)
        table = assessment.tables["multiverse_summary"].set_index("quantity")["value"]
        assert table["share_not_tested"] == 1 / 8
        shares = [name for name in table.index if name.startswith("share_") and name[6:9] != "neg"]
        assert table[shares].sum() == 1

    def test_one_significant_sign_is_said_in_a_word(self):
        assessment, _ = self.assess(np.linspace(0.2, 0.3, 8), ["yes"] * 8)
        text = " ".join(assessment.sentences)
        assert "every estimate is significantly positive." in text
        assert "as they were in every pair" in text

    def test_the_result_is_told_first_and_then_how_it_came_about(self):
        assessment, _ = self.assess(self.ESTIMATES, self.TESTS)
        assert assessment.sentences[:3] == (
            "8 defensible specifications of the analysis were run; the pooled correlation ranges "
            "from −.07 to .32, with median .18; of these estimates, 62 % are significantly "
            "positive and 38 % are not significant.",
            "Of the estimates, 90 % lie within [−.03, .31].",
            "3 choices with 2, 2 and 2 options make 8 combinations, all of which were run.",
        )

    def test_untested_pairs_are_no_missing_pairs(self):
        # every pair has an untested member, though all have estimates
        tests = ["yes", None, None, "yes", None, "yes", "yes", None]
        assessment, _ = self.assess(self.ESTIMATES, tests)
        table = assessment.tables["multiverse_options"]
        assert table["pairs"].sum() == 12
        assert assessment.sentences[-1] == (
            "No two specifications that differ in one choice only are both tested, so that their "
            "conclusions (sign or significance) could not be compared."
        )
        alone = np.where([test is None for test in tests], np.nan, self.ESTIMATES)
        assessment, _ = self.assess(alone, tests)
        assert assessment.tables["multiverse_options"]["pairs"].sum() == 0
        assert assessment.sentences[-1] == (
            "No two specifications that differ in one choice only could be compared."
        )

    def test_other_tables_are_refused(self):
        assessment, enumeration = self.assess(self.ESTIMATES, self.TESTS)
        with pytest.raises(ValueError, match="not of the specifications"):
            summarise_multiverse([assessment.tables["multiverse"].iloc[1:]], enumeration)


def test_options_that_exclude_one_another_and_those_that_change_nothing_are_named(effects):
    choices = {
        "size": [option("any"), option("large", where="n > 120")],
        "sample": [option("every"), option("small", where="n < 80")],
        "tau2": [option("REML", tau2="REML"), option("PM", tau2="PM")],
    }
    enumeration, table = run(effects, choices)
    sentences = summarise_multiverse([table], enumeration).sentences
    assert (
        "4 defensible specifications of the analysis were run, of which 3 could be" in sentences[0]
    )
    assert (
        "“PM” (tau2) never makes a difference, because another option comes to the same or the "
        "models do not have what it sets." in sentences
    )
    assert (
        "1 specification could not be estimated: no effect satisfies this specification."
        in sentences
    )
    assert "No effect satisfies “large” (size) and “small” (sample), taken together." in sentences


def test_one_choice_is_told_in_the_singular(effects):
    enumeration, table = run(effects, {"rho": options("rho", 0.6, 0.2)})
    assert (
        "1 choice with 2 options makes 2 combinations, all of which were run."
        in summarise_multiverse([table], enumeration).sentences
    )


@pytest.mark.parametrize("model", ["common_effect", "rve"])
def test_a_common_effect_has_no_variance_between_studies(effects, model):
    choices = {"model": options("model", model, "che")}
    table = run(effects, choices)[1].set_index("model")
    assert np.isnan(table.loc[model, "tau2"]) == (model == "common_effect")


def test_shapley_shares_of_overlapping_factors():
    # the second factor repeats the first; both share what either explains
    levels = np.array([0, 0, 1, 1, 2, 2])
    y = np.array([1.0, 2.0, 2.0, 3.0, 5.0, 5.0])
    shares = shapley_shares(y, [levels, levels, np.array([0, 1] * 3)])
    alone = shapley_shares(y, [levels, np.array([0, 1] * 3)])
    # closed forms of six numbers
    np.testing.assert_allclose(shares[:2], alone[0] / 2, rtol=1e-12)
    assert shares.sum() == pytest.approx(alone.sum(), rel=1e-12)


class TestCurve:
    def curve(self, n, shown):
        choices = {
            "model": options("model", "che", "three_level"),
            "rho": options("rho", *np.linspace(0, 0.9, n).round(3).tolist()),
        }
        base = ModelSpecification(model="che", rho=0.9)
        enumeration = enumerate_specifications({"choices": choices}, base)
        numbers = [s.number for s in enumeration.specifications]
        rng = np.random.default_rng(2)
        table = pd.DataFrame([s.labels for s in enumeration.specifications])
        table.columns = ["model", "rho"]
        table.insert(0, "specification", numbers)
        for name in ("estimate", "ci_low", "ci_high"):
            table[name] = rng.normal(size=len(table))
        table["significant"] = np.where(table["estimate"] > 1, "yes", "no")
        table.loc[3, ["estimate", "significant"]] = [np.nan, None]
        return table, enumeration, trace_curve(table, enumeration, shown=shown)

    def test_estimates_rise_and_every_choice_has_one_mark(self):
        table, _, curve = self.curve(9, 1000)
        assert curve.n_estimated == len(curve.points) == len(table) - 1
        assert curve.points["estimate"].is_monotonic_increasing
        marks = curve.indicators.groupby(["position", "choice"]).size()
        assert (marks == 1).all()
        assert len(marks) == 2 * len(curve.points)
        assert curve.rows["option"].tolist()[-1] == NOT_APPLICABLE
        assert (curve.points["conclusion"] == "positive").sum() == (table["estimate"] > 1).sum()

    def test_many_are_thinned_evenly_with_ends_and_base(self):
        table, enumeration, curve = self.curve(60, 12)
        points = curve.points
        assert len(points) == 12
        assert curve.n_estimated == len(table) - 1
        assert points["estimate"].iloc[[0, -1]].tolist() == [
            table["estimate"].min(),
            table["estimate"].max(),
        ]
        assert points["base"].sum() == 1
        assert points.loc[points["base"], "specification"].item() == (
            enumeration.find(enumeration.base).number
        )
        assert points["estimate"].is_monotonic_increasing
