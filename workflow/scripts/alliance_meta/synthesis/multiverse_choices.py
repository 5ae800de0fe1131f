"""The defensible choices of a multiverse, and the specifications that follow from them."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alliance_meta.formatting import format_count, join_words
from alliance_meta.models.analysis import select_and_correct
from alliance_meta.models.selection import where_mask
from alliance_meta.models.specification import (
    MULTILEVEL_MODELS,
    ModelSpecification,
    SpecificationError,
)

MODEL_SETTINGS = ("model", "tau2", "inference", "rho", "metric", "attenuation", "reliability")
SETTINGS = ("where", *MODEL_SETTINGS, "select", "outliers")
SELECTIONS = ("all", "first", "largest_n", "mean")
OUTLIER_RULES = ("none", "rstudent", "iqr")
# the customary limits: three standard errors, and Tukey's fences
OUTLIER_LIMITS = {"none": math.inf, "rstudent": 3.0, "iqr": 1.5}

# choices become columns; those named as a result are written with the prefix
CHOICE_NAME = re.compile(r"(?!choice_)[A-Za-z][A-Za-z0-9_]*")
# label of a choice that makes no difference to a specification
NOT_APPLICABLE = "does not apply"
MAXIMUM = 20_000
# Shapley shares take every subset of the choices
MAXIMUM_CHOICES = 12
# larger products are sampled, so that nobody waits for combinations that are never run
LARGEST_LISTED = 200_000
# specifications that are fitted together
BATCH_SIZE = 64
# draws for one specification before the rest is taken to be duplicates
DRAWS_PER_SPECIFICATION = 50


@dataclass(frozen=True)
class Outliers:
    """Which effects count as outliers: ``rule`` of ``OUTLIER_RULES``, and its limit."""

    rule: str = "none"
    limit: float = math.inf


# what an option leaves unset, where the analysis has no such setting
UNSET: Mapping[str, Any] = {"select": "all", "outliers": Outliers()}


@dataclass(frozen=True)
class Option:
    """One way to decide a choice: the settings that it makes, and why it is defensible."""

    name: str
    reason: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """A decision that could have been made otherwise."""

    name: str
    options: tuple[Option, ...]

    @property
    def varied(self) -> tuple[str, ...]:
        """Settings that any of the options makes, in the order of ``SETTINGS``."""
        made = {key for option in self.options for key in option.settings}
        return tuple(key for key in SETTINGS if key in made)


@dataclass(frozen=True)
class Specification:
    """One combination of options.

    Attributes
    ----------
    number
        From 1, in the order of the product: the last choice varies fastest.
    options
        Position of the option of each choice.
    labels
        Name of the option of each choice, or ``NOT_APPLICABLE``.
    spec
        What ``analyse`` would be asked for, every default filled in.
    base_where, wheres
        The analysis's own condition, and those of the options; ``spec.where`` joins them.
    select
        One of ``SELECTIONS``.
    outliers
        Which effects are left out as outliers.
    batch
        Number of the specifications that are fitted together with this one.
    """

    number: int
    options: tuple[int, ...]
    labels: tuple[str, ...]
    spec: ModelSpecification
    base_where: str
    wheres: tuple[str, ...]
    select: str
    outliers: Outliers
    batch: int


@dataclass(frozen=True)
class Enumeration:
    """All specifications that are run.

    Attributes
    ----------
    choices
        As configured.
    specifications
        In the order of their numbers.
    base
        Position of each choice's base option: the one that the analysis itself takes, else the
        first.
    departs
        Choices none of whose options is the analysis's own.
    n_combinations
        Size of the full product.
    sampled
        Whether the specifications are a random sample.
    """

    choices: tuple[Choice, ...]
    specifications: tuple[Specification, ...]
    base: tuple[int, ...]
    departs: tuple[str, ...]
    n_combinations: int
    sampled: bool

    def find(self, options: Sequence[int]) -> Specification | None:
        """Return the specification that a combination of options amounts to, if it is run."""
        return self._by_key.get(self._resolver.key(tuple(options)))

    _resolver: "_Resolver" = field(repr=False, kw_only=True)
    _by_key: Mapping[tuple[Any, ...], Specification] = field(repr=False, kw_only=True)


def read_choices(settings: Mapping[str, Any]) -> tuple[Choice, ...]:
    """Return the choices of a configuration; they must be free of problems."""
    return tuple(
        Choice(
            str(name),
            tuple(
                Option(
                    str(entry["name"]),
                    str(entry["reason"]),
                    {key: _read_value(key, entry[key]) for key in SETTINGS if key in entry},
                )
                for entry in entries
            ),
        )
        for name, entries in settings["choices"].items()
    )


def starting_point(
    effects: pd.DataFrame, spec: ModelSpecification, *, files: Sequence[str] | None = None
) -> ModelSpecification:
    """Return an analysis's specification with the model named that its rows ask for.

    Parameters
    ----------
    effects, spec, files
        As for ``analyse``.

    Raises
    ------
    SpecificationError
        If the analysis itself cannot work on these effects.
    """
    data = select_and_correct(effects, spec, files=files)[0].data
    dependent = bool(data["study_id"].duplicated().any() or data["sample_id"].duplicated().any())
    return replace(spec, model=spec.resolve(dependent=dependent).model)


def enumerate_specifications(
    settings: Mapping[str, Any], base: ModelSpecification, *, seed: int = 0
) -> Enumeration:
    """Return every specification of a multiverse once.

    A setting that a model does not have (a τ² estimator of moments in a multilevel model, a
    correlation of sampling errors where effects are independent) falls back to the analysis's
    own or to the default. Combinations that thereby amount to the same are run once, and the
    choice that makes no difference is labelled ``NOT_APPLICABLE``, so that no specification
    counts twice in any share.

    Parameters
    ----------
    settings
        The configuration of the multiverse: ``choices`` and ``maximum``.
    base
        Specification of the analysis, with its model named (see ``starting_point``).
    seed
        Of the sample, where there are more specifications than ``maximum``. It always holds
        the combination of the base options.

    Returns
    -------
    Enumeration

    Raises
    ------
    ValueError
        If the analysis leaves its model open.

    Notes
    -----
    Steegen, Tuerlinckx, Gelman & Vanpaemel (2016); Simonsohn, Simmons & Nelson (2020).
    """
    if base.model is None:
        raise ValueError("the analysis must name its model; see starting_point")
    choices = read_choices(settings)
    maximum = int(settings.get("maximum", MAXIMUM))
    resolver = _Resolver(choices, base)
    start = resolver.base_options()
    n_combinations = math.prod(len(choice.options) for choice in choices)
    if n_combinations <= LARGEST_LISTED:
        listed = _list_combinations(resolver)
        combinations = sorted(listed.values())
        sampled = len(combinations) > maximum
        if sampled:
            combinations = _sample_listed(combinations, maximum, listed[resolver.key(start)], seed)
    else:
        combinations = _sample_combinations(resolver, maximum, start, seed)
        sampled = True
    specifications = _number(combinations, resolver)
    return Enumeration(
        choices,
        specifications,
        start,
        tuple(
            choice.name
            for position, choice in enumerate(choices)
            if not resolver.is_own(position, start[position])
        ),
        n_combinations,
        sampled,
        _resolver=resolver,
        _by_key={resolver.key(s.options): s for s in specifications},
    )


def shard_of(
    specifications: Sequence[Specification], index: int, count: int
) -> tuple[Specification, ...]:
    """Return the specifications of one of several shards.

    Batches go to the shards in turn and are never torn apart: every fit meets the same
    neighbours whatever the number of shards, so that results agree to the last bit.

    Parameters
    ----------
    specifications
        All of them.
    index, count
        Number of the shard, from 0, and of shards.

    Raises
    ------
    ValueError
        If there is no such shard.
    """
    if not 0 <= index < count:
        raise ValueError(f"there is no shard {index} of {count}")
    return tuple(s for s in specifications if s.batch % count == index)


def _read_value(key: str, value: Any) -> Any:
    if key == "outliers":
        rule = str(value["rule"])
        # without a rule the limit makes no difference
        limit = math.inf if rule == "none" else float(value.get("limit", OUTLIER_LIMITS[rule]))
        return Outliers(rule, limit)
    return value


class _Part(NamedTuple):
    """What the settings of a combination amount to, conditions apart.

    ``key`` is the same for those that amount to the same; ``applies`` says of each choice
    whether it makes a difference.
    """

    found: Mapping[str, Any]
    key: tuple[Any, ...]
    applies: tuple[bool, ...]


class _Resolver:
    """What a combination of options amounts to."""

    def __init__(self, choices: tuple[Choice, ...], base: ModelSpecification) -> None:
        self.choices, self.base = choices, base
        # conditions and settings meet many times each, so each part is worked out once
        self._conditional = [i for i, c in enumerate(choices) if "where" in c.varied]
        self._setting = [i for i, c in enumerate(choices) if set(c.varied) - {"where"}]
        self._wheres: dict[tuple[int, ...], tuple[str, ...]] = {}
        self._parts: dict[tuple[int, ...], _Part] = {}

    def wheres(self, options: Sequence[int]) -> tuple[str, ...]:
        """Return the conditions of some options, each once."""
        chosen = tuple(options[i] for i in self._conditional)
        if chosen not in self._wheres:
            made = [
                _condition(self.choices[i].options[position])
                for i, position in zip(self._conditional, chosen, strict=True)
            ]
            self._wheres[chosen] = tuple(dict.fromkeys(where for where in made if where))
        return self._wheres[chosen]

    def merge(self, options: Sequence[int]) -> dict[str, Any]:
        """Return the settings of some options, without conditions."""
        return {
            key: value
            for choice, position in zip(self.choices, options, strict=True)
            for key, value in choice.options[position].settings.items()
            if key != "where"
        }

    def effective(self, merged: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings as they take effect; None where there is nothing to set."""
        base = self.base
        model = str(merged.get("model", base.model))
        select = merged.get("select", "all")
        found: dict[str, Any] = {
            "model": model,
            "metric": merged.get("metric", base.metric),
            "attenuation": merged.get("attenuation", base.attenuation),
            "select": select,
            "outliers": merged.get("outliers", Outliers()),
        }
        for key, has in (("tau2", _has_tau2), ("inference", _has_inference)):
            tried = (merged.get(key), getattr(base, key))
            found[key] = next((v for v in tried if v is not None and has(model, v)), None)
        default = ModelSpecification(model=model).resolve(dependent=False)
        found["tau2"] = None if default.tau2 is None else found["tau2"] or default.tau2
        found["inference"] = found["inference"] or default.inference
        found["rho"] = merged.get("rho", base.rho) if _has_rho(model, select) else None
        reliability = dict(merged.get("reliability", base.reliability))
        found["reliability"] = reliability if found["attenuation"] == "corrected" else None
        return found

    def part(self, options: tuple[int, ...]) -> _Part:
        """Return what the settings of some options amount to."""
        chosen = tuple(options[i] for i in self._setting)
        if chosen not in self._parts:
            found = self.effective(self.merge(options))
            model, reliability = found["model"], found["reliability"]
            if found["select"] != "all" and model in (*MULTILEVEL_MODELS, "aggregated"):
                # with one effect a study there is nothing left to model as dependent
                model = "random_effects"
            frozen = None if reliability is None else tuple(sorted(reliability.items()))
            rest = [found[key] for key in found if key not in ("model", "reliability")]
            self._parts[chosen] = _Part(
                found, (model, frozen, *rest), self._applies(options, found)
            )
        return self._parts[chosen]

    def key(self, options: tuple[int, ...]) -> tuple[Any, ...]:
        """Return what is the same for combinations that amount to the same."""
        return tuple(sorted(self.wheres(options))), self.part(options).key

    def _applies(self, options: Sequence[int], found: Mapping[str, Any]) -> tuple[bool, ...]:
        result = []
        for choice, position in zip(self.choices, options, strict=True):
            made = choice.options[position].settings
            result.append(
                not choice.varied
                or any(self._takes_effect(key, made.get(key), found) for key in choice.varied)
            )
        return tuple(result)

    def _takes_effect(self, key: str, value: Any, found: Mapping[str, Any]) -> bool:
        if key == "tau2" and found["model"] in ("common_effect", "rve"):
            return False
        if key in ("tau2", "inference") and value is not None:
            return bool(found[key] == value)
        if key in ("rho", "reliability"):
            return found[key] is not None
        return True

    def rank(self, options: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """Return what orders combinations that amount to the same: most choices apply first."""
        return -sum(self.part(options).applies), options

    def represent(self, options: tuple[int, ...]) -> tuple[int, ...]:
        """Return the combination that stands for all that amount to the same."""
        key = self.key(options)
        current = options
        while True:
            better = min(
                (other for other in self._neighbours(current) if self.key(other) == key),
                key=self.rank,
                default=current,
            )
            if self.rank(better) >= self.rank(current):
                return current
            current = better

    def _neighbours(self, options: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        for place, choice in enumerate(self.choices):
            for position in range(len(choice.options)):
                if position != options[place]:
                    yield (*options[:place], position, *options[place + 1 :])

    def is_own(self, place: int, position: int) -> bool:
        """Return whether an option leaves the analysis as it is."""
        option = self.choices[place].options[position]
        settings = {key: value for key, value in option.settings.items() if key != "where"}
        return not _condition(option) and self.effective(settings) == self.effective({})

    def base_options(self) -> tuple[int, ...]:
        """Return, for each choice, the analysis's own option, else the first."""
        return tuple(
            next((i for i in range(len(choice.options)) if self.is_own(place, i)), 0)
            for place, choice in enumerate(self.choices)
        )


def _condition(option: Option) -> str:
    """Return the condition of an option, its blanks single; empty if it has none."""
    return " ".join(str(option.settings.get("where", "")).split())


def _has_tau2(model: str, tau2: str) -> bool:
    if model in ("common_effect", "rve"):
        return False
    return model not in MULTILEVEL_MODELS or tau2 in ("ML", "REML")


def _has_inference(model: str, inference: str) -> bool:
    if model == "rve":
        return inference == "cr2"
    return model not in MULTILEVEL_MODELS or inference in ("z", "t", "cr2")


def _has_rho(model: str, select: str) -> bool:
    return select == "mean" or (select == "all" and model in ("aggregated", "che", "rve"))


def _list_combinations(resolver: _Resolver) -> dict[tuple[Any, ...], tuple[int, ...]]:
    """Return one combination of each kind: the one to which most choices apply."""
    best: dict[tuple[Any, ...], tuple[int, ...]] = {}
    for options in product(*(range(len(choice.options)) for choice in resolver.choices)):
        key = resolver.key(options)
        if key not in best or resolver.rank(options) < resolver.rank(best[key]):
            best[key] = options
    return best


def _sample_listed(
    combinations: list[tuple[int, ...]], maximum: int, start: tuple[int, ...], seed: int
) -> list[tuple[int, ...]]:
    others = [options for options in combinations if options != start]
    drawn = np.random.default_rng(seed).choice(len(others), size=maximum - 1, replace=False)
    return sorted([start, *(others[i] for i in drawn)])


def _sample_combinations(
    resolver: _Resolver, maximum: int, start: tuple[int, ...], seed: int
) -> list[tuple[int, ...]]:
    """Draw combinations until there are enough different ones.

    Only the combination that represents its kind is taken, so that all kinds are as likely.
    """
    sizes = [len(choice.options) for choice in resolver.choices]
    rng = np.random.default_rng(seed)
    first = resolver.represent(start)
    found = {resolver.key(first): first}
    for _ in range(DRAWS_PER_SPECIFICATION):
        for row in rng.integers(0, sizes, size=(maximum, len(sizes))):
            options = tuple(int(position) for position in row)
            if resolver.represent(options) == options:
                found.setdefault(resolver.key(options), options)
            if len(found) >= maximum:
                return sorted(found.values())
    return sorted(found.values())


def _number(
    combinations: Sequence[tuple[int, ...]], resolver: _Resolver
) -> tuple[Specification, ...]:
    """Build the specifications; those that are fitted alike share a batch."""
    families: dict[tuple[Any, ...], list[int]] = {}
    parts = []
    for position, options in enumerate(combinations):
        part, wheres = resolver.part(options), resolver.wheres(options)
        found = part.found
        spec = _specification(resolver.base, found, wheres)
        reliability = tuple(sorted(spec.reliability.items()))
        family = (spec.model, spec.tau2, spec.inference, spec.metric, spec.attenuation)
        families.setdefault((*family, reliability, found["select"] == "mean"), []).append(position)
        labels = tuple(
            choice.options[option].name if applies else NOT_APPLICABLE
            for choice, option, applies in zip(resolver.choices, options, part.applies, strict=True)
        )
        parts.append((options, labels, spec, wheres, found["select"], found["outliers"]))
    chunks = [
        members[first : first + BATCH_SIZE]
        for members in families.values()
        for first in range(0, len(members), BATCH_SIZE)
    ]
    batch = {position: number for number, members in enumerate(chunks) for position in members}
    return tuple(
        Specification(
            position + 1,
            options,
            labels,
            spec,
            resolver.base.where,
            wheres,
            select,
            outliers,
            batch[position],
        )
        for position, (options, labels, spec, wheres, select, outliers) in enumerate(parts)
    )


def _specification(
    base: ModelSpecification, found: Mapping[str, Any], wheres: tuple[str, ...]
) -> ModelSpecification:
    conditions = [where for where in (base.where.strip(), *wheres) if where]
    joined = " and ".join(f"({where})" for where in conditions)
    return replace(
        base,
        model=found["model"],
        tau2=found["tau2"],
        inference=found["inference"],
        rho=base.rho if found["rho"] is None else found["rho"],
        metric=found["metric"],
        attenuation=found["attenuation"],
        reliability=base.reliability if found["reliability"] is None else found["reliability"],
        where=conditions[0] if len(conditions) == 1 else joined,
    )


# ---------------------------------------------------------------- what is wrong


def multiverse_problems(
    settings: Mapping[str, Any],
    effects: pd.DataFrame,
    base: ModelSpecification,
    *,
    files: Sequence[str] | None = None,
) -> list[str]:
    """Return, in words, everything in a multiverse that cannot work on these effects.

    Parameters
    ----------
    settings
        The configuration of the multiverse.
    effects
        Effect sizes table.
    base
        Specification of the analysis that is the starting point.
    files
        Sheets whose rows may enter (default: all).
    """
    problems = _base_problems(base)
    for key, least in (("shards", 1), ("maximum", 2)):
        value = settings.get(key, least)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            problems.append(f"{key} is {value}; it must be a whole number of {least} or more")
    choices = settings.get("choices")
    if not isinstance(choices, Mapping) or not choices:
        return [*problems, "there are no choices; a multiverse needs one at least"]
    if len(choices) > MAXIMUM_CHOICES:
        problems.append(f"there are {len(choices)} choices; {MAXIMUM_CHOICES} are possible at most")
    makers: dict[str, list[str]] = {}
    for name, entries in choices.items():
        problems += _choice_problems(str(name), entries)
        for key in {k for e in _mappings(entries) for k in e if k in SETTINGS and k != "where"}:
            makers.setdefault(key, []).append(f"'{name}'")
    for key in SETTINGS:
        if len(names := makers.get(key, [])) > 1:
            words = "both" if len(names) == 2 else "all"
            problems.append(
                f"the choices {join_words(names)} {words} set {key}, so that their options cannot "
                "be combined; let one choice make this setting"
            )
    if problems:
        return problems
    read = read_choices(settings)
    return [*_repeated_options(read, base), *_effect_problems(read, effects, base, files)]


def _repeated_options(choices: tuple[Choice, ...], base: ModelSpecification) -> list[str]:
    """Name options of a choice that make the same settings; one left open is the analysis's."""
    own = {**{key: getattr(base, key) for key in MODEL_SETTINGS}, **UNSET}
    problems = []
    for choice in choices:
        settings = [
            {key: option.settings.get(key, own[key]) for key in choice.varied if key != "where"}
            | {"where": _condition(option)}
            for option in choice.options
        ]
        for place, made in enumerate(settings):
            # told once, with the first that comes to the same
            first = settings.index(made)
            if first < place:
                one, other = (choice.options[i].name for i in (first, place))
                problems.append(
                    f"choice '{choice.name}': the options '{one}' and '{other}' come to the same; "
                    "leave one out"
                )
    return problems


def _base_problems(base: ModelSpecification) -> list[str]:
    if base.moderators or base.scale or base.separate_tau2:
        return [
            "the multiverse is of a mean, and its analysis has moderators; name an analysis "
            "without moderators"
        ]
    return []


def _mappings(entries: Any) -> list[Mapping[str, Any]]:
    return [e for e in entries if isinstance(e, Mapping)] if isinstance(entries, list) else []


def _choice_problems(name: str, entries: Any) -> list[str]:
    if not CHOICE_NAME.fullmatch(name):
        return [f"'{name}' cannot name a choice; use letters, digits and _ only"]
    if not isinstance(entries, list) or not entries or len(_mappings(entries)) < len(entries):
        return [f"choice '{name}' needs a list of options, each with a name and a reason"]
    problems = []
    if len(entries) == 1:
        problems.append(f"choice '{name}' has one option only; a choice needs two or more")
    names = [str(entry.get("name") or "") for entry in entries]
    for repeated in sorted({n for n in names if n and names.count(n) > 1}):
        problems.append(f"choice '{name}' has several options called '{repeated}'")
    for number, (option, entry) in enumerate(zip(names, entries, strict=True), start=1):
        place = f"choice '{name}', option '{option or number}'"
        for key in ("name", "reason"):
            if not str(entry.get(key) or "").strip():
                problems.append(f"{place}: the {key} is missing")
        if option == NOT_APPLICABLE:
            problems.append(f"{place}: this name is kept for choices that make no difference")
        unknown = [str(key) for key in entry if key not in (*SETTINGS, "name", "reason")]
        if unknown:
            known = ", ".join(SETTINGS)
            words = ", ".join(f"'{key}'" for key in unknown)
            problems.append(f"{place}: there is no setting {words}; there are: {known}")
        problems += [f"{place}: {text}" for text in _option_problems(entry)]
    return problems


def _option_problems(entry: Mapping[str, Any]) -> list[str]:
    problems = []
    if entry.get("select", "all") not in SELECTIONS:
        problems.append(
            f"'{entry['select']}' is not a way to select; use one of: {', '.join(SELECTIONS)}"
        )
    if not isinstance(entry.get("where", ""), str):
        problems.append("where must be a text, such as \"rater == 'client'\"")
    if "outliers" in entry:
        problems += _outlier_problems(entry["outliers"])
    try:
        made = {key: entry[key] for key in MODEL_SETTINGS if key in entry}
        ModelSpecification.from_mapping(made)
    except SpecificationError as error:
        problems += error.problems
    except (TypeError, AttributeError):
        problems.append("a setting has a value of the wrong kind")
    return problems


def _outlier_problems(rule: Any) -> list[str]:
    if not isinstance(rule, Mapping) or rule.get("rule") not in OUTLIER_RULES:
        return [f"outliers need a rule, one of: {', '.join(OUTLIER_RULES)}"]
    if unknown := sorted(set(rule) - {"rule", "limit"}):
        return [f"outliers have a rule and a limit, not {join_words(unknown)}"]
    limit = rule.get("limit", 1.0)
    if not isinstance(limit, (int, float)) or isinstance(limit, bool) or not limit > 0:
        return [f"the limit of outliers is {limit}; it must be a number above 0"]
    return []


def _effect_problems(
    choices: tuple[Choice, ...],
    effects: pd.DataFrame,
    base: ModelSpecification,
    files: Sequence[str] | None,
) -> list[str]:
    """Return what is wrong with the options seen with the analysis and its rows."""
    try:
        rows = select_and_correct(effects, base, files=files)[0].data
    except SpecificationError as error:
        return [f"the analysis itself: {text}" for text in error.problems]
    if rows.empty:
        return ["no effect satisfies the analysis that is the starting point"]
    observed = effects.loc[effects["effect_id"].isin(rows["effect_id"])]
    problems = []
    for choice in choices:
        for option in choice.options:
            place = f"choice '{choice.name}', option '{option.name}'"
            made = option.settings
            try:
                if not where_mask(observed, str(made.get("where", ""))).any():
                    problems.append(
                        f"{place}: no effect of the analysis satisfies {made['where']!r}; codes "
                        "count here, not their synonyms"
                    )
                if (made.get("metric", base.metric) == "generic") != (base.metric == "generic"):
                    problems.append(
                        f"{place}: effects on a scale of their own and correlations cannot stand "
                        "in one multiverse"
                    )
                elif made.get("attenuation") == "corrected":
                    problems += _attenuation_problems(place, made, choices, effects, base, files)
            except SpecificationError as error:
                problems += [f"{place}: {text}" for text in error.problems]
    return problems


def _attenuation_problems(
    place: str,
    made: Mapping[str, Any],
    choices: tuple[Choice, ...],
    effects: pd.DataFrame,
    base: ModelSpecification,
    files: Sequence[str] | None,
) -> list[str]:
    if base.metric == "generic":
        return [f"{place}: only correlations can be corrected for attenuation"]
    offered = [
        option.settings["reliability"]
        for choice in choices
        for option in choice.options
        if "reliability" in option.settings
    ]
    tried = [made.get("reliability", base.reliability), *offered]
    for reliability in tried:
        spec = replace(base, attenuation="corrected", reliability=reliability)
        if select_and_correct(effects, spec, files=files)[2]:
            return []
    return [
        f"{place}: no reliability is coded or assumed, so that nothing would be corrected; set "
        "reliability"
    ]


def describe_size(enumeration: Enumeration) -> str:
    """Return, in one sentence, how many specifications there are and why."""
    n = len(enumeration.specifications)
    sizes = [len(choice.options) for choice in enumeration.choices]
    options = f"{join_words([str(s) for s in sizes])} option{'' if sizes == [1] else 's'}"
    combined = format_count(enumeration.n_combinations, "combination")
    text = (
        f"{format_count(len(sizes), 'choice')} with {options} "
        f"{'makes' if len(sizes) == 1 else 'make'} {combined}"
    )
    if enumeration.sampled:
        return f"{text}; an evenly random sample of {format_count(n, 'specification')} was run."
    if n == enumeration.n_combinations:
        return f"{text}, {'which was' if n == 1 else 'all of which were'} run."
    return (
        f"{text}; those that amount to the same were run once, which leaves "
        f"{format_count(n, 'specification')}."
    )


def count_options(enumeration: Enumeration) -> Mapping[str, Mapping[str, str]]:
    """Return choice -> option -> reason, for the report."""
    return {c.name: {o.name: o.reason for o in c.options} for c in enumeration.choices}
