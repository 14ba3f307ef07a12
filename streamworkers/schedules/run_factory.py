"""Makes the runs of a schedule."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from streamworkers.actor import LOCAL, Actor
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.enqueue import finish_enqueue, record_run, submit_described
from streamworkers.engine.job import Origin, RunRequest
from streamworkers.engine.ledger import Run, SubmittedRun
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.errors import BadInputError
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.market.universes.store import list_universe_names, require_universes, resolve
from streamworkers.schedules import store, ticks
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.store import Schedule
from streamworkers.schedules.ticks import TickRow
from streamworkers.schedules.timing import Tick, zone_named

BY_HAND = "triggered by hand"
_MOST_SUBJECT = 300
Resolve = Callable[[Connection, str], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs from the schedule in one run; None, and parameters not named, are the schedule's.

    `symbols` come before those of the expression `universe`.
    """

    symbols: tuple[str, ...] | None = None
    universe: str | None = None
    timeframe: str | None = None
    as_of: datetime | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None

    def describe_subject(self) -> str:
        """What the run is about where that is not what the schedule is about; empty where it is."""
        about = ",".join(self.symbols) if self.symbols is not None else self.universe
        words = (about and f"about {about}", self.timeframe and f"timeframe {self.timeframe}")
        return ", ".join(filter(None, words))[:_MOST_SUBJECT]


AS_SCHEDULED = Changes()


def record_scheduled_run(
    connection: Connection,
    registry: Registry,
    resolve: Resolve,
    schedule: Schedule,
    origin: Origin,
    changes: Changes = AS_SCHEDULED,
) -> tuple[Run, bool]:
    """Write a run and its items in the caller's transaction; returns the run and whether it is new.

    Raises UnknownNameError and BadInputError as `enqueue` does, and for a universe that is unknown or empty.
    """
    definition = schedule.require_definition()
    symbols, target = find_symbols(connection, resolve, definition, changes)
    timeframe = changes.timeframe or definition.timeframe
    request = RunRequest(
        job=definition.job,
        symbols=symbols,
        target=target,
        timeframe=timeframe_named(timeframe).name if timeframe else None,
        as_of=changes.as_of,
        parameters=definition.parameters | changes.parameters,
        priority=definition.priority,
        webhook=definition.webhook,
        idempotency_key=changes.idempotency_key,
        origin=origin,
    )
    return record_run(connection, registry, request)


def trigger(
    connection: Connection, streams: Streams, registry: Registry, name: str, changes: Changes = AS_SCHEDULED
) -> Run:
    """Start a run of a schedule now, paused or not.

    Raises UnknownNameError, and BadInputError when `max_instances` runs are open already.
    """
    with connection.transaction():
        schedule, tick = _insert_tick_by_hand(connection, name)
        origin = Origin("manual", schedule.id, schedule.name, tick.moment)
        run, _ = record_scheduled_run(connection, registry, resolve, schedule, origin, changes)
        _update_tick_by_hand(connection, schedule, tick, changes, run.id)
        _record_trigger(connection, LOCAL, schedule, run.id)
    finish_enqueue(connection, streams, run, ledger.iterate_open_items(connection, run))
    return run


def submit_trigger(connection: Connection, name: str, actor: Actor, changes: Changes = AS_SCHEDULED) -> SubmittedRun:
    """Do what `trigger` does without the job's code and without Redis: a preparer gives the run its items.

    It is a run of the actor's user. Raises what `trigger` raises, and UnknownJobError.
    """
    with connection.transaction():
        schedule, tick = _insert_tick_by_hand(connection, name)
        definition = schedule.require_definition()
        request = describe_runs(definition, changes)
        if (universe := request.get("universe")) is not None:
            require_universes(universe, list_universe_names(connection))
        (submitted,) = submit_described(connection, [request | {"user": actor.user}])
        origin = Origin("manual", schedule.id, schedule.name, tick.moment)
        ledger.set_origin(connection, submitted.id, origin)
        _update_tick_by_hand(connection, schedule, tick, changes, submitted.id)
        _record_trigger(connection, actor, schedule, submitted.id)
    return submitted


def describe_runs(definition: ScheduleDefinition, changes: Changes = AS_SCHEDULED) -> dict[str, Any]:
    """What the runs of a schedule are, as `submit_runs` takes it."""
    request = {
        "job": definition.job,
        "parameters": definition.parameters | changes.parameters,
        "timeframe": changes.timeframe or definition.timeframe,
        "priority": definition.priority,
        "webhook": definition.webhook,
        **_choose_target(definition, changes),
    }
    return {name: value for name, value in request.items() if value is not None}


def _choose_target(definition: ScheduleDefinition, changes: Changes) -> dict[str, Any]:
    if changes.symbols is not None:
        return {"symbols": list(changes.symbols)}
    if changes.universe is not None:
        return {"universe": changes.universe}
    return {} if definition.target is None else definition.target.model_dump(mode="json", exclude_none=True)


def _update_tick_by_hand(connection: Connection, schedule: Schedule, tick: Tick, changes: Changes, run_id: int) -> None:
    subject = changes.describe_subject()
    reason, detail = (f"{BY_HAND} {subject}", {ticks.OTHER_SUBJECT: subject}) if subject else (BY_HAND, None)
    if changes.as_of is not None:  # so it does not stand for a tick
        reason += f" as of {changes.as_of.isoformat()}"
    ticks.update_tick(connection, schedule, tick, "started", reason=reason, detail=detail, run_id=run_id)


def _record_trigger(connection: Connection, actor: Actor, schedule: Schedule, run_id: int) -> None:
    record_change(connection, actor, AuditChange("schedule.trigger", "schedule", schedule.name, after={"run": run_id}))


def _insert_tick_by_hand(connection: Connection, name: str) -> tuple[Schedule, Tick]:
    schedule = store.lock_schedule(connection, name)
    definition = schedule.require_definition()
    instances = ticks.count_instances(connection, schedule)
    if instances.total >= definition.max_instances:
        raise BadInputError(
            f"schedule {name!r} has max_instances {definition.max_instances}, and {instances.describe()}:"
            " wait for it, or cancel it"
        )
    now = store.database_clock(connection)
    tick = Tick(now, now.astimezone(zone_named(definition.timezone)).date())
    ticks.insert_tick(connection, schedule, tick, TickRow("started", BY_HAND, 1, ticks.NO_TIMING), now)
    return schedule, tick


def find_symbols(
    connection: Connection, resolve: Resolve, definition: ScheduleDefinition, changes: Changes
) -> tuple[tuple[str, ...], str]:
    """Return the symbols of a run of a schedule, none for a job without symbols, and its target in words."""
    if changes.symbols is not None:
        return changes.symbols, ",".join(changes.symbols)
    target = definition.target
    if changes.universe is None:
        if target is None:
            return (), definition.job
        if target.symbols is not None:
            return target.symbols, target.describe()
    universe = changes.universe or (target and target.universe) or ""
    symbols = resolve(connection, universe)
    if not symbols:
        raise BadInputError(f"universe {universe!r} has no symbols")
    return symbols, universe
