"""Makes the deliveries of notifications: a background service of schedulers."""

from collections.abc import Callable
from datetime import datetime, timedelta

from psycopg_pool import ConnectionPool

from streamworkers.config import Settings
from streamworkers.database import Connection, fetch_value
from streamworkers.notifications.notification import Notification
from streamworkers.notifications.plan import DeliveryPlan
from streamworkers.notifications.routing import Earlier, Recipient, RoutingLimits, route
from streamworkers.notifications.store.accounts import find_disabled
from streamworkers.notifications.store.endpoints import read_endpoints
from streamworkers.notifications.store.preferences import read_preferences, read_quiet_hours
from streamworkers.notifications.store.routing import lock_growing, read_earlier, take_unrouted, write_routed

LIMIT = 500


class NotificationRouter:
    """Each step is one transaction that keeps the users of its notifications, so that nobody gets two digests."""

    name = "notification-router"
    scope = "all"
    interval_seconds = 1.0

    def __init__(
        self,
        pool: "ConnectionPool[Connection]",
        settings: Settings,
        read_clock: Callable[[Connection], datetime] | None = None,
        on_routed: Callable[[], None] = lambda: None,
    ) -> None:
        self._pool = pool
        self._on_routed = on_routed
        self._read_clock = read_clock or _now
        self._limits = RoutingLimits(
            settings.storm_count,
            timedelta(minutes=settings.storm_minutes),
            timedelta(minutes=settings.digest_minutes),
        )

    def run_once(self) -> float | None:
        """Route up to LIMIT notifications, the oldest first; returns 0 while there are more."""
        with self._pool.connection() as connection, connection.transaction():
            taken = take_unrouted(connection, LIMIT)
            if taken:
                self._route(connection, taken)
        if taken:
            self._on_routed()
        return 0.0 if len(taken) == LIMIT else None

    def _route(self, connection: Connection, taken: list[Notification]) -> None:
        users = sorted({each.user_id for each in taken})
        endpoints, preferences = read_endpoints(connection, users), read_preferences(connection, users)
        quiet, disabled = read_quiet_hours(connection, users), find_disabled(connection, users)
        recipients = {
            user: Recipient(endpoints.get(user, ()), preferences.get(user, ()), quiet.get(user), user in disabled)
            for user in users
        }
        ids = [each.id for each in taken]
        earlier = read_earlier(connection, ids, self._limits.storm_window, self._limits.storm_count)
        waiting = lock_growing(connection, [each.id for found in endpoints.values() for each in found])
        now, plan = self._read_clock(connection), DeliveryPlan(waiting)
        for each in taken:
            before = earlier.get(each.id, Earlier())
            for found in route(each, recipients[each.user_id], before, now, self._limits):
                plan.add(each, found)
        write_routed(connection, ids, plan.deliveries)


def _now(connection: Connection) -> datetime:
    moment: datetime = fetch_value(connection, "SELECT clock_timestamp()")
    return moment
