"""`streamworkers doctor`: every kind of fault is made, found and repaired; a healthy pool has no finding."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from command_line import Run as Command
from consumer import Consumer
from harness import Supervisor, effects_of, run_status, running_supervisor, start_run, wait_for_end, wait_until
from streamworkers.admin import runs as operations
from streamworkers.admin.queues import pause_queue, resume_queue
from streamworkers.audit.seals import seal_ended
from streamworkers.database import Connection, connect
from streamworkers.diagnosis import doctor as doctor_module
from streamworkers.diagnosis.checks import CHECKS
from streamworkers.diagnosis.snapshot import Snapshot
from streamworkers.engine import ledger
from streamworkers.engine.ledger import Run
from streamworkers.engine.ledger.processes import ProcessRecord, forget_process, record_process
from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.redis.heartbeats import FaultStatus, SupervisorStatus, UndecidedItem, WorkerStatus
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.errors import RedisUnavailableError
from submitting import install_jobs, submit


@dataclass(frozen=True)
class Patient:
    """A pool without processes, to be made ill."""

    connection: Connection
    streams: Streams
    registry: Registry
    consumer: Consumer
    database_url: str
    stack: ExitStack  # what a fault holds open

    def start(self, *symbols: str) -> Run:
        """A run that was enqueued a minute ago."""
        self.streams.queues.ensure_groups(["tests"])
        run = start_run(self.connection, self.streams, self.registry, "ledger_entry", *symbols)
        self.connection.execute("UPDATE runs SET enqueued_at = created_at - interval '1 min' WHERE id = %s", (run.id,))
        return run

    def pretend_to_serve(self) -> None:
        """Write a heartbeat of a supervisor that reads the queue."""
        self.streams.heartbeats.beat("somebody", SupervisorStatus(queues=["tests"], workers=[WorkerStatus()]), 600_000)

    def lose_entries(self, count: int) -> list[bytes]:
        """Take the first entries out of the stream; their payloads."""
        entries = self.streams.inspector.scan_stream("tests", "0-0")[:count]
        self.streams.queues.remove_entries("tests", [entry.entry_id for entry in entries], [])
        return [entry.packed for entry in entries]

    def change_run(self, run: Run, change: str) -> None:
        """Write into a run's row by hand."""
        self.connection.execute(f"UPDATE runs SET {change} WHERE id = {run.id}")


@pytest.fixture
def bars(connection: Connection) -> None:
    """Bars of today, without which something is always wrong."""
    connection.execute(
        "INSERT INTO ohlcv_daily VALUES ('A', (now() AT TIME ZONE 'America/New_York')::date, 1, 1, 1, 1, 1)"
    )


