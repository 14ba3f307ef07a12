"""The pipe from a worker process to its supervisor: small msgpack messages, the last of which outlive the worker.

A message is a list: its kind, then its values.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import msgpack

from streamworkers.engine.host.report import BatchReport
from streamworkers.engine.ledger.runs import Run

READY = "ready"
BATCH = "batch"
IDLE = "idle"
HOLDING = "holding"
CALL = "call"
COMMITTING = "committing"
FINISHED = "finished"
REJECTED = "rejected"


class StatusPipe:
    """The worker's end; a Reporter, and more."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._packer = msgpack.Packer()
        self._unsent = b""

    def ready(self) -> None:
        """The process has loaded its jobs."""
        self._send(READY)

    def batch(self, count: int) -> None:
        """Entries were delivered."""
        self._send(BATCH, count)

    def idle(self) -> None:
        """Nothing is in hand."""
        self._send(IDLE)

    def holding(self) -> None:
        """A service is away; the process waits and is well."""
        self._send(HOLDING)

    def call_started(self, queue: str, job: str | None, entry_ids: Sequence[str], timeout_seconds: float) -> None:
        """A handler has the process now."""
        self._send(CALL, queue, job, entry_ids, timeout_seconds)

    def committing(self, run: Run, seqs: Sequence[int]) -> None:
        """These items are about to be closed."""
        self._send(COMMITTING, run.id, run.run_day.isoformat(), run.queue, run.job, seqs)

    def finished(self, run: Run, report: BatchReport) -> None:
        """The items are closed, their entries gone."""
        self._later(FINISHED, run.queue, run.job, report.as_dict())

    def rejected(self, queue: str, count: int) -> None:
        """Entries that are no items of ours were taken out."""
        self._send(REJECTED, queue, count)

    def _later(self, *message: Any) -> None:
        """Send with the next message, which follows at once: every write wakes the supervisor.

        Should the process die in between, the ledger tells what it had closed.
        """
        self._unsent += self._packer.pack(message)

    def _send(self, *message: Any) -> None:
        data = self._unsent + self._packer.pack(message)
        self._unsent = b""
        while data:
            data = data[os.write(self._descriptor, data) :]


class StatusReader:
    """The supervisor's end: what has arrived so far, whole messages only."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._unpacker = msgpack.Unpacker()
        os.set_blocking(descriptor, False)

    def messages(self) -> Iterator[list[Any]]:
        """Every whole message that has arrived. Raises EOFError after the last one of a worker that is gone."""
        ended = False
        while True:
            try:
                data = os.read(self.descriptor, 65536)
            except BlockingIOError:
                break
            if not data:
                ended = True
                break
            self._unpacker.feed(data)
        yield from self._unpacker
        if ended:
            raise EOFError

    def close(self) -> None:
        """Close the pipe."""
        os.close(self.descriptor)
