"""Reads the messages of other programs: from Pub/Sub, which keeps nothing, and from a stream, which keeps entries.

Both loops connect again after Redis or PostgreSQL was away. A message from Pub/Sub is held in memory until PostgreSQL
has its runs; an entry of the stream is acknowledged only then.
"""

import time
from abc import ABC
from contextlib import closing
from typing import ClassVar

import structlog

from scheduler.messages_to_runs import MessagesToRuns
from streamworkers.engine.host.loop import Loop
from streamworkers.engine.redis.inbox import InboxEntry, Messages
from streamworkers.engine.redis.keys import DATA_LOAD_CHANNEL, DATA_LOAD_GROUP, DATA_LOAD_STREAM
from streamworkers.errors import RedisUnavailableError
from streamworkers.faults import describe, find_fault

log = structlog.get_logger()
READ_COUNT = 50
TURN_SECONDS = 1.0
# After this a message of another replica is claimed. Handling a message twice makes no second run.
RECLAIM_IDLE_MS = 30_000
RECLAIM_EVERY_SECONDS = 10.0
FORGET_IDLE_MS = 3_600_000


class Listener(Loop, ABC):
    """A loop that starts runs for the messages that it reads. `source` names it in logs and metrics."""

    source: ClassVar[str]

    def __init__(self, messages: Messages, messages_to_runs: MessagesToRuns) -> None:
        super().__init__(f"{self.source}-listener")
        self._messages = messages
        self._messages_to_runs = messages_to_runs

    def log_error(self, error: Exception) -> None:
        """Log an error that is no fault of a store; the next turn connects again."""
        log.warning("listener_lost", source=self.source, error=describe(error), exc_info=error)

    def _record_connection(self) -> None:
        self.succeeded()
        self._messages_to_runs.metrics.reconnects.labels(self.source).inc()
        log.info("listener_connected", source=self.source)


class ChannelListener(Listener):
    """Reads messages from the Pub/Sub channel."""

    source: ClassVar[str] = "pubsub"

    def turn(self) -> None:
        """Subscribe, and start runs for messages until stopped or disconnected."""
        with closing(self._messages.subscribe(DATA_LOAD_CHANNEL)) as subscription:
            self._record_connection()
            while self.mark_turn():
                raw = subscription.next_message(TURN_SECONDS)
                if raw is not None:
                    self._accept(raw)

    def _accept(self, raw: bytes) -> None:
        """Hold a message until its runs are in PostgreSQL, as it is not sent again; Redis buffers later ones."""
        received_at = time.time()
        while self.mark_turn():
            try:
                self._messages_to_runs.accept(raw, self.source, received_at)
            except Exception as error:
                if find_fault(error) is None:
                    raise
                self.failed(error)
                self._backoff.failed()
            else:
                self.succeeded()
                return


class StreamListener(Listener):
    """Reads the stream as one consumer of a group."""

    source: ClassVar[str] = "stream"

    def __init__(self, messages: Messages, messages_to_runs: MessagesToRuns, consumer: str) -> None:
        super().__init__(messages, messages_to_runs)
        self._consumer = consumer

    def run(self) -> None:
        """Listen until stopped, then leave the group."""
        super().run()
        try:
            self._messages.leave_inbox(DATA_LOAD_STREAM, DATA_LOAD_GROUP, self._consumer)
        except RedisUnavailableError as error:
            log.warning("consumer_left_behind", source=self.source, consumer=self._consumer, error=describe(error))

    def read_once(self) -> int:
        """Handle the entries in the stream, also those of dead replicas, and leave; returns the number of entries."""
        group = (DATA_LOAD_STREAM, DATA_LOAD_GROUP, self._consumer)
        count = 0
        while entries := self._messages.read_inbox(*group, READ_COUNT):
            self._accept_all(entries)
            count += len(entries)
        while reclaimed := self._reclaim():
            count += reclaimed
        self._messages.leave_inbox(DATA_LOAD_STREAM, DATA_LOAD_GROUP, self._consumer)
        return count

    def turn(self) -> None:
        """Read entries until stopped or disconnected."""
        group = (DATA_LOAD_STREAM, DATA_LOAD_GROUP, self._consumer)
        # Entries read before the connection was lost.
        self._accept_all(self._messages.read_inbox(*group, READ_COUNT, own=True))
        self._record_connection()
        reclaim_at = 0.0
        while self.mark_turn():
            if time.monotonic() >= reclaim_at:
                self._reclaim()
                self._messages.prune_inbox(DATA_LOAD_STREAM, DATA_LOAD_GROUP, FORGET_IDLE_MS)
                reclaim_at = time.monotonic() + RECLAIM_EVERY_SECONDS
            self._accept_all(self._messages.read_inbox(*group, READ_COUNT, block_ms=round(TURN_SECONDS * 1000)))

    def _reclaim(self) -> int:
        group = (DATA_LOAD_STREAM, DATA_LOAD_GROUP, self._consumer)
        entries = self._messages.reclaim_inbox(*group, RECLAIM_IDLE_MS, READ_COUNT)
        self._accept_all(entries)
        return len(entries)

    def _accept_all(self, entries: list[InboxEntry]) -> None:
        for entry in entries:
            self.mark_turn()
            self._messages_to_runs.accept(entry.message, self.source, entry.sent_at)
            self._messages.finish_inbox(DATA_LOAD_STREAM, DATA_LOAD_GROUP, [entry.entry_id])
