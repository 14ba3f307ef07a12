"""Reads bars from files that people have, as a stream of validated rows.

A file passes these stages: bytes to text (`unpack`, `csv_lines`), the header with delimiter and layout (`header`,
`layouts`), the places of the fields (`row_plan`), the times of each exchange (`bar_times`), and the rules for rows
(`column_rules`). What had to be assumed on the way is in `notes`.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import repeat
from operator import attrgetter
from pathlib import Path
from zoneinfo import ZoneInfo

from streamworkers.market.bars.bar_times import BarTimes, Home
from streamworkers.market.bars.column_rules import validate_rows
from streamworkers.market.bars.numbers import UNKNOWN
from streamworkers.market.bars.rules import Rule
from streamworkers.market.bars.text_rows import NO_ROWS, Reject, RowChunk
from streamworkers.market.calendar.exchange import DEFAULT_CALENDAR, calendar_of_ending, exchange_named
from streamworkers.market.calendar.symbol_calendars import ANY
from streamworkers.market.calendar.timeframes import Timeframe
from streamworkers.market.files.csv_lines import LineBlock, ReadProgress, read_line_blocks, split_fields, word_csv_error
from streamworkers.market.files.header import FileHeader, read_header
from streamworkers.market.files.notes import Notes
from streamworkers.market.files.options import ReadOptions
from streamworkers.market.files.row_plan import BarColumns, RowPlan, adjust_prices, make_plan

_SAMPLE_LINES = 200
_STANDARD_OPTIONS = ReadOptions()


def read_bars_file(
    path: Path,
    timeframe: Timeframe,
    progress: ReadProgress | None = None,
    *,
    symbol: str | None = None,
    options: ReadOptions = _STANDARD_OPTIONS,
    notes: Notes | None = None,
) -> Iterator[RowChunk]:
    """Yield the rows of a file in chunks of some thousand, each row either valid or rejected with a reason.

    `symbol` is that of all rows in a file without a column of symbols. Blank lines are not rows. `progress` is called
    with the packed bytes read so far; `notes` gets what was assumed. Raises BadInputError as `read_line_blocks`,
    `read_header` and `make_plan` do.
    """
    notes = notes if notes is not None else Notes()
    reader: _Reader | None = None
    for block in read_line_blocks(path, progress, options.limits, notes, options.encoding):
        if reader is None:
            header = read_header(path, block.lines, options, notes)
            sample = list(_sample(block.lines[header.lines :], header.delimiter))
            plan = make_plan(path, header, options, sample, symbol, notes)
            reader = _Reader(timeframe, header, plan, options)
            block = LineBlock(block.first_line + header.lines, block.lines[header.lines :])
        yield from reader.read(block)
    if reader is not None:
        reader.finish(notes)


def _sample(lines: Sequence[str], delimiter: str) -> Iterator[list[str]]:
    for line in lines[:_SAMPLE_LINES]:
        try:
            yield split_fields(line, delimiter)
        except csv.Error:
            continue


class _Reader:
    """Reads the blocks of one file by its plan."""

    def __init__(self, timeframe: Timeframe, header: FileHeader, plan: RowPlan, options: ReadOptions) -> None:
        self._timeframe, self._plan, self._options = timeframe, plan, options
        self._zone = options.zone or (None if header.layout.zone is None else ZoneInfo(header.layout.zone))
        self._layout = header.layout
        self._calendars: dict[str, tuple[str, bool]] = {}
        self._times: dict[tuple[str, bool], BarTimes] = {}

    def read(self, block: LineBlock) -> list[RowChunk]:
        """Return the rows of a block, those of each exchange and symbol of a wide file together."""
        numbers: Sequence[int] = range(block.first_line, block.first_line + len(block.lines))
        texts = block.lines
        if not all(texts) or any(map(str.isspace, texts)):
            filled = [(number, text) for number, text in zip(numbers, texts, strict=True) if text.strip()]
            numbers, texts = [number for number, _ in filled], [text for _, text in filled]
        if not texts:
            return []
        chunks: list[RowChunk] = []
        width, delimiter = self._plan.width, self._plan.delimiter
        joined = delimiter.join(texts)
        if '"' in joined or self._plan.keeps or set(map(str.count, texts, repeat(delimiter))) != {width - 1}:
            numbers, texts, fields, rejects = self._split_singly(numbers, texts)
            chunks.append(replace(NO_ROWS, rejects=rejects))
        else:
            # One flat split and a stride for each column: a list for every row would cost four times as much.
            flat = joined.split(delimiter)
            fields = [flat[place::width] for place in range(width)]
        for bars in self._plan.bars:
            chunks += self._read_bars(numbers, texts, fields, bars)
        return _join(chunks)

    def finish(self, notes: Notes) -> None:
        """Add what the times have shown to the notes."""
        for times in self._times.values():
            used = times.used
            if used.of_naive is not None and self._options.zone is None:
                notes.add("zone", f"times without one are in {used.of_naive} (--timezone)")
            if used.of_moments is not None:
                notes.add("days", f"moments are dated in {used.of_moments} (--calendar)")
            if used.moved_labels:
                start = "Monday" if self._timeframe.name == "week" else "first day"
                notes.add("labels", f"each {self._timeframe.name} is labelled with its {start}")
        calendars = sorted({calendar for calendar, _ in self._times} - {DEFAULT_CALENDAR})
        if calendars and self._options.calendar is None:
            notes.add("calendar", f"{', '.join(calendars)} (--calendar)")

    def _split_singly(
        self, numbers: Sequence[int], texts: Sequence[str]
    ) -> tuple[list[int], list[str], list[list[str]], list[Reject]]:
        """Split a block in which some rows have quotes, more or fewer fields than the header, or are no bars."""
        kept: list[tuple[int, str, list[str]]] = []
        rejects: list[Reject] = []
        for number, text in zip(numbers, texts, strict=True):
            reject = self._split_row(number, text, kept)
            if reject is not None:
                rejects.append(reject)
        columns = [[fields[place] for _, _, fields in kept] for place in range(self._plan.width)]
        return [number for number, _, _ in kept], [text for _, text, _ in kept], columns, rejects

    def _split_row(self, number: int, text: str, kept: list[tuple[int, str, list[str]]]) -> Reject | None:
        width = self._plan.width
        try:
            fields = split_fields(text, self._plan.delimiter)
        except csv.Error as error:
            return Reject(number, Rule.BAD_QUOTES, f"the quotes of the row do not match: {word_csv_error(error)}", text)
        if len(fields) == width + 1 and not fields[-1].strip():
            fields.pop()
        if len(fields) != width:
            detail = f"the row has {len(fields)} fields where the header has {width}"
            return Reject(number, Rule.FIELD_COUNT, detail, text)
        for place, name, values in self._plan.keeps:
            if fields[place].strip() not in values:
                detail = f"{name} is {fields[place].strip()!r}, not one of {', '.join(sorted(values))}"
                return Reject(number, Rule.OTHER_SERIES, detail, text)
        kept.append((number, text, fields))
        return None

    def _read_bars(
        self, numbers: Sequence[int], texts: Sequence[str], fields: Sequence[Sequence[str]], bars: BarColumns
    ) -> Iterator[RowChunk]:
        count = len(texts)
        symbols = [bars.symbol] * count if isinstance(bars.symbol, str) else fields[bars.symbol]
        stamps = [bars.time] * count if isinstance(bars.time, str) else fields[bars.time]
        if bars.clock is not None:
            stamps = list(map("{} {}".format, map(str.strip, stamps), map(str.strip, fields[bars.clock])))
        prices = [fields[place] for place in bars.prices]
        volumes = [UNKNOWN] * count if bars.volume is None else fields[bars.volume]
        if bars.adjusted is not None:
            prices = list(adjust_prices(prices, fields[bars.adjusted], self._plan.style))
        if self._plan.keeps:
            symbols = list(map(str.strip, symbols))
        columns: list[Sequence[str]] = [symbols, stamps, *prices, volumes]
        if self._plan.is_wide:
            numbers, texts, columns = _without_gaps(numbers, texts, columns)
        for times, places in self._by_exchange(columns[0]):
            if places is None:
                yield validate_rows(numbers, columns, texts, times, self._plan.style)
            else:
                chosen = [[column[place] for place in places] for column in columns]
                some = [numbers[place] for place in places], [texts[place] for place in places]
                yield validate_rows(some[0], chosen, some[1], times, self._plan.style)

    def _by_exchange(self, symbols: Sequence[str]) -> Iterator[tuple[BarTimes, list[int] | None]]:
        """Yield the times of each exchange with the places of its rows; None stands for all rows."""
        different = set(symbols)
        for symbol in different - self._calendars.keys():
            self._calendars[symbol] = self._calendar_of(symbol)
        calendars = {self._calendars[symbol] for symbol in different}
        if len(calendars) == 1:
            yield self._times_of(*calendars.pop()), None
            return
        places: dict[tuple[str, bool], list[int]] = defaultdict(list)
        for place, symbol in enumerate(symbols):
            places[self._calendars[symbol]].append(place)
        for calendar, chosen in places.items():
            yield self._times_of(*calendar), chosen

    def _calendar_of(self, symbol: str) -> tuple[str, bool]:
        """Return the calendar of a symbol, and whether somebody named it."""
        rules = self._options.calendar_rules
        default = rules.patterns[ANY]
        ruled = rules.calendar_of(symbol)
        if (named := self._options.calendar or (ruled if ruled != default else calendar_of_ending(symbol))) is not None:
            return named, True
        return self._layout.calendar or default, default != DEFAULT_CALENDAR

    def _times_of(self, calendar: str, is_named: bool) -> BarTimes:
        if (calendar, is_named) not in self._times:
            home = Home(
                exchange_named(calendar),
                is_named=is_named,
                is_judge=self._options.judges_sessions,
                zone=self._zone,
                week_label=self._options.week_label,
            )
            self._times[calendar, is_named] = BarTimes(self._timeframe, self._plan.spelling, home)
        return self._times[calendar, is_named]


def _join(chunks: list[RowChunk]) -> list[RowChunk]:
    """Put the rejected rows of a block with one chunk of valid rows into the order of the file."""
    if len(chunks) != 2 or len(chunks[0].rows):
        return chunks
    rejects = sorted([*chunks[0].rejects, *chunks[1].rejects], key=attrgetter("line"))
    return [replace(chunks[1], rejects=rejects)]


def _without_gaps(
    numbers: Sequence[int], texts: Sequence[str], columns: list[Sequence[str]]
) -> tuple[list[int], list[str], list[Sequence[str]]]:
    """Leave out the days on which a symbol of a wide file has no bar: all of its fields are empty."""
    there = [place for place, row in enumerate(zip(*columns[2:6], strict=True)) if any(map(str.strip, row))]
    chosen: list[Sequence[str]] = [[column[place] for place in there] for column in columns]
    return [numbers[place] for place in there], [texts[place] for place in there], chosen
