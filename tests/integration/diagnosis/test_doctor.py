"""The doctor beside a working pool: what is a fault, what is a note, and what it leaves to the pool."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from psycopg_pool import ConnectionPool

from consumer import Consumer
from harness import run_status, start_run
from streamworkers.config import Settings
from streamworkers.database import Connection, connect
from streamworkers.diagnosis import doctor as doctor_module
from streamworkers.diagnosis import queue_entries as queue_entries_module
from streamworkers.diagnosis.doctor import Doctor
from streamworkers.diagnosis.finding import ERROR, NOTE, WARNING, Finding
from streamworkers.engine import ledger
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.redis.heartbeats import SupervisorStatus, WorkerStatus
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services import loss_check as loss_check_module
from streamworkers.engine.services.outbox_relay import OutboxRelay


@pytest.fixture
def doctor(
    connection: Connection,
    pool: "ConnectionPool[Connection]",
    streams: Streams,
    registry: Registry,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> Doctor:
    """A doctor whose second look follows at once, and that examines runs enqueued just now; its leases do not expire.

    Except for what a test breaks, the system is healthy: there are bars of today and a worker.
    """
    connection.execute(
        "INSERT INTO ohlcv_daily VALUES ('A', (now() AT TIME ZONE 'America/New_York')::date, 1, 1, 1, 1, 1)"
    )
    _serve(streams, "elsewhere", "bench")
    monkeypatch.setattr(doctor_module, "SECOND_LOOK_SECONDS", 0.0)
    hasty = settings.model_copy(update={"reconcile_seconds": 0.0, "lease_seconds": 20.0})
    return Doctor(connection, streams, registry, OutboxRelay(pool, streams, PoolMetrics()), hasty)


@pytest.fixture
def between(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Lets something happen between the first look and the second."""

    def happen(event: Callable[[], object]) -> None:
        # The doctor's own pause, not that of whatever the event executes.
        monkeypatch.setattr(doctor_module, "time", SimpleNamespace(sleep=lambda _seconds: event()))

    return happen


def _serve(streams: Streams, name: str = "somebody", queue: str = "tests") -> None:
    streams.heartbeats.beat(name, SupervisorStatus(queues=[queue], workers=[WorkerStatus()]), 600_000)


def _read_and_die(streams: Streams, silent_ms: int) -> None:
    (delivery,) = streams.queues.read(["tests"], "gone.1", 1, 1)
    streams.client.raw.xclaim(
        streams.keys.stream("tests"), "workers", "gone.1", 0, [delivery.entry_id], idle=silent_ms, justid=True
    )


def _lose_all(streams: Streams) -> list[bytes]:
    entries = streams.inspector.scan_stream("tests", "0-0")
    streams.queues.remove_entries("tests", [entry.entry_id for entry in entries], [])
    return [entry.packed for entry in entries]


def _kinds(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.check, finding.severity) for finding in findings]


def _started(connection: Connection, streams: Streams, registry: Registry, *symbols: str) -> Run:
    streams.queues.ensure_groups(["tests"])
    return start_run(connection, streams, registry, "ledger_entry", *symbols)


def test_entries_waiting_pending_and_delayed_are_not_stranded(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, doctor: Doctor
) -> None:
    _serve(streams)
    start_run(connection, streams, registry, "snoozing", "A", parameters={"ready_at": 32503680000})
    consumer.work()
    _started(connection, streams, registry, "B", "C")
    streams.queues.read(["tests"], "somebody.1", 1, 1)
    streams.leases.remove_consumer("tests", "one")
    assert doctor.examine() == []
    streams.client.raw.delete(streams.keys.delayed("tests"))


def test_an_item_that_is_on_its_way_at_one_of_two_looks_is_not_stranded(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    doctor: Doctor,
    between: Callable[[Callable[[], object]], None],
) -> None:
    _serve(streams)
    run = _started(connection, streams, registry, "A", "B")
    away = _lose_all(streams)
    between(lambda: streams.queues.add("tests", run.id, away))
    assert doctor.examine() == []
    (first, second) = away

    def swap() -> None:
        _lose_all(streams)
        streams.queues.add("tests", run.id, [second])

    between(swap)
    _lose_all(streams)
    streams.queues.add("tests", run.id, [first])
    assert doctor.examine() == []


