"""Checks of the PostgreSQL server."""

from collections.abc import Iterator

from streamworkers.database import find_write_trouble
from streamworkers.diagnosis.finding import Finding
from streamworkers.diagnosis.snapshot import Snapshot

_WHERE = "postgresql"


def find_read_only(snapshot: Snapshot) -> Iterator[Finding]:
    """Find out whether PostgreSQL takes writes."""
    if trouble := find_write_trouble(snapshot.connection):
        yield Finding(_WHERE, trouble)


def find_few_connections(snapshot: Snapshot) -> Iterator[Finding]:
    """Connections are close to `max_connections`."""
    used, most = snapshot.database_state["connections"], snapshot.database_state["max_connections"]
    if used > snapshot.thresholds.connection_share * most:
        yield Finding(_WHERE, f"{used} of {most} connections are in use")
