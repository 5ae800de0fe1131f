"""A small review for the tests of the report; every text can be made hostile."""

import pandas as pd

from alliance_meta.report import AnalysisContent, FigureContent, ReportContent

HOSTILE = (
    '<script>document.title="hacked"</script><img src=x onerror="document.title=\'hacked\'">'
    ' "onload="document.title=1" \' {{ 7 * 7 }} {% if x %} </style></title>]]>'
)

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="504pt" height="100pt" viewBox="0 0 504 100">'
    '<title id="key-result">A figure</title><script>parent.document.title="hacked"</script>'
    '<rect width="504" height="100" fill="#cde"/></svg>'
)

COEFFICIENT = {
    "term": "Intercept",
    "estimate": 0.3,
    "se": 0.05,
    "statistic": 6.0,
    "df": None,
    "p_value": 0.0004,
    "ci_low": 0.2,
    "ci_high": 0.4,
}


def summary_row(level="overall", estimate=0.291, low=0.197, high=0.38, pi=(-0.05, 0.55)):
    row = {"level": level, "k_studies": 3, "k_samples": 3, "k_effects": 4, "n_total": 1234}
    row |= {"estimate": estimate, "ci_low": low, "ci_high": high}
    return row | {"pi_low": pi[0], "pi_high": pi[1]}


def model(**changes):
    specification = {
        "model": "random_effects",
        "tau2": "REML",
        "inference": "knapp_hartung",
        "metric": "fisher_z",
        "rho": 0.6,
        "ci_level": 0.95,
        "prediction": "default",
        "moderators": "",
        "reference": {},
        "where": "",
        "separate_tau2": False,
        "scale": "",
        "rare_levels": "set_apart",
        "minimum_studies": 2,
        "missing_moderators": "leave_out",
        "attenuation": "observed",
        "reliability": {},
    }
    content = {
        "analysis": "overall",
        "title": "All studies",
        "specification": specification | changes.pop("specification", {}),
        "model_label": "random-effects model, REML estimate of τ²",
        "sentences": ["The pooled correlation over 3 studies was r = .29."],
        "warnings": [],
        "failure": "",
        "references": {},
        "set_apart": [],
        "withheld": {},
        "layers": {},
        "layer_sentences": {},
        "comparisons": [],
        "collinearity": [],
        "scale_coefficients": [],
        "study_estimates": [],
        "coefficients": [COEFFICIENT],
        "summary": [summary_row()],
        "heterogeneity": [
            {"parameter": "tau2", "estimate": 0.0213, "ci_low": 0.01, "ci_high": 0.06},
            {"parameter": "I2", "estimate": 71.2, "ci_low": 50.0, "ci_high": 87.4},
            {"parameter": "Q", "estimate": 12.345, "ci_low": None, "ci_high": None},
            {"parameter": "Q_df", "estimate": 3.0, "ci_low": None, "ci_high": None},
            {"parameter": "Q_p", "estimate": 0.0063, "ci_low": None, "ci_high": None},
        ],
        "inputs": {},
        "versions": {},
    }
    return content | changes


def moderator_model(**changes):
    content = model(
        analysis="by_rater",
        title="Who rates the alliance",
        specification={"moderators": "rater", "where": "relationship_element == 'alliance'"},
        references={"rater": "client"},
        set_apart=["rater=joint"],
        warnings=["rater=joint has effects from fewer than two studies: shown, not tested."],
        coefficients=[
            COEFFICIENT,
            COEFFICIENT | {"term": "rater[T.therapist]", "estimate": -0.0007, "df": 12.34},
        ],
        summary=[
            summary_row(),
            summary_row("rater=client"),
            summary_row("rater=therapist"),
            summary_row("rater=joint", 0.1, None, None, (None, None)),
        ],
    )
    content["heterogeneity"] = [
        *content["heterogeneity"],
        {"parameter": "QM", "estimate": 4.2, "ci_low": None, "ci_high": None},
        {"parameter": "QM_df1", "estimate": 1.0, "ci_low": None, "ci_high": None},
        {"parameter": "QM_df2", "estimate": 12.34, "ci_low": None, "ci_high": None},
        {"parameter": "QM_p", "estimate": 0.0421, "ci_low": None, "ci_high": None},
    ]
    return content | changes


