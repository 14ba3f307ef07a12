"""Routes about preferences: how users want notifications, and when they want none."""

from dataclasses import asdict
from datetime import time
from typing import Annotated, Any

import msgspec

from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.operation import Operation
from streamworkers.api.routes.alert_types import OwnerQuery
from streamworkers.notifications.given_preferences import parse_local_time, require_known_names
from streamworkers.notifications.notification_types import ANY
from streamworkers.notifications.preferences import Mode, Preference, QuietHours
from streamworkers.notifications.store.preferences import (
    read_preferences,
    read_quiet_hours,
    remove_preference,
    set_preference,
    set_quiet_hours,
)
from streamworkers.users import require_user

LocalTime = Annotated[str, msgspec.Meta(pattern="^[0-9]{2}:[0-9]{2}$")]


class PreferenceBody(msgspec.Struct, forbid_unknown_fields=True):
    """How notifications of a type come on a channel, `*` for all others; a digest every so many minutes, or daily."""

    mode: Mode
    type: str = ANY
    channel: str = ANY
    digest_minutes: int | None = None
    digest_at: LocalTime | None = None
    zone: str | None = None


class QuietBody(msgspec.Struct, forbid_unknown_fields=True):
    """Local times in a zone between which only what is urgent comes; they may go over midnight."""

    starts: LocalTime
    ends: LocalTime
    zone: str


class PreferenceQuery(OwnerQuery, forbid_unknown_fields=True):
    """Of which type and channel the preference is."""

    type: str = ANY
    channel: str = ANY


class PreferenceView(msgspec.Struct):
    """How a user wants notifications of a type on a channel."""

    type: str
    channel: str
    mode: Mode
    digest_minutes: int | None
    digest_at: str | None
    zone: str | None


class QuietView(msgspec.Struct):
    """Local times in a zone between which only what is urgent comes."""

    starts: str
    ends: str
    zone: str


class PreferencesView(msgspec.Struct):
    """All preferences of a user; without any, everything comes at once."""

    preferences: list[PreferenceView]
    quiet_hours: QuietView | None


def _show_preferences(call: ApiCall) -> ApiAnswer:
    """Show your preferences and your quiet hours."""
    return _answer_preferences(call)


def _set_own_preference(call: ApiCall) -> ApiAnswer:
    """Set how notifications come: at once (`instant`), in a `digest`, or not at all (`off`)."""
    body: PreferenceBody = call.body
    require_known_names(call.connection, call.service.channels, body.type, body.channel)
    at = None if body.digest_at is None else parse_local_time(body.digest_at)
    wish = Preference(body.type, body.channel, body.mode, body.digest_minutes, at, body.zone)
    set_preference(call.connection, call.caller.acting_for(call.query.user), wish)
    return _answer_preferences(call)


def _remove_own_preference(call: ApiCall) -> ApiAnswer:
    """Remove what is set for a type and a channel, if anything is."""
    actor = call.caller.acting_for(call.query.user)
    remove_preference(call.connection, actor, call.query.type, call.query.channel)
    return _answer_preferences(call)


def _set_own_quiet(call: ApiCall) -> ApiAnswer:
    """Set your quiet hours: what they hold comes at their end, as one digest at each endpoint."""
    body: QuietBody = call.body
    quiet = QuietHours(parse_local_time(body.starts), parse_local_time(body.ends), body.zone)
    set_quiet_hours(call.connection, call.caller.acting_for(call.query.user), quiet)
    return _answer_preferences(call)


def _end_own_quiet(call: ApiCall) -> ApiAnswer:
    """End your quiet hours, if there are any."""
    set_quiet_hours(call.connection, call.caller.acting_for(call.query.user), None)
    return _answer_preferences(call)


def _answer_preferences(call: ApiCall) -> ApiAnswer:
    user = call.caller.acting_for(call.query.user).user
    require_user(call.connection, user)
    wished = read_preferences(call.connection, [user]).get(user, [])
    quiet = read_quiet_hours(call.connection, [user]).get(user)
    rows: list[dict[str, Any]] = [asdict(each) | {"digest_at": _show_time(each.digest_at)} for each in wished]
    hours = None if quiet is None else asdict(quiet)
    if hours is not None:
        hours |= {name: _show_time(hours[name]) for name in ("starts", "ends")}
    return ApiAnswer({"preferences": rows, "quiet_hours": hours})


def _show_time(at: time | None) -> str | None:
    return None if at is None else f"{at:%H:%M}"


PREFERENCE_OPERATIONS = (
    Operation(
        *("GET", "/preferences", "Show preferences", _show_preferences, PreferencesView),
        query=OwnerQuery,
        object_type="preference",
    ),
    Operation(
        *("PUT", "/preferences", "Set how notifications come", _set_own_preference, PreferencesView),
        scope="notify",
        query=OwnerQuery,
        body=PreferenceBody,
        action="preference.set",
        object_type="preference",
        example={"mode": "digest", "type": "alert_fired", "digest_minutes": 60},
    ),
    Operation(
        *("DELETE", "/preferences", "Remove a preference", _remove_own_preference, PreferencesView),
        scope="notify",
        query=PreferenceQuery,
        action="preference.remove",
        object_type="preference",
    ),
    Operation(
        *("PUT", "/quiet-hours", "Set quiet hours", _set_own_quiet, PreferencesView),
        scope="notify",
        query=OwnerQuery,
        body=QuietBody,
        action="preference.quiet",
        object_type="preference",
        example={"starts": "22:00", "ends": "07:00", "zone": "America/New_York"},
    ),
    Operation(
        *("DELETE", "/quiet-hours", "End quiet hours", _end_own_quiet, PreferencesView),
        scope="notify",
        query=OwnerQuery,
        action="preference.quiet",
        object_type="preference",
    ),
)
