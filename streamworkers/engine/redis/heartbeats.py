"""Heartbeats: which supervisors are alive, and what each of them runs."""

from typing import Any

from streamworkers.engine.redis.client import RedisClient, translate_errors


class Heartbeats:
    """A key with a TTL for each supervisor."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._keys = client.keys

    def beat(self, supervisor_id: str, payload: bytes, ttl_ms: int) -> None:
        """Write the heartbeat of a supervisor."""
        with translate_errors():
            self._client.raw.set(self._keys.supervisor(supervisor_id), payload, px=ttl_ms)

    def end(self, supervisor_id: str) -> None:
        """Delete the heartbeat of a supervisor that stops."""
        with translate_errors():
            self._client.raw.delete(self._keys.supervisor(supervisor_id))

    def read_all(self) -> dict[str, bytes]:
        """Return the newest heartbeat of every live supervisor, by supervisor id."""
        prefix_length = len(self._keys.supervisor(""))
        with translate_errors():
            names = list(self._client.raw.scan_iter(match=self._keys.supervisors(), count=1000))
            if not names:
                return {}
            values: Any = self._client.raw.mget(names)
        return {name.decode()[prefix_length:]: value for name, value in zip(names, values, strict=True) if value}
