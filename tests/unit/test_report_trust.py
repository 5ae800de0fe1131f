"""How sure a result is: what the page says of it, and where its numbers come from."""

import re
from dataclasses import replace
from html import unescape
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pandas as pd
import pytest

from alliance_meta.report import render_report
from alliance_meta.report.gallery import read_records, read_tables
from alliance_meta.report.pictures import shrink_svg
from alliance_meta.report.sources import MethodSources
from alliance_meta.report.trust import BLOCKS
from alliance_meta.report.trust_methods import describe_trust_methods
from alliance_meta.tables import write_json, write_table


def load_samples():
    path = Path(__file__).with_name("report_samples.py")
    spec = spec_from_file_location("report_samples", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


samples = load_samples()
NOTHING = {"trust": {}, "sensitivity": {}, "bias": {}, "multiverse": None}


@pytest.fixture
def report(make_effects):
    return samples.report(make_effects)


PAGES = {}


@pytest.fixture
def whole(report):
    """The page of the whole review, rendered once for all tests."""
    if not PAGES:
        PAGES["whole"] = render_report(report)
    return PAGES["whole"]


def words(html):
    return " ".join(unescape(re.sub("<[^>]+>", " ", html)).split())


def part(html, analysis="overall"):
    """The part on trust of one analysis; "" if there is none."""
    found = re.search(
        rf'<section class="trust" id="analysis-{analysis}-trust".*?</section>', html, re.S
    )
    return found.group() if found else ""


def visible(html):
    return words(re.sub(r"<details>.*?</details>", "", html, flags=re.S))


def render_first(report, content=None, **fields):
    """Render with one analysis whose fields on trust are changed."""
    fields = samples.trust_fields() | fields
    analysis = samples.analysis(content or samples.model(), **fields)
    return render_report(replace(report, analyses=(analysis,)))


def test_four_questions_in_order_with_sentences_in_sight(whole):
    found = part(whole)
    titles = re.findall(r"<h5>(.*?)</h5>", found)
    assert titles == [block.title for block in BLOCKS]
    assert len(titles) == 4
    text = visible(found)
    # the agreement of the panel leads its block; what is secondary is folded
    assert f"Could missing studies explain it? {samples.AGREEMENT}" in text
    assert "There is one peak." in text
    assert "100 subsets were fitted." not in text
    assert "100 subsets were fitted." in words(found)
    assert "Folded on Egger." not in text
    assert text.index("2 choices make") < text.index("No sign changes.")


def test_one_table_in_sight_per_question_at_most(whole):
    found = part(whole)
    blocks = re.split(r"<h5>", found)[1:]
    tables = [re.sub(r"<details>.*?</details>", "", b, flags=re.S).count("<table") for b in blocks]
    assert tables == [0, 1, 1, 1]


def test_numbers_are_those_of_the_tables(whole):
    text = words(part(whole))
    # the panel is on the reporting scale already
    assert "PET assumes: a line .11 [−.04, .26] does not hold" in text
    assert "p-uniform* assumes: chances .27 [.18, .35] holds" in text
    assert "Beta selection model assumes: smooth – cannot tell" in text
    assert "The analysis itself assumes: no selection .29 [.20, .38] –" in text
    # all else is on Fisher's z: tanh of .25, −.01 and .48
    assert "Bordin (2001) .245 [−.010, .446] 70 % significance" in text
    assert "Nothing .291 [.197, .380] 71 % –" in text
    assert "Fixed weights large studies count most .24 [.17, .30]" in text
    assert "ρ = .95 assumed .27 [.18, .36]" in text
    assert "10 (3.9) .22 [.15, .29]" in text
    assert "5 [.22, .36] .11 62 % 3.3" in text
    assert "50 [.25, .33] .05 94 % –" in text
    assert "with 90 % power" in text
    assert "Three-parameter model .23 [.15, .31] .004 0.022 χ²(1) = 10.58" in text
    assert "Dependent effects cluster-robust errors; the one to read 1.64 (0.62)" in text
    assert "t(15.2) = 2.66 .018 .11 [−.05, .26]" in text
    assert "One composite per study 3 .18 .131 exact" in text
    assert ".27 [.18, .35] < .001 0.017 [0.006, 0.044] 2 of 3 .605" in text
    assert (
        "Rosenthal: combined p-values no longer significant weak: rests on p-values – 3,903" in text
    )
    assert "weak .10 no number is enough" in text
    assert "One composite per study 3 2 1.9 .233" in text
    assert "r .10 .20 .29 .38 .46" in text
    assert "I² 0 % 10 % 50 % 80 % 90 %" in text
    assert ".29 .35 .32 [.28, .36] < 1 %" in text


def test_ratios_without_limit_are_read_from_texts(whole):
    text = words(part(whole))
    assert "10 times as likely .20 [.14, .26]" in text
    assert "S-value: ratio that moves the mean to 0 none does" in text
    assert "S-value: ratio that moves the interval to 0 7.2" in text
    assert ".72" not in text  # tanh(.9), of a common effect: in the file only


def test_generic_effects_are_not_transformed(report):
    model = samples.model(specification={"metric": "generic"})
    text = words(part(render_first(report, model)))
    assert "0.250 [−0.010, 0.480]" in text
    assert "Fixed weights large studies count most 0.24 [0.17, 0.31]" in text
    assert "tanh" not in text


def test_studies_and_codes_are_in_a_readers_words(whole):
    text = words(part(whole))
    assert "The result is lowest without Horvath (1991) and highest without Able (2010)." in text
    # a study with several effects needs the effect's own name
    assert "e2" not in text.split("1 is influential:")[1][:60].replace("Bordin", "")
    assert "1 is influential: Bordin (2001) of Bordin (2001); Horvath (1991) [e0] is not." in text
    assert "(without “correlation from a t statistic”)" in text
    assert "Without rater “client”, the mean changes in sign." in text
    assert "Correlation from a t statistic 2 studies remain" in text
    assert "Estimator of τ²: REML (base) Nearly unbiased. 2 .31 100 % –" in text
    assert "Estimator of τ²: PM No shape assumed. 2 .32 50 % 25 %" in text
    moderated = words(part(whole, "by-rater"))
    assert (
        "What is concluded about Rater: therapist changes without Bordin (2001) (sign)."
        in moderated
    )
    assert "What is concluded about the intercept stays." in moderated
    assert "rater[T." not in moderated
    assert "rater=" not in moderated


def test_a_lone_class_is_in_a_readers_words(report):
    fields = samples.trust_fields()
    fields["trust"].pop("sensitivity_leave_class_out")
    fields["sensitivity"]["sentences"]["leave_class_out"] = [
        "All effects have the same conversion route, t_to_r.",
        "All effects have the same outcome measure, BDI, second edition.",
    ]
    text = words(part(render_first(report, **fields)))
    assert "the same conversion route: correlation from a t statistic." in text
    assert "the same outcome measure: BDI, second edition." in text


def test_names_that_are_numbers_or_plain_words_do_not_rename_sentences(report):
    effects = report.effects.assign(
        study_id=["12", "12", "most", "s3", "s4"], sample_id=["12", "12", "most", "s3", "s4"]
    )
    fields = samples.trust_fields()
    fields["sensitivity"]["sentences"]["leave_one_out"] = ["Of 12 studies, s3 moves it most."]
    analysis = samples.analysis(samples.model(), **fields)
    html = render_report(replace(report, effects=effects, analyses=(analysis,)))
    assert "Of 12 studies, Able (2010) moves it most." in words(part(html))


def test_key_result_tells_how_far_the_methods_agree(report, whole):
    html = whole
    key = re.search(r'<section id="key-result".*?</section>', html, re.S).group()
    assert samples.AGREEMENT in key
    assert 'href="#analysis-overall-trust"' in key
    bare = render_report(replace(report, analyses=(samples.analysis(**NOTHING),)))
    assert "How sure?" not in words(bare)


def test_moderated_analysis_gathers_what_is_of_one_mean(whole):
    found = part(whole, "by-rater")
    text = words(found)
    assert text.count("one mean") == 1
    assert (
        "GOSH, the cumulative analysis, the panel of corrections, trim and fill and fail-safe "
        "numbers are of one mean; see the analysis “All studies”." in text
    )
    assert "Switched off in the configuration: the rank test." in text
    assert (
        "Not computed: diagnostics of single studies and the Baujat plot (too few studies)." in text
    )
    assert "Rater: therapist 0.0025 [−0.1000, 0.1000] sign" in text
    assert "Rater: therapist 0.320 [0.220, 0.420] 0.280 [0.180, 0.380] significance" in text
    assert "Rater: client minus therapist 0.11 73 % 3" in text
    assert "Rater: therapist 0.0086 [−0.1270, 0.1530] .888" in text
    assert "1 more selection model." in text
    # no mean, so nothing that only a mean has
    assert "The result if studies were missing" not in text
    assert "at no error" not in text


def test_a_lone_name_takes_a_singular_verb(report):
    fields = samples.moderator_trust_fields()
    fields["bias"] = {"sentences": {}, "settings": {}}
    del fields["sensitivity"]["sentences"]["cumulative"]
    analysis = samples.analysis(samples.moderator_model(), **fields)
    text = words(part(render_report(replace(report, analyses=(analysis,))), "by-rater"))
    assert "GOSH is of one mean; see an analysis without moderators." in text


def test_figures_of_moderated_analyses_are_files_only(whole):
    html = whole
    assert part(html).count("<img") == 2
    # the funnel is in sight, the other folded
    assert re.sub(r"<details>.*?</details>", "", part(html), flags=re.S).count("<img") == 1
    assert part(html, "by-rater").count("<img") == 0
    assert "results/by_rater/figures/funnel.svg" in html
    assert "A funnel figure." in html


def test_results_part_shows_no_figures_on_trust(whole):
    html = whole.replace(part(whole), "")
    assert "The funnel figure" not in html


def test_analysis_without_multiverse_has_none(report):
    fields = samples.trust_fields() | {"multiverse": None}
    fields["trust"] = {k: v for k, v in fields["trust"].items() if "multiverse" not in k}
    text = words(part(render_first(report, **fields)))
    assert "multiverse" not in text.lower()
    assert "The result under other decisions" in text


def test_nothing_assessed_leaves_no_part(report):
    assert part(render_first(report, **NOTHING)) == ""


def test_empty_tables_leave_sentences(report):
    fields = samples.trust_fields()
    fields["trust"] = {name: table.iloc[:0] for name, table in fields["trust"].items()}
    found = part(render_first(report, **fields))
    assert "<table" not in found
    assert "<details" not in found
    # with nothing to unfold, every sentence is in sight
    assert "100 subsets were fitted." in visible(found)
    key = re.search(r'<section id="key-result".*?</section>', render_first(report, **fields), re.S)
    assert "How sure?" not in key.group()


def test_a_single_study_says_once_why_nothing_could_be_assessed(report):
    reason = "Nothing to assess: the only study has one effect."
    names = [method.name for block in BLOCKS for method in block.methods]
    fields = {
        "trust": {name: table.iloc[:0] for name, table in samples.trust_tables().items()},
        "sensitivity": {"sentences": {name: [reason] for name in names}, "settings": {}},
        "bias": {"sentences": {name: [reason] for name in names}, "settings": {}},
        "multiverse": None,
    }
    text = words(part(render_first(report, **fields)))
    assert text == f"How sure? {reason}"


def test_refits_that_failed_are_not_shown_as_results(report):
    fields = samples.trust_fields()
    table = fields["trust"]["sensitivity_leave_one_out"]
    fields["trust"]["sensitivity_leave_one_out"] = table.assign(estimate=float("nan"))
    assert "Without one study" not in words(part(render_first(report, **fields)))


def test_long_tables_are_cut_and_name_their_file(whole):
    html = part(whole)
    text = words(html)
    assert "And 5 further disagreements in the file." in text
    assert "7 of 30 steps." in text
    assert "In full: sensitivity_cumulative.csv" in text
    bodies = re.findall(r"<tbody>(.*?)</tbody>", html, re.S)
    assert max(body.count("<tr>") for body in bodies) <= 15


def test_leave_one_out_shows_what_changes_and_the_five_that_move_most(report):
    fields = samples.trust_fields()
    rows = [("study", f"x{i}", 0.3 + i / 1000, 0.2, 0.4, 40.0, "Intercept", "") for i in range(30)]
    rows += [("study", "quiet", 0.3, 0.2, 0.4, 40.0, "Intercept", "significance")]
    columns = fields["trust"]["sensitivity_leave_one_out"].columns
    fields["trust"]["sensitivity_leave_one_out"] = pd.DataFrame(rows, columns=columns)
    text = words(part(render_first(report, **fields)))
    assert "quiet .291 [.197, .380] 40 % significance" in text
    assert [i for i in range(30) if f" x{i} " in text] == [25, 26, 27, 28, 29]


def test_methods_cite_what_was_used_only(report, whole):
    text = words(re.search(r'<section id="methods".*?</section>', whole, re.S).group())
    for cited in ("Viechtbauer & Cheung, 2010", "Olkin et al., 2012", "Lau et al., 1992"):
        assert cited in text
    for cited in ("Egger et al., 1997", "van Aert & van Assen, 2026", "Vevea & Hedges, 1995"):
        assert cited in text
    for cited in ("Rosenthal, 1979", "Orwin, 1983", "Peters et al., 2008", "Steegen et al., 2016"):
        assert cited in text
    assert "All effects of one conversion route or rater" in text
    for unused in ("Rosenberg", "Vevea & Woods"):
        assert unused not in text
    bare = words(render_report(replace(report, analyses=(samples.analysis(**NOTHING),))))
    assert "Missing studies" not in bare
    assert "Egger" not in bare
    assert "Publication bias" not in bare


def test_every_reference_for_methods_on_trust_exists_and_is_used():
    sources = MethodSources.load()
    fields = samples.trust_fields()
    selection = fields["trust"]["bias_selection"]
    models = pd.DataFrame(
        {"model": ["4psm", "beta", "vevea_woods_severe_one"], "term": "mu", "method": "hessian"}
    )
    fields["trust"]["bias_selection"] = pd.concat([selection, models], ignore_index=True)
    safe = pd.DataFrame({"method": ["rosenthal", "orwin_weighted", "rosenberg"]})
    fields["trust"]["bias_fail_safe"] = safe
    figures = (samples.trust_figure("funnel"),)
    describe_trust_methods([samples.analysis(trust_figures=figures, **fields)], sources)
    assert len(sources.cited) == 21
    assert sources.cited <= set(sources.items)


def test_words_are_explained_only_if_they_are_used(report, whole):
    html = whole
    assert "<dt>Trim and fill</dt>" in html
    assert "<dt>Multiverse, specification curve</dt>" in html
    fields = samples.trust_fields() | {"multiverse": None}
    fields["trust"] = {"bias_rank": fields["trust"]["bias_rank"]}
    few = render_first(report, **fields)
    assert "<dt>Egger’s test, rank test</dt>" in few
    assert "<dt>Trim and fill</dt>" not in few
    assert "<dt>Multiverse" not in few


def test_tables_and_records_are_read_back_by_analysis(tmp_path):
    tables = samples.trust_tables()
    for name, found in tables.items():
        write_table(found, tmp_path / "overall" / f"{name}.csv")
    write_json({"sentences": {}, "settings": {}}, tmp_path / "overall" / "bias.json")
    read = read_tables(sorted(str(path) for path in tmp_path.glob("*/*.csv")))
    assert set(read) == {"overall"}
    assert set(read["overall"]) == set(tables)
    assert list(read["overall"]["bias_panel"]["conclusion_holds"]) == [
        "yes",
        "no",
        "yes",
        "unclear",
    ]
    records = read_records([str(tmp_path / "overall" / "bias.json")])
    assert records == {"overall": {"bias": {"sentences": {}, "settings": {}}}}


def test_tables_from_files_render_like_those_in_memory(report, tmp_path):
    for name, found in samples.trust_tables().items():
        write_table(found, tmp_path / "overall" / f"{name}.csv")
    read = read_tables(sorted(str(path) for path in tmp_path.glob("*/*.csv")))["overall"]
    assert part(render_first(report, trust=read)) == part(render_first(report))


def test_texts_from_tables_are_escaped(make_effects):
    html = render_report(samples.report(make_effects, samples.HOSTILE))
    assert "<script" not in html
    found = html[html.index('id="analysis-overall-trust"') :]
    escaped = "&lt;script&gt;document.title"
    for start in ("assumes: a line", "Nearly unbiased.", "weak: rests on p-values", "overall"):
        assert re.search(re.escape(start) + r"[^<]*" + re.escape(escaped), found), start


SVG = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "x.dtd">
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9.123456 5">
 <metadata>
  <title>Made by a program</title>
 </metadata>
 <g id="kept"/>
 <g id="lost">
  <path d="M 1.234567 -0.000001
L 2.5 3e-05" style="fill: #1b2530; stroke: none"/>
  <use href="#kept" x="0.999999" y="12"/>
  <text style="fill: #1b2530; stroke: none" transform="rotate(-0 1.5 2.123)">p = 1.23456  z</text>
  <text style="fill: #1b2530; stroke: none" transform="rotate(-90 1 2)">turned</text>
  <text style="fill: red">once</text>
 </g>
</svg>
"""


def test_figures_are_made_smaller_without_loss_of_text():
    small = shrink_svg(SVG)
    assert "p = 1.23456  z" in small
    assert 'd="M 1.23 0 L 2.5 3e-05"' in small
    assert 'x="1" y="12"' in small
    assert 'viewBox="0 0 9.123456 5"' in small
    assert "rotate(-90 1 2)" in small
    assert "rotate(-0" not in small
    assert 'id="kept"' in small
    assert "lost" not in small
    assert "Made by" not in small
    assert small.count('class="c0"') == 3
    assert "<style>.c0{fill: #1b2530; stroke: none}</style>" in small
    assert 'style="fill: red"' in small
    assert small.startswith("<svg")


def test_styles_stay_where_classes_are_already_in_use():
    styled = '<svg><g class="c0"/>' + '<a style="fill: red"/>' * 5 + "</svg>"
    assert shrink_svg(styled) == styled


@pytest.mark.parametrize("text", ["", "no figure", samples.HOSTILE, "<svg", "<svg>" * 3])
def test_what_is_no_figure_is_left_alone(text):
    assert shrink_svg(text) == text
