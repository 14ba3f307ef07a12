"""`streamworkers workers`: who the supervisors are, what their workers do, and what is ordered."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from command_line import Run
from harness import Supervisor, running_supervisor, wait_until
from patience import patient
from streamworkers.admin import workers as admin
from streamworkers.audit.listing import AuditFilter, list_audit
from streamworkers.database import Connection
from streamworkers.engine.ledger.orders import close_order, list_orders, take_orders
from streamworkers.engine.ledger.processes import ProcessRecord, forget_process, record_process
from streamworkers.engine.redis.heartbeats import CallStatus, FaultStatus, SupervisorStatus, WorkerStatus
from streamworkers.engine.redis.streams import Streams

STARTED = datetime(2026, 11, 27, 15, 0, tzinfo=UTC)
DOING = {"mode": "running", "queues": ["analysis", "load"], "wanted": 4, "ready": 4, "busy": 2}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody takes the orders of most tests here."""
    monkeypatch.setattr(admin, "TAKE_SECONDS", 0.0)


def _record(connection: Connection, name: str, **doing: object) -> None:
    record_process(connection, ProcessRecord(name, "supervisor", "desk", 7, "0.2.0", STARTED, {**DOING, **doing}))


def test_supervisors_are_listed_with_their_state_and_workers(cli: Run, connection: Connection) -> None:
    assert cli("workers", "list").out == "no supervisor runs: streamworkers worker\n"
    _record(connection, "desk-7-a")
    _record(connection, "desk-8-b", mode="drained", ready=0, busy=0)
    _record(connection, "desk-9-c")
    connection.execute("UPDATE processes SET seen_at = now() - interval '5 minutes' WHERE id = 'desk-9-c'")
    record_process(connection, ProcessRecord("desk-6-s", "scheduler", "desk", 6, "0.2.0", STARTED, {}))
    answer = cli("workers", "drain", "desk-8-b", "--reason", "new disk", "--json")
    (row,) = answer.json
    close_order(connection, row["order"], "done")

    rows = {row["supervisor"]: row for row in cli("workers", "list", "--json").json}
    assert {name: (row["state"], row["ready"]) for name, row in rows.items()} == {
        "desk-7-a": ("running", 4),
        "desk-8-b": ("drained", 0),
        "desk-9-c": ("silent", 4),
    }
    assert rows["desk-8-b"]["order"] == "drain by local: new disk"
    lines = cli("workers", "list").out.splitlines()
    assert lines[0].split() == [
        *("supervisor", "host", "pid", "release", "started", "seen", "state", "wanted", "ready", "busy", "queues"),
        "order",
    ]
    assert lines[2].endswith("drain by local: new disk")


def test_a_supervisor_is_shown_with_what_each_worker_executes_since_when(
    cli: Run, connection: Connection, streams: Streams
) -> None:
    _record(connection, "desk-7-a")
    assert cli("workers", "show", "desk-7-a").out.endswith("no report of its workers in Redis\n")
    now_ms = streams.inspector.read_clock_ms()
    call = CallStatus("analysis", "indicators", 40, "1-0", "1-9", 970.0, 60.0)
    hold = FaultStatus("desk-7-a.2", "redis", "away", "Redis is away", 1.0)
    workers = [
        WorkerStatus("desk-7-a.1", 71, ["analysis"], True, None, [], True, False, call),
        WorkerStatus("desk-7-a.2", 72, ["analysis"], True, hold, [], True, True),
        WorkerStatus("desk-7-a.3", 73, ["load"], is_ready=True),
        WorkerStatus("desk-7-a.4", 74, ["load"], is_stopping=True),
        WorkerStatus("desk-7-a.5", 75, ["load"]),
    ]
    status = SupervisorStatus(workers=workers, faults=[hold], written_at=1000.0, written_ms=now_ms)
    streams.heartbeats.beat("desk-7-a", status, 60_000)
    shown = cli("workers", "show", "desk-7-a", "--json").json
    states = [row["state"] for row in shown["workers"]]
    assert states == ["busy", "finishing", "idle", "ending", "starting"]
    first = shown["workers"][0]
    assert (first["job"], first["items"], first["limit_seconds"]) == ("indicators", 40, 60.0)
    assert abs(datetime.fromisoformat(first["since"]).timestamp() - (now_ms / 1000 - 30)) < 0.01
    text = cli("workers", "show", "desk-7-a").out
    assert "supervisor desk-7-a: running, last seen " in text
    assert "workers: 4 wanted, 4 ready, 2 busy; queues: analysis load" in text
    assert "fault: desk-7-a.2: Redis is away" in text
    streams.heartbeats.end("desk-7-a")


