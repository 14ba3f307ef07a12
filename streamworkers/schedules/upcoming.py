"""The next ticks of several schedules together, in the order of time. No I/O."""

import heapq
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice, takewhile
from typing import NamedTuple

from streamworkers.errors import BadInputError
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.timing import Tick


class UpcomingTick(NamedTuple):
    """A tick and the schedule that it is of."""

    definition: ScheduleDefinition
    tick: Tick


def list_upcoming(
    definitions: Iterable[ScheduleDefinition], start: datetime, until: datetime | None, count: int
) -> list[UpcomingTick]:
    """The first `count` ticks at and after `start`, and before `until`, of all schedules that have a cron.

    Raises BadInputError for an invalid cron, zone or calendar, and for ticks outside of the years 1 to 9999.
    """
    merged = heapq.merge(
        *(_ticks_of(each, start) for each in definitions),
        key=lambda each: (each.tick.moment, each.definition.name),
    )
    try:
        return list(islice(takewhile(lambda each: until is None or each.tick.moment < until, merged), count))
    except (OverflowError, ValueError):
        raise BadInputError(f"the ticks from {start.isoformat()} on leave the years 1 to 9999") from None


def _ticks_of(definition: ScheduleDefinition, start: datetime) -> Iterator[UpcomingTick]:
    timing = definition.timing
    return (UpcomingTick(definition, tick) for tick in (timing.from_moment(start) if timing is not None else ()))
