"""The visual language of every figure: colours, letters and one explicit rc context."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import matplotlib.style
import seaborn as sns

FONT = "DejaVu Sans"  # ships with matplotlib, so text has the same size on every machine
# tried in this order, where installed, for scripts that DejaVu Sans lacks
FALLBACK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Arial Unicode MS",
)

# seaborn's "colorblind" palette by name; figures never tell groups apart by colour alone
_PALETTE = sns.color_palette("colorblind").as_hex()
BLUE, ORANGE, GREEN, VERMILION = _PALETTE[0], _PALETTE[1], _PALETTE[2], _PALETTE[3]
INK = "#1b2530"
MUTED = "#5b6670"  # 5.9 : 1 on white
RULE = "#9aa5ae"
STRIPE = "#f3f6f8"

EFFECT = BLUE
LEVEL = GREEN
POOLED = VERMILION
PREDICTION = ORANGE

TEXT_SIZE = 7.0  # points
TITLE_SIZE = 9.5  # points
PAGE_WIDTH = 7.5  # inches: A4 less its margins
DPI = 300

_RC: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": TEXT_SIZE,
    "axes.linewidth": 0.7,
    "axes.titlelocation": "left",
    "axes.titlesize": TITLE_SIZE,
    "axes.titleweight": "bold",
    "axes.unicode_minus": True,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.family": ["sans-serif"],
    # only a font that is always there: the SVG backend adds the generic family itself
    "font.sans-serif": [FONT],
    "font.size": TEXT_SIZE,
    "lines.solid_capstyle": "butt",
    "pdf.fonttype": 42,
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "alliance-meta",
    # a study called "Cost $ and benefit $" is not a formula
    "text.parse_math": False,
    "text.color": INK,
    "xtick.bottom": True,
    "xtick.color": INK,
    "xtick.labelsize": TEXT_SIZE,
    "xtick.major.pad": 2.5,
    "xtick.major.size": 2.5,
    "xtick.major.width": 0.7,
    "ytick.left": True,
    "ytick.color": INK,
    "ytick.labelsize": TEXT_SIZE,
    "ytick.major.pad": 2.5,
    "ytick.major.size": 2.5,
    "ytick.major.width": 0.7,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw or save inside this context, so that a user's own matplotlibrc never matters.

    Letters that no installed font has are drawn as boxes without a warning; the SVG file
    keeps them as text.
    """
    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        matplotlib.style.use("default")
        matplotlib.rcParams.update(sns.axes_style("white"))
        matplotlib.rcParams.update(_RC)
        yield
