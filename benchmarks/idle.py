"""What an idle pool costs: a supervisor and its workers on three queues, over a minute.

Redis commands are counted by Redis (`INFO commandstats`), including those called by Lua scripts; PostgreSQL
transactions by PostgreSQL (`pg_stat_database`); CPU seconds and context switches by the kernel. Target: under 10 Redis
commands a second for a supervisor and its children together.

    .venv/bin/python benchmarks/idle.py [--seconds N] [--processes N] [--json]
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
from psycopg.conninfo import make_conninfo

from bench_pool import (
    SAMPLE_JOBS,
    Bench,
    Figure,
    machine,
    positive,
    print_figures,
    private_services,
    running_pool,
    wait_for_run,
)
from streamworkers.database import connect
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.registry import installed_jobs

QUEUES = ("analysis", "bench", "tests")
TARGET_COMMANDS = 10.0
SHOWN_COMMANDS = 12
RUN_SECONDS = 60.0
# PostgreSQL's processes publish their counters after ten seconds of idleness.
SETTLE_SECONDS = 12.0


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters at one moment."""

    at: float
    commands: Counter[str]
    transactions: int
    processes: Sequence[tuple[float, int, int]]


def main() -> None:
    """Let a pool do a little work, so that everything is loaded, then observe it idle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=positive, default=60)
    parser.add_argument("--processes", type=positive, default=2)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    words = parser.parse_args()
    sys.path.insert(0, str(SAMPLE_JOBS))
    queue_words = [word for queue in QUEUES for word in ("--queue", queue)]
    with private_services() as bench:
        about = machine(bench)
        with running_pool(bench, "--processes", str(words.processes), *queue_words) as pool:
            pool.wait_until_ready(bench, words.processes)
            for job in ("noop", "ledger_entry"):
                symbols = tuple(f"S{number}" for number in range(200))
                run, _ = enqueue(bench.connection, bench.streams, installed_jobs(), RunRequest(job, symbols, "idle"))
                wait_for_run(bench, run.id, RUN_SECONDS)
            time.sleep(SETTLE_SECONDS)
            workers = [psutil.Process(pid) for pid in pool.workers()]
            figures = watch(bench, [psutil.Process(pool.process.pid), *workers], words.seconds)
    print_figures(
        f"An idle pool: a supervisor, {words.processes} workers, {len(QUEUES)} queues, {words.seconds} s",
        figures,
        ["commands include those that Lua scripts call", about],
        as_json=words.json,
    )


def watch(bench: Bench, processes: Sequence[psutil.Process], seconds: float) -> list[Figure]:
    """Read all counters, wait, read them again."""
    before = read(bench, processes)
    time.sleep(seconds)
    after = read(bench, processes)
    passed = after.at - before.at
    commands = after.commands - before.commands
    figures = [
        Figure("Redis commands/s", [commands.total() / passed], TARGET_COMMANDS),
        *(Figure(f"  {name}", [count / passed], digits=3) for name, count in commands.most_common(SHOWN_COMMANDS)),
        Figure("PostgreSQL transactions/s", [(after.transactions - before.transactions) / passed]),
    ]
    names = ["supervisor", *(f"worker {number}" for number in range(1, len(processes)))]
    for name, process, old, new in zip(names, processes, before.processes, after.processes, strict=True):
        memory = process.memory_full_info()
        figures += [
            Figure(f"{name}: CPU, % of a core", [100 * (new[0] - old[0]) / passed]),
            Figure(f"{name}: context switches/s, voluntary", [(new[1] - old[1]) / passed], digits=1),
            Figure(f"{name}: context switches/s, involuntary", [(new[2] - old[2]) / passed], digits=1),
            Figure(f"{name}: resident memory, MB", [memory.rss / 1e6], digits=0),
            Figure(f"{name}: unique memory, MB", [memory.uss / 1e6], digits=0),
        ]
    return figures


def read(bench: Bench, processes: Sequence[psutil.Process]) -> Reading:
    """All counters now, without the cost of reading them."""
    stats = bench.client.info("commandstats")
    assert isinstance(stats, dict)
    commands = Counter({name.removeprefix("cmdstat_"): int(values["calls"]) for name, values in stats.items()})
    commands.pop("info", None)
    # From another database, whose transactions are counted separately.
    with connect(make_conninfo(bench.database_url, dbname="postgres"), application="benchmark") as connection:
        row = connection.execute(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s",
            (bench.connection.info.dbname,),
        ).fetchone()
    assert row is not None
    usages = []
    for process in processes:
        times = process.cpu_times()
        # The kernel counts them by thread, and psutil accepts a thread id.
        switches = [psutil.Process(thread.id).num_ctx_switches() for thread in process.threads()]
        voluntary, forced = (sum(counts) for counts in zip(*switches, strict=True))
        usages.append((times.user + times.system, voluntary, forced))
    return Reading(time.monotonic(), commands, row[0], usages)


if __name__ == "__main__":
    main()
