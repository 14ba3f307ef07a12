"""What user code logs and prints in a worker carries the run, the job and the item."""

import io
import json
from pathlib import Path
from typing import Any, TextIO, cast

import structlog

from harness import running_supervisor, start_run, wait_for_end
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.worker.call_log import PrintedLines, logging_call

_LOGGED = [
    *("by structlog", "by logging of redis://…@host", "by print, one line", "by standard error", "by a warning"),
    *("by a thread", "without an end", "by save"),
]


def test_each_line_of_user_code_says_which_item_it_is_about(
    connection: Connection, streams: Streams, registry: Registry, quick_environment: dict[str, str], tmp_path: Path
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "A", "LOGS", "B")
    alone = start_run(connection, streams, registry, "misbehaving", "LOGS")
    environment = {**quick_environment, "STREAMWORKERS_LOG_FORMAT": "json"}
    with running_supervisor(environment, tmp_path, "--processes", "1", "--queue", "tests") as supervisor:
        for each in (run, alone):
            assert wait_for_end(connection, each) == "COMPLETED"
        assert supervisor.stop() == 0
    lines = [json.loads(line) for line in supervisor.log.read_text(encoding="utf-8").splitlines()]
    assert "with a token" not in str(lines)
    assert "hunter2" not in str(lines)
    of_call = {"run": alone.id, "job": "misbehaving"}
    of_item = of_call | {"item": 0, "symbol": "LOGS", "attempt": 1}
    assert _find_fields(lines, alone.id) == dict.fromkeys(_LOGGED, of_item) | {
        "by structlog": of_item | {"symbol": "ITS OWN"}
    }
    of_call, of_item = of_call | {"run": run.id}, of_item | {"run": run.id, "item": 1}
    assert _find_fields(lines, run.id) == dict.fromkeys(_LOGGED, of_item) | {
        "by structlog": of_item | {"symbol": "ITS OWN"},
        "by a thread": of_call,
        "by save": of_call,
    }


def _find_fields(lines: list[dict[str, Any]], run_id: int) -> dict[str, dict[str, Any]]:
    """What each line that user code has logged says of its place."""
    fields = ("run", "job", "item", "symbol", "attempt")
    found = {}
    for line in lines:
        if line.get("run") == run_id and line["event"] != "run_completed":
            text = line.get("text") or line["event"]
            text = "by a warning" if "by a warning" in text else text
            found[text] = {name: line[name] for name in fields if name in line}
    return found


def test_output_outside_of_calls_is_written_through() -> None:
    behind = io.StringIO()
    stream = PrintedLines(behind, "info")
    print("as it is", file=cast("TextIO", stream))
    stream.writelines(["two ", "parts"])
    stream.flush()
    assert behind.getvalue() == "as it is\ntwo parts"


def test_a_long_line_is_several_events_and_none_is_lost() -> None:
    behind = io.StringIO()
    with logging_call(7, "tests", []), structlog.testing.capture_logs() as logs:
        stream = PrintedLines(behind, "info")
        for _ in range(3):
            stream.write("x" * 5000)
        stream.write("\n\n")
    assert [logs[0]["text"] + logs[1]["text"], logs[2]["text"]] == ["x" * 10_000, 5_000 * "x"]
    assert {(log["run"], log["job"]) for log in logs} == {(7, "tests")}
