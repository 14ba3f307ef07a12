"""Two years of real bars, decided day by day by the job `alerts`, against a replay of all of them at once.

One process imports the bars of a day of all symbols, and does what a worker does for a run about them; so for each day.
Then `alerts replay` decides the same bars from the first one. Both have to find the same firings: 20 rules, with every
rearm type, about each of the `--symbols`. No symbol depends on another, so `--skip` divides them among processes.

    .venv/bin/python benchmarks/alerts_replay.py [--symbols N] [--skip N] [--json] [FILE]
"""

import argparse
import gzip
import os
import sys
import tempfile
import time
from pathlib import Path

from bench_pool import PROJECT, Figure, machine, positive, print_figures, private_services
from streamworkers.market.calendar.session_table import fill_sessions

sys.path.insert(0, str(PROJECT / "tests"))
from live_alerts import LiveAlerts

BARS = PROJECT.parent / "shared" / "data" / "sp500_daily_2016_2021.csv.gz"


def main() -> None:
    """Decide live, replay, and print how both differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=BARS, help="daily bars as CSV, packed with gzip")
    parser.add_argument("--symbols", type=positive, default=470)
    parser.add_argument("--skip", type=int, default=0, metavar="N", help="leave out the first N symbols")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    words = parser.parse_args()
    with gzip.open(words.file, "rt") as lines:
        symbols = sorted({line.partition(",")[0] for line in lines} - {"symbol"})[words.skip :][: words.symbols]
    with private_services() as bench, tempfile.TemporaryDirectory() as folder:
        about = machine(bench)
        fill_sessions(bench.connection, "XNYS")
        live = LiveAlerts(bench.connection, words.file, Path(folder), symbols)
        began, used = time.monotonic(), sum(os.times()[:2])
        live.decide_days()
        figures = [
            Figure("days decided one by one", [live.runs], digits=0),
            Figure("seconds for them", [time.monotonic() - began], digits=0),
            Figure("processor seconds of this process for them", [sum(os.times()[:2]) - used], digits=0),
            Figure("firings of a rule", list(live.firings().values()), digits=0),
            Figure("firings of all rules", [sum(live.firings().values())], digits=0),
            Figure("firings that only one of both found", [sum(live.differences().values())], 0, digits=0),
        ]
    print_figures(f"{len(symbols)} symbols and 20 rules, live and replayed", figures, [about], as_json=words.json)


if __name__ == "__main__":
    main()
