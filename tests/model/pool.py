"""The pool's own classes on real services, with points at which whoever runs them stops or dies."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from psycopg_pool import ConnectionPool

from model.actor import Actor, Stage
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.job import Context, Job, JobParameters
from streamworkers.engine.ledger import Run
from streamworkers.engine.outcome import Completed, Event, Failed, Item, Outcome, Snoozed
from streamworkers.engine.protocol import BatchReport
from streamworkers.engine.redis.client import RedisClient
from streamworkers.engine.redis.entry import Entry, unpack_entry
from streamworkers.engine.redis.heartbeats import UndecidedItem
from streamworkers.engine.redis.inspector import Backlog, Inspector
from streamworkers.engine.redis.keys import GROUP
from streamworkers.engine.redis.places import HeldPlace
from streamworkers.engine.redis.queue import Delivery, Queues
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.loss_check import StallRule
from streamworkers.engine.services.promoter import Promoter
from streamworkers.engine.services.reclaimer import Reclaimer
from streamworkers.engine.services.reconciler import Reconciler
from streamworkers.engine.worker.commit import BatchCommitter
from streamworkers.engine.worker.executor import Executor
from streamworkers.errors import PermanentError, RedisUnavailableError, StopRunError
from streamworkers.faults import Fault, is_transient

QUEUE = "model"
WISHES = ("complete", "fail", "raise", "give_up", "snooze", "say_nothing", "spoil_save")
CHARGED = ("fail", "raise", "say_nothing", "spoil_save")
KILLED = "killed by signal 9"
SNOOZE = timedelta(hours=1)
ItemKey = tuple[int, int]


class WatchedClient(RedisClient):
    """Each script is a point to stop or die at, before and after; one answer may get lost."""

    def __init__(self, url: str, prefix: str, stage: Stage) -> None:
        super().__init__(url, prefix)
        self.stage = stage
        self.loses_answer = False

    def run(self, script: str, keys: Sequence[str], words: Sequence[Any]) -> Any:
        self.stage.reach(f"before {script}")
        answer = super().run(script, keys, words)
        if self.loses_answer and script == "finish":
            self.loses_answer = False
            raise RedisUnavailableError("the answer got lost")
        self.stage.reach(f"after {script}")
        return answer


class WatchedQueues(Queues):
    """Queues that never block, because no entry is added while a step waits."""

    def __init__(self, client: WatchedClient) -> None:
        super().__init__(client)
        self.stage = client.stage

    def _read(self, queues: Sequence[str], consumer: str, count: int, block_ms: int | None) -> list[Delivery]:
        del block_ms
        return super()._read(queues, consumer, count, None)

    def set_open_counts(self, queue: str, counts: Mapping[int, int]) -> None:
        self.stage.reach("before set_open_counts")
        super().set_open_counts(queue, counts)


class WatchedInspector(Inspector):
    """Reading the backlog is a point to stop or die at."""

    def __init__(self, client: WatchedClient) -> None:
        super().__init__(client)
        self.stage = client.stage

    def read_backlog(self, queue: str) -> Backlog:
        answer = super().read_backlog(queue)
        self.stage.reach("after backlog")
        return answer


class WatchedStreams(Streams):
    """The pool's Redis, where a step can stop or die before and after each operation, and lose what it holds."""

    client: WatchedClient

    def __init__(self, url: str, prefix: str, stage: Stage) -> None:
        client = WatchedClient(url, prefix, stage)
        super().__init__(client)
        self.queues, self.inspector = WatchedQueues(client), WatchedInspector(client)

    def forget_everything(self) -> None:
        """What FLUSHALL does to the queue."""
        keys = self.keys
        self.client.raw.delete(keys.stream(QUEUE), keys.delayed(QUEUE), keys.open_items(QUEUE))

    def destroy_group(self) -> None:
        """Lose the consumer group: who has what, not the entries."""
        if self.client.raw.exists(self.keys.stream(QUEUE)):
            self.client.raw.xgroup_destroy(self.keys.stream(QUEUE), GROUP)

    def entries(self) -> dict[str, Entry]:
        """The entries in the stream by their ids."""
        rows: Any = self.client.raw.xrange(self.keys.stream(QUEUE))
        return {entry_id.decode(): unpack_entry(fields[b"e"], 16_384) for entry_id, fields in rows}

    def lose(self, number: int) -> None:
        """Lose one entry of those in the stream and the delayed set."""
        delayed: Any = self.client.raw.zrange(self.keys.delayed(QUEUE), 0, -1)
        names = [*self.entries(), *delayed]
        if names:
            name = names[number % len(names)]
            if isinstance(name, str):
                self.client.raw.xdel(self.keys.stream(QUEUE), name)
            else:
                self.client.raw.zrem(self.keys.delayed(QUEUE), name)

    def double(self, number: int) -> None:
        """Add one entry of the stream a second time."""
        entries = list(self.entries().values())
        if entries:
            self.client.raw.xadd(self.keys.stream(QUEUE), {b"e": entries[number % len(entries)].pack()})

    def make_due(self) -> None:
        """Make it the time of every delayed entry."""
        names: Any = self.client.raw.zrange(self.keys.delayed(QUEUE), 0, -1)
        if names:
            self.client.raw.zadd(self.keys.delayed(QUEUE), dict.fromkeys(names, 0))


