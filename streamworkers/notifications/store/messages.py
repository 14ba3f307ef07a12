"""Messages to one endpoint that are no notification: the code that verifies it, and a test of it."""

from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from streamworkers.database import Connection, fetch_row, fetch_value
from streamworkers.notifications.content import Content
from streamworkers.notifications.store.endpoints import Endpoint

_ADD = """
INSERT INTO deliveries (user_id, endpoint_id, channel, type, priority, content, not_before, expires_at)
VALUES (%s, %s, %s, %s, 'urgent', %s, now() + %s, now() + %s) RETURNING id"""

_COUNT = """
SELECT count(*) FILTER (WHERE state = 'sent') AS sent, count(*) FILTER (WHERE state = 'dead') AS dead
FROM deliveries WHERE created_at >= %s"""


def count_sent(connection: Connection, since: datetime) -> dict[str, int]:
    """How many deliveries that were made since a moment are sent, and how many are dead."""
    row = fetch_row(connection, _COUNT, (since,))
    assert row is not None
    return {name: int(count) for name, count in row.items()}


def add_message(
    connection: Connection,
    endpoint: Endpoint,
    type_name: str,
    content: Content,
    life: timedelta,
    *,
    due_in: timedelta = timedelta(),
) -> UUID:
    """Queue a message in the caller's transaction, past preferences, quiet hours and digests; returns its delivery."""
    values = (endpoint.user, endpoint.id, endpoint.channel, type_name, Jsonb(msgspec.to_builtins(content)))
    delivery: UUID = fetch_value(connection, _ADD, (*values, due_in, life))
    return delivery
