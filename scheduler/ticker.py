"""Turns ticks into runs, exactly once each, with any number of replicas.

A due schedule's row is locked, its ticks are decided, and the decisions, the runs and the next tick are one
transaction; another replica passes over the locked row. A tick is a row with a key, so that even without the lock it
could not start twice. Entries go to Redis after the commit; when that fails the reconciler adds them.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog
from psycopg_pool import ConnectionPool

from scheduler.metrics import SchedulerMetrics
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.enqueue import finish_enqueue
from streamworkers.engine.job import Origin
from streamworkers.engine.ledger import Run
from streamworkers.engine.outcome import Event
from streamworkers.engine.redis.keys import ERRORS_CHANNEL
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.errors import RedisUnavailableError, UsageError
from streamworkers.faults import describe, is_transient, printable
from streamworkers.market.calendar.sessions import WARN_DAYS
from streamworkers.schedules import store
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.dependency import judge
from streamworkers.schedules.planner import MOST_CAUGHT_UP, Decision, plan
from streamworkers.schedules.run_factory import Resolve, record_scheduled_run
from streamworkers.schedules.store import Schedule, WaitingTick
from streamworkers.schedules.timing import Tick, Timing, jittered

log = structlog.get_logger()
Clock = Callable[[Connection], datetime]
_REPLAN = timedelta(days=1)
_BROKEN = timedelta(minutes=1)
_REDIS_PAUSE_SECONDS = 5.0
_BUSY_SECONDS = 0.02
_MOST_STEPS = 200


@dataclass
class Ticker:
    """Decides on what is due. `clock` is PostgreSQL's, so that replicas agree."""

    pool: "ConnectionPool[Connection]"
    streams: Streams
    registry: Registry
    resolve: Resolve
    metrics: SchedulerMetrics
    clock: Clock = store.database_clock
    on_redis_away: Callable[[RedisUnavailableError], None] = lambda error: None
    _redis_away_until: float = field(default=0.0, init=False)

    def run_once(self) -> float:
        """Decide on all ticks that are due, and on those that wait; returns seconds until the next is due, or 3600."""
        with self.pool.connection() as connection:
            steps = 0
            while steps < _MOST_STEPS and self._step(connection):
                steps += 1
            self._look_at_waiting(connection)
            due = store.next_due(connection)
            if steps == _MOST_STEPS:
                return 0.0
            # What is due still is being decided by somebody else.
            return 3600.0 if due is None else max(_BUSY_SECONDS, (due - self.clock(connection)).total_seconds())

    def _step(self, connection: Connection) -> bool:
        """Decide on one due schedule; False when none is due."""
        started: list[Run] = []
        with connection.transaction():
            now = self.clock(connection)
            schedule = store.lock_due(connection, now)
            if schedule is None:
                return False
            try:
                with connection.transaction():
                    timing = schedule.require_definition().timing
                    assert timing is not None
                    started = self._decide(connection, schedule, timing, now)
            except Exception as error:  # whatever is wrong with one schedule, the others go on
                if is_transient(error):
                    raise
                self._note_problem(connection, schedule, now, error)
        self._enqueue(connection, started)
        return True

    def _decide(self, connection: Connection, schedule: Schedule, timing: Timing, now: datetime) -> list[Run]:
        definition = schedule.require_definition()

        def due_at(moment: datetime) -> datetime:
            return jittered(moment, schedule.id, definition.jitter_seconds)

        ticks = (
            timing.from_moment(schedule.next_run_at) if schedule.next_run_at else timing.after(schedule.planned_from)
        )
        self.metrics.begin_at_zero(schedule.name)
        planned = plan(ticks, due_at, now, definition.policy)
        started = []
        for decision in planned.decisions:
            run = self._carry_out(connection, schedule, decision, due_at(decision.tick.moment), now)
            if run is not None:
                started.append(run)
        following = planned.following
        problem = _calendar_problem(definition, timing, following, now)
        if problem is not None and problem != schedule.problem:
            log.warning("calendar_ends", schedule=schedule.name, problem=problem)
        store.set_planned(
            connection,
            schedule,
            None if following is None else following.moment,
            now + _REPLAN if following is None else due_at(following.moment),
            problem,
            planned_from=now if following is None else None,
        )
        return started

    def _carry_out(
        self, connection: Connection, schedule: Schedule, decision: Decision, due_at: datetime, now: datetime
    ) -> Run | None:
        definition = schedule.require_definition()
        if decision.state != "start":
            state, reason = str(decision.state), decision.reason
        elif definition.after is not None:
            state, reason = "waiting", f"for {definition.after}"
        else:
            state, reason = self._room(connection, schedule, None)
        if not store.decide_tick(connection, schedule, decision.tick, state, now, reason=reason, ticks=decision.ticks):
            return None
        if state == "started":
            self.metrics.lateness_seconds.labels(schedule.name).observe(max(0.0, (now - due_at).total_seconds()))
            return self._start(connection, schedule, decision.tick)
        self._tell(schedule, decision.tick, state, reason, decision.ticks)
        return None

    def _room(self, connection: Connection, schedule: Schedule, waiting: Tick | None) -> tuple[str, str | None]:
        """`started` where an instance may start now, else `skipped`, or `waiting` for a schedule that skips none."""
        definition = schedule.require_definition()
        instances = store.open_instances(connection, schedule, before=waiting)
        if instances.total < definition.max_instances:
            return "started", None
        reason = f"{instances.described()}, and max_instances is {definition.max_instances}"
        if definition.catch_up != "all":
            return "skipped", reason
        if waiting is None and instances.waiting >= MOST_CAUGHT_UP:
            return "skipped", f"{instances.waiting} ticks wait already"
        return "waiting", reason

    def _start(
        self,
        connection: Connection,
        schedule: Schedule,
        tick: Tick,
        reason: str | None = None,
        detail: dict[str, object] | None = None,
    ) -> Run | None:
        """Make the run of a tick whose row is there, or note why there can be none."""
        origin = Origin("schedule", schedule.id, schedule.name, tick.moment)
        try:
            with connection.transaction():
                run, _ = record_scheduled_run(connection, self.registry, self.resolve, schedule, origin)
        except Exception as error:  # whatever one schedule's job raises, the others go on
            if is_transient(error):
                raise
            is_usage = isinstance(error, UsageError)
            rejection = printable(str(error) if is_usage else describe(error))
            log.warning("tick_rejected", schedule=schedule.name, error=rejection, exc_info=not is_usage)
            store.change_tick(connection, schedule, tick, "rejected", reason=rejection, detail=detail)
            self.metrics.ticks.labels(schedule.name, "rejected").inc()
            ledger.add_events(connection, [_rejection_event(schedule, tick, rejection)])
            return None
        store.change_tick(connection, schedule, tick, "started", reason=reason, detail=detail, run_id=run.id)
        self._tell(schedule, tick, "started", reason, 1, run.id)
        return run

    def _look_at_waiting(self, connection: Connection) -> None:
        after = (datetime.min.replace(tzinfo=UTC), 0)
        full: list[int] = []
        while True:
            with connection.transaction():
                waiting = store.lock_waiting(connection, after, full)
                if waiting is None:
                    return
                after = (waiting.tick.moment, waiting.schedule.id)
                run = self._decide_waiting(connection, waiting, self.clock(connection), full)
            if run is not None:
                self._enqueue(connection, [run])

    def _decide_waiting(
        self, connection: Connection, waiting: WaitingTick, now: datetime, full: list[int]
    ) -> Run | None:
        """Start, skip or leave a tick that waits; a schedule without room is added to `full`."""
        schedule, tick = waiting.schedule, waiting.tick
        definition = schedule.definition
        if definition is None or not definition.enabled:
            self._change(connection, schedule, tick, "skipped", "the schedule was paused while the tick waited")
            return None
        reason, detail = None, None
        if definition.after is not None:
            awaited = store.awaited_run(connection, definition.after, tick.session, tick.moment)
            deadline = waiting.decided_at + timedelta(seconds=definition.after_timeout_seconds)
            verdict = judge(awaited, definition.min_coverage, now, deadline, definition.after_timeout_action)
            if verdict.action == "wait":
                return None
            reason, detail = verdict.reason, awaited.as_detail()
            if verdict.action == "skip":
                self._change(connection, schedule, tick, "skipped", reason, detail)
                return None
        state, no_room = self._room(connection, schedule, tick)
        if state == "waiting":
            full.append(schedule.id)
            return None
        if state == "skipped":
            self._change(connection, schedule, tick, "skipped", no_room, detail)
            return None
        return self._start(connection, schedule, tick, reason, detail)

    def _change(
        self,
        connection: Connection,
        schedule: Schedule,
        tick: Tick,
        state: str,
        reason: str | None,
        detail: dict[str, object] | None = None,
    ) -> None:
        store.change_tick(connection, schedule, tick, state, reason=reason, detail=detail)
        self._tell(schedule, tick, state, reason, 1)

    def _note_problem(self, connection: Connection, schedule: Schedule, now: datetime, error: Exception) -> None:
        is_usage = isinstance(error, UsageError)
        problem = str(error) if is_usage else describe(error)
        log.warning("schedule_broken", schedule=schedule.name, problem=problem, exc_info=not is_usage)
        store.set_planned(connection, schedule, schedule.next_run_at, now + _BROKEN, printable(problem))

    def _tell(
        self, schedule: Schedule, tick: Tick, state: str, reason: str | None, ticks: int, run_id: int | None = None
    ) -> None:
        self.metrics.ticks.labels(schedule.name, state).inc(ticks)
        log.info(
            "tick_decided",
            state=state,
            schedule=schedule.name,
            scheduled_for=tick.moment.isoformat(),
            run=run_id,
            reason=reason,
            ticks=ticks,
        )

    def _enqueue(self, connection: Connection, runs: Sequence[Run]) -> None:
        """Add the entries of runs that are committed; while Redis is away leave that to the reconciler."""
        for run in runs:
            if time.monotonic() < self._redis_away_until:
                return
            try:
                finish_enqueue(connection, self.streams, run, ledger.iterate_open_items(connection, run))
            except RedisUnavailableError as error:
                self._redis_away_until = time.monotonic() + _REDIS_PAUSE_SECONDS
                log.warning("enqueue_deferred", run=run.id, error=describe(error))
                self.on_redis_away(error)


def _calendar_problem(
    definition: ScheduleDefinition, timing: Timing, following: Tick | None, now: datetime
) -> str | None:
    """That the calendar ends, or will soon: its rules are in a package, which a newer version of may know more."""
    days = timing.calendar_days_left(now)
    if following is None:
        return f"calendar {definition.calendar} ends, and no tick is left in it: install a newer exchange_calendars"
    if days is not None and days < WARN_DAYS:
        return f"calendar {definition.calendar} is known for {days} more days: install a newer exchange_calendars"
    return None


def _rejection_event(schedule: Schedule, tick: Tick, rejection: str) -> Event:
    return Event(
        ERRORS_CHANNEL,
        {
            "schema_version": 1,
            "kind": "tick_rejected",
            "schedule": schedule.name,
            "scheduled_for": tick.moment.isoformat(),
            "reason": rejection,
        },
    )
