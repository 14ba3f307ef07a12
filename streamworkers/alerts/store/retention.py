"""Deletes what has fired long ago, without changing what is decided, and says how far back a comparison can go.

Of each alert, symbol and kind the newest old row stays, so that a replay of a later correction begins at it. What was
deleted is recorded in `alert_state.forgotten_through`, in the same statement. The mutes of an alert stay for as long
as the alert, because a replay needs all of them.
"""

from collections.abc import Sequence
from datetime import datetime

from streamworkers.database import Connection, count_matching, delete_matching, fetch_value

ALERT_TABLES = ("alert_firings", "alert_corrections", "alert_mutes")
_IS_REMOVED = "EXISTS (SELECT FROM alerts a WHERE a.id = alert_id AND a.removed_at < %(before)s)"
_CONDITIONS = {"alert_corrections": "created_at < %(before)s", "alert_mutes": _IS_REMOVED}

_OLD_FIRINGS = f"""
FROM alert_firings f
WHERE f.fired_at < %(before)s AND ({_IS_REMOVED} OR EXISTS (
    SELECT FROM alert_firings g WHERE g.alert_id = f.alert_id AND g.symbol = f.symbol AND g.kind = f.kind
        AND g.bar_time > f.bar_time AND g.fired_at < %(before)s))"""

# A state that a decision holds is left for the next time, with its firings: nothing waits, so nothing can deadlock.
_DELETE_FIRINGS = f"""
WITH old AS (SELECT f.id, f.alert_id, f.symbol, f.bar_time {_OLD_FIRINGS} ORDER BY f.fired_at LIMIT %(most)s),
free AS (
    SELECT s.alert_id, s.symbol FROM alert_state s
    WHERE (s.alert_id, s.symbol) IN (SELECT alert_id, symbol FROM old) FOR UPDATE SKIP LOCKED
), deleted AS (
    DELETE FROM alert_firings f USING old
    WHERE f.id = old.id AND (
        (f.alert_id, f.symbol) IN (SELECT alert_id, symbol FROM free)
        OR NOT EXISTS (SELECT FROM alert_state s WHERE s.alert_id = f.alert_id AND s.symbol = f.symbol))
    RETURNING f.alert_id, f.symbol, f.bar_time
), marked AS (
    UPDATE alert_state s SET forgotten_through = greatest(s.forgotten_through, d.newest)
    FROM (SELECT alert_id, symbol, max(bar_time) AS newest FROM deleted GROUP BY 1, 2) d
    WHERE s.alert_id = d.alert_id AND s.symbol = d.symbol
)
SELECT count(*) FROM deleted"""  # noqa: S608  # constant text


def count_old_alert_rows(connection: Connection, table: str, before: datetime) -> int:
    """The number of rows of one of `ALERT_TABLES` that may be deleted."""
    if table == "alert_firings":
        return int(fetch_value(connection, f"SELECT count(*) {_OLD_FIRINGS}", {"before": before}))
    return count_matching(connection, table, _CONDITIONS[table], {"before": before})


def delete_old_alert_rows(connection: Connection, table: str, before: datetime, limit: int) -> int:
    """Delete up to `limit` such rows in one transaction; returns how many were deleted."""
    if table == "alert_firings":
        return int(fetch_value(connection, _DELETE_FIRINGS, {"before": before, "most": limit}))
    return delete_matching(connection, table, _CONDITIONS[table], {"before": before}, limit)


def read_forgotten(connection: Connection, alert_ids: Sequence[int]) -> dict[tuple[int, str], datetime]:
    """The newest bar of which a firing was deleted, by alert and symbol."""
    rows = connection.execute(
        "SELECT alert_id, symbol, forgotten_through FROM alert_state"
        " WHERE alert_id = ANY(%s) AND forgotten_through IS NOT NULL",
        (list(alert_ids),),
    )
    return {(alert_id, symbol): bar for alert_id, symbol, bar in rows}
