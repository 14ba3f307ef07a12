"""An API process on loopback for a test module: its tokens, and requests to it."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool
from pydantic import SecretStr

from consumer import Consumer
from harness import ServiceUrls
from patience import patient
from services import own_database, quick_settings
from streamworkers.actor import LOCAL
from streamworkers.admin.tokens import create_token
from streamworkers.api.process import ApiOptions, ApiProcess
from streamworkers.config import Settings
from streamworkers.database import Connection, connect, open_pool
from streamworkers.engine.redis.streams import open_streams
from streamworkers.engine.registry import Registry
from submitting import install_jobs, make_preparer

EVERYTHING = ("read", "run", "schedule", "alerts", "notify")


@dataclass(frozen=True)
class ApiStage:
    """A server that answers, the connection behind it, and who may use it."""

    process: ApiProcess
    connection: Connection
    settings: Settings
    tokens: dict[str, str]
    client: httpx.Client

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.process.port}"

    def call(self, method: str, path: str, user: str | None = "ann", **words: Any) -> httpx.Response:
        """Send a request as a user, or without a token."""
        headers = {} if user is None else {"Authorization": f"Bearer {self.tokens.get(user, user)}"}
        headers |= words.pop("headers", {})
        return self.client.request(method, self.url + path, headers=headers, **words)

    def get(self, path: str, user: str | None = "ann", **words: Any) -> Any:
        """The body of an answer that is good."""
        answer = self.call("GET", path, user, **words)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def token_for(self, user: str, scopes: Sequence[str], life: timedelta = timedelta(days=1)) -> str:
        """Make a token."""
        return create_token(self.connection, LOCAL, f"of {user}", user, scopes, life).text

    def submit(self, user: str = "ann", **fields: Any) -> int:
        """Submit a run as a user; returns its number."""
        body = {"job": "ledger_entry", "symbols": ["A", "B"], "key": secrets.token_hex(8), **fields}
        answer = self.call("POST", "/api/v1/runs", user, json=body)
        assert answer.status_code == 202, answer.text
        return int(answer.json()["id"])

    def execute(self, registry: Registry) -> None:
        """Prepare what was submitted, and execute it."""
        assert self.settings.redis_url is not None
        assert self.settings.database_url is not None
        streams = open_streams(self.settings.redis_url.get_secret_value(), self.settings.key_prefix)
        pool: ConnectionPool[Connection]
        with open_pool(self.settings.database_url.get_secret_value(), application="test", max_size=2) as pool:
            make_preparer(pool, streams, registry).run_once()
            consumer = Consumer(self.settings, registry, streams, self.connection, "one")
            for queue in ("tests", "maintenance"):
                consumer.work_until_empty(queue)
        streams.close()


@contextmanager
def running_api(
    urls: ServiceUrls,
    key_prefix: str,
    registry: Registry,
    proxy_port: int | None = None,
    *,
    listens: bool = False,
    **changed: Any,
) -> Iterator[ApiStage]:
    """A server with a database of its own, which it may reach through a proxy.

    ann and bob have all scopes but admin, eve only reads, and root has the scope admin alone.
    """
    with (
        own_database(urls) as database_url,
        connect(database_url, application="test") as connection,
        pytest.MonkeyPatch.context() as patch,
    ):
        if proxy_port is None:  # nothing hangs: on a busy machine a thread or a connection may just take long
            patch.setattr("streamworkers.api.working.POOL_WAIT_SECONDS", patient(10))
            patch.setattr("streamworkers.api.gateway.ADMISSION_SECONDS", patient(10))
            patch.setattr("streamworkers.api.limits.ASK_SECONDS", patient(10))
        limits = {"api_body_bytes": 20_000, "api_statement_seconds": patient(10), "api_request_seconds": patient(30)}
        settings = quick_settings(urls.redis, database_url, key_prefix).model_copy(update=limits | changed)
        install_jobs(connection, registry)
        reached = make_conninfo(database_url, host="127.0.0.1", port=proxy_port) if proxy_port else database_url
        if listens:
            settings = settings.model_copy(update={"listen_url": SecretStr(database_url)})
        process = ApiProcess(settings, urls.redis, reached, ApiOptions("127.0.0.1", 0))
        with closing(process), httpx.Client(timeout=patient(30)) as client:
            process.start()
            stage = ApiStage(process, connection, settings, {}, client)
            for user, scopes in (("ann", EVERYTHING), ("bob", EVERYTHING), ("root", ("admin",)), ("eve", ("read",))):
                stage.tokens[user] = stage.token_for(user, scopes)
            yield stage
