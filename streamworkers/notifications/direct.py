"""Sends one message by a channel, past the pool and its tables: for what must be reported while they stand still."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from streamworkers.errors import UnknownNameError
from streamworkers.notifications.channels.channel import Address, MessageChannel
from streamworkers.notifications.content import Content


def find_target(
    channels: Mapping[str, MessageChannel], channel: str, address: str, options: Mapping[str, Any]
) -> tuple[MessageChannel, Address]:
    """Return a channel with an address on it. Raises UnknownNameError, and BadInputError for a wrong address."""
    if channel not in channels:
        raise UnknownNameError("channel", channel, channels)
    return channels[channel], channels[channel].check_address(address, options)


def send_directly(channel: MessageChannel, address: Address, content: Content, message: UUID) -> None:
    """Send a message now, in the calling thread; the same id again is the same message.

    Raises NotSentError if it was certainly not taken; any other error means that nobody knows.
    """
    for part in channel.render(content, address, has_picture=False):
        channel.send(part, address, delivery=message, picture=None)
