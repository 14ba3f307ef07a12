"""How fast `enqueue` creates a run: its row, its items and their stream entries, compared with the same by hand.

By hand means: one COPY of the same item rows as text, joined in memory, and a pipelined XADD for each packed entry. It
checks nothing, creates no run, and counts no open items. No workers run.

    .venv/bin/python benchmarks/enqueue.py [--items N …] [--rounds N]
"""

import argparse
import sys
import time
from datetime import UTC, datetime

from bench_pool import SAMPLE_JOBS, Bench, machine, positive, print_table, private_services, spread
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.registry import Registry, installed_jobs

TARGET_RATE = 40_000
_PIPELINE = 1000
_SMALL = 5000


def main() -> None:
    """Measure alternating rounds for each number of items, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=positive, nargs="+", default=[500, 10_000, 100_000])
    parser.add_argument("--rounds", type=positive, default=5)
    words = parser.parse_args()
    sys.path.insert(0, str(SAMPLE_JOBS))
    registry = installed_jobs()
    rows = []
    with private_services() as bench:
        about = machine(bench)
        for items in words.items:
            ours, floor = [], []
            # A short measurement is repeated more often, and its first round is a warm-up.
            rounds = words.rounds * (4 if items < _SMALL else 1)
            symbols = tuple(f"S{number}" for number in range(items))
            for number in range(rounds + 1):
                bench.empty()
                seconds = enqueue_seconds(bench, registry, symbols)
                bench.empty()
                floor_seconds = by_hand_seconds(bench, symbols)
                if number > 0:
                    ours.append(items / seconds)
                    floor.append(items / floor_seconds)
            ratios = [our / hand for our, hand in zip(ours, floor, strict=True)]
            rows.append([f"{items:,}", str(rounds), spread(ours, 0), spread(floor, 0), spread(ratios, 2)])
    print_table(
        "Enqueue, ledger included",
        ["items", "rounds", "enqueue, items/s (min-max)", "by hand, items/s (min-max)", "ours to by hand"],
        rows,
        [f"target: {TARGET_RATE:,} items/s", about],
    )


def enqueue_seconds(bench: Bench, registry: Registry, symbols: tuple[str, ...]) -> float:
    """Seconds of one call of `enqueue`."""
    started = time.perf_counter()
    run, is_new = enqueue(bench.connection, bench.streams, registry, RunRequest("noop", symbols, "benchmark"))
    seconds = time.perf_counter() - started
    assert is_new
    assert bench.client.xlen(bench.streams.keys.stream(run.queue)) == len(symbols)
    return seconds


def by_hand_seconds(bench: Bench, symbols: tuple[str, ...]) -> float:
    """Seconds of a bare COPY of the items and a pipelined XADD of their entries."""
    stream = bench.streams.keys.stream("bench")
    started = time.perf_counter()
    today = datetime.now(UTC).date()
    lines = "".join(f"{today}\t1\t{seq}\t{symbol}\n" for seq, symbol in enumerate(symbols))
    with bench.connection.cursor().copy("COPY run_items (run_day, run_id, seq, symbol) FROM STDIN") as copy:
        copy.write(lines)
    enqueued_ms = time.time_ns() // 1_000_000
    for start in range(0, len(symbols), _PIPELINE):
        pipe = bench.client.pipeline(transaction=False)
        for seq, symbol in enumerate(symbols[start : start + _PIPELINE], start):
            pipe.xadd(stream, {"e": Entry(1, seq, "noop", symbol, "", enqueued_ms).pack()})
        pipe.execute()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
