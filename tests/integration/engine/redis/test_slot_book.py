"""Slots: the earliest times that all limits allow, never more calls in a window than it may hold, few wasted."""

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import wait_until
from streamworkers.engine.redis.slot_book import LONGEST_GAP_SECONDS, SLACK, SlotBook, SlotRequest
from streamworkers.engine.redis.streams import Streams

AHEAD = 3.0
BUCKETS = ("bot", "chat", "host")


@pytest.fixture
def book(streams: Streams) -> SlotBook:
    """The book of the test's prefix."""
    return SlotBook(streams.client)


def _read_book(streams: Streams, bucket: str) -> dict[str, int]:
    rows: Any = streams.client.raw.zrange(streams.keys.slot_book(bucket), 0, -1, withscores=True)
    return {token.decode(): int(at) for token, at in rows}


def _windows_of(limit: tuple[str, int, float]) -> list[tuple[int, int]]:
    """The calls and the milliseconds of a limit in the book: its own, and the gap between two calls."""
    _, calls, seconds = limit
    window = (calls, math.ceil(seconds * 1000 * (1 + SLACK)) + 1)
    gap = (1, math.floor(min(seconds / calls / 4, LONGEST_GAP_SECONDS) * 1000))
    return [window, gap] if calls > 1 and gap[1] else [window]


def _allows(times: Sequence[int], at: int, calls: int, window: int) -> bool:
    """True if no window with `at` in it has more than `calls`: of one more, the ends are too far apart."""
    line = sorted([*times, at])
    spans = [line[place : place + calls + 1] for place in range(len(line) - calls)]
    return all(span[-1] - span[0] >= window for span in spans if span[0] <= at <= span[-1])


def _earliest(books: dict[str, list[int]], limits: Sequence[tuple[str, int, float]], now: int) -> int:
    at = now
    while not all(_allows(books[limit[0]], at, *window) for limit in limits for window in _windows_of(limit)):
        at += 1
    return at


LIMITS = st.lists(
    st.tuples(st.sampled_from(BUCKETS), st.integers(1, 4), st.sampled_from([0.005, 0.02, 0.06])),
    min_size=1,
    max_size=3,
    unique_by=lambda limit: limit[0],
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 15), LIMITS), min_size=1, max_size=20))
def test_each_slot_is_the_earliest_that_brute_force_finds(
    streams: Streams, book: SlotBook, asked: list[tuple[int, list[tuple[str, int, float]]]]
) -> None:
    streams.client.raw.flushdb()
    for number, limits in asked:
        token = f"t{number}"
        before = {bucket: _read_book(streams, bucket) for bucket in BUCKETS}
        (slot,) = book.book([SlotRequest(token, limits)], AHEAD)
        after = {bucket: _read_book(streams, bucket) for bucket in BUCKETS}
        (at,) = {after[bucket][token] for bucket, _, _ in limits}
        if {before[bucket].get(token) for bucket, _, _ in limits} == {at}:
            continue  # it kept its slot
        now = at - round(slot.seconds * 1000)
        others = {bucket: [time for name, time in before[bucket].items() if name != token] for bucket in BUCKETS}
        assert at == _earliest(others, limits, now)


def test_slots_fill_windows_to_at_least_95_percent(streams: Streams, book: SlotBook) -> None:
    requests = [SlotRequest(f"t{number}", [("bot", 30, 1.0), (f"chat:{number % 50}", 1, 1.0)]) for number in range(900)]
    slots = book.book(requests, 60.0)
    assert all(slot.is_booked for slot in slots)
    times = sorted(_read_book(streams, "bot").values())
    gaps = [later - earlier for earlier, later in zip(times, times[30:], strict=False)]
    assert min(gaps) >= 1000
    assert (times[-1] - times[0]) / 1000 <= 900 / 30 / 0.95
    by_chat = defaultdict(list)
    for number, slot in enumerate(slots):
        by_chat[number % 50].append(slot.seconds)
    assert all(later - earlier >= 1.0 for chat in by_chat.values() for earlier, later in pairwise(sorted(chat)))