def test_an_item_that_is_done_between_the_looks_is_not_stranded(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    doctor: Doctor,
    between: Callable[[Callable[[], object]], None],
) -> None:
    _serve(streams)
    run = _started(connection, streams, registry, "A")
    held = consumer.read()
    streams.queues.remove_entries("tests", [held[0].entry_id], [])
    streams.leases.remove_consumer("tests", "one")
    between(lambda: consumer.execute(held))
    assert _kinds(doctor.examine()) == []
    assert run_status(connection, run) == "RUNNING"
    between(lambda: None)
    assert _kinds(doctor.repair(doctor.examine())) == [("open_run_without_open_items", WARNING)]
    assert run_status(connection, run) == "COMPLETED"


def test_what_only_the_second_look_sees_is_no_finding(
    streams: Streams, doctor: Doctor, between: Callable[[Callable[[], object]], None]
) -> None:
    def change() -> None:
        streams.queues.set_open_count("tests", 4242, 0)
        streams.queues.set_open_count("tests", 4243, 1)

    streams.queues.set_open_count("tests", 4242, 1)
    between(change)
    assert doctor.examine() == []
    between(lambda: None)
    assert [finding.where for finding in doctor.examine()] == ["run 4243"]


def test_a_run_that_is_being_enqueued_is_left_alone(
    connection: Connection, database_url: str, streams: Streams, registry: Registry, doctor: Doctor
) -> None:
    _serve(streams)
    run = _started(connection, streams, registry, "A")
    _lose_all(streams)
    with connect(database_url) as enqueuer:
        with ledger.enqueue_lock(enqueuer, run.id, wait=True):
            assert doctor.examine() == []
        stranded = doctor.examine()
        assert _kinds(stranded) == [("stranded_items", ERROR)]
        with ledger.enqueue_lock(enqueuer, run.id, wait=True):
            doctor.repair(stranded)
            assert streams.inspector.read_backlog("tests").waiting == 0
    assert _kinds(doctor.examine()) == [("stranded_items", ERROR)]


def test_entries_that_were_enqueued_again_meanwhile_are_not_added_twice(
    connection: Connection, streams: Streams, registry: Registry, doctor: Doctor
) -> None:
    _serve(streams)
    run = _started(connection, streams, registry, "A")
    packed = _lose_all(streams)
    stranded = doctor.examine()
    streams.queues.add("tests", run.id, packed)
    ledger.mark_enqueued(connection, run.id)
    doctor.repair(stranded)
    assert streams.inspector.read_backlog("tests").waiting == 1


def test_a_run_just_enqueued_is_not_examined(
    connection: Connection,
    pool: "ConnectionPool[Connection]",
    streams: Streams,
    registry: Registry,
    settings: Settings,
    doctor: Doctor,
) -> None:
    _serve(streams)
    _started(connection, streams, registry, "A")
    _lose_all(streams)
    relay = OutboxRelay(pool, streams, PoolMetrics())
    patient = settings.model_copy(update={"reconcile_seconds": 600.0})
    assert Doctor(connection, streams, registry, relay, patient).examine() == []
    assert _kinds(doctor.examine()) == [("stranded_items", ERROR)]


def test_an_enqueue_that_died_before_its_entries_is_finished(
    connection: Connection, streams: Streams, registry: Registry, doctor: Doctor
) -> None:
    _serve(streams)
    run = _started(connection, streams, registry, "A")
    _lose_all(streams)
    connection.execute("UPDATE runs SET enqueued_at = NULL")
    assert [finding.fixed for finding in doctor.repair(doctor.examine())] == [True]
    assert streams.inspector.read_backlog("tests").waiting == 1
    now = ledger.load_run(connection, run.id)
    assert now is not None
    assert now.is_enqueued


def test_a_long_list_of_stranded_items_is_added_page_by_page(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    doctor: Doctor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loss_check_module, "ADD_LIMIT", 4)
    monkeypatch.setattr(queue_entries_module, "_RUN_PAGE", 1)
    _serve(streams)
    runs = [_started(connection, streams, registry, *[f"S{n}" for n in range(count)]) for count in (10, 3)]
    _lose_all(streams)
    findings = doctor.repair(doctor.examine())
    assert [(finding.where, finding.fixed) for finding in findings] == [(f"run {run.id}", True) for run in runs]
    assert streams.inspector.read_backlog("tests").waiting == 13
    assert streams.inspector.read_open_counts("tests") == {runs[0].id: 10, runs[1].id: 3}


