"""A pool that reaches its services through proxies, and the proof that a fault has cost nothing."""

import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import psutil
from psycopg import sql
from psycopg.conninfo import make_conninfo

from harness import Supervisor, effects_of, items_of, start_run, wait_for_end, wait_until
from patience import Deadline, paced, patient
from streamworkers.database import Connection, connect
from streamworkers.embedded import EmbeddedServices
from streamworkers.embedded.postgres_server import PostgresServer
from streamworkers.engine import ledger
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.inspector import Backlog
from streamworkers.engine.redis.streams import open_streams
from streamworkers.engine.registry import Registry
from streamworkers.migrations import migrate
from tcp_proxy import TcpProxy

LEASE_SECONDS = paced(2.0)
OUTAGE_SECONDS = 1.5 * LEASE_SECONDS
ROLE = "pool_role"
PASSWORD = "of-the-pool"
LOGIN = f"{ROLE}:{PASSWORD}"  # as a URL has it
DATABASE = "faults"
_EMPTY = Backlog(0, 0, 0)
_BATCH_SIZE = 20  # of the job `ledger_entry`


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    err: str
    out: str


class FaultyPool:
    """A supervisor with two workers behind proxies; the test itself reaches both services directly."""

    def __init__(
        self,
        services: EmbeddedServices,
        registry: Registry,
        folder: Path,
        environment: Mapping[str, str],
    ) -> None:
        self.services = services
        self.redis = TcpProxy(str(services.redis.socket_path))
        self.postgres = TcpProxy(str(services.postgres.socket_folder / ".s.PGSQL.5432"))
        self.database_url = make_conninfo(services.postgres.url, dbname=DATABASE)
        self.streams = open_streams(services.redis.url, f"faults-{secrets.token_hex(4)}")
        self.client: Any = self.streams.client.raw
        self.connection: Connection = connect(self.database_url, application="test")
        self.environment = {
            **environment,
            "STREAMWORKERS_REDIS_URL": f"redis://127.0.0.1:{self.redis.port}",
            "STREAMWORKERS_DATABASE_URL": f"postgresql://{LOGIN}@127.0.0.1:{self.postgres.port}/{DATABASE}",
            "STREAMWORKERS_KEY_PREFIX": self.streams.keys.prefix,
            "STREAMWORKERS_LEASE_SECONDS": str(LEASE_SECONDS),
            "STREAMWORKERS_RECONCILE_SECONDS": "0.3",
            "STREAMWORKERS_LOG_FORMAT": "json",
        }
        self.registry = registry
        self._folder = folder
        self._began = ""
        self._supervisors: list[Supervisor] = []

    @property
    def supervisor(self) -> Supervisor:
        """The one that runs."""
        return self._supervisors[-1]

    def begin(self) -> None:
        """Make all well for the next test: with a new supervisor when the last test left it, or the queue, unwell."""
        self.services.start()
        self.redis.resume()
        self.postgres.resume()
        self.reconnect()
        is_well = bool(self._supervisors) and self.supervisor.process.poll() is None
        if not is_well or self.streams.inspector.read_backlog("tests") != _EMPTY or self.unfinished_runs():
            self._start_over()
        wait_until(lambda: self.supervisor.events("supervisor_started"), 90, "the supervisor starts")
        wait_until(lambda: self.probe("/readyz")[0] == 200, 90, "the pool is ready")
        self._began = self.supervisor.newest_timestamp()

    def close(self) -> None:
        """End all of it."""
        for supervisor in self._supervisors:
            supervisor.kill_all()
        self.connection.close()
        self.streams.close()
        self.redis.close()
        self.postgres.close()

    def _start_over(self) -> None:
        for supervisor in self._supervisors:
            supervisor.kill_all()
        self.client.flushall()
        self.connection.execute("UPDATE runs SET status = 'CANCELLED', completed_at = now() WHERE completed_at IS NULL")
        log = self._folder / f"worker-{len(self._supervisors)}.log"
        words = ("--processes", "2", "--queue", "tests", "--metrics-port", "0")
        self._supervisors.append(Supervisor(self.environment, log, words))

    @contextmanager
    def using(self, server: PostgresServer) -> Iterator[None]:
        """Let the pool, and the test, use a copy of its PostgreSQL."""
        self._move(server)
        try:
            yield
        finally:
            self._move(self.services.postgres)

    def _move(self, server: PostgresServer) -> None:
        self.database_url = make_conninfo(server.url, dbname=DATABASE)
        self.reconnect()
        self.postgres.retarget(str(server.socket_folder / ".s.PGSQL.5432"))
        self.postgres.cut()

    def reconnect(self) -> None:
        """A new connection of the test's own, after the server was away."""
        self.connection.close()
        self.connection = connect(self.database_url, application="test")

    def unfinished_runs(self) -> int:
        """How many runs have not ended."""
        row = self.connection.execute("SELECT count(*) FROM runs WHERE completed_at IS NULL").fetchone()
        assert row is not None
        return int(row[0])

    def events(self, name: str) -> list[dict[str, Any]]:
        """What the pool has logged under a name since the test began."""
        return [event for event in self.supervisor.events(name) if event["timestamp"] > self._began]

    def waiting_workers(self) -> set[str]:
        """The workers that have logged, since the test began, that they wait for a store."""
        consumers = {event["consumer"] for event in self.supervisor.events("worker_started")}
        return consumers & {event["who"] for event in self.events("store_fault")}

    def start_run(self, count: int = 200, milliseconds: float = 10.0) -> Run:
        """Enqueue a run of items that take so long each."""
        symbols = [f"S{number:04}" for number in range(count)]
        parameters = {"milliseconds": paced(milliseconds)}
        return start_run(self.connection, self.streams, self.registry, "ledger_entry", *symbols, parameters=parameters)

    def start_run_to_meet(self, count: int, done: int, what: Callable[[], object]) -> Run:
        """Let something happen when so many items of a run are completed and both workers are at others of it.

        Those are held until it has happened, so that no machine is too slow for it.
        """
        hold = self._folder / "hold"
        hold.touch()
        # What is held is the last that either worker has in hand.
        parameters = {"milliseconds": paced(10.0), "hold": str(hold), "hold_from": done + 2 * _BATCH_SIZE}
        symbols = [f"S{number:04}" for number in range(count)]
        try:
            run = start_run(
                self.connection, self.streams, self.registry, "ledger_entry", *symbols, parameters=parameters
            )
            self.wait_for_completed(run, done)
            what()
        finally:
            hold.unlink()
        return run

    def completed(self, run: Run) -> int:
        """How many items of a run are completed."""
        return ledger.count_items(self.connection, run).get("completed", 0)

    def wait_for_completed(self, run: Run, count: int) -> None:
        """Wait until so many items of a run are completed."""
        wait_until(lambda: self.completed(run) >= count, 60, f"{count} items of run {run.id} are completed")

    def assert_nothing_lost(self, run: Run) -> None:
        """The run ends by itself: each effect once, no attempt spent, no worker ended, nothing left in the queue."""
        assert wait_for_end(self.connection, run, 90) == "COMPLETED", items_of(self.connection, run)
        items = items_of(self.connection, run)
        assert effects_of(self.connection, run) == sorted(items)
        assert {(state, attempt) for state, attempt, _ in items.values()} == {("completed", 1)}
        wait_until(lambda: self.streams.inspector.read_backlog("tests") == _EMPTY, 60, "nothing is left in the queue")
        assert self.events("worker_ended") == []
        assert [event for event in self.events("service_failed") if "exception" in event] == []

    def probe(self, path: str, seconds: float = 40.0) -> tuple[int, str]:
        """The answer of a probe: its status and text."""
        try:
            with urllib.request.urlopen(f"{self.supervisor.metrics_url()}{path}", timeout=patient(seconds)) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def command(self, *words: str) -> Answer:
        """Run a command that finds the services where the pool does."""
        done = subprocess.run(
            [sys.executable, "-m", "streamworkers", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=patient(90),
            check=False,
        )
        return Answer(done.returncode, done.stderr, done.stdout)

    def cut_replies(self, proxy: TcpProxy, until: Callable[[], bool]) -> list[Run]:
        """Cut connections in the middle of replies, at many places, twice and until the pool shows that it met them.

        Which connection is cut is the traffic's choice. Returns the runs that the workers were at.
        """
        runs, sizes, enough = [self.start_run(400)], (0, 1, 9, 60, 300, 1000), Deadline(60)
        for cuts, size in enumerate(cycle(sizes)):
            if cuts >= 2 * len(sizes) and until():
                break
            assert not enough.has_passed(), f"not met by the pool: {cuts} cuts"
            before, deadline = proxy.cuts, Deadline(60)
            while proxy.cuts == before:
                assert not deadline.has_passed(), f"no connection gets {size} bytes"
                if self.completed(runs[-1]) > 200:
                    runs.append(self.start_run(400))
                # Of another connection when the first one falls silent.
                proxy.cut_after(size)
                give_up_at = time.monotonic() + 0.3
                wait_until(lambda: proxy.cuts > before or time.monotonic() > give_up_at)  # noqa: B023  # called at once
        return runs

    def idle_ms(self) -> list[int]:
        """For how long each pending entry's lease has not been renewed."""
        stream = self.streams.keys.stream("tests")
        return [row["time_since_delivered"] for row in self.client.xpending_range(stream, "workers", "-", "+", 1000)]

    def wait_for_blocked_readers(self) -> None:
        """Wait until both workers are in a blocking read."""
        wait_until(lambda: self.client.info("clients")["blocked_clients"] == 2, 30, "both workers wait for entries")

    @contextmanager
    def no_spinning(self) -> Iterator[None]:
        """Fail when the pool logs or computes much during an outage, for which it can do nothing."""
        processes = [psutil.Process(pid) for pid in (self.supervisor.process.pid, *self.supervisor.worker_pids())]
        began, seconds, lines = time.monotonic(), _processor_seconds(processes), self._log_lines()
        yield
        elapsed = time.monotonic() - began
        # A thread that spins takes a core as far as it gets one, and writes hundreds of lines a second.
        assert self._log_lines() - lines <= 20 + 15 * elapsed
        assert _processor_seconds(processes) - seconds <= paced(0.3) + 0.25 * elapsed

    def _log_lines(self) -> int:
        return self.supervisor.log.read_bytes().count(b"\n")


def make_database(services: EmbeddedServices) -> None:
    """A migrated database that belongs to a role without special rights, with the table of the sample jobs."""
    role, database = sql.Identifier(ROLE), sql.Identifier(DATABASE)
    with connect(services.postgres.url) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, PASSWORD))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))
    with connect(make_conninfo(services.postgres.url, dbname=DATABASE, user=ROLE, password=PASSWORD)) as connection:
        migrate(connection)
        connection.execute("CREATE TABLE effects (run_id bigint NOT NULL, symbol text NOT NULL)")


def assert_for(seconds: float, condition: Callable[[], object], what: str) -> None:
    """Look again and again for so long; fail when the condition does not hold once."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), what
        time.sleep(paced(0.05))  # a slow machine needs longer for an answer


def _processor_seconds(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)
