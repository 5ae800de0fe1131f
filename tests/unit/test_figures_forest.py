"""Forest plots: nothing overlaps, nothing is cut, and every number is the table's."""

import re
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from alliance_meta.figures.forest import draw_forest
from alliance_meta.figures.rows import build_rows, find_details, paginate
from alliance_meta.figures.theme import style

NASTY = [
    "Li (2020)",
    "Ørsted, Müller-Þórsson, & O’Brien-Łukasiewicz with a consortium of many names (2014)",
    "Κωνσταντίνου & Παπαδόπουλος (2008)",
    "Cost $ and benefit $ of x_i^2 (2003)",
    "Flückiger, Del Re, Wlasiuk, Horvath, Solomonov, & Wampold with others (2020a)",
    "Flückiger, Del Re, Wlasiuk, Horvath, Solomonov, & Wampold with others (2020b)",
    "Supercalifragilisticexpialidociousnameswithoutanyblankwhatsoeverinthem",
    "two\nlines\tand a tab (1999)",
    "王 (2017)",
]


def make_effects(k: int, *, levels: tuple[str, ...] = (), per_study: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(k)
    n = rng.integers(8, 900, k).astype(float)
    z = rng.normal(0.28, 0.2, k)
    if k > 3:
        z[1], z[3], n[1], n[3] = np.arctanh(0.99), np.arctanh(-0.95), 7, 6
    half = 1.96 / np.sqrt(n - 3)
    weight = 1 / (1 / (n - 3) + 0.03)
    study = np.arange(k) // per_study
    table = pd.DataFrame(
        {
            "effect_id": [f"e{i}" for i in range(k)],
            "study_id": [f"s{i}" for i in study],
            "sample_id": [f"s{i}" for i in study],
            "n": n,
            "estimate": np.tanh(z),
            "ci_low": np.tanh(z - half),
            "ci_high": np.tanh(z + half),
            "weight": 100 * weight / weight.sum(),
            "label": [NASTY[i] if i < len(NASTY) else f"Author {i} ({1900 + i})" for i in study],
            "level": [levels[i * len(levels) // k] if levels else "" for i in range(k)],
            "instrument": rng.choice(["WAI", "CALPAS", "own_scale_of_the_authors_of_it"], k),
            "instrument_version": ["WAI-SR" if i % 4 == 0 else "" for i in range(k)],
            "rater": rng.choice(["client", "therapist", "third_party_observer"], k),
            "outcome_measure": rng.choice(["BDI-II", "Symptom Checklist 90 Revised, GSI"], k),
        }
    ).astype({"label": "str", "level": "str"})
    if k > 5:
        table.loc[5, ["instrument", "instrument_version", "rater"]] = np.nan
        table.loc[5, "n"] = np.nan
    return table.replace("", np.nan)


def make_summary(effects: pd.DataFrame, *, prediction: bool = True) -> pd.DataFrame:
    rows = []
    groups = {"overall": effects} | dict(list(effects.groupby("level")))
    for level, group in groups.items():
        tested = group["study_id"].nunique() > 1 or level == "overall"
        rows.append(
            {
                "level": level,
                "k_studies": group["study_id"].nunique(),
                "k_effects": len(group),
                "n_total": group["n"].sum(),
                "estimate": 0.278,
                "ci_low": 0.211 if tested else np.nan,
                "ci_high": 0.352 if tested else np.nan,
                "pi_low": -0.123 if tested and prediction else np.nan,
                "pi_high": 0.612 if tested and prediction else np.nan,
            }
        )
    return pd.DataFrame(rows)


HETEROGENEITY = pd.DataFrame(
    {
        "parameter": ["tau2", "I2", "Q", "Q_df", "Q_p", "QM", "QM_df1", "QM_df2", "QM_p"],
        "estimate": [0.0312, 71.23, 61.0, 11.0, 0.00001, 3.1, 2.0, 7.43, 0.104],
    }
)
NO_MODERATORS = HETEROGENEITY.head(5)


def draw(effects: pd.DataFrame, summary: pd.DataFrame | None = None, **options) -> list[Figure]:
    options = {"title": "All studies", "model_label": "Random effects, REML"} | options
    table = make_summary(effects) if summary is None else summary
    return draw_forest(effects, table, options.pop("heterogeneity", NO_MODERATORS), **options)


def texts_of(figure: Figure) -> dict[str, str]:
    return {text.get_gid(): text.get_text() for text in figure.texts}


def mark(figure: Figure, gid: str):
    found = [a for a in figure.axes[0].get_children() if a.get_gid() == gid]
    return found[0] if found else None


def assert_tidy(figure: Figure) -> None:
    """No text meets another, the plot or the page's edge."""
    with style():
        canvas = FigureCanvasAgg(figure)
        figure.set_dpi(150)
        renderer = canvas.get_renderer()
        axes = figure.axes[0]
        texts = [*figure.texts, *axes.get_xticklabels()]
        boxes = [text.get_window_extent(renderer) for text in texts]
        plot = axes.get_window_extent(renderer)
    edges = np.array([(b.x0, b.y0, b.x1, b.y1) for b in boxes])
    page = figure.bbox
    assert edges[:, :2].min() >= 0
    assert edges[:, 2].max() <= page.x1
    assert edges[:, 3].max() <= page.y1
    for index, (x0, y0, x1, y1) in enumerate(edges):
        rest = edges[index + 1 :]
        meets = (rest[:, 0] < x1) & (rest[:, 2] > x0) & (rest[:, 1] < y1) & (rest[:, 3] > y0)
        others = [texts[index + 1 + j].get_text() for j in np.flatnonzero(meets)]
        assert not others, f"{texts[index].get_text()!r} meets {others}"
        assert x1 <= plot.x0 or x0 >= plot.x1 or y1 <= plot.y0 + 1 or y0 >= plot.y1 - 1


LEVELS = ("rater=client", "rater=therapist", "rater=third_party_observer_of_all_the_sessions")


@pytest.mark.parametrize("k", [1, 2, 3, 12, 40, 130])
@pytest.mark.parametrize("levels", [(), LEVELS])
@pytest.mark.parametrize("metric", ["fisher_z", "generic"])
def test_no_text_meets_another_or_leaves_the_page(k, levels, metric):
    effects = make_effects(k, levels=levels, per_study=2)
    title = "Who rated the alliance and whether its correlation with outcome depends on it " * 2
    model = "Correlated and hierarchical effects, robust standard errors, " * 3
    for figure in draw(
        effects, title=title, model_label=model, metric=metric, heterogeneity=HETEROGENEITY
    ):
        assert_tidy(figure)


@settings(max_examples=15, deadline=None)
@given(
    labels=st.lists(
        st.text(st.characters(max_codepoint=0x52F, exclude_categories=["M"]), max_size=70),
        min_size=1,
        max_size=7,
    ),
    scale=st.sampled_from([1.0, 1000.0]),
)
def test_any_label_fits(labels, scale):
    effects = make_effects(len(labels), per_study=2)
    effects["label"] = pd.Series(labels, dtype="str")
    effects[["estimate", "ci_low", "ci_high"]] *= scale
    (figure,) = draw(effects, metric="fisher_z" if scale == 1 else "generic")
    assert_tidy(figure)


def test_number_texts_are_the_tables_values():
    effects = make_effects(12)
    (figure,) = draw(effects)
    texts = texts_of(figure)
    for index, row in effects.iterrows():
        shown = texts[f"effect-{index}-effect"].replace("−", "-")
        numbers = [float(part) for part in re.findall(r"-?\d*\.\d+", shown)]
        expected = row[["estimate", "ci_low", "ci_high"]].to_numpy(dtype=float)
        # two decimals are printed
        np.testing.assert_allclose(numbers, expected, atol=0.005 + 1e-12)
        assert float(texts[f"effect-{index}-weight_text"]) == pytest.approx(row["weight"], abs=0.05)
        if np.isfinite(row["n"]):
            assert texts[f"effect-{index}-n"] == f"{row['n']:.0f}"
    assert texts["effect-0-effect"].startswith(".")
    assert texts["overall-effect"] == ".28 [.21, .35]"
    assert texts["prediction-effect"] == "[−.12, .61]"
    assert texts["header-effect"] == "r [95 % CI]"


def test_generic_numbers_keep_their_leading_zero():
    (figure,) = draw(make_effects(3), metric="generic", ci_level=0.9)
    texts = texts_of(figure)
    assert texts["overall-effect"] == "0.28 [0.21, 0.35]"
    assert texts["header-effect"] == "Effect [90 % CI]"
    assert texts["axis-label-0"] == "Effect size"


def test_the_foot_reports_heterogeneity_and_moderators():
    (figure,) = draw(make_effects(5), heterogeneity=HETEROGENEITY)
    foot = [text for gid, text in texts_of(figure).items() if gid.startswith("note-")]
    assert foot == [
        "Random effects, REML",
        "Residual heterogeneity: τ² = .031, I² = 71 %, Q(11) = 61.00, p < .001",
        "Test of moderators: F(2, 7.4) = 3.10, p = .104",
    ]


def test_area_is_proportional_to_weight():
    effects = make_effects(12)
    (figure,) = draw(effects)
    areas = mark(figure, "squares").get_sizes()
    np.testing.assert_allclose(areas / areas.sum(), effects["weight"] / 100, rtol=1e-12)


def test_area_is_on_one_scale_over_all_pages():
    effects = make_effects(40)
    pages = draw(effects, rows_per_page=12)
    areas = np.concatenate([mark(page, "squares").get_sizes() for page in pages])
    np.testing.assert_allclose(areas / areas.sum(), effects["weight"] / 100, rtol=1e-12)


def test_weights_that_are_missing_or_negative_are_drawn_without_a_square():
    effects = make_effects(4)
    effects["weight"] = [60.0, -5.0, np.nan, 45.0]
    (figure,) = draw(effects)
    areas = mark(figure, "squares").get_sizes()
    np.testing.assert_allclose(areas / areas[0], [1.0, 0.0, 0.75])
    assert len(mark(figure, "strokes").get_offsets()) == 4
    hollow = mark(figure, "unweighted").get_offsets()
    np.testing.assert_allclose(hollow[:, 0], effects["estimate"][2])
    assert "effect-2-weight_text" not in texts_of(figure)


def test_intervals_beyond_the_axis_end_in_arrows():
    effects = make_effects(8).assign(estimate=0.3, ci_low=0.2, ci_high=0.4, weight=14.0)
    effects.loc[6, ["estimate", "ci_low", "ci_high", "weight"]] = [0.3, -40.0, 0.4, 1.0]
    effects.loc[7, ["estimate", "ci_low", "ci_high", "weight"]] = [0.3, -30.0, 50.0, 1.0]
    (figure,) = draw(effects, metric="generic")
    low, high = figure.axes[0].get_xlim()
    assert -30 < low < 0.2
    assert 0.4 < high < 50
    left, right = mark(figure, "arrows-left"), mark(figure, "arrows-right")
    assert len(left.get_offsets()) == 2
    assert len(right.get_offsets()) == 1
    np.testing.assert_allclose(left.get_offsets()[:, 0], low)
    whiskers = np.array(mark(figure, "whiskers").get_segments())
    assert whiskers[..., 0].min() >= low
    assert whiskers[..., 0].max() <= high


def test_arrows_stand_clear_of_their_squares():
    effects = make_effects(8).assign(estimate=0.3, ci_low=0.2, ci_high=0.4, weight=14.0)
    effects.loc[7, ["estimate", "ci_low", "ci_high", "weight"]] = [-0.4, -0.9, 0.5, 14.0]
    (figure,) = draw(effects)
    low, high = figure.axes[0].get_xlim()
    assert low > -0.9
    width = figure.axes[0].get_position().width * figure.get_figwidth() * 72
    # half a square of 8 points and half an arrow of about 4
    assert (-0.4 - low) / (high - low) * width > 6


def test_no_arrow_without_a_cut_interval():
    (figure,) = draw(make_effects(3))
    assert mark(figure, "arrows-left") is None
    assert mark(figure, "arrows-right") is None


@pytest.mark.parametrize("k", [1, 2, 12, 40])
def test_axis_shows_every_estimate_within_the_range_of_r(k):
    effects = make_effects(k)
    low, high = draw(effects)[0].axes[0].get_xlim()
    assert -1 <= low <= min(effects["estimate"].min(), 0)
    assert max(effects["estimate"].max(), 0) <= high <= 1


def test_a_level_with_one_study_says_so_and_has_no_diamond():
    effects = make_effects(9, levels=("rater=client", "rater=therapist"))
    effects.loc[8, "level"] = "rater=observer"
    (figure,) = draw(effects, level_labels={"rater=client": "clients themselves"})
    texts = texts_of(figure)
    headings = [texts[f"heading-{i}-label"] for i in range(3)]
    assert headings == ["Rater: clients themselves", "Rater: observer", "Rater: therapist"]
    assert texts["heading-0-detail"] == "(5 studies, 5 effects)"
    assert texts["level-1-detail"] == "too few studies, not tested"
    assert texts["level-1-effect"] == ".28"
    assert mark(figure, "level-1-hollow") is not None
    assert mark(figure, "level-1-diamond") is None
    assert mark(figure, "level-0-diamond") is not None
    assert mark(figure, "level-0-hollow") is None


def test_rows_stand_under_their_level_and_the_overall_estimate_comes_last():
    effects = make_effects(12, levels=LEVELS).sample(frac=1, random_state=1)
    rows = build_rows(
        effects, make_summary(effects), metric="fisher_z", ci_level=0.95, level_labels=None
    )
    assert [row.kind for row in rows] == [
        *(["heading", *["effect"] * 4, "level"] * 3),
        "overall",
        "prediction",
    ]
    group = ""
    for row in rows:
        group = row.group if row.kind == "heading" else group
        if row.kind == "effect":
            assert effects["level"].iloc[int(row.gid.removeprefix("effect-"))] == group


def test_without_a_prediction_interval_there_is_no_bar():
    effects = make_effects(4)
    (figure,) = draw(effects, make_summary(effects, prediction=False))
    assert mark(figure, "prediction-bar") is None
    assert "prediction-label" not in texts_of(figure)
    assert mark(draw(effects)[0], "prediction-bar") is not None


def test_marks_stand_at_their_values():
    effects = make_effects(5)
    (figure,) = draw(effects)
    np.testing.assert_allclose(mark(figure, "squares").get_offsets()[:, 0], effects["estimate"])
    diamond = mark(figure, "overall-diamond").get_xy()
    assert sorted(set(diamond[:, 0])) == [0.211, 0.278, 0.352]
    bar = mark(figure, "prediction-bar")
    assert bar.get_x() == -0.123
    assert bar.get_x() + bar.get_width() == pytest.approx(0.612)
    assert bar.get_y() > diamond[:, 1].max()  # y counts downwards
    assert list(mark(figure, "pooled").get_xdata()) == [0.278, 0.278]
    segments = np.array(mark(figure, "whiskers").get_segments())[..., 0]
    low, high = figure.axes[0].get_xlim()
    np.testing.assert_allclose(segments, effects[["ci_low", "ci_high"]].clip(low, high))


@pytest.mark.parametrize(("k", "levels"), [(300, ()), (300, LEVELS), (61, LEVELS), (59, ())])
def test_pages_hold_every_row_once(k, levels):
    effects = make_effects(k, levels=levels)
    rows = build_rows(
        effects, make_summary(effects), metric="fisher_z", ci_level=0.95, level_labels=None
    )
    pages = paginate(rows, 60)
    kept = [row for page in pages for row in page if not row.detail.endswith("continued")]
    assert kept == rows
    assert max(map(len, pages)) <= 60
    assert max(map(len, pages)) - min(map(len, pages)) <= len(pages) + 2
    for page in pages:
        assert page[-1].kind != "heading"
        assert any(row.kind == "effect" for row in page)
        assert page[0].kind == ("heading" if levels else "effect")


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 25), min_size=1, max_size=8),
    limit=st.integers(6, 30),
)
def test_any_grouping_splits_into_whole_pages(sizes, limit):
    levels = [f"rater={index}" for index, size in enumerate(sizes) for _ in range(size)]
    effects = make_effects(len(levels)).assign(level=levels)
    rows = build_rows(
        effects, make_summary(effects), metric="fisher_z", ci_level=0.95, level_labels=None
    )
    pages = paginate(rows, limit)
    kept = [row for page in pages for row in page if not row.detail.endswith("continued")]
    assert kept == rows
    assert max(map(len, pages)) <= limit
    assert all(page[0].kind == "heading" and page[-1].kind != "heading" for page in pages)


