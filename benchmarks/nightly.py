"""Nightly analysis on warm workers, compared with two plain scripts that do the same without a queue.

One script has one process; the other has as many as the pool has workers, and gives each of them one share of the
symbols. All read the same bars, compute the enabled definitions and write the same rows into emptied tables; after each
round the rows are compared. The pool is timed from before the call of `enqueue` to the run's `completed_at` in the
ledger. The scripts are warm too: their connections are open, and their functions have been called before. They write no
events and keep no ledger; the pool does both, in the same transactions.

    .venv/bin/python benchmarks/nightly.py [--csv FILE] [--rounds N]
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import numpy as np

from bench_pool import (
    PROJECT,
    Bench,
    machine,
    positive,
    print_table,
    private_services,
    spread,
    wait_for_run,
    wait_for_workers,
    wait_until,
    workers,
)
from streamworkers.analysis.history import bars_to_read
from streamworkers.analysis.indicators import compute_last_bars
from streamworkers.analysis.patterns import detect
from streamworkers.database import Connection, connect
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.registry import installed_jobs
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.market.bars.read import read_newest_time
from streamworkers.market.bars.write import load_rows
from streamworkers.market.calendar.timeframes import TIMEFRAMES, bar_moment
from streamworkers.market.files.bars_import import import_bars
from streamworkers.results import definitions
from streamworkers.results.histories import read_histories
from streamworkers.results.store import IndicatorRow, PatternRow, Scan, save_indicators, save_patterns

REAL_BARS = PROJECT.parent / "shared" / "data" / "sp500_daily_2016_2021.csv.gz"
DAY = TIMEFRAMES["day"]
TARGET_RATIO, TARGET_PROCESSES_RATIO = 1.5, 1.15
SYNTHETIC_SYMBOLS, SYNTHETIC_DAYS, SEED = 470, 600, 1
RUN_SECONDS = 120.0
Checksum = tuple[int, ...]
_connections: list[Connection] = []  # of a process of the second script: one
_COPY_INDICATORS = b"""
COPY indicator_results (symbol, timeframe, indicator, bar_time, value, value_data, bars_used, run_id)
FROM STDIN (FORMAT BINARY)"""
_INDICATOR_TYPES = ["text", "text", "text", "timestamptz", "float8", "jsonb", "int4", "int8"]
_COPY_PATTERNS = b"""
COPY daily_patterns (symbol, timeframe, pattern_name, bar_time, direction, signal, confidence, metadata, run_id)
FROM STDIN (FORMAT BINARY)"""
_PATTERN_TYPES = ["text", "text", "text", "timestamptz", "text", "int4", "float8", "jsonb", "int8"]
_CHECKSUM = """
SELECT (SELECT count(*) FROM indicator_results), (SELECT count(*) FROM daily_patterns),
       (SELECT sum(hashtext(symbol || indicator || bar_time || value || coalesce(value_data::text, '') || bars_used))
        FROM indicator_results),
       (SELECT sum(hashtext(symbol || pattern_name || bar_time || direction || signal || confidence || metadata::text))
        FROM daily_patterns)"""


def main() -> None:
    """Load bars, warm up, measure alternating rounds, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, default=REAL_BARS if REAL_BARS.exists() else None, help="your daily bars")
    parser.add_argument("--items", type=positive, help="use only the first N symbols")
    parser.add_argument("--max-bars", type=positive, help="read no more bars than this  [default: what is needed]")
    parser.add_argument("--rounds", type=positive, default=7)
    parser.add_argument("--processes", type=positive, default=2)
    words = parser.parse_args()
    with private_services() as bench:
        about = machine(bench)
        symbols = load_bars(bench, words.csv)[: words.items]
        bench.connection.execute("UPDATE pattern_definitions SET enabled = true")
        bench.connection.execute("VACUUM ANALYZE ohlcv_daily")
        with workers(bench, words.processes, "analysis"), script_processes(bench, words.processes) as executor:
            wait_for_workers(bench, words.processes)
            sides: list[Callable[[], tuple[float, Checksum]]] = [
                partial(pooled_round, bench, symbols, words.max_bars),
                partial(script_round, bench, partial(plain_script, bench, symbols, words.max_bars)),
                partial(
                    script_round,
                    bench,
                    partial(script_of_processes, bench, executor, words.processes, symbols, words.max_bars),
                ),
            ]
            rounds, counts = measure(sides, words.rounds)
    pooled, plain, processes = zip(*rounds, strict=True)
    source = words.csv.name if words.csv else "synthetic bars"
    print_table(
        f"Nightly analysis: {len(symbols)} symbols, {words.max_bars or 'the needed'} bars of {source}",
        ["", f"seconds, median of {words.rounds} (min-max)", "ratio of the pool to it", "target"],
        [
            [f"enqueue to run completed, {words.processes} workers", spread(pooled, 3), "", ""],
            ["plain script, one process, no queue", spread(plain, 3), ratio(pooled, plain), f"{TARGET_RATIO}"],
            [
                f"plain script, {words.processes} processes, no queue",
                spread(processes, 3),
                ratio(pooled, processes),
                f"{TARGET_PROCESSES_RATIO}",
            ],
        ],
        [f"all wrote {counts[0]:,} values and {counts[1]:,} patterns", about],
    )


