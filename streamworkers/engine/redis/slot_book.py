"""Slots for calls to services that limit them in several ways at once: each call gets a time, and keeps it.

A limiter that says only "not now" makes all who wait ask at the same moment. Here each of them learns when its turn is.
"""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from streamworkers.engine.redis.client import RedisClient

# A call arrives a little after its slot: windows are longer in the book by this share, so that they hold on arrival.
SLACK = 0.03
# Calls that start at once arrive one after the other: slots of one bucket are apart, but no further than this.
LONGEST_GAP_SECONDS = 0.05
# A call that is under way for longer is that of a dead process, or its provider hangs.
UNDER_WAY_SECONDS = 5.0


CallLimit: TypeAlias = tuple[str, int, float]  # bucket, calls, and the seconds in any of which they are the most


class SlotRequest(NamedTuple):
    """A call that needs a slot: its token, and the limits that it counts against.

    With `counts_as`, a name of its own, it counts from its begin under that name, and its token can book again.
    """

    token: str
    limits: Sequence[CallLimit]
    counts_as: str = ""


class Slot(NamedTuple):
    """When a call may be made: in so many seconds, 0 for now. It is not booked if it is too far ahead."""

    seconds: float
    is_booked: bool = True


class SlotBook:
    """Books slots in Redis, whose clock counts, for the whole fleet; a lost Redis has an empty book.

    A call that has begun is under way for `under_way_seconds` at most.
    """

    def __init__(self, client: RedisClient, under_way_seconds: float = UNDER_WAY_SECONDS) -> None:
        self._client = client
        self._under_way_ms = round(under_way_seconds * 1000)
        self._keys = client.keys

    def book(self, requests: Sequence[SlotRequest], ahead_seconds: float) -> list[Slot]:
        """Book for each request, in their order, the earliest time that all its limits allow, if that is near enough.

        When the time has come, call `begin`. A slot that is over by more than half of the slack of its shortest window
        is booked again, and so is one whose bucket is on hold.
        """
        return self._ask("book", requests, ahead_seconds)

    def begin(self, request: SlotRequest, ahead_seconds: float) -> Slot:
        """Return 0 seconds if the call may be made now; it is under way then, until `move` or `release`.

        Otherwise the slot is booked as by `book`. Calls before it may have ended later than they were booked, or be
        under way still, so that nobody knows when they arrive: it waits for them.
        """
        return self._ask("begin", [request], ahead_seconds)[0]

    def plan(self, requests: Sequence[SlotRequest], ahead_seconds: float) -> list[Slot]:
        """Return what `book` would, without booking."""
        return self._ask("plan", requests, ahead_seconds)

    def move(self, request: SlotRequest) -> None:
        """Report that a call has just ended: it counts from now, less the slack, if its slot was earlier."""
        if request.limits:
            slack_ms = math.floor(min(map(_slack_ms, request.limits)))
            kept_ms = math.ceil(max(seconds for _, _, seconds in request.limits) * 1000 * (1 + SLACK)) + 1000
            names = self._names(bucket for bucket, _, _ in request.limits)
            self._client.run("book", names, ["move", request.token, slack_ms, kept_ms])

    def release(self, request: SlotRequest) -> None:
        """Report that a call for which there was a slot was not made."""
        if request.limits:
            self._client.run("book", self._names(bucket for bucket, _, _ in request.limits), ["release", request.token])

    def hold(self, bucket: str, seconds: float) -> None:
        """Allow nothing in a bucket for so long, for the whole fleet; slots that are booked move behind it."""
        self._client.run("book", self._names([bucket]), ["hold", max(1, math.ceil(seconds * 1000))])

    def _ask(self, verb: str, requests: Sequence[SlotRequest], ahead_seconds: float) -> list[Slot]:
        places: dict[str, int] = {}
        words = [_describe(request, places) for request in requests]
        if not places:
            return [Slot(0.0) for _ in requests]
        found: list[Any] = self._client.run(
            "book", self._names(places), [verb, round(ahead_seconds * 1000), self._under_way_ms, json.dumps(words)]
        )
        now, times = int(found[0]), found[1:]
        return [
            Slot(max(0, int(at) - now) / 1000, bool(booked)) for at, booked in zip(times[::2], times[1::2], strict=True)
        ]

    def _names(self, buckets: Iterable[str]) -> list[str]:
        names = list(dict.fromkeys(buckets))
        return [*map(self._keys.slot_book, names), *map(self._keys.slot_hold, names)]


def _describe(request: SlotRequest, places: dict[str, int]) -> list[Any]:
    """Return a request as the script wants it; `places` gives each bucket its number."""
    limits = []
    for limit in request.limits:
        bucket, calls, seconds = limit
        place = places.setdefault(bucket, len(places) + 1)
        window_ms = math.ceil(seconds * 1000 + _slack_ms(limit)) + 1  # times are cut to whole milliseconds
        limits.append([place, calls, window_ms, 0])
        # A quarter of the time that a call has on average, so that what a slow moment lost can be made up for.
        gap_ms = math.floor(min(seconds / calls / 4, LONGEST_GAP_SECONDS) * 1000)
        if calls > 1 and gap_ms:
            limits.append([place, 1, gap_ms, 1])
    grace_ms = min((_slack_ms(limit) / 2 for limit in request.limits), default=0)
    return [request.token, math.floor(grace_ms), limits, *([request.counts_as] if request.counts_as else ())]


def _slack_ms(limit: CallLimit) -> float:
    return limit[2] * 1000 * SLACK
