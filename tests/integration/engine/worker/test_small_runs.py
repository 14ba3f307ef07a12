"""Several small runs in one delivery: they share what ends them, and nothing else."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import psycopg
import pytest

from consumer import Consumer
from harness import effects_of, items_of, run_status, start_run
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.job import Context, Job, JobParameters
from streamworkers.engine.ledger import Completions, ItemUpdate
from streamworkers.engine.outcome import Completed, Event, Failed, Item, Outcome
from streamworkers.engine.redis.queue import Queues
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.worker import unfinished
from streamworkers.errors import RedisUnavailableError

pytestmark = pytest.mark.usefixtures("unhurried")

HOSTILE = (
    "SET synchronous_commit TO off; SET default_transaction_read_only TO on; SET search_path TO nowhere",
    "SET ROLE pg_read_all_data",
)


class Saveless(Job[JobParameters]):
    """Completes every item with a result, but fails the one named FAIL; keeps what it saw."""

    name: ClassVar[str] = "saveless"
    queue: ClassVar[str] = "tests"
    batch_size: ClassVar[int] = 5

    def __init__(self) -> None:
        self.kept: Connection | None = None
        self.calls: list[list[str]] = []
        self.fails: Exception | None = None

    def execute(self, items: Sequence[Item], context: Context[JobParameters]) -> Iterable[Outcome]:
        self.calls.append([item.symbol for item in items])
        for item in items:
            if item.symbol == "KEEP":
                self.kept = context.connection
            if item.symbol == "USE" and self.kept is not None:
                self.kept.execute("SET search_path TO nowhere")
            if item.symbol == "OUTAGE" and self.fails is not None:
                raise self.fails
            if item.symbol == "DIE":
                raise _ProcessDied
            yield Failed(item, "as wished") if item.symbol == "FAIL" else Completed(item, None, {"of": item.symbol})


class Saving(Saveless):
    """The same, with one row an item in `effects`, and an event for the item named EVENT."""

    name: ClassVar[str] = "saving"

    def save(self, connection: Connection, completed: Sequence[Completed]) -> Iterable[Event]:
        for outcome in completed:
            connection.execute(
                "INSERT INTO effects (run_id, symbol) VALUES (%s, %s)", (outcome.item.run_id, outcome.item.symbol)
            )
        return [Event("tests", {}) for outcome in completed if outcome.item.symbol == "EVENT"]


class _ProcessDied(SystemExit):
    """What stands for the end of the process: nothing catches it."""


@pytest.fixture
def saveless() -> Saveless:
    return Saveless()


@pytest.fixture
def small(registry: Registry, saveless: Saveless) -> Registry:
    return Registry([saveless, Saving(), registry["ledger_entry"]])


@pytest.fixture
def worker(settings: Settings, small: Registry, streams: Streams, connection: Connection) -> Consumer:
    return Consumer(settings, small, streams, connection, "small")


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine ends no delivery early: calls wait for each other however long they take."""
    monkeypatch.setattr(unfinished, "MOST_SECONDS", 3600.0)


def _trace(monkeypatch: pytest.MonkeyPatch, *functions: tuple[object, str]) -> list[str]:
    """The names of these functions, in the order of their calls from now on."""
    seen: list[str] = []
    for owner, name in functions:
        real = getattr(owner, name)

        def traced(*words: Any, real: Any = real, name: str = name, **named: Any) -> Any:
            seen.append(name)
            return real(*words, **named)

        monkeypatch.setattr(owner, name, traced)
    return seen


