"""Reads the messages of other programs: from Pub/Sub, which keeps nothing, and from a stream, which keeps entries.

Both loops connect again after Redis or PostgreSQL was away. A message from Pub/Sub is held in memory until PostgreSQL
has what they ask for; an entry of the stream is acknowledged only then.
"""

import time
from abc import ABC
from collections import deque
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

from scheduler.message_inbox import DATA_LOADS, Acceptor, Arrival, MessageInbox
from scheduler.message_neighbours import MessageNeighbours
from scheduler.metrics import SchedulerMetrics
from streamworkers.engine.host.loop import Loop
from streamworkers.engine.redis.inbox import InboxEntry, Messages, Subscription
from streamworkers.errors import RedisUnavailableError
from streamworkers.faults import describe, find_fault
from streamworkers.logger import get_logger

log = get_logger()
READ_COUNT = 50
TURN_SECONDS = 1.0
# A blocking read would bring the next entry whole, however large another program has made it.
POLL_SECONDS = 0.2
# After this a message of another replica is claimed. Handling a message twice makes no second run.
RECLAIM_IDLE_MS = 30_000
RECLAIM_EVERY_SECONDS = 10.0
FORGET_IDLE_MS = 3_600_000
CLOCK_SECONDS = 10.0
# What a replica holds of a channel while it works on a message.
MOST_HEARD = 20_000
MOST_HEARD_BYTES = 32 << 20


class Listener(Loop, ABC):
    """A loop that does what the messages ask for that it reads. `source` names it in logs and metrics."""

    def __init__(self, messages: Messages, acceptor: Acceptor, metrics: SchedulerMetrics, source: str) -> None:
        super().__init__(f"{source.replace('_', '-')}-listener")
        self.source = source
        self._messages = messages
        self._acceptor = acceptor
        self._metrics = metrics

    def log_error(self, error: Exception) -> None:
        """Log an error that is no fault of a store; the next turn connects again."""
        log.warning("listener_lost", source=self.source, error=describe(error), exc_info=error)

    def _record_connection(self) -> None:
        self.connected()
        self._metrics.reconnects.labels(self.source).inc()
        log.info("listener_connected", source=self.source)


class ChannelListener(Listener):
    """Reads messages from the Pub/Sub channel of an inbox.

    It takes them from the connection before it works on the next one, so that each has the time at which it came. All
    times are those of Redis, so that those of other replicas, and of the stream, can be compared with them.
    """

    def __init__(
        self,
        messages: Messages,
        acceptor: Acceptor,
        metrics: SchedulerMetrics,
        inbox: MessageInbox = DATA_LOADS,
        replica: str = "",
    ) -> None:
        super().__init__(messages, acceptor, metrics, inbox.sources[0])
        self._channel = inbox.channel
        self._replica = replica
        # Also what came before a connection was lost.
        self._heard: deque[_Heard] = deque()
        self._heard_bytes = 0

    def turn(self) -> None:
        """Subscribe, and take messages until stopped or disconnected."""
        with closing(self._messages.subscribe(self._channel)) as subscription:
            clock = _RedisClock(self._messages)
            since = clock.now()
            self._record_connection()
            while self.mark_turn():
                self._hear(subscription, clock, since, TURN_SECONDS)
                self._accept_heard(lambda: self._hear(subscription, clock, since, 0.0))
                self.succeeded()

    def _hear(self, subscription: Subscription, clock: "_RedisClock", since: float, seconds: float) -> None:
        """Take what has come, waiting up to so many seconds for the first; Redis keeps what is too much to hold."""
        while len(self._heard) < MOST_HEARD and self._heard_bytes < MOST_HEARD_BYTES:
            raw = subscription.next_message(0.0 if self._heard else seconds)
            if raw is None:
                return
            self._heard.append(_Heard(raw, clock.now(), since))
            self._heard_bytes += len(raw)

    def _accept_heard(self, hear: Callable[[], None]) -> None:
        """Hold each message until PostgreSQL has what it asks for: it is not sent again."""
        while self._heard and self.mark_turn():
            first = self._heard[0]
            try:
                self._acceptor.accept(first.raw, self.source, first.at, Arrival(self._replica, since=first.since))
            except Exception as error:
                if find_fault(error) is None:
                    self._forget_first()
                    raise
                self.failed(error)
                self._backoff.failed()
            else:
                self._forget_first()
                self.succeeded()
            hear()

    def _forget_first(self) -> None:
        self._heard_bytes -= len(self._heard.popleft().raw)


