"""Says of a run how many calls it still makes, and when it will about be done, for people who wait for it."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import ceil
from typing import Any, NamedTuple

_LIMITED_PROVIDER = "massive"
_MOST_CALLS = 10**9
_MOST_SECONDS = 10 * 365 * 86_400.0  # what takes longer has no end that anybody waits for


class Progress(NamedTuple):
    """How far runs are: their items, those that are closed, the calls that are left, and when the first one started."""

    total: int
    closed: int
    calls_left: int
    started_at: datetime | None

    def eta(self, calls_per_minute: int, now: datetime) -> datetime | None:
        """Return about when all items are closed: as fast as so far, and not before the rate limit allows it."""
        seconds = 60 * self.calls_left / calls_per_minute if calls_per_minute else 0.0
        if self.started_at is not None and self.closed:
            passed = (now - self.started_at).total_seconds()
            seconds = max(seconds, passed / self.closed * (self.total - self.closed))
        return now + timedelta(seconds=seconds) if 0 < seconds <= _MOST_SECONDS else None


def count_calls_left(parameters: Mapping[str, Any] | None, total: int, closed: int) -> int:
    """Return about how many calls that count against a rate limit a run will still make."""
    given = parameters or {}
    calls = given.get("estimated_calls")
    # A job of another package may mean something else by this name.
    if not isinstance(calls, int) or not 0 <= calls <= _MOST_CALLS or total <= 0:
        return 0
    if given.get("provider", _LIMITED_PROVIDER) != _LIMITED_PROVIDER:
        return 0
    return ceil(calls * (total - closed) / total)
