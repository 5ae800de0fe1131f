"""Figures on how far a result can be trusted: they show the tables, and nothing overlaps."""

import io
import re
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from alliance_meta.figures import trust
from alliance_meta.figures.panels import Box, choose_correlation_ticks, place_labels
from alliance_meta.figures.saving import save_pages
from alliance_meta.figures.specification_curve import MOST_SHOWN, draw_specification_curve
from alliance_meta.figures.theme import style
from alliance_meta.figures.trust import draw_multiverse, draw_trust
from alliance_meta.tables import read_table, write_table

LABELS = [
    "Li (2020)",
    "Flückiger, Del Re, Wlasiuk, Horvath, Solomonov, & Wampold with others (2020a)",
    "Cost $ and benefit $ of x_i^2 (2003)",
    "王 (2017)",
]
ALL = [
    "funnel",
    "bias_panel",
    "leave_one_out",
    "influence",
    "baujat",
    "gosh",
    "cumulative",
    "rho_sweep",
]


def make_model(k: int, *, moderators: bool = False, metric: str = "fisher_z") -> dict:
    back = np.tanh if metric == "fisher_z" else float
    coefficients = [{"term": "Intercept", "estimate": 0.3}]
    if moderators:
        coefficients.append({"term": "rater[T.therapist]", "estimate": None})
    return {
        "title": "Alliance and outcome",
        "failure": "",
        "specification": {
            "metric": metric,
            "ci_level": 0.95,
            "rho": 0.6,
            "moderators": "rater" if moderators else "",
        },
        "coefficients": coefficients,
        "summary": [
            {
                "level": "overall",
                "estimate": float(back(0.3)),
                "ci_low": float(back(0.2)),
                "ci_high": float(back(0.4)),
            }
        ],
        "heterogeneity": [
            {"parameter": "tau2_between", "estimate": 0.01},
            {"parameter": "tau2_within", "estimate": 0.02},
            {"parameter": "Q", "estimate": 3.0 * k},
        ],
        "study_estimates": [
            {
                "study_id": f"s{i}",
                "label": LABELS[i] if i < len(LABELS) else f"Author {i} ({1900 + i})",
                "level": "",
            }
            for i in range(k)
        ],
    }


