"""What each method against publication bias makes of the result."""

import pandas as pd
from matplotlib.figure import Figure

from alliance_meta.figures.strips import LOOKS, Reference, Strip, draw_strips, key_of
from alliance_meta.figures.wording import clean

ROW_HEIGHT = 0.2  # inches
# cell of conclusion_holds -> (look, words)
CONCLUSIONS = {
    "yes": ("holds", "holds"),
    "no": ("fails", "does not hold"),
    "unclear": ("unclear", "unclear"),
}
KEY_WORDS = {
    "holds": "The conclusion holds",
    "fails": "The conclusion does not hold",
    "unclear": "Unclear",
}


def find_conclusion(cell: object) -> tuple[str, str]:
    """Return look and words of a cell of ``conclusion_holds``."""
    word = clean(cell).lower()
    return next(
        (CONCLUSIONS[name] for name in CONCLUSIONS if word.startswith(name)), CONCLUSIONS["unclear"]
    )


def draw_bias_panel(
    table: pd.DataFrame,
    reference: Reference,
    *,
    title: str,
    metric: str = "fisher_z",
    ci_level: float = 0.95,
) -> Figure:
    """Draw the analysis itself and, below, the result of every method.

    Parameters
    ----------
    table
        method, assumption, estimate, ci_low, ci_high on the reporting scale,
        conclusion_holds (yes, no or unclear). A row without an estimate keeps its words.
    reference
        The analysis itself, drawn on top.
    title
        Heading of the figure.
    metric
        fisher_z or r (correlations are shown), or generic.
    ci_level
        Level of the intervals.

    Returns
    -------
    matplotlib.figure.Figure
        One page, 7.5 inches wide, as high as its rows need.

    Raises
    ------
    ValueError
        If the metric is unknown.
    """
    strips = [
        Strip(
            "This analysis",
            reference.estimate,
            reference.low,
            reference.high,
            after=("",),
            look="reference",
        )
    ]
    for row in table.to_dict("records"):
        look, words = find_conclusion(row["conclusion_holds"])
        name = clean(row["method"]).replace("_", " ")
        strips.append(
            Strip(
                # "p-uniform" keeps its small letter
                name if name[1:2] == "-" else name[:1].upper() + name[1:],
                float(row["estimate"]),
                float(row["ci_low"]),
                float(row["ci_high"]),
                after=(words,),
                remark=clean(row["assumption"]),
                look=look,
            )
        )
    used = {strip.look for strip in strips}
    return draw_strips(
        strips,
        title=f"{title}: methods against publication bias",
        headers=["Method and what it assumes"],
        after=["Conclusion"],
        note="Dashed line and band: this analysis with its confidence interval.",
        reference=reference,
        metric=metric,
        ci_level=ci_level,
        key=[key_of(look, KEY_WORDS[look]) for look in LOOKS if look in KEY_WORDS and look in used],
        row=ROW_HEIGHT,
    )