def measure(sides: Sequence[Callable[[], tuple[float, Checksum]]], rounds: int) -> tuple[list[list[float]], Checksum]:
    """Seconds of each side in each round, in turn, after one round to warm up. Ends if the rows differ."""
    seconds: list[list[float]] = []
    for _ in range(rounds + 1):
        times, sums = zip(*(side() for side in sides), strict=True)
        if len(set(sums)) > 1:
            raise SystemExit(f"the rows differ: {sums}; the first are the pool's")
        seconds.append(list(times))
    return seconds[1:], sums[0]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The ratio of each round: median, smallest and largest."""
    return spread([our / their for our, their in zip(ours, theirs, strict=True)], 2)


def load_bars(bench: Bench, csv_file: Path | None) -> tuple[str, ...]:
    """Load the bars of a file, or synthetic ones; returns the symbols."""
    if csv_file is None:
        return tuple(
            sorted(load_rows(bench.connection, DAY, generate_bars(SYNTHETIC_SYMBOLS, SYNTHETIC_DAYS, SEED)).symbols)
        )
    return tuple(sorted(import_bars(bench.connection, [csv_file], DAY).symbols))


def pooled_round(bench: Bench, symbols: tuple[str, ...], max_bars: int | None) -> tuple[float, Checksum]:
    """Seconds from the call of enqueue to the run's completion, and the checksum of the written rows."""
    empty_results(bench)
    request = RunRequest("analysis", symbols, "benchmark", "day", parameters={"max_bars": max_bars})
    called_at = time.time()
    run, _ = enqueue(bench.connection, bench.streams, installed_jobs(), request)
    times = wait_for_run(bench, run.id, RUN_SECONDS)
    wait_until(lambda: _is_empty(bench, "outbox"), RUN_SECONDS, "all events published")
    return times.completed_at.timestamp() - called_at, checksum(bench)


def script_round(bench: Bench, script: Callable[[], None]) -> tuple[float, Checksum]:
    """Seconds of the same work by a script, and the checksum of the written rows."""
    empty_results(bench)
    started = time.perf_counter()
    script()
    return time.perf_counter() - started, checksum(bench)


def plain_script(bench: Bench, symbols: Sequence[str], max_bars: int | None) -> None:
    """Read, compute and write in this process: the script that one would write without a pool."""
    with bench.connection.transaction():
        newest = newest_day(bench.connection, symbols)
        rows = compute(bench.connection, symbols, newest, max_bars)
        save_indicators(bench.connection, 1, "day", rows.values)
        save_patterns(bench.connection, 1, "day", rows.found, rows.scans, rows.patterns)


