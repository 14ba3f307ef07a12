"""Loading bars: rows a second into each table, compared with a bare COPY; whole loads, and the memory of workers."""

import argparse
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from bench_pool import Bench, machine, positive, print_table, private_services, running_pool, spread, wait_for_run
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.registry import installed_jobs
from streamworkers.market.bars.bars import Bars, to_times
from streamworkers.market.bars.text_rows import BarRows, format_bars
from streamworkers.market.bars.write import Series, store_series
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES, Timeframe
from streamworkers.market.calendar.windows import windows_between
from streamworkers_fakes.massive import DEFAULT_KEY
from streamworkers_fakes.massive.server import fake_massive_process

NOW = datetime(2025, 11, 25, 20, 30, tzinfo=EXCHANGE_ZONE)
LAST = date(2025, 11, 25)
LATENCIES_MS = (0, 50)
ROWS_OF = {"1min": 300_000, "hour": 100_000, "day": 100_000, "week": 50_000, "month": 20_000}
RUN_SECONDS = 3600.0
SAMPLE_SECONDS = 0.05


class Span(NamedTuple):
    """What is loaded: so many days of so many symbols, and the seconds and MB of a worker that are allowed."""

    days: int
    symbols: int
    seconds: int
    memory_mb: int = 200


SPANS = {
    "1 day": Span(1, 30, 300),
    "1 week": Span(7, 30, 600),
    "1 year": Span(365, 30, 1800),
    "20 years": Span(7305, 1, 1800),
    "20 years of 8": Span(7305, 8, 1800),
}


class Whole(NamedTuple):
    """One load: its seconds, its calls, its rows, and the largest memory of a worker in MB.

    `resident_mb` counts all that is in memory (RSS), which the kernel keeps the peak of; `proportional_mb` counts what
    processes share in equal parts (PSS), as sampled twenty times a second.
    """

    seconds: float
    calls: int
    rows: int
    resident_mb: float
    proportional_mb: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds for each table; 0 leaves the tables out")
    parser.add_argument("--processes", type=positive, default=2, help="worker processes that load")
    parser.add_argument("--spans", nargs="*", choices=list(SPANS), default=list(SPANS))
    parser.add_argument("--latencies", nargs="*", type=int, default=list(LATENCIES_MS), help="of the API, in ms")
    parser.add_argument("--calls-per-minute", type=int, default=0, help="rate limit of the fleet; 0 means none")
    words = parser.parse_args()
    with private_services() as bench:
        about = machine(bench)
        if words.rounds:
            print_table(
                "Rows a second into each table",
                ["table", "rows", "bare COPY, thousand/s", "load, thousand/s", "ratio", "again, unchanged"],
                [table_row(bench, frame, words.rounds) for frame in TIMEFRAMES.values()],
                ["target: a ratio of 0.7", about],
            )
        loads = []
        for name in words.spans:
            for latency in words.latencies:
                found = whole_load(bench, SPANS[name], latency, words.processes, words.calls_per_minute)
                loads.append(load_row(name, latency, found))
        print_table(
            f"All 5 timeframes, {words.processes} workers, enqueue to run completed",
            ["span", "symbols", "latency", "time", "ratio", "calls", "rows", "worker, RSS", "worker, PSS", "ratio"],
            loads,
            ["ratios: to the time that the replaced systems were allowed, to 200 MB of RSS", about],
        )


def load_row(name: str, latency: int, found: Whole) -> list[str]:
    """The figures of one load as a row of the table."""
    span = SPANS[name]
    return [
        name,
        str(span.symbols),
        f"{latency} ms",
        f"{found.seconds:.1f} s",
        f"{found.seconds / span.seconds:.3f}",
        f"{found.calls:,}",
        f"{found.rows:,}",
        f"{found.resident_mb:.0f} MB",
        f"{found.proportional_mb:.0f} MB",
        f"{found.resident_mb / span.memory_mb:.2f}",
    ]


def table_row(bench: Bench, frame: Timeframe, rounds: int) -> list[str]:
    """Rates of one table: both ways in turn, each into an empty table."""
    copy, load, again = [], [], []
    chunks = list(bars_of(frame, ROWS_OF[frame.name]))
    series = [
        Series(rows.symbols[0], _time(frame, rows.times[0]), _time(frame, rows.times[-1]), [rows]) for rows in chunks
    ]
    rows = sum(map(len, chunks))
    for _ in range(rounds):
        copy.append(rows / copied(bench, frame, chunks) / 1000)
        bench.connection.execute(f"TRUNCATE {frame.table}".encode())
        started = time.perf_counter()
        store_series(bench.connection, frame, series)
        load.append(rows / (time.perf_counter() - started) / 1000)
        started = time.perf_counter()
        store_series(bench.connection, frame, series)
        again.append(rows / (time.perf_counter() - started) / 1000)
    bench.connection.execute(f"TRUNCATE {frame.table}".encode())
    ratios = [ours / theirs for ours, theirs in zip(load, copy, strict=True)]
    return [frame.table, f"{rows:,}", spread(copy, 0), spread(load, 0), spread(ratios, 2), spread(again, 0)]


