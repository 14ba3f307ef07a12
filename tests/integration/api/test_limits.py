"""Limits hold for all API processes together, and each process keeps them by itself while Redis is away."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from api_stage import ApiStage
from harness import ServiceUrls, wait_until
from patience import patient
from streamworkers.api.process import ApiOptions, ApiProcess
from tcp_proxy import TcpProxy


@pytest.fixture(autouse=True)
def waiting_for_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that answers late is no Redis that is away."""
    monkeypatch.setattr("streamworkers.api.limits.ASK_SECONDS", patient(10))


@contextmanager
def _another(api: ApiStage, redis_url: str, **changed: Any) -> Iterator[str]:
    """One more API process on the same stores; yields its URL."""
    settings = api.settings.model_copy(update=changed)
    assert settings.database_url is not None
    process = ApiProcess(settings, redis_url, settings.database_url.get_secret_value(), ApiOptions("127.0.0.1", 0))
    with closing(process):
        process.start()
        yield f"http://127.0.0.1:{process.port}/api/v1/jobs"


def _ask(api: ApiStage, url: str, token: str) -> httpx.Response:
    return api.client.get(url, headers={"Authorization": f"Bearer {token}"})


def _log_of(api: ApiStage, request: str) -> int:
    row = api.connection.execute("SELECT count(*) FROM audit_log WHERE request_id = %s", (request,)).fetchone()
    assert row is not None
    return int(row[0])


def test_a_token_has_one_limit_for_all_processes(api: ApiStage, service_urls: ServiceUrls) -> None:
    token, other = (api.token_for("ann", ["read"]) for _ in range(2))
    with (
        _another(api, service_urls.redis, api_requests_per_minute=2) as first,
        _another(api, service_urls.redis, api_requests_per_minute=2) as second,
    ):
        answers = [_ask(api, url, token) for url in (first, second, first, second)]
        assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
        assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["1", "0", "0", "0"]
        for answer in answers:
            assert answer.headers["ratelimit-limit"] == "2"
            assert 0 < int(answer.headers["ratelimit-reset"]) <= 60
        rejected = answers[2]
        assert 0 < int(rejected.headers["retry-after"]) <= 30
        assert rejected.json()["type"] == "urn:streamworkers:problem:too-many-requests"
        assert rejected.json()["detail"].endswith("may send 2 requests a minute")
        assert _ask(api, second, other).status_code == 200
        changing = api.client.post(second.replace("jobs", "runs"), headers={"Authorization": f"Bearer {token}"})
        assert changing.status_code == 429
        assert _log_of(api, changing.headers["x-request-id"]) == 0


def test_without_a_limit_there_is_none(api: ApiStage, service_urls: ServiceUrls) -> None:
    with _another(api, service_urls.redis, api_requests_per_minute=0) as url:
        answer = _ask(api, url, api.tokens["ann"])
    assert answer.status_code == 200
    assert "ratelimit-limit" not in answer.headers


def test_failed_log_ins_of_an_address_are_counted_by_all_processes(
    api: ApiStage, service_urls: ServiceUrls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamworkers.api.attempts.MOST_FAILURES", 2)
    expired = api.token_for("ann", ["read"], timedelta(milliseconds=1))
    words = {"key_prefix": f"{api.settings.key_prefix}-attempts"}  # every test has this address
    with (
        _another(api, service_urls.redis, **words) as first,
        _another(api, service_urls.redis, **words) as second,
    ):
        assert [_ask(api, url, expired).status_code for url in (first, second)] == [401, 401]
        assert _ask(api, first, api.tokens["ann"]).status_code == 200  # which does not know of the second one yet
        answers = [_ask(api, first, expired), _ask(api, first, api.tokens["ann"]), _ask(api, second, expired)]
    assert [answer.status_code for answer in answers] == [429, 429, 429]
    for answer in answers:
        assert answer.json()["detail"] == "2 requests from this address had no good token within a minute"
        assert 0 < int(answer.headers["retry-after"]) <= 30


@pytest.fixture(scope="module")
def redis(service_urls: ServiceUrls) -> Iterator[TcpProxy]:
    with TcpProxy(urlsplit(service_urls.redis).path) as proxy:
        yield proxy


@pytest.mark.parametrize("away", ["reject", "hang"])
def test_while_redis_is_away_a_process_keeps_its_own_limit(
    api: ApiStage, redis: TcpProxy, away: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamworkers.api.limits.ASK_SECONDS", 0.25)
    monkeypatch.setattr("streamworkers.api.attempts.MOST_FAILURES", 1)
    token, other = (api.token_for("ann", ["read"]) for _ in range(2))
    words = {"api_requests_per_minute": 1, "key_prefix": f"{api.settings.key_prefix}-{away}"}
    with _another(api, f"redis://127.0.0.1:{redis.port}", **words) as url:
        getattr(redis, away)()
        try:
            assert [_ask(api, url, token).status_code for _ in range(2)] == [200, 429]
            assert _ask(api, url, other).headers["ratelimit-remaining"] == "0"
            assert [_ask(api, url, "no token").status_code for _ in range(2)] == [401, 429]
        finally:
            redis.resume()


def test_a_redis_that_is_there_again_is_asked_again(
    api: ApiStage, service_urls: ServiceUrls, redis: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamworkers.api.limits._AWAY_SECONDS", 0.0)
    with (
        _another(api, f"redis://127.0.0.1:{redis.port}", api_requests_per_minute=1) as far,
        _another(api, service_urls.redis, api_requests_per_minute=1) as near,
    ):

        def second_status() -> int:
            token = api.token_for("ann", ["read"])
            assert _ask(api, far, token).status_code == 200
            return _ask(api, near, token).status_code

        redis.reject()
        try:
            assert second_status() == 200
        finally:
            redis.resume()
        wait_until(lambda: second_status() == 429, what="both count in Redis")
