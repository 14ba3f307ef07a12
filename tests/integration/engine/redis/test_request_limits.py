"""A limit on requests is kept in Redis for all who ask, by the same arithmetic as in this process."""

import pytest

from harness import ServiceUrls
from streamworkers.engine.redis.client import RedisClient
from streamworkers.engine.redis.request_limits import WINDOW_US, Allowance, RequestLimiter, take_request
from streamworkers.engine.redis.streams import Streams

MINUTE = 60.0


def _key(streams: Streams, name: str = "x") -> str:
    return streams.keys.request_limit(name)


def test_a_limit_is_one_for_all_who_ask(streams: Streams, service_urls: ServiceUrls) -> None:
    first = RequestLimiter(streams.client)
    client = RedisClient(service_urls.redis, streams.keys.prefix)
    try:
        second = RequestLimiter(client)
        answers = [limiter.take("x", 2) for limiter in (first, second, first, second)]
    finally:
        client.close()
    assert [answer.is_allowed for answer in answers] == [True, True, False, False]
    assert [answer.left for answer in answers] == [1, 0, 0, 0]
    assert all(0 < answer.next_seconds <= MINUTE / 2 for answer in answers[1:])
    assert all(0 < answer.whole_seconds <= MINUTE for answer in answers)
    assert first.take("y", 2).left == 1
    assert 0 < streams.client.raw.pttl(_key(streams)) <= MINUTE * 1000


@pytest.mark.parametrize(("kept", "left"), [("9" * 16, 0), ("no number", 1), ("1", 1)])
def test_a_clock_that_is_set_back_and_foreign_bytes_hold_nobody_up_for_long(
    streams: Streams, kept: str, left: int
) -> None:
    streams.client.raw.set(_key(streams), kept, px=60_000)
    allowance = RequestLimiter(streams.client).take("x", 2)
    assert allowance.left == left
    assert allowance.next_seconds <= MINUTE / 2


@pytest.mark.parametrize("limit", [1, 7, 20, 6_000, 999_999])
def test_the_script_and_the_process_decide_alike(streams: Streams, limit: int) -> None:
    each = WINDOW_US // limit
    for used in (0, 1, limit // 2, limit - 1, limit, 3 * limit):
        clock = streams.client.raw.time()
        now = clock[0] * 1_000_000 + clock[1]
        streams.client.raw.set(_key(streams), now + used * each, px=60_000)
        answer = RequestLimiter(streams.client).take("x", limit)
        clock = streams.client.raw.time()
        later = clock[0] * 1_000_000 + clock[1]
        expected = [take_request(now + used * each, moment, limit)[1] for moment in (now, later)]
        assert expected[0].is_allowed <= answer.is_allowed <= expected[1].is_allowed
        assert expected[0].left <= answer.left <= max(expected[1].left, expected[0].left + (later - now) // each + 1)
        for place in (2, 3):
            values = sorted(float(allowance[place]) for allowance in expected)
            assert answer[place] <= max(values[1], values[0] + each / 1e6)


def test_a_limit_comes_back_one_by_one() -> None:
    full_at, now = 0, 1_000_000_000
    for left in (2, 1, 0):
        full_at, allowance = take_request(full_at, now, 3)
        assert allowance == Allowance(True, left, (3 - left) * 20.0, 0.0 if left else 20.0)
    assert take_request(full_at, now, 3) == (full_at, Allowance(False, 0, 60.0, 20.0))
    assert take_request(full_at, now + 19_999_999, 3)[1].is_allowed is False
    assert take_request(full_at, now + 20_000_000, 3)[1] == Allowance(True, 0, 60.0, 20.0)
    assert take_request(full_at, now + WINDOW_US, 3)[1].left == 2
