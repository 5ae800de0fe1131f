"""GOSH: fits of subsets of the studies, their summary and what is said of them."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.models.refits import Refitter
from alliance_meta.models.rows import model_rows
from alliance_meta.sensitivity import gosh
from alliance_meta.sensitivity.gosh import (
    TABLES,
    assess_gosh,
    count_peaks,
    draw_subsets,
    gosh_subsets,
)

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "subsets.json").read_text(encoding="utf-8")
)


def masks_of(members, n_studies):
    bits = np.unpackbits(members, axis=1, count=n_studies, bitorder="little")
    return bits.astype(bool)


def assess(make_effects, y, v, study=None, spec=None, **settings):
    study = [f"s{i:02}" for i in range(len(y))] if study is None else study
    effects = make_effects(y, v, study, **settings.pop("columns", {}))
    rows = model_rows(analyse(effects, spec or ModelSpecification(metric="fisher_z")))
    return assess_gosh(rows, Refitter(rows), **settings)


def summary_of(found):
    return found.tables["sensitivity_gosh_summary"].set_index("quantity")["value"]


def simulate(k, seed=1):
    rng = np.random.default_rng(seed)
    v = 1 / rng.integers(12, 297, k)
    return 0.28 + rng.normal(size=k) * np.sqrt(v + 0.02), v


@pytest.mark.parametrize("n_studies", [1, 2, 3, 8, 9, 12])
def test_all_subsets_come_once(n_studies):
    n = 2**n_studies - 1
    masks = masks_of(draw_subsets(n_studies, n, seed=1), n_studies)
    assert len(masks) == n == len({tuple(mask) for mask in masks.tolist()})
    assert masks.any(axis=1).all()


def test_random_subsets_take_each_study_half_of_the_time():
    masks = masks_of(draw_subsets(60, 20_000, seed=5), 60)
    # a share of 20,000 draws has a standard error of 0.0035
    np.testing.assert_allclose(masks.mean(axis=0), 0.5, atol=0.018)
    assert np.corrcoef(masks[:, 0], masks[:, 1])[0, 1] == pytest.approx(0, abs=0.03)
    np.testing.assert_array_equal(draw_subsets(60, 50, seed=5), draw_subsets(60, 50, seed=5))
    assert (draw_subsets(60, 50, seed=5) != draw_subsets(60, 50, seed=6)).any()


def test_empty_subsets_are_drawn_again():
    members = draw_subsets(3, 6, seed=2)
    assert masks_of(members, 3).any(axis=1).all()
    assert members.max() < 8


@pytest.mark.parametrize(
    "fit",
    [fit for fit in REFERENCE["fits"] if fit["kind"] == "gosh"],
    ids=lambda fit: fit["name"],
)
def test_all_subsets_agree_with_r(fit):
    data = REFERENCE["sets"][fit["set"]]
    y, v = np.array(data["y"]), np.array(data["v"])
    found = gosh_subsets(y, v, subsets=1000, seed=1, tau2=fit["tau2_method"])
    assert found.complete
    place = np.argsort(np.array(fit["members"], dtype=int))
    assert list(found.size) == list(np.array(fit["size"], dtype=int)[place])
    for name in ("estimate", "tau2", "I2"):
        # both sides search for some τ²: R to steps of 1e-14, here to the square of 1e-5
        np.testing.assert_allclose(
            getattr(found, name), np.array(fit[name])[place], rtol=1e-8, atol=1e-8, err_msg=name
        )


def test_chunks_and_progress_make_no_difference(monkeypatch):
    y, v = simulate(12)
    counts = []
    whole = gosh_subsets(y, v, subsets=1000, seed=3, tau2="DL")
    monkeypatch.setattr(gosh, "CHUNK_ELEMENTS", 12 * 64)
    parts = gosh_subsets(y, v, subsets=1000, seed=3, tau2="DL", advance=counts.append)
    np.testing.assert_array_equal(parts.members, whole.members)
    # sums of another block of a matrix may round otherwise
    np.testing.assert_allclose(parts.estimate, whole.estimate, rtol=1e-12)
    assert sum(counts) == 1000
    assert len(counts) == 16


def test_tables_of_all_subsets(make_effects):
    y, v = simulate(5)
    found = assess(make_effects, y, v)
    assert {name: list(table) for name, table in found.tables.items()} == TABLES
    table = found.tables["sensitivity_gosh"]
    assert list(table["subset_size"].value_counts(sort=False)) == [5, 10, 10, 5, 1]
    assert list(table["subset_size"]) == sorted(table["subset_size"])
    # single studies are their own means, without heterogeneity
    np.testing.assert_allclose(table["estimate"][:5], y, rtol=1e-12)
    assert not table["I2"][:5].any()
    summary = summary_of(found)
    assert summary["subsets_run"] == summary["subsets_possible"] == 31
    assert summary["all_subsets"] == 1
    assert summary["mean"] == pytest.approx(table["estimate"].mean())
    assert summary["median"] == pytest.approx(table["estimate"].median())
    assert summary["I2_q75"] == pytest.approx(table["I2"].quantile(0.75))
    assert np.isnan(summary["n_modes"])
    studies = found.tables["sensitivity_gosh_studies"]
    assert list(studies["study_id"]) == [f"s{i:02}" for i in range(5)]
    both = (16 * studies["mean_with"] + 15 * studies["mean_without"]) / 31
    np.testing.assert_allclose(both, summary["mean"])
    with_i2 = (16 * studies["I2_with"] + 15 * studies["I2_without"]) / 31
    np.testing.assert_allclose(with_i2, summary["I2_mean"])
    assert (
        found.sentences[0]
        == "All 31 subsets of the 5 studies were fitted (GOSH; Olkin et al., 2012)."
    )
    assert "do not show whether" in found.sentences[-1]


def test_many_subsets_are_thinned_in_the_table_only(make_effects):
    y, v = simulate(40)
    spec = ModelSpecification(metric="fisher_z", tau2="DL")
    found = assess(make_effects, y, v, spec=spec, subsets=30_000, seed=4)
    table, summary = found.tables["sensitivity_gosh"], summary_of(found)
    assert len(table) == 20_000
    assert summary["subsets_run"] == 30_000
    assert summary["subsets_possible"] == 2.0**40 - 1
    assert summary["all_subsets"] == 0
    # thinned evenly by size
    assert table["subset_size"].mean() == pytest.approx(20, abs=0.1)
    assert table["estimate"].mean() == pytest.approx(summary["mean"], abs=0.001)
    assert found.sentences[0].startswith("30,000 random subsets of the 40 studies were fitted")
    assert summary["n_modes"] == 1
    assert "one peak" in found.sentences[-1]


def test_an_outlier_is_named(make_effects):
    y, v = simulate(15)
    y[6] += 4
    spec = ModelSpecification(metric="generic", tau2="DL")
    found = assess(make_effects, y, v, spec=spec, columns={"conversion": "generic"})
    assert summary_of(found)["n_modes"] == 2
    assert "2 peaks" in found.sentences[-1]
    assert "one study accounts for: the subsets without s06 have one peak" in found.sentences[-1]
    studies = found.tables["sensitivity_gosh_studies"].set_index("study_id")
    assert studies["difference"].abs().idxmax() == "s06"
    assert studies.loc["s06", "I2_with"] > studies.loc["s06", "I2_without"]


def test_two_camps_are_no_single_study(make_effects):
    # two precise studies of either kind outweigh all others
    y = np.array([0.1, 0.1, 0.6, 0.6, *np.full(8, 0.35)])
    v = np.array([1e-6, 1e-6, 1e-6, 1e-6, *np.full(8, 0.02)])
    spec = ModelSpecification(model="common_effect", metric="fisher_z")
    found = assess(make_effects, y, v, spec=spec)
    assert summary_of(found)["n_modes"] >= 3
    assert "no single study" in found.sentences[-1]


@pytest.mark.parametrize(
    ("values", "peaks"),
    [
        (np.random.default_rng(1).normal(size=2000), 1),
        (np.random.default_rng(2).standard_t(3, size=2000), 1),
        (np.random.default_rng(3).uniform(size=2000), 1),
        (np.concatenate([np.random.default_rng(4).normal(m, 1, 800) for m in (0, 5)]), 2),
        (np.concatenate([np.random.default_rng(5).normal(m, 1, 800) for m in (0, 5, 11)]), 3),
        # two means one deviation to each side of the centre still make one peak
        (np.concatenate([np.random.default_rng(6).normal(m, 1, 800) for m in (0, 2)]), 1),
        # a cluster of one in fifty is no peak
        (np.random.default_rng(7).normal(np.repeat([0, 8], [2450, 50]), 1), 1),
        (np.full(1000, 0.3), 1),
        (np.append(np.full(999, 0.3), 4.0), 1),
    ],
)
def test_peaks_are_counted(values, peaks):
    assert count_peaks(values) == peaks
    # any unit, any origin, either direction
    assert count_peaks(5 - 1000 * values) == peaks


def test_equal_effects_have_one_estimate(make_effects):
    found = assess(make_effects, np.full(10, 0.3), np.linspace(0.01, 0.05, 10))
    assert "They all have the same estimate, .29." in found.sentences
    assert "I² is 0 % in every subset." in found.sentences
    assert summary_of(found)["n_modes"] == 1


@pytest.mark.parametrize("k", [2, 3])
def test_few_studies(make_effects, k):
    y, v = simulate(k)
    found = assess(make_effects, y, v)
    assert len(found.tables["sensitivity_gosh"]) == 2**k - 1
    assert found.tables["sensitivity_gosh_studies"].notna().all(axis=None)
    assert all(sentence.endswith(".") for sentence in found.sentences)


def test_one_study_has_no_subsets():
    rows = SimpleNamespace(has_moderators=False, n_studies=1)
    found = assess_gosh(rows, None)
    assert found.sentences == ("A single study has no subsets to compare (GOSH).",)
    assert {name: list(table) for name, table in found.tables.items()} == TABLES


def test_moderators_are_no_mean(make_effects):
    y, v = simulate(8)
    spec = ModelSpecification(metric="fisher_z", moderators="year")
    found = assess(make_effects, y, v, spec=spec, columns={"year": np.arange(2000.0, 2008)})
    assert found.sentences == ("GOSH is of a mean; this analysis has moderators.",)
    assert all(table.empty for table in found.tables.values())


@pytest.mark.parametrize("model", ["che", "three_level", "rve"])
def test_dependent_effects_leave_by_whole_studies(make_effects, model):
    y, v = simulate(9)
    study = ["a", "a", "b", "c", "c", "c", "d", "e", "e"]
    spec = ModelSpecification(model=model, metric="fisher_z")
    effects = make_effects(y, v, study)
    rows = model_rows(analyse(effects, spec))
    done = []
    found = assess_gosh(rows, Refitter(rows), advance=done.append)
    table = found.tables["sensitivity_gosh"]
    assert sum(done) == 31
    assert list(found.tables["sensitivity_gosh_studies"]["study_id"]) == list("abcde")
    # the subset of all studies is the analysis itself
    whole = rows.fit.contrast(np.ones(1)).value
    # multilevel variances are climbed to about 1e-7
    assert table["estimate"].iloc[-1] == pytest.approx(whole, rel=1e-6)
    assert table["subset_size"].iloc[-1] == 5
    failed = summary_of(found)["subsets_failed"]
    assert len(table) + failed == 31


def test_dependent_effects_taken_as_independent_leave_by_whole_studies(make_effects):
    y, v = simulate(6)
    spec = ModelSpecification(model="random_effects", metric="fisher_z", tau2="DL")
    found = assess(make_effects, y, v, ["a", "a", "b", "c", "c", "d"], spec=spec)
    assert list(found.tables["sensitivity_gosh"]["subset_size"]) == sorted(
        [1] * 4 + [2] * 6 + [3] * 4 + [4]
    )


def test_subsets_without_an_answer_are_counted_and_left_out(make_effects):
    y, v = simulate(8)
    rows = model_rows(
        analyse(make_effects(y, v, list("aabbccdd")), ModelSpecification(metric="fisher_z"))
    )

    class Stubborn:
        """Fits nothing that holds the first study."""

        def refit(self, keep, *, intervals=True, advance=None):
            assert not intervals
            weights = keep / keep.sum(axis=1, keepdims=True)
            estimate = np.where(keep[:, :1], np.nan, (weights @ y)[:, None])
            return SimpleNamespace(
                estimate=estimate, I2=np.full(len(keep), np.nan), tau2=np.full(len(keep), 0.1)
            )

    found = assess_gosh(rows, Stubborn())
    assert summary_of(found)["subsets_failed"] == 8
    assert len(found.tables["sensitivity_gosh"]) == 7
    assert "8 subsets cannot carry the model and did not enter." in found.sentences
    studies = found.tables["sensitivity_gosh_studies"]
    assert np.isnan(studies["mean_with"][0])
    assert np.isnan(summary_of(found)["I2_mean"])
