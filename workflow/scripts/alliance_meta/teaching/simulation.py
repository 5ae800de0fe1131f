"""Reviews of alliance-outcome correlations whose truth is known.

Studies hold samples of persons, samples hold effects. The true effects are Fisher's z,

    θ = mu + moderators + u(study) + w(effect),  u ~ N(0, tau2_between),  w ~ N(0, tau2_within),

and the errors of the effects of one sample are correlated at ``rho``: the model that a
correlated and hierarchical effects analysis assumes (Pustejovsky & Tipton, 2022).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]
Numbers = NDArray[np.intp]
Seed = int | np.random.SeedSequence

DEPTHS = ("z", "persons")
SHEET_TYPES = ("r", "fisher_z")
# below this number of persons Fisher's z has no sampling variance
FEWEST_PERSONS = 4
# columns that the sheet fills itself
SHEET_COLUMNS = (
    "study_id",
    "sample_id",
    "effect_id",
    "effect_type",
    "effect_value",
    "n",
    "outcome_direction",
    "reliability_alliance",
    "reliability_outcome",
)


@dataclass(frozen=True)
class Counts:
    """A skewed number of things: 1 + a geometric number of further ones, capped.

    Attributes
    ----------
    mean
        Mean before the cap, at least 1.
    largest
        The cap, at least 1.
    """

    mean: float
    largest: int

    def __post_init__(self) -> None:
        if not 1 <= self.mean < math.inf:
            raise ValueError(f"the mean of counts must be at least 1, not {self.mean}")
        if self.largest < 1:
            raise ValueError(f"the largest count must be at least 1, not {self.largest}")


@dataclass(frozen=True)
class SampleSizes:
    """Persons per sample: log-normal, cut off at both ends.

    The defaults are close to the published studies of the alliance, which are mostly small.

    Attributes
    ----------
    median
        Median of the log-normal distribution before it is cut off.
    log_sd
        Standard deviation of log n before it is cut off, at least 0.
    smallest, largest
        Limits, both possible.
    """

    median: float = 70.0
    log_sd: float = 0.8
    smallest: int = 15
    largest: int = 1000

    def __post_init__(self) -> None:
        if self.smallest < FEWEST_PERSONS:
            raise ValueError(
                f"the smallest sample must hold at least {FEWEST_PERSONS} persons, "
                f"not {self.smallest}"
            )
        if not self.smallest <= self.median <= self.largest:
            raise ValueError(
                f"the median sample size, {self.median}, must lie between the smallest, "
                f"{self.smallest}, and the largest, {self.largest}"
            )
        if not 0 <= self.log_sd < math.inf:
            raise ValueError(f"log_sd must be at least 0, not {self.log_sd}")


@dataclass(frozen=True)
class Moderator:
    """A categorical moderator and what it truly does.

    Attributes
    ----------
    column
        Its name in the sheet, such as ``rater``.
    levels
        Two levels or more; the first is the reference.
    shares
        Share of the studies (or effects) at each level, above 0, summing to 1.
    contrasts
        True difference of each further level from the reference on Fisher's z; none by
        default.
    """

    column: str
    levels: tuple[str, ...]
    shares: tuple[float, ...]
    contrasts: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        name = f"moderator '{self.column}'"
        if self.column in SHEET_COLUMNS:
            raise ValueError(f"{name}: the sheet fills a column of that name itself")
        if not self.column.isidentifier():
            raise ValueError(f"{name}: a column name is made of letters, digits and _")
        if len(self.levels) < 2 or len(set(self.levels)) < len(self.levels):
            raise ValueError(f"{name} needs at least two levels, all different")
        if len(self.shares) != len(self.levels):
            raise ValueError(f"{name} has {len(self.levels)} levels but {len(self.shares)} shares")
        if not (min(self.shares) > 0 and math.isclose(sum(self.shares), 1)):
            raise ValueError(f"{name}: the shares must be above 0 and sum to 1")
        if self.contrasts and len(self.contrasts) != len(self.levels) - 1:
            raise ValueError(
                f"{name} needs {len(self.levels) - 1} contrasts with its reference, "
                f"not {len(self.contrasts)}"
            )
        if not np.all(np.isfinite(self.contrasts)):
            raise ValueError(f"{name}: a contrast is not a number")

    @property
    def effects(self) -> Array:
        """True difference of every level from the reference, shape (n_levels,)."""
        return np.array([0.0, *(self.contrasts or [0.0] * (len(self.levels) - 1))])


@dataclass(frozen=True)
class ReviewDesign:
    """What a simulated review looks like and what is true in it.

    Attributes
    ----------
    n_studies
        Number of studies.
    samples_per_study, effects_per_sample
        A number for all, or ``Counts``.
    sample_sizes
        ``SampleSizes``, or sizes that the samples take in turn, from the start again when
        there are more samples than sizes.
    mu
        True mean on Fisher's z at the reference levels of the moderators.
    tau2_between, tau2_within
        Variance of the true effects between studies and of effects within studies.
    rho
        Correlation of the sampling errors of the effects of one sample, in [0, 1].
    study_moderator, effect_moderator
        A moderator that is constant within a study, and one that varies within studies.
    reliability_alliance, reliability_outcome
        Range within which reliabilities are uniform: the alliance measure's for each sample,
        the outcome measure's for each effect. They attenuate the true correlations
        (Spearman, 1904); without them measures are perfect.

    Raises
    ------
    ValueError
        If no review can look like this.
    """

    n_studies: int = 40
    samples_per_study: int | Counts = 1
    effects_per_sample: int | Counts = 1
    sample_sizes: SampleSizes | tuple[int, ...] = SampleSizes()
    mu: float = 0.28
    tau2_between: float = 0.02
    tau2_within: float = 0.01
    rho: float = 0.6
    study_moderator: Moderator | None = None
    effect_moderator: Moderator | None = None
    reliability_alliance: tuple[float, float] | None = None
    reliability_outcome: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("n_studies", "samples_per_study", "effects_per_sample"):
            value = getattr(self, name)
            if not isinstance(value, Counts) and not _is_count(value, least=1):
                raise ValueError(f"{name} must be a whole number of at least 1, not {value}")
        if not isinstance(self.sample_sizes, SampleSizes) and not (
            self.sample_sizes and all(_is_count(n, FEWEST_PERSONS) for n in self.sample_sizes)
        ):
            raise ValueError(
                f"sample_sizes must list whole numbers of at least {FEWEST_PERSONS} persons"
            )
        if not math.isfinite(self.mu):
            raise ValueError(f"mu must be a number, not {self.mu}")
        for name in ("tau2_between", "tau2_within"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} is a variance and must be at least 0, not {value}")
        if not 0 <= self.rho <= 1:
            raise ValueError(f"rho must lie between 0 and 1, not {self.rho}")
        names = [moderator.column for moderator in self.moderators]
        if len(set(names)) < len(names):
            raise ValueError(f"both moderators are called '{names[0]}'")
        for name in ("reliability_alliance", "reliability_outcome"):
            limits = getattr(self, name)
            if limits is not None and not 0 < limits[0] <= limits[1] <= 1:
                raise ValueError(f"{name} must be a range (low, high) above 0 up to 1")

    @property
    def moderators(self) -> list[Moderator]:
        """The moderators there are, the study's first."""
        return [m for m in (self.study_moderator, self.effect_moderator) if m is not None]


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int | np.integer) and int(value) >= least


