"""The drivers that callers have: a run goes with the transaction of each, also behind a pooler in transaction mode."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from pgbouncer import running_pgbouncer
from streamworkers.client import AsyncClient, BadInputError, Client, KeyConflictError
from streamworkers.database import Connection
from streamworkers.errors import UsageError

Transaction = Callable[[str], AbstractAsyncContextManager[Any]]


class RolledBackError(Exception):
    """Ends a transaction of these tests."""


@asynccontextmanager
async def _asyncpg(url: str, **words: Any) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(**_place(url), **words)
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _asyncpg_pool(url: str) -> AsyncIterator[Any]:
    """A connection of a pool whose connections read and write JSON as objects."""

    async def with_objects(connection: Any) -> None:
        await connection.set_type_codec("jsonb", encoder=repr, decoder=len, schema="pg_catalog")

    made = asyncpg.create_pool(**_place(url), min_size=1, max_size=1, init=with_objects)
    async with made as pool, pool.acquire() as connection, connection.transaction():
        yield connection


@asynccontextmanager
async def _engine(url: str, driver: str = "asyncpg") -> AsyncIterator[Any]:
    engine = create_async_engine(_sqlalchemy_url(url, driver))
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


@asynccontextmanager
async def _session(url: str) -> AsyncIterator[Any]:
    engine = create_async_engine(_sqlalchemy_url(url, "asyncpg"))
    try:
        async with AsyncSession(engine) as session, session.begin():
            yield session
    finally:
        await engine.dispose()


DRIVERS: dict[str, Transaction] = {
    "asyncpg": _asyncpg,
    "asyncpg of a pool": _asyncpg_pool,
    "SQLAlchemy": _engine,
    "SQLAlchemy's session": _session,
}


def _place(url: str) -> dict[str, Any]:
    parts = conninfo_to_dict(url)
    port = int(parts.get("port") or 5432)
    return {"host": parts["host"], "port": port, "user": parts["user"], "database": parts["dbname"]}


def _sqlalchemy_url(url: str, driver: str) -> str:
    place = _place(url)
    return f"postgresql+{driver}://{place['user']}@/{place['database']}?host={place['host']}&port={place['port']}"


def _keys(connection: Connection) -> list[str]:
    return [key for (key,) in connection.execute("SELECT submit_key FROM runs ORDER BY id")]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_run_goes_with_the_transaction_of_a_driver(driver: str, database_url: str, connection: Connection) -> None:
    async def work() -> None:
        async with AsyncClient(database_url) as client:
            with contextlib.suppress(RolledBackError):
                async with DRIVERS[driver](database_url) as mine:
                    await client.enqueue("noop", symbols=["A"], key="rolled back", connection=mine)
                    raise RolledBackError
            async with DRIVERS[driver](database_url) as mine:
                parameters = {"milliseconds": 1}
                run = await client.enqueue("ledger_entry", parameters, symbols=["A"], key="k", connection=mine)
                assert (run.is_new, len(run.run_id)) == (True, 36)
            assert (await run.state()).status == "PENDING"
            with pytest.raises(KeyConflictError, match=r"^key 'k' belongs to run \d+, whose request differs in: job, "):
                async with DRIVERS[driver](database_url) as mine:
                    await client.enqueue("noop", symbols=["A"], key="k", connection=mine)

    asyncio.run(work())
    assert _keys(connection) == ["k"]


def test_a_client_takes_the_session_within_run_sync(database_url: str, connection: Connection) -> None:
    async def work() -> None:
        with Client(database_url) as client:
            async with _session(database_url) as session:
                await session.run_sync(
                    lambda inner: client.enqueue("noop", symbols=["A"], key="within", connection=inner)
                )

    asyncio.run(work())
    assert _keys(connection) == ["within"]


def test_a_pool_is_no_connection_and_a_driver_that_is_not_known_is_named(database_url: str) -> None:
    async def work(of_pool: bool) -> None:
        async with AsyncClient(database_url) as client:
            if of_pool:
                async with asyncpg.create_pool(**_place(database_url), min_size=0) as pool:
                    await client.enqueue("noop", symbols=["A"], connection=pool)
            else:
                async with _engine(database_url) as mine:
                    mine.dialect.driver = "pg8000"
                    await client.enqueue("noop", symbols=["A"], connection=mine)

    taken = "this client takes psycopg.AsyncConnection, asyncpg.Connection, or SQLAlchemy's AsyncConnection or Async"
    with pytest.raises(BadInputError, match=f"connection is a asyncpg.pool.Pool; {taken}"):
        asyncio.run(work(True))
    wrong = r"SQLAlchemy's driver 'pg8000' is not supported; use postgresql\+psycopg:// or postgresql\+asyncpg://"
    with pytest.raises(BadInputError, match=wrong):
        asyncio.run(work(False))


@pytest.fixture(scope="module")
def pooled_url(database_url: str) -> Iterator[str]:
    """The database behind a PgBouncer that gives each transaction one of two sessions; Debian's forgets statements."""
    login = str(conninfo_to_dict(database_url)["user"])
    changed = {"auth_type": "trust", "pool_mode": "transaction", "default_pool_size": "2"}
    try:
        with running_pgbouncer(database_url, {login: ""}, **changed) as url:
            yield url
    except UsageError as error:
        pytest.skip(str(error))


def test_behind_a_pooler_in_transaction_mode_each_way_works(pooled_url: str, connection: Connection) -> None:
    """More often than psycopg executes a statement before it prepares it, in sessions that change in between."""
    wanted = []

    def submit(number: int) -> None:
        with psycopg.connect(pooled_url) as holding, psycopg.connect(pooled_url) as mine:
            for each in range(8):
                if each % 2:  # one of the two sessions is taken, so the other one is used
                    holding.execute("SELECT 1", prepare=False)
                client.enqueue("noop", symbols=["A"], key=f"caller {number}.{each}", connection=mine)
                mine.commit()
                holding.rollback()
                wanted.append(f"caller {number}.{each}")

    async def work() -> None:
        async with AsyncClient(pooled_url) as own:
            for each in range(7):
                await own.enqueue("noop", symbols=["A"], key=f"async {each}")
                wanted.append(f"async {each}")
            for each in range(3):
                async with _asyncpg(pooled_url, statement_cache_size=0) as mine:
                    await own.enqueue("noop", symbols=["A"], key=f"asyncpg {each}", connection=mine)
                wanted.append(f"asyncpg {each}")

    with Client(pooled_url) as client:
        submit(1)
        for each in range(7):
            run = client.enqueue("noop", symbols=["A"], key=f"own {each}")
            assert run.state().status == "PENDING"
            wanted.append(f"own {each}")
        asyncio.run(work())
    assert _keys(connection) == wanted
