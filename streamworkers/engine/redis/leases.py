"""Leases: the right of a consumer to its pending entries, and the right of a process to run a background service."""

from collections.abc import Sequence

from streamworkers.engine.redis.client import NoGroupError, RedisClient, make_group, translate_errors
from streamworkers.engine.redis.keys import GROUP

REQUEUE_CHUNK = 50
_NEVER_MS = 2**53


class Leases:
    """Renews, requeues and reclaims pending entries. Each step is atomic."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._keys = client.keys

    def renew(self, queue: str, consumer: str, lease_ms: int) -> int:
        """Renew the leases of a consumer's entries that have not expired; returns how many."""
        total, first = 0, "-"
        while True:
            words = [GROUP, consumer, lease_ms, first, REQUEUE_CHUNK]
            try:
                renewed: tuple[int, bytes] = self._client.run("renew", [self._keys.stream(queue)], words)
            except NoGroupError:
                return total
            count, last = renewed
            total += count
            if not last:
                return total
            first = f"({last.decode()}"

    def requeue(
        self, queue: str, consumer: str, reason: str = "", suspects: Sequence[str] = (), *, charge: bool = True
    ) -> int:
        """Requeue all pending entries of a consumer, unchanged but for the suspects; returns how many.

        Suspects are the entries that it was executing when it died of `reason`. A single one has used up an attempt;
        several become isolated, so that an item never dies of its neighbour. Without `charge` one becomes isolated too,
        and only an entry that was isolated already has used up an attempt.
        """
        total = 0
        charged = ("yes" if len(suspects) == 1 else "no") if charge else "if_isolated"
        keys, words = [self._keys.stream(queue)], [GROUP, consumer, reason, REQUEUE_CHUNK, charged, *suspects]
        while True:
            try:
                count: int = self._client.run("requeue_consumer", keys, words)
            except NoGroupError:
                return total
            total += count
            if count < REQUEUE_CHUNK:
                return total

    def restart_all(self, queue: str) -> None:
        """Let the leases of all pending entries of a queue begin now."""
        first = "-"
        while first:
            words = [GROUP, first, REQUEUE_CHUNK]
            try:
                last: bytes = self._client.run("restart_leases", [self._keys.stream(queue)], words)
            except NoGroupError:
                return
            first = f"({last.decode()}" if last else ""

    def reclaim(
        self,
        queue: str,
        owner: str,
        lease_ms: int,
        cursor: str,
        limit: int,
        *,
        charge: bool = True,
        latest_ms: int | None = None,
    ) -> tuple[str, int]:
        """Requeue up to `limit` entries whose lease expired; returns the cursor to continue from and their number.

        With `charge`, an entry that was isolated already has used up an attempt. If Redis' clock shows more than
        `latest_ms` it has jumped, nothing is requeued, and the number is -1.
        """
        reason = f"lease ran out after {lease_ms / 1000:g} s"
        words = [GROUP, f"reclaimer:{owner}", lease_ms, cursor, limit, reason, "if_isolated" if charge else "no"]
        words.append(_NEVER_MS if latest_ms is None else latest_ms)
        try:
            next_cursor, count = self._client.run("reclaim", [self._keys.stream(queue)], words)
        except NoGroupError:
            make_group(self._client.raw, self._keys.stream(queue), GROUP)
            return "0-0", 0
        return next_cursor.decode(), count

    def remove_consumer(self, queue: str, consumer: str) -> bool:
        """Delete a consumer unless it has entries pending; True if it is gone."""
        try:
            return bool(self._client.run("leave", [self._keys.stream(queue)], [GROUP, consumer]))
        except NoGroupError:
            return True

    def hold_service_lease(self, service: str, owner: str, length_ms: int) -> bool:
        """Take or keep the fleet-wide lease of a background service; False when another owner has it."""
        return bool(self._client.run("hold_lease", [self._keys.service_lease(service)], [owner, length_ms]))

    def read_service_lease_ms(self, service: str) -> int:
        """Return for how long the lease of a background service still lasts, in milliseconds; 0 if nobody has it."""
        with translate_errors():
            left: int = self._client.raw.pttl(self._keys.service_lease(service))
        return max(0, left)