@pytest.mark.parametrize("job", ["saveless", "saving"])
def test_every_run_of_a_delivery_completes_with_its_own_items_and_reports(
    job: str, connection: Connection, streams: Streams, small: Registry, worker: Consumer
) -> None:
    runs = [start_run(connection, streams, small, job, *(f"{name}{n}" for n in range(7))) for name in "ABC"]
    worker.work()
    for run, name in zip(runs, "ABC", strict=True):
        symbols = [f"{name}{n}" for n in range(7)]
        assert items_of(connection, run) == dict.fromkeys(symbols, ("completed", 1, None))
        assert effects_of(connection, run) == (symbols if job == "saving" else [])
        assert run_status(connection, run) == "COMPLETED"
        rows = connection.execute("SELECT symbol, result ->> 'of', worker FROM run_items WHERE run_id = %s", (run.id,))
        assert sorted(rows.fetchall()) == [(symbol, symbol, "small") for symbol in symbols]
    assert worker.reporter.total("completed") == 21
    assert [len(call) for call in worker.reporter.calls] == [5, 2] * 3
    assert sorted(map(len, worker.reporter.intents)) == [2, 2, 2, 5, 5, 5]
    assert streams.inspector.read_open_counts("tests") == {}
    assert streams.inspector.read_backlog("tests").total == 0


def test_a_failure_stays_with_its_item_and_its_run(
    connection: Connection, streams: Streams, small: Registry, worker: Consumer
) -> None:
    good, bad, last = (
        start_run(connection, streams, small, "saveless", *symbols, max_attempts=1)
        for symbols in (["A", "B"], ["C", "FAIL"], ["D"])
    )
    worker.work()
    assert [run_status(connection, run) for run in (good, bad, last)] == [
        "COMPLETED",
        "COMPLETED_WITH_ERRORS",
        "COMPLETED",
    ]
    assert items_of(connection, bad) == {"C": ("completed", 1, None), "FAIL": ("failed", 1, "as wished")}


