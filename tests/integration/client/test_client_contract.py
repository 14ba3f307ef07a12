"""What every client promises, whatever its kind: the same calls, the same answers, the same errors."""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from client_stage import Pool
from patience import patient
from streamworkers.client import (
    BadInputError,
    Client,
    KeyConflictError,
    NoResultError,
    Request,
    RunEndedError,
    RunRejectedError,
    UnknownJobError,
    UnknownRunError,
    WaitTimeoutError,
)
from streamworkers.database import Connection
from streamworkers.engine import ledger
from submitting import load


def _count(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM runs").fetchone()
    assert row is not None
    return int(row[0])


def test_a_symbol_without_bars_is_said_to_who_names_it(client: Client, connection: Connection) -> None:
    connection.execute("INSERT INTO ohlcv_daily VALUES ('AAPL', '2026-01-02', 1, 1, 1, 1, 1) ON CONFLICT DO NOTHING")
    runs = client.enqueue_many(
        [Request.of(job, symbols=["AAPL", "AAPLE"], key=job) for job in ("indicators", "ledger_entry")]
    )
    assert [run.warnings for run in runs] == [("no bars of AAPLE are stored; did you mean AAPL?",), ()]
    assert client.enqueue("indicators", symbols=["AAPL"], key="one").warnings == ()


def test_a_run_is_submitted_waited_for_and_read(client: Client, workers: Pool) -> None:
    run = client.enqueue("ledger_entry", {"milliseconds": 0}, symbols=["AAPL", "MSFT"], key="k")
    assert (run.is_new, run.state().status) == (True, "PENDING")
    with pytest.raises(NoResultError, match=rf"run {run.id}, item 'AAPL': the run has no items yet"):
        run.result("AAPL")
    worker = threading.Thread(target=workers.work)
    worker.start()
    state = run.wait(patient(60))
    worker.join()
    assert (state.status, state.succeeded, state.is_open) == ("COMPLETED", True, False)
    assert (state.item_count, state.completed_count, state.failed_count, state.cancelled_count) == (2, 2, 0, 0)
    assert (state.id, state.run_id, state.job, state.key, state.user) == (
        run.id,
        run.run_id,
        "ledger_entry",
        "k",
        "ann",
    )
    assert (state.target, state.parameters, state.reason) == ("AAPL,MSFT", {"milliseconds": 0}, None)
    assert state.created_at.tzinfo is not None
    assert run.result("AAPL") == {"length": 4}
    assert [(item.key, item.status, item.attempt, item.result) for item in run.ledger()] == [
        ("AAPL", "completed", 1, {"length": 4}),
        ("MSFT", "completed", 1, {"length": 4}),
    ]


def test_the_same_key_finds_the_same_run(client: Client) -> None:
    first = client.enqueue("ledger_entry", symbols=["A", "B"], key="k")
    again = client.enqueue("ledger_entry", symbols=["B", "A"], key="k")
    assert (again.id, again.run_id, again.is_new) == (first.id, first.run_id, False)
    with pytest.raises(KeyConflictError, match=f"key 'k' belongs to run {first.id}, whose request differs in: symbols"):
        client.enqueue("ledger_entry", symbols=["A"], key="k")


def test_a_run_with_a_webhook_has_a_call_at_its_end(client: Client, connection: Connection) -> None:
    hook = {"url": "https://x.example/hooks", "secrets": ["env:WEBHOOK_KEY"]}
    run = client.enqueue("ledger_entry", symbols=["A"], webhook=hook)
    waiting = run.state().webhook
    assert waiting is not None
    assert (waiting["url"], waiting["state"], waiting["attempts"]) == ("https://x.example/…", "waiting", 0)
    run.cancel()
    rows = connection.execute("SELECT id::text, state FROM deliveries WHERE ended_run_id = %s", (run.id,)).fetchall()
    called = run.state().webhook
    assert called is not None
    assert rows == [(called["id"], called["state"])]
    assert (called["state"], called["reason"], called["sent_at"]) == ("queued", None, None)
    assert client.enqueue("ledger_entry", symbols=["A"]).state().webhook is None


def test_a_run_starts_later(client: Client, workers: Pool) -> None:
    first = client.enqueue("ledger_entry", symbols=["A"])
    moment = datetime.now(UTC) + timedelta(hours=1)
    later = client.enqueue("ledger_entry", symbols=["B"], start_at=moment, after=first)
    also = client.enqueue("ledger_entry", symbols=["C"], after=[first, later], after_when="ended")
    state = later.state()
    assert (state.status, state.is_waiting, state.start_at) == ("PENDING", True, moment)
    assert (list(state.after), state.after_when) == ([first.id], "completed")
    assert (list(also.state().after), also.state().after_when) == ([first.id, later.id], "ended")
    assert (first.state().is_waiting, first.state().start_at, list(first.state().after)) == (False, None, [])
    workers.work()
    assert first.wait(patient(60)).status == "COMPLETED"
    assert (later.state().is_waiting, also.state().is_waiting) == (True, True)
    assert later.cancel() == 0
    workers.work()
    assert also.wait(patient(60)).status == "COMPLETED"
    lost = client.enqueue("ledger_entry", symbols=["D"], after=later)
    workers.work()
    ended = lost.wait(patient(60))
    assert (ended.status, ended.is_waiting) == ("CANCELLED", False)
    assert ended.reason == f"it waited for run {later.id} to be COMPLETED, and that is CANCELLED"


@dataclass
class _Dataclass:
    milliseconds: float


class _Struct(msgspec.Struct):
    milliseconds: float


class _Model(BaseModel):
    milliseconds: float = 0.0
    other: int = 1


def test_parameters_are_a_mapping_or_an_object(client: Client) -> None:
    for parameters in ({"milliseconds": 1.5}, _Dataclass(1.5), _Struct(1.5), _Model(milliseconds=1.5)):
        run = client.enqueue("ledger_entry", parameters, symbols=["A"])
        assert run.state().parameters == {"milliseconds": 1.5}


@pytest.mark.parametrize(
    ("parameters", "fields", "message"),
    [
        (
            {"milliseconds": "5"},
            {},
            "parameter milliseconds='5' of job 'ledger_entry': it is not a number",
        ),
        (
            {"milisecs": 5},
            {},
            "parameter milisecs=5 of job 'ledger_entry': nothing has this name; did you mean 'milliseconds'",
        ),
        ({"milliseconds": float("nan")}, {}, "job 'ledger_entry': parameters['milliseconds'] is nan, and JSON has no"),
        ({"milliseconds": "\x00"}, {}, "parameters['milliseconds'] is '\\x00', and PostgreSQL stores neither NUL nor"),
        ({"milliseconds": object()}, {}, "cannot be written as JSON: objects of type object are not supported"),
        ([1], {}, "job 'ledger_entry': parameters [1] are no mapping and have no fields"),
        (None, {"symbols": "AAPL"}, "job 'ledger_entry': symbols 'AAPL' is one value: name a list"),
        (None, {"symbols": 5}, "job 'ledger_entry': symbols 5 is not a list"),
        (None, {"symbols": ["A", "A"]}, "job 'ledger_entry': symbols names 'A' twice; each is one item"),
        (None, {"symbols": []}, "job 'ledger_entry': symbols is not a list of 1 to 100000 texts"),
        (None, {"symbols": None}, "job 'ledger_entry': a run needs a universe, or at least one symbol"),
        (None, {"as_of": datetime(2026, 11, 26)}, "as_of '2026-11-26T00:00:00' has no time zone"),  # noqa: DTZ001
        (None, {"start_at": datetime(2026, 11, 26)}, "start_at '2026-11-26T00:00:00' has no time zone"),  # noqa: DTZ001
        (None, {"start_at": "soon"}, "start_at 'soon' is not an ISO time with its offset, such as"),
        (None, {"after": "1"}, "job 'ledger_entry': after '1' is not a run or the number of one"),
        (None, {"after": [None]}, "job 'ledger_entry': after None is not a run or the number of one"),
        (None, {"after": 99}, "there is no run 99 to come after"),
        (
            None,
            {"webhook": {"url": "x", "secrets": ["env:WEBHOOK_A"]}},
            "the url of the webhook is not a URL as https://example",
        ),
        (None, {"after_when": "ended"}, "names after_when, but no run to come after: name after"),
        (None, {"as_of": "yesterday"}, "job 'ledger_entry': as_of 'yesterday' is not an ISO time with its offset"),
        (
            None,
            {"max_attempts": 0},
            "max_attempts 0 is not a number from 1 to 100 | field `max_attempts`: 0 is below 1",
        ),
        (None, {"colour": 1}, "job 'ledger_entry': field 'colour' is not known; known are symbols, items, universe"),
        (None, {"key": "a\nb"}, "job 'ledger_entry': key 'a\nb' is not 1 to 200 printable characters"),
    ],
)
def test_what_breaks_a_rule_is_rejected_before_anything_is_written(
    parameters: Any, fields: Any, message: str, client: Client, connection: Connection
) -> None:
    with pytest.raises(BadInputError) as caught:
        client.enqueue("ledger_entry", parameters, **{"symbols": ["A"], **fields})
    assert any(each in str(caught.value) for each in message.split(" | "))
    assert _count(connection) == 0


def test_a_job_that_nobody_has_is_named_with_the_nearest(client: Client) -> None:
    with pytest.raises(UnknownJobError, match="no process of the pool has a job named 'ledger_entri'; did you mean"):
        client.enqueue("ledger_entri", symbols=["A"])


def test_many_are_all_or_none(client: Client, connection: Connection) -> None:
    wanted = [Request.of("ledger_entry", {"milliseconds": place}, symbols=["A"]) for place in range(3)]
    runs = client.enqueue_many(wanted)
    assert [run.state().parameters for run in runs] == [{"milliseconds": place} for place in range(3)]
    wrong = Request.of("ledger_entry", {"milliseconds": "x"}, symbols=["A"])
    with pytest.raises(BadInputError, match=r"parameter milliseconds='x' of job 'ledger_entry': it is not a number"):
        client.enqueue_many([wanted[0], wrong])
    with pytest.raises(BadInputError, match="request 2: job 'ledger_entry': symbols is not a list"):
        client.enqueue_many([wanted[0], Request.of("ledger_entry", symbols=[])])
    with pytest.raises(BadInputError, match="the requests are not a list of 1 to 10000 objects"):
        client.enqueue_many([])
    assert _count(connection) == 3


def test_a_request_that_the_job_rejects_raises_at_the_wait(client: Client, workers: Pool) -> None:
    run = client.enqueue("choosing", {"do": "reject"}, symbols=["A"])
    workers.prepare()
    with pytest.raises(RunRejectedError, match=f"job 'choosing' rejects run {run.id}: the parameter do is not to my"):
        run.wait(patient(10))
    assert run.state().status == "FAILED"
    assert list(run.ledger()) == []


def test_a_wait_has_an_end(client: Client) -> None:
    run = client.enqueue("noop", symbols=["A"])
    with pytest.raises(WaitTimeoutError, match=rf"run {run.id} has not ended within 0.1 s \(PENDING\); it goes on"):
        run.wait(0.1)
    for seconds in (-1, float("inf"), float("nan")):
        with pytest.raises(BadInputError, match=f"{seconds} is no time to wait: name seconds from 0 on"):
            run.wait(seconds)


def test_an_item_without_a_result_says_why(client: Client, workers: Pool) -> None:
    run = client.enqueue("misbehaving", symbols=["PERMANENT", "B"])
    workers.work()
    assert run.wait(patient(10)).status == "COMPLETED_WITH_ERRORS"
    with pytest.raises(NoResultError, match=rf"run {run.id}, item 'PERMANENT': it is failed: "):
        run.result("PERMANENT")
    with pytest.raises(NoResultError, match=f"run {run.id}, item 'C': the run has no such item"):
        run.result("C")


def test_an_item_in_several_timeframes_is_named_with_one(client: Client, workers: Pool) -> None:
    run = client.enqueue("choosing", symbols=["A"], timeframes=["hour", "day"])
    workers.work()
    run.wait(patient(10))
    with pytest.raises(BadInputError, match=f"run {run.id} has several items 'A': name the timeframe"):
        run.result("A")
    assert run.result("A", "day") == {"length": 1}


def test_a_run_is_cancelled_once(client: Client, workers: Pool, connection: Connection) -> None:
    waiting = client.enqueue("ledger_entry", symbols=["A"])
    assert waiting.cancel() == 0  # it has no items yet
    prepared = client.enqueue("ledger_entry", symbols=["A", "B"])
    workers.prepare()
    assert prepared.cancel() == 2
    assert prepared.cancel() == 0
    assert prepared.wait(0).status == "CANCELLED"
    assert [item.status for item in prepared.ledger()] == ["cancelled", "cancelled"]
    with pytest.raises(NoResultError, match="item 'A': it is cancelled"):
        prepared.result("A")
    done = client.enqueue("ledger_entry", symbols=["A"])
    workers.work()
    with pytest.raises(RunEndedError, match=f"run {done.id} is COMPLETED, and only a run that is PENDING or RUNNING"):
        done.cancel()
    assert workers.streams.inspector.read_open_counts("tests") == {}
    audit = connection.execute(
        "SELECT object_id, before ->> 'status', after FROM audit_log"
        " WHERE action = 'run.cancel' AND outcome = 'ok' ORDER BY id"
    )
    assert audit.fetchall() == [
        (str(waiting.id), "PENDING", {"items": 0}),
        (str(prepared.id), "PENDING", {"items": 2}),
    ]


def test_runs_are_listed_newest_first(client: Client) -> None:
    made = [client.enqueue("noop", symbols=["A"]) for _ in range(3)]
    other = client.enqueue("ledger_entry", symbols=["A"], as_of=datetime(2026, 1, 2, tzinfo=UTC))
    assert [state.id for state in client.runs()] == [other.id, made[2].id, made[1].id, made[0].id]
    assert client.runs()[0].as_of == datetime(2026, 1, 2, tzinfo=UTC)
    assert [state.id for state in client.runs(job="noop", user="ann", status="PENDING")] == [
        run.id for run in reversed(made)
    ]
    assert [state.id for state in client.runs(before=made[2].id, limit=1)] == [made[1].id]
    assert client.runs(status="RUNNING") == []
    assert client.runs(user="bob") == []
    with pytest.raises(BadInputError, match="limit 0 is not a number from 1 to 1000"):
        client.runs(limit=0)
    with pytest.raises(BadInputError, match="status 'DONE' is not one of PENDING, RUNNING, COMPLETED,"):
        client.runs(status="DONE")  # type: ignore[arg-type]
    assert client.run(other.id).run_id == other.run_id


def test_a_run_that_is_not_there_is_named(client: Client) -> None:
    for call in (lambda: client.run(424242), lambda: client.run(424242).cancel()):
        with pytest.raises(UnknownRunError, match="there is no run 424242 of this "):
            call()


def test_jobs_are_listed_with_their_schemas(client: Client) -> None:
    jobs = {job.name: job for job in client.jobs()}
    assert jobs["ledger_entry"].item_kind == "symbol"
    assert jobs["ledger_entry"].parameters_schema["properties"]["milliseconds"]["type"] == "number"
    assert jobs["health_check"].item_kind == "part"


def test_a_ledger_of_several_pages_is_whole(client: Client, workers: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamworkers.client.client.ITEMS_OF_A_PAGE", 2)
    monkeypatch.setattr("streamworkers.client.async_client.ITEMS_OF_A_PAGE", 2)
    run = client.enqueue("noop", symbols=list("ABCDE"))
    workers.prepare()
    assert [item.key for item in run.ledger()] == list("ABCDE")


def test_a_release_that_came_since_is_known(client: Client, connection: Connection) -> None:
    client.enqueue("ledger_entry", {"milliseconds": 1}, symbols=["A"])
    connection.execute(
        "INSERT INTO job_types SELECT name, 'newer', '9', queue, max_attempts,"
        ' \'{"additionalProperties": false, "properties": {"fresh": {"type": "integer"}}}\', item_kind'
        " FROM job_types WHERE name = 'ledger_entry'"
    )
    client.enqueue("ledger_entry", {"fresh": 1}, symbols=["A"])
    client.enqueue("ledger_entry", {"milliseconds": 1}, symbols=["A"])
    with pytest.raises(BadInputError, match="parameter fresh='x' of job 'ledger_entry': it is not a whole number"):
        client.enqueue("ledger_entry", {"fresh": "x"}, symbols=["A"])


def test_a_run_is_followed_to_its_end(client: Client, workers: Pool) -> None:
    run = client.enqueue("misbehaving", symbols=["PERMANENT", "B"])
    worker = threading.Thread(target=workers.work)
    worker.start()
    events = list(run.events(patient(60)))
    worker.join()
    assert [(event.run_id, event.seq, event.kind) for event in events] == [
        (run.id, seq, kind) for seq, kind in enumerate(("submitted", "prepared", "running", "ended"), 1)
    ]
    counts = {"items": 2, "completed": 1, "failed": 1, "cancelled": 0}
    assert [event.data for event in events[1:]] == [
        {"items": 2},
        {"items": 2},
        {"status": "COMPLETED_WITH_ERRORS", **counts, "reason": None},
    ]
    assert all(event.at.tzinfo is not None for event in events)
    assert list(client.events(run.id, after=2)) == events[2:]
    assert (run.state().last_event, client.runs()[0].last_event) == (4, 4)
    assert list(run.events(after=4)) == []


def test_events_that_are_not_kept_are_replaced_by_the_state(
    client: Client, workers: Pool, connection: Connection
) -> None:
    run = client.enqueue("ledger_entry", symbols=["A"])
    workers.work()
    connection.execute("DELETE FROM run_events WHERE seq < 4")
    (event,) = run.events(patient(30))
    counts = {"items": 1, "completed": 1, "failed": 0, "cancelled": 0}
    state = {"job": "ledger_entry", "status": "COMPLETED", **counts, "reason": None}
    assert (event.seq, event.kind, event.data) == (4, "resync", state)
    assert [event.kind for event in run.events(after=3)] == ["ended"]


def test_following_has_an_end(client: Client) -> None:
    run = client.enqueue("noop", symbols=["A"])
    text = rf"run {run.id} has not ended within 0.1 s \(behind event 1: no other one\); it goes on"
    with pytest.raises(WaitTimeoutError, match=text):
        list(run.events(0.1, after=1))
    for seconds in (-1, float("inf"), float("nan")):
        with pytest.raises(BadInputError, match=f"{seconds} is no time to follow a run: name seconds from 0 on"):
            list(run.events(seconds))
    for after in (-1, 2**31):
        with pytest.raises(BadInputError, match=f"after {after} is not the number of an event, from 0 to 2147483647"):
            list(run.events(after=after))
    with pytest.raises(UnknownRunError, match="there is no run 424242 of this "):
        list(client.events(424242))


def test_an_event_is_seen_when_its_commit_is_safe(client: Client, connection: Connection) -> None:
    run = client.enqueue("noop", symbols=["A"])
    connection.execute("UPDATE runs SET prepared_at = now(), item_count = 1")
    with connection.transaction():
        connection.execute("SET LOCAL synchronous_commit TO off")
        ledger.cancel_run(connection, load(connection, run.id))
    (lazy,) = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchall()
    assert [event.kind for event in run.events(patient(30), after=2)] == ["ended"]
    assert connection.execute("SELECT pg_current_wal_flush_lsn() >= %s", lazy).fetchone() == (True,)
