"""Background services of supervisors and schedulers: a bounded step that a loop repeats."""

import random
import time
from collections.abc import Iterable
from typing import Protocol

from streamworkers.engine.host.loop import Loop
from streamworkers.engine.host.metrics import ServiceMetrics
from streamworkers.engine.ledger.processes import LoopStatus
from streamworkers.engine.redis.streams import Streams
from streamworkers.faults import describe
from streamworkers.logger import get_logger

log = get_logger()
_MOST_JITTER = 1.2
_LONGEST_YIELD_SECONDS = 10.0


class Service(Protocol):
    """A background service: a bounded step, repeated."""

    @property
    def name(self) -> str:
        """Its name in logs, metrics and the fleet-wide lease."""

    @property
    def scope(self) -> str:
        """What it works on; processes with the same scope share one lease."""

    @property
    def interval_seconds(self) -> float:
        """The usual pause between two steps."""

    def run_once(self) -> float | None:
        """Do a bounded step; returns the seconds until the next step, or None for the usual pause."""


class ServiceLoop(Loop):
    """Runs a service: with jitter, and only while it holds the lease that one process of the fleet has.

    A loop that is woken does its next step without the lease, because its own workers left something to do, and so does
    one whose step failed, to find out when it can again: every step is atomic, so the lease saves work and protects
    nothing.
    """

    SHORTEST_PAUSE_SECONDS = 0.1

    def __init__(self, service: Service, streams: Streams, owner: str, metrics: ServiceMetrics) -> None:
        super().__init__(service.name)
        self.service = service
        self._streams = streams
        self._owner = owner
        self._metrics = metrics
        metrics.service_failures.labels(service.name)
        self._is_woken = False
        self._is_stepping = False
        self._has_failed = False
        self._rng = random.Random()  # noqa: S311  # spreads the fleet's steps
        self._lease_seconds = max(2.0, 3 * service.interval_seconds)
        self._renew_at = 0.0
        self._yield_until = 0.0

    @property
    def has_lease(self) -> bool:
        """True while this process does the service's work for the fleet."""
        return time.monotonic() < self._renew_at

    @property
    def longest_pause_seconds(self) -> float:
        """The longest pause between two steps when nothing fails."""
        return max(self.service.interval_seconds, min(self._lease_seconds, _LONGEST_YIELD_SECONDS)) * _MOST_JITTER

    def turn(self) -> None:
        """Do a step, if this process has the lease, and pause."""
        pause = self.service.interval_seconds
        self._is_stepping = False
        if self._is_woken or self._holds_lease() or self._has_failed:
            self._is_stepping = True
            wanted = self.service.run_once()
            pause = pause if wanted is None else min(wanted, pause)
            self._has_failed = False
        else:
            # Another process has the lease for so long.
            pause = max(pause, min(self._yield_until - time.monotonic(), _LONGEST_YIELD_SECONDS))
        self.succeeded()
        began = time.monotonic()
        self._is_woken = self._wake_requested.wait(pause * self._rng.uniform(0.8, _MOST_JITTER))
        left = began + min(pause, self.SHORTEST_PAUSE_SECONDS) - time.monotonic()
        if left > 0:
            self._stop_requested.wait(left)
        self._wake_requested.clear()

    def worked(self) -> None:
        """Note when a step was done; a turn without the lease does none."""
        if self._is_stepping:
            super().worked()

    def failed(self, error: Exception) -> None:
        """Note and count it, and give up the lease: another process may be able to do the step."""
        self._metrics.service_failures.labels(self.service.name).inc()
        super().failed(error)
        self._renew_at = 0.0
        if self._is_stepping:
            self._has_failed, self._yield_until = True, time.monotonic() + self._lease_seconds

    def log_error(self, error: Exception) -> None:
        """Log an error of the step that is no fault of a store."""
        log.warning("service_failed", service=self.service.name, error=describe(error), exc_info=error)

    def _holds_lease(self) -> bool:
        if time.monotonic() < self._renew_at:
            return True
        if time.monotonic() < self._yield_until:
            return False
        lease = f"{self.service.name}:{self.service.scope}"
        length_ms = round(self._lease_seconds * 1000)
        if not self._renew_at and 0 < (left_ms := self._streams.leases.read_service_lease_ms(lease)) <= length_ms:
            # It can only be free when it expires, or be kept: nothing is to be asked until then.
            self._yield_until = time.monotonic() + left_ms / 1000
            return False
        held = self._streams.leases.hold_service_lease(lease, self._owner, length_ms)
        self._renew_at = time.monotonic() + self._lease_seconds / 2 if held else 0.0
        return held


class PromptLoop(ServiceLoop):
    """Runs a service that people wait for: it can be woken again right after a step."""

    SHORTEST_PAUSE_SECONDS = 0.01


def describe_loops(loops: Iterable[Loop]) -> list[LoopStatus]:
    """Return what each loop of this process does, in the order of their names."""
    return [
        LoopStatus(loop.name, loop.worked_at, loop.has_lease if isinstance(loop, ServiceLoop) else None)
        for loop in sorted(loops, key=lambda loop: loop.name)
    ]


def list_leased(loops: Iterable[ServiceLoop]) -> list[str]:
    """Return the names of the services that this process does for the fleet now."""
    return [loop.name for loop in loops if loop.has_lease]
