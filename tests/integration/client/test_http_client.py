"""The client on the HTTP API: its token, calls that are sent again, and servers that answer badly or not at all."""

import gzip
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import psycopg
import pytest

from client_stage import HTTP_KINDS, ApiAccess, opened_client
from harness import wait_until
from patience import patient
from streamworkers.client import (
    BadInputError,
    Client,
    Request,
    ServiceUnreachableError,
    StreamworkersError,
    UnknownOutcomeError,
    WaitTimeoutError,
    http_connections,
)
from streamworkers.client.http_door import HttpDoor
from streamworkers.client.records import Submitted
from streamworkers.client.steps import Steps
from streamworkers.database import Connection
from streamworkers.engine import ledger
from submitting import load
from tcp_proxy import TcpProxy


@pytest.fixture(params=HTTP_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of client on the HTTP API."""
    found: str = request.param
    return found


def _count(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM runs").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("requests", [1, 3])
def test_an_answer_that_is_lost_makes_no_second_run(
    requests: int, kind: str, api: ApiAccess, connection: Connection
) -> None:
    with TcpProxy(("127.0.0.1", api.port)) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/"
        with opened_client(kind, url, token=api.token, timeout=patient(10)) as client:
            proxy.cut_after(0)
            runs = client.enqueue_many([Request.of("noop", symbols=["A"])] * requests)
            assert proxy.cuts == 1
    assert [run.is_new for run in runs] == [True] * requests
    assert _count(connection) == requests


def test_control_a_new_key_for_each_try_would_make_a_second_run(
    api: ApiAccess, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = HttpDoor.submit

    def forgetful(self: HttpDoor, requests: Sequence[Any], call_key: str) -> Steps[list[Submitted]]:
        return submit(self, requests, uuid.uuid4().hex)

    monkeypatch.setattr(HttpDoor, "submit", forgetful)
    with (
        TcpProxy(("127.0.0.1", api.port)) as proxy,
        Client(f"http://127.0.0.1:{proxy.port}", token=api.token) as client,
    ):
        proxy.cut_after(0)
        client.enqueue("noop", symbols=["A"])
    assert _count(connection) == 2


def test_no_call_waits_for_an_api_that_does_not_answer(kind: str, api: ApiAccess) -> None:
    with TcpProxy(("127.0.0.1", api.port)) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        with opened_client(kind, url, token=api.token, timeout=patient(5)) as client:
            run = client.enqueue("noop", symbols=["A"], key="k")
            proxy.hang()
            with opened_client(kind, url, token=api.token, timeout=0.1) as hurried:
                with pytest.raises(
                    (UnknownOutcomeError, ServiceUnreachableError), match=r"gave no answer|does not answer"
                ):
                    hurried.enqueue("noop", symbols=["A"])
                with pytest.raises(ServiceUnreachableError, match=r"127\.0\.0\.1:\d+/api/v1/ does not answer: "):
                    hurried.jobs()
            with pytest.raises(WaitTimeoutError, match=f"run {run.id} has not ended within 0.2 s"):
                run.wait(0.2)
        proxy.reject()
        with opened_client(kind, url, token=api.token) as client, pytest.raises(StreamworkersError):
            client.jobs()


def test_a_run_is_followed_although_the_api_is_away_in_between(
    kind: str, api: ApiAccess, connection: Connection
) -> None:
    with TcpProxy(("127.0.0.1", api.port)) as proxy, ThreadPoolExecutor(1) as threads:
        url = f"http://127.0.0.1:{proxy.port}"
        with opened_client(kind, url, token=api.token, timeout=patient(10)) as client:
            run = client.enqueue("noop", symbols=["A"])
            proxy.cut_after(0)  # the first answer
            following = threads.submit(lambda: list(run.events(patient(60))))
            wait_until(lambda: proxy.cuts == 1, what="the answer is cut")
            proxy.reject()
            ledger.cancel_run(connection, load(connection, run.id))
            proxy.resume()
            assert [event.kind for event in following.result(patient(60))] == ["submitted", "ended"]


def test_the_token_decides_what_is_allowed(kind: str, api: ApiAccess) -> None:
    wrong = "sw_live_" + "x" * 50
    with (
        opened_client(kind, api.url, token=wrong) as client,
        pytest.raises(ServiceUnreachableError, match="the API rejects the call: the request needs the header") as error,
    ):
        client.enqueue("noop", symbols=["A"])
    assert wrong not in str(error.value)
    with (
        opened_client(kind, api.url, token=api.token, user="bob") as client,
        pytest.raises(BadInputError, match="user 'bob' cannot be chosen over HTTP: it is that of the token"),
    ):
        client.enqueue("noop", symbols=["A"])


def test_several_runs_over_http_need_a_key_and_are_each_on_the_record(api: ApiAccess, connection: Connection) -> None:
    headers = {"Authorization": f"Bearer {api.token}"}
    runs = [{"job": "noop", "symbols": [symbol]} for symbol in "AB"]
    with httpx.Client(base_url=api.url, headers=headers, timeout=patient(30)) as sender:
        rejected = sender.post("/api/v1/runs/batch", json={"runs": runs})
        assert (rejected.status_code, rejected.json()["type"]) == (400, "urn:streamworkers:problem:key-required")
        given = {"Idempotency-Key": "k", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
        made = sender.post("/api/v1/runs/batch", json={"runs": runs}, headers=given)
        again = sender.post("/api/v1/runs/batch", json={"runs": runs}, headers=given)
    assert (made.status_code, again.json()) == (202, made.json())
    ids = [run["id"] for run in made.json()["runs"]]
    traced = connection.execute(
        "SELECT id FROM runs WHERE traceparent IS NOT NULL AND requested_by = 'ann' ORDER BY id"
    )
    assert [run for (run,) in traced] == ids
    audit = connection.execute(
        "SELECT object_id FROM audit_log WHERE action = 'run.submit' AND outcome = 'ok' ORDER BY id"
    )
    assert [int(run) for (run,) in audit] == ids


def test_options_that_do_not_fit_are_rejected(api: ApiAccess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMWORKERS_API_TOKEN", raising=False)
    with pytest.raises(BadInputError, match="needs a token: give token=, or set STREAMWORKERS_API_TOKEN"):
        Client(api.url)
    with pytest.raises(BadInputError, match="the token is not 1 to 200 visible characters of ASCII"):
        Client(api.url, token="a\nb")
    with pytest.raises(BadInputError, match="the URL of the HTTP API names no host"):
        Client("https://", token="t")
    with pytest.raises(BadInputError, match="a token is for a URL of the HTTP API"):
        Client("postgresql://host/db", token="t")
    monkeypatch.setenv("STREAMWORKERS_API_TOKEN", api.token)
    with Client(f"{api.url}/api/v1") as client:
        assert client.jobs()
        assert api.token not in repr(vars(client))
        with pytest.raises(BadInputError, match="only a client on PostgreSQL submits in your own transaction"):
            client.enqueue("noop", symbols=["A"], connection=psycopg)


_BAD_ANSWERS = [
    ("GET", 302, b"", ServiceUnreachableError, "the API rejects the call: HTTP status 302"),
    ("GET", 502, b"<html>", ServiceUnreachableError, "the API cannot answer now: HTTP status 502"),
    ("GET", 200, b"<html>", ServiceUnreachableError, "the API cannot answer now: HTTP status 200"),
    ("GET", 200, b'{"jobs": [{"parameters": 1}]}', ServiceUnreachableError, "answers what this client does not know"),
    ("GET", 429, b'{"detail": "slowly"}', ServiceUnreachableError, "the API does not do this now: slowly"),
    ("POST", 502, b"<html>", UnknownOutcomeError, "nobody knows whether the call took effect; the API answers: HTTP"),
    ("POST", 413, b'{"detail": "too large"}', BadInputError, "too large"),
]


@contextmanager
def _answering(status: int, body: bytes, **headers: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("method", "status", "body", "error", "message"), _BAD_ANSWERS)
def test_an_answer_that_is_none_is_an_error_of_the_client(
    method: str, status: int, body: bytes, error: type[Exception], message: str
) -> None:
    with _answering(status, body) as url, Client(url, token="t") as client, pytest.raises(error, match=message):
        client.jobs() if method == "GET" else client.enqueue("noop", symbols=["A"])


def test_an_answer_that_would_fill_the_memory_is_none(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that is small and unpacks to much, or that is packed several times."""
    bomb = gzip.compress(gzip.compress(bytes(1 << 20)))
    asked = "DecodingError: the answer has the Content-Encoding 'gzip, gzip', which was not asked for"
    monkeypatch.setattr(http_connections, "_MOST_BYTES", 1000)
    for body, headers, message in (
        (bomb, {"Content_Encoding": "gzip, gzip"}, asked),
        (b"x" * 1001, {}, "ReadError: the answer has more than 1000 bytes"),
    ):
        with _answering(200, body, **headers) as url, opened_client(kind, url, token="t") as client:
            with pytest.raises(ServiceUnreachableError) as raised:
                client.jobs()
            assert str(raised.value) == f"{url}/api/v1/ does not answer: {message}"
