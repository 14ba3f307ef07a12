"""Runs of each priority have entries in a lane of their own, and every step of their lives keeps it."""

import re

import pytest
from psycopg_pool import ConnectionPool

from consumer import Consumer
from harness import items_of, run_status, start_run, wait_until
from losses import step_until_idle
from streamworkers.admin import runs as operations
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.enqueue import enqueue_runs, submit_described
from streamworkers.engine.host.metrics import BacklogCollector, PoolMetrics
from streamworkers.engine.host.scrape_board import ScrapeBoard
from streamworkers.engine.job import RunRequest
from streamworkers.engine.ledger import reports
from streamworkers.engine.redis.entry import unpack_entry
from streamworkers.engine.redis.lanes import PRIORITIES, Priority, lanes_of, list_lanes, name_lane
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.job_types import JobTypeRecorder
from streamworkers.engine.services.preparer import Preparer
from streamworkers.engine.services.promoter import Promoter
from streamworkers.engine.services.reclaimer import Reclaimer
from streamworkers.engine.services.reconciler import Reconciler
from streamworkers.errors import BadInputError
from streamworkers.market.targets import MarketTargets

LANES = lanes_of("tests")


def _symbols(streams: Streams, lane: str) -> list[str]:
    return [unpack_entry(each.packed, 16_384).symbol for each in streams.inspector.scan_stream(lane, "0-0")]


def test_a_run_has_its_entries_in_the_lane_of_its_priority(
    connection: Connection, streams: Streams, registry: Registry
) -> None:
    for priority in PRIORITIES:
        run = start_run(connection, streams, registry, "ledger_entry", priority.upper(), priority=priority)
        assert run.queue == name_lane("tests", priority)
        report = reports.read_run(connection, run.id)
        assert report is not None
        assert (report["queue"], report["priority"]) == ("tests", priority)
    assert {lane: _symbols(streams, lane) for lane in LANES} == {
        "tests/high": ["HIGH"],
        "tests": ["NORMAL"],
        "tests/low": ["LOW"],
    }
    assert streams.inspector.list_queues() == set(LANES)
    assert reports.read_enqueued_totals(connection) == [(("tests", "ledger_entry"), 3)]
    lanes = streams.inspector.read_lanes(LANES)
    assert {lane: backlog.waiting for lane, (backlog, _) in lanes.items()} == dict.fromkeys(LANES, 1)


def test_many_runs_at_once_and_a_large_run_find_their_lanes(
    connection: Connection, streams: Streams, registry: Registry
) -> None:
    large = tuple(f"S{number}" for number in range(10_001))
    priorities: list[Priority | None] = ["high", None, "low", None]
    symbols = [("A",), ("B",), ("C",), large]
    requests = [
        RunRequest("ledger_entry", names, "test", priority=priority)
        for names, priority in zip(symbols, priorities, strict=True)
    ]
    made = enqueue_runs(connection, streams, registry, requests)
    assert [run.queue for run, _ in made] == ["tests/high", "tests", "tests/low", "tests/low"]
    assert streams.inspector.read_backlog("tests/low").waiting == 10_002
    assert start_run(connection, streams, registry, "ledger_entry", *large, priority="normal").queue == "tests"


def test_a_priority_that_is_none_is_rejected(connection: Connection, streams: Streams, registry: Registry) -> None:
    with pytest.raises(BadInputError, match="priority 'urgent' is not one of high, normal, low"):
        start_run(connection, streams, registry, "ledger_entry", "A", priority="urgent")


def test_the_same_key_with_another_priority_is_the_same_run(
    connection: Connection, streams: Streams, registry: Registry
) -> None:
    first = start_run(connection, streams, registry, "ledger_entry", "A", priority="low", idempotency_key="k")
    second = start_run(connection, streams, registry, "ledger_entry", "A", priority="high", idempotency_key="k")
    assert (second.id, second.queue) == (first.id, "tests/low")


def test_workers_read_high_before_normal_before_low_in_one_round_trip(
    connection: Connection, streams: Streams, registry: Registry
) -> None:
    for priority in reversed(PRIORITIES):
        start_run(connection, streams, registry, "ledger_entry", "A", "B", priority=priority)
    streams.queues.ensure_groups(LANES)
    for lane in LANES:
        assert [each.queue for each in streams.queues.read(LANES, "one", 10, 1)] == [lane] * 2
    start_run(connection, streams, registry, "ledger_entry", "C", priority="low")
    streams.client.raw.config_resetstat()
    assert len(streams.queues.read(LANES, "one", 10, 1)) == 1
    stats = streams.client.raw.info("commandstats")
    assert (stats["cmdstat_evalsha"]["calls"], stats["cmdstat_xreadgroup"]["calls"]) == (1, 3)


@pytest.mark.parametrize("count", [10, 100])
def test_a_read_takes_what_was_never_delivered_whatever_its_size(
    connection: Connection, streams: Streams, registry: Registry, count: int
) -> None:
    """Few entries come with the script; of many it says only where they are."""
    names = [f"S{number:03}" for number in range(250)]
    start_run(connection, streams, registry, "ledger_entry", *names, priority="low")
    read = []
    while found := streams.queues.read(LANES, "one", count, 1):
        read += [unpack_entry(each.packed, 16_384).symbol for each in found]
        assert len(found) <= count
    assert read == names
    streams.client.raw.xgroup_destroy(streams.keys.stream("tests/low"), "workers")
    assert len(streams.queues.read(LANES, "two", count, 1)) == count


