"""The reconciler adds what an emptied Redis lost, finishes enqueues and completes runs, a step at a time."""

from collections.abc import Sequence
from contextlib import suppress

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from consumer import Consumer
from harness import effects_of, run_status, start_run, wait_until
from losses import metric_value, step_until_idle, symbols_waiting
from streamworkers.database import Connection, SessionLimits, connect
from streamworkers.engine import enqueue as enqueue_module
from streamworkers.engine import ledger
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.ledger import Run
from streamworkers.engine.ledger import runs as runs_module
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services import loss_check as loss_check_module
from streamworkers.engine.services import reconciler as reconciler_module
from streamworkers.engine.services.reconciler import Reconciler


def _is_enqueued(connection: Connection, run: Run) -> bool:
    loaded = ledger.load_run(connection, run.id)
    assert loaded is not None
    return loaded.is_enqueued


def test_a_run_lost_with_redis_is_added_again_and_completes(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    reconciler: Reconciler,
    metrics: PoolMetrics,
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", *[f"S{n:02}" for n in range(30)])
    consumer.work(count=10)
    streams.client.raw.delete(streams.keys.stream("tests"), streams.keys.open_items("tests"))
    reconciler.run_once()
    assert streams.inspector.read_backlog("tests").waiting == 20
    assert metric_value(metrics, "items_reconciled_total", queue="tests") == 20
    consumer.work()
    assert run_status(connection, run) == "COMPLETED"
    assert effects_of(connection, run) == [f"S{n:02}" for n in range(30)]


def test_an_enqueue_that_died_half_way_is_finished(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs_module, "SMALL_RUN", 1)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "mark_enqueued", die)
        with pytest.raises(KeyboardInterrupt):
            start_run(connection, streams, registry, "ledger_entry", "A", "B")
        patch.setattr(enqueue_module, "add_entries", die)
        for symbols in (["C"], ["D", "E"]):
            with pytest.raises(KeyboardInterrupt):
                start_run(connection, streams, registry, "ledger_entry", *symbols)
    reconciler.run_once()
    assert streams.inspector.read_backlog("tests").waiting == 2 + 5
    consumer.work()
    assert connection.execute("SELECT status, count(*) FROM runs GROUP BY 1").fetchall() == [("COMPLETED", 3)]
    assert connection.execute("SELECT symbol FROM effects ORDER BY 1").fetchall() == [(name,) for name in "ABCDE"]


