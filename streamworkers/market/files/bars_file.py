"""Reads bars from CSV as a stream of validated rows."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import attrgetter
from pathlib import Path

from streamworkers.errors import BadInputError
from streamworkers.market.bars.column_rules import validate_rows
from streamworkers.market.bars.rules import Rule
from streamworkers.market.bars.text_rows import Reject, RowChunk
from streamworkers.market.calendar.timeframes import Timeframe
from streamworkers.market.files.csv_lines import (
    LineBlock,
    ReadProgress,
    header_names,
    read_line_blocks,
    require_columns,
    split_fields,
)

TIME_COLUMNS = ("date", "timestamp", "datetime", "time")
_PRICE_COLUMNS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class _Layout:
    """The positions of a bar's fields in a row of `width` fields: all seven, or six if the symbol is given."""

    width: int
    positions: tuple[int, ...]
    symbol: str | None = None

    def with_symbols(self, columns: list[list[str]], count: int) -> list[list[str]]:
        """Return the columns of all seven fields."""
        return columns if self.symbol is None else [[self.symbol] * count, *columns]


def read_bars(
    path: Path, timeframe: Timeframe, progress: ReadProgress | None = None, *, symbol: str | None = None
) -> Iterator[RowChunk]:
    """Yield the rows of a file in chunks of some thousand, each row either valid or rejected with a reason.

    The header names its columns in any order and case: symbol, one of date, timestamp, datetime, time, and open,
    high, low, close, volume; others are ignored. With `symbol` the column symbol may be absent, and all rows are of
    that symbol. Blank lines are not rows. `progress` is called with the compressed bytes read so far. Raises
    BadInputError as `read_line_blocks` does, and for a missing or ambiguous column.
    """
    layout: _Layout | None = None
    for block in read_line_blocks(path, progress):
        if layout is None:
            layout = _read_layout(path, block.lines[0], symbol)
            block = LineBlock(block.first_line + 1, block.lines[1:])
        yield _validate_block(block, layout, intraday=timeframe.intraday)


def _read_layout(path: Path, header: str, symbol: str | None) -> _Layout:
    names = header_names(path, header)
    stamps = [name for name in names if name in TIME_COLUMNS]
    if len(stamps) > 1:
        raise BadInputError(f"{path} has more than one time column: {', '.join(stamps)}; keep one")
    columns: tuple[str, ...] = ("symbol", stamps[0] if stamps else "date", *_PRICE_COLUMNS)
    if symbol is not None and "symbol" not in names:
        columns = columns[1:]
    else:
        symbol = None
    require_columns(path, names, columns)
    return _Layout(len(names), tuple(names.index(name) for name in columns), symbol)


def _validate_block(block: LineBlock, layout: _Layout, *, intraday: bool) -> RowChunk:
    numbers: Sequence[int] = range(block.first_line, block.first_line + len(block.lines))
    texts = block.lines
    if not all(texts) or any(map(str.isspace, texts)):
        filled = [(number, text) for number, text in zip(numbers, texts, strict=True) if text.strip()]
        numbers, texts = [number for number, _ in filled], [text for _, text in filled]
    joined = ",".join(texts)
    if '"' in joined or set(map(str.count, texts, repeat(","))) != {layout.width - 1}:
        return _validate_rows_singly(numbers, texts, layout, intraday=intraday)
    # One flat split and a stride for each column: a list for every row would cost four times as much.
    fields = joined.split(",")
    columns = [fields[position :: layout.width] for position in layout.positions]
    return validate_rows(numbers, layout.with_symbols(columns, len(texts)), texts, intraday=intraday)


def _validate_rows_singly(numbers: Sequence[int], texts: Sequence[str], layout: _Layout, *, intraday: bool) -> RowChunk:
    """Validate a block in which some rows have quotes, or more or fewer fields than the header."""
    kept: list[tuple[int, str, list[str]]] = []
    rejects: list[Reject] = []
    for number, text in zip(numbers, texts, strict=True):
        try:
            fields = split_fields(text)
        except csv.Error as error:
            rejects.append(Reject(number, Rule.BAD_QUOTES, f"the quotes of the row do not match: {error}", text))
            continue
        if len(fields) == layout.width:
            kept.append((number, text, fields))
        else:
            detail = f"the row has {len(fields)} fields where the header has {layout.width}"
            rejects.append(Reject(number, Rule.FIELD_COUNT, detail, text))
    columns = [[fields[position] for _, _, fields in kept] for position in layout.positions]
    numbers, texts = [number for number, _, _ in kept], [text for _, text, _ in kept]
    columns = layout.with_symbols(columns, len(texts))
    valid = validate_rows(numbers, columns, texts, intraday=intraday)
    return RowChunk(valid.rows, sorted(rejects + valid.rejects, key=attrgetter("line")))
