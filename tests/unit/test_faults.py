"""What an exception means: its text, and whether the same work can succeed later."""

import psycopg
import pytest
from psycopg import errors

from streamworkers.errors import FaultKind, RedisUnavailableError, ServiceUnreachableError, Store
from streamworkers.faults import Fault, StoreFaultError, describe, find_fault, is_transient, printable


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
