"""The message of the replaced system that asks for a notification: what it may say, and what it may not."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from scheduler.message import RejectedError, parse_object
from scheduler.notification_request import NotificationRequest, parse_request

NOW = datetime(2026, 1, 5, 21, tzinfo=UTC)


def parse(content_key: str = "abc:1", **fields: Any) -> NotificationRequest:
    least = {"user_id": "ana", "message": "AAPL fell"}
    return parse_request(parse_object(json.dumps(least | fields).encode()), content_key, NOW)


def test_the_least_and_the_most_that_it_says() -> None:
    found = parse().notification
    assert (found.user_id, found.type, found.priority) == ("ana", "message", "normal")
    assert (found.data, found.created_at) == ({"text": "AAPL fell"}, NOW)
    most = parse(priority="urgent", notification_type="system_alert", message_id="m/1", source="x", timestamp=1)
    assert (most.notification.type, most.notification.priority) == ("system_alert", "urgent")
    assert (most.notification.dedup_key, most.has_id) == ("message:m/1", True)


def test_a_user_may_be_a_whole_number() -> None:
    assert parse(user_id=42).notification.user_id == "42"


def test_an_id_makes_the_id_of_the_notification_for_its_user() -> None:
    one = parse(message_id="m").notification.id
    assert one == parse(message_id="m", message="other").notification.id
    assert one != parse(message_id="m", user_id="bob").notification.id


def test_without_an_id_the_key_of_its_content_takes_its_place() -> None:
    first, other = parse(content_key="abc:1"), parse(content_key="abc:2")
    assert (first.notification.dedup_key, first.has_id) == ("message:content:abc:1", False)
    assert first.notification.id != other.notification.id


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"user_id": None}, "user_id None is not a text of 1 to 200 characters"),
        ({"user_id": True}, "user_id True is not a text of 1 to 200 characters"),
        ({"user_id": 1.5}, "user_id 1.5 is not a text of 1 to 200 characters"),
        ({"message": None}, "message None is not a text of 1 to 10,000 characters"),
        ({"message": " "}, "message ' ' is not a text of 1 to 10,000 characters"),
        ({"message": 7}, "message 7 is not a text of 1 to 10,000 characters"),
        ({"message": "x" * 10_001}, "message 'xxx"),
        (
            {"message": "x" * 70_000},
            "message of 70,012 bytes of JSON exceeds STREAMWORKERS_NOTIFICATION_MAX_BYTES=65536",
        ),
        ({"message": "a\0b"}, "message has the text 'a\\x00b', in which a character cannot be stored"),
        ({"priority": "critical"}, "priority 'critical' is none of low, normal, high, urgent"),
        (
            {"notification_type": "Big"},
            "notification_type 'Big' is not a name of 1 to 64 small letters, digits and _, a letter first",
        ),
        ({"notification_type": "endpoint_code"}, "notification_type 'endpoint_code' is no notification"),
        ({"message_id": "a b"}, "message_id 'a b' is not 1 to 100 letters, digits or _.:@/-"),
        ({"title": 1}, "the message has 'title', which is none of user_id, message, priority, notification_type,"),
    ],
)
def test_what_breaks_a_rule_is_rejected_by_its_name(fields: dict[str, Any], detail: str) -> None:
    with pytest.raises(RejectedError) as caught:
        parse(**fields)
    assert caught.value.reason == "bad_field"
    assert str(caught.value).startswith(detail)


@pytest.mark.parametrize(
    ("raw", "reason"), [(b"{", "not_json"), (b"[]", "not_an_object"), (b" " * 1_048_577, "too_large")]
)
def test_what_is_no_object_is_rejected(raw: bytes, reason: str) -> None:
    with pytest.raises(RejectedError) as caught:
        parse_object(raw)
    assert caught.value.reason == reason
