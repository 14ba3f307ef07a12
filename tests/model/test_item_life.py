"""Any order of events, any death between two of them: every item is closed once, with the one effect it shall have."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import pytest
import structlog
from hypothesis import Phase
from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg import sql

from model.actor import ANYWHERE, Actor
from model.pool import KILLED, QUEUE, WISHES, ItemKey, Services, Worker
from streamworkers.admin import runs as operations
from streamworkers.config import Settings
from streamworkers.database import Connection, SessionLimits, open_pool
from streamworkers.engine import ledger
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.ledger import ItemUpdate, Run, stopping, transitions
from streamworkers.engine.redis import leases as leases_module
from streamworkers.engine.redis import queue as queue_module
from streamworkers.engine.redis.inspector import Backlog
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.services import loss_check as loss_check_module
from streamworkers.engine.services import reconciler as reconciler_module
from streamworkers.engine.services.promoter import Promoter
from streamworkers.engine.services.reclaimer import Reclaimer
from streamworkers.engine.services.reconciler import Reconciler
from streamworkers.engine.worker import executor
from streamworkers.engine.worker.decide import Decisions, RetryRule, decide

CLOSED = ("completed", "failed", "cancelled")
ENDED = ("COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED")
WORKERS = 3
MOST_RUNS = 3
MOST_ROUNDS = 25
LONG = profile.get_current_profile_name() == "long"

numbers = st.integers(0, 20)
jobs = st.sampled_from(["scripted", "saveless"])
scripts = st.lists(st.sampled_from(WISHES), min_size=1, max_size=3)
worker_points = st.sampled_from(
    ["call", "committing", "before finish", "after finish", "finished", "before set_open_counts", ANYWHERE]
)
client_points = st.sampled_from([None, "before add", "after add"])
reconciler_points = st.sampled_from([None, "after backlog", "before set_open_counts", "before add", "after add"])


T = TypeVar("T")


class ItemRow(NamedTuple):
    """An item in the ledger, and how often its effect is there."""

    status: str
    attempt: int
    effects: int
    has_save: bool


class RunRow(NamedTuple):
    """A run in the ledger."""

    status: str
    item_count: int
    max_attempts: int
    completed_at: datetime | None
    counts: tuple[int | None, int | None, int | None]
    reason: str | None


class ItemLife(RuleBasedStateMachine):
    """Three workers, a client and a reconciler, who each may stand still or die at any point; and what befalls them."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        self.services = services
        self.streams = services.streams
        self.client: Actor | None = None
        self.reconciling: Actor | None = None
        self.items: dict[ItemKey, ItemRow] = {}
        self.runs: dict[int, RunRow] = {}
        self.reopened: set[ItemKey] = set()
        self.purged: set[ItemKey] = set()
        self.cancelled: int | None = None
        self.ever_cancelled: set[int] = set()
        self.hired = 0
        self.workers: list[Worker] = []

    @initialize(
        stall_seconds=st.sampled_from([0.0, 3600.0]), count=st.integers(1, 5), max_attempts=st.integers(1, 3), job=jobs
    )
    def begins(self, stall_seconds: float, count: int, max_attempts: int, job: str) -> None:
        self.services.begin_anew(stall_seconds)
        self.workers = [self._hired() for _ in range(WORKERS)]
        self._enqueue(count, max_attempts, None, job)

    # What clients do.

    @precondition(lambda self: self.client is None and len(self.runs) < MOST_RUNS)
    @rule(count=st.integers(1, 5), max_attempts=st.integers(1, 3), point=client_points, job=jobs)
    def enqueues(self, count: int, max_attempts: int, point: str | None, job: str) -> None:
        self._enqueue(count, max_attempts, point, job)

    @precondition(lambda self: self.client is None and self._open_runs())
    @rule(number=numbers)
    def cancels(self, number: int) -> None:
        run_id = _chosen(self._open_runs(), number)
        self.cancelled = run_id
        self.ever_cancelled.add(run_id)
        self._client_does(lambda connection: operations.cancel(connection, self.streams, run_id), None)

    @precondition(lambda self: self._may_reopen() and self._reopenable())
    @rule(number=numbers, whole_run=st.booleans(), point=client_points)
    def opens_again(self, number: int, whole_run: bool, point: str | None) -> None:
        failed = self._items_that_are("failed")
        if whole_run or not failed:
            run_id, _ = _chosen(self._reopenable(), number)
            self._begin_a_new_life([key for key in self._reopenable() if key[0] == run_id])
            self._client_does(lambda connection: operations.retry(connection, self.streams, run_id), point)
        else:
            key = _chosen(failed, number)
            self._begin_a_new_life([key])
            self._client_does(lambda connection: operations.replay(connection, self.streams, [key]), point)

    def _begin_a_new_life(self, keys: Sequence[ItemKey]) -> None:
        self.reopened.update(keys)
        for key in keys:
            self.services.record.charges.pop(key, None)
            self.services.record.given_up.discard(key)
            self.services.record.stopping.discard(key)

    @precondition(lambda self: self._items_that_are("failed") and self._is_reconciler_free())
    @rule(number=numbers)
    def purges(self, number: int) -> None:
        key = _chosen(self._items_that_are("failed"), number)
        self.purged.add(key)
        operations.purge(self.services.connection, [key])

    @precondition(lambda self: self.client is not None)
    @rule(point=client_points, dies=st.booleans())
    def client_goes_on(self, point: str | None, dies: bool) -> None:
        assert self.client is not None
        self.client = _moved(self.client, point, dies)

    # What workers do.

    @precondition(lambda self: self._idle())
    @rule(number=numbers, count=st.integers(1, 5), wishes=scripts)
    def works(self, number: int, count: int, wishes: Sequence[str]) -> None:
        self._work(_chosen(self._idle(), number), count, wishes, None)

    @precondition(lambda self: self._idle())
    @rule(number=numbers, count=st.integers(1, 5), wishes=scripts, point=worker_points)
    def works_and_stands_still(self, number: int, count: int, wishes: Sequence[str], point: str) -> None:
        self._work(_chosen(self._idle(), number), count, wishes, point)

    @precondition(lambda self: self._idle())
    @rule(number=numbers, count=st.integers(1, 5), wishes=scripts, point=st.none() | worker_points)
    def stops_the_run(self, number: int, count: int, wishes: Sequence[str], point: str | None) -> None:
        self._work(_chosen(self._idle(), number), count, [*wishes, "stop"], point)

    @precondition(lambda self: self._busy())
    @rule(number=numbers, point=st.none() | worker_points)
    def goes_on(self, number: int, point: str | None) -> None:
        self._go_on(_chosen(self._busy(), number), point)

    @precondition(lambda self: self._busy() and self._idle())
    @rule(number=numbers, wishes=scripts)
    def is_overtaken_in_its_sleep(self, number: int, wishes: Sequence[str]) -> None:
        self.services.reclaim()
        self._work(_chosen(self._idle(), number), 5, wishes, None)

    @precondition(lambda self: self._busy())
    @rule(number=numbers, how=st.sampled_from(["killed", "in its save", "with its supervisor", "stopped", "cut off"]))
    def ends(self, number: int, how: str) -> None:
        worker = _chosen(self._busy(), number)
        match how:
            case "cut off":
                self.services.connection.execute("SELECT pg_terminate_backend(%s, 10000)", (worker.backend_pid,))
                return
            case "stopped":
                worker.stopping = True
                self._go_on(worker, None)
            case "in its save":
                self._go_on(worker, "saving")
        if worker.is_busy:
            worker.die()
        if how != "with its supervisor":
            self.services.bury(worker, "" if how == "stopped" else KILLED)
        self.workers[self.workers.index(worker)] = self._hired()

    @precondition(lambda self: self._idle())
    @rule(number=numbers)
    def loses_what_it_read(self, number: int) -> None:
        worker = _chosen(self._idle(), number)
        worker.read(5)
        self.streams.leases.requeue(QUEUE, worker.consumer)

    # What the background services do.

    @rule()
    def reclaims(self) -> None:
        self.services.reclaim()

    @rule()
    def promotes(self) -> None:
        self.services.promote()

    @precondition(lambda self: self.reconciling is None)
    @rule(point=reconciler_points)
    def reconciles(self, point: str | None) -> None:
        self.reconciling = _moved(Actor(self.services.stage, self.services.reconcile), point, dies=False)

    @precondition(lambda self: self.reconciling is not None)
    @rule(point=reconciler_points, dies=st.booleans())
    def reconciler_goes_on(self, point: str | None, dies: bool) -> None:
        assert self.reconciling is not None
        self.reconciling = _moved(self.reconciling, point, dies)
        if dies:
            self.services.start_supervisor()

    # What befalls Redis.

    @rule(number=numbers, fault=st.sampled_from(["entry", "double", "answer", "group", "everything"]))
    def redis_loses(self, number: int, fault: str) -> None:
        match fault:
            case "entry":
                self.streams.lose(number)
            case "double":
                self.streams.double(number)
            case "answer":
                self.streams.client.loses_answer = True
            case "group":
                self.streams.destroy_group()
            case "everything":
                self.streams.forget_everything()

    # What is always so.

    @invariant()
    def the_ledger_is_right(self) -> None:
        items, runs = self._read_ledger()
        assert self.services.record.wrong_calls == []
        for key, item in items.items():
            self._check_item(key, item, runs[key[0]].max_attempts)
            self._check_who_cancelled(key, item)
        for run_id, run in runs.items():
            self._check_run(run_id, run, [item.status for key, item in items.items() if key[0] == run_id])
        self.items, self.runs = items, runs
        self.services.record.max_attempts = {run_id: run.max_attempts for run_id, run in runs.items()}
        self.reopened.clear()
        self.cancelled = None

    def _check_item(self, key: ItemKey, item: ItemRow, max_attempts: int) -> None:
        record, before = self.services.record, self.items.get(key)
        assert item.effects == (item.status == "completed" and item.has_save), f"wrong effects: {key} {item}"
        assert item.attempt <= max_attempts, f"too many attempts: {key} {item}"
        if before is not None and before.status in CLOSED and item.status != before.status:
            is_meant = key in self.reopened or (key in self.purged and before.status == "failed")
            assert is_meant, f"opened by nobody: {key} {before} {item}"
        if item.status == "failed":
            is_meant = key in record.given_up or key in record.stopping
            assert is_meant or record.charges.get(key, 0) >= max_attempts, f"dead before its time: {key} {item}"

    def _check_who_cancelled(self, key: ItemKey, item: ItemRow) -> None:
        if item.status == "cancelled" and key not in self.purged and key[0] not in self.ever_cancelled:
            assert key[0] in self.services.record.stopped_runs, f"cancelled by nobody: {key} {item}"

    def _check_run(self, run_id: int, run: RunRow, states: Sequence[str]) -> None:
        before = self.runs.get(run_id)
        counts = tuple(states.count(state) for state in CLOSED)
        assert len(states) == run.item_count
        assert (run.completed_at is not None) == (run.status in ENDED)
        if run.status not in ENDED:
            assert run.counts == (None, None, None)
            assert run.status == "RUNNING" or set(states) == {"pending"}, (run_id, run, states)
            return
        assert sum(counts) == run.item_count, f"ended with open items: {run_id} {run} {states}"
        assert run.counts == counts
        if before is not None and before.status in ENDED:
            assert run.status == before.status
        elif run_id == self.cancelled:
            assert run.status == "CANCELLED"
        elif run.reason is not None:
            assert (run.status, counts[1] > 0) == ("FAILED", True), f"stopped by no item: {run_id} {run} {states}"
        else:
            assert run.status == _state_of(counts[0], counts[1])

    def teardown(self) -> None:
        """With no more faults everything comes to an end, and Redis holds nothing of it."""
        try:
            self._come_to_an_end()
        finally:
            for actor in self._standing():
                actor.die()

    def _come_to_an_end(self) -> None:
        self.streams.client.loses_answer = False
        for actor in self._standing():
            actor.go_to(None)
            self.the_ledger_is_right()
        for _ in range(MOST_ROUNDS):
            if self._is_quiet():
                break
            self.services.reclaim()
            self.services.promote()
            self.services.reconcile()
            self.the_ledger_is_right()
            for worker in self.workers:
                self._work(worker, 5, WISHES[:1], None)
                self.the_ledger_is_right()
        assert {run.status for run in self.runs.values()} <= set(ENDED), f"never ended: {self.runs} {self.items}"
        assert {item.status for item in self.items.values()} <= set(CLOSED)
        assert self.streams.entries() == {}
        assert self.streams.inspector.read_backlog(QUEUE) == Backlog(0, 0, 0)
        assert self.streams.inspector.read_open_counts(QUEUE) == {}

    def _standing(self) -> list[Actor]:
        """Everybody in the middle of something."""
        actors = (self.client, self.reconciling, *(worker.actor for worker in self.workers))
        return [actor for actor in actors if actor is not None and not actor.ended]

    def _work(self, worker: Worker, count: int, wishes: Sequence[str], point: str | None) -> None:
        worker.start(worker.read(count), wishes)
        self._go_on(worker, point)

    def _go_on(self, worker: Worker, point: str | None) -> None:
        assert worker.actor is not None
        worker.actor.go_to(point)

    def _hired(self) -> Worker:
        self.hired += 1
        return Worker(self.services, f"worker.{self.hired}")

    def _idle(self) -> list[Worker]:
        return [worker for worker in self.workers if not worker.is_busy]

    def _busy(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.is_busy]

    def _enqueue(self, count: int, max_attempts: int, point: str | None, job: str = "scripted") -> None:
        symbols = tuple(f"S{number}" for number in range(count))
        request = RunRequest(job, symbols, "model", max_attempts=max_attempts)
        registry = self.services.registry()
        self._client_does(lambda connection: enqueue(connection, self.streams, registry, request), point)

    def _client_does(self, action: Callable[[Connection], object], point: str | None) -> None:
        self.client = _moved(self.services.actor(action), point, dies=False)

    def _open_runs(self) -> list[int]:
        return sorted(run_id for run_id, run in self.runs.items() if run.status not in ENDED)

    def _items_that_are(self, *states: str) -> list[ItemKey]:
        return sorted(key for key, item in self.items.items() if item.status in states)

    def _reopenable(self) -> list[ItemKey]:
        return [key for key in self._items_that_are("failed", "cancelled") if key not in self.purged]

    def _may_reopen(self) -> bool:
        """True when no other client is at work, nor the reconciler, for whose enqueue lock it would wait."""
        return self.client is None and self._is_reconciler_free()

    def _is_reconciler_free(self) -> bool:
        """True unless it stands in the middle of its transaction, which holds a run's row."""
        return self.reconciling is None or self.reconciling.point == "after backlog"

    def _is_quiet(self) -> bool:
        return (
            all(run.status in ENDED for run in self.runs.values())
            and self.streams.inspector.read_backlog(QUEUE) == Backlog(0, 0, 0)
            and self.streams.inspector.read_open_counts(QUEUE) == {}
        )

    def _read_ledger(self) -> tuple[dict[ItemKey, ItemRow], dict[int, RunRow]]:
        execute = self.services.connection.execute
        items: list[Any] = execute(
            "SELECT i.run_id, i.seq, i.status, i.attempt, (SELECT count(*) FROM effects e WHERE e.run_id = i.run_id"
            " AND e.symbol = i.symbol), r.job = 'scripted'"
            " FROM run_items i JOIN runs r ON r.id = i.run_id"
        ).fetchall()
        runs: list[Any] = execute(
            "SELECT id, status, item_count, max_attempts, completed_at, completed_count, failed_count, cancelled_count,"
            " reason FROM runs"
        ).fetchall()
        return (
            {(row[0], row[1]): ItemRow(*row[2:]) for row in items},
            {row[0]: RunRow(row[1], row[2], row[3], row[4], tuple(row[5:8]), row[8]) for row in runs},
        )


