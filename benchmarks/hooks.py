"""What hooks cost: items that do nothing, without any hook, beside several, and traced with OpenTelemetry.

Each round measures all of them, one after another, so that what else the machine does affects all alike. The ratio is
that of the processor time that supervisor and workers use for an item: other programs affect it less than the rate.

    .venv/bin/python benchmarks/hooks.py [--items N] [--rounds N]
"""

import argparse
import os
import statistics
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench_pool import (
    PROJECT,
    SAMPLE_JOBS,
    Bench,
    machine,
    positive,
    print_table,
    private_services,
    running_pool,
    spread,
    wait_for_run,
)
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.registry import installed_jobs

HOOKS = PROJECT / "tests" / "installed_hooks"
RUN_SECONDS = 300.0
PROCESSES = 2
# The hooks of a variant, and its variables; what is traced goes to a port on which nobody listens.
_OTEL = {
    "STREAMWORKERS_OTEL": "true",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
    "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
}
VARIANTS: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
    "no hook": ({}, {}),
    "an empty hook": ({"empty": "sample_hooks:Empty"}, {}),
    "a hook with every method": ({"idle": "sample_hooks:Idle"}, {}),
    "OpenTelemetry, 1 % sampled": ({}, {**_OTEL, "OTEL_TRACES_SAMPLER_ARG": "0.01"}),
    "OpenTelemetry, all sampled": ({}, {**_OTEL, "OTEL_TRACES_SAMPLER_ARG": "1"}),
}


def main() -> None:
    """Measure all variants in each round, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=positive, default=100_000)
    parser.add_argument("--rounds", type=positive, default=5)
    words = parser.parse_args()
    sys.path.insert(0, str(SAMPLE_JOBS))
    rates: dict[str, list[float]] = {name: [] for name in VARIANTS}
    costs: dict[str, list[float]] = {name: [] for name in VARIANTS}
    with private_services() as bench:
        about = machine(bench)
        for _ in range(words.rounds):
            for name, (hooks, variables) in VARIANTS.items():
                bench.empty()
                rate, cost = measure(bench, words.items, hooks, variables)
                rates[name].append(rate)
                costs[name].append(cost)
                print(f"{name}: {rate:,.0f} items/s, {cost:.1f} µs an item", file=sys.stderr)
    base = statistics.median(costs["no hook"])
    rows = [
        [name, spread(rates[name], 0), spread(costs[name], 1), f"{base / statistics.median(costs[name]):.3f}"]
        for name in VARIANTS
    ]
    print_table(
        f"{words.items:,} items that do nothing, on {PROCESSES} worker processes",
        ["", f"items/s, median of {words.rounds} (min-max)", "processor time of an item, µs", "ratio"],
        rows,
        ["the ratio is that of processor times: without a hook, to with it", about],
    )


def measure(bench: Bench, items: int, hooks: Mapping[str, str], variables: Mapping[str, str]) -> tuple[float, float]:
    """Items a second by the ledger, and microseconds of processor time that the pool uses for each."""
    bench.streams.queues.ensure_groups(["bench"])
    with installed(bench.folder, hooks, variables), running_pool(bench, *_WORDS, LOG_LEVEL="info") as pool:
        pool.wait_until_ready(bench, PROCESSES)
        before = _processor_seconds(pool.process.pid)
        request = RunRequest("noop", tuple(f"S{number}" for number in range(items)), "benchmark")
        run, _ = enqueue(bench.connection, bench.streams, installed_jobs(), request)
        times = wait_for_run(bench, run.id, RUN_SECONDS)
        used = _processor_seconds(pool.process.pid) - before
    seconds = (times.completed_at - times.started_at).total_seconds()
    return items / seconds, used / items * 1e6


_WORDS = ("--processes", str(PROCESSES), "--queue", "bench")


@contextmanager
def installed(folder: Path, hooks: Mapping[str, str], variables: Mapping[str, str]) -> Iterator[None]:
    """Let the processes of a block find these hooks as those of an installed package, and have these variables."""
    package = folder / "hooks_of_benchmark-0.0.0.dist-info"
    package.mkdir(exist_ok=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: hooks-of-benchmark\nVersion: 0.0.0\n")
    lines = "".join(f"{name} = {place}\n" for name, place in hooks.items())
    (package / "entry_points.txt").write_text(f"[streamworkers.hooks]\n{lines}")
    earlier = dict(os.environ)
    os.environ.update({**variables, "PYTHONPATH": os.pathsep.join([str(folder), str(HOOKS)])})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(earlier)


def _processor_seconds(pid: int) -> float:
    """Return what a process and all that came from it have used."""
    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


if __name__ == "__main__":
    main()
