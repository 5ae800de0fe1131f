"""The effect sizes table: columns, flags, routes chosen, and rows that cannot be converted."""

import math

import numpy as np
import pandas as pd
import pytest

from alliance_meta.effect_sizes import convert_effects, express_effects

PLACE = {"source_file": "effects.csv", "source_sheet": "", "source_row": 2}


def make_effects(*rows):
    """Build a checked effects table; cells not named are empty."""
    filled = [
        {"effect_id": f"e{i}", "study_id": "s1", "sample_id": "s1", **PLACE, "source_row": i + 1}
        | row
        for i, row in enumerate(rows, start=1)
    ]
    return pd.DataFrame(filled)


def convert_one(metric="fisher_z", **cells):
    result = convert_effects(make_effects(cells), metric=metric)
    return result.table.iloc[0], result.problems


def flags_of(**cells):
    row, problems = convert_one(**cells)
    assert not [p for p in problems if p.severity == "error"]
    return row["conversion"], set(str(row["flags"]).split(";")) - {"nan"}


class TestColumns:
    def test_order_of_the_contract(self):
        effects = make_effects({"effect_type": "r", "effect_value": 0.3, "n": 40.0, "site": "A"})
        table = convert_effects(effects).table
        assert list(table.columns) == [
            *("effect_id", "study_id", "sample_id", "yi", "vi", "r", "n", "conversion", "flags"),
            *("source_file", "source_sheet", "source_row", "effect_type", "effect_value"),
            *("site", "z", "vz", "vr"),
        ]

    def test_sheet_columns_named_like_results_are_kept_apart(self):
        row, _ = convert_one(effect_type="r", effect_value=0.3, n=40.0, z="Zurich", vi=9.0)
        assert row["z_in_sheet"] == "Zurich"
        assert row["vi_in_sheet"] == 9.0
        assert row["z"] == pytest.approx(math.atanh(0.3), rel=1e-15)

    def test_input_is_left_alone(self):
        effects = make_effects({"effect_type": "r", "effect_value": 0.3, "n1": 20.0, "n2": 20.0})
        before = effects.copy()
        convert_effects(effects)
        pd.testing.assert_frame_equal(effects, before)

    def test_index_is_kept(self):
        effects = make_effects(*[{"effect_type": "r", "effect_value": 0.3, "n": 40.0}] * 3)
        effects.index = pd.Index([7, 3, 5])
        table = convert_effects(effects).table
        assert list(table.index) == [7, 3, 5]
        assert table["yi"].notna().all()

    def test_empty_table(self):
        effects = make_effects({"effect_type": "r", "effect_value": 0.3, "n": 40.0}).iloc[:0]
        result = convert_effects(effects)
        assert len(result.table) == 0
        assert result.problems == []

    def test_csv_round_trip_keeps_every_bit(self, tmp_path):
        effects = make_effects({"effect_type": "p", "effect_value": 0.013, "n": 84.0} | SIGN)
        table = convert_effects(effects).table
        path = tmp_path / "effect_sizes.csv"
        table.to_csv(path, index=False, lineterminator="\n")
        back = pd.read_csv(path)
        for name in ("yi", "vi", "r", "z", "vz", "vr"):
            assert back[name].tolist() == table[name].tolist()

    def test_missing_required_columns_are_named(self):
        with pytest.raises(ValueError, match="lacks the column\\(s\\) effect_id, sample_id"):
            convert_effects(pd.DataFrame({"study_id": [], "effect_type": [], "effect_value": []}))

    def test_words_in_a_number_column_are_refused(self):
        with pytest.raises(ValueError, match="column 'n' must hold numbers only"):
            convert_effects(make_effects({"effect_type": "r", "effect_value": 0.3, "n": "forty"}))

    def test_unknown_metric_is_refused(self):
        with pytest.raises(ValueError, match="metric must be one of fisher_z, r, generic"):
            convert_effects(make_effects({"effect_type": "r", "effect_value": 0.3}), metric="z")


