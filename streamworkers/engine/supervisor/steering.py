"""What people order this supervisor to do: read from PostgreSQL, done by the fleet, recorded when it has happened."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from streamworkers.database import Connection
from streamworkers.engine.host.loop import Loop
from streamworkers.engine.host.signals import Signals
from streamworkers.engine.ledger.orders import ProcessOrder, close_order, end_orders, read_open_orders, take_orders
from streamworkers.engine.supervisor.fleet import Fleet
from streamworkers.engine.supervisor.options import Plan
from streamworkers.errors import BadInputError
from streamworkers.faults import describe
from streamworkers.logger import get_logger

log = get_logger()
Mode = Literal["run", "drain", "stop"]
SupervisorState = Literal["running", "draining", "drained", "stopping"]
SUPERVISOR_STATES: tuple[SupervisorState, ...] = ("running", "draining", "drained", "stopping")
_LONGEST_TURN_SECONDS = 5.0
_IDLE_SECONDS = 5.0
_OPEN_SECONDS = 0.5
_DRAINING_SECONDS = 0.25  # what ended workers held is requeued by another thread


@dataclass(frozen=True, slots=True)
class Steer:
    """How the fleet is to be: `slots` is None as long as its number of workers is that of the start."""

    mode: Mode = "run"
    slots: Sequence[Sequence[str]] | None = None


class SteeredFleet(Loop):
    """The main thread's loop, which runs the worker processes and lets them do what was ordered last.

    An unexpected error ends the supervisor. `has_released` says whether what ended workers held is requeued; `changed`
    is called when the state is another than before.
    """

    def __init__(
        self,
        fleet: Fleet,
        signals: Signals,
        has_released: Callable[[], bool],
        changed: Callable[[], None],
    ) -> None:
        super().__init__("supervisor", signals)
        self._fleet = fleet
        self._has_released = has_released
        self._signals = signals
        self._changed = changed
        self._ordered = self._applied = Steer()
        self._state: SupervisorState = "running"

    @property
    def ordered(self) -> Steer:
        """What was ordered last, which the main thread may not have done yet."""
        return self._ordered

    @property
    def state(self) -> SupervisorState:
        """What the supervisor does now: it runs, drains, is drained, or stops."""
        if self._signals.is_set() or self._ordered.mode == "stop":
            return "stopping"
        if self._ordered.mode == "run":
            return "running"
        return "drained" if self._is_drained() else "draining"

    def order(self, steer: Steer) -> None:
        """Let the main thread do this from now on; for any thread."""
        self._ordered = steer
        self._signals.wake()

    def has_done(self, order: ProcessOrder) -> bool:
        """True if what was ordered last has happened, as far as this order asks for it; a stop is done at the end."""
        if self._signals.is_set():  # what ends now may be killed, and its orders are closed at the end
            return False
        if order.action == "drain":
            return self._is_drained()
        return order.action != "stop" and self._is_applied and self._fleet.is_filled()

    def _is_drained(self) -> bool:
        return self._is_applied and self._fleet.is_drained() and self._has_released()

    def turn(self) -> None:
        """Let the fleet do what was ordered and what is due, and wait for more."""
        ordered = self._ordered
        if ordered is not self._applied:
            self._apply(ordered)
        is_ending = self._applied.mode != "run" and not self._is_drained()
        self._fleet.turn(_DRAINING_SECONDS if is_ending else _LONGEST_TURN_SECONDS)
        if self._applied.mode == "stop" and self._is_drained():
            self._signals.set()
        if (state := self.state) != self._state:
            log.info("supervisor_state", state=state)
            self._state = state
            self._changed()

    def failed(self, error: Exception) -> None:
        """Raise it: the process is restarted, and its workers end with it."""
        raise error

    @property
    def _is_applied(self) -> bool:
        return self._applied is self._ordered

    def _apply(self, ordered: Steer) -> None:
        if ordered.slots is not None and ordered.slots is not self._applied.slots:
            self._fleet.resize(ordered.slots)
        if ordered.mode == "run":
            self._fleet.resume()
        else:
            self._fleet.drain()
        self._applied = ordered


class OrderReader(Loop):
    """Reads the open orders for this process, passes them to the fleet, and closes those that are done.

    It is woken by PostgreSQL's notification, and looks by itself now and then. `beat` brings the row of the process up
    to date first, so that who sees that an order was taken or done sees what has changed.
    """

    def __init__(
        self,
        pool: "ConnectionPool[Connection]",
        process: str,
        fleet: SteeredFleet,
        plan: Plan,
        beat: Callable[[Connection], None],
    ) -> None:
        super().__init__("orders")
        self._pool = pool
        self._process = process
        self._fleet = fleet
        self._plan = plan
        self._beat = beat

    @property
    def longest_pause_seconds(self) -> float:
        """The pause between two looks while there is no order."""
        return _IDLE_SECONDS

    def run(self) -> None:
        """Read orders until stopped, then close what is left: this process does none any more."""
        super().run()
        try:
            with self._pool.connection() as connection:
                end_orders(connection, self._process)
        except (psycopg.Error, PoolTimeout) as error:
            log.info("orders_not_closed", process=self._process, error=describe(error))

    def turn(self) -> None:
        """Take new orders, close those that are done, and pause."""
        with self._pool.connection() as connection:
            orders = read_open_orders(connection, self._process)
            if new := [order for order in orders if order.taken_at is None]:
                self._take(connection, new)
            done = [order for order in orders if order not in new and self._fleet.has_done(order)]
            if done:
                self._beat(connection)
            for order in done:
                close_order(connection, order.id, "done")
                log.info("order_done", order=order.id, action=order.action)
        self.succeeded()
        self._wake_requested.wait(_OPEN_SECONDS if len(orders) > len(done) else _IDLE_SECONDS)
        self._wake_requested.clear()

    def _take(self, connection: Connection, orders: Sequence[ProcessOrder]) -> None:
        """Do what is ordered; doing it again after a lost connection changes nothing."""
        steer = self._fleet.ordered
        for order in orders:
            words = {"order": order.id, "action": order.action, "by": order.ordered_by, "reason": order.reason}
            try:
                steer = self._follow(steer, order)
            except BadInputError as error:
                log.warning("order_rejected", **words, error=str(error))
                close_order(connection, order.id, "rejected", str(error))
                continue
            log.info("order_taken", **words, processes=order.processes)
        self._fleet.order(steer)
        self._beat(connection)
        take_orders(connection, [order.id for order in orders])

    def _follow(self, steer: Steer, order: ProcessOrder) -> Steer:
        """What is in force after an order. Raises BadInputError for a number of processes that does not do."""
        if order.processes is not None:
            return replace(steer, slots=self._plan(order.processes))
        modes: dict[str, Mode] = {"drain": "drain", "resume": "run", "stop": "stop"}
        return replace(steer, mode=modes[order.action])
