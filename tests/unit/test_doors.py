"""Connections to Redis and PostgreSQL are opened at few places, so that what holds there holds for every process."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# Each place that opens connections, with what it opens; TLS and its errors are tested there (test_tls.py).
DOORS = {
    ("streamworkers/database.py", "_Session.connect"): "`connect`, of commands, listeners and migrations",
    ("streamworkers/database.py", "Pool"): "`open_pool`, of processes and workers",
    ("streamworkers/client/own_connections.py", "Pool"): "the client",
    ("streamworkers/client/own_connections.py", "AsyncConnectionPool"): "the asynchronous client",
    ("streamworkers/connect_state.py", "pq.PGconn.connect_start"): "once more, for the reason",
    ("streamworkers/engine/redis/connections.py", "redis.BlockingConnectionPool"): "everything that uses Redis",
    ("streamworkers/engine/redis/sentinels.py", "redis.ConnectionPool"): "the sentinels",
    ("streamworkers/engine/redis/sentinels.py", "SentinelConnectionPool"): "the same, where sentinels name it",
    ("streamworkers/embedded/postgres_server.py", "psycopg.connect"): "the Unix socket of the embedded PostgreSQL",
}
_OPENS = {"BlockingConnectionPool", "AsyncConnectionPool", "ConnectionPool", "Pool", "Sentinel", "Redis", "StrictRedis"}
_OPENS |= {"SentinelConnectionPool", "from_url", "connect_start", "SSLConnection", "UnixDomainSocketConnection"}
_DRIVERS = ("psycopg", "_Session", "redis", "asyncpg", "Connection", "AsyncConnection")
_MAY_OPEN = re.compile(rf"\bconnect\(|\b(?:{'|'.join(_OPENS)})\(")


def _opened(path: str, text: str) -> Iterator[tuple[str, str]]:
    """The calls of a module that open connections to a store."""
    if not _MAY_OPEN.search(text):
        return  # parsing all modules takes seconds
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            owner, _, name = called.rpartition(".")
            is_connect = name == "connect" and owner.split(".")[0] in _DRIVERS
            if is_connect or name in _OPENS:
                yield path, called


def test_connections_are_opened_at_these_places_and_nowhere_else() -> None:
    found: set[tuple[str, str]] = set()
    for package in ("streamworkers", "scheduler"):
        for path in sorted((ROOT / package).rglob("*.py")):
            found |= set(_opened(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")))
    assert found == DOORS.keys()


@pytest.mark.parametrize(
    "text",
    ["redis.Redis(host=h)", "Redis.from_url(u)", "psycopg.connect(u)", "await psycopg.AsyncConnection.connect(u)"],
)
def test_another_door_is_found(text: str) -> None:
    assert list(_opened("a.py", f"async def f(u, h):\n    {text}"))
