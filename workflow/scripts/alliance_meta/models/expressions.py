"""What formulas and ``where`` expressions may hold: columns, values and a few functions."""

import ast
import io
import keyword
import re
import tokenize
from collections.abc import Iterator

import formulaic
from formulaic.errors import FormulaicError

from alliance_meta.models.specification import SpecificationError

# encodings of formulaic and plain mathematics; nothing that reads or writes anything else
FORMULA_FUNCTIONS = frozenset(
    {"C", "I", "bs", "poly", "center", "scale", "log", "log2", "log10", "exp", "sqrt", "abs"}
)
_FORMULA_SIGNS = frozenset(["+", "-", "*", "/", ":", "**", "^", "%", "(", ")", ",", "=", "."])
_CATEGORY = re.compile(r"\bC\(\s*(?:`([^`]+)`|([^\W\d]\w*))\s*[,)]")
_QUOTED = re.compile(r"`([^`]+)`")

_WHERE_NODES = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Invert),
    *(ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Mod, ast.BitAnd, ast.BitOr),
    *(ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple),
)


def formula_variables(formula: str) -> tuple[str, ...]:
    """Return the columns that a moderator formula uses, sorted.

    Parameters
    ----------
    formula
        Right-hand side of a formula; columns with blanks stand in backticks.

    Raises
    ------
    SpecificationError
        If the formula holds anything but columns, numbers, operators and the functions of
        ``FORMULA_FUNCTIONS``.
    """
    if "~" in formula:
        raise SpecificationError(
            f"'{formula}': only the right-hand side is wanted, without '~'", setting="moderators"
        )
    if not formula.strip():
        return ()
    quoted = _QUOTED.findall(formula)
    tokens = list(_tokens(_QUOTED.sub("1", formula), formula))
    names = set(quoted)
    for index, (kind, text) in enumerate(tokens):
        following = tokens[index + 1][1] if index + 1 < len(tokens) else ""
        if kind == tokenize.OP and text not in _FORMULA_SIGNS:
            _refuse(formula, f"'{text}' is not understood")
        if kind != tokenize.NAME or (index and tokens[index - 1][1] == "."):
            continue
        if keyword.iskeyword(text) and not (
            text in ("True", "False") and _is_argument(tokens, index)
        ):
            _refuse(formula, f"'{text}' is a reserved word; put the column in backticks: `{text}`")
        if keyword.iskeyword(text):
            continue
        if following == "(":
            if text not in FORMULA_FUNCTIONS:
                known = ", ".join(sorted(FORMULA_FUNCTIONS))
                _refuse(
                    formula,
                    f"'{text}' is not a function here; there are: {known}; a reference level is "
                    "chosen by the setting reference",
                )
        elif following == ".":
            if text != "contr":
                _refuse(formula, f"'{text}.' is not understood")
        elif following != "=":
            names.add(text)
    try:
        formulaic.Formula(formula)
    except (FormulaicError, SyntaxError, ValueError) as error:
        _refuse(formula, (str(error).splitlines() or [type(error).__name__])[0])
    if len(re.findall(r"\bC\(", formula)) != len(_CATEGORY.findall(formula)):
        _refuse(formula, "C takes one column, such as C(session)")
    if not names:
        _refuse(formula, "it names no column")
    return tuple(sorted(names))


def scale_variables(formula: str) -> tuple[str, ...]:
    """Return the same for the formula of the scale part; errors name that setting."""
    try:
        return formula_variables(formula)
    except SpecificationError as error:
        raise SpecificationError(*error.problems, setting="scale") from error


def categorical_numbers(formula: str) -> tuple[str, ...]:
    """Return the columns that a formula makes categorical by ``C(...)``, sorted."""
    return tuple(sorted({quoted or plain for quoted, plain in _CATEGORY.findall(formula)}))


def _is_argument(tokens: list[tuple[int, str]], index: int) -> bool:
    """Return whether a token is the value of a named argument."""
    return index > 0 and tokens[index - 1][1] == "="


def _tokens(text: str, formula: str) -> Iterator[tuple[int, str]]:
    skipped = {tokenize.NEWLINE, tokenize.NL, tokenize.ENDMARKER, tokenize.INDENT, tokenize.DEDENT}
    try:
        for token in tokenize.generate_tokens(io.StringIO(text.strip()).readline):
            if token.type == tokenize.ERRORTOKEN and token.string.strip():
                _refuse(formula, f"'{token.string}' is not understood")
            if token.type not in skipped and token.string.strip():
                yield token.type, token.string
    except (tokenize.TokenError, SyntaxError):
        _refuse(formula, "a bracket or a quotation mark is not closed")


def _refuse(formula: str, reason: str) -> None:
    if "," in formula and "(" not in formula:
        reason = "join moderators with +, such as rater + year"
    raise SpecificationError(f"'{formula}' cannot be read: {reason}", setting="moderators")


def parse_where(where: str) -> tuple[ast.Expression, dict[str, str]]:
    """Parse a ``where`` expression and refuse what is not a comparison of columns and values.

    Parameters
    ----------
    where
        The expression; columns with blanks stand in backticks.

    Returns
    -------
    tree, quoted
        The syntax tree, and its stand-ins for columns in backticks.

    Raises
    ------
    SpecificationError
        If the expression cannot be read or calls anything.
    """
    quoted: dict[str, str] = {}

    def stand_in(match: re.Match[str]) -> str:
        name = f"quoted_column_{len(quoted)}"
        quoted[name] = match[1]
        return name

    try:
        tree = ast.parse(_QUOTED.sub(stand_in, " ".join(where.split())), mode="eval")
    except SyntaxError as error:
        reason = str(error.msg)
        if re.search(r"(?<![=!<>])=(?!=)", where):
            reason = "write == to compare, and quotes around codes"
        raise SpecificationError(f"{where!r} cannot be read: {reason}", setting="where") from error
    for node in ast.walk(tree):
        if not isinstance(node, _WHERE_NODES):
            raise SpecificationError(
                f"{where!r} cannot be read: only comparisons of columns with values, joined by "
                "and, or, not, in, are understood",
                setting="where",
            )
    return tree, quoted


def compared_values(where: str) -> Iterator[tuple[str, object]]:
    """Yield every column with every value that ``where`` compares it for equality."""
    if not where.strip():
        return
    tree, quoted = parse_where(where)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare) or not isinstance(node.left, ast.Name):
            continue
        column = quoted.get(node.left.id, node.left.id)
        for operator, right in zip(node.ops, node.comparators, strict=True):
            if not isinstance(operator, (ast.Eq, ast.NotEq, ast.In, ast.NotIn)):
                continue
            items = right.elts if isinstance(right, (ast.List, ast.Tuple)) else [right]
            yield from ((column, item.value) for item in items if isinstance(item, ast.Constant))