def test_entries_without_items_are_a_note_while_a_worker_reads_the_queue(
    connection: Connection, streams: Streams, registry: Registry, doctor: Doctor
) -> None:
    _started(connection, streams, registry, "A")
    streams.queues.add("tests", 1, [Entry(77, 0, "ledger_entry", "A", "", 1).pack()])
    assert ("entries_without_items", WARNING) in _kinds(doctor.examine())
    _serve(streams)
    (note,) = doctor.examine()
    assert (note.check, note.severity, note.is_wrong) == ("entries_without_items", NOTE, False)
    assert "normal while workers run" in note.what
    doctor.repair([note])
    assert streams.inspector.read_backlog("tests").waiting == 2


def test_orphans_are_left_to_a_worker_that_has_started_meanwhile(
    connection: Connection, streams: Streams, registry: Registry, doctor: Doctor
) -> None:
    _started(connection, streams, registry, "A")
    streams.queues.add("tests", 1, [b"rubbish"])
    found = doctor.examine()
    _serve(streams)
    doctor.repair(found)
    assert streams.inspector.read_backlog("tests").waiting == 2


def test_a_dead_consumer_whose_leases_run_is_left_to_the_reclaimer(
    connection: Connection, streams: Streams, registry: Registry, doctor: Doctor
) -> None:
    _serve(streams)
    _started(connection, streams, registry, "A")
    streams.queues.read(["tests"], "somebody.1", 1, 1)
    assert doctor.examine() == []
    streams.leases.requeue("tests", "somebody.1")
    _read_and_die(streams, 0)
    (running,) = doctor.examine()
    assert (running.severity, running.fix) == (NOTE, None)
    assert running.what.startswith("1 entries pending; the lease of 0 has expired")
    streams.heartbeats.end("somebody")
    alone = next(finding for finding in doctor.examine() if finding.check == "dead_consumer")
    assert (alone.severity, alone.fix) == (WARNING, None)


def test_entries_of_a_dead_consumer_whose_lease_ran_out_long_ago_are_put_back(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, doctor: Doctor
) -> None:
    _serve(streams)
    run = _started(connection, streams, registry, "A")
    _read_and_die(streams, 60_000)
    (finding,) = doctor.examine()
    assert (finding.check, finding.severity) == ("dead_consumer", WARNING)
    (repaired,) = doctor.repair([finding])
    assert repaired.fixed
    assert streams.inspector.read_consumers("tests") == {}
    consumer.work()
    assert run_status(connection, run) == "COMPLETED"


def test_a_live_supervisors_consumer_is_no_finding_and_a_dead_ones_without_entries_a_note(
    streams: Streams, doctor: Doctor
) -> None:
    streams.queues.ensure_groups(["tests"])
    for name in ("somebody.1", "gone.1"):
        streams.client.raw.xgroup_createconsumer(streams.keys.stream("tests"), "workers", name)
    _serve(streams)
    (note,) = doctor.examine()
    assert (note.where, note.severity) == ("consumer gone.1 of queue tests", NOTE)
    assert [finding.fixed for finding in doctor.repair([note])] == [True]
    assert streams.inspector.read_consumers("tests") == {"somebody.1": 0}


def test_a_stale_count_is_a_note_while_a_supervisor_forgets_it(
    connection: Connection, streams: Streams, registry: Registry, doctor: Doctor
) -> None:
    _serve(streams)
    run = _started(connection, streams, registry, "A")
    streams.queues.set_open_count("tests", 4242, 3)
    (note,) = doctor.examine()
    assert (note.check, note.severity) == ("stale_count", NOTE)
    doctor.repair([note])
    assert streams.inspector.read_open_counts("tests") == {run.id: 1}


def test_a_queue_that_only_the_ledger_knows_is_examined(
    connection: Connection, streams: Streams, registry: Registry, doctor: Doctor
) -> None:
    run = _started(connection, streams, registry, "A")
    _lose_all(streams)
    connection.execute("UPDATE runs SET queue = 'former' WHERE id = %s", (run.id,))
    assert ("stranded_items", ERROR) in _kinds(doctor.examine())
    streams.queues.set_open_count("tests", run.id, 0)


def test_the_worst_comes_first(connection: Connection, streams: Streams, registry: Registry, doctor: Doctor) -> None:
    _started(connection, streams, registry, "A")
    _read_and_die(streams, 60_000)
    assert [severity for _, severity in _kinds(doctor.examine())] == [ERROR, WARNING]
