"""The route that notifies a user."""

import uuid
from datetime import datetime
from typing import Annotated, Any

import msgspec

from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.operation import Operation
from streamworkers.api.problem import Problem
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.notifications.given_preferences import require_known_channels
from streamworkers.notifications.notification_types import Priority
from streamworkers.notifications.notify import notify
from streamworkers.users import require_user


class NotifyBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a user is to know; `user` is that of the token unless an admin names another. Once for each `key`."""

    text: str
    user: str | None = None
    title: str | None = None
    link: str | None = None
    type: str = "message"
    priority: Priority = "normal"
    group: str | None = None
    channels: list[str] | None = None
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    key: str | None = None


class Accepted(msgspec.Struct):
    """A notification that will be made; its `key` finds it again."""

    user: str
    key: str
    outcome: str


def _notify_user(call: ApiCall) -> ApiAnswer:
    """Notify a user, as their preferences say: the event is written now, and schedulers make and send the rest."""
    body: NotifyBody = call.body
    user = body.user or call.caller.user
    if user != call.caller.user and not call.caller.is_admin:
        raise Problem(403, "forbidden", "only an admin notifies another user")
    require_user(call.connection, user)
    require_known_channels(call.service.channels, body.channels or ())
    key = body.key or f"api:{uuid.uuid4()}"
    given: dict[str, Any] = {"title": body.title, "link": body.link, "channels": body.channels}
    notify(
        call.connection,
        user,
        body.text,
        dedup_key=key,
        type=body.type,
        priority=body.priority,
        group_key=body.group,
        data={name: value for name, value in given.items() if value is not None},
        expires_at=body.expires_at,
    )
    change = AuditChange("notification.notify", "notification", key, after={"user": user, "type": body.type})
    record_change(call.connection, call.caller.actor, change)
    return ApiAnswer({"user": user, "key": key, "outcome": "accepted"}, 202)


NOTIFY_OPERATIONS = (
    Operation(
        *("POST", "/notify", "Notify a user", _notify_user, Accepted),
        scope="notify",
        body=NotifyBody,
        status=202,
        action="notification.notify",
        object_type="notification",
        problems=(400, 409),
        example={"text": "the report is there", "title": "Report", "key": "report:2026-11-26"},
    ),
)
