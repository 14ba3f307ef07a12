"""Checks of notifications: what waits on the way to a message, and what needs a person."""

from collections.abc import Iterator

from streamworkers.diagnosis.finding import Finding
from streamworkers.diagnosis.snapshot import Snapshot

_SECONDS = 60.0
_QUEUE = "notify"
_BEFORE_A_RUN = {"event": "an event waits to become a notification", "notification": "a notification waits for a route"}


def find_late_notifications(snapshot: Snapshot) -> Iterator[Finding]:
    """Events for people, and notifications, that no scheduler has taken."""
    for step, what in _BEFORE_A_RUN.items():
        if (seconds := snapshot.notification_ages[step]) > _SECONDS:
            yield Finding("notifications", f"{what} since {seconds:.0f} s")


def find_late_deliveries(snapshot: Snapshot) -> Iterator[Finding]:
    """Deliveries in a run that no worker sends, and due ones that no worker could send."""
    is_read = _QUEUE in snapshot.read_queues
    ages = snapshot.notification_ages
    seconds = ages["admitted"] if is_read else max(ages["admitted"], ages["waiting"])
    if seconds > _SECONDS:
        why = "the workers of the queue are busy or held up" if is_read else f"no live supervisor reads queue {_QUEUE}"
        yield Finding("deliveries", f"the oldest has been due for {seconds:.0f} s: {why}")


def find_troubled_deliveries(snapshot: Snapshot) -> Iterator[Finding]:
    """Deliveries that have died, or are held because nobody knows whether they were sent."""
    for each in snapshot.troubled_deliveries:
        what = f"{each.number} {each.state} since {each.since:%Y-%m-%d %H:%M} UTC; the newest: {each.reason}"
        which = "" if each.notification is None else f"; of notification {each.notification}"
        which = which if each.ended_run is None else f"; of run {each.ended_run}"
        yield Finding(f"channel {each.channel or '(none)'}", what + which)


def find_rejected_endpoints(snapshot: Snapshot) -> Iterator[Finding]:
    """Endpoints that their providers have switched off."""
    for each in snapshot.rejected_endpoints:
        what = f"{each.channel} rejects it since {each.since:%Y-%m-%d %H:%M} UTC: {each.reason}"
        yield Finding(f"endpoint {each.name} of {each.user}", what)


def find_rejected_notifications(snapshot: Snapshot) -> Iterator[Finding]:
    """Events for people of which no notification could be made."""
    count, since = snapshot.rejected_notifications
    if count and since is not None:
        yield Finding("notifications", f"{count} events were rejected since {since:%Y-%m-%d %H:%M} UTC")