@pytest.fixture
def patient(
    bars: None, connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, database_url: str
) -> Iterator[Patient]:
    """A healthy pool: there are bars, and a worker of another queue."""
    streams.heartbeats.beat("elsewhere", SupervisorStatus(queues=["bench"], workers=[WorkerStatus()]), 600_000)
    with ExitStack() as stack:
        yield Patient(connection, streams, registry, consumer, database_url, stack)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second look follows at once: nothing moves while a patient without processes is examined."""
    monkeypatch.setattr(doctor_module, "SECOND_LOOK_SECONDS", 0.0)


def _strand(patient: Patient) -> None:
    patient.pretend_to_serve()
    patient.start("A", "B", "C")
    patient.lose_entries(2)


def _add_orphans(patient: Patient) -> None:
    run = patient.start("A", "B")
    packed = [entry.packed for entry in patient.streams.inspector.scan_stream("tests", "0-0")]
    patient.consumer.work()
    patient.streams.leases.remove_consumer("tests", "one")
    stranger = Entry(77, 0, "ledger_entry", "A", "", 1).pack()
    patient.streams.queues.add("tests", run.id, [*packed, stranger, b"\xc1"])
    patient.streams.queues.set_open_count("tests", run.id, 0)
    patient.streams.client.raw.zadd(patient.streams.keys.delayed("tests"), {b"delayed rubbish": 32503680000000})


def _leave_a_consumer(patient: Patient) -> None:
    patient.start("A")
    patient.consumer.work()


def _lose_the_group(patient: Patient) -> None:
    patient.pretend_to_serve()
    patient.start("A")
    patient.streams.client.raw.xgroup_destroy(patient.streams.keys.stream("tests"), "workers")


def _have_no_reader(patient: Patient) -> None:
    patient.start("A")


def _drain_the_workers(patient: Patient) -> None:
    patient.start("A")
    patient.streams.heartbeats.beat("somebody", SupervisorStatus(drained_queues=["tests"], state="drained"), 600_000)


def _forget_to_complete(patient: Patient) -> None:
    run = patient.start("A")
    patient.lose_entries(1)
    patient.connection.execute("UPDATE run_items SET status = 'completed' WHERE run_id = %s", (run.id,))


def _end_too_early(patient: Patient) -> None:
    patient.pretend_to_serve()
    for state in ("COMPLETED", "CANCELLED"):
        run = patient.start("A", "B")
        patient.lose_entries(2)
        patient.streams.queues.set_open_count("tests", run.id, 0)
        patient.change_run(run, f"status = '{state}', completed_at = now(), cancelled_count = 0")


def _count_what_is_not(patient: Patient) -> None:
    patient.streams.queues.set_open_count("tests", 4242, 5)


def _keep_events(patient: Patient) -> None:
    patient.connection.execute(
        "INSERT INTO outbox (channel, payload, created_at)"
        " SELECT 'tests.x', '{}', now() - interval '2 min' FROM generate_series(1, 1200)"
    )


def _submit_without_a_preparer(patient: Patient) -> None:
    install_jobs(patient.connection, patient.registry)
    submit(patient.connection, "ledger_entry", symbols=["A"])
    patient.connection.execute("UPDATE runs SET created_at = created_at - interval '2 minutes'")


def _uninstall_the_job(patient: Patient) -> None:
    patient.pretend_to_serve()
    run = patient.start("A")
    patient.change_run(run, "job = 'gone'")


def _uninstall_the_queue(patient: Patient) -> None:
    patient.streams.queues.ensure_groups(["nowhere"])
    patient.streams.queues.add("nowhere", 77, [Entry(77, 0, "gone", "A", "", 1).pack()])
    patient.streams.queues.set_open_count("nowhere", 77, 0)


def _leak_a_lease(patient: Patient) -> None:
    patient.streams.client.raw.set(patient.streams.keys.service_lease("promoter:x"), "somebody")


def _stop_promoting(patient: Patient) -> None:
    patient.pretend_to_serve()
    patient.start("A")
    (packed,) = patient.lose_entries(1)
    patient.streams.client.raw.zadd(patient.streams.keys.delayed("tests"), {packed: 1})


def _hold_sealing_up(patient: Patient) -> None:
    """A transaction that writes stays open; it is the oldest of the server when this returns."""
    holder = patient.stack.enter_context(connect(patient.database_url, application="forgetful"))
    holder.execute("BEGIN; SELECT pg_current_xact_id()")
    patient.connection.execute(
        "INSERT INTO audit_log (at, actor_kind, actor_user, action, object_type, object_id, outcome)"
        " VALUES (now() - interval '1 h', 'cli', 'ann', 'run.cancel', 'run', '1', 'ok')"
    )
    oldest = "SELECT pg_snapshot_xmin(pg_current_snapshot()) = pg_current_xact_id_if_assigned()"
    wait_until(lambda: holder.execute(oldest).fetchone() == (True,), what="older transactions have ended")


def _let_it_be_sealed(patient: Patient) -> None:
    patient.stack.close()
    wait_until(lambda: seal_ended(patient.connection) is not None, what="the row is sealed")


def _stop_all_workers(patient: Patient) -> None:
    patient.streams.heartbeats.end("elsewhere")


def _make_workers_hold(patient: Patient) -> None:
    """A worker whose reads are rejected, and one whose database has been away for long; a third waits since now."""
    now = time.time()
    holds = [
        FaultStatus("one", "redis", "rejected", "Redis rejects: NOPERM", now),
        FaultStatus("two", "postgresql", "away", "PostgreSQL does not answer", now - 3600),
        FaultStatus("three", "redis", "away", "Redis does not answer", now + 3600),
    ]
    workers = [WorkerStatus(hold=hold) for hold in holds]
    patient.streams.heartbeats.beat("elsewhere", SupervisorStatus(queues=["bench"], workers=workers), 600_000)


def _leave_an_item_undecided(patient: Patient) -> None:
    item = UndecidedItem("bench", "noop", 7, 3, "AAPL", 3, "OperationalError: away")
    workers = [WorkerStatus("elsewhere.1", undecided=[item])]
    patient.streams.heartbeats.beat("elsewhere", SupervisorStatus(queues=["bench"], workers=workers), 600_000)


def _stop_loops(patient: Patient) -> None:
    fault = FaultStatus("promoter", "redis", "full", "Redis is full: OOM", time.time())
    status = SupervisorStatus(queues=["bench"], workers=[WorkerStatus()], faults=[fault])
    patient.streams.heartbeats.beat("elsewhere", status, 600_000)


def _let_a_loop_fail(patient: Patient) -> None:
    failure = FaultStatus("reconciler", "", "error", "KeyError: 'junk'", time.time() - 90)
    status = SupervisorStatus(queues=["bench"], workers=[WorkerStatus()], failing=[failure])
    patient.streams.heartbeats.beat("elsewhere", status, 600_000)


def _leave_metrics_unread(patient: Patient) -> None:
    """A scrape that is rejected; one for which a store was away is none of the doctor's."""
    faults = [
        FaultStatus("collector queues", "redis", "rejected", "Redis rejects: NOPERM", time.time()),
        FaultStatus("collector postgresql", "postgresql", "away", "PostgreSQL does not answer", time.time() - 3600),
    ]
    status = SupervisorStatus(queues=["bench"], workers=[WorkerStatus()], scrape_faults=faults)
    patient.streams.heartbeats.beat("elsewhere", status, 600_000)


