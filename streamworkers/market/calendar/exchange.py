"""Exchanges as rules for bars need them: the zone of their dates, the days of trading, and the endings of symbols.

The calendar package loads pandas, so the zones of common calendars are written down here, and sessions are asked for
only when a day has to be judged.
"""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from streamworkers.market.calendar.sessions import YEARS_AHEAD, require_calendar, sessions_between
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE

DEFAULT_CALENDAR = "XNYS"
ALWAYS_OPEN = "24/7"
FIRST_DAY = date(1990, 1, 1)
_A_MONTH = timedelta(days=31)
_ZONES = {
    "24/5": "UTC",
    ALWAYS_OPEN: "UTC",
    "XASX": "Australia/Sydney",
    "XBOM": "Asia/Kolkata",
    "XETR": "Europe/Berlin",
    "XHKG": "Asia/Hong_Kong",
    "XKRX": "Asia/Seoul",
    "XLON": "Europe/London",
    "XNAS": "America/New_York",
    "XNYS": "America/New_York",
    "XSHG": "Asia/Shanghai",
    "XTKS": "Asia/Tokyo",
    "XTSE": "America/Toronto",
}
# The endings that Yahoo, and many after it, give to symbols of other exchanges than those of the United States.
_CALENDARS_OF_ENDINGS = {
    "AS": "XAMS",
    "AX": "XASX",
    "BO": "XBOM",
    "BR": "XBRU",
    "CO": "XCSE",
    "DE": "XETR",
    "HE": "XHEL",
    "HK": "XHKG",
    "JK": "XIDX",
    "KQ": "XKRX",
    "KS": "XKRX",
    "L": "XLON",
    "LS": "XLIS",
    "MC": "XMAD",
    "MI": "XMIL",
    "NS": "XBOM",
    "NZ": "XNZE",
    "OL": "XOSL",
    "PA": "XPAR",
    "SA": "BVMF",
    "SI": "XSES",
    "SS": "XSHG",
    "ST": "XSTO",
    "SW": "XSWX",
    "SZ": "XSHG",
    "T": "XTKS",
    "TO": "XTSE",
    "TW": "XTAI",
    "VI": "XWBO",
}


class Exchange:
    """A calendar with its zone; `has_session` answers for any day."""

    def __init__(self, calendar: str) -> None:
        self.calendar = calendar
        self.zone = ZoneInfo(_ZONES[calendar]) if calendar in _ZONES else _zone_of(calendar)
        self._known: tuple[date, date, Sequence[date]] | None = None

    def has_session(self, day: date) -> bool | None:
        """True on a day of trading, False on another day, None for a day that no calendar judges: those before 1990."""
        if self.calendar == ALWAYS_OPEN:
            return True
        if day < FIRST_DAY:
            return None
        first, last, days = self._known or self._compute()
        if not first <= day <= last:
            return None
        place = bisect_left(days, day)
        return place < len(days) and days[place] == day

    def learn(self, first: date, last: date, days: Sequence[date]) -> None:
        """Take the days of sessions from `first` to `last` from a table, in place of the calendar package."""
        self._known = first, last, days

    def _compute(self) -> tuple[date, date, Sequence[date]]:
        found = sessions_between(self.calendar, FIRST_DAY, date(datetime.now(UTC).year + YEARS_AHEAD, 12, 31))
        # Rules that do not reach so far back begin with the first session found.
        first = min(found.days, default=found.ends_on)
        self._known = min(first, FIRST_DAY) if first - FIRST_DAY < _A_MONTH else first, found.ends_on, found.days
        return self._known


@cache
def exchange_named(calendar: str) -> Exchange:
    """Return the exchange of a calendar. Raises UnknownNameError if there is no such calendar."""
    return Exchange(calendar)


def calendar_of_ending(symbol: str) -> str | None:
    """Return the calendar that the ending of a symbol names (`7203.T` trades in Tokyo), or None."""
    _, point, ending = symbol.rpartition(".")
    return _CALENDARS_OF_ENDINGS.get(ending) if point else None


def _zone_of(calendar: str) -> ZoneInfo:
    require_calendar(calendar)
    from exchange_calendars import get_calendar

    zone = getattr(get_calendar(calendar), "tz", None)
    return ZoneInfo(str(zone)) if zone is not None else EXCHANGE_ZONE
