"""What `runs show` says of failures, and that no secret of an error is shown, stored or logged."""

import pytest

from command_line import Run
from consumer import Consumer
from harness import start_run
from patience import patient
from streamworkers.database import Connection
from streamworkers.engine.redis.heartbeats import SupervisorStatus, UndecidedItem, WorkerStatus
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry


def test_no_secret_of_an_error_is_shown_stored_or_logged(
    cli: Run,
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "SECRET", max_attempts=1)
    consumer.work_until_empty()
    logged = capsys.readouterr()
    commands = (("runs", "show", "1"), ("dead", "show", "1:0"), ("dead", "list"))
    texts = [cli(*words, *style).out for words in commands for style in ((), ("--json",))]
    assert ["host/db?password=" in text for text in texts] == [True] * len(texts)
    rows = connection.execute("SELECT row_to_json(i)::text FROM run_items i WHERE run_id = %s", (run.id,)).fetchall()
    assert [text for text in (*texts, logged.out, logged.err, str(rows)) if "hunter2" in text] == []


def test_an_undecided_item_is_shown_by_doctor_status_and_its_run(
    cli: Run, connection: Connection, streams: Streams, registry: Registry
) -> None:
    run = start_run(connection, streams, registry, "noop", "A", "B")
    item = UndecidedItem("bench", "noop", run.id, 1, "B", 3, "OperationalError: gone")
    status = SupervisorStatus(
        "here", 1, ["bench"], None, [WorkerStatus("here.1", 2, ["bench"], True, undecided=[item])]
    )
    streams.heartbeats.beat("here", status, round(1000 * patient(60)))
    findings = [row for row in cli("doctor", "--json").json if row["kind"] == "undecided_item"]
    assert [(row["where"], row["severity"], row["what"]) for row in findings] == [
        ("item 1:1", "warning", "B was executed 3 times without a decision by here.1: OperationalError: gone")
    ]
    assert "undecided_item" in [row["kind"] for row in cli("status", "--json").json["findings"]]
    shown = cli("runs", "show", "1")
    assert "  undecided  1:1 B executed 3 times without a decision: OperationalError: gone\n" in shown.out
    assert cli("runs", "show", "1", "--json").json["undecided"] == [
        {
            "queue": "bench", "job": "noop", "run_id": 1, "seq": 1, "symbol": "B", "times": 3,
            "error": "OperationalError: gone", "worker": "here.1",
        }
    ]  # fmt: skip


def test_without_redis_a_run_is_shown_and_its_undecided_items_are_not_known(
    cli: Run, connection: Connection, streams: Streams, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_run(connection, streams, registry, "noop", "A")
    monkeypatch.setenv("STREAMWORKERS_REDIS_URL", "redis://127.0.0.1:1")
    assert "  undecided  not known: Redis does not answer\n" in cli("runs", "show", "1").out
    assert cli("runs", "show", "1", "--json").json["undecided"] is None
