"""Reports about schedules, their ticks and their runs, for the command line and for metrics. Reads only."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg.rows import dict_row

from streamworkers.actor import LOCAL
from streamworkers.database import Connection, fetch_rows
from streamworkers.errors import UsageError
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.limits import TOO_LONG
from streamworkers.schedules.store import database_clock, list_schedules
from streamworkers.schedules.ticks import OTHER_SUBJECT

Row = dict[str, Any]
OVERDUE_SECONDS = 60
_MOST_UNACCOUNTED = 20
TICK_STATES = ("started", "waiting", "missed", "skipped", "rejected")
# Only what is shown: definitions are not read, and items of open runs are not counted.
_STATES = """
    SELECT s.name, s.job, s.enabled, coalesce(s.cron, s.on_event) AS trigger, s.next_run_at, t.scheduled_for, r.status,
        (SELECT max(completed_at) FROM runs o WHERE o.schedule_id = s.id AND o.status = 'COMPLETED') AS last_success
    FROM schedules s
    LEFT JOIN LATERAL (SELECT scheduled_for, run_id FROM ticks n WHERE n.schedule_id = s.id
                       ORDER BY n.scheduled_for DESC LIMIT 1) t ON true
    LEFT JOIN runs r ON r.id = t.run_id
    WHERE %(viewer)s::text IS NULL OR s.user_id IS NULL OR s.user_id IN (%(nobody)s, %(viewer)s)
    ORDER BY s.name
"""


_TICKS = """
    SELECT coalesce(s.name, g.schedule) AS schedule, coalesce(s.timezone, g.timezone, 'UTC') AS timezone,
        t.scheduled_for, t.session, t.state,
        t.tick_count AS ticks, t.reason, t.detail, t.decided_at, t.run_id, r.status, r.item_count, r.failed_count,
        extract(epoch FROM r.completed_at - r.started_at)::float8 AS seconds
    FROM ticks t LEFT JOIN schedules s ON s.id = t.schedule_id LEFT JOIN runs r ON r.id = t.run_id
    LEFT JOIN LATERAL (
        SELECT schedule, timezone FROM schedule_timings n WHERE n.schedule_id = t.schedule_id
        ORDER BY n.valid_from DESC LIMIT 1
    ) g ON s.id IS NULL
    WHERE (%(schedule_id)s::bigint IS NULL OR t.schedule_id = %(schedule_id)s)
        AND (%(states)s::text[] IS NULL OR t.state = ANY(%(states)s))
        AND (%(since)s::timestamptz IS NULL OR t.scheduled_for >= %(since)s)
        AND (%(until)s::timestamptz IS NULL OR t.scheduled_for < %(until)s)
    ORDER BY t.scheduled_for DESC, t.schedule_id LIMIT %(limit)s
"""


# 1 until what was not done by its deadline is done, or the next tick is judged.
_LIMITS = """
    SELECT s.id,
        CASE WHEN s.done_by IS NOT NULL THEN coalesce(t.is_missed, false) END AS deadline_missed,
        CASE WHEN s.max_run_seconds IS NOT NULL THEN coalesce(c.runs, 0) END AS runs_too_long
    FROM schedules s
    LEFT JOIN LATERAL (
        SELECT NOT n.is_done_in_time AND NOT EXISTS (
            SELECT FROM ticks u JOIN runs d ON d.id = u.run_id
            WHERE u.schedule_id = n.schedule_id AND u.session = n.session AND u.scheduled_for >= n.scheduled_for
                AND NOT coalesce(u.detail ? %(other)s, false) AND d.status IN ('COMPLETED', 'COMPLETED_WITH_ERRORS')
        ) AS is_missed
        FROM ticks n WHERE n.schedule_id = s.id AND n.is_done_in_time IS NOT NULL
        ORDER BY n.scheduled_for DESC LIMIT 1
    ) t ON s.done_by IS NOT NULL
    LEFT JOIN (
        SELECT schedule_id, count(*) AS runs FROM runs
        WHERE completed_at > clock_timestamp() - interval '1 hour' AND status = 'CANCELLED'
            AND starts_with(reason, %(too_long)s)
        GROUP BY schedule_id
    ) c ON c.schedule_id = s.id
    WHERE s.done_by IS NOT NULL OR s.max_run_seconds IS NOT NULL
"""


class TickFilter(NamedTuple):
    """Which ticks: those of a schedule, in some states, due in a period; what is not named does not matter."""

    schedule_id: int | None = None
    states: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None


class ScheduleGauges(NamedTuple):
    """The values of a schedule's gauges, in the order of the metrics; None for a value that it does not have."""

    name: str
    next_seconds: float | None
    last_success: float | None
    calendar_days: int | None
    enabled: bool
    waiting: int
    last_tick_age: float | None
    last_tick_coverage: float | None
    deadline_missed: bool | None
    runs_too_long: int | None
    unaccounted: int | None


def list_schedule_states(connection: Connection, viewer: str | None) -> list[Row]:
    """The state of each schedule that a user may see, with its newest tick; None sees all."""
    return fetch_rows(connection, _STATES, {"viewer": viewer, "nobody": LOCAL.user})


