"""Symbols that begin like a word: those of which day bars are stored, and those of universes."""

import psycopg

from streamworkers.market.universes.store import list_members_with_prefix

# One probe of the index for each symbol, whatever the number of its bars.
_WITH_BARS = """
    WITH RECURSIVE each AS (
        (SELECT symbol FROM ohlcv_daily WHERE symbol >= %(prefix)s ORDER BY symbol LIMIT 1)
        UNION ALL
        SELECT (SELECT o.symbol FROM ohlcv_daily o WHERE o.symbol > each.symbol ORDER BY o.symbol LIMIT 1)
        FROM each WHERE starts_with(each.symbol, %(prefix)s))
    SELECT symbol FROM each WHERE starts_with(symbol, %(prefix)s) LIMIT %(limit)s
"""


def list_symbols_with_prefix(connection: psycopg.Connection, prefix: str, limit: int) -> list[str]:
    """Return at most `limit` symbols that begin with a prefix, in alphabetical order."""
    stored = [symbol for (symbol,) in connection.execute(_WITH_BARS, {"prefix": prefix, "limit": limit})]
    return sorted({*stored, *list_members_with_prefix(connection, prefix, limit)})[:limit]
