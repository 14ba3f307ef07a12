"""What an item of a small run costs, compared with one of a large run: executing, and enqueueing.

Both ways make as many items that do nothing. The workers are warm. They stand still (SIGSTOP) while a round is
enqueued, so that executing is timed alone: from SIGCONT to the last `completed_at` in the ledger. Processor time is
that of supervisor, workers, PostgreSQL and Redis together while the runs are executed. Enqueueing is the time of the
calls: one call of `enqueue` for each run.

    .venv/bin/python benchmarks/small_runs.py [--runs N] [--items N] [--rounds N]
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

from bench_pool import (
    SAMPLE_JOBS,
    Bench,
    Pool,
    machine,
    positive,
    print_table,
    private_services,
    running_pool,
    spread,
    wait_until,
)
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.registry import Registry, installed_jobs

TARGET_RATIO = 3.0
RUN_SECONDS = 120.0
_COUNT_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds for each item: of the calls of `enqueue`, of executing by the clock, and of all processors."""

    enqueue: float
    execute: float
    processor: float


def main() -> None:
    """Measure alternating rounds of many small runs and of one large run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=positive, default=500)
    parser.add_argument("--items", type=positive, default=10, help="items of a small run")
    parser.add_argument("--rounds", type=positive, default=7)
    parser.add_argument("--processes", type=positive, default=2)
    parser.add_argument("--job", default="noop", choices=["noop", "ledger_entry"], help="ledger_entry saves a row each")
    words = parser.parse_args()
    sys.path.insert(0, str(SAMPLE_JOBS))
    registry = installed_jobs()
    shapes = {"small": (words.runs, words.items), "large": (1, words.runs * words.items)}
    costs: dict[str, list[Cost]] = {name: [] for name in shapes}
    with private_services() as bench:
        about = machine(bench)
        queue = registry[words.job].queue
        bench.streams.queues.ensure_groups([queue])
        with running_pool(bench, "--processes", str(words.processes), "--queue", queue, LOG_LEVEL="info") as pool:
            pool.wait_until_ready(bench, words.processes)
            for number in range(words.rounds + 1):
                for name, (runs, items) in shapes.items():
                    bench.empty()
                    bench.streams.queues.ensure_groups([queue])
                    cost = measure(bench, pool, registry, words.job, [items] * runs)
                    if number > 0:  # the first round warms up
                        costs[name].append(cost)
    print_costs(costs["small"], costs["large"], shapes, about)


def measure(bench: Bench, pool: Pool, registry: Registry, job: str, sizes: Sequence[int]) -> Cost:
    """The cost of an item of one round: enqueue runs of these sizes while the workers stand still, then let them go."""
    requests = [RunRequest(job, tuple(f"S{number}" for number in range(size)), "benchmark") for size in sizes]
    with standing_still(pool):
        started = time.perf_counter()
        for request in requests:
            enqueue(bench.connection, bench.streams, registry, request)
        enqueue_seconds = time.perf_counter() - started
        before = processor_seconds(bench, pool)
        began_at = time.time()
    wait_until(lambda: not count_open(bench), RUN_SECONDS, "all runs completed", _COUNT_POLL_SECONDS)
    processor = processor_seconds(bench, pool) - before
    ((completed_at,),) = bench.connection.execute("SELECT max(completed_at) FROM runs").fetchall()
    execute_seconds = completed_at.timestamp() - began_at
    scale = 1e6 / sum(sizes)
    return Cost(enqueue_seconds * scale, execute_seconds * scale, processor * scale)


def count_open(bench: Bench) -> int:
    """The number of runs that are not completed yet."""
    ((count,),) = bench.connection.execute("SELECT count(*) FROM runs WHERE status <> 'COMPLETED'").fetchall()
    return int(count)


@contextmanager
def standing_still(pool: Pool) -> Iterator[None]:
    """Stop the worker processes, but not their supervisor, for as long as the block takes."""
    pids = list(pool.workers())
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def processor_seconds(bench: Bench, pool: Pool) -> float:
    """Processor seconds so far of the supervisor, its workers, PostgreSQL and Redis."""
    backend = psutil.Process(bench.connection.info.backend_pid)
    postmaster = backend.parent()
    assert postmaster is not None
    supervisor = psutil.Process(pool.process.pid)
    processes = [supervisor, *supervisor.children(recursive=True), postmaster, *postmaster.children()]
    total = bench.redis_seconds()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def print_costs(small: Sequence[Cost], large: Sequence[Cost], shapes: dict[str, tuple[int, int]], about: str) -> None:
    """Print each cost of both, and the ratio by rounds."""
    rows = []
    for name, words in (
        ("execute", "execute, by the clock"),
        ("processor", "execute, processor time"),
        ("enqueue", "enqueue, one call for each run"),
    ):
        ours, theirs = [getattr(cost, name) for cost in small], [getattr(cost, name) for cost in large]
        ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
        rows.append([words, spread(ours, 0), spread(theirs, 0), spread(ratios, 1)])
    columns = [f"{runs:,} x {items:,}, µs an item" for runs, items in shapes.values()]
    print_table(
        f"An item of a small run and of a large one: medians of {len(small)} rounds (min-max)",
        ["", *columns, "ratio"],
        rows,
        [f"target: executing costs at most {TARGET_RATIO:g} x as much", about],
    )


if __name__ == "__main__":
    main()
