"""Writes bars to the table of their timeframe, whatever their source.

Rows are copied to a temporary table and moved from there by two statements, an UPDATE of the bars that differ and an
INSERT of the new ones, under a SHARE ROW EXCLUSIVE lock, which excludes other writers but no readers. The lock makes
the pair an upsert with exact counts. `INSERT … ON CONFLICT DO UPDATE` would take twice the time, because it inserts
speculatively and locks the unchanged rows as well.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import NamedTuple

import psycopg
from psycopg import sql

from streamworkers.market.bars.changes import Change, ChangeRecorder, insert_changes
from streamworkers.market.bars.incoming import CREATE, NO_CHECKS, IncomingChecks, remove_duplicates, remove_misfits
from streamworkers.market.bars.lesser import remove_lesser
from streamworkers.market.bars.text_rows import BarRows
from streamworkers.market.calendar.timeframes import Timeframe

_UPDATE_CHANGED = """
UPDATE {table} t SET open = i.open, high = i.high, low = i.low, close = i.close, volume = i.volume
FROM pg_temp.incoming_bars i
WHERE t.symbol = i.symbol AND t.{time} = i.{time}
  AND (t.open, t.high, t.low, t.close, t.volume) IS DISTINCT FROM (i.open, i.high, i.low, i.close, i.volume)
