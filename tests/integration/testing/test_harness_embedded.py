"""A job under the harness with real services: saved under the fence, executed twice; what is not fenced is found."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import ClassVar

import psycopg
import pytest

from harness import ServiceUrls
from streamworkers import Completed, Context, Event, Failed, Item, Job, JobParameters, Snoozed
from streamworkers.database import Connection
from streamworkers.engine.outcome import Outcome
from streamworkers.testing import JobHarness
from streamworkers.testing.installation import Installation
from streamworkers.testing.table_digests import name_changes, read_digests

LATER = datetime(2030, 1, 1, tzinfo=UTC)
_ADD = "INSERT INTO effects (run_id, symbol) VALUES (%s, %s)"


class Saver(Job[JobParameters, str]):
    """Writes one row into `effects` for each item, where it should."""

    name: ClassVar[str] = "saver"
    queue: ClassVar[str] = "kit"
    batch_size: ClassVar[int] = 2
    max_attempts: ClassVar[int] = 2

    def execute(self, items: Sequence[Item], context: Context[JobParameters]) -> Iterable[Outcome[str]]:
        for item in items:
            match item.key:
                case "FAIL":
                    yield Failed(item, "as wished")
                case "MEND" if item.attempt == 1:
                    raise ZeroDivisionError("at first")
                case "SNOOZE":
                    yield Snoozed(item, LATER)
                case _:
                    yield Completed(item, item.key.lower(), {"attempt": item.attempt})

    def save(self, connection: Connection, completed: Sequence[Completed[str]]) -> Iterable[Event]:
        for outcome in completed:
            if outcome.item.key == "SPOIL":
                raise ValueError("cannot be saved")
            connection.execute(_ADD, (outcome.item.run_id, outcome.item.key))
        return [Event("saved", {"keys": [outcome.item.key for outcome in completed]})]


class Unfenced(Saver):
    """Writes in `execute`, on a connection of its own."""

    url: ClassVar[str]

    def execute(self, items: Sequence[Item], context: Context[JobParameters]) -> Iterable[Outcome[str]]:
        with psycopg.connect(self.url, autocommit=True) as own:
            for item in items:
                own.execute(_ADD, (item.run_id, item.key))
        return [Completed(item) for item in items]

    def save(self, connection: Connection, completed: Sequence[Completed[str]]) -> Iterable[Event]:
        return ()


class Saveless(Job[JobParameters]):
    """Has nothing to save, and writes on the worker's own connection."""

    name: ClassVar[str] = "saveless"
    queue: ClassVar[str] = "kit"

    def execute(self, items: Sequence[Item], context: Context[JobParameters]) -> Iterable[Outcome]:
        for item in items:
            if item.key == "WRITE":
                context.connection.execute(_ADD, (item.run_id, item.key))
            yield Completed(item)


@pytest.fixture
def installation(service_urls: ServiceUrls, database_url: str, key_prefix: str) -> Installation:
    return Installation(service_urls.redis, database_url, key_prefix)


def _effects(connection: Connection) -> list[str]:
    return [key for (key,) in connection.execute("SELECT symbol FROM effects ORDER BY 1")]


def test_a_run_is_saved_once_although_it_is_executed_twice(installation: Installation, connection: Connection) -> None:
    run = JobHarness(Saver, installation=installation).run(["A", "B", "C"])
    assert run.values == {"A": "a", "B": "b", "C": "c"}
    assert run.results["A"] == {"attempt": 1}
    assert run.calls == [["A", "B"], ["C"]]
    assert [event.payload for event in run.events] == [{"keys": ["A", "B"]}, {"keys": ["C"]}]
    assert _effects(connection) == ["A", "B", "C"]
    assert connection.execute("SELECT status, completed_count FROM runs").fetchall() == [("COMPLETED", 3)]


def test_failures_retries_and_snoozes_are_those_of_the_ledger(
    installation: Installation, connection: Connection
) -> None:
    keys = ["A", "FAIL", "MEND", "SNOOZE", "SPOIL"]
    harness = JobHarness(Saver, installation=installation)
    once = harness.run(keys)
    assert once.retries == {
        "FAIL": "as wished",
        "MEND": "ZeroDivisionError: at first",
        "SPOIL": "ValueError: cannot be saved",
    }
    assert set(once.snoozes) == {"SNOOZE"}
    with pytest.raises(ZeroDivisionError, match="at first"):
        _ = once["MEND"].value
    with pytest.raises(ValueError, match="cannot be saved"):
        _ = once["SPOIL"].value
    twice = harness.run(keys, attempts=2)
    assert twice.dead == {"FAIL": "as wished", "SPOIL": "ValueError: cannot be saved"}
    assert twice.values == {"A": "a", "MEND": "mend"}
    assert twice["MEND"].attempt == 2
    assert twice["SNOOZE"].state == "snoozed"
    assert _effects(connection) == ["A", "A", "MEND"]


def test_a_write_in_execute_is_found_before_anything_is_saved(
    installation: Installation, connection: Connection
) -> None:
    job = type("Planted", (Unfenced,), {"url": installation.database_url})
    with pytest.raises(AssertionError, match=r"execute of job 'saver' has changed effects \(0 rows before, 2 after\)"):
        JobHarness(job, installation=installation).run(["A", "B"])
    with pytest.raises(AssertionError, match=r"execute of job 'saveless' has changed effects \(2 rows before, 3 after"):
        JobHarness(Saveless, installation=installation).run(["A", "WRITE"])
    assert connection.execute("SELECT status FROM runs").fetchall() == [("RUNNING",)] * 2


def test_a_write_of_a_later_batch_is_found_when_it_is_made_again(installation: Installation) -> None:
    class Late(Saver):
        def execute(self, items: Sequence[Item], context: Context[JobParameters]) -> Iterable[Outcome[str]]:
            if items[0].seq > 1:
                context.connection.execute(_ADD, (items[0].run_id, "again"))
            return [Completed(item) for item in items]

    with pytest.raises(
        AssertionError, match=r"the items of job 'saver' a second time has changed effects \(4 rows before, 5 after\)"
    ):
        JobHarness(Late, installation=installation).run(["A", "B", "C"])


def test_tables_of_calls_outside_may_be_written_in_execute(installation: Installation, connection: Connection) -> None:
    harness = JobHarness(Saveless, installation=installation, writes_in_execute=["effects"])
    assert harness.run(["A", "WRITE"]).errors == {}
    assert _effects(connection) == ["WRITE", "WRITE"]


def test_other_values_in_as_many_rows_are_a_change(connection: Connection) -> None:
    connection.execute("CREATE SCHEMA mine")
    connection.execute("CREATE TABLE mine.prices AS SELECT 1 AS price")
    before = read_digests(connection)
    connection.execute("UPDATE mine.prices SET price = 1")
    assert name_changes(before, read_digests(connection)) == ""
    connection.execute("UPDATE mine.prices SET price = 2")
    assert name_changes(before, read_digests(connection)) == "mine.prices (other values in 1 rows)"
    assert name_changes(before, read_digests(connection, ["prices"])) == "mine.prices (1 rows before, 0 after)"
