"""The table `alert_symbols`: which symbols an alert is about, and since when."""

from collections.abc import Callable, Collection
from datetime import datetime
from typing import NamedTuple

from streamworkers.alerts.document import AlertTarget
from streamworkers.database import Connection
from streamworkers.errors import UnknownNameError, UsageError
from streamworkers.market.universes.store import resolve

Resolve = Callable[[Connection, str], tuple[str, ...]]

_CLOSE = """
UPDATE alert_symbols SET until = greatest(since, %(at)s)
WHERE alert_id = %(alert)s AND until IS NULL AND (%(kept)s::text[] IS NULL OR symbol <> ALL(%(kept)s))"""

_OPEN = """
INSERT INTO alert_symbols (alert_id, symbol, timeframe, since)
SELECT %(alert)s, s.symbol, %(timeframe)s, %(at)s FROM unnest(%(symbols)s::text[]) AS s (symbol)
WHERE NOT EXISTS (SELECT FROM alert_symbols o WHERE o.alert_id = %(alert)s AND o.symbol = s.symbol AND o.until IS NULL)
ON CONFLICT (alert_id, symbol, since) DO UPDATE SET until = NULL, timeframe = excluded.timeframe, blind_since = NULL,
    ended_since = NULL"""

_UNIVERSES = """
SELECT a.universe, array_agg(a.id ORDER BY a.id) FROM alerts a
WHERE a.universe IS NOT NULL AND a.removed_at IS NULL GROUP BY 1 ORDER BY 1"""


class SymbolInterval(NamedTuple):
    """An alert is about a symbol for the bars that close after `since`, up to `until` (None: still)."""

    symbol: str
    timeframe: str
    since: datetime
    until: datetime | None


def expand_target(
    connection: Connection, alert_id: int, timeframe: str, target: AlertTarget, at: datetime, find: Resolve = resolve
) -> None:
    """Make the open symbols of an alert those of its target. Raises UnknownNameError for an unknown universe."""
    symbols = target.symbols if target.universe is None else find(connection, target.universe)
    set_symbols(connection, alert_id, timeframe, symbols, at)


def set_symbols(connection: Connection, alert_id: int, timeframe: str, symbols: Collection[str], at: datetime) -> None:
    """End the symbols that an alert is about no longer, and begin those that it is about from `at` on."""
    words = {"alert": alert_id, "timeframe": timeframe, "symbols": sorted(symbols), "kept": sorted(symbols), "at": at}
    connection.execute(_CLOSE, words)
    connection.execute(_OPEN, words)


def close_symbols(connection: Connection, alert_id: int, at: datetime) -> None:
    """End all symbols of an alert."""
    connection.execute(_CLOSE, {"alert": alert_id, "kept": None, "at": at})


def follow_universes(connection: Connection, find: Resolve = resolve) -> int:
    """Expand all alerts about universes whose members have changed; returns how many alerts were changed.

    A universe that does not exist any more has no members until it does again.
    """
    changed = 0
    for universe, alert_ids in connection.execute(_UNIVERSES).fetchall():
        try:
            members = set(find(connection, universe))
        except UsageError:
            members = set()
        for alert_id in alert_ids:
            changed += _follow(connection, alert_id, members)
    return changed


def read_symbols(connection: Connection, alert_id: int) -> list[str]:
    """The symbols that an alert is about now."""
    rows = connection.execute(
        "SELECT symbol FROM alert_symbols WHERE alert_id = %s AND until IS NULL ORDER BY symbol", (alert_id,)
    )
    return [symbol for (symbol,) in rows]


def read_symbols_of_user(connection: Connection, user: str, *, now_only: bool = False) -> list[str]:
    """The symbols that alerts of a user have ever been about, or those that they are about now."""
    rows = connection.execute(
        "SELECT DISTINCT y.symbol FROM alert_symbols y JOIN alerts a ON a.id = y.alert_id"
        " WHERE a.user_id = %s AND (NOT %s OR (y.until IS NULL AND a.removed_at IS NULL)) ORDER BY 1",
        (user, now_only),
    )
    return [symbol for (symbol,) in rows]


def require_past_symbol(connection: Connection, alert_id: int, name: str, symbol: str) -> None:
    """Raise UnknownNameError if the alert of this name has never been about a symbol."""
    known = {each.symbol for each in read_intervals(connection, alert_id)}
    if symbol not in known:
        raise UnknownNameError(f"symbol of alert {name!r}", symbol, known)


def read_intervals(connection: Connection, alert_id: int) -> list[SymbolInterval]:
    """All intervals in which an alert was about a symbol, by symbol, oldest first."""
    rows = connection.execute(
        "SELECT symbol, timeframe, since, until FROM alert_symbols WHERE alert_id = %s ORDER BY symbol, since",
        (alert_id,),
    )
    return [SymbolInterval(*row) for row in rows]


def _follow(connection: Connection, alert_id: int, members: set[str]) -> bool:
    if set(read_symbols(connection, alert_id)) == members:
        return False
    with connection.transaction():
        row = connection.execute(
            "SELECT timeframe, clock_timestamp() FROM alerts WHERE id = %s AND removed_at IS NULL FOR UPDATE",
            (alert_id,),
        ).fetchone()
        if row is not None:
            set_symbols(connection, alert_id, row[0], members, row[1])
    return row is not None
