"""Whether the number of connections stays as it is: a supervisor, a scheduler, schedules of each second, and scrapes.

Redis and PostgreSQL say how many they have (`INFO clients`, `pg_stat_activity`); those of this script are left out. The
number is looked at each second, after a minute in which everything connects. Target: the last sixth of the looks finds
at most as many as the first sixth.

    .venv/bin/python benchmarks/connections.py [--minutes N] [--schedules N] [--json]
"""

import argparse
import sys
import time
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime

from bench_pool import (
    SAMPLE_JOBS,
    Bench,
    Figure,
    machine,
    positive,
    print_figures,
    private_services,
    running_pool,
    running_scheduler,
)
from streamworkers.schedules import store
from streamworkers.schedules.definition import ScheduleDefinition

WARM_UP_SECONDS = 60
LOOK_SECONDS = 1.0
LOOKS_PER_SCRAPE = 5
LOOKS_PER_LINE = 300
ANSWER_SECONDS = 30.0
PARTS = 6


def main() -> None:
    """Let a pool and a scheduler work, and count their connections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=positive, default=60)
    parser.add_argument("--schedules", type=positive, default=2)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    words = parser.parse_args()
    sys.path.insert(0, str(SAMPLE_JOBS))
    with private_services() as bench:
        about = machine(bench)
        for number in range(words.schedules):
            fields = {"name": f"every_second_{number}", "job": "ledger_entry", "target": {"symbols": ["A", "B"]}}
            store.save_schedule(bench.connection, ScheduleDefinition.parse(fields | {"cron": "* * * * * *"}))
        port = ("--metrics-port", "0")
        with running_pool(bench, *port, "--processes", "1") as pool, running_scheduler(bench, *port) as scheduler:
            urls = [pool.metrics_url(), scheduler.metrics_url()]
            watch(bench, urls, WARM_UP_SECONDS)
            looks = watch(bench, urls, 60 * words.minutes)
        row = bench.connection.execute("SELECT count(*) FROM runs WHERE status = 'COMPLETED'").fetchone()
    assert row is not None
    figures = describe("Redis", [redis for redis, _ in looks]) + describe("PostgreSQL", [each for _, each in looks])
    title = f"Connections of a supervisor, a worker and a scheduler over {words.minutes} minutes, {len(looks)} looks"
    print_figures(title, [*figures, Figure("Runs completed", [row[0]], digits=0)], [about], as_json=words.json)


def watch(bench: Bench, urls: Sequence[str], seconds: int) -> list[tuple[int, int]]:
    """Count the connections to Redis and PostgreSQL again and again, and scrape meanwhile."""
    looks: list[tuple[int, int]] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if len(looks) % LOOKS_PER_SCRAPE == 0:
            scrape(urls)
        looks.append(count(bench))
        if len(looks) % LOOKS_PER_LINE == 0:
            print(f"{datetime.now(UTC):%H:%M:%S} Redis, PostgreSQL: {looks[-1]}", file=sys.stderr)
        time.sleep(LOOK_SECONDS)
    return looks


def scrape(urls: Sequence[str]) -> None:
    """Read the metrics of each process, as Prometheus does."""
    for url in urls:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
            answer.read()


def count(bench: Bench) -> tuple[int, int]:
    """The connections to Redis and PostgreSQL, without those of this script."""
    name = bench.connection.info.parameter_status("application_name")
    query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> %s"
    row = bench.connection.execute(query, (name,)).fetchone()
    clients = bench.client.client_list()
    own = int(bench.client.client_id())
    assert row is not None
    return sum(int(each["id"]) != own for each in clients), row[0]


def describe(store_name: str, numbers: Sequence[int]) -> list[Figure]:
    """The first, the largest and the last number, and how much the last part needs more than the first."""
    part = max(1, len(numbers) // PARTS)
    more = max(numbers[-part:]) - max(numbers[:part])
    return [
        Figure(f"{store_name}: first", [numbers[0]], digits=0),
        Figure(f"{store_name}: most", [max(numbers)], digits=0),
        Figure(f"{store_name}: last", [numbers[-1]], digits=0),
        Figure("  more in the last sixth than in the first", [more], 0, digits=0),
    ]


if __name__ == "__main__":
    main()
