"""One worker process as its supervisor sees it."""

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import psutil

from streamworkers.engine.host.fault_board import StandingFault
from streamworkers.engine.host.metrics import Usage
from streamworkers.engine.limits import place_seconds
from streamworkers.engine.protocol import (
    BatchDelivered,
    BatchFinished,
    CallStarted,
    EntriesRejected,
    Holding,
    HookFailed,
    HookSkipped,
    HookStarted,
    Idle,
    Message,
    PendingCommit,
    PlacesHeld,
    Ready,
    Resumed,
    SaveStarted,
    StatusReader,
)
from streamworkers.engine.redis.entry import split_entry_id
from streamworkers.engine.redis.heartbeats import CallStatus, UndecidedItem, WorkerStatus
from streamworkers.engine.redis.places import HeldPlace
from streamworkers.engine.supervisor.starting import WorkerProcess
from streamworkers.engine.worker_end import Ending, WorkerEnd

STOP_SECONDS = 60.0
START_SECONDS = 120.0
_END_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Silence:
    """How long a worker may report nothing, outside of a handler's call, before it counts as stuck.

    With entries it is longer than any statement may take; a worker that waits for a service reports that. An idle
    worker reports after every read, which blocks for 5 s.
    """

    busy_seconds: float = 90.0
    idle_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Limits:
    """When a worker is replaced: over this private memory at once, after this many items when it is idle."""

    max_memory_mb: float | None = None
    max_items: int | None = None
    silence: Silence = field(default_factory=Silence)


