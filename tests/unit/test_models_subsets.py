"""Fits of many subsets at once: against metafor, and against one fit at a time."""

import json
from pathlib import Path

import numpy as np
import pytest

from alliance_meta.models import ModelSpecification, subsets
from alliance_meta.models.pooling import fit_pooled
from alliance_meta.models.specification import TAU2_ESTIMATORS
from alliance_meta.models.subsets import fit_subsets

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "subsets.json").read_text(encoding="utf-8")
)
INFERENCE = {
    "z": "z",
    "t": "t",
    "knha": "knapp_hartung",
    "adhoc": "knapp_hartung_conservative",
}
# closed forms differ only by rounding
CLOSED_FORM = {"rtol": 1e-9, "atol": 1e-11}
# ML, REML, EB and PM are searched by both sides: metafor stops at steps of 1e-14, ours at a
# Newton step of 1e-5, whose square bounds what is left; I² in percent is a hundred times that
SEARCHED = {"rtol": 1e-8, "atol": 1e-8}


def tolerance_of(fit):
    return SEARCHED if fit["tau2_method"] in ("ML", "REML", "EB", "PM") else CLOSED_FORM


def of_kind(kind):
    chosen = [fit for fit in REFERENCE["fits"] if fit["kind"] == kind]
    assert chosen
    return pytest.mark.parametrize("fit", chosen, ids=lambda fit: fit["name"])


def data_of(fit):
    return {name: np.array(values) for name, values in REFERENCE["sets"][fit["set"]].items()}


def run(fit, y, v, X, keep):
    return fit_subsets(y, v, X, keep, tau2=fit["tau2_method"], inference=INFERENCE[fit["test"]])


def height(tau2, y, v, *, restricted):
    """Return twice the profile log-likelihood of a mean, without constants."""
    w = 1 / (v + tau2)
    rss = w @ (y - w @ y / w.sum()) ** 2
    return np.log(w).sum() - rss - (np.log(w.sum()) if restricted else 0.0)


def assert_agrees(fit, ours, names, without=()):
    for name, theirs in names.items():
        if theirs in fit:
            np.testing.assert_allclose(
                np.delete(getattr(ours, name).squeeze(), without, axis=0),
                np.delete(np.array(fit[theirs], dtype=float), without, axis=0),
                err_msg=name,
                **tolerance_of(fit),
            )


COLUMNS = {
    "coefficients": "estimate",
    "se": "se",
    "ci_low": "ci_low",
    "ci_high": "ci_high",
    "tau2": "tau2",
    "I2": "I2",
    "Q": "Q",
}


@of_kind("leave_one_out")
def test_leaving_one_out_agrees_with_r(fit):
    data = data_of(fit)
    k = len(data["y"])
    ours = run(fit, data["y"], data["v"], np.ones((k, 1)), ~np.eye(k, dtype=bool))
    assert_agrees(fit, ours, COLUMNS)


@of_kind("cumulative")
def test_adding_one_by_one_agrees_with_r(fit):
    data = data_of(fit)
    k = len(data["y"])
    rank = np.argsort(np.argsort(data["year"], kind="stable"))
    keep = rank <= np.arange(k)[:, None]
    ours = run(fit, data["y"], data["v"], np.ones((k, 1)), keep)
    lower = [5] if fit["name"] == "cumulative bcg ML knha" else []
    for b in lower:
        # here R stops at the lower of two peaks, by 0.37 on this scale
        part = data["y"][keep[b]], data["v"][keep[b]]
        theirs = height(fit["tau2"][b], *part, restricted=False)
        assert height(ours.tau2[b], *part, restricted=False) > theirs + 0.3
    assert_agrees(fit, ours, COLUMNS, lower)


@of_kind("gosh")
def test_all_subsets_agree_with_r(fit):
    data = data_of(fit)
    k = len(data["y"])
    keep = (np.array(fit["members"], dtype=int)[:, None] >> np.arange(k)) & 1 == 1
    ours = run(fit, data["y"], data["v"], np.ones((k, 1)), keep)
    assert list(ours.k) == fit["size"]
    assert_agrees(fit, ours, {name: COLUMNS[name] for name in ("coefficients", "tau2", "I2", "Q")})