@dataclass(frozen=True)
class Truth:
    """What an analysis of a simulated review should find, on Fisher's z.

    Attributes
    ----------
    coefficients
        Term -> true coefficient, terms named as in ``coefficients.csv``.
    tau2_between, tau2_within, rho
        As in the design. With unreliable measures all of these are what perfect measures
        would show.
    """

    coefficients: Mapping[str, float]
    tau2_between: float
    tau2_within: float
    rho: float


@dataclass(frozen=True)
class SimulatedReview:
    """A simulated review: one element per effect in every array.

    Attributes
    ----------
    design
        What it was made from.
    y, v
        Observed Fisher's z and its sampling variance ``1/(n − 3)``, shape (k,).
    n
        Persons, shape (k,).
    study, sample
        Numbers of the study and of the sample (0, 1, … without gaps), shape (k,).
    theta
        True effect on Fisher's z, as the unreliable measures of that effect show it,
        shape (k,).
    moderators
        Column -> number of the level of each effect, shape (k,).
    reliability_alliance, reliability_outcome
        Shape (k,); 1 where measures are perfect.
    """

    design: ReviewDesign
    y: Array
    v: Array
    n: Numbers
    study: Numbers
    sample: Numbers
    theta: Array
    moderators: Mapping[str, Numbers]
    reliability_alliance: Array
    reliability_outcome: Array

    @property
    def truth(self) -> Truth:
        """True coefficients and variances."""
        design = self.design
        coefficients = {"Intercept": design.mu}
        for moderator in design.moderators:
            for level, effect in zip(moderator.levels[1:], moderator.effects[1:], strict=True):
                coefficients[f"{moderator.column}[T.{level}]"] = float(effect)
        return Truth(coefficients, design.tau2_between, design.tau2_within, design.rho)

    def design_matrix(self, *columns: str) -> Array:
        """Return an intercept and the treatment coding of some moderators.

        Parameters
        ----------
        *columns
            Moderators, in the order wanted.

        Returns
        -------
        ndarray
            Shape (k, 1 + further levels), columns in the order of ``truth.coefficients`` if
            all moderators are asked for in the order study, effect.

        Raises
        ------
        ValueError
            If the design has no such moderator.
        """
        blocks = [np.ones((len(self.y), 1))]
        levels = {m.column: len(m.levels) for m in self.design.moderators}
        for column in columns:
            if column not in levels:
                raise ValueError(f"the design has no moderator '{column}'")
            blocks.append(np.eye(levels[column])[self.moderators[column]][:, 1:])
        return np.hstack(blocks)

    def sampling_covariance(self) -> Array:
        """Return the covariance of the sampling errors, shape (k, k).

        Notes
        -----
        ``ρ √(vᵢ vⱼ)`` within a sample and 0 between samples; exact at depth "z".
        """
        same = self.sample[:, None] == self.sample
        root = np.sqrt(self.v)
        V: Array = np.where(same, self.design.rho * np.outer(root, root), 0.0)
        np.fill_diagonal(V, self.v)
        return V

    def effects_sheet(self, effect_type: str = "r") -> pd.DataFrame:
        """Return the review as an effects sheet, ready for the workflow.

        Parameters
        ----------
        effect_type
            "r" or "fisher_z": what the studies report.

        Returns
        -------
        DataFrame
            One row per effect; reliabilities and moderators only where the design has them.

        Raises
        ------
        ValueError
            If a sheet cannot hold such effects here.
        """
        if effect_type not in SHEET_TYPES:
            raise ValueError(f"effect_type must be one of {SHEET_TYPES}, not '{effect_type}'")
        width = len(str(self.design.n_studies))
        study = [f"study{number + 1:0{width}d}" for number in self.study]
        first = np.unique(self.study, return_index=True)[1]
        letter = self.sample - self.sample[first][self.study]
        order = np.arange(len(self.y)) - first[self.study]
        sheet = pd.DataFrame(
            {
                "effect_id": [f"{s}_{i + 1}" for s, i in zip(study, order, strict=True)],
                "study_id": study,
                "sample_id": [f"{s}_sample{i + 1}" for s, i in zip(study, letter, strict=True)],
                "effect_type": effect_type,
                "effect_value": np.tanh(self.y) if effect_type == "r" else self.y,
                "n": self.n,
                "outcome_direction": "higher_is_better",
            }
        )
        for name in ("reliability_alliance", "reliability_outcome"):
            if getattr(self.design, name) is not None:
                sheet[name] = getattr(self, name)
        for moderator in self.design.moderators:
            labels = np.array(moderator.levels)
            sheet[moderator.column] = pd.Series(
                labels[self.moderators[moderator.column]], dtype="str"
            )
        return sheet


