"""How fast a scheduler is, and what it costs while nothing is due.

Lateness: ten schedules that tick each second; from the tick to the decision about its run, by PostgreSQL's clock.
Messages: a batch in the stream, from the first accepted to the last; and one in Pub/Sub at a time, from `PUBLISH` to
the run in the ledger. Universes: one answer of the cache, for a known join and for a new one. Idle: the six standing
jobs, nothing due. With `--at-once N` only this is measured: N schedules due in one minute, which one scheduler on one
core starts; and schedules due beside others that have each second of three days to catch up.

    .venv/bin/python benchmarks/schedules.py [--seconds N] [--messages N] [--at-once N] [--json]
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

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
TARGET_MINUTE = 60.0
BEHIND, BESIDE = 5, 100
MOST_SECONDS = 600.0


def main() -> None:
    """Measure everything with one scheduler on private services."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=positive, default=30)
    parser.add_argument("--messages", type=positive, default=2000)
    parser.add_argument("--at-once", type=positive, metavar="N", help="measure only N schedules due in one minute")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    words = parser.parse_args()
    sys.path.insert(0, str(SAMPLE_JOBS))
    with private_services() as bench:
        about = machine(bench)
        if words.at_once:
            figures = [*at_once(bench, words.at_once), *beside_backlogs(bench)]
            print_figures("Many schedules at once", figures, [about], as_json=words.json)
            return
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


def at_once(bench: Bench, count: int) -> list[Figure]:
    """Seconds from the minute in which all schedules are due until the last has its run; one replica on one core."""
    with scheduler_on_one_core(bench) as process:
        # Enough time to save them all before that minute.
        minute = (datetime.now(UTC) + timedelta(seconds=90 + count / 10)).replace(second=0, microsecond=0)
        for number in range(count):
            save(bench, f"at_once_{number}", cron=f"{minute.minute} {minute.hour} * * *", timezone="UTC")
        if datetime.now(UTC) > minute:
            sys.exit("saving the schedules took too long: name fewer")
        time.sleep((minute - datetime.now(UTC)).total_seconds() - 1)
        before = process.cpu_times()
        wait_until(lambda: decided(bench, "at_once") >= count, MOST_SECONDS, "all have a run", 0.5)
        after = process.cpu_times()
    row = bench.connection.execute(
        "SELECT extract(epoch FROM max(r.created_at) - %s)::float8, count(*)"
        " FROM ticks t JOIN runs r ON r.id = t.run_id WHERE t.state = 'started'",
        (minute,),
    ).fetchone()
    assert row is not None
    used = after.user + after.system - before.user - before.system
    return [
        Figure("schedules due in one minute", [count], digits=0),
        Figure("  with a run", [row[1]], digits=0),
        Figure("  the last run after, s", [row[0]], TARGET_MINUTE, 1),
        Figure("  the scheduler's processor time, s", [used], TARGET_MINUTE, 1),
    ]


def beside_backlogs(bench: Bench) -> list[Figure]:
    """Seconds until schedules that are due now are decided, beside some that catch up each second of three days."""
    bench.connection.execute("DELETE FROM schedules")
    for number in range(BEHIND):
        save(bench, f"behind_{number}", cron="* * * * * *", catch_up="all", max_instances=1000)
    for number in range(BESIDE):
        save(bench, f"beside_{number}", cron="* * * * *")
    for stem, since in (("behind", "3 days"), ("beside", "70 seconds")):
        bench.connection.execute(
            "UPDATE schedules SET planned_from = now() - %s::interval, next_run_at = NULL, due_at = NULL"
            " WHERE starts_with(name, %s)",
            (since, stem),
        )
    began = time.perf_counter()
    with scheduler_on_one_core(bench):
        wait_until(lambda: decided(bench, "behind"), READY_SECONDS, "a scheduler decides")
        first = time.perf_counter()
        wait_until(lambda: decided(bench, "beside") >= BESIDE, MOST_SECONDS, "those due now are decided", 0.02)
        beside = time.perf_counter() - first
        wait_until(lambda: caught_up(bench), MOST_SECONDS, "all is caught up", 0.1)
    return [
        Figure(
            f"{BESIDE} schedules due beside {BEHIND} that are three days of seconds behind: decided after, s", [beside]
        ),
        Figure("  all caught up after, s", [time.perf_counter() - began], digits=1),
    ]


def save(bench: Bench, name: str, **fields: object) -> None:
    """Save a schedule of one item."""
    given = {"name": name, "job": "noop", "target": {"symbols": ["A"]}, **fields}
    store.save_schedule(bench.connection, ScheduleDefinition.parse(given))


def decided(bench: Bench, stem: str) -> int:
    """How many schedules with names of a stem have a decided tick."""
    row = bench.connection.execute(
        "SELECT count(DISTINCT s.id) FROM schedules s JOIN ticks t ON t.schedule_id = s.id"
        " WHERE starts_with(s.name, %s)",
        (stem,),
    ).fetchone()
    assert row is not None
    return int(row[0])


def caught_up(bench: Bench) -> bool:
    """Whether no schedule has a tick of more than some seconds ago to decide."""
    row = bench.connection.execute(
        "SELECT count(*) FROM schedules WHERE next_run_at < now() - interval '10 s'"
    ).fetchone()
    return row == (0,)


@contextmanager
def scheduler_on_one_core(bench: Bench) -> Iterator[psutil.Process]:
    """A scheduler all of whose threads share one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        with running_scheduler(bench) as scheduler:
            os.sched_setaffinity(0, cores)
            wait_until(lambda: bench.client.pubsub_numsub(DATA_LOAD_CHANNEL)[0][1], READY_SECONDS, "a scheduler")
            yield psutil.Process(scheduler.process.pid)
    finally:
        os.sched_setaffinity(0, cores)


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
