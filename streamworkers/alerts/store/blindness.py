"""The columns `blind_since` and `ended_since` of `alert_symbols`: since when the owner of an alert knows.

It is blind for a symbol while bars are missing, and has ended for one that was delisted; never both.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

from streamworkers.database import Connection

# Alerts that wait for bars: not paused, not expired.
_WAITING = "a.removed_at IS NULL AND a.paused_at IS NULL AND (a.expires_at IS NULL OR a.expires_at > now())"

_WATCHED = f"""
SELECT y.timeframe, y.symbol, e.complete_through, l.delisted_after,
       bool_or(coalesce(y.blind_since, y.ended_since) IS NOT NULL) AS is_marked,
       bool_or(y.blind_since IS NULL AND {_WAITING}) AS is_open,
       bool_or(y.ended_since IS NULL AND {_WAITING}) AS is_going_on
FROM alert_symbols y
JOIN alerts a ON a.id = y.alert_id
LEFT JOIN series_state e ON e.timeframe = y.timeframe AND e.symbol = y.symbol
LEFT JOIN listings l ON l.symbol = y.symbol
WHERE y.until IS NULL
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2"""  # noqa: S608  # constant text

# One that may not fire again misses nothing. Rows that a change of the alert holds are left for the next step.
_MARK = f"""
UPDATE alert_symbols y
SET blind_since = CASE WHEN NOT %(ended)s THEN now() END, ended_since = CASE WHEN %(ended)s THEN now() END
FROM (
    SELECT o.alert_id, o.symbol, o.since, a.user_id, a.name
    FROM unnest(%(timeframes)s::text[], %(symbols)s::text[]) AS w (timeframe, symbol)
    JOIN alert_symbols o ON o.timeframe = w.timeframe AND o.symbol = w.symbol
        AND o.until IS NULL AND CASE WHEN %(ended)s THEN o.ended_since ELSE o.blind_since END IS NULL
    JOIN alerts a ON a.id = o.alert_id AND {_WAITING}
    JOIN alert_versions v ON v.alert_id = a.id AND v.version = a.version
    WHERE NOT EXISTS (
        SELECT FROM alert_state s WHERE s.alert_id = o.alert_id AND s.symbol = o.symbol AND s.since = o.since
            AND s.epoch = v.epoch AND s.status = 'done')
    ORDER BY o.alert_id, o.symbol LIMIT %(most)s FOR UPDATE OF o SKIP LOCKED
) c
WHERE (y.alert_id, y.symbol, y.since) = (c.alert_id, c.symbol, c.since)
RETURNING c.user_id, y.alert_id, c.name, y.symbol, y.timeframe, coalesce(y.blind_since, y.ended_since)"""  # noqa: S608  # constant text

_CLEAR = """
UPDATE alert_symbols y SET blind_since = NULL, ended_since = NULL
FROM (
    SELECT o.alert_id, o.symbol, o.since, coalesce(o.blind_since, o.ended_since) AS begun, a.user_id, a.name
    FROM unnest(%(timeframes)s::text[], %(symbols)s::text[]) AS w (timeframe, symbol)
    JOIN alert_symbols o ON o.timeframe = w.timeframe AND o.symbol = w.symbol
        AND o.until IS NULL AND coalesce(o.blind_since, o.ended_since) IS NOT NULL
    JOIN alerts a ON a.id = o.alert_id
    ORDER BY o.alert_id, o.symbol LIMIT %(most)s FOR UPDATE OF o SKIP LOCKED
) c
WHERE (y.alert_id, y.symbol, y.since) = (c.alert_id, c.symbol, c.since)
RETURNING c.user_id, y.alert_id, c.name, y.symbol, y.timeframe, c.begun"""

_COUNT = f"""
SELECT y.timeframe, count(DISTINCT y.symbol) FROM alert_symbols y JOIN alerts a ON a.id = y.alert_id
WHERE y.until IS NULL AND y.blind_since IS NOT NULL AND {_WAITING}
GROUP BY 1"""  # noqa: S608  # constant text

_LIST = f"""
SELECT y.timeframe, y.symbol, min(y.blind_since), count(*), e.complete_through
FROM alert_symbols y
JOIN alerts a ON a.id = y.alert_id
LEFT JOIN series_state e ON e.timeframe = y.timeframe AND e.symbol = y.symbol
WHERE y.until IS NULL AND y.blind_since IS NOT NULL AND {_WAITING}
GROUP BY 1, 2, 5
ORDER BY 3, 1, 2 LIMIT %s"""  # noqa: S608  # constant text


class WatchedSeries(NamedTuple):
    """A series that alerts are about: `is_marked` if some owner knows that it is blind, or that it has ended.

    `is_open` says that some alert is not marked as blind, `is_going_on` that some is not marked as ended.
    """

    timeframe: str
    symbol: str
    complete_through: datetime | None
    delisted_after: date | None
    is_marked: bool
    is_open: bool
    is_going_on: bool


class BlindAlert(NamedTuple):
    """An alert whose blindness for a symbol has begun or is over, or which has ended; `since` is when that began."""

    user: str
    alert_id: int
    name: str
    symbol: str
    timeframe: str
    since: datetime


class BlindSeries(NamedTuple):
    """A series without the bars that some alerts wait for."""

    timeframe: str
    symbol: str
    since: datetime
    alerts: int
    complete_through: datetime | None


def read_watched(connection: Connection) -> list[WatchedSeries]:
    """The series that alerts are about now, by timeframe and symbol."""
    return [WatchedSeries(*row) for row in connection.execute(_WATCHED)]


def mark_blind(connection: Connection, series: Sequence[WatchedSeries], most: int) -> list[BlindAlert]:
    """Record the blindness of up to `most` alerts about series; returns those of which it was not recorded yet."""
    return _change(connection, _MARK, series, most, ended=False)


def mark_ended(connection: Connection, series: Sequence[WatchedSeries], most: int) -> list[BlindAlert]:
    """Record that up to `most` alerts have ended for series that were delisted; returns those newly recorded."""
    return _change(connection, _MARK, series, most, ended=True)


def clear_blind(connection: Connection, series: Sequence[WatchedSeries], most: int) -> list[BlindAlert]:
    """Record that up to `most` alerts about series see their bars again; returns those that were blind or had ended."""
    return _change(connection, _CLEAR, series, most)


def count_blind(connection: Connection) -> dict[str, int]:
    """The number of series that some alert is known to be blind for, by timeframe."""
    return dict(connection.execute(_COUNT).fetchall())


def list_blind(connection: Connection, most: int) -> list[BlindSeries]:
    """Up to `most` such series, those that have been blind for longest first."""
    return [BlindSeries(*row) for row in connection.execute(_LIST, (most,))]


def _change(
    connection: Connection, statement: str, series: Sequence[WatchedSeries], most: int, **more: bool
) -> list[BlindAlert]:
    if not series:
        return []
    words = {
        "timeframes": [each.timeframe for each in series],
        "symbols": [each.symbol for each in series],
        "most": most,
        **more,
    }
    return [BlindAlert(*row) for row in connection.execute(statement, words)]
