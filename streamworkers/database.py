"""Connections to PostgreSQL, and helpers for rows."""

import select
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.abc import Params
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout

from streamworkers.connect_state import ConnectAnswer, ask_to_connect
from streamworkers.errors import BadInputError, FaultKind, ServiceUnreachableError, Store
from streamworkers.faults import Fault, StoreFaultError, kind_of_state, word_postgres_fault
from streamworkers.postgres_tls import find_postgres_tls_trouble
from streamworkers.stored_times import make_adapters

if TYPE_CHECKING:
    from streamworkers.config import Settings

Connection = psycopg.Connection[tuple[Any, ...]]
Statement = str | bytes | sql.SQL | sql.Composed

CONNECT_TIMEOUT_SECONDS = 5
_ASK_AGAIN_SECONDS = 1.0
_PROBE_SECONDS = 5.0
# Rejects a read-only server, so that after a failover no connection stays with the old primary.
WRITABLE_ONLY: dict[str, Any] = {"target_session_attrs": "read-write"}
CONNECT_OPTIONS: dict[str, Any] = {
    "autocommit": True,
    "connect_timeout": CONNECT_TIMEOUT_SECONDS,
    # A host that vanishes without closing its connections is noticed within half a minute, not within hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# The same on PostgreSQL's side, or the session of a host that vanished would keep its locks for hours.
_SERVER_KEEPALIVES = {
    "tcp_keepalives_idle": 10,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


_CALL_MARGIN_SECONDS = 10.0
_WORKER_LOCK_WAITS = 3


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long a session may hold up others, in seconds; 0 sets no limit.

    A process that stands still in the middle of a transaction keeps its locks until PostgreSQL ends its session.
    """

    statement: float = 0.0
    lock: float = 10.0
    idle_in_transaction: float = 30.0

    @classmethod
    def of(cls, settings: "Settings", *, for_commands: bool = False) -> "SessionLimits":
        """Return the limits of supervisors and schedulers; statements of commands may take as long as they need."""
        statement = 0.0 if for_commands else settings.statement_timeout_seconds
        return cls(statement, settings.lock_timeout_seconds, settings.idle_transaction_seconds)

    def for_user_code(self, longest_call_seconds: float) -> "SessionLimits":
        """Return the limits of a worker.

        A `save` may compute in its transaction for as long as a call may take, and wait for the commits of others.
        """
        longest = max(self.idle_in_transaction, longest_call_seconds + _CALL_MARGIN_SECONDS)
        return replace(self, lock=_WORKER_LOCK_WAITS * self.lock, idle_in_transaction=longest)


_LIMITS = SessionLimits()
_ADAPTERS = make_adapters()


class _Session(psycopg.Connection[tuple[Any, ...]]):
    """A connection that was opened here: how its session is set up, and whether a pooler is in between.

    It is lent once user code has had it in hand, and may have kept it.
    """

    settings = ""
    is_pooled = False
    is_lent = False

    @property
    def adapters(self) -> AdaptersMap:
        """How values are read and written; what was changed goes with `_adapters`."""
        if not self._adapters:
            self._adapters = AdaptersMap(_ADAPTERS)
        return self._adapters


def session_settings(limits: SessionLimits) -> str:
    """The statement that sets up every session: UTC, time limits, and how PostgreSQL notices that we are gone.

    It is executed after connecting, because poolers reject the startup parameter `options`, or drop it.
    """
    values = {
        "timezone": "UTC",
        "statement_timeout": round(limits.statement * 1000),
        "lock_timeout": round(limits.lock * 1000),
        "idle_in_transaction_session_timeout": round(limits.idle_in_transaction * 1000),
        **_SERVER_KEEPALIVES,
    }
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in values.items())


def reset_settings(connection: Connection, reset: str) -> psycopg.Cursor[tuple[Any, ...]]:
    """Execute statements that reset the session, and set it up again, in one exchange; the cursor is at the first."""
    settings = connection.settings if isinstance(connection, _Session) else ""
    return connection.execute(f"{reset}; {settings}".encode())


def is_pooled(connection: Connection) -> bool:
    """True if a pooler, such as PgBouncer, is between us and PostgreSQL."""
    return isinstance(connection, _Session) and connection.is_pooled


def lend(connection: Connection) -> Connection:
    """Return a connection for user code, which may keep it and change its session from now on at any time."""
    if isinstance(connection, _Session):
        connection.is_lent = True
    return connection


def is_lent(connection: Connection) -> bool:
    """True if user code may have changed the session."""
    return not isinstance(connection, _Session) or connection.is_lent


def _set_up(connection: Connection, settings: str) -> None:
    assert isinstance(connection, _Session)
    connection.settings = settings
    row = connection.execute(f"{settings}, pg_backend_pid()".encode()).fetchone()
    # A pooler sends a number of its own in place of the server's process id.
    connection.is_pooled = row is not None and row[-1] != connection.info.backend_pid


def connect(
    url: str, *, application: str = "streamworkers", limits: SessionLimits = _LIMITS, writable: bool = False
) -> Connection:
    """Open one autocommit connection; `writable` rejects a read-only server.

    Raises ServiceUnreachableError, with its kind, if there is no connection to be had at `url`, and BadInputError if
    `url` cannot be parsed.
    """
    options = CONNECT_OPTIONS | (WRITABLE_ONLY if writable else {})
    try:
        connection = _Session.connect(url, application_name=application, **options)
        try:
            _set_up(connection, session_settings(limits))
        except BaseException:
            connection.close()
            raise
        return connection
    except psycopg.OperationalError as error:
        fault = find_connect_fault(url, options, error)
        raise ServiceUnreachableError(fault.text, fault.kind, Store.POSTGRESQL) from None
    except psycopg.ProgrammingError:
        # libpq's message quotes the part that it could not parse, which can be the password.
        raise BadInputError(
            "STREAMWORKERS_DATABASE_URL is not a URL of the form postgresql://USER:PASSWORD@HOST:PORT/DATABASE,"
            " has an option that PostgreSQL does not know, or has a % that does not begin a code such as %40"
        ) from None


def find_connect_fault(url: str, options: dict[str, Any], error: psycopg.OperationalError) -> Fault:
    """Find out why there is no connection, which may take seconds: a server that gives no reason is away.

    Of several hosts, one that will come back counts before one that rejects.
    """
    answer, states = " ".join(str(error).split()), [error.sqlstate] if error.sqlstate is not None else []
    asked = ConnectAnswer(states, answer)
    conninfo = make_conninfo(url, **{name: value for name, value in options.items() if name != "autocommit"})
    if not states and not isinstance(error, psycopg.errors.ConnectionTimeout):
        asked = ask_to_connect(conninfo, _ASK_AGAIN_SECONDS)
    said = asked.text if isinstance(error, PoolTimeout) else answer
    if trouble := find_postgres_tls_trouble(conninfo, said, _PROBE_SECONDS):
        return Fault(Store.POSTGRESQL, FaultKind.REJECTED, trouble)
    kinds = {kind_of_state(state, is_connection=True) or FaultKind.AWAY: state for state in reversed(asked.states)}
    kind = next((kind for kind in FaultKind if kind in kinds), FaultKind.AWAY)
    state = kinds.get(kind)
    if state is not None and isinstance(error, PoolTimeout):
        answer = f"{psycopg.errors.lookup(state).__name__} ({state})"
    return word_postgres_fault(kind, state, answer)


class Pool(ConnectionPool[Connection]):
    """A pool whose timeout says why there was no connection: StoreFaultError, in place of PoolTimeout."""

    def getconn(self, timeout: float | None = None) -> Connection:
        """Take a connection out, or raise StoreFaultError."""
        try:
            return super().getconn(timeout)
        except PoolTimeout as error:
            assert isinstance(self.conninfo, str)
            assert isinstance(self.kwargs, dict)
            raise StoreFaultError(find_connect_fault(self.conninfo, self.kwargs, error)) from error


def find_write_trouble(connection: Connection) -> str | None:
    """Return why PostgreSQL takes no writes on this connection, or None."""
    row = connection.execute("SHOW transaction_read_only").fetchone()
    return None if row == ("off",) else "PostgreSQL is read-only"


def open_pool(
    url: str, *, application: str, max_size: int, limits: SessionLimits = _LIMITS
) -> ConnectionPool[Connection]:
    """A pool of autocommit connections to a writable server.

    Returns at once, without waiting for the first connection. Each connection is checked when it is taken out.
    """
    return Pool(
        url,
        min_size=1,
        max_size=max_size,
        timeout=CONNECT_TIMEOUT_SECONDS,
        max_idle=60,
        reconnect_timeout=0,
        connection_class=_Session,
        configure=partial(_set_up, settings=session_settings(limits)),
        check=ConnectionPool.check_connection,
        kwargs={"application_name": application, **CONNECT_OPTIONS, **WRITABLE_ONLY},
        open=True,
    )


def fetch_rows(connection: Connection, statement: Statement, params: Params | None = None) -> list[dict[str, Any]]:
    """Run a statement and return all its rows as dictionaries, column name to value."""
    return connection.cursor(row_factory=dict_row).execute(statement, params).fetchall()


def fetch_row(connection: Connection, statement: Statement, params: Params | None = None) -> dict[str, Any] | None:
    """Run a statement and return its first row as a dictionary, or None if there is no row."""
    return connection.cursor(row_factory=dict_row).execute(statement, params).fetchone()


def fetch_value(connection: Connection, statement: Statement, params: Params | None = None) -> Any:
    """Run a statement and return the first column of its first row, or None if there is no row."""
    row = connection.execute(statement, params).fetchone()
    return None if row is None else row[0]


def count_matching(connection: Connection, table: str, condition: str, params: Params) -> int:
    """The number of rows of `table` that meet an SQL condition, such as `created_at < %s`."""
    statement = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(sql.Identifier(table), sql.SQL(condition))
    return int(fetch_value(connection, statement, params))


def delete_matching(connection: Connection, table: str, condition: str, params: Params, limit: int) -> int:
    """Delete up to `limit` rows of `table` that meet an SQL condition; returns how many were deleted."""
    statement = sql.SQL("DELETE FROM {0} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {0} WHERE {1} LIMIT {2}))").format(
        sql.Identifier(table), sql.SQL(condition), sql.Literal(limit)
    )
    return connection.execute(statement, params).rowcount


def wait_for_notify(connection: Connection, seconds: float) -> bool:
    """Wait for a notification on a connection that listens; False if none has arrived within `seconds`.

    psycopg's own wait looks ten times a second.
    """
    return bool(wait_for_channels(connection, seconds))


def wait_for_channels(connection: Connection, seconds: float) -> set[str]:
    """Wait for notifications on a connection that listens; returns their channels, none after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (channels := {each.channel for each in connection.notifies(timeout=0)}):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([connection], [], [], left)[0]:
            return set()
    return channels
