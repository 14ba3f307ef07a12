"""The series of schedulers: schedules, messages, and what they read of PostgreSQL and Redis."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import time

import numpy as np

from preview.evening.plan import TONIGHT, RunPlan, at
from preview.evening.pool_series import backlog, of_every_process
from preview.evening.series import (
    JOBS,
    QUEUES,
    SCHEDULERS,
    SLOTS_EACH,
    SUPERVISORS,
    Clock,
    Labels,
    Series,
    State,
    Values,
    histogram,
)

# The bounds of scheduler/metrics.py.
_LATENESS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600, 3600)
_TICK_STATES = ("started", "waiting", "missed", "skipped", "rejected")
_TABLES = {
    "run_items": 41,
    "runs": 3,
    "indicator_results": 96,
    "daily_patterns": 22,
    "ohlcv_daily": 188,
    "ohlcv_1min": 640,
}
_CHANNELS = ("tickstock.events.patterns", "tickstock:monitoring", "tickstock:errors")
_MESSAGES = [
    *[
        ("started", "new"),
        ("duplicate", "recorded"),
        ("repeated", "id"),
        ("ignored", "run_analysis"),
        ("ignored", "paused"),
    ],
    *[("rejected", reason) for reason in ("not_json", "unknown_type", "bad_field", "no_schedule", "internal_error")],
]
_MEBIBYTE = 1 << 20


def scheduler_series(state: State, clock: Clock) -> Iterator[Series]:
    """Every series of every scheduler; what they read is the same from each."""
    shared = list(_read_by_each(state, clock))
    for number, instance in enumerate(SCHEDULERS):
        where = {"component": "scheduler", "instance": instance}
        for schedule in state.next_ticks:
            yield from _of_schedule({**where, "schedule": schedule}, state, clock, is_first=number == 0)
        for queue in QUEUES:
            yield from backlog(where | {"queue": queue}, state, clock)
        for each in shared:
            yield Series(each.name, {**where, **each.labels}, each.values)
        yield from of_every_process(where, clock)
        yield from _of_messages(where, state, clock, is_first=number == 0)


def alert_series(state: State, clock: Clock) -> Iterator[Series]:
    """The alerts of the night: pending for five minutes, then firing."""
    began, fired = (state.night.now.timestamp() - seconds for seconds in (900, 600))
    pending = (clock.times > began) & (clock.times <= fired)
    for alert in state.night.alerts:
        for name, during in (("pending", pending), ("firing", clock.times > fired)):
            yield Series("ALERTS", {**alert, "alertstate": name}, np.where(during, 1.0, np.nan))
        yield Series("ALERTS_FOR_STATE", alert, np.where(clock.times > began, began, np.nan))


def _of_schedule(labels: Labels, state: State, clock: Clock, *, is_first: bool) -> Iterator[Series]:
    schedule = labels["schedule"]
    ticks = [tick for tick in state.ticks if tick.schedule == schedule]
    runs = [run for run in state.runs if run.schedule == schedule]
    due = [tick.due.timestamp() for tick in ticks]
    following = state.next_ticks[schedule]
    yield Series("streamworkers_schedule_enabled", labels, clock.one)
    if following is not None:
        ahead = np.array([*due, following.timestamp()])
        places = np.minimum(np.searchsorted(ahead, clock.times, side="right"), len(ahead) - 1)
        yield Series("streamworkers_schedule_next_tick_seconds", labels, ahead[places] - clock.times)
    waiting = sum(tick.state == "waiting" for tick in ticks)
    late = [tick.due.timestamp() for tick in ticks if tick.state == "waiting"]
    yield Series("streamworkers_schedule_waiting_ticks", labels, clock.count(late) if waiting else 0 * clock.one)
    if schedule in ("daily_indicator_calculation", "daily_pattern_detection", "daily_load"):
        yield Series("streamworkers_schedule_calendar_days", labels, 412 * clock.one)
    if due:
        yield Series("streamworkers_schedule_last_tick_age_seconds", labels, clock.times - _newest(due, clock))
        yield Series("streamworkers_schedule_last_tick_coverage_ratio", labels, _coverage(runs, clock))
        good = [run.completed.timestamp() for run in runs if run.completed and run.status == "COMPLETED"]
        yield Series("streamworkers_schedule_last_success_timestamp_seconds", labels, _newest(good, clock))
    for name in _TICK_STATES:
        moments = [tick.due.timestamp() for tick in ticks if tick.state == name] if is_first else []
        yield Series("streamworkers_schedule_ticks_total", {**labels, "state": name}, clock.count(moments))
    late_by = [(run.created.timestamp(), (run.created - run.due).total_seconds()) for run in runs] if is_first else []
    yield from histogram("streamworkers_schedule_lateness_seconds", labels, _LATENESS, clock, late_by)


def _newest(moments: Sequence[float], clock: Clock) -> Values:
    """The newest of these moments at each step; NaN before the first."""
    known = np.sort(np.array(moments, dtype=np.float64))
    places = np.searchsorted(known, clock.times, side="right")
    return np.concatenate(([np.nan], known))[places]


def _coverage(runs: Sequence[RunPlan], clock: Clock) -> Values:
    found = np.full_like(clock.times, np.nan)
    for run in runs:
        ends = np.sort(
            [item.finished.timestamp() for item in run.items if item.finished and item.status == "completed"]
        )
        share = np.searchsorted(ends, clock.times, side="right") / len(run.items)
        found = np.where(clock.times >= run.created.timestamp(), share, found)
    return found


def _of_messages(where: Labels, state: State, clock: Clock, *, is_first: bool) -> Iterator[Series]:
    for source in ("pubsub", "stream"):
        for outcome, reason in _MESSAGES:
            happens = is_first and source == "stream" and not state.night.is_first and outcome == "started"
            values = np.floor(clock.grow(1 / 7200)) if happens else 0 * clock.one
            labels = {**where, "source": source, "outcome": outcome, "reason": reason}
            yield Series("streamworkers_messages_total", labels, values)
        yield Series("streamworkers_listener_connections_total", {**where, "source": source}, clock.one)
    ends = [
        item.finished.timestamp()
        for run in state.runs
        if run.job == "patterns"
        for item in run.items[::3]
        if item.finished and is_first
    ]
    checks = [
        run.completed.timestamp() for run in state.runs if run.job == "health_check" and run.completed and is_first
    ]
    for channel, moments in zip(_CHANNELS, (ends, checks, []), strict=True):
        yield Series("streamworkers_events_published_total", {**where, "channel": channel}, clock.count(moments))


def _read_by_each(state: State, clock: Clock) -> Iterator[Series]:
    yield from _of_ledger(state, clock)
    yield from _of_stores(state, clock)
    for kind, count in (("supervisor", len(SUPERVISORS)), ("scheduler", len(SCHEDULERS))):
        for name, alive in (("alive", count), ("silent", 0)):
            yield Series("streamworkers_processes", {"kind": kind, "state": name}, alive * clock.one)
    yield Series("streamworkers_supervisors", {}, len(SUPERVISORS) * clock.one)
    for step, most in (("event", 0.9), ("notification", 0.8), ("waiting", 1.9), ("admitted", 1.4)):
        waits = clock.random.uniform(0, most, clock.times.size) if not state.night.is_first else 0 * clock.one
        yield Series("streamworkers_notification_wait_seconds", {"step": step}, waits)
    yield Series("streamworkers_audit_unsealed_seconds", {}, clock.random.uniform(0, 12, clock.times.size))
    calls = [
        item.finished.timestamp()
        for run in state.runs
        if run.job == "load_ohlcv"
        for item in run.items
        if item.finished
    ]
    minute = clock.count(calls)
    counted = np.diff(minute, prepend=minute[0])
    if state.away_since is not None:
        away = np.where(clock.times >= state.away_since, clock.times - state.away_since, np.nan)
        yield Series("streamworkers_provider_away_seconds", {"provider": "massive"}, away)
    yield Series("streamworkers_provider_counted_calls", {"provider": "massive"}, counted)
    if not state.night.is_first:
        close = at(TONIGHT, time(16)).timestamp()
        loaded = at(TONIGHT, time(17, 12)).timestamp()
        newest = close - 16 * 3600
        if state.night.provider_is_dead:
            days = np.full_like(clock.times, newest - 86_400)
            stale = np.where(clock.times > at(TONIGHT, time(18, 10)).timestamp(), 1.0, 0.0)
            yield Series("streamworkers_stale_runs", {"job": "indicators"}, stale)
        else:
            days = np.where(clock.times > loaded, newest, newest - 86_400)
        for timeframe, values in (("day", days), ("hour", days + 15 * 3600), ("1min", days + 15.98 * 3600)):
            yield Series("streamworkers_last_bar_timestamp_seconds", {"timeframe": timeframe}, values)


def _of_ledger(state: State, clock: Clock) -> Iterator[Series]:
    for queue, jobs in JOBS.items():
        for job in jobs:
            runs = [run for run in state.runs if run.job == job]
            created = [run.created.timestamp() for run in runs for _ in run.items]
            yield Series("streamworkers_items_enqueued_total", {"queue": queue, "job": job}, clock.count(created))
            for status, count in Counter(run.status for run in runs).items():
                yield Series("streamworkers_runs", {"job": job, "status": status}, count * clock.one)
        dead = [
            item.finished.timestamp()
            for run in state.runs
            if run.queue == queue
            for item in run.items
            if item.finished and item.status == "failed"
        ]
        yield Series("streamworkers_queue_dead_items", {"queue": queue}, clock.count(dead))
    yield Series("streamworkers_outbox_events", {}, np.floor(clock.random.uniform(0, 2.4, clock.times.size)))
    yield Series("streamworkers_outbox_oldest_age_seconds", {}, clock.random.uniform(0, 0.4, clock.times.size))
    for (pattern, direction), count in state.patterns:
        labels = {"pattern": pattern, "direction": direction}
        yield Series("streamworkers_patterns_detected", labels, count * clock.one)


def _of_stores(state: State, clock: Clock) -> Iterator[Series]:
    busy = np.zeros_like(clock.times)
    for run in state.runs:
        if len(run.items) > 1 and run.started:
            until = run.completed.timestamp() if run.completed else np.inf
            busy += (clock.times >= run.started.timestamp()) & (clock.times <= until)
    slots = SLOTS_EACH * len(SUPERVISORS)
    yield Series("streamworkers_redis_memory_bytes", {}, clock.noise(38 * _MEBIBYTE, 0.05) + busy * 9 * _MEBIBYTE)
    yield Series("streamworkers_redis_max_memory_bytes", {}, 512 * _MEBIBYTE * clock.one)
    yield Series("streamworkers_redis_connections", {}, 14 + busy * slots)
    yield Series("streamworkers_redis_slow_calls", {}, 0 * clock.one)
    yield Series("streamworkers_redis_commands_total", {}, np.cumsum(60 * (24 + busy * 180)))
    yield Series("streamworkers_postgres_connections", {}, np.round(clock.noise(13, 0.1)) + busy * slots)
    yield Series("streamworkers_postgres_max_connections", {}, 200 * clock.one)
    yield Series("streamworkers_postgres_size_bytes", {}, (1_240 * clock.one + clock.grow(0.0004)) * _MEBIBYTE)
    yield Series("streamworkers_postgres_transactions_total", {}, np.cumsum(60 * (6 + busy * 70)))
    for table, size in _TABLES.items():
        written = busy * {"run_items": 220, "indicator_results": 900, "daily_patterns": 60}.get(table, 2)
        yield Series(
            "streamworkers_table_bytes", {"table": table}, (size * clock.one + clock.grow(0.00002)) * _MEBIBYTE
        )
        yield Series("streamworkers_table_rows_written_total", {"table": table}, np.cumsum(60 * written))
