"""What the replacement of a dead worker costs, and how much memory workers have for themselves, by start method.

A supervisor with 8 workers runs the nightly analysis a few times, so that everything is loaded. Then workers are killed
one by one. The processor time of a replacement is that of the new process until it reads, and what its fork server used
meanwhile. Memory is private memory as the kernel counts it (`/proc/PID/smaps_rollup`). `spawn`, a fresh interpreter for
each worker, is what the pool does where it cannot fork; both are measured in the same run.

    .venv/bin/python benchmarks/replacement.py [--processes N] [--rounds N] [--json]
"""

import argparse
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from bench_pool import Bench, Figure, Pool, machine, positive, print_figures, private_services, running_pool, wait_until
from nightly import load_bars, pooled_round
from streamworkers.config.pool import PoolSettings

METHODS = ("spawn", "forkserver")
TARGET_CPU_SECONDS, TARGET_PRIVATE_MB = 0.3, 60.0
MAX_BARS, ANALYSES = 500, 3
START_SECONDS = 60.0
# What a worker does after it has connected: it makes its groups, and reads.
SETTLE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Costs:
    """The costs of one start method: CPU seconds of each replacement, private megabytes of each worker, and in all."""

    cpu_seconds: Sequence[float]
    private_mb: Sequence[float]
    all_mb: float


def main() -> None:
    """Measure both start methods on the same services, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=positive, default=8)
    parser.add_argument("--rounds", type=positive, default=8)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    words = parser.parse_args()
    with private_services() as bench:
        about = machine(bench)
        symbols = load_bars(bench, None)
        costs = {method: measure(bench, method, words.processes, words.rounds, symbols) for method in METHODS}
    default = PoolSettings().start_method
    figures = []
    for method, cost in costs.items():
        cpu, private = (TARGET_CPU_SECONDS, TARGET_PRIVATE_MB) if method == default else (None, None)
        figures += [
            Figure(f"{method}: CPU of a replacement, s", cost.cpu_seconds, cpu, digits=3),
            Figure(f"{method}: private memory of a worker, MB", cost.private_mb, private, digits=0),
            Figure(f"{method}: all processes of the supervisor, MB", [cost.all_mb], digits=0),
        ]
    print_figures(
        f"Replacement of a worker, {words.processes} workers after {ANALYSES} analyses of {len(symbols)} symbols",
        figures,
        ["all processes: the sum of their proportional sets (PSS), in which shared memory counts once", about],
        as_json=words.json,
    )


def measure(bench: Bench, method: str, processes: int, rounds: int, symbols: tuple[str, ...]) -> Costs:
    """Let a pool work, read its memory, and kill its workers in turn."""
    words = ("--processes", str(processes), "--queue", "analysis")
    with running_pool(bench, *words, START_METHOD=method, TARGET_BATCH_SECONDS="0.05") as pool:
        pool.wait_until_ready(bench, processes)
        for _ in range(ANALYSES):
            pooled_round(bench, symbols, MAX_BARS)
        private = [memory(pid).uss / 1e6 for pid in pool.workers()]
        family = [pool.process.pid, *(each.pid for each in psutil.Process(pool.process.pid).children(recursive=True))]
        whole = sum(memory(pid).pss for pid in family) / 1e6
        return Costs([replace_one(bench, pool, processes) for _ in range(rounds)], private, whole)


def memory(pid: int) -> "psutil._pslinux.pfullmem":
    """The memory of a process, as the kernel counts it."""
    return psutil.Process(pid).memory_full_info()


def replace_one(bench: Bench, pool: Pool, processes: int) -> float:
    """Kill a worker; returns the CPU seconds until another reads in its place."""
    servers = [event["pid"] for event in pool.events("fork_server_started")]
    before, old = sum(map(cpu_seconds, servers)), pool.workers()
    os.kill(next(iter(old)), signal.SIGKILL)
    wait_until(lambda: len(pool.workers().keys() - old.keys()) == 1, START_SECONDS, "the worker is replaced")
    pool.wait_until_ready(bench, processes)
    time.sleep(SETTLE_SECONDS)
    (new,) = pool.workers().keys() - old.keys()
    return cpu_seconds(new) + sum(map(cpu_seconds, servers)) - before


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
