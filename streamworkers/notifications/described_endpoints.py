"""Endpoints as people and programs see them, without their secrets; and a test of one."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from streamworkers.actor import Actor
from streamworkers.database import Connection
from streamworkers.notifications.channels.channel import MessageChannel
from streamworkers.notifications.content import Content
from streamworkers.notifications.store.endpoints import Endpoint, find_endpoint, record_endpoint
from streamworkers.notifications.store.messages import add_message

_TEST = Content("Test", ("This endpoint works: notifications come here.",))
_TEST_LIFE = timedelta(hours=1)


def describe_endpoint(endpoint: Endpoint, channels: Mapping[str, MessageChannel]) -> dict[str, Any]:
    """What may be seen of an endpoint, with its state in a word."""
    channel = channels.get(endpoint.channel)
    return {
        "name": endpoint.name,
        "channel": endpoint.channel,
        "address": "(the channel is not installed here)" if channel is None else channel.show_address(endpoint.target),
        "state": _state(endpoint),
        "verified_at": endpoint.verified_at,
        "off_at": endpoint.off_at,
        "off_reason": endpoint.off_reason,
        "created_at": endpoint.created_at,
        "created_by": endpoint.created_by,
    }


def send_test(connection: Connection, actor: Actor, name: str) -> None:
    """Send a test to an endpoint, past preferences and quiet hours. Raises UnknownNameError."""
    with connection.transaction():
        endpoint = find_endpoint(connection, actor.user, name)
        add_message(connection, endpoint, "message", _TEST, _TEST_LIFE)
        record_endpoint(connection, actor, "test", endpoint)


def _state(endpoint: Endpoint) -> str:
    if endpoint.off_at is not None:
        return f"off: {endpoint.off_reason}"
    return "on" if endpoint.verified_at is not None else "not verified"
