"""Sends a sign of life each day, if that is asked for, by the way of all messages: silence means a fault."""

from datetime import datetime, time, timedelta
from uuid import NAMESPACE_URL, uuid5

from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.logger import get_logger
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE
from streamworkers.notifications.notification import parse_notification
from streamworkers.notifications.store.messages import count_sent
from streamworkers.notifications.store.notifications import add_notifications, find_known_users
from streamworkers.schedules.store import database_clock

log = get_logger()
_WINDOW = timedelta(days=1)


class SignOfLife:
    """A background service of schedulers. The notification of a day has a key, so that any number of them sends one."""

    name = "sign-of-life"
    scope = "all"
    interval_seconds = 30.0

    def __init__(self, pool: "ConnectionPool[Connection]", at: str | None, user: str) -> None:
        self._pool = pool
        self._at = None if at is None else time.fromisoformat(at.rjust(5, "0"))
        self._user = user

    def run_once(self) -> float | None:
        """Notify once a day after the time of New York that is set."""
        if self._at is not None:
            with self._pool.connection() as connection:
                self.look(connection, database_clock(connection))
        return None

    def look(self, connection: Connection, now: datetime) -> None:
        """Do the step of a moment."""
        here = now.astimezone(EXCHANGE_ZONE)
        if self._at is None or here.time() < self._at:
            return
        key = f"watchdog:{here.date()}"
        with connection.transaction():
            if not find_known_users(connection, [self._user]):
                return
            payload = {
                "user_id": self._user,
                "type": "watchdog",
                "dedup_key": key,
                "data": count_sent(connection, now - _WINDOW),
                "expires_at": (now + _WINDOW).isoformat(),
            }
            sign = parse_notification(uuid5(NAMESPACE_URL, f"{self._user}\n{key}"), payload, now)
            is_new = bool(add_notifications(connection, [sign]))
        if is_new:
            log.info("sign_of_life", day=str(here.date()))
