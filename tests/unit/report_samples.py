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
    first = model()
    second = moderator_model()
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
    }
    return ReportContent(**(fields | changes))