@dataclass
class Record:
    """What happened to items that neither the ledger nor Redis tells."""

    charges: dict[ItemKey, int] = field(default_factory=dict)
    given_up: set[ItemKey] = field(default_factory=set)
    stopping: set[ItemKey] = field(default_factory=set)
    stopped_runs: set[int] = field(default_factory=set)
    wrong_calls: list[Item] = field(default_factory=list)
    max_attempts: dict[int, int] = field(default_factory=dict)

    def charge(self, run_id: int, seq: int) -> None:
        """An attempt of the item ended badly."""
        self.charges[run_id, seq] = self.charges.get((run_id, seq), 0) + 1


class Scripted(Job[JobParameters]):
    """Does to each item what it is told to, by seq, and writes one row into `effects` for those it completes."""

    name: ClassVar[str] = "scripted"
    queue: ClassVar[str] = QUEUE
    batch_size: ClassVar[int] = 3

    def __init__(self, stage: Stage, record: Record) -> None:
        self.wishes: Sequence[str] = WISHES[:1]
        self._stage = stage
        self._record = record

    def execute(self, items: Sequence[Item], context: Context[JobParameters]) -> Iterable[Outcome]:
        for item in items:
            if not 1 <= item.attempt <= self._record.max_attempts[context.run_id]:
                self._record.wrong_calls.append(item)
        wishes = [self.wishes[item.seq % len(self.wishes)] for item in items]
        for item, wish in zip(items, wishes, strict=True):
            if wish in CHARGED and (len(items) == 1 or "raise" not in wishes):
                self._record.charge(item.run_id, item.seq)
            if wish == "give_up":
                self._record.given_up.add((item.run_id, item.seq))
        if "raise" in wishes:
            raise ValueError("as wished")
        if "stop" in wishes:  # the first that is still open dies for it
            self._record.stopping.update((item.run_id, item.seq) for item in items)
            self._record.stopped_runs.add(context.run_id)
        if wishes == ["stop"]:
            raise StopRunError("as wished")
        if len(items) == 1 and wishes == ["give_up"]:
            raise PermanentError("as wished")
        return [outcome for pair in zip(items, wishes, strict=True) for outcome in _outcome(*pair)]

    def save(self, connection: Connection, completed: Sequence[Completed]) -> Iterable[Event]:
        self._stage.reach("saving")
        for outcome in completed:
            connection.execute(
                "INSERT INTO effects (run_id, symbol) VALUES (%s, %s)", (outcome.item.run_id, outcome.item.symbol)
            )
        if any(outcome.value == "spoil_save" for outcome in completed):
            raise ValueError("as wished")
        return ()


class Saveless(Scripted):
    """Does the same and has nothing to save, so that batches of several runs are committed at once."""

    name: ClassVar[str] = "saveless"

    def execute(self, items: Sequence[Item], context: Context[JobParameters]) -> Iterable[Outcome]:
        wishes = self.wishes
        self.wishes = ["complete" if wish == "spoil_save" else wish for wish in wishes]
        try:
            return super().execute(items, context)
        finally:
            self.wishes = wishes

    save = Job.save


def _outcome(item: Item, wish: str) -> Sequence[Outcome]:
    match wish:
        case "fail":
            return [Failed(item, "as wished")]
        case "stop":
            return [Failed(item, "as wished", permanent=True, stops_run=True)]
        case "give_up":
            return [Failed(item, "as wished", permanent=True)]
        case "snooze":
            return [Snoozed(item, datetime.now(UTC) + SNOOZE)]
        case "say_nothing":
            return []
    return [Completed(item, wish)]


class Reports:
    """What a worker tells its supervisor, each word a point to stop or die at."""

    def __init__(self, stage: Stage) -> None:
        self.suspects: Sequence[str] = ()
        self._stage = stage

    def holding(self, fault: Fault, undecided: Sequence[UndecidedItem] = ()) -> None: ...

    def save_started(self) -> None: ...

    def places_held(self, places: Sequence[HeldPlace]) -> None: ...

    def call_started(self, queue: str, job: str | None, entry_ids: Sequence[str], timeout_seconds: float) -> None:
        del queue, timeout_seconds
        self.suspects = list(entry_ids)
        self._stage.reach("call")

    def committing(self, run: Run, seqs: Sequence[int]) -> None: ...

    def finished(self, run: Run, seqs: Sequence[int], report: BatchReport) -> None:
        del run, seqs, report
        self.suspects = ()
        self._stage.reach("finished")

    def rejected(self, queue: str, count: int) -> None:
        raise AssertionError(f"{count} entries of {queue} were rejected")


