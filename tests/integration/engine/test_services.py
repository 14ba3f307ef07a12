"""The background services, a step at a time."""

import json

import pytest
from consumer import Consumer
from harness import effects_of, run_status, start_run, subscribe, wait_until
from psycopg_pool import ConnectionPool

from streamworkers.config import Settings
from streamworkers.database import Connection, connect
from streamworkers.engine import enqueue as enqueue_module
from streamworkers.engine import ledger
from streamworkers.engine import reconciler as reconciler_module
from streamworkers.engine.metrics import BacklogCollector, PoolMetrics
from streamworkers.engine.outbox import OutboxRelay
from streamworkers.engine.promoter import Promoter
from streamworkers.engine.pruner import Pruner
from streamworkers.engine.reclaimer import Reclaimer
from streamworkers.engine.reconciler import Reconciler
from streamworkers.engine.registry import Registry
from streamworkers.engine.service import ServiceLoop
from streamworkers.engine.stream import RedisUnavailableError, Streams


@pytest.fixture
def metrics() -> PoolMetrics:
    return PoolMetrics()


@pytest.fixture
def reconciler(pool: "ConnectionPool[Connection]", streams: Streams, metrics: PoolMetrics) -> Reconciler:
    return Reconciler(pool, streams, ["tests"], 1.0, 0.0, metrics)


def _value(metrics: PoolMetrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"streamworkers_{name}", labels) or 0.0


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
    streams._client.delete(streams.keys.stream("tests"), streams.keys.open_items("tests"))
    reconciler.run_once()
    assert streams.backlog("tests").waiting == 20
    assert _value(metrics, "items_reconciled_total", queue="tests") == 20
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

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "mark_enqueued", die)
        with pytest.raises(KeyboardInterrupt):
            start_run(connection, streams, registry, "ledger_entry", "A")
        patch.setattr(enqueue_module, "add_entries", die)
        with pytest.raises(KeyboardInterrupt):
            start_run(connection, streams, registry, "ledger_entry", "B")
    reconciler.run_once()
    assert streams.backlog("tests").waiting == 3
    consumer.work()
    assert connection.execute("SELECT status, count(*) FROM job_schedule_runs GROUP BY 1").fetchall() == [
        ("COMPLETED", 2)
    ]
    assert connection.execute("SELECT symbol FROM effects ORDER BY 1").fetchall() == [("A",), ("B",)]