def test_a_gap_that_one_chat_cannot_use_is_used_by_another(streams: Streams, book: SlotBook) -> None:
    limits = [("bot", 1, 0.1)]
    slots = book.book([SlotRequest(f"a{number}", [*limits, ("chat:a", 1, 1.0)]) for number in range(2)], AHEAD)
    assert slots[1].seconds > 1.0
    others = book.book([SlotRequest(f"b{number}", [*limits, (f"chat:{number}", 1, 1.0)]) for number in range(5)], AHEAD)
    assert all(other.seconds < slots[1].seconds for other in others)


def test_what_is_booked_keeps_its_slot_until_it_is_over_and_is_then_booked_again(
    streams: Streams, book: SlotBook
) -> None:
    requests = [SlotRequest(name, [("bot", 1, 0.2)]) for name in ("first", "second")]
    book.book(requests, AHEAD)
    before = _read_book(streams, "bot")
    book.book(requests[1:], AHEAD)
    assert _read_book(streams, "bot")["second"] == before["second"]
    # `first` is over by more than the slack of its window: as it was not used, it goes behind the second one.
    wait_until(lambda: book.book(requests[:1], AHEAD) and _read_book(streams, "bot")["first"] > before["first"])
    after = _read_book(streams, "bot")
    assert after.get("second", before["second"]) == before["second"]
    assert after["first"] - before["second"] >= 200


def test_what_is_too_far_ahead_is_not_booked_and_learns_when_to_ask(streams: Streams, book: SlotBook) -> None:
    requests = [SlotRequest(f"t{number}", [("user", 1, 60.0)]) for number in range(3)]
    slots = book.book(requests, 2.0)
    assert [slot.is_booked for slot in slots] == [True, False, False]
    assert all(60 < slot.seconds < 63 for slot in slots[1:])
    assert list(_read_book(streams, "user")) == ["t0"]


def test_a_plan_books_nothing(streams: Streams, book: SlotBook) -> None:
    requests = [SlotRequest(f"t{number}", [("bot", 2, 1.0)]) for number in range(5)]
    planned = book.plan(requests, 2.0)
    assert [slot.is_booked for slot in planned] == [True, True, True, True, False]
    assert streams.client.raw.keys(streams.keys.slot_book("*")) == []


def test_a_hold_moves_what_is_booked_and_is_never_shortened(streams: Streams, book: SlotBook) -> None:
    request = SlotRequest("t", [("bot", 1, 1.0), ("chat", 1, 1.0)])
    assert book.book([request], AHEAD)[0].seconds == 0
    book.hold("chat", 10_072.0)
    book.hold("chat", 5.0)
    (slot,) = book.book([request], AHEAD)
    assert not slot.is_booked
    assert 10_070 < slot.seconds <= 10_072
    assert _read_book(streams, "bot") == {}
    assert book.book([SlotRequest("u", [("bot", 1, 1.0)])], AHEAD)[0].seconds == 0


def test_a_call_that_took_long_counts_from_its_end(streams: Streams, book: SlotBook) -> None:
    request = SlotRequest("t", [("bot", 1, 0.2)])
    book.book([request], AHEAD)
    began = _read_book(streams, "bot")["t"]

    def has_moved() -> bool:
        book.move(request)
        return _read_book(streams, "bot")["t"] > began

    wait_until(has_moved)
    (slot,) = book.book([SlotRequest("next", [("bot", 1, 0.2)])], AHEAD)
    assert slot.is_booked
    book_now = _read_book(streams, "bot")
    assert book_now["next"] - book_now["t"] >= 200


@pytest.fixture
def patient_book(streams: Streams) -> SlotBook:
    """One whose calls may be under way for as long as a slow machine needs."""
    return SlotBook(streams.client, 3600.0)


def _begin(book: SlotBook, request: SlotRequest) -> None:
    """Wait for a slot, and let the call begin."""
    book.book([request], AHEAD)
    wait_until(lambda: book.begin(request, AHEAD).seconds == 0)


