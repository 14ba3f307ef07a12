"""Requests of two people beside a load of thousands of symbols, at few calls a minute: who waits for how long."""

import argparse
import os
import time
from datetime import UTC, datetime

from bench_pool import Bench, machine, positive, print_table, private_services, running_pool
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import Origin, RunRequest
from streamworkers.engine.ledger import Run
from streamworkers.engine.registry import installed_jobs
from streamworkers_fakes.massive import DEFAULT_KEY
from streamworkers_fakes.massive.server import fake_massive_process

DAYS = {"provider": "massive", "first": "2025-11-10", "last": "2025-11-21"}
POLL_SECONDS = 0.5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=positive, default=10_000, help="symbols of the large load")
    parser.add_argument("--asked", type=positive, default=5, help="symbols of each request")
    parser.add_argument("--calls", type=positive, default=5, help="calls a minute")
    parser.add_argument("--processes", type=positive, default=2, help="worker processes")
    parser.add_argument("--minutes", type=positive, default=6, help="when to give up")
    words = parser.parse_args()
    rows = []
    with private_services() as bench:
        for what, most_items in (("shared", 100), ("each load has a turn", 0)):
            rows += measure(bench, words, what, most_items)
        print_table(
            f"{words.asked} symbols each for two people, beside {words.symbols:,}, at {words.calls} calls a minute",
            ["calls are", "who", "symbols loaded", "first after", "last after"],
            rows,
            [machine(bench)],
        )


def measure(bench: Bench, words: argparse.Namespace, what: str, most_items: int) -> list[list[str]]:
    """Rows of one rule: the requests come when the large load has made its first calls."""
    bench.empty()
    bench.connection.execute("TRUNCATE ohlcv_daily, series_sources, series_state, series_versions")
    with fake_massive_process("--now", "2025-11-25T20:30:00-05:00") as url:
        settings = {
            "MASSIVE_BASE_URL": url,
            "MASSIVE_API_KEY": DEFAULT_KEY,
            "MASSIVE_CALLS_PER_MINUTE": words.calls,
            "LOAD_REQUEST_ITEMS": most_items,
            "LOAD_CONFIRM": "false",
        }
        with running_pool(bench, "--processes", str(words.processes), "--queue", "load", **settings) as pool:
            pool.wait_until_ready(bench, words.processes)
            sweep = start(bench, "sweep", [f"S{n:05d}" for n in range(words.symbols)], Origin("schedule"), most_items)
            while not closed(bench, sweep):
                time.sleep(POLL_SECONDS)
            asked = {
                who: start(
                    bench, who, [f"{who.upper()}{n}" for n in range(words.asked)], Origin(requested_by=who), most_items
                )
                for who in ("anna", "ben")
            }
            began, until = datetime.now(UTC), time.monotonic() + words.minutes * 60
            while time.monotonic() < until and any(len(closed(bench, run)) < words.asked for run in asked.values()):
                time.sleep(POLL_SECONDS)
            ended = datetime.now(UTC)
            table = [describe(what, who, closed(bench, run), words.asked, began) for who, run in asked.items()]
            during = [at for at in closed(bench, sweep) if at >= began]
            table.append(
                [what, "the large load", f"{len(during)} meanwhile", "", f"{(ended - began).total_seconds():.0f} s"]
            )
    return table


def start(bench: Bench, who: str, symbols: list[str], origin: Origin, most_items: int) -> Run:
    """Start a load of days."""
    os.environ["STREAMWORKERS_LOAD_REQUEST_ITEMS"] = str(most_items)
    request = RunRequest("load_ohlcv", tuple(symbols), who, timeframe="day", parameters=dict(DAYS), origin=origin)
    return enqueue(bench.connection, bench.streams, installed_jobs(), request)[0]


def closed(bench: Bench, run: Run) -> list[datetime]:
    """When the items of a run were loaded."""
    query = "SELECT finished_at FROM run_items WHERE run_id = %s AND status = 'completed' ORDER BY finished_at"
    return [at for (at,) in bench.connection.execute(query, (run.id,))]


def describe(what: str, who: str, times: list[datetime], asked: int, began: datetime) -> list[str]:
    """A row of the table."""
    waits = [f"{(at - began).total_seconds():.0f} s" for at in times]
    last = waits[-1] if len(times) == asked else "not in time"
    return [what, who, f"{len(times)} of {asked}", waits[0] if waits else "not in time", last]


if __name__ == "__main__":
    main()
