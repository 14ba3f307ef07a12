"""What the benchmarks share: private services, worker processes, waiting for a run, and the printed table."""

import argparse
import contextlib
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil
import redis
from rich.console import Console
from rich.table import Table

from streamworkers.config import Settings
from streamworkers.database import Connection, connect
from streamworkers.embedded import EmbeddedServices
from streamworkers.engine.stream import Streams
from streamworkers.migrations import migrate

PROJECT = Path(__file__).resolve().parent.parent
SAMPLE_JOBS = PROJECT / "tests" / "sample_jobs"
READY_SECONDS = 60.0
STOP_SECONDS = 60.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Bench:
    """Services of one benchmark: where they are, a connection to each, and the folder that goes with them."""

    folder: Path
    redis_url: str
    database_url: str
    connection: Connection
    streams: Streams
    client: redis.Redis

    def empty(self) -> None:
        """Forget all runs, results and entries, so that each round starts from the same state."""
        self.client.flushall()
        self.connection.execute(
            "TRUNCATE job_schedule_runs, job_run_items, event_outbox, indicator_results, daily_patterns"
        )


@contextmanager
def private_services() -> Iterator[Bench]:
    """Start a Redis and a PostgreSQL of our own in a temporary folder, migrated; both end and go afterwards."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends with us
    folder = Path(tempfile.mkdtemp(prefix="sw-bench-"))
    services = EmbeddedServices(Settings(data_dir=folder))
    try:
        services.start()
        with connect(services.postgres.url, application="benchmark") as connection:
            migrate(connection)
            streams = Streams(services.redis.url, "streamworkers")
            client = redis.Redis.from_url(services.redis.url)
            try:
                yield Bench(folder, services.redis.url, services.postgres.url, connection, streams, client)
            finally:
                streams.close()
                client.close()
    finally:
        services.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def workers(bench: Bench, processes: int, queue: str) -> Iterator[None]:
    """A supervisor whose worker processes all read `queue`; ended by SIGTERM and waited for."""
    environment = {
        **os.environ,
        "STREAMWORKERS_REDIS_URL": bench.redis_url,
        "STREAMWORKERS_DATABASE_URL": bench.database_url,
        "STREAMWORKERS_LOG_LEVEL": "warning",
        "STREAMWORKERS_LOG_FORMAT": "json",
        "PYTHONPATH": os.pathsep.join([str(SAMPLE_JOBS), os.environ.get("PYTHONPATH", "")]),
    }
    words = [sys.executable, "-m", "streamworkers.cli.main", "worker"]
    process = subprocess.Popen([*words, "--processes", str(processes), "--queue", queue], env=environment)
    try:
        yield
    finally:
        stop(process)


def stop(process: "subprocess.Popen[bytes]", seconds: float = STOP_SECONDS) -> None:
    """End a process that we started: SIGTERM, and SIGKILL, for its descendants too, when it has not ended in time."""
    descendants = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in descendants:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def wait_until(condition: Callable[[], object], seconds: float, what: str, poll_seconds: float = _POLL_SECONDS) -> None:
    """Poll until the condition holds. Ends the benchmark when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            sys.exit(f"not within {seconds:g} s: {what}")
        time.sleep(poll_seconds)


def wait_for_workers(bench: Bench, count: int) -> None:
    """Wait until `count` worker processes have loaded their jobs and connected, after which they read."""
    query = "SELECT count(DISTINCT application_name) >= %s FROM pg_stat_activity WHERE application_name ~ '[.][0-9]+$'"
    wait_until(
        lambda: bench.connection.execute(query, (count,)).fetchone() == (True,), READY_SECONDS, f"{count} workers ready"
    )


@dataclass(frozen=True, slots=True)
class RunTimes:
    """When a run was made, taken up and completed, by the ledger's clock."""

    created_at: datetime
    started_at: datetime
    completed_at: datetime


def wait_for_run(bench: Bench, run_id: int, seconds: float) -> RunTimes:
    """Wait until every item of the run is completed. Ends the benchmark when one failed or time is over."""
    deadline = time.monotonic() + seconds
    while True:
        row = bench.connection.execute(
            "SELECT status, created_at, started_at, completed_at FROM job_schedule_runs WHERE id = %s", (run_id,)
        ).fetchone()
        assert row is not None
        status, *times = row
        if status == "COMPLETED":
            return RunTimes(*times)
        if status not in ("PENDING", "RUNNING") or time.monotonic() >= deadline:
            sys.exit(f"run {run_id} is {status} after {seconds:g} s or less; it should be COMPLETED")
        time.sleep(_POLL_SECONDS)


def positive(text: str) -> int:
    """A command-line number from 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a number from 1")
    return number


def spread(values: Sequence[float], digits: int) -> str:
    """The median, and the least and largest where there are several."""
    middle = f"{statistics.median(values):,.{digits}f}"
    return middle if len(values) < 2 else f"{middle}  ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def machine(bench: Bench) -> str:
    """One line on what the figures were measured with."""
    server = bench.client.info("server")
    assert isinstance(server, dict)
    postgres = bench.connection.info.server_version
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"Redis {server['redis_version']}, PostgreSQL {postgres // 10000}.{postgres % 10000}; "
        f"load before the start {os.getloadavg()[0]:.1f}"
    )


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> None:
    """Print the figures and what has to be known of them."""
    table = Table(title=title, title_justify="left", caption="\n".join(notes), caption_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
