"""Entries in and out of the queues.

Every method of this package raises RedisUnavailableError when Redis is away, rejects the call or is full; callers wait
and try again. Each is safe to repeat: adding twice costs time, and taking out checks the owner first.
"""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgpack

from streamworkers.engine.redis.client import NoGroupError, RedisClient, make_group, translate_errors
from streamworkers.engine.redis.keys import GROUP
from streamworkers.engine.redis.lanes import queue_of

ADD_CHUNK = 500
_PAUSED_BLOCK_MS = 1000  # how long a resumed queue may wait for a worker
_FLAG_MS = 24 * 3_600_000  # the reconciler sets it again and again
ADD_AT_ONCE = 1000
MOST_PENDING = 5000
MOST_GATHERED = 32
NO_RUN = 0
_FIELD = b"e"


class Delivery(NamedTuple):
    """An entry that was delivered to a consumer: its queue, id and payload.

    The payload of a malformed entry, one with other fields than ours, is all of its fields in msgpack.
    """

    queue: str
    entry_id: str
    packed: bytes


class Delay(NamedTuple):
    """An entry to take out of the stream and to add again, as `packed`, after `delay_ms`."""

    entry_id: str
    delay_ms: int
    packed: bytes


class FinishedBatch(NamedTuple):
    """Entries of one run that are to leave the stream: `done` for good, those of `delays` to come back."""

    run_id: int
    done: Sequence[str]
    delays: Sequence[Delay] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The number of entries that were still pending and left the stream, and the run's open items, if known."""

    done: int
    delayed: int
    open_left: int | None


