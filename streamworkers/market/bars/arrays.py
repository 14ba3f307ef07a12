"""Bars of one symbol as arrays: what providers give, what is made of it, and how it becomes rows for a table."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamworkers.errors import BadInputError
from streamworkers.market.bars.rules import BrokenRuleError, checked_row
from streamworkers.market.bars.text_rows import BarRows, Reject
from streamworkers.market.calendar.timeframes import Timeframe

Starts: TypeAlias = NDArray[np.int64]
Values: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]

_BIGINT_AS_FLOAT = 2.0**63
_COLUMNS = 6
_ITEM_BYTES = 8


@dataclass(frozen=True, slots=True)
class BarArrays:
    """Bars of one symbol, all columns of one length.

    `starts` are Unix milliseconds for intraday bars, else days since 1970-01-01 (the bar's date). `volume` is in whole
    shares.
    """

    starts: Starts
    open: Values
    high: Values
    low: Values
    close: Values
    volume: Starts

    def __len__(self) -> int:
        return len(self.starts)

    def where(self, mask: Mask) -> "BarArrays":
        """The bars for which the mask is true."""
        return self if mask.all() else self.at(mask)

    def at(self, places: Mask | Starts | slice) -> "BarArrays":
        """The bars at these places, as an array is indexed."""
        return BarArrays(*(getattr(self, column.name)[places] for column in fields(self)))

    def parts(self, size: int) -> "Iterator[BarArrays]":
        """The bars, at most `size` at a time."""
        return (self.at(slice(start, start + size)) for start in range(0, len(self), size))

    def pack(self) -> bytes:
        """The bars as bytes for `unpack_bars`."""
        return b"".join(np.ascontiguousarray(getattr(self, column.name)).tobytes() for column in fields(self))


def unpack_bars(packed: bytes) -> BarArrays:
    """The bars in what `pack` made. Raises BadInputError for bytes that are not so many columns of one length."""
    count, rest = divmod(len(packed), _COLUMNS * _ITEM_BYTES)
    if rest:
        raise BadInputError(f"{len(packed)} bytes are not {_COLUMNS} columns of bars")
    whole, width = (0, 5), count * _ITEM_BYTES
    columns: list[Any] = [
        np.frombuffer(packed, np.int64 if place in whole else np.float64, count, place * width)
        for place in range(_COLUMNS)
    ]
    return BarArrays(*columns)


NO_BARS = unpack_bars(b"")


def joined(parts: Sequence[BarArrays]) -> BarArrays:
    """One after the other."""
    if len(parts) == 1:
        return parts[0]
    return BarArrays(*(np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(BarArrays)))


def checked_bars(
    symbol: str,
    timeframe: Timeframe,
    starts: Starts,
    prices: Sequence[Values],
    volume: Values,
    first_line: int = 1,
) -> tuple[BarArrays, list[Reject]]:
    """Sort bars of a provider into good ones and rejected ones, by the rules for rows of a file.

    `prices` are open, high, low, close. Volumes come as doubles, and adjusted ones are seldom whole: they are rounded
    to shares. `first_line` numbers the bars in what is rejected.
    """
    opened, high, low, close = prices
    with np.errstate(invalid="ignore"):
        good = (high >= opened) & (high >= close) & (low <= opened) & (low <= close) & (low >= 0)
        good &= np.isfinite(high) & (volume >= 0) & (volume < _BIGINT_AS_FLOAT)
    whole = np.zeros(len(starts), np.int64)
    whole[good] = np.rint(volume[good]).astype(np.int64)
    bars = BarArrays(starts, opened, high, low, close, whole)
    if good.all():
        return bars, []
    rejects = []
    for place in np.flatnonzero(~good).tolist():
        time = _times(timeframe, starts[place : place + 1])[0]
        row = (symbol, time, *(repr(float(column[place])) for column in prices), f"{volume[place]:.0f}")
        try:
            checked_row(row, intraday=timeframe.intraday)
        except BrokenRuleError as error:
            rejects.append(Reject(first_line + place, error.rule, str(error), ",".join(row)))
        else:
            good[place] = True
    return bars.where(good), rejects


def bar_rows(symbol: str, timeframe: Timeframe, bars: BarArrays, first_line: int = 1) -> BarRows:
    """The bars as text for a table; a price gets the shortest digits that stand for it."""
    opened, high, low, close = (
        list(map(repr, column.tolist())) for column in (bars.open, bars.high, bars.low, bars.close)
    )
    lines = list(range(first_line, first_line + len(bars)))
    volume = list(map(str, bars.volume.tolist()))
    return BarRows(lines, [symbol] * len(bars), _times(timeframe, bars.starts), opened, high, low, close, volume)


def arrays_of_rows(timeframe: Timeframe, rows: BarRows) -> BarArrays:
    """Checked rows as arrays."""
    times = np.array([time[:19] for time in rows.times], "datetime64[ms]" if timeframe.intraday else "datetime64[D]")
    opened, high, low, close = (
        np.array(list(map(float, column))) for column in (rows.open, rows.high, rows.low, rows.close)
    )
    volume = np.array(list(map(int, rows.volume)), np.int64)
    return BarArrays(times.astype(np.int64), opened, high, low, close, volume)


class Aggregator:
    """Makes wider bars of bars that arrive in pieces, in order: those of one window become one.

    `window` gives for starts of the narrow bars the start of the wide bar that each is part of. Open is the first,
    close the last, high and low the extremes, volume the sum.
    """

    def __init__(self, window: Callable[[Starts], Starts]) -> None:
        self._window = window
        self._held: BarArrays = NO_BARS

    def add(self, bars: BarArrays) -> BarArrays:
        """The wide bars that are complete now, because a bar of a later window has come."""
        if not len(bars):
            return NO_BARS
        bars = joined([self._held, bars])
        starts = self._window(bars.starts)
        cut = int(np.searchsorted(starts, starts[-1]))
        self._held = bars.at(slice(cut, None))
        return _wide(bars.at(slice(cut)), starts[:cut])

    def finish(self) -> BarArrays:
        """The last wide bar, of what no later bar has followed."""
        bars, self._held = self._held, NO_BARS
        return _wide(bars, self._window(bars.starts))


def _wide(bars: BarArrays, starts: Starts) -> BarArrays:
    if not len(bars):
        return NO_BARS
    begins = np.concatenate(([0], np.flatnonzero(np.diff(starts)) + 1))
    ends = np.append(begins[1:], len(bars)) - 1
    return BarArrays(
        starts[begins],
        bars.open[begins],
        np.maximum.reduceat(bars.high, begins),
        np.minimum.reduceat(bars.low, begins),
        bars.close[ends],
        np.add.reduceat(bars.volume, begins),
    )


def _times(timeframe: Timeframe, starts: Starts) -> list[str]:
    if timeframe.intraday:
        texts = np.datetime_as_string(starts.astype("datetime64[ms]"), unit="s").tolist()
        return [f"{text}+00:00" for text in texts]
    days: list[str] = np.datetime_as_string(starts.astype("datetime64[D]")).tolist()
    return days