def test_if_the_common_statement_fails_each_run_is_committed_on_its_own(
    connection: Connection,
    streams: Streams,
    small: Registry,
    worker: Consumer,
    saveless: Saveless,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise psycopg.DataError("as wished")

    runs = [start_run(connection, streams, small, "saveless", "A", "B") for _ in range(3)]
    worker.work(count=1)
    monkeypatch.setattr(ledger, "complete_items_of_runs", fail)
    worker.work()
    assert [run_status(connection, run) for run in runs] == ["COMPLETED"] * 3
    assert saveless.calls == [["A"], ["B"], ["A", "B"], ["A", "B"]]
    assert worker.reporter.total("completed") == 6


def test_another_workers_item_among_them_is_fenced_and_the_others_complete(
    connection: Connection, streams: Streams, small: Registry, worker: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (start_run(connection, streams, small, "saveless", "A", "B") for _ in range(2))
    commit = ledger.complete_items_of_runs

    def overtaken(*words: Any) -> dict[int, set[int]]:
        connection.execute("UPDATE run_items SET status = 'completed' WHERE (run_id, seq) = (%s, 1)", (first.id,))
        return commit(*words)

    monkeypatch.setattr(ledger, "complete_items_of_runs", overtaken)
    worker.work()
    assert (worker.reporter.total("completed"), worker.reporter.total("fenced")) == (3, 1)
    assert [run_status(connection, run) for run in (first, second)] == ["COMPLETED"] * 2


def test_one_statement_closes_only_the_pairs_of_run_item_and_generation_that_are_named(
    connection: Connection, streams: Streams, small: Registry
) -> None:
    first, second = (start_run(connection, streams, small, "saveless", "A", "B", "C") for _ in range(2))
    connection.execute("UPDATE run_items SET generation = 1 WHERE (run_id, seq) = (%s, 2)", (second.id,))
    now = datetime.now(UTC)
    closed = ledger.complete_items_of_runs(
        connection,
        "w",
        [
            Completions(first, now, [ItemUpdate(0, 0, 1, "completed", {"x": 1}), ItemUpdate(1, 0, 2, "completed")]),
            Completions(second, now, [ItemUpdate(2, 0, 1, "completed"), ItemUpdate(1, 0, 1, "completed")]),
        ],
    )
    assert closed == {first.id: {0, 1}, second.id: {1}}
    rows = connection.execute(
        "SELECT run_id, seq, attempt, result, started_at FROM run_items WHERE status = 'completed' ORDER BY run_id, seq"
    ).fetchall()
    assert rows == [
        (first.id, 0, 1, {"x": 1}, now),
        (first.id, 1, 2, None, now),
        (second.id, 1, 1, None, now),
    ]
    streams.client.raw.delete(streams.keys.stream("tests"), streams.keys.open_items("tests"))


def test_what_was_executed_before_the_call_in_which_the_process_dies_is_requeued_unchanged(
    connection: Connection, streams: Streams, small: Registry, worker: Consumer, consumer: Consumer
) -> None:
    good = start_run(connection, streams, small, "saving", "A")
    deadly = start_run(connection, streams, small, "saving", "DIE", max_attempts=1)
    with pytest.raises(_ProcessDied):
        worker.work()
    assert effects_of(connection, good) == ["A"]  # committed at once, because there is something to save
    suspects = worker.reporter.calls[-1]
    assert len(suspects) == 1
    assert streams.leases.requeue("tests", "small", "killed by signal 9", suspects) == 2
    consumer.work_until_empty()
    assert (run_status(connection, good), run_status(connection, deadly)) == ("COMPLETED", "FAILED")
    assert effects_of(connection, good) == ["A"]
    assert consumer.reporter.total("dropped") == 1


def test_entries_leave_redis_only_after_the_commits_are_on_disk(
    connection: Connection, streams: Streams, small: Registry, worker: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for symbol in ("A", "EVENT", "B", "C"):
        start_run(connection, streams, small, "saving", symbol)
    worker.work(count=1)
    seen = _trace(monkeypatch, (ledger, "commit_lazily"), (ledger, "wait_for_commits"), (Queues, "finish"))
    worker.work()
    # The event is published by others as soon as it is committed, so that commit waits.
    assert seen == ["commit_lazily", "commit_lazily", "wait_for_commits", "finish"]
    seen.clear()
    start_run(connection, streams, small, "saving", "D")
    worker.work()
    assert seen == ["finish"]  # a commit alone waits by itself


@pytest.mark.parametrize("hostile", HOSTILE)
def test_waiting_for_commits_does_not_depend_on_what_a_handler_did_to_the_session(
    hostile: str, connection: Connection
) -> None:
    with connection.transaction():
        connection.execute("INSERT INTO effects (run_id, symbol) VALUES (1, 'A')")
        ledger.commit_lazily(connection)
    connection.execute(hostile.encode())
    before = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
    ledger.wait_for_commits(connection)
    assert before is not None
    assert connection.execute("SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn", before).fetchone() == (True,)


def test_a_session_is_reset_once_a_handler_has_had_the_connection_in_hand(
    connection: Connection,
    streams: Streams,
    small: Registry,
    worker: Consumer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for symbol in ("A", "B", "KEEP", "C", "USE"):
        start_run(connection, streams, small, "saveless", symbol)
    honest = start_run(connection, streams, small, "ledger_entry", "D")
    resets: list[str] = []
    execute = psycopg.Connection.execute

    def watched(self: Connection, statement: Any, *words: Any, **named: Any) -> Any:
        if b"RESET ALL" in (statement if isinstance(statement, bytes) else b""):
            resets.append("reset")
        return execute(self, statement, *words, **named)

    monkeypatch.setattr(psycopg.Connection, "execute", watched)
    worker.work(count=2)
    assert resets == []
    worker.work()
    assert len(resets) >= 4
    assert effects_of(connection, honest) == ["D"]
    assert connection.execute("SHOW search_path").fetchone() != ("nowhere",)


def test_an_outage_in_a_later_run_does_not_have_an_earlier_one_executed_again(
    connection: Connection,
    streams: Streams,
    small: Registry,
    worker: Consumer,
    saveless: Saveless,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = start_run(connection, streams, small, "saveless", "A")
    start_run(connection, streams, small, "saveless", "OUTAGE")
    saveless.fails = RedisUnavailableError("away")
    deliveries = worker.read()
    worker.executor.committer.unfinished.note_pace("saveless", 1, 1e-6)
    for _ in range(2):
        with pytest.raises(psycopg.OperationalError, match="away"):
            worker.execute(deliveries)
    saveless.fails = None
    worker.execute(deliveries)
    assert saveless.calls == [["A"], ["OUTAGE"], ["OUTAGE"], ["OUTAGE"]]
    assert items_of(connection, good) == {"A": ("completed", 1, None)}