def simulate_review(design: ReviewDesign, seed: Seed, *, depth: str = "z") -> SimulatedReview:
    """Simulate one review.

    Parameters
    ----------
    design
        What it looks like and what is true.
    seed
        The same seed gives the same review. Studies, sample sizes and true effects are drawn
        before the errors, so that both depths share them.
    depth
        "z" adds normal errors of variance ``1/(n − 3)``, correlated at ``rho``, to the true
        Fisher's z. "persons" draws the multivariate normal scores of every person on the
        alliance measure and on the outcomes of the sample and correlates them, so that the
        bias and the non-normality of Fisher's z are real; the outcomes of a sample are
        correlated such that the errors are correlated at ``rho``.

    Returns
    -------
    SimulatedReview

    Raises
    ------
    ValueError
        If the depth does not exist or a moderator has a level that no study or effect would
        have; at depth "persons" if true correlations were drawn that outcomes so highly
        correlated cannot have.

    References
    ----------
    Pustejovsky, J. E., & Tipton, E. (2022). Meta-analysis with robust variance estimation:
    Expanding the range of working models. Prevention Science, 23, 425-438.
    """
    if depth not in DEPTHS:
        raise ValueError(f"depth must be one of {DEPTHS}, not '{depth}'")
    rng = np.random.default_rng(seed)
    samples = _draw_counts(design.samples_per_study, design.n_studies, rng)
    sample_study = np.repeat(np.arange(design.n_studies), samples)
    effects = _draw_counts(design.effects_per_sample, len(sample_study), rng)
    sample = np.repeat(np.arange(len(sample_study)), effects)
    study = sample_study[sample]
    sizes = _draw_sizes(design.sample_sizes, len(sample_study), rng)

    theta = np.full(len(sample), design.mu)
    moderators = {}
    if design.study_moderator is not None:
        level = _allocate(design.study_moderator, design.n_studies, rng)[study]
        moderators[design.study_moderator.column] = level
        theta += design.study_moderator.effects[level]
    if design.effect_moderator is not None:
        level = _allocate(design.effect_moderator, len(sample), rng)
        moderators[design.effect_moderator.column] = level
        theta += design.effect_moderator.effects[level]
    theta += math.sqrt(design.tau2_between) * rng.standard_normal(design.n_studies)[study]
    theta += math.sqrt(design.tau2_within) * rng.standard_normal(len(sample))

    alliance = rng.uniform(*(design.reliability_alliance or (1.0, 1.0)), len(sizes))[sample]
    outcome = rng.uniform(*(design.reliability_outcome or (1.0, 1.0)), len(sample))
    if design.reliability_alliance or design.reliability_outcome:
        theta = np.arctanh(np.tanh(theta) * np.sqrt(alliance * outcome))

    n = sizes[sample]
    v = 1 / (n - 3)
    if depth == "z":
        common = rng.standard_normal(len(sizes))[sample]
        own = rng.standard_normal(len(sample))
        errors = math.sqrt(design.rho) * common + math.sqrt(1 - design.rho) * own
        y = theta + np.sqrt(v) * errors
    else:
        y = np.empty(len(sample))
        ends = np.cumsum(effects)
        for persons, start, end in zip(sizes, ends - effects, ends, strict=True):
            y[start:end] = _correlate_persons(theta[start:end], int(persons), design.rho, rng)
    return SimulatedReview(design, y, v, n, study, sample, theta, moderators, alliance, outcome)


