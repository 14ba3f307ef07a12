"""Writes a night's runs into the ledger, through the project's own schema."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from preview.evening.plan import AWAY, TONIGHT, UNIVERSES, WORKERS, ZONE, Night, RunPlan, Tick, away_since
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.diagnosis.components import ComponentStatus
from streamworkers.schedules import store
from streamworkers.schedules.defaults import default_schedules
from streamworkers.schedules.definition import ScheduleDefinition, Target

_RUN_COLUMNS = (
    "id, job, queue, status, target, timeframe, as_of, item_count, max_attempts, run_day, created_at, enqueued_at,"
    " started_at, completed_at, completed_count, failed_count, cancelled_count, schedule_id, schedule, scheduled_for,"
    " trigger, prepared_at"
)
_ITEM_COLUMNS = (
    "run_day, run_id, seq, symbol, timeframe, status, attempt, worker, started_at, finished_at, error, history"
)
_COMPONENTS = ("redis", "postgresql", "workers", "queues", "executions", "schedules", "outbox", "notifications", "data")


def write_ledger(connection: Connection, night: Night, runs: Sequence[RunPlan], ticks: Sequence[Tick]) -> None:
    """Schedules, runs with their items, ticks, health checks and processes."""
    identities = _write_schedules(connection, night.now)
    for day in sorted({run.created.astimezone(UTC).date() for run in runs}):
        connection.execute("SELECT ensure_run_items_partition(%s)", (day,))
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY runs ({_RUN_COLUMNS}) FROM STDIN") as copy:
            for run in runs:
                copy.write_row(_run_row(run, identities[run.schedule]))
        with cursor.copy(f"COPY run_items ({_ITEM_COLUMNS}) FROM STDIN") as copy:
            for run in runs:
                for row in _item_rows(run):
                    copy.write_row(row)
    if runs:
        connection.execute("SELECT setval(pg_get_serial_sequence('runs', 'id'), %s)", (runs[-1].id,))
    connection.cursor().executemany(
        "INSERT INTO ticks (schedule_id, scheduled_for, session, state, reason, run_id, decided_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        [
            (
                identities[each.schedule],
                each.due,
                each.due.astimezone(ZONE).date(),
                each.state,
                each.reason,
                each.run,
                each.due,
            )
            for each in ticks
        ],
    )
    _write_health(connection, night, runs)
    _write_processes(connection, night)
    if (since := away_since(night, runs)) is not None:
        connection.execute(
            "INSERT INTO provider_outages (provider, since, next_probe_at, probes, error) VALUES (%s, %s, %s, %s, %s)",
            ("massive", since, night.now + timedelta(seconds=40), 88, AWAY),
        )
    connection.execute("ANALYZE")


def _write_schedules(connection: Connection, now: datetime) -> dict[str, int]:
    load = ScheduleDefinition(
        name="daily_load",
        job="load_ohlcv",
        target=Target(universe=UNIVERSES),
        timeframe="day",
        parameters={"provider": "massive"},
        cron="5 17 * * 1-5",
        calendar="XNYS",
    )
    for definition in (*default_schedules(Settings()), load):
        store.save_schedule(connection, definition)
    connection.execute("UPDATE schedules SET next_run_at = NULL, due_at = NULL, planned_from = %s", (now,))
    connection.execute("UPDATE schedule_timings SET valid_from = %s", (now,))
    for name in store.list_names(connection):
        store.plan_schedule(connection, name, now)
    return {schedule.name: schedule.id for schedule in store.list_schedules(connection)}


def _run_row(run: RunPlan, schedule: int) -> tuple[Any, ...]:
    is_nightly = len(run.items) > 1
    ended = run.completed is not None
    counts = [run.count(status) if ended else None for status in ("completed", "failed", "cancelled")]
    return (
        *(run.id, run.job, run.queue, run.status, UNIVERSES if is_nightly else run.items[0].key),
        *("day" if is_nightly else None, run.due if is_nightly else None, len(run.items), 3),
        *(run.created.astimezone(UTC).date(), run.created, run.created, run.started, run.completed, *counts),
        *(schedule, run.schedule, run.due, "schedule", run.created),
    )


def _item_rows(run: RunPlan) -> Iterator[tuple[Any, ...]]:
    day = run.created.astimezone(UTC).date()
    for seq, item in enumerate(run.items, 1):
        yield (
            *(day, run.id, seq, item.key, "day" if len(run.items) > 1 else None, item.status, item.attempt),
            *(None if item.slot is None else WORKERS[item.slot], item.started, item.finished, item.error),
            json.dumps(item.history) if item.history else None,
        )


def _write_health(connection: Connection, night: Night, runs: Sequence[RunPlan]) -> None:
    rows = []
    for run in runs:
        if run.job == "health_check" and run.completed:
            rows += [(run.completed, run.id, each) for each in _components(night, run.completed)]
    connection.cursor().executemany(
        "INSERT INTO health_checks (checked_at, run_id, component, status, message, detail)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        [(checked, run, one.component, one.status, one.message, Jsonb(one.detail)) for checked, run, one in rows],
    )


def _components(night: Night, moment: datetime) -> Iterator[ComponentStatus]:
    is_tonight = moment.astimezone(ZONE).date() == TONIGHT and moment.astimezone(ZONE).hour >= 17
    for component in _COMPONENTS:
        if component == "data" and night.provider_is_dead and is_tonight:
            yield ComponentStatus(component, "critical", "the newest daily bar is of 2026-01-13, one session old")
        elif component == "executions" and is_tonight and night.name != "quiet":
            yield ComponentStatus(component, "degraded", "1 run is open, 3 dead items in the last day")
        else:
            yield ComponentStatus(component, "ok", "nothing to report")


def _write_processes(connection: Connection, night: Night) -> None:
    began = night.now - (timedelta(minutes=12) if night.is_first else timedelta(days=3))
    rows = [
        ("nightly-7f4c9", "supervisor", "vm3", 411, "0.2.0", began, night.now),
        ("nightly-b81d2", "supervisor", "vm4", 398, "0.2.0", began, night.now),
        ("scheduler-1c0de", "scheduler", "vm3", 377, "0.2.0", began, night.now),
    ]
    connection.cursor().executemany(
        "INSERT INTO processes (id, kind, host, pid, version, started_at, seen_at) VALUES (%s, %s, %s, %s, %s, %s, %s)",
        rows,
    )
