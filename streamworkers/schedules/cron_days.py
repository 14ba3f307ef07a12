"""The days that a cron expression matches: its day of month, month and day of week."""

from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from streamworkers.market.calendar.sessions import Sessions

LAST = -1  # of a month: the last one of a weekday


@dataclass(frozen=True, slots=True)
class DayRule:
    """The days that match. Sunday is 0.

    `both` says that day of month and day of week must both match, as they must if one begins with `*`.
    """

    months: frozenset[int]
    days_of_month: frozenset[int]
    last_day: bool
    last_weekday: bool
    weekdays: frozenset[int]
    nth_weekdays: frozenset[tuple[int, int]]
    both: bool

    def first_from(self, day: date) -> date:
        """The first day at or after `day` that matches. There must be one: `is_possible`."""
        year, month, first = day.year, day.month, day.day
        while True:
            if month in self.months:
                for number in _list_days(self, *monthrange(year, month)):
                    if number >= first:
                        return date(year, month, number)
            year, month, first = (year, month + 1, 1) if month < 12 else (year + 1, 1, 1)

    def is_possible(self) -> bool:
        """True if some year has a day that matches."""
        # Each month begins on each day of the week in some year, February also in a leap year.
        lengths = {
            length for month in self.months for length in ({28, 29} if month == 2 else {monthrange(1, month)[1]})
        }
        return any(_list_days(self, first, length) for length in lengths for first in range(7))

    def matches(self, number: int, first_weekday: int, length: int) -> bool:
        """True if the day of that number matches in a month of so many days; its first is a Monday if 0."""
        weekday = (first_weekday + number) % 7
        is_workday = 1 <= weekday <= 5
        last_workday = self.last_weekday and is_workday and number + (3 if weekday == 5 else 1) > length
        by_month = number in self.days_of_month or (self.last_day and number == length) or last_workday
        by_week = (
            weekday in self.weekdays
            or (weekday, (number + 6) // 7) in self.nth_weekdays
            or ((weekday, LAST) in self.nth_weekdays and number + 7 > length)
        )
        return by_month and by_week if self.both else by_month or by_week


def first_matching_day(rule: DayRule, sessions: Sessions | None, day: date) -> date | None:
    """The first day at or after `day` that matches and, with sessions, is one; None when they end before it."""
    while True:
        found = rule.first_from(day)
        if sessions is None or found in sessions:
            return found
        following = sessions.next_day(found)
        if following is None:
            return None
        day = following


@lru_cache(maxsize=8192)
def _list_days(rule: DayRule, first_weekday: int, length: int) -> tuple[int, ...]:
    return tuple(number for number in range(1, length + 1) if rule.matches(number, first_weekday, length))
