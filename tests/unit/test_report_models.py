"""Tables and sentences on tests, heterogeneity, corrections, read-outs and the moderator map."""

import re
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pandas as pd
import pytest

from alliance_meta.codebook import load_codebook
from alliance_meta.figures.wording import describe_heterogeneity
from alliance_meta.report import render_report
from alliance_meta.report.heterogeneity import further_table, heterogeneity_table
from alliance_meta.report.inference import (
    coefficient_table,
    collinearity_table,
    comparison_table,
    scale_table,
)
from alliance_meta.report.layers import (
    attenuation_table,
    posterior_table,
    probability_table,
    psychometric_table,
    reliability_table,
    study_table,
    sweep_table,
    view_layers,
)
from alliance_meta.report.methods import describe_methods
from alliance_meta.report.moderators import SHADES, view_moderator_map
from alliance_meta.report.page import TEMPLATES
from alliance_meta.report.sources import MethodSources
from alliance_meta.report.tables import overview_table, summary_table
from alliance_meta.report.testing import TestResults, print_test
from alliance_meta.report.wording import Labels


def load_samples():
    path = Path(__file__).with_name("report_samples.py")
    spec = spec_from_file_location("report_samples", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


samples = load_samples()


@pytest.fixture
def labels():
    return Labels(load_codebook())


def texts(table):
    """Rows of a table; the second line of a cell follows a bar."""
    return [[f"{c.text} | {c.detail}" if c.detail else c.text for c in row] for row in table.rows]


def headings(table):
    return [heading.text for heading in table.headings]


def methods_of(*models):
    sources = MethodSources.load()
    analyses = [samples.analysis(model, name=f"a{i}") for i, model in enumerate(models)]
    methods = describe_methods(analyses, sources)
    parts = [s for _, sentences in methods.procedures for s in sentences]
    groups = [s for group in methods.groups for s in group.sentences]
    return " ".join([*methods.common, *groups, *parts]), sources


# p-values that are withheld, and tests by resampling


def test_withheld_p_is_never_a_number(labels):
    # a record that still held the number would not be printed either
    model = samples.with_tests()
    for row in model["coefficients"]:
        row["p_value"] = 0.0321
    for row in model["comparisons"]:
        row["p_value"] = row["p_holm"] = 0.0321
    table = coefficient_table(model, labels)
    place = headings(table).index("p")
    assert [row[place] for row in texts(table)] == [".032", "withheld"]
    assert table.notes[0] == (
        "p withheld: for “Rater: therapist”, it rests on only 1.5 degrees of freedom."
    )
    compared = texts(comparison_table(model, labels))
    assert all(row[5:7] == ["withheld", "withheld"] for row in compared)
    measures = texts(heterogeneity_table(model, labels))
    shown = [row[1] for row in measures if row[0] == "Test of moderators"]
    assert shown == ["F(1, 12.3) = 4.20 | p withheld; bootstrap p = .024"]
    (row,) = texts(overview_table([("a", samples.analysis(model))]))
    assert row[-1] == "F(1, 12.3) = 4.20 | p withheld; bootstrap p = .024"


def test_page_gives_reasons_and_resampling(make_effects):
    text = re.sub("<[^>]+>", " ", render_report(samples.report(make_effects)))
    text = " ".join(text.split())
    assert "4.4 studies stand behind each coefficient." in text
    assert "Bootstrap p: 10,000 replications." in text
    assert "A note on Rater: client." in text
    assert ".042" not in text
    assert "model: random-effects model, REML estimate of τ²" in text


def test_p_by_resampling_stands_in_a_column_of_its_own(labels):
    table = coefficient_table(samples.with_tests(), labels)
    assert headings(table) == ["Term", "b", "SE", "t or z", "df", "p", "Bootstrap p", "95\xa0% CI"]
    assert [row[6] for row in texts(table)] == ["–", ".004"]
    assert table.notes[-1] == "Bootstrap p: 10,000 replications."
    exact = coefficient_table(samples.with_layers(), labels)
    assert "Permutation p" in headings(exact)
    assert exact.notes == ("Permutation p: all 32 permutations.",)
    assert "Permutation p" not in headings(coefficient_table(samples.model(), labels))


def test_test_of_moderators_without_a_statistic_says_so(labels):
    model = samples.with_tests()
    model["heterogeneity"] = [r for r in model["heterogeneity"] if r["parameter"][:2] != "QM"]
    model["heterogeneity"] += samples.heterogeneity(QM=None, QM_df1=3.0, QM_df2=-0.4, QM_p=None)
    measures = texts(heterogeneity_table(model, labels))
    assert [row[1] for row in measures if row[0] == "Test of moderators"] == [
        "not defined | p withheld; bootstrap p = .024"
    ]
    (row,) = texts(overview_table([("a", samples.analysis(model))]))
    assert row[-1] == "not defined | p withheld; bootstrap p = .024"


def test_statistics_print_both_degrees_of_freedom():
    values = {"QM": 1.77, "QM_df1": 3.0, "QM_df2": 0.52, "Q": 5.0, "Q_df": 4.0}
    values |= {"LRT_scale": 3.1, "LRT_scale_df": 2.0, "QS": 4.0, "QS_df1": 1.0, "H2": 2.0}
    printed = [print_test(name, values) for name in ("QM", "Q", "LRT_scale", "QS", "H2", "none")]
    assert printed == ["F(3, 0.5) = 1.77", "Q(4) = 5.00", "χ²(2) = 3.10", "QS(1) = 4.00", "", ""]
    # an approximation that breaks down has no fewer than none
    assert print_test("QM", values | {"QM_df2": -0.3}) == "F(3, 0) = 1.77"


def test_resampling_without_result_has_no_p_value():
    model = samples.model(layers=samples.resampled("permutation", Intercept=None))
    assert TestResults.of(model).print_resampled("Intercept") == "–"
    assert TestResults.of(model).kind == ""


# pairs of levels, overlap, scale


def test_levels_are_compared_from_three_on(labels):
    pair = [samples.comparison("client", "therapist")]
    assert not comparison_table(samples.moderator_model(comparisons=pair), labels).rows
    model = samples.with_tests(withheld={})
    model["comparisons"][1] |= {"p_value": None, "p_holm": None, "df": 1.5}
    table = comparison_table(model, labels)
    assert texts(table)[0] == [
        "Client minus therapist",
        "0.100",
        "0.040",
        "2.50",
        "7.2",
        ".030",
        ".090",
        "[0.010, 0.190]",
    ]
    assert [row[5] for row in texts(table)] == [".030", "withheld", ".030"]
    assert "Holm" in table.notes[0]
    assert "too few degrees of freedom" in table.notes[1]


def test_pairs_of_several_moderators_name_theirs(labels):
    rows = [samples.comparison("a", b, moderator=m) for m in ("rater", "timing") for b in "bcd"]
    table = comparison_table(samples.moderator_model(comparisons=rows), labels)
    assert [row[0] for row in texts(table)][2:4] == ["a minus d | Rater", "a minus b | Timing"]


def test_overlap_is_shown_for_several_terms(labels):
    table = collinearity_table(samples.with_tests(), labels)
    assert texts(table)[0] == ["Rater", "2", "1.75", "1.15"]
    lone = [{"term": "rater", "df": 3, "vif": 1.0, "vif_scaled": 1.0}]
    assert not collinearity_table(samples.with_tests(collinearity=lone), labels).rows


def test_scale_coefficients_are_a_table(labels):
    row = samples.COEFFICIENT | {"term": "rater[T.therapist]", "df": 12.34, "p_value": 0.2}
    table = scale_table(samples.model(scale_coefficients=[row]), labels)
    assert texts(table)[0][0] == "Rater: therapist"
    assert texts(table)[0][4:6] == ["12.3", ".200"]
    assert not scale_table(samples.model(), labels).rows


# heterogeneity and summary


def test_components_of_variance_are_explained_with_intervals(labels):
    table = heterogeneity_table(samples.multilevel(), labels)
    rows = {row[0]: row[1:] for row in texts(table)}
    assert rows["τ² between studies"][:2] == [".017", "[.004, .041]"]
    assert rows["τ² within studies"][2].startswith("variance of the true values of one study")
    assert rows["I² within studies"][0] == "17 %"
    assert rows["Q"][0] == "Q(60) = 176.68 | p < .001"
    assert not {"AIC", "ICC", "H²"} & set(rows)
    assert table.model == "Model: correlated and hierarchical effects model"
    further = further_table(samples.multilevel(), labels)
    assert [row[:3] for row in texts(further)] == [
        ["τ between studies", ".131", "[.059, .203]"],
        ["τ within studies", ".071", "[.030, .127]"],
        ["ICC", ".77", "–"],
        ["H²", "4.18", "–"],
        ["Log-likelihood", "16.20", "–"],
        ["AIC", "−26.40", "–"],
        ["AICc", "−25.97", "–"],
        ["BIC", "−20.12", "–"],
    ]
    assert "REML" in further.notes[0]
    assert not further_table(samples.model(), labels).notes


def test_parameters_of_levels_and_unknown_ones_have_a_name(labels):
    found = {"tau2[rater=client]": 0.03, "tau2_between[rater=x=y]": 0.04, "new[rater=client]": 1.0}
    found |= {"LRT_separate_tau2": 2.0, "LRT_separate_tau2_df": 2.0, "LRT_separate_tau2_p": 0.37}
    found |= {"QS": 4.2, "QS_df1": 1.0, "QS_df2": 20.0, "QS_p": 0.0538, "brand_new": 7.0}
    model = samples.model(heterogeneity=samples.heterogeneity(**found))
    rows = {row[0]: row[1] for row in texts(heterogeneity_table(model, labels))}
    assert rows == {
        "τ² of Rater: client": ".030",
        "τ² between studies of Rater: x=y": ".040",
        "new[rater=client]": "1.00",
        "Test of separate τ²": "χ²(2) = 2.00 | p = .370",
        "Test of the scale": "F(1, 20) = 4.20 | p = .054",
        "brand_new": "7.00",
    }


def test_summary_names_its_model_and_degrees_of_freedom(labels):
    mean = samples.COEFFICIENT | {"df": 32.04}
    table = summary_table(samples.model(coefficients=[mean]), labels)
    assert table.model == "Model: random-effects model, REML estimate of τ²"
    assert (headings(table)[2], texts(table)[0][2]) == ("df", "32.0")
    # a level's df is shown where the record has it
    assert "df" not in headings(summary_table(samples.moderator_model(), labels))
    recorded = [samples.summary_row() | {"df": 9.5}, samples.summary_row("rater=client")]
    table = summary_table(samples.moderator_model(summary=recorded), labels)
    assert [row[2] for row in texts(table)] == ["9.5", "–"]


def test_overview_names_the_model_once_and_where_another():
    other = samples.model(model_label="common-effect model, normal (z) inference")
    twin = samples.model(model_label="random-effects model, DL estimate of τ²")
    contents = [samples.analysis(m) for m in (samples.model(), samples.model(), other, twin)]
    table = overview_table([("a", content) for content in contents])
    assert table.model.startswith("Model: random-effects model, REML estimate of τ²; where")
    assert [row[0].detail for row in table.rows] == [
        "",
        "",
        "Model: common-effect model",
        "Model: random-effects model, DL estimate of τ²",
    ]


# layers beside the mean


def test_sweep_is_a_grid(labels):
    table = sweep_table(samples.with_layers())
    assert headings(table) == ["Alliance", "Outcome .80", "Outcome 1.00"]
    assert texts(table) == [
        [".70", ".40 | [.20, .50]", ".36 | [.20, .50]"],
        ["1.00", ".34 | [.20, .50]", ".30 | [.20, .50]"],
    ]
    assert table.notes[0].startswith("The estimates rest on 3 to 4 effects")
    holed = samples.with_layers()
    holed["layers"] |= {"attenuation_sweep": holed["layers"]["attenuation_sweep"][:3]}
    assert texts(sweep_table(holed))[1] == ["1.00", ".34 | [.20, .50]", "–"]
    assert not sweep_table(samples.model()).rows


def test_observed_stands_beside_corrected(labels):
    table = attenuation_table(samples.with_layers(), labels)
    assert headings(table)[1:] == ["Observed r [95\xa0% CI]", "Corrected r [95\xa0% CI]"]
    assert texts(table) == [
        ["All studies", ".29 [.19, .39] | 4 effects", ".36 [.26, .46] | 3 effects"]
    ]
    rules = texts(reliability_table(samples.with_layers()))
    assert rules == [
        ["Alliance | coded for the effect", "3", "2", ".87"],
        ["Outcome | unknown, not corrected", "4", "3", "–"],
    ]
    unknown = [{"side": "outcome", "rule": "none", "k_effects": 4, "k_studies": 3}]
    assert not reliability_table(samples.model(layers={"reliabilities": unknown})).rows


def test_psychometric_moments_are_in_words():
    table = psychometric_table(samples.with_layers())
    assert headings(table) == ["Moment", "Bare bones"]
    rows = dict(texts(table))
    assert rows["Persons (N)"] == "4,558"
    assert rows["Confidence interval of the mean"] == "[.19, .28]"
    assert rows["Credibility interval"] == "[.09, .38]"
    assert rows["Share of the variance due to sampling error"] == "35 %"
    assert rows["unheard_of"] == ".500"
    corrected = samples.with_layers()
    corrected["layers"]["hunter_schmidt"][2]["corrected"] = 0.31
    table = psychometric_table(corrected)
    assert headings(table)[2] == "Corrected for unreliability"
    assert texts(table)[2] == ["Mean correlation", ".236", ".310"]
    assert texts(table)[0][2] == "–"


def test_posterior_and_its_probabilities():
    rows = texts(posterior_table(samples.with_layers()))
    assert rows[0][:3] == ["Mean | of the true values", ".30", "[.24, .35]"]
    assert rows[2][1:3] == [".146", "[.099, .213]"]
    assert rows[3][0] == "other"
    assert texts(probability_table(samples.with_layers())) == [
        ["r > .10", "> .999", ".912"],
        ["r > .30", ".440", "< .001"],
    ]


def test_single_studies_name_their_level(labels):
    model = samples.with_layers()
    assert texts(study_table(model, labels)) == [["Horvath (1991)", ".27 [.08, .44]", "2"]]
    model["study_estimates"][0]["level"] = "rater=client"
    table = study_table(model, labels)
    assert headings(table)[0] == "Study and level"
    assert texts(table)[0][0] == "Horvath (1991) | Rater: client"


def test_what_holds_for_the_whole_review_is_said_once(labels):
    said = set()
    first = view_layers(samples.with_layers(), labels, said)
    assert [view.title for view in first] == [
        "Unreliable measurement",
        "Psychometric meta-analysis",
        "Bayesian read-out",
    ]
    words = "No reliability is coded for Instrument: Helping Alliance Questionnaire (HAq)."
    assert first[0].sentences == (words,)
    assert view_layers(samples.with_layers(), labels, said)[0].sentences == ()
    only = samples.model(layer_sentences={"attenuation": ["No reliability is coded for it."]})
    noted = only | {"warnings": ["No reliability is coded for it."]}
    assert view_layers(noted, labels, said) == ()
    assert view_layers(only, labels, said)[0].sentences == ("No reliability is coded for it.",)
    assert view_layers(only, labels, said) == ()


# methods


def test_three_level_models_are_described_and_cited():
    text, sources = methods_of(samples.multilevel())
    assert "random intercepts for study and effect (Konstantopoulos, 2011; Van den Noort" in text
    assert "correlate at ρ = .60" in text
    assert "clustered on study" in text
    assert "the variances between and within studies both enter" in text
    assert "rest on the profile likelihood" in text
    assert {"pustejovsky2018", "pustejovsky2022", "nakagawa2012", "tipton2015"} <= sources.cited
    assert not {"viechtbauer2005", "viechtbauer2007", "knapp2003", "holm1979"} & sources.cited
    content = samples.multilevel()
    content["specification"] |= {"model": "three_level"}
    text, sources = methods_of(content)
    assert "Sampling errors were taken as independent" in text
    assert "pustejovsky2022" not in sources.cited


@pytest.mark.parametrize(
    ("specification", "words", "cited"),
    [
        ({"inference": "knapp_hartung_conservative"}, "never allowed to make", {"knapp2003"}),
        ({"separate_tau2": True}, "has a τ² of its own", set()),
        ({"scale": "rater + year"}, "logarithm follows rater and year", {"viechtbauer2022"}),
        ({"scale": "I(year**2)"}, "follows the terms I(year**2)", {"viechtbauer2022"}),
        (
            {"attenuation": "corrected", "reliability": {"alliance": 0.9, "outcome": 0.8}},
            "where no reliability is known, .90 for the alliance measure and .80 for the outcome",
            {"hunter2004"},
        ),
    ],
)
def test_settings_are_described(specification, words, cited):
    text, sources = methods_of(samples.model(specification=specification))
    assert words in text
    assert cited <= sources.cited
    plain, _ = methods_of(samples.model())
    assert words not in plain


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"rare_levels": "keep"}, "stays in the model however few studies"),
        ({"rare_levels": "pool"}, "was counted under the wider code"),
        ({"rare_levels": "set_apart", "minimum_studies": 4}, "fewer than 4 studies is shown but"),
        ({"missing_moderators": "leave_out"}, "without a value of a moderator did not enter"),
        ({"missing_moderators": "level"}, "form a level of their own"),
    ],
)
def test_rare_and_missing_levels_are_described(setting, words):
    model = samples.moderator_model()
    model["specification"] |= setting
    assert words in methods_of(model)[0]
    other = samples.moderator_model(title="Other")
    other["specification"] |= {"rare_levels": "set_apart", "minimum_studies": 7}
    assert f"{words}" in methods_of(model, other)[0]
    assert "(Other)." in methods_of(model, other)[0]


