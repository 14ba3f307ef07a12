"""Many runs enqueued in one call: the same as each by its own, all or none, and repaired after any death."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from consumer import Consumer
from harness import run_status
from streamworkers.database import Connection, fetch_row, fetch_rows
from streamworkers.engine import enqueue as enqueue_module
from streamworkers.engine.enqueue import enqueue, enqueue_runs
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.job import Origin, RunRequest
from streamworkers.engine.ledger.reports import read_enqueued_totals
from streamworkers.engine.redis.entry import unpack_entry
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.reconciler import Reconciler
from streamworkers.errors import BadInputError, KeyConflictError, RedisUnavailableError, UnknownNameError

_OWN_COLUMNS = (
    "id",
    "run_uuid",
    "transaction",
    "created_at",
    "prepared_at",
    "completed_at",
    "started_at",
    "enqueued_at",
)
SMALL = RunRequest("ledger_entry", ("A", "B"), "test")


@pytest.fixture
def reconciler(pool: "ConnectionPool[Connection]", streams: Streams) -> Reconciler:
    return Reconciler(pool, streams, ["tests"], 0.1, -60.0, PoolMetrics())


def _requests() -> list[RunRequest]:
    moment = datetime(2026, 11, 25, 21, tzinfo=UTC)
    origin = Origin("event", None, "nightly", moment, "job-1", "ann")
    words: dict[str, Any] = {"parameters": {"milliseconds": 1}, "max_attempts": 7, "as_of": moment, "origin": origin}
    return [
        SMALL,
        RunRequest("ledger_entry", ("BF/B", "M&M.NS", "^GSPC", "BACpA", "X" * 32), "odd names", "day", **words),
        RunRequest("noop", ("A", "B"), "two timeframes", timeframes=("day", "week")),
        RunRequest("ledger_entry", ("A",), "with a key", idempotency_key="first"),
        RunRequest("ledger_entry", tuple(f"S{n}" for n in range(1001)), "large"),
        RunRequest("choosing", (), "chosen", parameters={"do": "nothing"}),
    ]


def _row(connection: Connection, run_id: int) -> dict[str, object]:
    row = fetch_row(connection, "SELECT * FROM runs WHERE id = %s", (run_id,))
    assert row is not None
    return {name: value for name, value in row.items() if name not in _OWN_COLUMNS}


def _items(connection: Connection, run_id: int) -> list[dict[str, object]]:
    rows = fetch_rows(connection, "SELECT * FROM run_items WHERE run_id = %s ORDER BY seq", (run_id,))
    return [{name: value for name, value in row.items() if name != "run_id"} for row in rows]


def _entries(streams: Streams, run_id: int) -> list[tuple[object, ...]]:
    raw: Any = streams.client.raw
    payloads = [fields[b"e"] for queue in ("tests", "bench") for _, fields in raw.xrange(streams.keys.stream(queue))]
    entries = [unpack_entry(packed, 16_384) for packed in payloads]
    return [(*each[1:5], each.generation, each.attempt) for each in entries if each.run_id == run_id]


def _count_runs(connection: Connection) -> int:
    return len(connection.execute("SELECT FROM runs").fetchall())


def test_each_run_is_as_if_it_was_enqueued_alone(connection: Connection, streams: Streams, registry: Registry) -> None:
    alone = [enqueue(connection, streams, registry, request)[0] for request in _requests()]
    totals = dict(read_enqueued_totals(connection))
    again = [replace(each, idempotency_key=each.idempotency_key and "second") for each in _requests()]
    made = enqueue_runs(connection, streams, registry, again)
    assert [is_new for _, is_new in made] == [True] * len(alone)
    for one, (other, _) in zip(alone, made, strict=True):
        ours, theirs = _row(connection, other.id), _row(connection, one.id)
        assert ours.pop("idempotency_key") == (theirs.pop("idempotency_key") and "second")
        assert ours == theirs
        assert _items(connection, other.id) == _items(connection, one.id)
        assert _entries(streams, other.id) == _entries(streams, one.id)
        assert replace(other, id=0) == replace(one, id=0)
        assert streams.inspector.read_open_counts_of(other.queue, [other.id])[other.id] == (one.item_count or None)
    assert dict(read_enqueued_totals(connection)) == {name: 2 * count for name, count in totals.items()}


def test_all_of_them_complete(connection: Connection, streams: Streams, registry: Registry, consumer: Consumer) -> None:
    made = enqueue_runs(connection, streams, registry, [SMALL] * 60)
    assert [run.id for run, _ in made] == sorted({run.id for run, _ in made})
    consumer.work(count=1000)
    assert {run_status(connection, run) for run, _ in made} == {"COMPLETED"}
    assert connection.execute("SELECT count(*), count(DISTINCT (run_id, symbol)) FROM effects").fetchone() == (120, 120)
    assert connection.execute("SELECT count(*) FROM runs WHERE enqueued_at IS NULL").fetchone() == (0,)


def test_a_key_that_comes_twice_is_one_run(connection: Connection, streams: Streams, registry: Registry) -> None:
    keyed = replace(SMALL, idempotency_key="k")
    (first, is_new), (_, _), (second, is_again) = enqueue_runs(connection, streams, registry, [keyed, SMALL, keyed])
    assert (first.id, is_new, is_again) == (second.id, True, False)
    assert len(_entries(streams, first.id)) == 2
    with pytest.raises(KeyConflictError, match=rf"key 'k' belongs to run {first.id}, .* differs in: symbols or items"):
        enqueue_runs(connection, streams, registry, [SMALL, replace(keyed, symbols=("C",))])
    assert _count_runs(connection) == 2


@pytest.mark.parametrize(
    ("bad", "kind", "message"),
    [
        (replace(SMALL, symbols=("A", "A")), BadInputError, "symbol 'A' is named twice"),
        (replace(SMALL, symbols=("A\0",)), BadInputError, r"the symbol 'A\\x00' is not letters, digits"),
        (replace(SMALL, parameters={"milliseconds": "x"}), BadInputError, "parameter milliseconds='x'"),
        (replace(SMALL, job="nope"), UnknownNameError, "nope"),
        (replace(SMALL, max_attempts=101), psycopg.errors.CheckViolation, "runs_max_attempts_check"),
        (replace(SMALL, target="\0"), psycopg.DataError, "0x00"),
    ],
)
def test_one_that_is_rejected_leaves_none(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    bad: RunRequest,
    kind: type[Exception],
    message: str,
) -> None:
    with pytest.raises(kind, match=message):
        enqueue_runs(connection, streams, registry, [SMALL, bad, SMALL])
    assert _count_runs(connection) == 0
    assert read_enqueued_totals(connection) == []
    assert streams.client.raw.exists(streams.keys.stream("tests")) == 0


def test_a_call_is_bounded(
    connection: Connection, streams: Streams, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert enqueue_runs(connection, streams, registry, []) == []
    with pytest.raises(BadInputError, match="10001 requests are over the limit of 10000 for one call"):
        enqueue_runs(connection, streams, registry, [SMALL] * 10_001)
    monkeypatch.setattr(enqueue_module, "MOST_ITEMS_OF_RUNS", 3)
    with pytest.raises(BadInputError, match="the 4 items of the requests are over the limit of 3 for one call"):
        enqueue_runs(connection, streams, registry, [SMALL] * 2)
    assert _count_runs(connection) == 0


def test_without_redis_the_ledger_has_them_and_the_error_says_so(
    connection: Connection, streams: Streams, registry: Registry, reconciler: Reconciler
) -> None:
    away = open_streams("redis://127.0.0.1:1", streams.keys.prefix)
    with pytest.raises(RedisUnavailableError, match=r"^3 runs from 1 to 3 are in the ledger.*do not enqueue them"):
        enqueue_runs(connection, away, registry, [SMALL] * 3)
    with pytest.raises(RedisUnavailableError, match=r"^run 4 is in the ledger.*do not enqueue it again"):
        enqueue_runs(connection, away, registry, [SMALL])
    assert reconciler.run_once() is None
    assert [len(_entries(streams, run_id)) for run_id in range(1, 5)] == [2] * 4


def test_a_death_between_two_portions_is_repaired_and_nothing_is_added_twice(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add = streams.queues.add_runs
    calls: list[object] = []

    def die_at_the_second(*words: object) -> None:
        calls.append(words)
        if len(calls) == 2:
            raise KeyboardInterrupt
        add(*words)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(enqueue_module, "_PIPELINE", 4)
        patch.setattr(streams.queues, "add_runs", die_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            enqueue_runs(connection, streams, registry, [SMALL] * 5)
    assert [len(_entries(streams, run_id)) for run_id in range(1, 6)] == [2, 2, 0, 0, 0]
    assert reconciler.run_once() is None
    assert [len(_entries(streams, run_id)) for run_id in range(1, 6)] == [2] * 5
    assert connection.execute("SELECT count(*) FROM runs WHERE enqueued_at IS NULL").fetchone() == (0,)
