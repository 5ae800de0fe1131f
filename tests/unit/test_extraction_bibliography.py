"""BibTeX to CSL-JSON items."""

import logging
from pathlib import Path
from typing import Any

import pytest

from alliance_meta.extraction import Bibliography, read_references

NAME = "data/raw/references.bib"
SAVE_AS_BIBTEX = (
    "In Zotero export the collection again: format BibTeX, character encoding 'Unicode (UTF-8)'."
)
MENDS = (
    "Probably a comma, a brace or a quotation mark is missing; exporting again from Zotero "
    "mends it."
)


def read(tmp_path: Path, content: str | bytes) -> Bibliography:
    path = tmp_path / "references.bib"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_references([(NAME, path)])


def item(tmp_path: Path, fields: str, kind: str = "article") -> dict[str, Any]:
    bibliography = read(tmp_path, f"@{kind}{{key,\n{fields}\n}}\n")
    assert [problem for problem in bibliography.problems if problem.severity == "error"] == []
    return bibliography.items[0]


def messages(tmp_path: Path, content: str | bytes) -> list[str]:
    return [str(problem) for problem in read(tmp_path, content).problems]


def test_an_article_becomes_a_csl_item(tmp_path: Path) -> None:
    text = r"""
@article{Horvath1991,
  author    = {Horvath, Adam O. and Symonds, B. Dianne},
  title     = {Relation between {Working} alliance and outcome in psychotherapy: A {meta-analysis}},
  journal   = {Journal of Counseling Psychology},
  year      = {1991},
  month     = apr,
  volume    = {38},
  number    = {2},
  pages     = {139--149},
  doi       = {https://doi.org/10.1037/0022-0167.38.2.139},
  url       = {https://example.org/a\_b%20c},
}
"""
    bibliography = read(tmp_path, text)
    assert bibliography.problems == []
    assert bibliography.complete
    assert bibliography.keys == {"Horvath1991"}
    assert bibliography.items == [
        {
            "id": "Horvath1991",
            "type": "article-journal",
            "title": "Relation between Working alliance and outcome in psychotherapy: "
            "A meta-analysis",
            "author": [
                {"family": "Horvath", "given": "Adam O."},
                {"family": "Symonds", "given": "B. Dianne"},
            ],
            "issued": {"date-parts": [[1991]]},
            "container-title": "Journal of Counseling Psychology",
            "volume": "38",
            "issue": "2",
            "page": "139-149",
            "DOI": "10.1037/0022-0167.38.2.139",
            "URL": "https://example.org/a_b%20c",
        }
    ]


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        (
            "incollection",
            "title={T}, booktitle={B}, editor={Norcross, J. C.}, publisher={OUP}, address={NY}",
            {
                "type": "chapter",
                "container-title": "B",
                "editor": [{"family": "Norcross", "given": "J. C."}],
                "publisher": "OUP",
                "publisher-place": "NY",
            },
        ),
        (
            "phdthesis",
            'title={T}, school={Universit{\\"a}t Bern}',
            {"type": "thesis", "genre": "Doctoral dissertation", "publisher": "Universität Bern"},
        ),
        ("mastersthesis", "title={T}", {"type": "thesis", "genre": "Master's thesis"}),
        ("thesis", "title={T}, type={phdthesis}", {"genre": "Doctoral dissertation"}),
        ("techreport", "title={T}, number={7}", {"type": "report", "number": "7"}),
        ("misc", "title={T}, url={https://x.org}", {"type": "webpage"}),
        ("misc", "title={T}", {"type": "article"}),
        ("Article", "TITLE={T}, journaltitle={J}, date={2014-03}", {"container-title": "J"}),
        ("book", "title={T}, subtitle={S}, year=2014", {"type": "book", "title": "T: S"}),
        ("article", "title={T}, year={in press}", {"status": "in press"}),
    ],
)
def test_each_kind_of_entry_keeps_what_belongs_to_it(
    tmp_path: Path, kind: str, fields: str, expected: dict[str, Any]
) -> None:
    found = item(tmp_path, fields, kind)
    assert {name: found.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    "field", ["year={2014}", "year=2014", 'date="2014-03-01"', "year={c. 2014}"]
)
def test_the_year_is_found(tmp_path: Path, field: str) -> None:
    assert item(tmp_path, f"title={{T}}, {field}")["issued"] == {"date-parts": [[2014]]}