SIGN = {"effect_sign": "positive"}
R = {"effect_type": "r", "effect_value": 0.3}


class TestFlags:
    @pytest.mark.parametrize(
        ("cells", "conversion", "flags"),
        [
            (R | {"n": 40.0}, "r", set()),
            (R | {"n1": 20.0, "n2": 20.0}, "r", {"n_derived"}),
            (R | {"p_value": 0.03}, "r", {"n_derived", "p_sides_assumed"}),
            (R | {"n": 40.0, "outcome_direction": "higher_is_worse"}, "r", {"sign_turned"}),
            (R | {"n": 40.0, "outcome_direction": "higher_is_better"}, "r", set()),
            (
                {"effect_type": "partial_r", "effect_value": 0.3, "n": 40.0},
                "partial_r",
                {"covariates_unknown"},
            ),
            (
                {"effect_type": "semipartial_r", "effect_value": 0.3, "n": 40.0}
                | {"n_covariates": 1.0},
                "semipartial_r",
                {"model_r2_unknown"},
            ),
            (
                {"effect_type": "semipartial_r", "effect_value": 0.3, "n": 80.0}
                | {"n_covariates": 1.0, "p_value": 0.002},
                "semipartial_r",
                {"model_r2_derived", "p_sides_assumed"},
            ),
            # this p would need R² below sp²: it is of no use, and the bound is taken
            (
                {"effect_type": "semipartial_r", "effect_value": 0.3, "n": 80.0}
                | {"n_covariates": 1.0, "p_value": 0.05},
                "semipartial_r",
                {"model_r2_unknown"},
            ),
            (
                {"effect_type": "semipartial_r", "effect_value": 0.3, "n_covariates": 1.0}
                | {"variance": 0.01},
                "semipartial_r",
                {"variance_as_reported"},
            ),
            (
                {"effect_type": "beta", "effect_value": 0.3, "n": 40.0},
                "beta_peterson_brown_2005",
                {"beta_imputed", "covariates_unknown", "variance_as_r"},
            ),
            (
                {"effect_type": "beta", "effect_value": 0.6, "se": 0.1, "n_covariates": 1.0},
                "beta_peterson_brown_2005",
                {"beta_imputed", "beta_outside_range"},
            ),
            (
                {"effect_type": "beta", "effect_value": 0.6, "n": 40.0, "n_covariates": 0.0},
                "beta_single_predictor",
                set(),
            ),
            (
                {"effect_type": "d", "effect_value": 0.6, "n": 40.0},
                "d_borenstein_2009",
                {"equal_groups_assumed"},
            ),
            (
                {"effect_type": "d", "effect_value": 0.6, "n": 40.0, "n1": 15.0},
                "d_borenstein_2009",
                {"n_derived"},
            ),
            (
                {"effect_type": "d", "effect_value": 0.6, "n": 40.0, "n2": 15.0},
                "d_borenstein_2009",
                {"n_derived"},
            ),
            (
                {"effect_type": "g", "effect_value": 0.6, "se": 0.3},
                "g_to_d_borenstein_2009",
                {"equal_groups_assumed", "correction_not_undone"},
            ),
            (
                {"effect_type": "odds_ratio", "effect_value": 2.0, "p_value": 0.03, "n": 50.0},
                "odds_ratio_hasselblad_hedges_1995",
                {"equal_groups_assumed", "p_sides_assumed", "variance_from_p"},
            ),
            ({"effect_type": "t", "effect_value": 2.0, "n": 50.0}, "t_to_r", {"df_from_n"}),
            ({"effect_type": "t", "effect_value": 2.0, "df": 48.0}, "t_to_r", {"n_derived"}),
            (
                {"effect_type": "t", "effect_value": 2.0, "df": 46.0, "n": 50.0}
                | {"n_covariates": 2.0},
                "t_to_partial_r",
                set(),
            ),
            (
                {"effect_type": "F", "effect_value": 4.0, "df": 48.0, "n": 50.0} | SIGN,
                "f_to_r",
                set(),
            ),
            ({"effect_type": "F", "effect_value": 0.0, "df": 48.0, "n": 50.0}, "f_to_r", set()),
            ({"effect_type": "chi2", "effect_value": 4.0, "n": 50.0} | SIGN, "chi2_to_phi", set()),
            (
                {"effect_type": "p", "effect_value": 0.02, "n": 50.0} | SIGN,
                "r_equivalent_rosenthal_rubin_2003",
                {"df_from_n", "p_sides_assumed"},
            ),
            (
                {"effect_type": "eta2", "effect_value": 0.04, "n": 50.0} | SIGN,
                "eta2_to_r",
                {"covariates_unknown"},
            ),
            (
                {"effect_type": "r2", "effect_value": 0.04, "n": 50.0, "n_covariates": 1.0} | SIGN,
                "r2_to_semipartial_r",
                {"model_r2_unknown"},
            ),
        ],
    )
    def test_route_and_flags(self, cells, conversion, flags):
        assert flags_of(**cells) == (conversion, flags)

    @pytest.mark.parametrize(
        ("cells", "n"),
        [
            (R | {"n1": 20.0, "n2": 21.0}, 41),
            (R | {"df": 38.0}, 40),
            (R | {"se": 0.1}, round(0.91**2 / 0.01 + 1)),
            ({"effect_type": "spearman_rho", "effect_value": 0.3, "se": 0.1}, 90),
            (
                {
                    "effect_type": "spearman_rho",
                    "effect_value": 0.3,
                    "ci_low": 0.1,
                    "ci_high": 0.48,
                },
                # atanh limits .1003 and .5230: se .1078, 1.045/.01162 + 3
                93,
            ),
            ({"effect_type": "t", "effect_value": 2.0, "df": 46.0, "n_covariates": 2.0}, 50),
            ({"effect_type": "chi2", "effect_value": 4.0, "n1": 20.0, "n2": 20.0} | SIGN, 40),
            ({"effect_type": "fisher_z", "effect_value": 0.3, "variance": 0.01}, 103),
        ],
    )
    def test_derived_n_is_in_the_table_and_flagged(self, cells, n):
        row, _ = convert_one(**cells)
        assert row["n"] == n
        assert "n_derived" in row["flags"].split(";")

    def test_df_of_a_chi_squared_is_not_taken_for_its_n(self):
        _, problems = convert_one(
            effect_type="chi2", effect_value=4.0, df=1.0, effect_sign="positive"
        )
        assert [p.code for p in problems] == ["n_missing"]

    def test_effects_with_their_own_variance_need_no_n(self):
        # df of an odds ratio is that of its Wald test, and says nothing about n
        row, problems = convert_one(effect_type="log_odds_ratio", effect_value=0.5, se=0.2, df=9.0)
        assert problems == []
        assert math.isnan(row["n"])
        assert row["vi"] > 0


