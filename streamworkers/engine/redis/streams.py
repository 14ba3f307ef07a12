"""The pool's Redis, in roles that share one client."""

from collections.abc import Sequence

from streamworkers.engine.redis.client import RedisClient, translate_errors
from streamworkers.engine.redis.heartbeats import Heartbeats
from streamworkers.engine.redis.inspector import Inspector
from streamworkers.engine.redis.leases import Leases
from streamworkers.engine.redis.queue import Queues
from streamworkers.engine.redis.rate_limiter import RateLimiter


class Streams:
    """The queues of one prefix in one Redis. Thread-safe; each process makes its own."""

    def __init__(self, url: str, prefix: str) -> None:
        self.client = RedisClient(url, prefix)
        self.keys = self.client.keys
        self.queues = Queues(self.client)
        self.leases = Leases(self.client)
        self.heartbeats = Heartbeats(self.client)
        self.rate_limiter = RateLimiter(self.client)
        self.inspector = Inspector(self.client)

    def close(self) -> None:
        """Close all connections."""
        self.client.close()

    def publish(self, messages: Sequence[tuple[str, str]]) -> None:
        """Publish (channel, text) messages in order."""
        with translate_errors():
            pipe = self.client.raw.pipeline(transaction=False)
            for channel, text in messages:
                pipe.publish(channel, text)
            pipe.execute()

    def delete_lasting(self, key: str) -> None:
        """Delete a key that has no TTL."""
        with translate_errors():
            if self.client.raw.ttl(key) == -1:
                self.client.raw.delete(key)
