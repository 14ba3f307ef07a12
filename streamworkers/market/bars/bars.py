"""`Bars`: the bars of one symbol in one timeframe as NumPy columns, in loading and in analysis."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamworkers.errors import BadInputError
from streamworkers.market.calendar.timeframes import Timeframe

Times: TypeAlias = NDArray[np.datetime64]
Starts: TypeAlias = NDArray[np.int64]
FloatArray: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]
TimeUnit: TypeAlias = Literal["ms", "D"]

UNKNOWN_VOLUME = -1  # in int64 columns, which have no NaN
_COLUMNS = 6
_ITEM_BYTES = 8


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of one symbol in one timeframe, oldest first; all columns have the same length.

    `times` are the starts of the bars, and their dtype is the time unit: datetime64[ms] in UTC for 1min and hour,
    datetime64[D], the date on the exchange, for day, week and month (see `time_unit`). Prices are contiguous float64.
    `volume` is int64 whole shares on the way into a table, and float64 where bars are read for analysis, because
    TA-Lib takes nothing else. A volume that is not known is `UNKNOWN_VOLUME` in the former and NaN in the latter.
    """

    times: Times
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: NDArray[Any]

    def __len__(self) -> int:
        return len(self.close)

    @property
    def starts(self) -> Starts:
        """The times as numbers, without a copy: Unix milliseconds, or days since 1970-01-01."""
        return self.times.view(np.int64)

    def where(self, mask: Mask) -> "Bars":
        """Return the bars for which the mask is true."""
        return self if mask.all() else self.at(mask)

    def at(self, places: Mask | Starts | slice) -> "Bars":
        """Return the bars at these places, as a NumPy array is indexed."""
        # Written out: analysis cuts several windows out of each series.
        return Bars(
            self.times[places],
            self.open[places],
            self.high[places],
            self.low[places],
            self.close[places],
            self.volume[places],
        )

    def parts(self, size: int) -> "Iterator[Bars]":
        """Yield the bars in parts of at most `size`."""
        return (self.at(slice(start, start + size)) for start in range(0, len(self), size))

    def pack(self) -> bytes:
        """Return the columns as bytes for `unpack_bars`; `volume` must be int64."""
        return b"".join(np.ascontiguousarray(getattr(self, column.name)).tobytes() for column in fields(self))

    def require_valid(self, symbol: str, columns: Sequence[str] = ("open", "high", "low", "close", "volume")) -> None:
        """Raise BadInputError if a value of the columns is not finite or the times do not strictly increase.

        One NaN inside a series makes TA-Lib's RSI 0.0 from there on, so nothing is computed from such bars. A volume
        may be NaN: it is not known.
        """
        for name in columns:
            values: NDArray[Any] = getattr(self, name)
            bad = np.flatnonzero(np.isinf(values) if name == "volume" else ~np.isfinite(values))
            if bad.size:
                index = int(bad[0])
                raise BadInputError(
                    f"{name} of {symbol} at {self.times[index]} is {values[index]}, not a finite number"
                )
        disorder = np.flatnonzero(np.diff(self.starts) <= 0)
        if disorder.size:
            index = int(disorder[0])
            raise BadInputError(
                f"bars of {symbol} do not increase in time: {self.times[index]} comes before {self.times[index + 1]}"
            )


def whole_volume(bars: Bars) -> Bars:
    """Return bars that were read for analysis with their volumes as a table takes them."""
    known = ~np.isnan(bars.volume)
    shares = np.full(len(bars), UNKNOWN_VOLUME)
    shares[known] = bars.volume[known].astype(np.int64)
    return replace(bars, volume=shares)


def is_among(starts: Starts, ordered: Starts) -> Mask:
    """Return a mask of the starts that are in `ordered`, which increases; NumPy's `isin` would copy and sort both."""
    if not len(ordered):
        return np.zeros(len(starts), np.bool_)
    places = np.searchsorted(ordered, starts)
    places[places == len(ordered)] = 0
    found: Mask = ordered[places] == starts
    return found


def time_unit(timeframe: Timeframe) -> TimeUnit:
    """Return the unit of `Bars.times` for a timeframe."""
    return "ms" if timeframe.intraday else "D"


def to_times(timeframe: Timeframe, starts: Starts) -> Times:
    """Return starts, as `Bars.starts` has them, as times, without a copy."""
    return starts.view(f"datetime64[{time_unit(timeframe)}]")


def unpack_bars(packed: bytes, unit: TimeUnit) -> Bars:
    """Return the bars in what `Bars.pack` made. Raises BadInputError if the bytes are not six equal columns."""
    count, rest = divmod(len(packed), _COLUMNS * _ITEM_BYTES)
    if rest:
        raise BadInputError(f"{len(packed)} bytes are not {_COLUMNS} columns of bars")
    types = (f"datetime64[{unit}]", *["float64"] * 4, "int64")
    width = count * _ITEM_BYTES
    columns: list[Any] = [np.frombuffer(packed, kind, count, place * width) for place, kind in enumerate(types)]
    return Bars(*columns)


NO_BARS = unpack_bars(b"", "ms")


def concat(parts: Sequence[Bars]) -> Bars:
    """Return the bars of all parts, one part after the other. Empty parts may be of any time unit."""
    filled = [part for part in parts if len(part)]
    if len(filled) <= 1:
        return filled[0] if filled else NO_BARS
    return Bars(*(np.concatenate([getattr(part, column.name) for part in filled]) for column in fields(Bars)))
