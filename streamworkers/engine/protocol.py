"""What processes of a pool tell each other: a worker its supervisor, and a supervisor and its fork server.

A worker's pipe carries small msgpack messages, each behind its length; the last of them outlive the worker. Between
supervisor and fork server is a socket that keeps messages apart, and takes descriptors along with them.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Protocol, TypeAlias

import msgspec

from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.heartbeats import UndecidedItem
from streamworkers.engine.redis.places import HeldPlace
from streamworkers.faults import Fault

_LENGTH_BYTES = 4


class BatchReport(msgspec.Struct, array_like=True):
    """Counts of one batch, in items, and its times.

    `tallies` are of the job's own counters, `observations` of its histograms: name and labels, then the count or value.
    `limited` counts by limit the items that were delayed because of it.
    """

    completed: int = 0
    failed: int = 0
    retried: int = 0
    snoozed: int = 0
    fenced: int = 0
    dropped: int = 0
    events: int = 0
    seconds: float = 0.0
    wait_seconds: float = 0.0
    requeue_seconds: float = 0.0
    tallies: list[tuple[list[str], int]] = []
    observations: list[tuple[list[str], float]] = []
    limited: list[tuple[str, int]] = []


class Reporter(Protocol):
    """What a worker reports as it works."""

    def holding(self, fault: Fault, undecided: Sequence[UndecidedItem] = ()) -> None:
        """A store cannot be used now; the process waits and is well. `undecided` are items that this affects again."""

    def call_started(self, queue: str, job: str | None, entry_ids: Sequence[str], timeout_seconds: float) -> None:
        """A handler has these entries now; kill the process if it does not return in time.

        Without a job the call is not their execution yet, but the validation of their run's parameters.
        """

    def save_started(self) -> None:
        """The job's `save` runs now; it has as much time as the call before it."""

    def places_held(self, places: Sequence[HeldPlace]) -> None:
        """The worker holds these places of limits, and no others; reported before they are taken."""

    def committing(self, run: Run, seqs: Sequence[int]) -> None:
        """User code has returned; these items are about to be closed."""

    def finished(self, run: Run, seqs: Sequence[int], report: BatchReport) -> None:
        """The entries of these items have left the queue: of a `committing`, or of items that were closed before."""

    def rejected(self, queue: str, count: int) -> None:
        """Entries that belong to no item were removed from the queue."""


class Ready(msgspec.Struct, tag=True, array_like=True):
    """The process has loaded its jobs."""


class BatchDelivered(msgspec.Struct, tag=True, array_like=True):
    """Entries were delivered to the worker."""

    count: int


class Idle(msgspec.Struct, tag=True, array_like=True):
    """The worker holds no entry."""


class Holding(msgspec.Struct, tag=True, array_like=True):
    """A store cannot be used now; the process waits and is well."""

    fault: Fault
    undecided: list[UndecidedItem] = []


class Resumed(msgspec.Struct, tag=True, array_like=True):
    """What the process waited for is over."""


class CallStarted(msgspec.Struct, tag=True, array_like=True):
    """A handler, or without a job the validation of parameters, has these entries now."""

    queue: str
    job: str | None
    entry_ids: list[str]
    timeout_seconds: float


class SaveStarted(msgspec.Struct, tag=True, array_like=True):
    """The job's `save` runs now, within the time limit of the last call."""


class PlacesHeld(msgspec.Struct, tag=True, array_like=True):
    """The places of limits that the worker holds, or is about to take."""

    places: list[HeldPlace]


class PendingCommit(msgspec.Struct, tag=True, array_like=True):
    """Items that the worker is about to close."""

    run_id: int
    run_day: date
    queue: str
    job: str
    seqs: list[int]


class BatchFinished(msgspec.Struct, tag=True, array_like=True):
    """The entries of these items have left the queue: of a PendingCommit, or of items that were closed before."""

    run_id: int
    queue: str
    job: str
    seqs: list[int]
    report: BatchReport


class EntriesRejected(msgspec.Struct, tag=True, array_like=True):
    """Entries that belong to no item were removed from the queue."""

    queue: str
    count: int


class HookStarted(msgspec.Struct, tag=True, array_like=True):
    """A hook runs now, and no handler."""

    hook: str
    event: str
    seconds: float


class HooksEnded(msgspec.Struct, tag=True, array_like=True):
    """No hook runs any more."""


class HookFailed(msgspec.Struct, tag=True, array_like=True):
    """A hook has raised, or was interrupted."""

    hook: str
    event: str


class HookSkipped(msgspec.Struct, tag=True, array_like=True):
    """A hook was not called, because it rests."""

    hook: str
    event: str


class Fork(msgspec.Struct, tag=True, array_like=True):
    """Fork a worker that reads `queues` as `consumer`; with it comes the writing end of its pipe."""

    consumer: str
    queues: list[str]


class JobsLoaded(msgspec.Struct, tag=True, array_like=True):
    """The fork server has loaded all jobs, and can fork workers."""


class Unforkable(msgspec.Struct, tag=True, array_like=True):
    """The fork server has loaded all jobs, but something in it does not survive a fork."""

    reason: str


class Forked(msgspec.Struct, tag=True, array_like=True):
    """A worker was forked; with it comes a descriptor of its process."""

    consumer: str
    pid: int


class NotForked(msgspec.Struct, tag=True, array_like=True):
    """The system had no room for a worker."""

    consumer: str
    error: str


class Ended(msgspec.Struct, tag=True, array_like=True):
    """A worker has ended, and so have the processes that it left; `code` is as `subprocess` gives it."""

    consumer: str
    code: int


