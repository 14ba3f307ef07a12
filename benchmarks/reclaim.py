"""How long one step keeps Redis busy while a million entries are pending.

A million entries are added and delivered to four consumers that never finish them. Then each verb that runs in the
background, or that a worker needs, is called many times in each of these states:

    none expired      all leases are valid: the reclaimer examines all entries and takes none
    all expired       every step requeues as many as its limit allows
    payloads deleted  the entries are pending, but were deleted from the stream: every step drops some
    own batch         another consumer, with one batch in hand, renews, inspects, finishes and requeues

Durations are measured in the server, by Redis' slow log with a threshold of zero. Meanwhile a second client sends a
PING every millisecond; its waits are shown too. Target: a 99th percentile under 10 ms for each verb.

    .venv/bin/python benchmarks/reclaim.py [--entries N] [--calls N] [--redis-server PROGRAM] [--json]

The append-only file is off, so that its rewrites are not measured.
"""

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import redis

from bench_pool import Bench, machine, percentile, positive, print_table, private_services
from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.redis.keys import GROUP
from streamworkers.engine.redis.leases import REQUEUE_CHUNK
from streamworkers.engine.redis.queue import FinishedBatch
from streamworkers.engine.services.reclaimer import LIMIT

QUEUE = "bench"
CONSUMERS = 4
READ_COUNT = 10_000
DELETE_COUNT = 1000
BATCH = 200
TARGET_MS = 10.0
FRESH_MS, EXPIRED_MS = 3_600_000, 1
PING_PAUSE_SECONDS = 0.001
OWN = "own.1"


@dataclass(frozen=True, slots=True)
class Measured:
    """Milliseconds of one verb in the server, and of each PING of a second client meanwhile."""

    state: str
    verb: str
    server_ms: Sequence[float]
    ping_ms: Sequence[float]

    def as_row(self) -> list[str]:
        """The measurement as a row of the table."""
        shown = [f"{value:.3f}" for value in (*summary(self.server_ms), *summary(self.ping_ms))]
        reached = "yes" if summary(self.server_ms)[1] < TARGET_MS else "NO"
        return [f"{self.state}: {self.verb}", f"{len(self.server_ms):,}", *shown, reached]

    def as_json(self) -> dict[str, object]:
        """The measurement for `--json`."""
        names = ("p50", "p99", "max")
        server, ping = (dict(zip(names, summary(values), strict=True)) for values in (self.server_ms, self.ping_ms))
        calls = len(self.server_ms)
        return {"state": self.state, "verb": self.verb, "calls": calls, "server_ms": server, "ping_ms": ping}


def summary(milliseconds: Sequence[float]) -> tuple[float, float, float]:
    """The 50th and 99th percentile and the maximum."""
    return percentile(milliseconds, 0.5), percentile(milliseconds, 0.99), max(milliseconds)


class Meter:
    """Calls verbs and keeps the measurements."""

    def __init__(self, bench: Bench, calls: int) -> None:
        self.bench = bench
        self.calls = calls
        self.measured: list[Measured] = []

    def measure(
        self, state: str, verb: str, call: Callable[[], object], *, command: str = "EVALSHA", calls: int | None = None
    ) -> None:
        """Call a verb repeatedly; only its own command is counted, which includes those of its script."""
        client = self.bench.client
        client.slowlog_reset()
        client.config_set("slowlog-log-slower-than", 0)
        with pinging(self.bench.redis_url) as waits:
            for _ in range(calls or self.calls):
                call()
        client.config_set("slowlog-log-slower-than", -1)
        found: Any = client.slowlog_get(-1)
        durations = [
            entry["duration"] / 1000 for entry in found if entry["command"].split()[0].upper() == command.encode()
        ]
        self.measured.append(Measured(state, verb, durations, waits))


def main() -> None:
    """Fill the queue, measure each state, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=positive, default=1_000_000)
    parser.add_argument("--calls", type=positive, default=2000, help="calls of each verb in each state")
    parser.add_argument("--redis-server", type=Path, help="Redis program to measure instead of the embedded one")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    words = parser.parse_args()
    with private_services(words.redis_server) as bench:
        about = machine(bench)
        bench.client.config_set("appendonly", "no")
        bench.client.config_set("slowlog-max-len", 10_000_000)
        meter = Meter(bench, words.calls)
        fill(bench, words.entries)
        measure_fresh(meter)
        measure_own_batch(meter)
        measure_expired(meter, "all expired")
        fill(bench, words.entries, delete=True)
        measure_expired(meter, "payloads deleted")
    title = f"Milliseconds of one call while {words.entries:,} entries are pending"
    notes = [
        f"a step reclaims at most {LIMIT} entries and requeues {REQUEUE_CHUNK}; own batch: {BATCH} entries",
        f"target: a p99 in the server under {TARGET_MS:g} ms",
        about,
    ]
    if words.json:
        measured = [one.as_json() for one in meter.measured]
        print(json.dumps({"title": title, "notes": notes, "measured": measured}, indent=2))
        return
    columns = ["", "calls", "p50", "p99", "max", "PING p50", "PING p99", "PING max", "reached"]
    print_table(title, columns, [one.as_row() for one in meter.measured], notes)


def measure_fresh(meter: Meter) -> None:
    """The reclaimer's steps through entries with valid leases, and the reads of a supervisor."""
    streams, cursor, state = meter.bench.streams, "0-0", "none expired"

    def step() -> None:
        nonlocal cursor
        cursor, count = streams.leases.reclaim(QUEUE, "bench", FRESH_MS, cursor, LIMIT)
        assert count == 0

    meter.measure(state, "reclaim", step)
    meter.measure(state, "backlog", lambda: streams.inspector.read_backlog(QUEUE), command="XPENDING")
    meter.measure(state, "consumers", lambda: streams.inspector.read_consumers(QUEUE), command="XINFO")
    meter.measure(state, "leave", lambda: streams.leases.remove_consumer(QUEUE, "gone.0"))
    meter.measure(state, f"renew {REQUEUE_CHUNK} of many", lambda: renew_chunk(meter.bench))


