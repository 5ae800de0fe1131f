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
        "figures": (figure,),
    }
    return AnalysisContent(**(fields | changes))


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
            analysis(first, text),
            analysis(second, text, left_out=left_out, name=f"by_rater{text}"),
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
