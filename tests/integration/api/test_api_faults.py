"""PostgreSQL that hangs or cannot be used: probes and requests are answered in time, and then as before."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
from psycopg.conninfo import conninfo_to_dict

from api_stage import ApiStage, running_api
from event_stream import following
from harness import ServiceUrls, wait_until
from streamworkers.database import fetch_value
from streamworkers.engine import ledger
from streamworkers.engine.registry import Registry
from submitting import load
from tcp_proxy import TcpProxy


@pytest.fixture(scope="module")
def postgres(service_urls: ServiceUrls) -> Iterator[TcpProxy]:
    parts = conninfo_to_dict(service_urls.postgres)
    with TcpProxy(f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def distant(service_urls: ServiceUrls, postgres: TcpProxy, registry: Registry) -> Iterator[ApiStage]:
    """A server that reaches PostgreSQL through a proxy."""
    limits: dict[str, Any] = {"api_request_seconds": 3.0, "api_connections": 2}
    with running_api(service_urls, f"test-{secrets.token_hex(6)}", registry, postgres.port, **limits) as stage:
        yield stage


def test_while_postgresql_hangs_probes_and_requests_are_answered(distant: ApiStage, postgres: TcpProxy) -> None:
    wait_until(lambda: distant.call("GET", "/api/v1/runs").status_code == 200, what="requests are answered")
    postgres.hang()
    try:
        statuses = [distant.call("GET", "/api/v1/runs").status_code for _ in range(4)]
        assert statuses == [503] * 4  # two wait for PostgreSQL, and two for them
        assert distant.call("GET", "/livez", None).status_code == 200
        ready = distant.call("GET", "/readyz", None)
        assert ready.status_code == 503
        assert "Redis or PostgreSQL has not answered for" in ready.json()["troubles"][0]
        assert distant.call("GET", "/api/v1/runs").headers["retry-after"] == "1"
    finally:
        postgres.resume()
    wait_until(lambda: distant.call("GET", "/readyz", None).status_code == 200, what="it is ready again")
    wait_until(lambda: distant.call("GET", "/api/v1/runs").status_code == 200, what="requests are answered again")


def test_what_was_given_up_takes_no_effect_later(distant: ApiStage, postgres: TcpProxy) -> None:
    postgres.hang()
    try:
        body = {"job": "ledger_entry", "symbols": ["A"], "key": "given-up"}
        answer = distant.call("POST", "/api/v1/runs", json=body)
        assert answer.status_code == 503
    finally:
        postgres.resume()
    wait_until(lambda: distant.call("GET", "/api/v1/runs").status_code == 200, what="requests are answered again")
    assert distant.get("/api/v1/runs")["items"] == []


def test_while_connections_are_cut_requests_are_answered(distant: ApiStage, postgres: TcpProxy) -> None:
    postgres.reject()
    try:
        answer = distant.call("GET", "/api/v1/runs")
        assert answer.status_code == 503
        assert answer.json()["detail"] == "PostgreSQL cannot be used now, or all connections to it are in use"
    finally:
        postgres.resume()
    wait_until(lambda: distant.call("GET", "/api/v1/runs").status_code == 200, what="requests are answered again")


def test_a_stream_goes_on_when_postgresql_is_there_again(distant: ApiStage, postgres: TcpProxy) -> None:
    run = distant.submit()
    with following(distant, run) as stream:
        assert stream.read() is not None
        postgres.cut()
        postgres.reject()
        ledger.cancel_run(distant.connection, load(distant.connection, run))
        postgres.resume()
        assert stream.kinds() == [(2, "ended")]
    wait_until(lambda: distant.call("GET", "/readyz", None).status_code == 200, what="no fault is left")


@contextmanager
def _stopped_server(backend: int) -> Iterator[None]:
    """PostgreSQL with all of its processes stopped by a signal: it accepts connections, and answers none."""
    server = psutil.Process(backend).parent()
    assert server is not None
    processes = [server, *server.children()]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def test_a_stopped_postgresql_and_many_probes_take_nothing_away(distant: ApiStage) -> None:
    wait_until(lambda: distant.call("GET", "/readyz", None).status_code == 200, what="it is ready")
    backend = fetch_value(distant.connection, "SELECT pg_backend_pid()")
    with _stopped_server(backend):
        wait_until(lambda: distant.call("GET", "/readyz", None).status_code == 503, what="the check is a new one")
        statuses = {
            path: {distant.call("GET", path, None).status_code for _ in range(100)} for path in ("/livez", "/readyz")
        }
        assert statuses == {"/livez": {200}, "/readyz": {503}}
    wait_until(lambda: distant.call("GET", "/readyz", None).status_code == 200, 5, "it is ready again")
    wait_until(lambda: distant.call("GET", "/api/v1/runs").status_code == 200, 5, "requests are answered again")
    ours = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
    sessions = fetch_value(distant.connection, ours, (distant.process.host.id,))
    # Those of requests, a few of the process itself, and those of a check: the one given up, and the next.
    assert sessions <= distant.settings.api_connections + 5