def test_an_enqueue_under_way_is_left_alone(
    connection: Connection, pool: "ConnectionPool[Connection]", streams: Streams, registry: Registry
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    streams._client.delete(streams.keys.stream("tests"))
    Reconciler(pool, streams, ["tests"], 1.0, 60.0, PoolMetrics()).run_once()
    assert streams.backlog("tests").waiting == 0
    assert run_status(connection, run) == "PENDING"


def test_a_queue_with_work_in_it_is_left_alone(
    connection: Connection, streams: Streams, registry: Registry, reconciler: Reconciler
) -> None:
    start_run(connection, streams, registry, "ledger_entry", "A", "B")
    reconciler.run_once()
    reconciler.run_once()
    assert streams.backlog("tests").waiting == 2


def test_a_run_whose_count_was_lost_is_completed(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, reconciler: Reconciler
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    other = start_run(connection, streams, registry, "ledger_entry", "B")
    streams._client.delete(streams.keys.open_items("tests"))
    consumer.work(count=1)
    assert run_status(connection, run) == "RUNNING"
    reconciler.run_once()
    assert run_status(connection, run) == "COMPLETED"
    assert run_status(connection, other) == "PENDING"


def test_a_count_that_is_too_low_is_set_right_by_the_ledger(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B", "C")
    streams.set_open_items("tests", run.id, 1)
    consumer.work(count=1)
    assert streams.open_items("tests") == {run.id: 2}
    consumer.work()
    assert run_status(connection, run) == "COMPLETED"


def test_counts_of_ended_runs_are_forgotten(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, reconciler: Reconciler
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    consumer.work()
    streams.set_open_items("tests", run.id, 5)
    streams.set_open_items("tests", 424242, 5)
    reconciler.run_once()
    assert streams.open_items("tests") == {}


def test_entries_of_a_dead_worker_are_reclaimed_after_their_lease(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    second_consumer: Consumer,
    metrics: PoolMetrics,
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B")
    consumer.read()
    patient = Reclaimer(streams, ["tests"], "me", 60_000, metrics)
    assert patient.run_once() is None
    assert _value(metrics, "entries_reclaimed_total", queue="tests") == 0
    Reclaimer(streams, ["tests"], "me", 0, metrics).run_once()
    assert _value(metrics, "entries_reclaimed_total", queue="tests") == 2
    second_consumer.work()
    assert run_status(connection, run) == "COMPLETED"


def test_supervisors_of_different_queues_do_not_share_a_lease(streams: Streams, metrics: PoolMetrics) -> None:
    first = ServiceLoop(Promoter(streams, ["a"], metrics), streams, "first", metrics)
    second = ServiceLoop(Promoter(streams, ["b"], metrics), streams, "second", metrics)
    third = ServiceLoop(Promoter(streams, ["a"], metrics), streams, "third", metrics)
    assert [loop._holds_lease() for loop in (first, second, third, first)] == [True, True, False, True]


def test_a_long_list_of_lost_items_is_added_in_bounded_steps(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconciler_module, "ADD_LIMIT", 4)
    start_run(connection, streams, registry, "ledger_entry", *[f"S{n}" for n in range(10)])
    streams._client.delete(streams.keys.stream("tests"))
    counts = []
    for expected_pause in (0.0, 0.0, None, None):
        assert reconciler.run_once() == expected_pause
        counts.append(streams.backlog("tests").waiting)
    assert counts == [4, 8, 10, 10]


def test_what_an_enqueuer_is_still_adding_is_left_to_it(
    connection: Connection, database_url: str, streams: Streams, registry: Registry, reconciler: Reconciler
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    streams._client.delete(streams.keys.stream("tests"))
    with connect(database_url) as enqueuer:
        ledger.lock_enqueue(enqueuer, run.id, wait=True)
        reconciler.run_once()
        assert streams.backlog("tests").waiting == 0
    wait_until(lambda: reconciler.run_once() is None and streams.backlog("tests").waiting == 1)


def test_the_promoter_says_when_the_next_entry_is_due(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, metrics: PoolMetrics
) -> None:
    promoter = Promoter(streams, ["tests"], metrics)
    assert promoter.run_once() is None
    start_run(connection, streams, registry, "snoozing", "A", parameters={"ready_at": 32503680000})
    consumer.work()
    pause = promoter.run_once()
    assert pause is not None
    assert pause > 60
    streams._client.delete(streams.keys.delayed("tests"))


def test_events_are_published_in_order_with_an_id_and_leave_the_outbox(
    connection: Connection,
    pool: "ConnectionPool[Connection]",
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    metrics: PoolMetrics,
) -> None:
    listener = subscribe(streams, "tests.effects")
    start_run(connection, streams, registry, "ledger_entry", "A", "B")
    consumer.work()
    assert OutboxRelay(pool, streams, metrics).run_once() is None
    messages = [json.loads(listener.get_message(timeout=5)["data"]) for _ in range(2)]
    listener.close()
    assert [message["symbol"] for message in messages] == ["A", "B"]
    assert len({message["event_id"] for message in messages}) == 2
    assert connection.execute("SELECT count(*) FROM event_outbox").fetchone() == (0,)


def test_events_stay_in_the_outbox_while_redis_is_away(
    connection: Connection,
    pool: "ConnectionPool[Connection]",
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    metrics: PoolMetrics,
) -> None:
    start_run(connection, streams, registry, "ledger_entry", "A")
    consumer.work()
    away = Streams("unix:///nowhere/redis.sock", "x")
    with pytest.raises(RedisUnavailableError):
        OutboxRelay(pool, away, metrics).run_once()
    away.close()
    assert connection.execute("SELECT count(*) FROM event_outbox").fetchone() == (1,)


def test_partitions_are_made_ahead_and_consumers_of_gone_workers_removed(
    connection: Connection, pool: "ConnectionPool[Connection]", streams: Streams, settings: Settings
) -> None:
    streams.ensure_groups(["tests"])
    for name in ("gone.1", "alive.1", "gone.2"):
        streams.add("tests", 1, [b"x"])
        (delivery,) = streams.read(["tests"], name, 1, 1)
        if name != "gone.2":
            streams.discard("tests", name, [delivery.entry_id])
    pruner = Pruner(pool, streams, ["tests"], lambda: {"alive"})
    pruner.run_once()
    assert streams.consumers("tests") == {"alive.1": 0, "gone.2": 1}
    row = connection.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'job_run_items'::regclass").fetchone()
    assert row == (8,)


def test_the_backlog_is_read_when_it_is_asked_for_and_left_out_when_it_cannot_be(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, metrics: PoolMetrics
) -> None:
    start_run(connection, streams, registry, "ledger_entry", "A", "B", "C")
    consumer.read(count=1)
    metrics.registry.register(BacklogCollector(streams, ["tests"]))
    assert _value(metrics, "queue_entries", queue="tests", state="waiting") == 2
    assert _value(metrics, "queue_entries", queue="tests", state="pending") == 1
    away = Streams("unix:///nowhere/redis.sock", "x")
    assert list(BacklogCollector(away, ["tests"]).collect()) == []
    away.close()
