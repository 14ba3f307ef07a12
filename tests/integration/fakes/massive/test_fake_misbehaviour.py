"""Each misbehaviour really does what it says, over HTTP."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from streamworkers_fakes.massive import KINDS, RunningFakeMassive, running_fake_massive

Json = dict[str, Any]
PATH = "/v2/aggs/ticker/KO/range/1/hour/2025-11-24/2025-11-25?limit=50000"
GROUPED = "/v2/aggs/grouped/locale/us/market/stocks/2025-11-24"
SPLITS = "/v3/reference/splits"
NO_HOST = "http://other-host.invalid"


def changed(answer: httpx.Response, good: Json) -> Json:
    """The words of an answer that differ from the good one; every answer has a request_id of its own."""
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    assert found.keys() >= good.keys() - {"results"}
    assert found["request_id"] != good["request_id"]
    return {name: value for name, value in found.items() if name not in good or value != good[name]} | {
        name: None for name in good if name not in found
    }


def has_bars(answer: httpx.Response, good: Json, rows: list[Json]) -> None:
    found = answer.json()
    assert found["results"] == rows
    assert found["resultsCount"] == found["count"] == len(rows)
    assert changed(answer, good).keys() <= {"results", "resultsCount", "count", "request_id"}


def absurd_price(answer: httpx.Response, good: Json) -> None:
    rows = [dict(row) for row in good["results"]]
    rows[len(rows) // 2] |= {name: rows[len(rows) // 2][name] * 1000 for name in "ohlc"}
    has_bars(answer, good, rows)


def bad_bar(answer: httpx.Response, good: Json) -> None:
    first, *middle, last = good["results"]
    has_bars(answer, good, [{**first, "h": round(first["l"] - 0.01, 4)}, *middle, {**last, "o": None}])


def clipped_bars(answer: httpx.Response, good: Json) -> None:
    has_bars(answer, good, good["results"][len(good["results"]) // 2 :])


def delayed(answer: httpx.Response, good: Json) -> None:
    assert changed(answer, good).keys() == {"status", "request_id"}
    assert answer.json()["status"] == "DELAYED"


def dst_shift(answer: httpx.Response, good: Json) -> None:
    half = len(good["results"]) // 2
    moved = [{**row, "t": row["t"] + 3_600_000} for row in good["results"][half:]]
    has_bars(answer, good, [*good["results"][:half], *moved])


def duplicate_bars(answer: httpx.Response, good: Json) -> None:
    has_bars(answer, good, [good["results"][0], *good["results"]])


def error_status(answer: httpx.Response, good: Json) -> None:
    assert answer.status_code == 200
    assert answer.json().keys() == {"status", "request_id", "error"}
    assert (answer.json()["status"], answer.json()["error"]) == ("ERROR", "the data could not be read")


def foreign_next_url(answer: httpx.Response, good: Json) -> None:
    assert changed(answer, good).keys() == {"next_url", "request_id"}
    assert answer.json()["next_url"] == NO_HOST + PATH


def gateway_timeout(answer: httpx.Response, good: Json) -> None:
    assert answer.elapsed.total_seconds() >= 0.2
    assert answer.status_code == 504
    assert (answer.json()["status"], answer.json()["error"]) == ("ERROR", "the server took too long")


def high_below_low(answer: httpx.Response, good: Json) -> None:
    first, *others = good["results"]
    has_bars(answer, good, [{**first, "h": round(first["l"] - 0.01, 4)}, *others])


def huge_body(answer: httpx.Response, good: Json) -> None:
    assert changed(answer, good).keys() == {"padding", "request_id"}
    assert len(answer.content) > 64_000_000


def loop_next_url(answer: httpx.Response, good: Json) -> None:
    assert changed(answer, good).keys() == {"next_url", "request_id"}
    assert answer.json()["next_url"] == str(answer.url)


def missing_bars(answer: httpx.Response, good: Json) -> None:
    rows = answer.json()["results"]
    assert len(rows) == len(good["results"]) - round(len(good["results"]) / 5)
    has_bars(answer, good, [row for row in good["results"] if row in rows])


def missing_results(answer: httpx.Response, good: Json) -> None:
    found = changed(answer, good)
    assert found.pop("request_id")
    assert found == {"results": None, "resultsCount": 5}


def not_authorized(answer: httpx.Response, good: Json) -> None:
    assert answer.status_code == 403
    assert answer.json()["status"] == "NOT_AUTHORIZED"
    assert answer.json()["message"] == "You are not entitled to this data. Please upgrade your plan."


def not_json(answer: httpx.Response, good: Json) -> None:
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.text.startswith("<!DOCTYPE html>")


def null_open(answer: httpx.Response, good: Json) -> None:
    *others, last = good["results"]
    has_bars(answer, good, [*others, {**last, "o": None}])


def out_of_range_bars(answer: httpx.Response, good: Json) -> None:
    first, *_ = answer.json()["results"]
    has_bars(answer, good, [{**good["results"][0], "t": first["t"]}, *good["results"]])
    assert first["t"] == 1_763_960_400_000 - 86_400_000  # a day before 2025-11-24 00:00 in New York


def random_failures(answer: httpx.Response, good: Json) -> None:
    cut = answer.status_code == 200 and len(answer.content) < len(json.dumps(good)) // 2
    assert cut or answer.status_code in (429, 500, 502, 504)


def rate_limit(answer: httpx.Response, good: Json) -> None:
    assert answer.status_code == 429
    assert "retry-after" not in answer.headers
    assert answer.json()["error"] == ("You have made more requests per minute than your plan allows. Please wait.")


def redirect(answer: httpx.Response, good: Json) -> None:
    assert (answer.status_code, answer.headers["location"], answer.content) == (302, NO_HOST + PATH, b"")


def server_error(answer: httpx.Response, good: Json) -> None:
    assert answer.status_code == 500
    assert (answer.json()["status"], answer.json()["error"]) == ("ERROR", "the server failed")


def truncated_bars(answer: httpx.Response, good: Json) -> None:
    has_bars(answer, good, good["results"][: -(len(good["results"]) // 2)])


def truncated_json(answer: httpx.Response, good: Json) -> None:
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == answer.num_bytes_downloaded
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def unordered_bars(answer: httpx.Response, good: Json) -> None:
    first, *middle, last = good["results"]
    has_bars(answer, good, [last, *middle, first])


def wrong_adjusted(answer: httpx.Response, good: Json) -> None:
    assert changed(answer, good).keys() == {"adjusted", "request_id"}
    assert answer.json()["adjusted"] is False


def wrong_count(answer: httpx.Response, good: Json) -> None:
    assert changed(answer, good).keys() == {"resultsCount", "request_id"}
    assert answer.json()["resultsCount"] == len(good["results"]) + 1


def wrong_ticker(answer: httpx.Response, good: Json) -> None:
    assert changed(answer, good).keys() == {"ticker", "request_id"}
    assert answer.json()["ticker"] == "ZZZZ"


CHECKS: dict[str, Callable[[httpx.Response, Json], None]] = {
    check.__name__: check
    for check in (
        absurd_price, bad_bar, clipped_bars, delayed, dst_shift, duplicate_bars, error_status, foreign_next_url,
        gateway_timeout, high_below_low, huge_body, loop_next_url, missing_bars, missing_results, not_authorized,
        not_json, null_open, out_of_range_bars, random_failures, rate_limit, redirect, server_error, truncated_bars,
        truncated_json, unordered_bars, wrong_adjusted, wrong_count, wrong_ticker,
    )
}  # fmt: skip
NO_ANSWER = {"cut_connection", "timeout", "trickle"}  # have tests of their own


@pytest.mark.parametrize("name", sorted(set(KINDS) - NO_ANSWER))
def test_each_misbehaviour_does_what_it_says(name: str, client: httpx.Client, server: RunningFakeMassive) -> None:
    good = client.get(PATH).json()
    assert good["resultsCount"] == len(good["results"]) > 20
    server.misbehave(name, 1.0 if name == "random_failures" else None, calls=1)
    answer = client.get(PATH)
    CHECKS[name](answer, good)
    assert server.calls[-1].status == answer.status_code
    assert (server.calls[-1].misbehaviour == name) == (name != "random_failures")
    again = client.get(PATH)
    assert changed(again, good).keys() == {"request_id"}
    assert server.calls[-1].misbehaviour is None


def test_a_cut_connection_ends_before_the_promised_length(client: httpx.Client, server: RunningFakeMassive) -> None:
    whole = client.get(PATH)
    server.misbehave("cut_connection", calls=1)
    with client.stream("GET", PATH) as answer:
        assert answer.headers["content-length"] == str(len(whole.content))
        with pytest.raises(httpx.RemoteProtocolError) as raised:
            answer.read()
    assert "peer closed connection without sending complete message body" in str(raised.value)
    assert changed(client.get(PATH), whole.json()).keys() == {"request_id"}


def test_a_late_answer_is_the_good_one_for_those_who_wait(client: httpx.Client, server: RunningFakeMassive) -> None:
    good = client.get(PATH).json()
    server.misbehave("timeout", 0.3)
    with pytest.raises(httpx.ReadTimeout):
        client.get(PATH, timeout=0.1)
    late = client.get(PATH)
    assert late.elapsed.total_seconds() >= 0.3
    assert changed(late, good).keys() == {"request_id"}


def test_a_trickle_is_the_good_answer_in_small_parts(client: httpx.Client, server: RunningFakeMassive) -> None:
    good = client.get(PATH).json()
    server.misbehave("trickle", 0.001)
    with client.stream("GET", PATH) as answer:
        parts = list(answer.iter_raw())
    assert max(map(len, parts)) < len(b"".join(parts)) / 4
    assert changed(httpx.Response(200, headers=answer.headers, content=b"".join(parts)), good).keys() == {"request_id"}


def test_a_stopping_server_gives_up_what_it_holds_back() -> None:
    with running_fake_massive(misbehaviours=["timeout=3600"]) as server:
        headers = {"Authorization": f"Bearer {server.api_key}"}
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(server.url + PATH, headers=headers, timeout=0.1)
    assert [(call.misbehaviour, call.status) for call in server.calls] == [("timeout", 200)]


def test_latency_comes_before_every_answer(client: httpx.Client, server: RunningFakeMassive) -> None:
    server.fake.set_latency(0.2)
    for path in (PATH, "/nothing"):
        assert client.get(path).elapsed.total_seconds() >= 0.2


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("rate_limit", 7, lambda answer: (answer.status_code, answer.headers["retry-after"]) == (429, "7")),
        ("rate_limit", 0, lambda answer: answer.headers["retry-after"] == "0"),
        ("server_error", 503, lambda answer: answer.status_code == 503),
        ("huge_body", 0.5, lambda answer: 500_000 < len(answer.content) < 510_000),
        ("redirect", "https://a.invalid/", lambda answer: answer.headers["location"] == f"https://a.invalid{PATH}"),
        ("foreign_next_url", "https://a.invalid", lambda answer: answer.json()["next_url"] == f"https://a.invalid{PATH}"),
        ("gateway_timeout", 0, lambda answer: answer.status_code == 504),
    ],
)  # fmt: skip
def test_a_value_says_how_to_misbehave(
    client: httpx.Client,
    server: RunningFakeMassive,
    name: str,
    value: float | str,
    check: Callable[[httpx.Response], bool],
) -> None:
    server.misbehave(name, value)
    assert check(client.get(PATH))


def test_bars_of_all_symbols_can_be_spoilt_too(client: httpx.Client, server: RunningFakeMassive) -> None:
    good = client.get(GROUPED).json()
    server.misbehave("wrong_ticker", calls=1)
    server.misbehave("out_of_range_bars", calls=1)
    assert client.get(GROUPED).json()["results"][0] == {**good["results"][0], "T": "ZZZZ"}
    rows = client.get(GROUPED).json()["results"]
    first = good["results"][0]
    assert rows == [{**first, "t": first["t"] - 86_400_000}, *good["results"]]


def test_reference_data_has_no_bars_to_spoil(client: httpx.Client, server: RunningFakeMassive) -> None:
    server.misbehave("null_open")
    server.misbehave("wrong_adjusted")
    good = client.get(SPLITS).json()
    assert server.calls[-1].misbehaviour is None
    server.misbehave("wrong_ticker")
    rows = client.get(SPLITS).json()["results"]
    assert rows == [{**good["results"][0], "ticker": "ZZZZ"}, *good["results"][1:]]
    assert client.get(f"{SPLITS}?ticker=NONE").json()["results"] == []
    assert server.calls[-1].misbehaviour is None


def test_a_rule_concerns_its_tickers_and_paths_alone(client: httpx.Client, server: RunningFakeMassive) -> None:
    server.misbehave("server_error", 501, tickers=["KO"], path="/v2")
    server.misbehave("server_error", 502, path=SPLITS)
    paths = (PATH, PATH.replace("KO", "V"), f"{SPLITS}?ticker=KO", GROUPED)
    assert [client.get(path).status_code for path in paths] == [501, 200, 502, 200]
    server.clear()
    assert [client.get(path).status_code for path in paths] == [200] * 4


def test_rules_of_a_server_can_be_given_as_texts() -> None:
    with running_fake_massive(misbehaviours=["server_error=503,calls=1"]) as server:
        headers = {"Authorization": f"Bearer {server.api_key}"}
        assert [httpx.get(server.url + SPLITS, headers=headers).status_code for _ in range(2)] == [503, 200]
