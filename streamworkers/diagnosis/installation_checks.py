"""Checks of the installed packages."""

from collections.abc import Iterator
from importlib.metadata import packages_distributions

from streamworkers.diagnosis.finding import Finding
from streamworkers.diagnosis.snapshot import Snapshot


def find_foreign_scheduler(_snapshot: Snapshot) -> Iterator[Finding]:
    """Another distribution installs a package `scheduler` over that of streamworkers."""
    for name in sorted(set(packages_distributions().get("scheduler", ())) - {"streamworkers"}):
        yield Finding(f"distribution {name}", "it also installs a package `scheduler`")