def test_every_page_has_its_header_and_mark_and_the_last_the_summary():
    figures = draw(make_effects(40), rows_per_page=12)
    assert len(figures) == 4
    for number, figure in enumerate(figures, start=1):
        texts = texts_of(figure)
        assert texts["page"] == f"page {number} of 4"
        assert texts["header-label"] == "Study"
        assert texts["title-0"] == "All studies"
        last = number == 4
        assert ("overall-label" in texts) is last
        assert ("note-0" in texts) is last
        assert_tidy(figure)


def test_a_single_page_has_no_page_mark():
    assert "page" not in texts_of(draw(make_effects(3))[0])


def test_rows_have_one_height_and_letters_one_size_whatever_k():
    for k in (2, 12, 57):
        (figure,) = draw(make_effects(k))
        texts = {text.get_gid(): text for text in figure.texts}
        baselines = [
            texts[f"effect-{i}-effect"].get_position()[1] * figure.get_figheight() for i in range(k)
        ]
        for above, below in pairwise(baselines):
            assert above - below == pytest.approx(0.162, abs=1e-9)
        assert texts["effect-0-effect"].get_fontsize() == 7
        assert figure.get_figwidth() == 7.5


def test_a_full_page_fits_on_a4():
    effects = make_effects(58)
    (figure,) = draw(effects, title="A title on two lines " * 5)
    assert figure.get_figheight() < 11.69


