"""What tests of the running pool share: waiting for conditions, and supervisors as real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from patience import Deadline, patient
from streamworkers.database import Connection
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry

SAMPLE_JOBS = Path(__file__).parent / "sample_jobs"
SAMPLE_HOOKS = Path(__file__).parent / "installed_hooks"


@dataclass(frozen=True)
class ServiceUrls:
    """Where the services of this test session are."""

    redis: str
    postgres: str


def is_running(pid: int) -> bool:
    """True while there is such a process that has not ended."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], object], seconds: float = 60.0, what: str = "") -> None:
    """Poll until the condition holds; fail the test when it does not within `seconds`, which patience multiplies."""
    deadline, pause = Deadline(seconds), 0.005
    while not condition():
        if deadline.has_passed():
            pytest.fail(f"not within {patient(seconds):g} s: {what or condition}")
        time.sleep(pause)
        pause = min(1.3 * pause, 0.05)


class Service:
    """A process of `streamworkers` that runs until it is stopped, and what it logs."""

    command: ClassVar[str]
    _read_bytes = 0

    def __init__(self, environment: dict[str, str], log: Path, words: Sequence[str]) -> None:
        self.log = log
        with log.open("wb") as log_file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streamworkers", self.command, *words],
                env=environment,
                stderr=log_file,
                stdout=log_file,
                start_new_session=True,
            )

    def events(self, name: str) -> list[dict[str, Any]]:
        """The logged events of a name so far, whole lines only."""
        with self.log.open("rb") as log:
            log.seek(self._read_bytes)
            lines = log.read().rpartition(b"\n")[0]
        if lines:
            self._read_bytes += len(lines) + 1
            self._read_events += [json.loads(line) for line in lines.split(b"\n") if line.startswith(b"{")]
        return [event for event in self._read_events if event["event"] == name]

    def newest_timestamp(self) -> str:
        """When the newest event was logged, by the clock of the process; '' if there is none."""
        self.events("")
        return max((str(event["timestamp"]) for event in self._read_events), default="")

    @cached_property
    def _read_events(self) -> list[dict[str, Any]]:
        return []

    def metrics_url(self) -> str:
        """Where /metrics and the probes are."""
        started = f"{self.command.replace('worker', 'supervisor')}_started"
        wait_until(lambda: self.events(started), what=f"the {self.command} starts")
        return f"http://127.0.0.1:{self.events(started)[0]['metrics_port']}"

    def stop(self, seconds: float = 60.0) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        return self.process.wait(patient(seconds))

    def kill_all(self) -> None:
        """End everything that is left of it."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Scheduler(Service):
    """A `streamworkers scheduler`."""

    command: ClassVar[str] = "scheduler"


class Bot(Service):
    """A `streamworkers telegram`."""

    command: ClassVar[str] = "telegram"


class Supervisor(Service):
    """A `streamworkers worker`."""

    command: ClassVar[str] = "worker"

    def worker_pids(self) -> list[int]:
        """Process ids of the workers that have been started and have not ended."""
        ended = {event["pid"] for event in self.events("worker_ended")}
        return [event["pid"] for event in self.events("worker_started") if event["pid"] not in ended]

    def fork_server_pid(self) -> int:
        """The process id of the newest fork server."""
        pid: int = self.events("fork_server_started")[-1]["pid"]
        return pid

    def kill_all(self) -> None:
        """End it, and the workers that it left."""
        super().kill_all()
        for pid in self.worker_pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def install_hooks(environment: dict[str, str], folder: Path, **hooks: str) -> dict[str, str]:
    """The environment in which these hooks are installed too: a name and `module:class` each."""
    package = folder / "hooks_of_test-0.0.0.dist-info"
    package.mkdir(exist_ok=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: hooks-of-test\nVersion: 0.0.0\n")
    lines = "".join(f"{name} = {place}\n" for name, place in hooks.items())
    (package / "entry_points.txt").write_text(f"[streamworkers.hooks]\n{lines}")
    path = os.pathsep.join([environment["PYTHONPATH"], str(SAMPLE_HOOKS), str(folder)])
    return {**environment, "PYTHONPATH": path}


@contextmanager
def running_supervisor(environment: dict[str, str], folder: Path, *words: str) -> Iterator[Supervisor]:
    """A supervisor for the length of a test, killed with its workers in the end when the test did not stop it."""
    log = folder / f"worker-{len(list(folder.glob('worker-*.log')))}.log"
    supervisor = Supervisor(environment, log, words)
    try:
        yield supervisor
    finally:
        supervisor.kill_all()


def subscribe(streams: Streams, channel: str) -> Any:
    """A Pub/Sub listener that is subscribed; `get_message` gives what is published from now on."""
    listener = streams.client.raw.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    listener.subscribe(channel)
    listener.get_message(timeout=patient(30))
    return listener


def start_run(
    connection: Connection, streams: Streams, registry: Registry, job: str, *symbols: str, **words: Any
) -> Run:
    """Enqueue a run over symbols, with any other field of RunRequest."""
    run, _ = enqueue(connection, streams, registry, RunRequest(job, tuple(symbols), "test", **words))
    return run


def run_status(connection: Connection, run: Run) -> str:
    """The state of a run in the ledger."""
    row = connection.execute("SELECT status FROM runs WHERE id = %s", (run.id,)).fetchone()
    assert row is not None
    return str(row[0])


def wait_for_end(connection: Connection, run: Run, seconds: float = 90.0) -> str:
    """Wait until a run has ended; its state."""
    wait_until(lambda: run_status(connection, run) not in ("PENDING", "RUNNING"), seconds, f"run {run.id} ends")
    return run_status(connection, run)


def items_of(connection: Connection, run: Run) -> dict[str, tuple[str, int, str | None]]:
    """(state, attempt, error) of every item of a run by symbol."""
    rows = connection.execute(
        "SELECT symbol, status, attempt, error FROM run_items WHERE run_day = %s AND run_id = %s",
        (run.run_day, run.id),
    )
    return {symbol: (status, attempt, error) for symbol, status, attempt, error in rows}


def effects_of(connection: Connection, run: Run) -> list[str]:
    """The symbols whose effect is in the table `effects`, each as often as it is there."""
    rows = connection.execute("SELECT symbol FROM effects WHERE run_id = %s ORDER BY symbol", (run.id,))
    return [symbol for (symbol,) in rows]
