"""The background services, a step at a time."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from consumer import Consumer
from harness import effects_of, run_status, start_run, subscribe, wait_until
from patience import patient
from streamworkers.config import Settings
from streamworkers.database import Connection, SessionLimits, connect, fetch_value
from streamworkers.engine import enqueue as enqueue_module
from streamworkers.engine import ledger
from streamworkers.engine.host.metrics import BacklogCollector, PoolMetrics
from streamworkers.engine.host.scrape_board import ScrapeBoard
from streamworkers.engine.ledger import Run
from streamworkers.engine.ledger import runs as runs_module
from streamworkers.engine.ledger.reports import read_enqueued_totals
from streamworkers.engine.redis.entry import unpack_entry
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services import loss_check as loss_check_module
from streamworkers.engine.services import reconciler as reconciler_module
from streamworkers.engine.services.loop import ServiceLoop
from streamworkers.engine.services.loss_check import StallRule
from streamworkers.engine.services.outbox_relay import OutboxRelay
from streamworkers.engine.services.promoter import Promoter
from streamworkers.engine.services.pruner import Pruner
from streamworkers.engine.services.reclaimer import Reclaimer
from streamworkers.engine.services.reconciler import Reconciler
from streamworkers.errors import RedisUnavailableError


@pytest.fixture
def metrics() -> PoolMetrics:
    return PoolMetrics()


@pytest.fixture
def reconciler(pool: "ConnectionPool[Connection]", streams: Streams, metrics: PoolMetrics) -> Reconciler:
    return Reconciler(pool, streams, ["tests"], 1.0, 0.0, metrics)


@pytest.fixture
def hasty(pool: "ConnectionPool[Connection]", streams: Streams, metrics: PoolMetrics) -> Reconciler:
    """A reconciler to which a run is stalled as soon as its open items have not become fewer between two looks."""
    return Reconciler(pool, streams, ["tests"], 1.0, 0.0, metrics, StallRule(stall_seconds=0.0))


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Turns the reconciler's clock on by so many seconds; it stands still otherwise."""
    times = [1000.0]
    for module in (reconciler_module, loss_check_module):
        monkeypatch.setattr(module, "monotonic", lambda: times[0])

    def turn_on(seconds: float) -> None:
        times[0] += seconds

    return turn_on


def _lose(streams: Streams, symbol: str) -> None:
    """Take one entry out by hand, whoever has it, as a lost second of the append-only file would."""
    (entry_id,) = [e.entry_id for e in streams.inspector.scan_stream("tests", "0-0") if symbol.encode() in e.packed]
    streams.client.raw.xack(streams.keys.stream("tests"), "workers", entry_id)
    streams.client.raw.xdel(streams.keys.stream("tests"), entry_id)


def _steps(reconciler: Reconciler, most: int = 20) -> int:
    """Do steps until there is nothing more to do now; returns how many."""
    for count in range(1, most + 1):
        if reconciler.run_once() is None:
            return count
    pytest.fail(f"not done in {most} steps")


def _symbols_waiting(streams: Streams) -> list[str]:
    return [unpack_entry(e.packed, 16_384).symbol for e in streams.inspector.scan_stream("tests", "0-0")]


def _is_enqueued(connection: Connection, run: Run) -> bool:
    loaded = ledger.load_run(connection, run.id)
    assert loaded is not None
    return loaded.is_enqueued


def _value(metrics: PoolMetrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"streamworkers_{name}", labels) or 0.0


def test_a_run_lost_with_redis_is_added_again_and_completes(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    reconciler: Reconciler,
    metrics: PoolMetrics,
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", *[f"S{n:02}" for n in range(30)])
    consumer.work(count=10)
    streams.client.raw.delete(streams.keys.stream("tests"), streams.keys.open_items("tests"))
    reconciler.run_once()
    assert streams.inspector.read_backlog("tests").waiting == 20
    assert _value(metrics, "items_reconciled_total", queue="tests") == 20
    consumer.work()
    assert run_status(connection, run) == "COMPLETED"
    assert effects_of(connection, run) == [f"S{n:02}" for n in range(30)]


def test_an_enqueue_that_died_half_way_is_finished(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs_module, "SMALL_RUN", 1)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "mark_enqueued", die)
        with pytest.raises(KeyboardInterrupt):
            start_run(connection, streams, registry, "ledger_entry", "A", "B")
        patch.setattr(enqueue_module, "add_entries", die)
        for symbols in (["C"], ["D", "E"]):
            with pytest.raises(KeyboardInterrupt):
                start_run(connection, streams, registry, "ledger_entry", *symbols)
    reconciler.run_once()
    assert streams.inspector.read_backlog("tests").waiting == 2 + 5
    consumer.work()
    assert connection.execute("SELECT status, count(*) FROM runs GROUP BY 1").fetchall() == [("COMPLETED", 3)]
    assert connection.execute("SELECT symbol FROM effects ORDER BY 1").fetchall() == [(name,) for name in "ABCDE"]


