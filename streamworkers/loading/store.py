"""Stores loaded series in their tables, in the transaction that closes their items."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from streamworkers.database import Connection
from streamworkers.errors import ItemError
from streamworkers.loading.absence import AbsentRange, record_absent
from streamworkers.loading.checkpoints import delete_checkpoints
from streamworkers.loading.listings import record_listings
from streamworkers.loading.provenance import (
    ProvenanceError,
    SeriesSource,
    describe_better,
    find_conflicts,
    list_better,
    record_origin,
    record_sources,
    require_replaceable,
)
from streamworkers.loading.providers.provider import BarOrigin, Listing
from streamworkers.loading.spool import BarSpool
from streamworkers.market.bars.changes import ChangeRecorder
from streamworkers.market.bars.incoming import IncomingChecks
from streamworkers.market.bars.text_rows import BarRows, format_bars
from streamworkers.market.bars.write import LoadCounts, Series, delete_bars, load_rows, lock_bars, store_series
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES, Timeframe
from streamworkers.market.calendar.windows import moment_of

_ROWS_OF_A_STATEMENT = 300_000
_ROWS_OF_A_PART = 10_000  # as text they take twenty times the memory that they take as numbers


@dataclass(frozen=True, slots=True)
class BarsToSave:
    """The loaded bars of an item, where they came from, and the stored range that they replace (None: no range).

    `factor` is that of the new prices to the replaced ones.
    """

    timeframe: Timeframe
    spool: BarSpool
    source: SeriesSource
    replaces: tuple[date | datetime, date | datetime] | None
    checkpoint_key: str
    factor: float | None = None
    absent: Sequence[AbsentRange] = ()
    listing: Listing | None = None

    @property
    def days(self) -> tuple[str, date, date] | None:
        """The symbol and the days of its first and last bar, None of bars wider than a day."""
        if self.spool.first is None or self.spool.last is None or self.timeframe.name in ("week", "month"):
            return None
        moments = (moment_of(self.timeframe, start) for start in (self.spool.first, self.spool.last))
        days = [at.astimezone(EXCHANGE_ZONE).date() if isinstance(at, datetime) else at for at in moments]
        return self.source.symbol, days[0], days[1]


def store_loaded(connection: Connection, run_id: int, values: Sequence[BarsToSave]) -> None:
    """Store series and their sources, and delete their checkpoints.

    A series that another load fetched later keeps its stored bars and its source; only missing bars are added to it.
    Raises ItemError if another kind of series was stored since the load was planned.
    """
    sources = [value.source for value in values]
    if symbols := find_conflicts(connection, sources):
        raise ItemError(f"bars of {', '.join(sorted(symbols))} were reloaded as another series since this load began")
    for frame in TIMEFRAMES.values():
        for origin in {source.origin for source in sources}:
            names = [one.symbol for one in sources if one.timeframe == frame.name and one.origin is origin]
            require_replaceable(connection, frame, names, origin)
    newest = record_sources(connection, sources)
    for frame in TIMEFRAMES.values():
        group = [value for value in values if value.timeframe == frame]
        if group:
            _store_timeframe(connection, frame, group, newest)
    listings = [value.listing for value in values if value.listing is not None]
    record_listings(connection, listings, sources[0].provider, [value.days for value in values if value.days])
    delete_checkpoints(connection, run_id, [value.checkpoint_key for value in values])


def load_unreal(
    connection: Connection, timeframe: Timeframe, chunks: Iterable[BarRows], origin: BarOrigin
) -> LoadCounts:
    """Store sample or invented rows and their origin, all or none.

    Raises ProvenanceError, and stores nothing, if they would replace better bars.
    """
    with connection.transaction():
        lock_bars(connection, timeframe)
        better = list_better(connection, timeframe, origin)

        def checked() -> Iterator[BarRows]:
            for chunk in chunks:
                if known := sorted(better.intersection(chunk.symbols)):
                    raise ProvenanceError(describe_better(timeframe, known, origin))
                yield chunk

        lesser = tuple(one.value for one in BarOrigin if one.rank < origin.rank)
        counts = load_rows(connection, timeframe, checked(), IncomingChecks(replaces=lesser))
        record_origin(connection, timeframe, counts.symbols, origin)
    return counts


def _store_timeframe(
    connection: Connection, frame: Timeframe, group: Sequence[BarsToSave], newest: set[tuple[str, str]]
) -> None:
    lock_bars(connection, frame)
    replaced = [one for one in group if one.replaces is not None and (one.source.symbol, frame.name) in newest]
    recorder = ChangeRecorder(
        connection,
        frame,
        min(value.source.fetched_at for value in group),
        {value.source.symbol: value.factor for value in replaced},
    )
    recorder.begin(value.source.symbol for value in group)
    for value in replaced:
        assert value.replaces is not None
        delete_bars(recorder, value.source.symbol, *value.replaces)
    for is_newest in (True, False):
        chosen = [value for value in group if ((value.source.symbol, frame.name) in newest) is is_newest]
        for part in _split_by_rows(chosen):
            rows = [_to_series(value) for value in part]
            store_series(connection, frame, rows, keep_stored=not is_newest, recorder=recorder)
    recorder.finish()
    stored = [value.source.symbol for value in group if value.spool.count]
    record_absent(connection, frame, stored, [one for value in group for one in value.absent])


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
