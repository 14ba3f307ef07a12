"""Marks a message as replayed: what it would have done is done, once, and the audit log has who asked for it."""

from typing import Any

from streamworkers.actor import Actor
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.database import Connection, fetch_row
from streamworkers.errors import BadInputError
from streamworkers.messages.history import MessageOutcome

_LOCK = """
    SELECT id, channel, source, sent_at, state, reason, detail, runs, notification_id, replayed_at, counted_from,
        content, content_bytes
    FROM received_messages WHERE id = %s FOR UPDATE
"""
_MARK = """
    UPDATE received_messages SET replayed_at = clock_timestamp(), replayed_by = %s, runs = %s, notification_id = %s
    WHERE id = %s
"""


def lock_message(connection: Connection, number: int) -> dict[str, Any]:
    """Return a message that can be replayed, locked. Raises BadInputError for one that cannot."""
    row = fetch_row(connection, _LOCK, (number,))
    if row is None:
        raise BadInputError(f"no message has the id {number}: see `streamworkers messages list`")
    if row["state"] == "accepted":
        raise BadInputError(f"message {number} was accepted, it has nothing to make up for: {describe_effect(row)}")
    if row["counted_from"] is not None:
        raise BadInputError(f"row {number} only counts {row['reason']} messages, it has no content: send them again")
    if row["content_bytes"] > len(row["content"]):
        raise BadInputError(
            f"of the {row['content_bytes']:,} bytes of message {number} only {len(row['content']):,} are kept"
            " (STREAMWORKERS_MESSAGE_HISTORY_BYTES): send it again"
        )
    return row


def mark_replayed(connection: Connection, actor: Actor, row: dict[str, Any], outcome: MessageOutcome) -> None:
    """Record what came of a replayed message, in the transaction in which it came."""
    connection.execute(_MARK, (actor.person, list(outcome.runs), outcome.notification_id, row["id"]))
    before = {"state": row["state"], "reason": row["reason"]}
    after = {"runs": list(outcome.runs), "notification": outcome.notification_id and str(outcome.notification_id)}
    record_change(connection, actor, AuditChange("message.replay", "message", str(row["id"]), before, after))


def describe_effect(row: dict[str, Any]) -> str:
    """What has come of a message, in words."""
    if row["notification_id"] is not None:
        return f"notification {row['notification_id']}"
    runs = ", ".join(map(str, row["runs"]))
    return f"run {runs}" if len(row["runs"]) == 1 else f"runs {runs}" if runs else "no run"
