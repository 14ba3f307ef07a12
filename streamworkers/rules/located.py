"""JSON objects that remember where in a text they were read, so that errors of the tree point into the text."""

from collections.abc import Mapping
from typing import Any

from streamworkers.rules.problem import PathPart


class Located(dict[str, Any]):
    """A JSON object with the column at which it begins in the text, and those of its members."""

    column: int
    columns: dict[str, int]

    def __init__(self, column: int, members: Mapping[str, Any], **columns: int) -> None:
        super().__init__(members)
        self.column, self.columns = column, columns


def find_column(document: object, path: tuple[PathPart, ...]) -> int:
    """The column of the innermost part of a path that is known."""
    column, inside = 1, document
    for part in path:
        if isinstance(inside, Located):
            column = inside.columns.get(str(part), inside.column)
        try:
            inside = inside[part]  # type: ignore[index]
        except (LookupError, TypeError):
            return column
    return inside.column if isinstance(inside, Located) else column
