"""What small runs cost to enqueue, one by one and together, and how soon submitted runs are prepared.

Costs are for each item, compared with one run of as many items, in alternating rounds without workers. `enqueue_runs`
does at once what `enqueue` does for each. `enqueue_many` submits, without the jobs' code; it includes the work of the
preparer, up to the entries in Redis, which runs here after it. The floor of `one by one` is what its two waits cost:
one row in a table without indexes, committed, and one call to Redis, packed beforehand.

Latency is the time from the commit of `submit_run` to `prepared_at`, with the loop of a supervisor in this process:
woken by PostgreSQL, and polling alone. Runs are submitted at random moments.

    .venv/bin/python benchmarks/submissions.py [--runs N] [--items N] [--rounds N] [--submissions N]
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import psutil
from psycopg_pool import ConnectionPool

from bench_pool import SAMPLE_JOBS, Bench, machine, positive, print_table, private_services, spread, wait_until
from streamworkers.database import Connection, connect, open_pool
from streamworkers.engine import ledger
from streamworkers.engine.enqueue import enqueue, enqueue_many, enqueue_runs
from streamworkers.engine.host.host import stop_loops
from streamworkers.engine.host.loop import ConnectionLoop, Loop
from streamworkers.engine.host.metrics import ServiceMetrics
from streamworkers.engine.job import RunRequest
from streamworkers.engine.redis.client import read_script
from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.registry import Registry, installed_jobs
from streamworkers.engine.services.job_types import list_job_types
from streamworkers.engine.services.loop import PromptLoop
from streamworkers.engine.services.preparer import Preparer, follow_submissions
from streamworkers.logs import configure_logs
from streamworkers.market.targets import MarketTargets

TARGETS = {"one by one": 5.0, "enqueue_runs": 1.5}
MANY = 10_000
MANY_SECONDS = 1.0
WOKEN_SECONDS, POLLING_SECONDS = 0.1, 1.5
_WAIT_SECONDS = 60.0
_SHOWN_PERCENTILE = 0.95
Pool = ConnectionPool[Connection]


def main() -> None:
    """Measure costs and latencies, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=positive, default=500)
    parser.add_argument("--items", type=positive, default=10, help="items of a small run")
    parser.add_argument("--rounds", type=positive, default=9)
    parser.add_argument("--submissions", type=positive, default=200, help="runs whose latency is measured, each way")
    words = parser.parse_args()
    sys.path.insert(0, str(SAMPLE_JOBS))
    registry = installed_jobs()
    configure_logs("warning", "console")
    with (
        private_services() as bench,
        open_pool(bench.database_url, application="benchmark", max_size=4) as pool,
    ):
        ledger.record_job_types(bench.connection, list_job_types(registry), "benchmark")
        compare_costs(bench, pool, registry, words)
        measure_latencies(bench, pool, registry, words.submissions)


