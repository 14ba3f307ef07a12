"""Keys, the limit of calls, the log and the control of a running server."""

import asyncio
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness import wait_until
from streamworkers.errors import BadInputError, ServiceUnreachableError, UsageError
from streamworkers_fakes.massive import DEFAULT_KEY, FakeMassive, RunningFakeMassive, running_fake_massive
from streamworkers_fakes.massive.app import build_app

SPLITS = "/v3/reference/splits"
PATH = "/v2/aggs/ticker/KO/range/1/day/2025-11-24/2025-11-25"


@pytest.fixture
def bare_client(server: RunningFakeMassive) -> Iterator[httpx.Client]:
    """A client without a key."""
    with httpx.Client(base_url=server.url) as opened:
        yield opened


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer other", f"Bearer {DEFAULT_KEY}x", f"Basic {DEFAULT_KEY}", DEFAULT_KEY],
)
def test_without_a_known_key_the_answer_is_401(bare_client: httpx.Client, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = bare_client.get(PATH, headers=headers)
    assert answer.status_code == 401
    assert (answer.json()["status"], answer.json()["error"]) == ("ERROR", "Unknown API Key")


def test_a_key_in_the_query_is_accepted_and_is_in_no_next_url(
    bare_client: httpx.Client, client: httpx.Client, server: RunningFakeMassive
) -> None:
    for name, status in (("apiKey", 200), ("api%4bey", 200), ("APIKEY", 401)):
        assert bare_client.get(f"{PATH}?{name}={DEFAULT_KEY}").status_code == status
    assert client.get(f"{PATH}?apiKey=other").status_code == 401
    page = bare_client.get(f"{PATH}?limit=1&apiKey={DEFAULT_KEY}").json()
    assert DEFAULT_KEY not in page["next_url"]
    assert bare_client.get(f"{page['next_url']}&apiKey={DEFAULT_KEY}").status_code == 200
    assert not any(DEFAULT_KEY in call.path for call in server.calls)


def test_each_of_several_keys_is_accepted() -> None:
    with running_fake_massive(FakeMassive(api_keys=["one", "two"])) as server:
        assert server.api_key == "one"
        for key, status in (("one", 200), ("two", 200), (DEFAULT_KEY, 401)):
            assert httpx.get(server.url + PATH, headers={"Authorization": f"bearer {key}"}).status_code == status


def test_no_way_to_send_a_key_brings_it_into_the_log(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    key = "se+cret/1"
    with running_fake_massive(FakeMassive(api_keys=[key], log_file=path), ["loop_next_url,calls=1"]) as server:
        with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {key}"}) as client:
            looped = client.get(f"{SPLITS}?ticker=se%2Bcret%2F1")
            for asked in (
                f"{SPLITS}?apiKey={key}",
                f"{SPLITS}?apiKey=se%2Bcret%2F1",
                f"{SPLITS}?ticker=se%2Bcret%2F1",
                "/v2/aggs/ticker/se%2Bcret%2F1/range/1/day/2025-11-24/2025-11-25",
                f"/{key}",
            ):
                client.get(asked)
            log = client.get("/__log__").text
        assert looped.json()["next_url"].endswith("?ticker=***")
    written = path.read_text()
    assert len(written.splitlines()) == len(server.calls) == 6
    for text in (written, log, repr(server.calls)):
        assert key not in text
        assert "se%2Bcret" not in text
    assert [call.ticker for call in server.calls[:5]] == ["***", None, None, "***", "***"]


def test_the_log_tells_each_call_and_its_answer(
    client: httpx.Client, bare_client: httpx.Client, server: RunningFakeMassive
) -> None:
    server.misbehave("server_error", 503, tickers=["V"])
    client.get(f"{PATH}?limit=7")
    client.get(PATH.replace("KO", "V"))
    bare_client.get(f"{SPLITS}?ticker=KO")
    client.get("/nothing")
    calls = client.get("/__log__").json()["calls"]
    names = ("method", "path", "status", "misbehaviour", "ticker", "has_authorization")
    assert [tuple(call[name] for name in names) for call in calls] == [
        ("GET", f"{PATH}?limit=7", 200, None, "KO", True),
        ("GET", PATH.replace("KO", "V"), 503, "server_error", "V", True),
        ("GET", f"{SPLITS}?ticker=KO", 401, None, "KO", False),
        ("GET", "/nothing", 404, None, None, True),
    ]
    assert [call["monotonic"] for call in calls] == sorted(call["monotonic"] for call in calls)
    server.forget_calls()
    assert client.get("/__log__").json() == {"calls": []}


def test_too_many_calls_are_answered_429_with_the_seconds_to_wait(
    client: httpx.Client, bare_client: httpx.Client, server: RunningFakeMassive
) -> None:
    server.fake.set_calls_per_minute(3)
    assert bare_client.get(PATH).status_code == 401  # is no call of the plan
    assert [client.get(PATH).status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    answer = client.get(SPLITS)
    assert answer.status_code == 429
    assert 55 <= int(answer.headers["retry-after"]) <= 60
    assert answer.json()["error"] == "You have made more requests per minute than your plan allows. Please wait."
    server.fake.set_calls_per_minute(None)
    assert client.get(PATH).status_code == 200


def test_a_call_passes_once_the_window_has_moved_on() -> None:
    fake = FakeMassive(calls_per_minute=1, limit_window_seconds=0.3)
    with (
        running_fake_massive(fake) as server,
        httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {DEFAULT_KEY}"}) as client,
    ):
        assert client.get(PATH).status_code == 200
        wait_until(lambda: client.get(PATH).status_code == 200)
        first, *rejected, second = server.calls
        assert second.monotonic - first.monotonic >= 0.3
        assert {call.status for call in rejected} == {429}


def test_the_server_says_that_it_is_well_without_a_key(bare_client: httpx.Client) -> None:
    assert bare_client.get("/healthz").json() == {"status": "OK"}


def test_a_call_that_only_posts_is_not_allowed(client: httpx.Client) -> None:
    assert client.post(SPLITS).status_code == 405


def test_everything_can_be_changed_while_the_server_runs(client: httpx.Client, server: RunningFakeMassive) -> None:
    rules = [{"name": "server_error", "value": 503, "tickers": ["V", "KO"], "calls": 2, "share": 1, "path": "/v2"}]
    client.get(PATH)
    wanted = {
        "now": "2025-11-24T21:00:00-05:00",
        "latency": 0.01,
        "calls_per_minute": 2,
        "misbehave": [*rules, {"name": "rate_limit"}],
        "forget_calls": True,
    }
    answer = client.post("/__control__", json=wanted)
    assert answer.status_code == 200
    assert datetime.fromisoformat(answer.json()["now"]) == datetime(2025, 11, 25, 2, tzinfo=UTC)
    nothing: dict[str, Any] = {"value": None, "tickers": [], "calls": None, "share": 1.0, "path": "/"}
    assert answer.json()["misbehaviours"] == [
        {**rules[0], "value": 503.0, "tickers": ["KO", "V"]},
        {**nothing, "name": "rate_limit"},
    ]
    assert (answer.json()["latency"], answer.json()["calls"]) == (0.01, 0)
    assert [client.get(PATH).status_code for _ in range(2)] == [503, 503]
    assert "retry-after" in client.get(PATH).headers  # of the limit, not of the misbehaviour
    answer = client.post("/__control__", json={"clear": True, "calls_per_minute": None})
    assert (answer.json()["misbehaviours"], answer.json()["calls"]) == ([], 3)
    assert client.get("/__control__").json() == answer.json()
    assert client.get(PATH).json()["resultsCount"] == 1
    server.set_now(None)
    before = datetime.now(UTC)
    assert datetime.fromisoformat(client.post("/__control__", json={"now": None}).json()["now"]) >= before


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"misbehave": [{"name": "time_out"}]}, "no misbehaviour is named 'time_out'; did you mean 'timeout'?"),
        (
            {"misbehave": [{"name": "delayed"}, {"name": "delayed", "share": 2}], "clear": True},
            "misbehaviour delayed: share 2 is not from 0 to 1",
        ),
        ({"now": "2025-11-24T21:00:00"},
         "now 2025-11-24T21:00:00 has no offset from UTC; write it as 2025-11-24T21:00:00+00:00"),
        ({"latency": -1}, "latency -1 s is not a finite number of seconds from 0"),
        ({"calls_per_minute": 0}, "a limit of 0 calls in 60 s must be at least 1 in more than 0 s"),
        ({"calls": 3}, "Object contains unknown field `calls`"),
        ({"latency": "long"}, "Expected `float`, got `str` - at `$.latency`"),
    ],
)  # fmt: skip
def test_a_change_that_breaks_a_rule_is_answered_400_and_leaves_the_misbehaviours(
    client: httpx.Client, server: RunningFakeMassive, wanted: dict[str, Any], error: str
) -> None:
    server.misbehave("wrong_count")
    answer = client.post("/__control__", json=wanted)
    assert answer.status_code == 400
    assert answer.json() == {"status": "ERROR", "error": error}
    assert [rule["name"] for rule in client.get("/__control__").json()["misbehaviours"]] == ["wrong_count"]


