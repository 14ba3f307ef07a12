"""`RuleError`: what is wrong with a rule, and where."""

import reprlib
from collections.abc import Sequence

from streamworkers.errors import BadInputError

PathPart = str | int
Path = tuple[PathPart, ...]

_short = reprlib.Repr()
_short.maxstring, _short.maxother, _short.maxlong = 60, 60, 40
_short.maxlevel, _short.maxdict, _short.maxlist = 2, 3, 4


class RuleError(BadInputError):
    """A document or text breaks a rule of the language.

    `path` leads to the value in the document, `problem` says what is wrong with it. Errors of texts have `column` too,
    counted from 1.
    """

    def __init__(self, path: Sequence[PathPart], problem: str, text: str | None = None, column: int = 1) -> None:
        self.path, self.problem, self.column = tuple(path), problem, column if text is not None else None
        if text is None:
            super().__init__(f"{show_path(path)}: {problem}")
        else:
            super().__init__(f"column {column}: {problem}\n{_point_at(text, column)}")


def show_path(path: Sequence[PathPart]) -> str:
    """The path as people write it: `$.rule.conditions[1].value`."""
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def show_value(value: object) -> str:
    """A value for a message, cut off where it is long."""
    return _short.repr(value)


def _point_at(text: str, column: int) -> str:
    """The part of the text around the column, and a caret below it."""
    start = max(0, column - 41)
    line = "".join(char if char.isprintable() else " " for char in text[start : column + 39])
    return f"  {line}\n  {' ' * (column - 1 - start)}^"
