"""Each notification goes to each endpoint that it is for, now or in a digest, or has a reason for none."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamworkers.notifications.notification import Notification
from streamworkers.notifications.notification_types import PRIORITIES
from streamworkers.notifications.plan import DIGEST, DeliveryPlan
from streamworkers.notifications.preferences import MODES, Preference, QuietHours
from streamworkers.notifications.routing import (
    GROUP_WAIT,
    Earlier,
    Recipient,
    Route,
    RoutingLimits,
    choose_preference,
    route,
)
from streamworkers.notifications.wall_time import is_quiet

NOW = datetime(2026, 1, 5, 21, tzinfo=UTC)  # 16:00 in New York
LIMITS = RoutingLimits(50, timedelta(minutes=5), timedelta(minutes=60))
NIGHT = QuietHours(time(15), time(18), "America/New_York")


class Place(NamedTuple):
    """An endpoint."""

    id: int
    channel: str
    is_usable: bool = True


PHONE, MAIL = Place(1, "telegram"), Place(2, "mail")


def note(**members: Any) -> Notification:
    """A notification of now."""
    base = Notification(uuid4(), "local", "alert_fired", "k", "normal", None, {}, NOW)
    return replace(base, **members)


def only(notification: Notification, recipient: Recipient, earlier: Earlier | None = None) -> Route:
    """The one route of a notification."""
    (found,) = route(notification, recipient, earlier or Earlier(), NOW, LIMITS)
    return found


def wish(mode: Any = "digest", type_name: str = "*", channel: str = "*", **members: Any) -> Preference:
    return Preference(type_name, channel, mode, **members)


def test_without_a_wish_it_goes_out_at_once_to_every_endpoint() -> None:
    found = route(note(), Recipient([PHONE, MAIL]), Earlier(), NOW, LIMITS)
    assert found == [Route(1, "telegram", NOW), Route(2, "mail", NOW)]


@pytest.mark.parametrize(
    ("endpoints", "data", "reason"),
    [
        ([], {}, "no endpoint"),
        ([PHONE], {"channels": ["mail", "slack"]}, "no endpoint on mail, slack"),
        ([Place(1, "mail", is_usable=False)], {}, "no endpoint that is verified and on"),
        ([Place(1, "mail", is_usable=False), PHONE], {"channels": ["mail"]}, "no endpoint that is verified and on"),
    ],
)
def test_nothing_is_skipped_in_silence(endpoints: list[Place], data: dict[str, Any], reason: str) -> None:
    assert only(note(data=data), Recipient(endpoints)) == Route(None, "", NOW, reason)


def test_an_alert_may_name_its_channels() -> None:
    assert only(note(data={"channels": ["mail"]}), Recipient([PHONE, MAIL])).channel == "mail"


@pytest.mark.parametrize(
    ("wishes", "mode"),
    [
        ([], "instant"),
        ([wish("off")], "off"),
        ([wish("off"), wish("digest", channel="mail")], "digest"),
        ([wish("off", channel="mail"), wish("digest", "alert_fired")], "digest"),
        ([wish("off", "alert_fired"), wish("digest", "alert_fired", "mail"), wish("off", channel="mail")], "digest"),
        ([wish("off", "run_failed", "mail"), wish("off", "alert_fired", "telegram")], "instant"),
    ],
)
def test_the_nearest_preference_counts(wishes: list[Preference], mode: str) -> None:
    assert choose_preference(wishes, "alert_fired", "mail").mode == mode


def test_off_and_expired_ones_have_their_reasons() -> None:
    disabled = only(note(priority="urgent"), Recipient([MAIL], is_disabled=True))
    assert disabled == Route(None, "", NOW, "the user is disabled")
    off = only(note(priority="urgent"), Recipient([MAIL], [wish("off", channel="mail")]))
    assert off.suppressed == "off by preference for * on mail"
    assert only(note(expires_at=NOW), Recipient([MAIL])).suppressed == "it had expired before it was routed"
    assert only(note(expires_at=NOW + timedelta(seconds=1)), Recipient([MAIL])).suppressed is None


@pytest.mark.parametrize(
    ("preference", "due", "is_exact"),
    [
        (wish(), NOW + timedelta(minutes=60), False),
        (wish(digest_minutes=15), NOW + timedelta(minutes=15), False),
        (wish(digest_at=time(18), zone="America/New_York"), NOW + timedelta(hours=2), True),
    ],
)
def test_a_digest_comes_when_it_was_asked_for(preference: Preference, due: datetime, is_exact: bool) -> None:
    found = only(note(group_key="g"), Recipient([MAIL], [preference]))
    assert found == Route(2, "mail", due, joins=True, is_exact=is_exact)


def test_quiet_hours_hold_until_their_end_what_is_not_urgent() -> None:
    end = NOW + timedelta(hours=2)
    held = Route(2, "mail", end, joins=True, is_exact=True)
    assert only(note(), Recipient([MAIL], quiet=NIGHT)) == held
    assert only(note(group_key="g"), Recipient([MAIL], quiet=NIGHT)) == held
    assert only(note(), Recipient([MAIL], [wish()], NIGHT)) == held
    later = only(note(), Recipient([MAIL], [wish(digest_minutes=180)], NIGHT))
    assert later.due == NOW + timedelta(hours=3)
    assert only(note(priority="urgent"), Recipient([MAIL], [wish()], NIGHT)) == Route(2, "mail", NOW)


def test_what_is_late_never_goes_out_as_live() -> None:
    """Nor if it is urgent."""
    found = only(note(priority="urgent", data={"live": False}), Recipient([MAIL]))
    assert found == Route(2, "mail", NOW + timedelta(minutes=60), joins=True)
    assert only(note(priority="urgent", data={"live": False}), Recipient([MAIL], quiet=NIGHT)).due > found.due


def test_a_storm_ends_in_one_digest_at_the_end_of_its_window() -> None:
    first = NOW - timedelta(minutes=2)
    assert only(note(), Recipient([MAIL]), Earlier(49, first)) == Route(2, "mail", NOW)
    crossing = only(note(), Recipient([MAIL]), Earlier(50, first))
    assert crossing == Route(2, "mail", NOW + timedelta(minutes=3), joins=True)
    assert only(note(), Recipient([MAIL]), Earlier(51, first)).due == NOW + timedelta(minutes=5)
    assert only(note(priority="urgent"), Recipient([MAIL]), Earlier(50, first)).joins


def test_a_group_waits_for_its_others() -> None:
    assert only(note(group_key="desk"), Recipient([MAIL])) == Route(
        2, "mail", NOW + GROUP_WAIT, joins=True, group="desk"
    )


def test_messages_grow_by_what_may_join_them() -> None:
    """Groups stay among themselves; a digest that comes earlier takes what may wait longer, but not what waits for
    its moment."""
    plan = DeliveryPlan([])
    at = NOW + timedelta(minutes=30)
    for key, found in [
        ("a", Route(2, "mail", at, joins=True)),
        ("b", Route(2, "mail", at + timedelta(minutes=1), joins=True)),
        ("c", Route(2, "mail", at - timedelta(minutes=1), joins=True)),
        ("d", Route(2, "mail", at + timedelta(hours=1), joins=True, is_exact=True)),
        ("e", Route(1, "telegram", at, joins=True)),
        ("f", Route(2, "mail", at, joins=True, group="g")),
        ("g", Route(2, "mail", at, joins=True, group="g")),
        ("h", Route(2, "mail", NOW)),
    ]:
        priority = "high" if key == "b" else "normal"
        plan.add(note(dedup_key=key, priority=priority, expires_at=at if key == "a" else None), found)
    sizes = [(len(each.notification_ids), each.type, each.priority) for each in plan.deliveries]
    assert sizes == [
        *((2, DIGEST, "high"), (1, DIGEST, "normal"), (1, DIGEST, "normal"), (1, DIGEST, "normal")),
        *((2, "alert_fired", "normal"), (1, "alert_fired", "normal")),
    ]
    assert plan.deliveries[0].expires_at is None


def test_fifty_seven_alerts_are_one_message() -> None:
    plan = DeliveryPlan([])
    for _ in range(57):
        each = note()
        for found in route(each, Recipient([MAIL], [wish()]), Earlier(), NOW, LIMITS):
            plan.add(each, found)
    assert [len(each.notification_ids) for each in plan.deliveries] == [57]


preferences = st.builds(
    Preference, st.sampled_from(["*", "alert_fired", "run_failed"]), st.sampled_from(["*", "mail"]),
    st.sampled_from(MODES), st.none() | st.integers(1, 10_080),
)  # fmt: skip
notes = st.builds(
    note,
    priority=st.sampled_from(PRIORITIES),
    group_key=st.sampled_from([None, "g"]),
    data=st.sampled_from([{}, {"live": False}, {"channels": ["mail"]}, {"channels": ["slack"]}]),
    expires_at=st.sampled_from([None, NOW - timedelta(1), NOW + timedelta(1)]),
)


@given(
    notes,
    st.lists(st.builds(Place, st.integers(1, 9), st.sampled_from(["mail", "telegram"]), st.booleans()), max_size=4),
    st.lists(preferences, max_size=4),
    st.sampled_from([None, NIGHT, QuietHours(time(22), time(7), "Australia/Lord_Howe")]),
    st.integers(0, 60),
)
def test_whatever_is_wished_the_promises_hold(
    notification: Notification, endpoints: list[Place], wishes: list[Preference], quiet: QuietHours | None, count: int
) -> None:
    recipient, earlier = Recipient(endpoints, wishes, quiet), Earlier(count, NOW - timedelta(minutes=1))
    found = route(notification, recipient, earlier, NOW, LIMITS)
    wanted = [each for each in endpoints if each.is_usable]
    if notification.channels:
        wanted = [each for each in wanted if each.channel in notification.channels]
    ids: list[int | None] = [each.id for each in wanted]
    assert [each.endpoint_id for each in found] == (ids or [None])
    for each in found:
        assert each.due >= NOW
        if each.suppressed is not None:
            assert not each.joins
            continue
        mode = choose_preference(wishes, notification.type, each.channel).mode
        is_urgent = notification.priority == "urgent" and notification.is_live
        assert mode != "off"
        assert is_urgent or quiet is None or not is_quiet(quiet, each.due)
        assert each.joins or (notification.is_live and (is_urgent or mode == "instant") and each.due == NOW)
        assert each.joins or (count < LIMITS.storm_count and notification.group_key is None)
        if is_urgent and count < LIMITS.storm_count:
            assert each.due <= NOW + GROUP_WAIT
