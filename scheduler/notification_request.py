"""Parses the message by which other programs ask for a notification, as the replaced system took it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from scheduler.message import (
    DEFAULT_LIMITS,
    SLOT_SECONDS,
    MessageLimits,
    RejectedError,
    find_id,
    make_digest,
    parse_object,
)
from streamworkers.errors import BadInputError
from streamworkers.notifications.notification import Notification, parse_notification, show

_IGNORED = ("timestamp", "sent_at", "source")
_KNOWN = ("user_id", "message", "priority", "notification_type", "message_id")
# What a notification calls the fields of this message.
_THEIR_NAMES = {"text": "message", "data": "message", "type": "notification_type"}


@dataclass(frozen=True, slots=True)
class NotificationRequest:
    """A notification that another program asks for.

    `keys` are the dedup keys by which it is known if it was asked for before; the first is its own. `digest` is that of
    its content.
    """

    notification: Notification
    keys: tuple[str, ...]
    digest: str


def parse_request(
    raw: bytes, sent_at: float, now: datetime, limits: MessageLimits = DEFAULT_LIMITS
) -> NotificationRequest:
    """Parse a message that was sent at `sent_at`, in Unix seconds. Raises RejectedError naming value and rule."""
    fields = parse_object(raw, limits)
    unknown = sorted(fields.keys() - {*_KNOWN, *_IGNORED})
    if unknown:
        raise RejectedError("bad_field", f"the message has {show(unknown[0])}, which is none of {', '.join(_KNOWN)}")
    digest = make_digest(fields)
    keys = _list_keys(find_id(fields, "message_id"), digest, sent_at)
    user = fields.get("user_id")
    payload = {
        "user_id": str(user) if isinstance(user, int) and not isinstance(user, bool) else user,
        "type": "message" if fields.get("notification_type") is None else fields["notification_type"],
        "dedup_key": keys[0],
        "priority": fields.get("priority"),
        "data": {"text": _require_message(fields)},
    }
    try:
        found = parse_notification(uuid5(NAMESPACE_URL, f"{payload['user_id']}\n{keys[0]}"), payload, now)
    except BadInputError as error:
        word, _, rest = str(error).partition(" ")
        raise RejectedError("bad_field", f"{_THEIR_NAMES.get(word, word)} {rest}") from None
    return NotificationRequest(found, keys, digest)


def _require_message(fields: Mapping[str, Any]) -> object:
    """The text, which a notification of another kind may do without."""
    if fields.get("message") is None:
        raise RejectedError("bad_field", "message None is not a text of 1 to 10,000 characters")
    return fields["message"]


def _list_keys(message_id: str | None, digest: str, sent_at: float) -> tuple[str, ...]:
    """The key of a message; without an id, those of its content in these ten minutes and in those beside them."""
    if message_id is not None:
        return (f"message:{message_id}",)
    slot = int(sent_at // SLOT_SECONDS)
    return tuple(f"message:content:{digest}:{number}" for number in (slot, slot - 1, slot + 1))
