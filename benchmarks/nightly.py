"""Nightly analysis on warm workers, compared with a plain script that does the same without a queue.

Both read the same bars, compute the enabled definitions and write the same rows into emptied tables; after each pair
of rounds the rows are compared. The pool is timed from before the call of `enqueue` to the run's `completed_at` in the
ledger. The plain script is warm too: its connection is open, and its functions have been called before. It writes no
events; the pool does, in the same transactions.

    .venv/bin/python benchmarks/nightly.py [--csv FILE] [--rounds N]
"""

import argparse
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime
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
from streamworkers.analysis.indicators import compute_last_bars
from streamworkers.analysis.patterns import detect
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.registry import installed_jobs
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.market.bars.read import read_newest_time, read_series
from streamworkers.market.bars.write import load_rows
from streamworkers.market.calendar.timeframes import TIMEFRAMES, bar_moment, newest_closed
from streamworkers.market.files.bars_import import import_bars
from streamworkers.results import definitions
from streamworkers.results.store import IndicatorRow, PatternRow, Scan, save_indicators, save_patterns

REAL_BARS = PROJECT.parent / "shared" / "data" / "sp500_daily_2016_2021.csv.gz"
DAY = TIMEFRAMES["day"]
TARGET_RATIO = 1.5
SYNTHETIC_SYMBOLS, SYNTHETIC_DAYS, SEED = 470, 600, 1
RUN_SECONDS = 120.0
_CHECKSUM = """
SELECT (SELECT count(*) FROM indicator_results), (SELECT count(*) FROM daily_patterns),
       (SELECT sum(hashtext(symbol || indicator || bar_time || value || coalesce(value_data::text, '')))
        FROM indicator_results),
       (SELECT sum(hashtext(symbol || pattern_name || bar_time || signal || confidence)) FROM daily_patterns)"""


def main() -> None:
    """Load bars, warm up, measure alternating rounds, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, default=REAL_BARS if REAL_BARS.exists() else None, help="your daily bars")
    parser.add_argument("--items", type=positive, help="use only the first N symbols")
    parser.add_argument("--max-bars", type=positive, default=500)
    parser.add_argument("--rounds", type=positive, default=7)
    parser.add_argument("--processes", type=positive, default=2)
    words = parser.parse_args()
    with private_services() as bench:
        about = machine(bench)
        symbols = load_bars(bench, words.csv)[: words.items]
        bench.connection.execute("UPDATE pattern_definitions SET enabled = true")
        bench.connection.execute("VACUUM ANALYZE ohlcv_daily")
        pooled: list[float] = []
        plain: list[float] = []
        counts: tuple[int, ...] = ()
        with workers(bench, words.processes, "analysis"):
            wait_for_workers(bench, words.processes)
            for number in range(words.rounds + 1):
                seconds, ours = pooled_round(bench, symbols, words.max_bars)
                plain_seconds, theirs = plain_round(bench, symbols, words.max_bars)
                if ours != theirs:
                    raise SystemExit(f"the rows differ: {ours} from the pool, {theirs} from the plain script")
                counts = ours
                if number > 0:  # the first round warms up
                    pooled.append(seconds)
                    plain.append(plain_seconds)
    ratios = [ours / theirs for ours, theirs in zip(pooled, plain, strict=True)]
    source = words.csv.name if words.csv else "synthetic bars"
    print_table(
        f"Nightly analysis: {len(symbols)} symbols x {words.max_bars} bars of {source}",
        ["", f"seconds, median of {words.rounds} (min-max)"],
        [
            [f"enqueue to run completed, {words.processes} workers", spread(pooled, 3)],
            ["plain script, one process, no queue", spread(plain, 3)],
            ["ratio", spread(ratios, 2)],
        ],
        [
            f"target: a ratio of at most {TARGET_RATIO}; both wrote {counts[0]:,} values and {counts[1]:,} patterns",
            about,
        ],
    )


def load_bars(bench: Bench, csv_file: Path | None) -> tuple[str, ...]:
    """Load the bars of a file, or synthetic ones; returns the symbols."""
    if csv_file is None:
        return tuple(
            sorted(load_rows(bench.connection, DAY, generate_bars(SYNTHETIC_SYMBOLS, SYNTHETIC_DAYS, SEED)).symbols)
        )
    return tuple(sorted(import_bars(bench.connection, [csv_file], DAY).symbols))


def pooled_round(bench: Bench, symbols: tuple[str, ...], max_bars: int) -> tuple[float, tuple[int, ...]]:
    """Seconds from the call of enqueue to the run's completion, and the checksum of the written rows."""
    empty_results(bench)
    request = RunRequest("analysis", symbols, "benchmark", "day", parameters={"max_bars": max_bars})
    called_at = time.time()
    run, _ = enqueue(bench.connection, bench.streams, installed_jobs(), request)
    times = wait_for_run(bench, run.id, RUN_SECONDS)
    wait_until(lambda: _is_empty(bench, "outbox"), RUN_SECONDS, "all events published")
    return times.completed_at.timestamp() - called_at, checksum(bench)


def plain_round(bench: Bench, symbols: tuple[str, ...], max_bars: int) -> tuple[float, tuple[int, ...]]:
    """Seconds of the same work in this process and one transaction, and the checksum of the written rows."""
    empty_results(bench)
    started = time.perf_counter()
    plain_script(bench, symbols, max_bars)
    return time.perf_counter() - started, checksum(bench)


def plain_script(bench: Bench, symbols: Sequence[str], max_bars: int) -> None:
    """Read, compute and write: the script that one would write without a pool."""
    connection = bench.connection
    with connection.transaction():
        newest = read_newest_time(connection, symbols, DAY, newest_closed(DAY, datetime.now(UTC)))
        assert isinstance(newest, date)
        indicators = definitions.parse_indicators(definitions.read_enabled_indicators(connection, "day"))
        patterns = definitions.parse_patterns(definitions.read_enabled_patterns(connection, "day"))
        moment = bar_moment(DAY, newest)
        values: list[IndicatorRow] = []
        found: list[PatternRow] = []
        scans: list[Scan] = []
        for symbol, series in read_series(connection, symbols, DAY, newest, max_bars).items():
            if series.times[-1] != np.datetime64(newest, "D"):
                continue
            for name, bars in compute_last_bars(indicators, series).values.items():
                values.extend(IndicatorRow(symbol, name, moment, bar.value, bar.outputs, len(series)) for bar in bars)
            found.extend(PatternRow(symbol, moment, detection) for detection in detect(patterns, series)[0])
            scans.append(Scan(symbol, moment, moment))
        save_indicators(connection, 1, "day", values)
        save_patterns(connection, 1, "day", found, scans, [pattern.name for pattern in patterns])


def empty_results(bench: Bench) -> None:
    """Empty both result tables, so that every row is written again."""
    bench.connection.execute("TRUNCATE indicator_results, daily_patterns")


def checksum(bench: Bench) -> tuple[int, ...]:
    """The number of stored values and patterns, and a checksum of each."""
    row = bench.connection.execute(_CHECKSUM).fetchone()
    assert row is not None
    return tuple(row)


def _is_empty(bench: Bench, table: str) -> bool:
    row = bench.connection.execute(f"SELECT NOT EXISTS (SELECT FROM {table})".encode()).fetchone()
    return bool(row and row[0])


if __name__ == "__main__":
    main()
