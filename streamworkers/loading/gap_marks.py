"""The table `data_gaps`: recent gaps of series that people were notified of, each until it is filled or long ago."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from streamworkers.database import Connection

_MARK = """
INSERT INTO data_gaps AS g (timeframe, symbol, first_bar, last_bar, bars)
SELECT %s, s.* FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[], %s::int[])
    AS s (symbol, first_bar, last_bar, bars) ORDER BY symbol
ON CONFLICT (timeframe, symbol) DO UPDATE SET first_bar = excluded.first_bar, last_bar = excluded.last_bar,
    bars = excluded.bars
WHERE (g.first_bar, g.last_bar, g.bars) IS DISTINCT FROM (excluded.first_bar, excluded.last_bar, excluded.bars)
RETURNING symbol, xmax = 0"""

_CLEAR = "DELETE FROM data_gaps WHERE timeframe = %s AND symbol <> ALL(%s) RETURNING symbol"

_FOLLOWED = "SELECT symbol FROM series_state WHERE timeframe = %s AND complete_through >= %s ORDER BY symbol"


class RecentGap(NamedTuple):
    """The missing bars of a series: the first and the last, and their number."""

    first: datetime
    last: datetime
    bars: int


def list_followed(connection: Connection, timeframe: str, since: datetime) -> list[str]:
    """The symbols that have a complete bar since a moment: series that somebody loads."""
    return [symbol for (symbol,) in connection.execute(_FOLLOWED, (timeframe, since))]


def mark_gaps(connection: Connection, timeframe: str, gaps: Mapping[str, RecentGap]) -> list[str]:
    """Record the gaps that there are now, and no others, in the caller's transaction; returns symbols of new ones."""
    connection.execute(_CLEAR, (timeframe, list(gaps)))
    columns: Sequence[list[object]] = [list(column) for column in zip(*gaps.values(), strict=True)] or [[], [], []]
    rows = connection.execute(_MARK, (timeframe, list(gaps), *columns))
    return sorted(symbol for symbol, is_new in rows if is_new)