def test_a_booked_slot_waits_for_a_call_before_it_that_ends_late(streams: Streams, patient_book: SlotBook) -> None:
    """Its slot was booked a window after that of the other, which arrives at its end, as far as anybody knows."""
    book = patient_book
    first, second = (SlotRequest(name, [("chat", 1, 0.3), ("bot", 30, 1.0)]) for name in ("first", "second"))
    _begin(book, first)
    book.book([second], AHEAD)
    slot = _read_book(streams, "chat")["second"]
    wait_until(lambda: _redis_ms(streams) > slot + 50, what="the slot of the second has come")
    assert book.begin(second, AHEAD).seconds > 0, "while the first is under way"
    before = _redis_ms(streams)
    book.move(first)
    wait_until(lambda: book.begin(second, AHEAD).seconds == 0)
    assert _redis_ms(streams) - before >= 300, "and for a window after its end"


def test_a_slot_that_was_booked_before_the_other_call_ended_moves(streams: Streams, book: SlotBook) -> None:
    first, second = (SlotRequest(name, [("chat", 1, 0.5)]) for name in ("first", "second"))
    _begin(book, first)
    book.book([second], AHEAD)
    began = _read_book(streams, "chat")["first"]
    wait_until(lambda: _redis_ms(streams) > began + 250, what="the first takes long, and ends before the second's slot")
    ended = _redis_ms(streams)
    book.move(first)
    wait_until(lambda: book.begin(second, AHEAD).seconds == 0)
    assert _redis_ms(streams) - ended >= 500


def test_a_late_call_begins_at_once_and_the_one_behind_it_moves(streams: Streams, book: SlotBook) -> None:
    """Else its place in the window would be lost. The window is so long that no slow machine gets to its end."""
    first, second = requests = [SlotRequest(name, [("bot", 1, 3600.0)]) for name in ("first", "second")]
    book.book(requests, 10_000.0)
    key = streams.keys.slot_book("bot")
    streams.client.raw.zadd(key, {"first": _redis_ms(streams) - 300_000})
    assert book.begin(first, AHEAD).seconds == 0
    streams.client.raw.zadd(key, {"second": _redis_ms(streams)})
    assert book.begin(second, 10_000.0).seconds > 3000
    book.hold("bot", 7200.0)
    streams.client.raw.zadd(key, {"first": _redis_ms(streams) - 300_000})
    assert not book.begin(first, AHEAD).is_booked, "a hold is kept also by who is late"


def test_calls_under_way_hold_up_others_only_where_a_limit_is_full_and_no_longer_than_some_seconds(
    streams: Streams, book: SlotBook, patient_book: SlotBook
) -> None:
    limits = [("bot", 2, 0.1)]
    requests = [SlotRequest(f"t{number}", limits) for number in range(4)]
    _begin(patient_book, requests[0])
    wait_until(lambda: patient_book.begin(requests[1], AHEAD).seconds == 0)
    patient_book.move(requests[1])
    _begin(patient_book, requests[2])
    assert patient_book.begin(requests[3], AHEAD).seconds > 0
    patient_book.release(requests[2])
    wait_until(lambda: patient_book.begin(requests[3], AHEAD).seconds == 0)
    # Of a dead process nobody reports the end.
    late = {f">{token}": _redis_ms(streams) - 5000 for token in ("t0", "t3")}
    streams.client.raw.zadd(streams.keys.slot_book("bot"), late)
    wait_until(lambda: book.begin(SlotRequest("t4", limits), AHEAD).seconds == 0)


def _redis_ms(streams: Streams) -> int:
    seconds, micros = streams.client.raw.time()
    return int(seconds * 1000 + micros // 1000)


def test_a_lost_redis_has_an_empty_book_and_what_was_booked_is_booked_again(streams: Streams, book: SlotBook) -> None:
    requests = [SlotRequest(f"t{number}", [("bot", 1, 1.0)]) for number in range(2)]
    book.book(requests, AHEAD)
    streams.client.raw.flushdb()
    assert [slot.seconds for slot in book.book(requests[1:], AHEAD)] == [0.0]


def test_a_call_without_limits_is_made_at_once_and_keys_expire(streams: Streams, book: SlotBook) -> None:
    assert [slot.seconds for slot in book.book([SlotRequest("t", [])], AHEAD)] == [0.0]
    book.book([SlotRequest("t", [("bot", 5, 1.0)])], AHEAD)
    book.hold("bot", 1.0)
    book.move(SlotRequest("t", []))
    keys = [streams.keys.slot_book("bot"), streams.keys.slot_hold("bot")]
    assert all(0 < streams.client.raw.pttl(key) <= 2100 for key in keys)
