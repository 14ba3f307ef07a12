"""Puts routes into messages: new ones, or those that wait and may still grow. Pure but for the ids of new messages."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

from streamworkers.notifications.notification import Notification
from streamworkers.notifications.notification_types import PRIORITIES, Priority
from streamworkers.notifications.routing import Route

DIGEST = "digest"  # the type of a message in which several types may be together


@dataclass(slots=True)
class PlannedDelivery:
    """A row of `deliveries` to write. `is_stored`: it is there already, unclaimed, and locked."""

    user_id: str
    route: Route
    type: str
    priority: Priority
    expires_at: datetime | None
    id: UUID = field(default_factory=uuid4)
    notification_ids: list[UUID] = field(default_factory=list)
    is_stored: bool = False
    is_changed: bool = False
    decided_at: datetime | None = None  # when its first notification was


class DeliveryPlan:
    """The deliveries of a step; `waiting` are stored ones that may still take notifications."""

    def __init__(self, waiting: list[PlannedDelivery]) -> None:
        self.deliveries = list(waiting)
        self._growing: dict[int | None, list[PlannedDelivery]] = {}
        for each in waiting:
            self._growing.setdefault(each.route.endpoint_id, []).append(each)

    def add(self, notification: Notification, route: Route) -> None:
        """Put a notification into the message that it may join first, or into one of its own."""
        found = self._find(notification, route) if route.joins else None
        if found is None:
            kind = DIGEST if route.joins and route.group is None else notification.type
            found = PlannedDelivery(notification.user_id, route, kind, notification.priority, notification.expires_at)
            found.decided_at = notification.created_at
            self.deliveries.append(found)
            if route.joins:
                self._growing.setdefault(route.endpoint_id, []).append(found)
        else:
            found.priority = max(found.priority, notification.priority, key=PRIORITIES.index)
            found.expires_at = _later(found.expires_at, notification.expires_at)
        found.notification_ids.append(notification.id)
        found.is_changed = True

    def _find(self, notification: Notification, route: Route) -> PlannedDelivery | None:
        growing = self._growing.get(route.endpoint_id, ())
        fitting = (each for each in growing if _takes(each, notification, route))
        return min(fitting, key=lambda each: each.route.due, default=None)


def _takes(delivery: PlannedDelivery, notification: Notification, route: Route) -> bool:
    other = delivery.route
    if other.group != route.group or delivery.user_id != notification.user_id:
        return False
    return other.due == route.due if route.is_exact else other.due <= route.due


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    """A message that stands for both ends with the later of them; None never ends."""
    return None if one is None or other is None else max(one, other)
