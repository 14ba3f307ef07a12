"""What a health check asks of PostgreSQL and of the schedules' tables. Reads only."""

from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from streamworkers.database import Connection

OVERDUE_SECONDS = 60


def database_state(connection: Connection) -> dict[str, Any]:
    """Connections in use and allowed, the size of this database in bytes, and the age of its oldest transaction."""
    row = (
        connection.cursor(row_factory=dict_row)
        .execute(
            "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,"
            " current_setting('max_connections')::int AS max_connections,"
            " pg_database_size(current_database()) AS size_bytes,"
            " (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8"
            "  FROM pg_stat_activity WHERE datname = current_database()) AS oldest_transaction_seconds"
        )
        .fetchone()
    )
    assert row is not None
    return row


def schedule_state(connection: Connection, since: datetime) -> dict[str, Any]:
    """What became of the ticks since then, by state; schedules that cannot be planned; and ticks that are overdue."""
    counts: dict[str, int] = dict(
        connection.execute(
            "SELECT state, sum(ticks)::bigint FROM job_schedule_ticks WHERE decided_at >= %s GROUP BY state", (since,)
        ).fetchall()
    )
    problems: dict[str, str] = dict(
        connection.execute(
            "SELECT name, problem FROM job_schedules WHERE enabled AND problem IS NOT NULL ORDER BY name"
        ).fetchall()
    )
    row = connection.execute(
        "SELECT count(*) FROM job_schedules WHERE enabled AND due_at < clock_timestamp() - make_interval(secs => %s)",
        (OVERDUE_SECONDS,),
    ).fetchone()
    assert row is not None
    states = ("started", "waiting", "missed", "skipped", "refused")
    return {**{state: counts.get(state, 0) for state in states}, "problems": problems, "overdue": row[0]}