def copied(bench: Bench, frame: Timeframe, chunks: list[BarRows]) -> float:
    """Seconds of a COPY of the same rows into a table with the same key."""
    bench.connection.execute(f"CREATE TABLE bare (LIKE {frame.table} INCLUDING ALL)".encode())
    try:
        started = time.perf_counter()
        columns = f"symbol, {frame.time_column}, open, high, low, close, volume"
        with (
            bench.connection.transaction(),
            bench.connection.cursor() as cursor,
            cursor.copy(f"COPY bare ({columns}) FROM STDIN".encode()) as copy,
        ):
            for rows in chunks:
                copy.write(rows.copy_text(with_lines=False))
        return time.perf_counter() - started
    finally:
        bench.connection.execute("DROP TABLE bare")


def _time(frame: Timeframe, text: str) -> date | datetime:
    return datetime.fromisoformat(text) if frame.intraday else date.fromisoformat(text)


def bars_of(frame: Timeframe, rows: int) -> Iterator[BarRows]:
    """At least this many rows, of as many symbols as needed; only their number matters, not their values."""
    first = LAST - timedelta(days=365 if frame.intraday else 365 * 10)
    starts = windows_between(first, LAST).expected(frame, first, LAST)
    random = np.random.default_rng(1)
    done = 0
    while done < rows:
        close = np.round(100 + np.cumsum(random.normal(0, 0.05, len(starts))), 2)
        bars = Bars(
            to_times(frame, starts),
            close,
            np.round(close + 0.11, 2),
            np.round(close - 0.09, 2),
            close,
            random.integers(1, 10**6, len(starts)),
        )
        yield format_bars(f"T{done}", frame, bars)
        done += len(starts)


def whole_load(bench: Bench, span: Span, latency_ms: int, processes: int, calls_per_minute: int) -> Whole:
    """Load all bars of the last days into empty tables."""
    bench.empty()
    tables = [frame.table for frame in TIMEFRAMES.values()]
    bench.connection.execute(f"TRUNCATE {', '.join(tables)}, series_sources".encode())
    log = bench.folder / f"calls-{span.days}-{span.symbols}-{latency_ms}.jsonl"
    server = ("--now", NOW.isoformat(), "--latency-ms", str(latency_ms), "--log", str(log))
    with fake_massive_process(*server) as url:
        settings = {
            "MASSIVE_BASE_URL": url,
            "MASSIVE_API_KEY": DEFAULT_KEY,
            "MASSIVE_CALLS_PER_MINUTE": calls_per_minute,
        }
        with running_pool(bench, "--processes", str(processes), "--queue", "load", **settings) as pool:
            pool.wait_until_ready(bench, processes)
            called_at = time.time()
            with sampled_pss(pool.workers) as proportional:
                run, _ = enqueue(bench.connection, bench.streams, installed_jobs(), request_of(span))
                times = wait_for_run(bench, run.id, RUN_SECONDS)
            resident = max(_peak_mb(pid) for pid in pool.workers())
    rows = 0
    for table in tables:
        row = bench.connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
        rows += row[0] if row else 0
    calls = sum(1 for line in log.read_text(encoding="utf-8").splitlines() if "path" in json.loads(line))
    return Whole(times.completed_at.timestamp() - called_at, calls, rows, resident, max(proportional, default=0.0))


def request_of(span: Span) -> RunRequest:
    """A request for all timeframes of a span."""
    first = LAST - timedelta(days=span.days - 1)
    return RunRequest(
        "load_ohlcv",
        tuple(f"S{number:02d}" for number in range(span.symbols)),
        "benchmark",
        as_of=NOW,
        parameters={
            "provider": "massive",
            "first": first.isoformat(),
            "last": LAST.isoformat(),
            "include_open": True,
        },
        timeframes=tuple(TIMEFRAMES),
    )


@contextmanager
def sampled_pss(list_pids: Callable[[], Iterable[int]]) -> Iterator[list[float]]:
    """Collect the largest PSS of these processes, in MB, until the block ends."""
    found: list[float] = []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(SAMPLE_SECONDS):
            found.append(max(map(_pss_mb, list_pids()), default=0.0))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def _pss_mb(pid: int) -> float:
    """The PSS of a process in MB, 0 where the kernel does not tell."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _peak_mb(pid: int) -> float:
    """The peak memory of a process in MB."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1024
    return float(psutil.Process(pid).memory_info().rss) / 2**20


if __name__ == "__main__":
    main()
