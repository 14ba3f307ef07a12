"""Checks of processes by what PostgreSQL saw of them last."""

from collections.abc import Iterator

from streamworkers.diagnosis.finding import Finding
from streamworkers.diagnosis.snapshot import Snapshot


def find_silent_supervisors(snapshot: Snapshot) -> Iterator[Finding]:
    """Supervisors that did not end in order and have not been seen for a while."""
    return _find_silent(snapshot, "supervisor")


def find_silent_schedulers(snapshot: Snapshot) -> Iterator[Finding]:
    """Schedulers that did not end in order and have not been seen for a while."""
    return _find_silent(snapshot, "scheduler")


def find_silent_bots(snapshot: Snapshot) -> Iterator[Finding]:
    """Processes of the Telegram bot that did not end in order and have not been seen for a while."""
    return _find_silent(snapshot, "telegram")


def find_bots_without_updates(snapshot: Snapshot) -> Iterator[Finding]:
    """Processes of the bot that get no updates: another program asks for them, or Telegram does not answer."""
    for process in snapshot.processes:
        error = process.doing.get("error")
        if process.kind == "telegram" and not process.is_silent and error:
            yield Finding(f"telegram {process.id}", f"it gets no updates: {error}")


def _find_silent(snapshot: Snapshot, kind: str) -> Iterator[Finding]:
    for process in snapshot.processes:
        if process.kind == kind and process.is_silent:
            since = f"{process.seen_at:%Y-%m-%d %H:%M:%S %Z}"
            what = f"process {process.pid} on {process.host} has not been seen since {since}"
            yield Finding(f"{kind} {process.id}", what)
