"""The sessions of New York as columns, and conversions between moments and New York time."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

import numpy as np

from streamworkers.market.calendar.sessions import sessions_between
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE
from streamworkers_fakes.massive.bars import Ints

MINUTE_MS = 60_000
DAY_MINUTES = 24 * 60
FIRST_DAY = date(2003, 9, 10)
PRE_MARKET_MINUTE = 4 * 60
_POST_MARKET_MINUTES = 4 * 60
_YEARS_AT_ONCE = 5
_LAST_YEAR = 2100


@dataclass(frozen=True, slots=True)
class TradingDays:
    """Sessions in order, one value for each in every column; minutes are counted from 00:00 in New York.

    `open_minute` and `close_minute` bound the regular session, `end_minute` the post-market, which is four hours
    long, also after an early close.
    """

    ordinal: Ints
    midnight_ms: Ints
    open_minute: Ints
    close_minute: Ints
    end_minute: Ints

    def between(self, first: date, last: date) -> range:
        """Return the positions of the sessions from `first` to `last`, both included."""
        low = int(np.searchsorted(self.ordinal, first.toordinal(), "left"))
        return range(low, max(low, int(np.searchsorted(self.ordinal, last.toordinal(), "right"))))

    def end_ms(self, position: int) -> int:
        """Return when the post-market of a session ends, in Unix milliseconds."""
        return int(self.midnight_ms[position]) + int(self.end_minute[position]) * MINUTE_MS


def trading_days(last: date) -> TradingDays:
    """Return the sessions from `FIRST_DAY` to at most a few years after a day, and never after 2100.

    The same day gives the same sessions.
    """
    return _until_year(min((last.year // _YEARS_AT_ONCE + 1) * _YEARS_AT_ONCE, _LAST_YEAR))


@lru_cache(maxsize=4)
def _until_year(year: int) -> TradingDays:
    sessions = sessions_between("XNYS", FIRST_DAY, date(year, 12, 31)).sessions
    midnights = np.array([midnight_ms(session.day) for session in sessions], np.int64)

    def minutes(moments: list[datetime]) -> Ints:
        return (np.array([milliseconds(moment) for moment in moments], np.int64) - midnights) // MINUTE_MS

    closes = minutes([session.closes for session in sessions])
    return TradingDays(
        np.array([session.day.toordinal() for session in sessions], np.int64),
        midnights,
        minutes([session.opens for session in sessions]),
        closes,
        closes + _POST_MARKET_MINUTES,
    )


def all_days(last: date) -> TradingDays:
    """Return every day as a session of 24 hours, for symbols that always trade, over the range of `trading_days`."""
    return _all_until(int(trading_days(last).ordinal[-1]))


@lru_cache(maxsize=4)
def _all_until(last: int) -> TradingDays:
    ordinal = np.arange(FIRST_DAY.toordinal(), last + 1)
    midnights = np.array(
        [midnight_ms(date.fromordinal(int(day))) for day in range(int(ordinal[0]), last + 2)], np.int64
    )
    # A day on which clocks change has 23 hours, or 25, of which 24 have bars.
    whole = np.minimum(np.diff(midnights) // MINUTE_MS, DAY_MINUTES)
    return TradingDays(ordinal, midnights[:-1], np.zeros(len(ordinal), np.int64), whole, whole)


def milliseconds(moment: datetime) -> int:
    """Return an aware moment in Unix milliseconds, rounded down."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


@lru_cache(maxsize=16_384)
def midnight_ms(day: date) -> int:
    """Return 00:00 in New York in Unix milliseconds."""
    return milliseconds(datetime.combine(day, time(), tzinfo=EXCHANGE_ZONE))


def day_and_minute(ms: int) -> tuple[date, int]:
    """Return the date in New York at a moment, and the minutes since 00:00 local time.

    Raises OverflowError, ValueError or OSError for moments beyond the calendar.
    """
    local = datetime.fromtimestamp(ms / 1000, tz=UTC).astimezone(EXCHANGE_ZONE)
    return local.date(), local.hour * 60 + local.minute


def new_york_date(moment: datetime) -> date:
    """Return the date in New York at an aware moment."""
    return moment.astimezone(EXCHANGE_ZONE).date()


def week_start(day: date) -> date:
    """Return the Sunday on or before a day."""
    return day - timedelta(days=day.isoweekday() % 7)
