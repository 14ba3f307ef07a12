"""Applies the rules of `rules` to whole columns: plainly valid rows pass at once, the others are checked one by one."""

import re
from collections.abc import Sequence
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamworkers.market.bars.bars import Bars, FloatArray, Starts, to_times
from streamworkers.market.bars.rules import (
    NUMBER_MAX_LENGTH,
    BrokenRuleError,
    is_symbol,
    parse_known_time,
    validate_row,
)
from streamworkers.market.bars.text_rows import BarRows, Reject, RowChunk, format_times
from streamworkers.market.calendar.timeframes import Timeframe

_PLAIN_PRICE = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,19})?")
_PLAIN_VOLUME = re.compile(r"[0-9]{1,18}")
_BIGINT_AS_FLOAT = 2.0**63

Fields = tuple[str, ...]


def validate_rows(
    lines: Sequence[int], columns: Sequence[Sequence[str]], texts: Sequence[str], *, intraday: bool
) -> RowChunk:
    """Separate valid rows from rejected ones, exactly as `validate_row` would one by one.

    `columns` are the seven fields of `validate_row` as columns of the length of `lines`; `texts` are the rows as they
    stand in the file.
    """
    if not lines:
        return RowChunk(BarRows([], [], [], [], [], [], [], []), [])
    symbols, stamps, *prices, volumes = columns
    times = list(map(parse_known_time, stamps, repeat(intraday)))
    short = max(map(len, texts)) <= NUMBER_MAX_LENGTH
    good = _plain_bars([_plain_prices(column, short=short) for column in prices])
    good &= _plain_volumes(volumes)
    if None in times:
        good &= np.array([time is not None for time in times])
    if not all(map(is_symbol, symbols)):
        good &= np.array([is_symbol(symbol) for symbol in symbols])
    numbers = list(lines)
    result: list[list[Any]] = [list(symbols), times, *map(list, prices), list(volumes)]
    rejects: list[Reject] = []
    for index in np.flatnonzero(~good).tolist():
        try:
            row = validate_row(tuple(column[index] for column in columns), intraday=intraday)
        except BrokenRuleError as error:
            rejects.append(Reject(lines[index], error.rule, str(error), texts[index]))
            continue
        for column, value in zip(result, row, strict=True):
            column[index] = value
        good[index] = True
    if rejects:
        kept = np.flatnonzero(good).tolist()
        numbers = [numbers[index] for index in kept]
        result = [[column[index] for index in kept] for column in result]
    return RowChunk(BarRows(numbers, *result), rejects)


def validate_bars(
    symbol: str,
    timeframe: Timeframe,
    starts: Starts,
    prices: Sequence[FloatArray],
    volume: FloatArray,
    first_line: int = 1,
) -> tuple[Bars, list[Reject]]:
    """Separate valid bars of a provider from rejected ones, by the rules for the rows of a file.

    `prices` are open, high, low, close. Volumes arrive as floats, and split-adjusted ones are seldom whole: they are
    rounded to shares. `first_line` is the number of the first bar in the rejects.
    """
    opened, high, low, close = prices
    with np.errstate(invalid="ignore"):
        good = (high >= opened) & (high >= close) & (low <= opened) & (low <= close) & (low >= 0)
        good &= np.isfinite(high) & (volume >= 0) & (volume < _BIGINT_AS_FLOAT)
    whole = np.zeros(len(starts), np.int64)
    whole[good] = np.rint(volume[good]).astype(np.int64)
    bars = Bars(to_times(timeframe, starts), opened, high, low, close, whole)
    if good.all():
        return bars, []
    rejects = []
    for place in np.flatnonzero(~good).tolist():
        time = format_times(timeframe, starts[place : place + 1])[0]
        row = (symbol, time, *(repr(float(column[place])) for column in prices), f"{volume[place]:.0f}")
        try:
            validate_row(row, intraday=timeframe.intraday)
        except BrokenRuleError as error:
            rejects.append(Reject(first_line + place, error.rule, str(error), ",".join(row)))
        else:
            good[place] = True
    return bars.where(good), rejects


def _plain_prices(column: Sequence[str], *, short: bool) -> NDArray[np.float64]:
    """Return the prices as numbers, NaN where a price is not plain digits with at most one point.

    `short` is true if no field of the rows is longer than a number may be.
    """
    joined = "".join(column)
    if short and joined.isascii() and joined.replace(".", "").isdigit():
        try:
            return np.array(list(map(float, column)))
        except ValueError:
            pass  # a field is empty or has a second point: find it below
    return np.array([float(text) if _PLAIN_PRICE.fullmatch(text) else np.nan for text in column])


def _plain_bars(prices: Sequence[NDArray[np.float64]]) -> NDArray[np.bool_]:
    opened, high, low, closed = prices
    # A comparison with NaN is false, so a row with a price that is not plain is left to `validate_row`.
    return (high >= opened) & (high >= closed) & (low <= opened) & (low <= closed)


def _plain_volumes(column: Sequence[str]) -> NDArray[np.bool_] | np.bool_:
    joined = "".join(column)
    if joined.isascii() and joined.isdigit() and all(column) and max(map(len, column)) <= 18:
        return np.True_
    return np.array([_PLAIN_VOLUME.fullmatch(text) is not None for text in column])
