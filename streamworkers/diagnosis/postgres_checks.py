"""Checks of the PostgreSQL server."""

from collections.abc import Iterator

from streamworkers.database import fetch_value, find_write_trouble
from streamworkers.diagnosis.clocks import find_clock_difference
from streamworkers.diagnosis.finding import Finding
from streamworkers.diagnosis.snapshot import Snapshot

_WHERE = "postgresql"


def find_read_only(snapshot: Snapshot) -> Iterator[Finding]:
    """Find out whether PostgreSQL takes writes."""
    if trouble := find_write_trouble(snapshot.connection):
        yield Finding(_WHERE, trouble)


def find_postgres_clock(snapshot: Snapshot) -> Iterator[Finding]:
    """PostgreSQL's clock differs from that of this machine."""
    statement = "SELECT extract(epoch FROM clock_timestamp())::float8"
    yield from find_clock_difference(_WHERE, fetch_value(snapshot.connection, statement), snapshot)


def find_few_connections(snapshot: Snapshot) -> Iterator[Finding]:
    """Connections are close to `max_connections`."""
    used, most = snapshot.database_state["connections"], snapshot.database_state["max_connections"]
    if used > snapshot.thresholds.connection_share * most:
        yield Finding(_WHERE, f"{used} of {most} connections are in use")
