"""Universes from memory, and changes that are seen at once."""

from collections.abc import Iterator

import psycopg
import pytest

from harness import wait_until
from patience import patient
from streamworkers.database import Connection, connect
from streamworkers.engine.host.loop import ConnectionLoop
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.market.universes.cache import UniverseCache
from streamworkers.market.universes.store import add_symbols, resolve


@pytest.fixture
def cache(database_url: str, connection: Connection) -> Iterator[UniverseCache]:
    add_symbols(connection, "sp500", ["A", "B", "C"])
    add_symbols(connection, "nasdaq100", ["C", "D"])
    opened = UniverseCache(lambda: connect(database_url, application="cache"))
    loop = ConnectionLoop("universe-cache", opened.follow)
    loop.start()
    wait_until(lambda: opened.is_listening, 10)
    yield opened
    loop.stop()
    loop.join(patient(10))


def test_it_answers_what_the_database_answers(cache: UniverseCache, connection: Connection) -> None:
    for expression in ("sp500", "sp500:nasdaq100", " nasdaq100 : sp500", "nasdaq100:nasdaq100"):
        assert cache.resolve(expression) == resolve(connection, expression)
    loads = cache.loads
    assert cache.resolve("sp500:nasdaq100") == ("A", "B", "C", "D")
    assert cache.loads == loads


def test_it_rejects_what_the_database_rejects(cache: UniverseCache) -> None:
    with pytest.raises(UnknownNameError, match="no universe is named 'sp50'; did you mean 'sp500'"):
        cache.resolve("sp50")
    with pytest.raises(BadInputError, match="universe '' is not a name of"):
        cache.resolve("sp500:")


def test_a_change_by_anybody_is_seen(cache: UniverseCache, connection: Connection) -> None:
    add_symbols(connection, "sp500", ["E"])
    wait_until(lambda: cache.resolve("sp500") == ("A", "B", "C", "E"), 5)
    connection.execute("DELETE FROM definition_groups WHERE name = 'nasdaq100'")

    def is_gone() -> bool:
        try:
            cache.resolve("nasdaq100")
        except UnknownNameError:
            return True
        return False

    wait_until(is_gone, 5)


def test_while_it_cannot_listen_it_asks_and_it_listens_again(
    cache: UniverseCache, connection: Connection, database_url: str
) -> None:
    connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cache'")
    add_symbols(connection, "sp500", ["F"])
    wait_until(lambda: cache.resolve("sp500") == ("A", "B", "C", "F"), 5)
    wait_until(lambda: cache.is_listening and cache.loads >= 2, 10)
    with connect(database_url) as other:
        assert cache.resolve_with(other, "sp500") == ("A", "B", "C", "F")


def test_without_a_thread_it_asks_the_database(database_url: str, connection: Connection) -> None:
    add_symbols(connection, "u", ["X"])
    idle = UniverseCache(lambda: connect(database_url))
    assert idle.resolve("u") == idle.resolve_with(connection, "u") == ("X",)
    closed = psycopg.connect(database_url)
    closed.close()
    with pytest.raises(psycopg.OperationalError):
        idle.resolve_with(closed, "u")
