"""Shared by the benchmarks: private services, worker processes, waiting for a run, and the printed table."""

import argparse
import contextlib
import json
import math
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
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import IO, Any

import psutil
import redis
from rich.console import Console
from rich.table import Table

from streamworkers.config import Settings
from streamworkers.database import Connection, connect
from streamworkers.embedded import EmbeddedServices
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.migrations import migrate

PROJECT = Path(__file__).resolve().parent.parent
SAMPLE_JOBS = PROJECT / "tests" / "sample_jobs"
READY_SECONDS = 60.0
STOP_SECONDS = 60.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Bench:
    """The services of one benchmark: their URLs, a connection to each, and their temporary folder."""

    folder: Path
    redis_url: str
    database_url: str
    connection: Connection
    streams: Streams
    client: redis.Redis

    def empty(self) -> None:
        """Delete all runs, results and entries, so that each round starts from the same state."""
        self.client.flushall()
        tables = (
            "runs, run_dependencies, run_items, run_events, ticks, backfill_ticks, outbox, indicator_results,"
            " daily_patterns, effects"
        )
        self.connection.execute(f"TRUNCATE {tables}")

    def redis_seconds(self) -> float:
        """Return the processor seconds that Redis has used so far."""
        used: Any = self.client.info("cpu")
        return float(used["used_cpu_user"] + used["used_cpu_sys"])


@contextmanager
def private_services(redis_server: Path | None = None) -> Iterator[Bench]:
    """Start a Redis, of the given program if any, and a migrated PostgreSQL; stop and remove both afterwards.

    They live in a temporary folder. Tables are those of the migrations, and `effects` that a sample job writes to.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end_in_order)
    folder = Path(tempfile.mkdtemp(prefix="sw-bench-"))
    services = EmbeddedServices(Settings(data_dir=folder, embedded_redis_server=redis_server))
    try:
        services.start()
        with connect(services.postgres.url, application="benchmark") as connection:
            migrate(connection)
            connection.execute("CREATE TABLE effects (run_id bigint NOT NULL, symbol text NOT NULL)")
            streams = open_streams(services.redis.url, "streamworkers")
            client = redis.Redis.from_url(services.redis.url)
            try:
                yield Bench(folder, services.redis.url, services.postgres.url, connection, streams, client)
            finally:
                streams.close()
                client.close()
    finally:
        services.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _end_in_order(number: int, _frame: FrameType | None) -> None:
    """End the benchmark and its processes; a second signal, as `timeout` sends it, must not interrupt that."""
    for other in (signal.SIGTERM, signal.SIGINT):
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


@contextmanager
def workers(bench: Bench, processes: int, queue: str) -> Iterator[None]:
    """A supervisor whose workers all read `queue`; ended by SIGTERM and awaited."""
    process = _start_supervisor(bench, ["--processes", str(processes), "--queue", queue], None, LOG_LEVEL="warning")
    try:
        yield
    finally:
        stop(process)


@dataclass(frozen=True, slots=True)
class Pool:
    """A supervisor or scheduler under observation: its process, and the log that it and its workers write."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of a name logged so far, each with its time `at` in Unix seconds."""
        lines = self.log.read_text(encoding="utf-8").split("\n")[:-1]
        found = [event for event in map(json.loads, filter(_is_json, lines)) if event["event"] == name]
        return [{**event, "at": datetime.fromisoformat(event["timestamp"]).timestamp()} for event in found]

    def metrics_url(self) -> str:
        """Where its metrics are, once it has started."""
        names = ("supervisor_started", "scheduler_started")
        wait_until(lambda: any(map(self.events, names)), READY_SECONDS, "the process serves its metrics")
        return "http://127.0.0.1:{metrics_port}/metrics".format_map(next(filter(None, map(self.events, names)))[0])

    def workers(self) -> dict[int, str]:
        """The consumer names of the running workers, by process id."""
        ended = {event["pid"] for event in self.events("worker_ended")}
        return {event["pid"]: event["consumer"] for event in self.events("worker_started") if event["pid"] not in ended}

    def wait_until_ready(self, bench: Bench, count: int) -> None:
        """Wait until `count` of its workers have loaded their jobs, are connected and read."""
        query = "SELECT count(DISTINCT application_name) >= %s FROM pg_stat_activity WHERE application_name = ANY(%s)"

        def connected() -> bool:
            if self.process.poll() is not None:
                sys.exit(f"the pool has ended; its log ends: {self.log.read_text(errors='replace')[-2000:]}")
            row = bench.connection.execute(query, (count, list(self.workers().values()))).fetchone()
            return row == (True,)

        wait_until(connected, READY_SECONDS, f"{count} workers ready")


@contextmanager
def running_pool(bench: Bench, *words: str, **settings: object) -> Iterator[Pool]:
    """A supervisor with these options, and with settings such as `LEASE_SECONDS`; stopped at the end."""
    log = bench.folder / f"pool-{len(list(bench.folder.glob('pool-*.log')))}.log"
    with log.open("wb") as log_file:
        process = _start_supervisor(bench, words, log_file, **settings)
    pool = Pool(process, log)
    try:
        yield pool
    finally:
        stop(process)
        for pid in pool.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def running_scheduler(bench: Bench, *words: str) -> Iterator[Pool]:
    """A scheduler with these options, stopped at the end; it logs to a file in the benchmark's folder."""
    log = bench.folder / f"scheduler-{len(list(bench.folder.glob('scheduler-*.log')))}.log"
    with log.open("wb") as log_file:
        process = _start("scheduler", bench, words, log_file)
    try:
        yield Pool(process, log)
    finally:
        stop(process)