Message: TypeAlias = (
    Ready
    | BatchDelivered
    | Idle
    | Holding
    | Resumed
    | CallStarted
    | SaveStarted
    | PlacesHeld
    | PendingCommit
    | BatchFinished
    | EntriesRejected
    | HookStarted
    | HooksEnded
    | HookFailed
    | HookSkipped
)
ForkServerMessage: TypeAlias = Fork | JobsLoaded | Unforkable | Forked | NotForked | Ended
_LARGEST_MESSAGE = 65536
_encoder = msgspec.msgpack.Encoder()
_fork_decoder: msgspec.msgpack.Decoder[ForkServerMessage] = msgspec.msgpack.Decoder(ForkServerMessage)
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class StatusPipe:
    """The worker's end of the pipe; a Reporter, and more."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._unsent = b""

    def ready(self) -> None:
        """The process has loaded its jobs."""
        self._send(Ready())

    def batch(self, count: int) -> None:
        """Report that entries were delivered."""
        self._send(BatchDelivered(count))

    def idle(self) -> None:
        """The worker holds no entry."""
        self._send(Idle())

    def holding(self, fault: Fault, undecided: Sequence[UndecidedItem] = ()) -> None:
        """A store cannot be used now; the process waits and is well."""
        self._send(Holding(fault, list(undecided)))

    def resumed(self) -> None:
        """What the process waited for is over."""
        self._send(Resumed())

    def call_started(self, queue: str, job: str | None, entry_ids: Sequence[str], timeout_seconds: float) -> None:
        """A handler has these entries now."""
        self._send(CallStarted(queue, job, list(entry_ids), timeout_seconds))

    def save_started(self) -> None:
        """The job's `save` runs now."""
        self._send(SaveStarted())

    def places_held(self, places: Sequence[HeldPlace]) -> None:
        """The worker holds these places of limits."""
        message = PlacesHeld(list(places))
        if places:
            self._send(message)
        else:
            self._unsent += _frame(message)  # as `finished`: what follows takes it along

    def committing(self, run: Run, seqs: Sequence[int]) -> None:
        """These items are about to be closed."""
        self._send(PendingCommit(run.id, run.run_day, run.queue, run.job, list(seqs)))

    def finished(self, run: Run, seqs: Sequence[int], report: BatchReport) -> None:
        """The items are closed, their entries removed.

        Sent with the next message, which follows at once: every write wakes the supervisor. If the process dies in
        between, the supervisor confirms with the ledger what was closed.
        """
        self._unsent += _frame(BatchFinished(run.id, run.queue, run.job, list(seqs), report))

    def rejected(self, queue: str, count: int) -> None:
        """Entries that belong to no item were removed."""
        self._send(EntriesRejected(queue, count))

    def hook_started(self, hook: str, event: str, seconds: float) -> None:
        """A hook runs now, and no handler."""
        self._send(HookStarted(hook, event, seconds))

    def hooks_ended(self) -> None:
        """No hook runs any more."""
        self._send(HooksEnded())

    def hook_failed(self, hook: str, event: str) -> None:
        """A hook has raised, or was interrupted; sent with the next message, which follows at once."""
        self._unsent += _frame(HookFailed(hook, event))

    def hook_skipped(self, hook: str, event: str) -> None:
        """A hook was not called, because it rests; sent with the next message, which follows at once."""
        self._unsent += _frame(HookSkipped(hook, event))

    def _send(self, message: Message) -> None:
        data = self._unsent + _frame(message)
        self._unsent = b""
        while data:
            data = data[os.write(self._descriptor, data) :]


class StatusReader:
    """The supervisor's end of the pipe: what has arrived so far, whole messages only."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._received = bytearray()
        os.set_blocking(descriptor, False)

    def messages(self) -> Iterator[Message]:
        """Yield every whole message that has arrived. Raises EOFError after the last one of a worker that is gone."""
        ended = False
        while True:
            try:
                data = os.read(self.descriptor, 65536)
            except BlockingIOError:
                break
            if not data:
                ended = True
                break
            self._received += data
        yield from self._take_whole()
        if ended:
            raise EOFError

    def close(self) -> None:
        """Close this end of the pipe."""
        os.close(self.descriptor)

    def _take_whole(self) -> Iterator[Message]:
        start, received = 0, self._received
        while len(received) - start >= _LENGTH_BYTES:
            end = start + _LENGTH_BYTES + int.from_bytes(received[start : start + _LENGTH_BYTES])
            if len(received) < end:
                break
            yield _decoder.decode(received[start + _LENGTH_BYTES : end])
            start = end
        del received[:start]


def _frame(message: Message) -> bytes:
    packed = _encoder.encode(message)
    return len(packed).to_bytes(_LENGTH_BYTES) + packed


def open_control() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a socket between a supervisor and its fork server."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send_control(control: socket.socket, message: ForkServerMessage, *descriptors: int) -> None:
    """Send a message with descriptors. Raises OSError if the other end is gone, or takes no more for now."""
    socket.send_fds(control, [_encoder.encode(message)], descriptors)


def receive_control(control: socket.socket) -> tuple[ForkServerMessage, list[int]]:
    """Return the next message and its descriptors. Raises EOFError if the other end is gone."""
    try:
        data, descriptors, _, _ = socket.recv_fds(control, _LARGEST_MESSAGE, 1)
    except ConnectionResetError:
        data, descriptors = b"", []
    if not data:
        raise EOFError
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return _fork_decoder.decode(data), descriptors
