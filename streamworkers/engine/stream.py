"""The pool's verbs on Redis. The only module that talks to it.

Every verb raises RedisUnavailableError when Redis is away, loading, full or read-only; callers wait and try again.
Each is safe to repeat: adding twice costs time, and whatever takes entries out asks first who owns them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from streamworkers.engine.keys import GROUP, Keys
from streamworkers.errors import BadInputError, ServiceUnreachableError

ADD_CHUNK = 500
TAKE_OVER_CHUNK = 50
MOST_PENDING = 5000
SCAN_CHUNK = 1000
NO_RUN = 0
_SOCKET_SECONDS = 10.0
_FIELD = b"e"
# What Redis 6.2 puts before the error of a command that a script called.
_SCRIPT_PREFIX = re.compile(r"^(ERR )?Error running script \(call to f_\w+\): (@user_script: ?\d+: )+-?")


class RedisUnavailableError(ServiceUnreachableError):
    """Redis cannot do this now."""


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
        try:
            # No silent retries: a repeated XREADGROUP would lose the first one's entries from sight.
            self._client: redis.Redis = redis.Redis.from_url(
                url,
                protocol=2,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=_SOCKET_SECONDS,
                socket_connect_timeout=5.0,
                health_check_interval=0,
            )
        except ValueError:
            # What the parser says may quote a part of a password.
            raise BadInputError(
                "STREAMWORKERS_REDIS_URL is not a URL that begins with redis://, rediss:// or unix://"
            ) from None
        self._client.set_response_callback("XREADGROUP", lambda response, **_: response)
        self._scripts = {name: self._client.register_script(_script_text(name)) for name in _SCRIPTS}

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def ping(self) -> None:
        """Return when Redis answers."""
        with _translated():
            self._client.ping()

    def ensure_groups(self, queues: Iterable[str]) -> None:
        """Make streams and their consumer group; at `0`, so that what was added before is delivered."""
        for queue in queues:
            with _translated():
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
                with _translated():
                    if len(queues) > 1:
                        for queue in queues:
                            if found := self._read([queue], consumer, _count_of(count, queue), None):
                                return found
                        return self._read(queues, consumer, 1, block_ms)
                    return self._read(queues, consumer, _count_of(count, queues[0]), block_ms)
            except _NoGroupError:
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
        except _NoGroupError:
            return Finished(0, 0, None)
        return Finished(gone, delayed, open_left)

    def owned(self, queue: str, consumer: str) -> set[str]:
        """The ids of the entries that a consumer has pending: at most its batch."""
        try:
            with _translated():
                rows: Any = self._client.xpending_range(
                    self.keys.stream(queue), GROUP, "-", "+", MOST_PENDING, consumer
                )
        except _NoGroupError:
            return set()
        return {row["message_id"].decode() for row in rows}

    def discard(self, queue: str, consumer: str, entry_ids: Sequence[str]) -> int:
        """Take out entries that belong to no item; returns how many were still this consumer's."""
        return self.finish(queue, consumer, NO_RUN, entry_ids, ()).done

    def hand_over(self, queue: str, consumer: str, reason: str = "", suspects: Sequence[str] = ()) -> int:
        """Put all pending entries of a consumer back, as they were but for the suspects.

        Suspects are the entries that it was executing when it died of `reason`. One alone has used up an attempt; of
        several each shall run alone, so that an item never dies of its neighbour.
        """
        total = 0
        while True:
            try:
                count: int = self._run(
                    "hand_over", [self.keys.stream(queue)], [GROUP, consumer, reason, TAKE_OVER_CHUNK, *suspects]
                )
            except _NoGroupError:
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
        words = [GROUP, f"reclaimer:{owner}", lease_ms, cursor, limit, reason, "if_alone" if charge else "no"]
        try:
            next_cursor, count = self._run("reclaim", [self.keys.stream(queue)], words)
        except _NoGroupError:
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
            except _NoGroupError:
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
        except _NoGroupError:
            return True

    def consumers(self, queue: str) -> dict[str, int]:
        """Consumers of a queue and how many entries each has pending."""
        try:
            with _translated():
                rows: Any = self._client.xinfo_consumers(self.keys.stream(queue), GROUP)
        except (_NoGroupError, _NoKeyError):
            return {}
        return {row["name"].decode(): row["pending"] for row in rows}

    def backlog(self, queue: str) -> Backlog:
        """How many entries of a queue wait, are being worked on, and are delayed."""
        with _translated():
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

    def open_items(self, queue: str) -> dict[int, int]:
        """The open items of each run as counted in Redis."""
        with _translated():
            counts: Any = self._client.hgetall(self.keys.open_items(queue))
        return {int(run): int(count) for run, count in counts.items()}

    def set_open_items(self, queue: str, run_id: int, count: int) -> None:
        """Set the count of a run to what the ledger says; at 0 forget the run."""
        with _translated():
            if count > 0:
                self._client.hset(self.keys.open_items(queue), str(run_id), str(count))
            else:
                self._client.hdel(self.keys.open_items(queue), str(run_id))

    def hold_service_lease(self, service: str, owner: str, length_ms: int) -> bool:
        """Take or keep the fleet-wide lease of a background service; False when another owner has it."""
        return bool(self._run("hold_lease", [self.keys.service_lease(service)], [owner, length_ms]))

    def heartbeat(self, worker_id: str, payload: bytes, ttl_ms: int) -> None:
        """Say that a supervisor lives."""
        with _translated():
            self._client.set(self.keys.worker(worker_id), payload, px=ttl_ms)

    def end_heartbeat(self, worker_id: str) -> None:
        """Say that a supervisor has gone."""
        with _translated():
            self._client.delete(self.keys.worker(worker_id))

    def heartbeats(self) -> dict[str, bytes]:
        """The last words of every live supervisor, by worker id."""
        prefix_length = len(self.keys.worker(""))
        with _translated():
            names = list(self._client.scan_iter(match=self.keys.workers(), count=1000))
            if not names:
                return {}
            values: Any = self._client.mget(names)
        return {name.decode()[prefix_length:]: value for name, value in zip(names, values, strict=True) if value}

    def leaked_keys(self) -> list[str]:
        """Keys under the prefix that are neither a queue's own nor end by themselves: a sign of a defect."""
        suffixes = (":stream", ":delayed", ":open")
        with _translated():
            names = [name.decode() for name in self._client.scan_iter(match=f"{self.keys.prefix}:*", count=1000)]
            return [name for name in names if not name.endswith(suffixes) and self._client.ttl(name) == -1]

    def publish(self, messages: Sequence[tuple[str, str]]) -> None:
        """Publish (channel, text) messages in order."""
        with _translated():
            pipe = self._client.pipeline(transaction=False)
            for channel, text in messages:
                pipe.publish(channel, text)
            pipe.execute()

    def scan_delayed(self, queue: str, cursor: int) -> tuple[int, list[bytes]]:
        """Some of the delayed entries; and the cursor to go on from, 0 at the end. Some may come twice."""
        with _translated():
            answer: Any = self._client.zscan(self.keys.delayed(queue), cursor, count=SCAN_CHUNK)
        return int(answer[0]), [packed for packed, _ in answer[1]]

    def scan_stream(self, queue: str, after_id: str) -> list[Delivery]:
        """The next `SCAN_CHUNK` entries after an id, waiting and pending; fewer at the end."""
        with _translated():
            rows: Any = self._client.xrange(self.keys.stream(queue), f"({after_id}", "+", SCAN_CHUNK)
        return [
            Delivery(queue, entry_id.decode(), payload_of([part for pair in fields.items() for part in pair]))
            for entry_id, fields in rows
        ]

    def last_delivered_ms(self, queue: str) -> int | None:
        """When the newest entry that was ever delivered was added, in Unix ms; None without a group."""
        try:
            with _translated():
                groups: Any = self._client.xinfo_groups(self.keys.stream(queue))
        except _NoKeyError:
            return None
        ids = [group["last-delivered-id"] for group in groups if group["name"] == GROUP.encode()]
        return int(ids[0].partition(b"-")[0]) if ids else None

    def open_items_of(self, queue: str, run_ids: Sequence[int]) -> dict[int, int | None]:
        """The open items of these runs as counted in Redis; None for one that is not."""
        with _translated():
            counts: Any = self._client.hmget(self.keys.open_items(queue), [str(run_id) for run_id in run_ids])
        return {run_id: None if count is None else int(count) for run_id, count in zip(run_ids, counts, strict=True)}

    def queues(self) -> set[str]:
        """The queues that have a stream, a delayed set or counts."""
        names: set[str] = set()
        with _translated():
            for key in self._client.scan_iter(match=f"{self.keys.prefix}:{{*}}:*", count=1000):
                names.add(key.decode()[len(self.keys.prefix) + 2 :].rpartition("}")[0])
        return names

    def silences_ms(self, queue: str, consumer: str) -> list[int]:
        """For each entry that a consumer has pending, how long ago its lease was last renewed."""
        try:
            with _translated():
                rows: Any = self._client.xpending_range(
                    self.keys.stream(queue), GROUP, "-", "+", MOST_PENDING, consumer
                )
        except _NoGroupError:
            return []
        return [row["time_since_delivered"] for row in rows]

    def overdue(self, queue: str, late_ms: int) -> int:
        """How many delayed entries should have been promoted more than `late_ms` ago."""
        with _translated():
            clock: Any = self._client.time()
            count: Any = self._client.zcount(
                self.keys.delayed(queue), "-inf", clock[0] * 1000 + clock[1] // 1000 - late_ms
            )
        return int(count)

    def remove(self, queue: str, entry_ids: Sequence[str], delayed: Sequence[bytes]) -> None:
        """Take entries out of a queue, whoever has them: only for those that belong to no open item."""
        with _translated():
            pipe = self._client.pipeline(transaction=True)
            if entry_ids:
                pipe.xack(self.keys.stream(queue), GROUP, *entry_ids)
                pipe.xdel(self.keys.stream(queue), *entry_ids)
            if delayed:
                pipe.zrem(self.keys.delayed(queue), *delayed)
            pipe.execute()

    def end_lasting(self, name: str) -> None:
        """Delete a key that has no TTL."""
        with _translated():
            if self._client.ttl(name) == -1:
                self._client.delete(name)

    def _run(self, script: str, keys: Sequence[str], words: Sequence[Any]) -> Any:
        with _translated():
            return self._scripts[script](keys=keys, args=words)


