"""Short labels of studies."""

import pandas as pd
import pytest

from alliance_meta.citations import short_citation, study_labels


def item(*families, year=2011, key="k"):
    authors = [{"family": name} for name in families]
    return {"id": key, "author": authors, "issued": {"date-parts": [[year]] if year else [[]]}}


@pytest.mark.parametrize(
    ("families", "expected"),
    [
        (["Webb"], "Webb"),
        (["Webb", "DeRubeis"], "Webb & DeRubeis"),
        (["Webb", "DeRubeis", "Hollon"], "Webb et al."),
        (["Perry", "et al."], "Perry et al."),
        (["Perry", "Smith", "others"], "Perry et al."),
        ([], ""),
    ],
)
def test_authors_as_apa_cites_them(families, expected):
    assert short_citation(item(*families)) == (expected, "2011")


def table(*rows):
    frame = pd.DataFrame(rows, columns=["study_id", "citation_key", "year"])
    return frame.astype({"study_id": "str", "citation_key": "str", "year": float})


def test_equal_labels_get_letters_in_the_order_of_the_sheet():
    effects = table(("b", "kb", 1971), ("a", "ka", 1971), ("c", "kc", 1980), ("b", "kb", 1971))
    references = [item("Truax", year=y, key=k) for k, y in [("ka", 1971), ("kb", 1971)]]
    references.append(item("Truax", year=1980, key="kc"))
    assert study_labels(effects, references) == {
        "b": "Truax (1971a)",
        "a": "Truax (1971b)",
        "c": "Truax (1980)",
    }


def test_year_comes_from_the_sheet_where_the_reference_has_none():
    effects = table(("a", "ka", 2004), ("b", None, 2005), ("c", "kc", None))
    references = [item("Litter", year=None, key="ka"), item("Moen", year=None, key="kc")]
    assert study_labels(effects, references) == {
        "a": "Litter (2004)",
        "b": "b",
        "c": "Moen (n.d.)",
    }


def test_many_equal_labels_stay_distinct():
    effects = table(*[(f"s{i:03}", "k", 2000) for i in range(60)])
    labels = study_labels(effects, [item("Smith", year=2000)])
    assert len(set(labels.values())) == 60
    assert "Smith (2000ab)" in labels.values()
