"""A busy pool and scheduler, with everything that a board or an alert can show, scraped by a Prometheus."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import redis

from harness import Scheduler, Supervisor, running_supervisor, start_run, wait_for_end, wait_until
from invented_alerts import invent_alerts
from invented_audit import invent_audit
from invented_notifications import invent_notifications
from patience import paced
from streamworkers.config import Settings
from streamworkers.database import Connection, connect
from streamworkers.engine.ledger import count_items
from streamworkers.engine.redis.keys import DATA_LOAD_CHANNEL
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.engine.registry import Registry
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.market.bars.write import load_rows
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.universes.store import add_symbols
from streamworkers.schedules import store
from streamworkers.schedules.defaults import default_schedules
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.run_factory import trigger
from watching.api import running_api
from watching.boards import RATE_INTERVAL
from watching.prometheus_server import Prometheus, running_prometheus

SYNTHETIC_SYMBOLS, SYNTHETIC_DAYS = 30, 400


@dataclass(frozen=True)
class Stage:
    """The running processes, and the Prometheus that scrapes them."""

    connection: Connection
    streams: Streams
    registry: Registry
    supervisors: list[Supervisor]
    prometheus: Prometheus
    began_at: float
    leaving: ExitStack


@contextmanager
def watched_system(
    environment: dict[str, str], folder: Path, registry: Registry, *, hasten: float = 1.0
) -> Iterator[Stage]:
    """Two supervisors, a scheduler and a Prometheus over synthetic bars, after some busy seconds."""
    database_url, redis_url = (environment[f"STREAMWORKERS_{name}_URL"] for name in ("DATABASE", "REDIS"))
    with ExitStack() as stack:
        connection = stack.enter_context(connect(database_url, application="watching"))
        streams = open_streams(redis_url, environment["STREAMWORKERS_KEY_PREFIX"])
        stack.callback(streams.close)
        _load(connection)
        invent_alerts(connection, datetime.now(UTC), "dow30")
        invent_notifications(connection, datetime.now(UTC))
        invent_audit(connection, datetime.now(UTC))
        for definition in default_schedules(Settings()):
            store.save_schedule(connection, definition)
        _add_odd_schedules(connection)
        words = ("--processes", "2", "--metrics-port", "0")
        supervisors = [stack.enter_context(running_supervisor(environment, folder, *words)) for _ in range(2)]
        scheduler = Scheduler(environment, folder / "scheduler.log", ("--metrics-port", "0"))
        stack.callback(scheduler.kill_all)
        prefix = environment["STREAMWORKERS_KEY_PREFIX"]
        api = stack.enter_context(running_api(redis_url, database_url, prefix, connection))
        targets = {
            "worker": [supervisor.metrics_url().removeprefix("http://") for supervisor in supervisors],
            "scheduler": [scheduler.metrics_url().removeprefix("http://")],
            "api": [api.metrics],
        }
        began_at = time.time()
        prometheus = stack.enter_context(running_prometheus(folder, targets, hasten))
        found = Stage(connection, streams, registry, supervisors, prometheus, began_at, stack)
        api.ask()
        _be_busy(found, redis_url)
        yield found


def _load(connection: Connection) -> None:
    last = date.fromisoformat("2026-01-09")
    loaded = load_rows(connection, TIMEFRAMES["day"], generate_bars(SYNTHETIC_SYMBOLS, SYNTHETIC_DAYS, 1, last))
    for name in ("sp500", "nasdaq100", "dow30"):
        add_symbols(connection, name, loaded.symbols)
    # Dated today, a few bars of every timeframe.
    connection.execute(
        "INSERT INTO ohlcv_hourly (symbol, timestamp, open, high, low, close, volume)"
        " SELECT symbol, date_trunc('hour', now()) - make_interval(hours => n::int), 10, 11, 9, 10.5, 1000"
        " FROM generate_series(1, 48) AS n, (SELECT DISTINCT symbol FROM group_memberships LIMIT 20) s"
    )
    connection.execute(
        "SELECT ensure_ohlcv_1min_partition(now()), ensure_ohlcv_1min_partition(now() - interval '1 hour')"
    )
    connection.execute(
        "INSERT INTO ohlcv_1min (symbol, timestamp, open, high, low, close, volume)"
        " SELECT symbol, date_trunc('minute', now()) - make_interval(mins => n::int), 10, 11, 9, 10.5, 1000"
        " FROM generate_series(1, 50) AS n, (SELECT DISTINCT symbol FROM group_memberships LIMIT 20) s"
    )
    for table, unit in (("ohlcv_weekly", "week"), ("ohlcv_monthly", "month")):
        connection.execute(
            f"INSERT INTO {table} (symbol, date, open, high, low, close, volume)"
            f" SELECT DISTINCT ON (symbol, date_trunc('{unit}', date)) symbol, date_trunc('{unit}', date)::date,"
            " open, high, low, close, volume FROM ohlcv_daily"
        )


def _add_odd_schedules(connection: Connection) -> None:
    """A schedule that ticks constantly, one that is always late or busy, and one whose ticks are rejected."""
    common: dict[str, Any] = {"target": {"symbols": ["A", "B"]}, "cron": "* * * * * *"}
    for given in (
        {"name": "every_second", "job": "noop", "max_instances": 50},
        {"name": "too_busy", "job": "snoozing", "parameters": {"ready_at": 4e9}},
        {"name": "rejected", "job": "noop", "target": {"universe": "nobody"}, "cron": "*/5 * * * * *"},
    ):
        store.save_schedule(connection, ScheduleDefinition.parse(common | given))
    connection.execute(
        "INSERT INTO ticks (schedule_id, scheduled_for, session, state, reason)"
        " SELECT id, now() - interval '1 hour', now(), 'missed', 'too late' FROM schedules WHERE name = 'too_busy'"
    )


def _be_busy(stage: Stage, redis_url: str) -> None:
    """The nightly run, failures of every kind, a killed worker, valid and invalid messages, until all are scraped."""
    connection, streams, registry = stage.connection, stage.streams, stage.registry
    nightly = trigger(connection, streams, registry, "daily_indicator_calculation")
    patterns = trigger(connection, streams, registry, "daily_pattern_detection")

    start = partial(start_run, connection, streams, registry)
    runs = [nightly, patterns, start("health_check"), start("cache_maintenance"), start("database_cleanup")]
    runs.append(start("misbehaving", "A", "RAISE", "PERMANENT", "B", max_attempts=2))
    runs.append(start("flaky", *(f"F{number}" for number in range(10))))
    client = redis.Redis.from_url(redis_url)
    client.config_set("maxmemory", 1 << 30)
    client.xadd(streams.keys.stream("tests"), {"e": b"nothing of ours"})
    client.publish(DATA_LOAD_CHANNEL, "{")
    symbols = [row[0] for row in connection.execute("SELECT DISTINCT symbol FROM group_memberships LIMIT 5")]
    message = {"event_type": "data_load_complete", "job_id": f"w-{time.time()}", "symbols": symbols, "timeframe": "day"}
    client.publish(DATA_LOAD_CHANNEL, json.dumps(message))
    stage.leaving.callback(client.close)
    stage.leaving.callback(client.config_set, "maxmemory", 0)
    slow_items = [f"S{number}" for number in range(300)]
    # A rise as the boards see it: a count from before the first scrape is none, nor is one between distant scrapes.
    rise = f"sum(increase(streamworkers_requeue_duration_seconds_count[{RATE_INTERVAL}]))"
    while not stage.prometheus.query(f"max_over_time({rise}[1h:5s]) > 0"):
        # A worker that is killed between two batches leaves no entries to requeue.
        slow = start("ledger_entry", *slow_items, parameters={"milliseconds": 20.0})
        wait_until(lambda run=slow: count_items(connection, run).get("completed", 0) > 50, 60, "workers are at work")  # type: ignore[misc]
        wait_until(stage.supervisors[0].worker_pids, 60, "the worker killed before is replaced")
        os.kill(stage.supervisors[0].worker_pids()[0], signal.SIGKILL)
        wait_for_end(connection, slow, 180)
    for run in runs:
        wait_for_end(connection, run, 180)
    # Figures of a while: a rate needs some scrapes.
    until = datetime.now(UTC) + timedelta(seconds=paced(5))
    wait_until(lambda: datetime.now(UTC) >= until, 60, "some more scrapes")
