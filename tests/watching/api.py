"""An API process beside the watched pool, and requests that show everything its board has."""

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta

import httpx

from patience import patient
from services import quick_settings
from streamworkers.actor import LOCAL
from streamworkers.admin.tokens import create_token
from streamworkers.api.process import ApiOptions, ApiProcess
from streamworkers.database import Connection


@dataclass(frozen=True)
class WatchedApi:
    """Where it answers, where its metrics are, and a token for it."""

    url: str
    metrics: str
    token: str

    def ask(self) -> None:
        """Requests that are answered, and some that are rejected."""
        good, bad = {"Authorization": f"Bearer {self.token}"}, {"Authorization": "Bearer wrong"}
        with httpx.Client(base_url=self.url, timeout=patient(30)) as client:
            for _ in range(5):
                client.get("/api/v1/runs", headers=good)
                client.get("/api/jobs/status", headers=good)
            for path in ("/api/v1/runs", "/stats"):
                client.get(path, headers=bad)
            client.get("/api/v1/runs/999999999", headers=good)
            for job in ("noop", "no_such_job"):
                body = {"job": job, "symbols": ["A"], "key": f"watched:{secrets.token_hex(4)}"}
                client.post("/api/v1/runs", headers=good, json=body)


@contextmanager
def running_api(redis_url: str, database_url: str, key_prefix: str, connection: Connection) -> Iterator[WatchedApi]:
    """Run it in this process, without its heartbeat, until the block ends."""
    settings = quick_settings(redis_url, database_url, key_prefix)
    options = ApiOptions("127.0.0.1", 0, metrics_port=0)
    with closing(ApiProcess(settings, redis_url, database_url, options)) as process:
        server = process.host.server
        assert server is not None
        server.start()
        process.start()
        token = create_token(connection, LOCAL, "watching", "ann", ("read", "run"), timedelta(days=1)).text
        yield WatchedApi(f"http://127.0.0.1:{process.port}", f"127.0.0.1:{server.port}", token)
