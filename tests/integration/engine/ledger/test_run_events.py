"""The events of a run: each change of its state, numbered without a gap in the order of the commits."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress

import pytest
from psycopg_pool import ConnectionPool

from consumer import Consumer
from harness import start_run
from patience import patient
from streamworkers.admin import runs as admin
from streamworkers.database import Connection, connect, wait_for_notify
from streamworkers.engine import ledger
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.ledger import Run, run_events
from streamworkers.engine.ledger.run_events import LedgerEvent, LedgerEventPage, Position
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.progress import ProgressFollower
from submitting import install_jobs, load, make_preparer, submit


@pytest.fixture(autouse=True)
def jobs_installed(connection: Connection, registry: Registry) -> None:
    install_jobs(connection, registry)


@pytest.fixture
def other(database_url: str) -> Iterator[Connection]:
    with connect(database_url) as opened:
        yield opened


@pytest.fixture
def running(connection: Connection, streams: Streams, registry: Registry) -> Run:
    """A run with three items whose events are `prepared` and `running`."""
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B", "C")
    ledger.mark_running(connection, [run.id])
    return run


def _read(connection: Connection, run_id: int, after: int = 0, limit: int = 100) -> LedgerEventPage:
    (page,) = run_events.read_events(connection, [Position(run_id, after)], limit)
    return page


def _kinds(connection: Connection, run_id: int) -> list[tuple[int, str]]:
    return [(event.seq, event.kind) for event in _read(connection, run_id).events]


def _numbered(*kinds: str) -> list[tuple[int, str]]:
    return list(enumerate(kinds, 1))


def _counts(completed: int, failed: int = 0, cancelled: int = 0) -> dict[str, int]:
    return {"items": 3, "completed": completed, "failed": failed, "cancelled": cancelled}


def _close(connection: Connection, run: Run, seq: int) -> None:
    connection.execute("UPDATE run_items SET status = 'completed' WHERE run_id = %s AND seq = %s", (run.id, seq))


def test_the_life_of_a_submitted_run(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, pool: ConnectionPool[Connection]
) -> None:
    run_id = submit(connection, "misbehaving", symbols=["PERMANENT", "B"])
    assert _kinds(connection, run_id) == _numbered("submitted")
    make_preparer(pool, streams, registry).run_once()
    assert _kinds(connection, run_id) == _numbered("submitted", "prepared")
    assert not _read(connection, run_id).is_over
    consumer.work_until_empty()
    page = _read(connection, run_id, 2)
    assert ([event.kind for event in page.events], page.is_over) == (["running", "ended"], True)
    counts = {"items": 2, "completed": 1, "failed": 1, "cancelled": 0}
    assert page.events[1].data == {"status": "COMPLETED_WITH_ERRORS", **counts, "reason": None}
    admin.retry(connection, streams, run_id)
    assert _kinds(connection, run_id)[4:] == [(5, "reopened")]
    assert not _read(connection, run_id).is_over
    admin.cancel(connection, streams, run_id)
    ended = _read(connection, run_id, 5).events[0]
    counts = {"items": 2, "completed": 1, "failed": 0, "cancelled": 1}
    assert (ended.kind, ended.data) == ("ended", {"status": "CANCELLED", **counts, "reason": None})
    times = [event.at for event in _read(connection, run_id).events]
    assert times == sorted(times)


def test_an_enqueued_run_begins_with_its_items_and_an_empty_one_with_its_end(
    connection: Connection, streams: Streams, registry: Registry
) -> None:
    for size in (1, 1200):  # inserted in one statement, and copied
        run = start_run(connection, streams, registry, "ledger_entry", *(f"S{number}" for number in range(size)))
        assert _read(connection, run.id).events[0][1:4] == (1, "prepared", {"items": size})
    empty, _ = ledger.create_run(
        connection, RunRequest("ledger_entry", (), "nothing", note="nothing to do"), "tests", 1
    )
    page = _read(connection, empty.id)
    assert ([event.kind for event in page.events], page.is_over) == (["ended"], True)
    assert page.events[0].data["reason"] == "nothing to do"


def test_a_request_that_its_job_rejects_ends_with_the_reason(
    connection: Connection, streams: Streams, registry: Registry, pool: ConnectionPool[Connection]
) -> None:
    run_id = submit(connection, "choosing", parameters={"do": "reject"}, symbols=["A"])
    make_preparer(pool, streams, registry).run_once()
    assert _kinds(connection, run_id) == _numbered("submitted", "ended")
    assert "is not to my liking" in _read(connection, run_id).events[1].data["reason"]


def test_a_key_that_is_taken_and_a_transaction_that_is_rolled_back_leave_no_event(
    connection: Connection, streams: Streams, registry: Registry
) -> None:
    request = RunRequest("ledger_entry", ("A",), "A", idempotency_key="once")
    run, _ = enqueue(connection, streams, registry, request)
    assert enqueue(connection, streams, registry, request)[1] is False
    with suppress(ZeroDivisionError), connection.transaction():
        ledger.cancel_run(connection, run)
        raise ZeroDivisionError
    admin.cancel(connection, streams, run.id)
    assert _kinds(connection, run.id) == _numbered("prepared", "ended")
    assert connection.execute("SELECT count(*) FROM run_events").fetchone() == (2,)


def test_progress_is_written_when_it_has_changed_and_at_most_once_a_second(
    connection: Connection, streams: Streams, registry: Registry, pool: ConnectionPool[Connection]
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B", "C")
    follower = ProgressFollower(pool, ["tests"])

    def step(closes: int | None, *, is_later: bool) -> list[LedgerEvent]:
        if closes is not None:
            _close(connection, run, closes)
        if is_later:
            connection.execute("UPDATE run_events SET at = at - interval '2 s'")
        before = len(_kinds(connection, run.id))
        follower.run_once()
        return list(_read(connection, run.id, before).events)

    assert follower.run_once() is None  # it is not running
    ledger.mark_running(connection, [run.id])
    assert follower.run_once() is not None
    assert step(None, is_later=True) == []  # nothing is closed
    assert [event[1:4] for event in step(0, is_later=False)] == [(3, "progress", _counts(1))]
    assert step(1, is_later=False) == []  # within a second
    assert [event[1:4] for event in step(None, is_later=True)] == [(4, "progress", _counts(2))]
    assert step(None, is_later=True) == []  # nothing has changed
    _close(connection, run, 2)
    ledger.close_runs(connection, [load(connection, run.id)])
    assert step(None, is_later=True) == []  # it has ended
    assert _kinds(connection, run.id) == _numbered("prepared", "running", "progress", "progress", "ended")


def test_progress_never_waits_for_a_row_that_another_transaction_holds(
    connection: Connection, other: Connection, running: Run
) -> None:
    with other.transaction():
        ledger.lock_run(other, running.id)
        assert run_events.write_progress(connection, [(running.id, _counts(1))]) == []
        run_events.mark_followed(connection, [running.id])
    assert run_events.write_progress(connection, [(running.id, _counts(1))]) == [running.id]


def test_an_event_that_is_not_kept_is_replaced_by_the_state(
    connection: Connection, running: Run, consumer: Consumer
) -> None:
    _close(connection, running, 0)
    connection.execute("DELETE FROM run_events WHERE seq = 1")
    state = {"job": "ledger_entry", "status": "RUNNING", **_counts(1), "reason": None}
    for after in (0, 7):  # the second is a number that this ledger never gave
        page = _read(connection, running.id, after)
        assert [event[:4] for event in page.events] == [(running.id, 2, "resync", state)]
        assert not page.is_over
    assert [event.kind for event in _read(connection, running.id, 1).events] == ["running"]
    consumer.work_until_empty()
    connection.execute("DELETE FROM run_events")
    page = _read(connection, running.id, 2)
    state = {"job": "ledger_entry", "status": "COMPLETED", **_counts(3), "reason": None}
    assert [event[:4] for event in page.events] == [(running.id, 3, "resync", state)]
    assert page.is_over
    connection.execute("DELETE FROM runs")
    assert _read(connection, running.id, 2) == LedgerEventPage((), is_over=True)


def test_a_hole_in_what_is_kept_is_not_skipped(connection: Connection, running: Run) -> None:
    run_events.write_progress(connection, [(running.id, _counts(1))])
    connection.execute("DELETE FROM run_events WHERE seq = 2")
    assert _kinds(connection, running.id) == [(1, "prepared")]
    assert [event[1:3] for event in _read(connection, running.id, 1).events] == [(3, "resync")]


def test_events_are_read_in_pages_for_many_at_once(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    one, two = (start_run(connection, streams, registry, "ledger_entry", "A") for _ in range(2))
    consumer.work_until_empty()
    positions = [Position(two.id, 1), Position(424242, 0), Position(one.id, 0), Position(two.id, 3)]
    pages = run_events.read_events(connection, positions, 2)
    assert [[(event.run_id, event.seq) for event in page.events] for page in pages] == [
        [(two.id, 2), (two.id, 3)],
        [],
        [(one.id, 1), (one.id, 2)],
        [],
    ]
    assert [page.is_over for page in pages] == [True, True, False, True]


def test_only_runs_that_are_followed_notify_and_once_for_a_transaction(
    connection: Connection, other: Connection, streams: Streams, registry: Registry
) -> None:
    runs = [start_run(connection, streams, registry, "ledger_entry", "A") for _ in range(3)]
    other.execute(f"LISTEN {run_events.RUN_EVENTS_NOTIFY}")
    ledger.mark_running(connection, [run.id for run in runs])
    run_events.mark_followed(connection, [run.id for run in runs[:2]])
    with connection.transaction():
        for run in runs:
            ledger.cancel_run(connection, run)
    notices = list(other.notifies(timeout=patient(30), stop_after=1))
    assert [(each.channel, each.payload) for each in notices] == [(run_events.RUN_EVENTS_NOTIFY, "")]
    assert not wait_for_notify(other, 0)


# The lock of the row taken out: numbers come from elsewhere, and nothing is held until the commit.
_UNLOCKED = """
    INSERT INTO run_events (run_id, seq, kind, data)
    SELECT id, nextval('numbers'), 'progress', data
    FROM (SELECT unnest(%s::bigint[]) AS id, unnest(%s::jsonb[]) AS data) AS p WHERE %s > 0
    RETURNING run_id, false
