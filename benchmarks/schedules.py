"""How fast a scheduler is, and what it costs while nothing is due.

Lateness: ten schedules that tick each second; from the tick to the decision about its run, by PostgreSQL's clock.
Messages: a batch in the stream, from the first accepted to the last; and one in Pub/Sub at a time, from `PUBLISH` to
the run in the ledger. Universes: one answer of the cache, for a known join and for a new one. Idle: the six standing
jobs, nothing due.

    .venv/bin/python benchmarks/schedules.py [--seconds N] [--messages N] [--json]
"""

import argparse
import json
import sys
import time

import psutil

from bench_pool import (
    SAMPLE_JOBS,
    Bench,
    Figure,
    machine,
    percentile,
    positive,
    print_figures,
    private_services,
    running_scheduler,
    wait_until,
)
from idle import SETTLE_SECONDS, read
from streamworkers.config import Settings
from streamworkers.database import connect
from streamworkers.engine.host.loop import ConnectionLoop
from streamworkers.engine.redis.keys import DATA_LOAD_CHANNEL, DATA_LOAD_STREAM
from streamworkers.market.universes.cache import UniverseCache
from streamworkers.market.universes.store import add_symbols
from streamworkers.schedules import store
from streamworkers.schedules.defaults import default_schedules
from streamworkers.schedules.definition import ScheduleDefinition

SCHEDULES = 10
SINGLE_MESSAGES = 100
SYMBOLS = 500
ANSWERS = 2000
TARGET_ANSWER_MS = 1.0
READY_SECONDS = 60.0


