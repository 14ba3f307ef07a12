"""Hears messages in two ways: Pub/Sub, which forgets what nobody hears, and a stream, which keeps it until it is done.

Both threads are patient with services that are away and say so when they lose and find them. A message from Pub/Sub is
held until PostgreSQL has taken it; one from the stream is acknowledged only then.
"""

import threading
import time
from abc import ABC, abstractmethod
from contextlib import closing
from typing import ClassVar

import structlog

from scheduler.messages_to_runs import Intake
from streamworkers.engine.backoff import Backoff
from streamworkers.engine.redis.inbox import InboxEntry, Messages
from streamworkers.engine.redis.keys import DATA_LOAD_CHANNEL, DATA_LOAD_GROUP, DATA_LOAD_STREAM
from streamworkers.errors import RedisUnavailableError
from streamworkers.faults import describe, is_transient

log = structlog.get_logger()
READ_COUNT = 50
TURN_SECONDS = 1.0
# A replica that died in the middle of a message is given up after this; to do one twice makes no second run.
RECLAIM_IDLE_MS = 30_000
RECLAIM_EVERY_SECONDS = 10.0
FORGET_IDLE_MS = 3_600_000


class Listener(threading.Thread, ABC):
    """A thread that gives what it hears to the intake until it is stopped. `source` is a word for logs and metrics."""

    source: ClassVar[str]

    def __init__(self, messages: Messages, intake: Intake) -> None:
        super().__init__(name=f"{self.source}-listener", daemon=True)
        self.turned_at = time.monotonic()
        self._messages = messages
        self._intake = intake
        self._stop_requested = threading.Event()
        self._backoff = Backoff(self._stop_requested)

    def stop(self) -> None:
        """End the thread after the message in hand."""
        self._stop_requested.set()

    def run(self) -> None:
        """Listen, and listen again after each loss."""
        while not self._stop_requested.is_set():
            try:
                self._listen()
            except Exception as error:  # a listener never stops silently: it says what is wrong and goes on
                log.warning(
                    "listener_lost", source=self.source, error=describe(error), exc_info=not is_transient(error)
                )
                self._backoff.failed()

    @abstractmethod
    def _listen(self) -> None:
        """Connect, and give what comes to the intake until stopped. Raises when something goes away."""

    def _connected(self) -> None:
        self._backoff.succeeded()
        self._intake.metrics.reconnects.labels(self.source).inc()
        log.info("listener_connected", source=self.source)

    def _turn(self) -> bool:
        """Note that the thread lives; False when it should end."""
        self.turned_at = time.monotonic()
        return not self._stop_requested.is_set()


class ChannelListener(Listener):
    """Hears the Pub/Sub channel."""

    source: ClassVar[str] = "pubsub"

    def _listen(self) -> None:
        with closing(self._messages.subscribe(DATA_LOAD_CHANNEL)) as subscription:
            self._connected()
            while self._turn():
                raw = subscription.next_message(TURN_SECONDS)
                if raw is not None:
                    self._accept(raw)

    def _accept(self, raw: bytes) -> None:
        """Nobody sends it again, so it is held until it has been taken; Redis keeps what comes meanwhile."""
        heard_at = time.time()
        while self._turn():
            try:
                self._intake.accept(raw, self.source, heard_at)
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("message_held", source=self.source, error=describe(error))
                self._backoff.failed()
            else:
                self._backoff.succeeded()
                return


class StreamListener(Listener):
    """Reads the stream, as one of a group."""

    source: ClassVar[str] = "stream"

    def __init__(self, messages: Messages, intake: Intake, consumer: str) -> None:
        super().__init__(messages, intake)
        self._consumer = consumer

    def run(self) -> None:
        """Listen until stopped, then leave the group."""
        super().run()
        try:
            self._messages.leave_inbox(DATA_LOAD_STREAM, DATA_LOAD_GROUP, self._consumer)
        except RedisUnavailableError as error:
            log.warning("consumer_left_behind", source=self.source, consumer=self._consumer, error=describe(error))

    def read_once(self) -> int:
        """Deal with what is in the stream now, also what a dead replica left, and leave; returns how many entries."""
        words = (DATA_LOAD_STREAM, DATA_LOAD_GROUP, self._consumer)
        count = 0
        while entries := self._messages.read_inbox(*words, READ_COUNT):
            self._deal_with(entries)
            count += len(entries)
        while reclaimed := self._reclaim():
            count += reclaimed
        self._messages.leave_inbox(DATA_LOAD_STREAM, DATA_LOAD_GROUP, self._consumer)
        return count

    def _listen(self) -> None:
        words = (DATA_LOAD_STREAM, DATA_LOAD_GROUP, self._consumer)
        # What it had read when something went away.
        self._deal_with(self._messages.read_inbox(*words, READ_COUNT, own=True))
        self._connected()
        reclaim_at = 0.0
        while self._turn():
            if time.monotonic() >= reclaim_at:
                self._reclaim()
                self._messages.prune_inbox(DATA_LOAD_STREAM, DATA_LOAD_GROUP, FORGET_IDLE_MS)
                reclaim_at = time.monotonic() + RECLAIM_EVERY_SECONDS
            self._deal_with(self._messages.read_inbox(*words, READ_COUNT, block_ms=round(TURN_SECONDS * 1000)))

    def _reclaim(self) -> int:
        words = (DATA_LOAD_STREAM, DATA_LOAD_GROUP, self._consumer)
        entries = self._messages.reclaim_inbox(*words, RECLAIM_IDLE_MS, READ_COUNT)
        self._deal_with(entries)
        return len(entries)

    def _deal_with(self, entries: list[InboxEntry]) -> None:
        for entry in entries:
            self._turn()
            self._intake.accept(entry.message, self.source, entry.sent_at)
            self._messages.finish_inbox(DATA_LOAD_STREAM, DATA_LOAD_GROUP, [entry.entry_id])
