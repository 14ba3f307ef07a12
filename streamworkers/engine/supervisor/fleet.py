"""The worker processes of one supervisor: starts, watches, kills and replaces them."""

import os
import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

from streamworkers.engine.host.fault_board import StandingFault
from streamworkers.engine.host.metrics import PoolMetrics, Usage
from streamworkers.engine.processes import has_kernel_support
from streamworkers.engine.protocol import (
    BatchFinished,
    BatchReport,
    CallStarted,
    EntriesRejected,
    HookFailed,
    HookSkipped,
    PendingCommit,
    StatusReader,
)
from streamworkers.engine.redis.heartbeats import UndecidedItem
from streamworkers.engine.redis.lanes import queue_of
from streamworkers.engine.supervisor.child import START_SECONDS, Child, Limits
from streamworkers.engine.supervisor.fork_server import ForkServer
from streamworkers.engine.supervisor.lease_keeper import DeadWorker, Holder
from streamworkers.engine.supervisor.place_keeper import PlaceHolder
from streamworkers.engine.supervisor.slots import SlotTable, WorkerSlot
from streamworkers.engine.supervisor.starting import Spawner, Starter
from streamworkers.engine.worker_end import WorkerEnd
from streamworkers.logger import get_logger

log = get_logger()
_PAUSE_SECONDS = 5.0
_GATHER_SECONDS = 0.003
_MEMORY_CHECK_SECONDS = 1.0


