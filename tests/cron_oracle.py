"""The ticks of cron expressions by brute force: each minute of real time is walked, and its local time is looked at.

Nothing here comes from the product. Expressions are made together with the numbers that they match, so that no parser
is needed; a zone's local times come from `datetime` minute by minute.
"""

import random
from calendar import monthrange
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
from numpy.typing import NDArray

FIRST, LAST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
EPOCH_DAY = date(1970, 1, 1).toordinal()
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
Tick = tuple[datetime, date]
IsDay = Callable[[date], bool]


@dataclass(frozen=True)
class Expression:
    """A cron expression, and what it matches."""

    text: str
    seconds: list[int]
    minutes: set[int]
    hours: set[int]
    is_day: IsDay
    is_fixed: bool


class Field(NamedTuple):
    """A field of an expression and the numbers that it matches."""

    text: str
    values: set[int]


@dataclass(frozen=True)
class Walk:
    """Each minute of some days, as minutes since 1970: real time, and the local time that clocks show then."""

    zone: ZoneInfo
    real: NDArray[np.int64]
    local: NDArray[np.int64]

    @classmethod
    def around(cls, moment: datetime, zone: ZoneInfo, days: int) -> "Walk":
        """Walk so many days before and after a moment."""
        middle = int(moment.timestamp()) // 60
        real = np.arange(middle - days * 1440, middle + days * 1440, dtype=np.int64)
        return cls(zone, real, np.fromiter((_show(minute, zone) for minute in real.tolist()), np.int64, len(real)))

    @property
    def inner(self) -> tuple[datetime, datetime]:
        """The part without two days at each end, whose local days are whole here."""
        return _moment(int(self.real[0])) + 2 * DAY, _moment(int(self.real[-1])) - 2 * DAY

    def ticks(self, expression: Expression) -> list[Tick]:
        """The ticks of an expression in the walk, those near its ends incomplete."""
        found = self._fixed(expression) if expression.is_fixed else self._elapsed(expression)
        ticks: dict[datetime, date] = {}
        for minute, day in found:
            for second in expression.seconds:
                ticks.setdefault(_moment(minute) + timedelta(seconds=second), day)
        return sorted(ticks.items())

    def _elapsed(self, expression: Expression) -> Iterator[tuple[int, date]]:
        """Every minute whose local time matches."""
        minutes = np.isin(self.local % 60, list(expression.minutes))
        hours = np.isin(self.local // 60 % 24, list(expression.hours))
        days = self.local // 1440
        wanted = [day for day in np.unique(days).tolist() if expression.is_day(_date(day))]
        for place in np.flatnonzero(minutes & hours & np.isin(days, wanted)).tolist():
            yield int(self.real[place]), _date(int(days[place]))

    def _fixed(self, expression: Expression) -> Iterator[tuple[int, date]]:
        """For each local day and time, the first minute that shows it, or else the one at which clocks jump over it."""
        first_shown: dict[int, int] = {}
        jumps = []
        previous = int(self.local[0])
        for minute, local in zip(self.real.tolist(), self.local.tolist(), strict=True):
            first_shown.setdefault(local, minute)
            if local > previous + 1:
                jumps.append((previous, local, minute))
            previous = local
        for day in sorted({local // 1440 for local in first_shown}):
            if not expression.is_day(_date(day)):
                continue
            for hour in sorted(expression.hours):
                for number in sorted(expression.minutes):
                    wanted = day * 1440 + hour * 60 + number
                    if wanted in first_shown:
                        yield first_shown[wanted], _date(day)
                    for before, after, minute in jumps:
                        if before < wanted < after:
                            yield minute, _date(day)


def find_changes(zone: ZoneInfo) -> list[datetime]:
    """The hours from 2020 to 2030 after which the offset of a zone is another one, looked at every six hours."""
    changes = []
    moment, offset = FIRST, FIRST.astimezone(zone).utcoffset()
    while moment < LAST:
        moment += 6 * HOUR
        if (following := moment.astimezone(zone).utcoffset()) != offset:
            changes.append(next(at for at in _hours_before(moment) if at.astimezone(zone).utcoffset() == following))
            offset = following
    return changes


def _hours_before(moment: datetime) -> list[datetime]:
    return [moment - number * HOUR for number in (5, 4, 3, 2, 1, 0)]


def changing_zones() -> list[str]:
    """The names of all zones whose offset changes from 2020 to 2030."""
    names = sorted(available_timezones() - {"Factory", "localtime", "posixrules"})
    return [name for name in names if find_changes(ZoneInfo(name))]


def invent(rng: random.Random, near: datetime) -> Expression:
    """An expression of any form; half of them name the hour, the day or the weekday of a local moment."""
    minute = _invent_field(rng, 0, 59, near.minute)
    hour = _invent_field(rng, 0, 23, near.hour)
    seconds = _invent_field(rng, 0, 59, 0) if rng.random() < 0.15 else Field("", {0})
    if len(minute.values) * len(hour.values) * len(seconds.values) > 8000:
        seconds = Field("30", {30})
    days, day_of_month = _invent_days_of_month(rng, near)
    weekdays, day_of_week = _invent_weekdays(rng, near)
    months = _invent_months(rng, near)
    both = days.startswith("*") or weekdays.startswith("*")

    def is_day(day: date) -> bool:
        if day.month not in months.values:
            return False
        return day_of_month(day) and day_of_week(day) if both else day_of_month(day) or day_of_week(day)

    texts = [seconds.text, minute.text, hour.text, days, months.text, weekdays]
    starts = minute.text.startswith("*") or hour.text.startswith("*")
    is_fixed = not starts and len(minute.values) < 60 and len(hour.values) < 24
    text = " ".join(text for text in texts if text)
    return Expression(text, sorted(seconds.values), minute.values, hour.values, cache(is_day), is_fixed)


def _invent_field(rng: random.Random, low: int, high: int, near: int) -> Field:
    def number() -> int:
        return min(high, max(low, near + rng.randint(-1, 1))) if rng.random() < 0.5 else rng.randint(low, high)

    first, second = sorted((number(), number()))
    size = high - low + 1
    match rng.randrange(8):
        case 0:
            return Field("*", set(range(low, high + 1)))
        case 1:
            step = rng.randint(1, size)
            return Field(f"*/{step}", set(range(low, high + 1, step)))
        case 2:
            return Field(f"{first}-{second}", set(range(first, second + 1)))
        case 3:
            step = rng.randint(1, second - first + 1)
            return Field(f"{first}-{second}/{step}", set(range(first, second + 1, step)))
        case 4:
            step = rng.randint(1, high - first + 1)
            return Field(f"{first}/{step}", set(range(first, high + 1, step)))
        case 5:
            return Field(f"{first},{second}", {first, second})
        case 6 if rng.random() < 0.2:
            return Field(f"{low}-{high}", set(range(low, high + 1)))
    return Field(str(first), {first})


def _invent_days_of_month(rng: random.Random, near: datetime) -> tuple[str, IsDay]:
    match rng.randrange(9):
        case 0 | 1 | 2 | 3:
            return "*", lambda day: True
        case 4:
            return "L", lambda day: day.day == monthrange(day.year, day.month)[1]
        case 5:
            return "LW", _is_last_workday
        case 6:
            return f"1,{near.day},L", lambda day: day.day in (1, near.day, monthrange(day.year, day.month)[1])
    field = _invent_field(rng, 1, 31, near.day)
    # A day that the chosen months may not have is for other tests.
    text, values = (field.text, field.values) if min(field.values) <= 28 else ("28", {28})
    return text, lambda day: day.day in values


def _is_last_workday(day: date) -> bool:
    last = date(day.year, day.month, monthrange(day.year, day.month)[1])
    while last.weekday() > 4:
        last -= DAY
    return day == last


def _invent_weekdays(rng: random.Random, near: datetime) -> tuple[str, IsDay]:
    weekday = near.isoweekday() % 7 if rng.random() < 0.5 else rng.randrange(7)
    number = rng.randint(1, 4)
    match rng.randrange(9):
        case 0 | 1 | 2 | 3:
            return "*", lambda day: True
        case 4:
            return f"{weekday or 7}", lambda day: day.isoweekday() % 7 == weekday
        case 5:
            text = f"{WEEKDAYS[weekday]}#{number}"
            return text, lambda day: day.isoweekday() % 7 == weekday and (day.day - 1) // 7 + 1 == number
        case 6:
            return f"{weekday}L", lambda day: day.isoweekday() % 7 == weekday and (day + 7 * DAY).month != day.month
        case 7:
            return "MON-FRI", lambda day: day.isoweekday() <= 5
    return f"{WEEKDAYS[weekday]},6-7", lambda day: day.isoweekday() % 7 in (weekday, 6, 0)


def _invent_months(rng: random.Random, near: datetime) -> Field:
    match rng.randrange(6):
        case 0:
            other = rng.randint(1, 12)
            return Field(f"{MONTHS[near.month - 1]},{other}", {near.month, other})
        case 1:
            return Field(f"{near.month}", {near.month})
    return Field("*", set(range(1, 13)))


def _show(minute: int, zone: ZoneInfo) -> int:
    """The minutes since 1970 that clocks of a zone show at a minute of real time."""
    local = datetime.fromtimestamp(minute * 60, zone)
    assert local.second == 0, f"{zone} shows {local} at a whole minute"
    return (local.toordinal() - EPOCH_DAY) * 1440 + local.hour * 60 + local.minute


def _moment(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC)


def _date(number: int) -> date:
    return date.fromordinal(EPOCH_DAY + number)
