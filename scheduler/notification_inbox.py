"""Makes notifications of the events that are for people, in the transaction that deletes them."""

from collections.abc import Callable, Sequence

from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.ledger.outbox import NotifyEvent
from streamworkers.errors import BadInputError
from streamworkers.logger import get_logger
from streamworkers.notifications.notification import Notification, parse_notification, show
from streamworkers.notifications.store.notifications import (
    RejectedEvent,
    add_notifications,
    find_known_users,
    reject_events,
)

log = get_logger()
LIMIT = 500


class NotificationInbox:
    """A background service of schedulers: needs no Redis, and any number of them may step at the same time.

    An event is gone when its notification is there, and a second one with its key changes nothing. What no
    notification can be made of is kept with its reason, and holds up nothing.
    """

    name = "notification-inbox"
    scope = "all"
    interval_seconds = 1.0

    def __init__(self, pool: "ConnectionPool[Connection]", on_new: Callable[[], None]) -> None:
        self._pool = pool
        self._on_new = on_new

    def run_once(self) -> float | None:
        """Take up to LIMIT events; returns 0 while there are more."""
        with self._pool.connection() as connection, connection.transaction():
            events = ledger.take_notify_events(connection, LIMIT)
            found, rejected = _sort(connection, events)
            add_notifications(connection, found)
            reject_events(connection, rejected)
        for event in rejected:
            log.warning("notification_rejected", event_id=str(event.event_id), reason=event.reason)
        if found:
            self._on_new()
        return 0.0 if len(events) == LIMIT else None


def _sort(connection: Connection, events: Sequence[NotifyEvent]) -> tuple[list[Notification], list[RejectedEvent]]:
    """The notifications of events, and the events that there is none of."""
    found, rejected = [], []
    for event in events:
        try:
            found.append(parse_notification(event.event_id, event.payload, event.created_at))
        except BadInputError as error:
            rejected.append(RejectedEvent(event.event_id, event.payload, str(error)))
    known = find_known_users(connection, sorted({each.user_id for each in found})) if found else set()
    payloads = {event.event_id: event.payload for event in events}
    rejected += [
        RejectedEvent(each.id, payloads[each.id], f"no user is named {show(each.user_id)}")
        for each in found
        if each.user_id not in known
    ]
    return [each for each in found if each.user_id in known], rejected
