"""The pool's Redis, in roles that share one client."""

import secrets
from collections.abc import Sequence
from typing import Any

from streamworkers.engine.redis.client import RedisClient, translate_errors
from streamworkers.engine.redis.foreign import text_of
from streamworkers.engine.redis.heartbeats import Heartbeats
from streamworkers.engine.redis.inspector import Inspector
from streamworkers.engine.redis.keys import MESSAGE_PREFIX
from streamworkers.engine.redis.leases import Leases
from streamworkers.engine.redis.places import Places
from streamworkers.engine.redis.queue import Queues
from streamworkers.engine.redis.rate_limiter import RateLimiter

_PROBE_MS = 1000


class Streams:
    """The queues of one prefix in one Redis. Thread-safe; each process makes its own."""

    def __init__(self, client: RedisClient) -> None:
        self.client = client
        self.keys = client.keys
        self.queues = Queues(client)
        self.leases = Leases(client)
        self.places = Places(client)
        self.heartbeats = Heartbeats(client)
        self.rate_limiter = RateLimiter(client)
        self.inspector = Inspector(client)

    def close(self) -> None:
        """Close all connections to Redis."""
        self.client.close()

    def probe_write(self) -> None:
        """Write a key that expires at once. Raises RedisUnavailableError, also for a full or read-only Redis."""
        with translate_errors():
            self.client.raw.set(self.keys.service_lease(f"write-probe:{secrets.token_hex(8)}"), "", px=_PROBE_MS)

    def publish(self, messages: Sequence[tuple[str, str]]) -> None:
        """Publish (channel, text) messages in order; a replica, which would reach few subscribers, rejects them."""
        words = [word for channel, text in messages for word in (self.keys.message_name(channel), text)]
        self.client.run("publish", [self.keys.service_lease("publishing")], words)

    def read_installation(self) -> str | None:
        """Return the id of the installation that the keys under the prefix belong to; None if they are not tied."""
        with translate_errors():
            owner: Any = self.client.raw.get(self.keys.installation())
        return None if owner is None else text_of(owner)

    def tie_installation(self, own_id: str, *, replace: bool) -> None:
        """Tie the keys under the prefix to an installation; unless `replace`, only if they are not tied."""
        if replace or self.read_installation() is None:
            with translate_errors():
                self.client.raw.set(self.keys.installation(), own_id, nx=not replace)

    def delete_lasting(self, key: bytes) -> None:
        """Delete a key that has no TTL."""
        with translate_errors():
            if self.client.raw.ttl(key) == -1:
                self.client.raw.delete(key)


def open_streams(url: str, prefix: str, message_prefix: str = MESSAGE_PREFIX) -> Streams:
    """Return the queues of a prefix in the Redis at `url`; it connects when it is first used."""
    return Streams(RedisClient(url, prefix, message_prefix))