def test_procedures_are_told_only_where_used():
    _, sources = methods_of(samples.model())
    unused = {"holm1979", "fox1992", "higgins2004", "follmann1999", "joshi2022", "rover2020"}
    assert not (unused | {"henderson1975", "hunter2004", "cameron2008"}) & sources.cited
    text, sources = methods_of(samples.with_layers(), samples.with_tests())
    assert unused - {"higgins2004"} <= sources.cited
    assert "permuting the signs of effects" in text
    assert "fewer than 4 robust degrees of freedom" in text
    assert "each was taken once" in text
    layers = samples.resampled("permutation", therapist=0.2, omnibus=0.3)
    text, _ = methods_of(samples.moderator_model(layers=layers))
    assert "permuting them between effects" in text
    text, _ = methods_of(samples.multilevel(samples.moderator_model(), layers=layers))
    assert "permuting them between whole studies" in text
    assert "taken once" not in text


def test_groups_of_one_model_have_titles_of_their_own():
    labels = ["random-effects model, REML estimate of τ²", "random-effects model, DL estimate"]
    models = [
        samples.model(model_label=label, specification={"tau2": tau2})
        for label, tau2 in zip(labels, ("REML", "DL"), strict=True)
    ]
    analyses = [samples.analysis(model) for model in models]
    titles = [group.title for group in describe_methods(analyses, MethodSources.load()).groups]
    assert titles == [
        "Random-effects model, REML estimate of τ²",
        "Random-effects model, DL estimate",
    ]


