"""Which timeframes of a symbol have bars."""

import psycopg
from psycopg import sql

from streamworkers.market.calendar.timeframes import TIMEFRAMES

_ANY = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE symbol = %s)")


def list_stored_timeframes(connection: psycopg.Connection, symbol: str) -> list[str]:
    """The timeframes in which bars of a symbol are stored, the narrowest first."""
    found = []
    for frame in TIMEFRAMES.values():
        row = connection.execute(_ANY.format(sql.Identifier(frame.table)), (symbol,)).fetchone()
        if row is not None and row[0]:
            found.append(frame.name)
    return found
