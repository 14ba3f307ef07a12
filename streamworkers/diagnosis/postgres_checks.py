"""Checks of the PostgreSQL server."""

from collections.abc import Iterator

from streamworkers.audit.seals import find_holder, find_unsealed
from streamworkers.database import fetch_value, find_write_trouble
from streamworkers.diagnosis.clocks import find_clock_difference
from streamworkers.diagnosis.finding import Finding
from streamworkers.diagnosis.snapshot import Snapshot

_WHERE = "postgresql"
_UNSEALED_SECONDS = 600.0


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


def find_held_sealing(snapshot: Snapshot) -> Iterator[Finding]:
    """A transaction is open for so long that changes after it are not sealed."""
    unsealed = find_unsealed(snapshot.connection)
    if unsealed is None or not unsealed.is_held or unsealed.seconds <= _UNSEALED_SECONDS:
        return
    holder = find_holder(snapshot.connection)
    if holder is None:
        return  # it has ended since
    since = "" if holder.since is None else f", open since {holder.since:%Y-%m-%d %H:%M:%S} UTC"
    program = f", program {holder.program}" if holder.program else ""
    what = f"changes since {unsealed.at:%Y-%m-%d %H:%M} UTC are not sealed: the transaction of {holder.name}"
    yield Finding("audit log", f"{what} (login {holder.owner}{program}{since}) holds sealing up")
