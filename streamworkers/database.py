"""Connections to PostgreSQL, and helpers for rows."""

from functools import partial
from typing import Any

import psycopg
from psycopg import sql
from psycopg.abc import Params
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from streamworkers.errors import BadInputError, ServiceUnreachableError

Connection = psycopg.Connection[tuple[Any, ...]]
Statement = str | bytes | sql.SQL | sql.Composed

CONNECT_TIMEOUT_SECONDS = 5
# Rejects a read-only server, so that after a failover no connection stays with the old primary.
_WRITABLE: dict[str, Any] = {"target_session_attrs": "read-write"}
_OPTIONS: dict[str, Any] = {
    "autocommit": True,
    "connect_timeout": CONNECT_TIMEOUT_SECONDS,
    # A host that vanishes without closing its connections is noticed within half a minute, not within hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


class _Session(psycopg.Connection[tuple[Any, ...]]):
    """A connection that was opened here: how its session is set up, and whether a pooler is in between."""

    settings = ""
    is_pooled = False


def session_settings(statement_timeout_seconds: float = 0) -> str:
    """The statement that sets up every session: UTC, time limits. A limit of 0 seconds means none.

    It is executed after connecting, because poolers reject the startup parameter `options`, or drop it.
    """
    values = {"timezone": "UTC", "statement_timeout": str(round(statement_timeout_seconds * 1000))}
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in values.items())


def reset_settings(connection: Connection, reset: str) -> None:
    """Execute statements that reset the session, and set it up again, in one exchange."""
    settings = connection.settings if isinstance(connection, _Session) else ""
    connection.execute(f"{reset}; {settings}".encode())


def is_pooled(connection: Connection) -> bool:
    """True if a pooler, such as PgBouncer, is between us and PostgreSQL."""
    return isinstance(connection, _Session) and connection.is_pooled


def _set_up(connection: Connection, settings: str) -> None:
    assert isinstance(connection, _Session)
    connection.settings = settings
    row = connection.execute(f"{settings}, pg_backend_pid()".encode()).fetchone()
    # A pooler sends a number of its own in place of the server's process id.
    connection.is_pooled = row is not None and row[-1] != connection.info.backend_pid


def connect(
    url: str, *, application: str = "streamworkers", statement_timeout_seconds: float = 0, writable: bool = False
) -> Connection:
    """Open one autocommit connection; `writable` rejects a read-only server.

    Raises ServiceUnreachableError if no PostgreSQL answers at `url`, and BadInputError if `url` cannot be parsed.
    """
    options = _OPTIONS | (_WRITABLE if writable else {})
    try:
        connection = _Session.connect(url, application_name=application, **options)
        try:
            _set_up(connection, session_settings(statement_timeout_seconds))
        except BaseException:
            connection.close()
            raise
        return connection
    except psycopg.OperationalError as error:
        raise ServiceUnreachableError(f"PostgreSQL does not answer: {' '.join(str(error).split())}") from None
    except psycopg.ProgrammingError:
        # libpq's message quotes the part that it could not parse, which can be the password.
        raise BadInputError(
            "STREAMWORKERS_DATABASE_URL is not a URL of the form postgresql://USER:PASSWORD@HOST:PORT/DATABASE,"
            " has an option that PostgreSQL does not know, or has a % that does not begin a code such as %40"
        ) from None


def find_write_trouble(connection: Connection) -> str | None:
    """Return why PostgreSQL takes no writes on this connection, or None."""
    row = connection.execute("SHOW transaction_read_only").fetchone()
    return None if row == ("off",) else "PostgreSQL is read-only"


def open_pool(
    url: str, *, application: str, max_size: int, statement_timeout_seconds: float = 0
) -> ConnectionPool[Connection]:
    """A pool of autocommit connections to a writable server.

    Returns at once, without waiting for the first connection. Each connection is checked when it is taken out.
    """
    return ConnectionPool(
        url,
        min_size=1,
        max_size=max_size,
        timeout=CONNECT_TIMEOUT_SECONDS,
        max_idle=60,
        reconnect_timeout=0,
        connection_class=_Session,
        configure=partial(_set_up, settings=session_settings(statement_timeout_seconds)),
        check=ConnectionPool.check_connection,
        kwargs={"application_name": application, **_OPTIONS, **_WRITABLE},
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
