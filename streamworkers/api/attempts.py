"""Limits how often an address may present a token that is not good."""

import math
import threading
import time

from streamworkers.api.limits import RequestLimits
from streamworkers.api.problem import Problem

MOST_FAILURES = 20
_MOST_ADDRESSES = 10_000


class Attempts:
    """Failed log-ins by address, at all API processes together. Thread-safe, of bounded size.

    A process learns that an address has failed too often when it fails here; until then Redis is not asked.
    """

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._blocked_until: dict[str, float] = {}

    def require_few(self, address: str) -> None:
        """Raise Problem 429 if this address has failed too often."""
        left = self._blocked_until.get(address, 0.0) - time.monotonic()
        if left > 0:
            raise _too_many(left)

    def failed(self, address: str) -> None:
        """Count a failed log-in of an address. Raises Problem 429 for one too many."""
        allowance = self._limits.take(f"address:{address}", MOST_FAILURES)
        if allowance.next_seconds:
            with self._lock:
                if len(self._blocked_until) >= _MOST_ADDRESSES:
                    self._blocked_until.pop(next(iter(self._blocked_until)))
                self._blocked_until[address] = time.monotonic() + allowance.next_seconds
        if not allowance.is_allowed:
            raise _too_many(allowance.next_seconds)


def _too_many(seconds: float) -> Problem:
    text = f"{MOST_FAILURES} requests from this address had no good token within a minute"
    return Problem(429, "too-many-attempts", text, headers={"Retry-After": str(math.ceil(seconds))})
