"""Limits on requests: in Redis for all API processes, and of this process alone while Redis is away."""

import threading
import time

from streamworkers.engine.redis.client import RedisClient
from streamworkers.engine.redis.request_limits import Allowance, RequestLimiter, take_request
from streamworkers.errors import ServiceUnreachableError
from streamworkers.logger import get_logger

log = get_logger()
ASK_SECONDS = 0.25
# One request asks a Redis that was away again after so long; the others do not wait for its answer.
_AWAY_SECONDS = 2.0
_MOST_NAMES = 10_000


class RequestLimits:
    """Answers at once, or within a quarter of a second, whatever Redis does. Thread-safe, of bounded size."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._shared = RequestLimiter(client)
        self._lock = threading.Lock()
        self._own: dict[str, int] = {}
        self._asks_at = 0.0
        self._is_away = False

    def close(self) -> None:
        """Close all connections to Redis."""
        self._client.close()

    def take(self, name: str, limit: int) -> Allowance:
        """Take one of the `limit` requests that a name may make in a minute."""
        if self._may_ask():
            try:
                allowance = self._shared.take(name, limit)
            except ServiceUnreachableError as error:
                self._note_away(str(error))
            else:
                self._note_there()
                return allowance
        return self._take_own(name, limit)

    def _may_ask(self) -> bool:
        with self._lock:
            if not self._is_away:
                return True
            now = time.monotonic()
            if now < self._asks_at:
                return False
            self._asks_at = now + _AWAY_SECONDS
            return True

    def _note_away(self, why: str) -> None:
        with self._lock:
            is_news, self._is_away = not self._is_away, True
            self._asks_at = time.monotonic() + _AWAY_SECONDS
        if is_news:
            log.warning("limits_not_shared", error=why)

    def _note_there(self) -> None:
        if self._is_away:
            self._is_away = False
            log.info("limits_shared_again")

    def _take_own(self, name: str, limit: int) -> Allowance:
        now = time.monotonic_ns() // 1000
        with self._lock:
            full_at, allowance = take_request(self._own.pop(name, now), now, limit)
            self._own[name] = full_at  # at the end: the first one is the longest unused
            if len(self._own) > _MOST_NAMES:
                self._own.pop(next(iter(self._own)))
        return allowance


def open_limits(redis_url: str, prefix: str) -> RequestLimits:
    """Return the limits that are kept under a prefix in Redis; it connects when it is first used."""
    return RequestLimits(RedisClient(redis_url, prefix, seconds=ASK_SECONDS))
