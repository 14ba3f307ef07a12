"""Sends deliveries: makes their messages, waits for slots, and claims, calls and records one by one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from streamworkers.config import Settings
from streamworkers.database import Connection, SessionLimits, connect
from streamworkers.engine.outside import MOST_THREADS, call_outside
from streamworkers.engine.redis.client import RedisClient
from streamworkers.engine.redis.slot_book import SlotBook, SlotRequest
from streamworkers.notifications.channels.channel import MessageChannel
from streamworkers.notifications.channels.registry import load_channels
from streamworkers.notifications.channels.text import clean_reason
from streamworkers.notifications.delivery.call_counts import CallCounts, Counts
from streamworkers.notifications.delivery.calls import DeliveryCalls, limits_of
from streamworkers.notifications.delivery.late_answers import LateAnswers
from streamworkers.notifications.delivery.parts import DrawPicture, make_parts
from streamworkers.notifications.delivery.slot_order import MOST_WAIT_SECONDS, SlotOrder, renew_token
from streamworkers.notifications.delivery.slow_providers import SlowProviders
from streamworkers.notifications.store.preferences import read_quiet_hours
from streamworkers.notifications.store.sending import DeliveryRow, end_unsent, hold_until, read_delivery_rows
from streamworkers.notifications.wall_time import quiet_end

_WAITING = ("queued", "deferred", "failed")


@dataclass(frozen=True, slots=True)
class Sender:
    """What sends in one process. Thread-safe but for its channels' `close`."""

    settings: Settings
    channels: Mapping[str, MessageChannel]
    book: SlotBook
    draw: DrawPicture | None = None
    slow: SlowProviders = field(init=False)
    late: LateAnswers = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "slow", SlowProviders(self.book))
        object.__setattr__(self, "late", LateAnswers(self._connect))

    def send(
        self,
        connection: Connection,
        deliveries: Sequence[UUID],
        run_id: int | None = None,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        counts: Counts | None = None,
    ) -> dict[UUID, float]:
        """Send those of these deliveries that are of this run and due; returns the waits of those without a slot.

        A call of over 5 s is not waited for: its answer is recorded by a thread.

        The row of each says how it ended. Without a run, they are sent although they are not due: insert a row whose
        `not_before` is half a minute ahead, commit, and call this; if the process dies in between, the pool sends it.
        The connection commits each statement. Raises what PostgreSQL and Redis raise; calling it again continues.
        """
        rows = self._prepare(connection, deliveries, run_id)
        requests = {row.id: self._request(row) for row in rows.values()}
        threads = min(self.settings.deliver_threads, MOST_THREADS)
        counted = counts or CallCounts()
        self.late.move_counts(counted)

        def ended(thing: UUID, has_more: bool) -> None:
            order.ended(thing, has_more=has_more)

        calls = DeliveryCalls(self.channels, self.book, rows, requests, ended, counted, self.slow, self.late, run_id)
        order = SlotOrder(self.book, requests, 2 * threads, calls.is_left_alone)
        call_outside(connection, calls, order.due(), policy=calls.policy_of, threads=threads, should_stop=should_stop)
        return order.waits

    def close(self) -> None:
        """Close the connections of all channels."""
        for channel in self.channels.values():
            channel.close()

    def _connect(self) -> Connection:
        url = self.settings.database_url
        assert url is not None  # who has a connection had a URL
        limits = SessionLimits.of(self.settings)
        return connect(url.get_secret_value(), application="streamworkers-late", limits=limits, writable=True)

    def _request(self, row: DeliveryRow) -> SlotRequest:
        """The limits of a delivery. One that may have been called for keeps the slot of that call in the book."""
        limits = limits_of(row, self.channels[row.channel], self.settings.notifications_per_minute)
        request = SlotRequest(str(row.id), limits)
        return request if row.state == "queued" and not row.parts_sent else renew_token(request)

    def _prepare(
        self, connection: Connection, deliveries: Sequence[UUID], run_id: int | None
    ) -> dict[UUID, DeliveryRow]:
        """Return the deliveries to send, with what is sent of each; those that can never be sent are dead."""
        wanted = [row for row in read_delivery_rows(connection, deliveries) if _is_wanted(row, run_id)]
        held = self._hold_in_quiet_hours(connection, wanted, run_id)
        wanted = [row for row in wanted if row.id not in held]
        unmade = [row for row in wanted if row.parts is None or row.channel not in self.channels]
        troubles = make_parts(connection, unmade, self.channels, self.settings.public_url, self.draw)
        for delivery, trouble in troubles.items():
            end_unsent(connection, delivery, run_id, "dead", clean_reason(trouble))
        made = read_delivery_rows(connection, [row.id for row in wanted])
        return {row.id: row for row in made if row.parts is not None and row.channel in self.channels}

    def _hold_in_quiet_hours(
        self, connection: Connection, rows: Sequence[DeliveryRow], run_id: int | None
    ) -> set[UUID]:
        """Let what a limit, a retry or a lack of workers has made late wait for the end of its user's quiet hours."""
        calm = [row for row in rows if row.priority != "urgent" and row.state in _WAITING]
        quiet = read_quiet_hours(connection, sorted({row.user_id for row in calm})) if calm else {}
        ends = {}
        for row in calm:
            now = row.created_at + timedelta(seconds=row.age_seconds)
            if row.user_id in quiet and (end := quiet_end(quiet[row.user_id], now)) > now:
                ends[row.id] = end
        return hold_until(connection, ends, run_id, "quiet hours")


def _is_wanted(row: DeliveryRow, run_id: int | None) -> bool:
    if row.run_id != run_id or row.state in ("sent", "suppressed"):
        return False
    if row.state == "sending":
        return row.wait_seconds <= 0  # else its call is under way
    return run_id is None or row.state not in _WAITING or row.wait_seconds <= MOST_WAIT_SECONDS


def open_sender(settings: Settings, client: RedisClient, draw: DrawPicture | None = None) -> Sender:
    """Return a sender with the installed channels, whose slots are in this Redis."""
    return Sender(settings, load_channels(settings), SlotBook(client), draw)
