"""Facts about the PostgreSQL server and this database. Reads only."""

from typing import Any

from psycopg.rows import dict_row

from streamworkers.database import Connection, fetch_value


def read_database_state(connection: Connection) -> dict[str, Any]:
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


def describe_blocked(connection: Connection) -> str:
    """Say, after a lock was not free in time, which session has had a transaction open for longest."""
    limit = fetch_value(connection, "SHOW lock_timeout")
    row = connection.execute(
        "SELECT application_name, pid, state, round(extract(epoch FROM clock_timestamp() - xact_start))"
        " FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend' AND xact_start IS NOT NULL ORDER BY xact_start LIMIT 1"
    ).fetchone()
    holder = "" if row is None else f"; {row[0]!r} (pid {row[1]}, {row[2]}) has had a transaction open for {row[3]} s"
    return f"a lock in PostgreSQL was not free within {limit}{holder}: try again"


def read_table_sizes(connection: Connection) -> list[tuple[str, int, int]]:
    """(table, rows inserted or updated, bytes) of every table; a partition counts as part of its table."""
    rows = connection.execute(
        "SELECT coalesce(pg_partition_root(relid), relid::regclass)::text AS name,"
        " sum(n_tup_ins + n_tup_upd)::bigint, sum(pg_total_relation_size(relid))::bigint"
        " FROM pg_stat_user_tables GROUP BY name ORDER BY name"
    )
    return [(name, written, size) for name, written, size in rows]
