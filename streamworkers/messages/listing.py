"""Reads the table `received_messages`, newest rows first."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from streamworkers.database import Connection, fetch_row, fetch_rows

# The number of replicas that received it: of an entry of a stream it is the one that read it.
_COLUMNS = """id, received_at, sent_at, channel, source, kind, external_id, sender, state, reason, detail, times,
    last_at, counted_from, (SELECT count(*) FROM jsonb_object_keys(received_by)) AS replicas, entry_id,
    content_bytes, runs, notification_id, replayed_at, replayed_by, octet_length(content) = content_bytes AS is_whole"""
_LIST = f"""
    SELECT {_COLUMNS} FROM received_messages
    WHERE (%(state)s::text IS NULL OR state = %(state)s) AND (%(channel)s::text IS NULL OR channel = %(channel)s)
        AND (%(since)s::timestamptz IS NULL OR received_at >= %(since)s)
    ORDER BY id DESC LIMIT %(limit)s
"""  # noqa: S608  # constants
_READ = f"SELECT {_COLUMNS}, content FROM received_messages WHERE id = %s"  # noqa: S608  # constants


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Which messages are wanted; every field that is set must match."""

    state: str | None = None
    channel: str | None = None
    since: datetime | None = None


def list_messages(connection: Connection, wanted: MessageFilter, limit: int) -> list[dict[str, Any]]:
    """Return the newest messages that match, without their content."""
    return fetch_rows(connection, _LIST, {**asdict(wanted), "limit": limit})


def read_message(connection: Connection, number: int) -> dict[str, Any] | None:
    """Return a message with its content, as many bytes as are kept; None if there is none of this id."""
    return fetch_row(connection, _READ, (number,))


def list_channels(connection: Connection) -> list[str]:
    """Return the channels and streams of which there are messages."""
    return [name for (name,) in connection.execute("SELECT DISTINCT channel FROM received_messages ORDER BY 1")]
