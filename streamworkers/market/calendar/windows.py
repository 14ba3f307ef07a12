"""The windows of bars in each timeframe, by the sessions of a calendar, and when they end.

All moments are Unix milliseconds and all dates days since 1970-01-01, as in `Bars.starts`. Days are the sessions' own,
whatever the machine's zone.

- 1min: the minutes of the regular session; with `extended` hours also those before and after it.
- hour: clock hours (the first of a regular session is 09:00 and begins with 09:30), or hours from the opening.
- day: the sessions. week: its Monday, even if that is a holiday. month: its first day.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np

from streamworkers.market.bars.bars import Mask, Starts
from streamworkers.market.calendar.sessions import Sessions, sessions_between
from streamworkers.market.calendar.timeframes import TIMEFRAMES, Timeframe, bar_moment

EXCHANGE_CALENDAR = "XNYS"
Hours = Literal["regular", "extended"]
HourAnchor = Literal["clock", "open"]

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
_MARGIN = timedelta(days=40)  # windows that a range only touches are complete
_THURSDAY = 3  # the weekday of 1970-01-01
_EPOCH = date(1970, 1, 1)
# The timeframe that bars of a wider one are made of.
NARROWER = {"hour": "1min", "week": "day", "month": "day"}


@dataclass(frozen=True)
class Windows:
    """The windows of a range of days, for one choice of hours."""

    sessions: Sessions
    hours: Hours = "regular"
    hour_anchor: HourAnchor = "clock"

    @cached_property
    def _days(self) -> Starts:
        return np.array([days_since_epoch(day) for day in self.sessions.days], np.int64)

    @cached_property
    def _opens(self) -> Starts:
        return np.array([start_of(session.opens) for session in self.sessions.sessions], np.int64)

    @cached_property
    def _closes(self) -> Starts:
        return np.array([start_of(session.closes) for session in self.sessions.sessions], np.int64)

    def belongs(self, timeframe: Timeframe, starts: Starts) -> Mask:
        """Return a mask of the 1-minute or day bars inside the sessions; true for other timeframes."""
        if timeframe.name == "day":
            return np.isin(starts, self._days)
        if timeframe.name != "1min" or self.hours == "extended" or not len(self._opens):
            return np.ones(len(starts), np.bool_)
        session = np.searchsorted(self._opens, starts, side="right") - 1
        return (session >= 0) & (starts < self._closes[np.maximum(session, 0)])

    def window_of(self, timeframe: Timeframe, starts: Starts) -> Starts:
        """Return the start of the bar of this timeframe that contains each narrower bar."""
        match timeframe.name:
            case "hour" if self.hour_anchor == "open" and len(self._opens):
                # The opening of the day: the last one before the minute, or, for pre-market minutes, that of the day.
                session = np.searchsorted(self._opens - 12 * HOUR_MS, starts, side="right") - 1
                anchor = self._opens[np.maximum(session, 0)]
                return anchor + (starts - anchor) // HOUR_MS * HOUR_MS
            case "hour":
                # The offset of New York from UTC is whole hours.
                return starts - starts % HOUR_MS
            case "week":
                return starts - (starts + _THURSDAY) % 7
            case "month":
                months = starts.astype("datetime64[D]").astype("datetime64[M]")
                return months.astype("datetime64[D]").astype(np.int64)
        return starts

    def ends(self, timeframe: Timeframe, starts: Starts) -> Starts:
        """Return when each bar's window ends, in Unix milliseconds: a day at its session's close.

        A week or month ends at the close of its last session.
        """
        if timeframe.name == "1min":
            return starts + MINUTE_MS
        if timeframe.name == "hour":
            ends = starts + HOUR_MS
            if self.hours == "extended" or not len(self._opens):
                return ends
            session = np.maximum(np.searchsorted(self._opens, ends, side="left") - 1, 0)
            return np.where(starts < self._closes[session], np.minimum(ends, self._closes[session]), ends)
        after = starts + {"day": 1, "week": 7}.get(timeframe.name, 0)
        if timeframe.name == "month":
            months = starts.astype("datetime64[D]").astype("datetime64[M]") + np.timedelta64(1, "M")
            after = months.astype("datetime64[D]").astype(np.int64)
        last = np.searchsorted(self._days, after, side="left") - 1
        midnight = after * 24 * HOUR_MS
        if not len(self._days):
            return midnight
        known = (last >= 0) & (self._days[np.maximum(last, 0)] >= starts)
        return np.where(known, self._closes[np.maximum(last, 0)], midnight)

    def expected(self, timeframe: Timeframe, first: date, last: date) -> Starts:
        """Return the starts of the bars in the regular sessions from `first` to `last`, as whole windows."""
        first, last = whole_windows(timeframe, first, last)
        inside = (self._days >= days_since_epoch(first)) & (self._days <= days_since_epoch(last))
        if not timeframe.intraday:
            return np.unique(self.window_of(timeframe, self._days[inside]))
        minutes = [
            np.arange(opens, closes, MINUTE_MS)
            for opens, closes in zip(self._opens[inside].tolist(), self._closes[inside].tolist(), strict=True)
        ]
        if not minutes:
            return np.zeros(0, np.int64)
        starts = np.concatenate(minutes)
        return starts if timeframe.name == "1min" else np.unique(self.window_of(timeframe, starts))


@lru_cache(maxsize=64)
def _windows(first: date, last: date, hours: Hours, hour_anchor: HourAnchor, calendar: str) -> Windows:
    return Windows(sessions_between(calendar, first, last), hours, hour_anchor)


def forget_windows() -> None:
    """Make the next windows of the sessions as they are then known."""
    _windows.cache_clear()


def windows_between(
    first: date,
    last: date,
    hours: Hours = "regular",
    hour_anchor: HourAnchor = "clock",
    calendar: str = EXCHANGE_CALENDAR,
) -> Windows:
    """Return the windows of a calendar that touch the days from `first` to `last`."""
    # Whole years, so that few calendars and columns of sessions are built.
    begin, end = (first - _MARGIN).replace(month=1, day=1), (last + _MARGIN).replace(month=12, day=31)
    return _windows(begin, end, hours, hour_anchor, calendar)


def whole_windows(timeframe: Timeframe, first: date, last: date) -> tuple[date, date]:
    """Return the range, widened to whole weeks or months for these timeframes."""
    if timeframe.name == "week":
        return first - timedelta(days=first.weekday()), last + timedelta(days=6 - last.weekday())
    if timeframe.name == "month":
        next_month = (last.replace(day=1) + timedelta(days=31)).replace(day=1)
        return first.replace(day=1), next_month - timedelta(days=1)
    return first, last


def narrower(timeframe: Timeframe) -> Timeframe | None:
    """Return the timeframe that bars of this one can be made of, None for 1min and day."""
    name = NARROWER.get(timeframe.name)
    return TIMEFRAMES[name] if name else None


def days_since_epoch(day: date) -> int:
    """Return a date as `Bars.starts` has it."""
    return (day - _EPOCH).days


def day_of(days: int) -> date:
    """Return the date of a start in `Bars.starts`."""
    return _EPOCH + timedelta(days=days)


def moment_of(timeframe: Timeframe, start: int) -> date | datetime:
    """Return a start as the timeframe's table has it."""
    return datetime.fromtimestamp(start / 1000, UTC) if timeframe.intraday else day_of(start)


def start_of(moment: date | datetime) -> int:
    """Return the start of a moment or date; the inverse of `moment_of`."""
    return round(moment.timestamp() * 1000) if isinstance(moment, datetime) else days_since_epoch(moment)


def bounds_of(timeframe: Timeframe, first: date, last: date) -> tuple[int, int]:
    """Return the range of starts, [begin, end), of bars from `first` to `last`, dates of New York, both included."""
    days = first, last + timedelta(days=1)
    begin, end = (start_of(bar_moment(timeframe, day) if timeframe.intraday else day) for day in days)
    return begin, end


def bound_of(timeframe: Timeframe, moment: date | datetime, days: int) -> date | datetime:
    """Return a date, `days` later for intraday bars, as the timeframe's table has times; a datetime as it is."""
    if isinstance(moment, datetime):
        return moment
    return bar_moment(timeframe, moment + timedelta(days=days)) if timeframe.intraday else moment
