"""Executes a client's statement on a connection of the caller, in whatever transaction is open there.

Known are psycopg's connections, asyncpg's, SQLAlchemy's on one of these drivers, and Django's. Each is known by what it
offers, so that neither asyncpg, SQLAlchemy nor Django is imported. No statement is prepared for later: a pooler in
transaction mode may give the next transaction another session.
"""

import re
from itertools import count
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from streamworkers.client.driver_errors import find_submit_error
from streamworkers.client.steps import Query, Rows
from streamworkers.errors import BadInputError

_NUMBERED = "asyncpg"  # the driver whose placeholders are $1, $2, …
_DRIVERS = ("psycopg", "psycopg2", "psycopg_async", _NUMBERED)


def run_on(connection: Any, query: Query) -> Rows:
    """Execute a statement on a synchronous connection of the caller; returns its rows.

    Raises BadInputError for a connection of another kind, and the driver's own errors.
    """
    try:
        if isinstance(connection, psycopg.Connection):
            with connection.cursor(row_factory=tuple_row) as cursor:
                return list(cursor.execute(query.sql, query.words, prepare=False).fetchall())
        if _is_session(connection):
            connection = connection.connection()
        if _is_sqlalchemy(connection) and not _is_asynchronous(connection):
            return [tuple(row) for row in connection.exec_driver_sql(_text_for(connection, query), query.words)]
        if hasattr(connection, "settings_dict") and getattr(connection, "vendor", "") == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(query.sql, query.words)
                return [tuple(row) for row in cursor.fetchall()]
    except Exception as error:
        if (wrong := find_submit_error(error)) is not None:
            raise wrong from error
        raise
    raise _unsuitable(connection, "psycopg.Connection, SQLAlchemy's Connection or Session, or Django's connection")


async def run_on_async(connection: Any, query: Query) -> Rows:
    """Execute a statement on an asynchronous connection of the caller, as `run_on` does."""
    try:
        if isinstance(connection, psycopg.AsyncConnection):
            async with connection.cursor(row_factory=tuple_row) as cursor:
                return list(await (await cursor.execute(query.sql, query.words, prepare=False)).fetchall())
        if _is_asyncpg(connection):
            return [tuple(row) for row in await connection.fetch(_numbered(query.sql), *query.words)]
        if _is_asynchronous(connection):
            if _is_session(connection):
                connection = await connection.connection()
            if _is_sqlalchemy(connection):
                sql = _text_for(connection, query)
                return [tuple(row) for row in await connection.exec_driver_sql(sql, query.words)]
    except Exception as error:
        if (wrong := find_submit_error(error)) is not None:
            raise wrong from error
        raise
    wanted = "psycopg.AsyncConnection, asyncpg.Connection, or SQLAlchemy's AsyncConnection or AsyncSession"
    raise _unsuitable(connection, wanted)


def _is_asyncpg(connection: Any) -> bool:
    """True for a connection, also one of a pool, but not for a pool, which has no transaction."""
    is_of_it = type(connection).__module__.partition(".")[0] == _NUMBERED
    return is_of_it and hasattr(connection, "fetch") and hasattr(connection, "is_in_transaction")


def _text_for(connection: Any, query: Query) -> str:
    return _numbered(query.sql) if connection.dialect.driver == _NUMBERED else query.sql


def _numbered(sql: str) -> str:
    """A statement with $1, $2, … for its placeholders."""
    numbers = count(1)
    return re.sub("%s", lambda _: f"${next(numbers)}", sql)


def _is_session(connection: Any) -> bool:
    return hasattr(connection, "get_bind") and hasattr(connection, "connection")


def _is_asynchronous(connection: Any) -> bool:
    return hasattr(connection, "sync_connection") or hasattr(connection, "sync_session")


def _is_sqlalchemy(connection: Any) -> bool:
    if not hasattr(connection, "exec_driver_sql"):
        return False
    driver = connection.dialect.driver
    if driver not in _DRIVERS:
        raise BadInputError(
            f"SQLAlchemy's driver {driver!r} is not supported; use postgresql+psycopg:// or postgresql+asyncpg://"
        )
    return True


def _unsuitable(connection: object, wanted: str) -> BadInputError:
    kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
    return BadInputError(f"connection is a {kind}; this client takes {wanted}")
