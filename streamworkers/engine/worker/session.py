"""Keeps user code from breaking its worker: what it may not do, and how its connection and process are restored."""

import decimal
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context as ContextVars
from contextvars import copy_context
from typing import Any, NoReturn, Self, TypeVar, cast

import psycopg
from psycopg import sql
from psycopg._preparing import PrepareManager
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from streamworkers.database import Connection, find_write_trouble, is_lent, lend, reset_settings
from streamworkers.engine.job import Context, JobParameters
from streamworkers.engine.worker.process_state import read_process_state, restore_process_state
from streamworkers.errors import FaultKind, RedisUnavailableError, Store
from streamworkers.faults import StoreFaultError, describe, find_fault, word_fault

# What a session can keep from one call to the next.
# The time limit that user code has left ends first: on a busy machine the reset itself could exceed it.
_RESET = (
    "SET statement_timeout = 0; SELECT name FROM pg_catalog.pg_prepared_statements WHERE from_sql; RESET ALL;"
    " RESET SESSION AUTHORIZATION; RESET ROLE; CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD TEMP"
)
# Classes of SQLSTATE of a server that is away or out of resources.
_SERVER_FAULTS = ("08", "53", "57P")
_ENDED = "save ended the transaction that it was called in"
_END = re.compile(
    rb"\s*(?:COMMIT|END|ABORT|PREPARE\s+TRANSACTION|ROLLBACK(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO))\b", re.IGNORECASE
)
_READ_ONLY = "25006"
_PREPARE_THRESHOLD = PrepareManager.prepare_threshold
T = TypeVar("T")
P = TypeVar("P", bound=JobParameters)
_CONNECTION: Any = Context.__dict__["connection"]  # its slot


class SaveError(Exception):
    """A job's `save` failed; the cause is its own error, or how it left the transaction."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class BrokenTransactionError(Exception):
    """`save` returned, but the transaction that it was called in cannot be committed."""


class LendingContext(Context[P]):
    """A context that notes when user code takes the connection in hand."""

    __slots__ = ()

    @property
    def connection(self) -> Connection:
        """The worker's connection, which counts as lent from now on."""
        return lend(_CONNECTION.__get__(self))

    @connection.setter
    def connection(self, connection: Connection) -> None:
        _CONNECTION.__set__(self, connection)


class _Ownership:
    """The lock of a worker's connection: user code may take it during its call, in any of its threads, not later.

    A thread that a handler leaves behind, or a child that it forks, would put its statements among those of the commit.
    """

    def __init__(self, connection: Connection) -> None:
        self.process_state = read_process_state()
        self.in_call = self.in_save = False
        self._connection, self._free = connection, connection.lock
        self._pid, self._thread = os.getpid(), threading.get_ident()

    def __enter__(self) -> None:
        self._require_right()
        self._free.__enter__()
        try:
            self._require_right()
        except Exception:
            self._free.__exit__(None, None, None)
            raise

    def __exit__(self, *_: object) -> None:
        self._free.__exit__(None, None, None)

    def _require_right(self) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("a child process must not use the connection of its worker")
        if not self.in_call and threading.get_ident() != self._thread:
            raise RuntimeError("a thread of a handler must not use the connection of its worker after the call")
        if self.in_save and self._connection.info.transaction_status == TransactionStatus.IDLE:
            raise BrokenTransactionError(_ENDED)


@contextmanager
def own_connection(connection: Connection) -> Iterator[None]:
    """Let only this thread use the connection, but for user code within `call_user_code`; begin with a clean one."""
    restore_connection(connection)
    lock = connection.lock
    connection.lock = _Ownership(connection)  # type: ignore[assignment]
    try:
        yield
    finally:
        connection.lock = lock


def find_process_state(connection: Connection) -> tuple[Any, ...] | None:
    """Return the state of the process when the connection was taken by `own_connection`; None outside of it."""
    lock = cast("object", connection.lock)
    return lock.process_state if isinstance(lock, _Ownership) else None


def call_user_code(
    connection: Connection, action: Callable[[], T], *, in_save: bool = False, context: ContextVars | None = None
) -> T:
    """Return what user code returns, guarded, in a copy of a context, or of the current one."""
    with guard_user_code(connection, in_save=in_save):
        return (copy_context() if context is None else context.copy()).run(_run, action)


@contextmanager
def guard_user_code(connection: Connection, *, in_save: bool = False) -> Iterator[None]:
    """Run user code: it cannot close the connection, and what it changes in a worker's process is undone.

    What was done on a closed connection could not be committed any more. A fork of it does not leave the
    block: it would go on as a second worker. `in_save`, it cannot end the transaction, and can do nothing after it.
    """
    pid, lock = os.getpid(), cast("object", connection.lock)
    owner = lock if isinstance(lock, _Ownership) else None
    connection.close = _forbid_close  # type: ignore[method-assign]
    if owner:
        owner.in_call, owner.in_save = True, in_save
    if in_save:
        connection.cursor_factory = _SaveCursor
    try:
        yield
    finally:
        if os.getpid() != pid:
            os._exit(0)
        if owner:
            owner.in_call = owner.in_save = False
            restore_process_state(owner.process_state)
        connection.cursor_factory = psycopg.Cursor
        with suppress(AttributeError):
            del connection.close


def _run(action: Callable[[], T]) -> T:
    """Run user code with a decimal context of its own: a copied context shares the object."""
    decimal.setcontext(decimal.getcontext().copy())
    return action()


class _SaveCursor(psycopg.Cursor[Any]):
    """A cursor that does not end the transaction of `save`, which closes the items."""

    def execute(self, query: Any, *words: Any, **options: Any) -> Self:
        """Execute a statement. Raises BrokenTransactionError for one that ends the transaction."""
        text = query if isinstance(query, str | bytes) else query.as_string(self)
        if _END.match(text.encode() if isinstance(text, str) else text):
            raise BrokenTransactionError(_ENDED)
        return super().execute(query, *words, **options)


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
    connection.server_cursor_factory = psycopg.ServerCursor
    connection.prepare_threshold = _PREPARE_THRESHOLD
    connection._adapters = None
    connection._notice_handlers.clear()
    connection._notify_handlers.clear()


def reset_session(connection: Connection) -> None:
    """Undo what user code can set in the session: settings, role, locks, cursors, temporary tables, statements."""
    # What psycopg prepares stays. It does not know the statements of PREPARE.
    cursor = reset_settings(connection, _RESET)
    cursor.nextset()
    for (name,) in cursor.fetchall():
        connection.execute(sql.SQL("DEALLOCATE {}").format(sql.Identifier(name)))


def reset_lent_session(connection: Connection) -> None:
    """Reset the session unless no user code has ever had its connection in hand, which saves a small run much."""
    if is_lent(connection):
        reset_session(connection)


def require_open_transaction(connection: Connection) -> None:
    """Raise BrokenTransactionError if `save` caught an error of the database, or ended the transaction itself."""
    match connection.info.transaction_status:
        case TransactionStatus.INTRANS:
            return
        case TransactionStatus.INERROR:
            raise BrokenTransactionError("save caught an error of the database, after which nothing can be committed")
        case _:
            raise BrokenTransactionError(_ENDED)


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
