"""Which symbols have no bars at all, so that a slip is noticed where a symbol is named, and not in a dead item."""

from collections.abc import Sequence

import psycopg
from psycopg import sql

from streamworkers.market.calendar.timeframes import TIMEFRAMES

_MOST_SHOWN = 5


def find_without_bars(connection: psycopg.Connection, symbols: Sequence[str]) -> list[str]:
    """Return those of the symbols of which no bar of any timeframe is stored, in their order."""
    absent = sql.SQL(" AND ").join(
        sql.SQL("NOT EXISTS (SELECT FROM {} b WHERE b.symbol = w.symbol)").format(sql.Identifier(timeframe.table))
        for timeframe in reversed(TIMEFRAMES.values())
    )
    query = sql.SQL("SELECT w.symbol FROM unnest(%s::text[]) WITH ORDINALITY AS w (symbol, n) WHERE {} ORDER BY n")
    return [symbol for (symbol,) in connection.execute(query.format(absent), (list(symbols),))]


def describe_without_bars(connection: psycopg.Connection, symbols: Sequence[str]) -> str | None:
    """Return a sentence about the symbols without bars, and what may have been meant; None if all have bars."""
    absent = find_without_bars(connection, symbols)
    if not absent:
        return None
    shown = ", ".join(absent[:_MOST_SHOWN]) + (f" and {len(absent) - _MOST_SHOWN} more" if absent[_MOST_SHOWN:] else "")
    upper = sorted({symbol.upper() for symbol in absent} - set(absent))
    meant = sorted(set(upper) - set(find_without_bars(connection, upper)))
    hint = f"did you mean {', '.join(meant[:_MOST_SHOWN])}?" if meant else "`streamworkers load --symbols` loads them"
    return f"no bars of {shown} are stored; {hint}"
