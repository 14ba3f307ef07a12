"""What supervisor and scheduler share: identity, signals, loops, liveness, and the HTTP server."""

import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from prometheus_client import CollectorRegistry

from streamworkers.engine.host.failure_board import FAILING_SECONDS, FailureBoard, FailureCollector
from streamworkers.engine.host.fault_board import FaultBoard
from streamworkers.engine.host.http import Check, HealthServer
from streamworkers.engine.host.loop import Loop
from streamworkers.engine.host.scrape_board import ScrapeBoard
from streamworkers.engine.host.signals import Signals
from streamworkers.logger import get_logger

log = get_logger()
LIVE_SECONDS = 60.0
STOP_SECONDS = 5.0
AnyLoop = TypeVar("AnyLoop", bound=Loop)


class Host:
    """A long-lived process of one kind, `supervisor` or `scheduler`.

    `id` names it in Redis, in PostgreSQL's connections and in logs.
    """

    def __init__(
        self,
        kind: str,
        on_second_signal: Callable[[], None] = lambda: None,
        *,
        failing_seconds: float = FAILING_SECONDS,
    ) -> None:
        self.kind = kind
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.signals = Signals(on_second_signal)
        self.faults = FaultBoard()
        self.failures = FailureBoard(failing_seconds)
        self.scrapes = ScrapeBoard()
        self.loops: list[Loop] = []
        self.server: HealthServer | None = None
        self._descriptor: int | None = None

    @property
    def metrics_port(self) -> int | None:
        """The port of the HTTP server; None without one."""
        return self.server.port if self.server else None

    def serve(self, address: str, port: int | None, registry: CollectorRegistry, ready: Check) -> None:
        """Bind the HTTP server to a port, or to none; it answers from `start` on. Raises BadInputError."""
        if port is not None:
            self.server = HealthServer(address, port, registry, self.not_live, ready)

    def add(self, loop: AnyLoop) -> AnyLoop:
        """Watch a loop; `start` starts it, unless it is the main thread's."""
        loop.faults, loop.failures = self.faults, self.failures
        self.loops.append(loop)
        return loop

    def collect_failing(self) -> FailureCollector:
        """The metric of the loops that keep failing."""
        return FailureCollector(self.failures, lambda: (loop.name for loop in self.loops))

    def describe_troubles(self) -> dict[str, Any]:
        """What stops its loops now, as its row in `processes` carries it."""
        faults = [each.as_status() for each in self.faults.own()]
        failing = [each.as_status() for each in self.failures.lasting()]
        return {"faults": msgspec.to_builtins(faults), "failing": msgspec.to_builtins(failing)}

    def begin(self) -> "Host":
        """Handle signals, and serve: the process is live, and not ready."""
        self._descriptor = self.signals.install()
        if self.server:
            self.server.start()
        return self

    def start(self, main: Loop) -> int:
        """Start all loops but `main`, after `begin` if need be; returns a descriptor that wakes up at a signal."""
        if self._descriptor is None:
            self.begin()
        assert self._descriptor is not None
        for loop in self.loops:
            if loop is not main:
                loop.start()
        event = f"{self.kind}_started"
        log.info(event, **{self.kind: self.id}, metrics_port=self.metrics_port)
        return self._descriptor

    def stop_serving(self) -> None:
        """Close the port of the HTTP server."""
        server, self.server = self.server, None
        if server is not None:
            server.stop()

    def finish(self) -> None:
        """The last step of an orderly end."""
        self.signals.uninstall()
        event = f"{self.kind}_stopped"
        log.info(event, **{self.kind: self.id})

    def not_live(self) -> list[str]:
        """Loops that have not turned for a minute beyond their longest pause: the process should be restarted."""
        now = time.monotonic()
        return [
            f"{loop.name} has not turned for {now - loop.turned_at:.0f} s"
            for loop in self.loops
            if now - loop.turned_at > LIVE_SECONDS + loop.longest_pause_seconds
        ]


def stop_loops(loops: Sequence[Loop], seconds: float = STOP_SECONDS) -> None:
    """Stop loops and wait until they have ended, at most `seconds` in all."""
    for loop in loops:
        loop.stop()
    deadline = time.monotonic() + seconds
    for loop in loops:
        loop.join(max(0.0, deadline - time.monotonic()))
