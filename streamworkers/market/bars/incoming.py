"""The temporary table into which rows are copied before they are moved to the table of bars, and what is checked there.

What only the whole of a load can show is judged here: duplicates, and bars that do not fit their neighbours.
"""

from collections.abc import Callable, Collection, Iterator
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

_REMOVE_LINES = """
DELETE FROM pg_temp.incoming_bars b USING unnest(%s::text[], %s::bigint[]) AS m (symbol, line)
WHERE b.symbol = m.symbol AND b.line = m.line"""


def _drop(_reject: Reject) -> None:
    return None


@dataclass(frozen=True, slots=True)
class IncomingChecks:
    """What is done with duplicates and misfits of one load.

    `suspects` returns the symbols whose series are looked at for misfits, once all rows are there. A row that is
    removed is passed to `on_reject`, one that is only marked to `on_mark`. `approve` is called before anything is
    stored; what it raises ends the load. All stored bars of a symbol that has one of the origins `replaces` are deleted
    before new ones are stored.
    """

    duplicates: DuplicatePolicy = "last"
    on_reject: OnReject = _drop
    on_mark: OnReject = _drop
    suspects: Callable[[], Collection[str]] = tuple
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
    """Remove bars that are no prices of their series, and report splits; returns the number of removed rows."""
    suspects = sorted(checks.suspects())
    if not suspects:
        return 0
    symbols: list[str] = []
    lines: list[int] = []
    query = sql.SQL(_SUSPECTS).format(**names, row=sql.SQL(_ROW).format(**names))
    for symbol, rows in groupby(cursor.stream(query, (suspects,), size=1000), itemgetter(0)):
        for reject in _misfits_of(list(rows)):
            if reject.rule == Rule.PRICE_JUMP:
                checks.on_mark(reject)
                continue
            checks.on_reject(reject)
            symbols.append(symbol)
            lines.append(reject.line)
    return cursor.execute(_REMOVE_LINES, (symbols, lines)).rowcount if lines else 0


def _misfits_of(rows: list[tuple[Any, ...]]) -> Iterator[Reject]:
    _, lines, *columns, texts = zip(*rows, strict=True)
    prices = PriceColumns(*(np.array(column, np.float64) for column in columns))
    symbol = rows[0][0]
    for misfit in find_misfits(prices):
        yield Reject(lines[misfit.place], misfit.rule, f"{symbol}: {misfit.detail}", texts[misfit.place])
