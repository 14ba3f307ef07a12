"""Inboxes are written by other programs: what a read brings is small, however large their entries are."""

from collections.abc import Iterator
from typing import Any

import pytest

from harness import ServiceUrls
from patience import patient
from streamworkers.engine.redis.cut_message import size_of
from streamworkers.engine.redis.inbox import InboxEntry, Messages
from streamworkers.engine.redis.keys import DATA_LOAD_GROUP, DATA_LOAD_STREAM
from streamworkers.errors import RedisUnavailableError

LIMIT = 10_000
HUGE = 4 << 20
INBOX = (DATA_LOAD_STREAM, DATA_LOAD_GROUP)


@pytest.fixture
def messages(service_urls: ServiceUrls, key_prefix: str) -> Iterator[Messages]:
    """Messages of up to ten thousand bytes, in an inbox of their own."""
    opened = Messages(service_urls.redis, key_prefix, key_prefix, most_bytes=LIMIT)
    yield opened
    opened._client.delete(opened._keys.message_name(DATA_LOAD_STREAM))
    opened.close()


def _add(messages: Messages, *entries: dict[Any, Any]) -> None:
    for fields in entries:
        messages._client.xadd(messages._keys.message_name(DATA_LOAD_STREAM), fields)


def _sent_bytes(messages: Messages) -> int:
    """What Redis has sent to all clients so far."""
    stats: Any = messages._client.info("stats")
    return int(stats["total_net_output_bytes"])


def _seen(entries: list[InboxEntry]) -> list[tuple[int, bytes | None]]:
    read = [entry.message for entry in entries]
    return [(0, None) if message is None else (size_of(message), message[:3]) for message in read]


@pytest.mark.parametrize("which", ["new", "own", "reclaimed"])
def test_of_a_huge_entry_the_beginning_is_read_and_its_size_is_known(which: str, messages: Messages) -> None:
    huge = b"h" * HUGE
    _add(messages, {"message": b"one"}, {"message": huge}, {"other": huge}, {"message": b"two", "other": huge})
    if which != "new":  # one read of an ordinary client delivers all
        messages._client.xgroup_create(messages._keys.message_name(DATA_LOAD_STREAM), DATA_LOAD_GROUP, id="0")
        before = _sent_bytes(messages)
        messages._client.xreadgroup(DATA_LOAD_GROUP, "a", {messages._keys.message_name(DATA_LOAD_STREAM): ">"})
        assert _sent_bytes(messages) - before > 3 * HUGE, "or this test shows nothing"

    def read() -> list[InboxEntry]:
        if which == "reclaimed":
            return messages.reclaim_inbox(*INBOX, "b", 0, 50)
        return messages.read_inbox(*INBOX, "a", 50, own=which == "own")

    before = _sent_bytes(messages)
    first = read()
    assert _seen(first) == [(3, b"one"), (HUGE, b"hhh")], "a long one ends a read"
    assert len(first[1].message or b"") < LIMIT
    messages.finish_inbox(*INBOX, [entry.entry_id for entry in first])
    second = read()
    assert _seen(second) == [(0, None), (3, b"two")]
    messages.finish_inbox(*INBOX, [entry.entry_id for entry in second])
    assert read() == []
    assert _sent_bytes(messages) - before < HUGE / 4
    assert messages._client.xlen(messages._keys.message_name(DATA_LOAD_STREAM)) == 0


def test_a_read_ends_with_as_many_bytes_as_one_message_may_have(messages: Messages) -> None:
    _add(messages, *({"message": b"m" * 4000} for _ in range(5)))
    assert [len(messages.read_inbox(*INBOX, "a", 50)) for _ in range(3)] == [3, 2, 0]
    assert [len(messages.read_inbox(*INBOX, "a", count, own=True)) for count in (50, 2)] == [3, 2]
    assert messages.read_inbox(*INBOX, "a", 50, own=True)[0].message == b"m" * 4000


def test_an_entry_that_was_deleted_after_its_delivery_is_one_without_a_message(messages: Messages) -> None:
    _add(messages, {"message": b"gone"}, {"message": b"here"})
    gone, _ = messages.read_inbox(*INBOX, "a", 50)
    messages._client.xdel(messages._keys.message_name(DATA_LOAD_STREAM), gone.entry_id)
    assert _seen(messages.read_inbox(*INBOX, "a", 50, own=True)) == [(0, None), (4, b"her")]
    assert _seen(messages.reclaim_inbox(*INBOX, "b", 0, 50)) == [(4, b"her")]


def test_redis_sends_no_message_of_a_channel_that_is_too_large(messages: Messages) -> None:
    """By a limit of its own, 32 MB if nobody changes it; the subscriber then subscribes again."""
    limit = "client-output-buffer-limit"
    before: Any = messages._client.config_get(limit)
    assert "pubsub 33554432" in before[limit]
    messages._client.config_set(limit, "pubsub 1mb 1mb 60")
    try:
        subscription = messages.subscribe("in")
        sent = _sent_bytes(messages)
        messages.publish("in", "m" * HUGE)
        with pytest.raises(RedisUnavailableError, match="closed"):
            subscription.next_message(patient(5))
        assert _sent_bytes(messages) - sent < HUGE / 4
        subscription.close()
        subscription = messages.subscribe("in")
        messages.publish("in", "next")
        assert subscription.next_message(patient(10)) == b"next"
        subscription.close()
    finally:
        messages._client.config_set(limit, before[limit])
