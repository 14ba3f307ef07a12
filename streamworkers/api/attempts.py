"""Limits how often an address may present a token that is not good."""

import threading
import time

from streamworkers.api.problem import Problem

MOST_FAILURES = 20
WINDOW_SECONDS = 60.0
_MOST_ADDRESSES = 10_000


class Attempts:
    """Failed log-ins of this process by address. Thread-safe, of bounded size."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: dict[str, tuple[float, int]] = {}

    def require_few(self, address: str) -> None:
        """Raise Problem 429 if this address has failed too often within a minute."""
        since, count = self._failures.get(address, (0.0, 0))
        left = since + WINDOW_SECONDS - time.monotonic()
        if count >= MOST_FAILURES and left > 0:
            text = f"{count} requests from this address had no good token within a minute"
            raise Problem(429, "too-many-attempts", text, headers={"Retry-After": str(int(left) + 1)})

    def failed(self, address: str) -> None:
        """Count a failed log-in of an address."""
        now = time.monotonic()
        with self._lock:
            since, count = self._failures.get(address, (now, 0))
            if now - since > WINDOW_SECONDS:
                since, count = now, 0
            if len(self._failures) >= _MOST_ADDRESSES and address not in self._failures:
                self._failures.pop(next(iter(self._failures)))
            self._failures[address] = (since, count + 1)