def compare_costs(bench: Bench, pool: Pool, registry: Registry, words: argparse.Namespace) -> None:
    """Print what an item costs each way, and how long submitting very many runs takes."""
    about = machine(bench)
    preparer = make_preparer(bench, pool, registry)
    small = [make_request(words.items)] * words.runs
    large = make_request(words.items * words.runs)
    ways: dict[str, Callable[[], object]] = {
        "one run": lambda: enqueue(bench.connection, bench.streams, registry, large),
        "floor": partial(add_by_hand, bench, words.runs, words.items),
        "one by one": lambda: [enqueue(bench.connection, bench.streams, registry, each) for each in small],
        "enqueue_runs": lambda: enqueue_runs(bench.connection, bench.streams, registry, small),
        "enqueue_many": lambda: (enqueue_many(bench.connection, small), preparer.run_once()),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(words.rounds + 1):
        for name, way in ways.items():
            bench.empty()
            before = processor_seconds(bench)
            taken = time_of(way)
            used = processor_seconds(bench) - before
            assert bench.client.xlen(bench.streams.keys.stream("bench")) == words.runs * words.items
            if number > 0:  # the first round warms up
                seconds[name].append(taken)
                processor[name].append(used)
    scale = 1e6 / (words.runs * words.items)
    rows = []
    for name in ways:
        target = f"{TARGETS[name]:g}" if name in TARGETS else ""
        cells = [cell for found in (seconds, processor) for cell in describe(found, name, scale)]
        rows.append([name, *cells, target])
    bench.empty()
    many = [time_of(lambda: enqueue_many(bench.connection, [make_request(words.items)] * MANY)) for _ in range(3)]
    print_table(
        f"{words.runs} runs of {words.items} items, and one of as many: medians of {words.rounds} rounds (min-max)",
        ["", "µs an item", "ratio", "processor, µs an item", "ratio", "target"],
        rows,
        [f"{MANY:,} runs in one call: {spread(many, 2)} s (target {MANY_SECONDS:g} s)", about],
    )
    bench.empty()


def add_by_hand(bench: Bench, runs: int, items: int) -> None:
    """Commit a row, then add the same entries, as often as there are runs, with nothing else to do."""
    bench.connection.execute("CREATE TABLE IF NOT EXISTS floor (note text)")
    keys = [bench.streams.keys.stream("bench"), bench.streams.keys.open_items("bench")]
    entries = [Entry(1, seq, "noop", f"S{seq}", "", 1_764_000_000_000).pack() for seq in range(items)]
    script = bench.client.script_load(read_script("add"))
    connection: Any = bench.client.connection_pool.get_connection()
    command = connection.pack_command("EVALSHA", script, len(keys), *keys, 1, items, *entries)
    for _ in range(runs):
        bench.connection.execute("INSERT INTO floor VALUES (%s)", ("",))
        connection.send_packed_command(command)
        connection.read_response()
    bench.client.connection_pool.release(connection)


def describe(found: dict[str, list[float]], name: str, scale: float) -> tuple[str, str]:
    """The cost of an item one way, and its ratio to that of one run."""
    ratios = [ours / theirs for ours, theirs in zip(found[name], found["one run"], strict=True)]
    return spread([each * scale for each in found[name]], 1), spread(ratios, 2)


def processor_seconds(bench: Bench) -> float:
    """Processor seconds so far of this process, of PostgreSQL and of Redis."""
    postmaster = psutil.Process(bench.connection.info.backend_pid).parent()
    assert postmaster is not None
    total = bench.redis_seconds()
    for process in [psutil.Process(), postmaster, *postmaster.children()]:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def measure_latencies(bench: Bench, pool: Pool, registry: Registry, count: int) -> None:
    """Print how soon runs are prepared after their commit."""
    rows = []
    for name, is_woken, target in (("woken", True, WOKEN_SECONDS), ("polling", False, POLLING_SECONDS)):
        with running_preparer(bench, pool, registry, is_woken=is_woken):
            found = sorted(measure_one(bench, random.uniform(0, 0.3)) for _ in range(count))
        middle, late = found[len(found) // 2], found[int(_SHOWN_PERCENTILE * len(found))]
        rows.append([name, *(f"{1000 * each:.0f}" for each in (middle, late, found[-1], target))])
    columns = ["", "median, ms", "p95, ms", "longest, ms", "target for p95, ms"]
    print_table(f"From the commit to prepared, {count} runs each", columns, rows, [machine(bench)])


def measure_one(bench: Bench, pause: float) -> float:
    """Submit a run after a pause; the seconds from its commit until it is prepared."""
    time.sleep(pause)
    request = json.dumps({"job": "noop", "symbols": ["A"]})
    ((run_id,),) = bench.connection.execute("SELECT id FROM submit_run(%s::jsonb)", (request,)).fetchall()
    committed = time.time()
    query = "SELECT extract(epoch FROM prepared_at)::float8 FROM runs WHERE id = %s AND prepared_at IS NOT NULL"
    wait_until(
        lambda: bench.connection.execute(query, (run_id,)).fetchone() is not None, _WAIT_SECONDS, "it is prepared"
    )
    ((prepared,),) = bench.connection.execute(query, (run_id,)).fetchall()
    return max(0.0, float(prepared) - committed)


@contextmanager
def running_preparer(bench: Bench, pool: Pool, registry: Registry, *, is_woken: bool) -> Iterator[None]:
    """The loops of a supervisor that prepare submitted runs."""
    loop = PromptLoop(make_preparer(bench, pool, registry), bench.streams, "benchmark", ServiceMetrics())
    loops: list[Loop] = [loop]
    if is_woken:
        follow = partial(follow_submissions, lambda: connect(bench.database_url), loop.wake)
        loops.append(ConnectionLoop("submissions", follow))
    for each in loops:
        each.start()
    try:
        yield
    finally:
        stop_loops(loops)


def make_preparer(bench: Bench, pool: Pool, registry: Registry) -> Preparer:
    """A preparer of all jobs."""
    return Preparer(pool, bench.streams, registry, MarketTargets(), 30.0, ServiceMetrics())


def make_request(items: int) -> RunRequest:
    """A run that does nothing for each of its items."""
    return RunRequest("noop", tuple(f"S{number}" for number in range(items)), "benchmark")


def time_of(action: Callable[[], object]) -> float:
    """The seconds that a call takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
