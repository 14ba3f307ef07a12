"""An event becomes a notification, or an error that names the value and the rule."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

import streamworkers
from streamworkers.engine.redis.keys import NOTIFY_CHANNEL
from streamworkers.errors import BadInputError
from streamworkers.notifications.notification import parse_notification
from streamworkers.notifications.notify import notification_event

ID, NOW = UUID(int=7), datetime(2026, 1, 5, 21, tzinfo=UTC)
LEAST: dict[str, Any] = {"user_id": "local", "type": "message", "dedup_key": "a"}


def nested(depth: int) -> dict[str, Any]:
    """Objects within objects."""
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def test_what_is_left_out_has_a_default() -> None:
    found = parse_notification(ID, LEAST, NOW)
    assert (found.id, found.created_at, found.priority, found.group_key) == (ID, NOW, "normal", None)
    assert (found.data, found.expires_at, found.channels, found.is_live) == ({}, None, (), True)


def test_all_of_an_event_is_kept() -> None:
    data = {"text": "AAPL fell", "channels": ["telegram"], "live": False, "symbol": "AAPL"}
    event = {"priority": "urgent", "group_key": "desk", "data": data, "expires_at": "2026-01-06T09:30:00-05:00"}
    found = parse_notification(ID, LEAST | event, NOW)
    assert (found.priority, found.group_key, found.data) == ("urgent", "desk", data)
    assert (found.channels, found.is_live) == (("telegram",), False)
    assert found.expires_at == datetime(2026, 1, 6, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ([1], "the event is [1], not an object"),
        (LEAST | {"priorty": "high"}, "the event has 'priorty', which is none of user_id, type, dedup_key, priority"),
        ({"type": "message", "dedup_key": "a"}, "user_id None is not a text of 1 to 200 characters"),
        (LEAST | {"user_id": 7}, "user_id 7 is not a text"),
        (LEAST | {"user_id": " "}, "user_id ' ' is not a text"),
        (LEAST | {"dedup_key": "k" * 501}, "is not a text of 1 to 500 characters"),
        (LEAST | {"dedup_key": "a\0b"}, "dedup_key has the text 'a\\x00b', in which a character cannot be stored"),
        (LEAST | {"type": "Run failed"}, "type 'Run failed' is not a name of 1 to 64 small letters"),
        (LEAST | {"type": "endpoint_code"}, "type 'endpoint_code' is no notification: a code is sent when it is asked"),
        (LEAST | {"priority": "highest"}, "priority 'highest' is none of low, normal, high, urgent"),
        (LEAST | {"priority": ["high"]}, "priority ['high'] is none of"),
        (LEAST | {"group_key": ""}, "group_key '' is not a text"),
        (LEAST | {"expires_at": "2026-01-05T21:00:00"}, "expires_at '2026-01-05T21:00:00' is not a time with a zone"),
        (LEAST | {"expires_at": "tomorrow"}, "expires_at 'tomorrow' is not a time with a zone"),
        (LEAST | {"expires_at": 5}, "expires_at 5 is not a time with a zone"),
        (LEAST | {"data": [1]}, "data [1] is not an object"),
        (LEAST | {"data": {"x": float("nan")}}, "is no JSON: Out of range float values"),
        (LEAST | {"data": {"x": object()}}, "is no JSON: Object of type object"),
        (LEAST | {"data": nested(33)}, "the depth of data exceeds STREAMWORKERS_NOTIFICATION_MAX_DEPTH=32"),
        (LEAST | {"data": nested(5000)}, "the depth of data exceeds STREAMWORKERS_NOTIFICATION_MAX_DEPTH=32"),
        (
            LEAST | {"data": {"x": "y" * 65_536}},
            "data of 65,545 bytes of JSON exceeds STREAMWORKERS_NOTIFICATION_MAX_BYTES=65536",
        ),
        (LEAST | {"data": {"text": 5}}, "text 5 is not a text of 1 to 10,000 characters"),
        (LEAST | {"data": {"text": "x" * 10_001}}, "is not a text of 1 to 10,000 characters"),
        (LEAST | {"data": {"title": ""}}, "title '' is not a text of 1 to 200 characters"),
        (LEAST | {"data": {"link": ["x"]}}, "link ['x'] is not a text of 1 to 2,000 characters"),
        (
            LEAST | {"data": {"channels": "telegram"}},
            "channels 'telegram' in data is not a list of at most 20 channels",
        ),
        (LEAST | {"data": {"channels": ["a"] * 21}}, "in data is not a list of at most 20 channels"),
        (LEAST | {"data": {"channels": [""]}}, "channel '' in data is not a text of 1 to 100 characters"),
        (LEAST | {"data": {"channels": [7]}}, "channel 7 in data is not a text of 1 to 100 characters"),
        (LEAST | {"data": {"live": "no"}}, "live 'no' in data is not true or false"),
        (LEAST | {"data": {"a": [{"b": "\ud800"}]}}, "in which a character cannot be stored"),
        (LEAST | {"data": {"a\0": 1}}, "in which a character cannot be stored"),
    ],
)
def test_a_wrong_event_is_named_with_its_rule(payload: object, message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        parse_notification(ID, payload, NOW)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(("setting", "most"), [("MAX_BYTES", 1024), ("MAX_DEPTH", 2)])
def test_how_large_data_may_be_is_a_setting(setting: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    payload = LEAST | {"data": {"x": ["y" * 1100, [1]]}}
    assert parse_notification(ID, payload, NOW).data == payload["data"]
    monkeypatch.setenv(f"STREAMWORKERS_NOTIFICATION_{setting}", str(most))
    with pytest.raises(BadInputError, match=f"exceeds STREAMWORKERS_NOTIFICATION_{setting}={most}"):
        parse_notification(ID, payload, NOW)


def test_an_alert_may_name_a_channel_that_does_not_exist() -> None:
    """Its notification is made, and routing says that there is no endpoint."""
    assert parse_notification(ID, LEAST | {"data": {"channels": ["E-Mail"]}}, NOW).channels == ("E-Mail",)


def test_an_event_is_written_as_it_is_parsed() -> None:
    expires = datetime(2026, 1, 6, tzinfo=UTC)
    event = notification_event("ana", "run_failed", "k", {"text": "x"}, priority="high", group="g", expires_at=expires)
    assert event.channel == NOTIFY_CHANNEL
    found = parse_notification(ID, event.payload, NOW)
    assert (found.user_id, found.type, found.dedup_key, found.priority) == ("ana", "run_failed", "k", "high")
    assert (found.group_key, found.data, found.expires_at) == ("g", {"text": "x"}, expires)


def test_a_wrong_event_is_not_written() -> None:
    with pytest.raises(BadInputError, match="dedup_key '' is not a text"):
        notification_event("ana", "message", "", {})
    with pytest.raises(BadInputError, match=r"expires_at 2026-01-05T00:00:00 has no time zone"):
        notification_event("ana", "message", "k", {}, expires_at=datetime(2026, 1, 5))  # noqa: DTZ001


def test_notify_is_part_of_the_stable_names() -> None:
    assert streamworkers.notify.__name__ == "notify"
