"""Where other programs send messages: the channels and streams that schedulers read, and what reads them."""

from typing import NamedTuple, Protocol

from streamworkers.engine.redis.keys import (
    DATA_LOAD_CHANNEL,
    DATA_LOAD_GROUP,
    DATA_LOAD_STREAM,
    NOTIFICATIONS_CHANNEL,
    NOTIFICATIONS_STREAM,
)


class MessageInbox(NamedTuple):
    """A channel and a stream with the same messages; `sources` name the two in logs and metrics."""

    channel: str
    stream: str
    group: str
    sources: tuple[str, str]


DATA_LOADS = MessageInbox(DATA_LOAD_CHANNEL, DATA_LOAD_STREAM, DATA_LOAD_GROUP, ("pubsub", "stream"))
NOTIFICATIONS = MessageInbox(
    NOTIFICATIONS_CHANNEL, NOTIFICATIONS_STREAM, DATA_LOAD_GROUP, ("notify_pubsub", "notify_stream")
)


class Acceptor(Protocol):
    """What takes messages: it does what they ask for, or rejects them, and raises errors that pass."""

    def accept(self, raw: bytes | None, source: str, sent_at: float) -> object:
        """Take a message that was sent, or else received, at a time in Unix seconds."""
