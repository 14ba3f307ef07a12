"""One server for all tests of the fake API, as new for each, and a client with the key."""

from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from patience import patient
from streamworkers_fakes.massive import FakeMassive, FakeSplit, RunningFakeMassive, running_fake_massive

NOW = datetime(2025, 12, 1, 12, 0, tzinfo=ZoneInfo("America/New_York"))  # in the session of a Monday
SPLITS = (
    FakeSplit("AAPL", date(2025, 6, 10), 1, 4),
    FakeSplit("AAPL", date(2025, 9, 2), 1, 2),
    FakeSplit("KO", date(2025, 8, 4), 10, 1),
    FakeSplit("MSFT", date(2025, 12, 15), 1, 2),  # later than NOW
)


@pytest.fixture(scope="session")
def shared_server() -> Iterator[RunningFakeMassive]:
    """The server, which `server` hands out."""
    fake = FakeMassive(splits=SPLITS, unknown=["XXXX"], listed_from={"V": date(2025, 11, 24)}, now=NOW)
    with running_fake_massive(fake) as server:
        yield server


@pytest.fixture
def server(shared_server: RunningFakeMassive) -> RunningFakeMassive:
    """A server that behaves well at noon of 2025-12-01, without a limit, latency or calls."""
    shared_server.clear()
    shared_server.set_now(NOW)
    shared_server.fake.set_latency(0)
    shared_server.fake.set_calls_per_minute(None)
    shared_server.forget_calls()
    return shared_server


@pytest.fixture(scope="session")
def shared_client(shared_server: RunningFakeMassive) -> Iterator[httpx.Client]:
    """The client, which `client` hands out: making one takes longer than most tests."""
    headers = {"Authorization": f"Bearer {shared_server.api_key}"}
    with httpx.Client(base_url=shared_server.url, headers=headers, timeout=patient(20)) as opened:
        yield opened


@pytest.fixture
def client(shared_client: httpx.Client, server: RunningFakeMassive) -> httpx.Client:
    """A client of `server` with the key that follows no redirects."""
    return shared_client


@pytest.fixture
def walk(client: httpx.Client) -> Callable[[str], list[dict[str, Any]]]:
    """All pages from a path on, by their next_url."""

    def pages_of(path: str) -> list[dict[str, Any]]:
        pages, url = list[dict[str, Any]](), path
        while url:
            answer = client.get(url)
            assert answer.status_code == 200, answer.text
            pages.append(answer.json())
            url = pages[-1].get("next_url", "")
        return pages

    return pages_of