# the moderator map


def test_moderator_map_is_a_triangle(labels):
    names = ["diagnosis", "rater", "setting", "timing", "year"]
    content = {"moderators": names, "sentences": [samples.MODERATOR_SENTENCE]}
    view = view_moderator_map(content, samples.moderator_pairs(), labels)
    assert view.sentences == (
        "Diagnosis “psychosis” and treatment “medication” occur only together.",
    )
    assert headings(view.grid) == ["", "Diagnosis", "Rater", "Timing"]
    assert texts(view.grid) == [
        ["Rater", "1.00‡ | 9", "", ""],
        ["Timing", "", ".83* | 20", ""],
        ["Year", "new −.10 | 9", "η² .31 | 18", "–"],
    ]
    kinds = [[cell.kind for cell in row[1:]] for row in view.grid.rows]
    assert kinds == [["shade-4", "", ""], ["", "shade-4", ""], ["", "shade-1", ""]]
    assert "‡ cannot be told apart; * a level" in view.grid.notes[1]
    assert view.grid.notes[2] == "Without a value for any pair: Setting."
    pairs = texts(view.pairs)
    assert pairs[0] == [
        "Rater and Timing",
        "Cramér's V",
        ".83",
        "20",
        "34",
        "5 of 12",
        "A level of the one lies within a level of the other | A note.",
    ]
    assert pairs[2][2] == "–"
    assert pairs[3][-1] == " | “school”"
    assert pairs[5][1] == "new"
    assert pairs[5][-1] == "Odd | n"


