"""Migration 0010 renames the tables of a database that is full and busy: nothing is lost, and work goes on."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row

from consumer import Consumer
from patience import patient
from streamworkers.config import Settings
from streamworkers.database import Connection, connect, open_pool
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.redis.entry import unpack_entry
from streamworkers.engine.redis.inspector import Backlog
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.reconciler import Reconciler
from streamworkers.migrations import migrate, migrations_folder, sql_folder

_SEED = Path(__file__).parent / "previous_release.sql"
_TABLES = {
    "job_schedule_runs": "runs",
    "job_run_items": "run_items",
    "job_schedule_ticks": "ticks",
    "job_schedules": "schedules",
    "event_outbox": "outbox",
    "job_totals": "enqueued_totals",
    "refused_entries": "rejected_entries",
    "bar_bases": "series_sources",
    "load_pages": "load_checkpoints",
    "msg_system_health": "health_checks",
}
_COLUMNS = {
    "runs": {"status_told": "status_notified"},
    "run_items": {"opening": "generation"},
    "schedules": {"job_type": "job", "task_params": "parameters"},
    "ticks": {"ticks": "tick_count"},
    "rejected_entries": {"refused_at": "rejected_at"},
    "load_checkpoints": {"refused": "rejected"},
}
_IDENTITIES = ("runs", "schedules", "outbox", "rejected_entries", "health_checks")
_VIEWS = {"job_schedules", "job_schedule_runs", "job_executions", "msg_system_health"}
_OLD_NAME = re.compile("|".join(_TABLES) + "|untold|opening|refused|task_params|job_type")

# What the release before put into the stream, byte by byte, for items 1 to 5 of run 1 of previous_release.sql.
_DELAYED_BBB = b"\x9c\x02\x01\x01\xacledger_entry\xa3BBB\xa0\xcf\x00\x00\x01\xa0\xc4Pl\x00\x02\xc2\xa0\x00\x00"
_VERSION_2_CCC = b"\x9c\x02\x01\x02\xacledger_entry\xa3CCC\xa0\xcf\x00\x00\x01\xa0\xc4Pl\x00\x01\xc2\xa0\x00\x00"
_VERSION_1_DDD = b"\x9a\x01\x01\x03\xacledger_entry\xa3DDD\xa0\xcf\x00\x00\x01\xa0\xc4Pl\x00\x01\xc2\xa0"
_IN_HAND_EEE = b"\x9c\x02\x01\x04\xacledger_entry\xa3EEE\xa0\xcf\x00\x00\x01\xa0\xc4Pl\x00\x01\xc2\xa0\x00\x00"
_BEFORE_REPLAY_FFF = b"\x9c\x02\x01\x05\xacledger_entry\xa3FFF\xa0\xcf\x00\x00\x01\xa0\xc4Pl\x00\x03\xc3\xa1x\x00\x00"
_AFTER_REPLAY_FFF = b"\x9c\x02\x01\x05\xacledger_entry\xa3FFF\xa0\xcf\x00\x00\x01\xa0\xc4Pl\x00\x01\xc2\xa0\x00\x01"


@pytest.fixture
def old_release(empty_database_url: str, tmp_path: Path) -> Iterator[Connection]:
    """A filled database of the release before."""
    with connect(empty_database_url) as connection:
        migrate(connection, _migrations_up_to(9, tmp_path / "old"))
        connection.execute("CREATE TABLE effects (run_id bigint NOT NULL, symbol text NOT NULL)")
        connection.execute(_SEED.read_bytes())
        connection.execute("INSERT INTO effects VALUES (1, 'AAA')")
        yield connection


@pytest.fixture
def renamed(old_release: Connection, tmp_path: Path) -> Connection:
    """The same after migration 0010."""
    _rename(old_release, tmp_path)
    return old_release


def _migrations_up_to(number: int, folder: Path) -> Path:
    folder.mkdir()
    for path in sorted(migrations_folder().glob("*.sql"))[:number]:
        shutil.copy(path, folder)
    return folder


def _rename(connection: Connection, tmp_path: Path) -> None:
    assert len(migrate(connection, _migrations_up_to(10, tmp_path / "renamed"))) == 1


def _rows(connection: Connection, table: str) -> list[dict[str, Any]]:
    """Every row of a table as JSON, with the name of the partition that holds it, in an order of its own."""
    found = connection.execute(
        f"SELECT to_jsonb(t) || jsonb_build_object('in', tableoid::regclass::text) FROM {table} t"
    )
    return sorted((row for (row,) in found), key=lambda row: json.dumps(row, sort_keys=True))


def _expected(rows: list[dict[str, Any]], old: str, new: str) -> list[dict[str, Any]]:
    names = _COLUMNS.get(new, {})
    renamed = [{names.get(column, column): value for column, value in row.items()} for row in rows]
    for row in renamed:
        row["in"] = row["in"].replace(old, new)
        if new == "ticks" and row["state"] == "refused":
            row["state"] = "rejected"
        if new == "run_items" and row["result"] and "refused" in row["result"]:
            row["result"]["rejected"] = row["result"].pop("refused")
    return sorted(renamed, key=lambda row: json.dumps(row, sort_keys=True))


def test_every_row_is_kept_in_the_table_of_the_new_name(old_release: Connection, tmp_path: Path) -> None:
    before = {old: _rows(old_release, old) for old in _TABLES}
    assert min(len(rows) for rows in before.values()) >= 1
    _rename(old_release, tmp_path)
    uuids = set()
    for old, new in _TABLES.items():
        after = _rows(old_release, new)
        if new == "runs":
            uuids = {row.pop("run_uuid") for row in after}
            after.sort(key=lambda row: json.dumps(row, sort_keys=True))
        assert after == _expected(before[old], old, new), new
    assert len(uuids) == len(before["job_schedule_runs"]) == 6


def test_identities_go_on_where_they_were(old_release: Connection, tmp_path: Path) -> None:
    _rename(old_release, tmp_path)
    for table in _IDENTITIES:
        assert old_release.execute("SELECT pg_get_serial_sequence(%s, 'id')", (table,)).fetchone() == (
            f"public.{table}_id_seq",
        )
    newest = old_release.execute(
        "INSERT INTO runs (job, queue, target, item_count, max_attempts) VALUES ('j', 'q', 't', 1, 1) RETURNING id"
    ).fetchone()
    assert newest == (7,)
    assert old_release.execute("INSERT INTO outbox (channel, payload) VALUES ('c', '{}') RETURNING id").fetchone() == (
        3,
    )


def test_no_object_keeps_an_old_name_but_the_views(renamed: Connection) -> None:
    named = renamed.execute("""
        SELECT 'relation', relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT 'constraint', conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT 'function', proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT 'trigger', tgname FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT 'column', attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
                  WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND attnum > 0
        UNION ALL SELECT 'body', proname || ': ' || prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        """).fetchall()
    assert len(named) > 300
    assert {name for _, name in named if _OLD_NAME.search(name)} == _VIEWS - {"job_executions"}


def test_partitions_and_their_objects_are_named_as_new_ones_are(renamed: Connection) -> None:
    renamed.execute("SELECT ensure_run_items_partition('2026-11-30')")

    def objects(day: str) -> list[tuple[str, ...]]:
        found = renamed.execute(
            """
            SELECT 'relation', relname FROM pg_class WHERE relname LIKE %(like)s
            UNION ALL SELECT 'constraint', conname FROM pg_constraint WHERE conrelid = %(table)s::regclass
            UNION ALL SELECT 'index', indexrelid::regclass::text FROM pg_index WHERE indrelid = %(table)s::regclass
            ORDER BY 1, 2
            """,
            {"like": f"%{day}%", "table": f"run_items_{day}"},
        )
        return [tuple(word.replace(day, "DAY") for word in row) for row in found]

    assert objects("20261125") == objects("20261130")
    assert ("relation", "run_items_DAY") in objects("20261125")


def test_partitions_of_days_are_made_and_dropped_by_the_new_functions(renamed: Connection) -> None:
    with pytest.raises(psycopg.errors.ObjectInUse, match="a run of 2026-11-25 is open"):
        renamed.execute("SELECT drop_run_items_partition('2026-11-25')")
    renamed.execute("SELECT drop_run_items_partition('2026-11-24')")
    assert renamed.execute("SELECT to_regclass('run_items_20261124')").fetchone() == (None,)
    assert renamed.execute("SELECT count(*) FROM run_items WHERE run_day = '2026-11-25'").fetchone() == (9,)
    with pytest.raises(psycopg.errors.CheckViolation):
        renamed.execute("UPDATE run_items SET status = 'unheard_of' WHERE run_day = '2026-11-25'")


def test_a_change_of_a_schedule_through_its_view_is_planned_again_and_notified(renamed: Connection) -> None:
    renamed.execute("LISTEN streamworkers_schedules")
    renamed.execute("UPDATE schedules SET next_run_at = now() - interval '1 minute' WHERE name = 'nightly'")
    assert list(renamed.notifies(timeout=0, stop_after=1)) == []  # what planning writes wakes nobody
    changed = renamed.execute(
        "UPDATE job_schedules SET cron = '5 4 * * *', job_type = 'analysis', task_params = '{\"last_bars\": 2}'"
        " WHERE name = 'nightly' RETURNING next_run_at"
    ).fetchone()
    assert changed == (None,)
    assert [notice.channel for notice in renamed.notifies(timeout=patient(30), stop_after=1)] == [
        "streamworkers_schedules"
    ]
    assert renamed.execute("SELECT job, parameters FROM schedules WHERE name = 'nightly'").fetchone() == (
        *("analysis", {"last_bars": 2}),
    )
    assert renamed.execute("SELECT reason FROM ticks WHERE schedule_id = 1 AND state = 'missed'").fetchall() == [
        ("the schedule was changed before the tick was decided",)
    ]


def test_a_schedule_is_made_through_its_view(renamed: Connection) -> None:
    renamed.execute("LISTEN streamworkers_schedules")
    made = renamed.execute(
        "INSERT INTO job_schedules (name, job_type, target, cron) VALUES ('by_view', 'analysis', %s, '0 18 * * *')"
        " RETURNING id, task_params, enabled, timezone",
        ('{"universe": "mine"}',),
    ).fetchone()
    assert made == (4, {}, True, "America/New_York")
    assert [notice.channel for notice in renamed.notifies(timeout=patient(30), stop_after=1)] == [
        "streamworkers_schedules"
    ]
    with pytest.raises(psycopg.errors.CheckViolation, match="schedules_name_check"):
        renamed.execute("INSERT INTO job_schedules (name, job_type, cron) VALUES ('Bad Name', 'analysis', '* * * * *')")
    renamed.execute("DELETE FROM job_schedules WHERE name = 'by_view'")
    assert renamed.execute("SELECT count(*) FROM schedules").fetchone() == (3,)


def test_a_health_check_is_written_through_its_view(renamed: Connection) -> None:
    renamed.execute("INSERT INTO msg_system_health (component, status, message) VALUES ('desk', 'ok', 'fine')")
    assert renamed.execute("SELECT id, detail FROM health_checks WHERE component = 'desk'").fetchone() == (3, {})


def test_a_reader_of_the_replaced_systems_schedules_finds_its_columns(renamed: Connection) -> None:
    statement = "SELECT id, name, job_type, target, cron, enabled, next_run_at FROM job_schedules WHERE enabled"
    nightly, after = sorted(
        renamed.cursor(row_factory=dict_row).execute(statement).fetchall(), key=lambda row: row["id"]
    )
    assert nightly.pop("next_run_at").isoformat() == "2026-11-27T23:10:00+00:00"
    assert nightly == {
        "id": 1,
        "name": "nightly",
        "job_type": "ledger_entry",
        "target": {"universe": "sp500"},
        "cron": "session_close+10m",
        "enabled": True,
    }
    assert (after["name"], after["job_type"], after["next_run_at"]) == ("patterns_after", "patterns", None)


def test_a_reader_of_the_replaced_systems_runs_finds_its_columns(renamed: Connection) -> None:
    statement = (
        "SELECT run_id, job_type, job_id, user_id, status, scheduled_for, enqueued_at, started_at, finished_at,"
        " job_snapshot, result, error, worker_id FROM job_schedule_runs WHERE status = 'FAILED'"
        " ORDER BY started_at DESC"
    )
    (run,) = renamed.cursor(row_factory=dict_row).execute(statement).fetchall()
    assert isinstance(run["run_id"], UUID)
    times = [run.pop(name) for name in ("scheduled_for", "enqueued_at", "started_at", "finished_at")]
    assert [moment.strftime("%d %H:%M:%S") for moment in times] == [
        "25 10:00:00",
        "25 10:00:01",
        "25 10:00:03",
        "25 10:05:00",
    ]
    assert run.pop("job_snapshot") == {
        "run": 5,
        "job_type": "load_ohlcv",
        "queue": "load",
        "target": "mine",
        "timeframe": None,
        "as_of": None,
        "task_params": {},
        "max_attempts": 2,
        "schedule": "patterns_after",
        "trigger": "schedule",
        "external_id": "load-8",
    }
    assert run == {
        "run_id": run["run_id"],
        "job_type": "load_ohlcv",
        "job_id": 2,
        "user_id": "desk",
        "status": "FAILED",
        "result": {"items": 2, "completed": 0, "failed": 2, "cancelled": 0},
        "error": "2 of 2 items failed",
        "worker_id": "host:2",
    }


def test_a_run_has_a_worker_once_one_of_its_items_has(renamed: Connection) -> None:
    found = renamed.execute(
        "SELECT (job_snapshot->>'run')::int, worker_id FROM job_schedule_runs ORDER BY 1"
    ).fetchall()
    assert found == [(1, "host:1"), (2, None), (3, "host:1"), (4, "host:1"), (5, "host:2"), (6, None)]


def test_a_reader_of_the_replaced_systems_executions_finds_its_columns(renamed: Connection) -> None:
    statement = (
        "SELECT job_name, started_at, completed_at, duration_seconds, success, result, error FROM job_executions"
    )
    found = renamed.cursor(row_factory=dict_row).execute(statement).fetchall()
    by_run = {row["result"]["run_id"]: row for row in found}
    assert sorted(by_run) == [3, 4, 5, 6]
    assert [by_run[run]["success"] for run in (3, 4, 5, 6)] == [True, False, False, False]
    assert [by_run[run]["duration_seconds"] for run in (3, 4, 5, 6)] == [10.5, 60.0, 297.0, None]
    assert [by_run[run]["error"] for run in (3, 4, 5)] == [None, "1 of 2 items failed", "2 of 2 items failed"]
    assert by_run[3]["result"] == {
        "run_id": 3,
        "status": "COMPLETED",
        "items": 2,
        "completed": 2,
        "failed": 0,
        "cancelled": 0,
        "schedule": "nightly",
        "scheduled_for": "2026-11-24T23:10:00+00:00",
        "trigger": "schedule",
    }


def test_the_worker_of_each_of_ten_thousand_runs_is_one_index_lookup(renamed: Connection) -> None:
    renamed.execute("SELECT ensure_run_items_partition(date '2026-10-01' + n) FROM generate_series(0, 53) n")
    renamed.execute("""
        WITH made AS (INSERT INTO runs (job, queue, status, target, item_count, max_attempts, run_day, started_at)
                      SELECT 'j', 'q', 'FAILED', 't', 40, 1, date '2026-10-01' + n % 54, now()
                      FROM generate_series(1, 10000) n RETURNING id, run_day)
        INSERT INTO run_items (run_day, run_id, seq, symbol, status, worker)
        SELECT run_day, id, seq, 'S' || seq, 'failed', 'host:' || seq FROM made, generate_series(0, 39) seq
        """)
    renamed.execute("ANALYZE runs, run_items")
    explained = renamed.execute(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT json)"
        " SELECT run_id, worker_id FROM job_schedule_runs WHERE status = 'FAILED'"
    ).fetchone()
    assert explained is not None
    plan = explained[0][0]["Plan"]
    assert plan["Actual Rows"] == 10_001
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 10_001 * 6
    items = [node for node in _nodes(plan) if node.get("Relation Name", "").startswith("run_items_")]
    assert {node["Node Type"] for node in items if node["Actual Loops"]} == {"Index Scan"}
    assert {node["Actual Rows"] for node in items if node["Actual Loops"]} == {1}


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def test_rights_are_granted_again_under_the_new_names(old_release: Connection) -> None:
    old_release.execute((sql_folder() / "roles.sql").read_bytes())
    migrate(old_release)
    old_release.execute("SET ROLE streamworkers_readonly")
    for name in (*_TABLES.values(), *_VIEWS):
        assert old_release.execute(f"SELECT count(*) FROM {name}").fetchone() != (0,), name
    for statement in ("UPDATE job_schedules SET enabled = false", "SELECT ensure_run_items_partition('2026-12-01')"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            old_release.execute(statement)
    old_release.execute("SET ROLE streamworkers_app")
    old_release.execute("UPDATE job_schedules SET enabled = false")
    old_release.execute("SELECT ensure_run_items_partition('2026-12-01'), drop_run_items_partition('2026-11-24')")
    old_release.execute("INSERT INTO outbox (channel, payload) VALUES ('c', '{}')")


def test_half_done_runs_of_the_release_before_are_completed(
    old_release: Connection, empty_database_url: str, streams: Streams, registry: Registry, settings: Settings
) -> None:
    stream, delayed = streams.keys.stream("tests"), streams.keys.delayed("tests")
    streams.queues.ensure_groups(["tests"])
    streams.client.raw.xadd(stream, {"e": _IN_HAND_EEE})
    # A worker of the release before stopped while it held this entry.
    assert len(streams.queues.read(["tests"], "host:2", 10, 1)) == 1
    for packed in (_VERSION_2_CCC, _VERSION_1_DDD, _BEFORE_REPLAY_FFF, _AFTER_REPLAY_FFF):
        streams.client.raw.xadd(stream, {"e": packed})
    streams.client.raw.zadd(delayed, {_DELAYED_BBB: 0})
    streams.client.raw.hset(streams.keys.open_items("tests"), "1", "5")

    migrate(old_release)
    assert streams.leases.requeue("tests", "host:2") == 1
    consumer = Consumer(settings, registry, streams, old_release, "one")
    consumer.work_until_empty()

    assert old_release.execute("SELECT status, completed_count, failed_count FROM runs WHERE id = 1").fetchone() == (
        *("COMPLETED", 6, 0),
    )
    items = old_release.execute(
        "SELECT symbol, status, attempt, generation FROM run_items WHERE run_id = 1 ORDER BY seq"
    )
    assert items.fetchall() == [
        *[("AAA", "completed", 1, 0), ("BBB", "completed", 2, 0), ("CCC", "completed", 1, 0)],
        *[("DDD", "completed", 1, 0), ("EEE", "completed", 1, 0), ("FFF", "completed", 1, 1)],
    ]
    effects = old_release.execute("SELECT symbol FROM effects WHERE run_id = 1 ORDER BY symbol").fetchall()
    assert [symbol for (symbol,) in effects] == ["AAA", "BBB", "CCC", "DDD", "EEE", "FFF"]
    assert streams.inspector.read_backlog("tests") == Backlog(0, 0, 0)

    # Run 2: the release before ended between the commit of its items and their entries.
    with open_pool(empty_database_url, application="test", max_size=2) as pool:
        Reconciler(pool, streams, ["tests"], 1.0, 0.0, PoolMetrics()).run_once()
    consumer.work_until_empty()
    assert old_release.execute("SELECT status, completed_count FROM runs WHERE id = 2").fetchone() == ("COMPLETED", 2)


@pytest.mark.parametrize(
    ("packed", "fields"),
    [
        (_VERSION_1_DDD, (1, 3, "ledger_entry", "DDD", "", 1790000000000, 1, False, "", 0, 0)),
        (_BEFORE_REPLAY_FFF, (1, 5, "ledger_entry", "FFF", "", 1790000000000, 3, True, "x", 0, 0)),
        (_AFTER_REPLAY_FFF, (1, 5, "ledger_entry", "FFF", "", 1790000000000, 1, False, "", 0, 1)),
    ],
)
def test_an_entry_of_the_release_before_is_read(packed: bytes, fields: tuple[object, ...]) -> None:
    entry = unpack_entry(packed, 1000)
    assert entry == type(entry)(*fields)  # type: ignore[arg-type]
