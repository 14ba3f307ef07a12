"""The provider `massive`: limits of calls and plans, deadlines, and what is between it and the API."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime

import pytest
from pydantic import SecretStr

from massive_source import FIRST, KEY, MINUTE, NOW, Scripted, asked, bars_of, provider, rejection, scripted
from patience import patient
from streamworkers.config import Settings
from streamworkers.errors import ItemError, UsageError
from streamworkers.loading.providers.massive import Massive
from streamworkers.loading.providers.provider import (
    NotYetError,
    PlanError,
    ProviderError,
    RateLimitedError,
    TooOldError,
    TransientError,
)
from streamworkers_fakes.massive import (
    FakeMassive,
    RunningFakeMassive,
    parse_plan,
    running_fake_massive,
)


def test_random_failures_end_in_bars_or_in_an_error_that_is_tried_again(server: RunningFakeMassive) -> None:
    server.misbehave("random_failures", 0.6)
    outcomes: list[str] = []
    with provider(server.url) as source:
        for number in range(40):
            try:
                page = list(source.pages(asked(first=FIRST - timedelta(days=number))))
                outcomes.append("bars" if len(bars_of(page)) >= 4 else "too few")
            except ProviderError as error:
                outcomes.append(type(error).__name__)
    assert set(outcomes) == {"bars", "RateLimitedError", "TransientError", "BadPayloadError"}


def until_of(script: Scripted) -> float:
    """In how many seconds the provider wants to be asked again."""
    with provider(script.url) as source, pytest.raises(RateLimitedError) as raised:
        list(source.pages(asked()))
    return (raised.value.until - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 30),
        ("7", 7),
        ("0", 1),
        ("-5", 1),
        ("2.5", 2.5),
        ("999999", 3600),
        ("soon", 30),
        ("nan", 30),
        ("inf", 30),
        ("Wed, 32 Nov 2025 10:00:00 GMT", 30),
        ("Wed, 26 Nov 2025 10:00:00 -0000", 30),
        ("Wed, 26 Nov 2025 10:00:00 GMT", 1),
        ("in two minutes", 120),
    ],
)
def test_after_a_429_the_provider_is_asked_again_when_its_header_says(header: str | None, seconds: float) -> None:
    if header == "in two minutes":
        header = format_datetime(datetime.now(UTC) + timedelta(seconds=120), usegmt=True)
    elif header == "Wed, 26 Nov 2025 10:00:00 -0000":
        seconds = 30  # a date without a zone
    with scripted((429, {} if header is None else {"Retry-After": header}, b"{}")) as script:
        assert seconds - 2.5 < until_of(script) <= seconds


def test_a_limit_of_the_api_itself_says_when_there_is_a_call_again() -> None:
    fake = FakeMassive(now=NOW, calls_per_minute=1, limit_window_seconds=20, api_keys=[KEY])
    with running_fake_massive(fake) as limited, provider(limited.url) as source:
        assert len(bars_of(list(source.pages(asked())))) == 4
        with pytest.raises(RateLimitedError) as raised:
            list(source.pages(asked()))
    assert 10 < (raised.value.until - datetime.now(UTC)).total_seconds() <= 20


def test_nothing_that_listens_is_a_transient_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert rejection(TransientError, url).startswith("massive: ConnectError: ")


def test_a_whole_answer_has_a_deadline_however_small_its_parts(server: RunningFakeMassive) -> None:
    server.misbehave("trickle", 0.05)
    said = rejection(TransientError, server.url, asked(MINUTE), massive_answer_seconds=0.3)
    assert said == "massive's answer exceeds STREAMWORKERS_MASSIVE_ANSWER_SECONDS=0.3"


@contextmanager
def raw_server(answer: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[bytes]]]:
    """A server that reads the first part of each call and lets `answer` do the rest; yields its URL and its calls."""
    read: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                read.append(connection.recv(65536))
                answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", read
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(patient(30))


def test_headers_that_trickle_have_the_same_deadline() -> None:
    ended = threading.Event()

    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Padding: ")
        while not ended.wait(0.02):
            connection.sendall(b"x")

    with raw_server(trickle) as (url, _):
        try:
            said = rejection(TransientError, url, massive_answer_seconds=0.3)
        finally:
            ended.set()
    assert said == "massive's answer exceeds STREAMWORKERS_MASSIVE_ANSWER_SECONDS=0.3"


def test_the_api_can_be_reached_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"status":"OK","ticker":"AAPL","adjusted":true,"resultsCount":0,"results":[]}'
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    # Variables of other programs would lead where nobody is.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with (
        raw_server(lambda connection: connection.sendall(head + body)) as (url, read),
        provider("http://massive.invalid", massive_proxy=url) as source,
    ):
        assert [len(page.bars) for page in source.pages(asked())] == [0]
    assert read[0].startswith(b"GET http://massive.invalid/v2/aggs/ticker/AAPL/range/1/day/")
    with pytest.raises(UsageError) as raised:
        Massive(Settings(massive_api_key=SecretStr(KEY), massive_proxy=SecretStr("ftp://me:secret@host")))
    assert str(raised.value) == "STREAMWORKERS_MASSIVE_PROXY is not the URL of an HTTP proxy"


@pytest.mark.parametrize(
    ("plan", "first", "kind"),
    [
        ("free", date(2025, 12, 5), NotYetError),
        ("free", date(2025, 12, 6), NotYetError),
        ("free", date(2020, 1, 1), TooOldError),
        ("unlimited,without=day", date(2025, 11, 24), PlanError),
    ],
)
def test_each_limit_of_a_plan_is_told_apart_by_the_clock_of_the_api(
    plan: str, first: date, kind: type[ItemError]
) -> None:
    fake = FakeMassive(now=NOW, api_keys=[KEY], plan=parse_plan(plan))
    with running_fake_massive(fake) as running, provider(running.url) as source:
        with pytest.raises(ItemError) as raised:
            list(source.pages(asked(first=first, last=first + timedelta(days=1))))
        assert type(raised.value) is kind
        assert abs((source.now() - NOW).total_seconds()) < patient(5)
