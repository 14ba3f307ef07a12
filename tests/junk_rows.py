"""Junk that another program writes by SQL into our tables, as far as PostgreSQL lets it."""

from datetime import UTC, datetime

import psycopg
from psycopg import sql

from invented_alerts import invent_alerts
from invented_notifications import invent_bot, invent_notifications
from streamworkers.database import Connection

# Of each kind of column, what is of its type and not what anybody means.
JUNK = {
    "text": ("", "\x01\x1b[31m{[\n", "no such thing"),
    "jsonb": (
        "null",
        "[1]",
        '{"max_stale": "many", "workers": {}, "faults": [7], "starts": 1, "estimated_calls": 1e400}',
    ),
    "timestamp with time zone": ("infinity", "-infinity", "20000-01-01", "4000-01-01 BC"),
    "date": ("infinity", "-infinity", "20000-01-01"),
    "numeric": ("NaN", "Infinity", "1e500"),
    "double precision": ("NaN", "Infinity", "1e308"),
    "integer": (2**31 - 1, -(2**31)),
    "bigint": (2**63 - 1, -1),
    "smallint": (2**15 - 1, -1),
    "ARRAY": ("{NULL}", "{}"),
    "bytea": ("",),
}
# Their rows are nobody's input: what says whose database this is, and what a trigger keeps as it is.
_NOT_OURS = ("schema_migrations", "installation", "run_events", "audit_log", "audit_seals")
_COLUMNS = """
    SELECT c.table_name, c.column_name, c.data_type FROM information_schema.columns c
    JOIN pg_tables t ON t.schemaname = c.table_schema AND t.tablename = c.table_name
    JOIN pg_class k ON k.relname = c.table_name AND k.relnamespace = c.table_schema::regnamespace
    WHERE c.table_schema = 'public' AND NOT k.relispartition AND c.is_identity = 'NO' AND c.table_name <> ALL(%s)
    ORDER BY c.table_name, c.ordinal_position"""
_SEED = """
    INSERT INTO ohlcv_daily SELECT s, (now() AT TIME ZONE 'America/New_York')::date - n, 1, 1, 1, 1, 1
    FROM unnest('{A,B,C}'::text[]) AS s CROSS JOIN generate_series(0, 3) AS n;
    INSERT INTO definition_groups (name, type) VALUES ('mine', 'UNIVERSE'), ('spoilt', 'UNIVERSE');
    INSERT INTO group_memberships (group_id, symbol) SELECT id, unnest('{A,B}'::text[]) FROM definition_groups;
    INSERT INTO processes (id, kind, host, pid, version, doing) VALUES
        ('a', 'scheduler', 'a', 1, '0', '{"faults": []}'), ('b', 'supervisor', 'b', 2, '0', '{}'),
        ('c', 'telegram', 'c', 3, '0', '{}'), ('d', 'api', 'd', 3, '0', '{}');
    INSERT INTO schedules (name, job, target, timeframe, cron)
        SELECT 's' || n, 'indicators', '{"universe": "mine"}', 'day', '@daily' FROM generate_series(1, 12) AS n;
    INSERT INTO ticks (schedule_id, scheduled_for, session, state)
        SELECT id, now(), now(), (ARRAY['waiting', 'started', 'missed'])[1 + id % 3] FROM schedules;
    INSERT INTO runs (job, queue, target, timeframe, as_of, parameters, item_count, max_attempts, status,
                      completed_count, failed_count, cancelled_count, stale_count, completed_at, started_at,
                      external_id)
        SELECT 'indicators', 'analysis', 'mine', 'day', now(), '{"max_stale": 0.5}', 1, 1,
               'COMPLETED_WITH_ERRORS', 0, 1, 0, 1, now(), now(), 'job-' || n
        FROM generate_series(1, 15) AS n;
    INSERT INTO runs (job, queue, target, item_count, max_attempts, status, enqueued_at, external_id)
        SELECT 'ledger_entry', 'tests', 'A', 1, 1, 'RUNNING', now() - interval '1 min', 'open-' || n
        FROM generate_series(1, 15) AS n;
    SELECT ensure_run_items_partition((now() AT TIME ZONE 'UTC')::date);
    INSERT INTO run_items (run_day, run_id, seq, symbol, status, error, history, finished_at)
        SELECT run_day, id, 0, 'A', CASE WHEN id <= 15 THEN 'failed' ELSE 'pending' END, 'x',
               '[{"at": "2026-01-01"}]', now()
        FROM runs;
    INSERT INTO outbox (channel, payload) SELECT 'tests.x', '{}' FROM generate_series(1, 8);
    INSERT INTO outbox (channel, payload)
        SELECT 'streamworkers:notify', '{"user_id": "local"}' FROM generate_series(1, 8);
    INSERT INTO health_checks (component, status, message) SELECT 'redis', 'ok', 'x' FROM generate_series(1, 8);
    INSERT INTO rejected_entries (queue, entry_id, reason, size, payload) VALUES ('tests', '1-1', 'malformed', 1, 'x');
    INSERT INTO provider_outages (provider, since, next_probe_at, error) VALUES ('massive', now(), now(), 'HTTP 503');
"""


def seed(connection: Connection) -> None:
    """Rows in the tables of runs, schedules, processes, alerts and notifications."""
    now = datetime.now(UTC)
    connection.execute(_SEED.encode())
    invent_alerts(connection, now, "mine")
    invent_notifications(connection, now)
    invent_bot(connection, now)


def spoil(connection: Connection) -> tuple[set[str], set[str]]:
    """Put junk into each column of each table; returns the columns that took some, and those that took none.

    Each value goes into a row of its own, as far as a table has so many.
    """
    taken, rejected = set[str](), set[str]()
    place = 0
    for table, column, kind in connection.execute(_COLUMNS, (list(_NOT_OURS),)).fetchall():
        for value in JUNK.get(kind, ()):
            place += 1
            statement = sql.SQL(
                "UPDATE {0} SET {1} = %s WHERE ctid = (SELECT ctid FROM {0} ORDER BY ctid OFFSET %s %% greatest(1,"
                " (SELECT count(*) FROM {0})) LIMIT 1)"
            ).format(sql.Identifier(table), sql.Identifier(column))
            try:
                done = connection.execute(statement, (value, place)).rowcount
            except psycopg.Error:
                rejected.add(f"{table}.{column}")
            else:
                taken |= {f"{table}.{column}"} if done else set()
    # The owner of the webhooks of runs is a row of the migrations: no command changes or removes it.
    connection.execute("INSERT INTO users (id) VALUES ('-run-webhooks') ON CONFLICT DO NOTHING")
    return taken, rejected - taken