class Fleet:
    """One worker for each slot. Everything happens in the thread that calls `turn`; what only reads is thread-safe."""

    def __init__(
        self,
        slots: Sequence[Sequence[str]],
        owner: str,
        environment: Mapping[str, str],
        start_method: Literal["forkserver", "spawn"],
        limits: Limits,
        metrics: PoolMetrics,
        release: Callable[[DeadWorker], None],
        confirm: Callable[[Sequence[PendingCommit], str], None],
        reported: Callable[[BatchReport], None],
    ) -> None:
        self._table = SlotTable(slots)
        self._owner = owner
        # With an arena for each thread and large blocks in them, glibc keeps what threads have freed.
        self._environment = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": f"{1 << 20}", **environment}
        self._limits = limits
        self._metrics = metrics
        self._release = release
        self._confirm = confirm
        self._reported = reported
        self._started = 0
        self._selector = selectors.DefaultSelector()
        self._starter = self._choose_starter(start_method)
        self._memory_checked_at = 0.0
        self._stopping = False
        self._draining = False
        self._woken_at = 0.0
        self._looked_at = float("inf")

    def watch(self, descriptor: int) -> None:
        """Let `turn` also return when this descriptor becomes readable."""
        self._selector.register(descriptor, selectors.EVENT_READ, partial(os.read, descriptor, 512))

    def children(self) -> list[Child]:
        """Return the workers that run."""
        return self._table.children()

    def holders(self) -> list[Holder]:
        """Return the consumers that hold entries, whose leases are to be renewed."""
        return [Holder(child.consumer, child.queues) for child in self.children() if child.busy]

    def place_holders(self, seconds: float) -> list[PlaceHolder]:
        """Return the workers that have held places of limits for so long already."""
        now = time.monotonic()
        return [
            PlaceHolder(child.consumer, child.places, child.place_life_ms(now))
            for child in self.children()
            if child.places and now - child.places_since >= seconds
        ]

    def holds(self) -> list[StandingFault]:
        """Return what workers wait for, of those that wait for a store."""
        return [hold for child in self.children() if (hold := child.hold) is not None]

    def undecided(self) -> list[UndecidedItem]:
        """Return the items that workers execute again and again without a decision."""
        return [item for child in self.children() for item in child.undecided]

    def usages(self) -> dict[int, Usage]:
        """Return what each worker uses, by its slot."""
        return {child.slot: child.usage() for child in self.children()}

    def turn(self, longest_seconds: float) -> None:
        """Start workers that are due, read their messages, enforce limits; waits at most `longest_seconds`."""
        if self._keeps_workers:
            self._start_due(time.monotonic())
        for key in self._wait(longest_seconds):
            key.data()
        self._log_started()
        self._look_at_clock()
        self._enforce(time.monotonic())
        self._starter.turn(time.monotonic())
        busy = sum(child.busy for child in self.children())
        self._metrics.workers.labels("busy").set(busy)
        self._metrics.workers.labels("idle").set(len(self.children()) - busy)
        self._metrics.slots.set(len(self.wanted()) if self._keeps_workers else 0)

    def _wait(self, longest_seconds: float) -> list[selectors.SelectorKey]:
        """Wait for messages or the next deadline. Messages in quick succession are read together: wakes cost more."""
        time.sleep(gathering := max(0.0, self._woken_at + _GATHER_SECONDS - time.monotonic()))
        seconds = max(0.0, min(longest_seconds, self._next_deadline() - time.monotonic()))
        keys = [key for key, _ in self._selector.select(seconds)]
        self._woken_at = time.monotonic()
        self._look_at_clock(gathering + seconds)
        return keys

    def _look_at_clock(self, waited: float = 0.0) -> None:
        """Move all deadlines if more time than was waited has passed since the last look.

        What stopped this process may have stopped its workers, too, and nobody has read their messages.
        """
        now = time.monotonic()
        pause, self._looked_at = now - self._looked_at - waited, now
        if pause > _PAUSE_SECONDS:
            log.warning("supervisor_stood_still", supervisor=self._owner, seconds=round(pause, 1))
            for child in self.children():
                child.deadline += pause
            self._starter.postpone(pause)

    def stop(self) -> None:
        """Ask all workers to finish their batches and end; they are not replaced."""
        self._stopping = True
        for child in self.children():
            child.stop()

    def drain(self) -> None:
        """Ask all workers to finish their batches and end; they are not replaced until `resume`."""
        self._draining = True
        for child in self.children():
            if not child.stopping:
                child.stop()

    def resume(self) -> None:
        """Start workers again; one that still finishes its batch is replaced when it ends."""
        self._draining = False

    def resize(self, plan: Sequence[Sequence[str]]) -> None:
        """Have a worker for each entry of a plan; the surplus finishes its batches and ends, idle ones first."""
        for child in self._table.fit(plan):
            if not child.stopping:
                child.stop()

    def wanted(self) -> list[WorkerSlot]:
        """Return the slots that are to have a worker, now or after `resume`."""
        return self._table.wanted()

    def is_drained(self) -> bool:
        """True while it keeps no workers, and none is left."""
        return not (self._keeps_workers or self.children())

    def is_filled(self) -> bool:
        """True if nothing is left of a surplus, and each slot has a worker that is ready, or is to have none now."""
        if self._table.has_surplus or not self._keeps_workers:
            return not self._table.has_surplus
        children = self.children()
        return len(children) == len(self.wanted()) and all(each.ready and not each.stopping for each in children)

    @property
    def _keeps_workers(self) -> bool:
        return not (self._stopping or self._draining)

    def kill(self) -> None:
        """Kill all workers without waiting for their batches."""
        for child in self.children():
            child.kill(WorkerEnd.STOP_TIMEOUT, "")

    def close(self) -> None:
        """End what the workers were started from, after all of them have ended."""
        self._starter.close()

    def _choose_starter(self, start_method: str) -> Starter:
        if start_method == "forkserver" and has_kernel_support():
            return ForkServer(
                self._environment, self._selector, self._metrics.worker_ends.labels(WorkerEnd.START_FAILED).inc
            )
        return Spawner(self._environment)

    def _start_due(self, now: float) -> None:
        if self._starter.unfit:
            log.warning("fork_server_unfit", reason=self._starter.unfit)
            self._starter.close()
            self._starter = self._choose_starter("spawn")
        for slot in self._table.list_due(now):
            if self._starter.is_ready(now):
                self._start(slot)

    def _start(self, slot: WorkerSlot) -> None:
        self._started += 1
        consumer = f"{self._owner}.{self._started}"
        queues = slot.queues
        status_read, status_write = os.pipe()
        try:
            process = self._starter.start(consumer, queues, status_write)
        except OSError as error:
            os.close(status_read)
            log.warning("worker_not_started", consumer=consumer, error=str(error))
            slot.pause()
            return
        finally:
            os.close(status_write)
        reader, deadline = StatusReader(status_read), time.monotonic() + START_SECONDS
        child = Child(slot.number, consumer, queues, process, reader, deadline, self._limits.silence)
        self._table.put(child)
        self._selector.register(status_read, selectors.EVENT_READ, partial(self._listen, child))

    def _log_started(self) -> None:
        """Log the workers that have a process now; a fork server takes a moment."""
        for child in self.children():
            if not child.has_process and child.process.pid:
                child.has_process = True
                log.info("worker_started", consumer=child.consumer, pid=child.process.pid, queues=list(child.queues))

    def _listen(self, child: Child) -> None:
        if child.is_cut:
            return
        alive = child.listen(time.monotonic())
        for message in child.news:
            match message:
                case CallStarted(job=str(job)):
                    self._metrics.count_call(message.queue, job, len(message.entry_ids))
                case BatchFinished():
                    self._metrics.count_batch(message.queue, message.job, message.report)
                    self._reported(message.report)
                case EntriesRejected():
                    self._metrics.rejected.labels(queue_of(message.queue)).inc(message.count)
                case HookFailed():
                    self._metrics.hook_errors.labels(message.hook, message.event).inc()
                case HookSkipped():
                    self._metrics.hook_skips.labels(message.hook, message.event).inc()
        if child.unconfirmed:
            self._confirm(child.unconfirmed, child.consumer)
        child.news.clear()
        child.unconfirmed = []
        if not alive:
            self._selector.unregister(child.reader.descriptor)
            if child.has_ended():
                self._reap(child)

    def _reap(self, child: Child) -> None:
        ending = child.reap()
        self._starter.reaped()
        # While the pool stops, what a worker held is requeued as it was, whatever ended the worker.
        reason = "" if self._stopping else ending.reason
        self._table.take_out(child)
        is_charged = ending.end is not WorkerEnd.FORK_SERVER_LOST
        dead = DeadWorker(child.consumer, child.queues, reason, child.suspects, child.places, is_charged=is_charged)
        self._release(dead)
        if child.pending_commits:
            self._confirm(list(child.pending_commits.values()), child.consumer)
        self._metrics.worker_ends.labels(ending.end).inc()
        log.log(
            30 if reason else 20,
            "worker_ended",
            consumer=child.consumer,
            pid=child.process.pid,
            end=str(ending.end),
            reason=reason,
        )
        self._table.free(child, ending)

    def _next_deadline(self) -> float:
        waits, now = [child.deadline for child in self.children()], time.monotonic()
        if self._keeps_workers:
            waits.append(self._table.next_start(now))
        if self.children() or (self._keeps_workers and self._table.list_due(now)):
            waits.append(self._starter.next_deadline())
        if self._limits.max_memory_mb is not None:
            waits.append(self._memory_checked_at + _MEMORY_CHECK_SECONDS)
        return min(waits, default=float("inf"))

    def _enforce(self, now: float) -> None:
        for child in self.children():
            if child.process.poll() is not None:
                # A process that its handler started may keep the pipe open, so its end is no condition.
                self._listen(child)
                if self._table.holds(child):
                    if not child.is_cut:
                        self._selector.unregister(child.reader.descriptor)
                    self._reap(child)
            elif now >= child.deadline:
                self._listen(child)  # a message that has arrived meanwhile may move the deadline
                if now >= child.deadline:
                    child.kill_overdue()
            elif self._limits.max_items and child.items_done >= self._limits.max_items and not child.stopping:
                child.stop()
        if self._limits.max_memory_mb is not None and now - self._memory_checked_at >= _MEMORY_CHECK_SECONDS:
            self._memory_checked_at = now
            for child in self.children():
                if child.usage().private_bytes > 1e6 * self._limits.max_memory_mb:
                    child.kill(WorkerEnd.MEMORY, f"over {self._limits.max_memory_mb:g} MB")
