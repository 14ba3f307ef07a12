"""The sessions of exchanges, with their openings and closes, from a table or from the package `exchange_calendars`.

The package computes sessions from rules, which do not cover the whole future: this module reads two years ahead, and
some calendars end earlier. The scheduler reports how many days are left.
"""

import threading
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

from streamworkers.errors import BadInputError, UnknownNameError

YEARS_AHEAD = 2
WARN_DAYS = 60
_MOST_CALENDARS, _MOST_COMPUTED = 64, 8
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class ExchangeSession:
    """A day on which an exchange trades; opening and close are in UTC."""

    day: date
    opens: datetime
    closes: datetime


@dataclass(frozen=True, slots=True)
class Sessions:
    """Consecutive sessions of an exchange; `ends_on` is the last day that the calendar covers."""

    calendar: str
    days: tuple[date, ...]
    sessions: tuple[ExchangeSession, ...]
    ends_on: date

    def __contains__(self, day: date) -> bool:
        place = bisect_left(self.days, day)
        return place < len(self.days) and self.days[place] == day

    def from_day(self, day: date) -> Iterator[ExchangeSession]:
        """Return the sessions on and after a day."""
        return iter(self.sessions[bisect_left(self.days, day) :])

    def next_day(self, day: date) -> date | None:
        """Return the first session after a day, None if the calendar ends before it."""
        session = next(self.from_day(day + timedelta(days=1)), None)
        return None if session is None else session.day

    def between(self, first: date, last: date) -> "Sessions":
        """Return those of a part of the days, from `first` to `last`."""
        begin, end = bisect_left(self.days, first), bisect_right(self.days, last)
        return Sessions(self.calendar, self.days[begin:end], self.sessions[begin:end], last)


@dataclass(frozen=True, slots=True)
class _Kept:
    """Sessions read from the table: all of the days from `begins_on` to `sessions.ends_on`."""

    begins_on: date
    sessions: Sessions


_kept: dict[str, _Kept] = {}


def require_calendar(name: str) -> str:
    """Return the name unchanged. Raises UnknownNameError if the package has no such calendar."""
    from exchange_calendars import get_calendar_names

    names: list[str] = get_calendar_names()
    if name not in names:
        raise UnknownNameError("calendar", name, names)
    return name


def sessions_around(name: str, moment: datetime) -> Sessions:
    """Return the sessions from the year before a moment to `YEARS_AHEAD` years after it, or the calendar's end."""
    return _sessions_of_years(name, moment.astimezone(UTC).year)


def sessions_between(name: str, first: date, last: date) -> Sessions:
    """Return the sessions of a calendar from `first` to `last`, both included, or to the calendar's end.

    Answers from the sessions that this process has read from the table, else from the package. Raises UnknownNameError
    if the package has no such calendar.
    """
    kept = _kept.get(name)
    if kept is not None and kept.begins_on <= first and last <= kept.sessions.ends_on:
        return kept.sessions.between(first, last)
    return compute_sessions(name, first, last)


def keep_sessions(name: str, first: date | None, last: date | None, sessions: Sequence[ExchangeSession]) -> None:
    """Keep the sessions of a range of days in this process for `sessions_between`; without a range, drop them."""
    _sessions_of_years.cache_clear()
    if first is None or last is None:
        _kept.pop(name, None)
        return
    days = tuple(session.day for session in sessions)
    _kept[name] = _Kept(first, Sessions(name, days, tuple(sessions), last))


def compute_sessions(name: str, first: date, last: date) -> Sessions:
    """Return the sessions of a calendar from `first` to `last` by the package, or to the calendar's end.

    Raises UnknownNameError if the package has no such calendar.
    """
    require_calendar(name)
    # Ten years take the package hardly longer than one: decades are computed, unless the calendar's rules end before.
    decades = date(max(1, first.year // 10 * 10), 1, 1), date(last.year // 10 * 10 + 9, 12, 31)
    computed = _compute(name, *decades) or _compute(name, first, last) or _compute_whole(name, datetime.now(UTC).date())
    return computed.between(first, min(last, computed.ends_on))


@lru_cache(maxsize=_MOST_COMPUTED)
def _compute(name: str, first: date, last: date) -> Sessions | None:
    """Return the sessions of a range, None if the calendar's rules do not cover it."""
    with _package() as get_calendar:
        try:
            calendar = get_calendar(name, start=first.isoformat(), end=last.isoformat())
        except Exception:  # noqa: BLE001  # rules may not reach so far back or ahead, and the exception differs by calendar
            return None
        return _read(calendar, name, last)


@lru_cache(maxsize=_MOST_COMPUTED)
def _compute_whole(name: str, today: date) -> Sessions:
    """Return the package's own range, which ends a year after today or with the calendar's rules."""
    del today
    with _package() as get_calendar:
        try:
            calendar = get_calendar(name)
        except Exception as error:  # the package raises exceptions of many types
            raise BadInputError(f"calendar {name!r} cannot be built: {' '.join(str(error).split())[:200]}") from error
        return _read(calendar, name, calendar.last_session.date())


@contextmanager
def _package() -> Iterator[Callable[..., Any]]:
    """Lend `get_calendar`: the package shares calendars between threads, and warning filters are global."""
    with _one_at_a_time, warnings.catch_warnings():
        # The package uses functions that pandas 3.1 deprecates.
        warnings.simplefilter("ignore", DeprecationWarning)
        from exchange_calendars import get_calendar

        yield get_calendar


def _read(calendar: Any, name: str, ends_on: date) -> Sessions:
    table = calendar.schedule
    sessions = tuple(
        ExchangeSession(day.date(), opens.to_pydatetime().astimezone(UTC), closes.to_pydatetime().astimezone(UTC))
        for day, opens, closes in zip(table.index, table["open"], table["close"], strict=True)
    )
    return Sessions(name, tuple(session.day for session in sessions), sessions, ends_on)


@lru_cache(maxsize=_MOST_CALENDARS)
def _sessions_of_years(name: str, year: int) -> Sessions:
    return sessions_between(name, date(year - 1, 1, 1), date(year + YEARS_AHEAD, 12, 31))
