"""Bars as columns, their adjustment for splits, merging into wider bars, and encoding as JSON."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_DECIMALS = 4
_LEAST_PRICE = 10.0**-_DECIMALS


class _Row(msgspec.Struct):
    v: float
    vw: float
    o: float
    c: float
    h: float
    l: float  # noqa: E741  # the API's own name
    t: int
    n: int


class _NamedRow(msgspec.Struct):
    T: str
    v: float
    vw: float
    o: float
    c: float
    h: float
    l: float  # noqa: E741  # the API's own name
    t: int
    n: int


@dataclass(frozen=True, slots=True)
class FakeBars:
    """Bars in ascending order of time, each column of the same length.

    `start_ms` is the start of a bar's window in Unix milliseconds, prices are in dollars, `volume` in shares (whole
    numbers, except after the adjustment by a reverse split).
    """

    start_ms: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    vwap: Floats
    trades: Ints

    def __len__(self) -> int:
        return len(self.start_ms)

    def part(self, first: int, end: int) -> "FakeBars":
        """Return the bars from position `first` to before `end`."""
        return self._at(slice(first, end))

    def backwards(self) -> "FakeBars":
        """Return the bars, the newest first."""
        return self._at(slice(None, None, -1))

    def where(self, mask: NDArray[np.bool_]) -> "FakeBars":
        """Return the bars for which a mask is true."""
        if mask.all():
            return self
        columns: list[Any] = [column[mask] for column in self.columns]
        return FakeBars(*columns)

    def with_bar(self, place: int, other: "FakeBars") -> "FakeBars":
        """Return the bars with another one at a place."""
        return concat_bars([self.part(0, place), other, self.part(place + 1, len(self))])

    @property
    def columns(self) -> tuple[Ints, Floats, Floats, Floats, Floats, Floats, Floats, Ints]:
        """All columns, in the order of the fields."""
        return (self.start_ms, self.open, self.high, self.low, self.close, self.volume, self.vwap, self.trades)

    def adjusted(self, ratio: float | Floats) -> "FakeBars":
        """Return prices divided (to four decimals) and volumes multiplied by a ratio, or by one ratio for each bar."""
        if isinstance(ratio, float) and ratio == 1.0:
            return self
        return FakeBars(
            self.start_ms,
            _divided(self.open, ratio),
            _divided(self.high, ratio),
            _divided(self.low, ratio),
            _divided(self.close, ratio),
            _rounded(self.volume * ratio),
            _divided(self.vwap, ratio),
            self.trades,
        )

    def merged(self, firsts: Ints, start_ms: Ints) -> "FakeBars":
        """Return wider bars, one from each position in `firsts` to before the next, with the starts `start_ms`."""
        if not len(firsts):
            return self.part(0, 0)
        ends = np.append(firsts[1:], len(self))
        volume = np.add.reduceat(self.volume, firsts)
        return FakeBars(
            start_ms,
            self.open[firsts],
            np.maximum.reduceat(self.high, firsts),
            np.minimum.reduceat(self.low, firsts),
            self.close[ends - 1],
            _rounded(volume),
            _rounded(np.add.reduceat(self.vwap * self.volume, firsts) / volume),
            np.add.reduceat(self.trades, firsts),
        )

    def json_rows(self) -> bytes:
        """Return the bars as JSON objects, separated by commas, without brackets."""
        return msgspec.json.encode(list(map(_Row, *self._json_columns())))[1:-1]

    def json_rows_of(self, tickers: Iterable[str]) -> bytes:
        """Return what `json_rows` returns, with a ticker in each object."""
        return msgspec.json.encode(list(map(_NamedRow, tickers, *self._json_columns())))[1:-1]

    def _at(self, which: slice) -> "FakeBars":
        return FakeBars(
            self.start_ms[which],
            self.open[which],
            self.high[which],
            self.low[which],
            self.close[which],
            self.volume[which],
            self.vwap[which],
            self.trades[which],
        )

    def _json_columns(self) -> list[list[float]]:
        start_ms, opened, high, low, close, volume, vwap, trades = self.columns
        return [column.tolist() for column in (volume, vwap, opened, close, high, low, start_ms, trades)]


def no_bars() -> FakeBars:
    """Return bars of length 0."""
    ints, floats = np.empty(0, np.int64), np.empty(0)
    return FakeBars(ints, floats, floats, floats, floats, floats, floats, ints)


def concat_bars(parts: list[FakeBars]) -> FakeBars:
    """Return the bars of all parts, one part after another."""
    if not parts:
        return no_bars()
    columns = zip(*(part.columns for part in parts), strict=True)
    return FakeBars(*(np.concatenate(column) for column in columns))


def first_of_each(keys: Ints) -> Ints:
    """Return the positions at which a sorted column has a new value."""
    if not len(keys):
        return np.empty(0, np.int64)
    return np.concatenate(([0], np.flatnonzero(np.diff(keys)) + 1)).astype(np.int64)


def _rounded(values: Floats) -> Floats:
    rounded: Floats = np.round(values, _DECIMALS)
    return rounded


def _divided(prices: Floats, ratio: float | Floats) -> Floats:
    # Rounding is monotonic, so low <= open, close <= high still holds.
    return np.maximum(_rounded(prices / ratio), _LEAST_PRICE)
