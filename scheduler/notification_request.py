"""Parses the message by which other programs ask for a notification, as the replaced system took it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from scheduler.message import RejectedError, find_id
from streamworkers.errors import BadInputError
from streamworkers.notifications.notification import Notification, parse_notification, show

_IGNORED = ("timestamp", "sent_at", "source")
_KNOWN = ("user_id", "message", "priority", "notification_type", "message_id")
# What a notification calls the fields of this message.
_THEIR_NAMES = {"text": "message", "data": "message", "type": "notification_type"}


@dataclass(frozen=True, slots=True)
class NotificationRequest:
    """A notification that another program asks for; without an id it is known by its content."""

    notification: Notification
    has_id: bool


def parse_request(fields: dict[str, Any], content_key: str, now: datetime) -> NotificationRequest:
    """Parse the fields of a message; `content_key` stands for the id of one without.

    Raises RejectedError naming value and rule.
    """
    unknown = sorted(fields.keys() - {*_KNOWN, *_IGNORED})
    if unknown:
        raise RejectedError("bad_field", f"the message has {show(unknown[0])}, which is none of {', '.join(_KNOWN)}")
    message_id = find_id(fields, "message_id")
    key = f"message:content:{content_key}" if message_id is None else f"message:{message_id}"
    user = fields.get("user_id")
    payload = {
        "user_id": str(user) if isinstance(user, int) and not isinstance(user, bool) else user,
        "type": "message" if fields.get("notification_type") is None else fields["notification_type"],
        "dedup_key": key,
        "priority": fields.get("priority"),
        "data": {"text": _require_message(fields)},
    }
    try:
        found = parse_notification(uuid5(NAMESPACE_URL, f"{payload['user_id']}\n{key}"), payload, now)
    except BadInputError as error:
        word, _, rest = str(error).partition(" ")
        raise RejectedError("bad_field", f"{_THEIR_NAMES.get(word, word)} {rest}") from None
    return NotificationRequest(found, message_id is not None)


def _require_message(fields: Mapping[str, Any]) -> object:
    """The text, which a notification of another kind may do without."""
    if fields.get("message") is None:
        raise RejectedError("bad_field", "message None is not a text of 1 to 10,000 characters")
    return fields["message"]
