"""Checks of what stops workers and background services, as supervisors and schedulers report it in heartbeats."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import msgspec

from streamworkers.diagnosis.finding import Finding
from streamworkers.diagnosis.snapshot import Snapshot
from streamworkers.engine.redis.heartbeats import FaultStatus
from streamworkers.errors import FaultKind

_MOST_NAMES = 5


def find_holding_workers(snapshot: Snapshot) -> Iterator[Finding]:
    """Workers that wait for what does not end by itself, or for longer than a lease."""
    for name, supervisor in sorted(snapshot.supervisors.items()):
        holds = [worker.hold for worker in supervisor.workers if worker.hold is not None]
        for group in _group(hold for hold in holds if is_lasting(snapshot, hold)):
            yield Finding(
                f"supervisor {name}", f"{len(group)} of {len(supervisor.workers)} workers hold {_describe(group)}"
            )


def find_stopped_loops(snapshot: Snapshot) -> Iterator[Finding]:
    """Loops of supervisors and schedulers that a fault stops."""
    for owner, faults in _by_owner(snapshot, "faults"):
        for group in _group(fault for fault in faults if is_lasting(snapshot, fault)):
            yield Finding(owner, f"{_name_all(group)} cannot work {_describe(group)}")


def find_failing_loops(snapshot: Snapshot) -> Iterator[Finding]:
    """Loops that keep failing by an error of their own, such as a row that they cannot read."""
    for owner, failures in _by_owner(snapshot, "failing"):
        for failure in failures:
            yield Finding(owner, f"{failure.who} has kept failing {_describe([failure])}")


def find_unread_metrics(snapshot: Snapshot) -> Iterator[Finding]:
    """Metrics without samples at the newest scrape, by what does not end by itself."""
    for owner, faults in _by_owner(snapshot, "scrape_faults"):
        for group in _group(fault for fault in faults if fault.kind != FaultKind.AWAY):
            yield Finding(owner, f"{_name_all(group)} cannot read metrics {_describe(group)}")


def _by_owner(snapshot: Snapshot, field: str) -> Iterator[tuple[str, list[FaultStatus]]]:
    """The faults in a field of the heartbeats of supervisors and of all other processes."""
    for name, supervisor in sorted(snapshot.supervisors.items()):
        yield f"supervisor {name}", getattr(supervisor, field)
    for process in snapshot.processes:
        if process.kind != "supervisor" and not process.is_silent:
            yield f"{process.kind} {process.id}", msgspec.convert(process.doing.get(field, []), list[FaultStatus])


def _name_all(group: list[FaultStatus]) -> str:
    return ", ".join(fault.who for fault in group[:_MOST_NAMES])


def is_lasting(snapshot: Snapshot, fault: FaultStatus) -> bool:
    """True if a fault does not end by itself, or has not within a lease."""
    seconds = snapshot.now.timestamp() - fault.since
    return fault.kind != FaultKind.AWAY or seconds > snapshot.settings.lease_seconds


def _group(faults: Iterable[FaultStatus]) -> list[list[FaultStatus]]:
    """Put faults of the same store and kind together."""
    groups: dict[tuple[str, str], list[FaultStatus]] = {}
    for fault in faults:
        groups.setdefault((fault.store, fault.kind), []).append(fault)
    return list(groups.values())


def _describe(group: list[FaultStatus]) -> str:
    since = datetime.fromtimestamp(min(fault.since for fault in group), UTC)
    return f"since {since:%Y-%m-%d %H:%M:%S} UTC: {group[0].text}"
