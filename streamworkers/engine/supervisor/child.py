"""One worker process as its supervisor sees it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

import psutil

from streamworkers.engine import protocol as status_pipe
from streamworkers.engine.protocol import StatusReader

# A worker that has something in hand and says nothing for this long, outside of a handler's call, is stuck. It is
# longer than any statement may take, and a worker that waits for a service says so.
SILENCE_SECONDS = 90.0
STOP_SECONDS = 60.0
START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class PendingCommit:
    """Items that a worker was about to close."""

    run_id: int
    run_day: date
    queue: str
    job: str
    seqs: list[int]


class Usage(NamedTuple):
    """Resident memory in bytes, and processor seconds since the start."""

    memory_bytes: int
    cpu_seconds: float


@dataclass(slots=True)
class Child:
    """A running worker: its process, its pipes, and what it last said."""

    slot: int
    consumer: str
    queues: Sequence[str]
    process: "subprocess.Popen[bytes]"
    reader: StatusReader
    life_descriptor: int
    deadline: float
    silence_seconds: float = SILENCE_SECONDS
    timeout_seconds: float | None = None
    ready: bool = False
    busy: bool = False
    items_done: int = 0
    pending_commit: PendingCommit | None = None
    suspects: tuple[str, list[str]] | None = None
    stopping: bool = False
    killed_because: str | None = None
    finished: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    started: list[tuple[str, str, int]] = field(default_factory=list)
    rejected: list[tuple[str, int]] = field(default_factory=list)
    unconfirmed: list[PendingCommit] = field(default_factory=list)

    def listen(self, now: float) -> bool:
        """Take in what the worker has said; False when it is gone and has said all."""
        try:
            for message in self.reader.messages():
                self._take(message, now)
        except EOFError:
            return False
        return True

    def _take(self, message: Sequence[Any], now: float) -> None:
        kind, *values = message
        self.deadline, self.timeout_seconds = now + self.silence_seconds, None
        match kind:
            case status_pipe.READY:
                self.ready, self.deadline = True, float("inf")
            case status_pipe.BATCH:
                self.busy = True
            case status_pipe.IDLE:
                self.busy, self.suspects = False, None
                self.deadline = now + STOP_SECONDS if self.stopping else float("inf")
            case status_pipe.HOLDING:
                if not self.busy:
                    self.deadline = float("inf")
            case status_pipe.CALL:
                queue, job, entry_ids, self.timeout_seconds = values
                self.suspects = queue, entry_ids
                if job is not None:
                    self.started.append((queue, job, len(entry_ids)))
                self.deadline = now + values[3]
            case status_pipe.COMMITTING:
                run_id, run_day, queue, job, seqs = values
                self.pending_commit = PendingCommit(run_id, date.fromisoformat(run_day), queue, job, seqs)
            case status_pipe.FINISHED:
                queue, job, report = values
                if report["dropped"] and self.pending_commit is not None:
                    # The connection was lost at a commit that did happen: the ledger knows what it achieved.
                    self.unconfirmed.append(self.pending_commit)
                self.pending_commit = self.suspects = None
                self.items_done += report["completed"] + report["failed"]
                self.finished.append((queue, job, report))
            case status_pipe.REJECTED:
                self.rejected.append((values[0], values[1]))

    def kill(self, because: str) -> None:
        """End the process at once; `because` is what its items will tell."""
        self.killed_because = self.killed_because or because
        self.deadline = float("inf")
        self.process.kill()

    def stop(self) -> None:
        """Ask the process to finish its batch and end."""
        self.stopping = True
        if not self.busy:
            self.deadline = time.monotonic() + STOP_SECONDS
        self.process.send_signal(signal.SIGTERM)

    def overdue(self) -> str:
        """Why a worker past its deadline is killed."""
        if self.timeout_seconds is not None:
            return f"timeout after {self.timeout_seconds:g} s"
        if not self.ready:
            return f"worker did not start within {START_SECONDS:g} s"
        if self.stopping and not self.busy:
            return f"worker did not end within {STOP_SECONDS:g} s"
        return f"worker said nothing for {self.silence_seconds:g} s"

    def usage(self) -> Usage:
        """What the process uses; nothing for one that is gone."""
        try:
            process = psutil.Process(self.process.pid)
            times = process.cpu_times()
            return Usage(process.memory_info().rss, times.user + times.system)
        except psutil.Error:
            return Usage(0, 0.0)

    def reap(self) -> str:
        """Wait for the process's end, close its pipes, and say how it ended; '' for a clean end."""
        code = self.process.wait()
        self.reader.close()
        os.close(self.life_descriptor)
        if self.killed_because is not None:
            return self.killed_because
        if code < 0:
            return f"killed by signal {-code}"
        return f"worker exited with code {code}" if code else ""


def start_child(
    slot: int, consumer: str, queues: Sequence[str], environment: Mapping[str, str], silence_seconds: float
) -> Child:
    """Start a worker process that reads `queues` as `consumer`. Raises OSError when the system has no room for it."""
    opened: list[int] = []
    try:
        status_read, status_write = opened[0:2] = os.pipe()
        life_read, life_write = opened[2:4] = os.pipe()
        words = [sys.executable, "-m", "streamworkers.engine.worker.main", "--consumer", consumer]
        words += ["--queues", ",".join(queues), "--status-fd", str(status_write), "--life-fd", str(life_read)]
        # Ctrl-C is the supervisor's affair; until the worker says so itself it has the signal blocked.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process = subprocess.Popen(  # noqa: S603  # our own module, no shell
                words, stdin=subprocess.DEVNULL, pass_fds=(status_write, life_read), env=dict(environment)
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    except OSError:
        for descriptor in opened:
            os.close(descriptor)
        raise
    os.close(status_write)
    os.close(life_read)
    deadline = time.monotonic() + START_SECONDS
    reader = StatusReader(status_read)
    return Child(slot, consumer, queues, process, reader, life_write, deadline, silence_seconds=silence_seconds)