def _start_a_worker(patient: Patient) -> None:
    patient.streams.heartbeats.beat("elsewhere", SupervisorStatus(queues=["bench"], workers=[WorkerStatus()]), 600_000)


def _let_an_item_wait(patient: Patient) -> None:
    patient.pretend_to_serve()
    patient.start("A")
    (packed,) = patient.lose_entries(1)
    patient.streams.client.raw.delete(patient.streams.keys.stream("tests"))
    patient.streams.client.raw.xadd(patient.streams.keys.stream("tests"), {"p": packed}, id="1-1")
    patient.streams.queues.ensure_groups(["tests"])


def _fail_items(patient: Patient) -> None:
    run = patient.start("A")
    patient.lose_entries(1)
    patient.streams.queues.set_open_count("tests", run.id, 0)
    patient.connection.execute("UPDATE run_items SET status = 'failed'")
    patient.change_run(run, "status = 'FAILED', failed_count = 1, completed_count = 0, completed_at = now()")


def _leave_symbols_stale(patient: Patient) -> None:
    patient.connection.execute(
        "INSERT INTO runs (job, queue, target, timeframe, as_of, parameters, item_count, max_attempts, status,"
        " completed_count, failed_count, stale_count, completed_at)"
        " VALUES ('indicators', 'analysis', 'u', 'day', now(), '{\"max_stale\": 0.5}', 3, 1, 'COMPLETED_WITH_ERRORS',"
        " 3, 0, 2, now())"
    )


def _add_a_schedule(patient: Patient) -> None:
    patient.connection.execute(
        "INSERT INTO schedules (name, job, target, cron) VALUES ('s', 'noop', '{\"symbols\": [\"A\"]}', '@daily')"
    )


def _break_a_schedule(patient: Patient) -> None:
    _add_a_schedule(patient)
    patient.connection.execute("UPDATE schedules SET problem = 'no such zone'")


def _pause_a_link(patient: Patient) -> None:
    _add_a_schedule(patient)
    patient.connection.execute(
        "INSERT INTO schedules (name, job, target, cron, after) SELECT 't', job, target, cron, 's' FROM schedules"
    )
    patient.connection.execute("UPDATE schedules SET enabled = false WHERE name = 's'")


