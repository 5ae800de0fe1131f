"""The synthesis report: what it says, that it is safe, whole and the same each time."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pandas as pd
import pytest

from alliance_meta.codebook import load_codebook
from alliance_meta.report import render_report
from alliance_meta.report.page import TEMPLATES

VOID = {"meta", "img", "br", "link", "input", "hr"}


def load_samples():
    path = Path(__file__).with_name("report_samples.py")
    spec = spec_from_file_location("report_samples", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


samples = load_samples()


class Page(HTMLParser):
    """Elements in order, with their text; unbalanced tags are refused."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts, self.attributes, self.open = [], [], [], []
        self.ids, self.anchors, self.links, self.headings = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        href = attributes.get("href", "")
        (self.anchors if href.startswith("#") else self.links).append(href)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def report(make_effects):
    return samples.report(make_effects)


@pytest.fixture
def hostile(make_effects):
    return samples.report(make_effects, samples.HOSTILE)


def with_first(report, content, **changes):
    return replace(report, analyses=(samples.analysis(content, **changes),))


def test_page_tells_the_whole_story_in_order(report):
    page = Page(render_report(report))
    sections = ["key-result", "question", "data", "methods", "results", "analysis-overall"]
    sections += ["analysis-by-rater", "moderators", "effects", "excluded", "references"]
    sections += ["reproduce", "glossary"]
    assert [name for name in page.ids if name in sections] == sections
    assert page.text.startswith("Alliance and outcome")
    assert "r = .29 95 % confidence interval [.20, .38]" in page.text
    assert "95 % prediction interval [−.05, .55]" in page.text
    assert "1,234 participants" in page.text or "participants 1,234" in page.text
    assert "How strong is the association?" in page.text


def test_tables_are_in_human_words_and_apa_numbers(report):
    text = Page(render_report(report)).text
    assert "Rater: client reference level .29 [.20, .38] [−.05, .55] 3 3 4 1,234" in text
    assert "Rater: several raters too few studies, shown but not tested .10 – 3 3 4 1,234" in text
    assert "τ² .021 [.010, .060]" in text
    assert "I² 71 % [50 %, 87 %]" in text
    assert "Q Q(3) = 12.35 p = .006" in text
    assert "Intercept for Rater: client 0.300 0.050 6.00 – < .001 – [0.200, 0.400]" in text
    assert "Rater: therapist −0.0007" in text
    assert "(3 rows in the model, 1 more shown only)" in text
    assert "Rater: several raters has effects from fewer than two studies" in text
    assert "rater=" not in text.replace("rater == ", "")


def test_rows_in_the_model_are_those_with_a_weight(report):
    included = pd.DataFrame({"effect_id": ["e0", "e1"], "weight": [100.0, 0.0]})
    page = with_first(report, samples.moderator_model(), included=included)
    assert "(2 rows in the model)" in Page(render_report(page)).text


def test_variance_before_moderators_is_explained(report):
    content = samples.moderator_model()
    content["heterogeneity"] += [
        {
            "parameter": "tau2_without_moderators",
            "estimate": 0.0342,
            "ci_low": None,
            "ci_high": None,
        }
    ]
    text = Page(render_report(with_first(report, content))).text
    assert "τ² without moderators .034 – variance of the true values between studies before" in text
    assert "tau2_without_moderators" not in text


def test_methods_name_what_was_done_and_cite_it(report):
    text = Page(render_report(report)).text
    assert "restricted maximum likelihood (Viechtbauer, 2005)" in text
    assert "Knapp–Hartung adjustment" in text
    assert "Correlation, used as reported 2 –" in text
    assert (
        "Correlation imputed from a standardised regression coefficient 1 Peterson & Brown, 2005"
        in text
    )
    assert "Sample size worked out from other numbers 2" in text
    assert "Peterson, R. A., & Brown, S. P. (2005)." in text
    assert "Hasselblad" not in text


def test_analyses_computed_differently_are_described_apart(report):
    other = samples.model(
        analysis="rve",
        title="Robust",
        model_label="correlated-effects model, ρ = .60",
        specification={"model": "rve", "tau2": "DL", "inference": "cr2"},
    )
    page = replace(report, analyses=(*report.analyses, samples.analysis(other)))
    text = Page(render_report(page)).text
    assert text.count("turned into Fisher's z for all computations") == 1
    assert "Analysis: Robust." in text
    assert "Analyses: All studies; Who rates the alliance." in text
    assert "correlate at ρ = .60" in text