class _Heard(NamedTuple):
    """A message, when it came by Redis' clock, and from when on the replica listens to its channel."""

    raw: bytes
    at: float
    since: float


class _RedisClock:
    """Redis' clock, read again after a while; in between it runs as the monotonic one does."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._offset = 0.0
        self._read_at = float("-inf")

    def now(self) -> float:
        """Return the time in Unix seconds. Raises RedisUnavailableError."""
        before = time.monotonic()
        if before - self._read_at >= CLOCK_SECONDS:
            read = self._messages.read_clock()
            self._read_at = time.monotonic()
            self._offset = read - (before + self._read_at) / 2
        return time.monotonic() + self._offset


class StreamListener(Listener):
    """Reads the stream of an inbox as one consumer of its group."""

    def __init__(
        self,
        messages: Messages,
        acceptor: Acceptor,
        metrics: SchedulerMetrics,
        consumer: str,
        inbox: MessageInbox = DATA_LOADS,
        neighbours: MessageNeighbours | None = None,
    ) -> None:
        super().__init__(messages, acceptor, metrics, inbox.sources[1])
        self._inbox = inbox
        self._neighbours = neighbours
        self._group = (inbox.stream, inbox.group, consumer)

    def run(self) -> None:
        """Listen until stopped, then leave the group."""
        super().run()
        try:
            self._messages.leave_inbox(*self._group)
        except RedisUnavailableError as error:
            log.warning("consumer_left_behind", source=self.source, consumer=self._group[2], error=describe(error))

    def read_once(self) -> int:
        """Handle the entries in the stream, also those of dead replicas, and leave; returns the number of entries."""
        count = 0
        while entries := self._messages.read_inbox(*self._group, READ_COUNT):
            self._accept_all(entries)
            count += len(entries)
        while reclaimed := self._reclaim():
            count += reclaimed
        self._messages.leave_inbox(*self._group)
        return count

    def turn(self) -> None:
        """Read entries until stopped or disconnected."""
        # Entries read before the connection was lost.
        while self.mark_turn() and (own := self._messages.read_inbox(*self._group, READ_COUNT, own=True)):
            self._accept_all(own)
        self._record_connection()
        reclaim_at = 0.0
        while self.mark_turn():
            if time.monotonic() >= reclaim_at:
                while self.mark_turn() and self._reclaim():
                    pass
                self._messages.prune_inbox(self._inbox.stream, self._inbox.group, FORGET_IDLE_MS)
                if self._neighbours is not None:
                    self._neighbours.look(self._inbox)
                reclaim_at = time.monotonic() + RECLAIM_EVERY_SECONDS
            entries = self._messages.read_inbox(*self._group, READ_COUNT)
            self._accept_all(entries)
            self.succeeded()
            if not entries:
                self._stop_requested.wait(POLL_SECONDS)

    def _reclaim(self) -> int:
        entries = self._messages.reclaim_inbox(*self._group, RECLAIM_IDLE_MS, READ_COUNT)
        self._accept_all(entries)
        return len(entries)

    def _accept_all(self, entries: list[InboxEntry]) -> None:
        for entry in entries:
            self.mark_turn()
            arrival = Arrival(self._group[2], entry.entry_id)
            self._acceptor.accept(entry.message, self.source, entry.sent_at, arrival)
            self._messages.finish_inbox(self._inbox.stream, self._inbox.group, [entry.entry_id])
