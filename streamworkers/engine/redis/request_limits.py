"""How often something may be done in a minute: a limit that is whole at first, and comes back one by one."""

from typing import NamedTuple

from streamworkers.engine.redis.client import RedisClient

WINDOW_US = 60_000_000


class Allowance(NamedTuple):
    """Whether one more was allowed, how many are left, and the seconds until all are there again, and until one is."""

    is_allowed: bool
    left: int
    whole_seconds: float
    next_seconds: float


def take_request(full_at: int, now: int, limit: int) -> tuple[int, Allowance]:
    """Take one of a limit that is whole at `full_at`; returns its new value. Times are in µs.

    The script does the same in Redis, for all processes.
    """
    each = WINDOW_US // limit
    whole = each * limit
    full_at = min(max(full_at, now), now + whole)
    is_allowed = full_at + each - now <= whole
    if is_allowed:
        full_at += each
    used = full_at - now
    return full_at, Allowance(is_allowed, (whole - used) // each, used / 1e6, max(0, used + each - whole) / 1e6)


class RequestLimiter:
    """Keeps limits by name in Redis, whose clock counts; a lost Redis has only whole ones."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    def take(self, name: str, limit: int) -> Allowance:
        """Take one of the `limit` that a name has in a minute. Raises RedisUnavailableError."""
        keys = [self._client.keys.request_limit(name)]
        taken, left, whole, following = map(int, self._client.run("limit_requests", keys, [limit, WINDOW_US]))
        return Allowance(bool(taken), left, whole / 1e6, following / 1e6)
