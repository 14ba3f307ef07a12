"""Removes the messages of other programs that are old."""

from datetime import datetime

from streamworkers.database import Connection, count_matching, delete_matching

RECEIVED_MESSAGES = "received_messages"
_OLD = "received_at < %s"


def count_old_messages(connection: Connection, before: datetime) -> int:
    """How many messages were received before then."""
    return count_matching(connection, RECEIVED_MESSAGES, _OLD, (before,))


def delete_old_messages(connection: Connection, before: datetime, limit: int) -> int:
    """Delete up to `limit` messages that were received before then; returns how many."""
    return delete_matching(connection, RECEIVED_MESSAGES, _OLD, (before,), limit)
