"""A fleet makes no more calls to a service than it may, in any window of time, however many ask at once."""

import threading
import time

from streamworkers.engine.redis.streams import Streams

LIMIT, WINDOW_MS, LONGEST_MS = 5, 400, 10_000


def test_of_many_that_ask_at_once_as_many_get_a_call_as_there_are(streams: Streams) -> None:
    waits = [streams.rate_limiter.reserve("x", f"t{number}", LIMIT, WINDOW_MS, LONGEST_MS) for number in range(12)]
    assert waits[:LIMIT] == [0] * LIMIT
    # Nobody said that the first ones are over: they may end at once, so whoever waits asks again after a window.
    assert waits[LIMIT:] == [WINDOW_MS + 1] * 7


def test_the_window_of_a_call_begins_with_its_end(streams: Streams) -> None:
    window_ms, longest_ms = 60_000, 600_000
    for number in range(LIMIT):
        streams.rate_limiter.reserve("x", f"t{number}", LIMIT, window_ms, longest_ms)
    streams.rate_limiter.finish("x", "t0")
    wait = streams.rate_limiter.reserve("x", "next", LIMIT, window_ms, longest_ms)
    assert 0 < wait <= window_ms + 1
    # The end of a call that does not count any more changes nothing.
    streams.rate_limiter.finish("x", "stranger")
    assert streams.rate_limiter.reserve("x", "next", LIMIT, window_ms, longest_ms) > 0


def test_no_window_holds_more_calls_than_allowed(streams: Streams) -> None:
    made: list[float] = []
    lock = threading.Lock()
    began = time.monotonic()

    def ask(number: int) -> None:
        count = 0
        while time.monotonic() < began + 3.0 or len(made) <= 2 * LIMIT:
            token = f"{number}-{count}"
            wait_ms = streams.rate_limiter.reserve("x", token, LIMIT, WINDOW_MS, LONGEST_MS)
            if wait_ms:
                threading.Event().wait(min(wait_ms, 50) / 1000)
                continue
            with lock:
                made.append(time.monotonic())
            streams.rate_limiter.finish("x", token)
            count += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made.sort()
    assert len(made) > 2 * LIMIT
    gaps = [later - earlier for earlier, later in zip(made, made[LIMIT:], strict=False)]
    assert min(gaps) * 1000 >= WINDOW_MS


def test_a_window_is_not_shorter_by_the_part_of_a_millisecond_that_the_clock_cuts_off(streams: Streams) -> None:
    window_ms, gaps = 3, []
    assert streams.rate_limiter.reserve("x", "0", 1, window_ms, LONGEST_MS) == 0
    for number in range(200):
        over = time.monotonic()
        streams.rate_limiter.finish("x", str(number))
        while streams.rate_limiter.reserve("x", str(number + 1), 1, window_ms, LONGEST_MS):
            pass
        gaps.append(time.monotonic() - over)
    assert min(gaps) * 1000 >= window_ms


def test_how_many_calls_count_is_told_for_each_service(streams: Streams) -> None:
    assert streams.rate_limiter.count_calls() == {}
    for number in range(3):
        streams.rate_limiter.reserve("x", f"t{number}", LIMIT, WINDOW_MS, LONGEST_MS)
    streams.rate_limiter.reserve("y", "t", LIMIT, WINDOW_MS, LONGEST_MS)
    assert streams.rate_limiter.count_calls() == {"x": 3, "y": 1}


def test_services_have_limits_of_their_own(streams: Streams) -> None:
    for service in ("x", "y"):
        assert streams.rate_limiter.reserve(service, "t", 1, WINDOW_MS, LONGEST_MS) == 0
        assert streams.rate_limiter.reserve(service, "u", 1, WINDOW_MS, LONGEST_MS) > 0
