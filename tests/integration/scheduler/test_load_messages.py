"""Another program asks for bars: they are loaded, it is told how far that is, and the analysis follows by itself."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from psycopg_pool import ConnectionPool

from consumer import Consumer
from harness import subscribe
from loading import NEW_YORK, NOW, THIRTY, counts, massive, stored_bars
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
from streamworkers.loading.load_rules import LoadRules, find_last_session
from streamworkers.market.calendar.sessions import sessions_between
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
    assert messages_to_runs.accept(_request(), "channel", NOW.timestamp()).kind == "repeated"
    consumer.work_until_empty("load")
    follower.run_once()
    status = _status(messages, "job-1")
    assert (status["status"], status["progress"]) == ("completed_with_errors", "100")
    days = len(stored_bars(connection, "day"))
    assert status["message"] == f"13 of 13 items of load_ohlcv, 1 failed: {days:,} day"
    assert set(counts(connection)["day"]) == set(SYMBOLS)
    # However many schedulers look, it is said once.
    StatusFollower(pool, messages, 3600).run_once()
    relay.run_once()
    raw = completions.get_message(timeout=patient(30))["data"]
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
    assert json.loads(patterns.get_message(timeout=patient(30))["data"])["symbol"] in SYMBOLS
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
    channels = connection.execute(
        "SELECT DISTINCT channel FROM outbox WHERE channel <> 'streamworkers:notify'"
    ).fetchall()
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


def _sessions_of(days: int) -> int:
    """The closed sessions of so many days up to the newest one."""
    now = datetime.now(UTC)
    last = find_last_session(LoadRules(now=now, grace_seconds=900), now.astimezone(NEW_YORK).date())
    return len(sessions_between("XNYS", last - timedelta(days=days - 1), last).days)


def _closed_weeks_of(days: int) -> int:
    """The weeks that so many days up to the newest closed session lie in, without one that has more sessions."""
    now = datetime.now(UTC)
    last = find_last_session(LoadRules(now=now, grace_seconds=900), now.astimezone(NEW_YORK).date())
    weeks = {(last - timedelta(days=back)).isocalendar()[:2] for back in range(days)}
    later = sessions_between("XNYS", last + timedelta(days=1), last + timedelta(days=days)).days
    return len(weeks - {day.isocalendar()[:2] for day in later})


def _accept(messages_to_runs: MessagesToRuns, **message: Any) -> None:
    given = {"job_type": "csv_universe_load", "run_analysis": False} | message
    assert messages_to_runs.accept(json.dumps(given).encode(), "channel", NOW.timestamp()).kind == "started"


def test_a_request_for_a_week_of_days_has_its_days_and_nothing_else(
    messages_to_runs: MessagesToRuns, connection: Connection, consumer: Consumer
) -> None:
    _accept(messages_to_runs, job_id="test-001", symbols=["AAPL"], timeframes=["day"], years=0.02)
    consumer.work_until_empty("load")
    assert counts(connection) == {"day": {"AAPL": _sessions_of(7)}}


def test_a_request_for_three_timeframes_has_closed_weeks_alone(
    messages_to_runs: MessagesToRuns, connection: Connection, consumer: Consumer
) -> None:
    symbols = ["AAPL", "MSFT", "INTC"]
    _accept(messages_to_runs, job_id="test-002", symbols=symbols, timeframes=["hour", "day", "week"], years=0.02)
    consumer.work_until_empty("load")
    found = counts(connection)
    assert found["day"] == dict.fromkeys(symbols, _sessions_of(7))
    assert found["week"] == dict.fromkeys(symbols, _closed_weeks_of(7))
    assert all(4 * _sessions_of(7) <= count <= 7 * (_sessions_of(7) + 1) for count in found["hour"].values())


def test_a_request_for_a_day_has_the_open_week_and_month_until_they_close(
    pool: "ConnectionPool[Connection]",
    messages: Messages,
    messages_to_runs: MessagesToRuns,
    connection: Connection,
    consumer: Consumer,
) -> None:
    frames = ["1min", "hour", "day", "week", "month"]
    _accept(messages_to_runs, job_id="test-003", symbols=list(THIRTY), timeframes=frames, years=0.003)
    assert _status(messages, "test-003")["progress"] == "0"
    assert int(_status(messages, "test-003")["calls_left"]) > 0
    consumer.work_until_empty("load")
    found = counts(connection)
    for name in ("day", "week", "month"):
        assert found[name] == dict.fromkeys(THIRTY, 1)
    assert all(count >= 210 for count in found["1min"].values())
    follower = StatusFollower(pool, messages, 3600)
    follower.run_once()
    status = _status(messages, "test-003")
    assert (status["progress"], status["calls_left"], status["eta"]) == ("100", "0", "")
    assert "30 month" in status["message"]
    run_id = connection.execute("SELECT max(id) FROM runs").fetchone()
    rows = connection.execute(
        "SELECT result FROM run_items WHERE run_id = %s AND timeframe = 'month'", run_id
    ).fetchall()
    last = max(date.fromisoformat(row["first"]) for (row,) in rows)
    month_has_ended = (last + timedelta(days=32)).replace(day=1) <= datetime.now(NEW_YORK).date()
    assert all(("open" in row) is not month_has_ended for (row,) in rows)


def test_symbols_decide_and_a_universe_beside_them_is_a_name(
    messages_to_runs: MessagesToRuns, connection: Connection, consumer: Consumer
) -> None:
    for number, universe in enumerate(("some", "not-in-our-tables")):
        _accept(messages_to_runs, job_id=f"job-{number}", universe_key=universe, symbols=["AAPL"], years=0.02)
    consumer.work_until_empty("load")
    assert connection.execute("SELECT target, item_count FROM runs ORDER BY id").fetchall() == [
        ("some", 1), ("not-in-our-tables", 1)
    ]  # fmt: skip
    assert set(counts(connection)["day"]) == {"AAPL"}


def test_a_count_of_0_has_a_reason_in_the_item_and_in_the_status(
    pool: "ConnectionPool[Connection]",
    messages: Messages,
    messages_to_runs: MessagesToRuns,
    connection: Connection,
    consumer: Consumer,
) -> None:
    for number in range(2):
        _accept(messages_to_runs, job_id=f"job-{number}", symbols=["AAPL"], timeframes=["day"])
        consumer.work_until_empty("load")
    StatusFollower(pool, messages, 3600).run_once()
    (why,) = (row[0] for row in connection.execute("SELECT result ->> 'why' FROM run_items WHERE run_id = 2"))
    assert why.startswith("up to date with the bar of ")
    assert _status(messages, "job-1")["message"] == f"1 of 1 items of load_ohlcv: 0 day ({why})"


def test_a_message_chooses_no_provider_unless_a_setting_allows_it(
    messages_to_runs: MessagesToRuns, connection: Connection, consumer: Consumer
) -> None:
    message = _request(job_id="job-1", provider="synthetic", symbols=["AAPL"])
    outcome = messages_to_runs.accept(message, "channel", NOW.timestamp())
    assert (outcome.kind, outcome.detail) == (
        "rejected",
        "provider 'synthetic' is chosen by a message, and only massive may be: STREAMWORKERS_MESSAGE_PROVIDERS",
    )
    allowed = replace(
        messages_to_runs, runs=replace(messages_to_runs.runs, providers=frozenset({"massive", "synthetic"}))
    )
    _accept(allowed, job_id="job-2", symbols=["AAPL"], timeframes=["day"], years=0.02)
    consumer.work_until_empty("load")
    real = stored_bars(connection, "day")
    assert allowed.accept(_request(job_id="job-3", provider="synthetic", symbols=["AAPL"]), "channel", 0.0).kind == (
        "started"
    )
    consumer.work_until_empty("load")
    assert stored_bars(connection, "day") == real
    (error,) = (row[0] for row in connection.execute("SELECT error FROM run_items WHERE run_id = 2"))
    assert error == (
        "ProvenanceError: the stored day bars of AAPL are better than those of synthetic, which are invented and never"
        " replace them"
    )
