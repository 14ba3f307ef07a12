"""Routes about what a user has: alerts and what has fired, notifications and their deliveries."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec

from streamworkers.alerts.store import changes
from streamworkers.alerts.store.alerts import StoredAlert, find_alert, list_alerts
from streamworkers.alerts.store.reports import list_firings
from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.conditions import require_version, tag_answer
from streamworkers.api.operation import Operation
from streamworkers.api.problem import Hidden, NotFound
from streamworkers.api.routes.schedule_types import Removed
from streamworkers.errors import UnknownNameError
from streamworkers.notifications.store.listing import list_notifications, show_notification

Limit = Annotated[int, msgspec.Meta(ge=1, le=1000)]


class AlertView(msgspec.Struct):
    """An alert in its newest version; `document` has its rule, as `alerts export` writes it."""

    id: int
    name: str
    timeframe: str
    universe: str | None
    version: int
    paused_at: datetime | None
    created_at: datetime
    document: dict[str, Any]


class AlertList(msgspec.Struct):
    """Alerts of the token's user, by name."""

    alerts: list[AlertView]


class FiringList(msgspec.Struct):
    """Firings and releases of an alert, the newest first."""

    firings: list[dict[str, Any]]


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


class LimitQuery(msgspec.Struct, forbid_unknown_fields=True):
    """How many rows, at most."""

    limit: Limit = 100


class NotificationsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """How many, and of which type."""

    type: str | None = None
    limit: Limit = 100


def _list_own_alerts(call: ApiCall) -> ApiAnswer:
    """List your alerts, by name."""
    return ApiAnswer({"alerts": [_show(each) for each in list_alerts(call.connection, call.caller.user)]})


def _show_alert(call: ApiCall) -> ApiAnswer:
    """Show one of your alerts, by its name; its version is the ETag."""
    found = _find(call)
    return tag_answer(call, ApiAnswer(_show(found)), found.version)


def _list_alert_firings(call: ApiCall) -> ApiAnswer:
    """List what one of your alerts has fired, the newest first."""
    found = _find(call)
    return ApiAnswer({"firings": list_firings(call.connection, call.caller.user, call.query.limit, alert_id=found.id)})


def _pause_own_alert(call: ApiCall) -> ApiAnswer:
    """Pause one of your alerts: bars of the pause are never decided."""
    changes.pause_alert(call.connection, call.caller.actor, _find(call).name)
    return _show_alert(call)


def _resume_own_alert(call: ApiCall) -> ApiAnswer:
    """Resume one of your alerts: bars that close from now on are decided, from a fresh state."""
    changes.resume_alert(call.connection, call.caller.actor, _find(call).name)
    return _show_alert(call)


def _remove_own_alert(call: ApiCall) -> ApiAnswer:
    """Remove one of your alerts, of the version that If-Match names; its firings are kept."""
    found = _find(call, lock=True)
    require_version(call, found.version)
    changes.remove_alert(call.connection, call.caller.actor, found.name)
    return ApiAnswer({"name": found.name, "removed": True})


def _list_own_notifications(call: ApiCall) -> ApiAnswer:
    """List notifications with the states of their deliveries, the newest first."""
    query: NotificationsQuery = call.query
    rows = list_notifications(call.connection, user=call.caller.viewer, type_name=query.type, limit=query.limit)
    return ApiAnswer({"notifications": rows})


def _show_own_notification(call: ApiCall) -> ApiAnswer:
    """Show a notification with what it says, and each delivery of it."""
    text = call.path["notification"]
    try:
        found = show_notification(call.connection, UUID(text))
    except ValueError:
        found = None
    if found is None:
        raise NotFound("notification", text)
    if call.caller.viewer not in (None, found["user"]):
        raise Hidden("notification", text)
    return ApiAnswer(found)


def _find(call: ApiCall, *, lock: bool = False) -> StoredAlert:
    try:
        return find_alert(call.connection, call.caller.user, call.path["alert"], lock=lock)
    except UnknownNameError:
        raise NotFound("alert", call.path["alert"]) from None


def _show(alert: StoredAlert) -> dict[str, Any]:
    names = ("id", "name", "timeframe", "universe", "version", "paused_at", "created_at", "document")
    return {name: getattr(alert, name) for name in names}


PEOPLE_OPERATIONS = (
    Operation("GET", "/alerts", "List alerts", _list_own_alerts, AlertList, object_type="alert"),
    Operation("GET", "/alerts/{alert}", "Show an alert", _show_alert, AlertView, object_type="alert", problems=(404,)),
    Operation(
        *("DELETE", "/alerts/{alert}", "Remove an alert", _remove_own_alert, Removed),
        scope="alerts",
        action="alert.remove",
        object_type="alert",
        problems=(404, 412, 428),
    ),
    Operation(
        *("GET", "/alerts/{alert}/firings", "List what an alert has fired", _list_alert_firings, FiringList),
        query=LimitQuery,
        object_type="alert",
        problems=(404,),
    ),
    Operation(
        *("POST", "/alerts/{alert}/pause", "Pause an alert", _pause_own_alert, AlertView),
        scope="alerts",
        action="alert.pause",
        object_type="alert",
        problems=(400, 404, 409),
    ),
    Operation(
        *("POST", "/alerts/{alert}/resume", "Resume an alert", _resume_own_alert, AlertView),
        scope="alerts",
        action="alert.resume",
        object_type="alert",
        problems=(400, 404, 409),
    ),
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
)