def heterogeneity(**values):
    """Rows of parameters; a tuple is an estimate with its interval."""
    rows = []
    for name, value in values.items():
        estimate, low, high = value if isinstance(value, tuple) else (value, None, None)
        rows.append({"parameter": name, "estimate": estimate, "ci_low": low, "ci_high": high})
    return rows


def multilevel(content=None, **changes):
    """The model with variances between and within studies and robust inference."""
    content = content or model()
    specification = content["specification"] | {"model": "che", "inference": "cr2"}
    found = heterogeneity(
        tau2_between=(0.0171, 0.0035, 0.0412),
        tau2_within=(0.005, 0.0009, 0.0162),
        tau_between=(0.1308, 0.0592, 0.2030),
        tau_within=(0.0707, 0.03, 0.1273),
        tau=0.1487,
        I2=76.1,
        I2_between=58.9,
        I2_within=17.2,
        ICC=0.774,
        H2=4.179,
        Q=176.68,
        Q_df=60.0,
        Q_p=1.9e-13,
        log_likelihood=16.2,
        AIC=-26.4,
        AICc=-25.97,
        BIC=-20.12,
    )
    label = "correlated and hierarchical effects model, ρ = .60, REML estimate of τ²"
    fields = {"specification": specification, "heterogeneity": found, "model_label": label}
    return content | fields | changes


def comparison(level_a, level_b, difference=0.1, p=0.03, holm=0.09, **changes):
    row = {"moderator": "rater", "level_a": level_a, "level_b": level_b}
    row |= {"difference": difference, "se": 0.04, "statistic": 2.5, "df": 7.25}
    row |= {"p_value": p, "p_holm": holm, "ci_low": 0.01, "ci_high": 0.19}
    return row | changes


def resampled(name, exact=False, **p_values):
    """A layer of tests by resampling; ``omnibus`` and ``Intercept`` or a level of rater."""
    count = "permutations" if name == "permutation" else "replications"
    rows = []
    for key, p_value in p_values.items():
        term = key if key in ("omnibus", "Intercept") else f"rater[T.{key}]"
        row = {"term": term, "statistic": 2.0, "p_value": p_value, count: 32 if exact else 10000}
        rows.append(row | {"exact": exact})
    return {name: rows}


def with_tests(content=None, text="", **changes):
    """A moderator model whose p-values are partly withheld, with what stands beside them."""
    content = content or moderator_model()
    withheld = {"rater[T.therapist]": f"it rests on only 1.5 degrees of freedom{text}"}
    fields = {
        "withheld": withheld | {"omnibus": f"4.4 studies stand behind each coefficient{text}"},
        "layers": resampled("wild_bootstrap", therapist=0.0044, omnibus=0.0243),
        "layer_sentences": {"resampling": [f"A note on rater=client.{text}"]},
        "comparisons": [
            comparison("client", f"therapist{text}"),
            comparison("client", "joint"),
            comparison("therapist", "joint"),
        ],
        "collinearity": [
            {"term": f"rater{text}", "df": 2, "vif": 1.75, "vif_scaled": 1.15},
            {"term": "year", "df": 1, "vif": 1.75, "vif_scaled": 1.323},
        ],
    }
    return content | fields | changes


