"""Which rows enter an analysis, and why the others do not."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from alliance_meta.formatting import format_count
from alliance_meta.models.expressions import (
    categorical_numbers,
    formula_variables,
    parse_where,
)
from alliance_meta.models.levels import describe_named, name_missing
from alliance_meta.models.specification import ModelSpecification, SpecificationError

LEFT_OUT_COLUMNS = ["effect_id", "study_id", "reason"]

METRIC_COLUMNS = {"fisher_z": ("z", "vz"), "r": ("r", "vr"), "generic": ("yi", "vi")}


@dataclass(frozen=True)
class Selection:
    """Rows that enter, rows left out (with reasons), and sentences about both.

    ``data`` has ``yi`` and ``vi`` on the analysis metric; numbers inside ``C(...)`` are text.
    """

    data: pd.DataFrame
    left_out: pd.DataFrame
    notes: tuple[str, ...] = ()


def select_rows(
    effects: pd.DataFrame,
    spec: ModelSpecification,
    variables: Sequence[str],
    *,
    files: Sequence[str] | None = None,
) -> Selection:
    """Apply exclusions, files, the ``where`` expression and complete moderators.

    Parameters
    ----------
    effects
        Effect sizes table.
    spec
        Its ``where``, ``metric`` and ``missing_moderators`` are used.
    variables
        Moderator columns that must be filled.
    files
        Values of ``source_file`` that may enter (default: all).

    Raises
    ------
    SpecificationError
        If a moderator is no column, ``where`` cannot be evaluated, or a row that should
        enter has no value on the metric.
    """
    unknown = [v for v in variables if v not in effects.columns]
    if unknown:
        names = ", ".join(f"'{v}'" for v in unknown)
        own = set(unknown) & set(formula_variables(spec.moderators))
        setting = "moderators" if own or not spec.scale else "scale"
        raise SpecificationError(f"there is no column {names}", setting=setting)
    data = effects.loc[effects["exclude_reason"].isna()]
    if files is not None:
        data = data.loc[data["source_file"].isin(list(files))]
    data = data.loc[where_mask(data, spec.where)].copy()

    y_column, v_column = METRIC_COLUMNS[spec.metric]
    generic = data["conversion"] == "generic"
    wrong = generic if spec.metric != "generic" else ~generic
    if wrong.any():
        names = ", ".join(data.loc[wrong, "effect_id"].head(5))
        raise SpecificationError(
            f"'{spec.metric}': {format_count(int(wrong.sum()), 'effect')} of another scale "
            f"would enter ({names}); leave them out with 'where' or set another metric",
            setting="metric",
        )
    data["yi"], data["vi"] = data[y_column], data[v_column]

    named: list[str] = []
    if spec.missing_moderators == "level":
        filled = name_missing(data, variables)
        data, named = filled.data, describe_named(filled.named)
    missing = data[list(variables)].isna()
    incomplete = missing.any(axis=1)
    left_out = data.loc[incomplete, ["effect_id", "study_id"]].reset_index(drop=True)
    left_out["reason"] = [
        "no value for " + ", ".join(missing.columns[row]) for row in missing[incomplete].to_numpy()
    ]
    notes = tuple(named)
    if incomplete.any():
        n = int(incomplete.sum())
        verb = "has" if n == 1 else "have"
        notes += (
            f"{format_count(n, 'effect')} {verb} no value for "
            f"{' or '.join(variables)} and did not enter.",
        )
    data = data.loc[~incomplete].reset_index(drop=True)
    for name in {*categorical_numbers(spec.moderators), *categorical_numbers(spec.scale)}:
        if pd.api.types.is_numeric_dtype(data[name]):
            data[name] = data[name].map(_number_code).astype("str")
    return Selection(data, left_out, notes)


def _number_code(number: float) -> str:
    """Return the shortest text of a number, without ".0" (and without a negative zero)."""
    return str(int(number)) if float(number).is_integer() else repr(float(number))


def where_mask(data: pd.DataFrame, where: str) -> "pd.Series[bool]":
    """Evaluate a ``where`` expression, such as "rater == 'client' and year > 2000".

    Comparisons with an empty cell are false, except ``!=``, which is true. An expression sees
    columns and values, and calls nothing.

    Raises
    ------
    SpecificationError
        If the expression cannot be evaluated or does not give true or false for each row.
    """
    if not where.strip():
        return pd.Series(True, index=data.index)
    tree, quoted = parse_where(where)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    unknown = sorted({quoted.get(name, name) for name in names} - set(map(str, data.columns)))
    if unknown:
        listed = ", ".join(f"'{name}'" for name in unknown)
        raise SpecificationError(
            f"{where!r}: there is no column {listed}; put quotes around codes", setting="where"
        )
    try:
        mask = data.eval(" ".join(where.split()), engine="python", local_dict={}, global_dict={})
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        reason = _mixed_comparison(tree, quoted, data) or reason
        raise SpecificationError(f"{where!r} cannot be read: {reason}", setting="where") from error
    if not isinstance(mask, pd.Series) or mask.dtype != bool:
        raise SpecificationError(
            f"{where!r} must compare columns with values, such as \"rater == 'client'\"",
            setting="where",
        )
    return mask


def _mixed_comparison(tree: ast.Expression, quoted: Mapping[str, str], data: pd.DataFrame) -> str:
    """Say where ``<`` or ``>`` stands between text and a number; empty where it does not."""

    def describe(node: ast.expr) -> tuple[str, bool]:
        """Return a side in words, and whether it is text."""
        if isinstance(node, ast.Name):
            name = quoted.get(node.id, node.id)
            return f"the column '{name}'", not pd.api.types.is_numeric_dtype(data[name])
        return "", isinstance(node, ast.Constant) and isinstance(node.value, str)

    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        sides = [describe(side) for side in (node.left, *node.comparators)]
        for one, sign, other in zip(sides, node.ops, sides[1:], strict=False):
            if one[1] == other[1] or not isinstance(sign, (ast.Lt, ast.LtE, ast.Gt, ast.GtE)):
                continue
            text, number = (one[0], other[0]) if one[1] else (other[0], one[0])
            if text:
                return (
                    f"{text} holds text, which cannot be compared with a number by < or >; "
                    "choose its codes with == or in"
                )
            return (
                f"{number or 'a number'} cannot be compared with a text by < or >; write numbers "
                "without quotes"
            )
    return ""