RULES = [name for name, member in vars(ItemLife).items() if hasattr(member, "hypothesis_stateful_rule")]


def _chosen(among: Sequence[T], number: int) -> T:
    return among[number % len(among)]


def _moved(actor: Actor, point: str | None, dies: bool) -> Actor | None:
    """The actor where it stands still now; None when it has ended."""
    if dies:
        actor.die()
        return None
    return actor if actor.go_to(point) else None


def _state_of(completed: int, failed: int) -> str:
    """The state of a run that came to its end by itself."""
    if failed == 0:
        return "COMPLETED"
    return "COMPLETED_WITH_ERRORS" if completed else "FAILED"


@pytest.fixture
def services(
    settings: Settings,
    connection: Connection,
    database_url: str,
    streams: Streams,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Services]:
    """The pool's parts on a database and a prefix of their own, with pages so small that a few items fill them."""
    del streams  # it looks for leaked keys in the end
    monkeypatch.setattr(queue_module, "ADD_CHUNK", 2)
    monkeypatch.setattr(leases_module, "REQUEUE_CHUNK", 2)
    monkeypatch.setattr(loss_check_module, "ADD_LIMIT", 2)
    monkeypatch.setattr(reconciler_module, "FORGET_EVERY", 1)
    asynchronously = sql.SQL("ALTER DATABASE {} SET synchronous_commit TO off")
    connection.execute(asynchronously.format(sql.Identifier(connection.info.dbname)))
    connection.execute("SET synchronous_commit TO off")
    # An actor stands still for as long as the others act.
    limits = SessionLimits(idle_in_transaction=0.0)
    with silent_logs(), open_pool(database_url, application="model", max_size=8, limits=limits) as connections:
        made = Services(settings, connections, connection)
        yield made
        made.streams.close()


