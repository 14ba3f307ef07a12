"""Outages of seconds, minutes and an hour in the middle of a load, in a time that runs faster: nothing is lost."""

import time
from typing import Any

import pytest

from harness import run_status
from loading import THIRTY, Loader, massive, stored_bars
from patience import Deadline
from streamworkers.engine.ledger import Run
from streamworkers.loading.outages import ProviderWatch, list_outages

WORDS: dict[str, Any] = {"first": "2025-11-17", "last": "2025-11-21"}
SYMBOLS = THIRTY[:12]
SCALE = 1200  # an hour is three seconds
SCALED: dict[str, Any] = {"load_probe_seconds": 60 / SCALE, "load_away_seconds": 14_400 / SCALE, "load_threads": 2}


def _work_on_what_is_due(loader: Loader) -> None:
    loader.streams.queues.promote("load", 1000)
    loader.consumer.work("load", count=4)


def _work_to_the_end(loader: Loader, run: Run) -> None:
    deadline = Deadline(60)
    while run_status(loader.connection, run) in ("PENDING", "RUNNING"):
        assert not deadline.has_passed()
        _work_on_what_is_due(loader)


def _attempts(loader: Loader) -> int:
    row = loader.connection.execute("SELECT max(attempt) FROM run_items").fetchone()
    assert row is not None
    return int(row[0])


def _load_with_outage(loader: Loader, server: Any, seconds: float) -> tuple[Run, int]:
    """A load whose provider is away after its first symbols, for so long in its time; the run, and the calls then."""
    loader.connection.execute("TRUNCATE ohlcv_daily, series_sources, provider_outages")
    run = loader.start(*SYMBOLS, **WORDS)
    _work_on_what_is_due(loader)
    assert 0 < len(stored_bars(loader.connection, "day")) < 5 * len(SYMBOLS)
    server.misbehave("server_error", 503.0)
    server.forget_calls()
    ends = time.monotonic() + seconds / SCALE
    _work_on_what_is_due(loader)
    while time.monotonic() < ends:
        _work_on_what_is_due(loader)
    calls = len(server.calls)
    server.clear()
    return run, calls


def test_outages_of_up_to_an_hour_spend_no_attempt_and_end_with_the_bars_of_a_healthy_load(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    with massive(monkeypatch, **SCALED) as server:
        loader.load(*SYMBOLS, **WORDS)
        healthy = stored_bars(loader.connection, "day")
        for seconds in (10, 60, 600, 3600):
            run, calls = _load_with_outage(loader, server, seconds)
            # A probe a minute once the pauses have grown, and the calls that found out.
            assert calls <= 12 + seconds / 60, seconds
            _work_to_the_end(loader, run)
            assert run_status(loader.connection, run) == "COMPLETED", seconds
            assert stored_bars(loader.connection, "day") == healthy, seconds
            assert _attempts(loader) == 1, seconds
            assert list_outages(loader.connection) == []


def test_control_without_the_watch_an_outage_of_a_minute_uses_up_the_attempts(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    monkeypatch.setattr(ProviderWatch, "require_there", lambda self: None)
    monkeypatch.setattr(ProviderWatch, "find_pause", lambda self, failure: None)
    with massive(monkeypatch, **SCALED) as server:
        run, _ = _load_with_outage(loader, server, 60)
        server.misbehave("server_error", 503.0)
        loader.consumer.work_until_empty("load")  # the pauses between attempts are over long before the minute is
        server.clear()
    assert run_status(loader.connection, run) == "COMPLETED_WITH_ERRORS"
    assert _attempts(loader) == 5
