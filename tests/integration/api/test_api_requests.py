"""What a request may be: bounds, strict input, and answers in the form of a problem."""

import json
import socket
from typing import Any

import httpx
import pytest

from api_stage import ApiStage
from harness import wait_until
from patience import patient
from streamworkers.api.server import BoundedProtocol


def _problem(answer: Any) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert set(body) == {"type", "title", "status", "detail", "instance", "error"}
    assert body["instance"] == f"urn:uuid:{answer.headers['x-request-id']}"
    assert body["error"] == body["detail"]
    return body["status"], body["detail"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("colour=red", "the query: Object contains unknown field `colour`"),
        ("limit=0", "the query: Expected `int` >= 1"),
        ("limit=1001", "the query: Expected `int` <= 1000"),
        ("limit=five", "the query: Expected `int`, got `str`"),
        ("status=GONE", "the query: Invalid enum value 'GONE'"),
        ("job=a&job=b", "query parameter 'job' is given twice"),
        ("job=%00", "job has a NUL or half of a surrogate pair"),
        ("job=%ff", "the query is not name=value&…, percent-encoded in UTF-8"),
        ("since=2026-01-01T00:00:00", "the query: Expected `datetime` with a timezone component"),
        ("since=0.5", "the query: since '0.5' is no time as 2026-11-26T18:00:00Z"),
        ("cursor=xyz", "the cursor is not one that this query has given"),
    ],
)
def test_a_query_that_breaks_a_rule_is_rejected(api: ApiStage, query: str, message: str) -> None:
    status, detail = _problem(api.call("GET", f"/api/v1/runs?{query}"))
    assert status == 422
    assert detail.startswith(message)


_DEEP = '{"job": "noop", "key": "k", "parameters": ' + "[" * 40 + "]" * 40 + "}"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("{", 400, "the body is no JSON: Input data was truncated"),
        ("\xff", 400, "the body is no JSON"),
        ("[]", 422, "the body: Expected `object`, got `array`"),
        ("{}", 422, "the body: Object missing required field `job`"),
        ('{"job": 5}', 422, "the body: Expected `str`, got `int` - at `$.job`"),
        ('{"job": "noop", "colour": 1}', 422, "the body: Object contains unknown field `colour`"),
        ('{"job": "noop\\u0000"}', 422, "job has a NUL or half of a surrogate pair"),
        ('{"job": "\\ud800"}', 400, "the body is no JSON"),
        ('{"job": "noop", "parameters": {"x": 9223372036854775808}}', 422, "x is beyond 9223372036854775807"),
        (_DEEP, 422, "the body is nested deeper than 32 levels"),
        ('{"job": "noop", "symbols": ["A"]}', 400, "a run is started once: give `key`, or the header Idempotency-Key"),
        ('{"job": "nop", "key": "k", "symbols": ["A"]}', 422, "no process of the pool has a job named 'nop'"),
        (
            '{"job": "ledger_entry", "key": "k", "symbols": ["A"], "parameters": {"milliseconds": "x"}}',
            422,
            "job 'ledger_entry': milliseconds: 'x' is not of type",
        ),
        (
            '{"job": "ledger_entry", "key": "k"}',
            422,
            "job 'ledger_entry': a run needs a universe, or at least one symbol",
        ),
    ],
)
def test_a_body_that_breaks_a_rule_is_rejected(api: ApiStage, body: str, status: int, message: str) -> None:
    headers = {"Content-Type": "application/json"}
    found, detail = _problem(api.call("POST", "/api/v1/runs", content=body.encode("latin-1"), headers=headers))
    assert (found, detail[: len(message)]) == (status, message)


def test_a_body_of_another_kind_and_one_where_none_is_wanted_are_rejected(api: ApiStage) -> None:
    answer = api.call("POST", "/api/v1/runs", content=b"job=noop")
    assert _problem(answer) == (415, "a body is `Content-Type: application/json`")
    run = api.submit()
    answer = api.call("DELETE", f"/api/v1/runs/{run}", json={"x": 1})
    assert _problem(answer) == (422, "DELETE /api/v1/runs/{run} takes no body")


