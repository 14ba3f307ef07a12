"""The five timeframes: their names and tables."""

from dataclasses import dataclass
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from streamworkers.errors import BadInputError

EXCHANGE_ZONE = ZoneInfo("America/New_York")


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
_ALIASES = {
    "minute": "1min",
    "hourly": "hour",
    "daily": "day",
    "weekly": "week",
    "monthly": "month",
    "1h": "hour",
    "1d": "day",
    "1w": "week",
    "1mo": "month",  # 1m is none: a minute to some, a month to others
}


def timeframe_named(name: str) -> Timeframe:
    """Return the timeframe of that name or alias (`daily` and `1d` are `day`).

    Raises BadInputError for any other name.
    """
    found = TIMEFRAMES.get(_ALIASES.get(name.lower(), name.lower()))
    if found is None:
        raise BadInputError(f"timeframe {name!r} is not one of {', '.join(TIMEFRAMES)}")
    return found


def bar_moment(timeframe: Timeframe, bar_time: date | datetime) -> datetime:
    """Return the aware moment at which a bar starts: for a date, midnight in New York, the exchange's zone."""
    if isinstance(bar_time, datetime):
        return bar_time
    return datetime.combine(bar_time, time(), tzinfo=EXCHANGE_ZONE)
