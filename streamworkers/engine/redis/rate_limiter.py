"""Rate limits that hold for the whole fleet: at most so many calls to a service in any window of time."""

from streamworkers.engine.redis.client import RedisClient, translate_errors


class RateLimiter:
    """Reserves calls in Redis. A call counts from its end, because only then is it certain when it arrived."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._keys = client.keys

    def reserve(self, service: str, token: str, limit: int, window_ms: int, longest_ms: int) -> int:
        """Reserve one of the `limit` calls of any window; 0 if it may be made now, else the ms to wait.

        `longest_ms` is how long a call counts whose end is never reported with `finish`.
        """
        words = ["reserve", token, limit, window_ms, longest_ms]
        return int(self._client.run("rate_limit", [self._keys.rate_limit(service)], words))

    def finish(self, service: str, token: str) -> None:
        """Report the end of a call: its window begins now."""
        self._client.run("rate_limit", [self._keys.rate_limit(service)], ["finished", token])

    def count_calls(self) -> dict[str, int]:
        """Return how many calls count against the limit of each service that was called recently."""
        prefix_length = len(self._keys.rate_limit(""))
        with translate_errors():
            names = list(self._client.raw.scan_iter(match=self._keys.rate_limit("*"), count=1000))
            return {name.decode()[prefix_length:]: self._client.raw.zcard(name) for name in names}
