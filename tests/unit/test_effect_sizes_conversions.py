"""Every route of conversion against numbers frozen from R (tests/reference/effect_sizes.R)."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alliance_meta.effect_sizes import conversions as core
from alliance_meta.effect_sizes import convert_effects

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "effect_sizes.json").read_text(encoding="utf-8")
)
CASES = REFERENCE["conversions"]

# both sides compute in doubles; the longest chain (n or R² recovered from p) loses 4-5 digits
RELATIVE = 1e-10


def one_row(cells):
    names = {"effect_id": ["e1"], "study_id": ["s1"], "sample_id": ["s1"]}
    return pd.DataFrame({**names, **{name: [cell] for name, cell in cells.items()}})


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_route_agrees_with_r(case):
    result = convert_effects(one_row(case["row"]))
    assert [p for p in result.problems if p.severity == "error"] == []
    row = result.table.iloc[0]
    found = {"r": row["r"], "var_r": row["vr"], "z": row["z"], "var_z": row["vz"]}
    assert found == pytest.approx(case["expected"], rel=RELATIVE)
    assert (row["yi"], row["vi"]) == (row["z"], row["vz"])
    on_r = convert_effects(one_row(case["row"]), metric="r").table.iloc[0]
    assert (on_r["yi"], on_r["vi"]) == (row["r"], row["vr"])


def test_references_cover_every_type_but_generic():
    covered = {case["row"]["effect_type"] for case in CASES}
    assert covered == {
        *("r", "fisher_z", "spearman_rho", "partial_r", "semipartial_r", "beta", "d", "g"),
        *("odds_ratio", "log_odds_ratio", "t", "F", "chi2", "p", "eta2", "r2"),
    }


class TestArrays:
    def test_arrays_broadcast(self):
        r = np.array([0.1, -0.5, 0.8])
        converted = core.convert_r(r, 50)
        assert converted.z == pytest.approx(np.arctanh(r), rel=1e-15)
        assert np.broadcast_to(converted.var_z, 3) == pytest.approx(np.full(3, 1 / 47), rel=1e-15)
        each = [core.convert_r(float(x), 50).var_r for x in r]
        assert converted.var_r == pytest.approx(np.array(each), rel=1e-15)

    def test_beta_imputation_follows_each_sign(self):
        imputed = core.impute_r_from_beta(np.array([-0.2, 0.0, 0.2]))
        assert imputed == pytest.approx([-0.2, 0.05, 0.25], rel=1e-15)


class TestDomains:
    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: core.convert_r(1.0, 50), "between -1 and 1"),
            (lambda: core.convert_r(0.3, 3), "n must be above 3"),
            (lambda: core.convert_partial_r(0.3, 6, 3), "plus the number of covariates"),
            (lambda: core.convert_fisher_z(0.3), "n or its sampling variance"),
            (lambda: core.convert_fisher_z(30.0, 50), "between -1 and 1"),
            (lambda: core.convert_spearman_rho(0.3, 3), "n must be above 3"),
            (lambda: core.convert_semipartial_r(0.3, 3, 0.2), "n must be above 3"),
            (lambda: core.convert_semipartial_r(0.5, 50, 0.2), "R² of the model"),
            (lambda: core.convert_beta(0.96, 50), "between -1 and 1"),
            (lambda: core.convert_beta(0.3), "n or its sampling variance"),
            (lambda: core.convert_d(0.3, 0.0), "variance must be above 0"),
            (lambda: core.convert_chi2(-1.0, 1, 50), "must not be negative"),
            (lambda: core.convert_chi2(60.0, 1, 50), "between -1 and 1"),
        ],
    )
    def test_out_of_range_is_refused(self, call, message):
        with pytest.raises(ValueError, match=message):
            call()


class TestHelpers:
    def test_small_sample_factor_is_near_the_exact_one(self):
        for df in (5, 20, 100):
            exact = math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / math.sqrt(df / 2)
            # Hedges (1981) gives .007 as the largest error of the approximation
            assert core.small_sample_factor(df) == pytest.approx(exact, abs=0.003)

    def test_one_sided_p_beyond_half_counts_as_its_complement(self):
        assert core.two_sided_p(0.02, 1) == pytest.approx(0.04)
        assert core.two_sided_p(0.98, 1) == pytest.approx(0.04)
        assert core.two_sided_p(0.98, 2) == 0.98

    def test_p_of_one_is_t_of_zero(self):
        assert core.t_from_p(1.0, 40) == 0

    @pytest.mark.parametrize(("r", "p"), [(0.0, 0.5), (0.3, 1.0), (0.3, 0.0), (0.999, 0.9)])
    def test_n_from_p_that_cannot_be_is_none(self, r, p):
        assert core.n_from_p(r, p) is None
