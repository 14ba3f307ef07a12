"""What people do to runs: enqueue, cancel, retry, replay, purge."""

import pytest

from consumer import Consumer
from harness import effects_of, items_of, run_status, start_run
from streamworkers.admin import runs as operations
from streamworkers.database import Connection
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.ledger.reports import DeadFilter
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.engine.registry import Registry
from streamworkers.errors import BadInputError, KeyConflictError, RedisUnavailableError, UnknownNameError


def test_a_purged_item_is_not_retried(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "PERMANENT")
    consumer.work()
    operations.purge(connection, [(run.id, 0)])
    with pytest.raises(BadInputError, match=r"run \d+ has no item that is failed or cancelled"):
        operations.retry(connection, streams, run.id)


def test_when_redis_is_away_at_enqueue_the_error_names_the_run_that_will_start(
    connection: Connection, registry: Registry
) -> None:
    away = open_streams("unix:///nowhere/redis.sock", "x")
    with pytest.raises(
        RedisUnavailableError, match=r"run 1 is in the ledger and will start when Redis can be used; do not"
    ):
        start_run(connection, away, registry, "noop", "A")
    away.close()
    assert connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)


def test_a_cancelled_run_is_neither_started_nor_saved(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    waiting = start_run(connection, streams, registry, "ledger_entry", "A", "B")
    assert operations.cancel(connection, streams, waiting.id) == 2
    consumer.work()
    assert effects_of(connection, waiting) == []
    assert run_status(connection, waiting) == "CANCELLED"
    with pytest.raises(BadInputError, match=r"run \d+ is CANCELLED, and only a run that is PENDING or RUNNING"):
        operations.cancel(connection, streams, waiting.id)


def test_dead_items_are_found_replayed_from_attempt_1_and_purged(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "RAISE", "A", max_attempts=1)
    consumer.work_until_empty()
    (dead,) = ledger_reports.list_dead_items(connection, DeadFilter(error_like="Cannot be"), 10)
    assert (dead["run_id"], dead["seq"], dead["symbol"]) == (run.id, 0, "RAISE")
    assert ledger_reports.list_dead_items(connection, DeadFilter(job="noop"), 10) == []
    assert ledger_reports.list_dead_items(connection, DeadFilter(error_like="cannot_be"), 10) == []
    assert operations.replay(connection, streams, [(run.id, 0)]) == 1
    assert items_of(connection, run)["RAISE"] == ("pending", 0, None)
    consumer.work_until_empty()
    item = ledger_reports.read_dead_item(connection, run, 0)
    assert item is not None
    assert [entry["attempt"] for entry in item["history"]] == [1, 1]
    assert run_status(connection, run) == "COMPLETED_WITH_ERRORS"
    assert operations.purge(connection, [(run.id, 0)]) == 1
    assert ledger_reports.list_dead_items(connection, DeadFilter(), 10) == []
    report = ledger_reports.read_run(connection, run.id)
    assert report is not None
    assert (report["failed_count"], report["cancelled_count"]) == (0, 1)
    with pytest.raises(BadInputError, match=r"run \d+ has no item that is failed"):
        operations.replay(connection, streams, [(run.id, 0)])


def test_a_run_that_was_cancelled_can_be_retried(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A", "B")
    operations.cancel(connection, streams, run.id)
    consumer.work()
    assert operations.retry(connection, streams, run.id) == 2
    consumer.work()
    assert run_status(connection, run) == "COMPLETED"
    assert effects_of(connection, run) == ["A", "B"]
    with pytest.raises(UnknownNameError, match="no run is named '424242'; known: 1"):
        operations.retry(connection, streams, 424242)


def test_the_same_idempotency_key_gives_the_same_run(
    connection: Connection, streams: Streams, registry: Registry
) -> None:
    first = start_run(connection, streams, registry, "noop", "A", idempotency_key="tonight")
    second = start_run(connection, streams, registry, "noop", "A", idempotency_key="tonight")
    assert first.id == second.id
    with pytest.raises(KeyConflictError, match=r"key 'tonight' belongs to run 1, whose request differs in: symbols or"):
        start_run(connection, streams, registry, "noop", "A", "B", idempotency_key="tonight")
    assert streams.inspector.read_backlog("bench").waiting == 1


@pytest.mark.parametrize(
    ("symbols", "words", "message"),
    [
        ([], {}, "a run needs at least one symbol"),
        (["A", "A"], {}, "symbol 'A' is named twice"),
        (["A B"], {}, "the symbol 'A B' is not letters, digits and"),
        (["A"], {"parameters": {"millisecond": 1}}, "parameter millisecond=1 of job 'ledger_entry'"),
        (["A"], {"parameters": {"milliseconds": "x"}}, "parameter milliseconds='x' of job 'ledger_entry'"),
    ],
)
def test_a_bad_request_is_rejected_before_anything_is_written(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    symbols: list[str],
    words: dict[str, object],
    message: str,
) -> None:
    with pytest.raises(BadInputError, match=message):
        start_run(connection, streams, registry, "ledger_entry", *symbols, **words)
    assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)
