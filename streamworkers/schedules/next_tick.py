"""The next tick of a schedule, and when it is due: saving a schedule and ticking compute it alike. No I/O."""

from datetime import datetime, timedelta
from typing import NamedTuple

from streamworkers.errors import UsageError
from streamworkers.faults import printable
from streamworkers.market.calendar.sessions import WARN_DAYS
from streamworkers.schedules.cursor import Cursor, find_undecided
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.timing import Tick, Timing, jittered

REPLAN = timedelta(days=1)  # when a calendar has no tick left: a newer one may be installed
RETRY = timedelta(minutes=1)  # when the next tick cannot be computed


class NextTick(NamedTuple):
    """The planned columns of a schedule.

    `due_at` is the tick with its jitter, or now if that is past, or when to plan again if there is no tick.
    """

    next_run_at: datetime | None
    due_at: datetime
    problem: str | None


def require_timing(definition: ScheduleDefinition) -> Timing:
    """The timing of a schedule with a cron. Raises BadInputError or UnknownNameError for an invalid one."""
    timing = definition.timing
    assert timing is not None
    return timing


def plan_next(schedule_id: int, definition: ScheduleDefinition, following: Tick | None, now: datetime) -> NextTick:
    """What to store when `following` is the next tick; None when the calendar has no tick left."""
    problem = _find_calendar_problem(definition, following, now)
    if following is None:
        return NextTick(None, now + REPLAN, problem)
    # One with more due ticks than a step decides waits behind all that are due by now.
    due_at = max(now, jittered(following.moment, schedule_id, definition.jitter_seconds))
    return NextTick(following.moment, due_at, problem)


def plan_retry(next_run_at: datetime | None, problem: str, now: datetime) -> NextTick:
    """What to store when the next tick cannot be computed."""
    return NextTick(next_run_at, now + RETRY, printable(problem))


def plan_first(
    schedule_id: int, definition: ScheduleDefinition, next_run_at: datetime | None, cursor: Cursor, now: datetime
) -> NextTick:
    """What to store for a schedule that was just saved. Its tick may be due already: the ticker decides it."""
    try:
        following = next(find_undecided(require_timing(definition), cursor, now), None)
        return plan_next(schedule_id, definition, following, now)
    except UsageError as error:
        return plan_retry(next_run_at, str(error), now)


def _find_calendar_problem(definition: ScheduleDefinition, following: Tick | None, now: datetime) -> str | None:
    """A warning that the calendar has ended or ends soon; a newer package of calendars may know more sessions."""
    days = require_timing(definition).calendar_days_left(now)
    if following is None and require_timing(definition).ends_by_itself(now):
        return None
    if following is None:
        return f"calendar {definition.calendar} ends, and no tick is left in it: install a newer exchange_calendars"
    if days is not None and days < WARN_DAYS:
        return f"calendar {definition.calendar} is known for {days} more days: install a newer exchange_calendars"
    return None
