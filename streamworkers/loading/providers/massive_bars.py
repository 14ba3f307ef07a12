"""Bars of answers of the Massive API as pages of a provider: checked one by one, with the starts that tables have."""

from datetime import datetime, timedelta
from datetime import time as clock

import numpy as np

from streamworkers.loading.providers.massive_answers import ApiBar, ApiBars
from streamworkers.loading.providers.provider import BadPayloadError, Page
from streamworkers.market.bars.bars import FloatArray, Mask, Starts
from streamworkers.market.bars.column_rules import validate_bars
from streamworkers.market.bars.rules import Rule
from streamworkers.market.bars.text_rows import Reject, format_times
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, Timeframe
from streamworkers.market.calendar.windows import HOUR_MS, MINUTE_MS, day_of, days_since_epoch, whole_windows

_NO_WINDOW = -1  # the last day of 1969, before any bar of the API


def make_page(
    symbol: str, timeframe: Timeframe, starts: Starts, bars: list[ApiBar], cursor: str | None, number: int
) -> Page:
    """Return the good bars of an answer as a page, those that begin no window and break a rule as rejected."""
    prices = [_column([getattr(bar, name) for bar in bars]) for name in "ohlc"]
    volume = _column([bar.v for bar in bars])
    good, rejected = validate_bars(symbol, timeframe, starts, prices, volume, first_line=number * 100_000 + 1)
    begins = _begin_windows(timeframe, good.starts)
    for place in np.flatnonzero(~begins).tolist():
        time = format_times(timeframe, good.starts[place : place + 1])[0]
        detail = f"{symbol} at {time}: not the start of a window of {timeframe.name} bars"
        rejected.append(Reject(number * 100_000 + place + 1, Rule.BAD_TIME, detail, f"{symbol},{time}"))
    return Page(good.where(begins), rejected, cursor)


def _begin_windows(timeframe: Timeframe, starts: Starts) -> Mask:
    """Return a mask of the starts at which a window begins."""
    if timeframe.intraday:
        aligned: Mask = starts % (MINUTE_MS if timeframe.name == "1min" else HOUR_MS) == 0
        return aligned
    days = ((start, day_of(start)) for start in starts.tolist())
    return np.array([start > 0 and whole_windows(timeframe, day, day)[0] == day for start, day in days], np.bool_)


def _column(values: list[float | None]) -> FloatArray:
    """Return a column of numbers, NaN for null."""
    return np.array(values, np.float64)


def whole_results(answer: ApiBars) -> list[ApiBar]:
    """Return the bars of an answer. Raises BadPayloadError if its adjustment or its number of bars is wrong."""
    if answer.adjusted is not True:
        raise BadPayloadError(f"adjusted is {answer.adjusted}, not true as requested")
    results = answer.results or []
    if len(results) != answer.resultsCount:
        raise BadPayloadError(f"the answer holds {len(results)} bars and states {answer.resultsCount}")
    return results


def convert_starts(timeframe: Timeframe, times: list[int]) -> Starts:
    """Return the API's window starts as the tables have them: dates of New York, weeks from Monday.

    A start up to an hour off midnight, as where clocks have changed, is that of the nearest midnight; any other one is
    `_NO_WINDOW`.
    """
    starts = np.array(times, np.int64)
    if timeframe.intraday or not len(starts):
        return starts
    shift = timedelta(days=1 if timeframe.name == "week" else 0)
    found = []
    for start in times:
        moment = datetime.fromtimestamp(start / 1000, EXCHANGE_ZONE).replace(tzinfo=None)
        nearest = datetime.combine((moment + timedelta(hours=1)).date(), clock())
        is_near = abs(moment - nearest) <= timedelta(hours=1)
        found.append(days_since_epoch(nearest.date() + shift) if is_near else _NO_WINDOW)
    return np.array(found, np.int64)