@dataclass(slots=True)
class Child:
    """A running worker: its process, its pipes, and what it last reported.

    `suspects` are the queue and the entries that a handler is executing, and `pending_commits` what may be closed by
    now, by run; `timeout_seconds` is the limit of the user code that runs now, and `call_seconds` that of the last
    call, which began at `called_at` (Unix seconds) for the job `called_job`. `undecided` are items that it executes
    again and again. `news` are messages for the supervisor's metrics, and `unconfirmed` commits that may have happened,
    until the fleet takes them. `hold` is what it waits for, `hook` the hook that runs now.
    `places` are those of limits that it holds, since `places_since`.
    """

    slot: int
    consumer: str
    queues: Sequence[str]
    process: WorkerProcess
    reader: StatusReader
    deadline: float
    silence: Silence = field(default_factory=Silence)
    timeout_seconds: float | None = None
    has_process: bool = False
    call_seconds: float = 0.0
    ready: bool = False
    busy: bool = False
    items_done: int = 0
    pending_commits: dict[int, PendingCommit] = field(default_factory=dict)
    suspects: tuple[str, list[str]] | None = None
    called_at: float = 0.0
    called_job: str = ""
    stopping: bool = False
    is_cut: bool = False
    killed: Ending | None = None
    hold: StandingFault | None = None
    hook: HookStarted | None = None
    undecided: Sequence[UndecidedItem] = ()
    news: list[CallStarted | BatchFinished | EntriesRejected | HookFailed | HookSkipped] = field(default_factory=list)
    unconfirmed: list[PendingCommit] = field(default_factory=list)
    places: Sequence[HeldPlace] = ()
    places_since: float = 0.0

    def listen(self, now: float) -> bool:
        """Process the messages that have arrived; False if the worker is gone and there are no more."""
        try:
            for message in self.reader.messages():
                self._process(message, now)
        except EOFError:
            return False
        return True

    def _process(self, message: Message, now: float) -> None:
        if isinstance(message, HookFailed | HookSkipped):
            self.news.append(message)
            return
        self.deadline, self.timeout_seconds, self.hook = now + self.silence.busy_seconds, None, None
        match message:
            case Ready():
                self.ready, self.deadline = True, now + self.silence.idle_seconds
            case BatchDelivered():
                self.busy = True
            case Idle():
                self.busy, self.suspects, self.undecided = False, None, ()
                self.deadline = now + (STOP_SECONDS if self.stopping else self.silence.idle_seconds)
            case Holding() | Resumed() | PlacesHeld():
                self._note_held(message)
            case CallStarted():
                self.called_at, self.called_job = time.time(), message.job or ""
                self.suspects = message.queue, message.entry_ids
                self.timeout_seconds = self.call_seconds = message.timeout_seconds
                self.deadline = now + message.timeout_seconds
                self.news.append(message)
            case SaveStarted():
                self.timeout_seconds = self.call_seconds
                self.deadline = now + self.call_seconds
            case PendingCommit():
                self._expect(message)
            case BatchFinished(report=report):
                self._finish(message)
                self.suspects = None
                self.items_done += report.completed + report.failed
                self.news.append(message)
            case EntriesRejected():
                self.news.append(message)
            case HookStarted():
                # No entry is being executed: whatever the hook does to the process, none is charged.
                self.suspects, self.hook, self.deadline = None, message, now + message.seconds

    def _note_held(self, message: Holding | Resumed | PlacesHeld) -> None:
        if isinstance(message, PlacesHeld):
            self.places, self.places_since = message.places, time.monotonic()
        elif isinstance(message, Resumed):
            self.hold = None
        else:
            self.undecided = message.undecided
            since = time.time() if self.hold is None else self.hold.since
            self.hold = StandingFault(f"worker {self.consumer}", message.fault, since)

    def _expect(self, message: PendingCommit) -> None:
        """Keep what a worker is about to close, by run, until it reports it or dies."""
        if before := self.pending_commits.get(message.run_id):
            message.seqs = sorted({*before.seqs, *message.seqs})
        self.pending_commits[message.run_id] = message

    def _finish(self, message: BatchFinished) -> None:
        pending = self.pending_commits.pop(message.run_id, None)
        if pending is None:
            return
        gone = set(message.seqs)
        if message.report.dropped and (closed := [seq for seq in pending.seqs if seq in gone]):
            # The connection was lost at a commit that did happen: the ledger knows what it closed.
            self.unconfirmed.append(msgspec.structs.replace(pending, seqs=closed))
        if left := [seq for seq in pending.seqs if seq not in gone]:
            self.pending_commits[message.run_id] = msgspec.structs.replace(pending, seqs=left)

    def kill(self, end: WorkerEnd, reason: str) -> None:
        """Kill the process now; `reason` is kept with the items that it was executing."""
        self.killed = self.killed or Ending(end, reason)
        self.deadline = float("inf")
        self.process.send_signal(signal.SIGKILL)

    def stop(self) -> None:
        """Ask the process to finish its batch and end."""
        self.stopping = True
        if not self.busy:
            self.deadline = time.monotonic() + STOP_SECONDS
        self.process.send_signal(signal.SIGTERM)

    def kill_overdue(self) -> None:
        """Kill a process that is past its deadline, unless it was killed already."""
        if self.killed is None:
            self.kill(*self._describe_overdue())

    def _describe_overdue(self) -> Ending:
        if self.hook is not None:
            return Ending(WorkerEnd.HOOK, f"hook {self.hook.hook}: {self.hook.event} did not return")
        if self.timeout_seconds is not None:
            return Ending(WorkerEnd.TIMEOUT, f"timeout after {self.timeout_seconds:g} s")
        if self.stopping and not self.busy:
            return Ending(WorkerEnd.STOP_TIMEOUT, f"worker did not end within {STOP_SECONDS:g} s")
        if not self.ready:
            return Ending(WorkerEnd.START_FAILED, f"worker did not start within {START_SECONDS:g} s")
        seconds = self.silence.busy_seconds if self.busy else self.silence.idle_seconds
        return Ending(WorkerEnd.SILENT, f"worker was silent for {seconds:g} s")

    def describe(self) -> WorkerStatus:
        """Return what its supervisor's heartbeat tells of it."""
        return WorkerStatus(
            self.consumer,
            self.process.pid,
            list(self.queues),
            self.busy,
            self.hold.as_status() if self.hold is not None else None,
            list(self.undecided),
            self.ready,
            self.stopping,
            self._describe_call(),
        )

    def _describe_call(self) -> CallStatus | None:
        called_at, job, seconds, suspects = self.called_at, self.called_job, self.call_seconds, self.suspects
        if suspects is None:
            return None
        queue, ids = suspects
        first, last = min(ids, key=split_entry_id), max(ids, key=split_entry_id)
        return CallStatus(queue, job, len(ids), first, last, called_at, seconds)

    def place_life_ms(self, now: float) -> int:
        """Return after how many ms its places lapse, which is when the calls in them have ended."""
        return max(1, round(1000 * (self.places_since + place_seconds(self.call_seconds) - now)))

    def usage(self) -> Usage:
        """Return what the process uses; nothing for one that is not there."""
        try:
            process = psutil.Process(self.process.pid)
            times, memory = process.cpu_times(), process.memory_full_info()
            return Usage(memory.rss, memory.uss, times.user + times.system)
        except psutil.Error:
            return Usage(0, 0, 0.0)

    def has_ended(self) -> bool:
        """True if the process of a closed pipe has ended, which takes a moment; if not, it may take a minute more."""
        if self.process.wait(_END_SECONDS):
            return True
        self.is_cut = self.stopping = True
        self.busy = False
        self.deadline = time.monotonic() + STOP_SECONDS
        return False

    def reap(self) -> Ending:
        """Close the pipes of a process that has ended, and return how it did."""
        self.reader.close()
        self.process.close()
        ending = self.killed or self.process.poll()
        assert ending is not None
        if self.hook is not None and self.killed is None:
            reason = ending.reason or "worker exited with code 0"
            return Ending(WorkerEnd.HOOK, f"hook {self.hook.hook}: {reason} during {self.hook.event}")
        if ending.end is WorkerEnd.STOPPED and self.suspects is not None:
            return Ending(WorkerEnd.EXITED, "worker exited with code 0 during the call")
        if ending.end is WorkerEnd.SIGNAL and self.stopping and not self.ready:
            return Ending(WorkerEnd.STOPPED, "")  # by SIGTERM, which it could not handle yet
        return ending
