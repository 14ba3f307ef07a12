"""A pool of a test: a real supervisor with real worker processes, and what it logs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.error import URLError
from urllib.request import urlopen

import psutil

from streamworkers.engine import ledger
from streamworkers.testing.installation import Installation

START_SECONDS = 180.0
_STOP_SECONDS = 60.0
_LINES = 40
IN_PROCESSES = Path(__file__).parent / "in_processes"


class RunningPool:
    """A supervisor with its workers. It ends with its test, which may stop it before."""

    def __init__(
        self, installation: Installation, log: Path, words: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self.installation, self.log = installation, log
        with log.open("wb") as file:
            self._process = subprocess.Popen(  # noqa: S603  # our own module, no shell
                [sys.executable, "-m", "streamworkers", "worker", "--metrics-port", "0", *words],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,  # Ctrl-C is for the tests, which then stop it
            )

    @property
    def is_running(self) -> bool:
        """True until the supervisor has ended."""
        return self._process.poll() is None

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of a name so far, such as `worker_started` and `item_failed`, with their fields."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        lines = (json.loads(line) for line in text.split("\n")[:-1] if line.startswith("{"))
        return [line for line in lines if line.get("event") == name]

    def tail(self) -> str:
        """Return the newest lines of the log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES:])

    def worker_pids(self) -> list[int]:
        """Return the process ids of the workers that have been started and have not ended."""
        ended = {event["pid"] for event in self.events("worker_ended")}
        return [event["pid"] for event in self.events("worker_started") if event["pid"] not in ended]

    def wait_until_ready(self, seconds: float) -> None:
        """Wait until all workers are ready for work and the ledger has the pool's jobs.

        Raises AssertionError with the newest lines of the log if that takes longer, or if the supervisor ends.
        """
        self._wait(self._answers, seconds, "is ready")
        self._wait(self._has_recorded_jobs, seconds, "has recorded its jobs")

    def stop(self, seconds: float = _STOP_SECONDS) -> int:
        """Stop it as SIGTERM does, after the batches in hand, and return its exit code.

        Raises AssertionError if that takes longer, and kills it.
        """
        self._process.terminate()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the pool did not stop within {seconds:g} s:\n{self.tail()}") from None

    def kill(self) -> None:
        """End the supervisor and everything that it has started with SIGKILL."""
        with suppress(psutil.NoSuchProcess):
            processes = psutil.Process(self._process.pid).children(recursive=True)
            self._process.kill()
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes, _STOP_SECONDS)
        self._process.wait()

    def _wait(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        deadline, pause = time.monotonic() + seconds, 0.01
        while not condition():
            if not self.is_running:
                raise AssertionError(f"the pool ended with exit code {self._process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:g} s: the pool {what}. Its log:\n{self.tail()}")
            time.sleep(pause)
            pause = min(1.5 * pause, 0.2)

    def _answers(self) -> bool:
        started = self.events("supervisor_started")
        if not started:
            return False
        try:
            with urlopen(f"http://127.0.0.1:{started[0]['metrics_port']}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def _has_recorded_jobs(self) -> bool:
        with self.installation.connect() as connection:
            return bool(ledger.read_job_types(connection))


class StartPool(Protocol):
    """What `sw_pool` is: a function that starts a pool of the test."""

    def __call__(
        self,
        workers: int = 2,
        *,
        queues: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        seconds: float = START_SECONDS,
    ) -> RunningPool:
        """Start a supervisor with so many workers and wait, at most `seconds`, until they are ready.

        They serve all queues of the installed jobs, or those that are named. `environment` adds variables, such as
        settings and secrets. Raises AssertionError with the log if the pool does not start.
        """


@contextmanager
def starting_pools(
    installation: Installation, folder: Path, armed: Mapping[str, str], pools: list[RunningPool]
) -> Iterator[StartPool]:
    """Start pools as a test asks for them, which are added to `pools`, and end them all with it.

    With variables that arm processes, the folder is on their path by which they look at these.
    """

    def start(
        workers: int = 2,
        *,
        queues: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        seconds: float = START_SECONDS,
    ) -> RunningPool:
        words = ["--processes", str(workers), *(word for queue in queues for word in ("--queue", queue))]
        whole = installation.process_environment({**armed, **(environment or {})})
        if armed:
            whole["PYTHONPATH"] = os.pathsep.join([str(IN_PROCESSES), whole["PYTHONPATH"]])
        pool = RunningPool(installation, folder / f"pool-{len(pools) + 1}.log", words, whole)
        pools.append(pool)
        pool.wait_until_ready(seconds)
        return pool

    try:
        yield start
    finally:
        for pool in pools:
            if pool.is_running:
                pool.kill()
