"""Where other programs send messages: the channels and streams that schedulers read, and what reads them."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from streamworkers.engine.redis.keys import (
    DATA_LOAD_CHANNEL,
    DATA_LOAD_GROUP,
    DATA_LOAD_STREAM,
    NOTIFICATIONS_CHANNEL,
    NOTIFICATIONS_STREAM,
)
from streamworkers.messages.history import ReceivedMessage


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
_NAMES = {
    source: name
    for inbox in (DATA_LOADS, NOTIFICATIONS)
    for source, name in zip(inbox.sources, (inbox.channel, inbox.stream), strict=True)
}


class Arrival(NamedTuple):
    """How a message came: to which replica, as which entry of a stream, or on a channel that it hears since when."""

    replica: str = ""
    entry_id: str | None = None
    since: float = 0.0

    def make_message(
        self, raw: bytes | None, source: str, sent_at: float, full_name: Callable[[str], str]
    ) -> ReceivedMessage:
        """Return the message, with the full name of its channel; an entry without one is empty."""
        channel = full_name(_NAMES.get(source, source))
        return ReceivedMessage(raw or b"", channel, source, sent_at, self.replica, self.entry_id, self.since)


UNKNOWN_ARRIVAL = Arrival()


class Acceptor(Protocol):
    """What takes messages: it does what they ask for, or rejects them, and raises errors that pass."""

    def accept(self, raw: bytes | None, source: str, sent_at: float, arrival: Arrival = UNKNOWN_ARRIVAL) -> object:
        """Take a message that was sent, or else received, at a time in Unix seconds."""
