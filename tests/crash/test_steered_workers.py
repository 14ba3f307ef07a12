"""Supervisors are drained, resumed, stopped and resized from afar while they execute, and nothing is lost or begun."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from consumer import Consumer
from harness import (
    Supervisor,
    effects_of,
    is_running,
    items_of,
    running_supervisor,
    start_run,
    wait_for_end,
    wait_until,
)
from patience import patient
from streamworkers.admin import workers as admin
from streamworkers.admin.workers import SupervisorOrder
from streamworkers.database import Connection, connect
from streamworkers.engine import ledger
from streamworkers.engine.ledger import Run
from streamworkers.engine.ledger.orders import OrderAction, list_orders
from streamworkers.engine.ledger.processes import ProcessRecord, forget_process
from streamworkers.engine.redis.inspector import Backlog
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry

pytestmark = pytest.mark.timeout(300)
TESTS = ("--queue", "tests")
WAIT_SECONDS = 60.0


class Steered:
    """A supervisor, and a run of its workers that goes on when the test lets it."""

    def __init__(
        self, connection: Connection, streams: Streams, registry: Registry, supervisor: Supervisor, hold: Path
    ) -> None:
        self.connection = connection
        self.streams = streams
        self.supervisor = supervisor
        self._registry = registry
        self._hold = hold
        self._started_at = 0.0
        wait_until(lambda: self._find() is not None, 90, "the supervisor is in PostgreSQL")

    def _find(self) -> ProcessRecord | None:
        found = [each for each in admin.list_supervisors(self.connection) if each.pid == self.supervisor.process.pid]
        return found[0] if found else None

    @property
    def record(self) -> ProcessRecord:
        """Its row in PostgreSQL."""
        found = self._find()
        assert found is not None
        return found

    @property
    def state(self) -> str:
        """What its row says that it does."""
        return admin.name_state(self.record)

    def order(self, action: OrderAction, processes: int | None = None) -> SupervisorOrder:
        """Order it to do something."""
        return admin.order_supervisor(self.connection, self.record, action, processes=processes, reason="a test")

    def wait(self, order: SupervisorOrder, seconds: float | None = WAIT_SECONDS) -> tuple[str, str]:
        """Wait for an order: whether it has happened, and what is said of it."""
        (answer,) = admin.wait_for_orders(self.connection, [order], None if seconds is None else patient(seconds))
        return answer.answer, answer.text

    def start_run(self, count: int, milliseconds: float = 0.0, *, held: bool = True) -> Run:
        """Start a run each item of which waits as long as it is held."""
        if held:
            self._hold.touch()
        symbols = [f"S{number:04}" for number in range(count)]
        parameters = {"milliseconds": milliseconds, "hold": str(self._hold)}
        self._started_at = time.time()
        return start_run(self.connection, self.streams, self._registry, "ledger_entry", *symbols, parameters=parameters)

    def wait_until_busy(self, workers: int) -> None:
        """Wait until so many workers execute the newest run, as their supervisor reports."""

        def count() -> int:
            heartbeats = self.streams.inspector.read_heartbeats().values()
            calls = [worker.call for each in heartbeats for worker in each.workers if worker.call is not None]
            return sum(call.since >= self._started_at for call in calls)

        wait_until(lambda: count() == workers, 60, f"{workers} workers execute")

    def release(self) -> None:
        """Let the items that are held end."""
        self._hold.unlink()

    def done(self, run: Run) -> int:
        """How many items of a run are completed."""
        return ledger.count_items(self.connection, run).get("completed", 0)

    def assert_exactly_once(self, run: Run) -> None:
        """The run ends; each item has its effect once, in its first attempt, and nothing is left."""
        assert wait_for_end(self.connection, run, 90) == "COMPLETED"
        items = items_of(self.connection, run)
        assert effects_of(self.connection, run) == sorted(items)
        assert set(items.values()) == {("completed", 1, None)}
        wait_until(lambda: self.streams.inspector.read_backlog("tests") == Backlog(0, 0, 0), 60, "nothing is left")


Steer = Callable[[Supervisor], Steered]


@pytest.fixture
def environment(quick_environment: dict[str, str]) -> dict[str, str]:
    """Everything here is about the engine."""
    return quick_environment


@pytest.fixture
def steer(connection: Connection, streams: Streams, registry: Registry, tmp_path: Path) -> Steer:
    """Make a steered supervisor of one that runs."""
    return lambda supervisor: Steered(connection, streams, registry, supervisor, tmp_path / "hold")


def test_drained_workers_finish_what_they_execute_and_begin_nothing(
    environment: dict[str, str], tmp_path: Path, steer: Steer
) -> None:
    with running_supervisor(environment, tmp_path, "--processes", "2", "--metrics-port", "0", *TESTS) as supervisor:
        pool = steer(supervisor)
        # The control: without an order they go on, which is what the rest of the test would find.
        control = pool.start_run(200)
        pool.wait_until_busy(2)
        pool.release()
        pool.assert_exactly_once(control)
        run = pool.start_run(200)
        pool.wait_until_busy(2)
        order = pool.order("drain")
        assert pool.wait(order, None) == ("pending", "2 workers finish their batches")
        assert pool.state == "draining"
        pool.release()
        assert pool.wait(order) == ("yes", "drained: no worker is left")
        assert pool.state == "drained"
        done = pool.done(run)
        assert 2 <= done < 200
        assert pool.streams.inspector.read_backlog("tests") == Backlog(200 - done, 0, 0)
        assert pool.streams.inspector.read_consumers("tests") == {}
        assert not [event["pid"] for event in supervisor.events("worker_started") if is_running(event["pid"])]
        # Its services go on: what is delayed is promoted, and a run that is submitted gets its items.
        other = pool.start_run(3, held=False)
        assert pool.done(run) == done
        assert pool.done(other) == 0
        assert pool.wait(pool.order("resume")) == ("yes", "resumed: 2 of 2 workers are ready")
        assert pool.state == "running"
        for each in (run, other):
            pool.assert_exactly_once(each)


def test_a_stopped_supervisor_ends_in_order_after_a_long_item(
    environment: dict[str, str],
    tmp_path: Path,
    steer: Steer,
    consumer: Consumer,
) -> None:
    # The seconds of grace are those of SIGTERM; a stop kills nothing.
    with running_supervisor(environment, tmp_path, "--processes", "1", "--grace-seconds", "0", *TESTS) as supervisor:
        pool = steer(supervisor)
        run = pool.start_run(50)
        pool.wait_until_busy(1)
        order = pool.order("stop")
        assert pool.wait(order, 1.0)[0] == "no"
        assert pool.state == "stopping"
        assert supervisor.process.poll() is None
        pool.release()
        assert supervisor.process.wait(patient(60)) == 0
        assert pool.wait(order) == ("yes", "stopped")
        assert admin.list_supervisors(pool.connection) == []
        assert 1 <= pool.done(run) < 50
    consumer.work_until_empty("tests")
    pool.assert_exactly_once(run)


def test_a_stop_that_is_taken_back_in_time_ends_nothing(
    environment: dict[str, str],
    tmp_path: Path,
    steer: Steer,
) -> None:
    with running_supervisor(environment, tmp_path, "--processes", "1", *TESTS) as supervisor:
        pool = steer(supervisor)
        run = pool.start_run(50)
        pool.wait_until_busy(1)
        stop = pool.order("stop")
        wait_until(lambda: pool.state == "stopping", what="it is about to stop")
        resume = pool.order("resume")
        assert pool.wait(stop) == ("no", "a later order replaced it")
        pool.release()
        assert pool.wait(resume) == ("yes", "resumed: 1 of 1 workers are ready")
        pool.assert_exactly_once(run)
        assert supervisor.process.poll() is None


def test_a_fleet_grows_and_shrinks_under_load_and_each_item_is_done_once(
    environment: dict[str, str],
    tmp_path: Path,
    steer: Steer,
) -> None:
    with running_supervisor(environment, tmp_path, "--processes", "2", *TESTS) as supervisor:
        pool = steer(supervisor)
        run = pool.start_run(600, milliseconds=20, held=False)
        wait_until(lambda: pool.done(run) > 10, 60, "it is under way")
        for number in (5, 1):
            assert pool.wait(pool.order("resize", number)) == (
                "yes",
                f"resized to {number}: {number} of {number} workers are ready",
            )
            assert len(supervisor.worker_pids()) == number
        pool.assert_exactly_once(run)
        ends = [(event["end"], event["reason"]) for event in supervisor.events("worker_ended")]
        assert ends == [("stopped", "")] * 4
        assert pool.wait(pool.order("resize", 3))[0] == "yes"
        assert sum(is_running(pid) for pid in supervisor.worker_pids()) == 3


def test_a_number_that_breaks_the_rules_of_the_queues_is_rejected(
    environment: dict[str, str],
    tmp_path: Path,
    steer: Steer,
) -> None:
    words = ("--processes", "2", "--queue", "tests=2")
    with running_supervisor(environment, tmp_path, *words) as supervisor:
        pool = steer(supervisor)
        wait_until(lambda: len(supervisor.worker_pids()) == 2, 60, "its workers are there")
        too_few = "rejected: the queues named ask for more than 1 processes: {'tests': 2}"
        assert pool.wait(pool.order("resize", 1)) == ("no", too_few)
        answer, text = pool.wait(pool.order("resize", 3))
        assert answer == "no"
        assert text.startswith("rejected: with 3 processes some would read ")
        assert text.endswith(", and this supervisor was started for tests: start another one")
        assert len(supervisor.worker_pids()) == 2


def test_an_order_to_a_killed_supervisor_is_unknown_and_never_applied_to_another(
    environment: dict[str, str],
    tmp_path: Path,
    steer: Steer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admin, "TAKE_SECONDS", 1.0)
    with running_supervisor(environment, tmp_path, "--processes", "1", *TESTS) as killed:
        pool = steer(killed)
        killed.process.send_signal(signal.SIGKILL)
        killed.process.wait()
        name, order = pool.record.id, pool.order("drain")
        answer, text = pool.wait(order, None)
        assert answer == "unknown"
        assert text.startswith("the supervisor has not taken the order, last seen ")
    with running_supervisor(environment, tmp_path, "--processes", "1", *TESTS) as supervisor:
        other = steer(supervisor)
        forget_process(pool.connection, name, "it was killed")
        assert pool.wait(order) == ("no", "the supervisor is gone: it was killed")
        assert [each.outcome for each in list_orders(pool.connection, name, 5)] == ["gone"]
        assert other.state == "running"
        other.assert_exactly_once(other.start_run(20, held=False))


def test_of_two_orders_at_once_the_later_one_holds(
    environment: dict[str, str],
    database_url: str,
    tmp_path: Path,
    steer: Steer,
) -> None:
    with running_supervisor(environment, tmp_path, "--processes", "1", *TESTS) as supervisor:
        pool, record = steer(supervisor), steer(supervisor).record
        placed: dict[int, OrderAction] = {}

        def order(action: OrderAction) -> None:
            with connect(database_url, application="test") as connection:
                for _ in range(10):
                    each = admin.order_supervisor(connection, record, action)
                    assert each.order is not None
                    placed[each.order] = action

        threads = [threading.Thread(target=order, args=(action,)) for action in ("drain", "resume")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        newest = max(placed)
        state = "drained" if placed[newest] == "drain" else "running"
        wait_until(lambda: pool.state == state, 60, f"it is {state}, as ordered last")
        wait_until(lambda: list_orders(pool.connection, record.id, 1)[0].outcome == "done", 60, "it has happened")
        outcomes = [each.outcome for each in list_orders(pool.connection, record.id, 50)]
        assert len(outcomes) == 20
        assert set(outcomes[1:]) <= {"done", "replaced"}


def test_a_signal_to_a_draining_supervisor_ends_it_within_its_grace(
    environment: dict[str, str],
    tmp_path: Path,
    steer: Steer,
    consumer: Consumer,
) -> None:
    with running_supervisor(environment, tmp_path, "--processes", "2", "--grace-seconds", "1", *TESTS) as supervisor:
        pool = steer(supervisor)
        run = pool.start_run(40)
        pool.wait_until_busy(2)
        order = pool.order("drain")
        wait_until(lambda: pool.state == "draining", what="it drains")
        assert supervisor.stop(60) == 0
        assert pool.wait(order) == ("no", "the supervisor is gone: it ended in order")
        assert pool.streams.inspector.read_backlog("tests") == Backlog(40, 0, 0)
        assert set(items_of(pool.connection, run).values()) == {("pending", 0, None)}
    pool.release()
    consumer.work_until_empty("tests")
    pool.assert_exactly_once(run)