def renew_chunk(bench: Bench) -> None:
    """One step of renewing a consumer that holds a quarter of all entries."""
    bench.streams.client.run(
        "renew", [bench.streams.keys.stream(QUEUE)], [GROUP, "gone.0", FRESH_MS, "-", REQUEUE_CHUNK]
    )


def measure_expired(meter: Meter, state: str) -> None:
    """The reclaimer's steps, each of which takes as many entries as its limit allows."""
    streams, cursor = meter.bench.streams, "0-0"

    def step() -> None:
        nonlocal cursor
        cursor, _ = streams.leases.reclaim(QUEUE, "bench", EXPIRED_MS, cursor, LIMIT)

    before = streams.inspector.read_backlog(QUEUE).pending
    meter.measure(state, "reclaim", step, calls=min(meter.calls, before // LIMIT // 2))
    # The last consumer's entries are the farthest from the reclaimer's cursor.
    last = f"gone.{CONSUMERS - 1}"
    most = streams.inspector.read_consumers(QUEUE)[last] // REQUEUE_CHUNK
    meter.measure(state, "requeue_consumer", lambda: requeue_chunk(meter.bench, last), calls=min(meter.calls, most))
    assert streams.inspector.read_backlog(QUEUE).pending < before


def requeue_chunk(bench: Bench, consumer: str) -> None:
    """One step of requeueing the entries of a consumer with a huge batch; the verb repeats it to the end."""
    words = [GROUP, consumer, "", REQUEUE_CHUNK]
    assert bench.streams.client.run("requeue_consumer", [bench.streams.keys.stream(QUEUE)], words) == REQUEUE_CHUNK


def measure_own_batch(meter: Meter) -> None:
    """The calls of a worker and its supervisor for one batch."""
    streams, state = meter.bench.streams, "own batch"
    rounds = max(1, meter.calls // 10)
    add(meter.bench, BATCH * (rounds + 1))
    read_own(meter.bench)
    meter.measure(state, "renew", lambda: streams.leases.renew(QUEUE, OWN, FRESH_MS))
    meter.measure(state, "owned", lambda: streams.queues.find_owned(QUEUE, OWN), command="XPENDING")

    def requeue() -> None:
        assert streams.leases.requeue(QUEUE, OWN) == BATCH
        read_own(meter.bench)

    def finish() -> None:
        ids = sorted(streams.queues.find_owned(QUEUE, OWN))
        (finished,) = streams.queues.finish(QUEUE, [FinishedBatch(1, ids)])
        assert finished.done == BATCH
        read_own(meter.bench)

    meter.measure(state, "requeue_consumer", requeue, calls=rounds)
    meter.measure(state, "finish", finish, calls=rounds)
    streams.queues.finish(QUEUE, [FinishedBatch(1, sorted(streams.queues.find_owned(QUEUE, OWN)))])
    meter.measure(state, "leave", lambda: streams.leases.remove_consumer(QUEUE, OWN))


def read_own(bench: Bench) -> None:
    """Read one batch."""
    assert len(bench.streams.queues.read([QUEUE], OWN, BATCH, 1)) == BATCH


def fill(bench: Bench, entries: int, *, delete: bool = False) -> None:
    """Create a stream whose entries are all pending, and optionally delete the payloads."""
    bench.client.flushall()
    bench.streams.queues.ensure_groups([QUEUE])
    add(bench, entries)
    for number in range(entries // READ_COUNT + CONSUMERS):
        found = bench.streams.queues.read([QUEUE], f"gone.{number % CONSUMERS}", READ_COUNT, 1)
        if delete and found:
            ids = [delivery.entry_id for delivery in found]
            for start in range(0, len(ids), DELETE_COUNT):
                bench.client.xdel(bench.streams.keys.stream(QUEUE), *ids[start : start + DELETE_COUNT])
    backlog = bench.streams.inspector.read_backlog(QUEUE)
    assert backlog.pending == entries


def add(bench: Bench, entries: int) -> None:
    """Add entries as an enqueue does."""
    now_ms = time.time_ns() // 1_000_000
    bench.streams.queues.add(QUEUE, 1, [Entry(1, seq, "noop", f"S{seq}", "", now_ms).pack() for seq in range(entries)])


@contextmanager
def pinging(url: str) -> Iterator[list[float]]:
    """A second client in a process of its own; after the block, the list holds its waits in milliseconds."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=ping_until_told, args=(url, theirs), daemon=True)
    waits: list[float] = []
    process.start()
    ours.recv()
    try:
        yield waits
        ours.send(None)
        waits.extend(ours.recv())
    finally:
        process.terminate()
        process.join()


def ping_until_told(url: str, orders: Connection) -> None:
    """Ping until something arrives on the pipe, then send the waits in milliseconds."""
    client = redis.Redis.from_url(url)
    client.ping()
    orders.send(None)
    waits = []
    while not orders.poll(PING_PAUSE_SECONDS):
        started = time.perf_counter()
        client.ping()
        waits.append(1000 * (time.perf_counter() - started))
    orders.send(waits)


if __name__ == "__main__":
    main()