def test_effects_are_listed_with_their_way_and_source(report):
    page = Page(render_report(report))
    assert "Standardised regression coefficient 0.15" in page.text
    assert "Imputed from a standardised coefficient; sample size worked out" in page.text
    # z = .4, v = .01: tanh(.4 ± 1.96 · .1); the fixture gives r = z
    assert ".40 [.20, .53]" in page.text
    assert "https://example.org/a?b=1&c=2" in page.links
    assert "https://doi.org/10.1000/xyz" in page.links
    assert "No sample size" in page.text
    assert "row 6" in page.text


def test_sections_without_content_are_absent(report):
    bare = replace(
        report,
        question=" ",
        references=(),
        notes=report.notes.iloc[:0],
        effects=report.effects.iloc[:4],
        versions={},
        input_hashes={},
    )
    page = Page(render_report(bare))
    assert not {"question", "excluded"} & set(page.ids)
    assert "Notes from checking" not in page.text
    # the methods have references of their own
    assert "references" in page.ids
    assert not [name for name in page.ids if name.startswith("reference-")]


def test_review_without_rows_and_analyses_is_a_page(report):
    empty = replace(
        report,
        analyses=(),
        effects=report.effects.iloc[:0],
        references=(),
        notes=report.notes.iloc[:0],
    )
    page = Page(render_report(empty))
    assert not {"key-result", "results", "effects", "excluded", "references"} & set(page.ids)
    assert {"data", "methods", "glossary"} <= set(page.ids)


def test_failed_analysis_says_so_and_shows_no_number(report):
    failed = samples.model(
        failure="No effect satisfies this analysis.",
        sentences=["No estimate: No effect satisfies this analysis."],
        coefficients=[],
        heterogeneity=[],
        summary=[samples.summary_row(estimate=None, low=None, high=None, pi=(None, None))],
    )
    page = Page(render_report(with_first(report, failed, figures=())))
    assert page.text.count("No estimate: No effect satisfies this analysis.") == 2
    assert "confidence interval [" not in page.text
    assert "Pooled estimate" not in page.text


def test_single_effect_has_no_heterogeneity_and_no_prediction(report):
    lone = samples.model(
        specification={"model": "common_effect", "tau2": None, "inference": "z"},
        heterogeneity=[],
        summary=[samples.summary_row(pi=(None, None)) | {"k_effects": 1, "n_total": None}],
        warnings=["A single effect: it is shown with its own interval; nothing was pooled."],
    )
    page = Page(render_report(with_first(report, lone)))
    assert "nothing was pooled" in page.text
    assert "prediction interval [" not in page.text
    assert "Heterogeneity" not in [t.strip() for t in page.texts]


def test_generic_metric_speaks_of_effects(report):
    generic = samples.model(specification={"metric": "generic"})
    effects = report.effects.assign(r=float("nan"), conversion="generic")
    content = with_first(replace(report, effects=effects), generic)
    content = replace(content, settings=content.settings | {"metric": "generic"})
    text = Page(render_report(content)).text
    assert "effect = 0.29" in text
    assert "0.30 [0.10, 0.50]" in text
    assert "Correlation (r)" not in text
    assert "Fisher" not in text


def test_letters_of_the_tables_stand_in_the_references(report):
    twins = (samples.reference("k1"), samples.reference("k2", title="Second"))
    page = Page(render_report(replace(report, references=(*twins, samples.reference("k9")))))
    assert "Horvath (1991a)" in page.text
    assert "Horvath, A. O. (1991a). Alliance and outcome." in page.text
    assert "Horvath, A. O. (1991b). Second." in page.text


def test_studies_of_one_paper_share_its_reference(report):
    effects = report.effects.assign(citation_key="k1")
    page = Page(render_report(replace(report, effects=effects)))
    assert "In the tables: Horvath (1991a); Horvath (1991b)" in page.text
    assert "Horvath, A. O. (1991). Alliance" in page.text


def test_studies_of_one_paper_are_named_in_order(report):
    effects = report.effects.assign(citation_key="k1", study_id=["s3", "s3", "s1", "s2", "s4"])
    effects["sample_id"] = effects["study_id"]
    page = Page(render_report(replace(report, effects=effects)))
    named = re.search(r"In the tables: (.*?)\.", page.text).group(1).split("; ")
    assert len(named) > 2
    assert named == sorted(named)


def test_own_codebook_gives_the_words(report):
    codebook = load_codebook().extended({"rater": {"joint": {}, "robot": {"label": "a robot"}}})
    content = samples.moderator_model(summary=[samples.summary_row("rater=robot")])
    page = Page(render_report(with_first(report, content), codebook))
    assert "Rater: a robot" in page.text


