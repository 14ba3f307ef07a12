"""Records what every writer of bars changed, in the writer's own transaction.

A row of `series_changes` says that bars of a series were appended, corrected or rebased; `series_state` says up to
which bar a series is complete: closed, and stored after its end. Bars after that one are open and are in no change yet.
The writers of a table take turns (`lock_bars`), so `n` grows in the order of their commits.

A write of bars up to the newest stored one, open or not, gives the series a new version (`series_versions`), and marks
results of bars from the first written one on as outdated.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from streamworkers.config import load_settings
from streamworkers.database import count_matching, delete_matching
from streamworkers.market.calendar.closes import days_around, find_newest_closed
from streamworkers.market.calendar.session_table import read_windows
from streamworkers.market.calendar.symbol_calendars import read_calendar_rules
from streamworkers.market.calendar.timeframes import Timeframe, bar_moment

CHANGES_CHANNEL = "series_changes"
_OLD = {
    # Rebases are kept: a rule that was written before a split is adjusted by its factor.
    "series_changes": "created_at < %s AND kind <> 'rebase'",
    "series_versions": "changed_at < %s AND EXISTS (SELECT FROM series_versions v"
    " WHERE (v.symbol, v.timeframe) = (series_versions.symbol, series_versions.timeframe)"
    " AND v.version > series_versions.version)",
}

# A series that was stored before changes were recorded begins with all of its closed bars.
_BEGIN = """
INSERT INTO series_state (timeframe, symbol, complete_through)
SELECT %s, s.symbol, (
    SELECT {moment} FROM {table} t WHERE t.symbol = s.symbol AND t.{time} <= s.bound ORDER BY t.{time} DESC LIMIT 1)
FROM unnest(%s::text[], %s::{kind}[]) AS s (symbol, bound)
ON CONFLICT DO NOTHING"""

_FIND = """
SELECT s.symbol, e.complete_through, (
    SELECT {moment} FROM {table} t WHERE t.symbol = s.symbol AND t.{time} <= s.bound ORDER BY t.{time} DESC LIMIT 1)
