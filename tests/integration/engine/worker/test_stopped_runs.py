"""An error that concerns a whole run ends it at once: once, exactly counted, and wherever a worker dies."""

from collections import Counter
from typing import Any

import pytest

from consumer import Consumer
from harness import effects_of, items_of, run_status, start_run
from streamworkers.admin import runs as operations
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.ledger import Run
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry

REASON = "nobody has a key"
OTHERS = [f"S{number:02}" for number in range(40)]


def _events(connection: Connection) -> list[dict[str, Any]]:
    rows = connection.execute("SELECT payload FROM outbox WHERE payload ->> 'kind' = 'run_failed'")
    return [payload for (payload,) in rows]


def _assert_stopped(connection: Connection, streams: Streams, run: Run, error: str, completed: int = 0) -> None:
    states = Counter(state for state, _, _ in items_of(connection, run).values())
    cancelled = run.item_count - completed - 1
    assert states == Counter({"completed": completed, "failed": 1, "cancelled": cancelled})
    assert {text for state, _, text in items_of(connection, run).values() if state != "completed"} == {error}
    report = ledger_reports.read_run(connection, run.id)
    assert report is not None
    assert (report["status"], report["reason"]) == ("FAILED", error)
    assert (report["completed_count"], report["failed_count"], report["cancelled_count"]) == (completed, 1, cancelled)
    (event,) = _events(connection)
    assert (event["status"], event["failed"], event["items"], event["reason"]) == ("FAILED", 1, run.item_count, error)
    backlog = streams.inspector.read_backlog("tests")
    assert (backlog.waiting, backlog.pending, backlog.delayed) == (0, 0, 0)
    assert streams.inspector.read_open_counts("tests") == {}


@pytest.mark.parametrize(("symbol", "error"), [("FAIL_RUN", REASON), ("RAISE_RUN", f"StopRunError: {REASON}")])
def test_one_error_ends_the_run_and_cancels_what_is_open(
    symbol: str, error: str, connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "RAISE", symbol, *OTHERS)
    consumer.work(count=1)  # of one item that waits for its second attempt
    consumer.work(count=10)
    assert run_status(connection, run) == "FAILED"
    assert not streams.inspector.read_open_counts("tests")
    called = len(consumer.reporter.calls)
    consumer.work_until_empty()
    assert len(consumer.reporter.calls) == called  # nothing of it is executed any more
    # What the call had completed beside the error is done; an error that is raised leaves nothing.
    completed = 9 if symbol == "FAIL_RUN" else 0
    _assert_stopped(connection, streams, run, error, completed)
    assert effects_of(connection, run) == OTHERS[:completed]
    assert (consumer.reporter.total("failed"), consumer.reporter.total("completed")) == (1, completed)
    assert (consumer.reporter.total("fenced"), consumer.reporter.total("dropped")) == (0, 41 - completed)


@pytest.mark.parametrize("value", [None, ""])
def test_a_setting_that_a_job_needs_and_a_worker_lacks_ends_the_run_at_its_first_attempt(
    value: str | None,
    monkeypatch: pytest.MonkeyPatch,
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
) -> None:
    monkeypatch.setenv("SAMPLE_JOB_URL", "x")
    monkeypatch.delenv("SAMPLE_JOB_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("SAMPLE_JOB_KEY", value)
    run = start_run(connection, streams, registry, "needing", *OTHERS)
    consumer.work_until_empty()
    missing = "job 'needing' needs SAMPLE_JOB_KEY, which is not set in the environment of this process"
    _assert_stopped(connection, streams, run, f"StopRunError: {missing}")
    assert max(attempt for _, attempt, _ in items_of(connection, run).values()) <= 1
    assert effects_of(connection, run) == []
    monkeypatch.setenv("SAMPLE_JOB_KEY", "x")
    operations.retry(connection, streams, run.id)
    consumer.work_until_empty()
    assert (run_status(connection, run), effects_of(connection, run)) == ("COMPLETED", OTHERS)


def test_other_runs_of_the_delivery_go_on(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    first, bad, last = (
        start_run(connection, streams, registry, "misbehaving", *symbols)
        for symbols in (("A", "B"), ("C", "RAISE_RUN", "D"), ("E", "F"))
    )
    consumer.work_until_empty()
    assert [run_status(connection, run) for run in (first, bad, last)] == ["COMPLETED", "FAILED", "COMPLETED"]
    assert [effects_of(connection, run) for run in (first, bad, last)] == [["A", "B"], [], ["E", "F"]]


@pytest.mark.parametrize("symbol", ["S00", "FAIL_RUN"])
def test_what_others_were_executing_when_the_run_ended_changes_nothing(
    symbol: str,
    monkeypatch: pytest.MonkeyPatch,
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    second_consumer: Consumer,
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "RAISE_RUN", symbol, *OTHERS[1:5])
    mine, theirs = consumer.read(count=1), second_consumer.read()

    def end_the_run(*_: object) -> None:
        monkeypatch.undo()
        consumer.execute(mine)

    monkeypatch.setattr(second_consumer.reporter, "call_started", end_the_run)
    second_consumer.execute(theirs)
    _assert_stopped(connection, streams, run, f"StopRunError: {REASON}")
    assert effects_of(connection, run) == []
    assert (second_consumer.reporter.total("completed"), second_consumer.reporter.total("fenced")) == (0, 5)


class _KilledError(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("point", ["before the commit", "before the entries leave"])
def test_a_worker_that_dies_while_it_ends_a_run_leaves_all_of_it_or_nothing(
    point: str,
    monkeypatch: pytest.MonkeyPatch,
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    second_consumer: Consumer,
) -> None:
    def die(*_: object, **__: object) -> None:
        raise _KilledError

    run = start_run(connection, streams, registry, "misbehaving", "FAIL_RUN", *OTHERS)
    with monkeypatch.context() as patch:
        if point == "before the commit":
            patch.setattr("streamworkers.engine.ledger.stopping.add_events", die)
        else:
            patch.setattr(type(streams.queues), "finish", die)
        with pytest.raises(_KilledError):
            consumer.execute(consumer.read(count=1))
    is_done = point != "before the commit"
    assert run_status(connection, run) == ("FAILED" if is_done else "RUNNING")
    assert len(_events(connection)) == is_done
    # As its supervisor does: what it held goes back to the queue.
    streams.leases.requeue("tests", "one", "killed by signal 9", (), charge=False)
    second_consumer.work_until_empty()
    # What goes back to the queue stands behind the others.
    _assert_stopped(connection, streams, run, REASON, 0 if is_done else len(OTHERS))


def test_a_run_that_was_stopped_can_be_tried_again(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "FAIL_RUN", *OTHERS[:5])
    old = consumer.read(count=1)
    consumer.execute(old)
    assert operations.retry(connection, streams, run.id) == 6
    assert run_status(connection, run) == "RUNNING"
    report = ledger_reports.read_run(connection, run.id)
    assert report is not None
    assert report["reason"] is None
    # An entry of the life before does not end the new one.
    consumer.execute(old)
    assert run_status(connection, run) == "RUNNING"
    assert ledger.count_items(connection, run) == {"pending": 6}