def test_a_change_that_is_no_json_is_answered_400(client: httpx.Client) -> None:
    answer = client.post("/__control__", content=b"{")
    assert (answer.status_code, answer.json()["error"]) == (400, "Input data was truncated")


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 200), ("::1", 200), ("192.0.2.7", 403)])
def test_log_and_control_are_for_this_machine_alone(host: str, status: int) -> None:
    async def statuses() -> list[tuple[int, str]]:
        transport = httpx.ASGITransport(build_app(FakeMassive(), asyncio.Event()), client=(host, 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://fake") as client:
            answers = [await client.get("/__log__"), await client.get("/__control__")]
            answers.append(await client.post("/__control__", content=json.dumps({"clear": True})))
        return [(answer.status_code, answer.json().get("error", "")) for answer in answers]

    assert asyncio.run(statuses()) == [(status, "only for this machine" if status == 403 else "")] * 3


def test_who_asks_is_not_believed_to_be_another(client: httpx.Client) -> None:
    assert client.get("/__log__", headers={"X-Forwarded-For": "nobody"}).status_code == 200


def test_a_port_in_use_is_rejected(server: RunningFakeMassive) -> None:
    with pytest.raises(BadInputError) as raised, running_fake_massive(port=server.port):
        pass
    # Python adds the address.
    assert str(raised.value).startswith(f"port {server.port} on 127.0.0.1 cannot be used: Address already in use (")


def test_a_server_that_was_stopped_does_not_start_again() -> None:
    server = RunningFakeMassive(FakeMassive())
    server.stop()
    with pytest.raises(ServiceUnreachableError) as raised:
        server.start()
    assert str(raised.value) == f"the fake Massive API did not start on {server.url}: [Errno 9] Bad file descriptor"


def test_without_its_packages_the_server_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(UsageError) as raised:
        RunningFakeMassive(FakeMassive())
    assert str(raised.value) == (
        "the fake Massive API needs the packages starlette and uvicorn; pip install 'streamworkers[fakes]'"
    )


def test_a_stopped_server_leaves_its_port_free() -> None:
    with running_fake_massive() as server:
        assert httpx.get(f"{server.url}/healthz").status_code == 200
    with closing(socket.create_server(("127.0.0.1", server.port))):
        pass
