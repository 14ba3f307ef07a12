"""In place of a connection: rows that a test gives, and what is missing where it gives none."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, NoReturn, Self, TypeAlias

from streamworkers.errors import UsageError

AnswerQuery: TypeAlias = Callable[[str, Any], Iterable[Sequence[Any]]]


class NotGivenError(UsageError):
    """A job used something that its test has not given the harness."""


class NotGiven:
    """Stands for something that a test has not given: it raises when it is used."""

    def __init__(self, what: str, way_out: str) -> None:
        self._what, self._way_out = what, way_out

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotGivenError(f"the job uses {self._what}.{name}, which its test does not give: {self._way_out}")


class GivenRows:
    """What a job reads with, in place of a connection: `answer` gets a statement and its parameters, returns rows.

    A row is a tuple, as from PostgreSQL. It has `execute`, `cursor` and what a cursor is read with, and nothing else.
    """

    def __init__(self, answer: AnswerQuery) -> None:
        self._answer = answer

    def execute(self, query: Any, parameters: Any = None, **_: Any) -> "GivenCursor":
        """Ask for the rows of a statement."""
        return GivenCursor(self._answer).execute(query, parameters)

    def cursor(self, *_: Any, **__: Any) -> "GivenCursor":
        """Return a cursor, which asks for rows when it executes."""
        return GivenCursor(self._answer)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotGivenError(
            f"the job uses connection.{name}, and given rows have only execute and cursor: give the harness a"
            " connection="
        )


class GivenCursor:
    """The rows of a statement, read as from a cursor of psycopg."""

    def __init__(self, answer: AnswerQuery) -> None:
        self._answer = answer
        self._rows: Iterator[tuple[Any, ...]] = iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the block: nothing is held, and nothing has to be closed."""

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self._rows

    def execute(self, query: Any, parameters: Any = None, **_: Any) -> Self:
        """Ask for the rows of a statement."""
        text = query if isinstance(query, str) else _read_text(query)
        self._rows = iter([tuple(row) for row in self._answer(text, parameters)])
        return self

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, or None."""
        return next(self._rows, None)

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        """Return the next rows, at most so many."""
        return [row for _, row in zip(range(size), self._rows, strict=False)]

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows that are left."""
        return list(self._rows)


def _read_text(query: Any) -> str:
    """Return the text of a statement that is bytes, or was put together with psycopg."""
    return query.decode() if isinstance(query, bytes) else str(query.as_string(None))