@contextmanager
def running_api(bench: Bench, **settings: object) -> Iterator[str]:
    """An API process with settings such as `API_CONNECTIONS`, stopped at the end; yields its URL."""
    log = bench.folder / f"api-{len(list(bench.folder.glob('api-*.log')))}.log"
    with log.open("wb") as log_file:
        process = _start("api", bench, ["--port", "0"], log_file, **settings)
    pool = Pool(process, log)
    try:
        wait_until(lambda: pool.events("api_listens"), READY_SECONDS, "the API listens")
        yield f"http://127.0.0.1:{pool.events('api_listens')[0]['port']}"
    finally:
        stop(process)


def _start_supervisor(
    bench: Bench, words: Sequence[str], log_file: IO[bytes] | None, **settings: object
) -> "subprocess.Popen[bytes]":
    return _start("worker", bench, words, log_file, **settings)


def _start(
    command: str, bench: Bench, words: Sequence[str], log_file: IO[bytes] | None, **settings: object
) -> "subprocess.Popen[bytes]":
    environment = {
        **os.environ,
        "STREAMWORKERS_REDIS_URL": bench.redis_url,
        "STREAMWORKERS_DATABASE_URL": bench.database_url,
        "STREAMWORKERS_LOG_FORMAT": "json",
        **{f"STREAMWORKERS_{name}": str(value) for name, value in settings.items()},
        "PYTHONPATH": os.pathsep.join([str(SAMPLE_JOBS), os.environ.get("PYTHONPATH", "")]),
    }
    line = [sys.executable, "-m", "streamworkers", command, *words]
    return subprocess.Popen(line, env=environment, stderr=log_file)


def _is_json(line: str) -> bool:
    return line.startswith("{")


def stop(process: "subprocess.Popen[bytes]", seconds: float = STOP_SECONDS) -> None:
    """End a process by SIGTERM, and if it does not end in time, it and its descendants by SIGKILL."""
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
    """Wait until `count` worker processes have loaded their jobs, are connected and read."""
    query = "SELECT count(DISTINCT application_name) >= %s FROM pg_stat_activity WHERE application_name ~ '[.][0-9]+$'"
    wait_until(
        lambda: bench.connection.execute(query, (count,)).fetchone() == (True,), READY_SECONDS, f"{count} workers ready"
    )


@dataclass(frozen=True, slots=True)
class RunTimes:
    """When a run was created, started and completed, by PostgreSQL's clock."""

    created_at: datetime
    started_at: datetime
    completed_at: datetime


def wait_for_run(bench: Bench, run_id: int, seconds: float) -> RunTimes:
    """Wait until every item of the run is completed. Ends the benchmark if one failed or time is up."""
    deadline = time.monotonic() + seconds
    while True:
        row = bench.connection.execute(
            "SELECT status, created_at, started_at, completed_at FROM runs WHERE id = %s", (run_id,)
        ).fetchone()
        assert row is not None
        status, *times = row
        if status == "COMPLETED":
            return RunTimes(*times)
        if status not in ("PENDING", "RUNNING") or time.monotonic() >= deadline:
            sys.exit(f"run {run_id} is {status} after {seconds:g} s or less; it should be COMPLETED")
        time.sleep(_POLL_SECONDS)


def positive(text: str) -> int:
    """Parses a positive number on the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a number from 1")
    return number


def spread(values: Sequence[float], digits: int) -> str:
    """The median, with minimum and maximum if there are several values."""
    middle = f"{statistics.median(values):,.{digits}f}"
    return middle if len(values) < 2 else f"{middle}  ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that the given share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity: its name, each measurement, and the maximum that its target allows, if any."""

    what: str
    values: Sequence[float]
    at_most: float | None = None
    digits: int = 2

    @property
    def verdict(self) -> str:
        """Whether every measurement meets the target; empty without a target or a measurement."""
        if self.at_most is None or not self.values:
            return ""
        return "yes" if max(self.values) <= self.at_most else "NO"

    def as_row(self) -> list[str]:
        """The figure as a row of the table."""
        target = "" if self.at_most is None else f"{self.at_most:g}"
        measured = spread(self.values, self.digits) if self.values else "none"
        return [self.what, measured, str(len(self.values)), target, self.verdict]


def print_figures(title: str, figures: Sequence[Figure], notes: Sequence[str], *, as_json: bool) -> None:
    """Print figures as a table, or everything as one JSON object."""
    if as_json:
        print(json.dumps({"title": title, "notes": notes, "figures": [asdict(figure) for figure in figures]}, indent=2))
        return
    columns = ["", "median (min-max)", "measured", "at most", "reached"]
    print_table(title, columns, [figure.as_row() for figure in figures], notes)


def machine(bench: Bench) -> str:
    """One line about the machine and the versions measured."""
    server = bench.client.info("server")
    assert isinstance(server, dict)
    postgres = bench.connection.info.server_version
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"Redis {server['redis_version']}, PostgreSQL {postgres // 10000}.{postgres % 10000}; "
        f"load before the start {os.getloadavg()[0]:.1f}"
    )


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> None:
    """Print the figures with their notes."""
    table = Table(title=title, title_justify="left", caption="\n".join(notes), caption_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
