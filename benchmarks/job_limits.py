"""What limits of a job cost: throughput with limits that have room, and a crowd that waits for two places.

Both parts are measured in one pool, so that a busy machine slows both sides alike. In the first, the same items run
without limits, with a concurrency limit that is never full, and with one by key; in alternating rounds. In the second,
as many items as given wait for two places, each held for some milliseconds, while another job of the same queue works;
it is compared with itself when nobody waits. Commands are those that Redis has processed.

    .venv/bin/python benchmarks/job_limits.py [--items N] [--waiting N] [--rounds N]
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from bench_pool import SAMPLE_JOBS, Bench, machine, positive, print_table, private_services, wait_until, workers
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.ledger import Run
from streamworkers.engine.registry import Registry, installed_jobs

RUN_SECONDS = 600.0
QUEUE = "bench"
JOBS = {"no limit": "noop", "a limit with room": "roomy", "one by key": "roomy_by_key"}


def main() -> None:
    """Measure both parts, and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=positive, default=5000)
    parser.add_argument("--waiting", type=positive, default=10_000)
    parser.add_argument("--milliseconds", type=positive, default=100)
    parser.add_argument("--seconds", type=positive, default=20, help="for which the crowd is watched")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--processes", type=positive, default=4)
    words = parser.parse_args()
    sys.path.insert(0, str(SAMPLE_JOBS))
    registry = installed_jobs()
    with private_services() as bench, workers(bench, words.processes, QUEUE):
        _run(bench, registry, "noop", words.items)
        _measure_cost(bench, registry, words)
        _measure_crowd(bench, registry, words)


def _measure_cost(bench: Bench, registry: Registry, words: argparse.Namespace) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in JOBS}
    for _ in range(words.rounds):
        for name, job in JOBS.items():
            bench.empty()
            seconds[name].append(_run(bench, registry, job, words.items))
    usual = statistics.median(seconds["no limit"])
    rows = []
    for name, found in seconds.items():
        median = statistics.median(found)
        rows.append([name, f"{words.items / median:,.0f}", f"{median / usual:.2f}"])
    print_table(f"{words.items} items that do nothing: {machine(bench)}", ["limit", "items/s", "time, ratio"], rows, [])


def _measure_crowd(bench: Bench, registry: Registry, words: argparse.Namespace) -> None:
    bench.empty()
    alone, alone_commands = _work_beside(bench, registry, words.seconds)
    bench.empty()
    parameters = {"milliseconds": float(words.milliseconds)}
    crowd = _start(bench, registry, "two_of_crowd", words.waiting, parameters)
    wait_until(lambda: _count_waiting(bench) > 0.95 * (words.waiting - 100), RUN_SECONDS, "the crowd waits")
    done, began = _completed(bench, crowd), time.monotonic()
    beside, beside_commands = _work_beside(bench, registry, words.seconds)
    seconds = time.monotonic() - began
    done = _completed(bench, crowd) - done
    idle_done, idle_began, idle_commands = _completed(bench, crowd), time.monotonic(), _commands(bench)
    time.sleep(words.seconds)
    idle_seconds = time.monotonic() - idle_began
    rows = [
        ["another job alone, items/s", f"{alone:,.0f}"],
        ["another job beside the crowd, items/s", f"{beside:,.0f}"],
        ["ratio", f"{beside / alone:.2f}"],
        ["items of the crowd per second beside it", f"{done / seconds:.1f}"],
        ["items of the crowd per second alone", f"{(_completed(bench, crowd) - idle_done) / idle_seconds:.1f}"],
        ["most that two places allow", f"{2000 / words.milliseconds:.1f}"],
        ["commands per second of the crowd alone", f"{(_commands(bench) - idle_commands) / idle_seconds:,.0f}"],
        ["commands per second beside, and without it", f"{beside_commands:,.0f}, {alone_commands:,.0f}"],
    ]
    print_table(f"{words.waiting} items wait for two places: {machine(bench)}", ["what", "measured"], rows, [])


def _work_beside(bench: Bench, registry: Registry, seconds: float) -> tuple[float, float]:
    """Return the items per second of a job that is busy for so long, each run after the other, and the commands."""
    items, began, commands = 0, time.monotonic(), _commands(bench)
    while (passed := time.monotonic() - began) < seconds:
        _run(bench, registry, "noop", 1000)
        items += 1000
    passed = time.monotonic() - began
    return items / passed, (_commands(bench) - commands) / passed


def _run(bench: Bench, registry: Registry, job: str, items: int) -> float:
    """Return the seconds from the first entry to the end of a run."""
    began = time.monotonic()
    run = _start(bench, registry, job, items)
    ended: Callable[[], bool] = lambda: _status(bench, run) == "COMPLETED"  # noqa: E731
    wait_until(ended, RUN_SECONDS, f"a run of {job} ends")
    return time.monotonic() - began


def _start(bench: Bench, registry: Registry, job: str, items: int, parameters: dict[str, Any] | None = None) -> Run:
    symbols = tuple(f"S{number:05}" for number in range(items))
    request = RunRequest(job, symbols, "benchmark", parameters=parameters)
    run, _ = enqueue(bench.connection, bench.streams, registry, request)
    return run


def _status(bench: Bench, run: Run) -> str:
    row = bench.connection.execute("SELECT status FROM runs WHERE id = %s", (run.id,)).fetchone()
    return "" if row is None else str(row[0])


def _completed(bench: Bench, run: Run) -> int:
    row = bench.connection.execute(
        "SELECT count(*) FROM run_items WHERE run_id = %s AND status = 'completed'", (run.id,)
    ).fetchone()
    return 0 if row is None else int(row[0])


def _count_waiting(bench: Bench) -> int:
    usage = bench.streams.places.read_usage("bench_crowd").get("bench_crowd")
    return usage.waiting if usage else 0


def _commands(bench: Bench) -> int:
    found: Any = bench.client.info("stats")
    return int(found["total_commands_processed"])


if __name__ == "__main__":
    main()
