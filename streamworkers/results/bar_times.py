"""The three forms of a bar's time: an aware moment, a value of the bars' table, an element of a series' `times`.

They differ for day, week and month: the table and the series have a date, whose moment is midnight in New York.
"""

from datetime import UTC, date, datetime

import numpy as np

from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, Timeframe, bar_moment


def to_table_time(timeframe: Timeframe, moment: datetime) -> date | datetime:
    """The moment as the timeframe's table stores it: a date in New York, or the moment itself for intraday bars."""
    return moment if timeframe.intraday else moment.astimezone(EXCHANGE_ZONE).date()


def to_series_time(time: date | datetime) -> "np.datetime64":
    """A time of the table as a series has it: datetime64[ms] in UTC for intraday bars, else datetime64[D]."""
    if isinstance(time, datetime):
        return np.datetime64(time.astimezone(UTC).replace(tzinfo=None), "ms")
    return np.datetime64(time, "D")


def to_moment(timeframe: Timeframe, time: "np.datetime64") -> datetime:
    """A time of a series as an aware moment."""
    stamp = time.item()
    assert isinstance(stamp, date)
    return stamp.replace(tzinfo=UTC) if isinstance(stamp, datetime) else bar_moment(timeframe, stamp)