def with_layers(content=None, text="", **changes):
    """A model with all that can stand beside the mean."""
    content = content or model()
    sweep = [
        {
            "reliability_alliance": alliance,
            "reliability_outcome": outcome,
            "k_studies": 3,
            "k_effects": 4 if alliance == 1 else 3,
            "estimate": 0.3 / (alliance * outcome) ** 0.5,
            "ci_low": 0.2,
            "ci_high": 0.5,
        }
        for alliance in (0.7, 1.0)
        for outcome in (0.8, 1.0)
    ]
    moments = {"k": 37.0, "n_total": 4558.0, "mean": 0.236, "se": 0.0237}
    moments |= {"ci_low": 0.19, "ci_high": 0.282, "var_observed": 0.0208}
    moments |= {"percent_error": 35.1, "credibility_low": 0.087, "credibility_high": 0.3848}
    moments |= {f"unheard_of{text}": 0.5}
    posterior = [
        {"parameter": name, "median": m, "ci_low": low, "ci_high": high, "mean": m, "sd": 0.03}
        for name, m, low, high in (
            ("mean", 0.296, 0.239, 0.3548),
            ("new_study", 0.295, -0.0004, 0.549),
            ("tau", 0.1463, 0.0987, 0.2132),
            (f"other{text}", 0.1, 0.0, 0.2),
        )
    ]
    versions = [
        {"version": version, "k_studies": 3, "k_effects": k, "pi_low": None, "pi_high": None}
        | {"level": f"overall{text}", "estimate": r, "ci_low": r - 0.1, "ci_high": r + 0.1}
        for version, k, r in (("observed", 4, 0.29), ("corrected", 3, 0.36))
    ]
    rules = [
        {"side": f"alliance{text}", "rule": "coded", "k_effects": 3, "k_studies": 2}
        | {"reliability_mean": 0.87},
        {"side": "outcome", "rule": "none", "k_effects": 4, "k_studies": 3}
        | {"reliability_mean": 1.0},
    ]
    fields = {
        "study_estimates": [
            {"study_id": "s1", "label": f"Horvath (1991){text}", "k_effects": 2, "level": None}
            | {"estimate": 0.27, "se": 0.1, "ci_low": 0.08, "ci_high": 0.44}
        ],
        "layers": {
            **resampled("permutation", exact=True, Intercept=0.03125),
            "attenuation": versions,
            "attenuation_sweep": sweep,
            "reliabilities": rules,
            "hunter_schmidt": [
                {"parameter": name, "bare_bones": value, "corrected": None}
                for name, value in moments.items()
            ],
            "posterior": posterior,
            "posterior_probabilities": [
                {"threshold": 0.1, "mean_exceeds": 0.9999, "new_study_exceeds": 0.912},
                {"threshold": 0.3, "mean_exceeds": 0.44, "new_study_exceeds": 0.0001},
            ],
        },
        "layer_sentences": {
            "attenuation": [f"No reliability is coded for instrument=HAq.{text}"],
            "hunter_schmidt": [f"The mean observed correlation was .24.{text}"],
            "posterior": [f"The posterior median is .30.{text}"],
        },
    }
    return content | fields | changes


MODERATOR_SENTENCE = "Diagnosis ‘psychosis’ and treatment ‘medication’ occur only together."


def moderator_pairs(text=""):
    """Three moderators of which two cannot be told apart; a fourth without any value."""
    rows = [
        ("rater", "timing", "cramers_v", 0.83, 20, 34, 12, 5, "nested", f"A note.{text}"),
        ("rater", "year", "eta2", 0.31, 18, 30, None, None, None, None),
        ("timing", "year", "eta2", None, 2, 4, None, None, None, "No value for both."),
        ("setting", "year", "r", None, 0, 0, None, None, None, f"‘school’{text}"),
        ("diagnosis", "rater", "cramers_v", 1.0, 9, 12, 6, 3, "aliased", f"‘x’{text}"),
        ("diagnosis", "year", f"new{text}", -0.1, 9, 12, None, None, f"odd{text}", "n"),
    ]
    names = ("moderator_a", "moderator_b", "measure", "value", "k_studies", "k_effects")
    table = pd.DataFrame(rows, columns=[*names, "cells", "empty_cells", "flag", "note"])
    counts = ["k_studies", "k_effects", "cells", "empty_cells"]
    return table.astype({"value": float, **dict.fromkeys(counts, "Int64")})


