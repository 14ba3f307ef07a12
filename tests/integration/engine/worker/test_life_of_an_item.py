"""From enqueue to closed, step by step, on real Redis and PostgreSQL."""

from collections.abc import Sequence
from typing import Any, ClassVar

import msgpack
import pytest
from pydantic import model_validator

from consumer import Consumer
from harness import effects_of, items_of, run_status, start_run
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.job import Context, Job, JobParameters
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.outcome import Item, Outcome
from streamworkers.engine.redis.entry import Entry, unpack_entry
from streamworkers.engine.redis.queue import Delivery
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.worker.commit import BatchCommitter


def test_every_item_of_a_run_is_executed_once_and_the_run_completes(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    symbols = [f"S{n}" for n in range(45)]
    run = start_run(connection, streams, registry, "ledger_entry", *symbols)
    assert run_status(connection, run) == "PENDING"
    consumer.work()
    assert run_status(connection, run) == "COMPLETED"
    assert effects_of(connection, run) == sorted(symbols)
    assert consumer.reporter.total("completed") == 45
    backlog = streams.inspector.read_backlog("tests")
    assert (backlog.waiting, backlog.pending, backlog.delayed) == (0, 0, 0)
    assert streams.inspector.read_open_counts("tests") == {}
    report = ledger_reports.read_run(connection, run.id)
    assert report is not None
    assert (report["completed_count"], report["failed_count"]) == (45, 0)


def test_results_and_events_are_kept_with_the_items(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "AA", "BBB")
    consumer.work()
    assert ledger_reports.list_items_with_result(connection, run, "length", 10) == [("AA", 2), ("BBB", 3)]
    events = connection.execute("SELECT channel, payload ->> 'symbol' FROM outbox ORDER BY id").fetchall()
    assert events == [("tests.effects", "AA"), ("tests.effects", "BBB")]


def test_an_item_whose_handler_raises_dies_and_its_neighbours_complete(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "A", "RAISE", "B")
    consumer.work_until_empty()
    assert items_of(connection, run) == {
        "A": ("completed", 1, None),
        "B": ("completed", 1, None),
        "RAISE": ("failed", 3, "ValueError: RAISE cannot be computed"),
    }
    assert effects_of(connection, run) == ["A", "B"]
    assert run_status(connection, run) == "COMPLETED_WITH_ERRORS"
    assert (consumer.reporter.total("retried"), consumer.reporter.total("failed")) == (2, 1)


def test_the_error_of_every_attempt_is_kept(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "RAISE")
    consumer.work_until_empty()
    assert run_status(connection, run) == "FAILED"
    item = ledger_reports.read_dead_item(connection, run, 0)
    assert item is not None
    assert [(entry["attempt"], entry["worker"]) for entry in item["history"]] == [(1, "one"), (2, "one"), (3, "one")]


def test_a_permanent_error_is_not_tried_again(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "PERMANENT")
    consumer.work()
    assert items_of(connection, run) == {"PERMANENT": ("failed", 1, "PermanentError: no such thing")}


def test_an_item_that_cannot_be_saved_dies_and_its_neighbours_are_saved(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "A", "SAVE_RAISES", "B", max_attempts=2)
    consumer.work_until_empty()
    states = items_of(connection, run)
    assert (states["A"][0], states["B"][0]) == ("completed", "completed")
    assert states["SAVE_RAISES"][:2] == ("failed", 2)
    assert "NotNullViolation" in str(states["SAVE_RAISES"][2])
    assert effects_of(connection, run) == ["A", "B"]


def test_an_item_that_the_handler_forgets_has_failed(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "NO_OUTCOME", max_attempts=1)
    consumer.work()
    assert items_of(connection, run)["NO_OUTCOME"][2] == "the handler returned no outcome for this item"


def test_an_item_that_fails_once_completes_in_its_second_attempt(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "flaky", "A", "B")
    consumer.work_until_empty()
    assert items_of(connection, run) == {"A": ("completed", 2, None), "B": ("completed", 2, None)}


def test_a_snoozed_item_keeps_its_attempt(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "snoozing", "A", parameters={"ready_at": 32503680000})
    consumer.work()
    assert streams.inspector.read_backlog("tests").delayed == 1
    assert items_of(connection, run) == {"A": ("pending", 0, None)}
    assert consumer.reporter.total("snoozed") == 1
    streams.client.raw.delete(streams.keys.delayed("tests"))


def test_a_result_of_a_worker_that_lost_its_items_is_discarded(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, second_consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B")
    late = consumer.read()
    streams.leases.requeue("tests", "one", "lease ran out after 30 s")
    second_consumer.work()
    assert run_status(connection, run) == "COMPLETED"
    consumer.execute(late)
    assert effects_of(connection, run) == ["A", "B"]
    assert consumer.reporter.total("completed") == 0
    assert consumer.reporter.total("dropped") == 2


def test_two_workers_that_execute_the_same_item_at_once_have_one_effect(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    second_consumer: Consumer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    late = consumer.read()
    streams.leases.requeue("tests", "one", "x")
    other = second_consumer.read()
    commit = BatchCommitter.commit

    def overtaken(self: BatchCommitter, *words: Any) -> set[int]:
        if self.consumer == "one":
            second_consumer.execute(other)
        return commit(self, *words)

    monkeypatch.setattr(BatchCommitter, "commit", overtaken)
    consumer.execute(late)
    assert effects_of(connection, run) == ["A"]
    assert (consumer.reporter.total("fenced"), second_consumer.reporter.total("completed")) == (1, 1)


def test_without_the_fence_the_same_item_would_have_two_effects(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    second_consumer: Consumer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    late = consumer.read()
    streams.leases.requeue("tests", "one", "x")
    second_consumer.work()
    monkeypatch.setattr(ledger, "read_open_of_runs", lambda *_: {run.id: {0: ("A", 0)}})
    monkeypatch.setattr(ledger, "complete_items", lambda *words: {update.seq for update in words[-1]})
    consumer.execute(late)
    assert effects_of(connection, run) == ["A", "A"]


def test_an_entry_added_twice_has_one_effect(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, second_consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B")
    streams.queues.add("tests", run.id, [Entry(run.id, 0, "ledger_entry", "A", "", 1).pack()] * 3)
    consumer.work(count=2)
    second_consumer.work()
    assert effects_of(connection, run) == ["A", "B"]
    assert run_status(connection, run) == "COMPLETED"
    assert streams.inspector.read_backlog("tests").waiting == 0


def test_an_item_that_comes_twice_in_one_batch_has_one_effect(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B")
    streams.queues.add("tests", run.id, [Entry(run.id, 0, "ledger_entry", "A", "", 1).pack()])
    assert consumer.work() == 3
    assert effects_of(connection, run) == ["A", "B"]
    assert run_status(connection, run) == "COMPLETED"
    assert consumer.reporter.total("dropped") == 1


def test_an_item_delivered_more_often_than_it_may_be_is_dead_with_the_last_reason(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B")
    while run_status(connection, run) != "FAILED":
        (delivery,) = consumer.read(count=1)
        if unpack_entry(delivery.packed, 16_384).attempt > 3:
            consumer.execute([delivery])
        else:
            streams.leases.requeue("tests", "one", "killed by signal 9", [delivery.entry_id])
    assert items_of(connection, run) == {
        "A": ("failed", 3, "killed by signal 9"),
        "B": ("failed", 3, "killed by signal 9"),
    }
    assert run_status(connection, run) == "FAILED"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xc1", r"entry is not msgpack: FormatError in b'\xc1'"),
        (b"x" * 20_000, "entry of 20000 bytes exceeds STREAMWORKERS_ENTRY_MAX_BYTES=16384"),
        (
            Entry(999_999, 0, "ledger_entry", "A", "", 1).pack(),
            "there is no run 999999 of job 'ledger_entry' in queue 'tests'",
        ),
        (Entry(1, 0, "other", "A", "", 1).pack(), "there is no run 1 of job 'other' in queue 'tests'"),
    ],
)
def test_entries_that_are_no_items_are_kept_with_their_bytes_and_the_rest_goes_on(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, payload: bytes, reason: str
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    streams.client.raw.xadd(streams.keys.stream("tests"), {"e": payload})
    consumer.work()
    assert run_status(connection, run) == "COMPLETED"
    assert consumer.reporter.rejections == 1
    assert streams.inspector.read_backlog("tests").pending == 0
    (row,) = ledger_reports.list_rejected(connection, "tests", 10)
    assert (row["reason"], row["size"]) == (reason, len(payload))
    kept = ledger_reports.read_rejected(connection, row["id"])
    assert kept is not None
    assert kept["payload"] == payload


def test_a_run_of_another_queue_is_rejected_too(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    streams.queues.add("bench", run.id, [Entry(run.id, 0, "ledger_entry", "A", "", 1).pack()])
    consumer.work("bench")
    assert [row["queue"] for row in ledger_reports.list_rejected(connection, None, 10)] == ["bench"]
    consumer.work()
    assert run_status(connection, run) == "COMPLETED"


def test_only_the_newest_rejected_entries_and_their_first_mebibyte_are_kept(connection: Connection) -> None:
    for number in range(5):
        ledger.keep_rejected(connection, "q", [Delivery("q", f"{number}-0", b"x" * (1 << 20) + b"y")], "nul \x00")
    assert ledger.delete_old_rejected(connection, keep=2) == 3
    rows = ledger_reports.list_rejected(connection, "q", 10)
    assert [row["entry_id"] for row in rows] == ["4-0", "3-0"]
    assert rows[0]["size"] == (1 << 20) + 1
    kept = ledger_reports.read_rejected(connection, rows[0]["id"])
    assert kept is not None
    assert kept["payload"] == b"x" * (1 << 20)


def test_an_entry_of_a_newer_release_is_left_for_a_worker_that_can_read_it(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B")
    newer = msgpack.packb((3, run.id, 0, "in another order"))
    streams.client.raw.xadd(streams.keys.stream("tests"), {"e": newer})
    consumer.work()
    assert run_status(connection, run) == "COMPLETED"
    assert consumer.reporter.rejections == 0
    assert streams.client.raw.zrange(streams.keys.delayed("tests"), 0, -1) == [newer]
    assert streams.inspector.read_backlog("tests").pending == 0


class _ProcessDied(SystemExit):
    """What stands for the end of the process: nothing catches it."""


class DeadlyParameters(JobParameters):
    """Parameters in whose validation the process dies."""

    @model_validator(mode="before")
    @classmethod
    def _die(cls, values: Any) -> Any:
        raise _ProcessDied


class Deadly(Job[DeadlyParameters]):
    """A job of which no worker survives the parameters."""

    name: ClassVar[str] = "ledger_entry"
    queue: ClassVar[str] = "tests"
    parameters: ClassVar[type[JobParameters]] = DeadlyParameters

    def execute(self, items: Sequence[Item], context: Context[DeadlyParameters]) -> list[Outcome]:
        raise AssertionError(f"{len(items)} items of run {context.run_id} came through")


def test_an_item_whose_parameters_kill_the_process_is_dead_after_its_attempts(
    connection: Connection, streams: Streams, registry: Registry, settings: Settings, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B")
    for _ in range(20):
        dying = Consumer(settings, Registry([Deadly()]), streams, connection, "dying")
        try:
            dying.work(count=1)
        except _ProcessDied:
            streams.leases.requeue("tests", "dying", "killed by signal 11", dying.reporter.calls[-1])
    assert items_of(connection, run) == {
        "A": ("failed", 3, "killed by signal 11"),
        "B": ("failed", 3, "killed by signal 11"),
    }
    assert run_status(connection, run) == "FAILED"


def test_an_entry_whose_symbol_is_not_the_items_is_dropped(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    other = Entry(run.id, 0, "ledger_entry", "OTHER", "", 1).pack()
    (delivery,) = consumer.read()
    consumer.streams.leases.requeue("tests", "one")
    streams.queues.add("tests", run.id, [other])
    # The wrong one comes first, and must not take the right one's place.
    deliveries = consumer.read()
    assert len(deliveries) == 2
    consumer.execute(sorted(deliveries, key=lambda d: d.packed == delivery.packed))
    assert effects_of(connection, run) == ["A"]


def test_a_run_that_this_release_cannot_execute_is_put_off_and_not_thrown_away(
    connection: Connection, streams: Streams, registry: Registry, settings: Settings, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    older = Consumer(settings, Registry([]), streams, connection, "older")
    assert older.work() == 1
    assert (streams.inspector.read_backlog("tests").delayed, older.reporter.rejections) == (1, 0)
    consumer.work_until_empty()
    assert run_status(connection, run) == "COMPLETED"


class Dying(Job[JobParameters]):
    """A job whose handler kills the process."""

    name: ClassVar[str] = "misbehaving"
    queue: ClassVar[str] = "tests"

    def execute(self, items: Sequence[Item], context: Context[JobParameters]) -> list[Outcome]:
        raise _ProcessDied


def test_every_attempt_that_a_worker_died_of_is_in_the_history_and_not_forgotten_with_redis(
    connection: Connection, streams: Streams, registry: Registry, settings: Settings, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "RAISE", max_attempts=4)
    dying = Consumer(settings, Registry([Dying()]), streams, connection, "dying")
    for reason in ("killed by signal 9", "timeout after 3 s"):
        with pytest.raises(_ProcessDied):
            dying.work()
        streams.leases.requeue("tests", "dying", reason, dying.reporter.calls[-1])
    assert items_of(connection, run)["RAISE"] == ("retrying", 1, "killed by signal 9")
    with pytest.raises(_ProcessDied):
        dying.work()
    streams.leases.requeue("tests", "dying")
    assert items_of(connection, run)["RAISE"] == ("retrying", 2, "timeout after 3 s")
    consumer.work_until_empty()
    row = ledger_reports.read_dead_item(connection, run, 0)
    assert row is not None
    assert [(step["attempt"], step["error"], step["worker"]) for step in row["history"]] == [
        (1, "killed by signal 9", None),
        (2, "timeout after 3 s", None),
        (3, "ValueError: RAISE cannot be computed", "one"),
        (4, "ValueError: RAISE cannot be computed", "one"),
    ]


def test_a_late_failure_of_a_worker_that_lost_its_item_does_not_kill_it(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, second_consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "PERMANENT", "A")
    late = consumer.read()
    streams.leases.requeue("tests", "one")
    held = second_consumer.read()
    consumer.execute([delivery for delivery in late if b"PERMANENT" in delivery.packed])
    assert items_of(connection, run)["PERMANENT"] == ("pending", 0, None)
    assert consumer.reporter.total("fenced") == 1
    second_consumer.execute(held)
    assert items_of(connection, run)["PERMANENT"][0] == "failed"


def test_an_error_text_that_postgresql_cannot_store_is_stored_escaped(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "BAD_TEXT", max_attempts=1)
    consumer.work()
    assert items_of(connection, run)["BAD_TEXT"] == ("failed", 1, "ValueError: nul \\x00 and half \\ud800")


@pytest.mark.parametrize(
    ("symbol", "error"),
    [
        ("NAIVE_SNOOZE", "TypeError: NAIVE_SNOOZE is snoozed until 2026-01-01 00:00:00, which has no time zone"),
        ("NOT_AN_OUTCOME", "TypeError: 'done' is not Completed, Failed or Snoozed"),
        ("BAD_EVENT", "TypeError: payload [1] of an event for x is not a dict"),
    ],
)
def test_an_outcome_that_cannot_be_acted_on_fails_its_item_alone(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, symbol: str, error: str
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", symbol, "A", max_attempts=1)
    consumer.work()
    assert items_of(connection, run) == {symbol: ("failed", 1, error), "A": ("completed", 1, None)}