def last_runs(connection: Connection) -> dict[int, Row]:
    """The newest tick with its run, the last success and the number of waiting ticks, by the schedule's id."""
    rows = (
        connection.cursor(row_factory=dict_row)
        .execute(
            "SELECT s.id, s.unaccounted_ticks,"
            " t.scheduled_for, t.state, t.reason, t.run_id, r.status, r.item_count, r.run_day,"
            " CASE WHEN r.completed_at IS NULL THEN (SELECT count(*) FROM run_items i WHERE i.run_day = r.run_day"
            "  AND i.run_id = r.id AND i.status = 'completed') ELSE r.completed_count END AS completed_count,"
            " (SELECT max(completed_at) FROM runs o WHERE o.schedule_id = s.id AND o.status = 'COMPLETED')"
            "  AS last_success,"
            " (SELECT count(*) FROM ticks w WHERE w.schedule_id = s.id AND w.state = 'waiting') AS waiting"
            " FROM schedules s LEFT JOIN LATERAL (SELECT * FROM ticks n WHERE n.schedule_id = s.id"
            "  ORDER BY n.scheduled_for DESC LIMIT 1) t ON true LEFT JOIN runs r ON r.id = t.run_id"
        )
        .fetchall()
    )
    return {row["id"]: row for row in rows}


def schedule_gauges(connection: Connection) -> list[ScheduleGauges]:
    """The gauges of every schedule."""
    now = database_clock(connection)
    newest, limits = last_runs(connection), _read_limits(connection)
    gauges = []
    for schedule in list_schedules(connection):
        row = newest.get(schedule.id, {})
        success = row.get("last_success")
        definition = schedule.definition
        gauges.append(
            ScheduleGauges(
                schedule.name,
                (schedule.next_run_at - now).total_seconds() if schedule.next_run_at else None,
                success.timestamp() if success else None,
                _calendar_days(definition, now),
                definition is not None and definition.enabled,
                row.get("waiting", 0),
                (now - row["scheduled_for"]).total_seconds() if row.get("scheduled_for") else None,
                _coverage(row) if row.get("scheduled_for") else None,
                *limits.get(schedule.id, (None, None)),
                row.get("unaccounted_ticks"),
            )
        )
    return gauges


def _read_limits(connection: Connection) -> dict[int, tuple[bool | None, int | None]]:
    rows = connection.execute(_LIMITS, {"other": OTHER_SUBJECT, "too_long": TOO_LONG})
    return {schedule_id: (missed, runs) for schedule_id, missed, runs in rows}


def ticks_of(connection: Connection, schedule_id: int, limit: int) -> list[Row]:
    """The newest ticks of a schedule, each with its run."""
    return find_ticks(connection, TickFilter(schedule_id), limit)


def find_ticks(connection: Connection, wanted: TickFilter, limit: int) -> list[Row]:
    """The newest ticks that match, the newest first, each with its schedule and its run."""
    values = {**wanted._asdict(), "states": list(wanted.states) or None, "limit": limit}
    return fetch_rows(connection, _TICKS, values)


def tick_of_run(connection: Connection, run_id: int) -> Row | None:
    """`reason` and `detail` of the tick that started a run; None for a run without a tick."""
    return (
        connection.cursor(row_factory=dict_row)
        .execute("SELECT reason, detail FROM ticks WHERE run_id = %s", (run_id,))
        .fetchone()
    )


def tick_counts(connection: Connection, since: datetime) -> list[Row]:
    """The number of ticks since a moment, by schedule, job and state."""
    return (
        connection.cursor(row_factory=dict_row)
        .execute(
            "SELECT s.name AS schedule, s.job AS job, t.state, sum(t.tick_count)::bigint AS ticks"
            " FROM ticks t JOIN schedules s ON s.id = t.schedule_id WHERE t.scheduled_for >= %s"
            " GROUP BY s.name, s.job, t.state ORDER BY s.name, t.state",
            (since,),
        )
        .fetchall()
    )


def schedule_state(connection: Connection, since: datetime) -> Row:
    """Ticks decided since then by state, the number of overdue ticks, and of unaccounted ones by schedule."""
    counts: dict[str, int] = dict(
        connection.execute(
            "SELECT state, sum(tick_count)::bigint FROM ticks WHERE decided_at >= %s GROUP BY state", (since,)
        ).fetchall()
    )
    row = connection.execute(
        "SELECT count(*) FROM schedules WHERE enabled AND due_at < clock_timestamp() - make_interval(secs => %s)",
        (OVERDUE_SECONDS,),
    ).fetchone()
    assert row is not None
    unaccounted = connection.execute(
        "SELECT name, unaccounted_ticks FROM schedules WHERE unaccounted_ticks > 0 ORDER BY name LIMIT %s",
        (_MOST_UNACCOUNTED,),
    )
    by_state = {state: counts.get(state, 0) for state in TICK_STATES}
    return {**by_state, "overdue": row[0], "unaccounted": dict(unaccounted.fetchall())}


def _coverage(row: Row) -> float:
    if not row["item_count"]:
        return float(row["status"] == "COMPLETED")
    return float((row["completed_count"] or 0) / row["item_count"])


def _calendar_days(definition: ScheduleDefinition | None, now: datetime) -> int | None:
    try:
        timing = definition.timing if definition is not None else None
    except UsageError:
        return None
    return timing.calendar_days_left(now) if timing is not None else None
