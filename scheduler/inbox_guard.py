"""Keeps streams of messages within their memory: a program that floods one does not fill Redis for everybody."""

from scheduler.message_inbox import MessageInbox
from scheduler.metrics import SchedulerMetrics
from streamworkers.engine.host.loop import Loop
from streamworkers.engine.redis.inbox import Messages
from streamworkers.logger import get_logger

log = get_logger()
PAUSE_SECONDS = 5.0


class InboxGuard(Loop):
    """Drops the oldest messages of an inbox's stream that has grown too large, and counts them as rejected.

    Every scheduler does it: in a Redis that is full already, none could take a lease.
    """

    def __init__(self, messages: Messages, metrics: SchedulerMetrics, inbox: MessageInbox, most_bytes: int) -> None:
        self.source = inbox.sources[1]
        super().__init__(f"{self.source.replace('_', '-')}-guard")
        self._messages = messages
        self._metrics = metrics
        self._stream = inbox.stream
        self._most_bytes = most_bytes

    @property
    def longest_pause_seconds(self) -> float:
        """The pause between two looks."""
        return PAUSE_SECONDS

    def turn(self) -> None:
        """Look at the stream, and pause."""
        dropped = self._messages.trim_inbox(self._stream, self._most_bytes)
        if dropped:
            self._metrics.messages.labels(self.source, "rejected", "inbox_full").inc(dropped)
            log.warning("messages_dropped", source=self.source, count=dropped, most_bytes=self._most_bytes)
        self.succeeded()
        self._stop_requested.wait(PAUSE_SECONDS)
