"""The five timeframes: their names and tables, and when a bar of each is closed."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from streamworkers.errors import BadInputError

EXCHANGE_ZONE = ZoneInfo("America/New_York")
_SESSION_END = time(16, 0)


@dataclass(frozen=True, slots=True)
class Timeframe:
    """A width of bars and the table that holds them.

    `time_column` is `date` for day, week and month (a calendar date of the exchange) and `timestamp` for the
    others (the start of the bar's window).
    """

    name: str
    table: str
    time_column: str

    @property
    def intraday(self) -> bool:
        """True if a bar's time is a moment, False if it is a date."""
        return self.time_column == "timestamp"


TIMEFRAMES = {
    timeframe.name: timeframe
    for timeframe in (
        Timeframe("1min", "ohlcv_1min", "timestamp"),
        Timeframe("hour", "ohlcv_hourly", "timestamp"),
        Timeframe("day", "ohlcv_daily", "date"),
        Timeframe("week", "ohlcv_weekly", "date"),
        Timeframe("month", "ohlcv_monthly", "date"),
    )
}
_ALIASES = {"minute": "1min", "hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month"}


def timeframe_named(name: str) -> Timeframe:
    """Return the timeframe of that name or alias (`daily` is `day`).

    Raises BadInputError for any other name.
    """
    found = TIMEFRAMES.get(_ALIASES.get(name.lower(), name.lower()))
    if found is None:
        raise BadInputError(f"timeframe {name!r} is not one of {', '.join(TIMEFRAMES)}")
    return found


def newest_closed(timeframe: Timeframe, now: datetime) -> date | datetime:
    """Return the start of the newest bar whose window has ended at `now`, or an upper bound of it.

    `now` must be aware. A day ends at 16:00 in New York, a week on its Friday, a month on its last day; holidays
    and early closes only make the true newest bar older, never newer, so an open bar is never included.
    Returns a date for day, week (its Monday) and month (its first), else an aware UTC datetime.
    """
    local = now.astimezone(EXCHANGE_ZONE)
    if timeframe.intraday:
        width = timedelta(minutes=1) if timeframe.name == "1min" else timedelta(hours=1)
        return now - width
    newest_day = local.date() if local.time() >= _SESSION_END else local.date() - timedelta(days=1)
    if timeframe.name == "day":
        return newest_day
    if timeframe.name == "week":
        monday = newest_day - timedelta(days=newest_day.weekday())
        return monday if newest_day.weekday() >= 4 else monday - timedelta(days=7)
    first = newest_day.replace(day=1)
    if (newest_day + timedelta(days=1)).month != newest_day.month:
        return first
    return (first - timedelta(days=1)).replace(day=1)


def bar_moment(timeframe: Timeframe, bar_time: date | datetime) -> datetime:
    """Return the aware moment at which a bar starts: for a date, midnight in New York, the exchange's zone."""
    if isinstance(bar_time, datetime):
        return bar_time
    return datetime.combine(bar_time, time(), tzinfo=EXCHANGE_ZONE)
