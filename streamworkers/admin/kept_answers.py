"""Answers that the HTTP API keeps for requests that are sent again: their retention."""

from datetime import datetime

from streamworkers.database import Connection, count_matching, delete_matching

KEPT_ANSWERS = "api_idempotency"
_OLD = "created_at < %s"


def count_old_answers(connection: Connection, before: datetime) -> int:
    """The number of answers that were kept before a moment."""
    return count_matching(connection, KEPT_ANSWERS, _OLD, (before,))


def delete_old_answers(connection: Connection, before: datetime, limit: int) -> int:
    """Delete up to `limit` such answers; returns how many."""
    return delete_matching(connection, KEPT_ANSWERS, _OLD, (before,), limit)