@of_kind("moderator")
def test_moderators_on_parts_of_the_rows_agree_with_r(fit):
    data = data_of(fit)
    X = np.column_stack([np.ones(len(data["y"])), data["x"]])
    ours = run(fit, data["y"], data["v"], X, np.array(fit["keep"], dtype=bool))
    assert_agrees(fit, ours, COLUMNS)


def simulate(k, seed, p=1):
    """Return effects, variances and a design with an uncentred year."""
    rng = np.random.default_rng(seed)
    v = 1 / rng.integers(12, 297, k)
    y = 0.28 + rng.normal(size=k) * np.sqrt(v + 0.02)
    X = np.column_stack([np.ones(k), rng.integers(1990, 2020, k), rng.normal(size=k)])
    return y, v, X[:, :p]


def pooled(y, v, X, tau2, inference="z"):
    model = "random_effects" if tau2 else "common_effect"
    spec = ModelSpecification(model=model, tau2=tau2, inference=inference)
    return fit_pooled(y, v, X, np.arange(len(y)), spec.resolve(dependent=False))


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("p", [1, 3])
@pytest.mark.parametrize("tau2", [None, *TAU2_ESTIMATORS])
def test_every_subset_is_the_fit_of_its_rows(tau2, p, own):
    y, v, X = simulate(24, 8, p)
    rng = np.random.default_rng(3)
    keep = rng.random((5, 24)) < 0.6
    if own:
        y = y + rng.normal(0, 0.05, (5, 24))
        v = v * rng.uniform(0.5, 2, (5, 24))
    fits = fit_subsets(y, v, X, keep, tau2=tau2, inference="knapp_hartung")
    for b, inside in enumerate(keep):
        one_y, one_v = (y[b], v[b]) if own else (y, v)
        single = pooled(one_y[inside], one_v[inside], X[inside], tau2, "knapp_hartung")
        contrasts = [single.contrast(row) for row in np.eye(p)]
        for name, values in (
            ("value", fits.coefficients),
            ("se", fits.se),
            ("ci_low", fits.ci_low),
            ("ci_high", fits.ci_high),
        ):
            expected = [getattr(c, name) for c in contrasts]
            # the searches end with a Newton step whose error is squared; year costs 3 digits
            np.testing.assert_allclose(values[b], expected, rtol=1e-9)
        # of a search that stops at a relative step of 1e-5, squared
        assert fits.tau2[b] == pytest.approx(single.tau2, rel=1e-9, abs=1e-12)
        unit = np.linalg.solve(single.basis, np.eye(p))
        # nearly collinear columns: products of large numbers cancel
        np.testing.assert_allclose(
            fits.covariance[b], unit @ single.covariance @ unit.T, rtol=1e-7, atol=1e-12
        )
        I2 = single.heterogeneity["I2" if tau2 else "I2_Q"][0]
        # percent
        assert fits.I2[b] == pytest.approx(I2, rel=1e-8, abs=1e-8)


def test_chunks_make_no_difference(monkeypatch):
    y, v, X = simulate(30, 1)
    keep = np.random.default_rng(2).random((200, 30)) < 0.5
    whole = fit_subsets(y, v, X, keep, tau2="REML")
    monkeypatch.setattr(subsets, "CHUNK_ELEMENTS", 30 * 7)
    parts = fit_subsets(y, v, X, keep, tau2="REML")
    # other points of the search, the same peak
    np.testing.assert_allclose(parts.tau2, whole.tau2, rtol=1e-9, atol=1e-12)


def test_repeated_rows_are_the_shared_effects():
    y, v, X = simulate(12, 4)
    keep = ~np.eye(12, dtype=bool)
    shared = fit_subsets(y, v, X, keep, tau2="REML")
    tiled = fit_subsets(np.tile(y, (12, 1)), np.tile(v, (12, 1)), X, keep, tau2="REML")
    np.testing.assert_array_equal(shared.tau2, tiled.tau2)