class TestOrientation:
    def test_unsigned_statistics_turn_too(self):
        as_printed = {
            "effect_type": "F",
            "effect_value": 4.0,
            "df": 48.0,
            "effect_sign": "negative",
        }
        row, _ = convert_one(**as_printed, outcome_direction="higher_is_worse")
        assert row["r"] == pytest.approx(2 / math.sqrt(52), rel=1e-14)

    def test_scoring_of_the_outcome_makes_no_difference_to_a_beta(self):
        turned, _ = convert_one(
            effect_type="beta", effect_value=-0.3, n=50.0, outcome_direction="higher_is_worse"
        )
        straight, _ = convert_one(effect_type="beta", effect_value=0.3, n=50.0)
        assert turned["r"] == straight["r"] == pytest.approx(0.35, rel=1e-15)
        assert turned["vi"] == straight["vi"]

    def test_turned_zero_is_no_negative_zero(self):
        row, _ = convert_one(
            effect_type="r", effect_value=0.0, n=50.0, outcome_direction="higher_is_worse"
        )
        assert str(row["r"]) == "0.0"


class TestGeneric:
    def test_keeps_its_own_scale(self):
        row, problems = convert_one("generic", effect_type="generic", effect_value=3.0, se=0.5)
        assert problems == []
        assert (row["yi"], row["vi"], row["conversion"]) == (3.0, 0.25, "generic")
        assert row[["r", "z", "vz", "vr"]].isna().all()

    def test_is_turned(self):
        row, _ = convert_one(
            "generic",
            effect_type="generic",
            effect_value=3.0,
            variance=0.25,
            outcome_direction="higher_is_worse",
        )
        assert (row["yi"], row["vi"], row["flags"]) == (-3.0, 0.25, "sign_turned")

    def test_interval_gives_the_variance(self):
        row, _ = convert_one(
            "generic", effect_type="generic", effect_value=3.0, ci_low=1.0, ci_high=5.0
        )
        # 1.959963984540054: the .975 quantile of the normal distribution
        assert row["vi"] == pytest.approx((4 / (2 * 1.959963984540054)) ** 2, rel=1e-12)

    def test_without_precision_is_an_error(self):
        row, problems = convert_one("generic", effect_type="generic", effect_value=3.0, n=40.0)
        assert math.isnan(row["yi"])
        assert row["n"] == 40
        assert [(p.column, p.problem, p.suggestion) for p in problems] == [
            (
                "variance",
                "An effect of type generic needs its own standard error or variance.",
                "Enter se, variance, or both confidence limits.",
            )
        ]

    def test_effects_are_expressed_on_the_metric_of_an_analysis(self):
        table = convert_effects(
            make_effects(
                {"effect_type": "r", "effect_value": 0.3, "n": 40.0},
                {"effect_type": "generic", "effect_value": 3.0, "se": 0.5},
            )
        ).table
        on_r = express_effects(table, "r")
        assert on_r["yi"].tolist()[0] == 0.3
        assert np.isnan(on_r["yi"].tolist()[1])
        generic = express_effects(table, "generic")
        assert np.isnan(generic["vi"].tolist()[0])
        assert generic["vi"].tolist()[1] == 0.25
        pd.testing.assert_series_equal(
            express_effects(on_r, "fisher_z")["yi"].iloc[:1], table["yi"].iloc[:1]
        )
        with pytest.raises(ValueError, match="metric must be one of"):
            express_effects(table, "d")


