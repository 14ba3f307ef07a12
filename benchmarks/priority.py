"""Tonight's run beside a backfill in the same queue: how long it waits, with priorities and without.

    .venv/bin/python benchmarks/priority.py [--backfill N] [--items N] [--rounds N]

The backfill is enqueued first. When two worker processes have begun it, tonight's run is enqueued. With priorities that
run is high, and the backfill names none, so that it is low by its size. Without, both are normal, and share a lane. The
waits are the ledger's, from the run's `created_at` to its `started_at` and its `completed_at`. What the backfill does
meanwhile is the number of its items that were closed while tonight's run was open.
"""

import argparse
import sys
from dataclasses import dataclass

from bench_pool import (
    SAMPLE_JOBS,
    Bench,
    Figure,
    machine,
    positive,
    print_figures,
    private_services,
    wait_for_run,
    wait_until,
    workers,
)
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.lanes import Priority
from streamworkers.engine.registry import installed_jobs

RUN_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Waits:
    """How long tonight's run waited for its first item and its end, in seconds, and the backfill's items meanwhile."""

    begin: float
    end: float
    meanwhile: int


def main() -> None:
    """Measure rounds of both kinds by turns, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backfill", type=positive, default=500_000, help="items of the backfill")
    parser.add_argument("--items", type=positive, default=500, help="items of tonight's run")
    parser.add_argument("--rounds", type=positive, default=1)
    parser.add_argument("--processes", type=positive, default=2)
    parser.add_argument("--json", action="store_true")
    words = parser.parse_args()
    sys.path.insert(0, str(SAMPLE_JOBS))
    kinds: dict[str, list[Waits]] = {"with priorities": [], "without": []}
    with private_services() as bench:
        about = machine(bench)
        for _ in range(words.rounds):
            for name, rounds in kinds.items():
                bench.empty()
                rounds.append(measure(bench, words, name == "with priorities"))
                print(f"{name}: {rounds[-1]}", file=sys.stderr)
    figures = [
        figure
        for name, rounds in kinds.items()
        for figure in (
            Figure(f"{name}: until the first item begins, s", [waits.begin for waits in rounds]),
            Figure(f"{name}: until the end, s", [waits.end for waits in rounds]),
            Figure(f"{name}: items of the backfill meanwhile", [waits.meanwhile for waits in rounds], digits=0),
        )
    ]
    title = f"A run of {words.items:,} items beside a backfill of {words.backfill:,}, on {words.processes} workers"
    print_figures(title, figures, [about], as_json=words.json)


def measure(bench: Bench, words: argparse.Namespace, has_priorities: bool) -> Waits:
    """Return the waits of tonight's run, which is enqueued while workers execute the backfill."""
    bench.streams.queues.ensure_groups(["bench"])
    backfill = start(bench, words.backfill, None if has_priorities else "normal")
    with workers(bench, words.processes, "bench"):
        wait_until(lambda: has_begun(bench, backfill), RUN_SECONDS, "the backfill has begun")
        tonight = start(bench, words.items, "high" if has_priorities else "normal")
        before = count_closed(bench, backfill)
        times = wait_for_run(bench, tonight.id, RUN_SECONDS)
        meanwhile = count_closed(bench, backfill) - before
    return Waits(
        (times.started_at - times.created_at).total_seconds(),
        (times.completed_at - times.created_at).total_seconds(),
        meanwhile,
    )


def start(bench: Bench, items: int, priority: Priority | None) -> Run:
    """Enqueue a run of items that do nothing."""
    symbols = tuple(f"S{number}" for number in range(items))
    request = RunRequest("noop", symbols, "benchmark", priority=priority)
    return enqueue(bench.connection, bench.streams, installed_jobs(), request)[0]


def has_begun(bench: Bench, run: Run) -> bool:
    """True once a worker has taken an item of a run."""
    return (
        bench.connection.execute("SELECT FROM runs WHERE id = %s AND started_at > '-infinity'", (run.id,)).rowcount > 0
    )


def count_closed(bench: Bench, run: Run) -> int:
    """Return how many items of a run are completed."""
    query = "SELECT count(*) FROM run_items WHERE run_id = %s AND status = 'completed'"
    row = bench.connection.execute(query, (run.id,)).fetchone()
    assert row is not None
    return int(row[0])


if __name__ == "__main__":
    main()
