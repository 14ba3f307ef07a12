"""Reads the state of queues, consumers and the server. Changes nothing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from streamworkers.engine.redis.client import NoGroupError, NoKeyError, RedisClient, translate_errors
from streamworkers.engine.redis.foreign import count_of, is_text, text_of
from streamworkers.engine.redis.heartbeats import SupervisorStatus, decode_heartbeat
from streamworkers.engine.redis.keys import GROUP
from streamworkers.engine.redis.queue import MOST_PENDING, Delivery

SCAN_CHUNK = 1000
_PAYLOADS = 100  # of pending entries in one answer: one may be large
_SERVER_FIELDS = (
    *("used_memory", "maxmemory", "maxmemory_policy", "aof_enabled", "aof_last_write_status", "loading"),
    *("connected_clients", "total_commands_processed", "evicted_keys"),
)


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """An entry that a consumer has, and its payload."""

    entry_id: str
    consumer: str
    packed: bytes


@dataclass(frozen=True, slots=True)
class Backlog:
    """The entries of a queue by where they are."""

    waiting: int
    pending: int
    delayed: int

    @property
    def total(self) -> int:
        """The number of all entries of the queue."""
        return self.waiting + self.pending + self.delayed


def sum_backlogs(backlogs: Iterable[Backlog]) -> Backlog:
    """Return the entries of several lanes together."""
    each = list(backlogs)
    return Backlog(sum(one.waiting for one in each), sum(one.pending for one in each), sum(one.delayed for one in each))


class Inspector:
    """What metrics, `status`, `doctor` and the reconciler read."""

    def __init__(self, client: RedisClient) -> None:
        self.client = client
        self._keys = client.keys

    def ping(self) -> None:
        """Return if Redis answers; raises RedisUnavailableError otherwise."""
        with translate_errors():
            self.client.raw.ping()

    def read_clock_ms(self) -> int:
        """Return the time by Redis' clock, in Unix milliseconds."""
        with translate_errors():
            clock: Any = self.client.raw.time()
        return int(clock[0] * 1000 + clock[1] // 1000)

    def read_heartbeats(self) -> dict[str, SupervisorStatus]:
        """Return the newest heartbeat of every live supervisor, by supervisor id."""
        prefix_length = len(self._keys.supervisor(""))
        with translate_errors():
            names = list(self.client.raw.scan_iter(match=self._keys.supervisors(), count=1000))
            if not names:
                return {}
            payloads: Any = self.client.raw.mget(names)
        return {
            text_of(name)[prefix_length:]: decode_heartbeat(payload)
            for name, payload in zip(names, payloads, strict=True)
            if payload
        }

    def list_queues(self) -> set[str]:
        """Return the lanes of queues that have a stream, a delayed set or counts."""
        prefix = self._keys.prefix
        names: set[str] = set()
        with translate_errors():
            for key in self.client.raw.scan_iter(match=f"{prefix}:{{*}}:*", count=1000):
                if is_text(key):
                    names.add(self._keys.read_lane(key.decode()))
        return names

    def read_backlog(self, queue: str) -> Backlog:
        """Count the entries of a queue that wait, are pending, and are delayed."""
        keys = [self._keys.stream(queue), self._keys.delayed(queue)]
        length, delayed, pending = self.client.run("backlog", keys, [GROUP])
        return Backlog(length - pending, pending, delayed)

    def read_lanes(self, lanes: Sequence[str]) -> dict[str, tuple[Backlog, float]]:
        """Return for each lane its entries, and the age of its oldest one in seconds, of one moment."""
        keys = [key for lane in lanes for key in (self._keys.stream(lane), self._keys.delayed(lane))]
        (seconds, microseconds), *rows = self.client.run("lanes", keys, [GROUP])
        now = int(seconds) + int(microseconds) / 1e6
        return {
            lane: (Backlog(length - pending, pending, delayed), _age_of(oldest, now))
            for lane, (length, delayed, pending, oldest) in zip(lanes, rows, strict=True)
        }

    def read_oldest_age(self, queue: str) -> float:
        """Return the age of a stream's oldest entry in seconds, by Redis' clock; 0 for an empty stream."""
        oldest, seconds, microseconds = self.client.run("oldest", [self._keys.stream(queue)], [])
        return _age_of(oldest, int(seconds) + int(microseconds) / 1e6)

    def read_last_delivered_ms(self, queue: str) -> int | None:
        """Return when the newest entry that was ever delivered was added, in Unix ms; None without a group."""
        try:
            with translate_errors():
                groups: Any = self.client.raw.xinfo_groups(self._keys.stream(queue))
        except NoKeyError:
            return None
        ids = [group["last-delivered-id"] for group in groups if group["name"] == GROUP.encode()]
        return int(ids[0].partition(b"-")[0]) if ids else None

    def read_open_counts(self, queue: str) -> dict[int, int]:
        """Return the open items of each run as counted in Redis."""
        counts = {count_of(run): count_of(count) for run, count in self._read_counts(queue).items()}
        return {run: count for run, count in counts.items() if run is not None and count is not None}

    def find_foreign_counts(self, queue: str) -> list[bytes]:
        """Return the fields among a queue's counts that are no count of a run: another program wrote them."""
        counts = self._read_counts(queue)
        return sorted(run for run, count in counts.items() if count_of(run) is None or count_of(count) is None)

    def _read_counts(self, queue: str) -> dict[bytes, bytes]:
        with translate_errors():
            counts: Any = self.client.raw.hgetall(self._keys.open_items(queue))
        return dict(counts)

    def read_open_counts_of(self, queue: str, run_ids: Sequence[int]) -> dict[int, int | None]:
        """Return the open items of these runs as counted in Redis; None where there is no count."""
        with translate_errors():
            counts: Any = self.client.raw.hmget(self._keys.open_items(queue), [str(run_id) for run_id in run_ids])
        return dict(zip(run_ids, map(count_of, counts), strict=True))

    def read_consumers(self, queue: str) -> dict[str, int]:
        """Return the consumers of a queue and how many entries each has pending."""
        try:
            with translate_errors():
                rows: Any = self.client.raw.xinfo_consumers(self._keys.stream(queue), GROUP)
        except (NoGroupError, NoKeyError):
            return {}
        return {text_of(row["name"]): row["pending"] for row in rows}

    def read_idle_ms(self, queue: str, consumer: str) -> list[int]:
        """Return for each pending entry of a consumer the time since its lease was renewed, in ms."""
        try:
            with translate_errors():
                rows: Any = self.client.raw.xpending_range(
                    self._keys.stream(queue), GROUP, "-", "+", MOST_PENDING, consumer
                )
        except NoGroupError:
            return []
        return [row["time_since_delivered"] for row in rows]

    def read_pending(self, queue: str, most: int) -> tuple[list[PendingEntry], int]:
        """Return the oldest pending entries of a queue, at most so many, and how many there are beside them."""
        stream = self._keys.stream(queue)
        try:
            with translate_errors():
                rows: Any = self.client.raw.xpending_range(stream, GROUP, "-", "+", most)
                total: Any = len(rows) if len(rows) < most else self.client.raw.xpending(stream, GROUP)["pending"]
        except (NoGroupError, NoKeyError):
            return [], 0
        owners = {text_of(row["message_id"]): text_of(row["consumer"]) for row in rows}
        found = [PendingEntry(each, owners[each], packed) for each, packed in self._read_packed(stream, list(owners))]
        return found, max(0, int(total) - len(rows))

    def _read_packed(self, stream: str, entry_ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the ids and payloads of those of the entries that are still there, a few in each answer."""
        for start in range(0, len(entry_ids), _PAYLOADS):
            some = entry_ids[start : start + _PAYLOADS]
            with translate_errors():
                pipe = self.client.raw.pipeline(transaction=False)
                for entry_id in some:
                    pipe.xrange(stream, entry_id, entry_id)
                answers: Any = pipe.execute()
            for entry_id, entries in zip(some, answers, strict=True):
                for _, fields in entries:
                    yield entry_id, next(iter(fields.values()), b"")

    def count_overdue(self, queue: str, late_ms: int) -> int:
        """Count the delayed entries that should have been promoted more than `late_ms` ago."""
        due_ms = self.read_clock_ms() - late_ms
        with translate_errors():
            count: Any = self.client.raw.zcount(self._keys.delayed(queue), "-inf", due_ms)
        return int(count)

    def scan_delayed(self, queue: str, cursor: int) -> tuple[int, list[bytes]]:
        """Return the next cursor, 0 at the end, and some of the delayed entries; some may come twice."""
        next_cursor, entries = self.client.run("scan_delayed", [self._keys.delayed(queue)], [cursor, SCAN_CHUNK])
        return int(next_cursor), entries

    def scan_stream(self, queue: str, after_id: str) -> list[Delivery]:
        """Return the next `SCAN_CHUNK` entries after an id, waiting and pending; fewer at the end."""
        rows = self.client.run("scan_stream", [self._keys.stream(queue)], [after_id, SCAN_CHUNK])
        return [Delivery(queue, entry_id.decode(), packed) for entry_id, packed in rows]

    def read_server_state(self) -> dict[str, Any]:
        """Return Redis' own fields about memory, persistence and work, and `slow_calls`."""
        with translate_errors():
            pipe = self.client.raw.pipeline(transaction=False)
            for section in ("memory", "persistence", "clients", "stats"):
                pipe.info(section)
            pipe.slowlog_len()
            *sections, slow_calls = pipe.execute()
        state: dict[str, Any] = {name: value for section in sections for name, value in section.items()}
        return {name: state[name] for name in _SERVER_FIELDS if name in state} | {"slow_calls": slow_calls}

    def find_leaked_keys(self) -> list[bytes]:
        """Return the keys under the prefix that are neither a queue's own nor have a TTL: a sign of a defect."""
        suffixes = (b":stream", b":delayed", b":open")
        raw, prefix = self.client.raw, self._keys.prefix
        with translate_errors():
            names = list(raw.scan_iter(match=f"{prefix}:*", count=1000))
            others = [name for name in names if not (name.endswith(suffixes) and is_text(name))]
            lasting = [name for name in others if raw.ttl(name) == -1]
        return [name for name in lasting if name != self._keys.installation().encode()]


def _age_of(entry_id: bytes, now: float) -> float:
    """The age of an entry in seconds, at a moment in Unix seconds; 0 for no entry."""
    return max(0.0, now - int(entry_id.partition(b"-")[0]) / 1000) if entry_id else 0.0