def analysis(content=None, text="", **changes):
    content = content or model()
    figure = FigureContent(
        name="forest",
        title=f"Forest plot{text}",
        alt=f"Forest plot of four effects.{text}",
        caption=f"Squares are effects.{text}",
        pages=(SVG, SVG),
        files=(f"results/overall/figures/forest.svg{text}",),
    )
    fields = {
        "name": content["analysis"],
        "title": content["title"],
        "model": content,
        "included": pd.DataFrame(
            {"effect_id": ["e0", "e1", "e2", "e3"], "weight": [50.0, 30.0, 20.0, None]}
        ),
        "left_out": pd.DataFrame(columns=["effect_id", "study_id", "reason"]),
        "figures": (figure, *changes.pop("trust_figures", ())),
    }
    return AnalysisContent(**(fields | changes))


GOSH_QUANTITIES = ("minimum", "q025", "median", "q975", "maximum")


def table(columns, *rows):
    """A table from its columns, "a b c", and rows; text columns are strings as in a file."""
    found = pd.DataFrame(list(rows), columns=columns.split())
    return found.astype({name: "str" for name in found if found[name].dtype == object})


def trust_tables(text=""):
    """Tables on how sure a mean is, as they are read back from files."""
    mean = "estimate ci_low ci_high"
    return {
        "sensitivity_leave_one_out": table(
            f"unit left_out {mean} I2 term changes",
            ("study", "s1", 0.2, 0.05, 0.34, 40.0, "Intercept", ""),
            ("study", "s2", 0.25, -0.01, 0.48, 70.4, "Intercept", f"significance{text}"),
            ("study", f"s3{text}", 0.31, 0.2, 0.41, 71.0, "Intercept", ""),
            ("effect", "e1", 0.26, -0.02, 0.5, 70.0, "Intercept", "significance"),
        ),
        "sensitivity_influence": table(
            "effect_id rstudent cooks_distance cov_ratio weight dfbetas study_id influential",
            ("e0", 0.5, 0.1, 1.2, 50.0, 0.11, "s1", False),
            ("e2", 3.5, 0.9, 0.7, 30.0, 0.95, f"s2{text}", True),
        ),
        "sensitivity_influence_studies": table(
            "study_id rstudent cooks_distance cov_ratio weight dfbetas influential",
            ("s1", float("nan"), 0.1, 1.2, 50.0, 0.11, False),
            ("s2", 3.5, 0.04, 0.7, 30.0, 0.95, False),
        ),
        "sensitivity_baujat": table(
            "effect_id study_id x y",
            ("e0", "s1", 4.5, 0.01),
            ("e2", f"s2{text}", 0.5, 0.123),
        ),
        "sensitivity_cumulative": table(
            f"added k {mean} by value k_studies",
            *((f"s{i}{text}", i, 0.3, 0.1, 0.5, "year", 1990.0 + i, i) for i in range(1, 31)),
        ),
        "sensitivity_gosh_summary": table(
            "quantity value",
            *zip(
                (f"{kind}{name}" for kind in ("", "I2_") for name in GOSH_QUANTITIES),
                [0.1, 0.2, 0.3, 0.4, 0.5, 0.0, 10.0, 50.0, 80.0, 90.0],
                strict=True,
            ),
        ),
        "sensitivity_gosh_studies": table(
            "study_id mean_with mean_without difference", (f"s2{text}", 0.31, 0.27, 0.04)
        ),
        "sensitivity_rho": table(
            f"rho {mean} tau2_between tau2_within term changes",
            (0.0, 0.32, 0.22, 0.42, 0.02, 0.001, "Intercept", ""),
            (0.95, 0.28, 0.18, 0.38, 0.01, 0.012, "Intercept", ""),
        ),
        "sensitivity_leave_class_out": table(
            f"by left_out k_studies {mean} I2 term changes",
            ("conversion", "t_to_r", 2, 0.33, 0.2, 0.45, 60.0, "Intercept", ""),
            ("rater", f"client{text}", 1, 0.21, 0.1, 0.31, 60.0, "Intercept", "sign"),
        ),
        "sensitivity_weights": table(
            f"weights {mean} term",
            ("estimated", 0.3, 0.2, 0.4, "Intercept"),
            ("fixed", 0.24, 0.17, 0.31, "Intercept"),
            (f"other{text}", 0.36, 0.26, 0.46, "Intercept"),
        ),
        "sensitivity_power": table(
            "term new_studies se ci_low ci_high smallest_detectable information_share years",
            ("Intercept", 5, 0.04, 0.22, 0.38, 0.11, 62.5, 3.3),
            ("Intercept", 50, 0.02, 0.26, 0.34, 0.05, 94.3, float("nan")),
        ),
        "sensitivity_coders": table(
            "level first_coder second_coder resampled_median resampled_low resampled_high "
            "share_conclusion_changes",
            (f"overall{text}", 0.29, 0.35, 0.32, 0.28, 0.36, 0.001),
        ),
        "sensitivity_coder_disagreements": table(
            "effect_id study_id column first second",
            *((f"e{i}", "s1", "rater", f"client{text}", "therapist") for i in range(20)),
        ),
        "bias_egger": table(
            "variant slope se statistic df p_value limit_estimate limit_ci_low limit_ci_high",
            ("lm", 1.9, 0.39, 4.8, 59.0, 0.0004, 0.09, 0.01, 0.17),
            ("multilevel_cr2", 1.64, 0.62, 2.66, 15.2, 0.0175, 0.11, -0.05, 0.27),
            (f"new{text}", 1.0, 0.5, 2.0, float("nan"), 0.05, 0.1, 0.0, 0.2),
        ),
        "bias_rank": table("kendall_tau p_value exact k unit", (0.18, 0.131, True, 3, "study")),
        "bias_pet_peese": table(
            f"variant {mean} p_value slope slope_p chosen",
            ("pet", 0.11, -0.05, 0.27, 0.142, 1.64, 0.018, ""),
            ("conditional_wls", 0.17, 0.12, 0.22, 0.0001, 8.4, 0.001, f"peese{text}"),
        ),
        "bias_trim_and_fill": table(
            f"estimator side k0 k0_se {mean} chosen",
            ("L0", "left", 10, 3.9, 0.22, 0.15, 0.3, True),
            ("R0", f"right{text}", 0, float("nan"), 0.3, 0.2, 0.4, False),
        ),
        "bias_henmi_copas": table(f"{mean} tau2 k unit", (0.24, 0.16, 0.33, 0.02, 3, "study")),
        "bias_selection": table(
            f"model term {mean} p_value df method",
            ("3psm", "mu", 0.23, 0.15, 0.32, 0.004, float("nan"), "cluster_bootstrap"),
            ("3psm", "tau2", 0.022, 0.006, 0.047, float("nan"), float("nan"), "cluster_bootstrap"),
            ("3psm", "lrt", 10.58, *[float("nan")] * 3, 1.0, "likelihood_ratio"),
            (f"odd{text}", "mu", 0.2, 0.1, 0.3, 0.01, float("nan"), "hessian"),
        ),
        "bias_p_uniform": table(
            f"method {mean} p_value tau2 tau2_low tau2_high k_significant k p_bias",
            ("p_uniform_star", 0.28, 0.18, 0.36, 0.0001, 0.017, 0.006, 0.044, 2, 3, 0.605),
        ),
        # infinite ratios make a file's column one of texts
        "bias_worst_case": table(
            f"quantity {mean}",
            ("worst_case", "0.135", 0.05, 0.22),
            ("corrected_eta_10", "0.2", 0.14, 0.27),
            ("corrected_eta_10_common_effect", "0.9", 0.8, 0.95),
            ("s_value_estimate", "inf", float("nan"), float("nan")),
            ("s_value_interval", "7.25", float("nan"), float("nan")),
            (f"new{text}", "0.2", 0.1, 0.3),
        ),
        "bias_excess_significance": table(
            "unit k observed expected p_value", ("study", 3, 2, 1.94, 0.233)
        ),
        "bias_fail_safe": table(
            "method n_studies target note",
            ("rosenthal", "3903", float("nan"), f"weak: rests on p-values{text}"),
            ("orwin", "inf", 0.1, "weak"),
        ),
        "bias_panel": table(
            f"method assumption {mean} p_value conclusion_holds label",
            ("analysis", "no selection", 0.291, 0.197, 0.38, 0.0004, "yes", "the analysis itself"),
            ("pet", f"a line{text}", 0.113, -0.044, 0.264, 0.142, "no", f"PET{text}"),
            ("p_uniform_star", "chances", 0.273, 0.176, 0.349, 0.0001, "yes", "p-uniform*"),
            ("beta", "smooth", *[float("nan")] * 4, "unclear", "beta selection model"),
        ),
        "multiverse_options": table(
            "choice option specifications median share_significant conclusion_moves pairs base "
            "reason",
            ("tau2", "REML", 2, 0.314, 1.0, 0.0, 0, "yes", f"Nearly unbiased.{text}"),
            ("tau2", f"PM{text}", 2, 0.32, 0.5, 0.25, 4, "no", "No shape assumed."),
        ),
        "multiverse_variance": table(
            "choice share_of_variance", ("tau2", 0.454), (f"rest{text}", 0.546)
        ),
    }


