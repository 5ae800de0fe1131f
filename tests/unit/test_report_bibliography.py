"""The reference list: APA strings for each type, order, and no markup from data."""

import pytest
from citeproc import CitationStylesStyle

from alliance_meta.report import format_references
from alliance_meta.report.bibliography import STYLE_FILE

HORVATH = {"family": "Horvath", "given": "Adam O."}
GREENBERG = {"family": "Greenberg", "given": "Leslie S."}


def entry(kind, **fields):
    item = {
        "id": "key",
        "type": kind,
        "author": [HORVATH, GREENBERG],
        "issued": {"date-parts": [[1989]]},
        "title": "The working alliance",
    }
    return {k: v for k, v in (item | fields).items() if v is not None}


def printed(kind, **fields):
    (reference,) = format_references([entry(kind, **fields)])
    return f"{reference.html} {reference.address}".strip()


APA = {
    "article": (
        entry(
            "article-journal",
            **{"container-title": "Journal of Counseling Psychology"},
            volume="36",
            issue="2",
            page="223--233",
            DOI="https://doi.org/10.1037/0022-0167.36.2.223",
        ),
        "Horvath, A. O., &amp; Greenberg, L. S. (1989). The working alliance. "
        "<i>Journal of Counseling Psychology</i>, <i>36</i>(2), 223–233. "
        "https://doi.org/10.1037/0022-0167.36.2.223",
    ),
    "article with number": (
        entry(
            "article-journal",
            **{"container-title": "PLOS ONE"},
            volume="9",
            page="e1",
        ),
        "Horvath, A. O., &amp; Greenberg, L. S. (1989). The working alliance. <i>PLOS ONE</i>, "
        "<i>9</i>, Article e1.",
    ),
    "book": (
        entry("book", edition="2", publisher="Wiley"),
        "Horvath, A. O., &amp; Greenberg, L. S. (1989). <i>The working alliance</i> (2nd ed.). "
        "Wiley.",
    ),
    "edited book": (
        entry("book", author=None, editor=[HORVATH, GREENBERG], publisher="Wiley"),
        "Horvath, A. O., &amp; Greenberg, L. S. (Eds.). (1989). <i>The working alliance</i>. "
        "Wiley.",
    ),
    "publisher is author": (
        entry(
            "book", author=[{"literal": "American Association"}], publisher="American Association"
        ),
        "American Association. (1989). <i>The working alliance</i>.",
    ),
    "chapter": (
        entry(
            "chapter",
            author=[{"family": "Berg", "given": "Jan-Piet", "non-dropping-particle": "van den"}],
            editor=[HORVATH],
            page="1-20",
            publisher="Wiley",
            **{"container-title": "Theory and research"},
        ),
        "van den Berg, J.-P. (1989). The working alliance. In A. O. Horvath (Ed.), "
        "<i>Theory and research</i> (pp. 1–20). Wiley.",
    ),
    "thesis": (
        entry(
            "thesis",
            genre="Doctoral dissertation",
            publisher="Simon Fraser University",
            URL="https://example.org/t?a=1&b=2",
        ),
        "Horvath, A. O., &amp; Greenberg, L. S. (1989). <i>The working alliance</i> "
        "[Doctoral dissertation, Simon Fraser University]. https://example.org/t?a=1&b=2",
    ),
    "unpublished thesis": (
        entry("thesis", genre="Doctoral dissertation", publisher="Simon Fraser University"),
        "Horvath, A. O., &amp; Greenberg, L. S. (1989). <i>The working alliance</i> "
        "[Unpublished doctoral dissertation]. Simon Fraser University.",
    ),
    "report": (
        entry("report", number="12", publisher="Health Office"),
        "Horvath, A. O., &amp; Greenberg, L. S. (1989). <i>The working alliance</i> "
        "(Report No. 12). Health Office.",
    ),
    "report without number": (
        entry("report", publisher="Health Office"),
        "Horvath, A. O., &amp; Greenberg, L. S. (1989). <i>The working alliance</i>. "
        "Health Office.",
    ),
    "web page": (
        entry(
            "webpage",
            issued={"date-parts": [[2020, 5, 3]]},
            URL="https://example.org",
            **{"container-title": "A site"},
        ),
        "Horvath, A. O., &amp; Greenberg, L. S. (2020, May 3). <i>The working alliance</i>. "
        "A site. https://example.org",
    ),
    "preprint": (
        entry("article", publisher="PsyArXiv", DOI="10.31234/osf.io/abc"),
        "Horvath, A. O., &amp; Greenberg, L. S. (1989). <i>The working alliance</i>. PsyArXiv. "
        "https://doi.org/10.31234/osf.io/abc",
    ),
    "no author": (
        entry("article-journal", author=None, volume="3", **{"container-title": "Notes"}),
        "The working alliance. (1989). <i>Notes</i>, <i>3</i>.",
    ),
    "no author, no date": (
        entry("webpage", author=None, issued=None, URL="https://example.org/x"),
        "<i>The working alliance</i>. (n.d.). https://example.org/x",
    ),
    "in press": (
        entry("book", issued={"literal": "in press"}, publisher="Wiley"),
        "Horvath, A. O., &amp; Greenberg, L. S. (in press). <i>The working alliance</i>. Wiley.",
    ),
    "question": (
        entry("book", title="Does it help?", publisher="Wiley"),
        "Horvath, A. O., &amp; Greenberg, L. S. (1989). <i>Does it help?</i> Wiley.",
    ),
    "description for a title": (
        entry("book", title="[Title not recorded]", publisher="Wiley"),
        "Horvath, A. O., &amp; Greenberg, L. S. (1989). [Title not recorded]. Wiley.",
    ),
    "and others": (
        entry("book", author=[HORVATH, {"literal": "et al."}], publisher="Wiley"),
        "Horvath, A. O., et al. (1989). <i>The working alliance</i>. Wiley.",
    ),
}


