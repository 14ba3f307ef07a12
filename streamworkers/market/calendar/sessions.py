"""Sessions of exchanges: their days, openings and closes, from `exchange_calendars`.

The library knows rules, not the future: a calendar is asked for two years ahead, and some end earlier. Whoever plans
by one is told how many days of it are left.
"""

import threading
import warnings
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

from streamworkers.errors import BadInputError, UnknownNameError

YEARS_AHEAD = 2
WARN_DAYS = 60
_MOST_CALENDARS = 64
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class Session:
    """A day on which an exchange trades; both moments in UTC."""

    day: date
    opens: datetime
    closes: datetime


@dataclass(frozen=True, slots=True)
class Sessions:
    """The sessions of an exchange from a day on, in order; `ends_on` is the last day that is known of."""

    calendar: str
    days: tuple[date, ...]
    sessions: tuple[Session, ...]
    ends_on: date

    def __contains__(self, day: date) -> bool:
        place = bisect_left(self.days, day)
        return place < len(self.days) and self.days[place] == day

    def from_day(self, day: date) -> Iterator[Session]:
        """The sessions on and after a day."""
        return iter(self.sessions[bisect_left(self.days, day) :])

    def next_day(self, day: date) -> date | None:
        """The first session after a day, None when the calendar ends before it."""
        session = next(self.from_day(day + timedelta(days=1)), None)
        return None if session is None else session.day


def require_calendar(name: str) -> str:
    """The name, unchanged. Raises UnknownNameError for one that the library does not have."""
    from exchange_calendars import get_calendar_names

    names: list[str] = get_calendar_names()
    if name not in names:
        raise UnknownNameError("calendar", name, names)
    return name


def sessions_around(name: str, moment: datetime) -> Sessions:
    """The sessions of a calendar from the year before a moment to `YEARS_AHEAD` years after it, as far as it goes."""
    return _sessions_of_years(name, moment.astimezone(UTC).year)


def sessions_between(name: str, first: date, last: date) -> Sessions:
    """The sessions of a calendar from a day to a day, both included, as far as it goes.

    Raises UnknownNameError for the name.
    """
    require_calendar(name)
    # The package keeps one calendar of a name for all threads, and the filters of warnings are global too.
    with _one_at_a_time, warnings.catch_warnings():
        # The package calls what pandas 3.1 deprecates; that is no concern of ours or of whoever calls us.
        warnings.simplefilter("ignore", DeprecationWarning)
        from exchange_calendars import get_calendar

        try:
            calendar = get_calendar(name, start=first.isoformat(), end=last.isoformat())
        except Exception:  # noqa: BLE001  # its rules may not go so far in one direction or the other; some say so oddly
            calendar = _all_that_it_has(name)
            last = min(last, calendar.last_session.date())
    table = calendar.schedule
    rows = zip(table.index, table["open"], table["close"], strict=True)
    sessions = tuple(
        Session(day.date(), opens.to_pydatetime().astimezone(UTC), closes.to_pydatetime().astimezone(UTC))
        for day, opens, closes in rows
        if first <= day.date() <= last
    )
    return Sessions(name, tuple(session.day for session in sessions), sessions, last)


def _all_that_it_has(name: str) -> Any:
    from exchange_calendars import get_calendar

    try:
        return get_calendar(name)
    except Exception as error:  # whatever the package raises, the calendar is of no use
        raise BadInputError(f"calendar {name!r} cannot be made: {' '.join(str(error).split())[:200]}") from error


@lru_cache(maxsize=_MOST_CALENDARS)
def _sessions_of_years(name: str, year: int) -> Sessions:
    return sessions_between(name, date(year - 1, 1, 1), date(year + YEARS_AHEAD, 12, 31))