def test_same_content_gives_the_same_bytes(report):
    assert render_report(report) == render_report(report)


def test_many_analyses_have_anchors_of_their_own(report):
    names = ["a b", "a-b", "A_B", "ümlaut", "!!", "??"]
    analyses = tuple(samples.analysis(samples.model(), name=name) for name in names)
    page = Page(render_report(replace(report, analyses=analyses)))
    assert len(page.ids) == len(set(page.ids))
    assert len([name for name in page.ids if re.fullmatch(r"analysis-.*(?<!-title)", name)]) == 6


@pytest.mark.parametrize("kind", ["report", "hostile"])
def test_anchors_resolve_ids_are_unique_headings_in_order(kind, request):
    page = Page(render_report(request.getfixturevalue(kind)))
    assert len(page.ids) == len(set(page.ids))
    assert {anchor[1:] for anchor in page.anchors} <= set(page.ids)
    for _, name, value in page.attributes:
        if name == "aria-labelledby":
            assert value in page.ids
    steps = [b - a for a, b in zip(page.headings, page.headings[1:], strict=False)]
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert max(steps) == 1


def test_no_element_or_attribute_comes_from_data(report, hostile):
    plain, attacked = Page(render_report(report)), Page(render_report(hostile))
    assert set(attacked.tags) <= set(plain.tags)
    assert {(t, n) for t, n, _ in attacked.attributes} <= {(t, n) for t, n, _ in plain.attributes}
    assert "script" not in attacked.tags
    assert not [name for _, name, _ in attacked.attributes if name.startswith("on")]
    # it is all there, as text, and no template was run on it
    assert attacked.text.count('<script>document.title="hacked"</script>') > 40
    assert attacked.text.count("{{ 7 * 7 }}") > 40
    assert "49" not in attacked.text.replace("139–149", "").replace("492–496", "")


@pytest.mark.parametrize("kind", ["report", "hostile"])
def test_page_loads_nothing_and_links_to_the_web_only(kind, request):
    html = render_report(request.getfixturevalue(kind))
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    for tag, name, value in page.attributes:
        if name in ("src", "srcset", "data", "poster", "background", "action"):
            assert (tag, name) == ("img", "src")
            assert value.startswith("data:image/svg+xml;base64,")
    assert all(link == "" or re.match(r"https?://[^\s\"'<>]+$", link) for link in page.links)
    style = (TEMPLATES / "style.css").read_text()
    assert "url(" not in style
    assert "@import" not in style
    assert ("meta", "content") in {(t, n) for t, n, _ in page.attributes}
    policy = next(v for _, n, v in page.attributes if n == "content" and "default-src" in v)
    assert "default-src 'none'" in policy
    assert "script-src 'none'" in policy
    assert "http" not in policy


def test_every_table_and_figure_is_accessible(report):
    html = render_report(report)
    page = Page(html)
    assert page.tags.count("table") == page.tags.count("caption") > 8
    assert page.tags.count("th") == sum(
        1 for t, n, _ in page.attributes if (t, n) == ("th", "scope")
    )
    alts = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert len(alts) == page.tags.count("img") == 6
    assert alts[0] == "Forest plot of four effects. Page 1 of 2."
    assert 'width="504" height="100"' in html
    assert '<html lang="en">' in html
    assert {"main", "nav", "header", "footer"} <= set(page.tags)


def test_page_speaks_of_no_causes(report):
    html = render_report(report)
    # names of files, and titles of what others wrote
    html = re.sub(r"<code>.*?</code>|<section id=\"references\".*?</section>", "", html, flags=re.S)
    text = Page(html).text.lower()
    for word in ("causes", "leads to", "influence", "impact of", "effect of", "improves"):
        assert word not in text


def palette(block):
    return dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", block))


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_colours_meet_wcag_aa(scheme):
    style = (TEMPLATES / "style.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    colours = palette(blocks[0 if scheme == "light" else 1])
    for ground in ("paper", "soft", "accent-soft", "warn-soft"):
        for text in ("ink", "muted", "accent", "warn"):
            pair = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
            assert (pair[0] + 0.05) / (pair[1] + 0.05) >= 4.5, (text, ground)


def test_tables_read_from_files_render_like_those_in_memory(report, tmp_path):
    # counts come back as nullable integers and empty columns as missing values
    path = tmp_path / "effects.csv"
    report.effects.to_csv(path, index=False)
    back = pd.read_csv(path).astype({"source_row": "Int64"})
    assert render_report(replace(report, effects=back)) == render_report(report)