@dataclass(frozen=True, slots=True)
class Committer(BatchCommitter):
    """A committer that can be made to stop before its transaction, where it holds no lock yet."""

    stage: Stage = field(kw_only=True)

    def commit(self, *words: Any) -> set[int]:
        """Close the items, once the stage lets it."""
        self.stage.reach("committing")
        return BatchCommitter.commit(self, *words)


class Worker:
    """A worker without a process: what `engine/worker/worker.py` does around its executor."""

    def __init__(self, services: "Services", consumer: str) -> None:
        self.consumer = consumer
        self.stopping = False
        self.actor: Actor | None = None
        self.backend_pid = 0
        self._services = services
        self.reports = Reports(services.stage)
        self.jobs = [Scripted(services.stage, services.record), Saveless(services.stage, services.record)]
        committer = Committer(services.streams, consumer, self.reports, lambda _: None, stage=services.stage)
        self._executor = Executor(services.settings, Registry(self.jobs), committer, random.Random(1))

    @property
    def is_busy(self) -> bool:
        """True while it has a batch in hand."""
        return self.actor is not None and not self.actor.ended

    def read(self, count: int) -> list[Delivery]:
        """New entries of the queue, at most `count`."""
        return self._services.streams.queues.read([QUEUE], self.consumer, count, 1)

    def start(self, deliveries: Sequence[Delivery], wishes: Sequence[str]) -> None:
        """Take a batch in hand."""
        for job in self.jobs:
            job.wishes = wishes
        self.actor = Actor(self._services.stage, lambda: self._execute(deliveries))

    def die(self) -> None:
        """Be killed where it stands."""
        assert self.actor is not None
        self.actor.die()

    def _execute(self, deliveries: Sequence[Delivery]) -> None:
        while True:
            try:
                with self._services.connections.connection() as connection:
                    self.backend_pid = connection.info.backend_pid
                    self._executor.execute(connection, deliveries, lambda: self.stopping)
            except Exception as error:
                if not is_transient(error):
                    raise
            else:
                self.reports.suspects = ()
                return


class Services:
    """What all parts share, and the background services, made anew when their supervisor dies."""

    def __init__(self, settings: Settings, connections: "ConnectionPool[Connection]", connection: Connection) -> None:
        assert settings.redis_url is not None
        self.settings = settings
        self.connections = connections
        self.connection = connection
        self.stage = Stage()
        self.streams = WatchedStreams(settings.redis_url.get_secret_value(), settings.key_prefix, self.stage)
        self.begin_anew(0.0)

    def start_supervisor(self) -> None:
        """Background services that know nothing of the past."""
        metrics = PoolMetrics()
        self.promoter = Promoter(self.streams, [QUEUE], metrics)
        self.reclaimer = Reclaimer(self.streams, [QUEUE], "reclaimer", 0, metrics)
        rule = StallRule(self._stall_seconds)
        self.reconciler = Reconciler(self.connections, self.streams, [QUEUE], 0.0, 0.0, metrics, rule)

    def begin_anew(self, stall_seconds: float) -> None:
        """Empty ledger, empty Redis, new services, for which a run stalls after `stall_seconds`."""
        self._stall_seconds = stall_seconds
        self.connection.execute("DELETE FROM effects; DELETE FROM run_items; DELETE FROM runs")
        self.streams.forget_everything()
        self.streams.client.loses_answer = False
        self.record = Record()
        self.start_supervisor()

    def registry(self) -> Registry:
        """The jobs, for who only enqueues them."""
        return Registry([Scripted(self.stage, self.record), Saveless(self.stage, self.record)])

    def actor(self, action: Callable[[Connection], object]) -> Actor:
        """An actor with a connection of its own."""

        def run() -> None:
            with self.connections.connection() as connection:
                action(connection)

        return Actor(self.stage, run)

    def reclaim(self) -> None:
        """Every lease has run out: take all pending entries over. Those that ran alone are charged an attempt."""
        pending = self._pending()
        for entry_id, entry in self.streams.entries().items():
            if entry_id in pending and entry.isolated:
                self.record.charge(entry.run_id, entry.seq)
        while self.reclaimer.run_once() is not None:
            pass

    def promote(self) -> None:
        """The time of every delayed entry has come."""
        self.streams.make_due()
        self.promoter.run_once()

    def reconcile(self) -> None:
        """A step of the reconciler."""
        self.reconciler.run_once()

    def bury(self, worker: Worker, reason: str) -> None:
        """What the supervisor does with what an ended worker held. Who was executed alone is charged an attempt."""
        suspects = worker.reports.suspects if reason else ()
        if len(suspects) == 1 and (entry := self.streams.entries().get(suspects[0])):
            self.record.charge(entry.run_id, entry.seq)
        self.streams.leases.requeue(QUEUE, worker.consumer, reason, suspects)
        self.streams.leases.remove_consumer(QUEUE, worker.consumer)

    def _pending(self) -> set[str]:
        consumers: Mapping[str, int] = self.streams.inspector.read_consumers(QUEUE)
        return {entry_id for consumer in consumers for entry_id in self.streams.queues.find_owned(QUEUE, consumer)}
