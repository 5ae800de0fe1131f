"""Words for codes, levels, terms, conversions and addresses."""

import json
import re
from pathlib import Path

import pytest

from alliance_meta.codebook import load_codebook
from alliance_meta.report.links import safe_link, shorten_address
from alliance_meta.report.sources import METHOD_REFERENCES_FILE, MethodSources
from alliance_meta.report.wording import (
    CONVERSIONS,
    FLAGS,
    Labels,
    capitalise,
    describe_conversion,
    describe_estimate,
    describe_flags,
    print_reported,
)

LIBRARY = Path(__file__).resolve().parents[2] / "workflow" / "scripts" / "alliance_meta"


@pytest.fixture
def labels():
    return Labels(load_codebook())


@pytest.mark.parametrize(
    ("level", "words"),
    [
        ("overall", "All studies"),
        ("rater=client", "Rater: client"),
        ("outcome_domain=symptom", "Outcome domain: symptoms"),
        ("instrument=WAI", "Instrument: Working Alliance Inventory (WAI)"),
        ("rater=unheard_of", "Rater: unheard_of"),
        ("region=north=south", "Region: north=south"),
        ("strange", "strange"),
    ],
)
def test_levels_are_put_in_words(labels, level, words):
    assert labels.level(level) == words


@pytest.mark.parametrize(
    ("term", "words"),
    [
        ("rater[T.therapist]", "Rater: therapist"),
        ("C(rater, contr.treatment)[T.therapist]", "Rater: therapist"),
        ("percent_female", "Percent female"),
        ("rater[T.therapist]:year", "Rater: therapist × Year"),
        ("bs(year, 3)[1]", "bs(year, 3)[1]"),
        ("region[T.a:b]", "Region: a:b"),
        ("I(session ** 2)", "I(session ** 2)"),
    ],
)
def test_terms_are_put_in_words(labels, term, words):
    assert labels.term(term) == words


def test_capitals_spare_symbols():
    words = ["t statistic", "p-value only", "r", "Pearson", "odds ratio", ""]
    expected = ["t statistic", "p-value only", "r", "Pearson", "Odds ratio", ""]
    assert [capitalise(word) for word in words] == expected


def test_names_inside_a_sentence_are_put_in_words(labels):
    names = ["rater=client", "rater=client_and_more", "rater[T.joint]"]
    sentence = "rater=client_and_more, rater=client and rater[T.joint] differ."
    expected = "Rater: client_and_more, Rater: client and Rater: several raters differ."
    assert labels.sentence(sentence, names) == expected


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        (
            "The variance within studies of instrument=HAq cannot be estimated.",
            "The variance within studies of Instrument: Helping Alliance Questionnaire (HAq) "
            "cannot be estimated.",
        ),
        (
            "instrument: ‘WAI’ (1 study) was counted under ‘core_measure’.",
            "Instrument: “Working Alliance Inventory (WAI)” (1 study) was counted under “core "
            "alliance measure”.",
        ),
        (
            "outcome domain: ‘symptom’ (1 study) was counted under ‘other’.",
            "Outcome domain: “symptoms” (1 study) was counted under “other outcome”.",
        ),
        (
            "a new study's: .9, by 'rule' and ‘one’ after Holm's adjustment",
            "a new study's: .9, by “rule” and “one” after Holm's adjustment",
        ),
        ("p = .012, rater=unheard_of, x=client", "p = .012, rater=unheard_of, x=client"),
    ],
)
def test_sentences_are_put_in_words_without_a_list_of_names(labels, sentence, words):
    assert labels.sentence(sentence) == words


def test_works_of_the_same_authors_are_cited_together():
    sources = MethodSources.load()
    expected = "(Pustejovsky & Tipton, 2018, 2022; Tipton, 2015)"
    assert sources.cite("tipton2015", "pustejovsky2022", "pustejovsky2018") == expected


def test_every_flag_of_the_conversions_has_words():
    source = "".join(path.read_text() for path in (LIBRARY / "effect_sizes").glob("*.py"))
    flags = set(re.findall(r'\.flag\(\s*"(\w+)"', source))
    assert flags
    assert flags <= set(FLAGS)


def test_every_named_method_has_words():
    source = (LIBRARY / "effect_sizes" / "routes.py").read_text()
    names = set(re.findall(r'"(\w+_(?:19|20)\d\d|\w+_to_\w+|\w+_single_predictor)"', source))
    assert len(names) > 4
    assert names <= set(CONVERSIONS)


def test_methods_cite_references_that_exist():
    known = {item["id"] for item in json.loads(METHOD_REFERENCES_FILE.read_text())}
    assert {key for _, keys in CONVERSIONS.values() for key in keys} <= known


def test_unknown_codes_are_printed_as_words():
    assert describe_conversion("some_new_way") == "some new way"
    assert describe_flags("n_derived; brand_new;") == [FLAGS["n_derived"], "brand new"]
    assert describe_flags("") == []


def test_citations_are_apa_and_remembered():
    sources = MethodSources.load()
    assert (
        sources.cite("hedges2010", "bonett2000") == "(Bonett & Wright, 2000; Hedges et al., 2010)"
    )
    assert sources.cite() == ""
    assert [item["id"] for item in sources.cited_items()] == ["bonett2000", "hedges2010"]


@pytest.mark.parametrize(
    ("value", "low", "high", "metric", "text"),
    [
        (0.31, 0.1, 0.49, "fisher_z", ".31 [.10, .49]"),
        (-0.05, -0.2, 0.1, "r", "−.05 [−.20, .10]"),
        (0.5, 0.1, 1.2, "generic", "0.50 [0.10, 1.20]"),
        (0.31, float("nan"), float("nan"), "r", ".31"),
        (float("nan"), 0.1, 0.2, "r", "–"),
    ],
)
def test_estimates_are_apa(value, low, high, metric, text):
    assert describe_estimate(value, low, high, metric) == text


def test_reported_values_keep_their_digits():
    assert [print_reported(x) for x in (0.314, -2.0, 120.0)] == ["0.314", "−2", "120"]


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("https://example.org/a?b=1&c=ü", "https://example.org/a?b=1&c=%C3%BC"),
        ("HTTP://example.org", "HTTP://example.org"),
        ("10.1000/xyz", "https://doi.org/10.1000/xyz"),
        ("doi: 10.1000/x<y>", "https://doi.org/10.1000/x%3Cy%3E"),
        ("https://doi.org/10.1000/xyz", "https://doi.org/10.1000/xyz"),
        ("javascript:alert(1)", ""),
        (" jAvAsCrIpT:alert(1)", ""),
        ("java\nscript:alert(1)", ""),
        ("data:text/html,x", ""),
        ("//example.org", ""),
        ("https:///nohost", ""),
        ("https://[bad", ""),
        ("file:///etc/passwd", ""),
        ("p. 281, Table 2", ""),
        ("", ""),
    ],
)
def test_only_web_addresses_are_links(text, link):
    assert safe_link(text) == link


def test_quotes_cannot_leave_an_attribute():
    assert '"' not in safe_link('https://example.org/"onclick="x')


def test_long_addresses_are_shortened_in_the_middle():
    shown = shorten_address("https://www.example.org/" + "a" * 100 + "/end")
    assert shown.startswith("example.org/a")
    assert shown.endswith("/end")
    assert len(shown) <= 44
