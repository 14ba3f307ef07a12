"""Removes the stored bars of a lesser origin, such as invented ones, of the symbols whose better bars are coming in."""

from collections.abc import Sequence

import psycopg
from psycopg import sql

from streamworkers.market.bars.changes import ChangeRecorder

_FORGET_SOURCE = """
DELETE FROM series_sources b USING (SELECT DISTINCT symbol FROM pg_temp.incoming_bars) i
WHERE b.timeframe = %s AND b.symbol = i.symbol AND b.origin = ANY(%s) RETURNING b.symbol"""

_DELETE_BARS = "DELETE FROM {table} WHERE symbol = ANY({symbols}) RETURNING symbol, {time} AS time"


def remove_lesser(
    cursor: psycopg.Cursor, changes: ChangeRecorder, names: dict[str, sql.Composable], origins: Sequence[str]
) -> frozenset[str]:
    """Delete all bars of these origins of the symbols of the temporary table, and where they came from.

    Bars of two origins are never mixed in a series. Returns the symbols; their changes are recorded as rebased.
    """
    if not origins:
        return frozenset()
    symbols = [symbol for (symbol,) in cursor.execute(_FORGET_SOURCE, (changes.timeframe.name, list(origins)))]
    if symbols:
        query = sql.SQL(_DELETE_BARS).format(**names, symbols=sql.Literal(symbols))
        changes.note(cursor.execute(changes.counting(query)).fetchall())
        changes.rebased = {**changes.rebased, **dict.fromkeys(symbols)}
        cursor.execute(
            "DELETE FROM absent_bars WHERE timeframe = %s AND symbol = ANY(%s)", (changes.timeframe.name, symbols)
        )
    return frozenset(symbols)
