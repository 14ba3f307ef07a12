"""Submitted runs get their items once, whatever their jobs do and whichever process dies."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from consumer import Consumer
from harness import effects_of, items_of, run_status
from streamworkers.admin import runs as admin
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.diagnosis.run_checks import find_runs_to_complete, find_unknown_jobs, find_unprepared_runs
from streamworkers.diagnosis.snapshot import Snapshot
from streamworkers.engine import ledger
from streamworkers.engine.enqueue import enqueue, enqueue_many
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.job import RunRequest
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services import preparer as preparer_module
from streamworkers.engine.services.preparer import MOST_ATTEMPTS, Preparer
from streamworkers.engine.services.reconciler import Reconciler
from streamworkers.errors import BadInputError
from streamworkers.market.universes.store import add_symbols
from submitting import install_jobs, load, make_claims_end, make_preparer, reason_of, submit


@pytest.fixture(autouse=True)
def jobs_installed(connection: Connection, registry: Registry) -> None:
    install_jobs(connection, registry)


@pytest.fixture
def preparer(pool: "ConnectionPool[Connection]", streams: Streams, registry: Registry) -> Preparer:
    return make_preparer(pool, streams, registry)


@pytest.fixture
def reconciler(pool: "ConnectionPool[Connection]", streams: Streams) -> Reconciler:
    return Reconciler(pool, streams, ["tests"], 0.1, -60.0, PoolMetrics())


def _count(connection: Connection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


def test_a_submitted_run_is_one_row_until_it_is_prepared(
    connection: Connection, preparer: Preparer, consumer: Consumer
) -> None:
    run_id = submit(connection, "ledger_entry", symbols=["A", "B"], parameters={"milliseconds": 1})
    waiting = load(connection, run_id)
    assert (waiting.status, waiting.is_prepared, waiting.item_count, waiting.queue) == ("PENDING", False, 0, "")
    assert _count(connection, "run_items") == 0
    assert preparer.run_once() is None
    run = load(connection, run_id)
    assert (run.is_prepared, run.is_enqueued, run.item_count, run.queue) == (True, True, 2, "tests")
    assert (run.max_attempts, run.parameters) == (3, {"milliseconds": 1})
    assert connection.execute("SELECT request, prepare_after FROM runs").fetchall() == [(None, None)]
    consumer.work_until_empty()
    assert run_status(connection, run) == "COMPLETED"
    assert effects_of(connection, run) == ["A", "B"]
    assert ledger_reports.read_enqueued_totals(connection) == [(("tests", "ledger_entry"), 2)]


def test_a_reconciler_leaves_a_run_without_items_alone(
    connection: Connection, reconciler: Reconciler, streams: Streams
) -> None:
    run_id = submit(connection, "ledger_entry", symbols=["A"])
    reconciler.run_once()
    assert ledger.close_runs(connection, [load(connection, run_id)]) == ({}, {run_id: 0})
    assert load(connection, run_id).status == "PENDING"


def test_control_a_prepared_run_without_items_would_be_completed(
    connection: Connection, reconciler: Reconciler, streams: Streams
) -> None:
    run_id = submit(connection, "ledger_entry", symbols=["A"])
    connection.execute("UPDATE runs SET prepared_at = now(), queue = 'tests'")
    reconciler.run_once()
    assert load(connection, run_id).status == "COMPLETED"


def test_the_release_before_cannot_complete_a_run_without_items(connection: Connection) -> None:
    submit(connection, "ledger_entry", symbols=["A"])
    with pytest.raises(psycopg.errors.CheckViolation, match="runs_prepared_check"):
        connection.execute("UPDATE runs SET status = 'COMPLETED', completed_at = clock_timestamp()")


def test_a_run_that_the_release_before_inserts_is_prepared(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO runs (job, queue, target, parameters, item_count, max_attempts)"
        " VALUES ('ledger_entry', 'tests', 'x', '{}', 1, 3)"
    )
    assert load(connection, 1).is_prepared


def test_a_run_waits_and_can_be_cancelled(connection: Connection, streams: Streams, preparer: Preparer) -> None:
    run_id = submit(connection, "ledger_entry", symbols=["A"])
    assert admin.cancel(connection, streams, run_id) == 0
    preparer.run_once()
    assert load(connection, run_id).status == "CANCELLED"
    assert _count(connection, "run_items") == 0
    with pytest.raises(BadInputError, match=f"run {run_id} is CANCELLED and never got its items: submit it again"):
        admin.retry(connection, streams, run_id)


def test_a_run_sees_its_universe_as_it_is_when_it_is_prepared(connection: Connection, preparer: Preparer) -> None:
    add_symbols(connection, "mine", ["A"])
    run_id = submit(connection, "ledger_entry", universe="mine", timeframes=["day", "hour"])
    add_symbols(connection, "mine", ["B"])
    preparer.run_once()
    rows = connection.execute("SELECT symbol, timeframe FROM run_items ORDER BY seq").fetchall()
    assert rows == [("A", "day"), ("A", "hour"), ("B", "day"), ("B", "hour")]
    assert connection.execute("SELECT target FROM runs WHERE id = %s", (run_id,)).fetchone() == ("mine",)


def test_an_as_of_is_kept(connection: Connection, preparer: Preparer) -> None:
    run_id = submit(connection, "ledger_entry", symbols=["A"], as_of="2026-11-25T16:00:00-05:00", timeframe="day")
    preparer.run_once()
    run = load(connection, run_id)
    assert (run.as_of, run.timeframe) == (datetime(2026, 11, 25, 21, tzinfo=UTC), "day")


@pytest.mark.parametrize(
    ("job", "fields", "reason"),
    [
        (
            "ledger_entry",
            {"symbols": ["A"], "as_of": "2090-01-01T00:00:00Z"},
            "as-of 2090-01-01T00:00:00+00:00 is in the future: leave it out, and the run sees what is there now",
        ),
        ("ledger_entry", {"universe": "nowhere"}, "no universe is named 'nowhere'; there is no universe yet"),
        ("ledger_entry", {"symbols": ["A"], "timeframe": "eon"}, "timeframe 'eon' is not one of 1min, hour"),
        ("ledger_entry", {"symbols": ["A"], "parameters": {"milliseconds": "x"}}, "parameter milliseconds='x' of job"),
        ("choosing", {"parameters": {"even": 3}}, "parameter even=3 of job 'choosing': it is odd"),
        ("choosing", {"parameters": {"do": "reject"}}, "the parameter do is not to my liking"),
        ("choosing", {"parameters": {"do": "none"}}, "a run needs at least one id"),
        ("choosing", {"parameters": {"chosen": ["A", "A"]}}, "'A' is named twice"),
        ("choosing", {"parameters": {"chosen": ["x" * 201]}}, "is not 1 to 200 printable characters"),
        ("health_check", {"items": ["toes"]}, "no part of job 'health_check' is named 'toes'; known: system"),
    ],
)
def test_a_request_that_breaks_a_rule_ends_the_run_with_the_reason(
    job: str, fields: dict[str, Any], reason: str, connection: Connection, preparer: Preparer
) -> None:
    run_id = submit(connection, job, **fields)
    preparer.run_once()
    status, text = reason_of(connection, run_id)
    assert status == "FAILED"
    assert text is not None
    assert reason in text
    (event,) = ledger.take_events(connection, 10)
    told = json.loads(event.text)
    assert (event.channel, told["kind"], told["run_id"], told["reason"]) == (
        "tickstock:errors",
        "run_failed",
        run_id,
        text,
    )
    assert connection.execute("SELECT error FROM job_executions").fetchall() == [(text,)]
    assert _count(connection, "run_items") == 0


def test_a_job_that_finds_nothing_to_do_completes_its_run(connection: Connection, preparer: Preparer) -> None:
    run_id = submit(connection, "choosing", parameters={"do": "nothing"})
    preparer.run_once()
    assert reason_of(connection, run_id) == ("COMPLETED", "no delivery waits")
    assert ledger.take_events(connection, 10) == []


def test_a_job_that_finds_nothing_to_do_completes_its_run_at_enqueue(
    connection: Connection, streams: Streams, registry: Registry
) -> None:
    request = RunRequest("choosing", (), "x", parameters={"do": "nothing"})
    run, is_new = enqueue(connection, streams, registry, request)
    assert (run.status, is_new) == ("COMPLETED", True)
    assert reason_of(connection, run.id) == ("COMPLETED", "no delivery waits")


def test_items_can_be_ids_with_odd_characters(connection: Connection, preparer: Preparer, consumer: Consumer) -> None:
    asked, chosen = ["a b", "ü/€ 'x' \"y\"", "%s {}"], ["\\x00", "日本", "x" * 200]
    run_id = submit(connection, "choosing", items=asked, parameters={"chosen": chosen})
    preparer.run_once()
    consumer.work_until_empty()
    run = load(connection, run_id)
    assert run.status == "COMPLETED"
    assert sorted(effects_of(connection, run)) == sorted([*asked, *chosen])


@pytest.mark.parametrize(
    ("do", "reason"),
    [
        ("raise", "prepare: ValueError: a fault of the job"),
        ("exit", "prepare: SystemExit: 3"),
        ("close", "prepare: RuntimeError: a handler must not close the connection"),
        ("wrong", "prepare: TypeError: prepare of job 'choosing' returned None, not a RunRequest"),
        ("nul", "the prepared run cannot be stored: "),
        ("sleep", "job 'choosing' cannot prepare a run: QueryCanceled: canceling statement due to statement timeout"),
    ],
)
def test_a_prepare_that_fails_is_called_a_few_times(
    do: str,
    reason: str,
    connection: Connection,
    pool: "ConnectionPool[Connection]",
    streams: Streams,
    registry: Registry,
) -> None:
    preparer = make_preparer(pool, streams, registry, lease_seconds=1.0)
    run_id = submit(connection, "choosing", parameters={"do": do})
    for attempt in range(1, MOST_ATTEMPTS + 1):
        assert reason_of(connection, run_id) == ("PENDING", None)
        preparer.run_once()
        assert _attempts_of(connection, run_id) == attempt
        make_claims_end(connection)
    status, text = reason_of(connection, run_id)
    assert status == "FAILED"
    assert text is not None
    assert text.startswith(reason)


def _attempts_of(connection: Connection, run_id: int) -> int:
    row = connection.execute("SELECT prepare_attempts FROM runs WHERE id = %s", (run_id,)).fetchone()
    assert row is not None
    return int(row[0])


def test_what_a_prepare_does_to_the_session_ends_with_it(
    connection: Connection, preparer: Preparer, consumer: Consumer
) -> None:
    first = submit(connection, "choosing", parameters={"do": "mess"})
    second = submit(connection, "choosing", items=["B"])
    preparer.run_once()
    consumer.work_until_empty()
    assert [load(connection, each).status for each in (first, second)] == ["COMPLETED", "COMPLETED"]


def test_one_run_that_cannot_be_stored_does_not_hold_up_the_others(connection: Connection, preparer: Preparer) -> None:
    bad = submit(connection, "choosing", parameters={"do": "nul"})
    good = [submit(connection, "ledger_entry", symbols=["A"]) for _ in range(5)]
    preparer.run_once()
    assert [load(connection, each).is_enqueued for each in good] == [True] * 5
    assert not load(connection, bad).is_prepared


def test_an_outage_is_not_charged(connection: Connection, preparer: Preparer, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = submit(connection, "ledger_entry", symbols=["A"])

    def break_connection(connection: Connection, *_: object) -> None:
        connection.pgconn.finish()
        connection.execute("SELECT 1")

    with monkeypatch.context() as patch:
        patch.setattr(preparer_module, "prepare_request", break_connection)
        for _ in range(2 * MOST_ATTEMPTS):
            with pytest.raises(psycopg.OperationalError):
                preparer.run_once()
    preparer.run_once()
    assert load(connection, run_id).is_prepared
    assert _attempts_of(connection, run_id) == 1


def test_a_run_that_ends_every_process_that_prepares_it_fails_alone(
    connection: Connection, preparer: Preparer, registry: Registry
) -> None:
    runs = [submit(connection, "ledger_entry", symbols=["A"]) for _ in range(4)]
    claimed = []
    for _ in range(MOST_ATTEMPTS):  # each process claims, and dies before it has written anything
        claimed.append([claim.id for claim in ledger.claim_submitted(connection, sorted(registry), 10, 30.0)])
        make_claims_end(connection)
    assert claimed == [runs, *[runs[:1]] * (MOST_ATTEMPTS - 1)]
    preparer.run_once()
    reason = f"prepare was called {MOST_ATTEMPTS} times and never returned"
    assert reason_of(connection, runs[0]) == ("FAILED", reason)
    assert all(load(connection, each).is_enqueued for each in runs[1:])


class _Died(BaseException):
    """The process ended here."""


_STEPS = ("claim_submitted", "record_prepared", "add_runs", "mark_enqueued")


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", _STEPS)
def test_a_preparer_that_dies_at_a_step_loses_nothing(
    step: str,
    moment: str,
    connection: Connection,
    pool: "ConnectionPool[Connection]",
    preparer: Preparer,
    reconciler: Reconciler,
    consumer: Consumer,
    streams: Streams,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = [submit(connection, "ledger_entry", symbols=[f"S{number}", "T"]) for number in range(3)]
    owner: Any = streams.queues if step == "add_runs" else ledger
    original: Callable[..., Any] = getattr(owner, step)

    def die(*words: Any) -> None:
        if moment == "after":
            original(*words)
        raise _Died

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, die)
        with pytest.raises(_Died):
            preparer.run_once()
    make_claims_end(connection)
    successor = make_preparer(pool, streams, registry)
    while any(not load(connection, each).is_prepared for each in runs):
        successor.run_once()
    while reconciler.run_once() == 0.0:
        pass
    consumer.work_until_empty()
    for number, each in enumerate(runs):
        run = load(connection, each)
        assert run.status == "COMPLETED"
        assert effects_of(connection, run) == sorted([f"S{number}", "T"])
    assert ledger_reports.read_enqueued_totals(connection) == [(("tests", "ledger_entry"), 6)]


def test_a_claim_that_was_lost_writes_nothing(
    connection: Connection, pool: "ConnectionPool[Connection]", streams: Streams, registry: Registry
) -> None:
    run_id = submit(connection, "ledger_entry", symbols=["A"])
    slow = ledger.claim_submitted(connection, ["ledger_entry"], 10, 30.0)
    make_claims_end(connection)
    make_preparer(pool, streams, registry).run_once()
    late = ledger.PreparedRun(slow[0], RunRequest("ledger_entry", ("X", "Y"), "late"), "tests", 3)
    assert ledger.record_prepared(connection, [late]) == []
    assert not ledger.reject_submitted(connection, slow[0], "late")
    assert list(items_of(connection, load(connection, run_id))) == ["A"]


def test_when_redis_is_away_the_run_is_prepared_and_starts_later(
    connection: Connection,
    pool: "ConnectionPool[Connection]",
    registry: Registry,
    reconciler: Reconciler,
    consumer: Consumer,
) -> None:
    run_id = submit(connection, "ledger_entry", symbols=["A"])
    away = open_streams("unix:///nowhere/redis.sock", "x")
    make_preparer(pool, away, registry).run_once()
    assert (load(connection, run_id).is_prepared, load(connection, run_id).is_enqueued) == (True, False)
    reconciler.run_once()
    consumer.work_until_empty()
    assert load(connection, run_id).status == "COMPLETED"


def test_a_job_that_nobody_here_knows_is_left_to_others(
    connection: Connection, pool: "ConnectionPool[Connection]", streams: Streams, registry: Registry, settings: Settings
) -> None:
    run_id = submit(connection, "ledger_entry", symbols=["A"])
    few = Registry([registry["noop"]])
    make_preparer(pool, streams, few).run_once()
    assert not load(connection, run_id).is_prepared
    snapshot = Snapshot(connection, streams, few, settings)
    assert [finding.where for finding in find_unknown_jobs(snapshot)] == [f"run {run_id}"]
    assert list(find_runs_to_complete(snapshot)) == []
    assert list(snapshot.entries) == ["bench"]
    assert list(find_unprepared_runs(snapshot)) == []
    connection.execute("UPDATE runs SET created_at = %s", (datetime.now(UTC) - timedelta(seconds=90),))
    (finding,) = find_unprepared_runs(Snapshot(connection, streams, few, settings))
    assert finding.what.startswith(f"it could be prepared since {datetime.now(UTC):%Y-}")
    assert finding.what.endswith("UTC; its job is 'ledger_entry'")


def test_many_runs_and_a_large_one_are_prepared(
    connection: Connection, preparer: Preparer, consumer: Consumer, streams: Streams
) -> None:
    requests = [RunRequest("ledger_entry", (f"S{number}",), "x") for number in range(700)]
    large = RunRequest("noop", tuple(f"L{number}" for number in range(1500)), "x")
    made = enqueue_many(connection, [*requests, large])
    assert [each.is_new for each in made] == [True] * 701
    assert [each.id for each in made] == sorted(each.id for each in made)
    preparer.run_once()
    assert connection.execute("SELECT count(*) FROM runs WHERE enqueued_at IS NOT NULL").fetchone() == (701,)
    assert streams.inspector.read_backlog("tests").waiting == 700
    assert streams.inspector.read_backlog("bench").waiting == 1500
    assert streams.inspector.read_open_counts_of("bench", [made[-1].id]) == {made[-1].id: 1500}
    assert sorted(ledger_reports.read_enqueued_totals(connection)) == [
        (("bench", "noop"), 1500),
        (("tests", "ledger_entry"), 700),
    ]


def test_two_preparers_share_the_work(
    connection: Connection,
    pool: "ConnectionPool[Connection]",
    streams: Streams,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = [submit(connection, "ledger_entry", symbols=["A"]) for _ in range(6)]
    monkeypatch.setattr(preparer_module, "CLAIM_LIMIT", 2)
    original = ledger.claim_submitted
    nested: list[int] = []

    def claim(*words: Any) -> Any:
        claimed = original(*words)
        if not nested:  # while the first one prepares, the other one does a whole step
            nested.append(1)
            make_preparer(pool, streams, registry).run_once()
        return claimed

    monkeypatch.setattr(ledger, "claim_submitted", claim)
    make_preparer(pool, streams, registry).run_once()
    assert [load(connection, each).item_count for each in runs] == [1] * 6
    assert _count(connection, "run_items") == 6


@pytest.fixture(autouse=True)
def nothing_is_left_claimed(connection: Connection) -> Iterator[None]:
    yield
    rows = connection.execute(
        "SELECT id FROM runs WHERE prepared_at IS NOT NULL AND prepare_after IS NOT NULL"
    ).fetchall()
    assert rows == []