FROM unnest(%s::text[], %s::{kind}[]) AS s (symbol, bound)
JOIN series_state e ON e.timeframe = %s AND e.symbol = s.symbol
ORDER BY 1 FOR UPDATE OF e"""

_NEWEST = """
SELECT s.symbol, (SELECT {moment} FROM {table} t WHERE t.symbol = s.symbol ORDER BY t.{time} DESC LIMIT 1)
FROM unnest(%s::text[]) AS s (symbol)"""

_FIRST_AFTER = """
SELECT {moment} FROM {table} t WHERE t.symbol = %s AND t.{time} >= %s AND {moment} > %s ORDER BY t.{time} LIMIT 1"""

_INSERT = """
INSERT INTO series_changes (timeframe, symbol, kind, first_bar, last_bar, factor)
SELECT %s, * FROM unnest(%s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::float8[])
RETURNING symbol, n"""

_ADVANCE = """
WITH advanced AS (
    UPDATE series_state e
    SET complete_through = s.through, last_change = coalesce(s.n, e.last_change),
        version = e.version + (s.outdated_from IS NOT NULL)::int,
        outdated_indicators_from = least(e.outdated_indicators_from, s.outdated_from),
        outdated_patterns_from = least(e.outdated_patterns_from, s.outdated_from)
    FROM unnest(%s::text[], %s::timestamptz[], %s::bigint[], %s::timestamptz[])
        AS s (symbol, through, n, outdated_from)
    WHERE e.timeframe = %s AND e.symbol = s.symbol
    RETURNING e.timeframe, e.symbol, e.version, s.outdated_from
)
INSERT INTO series_versions (symbol, timeframe, version, changed_from, provider, adjusted, adjusted_on, last_split)
SELECT a.symbol, a.timeframe, a.version, a.outdated_from, b.provider, b.adjusted, b.adjusted_on, b.last_split
FROM advanced a LEFT JOIN series_sources b ON b.symbol = a.symbol AND b.timeframe = a.timeframe
WHERE a.outdated_from IS NOT NULL"""


class Change(NamedTuple):
    """A change of a series: its kind, its first and last bar, and the factor of prices of a rebase (None: unknown)."""

    symbol: str
    kind: str
    first_bar: datetime | None
    last_bar: datetime | None
    factor: float | None = None


@dataclass(slots=True)
class _Touched:
    """The bars of a series that were written: those up to its complete one, and the first after it.

    `newest` is the newest bar that was stored before.
    """

    newest: datetime | None
    first_old: datetime | None = None
    last_old: datetime | None = None
    first_new: datetime | None = None

    def outdated_from(self) -> datetime | None:
        """The first bar that was written, unless it is behind all that were stored before."""
        first = _least(self.first_old, self.first_new)
        return first if first is not None and self.newest is not None and first <= self.newest else None


def plan_changes(
    symbol: str, touched: "_Touched", old: datetime | None, new: datetime | None, rebased: Mapping[str, float | None]
) -> list[Change]:
    """Return the changes of a series that was complete through `old` and is now through `new`."""
    changes = []
    if symbol in rebased:
        first = touched.first_old or touched.first_new
        changes.append(Change(symbol, "rebase", first, old or new, rebased[symbol]))
    elif touched.first_old is not None:
        changes.append(Change(symbol, "correct", touched.first_old, touched.last_old))
    if new is not None and (old is None or new > old):
        changes.append(Change(symbol, "append", min(touched.first_new or new, new), new))
    return changes


@dataclass
class ChangeRecorder:
    """The changes of one write to a table.

    Bars whose windows have ended at `moment` (aware; now, if it is None) are complete. `rebased` has the factor of
    prices of each series that is replaced as a whole.
    """

    connection: psycopg.Connection
    timeframe: Timeframe
    moment: datetime | None = None
    rebased: Mapping[str, float | None] = field(default_factory=dict)
    _bounds: dict[str, date | datetime] = field(default_factory=dict)
    _touched: dict[str, _Touched] = field(default_factory=dict)

    def begin(self, symbols: Iterable[str]) -> None:
        """Prepare for a write of bars of these symbols; the table is locked already, and nothing is written yet."""
        names = sorted({*symbols} - self._bounds.keys())
        moment = self.moment or datetime.now(UTC)
        rules = read_calendar_rules(self.connection, load_settings().calendar)
        for calendar, members in (rules.group(names) if names else {}).items():
            bound = find_newest_closed(
                read_windows(self.connection, calendar, *days_around(moment)), self.timeframe, moment
            )
            self._bounds |= dict.fromkeys(members, bound)
        newest = self.connection.execute(self._query(_NEWEST), (names,)).fetchall()
        self._touched |= {symbol: _Touched(moment) for symbol, moment in newest}
        self.connection.execute(
            self._query(_BEGIN), (self.timeframe.name, names, [self._bounds[name] for name in names])
        )

    def counting(self, statement: sql.Composed) -> sql.Composed:
        """Return a query of what a statement that returns `symbol` and `time` of each written bar has done."""
        return sql.SQL(
            "WITH written AS ({statement}) SELECT w.symbol, count(*)::int,"
            " min({at}) FILTER (WHERE {at} <= e.complete_through), max({at}) FILTER (WHERE {at} <= e.complete_through),"
            " min({at}) FILTER (WHERE e.complete_through IS NULL OR {at} > e.complete_through)"
            " FROM written w JOIN series_state e ON e.timeframe = {frame} AND e.symbol = w.symbol GROUP BY w.symbol"
        ).format(
            statement=statement,
            at=self._moment_of("w.time"),
            frame=sql.Literal(self.timeframe.name),
        )

    def note(self, rows: Iterable[Sequence[Any]]) -> int:
        """Note the rows of a query of `counting`; returns how many bars were written."""
        total = 0
        for symbol, count, first_old, last_old, first_new in rows:
            total += count
            self.note_range(symbol, first_old, last_old, first_new)
        return total

    def note_range(
        self, symbol: str, first_old: datetime | None, last_old: datetime | None, first_new: datetime | None
    ) -> None:
        """Note that bars of a symbol were written."""
        touched = self._touched[symbol]
        touched.first_old = _least(touched.first_old, first_old)
        touched.last_old = max(filter(None, (touched.last_old, last_old)), default=None)
        touched.first_new = _least(touched.first_new, first_new)

    def note_copied(self, symbol: str, first: date | datetime, last: date | datetime) -> None:
        """Note that bars were copied into a range that had none."""
        through = read_complete_through(self.connection, self.timeframe, symbol)
        begin, end = (bar_moment(self.timeframe, moment) for moment in (first, last))
        if through is None or begin > through:
            self.note_range(symbol, None, None, begin)
        elif end <= through:
            self.note_range(symbol, begin, end, None)
        else:
            later = self.connection.execute(self._query(_FIRST_AFTER), (symbol, first, through)).fetchone()
            self.note_range(symbol, begin, through, later[0] if later else None)

    def note_since(self, symbol: str, first: date | datetime) -> None:
        """Note that any bars from `first` on may have been written."""
        self.note_copied(symbol, first, max(first, self._bounds[symbol]))

    def finish(self) -> None:
        """Record the changes, the new versions, and up to which bar each series is complete now."""
        names = sorted(self._touched)
        bounds = [self._bounds[name] for name in names]
        changes: list[Change] = []
        through: dict[str, datetime | None] = {}
        for symbol, old, newest in self.connection.execute(
            self._query(_FIND), (names, bounds, self.timeframe.name)
        ).fetchall():
            new = newest if symbol in self.rebased else max(filter(None, (old, newest)), default=None)
            through[symbol] = new
            changes += plan_changes(symbol, self._touched[symbol], old, new, self.rebased)
        numbers = insert_changes(self.connection, self.timeframe, changes)
        self.connection.execute(
            _ADVANCE, (names, [through[name] for name in names], [numbers.get(name) for name in names],
                       [self._touched[name].outdated_from() for name in names], self.timeframe.name),
        )  # fmt: skip

    def _moment_of(self, column: str) -> sql.Composable:
        name = sql.SQL(column)
        if self.timeframe.intraday:
            return name
        return sql.SQL("({}::timestamp AT TIME ZONE 'America/New_York')").format(name)

    def _query(self, text: str) -> sql.Composed:
        frame = self.timeframe
        return sql.SQL(text).format(
            table=sql.Identifier(frame.table),
            time=sql.Identifier(frame.time_column),
            moment=self._moment_of(f"t.{frame.time_column}"),
            kind=sql.SQL("timestamptz" if frame.intraday else "date"),
        )


def insert_changes(connection: psycopg.Connection, timeframe: Timeframe, changes: Sequence[Change]) -> dict[str, int]:
    """Insert changes, and wake those who wait for them; returns the number of the last one of each symbol.

    A change without bars is one of an unknown range.
    """
    if not changes:
        return {}
    columns = [list(column) for column in zip(*changes, strict=True)]
    rows = connection.execute(_INSERT, (timeframe.name, *columns)).fetchall()
    connection.execute("SELECT pg_notify(%s, %s)", (CHANGES_CHANNEL, timeframe.name))
    return dict(sorted(rows, key=lambda row: row[1]))


def read_complete_through(connection: psycopg.Connection, timeframe: Timeframe, symbol: str) -> datetime | None:
    """The start of the newest complete bar of a series; None if nothing was recorded about it."""
    row = connection.execute(
        "SELECT complete_through FROM series_state WHERE timeframe = %s AND symbol = %s", (timeframe.name, symbol)
    ).fetchone()
    return None if row is None else row[0]


def count_old_changes(connection: psycopg.Connection, table: str, before: datetime) -> int:
    """The number of rows of `series_changes` or `series_versions` of before a moment that may be deleted."""
    return count_matching(connection, table, _OLD[table], (before,))


def delete_old_changes(connection: psycopg.Connection, table: str, before: datetime, limit: int) -> int:
    """Delete up to `limit` rows that `count_old_changes` counts; returns how many were deleted.

    The newest version of each series stays: results of it may be read for as long as they are stored.
    """
    return delete_matching(connection, table, _OLD[table], (before,), limit)


def _least(one: datetime | None, other: datetime | None) -> datetime | None:
    return min(filter(None, (one, other)), default=None)
