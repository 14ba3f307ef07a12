"""Decides how a notification reaches its user: a message to each endpoint, now or in a digest, or why not. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from streamworkers.notifications.notification import Notification
from streamworkers.notifications.notification_types import ANY
from streamworkers.notifications.preferences import Preference, QuietHours
from streamworkers.notifications.wall_time import next_local_time, quiet_end

GROUP_WAIT = timedelta(seconds=3)
_INSTANT = Preference(ANY, ANY, "instant")


class Reachable(Protocol):
    """What routing has to know of an endpoint."""

    @property
    def id(self) -> int:
        """What its deliveries name it by."""

    @property
    def channel(self) -> str:
        """The channel that it is on."""

    @property
    def is_usable(self) -> bool:
        """True if it is verified, and not off."""


@dataclass(frozen=True, slots=True)
class RoutingLimits:
    """The settings of storms and digests."""

    storm_count: int
    storm_window: timedelta
    digest_every: timedelta


@dataclass(frozen=True, slots=True)
class Recipient:
    """What is known of a user."""

    endpoints: Sequence[Reachable] = ()
    preferences: Sequence[Preference] = ()
    quiet: QuietHours | None = None
    is_disabled: bool = False


@dataclass(frozen=True, slots=True)
class Earlier:
    """The notifications of the same user and type within the window before one: how many, and when the first came."""

    count: int = 0
    first: datetime | None = None


class Route(NamedTuple):
    """The message about a notification to one endpoint (None: the user has none).

    With `suppressed`, nothing is sent, for this reason. Else it goes out at `due`: alone, or (`joins`) in one message
    with others. It may join a digest that comes earlier, unless it waits for just this moment (`is_exact`). `group` is
    the key of those that it may be together with; None for any.
    """

    endpoint_id: int | None
    channel: str
    due: datetime
    suppressed: str | None = None
    joins: bool = False
    is_exact: bool = False
    group: str | None = None


def route(
    notification: Notification, recipient: Recipient, earlier: Earlier, now: datetime, limits: RoutingLimits
) -> list[Route]:
    """Return one route for each endpoint that the notification is for, or one that says why there is none."""
    named = [each for each in recipient.endpoints if not notification.channels or each.channel in notification.channels]
    usable = [each for each in named if each.is_usable and not recipient.is_disabled]
    if not usable:
        return [Route(None, "", now, _why_nowhere(notification, recipient, is_named=bool(named)))]
    return [_route_to(each, notification, recipient, (earlier, now, limits)) for each in usable]


def choose_preference(preferences: Sequence[Preference], type_name: str, channel: str) -> Preference:
    """The preference for a type on a channel: its own, that of the type, that of the channel, or that for all."""
    found = {(each.type, each.channel): each for each in preferences}
    keys = ((type_name, channel), (type_name, ANY), (ANY, channel), (ANY, ANY))
    return next((found[key] for key in keys if key in found), _INSTANT)


def _route_to(
    endpoint: Reachable,
    notification: Notification,
    recipient: Recipient,
    moment: tuple[Earlier, datetime, RoutingLimits],
) -> Route:
    earlier, now, limits = moment
    found = Route(endpoint.id, endpoint.channel, now)
    if notification.expires_at is not None and notification.expires_at <= now:
        return found._replace(suppressed="it had expired before it was routed")
    preference = choose_preference(recipient.preferences, notification.type, endpoint.channel)
    if preference.mode == "off":
        return found._replace(suppressed=f"off by preference for {preference.type} on {preference.channel}")
    is_urgent = notification.priority == "urgent" and notification.is_live
    if (preference.mode == "digest" and not is_urgent) or not notification.is_live:
        found = _to_digest(found, preference, now, limits)
    elif earlier.count >= limits.storm_count:
        found = found._replace(due=_end_of_storm(notification, earlier, limits), joins=True)
    elif notification.group_key is not None:
        found = found._replace(due=now + GROUP_WAIT, joins=True, group=notification.group_key)
    return found if is_urgent or recipient.quiet is None else _after_quiet(found, recipient.quiet)


def _to_digest(found: Route, preference: Preference, now: datetime, limits: RoutingLimits) -> Route:
    if preference.digest_at is not None and preference.zone is not None:
        due = next_local_time(preference.digest_at, preference.zone, now)
        return found._replace(due=due, joins=True, is_exact=True)
    minutes = preference.digest_minutes
    every = limits.digest_every if minutes is None else timedelta(minutes=minutes)
    return found._replace(due=now + every, joins=True)


def _end_of_storm(notification: Notification, earlier: Earlier, limits: RoutingLimits) -> datetime:
    """The end of the window that the first one too many is in; while the storm lasts, that of its own window."""
    is_first = earlier.count == limits.storm_count and earlier.first is not None
    began = earlier.first if is_first and earlier.first is not None else notification.created_at
    return began + limits.storm_window


def _after_quiet(found: Route, quiet: QuietHours) -> Route:
    end = quiet_end(quiet, found.due)
    return found if end == found.due else found._replace(due=end, joins=True, is_exact=True, group=None)


def _why_nowhere(notification: Notification, recipient: Recipient, *, is_named: bool) -> str:
    if recipient.is_disabled:
        return "the user is disabled"
    if is_named:
        return "no endpoint that is verified and on"
    if recipient.endpoints:
        return f"no endpoint on {', '.join(notification.channels)}"
    return "no endpoint"
