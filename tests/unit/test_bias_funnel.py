"""Funnel tables and their contours."""

import numpy as np
import pytest
from scipy import stats

from alliance_meta.bias.funnel import assess_funnel
from alliance_meta.models import ModelSpecification, analyse
from alliance_meta.models.rows import model_rows

Y = [0.62, 0.4, 0.1, 0.3, 0.16, 0.5]
V = [0.01, 0.04, 0.01, 0.02, 0.0081, 0.09]


@pytest.fixture
def funnel(make_effects):
    def make(moderators="", study=range(6), **columns):
        effects = make_effects(Y, V, study, **columns)
        rows = model_rows(analyse(effects, ModelSpecification(moderators=moderators)))
        return rows, assess_funnel(rows)

    return make


def test_residuals_are_from_the_analysis_and_levels_from_its_moderator(funnel):
    rater = ["client", "therapist"] * 3
    rows, found = funnel("rater", rater=rater)
    table = found.tables["bias_funnel"]
    assert list(table["level"]) == rater
    coefficients = [rows.fit.contrast(unit).value for unit in np.eye(2)]
    # rounding of sums of six numbers
    np.testing.assert_allclose(table["residual"], Y - rows.X @ coefficients, atol=1e-12)
    # with several levels there is no mean for an interval to be around
    assert set(found.tables["bias_funnel_contours"]["kind"]) == {"significance"}


def test_contours_are_where_p_values_are_reached(funnel):
    rows, found = funnel()
    contours = found.tables["bias_funnel_contours"].query("se > 0")
    significance = contours.loc[contours["kind"] == "significance"]
    assert set(significance["level"]) == {0.10, 0.05, 0.01}
    p = 2 * stats.norm.sf(significance["high"] / significance["se"])
    # rounding of the quantile
    np.testing.assert_allclose(p, significance["level"], rtol=1e-12)
    np.testing.assert_allclose(significance["low"], -significance["high"])
    interval = contours.loc[contours["kind"] == "pseudo_interval"]
    middle = (interval["low"] + interval["high"]) / 2
    np.testing.assert_allclose(middle, rows.fit.contrast(np.ones(1)).value)
    assert contours["se"].max() > 0.3


def test_sentence_counts_the_zones(funnel):
    # z = 6.2, 2, 1, 2.12, 1.78, 1.67
    _, found = funnel()
    assert found.sentences == (
        "In the contour-enhanced funnel 6 effects lie in these zones of two-sided significance: "
        "1 with p < .01, 2 between .01 and .05, 2 between .05 and .10 and 1 not significant at "
        "p = .10.",
    )


def test_numeric_moderators_have_no_levels(funnel):
    _, found = funnel("year", year=[2000.0, 2001.0, 2005.0, 2010.0, 2012.0, 2015.0])
    assert set(found.tables["bias_funnel"]["level"]) == {""}