def test_review_without_pairs_has_no_map(make_effects, labels):
    assert view_moderator_map({}, pd.DataFrame(), labels) is None
    report = samples.report(make_effects)
    bare = replace(report, moderator_map={}, moderator_pairs=report.moderator_pairs.iloc[:0])
    html = render_report(bare)
    assert "Moderator map" not in html
    assert "Moderator map" in render_report(report)


def palette(block):
    return dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", block))


def channels(colour):
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def luminance(parts):
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1])
def test_grounds_of_the_map_keep_their_text_readable(scheme):
    style = (TEMPLATES / "style.css").read_text()
    colours = palette(re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme])
    shares = re.findall(
        r"\.shade-\d \{ background: color-mix\(in srgb, var\(--accent\) (\d+)%", style
    )
    assert len(shares) == len(SHADES)
    ink = luminance(channels(colours["ink"]))
    for share in shares:
        parts = zip(channels(colours["accent"]), channels(colours["paper"]), strict=True)
        ground = luminance([a * int(share) / 100 + b * (1 - int(share) / 100) for a, b in parts])
        low, high = sorted((ink, ground))
        # WCAG AA for small text
        assert (high + 0.05) / (low + 0.05) >= 4.5


# figures


def test_figures_say_where_p_is_withheld_and_whose_variance_it_is():
    values = {"tau2[rater=client]": 0.0301, "tau2[rater=joint]": 0.0002, "QM": 1.77, "QM_df1": 3.0}
    table = pd.DataFrame(samples.heterogeneity(**values, QM_df2=0.5, QM_p=None))
    assert describe_heterogeneity(table, {"rater=joint": "several raters"}) == [
        "Residual heterogeneity: τ² of client = .030, τ² of several raters < .001",
        "Test of moderators: F(3, 0.5) = 1.77, p withheld",
    ]
