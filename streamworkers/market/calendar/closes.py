"""The one rule that says which bars a moment may see: those whose windows have ended, by the sessions of a calendar.

A day ends at the close of its session, a week or month at that of its last session, an hour at its end or at the close
that comes first, a minute after a minute. A bar on a day without a session ends with that day in UTC.
"""

from bisect import bisect_left, bisect_right
from datetime import UTC, date, datetime, timedelta

import numpy as np

from streamworkers.errors import BadInputError
from streamworkers.market.calendar.timeframes import Timeframe
from streamworkers.market.calendar.windows import Windows, day_of, days_since_epoch, start_of

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_TICK = timedelta(microseconds=1)  # the finest moment that PostgreSQL stores
# The days that decide about a moment: the month in which it lies and the one before, with their last sessions.
_BEFORE, _AFTER = timedelta(days=70), timedelta(days=40)


def days_around(moment: datetime) -> tuple[date, date]:
    """Return the range of days whose sessions decide which bars are closed at an aware moment."""
    day = moment.astimezone(UTC).date()
    return day - _BEFORE, min(day, date.max - _AFTER) + _AFTER


def require_covered(moment: datetime) -> None:
    """Raise BadInputError for a moment before 1900, of which no calendar knows anything."""
    if moment < EARLIEST:
        raise BadInputError(f"as-of {moment.isoformat()} is before {EARLIEST.year}: no calendar reaches so far back")


def find_close(windows: Windows, timeframe: Timeframe, start: date | datetime) -> datetime:
    """Return the moment, in UTC, at which the window of the bar with this start ends."""
    ends = windows.ends(timeframe, np.array([start_of(start)], np.int64))
    return datetime.fromtimestamp(int(ends[0]) / 1000, UTC)


def find_newest_closed(windows: Windows, timeframe: Timeframe, moment: datetime) -> date | datetime:
    """Return the start of the newest bar whose window has ended at an aware moment; of intraday bars a bound of it.

    No bar with a later start is closed. `windows` covers `days_around` the moment.
    """
    closes = [session.closes for session in windows.sessions.sessions]
    closed = bisect_right(closes, moment)
    if timeframe.name == "1min":
        return moment - _MINUTE
    if timeframe.name == "hour":
        whole = moment - _HOUR
        if windows.hours == "extended" or not closed:
            return whole
        return max(whole, closes[closed - 1] - _TICK)
    days = windows.sessions.days
    if not closed:
        return _find_without_sessions(windows, timeframe, moment)
    label = _label_of(windows, timeframe, days[closed - 1])
    if find_close(windows, timeframe, label) > moment:
        earlier = bisect_left(days, label)
        if not earlier:
            return _find_without_sessions(windows, timeframe, moment)
        label = _label_of(windows, timeframe, days[earlier - 1])
    return label


def find_session_end(windows: Windows, day: date) -> datetime:
    """Return the close of the newest session on or before a day, or the end of the day in UTC if none is known."""
    place = bisect_right(windows.sessions.days, day)
    if place:
        return windows.sessions.sessions[place - 1].closes
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + _DAY


def _label_of(windows: Windows, timeframe: Timeframe, day: date) -> date:
    return day_of(int(windows.window_of(timeframe, np.array([days_since_epoch(day)], np.int64))[0]))


def _find_without_sessions(windows: Windows, timeframe: Timeframe, moment: datetime) -> date:
    """The newest closed bar where no session is known: each day ends at its midnight in UTC."""
    label = _label_of(windows, timeframe, moment.astimezone(UTC).date())
    while find_close(windows, timeframe, label) > moment:
        label = _label_of(windows, timeframe, label - _DAY)
    return label
