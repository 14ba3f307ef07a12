"""What may go of old ticks and timings, in bounded batches.

A timing remembers up to when its ticks may have been deleted, so that the account of ticks calls none of them missing.
"""

from datetime import datetime

from streamworkers.database import Connection, count_matching, delete_matching

TICK_TABLES = ("ticks", "schedule_timings")
_OLD = {
    "ticks": "decided_at < %(before)s AND state <> 'waiting'",
    # The newest timing of a removed schedule goes after its ticks, which are found by its name.
    "schedule_timings": "valid_to < %(before)s AND decided_at < %(before)s AND NOT EXISTS (SELECT FROM ticks"
    " WHERE ticks.schedule_id = schedule_timings.schedule_id AND scheduled_for BETWEEN valid_from AND valid_to)",
}
_FORGET = """
    UPDATE schedule_timings SET kept_from = %(before)s
    WHERE valid_from < %(before)s AND coalesce(kept_from, valid_from) < %(before)s
        AND coalesce(valid_to, 'infinity') > coalesce(kept_from, valid_from)
"""


def count_old_ticks(connection: Connection, table: str, before: datetime) -> int:
    """How many rows of a table `delete_old_ticks` would delete in all."""
    return count_matching(connection, table, _OLD[table], {"before": before})


def delete_old_ticks(connection: Connection, table: str, before: datetime, limit: int) -> int:
    """Delete up to `limit` old rows of one of `TICK_TABLES`; returns how many."""
    with connection.transaction():
        if table == "ticks":
            connection.execute(_FORGET, {"before": before})
        return delete_matching(connection, table, _OLD[table], {"before": before}, limit)