@contextmanager
def silent_logs() -> Iterator[None]:
    """Thousands of examples would log millions of lines."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    yield
    structlog.configure(**before)


@pytest.mark.timeout(0 if LONG else 1200)
def test_every_item_is_closed_once_with_its_one_effect_whatever_happens(services: Services) -> None:
    run_state_machine_as_test(_machine(services))


def test_an_item_that_is_opened_again_does_not_die_of_an_attempt_before(services: Services) -> None:
    machine = ItemLife(services)
    machine._enqueue(count=1, max_attempts=1, point=None)
    machine.the_ledger_is_right()
    machine.workers = [machine._hired()]
    machine.works_and_stands_still(number=0, count=1, wishes=["complete"], point="call")
    machine.cancels(number=0)
    machine.the_ledger_is_right()
    machine.ends(number=0, how="killed")
    machine.opens_again(number=0, whole_run=True, point=None)
    machine.the_ledger_is_right()
    machine.works(number=0, count=5, wishes=["complete"])
    machine.the_ledger_is_right()
    assert [item.status for item in machine.items.values()] == ["completed"]


def _machine(services: Services, *rules: str) -> type[ItemLife]:
    """The machine on these services, with only these of its rules, if any are named."""
    removed = {name: None for name in RULES if rules and name not in rules}
    return type("OnServices", (ItemLife,), {"__init__": lambda self: ItemLife.__init__(self, services), **removed})


def _counterexample(services: Services, *rules: str) -> str:
    """What the machine finds wrong with these rules alone; '' for nothing."""
    soon = profile(max_examples=100, phases=[Phase.generate], database=None)
    try:
        run_state_machine_as_test(_machine(services, *rules), settings=soon)
    except AssertionError as error:
        return str(error)
    return ""


@pytest.mark.timeout(600)
def test_without_the_fence_a_second_effect_is_found(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def complete_items(
        connection: Connection, run: Run, worker: str, started_at: datetime, updates: Sequence[ItemUpdate]
    ) -> set[int]:
        rows = connection.execute(
            "UPDATE run_items SET status = 'completed', worker = %s, started_at = %s"
            " WHERE run_id = %s AND seq = ANY(%s) RETURNING seq",
            (worker, started_at, run.id, [update.seq for update in updates]),
        )
        return {seq for (seq,) in rows}

    monkeypatch.setattr(ledger, "complete_items", complete_items)
    rules = ("works_and_stands_still", "is_overtaken_in_its_sleep", "goes_on")
    assert _counterexample(services, *rules).startswith(("wrong effects", "opened by nobody"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("service", "rules"),
    [
        (Reclaimer, ("works_and_stands_still", "ends")),
        (Promoter, ("works",)),
        (Reconciler, ("works", "redis_loses")),
    ],
)
def test_without_one_of_the_services_a_run_that_never_ends_is_found(
    service: type[Any], rules: Sequence[str], services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "run_once", lambda _: None)
    assert _counterexample(services, *rules).startswith("never ended")


@pytest.mark.timeout(600)
def test_with_one_attempt_too_few_a_death_before_its_time_is_found(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decide_early(tasks: Any, outcomes: Any, rule: RetryRule, now: Any, rng: Any) -> Decisions:
        return decide(tasks, outcomes, replace(rule, max_attempts=rule.max_attempts - 1), now, rng)

    monkeypatch.setattr(executor, "decide", decide_early)
    assert _counterexample(services, "works").startswith("dead before its time")


@pytest.mark.timeout(600)
def test_with_a_run_ended_too_early_an_open_item_in_it_is_found(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transitions, "OPEN_STATES", ("pending",))
    assert _counterexample(services, "works", "reconciles").startswith("ended with open items")


@pytest.mark.timeout(600)
def test_with_a_stopped_run_whose_other_items_stay_open_that_is_found(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "_CANCEL", "SELECT %s::text, %s::date, %s::bigint")
    assert _counterexample(services, "stops_the_run").startswith("ended with open items")


def test_an_item_whose_run_was_stopped_by_another_has_no_effect(services: Services) -> None:
    machine = ItemLife(services)
    machine._enqueue(count=3, max_attempts=2, point=None)
    machine.the_ledger_is_right()
    machine.workers = [machine._hired() for _ in range(2)]
    machine.works_and_stands_still(number=0, count=1, wishes=["complete"], point="committing")
    machine.works(number=0, count=1, wishes=["stop"])
    machine.the_ledger_is_right()
    assert [run.status for run in machine.runs.values()] == ["FAILED"]
    machine.goes_on(number=0, point=None)
    machine.the_ledger_is_right()
    assert sorted(item.status for item in machine.items.values()) == ["cancelled", "cancelled", "failed"]
    machine.teardown()
