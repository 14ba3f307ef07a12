"""The provider `massive`: where its key appears, and how its calls are counted."""

import logging
from datetime import UTC, datetime

import pytest

from massive_source import KEY, answer, asked, provider, scripted
from patience import patient
from streamworkers.config import Settings
from streamworkers.errors import ItemError, UsageError
from streamworkers.loading.providers.massive import Massive
from streamworkers.loading.providers.provider import (
    AuthError,
    BadPayloadError,
    Calls,
    RateLimitedError,
    UnsupportedError,
)
from streamworkers_fakes.massive import (
    KINDS,
    FakeMassive,
    RunningFakeMassive,
    running_fake_massive,
)


def test_the_key_is_in_no_error_no_repr_no_log_and_no_url(
    server: RunningFakeMassive, caplog: pytest.LogCaptureFixture
) -> None:
    texts: list[str] = []
    with caplog.at_level(logging.DEBUG):
        for name in KINDS:
            server.clear()
            server.misbehave(name, 0.01 if name in ("timeout", "gateway_timeout") else None)
            with provider(server.url) as source:
                try:
                    list(source.pages(asked()))
                except ItemError as error:
                    texts += [str(error), repr(error), repr(error.__cause__), repr(error.__context__)]
                texts += [repr(source), repr(source.settings), str(source.settings), repr(source._client.http.headers)]
    assert len(texts) > 100
    assert not [text for text in texts if KEY in text]
    assert KEY not in caplog.text
    assert all(call.has_authorization and "***" not in call.path and KEY not in call.path for call in server.calls)


def test_a_key_that_the_server_repeats_is_not_repeated() -> None:
    for status in (200, 401, 404, 500):
        with scripted(answer(status, status="ERROR", error=f"Unknown key {KEY}")) as script:
            with provider(script.url) as source, pytest.raises(ItemError) as raised:
                list(source.pages(asked()))
            assert str(raised.value).endswith(": 'Unknown key ***'")


def test_the_key_goes_to_no_other_host(server: RunningFakeMassive) -> None:
    with running_fake_massive(FakeMassive(api_keys=[KEY])) as other, provider(server.url) as source:
        for name, kind in (("foreign_next_url", UnsupportedError), ("redirect", BadPayloadError)):
            server.clear()
            server.misbehave(name, other.url)
            with pytest.raises(kind):
                list(source.pages(asked()))
        assert other.calls == []


def test_an_unknown_key_is_rejected_for_good(server: RunningFakeMassive) -> None:
    with provider(server.url, key="another-key") as source, pytest.raises(AuthError) as raised:
        list(source.pages(asked()))
    assert str(raised.value) == "massive rejected the key in STREAMWORKERS_MASSIVE_API_KEY: 'Unknown API Key'"


def test_without_a_key_the_provider_says_which_setting_it_needs() -> None:
    with pytest.raises(UsageError) as raised:
        Massive(Settings())
    assert str(raised.value) == "the provider massive needs a key in STREAMWORKERS_MASSIVE_API_KEY"


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY} ", f" {KEY}", "clé", "a\tb", "", "a\x00b"])
def test_a_key_that_no_header_can_hold_is_rejected_without_being_shown(key: str) -> None:
    with pytest.raises(UsageError) as raised:
        Massive(Settings(massive_api_key=key))
    assert str(raised.value) == (
        "the key in STREAMWORKERS_MASSIVE_API_KEY is empty or holds blanks, line ends, non-ASCII"
    )


def test_every_call_is_counted_with_what_became_of_it(server: RunningFakeMassive) -> None:
    reserved: list[str] = []
    over: list[str] = []
    words: list[str] = []

    def reserve() -> str:
        reserved.append(f"token {len(reserved)}")
        return reserved[-1]

    expected = {
        None: "200",
        "rate_limit": "429",
        "server_error": "500",
        "not_authorized": "403",
        "redirect": "bad_payload",
        "not_json": "bad_payload",
        "huge_body": "bad_payload",
        "error_status": "rejected",
        "cut_connection": "error",
        "timeout": "timeout",
    }
    calls = Calls(reserve, over.append, words.append)
    with provider(server.url, calls=calls, massive_timeout_seconds=patient(0.5), massive_max_body_mb=1) as source:
        for name in expected:
            server.clear()
            if name is not None:
                server.misbehave(name, 1.1 if name == "huge_body" else None)
            try:
                list(source.pages(asked()))
            except ItemError:
                assert name is not None
    assert dict(zip(expected, words, strict=True)) == expected
    assert reserved == over


def test_without_a_call_left_nothing_is_sent(server: RunningFakeMassive) -> None:
    until = datetime(2025, 12, 5, 23, 1, tzinfo=UTC)

    def reserve() -> str:
        raise RateLimitedError("the fleet has made its 5 calls of a minute", until)

    calls = Calls(reserve, lambda token: pytest.fail(token), lambda word: pytest.fail(word))
    with provider(server.url, calls=calls) as source, pytest.raises(RateLimitedError) as raised:
        list(source.pages(asked()))
    assert raised.value.until == until
    assert str(raised.value) == ("the fleet has made its 5 calls of a minute; next call at 2025-12-05T23:01:00+00:00")
    assert server.calls == []
