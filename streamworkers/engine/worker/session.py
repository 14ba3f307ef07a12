"""Keeps user code from breaking the worker's connection: what it may not do, and how its session is restored."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from streamworkers.database import Connection, find_write_trouble, reset_settings
from streamworkers.errors import FaultKind, RedisUnavailableError, Store
from streamworkers.faults import StoreFaultError, describe, find_fault, word_fault

# What a session can keep from one call to the next.
_RESET = (
    "RESET ALL; RESET SESSION AUTHORIZATION; RESET ROLE; CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all();"
    " DISCARD TEMP"
)
# Classes of SQLSTATE of a server that is away or out of resources.
_SERVER_FAULTS = ("08", "53", "57P")
_READ_ONLY = "25006"


class SaveError(Exception):
    """A job's `save` failed; the cause is its own error, or how it left the transaction."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class BrokenTransactionError(Exception):
    """`save` returned, but the transaction that it was called in cannot be committed."""


@contextmanager
def guard_user_code(connection: Connection) -> Iterator[None]:
    """Run user code: it cannot close the connection, and a fork of it does not leave the block.

    What was done on a closed connection could not be committed any more; the connection of a fork is its parent's.
    """
    pid = os.getpid()
    connection.close = _forbid_close  # type: ignore[method-assign]
    try:
        yield
    finally:
        if os.getpid() != pid:
            os._exit(0)
        with suppress(AttributeError):
            del connection.close


def _forbid_close() -> NoReturn:
    raise RuntimeError("a handler must not close the connection of its worker")


def restore_connection(connection: Connection) -> None:
    """Undo what user code can set on the connection object, and end a transaction that it left open."""
    if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
        with suppress(psycopg.Error):
            connection.rollback()
    if connection.closed:
        return
    if not connection.autocommit:
        connection.autocommit = True
    if connection.read_only is not None or connection.isolation_level is not None or connection.deferrable is not None:
        connection.read_only = connection.isolation_level = connection.deferrable = None
    connection.row_factory = tuple_row
    connection.cursor_factory = psycopg.Cursor


def reset_session(connection: Connection) -> None:
    """Undo what user code can set in the session: settings, role, locks, cursors, temporary tables."""
    reset_settings(connection, _RESET)


def require_open_transaction(connection: Connection) -> None:
    """Raise BrokenTransactionError if `save` caught an error of the database, or ended the transaction itself."""
    match connection.info.transaction_status:
        case TransactionStatus.INTRANS:
            return
        case TransactionStatus.INERROR:
            raise BrokenTransactionError("save caught an error of the database, after which nothing can be committed")
        case _:
            raise BrokenTransactionError("save ended the transaction that it was called in")


def is_outage(connection: Connection, error: BaseException) -> bool:
    """True if user code failed because Redis or PostgreSQL is away: its work can succeed later as it is.

    Only the worker's own connection counts, found dead by asking it, or an answer of a server that cannot work now.
    """
    if isinstance(error, RedisUnavailableError) or connection.broken:
        return True
    state = str(error.sqlstate or "") if isinstance(error, psycopg.Error) else ""
    if state.startswith(_SERVER_FAULTS):
        return True
    try:
        reset_session(connection)  # which also asks whether it is alive
        # The session may have been made read-only by the handler, or the server is.
        return state == _READ_ONLY and find_write_trouble(connection) is not None
    except psycopg.Error:
        return True


def outage_of(error: BaseException) -> StoreFaultError:
    """The error to raise for an outage, whatever user code raised: what PostgreSQL rejects in it is its own fault."""
    fault = find_fault(error)
    if fault is None or (fault.store is Store.POSTGRESQL and fault.kind is FaultKind.REJECTED):
        fault = word_fault(Store.POSTGRESQL, FaultKind.AWAY, f"the connection was lost ({describe(error)})")
    return StoreFaultError(fault)
