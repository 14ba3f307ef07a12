"""The worker processes of one supervisor: starts, watches, kills and replaces them."""

import os
import random
import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from streamworkers.engine.host.metrics import WORKER_ENDS, PoolMetrics
from streamworkers.engine.host.report import BatchReport
from streamworkers.engine.supervisor.child import SILENCE_SECONDS, Child, PendingCommit, Usage, start_child
from streamworkers.engine.supervisor.lease_keeper import DeadWorker, Holder

log = structlog.get_logger()
_MEMORY_CHECK_SECONDS = 1.0
_LONGEST_RESTART_PAUSE = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """When a worker is replaced: over this memory at once, after this many items when it is idle.

    `silence_seconds` is how long one that has something in hand, but is not in a handler's call, may say nothing.
    """

    max_memory_mb: float | None = None
    max_items: int | None = None
    silence_seconds: float = SILENCE_SECONDS


class Fleet:
    """One worker per slot. Everything happens in the thread that calls `turn`; `holders` may be asked from others."""

    def __init__(
        self,
        slots: Sequence[Sequence[str]],
        owner: str,
        environment: Mapping[str, str],
        limits: Limits,
        metrics: PoolMetrics,
        release: Callable[[DeadWorker], None],
        confirm: Callable[[PendingCommit, str], None],
        reported: Callable[[BatchReport], None],
    ) -> None:
        self._slots = slots
        self._owner = owner
        self._environment = dict(environment)
        self._limits = limits
        self._metrics = metrics
        self._release = release
        self._confirm = confirm
        self._reported = reported
        self._children: dict[int, Child] = {}
        self._start_at = dict.fromkeys(range(len(slots)), 0.0)
        self._failed_starts = dict.fromkeys(range(len(slots)), 0)
        self._started = 0
        self._selector = selectors.DefaultSelector()
        self._memory_checked_at = 0.0
        self._stopping = False

    def watch(self, descriptor: int) -> None:
        """Let `turn` also wake up when this descriptor can be read."""
        self._selector.register(descriptor, selectors.EVENT_READ, None)

    def children(self) -> list[Child]:
        """The workers that run."""
        return list(self._children.values())

    def holders(self) -> list[Holder]:
        """The consumers that have entries in hand, whose leases are to be renewed."""
        return [Holder(child.consumer, child.queues) for child in self.children() if child.busy]

    def usages(self) -> dict[int, Usage]:
        """What each worker uses, by its slot."""
        return {child.slot: child.usage() for child in self.children()}

    def turn(self, longest_seconds: float) -> None:
        """Start what is due, hear what workers say, kill who is overdue; waits at most `longest_seconds`."""
        now = time.monotonic()
        if not self._stopping:
            for slot, due in self._start_at.items():
                if slot not in self._children and now >= due:
                    self._start(slot)
        for key, _ in self._selector.select(max(0.0, min(longest_seconds, self._next_deadline() - time.monotonic()))):
            if key.data is None:
                os.read(key.fd, 512)
            else:
                self._hear(key.data)
        self._enforce(time.monotonic())
        busy = sum(child.busy for child in self.children())
        self._metrics.workers.labels("busy").set(busy)
        self._metrics.workers.labels("idle").set(len(self._children) - busy)

    def stop(self) -> None:
        """Ask all workers to finish their batches and end; none is replaced any more."""
        self._stopping = True
        for child in self.children():
            child.stop()

    def kill(self) -> None:
        """End all workers now."""
        for child in self.children():
            child.kill("")

    def _start(self, slot: int) -> None:
        self._started += 1
        consumer = f"{self._owner}.{self._started}"
        try:
            child = start_child(slot, consumer, self._slots[slot], self._environment, self._limits.silence_seconds)
        except OSError as error:
            log.warning("worker_not_started", consumer=consumer, error=str(error))
            self._start_at[slot] = time.monotonic() + self._growing_pause(slot)
            return
        self._children[slot] = child
        self._selector.register(child.reader.descriptor, selectors.EVENT_READ, child)
        log.info("worker_started", consumer=consumer, pid=child.process.pid, queues=list(child.queues))

    def _hear(self, child: Child) -> None:
        alive = child.listen(time.monotonic())
        for queue, job, count in child.started:
            self._metrics.count_call(queue, job, count)
        for queue, job, values in child.finished:
            report = BatchReport(**values)
            self._metrics.count_batch(queue, job, report)
            self._reported(report)
        for queue, count in child.rejected:
            self._metrics.rejected.labels(queue).inc(count)
        for pending_commit in child.unconfirmed:
            self._confirm(pending_commit, child.consumer)
        child.started.clear()
        child.finished.clear()
        child.rejected.clear()
        child.unconfirmed.clear()
        if not alive:
            self._reap(child)

    def _reap(self, child: Child) -> None:
        self._selector.unregister(child.reader.descriptor)
        reason = child.reap()
        if self._stopping:
            reason = ""
        del self._children[child.slot]
        self._release(DeadWorker(child.consumer, child.queues, reason, child.suspects))
        if child.pending_commit is not None:
            self._confirm(child.pending_commit, child.consumer)
        self._metrics.worker_ends.labels(_cause(reason)).inc()
        log.log(
            30 if reason else 20,
            "worker_ended",
            consumer=child.consumer,
            pid=child.process.pid,
            reason=reason,
        )
        self._start_at[child.slot] = time.monotonic() + self._restart_pause(child, reason)

    def _restart_pause(self, child: Child, reason: str) -> float:
        """Nothing for a worker that worked; a growing pause for one that dies before it gets to any work."""
        if child.ready and (not reason or child.items_done or child.suspects):
            self._failed_starts[child.slot] = 0
            return 0.0
        return self._growing_pause(child.slot)

    def _growing_pause(self, slot: int) -> float:
        self._failed_starts[slot] += 1
        bound = min(_LONGEST_RESTART_PAUSE, 0.25 * 2.0 ** min(self._failed_starts[slot], 10))
        return random.uniform(bound / 2, bound)  # noqa: S311  # spreads restarts

    def _next_deadline(self) -> float:
        waits = [child.deadline for child in self.children()]
        waits += [due for slot, due in self._start_at.items() if slot not in self._children and not self._stopping]
        if self._limits.max_memory_mb is not None:
            waits.append(self._memory_checked_at + _MEMORY_CHECK_SECONDS)
        return min(waits, default=float("inf"))

    def _enforce(self, now: float) -> None:
        for child in self.children():
            if child.process.poll() is not None:
                # A process that its handler started may keep the pipe open: its end is not waited for.
                self._hear(child)
                if child.slot in self._children:
                    self._reap(child)
            elif now >= child.deadline:
                # What it has said meanwhile may save it.
                self._hear(child)
                if now >= child.deadline and child.killed_because is None:
                    child.kill(child.overdue())
            elif self._limits.max_items and child.items_done >= self._limits.max_items and not child.stopping:
                child.stop()
        if self._limits.max_memory_mb is not None and now - self._memory_checked_at >= _MEMORY_CHECK_SECONDS:
            self._memory_checked_at = now
            for child in self.children():
                if child.usage().memory_bytes > 1e6 * self._limits.max_memory_mb:
                    child.kill(f"over {self._limits.max_memory_mb:g} MB")


def _cause(reason: str) -> str:
    return next((word for word in WORKER_ENDS if word in reason), "stopped")
