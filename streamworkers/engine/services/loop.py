"""Background services of a supervisor: a bounded step, done again and again in a thread of its own."""

import random
import threading
import time
from typing import Protocol

import structlog

from streamworkers.engine.backoff import Backoff
from streamworkers.engine.host.metrics import ServiceMetrics
from streamworkers.engine.redis.streams import Streams
from streamworkers.faults import describe, is_transient

log = structlog.get_logger()
_MOST_JITTER = 1.2


class Service(Protocol):
    """One background service."""

    @property
    def name(self) -> str:
        """A word for logs, metrics and the fleet-wide lease."""

    @property
    def scope(self) -> str:
        """What it works on; supervisors that work on the same share the lease, others have their own."""

    @property
    def interval_seconds(self) -> float:
        """The usual pause between two steps."""

    def run_once(self) -> float | None:
        """Do a bounded step; returns seconds after which there is more to do, or None for the usual pause."""


class ServiceLoop(threading.Thread):
    """Runs a service until stopped: jittered, only while it holds the fleet's lease, patient with what is away.

    A loop that is woken, because its own supervisor's workers made something to do, does a step without the lease:
    every step is atomic, so the lease saves work and guards nothing.
    """

    SHORTEST_PAUSE_SECONDS = 0.1

    def __init__(self, service: Service, streams: Streams, owner: str, metrics: ServiceMetrics) -> None:
        super().__init__(name=service.name, daemon=True)
        self.service = service
        self.turned_at = time.monotonic()
        self._streams = streams
        self._owner = owner
        self._metrics = metrics
        metrics.service_failures.labels(service.name)
        self._stop_requested = threading.Event()
        self._wake = threading.Event()
        self._rng = random.Random()  # noqa: S311  # spreads the fleet's steps
        self._lease_seconds = max(2.0, 3 * service.interval_seconds)
        self._renew_at = 0.0
        self._yield_until = 0.0

    @property
    def longest_pause_seconds(self) -> float:
        """How long it may rest between two steps when all is well."""
        return self.service.interval_seconds * _MOST_JITTER

    def stop(self) -> None:
        """Ask the loop to end after its step."""
        self._stop_requested.set()
        self._wake.set()

    def wake(self) -> None:
        """Do the next step now."""
        self._wake.set()

    def run(self) -> None:
        """The loop."""
        backoff = Backoff(self._stop_requested)
        woken = False
        while not self._stop_requested.is_set():
            self.turned_at = time.monotonic()
            pause = self.service.interval_seconds
            try:
                if woken or self._holds_lease():
                    asked = self.service.run_once()
                    pause = pause if asked is None else min(asked, pause)
                backoff.succeeded()
            except Exception as error:  # a service never stops silently: it says what is wrong and goes on
                self._metrics.service_failures.labels(self.service.name).inc()
                unexpected = not is_transient(error)
                log.warning("service_failed", service=self.service.name, error=describe(error), exc_info=unexpected)
                # Another supervisor may be able to do what this one cannot now.
                self._renew_at, self._yield_until = 0.0, time.monotonic() + self._lease_seconds
                backoff.failed()
                continue
            if pause > 0:
                self._stop_requested.wait(min(pause, self.SHORTEST_PAUSE_SECONDS))
            woken = self._wake.wait(pause * self._rng.uniform(0.8, _MOST_JITTER))
            self._wake.clear()

    def _holds_lease(self) -> bool:
        if time.monotonic() < self._renew_at:
            return True
        if time.monotonic() < self._yield_until:
            return False
        lease = f"{self.service.name}:{self.service.scope}"
        held = self._streams.leases.hold_service_lease(lease, self._owner, round(self._lease_seconds * 1000))
        self._renew_at = time.monotonic() + self._lease_seconds / 2 if held else 0.0
        return held