@pytest.mark.parametrize(
    ("latex", "plain"),
    [
        (r"M{\"u}ller {\&} S{\o}n", "Müller & Søn"),
        (r"{\'E}tude \c{c}a \v{s}i", "Étude ça ši"),
        (r"20% of 5 & {x}", "20% of 5 & x"),
        (r"20\% of {\textit{x}}", "20% of x"),
        (r"A~B \emph{c}  d", "A B c d"),
        (r"Client's ``view'' -- here", "Client's “view” – here"),
        (r"$p<.05$ and $\beta$", "p<.05 and β"),
        ("Äußerung", "Äußerung"),
        (r"a_b # c", "a_b # c"),
    ],
)
def test_latex_becomes_plain_text(tmp_path: Path, latex: str, plain: str) -> None:
    assert item(tmp_path, f"title = {{{latex}}}")["title"] == plain


@pytest.mark.parametrize(
    ("latex", "people"),
    [
        (
            "{{World Health Organization and Partners}}",
            [{"literal": "World Health Organization and Partners"}],
        ),
        ("{{WHO} and Smith, Jane}", [{"literal": "WHO"}, {"family": "Smith", "given": "Jane"}]),
        ("{Jane Q. Smith}", [{"family": "Smith", "given": "Jane Q."}]),
        ("{van der Berg, A.}", [{"family": "van der Berg", "given": "A."}]),
        ("{King, Jr., Martin}", [{"family": "King", "given": "Martin", "suffix": "Jr."}]),
        (
            r"{Fl{\"u}ckiger, Christoph and {\O}stergaard, S.}",
            [
                {"family": "Flückiger", "given": "Christoph"},
                {"family": "Østergaard", "given": "S."},
            ],
        ),
        ("{Smith, J. and others}", [{"family": "Smith", "given": "J."}, {"literal": "et al."}]),
        ("{Plato}", [{"family": "Plato"}]),
    ],
)
def test_authors_are_split_and_groups_stay_whole(
    tmp_path: Path, latex: str, people: list[dict[str, str]]
) -> None:
    assert item(tmp_path, f"title={{T}}, author = {latex}")["author"] == people


@pytest.mark.parametrize("pages", ["279--283", "279-283", "279–283", "279 -- 283", "279---283"])
def test_page_ranges_have_one_hyphen(tmp_path: Path, pages: str) -> None:
    assert item(tmp_path, f"title={{T}}, pages={{{pages}}}")["page"] == "279-283"


def test_comments_strings_and_percent_signs_do_no_harm(tmp_path: Path) -> None:
    text = (
        "% a lone % sign\n@comment{jabref-meta: x}\n@comment\n"
        '@string{jcp = "J. Consult. Clin. Psychol."}\n'
        "100 %\n@article{a, title={50 % better}, journal=jcp}\n%\n"
    )
    bibliography = read(tmp_path, text)
    assert bibliography.problems == []
    assert bibliography.items[0]["title"] == "50 % better"
    assert bibliography.items[0]["container-title"] == "J. Consult. Clin. Psychol."


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_windows_files_read_the_same(tmp_path: Path, mark: bytes) -> None:
    text = "@article{ä,\r\n title = {Größe\r\n und mehr}\r\n}\r\n"
    bibliography = read(tmp_path, mark + text.encode())
    assert bibliography.items == [{"id": "ä", "type": "article-journal", "title": "Größe und mehr"}]


