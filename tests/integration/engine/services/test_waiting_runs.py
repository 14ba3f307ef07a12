"""Runs that wait for a moment or for other runs start when both hold, and are cancelled when a run ends otherwise."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from consumer import Consumer
from streamworkers.admin import runs as admin
from streamworkers.config import Settings
from streamworkers.database import Connection, connect, fetch_value
from streamworkers.diagnosis.run_checks import find_unprepared_runs
from streamworkers.diagnosis.snapshot import Snapshot
from streamworkers.engine import ledger
from streamworkers.engine.enqueue import enqueue, enqueue_many
from streamworkers.engine.job import RunRequest
from streamworkers.engine.ledger import submissions, waiting_runs
from streamworkers.engine.ledger.waiting_runs import AwaitedRun, WaitDecision, decide_wait
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.preparer import Preparer
from streamworkers.errors import BadInputError
from streamworkers.market.universes.store import add_symbols
from submitting import install_jobs, load, make_preparer, reason_of, submit

NOW = datetime(2026, 11, 27, 18, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=30)


@pytest.fixture(autouse=True)
def jobs_installed(connection: Connection, registry: Registry) -> None:
    install_jobs(connection, registry)


@pytest.fixture
def preparer(pool: "ConnectionPool[Connection]", streams: Streams, registry: Registry) -> Preparer:
    return make_preparer(pool, streams, registry)


@pytest.fixture
def other(database_url: str) -> Iterator[Connection]:
    with connect(database_url) as opened:
        yield opened


def _in(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def _submit(connection: Connection, **fields: Any) -> int:
    return submit(connection, "ledger_entry", symbols=["A"], **fields)


def _end(connection: Connection, run_id: int, status: str) -> None:
    connection.execute(
        "UPDATE runs SET status = %s, completed_at = now(), prepared_at = now(), is_waiting = false,"
        " prepare_attempts = 0 WHERE id = %s",
        (status, run_id),
    )


def _reopen(connection: Connection, run_id: int) -> None:
    connection.execute("UPDATE runs SET status = 'RUNNING', completed_at = NULL WHERE id = %s", (run_id,))


def _let_its_time_come(connection: Connection, run_id: int) -> None:
    connection.execute("UPDATE runs SET start_at = now() WHERE id = %s", (run_id,))
    connection.execute("UPDATE run_checks SET at = now() WHERE run_id = %s", (run_id,))


def _is_ready(connection: Connection, run_id: int) -> bool:
    return load(connection, run_id).is_prepared


@pytest.mark.parametrize(
    ("start_at", "awaited", "decision"),
    [
        (None, [], WaitDecision("ready")),
        (NOW, [], WaitDecision("ready")),
        (LATER, [], WaitDecision("wait", look_at=LATER)),
        (None, [AwaitedRun(1, "completed", False, "COMPLETED")], WaitDecision("ready")),
        (None, [AwaitedRun(1, "completed", False, "RUNNING")], WaitDecision("wait")),
        (LATER, [AwaitedRun(1, "completed", False, "RUNNING")], WaitDecision("wait")),
        (LATER, [AwaitedRun(1, "completed", False, "COMPLETED")], WaitDecision("wait", look_at=LATER)),
        (
            None,
            [AwaitedRun(1, "completed", False, "RUNNING", is_busy=True)],
            WaitDecision("wait", look_at=NOW + timedelta(seconds=1)),
        ),
        (None, [AwaitedRun(1, "ended", False, "FAILED")], WaitDecision("ready")),
        (None, [AwaitedRun(1, "ended", False, "CANCELLED")], WaitDecision("ready")),
        (None, [AwaitedRun(1, "completed", True, None)], WaitDecision("ready")),
        (
            LATER,
            [AwaitedRun(1, "completed", False, "PENDING"), AwaitedRun(2, "completed", False, "FAILED")],
            WaitDecision("cancel", "it waited for run 2 to be COMPLETED, and that is FAILED"),
        ),
        (
            None,
            [AwaitedRun(1, "completed", False, "COMPLETED_WITH_ERRORS")],
            WaitDecision("cancel", "it waited for run 1 to be COMPLETED, and that is COMPLETED_WITH_ERRORS"),
        ),
        (
            None,
            [AwaitedRun(1, "completed", False, None)],
            WaitDecision("cancel", "it waited for run 1, which is there no more"),
        ),
    ],
)
def test_what_becomes_of_a_run_that_waits(
    start_at: datetime | None, awaited: list[AwaitedRun], decision: WaitDecision
) -> None:
    assert decide_wait(start_at, awaited, NOW) == decision


def test_a_run_is_prepared_when_its_time_has_come(
    connection: Connection, preparer: Preparer, consumer: Consumer
) -> None:
    run_id = _submit(connection, start_at=_in(3600))
    preparer.run_once()
    assert (load(connection, run_id).status, _is_ready(connection, run_id)) == ("PENDING", False)
    _let_its_time_come(connection, run_id)
    assert preparer.run_once() is None
    consumer.work_until_empty()
    assert load(connection, run_id).status == "COMPLETED"
    assert fetch_value(connection, "SELECT count(*) FROM run_checks") == 0
    assert fetch_value(connection, "SELECT ready_at >= start_at FROM runs") is True


def test_a_time_in_the_past_is_no_reason_to_wait(connection: Connection, preparer: Preparer) -> None:
    for start in (_in(-60), "0001-01-01T00:00Z"):
        run_id = _submit(connection, start_at=start)
        assert fetch_value(connection, "SELECT is_waiting FROM runs WHERE id = %s", (run_id,)) is False
        preparer.run_once()
        assert _is_ready(connection, run_id)


@pytest.mark.parametrize("status", ["COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED"])
@pytest.mark.parametrize("needs", ["completed", "ended"])
def test_a_run_starts_or_is_cancelled_when_the_one_before_it_ends(
    connection: Connection, preparer: Preparer, status: str, needs: str
) -> None:
    first = _submit(connection)
    preparer.run_once()
    second = _submit(connection, after=first, after_when=needs)
    preparer.run_once()
    assert not _is_ready(connection, second)
    _end(connection, first, status)
    preparer.run_once()
    if needs == "ended" or status == "COMPLETED":
        assert _is_ready(connection, second)
    else:
        reason = f"it waited for run {first} to be COMPLETED, and that is {status}"
        assert reason_of(connection, second) == ("CANCELLED", reason)
        payload = fetch_value(connection, "SELECT payload FROM outbox WHERE channel LIKE '%%errors'")
        assert payload["reason"] == reason
        assert (payload["run_id"], payload["status"]) == (second, "CANCELLED")


@pytest.mark.parametrize(("status", "ready"), [("COMPLETED", True), ("FAILED", False)])
def test_a_run_after_one_that_has_ended_is_decided_at_once(
    connection: Connection, preparer: Preparer, status: str, ready: bool
) -> None:
    first = _submit(connection)
    _end(connection, first, status)
    second = _submit(connection, after=first)
    preparer.run_once()
    assert _is_ready(connection, second) is ready
    assert load(connection, second).is_open is ready


def test_a_run_waits_for_all_of_several_and_for_its_time(connection: Connection, preparer: Preparer) -> None:
    first, second = _submit(connection), _submit(connection)
    preparer.run_once()
    third = _submit(connection, after=[second, first], start_at=_in(3600))
    for run_id in (first, second):
        _end(connection, run_id, "COMPLETED")
        preparer.run_once()
        assert not _is_ready(connection, third)
    _let_its_time_come(connection, third)
    preparer.run_once()
    assert _is_ready(connection, third)


def test_a_run_that_is_reopened_before_the_other_started_is_waited_for_again(
    connection: Connection, preparer: Preparer
) -> None:
    first = _submit(connection)
    second = _submit(connection, after=first, start_at=_in(3600))
    preparer.run_once()
    _end(connection, first, "COMPLETED")
    preparer.run_once()
    _reopen(connection, first)
    _let_its_time_come(connection, second)
    preparer.run_once()
    assert not _is_ready(connection, second)
    _end(connection, first, "COMPLETED")
    preparer.run_once()
    assert _is_ready(connection, second)


def test_a_retry_after_the_other_was_cancelled_does_not_bring_it_back(
    connection: Connection, preparer: Preparer
) -> None:
    first = _submit(connection)
    second = _submit(connection, after=first)
    preparer.run_once()
    _end(connection, first, "FAILED")
    preparer.run_once()
    _reopen(connection, first)
    _end(connection, first, "COMPLETED")
    preparer.run_once()
    assert load(connection, second).status == "CANCELLED"
    assert fetch_value(connection, "SELECT count(*) FROM run_checks") == 0


def test_a_chain_is_cancelled_as_a_whole(connection: Connection, preparer: Preparer, streams: Streams) -> None:
    chain = [_submit(connection)]
    for _ in range(5):
        chain.append(_submit(connection, after=chain[-1]))
    preparer.run_once()
    admin.cancel(connection, streams, chain[0])
    for _ in chain:
        preparer.run_once()
    assert {load(connection, run_id).status for run_id in chain} == {"CANCELLED"}
    reason = f"it waited for run {chain[-2]} to be COMPLETED, and that is CANCELLED"
    assert reason_of(connection, chain[-1]) == ("CANCELLED", reason)


def test_a_run_that_waits_can_be_cancelled(connection: Connection, preparer: Preparer, streams: Streams) -> None:
    first = _submit(connection)
    second = _submit(connection, after=first, start_at=_in(3600))
    preparer.run_once()
    assert admin.cancel(connection, streams, second) == 0
    _end(connection, first, "COMPLETED")
    _let_its_time_come(connection, second)
    preparer.run_once()
    assert (load(connection, second).status, _is_ready(connection, second)) == ("CANCELLED", False)


def test_the_end_of_a_run_that_is_removed_since_counts(connection: Connection, preparer: Preparer) -> None:
    first = _submit(connection)
    second = _submit(connection, after=first, start_at=_in(3600))
    third = _submit(connection, after=first, start_at=_in(3600))
    _end(connection, first, "COMPLETED")
    preparer.run_once()
    connection.execute("UPDATE run_dependencies SET met_at = NULL WHERE run_id = %s", (third,))
    connection.execute("DELETE FROM runs WHERE id = %s", (first,))
    for run_id in (second, third):
        _let_its_time_come(connection, run_id)
    preparer.run_once()
    assert _is_ready(connection, second)
    assert reason_of(connection, third) == ("CANCELLED", f"it waited for run {first}, which is there no more")


def _end_around_a_look(connection: Connection, other: Connection, preparer: Preparer) -> int:
    """Let a run end in a transaction that is open while the other is submitted and looked at; returns the other."""
    first = _submit(connection)
    preparer.run_once()
    with other.transaction():
        _end(other, first, "COMPLETED")
        second = _submit(connection, after=first)
        preparer.run_once()
        assert not _is_ready(connection, second)
    connection.execute("UPDATE run_checks SET at = now()")
    preparer.run_once()
    return second


def test_an_end_that_is_not_committed_during_the_look_is_not_missed(
    connection: Connection, other: Connection, preparer: Preparer
) -> None:
    assert _is_ready(connection, _end_around_a_look(connection, other, preparer))


def test_control_a_look_that_locks_nothing_misses_the_end(
    connection: Connection, other: Connection, preparer: Preparer, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlocked = waiting_runs._LOCK_AWAITED.replace(" FOR SHARE SKIP LOCKED", "")
    monkeypatch.setattr(waiting_runs, "_LOCK_AWAITED", unlocked)
    assert not _is_ready(connection, _end_around_a_look(connection, other, preparer))


def test_a_look_waits_for_nobody_who_holds_the_run(
    connection: Connection, other: Connection, preparer: Preparer
) -> None:
    run_id = _submit(connection, start_at=_in(3600))
    _let_its_time_come(connection, run_id)
    with other.transaction():
        other.execute("SELECT FROM runs WHERE id = %s FOR UPDATE", (run_id,))
        preparer.run_once()
        assert not _is_ready(connection, run_id)
    connection.execute("UPDATE run_checks SET at = now()")
    preparer.run_once()
    assert _is_ready(connection, run_id)


def test_a_preparer_of_the_release_before_leaves_a_run_that_waits_alone(
    connection: Connection, preparer: Preparer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = _submit(connection, start_at=_in(3600))
    for name in ("_CLAIM_NEW", "_CLAIM_AGAIN"):
        monkeypatch.setattr(submissions, name, getattr(submissions, name).replace(" AND NOT is_waiting", ""))
    assert ledger.claim_submitted(connection, ["ledger_entry"], 10, 30.0) == []
    assert not _is_ready(connection, run_id)
    with pytest.raises(psycopg.errors.CheckViolation, match="runs_waiting_check"):
        connection.execute("UPDATE runs SET prepared_at = now()")


def test_a_run_that_waits_is_not_one_that_nobody_prepares(
    connection: Connection, preparer: Preparer, streams: Streams, registry: Registry, settings: Settings
) -> None:
    first = _submit(connection, start_at=_in(3600))
    second = _submit(connection, after=first)
    connection.execute("UPDATE runs SET created_at = now() - interval '1 day'")
    preparer.run_once()
    assert list(find_unprepared_runs(Snapshot(connection, streams, registry, settings))) == []
    connection.execute("UPDATE run_checks SET at = now() - interval '2 minutes' WHERE run_id = %s", (first,))
    (finding,) = find_unprepared_runs(Snapshot(connection, streams, registry, settings))
    assert finding.where == f"run {first}"
    _let_its_time_come(connection, first)
    preparer.run_once()
    assert load(connection, second).is_open


def test_a_run_that_waits_keeps_no_partition_of_items(connection: Connection) -> None:
    run_id = _submit(connection, start_at=_in(3600))
    connection.execute("SELECT ensure_run_items_partition('2026-01-05')")
    connection.execute("UPDATE runs SET run_day = '2026-01-05' WHERE id = %s", (run_id,))
    connection.execute("SELECT drop_run_items_partition('2026-01-05')")
    assert fetch_value(connection, "SELECT to_regclass('run_items_20260105')") is None


def test_a_run_sees_what_is_there_when_it_is_prepared(connection: Connection, preparer: Preparer) -> None:
    run_id = submit(connection, "ledger_entry", universe="late", start_at=_in(3600))
    add_symbols(connection, "late", ["A", "B", "C"])
    _let_its_time_come(connection, run_id)
    preparer.run_once()
    assert load(connection, run_id).item_count == 3


def test_many_runs_wait_and_start(connection: Connection, preparer: Preparer) -> None:
    first = _submit(connection)
    later = [
        RunRequest("ledger_entry", (f"S{n}",), "x", after=(first,), start_at=None if n % 2 else datetime.now(UTC))
        for n in range(1200)
    ]
    made = enqueue_many(connection, later)
    while preparer.run_once() is not None:
        pass
    assert not any(_is_ready(connection, each.id) for each in made[:3])
    _end(connection, first, "COMPLETED")
    while preparer.run_once() is not None:
        pass
    assert fetch_value(connection, "SELECT count(*) FROM runs WHERE prepared_at IS NOT NULL") == 1201


def test_a_run_that_starts_later_is_submitted_and_not_enqueued(
    connection: Connection, streams: Streams, registry: Registry
) -> None:
    request = RunRequest("ledger_entry", ("A",), "A", start_at=datetime.now(UTC))
    with pytest.raises(
        BadInputError, match="a run that starts later or has a webhook is submitted, and prepared later"
    ):
        enqueue(connection, streams, registry, request)
    assert fetch_value(connection, "SELECT count(*) FROM runs") == 0
