"""The temporary table into which rows are copied before they are moved to the table of bars, and what is checked there.

What only the whole of a load can show is judged here: duplicates, and bars that do not fit their neighbours.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal

import numpy as np
import psycopg
from psycopg import sql

from streamworkers.market.bars.neighbours import find_misfits
from streamworkers.market.bars.rules import Rule
from streamworkers.market.bars.text_rows import PriceColumns, Reject

DuplicatePolicy = Literal["last", "first", "reject"]
OnReject = Callable[[Reject], None]

CREATE = """
CREATE TEMPORARY TABLE incoming_bars (
    line bigint NOT NULL, symbol text NOT NULL, {time} {time_type} NOT NULL,
    open numeric NOT NULL, high numeric NOT NULL, low numeric NOT NULL, close numeric NOT NULL, volume bigint
) ON COMMIT DROP"""

_ROW = "concat_ws(',', b.symbol, b.{time}, b.open, b.high, b.low, b.close, coalesce(b.volume::text, ''))"

_REMOVE_DUPLICATES = """
WITH numbered AS (
    SELECT ctid AS place, row_number() OVER same AS occurrence, count(*) OVER other AS copies,
           first_value(line) OVER same AS kept, max(line) OVER other AS newest, min(line) OVER other AS oldest
    FROM pg_temp.incoming_bars
    WINDOW same AS (PARTITION BY symbol, {time} ORDER BY line {order}), other AS (PARTITION BY symbol, {time})
), removed AS (
    DELETE FROM pg_temp.incoming_bars b USING numbered n WHERE b.ctid = n.place AND {surplus}
    RETURNING b.line, CASE WHEN b.line = n.kept THEN n.newest + n.oldest - b.line ELSE n.kept END, b.symbol,
              b.{time}::text, {row}
)
SELECT * FROM removed ORDER BY line"""

_SUSPECTS = """
SELECT b.symbol, b.line, b.open::float8, b.high::float8, b.low::float8, b.close::float8, {row}
FROM pg_temp.incoming_bars b WHERE b.symbol = ANY(%s) ORDER BY b.symbol, b.{time}"""

# The stored bars on both sides of what comes in: two of each, as a bar at an end is judged by the two next to it. Those
# that are about to be replaced say nothing.
_BESIDE = """
WITH ends AS (
    SELECT symbol, min({time}) AS first, max({time}) AS last FROM pg_temp.incoming_bars GROUP BY symbol
)
SELECT e.symbol, s.behind, s.open::float8, s.high::float8, s.low::float8, s.close::float8
FROM (
    SELECT * FROM ends i WHERE NOT EXISTS (
        SELECT FROM series_sources b WHERE b.timeframe = {frame} AND b.symbol = i.symbol AND b.origin = ANY(%s))
) e CROSS JOIN LATERAL (
    (SELECT t.*, false AS behind FROM {table} t WHERE t.symbol = e.symbol AND t.{time} < e.first
     ORDER BY t.{time} DESC LIMIT 2)
    UNION ALL
    (SELECT t.*, true FROM {table} t WHERE t.symbol = e.symbol AND t.{time} > e.last ORDER BY t.{time} LIMIT 2)
) s
ORDER BY e.symbol, s.{time}"""

_REMOVE_LINES = """
DELETE FROM pg_temp.incoming_bars b USING unnest(%s::text[], %s::bigint[]) AS m (symbol, line)
WHERE b.symbol = m.symbol AND b.line = m.line"""


def _drop(_reject: Reject) -> None:
    return None


@dataclass(frozen=True, slots=True)
class IncomingChecks:
    """What is done with duplicates and misfits of one load.

    `suspects` returns the symbols whose series are looked at for misfits, once all rows are there, beside those that
    have stored bars before or behind theirs; without it, none are. A row that is removed is passed to `on_reject`, one
    that is only marked to `on_mark`. `approve` is called before anything is stored; what it raises ends the load. All
    stored bars of a symbol that has one of the origins `replaces` are deleted before new ones are stored.
    """

    duplicates: DuplicatePolicy = "last"
    on_reject: OnReject = _drop
    on_mark: OnReject = _drop
    suspects: Callable[[], Collection[str]] | None = None
    approve: Callable[[], None] = lambda: None
    replaces: tuple[str, ...] = ()


NO_CHECKS = IncomingChecks()


def remove_duplicates(cursor: psycopg.Cursor, names: dict[str, sql.Composable], checks: IncomingChecks) -> int:
    """Remove rows of one symbol and time but for the one that the policy keeps; returns their number."""
    policy = checks.duplicates
    query = sql.SQL(_REMOVE_DUPLICATES).format(
        **names,
        row=sql.SQL(_ROW).format(**names),
        order=sql.SQL("DESC" if policy == "last" else "ASC"),
        surplus=sql.SQL("n.copies > 1" if policy == "reject" else "n.occurrence > 1"),
    )
    words = {
        "first": "already on line {}, which is kept",
        "last": "again on line {}, which is kept",
        "reject": "on line {} as well; none is kept",
    }
    removed = 0
    for line, other, symbol, time, row in cursor.stream(query, size=1000):
        detail = f"duplicate in the file: {symbol} at {time} is {words[policy].format(other)}"
        checks.on_reject(Reject(line, Rule.DUPLICATE, detail, row))
        removed += 1
    return removed


def remove_misfits(cursor: psycopg.Cursor, names: dict[str, sql.Composable], checks: IncomingChecks) -> int:
    """Remove bars that are no prices of their series, and report splits; returns the number of removed rows.

    Stored bars on both sides are neighbours, too.
    """
    if checks.suspects is None:
        return 0
    beside = _read_beside(cursor, names, checks.replaces)
    suspects = sorted({*checks.suspects(), *beside})
    if not suspects:
        return 0
    symbols: list[str] = []
    lines: list[int] = []
    query = sql.SQL(_SUSPECTS).format(**names, row=sql.SQL(_ROW).format(**names))
    for symbol, rows in groupby(cursor.stream(query, (suspects,), size=1000), itemgetter(0)):
        for reject in _misfits_of(list(rows), *beside.get(symbol, ((), ()))):
            if reject.rule == Rule.PRICE_JUMP:
                checks.on_mark(reject)
                continue
            checks.on_reject(reject)
            symbols.append(symbol)
            lines.append(reject.line)
    return cursor.execute(_REMOVE_LINES, (symbols, lines)).rowcount if lines else 0


def _read_beside(
    cursor: psycopg.Cursor, names: dict[str, sql.Composable], replaces: Sequence[str]
) -> dict[str, tuple[list[Any], list[Any]]]:
    """Return the prices of the stored bars before and behind those of each symbol; without stored bars it is absent."""
    found: dict[str, tuple[list[Any], list[Any]]] = {}
    if cursor.execute(sql.SQL("SELECT FROM {table} LIMIT 1").format(**names)).fetchone() is not None:
        for symbol, is_behind, *prices in cursor.execute(sql.SQL(_BESIDE).format(**names), (list(replaces),)):
            found.setdefault(symbol, ([], []))[is_behind].append(prices)
    return found


def _misfits_of(rows: list[tuple[Any, ...]], before: Sequence[Any], behind: Sequence[Any]) -> Iterator[Reject]:
    prices = [*before, *(row[2:6] for row in rows), *behind]
    columns = PriceColumns(*(np.array(column, np.float64) for column in zip(*prices, strict=True)))
    for misfit in find_misfits(columns):
        place = misfit.place - len(before)
        if 0 <= place < len(rows):
            symbol, line, *_, text = rows[place]
            yield Reject(line, misfit.rule, f"{symbol}: {misfit.detail}", text)
