"""Leaves a provider alone that lets calls hang, so that it does not hold up the messages to others."""

import threading
from contextlib import suppress

from streamworkers.engine.redis.slot_book import SlotBook
from streamworkers.errors import RedisUnavailableError

SLOW_SECONDS = 5.0
SHORTEST_PAUSE_SECONDS = 5.0
MOST_PAUSE_SECONDS = 600.0


class SlowProviders:
    """Holds the limit of one that failed slowly, for the whole fleet: as long as the call took, then longer each time.

    So calls that hang take a small part of a worker's time, however many wait for that provider. Thread-safe.
    """

    def __init__(self, book: SlotBook) -> None:
        self._book = book
        self._lock = threading.Lock()
        self._pauses: dict[str, float] = {}

    def ended(self, bucket: str, seconds: float, *, has_answered: bool) -> None:
        """Report that a call has ended after so many seconds; any answer in time ends its pauses."""
        with self._lock:
            if has_answered or seconds < SLOW_SECONDS:
                self._pauses.pop(bucket, None)
                return
            pause = min(max(seconds, SHORTEST_PAUSE_SECONDS, 2 * self._pauses.get(bucket, 0.0)), MOST_PAUSE_SECONDS)
            self._pauses[bucket] = pause
        with suppress(RedisUnavailableError):
            self._book.hold(bucket, pause)
