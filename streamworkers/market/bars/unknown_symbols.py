"""Which symbols have no bars at all, so that a slip is noticed where a symbol is named, and not in a dead item.

The functions are in PostgreSQL, so that `submit_run` says the same.
"""

from collections.abc import Sequence

import psycopg

from streamworkers.database import fetch_value


def find_without_bars(connection: psycopg.Connection, symbols: Sequence[str]) -> list[str]:
    """Return those of the symbols of which no bar of any timeframe is stored, in their order."""
    rows = connection.execute("SELECT * FROM find_without_bars(%s)", (list(symbols),))
    return [symbol for (symbol,) in rows]


def find_near_symbol(connection: psycopg.Connection, symbol: str) -> str | None:
    """Return the symbol with bars that was probably meant: in the other case, or one character apart."""
    near: str | None = fetch_value(connection, "SELECT find_near_symbol(%s)", (symbol,))
    return near


def describe_without_bars(connection: psycopg.Connection, symbols: Sequence[str]) -> str | None:
    """Return a sentence about the symbols without bars, and what may have been meant; None if all have bars."""
    text: str | None = fetch_value(connection, "SELECT describe_without_bars(%s)", (list(symbols),))
    return text
