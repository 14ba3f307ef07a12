"""Another program asks for bars: they are loaded, it is told how far that is, and the analysis follows by itself."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg_pool import ConnectionPool

from consumer import Consumer
from harness import subscribe
from loading import NOW, counts, massive
from patience import patient
from scheduler.messages_to_runs import MessagesToRuns
from scheduler.status import StatusFollower
from streamworkers.database import Connection
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.redis import keys
from streamworkers.engine.redis.inbox import Messages
from streamworkers.engine.redis.keys import DATA_LOAD_CHANNEL, PATTERNS_CHANNEL
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.outbox_relay import OutboxRelay
from streamworkers.market.universes.store import add_symbols
from streamworkers.schedules import store
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers_fakes.massive import FakeMassive


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch, registry: Registry) -> Iterator[Any]:
    """A Massive that knows no symbol GONE."""
    with massive(monkeypatch, FakeMassive(unknown=["GONE"])) as running:
        yield running
    job: Any = registry["load_ohlcv"]
    job.close()


@pytest.fixture(autouse=True)
def post_import(connection: Connection) -> None:
    """The schedule that follows a load, and a universe to load."""
    fields = {"name": "post_import_analysis", "job": "analysis", "on_event": "data_load_complete"}
    store.save_schedule(connection, ScheduleDefinition.parse(fields))
    add_symbols(connection, "some", {*SYMBOLS, "GONE"})


SYMBOLS = ("AAPL", "AMZN", "BA", "CAT", "CRM", "CVX", "DIS", "GS", "HD", "IBM", "JNJ", "MSFT")


def _request(**fields: Any) -> bytes:
    given = {"job_type": "csv_universe_load", "job_id": "job-1", "universe_key": "some", "years": 1.0, "source": "web"}
    return json.dumps(given | fields).encode()


def _status(messages: Messages, job_id: str) -> dict[str, str]:
    found: Any = messages._client.hgetall(keys.job_status(job_id))
    return {name.decode(): value.decode() for name, value in found.items()}


def test_a_message_loads_tells_and_starts_the_analysis_without_a_hand_on_it(
    pool: "ConnectionPool[Connection]",
    streams: Streams,
    messages: Messages,
    messages_to_runs: MessagesToRuns,
    connection: Connection,
    consumer: Consumer,
) -> None:
    completions, patterns = subscribe(streams, DATA_LOAD_CHANNEL), subscribe(streams, PATTERNS_CHANNEL)
    relay, follower = OutboxRelay(pool, streams, PoolMetrics()), StatusFollower(pool, messages, 3600)
    assert messages_to_runs.accept(_request(), "channel", NOW.timestamp()).kind == "started"
    assert _status(messages, "job-1")["status"] == "submitted"
    assert messages_to_runs.accept(_request(), "channel", NOW.timestamp()).kind == "duplicate"
    consumer.work_until_empty("load")
    follower.run_once()
    status = _status(messages, "job-1")
    assert (status["status"], status["progress"]) == ("completed_with_errors", "100")
    assert status["message"] == "13 of 13 items of load_ohlcv, 1 failed"
    assert set(counts(connection)["day"]) == set(SYMBOLS)
    # However many schedulers look, it is said once.
    StatusFollower(pool, messages, 3600).run_once()
    relay.run_once()
    raw = completions.get_message(timeout=patient(5))["data"]
    assert completions.get_message(timeout=0.1) is None
    told = json.loads(raw)
    days = counts(connection)["day"]["IBM"]
    assert {name: told[name] for name in told if name not in ("event_id", "run_id")} == {
        "schema_version": 1,
        "event_type": "data_load_complete",
        "load_job_id": "job-1",
        "status": "completed_with_errors",
        "symbols": list(SYMBOLS),
        "timeframes": ["day"],
        "bars": {"day": 12 * days},
        "failed": {"day": 1},
        "run_analysis": True,
    }
    assert messages_to_runs.accept(raw, "channel", NOW.timestamp()).kind == "started"
    consumer.work_until_empty("analysis")
    relay.run_once()
    assert connection.execute("SELECT job, target, status FROM runs ORDER BY id").fetchall() == [
        ("load_ohlcv", "some", "COMPLETED_WITH_ERRORS"),
        ("analysis", ",".join(SYMBOLS), "COMPLETED"),
    ]
    assert connection.execute("SELECT count(*) FROM indicator_results").fetchone() != (0,)
    assert json.loads(patterns.get_message(timeout=patient(5))["data"])["symbol"] in SYMBOLS
    # Whoever asked for the load sees how that ended, whatever becomes of the analysis.
    follower.run_once()
    assert _status(messages, "job-1")["status"] == "completed_with_errors"
    for listener in (completions, patterns):
        listener.close()


def test_a_load_of_which_nothing_came_starts_no_analysis(
    pool: "ConnectionPool[Connection]",
    streams: Streams,
    messages: Messages,
    messages_to_runs: MessagesToRuns,
    connection: Connection,
    consumer: Consumer,
) -> None:
    messages_to_runs.accept(_request(job_id="job-3", universe_key=None, symbols=["GONE"]), "channel", NOW.timestamp())
    consumer.work_until_empty("load")
    StatusFollower(pool, messages, 3600).run_once()
    assert _status(messages, "job-3")["status"] == "failed"
    channels = connection.execute("SELECT DISTINCT channel FROM outbox").fetchall()
    assert channels == [("tickstock:errors",)]


def test_a_request_for_what_there_is_not_is_rejected_and_its_asker_told(
    messages_to_runs: MessagesToRuns, messages: Messages, connection: Connection
) -> None:
    outcome = messages_to_runs.accept(_request(job_id="job-4", universe_key="none"), "channel", NOW.timestamp())
    assert (outcome.kind, outcome.reason) == ("rejected", "bad_field")
    assert "'none'" in outcome.detail
    assert _status(messages, "job-4")["status"] == "failed"
    assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)
    outcome = messages_to_runs.accept(_request(job_id="job-5", timeframes=["2min"]), "channel", NOW.timestamp())
    assert outcome.detail == "timeframe '2min' is not one of 1min, hour, day, week, month"
