"""Those who wait for calls of one rate limit get them in turn, by their shares, and nobody waits for ever.

Time passes by moving what Redis holds into the past, so that no test waits or depends on how fast it runs.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from streamworkers.engine.redis.rate_limiter import CLAIM_HOLDS_MS, Share
from streamworkers.engine.redis.streams import Streams

LIMIT, WINDOW_MS, LONGEST_MS = 5, 60_000, 600_000
SWEEP, ANNA, BEN = Share("sweep", 10), Share("anna"), Share("ben")
ONE = Share()


def _ask(streams: Streams, share: Share, token: str) -> int:
    wait = streams.rate_limiter.reserve("x", token, LIMIT, WINDOW_MS, LONGEST_MS, share=share)
    if not wait:
        streams.rate_limiter.finish("x", token)
    return wait


def _pass_time(streams: Streams, milliseconds: int) -> None:
    for key in (streams.keys.rate_limit("x"), streams.keys.rate_claims("x")):
        members: Any = streams.client.raw.zrange(key, 0, -1)
        for member in members:
            streams.client.raw.zincrby(key, -milliseconds, member)


def _share_out(streams: Streams, askers: Sequence[tuple[str, Share]], windows: int) -> list[str]:
    """Let each ask for more calls than there are, window after window; returns who got one, in order."""
    got: list[str] = []
    for window in range(windows):
        for name, share in askers:
            tokens = [f"{name}-{window}-{number}" for number in range(2 * LIMIT)]
            got += [name for token in tokens if not _ask(streams, share, token)]
        _pass_time(streams, WINDOW_MS + 100)
    return got


def test_calls_are_shared_by_weight_and_who_asks_first_gets_no_more(streams: Streams) -> None:
    got = _share_out(streams, [("sweep", SWEEP), ("anna", ANNA), ("ben", BEN)], 22)
    assert len(got) == 22 * LIMIT  # no call is lost
    # The sweep, which is alone when it asks first, has what is free then. After that it gets one call of 21.
    counts = Counter(got[LIMIT:])
    assert 4 <= counts["sweep"] <= 7
    assert abs(counts["anna"] - counts["ben"]) <= 1


def test_who_waits_is_told_which_others_of_its_cost_wait(streams: Streams) -> None:
    assert not any(_ask(streams, ONE, f"t{number}") for number in range(LIMIT))
    assert _ask(streams, SWEEP, "s")
    assert _ask(streams, Share("other", 10), "o")
    assert _ask(streams, ANNA, "a")
    answer = streams.rate_limiter.reserve_or_claim("x", "again", LIMIT, WINDOW_MS, LONGEST_MS, share=SWEEP)
    assert answer.beside == ("other",)
    assert streams.rate_limiter.reserve_or_claim("y", "t", LIMIT, WINDOW_MS, LONGEST_MS, share=SWEEP).beside == ()


def test_without_shares_who_asks_first_gets_everything(streams: Streams) -> None:
    """The negative control of the one before."""
    got = _share_out(streams, [("sweep", ONE), ("anna", ONE), ("ben", ONE)], 5)
    assert Counter(got) == {"sweep": 5 * LIMIT}


def test_a_request_that_comes_while_a_sweep_waits_has_the_next_call(streams: Streams) -> None:
    _share_out(streams, [("sweep", SWEEP)], 3)
    waits = [_ask(streams, SWEEP, f"sweep-{number}") for number in range(20)]
    assert [wait for wait in waits if not wait] == [0] * LIMIT
    assert 0 < _ask(streams, ANNA, "anna") <= WINDOW_MS + 1
    _pass_time(streams, WINDOW_MS + 100)
    again = [_ask(streams, SWEEP, f"again-{number}") for number in range(20)]
    assert [wait for wait in again if not wait] == [0] * (LIMIT - 1)
    assert _ask(streams, ANNA, "anna") == 0


def test_who_waits_learns_when_its_own_call_will_be_free(streams: Streams) -> None:
    for number in range(LIMIT):
        assert _ask(streams, SWEEP, f"sweep-{number}") == 0
        _pass_time(streams, 5000)
    waits = [_ask(streams, ANNA, f"anna-{number}") for number in range(LIMIT)]
    gaps = [later - earlier for earlier, later in pairwise(waits)]
    assert all(4000 < gap <= 5100 for gap in gaps)
    # Nobody is sent away for longer than a window, and what a share may claim has a bound.
    assert 0 < _ask(streams, BEN, "ben") <= WINDOW_MS + 1
    assert all(_ask(streams, SWEEP, f"more-{number}") <= WINDOW_MS + 1 for number in range(30))
    assert streams.client.raw.zcard(streams.keys.rate_claims("x")) == LIMIT + 1 + LIMIT


def test_a_call_is_not_held_for_ever_for_one_that_died_while_it_waited(streams: Streams) -> None:
    _share_out(streams, [("sweep", SWEEP)], 1)
    for number in range(LIMIT):
        assert _ask(streams, SWEEP, f"sweep-{number}") == 0
    assert all(_ask(streams, Share("dead"), f"dead-{number}") for number in range(LIMIT))
    _pass_time(streams, WINDOW_MS + 100)
    early = [_ask(streams, SWEEP, f"early-{number}") for number in range(LIMIT)]
    assert early.count(0) <= 1
    _pass_time(streams, CLAIM_HOLDS_MS)
    late = [_ask(streams, SWEEP, f"late-{number}") for number in range(LIMIT)]
    assert early.count(0) + late.count(0) == LIMIT


def test_what_a_share_did_not_use_is_not_saved_up(streams: Streams) -> None:
    _share_out(streams, [("anna", ANNA)], 4)
    got = Counter(_share_out(streams, [("anna", ANNA), ("ben", BEN)], 5))
    # What is free when nobody waits is whose who comes first; else the next twenty calls were Ben's.
    assert got["anna"] >= 2 * LIMIT


def test_turns_of_shares_that_are_gone_are_forgotten(streams: Streams) -> None:
    for number in range(1200):
        assert streams.rate_limiter.reserve("x", str(number), 5000, 60_000, 60_000, share=Share(f"s{number}")) == 0
    assert streams.client.raw.hlen(streams.keys.rate_turns("x")) <= 502
