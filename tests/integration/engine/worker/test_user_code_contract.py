"""What a handler can do wrong: it pays for it with its reason, its neighbours and other runs do not."""

import json

import psycopg
import pytest

from consumer import Consumer
from harness import effects_of, items_of, run_status, start_run
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.worker import executor
from streamworkers.faults import describe_stack
from streamworkers.logs import configure_logs

CASES = {
    "RAISE": "ValueError: RAISE cannot be computed",
    "CLOSED_CURSOR": "InterfaceError: the cursor is closed",
    "OTHER_DATABASE": "OperationalError: my other database is away",
    "DEADLOCKS": "DeadlockDetected: deadlock of my own",
    "CLOSES": "RuntimeError: a handler must not close the connection of its worker",
    "WRONG_ITEM": "TypeError: the outcome Completed(",
    "SAVE_CLOSED_CURSOR": "InterfaceError: the cursor is closed",
    "SAVE_OTHER_DATABASE": "OperationalError: my other database is away",
    "SAVE_SWALLOWS": "BrokenTransactionError: save caught an error of the database, after which nothing can be",
    "SAVE_CLOSES": "RuntimeError: a handler must not close the connection of its worker",
}


@pytest.mark.parametrize("symbol", CASES)
def test_the_guilty_item_dies_with_its_reason_and_neighbours_and_an_honest_run_complete(
    symbol: str, connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    guilty = start_run(connection, streams, registry, "misbehaving", "A", symbol, "B", max_attempts=2)
    honest = start_run(connection, streams, registry, "ledger_entry", "C", "D")
    consumer.work_until_empty()
    items = items_of(connection, guilty)
    state, attempt, error = items.pop(symbol)
    assert (state, attempt) == ("failed", 2)
    assert error is not None
    assert error.startswith(CASES[symbol])
    assert items == dict.fromkeys("AB", ("completed", 1, None))
    assert (effects_of(connection, guilty), effects_of(connection, honest)) == (["A", "B"], ["C", "D"])
    assert run_status(connection, honest) == "COMPLETED"


def test_nothing_that_a_handler_did_to_its_session_reaches_its_commit_or_another_run(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    messy = start_run(connection, streams, registry, "misbehaving", "A", "LEAVES_A_MESS", "B")
    honest = start_run(connection, streams, registry, "ledger_entry", "C")
    consumer.work_until_empty()
    assert items_of(connection, messy) == dict.fromkeys(("A", "LEAVES_A_MESS", "B"), ("completed", 1, None))
    assert effects_of(connection, messy) == ["A", "B", "LEAVES_A_MESS"]
    assert effects_of(connection, honest) == ["C"]
    locks = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711").fetchone()
    assert locks == (0,)


def test_an_item_that_is_never_decided_fails_and_its_neighbours_do_not(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "A", "RAISE", max_attempts=1)
    monkeypatch.setattr(executor, "is_outage", lambda _, error: isinstance(error, ValueError))
    deliveries = consumer.read()
    # First in company, then each on its own.
    for _ in range(2 * executor.MOST_UNDECIDED):
        with pytest.raises(psycopg.OperationalError, match=r"the connection was lost \(ValueError: RAISE"):
            consumer.execute(deliveries)
    consumer.execute(deliveries)
    reason = f"executed {executor.MOST_UNDECIDED} times without a decision"
    assert items_of(connection, run) == {"A": ("completed", 1, None), "RAISE": ("failed", 1, reason)}


def test_a_failed_attempt_keeps_its_stack_and_the_log_has_it_once_for_an_error_of_a_run(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs("info", "json")
    run = start_run(connection, streams, registry, "misbehaving", "RAISE", max_attempts=2)
    consumer.work_until_empty()
    (history,) = connection.execute("SELECT history FROM run_items WHERE run_id = %s", (run.id,)).fetchone() or ([],)
    assert [attempt["stack"].splitlines()[-1].strip() for attempt in history] == [
        'raise ValueError(f"{item.symbol} cannot be computed")'
    ] * 2
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    failures = [line for line in lines if line["event"] in ("item_failed", "item_dead")]
    assert [(line["event"], line["level"], "stack" in line) for line in failures] == [
        ("item_failed", "warning", True),
        ("item_dead", "warning", False),
    ]


def test_a_stack_is_bounded_and_hides_the_passwords_of_urls() -> None:
    def recurse(depth: int) -> None:
        if not depth:
            raise KeyError("postgresql://me:hunter2@host/db")
        recurse(depth - 1)

    try:
        recurse(200)
    except KeyError as error:
        stack = describe_stack(error)
    assert len(stack) <= 4000
    assert 'KeyError("postgresql://…@host/db")' in stack
    assert "hunter2" not in stack
