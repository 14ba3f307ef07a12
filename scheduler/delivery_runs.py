"""Starts runs of the job `deliver`: of the deliveries for which the limits have a slot now, and of no others."""

import time
from collections.abc import Mapping
from functools import partial

from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.engine.enqueue import enqueue_committed, record_run
from streamworkers.engine.job import Origin, RunRequest
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.slot_book import SlotBook, SlotRequest
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.logger import get_logger
from streamworkers.notifications.channels.channel import MessageChannel
from streamworkers.notifications.delivery.calls import limits_of
from streamworkers.notifications.delivery.slot_order import MOST_WAIT_SECONDS
from streamworkers.notifications.store.admission import (
    WaitingDelivery,
    postpone,
    put_into_run,
    read_admitted,
    read_waiting,
)
from streamworkers.notifications.store.closing import close_with_items

log = get_logger()
DELIVER_JOB = "deliver"
MOST_ADMITTED = 1000  # in runs and not at their end, such as while no worker lives
_MOST_ITEMS = 500
_MOST_LOOKED_AT = 1000
_SECONDS_BETWEEN_RUNS = 1.0
_SECONDS_BETWEEN_CHECKS = 5.0
_LONG_WAIT_SECONDS = 60.0


class DeliveryRuns:
    """A background service of schedulers: at most one run a second. What waits for longer is a row, not an item.

    A delivery gets its run in the transaction that writes the run, whatever number of schedulers looks.
    """

    name = "delivery-runs"
    scope = "all"
    interval_seconds = 1.0

    def __init__(
        self,
        pool: "ConnectionPool[Connection]",
        streams: Streams,
        registry: Registry,
        channels: Mapping[str, MessageChannel],
        per_minute: int,
    ) -> None:
        self._pool = pool
        self._streams = streams
        self._registry = registry
        self._channels = channels
        self._per_minute = per_minute
        self._book = SlotBook(streams.client)
        self.seconds_between_runs = _SECONDS_BETWEEN_RUNS
        self._started_at = self._checked_at = float("-inf")

    def run_once(self) -> float | None:
        """Start a run of what can be sent now; returns the seconds until there may be another, or None."""
        if DELIVER_JOB not in self._registry:
            return None
        left = self._started_at + self.seconds_between_runs - time.monotonic()
        if left > 0:
            return left
        with self._pool.connection() as connection:
            if time.monotonic() >= self._checked_at + _SECONDS_BETWEEN_CHECKS:
                self._close(connection)
                self._checked_at = time.monotonic()
            waiting = read_waiting(connection, _MOST_LOOKED_AT)
            if not waiting:
                return None
            admitted = read_admitted(connection, MOST_ADMITTED)
            room = min(_MOST_ITEMS, MOST_ADMITTED - len(admitted))
            chosen = self._choose(connection, admitted, waiting)[:room]
            run = put_into_run(connection, [row.id for row in chosen], partial(self._start, connection))
            if run is not None:
                self._started_at = time.monotonic()
                enqueue_committed(connection, self._streams, run)
        return None if run is None else self.seconds_between_runs

    def _choose(
        self, connection: Connection, admitted: list[WaitingDelivery], waiting: list[WaitingDelivery]
    ) -> list[WaitingDelivery]:
        """Return those that get a slot now, after all that are in a run; what waits for long is not looked at again."""
        asked = [*admitted, *waiting]
        slots = self._book.plan([self._request(row) for row in asked], MOST_WAIT_SECONDS)[len(admitted) :]
        found = list(zip(waiting, slots, strict=True))
        waits = {row.id: slot.seconds for row, slot in found if slot.seconds > _LONG_WAIT_SECONDS}
        if waits:
            postpone(connection, waits)
        return [row for row, slot in found if slot.is_booked]

    def _request(self, row: WaitingDelivery) -> SlotRequest:
        """The limits of a delivery. One without a channel or endpoint needs no slot: the job ends it."""
        channel = self._channels.get(row.channel)
        if channel is None or row.address is None:
            return SlotRequest(str(row.id), [])
        return SlotRequest(str(row.id), limits_of(row, channel, self._per_minute))

    def _start(self, connection: Connection, ids: tuple[str, ...]) -> Run:
        request = RunRequest(DELIVER_JOB, ids, f"{len(ids)} deliveries", origin=Origin("event"))
        return record_run(connection, self._registry, request)[0]

    def _close(self, connection: Connection) -> None:
        for each in close_with_items(connection, _MOST_ITEMS):
            log.warning("delivery_closed", delivery=str(each.id), channel=each.channel, state=each.state)
            if each.is_ambiguous:
                log.warning("call_ambiguous", thing=str(each.id), answer="unknown", reason=each.reason)