def test_a_small_run_that_waits_is_recorded_and_not_added_again(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, reconciler: Reconciler
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B")
    assert _is_enqueued(connection, run) is False
    step_until_idle(reconciler)
    assert streams.inspector.read_backlog("tests").waiting == 2
    assert (_is_enqueued(connection, run), run_status(connection, run)) == (True, "PENDING")
    consumer.work()
    assert run_status(connection, run) == "COMPLETED"


def test_a_run_that_redis_lost_before_it_was_recorded_is_added_though_others_wait(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, reconciler: Reconciler
) -> None:
    lost = start_run(connection, streams, registry, "ledger_entry", "A", "B")
    streams.client.raw.flushall()
    other = start_run(connection, streams, registry, "ledger_entry", "C")
    step_until_idle(reconciler)
    assert symbols_waiting(streams) == ["C", "A", "B"]
    consumer.work()
    assert [run_status(connection, run) for run in (lost, other)] == ["COMPLETED"] * 2


@pytest.mark.parametrize("step", ["set_open_count", "add", "mark_enqueued"])
def test_a_reconciler_that_dies_in_any_step_leaves_no_run_that_seems_to_wait(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(enqueue_module, "add_entries", die)
        with pytest.raises(KeyboardInterrupt):
            start_run(connection, streams, registry, "ledger_entry", "A", "B")
    start_run(connection, streams, registry, "ledger_entry", "C")
    with monkeypatch.context() as patch:
        patch.setattr(ledger if step == "mark_enqueued" else streams.queues, step, die)
        with pytest.raises(KeyboardInterrupt):
            reconciler.run_once()
    step_until_idle(reconciler)
    assert symbols_waiting(streams) == ["C", "A", "B"]
    consumer.work()
    assert connection.execute("SELECT status, count(*) FROM runs GROUP BY 1").fetchall() == [("COMPLETED", 2)]


def test_what_a_replay_did_not_add_is_added_though_its_run_has_a_count(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    reconciler: Reconciler,
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B", "C")
    held = consumer.read()
    consumer.execute(held[:1])
    connection.execute("UPDATE run_items SET status = 'failed' WHERE symbol = 'A'")
    ledger.reopen_items(connection, run, ["failed"], None)
    assert streams.inspector.read_open_counts("tests")[run.id] == 2
    start_run(connection, streams, registry, "ledger_entry", "D")
    step_until_idle(reconciler)
    assert sorted(symbols_waiting(streams)) == ["A", "B", "B", "C", "C", "D"]


def test_the_first_delivery_of_a_small_run_records_it_and_that_of_a_large_one_does_not(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs_module, "SMALL_RUN", 2)
    monkeypatch.setattr(enqueue_module, "_PIPELINE", 1)
    add = streams.queues.add
    added: list[bytes] = []

    def add_only_one(queue: str, run_id: int, packed: Sequence[bytes]) -> None:
        if added:
            raise KeyboardInterrupt
        added.extend(packed)
        add(queue, run_id, packed)

    with monkeypatch.context() as patch:
        patch.setattr(streams.queues, "add", add_only_one)
        with pytest.raises(KeyboardInterrupt):
            start_run(connection, streams, registry, "ledger_entry", "A", "B", "C")
    small = start_run(connection, streams, registry, "ledger_entry", "D", "E")
    large = small.id - 1
    consumer.work()
    rows = connection.execute("SELECT id, status, enqueued_at IS NOT NULL FROM runs ORDER BY 1").fetchall()
    assert rows == [(large, "RUNNING", False), (small.id, "COMPLETED", True)]
    step_until_idle(reconciler)
    consumer.work()
    assert effects_of(connection, small) == ["D", "E"]
    assert connection.execute("SELECT symbol FROM effects WHERE run_id = %s ORDER BY 1", (large,)).fetchall() == [
        ("A",),
        ("B",),
        ("C",),
    ]


def test_an_enqueue_under_way_is_left_alone(
    connection: Connection, pool: "ConnectionPool[Connection]", streams: Streams, registry: Registry
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    streams.client.raw.delete(streams.keys.stream("tests"))
    Reconciler(pool, streams, ["tests"], 1.0, 60.0, PoolMetrics()).run_once()
    assert streams.inspector.read_backlog("tests").waiting == 0
    assert run_status(connection, run) == "PENDING"


def test_a_queue_with_work_in_it_is_left_alone(
    connection: Connection, streams: Streams, registry: Registry, reconciler: Reconciler
) -> None:
    start_run(connection, streams, registry, "ledger_entry", "A", "B")
    reconciler.run_once()
    reconciler.run_once()
    assert streams.inspector.read_backlog("tests").waiting == 2


def test_a_run_whose_count_was_lost_is_completed(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, reconciler: Reconciler
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    other = start_run(connection, streams, registry, "ledger_entry", "B")
    streams.client.raw.delete(streams.keys.open_items("tests"))
    consumer.work(count=1)
    assert run_status(connection, run) == "RUNNING"
    reconciler.run_once()
    assert run_status(connection, run) == "COMPLETED"
    assert run_status(connection, other) == "PENDING"


def test_a_count_that_is_too_low_is_set_right_by_the_ledger(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B", "C")
    streams.queues.set_open_count("tests", run.id, 1)
    consumer.work(count=1)
    assert streams.inspector.read_open_counts("tests") == {run.id: 2}
    consumer.work()
    assert run_status(connection, run) == "COMPLETED"


def test_counts_of_ended_runs_are_forgotten(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, reconciler: Reconciler
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    consumer.work()
    streams.queues.set_open_count("tests", run.id, 5)
    streams.queues.set_open_count("tests", 424242, 5)
    reconciler.run_once()
    assert streams.inspector.read_open_counts("tests") == {}


def test_a_long_list_of_lost_items_is_added_in_bounded_steps(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs_module, "SMALL_RUN", 4)
    monkeypatch.setattr(loss_check_module, "ADD_LIMIT", 4)
    start_run(connection, streams, registry, "ledger_entry", *[f"S{n}" for n in range(10)])
    streams.client.raw.delete(streams.keys.stream("tests"))
    counts = []
    for expected_pause in (0.0, 0.0, None, None):
        assert reconciler.run_once() == expected_pause
        counts.append(streams.inspector.read_backlog("tests").waiting)
    assert counts == [4, 8, 10, 10]


def test_runs_are_looked_at_a_page_at_a_time_and_all_of_an_empty_queue_are_healed(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconciler_module, "RUN_LIMIT", 2)
    for _ in range(5):
        start_run(connection, streams, registry, "ledger_entry", "A")
    streams.client.raw.delete(streams.keys.stream("tests"))
    steps = [(reconciler.run_once(), streams.inspector.read_backlog("tests").waiting) for _ in range(3)]
    assert steps == [(0.0, 2), (0.0, 4), (None, 5)]


def test_what_an_enqueuer_is_still_adding_is_left_to_it(
    connection: Connection, database_url: str, streams: Streams, registry: Registry, reconciler: Reconciler
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    streams.client.raw.delete(streams.keys.stream("tests"))
    with connect(database_url) as enqueuer, ledger.enqueue_lock(enqueuer, run.id, wait=True):
        reconciler.run_once()
        assert streams.inspector.read_backlog("tests").waiting == 0
    wait_until(lambda: reconciler.run_once() is None and streams.inspector.read_backlog("tests").waiting == 1)


def test_what_an_enqueuer_that_stands_still_did_not_add_is_added_after_its_limit(
    connection: Connection, database_url: str, streams: Streams, registry: Registry, reconciler: Reconciler
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    streams.client.raw.delete(streams.keys.stream("tests"))
    limits = SessionLimits(idle_in_transaction=1.0)
    with connect(database_url, limits=limits) as enqueuer, suppress(psycopg.errors.IdleInTransactionSessionTimeout):
        with ledger.enqueue_lock(enqueuer, run.id, wait=True):
            wait_until(lambda: reconciler.run_once() is None and streams.inspector.read_backlog("tests").waiting == 1)
            ledger.mark_enqueued(enqueuer, run.id)
        pytest.fail("the session outlived its limit")
