"""Removes backfills that ended long ago, with their ticks, in bounded steps."""

from datetime import datetime

from streamworkers.database import Connection, fetch_value

BACKFILLS = "backfills"
_COUNT = """
    SELECT (SELECT count(*) FROM backfill_ticks b JOIN backfills f ON f.id = b.backfill_id
            WHERE f.ended_at < %(before)s)
        + (SELECT count(*) FROM backfills WHERE ended_at < %(before)s)
"""
_DELETE_TICKS = """
    DELETE FROM backfill_ticks WHERE ctid = ANY (ARRAY(
        SELECT b.ctid FROM backfill_ticks b JOIN backfills f ON f.id = b.backfill_id WHERE f.ended_at < %s LIMIT %s))
"""
_DELETE = """
    DELETE FROM backfills WHERE id IN (
        SELECT id FROM backfills f WHERE ended_at < %s
            AND NOT EXISTS (SELECT FROM backfill_ticks b WHERE b.backfill_id = f.id) LIMIT %s)
"""


def count_old_backfills(connection: Connection, _: str, before: datetime) -> int:
    """How many rows of backfills that ended before then there are."""
    return int(fetch_value(connection, _COUNT, {"before": before}))


def delete_old_backfills(connection: Connection, _: str, before: datetime, limit: int) -> int:
    """Delete up to `limit` of these rows; returns how many."""
    deleted = connection.execute(_DELETE_TICKS, (before, limit)).rowcount
    if deleted < limit:
        deleted += connection.execute(_DELETE, (before, limit - deleted)).rowcount
    return deleted
