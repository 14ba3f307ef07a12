"""The diagnosis that `/health` and `/stats` read: computed at most once a second, however many ask."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from streamworkers.api.problem import Unavailable
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.diagnosis.components import ComponentStatus, check_components
from streamworkers.diagnosis.run_checks import count_ended_items
from streamworkers.diagnosis.snapshot import Snapshot
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.ledger.reports import DeadFilter
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry, installed_jobs
from streamworkers.schedules import reports as schedule_reports

_REUSED_SECONDS = 1.0
_WAIT_SECONDS = 5.0
_STATEMENT_SECONDS = 5  # its statistics read more than any other request, for all who ask
_MOST_FAILURES = 10


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What one snapshot shows: the components as `status` has them, and the figures of its window."""

    at: datetime
    components: Sequence[ComponentStatus]
    window_hours: float
    statistics: Sequence[dict[str, Any]]
    schedules: dict[str, int]
    dead_by_queue: dict[str, int]
    failures: Sequence[dict[str, Any]]
    items: int
    items_failed: int


class Diagnoser:
    """Computes a diagnosis for one request at a time; the others read the newest one, or wait for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: tuple[float, Diagnosis] | None = None

    def diagnose(self, connection: Connection, streams: Streams, settings: Settings) -> Diagnosis:
        """Return a diagnosis that is at most about a second old. Raises Unavailable if another one takes too long."""
        if not self._lock.acquire(timeout=_WAIT_SECONDS):
            raise Unavailable("the diagnosis takes too long", "time-limit")
        try:
            if self._newest is None or time.monotonic() - self._newest[0] > _REUSED_SECONDS:
                self._newest = (time.monotonic(), _compute(connection, streams, settings))
            return self._newest[1]
        finally:
            self._lock.release()


def _compute(connection: Connection, streams: Streams, settings: Settings) -> Diagnosis:
    connection.execute("SELECT set_config('statement_timeout', %s, true)", (f"{_STATEMENT_SECONDS}s",))
    snapshot = Snapshot(connection, streams, _jobs(), settings)
    components, _ = check_components(snapshot)
    failed, items = count_ended_items(snapshot)
    gauges = schedule_reports.schedule_gauges(connection)
    enabled = sum(gauge.enabled for gauge in gauges)
    return Diagnosis(
        snapshot.now,
        components,
        snapshot.thresholds.window_hours,
        snapshot.run_statistics,
        {"total": len(gauges), "enabled": enabled, "paused": len(gauges) - enabled},
        snapshot.dead_by_queue,
        ledger_reports.list_dead_items(connection, DeadFilter(), _MOST_FAILURES),
        items,
        failed,
    )


@cache
def _jobs() -> Registry:
    return installed_jobs()