def moderator_trust_tables(text=""):
    """Tables on how sure the coefficients of a moderator model are."""
    mean = "estimate ci_low ci_high"
    therapist = "rater[T.therapist]"
    return {
        "sensitivity_leave_one_out": table(
            f"unit left_out {mean} I2 term changes",
            ("study", f"s1{text}", 0.31, 0.2, 0.42, 40.0, "Intercept", ""),
            ("study", "s2", 0.0025, -0.1, 0.1, 40.0, therapist, "sign"),
        ),
        "sensitivity_rho": table(
            f"rho {mean} tau2_between tau2_within term changes",
            (0.0, 0.32, 0.22, 0.42, 0.02, 0.001, therapist, ""),
            (0.95, 0.28, 0.18, 0.38, 0.01, 0.012, therapist, "significance"),
        ),
        "sensitivity_weights": table(
            f"weights {mean} term",
            ("estimated", 0.0123, -0.1, 0.12, therapist),
            ("fixed", 0.0456, -0.1, 0.19, therapist),
        ),
        "sensitivity_detectable": table(
            "comparison kind smallest_detectable_reported power_small studies_needed difference "
            "level_a level_b",
            ("Intercept", "mean", 0.08, 0.9, 1.0, 0.1, None, None),
            ("a", "level pair", 0.113, 0.73, 3.0, 0.11, "rater=client", f"rater=therapist{text}"),
        ),
        "bias_egger": table(
            "variant slope se statistic df p_value limit_estimate limit_ci_low limit_ci_high",
            ("multilevel_cr2", 1.23, 0.79, 1.54, 11.8, 0.15, *[float("nan")] * 3),
        ),
        "bias_selection": table(
            f"model term {mean} p_value df method",
            ("3psm", "Intercept", 0.25, 0.15, 0.36, 0.005, float("nan"), "cluster_bootstrap"),
            ("3psm", therapist, 0.0086, -0.127, 0.153, 0.888, float("nan"), "cluster_bootstrap"),
            ("3psm", "tau2", 0.02, 0.0, 0.04, float("nan"), float("nan"), "cluster_bootstrap"),
            (f"beta{text}", "Intercept", 0.3, 0.1, 0.4, 0.01, float("nan"), "hessian"),
        ),
        "bias_panel": table(f"method assumption {mean} p_value conclusion_holds label"),
    }


