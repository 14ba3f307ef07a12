"""Waiting for a service to come back: exponential, jittered, bounded, and ended at once by a stop."""

import random
from typing import Protocol


class Stop(Protocol):
    """What ends a pause: an event, or something like it."""

    def wait(self, seconds: float, /) -> bool:
        """Pause; True if stopped meanwhile."""


class Backoff:
    """The pauses between tries while a service is away; `succeeded` starts over."""

    FIRST_SECONDS = 0.1
    LONGEST_SECONDS = 5.0

    def __init__(
        self, stop: Stop, rng: random.Random | None = None, *, longest_seconds: float = LONGEST_SECONDS
    ) -> None:
        self._stop = stop
        self._longest_seconds = longest_seconds
        self._rng = rng or random.Random()  # noqa: S311  # spreads reconnects, guards nothing
        self._failures = 0

    @property
    def next_seconds(self) -> float:
        """The next pause: between half and all of a bound that doubles with each failure."""
        bound = min(self._longest_seconds, self.FIRST_SECONDS * 2.0 ** min(self._failures, 16))
        return bound * self._rng.uniform(0.5, 1.0)

    def failed(self) -> bool:
        """Pause before the next try; False if asked to stop meanwhile."""
        seconds = self.next_seconds
        self._failures += 1
        return not self._stop.wait(seconds)

    def succeeded(self) -> None:
        """Start over: the service answered."""
        self._failures = 0