@pytest.mark.parametrize("name", APA)
def test_each_type_is_printed_as_apa_asks(name):
    item, expected = APA[name]
    (reference,) = format_references([item])
    assert f"{reference.html} {reference.address}".strip() == expected


def test_style_is_valid_csl():
    # an invalid style warns, and warnings are errors here
    assert CitationStylesStyle(str(STYLE_FILE), validate=True).has_bibliography()


def test_twenty_one_authors_are_shortened_and_twenty_are_not():
    people = [{"family": f"Name{i:02}", "given": "A."} for i in range(1, 22)]
    assert "Name19, A., … Name21, A. (1989)" in printed("book", author=people)
    assert "Name19, A., &amp; Name20, A. (1989)" in printed("book", author=people[:20])


def test_list_is_sorted_as_a_reader_looks_it_up():
    items = [
        entry("book", id="later", author=[HORVATH]),
        entry("book", id="two", author=[HORVATH, GREENBERG], issued={"date-parts": [[1970]]}),
        entry("book", id="earlier", author=[HORVATH], issued={"date-parts": [[1980]]}),
        entry("book", id="accent", author=[{"family": "Ågren"}]),
        entry("book", id="title", author=None, title="The bond"),
    ]
    order = [reference.key for reference in format_references(items)]
    assert order == ["accent", "title", "earlier", "later", "two"]


def test_letters_follow_the_year():
    items = [entry("book", id="a"), entry("book", id="b", issued=None, title="Undated")]
    first, second = format_references(items, {"a": "b", "b": "c"})
    assert "(1989b)" in first.text
    assert "(n.d.-c)" in second.text


def test_keys_that_differ_in_case_stay_apart():
    items = [entry("book", id="Key", title="One"), entry("book", id="key", title="Two")]
    assert [reference.key for reference in format_references(items)] == ["Key", "key"]


@pytest.mark.parametrize(
    "field", ["title", "container-title", "publisher", "volume", "page", "genre", "edition"]
)
def test_markup_in_a_field_is_text(field):
    hostile = "<script>x</script><i onclick=y>z</i>&lt; {{ 7 * 7 }}"
    (reference,) = format_references([entry("chapter", **{"container-title": "J", field: hostile})])
    left = reference.html.replace("<i>", "").replace("</i>", "")
    assert "<" not in left
    assert "49" not in left
    assert "&lt;script&gt;" in left


def test_hostile_names_and_private_characters_are_text():
    author = [{"family": "<b>X</b>\ue000", "given": "<img>"}, {"literal": "\ue001<u>"}]
    (reference,) = format_references([entry("book", author=author)])
    assert "&lt;b&gt;X&lt;/b&gt;" in reference.html
    assert reference.html.count("<i>") == reference.html.count("</i>") == 1


def test_only_http_addresses_become_links():
    (script,) = format_references([entry("webpage", URL="javascript:alert(1)")])
    assert (script.address, script.link) == ("javascript:alert(1)", "")
    (web,) = format_references([entry("webpage", URL='https://example.org/"><b>')])
    assert web.link == "https://example.org/%22%3E%3Cb%3E"


def test_odd_entries_are_printed_and_not_refused():
    odd = [
        {"id": "bare"},
        entry("hologram", id="type", issued={"date-parts": [["1990", "13"]]}),
        entry("book", id="names", author=[{"given": "Cher"}, {}], issued={"date-parts": [[]]}),
        entry("thesis", id="fields", abstract="long", custom={"a": 1}, keyword=["x"]),
    ]
    texts = {reference.key: reference.text for reference in format_references(odd)}
    assert texts["bare"] == "[Untitled]. (n.d.)."
    assert "(1990)" in texts["type"]
    assert texts["names"].startswith("Cher. (n.d.).")
    assert len(texts) == 4


def test_no_items_give_no_list():
    assert format_references([]) == []
