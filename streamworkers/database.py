"""Connections to PostgreSQL."""

from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from streamworkers.errors import BadInputError, ServiceUnreachableError
from streamworkers.faults import is_transient

Connection = psycopg.Connection[tuple[Any, ...]]

CONNECT_TIMEOUT_SECONDS = 5
_WRITABLE: dict[str, Any] = {"target_session_attrs": "read-write"}

is_passing = is_transient  # the former name


def connection_options(statement_timeout_seconds: float = 0) -> dict[str, Any]:
    """Keyword arguments for every connection: UTC, autocommit, bounded waits."""
    return {
        "autocommit": True,
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        # A host that disappears is noticed within half a minute, not within hours.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
        "options": f"-c timezone=UTC -c statement_timeout={round(statement_timeout_seconds * 1000)}",
    }


def connect(
    url: str, *, application: str = "streamworkers", statement_timeout_seconds: float = 0, writable: bool = False
) -> Connection:
    """Open one autocommit connection; a `writable` one does not accept a read-only server.

    Raises ServiceUnreachableError if no server answers at `url`, BadInputError if it cannot be parsed.
    """
    options = connection_options(statement_timeout_seconds) | (_WRITABLE if writable else {})
    try:
        return psycopg.connect(url, application_name=application, **options)
    except psycopg.OperationalError as error:
        raise ServiceUnreachableError(f"PostgreSQL does not answer: {' '.join(str(error).split())}") from None
    except psycopg.ProgrammingError:
        # The message of libpq quotes the part that it rejects, which can be the password.
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
    """A pool of autocommit connections, each checked before use; it does not wait for the first.

    It does not accept a read-only server, so that after a failover no connection stays with the wrong one.
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
