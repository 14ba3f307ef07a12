"""What a run loads: its range, its sessions and its moment, and the bars that these make expected. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from zlib import crc32

import numpy as np

from streamworkers.market.bars.bars import Mask, Starts
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES, Timeframe
from streamworkers.market.calendar.windows import (
    EXCHANGE_CALENDAR,
    HourAnchor,
    Hours,
    Windows,
    day_of,
    windows_between,
)

_DAYS_OF_YEAR = 365.25


@dataclass(frozen=True, slots=True)
class Span:
    """Days of New York from `first` to `last`, both included."""

    first: date
    last: date


@dataclass(frozen=True, slots=True)
class LoadRules:
    """What a run loads; the same for all of its items.

    With `span`, the bars of these days; without it, the bars after the last stored one, and of symbols without bars
    those of the last `years`. A bar is closed if its window ended `grace_seconds` before `now` (aware). The sessions
    are those of `calendar`, which is the symbol's.
    """

    now: datetime
    span: Span | None = None
    years: float = 2.0
    overlap_bars: int = 1
    grace_seconds: float = 0.0
    hours: Hours = "regular"
    hour_anchor: HourAnchor = "clock"
    include_open: bool = False
    only_gaps: bool = False
    derive: bool = True
    open_when_alone: bool = False
    check_nights: int = 0
    calendar: str = EXCHANGE_CALENDAR

    @property
    def today(self) -> date:
        """The date in New York."""
        return self.now.astimezone(EXCHANGE_ZONE).date()

    def windows(self, first: date, last: date) -> Windows:
        """Return the windows of a range of days."""
        return windows_between(first, last, self.hours, self.hour_anchor, self.calendar)

    def closed(self, windows: Windows, timeframe: Timeframe, starts: Starts) -> Mask:
        """Return a mask of the bars that are closed, or of all bars with `include_open`."""
        if self.include_open:
            return np.ones(len(starts), np.bool_)
        deadline = round((self.now.timestamp() - self.grace_seconds) * 1000)
        ended: Mask = windows.ends(timeframe, starts) <= deadline
        return ended

    def expected(self, timeframe: Timeframe, span: Span) -> Starts:
        """Return the starts of the closed bars that the sessions of these days have."""
        parts = list(self.expected_parts(timeframe, span))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def expected_parts(self, timeframe: Timeframe, span: Span) -> Iterator[Starts]:
        """Yield the same in parts, of intraday bars one for each year: twenty years of minutes are 16 MB."""
        first = span.first
        while timeframe.intraday and first.year < span.last.year:
            yield _expected(self, timeframe, Span(first, date(first.year, 12, 31)), span)
            first = date(first.year + 1, 1, 1)
        yield _expected(self, timeframe, replace(span, first=first), span)


def find_last_session(rules: LoadRules, last: date) -> date:
    """Return the newest session up to a day that has closed, the day itself if there is none within a fortnight."""
    closed = rules.expected(TIMEFRAMES["day"], Span(last - timedelta(days=14), last))
    return day_of(int(closed[-1])) if len(closed) else last


def is_checked(symbol: str, rules: LoadRules) -> bool:
    """True on the one of `check_nights` nights, Monday to Friday, on which all bars of a symbol are requested again."""
    nights = rules.check_nights
    weeks, weekday = divmod(rules.today.toordinal() - 1, 7)
    return nights > 0 and crc32(symbol.encode()) % nights == (5 * weeks + min(weekday, 4)) % nights


def first_span(rules: LoadRules) -> Span:
    """Return the days that are loaded of a symbol without stored bars, if no range is given."""
    return Span(rules.today - timedelta(days=round(rules.years * _DAYS_OF_YEAR)), rules.today)


@lru_cache(maxsize=16)
def _expected(rules: LoadRules, timeframe: Timeframe, span: Span, whole: Span) -> Starts:
    # The same for all symbols of a run. A year of minutes is a megabyte, so the cache is small.
    windows = rules.windows(whole.first, whole.last)
    starts = windows.expected(timeframe, span.first, span.last)
    starts = starts[rules.closed(windows, timeframe, starts)]
    starts.flags.writeable = False
    return starts
