"""What a message says of itself, whether it can be accepted or not: its type, its id and who sends it. Pure."""

from typing import Any

from scheduler.message import RejectedError, find_id, make_digest
from streamworkers.messages.history import MessageSubject

_MOST_CHARACTERS = 200
_KINDS = ("event_type", "job_type", "notification_type")
_IDS = ("job_id", "event_id", "message_id")
_SENDERS = ("requested_by", "source")


def find_subject(fields: dict[str, Any]) -> MessageSubject:
    """Return what the fields of a message say of it, without what breaks a rule."""
    ids = {name: found for name in _IDS if (found := _find_valid_id(fields, name)) is not None}
    return MessageSubject(
        kind=_find_text(fields, _KINDS),
        external_id=next(iter(ids.values()), None),
        job_id=ids.get("job_id"),
        sender=_find_text(fields, _SENDERS),
        content_digest=make_digest(fields),
    )


def _find_text(fields: dict[str, Any], names: tuple[str, ...]) -> str | None:
    texts = (fields.get(name) for name in names)
    return next(
        (text[:_MOST_CHARACTERS] for text in texts if isinstance(text, str) and text and text.isprintable()), None
    )


def _find_valid_id(fields: dict[str, Any], name: str) -> str | None:
    try:
        return find_id(fields, name)
    except RejectedError:
        return None
