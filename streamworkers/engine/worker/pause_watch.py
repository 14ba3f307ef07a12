"""Whether queues are paused, by the ledger: flags in Redis may be lost, and a read may have begun before a pause."""

import time
from collections.abc import Collection

from streamworkers.database import Connection
from streamworkers.engine.ledger.pauses import read_pauses

FRESH_SECONDS = 0.05


class PauseWatch:
    """Asks the ledger again for what it has known for longer than `FRESH_SECONDS`, and for a pause each time."""

    def __init__(self) -> None:
        self._paused: frozenset[str] = frozenset()
        self._read_at = float("-inf")

    def find(self, connection: Connection, queues: Collection[str]) -> set[str]:
        """Return those of the queues that are paused."""
        now = time.monotonic()
        if self._paused or now - self._read_at > FRESH_SECONDS:
            self._paused, self._read_at = frozenset(read_pauses(connection)), now
        return set(self._paused.intersection(queues))