def make_tables(k: int) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(k)
    effect, study = [f"e{i}" for i in range(k)], [f"s{i}" for i in range(k)]
    se = rng.uniform(0.05, 0.3, k)
    x = 0.3 + rng.normal(0, 0.15, k)
    x[0] = 1.2
    far = (x - 0.3) / se
    estimate = 0.3 - 0.1 * far / k
    draws = rng.normal(0, 1, (400, 2))
    rho = np.array([0.0, 0.3, 0.6, 0.9])
    step = 0.3 + 0.2 / (1 + np.arange(k))

    def interval(values: np.ndarray, half: float) -> dict:
        return {"estimate": values, "ci_low": values - half, "ci_high": values + half}

    return {
        "bias_funnel": pd.DataFrame(
            {
                "effect_id": effect,
                "study_id": study,
                "x": x,
                "se": se,
                "residual": x - 0.3,
                "level": np.resize(["client", "therapist", "third_party_observer"], k),
            }
        ),
        "bias_trim_and_fill": pd.DataFrame(
            {
                "estimator": ["L0", "L0", "R0"],
                "side": ["left", "right", "left"],
                "k0": [2, 0, 1],
                "chosen": [True, False, True],
            }
        ),
        "bias_trim_and_fill_effects": pd.DataFrame(
            {
                "estimator": ["L0", "L0", "R0"],
                "side": "left",
                "effect_id": "e0",
                "x": [-0.6, -0.1, -0.5],
                "se": [0.1, 0.2, 0.3],
            }
        ),
        "bias_panel": pd.DataFrame(
            [
                ("analysis", "no selection", 0.29, 0.2, 0.38, "yes", "the analysis itself"),
                ("trim_and_fill_L0", "the funnel is symmetric", 0.2, 0.1, 0.3, "yes", "trim (L0)"),
                ("worst_case", "no limit " * 12, -0.05, -0.3, 0.2, "no", "worst case"),
                ("3psm", "less appears", 0.25, np.nan, np.nan, "unclear", "three-parameter model"),
                ("pet", "linear", np.nan, np.nan, np.nan, "unclear", "PET"),
            ],
            columns=[
                "method",
                "assumption",
                "estimate",
                "ci_low",
                "ci_high",
                "conclusion_holds",
                "label",
            ],
        ),
        "sensitivity_leave_one_out": pd.DataFrame(
            {"unit": "study", "left_out": study, **interval(estimate, 0.11), "term": "Intercept"}
        ).assign(changes=["significance", *[""] * (k - 1)]),
        "sensitivity_influence": pd.DataFrame(
            {
                "effect_id": effect,
                "rstudent": far,
                "dffits": far / 3,
                "cooks_distance": far**2 / 9,
                "cov_ratio": 1.01,
                "tau2_deleted": 0.03,
                "Q_deleted": 3.0 * k - far**2,
                "hat": np.nan,
                "weight": 100 / k,
                "study_id": study,
                "influential": np.arange(k) == 0,
            }
        ),
        "sensitivity_baujat": pd.DataFrame(
            {"effect_id": effect, "study_id": study, "x": far**2, "y": far**2 * se}
        ),
        "sensitivity_gosh": pd.DataFrame(
            {
                "subset_size": 2,
                "estimate": 0.3 + 0.03 * draws[:, 0],
                "I2": np.clip(50 + 20 * draws[:, 1], 0, 100),
            }
        ),
        "sensitivity_gosh_studies": pd.DataFrame(
            {"study_id": ["s0"], "mean_with": 0.5, "mean_without": 0.2, "difference": 0.3}
        ),
        "sensitivity_gosh_summary": pd.DataFrame(
            {"quantity": ["subsets_run", "n_modes"], "value": [1e5, 2.0]}
        ),
        "sensitivity_cumulative": pd.concat(
            [
                pd.DataFrame(
                    {"added": study, "k": np.arange(1, k + 1), **interval(step, 0.1), "by": by}
                ).assign(value=value)
                for by, value in (("year", 1990.0 + np.arange(k)), ("precision", se**2))
            ],
            ignore_index=True,
        ),
        "sensitivity_rho": pd.DataFrame(
            {"rho": rho, **interval(0.3 - 0.02 * rho, 0.1), "term": "Intercept"}
        ),
    }


def make_multiverse(parts: int = 1) -> pd.DataFrame:
    options = {
        "model": ["che", "rve", "three_level"],
        "outliers": ["none", "rstudent"],
        "rater": ["client", "all raters of the alliance that any study has asked in any way"],
        "rho": [0.4, 0.6, 0.8],
        "metric": ["fisher_z"],
        "where": [f"part {i}" for i in range(parts)],
    }
    table = pd.DataFrame(list(product(*options.values())), columns=list(options))
    table.insert(0, "specification", np.arange(1, len(table) + 1))
    estimate = 0.2 + 0.1 * np.sin(np.arange(len(table)))
    significant = ["yes" if value > 0.2 else "no" for value in estimate]
    return table.assign(
        k_studies=10,
        k_effects=20,
        estimate=estimate,
        ci_low=estimate - 0.2,
        ci_high=estimate + 0.2,
        p_value=0.01,
        tau2=0.02,
        significant=significant,
        reason="",
    )


def draw_all(
    monkeypatch: pytest.MonkeyPatch, tables: dict, model: dict
) -> tuple[list[dict], dict[str, list[Figure]]]:
    """Return index and figures; files are slow and have a test of their own."""
    figures: dict[str, list[Figure]] = {}

    def keep(pages: list[Figure], stem: Path, **_: bool) -> list[Path]:
        figures[stem.name] = pages
        return [stem.with_suffix(".svg")]

    monkeypatch.setattr(trust, "save_pages", keep)
    index = draw_trust(tables, model=model, folder=Path("figures"))
    index += draw_multiverse(tables, model=model, folder=Path("figures"))
    return index, figures


@lru_cache
def draw_once(k: int, metric: str = "fisher_z") -> tuple[list[dict], dict[str, list[Figure]]]:
    with pytest.MonkeyPatch.context() as patch:
        tables = make_tables(k) | {"multiverse": make_multiverse()}
        return draw_all(patch, tables, make_model(k, metric=metric))


def alt_of(index: list[dict], name: str) -> str:
    return next(entry["alt"] for entry in index if entry["name"] == name)


def find(figure: Figure, gid: str):
    return next(
        (a for axes in figure.axes for a in axes.get_children() if a.get_gid() == gid), None
    )


