"""`submit_run`: what any client may call in its own transaction, whatever its language and driver."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from patience import patient
from streamworkers.database import Connection, connect, fetch_value
from streamworkers.engine import ledger
from streamworkers.engine.enqueue import describe_request, enqueue, enqueue_many
from streamworkers.engine.job import Origin, RunRequest
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.errors import BadInputError, KeyConflictError, UnknownJobError
from submitting import install_jobs, submit

_NO_SYMBOL = "is not letters, digits and . - / : = ^ + # $ & ! _ as in BRK.B, BF/B, X:BTCUSD, ^GSPC"
_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(autouse=True)
def jobs_installed(connection: Connection, registry: Registry) -> None:
    install_jobs(connection, registry)


@pytest.fixture
def other(database_url: str) -> Iterator[Connection]:
    with connect(database_url) as opened:
        yield opened


def _runs(connection: Connection) -> list[int]:
    return [run for (run,) in connection.execute("SELECT id FROM runs ORDER BY id")]


def _fault(connection: Connection, request: Any) -> tuple[str | None, str]:
    with pytest.raises(psycopg.Error) as caught:
        connection.execute("SELECT * FROM submit_run(%s::jsonb)", (json.dumps(request),))
    return caught.value.diag.sqlstate, caught.value.diag.message_primary or ""


@pytest.mark.parametrize(
    ("request_fields", "state", "message"),
    [
        ([1], "SW001", "request [1] is not an object"),
        (None, "SW001", "request null is not an object"),
        ({}, "SW001", "job null is not a name of 1 to 64 small letters, digits and _"),
        ({"job": "X y"}, "SW001", "job 'X y' is not a name"),
        ({"job": 3}, "SW001", "job 3 is not a name"),
        (
            {"job": "ledger_entri"},
            "SW002",
            "no process of the pool has a job named 'ledger_entri'; did you mean 'ledger_entry'?",
        ),
        (
            {"job": "zzz"},
            "SW002",
            "no process of the pool has a job named 'zzz'; known: alert_test, alerts, ",
        ),
        ({"symbols": ["A"], "colour": 1}, "SW001", "field 'colour' is not known; known are job, parameters, universe"),
        ({"symbols": ["A"], "parameters": [1]}, "SW001", "parameters [1] is not an object"),
        (
            {"symbols": ["A"], "parameters": {"milisecs": 1}},
            "SW001",
            "job 'ledger_entry': parameter 'milisecs' is not one of the job's: hold, hold_from, milliseconds",
        ),
        ({}, "SW001", "a run needs a universe, or at least one symbol"),
        ({"symbols": []}, "SW001", "symbols is not a list of 1 to 100000 texts"),
        ({"symbols": "A"}, "SW001", "symbols is not a list of 1 to 100000 texts"),
        ({"symbols": ["A", 1]}, "SW001", "symbols has 1, which is not a text"),
        ({"symbols": ["A", None]}, "SW001", "symbols has null, which is not a text"),
        ({"symbols": ["A", ["B"]]}, "SW001", 'symbols has ["B"], which is not a text'),
        ({"symbols": ["A", "B\t"]}, "SW001", f"the symbol 'B\\t' {_NO_SYMBOL}"),
        (
            {"symbols": ["A B"]},
            "SW001",
            f"the symbol 'A B' {_NO_SYMBOL}",
        ),
        (
            {"symbols": ["x" * 33]},
            "SW001",
            f"the symbol '{'x' * 33}' has 33 characters, more than 32",
        ),
        ({"symbols": ["A", "B", "A"]}, "SW001", "symbols names 'A' twice; each is one item"),
        ({"symbols": ["A"], "universe": "u"}, "SW001", "the request names several of universe, symbols and items"),
        (
            {"universe": ""},
            "SW001",
            "universe '' is not a name of 1 to 64 letters, digits and . - _, neither . nor - first",
        ),
        ({"universe": 5}, "SW001", "universe 5 is not a text"),
        ({"symbols": ["A"], "timeframe": "day", "timeframes": ["day"]}, "SW001", "names both timeframe and timeframes"),
        ({"symbols": ["A"], "timeframes": ["day", "day"]}, "SW001", "timeframes names 'day' twice"),
        ({"symbols": ["A"], "as_of": "2026-11-26"}, "SW001", "as_of '2026-11-26' is not an ISO time with its offset"),
        ({"symbols": ["A"], "as_of": "2026-02-30T00:00Z"}, "SW001", "is not an ISO time with its offset"),
        ({"symbols": ["A"], "as_of": "now"}, "SW001", "as_of 'now' is not an ISO time with its offset"),
        ({"symbols": ["A"], "max_attempts": 0}, "SW001", "max_attempts 0 is not a number from 1 to 100"),
        ({"symbols": ["A"], "max_attempts": "many"}, "SW001", "max_attempts many is not a number from 1 to 100"),
        ({"symbols": ["A"], "key": "a\nb"}, "SW001", "is not 1 to 200 printable characters"),
        ({"symbols": ["A"], "key": "x" * 201}, "SW001", "is not 1 to 200 printable characters"),
        ({"symbols": ["A"], "key": ["k"]}, "SW001", 'key ["k"] is not a text'),
        ({"symbols": ["A"], "user": "x" * 201}, "SW001", "is not a name of 1 to 200 printable characters"),
        ({"symbols": ["A"], "user": 7}, "SW001", "user 7 is not a text"),
        ({"symbols": ["A"], "traceparent": "00-1-2-3"}, "SW001", "traceparent '00-1-2-3' is not of the form of W3C"),
        ({"job": "health_check", "universe": "u"}, "SW001", "the job is not about symbols, so it takes no universe"),
        ({"symbols": ["A"], "parameters": {"milliseconds": "x" * 4_194_304}}, "SW001", "more than 4194304"),
        (
            {"symbols": ["A"], "start_at": "2026-11-27T18:30"},
            "SW001",
            "start_at '2026-11-27T18:30' is not an ISO time with",
        ),
        (
            {"symbols": ["A"], "start_at": "18:30"},
            "SW001",
            "start_at '18:30' is not an ISO time with its offset, such as",
        ),
        ({"symbols": ["A"], "start_at": "2026-02-30T00:00Z"}, "SW001", "is not an ISO time with its offset, such as"),
        ({"symbols": ["A"], "start_at": "infinity"}, "SW001", "start_at 'infinity' is not an ISO time with its offset"),
        ({"symbols": ["A"], "start_at": 5}, "SW001", "start_at '5' is not an ISO time with its offset, such as"),
        (
            {"symbols": ["A"], "start_at": "9998-01-01T00:00Z"},
            "SW001",
            "'9998-01-01T00:00Z' is more than 366 days ahead",
        ),
        ({"symbols": ["A"], "after": 99}, "SW001", "job 'ledger_entry': there is no run 99 to come after"),
        ({"symbols": ["A"], "after": [99, 98]}, "SW001", "job 'ledger_entry': there is no run 98 to come after"),
        ({"symbols": ["A"], "after": []}, "SW001", "after names 0 runs; name 1 to 100"),
        ({"symbols": ["A"], "after": list(range(1, 102))}, "SW001", "after names 101 runs; name 1 to 100"),
        ({"symbols": ["A"], "after": "1"}, "SW001", 'after has "1", which is not the number of a run'),
        ({"symbols": ["A"], "after": [1, 1.5]}, "SW001", "after has 1.5, which is not the number of a run"),
        ({"symbols": ["A"], "after": -1}, "SW001", "after has -1, which is not the number of a run"),
        ({"symbols": ["A"], "after": 10**30}, "SW001", f"after has {10**30}, which is not the number of a run"),
        ({"symbols": ["A"], "after": {"run": 1}}, "SW001", 'after has {"run": 1}, which is not the number of a run'),
        ({"symbols": ["A"], "after": [3, 3]}, "SW001", "after names run 3 twice"),
        (
            {"symbols": ["A"], "after": 1, "after_when": "failed"},
            "SW001",
            'after_when "failed" is not completed or ended',
        ),
        ({"symbols": ["A"], "after": 1, "after_when": 1}, "SW001", "after_when 1 is not completed or ended"),
        ({"symbols": ["A"], "after_when": "ended"}, "SW001", "names after_when, but no run to come after: name after"),
    ],
)
def test_a_request_that_breaks_a_rule_is_rejected(
    request_fields: Any, state: str, message: str, connection: Connection
) -> None:
    is_whole = not request_fields or not isinstance(request_fields, dict) or "job" in request_fields
    if request_fields == {} and message.startswith("a run needs"):
        is_whole = False
    request = request_fields if is_whole else {"job": "ledger_entry", **request_fields}
    found = _fault(connection, request)
    assert found[0] == state
    assert message in found[1]
    assert _runs(connection) == []


def test_symbols_without_bars_are_a_warning_if_the_job_needs_bars(connection: Connection) -> None:
    connection.execute("INSERT INTO ohlcv_daily VALUES ('AAPL', '2026-01-02', 1, 1, 1, 1, 1)")
    requests = [
        {"job": "indicators", "symbols": ["AAPL"]},
        {"job": "indicators", "symbols": ["AAPL", "aapl", "NOPE"]},
        {"job": "ledger_entry", "symbols": ["NOPE"]},
        {"job": "indicators", "items": ["AALP"], "key": "k"},
        {"job": "indicators", "universe": "nowhere"},
    ]
    rows = connection.execute("SELECT place, warnings FROM submit_runs(%s)", (Jsonb(requests),)).fetchall()
    slips = ["no bars of aapl, NOPE are stored; did you mean AAPL?"], ["no bars of AALP are stored; did you mean AAPL?"]
    assert rows == [(1, []), (2, slips[0]), (3, []), (4, slips[1]), (5, [])]
    again = connection.execute("SELECT is_new, warnings FROM submit_run(%s)", (Jsonb(requests[3]),)).fetchall()
    assert again == [(False, slips[1])]
    connection.execute("UPDATE job_types SET needs_bars = DEFAULT")  # as a process of the release before records them
    assert connection.execute("SELECT warnings FROM submit_run(%s)", (Jsonb(requests[3]),)).fetchall() == [([],)]


def test_required_parameters_are_required(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO job_types (name, schema_hash, release, queue, max_attempts, params_schema, item_kind)"
        " VALUES ('needy', 'x', '1', 'tests', 3, '{\"required\": [\"pet\"], \"properties\": {\"pet\": {}}}', 'symbol')"
    )
    assert _fault(connection, {"job": "needy", "symbols": ["A"]}) == (
        "SW001",
        "job 'needy': parameter 'pet' is required",
    )


def test_a_request_is_sound_if_it_fits_one_of_two_releases(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO job_types SELECT name, 'newer', '9', queue, max_attempts, "
        ' \'{"additionalProperties": false, "properties": {"fresh": {}}}\', item_kind'
        " FROM job_types WHERE name = 'ledger_entry'"
    )
    submit(connection, "ledger_entry", symbols=["A"], parameters={"milliseconds": 1})
    submit(connection, "ledger_entry", symbols=["A"], parameters={"fresh": 1})
    request = {"job": "ledger_entry", "symbols": ["A"], "parameters": {"milliseconds": 1, "fresh": 1}}
    assert _fault(connection, request)[0] == "SW001"


def test_without_any_job_the_error_says_so(connection: Connection) -> None:
    connection.execute("DELETE FROM job_types")
    message = "no process of the pool has a job named 'noop'; no worker or scheduler has run in the last 7 days"
    assert _fault(connection, {"job": "noop", "symbols": ["A"]}) == ("SW002", message)


def test_what_was_asked_is_kept(connection: Connection) -> None:
    run_id = submit(
        connection,
        "ledger_entry",
        symbols=["A"],
        user="ann",
        key="k",
        traceparent=_TRACE,
        max_attempts=7,
        timeframe="day",
    )
    row = connection.execute(
        "SELECT requested_by, submitted_by = session_user, submit_key, traceparent, request, target FROM runs"
    ).fetchone()
    kept = {"symbols": ["A"], "max_attempts": 7, "timeframe": "day"}
    assert row == ("ann", True, "k", _TRACE, kept, "A")
    rows = connection.execute(
        "SELECT requested_by, submitted_by = session_user, run_id, job, submit_key FROM submissions"
    )
    assert rows.fetchall() == [("ann", True, run_id, "ledger_entry", "k")]


def test_a_rolled_back_transaction_or_savepoint_submits_nothing(connection: Connection, other: Connection) -> None:
    other.execute("LISTEN streamworkers_submitted")
    with connection.transaction(force_rollback=True):
        submit(connection, "ledger_entry", symbols=["A"])
    with connection.transaction():
        kept = submit(connection, "ledger_entry", symbols=["A"])
        with connection.transaction(force_rollback=True):
            submit(connection, "ledger_entry", symbols=["B"])
    assert _runs(connection) == [kept]
    assert connection.execute("SELECT run_id FROM submissions").fetchall() == [(kept,)]
    assert len(list(other.notifies(timeout=patient(0.2)))) == 1


def test_the_same_request_with_a_key_is_the_same_run(connection: Connection) -> None:
    first = submit(connection, "ledger_entry", symbols=["A", "B"], key="k", parameters={"milliseconds": 1.50})
    again = submit(connection, "ledger_entry", symbols=["B", "A"], key="k", parameters={"milliseconds": 1.5})
    as_items = submit(
        connection, "ledger_entry", items=["B", "A"], key="k", parameters={"milliseconds": 1.5}, as_of=None
    )
    assert first == again == as_items
    assert _runs(connection) == [first]
    assert submit(connection, "ledger_entry", symbols=["A"], key="k", user="another") != first


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"symbols": ["A"]}, "symbols or items"),
        ({"symbols": ["A", "B"], "parameters": {"milliseconds": 2}}, "parameters"),
        ({"universe": "u"}, "symbols or items, universe"),
        ({"symbols": ["A", "B"], "timeframe": "day"}, "timeframes"),
        ({"symbols": ["A", "B"], "as_of": "2026-11-26T00:00Z"}, "as_of"),
        ({"symbols": ["A", "B"], "job": "noop"}, "job"),
        ({"symbols": ["A", "B"], "start_at": "2026-01-01T00:00Z"}, "start_at"),
    ],
)
def test_another_request_with_a_key_that_is_taken_is_rejected(
    fields: dict[str, Any], names: str, connection: Connection
) -> None:
    first = submit(connection, "ledger_entry", symbols=["A", "B"], key="k")
    state, message = _fault(connection, {"job": "ledger_entry", "key": "k", **fields})
    assert (state, message) == ("SW003", f"key 'k' belongs to run {first}, whose request differs in: {names}")


def test_many_requests_are_all_or_none(connection: Connection) -> None:
    made = enqueue_many(connection, [RunRequest("ledger_entry", ("A",), "x", idempotency_key=key) for key in "aba"])
    assert [each.is_new for each in made] == [True, True, False]
    assert made[2].id == made[0].id
    assert _runs(connection) == [made[0].id, made[1].id]
    with pytest.raises(UnknownJobError, match="request 2: no process of the pool has a job named 'nope'"):
        enqueue_many(connection, [RunRequest("noop", ("A",), "x"), RunRequest("nope", ("A",), "x")])
    with pytest.raises(KeyConflictError, match="key 'a' belongs to run 1, whose request differs in: symbols or items"):
        enqueue_many(
            connection, [RunRequest("noop", ("A",), "x"), RunRequest("ledger_entry", ("B",), "x", idempotency_key="a")]
        )
    for none in ([], [RunRequest("noop", ("A",), "x")] * 10_001):
        with pytest.raises(BadInputError, match="the requests are not a list of 1 to 10000 objects"):
            enqueue_many(connection, none)
    assert len(_runs(connection)) == 2


def test_every_door_computes_the_same_digest(connection: Connection, streams: Streams, registry: Registry) -> None:
    requests = [
        RunRequest("ledger_entry", ("B", "A"), "x", idempotency_key="1", parameters={"milliseconds": 2.0}),
        RunRequest("choosing", ("a, b", "ü"), "x", idempotency_key="2", timeframes=("hour", "day")),
        RunRequest("health_check", (), "x", idempotency_key="3"),
    ]
    for request in requests:
        run, _ = enqueue(connection, streams, registry, request)
        (submitted,) = enqueue_many(connection, [request])
        rows = connection.execute(
            "SELECT count(DISTINCT request_digest), count(*) FROM runs"
            " WHERE id = ANY(%s) AND length(request_digest) = 32",
            ([run.id, submitted.id],),
        )
        assert rows.fetchall() == [(1, 2)]
        assert enqueue(connection, streams, registry, request) == (ledger.load_run(connection, run.id), False)
        changed = RunRequest(request.job, ("Z",), "x", idempotency_key=request.idempotency_key)
        if request.job != "health_check":
            with pytest.raises(KeyConflictError, match=f"belongs to run {run.id}, whose request differs in: "):
                enqueue(connection, streams, registry, changed)


def test_a_description_says_what_was_asked_and_no_more() -> None:
    plain = RunRequest("noop", ("A",), "u", universe="u", origin=Origin(requested_by="ann"), traceparent=_TRACE)
    assert describe_request(plain) == {
        "job": "noop",
        "parameters": {},
        "universe": "u",
        "user": "ann",
        "traceparent": _TRACE,
    }


def test_a_key_is_of_one_start(connection: Connection) -> None:
    first = submit(connection, "noop", symbols=["A"])
    later: dict[str, Any] = {
        "job": "noop",
        "symbols": ["B"],
        "key": "k",
        "start_at": "2026-01-01T00:00Z",
        "after": [first],
    }
    run = submit(connection, **later)
    for same in ({"start_at": "2026-01-01T01:00+01:00"}, {"after": first}, {"after_when": "completed"}):
        assert submit(connection, **{**later, **same}) == run
    for fields, names in (
        ({"start_at": "2026-01-01T00:01Z"}, "start_at"),
        ({"start_at": None}, "start_at"),
        ({"after": run}, "after"),
        ({"after": None}, "after, after_when"),
        ({"after_when": "ended"}, "after_when"),
    ):
        message = f"key 'k' belongs to run {run}, whose request differs in: {names}"
        assert _fault(connection, {**later, **fields}) == ("SW003", message)


def test_a_key_that_was_taken_before_a_run_could_start_later_is_still_its(connection: Connection) -> None:
    run = submit(connection, "noop", symbols=["A"], key="k")
    form = fetch_value(connection, "SELECT canonical_request FROM runs")
    assert sorted(form) == ["as_of", "items", "job", "parameters", "timeframes", "universe"]
    assert submit(connection, "noop", symbols=["A"], key="k") == run


def test_fifty_threads_with_one_key_make_one_run(connection: Connection, database_url: str) -> None:
    together, found, errors = threading.Barrier(50), set[tuple[int, bool]](), []

    def work() -> None:
        try:
            with connect(database_url) as mine:
                together.wait(patient(60))
                row = mine.execute(
                    "SELECT id, is_new FROM submit_run(%s::jsonb)",
                    (json.dumps({"job": "noop", "symbols": ["A"], "key": "only"}),),
                ).fetchone()
                assert row is not None
                found.add(row)
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patient(90))
    assert errors == []
    (run_id,) = _runs(connection)
    assert found == {(run_id, True), (run_id, False)}


@pytest.mark.parametrize("commits", [True, False])
def test_a_key_in_an_open_transaction_waits_for_its_end(
    commits: bool, connection: Connection, other: Connection, database_url: str
) -> None:
    other.execute("SET lock_timeout TO '100ms'")
    answer: list[int] = []
    with ExitStack() as stack:
        with connection.transaction(force_rollback=not commits):
            first = submit(connection, "noop", symbols=["A"], key="k")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                submit(other, "noop", symbols=["A"], key="k")
            waiter = stack.enter_context(connect(database_url))
            thread = threading.Thread(target=lambda: answer.append(submit(waiter, "noop", symbols=["A"], key="k")))
            thread.start()
            _wait_for_lock(other, waiter.info.backend_pid)
        thread.join(patient(30))
    assert (answer[0] == first) is commits
    assert _runs(other) == answer


def _wait_for_lock(connection: Connection, pid: int) -> None:
    deadline = time.monotonic() + patient(30)
    while time.monotonic() < deadline:
        row = connection.execute("SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone()
        if row == ("Lock",):
            return
    pytest.fail("nobody waits")


def test_an_asynchronous_client_submits_too(connection: Connection, database_url: str) -> None:
    async def work() -> int:
        async with await psycopg.AsyncConnection.connect(database_url) as mine:
            request = json.dumps({"job": "noop", "symbols": ["A"]})
            row = await (await mine.execute("SELECT id FROM submit_run(%s::jsonb)", (request,))).fetchone()
            assert row is not None
            return int(row[0])

    made = asyncio.run(work())
    assert _runs(connection) == [made]


def test_names_of_jobs_are_compared_by_their_distance(connection: Connection) -> None:
    pairs = {("", ""): 0, ("a", ""): 1, ("kitten", "sitting"): 3, ("noop", "noop"): 0, ("", "abc"): 3}
    for (one, other_name), distance in pairs.items():
        assert connection.execute("SELECT name_distance(%s, %s)", (one, other_name)).fetchone() == (distance,)


def test_job_types_are_recorded_once_and_forgotten_when_unseen(connection: Connection, registry: Registry) -> None:
    before = connection.execute("SELECT name, seen_at FROM job_types ORDER BY name").fetchall()
    assert [name for name, _ in before] == sorted(registry)
    install_jobs(connection, registry)
    assert connection.execute("SELECT name, seen_at FROM job_types ORDER BY name").fetchall() == before
    connection.execute("UPDATE job_types SET seen_at = seen_at - interval '20 minutes' WHERE name = 'noop'")
    install_jobs(connection, registry)
    ledger.delete_old_job_types(connection)
    row = connection.execute("SELECT seen_at > now() - interval '10 minutes' FROM job_types WHERE name = 'noop'")
    assert row.fetchone() == (True,)
    connection.execute("UPDATE job_types SET seen_at = seen_at - interval '8 days' WHERE name = 'noop'")
    ledger.delete_old_job_types(connection)
    assert "noop" not in {name for (name,) in connection.execute("SELECT name FROM job_types")}


def test_control_a_key_without_its_digest_would_hide_another_request(connection: Connection) -> None:
    submit(connection, "noop", symbols=["A"], key="k")
    connection.execute(
        "UPDATE runs SET request_digest = sha256(convert_to(canonical_request(%s::jsonb)::text, 'UTF8'))",
        (json.dumps({"job": "noop", "symbols": ["B"]}),),
    )
    assert submit(connection, "noop", symbols=["B"], key="k") == 1
