"""What an exception means: its text for people and logs, and whether the same work can succeed later."""

import psycopg
from psycopg import errors

from streamworkers.errors import RedisUnavailableError

# Faults of the server or of the moment, not of the statement.
_TRANSIENT_ERRORS = (
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.LockNotAvailable,
    errors.DiskFull,
    errors.OutOfMemory,
    errors.TooManyConnections,
    errors.CannotConnectNow,
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.IdleInTransactionSessionTimeout,
    errors.ReadOnlySqlTransaction,
)


def is_transient(error: BaseException) -> bool:
    """True if the same work can succeed later unchanged: Redis or PostgreSQL is away, overloaded or read-only."""
    if isinstance(error, (RedisUnavailableError, *_TRANSIENT_ERRORS)):
        return True
    # A lost connection has no SQLSTATE, or one of class 08. A statement that its time limit cancelled has another one,
    # and is itself at fault.
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and (
        getattr(error, "sqlstate", None) is None or str(error.sqlstate).startswith("08")
    )


def describe(error: BaseException) -> str:
    """An exception in one line: its type and message."""
    text = printable(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def printable(text: str) -> str:
    """Text that PostgreSQL can store: NUL and lone surrogates are escaped."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
