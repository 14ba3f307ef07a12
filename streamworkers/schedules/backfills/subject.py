"""What a backfill is about: a schedule, or a job without one at the closes of an exchange."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from streamworkers.database import Connection
from streamworkers.errors import BadInputError
from streamworkers.schedules.backfills.done import describe_done, find_done, subject_of
from streamworkers.schedules.backfills.period import Period
from streamworkers.schedules.backfills.store import Subject
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.run_factory import describe_runs
from streamworkers.schedules.store import Schedule, database_clock
from streamworkers.schedules.timing import Tick, Timing


@dataclass(frozen=True, slots=True)
class BackfillPlan:
    """A subject, and its ticks of a period, each with the reason why it is skipped, or None."""

    subject: Subject
    period: Period
    ticks: Sequence[tuple[Tick, str | None]]


def subject_of_schedule(schedule: Schedule) -> Subject:
    """What the runs of a schedule are, as it is now: a later change of it does not change a backfill.

    They have a priority of their own, and no webhook: those of the schedule are for the runs of today.
    """
    request = describe_runs(schedule.require_definition())
    for name in ("priority", "webhook"):
        request.pop(name, None)
    return Subject(subject_of(schedule.id), request, schedule.id, schedule.name)


def subject_of_job(definition: ScheduleDefinition) -> Subject:
    """What the runs of a job are that no schedule starts; equal requests at the same closes are one subject."""
    request = describe_runs(definition)
    text = json.dumps([request, definition.cron, definition.calendar], sort_keys=True, separators=(",", ":"))
    return Subject(f"job {hashlib.sha256(text.encode()).hexdigest()}", request)


def require_ticks(name: str, definition: ScheduleDefinition) -> Timing:
    """When a schedule ticks. Raises BadInputError if only an event starts it."""
    timing = definition.timing
    if timing is None:
        raise BadInputError(f"schedule {name!r} has no cron, so it has no ticks: name its job with --job")
    return timing


def plan_backfill(
    connection: Connection, subject: Subject, timing: Timing, period: Period, *, again: bool
) -> BackfillPlan:
    """Find the ticks of a period, and those that have a successful run already, unless they are done `again`.

    Raises BadInputError for a period that breaks a rule, has too many ticks, or none that has come.
    """
    now = database_clock(connection)
    period.require_sound(now.astimezone(timing.zone).date())
    ticks = period.list_ticks(timing, now)
    if not ticks:
        raise BadInputError(f"no tick from {period.first} to {period.last} has come")
    done = {} if again else find_done(connection, subject.key, subject.schedule_id, ticks)
    reasons = {moment: describe_done(run) for moment, run in done.items()}
    return BackfillPlan(subject, period, [(tick, reasons.get(tick.moment)) for tick in ticks])
