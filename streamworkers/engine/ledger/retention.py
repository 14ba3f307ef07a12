"""What of the ledger may go when it is old: partitions of items, then the runs themselves.

Nothing of an open run goes, however old it is. Each step is bounded; a caller repeats it while it removes something.
"""

from datetime import date, datetime

from psycopg import sql

from streamworkers.database import Connection

_LOCK_WAIT = "2s"
_CANDIDATES = {
    "runs": "completed_at < %s",
    "run_events": "at < %s",
    "submissions": "submitted_at < %s",
    "health_checks": "checked_at < %s",
    "process_states": "at < %s",
    "process_orders": "at < %s AND done_at IS NOT NULL",
}


def old_item_partitions(connection: Connection, before: date) -> list[tuple[str, int]]:
    """Partitions of `run_items` of days before that one, no run of which is open, and the rows they should have."""
    rows = connection.execute(
        "SELECT c.relname, day FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid,"
        " LATERAL (SELECT to_date(right(c.relname, 8), 'YYYYMMDD') AS day) named"
        " WHERE i.inhparent = 'run_items'::regclass AND day < %s"
        " AND NOT EXISTS (SELECT FROM runs r WHERE r.run_day = day"
        "                 AND r.status IN ('PENDING', 'RUNNING') AND NOT r.is_waiting) ORDER BY day",
        (before,),
    ).fetchall()
    return [
        (name, count)
        for name, day in rows
        for (count,) in connection.execute("SELECT coalesce(sum(item_count), 0) FROM runs WHERE run_day = %s", (day,))
    ]


def drop_item_partition(connection: Connection, name: str) -> None:
    """Drop a partition. Waits for its lock for two seconds at most, so that no worker waits behind it for longer.

    Raises psycopg.errors.LockNotAvailable, after which it may be tried again.
    """
    with connection.transaction():
        connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(_LOCK_WAIT))
        connection.execute("SELECT drop_run_items_partition(to_date(right(%s, 8), 'YYYYMMDD'))", (name,))


def count_old(connection: Connection, table: str, before: datetime) -> int:
    """How many rows of a table of the ledger `remove_old` would remove in all."""
    row = connection.execute(_statement("SELECT count(*) FROM {table} WHERE {old}", table), (before,)).fetchone()
    assert row is not None
    return int(row[0])


def remove_old(connection: Connection, table: str, before: datetime, limit: int) -> int:
    """Remove up to `limit` old rows of one of these tables; returns how many."""
    statement = "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {old} LIMIT %s))"
    return connection.execute(_statement(statement, table), (before, limit)).rowcount


def _statement(text: str, table: str) -> sql.Composed:
    return sql.SQL(text).format(table=sql.Identifier(table), old=sql.SQL(_CANDIDATES[table]))