@pytest.mark.parametrize("tau2", ["REML", "ML"])
def test_the_highest_of_two_peaks_is_found(tau2):
    # two precise studies that agree, imprecise ones that do not: peaks at 0 and far from it
    y = np.array([0.0, 0.0, 3.0, -3.0, 4.0, -4.0, 3.5, -3.5])
    v = np.array([1e-4, 1e-4, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01])
    keep = np.array([[1, 1, 1, 1, 0, 0, 0, 0], [1] * 8, [1, 1, 1, 0, 0, 0, 0, 0]], dtype=bool)
    fits = fit_subsets(y, v, np.ones((8, 1)), keep, tau2=tau2)
    for b, inside in enumerate(keep):
        part = {"y": y[inside], "v": v[inside], "restricted": tau2 == "REML"}
        everywhere = [0.0, *np.geomspace(1e-8, 100, 1000)]
        # no point of a grid is higher than the maximum, but for rounding
        assert height(fits.tau2[b], **part) >= max(height(t, **part) for t in everywhere) - 1e-10


def test_any_origin_and_unit_give_the_same_answer():
    y, v, X = simulate(20, 6)
    keep = ~np.eye(20, dtype=bool)
    for tau2 in ("DL", "REML", "PM", "SJ"):
        base = fit_subsets(y, v, X, keep, tau2=tau2, inference="knapp_hartung")
        moved = fit_subsets(y + 1e4, v, X, keep, tau2=tau2, inference="knapp_hartung")
        # y + 1e4 itself has lost five of sixteen digits
        np.testing.assert_allclose(moved.coefficients - 1e4, base.coefficients, atol=1e-10)
        np.testing.assert_allclose(moved.tau2, base.tau2, rtol=1e-7, atol=1e-12)
        scaled = fit_subsets(1e6 * y, 1e12 * v, X, keep, tau2=tau2)
        # Newton steps stop at another place
        np.testing.assert_allclose(scaled.tau2 / 1e12, base.tau2, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("tau2", ["DL", "HE", "SJ", "ML", "REML", "PM"])
def test_a_giant_outlier_costs_the_others_no_digits(tau2):
    y, v, X = simulate(20, 9)
    y[4] = 1e6
    keep = np.ones((2, 20), dtype=bool)
    keep[0, 4] = False
    fits = fit_subsets(y, v, X, keep, tau2=tau2, inference="knapp_hartung")
    for b, inside in enumerate(keep):
        single = pooled(y[inside], v[inside], X[inside], tau2, "knapp_hartung")
        estimate = single.contrast(np.ones(1))
        # both stop their searches at about 1e-10
        assert fits.tau2[b] == pytest.approx(single.tau2, rel=1e-8)
        assert fits.coefficients[b, 0] == pytest.approx(estimate.value, rel=1e-8)
        assert fits.se[b, 0] == pytest.approx(estimate.se, rel=1e-8)


@pytest.mark.parametrize("inference", subsets.INFERENCES)
def test_a_single_effect_is_its_own_mean(inference):
    y, v, X = simulate(5, 2)
    fits = fit_subsets(y, v, X, np.eye(5, dtype=bool), tau2="REML", inference=inference)
    assert not fits.failed.any()
    np.testing.assert_allclose(fits.coefficients[:, 0], y, rtol=1e-13)
    np.testing.assert_allclose(fits.se[:, 0], np.sqrt(v), rtol=1e-13)
    # 97.5th percentile of the normal distribution
    np.testing.assert_allclose(fits.ci_high[:, 0], y + 1.959963984540054 * np.sqrt(v), rtol=1e-12)
    assert (fits.df == np.inf).all()
    assert not fits.tau2.any()
    assert not fits.I2.any()
    assert not fits.Q.any()


@pytest.mark.parametrize("tau2", [None, *TAU2_ESTIMATORS])
def test_equal_effects_have_no_heterogeneity(tau2):
    _, v, X = simulate(6, 2)
    keep = np.tri(6, dtype=bool)
    fits = fit_subsets(np.full(6, 0.3), v, X, keep, tau2=tau2, inference="knapp_hartung")
    np.testing.assert_allclose(fits.coefficients, 0.3, rtol=1e-14)
    # rounding of effects of size 0.3
    np.testing.assert_allclose(fits.tau2, 0, atol=1e-30)
    np.testing.assert_allclose(fits.Q, 0, atol=1e-25)
    # no spread at all: no standard error and so no interval, as of a single fit
    assert np.isnan(fits.ci_low[1:]).all()


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@pytest.mark.parametrize("tau2", [None, *TAU2_ESTIMATORS])
def test_subsets_that_cannot_carry_the_model_fail_alone(tau2, own):
    y, v, _ = simulate(8, 5)
    X = np.column_stack([np.ones(8), [0, 0, 0, 0, 0, 0, 1, 1], [2001] * 4 + [2002, 2003] * 2])
    keep = np.ones((6, 8), dtype=bool)
    keep[0, 6:] = False  # the level is gone
    keep[1, 3:] = False  # as many effects as coefficients
    keep[2] = False  # nothing
    keep[3, 4:6] = False  # year and level rise together, but not as one
    keep[4, 4:7] = False  # now they are the same
    if own:
        y = np.tile(y, (6, 1)) + np.arange(6)[:, None] * 0.01
    fits = fit_subsets(y, v, X, keep, tau2=tau2, inference="t")
    assert list(fits.failed) == [True, True, True, False, True, False]
    for values in (fits.coefficients, fits.se, fits.ci_low, fits.tau2, fits.I2, fits.Q, fits.df):
        assert np.isnan(values[fits.failed]).all()
        assert np.isfinite(values[~fits.failed]).all()
    assert list(fits.k) == [6, 3, 0, 6, 5, 8]


def test_rows_near_collinearity_keep_their_digits():
    rng = np.random.default_rng(12)
    k = 15
    y, v, _ = simulate(k, 12)
    # without the last row, the sizes differ by millionths of it
    size = np.append(100 + rng.normal(size=k - 1), 1e6)
    X = np.column_stack([np.ones(k), size])
    keep = np.ones((1, k), dtype=bool)
    keep[0, -1] = False
    fits = fit_subsets(y, v, X, keep, tau2="REML", inference="knapp_hartung")
    single = pooled(y[:-1], v[:-1], X[:-1], "REML", "knapp_hartung")
    for j in range(2):
        estimate = single.contrast(np.eye(2)[j])
        # uncentred sizes cost both about two digits more than a search
        assert fits.coefficients[0, j] == pytest.approx(estimate.value, rel=1e-8)
        assert fits.se[0, j] == pytest.approx(estimate.se, rel=1e-8)


def test_holes_matter_only_where_they_are_used():
    y, v, X = simulate(6, 7)
    keep = ~np.eye(6, dtype=bool)
    whole = fit_subsets(y, v, X, keep, tau2="REML")
    y[2], v[2] = np.nan, 0.0
    fits = fit_subsets(y, v, X, keep, tau2="REML")
    assert list(fits.failed) == [True, True, False, True, True, True]
    # the effects are centred elsewhere
    assert fits.tau2[2] == pytest.approx(whole.tau2[2], rel=1e-9, abs=1e-12)
    assert fits.coefficients[2] == pytest.approx(whole.coefficients[2], rel=1e-12)


def test_a_single_column_need_not_be_an_intercept():
    y, v, _ = simulate(9, 3)
    X = np.linspace(0, 2, 9)[:, None]
    keep = np.ones((2, 9), dtype=bool)
    keep[0, 1:] = False
    keep[1, 5] = False
    fits = fit_subsets(y, v, X, keep, tau2="REML", inference="z")
    # the only effect has a moderator of zero
    assert list(fits.failed) == [True, False]
    single = pooled(y[keep[1]], v[keep[1]], X[keep[1]], "REML")
    # the square of a last Newton step of 1e-5
    assert fits.coefficients[1, 0] == pytest.approx(single.contrast(np.ones(1)).value, rel=1e-9)


@pytest.mark.parametrize("wrong", [{"tau2": "MP"}, {"tau2": "DL", "inference": "cr2"}])
def test_unknown_methods_are_refused(wrong):
    y, v, X = simulate(4, 1)
    with pytest.raises(ValueError, match="use one of"):
        fit_subsets(y, v, X, np.ones((1, 4), dtype=bool), **wrong)
