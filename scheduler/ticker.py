"""Turns ticks into runs, exactly once each, with any number of replicas.

One transaction locks a due schedule, decides its ticks and writes the decisions, the runs and the next tick; other
replicas skip the locked row. A tick is a row with a unique key, so even without the lock it could not start twice.
Entries are added to Redis after the commit; if that fails, the reconciler adds them.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from psycopg_pool import ConnectionPool

from scheduler.dropped_ticks import skip_dropped
from scheduler.metrics import SchedulerMetrics
from scheduler.schedule_notices import (
    Unstarted,
    make_rejection_event,
    notify_problem,
    notify_started_late,
    notify_unstarted,
)
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.enqueue import enqueue_committed
from streamworkers.engine.job import Origin
from streamworkers.engine.ledger import Run
from streamworkers.engine.ledger.lateness import mark_started_late
from streamworkers.engine.preparation import LostPrepares
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.errors import RedisUnavailableError, UsageError
from streamworkers.faults import describe, find_fault, printable
from streamworkers.logger import get_logger
from streamworkers.schedules import store, ticks, timings
from streamworkers.schedules.cursor import TimingSpan, find_span
from streamworkers.schedules.dependency import decide_dependency
from streamworkers.schedules.due_ticks import find_due_time, plan_due
from streamworkers.schedules.limits import set_deadline
from streamworkers.schedules.maintenance import MaintenanceWindow, find_open, find_wait_start, windows_of
from streamworkers.schedules.maintenance_store import read_maintenance_windows
from streamworkers.schedules.next_tick import plan_next, plan_retry, require_timing
from streamworkers.schedules.planner import MOST_CAUGHT_UP, Decision
from streamworkers.schedules.replanning import Replanning
from streamworkers.schedules.run_factory import Resolve, record_scheduled_run
from streamworkers.schedules.store import Schedule
from streamworkers.schedules.ticks import WaitingTick
from streamworkers.schedules.timing import Tick

log = get_logger()
Clock = Callable[[Connection], datetime]
_REDIS_PAUSE_SECONDS = 5.0
_BUSY_SECONDS = 0.02
_MOST_STEPS = 200
_MOST_SKIPS = 20
_WINDOWS_COUNT = timedelta(days=366)  # a window that ended before has no undecided ticks


@dataclass
class Ticker:
    """Decides about due and waiting ticks. `clock` is PostgreSQL's, so that replicas agree."""

    pool: "ConnectionPool[Connection]"
    streams: Streams
    registry: Registry
    resolve: Resolve
    metrics: SchedulerMetrics
    clock: Clock = store.database_clock
    on_redis_away: Callable[[RedisUnavailableError], None] = lambda error: None
    _redis_away_until: float = field(default=0.0, init=False)
    _replanning: Replanning = field(default_factory=Replanning, init=False)
    _lost: LostPrepares = field(default_factory=LostPrepares, init=False)
    _counted: set[str] = field(default_factory=set, init=False)
    _windows: list[MaintenanceWindow] = field(default_factory=list, init=False)

    def run_once(self) -> float:
        """Decide about due and waiting ticks; returns the seconds until the next tick is due, at most 3600."""
        with self.pool.connection() as connection:
            self._show_counters(connection)
            now = self.clock(connection)
            self._windows = read_maintenance_windows(connection, now - _WINDOWS_COUNT)
            self._replanning.step(connection, now)
            # Each kind has its own number of steps in a turn, so that neither keeps the other waiting.
            skipped, steps = 0, 0
            while skipped < _MOST_SKIPS and skip_dropped(connection, self.clock, self._report):
                skipped += 1
            while steps < _MOST_STEPS and self._decide_one_schedule(connection):
                steps += 1
            self._decide_all_waiting(connection)
            due = store.next_due(connection)
            if skipped == _MOST_SKIPS or steps == _MOST_STEPS:
                return 0.0
            # A tick that is still due is being decided by another replica.
            return 3600.0 if due is None else max(_BUSY_SECONDS, (due - self.clock(connection)).total_seconds())

    def _decide_one_schedule(self, connection: Connection) -> bool:
        """Decide the ticks of one due schedule; False if none is due."""
        started: list[Run] = []
        with connection.transaction():
            now = self.clock(connection)
            schedule = store.lock_due(connection, now)
            if schedule is None:
                return False
            try:
                with connection.transaction():
                    started = self._decide_due(connection, schedule, now)
            except Exception as error:  # a broken schedule must not stop the others
                if find_fault(error) is not None:
                    raise
                self._record_problem(connection, schedule, now, error)
        self._enqueue(connection, started)
        return True

    def _decide_due(self, connection: Connection, schedule: Schedule, now: datetime) -> list[Run]:
        definition = schedule.require_definition()
        # What was due before a change is decided first, and by its own times.
        spans = [
            *timings.lock_changed(connection, schedule.id),
            TimingSpan(require_timing(definition), schedule.cursor),
        ]
        plan = plan_due(schedule, spans, windows_of(self._windows, schedule.id), now)
        started = []
        for decision in plan.decisions:
            run = self._apply(connection, schedule, decision, find_span(spans, decision.tick.moment), now)
            if run is not None:
                started.append(run)
        missed = [Unstarted(*decision) for decision in plan.decisions if decision.state == "missed"]
        notify_unstarted(connection, schedule, missed)
        timings.set_decided(connection, spans, plan, now)
        following = plan_next(schedule.id, definition, plan.following, now)
        if following.problem is not None and following.problem != schedule.problem:
            log.warning("calendar_ends", schedule=schedule.name, problem=following.problem)
        valid = spans[-1]
        cursor = valid.cursor.past(valid.timing, timings.find_last(spans, valid, plan))
        store.set_next_tick(connection, schedule, following, cursor)
        return started

    def _apply(
        self, connection: Connection, schedule: Schedule, decision: Decision, span: TimingSpan, now: datetime
    ) -> Run | None:
        """Record a decision and start its run; None if none starts, or if the tick had been decided before."""
        definition, tick, count = schedule.require_definition(), decision.tick, decision.tick_count
        window = find_open(windows_of(self._windows, schedule.id), now) if decision.state == "start" else None
        if decision.state != "start":
            state, reason = str(decision.state), decision.reason
        elif window is not None:
            state, reason = "waiting", f"for the end of {window.describe()}"
        elif definition.after is not None:
            state, reason = "waiting", f"for {definition.after}"
        else:
            state, reason = self._check_instances(connection, schedule, None)
        row = ticks.TickRow(state, reason, count, span.timing_id)
        if not ticks.insert_tick(connection, schedule, tick, row, now):
            return None
        if state in ("started", "waiting"):
            set_deadline(connection, schedule, tick)
        if window is not None:
            replaced = ticks.hold_back(connection, schedule, tick, reason, window.id)
            self.metrics.ticks.labels(schedule.name, "skipped").inc(replaced)
        if state == "started":
            late = max(0.0, (now - find_due_time(schedule, span, tick.moment)).total_seconds())
            self.metrics.lateness_seconds.labels(schedule.name).observe(late)
            run = self._start(connection, schedule, tick)
            if run is not None and late > definition.misfire_grace_seconds:
                notify_started_late(connection, schedule, run.id, tick, late)
            return run
        if state == "skipped" and decision.state == "start":
            notify_unstarted(connection, schedule, [Unstarted(tick, state, reason)])
        self._report(schedule, tick, state, reason, count)
        return None

    def _check_instances(
        self, connection: Connection, schedule: Schedule, waiting: Tick | None
    ) -> tuple[str, str | None]:
        """`started` if `max_instances` allows it, else `skipped`, or `waiting` if `catch_up` is all."""
        definition = schedule.require_definition()
        instances = ticks.count_instances(connection, schedule, before=waiting)
        if instances.total < definition.max_instances:
            return "started", None
        reason = f"{instances.describe()}, and max_instances is {definition.max_instances}"
        if definition.catch_up != "all":
            return "skipped", reason
        if waiting is None and instances.waiting >= MOST_CAUGHT_UP:
            return "skipped", f"{instances.waiting} ticks are waiting already"
        return "waiting", reason

    def _start(
        self,
        connection: Connection,
        schedule: Schedule,
        tick: Tick,
        reason: str | None = None,
        detail: dict[str, object] | None = None,
    ) -> Run | None:
        """Make the run of a tick whose row exists, or record why it cannot be made."""
        origin = Origin("schedule", schedule.id, schedule.name, tick.moment)
        try:
            self._lost.require_few((schedule.id, tick.moment))
            with connection.transaction():
                run, _ = record_scheduled_run(connection, self.registry, self.resolve, schedule, origin)
        except Exception as error:  # a failing job must not stop the other schedules
            self._lost.count((schedule.id, tick.moment), error)
            if find_fault(error) is not None:
                raise
            is_usage = isinstance(error, UsageError)
            rejection = printable(str(error) if is_usage else describe(error))
            log.warning("tick_rejected", schedule=schedule.name, error=rejection, exc_info=not is_usage)
            ticks.update_tick(connection, schedule, tick, "rejected", reason=rejection, detail=detail)
            self.metrics.ticks.labels(schedule.name, "rejected").inc()
            ledger.add_events(connection, [make_rejection_event(schedule, tick, rejection)])
            notify_unstarted(connection, schedule, [Unstarted(tick, "rejected", rejection)])
            return None
        ticks.update_tick(connection, schedule, tick, "started", reason=reason, detail=detail, run_id=run.id)
        self._report(schedule, tick, "started", reason, 1, run.id)
        return run

    def _decide_all_waiting(self, connection: Connection) -> None:
        after = (datetime.min.replace(tzinfo=UTC), 0)
        now = self.clock(connection)
        held = [window.schedule_ids for window in self._windows if window.holds(now)]
        if None in held:  # no tick of any schedule starts now
            return
        full: list[int] = [number for ids in held if ids is not None for number in ids]
        while True:
            with connection.transaction():
                waiting = ticks.lock_waiting(connection, after, full)
                if waiting is None:
                    return
                after = (waiting.tick.moment, waiting.schedule.id)
                run = self._decide_waiting(connection, waiting, self.clock(connection), full)
            if run is not None:
                self._enqueue(connection, [run])

    def _decide_waiting(
        self, connection: Connection, waiting: WaitingTick, now: datetime, full: list[int]
    ) -> Run | None:
        """Start a waiting tick, skip it or let it wait; a schedule that has `max_instances` is added to `full`."""
        schedule, tick = waiting.schedule, waiting.tick
        definition = schedule.definition
        if definition is None or not definition.enabled:
            paused = "the schedule was paused while the tick waited"
            ticks.update_tick(connection, schedule, tick, "skipped", reason=paused)
            self._report(schedule, tick, "skipped", paused, 1)
            return None
        wait_start = find_wait_start(windows_of(self._windows, schedule.id), waiting.decided_at, now)
        reason, detail = None, None
        if definition.after is not None:
            awaited = ticks.find_awaited(connection, definition.after, tick.session, tick.moment)
            deadline = wait_start + timedelta(seconds=definition.after_timeout_seconds)
            decision = decide_dependency(
                awaited, definition.min_coverage, now, deadline, definition.after_timeout_action
            )
            if decision.action == "wait":
                return None
            reason, detail = decision.reason, awaited.to_detail()
            if decision.action == "skip":
                self._skip(connection, schedule, tick, reason, detail)
                return None
        state, full_reason = self._check_instances(connection, schedule, tick)
        if state == "waiting":
            full.append(schedule.id)
            return None
        if state == "skipped":
            self._skip(connection, schedule, tick, full_reason, detail)
            return None
        if wait_start > waiting.decided_at and reason is None:
            reason = f"waited until {wait_start.astimezone(UTC):%Y-%m-%d %H:%M} UTC for a maintenance window"
        run = self._start(connection, schedule, tick, reason, detail)
        if run is not None and wait_start > waiting.decided_at:
            mark_started_late(connection, run.id)  # as planned: it is no news
        return run

    def _skip(
        self,
        connection: Connection,
        schedule: Schedule,
        tick: Tick,
        reason: str | None,
        detail: dict[str, object] | None,
    ) -> None:
        ticks.update_tick(connection, schedule, tick, "skipped", reason=reason, detail=detail)
        notify_unstarted(connection, schedule, [Unstarted(tick, "skipped", reason)])
        self._report(schedule, tick, "skipped", reason, 1)

    def _record_problem(self, connection: Connection, schedule: Schedule, now: datetime, error: Exception) -> None:
        is_usage = isinstance(error, UsageError)
        problem = str(error) if is_usage else describe(error)
        log.warning("schedule_broken", schedule=schedule.name, problem=problem, exc_info=not is_usage)
        planned = plan_retry(schedule.next_run_at, problem, now)
        store.set_next_tick(connection, schedule, planned, schedule.cursor)
        notify_problem(connection, schedule, problem)

    def _report(
        self, schedule: Schedule, tick: Tick, state: str, reason: str | None, tick_count: int, run_id: int | None = None
    ) -> None:
        self.metrics.ticks.labels(schedule.name, state).inc(tick_count)
        log.info(
            "tick_decided",
            state=state,
            schedule=schedule.name,
            scheduled_for=tick.moment.isoformat(),
            run=run_id,
            reason=reason,
            ticks=tick_count,
        )

    def _show_counters(self, connection: Connection) -> None:
        """Show the counters of new schedules at zero: Prometheus sees no increase in one that appears at 1."""
        for name in store.list_names(connection):
            if name not in self._counted:
                self.metrics.begin_at_zero(name)
                self._counted.add(name)

    def _enqueue(self, connection: Connection, runs: Sequence[Run]) -> None:
        """Add the entries of committed runs to Redis; while it is away the reconciler will."""
        for run in runs:
            if time.monotonic() < self._redis_away_until:
                return
            if (error := enqueue_committed(connection, self.streams, run)) is not None:
                self._redis_away_until = time.monotonic() + _REDIS_PAUSE_SECONDS
                self.on_redis_away(error)
