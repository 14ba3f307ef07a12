"""What a handler can do wrong: it pays for it with its reason, its neighbours and other runs do not."""

import decimal
import json
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from consumer import Consumer
from harness import effects_of, items_of, run_status, start_run, wait_until
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.worker import executor, session
from streamworkers.engine.worker.decide import MAX_ERROR_CHARACTERS
from streamworkers.engine.worker.process_state import read_process_state, restore_process_state
from streamworkers.engine.worker.undecided import MOST_UNDECIDED
from streamworkers.errors import RedisUnavailableError
from streamworkers.faults import describe_stack
from streamworkers.logs import configure_logs

# What an item does, the executions that it costs with two attempts, and its reason.
CASES = {
    "RAISE": (3, "ValueError: RAISE cannot be computed"),
    "HALF_WAY": (3, "ValueError: half way"),
    "CLOSED_CURSOR": (3, "InterfaceError: the cursor is closed"),
    "OTHER_DATABASE": (3, "OperationalError: my other database is away"),
    "DEADLOCKS": (3, "DeadlockDetected: deadlock of my own"),
    "CLOSES": (3, "RuntimeError: a handler must not close the connection of its worker"),
    "INTERRUPTED": (3, "KeyboardInterrupt: by hand"),
    "GENERATOR_EXIT": (3, "GeneratorExit: early"),
    "OWN_BASE_EXCEPTION": (3, "OwnError: no Exception"),
    "RECURSES": (3, "RecursionError: maximum recursion depth exceeded"),
    "HUGE_ERROR": (3, "ValueError: xxx"),
    "WRONG_ITEM": (3, "TypeError: the outcome Completed("),
    "TWICE": (3, "TypeError: the handler returned two outcomes of TWICE"),
    "NOT_AN_OUTCOME": (3, "TypeError: 'done' is not Completed, Failed or Snoozed"),
    "NO_OUTCOME": (2, "the handler returned no outcome for this item"),
    "RESULT_NO_DICT": (3, "TypeError: the result of RESULT_NO_DICT is [1], not a dict"),
    "UNKNOWN_TALLY": (3, "ValueError: the tally ('nothing',) is not the name of a counter of the job"),
    "TALLY_NO_NUMBER": (3, "ValueError: the tally ('sample_things', 'red') is -1, not a number of 0 or more"),
    "HUGE_RESULT": (2, "ValueError: results of 1 takes 2000"),
    "RESULT_NO_JSON": (2, "TypeError: Object of type object is not JSON serializable"),
    "RESULT_NUL": (2, "UntranslatableCharacter: unsupported Unicode escape sequence"),
    "SAVE_RAISES": (2, "NotNullViolation: null value in column"),
    "SAVE_CLOSED_CURSOR": (2, "InterfaceError: the cursor is closed"),
    "SAVE_OTHER_DATABASE": (2, "OperationalError: my other database is away"),
    "SAVE_SWALLOWS": (2, "BrokenTransactionError: save caught an error of the database, after which nothing can be"),
    "SAVE_ENDS": (2, "BrokenTransactionError: save ended the transaction that it was called in"),
    "SAVE_COMMITS": (2, "BrokenTransactionError: save ended the transaction that it was called in"),
    "SAVE_ENDS_UNSEEN": (2, "BrokenTransactionError: save ended the transaction that it was called in"),
    "SAVE_CLOSES": (2, "RuntimeError: a handler must not close the connection of its worker"),
    "SAVE_INTERRUPTED": (2, "KeyboardInterrupt: by hand"),
    "SAVE_NOTHING_ITERABLE": (2, "TypeError: 'int' object is not iterable"),
    "SAVE_NO_EVENT": (2, "TypeError: 'an event' is not an Event"),
    "BAD_EVENT": (2, "TypeError: payload [1] of an event for x is not a dict"),
    "SAVE_HUGE_EVENT": (2, "ValueError: payload of 1 takes 2000"),
    "SAVE_EVENT_NUL": (2, "UntranslatableCharacter: unsupported Unicode escape sequence"),
}


