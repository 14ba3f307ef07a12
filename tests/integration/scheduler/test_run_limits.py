"""The limits that schedules set for their runs: each is looked after once, with its notice, on real services."""

from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg_pool import ConnectionPool

from scheduler.run_limits import RunLimits
from scheduler.ticker import Ticker
from scheduling import Add, Clock, runs_of
from streamworkers.admin import runs as admin
from streamworkers.database import Connection, fetch_value
from streamworkers.engine.ledger.outbox import take_notify_events
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.notifications.notification import Notification, parse_notification
from streamworkers.notifications.wording import write_content
from streamworkers.schedules import run_factory
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.reports import schedule_gauges
from streamworkers.schedules.run_factory import Changes


@pytest.fixture
def limits(pool: "ConnectionPool[Connection]", streams: Streams) -> RunLimits:
    return RunLimits(pool, streams)


def _noticed(connection: Connection) -> list[Notification]:
    return [parse_notification(*event) for event in take_notify_events(connection, 1000)]


def _gauges(connection: Connection) -> dict[str, tuple[Any, Any]]:
    return {each.name: (each.deadline_missed, each.runs_too_long) for each in schedule_gauges(connection)}


def _set(connection: Connection, statement: str) -> None:
    connection.execute(statement.encode())


def test_a_run_that_takes_too_long_is_cancelled_once_and_its_user_is_notified(
    connection: Connection, ticker: Ticker, add: Add, clock: Clock, limits: RunLimits, streams: Streams
) -> None:
    connection.execute("INSERT INTO users (id) VALUES ('desk')")
    long = add("long", max_run_seconds=600, user_id="desk")
    add("short", max_run_seconds=7200)
    add("without")
    add("waiting", max_run_seconds=1)
    clock.forward(hours=1)
    ticker.run_once()
    _set(connection, "UPDATE runs SET status = 'RUNNING', started_at = now() - interval '1 hour'")
    _set(connection, "UPDATE runs SET status = 'PENDING', started_at = NULL WHERE schedule = 'waiting'")
    limits.run_once()
    limits.run_once()

    rows = connection.execute("SELECT schedule, status FROM runs ORDER BY schedule").fetchall()
    assert rows == [("long", "CANCELLED"), ("short", "RUNNING"), ("waiting", "PENDING"), ("without", "RUNNING")]
    reason = fetch_value(connection, "SELECT reason FROM runs WHERE schedule = 'long'")
    assert reason.startswith("max_run_seconds: after 3,6")
    assert reason.endswith(" s, because long allows 600 s")
    (run,) = runs_of(connection, long)
    events = connection.execute("SELECT data->>'reason' FROM run_events WHERE run_id = %s AND data ? 'reason'", (run,))
    assert reason in {text for (text,) in events}
    (notice,) = _noticed(connection)
    assert (notice.type, notice.user_id, notice.dedup_key) == ("run_too_long", "desk", f"run_too_long:{run}")
    assert write_content(notice).title == "long was cancelled"
    assert write_content(notice).lines == (
        "It was cancelled 60 min after its start: max_run_seconds is 600",
        f"Look: streamworkers runs show {run}",
    )
    audited = connection.execute("SELECT actor_kind, actor_user, reason FROM audit_log WHERE action = 'run.cancel'")
    assert audited.fetchall() == [("system", "scheduler", reason)]
    assert _gauges(connection) == {"long": (None, 1), "short": (None, 0), "waiting": (None, 0), "without": (None, None)}


def test_the_longest_time_counts_again_from_a_retry(
    connection: Connection, ticker: Ticker, add: Add, clock: Clock, limits: RunLimits, streams: Streams
) -> None:
    long = add("long", max_run_seconds=600)
    clock.forward(hours=1)
    ticker.run_once()
    _set(connection, "UPDATE runs SET status = 'RUNNING', started_at = now() - interval '1 hour'")
    limits.run_once()
    (run,) = runs_of(connection, long)
    admin.retry(connection, streams, run)
    limits.run_once()
    assert connection.execute("SELECT status, reason FROM runs").fetchall() == [("RUNNING", None)]
    _set(connection, "UPDATE runs SET reopened_at = now() - interval '1 hour'")
    limits.run_once()
    assert connection.execute("SELECT status FROM runs").fetchall() == [("CANCELLED",)]
    # A second cancellation of the same run is no second notification.
    assert [each.dedup_key for each in _noticed(connection)] == [f"run_too_long:{run}"] * 2