def _draw_counts(counts: int | Counts, size: int, rng: np.random.Generator) -> Numbers:
    if isinstance(counts, Counts):
        return np.minimum(rng.geometric(1 / counts.mean, size), counts.largest).astype(np.intp)
    return np.full(size, counts, dtype=np.intp)


def _draw_sizes(
    sizes: SampleSizes | tuple[int, ...], size: int, rng: np.random.Generator
) -> Numbers:
    if not isinstance(sizes, SampleSizes):
        return np.resize(np.array(sizes, dtype=np.intp), size)
    if sizes.log_sd == 0:
        return np.full(size, round(sizes.median), dtype=np.intp)
    # half a person beyond either limit rounds to the limit
    limits = np.log(np.array([sizes.smallest - 0.5, sizes.largest + 0.5]) / sizes.median)
    low, high = special.ndtr(limits / sizes.log_sd)
    draws = sizes.median * np.exp(sizes.log_sd * special.ndtri(rng.uniform(low, high, size)))
    return np.clip(np.rint(draws), sizes.smallest, sizes.largest).astype(np.intp)


def _allocate(moderator: Moderator, size: int, rng: np.random.Generator) -> Numbers:
    """Return levels in random order, as near to their shares as whole numbers allow."""
    exact = np.array(moderator.shares) * size
    counts = np.floor(exact + 1e-9).astype(np.intp)  # shares such as 0.1 are not exact
    counts[np.argsort(counts - exact, kind="stable")[: size - counts.sum()]] += 1
    if counts.min() == 0:
        raise ValueError(
            f"{size} units are too few for the shares of moderator '{moderator.column}': a level "
            "would stay empty"
        )
    return rng.permutation(np.repeat(np.arange(len(counts)), counts))


