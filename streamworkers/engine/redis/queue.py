"""The pool's verbs on Redis: queues, leases, heartbeats, events. What other programs say is in `messages.py`.

Every verb raises RedisUnavailableError when Redis is away, loading, full or read-only; callers wait and try again.
Each is safe to repeat: adding twice costs time, and whatever takes entries out asks first who owns them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgpack
import redis

from streamworkers.engine.redis.client import NoGroupError, NoKeyError, open_client, script_text, translated
from streamworkers.engine.redis.keys import GROUP, Keys

ADD_CHUNK = 500
TAKE_OVER_CHUNK = 50
MOST_PENDING = 5000
SCAN_CHUNK = 1000
NO_RUN = 0
_FIELD = b"e"


class Delivery(NamedTuple):
    """An entry that was handed to a consumer: its queue, id and payload.

    The payload of an entry that nobody of ours can have added, with other fields, is all of them in msgpack.
    """

    queue: str
    entry_id: str
    packed: bytes


class Delay(NamedTuple):
    """An entry to take out of the stream and to add again, as `packed`, after `delay_ms`."""

    entry_id: str
    delay_ms: int
    packed: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """How many entries were still owned and left the stream, and the open items left of the run, if known."""

    done: int
    delayed: int
    open_left: int | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """Entries of a queue by where they are."""

    waiting: int
    pending: int
    delayed: int


class Streams:
    """Queues in one Redis under one prefix. Thread-safe; processes each make their own."""

    def __init__(self, url: str, prefix: str) -> None:
        self.keys = Keys(prefix)
        self._client = open_client(url)
        self._client.set_response_callback("XREADGROUP", lambda response, **_: response)
        self._scripts = {name: self._client.register_script(script_text(*parts)) for name, parts in _SCRIPTS.items()}

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def ping(self) -> None:
        """Return when Redis answers."""
        with translated():
            self._client.ping()

    def ensure_groups(self, queues: Iterable[str]) -> None:
        """Make streams and their consumer group; at `0`, so that what was added before is delivered."""
        for queue in queues:
            with translated():
                try:
                    self._client.xgroup_create(self.keys.stream(queue), GROUP, id="0", mkstream=True)
                except redis.ResponseError as error:
                    if not str(error).startswith("BUSYGROUP"):
                        raise

    def add(self, queue: str, run_id: int, packed: Sequence[bytes]) -> None:
        """Add entries of a run and count its items as open."""
        keys = [self.keys.stream(queue), self.keys.open_items(queue)]
        for start in range(0, len(packed), ADD_CHUNK):
            self._run("add", keys, [run_id, *packed[start : start + ADD_CHUNK]])

    def read(
        self, queues: Sequence[str], consumer: str, count: int | Mapping[str, int], block_ms: int
    ) -> list[Delivery]:
        """Up to `count` (of each queue) new entries of one of the queues, in the order given, or after `block_ms` none.

        A blocking read of several queues may deliver one entry of each.
        """
        while True:
            try:
                with translated():
                    if len(queues) > 1:
                        for queue in queues:
                            if found := self._read([queue], consumer, _count_of(count, queue), None):
                                return found
                        return self._read(queues, consumer, 1, block_ms)
                    return self._read(queues, consumer, _count_of(count, queues[0]), block_ms)
            except NoGroupError:
                self.ensure_groups(queues)

    def _read(self, queues: Sequence[str], consumer: str, count: int, block_ms: int | None) -> list[Delivery]:
        words: list[Any] = ["XREADGROUP", "GROUP", GROUP, consumer, "COUNT", count]
        if block_ms is not None:
            words += ["BLOCK", block_ms]
        streams = {self.keys.stream(queue): queue for queue in queues}
        response: Any = self._client.execute_command(  # type: ignore[no-untyped-call]
            *words, "STREAMS", *streams, *[">"] * len(streams)
        )
        return [
            Delivery(streams[stream.decode()], entry_id.decode(), payload_of(fields))
            for stream, entries in response or ()
            for entry_id, fields in entries
        ]

    def finish(self, queue: str, consumer: str, run_id: int, done: Sequence[str], delays: Sequence[Delay]) -> Finished:
        """Take out what is done and delay what shall run again, of the entries that are still this consumer's."""
        keys = [self.keys.stream(queue), self.keys.delayed(queue), self.keys.open_items(queue)]
        words: list[Any] = [GROUP, consumer, run_id, len(done), *done]
        for delay in delays:
            words += [delay.entry_id, delay.delay_ms, delay.packed]
        try:
            gone, delayed, open_left = self._run("finish", keys, words)
        except NoGroupError:
            return Finished(0, 0, None)
        return Finished(gone, delayed, open_left)

    def owned(self, queue: str, consumer: str) -> set[str]:
        """The ids of the entries that a consumer has pending: at most its batch."""
        try:
            with translated():
                rows: Any = self._client.xpending_range(
                    self.keys.stream(queue), GROUP, "-", "+", MOST_PENDING, consumer
                )
        except NoGroupError:
            return set()
        return {row["message_id"].decode() for row in rows}

    def discard(self, queue: str, consumer: str, entry_ids: Sequence[str]) -> int:
        """Take out entries that belong to no item; returns how many were still this consumer's."""
        return self.finish(queue, consumer, NO_RUN, entry_ids, ()).done

    def requeue(self, queue: str, consumer: str, reason: str = "", suspects: Sequence[str] = ()) -> int:
        """Put all pending entries of a consumer back, as they were but for the suspects.

        Suspects are the entries that it was executing when it died of `reason`. One alone has used up an attempt; of
        several each shall run isolated, so that an item never dies of its neighbour.
        """
        total = 0
        while True:
            try:
                count: int = self._run(
                    "requeue_consumer", [self.keys.stream(queue)], [GROUP, consumer, reason, TAKE_OVER_CHUNK, *suspects]
                )
            except NoGroupError:
                return total
            total += count
            if count < TAKE_OVER_CHUNK:
                return total

    def reclaim(
        self, queue: str, owner: str, lease_ms: int, cursor: str, limit: int, *, charge: bool = True
    ) -> tuple[str, int]:
        """Put back up to `limit` entries whose lease ran out; returns the cursor to go on from and the count.

        With `charge`, those that ran alone have used up an attempt.
        """
        reason = f"lease ran out after {lease_ms / 1000:g} s"
        words = [GROUP, f"reclaimer:{owner}", lease_ms, cursor, limit, reason, "if_isolated" if charge else "no"]
        try:
            next_cursor, count = self._run("reclaim", [self.keys.stream(queue)], words)
        except NoGroupError:
            self.ensure_groups([queue])
            return "0-0", 0
        return next_cursor.decode(), count

    def renew(self, queue: str, consumer: str, lease_ms: int) -> int:
        """Renew the leases of a consumer's entries that have not run out; returns how many."""
        total, first = 0, "-"
        while True:
            words = [GROUP, consumer, lease_ms, first, TAKE_OVER_CHUNK]
            try:
                renewed: tuple[int, bytes] = self._run("renew", [self.keys.stream(queue)], words)
            except NoGroupError:
                return total
            count, last = renewed
            total += count
            if not last:
                return total
            first = f"({last.decode()}"

    def promote(self, queue: str, limit: int) -> tuple[int, int | None]:
        """Move up to `limit` due entries to the stream; returns their count and ms until the next is due, if any."""
        count, next_ms = self._run("promote", [self.keys.delayed(queue), self.keys.stream(queue)], [limit])
        return count, None if next_ms < 0 else next_ms

    def leave(self, queue: str, consumer: str) -> bool:
        """Delete a consumer unless it has entries pending."""
        try:
            return bool(self._run("leave", [self.keys.stream(queue)], [GROUP, consumer]))
        except NoGroupError:
            return True

    def consumers(self, queue: str) -> dict[str, int]:
        """Consumers of a queue and how many entries each has pending."""
        try:
            with translated():
                rows: Any = self._client.xinfo_consumers(self.keys.stream(queue), GROUP)
        except (NoGroupError, NoKeyError):
            return {}
        return {row["name"].decode(): row["pending"] for row in rows}

    def backlog(self, queue: str) -> Backlog:
        """How many entries of a queue wait, are being worked on, and are delayed."""
        with translated():
            pipe = self._client.pipeline(transaction=True)
            pipe.xlen(self.keys.stream(queue))
            pipe.zcard(self.keys.delayed(queue))
            pipe.xpending(self.keys.stream(queue), GROUP)
            length, delayed, summary = pipe.execute(raise_on_error=False)
            for answer in (length, delayed):
                if isinstance(answer, Exception):
                    raise answer
        pending = summary["pending"] if isinstance(summary, dict) else 0
        return Backlog(length - pending, pending, delayed)

    def oldest_age_seconds(self, queue: str) -> float:
        """How long ago the oldest entry of a stream was added, by Redis' clock; 0 for none."""
        with translated():
            pipe = self._client.pipeline(transaction=True)
            pipe.xrange(self.keys.stream(queue), count=1)
            pipe.time()
            answer: Any = pipe.execute()
        oldest, (seconds, microseconds) = answer
        if not oldest:
            return 0.0
        added_ms = int(oldest[0][0].partition(b"-")[0])
        return max(0.0, float(seconds + microseconds / 1e6 - added_ms / 1000))

    def server_state(self) -> dict[str, Any]:
        """What Redis says of its memory, its file and its work, in its own words, and `slow_calls`."""
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for section in ("memory", "persistence", "clients", "stats"):
                pipe.info(section)
            pipe.slowlog_len()
            *sections, slow_calls = pipe.execute()
        told: dict[str, Any] = {name: value for section in sections for name, value in section.items()}
        known = (
            *("used_memory", "maxmemory", "maxmemory_policy", "aof_enabled", "aof_last_write_status", "loading"),
            *("connected_clients", "total_commands_processed"),
        )
        return {name: told[name] for name in known if name in told} | {"slow_calls": slow_calls}

    def open_items(self, queue: str) -> dict[int, int]:
        """The open items of each run as counted in Redis."""
        with translated():
            counts: Any = self._client.hgetall(self.keys.open_items(queue))
        return {int(run): int(count) for run, count in counts.items()}

    def set_open_items(self, queue: str, run_id: int, count: int) -> None:
        """Set the count of a run to what the ledger says; at 0 forget the run."""
        with translated():
            if count > 0:
                self._client.hset(self.keys.open_items(queue), str(run_id), str(count))
            else:
                self._client.hdel(self.keys.open_items(queue), str(run_id))

    def hold_service_lease(self, service: str, owner: str, length_ms: int) -> bool:
        """Take or keep the fleet-wide lease of a background service; False when another owner has it."""
        return bool(self._run("hold_lease", [self.keys.service_lease(service)], [owner, length_ms]))

    def reserve_call(self, service: str, token: str, limit: int, window_ms: int, longest_ms: int) -> int:
        """Take one of the `limit` calls to a service that the fleet may make in any window; 0 when it is ours to make.

        Else the milliseconds after which one may be free. `longest_ms` is how long a call whose end nobody tells may
        take.
        """
        words = ["reserve", token, limit, window_ms, longest_ms]
        return int(self._run("rate_limit", [self.keys.rate_limit(service)], words))

    def finish_call(self, service: str, token: str) -> None:
        """A call is over; its window begins now."""
        self._run("rate_limit", [self.keys.rate_limit(service)], ["finished", token])

    def counted_calls(self) -> dict[str, int]:
        """How many calls count against the limit of each service that was called of late."""
        prefix_length = len(self.keys.rate_limit(""))
        with translated():
            names = list(self._client.scan_iter(match=self.keys.rate_limit("*"), count=1000))
            return {name.decode()[prefix_length:]: self._client.zcard(name) for name in names}

    def heartbeat(self, supervisor_id: str, payload: bytes, ttl_ms: int) -> None:
        """Say that a supervisor lives."""
        with translated():
            self._client.set(self.keys.supervisor(supervisor_id), payload, px=ttl_ms)

    def end_heartbeat(self, supervisor_id: str) -> None:
        """Say that a supervisor has gone."""
        with translated():
            self._client.delete(self.keys.supervisor(supervisor_id))

    def heartbeats(self) -> dict[str, bytes]:
        """The last words of every live supervisor, by worker id."""
        prefix_length = len(self.keys.supervisor(""))
        with translated():
            names = list(self._client.scan_iter(match=self.keys.supervisors(), count=1000))
            if not names:
                return {}
            values: Any = self._client.mget(names)
        return {name.decode()[prefix_length:]: value for name, value in zip(names, values, strict=True) if value}

    def leaked_keys(self) -> list[str]:
        """Keys under the prefix that are neither a queue's own nor end by themselves: a sign of a defect."""
        suffixes = (":stream", ":delayed", ":open")
        with translated():
            names = [name.decode() for name in self._client.scan_iter(match=f"{self.keys.prefix}:*", count=1000)]
            return [name for name in names if not name.endswith(suffixes) and self._client.ttl(name) == -1]

    def publish(self, messages: Sequence[tuple[str, str]]) -> None:
        """Publish (channel, text) messages in order."""
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for channel, text in messages:
                pipe.publish(channel, text)
            pipe.execute()

    def scan_delayed(self, queue: str, cursor: int) -> tuple[int, list[bytes]]:
        """Some of the delayed entries; and the cursor to go on from, 0 at the end. Some may come twice."""
        with translated():
            answer: Any = self._client.zscan(self.keys.delayed(queue), cursor, count=SCAN_CHUNK)
        return int(answer[0]), [packed for packed, _ in answer[1]]

    def scan_stream(self, queue: str, after_id: str) -> list[Delivery]:
        """The next `SCAN_CHUNK` entries after an id, waiting and pending; fewer at the end."""
        with translated():
            rows: Any = self._client.xrange(self.keys.stream(queue), f"({after_id}", "+", SCAN_CHUNK)
        return [
            Delivery(queue, entry_id.decode(), payload_of([part for pair in fields.items() for part in pair]))
            for entry_id, fields in rows
        ]

    def last_delivered_ms(self, queue: str) -> int | None:
        """When the newest entry that was ever delivered was added, in Unix ms; None without a group."""
        try:
            with translated():
                groups: Any = self._client.xinfo_groups(self.keys.stream(queue))
        except NoKeyError:
            return None
        ids = [group["last-delivered-id"] for group in groups if group["name"] == GROUP.encode()]
        return int(ids[0].partition(b"-")[0]) if ids else None

    def open_items_of(self, queue: str, run_ids: Sequence[int]) -> dict[int, int | None]:
        """The open items of these runs as counted in Redis; None for one that is not."""
        with translated():
            counts: Any = self._client.hmget(self.keys.open_items(queue), [str(run_id) for run_id in run_ids])
        return {run_id: None if count is None else int(count) for run_id, count in zip(run_ids, counts, strict=True)}

    def queues(self) -> set[str]:
        """The queues that have a stream, a delayed set or counts."""
        names: set[str] = set()
        with translated():
            for key in self._client.scan_iter(match=f"{self.keys.prefix}:{{*}}:*", count=1000):
                names.add(key.decode()[len(self.keys.prefix) + 2 :].rpartition("}")[0])
        return names

    def silences_ms(self, queue: str, consumer: str) -> list[int]:
        """For each entry that a consumer has pending, how long ago its lease was last renewed."""
        try:
            with translated():
                rows: Any = self._client.xpending_range(
                    self.keys.stream(queue), GROUP, "-", "+", MOST_PENDING, consumer
                )
        except NoGroupError:
            return []
        return [row["time_since_delivered"] for row in rows]

    def overdue(self, queue: str, late_ms: int) -> int:
        """How many delayed entries should have been promoted more than `late_ms` ago."""
        with translated():
            clock: Any = self._client.time()
            count: Any = self._client.zcount(
                self.keys.delayed(queue), "-inf", clock[0] * 1000 + clock[1] // 1000 - late_ms
            )
        return int(count)

    def remove(self, queue: str, entry_ids: Sequence[str], delayed: Sequence[bytes]) -> None:
        """Take entries out of a queue, whoever has them: only for those that belong to no open item."""
        with translated():
            pipe = self._client.pipeline(transaction=True)
            if entry_ids:
                pipe.xack(self.keys.stream(queue), GROUP, *entry_ids)
                pipe.xdel(self.keys.stream(queue), *entry_ids)
            if delayed:
                pipe.zrem(self.keys.delayed(queue), *delayed)
            pipe.execute()

    def end_lasting(self, name: str) -> None:
        """Delete a key that has no TTL."""
        with translated():
            if self._client.ttl(name) == -1:
                self._client.delete(name)

    def _run(self, script: str, keys: Sequence[str], words: Sequence[Any]) -> Any:
        with translated():
            return self._scripts[script](keys=keys, args=words)


_SCRIPTS: Mapping[str, tuple[str, ...]] = {
    "add": ("add",),
    "finish": ("finish",),
    "requeue_consumer": ("requeue_entry", "requeue_consumer"),
    "reclaim": ("requeue_entry", "reclaim"),
    "renew": ("renew",),
    "promote": ("promote",),
    "leave": ("leave",),
    "hold_lease": ("hold_lease",),
    "rate_limit": ("rate_limit",),
}


def payload_of(fields: Sequence[bytes]) -> bytes:
    """The payload of an entry from its fields, name and value in turn."""
    if len(fields) == 2 and fields[0] == _FIELD:
        return fields[1]
    packed: bytes = msgpack.packb(list(fields))
    return packed


def _count_of(count: int | Mapping[str, int], queue: str) -> int:
    return count if isinstance(count, int) else count[queue]
