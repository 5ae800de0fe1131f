"""Codes in a reader's words."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from alliance_meta.codebook import Codebook
from alliance_meta.figures.wording import humanise
from alliance_meta.formatting import MINUS, format_effect, format_interval

OVERALL = "overall"
# stands in a cell that has no number
EMPTY = "–"

# how an effect became a correlation: what was done, keys of styles/method_references.json
CONVERSIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "r": ("correlation, used as reported", ()),
    "fisher_z": ("Fisher's z, turned into a correlation", ("fisher1921",)),
    "spearman_rho": ("rank correlation, taken as a correlation", ("bonett2000",)),
    "partial_r": ("partial correlation, used as reported", ("aloe2013",)),
    "semipartial_r": ("semipartial correlation, used as reported", ("aloe2012",)),
    "beta_single_predictor": ("standardised coefficient of a single predictor, a correlation", ()),
    "beta_peterson_brown_2005": (
        "correlation imputed from a standardised regression coefficient",
        ("peterson2005",),
    ),
    "d_borenstein_2009": ("correlation from Cohen's d", ("borenstein2009",)),
    "g_to_d_borenstein_2009": ("correlation from Hedges' g", ("borenstein2009",)),
    "odds_ratio_hasselblad_hedges_1995": (
        "correlation from an odds ratio, by way of d",
        ("hasselblad1995", "borenstein2009"),
    ),
    "log_odds_ratio_hasselblad_hedges_1995": (
        "correlation from a log odds ratio, by way of d",
        ("hasselblad1995", "borenstein2009"),
    ),
    "t_to_r": ("correlation from a t statistic", ("rosenthal1991",)),
    "t_to_partial_r": ("partial correlation from a t statistic", ("rosenthal1991",)),
    "f_to_r": ("correlation from an F statistic", ("rosenthal1991",)),
    "f_to_partial_r": ("partial correlation from an F statistic", ("rosenthal1991",)),
    "chi2_to_phi": ("phi coefficient from a chi-squared", ("rosenthal1991",)),
    "r_equivalent_rosenthal_rubin_2003": (
        "correlation equivalent to a p-value",
        ("rosenthal2003",),
    ),
    "eta2_to_r": ("correlation from eta squared", ()),
    "partial_eta2_to_partial_r": ("partial correlation from partial eta squared", ()),
    "r2_to_r": ("correlation from explained variance", ()),
    "r2_to_semipartial_r": (
        "semipartial correlation from explained variance",
        ("aloe2012",),
    ),
    "generic": ("used on its own scale, with its own standard error", ()),
}

FLAGS = {
    "sign_turned": "sign turned round, so that positive means a better outcome",
    "covariates_unknown": "number of covariates not reported, none assumed",
    "p_sides_assumed": "p-value taken as two-sided",
    "n_derived": "sample size worked out from other numbers",
    "df_from_n": "degrees of freedom worked out from the sample size",
    "variance_as_reported": "sampling variance as reported",
    "variance_as_r": "sampling variance taken as that of a correlation",
    "variance_from_p": "sampling variance worked out from the p-value",
    "model_r2_unknown": "explained variance of the whole model not reported, cautious value used",
    "model_r2_derived": "explained variance of the whole model worked out from the p-value",
    "beta_imputed": "imputed from a standardised coefficient",
    "beta_outside_range": "coefficient outside the range the imputation was made for",
    "equal_groups_assumed": "groups taken as equally large",
    "correction_not_undone": "small-sample correction could not be undone",
}

# ‘client’ and 'client', but no apostrophe
_QUOTED = re.compile(r"‘([^‘’]*)’|(?<![\w'])'([^']+)'(?!\w)")
# "rater: ‘supervisor’ (1 study) was counted under ‘other’", as notes on merged levels read
_MERGED = re.compile(r"(?P<column>\w+(?: \w+)*): (?=[‘“])")
_CATEGORY = re.compile(r"(?:C\()?(?P<name>\w+)(?:[,)][^\[]*)?\[(?:T\.)?(?P<level>.+)\]")


def capitalise(text: str) -> str:
    """Return the text with a capital first letter; symbols as in "t statistic" stay small."""
    return text[:1].upper() + text[1:] if text[1:2].islower() else text


def describe_conversion(code: str) -> str:
    """Return how an effect was converted, in words."""
    return CONVERSIONS[code][0] if code in CONVERSIONS else humanise(code)


def describe_flags(flags: str) -> list[str]:
    """Return the flags of an effect ("n_derived;sign_turned") in words."""
    names = [name.strip() for name in flags.split(";")]
    return [FLAGS.get(name, humanise(name)) for name in names if name]


def is_correlation(metric: str) -> bool:
    """Return whether results of this metric are correlations."""
    return metric != "generic"


def name_effect(metric: str) -> str:
    """Return the symbol of an effect: r for correlations, else "effect"."""
    return "r" if is_correlation(metric) else "effect"


def describe_level_of_confidence(ci_level: float) -> str:
    """Return a confidence level as "95 %", in one piece at the end of a line."""
    return f"{100 * ci_level:g}\N{NO-BREAK SPACE}%"


def describe_estimate(value: float, low: float, high: float, metric: str) -> str:
    """Return ".31 [.10, .49]"; an en dash if there is no estimate."""
    if math.isnan(value):
        return EMPTY
    return f"{format_effect(value, metric)} {format_interval(low, high, metric)}".strip()


def print_reported(value: float) -> str:
    """Print a number as a study reports it, with a true minus sign."""
    return f"{value:.10g}".replace("-", MINUS)


@dataclass(frozen=True)
class Labels:
    """Readers' words for columns, codes, levels and model terms."""

    codebook: Codebook

    def column(self, name: str) -> str:
        """Return a column's name as words: "outcome_domain" -> "Outcome domain"."""
        return capitalise(humanise(name))

    def value(self, column: str, code: str) -> str:
        """Return the label of a code; abbreviations keep their code in parentheses."""
        label = self.codebook.label(column, code)
        if label == code:
            return code
        # BDI means more to many readers than its long name; snake_case codes to none
        if any(letter.isupper() for letter in code) and code not in label:
            return f"{label} ({code})"
        return label

    def short(self, column: str, code: str) -> str:
        """Return an abbreviation as it is ("WAI"), any other code in words."""
        if any(letter.isupper() for letter in code):
            return code
        return self.codebook.label(column, code)

    def level(self, level: str) -> str:
        """Return a level of ``summary.csv``: "rater=client" -> "Rater: client"."""
        if level == OVERALL:
            return "All studies"
        column, separator, code = level.partition("=")
        if not separator:
            return level
        return f"{self.column(column)}: {self.value(column, code)}"

    def term(self, term: str) -> str:
        """Return a model term: "rater[T.therapist]" -> "Rater: therapist"."""
        # a colon outside brackets joins the factors of an interaction
        return " × ".join(self._factor(part) for part in re.split(r":(?![^\[]*\])", term))

    def sentence(self, sentence: str, names: Iterable[str] = ()) -> str:
        """Return a sentence with levels and terms put in words, and quotes made alike.

        Parameters
        ----------
        sentence
            A sentence of an analysis.
        names
            Levels and terms that it may name; those whose code the codebook knows are found
            without.
        """
        # long names first, so that none is cut by one it contains
        for name in sorted(names, key=len, reverse=True):
            sentence = sentence.replace(name, self.term(name) if "[" in name else self.level(name))
        sentence = self._known_level.sub(lambda found: self.level(found.group()), sentence)
        merged = _MERGED.match(sentence)
        if merged:
            column = merged["column"].replace(" ", "_")
            sentence = f"{self.column(column)}: {sentence[merged.end() :]}"
            return _QUOTED.sub(lambda found: f"“{self.value(column, _inside(found))}”", sentence)
        return _QUOTED.sub(lambda found: f"“{_inside(found)}”", sentence)

    @cached_property
    def _known_level(self) -> re.Pattern[str]:
        """What finds "rater=client" for every code of every coded column."""
        parts = []
        for name in self.codebook.columns:
            vocabulary = self.codebook.vocabulary_of(name)
            if vocabulary is not None:
                codes = sorted(vocabulary.terms, key=len, reverse=True)
                parts.append(f"{name}=(?:{'|'.join(map(re.escape, codes))})")
        return re.compile(rf"\b(?:{'|'.join(parts)})(?!\w)")

    def _factor(self, factor: str) -> str:
        category = _CATEGORY.fullmatch(factor)
        if category:
            return self.level(f"{category['name']}={category['level']}")
        return self.column(factor) if factor in self.codebook.columns else factor


def _inside(quoted: re.Match[str]) -> str:
    return quoted[1] if quoted[2] is None else quoted[2]
