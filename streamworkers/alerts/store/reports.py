"""What people ask about alerts: where they stand, what has fired, and what a correction would have changed."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from streamworkers.database import Connection, fetch_rows

Row = dict[str, Any]

_STATES = """
SELECT y.alert_id, y.symbol, y.since, coalesce(s.status, 'armed') AS status, s.streak, s.release_streak, s.fired_at,
       coalesce(s.fire_count, 0) AS fire_count, s.cooldown_until, s.cooldown_bars, s.sides, s.changed_at,
       h.evaluated_through, e.complete_through, y.blind_since, y.ended_since, l.delisted_after
FROM alert_symbols y
JOIN alerts a ON a.id = y.alert_id
JOIN alert_versions v ON v.alert_id = a.id AND v.version = a.version
LEFT JOIN alert_state s ON s.alert_id = y.alert_id AND s.symbol = y.symbol AND s.epoch = v.epoch AND s.since = y.since
LEFT JOIN alert_shards h ON h.timeframe = y.timeframe AND h.symbol = y.symbol
LEFT JOIN series_state e ON e.timeframe = y.timeframe AND e.symbol = y.symbol
LEFT JOIN listings l ON l.symbol = y.symbol
WHERE y.alert_id = ANY(%s) AND y.until IS NULL
ORDER BY y.alert_id, y.symbol"""

_FIRINGS = """
SELECT f.id, a.name, f.alert_id, f.symbol, a.timeframe, f.bar_time, f.closed_at, f.kind, f.version, f.price, f.is_live,
       f.suppressed, f.earlier, f.run_id, f.fired_at
FROM alert_firings f JOIN alerts a ON a.id = f.alert_id
WHERE a.user_id = %(user)s AND (%(alert)s::bigint IS NULL OR f.alert_id = %(alert)s)
  AND (%(symbol)s::text IS NULL OR f.symbol = %(symbol)s)
  AND (%(since)s::timestamptz IS NULL OR f.fired_at >= %(since)s)
ORDER BY f.closed_at DESC, f.id DESC LIMIT %(limit)s"""


def read_states(connection: Connection, alert_ids: Sequence[int]) -> list[Row]:
    """Where alerts stand, one row for each symbol; a state of an earlier epoch does not count.

    A row without `complete_through` is of a series of which no complete bar is known.
    """
    return fetch_rows(connection, _STATES, (list(alert_ids),))


def list_firings(
    connection: Connection,
    user: str,
    limit: int,
    *,
    alert_id: int | None = None,
    symbol: str | None = None,
    since: datetime | None = None,
) -> list[Row]:
    """The newest firings and releases of a user's alerts, removed ones included, newest first."""
    words = {"user": user, "limit": limit, "alert": alert_id, "symbol": symbol, "since": since}
    return fetch_rows(connection, _FIRINGS, words)


def list_corrections(connection: Connection, alert_id: int, limit: int) -> list[Row]:
    """The newest differences that corrected bars would have made to an alert."""
    return fetch_rows(
        connection,
        "SELECT symbol, bar_time, change, kind, created_at FROM alert_corrections WHERE alert_id = %s"
        " ORDER BY created_at DESC, symbol, bar_time DESC LIMIT %s",
        (alert_id, limit),
    )
