"""A notification: what a user has to know, once for each `dedup_key`; and the parse of the event that becomes one."""

import json
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from streamworkers.config import load_settings
from streamworkers.errors import BadInputError
from streamworkers.json_depth import find_too_deep
from streamworkers.names import require_name
from streamworkers.notifications.notification_types import CODE_TYPE, PRIORITIES, Priority

MOST_CHANNELS = 20
_LONGEST_CHANNEL = 100
_LONGEST = {"user_id": 200, "dedup_key": 500, "group_key": 200, "title": 200, "text": 10_000, "link": 2_000}
_KNOWN = ("user_id", "type", "dedup_key", "priority", "group_key", "data", "expires_at")

_short = reprlib.Repr()
_short.maxstring, _short.maxother, _short.maxlong, _short.maxlevel, _short.maxdict, _short.maxlist = 60, 60, 40, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Notification:
    """One row of `notifications`. `id` is the `event_id` of its event.

    Of `data`, these have a meaning for every type: `title`, `text` and `link` are what it says, `channels` restricts it
    to the endpoints on them, and `live: false` marks what is no news any more.
    """

    id: UUID
    user_id: str
    type: str
    dedup_key: str
    priority: Priority
    group_key: str | None
    data: Mapping[str, Any]
    created_at: datetime
    expires_at: datetime | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that it is restricted to; empty for all."""
        return tuple(self.data.get("channels") or ())

    @property
    def is_live(self) -> bool:
        """False for what is late, such as the firing of a bar that was loaded days after it closed."""
        return self.data.get("live") is not False


def parse_notification(event_id: UUID, payload: object, created_at: datetime) -> Notification:
    """The notification of an event's payload. Raises BadInputError that names the first wrong value and its rule.

    How large its data may be, the settings of this process say.
    """
    if not isinstance(payload, Mapping):
        raise BadInputError(f"the event is {show(payload)}, not an object")
    unknown = sorted(str(name) for name in payload.keys() - set(_KNOWN))
    if unknown:
        raise BadInputError(f"the event has {show(unknown[0])}, which is none of {', '.join(_KNOWN)}")
    if payload.get("type") == CODE_TYPE:
        raise BadInputError(f"type {CODE_TYPE!r} is no notification: a code is sent when it is asked for")
    return Notification(
        id=event_id,
        user_id=_require_text(payload, "user_id"),
        type=require_name("type", payload.get("type")),
        dedup_key=_require_text(payload, "dedup_key"),
        priority=_priority(payload.get("priority")),
        group_key=None if payload.get("group_key") is None else _require_text(payload, "group_key"),
        data=_data(payload.get("data")),
        created_at=created_at,
        expires_at=_moment(payload.get("expires_at")),
    )


def show(value: object) -> str:
    """A value for a message, cut off where it is long."""
    return _short.repr(value)


def _require_text(members: Mapping[str, Any], name: str) -> str:
    value, longest = members.get(name), _LONGEST[name]
    if not isinstance(value, str) or not value.strip() or len(value) > longest:
        raise BadInputError(f"{name} {show(value)} is not a text of 1 to {longest:,} characters")
    _require_storable(name, value)
    return value


def _priority(value: object) -> Priority:
    if value is None:
        return "normal"
    for priority in PRIORITIES:
        if value == priority:
            return priority
    raise BadInputError(f"priority {show(value)} is none of {', '.join(PRIORITIES)}")


def _moment(value: object) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BadInputError(f"expires_at {show(value)} is not a time with a zone, such as 2026-01-05T21:00:00Z")
    return moment


def _data(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadInputError(f"data {show(value)} is not an object")
    _require_bounded(value)
    for name in ("title", "text", "link"):
        if value.get(name) is not None:
            _require_text(value, name)
    _require_channels(value.get("channels"))
    if value.get("live") is not None and not isinstance(value["live"], bool):
        raise BadInputError(f"live {show(value['live'])} in data is not true or false")
    _each_text(value, lambda text: _require_storable("data", text))
    return value


def _require_bounded(value: dict[str, Any]) -> None:
    """Raise BadInputError for what is no JSON, or too much or too deep to be kept."""
    settings = load_settings()
    most_bytes, most_levels = settings.notification_max_bytes, settings.notification_max_depth
    try:
        text = json.dumps(value, allow_nan=False)
        is_too_deep = find_too_deep(text, most_levels) is not None
    except (TypeError, ValueError) as error:
        raise BadInputError(f"data {show(value)} is no JSON: {error}") from None
    except RecursionError:
        is_too_deep = True
    if is_too_deep:
        raise BadInputError(f"the depth of data exceeds STREAMWORKERS_NOTIFICATION_MAX_DEPTH={most_levels}")
    if len(text) > most_bytes:
        raise BadInputError(
            f"data of {len(text):,} bytes of JSON exceeds STREAMWORKERS_NOTIFICATION_MAX_BYTES={most_bytes}"
        )


def _require_channels(value: object) -> None:
    if value is None:
        return
    if not isinstance(value, list) or len(value) > MOST_CHANNELS:
        raise BadInputError(f"channels {show(value)} in data is not a list of at most {MOST_CHANNELS} channels")
    for each in value:
        # One that does not exist is no error: the notification then says that there is no endpoint on it.
        if not isinstance(each, str) or not 0 < len(each) <= _LONGEST_CHANNEL:
            raise BadInputError(f"channel {show(each)} in data is not a text of 1 to {_LONGEST_CHANNEL} characters")


def _each_text(value: object, check: Callable[[str], None]) -> None:
    if isinstance(value, str):
        check(value)
    elif isinstance(value, Mapping):
        for name, each in value.items():
            check(str(name))
            _each_text(each, check)
    elif isinstance(value, list | tuple):
        for each in value:
            _each_text(each, check)


def _require_storable(name: str, value: str) -> None:
    """PostgreSQL stores neither a zero character nor half of a surrogate pair."""
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise BadInputError(f"{name} has the text {show(value)}, in which a character cannot be stored")
