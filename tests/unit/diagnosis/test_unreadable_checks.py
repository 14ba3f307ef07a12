"""A check that cannot read its rows is a finding of its own; what a store does not answer is not."""

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from streamworkers.diagnosis.finding import ERROR, WARNING, Check, Finding
from streamworkers.errors import RedisUnavailableError

SNAPSHOT: Any = SimpleNamespace(connection=SimpleNamespace(closed=False))


def _check(look: Callable[[Any], Iterable[Finding]]) -> Check:
    return Check("a_check", "runs", WARNING, look, "something is wrong")


def _raise(error: Exception) -> Callable[[Any], Iterable[Finding]]:
    def look(_: Any) -> Iterable[Finding]:
        yield Finding("run 1", "it is wrong")
        raise error

    return look


@pytest.mark.parametrize("error", [ValueError("many"), psycopg.errors.InvalidTextRepresentation("many")])
def test_an_error_of_a_row_is_the_finding(error: Exception) -> None:
    (found,) = _check(_raise(error)).find(SNAPSHOT)
    assert (found.check, found.where, found.severity) == ("a_check", "runs", ERROR)
    assert found.what == f"the check a_check cannot read what it looks at: {type(error).__name__}: many"
    assert found.advice == "mend or delete the row or key that the error is about; without such a one, report it"


@pytest.mark.parametrize("error", [RedisUnavailableError("away"), psycopg.OperationalError("away")])
def test_a_store_that_is_away_ends_the_look(error: Exception) -> None:
    with pytest.raises(type(error)):
        _check(_raise(error)).find(SNAPSHOT)
