"""Routes about notifications: what users are notified of, what each delivery has come to, and sending it again."""

from typing import Annotated, Any
from uuid import UUID

import msgspec

from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.operation import Operation
from streamworkers.api.problem import Conflict, Hidden, NotFound
from streamworkers.notifications.store.closing import reopen_deliveries
from streamworkers.notifications.store.listing import list_notifications, show_notification
from streamworkers.notifications.store.notifications import list_rejected_events

Limit = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class NotificationList(msgspec.Struct):
    """Your notifications with the states of their deliveries, the newest first; those of all for an admin."""

    notifications: list[dict[str, Any]]


class NotificationView(msgspec.Struct):
    """A notification, and each delivery of it: where, when, how often, and why not."""

    id: UUID
    user: str
    type: str
    data: dict[str, Any]
    deliveries: list[dict[str, Any]]


class DeliveryList(msgspec.Struct):
    """The deliveries of a notification."""

    deliveries: list[dict[str, Any]]


class Requeued(msgspec.Struct):
    """The deliveries that are sent again."""

    deliveries: list[UUID]


class RejectedEvents(msgspec.Struct):
    """Events with the reason why no notification was made of them, the newest first."""

    events: list[dict[str, Any]]


class LimitQuery(msgspec.Struct, forbid_unknown_fields=True):
    """How many rows, at most."""

    limit: Limit = 100


class NotificationsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """How many, and of which type."""

    type: str | None = None
    limit: Limit = 100


def _list_own_notifications(call: ApiCall) -> ApiAnswer:
    """List notifications with the states of their deliveries, the newest first."""
    query: NotificationsQuery = call.query
    rows = list_notifications(call.connection, user=call.caller.viewer, type_name=query.type, limit=query.limit)
    return ApiAnswer({"notifications": rows})


def _show_own_notification(call: ApiCall) -> ApiAnswer:
    """Show a notification with what it says, and each delivery of it."""
    return ApiAnswer(_find_notification(call))


def _list_deliveries(call: ApiCall) -> ApiAnswer:
    """List the deliveries of a notification: where, when, how often, and why not."""
    return ApiAnswer({"deliveries": _find_notification(call)["deliveries"]})


def _retry_notification(call: ApiCall) -> ApiAnswer:
    """Send again what of a notification is dead, or is ambiguous and held. 409 if nothing is."""
    found = _find_notification(call)
    wanted = [each["id"] for each in found["deliveries"]]
    opened = reopen_deliveries(call.connection, found["id"], wanted, call.caller.actor)
    if not opened:
        raise Conflict(f"no delivery of notification {found['id']} is dead or held")
    return ApiAnswer({"deliveries": opened}, 202)


def _list_rejected(call: ApiCall) -> ApiAnswer:
    """List the newest events that no notification was made of: they cannot be read, or are for an unknown user."""
    return ApiAnswer({"events": list_rejected_events(call.connection, call.query.limit)})


def _find_notification(call: ApiCall) -> dict[str, Any]:
    text = call.path["notification"]
    try:
        found = show_notification(call.connection, UUID(text))
    except ValueError:
        found = None
    if found is None:
        raise NotFound("notification", text)
    if call.caller.viewer not in (None, found["user"]):
        raise Hidden("notification", text)
    return found


NOTIFICATION_OPERATIONS = (
    Operation(
        *("GET", "/notifications", "List notifications", _list_own_notifications, NotificationList),
        query=NotificationsQuery,
        object_type="notification",
    ),
    Operation(
        *("GET", "/notifications/{notification}", "Show a notification", _show_own_notification, NotificationView),
        object_type="notification",
        problems=(404,),
    ),
    Operation(
        *("GET", "/notifications/{notification}/deliveries", "List deliveries", _list_deliveries, DeliveryList),
        object_type="notification",
        problems=(404,),
    ),
    Operation(
        *("POST", "/notifications/{notification}/retry", "Send deliveries again", _retry_notification, Requeued),
        scope="notify",
        status=202,
        action="notification.retry",
        object_type="notification",
        problems=(400, 404, 409),
    ),
    Operation(
        *("GET", "/rejected-events", "List events without a notification", _list_rejected, RejectedEvents),
        scope="admin",
        query=LimitQuery,
        object_type="notification",
    ),
)
