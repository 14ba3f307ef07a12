"""PostgreSQL itself rejects JSON of the wrong kind and moments that programs cannot hold, and mends old ones."""

import shutil
from itertools import takewhile
from pathlib import Path

import psycopg
import pytest

from junk_rows import seed
from streamworkers.database import Connection, connect, fetch_value
from streamworkers.migrations import migrate, migrations_folder

# What may be any JSON: results, the audit log, messages of other programs. The others have a check of their own, or are
# written and read by one module.
_ANY_JSON = {
    *("audit_log.before", "audit_log.after", "rejected_notifications.payload", "runs.canonical_request"),
    *("run_items.result", "run_items.history", "indicator_results.value_data", "daily_patterns.metadata"),
    *("schedules.parameters", "schedules.target", "load_checkpoints.rejected", "run_events.data"),
}
# Many rows, or rows that triggers or defaults date: who reads them takes what is no moment for the nearest one.
_ANY_MOMENT = {
    *("ohlcv_daily", "ohlcv_weekly", "ohlcv_monthly", "ohlcv_hourly", "ohlcv_1min", "indicator_results"),
    *("daily_patterns", "run_items", "run_events", "audit_log", "audit_seals", "schema_migrations"),
    *("process_states", "package_migrations"),
}
_SHAPES = "0046_sound_shapes.sql"
_COLUMNS = """
    SELECT c.relname || '.' || a.attname, c.relname, a.atttypid = 'jsonb'::regtype
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.attnum > 0
        AND NOT a.attisdropped AND a.atttypid IN ('jsonb'::regtype, 'timestamptz'::regtype, 'date'::regtype)
        AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND a.attnum = ANY(k.conkey)
                        AND k.conname IN (c.relname || '_moments', c.relname || '_' || a.attname || '_shape'))
"""


def test_every_column_of_json_and_of_moments_has_a_shape_or_a_reason(connection: Connection) -> None:
    rows = connection.execute(_COLUMNS.encode()).fetchall()
    assert {name for name, _, is_json in rows if is_json} - _ANY_JSON == set()
    assert {table for _, table, is_json in rows if not is_json} - _ANY_MOMENT == set()


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("UPDATE runs SET parameters = '[1]'", "runs_parameters_shape"),
        ("UPDATE runs SET created_at = 'infinity'", "runs_moments"),
        ("UPDATE schedules SET due_at = '20000-01-01'", "schedules_moments"),
        ("UPDATE outbox SET payload = 'null'", "outbox_payload_shape"),
        ("UPDATE indicator_definitions SET timeframes = '{NULL}'", "indicator_definitions_timeframes_shape"),
    ],
)
def test_a_change_that_no_reader_could_read_is_rejected(connection: Connection, change: str, constraint: str) -> None:
    seed(connection)
    with pytest.raises(psycopg.errors.CheckViolation, match=constraint):
        connection.execute(change.encode())


def test_what_was_stored_before_is_mended(empty_database_url: str, tmp_path: Path) -> None:
    before = list(takewhile(lambda path: path.name != _SHAPES, sorted(migrations_folder().glob("*.sql"))))
    for path in before:
        shutil.copy(path, tmp_path)
    with connect(empty_database_url) as connection:
        migrate(connection, tmp_path)
        connection.execute(
            "INSERT INTO runs (job, queue, target, item_count, max_attempts, parameters, created_at, started_at)"
            " VALUES ('a', 'b', 'c', -1, 1, '[1]', 'infinity', '-infinity'),"
            " ('a', 'b', 'c', 7, 1, '{\"sound\": 1}', '2026-01-02', NULL)"
        )
        migrate(connection)
        rows = connection.execute(
            "SELECT parameters, item_count, created_at::date::text, started_at::date::text FROM runs ORDER BY id"
        ).fetchall()
        assert rows == [({}, 0, "9999-12-28", "0001-01-03"), ({"sound": 1}, 7, "2026-01-02", None)]
        assert fetch_value(connection, "SELECT count(*) FROM pg_constraint WHERE conname = 'runs_moments'") == 1
