"""What the client costs, and that runs are as many as committed transactions, whatever is killed in between.

Import time is processor time, beside that of the libraries alone, in alternating rounds. The account of transactions: a
process makes them with the client in its own psycopg transaction, each with a mark, and rolls back every second one.
It is killed with SIGKILL several times, PostgreSQL as often, and it goes on behind the last mark. Afterwards runs and
marks have to be the same.

    .venv/bin/python benchmarks/client.py [--rounds N] [--runs N] [--transactions N] [--kills N]
"""

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from bench_pool import SAMPLE_JOBS, Bench, machine, positive, print_table, private_services
from streamworkers.client import Client, Request
from streamworkers.config import Settings
from streamworkers.database import connect
from streamworkers.embedded import EmbeddedServices
from streamworkers.engine import ledger
from streamworkers.engine.registry import installed_jobs
from streamworkers.engine.services.job_types import list_job_types
from streamworkers.logs import configure_logs

MANY_SECONDS = 1.0
_LIBRARIES = "psycopg, psycopg_pool, msgspec"
_CLIENT = Path(__file__).parent.parent / "tests" / "submitting_client.py"
_MOST_PROCESSES = 1000
_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'streamworkers-client'"


def main() -> None:
    """Measure, count, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=positive, default=9)
    parser.add_argument("--runs", type=positive, default=10_000)
    parser.add_argument("--transactions", type=positive, default=1000)
    parser.add_argument("--kills", type=positive, default=5, help="of the client, and as many of PostgreSQL")
    words = parser.parse_args()
    sys.path.insert(0, str(SAMPLE_JOBS))
    configure_logs("warning", "console")
    with private_services() as bench:
        ledger.record_job_types(bench.connection, list_job_types(installed_jobs()), "benchmark")
        own, libraries = compare_imports(words.rounds)
        many = measure_many(bench, words.runs)
        about = machine(bench)
        rows = [
            ["import", f"{own:.0f} ms", f"{libraries:.0f} ms for {_LIBRARIES} alone"],
            [f"enqueue_many of {words.runs:,}", f"{many.wall:.2f} s", f"at most {MANY_SECONDS:g} s"],
            ["its processor time", f"{many.client + many.server:.2f} s", f"{many.server:.2f} s of it in PostgreSQL"],
            ["transactions", *count_transactions(bench, words.transactions, words.kills)],
        ]
    print_table("The client", ["what", "measured", "beside"], rows, [about])


def compare_imports(rounds: int) -> tuple[float, float]:
    """The processor time of importing the client, and its libraries alone, in milliseconds; medians."""
    found: dict[str, list[float]] = {"streamworkers.client": [], _LIBRARIES: []}
    for _ in range(rounds):
        for modules, times in found.items():
            code = f"import time\na = time.process_time()\nimport {modules}\nprint(time.process_time() - a)"
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            times.append(1000 * float(done.stdout))
    own, libraries = (statistics.median(times) for times in found.values())
    return own, libraries


class Cost(NamedTuple):
    """The seconds that a call takes, and those of processors in the client and in its session of PostgreSQL."""

    wall: float
    client: float
    server: float


def measure_many(bench: Bench, runs: int) -> Cost:
    """What one call costs for very many runs with parameters and keys; the fastest of three."""
    found = []
    with Client(bench.database_url) as client:
        client.jobs()
        (session,) = bench.connection.execute(_SESSIONS).fetchall()
        server = psutil.Process(session[0])
        for repetition in range(3):
            wanted = [
                Request.of("ledger_entry", {"milliseconds": 1}, symbols=["AAPL"], key=f"{repetition}:{place}")
                for place in range(runs)
            ]
            began, own, others = time.monotonic(), time.process_time(), sum(server.cpu_times()[:2])
            client.enqueue_many(wanted)
            wall, used = time.monotonic() - began, time.process_time() - own
            found.append(Cost(wall, used, sum(server.cpu_times()[:2]) - others))
    return min(found)


def count_transactions(bench: Bench, transactions: int, kills: int) -> tuple[str, str]:
    """Let a process commit and roll back while it and PostgreSQL are killed; says what was committed, and what runs."""
    services = EmbeddedServices(Settings(data_dir=bench.folder))
    rng = random.Random(7)
    with connect(bench.database_url) as connection:
        connection.execute("DELETE FROM runs")
        connection.execute("CREATE TABLE marks (number integer PRIMARY KEY)")
    stops = sorted(rng.sample(range(1, transactions), 2 * kills))
    first, died = 1, 0
    for _ in range(_MOST_PROCESSES):
        words = [sys.executable, str(_CLIENT), bench.database_url, str(first), str(transactions)]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as client:
            assert client.stdout is not None
            for line in client.stdout:
                first = int(line) + 1
                if stops and int(line) >= stops[0]:
                    stops.pop(0)
                    died += 1
                    server = services.postgres.process()
                    assert server is not None
                    os.kill(client.pid if died % 2 else server.pid, signal.SIGKILL)
        services.start()
        if first > transactions:
            break
    with connect(bench.database_url) as connection:
        marks = {f"k{number}" for (number,) in connection.execute("SELECT number FROM marks")}
        runs = [key for (key,) in connection.execute("SELECT submit_key FROM runs")]
    if sorted(runs) != sorted(marks):
        sys.exit(f"{len(runs)} runs, and {len(marks)} committed transactions")
    return f"{len(runs)} runs", f"{len(marks)} committed of {transactions}, with {died} kills"


if __name__ == "__main__":
    main()
