"""The codebook: its columns and words, its page and the comparison of spellings."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alliance_meta.codebook import (
    GROUP_TITLES,
    Codebook,
    CodebookError,
    load_codebook,
    normalise,
)
from alliance_meta.codebook_page import render_codebook_page
from alliance_meta.extraction.cells import parse_number

CODEBOOK = load_codebook()
PAGE = Path(__file__).parents[2] / "docs" / "codebook.md"

# the columns that the design promises to users
CONTRACT = """
study_id sample_id effect_id citation_key year
effect_type effect_value n n1 n2 df n_covariates se variance ci_low ci_high p_value p_sides
effect_sign exclude_reason outcome_direction reliability_alliance reliability_outcome
relationship_element instrument component rater timing session outcome_measure outcome_domain
outcome_rater treatment modality delivery setting diagnosis population country percent_female
mean_age percent_minority n_sessions n_therapists client_therapist_match feedback_informed
publication_status design source page quote coder notes
""".split()  # noqa: SIM905

EFFECT_TYPES = """
r fisher_z spearman_rho partial_r semipartial_r beta d g odds_ratio log_odds_ratio t F chi2 p eta2
r2 generic
""".split()  # noqa: SIM905

TERMS = [
    pytest.param(name, term, id=f"{name}-{term.code}")
    for name, vocabulary in CODEBOOK.vocabularies.items()
    for term in vocabulary.terms.values()
]


def test_every_promised_column_is_there() -> None:
    assert set(CONTRACT) <= set(CODEBOOK.columns)


def test_every_promised_effect_type_is_there() -> None:
    assert list(CODEBOOK.vocabularies["effect_type"].terms) == EFFECT_TYPES


def test_three_columns_are_required() -> None:
    required = [column.name for column in CODEBOOK.columns.values() if column.required]
    assert required == ["study_id", "effect_type", "effect_value"]


def test_column_names_are_their_own_key() -> None:
    for name in CODEBOOK.columns:
        assert name.isidentifier()
        assert name == name.lower()


def test_every_column_has_a_group_and_a_vocabulary_where_it_needs_one() -> None:
    for column in CODEBOOK.columns.values():
        assert column.group in GROUP_TITLES
        assert column.description.endswith(".")
        assert (column.type == "term") == (column.vocabulary is not None)


def test_examples_are_valid_cells() -> None:
    for column in CODEBOOK.columns.values():
        if column.numeric:
            number = parse_number(column.example)
            assert isinstance(number, float), column.name
            assert column.minimum is None or number >= column.minimum
            assert column.maximum is None or number <= column.maximum
        elif column.vocabulary is not None:
            vocabulary = CODEBOOK.vocabularies[column.vocabulary]
            assert vocabulary.match(column.example) is not None, column.name


@pytest.mark.parametrize(("name", "term"), TERMS)
def test_each_spelling_means_its_own_term(name: str, term) -> None:  # type: ignore[no-untyped-def]
    vocabulary = CODEBOOK.vocabularies[name]
    for spelling in (term.code, *term.synonyms):
        match = vocabulary.match(spelling)
        assert match is not None
        assert (match.code, match.version) == (term.code, None), spelling
    for version, forms in term.versions.items():
        for spelling in (version, *forms):
            match = vocabulary.match(spelling)
            assert match is not None
            assert (match.code, match.version) == (term.code, version), spelling


@pytest.mark.parametrize(("name", "term"), TERMS)
def test_wider_levels_exist_and_lead_nowhere_round(name: str, term) -> None:  # type: ignore[no-untyped-def]
    terms = CODEBOOK.vocabularies[name].terms
    seen = [term.code]
    while terms[seen[-1]].parent is not None:
        parent = terms[seen[-1]].parent
        assert parent in terms
        assert parent not in seen
        seen.append(parent)


def test_a_spelling_that_means_two_things_is_refused() -> None:
    with pytest.raises(CodebookError, match="'patient' would mean both 'client' and 'someone'"):
        CODEBOOK.extended({"rater": {"someone": {"synonyms": ["patient"]}}})


def test_an_unknown_vocabulary_is_refused() -> None:
    with pytest.raises(CodebookError, match="there is no vocabulary 'raters'"):
        CODEBOOK.extended({"raters": {"dog": {}}})


def test_only_instruments_have_versions() -> None:
    assert CODEBOOK.versioned_columns() == ("instrument",)


# --- comparing spellings ------------------------------------------------------------------


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.text(st.characters(codec="latin-1")))
def test_case_does_not_count(text: str) -> None:
    # letters whose capital is not one letter (ß) or lies outside this alphabet (ÿ, µ) still fold
    assert normalise(text.upper()) == normalise(text.lower()) == normalise(text)


@given(st.lists(st.from_regex(r"[a-z]{1,5}", fullmatch=True), min_size=2, max_size=4), st.data())
def test_what_stands_between_words_does_not_count(words: list[str], data: st.DataObject) -> None:
    between = st.sampled_from([" ", "_", "-", "–", "  ", "\u00a0", " - "])
    text = words[0]
    for word in words[1:]:
        text += data.draw(between) + word
    assert normalise(f" {text} ") == " ".join(words)


@pytest.mark.parametrize(
    ("sign", "code"), [("+", "positive"), ("-", "negative"), ("−", "negative")]
)
def test_a_lone_sign_is_a_code(sign: str, code: str) -> None:
    match = CODEBOOK.vocabularies["effect_sign"].match(sign)
    assert match is not None
    assert match.code == code


# --- the page -----------------------------------------------------------------------------


def test_the_page_in_docs_is_up_to_date() -> None:
    page = render_codebook_page(CODEBOOK)
    assert PAGE.read_text(encoding="utf-8") == page, (
        "run: python -m alliance_meta.codebook_page > docs/codebook.md"
    )


def test_the_page_names_every_column_code_and_version() -> None:
    page = render_codebook_page(CODEBOOK)
    for column in CODEBOOK.columns:
        assert f"| `{column}` |" in page
    for vocabulary in CODEBOOK.vocabularies.values():
        assert f"### {vocabulary.name}\n" in page
        for term in vocabulary.terms.values():
            assert f"| `{term.code}` |" in page
            for version in term.versions:
                assert f"**{version}**" in page


def test_every_table_of_the_page_is_rectangular() -> None:
    width = 0
    for line in render_codebook_page(with_pipes()).splitlines():
        if not line.startswith("|"):
            width = 0
            continue
        cells = line.replace("\\|", "").count("|")
        width = width or cells
        assert cells == width, line


def test_pipes_are_escaped() -> None:
    assert "| either\\|or | x\\|y |" in render_codebook_page(with_pipes())


def with_pipes() -> Codebook:
    return CODEBOOK.extended(
        {"rater": {"odd": {"label": "odd", "description": "either|or", "synonyms": ["x|y"]}}}
    )


@pytest.mark.parametrize(
    ("column", "written", "code", "version"),
    [
        ("instrument", "Working Alliance Inventory - Short Form", "WAI", "WAI-S"),
        ("instrument", "working alliance inventory short form revised", "WAI", "WAI-SR"),
        ("timing", "intake", "early", None),
        ("timing", "First session", "early", None),
        ("timing", "Session 1", "early", None),
        ("timing", "mid-therapy", "mid", None),
        ("timing", "post", "late", None),
        ("timing", "End of therapy", "late", None),
        ("timing", "mean over sessions", "averaged", None),
        ("effect_type", "beta weight", "beta", None),
    ],
)
def test_usual_words_are_known(column: str, written: str, code: str, version: str | None) -> None:
    vocabulary = CODEBOOK.vocabulary_of(column)
    assert vocabulary is not None
    match = vocabulary.match(written)
    assert match is not None
    assert (match.code, match.version) == (code, version)