class TestExcludedRows:
    def test_stay_without_results_and_without_errors(self):
        row, problems = convert_one(
            effect_type="r", effect_value=1.7, n=40.0, exclude_reason="no usable statistic"
        )
        assert problems == []
        assert row[["yi", "vi", "r", "z", "vz", "vr", "conversion", "flags"]].isna().all()
        assert row["n"] == 40


REFUSED = [
    (
        {"effect_type": "r", "effect_value": 1.3, "n": 40.0},
        "effect_value",
        "1.3",
        "1.3 is not possible for a correlation, which lies between -1 and 1.",
        "If this is Fisher's z, code effect_type fisher_z; if it is another statistic, code its "
        "type; if the decimal point was lost, enter it.",
    ),
    (
        {"effect_type": "spearman_rho", "effect_value": 31.0, "n": 40.0},
        "effect_value",
        "31",
        "31 is not possible for a correlation, which lies between -1 and 1.",
        "If this is a percentage or the decimal point was lost, divide by 100 (0.31); if it is "
        "another statistic (t, F), code its type.",
    ),
    (
        {"effect_type": "partial_r", "effect_value": -1.0, "n": 40.0},
        "effect_value",
        "-1",
        "-1 is not possible for a correlation, which lies between -1 and 1.",
        "Check the printed value; no real correlation is perfect.",
    ),
    (
        {"effect_type": "semipartial_r", "effect_value": 400.0, "n": 40.0},
        "effect_value",
        "400",
        "400 is not possible for a correlation, which lies between -1 and 1.",
        "Check the printed value and effect_type.",
    ),
    (
        R | {"n": 3.0},
        "n",
        "3",
        "n is 3, but the sampling variance of a correlation needs n above 3.",
        "Check n and n_covariates; a smaller study cannot be pooled.",
    ),
    (
        {"effect_type": "partial_r", "effect_value": 0.3, "n": 6.0, "n_covariates": 3.0},
        "n",
        "6",
        "n is 6 with 3 covariates, but the sampling variance of a correlation needs n above 6.",
        "Check n and n_covariates; a smaller study cannot be pooled.",
    ),
    (
        R | {"df": 1.0},
        "n",
        "",
        "n, worked out from the other cells, is 3, but the sampling variance of a correlation "
        "needs n above 3.",
        "Check n and n_covariates; a smaller study cannot be pooled.",
    ),
    (
        R,
        "n",
        "",
        "n is empty and cannot be worked out from the other cells.",
        "Enter the number of persons behind this effect (or n1 and n2, or df); if the study does "
        "not report it, fill exclude_reason.",
    ),
    (
        {"effect_type": "d", "effect_value": 0.4},
        "n",
        "",
        "n is empty and cannot be worked out from the other cells.",
        "Enter the number of persons behind this effect (or n1 and n2, or df); if the study does "
        "not report it, fill exclude_reason.",
    ),
    (
        {"effect_type": "F", "effect_value": 4.0, "n": 40.0},
        "effect_sign",
        "",
        "The direction is unknown: a statistic of type F has no sign of its own and effect_sign is "
        "empty.",
        "Enter positive or negative, as the study reports it.",
    ),
    (
        {"effect_type": "t", "effect_value": -2.0, "n": 40.0, "effect_sign": "positive"},
        "effect_sign",
        "positive",
        "effect_sign is positive, but effect_value is -2.",
        "Leave effect_sign empty for statistics with a sign of their own, and enter the value with "
        "its printed sign.",
    ),
    (
        {"effect_type": "odds_ratio", "effect_value": 0.5, "se": 0.2, "effect_sign": "positive"},
        "effect_sign",
        "positive",
        "effect_sign is positive, but an odds ratio of 0.5 is below 1.",
        "Leave effect_sign empty for statistics with a sign of their own, and enter the value with "
        "its printed sign.",
    ),
    (
        {"effect_type": "F", "effect_value": -4.0, "n": 40.0} | SIGN,
        "effect_value",
        "-4",
        "-4 is not possible for an F statistic, which is never negative.",
        "Enter the value without sign and the direction in effect_sign, or check effect_type.",
    ),
    (
        {"effect_type": "eta2", "effect_value": 9.0, "n": 40.0, "n_covariates": 0.0} | SIGN,
        "effect_value",
        "9",
        "9 is not possible for eta squared, which is below 1.",
        "If this is a percentage, divide by 100.",
    ),
    (
        {"effect_type": "chi2", "effect_value": 40.0, "n": 40.0} | SIGN,
        "effect_value",
        "40",
        "A chi-squared of 40 is not possible with n = 40: the correlation would reach 1.",
        "Check n, and that the statistic has one degree of freedom.",
    ),
    (
        {"effect_type": "p", "effect_value": 0.0, "n": 40.0} | SIGN,
        "effect_value",
        "0",
        "0 cannot be used as a p-value: it must lie above 0 and not above 1.",
        "Enter the exact p-value; if only a bound such as p < .001 is printed, enter the bound.",
    ),
    (
        {"effect_type": "F", "effect_value": 4.0, "df": 1.0, "n": 40.0} | SIGN,
        "df",
        "1",
        "df is 1, but at least 2 residual degrees of freedom are needed.",
        "Enter the second (denominator) degrees of freedom: for F(1, 82) that is 82.",
    ),
    (
        {"effect_type": "t", "effect_value": 2.0, "df": 900.0, "n": 40.0},
        "df",
        "900",
        "df is 900, but n is only 40 persons.",
        "Check n and df. If the test counted sessions or items and not persons, leave df empty, so "
        "that n is used.",
    ),
    (
        {"effect_type": "t", "effect_value": 1e12, "n": 40.0},
        "effect_value",
        "1000000000000",
        "1000000000000 would become a correlation of 1.",
        "Check the printed value and effect_type.",
    ),
    (
        {"effect_type": "odds_ratio", "effect_value": -0.4, "se": 0.2},
        "effect_value",
        "-0.4",
        "-0.4 is not possible for an odds ratio, which is above 0.",
        "If this is the logarithm of an odds ratio, code effect_type log_odds_ratio.",
    ),
    (
        {"effect_type": "odds_ratio", "effect_value": 2.0, "n": 40.0},
        "se",
        "",
        "The sampling variance of the odds ratio cannot be worked out.",
        "Enter se or variance (of the log odds ratio), both confidence limits, or the exact "
        "p_value.",
    ),
    (
        {"effect_type": "fisher_z", "effect_value": 31.0, "n": 40.0},
        "effect_value",
        "31",
        "31 is not possible for Fisher's z: the correlation would be 1.",
        "Check the printed value and effect_type.",
    ),
    (
        {"effect_type": "semipartial_r", "effect_value": 0.5, "n": 40.0, "n_covariates": 1.0}
        | {"model_r2": 0.1},
        "model_r2",
        "0.1",
        "model_r2 is 0.1, less than what the alliance explains alone (0.250).",
        "Enter the R² of the whole model, with the alliance and all covariates.",
    ),
    (
        {"effect_type": "r", "n": 40.0, "effect_value": float("nan")},
        "effect_value",
        "",
        "effect_value is empty.",
        "Enter the statistic as printed, or say in exclude_reason why there is none.",
    ),
]