@pytest.fixture(autouse=True)
def executions_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the job writes its executions down."""
    path = tmp_path / "executions"
    monkeypatch.setenv("SAMPLE_JOBS_EXECUTIONS", str(path))
    return path


@pytest.mark.parametrize("symbol", CASES)
def test_the_guilty_item_dies_with_its_reason_and_neighbours_and_an_honest_run_complete(
    symbol: str,
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    executions_file: Path,
) -> None:
    guilty = start_run(connection, streams, registry, "misbehaving", "A", symbol, "B", max_attempts=2)
    honest = start_run(connection, streams, registry, "inspecting", "C", "D")
    consumer.work_until_empty()
    items = items_of(connection, guilty)
    state, attempt, error = items.pop(symbol)
    executions, reason = CASES[symbol]
    assert (state, attempt) == ("failed", 2)
    assert error is not None
    assert error.startswith(reason)
    assert len(error) <= MAX_ERROR_CHARACTERS
    assert executions_file.read_text(encoding="utf-8").count(f" {symbol}\n") == executions
    assert items == dict.fromkeys("AB", ("completed", 1, None))
    assert (effects_of(connection, guilty), effects_of(connection, honest)) == (["A", "B"], ["C", "D"])
    assert run_status(connection, honest) == "COMPLETED"


@pytest.mark.parametrize("symbol", ["LEAVES_A_SESSION", "DEALLOCATES", "LEAVES_A_PROCESS", "LEAVES_A_MESS"])
def test_what_a_handler_leaves_behind_reaches_neither_its_commit_nor_the_next_run(
    symbol: str, connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    messy = start_run(connection, streams, registry, "misbehaving", "A", symbol, "B")
    honest = start_run(connection, streams, registry, "inspecting", "C")
    consumer.work_until_empty()
    assert items_of(connection, messy) == dict.fromkeys(("A", symbol, "B"), ("completed", 1, None))
    assert items_of(connection, honest) == {"C": ("completed", 1, None)}
    assert effects_of(connection, messy) == sorted(["A", "B", symbol])
    assert effects_of(connection, honest) == ["C"]


def test_the_honest_job_would_find_what_is_left_behind(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control of the test above: without the restoration of the process the honest run fails."""
    monkeypatch.setattr(session, "restore_process_state", lambda _: None)
    monkeypatch.setattr(session, "copy_context", lambda: _NoContext())
    state = read_process_state()
    try:
        start_run(connection, streams, registry, "misbehaving", "LEAVES_A_PROCESS")
        honest = start_run(connection, streams, registry, "inspecting", "C")
        consumer.work_until_empty()
    finally:
        restore_process_state(state)
        decimal.setcontext(decimal.DefaultContext)
    assert items_of(connection, honest)["C"][2] == (
        "PermanentError: left behind: folder, environment, umask, socket timeout, decimal, recursion limit, gc,"
        " warnings, logging, structlog, SIGTERM, SIGCHLD, mask, timer, open files, stderr"
    )


class _NoContext:
    """Runs a function in the context that is there."""

    def run(self, _: object, action: Any) -> Any:
        return action()