RETURNING t.symbol, t.{time} AS time"""

# The sort completes the search before the first insert. Without it, a plan that reads the table for each row, which is
# good for an empty table, would also read the rows that the same statement has just inserted.
_INSERT_NEW = """
INSERT INTO {table} (symbol, {time}, open, high, low, close, volume)
SELECT symbol, {time}, open, high, low, close, volume FROM pg_temp.incoming_bars i
WHERE NOT EXISTS (SELECT FROM {table} t WHERE t.symbol = i.symbol AND t.{time} = i.{time})
ORDER BY line RETURNING symbol, {time} AS time"""

_DELETE_RANGE = """
DELETE FROM {table} WHERE symbol = {symbol} AND {time} BETWEEN {first} AND {last} RETURNING symbol, {time} AS time"""

_FREE_RANGES = """
SELECT s.symbol FROM unnest(%s::text[], %s::{kind}, %s::{kind}) AS s (symbol, first, last)
WHERE NOT EXISTS (SELECT FROM {table} t WHERE t.symbol = s.symbol AND t.{time} BETWEEN s.first AND s.last)"""


@dataclass(frozen=True, slots=True)
class LoadCounts:
    """The numbers of rows of one load by result; `first` and `last` are bar times, None if no row was loaded.

    `removed` counts duplicates and misfits; `replaced` are the symbols whose bars of a lesser origin were deleted.
    """

    inserted: int
    updated: int
    unchanged: int
    removed: int
    symbols: frozenset[str]
    first: date | datetime | None
    last: date | datetime | None
    replaced: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Seen:
    """Notes on the rows sent to the server: enough to exclude duplicates, in memory that grows with the symbols."""

    rows: int = 0
    newest: dict[str, str] = field(default_factory=dict)
    ordered: bool = True
    first: str | None = None
    last: str | None = None
    months: set[str] = field(default_factory=set)

    def note(self, chunk: BarRows) -> None:
        self.rows += len(chunk)
        oldest, newest = min(chunk.times), max(chunk.times)
        self.first = oldest if self.first is None else min(self.first, oldest)
        self.last = newest if self.last is None else max(self.last, newest)
        self.months.update(time[:7] for time in set(chunk.times))
        known = self.newest
        for symbol, time in zip(chunk.symbols, chunk.times, strict=True):
            if known.get(symbol, "") >= time:
                self.ordered = False
            known[symbol] = time


def load_rows(
    connection: psycopg.Connection,
    timeframe: Timeframe,
    chunks: Iterable[BarRows],
    checks: IncomingChecks = NO_CHECKS,
    *,
    keep_stored: bool = False,
    recorder: ChangeRecorder | None = None,
) -> LoadCounts:
    """Insert new bars and update those that differ, in one transaction or savepoint, and record what has changed.

    With a `recorder`, which the caller finishes, this is a part of a larger write. With `keep_stored`, stored bars are
    not updated. `checks` says what is done with misfits, and with several rows for one symbol and time (the last is
    kept). Prices that differ only in trailing zeros are equal. An error raised by `chunks` or `checks` rolls everything
    back. Memory does not grow with the number of rows.
    """
    names = _names_of(timeframe)
    seen, changes = _Seen(), recorder or ChangeRecorder(connection, timeframe)
    with connection.transaction(), connection.cursor() as cursor:
        _copy_incoming(cursor, names, chunks, seen)
        # Increasing times within each symbol exclude duplicates; only other input needs the sort.
        removed = 0 if seen.ordered else remove_duplicates(cursor, names, checks)
        removed += remove_misfits(cursor, names, checks)
        checks.approve()
        replaced = _begin(cursor, changes, names, seen, checks.replaces)
        updated, inserted = _move(cursor, changes, names, keep_stored=keep_stored) if seen.rows else (0, 0)
        if recorder is None and seen.rows:
            changes.finish()
        # A load inside a longer transaction must leave the name free for the next one.
        cursor.execute("DROP TABLE pg_temp.incoming_bars")
    return LoadCounts(
        inserted=inserted,
        updated=updated,
        unchanged=seen.rows - removed - inserted - updated,
        removed=removed,
        symbols=frozenset(seen.newest),
        first=_parse_time(seen.first, timeframe),
        last=_parse_time(seen.last, timeframe),
        replaced=replaced,
    )


def _names_of(timeframe: Timeframe) -> dict[str, sql.Composable]:
    return {
        "frame": sql.Literal(timeframe.name),
        "table": sql.Identifier(timeframe.table),
        "time": sql.Identifier(timeframe.time_column),
        "time_type": sql.SQL("timestamptz" if timeframe.intraday else "date"),
    }


class Series(NamedTuple):
    """Bars of one symbol in order of time: the first and last time, and the rows, which are read once."""

    symbol: str
    first: date | datetime
    last: date | datetime
    rows: Iterable[BarRows]


def store_series(
    connection: psycopg.Connection,
    timeframe: Timeframe,
    series: Sequence[Series],
    *,
    keep_stored: bool = False,
    recorder: ChangeRecorder | None = None,
) -> None:
    """Do what `load_rows` does, for whole series; a series in a range without stored bars is copied directly.

    With a `recorder`, which the caller finishes, these series are a part of a larger write.
    """
    table, time = sql.Identifier(timeframe.table), sql.Identifier(timeframe.time_column)
    kind = sql.SQL("timestamptz[]" if timeframe.intraday else "date[]")
    with connection.transaction(), connection.cursor() as cursor:
        lock_bars(connection, timeframe)
        changes = recorder or ChangeRecorder(connection, timeframe)
        changes.begin(one.symbol for one in series)
        cursor.execute(
            sql.SQL(_FREE_RANGES).format(table=table, time=time, kind=kind),
            ([one.symbol for one in series], [one.first for one in series], [one.last for one in series]),
        )
        free = {symbol for (symbol,) in cursor.fetchall()}
        new = [one for one in series if one.symbol in free]
        if new:
            if timeframe.name == "1min":
                _ensure_minute_partitions(cursor, _months_of(new))
            columns = sql.SQL("{table} (symbol, {time}, open, high, low, close, volume)").format(table=table, time=time)
            with cursor.copy(sql.SQL("COPY {} FROM STDIN").format(columns)) as copy:
                for one in new:
                    for rows in one.rows:
                        copy.write(rows.copy_text(with_lines=False))
            for one in new:
                changes.note_copied(one.symbol, one.first, one.last)
        others = [one for one in series if one.symbol not in free]
        if others:
            load_rows(connection, timeframe, _numbered(others), keep_stored=keep_stored, recorder=changes)
        if recorder is None:
            changes.finish()


def lock_bars(connection: psycopg.Connection, timeframe: Timeframe) -> None:
    """Exclude other writers of a table to the end of the transaction.

    Call it before the first change: two transactions that lock later can deadlock.
    """
    connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(sql.Identifier(timeframe.table)))


def _numbered(series: Iterable[Series]) -> Iterator[BarRows]:
    """Yield the rows of all series, with consecutive line numbers."""
    line = 1
    for one in series:
        for rows in one.rows:
            yield replace(rows, lines=list(range(line, line + len(rows))))
            line += len(rows)


def _months_of(series: Iterable[Series]) -> Iterator[str]:
    """Yield every month from the first bar to the last, as `YYYY-MM`."""
    first = min(one.first.strftime("%Y-%m") for one in series)
    last = max(one.last.strftime("%Y-%m") for one in series)
    year, month = map(int, first.split("-"))
    while (name := f"{year:04d}-{month:02d}") <= last:
        yield name
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)


def _ensure_minute_partitions(cursor: psycopg.Cursor, months: Iterable[str]) -> None:
    for month in months:
        ensure_minute_partition(cursor, datetime.fromisoformat(f"{month}-01T00:00:00+00:00"))


def ensure_minute_partition(executor: psycopg.Connection | psycopg.Cursor, moment: datetime) -> None:
    """Create the partition of 1-minute bars for the moment's month, if it does not exist."""
    executor.execute("SELECT ensure_ohlcv_1min_partition(%s)", (moment,))