def test_effects_of_one_study_are_told_apart_by_what_differs():
    effects = make_effects(4).assign(label="Li (2020)", instrument="WAI", rater="client")
    effects["instrument_version"] = pd.Series([np.nan] * 4, dtype="str")
    effects["outcome_measure"] = "BDI-II"
    effects["component"] = ["goals", "tasks", "bond", "bond"]
    effects["session"] = [3.0, 3.0, 3.0, 8.0]
    assert find_details(effects) == [
        "goals, session 3",
        "tasks, session 3",
        "bond, session 3",
        "bond, session 8",
    ]
    assert find_details(effects.iloc[:3]) == ["goals", "tasks", "bond"]


def test_effects_that_the_rater_column_tells_apart_need_no_detail():
    effects = make_effects(2).assign(label="Li (2020)", rater=["client", "therapist"])
    assert find_details(effects) == ["", ""]


def test_both_of_two_rows_say_what_tells_them_apart():
    effects = make_effects(2).assign(label="Li (2020)", instrument="WAI", instrument_version="x")
    effects = effects.assign(rater="client", outcome_measure="BDI-II", component=[None, "bond"])
    assert find_details(effects) == ["component not reported", "bond"]


def test_rater_has_no_column_under_headings_of_raters():
    effects = make_effects(9, levels=("rater=client", "rater=therapist"))
    (by_rater,) = draw(effects)
    (by_timing,) = draw(effects.assign(level="timing=early"))
    assert "header-rater" not in texts_of(by_rater)
    assert "header-rater" in texts_of(by_timing)
    assert_tidy(by_rater)


