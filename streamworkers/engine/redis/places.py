"""Places of limits, for the whole fleet: who runs now, and who waits in line for it.

An item that waits lies in the delayed set of its queue, as any delayed entry. When a place becomes free, the first of
the line is woken: its entry moves to the stream, and the place is kept for it for a moment. If nobody wakes it, its
time comes.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from streamworkers.engine.redis.client import RedisClient, translate_errors
from streamworkers.engine.redis.foreign import text_of

# How long a place is kept for an item that was woken: it may be behind others in its stream.
KEPT_MS = 5000
# A line is looked at more often than this as long as anybody waits.
LINE_LIVES_MS = 3_600_000


class Bucket(NamedTuple):
    """What items are counted under, and how many of them may run at once; 0 for a limit that counts otherwise."""

    name: str
    places: int


class PlaceRequest(NamedTuple):
    """An item that needs a place in each of its buckets: its run and number, its queue, and its entry if delayed."""

    run_id: int
    seq: int
    queue: str
    enqueued_ms: int
    packed: bytes
    buckets: Sequence[Bucket]

    @property
    def token(self) -> str:
        """Its name among holders, in the order of runs and items."""
        return name_token(self.run_id, self.seq)

    @property
    def member(self) -> bytes:
        """Its name in a line, with all that it takes to wake it."""
        return f"{self.token}{self.queue}\n".encode() + self.packed


class HeldPlace(NamedTuple):
    """A place of a consumer: whose it is, and in which bucket."""

    token: str
    bucket: str


class Denial(NamedTuple):
    """The bucket that has no place for an item, and how many come before it there."""

    bucket: Bucket
    before: int


class BucketUsage(NamedTuple):
    """How many items of a bucket run, those on their way to it included, and how many wait."""

    held: int = 0
    waiting: int = 0


def name_token(run_id: int, seq: int) -> str:
    """Return the name of an item among holders."""
    return f"{run_id:019d}{seq:010d}"


def book_of(bucket: str) -> str:
    """Return the name that a rate's bucket has in the slot book, beside those of deliveries."""
    return f"limit:{bucket}"


