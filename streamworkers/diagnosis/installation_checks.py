"""Checks of the installed packages."""

from collections.abc import Iterator

from streamworkers.diagnosis.finding import Finding
from streamworkers.diagnosis.snapshot import Snapshot
from streamworkers.engine.host.scheduler_package import find_scheduler_conflict, list_other_owners


def find_foreign_scheduler(_snapshot: Snapshot) -> Iterator[Finding]:
    """Another distribution installs a package `scheduler` over that of streamworkers, or hides it."""
    if (conflict := find_scheduler_conflict()) is not None:
        yield Finding("package scheduler", conflict)
    for name in list_other_owners():
        yield Finding(f"distribution {name}", "it also installs a package `scheduler`")
