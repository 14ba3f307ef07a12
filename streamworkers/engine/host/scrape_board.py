"""What keeps a process from reading a store for a scrape. It stops no work, so readiness does not look here."""

from collections.abc import Callable
from typing import TypeVar

import psycopg

from streamworkers.engine.host.fault_board import FaultBoard
from streamworkers.errors import FaultKind, RedisUnavailableError, Store
from streamworkers.faults import describe, find_fault, word_fault

Values = TypeVar("Values")


class ScrapeBoard(FaultBoard):
    """The faults of the newest scrape, by the collector whose metrics have no samples because of them. Thread-safe."""

    def read(self, collector: str, read: Callable[[], Values]) -> Values | None:
        """Return what is read; None at an error of Redis or PostgreSQL, which stands until a read succeeds."""
        who = f"collector {collector}"
        try:
            found = read()
        except (RedisUnavailableError, psycopg.Error) as error:
            fault = find_fault(error)
            self.record(who, fault or word_fault(Store.POSTGRESQL, FaultKind.REJECTED, describe(error)))
            return None
        self.clear(who)
        return found