def texts_of(figure: Figure) -> dict[str, str]:
    return {text.get_gid(): text.get_text() for text in figure.texts}


def save_svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    with style():
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def assert_tidy(figure: Figure) -> None:
    """No text meets another or the page's edge."""
    with style():
        figure.set_dpi(150)
        renderer = FigureCanvasAgg(figure).get_renderer()
        texts = list(figure.texts)
        for axes in figure.axes:
            texts += [*axes.get_xticklabels(), *axes.get_yticklabels()]
        texts = [text for text in texts if text.get_text()]
        boxes = [text.get_window_extent(renderer) for text in texts]
    edges = np.array([box.extents for box in boxes])
    assert edges[:, :2].min() >= 0
    assert edges[:, 2].max() <= figure.bbox.x1
    assert edges[:, 3].max() <= figure.bbox.y1
    for index, (x0, y0, x1, y1) in enumerate(edges):
        rest = edges[index + 1 :]
        meets = (rest[:, 0] < x1) & (rest[:, 2] > x0) & (rest[:, 1] < y1) & (rest[:, 3] > y0)
        others = [texts[index + 1 + j].get_text() for j in np.flatnonzero(meets)]
        assert not others, f"{texts[index].get_text()!r} meets {others}"


@pytest.mark.parametrize(
    ("k", "metric"), [(1, "fisher_z"), (2, "generic"), (25, "fisher_z"), (61, "fisher_z")]
)
def test_no_text_meets_another_or_leaves_the_page(k, metric):
    index, figures = draw_once(k, metric)
    assert [entry["name"] for entry in index] == [*ALL, "specification_curve"]
    for pages in figures.values():
        for figure in pages:
            assert_tidy(figure)


def test_entries_have_what_the_report_reads():
    index, figures = draw_once(25)
    for entry in index:
        assert set(entry) == {"name", "title", "alt", "caption", "pages", "files"}
        assert entry["alt"].endswith(".")
        assert entry["caption"].endswith(".")
        assert "nan" not in entry["alt"] + entry["caption"]
    assert len(figures["cumulative"]) == 2


