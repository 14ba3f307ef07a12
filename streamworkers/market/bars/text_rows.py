"""Bars as columns of text, the form in which COPY takes them, and the rows that were rejected."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamworkers.market.bars.bars import UNKNOWN_VOLUME, Bars, FloatArray, Mask, Starts, time_unit, to_times
from streamworkers.market.bars.numbers import UNKNOWN
from streamworkers.market.calendar.timeframes import Timeframe


@dataclass(frozen=True, slots=True)
class BarRows:
    """Valid bars as columns of text, all of one length, in the form in which COPY takes them.

    Prices stay text so that a numeric column gets the digits of the source, never a float's. `times` are
    `YYYY-MM-DD`, or for intraday bars ISO 8601 in UTC (`2024-01-02T14:30:00+00:00`), so that their order as text is
    their order in time. A volume that is not known is `UNKNOWN`. `lines` are the numbers of the rows in their file, or
    any increasing numbers.
    """

    lines: list[int]
    symbols: list[str]
    times: list[str]
    open: list[str]
    high: list[str]
    low: list[str]
    close: list[str]
    volume: list[str]

    def __len__(self) -> int:
        return len(self.lines)

    def copy_text(self, *, with_lines: bool = True) -> str:
        """Return the rows as text for COPY: line (optional), symbol, time, open, high, low, close, volume."""
        symbols = self.symbols
        if any("\\" in symbol for symbol in set(symbols)):
            symbols = [symbol.replace("\\", "\\\\") for symbol in symbols]
        lines = (map(str, self.lines),) if with_lines else ()
        columns = (
            *lines,
            symbols,
            self.times,
            self.open,
            self.high,
            self.low,
            self.close,
            self.volume,
        )
        text = "\n".join(map("\t".join, zip(*columns, strict=True)))
        return f"{text}\n" if text else ""


@dataclass(frozen=True, slots=True)
class Reject:
    """A rejected row: its line in the file (1 is the header), the code of the rule it breaks, a message, the row."""

    line: int
    rule: str
    detail: str
    row: str


@dataclass(frozen=True, slots=True)
class PriceColumns:
    """The prices of rows as numbers; NaN where a price is not plain digits."""

    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray

    def are_plain(self) -> Mask:
        """Return a mask of the rows whose prices are plain digits, above 0 and in order."""
        # A comparison with NaN is false, so a row with a price that is not plain is left to `validate_row`.
        ordered = (self.high >= self.open) & (self.high >= self.close)
        return ordered & (self.low <= self.open) & (self.low <= self.close) & (self.low > 0)

    def put(self, index: int, texts: Sequence[str]) -> None:
        """Set the prices of one row from its digits."""
        for column, text in zip((self.open, self.high, self.low, self.close), texts, strict=True):
            column[index] = float(text)

    def at(self, places: Mask | Starts | slice) -> "PriceColumns":
        """Return the rows at these places."""
        return PriceColumns(self.open[places], self.high[places], self.low[places], self.close[places])


@dataclass(frozen=True, slots=True)
class RowChunk:
    """The valid and the rejected rows of one block of a file, in the order of the file.

    `prices` are those of the valid rows. `rounded` counts the valid rows whose volume was rounded.
    """

    rows: BarRows
    rejects: list[Reject]
    prices: PriceColumns
    rounded: int = 0

    @property
    def rows_read(self) -> int:
        """The number of rows in the block, valid and rejected; blank lines are not rows."""
        return len(self.rows) + len(self.rejects)


NO_ROWS = RowChunk(BarRows([], [], [], [], [], [], [], []), [], PriceColumns(*[np.zeros(0)] * 4))


def format_bars(symbol: str, timeframe: Timeframe, bars: Bars, first_line: int = 1) -> BarRows:
    """Return the bars as rows of text; a price gets the shortest digits that identify its float."""
    opened, high, low, close = (
        list(map(repr, column.tolist())) for column in (bars.open, bars.high, bars.low, bars.close)
    )
    lines = list(range(first_line, first_line + len(bars)))
    volume = [UNKNOWN if shares == UNKNOWN_VOLUME else str(shares) for shares in bars.volume.tolist()]
    times = format_times(timeframe, bars.starts)
    return BarRows(lines, [symbol] * len(bars), times, opened, high, low, close, volume)


def parse_rows(timeframe: Timeframe, rows: BarRows) -> Bars:
    """Return valid rows as bars."""
    times = np.array([time[:19] for time in rows.times], f"datetime64[{time_unit(timeframe)}]")
    opened, high, low, close = (
        np.array(list(map(float, column))) for column in (rows.open, rows.high, rows.low, rows.close)
    )
    volume = [UNKNOWN_VOLUME if text == UNKNOWN else int(text) for text in rows.volume]
    return Bars(times, opened, high, low, close, np.array(volume, np.int64))


def format_times(timeframe: Timeframe, starts: Starts) -> list[str]:
    """Return starts in the form of `BarRows.times`."""
    times = to_times(timeframe, starts)
    if timeframe.intraday:
        return [f"{text}+00:00" for text in np.datetime_as_string(times, unit="s").tolist()]
    days: list[str] = np.datetime_as_string(times).tolist()
    return days