class Queues:
    """Adds, reads and finishes entries."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._keys = client.keys
        self._passed_over: set[str] = set()  # by the last read, because they are paused

    def set_pauses(self, queues: Iterable[str], paused: Collection[str]) -> None:
        """Set the flags of those of these queues that are `paused`, and delete those of the others."""
        others = []
        for queue in queues:
            if queue in paused:
                self._client.run("beat", [self._keys.paused(queue)], [1, _FLAG_MS])
            else:
                others.append(self._keys.paused(queue))
        with translate_errors():
            if others:
                self._client.raw.delete(*others)

    def note_paused(self, queue: str) -> None:
        """Let the next read ask for the flag of a queue that turned out to be paused, and set it if it is lost."""
        self._passed_over.add(queue)
        self.set_pauses([queue], [queue])

    def ensure_groups(self, queues: Iterable[str]) -> None:
        """Make the streams and their consumer group where they are missing."""
        for queue in queues:
            make_group(self._client.raw, self._keys.stream(queue), GROUP)

    def add(self, queue: str, run_id: int, packed: Sequence[bytes]) -> None:
        """Add entries of a run and count its items as open: up to `ADD_AT_ONCE` entries in one step, all or none."""
        keys = [self._keys.stream(queue), self._keys.open_items(queue)]
        size = len(packed) if len(packed) <= ADD_AT_ONCE else ADD_CHUNK
        for start in range(0, len(packed), size or 1):
            chunk = packed[start : start + size]
            self._client.run("add", keys, [run_id, len(chunk), *chunk])

    def add_runs(self, queue: str, runs: Mapping[int, Sequence[bytes]]) -> None:
        """Add the entries of small runs, in the order of the runs and in one round trip."""
        keys = [self._keys.stream(queue), self._keys.open_items(queue)]
        calls: list[list[Any]] = [[]]
        room = ADD_CHUNK
        for run_id, packed in runs.items():
            if len(packed) > room and calls[-1]:
                calls.append([])
                room = ADD_CHUNK
            calls[-1] += [run_id, len(packed), *packed]
            room -= len(packed)
        self._client.run_all("add", keys, calls)

    def read(
        self,
        queues: Sequence[str],
        consumer: str,
        count: int | Mapping[str, int],
        block_ms: int,
        *,
        were_empty: bool = False,
    ) -> list[Delivery]:
        """Return up to `count` new entries of the first queue that has any, or none after `block_ms`.

        A blocking read of several queues may deliver one entry of each. If they `were_empty` at the last read, this is
        a blocking read at once. Queues that are paused are left out; a blocking read that began before may deliver.
        """
        while True:
            try:
                if len(queues) == 1:
                    return self._read(queues, consumer, _count_of(count, queues[0]), block_ms)
                waiting = queues
                if not were_empty or self._passed_over:
                    found, self._passed_over = self._read_first(queues, consumer, count)
                    if found:
                        return found
                    waiting = [queue for queue in queues if queue not in self._passed_over]
                    block_ms = min(block_ms, _PAUSED_BLOCK_MS) if self._passed_over else block_ms
                if not waiting:
                    time.sleep(block_ms / 1000)
                    return []
                return self._read(waiting, consumer, 1, block_ms)
            except NoGroupError:
                self.ensure_groups(queues)

    def _read_first(
        self, queues: Sequence[str], consumer: str, count: int | Mapping[str, int]
    ) -> tuple[list[Delivery], set[str]]:
        """Read the first queue that has any, few entries in one round trip; also returns those that are paused."""
        keys = [*map(self._keys.stream, queues), *map(self._keys.paused, queues)]
        words = [GROUP, consumer, *(_count_of(count, queue) for queue in queues)]
        while True:
            number, *read = self._client.run("read", keys, words)
            if number == 0:
                return [], {queues[each - 1] for each in read}
            queue = queues[number - 1]
            if read:
                return [Delivery(queue, entry_id.decode(), payload_of(fields)) for entry_id, fields in read[0]], set()
            if found := self._read([queue], consumer, _count_of(count, queue), None):
                return found, set()  # else others have taken them

    def _read(self, queues: Sequence[str], consumer: str, count: int, block_ms: int | None) -> list[Delivery]:
        words: list[Any] = ["XREADGROUP", "GROUP", GROUP, consumer, "COUNT", count]
        if block_ms is not None:
            words += ["BLOCK", block_ms]
        streams = {self._keys.stream(queue): queue for queue in queues}
        with translate_errors():
            response: Any = self._client.raw.execute_command(  # type: ignore[no-untyped-call]
                *words, "STREAMS", *streams, *[">"] * len(streams)
            )
        return [
            Delivery(streams[stream.decode()], entry_id.decode(), payload_of(fields))
            for stream, entries in response or ()
            for entry_id, fields in entries
        ]

    def gather(self, consumer: str, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Return what was just read, with the entries of the same keys next to it, up to `MOST_GATHERED` at each end.

        What another consumer has gathered meanwhile is left out. All who read this queue gather before they execute.
        """
        gathered: list[Delivery] = []
        for queue in dict.fromkeys(delivery.queue for delivery in deliveries):
            read = [delivery for delivery in deliveries if delivery.queue == queue]
            words = [GROUP, consumer, MOST_GATHERED, read[0].entry_id, read[-1].entry_id, len(read)]
            try:
                entries = self._client.run("gather", [self._keys.stream(queue)], words)
            except NoGroupError:
                gathered += read
            else:
                gathered += [Delivery(queue, entry_id.decode(), payload_of(fields)) for entry_id, fields in entries]
        return gathered

    def finish(self, queue: str, batches: Sequence[FinishedBatch], delivery: Sequence[str] = ()) -> list[Finished]:
        """Remove done entries and delay others, in one step; returns the numbers of each batch.

        An entry that was requeued has another id now, so that a late report of its former owner changes nothing.
        `delivery` may name the ids of all that one `read` returned of this queue, in order, if the batches hold all of
        them: then Redis has less to do.
        """
        keys = [self._keys.stream(queue), self._keys.delayed(queue), self._keys.open_items(queue)]
        words: list[Any] = [GROUP, delivery[0], _id_after(delivery[-1])] if delivery else [GROUP, "", ""]
        for batch in batches:
            words += [batch.run_id, len(batch.done), len(batch.delays), *batch.done]
            for delay in batch.delays:
                words += delay
        return [Finished(*answer) for answer in self._client.run("finish", keys, words)]

    def discard(self, queue: str, entry_ids: Sequence[str]) -> int:
        """Remove entries that belong to no item; returns how many were still pending."""
        (finished,) = self.finish(queue, [FinishedBatch(NO_RUN, entry_ids)])
        return finished.done

    def find_owned(self, queue: str, consumer: str) -> set[str]:
        """Return the ids of the entries that a consumer has pending: at most its batch."""
        try:
            with translate_errors():
                rows: Any = self._client.raw.xpending_range(
                    self._keys.stream(queue), GROUP, "-", "+", MOST_PENDING, consumer
                )
        except NoGroupError:
            return set()
        return {row["message_id"].decode() for row in rows}

    def list_delayed(self, queues: Sequence[str]) -> list[str]:
        """Return those of the queues that have delayed entries, due or not, in one round trip.

        The lanes of a queue cost one command, so that all are returned if one of them has any.
        """
        lanes: dict[str, list[str]] = {}
        for queue in queues:
            lanes.setdefault(queue_of(queue), []).append(queue)
        with translate_errors():
            pipe = self._client.raw.pipeline(transaction=False)
            for each in lanes.values():
                pipe.exists(*map(self._keys.delayed, each))
            return [lane for each, count in zip(lanes.values(), pipe.execute(), strict=True) if count for lane in each]

    def list_filled(self, queues: Sequence[str]) -> list[str]:
        """Return those of the queues whose streams have entries, waiting or pending."""
        streams = {self._keys.stream(queue): queue for queue in queues}
        return [streams[name.decode()] for name in self._client.run("filled", list(streams), [])]

    def promote(self, queue: str, limit: int) -> tuple[int, int | None]:
        """Move up to `limit` due entries to the stream; returns their number and the ms until the next one is due."""
        keys = [self._keys.delayed(queue), self._keys.stream(queue)]
        count, next_ms = self._client.run("promote", keys, [limit])
        return count, None if next_ms < 0 else next_ms

    def hasten_delayed(self, queue: str, ms: int) -> None:
        """Let every delayed entry be due so many ms earlier."""
        self.cut_delayed(queue)
        key, cursor = self._keys.delayed(queue), 0
        with translate_errors():
            while True:
                answer: Any = self._client.raw.zscan(key, cursor, count=ADD_CHUNK)
                cursor, entries = answer
                if entries:
                    due: Any = {packed: score - ms for packed, score in entries}
                    self._client.raw.zadd(key, due, xx=True)
                if not cursor:
                    return

    def cut_delayed(self, queue: str) -> None:
        """Let delayed entries that are too large to be read become short ones, which say their size."""
        cursor = b"0"
        while True:
            cursor = self._client.run("cut_delayed", [self._keys.delayed(queue)], [cursor, ADD_CHUNK])
            if cursor == b"0":
                return

    def set_open_count(self, queue: str, run_id: int, count: int) -> None:
        """Set the open items of a run to what the ledger says; 0 forgets the run."""
        self.set_open_counts(queue, {run_id: count})

    def delete_count(self, queue: str, field: bytes) -> None:
        """Delete a field among the counts of a queue, whatever wrote it."""
        with translate_errors():
            self._client.raw.hdel(self._keys.open_items(queue), field)

    def set_open_counts(self, queue: str, counts: Mapping[int, int]) -> None:
        """Set the open items of runs to what the ledger says; 0 forgets a run."""
        words = [word for pair in counts.items() for word in pair]
        self._client.run("set_counts", [self._keys.open_items(queue)], words)

    def remove_entries(self, queue: str, entry_ids: Sequence[str], delayed: Sequence[bytes]) -> None:
        """Remove entries, whichever consumer owns them: only for those that belong to no open item."""
        with translate_errors():
            pipe = self._client.raw.pipeline(transaction=True)
            if entry_ids:
                pipe.xack(self._keys.stream(queue), GROUP, *entry_ids)
                pipe.xdel(self._keys.stream(queue), *entry_ids)
            if delayed:
                pipe.zrem(self._keys.delayed(queue), *delayed)
            pipe.execute()


def payload_of(fields: Sequence[bytes]) -> bytes:
    """Return the payload of an entry from its fields, given as name, value, name, value, …"""
    if len(fields) == 2 and fields[0] == _FIELD:
        return fields[1]
    packed: bytes = msgpack.packb(list(fields))
    return packed


def _id_after(entry_id: str) -> str:
    milliseconds, _, number = entry_id.partition("-")
    return f"{milliseconds}-{int(number) + 1}"


def _count_of(count: int | Mapping[str, int], queue: str) -> int:
    return count if isinstance(count, int) else count[queue]
