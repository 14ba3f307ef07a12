"""What an exception means: its text, and whether the same work can succeed later."""

import psycopg
import pytest
from psycopg import errors

from streamworkers.errors import FaultKind, RedisUnavailableError, ServiceUnreachableError, Store
from streamworkers.faults import (
    Fault,
    StoreFaultError,
    clean_stack,
    describe,
    describe_stack,
    find_fault,
    hide_secrets,
    is_transient,
    printable,
)


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (RedisUnavailableError("Redis is full: OOM", FaultKind.FULL), True),
        (RedisUnavailableError("Redis rejects: NOPERM", FaultKind.REJECTED), False),
        (errors.InsufficientPrivilege(), False),
        (errors.DeadlockDetected(), True),
        (errors.AdminShutdown(), True),
        (errors.ReadOnlySqlTransaction(), True),
        (errors.ConnectionException(), True),
        (psycopg.OperationalError("the connection is lost"), True),
        (psycopg.InterfaceError("the connection is closed"), True),
        (errors.QueryCanceled(), False),
        (errors.NotNullViolation(), False),
        (ServiceUnreachableError("nothing says where Redis is"), False),
        (ValueError(), False),
    ],
)
def test_a_fault_of_the_moment_is_transient_and_one_of_the_work_is_not(error: Exception, transient: bool) -> None:
    assert is_transient(error) is transient


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (errors.AdminShutdown("bye"), "away", "PostgreSQL cannot work now: AdminShutdown: bye"),
        (errors.CannotConnectNow("x"), "away", "PostgreSQL cannot work now: CannotConnectNow: x"),
        (errors.ReadOnlySqlTransaction("x"), "away", "PostgreSQL cannot work now: ReadOnlySqlTransaction: x"),
        (errors.DeadlockDetected("x"), "away", "PostgreSQL cannot work now: DeadlockDetected: x"),
        (psycopg.OperationalError("lost"), "away", "PostgreSQL does not answer: lost"),
        (
            errors.InvalidPassword("x"),
            "rejected",
            (
                "PostgreSQL rejects: InvalidPassword: x:"
                " correct the user or the password in STREAMWORKERS_DATABASE_URL, or pg_hba.conf"
            ),
        ),
        (
            errors.InvalidCatalogName("x"),
            "rejected",
            "PostgreSQL rejects: InvalidCatalogName: x: create the database, or correct STREAMWORKERS_DATABASE_URL",
        ),
        (
            errors.DatabaseDropped("x"),
            "rejected",
            "PostgreSQL rejects: DatabaseDropped: x: create the database, or correct STREAMWORKERS_DATABASE_URL",
        ),
        (
            errors.InsufficientPrivilege("x"),
            "rejected",
            (
                "PostgreSQL rejects: InsufficientPrivilege: x: grant the right: `streamworkers migrate --roles`, and"
                " docs/guides/operations.md#rights"
            ),
        ),
        (
            errors.UndefinedColumn("x"),
            "rejected",
            (
                "PostgreSQL rejects: UndefinedColumn: x: the schema of the database is missing or out of date:"
                " run `streamworkers migrate`"
            ),
        ),
        (
            errors.DatatypeMismatch("x"),
            "rejected",
            "PostgreSQL rejects: DatatypeMismatch: x: is the schema of this release? `streamworkers migrate --status`",
        ),
        (errors.DiskFull("x"), "full", "PostgreSQL is full: DiskFull: x: free disk space for PostgreSQL"),
        (
            errors.OutOfMemory("x"),
            "full",
            "PostgreSQL is full: OutOfMemory: x: give PostgreSQL more memory, or run fewer processes",
        ),
        (
            errors.TooManyConnections("x"),
            "full",
            (
                "PostgreSQL is full: TooManyConnections: x:"
                " raise `max_connections` or the limit of the role, or run fewer processes"
            ),
        ),
    ],
)
def test_a_fault_of_postgres_has_a_kind_and_one_sentence_with_the_way_out(
    error: Exception, kind: str, text: str
) -> None:
    assert find_fault(error) == Fault(Store.POSTGRESQL, FaultKind(kind), text)


@pytest.mark.parametrize(
    "error", [errors.QueryCanceled(), errors.UniqueViolation(), ServiceUnreachableError("no URL"), ValueError()]
)
def test_an_error_of_the_work_is_no_fault_of_a_store(error: Exception) -> None:
    assert find_fault(error) is None


def test_an_error_that_carries_a_fault_is_that_fault() -> None:
    fault = Fault(Store.REDIS, FaultKind.REJECTED, "Redis rejects: NOPERM")
    assert find_fault(StoreFaultError(fault)) == fault
    assert find_fault(RedisUnavailableError(fault.text, fault.kind)) == fault


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no\n  bars"), "ValueError: no bars"),
        (ValueError(), "ValueError"),
        (ValueError("a\x00b\udc80"), "ValueError: a\\x00b\\udc80"),
    ],
)
def test_an_error_is_described_in_one_line_that_postgres_can_store(error: Exception, text: str) -> None:
    assert describe(error) == text


def test_printable_leaves_text_that_can_be_stored_as_it_is() -> None:
    assert printable("é\n日") == "é\n日"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgresql://me:hunter2@host/db", "postgresql://…@host/db"),
        ("redis://:hun@ter2@host:6379", "redis://…@host:6379"),
        ("host=db password=hunter2 user=me", "host=db password=… user=me"),
        ('{"api_key": "hunter2", "symbol": "AAPL"}', '{"api_key": …, "symbol": "AAPL"}'),
        ("GET https://x.example/v2?apiKey=hunter2&limit=5", "GET https://x.example/v2?apiKey=…&limit=5"),
        ("{'Authorization': 'Bearer hunter2'}", "{'Authorization': …}"),
        ("401 for Authorization: Basic aHVudGVyMg==, twice", "401 for Authorization: …, twice"),
        ("no bars of AAPL since 2026-01-02", "no bars of AAPL since 2026-01-02"),
    ],
)
def test_secrets_are_hidden_and_other_text_is_not(text: str, hidden: str) -> None:
    assert hide_secrets(text) == hidden
    assert describe(ValueError(text)) == f"ValueError: {hidden}"
    assert clean_stack(text) == hidden


def test_a_stack_shows_where_the_cause_was_raised_two_levels_down() -> None:
    def parse() -> None:
        raise ValueError("bad row with token=hunter2")

    def load() -> None:
        try:
            parse()
        except ValueError as error:
            raise RuntimeError("cannot load AAPL") from error

    try:
        load()
    except RuntimeError as error:
        stack = describe_stack(error)
    assert stack.index("in parse") < stack.index("ValueError: bad row with token=…") < stack.index("which led to:")
    assert stack.rstrip().endswith('raise RuntimeError("cannot load AAPL") from error')
    assert "hunter2" not in stack


def test_of_a_group_of_exceptions_the_stack_shows_the_first() -> None:
    try:
        try:
            raise KeyError("AAPL")
        except KeyError as error:
            raise ExceptionGroup("two tasks", [error]) from None
    except ExceptionGroup as group:
        stack = describe_stack(group)
    assert stack.index("KeyError: 'AAPL'") < stack.index("ExceptionGroup")
    assert len(stack) <= 4000


def test_an_error_whose_message_raises_is_described_all_the_same() -> None:
    class SilentError(Exception):
        def __str__(self) -> str:
            raise LookupError

    assert describe(SilentError()) == "SilentError: its message raises LookupError"
