"""What a health check asks of PostgreSQL and of the schedules' tables. Reads only."""

from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from streamworkers.database import Connection

OVERDUE_SECONDS = 60


def database_state(connection: Connection) -> dict[str, Any]:
    """Connections in use and allowed, this database's size in bytes, its transactions, and the age of the oldest."""
    row = (
        connection.cursor(row_factory=dict_row)
        .execute(
            "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,"
            " current_setting('max_connections')::int AS max_connections,"
            " pg_database_size(current_database()) AS size_bytes,"
            " (SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database())"
            "  AS transactions,"
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
            "SELECT state, sum(tick_count)::bigint FROM ticks WHERE decided_at >= %s GROUP BY state", (since,)
        ).fetchall()
    )
    problems: dict[str, str] = dict(
        connection.execute(
            "SELECT name, problem FROM schedules WHERE enabled AND problem IS NOT NULL ORDER BY name"
        ).fetchall()
    )
    row = connection.execute(
        "SELECT count(*) FROM schedules WHERE enabled AND due_at < clock_timestamp() - make_interval(secs => %s)",
        (OVERDUE_SECONDS,),
    ).fetchone()
    assert row is not None
    states = ("started", "waiting", "missed", "skipped", "rejected")
    return {**{state: counts.get(state, 0) for state in states}, "problems": problems, "overdue": row[0]}


def items_enqueued(connection: Connection) -> list[tuple[tuple[str, str], int]]:
    """((queue, job), items) that were ever enqueued."""
    rows = connection.execute("SELECT queue, job, items_enqueued FROM enqueued_totals ORDER BY queue, job")
    return [((queue, job), count) for queue, job, count in rows]


def runs_by_state(connection: Connection) -> list[tuple[tuple[str, str], int]]:
    """((job, state), runs) that the ledger keeps."""
    rows = connection.execute("SELECT job, status, count(*) FROM runs GROUP BY job, status")
    return [((job, status), count) for job, status, count in rows]


def outbox_state(connection: Connection) -> tuple[int, float]:
    """How many events wait, and for how many seconds the oldest of them has."""
    row = connection.execute(
        "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 FROM outbox"
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def table_state(connection: Connection) -> list[tuple[str, int, int]]:
    """(table, rows inserted or updated, bytes) of every table; a partition counts as part of its table."""
    rows = connection.execute(
        "SELECT coalesce(pg_partition_root(relid), relid::regclass)::text AS name,"
        " sum(n_tup_ins + n_tup_upd)::bigint, sum(pg_total_relation_size(relid))::bigint"
        " FROM pg_stat_user_tables GROUP BY name ORDER BY name"
    )
    return [(name, written, size) for name, written, size in rows]