def test_what_nobody_takes_is_unknown_and_a_later_order_replaces_it(cli: Run, connection: Connection) -> None:
    _record(connection, "desk-7-a")
    answer = cli("workers", "drain", "desk-7-a")
    assert answer.code == 1
    assert answer.out.splitlines()[1].split(maxsplit=3) == [
        *("desk-7-a", "drain", "unknown"),
        "the supervisor has not taken the order, last seen 0 s ago",
    ]
    assert cli("workers", "resize", "desk-7-a", "3", "--json").json[0]["answer"] == "unknown"
    (stop,) = cli("workers", "stop", "desk-7-a", "--json").json
    orders = {order.action: order for order in list_orders(connection, "desk-7-a", 5)}
    assert {action: order.outcome for action, order in orders.items()} == {
        "drain": "replaced",
        "resize": None,
        "stop": None,
    }
    take_orders(connection, [stop["order"]])
    assert _text(cli, connection, stop["order"]) == ("pending", "2 workers finish their batches")
    answer = cli("workers", "stop", "--all", "--wait", "0", "--json")
    assert (answer.code, answer.json[0]["answer"]) == (1, "unknown")
    take_orders(connection, [answer.json[0]["order"]])
    connection.execute("UPDATE processes SET seen_at = now() - interval '100 s'")
    assert _text(cli, connection, answer.json[0]["order"]) == (
        "unknown",
        "the supervisor took the order and is silent, last seen 100 s ago",
    )
    forget_process(connection, "desk-7-a", "it was not seen for an hour")
    assert _text(cli, connection, answer.json[0]["order"]) == (
        "no",
        "the supervisor is gone: it was not seen for an hour",
    )
    rows = list_audit(connection, AuditFilter(object_type="process"), 10)
    assert [row["action"] for row in reversed(rows)] == ["worker.drain", "worker.resize", *["worker.stop"] * 2]
    assert rows[0]["before"] == {"state": "running", "processes": 4}


def _text(cli: Run, connection: Connection, order: int) -> tuple[str, str]:
    """What is said of an order now."""
    del cli
    placed = admin.SupervisorOrder("desk-7-a", "stop", order, "pending", "")
    (answer,) = admin.look_at_orders(connection, [placed])
    return answer.answer, answer.text


def test_a_wrong_choice_is_rejected_with_what_there_is(cli: Run, connection: Connection) -> None:
    _record(connection, "desk-7-a")
    for words, error in (
        (("drain",), "name supervisors, or give one of --all and --queue"),
        (("drain", "desk-7-a", "--all"), "name supervisors, or give one of --all and --queue"),
        (("drain", "desk-7-b"), "no supervisor is named 'desk-7-b'; did you mean 'desk-7-a'?"),
        (("show", "desk-7-b"), "no supervisor is named 'desk-7-b'; did you mean 'desk-7-a'?"),
        (("resume", "--queue", "analyses"), "no queue of a supervisor is named 'analyses'; did you mean 'analysis'?"),
        (("stop", "desk-7-a", "--reason", "x" * 501), "a reason of 501 characters exceeds 500"),
    ):
        answer = cli("workers", *words)
        assert (answer.code, answer.err) == (2, f"Error: {error}\n"), words
    for number in ("0", "257", "2.5"):
        assert cli("workers", "resize", "desk-7-a", number).code == 2
    assert list_orders(connection, "desk-7-a", 5) == []


def test_a_supervisor_of_a_release_without_orders_gets_none(cli: Run, connection: Connection) -> None:
    record_process(connection, ProcessRecord("old-7-a", "supervisor", "old", 7, "0.1.9", STARTED, {"queues": ["load"]}))
    answer = cli("workers", "drain", "--queue", "load", "--json")
    text = "release 0.1.9 takes no orders: send SIGTERM to process 7 on old"
    row = {"supervisor": "old-7-a", "action": "drain", "order": None, "answer": "no", "text": text}
    assert (answer.code, answer.json) == (1, [row])
    assert list_orders(connection, "old-7-a", 5) == []
    assert cli("workers", "list", "--json").json[0]["state"] == "running"


def test_a_pool_is_drained_resumed_resized_and_stopped_from_the_command_line(
    cli: Run, connection: Connection, quick_environment: dict[str, str], tmp_path: Path
) -> None:
    with running_supervisor(quick_environment, tmp_path, "--processes", "1", "--queue", "tests") as worker:
        _steer(cli, worker)


def _steer(cli: Run, worker: Supervisor) -> None:
    wait_until(lambda: [row["ready"] for row in cli("workers", "list", "--json").json] == [1], 90, "it is ready")
    seconds = ("--wait", f"{patient(60):g}")
    (row,) = cli("workers", "list", "--json").json
    name = row["supervisor"]
    assert row["pid"] == worker.process.pid
    for words, text in (
        (("drain", name), "drained: no worker is left"),
        (("resume", "--all"), "resumed: 1 of 1 workers are ready"),
        (("resize", name, "2"), "resized to 2: 2 of 2 workers are ready"),
        (("drain", "--queue", "tests"), "drained: no worker is left"),
    ):
        answer = cli("workers", *words, *seconds, "--json")
        assert (answer.code, answer.json[0]["answer"], answer.json[0]["text"]) == (0, "yes", text)
    wait_until(lambda: "drained_queue" in cli("doctor").out, 60, "the doctor warns of it")
    assert "its workers are drained" in cli("enqueue", "ledger_entry", "--symbols", "A").err
    answer = cli("workers", "stop", name, *seconds, "--json")
    assert (answer.code, answer.json[0]["text"]) == (0, "stopped")
    assert worker.process.wait(patient(30)) == 0
    assert cli("workers", "list", "--json").json == []
