"""Says when an alert is blind: bars that should be there by the calendar are not, or the series is not stored."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import numpy as np

from streamworkers.database import Connection
from streamworkers.market.calendar.closes import EARLIEST, days_around
from streamworkers.market.calendar.session_table import read_windows
from streamworkers.market.calendar.symbol_calendars import CalendarRules
from streamworkers.market.calendar.timeframes import Timeframe
from streamworkers.market.calendar.windows import Windows, start_of
from streamworkers.results.bar_times import to_table_time

# So many expected bars may be missing; of days, weeks and months none may be at the close of the session after it.
MISSING_BARS = {"1min": 15, "hour": 3}
_AHEAD = {"1min": timedelta(days=14), "hour": timedelta(days=14)}
_LONG_AHEAD = timedelta(days=75)


def is_blind(windows: Windows, timeframe: Timeframe, complete_through: datetime | None, now: datetime) -> bool:
    """True if the bars after the newest complete one should have been stored by now. `windows` reach up to now."""
    if complete_through is None:
        return True
    first = max(complete_through, now - _LONG_AHEAD).date() - timedelta(days=1)
    starts = windows.expected(timeframe, first, now.date() + timedelta(days=1))
    missing = starts[starts > start_of(to_table_time(timeframe, complete_through))]
    ends = windows.ends(timeframe, missing)
    closed = ends[ends <= start_of(now)]
    if timeframe.name in MISSING_BARS:
        return len(closed) >= MISSING_BARS[timeframe.name]
    if not len(closed):
        return False
    later = [session.closes for session in windows.sessions.sessions if start_of(session.closes) > closed[0]]
    return bool(later) and later[0] <= now


def find_next_close(windows: Windows, timeframe: Timeframe, now: datetime) -> datetime | None:
    """When the next bar closes, by the calendar; None beyond the sessions that `windows` know."""
    first = now.date() - timedelta(days=32)
    starts = windows.expected(timeframe, first, (now + _AHEAD.get(timeframe.name, _LONG_AHEAD)).date())
    ends = windows.ends(timeframe, starts)
    after = ends[ends > start_of(now)]
    return datetime.fromtimestamp(int(np.min(after)) / 1000, now.tzinfo) if len(after) else None


def read_windows_around(
    connection: Connection, calendars: CalendarRules, symbols: Iterable[str], now: datetime
) -> Mapping[str, Windows]:
    """The windows of each symbol's calendar from before the oldest bar that matters to after the next close."""
    first, last = days_around(max(now, EARLIEST))
    return {
        symbol: windows
        for calendar, members in calendars.group(symbols).items()
        for windows in [read_windows(connection, calendar, first - timedelta(days=40), last + timedelta(days=40))]
        for symbol in members
    }
