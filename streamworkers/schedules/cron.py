"""Cron expressions: five fields, or six with seconds first, in a time zone, by the rules of Debian's cron.

A fixed time of day (neither minute nor hour begins with `*`) ticks once on each local day that matches: the first time
if the clocks repeat it, and if they skip it, at the change. Every other expression follows elapsed time: it ticks at
each instant whose local time matches. So the ticks are a set, and the next one does not depend on where one starts.
Six fields follow the same rules; the seconds of a fixed time are counted within its minute.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from heapq import heappop, heappush
from zoneinfo import ZoneInfo

from streamworkers.errors import BadInputError
from streamworkers.market.calendar.sessions import Sessions
from streamworkers.schedules.cron_days import first_matching_day
from streamworkers.schedules.cron_fields import parse_cron
from streamworkers.schedules.local_time import DAY, first_instant, first_second_after, midnight, span_at

DayTick = tuple[datetime, date]
_FirstDay = Callable[[date], date | None]
# A leap day may be on one day of the week 40 years after the last.
_LONGEST_WAIT = timedelta(days=50 * 366)
_LAST_SECOND = timedelta(seconds=59)


class Cron:
    """A valid cron expression. Raises BadInputError naming field, value and rule."""

    def __init__(self, expression: str) -> None:
        fields = parse_cron(expression)
        self._expression = expression
        self._days, self._is_fixed = fields.days, fields.is_fixed
        self._hours, self._minutes, self._seconds = fields.hours, fields.minutes, fields.seconds

    @property
    def is_fixed(self) -> bool:
        """Whether it is a fixed time of day, and does not follow elapsed time."""
        return self._is_fixed

    def after(self, moment: datetime, zone: ZoneInfo, sessions: Sessions | None = None) -> Iterator[DayTick]:
        """The ticks after an aware moment, in UTC and in order, each with its local day; they end only with sessions.

        With sessions, other days have no ticks. Raises BadInputError where the clocks of the zone skip it each time.
        """
        start = first_second_after(moment)
        first_day = partial(first_matching_day, self._days, sessions)
        return self._fixed(start, zone, first_day) if self._is_fixed else self._elapsed(start, zone, first_day)

    def _fixed(self, start: datetime, zone: ZoneInfo, first_day: _FirstDay) -> Iterator[DayTick]:
        """The ticks of a fixed time of day from an instant on."""
        # Two days' ticks may fall into one minute, where the clocks skip the last hour of a day.
        pending: list[DayTick] = []
        last = start - timedelta(seconds=1)
        # A time that was skipped ticks on the day after, if the hour before midnight is missing.
        day = first_day(start.astimezone(zone).date() - DAY)
        while day is not None:
            for minute in self._list_minutes(day, start - _LAST_SECOND, zone):
                while pending and pending[0][0] < minute:
                    if (tick := heappop(pending))[0] > last:
                        yield tick
                        last = tick[0]
                for second in self._seconds:
                    heappush(pending, (minute + timedelta(seconds=second), day))
            day = first_day(day + DAY)
        while pending:
            if (tick := heappop(pending))[0] > last:
                yield tick
                last = tick[0]

    def _list_minutes(self, day: date, start: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        """The minutes of a day's ticks from an instant on, in order; equal ones where the clocks skip several."""
        begins = midnight(day)
        if first_instant(begins, zone) == first_instant(begins + DAY, zone):
            return  # a zone that moves across the date line skips a whole day

        def instant(minutes: int) -> datetime:
            return first_instant(begins + timedelta(minutes=minutes), zone)

        minutes = [60 * hour + minute for hour in self._hours for minute in self._minutes]
        for place in range(bisect_left(minutes, start, key=instant), len(minutes)):
            yield instant(minutes[place])

    def _elapsed(self, start: datetime, zone: ZoneInfo, first_day: _FirstDay) -> Iterator[DayTick]:
        """The ticks of an expression that follows elapsed time, from an instant on."""
        give_up = start + _LONGEST_WAIT
        # The clocks may go back to the day before.
        while (day := first_day(start.astimezone(zone).date() - DAY)) is not None:
            # Nothing ticks until that day begins: a rare one needs no look at every change of the clocks before it.
            start = max(start, first_instant(midnight(day), zone))
            ends, offset = span_at(start, zone)
            begins = (start + offset).replace(tzinfo=None)
            for local, tick_day in self._within(begins, (ends + offset).replace(tzinfo=None), first_day):
                yield (local - offset).replace(tzinfo=UTC), tick_day
                give_up = ends + _LONGEST_WAIT
            start = ends
            if start > give_up:
                raise BadInputError(f"cron {self._expression!r} never fires in {zone.key}: its clocks skip that time")

    def _within(self, begins: datetime, ends: datetime, first_day: _FirstDay) -> Iterator[DayTick]:
        """The local times that match from `begins` on and before `ends`, while the clocks do not change."""
        day = first_day(begins.date())
        while day is not None and midnight(day) < ends:
            first = max(0, int((begins - midnight(day)).total_seconds()))
            for second in self._list_seconds(first):
                local = midnight(day) + timedelta(seconds=second)
                if local >= ends:
                    return
                yield local, day
            day = first_day(day + DAY)

    def _list_seconds(self, first: int) -> Iterator[int]:
        """The seconds of a day that match, from `first` on."""
        for hour in self._hours:
            if (hour + 1) * 3600 <= first:
                continue
            for minute in self._minutes:
                begins = 3600 * hour + 60 * minute
                if begins + 60 > first:
                    yield from (begins + second for second in self._seconds if begins + second >= first)