def test_an_emptied_redis_gets_every_run_back_into_its_lane(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    pool: "ConnectionPool[Connection]",
) -> None:
    runs = {
        lane: start_run(connection, streams, registry, "ledger_entry", "A", "B", priority=priority)
        for lane, priority in zip(LANES, PRIORITIES, strict=True)
    }
    streams.client.raw.flushall()
    metrics = PoolMetrics()
    step_until_idle(Reconciler(pool, streams, LANES, 1.0, 0.0, metrics))
    assert {lane: _symbols(streams, lane) for lane in LANES} == {lane: ["A", "B"] for lane in LANES}
    assert metrics.registry.get_sample_value("streamworkers_items_reconciled_total", {"queue": "tests"}) == 6
    for lane in LANES:
        consumer.work(lane)
    assert {run_status(connection, run) for run in runs.values()} == {"COMPLETED"}
    assert {lane: streams.inspector.read_open_counts(lane) for lane in LANES} == {lane: {} for lane in LANES}


@pytest.mark.parametrize("priority", PRIORITIES)
def test_retries_delays_requeues_replays_and_purges_stay_in_the_lane(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, priority: Priority
) -> None:
    lane = name_lane("tests", priority)
    run = start_run(connection, streams, registry, "misbehaving", "RAISE", priority=priority, max_attempts=2)
    consumer.work(lane)
    assert streams.inspector.read_backlog(lane).delayed == 1
    streams.client.raw.zadd(streams.keys.delayed(lane), dict.fromkeys(_delayed(streams, lane), 0))
    metrics = PoolMetrics()
    Promoter(streams, LANES, metrics).run_once()
    assert metrics.registry.get_sample_value("streamworkers_entries_promoted_total", {"queue": "tests"}) == 1
    assert len(consumer.read(lane)) == 1
    # Its lease runs out: somebody else gets it, from the same lane.
    reclaimer = Reclaimer(streams, LANES, "test", 1, metrics)
    wait_until(lambda: reclaimer.run_once() is None and streams.inspector.read_backlog(lane).waiting == 1)
    consumer.work_until_empty(lane)
    assert items_of(connection, run)["RAISE"][:2] == ("failed", 2)
    operations.replay(connection, streams, [(run.id, 0)])
    assert _symbols(streams, lane) == ["RAISE"]
    consumer.work_until_empty(lane)
    assert operations.purge(connection, [(run.id, 0)]) == 1
    assert sum(streams.inspector.read_backlog(each).total for each in LANES) == 0


def _delayed(streams: Streams, lane: str) -> list[bytes]:
    found: list[bytes] = streams.client.raw.zrange(streams.keys.delayed(lane), 0, -1)  # type: ignore[assignment]
    return found


def test_metrics_count_all_lanes_of_a_queue_and_each_of_them(
    connection: Connection, streams: Streams, registry: Registry
) -> None:
    for priority in PRIORITIES:
        start_run(connection, streams, registry, "ledger_entry", "A", "B", priority=priority)
    metrics = PoolMetrics()
    metrics.registry.register(BacklogCollector(streams, list_lanes(["tests"]), ScrapeBoard()))
    value = metrics.registry.get_sample_value
    assert value("streamworkers_queue_entries", {"queue": "tests", "state": "waiting"}) == 6
    for priority in PRIORITIES:
        assert value("streamworkers_lane_waiting_entries", {"queue": "tests", "priority": priority}) == 2


def test_submitted_runs_have_the_priority_that_was_asked_for(
    connection: Connection, streams: Streams, registry: Registry, pool: "ConnectionPool[Connection]"
) -> None:
    JobTypeRecorder(pool, registry).run_once()
    asked: list[dict[str, object]] = [
        {"job": "ledger_entry", "symbols": ["A"], "key": name, **fields}
        for name, fields in (("high", {"priority": "high"}), ("none", {}), ("null", {"priority": None}))
    ]
    runs = submit_described(connection, asked)
    report = reports.read_run(connection, runs[0].id)
    assert report is not None
    assert (report["queue"], report["priority"]) == ("", "high"), "before it is prepared"
    Preparer(pool, streams, registry, MarketTargets(), 30.0, PoolMetrics()).run_once()
    found = [ledger.load_run(connection, run.id) for run in runs]
    assert [run.queue for run in found if run is not None] == ["tests/high", "tests", "tests"]
    assert connection.execute("SELECT priority FROM client_runs ORDER BY id").fetchall() == [
        ("high",),
        ("normal",),
        ("normal",),
    ]
    # It is not what the run computes: the same key with another priority is the same run.
    (again,) = submit_described(connection, [{**asked[0], "priority": "low"}])
    assert (again.id, again.is_new) == (runs[0].id, False)


@pytest.mark.parametrize(
    ("priority", "text"),
    [("urgent", "'urgent'"), (1, "1"), (["high"], '["high"]'), ("HIGH", "'HIGH'"), ("", "''")],
)
def test_a_submitted_priority_that_is_none_is_an_error_with_the_value_and_the_rule(
    connection: Connection, registry: Registry, pool: "ConnectionPool[Connection]", priority: object, text: str
) -> None:
    JobTypeRecorder(pool, registry).run_once()
    with pytest.raises(BadInputError, match=re.escape(f"priority {text} is not one of high, normal, low")):
        submit_described(connection, [{"job": "ledger_entry", "symbols": ["A"], "priority": priority}])
    assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)
