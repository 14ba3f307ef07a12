"""A program floods the streams of messages: each keeps its newest messages, within its memory."""

from collections.abc import Iterator
from typing import Any

import pytest

from scheduler.inbox_guard import InboxGuard
from scheduler.message_inbox import DATA_LOADS, NOTIFICATIONS
from scheduler.metrics import SchedulerMetrics
from streamworkers.config import Settings
from streamworkers.engine.redis.inbox import Messages
from streamworkers.engine.redis.keys import Keys
from streamworkers.engine.redis.streams import Streams

_MOST_BYTES = 100_000
_FLOODS = {"many": [(2000, 200)], "large": [(2, 300_000)], "large behind many": [(500, 200), (3, 40_000)]}


@pytest.fixture
def own_keys(settings: Settings, streams: Streams) -> Iterator[Keys]:
    """Streams of messages that no other test has, and that go with the test."""
    found = Keys(settings.key_prefix, f"{settings.key_prefix}-messages")
    yield found
    streams.client.raw.delete(*(found.message_name(inbox.stream) for inbox in (DATA_LOADS, NOTIFICATIONS)))


@pytest.fixture
def messages(settings: Settings, own_keys: Keys) -> Iterator[Messages]:
    assert settings.redis_url is not None
    found = Messages(settings.redis_url.get_secret_value(), own_keys.prefix, own_keys.message_prefix)
    yield found
    found.close()


@pytest.mark.parametrize("flood", _FLOODS.values(), ids=_FLOODS)
def test_a_stream_that_is_too_large_keeps_its_newest_messages(
    messages: Messages, streams: Streams, own_keys: Keys, flood: list[tuple[int, int]]
) -> None:
    raw: Any = streams.client.raw
    flooded, other = (own_keys.message_name(inbox.stream) for inbox in (DATA_LOADS, NOTIFICATIONS))
    pipe: Any = raw.pipeline(transaction=False)
    sizes = [size for count, size in flood for _ in range(count)]
    for number, size in enumerate(sizes):
        pipe.xadd(flooded, {"message": f"{number} ".ljust(size)})
    pipe.xadd(other, {"message": "quiet"})
    pipe.execute()
    metrics = SchedulerMetrics()
    guards = [InboxGuard(messages, metrics, inbox, _MOST_BYTES) for inbox in (DATA_LOADS, NOTIFICATIONS)]
    for guard in guards:
        guard.stop()  # a turn is one look, without the pause behind it
        guard.turn()
    left = [int(fields[b"message"].split()[0]) for _, fields in raw.xrange(flooded)]
    assert left == list(range(len(sizes) - len(left), len(sizes)))
    assert raw.memory_usage(flooded, samples=0) <= _MOST_BYTES
    if max(sizes) < _MOST_BYTES:
        assert left != []
    labels = {"outcome": "rejected", "reason": "inbox_full"}
    counted = metrics.registry.get_sample_value("streamworkers_messages_total", {"source": "stream", **labels})
    assert counted == len(sizes) - len(left)
    guards[0].turn()
    assert (raw.xlen(flooded), raw.xlen(other)) == (len(left), 1)