GOOD = "@article{good, title={T}}\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            GOOD + "\n@article{bad, title={never closed\n\n@article{next, title={U}}\n",
            f"{NAME} row 3: The entry in line 3 cannot be read (it begins: @article{{bad, "
            f"title={{never closed). {MENDS}",
        ),
        (
            GOOD + "@article{bad title={T}}\n",
            f"{NAME} row 2: The entry in line 2 cannot be read (it begins: @article{{bad "
            f"title=). {MENDS}",
        ),
        (
            GOOD + "\narticle{bad, title={T}}\n",
            f"{NAME} row 3: The entry in line 3 cannot be read (it begins: article{{bad, "
            f"title={{T}}}}). {MENDS}",
        ),
        (
            GOOD + "\n\n@book{good, title={Another}}\n",
            f"{NAME} row 4: The entry in line 4 has the key 'good' of the entry in line 1 "
            "(it begins: @book{good, title={Another}}). "
            "Give each entry its own key, or delete one.",
        ),
        (
            GOOD + "@article{two, title={T}, year=2001, year=2002}\n",
            f"{NAME} row 2: The entry in line 2 has a field twice: year (it begins: "
            "@article{two, title={T}, year=2001, year=2002}). Delete one of the two.",
        ),
        (
            GOOD + "@article{two, title={T}, Year=2001, year=2002}\n",
            f"{NAME} row 2: The entry in line 2 has a field twice: year (it begins: "
            "@article{two, title={T}, Year=2001, year=2002}). Delete one of the two.",
        ),
        (
            GOOD + "@article{, title={T}}\n",
            f"{NAME} row 2: The entry in line 2 has no key (it begins: @article{{, "
            "title={T}}). Write a key after the opening brace, for example "
            "@article{smith2010, ...",
        ),
        (
            GOOD + "@article{two, year=2001}\n",
            f"{NAME} row 2: Note: The entry 'two' in line 2 has no title. "
            "Add it, so that the reference can be listed.",
        ),
        (
            "TY  - JOUR\nTI  - A title\nAD  - me@example.org\nER  -\n",
            f"{NAME}: This is not a BibTeX file. {SAVE_AS_BIBTEX}",
        ),
        (
            "% none\n@comment{nothing yet}\n\n% more\n",
            f"{NAME}: Note: The bibliography holds no entry. {SAVE_AS_BIBTEX}",
        ),
        (
            "@article{a,\n author={Müller}}\n".encode("latin-1"),
            f"{NAME} row 2: The file is not saved as UTF-8: row 2 has a letter that cannot be "
            f"read (near 'Müller'). {SAVE_AS_BIBTEX}",
        ),
        (b"", f"{NAME}: The file is empty. Check that it was saved."),
    ],
)
def test_a_broken_bibliography_names_the_entry(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    assert messages(tmp_path, content) == [message]


def test_entries_after_a_broken_one_are_still_read(tmp_path: Path) -> None:
    text = "@article{bad, title={never closed\n\n@article{next, title={U}}\n"
    bibliography = read(tmp_path, text)
    assert [found["id"] for found in bibliography.items] == ["next"]
    assert bibliography.keys == {"bad", "next"}


def test_keys_are_unique_over_files(tmp_path: Path) -> None:
    paths = [tmp_path / "one.bib", tmp_path / "two.bib"]
    for path in paths:
        path.write_text(GOOD)
    bibliography = read_references([("one.bib", paths[0]), ("two.bib", paths[1])])
    assert len(bibliography.items) == 1
    assert [str(problem) for problem in bibliography.problems] == [
        "two.bib row 1: The entry in line 1 has the key 'good' of the entry in line 1 of one.bib "
        "(it begins: @article{good, title={T}}). Give each entry its own key, or delete one."
    ]


def test_the_parser_is_silent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        read(tmp_path, "@article{bad, title={x\n@article{b title={\\unknown{}}\n" + GOOD * 2)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")
