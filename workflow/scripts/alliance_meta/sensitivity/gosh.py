"""GOSH: the result and its heterogeneity in all subsets of the studies, or in many random ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from alliance_meta.assessments import Assessment
from alliance_meta.formatting import (
    format_count,
    format_effect,
    format_interval,
    format_number,
)
from alliance_meta.models.refits import Refits
from alliance_meta.models.result_tables import reporting_scale
from alliance_meta.models.rows import ModelRows
from alliance_meta.models.specification import MULTILEVEL_MODELS
from alliance_meta.models.subsets import fit_subsets
from alliance_meta.sensitivity.omission import study_names

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]
Bits = NDArray[np.uint8]

NAME = "gosh"
TABLES = {
    "sensitivity_gosh": ["subset_size", "estimate", "I2"],
    "sensitivity_gosh_summary": ["quantity", "value"],
    "sensitivity_gosh_studies": [
        "study_id",
        "mean_with",
        "mean_without",
        "difference",
        "I2_with",
        "I2_without",
    ],
}
# most subsets: of closed forms and batches, of multilevel models, of models fitted one by one
SUBSETS = 100_000
MULTILEVEL_SUBSETS = 10_000
SINGLE_SUBSETS = 1_000
# most effects that all subsets of a model without a closed form hold together, by default
WORK = 2_000_000
FEWEST_SUBSETS = 200
# rows of the table of subsets at most
SHOWN = 20_000
# elements of a mask that is unpacked at a time, and subsets of other models fitted at a time
CHUNK_ELEMENTS = 2**20
REFIT_ROWS = 200
# numbers of all subsets must fit into eight bytes
LARGEST_COUNTED = 62
# fewer subsets than these do not show how many peaks there are
SUBSETS_FOR_PEAKS = 500
# a peak is at least so high, and the valley before a higher one so deep, as shares
PEAK_HEIGHT = 0.1
PEAK_DEPTH = 0.3
# a study tells peaks apart if it orders this share of all pairs of subsets with and without it
SEPARATION = 0.8
# estimates that differ by less than this share of their size are equal
EQUAL = 1e-9
QUANTILES = {"q025": 0.025, "q25": 0.25, "median": 0.5, "q75": 0.75, "q975": 0.975}


class SubsetRefitter(Protocol):
    """What fits a model to parts of its rows."""

    def refit(
        self, keep: Mask, *, intervals: bool = True, advance: Callable[[int], None] = ...
    ) -> Refits:
        """Fit the model to each part, shape (B, k)."""


@dataclass(frozen=True)
class GoshSubsets:
    """Fits of subsets of studies.

    Attributes
    ----------
    size
        Number of studies in the subset, shape (B,).
    estimate, I2, tau2
        Shape (B,); NaN where a subset cannot carry the model.
    members
        Which studies are in each subset as packed bits, shape (B, ⌈m/8⌉).
    n_studies
        Number of studies m.
    """

    size: Index
    estimate: Array
    I2: Array
    tau2: Array
    members: Bits
    n_studies: int

    @property
    def complete(self) -> bool:
        """Whether these are all subsets."""
        return _is_complete(self.n_studies, len(self.size))

    def masks(self) -> Iterator[tuple[slice, Mask]]:
        """Yield consecutive subsets and which studies are in them, shape (b, m)."""
        return _unpack(self.members, self.n_studies, CHUNK_ELEMENTS // self.n_studies)


def draw_subsets(n_studies: int, subsets: int, seed: int) -> Bits:
    """Return all non-empty subsets if they are no more than asked for, else random ones.

    Parameters
    ----------
    n_studies
        Number of studies m.
    subsets
        Most subsets.
    seed
        Of the random ones: each study in or out with probability one half, empty subsets drawn
        again (as metafor draws them); a subset may come twice.

    Returns
    -------
    ndarray
        Packed bits, least significant first, shape (B, ⌈m/8⌉).
    """
    width = -(-n_studies // 8)
    if n_studies <= LARGEST_COUNTED and 2**n_studies - 1 <= subsets:
        numbers = np.arange(1, 2**n_studies, dtype="<u8")
        return np.ascontiguousarray(numbers.view(np.uint8).reshape(-1, 8)[:, :width])
    rng = np.random.default_rng(seed)
    last = np.uint8(0xFF >> (8 * width - n_studies))
    members = np.empty((subsets, width), dtype=np.uint8)
    empty = np.arange(subsets)
    while len(empty):
        drawn = rng.integers(0, 256, (len(empty), width), dtype=np.uint8)
        drawn[:, -1] &= last
        members[empty] = drawn
        empty = empty[~drawn.any(axis=1)]
    return members


def gosh_subsets(
    y: Array,
    v: Array,
    *,
    subsets: int,
    seed: int,
    tau2: str | None,
    units: Index | None = None,
    advance: Callable[[int], None] = lambda n: None,
) -> GoshSubsets:
    """Fit a univariate mean to subsets of the studies.

    Parameters
    ----------
    y, v
        Effects and sampling variances, shape (k,).
    subsets, seed
        As for ``draw_subsets``.
    tau2
        An estimator of ``TAU2_ESTIMATORS``, or None for the common-effect model (then I² is
        from Q).
    units
        Number of each effect's study (0, 1, … without gaps), shape (k,); default: each effect
        is a study.
    advance
        Told how many subsets have been fitted.

    Notes
    -----
    Olkin, Dahabreh & Trikalinos (2012). Memory holds the bits and a chunk of masks.
    """
    X = np.ones((len(y), 1))

    def fit(keep: Mask) -> tuple[Array, Array, Array]:
        fits = fit_subsets(y, v, X, keep, tau2=tau2)
        return fits.coefficients[:, 0], fits.I2, fits.tau2

    units = np.arange(len(y)) if units is None else units
    return _run(units, subsets, seed, fit, CHUNK_ELEMENTS // len(y), advance)


def gosh_refits(
    refitter: SubsetRefitter,
    units: Index,
    *,
    subsets: int,
    seed: int,
    advance: Callable[[int], None] = lambda n: None,
) -> GoshSubsets:
    """Fit any model of one mean to subsets of whole studies.

    Parameters
    ----------
    refitter
        What fits the model to parts of its rows.
    units
        Number of each row's independent study (0, 1, … without gaps), shape (k,).
    subsets, seed, advance
        As for ``gosh_subsets``.
    """

    def fit(keep: Mask) -> tuple[Array, Array, Array]:
        refits = refitter.refit(keep, intervals=False)
        return refits.estimate[:, 0], refits.I2, refits.tau2

    return _run(units, subsets, seed, fit, REFIT_ROWS, advance)


def _run(
    units: Index,
    subsets: int,
    seed: int,
    fit: Callable[[Mask], tuple[Array, Array, Array]],
    rows: int,
    advance: Callable[[int], None],
) -> GoshSubsets:
    n_studies = int(units.max()) + 1
    members = draw_subsets(n_studies, subsets, seed)
    size = np.empty(len(members), dtype=np.intp)
    values = np.empty((3, len(members)))
    each = np.array_equal(units, np.arange(n_studies))
    for chunk, mask in _unpack(members, n_studies, rows):
        size[chunk] = np.count_nonzero(mask, axis=1)
        values[:, chunk] = fit(mask if each else mask[:, units])
        advance(len(mask))
    estimate, I2, tau2 = values
    return GoshSubsets(size, estimate, I2, tau2, members, n_studies)


def _unpack(members: Bits, n_studies: int, rows: int) -> Iterator[tuple[slice, Mask]]:
    rows = max(rows, 1)
    for start in range(0, len(members), rows):
        chunk = slice(start, min(start + rows, len(members)))
        bits = np.unpackbits(members[chunk], axis=1, count=n_studies, bitorder="little")
        yield chunk, bits.view(np.bool_)


def _is_complete(n_studies: int, subsets: int) -> bool:
    return n_studies <= LARGEST_COUNTED and subsets == 2**n_studies - 1


def count_peaks(values: Array) -> int:
    """Return how many peaks the distribution of values has, at least 1.

    Parameters
    ----------
    values
        Shape (n,).

    Notes
    -----
    Gaussian kernel density with Silverman's (1986) bandwidth on a grid. A peak counts if it
    has a tenth of the height of the highest one, and if the density falls by 30% of its height
    on the way to any higher one.
    """
    low, q25, q75, high = np.quantile(values, [0.001, 0.25, 0.75, 0.999])
    spread = min(float(values.std()), (q75 - q25) / 1.34)
    if not spread > EQUAL * np.abs(values).max():
        return 1
    bandwidth = 0.9 * spread * len(values) ** -0.2
    # four points a bandwidth; what lies beyond a hundred spreads is no cluster of subsets
    reach = min(float(high - low), 100 * spread) / 2 + 4 * bandwidth
    centre = np.clip((low + high) / 2, q25, q75)
    edges = np.arange(centre - reach, centre + reach, bandwidth / 4)
    counts = np.histogram(values, edges)[0].astype(np.float64)
    kernel = np.exp(-0.5 * (np.arange(-16, 17) / 4) ** 2)
    density = np.convolve(counts, kernel)
    return _count_deep_peaks(density)


def _count_deep_peaks(density: Array) -> int:
    """Count the peaks: each ends where the density has fallen enough, and begins likewise."""
    floor = PEAK_HEIGHT * density.max()
    peaks, top, valley = 0, 0.0, 0.0
    rising = True
    for value in density.tolist():
        if rising:
            top = max(top, value)
            if top >= floor and value <= (1 - PEAK_DEPTH) * top:
                peaks, rising, valley = peaks + 1, False, value
        else:
            valley = min(valley, value)
            # high enough above the valley to be a peak of its own
            if value >= floor and valley <= (1 - PEAK_DEPTH) * value:
                rising, top = True, value
    return peaks


def assess_gosh(
    rows: ModelRows,
    refitter: SubsetRefitter,
    *,
    subsets: int | None = None,
    seed: int = 0,
    advance: Callable[[int], None] = lambda n: None,
) -> Assessment:
    """Look at the result in subsets of the studies.

    Parameters
    ----------
    rows, refitter
        The rows of an analysis without moderators and what fits its model again.
    subsets
        Most subsets; default: 100,000; of multilevel models 10,000, and 1,000 of models that
        are fitted one by one, fewer in reviews of more than 200 effects.
    seed
        Of random subsets.
    advance
        Told how many subsets have been fitted.

    Returns
    -------
    Assessment
        ``sensitivity_gosh`` (estimates on the analysis metric; by size, at most 20,000 rows,
        evenly spaced), ``sensitivity_gosh_summary`` of all of them, and
        ``sensitivity_gosh_studies``: the mean of the subsets with and without each study.

    Notes
    -----
    Olkin, Dahabreh & Trikalinos (2012). Subsets are of whole independent studies.
    """
    empty = {name: pd.DataFrame(columns=columns) for name, columns in TABLES.items()}
    if rows.has_moderators:
        text = "GOSH is of a mean; this analysis has moderators."
        return Assessment(NAME, empty, (text,))
    if rows.n_studies == 1:
        return Assessment(NAME, empty, ("A single study has no subsets to compare (GOSH).",))
    spec = rows.spec
    if spec.model in MULTILEVEL_MODELS or spec.model == "rve" or spec.scale:
        single = spec.model not in MULTILEVEL_MODELS
        usual = SINGLE_SUBSETS if single else MULTILEVEL_SUBSETS
        subsets = subsets or max(min(usual, WORK // len(rows.y)), FEWEST_SUBSETS)
        found = gosh_refits(refitter, rows.independent, subsets=subsets, seed=seed, advance=advance)
    else:
        subsets = subsets or SUBSETS
        found = gosh_subsets(
            rows.y,
            rows.v,
            subsets=subsets,
            seed=seed,
            tau2=spec.tau2,
            units=rows.independent,
            advance=advance,
        )
    fitted = np.isfinite(found.estimate)
    if not fitted.any():
        return Assessment(NAME, empty, ("No subset of the studies can carry the model (GOSH).",))
    studies = _compare_studies(found, study_names(rows))
    peaks = np.nan
    if fitted.sum() >= SUBSETS_FOR_PEAKS:
        peaks = float(count_peaks(found.estimate[fitted]))
    summary = _summarise(found, peaks)
    tables = {
        "sensitivity_gosh": _table(found),
        "sensitivity_gosh_summary": summary,
        "sensitivity_gosh_studies": studies,
    }
    sentences = _describe(found, summary.set_index("quantity")["value"], spec.metric)
    sentences += _describe_peaks(found, studies, peaks, spec.metric)
    return Assessment(NAME, tables, tuple(sentences))


def _table(found: GoshSubsets) -> pd.DataFrame:
    """Return the subsets by size; evenly spaced ones if there are too many."""
    rows = np.flatnonzero(np.isfinite(found.estimate))
    rows = rows[np.argsort(found.size[rows], kind="stable")]
    if len(rows) > SHOWN:
        rows = rows[np.linspace(0, len(rows) - 1, SHOWN).round().astype(np.intp)]
    values = found.size[rows], found.estimate[rows], found.I2[rows]
    columns = TABLES["sensitivity_gosh"]
    return pd.DataFrame(dict(zip(columns, values, strict=True)))


def _summarise(found: GoshSubsets, peaks: float) -> pd.DataFrame:
    fitted = np.isfinite(found.estimate)
    possible = float(2**found.n_studies - 1) if found.n_studies < 1024 else np.inf
    values = {
        "subsets_run": float(len(fitted)),
        "subsets_possible": possible,
        "all_subsets": float(found.complete),
    }
    for prefix, numbers in (("", found.estimate), ("I2_", found.I2)):
        known = numbers[np.isfinite(numbers)]
        described = _quantities(known) if len(known) else dict.fromkeys(_quantities(np.ones(1)))
        values |= {
            prefix + name: np.nan if value is None else value for name, value in described.items()
        }
    values |= {"n_modes": peaks, "subsets_failed": float(np.count_nonzero(~fitted))}
    return pd.DataFrame({"quantity": list(values), "value": list(values.values())})


def _quantities(values: Array) -> dict[str, float]:
    quantiles = np.quantile(values, list(QUANTILES.values())).tolist()
    return {
        "mean": float(values.mean()),
        "sd": float(values.std()),
        **dict(zip(QUANTILES, quantiles, strict=True)),
        "minimum": float(values.min()),
        "maximum": float(values.max()),
    }


def _compare_studies(found: GoshSubsets, names: list[str]) -> pd.DataFrame:
    """Return the mean of the subsets with and without each study."""
    columns = {}
    for name, values in (("mean", found.estimate), ("I2", found.I2)):
        known = np.isfinite(values)
        n_known = int(known.sum())
        centre = float(values[known].mean()) if n_known else np.nan
        # about the mean, so that sums keep their digits
        weighed = np.column_stack([np.where(known, values - centre, 0.0), known.astype(float)])
        total = np.zeros((found.n_studies, 2))
        for chunk, mask in found.masks():
            total += mask.T.astype(np.float64) @ weighed[chunk]
        sums, counts = total.T
        for part, n, of_part in (
            ("with", counts, sums),
            ("without", n_known - counts, weighed[:, 0].sum() - sums),
        ):
            mean = np.divide(of_part, n, out=np.full(len(n), np.nan), where=n > 0)
            columns[f"{name}_{part}"] = centre + mean
    columns["difference"] = columns["mean_with"] - columns["mean_without"]
    return pd.DataFrame({"study_id": names, **columns}, columns=TABLES["sensitivity_gosh_studies"])


def _describe(found: GoshSubsets, of: "pd.Series[float]", metric: str) -> list[str]:
    studies = format_count(found.n_studies, "study", "studies")
    failed = int(of["subsets_failed"])
    n = len(found.size)
    words = (
        f"All {format_count(n, 'subset')}" if found.complete else (format_count(n, "random subset"))
    )
    verb = "was" if n == 1 else "were"
    done = "tried" if failed else "fitted"
    sentences = [f"{words} of the {studies} {verb} {done} (GOSH; Olkin et al., 2012)."]
    if failed:
        cannot = "subset cannot" if failed == 1 else "subsets cannot"
        sentences.append(f"{failed:,} {cannot} carry the model and did not enter.")
    if n - failed == 1:
        return sentences
    low, median, high, least, most = (
        float(reporting_scale(float(of[name]), metric))
        for name in ("q025", "median", "q975", "minimum", "maximum")
    )
    if not of["sd"] > EQUAL * max(abs(of["minimum"]), abs(of["maximum"])):
        sentences.append(f"They all have the same estimate, {format_effect(median, metric)}.")
    else:
        sentences.append(
            f"Half of the estimates lie below {format_effect(median, metric)}, the middle 95 % "
            f"within {format_interval(low, high, metric)}, and all within "
            f"{format_interval(least, most, metric)}."
        )
    if np.isnan(of["I2_median"]):
        return sentences
    if of["I2_maximum"] == 0:
        sentences.append("I² is 0 % in every subset.")
    else:
        quartiles = [format_number(of[f"I2_{q}"], 0) for q in ("median", "q025", "q975")]
        sentences.append(
            f"The median of I² is {quartiles[0]} %; in 95 % of the subsets it lies between "
            f"{quartiles[1]} % and {quartiles[2]} %."
        )
    return sentences


def _describe_peaks(
    found: GoshSubsets, studies: pd.DataFrame, peaks: float, metric: str
) -> list[str]:
    """Say how many peaks the estimates have, and whether one study tells them apart."""
    if np.isnan(peaks):
        return ["So few subsets do not show whether the studies form clusters."]
    distances = studies["difference"].abs().to_numpy(float)
    study = int(np.nanargmax(distances))
    name = studies["study_id"][study]
    with_it, without = (
        format_effect(float(reporting_scale(studies[column][study], metric)), metric)
        for column in ("mean_with", "mean_without")
    )
    means = f"on average {with_it} with it and {without} without it"
    if peaks == 1:
        if not distances[study] > EQUAL * float(np.nanmax(np.abs(found.estimate))):
            return []
        return [
            "The distribution of the estimates has one peak, so there is no sign of clusters; "
            f"leaving out {name} shifts it most ({means})."
        ]
    heading = f"The distribution of the estimates has {peaks:.0f} peaks"
    share = _separation(found, study)
    if share is not None:
        side = "larger" if studies["difference"][study] > 0 else "smaller"
        return [
            f"{heading}, which one study accounts for: the subsets without {name} have one peak, "
            f"and an estimate with it is {side} than one without it in {100 * share:.0f} % of all "
            f"pairs ({means})."
        ]
    return [
        f"{heading}, a sign of clusters of studies; no single study accounts for them ({name} "
        f"moves the estimates most: {means})."
    ]


def _separation(found: GoshSubsets, study: int) -> float | None:
    """Return the share of pairs that a study orders, if it tells the peaks apart."""
    inside = (found.members[:, study // 8] >> (study % 8)) & 1 == 1
    known = np.isfinite(found.estimate)
    with_it, without = found.estimate[known & inside], np.sort(found.estimate[known & ~inside])
    if not len(with_it) or not len(without) or count_peaks(without) > 1:
        return None
    # the probability that Mann and Whitney's U estimates
    below = (np.searchsorted(without, with_it) + np.searchsorted(without, with_it, "right")) / 2
    share = float(below.mean()) / len(without)
    share = max(share, 1 - share)
    return share if share >= SEPARATION else None
