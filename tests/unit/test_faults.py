"""What an exception means: its text, and whether the same work can succeed later."""

import psycopg
import pytest
from psycopg import errors

from streamworkers.errors import RedisUnavailableError, ServiceUnreachableError
from streamworkers.faults import describe, is_transient, printable


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (RedisUnavailableError("Redis rejects: OOM"), True),
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
