"""What a busy queue lost is found by counting, without adding what is on its way."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from psycopg_pool import ConnectionPool

from consumer import Consumer
from harness import effects_of, run_status, start_run
from losses import lose, metric_value, record_counted_runs, step_until_idle, symbols_waiting
from streamworkers.config import Settings
from streamworkers.database import Connection, connect
from streamworkers.engine import ledger
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.ledger import Run
from streamworkers.engine.ledger import runs as runs_module
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services import loss_check as loss_check_module
from streamworkers.engine.services import reconciler as reconciler_module
from streamworkers.engine.services.loss_check import StallRule
from streamworkers.engine.services.reconciler import Reconciler


def test_an_entry_lost_from_a_queue_that_never_empties_is_added_again(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    second_consumer: Consumer,
    hasty: Reconciler,
    metrics: PoolMetrics,
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "LOST", "C")
    lose(streams, "LOST")
    consumer.work(count=2)
    busy = start_run(connection, streams, registry, "ledger_entry", *[f"S{n}" for n in range(10)])
    for _ in range(4):
        second_consumer.work(count=2)
        step_until_idle(hasty)
    assert run_status(connection, busy) == "RUNNING"
    assert metric_value(metrics, "items_reconciled_total", queue="tests") == 1
    assert symbols_waiting(streams).count("LOST") == 1
    consumer.work()
    assert run_status(connection, run) == "COMPLETED"
    assert effects_of(connection, run) == ["A", "C", "LOST"]
    assert run_status(connection, busy) == "COMPLETED"
    assert len(effects_of(connection, busy)) == 10


def test_without_the_rule_for_stalled_runs_what_a_busy_queue_lost_stays_lost(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    hasty: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loss_check_module.StallDetector, "is_stalled", lambda *_: False)
    start_run(connection, streams, registry, "ledger_entry", "LOST", "C")
    lose(streams, "LOST")
    consumer.work(count=1)
    start_run(connection, streams, registry, "ledger_entry", "S1", "S2")
    consumer.read(count=1)
    for _ in range(6):
        step_until_idle(hasty)
    assert "LOST" not in symbols_waiting(streams)


def test_a_lost_entry_is_found_when_all_others_are_delayed(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, hasty: Reconciler
) -> None:
    start_run(connection, streams, registry, "snoozing", "LATE", parameters={"ready_at": 32503680000})
    consumer.work()
    start_run(connection, streams, registry, "ledger_entry", "LOST")
    lose(streams, "LOST")
    for _ in range(3):
        step_until_idle(hasty)
    assert symbols_waiting(streams) == ["LOST"]
    streams.client.raw.delete(streams.keys.delayed("tests"))


def test_nothing_is_added_while_a_handler_takes_long_and_censuses_become_rare(
    connection: Connection,
    pool: "ConnectionPool[Connection]",
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    second_consumer: Consumer,
    metrics: PoolMetrics,
    pass_time: Callable[[float], None],
) -> None:
    start_run(connection, streams, registry, "ledger_entry", "A", "B")
    start_run(connection, streams, registry, "snoozing", "LATE", parameters={"ready_at": 32503680000})
    consumer.read(count=2)
    second_consumer.work()
    patient = Reconciler(pool, streams, ["tests"], 1.0, 0.0, metrics, StallRule(65.0, 600.0))
    scans: list[int] = []
    for second in range(0, 3600, 5):
        if step_until_idle(patient) > 1:
            scans.append(second)
        pass_time(5.0)
    streams.client.raw.delete(streams.keys.delayed("tests"))
    assert metric_value(metrics, "items_reconciled_total", queue="tests") == 0
    pauses = [later - earlier for earlier, later in pairwise(scans)]
    assert 65 <= scans[0] <= 75
    assert pauses == sorted(pauses)
    assert 595 <= pauses[-1] <= 605
    assert len(scans) <= 10


def test_a_run_whose_items_become_fewer_in_the_ledger_alone_is_not_stalled(
    connection: Connection,
    pool: "ConnectionPool[Connection]",
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    metrics: PoolMetrics,
    pass_time: Callable[[float], None],
) -> None:
    start_run(connection, streams, registry, "ledger_entry", *[f"S{n}" for n in range(10)])
    consumer.read()
    patient = Reconciler(pool, streams, ["tests"], 1.0, 0.0, metrics, StallRule(65.0))
    for seq in range(9):
        for _ in range(6):
            assert step_until_idle(patient) == 1
            pass_time(5.0)
        connection.execute("UPDATE run_items SET status = 'completed' WHERE seq = %s", (seq,))
    most_steps = 0
    for _ in range(40):
        most_steps = max(most_steps, step_until_idle(patient))
        pass_time(5.0)
    assert most_steps > 1


def test_a_run_that_waits_behind_others_is_neither_counted_nor_looked_for(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    hasty: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start_run(connection, streams, registry, "ledger_entry", "A", "B")
    waiting = start_run(connection, streams, registry, "ledger_entry", "C", "LOST")
    consumer.read(count=1)
    lose(streams, "LOST")
    counted = record_counted_runs(monkeypatch)
    for _ in range(5):
        assert step_until_idle(hasty) == 1
    assert counted == []
    assert "LOST" not in symbols_waiting(streams)
    consumer.read()
    for _ in range(3):
        step_until_idle(hasty)
    assert waiting.id in counted
    assert "LOST" in symbols_waiting(streams)


def test_the_ledger_is_counted_rarely_while_nothing_changes_and_at_once_when_something_did(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
    pass_time: Callable[[float], None],
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B", "C")
    held = consumer.read()
    counted = [0]
    count = ledger.close_runs

    def counting(connection: Connection, runs: Sequence[Run]) -> tuple[dict[int, str], dict[int, int]]:
        counted[0] += 1
        return count(connection, runs)

    monkeypatch.setattr(ledger, "close_runs", counting)
    for _ in range(60):
        step_until_idle(reconciler)
        pass_time(1.0)
    assert 4 <= counted[0] <= 7
    before = counted[0]
    consumer.execute(held[:1])
    step_until_idle(reconciler)
    step_until_idle(reconciler)
    assert counted[0] == before + 1
    assert run_status(connection, run) == "RUNNING"


def test_what_was_enqueued_again_during_the_census_is_left_to_its_enqueuer(
    connection: Connection, database_url: str, streams: Streams, registry: Registry, hasty: Reconciler
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "LOST", "B")
    start_run(connection, streams, registry, "ledger_entry", "C")
    streams.queues.ensure_groups(["tests"])
    assert len(streams.queues.read(["tests"], "someone", 3, 1)) == 3
    lose(streams, "LOST")
    assert (hasty.run_once(), hasty.run_once()) == (None, 0.0)
    with connect(database_url) as enqueuer, ledger.enqueue_lock(enqueuer, run.id, wait=True):
        step_until_idle(hasty)
        assert "LOST" not in symbols_waiting(streams)
        ledger.mark_enqueued(enqueuer, run.id)
    hasty._detectors["tests"].forget_all_but(set())
    assert (hasty.run_once(), hasty.run_once()) == (None, 0.0)
    ledger.mark_enqueued(connection, run.id)
    step_until_idle(hasty)
    assert "LOST" not in symbols_waiting(streams)


def test_many_lost_items_of_a_busy_queue_are_added_in_bounded_steps_and_counted_right(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    hasty: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs_module, "SMALL_RUN", 4)
    monkeypatch.setattr(loss_check_module, "ADD_LIMIT", 4)
    run = start_run(connection, streams, registry, "ledger_entry", *[f"L{n}" for n in range(10)])
    streams.client.raw.delete(streams.keys.stream("tests"))
    start_run(connection, streams, registry, "ledger_entry", "S")
    consumer.read(count=1)
    waiting = []
    for _ in range(6):
        hasty.run_once()
        waiting.append(streams.inspector.read_backlog("tests").waiting)
    assert waiting == [0, 0, 4, 8, 10, 10]
    assert streams.inspector.read_open_counts("tests")[run.id] == 10
    consumer.work()
    assert run_status(connection, run) == "COMPLETED"


def test_a_run_cancelled_while_it_was_added_again_takes_nothing_from_the_next(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs_module, "SMALL_RUN", 4)
    monkeypatch.setattr(loss_check_module, "ADD_LIMIT", 4)
    first = start_run(connection, streams, registry, "ledger_entry", *[f"F{n}" for n in range(9)])
    start_run(connection, streams, registry, "ledger_entry", "A", "B", "C")
    streams.client.raw.delete(streams.keys.stream("tests"))
    assert reconciler.run_once() == 0.0
    ledger.cancel_run(connection, first)
    step_until_idle(reconciler)
    assert symbols_waiting(streams) == ["F0", "F1", "F2", "F3", "A", "B", "C"]


def test_a_step_counts_a_bounded_number_of_items_and_every_run_gets_its_turn(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
    pass_time: Callable[[float], None],
) -> None:
    monkeypatch.setattr(reconciler_module, "COUNT_LIMIT", 1)
    runs = [start_run(connection, streams, registry, "ledger_entry", "A") for _ in range(3)]
    consumer.read()
    counted = record_counted_runs(monkeypatch)
    for steps in range(5):
        assert reconciler.run_once() is None
        assert len(counted) <= steps
        pass_time(0.1)
    assert counted == [run.id for run in runs]


def test_a_round_that_was_left_for_long_begins_again(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
    pass_time: Callable[[float], None],
) -> None:
    monkeypatch.setattr(reconciler_module, "RUN_LIMIT", 1)
    for _ in range(3):
        start_run(connection, streams, registry, "ledger_entry", "A")
    streams.client.raw.delete(streams.keys.stream("tests"))
    assert reconciler.run_once() == 0.0
    pass_time(60.0)
    step_until_idle(reconciler)
    assert streams.inspector.read_backlog("tests").waiting == 1


def test_a_stall_is_two_leases_and_some_seconds(settings: Settings) -> None:
    settings = settings.model_copy(update={"lease_seconds": 2.0})
    assert StallRule.of(settings) == StallRule(9.0, 600.0, settings.entry_max_bytes)
    assert StallRule.of(Settings()) == StallRule()