def _miss_a_tick(patient: Patient) -> None:
    _add_a_schedule(patient)
    patient.connection.execute(
        "INSERT INTO ticks (schedule_id, scheduled_for, session, state)"
        " SELECT id, now(), now(), 'missed' FROM schedules"
    )


def _lose_ticks(patient: Patient) -> None:
    _add_a_schedule(patient)
    patient.connection.execute("UPDATE schedules SET unaccounted_ticks = 2")


def _leave_a_tick(patient: Patient) -> None:
    _add_a_schedule(patient)
    patient.connection.execute("UPDATE schedules SET due_at = now() - interval '2 min'")


def _lose_bars(patient: Patient) -> None:
    patient.connection.execute("DELETE FROM ohlcv_daily")


def _load_bars(patient: Patient) -> None:
    patient.connection.execute(
        "INSERT INTO ohlcv_daily VALUES ('A', (now() AT TIME ZONE 'America/New_York')::date, 1, 1, 1, 1, 1)"
    )


def _freeze(patient: Patient, kind: str) -> None:
    process = ProcessRecord("host-7-abc", kind, "host", 7, "0.2.0", datetime.now(UTC), {})
    record_process(patient.connection, process)
    patient.connection.execute("UPDATE processes SET seen_at = seen_at - interval '1 minute'")


def _turn_the_bot_away(patient: Patient) -> None:
    doing = {"polls": False, "error": "Telegram answered 409: Conflict", "conflict_seconds": 70}
    record_process(
        patient.connection, ProcessRecord("host-7-abc", "telegram", "host", 7, "0.2.0", datetime.now(UTC), doing)
    )


def _share_messages(patient: Patient) -> None:
    doing = {"shared_messages": ["tickstock.jobs.data_load.stream (elsewhere-7-xyz)"]}
    record_process(
        patient.connection, ProcessRecord("host-7-abc", "scheduler", "host", 7, "0.2.0", datetime.now(UTC), doing)
    )


def _kill(patient: Patient) -> None:
    forget_process(patient.connection, "host-7-abc")


def _pause_the_queue(patient: Patient) -> None:
    patient.start("A")
    patient.pretend_to_serve()
    pause_queue(patient.connection, patient.streams, "tests", "a test")