def _correlate_persons(theta: Array, n: int, rho: float, rng: np.random.Generator) -> Array:
    """Return Fisher's z of one alliance measure with some outcomes of ``n`` persons.

    Parameters
    ----------
    theta
        True Fisher's z of each outcome, shape (m,).
    n
        Persons.
    rho
        Correlation wanted of the sampling errors.
    """
    true = np.tanh(theta)
    R = np.full((len(true), len(true)), _outcome_correlation(math.tanh(theta.mean()), rho))
    np.fill_diagonal(R, 1.0)
    try:
        # what the alliance leaves unexplained in the outcomes
        root = np.linalg.cholesky(R - np.outer(true, true))
    except np.linalg.LinAlgError:
        raise ValueError(
            f"outcomes whose errors correlate at {rho} cannot have true correlations with the "
            f"alliance as different as {true.min():.2f} and {true.max():.2f}: lower rho or "
            "tau2_within"
        ) from None
    alliance = rng.standard_normal(n)
    outcomes = np.outer(alliance, true) + rng.standard_normal((n, len(true))) @ root.T
    alliance -= alliance.mean()
    outcomes -= outcomes.mean(axis=0)
    r = alliance @ outcomes / np.sqrt((alliance @ alliance) * (outcomes**2).sum(axis=0))
    result: Array = np.arctanh(r)
    return result


def _outcome_correlation(r: float, rho: float) -> float:
    """Return the correlation of two outcomes whose r with the alliance have errors at rho.

    Notes
    -----
    Olkin & Finn (1990): correlations r of one variable with two others that correlate at s
    have large-sample errors correlated at ``[s(1 − 2r²) − r²(1 − 2r² − s²)/2] / (1 − r²)²``;
    this is solved for s.
    """
    a, b = r**2 / 2, 1 - 2 * r**2
    c = a * b + rho * (1 - r**2) ** 2
    # the form of the quadratic's root that stays finite at r = 0
    return 2 * c / (b + math.sqrt(b**2 + 4 * a * c))
