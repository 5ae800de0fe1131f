"""Saved figures, bubble plots, plots of levels and alternative texts."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from alliance_meta.figures import (
    bubble_alt_text,
    draw_bubble,
    draw_forest,
    draw_levels,
    forest_alt_text,
    levels_alt_text,
    save_figure,
    save_pages,
)
from alliance_meta.figures.lettering import measure, shorten, wrap
from alliance_meta.figures.scale import choose_limits, choose_ticks
from alliance_meta.figures.theme import style

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"


def make_effects(k: int = 8) -> pd.DataFrame:
    estimate = np.linspace(-0.05, 0.71, k)
    return pd.DataFrame(
        {
            "study_id": [f"s{i}" for i in range(k)],
            "label": [f"Müller & Ørsted ({1990 + i})" for i in range(k)],
            "n": 50.0,
            "estimate": estimate,
            "ci_low": estimate - 0.1,
            "ci_high": estimate + 0.1,
            "weight": np.linspace(1, 3, k) / np.linspace(1, 3, k).sum() * 100,
            "year": 1990.0 + np.arange(k),
        }
    )


SUMMARY = pd.DataFrame(
    [
        ("overall", 8, 9, 400.0, 0.311, 0.25, 0.37, 0.02, 0.55),
        ("rater=client", 5, 6, 250.0, 0.301, 0.21, 0.39, 0.0, 0.6),
        ("rater=therapist", 2, 2, 100.0, 0.252, 0.01, 0.46, -0.1, 0.57),
        ("rater=observer", 1, 1, 50.0, 0.4, np.nan, np.nan, np.nan, np.nan),
    ],
    columns=[
        "level",
        "k_studies",
        "k_effects",
        "n_total",
        "estimate",
        "ci_low",
        "ci_high",
        "pi_low",
        "pi_high",
    ],
)
HETEROGENEITY = pd.DataFrame({"parameter": ["tau2", "I2"], "estimate": [0.03, 62.3]})
LINE = pd.DataFrame(
    {"x": [1990.0, 1997.0], "estimate": [0.4, 0.3], "ci_low": [0.3, 0.2], "ci_high": [0.5, 0.4]}
)


def forest(k: int = 8, **options) -> list[Figure]:
    return draw_forest(make_effects(k), SUMMARY, HETEROGENEITY, title="All", **options)


def texts_of(figure: Figure) -> dict[str, str]:
    return {text.get_gid(): text.get_text() for text in figure.texts}


def mark(figure: Figure, gid: str):
    found = [a for a in figure.axes[0].get_children() if a.get_gid() == gid]
    return found[0] if found else None


def assert_tidy(figure: Figure) -> None:
    with style():
        figure.set_dpi(150)
        renderer = FigureCanvasAgg(figure).get_renderer()
        axes = figure.axes[0]
        ticks = [*axes.get_xticklabels(), *axes.get_yticklabels()]
        texts = [*figure.texts, *ticks]
        boxes = [text.get_window_extent(renderer) for text in texts]
    for index, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
        for other, text in zip(boxes[index + 1 :], texts[index + 1 :], strict=True):
            assert not box.overlaps(other), (texts[index].get_text(), text.get_text())


SAVE = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
spec = spec_from_file_location("figures_files", sys.argv[1])
module = module_from_spec(spec)
spec.loader.exec_module(module)
module.save_all(Path(sys.argv[2]))
"""


def save_all(folder: Path) -> list[Path]:
    return [
        *save_pages(forest(8, rows_per_page=6), folder / "forest"),
        *save_figure(
            draw_bubble(make_effects(), "year", LINE, title="Year", moderator_label="Year"),
            folder / "bubble",
        ),
    ]


def test_files_are_the_same_in_another_process_folder_and_style(tmp_path):
    here = save_all(tmp_path / "here")
    (tmp_path / "there").mkdir()
    rc = tmp_path / "there" / "matplotlibrc"
    rc.write_text("font.size: 22\nsvg.fonttype: path\nlines.linewidth: 9\naxes.grid: True\n")
    subprocess.run(
        [sys.executable, "-c", SAVE, __file__, str(tmp_path / "there")],
        check=True,
        cwd=tmp_path / "there",
        env=os.environ
        | {"MATPLOTLIBRC": str(rc), "PYTHONHASHSEED": "7", "PYTHONPATH": str(SCRIPTS)},
    )
    assert len(here) == 8
    for path in here:
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes(), path.name


