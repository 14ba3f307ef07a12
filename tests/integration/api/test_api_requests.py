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
        ("colour=red", "query parameter `colour` is not known; known: job, status, user"),
        ("jb=red", "query parameter `jb` is not known; did you mean `job`?"),
        ("limit=0", "query parameter `limit`: 0 is below 1"),
        ("limit=1001", "query parameter `limit`: 1001 is above 1000"),
        ("limit=five", "query parameter `limit`: 'five' is not a whole number"),
        ("limit=" + "x" * 200, "query parameter `limit`: '" + "x" * 79 + "… is not a whole number"),
        ("limit=sw_live_x", "query parameter `limit` is not a whole number"),
        ("before=x", "query parameter `before`: 'x' is not a whole number"),
        ("before=0", "query parameter `before`: 0 is below 1"),
        ("status=GONE", "query parameter `status`: 'GONE' is not one of CANCELLED, COMPLETED, COMPLETED"),
        ("order=asx", "query parameter `order`: 'asx' is not one of asc, desc; did you mean 'asc'?"),
        ("job=a&job=b", "query parameter `job` is given twice"),
        ("job=%00", "job has a NUL or half of a surrogate pair"),
        ("job=%ff", "the query is not name=value&…, percent-encoded in UTF-8"),
        ("since=2026-01-01T00:00:00", "query parameter `since`: '2026-01-01T00:00:00' is a time without its zone: end"),
        ("since=0.5", "query parameter `since`: '0.5' is not a time as 2026-11-26T18:00:00Z"),
        ("since=2026-13-01", "query parameter `since`: '2026-13-01' is not a time as 2026-11-26T18:00:00Z"),
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
        ("{", 400, "the body is no JSON: at line 1, column 2: it ends too early"),
        (" ", 400, "the body is no JSON: it is empty"),
        ("{}\xff", 400, "the body is no JSON: at line 1, column 3: this byte is no UTF-8"),
        ('{\n "job" 5}', 400, "the body is no JSON: at line 2, column 8: a colon is missing"),
        ('{"job": "a" "key": 1}', 400, "the body is no JSON: at line 1, column 13: a comma, or the end of the list"),
        (
            "[1 2]",
            400,
            "the body is no JSON: at line 1, column 4: a comma, or the end of the list or object, is missing",
        ),
        ("{job: 1}", 400, "the body is no JSON: at line 1, column 2: a name in quotes is missing"),
        ("[tru]", 400, "the body is no JSON: at line 1, column 2: a value is missing"),
        ("[01]", 400, "the body is no JSON: at line 1, column 3: a comma, or the end of"),
        ("{} x", 400, "the body is no JSON: at line 1, column 4: something stands behind the end of the value"),
        ('["\\x"]', 400, "the body is no JSON: at line 1, column 3: there is no such escape"),
        ('["\\u12x4"]', 400, "the body is no JSON: at line 1, column 4: the escape \\u has no four hexadecimal"),
        ('["a', 400, "the body is no JSON: at line 1, column 2: this text has no quote at its end"),
        ('["a\nb"]', 400, "the body is no JSON: at line 1, column 4: a line end or control character stands in a text"),
        ("[NaN]", 400, "the body is no JSON: NaN is no number of JSON"),
        ("[1" + "0" * 5000 + "]", 400, "the body is no JSON: a number or the nesting is beyond what is read"),
        ("[1e999]", 400, "the body is no JSON: a number is too large"),
        ("[]", 422, "the body is not an object"),
        ("{}", 422, "field `job` is missing"),
        ('{"job": 5}', 422, "field `job`: 5 is not a text"),
        ('{"job": null}', 422, "field `job`: null is not a text"),
        ('{"job": ["a"]}', 422, "field `job`: a list is not a text"),
        ('{"job": {"a": 1}}', 422, "field `job`: an object is not a text"),
        ('{"job": "noop", "symbols": 5}', 422, "field `symbols`: 5 is not a list or null"),
        ('{"job": "noop", "symbols": ["A", 5]}', 422, "field `symbols[1]`: 5 is not a text"),
        ('{"job": "noop", "after": "x"}', 422, "field `after`: 'x' is not a whole number, a list or null"),
        ('{"job": "noop", "after_when": "endd"}', 422, "field `after_when`: 'endd' is not one of completed, ended; d"),
        ('{"job": "noop", "priority": 5}', 422, "field `priority`: 5 is not one of high, low, normal"),
        ('{"job": "noop", "max_attempts": 101}', 422, "field `max_attempts`: 101 is above 100"),
        ('{"job": "noop", "max_attempts": 1.5}', 422, "field `max_attempts`: 1.5 is not a whole number or null"),
        ('{"job": "noop", "max_attempts": true}', 422, "field `max_attempts`: true is not a whole number or null"),
        ('{"job": "noop", "webhook": {"url": "x"}}', 422, "field `webhook.secrets` is missing"),
        ('{"job": "noop", "webhook": "whsec_abc"}', 422, "field `webhook` is not an object or null"),
        (
            '{"job": "noop", "webhook": {"url": "x", "secrets": [5]}}',
            422,
            "field `webhook.secrets[0]` is not a text",
        ),
        (
            '{"job": "noop", "webhook": {"url": "x", "secrets": [], "ulr": 1}}',
            422,
            "field `webhook.ulr` is not known; did you mean `url`?",
        ),
        ('{"jab": "noop"}', 422, "field `jab` is not known; did you mean `job`?"),
        ('{"job": "noop", "colour": 1}', 422, "field `colour` is not known; known: job, parameters, universe, "),
        ('{"job": "noop\\u0000"}', 422, "job has a NUL or half of a surrogate pair"),
        ('{"job": "\\ud800"}', 400, "the body is no JSON: an escape \\u is half of a"),
        ('{"job": "noop", "parameters": {"x": 9223372036854775808}}', 422, "x is beyond 9223372036854775807"),
        (_DEEP, 422, "the body is nested deeper than 32 levels"),
        ('{"job": "noop", "symbols": ["A"]}', 400, "a run is started once: give `key`, or the header Idempotency-Key"),
        ('{"job": "nop", "key": "k", "symbols": ["A"]}', 422, "no process of the pool has a job named 'nop'"),
        (
            '{"job": "ledger_entry", "key": "k", "symbols": ["A"], "parameters": {"milliseconds": "x"}}',
            422,
            "parameter milliseconds='x' of job 'ledger_entry': it is not a number",
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
