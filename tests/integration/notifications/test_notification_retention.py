"""What ended long ago is deleted, its texts first; what is still to be sent is kept, however old it is."""

from datetime import UTC, datetime, timedelta

import pytest

from streamworkers.database import Connection, fetch_rows
from streamworkers.jobs.cleanup import CleanupParameters, clean
from streamworkers.notifications.store.retention import MESSAGE_TEXTS, NOTIFICATION_TABLES

PARTS = (MESSAGE_TEXTS, *NOTIFICATION_TABLES)
STATES = ("queued", "deferred", "sending", "sent", "ambiguous", "failed", "dead", "suppressed")
ENDED = {"sent", "dead", "suppressed"}


@pytest.fixture
def full(connection: Connection) -> Connection:
    """A notification with a delivery in each state, one that was never routed, and a rejected event."""
    connection.execute(
        "INSERT INTO notifications (id, user_id, type, dedup_key, priority, data, routed_at)"
        " SELECT gen_random_uuid(), 'local', 'message', state, 'normal', '{}',"
        "        CASE WHEN state <> 'unrouted' THEN now() END FROM unnest(%s::text[]) AS s (state)",
        ([*STATES, "unrouted"],),
    )
    connection.execute(
        "WITH made AS (INSERT INTO deliveries (user_id, channel, type, priority, state, content, parts, picture)"
        " SELECT 'local', 'mail', 'message', 'normal', state, '{}', '[]', 'png' FROM unnest(%s::text[]) AS s (state)"
        " RETURNING id, state) INSERT INTO delivery_notifications"
        " SELECT made.id, n.id FROM made JOIN notifications n ON n.dedup_key = made.state",
        (list(STATES),),
    )
    connection.execute("INSERT INTO rejected_notifications VALUES (gen_random_uuid(), '{}', 'no user')")
    return connection


def _clean(connection: Connection, days: float, *, dry_run: bool = False) -> dict[str, int]:
    """What a cleanup does so many days from now."""
    now, parameters = datetime.now(UTC) + timedelta(days=days), CleanupParameters(dry_run=dry_run)
    return {part: clean(connection, part, parameters, now).rows for part in PARTS}


def _left(connection: Connection, condition: str) -> set[str]:
    return {row["state"] for row in fetch_rows(connection, f"SELECT state FROM deliveries WHERE {condition}")}


def test_texts_of_ended_deliveries_go_first(full: Connection) -> None:
    assert _clean(full, 6) == dict.fromkeys(PARTS, 0)
    assert _clean(full, 8) == dict.fromkeys(PARTS, 0) | {MESSAGE_TEXTS: len(ENDED)}
    assert _left(full, "content IS NULL AND parts IS NULL AND picture IS NULL") == ENDED
    assert _clean(full, 8) == dict.fromkeys(PARTS, 0)


def test_what_ended_long_ago_goes_and_all_else_stays(full: Connection) -> None:
    of_ended = {"deliveries": len(ENDED), "rejected_notifications": 1}
    assert _clean(full, 31, dry_run=True) == {MESSAGE_TEXTS: len(ENDED), "notifications": 0} | of_ended
    assert _clean(full, 31) == {MESSAGE_TEXTS: len(ENDED), "notifications": len(ENDED)} | of_ended
    assert _left(full, "true") == set(STATES) - ENDED == _left(full, "content IS NOT NULL")
    kept = {key for (key,) in full.execute("SELECT dedup_key FROM notifications")}
    assert kept == {*STATES, "unrouted"} - ENDED
