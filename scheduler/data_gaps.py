"""Notifies of bars that are missing in series that somebody loads: one message for all gaps that are found together."""

from datetime import datetime, timedelta

import numpy as np
from psycopg_pool import ConnectionPool

from scheduler.gap_notices import make_gap_notice
from streamworkers.alerts.blindness import find_due_bar
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.loading.absence import is_absent, read_absent
from streamworkers.loading.coverage import read_stored_starts
from streamworkers.loading.gap_marks import RecentGap, list_followed, mark_gaps
from streamworkers.logger import get_logger
from streamworkers.market.bars.bars import Mask, Starts
from streamworkers.market.calendar.symbol_calendars import read_calendar_rules
from streamworkers.market.calendar.timeframes import TIMEFRAMES, Timeframe, bar_moment
from streamworkers.market.calendar.windows import HourAnchor, moment_of, windows_between
from streamworkers.schedules.store import database_clock

log = get_logger()
# Not minutes: most symbols do not trade in each of them.
_TIMEFRAMES = ("day", "hour")
_DAYS = 14  # how far back a gap is news
_TOLERATED_SHARE = {"day": 0.0, "hour": 0.05}  # symbols that trade little lack some hours, and loads tolerate it


class DataGaps:
    """A background service of schedulers.

    A gap is a bar that the calendar expects, that nobody has found to be absent, and that should have been stored by
    now, in a series with bars before it. The notice is written in the transaction that records the gaps, and one that
    is recorded is not new: so there is one notice, whatever number of schedulers looks.
    """

    name = "data-gaps"
    scope = "all"
    interval_seconds = 300.0

    def __init__(self, pool: "ConnectionPool[Connection]", default_calendar: str, hour_anchor: HourAnchor) -> None:
        self._pool = pool
        self._default_calendar = default_calendar
        self._hour_anchor = hour_anchor

    def run_once(self) -> float | None:
        """Record what began and what ended, with a notice of what began."""
        with self._pool.connection() as connection:
            self.look(connection, database_clock(connection))
        return None

    def look(self, connection: Connection, now: datetime) -> None:
        """Do the step of a moment."""
        found = {name: self._find(connection, TIMEFRAMES[name], now) for name in _TIMEFRAMES}
        with connection.transaction():
            new = {
                (name, symbol): gaps[symbol]
                for name, gaps in found.items()
                for symbol in mark_gaps(connection, name, gaps)
            }
            if new:
                ledger.add_events(connection, [make_gap_notice(new, now)])
        if new:
            log.warning("data_gaps", series=len(new), bars=sum(gap.bars for gap in new.values()))

    def _find(self, connection: Connection, timeframe: Timeframe, now: datetime) -> dict[str, RecentGap]:
        """The gaps of all followed series of a timeframe, by symbol."""
        symbols = list_followed(connection, timeframe.name, now - timedelta(days=_DAYS))
        absent = read_absent(connection, timeframe, symbols)
        found: dict[str, RecentGap] = {}
        for calendar, members in read_calendar_rules(connection, self._default_calendar).group(symbols).items():
            expected = self._list_due(timeframe, calendar, now) if members else np.empty(0, np.int64)
            stored = read_stored_starts(connection, timeframe, members, expected) if len(expected) else {}
            for symbol, starts in stored.items():
                is_wanted = ~is_absent(expected, absent.get(symbol, ()))
                gap = find_recent_gap(timeframe, expected[is_wanted], starts)
                if gap is not None:
                    found[symbol] = gap
        return found

    def _list_due(self, timeframe: Timeframe, calendar: str, now: datetime) -> Starts:
        """The starts of the bars of the last days that should have been stored by now."""
        first = (now - timedelta(days=_DAYS)).date()
        windows = windows_between(first, now.date(), "regular", self._hour_anchor, calendar)
        due = find_due_bar(windows, timeframe, now)
        starts = windows.expected(timeframe, first, now.date())
        return starts[:0] if due is None else starts[starts <= due]


def find_recent_gap(timeframe: Timeframe, expected: Starts, stored: Starts) -> RecentGap | None:
    """The gap among the expected starts of a series, from its first stored one on; None if none is missing. Pure."""
    if not len(stored):
        return None
    begun = expected[expected >= stored.min()]
    is_missing: Mask = ~np.isin(begun, stored)
    missing = begun[is_missing]
    if len(missing) <= _TOLERATED_SHARE[timeframe.name] * len(begun):
        return None
    first, last = (bar_moment(timeframe, moment_of(timeframe, int(missing[place]))) for place in (0, -1))
    return RecentGap(first, last, len(missing))