AGREEMENT = "Nine of eleven corrections leave the conclusion unchanged; PET does not."


def trust_fields(text=""):
    """What an analysis of a mean knows of how sure it is."""
    return {
        "trust": trust_tables(text),
        "sensitivity": {
            "sentences": {
                "leave_one_out": [f"The result is lowest without s1 and highest without s3.{text}"],
                "influence": [f"Of 4 effects, 1 is influential: e2 of s2; e0 is not.{text}"],
                "baujat": [f"Of 3 studies, s2 adds most to Q.{text}"],
                "gosh": ["100 subsets were fitted.", "There is one peak."],
                "cumulative": ["Added by year, the result settles.", "A folded sentence."],
                "rho": ["No sign changes."],
                "leave_class_out": [
                    "Leaving out one conversion route at a time, it is lowest (without t_to_r).",
                    "Without rater client, the mean changes in sign.",
                ],
                "weights": ["With fixed weights it is smaller."],
                "coders": [f"Both coders coded 4 effects.{text}"],
                "power": ["5 more studies would make it [.22, .36]."],
            },
            "settings": {"power": {"power": 0.9}},
        },
        "bias": {
            "sentences": {
                "funnel": ["4 effects lie in these zones."],
                "egger": ["Effects rise with their standard errors.", "Folded on Egger."],
                "rank_test": ["Kendall's τ = .18."],
                "worst_case": ["2 of 4 effects are affirmative."],
                "selection": [f"Selection {i}.{text}" for i in range(5)],
                "p_uniform": ["Switched off in the configuration."],
                "panel": [f"{AGREEMENT}{text}"],
            },
            "settings": {},
        },
        "multiverse": {"sentences": {"multiverse": [f"2 choices make 4 combinations.{text}"]}},
    }


