"""What an exception means: whether the same work can succeed later, and how to describe it in one line."""

import re
import traceback

import psycopg
from psycopg import errors

from streamworkers.errors import RedisUnavailableError

_MOST_FRAMES = 20
_MOST_STACK_CHARACTERS = 4000
_PASSWORD = re.compile(r"://[^/@\s]*@")

# Faults of the server or of the moment: the work is right and stays pending until they pass.
_TRANSIENT_ERRORS = (
    RedisUnavailableError,
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
    """True if a service is away or overloaded, so that the same work can succeed later without a change of its data.

    A lost connection carries no SQLSTATE. A statement cancelled by its time limit does, and is the statement's fault.
    """
    if isinstance(error, _TRANSIENT_ERRORS):
        return True
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and (
        getattr(error, "sqlstate", None) is None or str(error.sqlstate).startswith("08")
    )


def describe(error: BaseException) -> str:
    """Return an exception in one line: its type and message."""
    text = printable(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def describe_stack(error: BaseException) -> str:
    """Return where an exception was raised: its newest frames, with the passwords of URLs hidden."""
    frames = traceback.format_tb(error.__traceback__)[-_MOST_FRAMES:]
    return printable(_PASSWORD.sub("://…@", "".join(frames))[-_MOST_STACK_CHARACTERS:])


def printable(text: str) -> str:
    """Return the text as PostgreSQL can store it: without NUL and without half of a surrogate pair."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
