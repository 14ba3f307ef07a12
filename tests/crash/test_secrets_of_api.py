"""Secrets of all kinds are given to the API, which logs at debug, by settings and by requests: no output has one."""

import base64
import socket
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from psycopg.conninfo import make_conninfo

from harness import Service, wait_until
from outputs import Outputs
from patience import patient
from streamworkers.actor import LOCAL
from streamworkers.admin.tokens import create_token
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from submitting import install_jobs

MARK = "s3cr3t+of/tests"
_QUOTED = urllib.parse.quote(MARK, safe="")
_BASIC = base64.b64encode(f"desk:{MARK}".encode()).decode()


class _Api(Service):
    """A `streamworkers api` with metrics."""

    command: ClassVar[str] = "api"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what a test starts."""
    with ExitStack() as own:
        yield own


@pytest.fixture
def planted(environment: dict[str, str], settings: Settings) -> dict[str, str]:
    """An environment with a secret in every setting that can hold one."""
    assert settings.redis_url is not None
    assert settings.database_url is not None
    path = urllib.parse.urlsplit(settings.redis_url.get_secret_value()).path
    database_url = make_conninfo(settings.database_url.get_secret_value(), password=MARK)
    return environment | {
        "STREAMWORKERS_LOG_LEVEL": "debug",
        "STREAMWORKERS_REDIS_URL": f"unix://default:{_QUOTED}@{path}",
        "STREAMWORKERS_DATABASE_URL": database_url,
        "STREAMWORKERS_LISTEN_URL": database_url,
        "STREAMWORKERS_MASSIVE_API_KEY": MARK,
        "STREAMWORKERS_MASSIVE_PROXY": f"http://desk:{_QUOTED}@127.0.0.1:1",
        "STREAMWORKERS_TELEGRAM_TOKEN": f"123456:{MARK}",
        "STREAMWORKERS_SMTP_PASSWORD": MARK,
        "HOOK_SECRET": MARK,
    }


def _send_all(url: str, token: str) -> list[int]:
    """Requests that have the secret wherever a request can have one, or have a right to it; returns the statuses."""
    own = {"Authorization": f"Bearer {token}"}
    run: dict[str, Any] = {"job": "ledger_entry", "symbols": ["A"], "key": "k", "parameters": {"password": MARK}}
    hook = {"channel": "webhook", "address": f"https://desk:{_QUOTED}@127.0.0.1/{_QUOTED}", "name": "hook"}
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "/api/v1/runs", {"headers": {"Authorization": f"Bearer {MARK}"}}),
        ("GET", "/api/v1/runs", {"headers": {"Authorization": f"Basic {_BASIC}"}}),
        ("GET", "/api/v1/runs", {"headers": {**own, "Cookie": f"session={MARK}", "X-Api-Key": MARK}}),
        ("GET", f"/api/v1/runs?token={_QUOTED}", {"headers": own}),
        ("GET", f"/api/v1/runs/{_QUOTED}", {"headers": own}),
        ("GET", f"/{_QUOTED}", {"headers": {"Authorization": MARK}}),
        ("POST", "/api/v1/runs", {"headers": own, "json": run}),
        ("POST", "/api/v1/runs", {"headers": own, "json": {**run, "job": "none", "secret": MARK}}),
        ("POST", "/api/v1/runs", {"headers": own | {"Content-Type": "application/json"}, "content": f'{{"x": "{MARK}'}),
        ("POST", "/api/v1/me/endpoints", {"headers": own, "json": hook}),
        ("POST", "/api/v1/me/endpoints", {"headers": own, "json": {**hook, "settings": {"secret": MARK}}}),
        ("GET", "/api/v1/settings", {"headers": own}),
    ]
    with httpx.Client(base_url=url, timeout=patient(30)) as client:
        return [client.request(method, path, **words).status_code for method, path, words in requests]


def _send_no_request(port: int) -> None:
    """What is not even HTTP, which the server itself rejects."""
    with socket.create_connection(("127.0.0.1", port), timeout=patient(20)) as own:
        own.sendall(f"{MARK} / HTTP/9\r\nAuthorization: {MARK}\r\n\r\n".encode())
        assert b" 400 " in own.recv(1000)


def test_no_secret_of_the_api_is_shown(
    stack: ExitStack,
    planted: dict[str, str],
    connection: Connection,
    streams: Streams,
    registry: Registry,
    tmp_path: Path,
) -> None:
    install_jobs(connection, registry)
    token = create_token(connection, LOCAL, "desk", "ann", ["read", "run", "admin"]).text
    api = _Api(planted, tmp_path / "api.log", ("--port", "0", "--metrics-port", "0"))
    stack.callback(api.kill_all)
    wait_until(lambda: api.events("api_listens"), 60, "the API listens")
    port = api.events("api_listens")[0]["port"]
    statuses = _send_all(f"http://127.0.0.1:{port}", token)
    assert sorted(set(statuses)) == [200, 400, 401, 404, 422], statuses
    _send_no_request(port)
    outputs = Outputs([api], connection, streams)
    for secret in (MARK, token, token.rpartition("_")[2]):
        assert outputs.places_of(secret) == set(), secret
    # The controls: requests were recorded, and each form is found in each kind of place.
    assert connection.execute("SELECT count(*) > 0 FROM audit_log").fetchone() == (True,)
    assert {"log", "ps"} <= outputs.places_of("api")
    in_base64 = [base64.b64encode(f"{before}{MARK}".encode()).decode() for before in ("", "a", "ab")]
    for form in (MARK, _QUOTED, MARK.encode().hex(), *in_base64):
        streams.client.raw.set(f"{streams.keys.prefix}:leak", form)
        assert outputs.places_of(MARK) == {"redis"}, form
    streams.client.raw.delete(f"{streams.keys.prefix}:leak")