def moderator_trust_fields(text=""):
    """The same for an analysis with moderators, for which much is not defined."""
    return {
        "trust": moderator_trust_tables(text),
        "sensitivity": {
            "sentences": {
                "leave_one_out": [
                    f"What is concluded about rater[T.therapist] changes without s2 (sign).{text}",
                    "What is concluded about Intercept stays.",
                ],
                "cumulative": [
                    "The cumulative analysis is of a mean; this analysis has moderators."
                ],
                "gosh": ["GOSH is of a mean; this analysis has moderators."],
                "baujat": [f"Not computed: too few studies{text}."],
                "influence": [f"Not computed: too few studies{text}."],
                "weights": [],
            },
            "settings": {"cumulative": True},
        },
        "bias": {
            "sentences": {
                "egger": ["Effects do not clearly rise with their standard errors."],
                "trim_and_fill": [
                    "Trim and fill is of one mean; with moderators in the model it is not defined."
                ],
                "fail_safe": [
                    "Fail-safe numbers are of one mean; with moderators they are not defined."
                ],
                "rank_test": ["Switched off in the configuration."],
                "panel": [
                    "The panel of corrections is of one mean; with moderators in the model there "
                    "is none to correct."
                ],
            },
            "settings": {"rank_test": False},
        },
    }


def trust_figure(name, analysis="overall", text=""):
    return FigureContent(
        name=name,
        title=f"The {name} figure{text}",
        alt=f"A {name} figure.{text}",
        caption=f"What {name} shows.{text}",
        pages=(SVG,),
        files=tuple(f"results/{analysis}/figures/{name}.{end}{text}" for end in ("svg", "pdf")),
        part="trust",
    )


def reference(key, family="Horvath", year=1991, **fields):
    item = {
        "id": key,
        "type": "article-journal",
        "author": [{"family": family, "given": "Adam O."}],
        "issued": {"date-parts": [[year]]},
        "title": "Alliance and outcome",
        "container-title": "Journal of Counseling Psychology",
        "volume": "38",
        "issue": "2",
        "page": "139-149",
        "DOI": "10.1037/0022-0167.38.2.139",
    }
    return item | fields


