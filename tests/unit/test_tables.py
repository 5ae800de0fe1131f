"""Tables survive the way to a file and back."""

import numpy as np
import pandas as pd
import pytest

from alliance_meta.tables import read_table, to_records, write_table


def round_trip(table, tmp_path):
    write_table(table, tmp_path / "table.csv")
    return read_table(tmp_path / "table.csv")


def effects(**columns):
    size = len(next(iter(columns.values())))
    frame = pd.DataFrame({"effect_id": [f"e{i}" for i in range(size)], "effect_type": "r"})
    return frame.assign(source_row=range(2, size + 2), **columns)


@pytest.mark.parametrize("name", ["level", "value", "label", "term", "n_total", "row", "my own"])
def test_own_columns_of_any_name_keep_their_type(name, tmp_path):
    numbers = round_trip(effects(**{name: [1.5, 2.25, np.nan]}), tmp_path)
    assert numbers[name].tolist()[:2] == [1.5, 2.25]
    words = round_trip(effects(**{name: ["a", "b", None]}), tmp_path)
    assert words[name].tolist()[:2] == ["a", "b"]


@pytest.mark.parametrize("cells", [["1_0", "2_1"], ["01", "02"], ["1,5", "2"], ["nan", "1"]])
def test_codes_that_look_like_numbers_stay_text(cells, tmp_path):
    assert round_trip(effects(site=cells), tmp_path)["site"].tolist() == cells


def test_doubles_keep_every_digit(tmp_path):
    values = [0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0]
    table = pd.DataFrame({"term": list("abcde"), "estimate": values})
    assert round_trip(table, tmp_path)["estimate"].tolist() == values


def test_files_are_utf8_with_lf_and_empty_gaps(tmp_path):
    table = pd.DataFrame({"term": ["Wörking", None], "estimate": [np.nan, 1.0]})
    write_table(table, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_bytes() == "term,estimate\nWörking,\n,1.0\n".encode()


def test_records_hold_plain_values():
    table = pd.DataFrame({"a": [1.5, np.nan], "k": pd.array([1, None], dtype="Int64")})
    assert to_records(table) == [{"a": 1.5, "k": 1}, {"a": None, "k": None}]