class TestRefusals:
    @pytest.mark.parametrize(
        ("cells", "column", "value", "problem", "suggestion"),
        REFUSED,
        ids=[f"{case[0]['effect_type']}-{case[1]}-{i}" for i, case in enumerate(REFUSED)],
    )
    def test_row_is_refused_in_a_reviewers_words(self, cells, column, value, problem, suggestion):
        row, problems = convert_one(**cells)
        assert [(p.column, p.value, p.problem, p.suggestion) for p in problems] == [
            (column, value, problem, suggestion)
        ]
        (found,) = problems
        assert (found.file, found.row, found.severity) == ("effects.csv", 2, "error")
        assert row[["yi", "vi", "r", "z", "vz", "vr", "conversion", "flags"]].isna().all()

    def test_beta_that_becomes_no_correlation(self):
        _, problems = convert_one(effect_type="beta", effect_value=2.4, n=40.0)
        errors = [p for p in problems if p.severity == "error"]
        assert [p.problem for p in errors] == [
            "A beta of 2.4 would become a correlation of 2.45, which is not possible."
        ]
        assert "not standardised" in errors[0].suggestion

    def test_unknown_type(self):
        _, problems = convert_one(effect_type="tau", effect_value=0.3, n=40.0)
        assert problems[0].problem == "'tau' is not a type of effect."
        assert "spearman_rho" in problems[0].suggestion

    def test_all_mistakes_of_a_row_are_told_at_once(self):
        _, problems = convert_one(effect_type="chi2", effect_value=-4.0)
        assert {p.code for p in problems} == {"negative_value", "sign_missing", "n_missing"}

    def test_a_bad_row_leaves_the_others_alone(self):
        result = convert_effects(
            make_effects(
                {"effect_type": "r", "effect_value": 1.3, "n": 40.0},
                {"effect_type": "r", "effect_value": 0.3, "n": 40.0},
            )
        )
        assert result.table["yi"].isna().tolist() == [True, False]


def test_five_thousand_rows_are_quick():
    import time

    effects = make_effects(*[case[0] for case in REFUSED], R | {"n": 40.0})
    many = pd.concat([effects] * 200, ignore_index=True)
    start = time.process_time()
    convert_effects(many)
    # CPU time, mostly 0.3 s; a quadratic step or a scipy.stats call per row takes far more
    assert time.process_time() - start < 4
