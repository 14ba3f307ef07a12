"""Bars as text in columns, on their way into a table, and the rows that were rejected on the way."""

from dataclasses import dataclass
from itertools import repeat


@dataclass(frozen=True, slots=True)
class BarRows:
    """Valid bars as columns of text, all of one length, in the form in which COPY takes them.

    Prices stay text so that a numeric column gets the digits of the source, never a float's. `times` are
    `YYYY-MM-DD`, or for intraday bars ISO 8601 in UTC (`2024-01-02T14:30:00+00:00`), so that their order as text is
    their order in time. `lines` are the numbers of the rows in their file, or any increasing numbers.
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
        """The rows as text for COPY: line, if wanted, symbol, time, open, high, low, close, volume."""
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
        return "".join(map(str.__add__, map("\t".join, zip(*columns, strict=True)), repeat("\n")))


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was rejected: its line in the file (1 is the header), the rule's code, a sentence, the row."""

    line: int
    rule: str
    detail: str
    row: str


@dataclass(frozen=True, slots=True)
class RowChunk:
    """What one block of a file held: valid rows and rejected ones, in the order of the file."""

    rows: BarRows
    rejects: list[Reject]

    @property
    def rows_read(self) -> int:
        """The number of rows in the block, good and rejected; blank lines are no rows."""
        return len(self.rows) + len(self.rejects)
