"""The main thread's loop of a scheduler: ticks at each due time and at each change of the schedules."""

from collections.abc import Callable

from scheduler.ticker import Ticker
from streamworkers.database import Connection
from streamworkers.engine.host.loop import Loop
from streamworkers.engine.host.signals import Signals
from streamworkers.engine.ledger import SCHEDULES_NOTIFY
from streamworkers.faults import describe
from streamworkers.logger import get_logger

log = get_logger()
# A tick must not wait long after PostgreSQL is back.
_LONGEST_BACKOFF_SECONDS = 1.0


class TickerLoop(Loop):
    """Runs the ticker on a connection that PostgreSQL notifies of changes; stops by the process's signals."""

    def __init__(
        self, ticker: Ticker, connect: Callable[[], Connection], poll_seconds: float, signals: Signals
    ) -> None:
        super().__init__("ticker", signals, longest_backoff_seconds=_LONGEST_BACKOFF_SECONDS)
        self._ticker = ticker
        self._connect = connect
        self._poll_seconds = poll_seconds
        self._failures = ticker.metrics.service_failures.labels("ticker")

    def turn(self) -> None:
        """Tick until stopped or disconnected."""
        with self._connect() as connection:
            connection.execute(f"LISTEN {SCHEDULES_NOTIFY}")
            while self.mark_turn():
                pause = min(self._ticker.run_once(), self._poll_seconds)
                self.succeeded()
                if pause > 0:
                    for _ in connection.notifies(timeout=pause, stop_after=1):
                        break

    def failed(self, error: Exception) -> None:
        """Count and note it; the next turn connects again."""
        self._failures.inc()
        super().failed(error)

    def log_error(self, error: Exception) -> None:
        """Log an error that is no fault of a store."""
        log.error("ticker_failed", error=describe(error), exc_info=error)
