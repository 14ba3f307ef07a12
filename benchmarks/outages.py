"""Outages of the provider in the middle of a load: attempts, end state, and tables compared with a healthy load's."""

import argparse
import hashlib
import time
from datetime import datetime
from typing import NamedTuple

from bench_pool import Bench, machine, positive, print_table, private_services, running_pool, wait_for_run, wait_until
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.registry import installed_jobs
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES
from streamworkers_fakes.massive import DEFAULT_KEY, FakeMassive, RunningFakeMassive, running_fake_massive

SYMBOLS = tuple(f"S{number:02d}" for number in range(30))
NOW = datetime(2025, 11, 25, 20, 30, tzinfo=EXCHANGE_ZONE)
TABLES = [frame.table for frame in TIMEFRAMES.values()]
BEGIN_AFTER = 15  # calls
RUN_SECONDS = 1200.0


class Load(NamedTuple):
    """One load: its state, its seconds, the calls during the outage, the probes, the most attempts, and its bars."""

    state: str
    seconds: float
    calls: int
    probes: int
    attempts: int
    bars: str


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=positive, nargs="+", default=[10, 60, 600], help="lengths of the outages")
    parser.add_argument("--processes", type=positive, default=2, help="worker processes that load")
    words = parser.parse_args()
    with private_services() as bench, running_fake_massive(FakeMassive(now=NOW, latency=0.3)) as server:
        about = machine(bench)
        settings = {"MASSIVE_BASE_URL": server.url, "MASSIVE_API_KEY": DEFAULT_KEY, "MASSIVE_CALLS_PER_MINUTE": 0}
        pool = ("--processes", str(words.processes), "--queue", "load")
        with running_pool(bench, *pool, LOAD_THREADS=2, **settings) as running:
            running.wait_until_ready(bench, words.processes)
            healthy = load(bench, server, 0)
            rows = []
            for seconds in words.seconds:
                found = load(bench, server, seconds)
                same = "equal" if found.bars == healthy.bars else "DIFFERENT"
                numbers = [f"{found.calls:,}", f"{found.probes:,}", f"{found.attempts}"]
                rows.append([f"{seconds:,} s", f"{found.seconds:,.1f} s", *numbers, found.state, same])
        columns = ["outage", "run", "calls during it", "probes", "most attempts", "end state", "tables"]
        print_table(
            f"Outages in the middle of a load of {len(SYMBOLS)} symbols in day and hour, {words.processes} workers",
            columns,
            rows,
            [f"without an outage: {healthy.seconds:.1f} s, {healthy.state}", about],
        )


def load(bench: Bench, server: RunningFakeMassive, outage: float) -> Load:
    """Load all bars into empty tables; the server is away for so long after its first calls."""
    bench.empty()
    bench.connection.execute(f"TRUNCATE {', '.join(TABLES)}, series_sources, provider_outages".encode())
    server.forget_calls()
    started = time.time()
    request = RunRequest(
        "load_ohlcv",
        SYMBOLS,
        "benchmark",
        as_of=NOW,
        parameters={"provider": "massive", "first": "2025-09-01", "last": "2025-11-25"},
        timeframes=("day", "hour"),
    )
    run, _ = enqueue(bench.connection, bench.streams, installed_jobs(), request)
    during = 0
    if outage:
        wait_until(lambda: len(server.calls) >= BEGIN_AFTER, 60.0, "the middle of the load")
        server.misbehave("server_error", 503.0)
        before = len(server.calls)
        time.sleep(outage)
        during = len(server.calls) - before
        server.clear()
    ended = wait_for_run(bench, run.id, RUN_SECONDS)
    row = bench.connection.execute(
        "SELECT r.status, max(i.attempt), coalesce((SELECT max(probes) FROM provider_outages), 0)"
        " FROM runs r JOIN run_items i ON i.run_id = r.id WHERE r.id = %s GROUP BY r.status",
        (run.id,),
    ).fetchone()
    assert row is not None
    return Load(row[0], ended.completed_at.timestamp() - started, during, row[2], row[1], _digest(bench))


def _digest(bench: Bench) -> str:
    digest = hashlib.sha256()
    for frame in TIMEFRAMES.values():
        query = f"SELECT symbol, {frame.time_column}, open, high, low, close, volume FROM {frame.table} ORDER BY 1, 2"
        for row in bench.connection.execute(query.encode()):
            digest.update(repr(row).encode())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
