"""The examples of web applications, each as its framework runs it: a run goes with the transaction of its request."""

import asyncio
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import httpx
import pytest
from psycopg.conninfo import conninfo_to_dict

from client_stage import Pool
from streamworkers.client import Client
from streamworkers.database import Connection

EXAMPLES = Path(__file__).parent.parent.parent.parent / "examples"


class Reply(NamedTuple):
    """What an application answers."""

    status: int
    body: dict[str, Any]


Send = Callable[..., Reply]


@pytest.fixture
def url(database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL that the applications get, in a database with a table of their own."""
    place = conninfo_to_dict(database_url)
    found = f"postgresql://{place['user']}@/{place['dbname']}?host={place['host']}"
    monkeypatch.setenv("STREAMWORKERS_DATABASE_URL", found)
    monkeypatch.setenv("EXAMPLE_JOB", "ledger_entry")
    connection.execute("CREATE TABLE IF NOT EXISTS orders (name text UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    connection.execute("DELETE FROM orders")
    return found


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def _flask() -> Iterator[Send]:
    module = _load("flask_app")
    browser = module.app.test_client()

    def send(method: str, path: str, body: object = None) -> Reply:
        answer = browser.open(path, method=method, json=body)
        return Reply(answer.status_code, answer.get_json())

    yield send
    module.client.close()
    module.engine.dispose()


@contextmanager
def _fastapi() -> Iterator[Send]:
    module = _load("fastapi_app")
    with asyncio.Runner() as runner:
        browser = httpx.AsyncClient(transport=httpx.ASGITransport(app=module.app), base_url="http://example")
        lifespan = module.app.router.lifespan_context(module.app)
        runner.run(lifespan.__aenter__())

        def send(method: str, path: str, body: object = None) -> Reply:
            answer = runner.run(browser.request(method, path, json=body))
            return Reply(answer.status_code, answer.json())

        yield send
        runner.run(browser.aclose())
        runner.run(lifespan.__aexit__(None, None, None))


@contextmanager
def _django() -> Iterator[Send]:
    module = _load("django_app")
    from django.db import connections
    from django.test import Client as Browser

    browser = Browser()

    def send(method: str, path: str, body: object = None) -> Reply:
        answer = browser.generic(method, path, "" if body is None else json.dumps(body))
        return Reply(answer.status_code, answer.json())

    yield send
    module.client.close()
    connections.close_all()


@pytest.mark.parametrize("application", [_flask, _fastapi, _django])
def test_an_order_and_its_run_are_one_transaction(
    application: Callable[[], AbstractContextManager[Send]], url: str, connection: Connection, workers: Pool
) -> None:
    with application() as send:
        made = send("POST", "/orders", {"name": "one", "symbols": ["AAPL"]})
        assert made == Reply(202, {"run": made.body["run"]})
        workers.work()
        with Client(url) as client:
            assert client.run(made.body["run"]).state().succeeded
        assert send("GET", f"/runs/{made.body['run']}") == (200, {"status": "COMPLETED", "items": 1, "completed": 1})

        wrong = send("POST", "/orders", {"name": "two", "symbols": ["AAPL", "AAPL"]})
        assert wrong == (422, {"error": "job 'ledger_entry': symbols names 'AAPL' twice; each is one item"})
        other = send("POST", "/orders", {"name": "one", "symbols": ["MSFT"]})
        assert other.status == 409
        assert other.body["error"].startswith(
            f"key 'order one' belongs to run {made.body['run']}, whose request differs in"
        )
        assert send("GET", "/runs/424242").status == 404
        assert connection.execute("SELECT name FROM orders").fetchall() == [("one",)]
        assert connection.execute("SELECT submit_key FROM runs").fetchall() == [("order one",)]