def effects(make_effects, text=""):
    """Four effects of three studies, and one that is excluded."""
    table = make_effects(
        [0.3, 0.2, 0.4, 0.1, 0.5],
        [0.01, 0.02, 0.01, 0.03, 0.01],
        ["s1", "s1", "s2", "s3", "s4"],
        conversion=["r", "beta_peterson_brown_2005", "r", "t_to_r", None],
    )
    table.loc[4, ["yi", "vi", "r", "z", "vz", "vr"]] = float("nan")
    table["flags"] = pd.Series(["", "beta_imputed;n_derived", "", "n_derived", ""], dtype="str")
    table["citation_key"] = ["k1", "k1", "k2", "k3", "k4"]
    table["year"] = [1991.0, 1991.0, 2001.0, 2010.0, 2011.0]
    table["effect_type"] = ["r", "beta", "r", "t", "r"]
    table["effect_value"] = [0.3, 0.15, -0.4, 1.25, 0.5]
    table["exclude_reason"] = pd.Series([None] * 4 + [f"no sample size{text}"], dtype="str")
    table["rater"] = ["client", "client", "therapist", f"client{text}", "client"]
    table["instrument"] = pd.Series([f"WAI{text}", "WAI", "HAq", None, "WAI"], dtype="str")
    table["outcome_measure"] = f"BDI{text}"
    table["quote"] = f"r = .30{text}"
    table["page"] = f"p. 3{text}"
    table["source"] = [
        "https://example.org/a?b=1&c=2",
        f"https://example.org/{text}",
        "doi:10.1000/xyz",
        f"javascript:document.title='hacked'{text}",
        "the author's letter",
    ]
    return table


def report(make_effects, text="", **changes):
    """A whole review; ``text`` is added to every text that data can hold."""
    notes = pd.DataFrame(
        {
            "file": [f"data/raw/effects.csv{text}"],
            "sheet": [None],
            "row": pd.Series([7], dtype="Int64"),
            "column": ["n"],
            "value": [f"12{text}"],
            "problem": [f"Note: n is small.{text}"],
            "suggestion": [f"Check it.{text}"],
        }
    )
    first = with_layers(text=text)
    second = with_tests(text=text)
    if text:
        first = first | {
            "sentences": [f"Sentence{text}"],
            "warnings": [f"Warning{text}"],
            "model_label": f"model{text}",
        }
        second["specification"]["where"] = f"rater == '{text}'"
        second["summary"].append(summary_row(f"rater={text}"))
        second["references"] = {f"rater{text}": text}
        second["coefficients"].append(COEFFICIENT | {"term": f"rater[T.{text}]"})
        second["heterogeneity"].append({"parameter": text, "estimate": 1.0})
        second["heterogeneity"].append({"parameter": f"tau2[{text}]", "estimate": 1.0})
    left_out = pd.DataFrame({"effect_id": ["e9"], "study_id": ["s9"], "reason": [f"gap{text}"]})
    fields = {
        "title": f"Alliance and outcome{text}",
        "question": f"How strong is the association?{text}",
        "settings": {"metric": "fisher_z", "rho": 0.6, "ci_level": 0.95, "seed": 20181},
        "analyses": (
            analysis(
                first,
                text,
                trust_figures=(
                    trust_figure("funnel", text=text),
                    trust_figure("leave_one_out", text=text),
                ),
                **trust_fields(text),
            ),
            analysis(
                second,
                text,
                left_out=left_out,
                name=f"by_rater{text}",
                trust_figures=(trust_figure("funnel", "by_rater", text),),
                **moderator_trust_fields(text),
            ),
        ),
        "effects": effects(make_effects, text),
        "notes": notes,
        "references": (
            reference("k1"),
            reference("k2", f"Bordin{text}", 2001, title=f"A title{text}", DOI=f"10.1000/x{text}"),
            reference("k3", "Able", 2010, URL=f"javascript:alert(1){text}", DOI=""),
        ),
        "input_hashes": {f"data/raw/effects.csv{text}": "ab" * 32},
        "versions": {f"pandas{text}": f"3.1.1{text}"},
        "caution": f"Read this first{text}",
        "moderator_map": {
            "moderators": ["diagnosis", "rater", "setting", "timing", "year", f"more{text}"],
            "sentences": [f"{MODERATOR_SENTENCE}{text}"],
        },
        "moderator_pairs": moderator_pairs(text),
    }
    return ReportContent(**(fields | changes))
