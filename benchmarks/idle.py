"""What an idle pool costs: a supervisor and its workers on three queues, over a minute, and then several of them.

Redis commands are counted by Redis (`INFO commandstats`), including those called by Lua scripts; PostgreSQL
transactions by PostgreSQL (`pg_stat_database`); CPU seconds and context switches by the kernel. Target: under 10 Redis
commands a second for a supervisor and its children together. Several supervisors share the background services, so
they cost less than as many times one: four at most 2.5 times.

    .venv/bin/python benchmarks/idle.py [--seconds N] [--processes N] [--supervisors N] [--json]
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

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
COMPARED, TARGET_RATIO = 4, 2.5
SHOWN_COMMANDS = 12
RUN_SECONDS = 60.0
# PostgreSQL's processes publish their counters after ten seconds of idleness.
SETTLE_SECONDS = 12.0


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters at one moment: of Redis, of PostgreSQL, and CPU seconds and context switches of each process."""

    at: float
    commands: Counter[str]
    transactions: int
    processes: Sequence[tuple[float, int, int]]


@dataclass(frozen=True, slots=True)
class Observed:
    """What pools used in a second of idleness: commands, transactions, and CPU seconds and switches by process."""

    commands: dict[str, float]
    transactions: float
    processes: dict[str, tuple[float, float, float]]
    memory: dict[str, tuple[float, float]]

    @property
    def all_commands(self) -> float:
        """The Redis commands of all kinds."""
        return sum(self.commands.values())

    @property
    def cpu(self) -> float:
        """The CPU seconds of all processes."""
        return sum(cpu for cpu, _, _ in self.processes.values())


def main() -> None:
    """Let a pool do a little work, so that everything is loaded, then observe it idle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=positive, default=60)
    parser.add_argument("--processes", type=positive, default=2)
    parser.add_argument("--supervisors", type=positive, default=COMPARED, help="how many to compare with one")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    words = parser.parse_args()
    sys.path.insert(0, str(SAMPLE_JOBS))
    with private_services() as bench:
        about = machine(bench)
        one = observe(bench, 1, words.processes, words.seconds)
        several = observe(bench, words.supervisors, words.processes, words.seconds)
    print_figures(
        f"An idle pool: a supervisor, {words.processes} workers, {len(QUEUES)} queues, {words.seconds} s",
        describe(one) + compare(words.supervisors, one, several),
        ["commands include those that Lua scripts call", about],
        as_json=words.json,
    )


def observe(bench: Bench, supervisors: int, workers: int, seconds: float) -> Observed:
    """Let supervisors do a little work, and observe them idle."""
    queue_words = [word for queue in QUEUES for word in ("--queue", queue)]
    with ExitStack() as stack:
        pools = [
            stack.enter_context(running_pool(bench, "--processes", str(workers), *queue_words))
            for _ in range(supervisors)
        ]
        processes = {}
        for number, pool in enumerate(pools, 1):
            pool.wait_until_ready(bench, workers)
            processes[f"supervisor {number}"] = psutil.Process(pool.process.pid)
            for event in pool.events("fork_server_started"):
                processes[f"fork server {number}"] = psutil.Process(event["pid"])
            for place, pid in enumerate(pool.workers(), 1):
                processes[f"worker {number}.{place}"] = psutil.Process(pid)
        for job in ("noop", "ledger_entry"):
            symbols = tuple(f"S{number}" for number in range(200))
            run, _ = enqueue(bench.connection, bench.streams, installed_jobs(), RunRequest(job, symbols, "idle"))
            wait_for_run(bench, run.id, RUN_SECONDS)
        time.sleep(SETTLE_SECONDS)
        return watch(bench, processes, seconds)


def watch(bench: Bench, processes: Mapping[str, psutil.Process], seconds: float) -> Observed:
    """Read all counters, wait, read them again."""
    before = read(bench, list(processes.values()))
    time.sleep(seconds)
    after = read(bench, list(processes.values()))
    passed = after.at - before.at
    used = [
        ((new[0] - old[0]) / passed, (new[1] - old[1]) / passed, (new[2] - old[2]) / passed)
        for old, new in zip(before.processes, after.processes, strict=True)
    ]
    memory = {name: process.memory_full_info() for name, process in processes.items()}
    return Observed(
        {name: count / passed for name, count in (after.commands - before.commands).most_common()},
        (after.transactions - before.transactions) / passed,
        dict(zip(processes, used, strict=True)),
        {name: (each.rss / 1e6, each.uss / 1e6) for name, each in memory.items()},
    )


def describe(one: Observed) -> list[Figure]:
    """The figures of one supervisor."""
    figures = [Figure("Redis commands/s", [one.all_commands], TARGET_COMMANDS)]
    for name, rate in list(one.commands.items())[:SHOWN_COMMANDS]:
        figures.append(Figure(f"  {name}", [rate], digits=3))
    figures.append(Figure("PostgreSQL transactions/s", [one.transactions]))
    for name, (cpu, voluntary, forced) in one.processes.items():
        resident, private = one.memory[name]
        figures += [
            Figure(f"{name}: CPU, % of a core", [100 * cpu], digits=3),
            Figure(f"{name}: context switches/s, voluntary", [voluntary], digits=1),
            Figure(f"{name}: context switches/s, involuntary", [forced], digits=1),
            Figure(f"{name}: resident memory, MB", [resident], digits=0),
            Figure(f"{name}: private memory, MB", [private], digits=0),
        ]
    return figures


def compare(count: int, one: Observed, several: Observed) -> list[Figure]:
    """The figures of several supervisors, against those of one."""
    most = TARGET_RATIO if count == COMPARED else None
    return [
        Figure(f"{count} supervisors: Redis commands/s", [several.all_commands]),
        Figure("  times one", [several.all_commands / one.all_commands], most),
        *(Figure(f"  {name}", [rate], digits=3) for name, rate in list(several.commands.items())[:SHOWN_COMMANDS]),
        Figure(f"{count} supervisors: PostgreSQL transactions/s", [several.transactions]),
        Figure("  times one", [several.transactions / one.transactions]),
        Figure(f"{count} supervisors: CPU of all processes, % of a core", [100 * several.cpu], digits=3),
        Figure("  times one", [several.cpu / one.cpu], most),
    ]


def cpu_seconds(process: psutil.Process) -> float:
    """The processor time of a process, to the nanosecond where the kernel counts so."""
    try:
        files = [Path(f"/proc/{process.pid}/task/{thread.id}/schedstat") for thread in process.threads()]
        return sum(int(file.read_text().split()[0]) for file in files) / 1e9
    except OSError:
        times = process.cpu_times()
        return float(times.user + times.system)


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
        # The kernel counts them by thread, and psutil accepts a thread id.
        switches = [psutil.Process(thread.id).num_ctx_switches() for thread in process.threads()]
        voluntary, forced = (sum(counts) for counts in zip(*switches, strict=True))
        usages.append((cpu_seconds(process), voluntary, forced))
    return Reading(time.monotonic(), commands, row[0], usages)


if __name__ == "__main__":
    main()
