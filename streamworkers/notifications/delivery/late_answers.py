"""Calls that were not waited for: their providers, to which no others are made, and the records of their answers."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streamworkers.database import Connection
from streamworkers.notifications.delivery.call_counts import CallCounts, Counts

MOST_LATE = 16  # of one process: each has a thread


class LateAnswers:
    """The calls of one process that are still under way. Thread-safe."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._hanging: Counter[str] = Counter()
        self._counts = CallCounts()

    def add(self, bucket: str) -> bool:
        """Note that a call to a provider is left; false if there are too many already."""
        with self._lock:
            if self._hanging.total() >= MOST_LATE:
                return False
            self._hanging[bucket] += 1
            return True

    def is_hanging(self, bucket: str) -> bool:
        """Return whether a call to a provider has been left, and has not ended."""
        with self._lock:
            return self._hanging[bucket] > 0

    @contextmanager
    def recording(self, bucket: str, counts: CallCounts) -> Iterator[Connection]:
        """Connect for the record of an answer, after which its call is over, and `counts` are kept."""
        try:
            with self._connect() as connection:
                yield connection
        finally:
            self.remove(bucket)
            with self._lock:
                self._counts.tallies.update(counts.tallies)
                self._counts.observations.extend(counts.observations)

    def remove(self, bucket: str) -> None:
        """Note that a call is over, or was not left after all."""
        with self._lock:
            self._hanging[bucket] -= 1
            self._hanging = +self._hanging  # without those that are at 0

    def move_counts(self, to: Counts) -> None:
        """Move the counts of answers that came late to those of a batch."""
        with self._lock:
            to.tallies.update(self._counts.tallies)
            to.observations.extend(self._counts.observations)
            self._counts = CallCounts()
