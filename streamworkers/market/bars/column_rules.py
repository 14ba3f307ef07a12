"""Applies the rules of `rules` to whole columns: plainly valid rows pass at once, the others are checked one by one."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamworkers.market.bars.bar_times import DAYS, MOMENTS, BarTimes
from streamworkers.market.bars.bars import UNKNOWN_VOLUME, Bars, FloatArray, Mask, Starts, to_times
from streamworkers.market.bars.numbers import POINT, UNKNOWN, NumberStyle
from streamworkers.market.bars.rules import (
    NUMBER_MAX_LENGTH,
    BrokenRuleError,
    is_number,
    is_symbol,
    validate_row,
)
from streamworkers.market.bars.text_rows import NO_ROWS, BarRows, PriceColumns, Reject, RowChunk, format_times
from streamworkers.market.calendar.timeframes import Timeframe

_PLAIN_PRICE = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,19})?")
_PLAIN_VOLUME = re.compile(r"[0-9]{1,18}")
_BIGINT_AS_FLOAT = 2.0**63

Fields = tuple[str, ...]


def validate_rows(
    lines: Sequence[int],
    columns: Sequence[Sequence[str]],
    texts: Sequence[str],
    times: BarTimes,
    style: NumberStyle = POINT,
) -> RowChunk:
    """Separate valid rows from rejected ones, exactly as `validate_row` would one by one.

    `columns` are the seven fields of `validate_row` as columns of the length of `lines`; `texts` are the rows as they
    stand in the file.
    """
    if not lines:
        return NO_ROWS
    symbols, stamps, *prices, volumes = columns
    # A file repeats its times and symbols: each is judged once.
    known = {stamp: times.known(stamp) for stamp in set(stamps)}
    starts = list(map(known.__getitem__, stamps))
    short = max(map(len, texts)) <= NUMBER_MAX_LENGTH
    values = PriceColumns(*(_plain_prices(column, short=short) for column in prices))
    good = values.are_plain() if style.is_plain else np.zeros(len(lines), np.bool_)
    good &= _plain_volumes(volumes) & _each_is(starts) & _each_is(symbols, is_symbol)
    result: list[list[Any]] = [list(symbols), starts, *map(list, prices), list(volumes)]
    rejects: list[Reject] = []
    rounded = 0
    for index in np.flatnonzero(~good).tolist():
        try:
            row = validate_row(tuple(column[index] for column in columns), times.parse, style)
        except BrokenRuleError as error:
            rejects.append(Reject(lines[index], error.rule, str(error), texts[index]))
            continue
        for column, value in zip(result, row, strict=True):
            column[index] = value
        values.put(index, row[2:6])
        rounded += _has_fraction(volumes[index], row[6], style)
        good[index] = True
    return _select(list(lines), result, good, RowChunk(NO_ROWS.rows, rejects, values, rounded))


def _each_is(values: Sequence[Any], test: Callable[[Any], bool] = bool) -> Mask | np.bool_:
    """Return a mask of the values that pass; one true stands for all, because a file repeats its values."""
    if all(map(test, set(values))):
        return np.True_
    return np.array([test(value) for value in values])


def _select(numbers: list[int], columns: list[list[Any]], good: Mask, chunk: RowChunk) -> RowChunk:
    """Return the chunk with its good rows, which are all unless some were rejected."""
    if not chunk.rejects:
        return replace(chunk, rows=BarRows(numbers, *columns))
    kept = np.flatnonzero(good).tolist()
    rows = BarRows([numbers[index] for index in kept], *([column[index] for index in kept] for column in columns))
    return replace(chunk, rows=rows, prices=chunk.prices.at(good))


def _has_fraction(text: str, volume: str, style: NumberStyle) -> bool:
    if volume == UNKNOWN or text == volume:
        return False
    stripped = text.strip()
    number = stripped if style.is_plain and is_number(stripped) else style.read(stripped)
    return number is not None and Decimal(number) != int(volume)


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
    good &= low > 0
    whole = np.full(len(starts), UNKNOWN_VOLUME)
    whole[good] = np.rint(volume[good]).astype(np.int64)
    bars = Bars(to_times(timeframe, starts), opened, high, low, close, whole)
    if good.all():
        return bars, []
    rejects = []
    for place in np.flatnonzero(~good).tolist():
        time = format_times(timeframe, starts[place : place + 1])[0]
        row = (symbol, time, *(repr(float(column[place])) for column in prices), f"{volume[place]:.0f}")
        try:
            validate_row(row, (MOMENTS if timeframe.intraday else DAYS).parse)
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


def _plain_volumes(column: Sequence[str]) -> NDArray[np.bool_] | np.bool_:
    joined = "".join(column)
    if joined == UNKNOWN * len(column):
        return np.True_
    if joined.isascii() and joined.isdigit() and all(column) and max(map(len, column)) <= 18:
        return np.True_
    return np.array([_PLAIN_VOLUME.fullmatch(text) is not None for text in column])
