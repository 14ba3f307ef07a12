"""Redis' clock, watched: every lease, delay and time to live is measured with it, and it may be set."""

import threading
import time
from collections.abc import Callable


class ClockWatch:
    """Notices when Redis' clock jumps, against the monotonic clock of this process. Thread-safe.

    `read_ms` returns the time by Redis' clock; `tolerance_ms` is what it may gain or lose between two looks.
    """

    def __init__(self, read_ms: Callable[[], int], tolerance_ms: float) -> None:
        self._read_ms = read_ms
        self._tolerance_ms = tolerance_ms
        self._lock = threading.Lock()
        # Redis' clock minus ours: it was read at some moment between request and answer, so only bounds are known.
        self._bounds: tuple[float, float] | None = None
        self._jumped_at = float("-inf")

    def look(self) -> float:
        """Return by how many ms the clock has jumped since the last look, forward or (negative) back; 0 if it has not.

        Raises RedisUnavailableError.
        """
        before = time.monotonic()
        now_ms = self._read_ms()
        after = time.monotonic()
        low, high = now_ms - 1000 * after, now_ms - 1000 * before
        with self._lock:
            jump = 0.0
            if self._bounds is not None:
                gain, loss = low - self._bounds[1], self._bounds[0] - high
                jump = gain if gain > self._tolerance_ms else -loss if loss > self._tolerance_ms else 0.0
            self._bounds = low, high
            if jump:
                self._jumped_at = after
        return jump

    def has_jumped_within(self, seconds: float) -> bool:
        """True if a jump was noticed so recently."""
        return time.monotonic() - self._jumped_at < seconds

    def latest_ms(self, slack_ms: float) -> int | None:
        """Return the latest time that Redis' clock can show, unless it has jumped; None before the first look."""
        with self._lock:
            return None if self._bounds is None else round(self._bounds[1] + 1000 * time.monotonic() + slack_ms)
