"""Fixes the as-of of a run: a moment, and the newest bar that each calendar's symbols may be computed at."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from typing import TypeVar

import psycopg

from streamworkers.market.bars.read import read_last_times
from streamworkers.market.calendar.closes import (
    EARLIEST,
    days_around,
    find_close,
    find_newest_closed,
    find_session_end,
    require_covered,
)
from streamworkers.market.calendar.moments import parse_moment
from streamworkers.market.calendar.session_table import read_windows
from streamworkers.market.calendar.symbol_calendars import CalendarRules, read_calendar_rules
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, Timeframe
from streamworkers.market.calendar.windows import Windows

T = TypeVar("T", date, datetime)
# Newest bars that are no further apart are of symbols that are kept up to date together: five bars, or a week of days.
_TOGETHER = {
    "1min": timedelta(minutes=5),
    "hour": timedelta(hours=5),
    "day": timedelta(days=7),
    "week": timedelta(weeks=5),
    "month": timedelta(days=155),
}


@dataclass(frozen=True, slots=True)
class FixedAsOf:
    """The as-of of a run: the moment at which the newest of its bars was closed, and these bars by calendar."""

    moment: datetime
    newest: dict[str, date | datetime]


@dataclass(frozen=True, slots=True)
class AsOfRule:
    """Says which bars of a timeframe a moment may see, each symbol by its own calendar.

    With `has_extended_hours` hourly bars may reach beyond the close of a session.
    """

    timeframe: Timeframe
    calendars: CalendarRules
    has_extended_hours: bool = False

    def find_close_of(self, connection: psycopg.Connection, symbol: str, start: date | datetime) -> datetime:
        """Return the moment, in UTC, at which the bar of a symbol with this start is closed."""
        return find_close(self._windows(connection, self.calendars.calendar_of(symbol), start), self.timeframe, start)

    def fix(
        self, connection: psycopg.Connection, symbols: Sequence[str], moment: datetime, *, exactly: bool
    ) -> FixedAsOf:
        """Return the as-of at an aware moment of a run over these symbols.

        Of each calendar's symbols it is the newest closed bar that most of them have. `exactly` takes the calendar's
        newest closed day, week or month, whether they have it or not; exchanges do not say which minutes were traded,
        so intraday bars are always those that most have. Raises BadInputError for a moment before 1900.
        """
        require_covered(moment)
        newest: dict[str, date | datetime] = {}
        closes: list[datetime] = []
        for calendar, members in self.calendars.group(symbols).items():
            windows = self._windows(connection, calendar, moment)
            bound = chosen = find_newest_closed(windows, self.timeframe, moment)
            if self.timeframe.intraday or not exactly:
                chosen = self._find_common(connection, calendar, members, bound)
            newest[calendar] = chosen
            if chosen != bound:
                windows = self._windows(connection, calendar, chosen)
            closes.append(find_close(windows, self.timeframe, chosen))
        # Without any bars a bound of the newest one stands for it, and its end means nothing.
        return FixedAsOf(min(max(closes), moment), newest)

    def _find_common(
        self, connection: psycopg.Connection, calendar: str, symbols: Sequence[str], bound: date | datetime
    ) -> date | datetime:
        times = read_last_times(connection, symbols, self.timeframe, bound).values()
        common = find_common_newest(times, _TOGETHER[self.timeframe.name])
        if common is None:
            return bound
        if common == bound or self.timeframe.name != "day":
            return common
        days = self._windows(connection, calendar, common).sessions.days
        place = bisect_right(days, common)
        return days[place - 1] if place else common

    def _windows(self, connection: psycopg.Connection, calendar: str, about: date | datetime) -> Windows:
        moment = about if isinstance(about, datetime) else datetime(about.year, about.month, about.day, tzinfo=UTC)
        windows = read_windows(connection, calendar, *days_around(max(moment, EARLIEST)))
        return replace(windows, hours="extended") if self.has_extended_hours else windows


def find_end_of_day(
    connection: psycopg.Connection, calendars: CalendarRules, symbols: Sequence[str], day: date
) -> datetime:
    """Return the moment, in New York, that a bare date stands for: the end of the newest session up to that day.

    If the symbols have several calendars it is the last of their sessions' ends. Raises BadInputError for a
    day before 1900.
    """
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    require_covered(noon)
    ends = [
        find_session_end(read_windows(connection, calendar, *days_around(noon)), day)
        for calendar in calendars.group(symbols)
    ]
    return max(ends).astimezone(EXCHANGE_ZONE)


def parse_as_of(connection: psycopg.Connection, default_calendar: str, symbols: Sequence[str], text: str) -> datetime:
    """Return the moment that a text names; a bare date is the end of the newest session up to it of these symbols."""
    moment = parse_moment(text)
    if len(text) != len("YYYY-MM-DD"):
        return moment
    return find_end_of_day(
        connection, read_calendar_rules(connection, default_calendar), symbols, date.fromisoformat(text)
    )


def find_common_newest(times: Collection[T], together: timedelta) -> T | None:
    """Return the newest of these bars that most symbols have, given the newest bar of each; None without any.

    Symbols whose newest bars lie within `together` of each other form a group. The bar is the newest that more than
    half of as many as the largest group have: neither one symbol that is ahead nor many that have long left the
    exchange decide.
    """
    counts: list[tuple[T, int]] = sorted(Counter(times).items())
    if not counts:
        return None
    stamps, sums = [stamp for stamp, _ in counts], [0, *accumulate(count for _, count in counts)]
    sizes = [sums[bisect_right(stamps, stamp + together)] - sums[place] for place, stamp in enumerate(stamps)]
    return next(stamp for stamp, size in reversed(list(zip(stamps, sizes, strict=True))) if 2 * size > max(sizes))
