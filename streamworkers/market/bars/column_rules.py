"""The rules of `row_rules` over whole columns: plainly good rows pass at once, the others are looked at singly."""

import re
from collections.abc import Sequence
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamworkers.market.bars.rules import NUMBER_MAX_LENGTH, BrokenRuleError, checked_row, known_symbol, known_time
from streamworkers.market.bars.text_rows import BarRows, Reject, RowChunk

_PLAIN_PRICE = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,19})?")
_PLAIN_VOLUME = re.compile(r"[0-9]{1,18}")

Fields = tuple[str, ...]


def checked_columns(
    lines: Sequence[int], columns: Sequence[Sequence[str]], texts: Sequence[str], *, intraday: bool
) -> RowChunk:
    """Sort rows into good ones and rejected ones.

    `columns` are the seven fields of `checked_row` as columns as long as `lines`; `texts` are the rows as they stand
    in the file. The outcome is exactly that of `checked_row` on every row.
    """
    if not lines:
        return RowChunk(BarRows([], [], [], [], [], [], [], []), [])
    symbols, stamps, *prices, volumes = columns
    times = list(map(known_time, stamps, repeat(intraday)))
    short = max(map(len, texts)) <= NUMBER_MAX_LENGTH
    good = _plain_bars([_plain_prices(column, short=short) for column in prices])
    good &= _plain_volumes(volumes)
    if None in times:
        good &= np.array([time is not None for time in times])
    if not all(map(known_symbol, symbols)):
        good &= np.array([known_symbol(symbol) for symbol in symbols])
    numbers = list(lines)
    result: list[list[Any]] = [list(symbols), times, *map(list, prices), list(volumes)]
    rejects: list[Reject] = []
    for index in np.flatnonzero(~good).tolist():
        try:
            row = checked_row(tuple(column[index] for column in columns), intraday=intraday)
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


def _plain_prices(column: Sequence[str], *, short: bool) -> NDArray[np.float64]:
    """The prices as numbers, NaN for those that are not plain digits with at most one point.

    `short` says that no field of the rows is longer than a number may be.
    """
    joined = "".join(column)
    if short and joined.isascii() and joined.replace(".", "").isdigit():
        try:
            return np.array(list(map(float, column)))
        except ValueError:
            pass  # an empty field or a second point somewhere: find out which
    return np.array([float(text) if _PLAIN_PRICE.fullmatch(text) else np.nan for text in column])


def _plain_bars(prices: Sequence[NDArray[np.float64]]) -> NDArray[np.bool_]:
    opened, high, low, closed = prices
    # A comparison with NaN is false, so a price that is not plain leaves its row to the single check.
    return (high >= opened) & (high >= closed) & (low <= opened) & (low <= closed)


def _plain_volumes(column: Sequence[str]) -> NDArray[np.bool_] | np.bool_:
    joined = "".join(column)
    if joined.isascii() and joined.isdigit() and all(column) and max(map(len, column)) <= 18:
        return np.True_
    return np.array([_PLAIN_VOLUME.fullmatch(text) is not None for text in column])
