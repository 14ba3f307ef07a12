"""How a supervisor starts worker processes: by its fork server, or each as a fresh interpreter."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from streamworkers.engine.processes import AdoptedReaper, become_subreaper, end_children, read_children
from streamworkers.engine.worker_end import Ending, describe_exit
from streamworkers.logger import get_logger

log = get_logger()
_POLL_SECONDS = 1.0


class WorkerProcess(Protocol):
    """A worker process, as what started it sees it."""

    pid: int

    def poll(self) -> Ending | None:
        """Return how it ended; None while it runs."""

    def wait(self, seconds: float) -> bool:
        """Wait for its end; False if it has not ended within `seconds`."""

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""

    def close(self) -> None:
        """Close its descriptors, after its end."""


class Starter(Protocol):
    """What starts the workers of one supervisor. `unfit` says why it cannot do so here, '' if it can."""

    unfit: str

    def is_ready(self, now: float) -> bool:
        """True if workers can be started; begins to make it so."""

    def start(self, consumer: str, queues: Sequence[str], status_descriptor: int) -> WorkerProcess:
        """Start a worker that reports to a pipe. Raises OSError if the system has no room for it."""

    def turn(self, now: float) -> None:
        """Do what is due: give up what takes too long, and reap what was adopted."""

    def next_deadline(self) -> float:
        """Return when `turn` has to be called next (monotonic)."""

    def postpone(self, seconds: float) -> None:
        """Move all deadlines: the processes may have stood still for so long."""

    def reaped(self) -> None:
        """A worker that it started has ended."""

    def close(self) -> None:
        """End what it has started for itself, after all workers have ended."""


class SpawnedProcess:
    """A worker in an interpreter of its own. `life` is a pipe that tells it when its supervisor has died."""

    def __init__(self, process: "subprocess.Popen[bytes]", life_descriptor: int) -> None:
        self.pid = process.pid
        self._process = process
        self._life_descriptor = life_descriptor

    def poll(self) -> Ending | None:
        """Return how it ended; None while it runs."""
        code = self._process.poll()
        return None if code is None else describe_exit(code)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; False if it has not ended within `seconds`."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        self._process.send_signal(number)

    def close(self) -> None:
        """Close its descriptors, after its end."""
        os.close(self._life_descriptor)


class Spawner:
    """Starts each worker as a fresh interpreter, which loads all jobs for itself."""

    unfit = ""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._spared = read_children()
        self._processes: dict[int, SpawnedProcess] = {}
        self._reaper = AdoptedReaper()
        become_subreaper()

    def is_ready(self, now: float) -> bool:
        """Return True: nothing has to be prepared."""
        del now
        return True

    def start(self, consumer: str, queues: Sequence[str], status_descriptor: int) -> SpawnedProcess:
        """Start a worker that reports to a pipe. Raises OSError if the system has no room for it."""
        life_read, life_write = os.pipe()
        try:
            words = ["streamworkers.engine.worker.main", "--consumer", consumer, "--queues", ",".join(queues)]
            words += ["--status-fd", str(status_descriptor), "--life-fd", str(life_read)]
            popen = start_python(words, (status_descriptor, life_read), self._environment)
        except OSError:
            os.close(life_write)
            raise
        finally:
            os.close(life_read)
        process = self._processes[popen.pid] = SpawnedProcess(popen, life_write)
        return process

    def turn(self, now: float) -> None:
        """Reap what this process has adopted."""
        self._reaper.turn(now, self._processes)

    def next_deadline(self) -> float:
        """Return a second from now: the end of a worker may show in nothing else, if its pipe is kept open."""
        return time.monotonic() + _POLL_SECONDS

    def postpone(self, seconds: float) -> None:
        """Do nothing: there is no deadline."""

    def reaped(self) -> None:
        """Kill what a worker that has ended left behind: it is a child of this process now."""
        self._processes = {pid: process for pid, process in self._processes.items() if process.poll() is None}
        end_adopted(self._processes.keys() | self._spared)

    def close(self) -> None:
        """Do nothing: only workers were started."""


def start_python(
    module_and_words: Sequence[str], descriptors: Sequence[int], environment: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    """Start a module in a fresh interpreter with SIGINT blocked: Ctrl-C is for the supervisor."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(  # noqa: S603  # our own module, no shell
            [sys.executable, "-m", *module_and_words],
            stdin=subprocess.DEVNULL,
            pass_fds=descriptors,
            env=dict(environment),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def end_adopted(spared: set[int]) -> None:
    """Kill the children of this process but the spared ones, and log it."""
    killed, is_done = end_children(spared)
    if killed:
        log.warning("child_processes_killed", count=killed, left=not is_done)