def main() -> None:
    """Measure everything with one scheduler on private services."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=positive, default=30)
    parser.add_argument("--messages", type=positive, default=2000)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    words = parser.parse_args()
    sys.path.insert(0, str(SAMPLE_JOBS))
    with private_services() as bench:
        about = machine(bench)
        figures = universes(bench)
        for definition in default_schedules(Settings()):
            store.save_schedule(bench.connection, definition)
        bench.connection.execute("UPDATE schedules SET job = 'noop' WHERE on_event IS NOT NULL")
        with running_scheduler(bench) as scheduler:
            wait_until(lambda: bench.client.pubsub_numsub(DATA_LOAD_CHANNEL)[0][1], READY_SECONDS, "a scheduler")
            figures += lateness(bench, words.seconds)
            figures += messages(bench, words.messages)
            time.sleep(SETTLE_SECONDS)
            figures += idle(bench, psutil.Process(scheduler.process.pid), words.seconds)
    print_figures("The scheduler", figures, [about], as_json=words.json)


def lateness(bench: Bench, seconds: int) -> list[Figure]:
    """Seconds from each tick to its decision, over schedules that tick each second."""
    for number in range(SCHEDULES):
        fields = {"name": f"every_second_{number}", "job": "noop", "target": {"symbols": ["A"]}}
        given = fields | {"cron": "* * * * * *", "max_instances": 1000, "catch_up": "all"}
        store.save_schedule(bench.connection, ScheduleDefinition.parse(given))
    time.sleep(seconds)
    bench.connection.execute("UPDATE schedules SET enabled = false WHERE name LIKE 'every_second%%'")
    rows = bench.connection.execute(
        "SELECT extract(epoch FROM decided_at - scheduled_for)::float8 * 1000 FROM ticks WHERE state = 'started'"
    ).fetchall()
    late = [milliseconds for (milliseconds,) in rows]
    return [
        Figure(f"ticks of {SCHEDULES} schedules of every second", [len(late)], digits=0),
        Figure("  lateness p50, ms", [percentile(late, 0.5)], digits=1),
        Figure("  lateness p99, ms", [percentile(late, 0.99)], digits=1),
    ]


def messages(bench: Bench, count: int) -> list[Figure]:
    """Messages a second from the stream, and milliseconds for one from Pub/Sub."""

    def text(name: str) -> str:
        symbols = ["A", "B", "C"]
        return json.dumps({"event_type": "data_load_complete", "job_id": name, "symbols": symbols, "timeframe": "day"})

    def runs(stem: str) -> int:
        row = bench.connection.execute("SELECT count(*) FROM runs WHERE external_id LIKE %s", (f"{stem}-%",)).fetchone()
        assert row is not None
        return int(row[0])

    pipe = bench.client.pipeline(transaction=False)
    for number in range(count):
        pipe.xadd(DATA_LOAD_STREAM, {"message": text(f"many-{number}")})
    pipe.execute()
    wait_until(lambda: runs("many") == count, 60 + count / 20, "all messages are accepted")
    row = bench.connection.execute(
        "SELECT extract(epoch FROM max(created_at) - min(created_at))::float8 FROM runs WHERE external_id LIKE 'many-%'"
    ).fetchone()
    assert row is not None
    single = []
    for number in range(SINGLE_MESSAGES):
        before = time.perf_counter()
        bench.client.publish(DATA_LOAD_CHANNEL, text(f"one-{number}"))
        wait_until(lambda number=number: runs("one") > number, 10.0, "a message is accepted", 0.0)  # type: ignore[misc]
        single.append(1000 * (time.perf_counter() - before))
    # Without a worker they would stay open, and the scheduler would follow their status.
    bench.connection.execute("UPDATE runs SET status = 'CANCELLED', status_notified = true")
    return [
        Figure(f"messages from the stream, of {count}, /s", [count / row[0]], digits=0),
        Figure("one message from Pub/Sub to its run, p50, ms", [percentile(single, 0.5)], digits=1),
        Figure("  p99, ms", [percentile(single, 0.99)], digits=1),
    ]


def universes(bench: Bench) -> list[Figure]:
    """Milliseconds for an answer of the cache, and until it sees a change."""
    names = ["sp500", "nasdaq100", "dow30"]
    for number, name in enumerate(names):
        add_symbols(bench.connection, name, [f"S{index}" for index in range(number, SYMBOLS // (number + 1))])
    cache = UniverseCache(lambda: connect(bench.database_url, application="cache"))
    loop = ConnectionLoop("universe-cache", cache.follow)
    loop.start()
    wait_until(lambda: cache.is_listening, READY_SECONDS, "the cache listens")
    known, new = [], []
    for number in range(ANSWERS):
        # Spaces make an expression that is new to the cache, of universes that it knows.
        expression = f"sp500:nasdaq100{' ' * (number % 900)}:dow30"
        before = time.perf_counter()
        cache.resolve("sp500:nasdaq100:dow30")
        middle = time.perf_counter()
        cache.resolve(expression)
        known.append(1000 * (middle - before))
        new.append(1000 * (time.perf_counter() - middle))
    seen = []
    for number in range(20):
        before = time.perf_counter()
        add_symbols(bench.connection, "dow30", [f"NEW{number}"])
        wait_until(lambda number=number: f"NEW{number}" in cache.resolve("dow30"), 10.0, "a change is seen", 0.0)  # type: ignore[misc]
        seen.append(1000 * (time.perf_counter() - before))
    loop.stop()
    loop.join()
    return [
        Figure(
            f"universe join of {SYMBOLS} symbols from memory, p99, ms", [percentile(known, 0.99)], TARGET_ANSWER_MS, 4
        ),
        Figure("  the first time, p99, ms", [percentile(new[:900], 0.99)], TARGET_ANSWER_MS, 4),
        Figure("  a change is seen by another process, ms", [percentile(seen, 0.5)], 1000.0, 1),
    ]


def idle(bench: Bench, process: psutil.Process, seconds: int) -> list[Figure]:
    """The cost of a scheduler while nothing is due."""
    before = read(bench, [process])
    time.sleep(seconds)
    after = read(bench, [process])
    passed = after.at - before.at
    return [
        Figure("idle: Redis commands/s", [(after.commands - before.commands).total() / passed], digits=1),
        Figure("idle: PostgreSQL transactions/s", [(after.transactions - before.transactions) / passed], digits=1),
        Figure("idle: processor, % of a core", [100 * (after.processes[0][0] - before.processes[0][0]) / passed]),
        Figure("idle: resident memory, MB", [process.memory_info().rss / 1e6], digits=0),
    ]


if __name__ == "__main__":
    main()