class Places:
    """Takes and gives back places; each step is atomic, and wakes who is next. `queues` are those with a line."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._keys = client.keys

    def take(
        self,
        consumer: str,
        life_ms: int,
        requests: Sequence[PlaceRequest],
        leaving: Sequence[PlaceRequest],
        queues: Iterable[str],
    ) -> list[Denial | None]:
        """Give back the places of `leaving`, then give each request a place in all of its buckets, or say what is full.

        A place lapses after `life_ms`. The time of one that the consumer has already begins again. Nobody overtakes the
        line.
        """
        call = _Call(requests, leaving, queues)
        answers: Any = self._run("take", consumer, life_ms, call)
        return [Denial(call.buckets[number - 1], before) if number else None for number, before in answers]

    def wait(self, requests: Sequence[PlaceRequest], queues: Iterable[str]) -> None:
        """Line up items whose entries were delayed: each in the buckets that it names."""
        self._run("wait", "", 0, _Call(requests, (), queues))

    def leave(self, consumer: str, requests: Sequence[PlaceRequest], queues: Iterable[str]) -> None:
        """Give back the places of items, of the consumer and those that are kept for them; they wait no more."""
        self._run("leave", consumer, 0, _Call(requests, (), queues))

    def free(self, consumer: str, held: Iterable[tuple[HeldPlace, int]], queues: Iterable[str]) -> None:
        """Give back the places of a consumer that has ended, each with the number of places of its bucket."""
        self._run("leave", consumer, 0, _Call(_as_requests(held), (), queues))

    def keep(self, consumer: str, life_ms: int, held: Iterable[tuple[HeldPlace, int]]) -> int:
        """Take the places of a consumer again that Redis has lost; returns their number."""
        taken: int = self._run("keep", consumer, life_ms, _Call(_as_requests(held), (), ()))
        return taken

    def line_up(self, bucket: str, requests: Sequence[PlaceRequest]) -> list[int]:
        """Let items wait in a bucket that nobody is woken for; returns how many come before each."""
        line = self._keys.limit_line(bucket)
        with translate_errors():
            pipe = self._client.raw.pipeline(transaction=False)
            pipe.zadd(line, {request.member: request.enqueued_ms for request in requests})
            pipe.pexpire(line, LINE_LIVES_MS)
            for request in requests:
                pipe.zrank(line, request.member)
            return [place or 0 for place in pipe.execute()[2:]]

    def step_out(self, bucket: str, requests: Sequence[PlaceRequest]) -> None:
        """Let items wait no more in such a bucket."""
        with translate_errors():
            self._client.raw.zrem(self._keys.limit_line(bucket), *[request.member for request in requests])

    def read_usage(self, name: str, rate_seconds: float | None = None) -> dict[str, BucketUsage]:
        """Return the usage of each bucket of a limit that somebody runs in, or waits for.

        With `rate_seconds` it is a rate, and the calls of so many last seconds are in use.
        """
        now_ms = self._read_clock_ms()
        if rate_seconds is None:
            make, first, last = self._keys.limit_places, float(now_ms), math.inf
        else:
            make, first, last = self._slots, now_ms - 1000 * rate_seconds, float(now_ms)
        held = {bucket: self._count(make(bucket), first, last) for bucket in self._list(name, make)}
        line = self._keys.limit_line
        waiting = {bucket: self._count(line(bucket), 0, math.inf) for bucket in self._list(name, line)}
        return {
            bucket: BucketUsage(held.get(bucket, 0), waiting.get(bucket, 0))
            for bucket in sorted(held | waiting)
            if held.get(bucket) or waiting.get(bucket)
        }

    def _slots(self, bucket: str) -> str:
        return self._keys.slot_book(book_of(bucket))

    def _list(self, name: str, make: Callable[[str], str]) -> list[str]:
        """The buckets of a limit: its own name, and one for each value of its key."""
        with translate_errors():
            found = self._client.raw.scan_iter(match=make(f"{name}:*"), count=1000)
            return [name, *(text_of(key)[len(make("")) :] for key in found)]

    def _count(self, key: str, first: float, last: float) -> int:
        with translate_errors():
            count: Any = self._client.raw.zcount(key, first, last)
        return int(count)

    def _read_clock_ms(self) -> int:
        with translate_errors():
            clock: Any = self._client.raw.time()
        return int(clock[0] * 1000 + clock[1] // 1000)

    def _run(self, verb: str, consumer: str, life_ms: int, call: "_Call") -> Any:
        if not call.buckets:
            return [(0, 0)] * len(call.items) if verb == "take" else 0
        keys = [key for each in call.buckets for key in (self._keys.limit_places(each.name), self._line(each))]
        keys += [key for queue in call.queues for key in (self._keys.delayed(queue), self._keys.stream(queue))]
        words = [verb, consumer, life_ms, KEPT_MS, LINE_LIVES_MS, call.as_json(), *call.members]
        return self._client.run("places", keys, words)

    def _line(self, bucket: Bucket) -> str:
        return self._keys.limit_line(bucket.name)


class _Call:
    """The words of a call of the script: what its items and those who leave have in common has a number."""

    def __init__(
        self, requests: Sequence[PlaceRequest], leaving: Sequence[PlaceRequest], queues: Iterable[str]
    ) -> None:
        self._numbers: dict[Bucket, int] = {}
        self.items = [[each.token, each.enqueued_ms, self._number(each.buckets)] for each in requests]
        self._leaving = [[each.token, self._number(each.buckets)] for each in leaving]
        self.members = [each.member for each in requests]
        self.queues = list(dict.fromkeys([*(each.queue for each in requests if each.queue), *queues]))
        self.buckets = list(self._numbers)

    def as_json(self) -> str:
        places = [bucket.places for bucket in self.buckets]
        return json.dumps({"places": places, "queues": self.queues, "leaving": self._leaving, "items": self.items})

    def _number(self, buckets: Sequence[Bucket]) -> list[int]:
        return [self._numbers.setdefault(bucket, len(self._numbers) + 1) for bucket in buckets]


def _as_requests(held: Iterable[tuple[HeldPlace, int]]) -> list[PlaceRequest]:
    """What a supervisor knows of items: no entry, and so no place in a line."""
    return [
        PlaceRequest(int(place.token[:19]), int(place.token[19:]), "", 0, b"", (Bucket(place.bucket, places),))
        for place, places in held
    ]
