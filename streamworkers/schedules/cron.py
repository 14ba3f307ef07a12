"""Cron expressions: five fields, or six with seconds first, in a time zone, by the rules of Debian's cron.

A fixed time of day (neither minute nor hour begins with `*`) fires once a day. If the clock skips it in spring, it
fires when the skipped hour would have begun; if the clock repeats it in autumn, it fires the first time only. Every
other expression follows elapsed time. Six fields follow the same rules; the seconds are counted within the minute.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from streamworkers.errors import BadInputError

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MOST_CHARACTERS = 200
# Start before a change of the clocks, so that cronsim sees local times on the correct side of it.
_LEAD = timedelta(hours=3)
_FIELDS = {
    "second": "0-59",
    "minute": "0-59",
    "hour": "0-23",
    "day of month": "1-31, L (the last day) or LW (the last weekday)",
    "month": "1-12 or JAN-DEC",
    "day of week": "0-7 or SUN-SAT (0 and 7 are Sunday), MON#1 (the first Monday) or 5L (the last Friday)",
}
_FORM = "each number alone, as a list a,b, a range a-b from low to high, or with a step /n from 1"
_EXAMPLE_DAY = datetime(2024, 1, 1, tzinfo=UTC)


class Cron:
    """A valid cron expression. Raises BadInputError naming field, value and rule."""

    def __init__(self, expression: str) -> None:
        fields = _split_fields(expression)
        _require_fields(expression, fields)
        for place, values in ((-5, 60), (-4, 24)):
            # 0-23 means every hour, so it follows elapsed time as `*` does.
            if _count_matches(fields[place], place) == values:
                fields[place] = "*"
        self._fixed = not fields[-5].startswith("*") and not fields[-4].startswith("*")
        self._seconds = _list_seconds(fields[0]) if self._fixed and len(fields) == 6 else [0]
        self._expression = " ".join(fields[-5:] if self._fixed else fields)
        try:
            next(CronSim(self._expression, _EXAMPLE_DAY))
        except (CronSimError, StopIteration):
            raise BadInputError(
                f"cron {expression!r} never fires: no year has the day {fields[-3]} in the month {fields[-2]}"
            ) from None

    def after(self, moment: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        """The times after an aware moment, in UTC, strictly increasing, without end."""
        last = moment.astimezone(UTC)
        start = last - _LEAD if self._fixed else last
        for local in CronSim(self._expression, start.astimezone(zone)):
            minute = local.astimezone(UTC)
            for second in self._seconds:
                tick = minute + timedelta(seconds=second)
                if tick > last:
                    yield tick
                    last = tick


def _split_fields(expression: str) -> list[str]:
    text = expression.strip()
    if len(text) > _MOST_CHARACTERS:
        raise BadInputError(f"cron {text[:40]!r}… is longer than {_MOST_CHARACTERS} characters")
    if text.startswith("@"):
        if text.lower() not in ALIASES:
            raise BadInputError(f"cron {expression!r} is not one of {', '.join(ALIASES)}")
        text = ALIASES[text.lower()]
    fields = text.split()
    if len(fields) not in (5, 6):
        raise BadInputError(
            f"cron {expression!r} has {len(fields)} fields, not 5 (minute, hour, day of month, month, day of week)"
            " or 6 with seconds first"
        )
    return fields


def _require_fields(expression: str, fields: list[str]) -> None:
    names = list(_FIELDS)[-len(fields) :]
    for place, (name, value) in enumerate(zip(names, fields, strict=True)):
        alone = ["*"] * len(fields)
        alone[place] = value
        try:
            CronSim(" ".join(alone), _EXAMPLE_DAY)
        except (CronSimError, ValueError, TypeError, AssertionError):
            raise BadInputError(
                f"cron {expression!r}: {name} {value!r} is not * or of {_FIELDS[name]}; {_FORM}"
            ) from None


def _count_matches(field: str, place: int) -> int:
    """The number of minutes of an hour (place -5), or of hours of a day (-4), that a field matches."""
    fields = ["0", "0", "*", "*", "*"]
    fields[place] = field
    end = _EXAMPLE_DAY + (timedelta(hours=1) if place == -5 else timedelta(days=1))
    ticks = CronSim(" ".join(fields), _EXAMPLE_DAY - timedelta(seconds=1))
    return sum(1 for _ in takewhile(lambda tick: tick < end, ticks))


def _list_seconds(field: str) -> list[int]:
    """The seconds of a minute that a seconds field matches."""
    seconds: list[int] = []
    for tick in CronSim(f"{field} 0 0 * * *", _EXAMPLE_DAY - timedelta(seconds=1)):
        if tick.date() != _EXAMPLE_DAY.date():
            return seconds
        seconds.append(tick.second)
    raise AssertionError("a cron iteration ends")