def _start_with_deadline(connection: Connection, ticker: Ticker, clock: Clock) -> None:
    """Let the ticks of 13:00 start, whose deadlines at 14:00 are then moved to a minute ago by PostgreSQL's clock."""
    clock.forward(hours=1)
    ticker.run_once()
    deadline = datetime(2040, 10, 1, 18, tzinfo=UTC)
    assert {at for (at,) in connection.execute("SELECT done_by_at FROM ticks").fetchall()} <= {deadline, None}
    _set(connection, "UPDATE ticks SET done_by_at = now() - interval '1 minute' WHERE done_by_at IS NOT NULL")


def test_a_deadline_that_is_missed_is_reported_once(
    connection: Connection, ticker: Ticker, add: Add, clock: Clock, limits: RunLimits
) -> None:
    connection.execute("INSERT INTO users (id) VALUES ('desk')")
    missed = add("missed", done_by="14:00", user_id="desk")
    for name in ("early", "with_errors", "late", "failed"):
        add(name, done_by="14:00")
    add("waits", done_by="14:00", after="missed")
    add("without")
    _start_with_deadline(connection, ticker, clock)
    ended = {"early": ("COMPLETED", 2), "with_errors": ("COMPLETED_WITH_ERRORS", 2), "late": ("COMPLETED", 0)}
    for name, (status, minutes) in {**ended, "failed": ("FAILED", 2)}.items():
        connection.execute(
            "UPDATE runs SET status = %s, completed_at = now() - make_interval(mins => %s) WHERE schedule = %s",
            (status, minutes, name),
        )
    limits.run_once()
    limits.run_once()

    found = _noticed(connection)
    notices = {each.data["schedule"]: each for each in found}
    assert (set(notices), len(found)) == ({"missed", "late", "failed", "waits"}, 4)
    (run,) = runs_of(connection, missed)
    content = write_content(notices["missed"])
    assert (notices["missed"].type, notices["missed"].user_id) == ("deadline_missed", "desk")
    assert content.title == "missed is not done"
    assert content.lines[0].startswith("It was to be done by 20")
    assert content.lines[1:] == (
        "It was due at 2040-10-01 13:00 EDT",
        f"Run {run} is PENDING (2 items)",
        "Look: streamworkers schedules history missed",
    )
    assert notices["waits"].data["reason"] == "The tick is waiting: for missed"
    assert notices["failed"].data["reason"].endswith(" is FAILED (2 items)")
    gauges = _gauges(connection)
    assert {name for name, (is_missed, _) in gauges.items() if is_missed} == {"missed", "failed", "waits"}
    assert gauges["late"] == (False, None)  # it is done now
    assert gauges["without"] == (None, None)


def test_a_run_by_hand_makes_up_for_a_failed_one_unless_it_is_about_something_else(
    connection: Connection,
    ticker: Ticker,
    add: Add,
    clock: Clock,
    limits: RunLimits,
    streams: Streams,
    registry: Registry,
) -> None:
    add("same", done_by="14:00")
    add("other", done_by="14:00")
    _start_with_deadline(connection, ticker, clock)
    _set(connection, "UPDATE runs SET status = 'FAILED', completed_at = now() - interval '9 minutes'")
    clock.forward(minutes=5)
    for name, changes in (("same", Changes()), ("other", Changes(symbols=("A",)))):
        run = run_factory.trigger(connection, streams, registry, name, changes)
        connection.execute(
            "UPDATE ticks SET session = '2040-10-01', scheduled_for = %s WHERE run_id = %s", (clock.now, run.id)
        )
    _set(
        connection,
        "UPDATE runs SET status = 'COMPLETED', completed_at = now() - interval '5 minutes' WHERE trigger = 'manual'",
    )
    limits.run_once()
    assert [each.data["schedule"] for each in _noticed(connection)] == ["other"]


def test_a_change_of_any_field_of_a_definition_is_a_new_version(connection: Connection) -> None:
    """Also of one that another program makes: both triggers name every field."""
    rows = connection.execute(
        "SELECT t.tgname, array_agg(a.attname::text) FROM pg_trigger t, unnest(t.tgattr::int2[]) AS k (number)"
        " JOIN pg_attribute a ON a.attnum = k.number"
        " WHERE a.attrelid = t.tgrelid AND t.tgrelid = 'schedules'::regclass GROUP BY t.tgname"
    )
    columns: dict[str, list[str]] = dict(rows.fetchall())
    for name in ("schedules_changed", "schedules_notify"):
        assert set(ScheduleDefinition.model_fields) - set(columns[name]) == set(), name


def test_the_deadline_of_a_tick_by_hand_is_none(
    connection: Connection, add: Add, streams: Streams, registry: Registry, limits: RunLimits
) -> None:
    add("job", done_by="00:00")
    run_factory.trigger(connection, streams, registry, "job")
    assert fetch_value(connection, "SELECT done_by_at FROM ticks") is None
    limits.run_once()
    assert _noticed(connection) == []
    assert _gauges(connection) == {"job": (False, None)}
