"""Says when an alert is blind: bars that should be there by the calendar are not, or the series is not stored.

A symbol that was delisted has no more bars, so nothing is missing: the alert has ended for it.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Literal

import numpy as np

from streamworkers.database import Connection
from streamworkers.loading.listings import list_unlisted
from streamworkers.loading.providers.provider import Listing
from streamworkers.market.calendar.closes import EARLIEST, days_around
from streamworkers.market.calendar.session_table import read_windows
from streamworkers.market.calendar.symbol_calendars import CalendarRules, read_calendar_rules
from streamworkers.market.calendar.timeframes import Timeframe, timeframe_named
from streamworkers.market.calendar.windows import Windows, start_of
from streamworkers.results.bar_times import to_table_time

# So many expected bars may be missing; of days, weeks and months none may be at the close of the session after it.
MISSING_BARS = {"1min": 15, "hour": 3}
_AHEAD = {"1min": timedelta(days=14), "hour": timedelta(days=14)}
_LONG_AHEAD = timedelta(days=75)

Sight = Literal["sees", "blind", "ended"]


def find_due_bar(windows: Windows, timeframe: Timeframe, now: datetime) -> int | None:
    """The start of the newest bar that should have been stored by now: a series that ends before it is blind.

    In Unix milliseconds; None if no bar of the last weeks should have been. `windows` reach up to now.
    """
    starts = windows.expected(timeframe, (now - _LONG_AHEAD).date(), now.date() + timedelta(days=1))
    ends = windows.ends(timeframe, starts)
    if timeframe.name in MISSING_BARS:
        due = starts[ends <= start_of(now)]
        most = MISSING_BARS[timeframe.name]
        return int(due[-most]) if len(due) >= most else None
    closes = [session.closes for session in windows.sessions.sessions if session.closes <= now]
    due = starts[ends < start_of(closes[-1])] if closes else starts[:0]
    return int(due[-1]) if len(due) else None


def is_blind(windows: Windows, timeframe: Timeframe, complete_through: datetime | None, now: datetime) -> bool:
    """True if the bars after the newest complete one should have been stored by now. `windows` reach up to now."""
    return _ends_before(find_due_bar(windows, timeframe, now), timeframe, complete_through)


class BlindnessCheck:
    """Says of many series whether alerts see their bars at one moment, by the calendar of each symbol."""

    def __init__(self, connection: Connection, now: datetime, default_calendar: str) -> None:
        self.now = now
        self._connection = connection
        self._calendars = read_calendar_rules(connection, default_calendar)
        self._windows: dict[str, Windows] = {}
        self._due: dict[tuple[str, str], int | None] = {}

    def sight_of(
        self, symbol: str, timeframe: str, complete_through: datetime | None, delisted_after: date | None
    ) -> Sight:
        """`blind` if no complete bar of a series is stored, or the newest one is too old.

        `ended` if the one that should be there by now would be after the delisting of the symbol.
        """
        frame = timeframe_named(timeframe)
        due = None
        if complete_through is not None or delisted_after is not None:
            due = self._find_due(self._calendars.calendar_of(symbol), frame)
        if not _ends_before(due, frame, complete_through):
            return "sees"
        if due is None or delisted_after is None:
            return "blind"
        beyond = list_unlisted(Listing(symbol, None, delisted_after), frame)
        return "ended" if any(first <= due <= last for first, last in beyond) else "blind"

    def _find_due(self, calendar: str, timeframe: Timeframe) -> int | None:
        key = calendar, timeframe.name
        if key not in self._due:
            self._due[key] = find_due_bar(self._windows_of(calendar), timeframe, self.now)
        return self._due[key]

    def _windows_of(self, calendar: str) -> Windows:
        if calendar not in self._windows:
            self._windows[calendar] = _read_around(self._connection, calendar, self.now)
        return self._windows[calendar]


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
    return {
        symbol: windows
        for calendar, members in calendars.group(symbols).items()
        for windows in [_read_around(connection, calendar, now)]
        for symbol in members
    }


def _read_around(connection: Connection, calendar: str, now: datetime) -> Windows:
    first, last = days_around(max(now, EARLIEST))
    return read_windows(connection, calendar, first - timedelta(days=40), last + timedelta(days=40))


def _ends_before(due: int | None, timeframe: Timeframe, complete_through: datetime | None) -> bool:
    if complete_through is None:
        return True
    return due is not None and start_of(to_table_time(timeframe, complete_through)) < due
