"""`streamworkers running`: what Redis has as pending, with what supervisors report of it."""

from datetime import datetime

from command_line import Run
from harness import start_run
from streamworkers.database import Connection
from streamworkers.engine.redis.heartbeats import CallStatus, SupervisorStatus, WorkerStatus
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry


def test_items_are_shown_with_their_worker_since_when_and_for_how_long_at_most(
    cli: Run, connection: Connection, streams: Streams, registry: Registry
) -> None:
    assert cli("running").out == "nothing runs\n"
    first = start_run(connection, streams, registry, "ledger_entry", "A", "B", "C")
    other = start_run(connection, streams, registry, "ledger_entry", "D", "E")
    streams.queues.ensure_groups(["tests"])
    taken = streams.queues.read(["tests"], "desk-1-a.1", {"tests": 4}, 10, were_empty=False)
    streams.queues.read(["tests"], "gone-2-b.1", {"tests": 1}, 10, were_empty=False)
    assert [len(taken), streams.inspector.read_backlog("tests").pending] == [4, 5]
    streams.client.raw.xadd(streams.keys.stream("tests"), {"p": b"\xc1"})
    streams.queues.read(["tests"], "desk-1-a.2", {"tests": 1}, 10, were_empty=False)
    now_ms = streams.inspector.read_clock_ms()
    call = CallStatus("tests", "ledger_entry", 2, taken[0].entry_id, taken[1].entry_id, 990.0, 60.0)
    workers = [WorkerStatus("desk-1-a.1", 11, ["tests"], True, call=call), WorkerStatus("desk-1-a.2", 12, ["tests"])]
    status = SupervisorStatus(workers=workers, written_at=1000.0, written_ms=now_ms)
    streams.heartbeats.beat("desk-1-a", status, 60_000)

    shown = cli("running", "--json").json
    assert {name: shown[name] for name in ("executes", "taken", "orphaned", "unread")} == {
        "executes": 2,
        "taken": 2,
        "orphaned": 1,
        "unread": 1,
    }
    assert 0 <= shown["report_seconds"] < 60
    assert [(item["run_id"], item["symbol"], item["place"]) for item in shown["items"]] == [
        (first.id, "A", "executes"),
        (first.id, "B", "executes"),
        (other.id, "E", "orphaned"),
        (first.id, "C", "taken"),
        (other.id, "D", "taken"),
    ]
    item = shown["items"][0]
    assert (item["job"], item["attempt"], item["worker"]) == ("ledger_entry", 1, "desk-1-a.1")
    assert (item["queue"], item["priority"], item["limit_seconds"]) == ("tests", "normal", 60.0)
    assert abs(datetime.fromisoformat(item["since"]).timestamp() - (now_ms / 1000 - 10)) < 0.01
    assert item["seconds"] >= 10

    for words, symbols in (
        (("--run", str(other.id)), ["E", "D"]),
        (("--symbol", "B"), ["B"]),
        (("--job", "ledger_entry", "--limit", "1"), ["A"]),
        (("--job", "noop"), []),
    ):
        assert [item["symbol"] for item in cli("running", *words, "--json").json["items"]] == symbols
    lines = cli("running", "--limit", "2").out.splitlines()
    heading = ["item", "job", "symbol", "timeframe", "attempt", "place", "since", "seconds", "limit", "s", "worker"]
    assert lines[0].split() == heading
    assert lines[3] == "2 executed, 2 taken, 1 orphaned; the 2 first are shown"
    assert lines[4] == "1 more pending entries were not read"
    assert lines[5].startswith("as supervisors reported up to ")
    streams.heartbeats.end("desk-1-a")


def test_a_name_that_nothing_has_is_an_error(cli: Run) -> None:
    for words, error in (
        (("--job", "ledger_entri"), "no job is named 'ledger_entri'; did you mean 'ledger_entry'?"),
        (("--run", "99"), "no run is named '99'; there is no run yet"),
    ):
        answer = cli("running", *words)
        assert (answer.code, answer.err) == (2, f"Error: {error}\n")
