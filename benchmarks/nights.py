"""Values of consecutive nights, compared with those of the whole history: in memory, by the pool, and of a fill.

Each night sees the bars up to its own, as the nightly run reads them. Every value at a night's bar is compared with the
value of the same bar in one computation over all bars of the symbol; a difference is relative to the value, or to a
thousandth of the function's usual size where the value is smaller. Ends with exit code 1 if a difference is above 1e-9,
or a value exists on one side only.

- memory: the enabled definitions, and with their defaults all functions that smooth or sum, over many symbols.
- pool: the enabled definitions of a few symbols, one run of the job `indicators` for each night, read back from
  `indicator_results`.
- fill: one run for all of these nights on emptied tables. Its rows must equal those of the nights in every column.

    .venv/bin/python benchmarks/nights.py [--csv FILE] [--nights N] [--symbols N] [--pool-symbols N] [--fill N]
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np

from bench_pool import Bench, machine, positive, print_table, private_services, wait_for_run, wait_for_workers, workers
from nightly import DAY, REAL_BARS, load_bars
from streamworkers.analysis.definitions import IndicatorDefinition
from streamworkers.analysis.history import History, bars_to_read
from streamworkers.analysis.indicators import compute, compute_last_bars
from streamworkers.analysis.ta_functions import REJECTED_FUNCTIONS
from streamworkers.analysis.warmup import _RECURSIVE, _WHOLE_FUNCTIONS  # what is measured must be all of them
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.registry import installed_jobs
from streamworkers.market.bars.bars import Bars
from streamworkers.market.bars.read import read_series
from streamworkers.results import definitions

MOST = 1e-9
RUN_SECONDS = 300.0
_ROWS = "SELECT symbol, indicator, bar_time, value, value_data, bars_used FROM indicator_results ORDER BY 1, 2, 3"
Values = Mapping[str, float]


@dataclass(slots=True)
class Comparison:
    """The number of compared values, the largest difference and its function, and values that only one side has."""

    values: int = 0
    worst: float = 0.0
    where: str = "-"
    missing: list[str] = field(default_factory=list)

    def note(self, where: str, found: Values | None, whole: Values | None, usual: Values) -> None:
        """Compare the outputs of an indicator at a bar."""
        if found is None or whole is None:
            if found is not whole:
                self.missing.append(where)
            return
        for name, value in whole.items():
            self.values += 1
            size = max(abs(value), usual[name] * 1e-3, 1e-12)
            difference = abs(found[name] - value) / size
            if difference > self.worst:
                self.worst, self.where = difference, where

    def row(self, name: str) -> list[str]:
        """The row of the table."""
        first = f", first {self.missing[0]}" if self.missing else ""
        return [name, f"{self.values:,}", f"{self.worst:.1e}", self.where, f"{len(self.missing)}{first}"]

    @property
    def is_good(self) -> bool:
        """Whether all values are the same to `MOST`."""
        return self.values > 0 and self.worst <= MOST and not self.missing


class WholeHistory:
    """The values of one symbol, of one computation over all of its bars."""

    def __init__(self, indicators: Sequence[IndicatorDefinition], bars: Bars) -> None:
        self._arrays = {each.name: compute(each, bars) for each in indicators}
        self.usual = {
            name: {output: _usual(array) for output, array in outputs.items()} for name, outputs in self._arrays.items()
        }

    def at(self, name: str, index: int) -> Values | None:
        """The outputs of an indicator at a bar, None unless all are finite."""
        row = {output: float(array[index]) for output, array in self._arrays[name].items()}
        return row if all(map(np.isfinite, row.values())) else None


def _usual(array: Any) -> float:
    finite = np.abs(array[np.isfinite(array)])
    return float(np.median(finite)) if len(finite) else 0.0


def main() -> int:
    """Load bars, compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, default=REAL_BARS if REAL_BARS.exists() else None, help="your daily bars")
    parser.add_argument("--nights", type=positive, default=500)
    parser.add_argument("--symbols", type=positive, default=40, help="symbols in memory  [default: 40]")
    parser.add_argument("--pool-symbols", type=positive, default=4, help="symbols in the pool  [default: 4]")
    parser.add_argument("--fill", type=positive, default=400, help="bars of the fill  [default: 400]")
    words = parser.parse_args()
    with private_services() as bench:
        about = machine(bench)
        names = load_bars(bench, words.csv)
        step = max(1, len(names) // words.symbols)
        series = read_series(bench.connection, names[::step][: words.symbols], DAY, date.max, 1_000_000)
        enabled = definitions.parse_indicators(definitions.read_enabled_indicators(bench.connection, "day"))
        rows = {
            f"memory, {len(enabled)} enabled definitions": compare_in_memory(enabled, series, words.nights),
            f"memory, {len(smoothing())} functions that smooth or sum": compare_in_memory(
                smoothing(), series, words.nights
            ),
        }
        few = {symbol: series[symbol] for symbol in list(series)[: words.pool_symbols]}
        with workers(bench, 1, "analysis"):
            wait_for_workers(bench, 1)
            rows[f"pool, {words.nights} runs of {len(few)} symbols"] = compare_pool(bench, enabled, few, words.nights)
            same, differing = compare_fill(bench, few, words.fill)
    source = words.csv.name if words.csv else "synthetic bars"
    print_table(
        f"{words.nights} consecutive nights of {len(series)} symbols of {source}",
        ["", "values", "largest difference", "of", "on one side only"],
        [comparison.row(name) for name, comparison in rows.items()],
        [f"a fill of {words.fill} bars: {same:,} rows equal to those of the nights, {differing:,} not", about],
    )
    return 0 if all(each.is_good for each in rows.values()) and same and not differing else 1


def smoothing() -> list[IndicatorDefinition]:
    """Each function whose values depend on more bars than its window, with its defaults."""
    names = sorted({*_RECURSIVE, *_WHOLE_FUNCTIONS, "supertrend", "keltner"} - {*REJECTED_FUNCTIONS})
    return [IndicatorDefinition(name.lower() if name.isupper() else name, name, {}) for name in _distinct(names)]


def _distinct(names: Sequence[str]) -> Iterator[str]:
    seen = set()
    for name in reversed(names):  # of supertrend and SUPERTREND the own function, which comes last
        if name.lower() not in seen:
            seen.add(name.lower())
            yield name


def compare_in_memory(indicators: Sequence[IndicatorDefinition], series: Mapping[str, Bars], nights: int) -> Comparison:
    """Compute each night from the bars that it reads."""
    result, wanted = Comparison(), bars_to_read(indicators, DAY, 1)
    for symbol, bars in series.items():
        whole = WholeHistory(indicators, bars)
        for index in range(max(0, len(bars) - nights), len(bars)):
            end = index + 1
            first = 0 if wanted.longer is None else max(0, end - wanted.longer)
            history = History(
                bars.at(slice(max(0, end - wanted.recent), end)), bars.at(slice(first, end)), complete=first == 0
            )
            found = compute_last_bars(indicators, history).values
            for each in indicators:
                expected = whole.at(each.name, index)
                row = found.get(each.name)
                outputs = None if not row else row[-1].outputs or dict.fromkeys(expected or {"": 0.0}, row[-1].value)
                result.note(
                    f"{each.name} of {symbol} at {bars.times[index]}", outputs, expected, whole.usual[each.name]
                )
    return result


def run(bench: Bench, symbols: Sequence[str], day: date | None, **parameters: Any) -> None:
    """One run of the job `indicators`, as of the evening of a day, to its end."""
    as_of = None if day is None else datetime.combine(day, time(23), UTC)
    request = RunRequest("indicators", tuple(symbols), "benchmark", "day", as_of=as_of, parameters=parameters)
    started, _ = enqueue(bench.connection, bench.streams, installed_jobs(), request)
    wait_for_run(bench, started.id, RUN_SECONDS)


def compare_pool(
    bench: Bench, indicators: Sequence[IndicatorDefinition], series: Mapping[str, Bars], nights: int
) -> Comparison:
    """Run each night in the pool, and compare what it has stored."""
    days = sorted({day for bars in series.values() for day in bars.times[-nights:].tolist()})[-nights:]
    for day in days:
        run(bench, list(series), day)
    stored: dict[tuple[str, str, date], Values] = {}
    for symbol, name, moment, value, outputs, _ in bench.connection.execute(_ROWS):
        stored[symbol, name, moment.date()] = outputs or {"": value}
    result = Comparison()
    for symbol, bars in series.items():
        whole = WholeHistory(indicators, bars)
        for index, day in enumerate(bars.times.tolist()):
            if day < days[0]:
                continue
            for each in indicators:
                found, expected = stored.get((symbol, each.name, day)), whole.at(each.name, index)
                if found is not None and "" in found:
                    found = dict.fromkeys(expected or {"": 0.0}, found[""])
                result.note(f"{each.name} of {symbol} at {day}", found, expected, whole.usual[each.name])
    return result


def compare_fill(bench: Bench, series: Mapping[str, Bars], bars: int) -> tuple[int, int]:
    """Fill emptied tables in one run; returns how many rows equal those of the nights, and how many do not."""
    nights = {tuple(row[:3]): tuple(row[3:]) for row in bench.connection.execute(_ROWS)}
    bench.connection.execute("TRUNCATE indicator_results")
    run(bench, list(series), None, last_bars=bars)
    filled = {tuple(row[:3]): tuple(row[3:]) for row in bench.connection.execute(_ROWS)}
    first = min(key[2] for key in filled)
    expected = {key: row for key, row in nights.items() if key[2] >= first}
    differing = sum(filled.get(key) != expected.get(key) for key in {*filled, *expected})
    return len(filled) - differing, differing


if __name__ == "__main__":
    sys.exit(main())
