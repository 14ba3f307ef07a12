"""Whether messages would reach people now, seen from outside of the pool; and when to report that they would not.

What the pool itself notices, it reports by messages. So that its own standstill is noticed, this looks from a process
that has no part in it, and reports by a channel that is called directly.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import psycopg

from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.diagnosis.checks import CHECKS
from streamworkers.diagnosis.snapshot import Snapshot
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.errors import StreamworkersError
from streamworkers.faults import describe
from streamworkers.notifications.content import Content

_CHECKS = ("no_worker", "late_notifications", "late_deliveries")
_MOST_TROUBLE = 500
AGAIN_SECONDS = 6 * 3600.0

Look = Callable[[], Sequence[str]]


def find_standstill(connection: Connection, streams: Streams, settings: Settings) -> list[str]:
    """What keeps messages from people: a store that does not answer, no scheduler, no worker, what waits too long."""
    snapshot, found = Snapshot(connection, streams, Registry([]), settings), []
    try:
        if not any(each.kind == "scheduler" and not each.is_silent for each in snapshot.processes):
            found.append("no scheduler is alive")
        for name in _CHECKS:
            found += [f"{finding.where}: {finding.what}" for finding in CHECKS[name].find(snapshot)]
    except (StreamworkersError, psycopg.Error) as error:
        found.append(str(error) if isinstance(error, StreamworkersError) else describe(error))
    return found


class BoundedLook:
    """Looks in a thread of its own, so that a store that holds the look up cannot hold up its report."""

    def __init__(self, look: Look, seconds: float) -> None:
        self._look = look
        self._seconds = seconds
        self._thread: threading.Thread | None = None
        self._found: Sequence[str] = ()

    def __call__(self) -> Sequence[str]:
        """Return what the look finds, or that it has not ended."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="look", daemon=True)
            self._thread.start()
        self._thread.join(self._seconds)
        if self._thread.is_alive():
            return [f"Redis or PostgreSQL has not answered within {self._seconds:.0f} s"]
        return self._found

    def _run(self) -> None:
        try:
            self._found = self._look()
        except (StreamworkersError, psycopg.Error) as error:
            self._found = [str(error) if isinstance(error, StreamworkersError) else describe(error)]
        except Exception as error:  # noqa: BLE001  # a watchdog that ends at what it does not know reports nothing
            self._found = [describe(error)]


@dataclass(frozen=True, slots=True)
class Standstill:
    """Since when something is wrong, and when that was reported last; times are those of one clock, in seconds."""

    since: float | None = None
    reported_at: float | None = None


class Report(NamedTuple):
    """What to send now, and what is true once it is sent."""

    content: Content
    after: Standstill


def decide_report(
    before: Standstill, troubles: Sequence[str], now: float, again: float = AGAIN_SECONDS
) -> Report | None:
    """Report what is wrong once, and again after a while; then once that it is over. Pure."""
    if troubles:
        since = now if before.since is None else before.since
        if before.reported_at is not None and now - before.reported_at < again:
            return None
        lines = [each[:_MOST_TROUBLE] for each in troubles]
        content = Content("Watchdog: messages may not reach you", (*lines, "Look: streamworkers doctor"))
        return Report(content, Standstill(since, now))
    if before.since is None or before.reported_at is None:
        return None
    minutes = (now - before.since) / 60
    return Report(
        Content("Watchdog: messages reach you again", (f"It was over after {minutes:.0f} min",)), Standstill()
    )