def test_files_are_saved_and_listed(tmp_path):
    tables = {"bias_panel": make_tables(3)["bias_panel"]}
    (entry,) = draw_trust(tables, model=make_model(3), folder=tmp_path)
    assert entry["pages"] == ["bias_panel.svg"]
    assert entry["files"] == ["bias_panel.svg", "bias_panel.pdf", "bias_panel.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(entry["files"])


def test_bytes_are_the_same_on_every_run(monkeypatch):
    tables = make_tables(3) | {"multiverse": make_multiverse()}
    again = draw_all(monkeypatch, tables, make_model(3))[1]
    for name, pages in draw_once(3)[1].items():
        assert save_svg(pages[0]) == save_svg(again[name][0]), name


def test_empty_and_missing_tables_draw_nothing(monkeypatch, tmp_path):
    full = make_tables(5) | {"multiverse": make_multiverse()}
    empty = {name: table.iloc[:0] for name, table in full.items()}
    for name, table in empty.items():
        write_table(table, tmp_path / f"{name}.csv")
    read = {name: read_table(tmp_path / f"{name}.csv") for name in empty}
    for tables in ({}, empty, read):
        assert draw_all(monkeypatch, tables, make_model(5)) == ([], {})
    failed = make_model(5) | {"failure": "No effect is left."}
    assert draw_trust(full, model=failed, folder=tmp_path) == []


def test_tables_without_a_number_draw_nothing(monkeypatch):
    tables = make_tables(3) | {"multiverse": make_multiverse()}
    for name in tables:
        numbers = tables[name].select_dtypes("number").columns
        tables[name] = tables[name].assign(**dict.fromkeys(numbers, np.nan))
    assert draw_all(monkeypatch, tables, make_model(3)) == ([], {})


def test_tables_read_back_from_files_draw_the_same(monkeypatch, tmp_path):
    tables = make_tables(3) | {"multiverse": make_multiverse()}
    for name, table in tables.items():
        write_table(table, tmp_path / f"{name}.csv")
    read = {name: read_table(tmp_path / f"{name}.csv") for name in tables}
    assert draw_all(monkeypatch, read, make_model(3))[0] == draw_once(3)[0]


def test_missing_numbers_in_some_rows_are_skipped(monkeypatch):
    tables = make_tables(8) | {"multiverse": make_multiverse()}
    for name in tables:
        numbers = tables[name].select_dtypes("number").columns.difference(["specification"])
        tables[name].loc[1, numbers] = np.nan
    index, _ = draw_all(monkeypatch, tables, make_model(8))
    assert alt_of(index, "funnel").startswith("Funnel plot, Alliance and outcome: 7 effects")
    assert not [entry["name"] for entry in index if "nan" in entry["alt"]]


def test_an_analysis_with_moderators_has_residuals_and_no_mean_to_leave_out(monkeypatch):
    tables = make_tables(9)
    mean = tables["sensitivity_rho"]
    moved = mean.assign(term="rater[T.therapist]", estimate=-0.02 * mean["rho"])
    tables["sensitivity_rho"] = pd.concat([mean.assign(estimate=0.3), moved], ignore_index=True)
    index, figures = draw_all(monkeypatch, tables, make_model(9, moderators=True))
    names = [entry["name"] for entry in index]
    assert "leave_one_out" not in names
    (rho,) = figures["rho_sweep"]
    assert_tidy(rho)
    # the coefficient itself, not a correlation: -.02 × .9
    assert find(rho, "line-1").get_ydata()[-1] == pytest.approx(-0.018, abs=1e-12)
    assert "most is rater: therapist, from −0.02 to 0.00." in alt_of(index, "rho_sweep")
    (figure,) = figures["funnel"]
    drawn = [find(figure, f"effects-{i}").get_offsets() for i in range(3)]
    table = make_tables(9)["bias_funnel"]
    for points, (_, part) in zip(drawn, table.groupby("level", sort=False), strict=True):
        np.testing.assert_array_equal(points, part[["residual", "se"]])
    assert find(figure, "zone-0.05") is None
    assert find(figure, "filled") is None
    assert "third party observer" in texts_of(figure).values()
    assert_tidy(figure)


def test_the_funnel_has_zones_effects_and_added_effects():
    index, figures = draw_once(25)
    (figure,) = figures["funnel"]
    tables = make_tables(25)
    drawn = np.concatenate([find(figure, f"effects-{i}").get_offsets() for i in range(3)])
    assert {tuple(row) for row in drawn} == {
        tuple(row) for row in tables["bias_funnel"][["x", "se"]].to_numpy()
    }
    np.testing.assert_array_equal(find(figure, "filled").get_offsets(), [[-0.6, 0.1], [-0.1, 0.2]])
    # 1.959964 is the normal quantile of p = .05, to six decimals
    corner = find(figure, "zone-0.05").get_xy()[2]
    assert corner[0] / corner[1] == pytest.approx(1.959964, abs=1e-6)
    assert find(figure, "pooled").get_xdata()[0] == 0.3
    axes = figure.axes[-1]
    labels = [text.get_text().replace("−", "-") for text in axes.get_xticklabels()]
    np.testing.assert_allclose(np.tanh(axes.get_xticks()), [float(label) for label in labels])
    above = int((tables["bias_funnel"]["x"] > 0.3).sum())
    assert f"Right of the pooled correlation .29: {above}; left of it: {25 - above}." in alt_of(
        index, "funnel"
    )
    assert "Trim-and-fill adds 2 effects." in alt_of(index, "funnel")


def test_correlation_ticks_have_room_and_are_round():
    places, labels = choose_correlation_ticks(-2.0, 2.5, 5.0, lambda _: 0.25)
    gaps = np.diff(places) * 5.0 / 4.5
    assert gaps.min() > 0.25
    assert "0" in labels
    assert ".9" in " ".join(labels)
    narrow, texts = choose_correlation_ticks(0.28, 0.31, 5.0, lambda _: 0.25)
    np.testing.assert_allclose(np.tanh(narrow), [float(text) for text in texts])
    assert len(texts) >= 2


def test_leave_one_out_is_sorted_and_on_the_reporting_scale():
    index, figures = draw_once(25)
    table = make_tables(25)["sensitivity_leave_one_out"]
    (figure,) = figures["leave_one_out"]
    drawn = [find(figure, f"strip-{i}-dot").get_offsets()[0][0] for i in range(25)]
    np.testing.assert_allclose(drawn, np.sort(np.tanh(table["estimate"])), rtol=1e-12)
    texts = texts_of(figure)
    changed = [gid for gid, text in texts.items() if text == "significance"]
    assert len(changed) == 1
    assert texts[changed[0].replace("after-0", "label-0")] == "Li (2020)"
    low, high = np.tanh(table["estimate"]).min(), np.tanh(table["estimate"]).max()
    numbers = re.findall(r"\.\d\d", alt_of(index, "leave_one_out"))
    # two decimals are printed
    np.testing.assert_allclose([float(n) for n in numbers], [low, high], atol=0.005)
    assert alt_of(index, "leave_one_out").endswith("changes without Li (2020).")


def test_many_studies_become_a_line_with_a_band():
    _, figures = draw_once(61)
    table = make_tables(61)["sensitivity_leave_one_out"]
    (figure,) = figures["leave_one_out"]
    line = find(figure, "line").get_xydata()
    np.testing.assert_allclose(line[:, 1], np.sort(np.tanh(table["estimate"])), rtol=1e-12)
    assert find(figure, "band") is not None
    first = np.sort(np.tanh(table["estimate"])).tolist().index(np.tanh(table["estimate"][0]))
    assert find(figure, "marks").get_offsets()[0][0] == first + 1
    assert find(figures["cumulative"][0], "line") is not None


def test_cumulative_plots_follow_each_order():
    index, figures = draw_once(25)
    year, precision = figures["cumulative"]
    texts = texts_of(year)
    assert texts["strip-0-before-0"] == "1990"
    assert texts["strip-24-before-1"] == "25"
    # tanh(.5), tanh(.4) and tanh(.6), to two decimals
    assert texts["strip-0-effect"] == ".46 [.38, .54]"
    assert texts_of(precision)["header-before-0"] == "Variance"
    assert "goes from .46 (95 % CI [.38, .54]) with 1 effect to" in alt_of(index, "cumulative")


def test_influential_effects_are_marked_and_named():
    index, figures = draw_once(25)
    (figure,) = figures["influence"]
    assert find(figure, "influential-rstudent").get_offsets()[:, 0].tolist() == [1]
    texts = texts_of(figure)
    assert texts["note-0"] == "Influential: 1 Li (2020)."
    assert texts["study-0"] == "Li (2020)"
    assert "name-hat" not in texts
    assert "25 effects, of which 1 is influential (Li (2020))" in alt_of(index, "influence")
    (many,) = draw_once(61)[1]["influence"]
    assert "study-0" not in texts_of(many)


def test_the_baujat_plot_names_the_extreme_effects():
    index, figures = draw_once(25)
    table = make_tables(25)["sensitivity_baujat"]
    (figure,) = figures["baujat"]
    np.testing.assert_array_equal(find(figure, "effects").get_offsets(), table[["x", "y"]])
    labels = {s["study_id"]: s["label"] for s in make_model(25)["study_estimates"]}
    most = labels[table.loc[table["x"].idxmax(), "study_id"]]
    assert any(most.startswith(t[:12]) for g, t in texts_of(figure).items() if "point" in str(g))
    assert f"{most} adds most to the heterogeneity" in alt_of(index, "baujat")


def test_labels_of_points_meet_neither_each_other_nor_the_edge():
    rng = np.random.default_rng(3)
    box = Box(1.0, 1.0, 5.0, 3.0)
    points = np.column_stack([rng.uniform(1, 6, 300), rng.uniform(1, 4, 300)])
    texts = [f"Author {i} and colleagues" for i in range(300)]
    labels = place_labels(points, texts, list(range(300)), box)
    assert labels[0].index == 0
    assert all(1.0 < label.x < 6.0 and 0.8 < label.y < 4.0 for label in labels)


def test_gosh_cells_hold_all_subsets_and_a_split_is_told():
    index, figures = draw_once(25)
    (figure,) = figures["gosh"]
    bars = find(figure, "bars-estimate").get_data()
    assert bars.values.sum() == 400
    entry = next(entry for entry in index if entry["name"] == "gosh")
    # tanh(.5) and tanh(.2), to two decimals
    assert "Li (2020) splits the cloud: subsets with it have a mean of .46" in entry["caption"]
    assert "those without it one of .20" in entry["caption"]
    assert "400 of 100,000 subsets are drawn." in entry["caption"]
    estimate = np.tanh(make_tables(25)["sensitivity_gosh"]["estimate"])
    assert f"(median {estimate.median():.2f})".replace("0.", ".") in entry["alt"]


def test_gosh_without_heterogeneity_draws_the_estimates_alone(monkeypatch):
    tables = {"sensitivity_gosh": make_tables(4)["sensitivity_gosh"].assign(I2=np.nan)}
    index, figures = draw_all(monkeypatch, tables, make_model(4))
    (figure,) = figures["gosh"]
    assert find(figure, "bars-i2") is None
    assert "I²" not in index[0]["alt"]
    assert_tidy(figure)


def test_the_rho_of_the_analysis_is_marked():
    index, figures = draw_once(25)
    (figure,) = figures["rho_sweep"]
    assert find(figure, "upright").get_xdata()[0] == 0.6
    # tanh(.3 - .02 × .6), to two decimals
    assert "The analysis assumes ρ = .60: .28 (95 % CI" in alt_of(index, "rho_sweep")


def test_the_panel_has_the_analysis_on_top_and_tells_conclusions_by_shape():
    index, figures = draw_once(25)
    (figure,) = figures["bias_panel"]
    texts = texts_of(figure)
    assert texts["strip-0-label-0"] == "This analysis"
    assert texts["strip-0-effect"] == ".29 [.20, .38]"
    assert [texts.get(f"strip-{i}-after-0") for i in range(1, 5)] == [
        "holds",
        "does not hold",
        "unclear",
        "unclear",
    ]
    shapes = {find(figure, f"strip-{i}-dot").get_paths()[0].vertices.tobytes() for i in range(1, 4)}
    assert len(shapes) == 3
    assert find(figure, "strip-4-dot") is None
    assert alt_of(index, "bias_panel") == (
        "Methods against publication bias, Alliance and outcome: the analysis itself gives .29 "
        "(95 % CI [.20, .38]); 3 methods give between −.05 (worst case) and .25 (three-parameter "
        "model). The conclusion holds for 1, does not hold for 1 and is unclear for 2."
    )


def test_the_specification_curve_shows_estimates_and_their_choices():
    index, figures = draw_once(25)
    table = make_multiverse()
    (figure,) = figures["specification_curve"]
    shown = np.concatenate(
        [find(figure, f"dots-{name}").get_offsets()[:, 1] for name in ("yes", "no")]
    )
    np.testing.assert_array_equal(np.sort(shown), np.sort(table["estimate"]))
    texts = list(texts_of(figure).values())
    assert {"Model", "Outliers", "three level", "0.8"} <= set(texts)
    assert "Metric" not in texts
    significant = int((table["significant"] == "yes").sum())
    assert "36 specifications, with estimates from .10 to .30" in alt_of(
        index, "specification_curve"
    )
    assert f"{significant} are significant." in alt_of(index, "specification_curve")


def test_untested_and_inestimable_specifications_are_told(monkeypatch):
    table = make_multiverse()
    table.loc[0, ["estimate", "ci_low", "ci_high"]] = np.nan
    table.loc[1, ["ci_low", "ci_high"]] = np.nan
    table.loc[[0, 1], "significant"] = np.nan
    index, figures = draw_all(monkeypatch, {"multiverse": table}, make_model(5))
    assert "1 was not tested. 1 specification could not be estimated." in index[0]["alt"]
    texts = texts_of(figures["specification_curve"][0])
    assert "Not tested" in texts.values()
    assert_tidy(figures["specification_curve"][0])


def test_a_thousand_effects_stay_small_files(monkeypatch):
    wanted = ("bias_funnel", "sensitivity_influence", "sensitivity_baujat")
    tables = {name: table for name, table in make_tables(1000).items() if name in wanted}
    tables["multiverse"] = make_multiverse(40)
    _, figures = draw_all(monkeypatch, tables, make_model(1000))
    assert len(figures) == 4
    for name, (figure,) in figures.items():
        assert len(save_svg(figure)) < 400_000, name
    texts = texts_of(figures["specification_curve"][0]).values()
    assert any(f"{MOST_SHOWN:,} specifications shown of 1,440" in text for text in texts)


def test_drawing_needs_something_to_draw():
    with pytest.raises(ValueError, match="no specification"):
        draw_specification_curve(make_multiverse().assign(estimate=np.nan), title="None")


def test_pages_are_saved_by_the_shared_function():
    assert trust.save_pages is save_pages
