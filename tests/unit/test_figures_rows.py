"""Rows of a forest plot."""

import math

import pandas as pd
import pytest

from alliance_meta.figures.rows import _summary_row


@pytest.mark.parametrize(("total", "shown"), [(pd.NA, ""), (math.nan, ""), (4558, "4558")])
def test_pooled_row_shows_persons_where_they_are_known(total, shown):
    row = {"estimate": 0.3, "ci_low": 0.2, "ci_high": 0.4, "n_total": total}
    assert _summary_row(row, "overall", "g", "Pooled estimate", "generic").n == shown
