"""By when a tick's run is to be done: a time of day in the schedule's zone. Pure."""

import re
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

_DONE_BY = re.compile(r"([01]?[0-9]|2[0-3]):[0-5][0-9]")
_MINUTES_OF_A_DAY = 1440


def parse_done_by(value: object) -> str:
    """Return a time of day as `HH:MM`. Raises ValueError naming the rule.

    YAML reads 19:00 without quotes as the number of minutes.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MINUTES_OF_A_DAY:
        return f"{value // 60:02}:{value % 60:02}"
    if isinstance(value, str) and _DONE_BY.fullmatch(value):
        return value.zfill(5)
    raise ValueError("it is not a time of day from 00:00 to 23:59, such as 19:00")


def find_deadline(tick: datetime, done_by: str, zone: ZoneInfo) -> datetime:
    """The first moment after a tick at which clocks in the zone show `done_by`, such as 19:00, in UTC.

    A time that the clocks skip is as long after the skip; of one that they show twice it is the first.
    """
    clock = time.fromisoformat(done_by)
    day = tick.astimezone(zone).date()
    while (found := datetime.combine(day, clock, tzinfo=zone).astimezone(UTC)) <= tick:
        day += timedelta(days=1)
    return found