def test_svg_keeps_text_and_names_a_generic_family(tmp_path):
    vector, document, raster = save_figure(forest()[0], tmp_path / "new" / "forest.v1")
    text = vector.read_text(encoding="utf-8")
    assert "Müller &amp; Ørsted (1990)</text>" in text
    assert "'DejaVu Sans', sans-serif" in text
    assert "<dc:date>" not in text
    assert [path.name for path in (vector, document, raster)] == [
        "forest.v1.svg",
        "forest.v1.pdf",
        "forest.v1.png",
    ]
    assert document.read_bytes().startswith(b"%PDF")
    assert b"CreationDate" not in document.read_bytes()


def test_png_has_300_dots_per_inch(tmp_path):
    from matplotlib.image import imread

    figure = forest()[0]
    raster = save_figure(figure, tmp_path / "forest")[2]
    assert imread(raster).shape[1] == 300 * figure.get_figwidth()


def test_pages_are_numbered_and_stale_ones_go(tmp_path):
    long = save_pages(forest(30, rows_per_page=12), tmp_path / "forest")
    assert [path.name for path in long] == [
        "forest.svg",
        "forest.pdf",
        "forest.png",
        "forest_2.svg",
        "forest_2.png",
        "forest_3.svg",
        "forest_3.png",
    ]
    assert b"/Count 3 " in (tmp_path / "forest.pdf").read_bytes()
    short = save_pages(forest(15, rows_per_page=12), tmp_path / "forest")
    assert sorted(tmp_path.iterdir()) == sorted(short)
    with pytest.raises(ValueError, match="no page"):
        save_pages([], tmp_path / "none")


def test_drawing_leaves_the_users_style_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    forest()
    assert dict(matplotlib.rcParams) == before


def test_alternative_texts_need_no_matplotlib():
    code = "import sys, alliance_meta.figures.alt_text; print('matplotlib' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
    )
    assert run.stdout.strip() == "False"


def test_forest_alt_text_is_made_from_the_numbers():
    text = forest_alt_text(make_effects(), SUMMARY, HETEROGENEITY, title="By rater", ci_level=0.95)
    assert text == (
        "Forest plot, By rater: 8 studies, 8 effects, with estimates from −.05 to .71. "
        "The pooled correlation is .31 (95 % CI [.25, .37], 95 % prediction interval "
        "[.02, .55]), by level it is .30 for client, .25 for therapist and .40 for observer "
        "(too few studies, not tested) and heterogeneity is I² = 62 %."
    )


def test_forest_alt_text_of_a_lone_effect_leaves_out_what_is_missing():
    text = forest_alt_text(make_effects(1), SUMMARY.iloc[:0], HETEROGENEITY.iloc[:0], title="One")
    assert text == "Forest plot, One: 1 study, 1 effect, with the estimate −.05."


def test_bubble_alt_text_gives_both_ends_of_the_line():
    text = bubble_alt_text(make_effects(), "year", LINE, title="Time", moderator_label="year")
    assert text == (
        "Bubble plot, Time: 8 effects against year, which runs from 1990 to 1997. The fitted "
        "correlation goes from .40 (95 % CI [.30, .50]) at 1990 to .30 (95 % CI [.20, .40]) "
        "at 1997."
    )


def test_levels_alt_text_names_the_ends_of_many_levels():
    many = pd.concat([SUMMARY, SUMMARY.iloc[1:].assign(level=["x=a", "x=b", "x=c"])])
    text = levels_alt_text(many, title="Levels", metric="generic")
    assert "between 0.25 for Rater: therapist and 0.40 for X: c" in text
    assert "over 6 levels" in text
    assert "Overall the effect is 0.31 (95 % CI [0.25, 0.37]" in text


def test_bubbles_have_the_area_of_their_weight_and_stand_at_their_values():
    effects = make_effects()
    effects.loc[2, "year"] = np.nan
    figure = draw_bubble(effects, "year", LINE, title="Time", moderator_label="Year")
    shown = effects.drop(index=2).sort_values("weight", ascending=False)
    bubbles = mark(figure, "bubbles")
    np.testing.assert_allclose(bubbles.get_offsets(), shown[["year", "estimate"]])
    areas = bubbles.get_sizes()
    np.testing.assert_allclose(areas / areas.sum(), shown["weight"] / shown["weight"].sum())
    np.testing.assert_allclose(mark(figure, "line").get_xydata(), LINE[["x", "estimate"]])
    assert mark(figure, "band") is not None
    assert_tidy(figure)


@pytest.mark.parametrize("metric", ["fisher_z", "generic"])
def test_bubble_plot_without_a_line_or_range_is_tidy(metric):
    effects = make_effects(1)
    figure = draw_bubble(
        effects,
        "year",
        LINE.iloc[:0],
        title="A long title about a moderator and its supposed role " * 3,
        moderator_label="Mean age of the clients at the beginning of treatment, in years " * 3,
        metric=metric,
    )
    assert mark(figure, "line") is None
    assert_tidy(figure)
    with pytest.raises(ValueError, match="no effect has a value of year"):
        draw_bubble(effects.assign(year=np.nan), "year", LINE, title="Time", moderator_label="Year")


