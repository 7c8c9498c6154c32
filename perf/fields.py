"""Templates over a stored result: `{sizes[events=50000000].validate_s / 60:.0f} min`.

A field is `expression:format`. An expression is a path, or paths and numbers joined by ` + `, ` - `, ` * `, ` / `, from
left to right. A path is names joined by dots; of a list, `[2]` is a row by place and `[model=ranker,rate=50]` the
one row with those values.
"""

import operator
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from perf.errors import PerfError

OPERATORS: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip
WORD = re.compile(r"(?:\[[^\]]*\]|\S)+")
STEP = re.compile(r"\[([^\]]+)\]|([^.\[\]]+)")


def render(template: str, document: Mapping[str, Any]) -> str:
    """The template with its fields filled in. Raises PerfError naming the field that does not resolve."""
    parts = []
    for text, field, form, _ in string.Formatter().parse(template):
        parts.append(text + ("" if field is None else _filled(field, form or "", document)))
    return "".join(parts)


def _filled(field: str, form: str, document: Mapping[str, Any]) -> str:
    try:
        return format(evaluate(field, document), form)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise PerfError(f"{{{field}:{form}}}: {error}") from None


def evaluate(expression: str, document: Mapping[str, Any]) -> Any:
    """The value of an expression. Raises PerfError where a path leads nowhere."""
    first, *rest = WORD.findall(expression)
    value = _operand(first, document)
    for sign, word in zip(rest[::2], rest[1::2], strict=True):
        if sign not in OPERATORS:
            raise PerfError(f"{expression}: {sign} is not one of {' '.join(OPERATORS)}")
        value = OPERATORS[sign](value, _operand(word, document))
    return value


def _operand(word: str, document: Mapping[str, Any]) -> Any:
    try:
        return float(word)
    except ValueError:
        return find(word, document)


def find(path: str, document: Mapping[str, Any]) -> Any:
    """The value at a path. Raises PerfError naming the step that is missing."""
    value: Any = document
    for row, name in STEP.findall(path):
        try:
            value = _row(value, row) if row else value[name]
        except (KeyError, IndexError, TypeError):
            raise PerfError(f"{path}: there is no {row or name}") from None
    return value


def _row(rows: Sequence[Mapping[str, Any]], said: str) -> Any:
    """By place, or the only row with the values; KeyError when none or several have them."""
    if "=" not in said:
        return rows[int(said)]
    wanted = [pair.partition("=")[::2] for pair in said.split(",")]
    found = [row for row in rows if all(_text(row[name]) == value for name, value in wanted)]
    if len(found) != 1:
        raise KeyError(said)
    return found[0]


def _text(value: object) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)