def _copy_incoming(
    cursor: psycopg.Cursor, names: dict[str, sql.Composable], chunks: Iterable[BarRows], seen: _Seen
) -> None:
    """Copy the rows to a new temporary table."""
    cursor.execute(sql.SQL(CREATE).format(**names))
    with cursor.copy("COPY pg_temp.incoming_bars FROM STDIN") as copy:
        for chunk in chunks:
            if len(chunk):
                seen.note(chunk)
                copy.write(chunk.copy_text())


def _begin(
    cursor: psycopg.Cursor,
    changes: ChangeRecorder,
    names: dict[str, sql.Composable],
    seen: _Seen,
    origins: Sequence[str],
) -> frozenset[str]:
    """Prepare the real table for the rows; returns the symbols whose bars of one of these origins were deleted."""
    if not seen.rows:
        return frozenset()
    lock_bars(cursor.connection, changes.timeframe)
    changes.begin(seen.newest)
    if changes.timeframe.name == "1min":
        _ensure_minute_partitions(cursor, sorted(seen.months))
    return remove_lesser(cursor, changes, names, origins)


def _move(
    cursor: psycopg.Cursor, changes: ChangeRecorder, names: dict[str, sql.Composable], *, keep_stored: bool
) -> tuple[int, int]:
    """Move rows from the temporary table to the real one; returns the numbers (updated, inserted)."""
    update, insert = (changes.counting(sql.SQL(text).format(**names)) for text in (_UPDATE_CHANGED, _INSERT_NEW))
    updated = 0 if keep_stored else changes.note(cursor.execute(update).fetchall())
    return updated, changes.note(cursor.execute(insert).fetchall())


def announce_bars(
    connection: psycopg.Connection,
    timeframe: Timeframe,
    symbols: Iterable[str],
    since: date | datetime | None = None,
) -> None:
    """Record that another program has written bars of these symbols.

    Without `since`, it has appended some, nobody knows which. With it, a bar's time, it may have changed any bar from
    there on, and their results are outdated.
    """
    names = sorted({*symbols})
    with connection.transaction():
        lock_bars(connection, timeframe)
        if since is None:
            insert_changes(connection, timeframe, [Change(symbol, "append", None, None) for symbol in names])
            return
        changes = ChangeRecorder(connection, timeframe)
        changes.begin(names)
        for symbol in names:
            changes.note_since(symbol, since)
        changes.finish()


def _parse_time(text: str | None, timeframe: Timeframe) -> date | datetime | None:
    if text is None:
        return None
    return datetime.fromisoformat(text) if timeframe.intraday else date.fromisoformat(text)


def delete_bars(changes: ChangeRecorder, symbol: str, first: date | datetime, last: date | datetime) -> int:
    """Delete the bars of a symbol, which the recorder has begun with, from `first` to `last`; returns their number."""
    statement = sql.SQL(_DELETE_RANGE).format(
        **_names_of(changes.timeframe), symbol=sql.Literal(symbol), first=sql.Literal(first), last=sql.Literal(last)
    )
    return changes.note(changes.connection.execute(changes.counting(statement)).fetchall())