def test_levels_stand_under_their_moderator_with_their_numbers():
    figure = draw_levels(SUMMARY, title="By rater", level_labels={"rater": "Who rated"})
    texts = texts_of(figure)
    assert texts["heading-0-label"] == "Who rated"
    assert texts["level-1-label"] == "Client"
    assert texts["level-1-effect"] == ".30 [.21, .39]"
    assert (texts["level-1-k_studies"], texts["level-1-k_effects"]) == ("5", "6")
    assert texts["level-3-note"] == "too few studies, not tested"
    assert texts["level-3-effect"] == ".40"
    assert "level-2-note" not in texts
    assert list(mark(figure, "level-1-ci").get_xdata()) == [0.21, 0.39]
    assert list(mark(figure, "level-1-pi").get_xdata()) == [0.0, 0.6]
    assert mark(figure, "level-1-ci").get_linewidth() > mark(figure, "level-1-pi").get_linewidth()
    assert mark(figure, "level-3-ci") is None
    assert mark(figure, "level-3-dot").get_facecolor()[0].tolist() == [1, 1, 1, 1]
    assert_tidy(figure)


NAMES = (
    "Several independent raters",
    "Vanderbilt Psychotherapy Process Scales",
    "Motivational and substance use counselling",
    "A level whose name alone is longer than the column of names may become on this page",
)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_levels_are_whole(name):
    figure = draw_levels(SUMMARY, title="By rater", level_labels={"rater=observer": name})
    texts = texts_of(figure)
    lines = [text for gid, text in texts.items() if gid.startswith("level-3-label")]
    assert " ".join(lines) == name
    assert texts["level-3-note"] == "too few studies, not tested"
    assert_tidy(figure)


@pytest.mark.parametrize("count", [1, 30])
def test_levels_with_long_names_are_tidy(count):
    rows = pd.concat([SUMMARY] * count, ignore_index=True)
    rows["level"] = [f"outcome_domain=a_very_long_code_{'of_words_' * 9}{i}" for i in rows.index]
    assert_tidy(draw_levels(rows, title="Levels " * 30, metric="generic"))
    with pytest.raises(ValueError, match="no level"):
        draw_levels(rows.iloc[:0], title="None")


def test_shortened_text_fits_and_keeps_the_year():
    text = "Flückiger, Del Re, Wlasiuk, Horvath, Solomonov, & Wampold (2020a)"
    short = shorten(text, 1.5)
    assert short.endswith("… (2020a)")
    assert short.startswith("Flückiger, Del")
    assert measure(short) <= 1.5
    assert shorten(text, 10) == text
    assert measure("bold", weight="bold") > measure("bold")


def test_shortening_never_parts_an_accent_from_its_letter():
    text = "e\u0301" * 40
    for width in np.linspace(0.3, 2, 15):
        assert shorten(text, width).rstrip("…").count("e") == shorten(text, width).count("\u0301")


def test_wrapped_text_fits_and_loses_no_word():
    text = "one two three four five six seven eight nine ten eleven twelve " * 3
    lines = wrap(text, 2.0)
    assert " ".join(lines) == text.strip()
    assert all(measure(line) <= 2.0 for line in lines)
    assert wrap("", 2.0) == []


def test_limits_show_estimates_and_do_not_follow_one_wild_interval():
    wild = choose_limits(
        [0.2, 0.3, 0.4], [0.1, 0.2, -90], [0.3, 0.4, 90], [10, 10, 0.01], bounded=False
    )
    assert -2 < wild[0] < 0
    assert 0.4 < wild[1] < 2
    nothing = choose_limits([np.nan], [np.nan], [np.nan], [np.nan])
    assert nothing[0] < 0 < nothing[1]
    assert choose_limits([0.99, -0.95], [0.9, -1], [1, -0.9], [1, 1]) == (-1.0, 1.0)


def test_ticks_are_round_and_have_room():
    values, labels = choose_ticks(-0.31, 0.72, 2.0, lambda text: 0.25, leading_zero=False)
    assert values == pytest.approx([-0.2, 0, 0.2, 0.4, 0.6])
    assert labels == ["−.2", "0", ".2", ".4", ".6"]
    _, quarters = choose_ticks(-0.6, 0.6, 4.0, lambda text: 0.25, leading_zero=True)
    assert "0.2" in quarters
    few, _ = choose_ticks(-0.31, 0.72, 0.8, lambda text: 0.25, leading_zero=False)
    assert len(few) <= 3
