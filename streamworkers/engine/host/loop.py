"""The one kind of loop: a turn that is repeated until the loop is stopped, with growing pauses after failures."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

from psycopg import sql

from streamworkers.database import Connection, wait_for_channels
from streamworkers.engine.backoff import Backoff
from streamworkers.engine.host.failure_board import FailureBoard
from streamworkers.engine.host.fault_board import FaultBoard
from streamworkers.faults import describe, find_fault
from streamworkers.logger import get_logger

log = get_logger()
_LISTEN_SECONDS = 0.5


class StopRequest(Protocol):
    """What ends a loop: an event, or the process's signals."""

    def set(self) -> None:
        """Ask the loop to end."""

    def is_set(self) -> bool:
        """True once the stop was asked for."""

    def wait(self, seconds: float, /) -> bool:
        """Pause, but not beyond a stop; True once it was asked for."""


class Loop(threading.Thread, ABC):
    """A thread that repeats `turn` until it is stopped. `turned_at` (monotonic) shows that it is alive.

    `worked_at` is when it last did its work without an error, for people.

    A fault of a store stands on its board from the turn that it ends until `succeeded`, and so does any other error.
    A loop of the main thread is run by `run()` and stops by the process's signals.
    """

    def __init__(
        self,
        name: str,
        stop_request: StopRequest | None = None,
        *,
        longest_backoff_seconds: float = Backoff.LONGEST_SECONDS,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.turned_at = time.monotonic()
        self.worked_at: datetime | None = None
        self.faults = FaultBoard()
        self.failures = FailureBoard()
        self._stop_requested: StopRequest = stop_request or threading.Event()
        self._wake_requested = threading.Event()
        self._backoff = Backoff(self._stop_requested, longest_seconds=longest_backoff_seconds)

    @property
    def longest_pause_seconds(self) -> float:
        """The longest pause between two turns when nothing fails."""
        return 0.0

    def stop(self) -> None:
        """Ask the loop to end after its turn."""
        self._stop_requested.set()
        self._wake_requested.set()

    def wake(self) -> None:
        """End the pause between two turns."""
        self._wake_requested.set()

    def mark_turn(self) -> bool:
        """Record that the loop is alive; False when it should end."""
        self.turned_at = time.monotonic()
        return not self._stop_requested.is_set()

    def run(self) -> None:
        """Repeat `turn` until the loop is stopped."""
        while self.mark_turn():
            try:
                self.turn()
            except Exception as error:  # noqa: BLE001  # a loop must not end silently
                self.failed(error)
                self._backoff.failed()

    @abstractmethod
    def turn(self) -> None:
        """Do a step and pause, or work on one connection until stopped; calls `succeeded` when all is well."""

    def succeeded(self) -> None:
        """Note that all is well: pauses start over, and what stopped the loop has ended."""
        self.worked()
        self._backoff.succeeded()
        self.faults.clear(self.name)
        self.failures.clear(self.name)

    def worked(self) -> None:
        """Note when the loop has done its work."""
        self.worked_at = datetime.now(UTC)

    def connected(self) -> None:
        """Note that the stores answer, while the loop's own work may still fail."""
        self.faults.clear(self.name)

    def failed(self, error: Exception) -> None:
        """Note what has ended a turn, and log it unless a store is at fault; the loop then pauses and goes on."""
        if (fault := find_fault(error)) is not None:
            self.faults.record(self.name, fault)
        else:
            self.failures.record(self.name, describe(error))
            self.log_error(error)

    def log_error(self, error: Exception) -> None:
        """Log an error that is no fault of a store."""
        log.warning("loop_failed", loop=self.name, error=describe(error), exc_info=error)


class ConnectionLoop(Loop):
    """Repeats a function that connects and works until `keep_going()` is false, or until the connection is lost."""

    LONGEST_BACKOFF_SECONDS = 1.0

    def __init__(self, name: str, follow: Callable[[Callable[[], bool]], None]) -> None:
        super().__init__(name, longest_backoff_seconds=self.LONGEST_BACKOFF_SECONDS)
        self._follow = follow
        self._is_connected = False

    def turn(self) -> None:
        """Work on one connection until it is lost or the loop is stopped."""
        self._is_connected = False
        self._follow(self._keep_going)

    def _keep_going(self) -> bool:
        # The function asks for the first time when it has connected, and has done nothing yet.
        if self._is_connected:
            self.succeeded()
        self._is_connected = True
        self.connected()
        return self.mark_turn()


def follow_channels(
    connect: Callable[[], Connection], wakes: Mapping[str, Callable[[], None]], keep_going: Callable[[], bool]
) -> None:
    """Call what belongs to a channel of PostgreSQL for each commit that notifies it, and all of it at the beginning.

    Ends when `keep_going()` is false, or the connection is lost.
    """
    with connect() as connection:
        for channel in wakes:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        for wake in wakes.values():
            wake()
        while keep_going():
            for channel in wait_for_channels(connection, _LISTEN_SECONDS):
                wakes[channel]()
