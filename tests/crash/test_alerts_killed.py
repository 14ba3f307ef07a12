"""Workers that decide alerts are killed, and Redis is emptied: what fires is what an independent evaluator fires."""

import os
import random
import signal
from contextlib import suppress
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import pytest
from psycopg_pool import ConnectionPool

from alert_oracle import AlertOracle
from alert_stage import AlertStage, session_days
from consumer import Consumer
from harness import running_supervisor, wait_until
from scheduler.alert_runs import AlertRuns
from streamworkers.alerts.document import alert_to_json
from streamworkers.database import Connection, connect
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.market.universes.cache import UniverseCache

SYMBOLS = [f"S{number}" for number in range(6)]
BARS = 10
RULES = ["price > 100", "price < 98", "price crosses_above 100", "price crosses_below 101"]
REARMS: list[dict[str, Any]] = [{"type": "edge"}, {"type": "simple"}, {"type": "cooldown", "cooldown_bars": 3}]


@pytest.mark.timeout(180)
def test_killed_workers_lose_and_double_no_firing(
    connection: Connection,
    pool: ConnectionPool[Connection],
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    environment: dict[str, str],
    database_url: str,
    tmp_path: Path,
) -> None:
    """A kill for each bar, at whatever the worker does then; Redis loses everything half way."""
    rng = random.Random(7)
    stage = AlertStage(connection, streams, registry, consumer)
    paths = {symbol: [round(rng.uniform(95, 105), 1) for _ in range(BARS)] for symbol in SYMBOLS}
    kinds = [(symbol, rule, rearm) for symbol in SYMBOLS for rule in RULES for rearm in REARMS]
    alerts = [(symbol, stage.add(rule, rearm, ticker=symbol)) for symbol, rule, rearm in kinds]
    service = AlertRuns(pool, streams, registry, UniverseCache(lambda: connect(database_url)))
    service.seconds_between_runs = 0.0
    with running_supervisor(environment, tmp_path, "--queue", "alerts", "--processes", "2") as supervisor:
        wait_until(supervisor.worker_pids)
        for place in range(BARS):
            for symbol in SYMBOLS:
                stage.load([paths[symbol][place]], place, symbol)
            service.run_once()
            if pids := supervisor.worker_pids():
                with suppress(ProcessLookupError):  # one killed before may still be listed
                    os.kill(rng.choice(pids), signal.SIGKILL)
            if place == BARS // 2:
                streams.client.raw.flushdb()
        wait_until(lambda: _all_decided(connection), 90, "all series are decided")
        assert supervisor.stop() == 0
    for symbol, alert in alerts:
        document = alert_to_json(alert.alert)
        oracle = AlertOracle(document["rule"], document.get("rearm", {}))
        values = {"price": paths[symbol]}
        wanted = [place for place in range(BARS) if oracle.bar(values, place, _close(place))]
        assert stage.fired(alert) == wanted, document
    stepped = connection.execute(
        "SELECT (SELECT sum(fire_count) FROM alert_state), (SELECT count(*) FROM alert_firings)"
    ).fetchone()
    assert stepped is not None
    assert stepped[0] == stepped[1] > 100


def _close(place: int) -> int:
    return int(datetime.combine(session_days()[place], time(21), UTC).timestamp())


def _all_decided(connection: Connection) -> bool:
    row = connection.execute(
        "SELECT count(*) FROM series_state e LEFT JOIN alert_shards h USING (timeframe, symbol)"
        " WHERE e.last_change > coalesce(h.change_seen, 0)"
    ).fetchone()
    return row == (0,)
