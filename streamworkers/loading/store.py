"""Stores loaded series in their tables, in the transaction that closes their items."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from streamworkers.database import Connection
from streamworkers.errors import ItemError
from streamworkers.loading.checkpoints import delete_checkpoints
from streamworkers.loading.provenance import SeriesSource, find_conflicts, record_sources
from streamworkers.loading.spool import BarSpool
from streamworkers.market.bars.text_rows import format_bars
from streamworkers.market.bars.write import Series, delete_bars, lock_bars, store_series
from streamworkers.market.calendar.timeframes import TIMEFRAMES, Timeframe
from streamworkers.market.calendar.windows import moment_of

_ROWS_OF_A_STATEMENT = 300_000
_ROWS_OF_A_PART = 10_000  # as text they take twenty times the memory that they take as numbers


@dataclass(frozen=True, slots=True)
class BarsToSave:
    """The loaded bars of an item, where they came from, and the stored range that they replace (None: no range)."""

    timeframe: Timeframe
    spool: BarSpool
    source: SeriesSource
    replaces: tuple[date | datetime, date | datetime] | None
    checkpoint_key: str


def store_loaded(connection: Connection, run_id: int, values: Sequence[BarsToSave]) -> None:
    """Store series and their sources, and delete their checkpoints.

    A series that another load fetched later keeps its stored bars and its source; only missing bars are added to it.
    Raises ItemError if another kind of series was stored since the load was planned.
    """
    sources = [value.source for value in values]
    if symbols := find_conflicts(connection, sources):
        raise ItemError(f"bars of {', '.join(sorted(symbols))} were reloaded as another series since this load began")
    newest = record_sources(connection, sources)
    for frame in TIMEFRAMES.values():
        group = [value for value in values if value.timeframe == frame]
        if group:
            _store_timeframe(connection, frame, group, newest)
    delete_checkpoints(connection, run_id, [value.checkpoint_key for value in values])


def _store_timeframe(
    connection: Connection, frame: Timeframe, group: Sequence[BarsToSave], newest: set[tuple[str, str]]
) -> None:
    lock_bars(connection, frame)
    for value in group:
        if value.replaces is not None and (value.source.symbol, frame.name) in newest:
            delete_bars(connection, frame, value.source.symbol, *value.replaces)
    for is_newest in (True, False):
        chosen = [value for value in group if ((value.source.symbol, frame.name) in newest) is is_newest]
        for part in _split_by_rows(chosen):
            store_series(connection, frame, [_to_series(value) for value in part], keep_stored=not is_newest)


def _split_by_rows(values: Sequence[BarsToSave]) -> Iterator[list[BarsToSave]]:
    """Yield as many series together as one statement should store."""
    part: list[BarsToSave] = []
    rows = 0
    for value in values:
        if not value.spool.count:
            continue
        if part and rows + value.spool.count > _ROWS_OF_A_STATEMENT:
            yield part
            part, rows = [], 0
        part.append(value)
        rows += value.spool.count
    if rows:
        yield part


def _to_series(value: BarsToSave) -> Series:
    frame, spool = value.timeframe, value.spool
    assert spool.first is not None
    assert spool.last is not None
    rows = (format_bars(value.source.symbol, frame, part) for bars in spool for part in bars.parts(_ROWS_OF_A_PART))
    return Series(value.source.symbol, moment_of(frame, spool.first), moment_of(frame, spool.last), rows)