@contextmanager
def script_processes(bench: Bench, processes: int) -> Iterator[ProcessPoolExecutor]:
    """Processes of their own for the second script, each with its own connection."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, open_connection, (bench.database_url,)) as executor:
        yield executor


def script_of_processes(
    bench: Bench, executor: ProcessPoolExecutor, processes: int, symbols: Sequence[str], max_bars: int | None
) -> None:
    """Give each process an equal share of the symbols: the script that one would write for two cores."""
    newest = newest_day(bench.connection, symbols)
    shares = [symbols[number::processes] for number in range(processes)]
    for future in [executor.submit(script_of_share, share, newest, max_bars) for share in shares]:
        future.result(RUN_SECONDS)


def open_connection(url: str) -> None:
    """Open the connection of a process of the second script."""
    _connections.append(connect(url, application="script"))


def script_of_share(symbols: Sequence[str], newest: date, max_bars: int | None) -> None:
    """Read a share of the symbols in one query, compute, and replace its rows with COPY, in one transaction."""
    (connection,) = _connections
    with connection.transaction(), connection.cursor() as cursor:
        rows = compute(connection, symbols, newest, max_bars)
        moment = bar_moment(DAY, newest)
        for table in ("indicator_results", "daily_patterns"):
            cursor.execute(
                f"DELETE FROM {table} WHERE symbol = ANY(%s) AND timeframe = 'day' AND bar_time = %s".encode(),
                (list(symbols), moment),
            )
        with cursor.copy(_COPY_INDICATORS) as copy:
            copy.set_types(_INDICATOR_TYPES)
            for value in rows.values:
                head = (value.symbol, "day", value.indicator, value.bar_time)
                copy.write_row((*head, value.value, value.outputs, value.bars_used, 1))
        with cursor.copy(_COPY_PATTERNS) as copy:
            copy.set_types(_PATTERN_TYPES)
            for found in rows.found:
                one = found.detection
                head = (found.symbol, "day", one.pattern_name, found.bar_time)
                copy.write_row((*head, one.direction, one.signal, one.confidence, one.metadata, 1))


@dataclass(frozen=True, slots=True)
class Rows:
    """What a script computed: values and detections to write, what was scanned, and the names of the patterns."""

    values: list[IndicatorRow]
    found: list[PatternRow]
    scans: list[Scan]
    patterns: list[str]


def newest_day(connection: Connection, symbols: Sequence[str]) -> date:
    """The day to analyse."""
    newest = read_newest_time(connection, symbols, DAY, datetime.now(UTC).date())
    assert isinstance(newest, date)
    return newest


def compute(connection: Connection, symbols: Sequence[str], newest: date, max_bars: int | None) -> Rows:
    """Read the bars of the symbols in one query, and compute what is enabled."""
    indicators = definitions.parse_indicators(definitions.read_enabled_indicators(connection, "day"))
    patterns = definitions.parse_patterns(definitions.read_enabled_patterns(connection, "day"))
    moment = bar_moment(DAY, newest)
    rows = Rows([], [], [], [pattern.name for pattern in patterns])
    bars = bars_to_read(indicators, DAY, 1).at_most(max_bars)
    for symbol, history in read_histories(connection, symbols, DAY, newest, bars).items():
        if history.recent.times[-1] != np.datetime64(newest, "D"):
            continue
        found = compute_last_bars(indicators, history)
        for name, values in found.values.items():
            for bar, used in zip(values, found.bars_used[name], strict=True):
                rows.values.append(IndicatorRow(symbol, name, moment, bar.value, bar.outputs, used))
        rows.found.extend(PatternRow(symbol, moment, detection) for detection in detect(patterns, history)[0])
        rows.scans.append(Scan(symbol, moment, moment))
    return rows


def empty_results(bench: Bench) -> None:
    """Empty both result tables, so that every row is written again."""
    bench.connection.execute("TRUNCATE indicator_results, daily_patterns")


def checksum(bench: Bench) -> Checksum:
    """The number of stored values and patterns, and a checksum of each."""
    row = bench.connection.execute(_CHECKSUM).fetchone()
    assert row is not None
    return tuple(row)


def _is_empty(bench: Bench, table: str) -> bool:
    row = bench.connection.execute(f"SELECT NOT EXISTS (SELECT FROM {table})".encode()).fetchone()
    return bool(row and row[0])


if __name__ == "__main__":
    main()