def test_a_small_run_that_waits_is_recorded_and_not_added_again(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, reconciler: Reconciler
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B")
    assert _is_enqueued(connection, run) is False
    _steps(reconciler)
    assert streams.inspector.read_backlog("tests").waiting == 2
    assert (_is_enqueued(connection, run), run_status(connection, run)) == (True, "PENDING")
    consumer.work()
    assert run_status(connection, run) == "COMPLETED"


def test_a_run_that_redis_lost_before_it_was_recorded_is_added_though_others_wait(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, reconciler: Reconciler
) -> None:
    lost = start_run(connection, streams, registry, "ledger_entry", "A", "B")
    streams.client.raw.flushall()
    other = start_run(connection, streams, registry, "ledger_entry", "C")
    _steps(reconciler)
    assert _symbols_waiting(streams) == ["C", "A", "B"]
    consumer.work()
    assert [run_status(connection, run) for run in (lost, other)] == ["COMPLETED"] * 2


@pytest.mark.parametrize("step", ["set_open_count", "add", "mark_enqueued"])
def test_a_reconciler_that_dies_in_any_step_leaves_no_run_that_seems_to_wait(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(enqueue_module, "add_entries", die)
        with pytest.raises(KeyboardInterrupt):
            start_run(connection, streams, registry, "ledger_entry", "A", "B")
    start_run(connection, streams, registry, "ledger_entry", "C")
    with monkeypatch.context() as patch:
        patch.setattr(ledger if step == "mark_enqueued" else streams.queues, step, die)
        with pytest.raises(KeyboardInterrupt):
            reconciler.run_once()
    _steps(reconciler)
    assert _symbols_waiting(streams) == ["C", "A", "B"]
    consumer.work()
    assert connection.execute("SELECT status, count(*) FROM runs GROUP BY 1").fetchall() == [("COMPLETED", 2)]


def test_what_a_replay_did_not_add_is_added_though_its_run_has_a_count(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    reconciler: Reconciler,
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B", "C")
    held = consumer.read()
    consumer.execute(held[:1])
    connection.execute("UPDATE run_items SET status = 'failed' WHERE symbol = 'A'")
    ledger.reopen_items(connection, run, ["failed"], None)
    assert streams.inspector.read_open_counts("tests")[run.id] == 2
    start_run(connection, streams, registry, "ledger_entry", "D")
    _steps(reconciler)
    assert sorted(_symbols_waiting(streams)) == ["A", "B", "B", "C", "C", "D"]


def test_the_first_delivery_of_a_small_run_records_it_and_that_of_a_large_one_does_not(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs_module, "SMALL_RUN", 2)
    monkeypatch.setattr(enqueue_module, "_PIPELINE", 1)
    add = streams.queues.add
    added: list[bytes] = []

    def add_only_one(queue: str, run_id: int, packed: Sequence[bytes]) -> None:
        if added:
            raise KeyboardInterrupt
        added.extend(packed)
        add(queue, run_id, packed)

    with monkeypatch.context() as patch:
        patch.setattr(streams.queues, "add", add_only_one)
        with pytest.raises(KeyboardInterrupt):
            start_run(connection, streams, registry, "ledger_entry", "A", "B", "C")
    small = start_run(connection, streams, registry, "ledger_entry", "D", "E")
    large = small.id - 1
    consumer.work()
    rows = connection.execute("SELECT id, status, enqueued_at IS NOT NULL FROM runs ORDER BY 1").fetchall()
    assert rows == [(large, "RUNNING", False), (small.id, "COMPLETED", True)]
    _steps(reconciler)
    consumer.work()
    assert effects_of(connection, small) == ["D", "E"]
    assert connection.execute("SELECT symbol FROM effects WHERE run_id = %s ORDER BY 1", (large,)).fetchall() == [
        ("A",),
        ("B",),
        ("C",),
    ]


def test_an_enqueue_under_way_is_left_alone(
    connection: Connection, pool: "ConnectionPool[Connection]", streams: Streams, registry: Registry
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    streams.client.raw.delete(streams.keys.stream("tests"))
    Reconciler(pool, streams, ["tests"], 1.0, 60.0, PoolMetrics()).run_once()
    assert streams.inspector.read_backlog("tests").waiting == 0
    assert run_status(connection, run) == "PENDING"


def test_a_queue_with_work_in_it_is_left_alone(
    connection: Connection, streams: Streams, registry: Registry, reconciler: Reconciler
) -> None:
    start_run(connection, streams, registry, "ledger_entry", "A", "B")
    reconciler.run_once()
    reconciler.run_once()
    assert streams.inspector.read_backlog("tests").waiting == 2


def test_a_run_whose_count_was_lost_is_completed(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, reconciler: Reconciler
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    other = start_run(connection, streams, registry, "ledger_entry", "B")
    streams.client.raw.delete(streams.keys.open_items("tests"))
    consumer.work(count=1)
    assert run_status(connection, run) == "RUNNING"
    reconciler.run_once()
    assert run_status(connection, run) == "COMPLETED"
    assert run_status(connection, other) == "PENDING"


def test_a_count_that_is_too_low_is_set_right_by_the_ledger(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B", "C")
    streams.queues.set_open_count("tests", run.id, 1)
    consumer.work(count=1)
    assert streams.inspector.read_open_counts("tests") == {run.id: 2}
    consumer.work()
    assert run_status(connection, run) == "COMPLETED"


def test_counts_of_ended_runs_are_forgotten(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, reconciler: Reconciler
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    consumer.work()
    streams.queues.set_open_count("tests", run.id, 5)
    streams.queues.set_open_count("tests", 424242, 5)
    reconciler.run_once()
    assert streams.inspector.read_open_counts("tests") == {}


def test_entries_of_a_dead_worker_are_reclaimed_after_their_lease(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    second_consumer: Consumer,
    metrics: PoolMetrics,
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B")
    consumer.read()
    slow = Reclaimer(streams, ["tests"], "me", 60_000, metrics)
    assert slow.run_once() is None
    assert _value(metrics, "entries_reclaimed_total", queue="tests") == 0
    Reclaimer(streams, ["tests"], "me", 0, metrics).run_once()
    assert _value(metrics, "entries_reclaimed_total", queue="tests") == 2
    second_consumer.work()
    assert run_status(connection, run) == "COMPLETED"


def test_supervisors_of_different_queues_do_not_share_a_lease(streams: Streams, metrics: PoolMetrics) -> None:
    first = ServiceLoop(Promoter(streams, ["a"], metrics), streams, "first", metrics)
    second = ServiceLoop(Promoter(streams, ["b"], metrics), streams, "second", metrics)
    third = ServiceLoop(Promoter(streams, ["a"], metrics), streams, "third", metrics)
    assert [loop._holds_lease() for loop in (first, second, third, first)] == [True, True, False, True]


def test_a_service_asks_for_the_lease_of_another_process_once_until_it_ends(
    streams: Streams, metrics: PoolMetrics
) -> None:
    first = ServiceLoop(Promoter(streams, ["a"], metrics), streams, "first", metrics)
    second = ServiceLoop(Promoter(streams, ["a"], metrics), streams, "second", metrics)
    assert first._holds_lease()
    key = streams.keys.service_lease("promoter:a")
    assert not second._holds_lease()
    streams.client.raw.delete(key)
    assert not any(second._holds_lease() for _ in range(3))
    second._yield_until = 0.0  # its end
    assert second._holds_lease()
    # A lease from before Redis' clock was set back ends later than any that is taken now.
    streams.client.raw.set(key, "first", px=3_600_000)
    third = ServiceLoop(Promoter(streams, ["a"], metrics), streams, "third", metrics)
    assert third._holds_lease()


def test_a_long_list_of_lost_items_is_added_in_bounded_steps(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs_module, "SMALL_RUN", 4)
    monkeypatch.setattr(loss_check_module, "ADD_LIMIT", 4)
    start_run(connection, streams, registry, "ledger_entry", *[f"S{n}" for n in range(10)])
    streams.client.raw.delete(streams.keys.stream("tests"))
    counts = []
    for expected_pause in (0.0, 0.0, None, None):
        assert reconciler.run_once() == expected_pause
        counts.append(streams.inspector.read_backlog("tests").waiting)
    assert counts == [4, 8, 10, 10]


def test_an_entry_lost_from_a_queue_that_never_empties_is_added_again(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    second_consumer: Consumer,
    hasty: Reconciler,
    metrics: PoolMetrics,
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "LOST", "C")
    _lose(streams, "LOST")
    consumer.work(count=2)
    busy = start_run(connection, streams, registry, "ledger_entry", *[f"S{n}" for n in range(10)])
    for _ in range(4):
        second_consumer.work(count=2)
        _steps(hasty)
    assert run_status(connection, busy) == "RUNNING"
    assert _value(metrics, "items_reconciled_total", queue="tests") == 1
    assert _symbols_waiting(streams).count("LOST") == 1
    consumer.work()
    assert run_status(connection, run) == "COMPLETED"
    assert effects_of(connection, run) == ["A", "C", "LOST"]
    assert run_status(connection, busy) == "COMPLETED"
    assert len(effects_of(connection, busy)) == 10


def test_without_the_rule_for_stalled_runs_what_a_busy_queue_lost_stays_lost(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    hasty: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loss_check_module.StallDetector, "is_stalled", lambda *_: False)
    start_run(connection, streams, registry, "ledger_entry", "LOST", "C")
    _lose(streams, "LOST")
    consumer.work(count=1)
    start_run(connection, streams, registry, "ledger_entry", "S1", "S2")
    consumer.read(count=1)
    for _ in range(6):
        _steps(hasty)
    assert "LOST" not in _symbols_waiting(streams)


def test_a_lost_entry_is_found_when_all_others_are_delayed(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, hasty: Reconciler
) -> None:
    start_run(connection, streams, registry, "snoozing", "LATE", parameters={"ready_at": 32503680000})
    consumer.work()
    start_run(connection, streams, registry, "ledger_entry", "LOST")
    _lose(streams, "LOST")
    for _ in range(3):
        _steps(hasty)
    assert _symbols_waiting(streams) == ["LOST"]
    streams.client.raw.delete(streams.keys.delayed("tests"))


def test_nothing_is_added_while_a_handler_takes_long_and_censuses_become_rare(
    connection: Connection,
    pool: "ConnectionPool[Connection]",
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    second_consumer: Consumer,
    metrics: PoolMetrics,
    pass_time: Callable[[float], None],
) -> None:
    start_run(connection, streams, registry, "ledger_entry", "A", "B")
    start_run(connection, streams, registry, "snoozing", "LATE", parameters={"ready_at": 32503680000})
    consumer.read(count=2)
    second_consumer.work()
    patient = Reconciler(pool, streams, ["tests"], 1.0, 0.0, metrics, StallRule(65.0, 600.0))
    scans: list[int] = []
    for second in range(0, 3600, 5):
        if _steps(patient) > 1:
            scans.append(second)
        pass_time(5.0)
    streams.client.raw.delete(streams.keys.delayed("tests"))
    assert _value(metrics, "items_reconciled_total", queue="tests") == 0
    pauses = [later - earlier for earlier, later in pairwise(scans)]
    assert 65 <= scans[0] <= 75
    assert pauses == sorted(pauses)
    assert 595 <= pauses[-1] <= 605
    assert len(scans) <= 10


def test_a_run_whose_items_become_fewer_in_the_ledger_alone_is_not_stalled(
    connection: Connection,
    pool: "ConnectionPool[Connection]",
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    metrics: PoolMetrics,
    pass_time: Callable[[float], None],
) -> None:
    start_run(connection, streams, registry, "ledger_entry", *[f"S{n}" for n in range(10)])
    consumer.read()
    patient = Reconciler(pool, streams, ["tests"], 1.0, 0.0, metrics, StallRule(65.0))
    for seq in range(9):
        for _ in range(6):
            assert _steps(patient) == 1
            pass_time(5.0)
        connection.execute("UPDATE run_items SET status = 'completed' WHERE seq = %s", (seq,))
    most_steps = 0
    for _ in range(40):
        most_steps = max(most_steps, _steps(patient))
        pass_time(5.0)
    assert most_steps > 1


def test_a_run_that_waits_behind_others_is_neither_counted_nor_looked_for(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    hasty: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start_run(connection, streams, registry, "ledger_entry", "A", "B")
    waiting = start_run(connection, streams, registry, "ledger_entry", "C", "LOST")
    consumer.read(count=1)
    _lose(streams, "LOST")
    counted: list[int] = []
    count = ledger.close_runs

    def counting(connection: Connection, runs: Sequence[Run]) -> tuple[dict[int, str], dict[int, int]]:
        counted.extend(run.id for run in runs)
        return count(connection, runs)

    monkeypatch.setattr(ledger, "close_runs", counting)
    for _ in range(5):
        assert _steps(hasty) == 1
    assert counted == []
    assert "LOST" not in _symbols_waiting(streams)
    consumer.read()
    for _ in range(3):
        _steps(hasty)
    assert waiting.id in counted
    assert "LOST" in _symbols_waiting(streams)


def test_the_ledger_is_counted_rarely_while_nothing_changes_and_at_once_when_something_did(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
    pass_time: Callable[[float], None],
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B", "C")
    held = consumer.read()
    counted = [0]
    count = ledger.close_runs

    def counting(connection: Connection, runs: Sequence[Run]) -> tuple[dict[int, str], dict[int, int]]:
        counted[0] += 1
        return count(connection, runs)

    monkeypatch.setattr(ledger, "close_runs", counting)
    for _ in range(60):
        _steps(reconciler)
        pass_time(1.0)
    assert 4 <= counted[0] <= 7
    before = counted[0]
    consumer.execute(held[:1])
    _steps(reconciler)
    _steps(reconciler)
    assert counted[0] == before + 1
    assert run_status(connection, run) == "RUNNING"


def test_what_was_enqueued_again_during_the_census_is_left_to_its_enqueuer(
    connection: Connection, database_url: str, streams: Streams, registry: Registry, hasty: Reconciler
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "LOST", "B")
    start_run(connection, streams, registry, "ledger_entry", "C")
    streams.queues.ensure_groups(["tests"])
    assert len(streams.queues.read(["tests"], "someone", 3, 1)) == 3
    _lose(streams, "LOST")
    assert (hasty.run_once(), hasty.run_once()) == (None, 0.0)
    with connect(database_url) as enqueuer, ledger.enqueue_lock(enqueuer, run.id, wait=True):
        _steps(hasty)
        assert "LOST" not in _symbols_waiting(streams)
        ledger.mark_enqueued(enqueuer, run.id)
    hasty._detectors["tests"].forget_all_but(set())
    assert (hasty.run_once(), hasty.run_once()) == (None, 0.0)
    ledger.mark_enqueued(connection, run.id)
    _steps(hasty)
    assert "LOST" not in _symbols_waiting(streams)


def test_many_lost_items_of_a_busy_queue_are_added_in_bounded_steps_and_counted_right(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    hasty: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs_module, "SMALL_RUN", 4)
    monkeypatch.setattr(loss_check_module, "ADD_LIMIT", 4)
    run = start_run(connection, streams, registry, "ledger_entry", *[f"L{n}" for n in range(10)])
    streams.client.raw.delete(streams.keys.stream("tests"))
    start_run(connection, streams, registry, "ledger_entry", "S")
    consumer.read(count=1)
    waiting = []
    for _ in range(6):
        hasty.run_once()
        waiting.append(streams.inspector.read_backlog("tests").waiting)
    assert waiting == [0, 0, 4, 8, 10, 10]
    assert streams.inspector.read_open_counts("tests")[run.id] == 10
    consumer.work()
    assert run_status(connection, run) == "COMPLETED"


def test_runs_are_looked_at_a_page_at_a_time_and_all_of_an_empty_queue_are_healed(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconciler_module, "RUN_LIMIT", 2)
    for _ in range(5):
        start_run(connection, streams, registry, "ledger_entry", "A")
    streams.client.raw.delete(streams.keys.stream("tests"))
    steps = [(reconciler.run_once(), streams.inspector.read_backlog("tests").waiting) for _ in range(3)]
    assert steps == [(0.0, 2), (0.0, 4), (None, 5)]


def test_a_run_cancelled_while_it_was_added_again_takes_nothing_from_the_next(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs_module, "SMALL_RUN", 4)
    monkeypatch.setattr(loss_check_module, "ADD_LIMIT", 4)
    first = start_run(connection, streams, registry, "ledger_entry", *[f"F{n}" for n in range(9)])
    start_run(connection, streams, registry, "ledger_entry", "A", "B", "C")
    streams.client.raw.delete(streams.keys.stream("tests"))
    assert reconciler.run_once() == 0.0
    ledger.cancel_run(connection, first)
    _steps(reconciler)
    assert _symbols_waiting(streams) == ["F0", "F1", "F2", "F3", "A", "B", "C"]


def test_a_step_counts_a_bounded_number_of_items_and_every_run_gets_its_turn(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
    pass_time: Callable[[float], None],
) -> None:
    monkeypatch.setattr(reconciler_module, "COUNT_LIMIT", 1)
    runs = [start_run(connection, streams, registry, "ledger_entry", "A") for _ in range(3)]
    consumer.read()
    counted: list[int] = []
    count = ledger.close_runs

    def counting(connection: Connection, runs: Sequence[Run]) -> tuple[dict[int, str], dict[int, int]]:
        counted.extend(run.id for run in runs)
        return count(connection, runs)

    monkeypatch.setattr(ledger, "close_runs", counting)
    for steps in range(5):
        assert reconciler.run_once() is None
        assert len(counted) <= steps
        pass_time(0.1)
    assert counted == [run.id for run in runs]


def test_a_round_that_was_left_for_long_begins_again(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
    pass_time: Callable[[float], None],
) -> None:
    monkeypatch.setattr(reconciler_module, "RUN_LIMIT", 1)
    for _ in range(3):
        start_run(connection, streams, registry, "ledger_entry", "A")
    streams.client.raw.delete(streams.keys.stream("tests"))
    assert reconciler.run_once() == 0.0
    pass_time(60.0)
    _steps(reconciler)
    assert streams.inspector.read_backlog("tests").waiting == 1


def test_a_stall_is_two_leases_and_some_seconds(settings: Settings) -> None:
    settings = settings.model_copy(update={"lease_seconds": 2.0})
    assert StallRule.of(settings) == StallRule(9.0, 600.0, settings.entry_max_bytes)
    assert StallRule.of(Settings()) == StallRule()


def test_what_an_enqueuer_is_still_adding_is_left_to_it(
    connection: Connection, database_url: str, streams: Streams, registry: Registry, reconciler: Reconciler
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    streams.client.raw.delete(streams.keys.stream("tests"))
    with connect(database_url) as enqueuer, ledger.enqueue_lock(enqueuer, run.id, wait=True):
        reconciler.run_once()
        assert streams.inspector.read_backlog("tests").waiting == 0
    wait_until(lambda: reconciler.run_once() is None and streams.inspector.read_backlog("tests").waiting == 1)


def test_what_an_enqueuer_that_stands_still_did_not_add_is_added_after_its_limit(
    connection: Connection, database_url: str, streams: Streams, registry: Registry, reconciler: Reconciler
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    streams.client.raw.delete(streams.keys.stream("tests"))
    limits = SessionLimits(idle_in_transaction=1.0)
    with connect(database_url, limits=limits) as enqueuer, suppress(psycopg.errors.IdleInTransactionSessionTimeout):
        with ledger.enqueue_lock(enqueuer, run.id, wait=True):
            wait_until(lambda: reconciler.run_once() is None and streams.inspector.read_backlog("tests").waiting == 1)
            ledger.mark_enqueued(enqueuer, run.id)
        pytest.fail("the session outlived its limit")


def test_the_counts_of_runs_are_moved_to_the_totals_of_their_jobs(
    connection: Connection, pool: "ConnectionPool[Connection]", streams: Streams, registry: Registry
) -> None:
    total = [(("tests", "ledger_entry"), 3)]
    for symbols in (["A", "B"], ["A"]):
        start_run(connection, streams, registry, "ledger_entry", *symbols)
    assert read_enqueued_totals(connection) == total
    Pruner(pool, streams, ["tests"], set).run_once()
    assert read_enqueued_totals(connection) == total
    assert fetch_value(connection, "SELECT items_enqueued FROM enqueued_totals") == 3
    assert fetch_value(connection, "SELECT count(*) FROM enqueued_counts") == 0


def test_the_promoter_says_when_the_next_entry_is_due(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, metrics: PoolMetrics
) -> None:
    promoter = Promoter(streams, ["tests"], metrics)
    assert promoter.run_once() is None
    start_run(connection, streams, registry, "snoozing", "A", parameters={"ready_at": 32503680000})
    consumer.work()
    pause = promoter.run_once()
    assert pause is not None
    assert pause > 60
    streams.client.raw.delete(streams.keys.delayed("tests"))


def test_events_are_published_in_order_with_an_id_and_leave_the_outbox(
    connection: Connection,
    pool: "ConnectionPool[Connection]",
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    metrics: PoolMetrics,
) -> None:
    listener = subscribe(streams, "tests.effects")
    start_run(connection, streams, registry, "ledger_entry", "A", "B")
    consumer.work()
    assert OutboxRelay(pool, streams, metrics).run_once() is None
    messages = [json.loads(listener.get_message(timeout=patient(5))["data"]) for _ in range(2)]
    listener.close()
    assert [message["symbol"] for message in messages] == ["A", "B"]
    assert len({message["event_id"] for message in messages}) == 2
    assert connection.execute("SELECT count(*) FROM outbox").fetchone() == (0,)


def test_events_stay_in_the_outbox_while_redis_is_away(
    connection: Connection,
    pool: "ConnectionPool[Connection]",
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    metrics: PoolMetrics,
) -> None:
    start_run(connection, streams, registry, "ledger_entry", "A")
    consumer.work()
    away = open_streams("unix:///nowhere/redis.sock", "x")
    with pytest.raises(RedisUnavailableError):
        OutboxRelay(pool, away, metrics).run_once()
    away.close()
    assert connection.execute("SELECT count(*) FROM outbox").fetchone() == (1,)


def test_partitions_are_made_ahead_and_consumers_of_gone_workers_removed(
    connection: Connection, pool: "ConnectionPool[Connection]", streams: Streams, settings: Settings
) -> None:
    streams.queues.ensure_groups(["tests"])
    for name in ("gone.1", "alive.1", "gone.2"):
        streams.queues.add("tests", 1, [b"x"])
        (delivery,) = streams.queues.read(["tests"], name, 1, 1)
        if name != "gone.2":
            streams.queues.discard("tests", [delivery.entry_id])
    pruner = Pruner(pool, streams, ["tests"], lambda: {"alive"})
    pruner.run_once()
    assert streams.inspector.read_consumers("tests") == {"alive.1": 0, "gone.2": 1}
    row = connection.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'run_items'::regclass").fetchone()
    assert row == (8,)


def test_the_backlog_is_read_when_it_is_asked_for_and_left_out_when_it_cannot_be(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, metrics: PoolMetrics
) -> None:
    start_run(connection, streams, registry, "ledger_entry", "A", "B", "C")
    consumer.read(count=1)
    scrapes = ScrapeBoard()
    metrics.registry.register(BacklogCollector(streams, ["tests"], scrapes))
    assert _value(metrics, "queue_entries", queue="tests", state="waiting") == 2
    assert _value(metrics, "queue_entries", queue="tests", state="pending") == 1
    away = open_streams("unix:///nowhere/redis.sock", "x")
    assert list(BacklogCollector(away, ["tests"], scrapes).collect()) == []
    assert [(each.who, each.fault.kind) for each in scrapes.own()] == [("collector queues", "away")]
    away.close()
    assert _value(metrics, "queue_entries", queue="tests", state="waiting") == 2
    assert scrapes.own() == []