class _NoGroupError(Exception):
    """The stream or its group is gone, as after FLUSHALL."""


class _NoKeyError(Exception):
    """The stream was never made."""


_SCRIPTS: Mapping[str, tuple[str, ...]] = {
    "add": ("add",),
    "finish": ("finish",),
    "hand_over": ("put_back", "hand_over"),
    "reclaim": ("put_back", "reclaim"),
    "renew": ("renew",),
    "promote": ("promote",),
    "leave": ("leave",),
    "hold_lease": ("hold_lease",),
}


def payload_of(fields: Sequence[bytes]) -> bytes:
    """The payload of an entry from its fields, name and value in turn."""
    if len(fields) == 2 and fields[0] == _FIELD:
        return fields[1]
    packed: bytes = msgpack.packb(list(fields))
    return packed


def _count_of(count: int | Mapping[str, int], queue: str) -> int:
    return count if isinstance(count, int) else count[queue]


@cache
def _script_text(name: str) -> str:
    folder = Path(__file__).parent / "lua"
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in _SCRIPTS[name])


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except redis.ResponseError as error:
        text = _SCRIPT_PREFIX.sub("", str(error))
        if "NOGROUP" in text or text.startswith("UNBLOCKED"):
            raise _NoGroupError(text) from None
        if "no such key" in text:
            raise _NoKeyError(text) from None
        raise RedisUnavailableError(f"Redis refuses: {text}") from error
    except redis.RedisError as error:
        raise RedisUnavailableError(f"Redis does not answer: {error}") from error
