"""Messages from and to other programs: Pub/Sub, inbox streams, and status hashes.

Every method raises RedisUnavailableError when Redis is away, rejects the call or is full. What is read here was written
by another program: it is returned as bytes, unchecked. Of what is too long only the beginning is read.
"""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import streamworkers.engine.redis.lean_import  # noqa: F401  # isort: skip  # before redis
import redis

from streamworkers.engine.redis import keys
from streamworkers.engine.redis.client import (
    NoGroupError,
    NoKeyError,
    make_group,
    open_client,
    read_script,
    translate_errors,
)
from streamworkers.engine.redis.cut_message import CutMessage
from streamworkers.errors import RedisUnavailableError

MOST_MESSAGE_BYTES = 1 << 20
_SHOWN_BYTES = 4096
_CONFIRM_SECONDS = 5.0
_PING_SECONDS = 10.0
_REST_SECONDS = 5.0


class InboxEntry(NamedTuple):
    """An entry of an inbox stream: its id, and the bytes of its field `message`, None where it has none.

    Of one that is too long, the message is a CutMessage.
    """

    entry_id: str
    message: bytes | None

    @property
    def sent_at(self) -> float:
        """When it was added, in Unix seconds by Redis' clock."""
        return int(self.entry_id.partition("-")[0]) / 1000


class InboxConsumer(NamedTuple):
    """A consumer of an inbox stream: how many entries it holds, and for how long it has asked for nothing."""

    name: str
    pending: int
    idle_ms: int


class Subscription:
    """A subscription to one channel, confirmed by Redis; `next_message` returns what is published from now on."""

    def __init__(self, client: redis.Redis, channel: str) -> None:
        self._pubsub: Any = client.pubsub()  # type: ignore[no-untyped-call]
        self._heard_at = self._pinged_at = time.monotonic()
        with translate_errors(lambda: f"SUBSCRIBE {channel}"):
            self._pubsub.subscribe(channel)
            while (answer := self._pubsub.get_message(timeout=_CONFIRM_SECONDS)) is not None:
                if answer["type"] == "subscribe":
                    return
        raise RedisUnavailableError(f"Redis does not confirm the subscription to {channel}")

    def close(self) -> None:
        """Give the connection back to the pool."""
        self._pubsub.close()

    def next_message(self, seconds: float) -> bytes | None:
        """Return the next message within so many seconds, or None; with 0, what has come already.

        Raises RedisUnavailableError also for a connection that is dead without an error: it pings every ten seconds.
        """
        with translate_errors():
            if seconds > 0 or self._pubsub.connection.can_read(timeout=0):
                # A read without any wait would end the connection where only a part of a message has come.
                answer = self._pubsub.get_message(timeout=seconds or _REST_SECONDS)
            else:
                answer = None
            now = time.monotonic()
            if answer is not None:
                self._heard_at = now
                return answer["data"] if answer["type"] == "message" else None
            is_asked = self._pinged_at > self._heard_at
            if is_asked and now - self._pinged_at > 2 * _PING_SECONDS:
                raise RedisUnavailableError("Redis does not answer: the subscription is silent")
            if not is_asked and now - self._heard_at > _PING_SECONDS:
                self._pubsub.ping()
                self._pinged_at = now
        return None


