"""What hooks are told of, item by item, on real Redis and PostgreSQL."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import psycopg
import pytest
import sample_hooks
import structlog

from consumer import Consumer
from harness import items_of, run_status, start_run
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.job import Context, Job, JobParameters
from streamworkers.engine.ledger import ItemUpdate, complete_items
from streamworkers.engine.outcome import Completed, Item
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.worker.hook_runner import REST_SECONDS
from streamworkers.hooks import CallEnd, HookCall, HookItem, Hooks

_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Recorder(Hooks):
    """Keeps what it is told, for all of its instances."""

    told: ClassVar[list[tuple[str, HookCall, tuple[HookItem, ...]]]]
    ends: ClassVar[list[tuple[HookCall, CallEnd]]]

    def on_start(self, call: HookCall) -> None:
        self.told.append(("on_start", call, call.items))

    def on_success(self, call: HookCall, items: Sequence[HookItem]) -> None:
        self.told.append(("on_success", call, tuple(items)))

    def on_failure(self, call: HookCall, items: Sequence[HookItem]) -> None:
        self.told.append(("on_failure", call, tuple(items)))

    def on_dead(self, call: HookCall, items: Sequence[HookItem]) -> None:
        self.told.append(("on_dead", call, tuple(items)))

    def on_end(self, call: HookCall, end: CallEnd) -> None:
        self.ends.append((call, end))

    @classmethod
    def items(cls, event: str) -> list[tuple[str, int]]:
        """Key and attempt of each item that an event was about."""
        return [(item.key, item.attempt) for name, _, items in cls.told if name == event for item in items]


@pytest.fixture
def recorder(consumer: Consumer) -> type[Recorder]:
    """The hook `recorder` in the consumer."""
    Recorder.told, Recorder.ends = [], []
    consumer.install({"recorder": Recorder})
    return Recorder


def test_each_attempt_of_each_item_is_told_once_with_what_became_of_it(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, recorder: type[Recorder]
) -> None:
    words = {"parameters": {"milliseconds": 0.5}, "timeframe": "day", "traceparent": _TRACE}
    run = start_run(connection, streams, registry, "misbehaving", "A", "RAISE", "PERMANENT", "B", **words)
    consumer.work_until_empty()
    assert sorted(recorder.items("on_success")) == [("A", 1), ("B", 1)]
    assert recorder.items("on_failure") == [("RAISE", 1), ("RAISE", 2)]
    assert recorder.items("on_dead") == [("PERMANENT", 1), ("RAISE", 3)]
    (_, dead, (item,)) = next(each for each in recorder.told if each[0] == "on_dead" and each[2][0].key == "RAISE")
    assert item.error == "ValueError: RAISE cannot be computed"
    assert "sample_jobs.py" in str(item.stack)
    assert (dead.run_id, dead.job, dead.queue, dead.timeframe) == (run.id, "misbehaving", "tests", "day")
    assert (dead.parameters, dead.traceparent, dead.consumer) == ({"milliseconds": 0.5}, _TRACE, "one")
    assert dead.started_at is not None
    assert 0 < (dead.seconds or 0) < 60
    (failed,) = [items[0] for name, _, items in recorder.told if name == "on_failure" and items[0].attempt == 1]
    assert failed.retry_seconds is not None
    assert failed.retry_seconds >= 0


def test_each_call_ends_once_and_its_counts_are_those_of_the_ledger(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, recorder: type[Recorder]
) -> None:
    start_run(connection, streams, registry, "misbehaving", "A", "RAISE", "B")
    consumer.work_until_empty()
    started = [call.number for name, call, _ in recorder.told if name == "on_start"]
    assert [call.number for call, _ in sorted(recorder.ends, key=lambda each: each[0].number)] == started
    split = [end for _, end in recorder.ends if end.outcome == "split"]
    assert [phase.error for end in split for phase in end.phases] == ["ValueError: RAISE cannot be computed"]
    decided = [end for _, end in recorder.ends if end.outcome == "decided"]
    assert sum(end.completed for end in decided) == 2
    assert (sum(end.retried for end in decided), sum(end.dead for end in decided)) == (2, 1)
    assert [[phase.name for phase in end.phases] for end in decided if end.completed] == [["execute", "save"]] * 2


def test_a_save_that_raises_is_a_phase_of_its_call_and_no_success(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, recorder: type[Recorder]
) -> None:
    start_run(connection, streams, registry, "misbehaving", "A", "SAVE_RAISES", max_attempts=1)
    consumer.work_until_empty()
    assert recorder.items("on_success") == [("A", 1)]
    assert recorder.items("on_dead") == [("SAVE_RAISES", 1)]
    ((_, end),) = recorder.ends
    assert (end.outcome, end.completed, end.dead, end.discarded) == ("decided", 1, 1, 0)
    phases = [(phase.name, phase.error is None) for phase in end.phases]
    assert phases == [("execute", True), ("save", False), ("save", True), ("save", False)]


def test_snoozed_items_are_no_failures_and_are_counted(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, recorder: type[Recorder]
) -> None:
    start_run(connection, streams, registry, "snoozing", "A", "B", parameters={"ready_at": 4e9})
    consumer.work()
    assert recorder.items("on_failure") == []
    assert [(end.snoozed, end.discarded) for _, end in recorder.ends] == [(2, 0)]


class Raced(Job[JobParameters]):
    """Another worker closes what it is executing."""

    name: ClassVar[str] = "raced"
    queue: ClassVar[str] = "tests"
    race: ClassVar[Callable[[], object]]

    def execute(self, items: Sequence[Item], context: Context[JobParameters]) -> list[Completed]:
        type(self).race()
        return [Completed(item) for item in items]


def test_an_item_that_another_worker_closed_is_no_success(
    settings: Settings, connection: Connection, streams: Streams, recorder: type[Recorder]
) -> None:
    registry = Registry([Raced()])
    consumer = Consumer(settings, registry, streams, connection, "raced")
    consumer.install({"recorder": recorder})
    run = start_run(connection, streams, registry, "raced", "A", "B")
    update = [ItemUpdate(0, 0, 1, "completed")]
    Raced.race = lambda: complete_items(connection, run, "another", run.as_of, update)  # type: ignore[arg-type]
    consumer.work()
    assert items_of(connection, run)["A"][0] == "completed"
    assert recorder.items("on_success") == [("B", 1)]
    assert [(end.completed, end.discarded) for _, end in recorder.ends] == [(1, 1)]


def test_attempts_that_ended_with_their_worker_are_told_by_the_next_one(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, recorder: type[Recorder]
) -> None:
    start_run(connection, streams, registry, "ledger_entry", "A", max_attempts=2)
    for _ in range(2):
        (delivery,) = consumer.read()
        reason, suspects = "killed by signal 9", [delivery.entry_id]
        streams.leases.requeue("tests", "one", reason, suspects)
    consumer.work()
    assert recorder.items("on_failure") == []
    assert recorder.items("on_dead") == [("A", 2)]
    ((_, call, (item,)),) = recorder.told
    assert (call.number, call.started_at, item.error) == (0, None, "killed by signal 9")


def test_the_first_attempt_that_ended_with_its_worker_is_a_failure_before_the_second_starts(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, recorder: type[Recorder]
) -> None:
    start_run(connection, streams, registry, "ledger_entry", "A", max_attempts=2)
    (delivery,) = consumer.read()
    streams.leases.requeue("tests", "one", "killed by signal 9", [delivery.entry_id])
    consumer.work()
    assert recorder.items("on_failure") == [("A", 1)]
    assert recorder.items("on_start") == [("A", 2)]
    assert recorder.items("on_success") == [("A", 2)]


def test_an_error_that_stops_the_run_is_one_death(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, recorder: type[Recorder]
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "A", "RAISE_RUN", "B")
    consumer.work_until_empty()
    assert run_status(connection, run) == "FAILED"
    assert len(recorder.items("on_dead")) == 1
    assert recorder.items("on_success") == []


class Binding(Hooks):
    """Sets a context variable, and changes the parameters that it is given."""

    def on_start(self, call: HookCall) -> None:
        structlog.contextvars.bind_contextvars(trace_id=f"of call {call.number}")
        parameters: Any = call.parameters
        parameters["milliseconds"] = -1


class Seeing(Job[JobParameters]):
    """Says which context variables it sees."""

    name: ClassVar[str] = "seeing"
    queue: ClassVar[str] = "tests"
    batch_size: ClassVar[int] = 1
    seen: ClassVar[list[object]]

    def execute(self, items: Sequence[Item], context: Context[JobParameters]) -> list[Completed]:
        self.seen.append(structlog.contextvars.get_contextvars())
        return [Completed(item) for item in items]

    def save(self, connection: Connection, completed: Sequence[Completed]) -> tuple[()]:
        self.seen.append(structlog.contextvars.get_contextvars())
        return ()


def test_context_variables_of_on_start_are_those_of_its_call_only(
    settings: Settings, connection: Connection, streams: Streams
) -> None:
    registry, Seeing.seen = Registry([Seeing()]), []
    consumer = Consumer(settings, registry, streams, connection, "seeing")
    consumer.install({"binding": Binding})
    start_run(connection, streams, registry, "seeing", "A", "B")
    consumer.work()
    assert Seeing.seen == [{"trace_id": f"of call {number}"} for number in (1, 1, 2, 2)]
    assert structlog.contextvars.get_contextvars() == {}


def test_a_hook_changes_no_parameters(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    consumer.install({"binding": Binding})
    run = start_run(connection, streams, registry, "ledger_entry", "A", parameters={"milliseconds": 0.5})
    consumer.work()  # a handler that is given a negative number of milliseconds cannot sleep
    assert items_of(connection, run)["A"][0] == "completed"


class Slow(Hooks):
    """Takes too long in its first call; counts its calls."""

    calls: ClassVar[list[str]]

    def on_start(self, call: HookCall) -> None:
        self.calls.append(threading.current_thread().name)
        time.sleep(60)


def test_a_slow_hook_is_interrupted_and_rests(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    Slow.calls = []
    consumer.install({"slow": Slow}, seconds=0.05)
    run = start_run(connection, streams, registry, "ledger_entry", *(f"S{n}" for n in range(60)))
    with structlog.testing.capture_logs() as lines:
        consumer.work()
    assert run_status(connection, run) == "COMPLETED"
    assert Slow.calls == ["MainThread"]
    assert consumer.reporter.hook_failures == [("slow", "on_start")]
    assert consumer.reporter.hook_skips == [("slow", "on_start")] * 2
    (line,) = [line for line in lines if line["event"] == "hook_failed"]
    assert (line["hook"], line["hook_event"], line["error"]) == ("slow", "on_start", "did not return within 0.05 s")
    assert line["rests_seconds"] == REST_SECONDS


class Raising(Hooks):
    """Raises in each call."""

    def on_success(self, call: HookCall, items: Sequence[HookItem]) -> None:
        raise ValueError(f"no statistics of postgresql://ann:hunter2@db/{len(items)}")


def test_what_a_hook_raises_is_logged_once_and_counted_each_time(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    consumer.install({"raising": Raising, "idle": sample_hooks.Idle})
    run = start_run(connection, streams, registry, "ledger_entry", *(f"S{n}" for n in range(60)))
    with structlog.testing.capture_logs() as lines:
        consumer.work()
    assert run_status(connection, run) == "COMPLETED"
    assert consumer.reporter.hook_failures == [("raising", "on_success")] * 3
    assert consumer.reporter.hooks.count(("idle", "on_success")) == 3
    (line,) = [line for line in lines if line["event"] == "hook_failed"]
    assert line["error"] == "ValueError: no statistics of postgresql://…@db/20"
    assert "in on_success" in line["stack"]
    assert "hunter2" not in str(lines)


def test_without_a_method_nothing_is_called_or_reported(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    consumer.install({"empty": sample_hooks.Empty})
    opened = list(consumer.reporter.hooks)
    start_run(connection, streams, registry, "ledger_entry", "A")
    consumer.work()
    assert consumer.reporter.hooks == opened


def test_a_call_whose_commit_meets_an_outage_is_undecided_and_told_of_again(
    settings: Settings, connection: Connection, streams: Streams, recorder: type[Recorder]
) -> None:
    registry = Registry([Raced()])
    consumer = Consumer(settings, registry, streams, connection, "raced")
    consumer.install({"recorder": recorder})
    Raced.race = lambda: connection.execute("ALTER TABLE run_items RENAME TO elsewhere")
    start_run(connection, streams, registry, "raced", "A")
    deliveries = consumer.read()
    with pytest.raises(psycopg.errors.UndefinedTable):
        consumer.execute(deliveries)
    connection.execute("ALTER TABLE elsewhere RENAME TO run_items")
    Raced.race = lambda: None
    consumer.execute(deliveries)
    assert [(end.outcome, end.completed) for _, end in recorder.ends] == [("undecided", 0), ("decided", 1)]
    assert recorder.items("on_start") == [("A", 1)] * 2
    assert recorder.items("on_success") == [("A", 1)]
