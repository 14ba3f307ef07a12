"""Connections to PostgreSQL, and which of its errors mean «try again» rather than «this item is bad»."""

from typing import Any

import psycopg
from psycopg import errors
from psycopg_pool import ConnectionPool

from streamworkers.errors import BadInputError, ServiceUnreachableError

Connection = psycopg.Connection[tuple[Any, ...]]

CONNECT_TIMEOUT_SECONDS = 5
_WRITABLE: dict[str, Any] = {"target_session_attrs": "read-write"}

# Faults of the server or of the moment. The work is right and stays pending until they pass.
_PASSING_ERRORS = (
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


def is_passing(error: BaseException) -> bool:
    """True when the same statement can succeed later without a change of its data.

    A lost connection carries no SQLSTATE; a statement that was cancelled by its time limit does, and is the
    statement's own fault.
    """
    if isinstance(error, _PASSING_ERRORS):
        return True
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and (
        getattr(error, "sqlstate", None) is None or str(error.sqlstate).startswith("08")
    )


def connection_options(statement_timeout_seconds: float = 0) -> dict[str, Any]:
    """Keyword arguments for every connection: UTC, autocommit, bounded waits."""
    return {
        "autocommit": True,
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        # A host that vanishes without a word is noticed within half a minute, not within hours.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
        "options": f"-c timezone=UTC -c statement_timeout={round(statement_timeout_seconds * 1000)}",
    }


def connect(
    url: str, *, application: str = "streamworkers", statement_timeout_seconds: float = 0, writable: bool = False
) -> Connection:
    """Open one autocommit connection; a `writable` one takes a server that only reads for none.

    Raises ServiceUnreachableError when nobody answers at `url`, BadInputError when it cannot be taken apart.
    """
    options = connection_options(statement_timeout_seconds) | (_WRITABLE if writable else {})
    try:
        return psycopg.connect(url, application_name=application, **options)
    except psycopg.OperationalError as error:
        raise ServiceUnreachableError(f"PostgreSQL does not answer: {' '.join(str(error).split())}") from None
    except psycopg.ProgrammingError:
        # What libpq says of it quotes the part that it stumbled over, which can be the password.
        raise BadInputError(
            "STREAMWORKERS_DATABASE_URL is not postgresql://USER:PASSWORD@HOST:PORT/DATABASE,"
            " or has an option that PostgreSQL does not know, or a % that begins no code"
        ) from None


def find_write_trouble(connection: Connection) -> str | None:
    """Returns why PostgreSQL takes no writes on this connection, or None."""
    row = connection.execute("SHOW transaction_read_only").fetchone()
    return None if row == ("off",) else "PostgreSQL is read-only"


def open_pool(
    url: str, *, application: str, max_size: int, statement_timeout_seconds: float = 0
) -> ConnectionPool[Connection]:
    """A pool of autocommit connections, each checked when it is handed out; it does not wait for the first.

    A server that only reads is taken for none, so that after a failover no connection stays with the wrong one.
    """
    return ConnectionPool(
        url,
        min_size=1,
        max_size=max_size,
        timeout=CONNECT_TIMEOUT_SECONDS,
        max_idle=60,
        reconnect_timeout=0,
        check=ConnectionPool.check_connection,
        kwargs={"application_name": application, **connection_options(statement_timeout_seconds), **_WRITABLE},
        open=True,
    )
