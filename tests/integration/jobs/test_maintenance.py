"""The maintenance jobs: cleanup, health checks, caches."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool
from pydantic import ValidationError

from consumer import Consumer
from harness import items_of, run_status, start_run, subscribe, wait_until
from patience import patient
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.diagnosis.components import ComponentStatus, check_components, find_worst
from streamworkers.diagnosis.snapshot import Snapshot
from streamworkers.diagnosis.thresholds import Thresholds
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.ledger import Run, retention
from streamworkers.engine.redis.heartbeats import SupervisorStatus, WorkerStatus
from streamworkers.engine.redis.keys import MONITORING_CHANNEL
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.engine.registry import Registry, installed_jobs
from streamworkers.engine.services.outbox_relay import OutboxRelay
from streamworkers.jobs.cleanup import PARTS, CleanupParameters, clean
from streamworkers.market.universes.store import add_symbols

NOW = datetime.now(UTC)
ALL = CleanupParameters()


def _count(connection: Connection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


def _results(connection: Connection, ages: list[int]) -> None:
    for number, days in enumerate(ages):
        at = NOW - timedelta(days=days)
        connection.execute(
            "INSERT INTO daily_patterns VALUES (%s, 'day', 'doji', %s, 'neutral', 100, 0.5, '{}', 1, %s)",
            (f"S{number}", at, at),
        )
        connection.execute(
            "INSERT INTO indicator_results VALUES (%s, 'day', 'rsi', %s, 50, NULL, 100, 1, %s)", (f"S{number}", at, at)
        )


def _old_run(connection: Connection, days: int, status: str = "COMPLETED") -> int:
    """A run of a day in the past with two items."""
    day = NOW.date() - timedelta(days=days)
    connection.execute("SELECT ensure_run_items_partition(%s)", (day,))
    row = connection.execute(
        "INSERT INTO runs (job, queue, status, target, item_count, max_attempts, run_day, completed_at)"
        " VALUES ('noop', 'bench', %s, 't', 2, 3, %s, CASE WHEN %s = 'COMPLETED' THEN %s::timestamptz END)"
        " RETURNING id",
        (status, day, status, NOW - timedelta(days=days)),
    ).fetchone()
    assert row is not None
    connection.execute(
        "INSERT INTO run_items (run_day, run_id, seq, symbol) VALUES (%s, %s, 0, 'A'), (%s, %s, 1, 'B')",
        (day, row[0], day, row[0]),
    )
    return int(row[0])


def test_old_results_are_deleted_in_batches_and_newer_ones_stay(connection: Connection) -> None:
    _results(connection, [1, 89, 91, 179, 181, *[400] * 250])
    rules = CleanupParameters(batch_rows=100)
    assert clean(connection, "daily_patterns", rules.model_copy(update={"dry_run": True}), NOW).rows == 253
    assert _count(connection, "daily_patterns") == 255
    assert clean(connection, "daily_patterns", rules, NOW).rows == 253
    assert clean(connection, "indicator_results", rules, NOW).rows == 251
    assert _count(connection, "daily_patterns") == 2
    assert _count(connection, "indicator_results") == 4
    assert clean(connection, "daily_patterns", rules, NOW).rows == 0


def test_a_cancelled_cleanup_stops_after_its_batch(connection: Connection) -> None:
    _results(connection, [400] * 250)
    answers = iter([False, True])
    done = clean(connection, "daily_patterns", CleanupParameters(batch_rows=100), NOW, lambda: next(answers))
    assert (done.rows, _count(connection, "daily_patterns")) == (100, 150)


def test_partitions_of_items_are_dropped_except_for_days_with_an_open_run(connection: Connection) -> None:
    kept, old, open_run = _old_run(connection, 10), _old_run(connection, 40), _old_run(connection, 50, "RUNNING")
    name = f"run_items_{NOW.date() - timedelta(days=40):%Y%m%d}"
    dry = clean(connection, "run_items", CleanupParameters(dry_run=True), NOW)
    assert (dry.rows, dry.partitions) == (2, (name,))
    assert clean(connection, "run_items", ALL, NOW) == dry
    rows = connection.execute("SELECT DISTINCT run_id FROM run_items ORDER BY 1").fetchall()
    assert rows == [(kept,), (open_run,)]
    assert connection.execute("SELECT id FROM runs WHERE id = %s", (old,)).fetchone() is not None
    assert clean(connection, "run_items", ALL, NOW).partitions == ()


def test_old_runs_and_ticks_are_deleted_but_never_open_runs(connection: Connection) -> None:
    _old_run(connection, 400)
    kept, open_run = _old_run(connection, 300), _old_run(connection, 500, "RUNNING")
    connection.execute(
        "INSERT INTO schedules (name, job, cron, target) VALUES ('s', 'noop', '@daily', '{\"symbols\": [\"A\"]}')"
    )
    connection.execute(
        "INSERT INTO ticks (schedule_id, scheduled_for, session, state, decided_at)"
        " SELECT id, %s, %s, state, %s FROM schedules, unnest(ARRAY['missed']) AS state",
        (NOW, NOW.date(), NOW - timedelta(days=366)),
    )
    assert clean(connection, "ticks", ALL, NOW).rows == 1
    assert clean(connection, "runs", ALL, NOW).rows == 1
    rows = connection.execute("SELECT id FROM runs ORDER BY id").fetchall()
    assert rows == [(kept,), (open_run,)]


def test_a_partition_that_is_in_use_is_left_for_later(connection: Connection, database_url: str) -> None:
    _old_run(connection, 40)
    with psycopg.connect(database_url) as reader:
        reader.execute("SELECT * FROM run_items")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            clean(connection, "run_items", ALL, NOW)
    assert len(clean(connection, "run_items", ALL, NOW).partitions) == 1


def test_partitions_are_created_ahead(connection: Connection) -> None:
    clean(connection, "partitions_ahead", ALL.model_copy(update={"dry_run": True}), NOW)
    assert connection.execute("SELECT to_regclass(%s)", (f"ohlcv_1min_{NOW:%Y%m}",)).fetchone() == (None,)
    clean(connection, "partitions_ahead", ALL, NOW)
    for name in (f"ohlcv_1min_{NOW:%Y%m}", f"run_items_{date.today() + timedelta(days=6):%Y%m%d}"):  # noqa: DTZ011
        assert connection.execute("SELECT to_regclass(%s)::text", (name,)).fetchone() == (name,)


def test_runs_are_kept_at_least_as_long_as_their_items() -> None:
    with pytest.raises(ValidationError, match="run_days 5 is below run_item_days 30: a run is kept"):
        CleanupParameters(run_days=5)


def test_a_cleanup_run_has_an_item_for_each_table(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    _results(connection, [400])
    run = start_run(connection, streams, registry, "database_cleanup")
    consumer.work_until_empty("maintenance")
    assert run_status(connection, run) == "COMPLETED"
    assert set(items_of(connection, run)) == set(PARTS)
    row = connection.execute("SELECT result FROM run_items WHERE symbol = 'daily_patterns'").fetchone()
    assert row is not None
    assert row[0]["removed"] == 1


def _findings(connection: Connection, streams: Streams, **rules: Any) -> dict[str, ComponentStatus]:
    snapshot = Snapshot(connection, streams, installed_jobs(), Settings(), Thresholds(**rules), NOW)
    return {found.component: found for found in check_components(snapshot)[0]}


def test_a_system_with_nothing_in_it_has_no_worker_and_no_bars(connection: Connection, streams: Streams) -> None:
    found = _findings(connection, streams)
    assert (found["workers"].status, found["workers"].message) == ("critical", "no worker is alive")
    assert (found["data"].status, found["data"].message) == ("degraded", "there are no daily bars")
    others = {name: finding.status for name, finding in found.items() if name not in ("workers", "data")}
    expected = ("redis", "postgresql", "queues", "executions", "schedules", "outbox", "notifications")
    assert others == dict.fromkeys(expected, "ok")
    assert find_worst(found.values()) == "critical"
    assert find_worst([]) == "ok"


def test_a_queue_without_a_reader_is_critical(connection: Connection, streams: Streams, registry: Registry) -> None:
    start_run(connection, streams, registry, "noop", "A")
    streams.heartbeats.beat("w", SupervisorStatus(queues=["tests"], workers=[WorkerStatus()]), 60_000)
    found = _findings(connection, streams)
    assert found["workers"].message == "queue bench: no worker reads it; 1 entries wait, 0 are pending, 0 are delayed"
    streams.heartbeats.beat("w", SupervisorStatus(queues=["tests", "bench"], workers=[WorkerStatus()]), 60_000)
    wait_until(lambda: _findings(connection, streams, queue_age_seconds=0.001)["queues"].status == "degraded")
    found = _findings(connection, streams, queue_age_seconds=0.001)
    assert (found["workers"].status, found["workers"].message) == ("ok", "1 worker processes of 1 supervisors")
    assert found["queues"].message.startswith("items have waited for long: bench ")


def test_failed_items_stale_bars_late_events_and_missed_ticks_are_seen(
    connection: Connection, streams: Streams, registry: Registry
) -> None:
    run = start_run(connection, streams, registry, "noop", "A", "B")
    connection.execute("UPDATE run_items SET status = 'failed'")
    connection.execute(
        "UPDATE runs SET status = 'FAILED', failed_count = 2, completed_count = 0,"
        " started_at = created_at, completed_at = clock_timestamp() WHERE id = %s",
        (run.id,),
    )
    connection.execute("INSERT INTO ohlcv_daily VALUES ('A', %s, 1, 1, 1, 1, 1)", (NOW.date() - timedelta(days=9),))
    connection.execute("INSERT INTO outbox (channel, payload, created_at) VALUES ('c', '{}', '2020-01-01')")
    connection.execute(
        "INSERT INTO schedules (name, job, cron, target) VALUES ('s', 'noop', '@daily', '{\"symbols\": [\"A\"]}')"
    )
    connection.execute(
        "INSERT INTO ticks (schedule_id, scheduled_for, session, state, tick_count)"
        " SELECT id, now(), now(), 'missed', 3 FROM schedules"
    )
    found = _findings(connection, streams)
    assert found["executions"].message == "0 of 1 runs and 0 of 2 items succeeded"
    assert found["executions"].detail["error_rate"] == 1.0
    assert found["data"].message.endswith(", 9 days ago")
    assert found["outbox"].message == "1 events have waited for more than 60 s"
    assert found["schedules"].message == "3 ticks missed, 0 rejected in the last 24 hours"
    assert {found[name].status for name in ("executions", "data", "outbox", "schedules")} == {"degraded"}
    assert found["queues"].detail["bench"]["dead"] == 2
    connection.execute("UPDATE schedules SET problem = 'no such zone'")
    assert _findings(connection, streams)["schedules"].message == "schedule s: no such zone"


def test_a_redis_that_is_away_is_critical_and_the_rest_is_looked_at(connection: Connection) -> None:
    found = _findings(connection, open_streams("redis://127.0.0.1:1/0", "nowhere"))
    assert found["redis"].status == "critical"
    assert found["redis"].message.startswith("Redis does not answer")
    assert found["postgresql"].status == "ok"


def test_a_redis_that_may_evict_queues_or_is_nearly_full_is_degraded(
    connection: Connection, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {"used_memory": 50, "maxmemory": 100, "maxmemory_policy": "allkeys-lru", "aof_last_write_status": "ok"}
    for change, words in (
        ({}, "maxmemory-policy allkeys-lru may evict queues: set noeviction"),
        ({"used_memory": 90, "maxmemory_policy": "noeviction"}, "Redis uses 90% of its memory limit"),
        ({"aof_last_write_status": "err"}, "Redis cannot write its append-only file"),
    ):
        monkeypatch.setattr(streams.inspector, "read_server_state", lambda change=change: state | change)
        assert _findings(connection, streams)["redis"].message == words


def _completed(consumer: Consumer, connection: Connection, run: Run) -> dict[str, Any]:
    consumer.work_until_empty("maintenance")
    assert run_status(connection, run) == "COMPLETED"
    rows = connection.execute("SELECT symbol, result FROM run_items WHERE run_id = %s", (run.id,)).fetchall()
    return dict(rows)


def test_a_health_check_keeps_its_findings_and_publishes_them(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    pool: "ConnectionPool[Connection]",
) -> None:
    listener = subscribe(streams, MONITORING_CHANNEL)
    run = start_run(connection, streams, registry, "health_check")
    results = _completed(consumer, connection, run)
    assert results["system"]["status"] == "critical"
    rows = connection.execute("SELECT component, status, run_id FROM health_checks").fetchall()
    assert len(rows) == 9
    assert {run_id for _, _, run_id in rows} == {run.id}
    OutboxRelay(pool, streams, PoolMetrics()).run_once()
    message = json.loads(listener.get_message(timeout=patient(30))["data"])
    listener.close()
    assert (message["kind"], message["status"], message["run_id"]) == ("health", "critical", run.id)
    assert [found["component"] for found in message["components"]] == [component for component, _, _ in rows]


def test_cache_maintenance_reloads_warms_and_reports_small_universes(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    database_url: str,
) -> None:
    add_symbols(connection, "sp500", ["A"])
    add_symbols(connection, "SPY", ["A"], type_name="ETF")
    connection.execute("INSERT INTO definition_groups (name, type) VALUES ('none', 'UNIVERSE')")
    connection.execute("INSERT INTO ohlcv_daily VALUES ('A', '2026-01-05', 1, 1, 1, 1, 1)")
    run = start_run(connection, streams, registry, "cache_maintenance", parameters={"min_etfs": 2})
    with psycopg.connect(database_url, autocommit=True) as listening:
        listening.execute("LISTEN streamworkers_universes")
        results = _completed(consumer, connection, run)
        assert len(list(listening.notifies(timeout=patient(30), stop_after=1))) == 1
    assert results["universe_cache"] == {"universes": 3, "symbols": 2}
    assert results["common_queries"]["symbols"] == 1
    assert results["common_queries"]["queries"] == 5
    short = ["1 ETFs, at least 2 expected", "2 universes, at least 3 expected", "without symbols: none"]
    assert results["quality"]["short"] == short
    row = connection.execute("SELECT component, status, message FROM health_checks").fetchone()
    assert row == ("universes", "degraded", "; ".join(short))


def test_only_tables_of_the_ledger_can_be_cleaned(connection: Connection) -> None:
    with pytest.raises(KeyError):
        retention.remove_old(connection, "ohlcv_daily", NOW, 1)
