"""One consumer without a process, driven by hand, on real services."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.ledger import Run
from streamworkers.engine.protocol import BatchReport
from streamworkers.engine.redis.heartbeats import UndecidedItem
from streamworkers.engine.redis.places import HeldPlace
from streamworkers.engine.redis.queue import Delivery
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.worker.call_hooks import CallHooks
from streamworkers.engine.worker.commit import BatchCommitter
from streamworkers.engine.worker.executor import Executor
from streamworkers.engine.worker.hook_runner import HookRunner
from streamworkers.faults import Fault
from streamworkers.hooks import HookClass


@dataclass
class RecordingReporter:
    """Keeps what an executor says."""

    reports: list[BatchReport] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)
    calls: list[list[str]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    intents: list[list[int]] = field(default_factory=list)
    rejections: int = 0
    hooks: list[tuple[str, str]] = field(default_factory=list)
    hook_failures: list[tuple[str, str]] = field(default_factory=list)
    hook_skips: list[tuple[str, str]] = field(default_factory=list)
    places: list[HeldPlace] = field(default_factory=list)

    def holding(self, fault: Fault, undecided: Sequence[UndecidedItem] = ()) -> None: ...

    def save_started(self) -> None: ...

    def places_held(self, places: Sequence[HeldPlace]) -> None:
        self.places = list(places)

    def call_started(self, queue: str, job: str | None, entry_ids: Sequence[str], timeout_seconds: float) -> None:
        self.timeouts.append(timeout_seconds)
        self.calls.append(list(entry_ids))
        if job is not None:
            self.sizes.append(len(entry_ids))

    def committing(self, run: Run, seqs: Sequence[int]) -> None:
        self.intents.append(list(seqs))

    def finished(self, run: Run, seqs: Sequence[int], report: BatchReport) -> None:
        self.reports.append(report)

    def rejected(self, queue: str, count: int) -> None:
        self.rejections += count

    def hook_started(self, hook: str, event: str, seconds: float) -> None:
        self.hooks.append((hook, event))

    def hooks_ended(self) -> None:
        self.hooks.append(("", "ended"))

    def hook_failed(self, hook: str, event: str) -> None:
        self.hook_failures.append((hook, event))

    def hook_skipped(self, hook: str, event: str) -> None:
        self.hook_skips.append((hook, event))

    def total(self, name: str) -> Any:
        """The sum of a count over all reports."""
        return sum(getattr(report, name) for report in self.reports)


class Consumer:
    """A worker without a process: reads, executes, when told to."""

    def __init__(
        self, settings: Settings, registry: Registry, streams: Streams, connection: Connection, name: str
    ) -> None:
        def give_up(error: Exception) -> None:
            raise error

        self.name = name
        self.reporter = RecordingReporter()
        self.streams = streams
        self.connection = connection
        committer = BatchCommitter(streams, name, self.reporter, give_up)
        self.executor = Executor(settings, registry, committer, random.Random(1))

    def install(self, hooks: Mapping[str, HookClass], seconds: float = 5.0) -> None:
        """Let it call hooks, as a worker of a pool in which they are installed."""
        runner = HookRunner(hooks, self.reporter, seconds)
        runner.open()
        committer = replace(self.executor.committer, hooks=CallHooks(runner, self.name))
        self.executor = Executor(self.executor.settings, self.executor.registry, committer, random.Random(1))

    def read(self, queue: str = "tests", count: int = 100) -> list[Delivery]:
        """What the queue has now."""
        self.streams.queues.ensure_groups([queue])
        return self.streams.queues.read([queue], self.name, count, 1)

    def execute(self, deliveries: Sequence[Delivery]) -> None:
        """Work through deliveries."""
        self.executor.execute(self.connection, deliveries, lambda: False)

    def work(self, queue: str = "tests", count: int = 100) -> int:
        """Read once and execute; the number read."""
        deliveries = self.read(queue, count)
        self.execute(deliveries)
        return len(deliveries)

    def work_until_empty(self, queue: str = "tests") -> None:
        """Work until the queue is empty, delayed entries included: their time is made to be now, not waited for."""
        delayed = self.streams.keys.delayed(queue)
        while self.work(queue) or self.streams.inspector.read_backlog(queue).delayed:
            entries: Any = self.streams.client.raw.zrange(delayed, 0, -1)
            for entry in entries:
                self.streams.client.raw.zadd(delayed, {entry: 0})
            self.streams.queues.promote(queue, 1000)