class Messages:
    """Messages from and to other programs over one Redis. Thread-safe.

    Of an entry of an inbox, a message of up to `most_bytes` is read whole.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        message_prefix: str = keys.MESSAGE_PREFIX,
        *,
        most_bytes: int = MOST_MESSAGE_BYTES,
    ) -> None:
        self._keys = keys.Keys(prefix, message_prefix)
        self._client = open_client(url)
        self._most_bytes = most_bytes
        self._read_inbox = self._client.register_script(read_script("read_inbox"))
        self._leave = self._client.register_script(read_script("leave"))

    def close(self) -> None:
        """Close all connections to Redis."""
        self._client.close()

    def subscribe(self, channel: str) -> Subscription:
        """Return a confirmed subscription to a channel."""
        return Subscription(self._client, self._keys.message_name(channel))

    def publish(self, channel: str, text: str) -> None:
        """Publish a text on a channel."""
        with translate_errors():
            self._client.publish(self._keys.message_name(channel), text)

    def read_inbox(self, stream: str, group: str, consumer: str, count: int, *, own: bool = False) -> list[InboxEntry]:
        """Return up to `count` new entries for the group, none if there are none now; makes the group, at `0`.

        Entries with long messages are returned in smaller numbers. With `own`, returns instead entries that this
        consumer got before and has not finished.
        """
        which = "own" if own else "new"
        try:
            return self._read(stream, group, consumer, count, which)
        except NoGroupError:
            make_group(self._client, self._keys.message_name(stream), group)
            return self._read(stream, group, consumer, count, which)

    def reclaim_inbox(self, stream: str, group: str, consumer: str, idle_ms: int, count: int) -> list[InboxEntry]:
        """Claim up to `count` entries that another consumer of the group has held for longer than `idle_ms`."""
        try:
            return self._read(stream, group, consumer, count, str(idle_ms))
        except NoGroupError:
            return []

    def _read(self, stream: str, group: str, consumer: str, count: int, which: str) -> list[InboxEntry]:
        stream = self._keys.message_name(stream)
        words: list[Any] = [group, consumer, which, count, self._most_bytes, _SHOWN_BYTES]
        with translate_errors(lambda: f"read_inbox.lua calls XREADGROUP XPENDING XAUTOCLAIM XRANGE on {stream}"):
            answer: Any = self._read_inbox(keys=[stream], args=words)
        return [InboxEntry(entry_id.decode(), _message_of(size, read)) for entry_id, size, read in answer]

    def finish_inbox(self, stream: str, group: str, entry_ids: Sequence[str]) -> None:
        """Remove entries that have been processed."""
        stream = self._keys.message_name(stream)
        with translate_errors():
            pipe = self._client.pipeline(transaction=True)
            pipe.xack(stream, group, *entry_ids)
            pipe.xdel(stream, *entry_ids)
            pipe.execute()

    def leave_inbox(self, stream: str, group: str, consumer: str | bytes) -> bool:
        """Delete a consumer of the group unless it holds unprocessed entries; True if it is gone."""
        stream = self._keys.message_name(stream)
        try:
            with translate_errors(lambda: f"leave.lua calls XGROUP XPENDING on {stream}"):
                return bool(self._leave(keys=[stream], args=[group, consumer]))
        except NoGroupError:
            return True

    def set_status(self, job_id: str, fields: dict[str, Any], ttl_seconds: int, *, only_new: bool = False) -> None:
        """Set fields of the status hash of a requested job; it expires `ttl_seconds` from now.

        `only_new` keeps the fields that exist already.
        """
        name = self._keys.message_name(keys.job_status(job_id))
        with translate_errors():
            pipe = self._client.pipeline(transaction=True)
            if only_new:
                for field, value in fields.items():
                    pipe.hsetnx(name, field, value)
                pipe.expire(name, ttl_seconds)
                pipe.execute()
                return
            pipe.hset(name, mapping=fields)  # type: ignore[arg-type]  # the stub wants every kind of key
            pipe.expire(name, ttl_seconds)
            pipe.execute()

    def trim_inbox(self, stream: str, most_bytes: int) -> int:
        """Remove the oldest entries of a stream that takes more memory, down to about half of it; returns how many.

        It works in a full Redis, too.
        """
        stream, dropped = self._keys.message_name(stream), 0
        with translate_errors():
            # Each time at least half of the entries go, and more than once only where the newest are the large ones.
            while (size := self._client.memory_usage(stream, samples=0) or 0) > most_bytes:
                length: Any = self._client.xlen(stream)
                if not length:
                    break
                count: Any = self._client.xtrim(stream, maxlen=length * most_bytes // (2 * size), approximate=False)
                dropped += count
        return dropped

    def list_consumers(self, stream: str, group: str) -> list[InboxConsumer]:
        """Return the consumers of the group, none if there is no such group."""
        try:
            with translate_errors():
                rows: Any = self._client.xinfo_consumers(self._keys.message_name(stream), group)
        except (NoGroupError, NoKeyError):
            return []
        return [InboxConsumer(row["name"].decode("utf-8", "replace"), row["pending"], row["idle"]) for row in rows]

    def prune_inbox(self, stream: str, group: str, idle_ms: int) -> int:
        """Delete consumers of the group that hold nothing and were idle for so long; returns how many."""
        consumers = self.list_consumers(stream, group)
        idle = [each.name for each in consumers if each.pending == 0 and each.idle_ms >= idle_ms]
        return sum(self.leave_inbox(stream, group, name) for name in idle)

    def read_clock(self) -> float:
        """Return the time by Redis' clock in Unix seconds."""
        with translate_errors():
            seconds, microseconds = self._client.time()
        return float(seconds) + float(microseconds) / 1e6

    def full_name(self, name: str) -> str:
        """Return a channel or stream that other programs know as this installation calls it."""
        return self._keys.message_name(name)


def _message_of(size: int, read: bytes) -> bytes | None:
    if size < 0:
        return None
    return read if size == len(read) else CutMessage(read, size)