"""


def _overtake(connection: Connection, other: Connection, run: Run) -> LedgerEventPage:
    """What a reader sees while the transaction of the first of two writers is open."""
    with other.transaction():
        assert run_events.write_progress(other, [(run.id, _counts(1))]) == [run.id]
        run_events.write_progress(connection, [(run.id, _counts(2))])
        return _read(connection, run.id, 2)


def test_no_event_overtakes_one_of_an_open_transaction(connection: Connection, other: Connection, running: Run) -> None:
    assert _overtake(connection, other, running).events == []
    assert [event.data for event in _read(connection, running.id, 2).events] == [_counts(1)]


def test_control_without_the_lock_an_event_would_overtake_another(
    connection: Connection, other: Connection, running: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute("CREATE SEQUENCE numbers START 3; UPDATE runs SET last_event = 4")
    monkeypatch.setattr(run_events, "_WRITE_PROGRESS", _UNLOCKED)
    page = _overtake(connection, other, running)
    assert [event.kind for event in page.events] == ["resync"]  # 4 is there, and 3 is not


class _Undone(Exception):  # noqa: N818  # no error
    """Rolls a writer's transaction back."""


def _write(url: str, run: Run, seed: int) -> None:
    """Change a run as its workers, people and the follower do, with rollbacks."""
    chosen = random.Random(seed)
    with connect(url) as connection:
        changes: list[Callable[[], object]] = [
            lambda: run_events.write_progress(connection, [(run.id, {"items": chosen.randrange(10**9)})]),
            lambda: ledger.cancel_run(connection, run),
            lambda: ledger.reopen_items(connection, run, ("cancelled",), None),
        ]
        for _ in range(15):
            with suppress(_Undone), connection.transaction():
                chosen.choice(changes)()
                if chosen.random() < 0.3:
                    raise _Undone


def test_of_many_writers_a_reader_misses_nothing_and_sees_nothing_twice(
    connection: Connection, database_url: str, running: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_events, "PROGRESS_SECONDS", -60.0)
    ended = threading.Event()
    seen: list[LedgerEvent] = []

    def follow() -> None:
        with connect(database_url) as reading:
            is_last = False
            while not is_last:
                is_last = ended.is_set()
                while events := _read(reading, running.id, len(seen), 7).events:
                    assert [event.seq for event in events] == [len(seen) + place for place in range(1, len(events) + 1)]
                    seen.extend(events)

    with ThreadPoolExecutor(5) as threads:
        reader = threads.submit(follow)
        writers = [threads.submit(_write, database_url, running, seed) for seed in range(4)]
        wait(writers)
        ended.set()
        for each in (*writers, reader):
            each.result(patient(60))
    table = connection.execute("SELECT seq, kind, data FROM run_events ORDER BY seq").fetchall()
    assert [event[1:4] for event in seen] == table
    assert [seq for seq, _, _ in table] == list(range(1, len(table) + 1))
    assert connection.execute("SELECT last_event FROM runs").fetchone() == (len(table),)
    assert len(table) > 2  # the first cancel that is not rolled back finds an open run