def test_effects_that_nothing_tells_apart_are_numbered():
    effects = make_effects(3).assign(label="Li (2020)", study_id="s", sample_id="s", rater="client")
    effects = effects.assign(instrument="WAI", instrument_version="x", outcome_measure="BDI-II")
    assert find_details(effects) == ["no. 1", "no. 2", "no. 3"]


def test_shortened_labels_still_differ():
    name = "A consortium with a very long name that never comes to its end in this century "
    effects = make_effects(4)
    effects["label"] = [name + end for end in ("one part", "another part", "(2001)", "(2002)")]
    effects = effects.assign(instrument="WAI", instrument_version="x", rater="client")
    (figure,) = draw(effects)
    texts = texts_of(figure)
    shown = [(texts[f"effect-{i}-label"], texts.get(f"effect-{i}-detail", "")) for i in range(4)]
    assert len(set(shown)) == 4
    assert texts["effect-2-label"].endswith("… (2001)")
    assert_tidy(figure)


def test_columns_that_are_empty_are_left_out():
    effects = make_effects(3).drop(columns=["instrument", "instrument_version", "rater"])
    (figure,) = draw(effects)
    headers = {gid for gid in texts_of(figure) if gid.startswith("header-")}
    assert headers == {"header-label", "header-n", "header-effect", "header-weight_text"}


def test_formulas_in_names_are_not_typeset():
    effects = make_effects(1).assign(label="Cost $x^2$ (2003)")
    (figure,) = draw(effects)
    (label,) = [t for t in figure.texts if t.get_gid() == "effect-0-label"]
    assert label.get_text() == "Cost $x^2$ (2003)"
    assert not label.get_parse_math()


def test_figures_know_nothing_of_pyplot():
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    draw(make_effects(3))
    assert pyplot.get_fignums() == before


def test_what_cannot_be_drawn_is_refused():
    effects = make_effects(3)
    with pytest.raises(ValueError, match="no effect"):
        draw(effects.iloc[:0])
    with pytest.raises(ValueError, match="lacks the columns weight"):
        draw(effects.drop(columns="weight"))
    with pytest.raises(ValueError, match="metric must be"):
        draw(effects, metric="odds")
    with pytest.raises(ValueError, match="at least 6"):
        draw(effects, rows_per_page=5)
