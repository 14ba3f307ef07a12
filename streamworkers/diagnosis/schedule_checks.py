"""Checks of schedules and their ticks."""

from collections.abc import Iterator

from streamworkers.diagnosis.finding import Finding
from streamworkers.diagnosis.snapshot import Snapshot

_WHERE = "schedules"
_OWN_PREFIX = "another installation reads it too: give each a STREAMWORKERS_MESSAGE_PREFIX of its own"


def find_broken_schedules(snapshot: Snapshot) -> Iterator[Finding]:
    """Enabled schedules that cannot be planned, or whose ticks cannot start a run."""
    for name, problem in snapshot.schedule_state["problems"].items():
        yield Finding(f"schedule {name}", problem)


def find_paused_links(snapshot: Snapshot) -> Iterator[Finding]:
    """Enabled schedules that come after one that is paused."""
    for name, problem in snapshot.schedule_state["waits_for_paused"].items():
        yield Finding(f"schedule {name}", problem)


def find_missed_ticks(snapshot: Snapshot) -> Iterator[Finding]:
    """Ticks of the window that were missed or rejected."""
    missed, rejected = snapshot.schedule_state["missed"], snapshot.schedule_state["rejected"]
    if missed or rejected:
        hours = snapshot.thresholds.window_hours
        yield Finding(_WHERE, f"{missed} ticks missed, {rejected} rejected in the last {hours:g} hours")


def find_overdue_ticks(snapshot: Snapshot) -> Iterator[Finding]:
    """Ticks that are due and that no scheduler has decided."""
    if overdue := snapshot.schedule_state["overdue"]:
        yield Finding(_WHERE, f"{overdue} ticks are overdue")


def find_unaccounted_ticks(snapshot: Snapshot) -> Iterator[Finding]:
    """Schedules whose ticks of the last day the account has not found as their times have them."""
    for name, count in snapshot.schedule_state["unaccounted"].items():
        yield Finding(f"schedule {name}", f"{count} ticks of the last day are unaccounted for")


def find_shared_messages(snapshot: Snapshot) -> Iterator[Finding]:
    """Streams of messages that live schedulers share with another installation."""
    schedulers = [each for each in snapshot.processes if each.kind == "scheduler" and not each.is_silent]
    for stream in sorted({stream for each in schedulers for stream in each.doing.get("shared_messages", ())}):
        yield Finding(f"stream {stream}", _OWN_PREFIX)