FAULTS: dict[str, Callable[[Patient], None]] = {
    "leaked_key": _leak_a_lease,
    "audit_unsealed": _hold_sealing_up,
    "no_worker": _stop_all_workers,
    "worker_holds": _make_workers_hold,
    "store_fault": _stop_loops,
    "failing_loop": _let_a_loop_fail,
    "scrape_fault": _leave_metrics_unread,
    "unread_queue": _have_no_reader,
    "drained_queue": _drain_the_workers,
    "unknown_queue": _uninstall_the_queue,
    "silent_supervisor": partial(_freeze, kind="supervisor"),
    "silent_bot": partial(_freeze, kind="telegram"),
    "bot_without_updates": _turn_the_bot_away,
    "dead_consumer": _leave_a_consumer,
    "old_items": _let_an_item_wait,
    "paused_queue": _pause_the_queue,
    "overdue_delayed": _stop_promoting,
    "missing_group": _lose_the_group,
    "stranded_items": _strand,
    "entries_without_items": _add_orphans,
    "failure_rate": _fail_items,
    "stale_run": _leave_symbols_stale,
    "undecided_item": _leave_an_item_undecided,
    "open_run_without_open_items": _forget_to_complete,
    "unprepared_run": _submit_without_a_preparer,
    "ended_run_with_open_items": _end_too_early,
    "stale_count": _count_what_is_not,
    "unknown_job": _uninstall_the_job,
    "schedule_problem": _break_a_schedule,
    "paused_link": _pause_a_link,
    "missed_ticks": _miss_a_tick,
    "overdue_ticks": _leave_a_tick,
    "unaccounted_ticks": _lose_ticks,
    "shared_messages": _share_messages,
    "silent_scheduler": partial(_freeze, kind="scheduler"),
    "outbox_backlog": _keep_events,
    "stale_bars": _lose_bars,
}
BY_HAND: dict[str, Callable[[Patient], object]] = {
    "audit_unsealed": _let_it_be_sealed,
    "no_worker": _start_a_worker,
    "worker_holds": _start_a_worker,
    "store_fault": _start_a_worker,
    "failing_loop": _start_a_worker,
    "scrape_fault": _start_a_worker,
    "undecided_item": _start_a_worker,
    "unread_queue": Patient.pretend_to_serve,
    "drained_queue": Patient.pretend_to_serve,
    "paused_queue": lambda patient: resume_queue(patient.connection, patient.streams, "tests"),
    "old_items": lambda patient: patient.consumer.work(),
    "failure_rate": lambda patient: patient.connection.execute("UPDATE runs SET completed_at = now() - interval '2 d'"),
    "stale_run": lambda patient: patient.connection.execute("UPDATE runs SET stale_count = 1"),
    "unprepared_run": lambda patient: operations.cancel(patient.connection, patient.streams, 1),
    "unknown_job": lambda patient: operations.cancel(patient.connection, patient.streams, 1),
    "schedule_problem": lambda patient: patient.connection.execute("UPDATE schedules SET problem = NULL"),
    "paused_link": lambda patient: patient.connection.execute("UPDATE schedules SET enabled = true"),
    "missed_ticks": lambda patient: patient.connection.execute("DELETE FROM ticks"),
    "overdue_ticks": lambda patient: patient.connection.execute("UPDATE schedules SET due_at = NULL"),
    "unaccounted_ticks": lambda patient: patient.connection.execute("UPDATE schedules SET unaccounted_ticks = 0"),
    "stale_bars": _load_bars,
    "silent_supervisor": _kill,
    "silent_bot": _kill,
    "bot_without_updates": _kill,
    "shared_messages": _kill,
    "silent_scheduler": _kill,
}
# The servers are shared by all tests, so what they report is made up.
SERVER_STATES = {
    "redis_persistence": ("redis_state", {"aof_last_write_status": "err"}),
    "redis_memory": ("redis_state", {"maxmemory": 100, "maxmemory_policy": "noeviction", "used_memory": 90}),
    "redis_eviction": ("redis_state", {"maxmemory": 100, "maxmemory_policy": "allkeys-lru", "used_memory": 50}),
    "postgresql_connections": ("database_state", {"connections": 99, "max_connections": 100}),
}


def test_every_check_has_a_fault_here() -> None:
    others = {"redis_unavailable", "postgresql_read_only", "foreign_scheduler"}
    others |= {"blind_alerts"}  # in tests/integration/scheduler/test_alert_blindness.py
    others |= {"undecided_alerts"}  # in tests/integration/scheduler/test_alert_runs.py
    others |= {name for name, check in CHECKS.items() if check.component == "notifications"}  # test_notification_checks
    others |= {"redis_clock", "postgresql_clock"}  # in tests/faults/test_clock_faults.py
    assert {*FAULTS, *SERVER_STATES, *others} == set(CHECKS)
    assert list(FAULTS) == [name for name in CHECKS if name in FAULTS]


