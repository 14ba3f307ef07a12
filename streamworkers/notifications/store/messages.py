"""Messages to one endpoint that are no notification: the code that verifies it, and a test of it."""

from datetime import timedelta
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from streamworkers.database import Connection, fetch_value
from streamworkers.notifications.content import Content
from streamworkers.notifications.store.endpoints import Endpoint

_ADD = """
INSERT INTO deliveries (user_id, endpoint_id, channel, type, priority, content, not_before, expires_at)
VALUES (%s, %s, %s, %s, 'urgent', %s, now() + %s, now() + %s) RETURNING id"""


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
