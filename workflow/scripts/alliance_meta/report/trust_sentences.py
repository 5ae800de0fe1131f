"""Sentences on trust in a result: which tell a finding, and how names and codes are put."""

import re
from collections.abc import Iterable
from enum import Enum

from alliance_meta.report.sensitivity_tables import class_name
from alliance_meta.report.tables import print_text
from alliance_meta.report.trust_context import INTERCEPT, TrustContext, plain_term


class Kind(Enum):
    """What a sentence tells."""

    FINDING = "finding"
    ONE_MEAN = "one mean"
    OFF = "off"
    NOT_COMPUTED = "not computed"
    NOTHING = "nothing"


# methods whose sentences name studies and effects
_NAMING = frozenset({"leave_one_out", "influence", "baujat", "gosh", "cumulative"})

_ONE_MEAN = re.compile(r".+? (?:is|are) of (?:a|one) mean; .*\bmoderators\b.*")
_OFF = re.compile(r"Switched off in the configuration\.")
_NOT_COMPUTED = re.compile(r"Not computed: (?P<reason>.+?)\.?", re.DOTALL)
_ALIKE = re.compile(r"(All effects have the same )([^,]+), (.+)\.", re.DOTALL)
_NOTHING = re.compile(r"Nothing to assess: (?P<reason>.+?)\.?", re.DOTALL)


def sort_sentence(sentence: str) -> tuple[Kind, str]:
    """Return what a sentence tells and, if a method has no result, why."""
    if _ONE_MEAN.fullmatch(sentence):
        return Kind.ONE_MEAN, ""
    if _OFF.fullmatch(sentence):
        return Kind.OFF, ""
    for pattern, kind in ((_NOT_COMPUTED, Kind.NOT_COMPUTED), (_NOTHING, Kind.NOTHING)):
        found = pattern.fullmatch(sentence)
        if found:
            return kind, found["reason"]
    return Kind.FINDING, ""


def put_in_words(sentence: str, method: str, context: TrustContext) -> str:
    """Return a sentence with classes, terms, studies and effects in a reader's words.

    Parameters
    ----------
    sentence
        As an assessment returns it.
    method
        The assessment; only some name studies.
    context
        The analysis it is of.
    """
    if method == "leave_class_out":
        sentence = _name_classes(sentence, context)
    terms = [str(row["term"]) for row in context.content.model["coefficients"]]
    levels = [str(row["level"]) for row in context.content.model["summary"]]
    sentence = _name_plain_terms(sentence, terms)
    names = [term for term in terms if "[" in term] + [level for level in levels if "=" in level]
    sentence = context.labels.sentence(sentence, names)
    if method in _NAMING:
        sentence = context.names.put_names(sentence)
    return sentence


def _name_classes(sentence: str, context: TrustContext) -> str:
    """Put codes that were left out in words: "without client", "Without rater client, …"."""
    alike = _ALIKE.fullmatch(sentence)
    if alike:
        column = (
            "conversion" if alike[2] == class_name("conversion") else alike[2].replace(" ", "_")
        )
        return f"{alike[1]}{alike[2]}: {context.class_words(column, alike[3])}."
    by: dict[str, set[str]] = {}
    for row in context.rows("sensitivity_leave_class_out"):
        by.setdefault(print_text(row["by"]), set()).add(print_text(row["left_out"]))
    for column, codes in by.items():
        what = class_name(column)
        if what not in sentence:
            continue
        alternatives = "|".join(re.escape(code) for code in sorted(codes, key=_by_length))
        pattern = re.compile(rf"([Ww]ithout (?:{re.escape(what)} )?)({alternatives})(?![\w.])")

        def put(found: re.Match[str], column: str = column) -> str:
            return f"{found[1]}“{context.class_words(column, found[2])}”"

        sentence = pattern.sub(put, sentence)
    return sentence


def _by_length(code: str) -> tuple[int, str]:
    return -len(code), code


def _name_plain_terms(sentence: str, terms: Iterable[str]) -> str:
    """Put terms without brackets in words; an intercept is no name."""
    for term in sorted((t for t in terms if t.isidentifier()), key=_by_length):
        if term == INTERCEPT or "_" in term:
            sentence = re.sub(rf"\b{term}\b", plain_term(term), sentence)
    return sentence[:1].upper() + sentence[1:] if sentence.startswith("the ") else sentence