@pytest.mark.usefixtures("no_pause", "patient")
@pytest.mark.parametrize("kind", SERVER_STATES)
def test_what_a_server_reports_is_found(kind: str, cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    name, state = SERVER_STATES[kind]
    read = getattr(Snapshot, name).func
    monkeypatch.setattr(Snapshot, name, property(lambda snapshot: read(snapshot) | state))
    found = cli("doctor", "--json")
    assert (found.code, [row["kind"] for row in found.json]) == (1, [kind])
    assert cli("status").code == 1


@pytest.mark.usefixtures("no_pause", "patient")
def test_a_server_that_takes_no_writes_is_found(cli: Command, database_url: str) -> None:
    with connect(database_url) as connection:
        row = connection.execute("SELECT current_database()").fetchone()
        assert row is not None
        connection.execute(f"ALTER DATABASE {row[0]} SET default_transaction_read_only = on")
    found = cli("doctor", "--json")
    assert (found.code, [row["kind"] for row in found.json]) == (1, ["postgresql_read_only"])
    assert cli("status").code == 1


@pytest.mark.usefixtures("no_pause", "patient")
def test_a_redis_that_rejects_writes_is_found(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def reject(*_: object) -> bool:
        raise RedisUnavailableError("Redis rejects: OOM")

    monkeypatch.setattr(Streams, "probe_write", reject)
    found = cli("doctor", "--json")
    assert (found.code, [row["kind"] for row in found.json]) == (1, ["redis_unavailable"])
    assert "redis: Redis rejects: OOM" in cli("status").out


@pytest.mark.usefixtures("no_pause", "patient")
def test_another_distribution_with_a_package_scheduler_is_found(
    cli: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "scheduler-0.8.8.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: scheduler\n")
    (other / "RECORD").write_text("scheduler/__init__.py,sha256=x,9\nscheduler-0.8.8.dist-info/METADATA,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = cli("doctor", "--json")
    assert (found.code, [row["kind"] for row in found.json]) == (1, ["foreign_scheduler"])
    assert found.json[0]["where"] == "distribution scheduler"


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize("kind", [name for name in FAULTS if CHECKS[name].is_cheap])
def test_status_shows_what_doctor_finds(kind: str, patient: Patient, cli: Command) -> None:
    assert cli("status").code == 0
    FAULTS[kind](patient)
    answer = cli("status", "--json")
    assert answer.code == 1
    assert kind in [row["kind"] for row in answer.json["findings"]]
    states = {row["component"]: row["status"] for row in answer.json["components"]}
    assert states[CHECKS[kind].component] == {"warning": "degraded", "error": "critical"}[CHECKS[kind].severity]


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_found_and_repaired_and_then_all_is_well(kind: str, patient: Patient, cli: Command) -> None:
    assert cli("doctor").code == 0
    FAULTS[kind](patient)
    found = cli("doctor", "--json")
    assert found.code == 1
    assert kind in [row["kind"] for row in found.json]
    assert not any(row["fixed"] for row in found.json)
    assert cli("doctor", "--json").json == found.json

    repaired = cli("doctor", "--fix", "--json")
    if kind in BY_HAND:
        assert repaired.code == 1
        BY_HAND[kind](patient)
    else:
        assert [row["fixed"] for row in repaired.json if row["kind"] == kind] == [True] * len(
            [row for row in found.json if row["kind"] == kind]
        )
        assert repaired.code == 0, repaired
    well = cli("doctor", "--json")
    assert (well.code, [row for row in well.json if row["severity"] != "note"]) == (0, [])


@pytest.mark.usefixtures("no_pause")
def test_a_finding_says_how_many_workers_hold_since_when_and_why(patient: Patient, cli: Command) -> None:
    _make_workers_hold(patient)
    found = [row["what"] for row in cli("doctor", "--json").json]
    assert [re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "T", what) for what in found] == [
        "1 of 3 workers hold since T UTC: Redis rejects: NOPERM",
        "1 of 3 workers hold since T UTC: PostgreSQL does not answer",
    ]
    assert re.search(r"elsewhere +3 +0 +3 +bench", cli("status").out)
    _stop_loops(patient)
    (what,) = (row["what"] for row in cli("doctor", "--json").json)
    assert re.fullmatch(r"promoter cannot work since .* UTC: Redis is full: OOM", what)


@pytest.mark.usefixtures("no_pause")
def test_the_transaction_that_holds_sealing_up_is_named(patient: Patient, cli: Command) -> None:
    _hold_sealing_up(patient)
    (row,) = cli("doctor", "--json").json
    assert row["where"] == "audit log"
    assert re.fullmatch(
        r"changes since \S+ \S+ UTC are not sealed: the transaction of session \d+"
        r" \(login \w+, program forgetful, open since \S+ \S+ UTC\) holds sealing up",
        row["what"],
    )


@pytest.mark.usefixtures("no_pause", "patient")
def test_a_fault_that_stops_a_scheduler_is_found_in_its_heartbeat(connection: Connection, cli: Command) -> None:
    # By the clock of another host: how long the command takes makes no difference.
    began = (datetime.now(UTC) + timedelta(minutes=1)).timestamp()
    passing = {"who": "ticker", "store": "redis", "kind": "away", "text": "Redis does not answer", "since": began}
    lasting = {"who": "stream-listener", "store": "redis", "kind": "rejected", "text": "Redis rejects: NOPERM"}
    doing = {"starts": ["ticks"], "faults": [passing, lasting | {"since": time.time() - 5}]}
    process = ProcessRecord("host-7-abc", "scheduler", "host", 7, "0.2.0", datetime.now(UTC), doing)
    record_process(connection, process)
    (row,) = cli("doctor", "--json").json
    assert (row["kind"], row["where"]) == ("store_fault", "scheduler host-7-abc")
    assert re.fullmatch(r"stream-listener cannot work since .* UTC: Redis rejects: NOPERM", row["what"])
    shown = cli("status", "--json").json["processes"]
    assert [each["doing"] for each in shown if each["name"] == "host-7-abc"] == [
        "ticks; ticker: Redis does not answer; stream-listener: Redis rejects: NOPERM"
    ]
    connection.execute("UPDATE processes SET seen_at = seen_at - interval '1 minute'")  # silent: the fault may be over
    assert [row["kind"] for row in cli("doctor", "--json").json] == ["silent_scheduler"]


@pytest.mark.usefixtures("no_pause")
def test_what_was_stranded_is_done_once_and_the_count_is_right(patient: Patient, cli: Command) -> None:
    _strand(patient)
    assert cli("doctor", "--fix").code == 0
    assert patient.streams.inspector.read_open_counts("tests") == {1: 3}
    assert cli("doctor", "--fix").out == "all is well\n"
    assert patient.streams.inspector.read_backlog("tests").waiting == 3
    patient.consumer.work()
    assert patient.connection.execute("SELECT symbol FROM effects ORDER BY 1").fetchall() == [("A",), ("B",), ("C",)]
    assert patient.connection.execute("SELECT status FROM runs").fetchall() == [("COMPLETED",)]


@pytest.mark.usefixtures("no_pause")
def test_what_belongs_to_no_run_is_kept_and_what_belongs_to_an_open_item_stays(patient: Patient, cli: Command) -> None:
    _add_orphans(patient)
    patient.start("STAYS")
    answer = cli("doctor", "--fix", "--json")
    assert answer.code == 1
    assert [row["kind"] for row in answer.json if not row["fixed"]] == ["unread_queue"]
    assert [b"STAYS" in entry.packed for entry in patient.streams.inspector.scan_stream("tests", "0-0")] == [True]
    assert patient.streams.inspector.read_backlog("tests").delayed == 0
    rows = patient.connection.execute("SELECT payload FROM rejected_entries ORDER BY id").fetchall()
    assert sorted(row[0] for row in rows) == sorted(
        [b"delayed rubbish", Entry(77, 0, "ledger_entry", "A", "", 1).pack(), b"\xc1"]
    )


@pytest.mark.usefixtures("no_pause")
def test_a_run_that_ended_too_early_is_opened_and_enqueued_and_a_cancelled_one_stays_so(
    patient: Patient, cli: Command
) -> None:
    _end_too_early(patient)
    assert cli("doctor", "--fix").code == 0
    states = patient.connection.execute("SELECT status, cancelled_count FROM runs ORDER BY id").fetchall()
    assert states == [("RUNNING", None), ("CANCELLED", 2)]
    assert patient.streams.inspector.read_backlog("tests").waiting == 2
    patient.consumer.work()
    assert patient.connection.execute("SELECT status FROM runs WHERE id = 1").fetchone() == ("COMPLETED",)


@pytest.mark.usefixtures("no_pause")
def test_an_unknown_key_is_named_and_left_alone(patient: Patient, cli: Command) -> None:
    key = f"{patient.streams.keys.prefix}:something"
    patient.streams.client.raw.set(key, "x")
    answer = cli("doctor", "--fix", "--json")
    assert answer.code == 1
    (row,) = answer.json
    assert (row["kind"], row["where"], row["fixed"]) == ("leaked_key", f"key {key}", False)
    assert row["advice"] == CHECKS["leaked_key"].by_hand
    patient.streams.client.raw.delete(key)
    assert cli("doctor").code == 0


@pytest.mark.usefixtures("no_pause")
def test_the_table_says_what_is_wrong_and_what_fix_would_do(patient: Patient, cli: Command) -> None:
    patient.streams.queues.set_open_count("tests", 4242, 5)
    lines = cli("doctor").out.splitlines()
    assert lines[0].split() == ["severity", "kind", "where", "fixed", "what"]
    assert lines[1].split()[:5] == ["warning", "stale_count", "run", "4242", "no"]
    assert lines[1].endswith("Redis counts 5 open items of it in queue tests (--fix: deletes the count)")
    assert cli("doctor", "--fix").out.splitlines()[1].endswith("(done: deletes the count)")
    assert cli("doctor").out == "all is well\n"


def test_a_service_that_is_away_is_exit_code_3(cli: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("STREAMWORKERS_REDIS_URL", f"unix://{tmp_path}/none.sock")
        answer = cli("doctor", "--fix")
        assert (answer.code, answer.out) == (3, "")
        assert answer.err.startswith("Error: Redis does not answer")
    monkeypatch.setenv("STREAMWORKERS_DATABASE_URL", f"postgresql://x@/x?host={tmp_path}")
    answer = cli("doctor", "--json")
    assert (answer.code, answer.out) == (3, "")
    assert answer.err.startswith("Error: PostgreSQL does not answer")


@pytest.mark.usefixtures("bars")
def test_a_busy_pool_in_health_is_well_ten_times_in_a_row(
    worker: Supervisor, connection: Connection, streams: Streams, registry: Registry, cli: Command
) -> None:
    symbols = [f"S{number:05}" for number in range(20_000)]
    long_run = start_run(connection, streams, registry, "ledger_entry", *symbols, parameters={"milliseconds": 20.0})
    start_run(connection, streams, registry, "flaky", *symbols[:2000])
    wait_until(lambda: ledger.count_items(connection, long_run).get("completed", 0) > 0, 60, "the run is under way")
    for _ in range(10):
        answer = cli("doctor", "--json")
        assert (answer.code, [row for row in answer.json if row["severity"] != "note"]) == (0, [])
    assert run_status(connection, long_run) == "RUNNING"
    operations.cancel(connection, streams, long_run.id)
    assert worker.events("worker_ended") == []


@pytest.mark.usefixtures("bars")
def test_a_queue_is_unread_until_a_worker_starts(
    environment: dict[str, str],
    connection: Connection,
    streams: Streams,
    registry: Registry,
    cli: Command,
    tmp_path: Path,
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B")
    first = cli("doctor", "--json")
    assert (first.code, {row["kind"] for row in first.json}) == (1, {"no_worker", "unread_queue", "missing_group"})
    with running_supervisor(environment, tmp_path, "--processes", "1") as supervisor:
        assert wait_for_end(connection, run) == "COMPLETED"
        wait_until(lambda: cli("doctor").code == 0, what="all is well")
        assert supervisor.stop() == 0
    last = cli("doctor", "--json")
    assert (last.code, [row["kind"] for row in last.json]) == (1, ["no_worker"])
    assert effects_of(connection, run) == ["A", "B"]


@pytest.mark.usefixtures("bars")
def test_doctor_fix_beside_a_pool_at_work_doubles_nothing(
    worker: Supervisor, connection: Connection, streams: Streams, registry: Registry, cli: Command
) -> None:
    symbols = [f"S{number:04}" for number in range(600)]
    run = start_run(connection, streams, registry, "ledger_entry", *symbols, parameters={"milliseconds": 10.0})
    wait_until(lambda: ledger.count_items(connection, run).get("completed", 0) > 0, 60, "the run is under way")
    answers = []
    while run_status(connection, run) == "RUNNING":
        answers.append(cli("doctor", "--fix").code)
    assert wait_for_end(connection, run) == "COMPLETED"
    assert set(answers) == {0}
    assert effects_of(connection, run) == symbols
    assert worker.events("items_added_again") == []