def test_a_thread_that_a_handler_leaves_behind_cannot_use_the_connection(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    messy = start_run(connection, streams, registry, "misbehaving", "A", "LEAVES_A_THREAD", "B")
    honest = start_run(connection, streams, registry, "inspecting", "C")
    consumer.work_until_empty()
    assert set(items_of(connection, messy).values()) == {("completed", 1, None)}
    assert run_status(connection, honest) == "COMPLETED"
    errors = sys.modules["misbehaviour"].thread_errors
    wait_until(lambda: errors, what="the thread is refused")
    assert errors.pop() == "a thread of a handler must not use the connection of its worker after the call"


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
    for _ in range(2 * MOST_UNDECIDED - 1):
        with pytest.raises(psycopg.OperationalError, match=r"the connection was lost \(ValueError: RAISE"):
            consumer.execute(deliveries)
    consumer.execute(deliveries)
    reason = f"executed {2 * MOST_UNDECIDED} times without a decision: ValueError: RAISE cannot be computed"
    assert items_of(connection, run) == {"A": ("completed", 1, None), "RAISE": ("failed", 1, reason)}


# A server that has no space left for the rows of a table, or for those of a state of items.
NO_SPACE = """
    CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = 'disk_full'; END $$;
    CREATE TRIGGER no_space BEFORE INSERT ON effects FOR EACH ROW EXECUTE FUNCTION no_space();
    CREATE TRIGGER no_space BEFORE UPDATE ON run_items FOR EACH ROW EXECUTE FUNCTION no_space();
"""


@pytest.mark.parametrize(("job", "table"), [("ledger_entry", "effects"), ("ledger_entry", ""), ("noop", "")])
@pytest.mark.parametrize("symbols", ["A", "AB"])
def test_an_item_pays_nothing_for_a_store_that_takes_no_failure_either(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    job: str,
    table: str,
    symbols: str,
) -> None:
    run = start_run(connection, streams, registry, job, *symbols)
    deliveries = consumer.read(run.queue)
    connection.execute(NO_SPACE)
    if table:  # what completes items works until then
        connection.execute(
            "DROP TRIGGER no_space ON run_items; CREATE TRIGGER no_space BEFORE UPDATE ON run_items FOR EACH ROW"
            " WHEN (NEW.status <> 'completed') EXECUTE FUNCTION no_space()"
        )
    for _ in range(3 * MOST_UNDECIDED):
        with pytest.raises(psycopg.errors.OperationalError, match="no space"):
            consumer.execute(deliveries)
    connection.execute("DROP FUNCTION no_space CASCADE")
    consumer.execute(deliveries)
    assert items_of(connection, run) == dict.fromkeys(symbols, ("completed", 1, None))


@pytest.mark.parametrize("job", ["ledger_entry", "noop"])
def test_an_item_pays_for_a_store_that_takes_its_failure_and_not_its_result(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, job: str
) -> None:
    run = start_run(connection, streams, registry, job, "A", max_attempts=1)
    deliveries = consumer.read(run.queue)
    connection.execute(NO_SPACE)
    connection.execute(
        "DROP TRIGGER no_space ON run_items; CREATE TRIGGER no_space BEFORE UPDATE ON run_items FOR EACH ROW"
        " WHEN (NEW.status = 'completed') EXECUTE FUNCTION no_space()"
    )
    for _ in range(MOST_UNDECIDED - 1):
        with pytest.raises(psycopg.errors.OperationalError, match="no space"):
            consumer.execute(deliveries)
    consumer.execute(deliveries)
    ((state, attempt, error),) = items_of(connection, run).values()
    assert (state, attempt) == ("failed", 1)
    assert error is not None
    assert error.startswith(f"executed {MOST_UNDECIDED} times without a decision: DiskFull: no space")


def test_an_item_pays_nothing_while_redis_takes_no_writes(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = start_run(connection, streams, registry, "misbehaving", "RAISE", max_attempts=1)
    deliveries = consumer.read()
    monkeypatch.setattr(executor, "is_outage", lambda *_: True)
    client: Any = streams.client.raw
    client.execute_command("ACL", "SETUSER", "default", "-set")
    try:
        for _ in range(2 * MOST_UNDECIDED):
            with pytest.raises((psycopg.OperationalError, RedisUnavailableError)):
                consumer.execute(deliveries)
        assert items_of(connection, run) == {"RAISE": ("pending", 0, None)}
    finally:
        client.execute_command("ACL", "SETUSER", "default", "+@all")
    consumer.execute(deliveries)
    ((state, _, error),) = items_of(connection, run).values()
    assert (state, error) == (
        "failed",
        f"executed {2 * MOST_UNDECIDED + 1} times without a decision: ValueError: RAISE cannot be computed",
    )


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