def test_sizes_are_bounded(api: ApiStage) -> None:
    large = json.dumps({"job": "x" * 20_000})
    headers = {"Content-Type": "application/json"}
    answer = api.call("POST", "/api/v1/runs", content=large, headers=headers)
    assert _problem(answer) == (413, "the body exceeds STREAMWORKERS_API_BODY_BYTES=20000")
    parts = iter([b"x" * 9_000] * 3)
    assert _problem(api.call("POST", "/api/v1/runs", content=parts, headers=headers))[0] == 413
    for path in ("/api/v1/runs/" + "x" * 2_000, "/api/v1/runs?job=" + "x" * 8_000):
        assert _problem(api.call("GET", path)) == (414, "a path has at most 2000 bytes, and a query 8000")
    fields = "&".join(f"x{number}=1" for number in range(200))
    assert _problem(api.call("GET", f"/api/v1/runs?{fields}"))[0] == 422


def test_unknown_paths_and_methods_are_named(api: ApiStage) -> None:
    assert _problem(api.call("GET", "/api/v1/nothing", None)) == (404, "no path is named '/api/v1/nothing'")
    answer = api.call("PUT", "/api/v1/runs", None)
    assert _problem(answer) == (405, "/api/v1/runs takes GET, POST, not PUT")
    assert answer.headers["allow"] == "GET, POST"


def test_a_run_is_found_by_number_and_uuid_and_by_nothing_else(api: ApiStage) -> None:
    run = api.submit()
    found = api.get(f"/api/runs/{run}")
    assert api.get(f"/api/v1/runs/{found['run_id']}") == found
    for text in ("0", "-1", "1e3", "9" * 19, "9" * 30, "x", found["run_id"].replace("-", ""), "%00"):
        assert api.call("GET", f"/api/v1/runs/{text}").status_code == 404, text


def test_nothing_of_an_answer_is_for_another_site(api: ApiStage) -> None:
    headers = {"Origin": "https://example.org", "Host": "example.org"}
    answer = api.call("GET", "/api/v1/runs", headers=headers)
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "server" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"


def test_a_fault_of_the_program_is_said_without_its_stack(api: ApiStage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("an inner secret")

    monkeypatch.setattr("streamworkers.api.working.read_query", fail)
    answer = api.call("GET", "/api/v1/runs")
    assert _problem(answer) == (500, "the request failed by a fault of the program; its log has it under the instance")
    assert "inner" not in answer.text


def test_an_answer_does_not_wait_for_an_acknowledgement(api: ApiStage, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    wait = BoundedProtocol._wait

    def look(self: BoundedProtocol) -> None:
        found.append(self.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        wait(self)

    monkeypatch.setattr(BoundedProtocol, "_wait", look)
    with httpx.Client(timeout=patient(30)) as client:
        assert client.get(f"{api.url}/livez").status_code == 200
    assert found
    assert all(found)


@pytest.mark.parametrize("begun", [b"", b"GET /api/v1/runs HTTP/1.1\r\nHost: x\r\n"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_request_that_does_not_come_whole_is_ended(
    api: ApiStage, monkeypatch: pytest.MonkeyPatch, begun: bytes, is_first: bool
) -> None:
    monkeypatch.setattr("streamworkers.api.server.REQUEST_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", api.process.port), timeout=patient(20)) as connection:
        if not is_first:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200 OK" in connection.recv(4096)
        connection.sendall(begun)
        while part := connection.recv(4096):
            assert b"HTTP/1.1" not in part or not is_first


def test_requests_are_counted_by_route_and_what_was_rejected_by_its_code(api: ApiStage) -> None:
    def count(name: str, **labels: str) -> float:
        return api.process.metrics.registry.get_sample_value(f"streamworkers_api_{name}", labels) or 0.0

    def counts() -> tuple[float, float]:
        one = {"method": "POST", "route": "/api/v1/runs", "status": "403"}
        return count("requests_total", **one), count("problems_total", code="forbidden")

    answered, rejected = counts()
    assert (
        api.call("POST", "/api/v1/runs", "eve", json={"job": "noop", "symbols": ["A"], "key": "k"}).status_code == 403
    )
    wait_until(lambda: counts() == (answered + 1, rejected + 1), what="the answer is counted")
    assert count("requests_in_progress") == 0
    assert count("most_requests_at_once") == api.settings.api_connections
